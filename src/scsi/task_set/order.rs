//! The rules of the task set: which of two tasks waits for the other.

use crate::scsi::TaskAttribute;
use crate::scsi::task_set::Entry;

/// Whether younger tasks may have to wait for it because of its attribute.
pub(super) fn is_barrier(entry: &Entry) -> bool {
    matches!(entry.place.attribute(), Some(TaskAttribute::Ordered | TaskAttribute::HeadOfQueue))
}

/// Whether the older task holds the newer one up.
pub(super) fn blocks(older: &Entry, newer: &Entry, per_nexus: bool) -> bool {
    keeps(older, newer) || by_attribute(older, newer, per_nexus)
}

/// What holds up a newcomer even when the older task is a fence: blocks, and the reservations.
pub(super) fn keeps(older: &Entry, newer: &Entry) -> bool {
    by_extent(older, newer) || (older.place.is_exclusive() && newer.place.is_exclusive())
}

fn by_extent(older: &Entry, newer: &Entry) -> bool {
    (older.writes || newer.writes) && older.extent.overlaps(newer.extent)
}

/// Task attributes (SAM-5, 8.7).
pub(super) fn by_attribute(older: &Entry, newer: &Entry, per_nexus: bool) -> bool {
    if per_nexus && older.nexus != newer.nexus {
        return false;
    }
    match (older.place.attribute(), newer.place.attribute()) {
        (None, _) | (_, None) => false,
        (_, Some(TaskAttribute::HeadOfQueue)) => false,
        (_, Some(TaskAttribute::Ordered)) => true,
        (Some(older), _) => matches!(older, TaskAttribute::Ordered | TaskAttribute::HeadOfQueue),
    }
}
