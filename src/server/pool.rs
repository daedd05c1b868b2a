//! The worker pool: a fixed number of threads that may wait for a medium, shared by all units.
//!
//! Every unit has a lane of its own. A lane never has more than its share of the workers, so a unit whose
//! backstore hangs cannot hold the last of them; and a worker that has been in one task for longer than
//! [`STUCK_AFTER`] is counted as lost and replaced until it comes back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::warn;

use crate::bytes::number_map::NumberMap;
use crate::scsi::device::{Device, Dispatch};
use crate::scsi::execute;
use crate::scsi::task::Task;
use crate::sys::thread::spawn;

/// A worker that has been busy with one task for this long is replaced; the replacement starts within
/// [`LOOK_EVERY`] after that.
pub const STUCK_AFTER: Duration = Duration::from_secs(2);
/// How often the pool looks for stuck workers, while tasks are running.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Stack of a worker in bytes.
const STACK_BYTES: usize = 256 * 1024;
/// Stack of a long job in bytes.
const JOB_STACK_BYTES: usize = 1 << 20;
/// Lanes kept for units without tasks, so that a lane is not made anew for every command.
const LANES_KEPT: usize = 1024;
/// Most long jobs (FORMAT UNIT, SANITIZE) at once, each on a thread of its own.
const BACKGROUND_LIMIT: usize = 64;

/// Tasks of one unit.
#[derive(Default)]
struct Lane {
    /// The unit's name.
    name: String,
    queue: VecDeque<Task>,
    running: usize,
    is_ready: bool,
}

struct Worker {
    /// The lane of the task that it is busy with, or was last.
    lane: usize,
    busy_since: Option<Instant>,
    is_stuck: bool,
}

#[derive(Default)]
struct Schedule {
    lanes: NumberMap<usize, Lane>,
    ready: VecDeque<usize>,
    workers: NumberMap<u64, Worker>,
    next_worker: u64,
    idle: usize,
    calls: usize,
    stuck: usize,
    background: usize,
    has_watcher: bool,
    is_watched: bool,
    stopping: bool,
}

struct Shared {
    schedule: Mutex<Schedule>,
    work: Condvar,
    watch: Condvar,
    ended: Condvar,
    wanted: AtomicUsize,
}

/// Figures for the state dump and the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Threads.
    pub workers: usize,
    /// Threads waiting for work.
    pub idle: usize,
    /// Threads that have been in one task for longer than [`STUCK_AFTER`].
    pub stuck: usize,
    /// Tasks waiting for a thread.
    pub queued: usize,
}

/// The pool. Clones share it; [`Pool::stop`] ends it.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

impl Pool {
    /// A pool of `workers` threads, at least 2. Threads start when there is work for them.
    pub fn new(workers: usize) -> Self {
        Pool {
            shared: Arc::new(Shared {
                schedule: Mutex::default(),
                work: Condvar::new(),
                watch: Condvar::new(),
                ended: Condvar::new(),
                wanted: AtomicUsize::new(workers.max(2)),
            }),
        }
    }

    /// Another number of threads, at least 2. Threads that are too many end when they have nothing to do.
    pub fn resize(&self, workers: usize) {
        self.shared.wanted.store(workers.max(2), Ordering::Relaxed);
        let mut schedule = self.shared.lock();
        // Idle ones are called without work: they look whether they are wanted.
        schedule.calls = schedule.idle;
        drop(schedule);
        self.shared.work.notify_all();
    }

    /// Most workers that one unit can hold.
    pub fn share(&self) -> usize {
        self.shared.share()
    }

    /// What the pool is doing.
    pub fn state(&self) -> PoolState {
        let schedule = self.shared.lock();
        PoolState {
            workers: schedule.workers.len(),
            idle: schedule.idle,
            stuck: schedule.stuck,
            queued: schedule.lanes.values().map(|lane| lane.queue.len()).sum(),
        }
    }

    /// The unit whose task has kept a worker longest, and since when.
    pub fn longest(&self) -> Option<(String, Instant)> {
        let schedule = self.shared.lock();
        let busy = schedule.workers.values().filter_map(|worker| Some((worker.lane, worker.busy_since?)));
        let (lane, since) = busy.min_by_key(|(_, since)| *since)?;
        Some((schedule.lanes.get(&lane)?.name.clone(), since))
    }

    /// Queues a task behind the others of its unit.
    pub fn submit(&self, task: Task) {
        let key = Arc::as_ptr(task.device()) as usize;
        let shared = &self.shared;
        let mut schedule = shared.lock();
        let named = || Lane { name: task.device().name().to_owned(), ..Lane::default() };
        let lane = schedule.lanes.entry(key).or_insert_with(named);
        lane.queue.push_back(task);
        if lane.running >= shared.share() || lane.is_ready {
            return;
        }
        lane.is_ready = true;
        schedule.ready.push_back(key);
        if Shared::call(shared, &mut schedule) {
            drop(schedule);
            shared.work.notify_one();
        }
    }

    /// Lets the workers finish what is queued, at most for `drain`, and ends them. Threads that are stuck in
    /// a backstore cannot be ended; answers how many are left.
    pub fn stop(&self, drain: Duration) -> usize {
        let shared = &self.shared;
        let until = Instant::now() + drain;
        let mut schedule = shared.lock();
        schedule.stopping = true;
        shared.work.notify_all();
        shared.watch.notify_all();
        while schedule.workers.len() > schedule.stuck || schedule.has_watcher {
            let now = Instant::now();
            if now >= until {
                break;
            }
            let waited = shared.ended.wait_timeout(schedule, until - now);
            schedule = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        schedule.workers.len()
    }
}

impl Dispatch for Pool {
    fn dispatch(&self, task: Task) {
        self.submit(task);
    }

    fn drop_aborted(&self, device: &Arc<Device>) {
        let key = Arc::as_ptr(device) as usize;
        let mut schedule = self.shared.lock();
        let Some(lane) = schedule.lanes.get_mut(&key) else { return };
        let queue = std::mem::take(&mut lane.queue);
        drop(schedule);
        let mut left: VecDeque<Task> = queue.into_iter().filter_map(execute::end_if_aborted).collect();
        let mut schedule = self.shared.lock();
        let named = || Lane { name: device.name().to_owned(), ..Lane::default() };
        let lane = schedule.lanes.entry(key).or_insert_with(named);
        // What has come meanwhile is younger.
        left.append(&mut lane.queue);
        lane.queue = left;
        if !lane.queue.is_empty() && !lane.is_ready && lane.running < self.shared.share() {
            lane.is_ready = true;
            schedule.ready.push_back(key);
            if Shared::call(&self.shared, &mut schedule) {
                self.shared.work.notify_one();
            }
        }
    }

    fn workers(&self) -> usize {
        self.shared.wanted()
    }

    fn set_workers(&self, count: usize) {
        self.resize(count);
    }

    fn rest(&self, time: Duration) {
        thread::sleep(time);
    }

    fn background(&self, job: Box<dyn FnOnce() + Send>) {
        let shared = Arc::clone(&self.shared);
        let mut schedule = shared.lock();
        if schedule.background >= BACKGROUND_LIMIT {
            // The command's own thread does it then: slower for its initiator, but never lost.
            drop(schedule);
            return job();
        }
        schedule.background += 1;
        drop(schedule);
        let ended = Arc::clone(&shared);
        let run = move || {
            job();
            ended.lock().background -= 1;
        };
        if let Err(error) = spawn("scstu-job".into(), JOB_STACK_BYTES, run) {
            shared.lock().background -= 1;
            warn!("no thread for a background job: {error}");
        }
    }
}

impl Shared {
    fn wanted(&self) -> usize {
        self.wanted.load(Ordering::Relaxed)
    }

    /// A unit never has all of them.
    fn share(&self) -> usize {
        let wanted = self.wanted();
        (wanted - wanted / 4).clamp(1, wanted - 1)
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a worker for what has become ready: one that rests is to be notified (`true`), or a new one
    /// starts, or a busy one will see it.
    fn call(shared: &Arc<Self>, schedule: &mut Schedule) -> bool {
        if !schedule.has_watcher && !schedule.stopping {
            Self::start_watcher(shared, schedule);
        }
        if schedule.idle > schedule.calls {
            schedule.calls += 1;
            return true;
        }
        if schedule.workers.len() - schedule.stuck < shared.wanted() {
            Self::add_worker(shared, schedule);
        }
        false
    }

    fn add_worker(shared: &Arc<Self>, schedule: &mut Schedule) {
        let number = schedule.next_worker;
        schedule.next_worker += 1;
        let own = Arc::clone(shared);
        let name = format!("scstu-work-{number}");
        match spawn(name, STACK_BYTES, move || own.work(number)) {
            Ok(()) => {
                schedule.workers.insert(number, Worker { lane: 0, busy_since: None, is_stuck: false });
            }
            Err(error) => warn!("no thread for a worker: {error}"),
        }
    }

    /// The life of a worker.
    fn work(&self, number: u64) {
        let mut schedule = self.lock();
        loop {
            let Some((key, mut task)) = self.next(&mut schedule) else {
                if schedule.stopping || schedule.workers.len() - schedule.stuck > self.wanted() {
                    break;
                }
                schedule = self.rest(schedule);
                continue;
            };
            let started = Instant::now();
            if let Some(worker) = schedule.workers.get_mut(&number) {
                worker.lane = key;
                worker.busy_since = Some(started);
            }
            if !schedule.is_watched {
                self.watch.notify_one();
            }
            drop(schedule);
            task.set_started(started);
            execute::execute(task, true);
            schedule = self.lock();
            self.done(&mut schedule, number, key);
        }
        schedule.workers.remove(&number);
        self.ended.notify_all();
    }

    /// Waits for a call of its own: a notification that two submitters share would leave a task waiting.
    fn rest<'a>(&'a self, mut schedule: MutexGuard<'a, Schedule>) -> MutexGuard<'a, Schedule> {
        schedule.idle += 1;
        while schedule.calls == 0 && !schedule.stopping {
            schedule = self.work.wait(schedule).unwrap_or_else(PoisonError::into_inner);
        }
        schedule.calls = schedule.calls.saturating_sub(1);
        schedule.idle -= 1;
        schedule
    }

    /// The next task of the lane whose turn it is.
    fn next(&self, schedule: &mut Schedule) -> Option<(usize, Task)> {
        loop {
            let key = schedule.ready.pop_front()?;
            let Some(lane) = schedule.lanes.get_mut(&key) else { continue };
            lane.is_ready = false;
            // Tasks that were aborted have left the lane.
            let Some(task) = lane.queue.pop_front() else { continue };
            lane.running += 1;
            if !lane.queue.is_empty() && lane.running < self.share() {
                lane.is_ready = true;
                schedule.ready.push_back(key);
            }
            return Some((key, task));
        }
    }

    fn done(&self, schedule: &mut Schedule, number: u64, key: usize) {
        if let Some(worker) = schedule.workers.get_mut(&number) {
            worker.busy_since = None;
            schedule.stuck -= usize::from(std::mem::take(&mut worker.is_stuck));
        }
        let Some(lane) = schedule.lanes.get_mut(&key) else { return };
        lane.running -= 1;
        if lane.queue.is_empty() {
            if lane.running == 0 && !lane.is_ready && schedule.lanes.len() > LANES_KEPT {
                schedule.lanes.remove(&key);
            }
        } else if !lane.is_ready {
            lane.is_ready = true;
            schedule.ready.push_back(key);
        }
    }

    fn start_watcher(shared: &Arc<Self>, schedule: &mut Schedule) {
        let own = Arc::clone(shared);
        match spawn("scstu-watch".into(), STACK_BYTES, move || own.watch()) {
            Ok(()) => schedule.has_watcher = true,
            Err(error) => warn!("no thread to watch the workers: {error}"),
        }
    }

    /// Looks for workers that are stuck and replaces them; sleeps without a time-out while none is busy.
    fn watch(self: Arc<Self>) {
        let mut schedule = self.lock();
        while !schedule.stopping {
            schedule.is_watched = schedule.workers.values().any(|worker| worker.busy_since.is_some());
            if schedule.is_watched {
                let waited = self.watch.wait_timeout(schedule, LOOK_EVERY);
                schedule = waited.unwrap_or_else(PoisonError::into_inner).0;
                self.look(&mut schedule);
            } else {
                schedule = self.watch.wait(schedule).unwrap_or_else(PoisonError::into_inner);
            }
        }
        schedule.is_watched = false;
        schedule.has_watcher = false;
        self.ended.notify_all();
    }

    fn look(self: &Arc<Self>, schedule: &mut Schedule) {
        let now = Instant::now();
        for worker in schedule.workers.values_mut() {
            let late = worker.busy_since.is_some_and(|since| now.duration_since(since) >= STUCK_AFTER);
            if late && !worker.is_stuck {
                worker.is_stuck = true;
                schedule.stuck += 1;
            }
        }
        let mut live = schedule.workers.len() - schedule.stuck;
        let waiting: usize = schedule.ready.len();
        while schedule.idle == 0 && waiting > 0 && live < self.wanted() {
            Self::add_worker(self, schedule);
            live += 1;
        }
    }
}
