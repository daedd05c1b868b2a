//! Instances in a C program: many after each other, two side by side, and what becomes of the host.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod c_programs;
mod common;
mod initiator;

use std::process::Command;
use std::time::Duration;

use c_programs::program::Program;
use c_programs::{LIMIT, compile, has_compiler, installed};
use common::{Folder, is_installed, run, say, skip};
use initiator::{Initiator, Options, READ, WRITE, rw16};

const TARGET: &str = "iqn.2026-01.test:target";

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
fn an_instance_that_was_stopped_is_started_again() {
    if !has_compiler("stopping and starting again") {
        return;
    }
    let folder = Folder::new("restart");
    let program = compile(&installed(&folder), "tests/c/restart.c", &["-Wno-unused-function"]);
    let mut program = Program::start(&mut Command::new(program));
    let login = |url: &str, isid: u32| {
        let address = url.strip_prefix("iscsi://").and_then(|rest| rest.split('/').next()).unwrap();
        let options = Options { isid, ..Options::default() };
        Initiator::login(address.parse().unwrap(), TARGET, &options)
    };
    let mut url = program.line();
    let mut data = vec![0; 512];
    for round in 1..=5u8 {
        let mut session = login(&url, u32::from(round)).unwrap();
        for lun in 0..2 {
            let _ = session.command(lun, &[0; 6], 0, &[]);
            assert_eq!(session.good(lun, &rw16(READ, 7, 1, false), 512, &[]).unwrap(), data, "{round}");
            session.good(lun, &rw16(WRITE, 7, 1, false), 0, &[round; 512]).unwrap();
        }
        data.fill(round);
        program.write("\n");
        let next = program.line();
        assert!(session.command(0, &[0; 6], 0, &[]).is_err(), "the session is still there");
        if next != url {
            assert!(login(&url, 99).is_err(), "the old portal is still there");
        }
        url = next;
    }
    program.end();
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
