//! scstu: an iSCSI target that runs in user mode.
//!
//! # Layers
//! A module names only itself and modules to its left (`tests/layers.rs` checks it):
//!
//! ```text
//! bytes limits names attr sys < wire < backstore < scsi < iscsi < model < server < mgmt < capi < bin
//! ```

pub mod attr;
pub mod bytes;
pub mod limits;
pub mod names;
pub mod sys;

pub mod wire;

pub mod backstore;
pub mod iscsi;
pub mod scsi;

pub mod model;
pub mod server;

pub mod mgmt;
