//! Tasks that pass others whose data has not come.

use std::collections::BTreeMap;

use super::*;
use crate::scsi::TaskAttribute;
use crate::scsi::claim::{Signal, Standing};
use crate::scsi::task_set::tests::removed as ends;
use crate::scsi::task_set::{Abort, Extent, Place, Selector};

fn task(nexus: u64, tag: u32, (lba, blocks): (u64, u64), writes: bool) -> Entry {
    let place = Place::Attribute(TaskAttribute::Simple);
    Entry { nexus, tag, place, extent: Extent { lba, blocks }, writes, outlives: false, bytes: 0 }
}

fn begins(set: &mut TaskSet<u32>, id: TaskId, tag: u32) -> bool {
    let now = set.start(id, tag).unwrap().is_some();
    assert!(!now || set.take_up(id));
    now
}

#[test]
fn a_write_without_its_data_holds_up_its_own_nexus_only() {
    let mut set = TaskSet::new(true);
    let late = set.insert(task(1, 1, (7, 1), true));
    let own = set.insert(task(1, 2, (7, 1), false));
    assert!(!begins(&mut set, own, 2), "the order in which a nexus sends them is kept");
    let other = set.insert(task(2, 3, (7, 1), true));
    assert!(!begins(&mut set, other, 3), "a read that is complete is not passed");
    assert_eq!(ends(&mut set, late), [2]);
    assert_eq!(ends(&mut set, own), [3]);
    ends(&mut set, other);

    let late = set.insert(task(1, 1, (7, 1), true));
    let (other, now) = set.put(task(2, 3, (7, 1), true), true);
    assert!(now, "it is not known when the other's data comes");
    assert!(!begins(&mut set, late, 1), "but now it has come, while the other is out");
    assert_eq!(ends(&mut set, other), [1]);
    assert!(ends(&mut set, late).is_empty());
    assert_eq!((set.len(), set.held_up, set.passing), (0, 0, 0));
}

#[test]
fn of_two_that_receive_the_one_that_has_its_data_first_goes_first() {
    for younger_first in [false, true] {
        let mut set = TaskSet::new(true);
        let ids = [(1, 1), (2, 2)].map(|(nexus, tag)| set.insert(task(nexus, tag, (7, 1), true)));
        let [first, second] = if younger_first { [1, 0] } else { [0, 1] };
        let tag = |at: usize| u32::try_from(at).unwrap() + 1;
        assert!(begins(&mut set, ids[first], tag(first)));
        assert!(!begins(&mut set, ids[second], tag(second)));
        assert_eq!(ends(&mut set, ids[first]), [tag(second)]);
        assert!(ends(&mut set, ids[second]).is_empty());
    }
}

/// A copy holds one claim of a unit while it waits for another.
#[test]
fn a_claim_passes_nobody() {
    let mut set = TaskSet::new(true);
    let late = set.insert(task(1, 1, (0, 10), true));
    let behind = set.insert(task(1, 2, (5, 20), false));
    assert!(!begins(&mut set, behind, 2));
    let claim = |set: &mut TaskSet<u32>, place, writes| {
        let signal = Signal::new();
        (set.claim(Entry { place: Place::AtOnce, ..task(2, 0, place, writes) }, &signal), signal)
    };
    let (source, sees_source) = claim(&mut set, (0, 4), false);
    let (destination, sees_destination) = claim(&mut set, (20, 10), true);
    assert!(begins(&mut set, late, 1), "it waits for no copy that may wait for what is behind it");
    assert_eq!(ends(&mut set, late), [2]);
    assert!(ends(&mut set, behind).is_empty());
    assert!([sees_source, sees_destination].iter().all(|signal| signal.standing() == Standing::Granted));
    ends(&mut set, source);
    ends(&mut set, destination);
}

#[test]
fn changes_of_the_reservations_are_passed_too_and_stay_one_at_a_time() {
    let mut set = TaskSet::new(true);
    let place = Place::Exclusive(Some(TaskAttribute::Simple));
    let exclusive = |tag: u32| Entry { place, ..task(tag.into(), tag, (0, 0), false) };
    let late = set.insert(exclusive(1));
    let other = set.insert(exclusive(2));
    assert!(begins(&mut set, other, 2));
    assert!(!begins(&mut set, late, 1));
    assert_eq!(ends(&mut set, other), [1]);
}

#[test]
fn sam_8_order_among_all_nexuses_is_kept_where_the_unit_has_one_task_set() {
    let mut set = TaskSet::new(false);
    let place = Place::Attribute(TaskAttribute::Ordered);
    let late = set.insert(Entry { place, ..task(1, 1, (7, 1), true) });
    let other = set.insert(task(2, 2, (7, 1), true));
    assert!(!begins(&mut set, other, 2));
    assert_eq!(ends(&mut set, late), [2]);
}

#[test]
fn an_abort_of_a_write_without_its_data_frees_its_own_nexus() {
    let mut set = TaskSet::new(true);
    set.insert(task(1, 1, (7, 1), true));
    let other = set.insert(task(2, 2, (7, 1), true));
    let third = set.insert(task(1, 3, (7, 1), true));
    assert!(!begins(&mut set, third, 3));
    let selector = Selector::Tag { nexus: 1, tag: 1 };
    let aborted = set.abort(&Abort { selector, waiter: None, told_by: None });
    assert_eq!(aborted.enabled, [3], "the data of the other has still to come");
    assert!(!begins(&mut set, other, 2));
    assert_eq!(ends(&mut set, third), [2]);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Receiving,
    Waiting,
    Running,
}

/// A set, and what was told of its tasks.
struct Model {
    set: TaskSet<u32>,
    per_nexus: bool,
    tasks: BTreeMap<u32, (TaskId, Entry, At)>,
}

impl Model {
    fn run(&mut self, tag: u32) {
        let (id, entry, _) = self.tasks[&tag];
        for (other, (_, running, at)) in &self.tasks {
            let conflict = *at == At::Running && order::keeps(running, &entry);
            assert!(!conflict || *other == tag, "{entry:?} runs beside {running:?}");
        }
        assert!(self.set.take_up(id));
        self.tasks.get_mut(&tag).unwrap().2 = At::Running;
    }

    fn begin(&mut self, tag: u32) {
        let (id, entry, _) = self.tasks[&tag];
        match self.set.start(id, tag).unwrap() {
            Some(_) => self.run(tag),
            None => self.tasks.get_mut(&tag).unwrap().2 = At::Waiting,
        }
        let is_alone = self.tasks.iter().all(|(other, (_, older, at))| {
            let is_passed = self.per_nexus && older.nexus != entry.nexus && *at == At::Receiving;
            *other == tag || is_passed || !order::blocks(older, &entry, self.per_nexus)
        });
        assert!(!is_alone || self.tasks[&tag].2 == At::Running, "{entry:?} waits for nothing");
    }

    fn end(&mut self, tag: u32) {
        let (id, ..) = self.tasks.remove(&tag).unwrap();
        let mut enabled = Vec::new();
        self.set.remove(id, &mut enabled);
        enabled.into_iter().for_each(|tag| self.run(tag));
    }

    fn abort(&mut self, nexus: u64) {
        let selector = Selector::Nexus(nexus);
        let aborted = self.set.abort(&Abort { selector, waiter: None, told_by: None });
        let of_nexus = |(_, entry, _): &(TaskId, Entry, At)| entry.nexus == nexus;
        let gone: Vec<u32> =
            self.tasks.iter().filter(|(_, task)| of_nexus(task)).map(|(tag, _)| *tag).collect();
        let is_out = |tag: &u32| self.tasks[tag].2 == At::Running && self.tasks[tag].1.is_fenced();
        let (out, gone): (Vec<u32>, Vec<u32>) = gone.into_iter().partition(is_out);
        self.tasks.retain(|tag, _| !gone.contains(tag));
        aborted.enabled.into_iter().for_each(|tag| self.run(tag));
        out.into_iter().for_each(|tag| self.end(tag));
    }

    fn all(&self, wanted: At) -> Vec<u32> {
        self.tasks.iter().filter(|(_, (_, _, at))| *at == wanted).map(|(tag, _)| *tag).collect()
    }
}

#[test]
fn whatever_comes_nothing_overlaps_and_everything_ends() {
    let (mut state, mut passings, mut waits) = (7_u64, 0, 0);
    let index = |number: u64| usize::try_from(number).unwrap();
    let mut below = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    for round in 0..3000 {
        let per_nexus = round % 4 != 0;
        let mut model = Model { set: TaskSet::new(per_nexus), per_nexus, tasks: BTreeMap::new() };
        for tag in 0..60 {
            let attribute = match below(12) {
                0 => TaskAttribute::Ordered,
                1 => TaskAttribute::HeadOfQueue,
                _ => TaskAttribute::Simple,
            };
            let is_exclusive = below(10) == 0;
            let place = Place::Attribute(attribute);
            let place = if is_exclusive { Place::Exclusive(place.attribute()) } else { place };
            let blocks = if is_exclusive { 0 } else { 1 + below(2) };
            let entry = Entry { place, ..task(1 + below(4), tag, (below(5), blocks), below(2) == 0) };
            let (id, now) = model.set.put(entry, below(3) == 0);
            model.tasks.insert(tag, (id, entry, At::Receiving));
            if now {
                model.run(tag);
            }
            passings += model.set.passing;
            for _ in 0..below(3) {
                let receiving = model.all(At::Receiving);
                if let Some(tag) = receiving.get(index(below(6))) {
                    model.begin(*tag);
                }
                let running = model.all(At::Running);
                if let Some(tag) = running.get(index(below(6))) {
                    model.end(*tag);
                }
            }
            waits += model.all(At::Waiting).len();
            if below(40) == 0 {
                model.abort(1 + below(4));
            }
        }
        for tag in model.all(At::Receiving) {
            model.begin(tag);
        }
        while let Some(tag) = model.all(At::Running).first() {
            model.end(*tag);
        }
        assert!(model.tasks.is_empty(), "{} were never run", model.tasks.len());
        assert_eq!((model.set.len(), model.set.held_up, model.set.passing), (0, 0, 0));
    }
    assert!(passings > 1000 && waits > 1000, "{passings} {waits}");
}
