//! System calls of the daemon for a command, counted by strace: a deep queue costs fewer than one, and one
//! that sends every answer by itself shows that they are counted.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Folder, is_installed, say, skip};

const TARGET: &str = "iqn.2026-01.test:calls";
const COMMANDS: u64 = 4000;
const LIMIT: Duration = Duration::from_secs(120);

fn configuration() -> String {
    let disk = "HANDLER vdisk_nullio {\nDEVICE null {\nsize 64M\n}\n}\n\
                HANDLER vdisk_ram {\nDEVICE ram {\nsize 64M\n}\n}\n";
    let target = |name: &str| {
        format!("TARGET {TARGET}-{name} {{\nnagle {name}\npoll_us 0\nLUN 0 null\nLUN 1 ram\nenabled 1\n}}\n")
    };
    format!("{disk}TARGET_DRIVER iscsi {{\nenabled 1\n{}{}}}\n", target("coalesce"), target("never"))
}

/// System calls that the daemon makes from its start to its end, with `count` commands between.
fn calls(place: &str, words: &[&str], count: u64) -> f64 {
    let folder = Folder::new("system-calls");
    let (conf, out) = (folder.file("scst.conf"), folder.file("out"));
    fs::write(&conf, configuration()).unwrap();
    let log = File::create(folder.file("log")).unwrap();
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(&out).arg(env!("CARGO_BIN_EXE_scstud")).arg("-c").arg(conf);
    command.arg("--state-dir").arg(folder.file("state")).arg("--socket").arg(folder.file("socket"));
    command.args(["--portal", "127.0.0.1:0", "--log-level", "warn"]);
    let mut tracer = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(tracer.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap_or_default();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_scstu-bench"));
    bench.arg(format!("iscsi://{address}/{TARGET}-{place}")).args(words);
    let outcome = common::run(bench.args(["--commands", &count.to_string(), "--region", "16M"]), LIMIT);
    let own = tracer.id();
    let daemon = fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
    let stopped = Command::new("kill").arg(daemon.trim()).status().unwrap();
    let ended = common::wait_for(&mut tracer, LIMIT);
    assert!(outcome.is_good() && stopped.success() && ended.is_some(), "{words:?}: {}", outcome.text);
    // The last line: share, seconds, microseconds a call, calls, errors if there were any, "total".
    let text = fs::read_to_string(&out).unwrap();
    let total = text.lines().find(|line| line.ends_with("total")).expect("a total");
    total.split_whitespace().nth(3).unwrap().parse().unwrap()
}

/// The same for one command.
fn each(place: &str, words: &[&str]) -> f64 {
    let each = (calls(place, words, COMMANDS + 1) - calls(place, words, 1)) / COMMANDS as f64;
    say(&format!("{place} {}: {each:.3} system calls a command\n", words.join(" ")));
    each
}

#[test]
fn a_deep_queue_costs_fewer_system_calls_than_commands() {
    if !is_installed("strace") {
        return skip("system calls of the hot path", "no strace");
    }
    // One to receive and one to send.
    assert!(each("coalesce/0", &["--size", "512", "--depth", "1"]) < 2.1);
    for depth in ["8", "32", "64"] {
        assert!(each("coalesce/0", &["--size", "512", "--depth", depth]) < 1.0, "depth {depth}");
    }
    assert!(each("coalesce/1", &["--size", "4k", "--depth", "32"]) < 1.0);
    assert!(each("coalesce/1", &["--size", "4k", "--depth", "32", "--rw", "write"]) < 1.0);
    assert!(each("never/0", &["--size", "512", "--depth", "32"]) >= 1.0);
}
