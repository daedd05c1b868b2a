//! What a command that is carried out, or refused, leaves behind.
#![allow(clippy::unwrap_used)] // Tests panic to fail.

mod one_unit;
mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use one_unit::{Answer, Bench, Path};
use scstu::backstore::gate::Gate;
use scstu::backstore::registry::{OpenRequest, find};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::scsi::device::{DeviceType, MediumState, NewDevice, Settings, StateStore};
use scstu::scsi::limits::MAX_TRANSFER_BYTES;
use scstu::scsi::{FunctionResult, TaskAttribute, TaskManagementFunction};

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
fn sbc_a_write_that_waited_for_a_format_is_told_of_it_and_not_erased() {
    const WRITE_10: [u8; 10] = [0x2a, 0, 0, 0, 0, 7, 0, 0, 1, 0];
    let erasing: [(&[u8], &[u8], u16); 2] = [
        (&[0x04, 0x10, 0, 0, 0, 0], &[0, 2, 0, 0], 0x0404),
        (&[0x48, 0x83, 0, 0, 0, 0, 0, 0, 0, 0], &[], 0x041b),
    ];
    for (cdb, list, code) in erasing {
        let bench = Bench::new(None);
        let path = bench.path("a", 1);
        let first = path.send(&WRITE_10, &[1; 512], TaskAttribute::Simple);
        let erase = path.send(cdb, list, TaskAttribute::Simple);
        let second = path.send(&WRITE_10, &[2; 512], TaskAttribute::Simple);
        bench.run_all();
        let answers = [first, erase, second].map(|tag| path.answer(tag).unwrap());
        assert!(answers[0].is_good() && answers[1].is_good(), "{cdb:02x?}: {answers:?}");
        assert!(answers[2].has(2, code), "{cdb:02x?}: {:?}", answers[2]);
        bench.run_jobs();
        assert!(path.run(&WRITE_10, &[3; 512]).is_good(), "it is over");
        let read = [0x28, 0, 0, 0, 0, 7, 0, 0, 1, 0];
        assert_eq!(path.run(&read, &[]).data, [3; 512]);
    }
}

/// Blocks behind a cache that may lose them: how often it was flushed, and whether that fails.
#[derive(Default)]
struct Cached {
    flushes: AtomicUsize,
    fails: AtomicBool,
}

impl Backstore for Cached {
    fn geometry(&self) -> Geometry {
        Geometry::plain(512, 1 << 20)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::VOLATILE_CACHE.with(Capabilities::UNMAP).with(Capabilities::UNMAP_READS_ZERO)
    }

    fn read(&self, _offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        into.fill(0);
        Ok(())
    }

    fn write(&self, _offset: u64, _from: &[u8], _durable: bool) -> Result<(), BlockError> {
        Ok(())
    }

    fn unmap(&self, _offset: u64, _length: u64) -> Result<(), BlockError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.flushes.fetch_add(1, Ordering::Relaxed);
        if self.fails.load(Ordering::Relaxed) { Err(BlockError::Io(5)) } else { Ok(()) }
    }
}

/// Keeps whatever it is given.
#[derive(Default)]
struct Kept(Mutex<HashMap<String, Vec<u8>>>);

impl StateStore for Kept {
    fn save(&self, _: &str, kind: &str, state: &[u8]) -> Result<(), i32> {
        self.0.lock().unwrap().insert(kind.to_owned(), state.to_vec());
        Ok(())
    }

    fn load(&self, _: &str, kind: &str) -> Result<Option<Vec<u8>>, i32> {
        Ok(self.0.lock().unwrap().get(kind).cloned())
    }
}

fn cached() -> (Arc<Cached>, Bench) {
    let store = Arc::new(Cached::default());
    let gate = Some(Arc::new(Gate::new(Arc::clone(&store) as Arc<dyn Backstore>)));
    let settings = Settings { thin_provisioned: true, ..Settings::default() };
    let name = "disk".to_owned();
    let new =
        NewDevice { name, device_type: DeviceType::Disk, settings, gate, block_size: 512, task_set_type: 1 };
    (store, Bench::kept(new, Some(Arc::new(Kept::default()))))
}

/// MODE SELECT(6) of WCE, saved or not.
fn set_cache(path: &Path<'_>, is_enabled: bool, is_saved: bool) -> Answer {
    let page = path.run(&[0x1a, 0x08, 0x08, 0, 255, 0], &[]).data;
    let mut list = vec![0; 4];
    list.extend_from_slice(&page[4..]);
    list[4] &= 0x7f;
    list[6] = list[6] & !0x04 | u8::from(is_enabled) << 2;
    path.run(&[0x15, 0x10 | u8::from(is_saved), 0, 0, list.len().try_into().unwrap(), 0], &list)
}

fn has_cache(path: &Path<'_>) -> bool {
    path.run(&[0x1a, 0x08, 0x08, 0, 255, 0], &[]).data[6] & 0x04 != 0
}

#[test]
fn sbc_6_6_4_data_beyond_the_maximum_transfer_length_is_refused_and_not_put_off() {
    let (_store, bench) = cached();
    let path = bench.path("a", 1);
    let most = u32::try_from(MAX_TRANSFER_BYTES / 512).unwrap();
    let data = vec![0; (most as usize + 1) * 512];
    for (opcode, flags) in [(0x8a, 0), (0x8e, 0), (0x8f, 2)] {
        for (blocks, is_good) in [(most, true), (most + 1, false)] {
            let mut cdb = [0; 16];
            (cdb[0], cdb[1]) = (opcode, flags);
            cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
            let answer = path.run(&cdb, &data[..blocks as usize * 512]);
            assert_eq!(answer.is_good(), is_good, "{opcode:02x}h of {blocks}: {answer:?}");
            assert!(is_good || answer.has(5, 0x2400) && answer.pointer == Some((10, None)), "{answer:?}");
        }
    }
}

#[test]
fn sbc_write_same_has_no_fua_and_is_durable_only_without_a_cache() {
    let (store, bench) = cached();
    let path = bench.path("a", 1);
    let all = [(0x41, 0), (0x41, 0x08), (0x93, 0), (0x93, 0x08), (0x93, 0x09)];
    let write_all = || {
        for (opcode, flags) in all {
            write_same(&path, opcode, flags, if flags & 1 == 0 { &[0; 512] } else { &[] });
        }
    };
    write_all();
    assert_eq!(store.flushes.load(Ordering::Relaxed), 0, "UNMAP is taken for FUA");
    assert!(set_cache(&path, false, false).is_good());
    write_all();
    assert_eq!(store.flushes.load(Ordering::Relaxed), 1 + all.len());
}

#[test]
fn sbc_6_5_5_a_cache_that_is_turned_off_is_flushed_before_that_is_answered() {
    let (store, bench) = cached();
    let path = bench.path("a", 1);
    let flushes = || store.flushes.load(Ordering::Relaxed);
    assert!(has_cache(&path));
    for (is_enabled, expected) in [(true, 0), (false, 1), (false, 1), (true, 1), (false, 2), (true, 2)] {
        assert!(set_cache(&path, is_enabled, false).is_good());
        assert_eq!((has_cache(&path), flushes()), (is_enabled, expected));
    }
    store.fails.store(true, Ordering::Relaxed);
    let answer = set_cache(&path, false, false);
    assert!(!answer.is_good(), "what was in the cache is lost: {answer:?}");
    assert_eq!(flushes(), 3);
}

#[test]
fn sbc_6_5_5_a_reset_that_turns_the_cache_off_waits_for_its_flush() {
    let (store, bench) = cached();
    let path = bench.path("a", 1);
    let flushes = || store.flushes.load(Ordering::Relaxed);
    assert!(set_cache(&path, false, true).is_good() && set_cache(&path, true, false).is_good());
    assert_eq!(flushes(), 1);
    let reset = path.manage(TaskManagementFunction::LogicalUnitReset);
    assert_eq!((path.function(reset), flushes()), (None, 1), "the flush is to come");
    bench.run_jobs();
    assert_eq!((path.function(reset), flushes()), (Some(FunctionResult::Complete), 2));
    path.run(&[0; 6], &[]);
    assert!(!has_cache(&path));
    let reset = path.manage(TaskManagementFunction::LogicalUnitReset);
    assert_eq!((path.function(reset), flushes()), (Some(FunctionResult::Complete), 2), "there is none");
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

#[test]
fn mmc_what_is_prevented_is_to_take_the_medium_out() {
    for device_type in [DeviceType::CdRom, DeviceType::Disk] {
        prevent_and_load(device_type);
    }
}

/// Of a disk a load is refused as well (libiscsi, PreventAllow.Eject).
fn prevent_and_load(device_type: DeviceType) {
    let bench = Bench::made(NewDevice {
        name: "cd".to_owned(),
        device_type,
        settings: Settings { removable: true, ..Settings::default() },
        gate: Some(Arc::new(Gate::new(ram()))),
        block_size: 2048,
        task_set_type: 1,
    });
    let (path, other) = (bench.path("a", 1), bench.path("b", 1));
    for path in [&path, &other] {
        path.run(&[0; 6], &[]);
    }
    let prevent = [0x1e, 0, 0, 0, 1, 0];
    let start_stop = |path: &Path<'_>, flags: u8| path.run(&[0x1b, 0, 0, 0, flags, 0], &[]);
    let prevented = (5, 0x5302);
    assert!(path.run(&prevent, &[]).is_good());
    for flags in [2, 3] {
        assert_eq!(start_stop(&other, flags).sense, prevented, "with the medium in it: {flags}");
    }
    assert!(path.run(&[0x1e, 0, 0, 0, 0, 0], &[]).is_good());
    assert!(start_stop(&other, 2).is_good());
    assert!(path.run(&prevent, &[]).is_good());
    assert_eq!(start_stop(&other, 2).sense, prevented);
    if device_type == DeviceType::Disk {
        return assert_eq!(start_stop(&other, 3).sense, prevented);
    }
    assert!(start_stop(&other, 3).is_good(), "an open tray may be closed");
    assert_eq!(start_stop(&other, 2).sense, prevented);
    bench.device.set_medium(None, MediumState::TrayClosed);
    assert!(start_stop(&other, 3).is_good(), "an empty one too");
}
