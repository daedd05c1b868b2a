//! Attributes as rows: name, values, access, meaning.
//!
//! A row is everything there is to know of an attribute: the file of the tree and its mode, the `[key]` line,
//! the line in scst.conf, the usage text and the check of a new value are projections of it.
//!
//! # How to add an attribute
//! Add a row to the list of its object in `model/`: the field it reads, the field it writes. Nothing else.

use std::fmt;

/// An administrator's request that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The errno that SCST gives for this mistake.
    pub errno: i32,
    /// What was wrong, and what is allowed.
    pub text: String,
}

impl Error {
    /// An error with its text.
    pub fn new(errno: i32, text: impl Into<String>) -> Self {
        Error { errno, text: text.into() }
    }

    /// EINVAL with its text.
    pub fn invalid(text: impl Into<String>) -> Self {
        Error::new(libc::EINVAL, text)
    }

    /// The same, as the end of what was tried: EAGAIN says that it goes on (SCST 1.0.4), which is not so when
    /// it has ended.
    pub fn ended(self) -> Self {
        let errno = if self.errno == libc::EAGAIN { libc::EBUSY } else { self.errno };
        Error { errno, ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// Which values an attribute takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 0 or 1.
    Bool,
    /// 0 or 1, or a word that means one of them.
    Switch,
    /// A number, both limits included.
    Number {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A number that may be negative, both limits included.
    Signed {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// A number of bytes; K, M, G or T may follow.
    Size,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text of at most so many bytes.
    Text(usize),
    /// `0x` and an even number of hexadecimal digits for one of these numbers of bytes, or nothing.
    Hex(&'static [usize]),
    /// Text with a syntax of its own, described here; the row checks it.
    Own(&'static str),
    /// Anything at all: writing is an order, whatever is written.
    Trigger,
}

/// Who may read and write an attribute, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nobody writes it.
    ReadOnly,
    /// Written only when the object is made.
    CreateOnly,
    /// Always.
    ReadWrite,
    /// Read and written by the owner only.
    Secret,
    /// Written, never read.
    WriteOnly,
}

impl Access {
    /// Permission bits of its file.
    pub fn mode(self) -> u32 {
        match self {
            Access::ReadOnly | Access::CreateOnly => 0o444,
            Access::ReadWrite => 0o644,
            Access::Secret => 0o600,
            Access::WriteOnly => 0o200,
        }
    }

    /// Whether it can be written after the object was made.
    pub fn is_writable(self) -> bool {
        !matches!(self, Access::ReadOnly | Access::CreateOnly)
    }
}

/// A value that fits its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Of [`Kind::Bool`] and [`Kind::Switch`].
    Bool(bool),
    /// Of [`Kind::Number`] and [`Kind::Size`].
    Number(u64),
    /// Of [`Kind::Signed`].
    Signed(i64),
    /// Of [`Kind::Text`], [`Kind::Word`], [`Kind::Own`] and [`Kind::Trigger`].
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

    /// The number as 32 bits, the largest if it needs more.
    pub fn number32(&self) -> u32 {
        u32::try_from(self.number()).unwrap_or(u32::MAX)
    }

    /// The number with its sign; 0 for other kinds.
    pub fn signed(&self) -> i64 {
        match self {
            Value::Signed(number) => *number,
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

/// When a value belongs into a saved configuration: SCST's `[key]` line.
pub enum Saved<T: 'static> {
    /// Never.
    Never,
    /// Always.
    Always,
    /// When it is not the default.
    NotDefault,
    /// When this says so.
    When(fn(&T) -> bool),
}

/// Whether SCST's file has an empty line at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// It has not.
    None,
    /// After `[key]` it has.
    AfterKey,
    /// It always has.
    Always,
}

/// An attribute of objects of type `T`.
pub struct Attr<T: 'static> {
    /// SCST's name.
    pub name: &'static str,
    /// Values.
    pub kind: Kind,
    /// Access.
    pub access: Access,
    /// The access to this object's attribute, if it has it.
    pub here: fn(&T, Access) -> Option<Access>,
    /// What it is when nobody has set it.
    pub default: &'static str,
    /// When it is part of a saved configuration.
    pub saved: Saved<T>,
    /// Empty line at the end.
    pub tail: Tail,
    /// Why it is accepted for compatibility only, and changes nothing here.
    pub compatibility: Option<&'static str>,
    /// What it means, in one line.
    pub help: &'static str,
    /// Reads it.
    pub get: fn(&T) -> String,
    /// Writes it. The value fits the kind.
    pub set: fn(&mut T, Value) -> Result<(), Error>,
}

impl<T> Attr<T> {
    /// What rows are made from: can be written, saved when it is not the default.
    pub const ROW: Self = Attr {
        name: "",
        kind: Kind::Bool,
        access: Access::ReadWrite,
        here: |_, access| Some(access),
        default: "",
        saved: Saved::NotDefault,
        tail: Tail::None,
        compatibility: None,
        help: "",
        get: |_| String::new(),
        set: |_, _| Ok(()),
    };

    /// Whether the value belongs into a saved configuration.
    pub fn is_key(&self, object: &T) -> bool {
        match self.saved {
            Saved::Never => false,
            Saved::Always => true,
            Saved::NotDefault => (self.get)(object) != self.default,
            Saved::When(says_so) => says_so(object),
        }
    }

    /// What the file of the tree holds.
    pub fn show(&self, object: &T) -> String {
        with_key((self.get)(object), self.is_key(object), self.tail)
    }

    /// Checks a value and writes it. Who may write is the caller's business.
    pub fn write(&self, object: &mut T, text: &str) -> Result<(), Error> {
        let named = |error: Error| Error::new(error.errno, format!("{}: {}", self.name, error.text));
        let value = self.kind.parse(text).map_err(named)?;
        (self.set)(object, value).map_err(named)
    }
}

impl<T> Attr<T> {
    /// Puts the default back, which with SCST may be a number that nobody can write (`group_id` 0).
    pub fn restore(&self, object: &mut T, default: &str) -> Result<(), Error> {
        let named = |error: Error| Error::new(error.errno, format!("{}: {}", self.name, error.text));
        let value = self.restored(default).map_err(named)?;
        (self.set)(object, value).map_err(named)
    }

    /// Whether [`Attr::restore`] takes it.
    pub fn can_restore(&self, default: &str) -> bool {
        self.restored(default).is_ok()
    }

    fn restored(&self, default: &str) -> Result<Value, Error> {
        match self.kind {
            Kind::Number { max, .. } => Kind::Number { min: 0, max }.parse(default),
            kind => kind.parse(default),
        }
    }
}

/// A value as its file shows it (SCST's SysfsRules: the key mark is a line of its own).
pub fn with_key(value: String, is_key: bool, tail: Tail) -> String {
    let mut text = value;
    text.push('\n');
    if is_key {
        text.push_str("[key]\n");
    }
    if tail == Tail::Always || (tail == Tail::AfterKey && is_key) {
        text.push('\n');
    }
    text
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Bool => f.write_str("0 or 1"),
            Kind::Switch => f.write_str("0 or 1, n or y, off or on"),
            Kind::Number { min, max } if *max == u64::MAX => write!(f, "a number from {min}"),
            Kind::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Kind::Signed { min, max } => write!(f, "a number from {min} to {max}"),
            Kind::Size => f.write_str("a number of bytes, with K, M, G or T behind it if you like"),
            Kind::Word(words) => f.write_str(&words.join(" or ")),
            Kind::Text(max) => write!(f, "printable text of at most {max} bytes"),
            Kind::Hex(lengths) => {
                let digits: Vec<String> = lengths.iter().map(|length| (length * 2).to_string()).collect();
                write!(f, "0x and {} hexadecimal digits, or nothing", digits.join(" or "))
            }
            Kind::Own(syntax) => f.write_str(syntax),
            Kind::Trigger => f.write_str("anything"),
        }
    }
}

impl Kind {
    /// The value that `text` means, or what is allowed: EINVAL, or ERANGE for a number that no field holds.
    pub fn parse(self, text: &str) -> Result<Value, Error> {
        let value = match self {
            Kind::Bool => match text {
                "0" => Some(Value::Bool(false)),
                "1" => Some(Value::Bool(true)),
                _ => None,
            },
            Kind::Switch => switch(text).map(Value::Bool),
            Kind::Number { min, max } => {
                number(text)?.filter(|number| (min..=max).contains(number)).map(Value::Number)
            }
            Kind::Signed { min, max } => {
                signed(text)?.filter(|number| (min..=max).contains(number)).map(Value::Signed)
            }
            Kind::Size => size(text)?.map(Value::Number),
            Kind::Word(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
            Kind::Text(max) => {
                let fits = text.len() <= max && text.chars().all(|c| c == ' ' || c.is_ascii_graphic());
                fits.then(|| Value::Text(text.to_owned()))
            }
            Kind::Hex(lengths) => {
                hex(text).filter(|bytes| bytes.is_empty() || lengths.contains(&bytes.len())).map(Value::Bytes)
            }
            Kind::Own(_) | Kind::Trigger => Some(Value::Text(text.to_owned())),
        };
        value.ok_or_else(|| Error::invalid(format!("\"{text}\" is not {self}")))
    }
}

/// The kernel's kstrtobool: the first character decides, for "on" and "off" the second.
fn switch(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "0" | "n" | "no" | "f" | "off" => Some(false),
        "1" | "y" | "yes" | "t" | "on" => Some(true),
        _ => None,
    }
}

/// A number with the kernel's and C's choice of base: `0x` for hexadecimal, `0` for octal.
pub fn number(text: &str) -> Result<Option<u64>, Error> {
    let (digits, base) = if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        (digits, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return Ok(None);
    }
    let too_large = || Error::new(libc::ERANGE, format!("\"{text}\" does not fit into 64 bits"));
    u64::from_str_radix(digits, base).map(Some).map_err(|_| too_large())
}

fn signed(text: &str) -> Result<Option<i64>, Error> {
    let (magnitude, sign) = text.strip_prefix('-').map_or((text, 1), |magnitude| (magnitude, -1));
    let Some(number) = number(magnitude)? else { return Ok(None) };
    let too_large = || Error::new(libc::ERANGE, format!("\"{text}\" does not fit into 64 bits"));
    let number = i128::from(number) * sign;
    i64::try_from(number).map(Some).map_err(|_| too_large())
}

fn size(text: &str) -> Result<Option<u64>, Error> {
    let shift = match text.bytes().last() {
        Some(b'K' | b'k') => 10,
        Some(b'M' | b'm') => 20,
        Some(b'G' | b'g') => 30,
        Some(b'T' | b't') => 40,
        _ => return number(text),
    };
    let too_large = || Error::new(libc::ERANGE, format!("\"{text}\" does not fit into 64 bits"));
    match number(&text[..text.len() - 1])? {
        Some(number) => number.checked_mul(1 << shift).map(Some).ok_or_else(too_large),
        None => Ok(None),
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.len() % 2 != 0 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
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
        assert_eq!(Kind::Size.parse("010"), Ok(Value::Number(8)));
        assert_eq!(Kind::Signed { min: -1, max: 9 }.parse("-1"), Ok(Value::Signed(-1)));
        let any = Kind::Signed { min: i64::MIN, max: i64::MAX };
        for number in [i64::MIN, i64::MAX] {
            assert_eq!(any.parse(&number.to_string()), Ok(Value::Signed(number)));
        }
        assert_eq!(any.parse("9223372036854775808").map_err(|error| error.errno), Err(libc::ERANGE));
        assert_eq!(any.parse("-9223372036854775809").map_err(|error| error.errno), Err(libc::ERANGE));
        assert_eq!(Kind::Switch.parse("on"), Ok(Value::Bool(true)));
        assert_eq!(Kind::Hex(&[8]).parse("0x0123456789abcdef").map(|v| v.bytes().len()), Ok(8));
        for (kind, text) in [
            (Kind::Bool, "yes"),
            (Kind::Bool, ""),
            (Kind::Number { min: 1, max: 5 }, "0"),
            (Kind::Number { min: 1, max: 5 }, "6"),
            (Kind::Number { min: 0, max: 5 }, "+1"),
            (Kind::Number { min: 0, max: 5 }, "-1"),
            (Kind::Number { min: 0, max: 9 }, "09"),
            (Kind::Number { min: 0, max: 9 }, "0x"),
            (Kind::Size, "M"),
            (Kind::Word(&["a", "b"]), "c"),
            (Kind::Text(3), "abcd"),
            (Kind::Text(3), "a\nb"),
            (Kind::Hex(&[8]), "0x012"),
            (Kind::Hex(&[8]), "0xzz23456789abcdef"),
            (Kind::Hex(&[8]), "+1+1+1+1+1+1+1+1"),
        ] {
            let error = kind.parse(text).unwrap_err();
            assert!(error.errno == libc::EINVAL && error.text.contains(&kind.to_string()), "{error}");
        }
        for text in ["99999999999999999999", "18446744073709551615T"] {
            assert_eq!(Kind::Size.parse(text).unwrap_err().errno, libc::ERANGE);
        }
    }
}
