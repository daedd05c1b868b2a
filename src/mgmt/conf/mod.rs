//! scst.conf: SCST's configuration file, and what else can be turned into one.
//!
//! ```text
//! config  := { line | section }
//! line    := WORD [WORD [WORD]]
//! section := WORD [WORD [WORD]] "{" config "}"
//! ```
//! [`lex`] makes words of lines, [`parse`] a tree of words, [`plan`] changes of a tree; [`save`] makes a tree
//! of the model, [`write`](mod@write) a file of a tree; [`legacy`] makes such a tree of the files of SCST's
//! older versions.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub mod legacy;
pub mod lex;
pub mod parse;
pub mod plan;
pub mod save;
pub mod write;

pub use plan::{Mode, Plan, apply, apply_text, check_text, plan_text};

/// Longest file in bytes: enough for every object that a model may have.
pub const FILE_LIMIT: usize = 16 << 20;
/// Deepest nesting of sections; the grammar needs five.
pub const DEPTH_LIMIT: usize = 16;
/// Most lines with words in a file.
pub const LINE_LIMIT: usize = 1 << 20;
/// Most words in a line: a name and two values.
pub const WORD_LIMIT: usize = 3;

/// A place in a file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in bytes.
    pub column: usize,
}

impl Place {
    /// The first byte.
    pub const START: Place = Place { line: 1, column: 1 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong with a file, and where. Shown as `line:column: text`; the caller puts the file's name
/// before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Where.
    pub place: Place,
    /// errno of the change that failed; EINVAL for the grammar.
    pub errno: i32,
    /// What, and what is allowed.
    pub text: String,
}

impl Error {
    fn new(place: Place, text: impl Into<String>) -> Self {
        Error { place, errno: libc::EINVAL, text: text.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl std::error::Error for Error {}

/// Reads a file. One that is too long is refused without being read whole; so is what is not text.
pub fn read_file(path: &Path) -> Result<String, Error> {
    let failed = |error: std::io::Error| Error {
        place: Place::START,
        errno: error.raw_os_error().unwrap_or(libc::EIO),
        text: error.to_string(),
    };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if length > FILE_LIMIT as u64 {
        return Err(too_long(&format!("{length} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    text(bytes)
}

fn too_long(what: &str) -> Error {
    let text = format!("the file is too long ({what}); at most {FILE_LIMIT} bytes are allowed");
    Error { errno: libc::EFBIG, ..Error::new(Place::START, text) }
}

/// What some editors begin a file with.
const BYTE_ORDER_MARK: &str = "\u{feff}";

fn marked() -> Error {
    Error::new(Place::START, "the file begins with a byte order mark; save it as UTF-8 without one")
}

/// The text of a file's bytes. What no configuration file may contain is refused here: more than
/// [`FILE_LIMIT`] bytes, a byte order mark, NUL, bytes that are not UTF-8.
pub fn text(bytes: Vec<u8>) -> Result<String, Error> {
    if bytes.len() > FILE_LIMIT {
        return Err(too_long(&format!("more than {FILE_LIMIT} bytes")));
    }
    if bytes.starts_with(BYTE_ORDER_MARK.as_bytes()) {
        return Err(marked());
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..good];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
        let byte = error.as_bytes()[good];
        Error::new(Place { line, column }, format!("the byte {byte:#04x} is not UTF-8 text"))
    })
}
