//! Instances in a C program: many after each other, two side by side, and what becomes of the host.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod c_programs;
mod common;
mod initiator;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use c_programs::program::Program;
use c_programs::{LIMIT, compile, has_compiler, has_valgrind, installed, valgrind};
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

/// Once more with every byte looked at.
#[test]
fn what_a_handler_declares_is_like_what_all_devices_have() {
    if !has_compiler("declared attributes") {
        return;
    }
    let folder = Folder::new("declared");
    let program = compile(&installed(&folder), "tests/c/declared.c", &["-Wno-unused-function"]);
    let outcome = run(&mut Command::new(&program), LIMIT);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
    if !has_valgrind("declared attributes under valgrind") {
        return;
    }
    let outcome = run(&mut valgrind(&program), LIMIT * 3);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
}

#[test]
fn declared_attributes_race_the_life_of_their_device() {
    if !has_compiler("racing declared attributes") {
        return;
    }
    let folder = Folder::new("declared-race");
    let program = compile(&installed(&folder), "tests/c/declared_race.c", &["-Wno-unused-function"]);
    let outcome = run(Command::new(&program).arg("200"), LIMIT * 3);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
    say(&outcome.text);
}

#[test]
fn the_process_stays_the_hosts() {
    if !has_compiler("what a host keeps") {
        return;
    }
    let folder = Folder::new("host");
    let program = compile(&installed(&folder), "tests/c/host.c", &["-Wno-unused-function"]);
    let outcome = run(&mut Command::new(&program), LIMIT);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
    assert_eq!(outcome.text, "", "the library writes nothing");
    // What is looked at can go wrong: without MSG_NOSIGNAL the host is ended.
    let outcome = run(Command::new(program).arg("raise"), LIMIT);
    assert_eq!(outcome.status.and_then(|status| status.signal()), Some(13), "{}", outcome.text);
}

#[test]
fn pages_are_sent_by_threads_that_take_no_signals() {
    if !has_compiler("who sends pages") {
        return;
    }
    let folder = Folder::new("lent");
    let program = compile(&installed(&folder), "tests/c/lent.c", &["-Wno-unused-function"]);
    let file = folder.file("disk");
    std::fs::File::create(&file).unwrap().set_len(1 << 20).unwrap();
    let outcome = run(Command::new(program).arg(file), LIMIT);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
    assert_eq!(outcome.text, "", "the library writes nothing");
}

/// A client of somebody else's is asked to log in with these CHAP users.
fn is_let_in(url: &str) -> bool {
    let outcome = run(Command::new("iscsi-inq").arg(url), Duration::from_secs(60));
    assert!(!outcome.crashed() && outcome.status.is_some(), "{url}: {}", outcome.text);
    outcome.is_good()
}

#[test]
fn what_a_program_asks_for_is_done_and_told() {
    if !has_compiler("all of the C API") {
        return;
    }
    if !is_installed("iscsi-inq") {
        return skip("all of the C API", "no iscsi-inq");
    }
    let folder = Folder::new("all");
    let program = compile(&installed(&folder), "tests/c/all.c", &["-Wno-unused-function"]);
    let mut program = Program::start(&mut Command::new(program));
    let mut tried = Vec::new();
    for _ in 0..7 {
        let line = program.line();
        let [_, url, wanted] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert_eq!(is_let_in(url), wanted == "yes", "{line}");
        tried.push(wanted.to_owned());
        program.write("\n");
    }
    assert_eq!(tried.iter().filter(|wanted| *wanted == "yes").count(), 3, "{tried:?}");
    assert!(program.end().is_empty());
}

/// Completions race aborts, resets, lost sessions, stop and free; once more with every byte looked at.
#[test]
fn completions_race_aborts_stop_and_free() {
    if !has_compiler("racing completions") {
        return;
    }
    let folder = Folder::new("stress");
    let program = compile(&installed(&folder), "tests/c/stress.c", &["-Wno-unused-function"]);
    let outcome = run(Command::new(&program).args(["300", "7"]), LIMIT * 3);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
    say(&outcome.text);
    let cancelled = outcome.text.split(", ").find_map(|part| part.strip_suffix(" cancelled"));
    assert!(cancelled.is_some_and(|number| number.parse::<u32>().unwrap() > 100), "{}", outcome.text);
    if !has_valgrind("racing completions under valgrind") {
        return;
    }
    let outcome = run(valgrind(&program).args(["10", "3"]), LIMIT * 3);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
}

#[test]
fn children_wait_for_no_thread_of_their_parent() {
    if !has_compiler("forking") {
        return;
    }
    let folder = Folder::new("fork");
    let program = compile(&installed(&folder), "tests/c/fork.c", &["-Wno-unused-function"]);
    let outcome = run(Command::new(program).arg("400"), LIMIT * 3);
    assert!(outcome.is_good(), "{:?}\n{}", outcome.status, outcome.text);
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
