//! Keeps one misbehaving peer from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::warn;

/// Lines that may be said in one [`PERIOD`].
const LINES: u32 = 20;
/// Length of a period.
const PERIOD: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    since: Option<Instant>,
    said: u32,
    suppressed: u64,
}

/// A limit on log lines; what was left out is counted and told.
#[derive(Default)]
pub struct Noise {
    state: Mutex<State>,
}

impl Noise {
    /// Says it, unless too much was said lately.
    pub fn say(&self, line: impl FnOnce()) {
        let suppressed = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let is_new = state.since.is_none_or(|since| now.duration_since(since) >= PERIOD);
            let suppressed = if is_new { std::mem::take(&mut state.suppressed) } else { 0 };
            if is_new {
                state.since = Some(now);
                state.said = 0;
            }
            if state.said >= LINES {
                state.suppressed += 1;
                return;
            }
            state.said += 1;
            suppressed
        };
        if suppressed > 0 {
            warn!("{suppressed} similar lines were left out");
        }
        line();
    }
}
