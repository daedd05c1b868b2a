//! The words of the tree's commands (SCST 1.0.3): blanks and `=` separate them, `;` and a new line end a
//! parameter.

use crate::attr::Error;

/// What is left of a command.
pub struct Words<'a> {
    rest: &'a str,
}

/// What separates words, here and in values.
pub fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace()
}

/// The first word of a value: of an account its name.
pub fn first_word(text: &str) -> &str {
    text.split(is_blank).find(|word| !word.is_empty()).unwrap_or("")
}

/// The first word of a value and what follows it, an account's name and its password, without the blanks
/// around them.
pub fn first_and_rest(text: &str) -> (&str, &str) {
    let text = text.trim_matches(is_blank);
    let (first, rest) = text.split_once(is_blank).unwrap_or((text, ""));
    (first, rest.trim_start_matches(is_blank))
}

fn separates(c: char) -> bool {
    is_blank(c) || c == '='
}

impl<'a> Words<'a> {
    /// The words of `text`.
    pub fn new(text: &'a str) -> Self {
        Words { rest: text }
    }

    /// The next word.
    pub fn next_word(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start_matches(separates);
        let end = text.find(separates).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        Some(word).filter(|word| !word.is_empty())
    }

    /// The next word, or an error that says what it should be.
    pub fn wanted(&mut self, what: &str) -> Result<&'a str, Error> {
        self.next_word().ok_or_else(|| Error::invalid(format!("{what} is missing")))
    }

    /// Refuses whatever is left.
    pub fn end(&mut self) -> Result<(), Error> {
        match self.next_word() {
            None => Ok(()),
            Some(word) => Err(Error::invalid(format!("\"{word}\" is too much"))),
        }
    }

    /// Everything that is left, without the blanks around it.
    pub fn remainder(&mut self) -> &'a str {
        std::mem::take(&mut self.rest).trim_matches(is_blank)
    }

    /// The parameters that are left. An empty one with its `;` ends the list, as in SCST; an empty line is a
    /// blank, for what follows it was said as well.
    pub fn parameters(&mut self) -> Vec<Words<'a>> {
        let ends = [';', '\n'];
        let is_empty = |token: &str| token.trim_end_matches(ends).trim_matches(separates).is_empty();
        let tokens = std::mem::take(&mut self.rest).split_inclusive(ends);
        let tokens = tokens.take_while(|token| !(is_empty(token) && token.ends_with(';')));
        let tokens = tokens.filter(|token| !is_empty(token));
        tokens.map(|token| Words::new(token.trim_end_matches(ends))).collect()
    }

    /// The parameters that are left, each a name and one value.
    pub fn pairs(&mut self) -> Result<Vec<(&'a str, &'a str)>, Error> {
        let pair = |mut words: Words<'a>| {
            let name = words.wanted("the name of a parameter")?;
            let value = words.next_word().ok_or_else(|| Error::invalid(format!("{name} has no value")))?;
            words.end().map_err(|error| Error::invalid(format!("{name}: {error}")))?;
            Ok((name, value))
        };
        self.parameters().into_iter().map(pair).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scst_1_0_3_words_and_parameters() {
        for text in ["add a=b", "add  a = b\n", "\tadd a b", "add=a=b"] {
            let mut words = Words::new(text);
            let found = [words.next_word(), words.next_word(), words.next_word(), words.next_word()];
            assert_eq!(found, [Some("add"), Some("a"), Some("b"), None], "{text:?}");
        }
        let pairs = |text| Words::new(text).pairs();
        assert_eq!(pairs(" a=b;c = d;"), Ok(vec![("a", "b"), ("c", "d")]));
        assert_eq!(pairs("a=b\nc d"), Ok(vec![("a", "b"), ("c", "d")]));
        assert_eq!(pairs("a=b;;c=d"), Ok(vec![("a", "b")]));
        assert_eq!(pairs("\n"), Ok(vec![]));
        // A line that says nothing ends no list: the next may be `read_only=1`, or a password.
        assert_eq!(pairs("\na=b\n"), Ok(vec![("a", "b")]));
        assert_eq!(pairs("a=b;\n \r\nc d;"), Ok(vec![("a", "b"), ("c", "d")]));
        assert_eq!(pairs("\n;a=b"), Ok(vec![]));
        assert!(pairs("a").is_err() && pairs("a=b=c").is_err() && pairs("a=b c").is_err());
    }
}
