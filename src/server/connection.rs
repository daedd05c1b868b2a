//! What the threads of a connection share: its socket, its outbox, the way answers take.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::iscsi::attachment::{CloseReason, SessionControl};
use crate::iscsi::key::{KeyId, Values};
use crate::iscsi::manage;
use crate::iscsi::send::Outgoing;
use crate::iscsi::session::CommandWindow;
use crate::iscsi::tags::LiveTags;
use crate::scsi::FunctionResult;
use crate::scsi::task::{Completion, Reply};
use crate::server::outbox::Outbox;
use crate::server::sessions::Closer;
use crate::server::totals::record;

/// What full feature phase adds to a connection.
pub struct FullFeature {
    /// The sending half.
    pub outbox: Outbox,
    /// The session's command window.
    pub window: Arc<CommandWindow>,
    /// The session's live tags.
    pub tags: Arc<LiveTags>,
}

/// A connection, as its tasks and the administrator see it.
pub struct Connection {
    /// The socket.
    pub socket: Arc<TcpStream>,
    full: OnceLock<FullFeature>,
    closed: AtomicU8,
    values: Mutex<Option<Values>>,
    has_values: AtomicBool,
}

const REASONS: [CloseReason; 4] =
    [CloseReason::Reinstated, CloseReason::Kicked, CloseReason::TargetGone, CloseReason::Stopping];

impl Connection {
    /// A connection that has yet to log in.
    pub fn new(socket: Arc<TcpStream>) -> Arc<Self> {
        Arc::new(Connection {
            socket,
            full: OnceLock::new(),
            closed: AtomicU8::new(0),
            values: Mutex::default(),
            has_values: AtomicBool::new(false),
        })
    }

    /// Login has succeeded.
    pub fn enter_full_feature(&self, full: FullFeature) {
        let _ = self.full.set(full);
    }

    /// What full feature phase added, once it has begun.
    pub fn full(&self) -> Option<&FullFeature> {
        self.full.get()
    }

    /// Values of the keys that the administrator has changed, once.
    pub fn take_values(&self) -> Option<Values> {
        if !self.has_values.load(Ordering::Relaxed) {
            return None;
        }
        self.has_values.store(false, Ordering::Relaxed);
        self.values.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Why the target itself has closed the connection, if it has.
    pub fn close_reason(&self) -> Option<CloseReason> {
        let code = self.closed.load(Ordering::Acquire);
        REASONS.get(usize::from(code).checked_sub(1)?).copied()
    }
}

impl Closer for Connection {
    fn oldest(&self) -> Option<(u32, Instant)> {
        self.full.get()?.tags.oldest()
    }

    fn send(&self, outgoing: &Outgoing) {
        if let Some(full) = self.full.get() {
            full.outbox.push(|sender, queue| sender.send(outgoing, queue));
        }
    }
}

impl SessionControl for Connection {
    fn close(&self, reason: CloseReason) {
        let code = REASONS.iter().position(|known| *known == reason).unwrap_or(0) + 1;
        let code = u8::try_from(code).unwrap_or(1);
        let _ = self.closed.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(full) = self.full.get() {
            full.outbox.abandon();
            full.outbox.wake().signal();
        }
    }

    fn update(&self, values: &Values) {
        let Some(full) = self.full.get() else { return };
        full.window.resize(values[KeyId::QueuedCommands]);
        *self.values.lock().unwrap_or_else(PoisonError::into_inner) = Some(*values);
        self.has_values.store(true, Ordering::Relaxed);
        full.outbox.wake().signal();
        if full.window.owes_update() {
            self.send(&Outgoing::WindowUpdate);
        }
    }
}

impl Reply for Connection {
    fn task_done(&self, done: &mut Completion) {
        if let Some((times, itl)) = &done.times {
            record(times, &itl.counters, (done.expected_in, done.expected_out));
        }
        let Some(full) = self.full.get() else { return };
        full.tags.free(done.tag);
        if !done.is_immediate {
            full.window.release();
        }
        full.outbox.push(|sender, queue| sender.respond(done, queue));
    }

    fn task_dropped(&self, tag: u32, is_immediate: bool) {
        let Some(full) = self.full.get() else { return };
        full.tags.free(tag);
        full.outbox.push(|sender, _| sender.forget(tag));
        if is_immediate {
            return;
        }
        full.window.release_unanswered();
        if full.window.owes_update() {
            self.send(&Outgoing::WindowUpdate);
        }
    }

    fn hold(&self) {
        if let Some(full) = self.full.get() {
            full.outbox.hold();
        }
    }

    fn release(&self) {
        if let Some(full) = self.full.get() {
            full.outbox.release();
        }
    }

    fn function_done(&self, tag: u32, result: FunctionResult) {
        self.send(&Outgoing::TaskManagement { itt: tag, response: manage::response(result) });
    }
}
