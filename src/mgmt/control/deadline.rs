//! Work with a deadline: whoever waits for a medium that hangs is told EAGAIN, and the work goes on.
//!
//! SCST does the same (its mgmt writes wait 15 s), so its tools know what to do: they read
//! last_sysfs_mgmt_res, which answers EAGAIN while such work is under way.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::mgmt::control::Files;
use crate::mgmt::tree::Kind;
use crate::model::Error;
use crate::sys::thread::spawn;

/// How long SCST lets a writer wait.
pub const DEADLINE: Duration = Duration::from_secs(15);
/// Threads that work.
const THREAD_LIMIT: usize = 32;
/// Stack of a thread in bytes.
const STACK_BYTES: usize = 1 << 20;
/// Work that waits for a thread.
const QUEUE_LIMIT: usize = 256;
/// How long a thread stays without work.
const IDLE: Duration = Duration::from_secs(30);
/// The file that tells how late work ended.
pub const LAST_RESULT: &str = "last_sysfs_mgmt_res";

type Job = Box<dyn FnOnce() + Send>;

/// Threads that carry out work for callers who wait only so long.
#[derive(Clone)]
pub struct Desk {
    work: Arc<Work>,
    limit: Duration,
}

#[derive(Default)]
struct Work {
    state: Mutex<State>,
    came: Condvar,
    /// Work that nobody waits for any more.
    overdue: AtomicUsize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// What became of a piece of work, in [`Desk::run`].
const WAITED_FOR: u8 = 0;
const GIVEN_UP: u8 = 1;
const DONE: u8 = 2;

impl Desk {
    /// A desk whose callers wait for `limit`.
    pub fn new(limit: Duration) -> Self {
        Desk { work: Arc::default(), limit }
    }

    /// Whether work is under way that nobody waits for any more.
    pub fn is_behind(&self) -> bool {
        self.work.overdue.load(Ordering::SeqCst) > 0
    }

    /// Does the work and answers its result, or EAGAIN if it takes too long: then it goes on. EBUSY if there
    /// is too much to do already: then it is not begun.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.run_then(work, |_| {})
    }

    /// The same; how work ended that nobody waits for any more is told to `late`, before
    /// [`is_behind`](Self::is_behind) says that it has.
    pub fn run_then<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
        late: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, result) = sync_channel(1);
        let state = Arc::new(AtomicU8::new(WAITED_FOR));
        let (theirs, desk) = (Arc::clone(&state), Arc::clone(&self.work));
        self.work.enter(Box::new(move || {
            // A panic is a bug; it costs its caller the answer, not the desk a thread.
            let mut end = Err(Error::new(libc::EIO, "internal error"));
            if let Ok(done) = catch_unwind(AssertUnwindSafe(work)) {
                end = done.as_ref().map(|_| ()).map_err(Clone::clone);
                let _ = answer.send(done);
            }
            drop(answer);
            if theirs.swap(DONE, Ordering::SeqCst) == GIVEN_UP {
                late(end);
                desk.overdue.fetch_sub(1, Ordering::SeqCst);
            }
        }))?;
        match result.recv_timeout(self.limit) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => return Err(Error::new(libc::EIO, "internal error")),
            Err(RecvTimeoutError::Timeout) => self.work.overdue.fetch_add(1, Ordering::SeqCst),
        };
        if state.compare_exchange(WAITED_FOR, GIVEN_UP, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.work.overdue.fetch_sub(1, Ordering::SeqCst);
            if let Ok(result) = result.try_recv() {
                return result;
            }
        }
        let seconds = self.limit.as_secs_f32();
        Err(Error::new(libc::EAGAIN, format!("not done within {seconds} s; it goes on in the background")))
    }
}

impl Work {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a job, and starts a thread if all are at work.
    fn enter(self: &Arc<Self>, job: Job) -> Result<(), Error> {
        let mut state = self.state();
        if state.queue.len() >= QUEUE_LIMIT {
            return Err(Error::new(libc::EBUSY, "too many requests are waiting; nothing was changed"));
        }
        state.queue.push_back(job);
        if state.queue.len() > state.idle && state.threads < THREAD_LIMIT {
            let theirs = Arc::clone(self);
            if spawn("scstu-manage".into(), STACK_BYTES, move || theirs.serve()).is_ok() {
                state.threads += 1;
            }
        }
        drop(state);
        self.came.notify_one();
        Ok(())
    }

    fn serve(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                job();
                state = self.state();
                continue;
            }
            state.idle += 1;
            let (woken, wait) = self.came.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if wait.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

/// Files whose contents are read and written in time.
pub struct Bounded<T> {
    files: Arc<T>,
    desk: Desk,
}

impl<T: Files + 'static> Bounded<T> {
    /// `files`, through a desk.
    pub fn new(files: Arc<T>, desk: Desk) -> Self {
        Bounded { files, desk }
    }

    fn run<R: Send + 'static>(
        &self,
        path: &str,
        work: impl FnOnce(&T, &str) -> Result<R, Error> + Send + 'static,
    ) -> Result<R, Error> {
        let (files, path) = (Arc::clone(&self.files), path.to_owned());
        self.desk.run(move || work(&files, &path))
    }
}

/// What [`LAST_RESULT`] says while work goes on that nobody waits for (SCST 1.0.4).
pub fn goes_on() -> Error {
    Error::new(libc::EAGAIN, "work goes on in the background")
}

impl<T: Files + 'static> Files for Bounded<T> {
    // What there is comes out of a snapshot of the model, for which nobody waits (`model`, Locks).

    fn kind(&self, path: &str) -> Result<Kind, Error> {
        self.files.kind(path)
    }

    fn look(&self, path: &str) -> Result<(Kind, u64), Error> {
        self.files.look(path)
    }

    fn list(&self, path: &str) -> Result<Vec<(String, Kind)>, Error> {
        self.files.list(path)
    }

    fn read(&self, path: &str) -> Result<String, Error> {
        if path == LAST_RESULT && self.desk.is_behind() {
            return Err(goes_on());
        }
        self.run(path, |files, path| files.read(path))
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Error> {
        let text = text.to_owned();
        self.run(path, move |files, path| files.write(path, &text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn work_that_hangs_is_given_up_and_goes_on() {
        let desk = Desk::new(Duration::from_millis(30));
        let (finish, wait) = mpsc::channel::<()>();
        let (done, ended) = mpsc::channel();
        let hang = move || {
            let _ = wait.recv();
            let _ = done.send(());
            Ok(())
        };
        let end = Arc::new(Mutex::new(None));
        let theirs = Arc::clone(&end);
        let late = move |told| *theirs.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        assert_eq!(desk.run_then(hang, late).unwrap_err().errno, libc::EAGAIN);
        assert!(desk.is_behind() && end.lock().is_ok_and(|end| end.is_none()));
        assert_eq!(desk.run(|| Ok(5)), Ok(5), "others are served meanwhile");
        finish.send(()).unwrap();
        ended.recv().unwrap();
        while desk.is_behind() {
            std::thread::yield_now();
        }
        assert_eq!(*end.lock().unwrap(), Some(Ok(())));
    }

    #[test]
    fn a_desk_with_too_much_to_do_says_so() {
        let desk = Desk::new(Duration::ZERO);
        let (finish, wait) = mpsc::channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        for _ in 0..THREAD_LIMIT + QUEUE_LIMIT {
            // A thread that was just started may not have taken its work yet: its place comes free.
            let mut errno = libc::EBUSY;
            while errno == libc::EBUSY {
                let wait = Arc::clone(&wait);
                let hang = move || {
                    let _ = wait.lock().map(|wait| wait.recv());
                    Ok(())
                };
                errno = desk.run(hang).unwrap_err().errno;
            }
            assert_eq!(errno, libc::EAGAIN);
        }
        // A thread that was just started may not have taken its work yet.
        let deadline = std::time::Instant::now() + DEADLINE;
        while desk.run(|| Ok(())).unwrap_err().errno != libc::EBUSY {
            assert!(std::time::Instant::now() < deadline);
        }
        drop(finish);
        while desk.is_behind() {
            std::thread::yield_now();
        }
        let patient = Desk { limit: DEADLINE, ..desk };
        assert_eq!(patient.run(|| Ok(())), Ok(()));
    }

    #[test]
    fn a_panic_costs_one_answer() {
        let desk = Desk::new(DEADLINE);
        assert_eq!(desk.run::<()>(|| panic!("on purpose")).unwrap_err().errno, libc::EIO);
        assert_eq!(desk.run(|| Ok(1)), Ok(1));
    }
}
