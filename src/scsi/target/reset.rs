//! LOGICAL UNIT RESET and the resets of a target.

use std::sync::Arc;

use crate::backstore::gate::Gate;
use crate::notice::Notice;
use crate::scsi::device::Device;
use crate::scsi::management::PendingFunction;
use crate::scsi::nexus::Nexus;
use crate::scsi::sense::Sense;
use crate::scsi::target::{Tell, abort};
use crate::scsi::task_set::Selector;

/// LOGICAL UNIT RESET (SAM-5, 7.7): every task aborted, RESERVE and PREVENT gone, saved mode parameters
/// back, a unit attention for every nexus, the sender's included.
pub(super) fn reset_unit(device: &Arc<Device>, by: u64, pending: &Arc<PendingFunction>) {
    abort(device, Selector::All, by, Tell::Reset, Some(pending));
    let cached = {
        let mut state = device.state();
        state.reservations.reset();
        state.prevented.clear();
        let had_cache = state.mode.write_cache_enabled;
        state.mode = state.saved_mode;
        device.attention(Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED, None);
        state.gate.clone().filter(|_| had_cache && !state.mode.write_cache_enabled)
    };
    if let Some(gate) = cached {
        flush_for(device, gate, pending);
    }
    for itl in device.itls() {
        itl.copies().reset();
    }
    device.dispatcher().notice(&Notice::UnitReset { device: device.name() });
}

/// A unit shows no write cache any more: `pending` waits for what was answered out of it (SBC-3, 6.5.5).
fn flush_for(device: &Arc<Device>, gate: Arc<Gate>, pending: &Arc<PendingFunction>) {
    pending.one_more();
    let (own, pending) = (Arc::clone(device), Arc::clone(pending));
    device.dispatcher().background(Box::new(move || {
        if let Err(error) = gate.flush() {
            own.dispatcher().notice(&Notice::BackstoreFailed { device: own.name(), error: &error });
        }
        pending.one_done();
    }));
}

pub(super) fn reset_target(nexus: &Arc<Nexus>, pending: &Arc<PendingFunction>) {
    let map = nexus.map();
    let mut done: Vec<*const Device> = Vec::new();
    for entry in map.entries() {
        if !done.contains(&Arc::as_ptr(&entry.device)) {
            done.push(Arc::as_ptr(&entry.device));
            reset_unit(&entry.device, nexus.id, pending);
        }
    }
}
