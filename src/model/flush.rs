//! Flushing every device when the daemon ends, in bounded time.

use std::collections::VecDeque;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::scsi::device::Device;
use crate::sys::thread::spawn;

/// Most threads that flush at once.
const THREADS: usize = 64;
/// Stack of such a thread in bytes.
const STACK_BYTES: usize = 256 * 1024;

type Queue = Arc<Mutex<VecDeque<Arc<Device>>>>;

/// Flushes the devices, for at most `limit`; answers how many are not flushed, and says which and why.
pub(super) fn all(devices: Vec<Arc<Device>>, limit: Duration) -> usize {
    let until = Instant::now() + limit;
    let mut missing: Vec<String> = devices.iter().map(|device| device.name().to_owned()).collect();
    let threads = devices.len().min(THREADS);
    let queue: Queue = Arc::new(Mutex::new(devices.into()));
    let (done, flushed) = channel();
    for _ in 0..threads {
        let (own, done) = (Arc::clone(&queue), done.clone());
        if let Err(error) = spawn("scstu-flush".into(), STACK_BYTES, move || work(&own, &done)) {
            log::warn!("no thread to flush devices: {error}");
        }
    }
    drop(done);
    while let Ok(name) = flushed.recv_timeout(until.saturating_duration_since(Instant::now())) {
        missing.retain(|other| *other != name);
    }
    for name in &missing {
        log::error!("device {name}: not flushed");
    }
    missing.len()
}

fn work(queue: &Queue, done: &Sender<String>) {
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some(device) = next() {
        match device.gate().map(|gate| gate.flush()) {
            Some(Err(error)) => log::error!("device {}: flush failed: {error}", device.name()),
            _ => {
                let _ = done.send(device.name().to_owned());
            }
        }
    }
}
