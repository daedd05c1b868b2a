//! Handlers of tcmu-runner: of the tests' own, which do what a test wants, in the daemon and in a C program.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod c_programs;
mod common;
mod initiator;
mod tcmu_handlers;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use c_programs::program::Program;
use c_programs::{LIMIT, compile, has_compiler, has_valgrind, installed, tree, valgrind};
use common::{Daemon, Folder, run};
use initiator::{Initiator, Options, READ, SYNCHRONIZE_CACHE, WRITE, rw16};
use tcmu_handlers::{Admin, build, sense};

const TARGET: &str = "iqn.2026-01.test:tcmu";
const BLOCK: usize = 512;
const KINDS: [&str; 3] = ["later", "one", "four"];
const LATER: u8 = 0;
const ONE: u8 = 1;
const FOUR: u8 = 2;
/// Blocks with a meaning, as `tests/tcmu/handler_test.c` has them.
const STATUS: u64 = 1000;
const HELD: u64 = 2000;
const TWICE: u64 = 3000;
const LOST: u64 = 3100;
const SLOW: u64 = 3200;

struct Bench {
    daemon: Daemon,
    admin: Admin,
    folder: Folder,
}

impl Bench {
    /// The daemon with a disk of 4 MiB of each handler; `more` goes into each device's section.
    fn new(name: &str, more: &str) -> Option<Bench> {
        if !has_compiler("handlers of tcmu-runner") {
            return None;
        }
        let folder = Folder::new(name);
        build(&folder.0, "handler_test.c", "handler_test.so", &[]);
        let mut conf = String::new();
        for kind in KINDS {
            fs::create_dir_all(folder.file(kind)).unwrap();
            let place = folder.file(kind);
            conf += &format!("HANDLER tcmu_{kind} {{\nDEVICE {kind} {{\ncfgstring {}\n", place.display());
            conf += &format!("size 4194304\n{more}}}\n}}\n");
        }
        conf += &format!("TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\n");
        conf += "LUN 0 later\nLUN 1 one\nLUN 2 four\n}\n}\n";
        let (daemon, admin) = Admin::start(&folder, &conf, &[&folder.0]);
        Some(Bench { daemon, admin, folder })
    }

    fn login(&self, isid: u32) -> Initiator {
        let options = Options { isid, initial_r2t: false, ..Options::default() };
        let mut session = Initiator::login(self.daemon.address, TARGET, &options).unwrap();
        for lun in 0..KINDS.len() {
            session.good(lun as u8, &[0; 6], 0, &[]).unwrap();
        }
        session
    }

    fn events(&self, kind: &str) -> String {
        fs::read_to_string(self.folder.file(kind).join("events")).unwrap_or_default()
    }

    fn await_event(&self, kind: &str, event: &str) -> String {
        let deadline = Instant::now() + LIMIT;
        loop {
            let events = self.events(kind);
            if events.contains(event) {
                return events;
            }
            assert!(Instant::now() < deadline, "{kind}: no {event} in\n{events}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn release(&self, kind: &str) {
        fs::write(self.folder.file(kind).join("release"), "").unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.file("log")).unwrap()
    }
}

/// A sequence that looks random and is always the same.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn write_and_read(session: &mut Initiator, lun: u8) {
    let mut numbers = Numbers(u64::from(lun) + 1);
    let mut model = vec![0u8; 900 * BLOCK];
    for round in 0..40 {
        let mut out = Vec::new();
        for at in 0..8 {
            // Eight parts of the disk, so that no two of a round overlap.
            let (lba, blocks) = (at * 112 + numbers.next(80), 1 + numbers.next(32));
            let byte = numbers.next(256) as u8;
            let data = vec![byte; blocks as usize * BLOCK];
            model[lba as usize * BLOCK..][..data.len()].copy_from_slice(&data);
            let cdb = rw16(WRITE, lba, blocks as u32, round % 10 == at);
            out.push(session.start(lun, &cdb, 0, &data).unwrap());
        }
        for tag in out {
            assert_eq!(session.wait(tag).unwrap().status, 0);
        }
    }
    for lba in (0..900).step_by(90) {
        let found = session.good(lun, &rw16(READ, lba, 90, false), 90 * BLOCK, &[]).unwrap();
        assert!(found == model[lba as usize * BLOCK..][..90 * BLOCK], "LUN {lun}, from block {lba}");
    }
    session.good(lun, &rw16(SYNCHRONIZE_CACHE, 0, 0, false), 0, &[]).unwrap();
}

#[test]
fn what_was_written_is_read_and_no_handler_is_called_by_too_many() {
    let Some(mut bench) = Bench::new("tcmu-data", "") else { return };
    let mut session = bench.login(1);
    for lun in [LATER, ONE, FOUR] {
        write_and_read(&mut session, lun);
    }
    drop(session);
    let log = bench.log();
    for kind in KINDS {
        let line =
            format!("tcmu_{kind} {kind}: open_disk: -7 seven 0.25 1099511627776 c ff -1 eighth 1000.0");
        assert!(log.contains(&line), "{line} is not in\n{log}");
    }
    assert!(bench.daemon.stop().success());
    for (kind, threads) in [("one", 1), ("four", 4)] {
        let events = bench.events(kind);
        let most: u32 = events.split("most=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!((1..=threads).contains(&most), "{kind}: {events}");
    }
    for kind in KINDS {
        assert!(bench.events(kind).contains("close out=0"), "{}", bench.events(kind));
    }
    assert_eq!(fs::read_to_string(bench.folder.file("destroyed")).unwrap(), "destroyed\n");
}

/// Sense key, code and qualifier of each status; a status of SAM where there is no sense data.
fn meaning(status: u64) -> Result<(u8, u8, u8), u8> {
    Ok(match status {
        1 => return Err(0x28),
        3 | 11 => return Err(0x08),
        2 => (5, 0x21, 0x04),
        4 => (3, 0x0c, 0),
        5 => (3, 0x11, 0),
        6 => (0xe, 0x1d, 0),
        7 | 39 => (5, 0x20, 0),
        8 => (5, 0x24, 0),
        9 => (5, 0x26, 0),
        10 => (5, 0x1a, 0),
        12 => (2, 0x04, 0x0b),
        13 => (4, 0x44, 0),
        14 => (5, 0x21, 0),
        15 => (2, 0x04, 0x04),
        16 => (6, 0x2a, 0x09),
        17 => (5, 0x39, 0),
        18 => (5, 0x30, 0x05),
        19 => (2, 0x04, 0x0a),
        20 => (6, 0x2a, 0x07),
        21 => (4, 0x67, 0x0a),
        23 => (5, 0x26, 0x09),
        24 => (5, 0x26, 0x07),
        25 => (0xa, 0x0d, 0x02),
        26 => (0xa, 0x0d, 0x03),
        27 => (5, 0x26, 0x08),
        28 => (5, 0x26, 0x06),
        _ => (0, 0, 0),
    })
}

#[test]
fn every_status_is_the_sense_data_that_it_stands_for() {
    let Some(bench) = Bench::new("tcmu-status", "") else { return };
    let mut session = bench.login(1);
    for lun in [LATER, ONE] {
        for status in (1..=29).chain([39]) {
            let answer = session.command(lun, &rw16(READ, STATUS + status, 1, false), BLOCK, &[]).unwrap();
            match meaning(status) {
                Err(sam) => assert_eq!((answer.status, answer.sense.len()), (sam, 0), "{status}"),
                Ok(wanted) => assert_eq!((answer.status, sense(&answer)), (2, wanted), "LUN {lun}, {status}"),
            }
            if status == 6 {
                assert_eq!(answer.sense[0] & 0x80, 0x80, "VALID");
                assert_eq!(answer.sense[3..7], [0, 0, 0x12, 0x34], "INFORMATION is kept");
            }
            if status == 15 {
                assert_eq!(answer.sense[15..18], [0x80, 0x43, 0x21], "SENSE KEY SPECIFIC is kept");
            }
        }
        let answer = session.command(lun, &rw16(WRITE, STATUS + 18, 1, false), 0, &[1; BLOCK]).unwrap();
        assert_eq!(sense(&answer), (5, 0x30, 0x05));
        session.good(lun, &rw16(READ, 0, 1, false), BLOCK, &[]).unwrap();
    }
}

#[test]
fn a_command_that_is_completed_twice_ends_once() {
    let Some(bench) = Bench::new("tcmu-twice", "") else { return };
    let mut session = bench.login(1);
    for round in 0..20 {
        session.good(LATER, &rw16(WRITE, TWICE, 1, false), 0, &[round; BLOCK]).unwrap();
        let found = session.good(LATER, &rw16(READ, TWICE, 1, false), BLOCK, &[]).unwrap();
        assert_eq!(found, [round; BLOCK]);
    }
    session.good(LATER, &rw16(READ, SLOW, 1, false), BLOCK, &[]).unwrap();
    let log = bench.log();
    assert!(log.contains("tcmu_later later: a command was completed that is not out"), "{log}");
    assert!(log.contains("tcmu_later later: a command has taken longer than the handler allows"), "{log}");
}

/// RFC 7143 11.5.1, 11.6.1.
const ABORT_TASK: u8 = 1;
const COMPLETE: u8 = 0;

#[test]
fn an_abort_waits_for_the_write_that_the_handler_has() {
    for (lun, kind) in [(LATER, "later"), (ONE, "one")] {
        let Some(bench) = Bench::new("tcmu-abort", "") else { return };
        let (mut one, mut two) = (bench.login(1), bench.login(2));
        let held = one.start(lun, &rw16(WRITE, HELD, 1, false), 0, &[1; BLOCK]).unwrap();
        bench.await_event(kind, "held");
        let function = one.begin_function(ABORT_TASK, lun, held).unwrap();
        let behind = two.start(lun, &rw16(WRITE, HELD, 1, false), 0, &[2; BLOCK]).unwrap();
        two.good(FOUR, &rw16(READ, 0, 1, false), BLOCK, &[]).unwrap();
        one.nop().unwrap();
        assert_eq!(one.function_result(function), None, "{kind}: the write is still out");
        assert!(two.answer(behind).is_none());
        bench.release(kind);
        assert_eq!(one.wait_function(function).unwrap(), COMPLETE);
        assert_eq!(two.wait(behind).unwrap().status, 0);
        let found = two.good(lun, &rw16(READ, HELD, 1, false), BLOCK, &[]).unwrap();
        assert_eq!(found, [2; BLOCK], "{kind}: the older write has landed first");
        assert!(one.answer(held).is_none(), "an aborted command has no answer");
    }
}

#[test]
fn a_device_is_closed_when_its_last_command_is_back() {
    let Some(bench) = Bench::new("tcmu-close", "") else { return };
    let mut session = bench.login(1);
    for (lun, kind) in [(LATER, "later"), (ONE, "one")] {
        let held = session.start(lun, &rw16(WRITE, HELD, 1, false), 0, &[1; BLOCK]).unwrap();
        bench.await_event(kind, "held");
        bench.admin.good(&["set", &format!("devices/{kind}/active"), "0"]);
        let refused = session.command(lun, &rw16(READ, 0, 1, false), BLOCK, &[]).unwrap();
        assert_eq!(sense(&refused), (2, 0x3a, 0));
        assert!(!bench.events(kind).contains("close"), "{kind}: a command is out");
        bench.release(kind);
        assert_eq!(session.wait(held).unwrap().status, 0);
        let events = bench.await_event(kind, "close");
        assert!(events.contains("close out=0"), "{events}");
        bench.admin.good(&["set", &format!("devices/{kind}/active"), "1"]);
        assert_eq!(bench.events(kind).matches("open").count(), 2);
        let told = session.command(lun, &[0; 6], 0, &[]).unwrap();
        assert_eq!(sense(&told), (6, 0x28, 0), "the medium is another");
        session.good(lun, &rw16(READ, 0, 1, false), BLOCK, &[]).unwrap();
    }
}

#[test]
fn a_lost_lock_and_a_failed_flush_end_it_until_it_is_opened_again() {
    let Some(bench) = Bench::new("tcmu-lost", "") else { return };
    let mut session = bench.login(1);
    let _ = session.command(LATER, &rw16(READ, LOST, 1, false), BLOCK, &[]).unwrap();
    fs::write(bench.folder.file("one").join("no-flush"), "").unwrap();
    let failed = session.command(ONE, &rw16(SYNCHRONIZE_CACHE, 0, 0, false), 0, &[]).unwrap();
    assert_eq!(sense(&failed), (3, 0x0c, 0));
    for (lun, kind) in [(LATER, "later"), (ONE, "one")] {
        for cdb in [rw16(READ, 0, 1, false), rw16(SYNCHRONIZE_CACHE, 0, 0, false)] {
            let read = if cdb[0] == READ { BLOCK } else { 0 };
            let answer = session.command(lun, &cdb, read, &[]).unwrap();
            assert_eq!(sense(&answer), (4, 0x44, 0), "{kind}");
        }
        let _ = fs::remove_file(bench.folder.file(kind).join("no-flush"));
        bench.admin.good(&["set", &format!("devices/{kind}/active"), "0"]);
        bench.admin.good(&["set", &format!("devices/{kind}/active"), "1"]);
        let _ = session.command(lun, &[0; 6], 0, &[]).unwrap();
        session.good(lun, &rw16(SYNCHRONIZE_CACHE, 0, 0, false), 0, &[]).unwrap();
    }
}

/// COMPARE AND WRITE of one block, UNMAP of one range, WRITE SAME (16).
fn compare_and_write(lba: u8) -> [u8; 16] {
    let mut cdb = [0; 16];
    (cdb[0], cdb[9], cdb[13]) = (0x89, lba, 1);
    cdb
}

#[test]
fn frees_fills_compares_and_grows_where_the_handler_can() {
    let Some(bench) = Bench::new("tcmu-more", "") else { return };
    let mut session = bench.login(1);
    for lun in [LATER, ONE, FOUR] {
        session.good(lun, &rw16(WRITE, 0, 512, false), 0, &vec![7; 512 * BLOCK]).unwrap();
        let both = [vec![7; BLOCK], vec![9; BLOCK]].concat();
        session.good(lun, &compare_and_write(4), 0, &both).unwrap();
        let again = session.command(lun, &compare_and_write(4), 0, &both).unwrap();
        assert_eq!((sense(&again), &again.sense[3..7]), ((0xe, 0x1d, 0), &[0; 4][..]), "LUN {lun}");
        let found = session.good(lun, &rw16(READ, 4, 1, false), BLOCK, &[]).unwrap();
        assert_eq!(found, [9; BLOCK]);
        session.good(lun, &rw16(0x93, 100, 50, false), 0, &[3; BLOCK]).unwrap();
        let found = session.good(lun, &rw16(READ, 99, 52, false), 52 * BLOCK, &[]).unwrap();
        assert!(found[..BLOCK] == [7; BLOCK] && found[51 * BLOCK..] == [7; BLOCK]);
        assert!(found[BLOCK..51 * BLOCK].iter().all(|byte| *byte == 3), "LUN {lun}");
    }
    // Block 300 on, 150 blocks: more than the handler frees with one call.
    let mut list = vec![0u8; 24];
    (list[1], list[3], list[14], list[15], list[19]) = (22, 16, 1, 44, 150);
    for (lun, kind) in [(LATER, "later"), (FOUR, "four")] {
        session.good(lun, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 0, &list).unwrap();
        let found = session.good(lun, &rw16(READ, 299, 152, false), 152 * BLOCK, &[]).unwrap();
        assert!(found[..BLOCK] == [7; BLOCK] && found[151 * BLOCK..] == [7; BLOCK], "{kind}");
        assert!(found[BLOCK..151 * BLOCK].iter().all(|byte| *byte == 0), "{kind}");
    }
    let refused = session.command(ONE, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], 0, &list).unwrap();
    assert_eq!(sense(&refused), (5, 0x20, 0), "a handler without unmap");
    bench.admin.good(&["set", "devices/one/size", "8M"]);
    let told = session.command(ONE, &[0; 6], 0, &[]).unwrap();
    assert_eq!(sense(&told), (6, 0x2a, 0x09));
    session.good(ONE, &rw16(WRITE, 16_383, 1, false), 0, &[5; BLOCK]).unwrap();
    let text = bench.admin.refused(&["set", "devices/one/size", "128M"]);
    assert!(text.contains("No space left"), "{text}");
    let text = bench.admin.refused(&["set", "devices/four/size", "8M"]);
    assert!(text.contains("not supported"), "{text}");
    assert_eq!(bench.admin.good(&["get", "devices/four/size"]).lines().next(), Some("4194304"));
}

#[test]
fn a_cache_that_is_written_through_or_counts_as_safe() {
    for (more, flushes) in [("write_through 1\n", 3), ("nv_cache 1\n", 0)] {
        let Some(mut bench) = Bench::new("tcmu-cache", more) else { return };
        let mut session = bench.login(1);
        for lun in [LATER, ONE] {
            // Caching mode page: WCE.
            let page = session.good(lun, &[0x1a, 0x08, 0x08, 0, 24, 0], 24, &[]).unwrap();
            assert_eq!(page[6] & 0x04, 0, "{more}");
            for lba in 0..3 {
                session.good(lun, &rw16(WRITE, lba, 1, false), 0, &[1; BLOCK]).unwrap();
            }
        }
        drop(session);
        for kind in ["later", "one"] {
            bench.admin.good(&["set", &format!("devices/{kind}/active"), "0"]);
            let events = bench.await_event(kind, "close");
            assert!(events.contains(&format!("flushes={flushes}\n")), "{more}{events}");
        }
        assert!(bench.daemon.stop().success());
    }
}

#[test]
fn what_cannot_be_opened_or_loaded_is_refused_in_words() {
    let Some(bench) = Bench::new("tcmu-refused", "") else { return };
    let add = |what: &[&str]| bench.admin.refused(&[&["device", "add", "x", "tcmu_later"], what].concat());
    let own = bench.folder.file("later");
    let cfgstring = format!("cfgstring={}", own.display());
    for (what, words) in [
        (&["size=1M"][..], "cfgstring is missing: what is behind later/ in Completes later"),
        (&["cfgstring=/unwanted", "size=1M"], "tcmu_later refuses it: nobody wants it"),
        (&["cfgstring=x"], "size is missing"),
        (&[&cfgstring, "size=1000"], "size 1000 is not a positive multiple of blocksize 512"),
        (&[&cfgstring, "size=1M", "blocksize=100"], "blocksize 100 is not 512, 1024, 2048 or 4096"),
        (&["cfgstring=none", "size=1M"], "Not a directory (os error 20); it says: no directory none"),
    ] {
        let text = add(what);
        assert!(text.contains(words), "{what:?}: {text}");
    }
    let bad = bench.folder.file("bad");
    fs::create_dir_all(&bad).unwrap();
    for which in ["UNKNOWN_FUNCTION", "NO_OPEN", "STRANGE_NAME", "TAKEN", "FAILS", "NO_INIT"] {
        build(&bad, "handler_bad.c", &format!("handler_{which}.so"), &[&format!("-D{which}")]);
    }
    fs::write(bad.join("handler_text.so"), "no library\n").unwrap();
    fs::write(bad.join("other.so"), "never looked at\n").unwrap();
    fs::copy(bad.join("handler_NO_OPEN.so"), bad.join("handler_public.so")).unwrap();
    let public = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(bad.join("handler_public.so"), public).unwrap();
    let second = Folder::new("tcmu-second");
    let (mut daemon, admin) = Admin::start(&second, "", &[&bench.folder.0, &bad]);
    let log = fs::read_to_string(second.file("log")).unwrap();
    for (which, words) in [
        ("UNKNOWN_FUNCTION", "undefined symbol: tcmu_of_tomorrow"),
        ("NO_OPEN", "no_open has no open or no close"),
        ("STRANGE_NAME", "\"../x\" is no subtype"),
        ("TAKEN", "there is a handler later already"),
        ("FAILS", "fails: its init answers 7"),
        ("NO_INIT", "it has no handler_init"),
        ("text", "handler_text.so: file too short"),
        ("public", "anybody may write to it"),
    ] {
        let line = log.lines().find(|line| line.contains(&format!("handler_{which}.so: ")));
        assert!(line.is_some_and(|line| line.contains(words)), "{which}: {words}\n{log}");
    }
    let handlers = admin.good(&["list", "handlers"]);
    let ours: Vec<_> = handlers.split_whitespace().filter(|word| word.starts_with("tcmu_")).collect();
    assert_eq!(ours, ["tcmu_four/", "tcmu_later/", "tcmu_one/"]);
    assert!(daemon.stop().success());
}

fn serve_and_end(mut command: Command, folder: &Path) {
    for kind in KINDS {
        let _ = fs::remove_file(folder.join(kind));
    }
    let mut program = Program::start(&mut command);
    let address = program.line().parse().unwrap();
    let mut session = Initiator::login(address, TARGET, &Options::default()).unwrap();
    for lun in 0..3 {
        session.good(lun, &[0; 6], 0, &[]).unwrap();
        let data: Vec<u8> = (0..64 * BLOCK).map(|at| (at / 7) as u8).collect();
        for lba in [0, 101, 202] {
            session.good(lun, &rw16(WRITE, lba, 64, lba == 0), 0, &data).unwrap();
            assert!(session.good(lun, &rw16(READ, lba, 64, false), 64 * BLOCK, &[]).unwrap() == data);
        }
        for status in [2, 5, 6, 15] {
            let answer = session.command(lun, &rw16(READ, STATUS + status, 1, false), BLOCK, &[]).unwrap();
            assert_eq!(sense(&answer), meaning(status).unwrap());
        }
    }
    session.good(LATER, &rw16(WRITE, TWICE, 1, false), 0, &[1; BLOCK]).unwrap();
    drop(session);
    program.end();
    let events = fs::read_to_string(folder.join("events")).unwrap();
    assert_eq!(events.matches("close out=0").count(), 3, "{events}");
}

#[test]
fn a_c_program_has_them_too() {
    if !has_compiler("handlers of tcmu-runner in a C program") {
        return;
    }
    let folder = Folder::new("tcmu-c");
    let place = installed(&folder);
    let (handlers, disks) = (folder.file("handlers"), folder.file("disks"));
    fs::create_dir_all(&handlers).unwrap();
    fs::create_dir_all(&disks).unwrap();
    build(&handlers, "handler_test.c", "handler_test.so", &[]);
    let path = compile(&place, "tests/c/tcmu.c", &[]);
    let mut command = Command::new(&path);
    command.arg(&handlers).arg(&disks);
    serve_and_end(command, &disks);
    if has_valgrind("handlers of tcmu-runner under valgrind") {
        fs::remove_file(disks.join("events")).unwrap();
        let mut command = valgrind(&path);
        command.arg(&handlers).arg(&disks);
        serve_and_end(command, &disks);
    }
}

#[test]
fn a_c_program_is_not_rid_of_an_instance_before_its_devices_are_closed() {
    if !has_compiler("handlers of tcmu-runner in a C program") {
        return;
    }
    let folder = Folder::new("tcmu-free");
    let place = installed(&folder);
    let (handlers, disks) = (folder.file("handlers"), folder.file("disks"));
    fs::create_dir_all(&handlers).unwrap();
    fs::create_dir_all(&disks).unwrap();
    build(&handlers, "handler_test.c", "handler_test.so", &[]);
    let path = compile(&place, "tests/c/tcmu.c", &[]);
    let mut command = Command::new(&path);
    command.arg(&handlers).arg(&disks).arg("held");
    let mut program = Program::start(&mut command);
    let address = program.line().parse().unwrap();
    let mut session = Initiator::login(address, TARGET, &Options::default()).unwrap();
    for lun in [LATER, ONE] {
        session.good(lun, &[0; 6], 0, &[]).unwrap();
        session.start(lun, &rw16(WRITE, HELD, 1, false), 0, &[1; BLOCK]).unwrap();
    }
    let events = || fs::read_to_string(disks.join("events")).unwrap_or_default();
    let deadline = Instant::now() + LIMIT;
    while events().matches("held").count() < 2 {
        assert!(Instant::now() < deadline, "{}", events());
        thread::sleep(Duration::from_millis(5));
    }
    program.close_input();
    assert_eq!(program.line(), "stopped");
    fs::write(disks.join("release"), "").unwrap();
    program.end();
    assert_eq!(events().matches("close out=0").count(), 3, "{}", events());
}

/// A program with the static library does not show its functions to a handler unless it is told to.
#[test]
fn a_program_that_hides_our_functions_is_told() {
    if !has_compiler("handlers of tcmu-runner and the static library") {
        return;
    }
    let folder = Folder::new("tcmu-static");
    build(&folder.0, "handler_test.c", "handler_test.so", &[]);
    let archive = c_programs::library().with_file_name("libscstu.a");
    let program = folder.file("program");
    let mut compiler = Command::new("gcc");
    compiler.arg("-I").arg(tree().join("include")).arg(tree().join("tests/c/tcmu.c")).arg(archive);
    compiler.args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-o"]).arg(&program);
    let outcome = run(&mut compiler, LIMIT);
    assert!(outcome.is_good(), "{}", outcome.text);
    let outcome = run(Command::new(program).arg(&folder.0).arg("x"), LIMIT);
    assert!(!outcome.is_good());
    assert!(outcome.text.contains("handlers do not find tcmu_"), "{}", outcome.text);
    assert!(outcome.text.contains("-rdynamic"), "{}", outcome.text);
}
