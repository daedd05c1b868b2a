//! kill -9 under mixed writes: what was acknowledged as durable is there after a restart.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;
mod stamps;

use std::thread;
use std::time::{Duration, Instant};

use common::{Daemon, Folder, say};
use initiator::{Initiator, Options};
use stamps::{Disk, End, SLOTS};

const TARGET: &str = "iqn.2026-01.test:crash";
const KILLS: u64 = 200;

#[test]
fn acknowledged_writes_survive_kills() {
    let folder = Folder::new("crash");
    let file = folder.file("disk");
    std::fs::File::create(&file).unwrap().set_len(1 << 20).unwrap();
    let conf = format!(
        "HANDLER vdisk_fileio {{\nDEVICE d {{\nfilename {}\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\nLUN 0 d\n}}\n}}\n",
        file.display()
    );
    let mut disk = Disk::new(1);
    for round in 0..=KILLS {
        let mut daemon = Daemon::start_in(&folder.0, &conf);
        let mut session = Initiator::login(daemon.address, TARGET, &Options::default()).unwrap();
        disk.check(&mut session, round);
        if round == KILLS {
            break;
        }
        let life = Duration::from_millis(5 + disk.random(60) as u64);
        let killer = thread::spawn(move || {
            // The moment of the kill is what varies; nothing is waited for.
            thread::sleep(life);
            daemon.kill();
        });
        let started = Instant::now();
        let end = disk.load(&mut session).unwrap_err();
        killer.join().unwrap();
        assert!(started.elapsed() >= life && matches!(end, End::Gone(_)), "round {round}: {end:?}");
    }
    let counts = [disk.stamp, disk.durable_writes, disk.flushes];
    say(&format!(
        "{KILLS} kills: {} writes sent, {} durable by FUA, {} flushes\n",
        counts[0], counts[1], counts[2]
    ));
    assert!(disk.stamp > KILLS * SLOTS as u64, "hardly anything was written");
    assert!(disk.durable_writes > KILLS && disk.flushes > KILLS, "hardly anything was durable: {counts:?}");
}
