//! The session that SCST's copy manager has with its own target (SCST 1.11): the copies that are made.

use std::sync::Arc;

use crate::attr::{Access, Attr, Kind, Saved};
use crate::model::Configuration;
use crate::scsi::device::Device;

/// Its name, and that of its initiator.
pub const NAME: &str = "copy_manager_sess";

/// The session, or one LUN of it: the units that copies are asked of.
pub struct CopySession(Vec<Arc<Device>>);

impl CopySession {
    /// The whole session.
    pub fn whole(configuration: &Configuration) -> Self {
        CopySession(configuration.devices.values().map(|object| Arc::clone(&object.device)).collect())
    }

    /// A LUN, if there is such a one.
    pub fn lun(configuration: &Configuration, lun: u16) -> Option<Self> {
        let (_, object) = configuration.copy_device(lun)?;
        Some(CopySession(vec![Arc::clone(&object.device)]))
    }

    fn copies(&self) -> usize {
        let all = self.0.iter().flat_map(|device| device.long_work());
        all.filter(|work| work.what == "copy").count()
    }
}

const SHOWN: Attr<CopySession> =
    Attr { kind: Kind::Text(4095), access: Access::ReadOnly, saved: Saved::Never, ..Attr::ROW };

/// Attributes of the session.
pub static ATTRIBUTES: &[Attr<CopySession>] = &[
    Attr { name: "initiator_name", help: "its own name", get: |_| NAME.to_owned(), ..SHOWN },
    Attr { name: "commands", help: "copies that are made", get: |own| own.copies().to_string(), ..SHOWN },
    Attr {
        name: "active_commands",
        help: "copies that are made",
        get: |own| own.copies().to_string(),
        ..SHOWN
    },
];

/// Attributes of one of its LUNs.
pub static LUN_ATTRIBUTES: &[Attr<CopySession>] = &[
    Attr {
        name: "active_commands",
        help: "copies that this unit was told to make",
        get: |own| own.copies().to_string(),
        ..SHOWN
    },
    Attr {
        name: "thread_index",
        help: "number of the pool of threads; -1 for the common one",
        get: |_| "-1".to_owned(),
        ..SHOWN
    },
    Attr { name: "thread_pid", help: "threads of the device's own; there are none", ..SHOWN },
];
