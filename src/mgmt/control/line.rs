//! Lines of fields: how they are written and read.

use std::fmt::Write;

use crate::mgmt::tree::Kind;

/// A line, its newline included.
pub fn format<S: AsRef<str>>(fields: &[S]) -> String {
    let mut line = String::new();
    for (at, field) in fields.iter().enumerate() {
        if at > 0 {
            line.push('\t');
        }
        escape(field.as_ref(), &mut line);
    }
    line.push('\n');
    line
}

fn escape(field: &str, line: &mut String) {
    for c in field.chars() {
        match c {
            '\t' => line.push_str("\\t"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\\' => line.push_str("\\\\"),
            c if c.is_ascii_control() => {
                let _ = write!(line, "\\x{:02x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
}

/// The fields of a line without its newline; what is wrong with it otherwise.
pub fn parse(line: &[u8]) -> Result<Vec<String>, &'static str> {
    line.split(|byte| *byte == b'\t').map(unescape).collect()
}

fn unescape(field: &[u8]) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.iter();
    while let Some(byte) = rest.next() {
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b'\\') => b'\\',
            Some(b'x') => hex(rest.next(), rest.next()).ok_or(ESCAPES)?,
            _ => return Err(ESCAPES),
        });
    }
    String::from_utf8(bytes).map_err(|_| "a field is not UTF-8")
}

const ESCAPES: &str = "after a backslash comes t, n, r, another backslash, or x and two hexadecimal digits";

fn hex(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|d| u8::try_from(d).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// What is at a path, as fields.
pub fn from_kind(kind: &Kind) -> Vec<String> {
    match kind {
        Kind::Directory => vec!["directory".to_owned()],
        Kind::File { mode } => vec!["file".to_owned(), format!("{mode:o}")],
        Kind::Link { target } => vec!["link".to_owned(), target.clone()],
    }
}

/// The same, back.
pub fn to_kind(fields: &[String]) -> Option<Kind> {
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    match fields.as_slice() {
        ["directory"] => Some(Kind::Directory),
        ["file", mode] => u32::from_str_radix(mode, 8).ok().map(|mode| Kind::File { mode }),
        ["link", target] => Some(Kind::Link { target: (*target).to_owned() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_survives() {
        let all: String = (0..=0x2ffu32).filter_map(char::from_u32).collect();
        let fields = ["", "a b", &all, "\t\n\r\\", ""];
        let line = format(&fields);
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(parse(line.trim_end_matches('\n').as_bytes()).unwrap(), fields);
    }

    #[test]
    fn a_bad_line_is_refused() {
        for line in ["\\", "a\\q", "\\x", "\\x1", "\\xg0", "\\x+1"] {
            assert_eq!(parse(line.as_bytes()), Err(ESCAPES), "{line}");
        }
        assert!(parse(b"\xff").is_err());
        assert!(parse(b"\\xff").is_err());
    }

    #[test]
    fn kinds_survive() {
        for kind in [Kind::Directory, Kind::File { mode: 0o644 }, Kind::Link { target: "../x".into() }] {
            assert_eq!(to_kind(&from_kind(&kind)), Some(kind));
        }
        assert_eq!(to_kind(&["file".into(), "9".into()]), None);
    }
}
