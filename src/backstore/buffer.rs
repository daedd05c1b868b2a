//! Aligned, recycled I/O memory with a byte budget.
//!
//! A recycled [`Buffer`] still holds what was in it: whoever sends bytes to an initiator has written them
//! first (the length of a reply counts bytes written, never the buffer's length).
//!
//! A thread that uses many small buffers may keep some to itself ([`crate::backstore::spare`]).

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::backstore::lent::Pipes;
use crate::backstore::spare;
use crate::sys::AlignedMemory;
use crate::sys::lock::{Lock, Locked};

pub use crate::sys::ALIGNMENT;

/// Smallest size class in bytes.
const SMALLEST: usize = 4096;
/// Largest buffer in bytes; requests above it are refused.
pub const LARGEST: usize = 32 << 20;
/// A buffer above this leaves an eighth of the budget alone: whoever has large commands out, and does not
/// read or send their data, keeps nobody else from working.
pub const MODEST: usize = 256 << 10;
/// Size classes are the powers of two from `SMALLEST` to `LARGEST`.
const CLASSES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;
/// Idle bytes kept per size class for reuse; one buffer at least: to give many megabytes back to the system
/// and to take them again costs milliseconds, which whoever shares the processor waits for.
const KEPT_BYTES_PER_CLASS: usize = 8 << 20;

/// Memory for the data of one command: aligned, initialised, given back to its pool when dropped.
pub struct Buffer {
    held: Option<Held>,
    length: usize,
}

/// Memory, and where it belongs. The reference stays with it while it waits to be used again: to count it is
/// an atomic operation, to move it is not.
pub(super) struct Held {
    memory: AlignedMemory,
    pub(super) pool: Arc<Inner>,
}

impl Buffer {
    /// A buffer without memory, for commands without data.
    pub const fn empty() -> Self {
        Buffer { held: None, length: 0 }
    }

    /// Whether it has memory of the smallest size.
    #[inline]
    pub(crate) fn is_small(&self) -> bool {
        self.held.as_ref().is_some_and(Held::is_small)
    }

    /// Makes a buffer that is no longer used one of `length` bytes, of unspecified content; `false`, and
    /// nothing done, unless it is a small one and that is just what the pool would hand out.
    #[inline]
    pub(crate) fn refit(&mut self, length: usize) -> bool {
        let fits = self.is_small() && (1..=SMALLEST).contains(&length);
        if fits {
            self.length = length;
        }
        fits
    }

    /// Shortens the visible length; never grows it.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.held {
            Some(held) => &held.memory[..self.length],
            None => &[],
        }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.held {
            Some(held) => &mut held.memory[..self.length],
            None => &mut [],
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.length)
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            held.give_back();
        }
    }
}

impl Held {
    #[inline(never)]
    fn give_back(self) {
        if let Some(held) = spare::put(self) {
            let pool = Arc::clone(&held.pool);
            pool.put(std::iter::once(held), 0);
        }
    }

    /// Whether it is of the smallest class.
    pub(super) fn is_small(&self) -> bool {
        self.memory.len() == SMALLEST
    }
}

/// What a pool has counted of one size class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassFigures {
    /// Size of its buffers in bytes.
    pub bytes: usize,
    /// Buffers asked for.
    pub total: u64,
    /// Of these, those that were there from before.
    pub hits: u64,
    /// Buffers given back that were not kept.
    pub released: u64,
    /// Buffers that are out.
    pub out: u64,
    /// Buffers that wait to be used again.
    pub idle: u64,
}

/// The buffers of one size, and what was counted of them.
#[derive(Default)]
struct Class {
    idle: Vec<Held>,
    figures: ClassFigures,
}

/// All that changes, under one lock: an atomic for the budget beside a lock for each size costs each command
/// more than the lock is ever waited for.
#[derive(Default)]
struct Stock {
    in_use: usize,
    refused: u64,
    classes: [Class; CLASSES],
    /// Nobody can ask any more: what comes back is not kept.
    is_closed: bool,
}

pub(super) struct Inner {
    budget: usize,
    pipes: Arc<Pipes>,
    stock: Lock<Stock>,
}

impl Inner {
    fn stock(&self) -> Locked<'_, Stock> {
        self.stock.lock()
    }

    /// Takes back what is no longer used. `served` small ones were handed out of what a thread keeps.
    pub(super) fn put(&self, all: impl Iterator<Item = Held>, served: u64) {
        // Giving memory back to the system is no work for the lock.
        let mut released = Vec::new();
        let mut stock = self.stock();
        stock.served(served);
        for held in all {
            // The memory of a class has the class's size, a power of two.
            let class = (held.memory.len() / SMALLEST).trailing_zeros() as usize;
            stock.in_use = stock.in_use.saturating_sub(held.memory.len());
            let is_closed = stock.is_closed;
            let own = &mut stock.classes[class];
            own.figures.out = own.figures.out.saturating_sub(1);
            let is_wanted =
                own.idle.is_empty() || (own.idle.len() + 1) << class <= KEPT_BYTES_PER_CLASS / SMALLEST;
            if is_wanted && !is_closed {
                own.idle.push(held);
            } else {
                own.figures.released += 1;
                released.push(held);
            }
        }
        drop(stock);
    }

    /// Counts a buffer of this class as out, if the budget lets it ([`MODEST`]); what waits to be used again,
    /// if anything.
    fn take(&self, class: usize) -> Option<Option<Held>> {
        let mut stock = self.stock();
        let bytes = SMALLEST << class;
        let in_use = stock.in_use.saturating_add(bytes);
        let kept_back = if bytes > MODEST { self.budget / 8 } else { 0 };
        if in_use > self.budget - kept_back {
            stock.refused += 1;
            return None;
        }
        stock.in_use = in_use;
        let own = &mut stock.classes[class];
        let recycled = own.idle.pop();
        own.figures.total += 1;
        own.figures.out += 1;
        own.figures.hits += u64::from(recycled.is_some());
        Some(recycled)
    }

    /// Moves up to `count` buffers of the smallest class that wait to be used again to `spare`, where they
    /// count as out; not while memory is scarce. `served` as in [`Inner::put`].
    pub(super) fn take_small(&self, spare: &mut Vec<Held>, count: usize, served: u64) {
        let mut stock = self.stock();
        stock.served(served);
        let affordable = (self.budget / 2).saturating_sub(stock.in_use) / SMALLEST;
        let own = &mut stock.classes[0];
        let count = count.min(affordable).min(own.idle.len());
        let first = own.idle.len() - count;
        spare.extend(own.idle.drain(first..));
        own.figures.out += count as u64;
        stock.in_use += count * SMALLEST;
    }

    fn close(&self) {
        let mut stock = self.stock();
        stock.is_closed = true;
        let idle = stock.classes.each_mut().map(|class| std::mem::take(&mut class.idle));
        drop(stock);
        drop(idle);
    }
}

impl Stock {
    fn served(&mut self, number: u64) {
        self.classes[0].figures.total += number;
        self.classes[0].figures.hits += number;
    }
}

fn class_of(length: usize) -> usize {
    if length <= SMALLEST {
        return 0;
    }
    (length.next_power_of_two() / SMALLEST).ilog2() as usize
}

/// Hands out buffers until the budget is used up. Cheap to clone; all clones share one budget.
#[derive(Clone)]
pub struct BufferPool {
    handle: Arc<Handle>,
}

/// What the clones of a pool share. What waits to be used again refers to the pool; when the last clone goes,
/// it goes too.
struct Handle {
    inner: Arc<Inner>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl BufferPool {
    /// A pool that never has more than `budget` bytes out at once.
    pub fn new(budget: usize) -> Self {
        BufferPool {
            handle: Arc::new(Handle {
                inner: Arc::new(Inner { budget, pipes: Arc::default(), stock: Lock::default() }),
            }),
        }
    }

    /// A buffer of exactly `length` visible bytes of unspecified content, or `None` when the budget is used
    /// up or `length` is above [`LARGEST`].
    pub fn get(&self, length: usize) -> Option<Buffer> {
        if length == 0 {
            return Some(Buffer::empty());
        }
        if length > LARGEST {
            return None;
        }
        let class = class_of(length);
        let inner = &self.handle.inner;
        if class == 0 {
            if let Some(held) = spare::take(inner) {
                return Some(Buffer { held: Some(held), length });
            }
        }
        let held = inner.take(class)?.unwrap_or_else(|| Held {
            memory: AlignedMemory::zeroed(SMALLEST << class),
            pool: Arc::clone(inner),
        });
        Some(Buffer { held: Some(held), length })
    }

    /// As [`BufferPool::get`] of one that the calling thread keeps to itself: it takes no lock, and no memory
    /// from anywhere. `None` where there is none.
    pub(crate) fn kept(&self, length: usize) -> Option<Buffer> {
        let is_small = (1..=SMALLEST).contains(&length);
        let held = if is_small { spare::pop(&self.handle.inner) } else { None };
        held.map(|held| Buffer { held: Some(held), length })
    }

    /// What pages are lent in.
    pub fn pipes(&self) -> &Arc<Pipes> {
        &self.handle.inner.pipes
    }

    /// Bytes out at the moment.
    pub fn in_use(&self) -> usize {
        self.handle.inner.stock().in_use
    }

    /// How often a buffer was refused because the budget was used up.
    pub fn refused(&self) -> u64 {
        self.handle.inner.stock().refused
    }

    /// What was counted of each size class, smallest first.
    pub fn figures(&self) -> Vec<ClassFigures> {
        let stock = self.handle.inner.stock();
        let figures = |(class, own): (usize, &Class)| ClassFigures {
            bytes: SMALLEST << class,
            idle: own.idle.len() as u64,
            ..own.figures
        };
        stock.classes.iter().enumerate().map(figures).collect()
    }

    /// Counts from zero again; what is out and what is kept stays so.
    pub fn reset_figures(&self) {
        let mut stock = self.handle.inner.stock();
        stock.refused = 0;
        for own in &mut stock.classes {
            own.figures = ClassFigures { out: own.figures.out, ..ClassFigures::default() };
        }
    }

    /// The limit given to [`BufferPool::new`].
    pub fn budget(&self) -> usize {
        self.handle.inner.budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_of_the_length_asked_for() {
        let pool = BufferPool::new(LARGEST * 2);
        for length in [1, 512, 4096, 4097, 65536, 1 << 20, LARGEST] {
            let buffer = pool.get(length).unwrap();
            assert_eq!(buffer.len(), length);
            assert_eq!(buffer.as_ptr() as usize % ALIGNMENT, 0);
        }
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn the_budget_holds_and_comes_back() {
        let pool = BufferPool::new(8192);
        let one = pool.get(4096).unwrap();
        let two = pool.get(10).unwrap();
        assert!(pool.get(1).is_none());
        drop(one);
        assert!(pool.get(1).is_some());
        drop(two);
        assert_eq!(pool.in_use(), 0);
        assert!(pool.get(LARGEST + 1).is_none());
    }

    #[test]
    fn large_buffers_leave_room_for_small_ones() {
        let pool = BufferPool::new(16 * LARGEST);
        let large: Vec<Buffer> = std::iter::from_fn(|| pool.get(LARGEST)).collect();
        assert_eq!(large.len(), 14);
        assert!(pool.get(MODEST + 1).is_none());
        let small: Vec<Buffer> = std::iter::from_fn(|| pool.get(MODEST)).collect();
        assert_eq!(small.len(), 2 * LARGEST / MODEST);
        assert!(pool.get(1).is_none(), "the budget is the budget");
    }

    #[test]
    fn of_each_size_one_is_kept_and_of_small_ones_more() {
        let pool = BufferPool::new(LARGEST * 4);
        let idle = |pool: &BufferPool, bytes: usize| pool.figures()[class_of(bytes)].idle;
        for (bytes, kept) in [(LARGEST, 1), (LARGEST / 2, 1), (KEPT_BYTES_PER_CLASS / 2, 2)] {
            let all: Vec<Buffer> = (0..3).map(|_| pool.get(bytes).unwrap()).collect();
            drop(all);
            assert_eq!(idle(&pool, bytes), kept, "{bytes} bytes");
        }
    }

    #[test]
    fn what_is_handed_out_and_comes_back_is_counted_by_size() {
        let pool = BufferPool::new(8192);
        let one = pool.get(5000).unwrap();
        assert!(pool.get(1).is_none());
        assert_eq!(pool.figures()[1], ClassFigures { bytes: 8192, total: 1, out: 1, ..Default::default() });
        drop(one);
        drop(pool.get(8192).unwrap());
        let expected = ClassFigures { bytes: 8192, total: 2, hits: 1, idle: 1, ..Default::default() };
        assert_eq!((pool.figures()[1], pool.refused()), (expected, 1));
        let again = pool.get(8192).unwrap();
        pool.reset_figures();
        assert_eq!(pool.figures()[1], ClassFigures { bytes: 8192, out: 1, ..Default::default() });
        assert_eq!(pool.refused(), 0);
        drop(again);
        assert_eq!(pool.figures()[1], ClassFigures { bytes: 8192, idle: 1, ..Default::default() });
    }
}
