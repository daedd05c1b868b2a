//! One C program for every misuse of the API: each asserts the error and its words, and that the library
//! goes on working afterwards. And one that provokes every errno that the header documents.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod c_programs;
mod common;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use c_programs::{LIMIT, compile, has_compiler, installed, tree};
use common::{Folder, run, say};

#[test]
fn every_misuse_is_an_error_that_says_what_is_wrong() {
    if !has_compiler("misuse of the C API") {
        return;
    }
    let folder = Folder::new("misuse");
    let place = installed(&folder);
    let mut sources: Vec<String> = fs::read_dir(tree().join("tests/c/misuse"))
        .unwrap()
        .map(|entry| format!("tests/c/misuse/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    sources.sort();
    assert!(sources.len() >= 40, "{} programs", sources.len());
    let (left, failed) = (Mutex::new(sources), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some(source) = left.lock().unwrap().pop() else { return };
            let program = compile(&place, &source, &["-Wno-unused-function"]);
            let outcome = run(&mut Command::new(program), LIMIT);
            if !outcome.is_good() {
                failed.lock().unwrap().push(format!("{source}: {:?}\n{}", outcome.status, outcome.text));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// `scstu_start -EBUSY`, for every function and every errno that its comment names.
fn documented(header: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for piece in header.split("\n/**").skip(1) {
        let Some((comment, rest)) = piece.split_once("*/\n") else { continue };
        let declaration = rest.split(';').next().unwrap_or("");
        let Some(function) = declaration.strip_prefix("int ").and_then(|rest| rest.split('(').next()) else {
            continue;
        };
        let Some((_, answers)) = comment.split_once("@return") else { continue };
        let words = answers.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let is_errno = |word: &&str| word.starts_with("-E") && word.len() > 3;
        all.extend(words.filter(is_errno).map(|word| format!("{function} {word}")));
    }
    all
}

#[test]
fn every_errno_of_the_header_is_provoked() {
    if !has_compiler("errnos of the C API") {
        return;
    }
    let folder = Folder::new("errnos");
    let place = installed(&folder);
    let program = compile(&place, "tests/c/errnos.c", &["-Wno-unused-function"]);
    let directory = folder.file("handlers");
    fs::create_dir(&directory).unwrap();
    let outcome = run(Command::new(program).arg(&directory), LIMIT);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
    let (left, done): (Vec<&str>, Vec<&str>) =
        outcome.text.lines().partition(|line| line.contains(" not provoked: "));
    let left: BTreeSet<String> =
        left.iter().map(|line| line.split(" not provoked: ").next().unwrap().to_owned()).collect();
    let done: BTreeSet<String> = done.into_iter().map(str::to_owned).collect();
    let documented = documented(&fs::read_to_string(tree().join("include/scstu.h")).unwrap());
    let answered: BTreeSet<String> = done.union(&left).cloned().collect();
    let untested: Vec<_> = documented.difference(&answered).collect();
    assert!(untested.is_empty(), "documented, but not in tests/c/errnos.c: {untested:?}");
    let unknown: Vec<_> = answered.difference(&documented).collect();
    assert!(unknown.is_empty(), "answered, but not in include/scstu.h: {unknown:?}");
    say(&format!("{} errnos provoked, {} not", done.len(), left.len()));
    assert!(done.len() > 230 && left.is_disjoint(&done), "{left:?}");
    assert_eq!(left.len(), 6, "{left:?}");
}

#[test]
fn an_errno_that_nobody_provokes_is_seen() {
    let header = "\n/**\n * @return 0, or -EIO x;\n * -EBADF, -EBUSY as y\n */\nint scstu_f(void);\n";
    let names: Vec<String> = documented(header).into_iter().collect();
    assert_eq!(names, ["scstu_f -EBADF", "scstu_f -EBUSY", "scstu_f -EIO"]);
}
