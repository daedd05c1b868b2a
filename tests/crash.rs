//! kill -9 under mixed writes: what was acknowledged as durable is there after a restart.
//!
//! Each slot of the queue owns blocks of its own and writes them with a rising stamp. A block read back is
//! one that was sent, no older than the last one acknowledged with FUA or before an acknowledged flush.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;

use std::thread;
use std::time::{Duration, Instant};

use common::{Daemon, Folder};
use initiator::{Initiator, Options, READ, SYNCHRONIZE_CACHE, WRITE, rw16};

const TARGET: &str = "iqn.2026-01.test:crash";
const BLOCK: usize = 512;
const SLOTS: usize = 8;
const BLOCKS_OF_SLOT: usize = 32;
const KILLS: u64 = 200;

/// What is known of a block.
#[derive(Clone, Copy, Default)]
struct Known {
    /// Stamp of the last write sent.
    sent: u64,
    /// Stamp of the last write acknowledged.
    acknowledged: u64,
    /// No older stamp may be found.
    durable: u64,
}

struct Disk {
    known: Vec<Known>,
    stamp: u64,
    random: u64,
}

fn stamped(block: usize, stamp: u64) -> [u8; BLOCK] {
    let mut bytes = [0; BLOCK];
    for word in bytes.chunks_mut(16) {
        word[..8].copy_from_slice(&stamp.to_le_bytes());
        word[8..].copy_from_slice(&(block as u64).to_le_bytes());
    }
    bytes
}

impl Disk {
    fn random(&mut self, below: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) as usize) % below
    }

    /// Every block is whole, was sent, and is as new as it must be. What is found is durable from now on: it
    /// came back from a file.
    fn check(&mut self, session: &mut Initiator, round: u64) {
        let count = self.known.len();
        let data = session.good(0, &rw16(READ, 0, count as u32, false), count * BLOCK, &[]).unwrap();
        for (block, (known, bytes)) in self.known.iter_mut().zip(data.chunks(BLOCK)).enumerate() {
            let stamp = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let whole = if stamp == 0 { bytes == [0; BLOCK] } else { bytes == stamped(block, stamp) };
            assert!(whole, "round {round}, block {block} is torn");
            let told = format!("round {round}, block {block}: {stamp}, durable {}", known.durable);
            assert!(stamp >= known.durable && stamp <= known.sent, "{told}, sent {}", known.sent);
            *known = Known { sent: known.sent, acknowledged: stamp, durable: stamp };
        }
    }

    /// Writes and flushes until the daemon is gone.
    fn load(&mut self, session: &mut Initiator) -> std::io::Result<()> {
        loop {
            let mut sent = Vec::new();
            for slot in 0..SLOTS {
                let first = slot * BLOCKS_OF_SLOT + self.random(BLOCKS_OF_SLOT - 8);
                let count = self.random(8) + 1;
                let fua = self.random(4) == 0;
                self.stamp += 1;
                let blocks = first..first + count;
                let data: Vec<u8> = blocks.clone().flat_map(|block| stamped(block, self.stamp)).collect();
                self.known[blocks.clone()].iter_mut().for_each(|known| known.sent = self.stamp);
                let cdb = rw16(WRITE, first as u64, count as u32, fua);
                sent.push((session.start(0, &cdb, 0, &data)?, blocks, self.stamp, fua));
            }
            for (tag, blocks, stamp, fua) in sent {
                assert_eq!(session.wait(tag)?.status, 0);
                for known in &mut self.known[blocks] {
                    known.acknowledged = stamp;
                    known.durable = if fua { stamp } else { known.durable };
                }
            }
            if self.random(3) == 0 {
                session.good(0, &rw16(SYNCHRONIZE_CACHE, 0, 0, false), 0, &[])?;
                self.known.iter_mut().for_each(|known| known.durable = known.acknowledged);
            }
        }
    }
}

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
    let mut disk = Disk { known: vec![Known::default(); SLOTS * BLOCKS_OF_SLOT], stamp: 0, random: 1 };
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
        let error = disk.load(&mut session).unwrap_err();
        killer.join().unwrap();
        assert!(started.elapsed() >= life, "round {round}: it ended by itself: {error}");
    }
    assert!(disk.stamp > KILLS * SLOTS as u64, "hardly anything was written");
}
