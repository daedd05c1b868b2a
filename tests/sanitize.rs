//! SANITIZE and FORMAT UNIT at work: what other commands are told meanwhile, how far it is, what is left.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod initiator;
mod support;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use initiator::{Initiator, Options, READ, WRITE, rw16};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::server::ServerOptions;
use support::gated::Gated;
use support::{Memory, TARGET, serve};

const MIB: u64 = 1 << 20;

/// PROGRESS INDICATION of sense data, if it has one.
fn progress(sense: &[u8]) -> Option<u16> {
    (sense[15] & 0x80 != 0).then(|| u16::from_be_bytes([sense[16], sense[17]]))
}

#[test]
fn sbc_5_30_overwrite_goes_on_behind_its_answer_and_tells_how_far_it_is() {
    let store = Gated::new();
    let stores: [Arc<dyn Backstore>; 1] = [store.clone()];
    let (server, address) = serve(stores.into(), ServerOptions::default());
    let mut session = Initiator::login(address, TARGET, &Options::default()).unwrap();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    store.allow(4096);
    session.good(0, &rw16(WRITE, 0, 8, false), 0, &[9; 4096]).unwrap();

    let list = [1, 0, 0, 4, 0xde, 0xad, 0xbe, 0xef];
    session.good(0, &[0x48, 0x80 | 0x01, 0, 0, 0, 0, 0, 0, 8, 0], 0, &list).unwrap();
    let mut last = 0;
    for megabytes in 1..=3u64 {
        store.allow(8 * MIB);
        store.wait(4096 + megabytes * 8 * MIB);
        let told = session.command(0, &[0; 6], 0, &[]).unwrap();
        assert_eq!((told.status, told.sense[2], &told.sense[12..14]), (2, 2, &[0x04, 0x1b][..]), "{told:?}");
        let now = progress(&told.sense).expect("a progress indication");
        assert!(now > last || megabytes == 1, "{now} behind {last}");
        last = now;
        assert!(u64::from(now) <= 65536 * megabytes / 4, "{now} of 65536 after {megabytes} of 4 parts");
        let read = session.command(0, &rw16(READ, 0, 1, false), 512, &[]).unwrap();
        assert_eq!((read.status, read.sense[12], read.sense[13]), (2, 0x04, 0x1b));
        let asked = session.good(0, &[0x03, 0, 0, 0, 18, 0], 18, &[]).unwrap();
        assert_eq!(
            (asked[2] & 0x0f, &asked[12..14]),
            (2, &[0x04, 0x1b][..]),
            "REQUEST SENSE tells it as data"
        );
        assert!(progress(&asked).is_some());
        assert_eq!(session.good(0, &[0x12, 0, 0, 0, 36, 0], 36, &[]).unwrap()[2], 6, "INQUIRY works");
    }
    store.allow(8 * MIB);
    let deadline = Instant::now() + Duration::from_secs(30);
    while session.command(0, &[0; 6], 0, &[]).unwrap().status != 0 {
        assert!(Instant::now() < deadline, "it does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    for lba in [0, 12_345, 65_535] {
        let block = session.good(0, &rw16(READ, lba, 1, false), 512, &[]).unwrap();
        assert!(block.chunks(4).all(|part| part == [0xde, 0xad, 0xbe, 0xef]), "block {lba}");
    }
    drop(session);
    assert_eq!(server.stop(Duration::from_secs(5)), 0);
}

/// Flushes wait for the test.
struct Hanging {
    memory: Memory,
    /// Whether they wait, and how many there were.
    flushes: Mutex<(bool, u32)>,
    changed: Condvar,
}

impl Backstore for Hanging {
    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.memory.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.memory.write(offset, from, durable)
    }

    fn unmap(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        self.memory.unmap(offset, length)
    }

    fn flush(&self) -> Result<(), BlockError> {
        let mut flushes = self.flushes.lock().unwrap();
        flushes.1 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(flushes, |flushes| flushes.0).unwrap());
        Ok(())
    }
}

#[test]
fn sbc_4_11_a_sanitize_that_has_begun_goes_on_whatever_becomes_of_its_task() {
    let memory = Memory::new(1 << 20, 512, false);
    let store = Arc::new(Hanging { memory, flushes: Mutex::new((true, 0)), changed: Condvar::new() });
    let options = ServerOptions { workers: 2, ..ServerOptions::default() };
    let (server, address) = serve(vec![store.clone() as Arc<dyn Backstore>], options);
    let login = |name: &str| {
        let options = Options { name: format!("iqn.2026-01.test:{name}"), ..Options::default() };
        let mut session = Initiator::login(address, TARGET, &options).unwrap();
        session.good(0, &[0; 6], 0, &[]).unwrap();
        session
    };
    let (mut one, mut busy, mut other) = (login("one"), login("busy"), login("other"));
    other.good(0, &rw16(WRITE, 9, 1, false), 0, &[9; 512]).unwrap();
    // STOP UNIT flushes, and has the only worker that the unit may have; LOG SENSE waits for another.
    busy.start(0, &[0x1b, 0, 0, 0, 0, 0], 0, &[]).unwrap();
    drop(store.changed.wait_while(store.flushes.lock().unwrap(), |flushes| flushes.1 == 0).unwrap());
    other.start(0, &[0x4d, 0, 0x40, 0, 0, 0, 0, 0, 64, 0], 64, &[]).unwrap();
    other.nop().unwrap();
    one.start(0, &[0x48, 0x03, 0, 0, 0, 0, 0, 0, 0, 0], 0, &[]).unwrap();
    one.nop().unwrap();
    let reset = one.begin_function(5, 0, u32::MAX).unwrap();
    assert_eq!(one.wait_function(reset).unwrap(), 0);
    store.flushes.lock().unwrap().0 = false;
    store.changed.notify_all();
    let deadline = Instant::now() + Duration::from_secs(30);
    while one.command(0, &[0; 6], 0, &[]).unwrap().status != 0 {
        assert!(Instant::now() < deadline, "it is in progress for ever");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(one.good(0, &rw16(READ, 9, 1, false), 512, &[]).unwrap(), [0; 512]);
    drop((one, busy, other));
    assert_eq!(server.stop(Duration::from_secs(5)), 0);
}

#[test]
fn sbc_4_11_a_write_whose_data_comes_late_is_told_of_a_sanitize_that_has_begun() {
    // A flush that hangs keeps the job going.
    let memory = Memory::new(1 << 20, 512, true);
    let store = Arc::new(Hanging { memory, flushes: Mutex::new((true, 0)), changed: Condvar::new() });
    let (server, address) = serve(vec![store.clone() as Arc<dyn Backstore>], ServerOptions::default());
    let login = |name: &str| {
        let name = format!("iqn.2026-01.test:{name}");
        let options = Options { name, immediate_data: false, ..Options::default() };
        let mut session = Initiator::login(address, TARGET, &options).unwrap();
        session.good(0, &[0; 6], 0, &[]).unwrap();
        session
    };
    let (mut erasing, mut writing) = (login("erasing"), login("writing"));
    let list = [1, 0, 0, 4, 0, 0, 0, 0];
    let erase = erasing.start_without_data(0, &[0x48, 0x81, 0, 0, 0, 0, 0, 0, 8, 0], &list).unwrap();
    let write = writing.start_without_data(0, &rw16(WRITE, 5, 1, false), &[5; 512]).unwrap();
    erasing.give_data().unwrap();
    assert_eq!(erasing.wait(erase).unwrap().status, 0);
    drop(store.changed.wait_while(store.flushes.lock().unwrap(), |flushes| flushes.1 == 0).unwrap());
    writing.give_data().unwrap();
    let told = writing.wait(write).unwrap();
    assert_eq!((told.status, told.sense[2], &told.sense[12..14]), (2, 2, &[0x04, 0x1b][..]), "{told:?}");
    store.flushes.lock().unwrap().0 = false;
    store.changed.notify_all();
    drop((erasing, writing));
    assert_eq!(server.stop(Duration::from_secs(5)), 0);
}
