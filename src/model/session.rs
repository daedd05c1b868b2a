//! Sessions as objects of the tree: what was negotiated, counters, and the order to close.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::attr::{Access, Attr, Kind, Saved};
use crate::iscsi::attachment::{CloseReason, LiveSession};
use crate::model::object::Scope;
use crate::scsi::itl::Itl;

/// Sums of counters over the units of a session, or over the sessions of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Commands without data, to the initiator, from the initiator.
    pub commands: [u64; 3],
    /// Bytes to and from the initiator.
    pub bytes: [u64; 2],
    /// Commands to and from the initiator whose blocks are no whole pieces of 4 KiB.
    pub unaligned: [u64; 2],
    /// They are those of one session, which can be reset.
    pub of_session: bool,
}

impl Totals {
    fn of(itls: &[Arc<Itl>]) -> Self {
        let mut totals = Totals { of_session: true, ..Totals::default() };
        for itl in itls {
            let (commands, bytes, unaligned) = itl.counters.moved();
            totals.add(&Totals { commands, bytes, unaligned, of_session: true });
        }
        totals
    }

    fn figures(&mut self) -> impl Iterator<Item = &mut u64> {
        self.commands.iter_mut().chain(&mut self.bytes).chain(&mut self.unaligned)
    }

    fn since(mut self, base: &Totals) -> Self {
        let mut base = *base;
        self.figures().zip(base.figures()).for_each(|(own, base)| *own = own.saturating_sub(*base));
        self
    }

    /// Adds the counters of another session.
    pub fn add(&mut self, other: &Totals) {
        let mut other = *other;
        self.figures().zip(other.figures()).for_each(|(own, more)| *own = own.wrapping_add(*more));
    }
}

/// A session.
pub struct SessionObject {
    /// Its name in the tree: the initiator's, with `_1`, `_2` and so on when that is taken.
    pub name: String,
    /// Target.
    pub target: String,
    /// What patterns of groups are compared with.
    pub subject: String,
    /// The session itself.
    pub live: LiveSession,
    /// The map that it was shown last.
    pub(super) shown: Mutex<Option<Scope>>,
    /// Counters as they were when somebody reset them.
    base: Mutex<Totals>,
}

impl SessionObject {
    pub(super) fn new(name: String, target: String, subject: String, live: LiveSession) -> Self {
        SessionObject { name, target, subject, live, shown: Mutex::default(), base: Mutex::default() }
    }

    /// Counters since they were reset.
    pub fn totals(&self) -> Totals {
        Totals::of(&self.live.nexus.itls()).since(&self.base.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn reset(&self, commands: &[usize], bytes: &[usize]) {
        let now = Totals::of(&self.live.nexus.itls());
        let mut base = self.base.lock().unwrap_or_else(PoisonError::into_inner);
        commands.iter().for_each(|at| base.commands[*at] = now.commands[*at]);
        bytes.iter().for_each(|at| base.bytes[*at] = now.bytes[*at]);
        bytes.iter().for_each(|at| base.unaligned[*at] = now.unaligned[*at]);
    }

    /// Commands that are not finished.
    pub fn in_flight(&self) -> u32 {
        let itls = self.live.nexus.itls();
        itls.iter().map(|itl| itl.in_flight()).sum()
    }

    /// A line for each unit where it has commands.
    pub fn busy_units(&self) -> Vec<String> {
        let busy = |itl: &Arc<Itl>| {
            let count = itl.in_flight();
            (count > 0).then(|| format!("{} {} {} {count}", self.name, itl.lun, itl.device.name()))
        };
        self.live.nexus.itls().iter().filter_map(busy).collect()
    }

    /// Name of the directory of its connection: the initiator's address.
    pub fn connection(&self) -> String {
        match self.live.peer {
            std::net::SocketAddr::V4(peer) => peer.ip().to_string(),
            std::net::SocketAddr::V6(peer) => format!("[{}]", peer.ip()),
        }
    }

    /// Ends the session.
    pub fn close(&self, reason: CloseReason) {
        self.live.control.close(reason);
    }
}

/// The sessions that exist.
#[derive(Default)]
pub(super) struct Sessions {
    by_id: BTreeMap<u64, Arc<SessionObject>>,
    by_name: BTreeMap<(String, String), u64>,
}

impl Sessions {
    /// Enters a session under the first name that is free.
    pub(super) fn open(&mut self, target: &str, subject: &str, live: LiveSession) -> Arc<SessionObject> {
        let id = live.nexus.id;
        let names =
            std::iter::once(subject.to_owned()).chain((1..u32::MAX).map(|n| format!("{subject}_{n}")));
        let is_free = |name: &String| !self.by_name.contains_key(&(target.to_owned(), name.clone()));
        let name = names.into_iter().find(is_free).unwrap_or_default();
        self.by_name.insert((target.to_owned(), name.clone()), id);
        let session = Arc::new(SessionObject::new(name, target.to_owned(), subject.to_owned(), live));
        self.by_id.insert(id, Arc::clone(&session));
        session
    }

    pub(super) fn close(&mut self, id: u64) {
        if let Some(session) = self.by_id.remove(&id) {
            self.by_name.remove(&(session.target.clone(), session.name.clone()));
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<SessionObject>> {
        self.by_id.values()
    }

    pub(super) fn of<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a Arc<SessionObject>> {
        let from = (target.to_owned(), String::new());
        let own = self.by_name.range(from..).take_while(move |((own, _), _)| own == target);
        own.filter_map(|(_, id)| self.by_id.get(id))
    }

    pub(super) fn find(&self, target: &str, name: &str) -> Option<&Arc<SessionObject>> {
        self.by_id.get(self.by_name.get(&(target.to_owned(), name.to_owned()))?)
    }
}

type Row = Attr<Arc<SessionObject>>;

fn yes(value: bool) -> String {
    String::from(if value { "Yes" } else { "No" })
}

fn digest(is_on: bool) -> String {
    String::from(if is_on { "CRC32C" } else { "None" })
}

macro_rules! shown {
    ($name:literal $help:literal, |$s:ident| $value:expr) => {
        Attr {
            name: $name,
            kind: Kind::Text(4095),
            access: Access::ReadOnly,
            saved: Saved::Never,
            help: $help,
            get: |$s| $value,
            ..Attr::ROW
        }
    };
}

macro_rules! counter {
    ($name:literal $help:literal, |$t:ident| $value:expr) => {
        Attr {
            name: $name,
            kind: Kind::Trigger,
            access: Access::ReadOnly,
            here: |t, access| Some(if t.of_session { Access::ReadWrite } else { access }),
            saved: Saved::Never,
            help: $help,
            get: |$t| $value.to_string(),
            ..Attr::ROW
        }
    };
}

/// Counters, of a session or of all sessions of a target.
pub static COUNTERS: &[Attr<Totals>] = &[
    counter!("unknown_cmd_count" "commands whose direction is not known", |_t| 0),
    counter!("write_cmd_count" "commands that sent data", |t| t.commands[2]),
    counter!("write_io_count_kb" "KiB that commands sent", |t| t.bytes[1] >> 10),
    counter!("write_unaligned_cmd_count"
        "commands that sent data whose blocks begin or end at no multiple of 4 KiB", |t| t.unaligned[1]),
    counter!("read_cmd_count" "commands that received data", |t| t.commands[1]),
    counter!("read_io_count_kb" "KiB that commands received", |t| t.bytes[0] >> 10),
    counter!("read_unaligned_cmd_count"
        "commands that received data whose blocks begin or end at no multiple of 4 KiB", |t| t.unaligned[0]),
    counter!("bidi_cmd_count" "commands that sent and received data; there are none", |_t| 0),
    counter!("bidi_io_count_kb" "KiB of commands that sent and received data", |_t| 0),
    counter!("bidi_unaligned_cmd_count" "of those, such that begin or end at no multiple of 4 KiB", |_t| 0),
    counter!("none_cmd_count" "commands without data", |t| t.commands[0]),
];

/// What a write to a counter of a session resets: places among the commands, and among the bytes.
pub(super) fn reset(session: &SessionObject, name: &str) {
    match name.split('_').next() {
        Some("write") => session.reset(&[2], &[1]),
        Some("read") => session.reset(&[1], &[0]),
        Some("none") => session.reset(&[0], &[]),
        _ => {}
    }
}

/// Attributes of sessions, besides [`COUNTERS`].
pub static ATTRIBUTES: &[Row] = &[
    shown!("initiator_name" "name of the initiator", |s| s.live.nexus.initiator.name.clone()),
    shown!("commands" "commands that exist", |s| s.in_flight().to_string()),
    shown!("active_commands" "commands at devices", |s| s.in_flight().to_string()),
    shown!("sid" "session identifier: TSIH and ISID", |s| {
        let isid = s.live.nexus.initiator.isid.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        format!("{:x}", u64::from(s.live.tsih) << 48 | isid)
    }),
    shown!("reinstating" "it is about to be replaced", |s| u8::from(s.live.nexus.is_lost()).to_string()),
    shown!("InitialR2T" "as negotiated", |s| yes(s.live.parameters.initial_r2t)),
    shown!("ImmediateData" "as negotiated", |s| yes(s.live.parameters.immediate_data)),
    shown!("MaxRecvDataSegmentLength" "what the target receives", |s| {
        s.live.parameters.max_recv_data_segment_length.to_string()
    }),
    shown!("MaxXmitDataSegmentLength" "what the target sends", |s| {
        s.live.parameters.max_send_data_segment_length.to_string()
    }),
    shown!("MaxBurstLength" "as negotiated", |s| s.live.parameters.max_burst_length.to_string()),
    shown!("FirstBurstLength" "as negotiated", |s| s.live.parameters.first_burst_length.to_string()),
    shown!("MaxOutstandingR2T" "as negotiated", |s| s.live.parameters.max_outstanding_r2t.to_string()),
    shown!("HeaderDigest" "as negotiated", |s| digest(s.live.parameters.header_digest)),
    shown!("DataDigest" "as negotiated", |s| digest(s.live.parameters.data_digest)),
    shown!("thread_pid" "identifier of the thread that serves it", |s| s.live.thread.to_string()),
    Attr {
        name: "force_close",
        kind: Kind::Trigger,
        access: Access::WriteOnly,
        saved: Saved::Never,
        help: "closes the session",
        ..Attr::ROW
    },
];

/// Attributes of the connection of a session.
pub static CONNECTION: &[Row] = &[
    shown!("cid" "connection identifier", |s| s.live.cid.to_string()),
    shown!("ip" "address of the initiator", |s| s.connection()),
    shown!("target_ip" "address of the portal", |s| s.live.portal.ip().to_string()),
    shown!("state" "what it is doing", |s| {
        String::from(if s.live.nexus.is_lost() { "closing" } else { "established idle " })
    }),
    shown!("transport" "what carries it", |_s| "iSCSI-TCP".to_owned()),
];

/// Attributes of a unit that a session sees, which it may not have used yet.
pub static LUN_ATTRIBUTES: &[Attr<Option<Arc<Itl>>>] = &[
    shown!("active_commands" "commands at the device", |itl| {
        let itl = itl.as_ref();
        itl.map_or(0, |itl| itl.in_flight()).to_string()
    }),
    shown!("thread_index" "number of the pool of threads; -1 for the common one", |_itl| "-1".to_owned()),
    shown!("thread_pid" "threads of the device's own; there are none", |_itl| String::new()),
];

impl SessionObject {
    /// The LUNs that it sees, as a link of its directory says (SCST 1.9.1).
    pub fn luns_link(scope: &Scope) -> String {
        match &scope.group {
            None => "../../luns".to_owned(),
            Some(group) => format!("../../ini_groups/{group}/luns"),
        }
    }
}
