//! `vdisk_ram` with a file behind it: what was written is there after the daemon was killed.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;

use std::process::Command;
use std::time::Duration;

use common::{Daemon, Folder, run};
use initiator::{Initiator, Options, READ, SYNCHRONIZE_CACHE, WRITE, rw16};

const TARGET: &str = "iqn.2026-01.test:ram";

fn conf(file: &str) -> String {
    format!(
        "HANDLER vdisk_ram {{\nDEVICE d {{\nfilename {file}\nsize 1M\n}}\nDEVICE m {{\nsize 1M\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\nLUN 0 d\nLUN 1 m\n}}\n}}\n"
    )
}

fn login(daemon: &Daemon) -> Initiator {
    let mut session = Initiator::login(daemon.address, TARGET, &Options::default()).unwrap();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    session.good(1, &[0; 6], 0, &[]).unwrap();
    session
}

/// On a disk, and in memory where there is a /dev/shm.
#[test]
fn a_mapped_disk_survives_kills_and_a_plain_one_does_not() {
    let folder = Folder::new("ram");
    let shared = format!("/dev/shm/scstu-ram-{}", std::process::id());
    let mut files = vec![folder.file("disk").display().to_string()];
    if std::path::Path::new("/dev/shm").is_dir() {
        files.push(shared.clone());
    }
    for file in files {
        let mut daemon = Daemon::start_in(&folder.0, &conf(&file));
        for round in 1..=5u8 {
            let mut session = login(&daemon);
            for lun in [0, 1] {
                let data = session.good(lun, &rw16(READ, 7, 2, false), 1024, &[]).unwrap();
                let expected = if lun == 0 { round - 1 } else { 0 };
                assert!(data.iter().all(|byte| *byte == expected), "{file}, LUN {lun}, round {round}");
                let cdb = rw16(WRITE, 7, 2, round % 2 == 0);
                session.good(lun, &cdb, 0, &[round; 1024]).unwrap();
            }
            session.good(0, &rw16(SYNCHRONIZE_CACHE, 0, 0, false), 0, &[]).unwrap();
            if round == 1 {
                let other = run(
                    Command::new(env!("CARGO_BIN_EXE_scstud"))
                        .args(["--portal", "127.0.0.1:0", "-c"])
                        .arg(folder.file("scst.conf"))
                        .arg("--state-dir")
                        .arg(folder.file("other")),
                    Duration::from_secs(30),
                );
                assert_eq!(other.status.and_then(|status| status.code()), Some(2), "{}", other.text);
                assert!(other.text.contains("in use by another process"), "{}", other.text);
            }
            // WRITE SAME (16) without data makes zeros.
            let mut zero = rw16(0x93, 100, 8, false);
            zero[1] = 1;
            session.good(0, &zero, 0, &[]).unwrap();
            daemon.kill();
            daemon = Daemon::start_in(&folder.0, &conf(&file));
        }
    }
    let _ = std::fs::remove_file(shared);
}
