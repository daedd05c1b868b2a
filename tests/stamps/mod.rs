//! A load that tells lost writes from kept ones: each slot of the queue owns blocks of its own and writes
//! them with a rising stamp. A block read back is one that was sent, no older than the last one acknowledged
//! with FUA or before an acknowledged flush.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

use crate::initiator::{Answer, Initiator, READ, SYNCHRONIZE_CACHE, WRITE, rw16};

pub const BLOCK: usize = 512;
pub const SLOTS: usize = 8;
pub const BLOCKS_OF_SLOT: usize = 32;
/// Blocks in all.
pub const BLOCKS: usize = SLOTS * BLOCKS_OF_SLOT;

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

/// Blocks written with rising stamps, and what is known of each.
pub struct Disk {
    known: Vec<Known>,
    pub stamp: u64,
    /// Writes acknowledged with FUA.
    pub durable_writes: u64,
    /// Flushes acknowledged.
    pub flushes: u64,
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

/// Why the load has ended.
#[derive(Debug)]
pub enum End {
    /// The connection.
    Gone(std::io::Error),
    /// A command that was not GOOD.
    Refused(Answer),
}

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        End::Gone(error)
    }
}

impl Disk {
    pub fn new(seed: u64) -> Self {
        Disk { known: vec![Known::default(); BLOCKS], stamp: 0, durable_writes: 0, flushes: 0, random: seed }
    }

    pub fn random(&mut self, below: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) as usize) % below
    }

    /// Every block is whole, was sent, and is as new as it must be. What is found is durable from now on: it
    /// came back from a file.
    pub fn check(&mut self, session: &mut Initiator, round: u64) {
        let data = session.good(0, &rw16(READ, 0, BLOCKS as u32, false), BLOCKS * BLOCK, &[]).unwrap();
        for (block, (known, bytes)) in self.known.iter_mut().zip(data.chunks(BLOCK)).enumerate() {
            let stamp = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            let whole = if stamp == 0 { bytes == [0; BLOCK] } else { bytes == stamped(block, stamp) };
            assert!(whole, "round {round}, block {block} is torn");
            let told = format!("round {round}, block {block}: {stamp}, durable {}", known.durable);
            assert!(stamp >= known.durable && stamp <= known.sent, "{told}, sent {}", known.sent);
            *known = Known { sent: known.sent, acknowledged: stamp, durable: stamp };
        }
    }

    /// Writes and flushes until it is over.
    pub fn load(&mut self, session: &mut Initiator) -> Result<(), End> {
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
                let answer = session.wait(tag)?;
                if answer.status != 0 {
                    return Err(End::Refused(answer));
                }
                self.durable_writes += u64::from(fua);
                for known in &mut self.known[blocks] {
                    known.acknowledged = stamp;
                    known.durable = if fua { stamp } else { known.durable };
                }
            }
            if self.random(3) == 0 {
                let answer = session.command(0, &rw16(SYNCHRONIZE_CACHE, 0, 0, false), 0, &[])?;
                if answer.status != 0 {
                    return Err(End::Refused(answer));
                }
                self.flushes += 1;
                self.known.iter_mut().for_each(|known| known.durable = known.acknowledged);
            }
        }
    }
}
