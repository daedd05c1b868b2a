use super::*;
use crate::mgmt::conf::{FILE_LIMIT, text};

#[test]
fn sections_nest_and_words_keep_what_they_quote() {
    let text = "# comment\nHANDLER vdisk_fileio {\n\tDEVICE d { filename \"/a b\" # tail\n pass x\\#y } }\n";
    let nodes = parse(text).unwrap();
    assert_eq!(nodes.len(), 1);
    let device = &nodes[0].children()[0];
    assert_eq!(device.values, ["d"]);
    assert_eq!(device.children()[0].value("a path"), Ok("/a b"));
    assert_eq!(device.children()[1].values, ["x#y"]);
    assert_eq!(device.children()[1].place, Place { line: 4, column: 2 });
}

fn words(line: &str) -> Vec<String> {
    let node = parse(line).unwrap().remove(0);
    std::iter::once(node.name).chain(node.values).collect()
}

#[test]
fn quotes_and_backslashes_keep_characters() {
    for (line, expected) in [
        (r#"a "b c" d"#, vec!["a", "b c", "d"]),
        (r#"a """#, vec!["a", ""]),
        (r"a b\ c", vec!["a", "b c"]),
        (r"a \{\}\\\#", vec!["a", r"{}\#"]),
        (r#"a "\"\\\# \{x}""#, vec!["a", r##""\# {x}"##]),
        (r#"a b"c"d"#, vec!["a", r#"b"c"d"#]),
        (r#"a\x\y"#, vec!["axy"]),
        ("a\tb \t c", vec!["a", "b", "c"]),
        ("a b #c", vec!["a", "b"]),
        (" # nothing\na b", vec!["a", "b"]),
        ("# a {#}b\"\na", vec!["a"]),
        ("a \"gr\u{fc}n\"", vec!["a", "gr\u{fc}n"]),
    ] {
        assert_eq!(words(line), expected, "{line}");
    }
}

#[test]
fn mistakes_have_a_place_and_say_what_is_allowed() {
    for (text, line, column, what) in [
        ("A {", 1, 1, "not closed with }"),
        ("A {\nB x {\n}\n", 1, 1, "not closed with }"),
        ("}", 1, 1, "without a {"),
        ("A\n{ }", 2, 1, "without a name"),
        ("a \"b", 1, 3, "quotes"),
        ("a \"b\"c", 1, 6, "closing quote"),
        ("a b\\", 1, 4, "backslash"),
        ("a \u{1}", 1, 3, "control character"),
        ("a \u{7f}", 1, 3, "control character"),
        ("# \0", 1, 3, "NUL"),
        ("a b\0c", 1, 4, "NUL"),
        ("a \"\0\"", 1, 4, "NUL"),
        ("a b\r\nc d\r\n", 1, 4, "CRLF"),
        ("# c\r\n", 1, 4, "CRLF"),
        ("\r\n", 1, 1, "CRLF"),
        ("a b\rc", 1, 4, "control character"),
        ("\u{feff}a b", 1, 1, "byte order mark"),
        ("a b#c", 1, 4, "write \\#"),
        ("a {#", 1, 4, "write \\#"),
        ("a \"b#c\"", 1, 5, "write \\#"),
        ("a b c d", 1, 7, "quotes"),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!((error.place.line, error.place.column), (line, column), "{text:?}: {error}");
        assert!(error.text.contains(what), "{text:?}: {error}");
        assert_eq!(error.errno, libc::EINVAL);
    }
}

#[test]
fn deep_nesting_is_refused_where_it_is_too_deep() {
    let error = parse(&"A {".repeat(100_000)).unwrap_err();
    assert_eq!(error.place, Place { line: 1, column: 3 * DEPTH_LIMIT + 3 });
    let good = format!("{}{}", "A {\n".repeat(DEPTH_LIMIT), "}\n".repeat(DEPTH_LIMIT));
    assert!(parse(&good).is_ok());
}

#[test]
fn too_much_is_refused() {
    assert_eq!(parse(&" ".repeat(FILE_LIMIT + 1)).unwrap_err().errno, libc::EFBIG);
    assert!(parse(&" ".repeat(FILE_LIMIT)).unwrap().is_empty());
    let error = parse(&"a\n".repeat(LINE_LIMIT + 1)).unwrap_err();
    assert_eq!(error.place, Place { line: LINE_LIMIT + 1, column: 1 });
}

#[test]
fn bytes_that_are_no_text_have_a_place() {
    let error = text(b"a b\nc \xff".to_vec()).unwrap_err();
    assert_eq!(error.place, Place { line: 2, column: 3 });
    assert!(error.text.contains("0xff"), "{error}");
}
