//! Small buffers that a thread keeps to itself, so that it takes the lock of their pool once for many.
//!
//! A thread that wants it says so ([`keep`]). Before it sleeps it gives back what it keeps ([`give_back`]):
//! who is idle holds no memory.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::backstore::buffer::{Held, Inner};

/// Buffers that a thread keeps at most.
const LIMIT: usize = 64;
/// Buffers that move at once between a thread and the pool.
const AT_ONCE: usize = 16;

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Spare::NONE) };
}

/// Buffers of the smallest class, of one pool. The pool counts them as out.
struct Spare {
    is_kept: bool,
    held: Vec<Held>,
    /// Handed out of these, and not yet counted by the pool.
    served: u64,
}

impl Spare {
    const NONE: Spare = Spare { is_kept: false, held: Vec::new(), served: 0 };

    fn give_back(&mut self, count: usize) {
        let first = self.held.len().saturating_sub(count);
        let Some(pool) = self.held.get(first).map(|held| Arc::clone(&held.pool)) else { return };
        let served = std::mem::take(&mut self.served);
        pool.put(self.held.drain(first..), served);
    }

    fn put(&mut self, held: Held) -> Option<Held> {
        let is_other = |kept: &Held| !Arc::ptr_eq(&kept.pool, &held.pool);
        if !self.is_kept || !held.is_small() || self.held.last().is_some_and(is_other) {
            return Some(held);
        }
        if self.held.len() == LIMIT {
            self.give_back(AT_ONCE);
        }
        self.held.push(held);
        None
    }

    fn take(&mut self, pool: &Arc<Inner>) -> Option<Held> {
        if !self.is_kept {
            return None;
        }
        if self.held.is_empty() {
            pool.take_small(&mut self.held, AT_ONCE, std::mem::take(&mut self.served));
        }
        self.pop(pool)
    }

    fn pop(&mut self, pool: &Arc<Inner>) -> Option<Held> {
        if !Arc::ptr_eq(&self.held.last()?.pool, pool) {
            return None;
        }
        self.served += 1;
        self.held.pop()
    }
}

/// The calling thread keeps buffers until this is dropped.
#[must_use]
pub struct Keeping {
    /// It belongs to its thread.
    not_send: PhantomData<*const ()>,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        give_back();
        let _ = SPARE.try_with(|spare| spare.borrow_mut().is_kept = false);
    }
}

/// Has the calling thread keep buffers that it has used, until what this answers is dropped.
pub fn keep() -> Keeping {
    let _ = SPARE.try_with(|spare| spare.borrow_mut().is_kept = true);
    Keeping { not_send: PhantomData }
}

/// Gives back what the calling thread keeps: it is about to sleep.
pub fn give_back() {
    let _ = SPARE.try_with(|spare| spare.borrow_mut().give_back(LIMIT));
}

/// Keeps a buffer that is no longer used, if the calling thread keeps such; else it comes back.
pub(super) fn put(held: Held) -> Option<Held> {
    let mut held = Some(held);
    // A thread that is ending keeps nothing.
    let _ = SPARE.try_with(|spare| held = held.take().and_then(|held| spare.borrow_mut().put(held)));
    held
}

/// A buffer that the calling thread keeps, without a lock.
pub(super) fn pop(pool: &Arc<Inner>) -> Option<Held> {
    SPARE.try_with(|spare| spare.borrow_mut().pop(pool)).ok().flatten()
}

/// A buffer that the calling thread keeps; what it keeps is filled up if there is none.
pub(super) fn take(pool: &Arc<Inner>) -> Option<Held> {
    SPARE.try_with(|spare| spare.borrow_mut().take(pool)).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backstore::buffer::{BufferPool, ClassFigures};

    fn figures(pool: &BufferPool) -> ClassFigures {
        pool.figures()[0]
    }

    #[test]
    fn what_a_thread_keeps_counts_as_out_until_it_gives_it_back() {
        let pool = BufferPool::new(1 << 20);
        // Twenty wait in the pool.
        drop((0..20).map(|_| pool.get(512).unwrap()).collect::<Vec<_>>());
        let keeping = keep();
        let buffers: Vec<_> = (0..18).map(|_| pool.get(512).unwrap()).collect();
        // Sixteen, then what is left.
        assert_eq!((figures(&pool).out, pool.in_use()), (20, 20 * 4096));
        drop(buffers);
        assert_eq!((figures(&pool).out, figures(&pool).idle), (20, 0));
        drop(pool.get(4096).unwrap());
        give_back();
        let expected = ClassFigures { bytes: 4096, total: 39, hits: 19, idle: 20, ..Default::default() };
        assert_eq!((figures(&pool), pool.in_use()), (expected, 0));
        drop(keeping);
        drop(pool.get(1).unwrap());
        assert_eq!((figures(&pool).out, figures(&pool).total), (0, 40));
    }

    #[test]
    fn a_thread_keeps_few_of_one_pool_and_small_ones_only() {
        let (pool, other) = (BufferPool::new(1 << 20), BufferPool::new(1 << 20));
        let _keeping = keep();
        let buffers: Vec<_> = (0..100).map(|_| pool.get(512).unwrap()).collect();
        drop(buffers);
        assert!(figures(&pool).out <= LIMIT as u64);
        drop((other.get(512).unwrap(), pool.get(8192).unwrap()));
        assert_eq!((other.in_use(), pool.figures()[1].out), (0, 0));
        give_back();
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn a_thread_takes_no_more_than_it_needs_when_memory_is_scarce() {
        let pool = BufferPool::new(8 * 4096);
        drop((0..8).map(|_| pool.get(1).unwrap()).collect::<Vec<_>>());
        let keeping = keep();
        // Others find all of the budget that this thread does not use.
        let own = pool.get(1).unwrap();
        let others: Vec<_> =
            std::thread::scope(|scope| scope.spawn(|| (0..4).map(|_| pool.get(1).unwrap()).collect()).join())
                .unwrap();
        assert_eq!(pool.in_use(), 8 * 4096);
        drop((own, others, keeping));
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn memory_that_waits_goes_with_its_pool() {
        let pool = BufferPool::new(1 << 20);
        let _keeping = keep();
        let kept = pool.get(1).unwrap();
        let inner = {
            drop(pool.get(1).unwrap());
            Arc::downgrade(&SPARE.with(|spare| Arc::clone(&spare.borrow().held[0].pool)))
        };
        drop(pool);
        drop(kept);
        give_back();
        assert!(inner.upgrade().is_none(), "something still refers to the pool");
    }
}
