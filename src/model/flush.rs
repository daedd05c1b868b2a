//! Flushing and closing every device when the daemon ends, in bounded time.

use std::collections::VecDeque;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::scsi::device::{Device, MediumState};
use crate::sys::thread::spawn;

/// Most threads that flush at once.
const THREADS: usize = 64;
/// Stack of such a thread in bytes.
const STACK_BYTES: usize = 256 * 1024;

type Queue = Arc<Mutex<VecDeque<Arc<Device>>>>;

/// What is done with every device; whether it was.
type Job = fn(&Arc<Device>) -> bool;

/// Flushes the devices, for at most `limit`; answers how many are not flushed, and says which and why.
pub(super) fn all(devices: Vec<Arc<Device>>, limit: Duration) -> usize {
    let flush: Job = |device| match device.gate().map(|gate| gate.flush()) {
        Some(Err(error)) => {
            log::error!("device {}: flush failed: {error}", device.name());
            false
        }
        _ => true,
    };
    each(devices, limit, flush, "flushed")
}

/// Closes the backing stores, for at most `limit`; answers how many are not closed, and says which.
pub(super) fn close(devices: Vec<Arc<Device>>, limit: Duration) -> usize {
    let close: Job = |device| {
        device.set_medium(None, MediumState::Closed);
        true
    };
    each(devices, limit, close, "closed")
}

fn each(devices: Vec<Arc<Device>>, limit: Duration, job: Job, done_to: &str) -> usize {
    let until = Instant::now() + limit;
    let mut missing: Vec<String> = devices.iter().map(|device| device.name().to_owned()).collect();
    let threads = devices.len().min(THREADS);
    let queue: Queue = Arc::new(Mutex::new(devices.into()));
    let (done, flushed) = channel();
    for _ in 0..threads {
        let (own, done) = (Arc::clone(&queue), done.clone());
        if let Err(error) = spawn("scstu-flush".into(), STACK_BYTES, move || work(&own, &done, job)) {
            log::warn!("no thread for devices to be {done_to}: {error}");
        }
    }
    drop(done);
    while let Ok(name) = flushed.recv_timeout(until.saturating_duration_since(Instant::now())) {
        missing.retain(|other| *other != name);
    }
    for name in &missing {
        log::error!("device {name}: not {done_to}");
    }
    missing.len()
}

fn work(queue: &Queue, done: &Sender<String>, job: Job) {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some(device) = next() {
        if job(&device) {
            let _ = done.send(device.name().to_owned());
        }
    }
}
