//! Words and braces of scst.conf, with their places.
//!
//! - Blanks separate words; `"` at the beginning of a word keeps blanks together up to the next `"`.
//! - A backslash takes the next character as it is, in quotes and outside of them.
//! - `{` and `}` outside of quotes open and close sections.
//! - `#` at the beginning of a line or behind a blank begins a comment. Anywhere else SCST drops the
//!   character before it with the rest of the line, so that `pass#word` becomes `pas`: here that is an error,
//!   for no file can mean it.
//!
//! A `"` inside of a word that does not begin with one is an ordinary character, as in SCST.

use crate::mgmt::conf::{BYTE_ORDER_MARK, Error, FILE_LIMIT, Place, marked, too_long};

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

/// Gives every token with its place to `take`, and stops at the first error.
pub fn tokens(text: &str, take: &mut dyn FnMut(Place, Token) -> Result<(), Error>) -> Result<(), Error> {
    if text.len() > FILE_LIMIT {
        return Err(too_long(&format!("{} bytes", text.len())));
    }
    if text.starts_with(BYTE_ORDER_MARK) {
        return Err(marked());
    }
    for (index, line) in text.split('\n').enumerate() {
        let line = Line { text: line, number: index + 1 };
        line.tokens(take)?;
        take(line.place(line.text.len()), Token::Line)?;
    }
    Ok(())
}

struct Line<'a> {
    text: &'a str,
    number: usize,
}

type Characters<'a> = std::iter::Peekable<std::str::CharIndices<'a>>;

fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

impl Line<'_> {
    fn place(&self, at: usize) -> Place {
        Place { line: self.number, column: at + 1 }
    }

    fn wrong(&self, at: usize, text: impl Into<String>) -> Error {
        Error::new(self.place(at), text)
    }

    fn tokens(&self, take: &mut dyn FnMut(Place, Token) -> Result<(), Error>) -> Result<(), Error> {
        let mut characters = self.text.char_indices().peekable();
        while let Some(&(at, character)) = characters.peek() {
            self.check(at, character)?;
            match character {
                ' ' | '\t' => {
                    characters.next();
                }
                '#' if at == 0 || self.text[..at].ends_with(is_blank) => return self.comment(at),
                '#' => return Err(self.hash(at)),
                '{' | '}' => {
                    characters.next();
                    take(self.place(at), if character == '{' { Token::Open } else { Token::Close })?;
                }
                '"' => take(self.place(at), Token::Word(self.quoted(&mut characters)?))?,
                _ => take(self.place(at), Token::Word(self.plain(&mut characters)?))?,
            }
        }
        Ok(())
    }

    /// Comments may hold anything but what no text may.
    fn comment(&self, from: usize) -> Result<(), Error> {
        self.text[from..].char_indices().try_for_each(|(at, character)| self.check(from + at, character))
    }

    fn hash(&self, at: usize) -> Error {
        let what = "# in the middle of a word: SCST would drop it, all that follows and the character before \
                    it; write \\# for the character, or a blank before it for a comment";
        self.wrong(at, what)
    }

    fn check(&self, at: usize, character: char) -> Result<(), Error> {
        match character {
            '\r' if at + 1 == self.text.len() => {
                let what = "the line ends with a carriage return (CRLF); save the file with Unix line ends";
                Err(self.wrong(at, what))
            }
            '\0' => Err(self.wrong(at, "a NUL byte; the file must be text")),
            '\t' => Ok(()),
            other if other.is_control() => {
                Err(self.wrong(at, format!("the control character {other:?} is not allowed")))
            }
            _ => Ok(()),
        }
    }

    fn plain(&self, characters: &mut Characters<'_>) -> Result<String, Error> {
        let mut word = String::new();
        while let Some(&(at, character)) = characters.peek() {
            self.check(at, character)?;
            match character {
                ' ' | '\t' | '{' | '}' => break,
                '#' => return Err(self.hash(at)),
                '\\' => word.push(self.escaped(characters)?),
                other => {
                    word.push(other);
                    characters.next();
                }
            }
        }
        Ok(word)
    }

    fn quoted(&self, characters: &mut Characters<'_>) -> Result<String, Error> {
        let begin = characters.next().map_or(0, |(at, _)| at);
        let mut word = String::new();
        while let Some(&(at, character)) = characters.peek() {
            self.check(at, character)?;
            match character {
                '"' => {
                    characters.next();
                    return match characters.peek() {
                        Some(&(at, next)) if !is_blank(next) && !matches!(next, '{' | '}') => {
                            let what = format!(
                                "{next:?} behind the closing quote; a blank must follow, or \
                                                write \\\" for a quote inside"
                            );
                            Err(self.wrong(at, what))
                        }
                        _ => Ok(word),
                    };
                }
                '#' => return Err(self.hash(at)),
                '\\' => word.push(self.escaped(characters)?),
                other => {
                    word.push(other);
                    characters.next();
                }
            }
        }
        Err(self.wrong(begin, "the quotes are not closed on this line"))
    }

    /// The character behind a backslash.
    fn escaped(&self, characters: &mut Characters<'_>) -> Result<char, Error> {
        let at = characters.next().map_or(0, |(at, _)| at);
        let Some((next, character)) = characters.next() else {
            return Err(self.wrong(at, "the backslash at the end of the line escapes nothing"));
        };
        self.check(next, character)?;
        Ok(character)
    }
}
