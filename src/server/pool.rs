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
use crate::server::lane::{CLOSE_LOOK, Held, Lane, Pace, Stopwatch};
use crate::sys::thread::spawn;

/// A worker that has been busy with one task for this long is replaced; the replacement starts within
/// [`LOOK_EVERY`] after that.
pub const STUCK_AFTER: Duration = Duration::from_secs(2);
/// How often the pool looks for stuck workers, while tasks are running.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The watcher looks closely for so long after the last reason to.
const CLOSE_LOOKS: u32 = 20;
/// Stack of a worker in bytes.
const STACK_BYTES: usize = 256 * 1024;
/// Stack of a long job in bytes.
const JOB_STACK_BYTES: usize = 1 << 20;
/// Lanes kept for units without tasks, so that a lane is not made anew for every command.
const LANES_KEPT: usize = 1024;
/// Most long jobs (FORMAT UNIT, SANITIZE) at once, each on a thread of its own.
const BACKGROUND_LIMIT: usize = 64;

#[derive(Default)]
struct Worker {
    /// The lane of the task that it is busy with, or was last.
    lane: usize,
    busy_since: Option<Instant>,
    is_stuck: bool,
    is_late: bool,
    held: Held,
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
    /// Looks that the watcher still makes every [`CLOSE_LOOK`].
    close_looks: u32,
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

/// The pool. Clones share it; [`Pool::stop`] ends its threads.
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
        let named = || Lane::new(task.device().name());
        let lane = schedule.lanes.entry(key).or_insert_with(named);
        lane.queue.push_back(task);
        if lane.is_in_hand() {
            return shared.watch_closely(&mut schedule);
        }
        if Shared::offer(shared, &mut schedule, key) {
            drop(schedule);
            shared.work.notify_one();
        }
    }

    /// Goes on after [`Pool::stop`].
    pub fn start(&self) {
        let mut schedule = self.shared.lock();
        schedule.stopping = false;
        for _ in 0..schedule.ready.len() {
            if Shared::call(&self.shared, &mut schedule) {
                self.shared.work.notify_one();
            }
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
        let lane = schedule.lanes.entry(key).or_insert_with(|| Lane::new(device.name()));
        // What has come meanwhile is younger.
        left.append(&mut lane.queue);
        lane.queue = left;
        if Shared::offer(&self.shared, &mut schedule, key) {
            self.shared.work.notify_one();
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

    /// Makes a lane ready if it wants another worker; `true` when one that rests is to be notified.
    fn offer(shared: &Arc<Self>, schedule: &mut Schedule, key: usize) -> bool {
        let Some(lane) = schedule.lanes.get_mut(&key) else { return false };
        if !lane.wants_worker(shared.share()) {
            return false;
        }
        lane.is_ready = true;
        schedule.ready.push_back(key);
        Self::call(shared, schedule)
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
                schedule.workers.insert(number, Worker::default());
            }
            Err(error) => warn!("no thread for a worker: {error}"),
        }
    }

    /// The life of a worker.
    fn work(self: &Arc<Self>, number: u64) {
        let mut schedule = self.lock();
        let mut watch = Stopwatch::start();
        loop {
            let Some((key, mut task)) = self.next(&mut schedule) else {
                let held = schedule.workers.get_mut(&number).map(|worker| std::mem::take(&mut worker.held));
                if let Some(held) = held.filter(|held| !held.is_empty()) {
                    drop(schedule);
                    held.release();
                    schedule = self.lock();
                    continue;
                }
                if schedule.stopping || schedule.workers.len() - schedule.stuck > self.wanted() {
                    break;
                }
                schedule = self.rest(schedule);
                watch = Stopwatch::start();
                continue;
            };
            let calls = Self::offer(self, &mut schedule, key);
            let due = self.begin(&mut schedule, (number, key), &task, watch.now());
            let is_quick = schedule.lanes.get(&key).is_some_and(Lane::is_quick);
            drop(schedule);
            if calls {
                self.work.notify_one();
            }
            due.release();
            task.set_started(watch.now());
            watch.begin(is_quick);
            execute::execute(task, true);
            let pace = watch.lap();
            schedule = self.lock();
            self.done(&mut schedule, (number, key), pace);
        }
        schedule.workers.remove(&number);
        self.ended.notify_all();
    }

    /// A worker takes up a task: notes it, and answers what it has held for long enough.
    fn begin(&self, schedule: &mut Schedule, (number, key): (u64, usize), task: &Task, now: Instant) -> Held {
        let (Some(lane), Some(worker)) = (schedule.lanes.get(&key), schedule.workers.get_mut(&number)) else {
            return Held::default();
        };
        let keeps = lane.is_quick() && worker.lane == key && !worker.held.is_due(now);
        let due = if keeps { Held::default() } else { std::mem::take(&mut worker.held) };
        worker.lane = key;
        worker.busy_since = Some(now);
        let has_more = lane.is_quick() && !lane.queue.is_empty();
        if has_more {
            worker.held.hold(task.reply(), now);
        }
        if !worker.held.is_empty() {
            self.watch_closely(schedule);
        } else if !schedule.is_watched {
            self.watch.notify_one();
        }
        due
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
            return Some((key, task));
        }
    }

    fn done(&self, schedule: &mut Schedule, (number, key): (u64, usize), pace: Pace) {
        let mut was_late = false;
        if let Some(worker) = schedule.workers.get_mut(&number) {
            worker.busy_since = None;
            was_late = std::mem::take(&mut worker.is_late);
            schedule.stuck -= usize::from(std::mem::take(&mut worker.is_stuck));
        }
        let Some(lane) = schedule.lanes.get_mut(&key) else { return };
        lane.running -= 1;
        lane.late -= usize::from(was_late);
        lane.took(pace);
        if lane.wants_worker(self.share()) {
            // This worker itself takes it, if nobody is quicker.
            lane.is_ready = true;
            schedule.ready.push_back(key);
        } else if lane.queue.is_empty() && lane.running == 0 && schedule.lanes.len() > LANES_KEPT {
            schedule.lanes.remove(&key);
        }
    }

    fn start_watcher(shared: &Arc<Self>, schedule: &mut Schedule) {
        let own = Arc::clone(shared);
        match spawn("scstu-watch".into(), STACK_BYTES, move || own.watch()) {
            Ok(()) => schedule.has_watcher = true,
            Err(error) => warn!("no thread to watch the workers: {error}"),
        }
    }

    /// Has the watcher look soon: a quick lane has tasks or answers that wait for its only worker.
    fn watch_closely(&self, schedule: &mut Schedule) {
        if schedule.close_looks == 0 {
            self.watch.notify_one();
        }
        schedule.close_looks = CLOSE_LOOKS;
    }

    /// Looks for workers that are stuck and replaces them, and for quick lanes that are so no longer; sleeps
    /// without a time-out while none is busy.
    fn watch(self: Arc<Self>) {
        let mut schedule = self.lock();
        let mut looked = Instant::now();
        while !schedule.stopping {
            schedule.is_watched = schedule.workers.values().any(|worker| worker.busy_since.is_some());
            let wait = match (schedule.close_looks, schedule.is_watched) {
                (1.., _) => Some(CLOSE_LOOK),
                (0, true) => Some(LOOK_EVERY),
                (0, false) => None,
            };
            let Some(wait) = wait else {
                schedule = self.watch.wait(schedule).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            schedule = self.watch.wait_timeout(schedule, wait).unwrap_or_else(PoisonError::into_inner).0;
            if schedule.close_looks > 0 {
                schedule.close_looks -= 1;
                schedule = self.look_closely(schedule);
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.look(&mut schedule);
            }
        }
        schedule.is_watched = false;
        schedule.has_watcher = false;
        self.ended.notify_all();
    }

    /// Workers that have been in one task of a quick lane for too long: what they hold is sent, and others
    /// take the lane's tasks.
    fn look_closely<'a>(
        self: &'a Arc<Self>,
        mut schedule: MutexGuard<'a, Schedule>,
    ) -> MutexGuard<'a, Schedule> {
        let now = Instant::now();
        let is_late = |worker: &Worker| {
            let busy = worker.busy_since.map(|since| now.duration_since(since));
            !worker.is_late && busy.is_some_and(|busy| busy >= CLOSE_LOOK)
        };
        let mut late = Vec::new();
        for worker in schedule.workers.values_mut().filter(|worker| is_late(worker)) {
            worker.is_late = true;
            late.push((worker.lane, std::mem::take(&mut worker.held)));
        }
        let mut calls = 0;
        for (key, _) in &late {
            if let Some(lane) = schedule.lanes.get_mut(key) {
                lane.late += 1;
                calls += usize::from(Self::offer(self, &mut schedule, *key));
            }
        }
        drop(schedule);
        (0..calls).for_each(|_| self.work.notify_one());
        late.into_iter().for_each(|(_, held)| held.release());
        self.lock()
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
