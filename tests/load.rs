//! The load generator against the daemon: what it writes it finds again, and what it tells is true.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use common::{Daemon, Folder, Outcome, run, wait_for};

const TARGET: &str = "iqn.2026-01.test:load";
const LIMIT: Duration = Duration::from_secs(120);

fn bench(arguments: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scstu-bench"));
    common::run(command.args(arguments), LIMIT)
}

/// The number behind a key of a JSON object without nesting.
fn number(json: &str, key: &str) -> f64 {
    let at = json.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key} in {json}"));
    let rest = &json[at + key.len() + 3..];
    rest[..rest.find([',', '}']).unwrap()].parse().unwrap()
}

fn daemon(folder: &Folder) -> Daemon {
    let file = folder.file("disk");
    File::create(&file).unwrap().set_len(64 << 20).unwrap();
    let conf = format!(
        "HANDLER vdisk_ram {{\nDEVICE ram {{\nsize 67108864\n}}\n}}\n\
         HANDLER vdisk_fileio {{\nDEVICE file {{\nfilename {}\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\n\
         HeaderDigest None,CRC32C\nDataDigest None,CRC32C\nLUN 0 ram\nLUN 1 file\n}}\n}}\n",
        file.display()
    );
    Daemon::start("load", &conf)
}

#[test]
fn what_a_load_writes_is_found_again() {
    let folder = Folder::new("load-files");
    let daemon = daemon(&folder);
    let pid = daemon.pid().to_string();
    let cases: [(u16, &[&str]); 6] = [
        (0, &["--size", "4k", "--depth", "16"]),
        (1, &["--size", "512", "--depth", "32", "--sessions", "3"]),
        (1, &["--size", "64k", "--depth", "4", "--digests", "both"]),
        (1, &["--size", "64k", "--depth", "8", "--sessions", "2"]),
        (1, &["--size", "1M", "--depth", "4", "--sequential"]),
        (0, &["--size", "4k", "--depth", "8", "--no-batch", "--digests", "header"]),
    ];
    for (lun, case) in cases {
        let url = daemon.url(TARGET, lun);
        let common = ["--rw", "50", "--verify", "--json", "--time", "0.4", "--region", "64M", "--pid", &pid];
        let outcome = bench(&[&[url.as_str()], case, &common[..]].concat());
        assert!(outcome.is_good(), "{case:?}: {}", outcome.text);
        let told = |key| number(&outcome.text, key);
        assert_eq!((told("wrong"), told("failed")), (0.0, 0.0), "{case:?}");
        assert!(told("commands") > 0.0 && told("target_cpu_us") > 0.0, "{case:?}: {}", outcome.text);
        assert!(told("p50_us") <= told("p99_us") && told("p99_us") <= told("max_us"), "{}", outcome.text);
    }
}

/// `Cpus_allowed` of every thread of a process whose name is `name`.
fn allowed(pid: u32, name: &str) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = |thread: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap_or_default()
    };
    let field = |text: &str, key: &str| -> Option<String> {
        text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()))
    };
    threads
        .map(status)
        .filter(|text| field(text, "Name:").as_deref() == Some(name))
        .filter_map(|text| field(&text, "Cpus_allowed:"))
        .collect()
}

#[test]
fn every_way_to_send_and_to_wait_carries_the_data() {
    let target = |name: &str, attributes: &str| {
        format!("TARGET {TARGET}-{name} {{\nenabled 1\n{attributes}\nLUN 0 ram\n}}\n")
    };
    let targets: String = [
        target("never", "nagle never"),
        target("adaptive", "nagle adaptive"),
        target("always", "nagle always"),
        target("poll", "poll_us 200\ncpu_mask 1"),
        target("none", "poll_us 0"),
    ]
    .concat();
    let conf = format!(
        "HANDLER vdisk_ram {{\nDEVICE ram {{\nsize 67108864\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\n{targets}}}\n"
    );
    let daemon = Daemon::start("load-ways", &conf);
    for name in ["never", "adaptive", "always", "poll", "none"] {
        let url = daemon.url(&format!("{TARGET}-{name}"), 0);
        for case in [["--size", "512", "--depth", "128"], ["--size", "64k", "--depth", "1"]] {
            let common = ["--rw", "50", "--verify", "--json", "--time", "0.3", "--region", "32M"];
            let outcome = bench(&[&[url.as_str()], &case[..], &common[..]].concat());
            assert!(outcome.is_good(), "{name} {case:?}: {}", outcome.text);
        }
    }
    let mut session = Command::new(env!("CARGO_BIN_EXE_scstu-bench"));
    let mut session =
        session.args([&daemon.url(&format!("{TARGET}-poll"), 0), "--time", "60"]).spawn().unwrap();
    let deadline = std::time::Instant::now() + LIMIT;
    let mut bound = Vec::new();
    while bound != ["1"] && std::time::Instant::now() < deadline {
        bound = allowed(daemon.pid(), "scstu-conn");
        bound.iter_mut().for_each(|mask| *mask = mask.trim_start_matches(['0', ',']).to_owned());
    }
    session.kill().unwrap();
    session.wait().unwrap();
    assert_eq!(bound, ["1"], "the session's thread runs where cpu_mask says");
}

#[test]
fn a_load_spreads_over_units_and_targets() {
    let targets: String = (0..3)
        .map(|at| {
            format!("TARGET {TARGET}.{at} {{\nenabled 1\nLUN 0 null{at}\nLUN 1 null0\nLUN 2 null1\n}}\n")
        })
        .collect();
    let devices: String = (0..3).map(|at| format!("DEVICE null{at} {{\nsize 64M\n}}\n")).collect();
    let conf =
        format!("HANDLER vdisk_nullio {{\n{devices}}}\nTARGET_DRIVER iscsi {{\nenabled 1\n{targets}}}\n");
    let daemon = Daemon::start("load-many", &conf);
    let pid = daemon.pid().to_string();
    let common = ["--commands", "300", "--sessions", "3", "--targets", "3", "--json", "--size", "64k"];
    for more in [&["--luns", "3"][..], &["--rw", "write", "--luns", "2"], &["--drain", "64M", "--pid", &pid]]
    {
        let url = daemon.url(&format!("{TARGET}."), 0);
        let outcome = bench(&[&[url.as_str()], &common[..], more].concat());
        assert!(outcome.is_good() && number(&outcome.text, "commands") > 0.0, "{more:?}: {}", outcome.text);
    }
    // One unit more than the target has; one target more than there is.
    let four = bench(&[&daemon.url(&format!("{TARGET}.1"), 0), "--luns", "4", "--commands", "100", "--json"]);
    assert!(!four.is_good() && number(&four.text, "failed") > 0.0, "{}", four.text);
    let four = bench(&[&daemon.url(&format!("{TARGET}."), 0), "--targets", "4", "--sessions", "4"]);
    assert!(!four.is_good(), "{}", four.text);
}

#[test]
fn data_that_changes_behind_the_target_is_called_wrong() {
    let folder = Folder::new("load-wrong");
    let daemon = daemon(&folder);
    // Two loads write different data to one place, so each must miss its own.
    let url = daemon.url(TARGET, 1);
    let arguments = |seed| {
        let rest = ["--rw", "50", "--verify", "--json", "--region", "1M", "--depth", "4", "--time", "1"];
        [&[url.as_str()], &rest[..], &["--seed", seed]].concat()
    };
    let mut other = Command::new(env!("CARGO_BIN_EXE_scstu-bench"));
    let mut other = other.args(arguments("2")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let outcome = bench(&arguments("1"));
    other.wait().unwrap();
    assert!(!outcome.is_good(), "{}", outcome.text);
    assert!(number(&outcome.text, "wrong") > 0.0, "{}", outcome.text);
}

#[test]
fn a_paced_load_keeps_its_pace() {
    let folder = Folder::new("load-paced");
    let daemon = daemon(&folder);
    let url = daemon.url(TARGET, 0);
    let paced = |words: &[&str]| {
        let outcome = bench(&[&[url.as_str(), "--depth", "4", "--region", "8M", "--json"], words].concat());
        assert!(outcome.is_good(), "{words:?}: {}", outcome.text);
        outcome.text
    };
    let start = Instant::now();
    let told = paced(&["--sessions", "1", "--rate", "1000", "--commands", "200"]);
    // The first is due at once, the last 199 intervals later.
    assert!(start.elapsed() >= Duration::from_millis(199) && number(&told, "seconds") >= 0.199, "{told}");
    assert_eq!((number(&told, "commands"), number(&told, "rate")), (200.0, 1000.0), "{told}");
    // Half a second's data of commands that are all due within 49 ms: the last has waited for its place.
    let told = paced(&["--rate", "1000", "--commands", "50", "--size", "4k", "--drain", "400k"]);
    assert!(number(&told, "commands") == 50.0 && number(&told, "max_us") >= 450_000.0, "{told}");
    // Written and compared at a pace, by two; and a time that ends long before anything more is due.
    let told = paced(&["--rate", "4000", "--sessions", "2", "--verify", "--time", "0.3"]);
    assert!(number(&told, "commands") > 0.0 && number(&told, "wrong") == 0.0, "{told}");
    paced(&["--rate", "1", "--sessions", "3", "--time", "0.1"]);
    assert!(paced(&["--commands", "10"]).contains("\"rate\":null"));
}

#[test]
fn a_pace_that_cannot_be_kept_is_refused() {
    for rate in ["0", "1000001", "-1", "0.5", "fast"] {
        let outcome = bench(&["iscsi://127.0.0.1/any/0", "--rate", rate]);
        let why = format!("--rate wants commands a second from 1 to 1000000, not \"{rate}\"");
        assert!(!outcome.is_good() && outcome.text.contains(&why), "{}", outcome.text);
    }
}

/// A program that does not outlive its test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The ceiling, and where it listens.
struct Ceiling {
    _program: Program,
    address: String,
}

impl Ceiling {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_scstu-bench"));
        let mut child = child.arg("echo").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Ceiling { _program: Program(child), address }
    }
}

#[test]
fn the_ceiling_answers() {
    let ceiling = Ceiling::start();
    let url = format!("iscsi://{}/any/0", ceiling.address);
    for case in [["--rw", "read", "--size", "512"], ["--rw", "write", "--size", "64k"]] {
        let outcome = bench(&[&[url.as_str(), "--json", "--time", "0.2"], &case[..]].concat());
        assert!(outcome.is_good() && number(&outcome.text, "commands") > 0.0, "{}", outcome.text);
    }
}

/// Passes one connection on to `server`. After `first` bytes of its answers it says so, and passes the others
/// on once it is told: the address to connect to, who hears it, who tells it.
fn hold_answers(server: String, first: u64) -> (String, Receiver<()>, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let ((say, held), (go_on, told)) = (channel(), channel());
    thread::spawn(move || {
        let (front, back) = (listener.accept().unwrap().0, TcpStream::connect(server).unwrap());
        let requests = (front.try_clone().unwrap(), back.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut &requests.0, &mut &requests.1));
        io::copy(&mut (&back).take(first), &mut &front).unwrap();
        say.send(()).unwrap();
        let _ = told.recv();
        let _ = io::copy(&mut &back, &mut &front);
    });
    (address, held, go_on)
}

/// Waits until every thread of a process is in one of these states, as /proc calls them.
fn await_states(pid: u32, states: &str) {
    let is_so = |thread: io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().unwrap().starts_with(|state| states.contains(state))
    };
    let deadline = Instant::now() + LIMIT;
    while !fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(is_so) {
        assert!(Instant::now() < deadline, "not {states}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A stop makes a receive call with a time-out fail (signal(7)), with no handler in the way.
#[test]
fn a_load_that_is_stopped_goes_on() {
    let ceiling = Ceiling::start();
    let pace = ["--rate", "100000", "--drain", "64M"];
    let writes = ["--rw", "write", "--size", "256k"];
    // While it logs in, and in the middle of the load.
    for (first, words) in [(0, &[][..]), (20_000, &[]), (20_000, &pace), (20_000, &writes)] {
        let (address, held, go_on) = hold_answers(ceiling.address.clone(), first);
        let mut load = Command::new(env!("CARGO_BIN_EXE_scstu-bench"));
        load.args([&format!("iscsi://{address}/any/0"), "--depth", "4", "--size", "512"]).args(words);
        let mut load = Program(load.args(["--commands", "1000"]).stdout(Stdio::null()).spawn().unwrap());
        let pid = load.0.id();
        held.recv().unwrap();
        await_states(pid, "SZ");
        for _ in 0..3 {
            // What has ended is a zombie; its status tells.
            for (signal, states) in [("-STOP", "TZ"), ("-CONT", "SZ")] {
                run(Command::new("kill").args([signal, &pid.to_string()]), LIMIT);
                await_states(pid, states);
            }
        }
        go_on.send(()).unwrap();
        let status = wait_for(&mut load.0, LIMIT);
        assert!(status.is_some_and(|status| status.success()), "{first} {words:?}: {status:?}");
    }
}

#[test]
fn what_would_compare_nothing_is_refused() {
    let folder = Folder::new("verify");
    let daemon = daemon(&folder);
    let url = daemon.url(TARGET, 1);
    let outcome = bench(&[&url, "--verify", "--rw", "read"]);
    assert!(!outcome.is_good() && outcome.text.contains("--rw wants write"), "{}", outcome.text);
    let outcome = bench(&["paper", "--only", "700"]);
    assert!(!outcome.is_good() && outcome.text.contains("[512, 1024, 2048, 4096]"), "{}", outcome.text);
    let outcome = bench(&[&url, "--verify", "--commands", "100", "--region", "8M"]);
    assert!(outcome.is_good(), "{}", outcome.text);
    assert!(fs::read(folder.file("disk")).unwrap().iter().any(|byte| *byte != 0), "nothing was written");
}

/// Processes below one, itself included.
fn family(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = list.split_whitespace().filter_map(|word| word.parse().ok());
    std::iter::once(pid).chain(children.flat_map(family)).collect()
}

#[test]
fn a_comparison_that_is_ended_leaves_nothing_behind() {
    let folder = Folder::new("ended");
    let mut compare = Command::new(env!("CARGO_BIN_EXE_scstu-bench"));
    compare.args(["compare", "--peers", "echo,scstu", "--only", "null 512 read qd1"]);
    compare.args(["--rounds", "100000", "--time", "0.1", "--file-folder"]).arg(&folder.0);
    let mut compare = compare.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(compare.stderr.take().unwrap()).lines();
    assert!(told.any(|line| line.unwrap().contains("round 2")));
    let family = family(compare.id());
    assert!(family.len() > 2, "{family:?}");
    assert!(fs::read_dir(&folder.0).unwrap().count() > 0);
    run(Command::new("kill").args(["-TERM", &compare.id().to_string()]), LIMIT);
    let text: String = told.map_while(Result::ok).collect();
    assert!(!wait_for(&mut compare, LIMIT).unwrap().success());
    assert!(text.contains("ended by a signal"), "{text}");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
    let left: Vec<_> = family.iter().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect();
    assert!(left.is_empty(), "{left:?} run on");
    assert!(!std::env::temp_dir().join(format!("scstu-bench-{}", compare.id())).exists());
}

#[test]
fn the_cost_of_digests_is_told_for_each_load() {
    let folder = Folder::new("load-digests");
    let place = folder.0.to_str().unwrap();
    let words = ["digests", "--rounds", "2", "--time", "0.05", "--only", "file 4k", "--file-folder", place];
    let outcome = bench(&words);
    assert!(outcome.is_good(), "{}", outcome.text);
    let rows: Vec<&str> = outcome.text.lines().filter(|line| line.starts_with("| file")).collect();
    let names: Vec<&str> = rows.iter().map(|row| row.split('|').nth(1).unwrap().trim()).collect();
    assert_eq!(names, ["file 4k read qd32", "file 4k write qd32"], "{}", outcome.text);
    for row in rows {
        let numbers = row.split('|').skip(2).take(3).map(|one| one.trim().parse::<f64>().unwrap());
        assert!(numbers.into_iter().all(|one| one > 0.0), "{row}");
    }
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0, "the file is gone");
    let [small, large] = ["4k", "1M"].map(|size| number(&bench(&["digests", "--sums", size]).text, "own"));
    assert!(large > small, "{small} {large}");
    for (words, allowed) in
        [(["--sums", "0"], "1 to 16M"), (["--only", "null 512 read qd1"], "file 64k write qd8")]
    {
        let outcome = bench(&["digests", words[0], words[1]]);
        assert!(!outcome.is_good() && outcome.text.contains(allowed), "{}", outcome.text);
    }
}

#[test]
fn help_is_told_wherever_it_is_asked_for() {
    let whole = bench(&["--help"]);
    assert!(whole.is_good() && whole.text.starts_with("Usage: scstu-bench"), "{}", whole.text);
    // Nothing is resolved, started or installed before.
    for first in ["iscsi://no.such.host.invalid/any/0", "echo", "compare", "embed", "digests", "paper"] {
        for words in [&["--help"][..], &["-h"], &["--help", "--rounds", "x"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_scstu-bench"));
            let told = command.arg(first).args(words).output().unwrap();
            assert!(told.status.success() && told.stderr.is_empty(), "{first} {words:?}: {told:?}");
            assert_eq!(String::from_utf8_lossy(&told.stdout), whole.text, "{first} {words:?}");
        }
    }
    let behind = bench(&["compare", "--rounds", "3", "--out", "x", "-h"]);
    assert!(behind.is_good() && behind.text == whole.text, "{}", behind.text);
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let outcome = bench(&["compare", "--peers", "echo", "--file-folder", "/nowhere/at/all"]);
    assert!(!outcome.is_good() && outcome.text.contains("/nowhere/at/all"), "{}", outcome.text);
}
