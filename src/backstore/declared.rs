//! What a handler that the host brings along declares of its devices: parameters and attributes, as rows
//! like all others ([`crate::attr`]). The file of the tree, the line of scst.conf, the check of a value come
//! of the row; the handler is told values that fit.
//!
//! ```
//! use scstu::attr::{Access, Attr, Kind};
//! use scstu::backstore::declared::{Declared, row};
//!
//! static ROWS: [Attr<Declared>; 2] = [
//!     row(0, "queue_depth", Kind::Number { min: 1, max: 64 }, Access::CreateOnly, "8", "requests at once"),
//!     row(1, "delay_us", Kind::Number { min: 0, max: 1000 }, Access::ReadWrite, "0", "pause of a request"),
//! ];
//! scstu::backstore::declared::check(&ROWS).unwrap();
//! ```

use std::sync::Arc;

use crate::attr::{Access, Attr, Error, Kind, Value, to_hex};
use crate::backstore::gate::Gate;

/// Most rows of a handler.
pub const ROW_LIMIT: usize = 32;
/// Longest name of a row in bytes.
pub const NAME_LIMIT: usize = 64;
/// Longest help of a row in bytes.
pub const HELP_LIMIT: usize = 1024;
/// Longest value in bytes, also of one that the handler tells.
pub const VALUE_LIMIT: usize = 1024;
/// Most words of a row, and bytes of each.
pub const WORD_LIMIT: usize = 64;

/// Files and links that the directory of a device has besides attributes.
const TAKEN: [&str; 4] = ["exported", "handler", "mgmt", "uevent"];

/// The values of a device, by the place of their row.
#[derive(Clone, Default)]
pub struct Declared {
    texts: Vec<String>,
    gate: Option<Arc<Gate>>,
}

impl Declared {
    /// What nobody has set is at its default.
    pub fn new(rows: &[Attr<Declared>]) -> Self {
        Declared { texts: rows.iter().map(|row| row.default.to_owned()).collect(), gate: None }
    }

    /// The same for a device that is open, which tells what only it knows.
    pub fn of(&self, gate: Option<Arc<Gate>>) -> Self {
        Declared { texts: self.texts.clone(), gate }
    }

    /// The values in the order of their rows; of what the handler tells by itself the default.
    pub fn texts(&self) -> &[String] {
        &self.texts
    }
}

/// Shows what was set, or the default.
fn show<const SLOT: usize>(own: &Declared) -> String {
    own.texts.get(SLOT).cloned().unwrap_or_default()
}

/// Asks the handler: the default where it is closed, or does not know.
fn ask<const SLOT: usize>(own: &Declared) -> String {
    let told = own.gate.as_ref().and_then(|gate| gate.attribute(SLOT).ok());
    told.map_or_else(|| show::<SLOT>(own), |text| one_line(&text))
}

fn set<const SLOT: usize>(own: &mut Declared, value: Value) -> Result<(), Error> {
    if let Some(text) = own.texts.get_mut(SLOT) {
        *text = written(value);
    }
    Ok(())
}

/// One line of printable ASCII, as files have it.
fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or("").chars();
    line.take(VALUE_LIMIT).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// A value as it is kept and shown: numbers in decimal, whatever they were written in.
fn written(value: Value) -> String {
    match value {
        Value::Bool(value) => u8::from(value).to_string(),
        Value::Number(number) => number.to_string(),
        Value::Signed(number) => number.to_string(),
        Value::Text(text) => text,
        Value::Bytes(bytes) => to_hex(&bytes),
    }
}

type Get = fn(&Declared) -> String;
type Set = fn(&mut Declared, Value) -> Result<(), Error>;

macro_rules! slots {
    ($($slot:literal)*) => {
        const SHOW: [Get; ROW_LIMIT] = [$(show::<$slot>),*];
        const ASK: [Get; ROW_LIMIT] = [$(ask::<$slot>),*];
        const SET: [Set; ROW_LIMIT] = [$(set::<$slot>),*];
    };
}

slots!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31);

/// The row at a place of a handler's list, below [`ROW_LIMIT`]. What is [`Access::ReadOnly`] is asked from
/// the open device ([`Backstore::attribute`](crate::backstore::Backstore::attribute)); what is
/// [`Access::CreateOnly`] or [`Access::ReadWrite`] may be given when the device is made, and is saved when it
/// is not the default.
///
/// # Panics
/// While it is compiled, as a `const` or `static`, if the place is not below the limit.
pub const fn row(
    slot: usize,
    name: &'static str,
    kind: Kind,
    access: Access,
    default: &'static str,
    help: &'static str,
) -> Attr<Declared> {
    let is_told = matches!(access, Access::ReadOnly);
    Attr {
        name,
        kind,
        access,
        default,
        help,
        saved: if is_told { crate::attr::Saved::Never } else { crate::attr::Saved::NotDefault },
        get: if is_told { ASK[slot] } else { SHOW[slot] },
        set: SET[slot],
        ..Attr::ROW
    }
}

/// A text as it is kept, or what is allowed.
pub fn canonical(kind: Kind, text: &str) -> Result<String, Error> {
    kind.parse(text).map(written)
}

/// What a value is as a number for the handler: of a word its place, of a negative one its two's complement;
/// 0 of a text.
pub fn number(kind: Kind, text: &str) -> u64 {
    match (kind, kind.parse(text)) {
        (Kind::Word(words), _) => words.iter().position(|word| *word == text).unwrap_or(0) as u64,
        (_, Ok(Value::Signed(number))) => u64::from_ne_bytes(number.to_ne_bytes()),
        (_, Ok(value)) => value.number(),
        (_, Err(_)) => 0,
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_good = name.len() <= NAME_LIMIT
        && name.bytes().all(is_word)
        && name.starts_with(|c: char| c.is_ascii_lowercase());
    if !is_good {
        return Err(format!(
            "is no name: a letter, then letters, digits and _, {NAME_LIMIT} at most, all small"
        ));
    }
    if TAKEN.contains(&name) || name.starts_with("dif_") {
        return Err("is a name that devices have for something else".to_owned());
    }
    Ok(())
}

fn check_kind(kind: Kind) -> Result<(), String> {
    match kind {
        Kind::Number { min, max } if min > max => Err(format!("minimum {min} is more than maximum {max}")),
        Kind::Signed { min, max } if min > max => Err(format!("minimum {min} is more than maximum {max}")),
        Kind::Text(max) if !(1..=VALUE_LIMIT).contains(&max) => {
            Err(format!("a text of {max} bytes: 1 to {VALUE_LIMIT} are possible"))
        }
        Kind::Bool | Kind::Number { .. } | Kind::Signed { .. } | Kind::Size | Kind::Text(_) => Ok(()),
        _ => Err("is of a kind that a handler cannot have".to_owned()),
    }
}

fn check_words(words: &[&str]) -> Result<(), String> {
    if !(1..=WORD_LIMIT).contains(&words.len()) {
        return Err(format!("{} words: 1 to {WORD_LIMIT} are possible", words.len()));
    }
    for (at, word) in words.iter().enumerate() {
        let is_good = (1..=WORD_LIMIT).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_graphic());
        if !is_good || word.contains([';', '=', '"', '\\', '#', '{', '}']) {
            return Err(format!(
                "\"{word}\" is no word: 1 to {WORD_LIMIT} printable characters without ; = \" \\ # {{ and }}"
            ));
        }
        if words[..at].contains(word) {
            return Err(format!("the word \"{word}\" is there twice"));
        }
    }
    Ok(())
}

/// A row before it is one: of texts that need not last.
#[derive(Clone, Copy)]
pub struct Shape<'a> {
    /// Name.
    pub name: &'a str,
    /// Values; of words see below.
    pub kind: Kind,
    /// The words of [`Kind::Word`]; none for other kinds.
    pub words: &'a [&'a str],
    /// Access.
    pub access: Access,
    /// Value when nobody has set it.
    pub default: &'a str,
    /// What it means, in one line.
    pub help: &'a str,
}

impl<'a> From<&'a Attr<Declared>> for Shape<'a> {
    fn from(row: &'a Attr<Declared>) -> Self {
        let words = if let Kind::Word(words) = row.kind { words } else { &[] };
        Shape {
            name: row.name,
            kind: row.kind,
            words,
            access: row.access,
            default: row.default,
            help: row.help,
        }
    }
}

impl Shape<'_> {
    /// Whether a row is made of this, with this default.
    pub fn is(&self, row: &Attr<Declared>, default: &str) -> bool {
        let other = Shape::from(row);
        let is_word = |kind| matches!(kind, Kind::Word(_));
        let is_kind = if is_word(self.kind) { is_word(row.kind) } else { self.kind == row.kind };
        is_kind
            && (self.name, self.words, self.access, self.help)
                == (other.name, other.words, other.access, other.help)
            && default == other.default
    }

    /// The default as it is kept.
    fn default(&self) -> Result<String, String> {
        if self.access == Access::ReadOnly && self.default.is_empty() {
            return Ok(String::new());
        }
        let kept = match self.kind {
            Kind::Word(_) if self.words.contains(&self.default) => Ok(self.default.to_owned()),
            Kind::Word(_) => Err(format!("\"{}\" is not {}", self.default, self.words.join(" or "))),
            kind => canonical(kind, self.default).map_err(|error| error.text),
        };
        kept.map_err(|text| format!("default {text}"))
    }

    fn check(&self) -> Result<String, String> {
        check_name(self.name)?;
        match self.kind {
            Kind::Word(_) => check_words(self.words)?,
            kind => check_kind(kind)?,
        }
        if !matches!(self.access, Access::ReadOnly | Access::CreateOnly | Access::ReadWrite) {
            return Err("can be read only, given when the device is made, or set".to_owned());
        }
        let is_help = |c: char| c == ' ' || c.is_ascii_graphic();
        if self.help.len() > HELP_LIMIT || !self.help.chars().all(is_help) {
            return Err(format!("help is not one line of at most {HELP_LIMIT} printable ASCII characters"));
        }
        self.default()
    }
}

/// The defaults as they are kept, or what of a handler's rows cannot be, and what is allowed. Whether the
/// name is one that all devices have is seen elsewhere.
pub fn check_shapes(shapes: &[Shape<'_>]) -> Result<Vec<String>, Error> {
    if shapes.len() > ROW_LIMIT {
        return Err(Error::invalid(format!("{} attributes: at most {ROW_LIMIT} are possible", shapes.len())));
    }
    let checked = shapes.iter().enumerate().map(|(at, shape)| {
        let named = |text: String| Error::invalid(format!("attribute \"{}\": {text}", shape.name));
        if shapes[..at].iter().any(|known| known.name == shape.name) {
            return Err(named("is declared twice".to_owned()));
        }
        shape.check().map_err(named)
    });
    checked.collect()
}

/// What of a handler's rows cannot be, and what is allowed.
pub fn check(rows: &[Attr<Declared>]) -> Result<(), Error> {
    let shapes: Vec<Shape<'_>> = rows.iter().map(Shape::from).collect();
    let kept = check_shapes(&shapes)?;
    match rows.iter().zip(&kept).find(|(row, kept)| row.default != kept.as_str()) {
        Some((row, kept)) => {
            let (name, default) = (row.name, row.default);
            let text = format!("attribute \"{name}\": default \"{default}\" is to be written \"{kept}\"");
            Err(Error::invalid(text))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_as_they_are_shown() {
        assert_eq!(canonical(Kind::Size, "1M").unwrap(), "1048576");
        assert_eq!(canonical(Kind::Signed { min: -9, max: 9 }, "-0x2").unwrap(), "-2");
        assert_eq!(number(Kind::Signed { min: -9, max: 9 }, "-2"), u64::MAX - 1);
        assert_eq!(number(Kind::Word(&["a", "b"]), "b"), 1);
        assert_eq!(number(Kind::Bool, "1"), 1);
        assert_eq!(one_line("a\tb\nc"), "a?b");
    }

    #[test]
    fn rows_that_make_no_sense_are_refused() {
        let small = Kind::Number { min: 1, max: 5 };
        let of = |name, kind, default| check(&[row(0, name, kind, Access::ReadWrite, default, "help")]);
        assert_eq!(of("a_1", small, "5"), Ok(()));
        for (name, kind, default, words) in [
            ("", small, "1", "no name"),
            ("A", small, "1", "no name"),
            ("1a", small, "1", "no name"),
            ("handler", small, "1", "something else"),
            ("dif_x", small, "1", "something else"),
            ("a", small, "6", "default \"6\" is not a number from 1 to 5"),
            ("a", small, "0x5", "to be written \"5\""),
            ("a", Kind::Number { min: 2, max: 1 }, "1", "minimum 2 is more"),
            ("a", Kind::Signed { min: 2, max: 1 }, "1", "minimum 2 is more"),
            ("a", Kind::Text(0), "", "1 to 1024"),
            ("a", Kind::Word(&[]), "", "1 to 64"),
            ("a", Kind::Word(&["x", "x"]), "x", "twice"),
            ("a", Kind::Word(&["x;"]), "x;", "no word"),
            ("a", Kind::Trigger, "", "cannot have"),
        ] {
            let text = of(name, kind, default).unwrap_err().text;
            assert!(text.contains(words) && text.starts_with("attribute \""), "{text}");
        }
    }
}
