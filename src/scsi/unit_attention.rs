//! Unit attention conditions of one I_T_L nexus (SAM-5, 5.14): queued, reported once, by precedence.

use crate::scsi::sense::Sense;

/// Most conditions kept; identical ones are kept once, so this is more than there are kinds.
pub const LIMIT: usize = 16;

/// Pending unit attentions, most important first.
#[derive(Debug, Default)]
pub struct UnitAttentions {
    queue: Vec<Sense>,
}

/// Lower is reported earlier. Power on and reset outrank everything (SAM-5, 5.14.3) and clear what they
/// imply; a changed LUN inventory comes before changes of a unit.
fn rank(sense: &Sense) -> u8 {
    match sense.code >> 8 {
        0x29 => 0,
        0x3f => 1,
        0x28 => 2,
        0x2a => 3,
        _ => 4,
    }
}

impl UnitAttentions {
    /// Adds a condition; one that is already queued is not queued twice, and after a reset the conditions
    /// that the reset implies (changed parameters, cleared commands) are not told one by one.
    pub fn establish(&mut self, sense: Sense) {
        if rank(&sense) == 0 {
            self.queue.retain(|queued| rank(queued) != 0 && sense_survives_reset(queued));
        }
        let known = self.queue.iter().any(|queued| queued.code == sense.code);
        if known || self.queue.len() >= LIMIT {
            return;
        }
        let at = self.queue.iter().position(|queued| rank(queued) > rank(&sense)).unwrap_or(self.queue.len());
        self.queue.insert(at, sense);
    }

    /// Takes the condition to report next.
    pub fn take(&mut self) -> Option<Sense> {
        if self.queue.is_empty() { None } else { Some(self.queue.remove(0)) }
    }

    /// Removes a condition that has become known another way, such as REPORT LUNS for 3F/0E.
    pub fn clear(&mut self, code: u16) {
        self.queue.retain(|queued| queued.code != code);
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// LUN inventory and identity changes are not implied by a reset.
fn sense_survives_reset(sense: &Sense) -> bool {
    rank(sense) == 1 || sense.code == Sense::CAPACITY_DATA_HAS_CHANGED.code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sam_5_14_reset_comes_first_and_clears_what_it_implies() {
        let mut queue = UnitAttentions::default();
        queue.establish(Sense::MODE_PARAMETERS_CHANGED);
        queue.establish(Sense::REPORTED_LUNS_DATA_HAS_CHANGED);
        queue.establish(Sense::REPORTED_LUNS_DATA_HAS_CHANGED);
        queue.establish(Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED);
        assert_eq!(queue.take().map(|s| s.code), Some(0x2900));
        assert_eq!(queue.take().map(|s| s.code), Some(0x3f0e));
        assert_eq!(queue.take(), None);
        assert!(queue.is_empty());
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut queue = UnitAttentions::default();
        for qualifier in 0..100 {
            queue.establish(Sense { code: 0x2a00 + qualifier, ..Sense::MODE_PARAMETERS_CHANGED });
        }
        assert_eq!(std::iter::from_fn(|| queue.take()).count(), LIMIT);
    }
}
