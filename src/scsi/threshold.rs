//! Thin provisioning thresholds (SBC-3, 4.7.3.7): how much a thin unit has left, in threshold sets, and the
//! unit attention when that falls below what the administrator has set.

use crate::backstore::Capabilities;
use crate::backstore::gate::Gate;
use crate::scsi::device::Device;
use crate::scsi::ops::same::is_thin;
use crate::scsi::sense::Sense;

/// Bytes of a threshold set.
const SET_BYTES: u64 = 1 << 20;

/// THRESHOLD EXPONENT: a set has 2 to the power of it blocks. 0 where nobody knows what is left.
pub(crate) fn exponent(device: &Device) -> u8 {
    if !is_offered(device) {
        return 0;
    }
    let block = u64::from(device.geometry().block_size).max(1);
    u8::try_from((SET_BYTES / block).max(1).ilog2()).unwrap_or(0)
}

/// Whether the unit can tell what it has left.
pub(crate) fn is_offered(device: &Device) -> bool {
    is_thin(device) && device.capabilities().contains(Capabilities::SPACE)
}

/// A number of bytes in threshold sets, as the four-byte fields have it.
pub(crate) fn sets(bytes: u64) -> u32 {
    u32::try_from(bytes / SET_BYTES).unwrap_or(u32::MAX)
}

/// Passes the threshold on to the medium that is there now.
pub(crate) fn arm(device: &Device) {
    let threshold = u64::from(device.settings().soft_threshold_mb) << 20;
    let offered = is_offered(device);
    if let Some(gate) = device.gate() {
        gate.watch.set(if offered { threshold } else { 0 });
    }
}

/// After a write: tells every nexus if it took what is left below the threshold (38/07).
#[inline]
pub(crate) fn tell(device: &Device, gate: &Gate) {
    if gate.watch.take_news() {
        device.attention(Sense::THIN_PROVISIONING_SOFT_THRESHOLD_REACHED, None);
    }
}
