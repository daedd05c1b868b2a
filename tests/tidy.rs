//! The rules that keep the tree readable: sizes, banned words, banned calls, `unsafe` in its corners.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod source;

use source::{File, files};

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 100;
const LINE_CHARACTERS: usize = 110;

/// Where `unsafe` may be written.
const UNSAFE_CORNERS: [&str; 4] = ["src/sys.rs", "src/sys/", "src/backstore/tcmu/", "src/capi"];

/// Layers that do no I/O, read no clock and start no thread.
const PURE_LAYERS: [&str; 3] = ["src/wire/", "src/scsi/", "src/iscsi/"];

/// What a pure layer may not name, except as data.
const IMPURE: [&str; 4] = ["std::net", "std::fs", "std::thread", "::now("];

/// Types of `std::net` that are data.
const ADDRESSES: [&str; 5] = ["SocketAddr", "IpAddr", "Ipv4Addr", "Ipv6Addr", "AddrParseError"];

/// Written in halves, so that this file does not break its own rules.
const BANNED: [&str; 7] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("super::", "super"),
    concat!("\"/wo", "rk/"),
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
];

/// The rules that `file` breaks, as `path:line: what`.
fn violations(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    let mut say = |line: usize, what: String| found.push(format!("{}:{}: {what}", file.path, line + 1));
    if file.lines.len() > FILE_LINES {
        say(0, format!("{} lines, at most {FILE_LINES}", file.lines.len()));
    }
    for (at, line) in file.lines.iter().enumerate() {
        if line.chars().count() > LINE_CHARACTERS {
            say(at, format!("longer than {LINE_CHARACTERS} characters"));
        }
        if let Some(word) = BANNED.iter().find(|word| line.contains(**word)) {
            say(at, format!("{word} is banned"));
        }
        if let Some(length) = function_length(&file.lines, at).filter(|length| *length > FUNCTION_LINES) {
            say(at, format!("function of {length} lines, at most {FUNCTION_LINES}"));
        }
        if names_unsafe(line) && !UNSAFE_CORNERS.iter().any(|corner| file.path.starts_with(corner)) {
            say(at, "unsafe outside its corners".to_owned());
        }
        if at < file.tests_from && is_pure(&file.path) {
            if let Some(call) = impure(line) {
                say(at, format!("{call} in a layer that does no I/O and reads no clock"));
            }
        }
    }
    found
}

fn is_pure(path: &str) -> bool {
    PURE_LAYERS.iter().any(|layer| path.starts_with(layer))
}

fn impure(line: &str) -> Option<&'static str> {
    let code = source::without_comment(line);
    if code.contains("std::net") && ADDRESSES.iter().any(|name| code.contains(name)) {
        return None;
    }
    IMPURE.into_iter().find(|call| code.contains(call))
}

/// The keyword, not `unsafe_code` and not a comment.
fn names_unsafe(line: &str) -> bool {
    let word = concat!("un", "safe");
    source::without_comment(line)
        .split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '"'))
        .any(|part| part == word)
}

/// Lines of the function that starts at `at`, as rustfmt lays it out: it ends at the brace in its own column.
fn function_length(lines: &[String], at: usize) -> Option<usize> {
    let line = lines.get(at)?;
    let code = line.trim_start();
    let indent = line.len() - code.len();
    let starts = code.split_whitespace().take_while(|word| !word.contains('=')).any(|word| word == "fn");
    if !starts || code.starts_with("//") || line.trim_end().ends_with([';', '}']) {
        return None;
    }
    let close = format!("{}}}", " ".repeat(indent));
    lines.iter().skip(at).position(|line| line.trim_end() == close).map(|length| length + 1)
}

#[test]
fn the_tree_keeps_its_rules() {
    let found: Vec<_> = files(&["src", "tests"]).iter().flat_map(violations).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn text_files_name_no_machine() {
    for file in source::text_files() {
        for word in &BANNED[4..] {
            assert!(!file.lines.iter().any(|line| line.contains(word)), "{} names {word}", file.path);
        }
    }
}

#[test]
fn a_broken_rule_is_seen() {
    let long_function = format!("fn long() {{\n{}}}\n", "    work();\n".repeat(FUNCTION_LINES));
    let planted = [
        ("src/a.rs", "\n".repeat(FILE_LINES + 1)),
        ("src/a.rs", "x".repeat(LINE_CHARACTERS + 1)),
        ("src/a.rs", format!("// {}: later", BANNED[0])),
        ("src/a.rs", format!("use {}::x;", BANNED[3])),
        ("src/a.rs", long_function),
        ("src/scsi/a.rs", concat!("un", "safe { x() }").to_owned()),
        ("src/iscsi/a.rs", "let t = Instant::now();".to_owned()),
        ("src/wire/a.rs", "use std::net::TcpStream;".to_owned()),
        ("src/scsi/a.rs", "std::thread::spawn(f);".to_owned()),
    ];
    for (path, text) in &planted {
        assert_eq!(violations(&File::new(path, text)).len(), 1, "{path}: {:.60}", text);
    }
    let allowed = [
        ("src/iscsi/a.rs", "use std::net::SocketAddr;\n#[cfg(test)]\nmod tests {\nlet t = Instant::now();"),
        ("src/sys/a.rs", "unsafe { x() }"),
        ("src/server/a.rs", "mod tests {\nlet t = Instant::now();"),
    ];
    for (path, text) in allowed {
        assert!(violations(&File::new(path, text)).is_empty(), "{path}: {text}");
    }
}
