//! Reads that end where they are admitted give no other answers than those that have a task, and come no
//! sooner than what they have to wait for.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod initiator;
mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use initiator::{Initiator, Options, READ, WRITE, rw16};
use scstu::backstore::buffer::BufferPool;
use scstu::backstore::ram::RamStore;
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::scsi::cdb::Cdb;
use scstu::scsi::claim::Hold;
use scstu::scsi::device::{Device, DeviceType, Dispatch, MediumState};
use scstu::scsi::entrance::{Entered, Entrance};
use scstu::scsi::execute::{self, Here, Started};
use scstu::scsi::lun::{AddressingMethod, LunField};
use scstu::scsi::nexus::{LunEntry, LunMap, NewNexus, Nexus, TargetPort, TransportId};
use scstu::scsi::target;
use scstu::scsi::task::{Command, Completion, Reply, Task};
use scstu::scsi::{FunctionResult, Status, TaskAttribute, TaskManagementFunction};
use scstu::server::{Server, ServerOptions};
use support::{TARGET, device, pseudo};

const BLOCKS: u64 = 16;
const LUN: LunField = LunField([0; 8]);
/// Tag of a write that is older than a read.
const OLDER: u32 = 1000;

/// Keeps tasks that have waited until the test carries them out.
#[derive(Default)]
struct Waiting(Mutex<Vec<Task>>);

impl Waiting {
    fn run(&self) -> usize {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap());
        let count = tasks.len();
        tasks.into_iter().for_each(|task| assert!(execute::execute(task, true).is_none()));
        count
    }
}

impl Dispatch for Waiting {
    fn dispatch(&self, task: Task) {
        self.0.lock().unwrap().push(task);
    }

    fn background(&self, _job: Box<dyn FnOnce() + Send>) {
        panic!("nothing takes long here");
    }

    fn rest(&self, time: Duration) {
        thread::sleep(time);
    }
}

/// All that an initiator learns, but for the tag.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Answer {
    status: Status,
    sense: Vec<u8>,
    data: Vec<u8>,
    /// Bytes moved in both directions, and those expected.
    lengths: [u64; 4],
    is_immediate: bool,
}

#[derive(Default)]
struct Answers(Mutex<Vec<(u32, Answer)>>);

impl Answers {
    fn take(&self, tag: u32) -> Option<Answer> {
        let mut all = self.0.lock().unwrap();
        let at = all.iter().position(|(own, _)| *own == tag)?;
        Some(all.remove(at).1)
    }
}

impl Reply for Answers {
    fn task_done(&self, done: &mut Completion) {
        let answer = Answer {
            status: done.status,
            sense: done.sense.to_vec(),
            data: done.data_in[..done.data_in_length as usize].to_vec(),
            lengths: [
                done.transfer.data_in,
                done.transfer.data_out,
                done.expected_in.into(),
                done.expected_out.into(),
            ],
            is_immediate: done.is_immediate,
        };
        self.0.lock().unwrap().push((done.tag, answer));
    }

    fn task_dropped(&self, _tag: u32, _is_immediate: bool) {}

    fn function_done(&self, _tag: u32, _result: FunctionResult) {}
}

/// A nexus and the thread of its connection.
struct Path {
    nexus: Arc<Nexus>,
    entrance: Entrance,
    answers: Arc<Answers>,
    reply: Arc<dyn Reply>,
    tag: u32,
}

/// What has become of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fate {
    EndedHere(Answer),
    Ended(Answer),
    Waits(u32),
}

impl Fate {
    fn answer(self) -> Answer {
        match self {
            Fate::EndedHere(answer) | Fate::Ended(answer) => answer,
            Fate::Waits(tag) => panic!("{tag} waits"),
        }
    }

    fn is_here(&self) -> bool {
        matches!(self, Fate::EndedHere(_))
    }
}

fn command(cdb: &[u8], (expected_in, expected_out): (u32, u32)) -> Command {
    let attribute = TaskAttribute::Simple;
    Command {
        tag: 0,
        lun: LUN,
        attribute,
        cdb: Cdb::new(cdb),
        expected_in,
        expected_out,
        is_immediate: false,
    }
}

fn read(lba: u8) -> Command {
    command(&[0x28, 0, 0, 0, 0, lba, 0, 0, 1, 0], (512, 0))
}

impl Path {
    fn new(id: u64, device: &Arc<Device>) -> Self {
        let dispatch: Arc<dyn Dispatch> = Arc::new(Waiting::default());
        let entry = LunEntry { lun: 0, device: Arc::clone(device), read_only: false };
        let isid = [0x80, 0, 0, 0, 0, u8::try_from(id).unwrap()];
        let nexus = Nexus::new(NewNexus {
            id,
            initiator: TransportId { name: "iqn.2026-01.test:host".to_owned(), isid },
            target: TargetPort { name: TARGET.to_owned(), portal_group_tag: 1, relative_identifier: 1 },
            buffers: BufferPool::new(1 << 20),
            reinstated: false,
            map: Arc::new(LunMap::new(vec![entry], AddressingMethod::Peripheral)),
            absent: pseudo(DeviceType::Absent, &dispatch),
            well_known: pseudo(DeviceType::WellKnown, &dispatch),
        });
        let answers = Arc::new(Answers::default());
        let reply: Arc<dyn Reply> = answers.clone();
        let mut path = Path { nexus, entrance: Entrance::default(), answers, reply, tag: 0 };
        path.warm();
        path
    }

    /// Takes unit attentions; the next command finds a task, and memory.
    fn warm(&mut self) {
        while self.sends(&read(0), false).answer().status != Status::GOOD {}
    }

    /// Sends a command without Data-Out.
    fn sends(&mut self, command: &Command, ends_here: bool) -> Fate {
        self.tag += 1;
        let command = Command { tag: self.tag, cdb: command.cdb, ..*command };
        let entered = self.entrance.admit(&self.nexus, &command, &self.reply, (ends_here, false));
        let has_ended = matches!(entered, Ok(Entered::Ended));
        match entered {
            Ok(Entered::Ended) => {}
            Err(mut refused) => self.reply.task_done(&mut refused.0),
            Ok(Entered::Task) => {
                let task = self.entrance.task().unwrap();
                if execute::starts(task) && execute::execute_here(task, true, &[]) == Here::Done {
                    self.entrance.clear();
                } else if let Started::Run(task) = execute::start(self.entrance.take().unwrap()) {
                    assert!(execute::execute(task, true).is_none());
                }
            }
        }
        match self.answers.take(self.tag) {
            Some(answer) if has_ended => Fate::EndedHere(answer),
            Some(answer) => Fate::Ended(answer),
            None => Fate::Waits(self.tag),
        }
    }

    /// Admits WRITE(10) of one block, whose data has not come.
    fn writes(&self, lba: u8, attribute: TaskAttribute) -> Task {
        let command = command(&[0x2a, 0, 0, 0, 0, lba, 0, 0, 1, 0], (0, 512));
        let command = Command { tag: OLDER, attribute, ..command };
        target::admit(&self.nexus, &command, &self.reply).ok().unwrap()
    }

    /// The data of a write comes.
    fn begins(&self, mut write: Task, fill: u8) -> Task {
        let mut data = self.nexus.buffers.get(512).unwrap();
        data.fill(fill);
        write.set_data_out(data, 512);
        let Started::Run(write) = execute::start(write) else { panic!("it waits") };
        write
    }
}

fn unit(store: Arc<dyn Backstore>) -> (Arc<Device>, Arc<Waiting>) {
    let waiting = Arc::new(Waiting::default());
    let dispatch: Arc<dyn Dispatch> = waiting.clone();
    (device("a", store, &dispatch), waiting)
}

fn ram() -> Arc<RamStore> {
    let store = RamStore::new(512, BLOCKS * 512);
    for lba in 0..BLOCKS {
        store.write(lba * 512, &[u8::try_from(lba).unwrap() + 1; 512], false).unwrap();
    }
    Arc::new(store)
}

#[test]
fn an_answer_is_the_same_wherever_the_read_ends() {
    let (device, _) = unit(ram());
    let mut path = Path::new(1, &device);
    let cdbs: [&[u8]; 12] = [
        &[0x08, 0, 0, 3, 1, 0],
        &[0x08, 0, 0, 3, 0, 0],
        &[0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0],
        &[0x28, 0x08, 0, 0, 0, 3, 0, 0, 2, 0],
        &[0x28, 0x10, 0, 0, 0, 8, 0, 0, 8, 0],
        &[0x28, 0x20, 0, 0, 0, 3, 0, 0, 1, 0],
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 9, 0],
        &[0x28, 0, 0, 0, 0, 3, 0, 0, 0, 0],
        &[0x28, 0, 0, 0, 0, 15, 0, 0, 2, 0],
        &[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0],
        &[0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0],
        &rw16(READ, 3, 5, false),
    ];
    let mut here = 0;
    for cdb in cdbs {
        for expected in [(0, 0), (1, 0), (512, 0), (700, 0), (4096, 0), (8192, 0), (0, 512), (512, 512)] {
            for (attribute, is_immediate) in [
                (TaskAttribute::Simple, false),
                (TaskAttribute::Ordered, true),
                (TaskAttribute::HeadOfQueue, false),
                (TaskAttribute::Aca, false),
            ] {
                let command = Command { attribute, is_immediate, ..command(cdb, expected) };
                path.warm();
                let fate = path.sends(&command, true);
                here += u32::from(fate.is_here());
                let with_task = path.sends(&command, false);
                assert!(!with_task.is_here());
                assert_eq!(fate.answer(), with_task.answer(), "{cdb:02x?} {expected:?}");
            }
        }
    }
    // READ of no more than 4 KiB: of each kind, each length and three attributes.
    assert_eq!(here, 6 * 8 * 3);
    assert_eq!(device.tasks(), 0);
}

#[test]
fn sam_8_attributes_hold_a_read_up_within_its_nexus() {
    use TaskAttribute::{HeadOfQueue, Ordered, Simple};
    let (device, waiting) = unit(ram());
    let (mut own, mut other) = (Path::new(1, &device), Path::new(2, &device));
    for (older, younger, ends) in [
        (Simple, Simple, true),
        (Simple, Ordered, false),
        (Simple, HeadOfQueue, true),
        (Ordered, Simple, false),
        (Ordered, HeadOfQueue, true),
        (HeadOfQueue, Simple, false),
        (HeadOfQueue, Ordered, false),
        (HeadOfQueue, HeadOfQueue, true),
    ] {
        own.warm();
        let write = own.writes(5, older);
        let command = Command { attribute: younger, ..read(6) };
        assert!(other.sends(&command, true).is_here(), "another task set");
        let fate = own.sends(&command, true);
        assert_eq!(fate.is_here(), ends, "{younger:?} behind {older:?}");
        // The block is held for its own nexus, whatever the attribute; nobody knows when its data comes.
        assert!(other.sends(&Command { attribute: younger, ..read(5) }, true).is_here());
        let held = own.sends(&read(5), true);
        assert!(matches!(held, Fate::Waits(_)), "{held:?}");
        drop(write);
        let ran: usize = std::iter::from_fn(|| Some(waiting.run()).filter(|ran| *ran > 0)).sum();
        assert_eq!(ran, 1 + usize::from(!ends));
        other.warm();
    }
}

#[test]
fn a_read_waits_for_a_write_that_was_aborted_and_is_out() {
    let (device, waiting) = unit(ram());
    let (mut own, mut other) = (Path::new(1, &device), Path::new(2, &device));
    let write = own.begins(own.writes(5, TaskAttribute::Simple), 0xee);
    let abort = TaskManagementFunction::AbortTask { tag: OLDER };
    let function = target::manage(&own.nexus, abort, LUN, 1, &own.reply);
    assert!(!function.is_answered());
    assert!(other.sends(&read(6), true).is_here());
    let waits = [own.sends(&read(5), true), other.sends(&read(5), true)];
    assert!(waits.iter().all(|fate| matches!(fate, Fate::Waits(_))), "{waits:?}");
    assert!(execute::execute(write, true).is_none());
    assert!(function.is_answered());
    assert_eq!(waiting.run(), 2);
    for (path, fate) in [&own, &other].into_iter().zip(waits) {
        let Fate::Waits(tag) = fate else { panic!() };
        assert_eq!(path.answers.take(tag).unwrap().data, [0xee; 512]);
    }
    own.warm();
    assert!(own.sends(&read(5), true).is_here());
}

#[test]
fn a_unit_that_is_held_lets_no_read_through() {
    let (device, waiting) = unit(ram());
    let mut path = Path::new(1, &device);
    let hold = Hold::new(&device);
    assert!(hold.wait(|| true), "nothing is before it");
    let fate = path.sends(&read(5), true);
    assert!(matches!(fate, Fate::Waits(_)), "{fate:?}");
    drop(hold);
    assert_eq!(waiting.run(), 1);
    path.warm();
    assert!(path.sends(&read(5), true).is_here());
}

/// Memory behind a cache, as far as its declarations go.
struct Cached(Arc<RamStore>, AtomicU32);

impl Backstore for Cached {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities().with(Capabilities::VOLATILE_CACHE)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.0.read(offset, into)
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<bool, BlockError> {
        self.0.try_read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.0.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn sbc_4_15_a_read_with_fua_is_of_what_is_on_the_medium() {
    let store = Arc::new(Cached(ram(), AtomicU32::new(0)));
    let (device, _) = unit(store.clone());
    let mut path = Path::new(1, &device);
    for flushes in 1..4 {
        let fua = command(&[0x28, 0x08, 0, 0, 0, 3, 0, 0, 1, 0], (512, 0));
        assert_eq!(path.sends(&fua, true).answer().data, [4; 512]);
        assert_eq!(store.1.load(Ordering::SeqCst), flushes, "the cache is not written back first");
    }
}

#[test]
fn what_refuses_a_read_refuses_it_where_it_would_end() {
    let (device, _) = unit(ram());
    let (mut own, mut other) = (Path::new(1, &device), Path::new(2, &device));
    let status = |path: &mut Path| path.sends(&read(5), true).answer().status;
    let all = [Status::GOOD, Status::GOOD];
    assert_eq!([status(&mut own), status(&mut other)], all);
    // Others of the same nexus fill the task set.
    device.change_settings(|settings| settings.max_tgt_dev_commands = 1);
    let write = own.writes(9, TaskAttribute::Simple);
    assert_eq!([status(&mut own), status(&mut other)], [Status::TASK_SET_FULL, Status::GOOD]);
    drop(write);
    assert_eq!([status(&mut own), status(&mut other)], all);
    // RESERVE(6), RELEASE(6).
    assert_eq!(other.sends(&command(&[0x16, 0, 0, 0, 0, 0], (0, 0)), true).answer().status, Status::GOOD);
    assert_eq!([status(&mut own), status(&mut other)], [Status::RESERVATION_CONFLICT, Status::GOOD]);
    assert_eq!(other.sends(&command(&[0x17, 0, 0, 0, 0, 0], (0, 0)), true).answer().status, Status::GOOD);
    assert_eq!([status(&mut own), status(&mut other)], all);
    // A unit attention is told once.
    let reset = TaskManagementFunction::LogicalUnitReset;
    assert!(target::manage(&own.nexus, reset, LUN, 1, &own.reply).is_answered());
    assert_eq!([status(&mut own), status(&mut other)], [Status::CHECK_CONDITION; 2]);
    assert_eq!([status(&mut own), status(&mut other)], all);
    // No medium.
    device.set_medium(None, MediumState::TrayOpen);
    assert_eq!([status(&mut own), status(&mut other)], [Status::CHECK_CONDITION; 2]);
    assert_eq!(device.tasks(), 0);
}

#[test]
fn reads_of_a_unit_that_grows_and_shrinks_have_its_blocks_or_none() {
    const ROUNDS: u64 = 300;
    let store = ram();
    let (device, _) = unit(store.clone());
    let (is_over, here, beyond) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let reader = &|id: u64| {
        let mut path = Path::new(id, &device);
        let mut lba = 0;
        while !is_over.load(Ordering::SeqCst) {
            lba = (lba + 1) % 16;
            let fate = path.sends(&read(lba), true);
            here.fetch_add(u32::from(fate.is_here()), Ordering::SeqCst);
            let answer = fate.answer();
            match answer.status {
                // Beyond half, what was there is gone once it was away.
                Status::GOOD if lba >= 8 => assert!([0, lba + 1].contains(&answer.data[0])),
                Status::GOOD => assert_eq!(answer.data, [lba + 1; 512]),
                status => {
                    assert_eq!(status, Status::CHECK_CONDITION);
                    let is_attention = answer.sense[2] & 0x0f == 6;
                    assert!(is_attention || lba >= 8, "{lba}: {answer:02x?}");
                    beyond.fetch_add(u32::from(!is_attention), Ordering::SeqCst);
                }
            }
        }
    };
    thread::scope(|scope| {
        let readers = [1, 2].map(|id| scope.spawn(move || reader(id)));
        let mut round = 0;
        // Until both have been seen.
        while round < ROUNDS || here.load(Ordering::SeqCst) == 0 || beyond.load(Ordering::SeqCst) == 0 {
            round += 1;
            store.resize(if round % 2 == 0 { BLOCKS * 512 } else { BLOCKS * 256 }).unwrap();
            device.refresh_geometry();
            thread::yield_now();
            if readers.iter().any(thread::ScopedJoinHandle::is_finished) {
                break;
            }
        }
        is_over.store(true, Ordering::SeqCst);
    });
    assert_eq!(device.tasks(), 0);
}

fn serve() -> (Server, SocketAddr) {
    support::serve(vec![ram()], ServerOptions { workers: 2, ..ServerOptions::default() })
}

fn stop(server: &Server, sessions: [Initiator; 2]) {
    drop(sessions);
    server.stop(Duration::from_secs(10));
}

/// A session that sends no data unasked.
fn session(address: SocketAddr, isid: u32) -> Initiator {
    let options = Options { isid, immediate_data: false, ..Options::default() };
    let mut session = Initiator::login(address, TARGET, &options).unwrap();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    session
}

/// Begins reads of one block each that the target receives at once: all but the first find what they need to
/// end where they are admitted.
fn begin_reads(session: &mut Initiator, blocks: &[u64]) -> Vec<u32> {
    let reads = |session: &mut Initiator| {
        blocks.iter().map(|lba| session.start(0, &rw16(READ, *lba, 1, false), 512, &[])).collect()
    };
    session.together(reads).unwrap()
}

/// How a write ends whose data has not come.
enum End {
    Data,
    Abort,
    Reset,
    Reinstatement,
}

#[test]
fn a_read_waits_for_the_data_of_its_own_sessions_write_of_its_block_and_of_no_other() {
    const LOGICAL_UNIT_RESET: u8 = 5;
    for end in [End::Data, End::Abort, End::Reset, End::Reinstatement] {
        let (server, address) = serve();
        let (mut writer, mut reader) = (session(address, 1), session(address, 2));
        let write = writer.start_without_data(0, &rw16(WRITE, 5, 2, false), &[0xee; 1024]).unwrap();
        let own = begin_reads(&mut writer, &[0, 7, 5, 8]);
        let others = begin_reads(&mut reader, &[0, 7, 5, 8]);
        // What the target had to say has come when a ping is answered, and the read has not.
        writer.nop().unwrap();
        reader.nop().unwrap();
        for (index, data) in [1, 8, 6, 9].into_iter().enumerate() {
            assert_eq!(reader.answer(others[index]).unwrap().data, [data; 512]);
            let is_held = index == 2;
            assert_eq!(writer.answer(own[index]).is_none(), is_held, "block {data} of the same session");
        }
        let data = match end {
            End::Data => {
                writer.give_data().unwrap();
                assert_eq!(writer.wait(write).unwrap().status, 0);
                0xee
            }
            End::Abort => {
                let abort = writer.begin_function(1, 0, write).unwrap();
                assert_eq!(writer.wait_function(abort).unwrap(), 0);
                6
            }
            End::Reset => {
                let reset = writer.begin_function(LOGICAL_UNIT_RESET, 0, 0).unwrap();
                assert_eq!(writer.wait_function(reset).unwrap(), 0);
                writer.nop().unwrap();
                assert!(writer.answer(own[2]).is_none(), "a command that was reset is answered");
                assert_eq!(reader.command(0, &[0; 6], 0, &[]).unwrap().sense[12], 0x29);
                6
            }
            End::Reinstatement => {
                drop(std::mem::replace(&mut writer, session(address, 1)));
                6
            }
        };
        if matches!(end, End::Data | End::Abort) {
            let answer = writer.wait(own[2]).unwrap();
            assert_eq!((answer.status, answer.data), (0, vec![data; 512]));
        }
        assert_eq!(reader.good(0, &rw16(READ, 5, 1, false), 512, &[]).unwrap(), [data; 512]);
        stop(&server, [writer, reader]);
    }
}

/// RFC 7143 4.2.3.2: what was answered is answered before the reset is, and what was not is not any more.
#[test]
fn a_reset_among_reads_that_end_at_once_leaves_none_answered_behind_it() {
    const LOGICAL_UNIT_RESET: u8 = 5;
    const DEPTH: usize = 24;
    let (server, address) = serve();
    let (mut own, mut other) = (session(address, 1), session(address, 2));
    for _ in 0..40 {
        let sent = begin_reads(&mut own, &[5; DEPTH]);
        let reset = own.begin_function(LOGICAL_UNIT_RESET, 0, 0).unwrap();
        assert_eq!(own.wait_function(reset).unwrap(), 0);
        let answered =
            |session: &Initiator| sent.iter().filter(|itt| session.answer(**itt).is_some()).count();
        let before = answered(&own);
        own.nop().unwrap();
        assert_eq!(answered(&own), before, "answered behind the reset");
        for session in [&mut own, &mut other] {
            assert_eq!(session.good(0, &rw16(READ, 6, 1, false), 512, &[]).unwrap(), [7; 512]);
        }
    }
    stop(&server, [own, other]);
}
