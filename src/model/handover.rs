//! A medium that is to be open once at a time passes from a device that goes to one that comes, in one list.
//!
//! It is closed before the new device opens it, and so before the list is known to be right. If the list
//! fails, the device that was to go has it again: opened anew, or as it was where something used it still.

use std::sync::{Arc, PoisonError, Weak};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::attr::Error;
use crate::backstore::gate::Gate;
use crate::model::device::{DeviceConfig, DeviceObject};
use crate::model::{Configuration, Model};
use crate::scsi::device::{Device, MediumState};

/// How long commands that have begun may take to finish.
const LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A device that was closed for another.
struct Closed {
    device: Arc<Device>,
    /// What it had open, where that is in use.
    gate: Option<Arc<Gate>>,
}

/// What was closed for a list that is being made; opened again when this is dropped.
pub(super) struct Handover<'m> {
    model: &'m Model,
    closed: Vec<Closed>,
}

/// Closes the medium when nothing else uses it; gives it back if that is not to be in time.
fn close(gate: Arc<Gate>) -> Option<Arc<Gate>> {
    let until = Instant::now() + LIMIT;
    while Arc::strong_count(&gate) > 1 {
        if Instant::now() >= until {
            return Some(gate);
        }
        sleep(LOOK_EVERY);
    }
    None
}

impl<'m> Handover<'m> {
    pub(super) fn new(model: &'m Model) -> Self {
        Handover { model, closed: Vec::new() }
    }

    /// Closes what `new` is about to open, where a device has it that is gone by then.
    pub(super) fn make_way(&mut self, gone: &[Arc<DeviceObject>], new: &DeviceConfig) -> Result<(), Error> {
        let now = self.model.configuration();
        for device in gone.iter().map(|object| &object.device) {
            // As it is, whatever this list has changed of it before it went.
            let Some(own) = now.devices.get(device.name()) else { continue };
            if !Arc::ptr_eq(&own.device, device) || !own.config.excludes(new) {
                continue;
            }
            let Some(gate) = device.gate() else { continue };
            device.set_medium(None, MediumState::Closed);
            let gate = close(gate);
            let is_used = gate.is_some();
            self.closed.push(Closed { device: Arc::clone(device), gate });
            if is_used {
                let text = format!(
                    "device {} is closed before it is made anew, and its commands have not finished in {} s: \
                     end what uses it",
                    device.name(),
                    LIMIT.as_secs()
                );
                return Err(Error::new(libc::EBUSY, text));
            }
        }
        Ok(())
    }

    /// The list is right: what was closed stays closed.
    pub(super) fn is_done(&mut self) {
        self.closed.clear();
    }

    fn give_back(&self, Closed { device, gate }: Closed) {
        let mut next = Configuration::clone(&self.model.configuration());
        let Some(object) = next.devices.get_mut(device.name()).map(Arc::make_mut) else { return };
        let gate = gate.map_or_else(|| object.config.opened(), |gate| Ok(Some(gate)));
        let gate = gate.unwrap_or_else(|error| {
            log::error!("device {} cannot be opened again: {}", device.name(), error.text);
            object.config.active = false;
            None
        });
        object.config.gate = gate.as_ref().map_or_else(Weak::new, Arc::downgrade);
        device.set_medium(gate, MediumState::Closed);
        *self.model.configuration.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }
}

impl Drop for Handover<'_> {
    fn drop(&mut self) {
        for closed in std::mem::take(&mut self.closed).into_iter().rev() {
            self.give_back(closed);
        }
    }
}
