//! iSCSI names and the patterns that select initiators and portals.
//!
//! An [`IscsiName`] is always normalised, so names compare byte for byte (RFC 7143 4.2.7, RFC 3722). A
//! [`Pattern`] is what an administrator writes into an initiator group or `allowed_portal`.

use std::fmt;

/// Longest iSCSI name in bytes, without terminator (RFC 7143 4.2.7.1).
pub const MAX_NAME: usize = 223;

/// Longest pattern in bytes: a name, `#`, a portal address, and room for wildcards.
pub const MAX_PATTERN: usize = 511;

/// Why something is not an iSCSI name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// No bytes at all.
    Empty,
    /// More than [`MAX_NAME`] bytes.
    TooLong,
    /// Not UTF-8.
    NotUtf8,
    /// A character that RFC 3722 prohibits.
    Character(char),
    /// Neither `iqn.` nor `eui.` nor `naa.`, or the digits after `eui.` or `naa.` are wrong.
    Form,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => f.write_str("the name is empty"),
            NameError::TooLong => write!(f, "the name is longer than {MAX_NAME} bytes"),
            NameError::NotUtf8 => f.write_str("the name is not UTF-8"),
            NameError::Character(c) => write!(f, "the name has a character that is not allowed: {c:?}"),
            NameError::Form => f.write_str("the name does not have the form iqn., eui. or naa."),
        }
    }
}

/// A normalised iSCSI node name: letters in lower case, at most [`MAX_NAME`] bytes, none of which can
/// leave a file name or a log line (no `/`, blank, quote, `%` or control character).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IscsiName(Box<str>);

impl IscsiName {
    /// A name as a peer must form it: `iqn.` and more, `eui.` and 16 hex digits, or `naa.` and 16 or 32
    /// hex digits (RFC 7143 4.2.7.3). The date and domain inside an `iqn.` name are not examined.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        let name = Self::parse_any_form(bytes)?;
        if has_known_form(&name.0) { Ok(name) } else { Err(NameError::Form) }
    }

    /// A name of any form, for targets that an administrator named.
    pub fn parse_any_form(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| NameError::NotUtf8)?;
        if let Some(c) = text.chars().find(|&c| !is_allowed(c)) {
            return Err(NameError::Character(c));
        }
        let folded = text.to_lowercase();
        if folded.len() > MAX_NAME {
            return Err(NameError::TooLong);
        }
        Ok(IscsiName(folded.into_boxed_str()))
    }

    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 3722 leaves letters, digits, `-`, `.` and `:`. `_` is accepted too, because initiators in the field
/// use it.
fn is_allowed(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '.' | ':' | '_')
}

fn has_known_form(name: &str) -> bool {
    let hex = |digits: &str| digits.bytes().all(|b| b.is_ascii_hexdigit());
    match name.split_at_checked(4) {
        Some(("iqn.", rest)) => !rest.is_empty(),
        Some(("eui.", rest)) => rest.len() == 16 && hex(rest),
        Some(("naa.", rest)) => matches!(rest.len(), 16 | 32) && hex(rest),
        _ => false,
    }
}

/// A wildcard pattern over names or addresses, without regard to ASCII case.
///
/// `*` stands for any run of bytes, `?` for any byte. The first `!` negates: what stands before it must
/// match the beginning of the subject, and what stands after it must *not* match the rest, of which there
/// must be at least one byte. Further `!` are ordinary.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Box<str>);

/// Why something is not a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternError {
    /// No bytes at all.
    Empty,
    /// More than [`MAX_PATTERN`] bytes.
    TooLong,
    /// A blank, a control character or `/`.
    Character(char),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::Empty => f.write_str("the pattern is empty"),
            PatternError::TooLong => write!(f, "the pattern is longer than {MAX_PATTERN} bytes"),
            PatternError::Character(c) => write!(f, "the pattern has a character that is not allowed: {c:?}"),
        }
    }
}

impl Pattern {
    /// Takes `text` as written.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        match text.chars().find(|&c| c == '/' || c.is_whitespace() || c.is_control()) {
            Some(c) => Err(PatternError::Character(c)),
            None => Ok(Pattern(text.into())),
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it begins with `!`.
    pub fn is_negated(&self) -> bool {
        self.0.starts_with('!')
    }

    /// Whether `subject` is selected.
    pub fn matches(&self, subject: &str) -> bool {
        let (pattern, subject) = (self.0.as_bytes(), subject.as_bytes());
        match pattern.iter().position(|&b| b == b'!') {
            None => glob(pattern, subject),
            Some(at) => match after_prefix(&pattern[..at], subject) {
                Some(rest) => !rest.is_empty() && !glob(&pattern[at + 1..], rest),
                None => false,
            },
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The rule of `allowed_portal`: every pattern that begins with `!` must match, and one of the others if
/// there are others. No patterns allow everything.
pub fn is_allowed_by(patterns: &[Pattern], subject: &str) -> bool {
    let (negated, plain): (Vec<&Pattern>, Vec<&Pattern>) = patterns.iter().partition(|p| p.is_negated());
    negated.iter().all(|p| p.matches(subject))
        && (plain.is_empty() || plain.iter().any(|p| p.matches(subject)))
}

/// Whether `pattern` (with `*` and `?`) matches all of `subject`.
fn glob(pattern: &[u8], subject: &[u8]) -> bool {
    let Some(star) = pattern.iter().rposition(|&b| b == b'*') else {
        return pattern.len() == subject.len() && begins_like(pattern, subject);
    };
    let tail = &pattern[star + 1..];
    match after_prefix(&pattern[..star], subject) {
        Some(rest) => rest.len() >= tail.len() && begins_like(tail, &rest[rest.len() - tail.len()..]),
        None => false,
    }
}

/// What is left of `subject` after the shortest beginning that `pattern` (with `*` and `?`) matches.
fn after_prefix<'s>(pattern: &[u8], subject: &'s [u8]) -> Option<&'s [u8]> {
    let mut parts = pattern.split(|&b| b == b'*');
    let first = parts.next().unwrap_or_default();
    if !begins_like(first, subject) {
        return None;
    }
    let mut rest = &subject[first.len()..];
    for part in parts {
        let at = (0..=rest.len()).find(|&at| begins_like(part, &rest[at..]))?;
        rest = &rest[at + part.len()..];
    }
    Some(rest)
}

/// Whether `subject` begins with `pattern`, in which only `?` is special.
fn begins_like(pattern: &[u8], subject: &[u8]) -> bool {
    subject.len() >= pattern.len()
        && pattern.iter().zip(subject).all(|(&p, s)| p == b'?' || p.eq_ignore_ascii_case(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7143_4_2_7_names_are_folded() {
        let name = IscsiName::parse(b"iqn.1991-05.com.Microsoft:HOST-1").unwrap();
        assert_eq!(name.as_str(), "iqn.1991-05.com.microsoft:host-1");
        assert_eq!(IscsiName::parse(b"eui.02004567A425678D").unwrap().as_str(), "eui.02004567a425678d");
        assert!(IscsiName::parse(b"naa.52004567BA64678D").is_ok());
        assert!(IscsiName::parse(b"naa.62004567BA64678D0123456789ABCDEF").is_ok());
    }

    #[test]
    fn rfc7143_4_2_7_forms_are_checked() {
        for bad in ["host", "iqn.", "iqn", "eui.123", "eui.02004567A425678G", "naa.", "naa.52004567BA64678D0"]
        {
            assert_eq!(IscsiName::parse(bad.as_bytes()), Err(NameError::Form), "{bad}");
        }
        assert!(IscsiName::parse_any_form(b"tgt1").is_ok());
    }

    #[test]
    fn rfc3722_prohibited_characters_are_refused() {
        for bad in
            ["iqn.a b", "iqn.../../x", "iqn.a\nb", "iqn.a\"b", "iqn.%n%s", "iqn.a\0b", "iqn.a,b", "iqn.a{}"]
        {
            assert!(matches!(IscsiName::parse(bad.as_bytes()), Err(NameError::Character(_))), "{bad:?}");
        }
        assert_eq!(IscsiName::parse(b"iqn.\xff\xfe"), Err(NameError::NotUtf8));
        assert_eq!(IscsiName::parse(b"iqn.\xc0\xaf"), Err(NameError::NotUtf8));
        assert!(IscsiName::parse("iqn.2020-01.com.exämple:Größe".as_bytes()).is_ok());
    }

    #[test]
    fn rfc7143_4_2_7_1_names_have_at_most_223_bytes() {
        let name = |length: usize| format!("iqn.{}", "a".repeat(length - 4)).into_bytes();
        assert!(IscsiName::parse(&name(223)).is_ok());
        assert_eq!(IscsiName::parse(&name(224)), Err(NameError::TooLong));
        assert_eq!(IscsiName::parse(b""), Err(NameError::Empty));
        // U+0130 grows from two bytes to three when it is folded.
        let grows = format!("iqn.{}a", "\u{130}".repeat(109));
        assert_eq!(grows.len(), MAX_NAME);
        assert_eq!(IscsiName::parse(grows.as_bytes()), Err(NameError::TooLong));
    }

    fn matches(pattern: &str, subject: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(subject)
    }

    #[test]
    fn patterns_are_anchored_and_ignore_case() {
        assert!(matches("iqn.A", "iqn.a"));
        assert!(!matches("iqn.a", "iqn.ab"));
        assert!(!matches("iqn.ab", "iqn.a"));
        assert!(matches("*", ""));
        assert!(matches("*", "anything"));
        assert!(matches("iqn.*:h?st*", "iqn.2000.x:host7"));
        assert!(!matches("iqn.*:h?st", "iqn.2000.x:host7"));
        assert!(matches("a*b*c", "a-b-b-c"));
        assert!(matches("a**c", "abc"));
        assert!(!matches("a*bc", "abcd"));
        assert!(!matches("ab*ba", "aba"));
        assert!(matches("?", "x"));
        assert!(!matches("?", ""));
    }

    #[test]
    fn patterns_negate_what_follows_the_first_exclamation_mark() {
        assert!(matches("iqn.a!*bad", "iqn.agood"));
        assert!(!matches("iqn.a!*bad", "iqn.abad"));
        assert!(!matches("iqn.a!*bad", "iqn.b"));
        assert!(matches("!x", "y"));
        assert!(!matches("!x", "x"));
        assert!(matches("!x", "xx"));
        assert!(!matches("iqn.a!b", "iqn.a"), "the subject ends before the mark");
        assert!(!matches("a*!b", "ab"), "the star before the mark consumes nothing");
        assert!(matches("a*!b", "acb"));
        assert!(!matches("a!b!c", "ab!c"), "a second mark is an ordinary character");
        assert!(matches("a!b!c", "abc"));
    }

    #[test]
    fn patterns_against_a_naive_matcher() {
        fn naive(p: &[u8], s: &[u8]) -> bool {
            match p.split_first() {
                None => s.is_empty(),
                Some((b'*', rest)) => (0..=s.len()).any(|i| naive(rest, &s[i..])),
                Some((b'?', rest)) => !s.is_empty() && naive(rest, &s[1..]),
                Some((c, rest)) => s.first() == Some(c) && naive(rest, &s[1..]),
            }
        }
        let mut seed = 7u32;
        let mut next = |n: usize| {
            seed = seed.wrapping_mul(1_103_515_245).wrapping_add(12345);
            (seed >> 16) as usize % n
        };
        for _ in 0..20_000 {
            let pattern: String = (0..1 + next(7)).map(|_| char::from(b"ab*?"[next(4)])).collect();
            let subject: String = (0..next(9)).map(|_| char::from(b"ab"[next(2)])).collect();
            let expected = naive(pattern.as_bytes(), subject.as_bytes());
            assert_eq!(matches(&pattern, &subject), expected, "{pattern} {subject}");
        }
    }

    #[test]
    fn pattern_texts_cannot_be_paths() {
        assert_eq!(Pattern::parse(""), Err(PatternError::Empty));
        assert_eq!(Pattern::parse("a/b"), Err(PatternError::Character('/')));
        assert_eq!(Pattern::parse("a b"), Err(PatternError::Character(' ')));
        assert_eq!(Pattern::parse(&"a".repeat(512)), Err(PatternError::TooLong));
    }

    #[test]
    fn allowed_portal_needs_every_negated_and_one_plain_pattern() {
        let list = |texts: &[&str]| texts.iter().map(|t| Pattern::parse(t).unwrap()).collect::<Vec<_>>();
        assert!(is_allowed_by(&[], "10.0.0.1"));
        assert!(is_allowed_by(&list(&["10.*", "192.*"]), "10.0.0.1"));
        assert!(!is_allowed_by(&list(&["192.*"]), "10.0.0.1"));
        assert!(!is_allowed_by(&list(&["!10.*"]), "10.0.0.1"));
        assert!(is_allowed_by(&list(&["!192.*"]), "10.0.0.1"));
        assert!(!is_allowed_by(&list(&["!10.0.0.1", "10.*"]), "10.0.0.1"));
        assert!(is_allowed_by(&list(&["!10.0.0.2", "10.*"]), "10.0.0.1"));
    }
}
