//! A session on a thread of its own that writes and reads one LUN at random, eight commands at a time, and
//! knows what every block must hold.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)] // Each test uses a part.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::initiator::{Answer, Initiator, Options, READ, WRITE, rw16};

pub const BLOCK: usize = 512;
/// Blocks of the LUN that are used: 512 KiB.
pub const BLOCKS: u64 = 1024;
const DEPTH: usize = 8;
const LONGEST: u64 = 16;
const LIMIT: Duration = Duration::from_secs(60);
const TEST_UNIT_READY: [u8; 6] = [0; 6];
/// A command that was on its way while its LUN became another unit: it was not carried out.
pub const BUSY: u8 = 0x08;

/// Sense key, additional sense code and qualifier of an answer; nothing for GOOD.
pub fn sense_of(answer: &Answer) -> Option<(u8, u16)> {
    if answer.status == 0 {
        return None;
    }
    assert_eq!(answer.status, 2, "{answer:x?}");
    Some((answer.sense[2] & 0x0f, u16::from_be_bytes([answer.sense[12], answer.sense[13]])))
}

/// What a block holds after the write with this number by this session.
fn content(session: u32, lba: u64, number: u32) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    if number > 0 {
        for (at, word) in (0u64..).zip(block.chunks_exact_mut(8)) {
            let mixed = (lba << 40 | u64::from(session) << 32 | u64::from(number)).wrapping_add(at << 56);
            word.copy_from_slice(&mixed.to_be_bytes());
        }
    }
    block
}

#[derive(Clone, Copy)]
struct Flying {
    lba: u64,
    blocks: u64,
    /// Number of a write; 0 for a read.
    number: u32,
}

struct Worker {
    session: Initiator,
    id: u32,
    random: u64,
    /// Number of the last write to each block.
    last: Vec<u32>,
    next: u32,
    flying: BTreeMap<u32, Flying>,
    seen: Vec<(u8, u16)>,
    done: Arc<AtomicU64>,
}

/// A question to the worker, asked when nothing is in flight.
type Question = Box<dyn FnOnce(&mut Initiator, &mut Vec<(u8, u16)>) + Send>;

impl Worker {
    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 8) % limit
    }

    fn send(&mut self, flying: Flying) {
        let bytes = flying.blocks as usize * BLOCK;
        let sent = if flying.number == 0 {
            self.session.start(0, &rw16(READ, flying.lba, flying.blocks as u32, false), bytes, &[])
        } else {
            let blocks = flying.lba..flying.lba + flying.blocks;
            let data: Vec<u8> = blocks.flat_map(|lba| content(self.id, lba, flying.number)).collect();
            self.session.start(0, &rw16(WRITE, flying.lba, flying.blocks as u32, false), 0, &data)
        };
        self.flying.insert(sent.unwrap(), flying);
    }

    /// Blocks that are in flight are left alone, so that each block's content is known.
    fn begin(&mut self) {
        let blocks = 1 + self.below(LONGEST);
        let lba = self.below(BLOCKS - blocks);
        let meets = |other: &Flying| other.lba < lba + blocks && lba < other.lba + other.blocks;
        if self.flying.values().any(meets) {
            return;
        }
        let writes = self.below(2) == 0;
        self.next += u32::from(writes);
        let number = if writes { self.next } else { 0 };
        self.send(Flying { lba, blocks, number });
    }

    fn finish(&mut self) {
        let tags: Vec<u32> = self.flying.keys().copied().collect();
        for tag in tags.into_iter().filter(|tag| self.session.answer(*tag).is_some()).collect::<Vec<_>>() {
            let answer = self.session.wait(tag).unwrap();
            let flying = self.flying.remove(&tag).unwrap();
            if answer.status == BUSY {
                self.send(flying);
                continue;
            }
            match sense_of(&answer) {
                None => self.check(flying, &answer.data),
                Some((6, code)) => {
                    self.seen.push((0, code));
                    self.send(flying);
                }
                Some(other) => panic!("session {}: {other:02x?} at block {}", self.id, flying.lba),
            }
        }
    }

    fn check(&mut self, flying: Flying, data: &[u8]) {
        for (at, lba) in (0..).zip(flying.lba..flying.lba + flying.blocks) {
            if flying.number > 0 {
                self.last[lba as usize] = flying.number;
                continue;
            }
            let block = &data[at * BLOCK..(at + 1) * BLOCK];
            let expected = content(self.id, lba, self.last[lba as usize]);
            assert!(block == expected, "session {}: block {lba} is not what was written", self.id);
        }
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn drain(&mut self) {
        while !self.flying.is_empty() {
            self.session.pump().unwrap();
            self.finish();
        }
    }

    fn work(mut self, questions: &Receiver<Question>) {
        loop {
            match questions.try_recv() {
                Ok(question) => {
                    self.drain();
                    question(&mut self.session, &mut self.seen);
                }
                Err(std::sync::mpsc::TryRecvError::Disconnected) => break,
                Err(std::sync::mpsc::TryRecvError::Empty) => {}
            }
            for _ in self.flying.len()..DEPTH {
                self.begin();
            }
            self.session.pump().unwrap();
            self.finish();
        }
        self.drain();
        for lba in (0..BLOCKS).step_by(LONGEST as usize) {
            self.send(Flying { lba, blocks: LONGEST, number: 0 });
            self.drain();
        }
    }
}

/// A session that works.
pub struct Load {
    questions: Sender<Question>,
    done: Arc<AtomicU64>,
    worker: JoinHandle<()>,
    /// The initiator's name.
    pub name: String,
}

impl Load {
    /// Logs in as initiator number `id` and works on LUN 0, whose blocks are zero.
    pub fn start(address: SocketAddr, target: &str, id: u32) -> Load {
        let name = format!("iqn.2026-01.test:load{id}");
        let options = Options { isid: id, name: name.clone(), ..Options::default() };
        let session = Initiator::login(address, target, &options).unwrap();
        let (questions, asked) = channel();
        let done = Arc::new(AtomicU64::new(0));
        let worker = Worker {
            session,
            id,
            random: u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            last: vec![0; BLOCKS as usize],
            next: 0,
            flying: BTreeMap::new(),
            seen: Vec::new(),
            done: Arc::clone(&done),
        };
        let worker = thread::spawn(move || worker.work(&asked));
        Load { questions, done, worker, name }
    }

    /// Waits until `count` more commands are done.
    pub fn progress(&self, count: u64) {
        let (goal, deadline) = (self.done.load(Ordering::Relaxed) + count, Instant::now() + LIMIT);
        while self.done.load(Ordering::Relaxed) < goal {
            assert!(!self.worker.is_finished(), "{} has failed", self.name);
            assert!(Instant::now() < deadline, "{} does not go on", self.name);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Has the session do this between two commands.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Initiator, &mut Vec<(u8, u16)>) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = channel();
        let question: Question = Box::new(move |session, seen| {
            let _ = answer.send(question(session, seen));
        });
        self.questions.send(question).unwrap_or_else(|_| panic!("{} has failed", self.name));
        answered.recv().unwrap_or_else(|_| panic!("{} has failed", self.name))
    }

    /// The unit attentions of these LUNs since they were asked for last, sorted: LUN, code and qualifier.
    pub fn attentions(&self, luns: &'static [u8]) -> Vec<(u8, u16)> {
        self.ask(move |session, seen| {
            for lun in luns {
                while let Some((6, code)) =
                    sense_of(&session.command(*lun, &TEST_UNIT_READY, 0, &[]).unwrap())
                {
                    seen.push((*lun, code));
                }
            }
            let mut seen = std::mem::take(seen);
            seen.sort_unstable();
            seen
        })
    }

    /// How a command to a LUN ends.
    pub fn outcome(
        &self,
        lun: u8,
        cdb: &'static [u8],
        read: usize,
        write: &'static [u8],
    ) -> Option<(u8, u16)> {
        self.ask(move |session, _| sense_of(&session.command(lun, cdb, read, write).unwrap()))
    }

    /// Ends the work, and reads every block.
    pub fn stop(self) {
        drop(self.questions);
        assert!(self.worker.join().is_ok(), "{} has failed", self.name);
    }
}
