//! What a change does besides changing the configuration: kept back until the whole list of changes is known
//! to be right, then done in order.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::attr::Error;
use crate::backstore::BlockError;
use crate::backstore::gate::Gate;
use crate::iscsi::key::Values;
use crate::model::hold::Holds;
use crate::model::kept::Kept;
use crate::model::object::Scope;
use crate::model::session::SessionObject;
use crate::scsi::device::{Device, MediumState, Settings, StateError};
use crate::scsi::reservation::Reservations;
use crate::scsi::sense::Sense;

/// An effect.
#[derive(Clone)]
pub(super) enum Effect {
    /// The backing store gets another size. May fail.
    Resize { device: Arc<Device>, gate: Arc<Gate>, bytes: u64 },
    /// An attribute that the handler declares has another value. May fail.
    Declared { gate: Arc<Gate>, slot: usize, name: &'static str, before: String, now: String },
    /// The size of the backing store is read again. May fail.
    Resync(Arc<Device>),
    /// The backing store is flushed: last, when nobody waits for this list any more but who has made it. May
    /// fail, which undoes nothing.
    Flush(Arc<Device>),
    /// A medium comes, or goes.
    Medium { device: Arc<Device>, gate: Option<Arc<Gate>>, absent: MediumState },
    /// The unit's settings.
    Settings { device: Arc<Device>, settings: Settings },
    /// A unit attention for every nexus of a unit.
    Attention { device: Arc<Device>, sense: Sense },
    /// What one LUN shows has changed, and nobody shall be told.
    Silent { scope: Scope, lun: u16 },
    /// The sessions of a map end.
    CloseAll(Scope),
    /// A session ends.
    Close(Arc<SessionObject>),
    /// Commands of devices are held back: all devices without names, `devices` else. May fail.
    Hold { holds: Holds, devices: Option<Vec<Arc<Device>>>, limit: Option<Duration> },
    /// They are no longer. May fail.
    Release(Holds),
    /// Reservations of a unit, from text. May fail.
    Reservations { device: Arc<Device>, state: Box<Reservations> },
    /// Reservations of a unit are kept in another file, and `state` takes the place of what that holds. May
    /// fail.
    KeepReservations {
        device: Arc<Device>,
        kept: Arc<Kept>,
        path: Option<PathBuf>,
        state: Option<Box<Reservations>>,
    },
    /// Which messages are logged.
    Log(log::LevelFilter),
    /// The administrator is warned.
    Warn(String),
    /// Times of commands are measured, or no longer.
    Measure(bool),
    /// Times of a session's commands are forgotten.
    Forget(Arc<SessionObject>),
    /// Number of worker threads.
    Workers(usize),
    /// Values of the keys for the sessions of a target.
    Values { target: String, values: Box<Values> },
}

/// Effects of a row's `set`, until the model takes them. Copies of an object have none.
#[derive(Default)]
pub(super) struct Pending(Vec<Effect>);

impl Clone for Pending {
    fn clone(&self) -> Self {
        Pending::default()
    }
}

impl Pending {
    pub(super) fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    pub(super) fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.0)
    }
}

fn store_error(what: &str, error: BlockError) -> Error {
    let errno = match error {
        BlockError::Io(errno) => errno,
        BlockError::NoSpace => libc::ENOSPC,
        _ => libc::EINVAL,
    };
    Error::new(errno, format!("{what}: {error}"))
}

/// What a handler says of an attribute of its own, with its own errno.
fn declared_error(name: &str, error: BlockError) -> Error {
    match error {
        BlockError::ReadOnly => Error::new(libc::EROFS, format!("{name}: {error}")),
        BlockError::Unsupported => Error::new(libc::EOPNOTSUPP, format!("{name}: {error}")),
        other => store_error(name, other),
    }
}

/// Makes what was written durable.
pub(super) fn flush(device: &Device) -> Result<(), Error> {
    let Some(gate) = device.gate() else { return Ok(()) };
    gate.flush().map_err(|error| store_error("sync", error))
}

impl Effect {
    /// Does what may fail, and answers how to undo it. The rest waits for [`Effect::carry_out`].
    pub(super) fn attempt(&self) -> Result<Option<Effect>, Error> {
        match self {
            Effect::Resize { device, gate, bytes } => {
                let before = gate.geometry().bytes();
                gate.resize(*bytes).map_err(|error| store_error("size", error))?;
                let (device, gate) = (Arc::clone(device), Arc::clone(gate));
                Ok(Some(Effect::Resize { device, gate, bytes: before }))
            }
            Effect::Declared { gate, slot, name, before, now } => {
                gate.set_attribute(*slot, now).map_err(|error| declared_error(name, error))?;
                let (gate, before, now) = (Arc::clone(gate), now.clone(), before.clone());
                Ok(Some(Effect::Declared { gate, slot: *slot, name, before, now }))
            }
            Effect::Resync(device) => {
                let Some(gate) = device.gate() else { return Ok(None) };
                gate.resync().map_err(|error| store_error("resync_size", error))?;
                Ok(None)
            }
            Effect::Release(holds) => holds.remove().map(|()| None),
            Effect::Reservations { device, state } => {
                let failed = |errno| Error::new(errno, "pr_state: it could not be kept");
                device.restore_reservations(Reservations::clone(state)).map_err(failed)?;
                Ok(None)
            }
            Effect::KeepReservations { device, kept, path, state } => {
                let before = kept.keep_in(path.clone());
                let state = match state {
                    None => device.reload_reservations().map_err(|error| {
                        kept.keep_in(before.clone());
                        let errno =
                            if let StateError::Unreadable { errno, .. } = error { errno } else { libc::EIO };
                        Error::new(errno, format!("pr_file_name: {error}"))
                    })?,
                    Some(state) => {
                        let failed = |errno| Error::new(errno, "pr_file_name: it could not be kept");
                        device.restore_reservations(Reservations::clone(state)).map_err(failed)?;
                        return Ok(None);
                    }
                };
                let (device, kept) = (Arc::clone(device), Arc::clone(kept));
                Ok(Some(Effect::KeepReservations {
                    device,
                    kept,
                    path: before,
                    state: Some(Box::new(state)),
                }))
            }
            _ => Ok(None),
        }
    }

    /// Does what concerns one unit only and cannot fail.
    pub(super) fn carry_out(self) {
        match self {
            Effect::Resize { device, .. } | Effect::Resync(device) => {
                device.refresh_geometry();
            }
            Effect::Medium { device, gate, absent } => device.set_medium(gate, absent),
            Effect::Settings { device, settings } => device.change_settings(|own| *own = settings),
            Effect::Log(level) => log::set_max_level(level),
            Effect::Warn(text) => log::warn!("{text}"),
            Effect::Attention { device, sense } => device.attention(sense, None),
            _ => {}
        }
    }
}
