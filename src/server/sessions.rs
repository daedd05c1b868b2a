//! The sessions that exist, by TSIH, and their reinstatement (RFC 7143 6.3.5).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use crate::iscsi::attachment::CloseReason;
use crate::iscsi::attachment::SessionControl;
use crate::iscsi::send::Outgoing;
use crate::notice::Ends;
use crate::scsi::nexus::Nexus;
use crate::scsi::target;
use crate::server::nagle::Statistics;

/// Most sessions at once; another login is answered with 0302h, out of resources.
pub const SESSION_LIMIT: usize = 16384;

/// Ends the connection of a session. Implemented by the connection; must not block.
pub trait Closer: SessionControl {
    /// Sends a PDU to the initiator.
    fn send(&self, outgoing: &Outgoing);
    /// Tag and time of the oldest command that has no answer yet.
    fn oldest(&self) -> Option<(u32, Instant)>;
}

/// A session in full feature phase.
pub struct Session {
    /// Unique in the process.
    pub id: u64,
    /// Target session identifying handle.
    pub tsih: u16,
    /// Connection identifier of its connection.
    pub cid: u16,
    /// Target name; empty for a discovery session.
    pub target: String,
    /// Initiator name.
    pub initiator: String,
    /// Initiator session identifier.
    pub isid: [u8; 6],
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The portal's address.
    pub portal: SocketAddr,
    /// When it was opened.
    pub opened: Instant,
    /// Its I_T nexus; none for a discovery session.
    pub nexus: Option<Arc<Nexus>>,
    /// How its answers shared segments, and what looking for requests brought.
    pub statistics: Statistics,
    closer: Arc<dyn Closer>,
}

/// What a new session is made of.
pub struct NewSession {
    /// The TSIH of the session whose connection it reinstates, which stays; 0 for a new one.
    pub tsih: u16,
    /// Connection identifier.
    pub cid: u16,
    /// Target name; empty for a discovery session.
    pub target: String,
    /// Initiator name.
    pub initiator: String,
    /// Initiator session identifier.
    pub isid: [u8; 6],
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The portal's address.
    pub portal: SocketAddr,
    /// Ends its connection.
    pub closer: Arc<dyn Closer>,
}

impl Session {
    /// Ends the session: its connection is closed, its tasks are aborted.
    pub fn close(&self, reason: CloseReason) {
        self.closer.close(reason);
        if let Some(nexus) = &self.nexus {
            target::nexus_lost(nexus);
        }
    }

    /// Sends a PDU to the initiator.
    pub fn send(&self, outgoing: &Outgoing) {
        self.closer.send(outgoing);
    }

    /// Tag and time of the oldest command that has no answer yet.
    pub fn oldest(&self) -> Option<(u32, Instant)> {
        self.closer.oldest()
    }

    /// Who the session is between.
    pub fn ends(&self) -> Ends<'_> {
        Ends { session: self.id, initiator: &self.initiator, target: &self.target, peer: self.peer }
    }

    fn is_same_nexus(&self, new: &NewSession) -> bool {
        !self.target.is_empty()
            && self.isid == new.isid
            && self.initiator == new.initiator
            && self.target == new.target
    }
}

#[derive(Default)]
struct Table {
    by_tsih: HashMap<u16, Arc<Session>>,
    last_tsih: u16,
}

impl Table {
    /// The TSIH that is wanted, if it is free, or another that is.
    fn tsih(&mut self, wanted: u16) -> u16 {
        let is_free = |tsih: u16| tsih != 0 && !self.by_tsih.contains_key(&tsih);
        if is_free(wanted) {
            return wanted;
        }
        let mut tsih = self.last_tsih.wrapping_add(1);
        while !is_free(tsih) {
            tsih = tsih.wrapping_add(1);
        }
        self.last_tsih = tsih;
        tsih
    }
}

/// The table of sessions.
#[derive(Default)]
pub struct Sessions {
    table: Mutex<Table>,
    last_id: AtomicU64,
}

/// Why a session was not opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenError {
    /// [`SESSION_LIMIT`] is reached, or the target's own limit.
    TooMany,
}

impl Sessions {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a nexus, never used again.
    pub fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Ends the session of the same initiator port with the same target, if there is one, and answers
    /// whether there was. Its tasks are gone, or fenced, when this returns.
    pub fn reinstate(&self, new: &NewSession) -> bool {
        let old: Vec<_> = {
            let mut table = self.table();
            let tsihs: Vec<u16> =
                table.by_tsih.values().filter(|s| s.is_same_nexus(new)).map(|s| s.tsih).collect();
            tsihs.iter().filter_map(|tsih| table.by_tsih.remove(tsih)).collect()
        };
        for session in &old {
            session.close(CloseReason::Reinstated);
        }
        !old.is_empty()
    }

    /// Whether a session with this TSIH belongs to this initiator port and target.
    pub fn find(&self, tsih: u16, initiator: &str, isid: [u8; 6], target: &str) -> Option<Arc<Session>> {
        let session = self.table().by_tsih.get(&tsih).cloned()?;
        let same = session.initiator == initiator && session.isid == isid && session.target == target;
        same.then_some(session)
    }

    /// Enters a session, of which its target may have `most`; 0 for any number. Logins come at once, so they
    /// are counted here, and one of the same initiator port that came in meanwhile ends.
    pub fn open(
        &self,
        new: NewSession,
        id: u64,
        nexus: Option<Arc<Nexus>>,
        most: usize,
    ) -> Result<Arc<Session>, OpenError> {
        let mut table = loop {
            let mut table = self.table();
            let raced = table.by_tsih.values().find(|other| other.is_same_nexus(&new)).map(|s| s.tsih);
            let Some(raced) = raced.and_then(|tsih| table.by_tsih.remove(&tsih)) else { break table };
            drop(table);
            raced.close(CloseReason::Reinstated);
        };
        let of_target = || table.by_tsih.values().filter(|session| session.target == new.target).count();
        if table.by_tsih.len() >= SESSION_LIMIT || (most > 0 && of_target() >= most) {
            return Err(OpenError::TooMany);
        }
        let tsih = table.tsih(new.tsih);
        let session = Arc::new(Session {
            id,
            tsih,
            cid: new.cid,
            target: new.target,
            initiator: new.initiator,
            isid: new.isid,
            peer: new.peer,
            portal: new.portal,
            opened: Instant::now(),
            nexus,
            statistics: Statistics::default(),
            closer: new.closer,
        });
        table.by_tsih.insert(tsih, Arc::clone(&session));
        Ok(session)
    }

    /// Takes a session out, unless another has its TSIH by now.
    pub fn remove(&self, session: &Arc<Session>) {
        let mut table = self.table();
        if table.by_tsih.get(&session.tsih).is_some_and(|other| Arc::ptr_eq(other, session)) {
            table.by_tsih.remove(&session.tsih);
        }
    }

    /// All sessions, oldest first.
    pub fn all(&self) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = self.table().by_tsih.values().cloned().collect();
        all.sort_by_key(|session| session.id);
        all
    }
}
