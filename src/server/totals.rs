//! What the server counts beside the I_T_L nexuses: logins, task management. And the times of commands, if
//! they are wanted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

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
    measures: AtomicBool,
}

impl Totals {
    /// Has the times of commands measured, or no longer.
    pub fn measure(&self, on: bool) {
        self.measures.store(on, Ordering::Relaxed);
    }

    /// Whether the times of commands are measured.
    #[inline]
    pub fn measures(&self) -> bool {
        self.measures.load(Ordering::Relaxed)
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
pub(super) fn record(times: &TaskTimes, counters: &Counters, (expected_in, expected_out): (u32, u32)) {
    let queued = times.started.saturating_duration_since(times.received);
    let running = times.started.elapsed();
    counters.queue_time.record(queued);
    counters.backend_time.record(running);
    counters.latencies.record(expected_in, expected_out, [queued, running]);
}
