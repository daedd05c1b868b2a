//! Mutual exclusion among very many threads.
//!
//! A thread can lose its processor while it has a lock. Where a processor has a thousand threads to run,
//! hundreds find the lock taken before its owner runs again, and sleep. If whoever lets go woke one of them,
//! as std's `Mutex` does, each would wake the next only when its own turn on the processor had come, and the
//! last of them would sleep for seconds behind a lock that is free nearly all the time. Here the more are
//! woken the more sleep.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

const FREE: u32 = 0;
const TAKEN: u32 = 1;
/// Taken, and there may be threads that sleep.
const WAITED_FOR: u32 = 2;
/// Of so many that sleep, one is woken beside the first.
const SLEEPERS_PER_WOKEN: u32 = 8;
/// Most threads woken at a time: who wakes them pays for it with its own time.
const MOST_WOKEN: u32 = 32;
/// How often a thread looks again before it sleeps.
const LOOKS: u32 = 100;

/// A value that one thread at a time has. Not fair: who comes first has it. A thread that panics lets go, and
/// the value stays as it was left.
#[repr(C)] // The value comes last: whoever arranges what is in it knows where it begins.
pub struct Lock<T> {
    word: AtomicU32,
    /// Threads that sleep or are about to.
    sleepers: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: with the lock goes its value, which may go to another thread.
unsafe impl<T: Send> Send for Lock<T> {}
// SAFETY: whoever shares the lock gets at the value as its only user, as if it had been sent there.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    /// A lock that nobody has.
    pub const fn new(value: T) -> Self {
        Lock { word: AtomicU32::new(FREE), sleepers: AtomicU32::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits for the value. A thread that has it already waits for ever.
    #[inline]
    pub fn lock(&self) -> Locked<'_, T> {
        if self.word.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.wait();
        }
        Locked { lock: self }
    }

    /// Whether a thread has it, which may be over when this answers.
    pub fn is_taken(&self) -> bool {
        self.word.load(Ordering::Relaxed) != FREE
    }

    #[cold]
    fn wait(&self) {
        for _ in 0..LOOKS {
            if self.word.load(Ordering::Relaxed) != TAKEN {
                break;
            }
            std::hint::spin_loop();
        }
        if self.word.compare_exchange(FREE, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            return;
        }
        // Who has slept cannot know whether it was the last: it takes the lock as one that is waited for.
        while self.word.swap(WAITED_FOR, Ordering::Acquire) != FREE {
            self.sleep();
        }
    }

    /// Sleeps unless the word has changed already. May come back for no reason.
    fn sleep(&self) {
        let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
        let for_ever = ptr::null::<libc::timespec>();
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the word outlives the call, and the kernel only reads it.
        unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), operation, WAITED_FOR, for_ever) };
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
    }

    #[cold]
    fn wake(&self) {
        let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
        let sleepers = self.sleepers.load(Ordering::Relaxed);
        let woken = (1 + sleepers / SLEEPERS_PER_WOKEN).min(MOST_WOKEN);
        // SAFETY: the kernel takes the word's address as a name and does not look at it.
        unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), operation, woken) };
    }
}

impl<T: Default> Default for Lock<T> {
    fn default() -> Self {
        Lock::new(T::default())
    }
}

/// The value, until this is dropped.
#[must_use]
pub struct Locked<'a, T> {
    lock: &'a Lock<T>,
}

// SAFETY: shares nothing but a reference to the value.
unsafe impl<T: Sync> Sync for Locked<'_, T> {}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread has the lock, so that nobody else has a reference that may write.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Locked<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this thread has the lock, and `&mut self` excludes every other reference by way of it.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Locked<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if self.lock.word.swap(FREE, Ordering::Release) == WAITED_FOR {
            self.lock.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::thread_id;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn one_thread_at_a_time_has_the_value() {
        let lock = Lock::new((0u64, 0u64));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let mut value = lock.lock();
                        value.0 += 1;
                        value.1 = value.0;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (160_000, 160_000));
        assert_eq!((lock.word.into_inner(), lock.sleepers.into_inner()), (FREE, 0));
    }

    #[test]
    fn a_thread_that_panics_lets_go() {
        let lock = Lock::new(1);
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut value = lock.lock();
            *value = 2;
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        assert!(!lock.is_taken());
        assert_eq!(*lock.lock(), 2);
    }

    /// State and voluntary switches of threads of this process.
    fn observe(threads: &[u32]) -> (bool, u64) {
        let (mut all_sleep, mut switches) = (true, 0);
        for thread in threads {
            let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
            let value = |key: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
                line.split_whitespace().next().unwrap().to_owned()
            };
            all_sleep &= value("State:") == "S";
            switches += value("voluntary_ctxt_switches:").parse::<u64>().unwrap();
        }
        (all_sleep, switches)
    }

    fn await_sleep(lock: &Lock<u32>, threads: &[u32]) -> u64 {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let count = lock.sleepers.load(Ordering::Relaxed) as usize;
            if let (true, switches) = observe(threads) {
                if count == threads.len() {
                    return switches;
                }
            }
            assert!(Instant::now() < until, "{count} of {} sleep", threads.len());
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_more_sleep_the_more_are_woken_and_none_is_forgotten() {
        for (sleepers, woken) in [(1, 1), (7, 1), (64, 9), (400, 32)] {
            let lock = Arc::new(Lock::new(0));
            let taken = lock.lock();
            let (send, receive) = channel();
            let threads: Vec<_> = (0..sleepers)
                .map(|_| {
                    let (lock, send) = (Arc::clone(&lock), send.clone());
                    let work = move || {
                        send.send(thread_id()).unwrap();
                        *lock.lock() += 1;
                    };
                    thread::Builder::new().stack_size(64 * 1024).spawn(work).unwrap()
                })
                .collect();
            let ids: Vec<u32> = receive.iter().take(sleepers).collect();
            let before = await_sleep(&lock, &ids);
            // They find it still taken and sleep again, each after one more switch.
            lock.wake();
            let until = Instant::now() + Duration::from_secs(30);
            while observe(&ids).1 < before + woken && Instant::now() < until {
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(await_sleep(&lock, &ids), before + woken, "of {sleepers}");
            drop(taken);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(*lock.lock() as usize, sleepers);
            assert_eq!(lock.sleepers.load(Ordering::Relaxed), 0);
        }
    }
}
