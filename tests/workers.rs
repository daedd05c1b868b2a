//! How many workers a unit gets, and that no answer waits for a task that hangs.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod initiator;
mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use initiator::{Initiator, Options, READ, WRITE, rw16};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::server::ServerOptions;
use support::{Memory, TARGET, serve};

const LIMIT: Duration = Duration::from_secs(30);
const WORKERS: usize = 8;
/// What one unit may have of them: three quarters.
const SHARE: usize = 6;
/// The block whose commands wait.
const GATED: u64 = 4000;

#[derive(Default)]
struct Inside {
    now: usize,
    is_open: bool,
}

/// A medium in memory; commands at [`GATED`] and after it wait until the test opens it.
struct Gated {
    memory: Memory,
    inside: Mutex<Inside>,
    changed: Condvar,
}

impl Gated {
    fn new() -> Arc<Self> {
        let memory = Memory::new(4096 * 512, 512, false);
        Arc::new(Gated { memory, inside: Mutex::default(), changed: Condvar::new() })
    }

    fn pass(&self, offset: u64) {
        if offset < GATED * 512 {
            return;
        }
        let mut inside = self.inside.lock().unwrap();
        inside.now += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(inside, |inside| !inside.is_open).unwrap());
    }

    fn await_inside(&self, count: usize) {
        let inside = self.inside.lock().unwrap();
        let waited = self.changed.wait_timeout_while(inside, LIMIT, |inside| inside.now < count).unwrap();
        assert!(!waited.1.timed_out(), "{} of {count} commands have reached the medium", waited.0.now);
    }

    fn open(&self) {
        self.inside.lock().unwrap().is_open = true;
        self.changed.notify_all();
    }
}

impl Backstore for Gated {
    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.pass(offset);
        self.memory.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.pass(offset);
        self.memory.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

fn login(address: SocketAddr) -> Initiator {
    let mut session = Initiator::login(address, TARGET, &Options::default()).unwrap();
    // Takes the unit attention of power on.
    session.command(0, &[0; 6], 0, &[]).unwrap();
    session
}

/// Quick writes, until the unit is one that a single worker serves.
fn warm_up(session: &mut Initiator) {
    for lba in 0..200 {
        let answer = session.command(0, &rw16(WRITE, lba, 1, false), 0, &[1; 512]).unwrap();
        assert_eq!(answer.status, 0);
    }
}

#[test]
fn a_burst_on_a_medium_that_waits_gets_the_whole_share() {
    for is_quick in [false, true] {
        let store = Gated::new();
        let options = ServerOptions { workers: WORKERS, ..ServerOptions::default() };
        let (server, address) = serve(vec![store.clone()], options);
        let mut session = login(address);
        if is_quick {
            warm_up(&mut session);
        }
        let tags: Vec<u32> = (0..WORKERS as u64)
            .map(|at| session.start(0, &rw16(READ, GATED + at, 1, false), 512, &[]).unwrap())
            .collect();
        store.await_inside(SHARE);
        store.open();
        for tag in tags {
            assert_eq!(session.wait(tag).unwrap().status, 0);
        }
        drop(session);
        server.stop(LIMIT);
    }
}

#[test]
fn answers_of_quick_tasks_do_not_wait_for_one_that_hangs() {
    let store = Gated::new();
    let options = ServerOptions { workers: WORKERS, ..ServerOptions::default() };
    let (server, address) = serve(vec![store.clone()], options);
    let mut session = login(address);
    for round in 0..8 {
        warm_up(&mut session);
        let write = |session: &mut Initiator, lba| {
            session.start(0, &rw16(WRITE, lba, 1, false), 0, &[2; 512]).unwrap()
        };
        let before: Vec<u32> = (0..6).map(|lba| write(&mut session, lba)).collect();
        let gated = write(&mut session, GATED);
        let after: Vec<u32> = (6..12).map(|lba| write(&mut session, lba)).collect();
        for tag in before.into_iter().chain(after) {
            assert_eq!(session.wait(tag).unwrap().status, 0);
        }
        store.await_inside(round + 1);
        assert!(session.answer(gated).is_none(), "it hangs");
        store.open();
        assert_eq!(session.wait(gated).unwrap().status, 0);
        store.inside.lock().unwrap().is_open = false;
    }
    drop(session);
    server.stop(LIMIT);
}
