//! The initiator task tags in use (RFC 7143 11.2.1.8: unique in the session while the task lives).
//!
//! Only the connection's thread takes tags, any thread frees them. So those that find room in the table are
//! taken and freed with plain stores; the few that do not are in a map behind a lock.

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::bytes::number_map::NumberMap;
use crate::limits::MAX_IMMEDIATE_COMMANDS;

/// Sets of places in the table; tags that follow one another fall into different sets.
const SETS: usize = 32;
/// Places in a set: with their times they fill a cache line.
const WAYS: usize = 4;

/// A place that is taken: above this bit is what follows, below it the tag.
const TAKEN: u64 = 1 << 32;
/// The task is for immediate delivery.
const IMMEDIATE: u64 = 1 << 33;

/// One task, or room for one.
#[derive(Debug, Default)]
struct Place {
    /// 0, or [`TAKEN`] with the tag.
    word: AtomicU64,
    /// When the task came, a [`Stamp`].
    since: AtomicU64,
}

impl Place {
    fn holds(&self, tag: u32) -> Option<u64> {
        let word = self.word.load(Ordering::Acquire);
        (word & !IMMEDIATE == TAKEN | u64::from(tag)).then_some(word)
    }

    fn is_free(&self) -> bool {
        self.word.load(Ordering::Acquire) == 0
    }

    fn take(&self, tag: u32, live: Live) {
        self.since.store(live.since, Ordering::Relaxed);
        let flag = if live.is_immediate { IMMEDIATE } else { 0 };
        self.word.store(TAKEN | flag | u64::from(tag), Ordering::Release);
    }

    /// Answers whether the task was for immediate delivery.
    fn free(&self, word: u64) -> bool {
        self.word.store(0, Ordering::Release);
        word & IMMEDIATE != 0
    }
}

/// The tags in use.
#[derive(Debug)]
pub struct LiveTags {
    table: [[Place; WAYS]; SETS],
    immediate: AtomicU32,
    /// Tasks that have not the place of their own.
    strangers: AtomicUsize,
    begun: Instant,
    /// What found no room in the table, and whether that is anything.
    others: Mutex<NumberMap<u32, Live>>,
    other_count: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Live {
    is_immediate: bool,
    since: u64,
}

/// A time: seconds since the first task in the upper half, nanoseconds in the lower.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamp(u64);

/// Why a tag was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TagError {
    /// A task with it is in progress: Reject 07h.
    InUse,
    /// Too many immediate commands: Reject 06h.
    TooManyImmediate,
}

impl LiveTags {
    /// No tags; no task comes before `now`.
    pub fn new(now: Instant) -> Self {
        LiveTags {
            table: Default::default(),
            immediate: AtomicU32::new(0),
            strangers: AtomicUsize::new(0),
            begun: now,
            others: Mutex::default(),
            other_count: AtomicUsize::new(0),
        }
    }

    fn set(&self, tag: u32) -> &[Place; WAYS] {
        &self.table[tag as usize % SETS]
    }

    /// The place that a tag takes if it is free: of tags that follow one another each has its own.
    fn own_place(&self, tag: u32) -> &Place {
        &self.set(tag)[tag as usize / SETS % WAYS]
    }

    fn others(&self) -> Option<MutexGuard<'_, NumberMap<u32, Live>>> {
        if self.other_count.load(Ordering::Acquire) == 0 {
            return None;
        }
        Some(self.others.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A time as [`LiveTags::take`] wants it; one is good for all commands that come together.
    pub fn stamp(&self, at: Instant) -> Stamp {
        let since = at.saturating_duration_since(self.begun);
        // In order, and without a division.
        Stamp(since.as_secs() << 32 | u64::from(since.subsec_nanos()))
    }

    /// Takes a tag for a new task that came at `since`. By one thread at a time.
    pub fn take(&self, tag: u32, is_immediate: bool, Stamp(since): Stamp) -> Result<(), TagError> {
        if is_immediate && self.immediate.load(Ordering::Acquire) >= MAX_IMMEDIATE_COMMANDS {
            return Err(TagError::TooManyImmediate);
        }
        let own = self.own_place(tag);
        let live = Live { is_immediate, since };
        // With nobody elsewhere there is one place to look at.
        if own.is_free() && self.strangers.load(Ordering::Acquire) == 0 {
            own.take(tag, live);
        } else {
            self.find_place(tag, live)?;
        }
        if is_immediate {
            self.immediate.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    #[cold]
    fn find_place(&self, tag: u32, live: Live) -> Result<(), TagError> {
        if self.contains(tag) {
            return Err(TagError::InUse);
        }
        let own = self.own_place(tag);
        if own.is_free() {
            own.take(tag, live);
            return Ok(());
        }
        self.strangers.fetch_add(1, Ordering::AcqRel);
        // Its own may have become free meanwhile; who has that is no stranger.
        match self.set(tag).iter().find(|place| !std::ptr::eq(*place, own) && place.is_free()) {
            Some(place) => place.take(tag, live),
            None => self.take_elsewhere(tag, live),
        }
        Ok(())
    }

    fn take_elsewhere(&self, tag: u32, live: Live) {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Vacant(vacant) = others.entry(tag) {
            vacant.insert(live);
        }
        self.other_count.store(others.len(), Ordering::Release);
    }

    /// The task is over.
    pub fn free(&self, tag: u32) {
        let own = self.own_place(tag);
        let was_immediate = match own.holds(tag) {
            Some(word) => own.free(word),
            None => self.free_elsewhere(tag),
        };
        if was_immediate {
            self.immediate.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Answers whether the task was for immediate delivery.
    #[cold]
    fn free_elsewhere(&self, tag: u32) -> bool {
        let found = self.set(tag).iter().find_map(|place| Some((place, place.holds(tag)?)));
        let was_immediate = if let Some((place, word)) = found {
            place.free(word)
        } else {
            let Some(mut others) = self.others() else { return false };
            let Some(live) = others.remove(&tag) else { return false };
            self.other_count.store(others.len(), Ordering::Release);
            live.is_immediate
        };
        self.strangers.fetch_sub(1, Ordering::AcqRel);
        was_immediate
    }

    /// Whether a task with this tag is in progress.
    pub fn contains(&self, tag: u32) -> bool {
        self.set(tag).iter().any(|place| place.holds(tag).is_some())
            || self.others().is_some_and(|others| others.contains_key(&tag))
    }

    /// Tag and time of the oldest task in progress. For any thread; a task that ends meanwhile may be named.
    pub fn oldest(&self) -> Option<(u32, Instant)> {
        let others: Vec<_> = self.others().map_or(Vec::new(), |others| {
            others.iter().map(|(tag, live)| (live.since, u64::from(*tag))).collect()
        });
        let placed = self.table.iter().flatten().filter_map(|place| {
            let word = place.word.load(Ordering::Acquire);
            (word != 0).then(|| (place.since.load(Ordering::Relaxed), word))
        });
        let (since, word) = placed.chain(others).min()?;
        let nanoseconds = u32::try_from(since & u64::from(u32::MAX)).ok()?;
        let tag = u32::try_from(word & u64::from(u32::MAX)).ok()?;
        Some((tag, self.begun.checked_add(Duration::new(since >> 32, nanoseconds))?))
    }

    /// Number of tasks in progress.
    pub fn len(&self) -> usize {
        let taken = |place: &&Place| place.word.load(Ordering::Acquire) != 0;
        self.table.iter().flatten().filter(taken).count() + self.other_count.load(Ordering::Acquire)
    }

    /// Whether no task is in progress.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7143_tags_are_unique_while_they_live() {
        let now = Instant::now();
        let tags = LiveTags::new(now);
        assert_eq!(tags.take(7, false, tags.stamp(now)), Ok(()));
        assert_eq!(tags.take(7, false, tags.stamp(now)), Err(TagError::InUse));
        assert_eq!(tags.oldest(), Some((7, now)));
        tags.free(7);
        assert_eq!(tags.take(7, true, tags.stamp(now)), Ok(()));
        for tag in 100..100 + MAX_IMMEDIATE_COMMANDS - 1 {
            assert_eq!(tags.take(tag, true, tags.stamp(now)), Ok(()));
        }
        assert_eq!(tags.take(1, true, tags.stamp(now)), Err(TagError::TooManyImmediate));
        assert_eq!(tags.take(1, false, tags.stamp(now)), Ok(()));
    }

    #[test]
    fn tags_that_find_no_room_are_kept_all_the_same() {
        let now = Instant::now();
        let tags = LiveTags::new(now);
        let later = now + Duration::from_millis(1500);
        // All of one set, so that most find no room.
        let same_set: Vec<u32> = (0..20).map(|i| 7 + i * 32).collect();
        for (index, tag) in same_set.iter().enumerate() {
            let at = if index == 0 { now } else { later };
            assert_eq!(tags.take(*tag, index == 9, tags.stamp(at)), Ok(()));
        }
        for tag in &same_set {
            assert_eq!(tags.take(*tag, false, tags.stamp(now)), Err(TagError::InUse));
        }
        assert_eq!((tags.len(), tags.oldest()), (20, Some((7, now))));
        tags.free(7);
        assert_eq!(tags.oldest().map(|(_, since)| since), Some(later));
        // Its place is another's now: a tag that was elsewhere is still found there.
        assert_eq!(tags.take(7, false, tags.stamp(later)), Ok(()));
        for tag in same_set.iter().rev() {
            assert!(tags.contains(*tag));
            tags.free(*tag);
            assert!(!tags.contains(*tag));
        }
        assert!(tags.is_empty());
        for tag in 0..MAX_IMMEDIATE_COMMANDS {
            assert_eq!(tags.take(tag, true, tags.stamp(now)), Ok(()), "the immediate one was counted down");
        }
    }

    #[test]
    fn tags_freed_by_other_threads_are_free() {
        let now = Instant::now();
        let tags = LiveTags::new(now);
        let (give, take) = std::sync::mpsc::channel::<u32>();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for tag in take {
                    tags.free(tag);
                }
            });
            for round in 0..200u32 {
                for tag in 0..256u32 {
                    let tag = tag * (round % 7 + 1);
                    while tags.take(tag, false, tags.stamp(now)) == Err(TagError::InUse) {
                        std::thread::yield_now();
                    }
                    give.send(tag).unwrap();
                }
            }
            drop(give);
        });
        assert!(tags.is_empty());
    }
}
