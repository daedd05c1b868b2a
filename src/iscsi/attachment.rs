//! What a session that has logged in gets from those who know the targets: its logical units. And what they
//! get from it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::iscsi::directory::{Directory, Query};
use crate::iscsi::key::Values;
use crate::iscsi::login::SessionRequest;
use crate::iscsi::login_error::LoginStatus;
use crate::iscsi::parameters::Parameters;
use crate::notice::Notice;
use crate::scsi::device::Device;
use crate::scsi::nexus::{LunMap, Nexus};
use crate::sys::thread::CpuSet;

/// The units of a new session and its place at the target.
pub struct Attachment {
    /// The units it sees.
    pub map: Arc<LunMap>,
    /// RELATIVE TARGET PORT IDENTIFIER.
    pub relative_identifier: u16,
    /// Answers at LUNs that are not there ([`crate::scsi::device::DeviceType::Absent`]).
    pub absent: Arc<Device>,
    /// Answers at the REPORT LUNS well known LUN.
    pub well_known: Arc<Device>,
    /// Processors that its thread may run on; all without.
    pub processors: Option<CpuSet>,
    /// Most sessions that the target may have, this one included (MaxSessions); 0 for any number.
    pub most_sessions: usize,
}

/// Why the target itself ends a session; the word goes to the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The same initiator port logged in again (RFC 7143 6.3.5).
    Reinstated,
    /// The administrator closed it.
    Kicked,
    /// Its target was disabled or deleted.
    TargetGone,
    /// The daemon is stopping.
    Stopping,
    /// An initiator had the target reset, which ends its sessions (RFC 7143 11.5.1).
    ColdReset,
}

impl CloseReason {
    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            CloseReason::Reinstated => "reinstated by a new login",
            CloseReason::Kicked => "closed by the administrator",
            CloseReason::TargetGone => "target disabled or deleted",
            CloseReason::Stopping => "the daemon is stopping",
            CloseReason::ColdReset => "TARGET COLD RESET",
        }
    }
}

/// What can be asked of a session while it lives. Implemented by its connection; must not block.
pub trait SessionControl: Send + Sync {
    /// Ends the connection; its thread notices.
    fn close(&self, reason: CloseReason);
    /// The target's values of the keys have changed; those that are not negotiated take effect.
    fn update(&self, values: &Values);
}

/// A normal session in full feature phase.
#[derive(Clone)]
pub struct LiveSession {
    /// Its nexus.
    pub nexus: Arc<Nexus>,
    /// Target session identifying handle.
    pub tsih: u16,
    /// Connection identifier of its connection.
    pub cid: u16,
    /// Our end of the connection.
    pub portal: SocketAddr,
    /// The initiator's end.
    pub peer: SocketAddr,
    /// What was agreed.
    pub parameters: Parameters,
    /// Thread that serves the connection, as the operating system knows it.
    pub thread: u32,
    /// What can be asked of it.
    pub control: Arc<dyn SessionControl>,
}

/// Those who know targets and their units. Calls are look-ups that must not block.
pub trait Host: Directory + Send + Sync {
    /// A normal session is about to open. Whatever could refuse it, such as units that are gone, does it
    /// here; only sessions are counted when it opens, for others may open at the same time.
    fn attach(&self, request: &SessionRequest, query: &Query<'_>) -> Result<Attachment, LoginStatus>;

    /// The session is open: from now on its map must be kept up to date with [`Nexus::set_map`].
    fn opened(&self, session: LiveSession);

    /// The session is over.
    fn closed(&self, nexus: &Arc<Nexus>);

    /// Something has happened that an administrator wants to hear of.
    fn notice(&self, _notice: &Notice<'_>) {}
}
