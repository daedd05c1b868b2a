//! scst.conf: SCST's configuration file (sysfs grammar).
//!
//! ```text
//! config  := { attribute | section }
//! section := NAME [VALUE [VALUE]] "{" config "}"
//! ```
//! [`lex`] makes lines of words, [`parse`] a tree of them, [`apply`] makes changes of the tree: devices,
//! then targets with their attributes, LUNs and groups, and what enables them last.

use std::fmt;

pub mod apply;
pub mod lex;
pub mod parse;

/// Longest file in bytes.
pub const FILE_LIMIT: usize = 64 << 20;
/// Deepest nesting of sections; the grammar needs six.
pub const DEPTH_LIMIT: usize = 16;

/// A place in a file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column, in bytes.
    pub column: usize,
}

/// What is wrong with a file, and where.
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
        write!(f, "{}:{}: {}", self.place.line, self.place.column, self.text)
    }
}
