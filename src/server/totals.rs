//! What the server counts beside the I_T_L nexuses: logins, task management. And the times of commands, if
//! they are wanted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::iscsi::login_error::LoginStatus;
use crate::scsi::TaskManagementFunction;
use crate::scsi::counters::Counters;
use crate::scsi::task::TaskTimes;

/// Names of the task management functions, for [`Totals::functions`].
pub const FUNCTIONS: [&str; 11] = [
    "abort_task",
    "abort_task_set",
    "clear_aca",
    "clear_task_set",
    "logical_unit_reset",
    "target_warm_reset",
    "target_cold_reset",
    "query_task",
    "query_task_set",
    "i_t_nexus_reset",
    "query_asynchronous_event",
];

/// Counts since the start. They only grow.
#[derive(Debug, Default)]
pub struct Totals {
    /// Logins that reached full feature phase.
    pub logins: AtomicU64,
    /// Logins refused, in the order of [`LoginStatus::REFUSALS`].
    pub refused: [AtomicU64; LoginStatus::REFUSALS.len()],
    /// Connections closed without an answer at login (a disabled target), or because too many were logging
    /// in.
    pub dropped: AtomicU64,
    /// Task management functions received, in the order of [`FUNCTIONS`].
    pub functions: [AtomicU64; FUNCTIONS.len()],
    /// Functions answered with FUNCTION REJECTED because a write could not be cancelled in time.
    pub functions_given_up: AtomicU64,
    measuring: Measuring,
}

/// Until when the times of commands are measured.
#[derive(Debug)]
struct Measuring {
    base: Instant,
    /// Nanoseconds since `base`; 0 if nobody ever asked, `FOR_GOOD` if it does not end.
    until: AtomicU64,
}

const FOR_GOOD: u64 = u64::MAX;

impl Default for Measuring {
    fn default() -> Self {
        Measuring { base: Instant::now(), until: AtomicU64::new(0) }
    }
}

impl Totals {
    /// Has the times of commands measured from now on, for good.
    pub fn measure(&self) {
        self.measuring.until.store(FOR_GOOD, Ordering::Relaxed);
    }

    /// Has the times of commands measured for so long at least. Whoever looks at them asks again and again,
    /// so that they are not measured for somebody who is gone.
    pub fn measure_for(&self, time: Duration) {
        let until = self.measuring.base.elapsed().saturating_add(time);
        let until = u64::try_from(until.as_nanos()).unwrap_or(FOR_GOOD);
        self.measuring.until.fetch_max(until, Ordering::Relaxed);
    }

    /// Whether the times of commands are measured at this moment.
    #[inline]
    pub fn measures(&self, now: Instant) -> bool {
        match self.measuring.until.load(Ordering::Relaxed) {
            0 => false,
            FOR_GOOD => true,
            until => now.saturating_duration_since(self.measuring.base) < Duration::from_nanos(until),
        }
    }

    pub(super) fn login_failed(&self, status: Option<LoginStatus>) {
        let row = status.and_then(|status| LoginStatus::REFUSALS.iter().position(|row| row.0 == status));
        row.map_or(&self.dropped, |row| &self.refused[row]).fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn function(&self, function: TaskManagementFunction) {
        let row = match function {
            TaskManagementFunction::AbortTask { .. } => 0,
            TaskManagementFunction::AbortTaskSet => 1,
            TaskManagementFunction::ClearAca => 2,
            TaskManagementFunction::ClearTaskSet => 3,
            TaskManagementFunction::LogicalUnitReset => 4,
            TaskManagementFunction::TargetWarmReset => 5,
            TaskManagementFunction::TargetColdReset => 6,
            TaskManagementFunction::QueryTask { .. } => 7,
            TaskManagementFunction::QueryTaskSet => 8,
            TaskManagementFunction::NexusReset => 9,
            TaskManagementFunction::QueryAsynchronousEvent => 10,
        };
        self.functions[row].fetch_add(1, Ordering::Relaxed);
    }
}

/// A measured task has ended just now.
pub(super) fn record(times: &TaskTimes, counters: &Counters, expected: (u32, u32)) {
    let queued = times.started.saturating_duration_since(times.received);
    counters.measure(queued, times.started.elapsed(), expected);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measuring_ends_when_nobody_asks_any_more() {
        let totals = Totals::default();
        let now = Instant::now();
        assert!(!totals.measures(now));
        totals.measure_for(Duration::from_secs(60));
        totals.measure_for(Duration::from_secs(5));
        assert!(totals.measures(now + Duration::from_secs(50)), "the longer wish counts");
        assert!(!totals.measures(now + Duration::from_secs(100)));
        totals.measure();
        totals.measure_for(Duration::from_secs(1));
        assert!(totals.measures(now + Duration::from_secs(100)));
    }
}
