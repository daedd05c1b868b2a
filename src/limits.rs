//! The limits on what peers can make this process keep, so that memory use can be computed on paper.

use std::time::Duration;

/// Login Requests that one login may take.
pub const MAX_LOGIN_REQUESTS: u32 = 1024;

/// Bytes of text that one login may take in all.
pub const MAX_LOGIN_TEXT: usize = 64 << 10;

/// Unknown keys that one login may send; each costs an answer.
pub const MAX_UNKNOWN_KEYS: usize = 64;

/// CHAP challenges that may be outstanding at once, over all connections.
pub const MAX_OUTSTANDING_CHALLENGES: usize = 4096;

/// Bytes of text that the initiator may send in one exchange.
pub const MAX_REQUEST_TEXT: usize = 16 << 10;

/// Requests with the initiator's own text or words in one exchange; fetching our answer does not count.
pub const MAX_TEXT_REQUESTS: u32 = 256;

/// Keys in one complete text.
pub const MAX_TEXT_KEYS: usize = 64;

/// Longest answer of one exchange in bytes: some ten thousand targets with eight portals each.
pub const MAX_ANSWER_TEXT: usize = 8 << 20;

/// Longest data segment of a Text Response, whatever the initiator can receive.
pub const MAX_TEXT_SEGMENT: usize = 256 << 10;

/// Longest data segment before full feature phase, in bytes (RFC 7143 13.12: the default until declared).
pub const MAX_LOGIN_SEGMENT: usize = 8192;

/// Bytes kept of the data segment of a Text Request; more is never a text that we would answer.
pub const MAX_CONTROL_SEGMENT: usize = 64 << 10;

/// Bytes of PDUs kept because their CmdSN has not come.
pub const MAX_EARLY_BYTES: usize = 4 << 20;

/// How long PDUs are kept because their CmdSN has not come.
pub const EARLY_TIMEOUT: Duration = Duration::from_secs(30);

/// Task management functions that wait for commands sent before them.
pub const MAX_DEFERRED_FUNCTIONS: usize = 16;

/// Immediate commands that are carried out at once (RFC 7143 4.2.2.1 demands one, and a task
/// management function).
pub const MAX_IMMEDIATE_COMMANDS: u32 = 16;

/// R2Ts outstanding for one command, whatever was negotiated.
pub const MAX_OUTSTANDING_R2T: usize = 32;

/// Bytes of memory into which a connection receives what it discards.
pub const DISCARD_BYTES: usize = 16 << 10;

/// Task management functions of a session that wait for tasks to come back.
pub const MAX_PENDING_FUNCTIONS: usize = 64;
