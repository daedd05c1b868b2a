use super::*;
use crate::backstore::buffer::BufferPool;
use crate::backstore::ram::RamStore;
use crate::scsi::device::{Dispatch, NewDevice, Settings};
use crate::scsi::lun::AddressingMethod;
use crate::scsi::nexus::{LunEntry, LunMap, NewNexus, TargetPort, TransportId};
use crate::sys::interleave::explorer::{EVERY, Scenario, explore};
use std::sync::Mutex;

struct Nobody;

impl Reply for Nobody {
    fn task_done(&self, _done: &mut Completion) {}
    fn task_dropped(&self, _tag: u32, _is_immediate: bool) {}
    fn function_done(&self, _tag: u32, _result: FunctionResult) {}
}

impl Dispatch for Nobody {
    fn dispatch(&self, _task: Task) {}
    fn background(&self, _job: Box<dyn FnOnce() + Send>) {}
    fn rest(&self, _time: Duration) {}
}

fn device(device_type: DeviceType) -> Arc<Device> {
    let gate = (device_type == DeviceType::Disk).then(|| Gate::new(Arc::new(RamStore::new(512, 1 << 20))));
    let (name, settings, gate) = (String::new(), Settings::default(), gate.map(Arc::new));
    let new = NewDevice { name, device_type, settings, gate, block_size: 512, task_set_type: 1 };
    Device::new(new, Arc::new(Nobody))
}

fn map(entries: Vec<LunEntry>) -> Arc<LunMap> {
    Arc::new(LunMap::new(entries, AddressingMethod::Peripheral))
}

fn entry(device: &Arc<Device>) -> LunEntry {
    LunEntry { lun: 0, device: Arc::clone(device), read_only: false }
}

fn nexus(device_: &Arc<Device>) -> Arc<Nexus> {
    let nexus = Nexus::new(NewNexus {
        id: 1,
        initiator: TransportId { name: "iqn.2026-01.test:host".to_owned(), isid: [0; 6] },
        target: TargetPort { name: String::new(), portal_group_tag: 1, relative_identifier: 1 },
        buffers: BufferPool::new(1 << 20),
        reinstated: false,
        map: map(vec![entry(device_)]),
        absent: device(DeviceType::Absent),
        well_known: device(DeviceType::WellKnown),
    });
    // Takes the first unit attention.
    assert!(write(&nexus).is_err());
    nexus
}

/// Admits WRITE(16) of block 7.
fn write(nexus: &Arc<Nexus>) -> Result<Task, Refused> {
    write_at(nexus, 7)
}

/// Admits WRITE(16) of a block.
fn write_at(nexus: &Arc<Nexus>, block: u8) -> Result<Task, Refused> {
    let mut cdb = [0; 16];
    (cdb[0], cdb[9], cdb[13]) = (0x8a, block, 1);
    let command = Command {
        tag: 1,
        lun: LunField([0; 8]),
        attribute: TaskAttribute::Simple,
        cdb: Cdb::new(&cdb),
        expected_in: 0,
        expected_out: 512,
        is_immediate: false,
    };
    let reply: Arc<dyn Reply> = Arc::new(Nobody);
    admit(nexus, &command, &reply)
}

/// What a change of the map finds when it is over, with a command that is admitted meanwhile.
fn explore_change(after: fn(&Arc<Device>) -> Arc<LunMap>) {
    let orders = explore(EVERY, || {
        let device = device(DeviceType::Disk);
        let nexus = nexus(&device);
        let admitted: Arc<Mutex<Option<Result<Task, Refused>>>> = Arc::default();
        let seen: Arc<Mutex<usize>> = Arc::default();
        let (task, count) = (Arc::clone(&admitted), Arc::clone(&seen));
        let (one, other, unit) = (Arc::clone(&nexus), nexus, Arc::clone(&device));
        Scenario {
            threads: vec![
                Box::new(move || *task.lock().unwrap() = Some(write(&one))),
                Box::new(move || {
                    other.set_map(after(&unit), false, &[]);
                    *count.lock().unwrap() = unit.tasks();
                }),
            ],
            check: Box::new(move || {
                let admitted = admitted.lock().unwrap().take().unwrap();
                let is_there = admitted.as_ref().is_ok_and(|task| Arc::ptr_eq(task.device(), &device));
                assert_eq!(usize::from(is_there), *seen.lock().unwrap(), "admitted behind the change");
            }),
        }
    });
    assert!(orders.as_ref().is_ok_and(|orders| *orders > 2), "{orders:?}");
}

#[test]
fn once_a_lun_is_removed_nothing_is_admitted_by_it() {
    explore_change(|_| map(Vec::new()));
}

#[test]
fn once_a_lun_is_another_unit_nothing_is_admitted_to_the_one_before() {
    explore_change(|_| map(vec![entry(&device(DeviceType::Disk))]));
}

#[test]
fn once_a_lun_is_read_only_no_write_is_admitted_as_before() {
    explore_change(|unit| map(vec![LunEntry { read_only: true, ..entry(unit) }]));
}

/// A change of `device`, which the nexus has at LUN 0.
type Change = fn(&Arc<Nexus>, &Arc<Device>);

/// A write of `block` that is admitted while `change` is made, and has been told of nothing, is one that
/// `is_as_before` knows.
fn explore_telling(block: u8, change: Change, is_as_before: fn(&Task, &Arc<Device>) -> bool) {
    let orders = explore(EVERY, || {
        let device = device(DeviceType::Disk);
        let nexus = nexus(&device);
        let (one, other, unit) = (Arc::clone(&nexus), nexus, Arc::clone(&device));
        let admitted: Arc<Mutex<Option<Result<Task, Refused>>>> = Arc::default();
        let task = Arc::clone(&admitted);
        Scenario {
            threads: vec![
                Box::new(move || *task.lock().unwrap() = Some(write_at(&one, block))),
                Box::new(move || change(&other, &unit)),
            ],
            check: Box::new(move || {
                let admitted = admitted.lock().unwrap().take().unwrap();
                assert!(admitted.as_ref().map_or(true, |task| is_as_before(task, &device)), "it is not told");
            }),
        }
    });
    assert!(orders.as_ref().is_ok_and(|orders| *orders > 2), "{orders:?}");
}

#[test]
fn a_lun_that_is_another_unit_is_told_before_anything_reaches_it() {
    let change: Change = |nexus, _| nexus.set_map(map(vec![entry(&device(DeviceType::Disk))]), false, &[]);
    explore_telling(7, change, |task, before| Arc::ptr_eq(task.device(), before));
}

#[test]
fn a_medium_that_has_come_is_told_before_anything_reaches_it() {
    let change: Change = |_, unit| {
        let gate = Arc::new(Gate::new(Arc::new(RamStore::new(512, 1 << 10))));
        unit.set_medium(Some(gate), MediumState::Closed);
    };
    explore_telling(1, change, |task, _| {
        task.gate.as_ref().is_some_and(|gate| gate.geometry().blocks == (1 << 20) / 512)
    });
}
