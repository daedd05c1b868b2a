//! The task set by itself.

use super::*;

fn entry(nexus: u64, tag: u32, attribute: TaskAttribute, lba: u64, writes: bool) -> Entry {
    let extent = Extent { lba, blocks: 1 };
    let (place, bytes) = (Place::Attribute(attribute), u64::from(writes));
    Entry { nexus, tag, place, extent, writes, outlives: false, bytes }
}

fn simple(tag: u32, lba: u64, writes: bool) -> Entry {
    entry(1, tag, TaskAttribute::Simple, lba, writes)
}

fn runs(set: &mut TaskSet<u32>, entry: Entry) -> (TaskId, bool) {
    let id = set.insert(entry);
    let now = set.start(id, entry.tag).unwrap().is_some();
    assert!(!now || set.take_up(id));
    (id, now)
}

fn silently(selector: Selector) -> Abort {
    Abort { selector, waiter: None, told_by: None }
}

pub(super) fn removed(set: &mut TaskSet<u32>, id: TaskId) -> Vec<u32> {
    let mut enabled = Vec::new();
    assert_eq!(set.remove(id, &mut enabled), Owed::Answer);
    enabled
}

#[test]
fn sam_8_ordered_waits_for_older_and_holds_up_younger() {
    let mut set = TaskSet::new(true);
    let (first, now) = runs(&mut set, simple(1, 10, false));
    assert!(now);
    let (ordered, now) = runs(&mut set, entry(1, 2, TaskAttribute::Ordered, 20, false));
    assert!(!now);
    let (_, now) = runs(&mut set, simple(3, 30, false));
    assert!(!now);
    let (_, now) = runs(&mut set, entry(1, 4, TaskAttribute::HeadOfQueue, 40, false));
    assert!(now);
    let (_, now) = runs(&mut set, entry(2, 5, TaskAttribute::Simple, 50, false));
    assert!(now, "another nexus has a task set of its own when TST is 1");
    assert_eq!(removed(&mut set, first), [2]);
    assert_eq!(removed(&mut set, ordered), [3]);
}

#[test]
fn overlapping_writes_run_in_the_order_sent() {
    let mut set = TaskSet::new(true);
    let (write, _) = runs(&mut set, simple(1, 7, true));
    let (read, now) = runs(&mut set, entry(9, 2, TaskAttribute::Simple, 7, false));
    assert!(!now);
    let (_, now) = runs(&mut set, simple(3, 8, true));
    assert!(now);
    let (_, now) = runs(&mut set, simple(4, 7, true));
    assert!(!now);
    assert_eq!(removed(&mut set, write), [2]);
    assert_eq!(removed(&mut set, read), [4]);
}

#[test]
fn an_aborted_write_that_is_out_keeps_its_blocks() {
    let mut set = TaskSet::new(true);
    let (write, _) = runs(&mut set, simple(1, 7, true));
    let (ordered, now) = runs(&mut set, entry(1, 2, TaskAttribute::Ordered, 100, false));
    assert!(!now);
    let (_, now) = runs(&mut set, entry(2, 3, TaskAttribute::Simple, 7, true));
    assert!(!now);
    let aborted = set.abort(&silently(Selector::Tag { nexus: 1, tag: 1 }));
    assert_eq!(aborted.hit, [(1, 1)]);
    assert_eq!(aborted.enabled, [2], "the order no longer waits for it");
    assert!(!set.contains(Selector::Tag { nexus: 1, tag: 1 }));
    let mut enabled = Vec::new();
    assert_eq!(set.remove(write, &mut enabled), Owed::Nothing);
    assert_eq!(enabled, [3]);
    assert!(removed(&mut set, ordered).is_empty());
}

#[test]
fn a_claim_waits_for_older_writes_and_holds_up_younger_ones() {
    let claimed = |nexus, lba, writes| Entry {
        place: Place::AtOnce,
        ..entry(nexus, u32::MAX, TaskAttribute::Simple, lba, writes)
    };
    let mut set = TaskSet::new(true);
    let (write, _) = runs(&mut set, simple(1, 7, true));
    let (reading, writing) = (Signal::new(), Signal::new());
    let source = set.claim(claimed(1, 7, false), &reading);
    let destination = set.claim(claimed(1, 8, true), &writing);
    assert_eq!((reading.standing(), writing.standing()), (Standing::Waiting, Standing::Granted));
    let (_, now) = runs(&mut set, simple(2, 8, false));
    assert!(!now);
    assert!(removed(&mut set, write).is_empty());
    assert_eq!(reading.standing(), Standing::Granted);
    assert!(!set.contains(Selector::Tag { nexus: 1, tag: u32::MAX }), "it is no task");
    let aborted = set.abort(&silently(Selector::All));
    assert_eq!(reading.standing(), Standing::Refused);
    assert!(set.holds(destination) && !set.holds(source), "what writes is a fence until it is back");
    assert!(aborted.waiting.len() == 1 && !set.is_wanted(destination));
    assert_eq!(set.remove(destination, &mut Vec::new()), Owed::Nothing);
    assert_eq!(set.len(), 0);
}

#[test]
fn an_abort_of_everything_starts_nothing_it_hit() {
    let mut set = TaskSet::new(true);
    let (first, _) = runs(&mut set, simple(1, 7, false));
    runs(&mut set, simple(2, 7, true));
    runs(&mut set, simple(3, 7, true));
    let receiving = set.insert(simple(4, 9, true));
    let aborted = set.abort(&silently(Selector::Nexus(1)));
    assert_eq!(aborted.hit.len(), 4);
    assert_eq!(aborted.waiting, [(2, Owed::Nothing), (3, Owed::Nothing)]);
    assert!(aborted.enabled.is_empty());
    assert_eq!(set.start(receiving, 4), Err(4));
    assert_eq!(set.remove(first, &mut Vec::new()), Owed::Nothing);
    assert_eq!(set.len(), 0);
}

#[test]
fn exclusive_tasks_run_one_at_a_time_in_the_whole_unit() {
    let mut set = TaskSet::new(true);
    let place = Place::Exclusive(Some(TaskAttribute::Simple));
    let exclusive = |nexus, tag| Entry { nexus, place, ..simple(tag, 0, false) };
    let nothing = Extent::default();
    let (first, now) = runs(&mut set, Entry { extent: nothing, ..exclusive(1, 1) });
    assert!(now);
    let (second, now) = runs(&mut set, Entry { extent: nothing, ..exclusive(2, 2) });
    assert!(!now);
    let (_, now) = runs(&mut set, entry(3, 3, TaskAttribute::Simple, 9, true));
    assert!(now, "others are in nobody's way");
    let aborted = set.abort(&silently(Selector::Nexus(1)));
    assert!(aborted.enabled.is_empty(), "it is still changing the reservations");
    let mut enabled = Vec::new();
    assert_eq!(set.remove(first, &mut enabled), Owed::Nothing);
    assert_eq!(enabled, [2]);
    assert!(removed(&mut set, second).is_empty());
}

#[test]
fn a_task_waits_for_the_tasks_it_has_aborted() {
    let mut set = TaskSet::new(true);
    let (write, _) = runs(&mut set, entry(1, 1, TaskAttribute::Simple, 7, true));
    let (other, _) = runs(&mut set, entry(1, 2, TaskAttribute::Simple, 8, true));
    let (preempts, now) = runs(&mut set, entry(2, 3, TaskAttribute::Ordered, 100, false));
    assert!(now);
    let waiter = Some(Waiter::Task(preempts));
    set.abort(&Abort { selector: Selector::Nexus(1), waiter, told_by: None });
    assert_eq!(set.start(preempts, 3), Ok(None));
    let mut enabled = Vec::new();
    set.remove(other, &mut enabled);
    assert!(enabled.is_empty());
    set.remove(write, &mut enabled);
    assert_eq!(enabled, [3]);
    assert!(removed(&mut set, preempts).is_empty());
}

#[test]
fn spc_7_5_8_tas_lets_tasks_of_others_end_with_task_aborted() {
    let mut set = TaskSet::new(false);
    let (own, _) = runs(&mut set, entry(1, 1, TaskAttribute::Simple, 7, false));
    let (reads, _) = runs(&mut set, entry(2, 2, TaskAttribute::Simple, 7, false));
    let (writes, _) = runs(&mut set, entry(2, 3, TaskAttribute::Simple, 8, true));
    let (_, now) = runs(&mut set, entry(2, 4, TaskAttribute::Simple, 8, true));
    assert!(!now);
    let receiving = set.insert(entry(2, 5, TaskAttribute::Simple, 9, true));
    let aborted = set.abort(&Abort { selector: Selector::All, waiter: None, told_by: Some(1) });
    assert_eq!(aborted.waiting, [(4, Owed::TaskAborted)]);
    assert_eq!(set.start(receiving, 5), Err(5));
    let mut owed = |id| set.remove(id, &mut Vec::new());
    assert_eq!(owed(own), Owed::Nothing);
    assert_eq!([owed(reads), owed(writes), owed(receiving)], [Owed::TaskAborted; 3]);
    assert!(set.told.is_empty());
}

#[test]
fn a_write_that_waits_for_a_thread_is_gone_at_once() {
    let mut set = TaskSet::new(true);
    let first = set.insert(simple(1, 7, true));
    assert_eq!(set.start(first, 1), Ok(Some(1)));
    let (_, now) = runs(&mut set, simple(2, 7, true));
    assert!(!now);
    assert_eq!(set.bytes(), 2);
    let abort = |tag| Abort { selector: Selector::Tag { nexus: 1, tag }, waiter: None, told_by: None };
    let aborted = set.abort(&abort(1));
    assert!(aborted.any_queued);
    assert_eq!(aborted.enabled, [2], "it never was out, so nothing is fenced");
    assert!(!set.take_up(first));
    assert_eq!((set.len(), set.bytes()), (1, 1));
    let third = set.insert(simple(3, 9, true));
    assert_eq!(set.start(third, 3), Ok(Some(3)));
    assert!(set.take_up(third));
    assert!(!set.abort(&abort(3)).any_queued);
    assert_eq!(set.len(), 2, "it is out and fenced");
}

#[test]
fn an_empty_set_begins_anew_and_a_full_one_grows_no_more_than_it_must() {
    let mut set = TaskSet::new(true);
    for round in 0..3 {
        let mut ids: Vec<TaskId> =
            (0..4).map(|tag| runs(&mut set, simple(tag, tag.into(), false)).0).collect();
        let places: Vec<u32> = ids.iter().map(|id| id.slot).collect();
        assert_eq!(places, [0, 1, 2, 3], "round {round}");
        // A place that is given back while others are taken is taken next.
        removed(&mut set, ids.remove(1));
        ids.push(runs(&mut set, simple(9, 9, false)).0);
        assert_eq!(ids[3].slot, 1);
        ids.into_iter().for_each(|id| assert!(removed(&mut set, id).is_empty()));
        assert_eq!((set.len(), set.slots.len()), (0, 4));
    }
}

#[test]
fn who_waits_for_one_aborted_task_is_not_told_of_another() {
    let mut set = TaskSet::new(true);
    let (one, _) = runs(&mut set, simple(1, 1, true));
    let (two, _) = runs(&mut set, simple(2, 2, true));
    let mut waiting = Vec::new();
    for tag in [1, 2] {
        let (waiter, _) = runs(&mut set, entry(5, 10 + tag, TaskAttribute::Simple, 50, false));
        let selector = Selector::Tag { nexus: 1, tag };
        set.abort(&Abort { waiter: Some(Waiter::Task(waiter)), ..silently(selector) });
        assert!(set.start(waiter, 10 + tag).unwrap().is_none());
        waiting.push(waiter);
    }
    let mut enabled = Vec::new();
    assert_eq!(set.remove(two, &mut enabled), Owed::Nothing);
    assert_eq!(enabled, [12]);
    assert_eq!(set.remove(one, &mut enabled), Owed::Nothing);
    assert_eq!(enabled, [12, 11]);
    waiting.into_iter().for_each(|id| assert!(removed(&mut set, id).is_empty()));
}

#[test]
fn a_task_that_is_lent_keeps_its_blocks_from_writers_and_nothing_else() {
    let lent = |set: &mut TaskSet<u32>, entry: Entry| {
        let (id, now) = runs(set, entry);
        assert!(now);
        let mut enabled = Vec::new();
        assert_eq!(set.lend(id, &mut enabled), Owed::Answer);
        (id, enabled)
    };
    let mut set = TaskSet::new(true);
    let (ordered, _) = runs(&mut set, entry(1, 1, TaskAttribute::Ordered, 7, false));
    let (_, now) = runs(&mut set, simple(2, 100, false));
    assert!(!now);
    let mut enabled = Vec::new();
    assert_eq!(set.lend(ordered, &mut enabled), Owed::Answer);
    assert_eq!(enabled, [2], "its place in the order is gone");
    assert!(!set.contains(Selector::Tag { nexus: 1, tag: 1 }), "it is answered");
    assert!(runs(&mut set, simple(3, 7, false)).1, "others may read");
    assert!(runs(&mut set, simple(4, 8, true)).1, "and write elsewhere");
    assert!(!runs(&mut set, simple(5, 7, true)).1);
    // Its tag may be another's by now.
    assert!(set.abort(&silently(Selector::Tag { nexus: 1, tag: 1 })).hit.is_empty());
    assert!(set.holds(ordered));
    let reader = set.abort(&silently(Selector::Tag { nexus: 1, tag: 3 }));
    assert_eq!((reader.hit, reader.enabled), (vec![(1, 3)], vec![]));
    assert_eq!(removed(&mut set, ordered), [5]);

    let mut set = TaskSet::new(true);
    let (id, _) = lent(&mut set, simple(1, 7, false));
    assert!(!runs(&mut set, entry(2, 2, TaskAttribute::Simple, 7, true)).1);
    let aborted = set.abort(&silently(Selector::Nexus(1)));
    assert_eq!((aborted.hit, aborted.enabled), (vec![], vec![2]), "who is aborted holds up nobody");
    let mut enabled = Vec::new();
    set.remove(id, &mut enabled);
    assert!(enabled.is_empty(), "that it comes back later is no harm");

    let mut set = TaskSet::new(true);
    let (id, _) = runs(&mut set, simple(1, 7, false));
    set.abort(&silently(Selector::All));
    assert_eq!(set.lend(id, &mut enabled), Owed::Nothing, "it was aborted before");
    assert_eq!(set.len(), 0);
}
