//! Threads of this library in somebody else's process: they run none of its signal handlers, and know which
//! instance they work for.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::thread::Builder;
use std::time::Duration;

thread_local! {
    static OWNER: Cell<u64> = const { Cell::new(0) };
    static TAKES_NO_SIGNALS: Cell<bool> = const { Cell::new(false) };
}

/// The instance that the calling thread works for; 0 for none. Threads inherit it from who starts them.
pub fn owner() -> u64 {
    OWNER.get()
}

/// Runs `work` on behalf of the instance `owner`.
pub fn on_behalf_of<T>(owner: u64, work: impl FnOnce() -> T) -> T {
    struct Restore(u64);
    impl Drop for Restore {
        fn drop(&mut self) {
            OWNER.set(self.0);
        }
    }
    let _restore = Restore(OWNER.replace(owner));
    work()
}

/// Starts a thread that takes no signals, from its first instruction on, and works for the same instance as
/// the calling one. It ends by itself: nobody waits for it.
pub fn spawn(name: String, stack_bytes: usize, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let owner = owner();
    #[cfg(test)]
    let work = crate::sys::interleave::explorer::adopted(work);
    let before = block_all();
    let started = Builder::new().name(name).stack_size(stack_bytes).spawn(move || {
        OWNER.set(owner);
        TAKES_NO_SIGNALS.set(true);
        work();
    });
    restore(&before);
    started.map(drop)
}

/// Whether the calling thread was started by [`spawn`]: calls that can raise SIGPIPE are for such threads
/// only.
pub fn takes_no_signals() -> bool {
    TAKES_NO_SIGNALS.get()
}

/// Processor time of the calling thread so far, the kernel's on its behalf included.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, for which there is room.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

/// How often a thread has given its processor away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    /// To wait for something.
    pub voluntary: i64,
    /// Because others were to run.
    pub involuntary: i64,
}

impl Switches {
    /// Those of the calling thread so far.
    pub fn of_this_thread() -> Self {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the kernel writes one rusage, for which there is room.
        unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
        // SAFETY: a rusage is numbers, and zeros were there before the kernel wrote.
        let usage = unsafe { usage.assume_init() };
        Switches { voluntary: usage.ru_nvcsw, involuntary: usage.ru_nivcsw }
    }

    /// Whether the thread was only kept from running between `before` and now: time has passed in which it
    /// did nothing and waited for nothing.
    pub fn only_preempted_since(self, before: Switches) -> bool {
        self.voluntary == before.voluntary && self.involuntary != before.involuntary
    }
}

/// Words of a set of processors: 1,024 processors, as many as the C library's own set has.
const CPU_WORDS: usize = 16;

/// Processors that a thread may run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSet([u64; CPU_WORDS]);

impl CpuSet {
    /// The processors with a bit in these words of 32 bits, the lowest first; at most 1,024.
    pub fn of(words: &[u32]) -> Self {
        let mut set = [0; CPU_WORDS];
        for (place, word) in words.iter().enumerate().take(2 * CPU_WORDS) {
            set[place / 2] |= u64::from(*word) << (place % 2 * 32);
        }
        CpuSet(set)
    }

    /// Has the calling thread run on these processors only.
    pub fn bind(&self) -> io::Result<()> {
        let size = size_of_val(&self.0);
        // SAFETY: the set is `size` initialised bytes that outlive the call; 0 is the calling thread.
        let result = unsafe { libc::sched_setaffinity(0, size, (&raw const self.0).cast()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = self.0.iter().rev().map(|word| format!("{word:016x}")).collect();
        f.write_str(digits.trim_start_matches('0'))
    }
}

/// Runs somebody else's code so that the threads it starts take no signals.
pub fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(libc::sigset_t);
    impl Drop for Restore {
        fn drop(&mut self) {
            restore(&self.0);
        }
    }
    let _restore = Restore(block_all());
    work()
}

/// Names the calling thread; Linux keeps 15 bytes.
pub fn name(text: &str) {
    let mut name = [0u8; 16];
    for (place, byte) in name.iter_mut().zip(text.bytes()).take(15) {
        *place = byte;
    }
    // SAFETY: a string of at most 15 bytes and its NUL, which the system copies.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Has the calling thread wake up when its time-outs end, and not up to 50 us later together with others
/// (PR_SET_TIMERSLACK).
pub fn be_punctual() {
    // SAFETY: this request takes a number of nanoseconds, and no pointers.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

fn block_all() -> libc::sigset_t {
    // SAFETY: sigset_t is plain data for which all zeros is valid.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    let mut before = all;
    // SAFETY: `all` is a valid set to fill.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: both sets are initialised and outlive the call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
    before
}

fn restore(before: &libc::sigset_t) {
    // SAFETY: `before` is a set that the system has written; no old one is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    #[test]
    fn words_become_a_set() {
        assert_eq!(CpuSet::of(&[5, 1]).to_string(), "100000005");
        assert_eq!(CpuSet::of(&[0, 0, 0x8000_0000]).to_string(), format!("8{}", "0".repeat(23)));
    }

    #[test]
    fn work_takes_processor_time_and_sleep_does_not() {
        let start = Instant::now();
        let before = cpu_time();
        while cpu_time() - before < Duration::from_millis(2) {}
        assert!(start.elapsed() >= Duration::from_millis(2));
        let before = cpu_time();
        std::thread::sleep(Duration::from_millis(50));
        assert!(cpu_time() - before < Duration::from_millis(50));
    }

    #[test]
    fn a_thread_can_be_bound() {
        let allowed = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = allowed.lines().find_map(|line| line.strip_prefix("Cpus_allowed:")).unwrap().trim();
        let words: Vec<u32> = mask.rsplit(',').map(|word| u32::from_str_radix(word, 16).unwrap()).collect();
        let all = CpuSet::of(&words);
        let bound = std::thread::spawn(move || {
            all.bind().unwrap();
            std::fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        assert!(bound.join().unwrap().contains(mask));
        let mut beyond = [0; 2 * CPU_WORDS];
        beyond[2 * CPU_WORDS - 1] = 1 << 31;
        let beyond = CpuSet::of(&beyond);
        assert!(std::thread::spawn(move || beyond.bind()).join().unwrap().is_err());
    }

    #[test]
    fn a_thread_can_be_punctual() {
        let slack = std::thread::spawn(|| {
            be_punctual();
            // SAFETY: this request takes no pointers, and answers a number of nanoseconds.
            unsafe { libc::prctl(libc::PR_GET_TIMERSLACK) }
        });
        assert_eq!(slack.join().unwrap(), 1);
    }

    #[test]
    fn threads_inherit_the_instance_and_take_no_signals() {
        let (send, receive) = channel();
        on_behalf_of(7, || {
            spawn("one".into(), 1 << 16, move || {
                // SAFETY: sigset_t is plain data for which all zeros is valid.
                let mut mask: libc::sigset_t = unsafe { std::mem::zeroed() };
                // SAFETY: no new set is given; `mask` is written.
                unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask) };
                // SAFETY: `mask` is initialised.
                let blocked = unsafe { libc::sigismember(&raw const mask, libc::SIGTERM) };
                send.send((owner(), blocked)).unwrap();
            })
            .unwrap();
        });
        assert_eq!(receive.recv().unwrap(), (7, 1));
        assert_eq!(owner(), 0);
    }
}
