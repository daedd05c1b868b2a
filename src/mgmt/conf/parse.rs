//! The tree of a configuration file.

use crate::mgmt::conf::lex::{Token, tokens};
use crate::mgmt::conf::{DEPTH_LIMIT, Error, Place};

/// A line, and the section that it opens if it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// Its first word.
    pub name: String,
    /// Its other words.
    pub values: Vec<String>,
    /// What is between its braces; `None` without braces.
    pub children: Option<Vec<Node>>,
}

impl Node {
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
}

/// Parses a file.
pub fn parse(text: &str) -> Result<Vec<Node>, Error> {
    let mut levels: Vec<Vec<Node>> = vec![Vec::new()];
    let mut opened: Vec<Place> = Vec::new();
    let mut line: Option<Node> = None;
    for (place, token) in tokens(text)? {
        match token {
            Token::Word(word) => match &mut line {
                None => line = Some(Node { place, name: word, values: Vec::new(), children: None }),
                Some(node) => node.values.push(word),
            },
            Token::Line => finish(&mut line, &mut levels),
            Token::Open => {
                let node = line.take().ok_or_else(|| Error::new(place, "{ without a section's name"))?;
                if opened.len() >= DEPTH_LIMIT {
                    return Err(Error::new(place, format!("sections nest deeper than {DEPTH_LIMIT}")));
                }
                opened.push(node.place);
                levels.last_mut().map(|level| level.push(node)).unwrap_or_default();
                levels.push(Vec::new());
            }
            Token::Close => {
                finish(&mut line, &mut levels);
                opened.pop().ok_or_else(|| Error::new(place, "} without a { before it"))?;
                let children = levels.pop().unwrap_or_default();
                if let Some(node) = levels.last_mut().and_then(|level| level.last_mut()) {
                    node.children = Some(children);
                }
            }
        }
    }
    finish(&mut line, &mut levels);
    match opened.pop() {
        Some(place) => Err(Error::new(place, "the section is not closed with }")),
        None => Ok(levels.pop().unwrap_or_default()),
    }
}

fn finish(line: &mut Option<Node>, levels: &mut [Vec<Node>]) {
    if let (Some(node), Some(level)) = (line.take(), levels.last_mut()) {
        level.push(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_nest_and_words_keep_what_they_quote() {
        let text =
            "# comment\nHANDLER vdisk_fileio {\n\tDEVICE d { filename \"/a b\" # tail\n pass x\\#y#z } }\n";
        let nodes = parse(text).unwrap();
        assert_eq!(nodes.len(), 1);
        let device = &nodes[0].children()[0];
        assert_eq!(device.values, ["d"]);
        assert_eq!(device.children()[0].value("a path"), Ok("/a b"));
        assert_eq!(device.children()[1].values, ["x#y#z"]);
        assert_eq!(device.children()[1].place, Place { line: 4, column: 2 });
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, line, column) in [
            ("A {", 1, 1),
            ("}", 1, 1),
            ("A\n{ }", 2, 1),
            ("a \"b", 1, 3),
            ("a b\\", 1, 3),
            ("a \u{1}", 1, 3),
        ] {
            let place = parse(text).unwrap_err().place;
            assert_eq!((place.line, place.column), (line, column), "{text:?}");
        }
        assert!(parse(&"A {".repeat(100_000)).is_err());
        assert!(parse("a b\r\n}").unwrap_err().place.line == 2);
    }
}
