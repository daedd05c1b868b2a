//! The tree of a configuration file.

use crate::mgmt::conf::lex::{Token, tokens};
use crate::mgmt::conf::{DEPTH_LIMIT, Error, LINE_LIMIT, Place, WORD_LIMIT};

/// A line, and the section that it opens if it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// Its first word.
    pub name: String,
    /// Its other words, at most two.
    pub values: Vec<String>,
    /// What is between its braces; `None` without braces.
    pub children: Option<Vec<Node>>,
}

impl Node {
    /// A line that no file contains (yet).
    pub fn line<const N: usize>(name: &str, values: [&str; N]) -> Self {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Node { place: Place::START, name: name.to_owned(), values, children: None }
    }

    /// A section that no file contains (yet).
    pub fn section<const N: usize>(name: &str, values: [&str; N], children: Vec<Node>) -> Self {
        Node { children: Some(children), ..Node::line(name, values) }
    }

    /// The only value, or an error that says what it should be.
    pub fn value(&self, what: &str) -> Result<&str, Error> {
        match self.values.as_slice() {
            [value] => Ok(value),
            [] => Err(self.wrong(format!("{} wants {what}", self.name))),
            _ => Err(self.wrong(format!("{} wants {what}, in quotes if it has blanks", self.name))),
        }
    }

    /// An error at this node.
    pub fn wrong(&self, text: impl Into<String>) -> Error {
        Error::new(self.place, text)
    }

    /// What is between its braces.
    pub fn children(&self) -> &[Node] {
        self.children.as_deref().unwrap_or(&[])
    }

    /// Whether both say the same, wherever they stand.
    pub fn says_the_same(&self, other: &Node) -> bool {
        self.name == other.name
            && self.values == other.values
            && self.children.is_some() == other.children.is_some()
            && self.children().len() == other.children().len()
            && self.children().iter().zip(other.children()).all(|(a, b)| a.says_the_same(b))
    }
}

/// A file as far as it was read.
#[derive(Default)]
struct Parser {
    /// Sections that are open, and what has come of the outermost level.
    open: Vec<Node>,
    top: Vec<Node>,
    line: Option<Node>,
    lines: usize,
}

/// Parses a file.
pub fn parse(text: &str) -> Result<Vec<Node>, Error> {
    let mut parser = Parser::default();
    tokens(text, &mut |place, token| parser.take(place, token))?;
    match parser.open.pop() {
        Some(section) => Err(section.wrong(format!("the section {} is not closed with }}", section.name))),
        None => Ok(parser.top),
    }
}

impl Parser {
    fn take(&mut self, place: Place, token: Token) -> Result<(), Error> {
        match token {
            Token::Word(word) => self.word(place, word),
            Token::Line => {
                self.end_line();
                Ok(())
            }
            Token::Open => {
                let node = self.line.take().ok_or_else(|| {
                    Error::new(place, "{ without a name; it stands on the line of the section's name")
                })?;
                if self.open.len() >= DEPTH_LIMIT {
                    let text = format!("sections may nest at most {DEPTH_LIMIT} deep");
                    return Err(Error::new(place, text));
                }
                self.open.push(Node { children: Some(Vec::new()), ..node });
                Ok(())
            }
            Token::Close => {
                self.end_line();
                let section = self.open.pop();
                self.add(section.ok_or_else(|| Error::new(place, "} without a { before it"))?);
                Ok(())
            }
        }
    }

    fn word(&mut self, place: Place, word: String) -> Result<(), Error> {
        let Some(node) = &mut self.line else {
            self.lines += 1;
            if self.lines > LINE_LIMIT {
                return Err(Error::new(place, format!("more than {LINE_LIMIT} lines are not allowed")));
            }
            self.line = Some(Node { place, name: word, values: Vec::new(), children: None });
            return Ok(());
        };
        if node.values.len() + 1 >= WORD_LIMIT {
            let name = &node.name;
            return Err(Error::new(
                place,
                format!("too many words behind {name}; a value with blanks is written in quotes"),
            ));
        }
        node.values.push(word);
        Ok(())
    }

    fn end_line(&mut self) {
        if let Some(node) = self.line.take() {
            self.add(node);
        }
    }

    fn add(&mut self, node: Node) {
        let level = self.open.last_mut().and_then(|section| section.children.as_mut());
        level.unwrap_or(&mut self.top).push(node);
    }
}

#[cfg(test)]
mod tests;
