//! Words and braces of scst.conf, with their places.
//!
//! `#` begins a comment, unless it is in quotes, in the middle of a word, or escaped; a backslash takes the
//! next character as it is; quotes keep blanks together.

use crate::mgmt::conf::{Error, FILE_LIMIT, Place};

/// A piece of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word, without quotes and backslashes.
    Word(String),
    /// `{`.
    Open,
    /// `}`.
    Close,
    /// The end of a line.
    Line,
}

/// Every token with its place.
pub fn tokens(text: &str) -> Result<Vec<(Place, Token)>, Error> {
    let start = Place { line: 1, column: 1 };
    if text.len() > FILE_LIMIT {
        return Err(Error::new(start, format!("the file is longer than {FILE_LIMIT} bytes")));
    }
    let mut tokens = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let place = |column: usize| Place { line: index + 1, column: column + 1 };
        let line = line.strip_suffix('\r').unwrap_or(line);
        line_tokens(line, &mut tokens, &place)?;
        tokens.push((place(line.len()), Token::Line));
    }
    Ok(tokens)
}

fn line_tokens(
    line: &str,
    tokens: &mut Vec<(Place, Token)>,
    place: &dyn Fn(usize) -> Place,
) -> Result<(), Error> {
    let mut characters = line.char_indices().peekable();
    while let Some(&(at, character)) = characters.peek() {
        match character {
            ' ' | '\t' => {
                characters.next();
            }
            '#' => return Ok(()),
            '{' | '}' => {
                characters.next();
                let token = if character == '{' { Token::Open } else { Token::Close };
                tokens.push((place(at), token));
            }
            _ => {
                let word = word(&mut characters, place(at))?;
                tokens.push((place(at), Token::Word(word)));
            }
        }
    }
    Ok(())
}

type Characters<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

fn word(characters: &mut Characters<'_>, place: Place) -> Result<String, Error> {
    let mut word = String::new();
    let mut quoted = false;
    while let Some(&(_, character)) = characters.peek() {
        match character {
            '"' => quoted = !quoted,
            '\\' => {
                characters.next();
                let Some(&(_, escaped)) = characters.peek() else {
                    return Err(Error::new(place, "a backslash at the end of the line escapes nothing"));
                };
                word.push(escaped);
            }
            ' ' | '\t' | '{' | '}' if !quoted => break,
            other if other.is_control() && other != '\t' => {
                return Err(Error::new(place, format!("a control character ({other:?}) in a word")));
            }
            other => word.push(other),
        }
        characters.next();
    }
    if quoted {
        return Err(Error::new(place, "the quotes are not closed on this line"));
    }
    Ok(word)
}
