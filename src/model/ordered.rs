//! A small map that keeps the order in which its entries were added, or were put: of groups, the first that
//! matches wins.

use std::sync::Arc;

/// Entries by name, in the order of their making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ordered<V> {
    entries: Vec<(Arc<str>, V)>,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Ordered { entries: Vec::new() }
    }
}

impl<V: Clone> Ordered<V> {
    fn place(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|(own, _)| **own == *name)
    }

    /// The entry of this name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.place(name).map(|at| &self.entries[at].1)
    }

    /// The entry of this name, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.place(name).map(|at| &mut self.entries[at].1)
    }

    /// Whether there is an entry of this name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// Adds an entry at the end. There must be none of this name.
    pub fn push(&mut self, name: impl Into<Arc<str>>, value: V) {
        self.entries.push((name.into(), value));
    }

    /// Takes an entry out.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        self.place(name).map(|at| self.entries.remove(at).1)
    }

    /// Puts the entries of these names into this order, in the places that they have between them.
    pub fn arrange(&mut self, names: &[impl AsRef<str>]) {
        let mut places: Vec<usize> = names.iter().filter_map(|name| self.place(name.as_ref())).collect();
        let wanted: Vec<(Arc<str>, V)> = places.iter().map(|at| self.entries[*at].clone()).collect();
        places.sort_unstable();
        for (at, entry) in places.into_iter().zip(wanted) {
            self.entries[at] = entry;
        }
    }

    /// All entries, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.entries.iter().map(|(name, value)| (&**name, value))
    }

    /// All names, oldest first.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| &**name)
    }

    /// All values, oldest first.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// All values, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
