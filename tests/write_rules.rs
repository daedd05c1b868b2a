//! What a command that is carried out, or refused, leaves behind.
#![allow(clippy::unwrap_used)] // Tests panic to fail.

mod one_unit;
mod support;

use std::sync::Arc;

use one_unit::{Bench, Path};
use scstu::backstore::Backstore;
use scstu::backstore::gate::Gate;
use scstu::backstore::registry::{OpenRequest, find};
use scstu::scsi::device::{DeviceType, MediumState, NewDevice, Settings, StateStore};

const READ_10: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 16, 0];

fn ram() -> Arc<dyn Backstore> {
    let request = OpenRequest { size: Some(1 << 20), ..OpenRequest::default() };
    find("vdisk_ram").unwrap().open(&request).unwrap().unwrap()
}

fn bench(settings: Settings) -> Bench {
    Bench::made(NewDevice {
        name: "disk".to_owned(),
        device_type: DeviceType::Disk,
        settings,
        gate: Some(Arc::new(Gate::new(ram()))),
        block_size: 512,
        task_set_type: 1,
    })
}

/// WRITE SAME of 16 blocks from block 0.
fn write_same(path: &Path<'_>, opcode: u8, flags: u8, block: &[u8]) {
    let mut cdb = [0; 16];
    (cdb[0], cdb[1]) = (opcode, flags);
    cdb[if opcode == 0x41 { 8 } else { 13 }] = 16;
    let length = if opcode == 0x41 { 10 } else { 16 };
    let answer = path.run(&cdb[..length], block);
    assert!(answer.is_good(), "{opcode:02x}h with {flags:02x}h: {answer:?}");
}

#[test]
fn write_same_reads_back_as_the_block_sent_or_as_zeros_when_it_freed_the_blocks() {
    let bench = bench(Settings { thin_provisioned: true, ..Settings::default() });
    let path = bench.path("a", 1);
    for (opcode, flags) in [(0x41, 0), (0x41, 0x08), (0x93, 0), (0x93, 0x08)] {
        for byte in [0x5a, 0, 0xa5] {
            write_same(&path, opcode, flags, &[byte; 512]);
            let expected = if flags == 0x08 { 0 } else { byte };
            let data = path.run(&READ_10, &[]).data;
            assert!(
                data.len() == 16 * 512 && data.iter().all(|b| *b == expected),
                "{opcode:02x}h {flags:02x}h"
            );
        }
    }
    write_same(&path, 0x93, 0x01, &[]);
    assert!(path.run(&READ_10, &[]).data.iter().all(|byte| *byte == 0), "NDOB");
    write_same(&path, 0x93, 0, &[7; 512]);
    write_same(&path, 0x93, 0x09, &[]);
    assert!(path.run(&READ_10, &[]).data.iter().all(|byte| *byte == 0), "NDOB with UNMAP");
}

#[test]
fn sanitize_is_unknown_until_the_device_allows_it() {
    let bench = bench(Settings { thin_provisioned: true, ..Settings::default() });
    let path = bench.path("a", 1);
    write_same(&path, 0x93, 0, &[7; 512]);
    for action in [1, 2, 3, 0x1f] {
        let answer = path.run(&[0x48, action, 0, 0, 0, 0, 0, 0, 0, 0], &[]);
        assert!(answer.has(5, 0x2000), "service action {action:02x}h: {answer:?}");
    }
    assert!(path.run(&READ_10, &[]).data.iter().all(|byte| *byte == 7));
}

/// A state directory without room.
struct Full;

impl StateStore for Full {
    fn save(&self, _: &str, _: &str, _: &[u8]) -> Result<(), i32> {
        Err(28)
    }

    fn load(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, i32> {
        Ok(None)
    }
}

#[test]
fn spc_mode_parameters_that_cannot_be_saved_change_nothing() {
    let bench = Bench::new(Some(Arc::new(Full)));
    let (path, other) = (bench.path("a", 1), bench.path("b", 1));
    let control_page = || path.run(&[0x1a, 0x08, 0x0a, 0, 255, 0], &[]).data;
    let before = control_page();
    // Mode parameter header, then the control mode page with SWP.
    let mut list = vec![0; 4];
    list.extend_from_slice(&before[4..]);
    // PS is for the device to set.
    (list[4], list[8]) = (list[4] & 0x7f, list[8] | 0x08);
    let length = u8::try_from(list.len()).unwrap();
    let answer = path.run(&[0x15, 0x11, 0, 0, length, 0], &list);
    assert!(answer.has(4, 0x4400), "{answer:?}");
    assert_eq!(control_page(), before);
    assert!(path.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[1; 512]).is_good(), "not write protected");
    assert!(other.run(&[0; 6], &[]).is_good(), "nobody is told of a change");
    assert!(path.run(&[0x15, 0x10, 0, 0, length, 0], &list).is_good(), "unsaved it can be set");
    assert!(path.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[1; 512]).has(7, 0x2700));
    assert!(other.run(&[0; 6], &[]).has(6, 0x2a01));
}

#[test]
fn mmc_each_nexus_is_told_once_what_became_of_the_medium() {
    let bench = Bench::made(NewDevice {
        name: "cd".to_owned(),
        device_type: DeviceType::CdRom,
        settings: Settings { removable: true, ..Settings::default() },
        gate: Some(Arc::new(Gate::new(ram()))),
        block_size: 2048,
        task_set_type: 1,
    });
    let (path, other) = (bench.path("a", 1), bench.path("b", 1));
    let event = |path: &Path<'_>| {
        let data = path.run(&[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0], &[]).data;
        (data[4], data[5])
    };
    let start_stop = |flags: u8| assert!(path.run(&[0x1b, 0, 0, 0, flags, 0], &[]).is_good());
    assert_eq!(event(&path), (0, 2), "there from the start");
    start_stop(2);
    assert_eq!([event(&path), event(&path)], [(3, 1), (0, 1)], "ejected: MediaRemoval, tray open");
    start_stop(3);
    assert_eq!([event(&path), event(&path)], [(2, 2), (0, 2)], "loaded: NewMedia");
    assert_eq!([event(&other), event(&other)], [(2, 2), (0, 2)], "the last event, for the other too");
    bench.device.set_medium(None, MediumState::TrayClosed);
    assert_eq!([event(&path), event(&other)], [(3, 0), (3, 0)], "taken away");
    bench.device.set_medium(None, MediumState::TrayClosed);
    assert_eq!(event(&path), (0, 0), "nothing left to take away");
    bench.device.set_medium(Some(Arc::new(Gate::new(ram()))), MediumState::TrayClosed);
    assert_eq!([event(&path), event(&other)], [(2, 2), (2, 2)], "another one");
}
