//! Maps whose keys are numbers: tags, LUNs, addresses of what this process holds.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map by number. A peer that picks its keys so that they collide slows down its own session only, by as
/// much as its command window allows: the hash is quick, not secret.
pub type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<Spread>>;

/// Spreads a number over all bits with one multiplication (Knuth's multiplicative hashing).
#[derive(Clone, Copy, Debug, Default)]
pub struct Spread(u64);

impl Hasher for Spread {
    #[inline]
    fn write_u64(&mut self, number: u64) {
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The map takes its place from the low bits, the product's good ones are the high ones.
        self.0 = product ^ (product >> 32);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_a_row_and_in_steps_spread() {
        for step in [1u64, 2, 16, 256, 4096, 1 << 16, 1 << 24] {
            let mut places = [0u32; 256];
            for number in 0..256 {
                let mut hash = Spread::default();
                hash.write_u64(number * step);
                places[usize::try_from(hash.finish() % 256).unwrap()] += 1;
            }
            let fullest = places.iter().max().unwrap();
            assert!(*fullest <= 12, "step {step}: {fullest} in one place");
        }
    }

    #[test]
    fn it_is_a_map() {
        let mut map = NumberMap::default();
        assert_eq!(map.insert(7u32, "seven"), None);
        assert_eq!(map.insert(7, "again"), Some("seven"));
        assert_eq!((map.get(&7), map.get(&8), map.len()), (Some(&"again"), None, 1));
    }
}
