//! What happens by itself and an administrator wants to hear of.
//!
//! The layers that see it tell it through the traits that they already have upwards
//! (`scsi::device::Dispatch`, `iscsi::attachment::Host`); whoever owns the instance passes it on.

use std::fmt;
use std::net::SocketAddr;

/// The two ends of a session.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Number of the session, never used again.
    pub session: u64,
    /// Initiator name.
    pub initiator: &'a str,
    /// Target name; empty for a discovery session.
    pub target: &'a str,
    /// The initiator's address.
    pub peer: SocketAddr,
}

/// Something that happened.
#[derive(Clone, Copy)]
pub enum Notice<'a> {
    /// An initiator has logged in.
    SessionOpened(Ends<'a>),
    /// A session is over, and why.
    SessionClosed(Ends<'a>, &'a dyn fmt::Display),
    /// A login did not succeed, and why.
    LoginRefused {
        /// Where it came from.
        peer: SocketAddr,
        /// Why.
        reason: &'a dyn fmt::Display,
    },
    /// A unit was reset by task management.
    UnitReset {
        /// Its device.
        device: &'a str,
    },
    /// A unit has another size now.
    CapacityChanged {
        /// Its device.
        device: &'a str,
        /// Its new size in bytes.
        bytes: u64,
    },
    /// A backstore did not do what it was asked.
    BackstoreFailed {
        /// Its device.
        device: &'a str,
        /// What the initiator was told.
        error: &'a dyn fmt::Display,
    },
}
