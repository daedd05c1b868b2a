//! SANITIZE and FORMAT UNIT at work: what other commands are told meanwhile, how far it is, what is left.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod initiator;
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use initiator::{Initiator, Options, READ, WRITE, rw16};
use scstu::server::ServerOptions;
use support::gated::Gated;
use support::{TARGET, serve};

const MIB: u64 = 1 << 20;

/// PROGRESS INDICATION of sense data, if it has one.
fn progress(sense: &[u8]) -> Option<u16> {
    (sense[15] & 0x80 != 0).then(|| u16::from_be_bytes([sense[16], sense[17]]))
}

#[test]
fn sbc_5_30_overwrite_goes_on_behind_its_answer_and_tells_how_far_it_is() {
    let store = Gated::new();
    let stores: [Arc<dyn scstu::backstore::Backstore>; 1] = [store.clone()];
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
