//! Values behind the mode pages; `page/mode.rs` has the rows that show and change them.

/// Parameters that MODE SELECT can change. Current and saved values are two of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ModeParameters {
    /// Caching page, WCE: the volatile write cache is in use.
    pub write_cache_enabled: bool,
    /// Control page, TST: 1 means a task set per I_T nexus.
    pub task_set_type: u8,
    /// Control page, D_SENSE: descriptor format sense data.
    pub descriptor_sense: bool,
    /// Control page, QUEUE ALGORITHM MODIFIER.
    pub queue_algorithm_modifier: u8,
    /// Control page, QERR.
    pub queue_error: u8,
    /// Control page, SWP: software write protect.
    pub software_write_protect: bool,
    /// Control page, TAS: aborted tasks of other nexuses end with TASK ABORTED.
    pub task_aborted_status: bool,
    /// Control page, TMF_ONLY.
    pub task_management_only: bool,
    /// Control page, DPICZ.
    pub disable_protection_check: bool,
}
