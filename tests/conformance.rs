//! libiscsi's conformance suite (iscsi-test-cu 1.19), one process for each test, against a golden list.
//!
//! The tool counts skipped tests as passed, so its output is read: see [`verdict`]. Each test goes to the
//! unit that lets it check most ([`unit_for`]). Several run at once, each on a target of its own.
//!
//! `tests/golden/conformance.txt` has a line for each test, name and verdict. A worse verdict fails; a better
//! one is told, and `SCSTU_BLESS=1` writes the file anew.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use common::{Daemon, Folder, Outcome, is_installed, run, say, skip};

const TOOL: &str = "iscsi-test-cu";
const LANES: usize = 3;
/// Targets over which the units of a lane are reached.
const PATHS: usize = 2;
/// Tests of the suite.
const TESTS: usize = 230;
/// What no target can pass, and why.
const IMPOSSIBLE: [(&str, &str); 1] = [(
    "iSCSITMF.LUNResetSimpleAsync",
    "it asserts that the response is there before it has waited for it (corrected in later versions)",
)];
/// 1000 MiB, for READ(6) reaches its end.
const SIZE: u64 = 1000 << 20;
const LIMIT: Duration = Duration::from_secs(100);
/// The tool itself sleeps for a minute or two in it.
const SANITIZE_RESET_LIMIT: Duration = Duration::from_secs(240);

/// The units of a lane's target: LUN and what is special about it.
const UNITS: [(&str, &str); 7] = [
    ("thin", "allow_sanitize 1"),
    ("small_blocks", "lb_per_pb_exp 0"),
    ("removable", "removable 1"),
    ("slow", "allow_sanitize 1 sanitize_min_ms 8000"),
    ("locked", "read_only 1"),
    ("big_blocks", "thin_provisioned 1"),
    // Its tests expect zeros where they wrote none.
    ("paths", ""),
];

/// From worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Crash,
    Timeout,
    Fail,
    Skip,
    /// It passed, and left out a part.
    Partial,
    Pass,
}

const VERDICTS: [(Verdict, &str); 6] = [
    (Verdict::Pass, "pass"),
    (Verdict::Partial, "partial"),
    (Verdict::Skip, "skip"),
    (Verdict::Fail, "fail"),
    (Verdict::Timeout, "timeout"),
    (Verdict::Crash, "crash"),
];

impl Verdict {
    fn name(self) -> &'static str {
        VERDICTS.iter().find(|row| row.0 == self).unwrap().1
    }

    fn parse(name: &str) -> Option<Verdict> {
        VERDICTS.iter().find(|row| row.1 == name).map(|row| row.0)
    }
}

/// Phrases of tests that return early without the tool's mark of a skip.
const SILENT_SKIPS: [&str; 2] =
    ["The target does not support RTPG", "No tests for devices that support protection information yet"];

/// What the output of one test means.
fn verdict(outcome: &Outcome) -> Verdict {
    if outcome.status.is_none() {
        return Verdict::Timeout;
    }
    let Some((body, passed)) = body(&outcome.text) else { return Verdict::Crash };
    if outcome.crashed() {
        return Verdict::Crash;
    }
    if !passed {
        return Verdict::Fail;
    }
    let last = body.lines().rev().map(str::trim).find(|line| !line.is_empty());
    match last {
        None if asserts(&outcome.text) <= 1 => Verdict::Skip,
        Some(line) if line.contains("[SKIPPED]") => Verdict::Skip,
        _ if SILENT_SKIPS.iter().any(|phrase| body.contains(phrase)) => Verdict::Skip,
        _ if body.contains("[SKIPPED]") => Verdict::Partial,
        _ => Verdict::Pass,
    }
}

/// What the test itself printed, and whether CUnit calls it passed.
fn body(text: &str) -> Option<(&str, bool)> {
    let from = text.find("  Test: ")?;
    let text = &text[from..];
    let text = &text[text.find(" ...")? + 4..];
    let end = |word: &str| if text.starts_with(word) { Some(0) } else { text.find(&format!("\n{word}")) };
    match (end("passed"), end("FAILED")) {
        (Some(at), None) => Some((&text[..at], true)),
        (None, Some(at)) => Some((&text[..at], false)),
        (Some(passed), Some(failed)) => Some((&text[..passed.min(failed)], passed < failed)),
        (None, None) => None,
    }
}

/// How many assertions CUnit counted.
fn asserts(text: &str) -> u32 {
    let line = text.lines().find(|line| line.trim_start().starts_with("asserts"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// The unit that lets a test check most.
fn unit_for(test: &str) -> &'static str {
    let family = test.split('.').next().unwrap_or("");
    match (family, test) {
        (_, "Sanitize.Reset") => "slow",
        (_, "GetLBAStatus.UnmapSingle") => "small_blocks",
        (_, "CompareAndWrite.InvalidDataOutSize") => "big_blocks",
        ("WriteSame10" | "WriteSame16", _) => "big_blocks",
        ("NoMedia" | "PreventAllow" | "StartStopUnit", _) => "removable",
        ("ReadOnly", _) => "locked",
        ("MultipathIO", _) => "paths",
        _ => "thin",
    }
}

/// Units in memory, and one in a file for its physical blocks of 4096 bytes.
fn devices(folder: &Path) -> String {
    let (mut memory, mut files) = (String::new(), String::new());
    for lane in 0..LANES {
        for (unit, attributes) in UNITS {
            let file = folder.join(format!("{unit}{lane}"));
            let (text, backing) = if unit == "big_blocks" {
                std::fs::File::create(&file).unwrap().set_len(SIZE).unwrap();
                (&mut files, format!("filename {}", file.display()))
            } else {
                (&mut memory, format!("size {SIZE}"))
            };
            writeln!(text, "DEVICE {unit}{lane} {{\n{backing}\nblocksize 512").unwrap();
            let attributes: Vec<_> = attributes.split_whitespace().collect();
            for pair in attributes.chunks(2).filter(|pair| pair[0] != "read_only") {
                writeln!(text, "{} {}", pair[0], pair[1]).unwrap();
            }
            text.push_str("}\n");
        }
    }
    format!("HANDLER vdisk_ram {{\n{memory}}}\nHANDLER vdisk_fileio {{\n{files}}}\n")
}

fn conf(folder: &Path) -> String {
    let mut text = devices(folder) + "TARGET_DRIVER iscsi {\nenabled 1\n";
    for lane in 0..LANES {
        for path in 0..PATHS {
            writeln!(text, "TARGET {} {{\nenabled 1", target(lane, path)).unwrap();
            for (lun, (unit, attributes)) in UNITS.iter().enumerate() {
                let options = if attributes.contains("read_only") { " {\nread_only 1\n}" } else { "" };
                writeln!(text, "LUN {lun} {unit}{lane}{options}").unwrap();
            }
            text.push_str("}\n");
        }
    }
    text + "}\n"
}

fn target(lane: usize, path: usize) -> String {
    format!("iqn.2026-01.test:lane{lane}-path{path}")
}

/// The URLs of a test on a lane; two for tests over several paths.
fn urls(address: &str, lane: usize, test: &str) -> Vec<String> {
    let lun = UNITS.iter().position(|unit| unit.0 == unit_for(test)).unwrap();
    let paths = if test.starts_with("MultipathIO.") { PATHS } else { 1 };
    (0..paths).map(|path| format!("iscsi://{address}/{}/{lun}", target(lane, path))).collect()
}

/// All tests, those first that take longest.
fn all_tests() -> Vec<String> {
    let list = run(Command::new(TOOL).arg("-l"), LIMIT).text;
    let full = list.lines().filter_map(|line| line.strip_prefix("ALL."));
    let mut tests: Vec<String> = full.filter(|name| name.contains('.')).map(str::to_owned).collect();
    tests.sort_by_key(|name| (!name.starts_with("Sanitize."), name != "Sanitize.Reset"));
    assert!(tests.len() > 200, "{list}");
    tests
}

fn run_test(test: &str, urls: &[String]) -> (Verdict, String) {
    let mut command = Command::new(TOOL);
    command.args(["-V", "--dataloss", "--allow-sanitize", "-t", &format!("ALL.{test}")]).args(urls);
    let limit = if test == "Sanitize.Reset" { SANITIZE_RESET_LIMIT } else { LIMIT };
    let outcome = run(&mut command, limit);
    (verdict(&outcome), outcome.text)
}

type Results = BTreeMap<String, Verdict>;

/// Runs all tests, a lane for each thread, and keeps the output of what is no pass.
fn run_all(urls: &(impl Fn(usize, &str) -> Vec<String> + Sync), lanes: usize) -> Results {
    let mut tests = all_tests();
    if let Ok(only) = std::env::var("SCSTU_CONFORMANCE_ONLY") {
        tests.retain(|test| test.contains(&only));
    }
    tests.reverse();
    let (queue, results) = (Mutex::new(tests), Mutex::new(Results::new()));
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("conformance");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    thread::scope(|scope| {
        for lane in 0..lanes {
            let (queue, results, folder) = (&queue, &results, &folder);
            scope.spawn(move || {
                loop {
                    let Some(test) = queue.lock().unwrap().pop() else { break };
                    let started = Instant::now();
                    let (verdict, text) = run_test(&test, &urls(lane, &test));
                    let seconds = started.elapsed().as_secs_f32();
                    say(&format!("{} {test} ({seconds:.1} s)\n", verdict.name()));
                    if verdict != Verdict::Pass {
                        std::fs::write(folder.join(format!("{test}.txt")), text).unwrap();
                    }
                    results.lock().unwrap().insert(test, verdict);
                }
            });
        }
    });
    results.into_inner().unwrap()
}

/// Verdicts by family.
fn table(results: &Results) -> String {
    let mut families: BTreeMap<&str, [u32; VERDICTS.len()]> = BTreeMap::new();
    for (test, verdict) in results {
        let column = VERDICTS.iter().position(|row| row.0 == *verdict).unwrap();
        for family in [test.split('.').next().unwrap(), "~ all"] {
            families.entry(family).or_default()[column] += 1;
        }
    }
    let mut text = format!("\n{:20}", "family");
    for (_, name) in VERDICTS {
        write!(text, "{name:>9}").unwrap();
    }
    for (family, counts) in families {
        write!(text, "\n{family:20}").unwrap();
        for count in counts {
            write!(text, "{:>9}", if count == 0 { String::new() } else { count.to_string() }).unwrap();
        }
    }
    text + "\n"
}

fn golden_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/conformance.txt")
}

fn golden() -> Results {
    let text = std::fs::read_to_string(golden_path()).unwrap_or_default();
    let pair = |line: &str| {
        let (test, name) = line.split_once(' ')?;
        Some((test.to_owned(), Verdict::parse(name.trim())?))
    };
    text.lines().filter_map(pair).collect()
}

/// The tests that do worse than the golden list says.
fn regressions(golden: &Results, results: &Results) -> Vec<String> {
    let worse = results.iter().filter(|(test, verdict)| golden.get(*test).is_some_and(|g| g > verdict));
    worse.map(|(test, verdict)| format!("{test}: {} (was {})", verdict.name(), golden[test].name())).collect()
}

#[test]
fn the_suite_does_no_worse_than_its_golden_list() {
    if !is_installed(TOOL) {
        return skip("conformance", "no iscsi-test-cu (libiscsi-bin)");
    }
    if let Ok(url) = std::env::var("SCSTU_CONFORMANCE_URL") {
        let results = run_all(&|_, _| vec![url.clone()], 1);
        return say(&table(&results));
    }
    let folder = Folder::new("conformance");
    let daemon = Daemon::start_in(&folder.0, &conf(&folder.0));
    let address = daemon.address.to_string();
    let results = run_all(&|lane, test| urls(&address, lane, test), LANES);
    say(&table(&results));
    if std::env::var_os("SCSTU_BLESS").is_some() {
        let lines = results.iter().map(|(test, verdict)| format!("{test} {}\n", verdict.name()));
        std::fs::create_dir_all(golden_path().parent().unwrap()).unwrap();
        std::fs::write(golden_path(), lines.collect::<String>()).unwrap();
    }
    let golden = golden();
    let better = regressions(&results, &golden);
    if !better.is_empty() {
        say(&format!("better than tests/golden/conformance.txt, which can be renewed: {better:?}\n"));
    }
    for (test, why) in IMPOSSIBLE.iter().filter(|(test, _)| results.contains_key(*test)) {
        say(&format!("{test} cannot pass on any target: {why}\n"));
    }
    let mut worse = regressions(&golden, &results);
    let missing = golden.keys().filter(|test| !results.contains_key(*test));
    worse.extend(missing.map(|test| format!("{test}: did not run")));
    let unknown = results.iter().filter(|(test, _)| !golden.contains_key(*test));
    for (test, verdict) in unknown {
        say(&format!(
            "{test}: {}; this version of the suite has it, the golden list does not\n",
            verdict.name()
        ));
    }
    assert!(worse.is_empty(), "worse than the golden list:\n{}", worse.join("\n"));
}

#[test]
fn output_of_the_tool_is_read_rightly() {
    let read = |text: &str| {
        let status = Some(std::os::unix::process::ExitStatusExt::from_raw(0));
        verdict(&Outcome { text: text.to_owned(), status })
    };
    let test = |body: &str| format!("Suite: A\n  Test: B ...{body}\n  asserts  9 9 9 0 n/a\n");
    assert_eq!(read(&test("\n    Verify\n    [OK] done\npassed    Send PRIN")), Verdict::Pass);
    assert_eq!(read(&test("passed")), Verdict::Pass);
    assert_eq!(read("  Test: B ...passed\n  asserts  1 1 1 0 n/a\n"), Verdict::Skip);
    assert_eq!(read(&test("\n    [OK] x\n    [SKIPPED] not implemented\npassed")), Verdict::Skip);
    assert_eq!(read(&test("\n    [SKIPPED] a part\n    [OK] the rest\npassed")), Verdict::Partial);
    assert_eq!(read(&test("    WRITE10 queued\nFAILED\n    1. x.c:1  - CU_FAIL")), Verdict::Fail);
    assert_eq!(read("  Test: B ...\n    [OK] x\n"), Verdict::Crash);
    assert_eq!(verdict(&Outcome { text: String::new(), status: None }), Verdict::Timeout);
    let golden = Results::from([("A.B".to_owned(), Verdict::Pass)]);
    let results = Results::from([("A.B".to_owned(), Verdict::Skip)]);
    assert_eq!(regressions(&golden, &results).len(), 1);
}

#[test]
fn the_golden_list_lacks_nothing_but_the_impossible() {
    let golden = golden();
    assert_eq!(golden.len(), TESTS);
    let lacking: Vec<_> = golden.iter().filter(|(_, verdict)| **verdict != Verdict::Pass).collect();
    let impossible: Vec<_> = IMPOSSIBLE.iter().map(|(test, _)| *test).collect();
    assert_eq!(lacking.iter().map(|(test, _)| test.as_str()).collect::<Vec<_>>(), impossible);
}
