//! Reservations beyond the model: parameter lists that lie, names of nexuses, limits, what is kept, what
//! happens to commands that are under way.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod one_unit;
mod support;

use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use one_unit::{Answer, Bench, Path};
use scstu::backstore::gate::Gate;
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::scsi::device::{DeviceType, MemoryStore, NewDevice, Settings, StateStore, TargetPorts};
use scstu::scsi::nexus::TransportId;
use scstu::scsi::reservation::{REGISTRATION_LIMIT, Reservations};
use scstu::scsi::transport_id::encode;

use scstu::scsi::{FunctionResult, Status, TaskAttribute, TaskManagementFunction};
use support::Memory;

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const BLOCK: [u8; 512] = [7; 512];

struct Ports(Vec<u16>);

impl TargetPorts for Ports {
    fn target_ports(&self, _device: &str) -> Vec<u16> {
        self.0.clone()
    }
}

fn out(path: &Path<'_>, action: u8, kind: u8, list: &[u8]) -> Answer {
    path.run(&out_cdb(action, kind, list.len() as u32), list)
}

fn out_cdb(action: u8, kind: u8, length: u32) -> [u8; 10] {
    let [a, b, c, d] = length.to_be_bytes();
    [0x5f, action, kind, 0, 0, a, b, c, d, 0]
}

fn list(rk: u64, sark: u64) -> Vec<u8> {
    let mut list = vec![0; 24];
    list[..8].copy_from_slice(&rk.to_be_bytes());
    list[8..16].copy_from_slice(&sark.to_be_bytes());
    list
}

/// REGISTER with flags in byte 20 and additional bytes.
fn register(path: &Path<'_>, key: u64, flags: u8, additional: &[u8]) -> Answer {
    let mut list = list(0, key);
    list[20] = flags;
    list.extend_from_slice(additional);
    out(path, 0, 0, &list)
}

const SPEC_I_PT: u8 = 8;
const ALL_TG_PT: u8 = 4;
const APTPL: u8 = 1;

/// TransportIDs behind their length.
fn named(ids: &[Vec<u8>]) -> Vec<u8> {
    let ids = ids.concat();
    let mut bytes = (ids.len() as u32).to_be_bytes().to_vec();
    bytes.extend(ids);
    bytes
}

fn port(name: &str) -> TransportId {
    TransportId { name: format!("iqn.2026-01.test:{name}"), isid: [0x80, 0, 0, 0, 0, 1] }
}

fn device_id(name: &str) -> Vec<u8> {
    let mut text = format!("iqn.2026-01.test:{name}\0").into_bytes();
    text.resize(text.len().next_multiple_of(4).max(20), 0);
    let mut id = vec![0x05, 0, 0, text.len() as u8];
    id.extend(text);
    id
}

fn keys(path: &Path<'_>) -> Vec<u8> {
    let data = path.run(&[0x5e, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0], &[]).data;
    assert_eq!(data.len() - 8, u32::from_be_bytes(data[4..8].try_into().unwrap()) as usize);
    data[8..].chunks(8).map(|key| key[7]).collect()
}

fn is_length_error(answer: &Answer) -> bool {
    answer.has(5, 0x1a00)
}

#[test]
fn m65_lengths_of_the_parameter_list() {
    let bench = Bench::new(None);
    let path = bench.path("a", 1);
    let good = list(0, 1);
    for length in [0, 8, 16, 23] {
        assert!(is_length_error(&out(&path, 0, 0, &good[..length])), "{length}");
    }
    for action in [0, 1, 2, 3, 4, 5, 6] {
        let mut long = good.clone();
        long.extend([0; 8]);
        assert!(is_length_error(&out(&path, action, 1, &long)), "action {action}");
        assert!(is_length_error(&out(&path, action, 1, &long[..25])), "action {action}");
    }
    for stated in [25, 64 * 1024, 64 * 1024 + 1, 0x7fff_ffff, 0xffff_ffff] {
        for action in [0, 3, 7] {
            let answer = path.run(&out_cdb(action, 0, stated), &good);
            assert!(is_length_error(&answer), "{stated} stated, 24 sent: {answer:?}");
        }
    }
    assert!(keys(&path).is_empty());
    assert!(out(&path, 0, 0, &good).is_good());
    assert_eq!(keys(&path), [1]);
}

#[test]
fn m66_spec_i_pt_registers_all_or_nothing() {
    let bench = Bench::new(None);
    let path = bench.path("a", 1);
    let good = encode(&port("b"));
    let unknown_device = device_id("never-seen");
    for ids in [
        vec![good.clone(), unknown_device.clone()],
        vec![unknown_device, good.clone()],
        vec![good.clone(), vec![0x46, 0, 0, 20], vec![0; 20]],
    ] {
        let answer = register(&path, 1, SPEC_I_PT, &named(&ids));
        assert!(answer.has(5, 0x2600), "{answer:?}");
        assert!(keys(&path).is_empty());
    }
    let both = named(&[good.clone(), encode(&port("c")), good]);
    assert!(register(&path, 1, SPEC_I_PT, &both).is_good());
    assert_eq!(keys(&path), [1, 1, 1], "one named twice is registered once");
    let later = bench.path("b", 1);
    assert!(out(&later, 1, 1, &list(1, 0)).is_good(), "known when it comes");
    let again = register(&later, 1, SPEC_I_PT, &named(&[encode(&port("d"))]));
    assert!(again.is_conflict(), "registered, with another reservation key");
    let mut list = list(1, 2);
    list[20] = SPEC_I_PT;
    list.extend(named(&[encode(&port("d"))]));
    assert!(out(&later, 0, 0, &list).has(5, 0x2600), "SPEC_I_PT is for the first registration");
    for action in [1, 2, 3, 4, 5, 6] {
        assert!(out(&later, action, 1, &list).has(5, 0x2600), "action {action}");
    }
}

#[test]
fn spc_7_6_4_6_a_device_name_stands_for_its_known_ports() {
    let bench = Bench::new(None);
    let path = bench.path("a", 1);
    let _known = [bench.path("b", 1), bench.path("b", 2)];
    assert!(register(&path, 1, SPEC_I_PT, &named(&[device_id("b")])).is_good());
    assert_eq!(keys(&path), [1, 1]);
}

#[test]
fn m67_transport_ids_that_lie() {
    let bench = Bench::new(None);
    let path = bench.path("a", 1);
    let good = encode(&port("b"));
    let mut past_the_end = good.clone();
    past_the_end[2] = 0x10;
    let mut no_nul = good.clone();
    no_nul.iter_mut().skip(4).filter(|byte| **byte == 0).for_each(|byte| *byte = b'x');
    let text = |format: u8, text: &[u8]| {
        let mut id = vec![format, 0, 0, text.len() as u8];
        id.extend_from_slice(text);
        id
    };
    for (id, what) in [
        (past_the_end, "ADDITIONAL LENGTH past the end"),
        (no_nul, "no NUL"),
        (text(0x45, b"iqn.2026-01.test:a\0\0"), "no ISID"),
        (text(0x45, b"iqn.2026-01.test:a,i,0x\0"), "empty ISID"),
        (text(0x45, b"iqn.2026-01.test:a,i,0xzzzzzzzzzzzz\0"), "ISID of no digits"),
        (text(0x45, b",i,0x800000000001\0\0\0"), "no name"),
        (text(0x45, b"short\0\0\0"), "too short"),
        (text(0x46, b"iqn.2026-01.test:a,i,0x800000000001\0"), "another protocol"),
        (text(0xc5, b"iqn.2026-01.test:a,i,0x800000000001\0"), "another format"),
        (vec![0x45, 0, 0], "a head cut short"),
    ] {
        let answer = register(&path, 1, SPEC_I_PT, &named(std::slice::from_ref(&id)));
        assert!(answer.has(5, 0x2600) && answer.pointer == Some((28, None)), "{what}: {answer:?}");
        let mut moving = list(1, 2);
        moving.truncate(20);
        moving[19] = 1;
        moving.extend(named(&[id]));
        let answer = out(&path, 7, 0, &moving);
        assert!(answer.has(5, 0x2600) || is_length_error(&answer), "{what}: {answer:?}");
    }
    for lie in [0, 1, 0xffff_ffff_u32, 0x8000_0000] {
        let mut ids = named(std::slice::from_ref(&good));
        ids[..4].copy_from_slice(&lie.to_be_bytes());
        assert!(is_length_error(&register(&path, 1, SPEC_I_PT, &ids)), "{lie:08x} stated");
    }
    let long: Vec<Vec<u8>> = (0..REGISTRATION_LIMIT).map(|n| encode(&port(&format!("n{n}")))).collect();
    assert!(named(&long).len() > 40_000, "it spans pages");
    let answer = register(&path, 1, SPEC_I_PT, &named(&long));
    assert!(answer.has(5, 0x5504), "one too many with the one that asks: {answer:?}");
    assert!(register(&path, 1, SPEC_I_PT, &named(&long[1..])).is_good());
    assert_eq!(keys(&path).len(), REGISTRATION_LIMIT);
    let one_more = bench.path("one-more", 1);
    assert!(register(&one_more, 1, 0, &[]).has(5, 0x5504), "m107");
}

#[test]
fn m68_register_and_move_to_where_it_cannot_go() {
    let bench = Bench::new(None);
    bench.device.set_target_ports(Some(Arc::new(Ports(vec![1, 2]))));
    let path = bench.path("a", 1);
    let moving = |sark: u64, relative_port: u8, id: &[u8]| {
        let mut list = list(1, sark);
        list.truncate(20);
        list[19] = relative_port;
        list.extend(named(&[id.to_vec()]));
        list
    };
    let (own, other) = (encode(&port("a")), encode(&port("b")));
    assert!(out(&path, 7, 0, &moving(2, 1, &other)).is_conflict(), "not registered");
    assert!(register(&path, 1, 0, &[]).is_good());
    assert!(out(&path, 7, 0, &moving(2, 1, &other)).is_conflict(), "nothing to move");
    assert!(out(&path, 1, 1, &list(1, 0)).is_good());
    assert!(out(&path, 7, 0, &moving(2, 1, &own)).has(5, 0x2600), "to itself");
    assert!(out(&path, 7, 0, &moving(0, 1, &other)).has(5, 0x2600), "without a key");
    let answer = out(&path, 7, 0, &moving(2, 9, &other));
    assert!(answer.has(5, 0x2600) && answer.pointer == Some((18, None)), "no such port: {answer:?}");
    let mut two = moving(2, 1, &other);
    two.extend(other.clone());
    assert!(is_length_error(&out(&path, 7, 0, &two)));
    let both = [other.clone(), other.clone()].concat();
    assert!(out(&path, 7, 0, &moving(2, 1, &both)).has(5, 0x2600), "two TransportIDs");
    assert!(out(&path, 7, 0, &moving(2, 1, &device_id("b"))).has(5, 0x2600), "a device, not a port");
    assert!(path.run(&WRITE, &BLOCK).is_good(), "nothing has moved");
    assert!(out(&path, 7, 0, &moving(2, 2, &other)).is_good());
    assert!(path.run(&WRITE, &BLOCK).is_conflict());
    assert!(bench.path("b", 2).run(&WRITE, &BLOCK).is_good());
}

#[test]
fn m69_persistent_reserve_in_is_cut_and_says_so() {
    let bench = Bench::new(None);
    let path = bench.path("a", 1);
    assert!(register(&path, 1, 0, &[]).is_good());
    assert!(out(&path, 1, 1, &list(1, 0)).is_good());
    for action in 0..4 {
        let cdb = |length: u16| {
            let [high, low] = length.to_be_bytes();
            [0x5e, action, 0, 0, 0, 0, 0, high, low, 0]
        };
        let whole = path.run(&cdb(0xffff), &[]).data;
        assert!(whole.len() >= 8);
        for length in 0..whole.len() as u16 {
            let answer = path.run(&cdb(length), &[]);
            assert!(answer.is_good());
            assert_eq!(answer.data, whole[..usize::from(length)], "action {action}");
        }
    }
    for action in 4..32 {
        let answer = path.run(&[0x5e, action, 0, 0, 0, 0, 0, 0, 8, 0], &[]);
        assert!(answer.has(5, 0x2400) && answer.pointer == Some((1, Some(4))), "{action}: {answer:?}");
    }
    for (action, kind) in [(1, 0), (1, 2), (1, 4), (1, 9), (1, 0x11), (2, 0xf1), (4, 0x31), (8, 1), (31, 1)] {
        let answer = out(&path, action, kind, &list(1, 1));
        assert!(answer.has(5, 0x2400), "{action} {kind:02x}: {answer:?}");
    }
}

#[test]
fn spc_5_13_7_all_target_ports_those_nobody_has_used_too() {
    let bench = Bench::new(None);
    bench.device.set_target_ports(Some(Arc::new(Ports(vec![3, 1, 2]))));
    let path = bench.path("a", 1);
    assert!(register(&path, 1, ALL_TG_PT, &[]).is_good());
    assert_eq!(keys(&path), [1, 1, 1]);
    assert!(out(&path, 1, 3, &list(1, 0)).is_good());
    let late = bench.path("a", 3);
    assert!(late.run(&READ, &[]).is_conflict(), "a registrant, not the holder");
    assert!(out(&late, 4, 5, &list(1, 1)).is_good(), "and may preempt");
}

#[test]
fn aptpl_needs_somebody_who_keeps_and_fails_whole() {
    let bench = Bench::new(None);
    let path = bench.path("a", 1);
    let answer = register(&path, 1, APTPL, &[]);
    assert!(answer.has(5, 0x2600) && answer.pointer == Some((20, Some(0))), "{answer:?}");

    struct Full;
    impl StateStore for Full {
        fn save(&self, _: &str, _: &str, _: &[u8]) -> Result<(), i32> {
            Err(28)
        }
        fn load(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, i32> {
            Ok(None)
        }
    }
    let bench = Bench::new(Some(Arc::new(Full)));
    let path = bench.path("a", 1);
    assert!(register(&path, 1, APTPL, &[]).has(4, 0x4400), "no room on the state directory");
    assert!(keys(&path).is_empty(), "what could not be kept did not happen");
    assert!(register(&path, 1, 0, &[]).is_good());
}

#[test]
fn aptpl_finds_its_nexuses_again_by_name() {
    let store: Arc<dyn StateStore> = Arc::new(MemoryStore::default());
    let bench = Bench::new(Some(Arc::clone(&store)));
    let path = bench.path("a", 1);
    assert!(register(&path, 1, APTPL, &[]).is_good());
    assert!(out(&path, 1, 3, &list(1, 0)).is_good());
    assert_eq!(path.run(&[0x5e, 2, 0, 0, 0, 0, 0, 0, 8, 0], &[]).data[2..4], [0x1d, 0xc1]);

    let bench = Bench::new(Some(Arc::clone(&store)));
    let (wrong_port, wrong_name) = (bench.path("a", 2), bench.path("b", 1));
    assert!(wrong_port.run(&READ, &[]).is_conflict());
    assert!(wrong_name.run(&READ, &[]).is_conflict());
    let path = bench.path("a", 1);
    assert!(path.run(&READ, &[]).is_good());
    assert_eq!(keys(&path), [1]);
    let mut forget = list(1, 1);
    forget[20] = 0;
    assert!(out(&path, 0, 0, &forget).is_good(), "APTPL off again");
    assert_eq!(store.load("disk", "pr"), Ok(None));
}

#[test]
fn spc_register_of_no_key_by_a_nexus_that_is_not_registered_does_nothing() {
    let store: Arc<dyn StateStore> = Arc::new(MemoryStore::default());
    let bench = Bench::new(Some(Arc::clone(&store)));
    let (path, other) = (bench.path("a", 1), bench.path("b", 1));
    assert!(register(&path, 1, APTPL, &[]).is_good());
    assert!(out(&path, 1, 3, &list(1, 0)).is_good());
    let generation = || path.run(&[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0], &[]).data[..4].to_vec();
    let (kept, before) = (store.load("disk", "pr"), generation());
    assert!(matches!(kept, Ok(Some(_))));
    for action in [0, 6] {
        assert!(out(&other, action, 0, &list(0, 0)).is_good());
        assert_eq!((store.load("disk", "pr"), generation()), (kept.clone(), before.clone()), "{action}");
    }
    assert_eq!(keys(&path), [1]);
}

#[test]
fn what_is_kept_and_damaged_is_refused() {
    let text = "version 1\ngeneration 3\naptpl 1\nreservation 1 0\n";
    let id: String = encode(&port("a")).iter().map(|byte| format!("{byte:02x}")).collect();
    let registrant = |holds: u8| format!("registrant 1 0000000000000001 {holds} {} {id}\n", id.len() / 2);
    let good = format!("{text}{}", registrant(1));
    assert_eq!(Reservations::parse(&good).unwrap().text(), good);
    for bad in [
        String::new(),
        good.replace("version 1", "version 2"),
        good.replace("reservation 1 0", "reservation 2 0"),
        good.replace("reservation 1 0", "reservation 1 1"),
        good.replace("aptpl 1", "aptpl 2"),
        good.replace("generation 3", "generation 4294967296"),
        good.replace("0000000000000001", "0000000000000000"),
        good.replace("registrant", "registrants"),
        text.to_owned(),
        format!("{text}{}", registrant(0)),
        format!("{good}{}", registrant(0)),
        good[..good.len() - 3].to_owned(),
        good.replace(&id[..8], "4500ffff"),
    ] {
        assert!(Reservations::parse(&bad).is_err(), "{bad}");
    }
    let kept = Reservations::parse(&good).unwrap().saved();
    assert!(Reservations::restore(&kept).is_ok());
    for cut in 0..kept.len() {
        assert!(Reservations::restore(&kept[..cut]).is_err(), "cut to {cut} bytes");
    }
}

#[test]
fn spc_5_13_1_a_write_that_waited_is_looked_at_again() {
    let bench = Bench::new(None);
    let (fenced, fencing) = (bench.path("a", 1), bench.path("b", 1));
    assert!(register(&fenced, 1, 0, &[]).is_good());
    assert!(register(&fencing, 2, 0, &[]).is_good());
    assert!(out(&fenced, 1, 5, &list(1, 0)).is_good());
    // The first write holds the block, so the second waits for it.
    let first = fenced.send(&WRITE, &BLOCK, TaskAttribute::Simple);
    let second = fenced.send(&WRITE, &BLOCK, TaskAttribute::Simple);
    let preempt = fencing.send(&out_cdb(4, 5, 24), &list(2, 1), TaskAttribute::Simple);
    bench.run_ready(1);
    assert!(fencing.answer(preempt).unwrap().is_good());
    bench.run_all();
    assert!(fenced.answer(first).unwrap().is_good(), "it was running before");
    assert!(fenced.answer(second).unwrap().is_conflict(), "it was not");
}

/// Memory whose next write stays out until it is let go.
struct Held {
    memory: Memory,
    /// Whether writes are held, and whether one is.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Held {
    fn set(&self, change: impl FnOnce(&mut (bool, bool))) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }
}

impl Backstore for Held {
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
        let mut state = self.state.lock().unwrap();
        state.1 = true;
        self.changed.notify_all();
        while state.0 {
            state = self.changed.wait(state).unwrap();
        }
        drop(state);
        self.memory.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

/// Lets the write go, also when the test fails.
struct Release<'a>(&'a Held);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.set(|state| state.0 = false);
    }
}

/// A unit over memory that can hold writes.
fn held_bench() -> (Bench, Arc<Held>) {
    let memory = Memory::new(64 * 512, 512, false);
    let held = Arc::new(Held { memory, state: Mutex::default(), changed: Condvar::new() });
    let bench = Bench::made(NewDevice {
        name: "disk".to_owned(),
        device_type: DeviceType::Disk,
        settings: Settings::default(),
        gate: Some(Arc::new(Gate::new(held.clone()))),
        block_size: 512,
        task_set_type: 0,
    });
    (bench, held)
}

/// Does `work` while the first task that may run, a write, is at the medium.
fn while_writing(bench: &Bench, held: &Held, work: impl FnOnce()) {
    held.set(|state| *state = (true, false));
    thread::scope(|scope| {
        let release = Release(held);
        scope.spawn(|| bench.run_ready(0));
        let state = held.state.lock().unwrap();
        drop(held.changed.wait_while(state, |state| !state.1).unwrap());
        work();
        drop(release);
    });
}

#[test]
fn spc_5_13_11_5_preempt_and_abort_waits_for_what_is_out() {
    let (bench, held) = held_bench();
    let (fenced, fencing) = (bench.path("a", 1), bench.path("b", 1));
    assert!(register(&fenced, 1, 0, &[]).is_good());
    assert!(register(&fencing, 2, 0, &[]).is_good());
    let write = fenced.send(&WRITE, &BLOCK, TaskAttribute::Simple);
    let waiting = fenced.send(&WRITE, &BLOCK, TaskAttribute::Simple);
    let mut preempt = 0;
    while_writing(&bench, &held, || {
        preempt = fencing.send(&out_cdb(5, 5, 24), &list(2, 1), TaskAttribute::Simple);
        bench.run_all();
        assert!(fenced.is_dropped(waiting));
        assert_eq!(fencing.answer(preempt), None, "the write may still land");
        assert!(fencing.run(&[0x12, 0, 0, 0, 96, 0], &[]).is_good(), "while others go on");
    });
    bench.run_all();
    assert!(fenced.is_dropped(write), "it has landed, unanswered");
    assert!(fencing.answer(preempt).unwrap().is_good());
    let mut told = fenced.attentions();
    told.sort_unstable();
    assert_eq!(told, [0x2a05, 0x2f00]);
    assert_eq!(keys(&fencing), [2]);
}

#[test]
fn preempt_and_abort_that_is_aborted_itself_is_not_answered() {
    let (bench, held) = held_bench();
    let (fenced, fencing) = (bench.path("a", 1), bench.path("b", 1));
    assert!(register(&fenced, 1, 0, &[]).is_good());
    assert!(register(&fencing, 2, 0, &[]).is_good());
    fenced.send(&WRITE, &BLOCK, TaskAttribute::Simple);
    let mut preempt = 0;
    while_writing(&bench, &held, || {
        preempt = fencing.send(&out_cdb(5, 5, 24), &list(2, 1), TaskAttribute::Simple);
        bench.run_all();
        let function = fencing.manage(TaskManagementFunction::AbortTask { tag: preempt });
        assert_eq!(fencing.function(function), Some(FunctionResult::Complete));
        assert!(fencing.is_dropped(preempt));
    });
    bench.run_all();
    assert_eq!(fencing.answer(preempt), None);
    assert_eq!(bench.device.tasks(), 0);
}

#[test]
fn persistent_reserve_out_of_two_nexuses_runs_one_after_the_other() {
    let bench = Bench::new(None);
    let (one, two) = (bench.path("a", 1), bench.path("b", 1));
    let first = one.send(&out_cdb(0, 0, 24), &list(0, 1), TaskAttribute::Simple);
    let second = two.send(&out_cdb(0, 0, 24), &list(0, 2), TaskAttribute::Simple);
    let third = two.send(&[0x16, 0, 0, 0, 0, 0], &[], TaskAttribute::Simple);
    assert_eq!(bench.ready(), 1, "the others wait");
    bench.run_all();
    assert!(one.answer(first).unwrap().is_good() && two.answer(second).unwrap().is_good());
    assert!(two.answer(third).unwrap().is_conflict(), "there are registrations by now");
    assert_eq!(keys(&one), [1, 2], "no registration is lost");
}

#[test]
fn an_i_t_nexus_reset_keeps_the_registration_in_force() {
    let bench = Bench::new(None);
    let path = bench.path("a", 1);
    assert!(register(&path, 1, 0, &[]).is_good());
    assert!(out(&path, 1, 3, &list(1, 0)).is_good());
    path.manage(TaskManagementFunction::NexusReset);
    path.attentions();
    assert!(path.run(&READ, &[]).is_good(), "it still holds");
    path.manage(TaskManagementFunction::LogicalUnitReset);
    path.attentions();
    assert!(path.run(&READ, &[]).is_good(), "and after a reset of the unit");
    path.lose();
    let back = bench.path("a", 1);
    assert!(back.run(&READ, &[]).is_good(), "and in its next session");
}

#[test]
fn spc_7_5_8_tas_says_how_tasks_of_others_end() {
    for tas in [false, true] {
        let (bench, held) = held_bench();
        let (own, other) = (bench.path("a", 1), bench.path("b", 1));
        // Control mode page with TAS and D_SENSE as they were.
        let page = [0, 0, 0, 0, 0x0a, 0x0a, 0, 0x10, 0, if tas { 0x40 } else { 0 }, 0, 0, 0, 0, 0, 0];
        let answer = own.run(&[0x15, 0x10, 0, 0, 16, 0], &page);
        assert!(answer.is_good(), "{answer:?}");
        other.attentions();
        let running = other.send(&WRITE, &BLOCK, TaskAttribute::Simple);
        let waiting = other.send(&WRITE, &BLOCK, TaskAttribute::Simple);
        let reading = other.send(&[0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0], &[], TaskAttribute::Simple);
        let mine = own.send(&[0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0], &[], TaskAttribute::Simple);
        let mut function = 0;
        while_writing(&bench, &held, || {
            function = own.manage(TaskManagementFunction::ClearTaskSet);
            assert_eq!(own.function(function), None, "a write is out");
        });
        bench.run_all();
        assert_eq!(own.function(function), Some(FunctionResult::Complete));
        assert!(own.is_dropped(mine));
        for tag in [running, waiting, reading] {
            let status = other.answer(tag).map(|answer| answer.status);
            assert_eq!(status, tas.then_some(Status::TASK_ABORTED));
            assert_eq!(other.is_dropped(tag), !tas);
        }
        assert_eq!(other.attentions(), if tas { vec![] } else { vec![0x2f00] });
        assert_eq!(bench.device.tasks(), 0);
    }
}
