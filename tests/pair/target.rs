//! The target's machines around one session, without threads, sockets or a clock of their own.

use std::io::IoSlice;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use scstu::backstore::buffer::BufferPool;
use scstu::iscsi::action::{Action, Disposition};
use scstu::iscsi::command::command;
use scstu::iscsi::manage;
use scstu::iscsi::parameters::Parameters;
use scstu::iscsi::queue::Queue;
use scstu::iscsi::receive::Receiver;
use scstu::iscsi::send::{Outgoing, Sender};
use scstu::iscsi::session::CommandWindow;
use scstu::iscsi::tags::LiveTags;
use scstu::scsi::device::{DeviceType, Dispatch};
use scstu::scsi::lun::{AddressingMethod, LunField};
use scstu::scsi::nexus::{LunEntry, LunMap, NewNexus, Nexus, TargetPort, TransportId};
use scstu::scsi::task::{Completion, Failure, Reply, Task};
use scstu::scsi::{FunctionResult, Status, execute, target};
use scstu::wire::request::{ScsiCommand, TaskManagementRequest};

use crate::support::{Memory, device, pseudo};

/// Tasks that are ready; the harness decides when each runs.
#[derive(Default)]
struct Ready(Mutex<Vec<Task>>);

impl Dispatch for Ready {
    fn dispatch(&self, task: Task) {
        self.0.lock().unwrap().push(task);
    }

    fn background(&self, _job: Box<dyn FnOnce() + Send>) {}

    fn rest(&self, _time: Duration) {}
}

/// The sending half.
struct Answers {
    sending: Mutex<(Sender, Queue)>,
    window: Arc<CommandWindow>,
    tags: Arc<LiveTags>,
}

impl Answers {
    fn send(&self, outgoing: &Outgoing) {
        let (sender, queue) = &mut *self.sending.lock().unwrap();
        sender.send(outgoing, queue);
    }
}

impl Reply for Answers {
    fn task_done(&self, done: &mut Completion) {
        self.tags.free(done.tag);
        if !done.is_immediate {
            self.window.release();
        }
        let (sender, queue) = &mut *self.sending.lock().unwrap();
        sender.respond(done, queue);
    }

    fn task_dropped(&self, tag: u32, is_immediate: bool) {
        self.tags.free(tag);
        self.sending.lock().unwrap().0.forget(tag);
        if !is_immediate {
            self.window.release_unanswered();
        }
        if self.window.owes_update() {
            self.send(&Outgoing::WindowUpdate);
        }
    }

    fn function_done(&self, tag: u32, result: FunctionResult) {
        self.send(&Outgoing::TaskManagement { itt: tag, response: manage::response(result) });
    }
}

/// One session's target.
pub struct Target {
    receiver: Receiver<Task>,
    nexus: Arc<Nexus>,
    ready: Arc<Ready>,
    answers: Arc<Answers>,
    reply: Arc<dyn Reply>,
    buffers: BufferPool,
    now: Instant,
    depth: u32,
}

impl Target {
    /// In full feature phase, with one disk of `blocks` blocks of 512 bytes.
    pub fn new(parameters: &Parameters, cmd_sn: u32, depth: u32, stat_sn: u32, blocks: usize) -> Self {
        let now = Instant::now();
        let ready = Arc::new(Ready::default());
        let dispatch: Arc<dyn Dispatch> = ready.clone();
        let window = Arc::new(CommandWindow::new(cmd_sn, depth));
        let tags = Arc::new(LiveTags::new(now));
        let sender = Sender::new(parameters, Arc::clone(&window), stat_sn);
        let sending = Mutex::new((sender, Queue::new()));
        let answers = Arc::new(Answers { sending, window: Arc::clone(&window), tags: Arc::clone(&tags) });
        let buffers = BufferPool::new(64 << 20);
        let disk = device("disk", Arc::new(Memory::new(blocks * 512, 512, false)), &dispatch);
        let entries = vec![LunEntry { lun: 0, device: disk, read_only: false }];
        let nexus = Nexus::new(NewNexus {
            id: 1,
            initiator: TransportId { name: "iqn.2026-01.test:initiator".to_owned(), isid: [0; 6] },
            target: TargetPort {
                name: crate::support::TARGET.to_owned(),
                portal_group_tag: 1,
                relative_identifier: 1,
            },
            buffers: buffers.clone(),
            reinstated: false,
            map: Arc::new(LunMap::new(entries, AddressingMethod::Peripheral)),
            absent: pseudo(DeviceType::Absent, &dispatch),
            well_known: pseudo(DeviceType::WellKnown, &dispatch),
        });
        let mut receiver = Receiver::new(now);
        receiver.enter_full_feature(parameters.clone(), window, tags, now);
        let reply: Arc<dyn Reply> = answers.clone();
        Target { receiver, nexus, ready, answers, reply, buffers, now, depth }
    }

    /// Takes bytes from the initiator.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let want = self.receiver.want();
            let count = want.len().min(bytes.len());
            want[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            let mut actions = Vec::new();
            self.receiver.got(count, self.now, &mut actions).unwrap();
            self.perform(actions);
        }
    }

    fn perform(&mut self, mut actions: Vec<Action<Task>>) {
        loop {
            while !actions.is_empty() {
                for action in std::mem::take(&mut actions) {
                    self.act(action);
                }
            }
            if let Some(pdu) = self.receiver.command().cloned() {
                self.command(&pdu, &mut actions);
            } else if !self.receiver.replay(&mut actions) {
                return;
            }
        }
    }

    fn act(&mut self, action: Action<Task>) {
        match action {
            Action::Execute { mut token, buffer, length } => {
                token.set_data_out(buffer, length);
                self.start(token);
            }
            Action::Fail { token, sense } => target::fail(token, Failure::Sense(sense)),
            Action::Manage(request) => self.manage(&request),
            Action::Send(outgoing) => self.answers.send(&outgoing),
            Action::Login(..) | Action::Text(..) | Action::Logout(_) => panic!("not of this phase"),
        }
    }

    fn command(&mut self, pdu: &ScsiCommand, more: &mut Vec<Action<Task>>) {
        let task = match target::admit(&self.nexus, &command(pdu), &self.reply) {
            Ok(task) => task,
            Err(mut refused) => {
                self.reply.task_done(&mut refused.0);
                return self.receiver.accept(Disposition::Discard, more);
            }
        };
        let length = task.data_out_length();
        if length == 0 {
            self.receiver.accept(Disposition::Discard, more);
            return self.start(task);
        }
        match self.buffers.get(length) {
            Some(buffer) => self.receiver.accept(Disposition::Fetch { token: task, buffer, length }, more),
            None => {
                target::fail(task, Failure::Status(Status::BUSY));
                self.receiver.accept(Disposition::Discard, more);
            }
        }
    }

    fn start(&mut self, task: Task) {
        if let execute::Started::Run(task) = execute::start(task) {
            self.ready.dispatch(task);
        }
    }

    fn manage(&mut self, request: &TaskManagementRequest) {
        let function = manage::function(request).unwrap();
        let (lun, tag) = (LunField(request.lun), request.initiator_task_tag);
        target::manage(&self.nexus, function, lun, tag, &self.reply);
        drop(self.receiver.forget_if(Task::is_aborted));
    }

    /// Number of tasks that are ready.
    pub fn ready(&self) -> usize {
        self.ready.0.lock().unwrap().len()
    }

    /// Runs the ready task at `index`.
    pub fn run(&mut self, index: usize) {
        let task = self.ready.0.lock().unwrap().remove(index);
        assert!(execute::execute(task, true).is_none());
    }

    /// Moves up to `most` bytes out.
    pub fn drain(&mut self, most: usize, into: &mut Vec<u8>) {
        let queue = &mut self.answers.sending.lock().unwrap().1;
        let mut slices = [IoSlice::new(&[]); 8];
        let count = queue.slices(&mut slices);
        let mut sent = 0;
        for slice in &slices[..count] {
            let part = &slice[..slice.len().min(most - sent)];
            into.extend_from_slice(part);
            sent += part.len();
        }
        queue.advance(sent);
    }

    /// Whether nothing is left to run or to send.
    pub fn is_idle(&self) -> bool {
        self.ready() == 0 && self.answers.sending.lock().unwrap().1.is_empty()
    }

    /// Nothing of any command may be left.
    pub fn check_idle(&self) {
        assert!(self.is_idle());
        assert!(self.answers.tags.is_empty(), "tags in use");
        assert_eq!(self.buffers.in_use(), 0, "memory out");
        let window = &self.answers.window;
        let open = window.max_cmd_sn().wrapping_add(1).wrapping_sub(window.exp_cmd_sn());
        assert_eq!(open, self.depth, "places in the command window");
    }
}
