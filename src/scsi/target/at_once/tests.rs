//! Reads that end where they are admitted, in every order with what happens beside them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::backstore::buffer::BufferPool;
use crate::backstore::gate::Gate;
use crate::backstore::ram::RamStore;
use crate::backstore::{Backstore, BlockError, Capabilities, Geometry};
use crate::scsi::cdb::Cdb;
use crate::scsi::device::{Device, DeviceType, Dispatch, MediumState, NewDevice, Settings};
use crate::scsi::entrance::{Entered, Entrance};
use crate::scsi::execute::{self, Here, Started};
use crate::scsi::lun::{AddressingMethod, LunField};
use crate::scsi::nexus::{LunEntry, LunMap, NewNexus, Nexus, TargetPort, TransportId};
use crate::scsi::target;
use crate::scsi::task::{Command, Completion, Reply, Task};
use crate::scsi::{FunctionResult, Status, TaskAttribute, TaskManagementFunction};
use crate::sys::interleave::explorer::{EVERY, Scenario, Work, explore, rest};
use crate::sys::interleave::point;
use crate::sys::thread::spawn;

const LUN: LunField = LunField([0; 8]);
const READ: u8 = 0x88;
const WRITE: u8 = 0x8a;
const OLD: u8 = 0x11;
const NEW: u8 = 0xee;
const WRITTEN: u32 = 0x1000;
/// Changes of threads where none is needed, where every order of them is more than a test has time for.
const FEW: usize = 3;
/// Reads of one thread, with tags from 1 on.
const READS: u32 = 2;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    /// The read with this tag is in the task set, or has been carried out where it was admitted.
    Admitted(u32),
    /// The memory is read, for the latter.
    AtOnce(u32),
    /// What the other thread does begins.
    Began,
    /// It is over, for a function: it is answered.
    Over,
    /// Tag, status, first byte of the data.
    Answered(u32, Status, Option<u8>),
    Dropped(u32),
}

/// What happened, in its order.
#[derive(Default)]
struct Log {
    events: Mutex<Vec<Event>>,
    /// The read that is being admitted.
    tag: Mutex<u32>,
}

impl Log {
    fn push(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    fn position(&self, wanted: impl Fn(&Event) -> bool) -> Option<usize> {
        self.events.lock().unwrap().iter().position(wanted)
    }
}

impl Reply for Log {
    fn task_done(&self, done: &mut Completion) {
        // An abort may come between the task set and this.
        point();
        let data = &done.data_in[..done.data_in_length as usize];
        assert!(data.iter().all(|byte| *byte == data[0]), "half of a write");
        self.push(Event::Answered(done.tag, done.status, data.first().copied()));
    }

    fn task_dropped(&self, tag: u32, _is_immediate: bool) {
        self.push(Event::Dropped(tag));
    }

    fn function_done(&self, _tag: u32, result: FunctionResult) {
        assert_eq!(result, FunctionResult::Complete);
        self.push(Event::Over);
    }
}

/// Memory that lets others in between, and finds out whether a write gets in the way of a read.
struct Watched {
    memory: RamStore,
    is_written: AtomicBool,
    log: Arc<Log>,
}

impl Watched {
    fn look(&self) {
        assert!(!self.is_written.load(Ordering::SeqCst), "a read while its block is written");
    }
}

impl Backstore for Watched {
    fn geometry(&self) -> Geometry {
        self.memory.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<bool, BlockError> {
        let tag = *self.log.tag.lock().unwrap();
        self.log.push(Event::Admitted(tag));
        self.look();
        point();
        self.look();
        self.log.push(Event::AtOnce(tag));
        self.memory.try_read(offset, into)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.look();
        point();
        self.look();
        self.memory.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        let (first, second) = from.split_at(from.len() / 2);
        self.is_written.store(true, Ordering::SeqCst);
        self.memory.write(offset, first, durable)?;
        point();
        self.memory.write(offset + first.len() as u64, second, durable)?;
        self.is_written.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

/// Gives every task that has waited a thread of its own.
struct Threads;

impl Dispatch for Threads {
    fn dispatch(&self, task: Task) {
        spawn("task".into(), 1 << 18, move || drop(execute::execute(task, true))).unwrap();
    }

    fn background(&self, _job: Box<dyn FnOnce() + Send>) {}

    fn rest(&self, _time: Duration) {
        rest();
    }
}

fn device(device_type: DeviceType, gate: Option<Arc<Gate>>) -> Arc<Device> {
    let (name, settings) = (String::new(), Settings::default());
    let new = NewDevice { name, device_type, settings, gate, block_size: 512, task_set_type: 1 };
    Device::new(new, Arc::new(Threads))
}

fn command(tag: u32, opcode: u8) -> Command {
    let mut cdb = [0; 16];
    (cdb[0], cdb[9], cdb[13]) = (opcode, 7, 1);
    let is_read = opcode == READ;
    Command {
        tag,
        lun: LUN,
        attribute: TaskAttribute::Simple,
        cdb: Cdb::new(&cdb),
        expected_in: if is_read { 512 } else { 0 },
        expected_out: if is_read { 0 } else { 512 },
        is_immediate: false,
    }
}

struct World {
    device: Arc<Device>,
    nexus: Arc<Nexus>,
    log: Arc<Log>,
    reply: Arc<dyn Reply>,
    buffers: BufferPool,
}

impl World {
    fn new() -> Self {
        let (log, buffers) = (Arc::new(Log::default()), BufferPool::new(1 << 20));
        let memory = RamStore::new(512, 1 << 20);
        memory.write(7 * 512, &[OLD; 512], false).unwrap();
        let store = Watched { memory, is_written: AtomicBool::new(false), log: Arc::clone(&log) };
        let device = device(DeviceType::Disk, Some(Arc::new(Gate::new(Arc::new(store)))));
        let entry = LunEntry { lun: 0, device: Arc::clone(&device), read_only: false };
        let nexus = Nexus::new(NewNexus {
            id: 1,
            initiator: TransportId { name: "iqn.2026-01.test:host".to_owned(), isid: [0; 6] },
            target: TargetPort { name: String::new(), portal_group_tag: 1, relative_identifier: 1 },
            buffers: buffers.clone(),
            reinstated: false,
            map: Arc::new(LunMap::new(vec![entry], AddressingMethod::Peripheral)),
            absent: self::device(DeviceType::Absent, None),
            well_known: self::device(DeviceType::WellKnown, None),
        });
        let reply: Arc<dyn Reply> = log.clone();
        World { device, nexus, log, reply, buffers }
    }

    /// An entrance where the next read finds a task, and memory.
    fn entrance(&self) -> Entrance {
        let mut entrance = Entrance::default();
        // The first takes the unit attention.
        for tag in [0, 0] {
            read(&mut entrance, (&self.nexus, &self.log, &self.reply), tag);
        }
        self.log.events.lock().unwrap().clear();
        entrance
    }

    /// The thread of a connection that reads. Counts in `ended` what ends where it is admitted.
    fn reads(&self, ended: &Arc<AtomicUsize>) -> Work {
        let mut entrance = self.entrance();
        let (nexus, log, reply) = (Arc::clone(&self.nexus), Arc::clone(&self.log), Arc::clone(&self.reply));
        let ended = Arc::clone(ended);
        Box::new(move || {
            for tag in 1..=READS {
                let has_ended = read(&mut entrance, (&nexus, &log, &reply), tag);
                ended.fetch_add(usize::from(has_ended), Ordering::SeqCst);
            }
        })
    }

    /// What must be so whatever came between.
    fn check(&self, others: &[u32]) {
        assert_eq!(self.device.tasks(), 0, "tasks are left");
        let counts = [&self.device.leaving, &self.device.answered].map(|count| count.load(Ordering::SeqCst));
        assert_eq!(counts[0], counts[1], "somebody waits for an answer that has been given");
        assert_eq!(self.device.itls().iter().map(|itl| itl.figures().in_flight).sum::<u64>(), 0);
        assert_eq!(self.buffers.in_use(), 0, "a buffer is not back");
        let mut ended: Vec<u32> = (self.log.events.lock().unwrap().iter())
            .filter_map(|event| match event {
                Event::Answered(tag, ..) | Event::Dropped(tag) => Some(*tag),
                _ => None,
            })
            .collect();
        ended.sort_unstable();
        let expected: Vec<u32> = (1..=READS).chain(others.iter().copied()).collect();
        assert_eq!(ended, expected, "each command ends once");
    }
}

type Ends<'a> = (&'a Arc<Nexus>, &'a Log, &'a Arc<dyn Reply>);

/// One read, as the thread of a connection has it; whether it ended where it was admitted.
fn read(entrance: &mut Entrance, (nexus, log, reply): Ends<'_>, tag: u32) -> bool {
    *log.tag.lock().unwrap() = tag;
    match entrance.admit(nexus, &command(tag, READ), reply, (true, false)) {
        Ok(Entered::Ended) => return true,
        Err(mut refused) => reply.task_done(&mut refused.0),
        Ok(Entered::Task) => {
            log.push(Event::Admitted(tag));
            let task = entrance.task().unwrap();
            if execute::starts(task) && execute::execute_here(task, true, &[]) == Here::Done {
                entrance.clear();
            } else if let Started::Run(task) = execute::start(entrance.take().unwrap()) {
                assert!(execute::execute(task, true).is_none());
            }
        }
    }
    false
}

/// Goes through the orders of reads and `beside`; in some of them reads end where they are admitted.
fn explored(most: usize, others: &'static [u32], beside: impl Fn(&World) -> Work, check: fn(&Log)) {
    let ended = Arc::new(AtomicUsize::new(0));
    let orders = explore(most, || {
        let world = World::new();
        let threads = vec![world.reads(&ended), beside(&world)];
        let check = move || {
            world.check(others);
            check(&world.log);
        };
        Scenario { threads, check: Box::new(check) }
    });
    let orders = orders.unwrap_or_else(|failure| panic!("{failure}"));
    let ended = ended.load(Ordering::SeqCst);
    println!("{orders} orders, {ended} reads ended where they were admitted");
    assert!(orders > 10 && ended > 10, "{ended} in {orders} orders");
}

/// RFC 7143 4.2.3.2: nothing that was admitted before the function is answered behind its response.
#[test]
fn a_reset_is_answered_behind_the_reads_that_came_before_it() {
    let resets = |world: &World| -> Work {
        let (nexus, log, reply) =
            (Arc::clone(&world.nexus), Arc::clone(&world.log), Arc::clone(&world.reply));
        Box::new(move || {
            log.push(Event::Began);
            drop(target::manage(&nexus, TaskManagementFunction::LogicalUnitReset, LUN, 9, &reply));
        })
    };
    explored(EVERY, &[], resets, |log| {
        let began = log.position(|event| *event == Event::Began).unwrap();
        let over = log.position(|event| *event == Event::Over).unwrap();
        for tag in 1..=READS {
            let is_older = log.position(|event| *event == Event::Admitted(tag)).is_some_and(|at| at < began);
            let answered = log.position(|event| matches!(event, Event::Answered(t, ..) if *t == tag));
            assert!(!is_older || answered.is_none_or(|at| at < over), "read {tag} is answered too late");
        }
    });
}

#[test]
fn once_a_lun_is_removed_nothing_is_read_by_it() {
    let removes = |world: &World| -> Work {
        let (nexus, log) = (Arc::clone(&world.nexus), Arc::clone(&world.log));
        Box::new(move || {
            nexus.set_map(Arc::new(LunMap::default()), false, &[]);
            log.push(Event::Over);
        })
    };
    explored(EVERY, &[], removes, |log| {
        let over = log.position(|event| *event == Event::Over).unwrap();
        let events = log.events.lock().unwrap();
        let late = events[over..].iter().find(|event| matches!(event, Event::AtOnce(_)));
        assert_eq!(late, None, "read behind the change");
    });
}

#[test]
fn a_read_has_the_whole_block_before_or_behind_a_write() {
    let writes = |world: &World| -> Work {
        let (nexus, log, reply) =
            (Arc::clone(&world.nexus), Arc::clone(&world.log), Arc::clone(&world.reply));
        Box::new(move || {
            let mut task = target::admit(&nexus, &command(WRITTEN, WRITE), &reply).ok().unwrap();
            log.push(Event::Began);
            let mut data = nexus.buffers.get(512).unwrap();
            data.fill(NEW);
            task.set_data_out(data, 512);
            if let Started::Run(task) = execute::start(task) {
                assert!(execute::execute(task, true).is_none());
            }
        })
    };
    explored(FEW, &[WRITTEN], writes, |log| {
        let began = log.position(|event| *event == Event::Began).unwrap();
        for tag in 1..=READS {
            let admitted = log.position(|event| *event == Event::Admitted(tag)).unwrap();
            let data = if admitted < began { OLD } else { NEW };
            let answer = Event::Answered(tag, Status::GOOD, Some(data));
            assert!(log.position(|event| *event == answer).is_some(), "{:?}", log.events.lock().unwrap());
        }
    });
}

/// Memory that cannot be read at once for a fault of ours.
struct Faulty(RamStore);

impl Backstore for Faulty {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn try_read(&self, _offset: u64, _into: &mut [u8]) -> Result<bool, BlockError> {
        panic!("on purpose");
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.0.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.0.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

#[test]
fn a_panic_under_the_lock_marks_the_unit_and_leaves_the_lock_free() {
    let world = World::new();
    let mut entrance = world.entrance();
    let gate = Gate::new(Arc::new(Faulty(RamStore::new(512, 1 << 20))));
    world.device.set_medium(Some(Arc::new(gate)), MediumState::Present);
    let ends: Ends<'_> = (&world.nexus, &world.log, &world.reply);
    // The first tells of the new medium.
    for tag in 1..=READS + 1 {
        assert!(!read(&mut entrance, ends, tag));
    }
    let answer = Event::Answered(READS, Status::GOOD, Some(0));
    assert!(world.log.position(|event| *event == answer).is_some(), "it is read another way");
    assert!(world.device.faulted.load(Ordering::Relaxed), "the unit is not marked");
    drop(entrance);
    world.check(&[READS + 1]);
}
