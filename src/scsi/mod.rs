//! The SCSI layer: what a logical unit answers, whatever carried the command.
//!
//! It knows nothing of iSCSI, opens nothing, reads no clock, spawns no thread. This file holds the
//! vocabulary of SAM-5 that the transport shares.

pub mod alua;
pub mod background;
pub mod catalogue;
pub mod cdb;
pub mod claim;
pub(crate) mod copy;
pub mod counters;
pub mod device;
pub mod entrance;
pub mod execute;
pub mod itl;
pub mod latency;
pub mod limits;
pub mod loan;
pub mod lun;
pub mod management;
pub mod mode_parameters;
pub mod nexus;
pub(crate) mod opcode;
pub(crate) mod ops;
pub(crate) mod page;
pub mod reservation;
pub mod sense;
pub mod store;
pub mod target;
pub mod task;
pub(crate) mod task_set;
pub(crate) mod threshold;
pub mod transport_id;
pub mod unit_attention;

/// Status codes (SAM-5, 5.3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub u8);

impl Status {
    /// GOOD.
    pub const GOOD: Status = Status(0x00);
    /// CHECK CONDITION; sense data goes with it.
    pub const CHECK_CONDITION: Status = Status(0x02);
    /// CONDITION MET.
    pub const CONDITION_MET: Status = Status(0x04);
    /// BUSY.
    pub const BUSY: Status = Status(0x08);
    /// RESERVATION CONFLICT.
    pub const RESERVATION_CONFLICT: Status = Status(0x18);
    /// TASK SET FULL.
    pub const TASK_SET_FULL: Status = Status(0x28);
    /// TASK ABORTED.
    pub const TASK_ABORTED: Status = Status(0x40);
}

/// Task attributes (SAM-5, 8.9). Untagged commands are SIMPLE.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TaskAttribute {
    /// SIMPLE.
    #[default]
    Simple,
    /// ORDERED.
    Ordered,
    /// HEAD OF QUEUE.
    HeadOfQueue,
    /// ACA, which no logical unit of ours supports.
    Aca,
}

/// Task management functions (SAM-5, clause 7; RFC 7143 11.5.1; RFC 7144 for the query functions).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TaskManagementFunction {
    /// ABORT TASK: the one task with this initiator task tag.
    AbortTask {
        /// Tag of the task to abort.
        tag: u32,
    },
    /// ABORT TASK SET.
    AbortTaskSet,
    /// CLEAR ACA.
    ClearAca,
    /// CLEAR TASK SET.
    ClearTaskSet,
    /// LOGICAL UNIT RESET.
    LogicalUnitReset,
    /// TARGET WARM RESET.
    TargetWarmReset,
    /// TARGET COLD RESET.
    TargetColdReset,
    /// QUERY TASK.
    QueryTask {
        /// Tag of the task asked about.
        tag: u32,
    },
    /// QUERY TASK SET.
    QueryTaskSet,
    /// I_T NEXUS RESET.
    NexusReset,
    /// QUERY ASYNCHRONOUS EVENT.
    QueryAsynchronousEvent,
}

/// How a task management function ended (SAM-5, 7.1; the transport has its own numbers for these).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FunctionResult {
    /// FUNCTION COMPLETE.
    Complete,
    /// FUNCTION SUCCEEDED: the query found something.
    Succeeded,
    /// No task with that tag.
    TaskDoesNotExist,
    /// INCORRECT LOGICAL UNIT NUMBER.
    IncorrectLun,
    /// The function is not supported.
    NotSupported,
    /// FUNCTION REJECTED: for instance a write that cannot be cancelled has not come back in time.
    Rejected,
}
