//! One C program for every misuse of the API: each asserts the error and its words, and that the library
//! goes on working afterwards.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod c_programs;
mod common;

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use c_programs::{LIMIT, compile, has_compiler, installed, tree};
use common::{Folder, run};

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
