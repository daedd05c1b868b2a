//! What the threads of a connection share: its socket, its outbox, the way answers take.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
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

impl FullFeature {
    /// Whether no task can bring output from another thread, or has brought any that is not sent: else the
    /// socket may leave some of it to the connection's thread. `arriving` tasks still wait for their data.
    ///
    /// A tag is freed under the lock of the outbox that its answer is sent with, so tags are looked at first:
    /// who finds one free finds its answer too, or it is sent.
    pub fn is_settled(&self, arriving: usize) -> bool {
        self.tags.len() <= arriving && self.outbox.is_settled()
    }
}

/// A connection, as its tasks and the administrator see it.
pub struct Connection {
    /// The socket.
    pub socket: Arc<TcpStream>,
    full: OnceLock<FullFeature>,
    closed: AtomicU8,
    values: Mutex<Option<Values>>,
    has_values: AtomicBool,
    /// 0, [`BEGUN`] with the tag of a TARGET COLD RESET that is carried out, or [`COMPLETE`].
    cold_reset: AtomicU64,
}

const BEGUN: u64 = 1 << 32;
const COMPLETE: u64 = 2 << 32;

const REASONS: [CloseReason; 5] = [
    CloseReason::Reinstated,
    CloseReason::Kicked,
    CloseReason::TargetGone,
    CloseReason::Stopping,
    CloseReason::ColdReset,
];

impl Connection {
    /// A connection that has yet to log in.
    pub fn new(socket: Arc<TcpStream>) -> Arc<Self> {
        Arc::new(Connection {
            socket,
            full: OnceLock::new(),
            closed: AtomicU8::new(0),
            values: Mutex::default(),
            has_values: AtomicBool::new(false),
            cold_reset: AtomicU64::new(0),
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

    /// A TARGET COLD RESET with this tag is about to be carried out. While an older one is, that one counts.
    pub fn begin_cold_reset(&self, tag: u32) {
        let begun = BEGUN | u64::from(tag);
        let _ = self.cold_reset.compare_exchange(0, begun, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Whether a TARGET COLD RESET was answered with FUNCTION COMPLETE: the target's sessions are to end.
    pub fn is_cold_reset(&self) -> bool {
        self.cold_reset.load(Ordering::Acquire) == COMPLETE
    }

    /// Whether a TARGET COLD RESET has yet to end the target's sessions; the caller does it.
    pub fn take_cold_reset(&self) -> bool {
        self.cold_reset.swap(0, Ordering::AcqRel) != 0
    }

    /// Notes why the connection's own thread ends it.
    pub fn note_reason(&self, reason: CloseReason) {
        let code = REASONS.iter().position(|known| *known == reason).unwrap_or(0) + 1;
        let code = u8::try_from(code).unwrap_or(1);
        let _ = self.closed.compare_exchange(0, code, Ordering::AcqRel, Ordering::Acquire);
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
        self.note_reason(reason);
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
        if !done.is_immediate {
            full.window.release();
        }
        full.outbox.push(|sender, queue| {
            full.tags.free(done.tag);
            sender.respond(done, queue);
        });
    }

    fn takes_pages(&self) -> bool {
        self.full.get().is_some_and(|full| full.outbox.takes_pages())
    }

    fn task_dropped(&self, tag: u32, is_immediate: bool) {
        let Some(full) = self.full.get() else { return };
        let owes_update = !is_immediate && {
            full.window.release_unanswered();
            full.window.owes_update()
        };
        full.outbox.push(|sender, queue| {
            full.tags.free(tag);
            sender.forget(tag);
            if owes_update {
                sender.send(&Outgoing::WindowUpdate, queue);
            }
        });
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
        let begun = BEGUN | u64::from(tag);
        let is_complete = result == FunctionResult::Complete;
        // One that was given up ends nothing, and another may follow it.
        let after = if is_complete { COMPLETE } else { 0 };
        let was_begun = self.cold_reset.compare_exchange(begun, after, Ordering::AcqRel, Ordering::Relaxed);
        if let Some(full) = self.full.get().filter(|_| is_complete && was_begun.is_ok()) {
            full.outbox.wake().signal();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;
    use crate::backstore::buffer::Buffer;
    use crate::iscsi::parameters::Parameters;
    use crate::iscsi::send::Sender;
    use crate::scsi::Status;
    use crate::scsi::task::SenseData;

    fn completion(tag: u32) -> Completion {
        Completion {
            lent: None,
            tag,
            status: Status::GOOD,
            sense: SenseData::NONE,
            data_in: Buffer::empty(),
            data_in_length: 0,
            transfer: Default::default(),
            expected_in: 0,
            expected_out: 0,
            is_immediate: true,
            times: None,
        }
    }

    /// The thread of a connection sleeps in a receive call, where nobody can wake it to send what the socket
    /// does not take, only while it is settled.
    #[test]
    fn a_connection_is_not_settled_while_a_worker_holds_its_last_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = Arc::new(listener.accept().unwrap().0);
        let window = Arc::new(CommandWindow::new(1, 8));
        let sender = Sender::new(&Parameters::default(), Arc::clone(&window), 1);
        let outbox = Outbox::new(Arc::clone(&socket), sender, true).unwrap();
        let now = Instant::now();
        let tags = Arc::new(LiveTags::new(now));
        let connection = Connection::new(socket);
        connection.enter_full_feature(FullFeature { outbox, window, tags: Arc::clone(&tags) });
        let full = connection.full().unwrap();
        full.outbox.uncork();
        assert!(full.is_settled(0));

        tags.take(7, true, tags.stamp(now)).unwrap();
        assert!(!full.is_settled(0), "a task is out");
        assert!(full.is_settled(1), "its data is still to come");
        connection.hold();
        connection.task_done(&mut completion(7));
        assert!(tags.is_empty() && !full.is_settled(0), "its answer is held");
        connection.release();
        assert!(full.is_settled(0));
        let mut answer = [0; 48];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!((answer[0], answer[19]), (0x21, 7));

        full.outbox.abandon();
        tags.take(8, true, tags.stamp(now)).unwrap();
        connection.task_done(&mut completion(8));
        assert!(tags.is_empty() && full.is_settled(0), "nobody is answered any more");
    }
}
