//! Text: `key=value` pairs, their continuation over PDUs, and the value syntaxes (RFC 7143 6.1).
//!
//! Everything here is syntax. What a key means is in `iscsi::key`. No decoder allocates before it has
//! checked the length, and no text grows beyond the limit it was given.

use std::fmt;
use std::ops::RangeInclusive;

/// Longest key name in bytes (RFC 7143 6.1, standard-label).
pub const MAX_KEY: usize = 63;

/// Longest value in bytes where the key does not say otherwise (RFC 7143 6.1).
pub const MAX_VALUE: usize = 255;

/// Why a text is not a sequence of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextError {
    /// A piece without `=`.
    NoEquals,
    /// Nothing before `=`.
    EmptyKey,
    /// A key of more than [`MAX_KEY`] bytes.
    KeyTooLong,
    /// A key with a byte that is not a visible ASCII character.
    KeyCharacter,
    /// A value that is not UTF-8.
    NotUtf8,
    /// A text that grew beyond its limit.
    TooLong,
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TextError::NoEquals => "text without '='",
            TextError::EmptyKey => "text with an empty key",
            TextError::KeyTooLong => "key name too long",
            TextError::KeyCharacter => "key name with an invisible character",
            TextError::NotUtf8 => "value that is not UTF-8",
            TextError::TooLong => "text too long",
        })
    }
}

/// One `key=value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair<'a> {
    /// 1 to [`MAX_KEY`] visible ASCII characters without `=`.
    pub key: &'a str,
    /// Everything behind the first `=`; may be empty, may hold further `=`, has no length limit of its own.
    pub value: &'a str,
}

/// The pairs of a complete text. The last pair may lack its NUL, and empty pieces (two NULs in a row, as
/// initiators write when they count padding) are passed over.
pub fn pairs(text: &[u8]) -> impl Iterator<Item = Result<Pair<'_>, TextError>> {
    text.split(|&b| b == 0).filter(|piece| !piece.is_empty()).map(pair)
}

fn pair(piece: &[u8]) -> Result<Pair<'_>, TextError> {
    let equals = piece.iter().position(|&b| b == b'=').ok_or(TextError::NoEquals)?;
    let (key, value) = (&piece[..equals], &piece[equals + 1..]);
    if key.is_empty() {
        return Err(TextError::EmptyKey);
    }
    if key.len() > MAX_KEY {
        return Err(TextError::KeyTooLong);
    }
    if !key.iter().all(u8::is_ascii_graphic) {
        return Err(TextError::KeyCharacter);
    }
    let key = std::str::from_utf8(key).map_err(|_| TextError::KeyCharacter)?;
    let value = std::str::from_utf8(value).map_err(|_| TextError::NotUtf8)?;
    Ok(Pair { key, value })
}

/// Appends `key=value` and its NUL.
pub fn push_pair(text: &mut Vec<u8>, key: &str, value: &str) {
    text.extend_from_slice(key.as_bytes());
    text.push(b'=');
    text.extend_from_slice(value.as_bytes());
    text.push(0);
}

/// Joins the data segments of PDUs that carry the C bit.
#[derive(Debug)]
pub struct Collector {
    text: Vec<u8>,
    limit: usize,
}

impl Collector {
    /// Collects at most `limit` bytes for one complete text.
    pub fn new(limit: usize) -> Self {
        Collector { text: Vec::new(), limit }
    }

    /// Adds a data segment. With `continues` (the C bit) the text is not complete and `None` comes back.
    pub fn push(&mut self, segment: &[u8], continues: bool) -> Result<Option<Vec<u8>>, TextError> {
        if segment.len() > self.limit - self.text.len() {
            self.text = Vec::new();
            return Err(TextError::TooLong);
        }
        self.text.extend_from_slice(segment);
        Ok(if continues { None } else { Some(std::mem::take(&mut self.text)) })
    }

    /// Whether a text has begun and is not complete.
    pub fn is_pending(&self) -> bool {
        !self.text.is_empty()
    }

    /// Forgets what was collected.
    pub fn clear(&mut self) {
        self.text = Vec::new();
    }
}

/// A text on its way out, cut into data segments.
#[derive(Debug, Default)]
pub struct Outgoing {
    text: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// Sends `text`, which replaces whatever was left.
    pub fn new(text: Vec<u8>) -> Self {
        Outgoing { text, sent: 0 }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.sent == self.text.len()
    }

    /// The next data segment, of at most `most` bytes (at least 1), and whether more follows.
    pub fn next_segment(&mut self, most: usize) -> (Vec<u8>, bool) {
        let left = self.text.len() - self.sent;
        if self.sent == 0 && left <= most {
            return (std::mem::take(&mut self.text), false);
        }
        let end = self.sent + left.min(most.max(1));
        let segment = self.text[self.sent..end].to_vec();
        self.sent = end;
        if self.is_empty() {
            *self = Outgoing::default();
        }
        (segment, !self.is_empty())
    }
}

/// A boolean-value: exactly `Yes` or `No`.
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// A numerical-value: decimal without leading zeros, or `0x` and hex digits, below 2^64.
pub fn number(value: &str) -> Option<u64> {
    let (digits, radix) = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if value.len() > 1 && value.starts_with('0') => return None,
        None => (value, 10),
    };
    // from_str_radix would take a sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// How a binary value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `0x` and two hex digits per byte.
    Hex,
    /// `0b` and base64 (RFC 4648 4).
    Base64,
}

/// Decodes a large-binary-value of a length within `lengths`, which is checked before anything is decoded.
/// Hex needs two digits per byte. Base64 may lack its padding, but the padding must be right when present.
pub fn binary(value: &str, lengths: RangeInclusive<usize>) -> Option<(Vec<u8>, Encoding)> {
    let (prefix, digits) = value.split_at_checked(2)?;
    let digits = digits.as_bytes();
    match prefix {
        "0x" | "0X" => {
            let fits = digits.len() % 2 == 0 && lengths.contains(&(digits.len() / 2));
            if fits { Some((decode_hex(digits)?, Encoding::Hex)) } else { None }
        }
        "0b" | "0B" => {
            let digits = without_padding(digits)?;
            let fits =
                digits.len() % 4 != 1 && lengths.contains(&(digits.len() / 4 * 3 + tail(digits.len())));
            if fits { Some((decode_base64(digits)?, Encoding::Base64)) } else { None }
        }
        _ => None,
    }
}

/// Bytes that the last, incomplete group of a base64 text of `digits` digits stands for.
const fn tail(digits: usize) -> usize {
    (digits % 4).saturating_sub(1)
}

fn without_padding(digits: &[u8]) -> Option<&[u8]> {
    let body = digits.strip_suffix(b"==").or_else(|| digits.strip_suffix(b"=")).unwrap_or(digits);
    if body.len() == digits.len() || digits.len() % 4 == 0 { Some(body) } else { None }
}

fn decode_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        b'A'..=b'F' => Some(b - b'A' + 10),
        _ => None,
    };
    digits.chunks_exact(2).map(|two| Some(nibble(two[0])? << 4 | nibble(two[1])?)).collect()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn decode_base64(digits: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for place in 0..4 {
            let value = match group.get(place) {
                Some(&b) => sextet(b)?,
                None => 0,
            };
            bits = bits << 6 | u32::from(value);
        }
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
        // The bits behind the last byte of an incomplete group must be zero.
        if group.len() < 4 && bits.to_be_bytes()[group.len()] != 0 {
            return None;
        }
    }
    Some(bytes)
}

fn sextet(b: u8) -> Option<u8> {
    match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Writes `bytes` as a binary value.
pub fn encode_binary(bytes: &[u8], encoding: Encoding) -> String {
    match encoding {
        Encoding::Hex => bytes.iter().fold(String::from("0x"), |mut text, byte| {
            for nibble in [byte >> 4, byte & 0xf] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
            text
        }),
        Encoding::Base64 => bytes.chunks(3).fold(String::from("0b"), |mut text, group| {
            let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for place in 0..4u32 {
                let sextet = (bits >> (18 - 6 * place)) & 0x3f;
                let digit = if place as usize > group.len() { b'=' } else { BASE64[sextet as usize] };
                text.push(char::from(digit));
            }
            text
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Result<Vec<(&str, &str)>, TextError> {
        pairs(text).map(|p| p.map(|p| (p.key, p.value))).collect()
    }

    #[test]
    fn rfc7143_6_1_pairs() {
        assert_eq!(all(b""), Ok(vec![]));
        assert_eq!(all(b"A=1\0B=\0C=x=y\0"), Ok(vec![("A", "1"), ("B", ""), ("C", "x=y")]));
        assert_eq!(all(b"A=1\0\0\0B=2"), Ok(vec![("A", "1"), ("B", "2")]));
        assert_eq!(all(b"A\0"), Err(TextError::NoEquals));
        assert_eq!(all(b"=1\0"), Err(TextError::EmptyKey));
        assert_eq!(all(b"A B=1\0"), Err(TextError::KeyCharacter));
        assert_eq!(all(b"\xffA=1\0"), Err(TextError::KeyCharacter));
        assert_eq!(all(b"A=\xc0\xaf\0"), Err(TextError::NotUtf8));
        let long = |n: usize| format!("{}=1\0", "K".repeat(n)).into_bytes();
        assert!(all(&long(63)).is_ok());
        for n in [64, 255, 8000] {
            assert_eq!(all(&long(n)), Err(TextError::KeyTooLong));
        }
    }

    #[test]
    fn rfc7143_6_1_what_was_pushed_is_read_back() {
        let mut text = Vec::new();
        push_pair(&mut text, "TargetAlias", "größe=1");
        push_pair(&mut text, "X-a", "");
        assert_eq!(all(&text), Ok(vec![("TargetAlias", "größe=1"), ("X-a", "")]));
    }

    #[test]
    fn rfc7143_6_1_booleans_are_exact() {
        assert_eq!(boolean("Yes"), Some(true));
        assert_eq!(boolean("No"), Some(false));
        for bad in ["yes", "YES", "1", "", "Yes ", "no", "Maybe"] {
            assert_eq!(boolean(bad), None, "{bad}");
        }
    }

    #[test]
    fn rfc7143_6_1_numbers() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("262144"), Some(262_144));
        assert_eq!(number("0x1fF"), Some(511));
        assert_eq!(number("0X0010"), Some(16));
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        for bad in [
            "",
            "-1",
            "+5",
            "0x",
            "0xZZ",
            "0x+1",
            "18446744073709551616",
            "1~5",
            "007",
            "00",
            "1a",
            " 1",
            "1 ",
        ] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }

    #[test]
    fn rfc4648_10_test_vectors() {
        let vectors =
            [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (plain, coded) in vectors {
            let value = format!("0b{coded}");
            assert_eq!(encode_binary(plain.as_bytes(), Encoding::Base64), value);
            let decoded = Some((plain.as_bytes().to_vec(), Encoding::Base64));
            assert_eq!(binary(&value, 1..=9), decoded);
            assert_eq!(binary(value.trim_end_matches('='), 1..=9), decoded);
        }
    }

    #[test]
    fn rfc7143_6_1_binary_values_round_trip() {
        for length in 0..70u8 {
            let bytes: Vec<u8> = (0..length).map(|i| i.wrapping_mul(37).wrapping_add(length)).collect();
            for encoding in [Encoding::Hex, Encoding::Base64] {
                let value = encode_binary(&bytes, encoding);
                let exact = usize::from(length)..=usize::from(length);
                assert_eq!(binary(&value, exact), Some((bytes.clone(), encoding)));
                assert_eq!(binary(&value, usize::from(length) + 1..=99), None);
            }
        }
        assert_eq!(binary("0XaBcD", 2..=2), Some((vec![0xab, 0xcd], Encoding::Hex)));
    }

    #[test]
    fn rfc7143_6_1_bad_binary_values() {
        for bad in [
            "",
            "0",
            "0x",
            "0xabc",
            "0xzz",
            "abcd",
            "0b",
            "0bA",
            "0bA===",
            "0bAA=",
            "0bAA=A",
            "0bA-A_",
            "0bAAAA=",
            "0bAB==",
            "0bAA==AAAA",
            "0x0bAB==",
            "0b0x==",
            "0é",
            "0xéé",
        ] {
            assert_eq!(binary(bad, 1..=64), None, "{bad}");
        }
    }

    #[test]
    fn collected_text_does_not_depend_on_the_cuts() {
        let text = b"InitiatorName=iqn.x\0TargetName=iqn.y\0";
        for cut in 0..=text.len() {
            let mut collector = Collector::new(text.len());
            assert_eq!(collector.push(&text[..cut], true), Ok(None));
            assert_eq!(collector.push(&text[cut..], false), Ok(Some(text.to_vec())));
            assert!(!collector.is_pending());
        }
        let mut collector = Collector::new(5);
        assert_eq!(collector.push(b"abcde", true), Ok(None));
        assert_eq!(collector.push(b"f", false), Err(TextError::TooLong));
    }

    #[test]
    fn outgoing_text_is_cut_to_the_segment_length() {
        let text: Vec<u8> = (0..100).collect();
        for most in 1..=101 {
            let mut outgoing = Outgoing::new(text.clone());
            let mut joined = Vec::new();
            loop {
                let (segment, more) = outgoing.next_segment(most);
                assert!(segment.len() <= most);
                joined.extend_from_slice(&segment);
                assert_eq!(more, !outgoing.is_empty());
                if !more {
                    break;
                }
            }
            assert_eq!(joined, text);
        }
        assert_eq!(Outgoing::new(Vec::new()).next_segment(10), (Vec::new(), false));
    }
}
