//! Task management as RFC 7143 adds to SAM: functions and responses in numbers (11.5, 11.6, RFC 7144), and
//! functions that concern commands which have not come yet (4.2.3.3, 11.6.1).

use std::time::Instant;

use crate::iscsi::session::CommandWindow;
use crate::iscsi::tags::LiveTags;
use crate::iscsi::turn::{Early, Turns};
use crate::scsi::{FunctionResult, TaskManagementFunction};
use crate::wire::request::TaskManagementRequest;
use crate::wire::serial::{is_before, is_within};

const TASK_REASSIGN: u8 = 8;

/// Response codes.
#[allow(missing_docs)] // The names are the standards' own.
pub mod response {
    pub const FUNCTION_COMPLETE: u8 = 0;
    pub const TASK_DOES_NOT_EXIST: u8 = 1;
    pub const LUN_DOES_NOT_EXIST: u8 = 2;
    pub const TASK_REASSIGNMENT_NOT_SUPPORTED: u8 = 4;
    pub const FUNCTION_NOT_SUPPORTED: u8 = 5;
    pub const FUNCTION_SUCCEEDED: u8 = 7;
    pub const FUNCTION_REJECTED: u8 = 255;
}

/// The function that a request asks for, or the response that refuses it.
pub fn function(request: &TaskManagementRequest) -> Result<TaskManagementFunction, u8> {
    let tag = request.referenced_task_tag;
    Ok(match request.function {
        1 => TaskManagementFunction::AbortTask { tag },
        2 => TaskManagementFunction::AbortTaskSet,
        3 => TaskManagementFunction::ClearAca,
        4 => TaskManagementFunction::ClearTaskSet,
        5 => TaskManagementFunction::LogicalUnitReset,
        6 => TaskManagementFunction::TargetWarmReset,
        7 => TaskManagementFunction::TargetColdReset,
        9 => TaskManagementFunction::QueryTask { tag },
        10 => TaskManagementFunction::QueryTaskSet,
        11 => TaskManagementFunction::NexusReset,
        12 => TaskManagementFunction::QueryAsynchronousEvent,
        TASK_REASSIGN => return Err(response::TASK_REASSIGNMENT_NOT_SUPPORTED),
        _ => return Err(response::FUNCTION_NOT_SUPPORTED),
    })
}

/// The response code for the outcome of a function.
pub fn response(result: FunctionResult) -> u8 {
    match result {
        FunctionResult::Complete => response::FUNCTION_COMPLETE,
        FunctionResult::TaskDoesNotExist => response::TASK_DOES_NOT_EXIST,
        FunctionResult::IncorrectLun => response::LUN_DOES_NOT_EXIST,
        FunctionResult::NotSupported => response::FUNCTION_NOT_SUPPORTED,
        FunctionResult::Succeeded => response::FUNCTION_SUCCEEDED,
        FunctionResult::Rejected => response::FUNCTION_REJECTED,
    }
}

/// Whether a function affects commands that were sent before it and have not all come: it waits for them
/// (RFC 7143 4.2.3.3).
pub fn must_wait(request: &TaskManagementRequest, window: &CommandWindow) -> bool {
    let affects_many = matches!(
        function(request),
        Ok(TaskManagementFunction::AbortTaskSet
            | TaskManagementFunction::ClearTaskSet
            | TaskManagementFunction::LogicalUnitReset
            | TaskManagementFunction::TargetWarmReset
            | TaskManagementFunction::TargetColdReset
            | TaskManagementFunction::NexusReset)
    );
    let expected = window.exp_cmd_sn();
    // The number of an immediate request may be the one behind the window.
    let next = window.max_cmd_sn().wrapping_add(1);
    affects_many && is_before(expected, request.cmd_sn) && is_within(request.cmd_sn, expected, next)
}

/// Carries out an ABORT TASK whose task has not come, or not in turn: its number counts as received and the
/// function as complete (RFC 7143 11.6.1). `false` leaves the function to the SCSI layer.
pub fn aborts_unseen(
    request: &TaskManagementRequest,
    window: &CommandWindow,
    tags: &LiveTags,
    turns: &mut Turns,
    now: Instant,
) -> bool {
    let Ok(TaskManagementFunction::AbortTask { tag }) = function(request) else { return false };
    if tags.contains(tag) {
        return false;
    }
    if turns.void(tag, request.cmd_sn) {
        return true;
    }
    let is_missing =
        window.covers_before(request.ref_cmd_sn, request.cmd_sn) && !turns.contains(request.ref_cmd_sn);
    if is_missing {
        turns.keep(request.ref_cmd_sn, Early::Void, now);
    }
    is_missing
}
