//! Short writes that carry their data and are refused, damaged, aborted or left unfinished: what becomes of
//! them is what becomes of any other, and the next PDU is where it begins. What other commands do with data
//! that comes along is what they do with data that was asked for.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;
mod raw;
mod support;
mod world;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use initiator::unmap_list;
use raw::units::{BLOCK, BLOCKS, PROTECTED, READ, UNITS, WRITE, cdb, filled, good, holds, serve, whole};
use raw::{Keys, Raw, WHOLE, rw16};
use scstu::backstore::Backstore;
use scstu::server::ServerOptions;
use support::Memory;
use world::{LIMIT, TARGET, until};

/// Longer than a part is left in the receive buffer.
const LONG: Duration = Duration::from_millis(150);
const ABORT_TASK: u8 = 1;
const LOGICAL_UNIT_RESET: u8 = 5;
const COMPLETE: u8 = 0;

fn keys(isid: u8) -> Keys {
    Keys { isid, ..WHOLE }
}

/// PERSISTENT RESERVE OUT, Write Exclusive, and its parameter list.
fn reserve_out(action: u8, key: u8, service_action_key: u8) -> (Vec<u8>, Vec<u8>) {
    let mut list = vec![0; 24];
    (list[7], list[15]) = (key, service_action_key);
    (vec![0x5f, action, u8::from(action != 0), 0, 0, 0, 0, 0, 24, 0], list)
}

#[test]
fn a_write_that_is_refused_leaves_nothing_and_the_stream_in_step() {
    let (world, _folders) = serve("refused", &[]);
    let mut other = Raw::login(world.address, TARGET, keys(9));
    for lun in 0..3 {
        other.ready(lun);
        for (action, key, new) in [(0, 0, 7), (1, 7, 0)] {
            let (cdb, list) = reserve_out(action, key, new);
            assert!(other.run(lun, &cdb, 24, &list).is_good());
        }
    }
    for cut in [0, 20, 48, 300, 4143] {
        // A unit attention is reported once for each session.
        let mut raw = Raw::login(world.address, TARGET, keys(1));
        let refused = [
            (3, 2, Some((6, 0x29))),
            (0, 0x18, None),
            (1, 0x18, None),
            (2, 0x18, None),
            (PROTECTED, 0x18, None),
            (7, 2, Some((5, 0x25))),
        ];
        raw.ready(4);
        for (lun, status, sense) in refused {
            let told = format!("LUN {lun}, cut at {cut}");
            let blocks = 64..72;
            let (tag, bytes) = whole(&mut raw, lun, &blocks, 1);
            let (next, more) = whole(&mut raw, 4, &blocks, u64::from(lun) + 2);
            raw.send(&bytes[..cut]);
            if cut > 0 {
                thread::sleep(LONG);
            }
            raw.send(&[&bytes[cut..], &more].concat());
            let ended = raw.wait(tag);
            assert_eq!(ended.status, status, "{told}: {ended:x?}");
            if let Some((key, code)) = sense {
                assert_eq!((ended.key().0, ended.key().1), (key, code), "{told}");
            }
            good(&mut raw, next, &told);
            holds(&mut raw, 4, blocks.clone(), u64::from(lun) + 2, &told);
            if lun <= 3 {
                holds(if lun == 3 { &mut raw } else { &mut other }, lun, blocks, 0, &told);
            }
        }
        raw.shut();
        raw.until_closed();
        until("the session is gone", || world.sessions().len() == 1);
    }
    // Without the reservation it is the LUN that is write protected.
    let (cdb, list) = reserve_out(3, 7, 0);
    assert!(other.run(0, &cdb, 24, &list).is_good());
    let (tag, bytes) = whole(&mut other, PROTECTED, &(64..72), 1);
    other.send(&bytes);
    other.wait(tag);
    let (tag, bytes) = whole(&mut other, PROTECTED, &(64..72), 1);
    other.send(&bytes);
    assert_eq!(other.wait(tag).key(), (7, 0x27, 0));
    holds(&mut other, 0, 64..72, 0, "write protected");
}

#[test]
fn rfc7143_7_8_damaged_data_is_rejected_and_only_that() {
    let (world, _folders) = serve("damaged", &[]);
    for header in [false, true] {
        let mut raw =
            Raw::login(world.address, TARGET, Keys { digests: (header, true), isid: 1, immediate: true });
        for lun in 0..3 {
            raw.ready(lun);
            let start = if header { 52 } else { 48 };
            for (at, cut) in [(start, 0), (start + 2000, 0), (start + 4096, 1000), (start + 4099, 4000)] {
                let told = format!("LUN {lun}, byte {at}, cut at {cut}");
                let (tag, mut bytes) = whole(&mut raw, lun, &(0..8), 1);
                let (next, more) = whole(&mut raw, lun, &(8..16), 1 + at as u64);
                bytes[at] ^= 0x40;
                raw.send(&bytes[..cut]);
                if cut > 0 {
                    thread::sleep(LONG);
                }
                raw.send(&[&bytes[cut..], &more].concat());
                assert_eq!(raw.wait(tag).key(), (0x0b, 0x47, 0x05), "{told}");
                assert_eq!(std::mem::take(&mut raw.rejects), [2], "{told}");
                good(&mut raw, next, &told);
                holds(&mut raw, lun, 0..8, 0, &told);
                holds(&mut raw, lun, 8..16, 1 + at as u64, &told);
            }
        }
    }
}

/// A session that sends the first `cut` bytes of a write and is then silent until the target closes it.
fn stops(address: std::net::SocketAddr, (lun, isid): (u8, u8), cut: usize) -> usize {
    let mut raw = Raw::login(address, TARGET, keys(isid));
    raw.ready(lun);
    let (before, bytes) = whole(&mut raw, 4, &(u64::from(isid) * 8..u64::from(isid) * 8 + 8), 1);
    raw.send(&bytes);
    raw.wait(before);
    let (_, bytes) = whole(&mut raw, lun, &(0..8), 1);
    raw.send(&bytes[..cut]);
    raw.until_closed();
    raw.pings
}

#[test]
fn an_initiator_that_stops_in_the_middle_of_its_data_is_given_up() {
    let (world, _folders) = serve("stops", &[("@/RspTimeout", "2")]);
    let (asking, _more) = serve("silent", &[("@/NopInInterval", "1"), ("@/NopInTimeout", "2")]);
    thread::scope(|scope| {
        let (address, other) = (world.address, asking.address);
        for (isid, cut) in (1..).zip([48, 100, 2000, 4143]) {
            for lun in 0..3 {
                scope.spawn(move || {
                    assert_eq!(stops(address, (lun, 10 * isid + lun), cut), 0, "cut at {cut}")
                });
            }
            // Of a write that is refused nothing is awaited but a sign of life.
            for lun in [0, PROTECTED] {
                scope.spawn(move || assert_eq!(stops(other, (lun, 10 * isid + lun), cut), 1, "cut at {cut}"));
            }
        }
    });
    for world in [&world, &asking] {
        until("the sessions are gone", || world.sessions().is_empty());
    }
    let mut raw = Raw::login(world.address, TARGET, keys(1));
    for lun in 0..3 {
        raw.ready(lun);
        holds(&mut raw, lun, 0..8, 0, "a write that was never whole");
    }
}

#[test]
fn an_initiator_that_owes_data_is_given_up_whatever_else_it_sends() {
    let (world, _folders) = serve("owes", &[("@/RspTimeout", "2")]);
    let mut raw = Raw::login(world.address, TARGET, WHOLE);
    raw.ready(0);
    raw.ready(1);
    let start = Instant::now();
    raw.start_without_data(0, &cdb(WRITE, &(0..8)), &filled(0..8, 1));
    while raw.try_read(1, &cdb(READ, &(0..1)), BLOCK).is_ok() {
        assert!(start.elapsed() < LIMIT, "the connection is still open");
    }
    assert!(start.elapsed() >= Duration::from_secs(2), "before RspTimeout");
    until("the session is gone", || world.sessions().is_empty());
}

#[test]
fn an_initiator_that_sends_slowly_is_not_asked_whether_it_is_there() {
    let (world, _folders) = serve("slowly", &[("@/NopInInterval", "2"), ("@/NopInTimeout", "2")]);
    let mut raw = Raw::login(world.address, TARGET, WHOLE);
    raw.ready(0);
    let (tag, bytes) = whole(&mut raw, 0, &(0..128), 1);
    for piece in bytes.chunks(1000) {
        raw.send(piece);
        thread::sleep(Duration::from_millis(60));
    }
    good(&mut raw, tag, "a write of four seconds");
    assert_eq!(raw.pings, 0);
    holds(&mut raw, 0, 0..128, 1, "a write of four seconds");
}

#[test]
fn functions_end_what_has_come_of_a_write_and_nothing_else() {
    let (world, _folders) = serve("functions", &[]);
    let (mut raw, mut other) =
        (Raw::login(world.address, TARGET, WHOLE), Raw::login(world.address, TARGET, keys(2)));
    for lun in 0..3 {
        raw.ready(lun);
        other.ready(lun);
        for gap in [Duration::from_millis(20), LONG] {
            // Another session resets the unit in the middle of a write's PDU.
            let (tag, bytes) = whole(&mut raw, lun, &(0..8), 1);
            raw.send(&bytes[..1000]);
            thread::sleep(gap);
            let (reset, function) = other.function(LOGICAL_UNIT_RESET, lun, u32::MAX);
            other.send(&function);
            assert_eq!(other.wait_function(reset), COMPLETE);
            raw.send(&bytes[1000..]);
            let (nothing, tur) = raw.reading(lun, &[0; 6], 0);
            raw.send(&tur);
            let next = raw.wait(nothing);
            // The reset has found it, and it has no answer; or it has come too late for that.
            let told = if raw.has_ended(tag) { raw.wait(tag) } else { next };
            assert_eq!((told.key().0, told.key().1), (6, 0x29), "LUN {lun}, {gap:?}");
            raw.ready(lun);
            other.ready(lun);
            holds(&mut raw, lun, 0..8, 0, "reset");
        }
        // The second half of its unsolicited data never comes.
        let (tag, mut pdu) = raw.pdu(lun, &cdb(WRITE, &(0..16)), 16 * BLOCK, &filled(0..8, 1));
        pdu.bhs[1] &= 0x7f;
        let (abort, function) = raw.function(ABORT_TASK, lun, tag);
        let bytes = [raw.bytes(&pdu), function].concat();
        raw.send(&bytes);
        assert_eq!(raw.wait_function(abort), COMPLETE);
        // One that has its data and waits for an older one.
        let older = raw.start_without_data(lun, &cdb(WRITE, &(0..8)), &filled(0..8, 2));
        let (younger, bytes) = whole(&mut raw, lun, &(4..12), 3);
        let (abort, function) = raw.function(ABORT_TASK, lun, younger);
        raw.send(&[bytes, function].concat());
        assert_eq!(raw.wait_function(abort), COMPLETE);
        raw.give_data();
        good(&mut raw, older, "the older one");
        holds(&mut raw, lun, 0..8, 2, "the older one");
        holds(&mut raw, lun, 8..16, 0, "the one that was aborted");
        assert!(!raw.has_ended(tag) && !raw.has_ended(younger));
    }
}

#[test]
fn a_connection_that_ends_in_the_middle_of_a_write_has_carried_out_what_came_before() {
    let (world, _folders) = serve("ends", &[]);
    for lun in 0..3 {
        for (number, cut) in (1..).zip([1, 47, 48, 100, 4143]) {
            for gap in [Duration::ZERO, LONG] {
                let mut raw = Raw::login(world.address, TARGET, WHOLE);
                raw.ready(lun);
                let (before, first) = whole(&mut raw, lun, &(0..8), number);
                let (part, second) = whole(&mut raw, lun, &(8..16), number);
                raw.send(&[&first[..], &second[..cut]].concat());
                good(&mut raw, before, "the first one");
                thread::sleep(gap);
                if number % 2 == 0 {
                    raw.shut();
                    raw.until_closed();
                    assert!(!raw.has_ended(part) || !raw.wait(part).is_good());
                }
                drop(raw);
                until("the session is gone", || world.sessions().is_empty());
                let mut raw = Raw::login(world.address, TARGET, WHOLE);
                raw.ready(lun);
                holds(&mut raw, lun, 0..8, number, "the first one");
                holds(&mut raw, lun, 8..16, 0, "the part");
                // And one right before a logout.
                let (last, bytes) = whole(&mut raw, lun, &(16..24), number);
                let logout = raw.logout();
                raw.send(&bytes);
                good(&mut raw, last, "before the logout");
                raw.send(&logout);
                raw.until_closed();
                assert!(raw.is_logged_out);
                until("the session is gone", || world.sessions().is_empty());
            }
        }
    }
}

#[test]
fn a_server_stops_in_the_middle_of_a_write() {
    for gap in [Duration::ZERO, LONG] {
        let store = Arc::new(Memory::new(BLOCKS as usize * BLOCK, BLOCK as u32, true));
        let (server, address) = support::serve(vec![store.clone()], ServerOptions::default());
        let mut raw = Raw::login(address, support::TARGET, WHOLE);
        raw.ready(0);
        let (_, bytes) = whole(&mut raw, 0, &(0..8), 1);
        raw.send(&bytes[..1000]);
        thread::sleep(gap);
        assert_eq!(server.stop(Duration::from_millis(50)), 0);
        raw.until_closed();
        let mut content = vec![1; 8 * BLOCK];
        store.read(0, &mut content).unwrap();
        assert!(content.iter().all(|byte| *byte == 0));
    }
}

/// CDB, bytes announced, data.
type Try = (Vec<u8>, usize, Vec<u8>);

fn blocks(opcode: u8, bits: u8, lba: u64, count: u32) -> Vec<u8> {
    let mut cdb = rw16(opcode, lba, count).to_vec();
    cdb[1] = bits;
    cdb
}

fn compare_and_write(lba: u64, count: u8) -> Vec<u8> {
    let mut cdb = rw16(0x89, lba, 0).to_vec();
    cdb[13] = count;
    cdb
}

fn unmap(ranges: &[(u64, u32)]) -> Try {
    let list = unmap_list(ranges);
    let cdb = vec![0x42, 0, 0, 0, 0, 0, 0, 0, list.len() as u8, 0];
    (cdb, list.len(), list)
}

/// What moves data to the target, rightly and wrongly; `page` is the control mode page.
fn tries(page: &[u8]) -> Vec<Try> {
    let data = |lba: u64, count: u64| filled(lba..lba + count, 5);
    let all = |cdb: Vec<u8>, data: Vec<u8>| (cdb, data.len(), data);
    let write = |lba, count| blocks(WRITE, 0, lba, count);
    let mut out = vec![
        all(write(0, 8), data(0, 8)),
        // Less and more than the CDB says; no whole block, and no multiple of four.
        all(write(8, 8), data(8, 1)),
        all(write(16, 1), data(16, 8)),
        all(write(24, 4), data(24, 4)[..1500].to_vec()),
        all(write(32, 1), data(32, 1)[..101].to_vec()),
        all(write(33, 2), data(33, 2)[..515].to_vec()),
        all(write(40, 0), data(40, 1)),
        all(write(BLOCKS, 1), data(0, 1)),
        all(write(BLOCKS - 1, 2), data(0, 2)),
        all(blocks(WRITE, 0x08, 48, 8), data(48, 8)),
        all(vec![0; 6], data(0, 1)),
        all(vec![0x12, 0, 0, 0, 36, 0], data(0, 1)[..36].to_vec()),
        all(blocks(READ, 0, 0, 1), data(0, 1)),
        all(vec![0xff; 6], data(0, 1)),
        all(vec![0x3b, 2, 0, 0, 0, 0, 0, 0, 16, 0], vec![1; 16]),
        all(vec![0x83; 16], data(0, 1)),
        all(vec![0x1d, 0x10, 0, 0, 16, 0], vec![1; 16]),
        all(vec![0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0], vec![0; 8]),
        all(compare_and_write(0, 8), [data(0, 8), data(100, 8)].concat()),
        all(compare_and_write(0, 8), [data(0, 8), data(200, 8)].concat()),
        all(compare_and_write(0, 8), data(0, 8)),
        all(blocks(0x93, 0, 300, 20), data(7, 1)),
        all(blocks(0x93, 0x08, 310, 20), data(7, 1)),
        all(blocks(0x93, 0, 330, 20), data(7, 2)),
        all(vec![0x41, 0, 0, 0, 1, 0x90, 0, 0, 20, 0], data(8, 1)),
        all(blocks(0x8f, 0x02, 48, 8), data(48, 8)),
        all(blocks(0x8f, 0x02, 48, 8), data(49, 8)),
        all(blocks(0x8f, 0x06, 300, 10), data(7, 1)),
        all(blocks(0x8f, 0x06, 300, 10), data(8, 1)),
        all(blocks(0x8e, 0, 500, 8), data(500, 8)),
        all(blocks(0x8e, 0x02, 508, 8), data(508, 8)),
        unmap(&[(48, 2), (502, 3)]),
        unmap(&[(0, 0)]),
        unmap(&[(48, 1), (1 << 40, 1)]),
    ];
    out.push((write(64, 8), 8 * BLOCK, data(64, 8)));
    let mut short = unmap(&[(504, 1)]);
    short.2.truncate(20);
    short.1 = 20;
    out.push(short);
    // MODE SELECT: write protected, a write, and back.
    let list = |swp: u8, header: usize| {
        let mut list = vec![0; header];
        list.extend_from_slice(page);
        list[header] &= 0x7f;
        list[header + 4] = list[header + 4] & !0x08 | swp;
        list
    };
    for (header, swp) in [(4, 0x08), (8, 0)] {
        let list = list(swp, header);
        let length = list.len() as u8;
        let six = vec![0x15, 0x10, 0, 0, length, 0];
        let ten = vec![0x55, 0x10, 0, 0, 0, 0, 0, 0, length, 0];
        out.push(all(if header == 4 { six } else { ten }, list.clone()));
        out.push(all(write(72, 8), data(72, 8)));
        out.push(all(vec![0x15, 0x10, 0, 0, length, 0], vec![0xff; length.into()]));
        out.push(all(vec![0x15, 0x10, 0, 0, length + 4, 0], list));
    }
    for (action, key, new) in [
        (0, 0, 7),
        (0, 0, 8),
        (1, 7, 0),
        (4, 7, 9),
        (2, 8, 0),
        (2, 7, 0),
        (1, 7, 0),
        (5, 7, 7),
        (6, 0, 3),
        (3, 3, 0),
    ] {
        let (cdb, list) = reserve_out(action, key, new);
        out.push(all(cdb.clone(), list.clone()));
        out.push(all(cdb, list[..16].to_vec()));
    }
    out
}

/// The control mode page.
fn control_page(raw: &mut Raw, lun: u8) -> Vec<u8> {
    let found = raw.read(lun, &[0x1a, 0x08, 0x0a, 0, 255, 0], 255);
    found[4..=usize::from(found[0])].to_vec()
}

/// A write whose data is asked for: its task, which is over then, may be that of the next command.
fn asked_for(raw: &mut Raw, lun: u8) {
    raw.run_asked(lun, &cdb(WRITE, &(2000..2008)), &filled(2000..2008, 1));
}

/// Every command does the same with data that comes along as with data that is asked for.
fn is_same(ends: [(&mut Raw, u8); 2], told: &str) {
    let [(one, unit), (other, twin)] = ends;
    one.ready(unit);
    other.ready(twin);
    let page = control_page(one, unit);
    assert_eq!(page, control_page(other, twin));
    let mut statuses = Vec::new();
    for (at, (cdb, announced, data)) in tries(&page).into_iter().enumerate() {
        let ended: Vec<_> = [(&mut *one, unit), (&mut *other, twin)]
            .into_iter()
            .map(|(raw, lun)| {
                asked_for(raw, lun);
                let ended = raw.run(lun, &cdb, announced, &data);
                (ended, control_page(raw, lun))
            })
            .collect();
        assert_eq!(ended[0], ended[1], "{told}, command {at}: {cdb:02x?}, {announced} bytes");
        statuses.push(ended[0].0.status);
        for (action, length) in [(0, 64), (1, 64)] {
            let cdb = [0x5e, action, 0, 0, 0, 0, 0, 0, length, 0];
            let read = |raw: &mut Raw, lun| raw.read(lun, &cdb, length.into());
            assert_eq!(read(one, unit), read(other, twin), "{told}, after command {at}");
        }
    }
    let count = |status| statuses.iter().filter(|found| **found == status).count();
    assert!(count(0) > 25 && count(2) > 12 && count(0x18) > 1, "{told}: {statuses:02x?}");
    let all = cdb(READ, &(0..2048));
    let content = one.read(unit, &all, 2048 * BLOCK);
    assert!(content == other.read(twin, &all, 2048 * BLOCK), "{told}: the media differ");
    assert!(content.iter().any(|byte| *byte != 0));
}

#[test]
fn commands_do_with_data_that_comes_along_what_they_do_with_data_asked_for() {
    let (world, _folders) = serve("same", &[]);
    for (lun, unit) in (0..).zip(UNITS) {
        let mut one = Raw::login(world.address, TARGET, WHOLE);
        let mut other = Raw::login(world.address, TARGET, Keys { immediate: false, isid: 2, ..WHOLE });
        is_same([(&mut one, lun), (&mut other, lun + 3)], unit);
    }
    for never_blocks in [false, true] {
        let store = || Arc::new(Memory::new(BLOCKS as usize * BLOCK, BLOCK as u32, never_blocks));
        let (server, address) = support::serve(vec![store(), store()], ServerOptions::default());
        let mut one = Raw::login(address, support::TARGET, WHOLE);
        let mut other = Raw::login(address, support::TARGET, Keys { immediate: false, isid: 2, ..WHOLE });
        is_same([(&mut one, 0), (&mut other, 1)], &format!("never blocks: {never_blocks}"));
        drop((one, other));
        assert_eq!(server.stop(LIMIT), 0);
    }
}

#[test]
fn a_write_that_a_black_hole_swallows_takes_its_data_along() {
    let (world, _folders) = serve("swallowed", &[]);
    let mut raw = Raw::login(world.address, TARGET, WHOLE);
    raw.ready(0);
    for cut in [0, 1000] {
        world.write("@/black_hole", "3");
        let (tag, bytes) = whole(&mut raw, 0, &(0..8), 1);
        let (nothing, tur) = raw.reading(0, &[0; 6], 0);
        raw.send(&bytes[..cut]);
        thread::sleep(LONG);
        raw.send(&[&bytes[cut..], &tur].concat());
        good(&mut raw, nothing, "a command without data");
        assert!(!raw.has_ended(tag));
        world.write("@/black_hole", "0");
        let (tag, bytes) = whole(&mut raw, 0, &(8..16), 1);
        raw.send(&bytes);
        good(&mut raw, tag, "a write after that");
        holds(&mut raw, 0, 0..8, 0, "swallowed");
        holds(&mut raw, 0, 8..16, 1, "after that");
    }
}
