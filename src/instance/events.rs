//! Events on their way to the host: queued where they happen, told on a thread of their own.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::notice::{Ends, Notice};
use crate::sys::thread::spawn;

/// Events that wait to be told; more are dropped and counted in [`Event::lost`].
pub const EVENT_LIMIT: usize = 4096;
/// Stack of the thread that tells them, in bytes.
const STACK_BYTES: usize = 256 * 1024;

/// What has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// An initiator has logged in.
    SessionOpened,
    /// A session is over.
    SessionClosed,
    /// A login did not succeed.
    LoginRefused,
    /// A unit was reset by task management.
    UnitReset,
    /// A unit has another size.
    CapacityChanged,
    /// A backstore did not do what it was asked.
    BackstoreFailed,
}

/// An event. What does not apply to its kind is empty, `None` or 0.
#[derive(Clone, Debug)]
pub struct Event {
    /// What has happened.
    pub kind: EventKind,
    /// Number of the session.
    pub session: u64,
    /// Initiator name.
    pub initiator: String,
    /// Target name; empty for a discovery session.
    pub target: String,
    /// The initiator's address.
    pub peer: Option<SocketAddr>,
    /// Name of the device.
    pub device: String,
    /// New size in bytes.
    pub bytes: u64,
    /// Why, in words.
    pub text: String,
    /// Events that were dropped before this one, because nobody took them in time.
    pub lost: u64,
}

impl Event {
    fn new(kind: EventKind) -> Self {
        Event {
            kind,
            session: 0,
            initiator: String::new(),
            target: String::new(),
            peer: None,
            device: String::new(),
            bytes: 0,
            text: String::new(),
            lost: 0,
        }
    }

    fn of_session(kind: EventKind, ends: &Ends<'_>) -> Self {
        Event {
            session: ends.session,
            initiator: ends.initiator.to_owned(),
            target: ends.target.to_owned(),
            peer: Some(ends.peer),
            ..Event::new(kind)
        }
    }

    fn of_device(kind: EventKind, device: &str) -> Self {
        Event { device: device.to_owned(), ..Event::new(kind) }
    }
}

impl From<&Notice<'_>> for Event {
    fn from(notice: &Notice<'_>) -> Self {
        match *notice {
            Notice::SessionOpened(ref ends) => Event::of_session(EventKind::SessionOpened, ends),
            Notice::SessionClosed(ref ends, reason) => {
                Event { text: reason.to_string(), ..Event::of_session(EventKind::SessionClosed, ends) }
            }
            Notice::LoginRefused { peer, reason } => {
                Event { peer: Some(peer), text: reason.to_string(), ..Event::new(EventKind::LoginRefused) }
            }
            Notice::UnitReset { device } => Event::of_device(EventKind::UnitReset, device),
            Notice::CapacityChanged { device, bytes } => {
                Event { bytes, ..Event::of_device(EventKind::CapacityChanged, device) }
            }
            Notice::BackstoreFailed { device, error } => {
                Event { text: error.to_string(), ..Event::of_device(EventKind::BackstoreFailed, device) }
            }
        }
    }
}

/// Takes events. Called on one thread, one after the other.
pub type EventSink = Box<dyn Fn(&Event) + Send + Sync>;

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    lost: u64,
    is_over: bool,
}

/// The events of an instance.
pub struct Events {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Events {
    /// Starts the thread that tells them to `sink`; it ends after [`Events::end`].
    pub(super) fn start(sink: EventSink) -> io::Result<Arc<Self>> {
        let events = Arc::new(Events { waiting: Mutex::default(), changed: Condvar::new() });
        let own = Arc::clone(&events);
        spawn("scstu-events".into(), STACK_BYTES, move || own.run(&sink))?;
        Ok(events)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event.
    pub fn tell(&self, notice: &Notice<'_>) {
        let event = Event::from(notice);
        let mut waiting = self.lock();
        if waiting.is_over {
            return;
        }
        if waiting.events.len() >= EVENT_LIMIT {
            waiting.lost += 1;
            return;
        }
        let lost = std::mem::take(&mut waiting.lost);
        waiting.events.push_back(Event { lost, ..event });
        self.changed.notify_one();
    }

    /// No more events; those that wait are still told.
    pub fn end(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    fn run(&self, sink: &EventSink) {
        let mut waiting = self.lock();
        loop {
            if let Some(event) = waiting.events.pop_front() {
                drop(waiting);
                sink(&event);
                waiting = self.lock();
            } else if waiting.is_over {
                return;
            } else {
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
