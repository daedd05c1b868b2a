//! What a unit keeps over a restart: mode pages and reservations, behind a trait that the model implements.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::scsi::reservation::saved::NotAState;

/// Keeps what must survive a restart. Implemented above; calls may block.
pub trait StateStore: Send + Sync {
    /// Stores `bytes` under the device's name and `kind`, atomically; empty removes it. Errors are errno.
    fn save(&self, device: &str, kind: &str, bytes: &[u8]) -> Result<(), i32>;
    /// What was stored last, if anything was. Errors are errno: what is there and cannot be read is not
    /// nothing.
    fn load(&self, device: &str, kind: &str) -> Result<Option<Vec<u8>>, i32>;
    /// Where it is kept, for people; nothing where there is no such place.
    fn place(&self, _device: &str, _kind: &str) -> String {
        String::new()
    }
}

/// What a store has kept of a unit cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StateError {
    /// It cannot be read.
    Unreadable {
        /// Kind, as in [`StateStore::load`].
        kind: &'static str,
        /// Why.
        errno: i32,
    },
    /// Mode pages that are no text.
    ModePages,
    /// Registrations that are damaged.
    Reservations(NotAState),
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StateError::Unreadable { kind, errno } => {
                write!(f, "kept state \"{kind}\" cannot be read: errno {errno}")
            }
            StateError::ModePages => f.write_str("the kept mode pages are damaged"),
            StateError::Reservations(error) => {
                write!(f, "the kept persistent reservations are damaged: {error}")
            }
        }
    }
}

impl std::error::Error for StateError {}

/// Saved forms by kind, in memory: for tests and for devices that keep nothing.
#[derive(Default)]
pub struct MemoryStore {
    kept: Mutex<HashMap<(String, String), Vec<u8>>>,
}

impl StateStore for MemoryStore {
    fn save(&self, device: &str, kind: &str, bytes: &[u8]) -> Result<(), i32> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(&(device.to_owned(), kind.to_owned()));
        if !bytes.is_empty() {
            kept.insert((device.to_owned(), kind.to_owned()), bytes.to_vec());
        }
        Ok(())
    }

    fn load(&self, device: &str, kind: &str) -> Result<Option<Vec<u8>>, i32> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(kept.get(&(device.to_owned(), kind.to_owned())).cloned())
    }
}
