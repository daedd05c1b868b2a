//! A module names only itself and modules to its left in the order that `src/lib.rs` draws.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod source;

use source::{File, files, without_comment};

/// The modules in the order of the map at the head of `src/lib.rs`.
fn order(map: &File) -> Vec<String> {
    let first = map.lines.iter().position(|line| line.starts_with("//! bytes ")).expect("the map of layers");
    let lines = map.lines.iter().skip(first).take_while(|line| !line.starts_with("//! ```"));
    let words = lines.flat_map(|line| line.trim_start_matches("//!").split_whitespace());
    words.filter(|word| *word != "<").map(str::to_owned).collect()
}

/// The module that a file belongs to; none for the map itself and for the programs.
fn module(path: &str) -> Option<&str> {
    let inner = path.strip_prefix("src/")?;
    let name = inner.split('/').next()?.trim_end_matches(".rs");
    (!matches!(name, "lib" | "bin")).then_some(name)
}

/// The modules that a line names through `crate::`, also in `crate::{a, b::c}`.
fn named(line: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in without_comment(line).split("crate::").skip(1) {
        let groups = rest.strip_prefix('{').map(|inner| inner.split('}').next().unwrap_or(""));
        for part in groups.unwrap_or(rest).split(", ").take(if groups.is_some() { usize::MAX } else { 1 }) {
            names.push(part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    names
}

fn violations(file: &File, order: &[String]) -> Vec<String> {
    let Some(own) = module(&file.path) else { return Vec::new() };
    let Some(rank) = order.iter().position(|name| name == own) else {
        return vec![format!("{}: `{own}` is not on the map in src/lib.rs", file.path)];
    };
    let mut found = Vec::new();
    for (at, line) in file.lines.iter().enumerate().take(file.tests_from) {
        for name in named(line) {
            if !order.iter().take(rank + 1).any(|left| *left == name) {
                found.push(format!("{}:{}: `{own}` names `{name}`", file.path, at + 1));
            }
        }
    }
    found
}

fn map() -> Vec<String> {
    order(files(&["src"]).iter().find(|file| file.path == "src/lib.rs").unwrap())
}

#[test]
fn modules_name_only_what_is_to_their_left() {
    let order = map();
    let found: Vec<_> = files(&["src"]).iter().flat_map(|file| violations(file, &order)).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_wrong_direction_is_seen() {
    let order = map();
    for (path, text) in [
        ("src/wire/a.rs", "use crate::scsi::sense::Sense;"),
        ("src/sys.rs", "let x = crate::server::Server::new();"),
        ("src/iscsi/a.rs", "use crate::{wire::bhs, server};"),
        ("src/other/a.rs", ""),
    ] {
        assert_eq!(violations(&File::new(path, text), &order).len(), 1, "{path}: {text}");
    }
    assert!(violations(&File::new("src/server/a.rs", "use crate::wire::bhs;"), &order).is_empty());
}
