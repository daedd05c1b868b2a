//! A thread's entrance, which makes a task that is over the next command's: every command does what a task of
//! its own would, whatever was there before it, and nothing is kept while the thread sleeps.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use scstu::backstore::buffer::{Buffer, BufferPool};
use scstu::backstore::gate::Gate;
use scstu::backstore::ram::RamStore;
use scstu::backstore::spare::{self, Keeping};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::scsi::cdb::Cdb;
use scstu::scsi::device::{Device, DeviceType, Dispatch, MediumState};
use scstu::scsi::entrance::{Entered, Entrance};
use scstu::scsi::execute::{self, Here, Started};
use scstu::scsi::lun::{AddressingMethod, LunField};
use scstu::scsi::nexus::{AHEAD, LunEntry, LunMap, NewNexus, Nexus, TargetPort, TransportId};
use scstu::scsi::target;
use scstu::scsi::task::{Command, Completion, Reply, Task};
use scstu::scsi::{FunctionResult, Status, TaskAttribute};
use support::{Memory, TARGET, device, pseudo};

const BLOCKS: usize = 16;
/// Memory that an entrance may keep for the next command, in bytes.
const SMALL: usize = 4096;

struct Nowhere;

impl Dispatch for Nowhere {
    fn dispatch(&self, _task: Task) {
        panic!("nothing waits here");
    }

    fn background(&self, _job: Box<dyn FnOnce() + Send>) {
        panic!("nothing takes long here");
    }

    fn rest(&self, _time: Duration) {}
}

#[derive(Default)]
struct Answers(Mutex<Vec<(u32, Status, Vec<u8>)>>);

impl Reply for Answers {
    fn task_done(&self, done: &mut Completion) {
        let data = done.data_in[..done.data_in_length as usize].to_vec();
        self.0.lock().unwrap().push((done.tag, done.status, data));
        // As one that copies the data, or one that sends it from where it is.
        if done.tag % 2 == 0 {
            done.data_in = Buffer::empty();
        }
    }

    fn task_dropped(&self, tag: u32, _is_immediate: bool) {
        panic!("{tag} was dropped");
    }

    fn function_done(&self, _tag: u32, _result: FunctionResult) {}
}

struct World {
    devices: Vec<Arc<Device>>,
    nexus: Arc<Nexus>,
    answers: Arc<Answers>,
    reply: Arc<dyn Reply>,
    buffers: BufferPool,
    entrance: Entrance,
    tag: u32,
    /// Bytes that the initiator has room for.
    room: u32,
    /// Tasks that are held up on purpose.
    older: usize,
    /// A connection's thread keeps small buffers; and bytes of them at most.
    keeping: Option<(Keeping, usize)>,
    /// Commands that ended where they were admitted.
    ended: u32,
}

/// Memory of which the second half cannot be read: the error comes when the answer is half written.
struct Damaged(Memory);

impl Backstore for Damaged {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        into.fill(0x77);
        if offset >= (BLOCKS * 256) as u64 { Err(BlockError::Io(5)) } else { Ok(()) }
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.0.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.0.flush()
    }
}

/// At hand for unit 1, not for the others.
fn store(number: usize) -> Arc<dyn Backstore> {
    match number {
        1 => Arc::new(RamStore::new(512, (BLOCKS * 512) as u64)),
        _ => Arc::new(Memory::new(BLOCKS * 512, 512, true)),
    }
}

impl World {
    fn new() -> Self {
        World::with(1 << 20)
    }

    /// With so many bytes of memory for command data.
    fn with(budget: usize) -> Self {
        let dispatch: Arc<dyn Dispatch> = Arc::new(Nowhere);
        let names = ["a", "b", "c"].into_iter().enumerate();
        let devices = names.map(|(number, name)| device(name, store(number), &dispatch)).collect();
        let buffers = BufferPool::new(budget);
        let nexus = Nexus::new(NewNexus {
            id: 1,
            initiator: TransportId { name: "iqn.2026-01.test:host".to_owned(), isid: [0x80, 0, 0, 0, 0, 1] },
            target: TargetPort { name: TARGET.to_owned(), portal_group_tag: 1, relative_identifier: 1 },
            buffers: buffers.clone(),
            reinstated: false,
            map: Arc::new(LunMap::default()),
            absent: pseudo(DeviceType::Absent, &dispatch),
            well_known: pseudo(DeviceType::WellKnown, &dispatch),
        });
        let answers = Arc::new(Answers::default());
        let reply: Arc<dyn Reply> = answers.clone();
        World {
            devices,
            nexus,
            answers,
            reply,
            buffers,
            entrance: Entrance::default(),
            tag: 0,
            room: 4096,
            older: 0,
            keeping: None,
            ended: 0,
        }
    }

    fn keep(&mut self) {
        self.keeping = Some((spare::keep(), 16 * SMALL));
    }

    /// What the LUNs are from now on.
    fn map(&mut self, devices: &[usize]) {
        let entry = |(lun, number): (usize, &usize)| LunEntry {
            lun: u16::try_from(lun).unwrap(),
            device: Arc::clone(&self.devices[*number]),
            read_only: false,
        };
        let entries = devices.iter().enumerate().map(entry).collect();
        let map = Arc::new(LunMap::new(entries, AddressingMethod::Peripheral));
        self.nexus.set_map(map, false, &[]);
    }

    /// A command as a connection's thread carries it out, in its place where it may be.
    fn run(&mut self, lun: u8, cdb: &[u8], data: &[u8], in_place: bool) -> (Status, Vec<u8>) {
        self.tag += 1;
        let command = self.command(lun, cdb, u32::try_from(data.len()).unwrap());
        match self.entrance.admit(&self.nexus, &command, &self.reply, (in_place, false)) {
            Err(mut refused) => self.reply.task_done(&mut refused.0),
            Ok(Entered::Task) => self.carry_out(data, in_place),
            Ok(Entered::Ended) => self.ended += 1,
        }
        let mut answers = std::mem::take(&mut *self.answers.0.lock().unwrap());
        assert_eq!(answers.len(), 1, "{cdb:02x?}");
        let (tag, status, bytes) = answers.remove(0);
        assert_eq!(tag, self.tag);
        assert_eq!(
            self.devices.iter().map(|device| device.tasks()).sum::<usize>(),
            self.older,
            "a task stays after {cdb:02x?}"
        );
        let kept = self.keeping.as_ref().map_or(0, |keeping| keeping.1);
        assert!(self.buffers.in_use() <= SMALL + kept, "memory stays out after {cdb:02x?}");
        (status, bytes)
    }

    fn command(&self, lun: u8, cdb: &[u8], expected_out: u32) -> Command {
        Command {
            tag: self.tag,
            lun: LunField([0, lun, 0, 0, 0, 0, 0, 0]),
            attribute: TaskAttribute::Simple,
            cdb: Cdb::new(cdb),
            expected_in: if expected_out == 0 { self.room } else { 0 },
            expected_out,
            is_immediate: false,
        }
    }

    fn carry_out(&mut self, data: &[u8], in_place: bool) {
        if data.is_empty() && in_place {
            let task = self.entrance.task().unwrap();
            if execute::starts(task) && execute::execute_here(task, true, &[]) == Here::Done {
                return self.entrance.clear();
            }
        }
        let mut task = self.entrance.take().unwrap();
        if !data.is_empty() {
            let mut buffer = self.buffers.get(data.len()).unwrap();
            buffer.copy_from_slice(data);
            task.set_data_out(buffer, data.len());
        }
        if in_place && execute::starts(&task) && execute::execute_here(&mut task, true, &[]) == Here::Done {
            return self.entrance.keep(task);
        }
        let Started::Run(task) = execute::start(task) else { panic!("it waits") };
        assert!(execute::execute(task, true).is_none());
    }

    fn write(&mut self, lun: u8, lba: u8, fill: u8, in_place: bool) -> Status {
        self.run(lun, &[0x2a, 0, 0, 0, 0, lba, 0, 0, 1, 0], &[fill; 512], in_place).0
    }

    fn read(&mut self, lun: u8, lba: u8, in_place: bool) -> (Status, Vec<u8>) {
        self.run(lun, &[0x28, 0, 0, 0, 0, lba, 0, 0, 1, 0], &[], in_place)
    }

    /// Takes the unit attentions that a change has left.
    fn settle(&mut self, luns: usize) {
        for lun in 0..luns {
            let lun = u8::try_from(lun).unwrap();
            while self.run(lun, &[0; 6], &[], true).0 != Status::GOOD {}
        }
    }
}

fn below(random: &mut u64, limit: usize) -> usize {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*random >> 33).unwrap() % limit
}

#[test]
fn every_command_does_what_a_task_of_its_own_would() {
    let mut random = 7;
    let mut world = World::new();
    world.keep();
    let mut mapped = vec![0, 1];
    world.map(&mapped);
    world.settle(2);
    // What each unit holds.
    let mut model = [[0u8; BLOCKS]; 3];
    for step in 0..4000 {
        let lun = below(&mut random, mapped.len());
        let number = mapped[lun];
        let lun = u8::try_from(lun).unwrap();
        let lba = below(&mut random, BLOCKS);
        let at = u8::try_from(lba).unwrap();
        let in_place = below(&mut random, 3) > 0;
        match below(&mut random, 12) {
            0..=3 => {
                let fill = u8::try_from(step % 251).unwrap();
                assert_eq!(world.write(lun, at, fill, in_place), Status::GOOD);
                model[number][lba] = fill;
            }
            4..=7 => {
                let expected = (Status::GOOD, vec![model[number][lba]; 512]);
                assert_eq!(world.read(lun, at, in_place), expected, "step {step}, LUN {lun}, block {lba}");
            }
            // Beyond the end, an operation code that is none, a LUN that is not there, no data.
            8 => assert_eq!(world.read(lun, 200, in_place).0, Status::CHECK_CONDITION),
            9 => {
                assert_eq!(world.run(lun, &[0xff; 16], &[], in_place).0, Status::CHECK_CONDITION);
                assert_eq!(world.read(9, at, in_place).0, Status::CHECK_CONDITION);
                assert_eq!(world.run(lun, &[0; 6], &[], in_place), (Status::GOOD, vec![]));
                let (status, inquiry) = world.run(lun, &[0x12, 0, 0, 0, 96, 0], &[], in_place);
                let alone = world.run(lun, &[0x12, 0, 0, 0, 96, 0], &[], false).1;
                assert_eq!((status, inquiry), (Status::GOOD, alone));
            }
            10 => {
                mapped = (0..2).map(|_| below(&mut random, 3)).collect();
                if mapped[0] == mapped[1] {
                    mapped.pop();
                }
                world.map(&mapped);
                world.settle(mapped.len());
            }
            _ if below(&mut random, 2) == 0 => {
                world.entrance.rest();
                spare::give_back();
                assert_eq!(world.buffers.in_use(), 0, "memory stays out while the thread sleeps");
            }
            _ => {
                // Between two commands of one unit.
                assert_eq!(world.read(lun, at, true).0, Status::GOOD);
                world.devices[number]
                    .set_medium(Some(Arc::new(Gate::new(store(number)))), MediumState::Present);
                model[number] = [0; BLOCKS];
                assert_eq!(world.read(lun, at, true).0, Status::CHECK_CONDITION, "there is a new medium");
                assert_eq!(
                    world.read(lun, at, true),
                    (Status::GOOD, vec![0; 512]),
                    "what is read is the old one's"
                );
                world.settle(mapped.len());
            }
        }
    }
    assert!(world.ended > 200, "only {} of them ended where they were admitted", world.ended);
}

#[test]
fn a_read_that_ends_where_it_is_admitted_is_counted_as_any_other() {
    let figures = [true, false].map(|in_place| {
        let mut world = World::new();
        world.map(&[1]);
        world.settle(1);
        for (lba, blocks, room) in
            [(0, 1, 4096), (7, 2, 4096), (8, 8, 4096), (1, 8, 700), (0, 16, 8192), (3, 0, 0)]
        {
            world.room = room;
            // Once with the memory of the command before, once without.
            for _ in 0..4 {
                let cdb = [0x28, 0, 0, 0, 0, lba, 0, 0, blocks, 0];
                assert_eq!(world.run(0, &cdb, &[], in_place).0, Status::GOOD);
            }
        }
        assert_eq!(world.ended > 0, in_place);
        let itl = &world.devices[1].itls()[0];
        (itl.figures(), itl.counters.moved(), world.answers.0.lock().unwrap().len())
    });
    assert_eq!(figures[0], figures[1]);
    assert_eq!(figures[0].0.commands[1], 20);
}

/// A world whose reads end where they are admitted unless something forbids it.
fn reader() -> World {
    let mut world = World::new();
    world.keep();
    world.map(&[1, 2]);
    world.settle(2);
    for _ in 0..2 {
        assert_eq!(world.write(0, 3, 7, true), Status::GOOD);
        assert_eq!(world.read(0, 3, true), (Status::GOOD, vec![7; 512]));
    }
    world
}

impl World {
    /// The next command gets the task of this one, of a unit where nothing is in its way.
    fn warm(&mut self) {
        self.answers.0.lock().unwrap().clear();
        assert_eq!(self.read(1, 0, true).0, Status::GOOD);
    }

    /// Admits READ(10) of one block, with a task attribute; whether it has ended.
    fn ends(&mut self, lba: u8, attribute: TaskAttribute) -> bool {
        self.tag += 1;
        let command = self.command(0, &[0x28, 0, 0, 0, 0, lba, 0, 0, 1, 0], 0);
        let command = Command { attribute, ..command };
        let entered = self.entrance.admit(&self.nexus, &command, &self.reply, (true, false)).ok().unwrap();
        let has_answer = self.answers.0.lock().unwrap().last().is_some_and(|answer| answer.0 == self.tag);
        assert_eq!(has_answer, entered == Entered::Ended);
        has_answer
    }
}

#[test]
fn a_read_ends_where_it_is_admitted_only_when_nothing_older_comes_first() {
    let mut world = reader();
    assert!(world.ends(3, TaskAttribute::Simple));
    assert!(world.ends(3, TaskAttribute::Ordered), "nothing is before it");
    for (attribute, ends_beside) in [(TaskAttribute::Simple, true), (TaskAttribute::Ordered, false)] {
        let mut write = world.command(0, &[0x2a, 0, 0, 0, 0, 3, 0, 0, 1, 0], 512);
        (write.tag, write.attribute) = (1000, attribute);
        let older = target::admit(&world.nexus, &write, &world.reply).ok().unwrap();
        world.older = 1;
        assert_eq!(world.ends(4, TaskAttribute::Simple), ends_beside, "{attribute:?}");
        world.entrance.rest();
        for (lba, attribute) in [(3, TaskAttribute::Simple), (4, TaskAttribute::Ordered)] {
            world.warm();
            assert!(!world.ends(lba, attribute), "the older write comes first: {attribute:?}, block {lba}");
            assert!(!execute::starts(world.entrance.task().unwrap()));
            world.entrance.rest();
        }
        drop(older);
        world.older = 0;
        world.warm();
        assert!(world.ends(3, TaskAttribute::Simple));
    }
}

/// What its `try_read` answers; 2 panics.
struct Fickle(RamStore, Mutex<u8>);

impl Backstore for Fickle {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<bool, BlockError> {
        let answer = *self.1.lock().unwrap();
        match answer {
            0 => self.0.try_read(offset, into),
            1 => Ok(false),
            2 => panic!("a fault"),
            _ => Err(BlockError::Io(5)),
        }
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
fn what_does_not_succeed_at_once_has_a_task() {
    let mut world = reader();
    let store = Arc::new(Fickle(RamStore::new(512, (BLOCKS * 512) as u64), Mutex::new(0)));
    world.devices[1].set_medium(Some(Arc::new(Gate::new(store.clone()))), MediumState::Present);
    world.settle(1);
    for answer in [0, 1, 2, 3, 0] {
        *store.1.lock().unwrap() = answer;
        // The first has a new task in any case.
        assert_eq!(world.read(0, 3, true), (Status::GOOD, vec![0; 512]), "{answer}");
        let ended = world.ended;
        assert_eq!(world.read(0, 3, true), (Status::GOOD, vec![0; 512]), "{answer}");
        assert_eq!(world.ended > ended, answer == 0, "{answer}");
    }
}

#[test]
fn nothing_is_kept_while_the_thread_sleeps() {
    let mut world = World::new();
    world.map(&[0]);
    world.settle(1);
    let old = world.devices[0].gate().unwrap();
    let alone = Arc::strong_count(&old);
    assert_eq!(world.read(0, 0, true).0, Status::GOOD);
    assert_eq!(Arc::strong_count(&old), alone + 1, "the task that is over is kept for the next command");
    world.entrance.rest();
    assert_eq!(Arc::strong_count(&old), alone);
    let references = Arc::strong_count(&world.devices[0]);
    assert_eq!(world.read(0, 0, true).0, Status::GOOD);
    world.entrance.rest();
    assert_eq!(Arc::strong_count(&world.devices[0]), references);
}

#[test]
fn what_is_kept_is_in_no_commands_way() {
    // One command of all blocks needs all the memory there is.
    let mut world = World::with(BLOCKS * 512);
    world.map(&[0]);
    world.settle(1);
    for _ in 0..4 {
        assert_eq!(world.read(0, 3, true), (Status::GOOD, vec![0; 512]));
        let all = world.run(0, &[0x28, 0, 0, 0, 0, 0, 0, 0, 16, 0], &[], true);
        assert_eq!(all.0, Status::GOOD);
    }
}

#[test]
fn a_nexus_that_is_lost_admits_nothing() {
    let mut world = World::new();
    world.map(&[0, 1]);
    world.settle(1);
    assert_eq!(world.write(0, 3, 7, true), Status::GOOD);
    target::nexus_lost(&world.nexus);
    for in_place in [true, false] {
        assert_eq!(world.write(0, 3, 8, in_place), Status::TASK_ABORTED);
        assert_eq!(world.read(0, 3, in_place).0, Status::TASK_ABORTED);
        // One that was never used is not attached to the nexus any more.
        assert_eq!(world.read(1, 3, in_place).0, Status::CHECK_CONDITION);
    }
    assert_eq!(world.devices[1].itls().len(), 0);
}

#[test]
fn to_look_ahead_changes_nothing() {
    let mut world = World::new();
    world.map(&[0, 1, 2]);
    world.settle(1);
    let flat = |lun| LunField::new(lun, AddressingMethod::Flat);
    let used = flat(0);
    // Units that it has used, that it has not, that are not there, and what addresses no unit.
    let odd = [
        LunField([0xc1, 1, 0, 0, 0, 0, 0, 0]),
        LunField([0xff; 8]),
        LunField([0xd2, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
    ];
    let fields = [used, flat(1), flat(9999), odd[0], odd[1], odd[2], used, flat(2), flat(1)];
    let references = Arc::strong_count(&world.devices[0]);
    for length in 0..=fields.len() {
        let looked_at = world.nexus.look_ahead(fields.into_iter().take(length));
        assert_eq!(looked_at, if length < 2 { 0 } else { length.min(AHEAD) }, "{length} fields");
    }
    assert_eq!(world.nexus.look_ahead([used; 20].into_iter()), AHEAD);
    assert_eq!(world.nexus.itls().len(), 1, "a unit is used that no command came for");
    assert_eq!(Arc::strong_count(&world.devices[0]), references);
}

#[test]
fn no_answer_has_bytes_of_another_command() {
    let mut world = World::new();
    world.map(&[0]);
    world.settle(1);
    for lba in 0..16 {
        assert_eq!(world.write(0, lba, if lba < 8 { 0x11 } else { 0xee }, true), Status::GOOD);
    }
    let commands: [&[u8]; 14] = [
        &[0; 6],                     // TEST UNIT READY
        &[0x03, 0, 0, 0, 252, 0],    // REQUEST SENSE
        &[0x12, 0, 0, 0, 255, 0],    // INQUIRY
        &[0x12, 1, 0x83, 0, 255, 0], // its pages
        &[0x12, 1, 0xb0, 0, 20, 0],
        &[0x1a, 0, 0x3f, 0, 255, 0],                  // MODE SENSE
        &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],           // READ CAPACITY
        &[0xa0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0],    // REPORT LUNS
        &[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], // REPORT SUPPORTED OPERATION CODES
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],           // READ: one block, none, beyond the end, all
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x28, 0, 0, 0, 0, 200, 0, 0, 1, 0],
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 16, 0],
        &[0x2f, 0, 0, 0, 0, 0, 0, 0, 8, 0], // VERIFY
    ];
    for (cdb, room, in_place) in commands.iter().flat_map(|cdb| {
        [0, 1, 8, 36, 4096, 8192].into_iter().flat_map(move |room| [(*cdb, room, true), (*cdb, room, false)])
    }) {
        let answers = [(0, 0x11), (8, 0xee)].map(|(lba, fill)| {
            // Fills the memory that the next command has, whether it is kept or comes from the pool.
            for _ in 0..2 {
                world.room = 4096;
                let read = world.run(0, &[0x28, 0, 0, 0, 0, lba, 0, 0, 8, 0], &[], true);
                assert_eq!(read, (Status::GOOD, vec![fill; 4096]));
            }
            world.room = room;
            world.run(0, cdb, &[], in_place)
        });
        assert_eq!(answers[0], answers[1], "{cdb:02x?} with room for {room}");
        assert!(answers[0].1.len() <= room as usize);
        if answers[0].0 != Status::GOOD {
            assert!(answers[0].1.is_empty(), "{cdb:02x?}");
        }
    }
}

#[test]
fn what_was_read_before_an_error_is_no_answer() {
    let mut world = World::new();
    world.map(&[0]);
    world.settle(1);
    let store: Arc<dyn Backstore> = Arc::new(Damaged(Memory::new(BLOCKS * 512, 512, true)));
    world.devices[0].set_medium(Some(Arc::new(Gate::new(store))), MediumState::Present);
    world.settle(1);
    for step in 0..12 {
        let in_place = step % 3 > 0;
        assert_eq!(world.read(0, 1, in_place), (Status::GOOD, vec![0x77; 512]));
        assert_eq!(world.read(0, 15, in_place), (Status::CHECK_CONDITION, vec![]));
        assert_eq!(world.run(0, &[0; 6], &[], in_place), (Status::GOOD, vec![]));
    }
}

#[test]
fn a_task_that_goes_to_another_unit_leaves_nothing_at_the_one_before() {
    let mut world = World::new();
    world.map(&[0, 1]);
    world.settle(2);
    world.entrance.rest();
    let gates = [0, 1].map(|number| world.devices[number].gate().unwrap());
    let counts = |world: &World, number: usize| {
        (Arc::strong_count(&gates[number]), Arc::strong_count(&world.devices[number]))
    };
    let alone = [counts(&world, 0), counts(&world, 1)];
    // A read of unit 1 ends where it is admitted, and keeps no medium.
    for (lun, other, kept) in [(0u8, 1u8, 1), (1, 0, 0), (0, 1, 1)] {
        assert_eq!(world.read(lun, 0, true).0, Status::GOOD);
        assert_eq!(counts(&world, usize::from(other)), alone[usize::from(other)], "LUN {other}");
        let (gate, device) = alone[usize::from(lun)];
        assert_eq!(counts(&world, usize::from(lun)), (gate + kept, device), "LUN {lun}");
    }
}
