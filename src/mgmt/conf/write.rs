//! A configuration file from its tree.
//!
//! What is written is read back the same by [`parse`](super::parse::parse), whatever the values are. Values
//! with `"`, `{` or `}` are beyond SCST's own reader, which knows no escape for them: [`is_legacy`].

use crate::mgmt::conf::parse::Node;

/// A value as a word of the file.
pub fn word(value: &str) -> String {
    let quoted = value.is_empty() || value.contains([' ', '\t']);
    let mut word = String::with_capacity(value.len() + 2);
    word.extend(quoted.then_some('"'));
    for character in value.chars() {
        if matches!(character, '\\' | '#' | '"' | '{' | '}') {
            word.push('\\');
        }
        word.push(character);
    }
    word.extend(quoted.then_some('"'));
    word
}

/// Whether SCST's own reader understands the value as it is written here.
pub fn is_legacy(value: &str) -> bool {
    !value.is_empty() && !value.contains(['"', '{', '}', '\t'])
}

/// The file.
pub fn text(nodes: &[Node]) -> String {
    let mut text = String::new();
    level(nodes, 0, &mut text);
    text
}

/// Sections stand apart from what is before and behind them, unless they are empty.
fn level(nodes: &[Node], depth: usize, text: &mut String) {
    let mut was_section = false;
    for (index, node) in nodes.iter().enumerate() {
        let is_section = node.children.as_ref().is_some_and(|children| !children.is_empty());
        if index > 0 && (is_section || was_section) {
            text.push('\n');
        }
        was_section = is_section;
        line(node, depth, text);
    }
}

fn line(node: &Node, depth: usize, text: &mut String) {
    let indent = |text: &mut String| text.extend(std::iter::repeat_n('\t', depth));
    indent(text);
    text.push_str(&word(&node.name));
    for value in &node.values {
        text.push(' ');
        text.push_str(&word(value));
    }
    if let Some(children) = node.children.as_ref().filter(|children| !children.is_empty()) {
        text.push_str(" {\n");
        level(children, depth + 1, text);
        indent(text);
        text.push('}');
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mgmt::conf::parse::parse;

    /// A small generator: xorshift.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 8).unwrap() % limit
        }

        fn value(&mut self) -> String {
            let length = self.below(12);
            let special = b"\\#\"{} ";
            let byte = |random: &mut Self| match random.below(3) {
                0 => special[random.below(special.len())],
                _ => 0x20 + u8::try_from(random.below(0x5f)).unwrap(),
            };
            (0..length).map(|_| char::from(byte(self))).collect()
        }

        fn nodes(&mut self, depth: usize) -> Vec<Node> {
            (0..1 + self.below(4))
                .map(|_| {
                    let mut node = Node::line("N", []);
                    node.name = self.value();
                    node.values = (0..self.below(3)).map(|_| self.value()).collect();
                    node.children = (depth > 0 && self.below(2) == 0).then(|| self.nodes(depth - 1));
                    node
                })
                .collect()
        }
    }

    #[test]
    fn every_printable_byte_survives_alone_and_in_company() {
        for byte in 0x20..=0x7e_u8 {
            let c = char::from(byte);
            for value in
                [format!("{c}"), format!("a{c}b"), format!("{c}{c}"), format!(" {c}"), format!("x{c}")]
            {
                let text = text(&[Node::line("name", [&value])]);
                let nodes = parse(&text).unwrap_or_else(|error| panic!("{text}{error}"));
                assert_eq!(nodes[0].values, [value], "{text}");
            }
        }
    }

    #[test]
    fn a_tree_of_any_words_is_read_back_the_same() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for _ in 0..5_000 {
            let nodes = random.nodes(3);
            let text = text(&nodes);
            let read = parse(&text).unwrap_or_else(|error| panic!("{text}{error}"));
            assert_eq!(read.len(), nodes.len(), "{text}");
            assert!(nodes.iter().zip(&read).all(|(a, b)| a.says_the_same(b)), "{text}");
            assert_eq!(super::text(&read), text);
        }
    }

    #[test]
    fn the_layout_is_scstadmins() {
        let device = Node::section("DEVICE", ["d"], vec![Node::line("filename", ["/a b"])]);
        let lun = Node::section("LUN", ["1", "d"], vec![Node::line("read_only", ["1"])]);
        let nodes = [
            Node::line("threads", ["4"]),
            Node::section("HANDLER", ["h"], vec![device, Node::line("DEVICE", ["e"])]),
            Node::section("TARGET", ["t"], vec![Node::line("enabled", ["1"]), lun]),
        ];
        let expected = "threads 4\n\nHANDLER h {\n\tDEVICE d {\n\t\tfilename \"/a b\"\n\t}\n\n\
                        \tDEVICE e\n}\n\n\
                        TARGET t {\n\tenabled 1\n\n\tLUN 1 d {\n\t\tread_only 1\n\t}\n}\n";
        assert_eq!(text(&nodes), expected);
    }

    #[test]
    fn what_scst_cannot_read_is_known() {
        assert!(is_legacy("joe pass#word\\1"));
        for value in ["a\"b", "a{b", "a}b", ""] {
            assert!(!is_legacy(value), "{value}");
        }
    }
}
