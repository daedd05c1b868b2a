//! A command of an asynchronous handler in every order of what can happen to it: it is completed before or
//! after submit has returned, cancelled, its session ends, its unit is reset, its device is freed.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::backstore::buffer::BufferPool;
use crate::backstore::gate::Gate;
use crate::capi::attribute::Attributes;
use crate::capi::backstore::{
    SCSTU_BACKSTORE_VERSION, SCSTU_DISK_CONCURRENT, SCSTU_READ, SCSTU_WRITE, scstu_backstore_ops,
    scstu_complete, scstu_disk, scstu_request,
};
use crate::capi::disk::{Disk, Kind};
use crate::capi::handle::{Opening, Openings};
use crate::capi::log::Context;
use crate::scsi::cdb::Cdb;
use crate::scsi::device::{Device, DeviceType, Dispatch, NewDevice, Settings};
use crate::scsi::execute::{self, Started};
use crate::scsi::lun::{AddressingMethod, LunField};
use crate::scsi::nexus::{LunEntry, LunMap, NewNexus, Nexus, TargetPort, TransportId};
use crate::scsi::task::{Command, Completion, Reply, Task};
use crate::scsi::{FunctionResult, Status, TaskAttribute, TaskManagementFunction, target};
use crate::sys::interleave::explorer::{EVERY, Scenario, Work, explore, rest};
use crate::sys::interleave::{point, until};
use crate::sys::thread::spawn;

mod room;

/// Shards of the table of commands are shared by all tests of the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const LUN: LunField = LunField([0; 8]);
const SENT: u8 = 0xa5;
const READ: u8 = 0x88;
const WRITE: u8 = 0x8a;
const COMPARE_AND_WRITE: u8 = 0x89;
const ABORT: u32 = 0xab;

/// What the handler does with a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    /// Completes it before submit returns.
    AtOnce,
    /// Does not take it.
    Refuses,
    /// Leaves it to a thread of its own.
    Later,
    /// The same, and that thread waits until it is cancelled.
    WhenCancelled,
    /// The same, for writes only.
    WritesWhenCancelled,
    /// The same, and cancelling completes it, if that comes first.
    ByCancelling,
}

struct Taken {
    token: u64,
    request: *const scstu_request,
    is_cancelled: bool,
}

// SAFETY: the request stays until the command is completed, as the header says.
unsafe impl Send for Taken {}

/// The handler, and what it has seen. It never panics: its functions are C's.
struct Fake {
    manner: Manner,
    out: Mutex<Vec<Taken>>,
    mistakes: Mutex<Vec<String>>,
    closed: AtomicUsize,
    is_freed: AtomicBool,
    /// Threads that may still bring commands.
    active: AtomicUsize,
    pool: BufferPool,
}

impl Fake {
    fn mistake(&self, text: impl Into<String>) {
        self.mistakes.lock().unwrap().push(text.into());
    }

    fn look(&self) {
        if self.is_freed.load(Ordering::SeqCst) || self.closed.load(Ordering::SeqCst) > 0 {
            self.mistake("called after it was closed or freed");
        }
    }

    /// Moves the data: what was lent must still be there.
    fn carry_out(&self, request: &scstu_request) {
        if request.operation != SCSTU_READ && request.operation != SCSTU_WRITE {
            return;
        }
        if self.pool.in_use() == 0 {
            self.mistake("the buffer is back in the pool while the command is out");
        }
        // SAFETY: the request has one buffer of its length, which stays until it is completed.
        let iov = unsafe { &*request.iov };
        // SAFETY: as above.
        let data = unsafe { std::slice::from_raw_parts_mut(iov.iov_base.cast::<u8>(), iov.iov_len) };
        if request.operation == SCSTU_READ {
            data.fill(SENT);
        } else if data.iter().any(|byte| *byte != SENT) {
            self.mistake("the data of a write has changed");
        }
    }

    fn complete(&self, token: u64, result: c_int, wanted: c_int) {
        let answer = scstu_complete(token, result);
        if answer != wanted {
            self.mistake(format!("scstu_complete answers {answer} and not {wanted}"));
        }
    }

    fn take(&self, which: impl Fn(&Taken) -> bool) -> Option<Taken> {
        let mut out = self.out.lock().unwrap();
        let at = out.iter().position(which)?;
        Some(out.remove(at))
    }

    /// The handler's own thread: completes what is out until nothing more can come.
    fn run(&self) {
        // SAFETY: the command is out, so its request is there.
        let is_read = |taken: &Taken| unsafe { (*taken.request).operation } == SCSTU_READ;
        let may_end = |taken: &Taken| match self.manner {
            Manner::WhenCancelled => taken.is_cancelled,
            Manner::WritesWhenCancelled => taken.is_cancelled || is_read(taken),
            _ => true,
        };
        loop {
            until(|| {
                let out = self.out.lock().unwrap();
                out.iter().any(may_end) || (out.is_empty() && self.active.load(Ordering::SeqCst) == 0)
            });
            let Some(taken) = self.take(may_end) else { return };
            // SAFETY: the command is out, so its request is there.
            self.carry_out(unsafe { &*taken.request });
            self.complete(taken.token, 0, 0);
            self.complete(taken.token, 0, -libc::ENOENT);
        }
    }
}

/// # Safety
/// `device` is a `Fake` that lives.
unsafe extern "C" fn submit(device: *mut c_void, request: *const scstu_request) -> c_int {
    // SAFETY: as the caller promises.
    let fake = unsafe { &*device.cast::<Fake>() };
    // SAFETY: a request is valid until it is completed.
    let command = unsafe { &*request };
    fake.look();
    if command.operation == SCSTU_WRITE && !fake.out.lock().unwrap().is_empty() {
        fake.mistake("two commands of the same blocks at once");
    }
    point();
    match fake.manner {
        Manner::Refuses => return -libc::ENOSPC,
        Manner::AtOnce => {
            fake.carry_out(command);
            fake.complete(command.token, 0, 0);
        }
        _ => fake.out.lock().unwrap().push(Taken { token: command.token, request, is_cancelled: false }),
    }
    point();
    0
}

/// # Safety
/// As [`submit`].
unsafe extern "C" fn cancel(device: *mut c_void, token: u64) {
    // SAFETY: as the caller promises.
    let fake = unsafe { &*device.cast::<Fake>() };
    fake.look();
    if fake.manner == Manner::ByCancelling {
        if fake.take(|taken| taken.token == token).is_some() {
            fake.complete(token, -libc::ECANCELED, 0);
        }
        return;
    }
    for taken in fake.out.lock().unwrap().iter_mut().filter(|taken| taken.token == token) {
        taken.is_cancelled = true;
    }
}

/// # Safety
/// As [`submit`].
unsafe extern "C" fn close(device: *mut c_void) {
    // SAFETY: as the caller promises.
    let fake = unsafe { &*device.cast::<Fake>() };
    fake.look();
    if !fake.out.lock().unwrap().is_empty() {
        fake.mistake("closed with commands out");
    }
    fake.closed.fetch_add(1, Ordering::SeqCst);
}

/// What the initiator is told.
struct Replies {
    fake: Arc<Fake>,
    ended: Mutex<Vec<u32>>,
    busy: Mutex<Vec<u32>>,
    functions: Mutex<Vec<FunctionResult>>,
}

impl Reply for Replies {
    fn task_done(&self, done: &mut Completion) {
        self.ended.lock().unwrap().push(done.tag);
        if done.status == Status::BUSY {
            self.busy.lock().unwrap().push(done.tag);
        }
    }

    fn task_dropped(&self, tag: u32, _is_immediate: bool) {
        self.ended.lock().unwrap().push(tag);
    }

    fn function_done(&self, _tag: u32, result: FunctionResult) {
        self.functions.lock().unwrap().push(result);
        for taken in self.fake.out.lock().unwrap().iter() {
            // SAFETY: the command is out, so its request is there.
            let request = unsafe { &*taken.request };
            let is_its_write = request.operation == SCSTU_WRITE && request.length == 512;
            if is_its_write && result == FunctionResult::Complete {
                self.fake.mistake("an abort is complete while its write is out");
            }
        }
    }
}

/// Gives every task that has waited a thread of its own.
struct Threads(Arc<Fake>);

impl Dispatch for Threads {
    fn dispatch(&self, task: Task) {
        let fake = Arc::clone(&self.0);
        fake.active.fetch_add(1, Ordering::SeqCst);
        spawn("task".into(), 1 << 18, move || {
            drop(execute::execute(task, true));
            fake.active.fetch_sub(1, Ordering::SeqCst);
        })
        .unwrap();
    }

    fn background(&self, _job: Box<dyn FnOnce() + Send>) {}

    fn rest(&self, _time: Duration) {
        rest();
    }
}

struct World {
    fake: Arc<Fake>,
    openings: Arc<Openings>,
    device: Arc<Device>,
    nexus: Arc<Nexus>,
    replies: Arc<Replies>,
}

fn ops(context: *mut c_void) -> scstu_backstore_ops {
    scstu_backstore_ops {
        size: size_of::<scstu_backstore_ops>(),
        version: SCSTU_BACKSTORE_VERSION,
        context,
        close: Some(close),
        submit: Some(submit),
        cancel: Some(cancel),
        // SAFETY: all zeros are valid, as `Growing` says.
        ..unsafe { std::mem::zeroed() }
    }
}

fn device(fake: &Arc<Fake>, openings: &Arc<Openings>, dispatch: &Arc<dyn Dispatch>) -> Arc<Device> {
    let pointer: *mut c_void = Arc::as_ptr(fake).cast_mut().cast();
    let context = Context::new(pointer, None, Some(Opening::new(openings)));
    let kind = Arc::new(Kind {
        name: "fake".to_owned(),
        ops: ops(pointer),
        attributes: Attributes::default(),
        context,
    });
    let opened = scstu_disk {
        device: pointer,
        bytes: 64 * 512,
        flags: SCSTU_DISK_CONCURRENT,
        // SAFETY: all zeros are valid, as `Growing` says.
        ..unsafe { std::mem::zeroed() }
    };
    let disk = Disk::new(&kind, &opened, None).ok().unwrap().shared();
    pseudo(DeviceType::Disk, Some(Arc::new(Gate::new(disk))), dispatch)
}

fn pseudo(device_type: DeviceType, gate: Option<Arc<Gate>>, dispatch: &Arc<dyn Dispatch>) -> Arc<Device> {
    let (name, settings) = (String::new(), Settings::default());
    let new = NewDevice { name, device_type, settings, gate, block_size: 512, task_set_type: 1 };
    Device::new(new, Arc::clone(dispatch))
}

impl World {
    fn new(manner: Manner) -> Self {
        let pool = BufferPool::new(1 << 20);
        let fake = Arc::new(Fake {
            manner,
            out: Mutex::default(),
            mistakes: Mutex::default(),
            closed: AtomicUsize::new(0),
            is_freed: AtomicBool::new(false),
            active: AtomicUsize::new(0),
            pool: pool.clone(),
        });
        let openings = Arc::new(Openings::default());
        let dispatch: Arc<dyn Dispatch> = Arc::new(Threads(Arc::clone(&fake)));
        let device = device(&fake, &openings, &dispatch);
        let entry = LunEntry { lun: 0, device: Arc::clone(&device), read_only: false };
        let nexus = Nexus::new(NewNexus {
            id: 1,
            initiator: TransportId { name: "iqn.2026-01.test:host".to_owned(), isid: [0; 6] },
            target: TargetPort { name: String::new(), portal_group_tag: 1, relative_identifier: 1 },
            buffers: pool,
            reinstated: false,
            map: Arc::new(LunMap::new(vec![entry], AddressingMethod::Peripheral)),
            absent: pseudo(DeviceType::Absent, None, &dispatch),
            well_known: pseudo(DeviceType::WellKnown, None, &dispatch),
        });
        let (ended, busy, functions) = Default::default();
        let replies = Replies { fake: Arc::clone(&fake), ended, busy, functions };
        let world = World { fake, openings, device, nexus, replies: Arc::new(replies) };
        // Takes the first unit attention.
        assert!(world.admit(0, &[0; 6], 0).is_none());
        world
    }

    fn admit(&self, tag: u32, cdb: &[u8], bytes: u32) -> Option<Task> {
        let is_write = cdb[0] != READ;
        let command = Command {
            tag,
            lun: LUN,
            attribute: TaskAttribute::Simple,
            cdb: Cdb::new(cdb),
            expected_in: if is_write { 0 } else { bytes },
            expected_out: if is_write { bytes } else { 0 },
            is_immediate: false,
        };
        let reply: Arc<dyn Reply> = self.replies.clone();
        let mut task = target::admit(&self.nexus, &command, &reply).ok()?;
        if is_write {
            let mut data = self.nexus.buffers.get(bytes as usize).unwrap();
            data.fill(SENT);
            task.set_data_out(data, bytes as usize);
        }
        Some(task)
    }

    /// A command of block 7, admitted and with its data.
    fn task(&self, tag: u32, opcode: u8) -> Task {
        let mut cdb = [0; 16];
        (cdb[0], cdb[9], cdb[13]) = (opcode, 7, 1);
        self.admit(tag, &cdb, if opcode == COMPARE_AND_WRITE { 1024 } else { 512 }).unwrap()
    }

    /// WRITE of blocks 6 and 7, which is not the one that is aborted.
    fn other_write(&self, tag: u32) -> Task {
        let mut cdb = [0; 16];
        (cdb[0], cdb[9], cdb[13]) = (WRITE, 6, 2);
        self.admit(tag, &cdb, 1024).unwrap()
    }

    /// The connection's thread: starts a task.
    fn starts(&self, task: Task) -> Work {
        let fake = Arc::clone(&self.fake);
        fake.active.fetch_add(1, Ordering::SeqCst);
        Box::new(move || {
            if let Started::Run(task) = execute::start(task) {
                assert!(execute::execute(task, false).is_none(), "it would wait for the medium");
            }
            fake.active.fetch_sub(1, Ordering::SeqCst);
        })
    }

    fn completes(&self) -> Work {
        let fake = Arc::clone(&self.fake);
        Box::new(move || fake.run())
    }

    /// Ends what is out, one way or another; what came out of the pool is used again at once.
    fn ends(&self, way: impl FnOnce(&Arc<Nexus>, &Arc<dyn Reply>) + Send + 'static) -> Work {
        let (fake, nexus) = (Arc::clone(&self.fake), Arc::clone(&self.nexus));
        let reply: Arc<dyn Reply> = self.replies.clone();
        fake.active.fetch_add(1, Ordering::SeqCst);
        Box::new(move || {
            way(&nexus, &reply);
            nexus.buffers.get(512).unwrap().fill(0xee);
            fake.active.fetch_sub(1, Ordering::SeqCst);
        })
    }

    fn manages(&self, function: TaskManagementFunction) -> Work {
        self.ends(move |nexus, reply| drop(target::manage(nexus, function, LUN, ABORT, reply)))
    }

    /// What stop and free wait for, in their order.
    fn frees(self) -> (Work, After) {
        let after = After { fake: Arc::clone(&self.fake), replies: Arc::clone(&self.replies) };
        let work = move || {
            let (fake, openings) = (Arc::clone(&self.fake), Arc::clone(&self.openings));
            let gate = self.device.gate().unwrap();
            until(|| gate.outstanding() == 0);
            drop((gate, self));
            until(|| openings.is_unused());
            fake.is_freed.store(true, Ordering::SeqCst);
            if fake.closed.load(Ordering::SeqCst) != 1 {
                fake.mistake("freed, and not closed once");
            }
        };
        (Box::new(work), after)
    }

    /// What must be so when everything has ended.
    fn check(self, tags: &[u32], functions: usize) {
        assert_eq!(self.device.tasks(), 0, "tasks are left");
        assert_eq!(self.device.gate().unwrap().outstanding(), 0, "commands are left");
        let after = After { fake: Arc::clone(&self.fake), replies: Arc::clone(&self.replies) };
        let openings = Arc::clone(&self.openings);
        drop(self);
        after.check(tags, functions);
        assert!(openings.is_unused(), "the context is still used");
    }
}

/// What is left when the device is gone.
struct After {
    fake: Arc<Fake>,
    replies: Arc<Replies>,
}

impl After {
    fn check(&self, tags: &[u32], functions: usize) {
        let mut ended = self.replies.ended.lock().unwrap().clone();
        ended.sort_unstable();
        assert_eq!(ended, tags, "each command ends once");
        assert_eq!(self.replies.functions.lock().unwrap().len(), functions, "each function is answered once");
        let mistakes = self.fake.mistakes.lock().unwrap();
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert!(self.fake.out.lock().unwrap().is_empty());
        assert_eq!(self.fake.pool.in_use(), 0, "a buffer is not back");
        assert_eq!(self.fake.closed.load(Ordering::SeqCst), 1, "closed once");
    }
}

fn explored(what: &str, most_preemptions: usize, scenario: impl Fn() -> Scenario) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let orders = explore(most_preemptions, scenario).unwrap_or_else(|failure| panic!("{what}: {failure}"));
    println!("{what}: {orders} orders");
    assert!(orders > 1, "{what}: nothing was explored");
}

/// Changes of threads where none is needed, for scenarios of three threads and of more: nearly every race
/// takes no more than two, and every order of three threads is more than a test has time for.
const FEW: usize = 2;
const ONE: usize = 1;

const MANNERS: [Manner; 4] = [Manner::AtOnce, Manner::Refuses, Manner::Later, Manner::ByCancelling];

#[test]
fn completing_races_the_return_of_submit() {
    for opcode in [READ, WRITE] {
        for manner in [Manner::AtOnce, Manner::Refuses, Manner::Later] {
            explored(&format!("{opcode:#x} {manner:?}"), EVERY, || {
                let world = World::new(manner);
                let threads = vec![world.starts(world.task(1, opcode)), world.completes()];
                Scenario { threads, check: Box::new(move || world.check(&[1], 0)) }
            });
        }
    }
}

#[test]
fn completing_races_an_abort() {
    for opcode in [READ, WRITE] {
        for manner in MANNERS.into_iter().chain([Manner::WhenCancelled]) {
            // The plainest case with one more.
            let most = if (opcode, manner) == (WRITE, Manner::Later) { FEW + 1 } else { FEW };
            explored(&format!("{opcode:#x} {manner:?}"), most, || {
                let world = World::new(manner);
                let abort = TaskManagementFunction::AbortTask { tag: 1 };
                let threads =
                    vec![world.starts(world.task(1, opcode)), world.manages(abort), world.completes()];
                Scenario { threads, check: Box::new(move || world.check(&[1], 1)) }
            });
        }
    }
}

#[test]
fn completing_races_a_reset_and_the_end_of_the_session() {
    for opcode in [READ, WRITE] {
        for manner in MANNERS.into_iter().chain([Manner::WhenCancelled]) {
            explored(&format!("reset, {opcode:#x} {manner:?}"), FEW, || {
                let world = World::new(manner);
                let reset = TaskManagementFunction::LogicalUnitReset;
                let threads =
                    vec![world.starts(world.task(1, opcode)), world.manages(reset), world.completes()];
                Scenario { threads, check: Box::new(move || world.check(&[1], 1)) }
            });
            explored(&format!("lost, {opcode:#x} {manner:?}"), FEW, || {
                let world = World::new(manner);
                let lost = world.ends(|nexus, _| target::nexus_lost(nexus));
                let threads = vec![world.starts(world.task(1, opcode)), lost, world.completes()];
                Scenario { threads, check: Box::new(move || world.check(&[1], 0)) }
            });
        }
    }
}

#[test]
fn a_write_waits_for_an_aborted_one_of_its_blocks() {
    for manner in MANNERS {
        explored(&format!("{manner:?}"), ONE, || {
            let world = World::new(manner);
            let abort = TaskManagementFunction::AbortTask { tag: 1 };
            let threads = vec![
                world.starts(world.task(1, WRITE)),
                world.starts(world.other_write(2)),
                world.manages(abort),
                world.completes(),
            ];
            Scenario { threads, check: Box::new(move || world.check(&[1, 2], 1)) }
        });
    }
}

#[test]
fn completing_races_stop_and_free() {
    for opcode in [READ, WRITE] {
        for manner in MANNERS {
            explored(&format!("{opcode:#x} {manner:?}"), FEW, || {
                let world = World::new(manner);
                let mut threads = vec![world.starts(world.task(1, opcode)), world.completes()];
                let (free, after) = world.frees();
                threads.push(free);
                Scenario { threads, check: Box::new(move || after.check(&[1], 0)) }
            });
            explored(&format!("aborted, {opcode:#x} {manner:?}"), ONE, || {
                let world = World::new(manner);
                let abort = TaskManagementFunction::AbortTask { tag: 1 };
                let mut threads =
                    vec![world.starts(world.task(1, opcode)), world.manages(abort), world.completes()];
                let (free, after) = world.frees();
                threads.push(free);
                Scenario { threads, check: Box::new(move || after.check(&[1], 1)) }
            });
        }
    }
}

/// COMPARE AND WRITE: reads, compares, writes; a worker takes the second step.
#[test]
fn a_command_of_several_steps_races_an_abort_and_free() {
    for manner in MANNERS.into_iter().chain([Manner::WhenCancelled, Manner::WritesWhenCancelled]) {
        explored(&format!("{manner:?}"), FEW, || {
            let world = World::new(manner);
            let abort = TaskManagementFunction::AbortTask { tag: 1 };
            let task = world.task(1, COMPARE_AND_WRITE);
            let threads = vec![world.starts(task), world.manages(abort), world.completes()];
            Scenario { threads, check: Box::new(move || world.check(&[1], 1)) }
        });
    }
    for manner in MANNERS {
        explored(&format!("freed, {manner:?}"), ONE, || {
            let world = World::new(manner);
            let mut threads = vec![world.starts(world.task(1, COMPARE_AND_WRITE)), world.completes()];
            let (free, after) = world.frees();
            threads.push(free);
            Scenario { threads, check: Box::new(move || after.check(&[1], 0)) }
        });
    }
}
