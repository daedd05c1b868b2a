//! The tree's own files, for the tests that read them.
#![allow(dead_code, clippy::unwrap_used)] // Each test uses a part; a test panics to fail.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of the tree.
pub struct File {
    /// From the tree's root, with `/`.
    pub path: String,
    pub lines: Vec<String>,
    /// The first line of test code; `lines.len()` if there is none.
    pub tests_from: usize,
}

impl File {
    pub fn new(path: &str, text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let only_tests = path.starts_with("tests/")
            || path.contains("/tests/")
            || path.ends_with("/tests.rs")
            || path.ends_with("fixture.rs");
        // `#[cfg(test)] mod tests;` names a file of its own: what follows is not test code.
        let tests_from = lines.iter().enumerate().position(|(at, line)| {
            line.starts_with("#[cfg(test)]")
                && !lines.get(at + 1).is_some_and(|next| next.starts_with("mod ") && next.ends_with(';'))
        });
        let tests_from = if only_tests { 0 } else { tests_from.unwrap_or(lines.len()) };
        File { path: path.to_owned(), lines, tests_from }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> File {
    let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
    File::new(&name, &fs::read_to_string(path).unwrap())
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The Rust files below these folders.
pub fn files(folders: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    found.sort();
    found.iter().map(|path| read(path)).collect()
}

/// What people read and run: Markdown, manifests, scripts, headers.
pub fn text_files() -> Vec<File> {
    let mut found = Vec::new();
    for folder in ["tests", ".ci", "doc", "include", "dist"] {
        if root().join(folder).is_dir() {
            collect(&root().join(folder), &mut found);
        }
    }
    found.extend(
        fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()),
    );
    found.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name == "run" || [".md", ".toml", ".sh", ".h"].iter().any(|end| name.ends_with(end))
    });
    found.iter().map(|path| read(path)).collect()
}

/// The line up to its comment.
pub fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}
