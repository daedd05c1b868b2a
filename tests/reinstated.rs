//! A session that another login takes over: what its connection has received and not yet looked at is never
//! carried out.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod initiator;
mod support;

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use initiator::{Initiator, Options, READ, WRITE, rw16};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::server::ServerOptions;
use support::{Memory, TARGET, serve};

const BLOCK: usize = 512;

/// How many reads of block 0 have come, and how many may go on.
#[derive(Default)]
struct Reads {
    come: u32,
    may_go: u32,
}

/// Memory that says it never blocks; but the thread that reads block 0 stands still until it may go on, as
/// one does that others keep from its processor.
struct Still {
    memory: Memory,
    reads: Mutex<Reads>,
    changed: Condvar,
}

impl Still {
    fn await_read(&self, number: u32) {
        let reads = self.reads.lock().unwrap();
        drop(self.changed.wait_while(reads, |reads| reads.come < number).unwrap());
    }

    fn let_go(&self, number: u32) {
        self.reads.lock().unwrap().may_go = number;
        self.changed.notify_all();
    }
}

impl Backstore for Still {
    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities().with(Capabilities::NEVER_BLOCKS)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        if offset == 0 {
            let mut reads = self.reads.lock().unwrap();
            reads.come += 1;
            let own = reads.come;
            self.changed.notify_all();
            drop(self.changed.wait_while(reads, |reads| reads.may_go < own).unwrap());
        }
        self.memory.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.memory.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

fn session(address: std::net::SocketAddr) -> Initiator {
    let mut session = Initiator::login(address, TARGET, &Options::default()).unwrap();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    session
}

#[test]
fn rfc7143_6_3_5_what_the_old_session_has_sent_comes_not_after_what_the_new_one_writes() {
    let store = Arc::new(Still {
        memory: Memory::new(16 * BLOCK, BLOCK as u32, true),
        reads: Mutex::default(),
        changed: Condvar::new(),
    });
    let (server, address) = serve(vec![store.clone()], ServerOptions::default());
    let mut old = session(address);
    let read = rw16(READ, 0, 1, false);
    let write = rw16(WRITE, 5, 1, false);
    old.start(0, &read, BLOCK, &[]).unwrap();
    store.await_read(1);
    // These come together, once the thread looks: it stands still with the write in its hands.
    old.start(0, &read, BLOCK, &[]).unwrap();
    old.start(0, &write, 0, &[1; BLOCK]).unwrap();
    store.let_go(1);
    store.await_read(2);
    // A login of the same initiator port.
    let mut new = session(address);
    new.good(0, &write, 0, &[2; BLOCK]).unwrap();
    store.let_go(u32::MAX);
    drop((old, new));
    assert_eq!(server.stop(Duration::from_secs(10)), 0);
    let mut found = [0; BLOCK];
    store.memory.read(5 * BLOCK as u64, &mut found).unwrap();
    assert!(found == [2; BLOCK], "what the old session has written: {}", found[0]);
}
