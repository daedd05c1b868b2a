//! Threads of this library in somebody else's process: they run none of its signal handlers, and know which
//! instance they work for.

use std::cell::Cell;
use std::io;
use std::thread::Builder;

thread_local! {
    static OWNER: Cell<u64> = const { Cell::new(0) };
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
    let before = block_all();
    let started = Builder::new().name(name).stack_size(stack_bytes).spawn(move || {
        OWNER.set(owner);
        work();
    });
    restore(&before);
    started.map(drop)
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
