//! What a session that has logged in gets from those who know the targets: its logical units.

use std::sync::Arc;

use crate::iscsi::directory::{Directory, Query};
use crate::iscsi::login::SessionRequest;
use crate::iscsi::login_error::LoginStatus;
use crate::notice::Notice;
use crate::scsi::device::Device;
use crate::scsi::nexus::{LunMap, Nexus};

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
}

/// Those who know targets and their units. Calls are look-ups that must not block.
pub trait Host: Directory + Send + Sync {
    /// A normal session is about to open. Whatever could refuse it (units gone, MaxSessions) does it here;
    /// `sessions` is how many the target has now, without one that is being reinstated.
    fn attach(
        &self,
        request: &SessionRequest,
        query: &Query<'_>,
        sessions: usize,
    ) -> Result<Attachment, LoginStatus>;

    /// The session is open: from now on its map must be kept up to date with [`Nexus::set_map`].
    fn opened(&self, nexus: &Arc<Nexus>);

    /// The session is over.
    fn closed(&self, nexus: &Arc<Nexus>);

    /// Something has happened that an administrator wants to hear of.
    fn notice(&self, _notice: &Notice<'_>) {}
}
