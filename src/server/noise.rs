//! Keeps one misbehaving peer from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::warn;

/// Complaints that may be said in one [`PERIOD`].
const COMPLAINTS: u32 = 20;
/// Lines about the ordinary course of things that may be said in one [`PERIOD`].
const EVENTS: u32 = 200;
/// Length of a period.
const PERIOD: Duration = Duration::from_secs(10);

#[derive(Default)]
struct State {
    since: Option<Instant>,
    said: u32,
    suppressed: u64,
}

/// A limit on log lines; what was left out is counted and told.
pub struct Noise {
    lines: u32,
    state: Mutex<State>,
}

impl Noise {
    /// For complaints about peers.
    pub fn complaints() -> Self {
        Noise { lines: COMPLAINTS, state: Mutex::default() }
    }

    /// For sessions that come and go and what they ask for.
    pub fn events() -> Self {
        Noise { lines: EVENTS, state: Mutex::default() }
    }

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
            if state.said >= self.lines {
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
