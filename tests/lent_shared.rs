//! Pages of the page cache that are on their way to one session, and others that use the unit: nobody waits
//! for an initiator that takes its time, or not for long.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;
mod lent;
mod world;

use std::thread;
use std::time::{Duration, Instant};

use initiator::{Initiator, Options};
use lent::{
    KNOWN, LENT, MOMENT, READ_FROM, Random, alone, another, begin_read, filled, folders, has,
    is_answered_by_now, is_same, length, read, serve, start_read, start_write, write,
};
use world::{TARGET, World, until};

/// How long pages may stay unacknowledged.
const FORGIVEN: Duration = Duration::from_secs(5);
const LOGICAL_UNIT_RESET: u8 = 5;

#[test]
fn where_two_sessions_use_a_unit_neither_waits_for_the_other_to_read() {
    for folder in folders("shared") {
        let world = serve(&folder);
        let (mut first, mut second) = (alone(&world), another(&world));
        write(&mut first, LENT, KNOWN, 1);
        for number in 1..4 {
            let tag = begin_read(&mut first, LENT, READ_FROM);
            write(&mut second, LENT, KNOWN, number + 1);
            has(&first.wait(tag).unwrap(), READ_FROM, number, "copied");
        }
        first.nop().unwrap();
        assert_eq!(first.asked_for(), 0, "nothing was lent");
        // Alone again, it is lent pages again.
        drop(second);
        until("the session is gone", || world.sessions().len() == 1);
        // What the session used may be there a moment longer than it.
        let mut known = 4;
        for attempt in 0.. {
            let tag = begin_read(&mut first, LENT, READ_FROM);
            let write_tag = start_write(&mut first, READ_FROM, 9);
            thread::sleep(MOMENT);
            has(&first.wait(tag).unwrap(), READ_FROM, known, "lent");
            assert_eq!(first.wait(write_tag).unwrap().status, 0);
            if first.asked_for() > 0 {
                break;
            }
            assert!(attempt < 50, "it was lent");
            known = 9;
        }
    }
}

/// What lets go on a write of another session that waits for pages.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Release {
    Acknowledged,
    Closed,
    ClosedByForce,
    Preempted,
    Reset,
    AbortedTaskSet,
    Forgiven,
}

fn persistent_reserve_out(session: &mut Initiator, action: u8, key: u64, other: u64) {
    let data = [key.to_be_bytes(), other.to_be_bytes(), [0; 8]].concat();
    session.good(LENT, &[0x5f, action, 1, 0, 0, 0, 0, 0, 24, 0], 0, &data).unwrap();
}

fn register(session: &mut Initiator, key: u64) {
    // And ignore the key that the last round has left.
    persistent_reserve_out(session, 6, 0, key);
}

/// How long it took from the release, or from before the read if nobody did anything, to the write's end.
fn released_by(world: &World, release: Release) -> Duration {
    let mut first = alone(world);
    write(&mut first, LENT, KNOWN, 1);
    if release == Release::Preempted {
        register(&mut first, 1);
    }
    let mut since = Instant::now();
    let tag = begin_read(&mut first, LENT, READ_FROM);
    // ABORT TASK of what is answered is of no task.
    let abort = first.begin_function(1, LENT, tag).unwrap();
    let mut second = another(world);
    let write_tag = start_write(&mut second, READ_FROM, 2);
    let is_early = is_answered_by_now(&mut second, write_tag);
    assert!(!is_early || since.elapsed() > FORGIVEN, "{release:?}: it has not waited");
    if release != Release::Forgiven {
        since = Instant::now();
    }
    match release {
        Release::Acknowledged => {
            has(&first.wait(tag).unwrap(), READ_FROM, 1, "acknowledged");
            first.nop().unwrap();
        }
        Release::Closed | Release::ClosedByForce => {
            match release {
                Release::Closed => drop(first),
                _ => {
                    let name = &first.options().name;
                    world.write(&format!("@/sessions/{name}/force_close"), "1");
                }
            }
            assert_eq!(second.wait(write_tag).unwrap().status, 0);
            let took = since.elapsed();
            assert!(read(&mut second, LENT, READ_FROM) == filled(READ_FROM, 2));
            return took;
        }
        Release::Reset => {
            let function = second.begin_function(LOGICAL_UNIT_RESET, LENT, 0).unwrap();
            assert_eq!(second.wait_function(function).unwrap(), 0);
            write(&mut second, LENT, READ_FROM, 2);
        }
        Release::AbortedTaskSet => {
            first.begin_function(2, LENT, 0).unwrap();
        }
        Release::Preempted => {
            register(&mut second, 2);
            persistent_reserve_out(&mut second, 5, 2, 1);
        }
        Release::Forgiven => {}
    }
    if release != Release::Reset {
        assert_eq!(second.wait(write_tag).unwrap().status, 0, "{release:?}");
    }
    let took = since.elapsed();
    // The first session has its answer, and goes on.
    if release != Release::Acknowledged {
        let answer = first.wait(tag).unwrap();
        assert_eq!((answer.status, answer.data.len()), (0, length(&READ_FROM)), "{release:?}");
    }
    assert_eq!(first.wait_function(abort).unwrap(), 1, "{release:?}: there is no such task");
    for session in [&mut first, &mut second] {
        assert!(read(session, LENT, READ_FROM) == filled(READ_FROM, 2), "{release:?}");
    }
    took
}

#[test]
fn a_session_that_comes_later_waits_for_pages_until_they_are_released() {
    for folder in folders("later") {
        let world = serve(&folder);
        let gone = || until("the sessions are gone", || world.sessions().is_empty());
        for release in [
            Release::Acknowledged,
            Release::Closed,
            Release::ClosedByForce,
            Release::Reset,
            Release::AbortedTaskSet,
            Release::Preempted,
        ] {
            // Once of some times at least it was not time that released it.
            let at_once = (0..6).any(|_| {
                gone();
                released_by(&world, release) < FORGIVEN / 2
            });
            assert!(at_once, "{release:?} releases nothing");
        }
        gone();
        let took = released_by(&world, Release::Forgiven);
        assert!(took >= FORGIVEN, "forgiven after {took:?}");
        gone();
    }
}

#[test]
fn no_more_than_32_reads_of_a_session_are_lent() {
    const READS: u64 = 64;
    let blocks = |read: u64| read * 96..(read + 1) * 96;
    for folder in folders("loans") {
        let world = serve(&folder);
        let mut first = alone(&world);
        (0..READS).for_each(|read| write(&mut first, LENT, blocks(read), 1));
        let reads = |session: &mut Initiator| {
            Ok((0..READS).map(|read| start_read(session, LENT, &blocks(read))).collect::<Vec<u32>>())
        };
        let tags = first.together(reads).unwrap();
        first.arrives().unwrap();
        // All are carried out before the other uses the unit.
        thread::sleep(MOMENT);
        let mut second = another(&world);
        let start = |read: u64| start_write(&mut second, blocks(read).start..blocks(read).start + 1, 2);
        let writes: Vec<u32> = (0..READS).map(start).collect();
        let since = Instant::now();
        is_answered_by_now(&mut second, writes[0]);
        let waiting = writes.iter().filter(|tag| second.answer(**tag).is_none()).count();
        if since.elapsed() < FORGIVEN / 2 {
            // Each of the workers may lend one more when all of them look at the same moment.
            assert!((1..=32 + 15).contains(&waiting), "{waiting} are lent");
        }
        for (read, tag) in (0..).zip(tags) {
            let told = format!("read {read} of {READS}");
            has(&first.wait(tag).unwrap(), blocks(read), 1, &told);
        }
        first.nop().unwrap();
        writes.into_iter().for_each(|tag| assert_eq!(second.wait(tag).unwrap().status, 0));
    }
}

/// Reads that nobody looks at, writes that wait for them, aborts of all of it, sessions that come and go.
#[test]
fn aborts_and_lost_sessions_leave_no_blocks_behind() {
    for folder in folders("aborts") {
        let world = serve(&folder);
        let mut random = Random(3);
        let mut first = alone(&world);
        for round in 0..200 {
            let mut reads = Vec::new();
            for _ in 0..1 + random.below(8) {
                let count = 64 + random.below(65);
                let lba = random.below(KNOWN.end - count);
                if random.below(3) > 0 {
                    reads.push(start_read(&mut first, LENT, &(lba..lba + count)));
                } else {
                    start_write(&mut first, lba..lba + count, round);
                }
            }
            thread::sleep(Duration::from_micros(random.below(3) * 300));
            let function = match random.below(6) {
                0 => Some(first.begin_function(1, LENT, reads.first().copied().unwrap_or(1)).unwrap()),
                1 => Some(first.begin_function(2, LENT, 0).unwrap()),
                2 => Some(first.begin_function(LOGICAL_UNIT_RESET, LENT, 0).unwrap()),
                3 => {
                    // The same session again: the one before ends.
                    let options = Options::default();
                    first = Initiator::login(world.address, TARGET, &options).unwrap();
                    None
                }
                4 => {
                    let mut second = another(&world);
                    let reset = second.begin_function(LOGICAL_UNIT_RESET, LENT, 0).unwrap();
                    assert_eq!(second.wait_function(reset).unwrap(), 0, "round {round}");
                    None
                }
                _ => None,
            };
            if let Some(function) = function {
                first.wait_function(function).unwrap();
            }
            // All blocks can be had again, whatever has become of their tasks.
            write(&mut first, LENT, KNOWN, 1000 + round);
            let found = read(&mut first, LENT, KNOWN);
            is_same(&found, &filled(KNOWN, 1000 + round), 0, &format!("round {round}"));
        }
    }
}
