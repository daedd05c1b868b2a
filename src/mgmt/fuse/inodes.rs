//! Inode numbers: a name for each object that the kernel has looked up, until it forgets it. What is made
//! again under the same path has another.

use std::collections::HashMap;
use std::sync::Arc;

use scstu::mgmt::tree::Kind;

/// Number of the root (FUSE_ROOT_ID).
pub const ROOT: u64 = 1;
/// For a directory entry whose number is not known (FUSE_UNKNOWN_INO).
pub const UNKNOWN: u64 = 0xffff_ffff;

/// What the kernel knows by a number.
#[derive(Clone)]
pub struct Node {
    /// Path.
    pub path: Arc<str>,
    /// Which of all that were made under this path.
    pub made: u64,
    /// Whether the kernel was told that it is a directory, a file or a link; for a number that never changes.
    sort: Sort,
    lookups: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Sort {
    Directory,
    File,
    Link,
}

impl From<&Kind> for Sort {
    fn from(kind: &Kind) -> Self {
        match kind {
            Kind::Directory => Sort::Directory,
            Kind::File { .. } => Sort::File,
            Kind::Link { .. } => Sort::Link,
        }
    }
}

/// All of them.
pub struct Inodes {
    nodes: HashMap<u64, Node>,
    numbers: HashMap<(Arc<str>, Sort, u64), u64>,
    last: u64,
}

impl Default for Inodes {
    fn default() -> Self {
        let root = Node { path: Arc::from(""), made: 0, sort: Sort::Directory, lookups: 1 };
        Inodes { nodes: HashMap::from([(ROOT, root)]), numbers: HashMap::new(), last: UNKNOWN }
    }
}

impl Inodes {
    /// What is behind a number.
    pub fn get(&self, number: u64) -> Option<Node> {
        self.nodes.get(&number).cloned()
    }

    /// The number of what the kernel looks up.
    pub fn look_up(&mut self, path: &str, kind: &Kind, made: u64) -> u64 {
        let (path, sort) = (Arc::<str>::from(path), Sort::from(kind));
        let number = *self.numbers.entry((Arc::clone(&path), sort, made)).or_insert_with(|| {
            self.last += 1;
            self.last
        });
        self.nodes.entry(number).or_insert(Node { path, made, sort, lookups: 0 }).lookups += 1;
        number
    }

    /// The kernel forgets so many of its lookups.
    pub fn forget(&mut self, number: u64, lookups: u64) {
        let Some(node) = self.nodes.get_mut(&number).filter(|_| number != ROOT) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0 {
            let key = (Arc::clone(&node.path), node.sort, node.made);
            self.numbers.remove(&key);
            self.nodes.remove(&number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_until_it_is_forgotten() {
        let mut inodes = Inodes::default();
        let file = Kind::File { mode: 0o644 };
        let one = inodes.look_up("a/b", &file, 0);
        assert_eq!(inodes.look_up("a/b", &Kind::File { mode: 0o444 }, 0), one);
        assert_ne!(inodes.look_up("a/b", &Kind::Directory, 0), one, "a file does not become a directory");
        assert_ne!(inodes.look_up("a/b", &file, 1), one, "nor another object's");
        assert_eq!(inodes.get(one).map(|node| node.path).as_deref(), Some("a/b"));
        inodes.forget(one, 1);
        assert!(inodes.get(one).is_some());
        inodes.forget(one, 5);
        assert!(inodes.get(one).is_none());
        assert_ne!(inodes.look_up("a/b", &file, 0), one, "and is not used again");
        inodes.forget(ROOT, u64::MAX);
        assert_eq!(inodes.get(ROOT).map(|node| node.path).as_deref(), Some(""));
    }
}
