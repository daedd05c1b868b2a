//! Bad input to the administrator's interfaces: each is refused with a text that says what is wrong and
//! where, and changes nothing.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;
mod initiator;
mod listing;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Daemon, Folder, Outcome, run};
use initiator::{Initiator, Options, READ, rw16};
use scstu::mgmt::conf::{FILE_LIMIT, LINE_LIMIT, Mode, apply_text, check_text, plan_text, save};
use scstu::mgmt::tree::Tree;
use scstu::model::Model;
use scstu::server::pool::Pool;

const TARGET: &str = "iqn.2026-01.test:t";
const LIMIT: Duration = Duration::from_secs(120);

/// Something of everything.
const GOOD: &str = "HANDLER vdisk_ram {\n\tDEVICE d {\n\t\tsize 1M\n\t}\n}\nTARGET_DRIVER iscsi {\n\
    \tenabled 1\n\
    \tTARGET iqn.2026-01.test:t {\n\t\tenabled 1\n\t\tLUN 0 d\n\t\tGROUP g {\n\t\t\tLUN 0 d\n\
    \t\t\tINITIATOR iqn.none\n\t\t}\n\t}\n}\nDEVICE_GROUP dg {\n\tDEVICE d\n\tTARGET_GROUP tg {\n\
    \t\tgroup_id 1\n\t\tTARGET iqn.far:t {\n\t\t\trel_tgt_id 9\n\t\t}\n\t}\n}\n";

/// A file that is `GOOD` with something put before a part of it.
fn before(part: &str, more: &str) -> String {
    assert!(GOOD.contains(part), "{part}");
    GOOD.replacen(part, &format!("{more}{part}"), 1)
}

/// What is wrong, the file, the line, and what is said of it.
type Bad = (&'static str, String, usize, &'static str);

fn malformed() -> Vec<Bad> {
    vec![
        ("sections in each other", "A {".repeat(100_000), 1, "sections may nest at most 16 deep"),
        ("the same with lines", "HANDLER x {\n".repeat(100_000), 17, "sections may nest at most 16 deep"),
        ("ends of nothing", "}\n".repeat(100_000), 1, "} without a { before it"),
        ("no end", GOOD.trim_end().trim_end_matches('}').to_owned(), 17, "is not closed"),
        ("quotes in each other", "\"".repeat(99_999), 1, "quote"),
        ("CRLF everywhere", GOOD.replace('\n', "\r\n"), 1, "carriage return (CRLF)"),
        ("CRLF somewhere", GOOD.replacen("size 1M\n", "size 1M\r\n", 1), 3, "carriage return (CRLF)"),
        ("a byte order mark", format!("\u{feff}{GOOD}"), 1, "byte order mark"),
        ("a NUL in a word", GOOD.replacen("1M", "1\0M", 1), 3, "a NUL byte"),
        ("a NUL at the end", format!("{GOOD}\0"), 26, "a NUL byte"),
        ("a bell", GOOD.replacen("1M", "1\u{7}M", 1), 3, "control character"),
    ]
}

fn said_twice() -> Vec<Bad> {
    let twice = |part: &str| before(part, part);
    vec![
        (
            "a driver twice",
            format!("{GOOD}TARGET_DRIVER iscsi {{\n}}\n"),
            26,
            "a second time; the first is at 6:1",
        ),
        ("a handler twice", format!("{GOOD}HANDLER vdisk_ram {{\n}}\n"), 26, "a second time"),
        ("a device twice", twice("\tDEVICE d {\n\t\tsize 1M\n\t}\n"), 5, "DEVICE d a second time"),
        (
            "a device of two handlers",
            format!("{GOOD}HANDLER vcdrom {{\n\tDEVICE d\n}}\n"),
            27,
            "DEVICE d a second time",
        ),
        ("an attribute of a device twice", twice("\t\tsize 1M\n"), 4, "size a second time"),
        ("a target twice", before("\tTARGET iqn.2026", "\tTARGET IQN.2026-01.test:T\n"), 9, "a second time"),
        ("an attribute of a target twice", twice("\t\tenabled 1\n"), 10, "enabled a second time"),
        ("a LUN twice", twice("\t\tLUN 0 d\n"), 11, "LUN 0 a second time"),
        (
            "a second outgoing account",
            before(
                "\t\tLUN 0 d\n\t\tGROUP",
                "\t\tOutgoingUser \"a 123456789012\"\n\t\tOutgoingUser \"b 210987654321\"\n",
            ),
            11,
            "OutgoingUser a second time",
        ),
        ("a group twice", before("\t\tGROUP g", "\t\tGROUP g {\n\t\t}\n"), 13, "GROUP g a second time"),
        ("a LUN of a group twice", twice("\t\t\tLUN 0 d\n"), 13, "LUN 0 a second time"),
        (
            "an initiator twice",
            twice("\t\t\tINITIATOR iqn.none\n"),
            14,
            "INITIATOR iqn.none of this group a second time",
        ),
        (
            "a device group twice",
            format!("{GOOD}DEVICE_GROUP dg {{\n}}\n"),
            26,
            "DEVICE_GROUP dg a second time",
        ),
        ("a device in two groups", format!("{GOOD}DEVICE_GROUP e {{\n\tDEVICE d\n}}\n"), 27, "a second time"),
        (
            "a target group twice",
            before("\tTARGET_GROUP", "\tTARGET_GROUP tg {\n\t}\n"),
            21,
            "TARGET_GROUP tg a second time",
        ),
        ("its target twice", before("\t\tTARGET iqn.far", "\t\tTARGET iqn.far:t\n"), 22, "a second time"),
        ("its attribute twice", twice("\t\tgroup_id 1\n"), 21, "group_id a second time"),
        ("its target's attribute twice", twice("\t\t\trel_tgt_id 9\n"), 23, "rel_tgt_id a second time"),
    ]
}

fn unknown_or_too_long() -> Vec<Bad> {
    let long = "x".repeat(5000);
    let name = "n".repeat(256);
    vec![
        (
            "an unknown section",
            format!("{GOOD}THINGS x {{\n}}\n"),
            26,
            "allowed are attributes, and the sections HANDLER",
        ),
        (
            "an unknown attribute of the whole",
            format!("{GOOD}colour red\n"),
            26,
            "there is no attribute colour",
        ),
        (
            "of a handler",
            before("\tDEVICE d {", "\tcolour red\n"),
            2,
            "\"colour\" is not known here; allowed are DEVICE",
        ),
        ("of a device", before("\t\tsize", "\t\tcolour red\n"), 3, "vdisk_ram has no attribute colour"),
        ("of the driver", before("\tenabled", "\tcolour red\n"), 7, "there is no attribute colour"),
        ("of a target", before("\t\tLUN 0", "\t\tcolour red\n"), 10, "there is no attribute colour"),
        (
            "of a LUN",
            GOOD.replacen("LUN 0 d\n", "LUN 0 d {\n\t\t\tcolour red\n\t\t}\n", 1),
            11,
            "allowed are read_only",
        ),
        ("of a group", before("\t\t\tLUN 0", "\t\t\tcolour red\n"), 12, "there is no attribute colour"),
        (
            "of a device group",
            before("\tDEVICE d\n", "\tcolour red\n"),
            18,
            "allowed are DEVICE and TARGET_GROUP",
        ),
        ("of a target group", before("\t\tgroup_id", "\t\tcolour red\n"), 20, "there is no attribute colour"),
        (
            "of its target",
            before("\t\t\trel_tgt_id", "\t\t\tcolour red\n"),
            22,
            "there is no attribute colour",
        ),
        (
            "a name that is too long",
            before("\tDEVICE d {", &format!("\tDEVICE {name} {{\n\t\tsize 1M\n\t}}\n")),
            2,
            "name of a device",
        ),
        ("a group's", before("\t\tGROUP g", &format!("\t\tGROUP {name}\n")), 11, "no name of a group"),
        (
            "a value that is too long",
            before("\t\tLUN 0", &format!("\t\tcomment {long}\n")),
            10,
            "at most 4000 bytes",
        ),
        (
            "a word of a megabyte",
            before("\t\tLUN 0", &format!("\t\talias {}\n", "x".repeat(1 << 20))),
            10,
            "at most 255 bytes",
        ),
        ("too many words", before("\t\tLUN 0", &format!("\t\talias{}\n", " x".repeat(100_000))), 10, "words"),
        ("too many lines", "a\n".repeat(LINE_LIMIT + 1), LINE_LIMIT + 1, "lines"),
        ("too many bytes", " ".repeat(FILE_LIMIT + 1), 1, "at most 16777216 bytes are allowed"),
    ]
}

fn bad_files() -> Vec<Bad> {
    [malformed(), said_twice(), unknown_or_too_long()].concat()
}

/// A long text in short.
fn short(text: &str) -> String {
    text.chars().take(300).collect()
}

#[test]
fn a_bad_file_is_refused_with_its_place_and_changes_nothing() {
    let model = Model::new(Arc::new(Pool::new(2)), None).unwrap();
    let tree = Tree::new(Arc::clone(&model));
    apply_text(&model, GOOD, Mode::Merge).unwrap();
    let state = || {
        let mut text = save::save(&model.configuration());
        listing::listing(&tree, "", &mut text);
        text
    };
    let before = state();
    let mut wrong = Vec::new();
    for (what, text, line, says) in bad_files() {
        for mode in [Mode::Merge, Mode::Exact] {
            let refused = [
                check_text(&model, &text, mode).map(|_| ()),
                plan_text(&model, &text, mode).map(|_| ()),
                apply_text(&model, &text, mode).map(|_| ()),
            ];
            for refused in refused {
                let error = refused.expect_err(what);
                if !error.text.contains(says) || error.place.line != line {
                    wrong.push(format!("{what}: {}: {}", error.place, short(&error.text)));
                }
            }
            assert!(state() == before, "{what} has changed something");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What is good is still good.
    for mode in [Mode::Merge, Mode::Exact] {
        assert!(plan_text(&model, GOOD, mode).unwrap().is_empty());
    }
}

struct Served {
    daemon: Daemon,
    folder: Folder,
}

impl Served {
    fn tool(&self, words: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scstuadm"));
        run(command.arg("--socket").arg(self.folder.file("s")).args(words), LIMIT)
    }

    fn refused(&self, words: &[&str]) -> String {
        let outcome = self.tool(words);
        assert_eq!(
            outcome.status.and_then(|status| status.code()),
            Some(2),
            "{words:?}: {}",
            short(&outcome.text)
        );
        outcome.text
    }
}

#[test]
fn the_tool_and_the_daemon_refuse_a_bad_file_and_serve_on() {
    let folder = Folder::new("bad-input");
    let socket = folder.file("s");
    let daemon = Daemon::start_with(&folder.0, GOOD, |command| {
        command.arg("--socket").arg(&socket);
    });
    let served = Served { daemon, folder };
    let mut session = Initiator::login(served.daemon.address, TARGET, &Options::default()).unwrap();
    session.good(0, &rw16(READ, 0, 1, false), 512, &[]).unwrap();
    let saved = served.tool(&["save"]).text;
    let file = served.folder.file("bad.conf");
    let name = file.to_str().unwrap();

    // 1 GiB, which is never read.
    File::create(&file).unwrap().set_len(1 << 30).unwrap();
    let says = "the file is too long (1073741824 bytes); at most 16777216 bytes are allowed";
    for command in ["check", "plan", "apply", "convert"] {
        let text = served.refused(&[command, name]);
        assert!(text.contains(&format!("{name}:1:1: {says}")), "{command}: {}", short(&text));
    }
    reload(&served, &file, "the file is too long");
    for (what, text, line, says) in bad_files().into_iter().filter(|(_, text, ..)| text.len() < FILE_LIMIT) {
        fs::write(&file, text).unwrap();
        let told = served.refused(&["apply", name]);
        assert!(told.contains(&format!("{name}:{line}:")) && told.contains(says), "{what}: {}", short(&told));
        if what.starts_with("a byte") || what.starts_with("CRLF") || what.starts_with("sections") {
            reload(&served, &file, says);
        }
    }
    // Standard input without an end.
    let mut endless = Command::new(env!("CARGO_BIN_EXE_scstuadm"));
    endless.arg("--socket").arg(served.folder.file("s")).args(["apply", "-"]);
    endless.stdin(Stdio::from(File::open("/dev/zero").unwrap()));
    let ended = endless.output().unwrap();
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("at most 16777216 bytes"), "{ended:?}");
    // A body that is said to be longer than a file may be is refused before it comes.
    let mut socket = UnixStream::connect(served.folder.file("s")).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.write_all(b"scstu\t1\napply\tkeep\t1073741824\n").unwrap();
    let lines: Vec<String> = BufReader::new(socket).lines().take(3).map_while(Result::ok).collect();
    assert!(lines.last().unwrap().starts_with(&format!("error\t{}\t", libc::EFBIG)), "{lines:?}");
    assert!(lines.last().unwrap().contains("at most 16777216 bytes"), "{lines:?}");
    // Writes of the tree.
    for (value, says) in [("x".repeat(4097), "at most 4096"), ("x".repeat(40_000), "at most")] {
        let text = served.refused(&["set", &format!("targets/iscsi/{TARGET}/comment"), &value]);
        assert!(text.contains(says), "{}", short(&text));
    }

    assert_eq!(served.tool(&["save"]).text, saved, "nothing has changed");
    session.good(0, &rw16(READ, 0, 1, false), 512, &[]).unwrap();
}

/// Has the daemon read a bad file as its own, and waits for what it says of it.
fn reload(served: &Served, file: &std::path::Path, says: &str) {
    let log = served.folder.file("log");
    let behind = fs::read_to_string(&log).unwrap().len();
    let own = served.folder.file("scst.conf");
    fs::rename(&own, served.folder.file("good.conf")).unwrap();
    fs::rename(file, &own).unwrap();
    assert!(
        Command::new("kill").args(["-HUP", &served.daemon.pid().to_string()]).status().unwrap().success()
    );
    let until = Instant::now() + LIMIT;
    while !fs::read_to_string(&log).unwrap()[behind..].contains(says) {
        assert!(Instant::now() < until, "{says} is not in the log");
        std::thread::sleep(Duration::from_millis(2));
    }
    fs::rename(&own, file).unwrap();
    fs::rename(served.folder.file("good.conf"), &own).unwrap();
}

#[test]
fn a_daemon_does_not_start_with_a_bad_file() {
    let folder = Folder::new("bad-start");
    let file = folder.file("scst.conf");
    File::create(&file).unwrap().set_len(1 << 30).unwrap();
    let start = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scstud"));
        command.arg("-c").arg(&file).arg("--state-dir").arg(folder.file("state"));
        let outcome = run(command.args(["--portal", "127.0.0.1:0"]).args(more), LIMIT);
        assert!(
            !outcome.is_good() && !outcome.crashed() && outcome.status.is_some(),
            "{}",
            short(&outcome.text)
        );
        outcome.text
    };
    for more in [&[][..], &["--check"]] {
        let text = start(more);
        assert!(text.contains("the file is too long (1073741824 bytes)"), "{}", short(&text));
    }
    for (what, text, line, says) in bad_files().into_iter().filter(|(_, text, ..)| text.len() < 2 << 20) {
        fs::write(&file, text).unwrap();
        let told = start(&["--check"]);
        assert!(told.contains(&format!(":{line}:")) && told.contains(says), "{what}: {}", short(&told));
    }
}
