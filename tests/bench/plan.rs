//! Which command comes next, and what its data is.

use std::io;

use crate::load::Load;
use crate::session::{Unit, bad};

/// A command to send.
#[derive(Clone, Copy, Debug)]
pub struct Next {
    pub is_read: bool,
    /// Which unit, counted from the first.
    pub unit: u16,
    /// Byte offset on the unit.
    pub offset: u64,
    chunk: usize,
    /// What the chunk holds, or will hold: 0 for nothing of ours.
    generation: u32,
}

/// The commands of one session. With `verify` no two commands that are out touch the same chunk, and every
/// chunk that was written is read and compared at the end.
pub struct Plan {
    base: u64,
    size: u64,
    seed: u64,
    chunks: usize,
    random: u64,
    is_random: bool,
    read_percent: u64,
    units: u16,
    position: usize,
    verify: bool,
    generations: Vec<u32>,
    is_out: Vec<bool>,
    swept: usize,
    out: usize,
    left: u64,
}

impl Plan {
    pub fn new(load: &Load, unit: Unit, number: usize) -> io::Result<Self> {
        let size = load.size as u64;
        if size % u64::from(unit.block_size) != 0 || size == 0 || load.offset % size != 0 {
            return Err(bad(format!(
                "size {size} is not a multiple of the {} bytes of a block, or the offset not one of the size",
                unit.block_size
            )));
        }
        let bytes = unit.blocks.saturating_mul(u64::from(unit.block_size)).saturating_sub(load.offset);
        let bytes = load.region.min(bytes);
        let share = if load.verify { bytes / load.sessions as u64 } else { bytes };
        let chunks = usize::try_from(share / size).unwrap_or(usize::MAX);
        if chunks < if load.verify { 2 * load.depth } else { 1 } {
            return Err(bad(format!("the region of {share} bytes is too small")));
        }
        let tracked = if load.verify { chunks } else { 0 };
        Ok(Plan {
            base: load.offset + if load.verify { number as u64 * chunks as u64 * size } else { 0 },
            size,
            seed: load.seed,
            chunks,
            random: mix(load.seed ^ mix(number as u64 + 1)),
            is_random: load.is_random,
            read_percent: u64::from(load.read_percent),
            units: load.luns,
            position: if load.is_random { 0 } else { number % chunks },
            verify: load.verify,
            generations: vec![0; tracked],
            is_out: vec![false; tracked],
            swept: 0,
            out: 0,
            left: load.commands.unwrap_or(u64::MAX),
        })
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    fn place(&mut self) -> usize {
        let chunks = self.chunks as u64;
        if self.is_random {
            return usize::try_from(self.draw() % chunks).unwrap_or(0);
        }
        self.position = (self.position + 1) % self.chunks;
        self.position
    }

    /// The next command, if one may be sent; once `stopping`, only the comparison at the end is left.
    pub fn next(&mut self, stopping: bool) -> Option<Next> {
        if stopping {
            return self.sweep();
        }
        self.left = self.left.checked_sub(1)?;
        let is_read = self.draw() % 100 < self.read_percent;
        let mut chunk = self.place();
        if self.verify {
            while self.is_out[chunk] {
                chunk = self.place();
            }
            self.is_out[chunk] = true;
            self.out += 1;
        }
        let generation = self.generations.get(chunk).map_or(0, |now| now + u32::from(!is_read));
        let unit = if self.units > 1 { self.draw() % u64::from(self.units) } else { 0 };
        Some(Next { unit: u16::try_from(unit).unwrap_or(0), ..self.at(chunk, is_read, generation) })
    }

    fn at(&self, chunk: usize, is_read: bool, generation: u32) -> Next {
        Next { is_read, unit: 0, offset: self.base + chunk as u64 * self.size, chunk, generation }
    }

    fn sweep(&mut self) -> Option<Next> {
        // A write that is still out may not have reached its chunk.
        if self.swept == 0 && self.out > 0 {
            return None;
        }
        while self.swept < self.generations.len() {
            let chunk = self.swept;
            self.swept += 1;
            if self.generations[chunk] > 0 {
                self.out += 1;
                return Some(self.at(chunk, true, self.generations[chunk]));
            }
        }
        None
    }

    /// Whether everything that was written has been compared.
    pub fn is_swept(&self) -> bool {
        self.swept >= self.generations.len() && self.out == 0
    }

    /// The command has come back.
    pub fn done(&mut self, next: &Next, is_good: bool) {
        if self.verify {
            self.is_out[next.chunk] = false;
            self.out -= 1;
            if !next.is_read && is_good {
                self.generations[next.chunk] = next.generation;
            }
        }
    }

    fn words(&self, next: &Next) -> impl Iterator<Item = [u8; 8]> + use<> {
        let seed = mix(mix(self.seed ^ next.offset) ^ u64::from(next.generation));
        (0..).map(move |word: u64| mix(seed.wrapping_add(word)).to_le_bytes())
    }

    /// What a write of this command stores.
    pub fn fill(&self, next: &Next, data: &mut [u8]) {
        for (place, word) in data.chunks_mut(8).zip(self.words(next)) {
            place.copy_from_slice(&word[..place.len()]);
        }
    }

    /// Whether a read has brought what was written last.
    pub fn is_right(&self, next: &Next, data: &[u8]) -> bool {
        next.generation == 0
            || data.chunks(8).zip(self.words(next)).all(|(place, word)| *place == word[..place.len()])
    }
}

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Sessions that follow each other through the same places would wait for each other at the target.
    #[test]
    fn no_two_sessions_go_through_the_same_places() {
        let load = Load { region: 1 << 58, sessions: 1000, ..Load::new() };
        let unit = Unit { blocks: 1 << 50, block_size: 512 };
        let mut seen = HashSet::new();
        for session in 0..load.sessions {
            let mut plan = Plan::new(&load, unit, session).unwrap();
            for _ in 0..100 {
                assert!(seen.insert(plan.next(false).unwrap().offset), "session {session}");
            }
        }
    }
}
