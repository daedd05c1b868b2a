//! Instances in a C program: many after each other, two side by side, and what becomes of the host.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod c_programs;
mod common;

use std::process::Command;
use std::time::Duration;

use c_programs::program::Program;
use c_programs::{LIMIT, compile, has_compiler, installed};
use common::{Folder, is_installed, run, say, skip};

#[test]
fn ten_thousand_instances_leave_nothing_behind() {
    if !has_compiler("lifecycle of instances") {
        return;
    }
    let folder = Folder::new("lifecycle");
    let program = compile(&installed(&folder), "tests/c/lifecycle.c", &["-Wno-unused-function"]);
    let outcome = run(Command::new(program).arg("10000"), LIMIT * 3);
    say(&outcome.text);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
}

#[test]
fn the_process_stays_the_hosts() {
    if !has_compiler("what a host keeps") {
        return;
    }
    let folder = Folder::new("host");
    let program = compile(&installed(&folder), "tests/c/host.c", &["-Wno-unused-function"]);
    let outcome = run(&mut Command::new(program), LIMIT);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
    assert_eq!(outcome.text, "", "the library writes nothing");
}

fn blocks(url: &str) -> u64 {
    let outcome = run(Command::new("iscsi-readcapacity16").arg(url), Duration::from_secs(30));
    let line = outcome.text.lines().find_map(|line| line.strip_prefix("RETURNED LOGICAL BLOCK ADDRESS:"));
    let last: u64 = line.unwrap_or_else(|| panic!("{url}: {}", outcome.text)).trim().parse().unwrap();
    last + 1
}

#[test]
fn two_instances_have_the_same_names_and_nothing_in_common() {
    if !has_compiler("two instances") {
        return;
    }
    if !is_installed("iscsi-readcapacity16") {
        return skip("two instances", "no iscsi-readcapacity16");
    }
    let folder = Folder::new("two");
    let program = compile(&installed(&folder), "tests/c/two_instances.c", &["-Wno-unused-function"]);
    let mut program = Program::start(&mut Command::new(program));
    let (one, two) = (program.line(), program.line());
    assert_eq!((blocks(&one), blocks(&two)), (16384, 32768));
    program.write("\n");
    assert_eq!(program.line(), "one is gone");
    assert_eq!(blocks(&two), 32768);
    let outcome = run(Command::new("iscsi-inq").arg(&one), Duration::from_secs(30));
    assert!(!outcome.is_good(), "the first still answers: {}", outcome.text);
    program.end();
}
