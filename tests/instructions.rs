//! Instructions of the daemon's own code for a command, counted by callgrind: a regression of the hot path
//! shows without a clock. `SCSTU_BLESS=1` writes `tests/golden/instructions.txt` anew.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{Folder, is_installed, say, skip};

const TARGET: &str = "iqn.2026-01.test:count";
const GOLDEN: &str = "tests/golden/instructions.txt";
const COMMANDS: u64 = 2000;
const LIMIT: Duration = Duration::from_secs(180);
/// By how much a count may exceed the golden one: compilers and C libraries differ by a few per cent.
const TOLERANCE: f64 = 1.15;

/// A load: its name and its words; LUN 0 is null, LUN 1 a file on whatever the build lies on.
const LOADS: [(&str, u16, &[&str]); 5] = [
    ("null-read-512", 0, &["--size", "512", "--depth", "32"]),
    ("null-write-4k", 0, &["--size", "4k", "--depth", "32", "--rw", "write"]),
    ("file-read-4k", 1, &["--size", "4k", "--depth", "32"]),
    ("file-read-64k", 1, &["--size", "64k", "--depth", "8"]),
    ("null-read-4k-digests", 0, &["--size", "4k", "--depth", "32", "--digests", "both"]),
];

fn configuration(folder: &Folder) -> std::path::PathBuf {
    let (disk, conf) = (folder.file("disk"), folder.file("scst.conf"));
    // Written, so that the page cache has it.
    fs::write(&disk, vec![1; 16 << 20]).unwrap();
    let text = format!(
        "HANDLER vdisk_nullio {{\nDEVICE null {{\nsize 64M\n}}\n}}\n\
         HANDLER vdisk_fileio {{\nDEVICE file {{\nfilename {}\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\n\
         poll_us 0\n\
         HeaderDigest None,CRC32C\nDataDigest None,CRC32C\nLUN 0 null\nLUN 1 file\nenabled 1\n}}\n}}\n",
        disk.display()
    );
    fs::write(&conf, text).unwrap();
    conf
}

/// The daemon under callgrind, and where it listens.
fn start(folder: &Folder, conf: &std::path::Path) -> (Child, String) {
    let log = File::create(folder.file("log")).unwrap();
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(format!("--callgrind-out-file={}", folder.file("out").display()));
    command.arg(env!("CARGO_BIN_EXE_scstud")).arg("-c").arg(conf);
    command.arg("--state-dir").arg(folder.file("state"));
    command.args(["--portal", "127.0.0.1:0", "--log-level", "warn"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap_or_else(|| {
        let _ = child.kill();
        panic!("the daemon does not listen: {}", fs::read_to_string(folder.file("log")).unwrap());
    });
    (child, address.to_owned())
}

/// Instructions that the daemon needs from its start to its end, with `count` commands between.
fn instructions(lun: u16, words: &[&str], count: u64) -> f64 {
    let folder = Folder::new("instructions");
    let conf = configuration(&folder);
    let (mut child, address) = start(&folder, &conf);
    let url = format!("iscsi://{address}/{TARGET}/{lun}");
    let count = count.to_string();
    let mut bench = Command::new(env!("CARGO_BIN_EXE_scstu-bench"));
    bench.arg(url).args(words).args(["--commands", &count, "--region", "16M", "--json"]);
    let outcome = common::run(&mut bench, LIMIT);
    let stopped = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let ended = common::wait_for(&mut child, LIMIT);
    assert!(outcome.is_good() && stopped.success() && ended.is_some(), "{words:?}: {}", outcome.text);
    let out = fs::read_to_string(folder.file("out")).unwrap();
    let total = out.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
    total.trim().parse().unwrap()
}

fn golden() -> BTreeMap<String, f64> {
    let text = fs::read_to_string(GOLDEN).unwrap_or_default();
    let pair = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

#[test]
fn a_command_takes_no_more_instructions_than_it_did() {
    if !is_installed("valgrind") {
        return skip("instructions of the hot path", "no valgrind");
    }
    let golden = golden();
    let bless = std::env::var_os("SCSTU_BLESS").is_some();
    let (mut counted, mut wrong) = (String::new(), Vec::new());
    for (name, lun, words) in LOADS {
        let idle = instructions(lun, words, 1);
        let each = (instructions(lun, words, COMMANDS + 1) - idle) / COMMANDS as f64;
        let expected = golden.get(name).copied().unwrap_or(0.0);
        say(&format!("{name}: {each:.0} instructions a command, {expected:.0} expected\n"));
        writeln!(counted, "{name} {each:.0}").unwrap();
        if each > expected * TOLERANCE {
            wrong.push(format!("{name}: {each:.0} instructions a command, {expected:.0} expected"));
        }
    }
    if bless {
        return fs::write(GOLDEN, counted).unwrap();
    }
    assert!(wrong.is_empty(), "{}\nif that is meant: SCSTU_BLESS=1", wrong.join("\n"));
}
