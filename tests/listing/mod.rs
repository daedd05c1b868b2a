//! The whole tree as text.
#![allow(clippy::unwrap_used)] // A test panics to fail.

use std::fmt::Write;

use scstu::mgmt::tree::{Kind, Tree};

/// Everything below a directory: path, mode and content of files, target of links.
pub fn listing(tree: &Tree, directory: &str, out: &mut String) {
    for (name, kind) in tree.list(directory).unwrap() {
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        assert_eq!(tree.kind(&path).unwrap(), kind, "{path}");
        match kind {
            Kind::Directory => {
                writeln!(out, "{path}/").unwrap();
                listing(tree, &path, out);
            }
            Kind::Link { target } => writeln!(out, "{path} -> {target}").unwrap(),
            Kind::File { mode } => {
                write!(out, "{path} {mode:04o}").unwrap();
                if mode & 0o444 != 0 {
                    write!(out, " {:?}", tree.read(&path).unwrap()).unwrap();
                }
                out.push('\n');
            }
        }
    }
}
