//! `include/scstu.h` is what the source says, compiles alone, and documents everything that it declares.
//!
//! `SCSTU_BLESS=1 cargo test --test header` writes it anew.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cbindgen::{Config, DocumentationStyle, Language, Style};
use common::{Folder, is_installed, run, skip};

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("include/scstu.h")
}

/// What a C programmer reads first.
const PREAMBLE: &str = include_str!("c/preamble.h");

fn generated() -> String {
    let mut config = Config {
        language: Language::C,
        style: Style::Tag,
        documentation_style: DocumentationStyle::Doxy,
        cpp_compat: true,
        usize_is_size_t: true,
        no_includes: true,
        sys_includes: ["stddef.h", "stdint.h", "sys/uio.h"].map(str::to_owned).to_vec(),
        include_guard: Some("SCSTU_H".to_owned()),
        header: Some(PREAMBLE.trim_end().to_owned()),
        ..Config::default()
    };
    config.export.rename.insert("iovec".to_owned(), "struct iovec".to_owned());
    config.export.exclude.push("ROUTER".to_owned());
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/capi");
    let mut builder = cbindgen::Builder::new().with_config(config);
    let mut files: Vec<_> = fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.is_file() && !file.ends_with("mod.rs")) {
        builder = builder.with_src(file);
    }
    let mut bytes = Vec::new();
    builder.generate().unwrap().write(&mut bytes);
    without_safety(&String::from_utf8(bytes).unwrap())
}

/// `# Safety` is for Rust; C is told of pointers in the parameters.
fn without_safety(text: &str) -> String {
    let mut out = Vec::new();
    let mut skipping = false;
    for line in text.lines() {
        if line.trim() == "* # Safety" {
            skipping = true;
            while out.last().is_some_and(|last: &&str| last.trim() == "*") {
                out.pop();
            }
        }
        skipping &= line.trim() != "*/";
        if !skipping {
            out.push(line);
        }
    }
    out.join("\n") + "\n"
}

#[test]
fn the_header_is_what_the_source_says() {
    let new = generated();
    if std::env::var_os("SCSTU_BLESS").is_some() {
        fs::create_dir_all(path().parent().unwrap()).unwrap();
        fs::write(path(), &new).unwrap();
    }
    let old = fs::read_to_string(path()).unwrap_or_default();
    assert!(old == new, "include/scstu.h is stale: SCSTU_BLESS=1 cargo test --test header writes it");
}

fn compiles(compiler: &str, extension: &str, flags: &[&str]) {
    if !is_installed(compiler) {
        return skip(&format!("scstu.h with {compiler}"), "not installed");
    }
    let folder = Folder::new("header");
    let source = folder.file(&format!("alone.{extension}"));
    fs::write(&source, "#include <scstu.h>\n").unwrap();
    let mut command = Command::new(compiler);
    command.args([
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Wstrict-aliasing",
        "-Wconversion",
        "-Wshadow",
        "-Werror",
    ]);
    command.args(flags).arg("-I").arg(path().parent().unwrap());
    command.arg("-c").arg(&source).arg("-o").arg(folder.file("alone.o"));
    let outcome = run(&mut command, Duration::from_secs(60));
    assert!(outcome.is_good(), "{}", outcome.text);
}

/// All that clang can warn of, but for bytes left free in structs, of which some processors want more.
const EVERYTHING: [&str; 2] = ["-Weverything", "-Wno-padded"];

#[test]
fn it_compiles_alone_as_c99() {
    let flags = ["-std=c99", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wold-style-definition"];
    compiles("gcc", "c", &flags);
    compiles("clang", "c", &[&flags[..], &EVERYTHING].concat());
}

#[test]
fn it_compiles_alone_as_cxx11() {
    compiles("g++", "cc", &["-std=c++11", "-Wold-style-cast"]);
    compiles("clang++", "cc", &[&["-std=c++11"][..], &EVERYTHING].concat());
}

/// A declaration and the comment before it.
struct Item {
    comment: String,
    declaration: String,
    is_member: bool,
}

fn items(header: &str) -> Vec<Item> {
    let mut items = Vec::new();
    let (mut comment, mut is_comment) = (String::new(), false);
    let (mut declaration, mut is_member) = (String::new(), false);
    for line in header.lines() {
        let text = line.trim();
        if text.starts_with("/**") {
            (comment, is_comment) = (String::new(), true);
        }
        if is_comment {
            comment += text;
            comment.push('\n');
            is_comment = !text.ends_with("*/");
            continue;
        }
        let is_constant = text.starts_with("#define SCSTU_") && text.split_whitespace().count() > 2;
        let is_noise = text.starts_with('#') || text.starts_with("extern \"C\"") || text.starts_with('}');
        if text.is_empty() || is_noise && !is_constant {
            continue;
        }
        if declaration.is_empty() {
            is_member = line.starts_with(' ');
        }
        declaration = format!("{declaration} {text}").trim().to_owned();
        if is_constant || text.ends_with([';', '{']) {
            let (comment, declaration) = (std::mem::take(&mut comment), std::mem::take(&mut declaration));
            items.push(Item { comment, declaration, is_member });
        }
    }
    items
}

/// The names of a function's or function pointer's parameters.
fn parameters(declaration: &str) -> Option<Vec<String>> {
    let list = declaration.strip_suffix(");")?.rsplit_once('(')?.1;
    let name = |part: &str| {
        let word = part.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or("");
        (word != "void").then(|| word.to_owned())
    };
    Some(list.split(", ").filter_map(|part| name(part.trim())).collect())
}

/// What the comment of an item does not say.
fn missing(item: &Item) -> Vec<String> {
    let Item { comment, declaration, is_member } = item;
    let mut wanted = Vec::new();
    if !is_member {
        wanted.push("@since ".to_owned());
    }
    if let Some(parameters) = parameters(declaration) {
        wanted.extend(parameters.iter().map(|name| format!("@param {name} ")));
        // The comment of the struct says it for its members.
        if !is_member {
            wanted.push("hread".to_owned());
        }
        if !declaration.starts_with("typedef void") && !declaration.starts_with("void") {
            wanted.push("@return ".to_owned());
        }
    }
    wanted.retain(|words| !comment.contains(words.as_str()));
    if comment.len() < 10 {
        wanted.push("a comment".to_owned());
    }
    wanted.iter().map(|words| format!("no {words}: {declaration}")).collect()
}

#[test]
fn every_item_is_documented() {
    let header = fs::read_to_string(path()).unwrap();
    let items = items(&header);
    let functions = items.iter().filter(|item| !item.is_member && parameters(&item.declaration).is_some());
    assert!(functions.count() > 20);
    let found: Vec<_> = items.iter().flat_map(missing).collect();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn what_is_missing_is_seen() {
    let bare = "/** x */\nint scstu_f(struct scstu *handle, uint32_t n);\nstruct s {\n  int a;\n};\n";
    let found: Vec<_> = items(bare).iter().flat_map(missing).collect();
    assert_eq!(found.len(), 9, "{found:?}");
    let member = "struct s {\n  /** A function, told of in one line. */\n  int (*f)(int a, int b);\n};\n";
    let found: Vec<_> = items(member).iter().filter(|item| item.is_member).flat_map(missing).collect();
    assert_eq!(found.len(), 3, "{found:?}");
}
