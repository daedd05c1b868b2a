//! Whether looking for input costs a connection more than sleeping does: tried out, one behind the other, in
//! processor time of its own thread for what it receives.
//!
//! What sleeping costs depends on the machine, most of all on whether it is a virtual one, and what looking
//! costs on how long the initiator takes: no number holds for all.

use std::time::Duration;

/// Waits of each of the two that are compared.
const TRIED: u32 = 16;
/// Waits from one comparison to the next: at first and when it has turned out otherwise, and at most.
const LENGTHS: (u32, u32) = (64, 16384);
/// Looking may cost so much of what sleeping costs, in parts of 100: it answers sooner.
const MOST: u128 = 110;
/// Looks in vain, one behind the other, that end it before the waits are over.
const IN_VAIN: u32 = 4;

/// What is done in the waits to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What was decided.
    Decided,
    /// It sleeps, for comparison.
    Asleep,
    /// It looks, for comparison.
    Awake,
}

/// What a thread has used and done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Processor time.
    pub time: Duration,
    /// PDUs received; may wrap.
    pub pdus: u32,
}

impl Figures {
    /// Nanoseconds for a PDU since `before`.
    fn each_since(self, before: Figures) -> u128 {
        let pdus = self.pdus.wrapping_sub(before.pdus).max(1);
        self.time.saturating_sub(before.time).as_nanos() / u128::from(pdus)
    }
}

/// What one connection has found out.
#[derive(Debug)]
pub struct Costs {
    stage: Stage,
    /// The decision.
    looks: bool,
    /// Waits until the stage is over.
    left: u32,
    /// Waits from the decision to the next comparison.
    length: u32,
    before: Figures,
    asleep: u128,
    in_vain: u32,
}

impl Default for Costs {
    fn default() -> Self {
        Costs {
            stage: Stage::Decided,
            looks: false,
            left: LENGTHS.0,
            length: LENGTHS.0,
            before: Figures::default(),
            asleep: 0,
            in_vain: 0,
        }
    }
}

impl Costs {
    /// Whether to look.
    pub fn looks(&self) -> bool {
        match self.stage {
            Stage::Decided => self.looks,
            Stage::Asleep => false,
            Stage::Awake => true,
        }
    }

    /// Whether [`Costs::compare`] wants the figures now.
    pub fn is_due(&self) -> bool {
        self.left == 0
    }

    /// A stage is over.
    pub fn compare(&mut self, now: Figures) {
        match self.stage {
            Stage::Decided => self.enter(Stage::Asleep, TRIED),
            Stage::Asleep => {
                self.asleep = now.each_since(self.before);
                self.enter(Stage::Awake, TRIED);
            }
            Stage::Awake => {
                let looks = now.each_since(self.before) * 100 <= self.asleep * MOST;
                self.decide(looks);
            }
        }
        self.before = now;
    }

    /// A wait is over.
    pub fn waited(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// A look is over.
    pub fn looked(&mut self, has_found: bool) {
        self.in_vain = if has_found { 0 } else { self.in_vain + 1 };
        if self.in_vain >= IN_VAIN {
            self.decide(false);
        }
    }

    /// The connection is idle, or may not look: what goes on now says nothing.
    pub fn pause(&mut self) {
        if self.stage != Stage::Decided || self.looks {
            (self.looks, self.length) = (false, LENGTHS.0);
            self.enter(Stage::Decided, self.length);
        }
    }

    fn decide(&mut self, looks: bool) {
        self.length = if looks == self.looks { (self.length * 2).min(LENGTHS.1) } else { LENGTHS.0 };
        self.looks = looks;
        self.enter(Stage::Decided, self.length);
    }

    fn enter(&mut self, stage: Stage, waits: u32) {
        (self.stage, self.left, self.in_vain) = (stage, waits, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes through waits; each costs what `cost` says of looking or not, in nanoseconds a PDU. Answers how
    /// many were looks.
    fn go(costs: &mut Costs, now: &mut Figures, waits: u32, cost: impl Fn(bool) -> u64) -> u32 {
        let mut looks = 0;
        for _ in 0..waits {
            if costs.is_due() {
                costs.compare(*now);
            }
            let is_look = costs.looks();
            looks += u32::from(is_look);
            now.time += Duration::from_nanos(cost(is_look) * 3);
            now.pdus = now.pdus.wrapping_add(3);
            if is_look {
                costs.looked(true);
            }
            costs.waited();
        }
        looks
    }

    #[test]
    fn the_cheaper_is_done_and_the_other_tried_more_and_more_seldom() {
        let mut now = Figures { time: Duration::ZERO, pdus: u32::MAX - 100 };
        for (awake, asleep, looks) in [(20_000, 47_000, true), (25_000, 11_000, false), (109, 100, true)] {
            let mut costs = Costs::default();
            go(&mut costs, &mut now, 1000, |look| if look { awake } else { asleep });
            assert_eq!(costs.looks, looks, "{awake} {asleep}");
            let count = go(&mut costs, &mut now, 100_000, |look| if look { awake } else { asleep });
            let of_the_other = if looks { 100_000 - count } else { count };
            assert!(of_the_other > 0 && of_the_other <= TRIED * 16, "{awake} {asleep}: {of_the_other}");
        }
    }

    #[test]
    fn another_load_is_decided_anew() {
        let (mut costs, mut now) = (Costs::default(), Figures::default());
        go(&mut costs, &mut now, 40_000, |look| if look { 20 } else { 40 });
        assert!(costs.looks);
        let mut waits = 0;
        while costs.looks && waits < 2 * LENGTHS.1 {
            go(&mut costs, &mut now, 1, |look| if look { 50 } else { 40 });
            waits += 1;
        }
        assert!(!costs.looks);
        go(&mut costs, &mut now, LENGTHS.0 + 2 * TRIED + 1, |look| if look { 20 } else { 40 });
        assert!(costs.looks, "a decision that is new is looked at again soon");
    }

    #[test]
    fn looks_in_vain_end_at_once() {
        let (mut costs, mut now) = (Costs::default(), Figures::default());
        go(&mut costs, &mut now, 1000, |look| if look { 20 } else { 40 });
        for _ in 1..IN_VAIN {
            costs.looked(false);
            assert!(costs.looks());
        }
        costs.looked(true);
        for _ in 0..IN_VAIN {
            assert!(costs.looks());
            costs.looked(false);
        }
        assert!(!costs.looks());
    }

    #[test]
    fn a_pause_ends_what_goes_on_and_brings_nothing_nearer() {
        let (mut costs, mut now) = (Costs::default(), Figures::default());
        go(&mut costs, &mut now, LENGTHS.0 - 1, |_| 1);
        for _ in 0..100 {
            costs.pause();
            assert!(!costs.looks() && !costs.is_due());
        }
        go(&mut costs, &mut now, 1 + TRIED, |_| 1);
        costs.compare(now);
        assert!(costs.looks(), "it is tried");
        costs.pause();
        assert!(!costs.looks() && !costs.is_due());
    }
}
