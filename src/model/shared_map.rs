//! An ordered map whose copies share what they have in common.
//!
//! A change is made on a copy of the configuration: with this map a copy costs nothing, and a change of one
//! entry copies its way down only, whatever the number of entries. It is a tree that is balanced by the
//! sizes of its halves (Adams 1993, with the parameters of Hirai and Yamamoto 2011, which are proven), so it
//! also tells the place of an entry among the others.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::sync::Arc;

/// One half may be this many times as large as the other.
const BALANCE: usize = 3;
/// The inner quarter may be this many times as large as the outer one, or it is taken apart.
const INNER: usize = 2;

type Link<K, V> = Option<Arc<Node<K, V>>>;

#[derive(Clone, Debug)]
struct Node<K, V> {
    key: K,
    value: V,
    /// Entries here and below.
    size: usize,
    left: Link<K, V>,
    right: Link<K, V>,
}

/// The map.
#[derive(Clone, Debug)]
pub struct SharedMap<K, V>(Link<K, V>);

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        SharedMap(None)
    }
}

fn size<K, V>(link: &Link<K, V>) -> usize {
    link.as_ref().map_or(0, |node| node.size)
}

fn weight<K, V>(link: &Link<K, V>) -> usize {
    size(link) + 1
}

impl<K, V> Node<K, V> {
    fn measure(&mut self) {
        self.size = size(&self.left) + size(&self.right) + 1;
    }
}

/// The right child comes up, this node becomes its left one.
fn turn_left<K: Clone, V: Clone>(link: &mut Link<K, V>) {
    let Some(mut top) = link.take() else { return };
    let node = Arc::make_mut(&mut top);
    let Some(mut child) = node.right.take() else {
        *link = Some(top);
        return;
    };
    let up = Arc::make_mut(&mut child);
    node.right = up.left.take();
    node.measure();
    up.left = Some(top);
    up.measure();
    *link = Some(child);
}

/// The left child comes up, this node becomes its right one.
fn turn_right<K: Clone, V: Clone>(link: &mut Link<K, V>) {
    let Some(mut top) = link.take() else { return };
    let node = Arc::make_mut(&mut top);
    let Some(mut child) = node.left.take() else {
        *link = Some(top);
        return;
    };
    let up = Arc::make_mut(&mut child);
    node.left = up.right.take();
    node.measure();
    up.right = Some(top);
    up.measure();
    *link = Some(child);
}

/// Measures a node one of whose halves has got or lost an entry, and brings it into balance again.
fn settle<K: Clone, V: Clone>(link: &mut Link<K, V>) {
    let Some(top) = link else { return };
    let node = Arc::make_mut(top);
    node.measure();
    let (left, right) = (weight(&node.left), weight(&node.right));
    if right > left * BALANCE {
        let quarters = node.right.as_ref().map(|right| (weight(&right.left), weight(&right.right)));
        if quarters.is_some_and(|(inner, outer)| inner >= outer * INNER) {
            turn_right(&mut node.right);
        }
        turn_left(link);
    } else if left > right * BALANCE {
        let quarters = node.left.as_ref().map(|left| (weight(&left.right), weight(&left.left)));
        if quarters.is_some_and(|(inner, outer)| inner >= outer * INNER) {
            turn_left(&mut node.left);
        }
        turn_right(link);
    }
}

fn insert<K: Ord + Clone, V: Clone>(link: &mut Link<K, V>, key: K, value: V) -> Option<V> {
    let Some(top) = link else {
        *link = Some(Arc::new(Node { key, value, size: 1, left: None, right: None }));
        return None;
    };
    let node = Arc::make_mut(top);
    let before = match key.cmp(&node.key) {
        Ordering::Less => insert(&mut node.left, key, value),
        Ordering::Greater => insert(&mut node.right, key, value),
        Ordering::Equal => return Some(std::mem::replace(&mut node.value, value)),
    };
    settle(link);
    before
}

/// Takes the first entry out.
fn take_first<K: Clone, V: Clone>(link: &mut Link<K, V>) -> Option<(K, V)> {
    let node = Arc::make_mut(link.as_mut()?);
    let first = match take_first(&mut node.left) {
        Some(first) => first,
        None => {
            let first = (node.key.clone(), node.value.clone());
            *link = node.right.take();
            return Some(first);
        }
    };
    settle(link);
    Some(first)
}

/// The entry must be there: a way that was copied for nothing would not be shared any longer.
fn remove<K: Ord + Clone + Borrow<Q>, V: Clone, Q: Ord + ?Sized>(
    link: &mut Link<K, V>,
    key: &Q,
) -> Option<V> {
    let node = Arc::make_mut(link.as_mut()?);
    let removed = match key.cmp(node.key.borrow()) {
        Ordering::Less => remove(&mut node.left, key),
        Ordering::Greater => remove(&mut node.right, key),
        Ordering::Equal => match take_first(&mut node.right) {
            Some((key, value)) => {
                node.key = key;
                Some(std::mem::replace(&mut node.value, value))
            }
            None => {
                let removed = node.value.clone();
                *link = node.left.take();
                return Some(removed);
            }
        },
    };
    settle(link);
    removed
}

impl<K, V> SharedMap<K, V> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        size(&self.0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// All entries in order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter(Vec::new());
        iter.descend(&self.0);
        iter
    }

    /// All keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The entry that has `place` others before it.
    pub fn nth(&self, mut place: usize) -> Option<(&K, &V)> {
        let mut link = &self.0;
        while let Some(node) = link {
            let before = size(&node.left);
            match place.cmp(&before) {
                Ordering::Less => link = &node.left,
                Ordering::Equal => return Some((&node.key, &node.value)),
                Ordering::Greater => {
                    place -= before + 1;
                    link = &node.right;
                }
            }
        }
        None
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut link = &self.0;
        while let Some(node) = link {
            link = match key.cmp(node.key.borrow()) {
                Ordering::Less => &node.left,
                Ordering::Greater => &node.right,
                Ordering::Equal => return Some(&node.value),
            };
        }
        None
    }

    /// Whether a key is there.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// How many entries are before that of a key.
    pub fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let (mut link, mut before) = (&self.0, 0);
        while let Some(node) = link {
            match key.cmp(node.key.borrow()) {
                Ordering::Less => link = &node.left,
                Ordering::Equal => return Some(before + size(&node.left)),
                Ordering::Greater => {
                    before += size(&node.left) + 1;
                    link = &node.right;
                }
            }
        }
        None
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Enters a value, and answers the one that it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        insert(&mut self.0, key, value)
    }

    /// Takes an entry out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if self.contains_key(key) { remove(&mut self.0, key) } else { None }
    }

    /// The value of a key, to change it.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if !self.contains_key(key) {
            return None;
        }
        let mut link = &mut self.0;
        while let Some(top) = link {
            let node = Arc::make_mut(top);
            link = match key.cmp(node.key.borrow()) {
                Ordering::Less => &mut node.left,
                Ordering::Greater => &mut node.right,
                Ordering::Equal => return Some(&mut node.value),
            };
        }
        None
    }
}

/// The entries of a [`SharedMap`] in order: those on the way to the next one, which is last.
pub struct Iter<'a, K, V>(Vec<&'a Node<K, V>>);

impl<'a, K, V> Iter<'a, K, V> {
    fn descend(&mut self, mut link: &'a Link<K, V>) {
        while let Some(node) = link {
            self.0.push(node);
            link = &node.left;
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let node = self.0.pop()?;
        self.descend(&node.right);
        Some((&node.key, &node.value))
    }
}

impl<'a, K, V> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Sizes are right and no half is too large.
    fn check<K, V>(link: &Link<K, V>) {
        let Some(node) = link else { return };
        assert_eq!(node.size, size(&node.left) + size(&node.right) + 1);
        let (left, right) = (weight(&node.left), weight(&node.right));
        assert!(left <= right * BALANCE && right <= left * BALANCE, "{left} and {right}");
        check(&node.left);
        check(&node.right);
    }

    #[test]
    fn it_is_what_an_ordered_map_is_and_copies_stay_as_they_were() {
        let (mut map, mut plain) = (SharedMap::default(), BTreeMap::new());
        let mut kept = Vec::new();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for step in 0..20_000_u32 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let key = random % 400;
            match random >> 32 & 3 {
                // Runs in order are what turns the tree most.
                0 => assert_eq!(
                    map.insert(u64::from(step % 700), step),
                    plain.insert(u64::from(step % 700), step)
                ),
                1 => assert_eq!(map.insert(key, step), plain.insert(key, step)),
                2 => assert_eq!(map.remove(&key), plain.remove(&key)),
                _ => match (map.get_mut(&key), plain.get_mut(&key)) {
                    (Some(own), Some(other)) => (*own, *other) = (step, step),
                    (own, other) => assert!(own.is_none() && other.is_none()),
                },
            }
            if step % 500 == 0 {
                check(&map.0);
                kept.push((map.clone(), plain.clone()));
            }
        }
        for (map, plain) in kept {
            assert!(map.iter().eq(plain.iter()));
            assert_eq!((map.len(), map.is_empty()), (plain.len(), plain.is_empty()));
            for (place, (key, value)) in plain.iter().enumerate() {
                assert_eq!((map.get(key), map.place(key)), (Some(value), Some(place)));
                assert_eq!(map.nth(place), Some((key, value)));
            }
            assert_eq!((map.nth(plain.len()), map.place(&1000)), (None, None));
        }
    }

    #[test]
    fn a_change_of_a_copy_copies_its_way_and_no_more() {
        let mut map = SharedMap::default();
        (0..4096).for_each(|key| drop(map.insert(key, Arc::new(key))));
        let mut copy = map.clone();
        copy.insert(1000, Arc::new(0));
        copy.remove(&5000);
        fn own<V>(one: &Link<i32, V>, other: &Link<i32, V>) -> usize {
            match (one, other) {
                (Some(a), Some(b)) if !Arc::ptr_eq(a, b) => {
                    1 + own(&a.left, &b.left) + own(&a.right, &b.right)
                }
                _ => 0,
            }
        }
        // At most log(4097) / log(4/3) nodes are on the longest way.
        assert!((1..=29).contains(&own(&map.0, &copy.0)), "{}", own(&map.0, &copy.0));
        assert_eq!(**map.get(&1000).unwrap(), 1000);
    }
}
