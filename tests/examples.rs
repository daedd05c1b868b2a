//! `c-examples/`: built with its Makefile, each served to a real client, and each under valgrind.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod c_programs;
mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use c_programs::program::Program;
use c_programs::{LIMIT, has_compiler, has_valgrind, installed, tree, valgrind};
use common::{Folder, is_installed, run, say, skip};

const CLIENT_LIMIT: Duration = Duration::from_secs(120);

/// Where they are built, in a folder that is not there before.
const BUILT: &str = "made/by/make";

/// The examples, built once for all tests with `make` and `pkg-config`, as a reader would build them.
fn built() -> Option<PathBuf> {
    static FOLDER: OnceLock<Option<Folder>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        if !has_compiler("C examples") {
            return None;
        }
        if !is_installed("make") || !is_installed("pkg-config") {
            skip("C examples", "no make or no pkg-config");
            return None;
        }
        let folder = Folder::new("examples");
        let place = installed(&folder);
        let mut make = Command::new("make");
        // Make makes this place.
        let out = folder.file(BUILT);
        make.arg("-C").arg(tree().join("c-examples")).arg(format!("OUT={}", out.display()));
        make.env("PKG_CONFIG_PATH", &place).env("CFLAGS", "-O1 -g -Wall -Wextra -Werror");
        make.env("LDFLAGS", format!("-Wl,-rpath,{}", place.display()));
        let outcome = run(&mut make, LIMIT * 2);
        assert!(outcome.is_good(), "{}", outcome.text);
        Some(folder)
    });
    folder.as_ref().map(|folder| folder.file(BUILT))
}

/// An example with what it needs; none when it cannot run here.
fn example(name: &str) -> Option<PathBuf> {
    for client in ["iscsi-inq", "iscsi-readcapacity16", "iscsi-test-cu"] {
        if !is_installed(client) {
            skip(name, &format!("no {client}"));
            return None;
        }
    }
    Some(built()?.join(name))
}

fn client(program: &str, arguments: &[&str]) -> String {
    let outcome = run(Command::new(program).args(arguments), CLIENT_LIMIT);
    assert!(outcome.is_good(), "{program} {arguments:?}: {:?}\n{}", outcome.status, outcome.text);
    outcome.text
}

/// Runs tests of libiscsi's suite, none of which may fail.
fn suite(url: &str, tests: &str) {
    let mut command = Command::new("iscsi-test-cu");
    command.args(["--dataloss", "--allow-sanitize", "-t", tests, "-s"]).arg(url);
    let outcome = run(&mut command, CLIENT_LIMIT * 2);
    let asserts = outcome.text.lines().find(|line| line.trim().starts_with("asserts"));
    let failed = asserts.and_then(|line| line.split_whitespace().nth(4));
    assert_eq!(failed, Some("0"), "{tests}: {}", outcome.text);
}

fn url(program: &mut Program) -> String {
    let line = program.line();
    assert!(line.starts_with("iscsi://127.0.0.1:"), "{line}");
    line
}

#[test]
fn embed_is_a_disk() {
    let Some(path) = example("embed") else { return };
    let mut program = Program::start(&mut Command::new(path));
    let url = url(&mut program);
    assert!(client("iscsi-readcapacity16", &[&url]).contains("LOGICAL BLOCK ADDRESS:131071"));
    suite(&url, "SCSI.Read16.Simple");
    program.end();
}

#[test]
fn ram_backstore_does_all_that_its_functions_do() {
    let Some(path) = example("ram_backstore") else { return };
    let mut program = Program::start(&mut Command::new(path));
    let url = url(&mut program);
    let unit = |lun: u8| format!("{}/{lun}", url.strip_suffix("/0").unwrap());
    for tests in [
        "SCSI.Read16",
        "SCSI.Write16",
        "SCSI.CompareAndWrite",
        "SCSI.WriteSame16",
        "SCSI.Unmap",
        "SCSI.Verify16",
        "SCSI.OrWrite",
    ] {
        suite(&url, tests);
        // The same with buffers in pieces.
        suite(&unit(3), tests);
    }
    suite(&unit(2), "SCSI.Write16");
    program.end();
}

/// How fast is not looked at: other tests run meanwhile.
#[test]
fn a_c_backstore_is_measured_beside_the_built_in_one() {
    let Some(path) = example("ram_backstore") else { return };
    let measured = |at_least: &str| {
        let mut bench = Command::new(env!("CARGO_BIN_EXE_scstu-bench"));
        bench.args(["embed", "--rounds", "1", "--time", "0.1", "--at-least", at_least, "--program"]);
        run(bench.arg(&path), CLIENT_LIMIT)
    };
    let refused = measured("0");
    assert!(!refused.is_good() && refused.text.contains("--at-least 0 is no positive"), "{}", refused.text);
    let below = measured("1000");
    assert_eq!(below.status.and_then(|status| status.code()), Some(1), "{}", below.text);
    assert!(below.text.contains("below 1000 of vdisk_ram: 512 at depth 1: "), "{}", below.text);
    let outcome = measured("0.001");
    assert!(outcome.is_good(), "{}", outcome.text);
    let rows: Vec<&str> = outcome.text.lines().filter(|line| line.contains(", depth ")).collect();
    assert_eq!(rows.len(), 4, "{}", outcome.text);
    for row in rows {
        let figures: Vec<f64> = row.split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
        assert!(figures.len() == 8 && figures.iter().all(|figure| *figure > 0.0), "{row}");
    }
}

/// Instructions of a whole run of `ram_backstore`, with so many random reads of one of its units between.
fn instructions(path: &Path, unit: u8, size: &str, count: u32) -> f64 {
    let folder = Folder::new("callgrind");
    let out = folder.file("out");
    let mut command = Command::new("valgrind");
    command.args(["-q", "--tool=callgrind"]).arg(format!("--callgrind-out-file={}", out.display()));
    let mut program = Program::start(command.arg(path));
    let url = url(&mut program);
    let mut bench = Command::new(env!("CARGO_BIN_EXE_scstu-bench"));
    bench.arg(format!("{}/{unit}", url.strip_suffix("/0").unwrap())).args(["--size", size, "--depth", "32"]);
    let outcome = run(bench.args(["--commands", &count.to_string(), "--region", "16M"]), CLIENT_LIMIT);
    assert!(outcome.is_good(), "{}", outcome.text);
    program.end();
    let text = fs::read_to_string(out).unwrap();
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
    total.trim().parse().unwrap()
}

/// At least 90 % of what the built-in one does with the same processor: counted, not timed.
#[test]
fn a_c_backstore_costs_hardly_more_than_the_built_in_one() {
    const COUNT: u32 = 2000;
    let Some(path) = example("ram_backstore") else { return };
    if !has_valgrind("instructions of a backstore in C") {
        return;
    }
    for size in ["512", "4k"] {
        let each = |unit| {
            let idle = instructions(&path, unit, size, 1);
            (instructions(&path, unit, size, COUNT + 1) - idle) / f64::from(COUNT)
        };
        let (own, built_in) = (each(0), each(1));
        say(&format!("reads of {size}: {own:.0} instructions in C, {built_in:.0} built in\n"));
        assert!(own <= built_in / 0.9, "reads of {size}: {own:.0} instructions in C, {built_in:.0} built in");
    }
}

/// The pieces of code in a text of README that begin with `first`, unwrapped.
fn code(readme: &str, first: &str) -> String {
    let pieces = readme.split('`').skip(1).step_by(2);
    let found = pieces.map(|piece| piece.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut found = found.filter(|piece| piece.starts_with(first));
    found.next().unwrap_or_else(|| panic!("README has no command {first}"))
}

/// Installs into a home of its own, builds the examples there, runs one: with README's words.
#[test]
fn readmes_commands_for_the_examples_are_right() {
    if example("embed").is_none() {
        return;
    }
    let readme = fs::read_to_string(tree().join("README.md")).unwrap();
    // A line of code has no fences in it.
    let readme = readme.replace("```", "");
    let (home, made) = (Folder::new("home"), Folder::new("made"));
    let archive = c_programs::library().with_file_name("libscstu.a");
    for (name, path) in [
        ("scstud", PathBuf::from(env!("CARGO_BIN_EXE_scstud"))),
        ("scstuadm", PathBuf::from(env!("CARGO_BIN_EXE_scstuadm"))),
        ("scstu-bench", PathBuf::from(env!("CARGO_BIN_EXE_scstu-bench"))),
        ("libscstu.a", archive),
    ] {
        symlink(path, made.file(name)).unwrap();
    }
    let shell = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-ec", script]).current_dir(tree());
        command.env("HOME", &home.0).env("BUILD", &made.0).env("OUT", &home.0);
        command
    };
    for first in ["PREFIX=$HOME/scstu", "PKG_CONFIG_PATH=$HOME/scstu"] {
        let outcome = run(&mut shell(&code(&readme, first)), LIMIT * 2);
        assert!(outcome.is_good(), "{first}: {}", outcome.text);
    }
    let path = code(&readme, "LD_LIBRARY_PATH=$HOME/scstu");
    let mut program = Program::start(&mut shell(&format!("{path} exec $HOME/embed")));
    let url = url(&mut program);
    assert!(client("iscsi-readcapacity16", &[&url]).contains("LOGICAL BLOCK ADDRESS:131071"));
    program.end();
}

#[test]
fn async_backstore_completes_on_threads_of_its_own() {
    let Some(path) = example("async_backstore") else { return };
    let mut program = Program::start(Command::new(path).arg("delay_us=200; threads=4; split_buffers=1"));
    let url = url(&mut program);
    for tests in ["SCSI.Read16", "SCSI.Write16", "SCSI.CompareAndWrite", "SCSI.WriteSame16", "SCSI.Unmap"] {
        suite(&url, tests);
    }
    let said = program.end();
    assert!(said.last().is_some_and(|line| line.ends_with(" 0 failed, 0 cancelled")), "{said:?}");
}

#[test]
fn async_backstore_is_told_its_attributes() {
    let Some(path) = example("async_backstore") else { return };
    let refused = run(Command::new(&path).arg("threads=17"), LIMIT);
    assert!(!refused.is_good() && refused.text.contains("threads: \"17\" is not a number from 1 to 16"));
    let mut program = Program::start(Command::new(path).arg("threads=3"));
    let url = url(&mut program);
    let mut ask = |line: &str| {
        program.write(&format!("{line}\n"));
        program.line()
    };
    assert_eq!((ask("threads"), ask("completed_commands")), ("3".into(), "0".into()));
    assert_eq!((ask("delay_us 50"), ask("delay_us")), ("50".into(), "50".into()));
    let refusal = ask("delay_us 10000001");
    assert!(refusal.ends_with("delay_us: \"10000001\" is not a number from 0 to 10000000"), "{refusal}");
    assert!(ask("threads 4").contains("cannot be written"));
    suite(&url, "SCSI.Read16.Simple");
    let completed: u32 = ask("completed_commands").parse().unwrap();
    assert!(completed > 0);
    // From now on everything fails.
    assert_eq!(ask("fail_every 1"), "1");
    let mut command = Command::new("iscsi-test-cu");
    let outcome = run(command.args(["-t", "SCSI.Read16.Simple", "-s"]).arg(&url), CLIENT_LIMIT);
    assert!(outcome.text.contains("(0x03)"), "{}", outcome.text);
    assert_eq!(ask("fail_every 0"), "0");
    program.end();
}

#[test]
fn injected_errors_are_medium_errors() {
    let Some(path) = example("async_backstore") else { return };
    let mut program = Program::start(Command::new(path).arg("fail_every=1"));
    let url = url(&mut program);
    let mut command = Command::new("iscsi-test-cu");
    let outcome = run(command.args(["-t", "SCSI.Read16.Simple", "-s"]).arg(&url), CLIENT_LIMIT);
    assert!(outcome.text.contains("(0x03)"), "{}", outcome.text);
    let said = program.end();
    assert!(said.last().is_some_and(|line| line.starts_with("0 done, ")), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("1 devices are not flushed")), "{said:?}");
}

#[test]
fn file_log_backstore_replays_what_was_written() {
    let Some(path) = example("file_log_backstore") else { return };
    let folder = Folder::new("log");
    let log = folder.file("log");
    let mut program = Program::start(Command::new(&path).arg(&log));
    assert_eq!(program.line(), "0 records replayed");
    let url = url(&mut program);
    suite(&url, "SCSI.Write16.Simple");
    program.kill();
    let replayed = |limit: &[&str]| -> u64 {
        let mut program = Program::start(Command::new(&path).arg(&log).args(limit));
        let line = program.line();
        program.end();
        let number = line.strip_suffix(" records replayed").unwrap_or_else(|| panic!("{line}"));
        number.parse().unwrap()
    };
    let whole = replayed(&[]);
    assert!(whole > 100, "{whole} records");
    // A torn record ends the log; the ones before it are whole.
    let length = fs::metadata(&log).unwrap().len();
    fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(length - 10).unwrap();
    assert_eq!(replayed(&[]), whole - 1);
    // The disk as it was after ten writes.
    assert_eq!(replayed(&["10"]), 10);
    assert_eq!(replayed(&[]), 10);
}

#[test]
fn fd_passing_serves_what_another_process_accepts() {
    let Some(path) = example("fd_passing") else { return };
    let mut program = Program::start(&mut Command::new(path));
    let url = url(&mut program);
    assert!(client("iscsi-inq", &[&url]).contains("DIRECT_ACCESS"));
    suite(&url, "SCSI.Write16.Simple");
    program.end();
}

/// Every example once more, with every byte looked at.
#[test]
fn examples_are_clean_under_valgrind() {
    let Some(place) = built() else { return };
    if !has_valgrind("examples under valgrind") {
        return;
    }
    if example("embed").is_none() {
        return;
    }
    let folder = Folder::new("valgrind");
    let log = folder.file("log");
    let cases: [(&str, Vec<&str>, &str); 6] = [
        ("embed", vec![], "SCSI.Read16.Simple"),
        ("ram_backstore", vec![], "SCSI.CompareAndWrite.Simple"),
        ("async_backstore", vec!["threads=2"], "SCSI.Write16.Simple"),
        ("file_log_backstore", vec![log.to_str().unwrap()], "SCSI.Write16.Simple"),
        ("fd_passing", vec![], "SCSI.Read16.Simple"),
        ("admin", vec![], "SCSI.Write16.Simple"),
    ];
    for (name, arguments, tests) in cases {
        let mut command = valgrind(&place.join(name));
        let mut program = Program::start(command.args(&arguments));
        if name == "file_log_backstore" {
            program.line();
        }
        let url = url(&mut program);
        suite(&url, tests);
        if name == "admin" {
            administer(&mut program);
        }
        program.end();
    }
}

/// Every kind of command once, and wrong ones.
fn administer(program: &mut Program) {
    for line in [
        "get devices/disk1/size",
        "describe devices/disk1/size",
        "set devices/disk1/max_tgt_dev_commands 9",
        "set devices/disk1/nothing 9",
        "do handlers/vdisk_ram add_device disk2 size=1M",
        "list devices",
        "plan",
        "save",
        "sessions",
        "kick 99",
        "statistics",
        "nonsense",
    ] {
        program.write(&format!("{line}\n"));
        while program.line() != "done" {}
    }
}

#[test]
fn admin_configures_watches_and_tells() {
    let Some(path) = example("admin") else { return };
    let mut program = Program::start(&mut Command::new(path));
    let url = url(&mut program);
    assert!(client("iscsi-readcapacity16", &[&url]).contains("LOGICAL BLOCK ADDRESS:32767"));
    let mut ask = |line: &str| -> Vec<String> {
        program.write(&format!("{line}\n"));
        let mut said = Vec::new();
        loop {
            match program.line() {
                end if end == "done" => return said,
                line => said.push(line),
            }
        }
    };
    let has = |said: &[String], words: &str| said.iter().any(|line| line.contains(words));
    let said = ask("get devices/disk1/size");
    assert!(has(&said, "16777216"), "{said:?}");
    let said = ask("describe devices/disk1/size");
    assert!(has(&said, "values:") && has(&said, "readable"), "{said:?}");
    let said = ask("do handlers/vdisk_ram add_device disk2 size=1M");
    assert!(!has(&said, "error"), "{said:?}");
    let said = ask("list devices");
    assert!(has(&said, "disk1") && has(&said, "disk2"), "{said:?}");
    let said = ask("plan");
    assert!(has(&said, "disk2"), "{said:?}");
    let said = ask("save");
    assert!(has(&said, "DEVICE disk2"), "{said:?}");
    let said = ask("kick 99");
    assert!(has(&said, "error: scstu_kick: there is no session 99"), "{said:?}");
    let said = ask("statistics");
    assert!(has(&said, "2 devices, 1 targets"), "{said:?}");
    program.end();
}
