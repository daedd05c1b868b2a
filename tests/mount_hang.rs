//! The mounted tree while a medium hangs: nobody waits beyond the deadline, and what does not need the medium
//! does not wait at all.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;
mod faults;
mod initiator;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use common::skip;
use faults::{Faulty, Operation};
use initiator::{Initiator, Options, WRITE, rw16};

const TARGET: &str = "iqn.2026-01.test:hang";
const LIMIT: Duration = Duration::from_secs(120);

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn errno(result: &std::io::Result<impl Sized>) -> i32 {
    result.as_ref().err().map_or(0, |error| error.raw_os_error().unwrap_or(-1))
}

fn write(path: &Path, text: &str) -> i32 {
    let file = OpenOptions::new().write(true).open(path);
    errno(&file.and_then(|mut file| file.write_all(text.as_bytes())))
}

/// Reads every file below a directory that can be read; answers how many, and those that were refused.
fn read_all(directory: &Path, refused: &mut Vec<PathBuf>) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            count += read_all(&entry.path(), refused);
        } else if kind.is_file() {
            count += 1;
            if fs::read(entry.path()).is_err() {
                refused.push(entry.path());
            }
        }
    }
    count
}

#[test]
fn a_medium_that_hangs_holds_up_its_own_orders_until_the_deadline_and_nothing_else() {
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        return skip("the mounted tree while a medium hangs", &format!("/dev/fuse: {error}"));
    }
    let conf = |folder: &common::Folder| {
        let mut devices = String::new();
        for name in ["hung", "good"] {
            let path = folder.file(name);
            fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
            devices.push_str(&format!("\tDEVICE {name} {{\n\t\tfilename {}\n\t}}\n", path.display()));
        }
        format!(
            "HANDLER vdisk_fileio {{\n{devices}}}\nTARGET_DRIVER iscsi {{\n\tenabled 1\n\
             \tTARGET {TARGET} {{\n\t\tLUN 0 hung\n\t\tLUN 1 good\n\t\tenabled 1\n\t}}\n}}\n"
        )
    };
    let tree = std::cell::OnceCell::new();
    let faulty = Faulty::start_with("mount-hang", conf, |command| {
        let conf = command.get_args().find(|word| Path::new(word).is_absolute()).unwrap();
        let folder = Path::new(conf).parent().unwrap().to_owned();
        command.arg("--mount").arg(folder.join("tree"));
        tree.set(folder.join("tree")).unwrap();
    });
    let Some(faulty) = faulty else {
        return skip("the mounted tree while a medium hangs", "no C compiler");
    };
    let at = |path: &str| tree.get().unwrap().join(path);
    let mut session = Initiator::login(faulty.daemon.address, TARGET, &Options::default()).unwrap();
    for lun in [0, 1] {
        session.command(lun, &[0; 6], 0, &[]).unwrap();
    }
    faulty.hang("hung", Operation::Write);
    faulty.hang("hung", Operation::Durable);
    faulty.hang("hung", Operation::Sync);
    let written = session.start(0, &rw16(WRITE, 0, 1, true), 0, &[7; 512]).unwrap();
    until("the write is out", || fs::read_to_string(at("trace_cmds")).unwrap().contains(" 0 hung 1"));

    // Two orders wait for the medium: one flushes it, one waits for its commands.
    let orders: Vec<_> = [("devices/hung/sync", "1"), ("devices/hung/block", "1")]
        .map(|(path, text)| {
            let path = at(path);
            thread::spawn(move || write(&path, text))
        })
        .into();
    until("commands are held back", || {
        fs::read_to_string(at("devices/hung/block")).unwrap().starts_with("1 1")
    });
    // Everything else goes on. EAGAIN here would mean that it has waited for the medium.
    for (path, text) in [
        ("devices/good/prod_id", "changed"),
        ("devices/good/sync", "1"),
        ("devices/hung/prod_id", "changed too"),
        ("handlers/vdisk_nullio/mgmt", "add_device more"),
        (&format!("targets/iscsi/{TARGET}/luns/mgmt"), "add more 2"),
        (&format!("targets/iscsi/{TARGET}/comment"), "still here"),
    ] {
        assert_eq!(write(&at(path), text), 0, "{text:?} to {path}");
    }
    // Behind what it is told of the changes.
    while session.command(1, &[0; 6], 0, &[]).unwrap().status != 0 {}
    session.good(1, &rw16(WRITE, 0, 1, true), 0, &[7; 512]).unwrap();
    let mut refused = Vec::new();
    let count = read_all(tree.get().unwrap(), &mut refused);
    refused.retain(|path| !path.ends_with("last_sysfs_mgmt_res") && !is_write_only(path));
    assert!(count > 200 && refused.is_empty(), "of {count} files: {refused:?}");

    for order in orders {
        assert_eq!(order.join().unwrap(), libc::EAGAIN);
    }
    assert_eq!(errno(&fs::read(at("last_sysfs_mgmt_res"))), libc::EAGAIN, "they are under way");
    assert!(session.answer(written).is_none());
    faulty.heal("hung", Operation::Write);
    faulty.heal("hung", Operation::Durable);
    faulty.heal("hung", Operation::Sync);
    assert_eq!(session.wait(written).unwrap().status, 0);
    until("they are done", || fs::read(at("last_sysfs_mgmt_res")).is_ok());
    assert_eq!(fs::read_to_string(at("devices/hung/block")).unwrap(), "1 0\n");
    assert_eq!(write(&at("devices/hung/block"), "0"), 0);
    while session.command(0, &[0; 6], 0, &[]).unwrap().status != 0 {}
    session.good(0, &rw16(WRITE, 0, 1, true), 0, &[7; 512]).unwrap();
}

fn is_write_only(path: &Path) -> bool {
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
    mode & 0o444 == 0
}
