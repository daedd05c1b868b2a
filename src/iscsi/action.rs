//! What the receiving half of a connection tells the shell to do, and what the shell answers.

use crate::backstore::buffer::Buffer;
use crate::iscsi::send::Outgoing;
use crate::scsi::sense::Sense;
use crate::wire::request::{LoginRequest, LogoutRequest, TaskManagementRequest, TextRequest};

/// What the shell is to do, in order.
#[derive(Debug)]
pub enum Action<T> {
    /// A Login Request and its text.
    Login(LoginRequest, Vec<u8>),
    /// The data of a command is here: the first `length` bytes of `buffer`.
    Execute {
        /// The shell's name for it.
        token: T,
        /// Its memory.
        buffer: Buffer,
        /// Bytes received.
        length: usize,
    },
    /// The data phase of a command failed: end it with this sense data.
    Fail {
        /// The shell's name for it.
        token: T,
        /// Why.
        sense: Sense,
    },
    /// A task management function.
    Manage(TaskManagementRequest),
    /// A Text Request and its text.
    Text(TextRequest, Vec<u8>),
    /// A Logout Request.
    Logout(LogoutRequest),
    /// A PDU to send.
    Send(Outgoing),
}

/// What becomes of a command's data.
pub enum Disposition<T> {
    /// Fetch `length` bytes into `buffer`, then [`Action::Execute`].
    Fetch {
        /// The shell's name for the command.
        token: T,
        /// Its memory, at least `length` bytes.
        buffer: Buffer,
        /// Bytes that the command wants.
        length: usize,
    },
    /// It wants none, or is answered already: what comes is discarded.
    Discard,
}
