//! Attributes as rows: name, values, access, meaning.
//!
//! A row is everything there is to know of an attribute: the line in scst.conf, the file of the tree, the
//! usage text and the check of a new value are projections of it.
//!
//! # How to add an attribute
//! Add a row to the list of its object in `model/`: the field it reads, the field it writes. Nothing else.

use std::fmt;

/// Which values an attribute takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 0 or 1.
    Bool,
    /// A number, both limits included.
    Number {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A number of bytes; K, M, G or T may follow.
    Size,
    /// Text of at most so many bytes.
    Text(usize),
    /// `0x` and an even number of hexadecimal digits for one of these numbers of bytes, or nothing.
    Hex(&'static [usize]),
}

/// Who may write an attribute, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody.
    ReadOnly,
    /// Only when the object is made.
    CreateOnly,
    /// Always.
    ReadWrite,
}

/// A value that fits its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Number`] and [`Kind::Size`].
    Number(u64),
    /// Of [`Kind::Text`].
    Text(String),
    /// Of [`Kind::Hex`].
    Bytes(Vec<u8>),
}

impl Value {
    /// The truth value; `false` for other kinds.
    pub fn bool(&self) -> bool {
        *self == Value::Bool(true)
    }

    /// The number; 0 for other kinds.
    pub fn number(&self) -> u64 {
        match self {
            Value::Number(number) => *number,
            Value::Bool(value) => u64::from(*value),
            _ => 0,
        }
    }

    /// The text; empty for other kinds.
    pub fn text(self) -> String {
        match self {
            Value::Text(text) => text,
            _ => String::new(),
        }
    }

    /// The bytes; none for other kinds.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Value::Bytes(bytes) => bytes,
            _ => Vec::new(),
        }
    }
}

/// An attribute of objects of type `T`.
pub struct Attr<T: 'static> {
    /// SCST's name.
    pub name: &'static str,
    /// Values.
    pub kind: Kind,
    /// Access.
    pub access: Access,
    /// What it is when nobody has set it; not written to a configuration then.
    pub default: &'static str,
    /// What it means, in one line.
    pub help: &'static str,
    /// Reads it.
    pub get: fn(&T) -> String,
    /// Writes it. The value fits the kind.
    pub set: fn(&mut T, Value),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Bool => f.write_str("0 or 1"),
            Kind::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Kind::Size => f.write_str("a number of bytes, with K, M, G or T behind it if you like"),
            Kind::Text(max) => write!(f, "text of at most {max} bytes"),
            Kind::Hex(lengths) => {
                let digits: Vec<String> = lengths.iter().map(|length| (length * 2).to_string()).collect();
                write!(f, "0x and {} hexadecimal digits, or nothing", digits.join(" or "))
            }
        }
    }
}

impl Kind {
    /// The value that `text` means, or what is allowed.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let value = match self {
            Kind::Bool => match text {
                "0" => Some(Value::Bool(false)),
                "1" => Some(Value::Bool(true)),
                _ => None,
            },
            Kind::Number { min, max } => {
                number(text).filter(|number| (min..=max).contains(number)).map(Value::Number)
            }
            Kind::Size => size(text).map(Value::Number),
            Kind::Text(max) => {
                let fits = text.len() <= max && text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
                fits.then(|| Value::Text(text.to_owned()))
            }
            Kind::Hex(lengths) => {
                hex(text).filter(|bytes| bytes.is_empty() || lengths.contains(&bytes.len())).map(Value::Bytes)
            }
        };
        value.ok_or_else(|| format!("\"{text}\" is not {self}"))
    }
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

fn size(text: &str) -> Option<u64> {
    let shift = match text.bytes().last()? {
        b'K' | b'k' => 10,
        b'M' | b'm' => 20,
        b'G' | b'g' => 30,
        b'T' | b't' => 40,
        _ => return number(text),
    };
    number(&text[..text.len() - 1])?.checked_mul(1 << shift)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() % 2 != 0 || !digits.is_ascii() {
        return None;
    }
    (0..digits.len() / 2).map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()).collect()
}

/// Bytes as [`Kind::Hex`] writes them.
pub fn to_hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_their_kinds_or_say_what_does() {
        assert_eq!(Kind::Size.parse("10M"), Ok(Value::Number(10 << 20)));
        assert_eq!(Kind::Hex(&[8]).parse("0x0123456789abcdef").map(|v| v.bytes().len()), Ok(8));
        for (kind, text) in [
            (Kind::Bool, "yes"),
            (Kind::Bool, ""),
            (Kind::Number { min: 1, max: 5 }, "0"),
            (Kind::Number { min: 1, max: 5 }, "6"),
            (Kind::Number { min: 0, max: 5 }, "+1"),
            (Kind::Number { min: 0, max: 5 }, "-1"),
            (Kind::Size, "99999999999999999999"),
            (Kind::Size, "18446744073709551615T"),
            (Kind::Size, "M"),
            (Kind::Text(3), "abcd"),
            (Kind::Text(3), "a\nb"),
            (Kind::Hex(&[8]), "0x012"),
            (Kind::Hex(&[8]), "0xzz23456789abcdef"),
        ] {
            let error = kind.parse(text).unwrap_err();
            assert!(error.contains(&kind.to_string()), "{error}");
        }
    }
}
