//! The one way to a backstore.

use std::sync::Arc;

use crate::backstore::{Backstore, Capabilities, Geometry};

/// Checks every call before the backstore sees it.
pub struct Gate {
    store: Arc<dyn Backstore>,
}

impl Gate {
    /// A gate before `store`.
    pub fn new(store: Arc<dyn Backstore>) -> Self {
        Gate { store }
    }
    /// Shape.
    pub fn geometry(&self) -> Geometry {
        self.store.geometry()
    }
    /// Abilities.
    pub fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
}
