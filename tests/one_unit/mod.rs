//! A logical unit and several nexuses in one thread: commands go straight to the SCSI layer and are carried
//! out before the call returns, unless the test holds them.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)] // Each test uses a part.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scstu::backstore::buffer::BufferPool;
use scstu::backstore::gate::Gate;
use scstu::scsi::cdb::Cdb;
use scstu::scsi::device::{Device, DeviceType, Dispatch, NewDevice, Settings, StateStore};
use scstu::scsi::lun::{AddressingMethod, LunField};
use scstu::scsi::nexus::{LunEntry, LunMap, NewNexus, Nexus, TargetPort, TransportId};
use scstu::scsi::task::{Command, Completion, Reply, Task};
use scstu::scsi::{FunctionResult, Status, TaskAttribute, TaskManagementFunction, execute, target};

use crate::support::{Memory, TARGET, pseudo};

type Job = Box<dyn FnOnce() + Send>;

/// Tasks and long jobs that may run; the bench decides when.
#[derive(Default)]
pub struct Ready(Mutex<Vec<Task>>, Mutex<Vec<Job>>);

impl Dispatch for Ready {
    fn dispatch(&self, task: Task) {
        self.0.lock().unwrap().push(task);
    }

    fn background(&self, job: Job) {
        self.1.lock().unwrap().push(job);
    }

    fn rest(&self, _time: Duration) {}
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: Status,
    /// SENSE KEY and ADDITIONAL SENSE CODE with its qualifier; zeros without sense data.
    pub sense: (u8, u16),
    /// The field pointer: byte, and bit when one is meant.
    pub pointer: Option<(u16, Option<u8>)>,
    pub data: Vec<u8>,
}

impl Answer {
    pub fn is_good(&self) -> bool {
        self.status == Status::GOOD
    }

    pub fn is_conflict(&self) -> bool {
        self.status == Status::RESERVATION_CONFLICT
    }

    /// CHECK CONDITION with this key and code.
    pub fn has(&self, key: u8, code: u16) -> bool {
        self.status == Status::CHECK_CONDITION && self.sense == (key, code)
    }

    fn of(done: &Completion) -> Self {
        let sense: &[u8] = &done.sense;
        let (key, code) = match sense {
            [] => (0, 0),
            _ => (sense[2] & 0x0f, u16::from_be_bytes([sense[12], sense[13]])),
        };
        let pointer = (sense.len() >= 18 && sense[15] & 0x80 != 0).then(|| {
            let bit = (sense[15] & 0x08 != 0).then_some(sense[15] & 7);
            (u16::from_be_bytes([sense[16], sense[17]]), bit)
        });
        let length = done.data_in_length as usize;
        Answer { status: done.status, sense: (key, code), pointer, data: done.data_in[..length].to_vec() }
    }
}

/// What came back, by tag.
#[derive(Default)]
pub struct Answers {
    done: Mutex<HashMap<u32, Answer>>,
    dropped: Mutex<Vec<u32>>,
    functions: Mutex<HashMap<u32, FunctionResult>>,
}

impl Reply for Answers {
    fn task_done(&self, done: &mut Completion) {
        let known = self.done.lock().unwrap().insert(done.tag, Answer::of(done));
        assert!(known.is_none(), "tag {} is answered twice", done.tag);
    }

    fn task_dropped(&self, tag: u32, _is_immediate: bool) {
        self.dropped.lock().unwrap().push(tag);
    }

    fn function_done(&self, tag: u32, result: FunctionResult) {
        self.functions.lock().unwrap().insert(tag, result);
    }
}

/// A unit, and what nexuses of it share.
pub struct Bench {
    pub device: Arc<Device>,
    ready: Arc<Ready>,
    dispatch: Arc<dyn Dispatch>,
    buffers: BufferPool,
    numbers: Mutex<u64>,
}

impl Bench {
    /// A disk of 64 blocks in memory, thin, that keeps what it must in `store`.
    pub fn new(store: Option<Arc<dyn StateStore>>) -> Self {
        Self::with(DeviceType::Disk, store)
    }

    /// A unit of this kind.
    pub fn with(device_type: DeviceType, store: Option<Arc<dyn StateStore>>) -> Self {
        let ready = Arc::new(Ready::default());
        let dispatch: Arc<dyn Dispatch> = ready.clone();
        let block_size = if device_type == DeviceType::CdRom { 2048 } else { 512 };
        let new = NewDevice {
            name: "disk".to_owned(),
            device_type,
            settings: Settings {
                thin_provisioned: true,
                allow_sanitize: true,
                expl_alua: true,
                removable: true,
                ..Settings::default()
            },
            gate: Some(Arc::new(Gate::new(Arc::new(Memory::new(64 * 2048, block_size, false))))),
            block_size,
            task_set_type: 0,
        };
        Self::of(new, ready, dispatch, store)
    }

    /// A unit as `new` describes it.
    pub fn made(new: NewDevice) -> Self {
        Self::kept(new, None)
    }

    /// As [`Bench::made`], of a unit whose state is kept.
    pub fn kept(new: NewDevice, store: Option<Arc<dyn StateStore>>) -> Self {
        let ready = Arc::new(Ready::default());
        let dispatch: Arc<dyn Dispatch> = ready.clone();
        Self::of(new, ready, dispatch, store)
    }

    fn of(
        new: NewDevice,
        ready: Arc<Ready>,
        dispatch: Arc<dyn Dispatch>,
        store: Option<Arc<dyn StateStore>>,
    ) -> Self {
        let device = match store {
            Some(store) => Device::open(new, Arc::clone(&dispatch), store).unwrap(),
            None => Device::new(new, Arc::clone(&dispatch)),
        };
        Bench { device, ready, dispatch, buffers: BufferPool::new(64 << 20), numbers: Mutex::new(0) }
    }

    /// A nexus of initiator `name` with target port `relative_port`, its first unit attention told.
    pub fn path(&self, name: &str, relative_port: u16) -> Path<'_> {
        let path = self.fresh_path(name, relative_port);
        path.run(&[0x00, 0, 0, 0, 0, 0], &[]);
        path
    }

    /// A nexus whose first unit attention is pending.
    pub fn fresh_path(&self, name: &str, relative_port: u16) -> Path<'_> {
        let id = {
            let mut numbers = self.numbers.lock().unwrap();
            *numbers += 1;
            *numbers
        };
        let entries = vec![LunEntry { lun: 0, device: Arc::clone(&self.device), read_only: false }];
        let nexus = Nexus::new(NewNexus {
            id,
            initiator: TransportId { name: format!("iqn.2026-01.test:{name}"), isid: [0x80, 0, 0, 0, 0, 1] },
            target: TargetPort {
                name: TARGET.to_owned(),
                portal_group_tag: 1,
                relative_identifier: relative_port,
            },
            buffers: self.buffers.clone(),
            reinstated: false,
            map: Arc::new(LunMap::new(entries, AddressingMethod::Peripheral)),
            absent: pseudo(DeviceType::Absent, &self.dispatch),
            well_known: pseudo(DeviceType::WellKnown, &self.dispatch),
        });
        Path { bench: self, nexus, answers: Arc::new(Answers::default()), tags: Mutex::new(0) }
    }

    /// Number of tasks that may run.
    pub fn ready(&self) -> usize {
        self.ready.0.lock().unwrap().len()
    }

    /// Runs the task at `index` of those that may run.
    pub fn run_ready(&self, index: usize) {
        let task = self.ready.0.lock().unwrap().remove(index);
        assert!(execute::execute(task, true).is_none());
    }

    /// Runs the long jobs that were begun.
    pub fn run_jobs(&self) {
        loop {
            let Some(job) = self.ready.1.lock().unwrap().pop() else { break };
            job();
        }
    }

    /// Runs until nothing may run.
    pub fn run_all(&self) {
        while self.ready() > 0 {
            self.run_ready(0);
        }
    }
}

/// A nexus.
pub struct Path<'a> {
    bench: &'a Bench,
    pub nexus: Arc<Nexus>,
    answers: Arc<Answers>,
    tags: Mutex<u32>,
}

impl Path<'_> {
    /// Gives a command to the unit and answers its tag; it runs when the bench lets it.
    pub fn send(&self, cdb: &[u8], data: &[u8], attribute: TaskAttribute) -> u32 {
        let tag = self.next_tag();
        let command = Command {
            tag,
            lun: LunField([0; 8]),
            attribute,
            cdb: Cdb::new(cdb),
            expected_in: 1 << 20,
            expected_out: data.len() as u32,
            is_immediate: false,
        };
        let reply: Arc<dyn Reply> = self.answers.clone();
        match target::admit(&self.nexus, &command, &reply) {
            Err(mut refused) => reply.task_done(&mut refused.0),
            Ok(mut task) => {
                let length = task.data_out_length();
                if length > 0 {
                    let mut buffer = self.bench.buffers.get(length).unwrap();
                    buffer[..length].copy_from_slice(&data[..length]);
                    task.set_data_out(buffer, length);
                }
                if let execute::Started::Run(task) = execute::start(task) {
                    self.bench.dispatch.dispatch(task);
                }
            }
        }
        tag
    }

    fn next_tag(&self) -> u32 {
        let mut tags = self.tags.lock().unwrap();
        *tags += 1;
        *tags
    }

    /// The answer of the command with this tag, once it is there.
    pub fn answer(&self, tag: u32) -> Option<Answer> {
        self.answers.done.lock().unwrap().remove(&tag)
    }

    /// Whether the command with this tag ended without an answer.
    pub fn is_dropped(&self, tag: u32) -> bool {
        self.answers.dropped.lock().unwrap().contains(&tag)
    }

    /// Carries a command out.
    pub fn run(&self, cdb: &[u8], data: &[u8]) -> Answer {
        let tag = self.send(cdb, data, TaskAttribute::Simple);
        self.bench.run_all();
        let later = || {
            self.bench.run_jobs();
            self.answer(tag)
        };
        self.answer(tag).or_else(later).unwrap_or_else(|| panic!("no answer to {cdb:02x?}"))
    }

    /// Begins a task management function for the unit.
    pub fn manage(&self, function: TaskManagementFunction) -> u32 {
        let tag = self.next_tag();
        let reply: Arc<dyn Reply> = self.answers.clone();
        target::manage(&self.nexus, function, LunField([0; 8]), tag, &reply);
        tag
    }

    /// The answer of the function with this tag, once it is there.
    pub fn function(&self, tag: u32) -> Option<FunctionResult> {
        self.answers.functions.lock().unwrap().get(&tag).copied()
    }

    /// The session ends.
    pub fn lose(&self) {
        target::nexus_lost(&self.nexus);
    }

    /// The unit attentions that are pending, taken by REQUEST SENSE.
    pub fn attentions(&self) -> Vec<u16> {
        let mut codes = Vec::new();
        loop {
            let sense = self.run(&[0x03, 0, 0, 0, 252, 0], &[]).data;
            if sense[2] & 0x0f != 6 {
                return codes;
            }
            codes.push(u16::from_be_bytes([sense[12], sense[13]]));
        }
    }
}
