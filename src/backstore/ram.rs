//! A disk in memory (vdisk_ram): sparse, in chunks that exist once they are written.
//!
//! It never blocks: a chunk's lock is held for a copy only. What survives a restart is `file`'s business.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use crate::backstore::{Backstore, BlockError, Capabilities, Geometry, Provisioning, piece};

/// Bytes per chunk: the granularity in which memory is taken and given back.
const CHUNK: usize = 64 * 1024;
/// Largest RAM disk in bytes, used or not: the table of chunks is 32 bytes for each 64 KiB.
pub const MAX_BYTES: u64 = 64 << 40;

type Chunk = RwLock<Option<Box<[u8]>>>;

/// Chunks by number, in groups made at first use, so that an empty terabyte costs next to nothing.
const GROUP: usize = 1024;
type Group = Box<[Chunk]>;

/// A sparse disk in memory.
pub struct RamStore {
    block_size: u32,
    bytes: AtomicU64,
    groups: RwLock<Vec<std::sync::OnceLock<Group>>>,
    /// One change of the size at a time.
    resizing: Mutex<()>,
}

impl RamStore {
    /// `bytes` must be a multiple of `block_size` and at most [`MAX_BYTES`].
    pub fn new(block_size: u32, bytes: u64) -> Self {
        let (groups, resizing) = (RwLock::default(), Mutex::default());
        let store = RamStore { block_size, bytes: AtomicU64::new(bytes), groups, resizing };
        store.grow(bytes);
        store
    }

    fn grow(&self, bytes: u64) {
        let groups = usize::try_from(bytes.div_ceil((CHUNK * GROUP) as u64)).unwrap_or(usize::MAX);
        let mut table = self.groups.write().unwrap_or_else(PoisonError::into_inner);
        if table.len() < groups {
            table.resize_with(groups, std::sync::OnceLock::new);
        }
    }

    /// Calls `visit` with every chunk of a range: the chunk, where the range begins in it, its length; or
    /// once with all of a group that was never used.
    fn visit(
        &self,
        offset: u64,
        length: u64,
        mut visit: impl FnMut(Option<&Chunk>, usize, usize),
        create: bool,
    ) {
        let table = self.groups.read().unwrap_or_else(PoisonError::into_inner);
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let number = at / CHUNK as u64;
            let start = usize::try_from(at % CHUNK as u64).unwrap_or(0);
            let place = usize::try_from(number / GROUP as u64).unwrap_or(usize::MAX);
            let index = usize::try_from(number % GROUP as u64).unwrap_or(0);
            let group = table
                .get(place)
                .and_then(|group| if create { Some(group.get_or_init(new_group)) } else { group.get() });
            let most = if group.is_some() { CHUNK } else { (GROUP - index) * CHUNK };
            let part = usize::try_from(end - at).unwrap_or(usize::MAX).min(most - start);
            visit(group.map(|chunks| &chunks[index]), start, part);
            at += part as u64;
        }
    }

    fn load(&self, offset: u64, into: &mut [u8]) {
        let mut done = 0;
        let length = into.len() as u64;
        self.visit(
            offset,
            length,
            |chunk, start, part| {
                let target = &mut into[done..done + part];
                done += part;
                let bytes = chunk.map(|chunk| chunk.read().unwrap_or_else(PoisonError::into_inner));
                match bytes.as_ref().and_then(|bytes| bytes.as_ref()) {
                    Some(bytes) => target.copy_from_slice(&bytes[start..start + part]),
                    None => target.fill(0),
                }
            },
            false,
        );
    }

    /// As [`RamStore::load`] of bytes that lie in one chunk; `false` where they do not, or where somebody has
    /// a lock that this would have to wait for: whoever has it may have lost the processor.
    fn try_load(&self, offset: u64, into: &mut [u8]) -> bool {
        let start = usize::try_from(offset % CHUNK as u64).unwrap_or(0);
        let Some(end) = start.checked_add(into.len()).filter(|end| *end <= CHUNK) else { return false };
        let number = usize::try_from(offset / CHUNK as u64).unwrap_or(usize::MAX);
        let Ok(table) = self.groups.try_read() else { return false };
        let Some(group) = table.get(number / GROUP) else { return false };
        let Some(chunks) = group.get() else {
            into.fill(0);
            return true;
        };
        let Ok(chunk) = chunks[number % GROUP].try_read() else { return false };
        match chunk.as_ref() {
            Some(bytes) => into.copy_from_slice(&bytes[start..end]),
            None => into.fill(0),
        }
        true
    }

    fn store(&self, offset: u64, from: &[u8]) {
        let mut done = 0;
        self.visit(
            offset,
            from.len() as u64,
            |chunk, start, part| {
                let source = &from[done..done + part];
                done += part;
                let Some(chunk) = chunk else { return };
                let mut bytes = chunk.write().unwrap_or_else(PoisonError::into_inner);
                let bytes = bytes.get_or_insert_with(|| vec![0; CHUNK].into_boxed_slice());
                bytes[start..start + part].copy_from_slice(source);
            },
            true,
        );
    }

    fn clear(&self, offset: u64, length: u64) {
        self.visit(
            offset,
            length,
            |chunk, start, part| {
                let Some(chunk) = chunk else { return };
                let mut bytes = chunk.write().unwrap_or_else(PoisonError::into_inner);
                if part == CHUNK {
                    *bytes = None;
                } else if let Some(bytes) = bytes.as_mut() {
                    bytes[start..start + part].fill(0);
                }
            },
            false,
        );
    }
}

fn new_group() -> Group {
    std::iter::repeat_with(|| RwLock::new(None)).take(GROUP).collect()
}

impl Backstore for RamStore {
    fn geometry(&self) -> Geometry {
        let blocks = self.bytes.load(Ordering::Acquire) / u64::from(self.block_size);
        Geometry { unmap_granularity_bytes: self.block_size, ..Geometry::plain(self.block_size, blocks) }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NEVER_BLOCKS
            .with(Capabilities::AT_HAND)
            .with(Capabilities::UNMAP)
            .with(Capabilities::UNMAP_READS_ZERO)
            .with(Capabilities::WRITE_ZEROES)
            .with(Capabilities::PROVISIONING_STATUS)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        piece::each(into.len(), |part| {
            self.load(offset + part.start as u64, &mut into[part]);
            Ok(())
        })
    }

    fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<bool, BlockError> {
        Ok(self.try_load(offset, into))
    }

    fn write(&self, offset: u64, from: &[u8], _durable: bool) -> Result<(), BlockError> {
        piece::each(from.len(), |part| {
            self.store(offset + part.start as u64, &from[part]);
            Ok(())
        })
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }

    fn unmap(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        self.clear(offset, length);
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, length: u64, _may_unmap: bool) -> Result<(), BlockError> {
        self.clear(offset, length);
        Ok(())
    }

    fn provisioning(&self, offset: u64, limit: u64) -> Result<(Provisioning, u64), BlockError> {
        let mut state = None;
        let mut same = 0;
        let block = self.block_size as usize;
        self.visit(
            offset,
            limit.min((CHUNK * GROUP) as u64),
            |chunk, start, part| {
                let bytes = chunk.map(|chunk| chunk.read().unwrap_or_else(PoisonError::into_inner));
                let bytes = bytes.as_ref().and_then(|bytes| bytes.as_ref());
                let mut at = start;
                while at < start + part {
                    let length = block.min(start + part - at);
                    let mapped = bytes.is_some_and(|bytes| bytes[at..at + length].iter().any(|b| *b != 0));
                    let now = if mapped { Provisioning::Mapped } else { Provisioning::Deallocated };
                    match state {
                        None => state = Some((now, true)),
                        Some((first, true)) if first != now => state = Some((first, false)),
                        Some(_) => {}
                    }
                    if let Some((_, true)) = state {
                        same += length as u64;
                    }
                    at += length;
                }
            },
            false,
        );
        Ok(state.map_or((Provisioning::Deallocated, limit), |(state, _)| (state, same)))
    }

    fn resize(&self, bytes: u64) -> Result<(), BlockError> {
        if bytes > MAX_BYTES {
            return Err(BlockError::NoSpace);
        }
        let _one = self.resizing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.bytes.load(Ordering::Acquire);
        self.grow(bytes);
        // A write that was let through just before the disk shrank may have come behind its end since.
        self.clear(before, bytes.saturating_sub(before));
        self.bytes.store(bytes, Ordering::Release);
        self.clear(bytes, before.saturating_sub(bytes));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(store: &RamStore, offset: u64, length: usize) -> Vec<u8> {
        let mut into = vec![0xee; length];
        store.read(offset, &mut into).unwrap();
        into
    }

    #[test]
    fn what_comes_behind_the_end_of_a_disk_that_shrank_is_gone_when_it_grows() {
        let store = RamStore::new(512, 4 << 20);
        store.write(2 << 20, &[7; 4096], false).unwrap();
        store.resize(1 << 20).unwrap();
        // As a command does that had passed the check of its blocks.
        store.write(3 << 20, &[9; 4096], false).unwrap();
        store.write((1 << 20) - 512, &[5; 512], false).unwrap();
        store.resize(8 << 20).unwrap();
        assert!(read(&store, 1 << 20, 7 << 20).iter().all(|byte| *byte == 0));
        assert!(read(&store, (1 << 20) - 512, 512).iter().all(|byte| *byte == 5));
    }

    #[test]
    fn groups_that_were_never_used_read_as_zeros_on_both_sides_of_one_that_was() {
        let group = (CHUNK * GROUP) as u64;
        let store = RamStore::new(512, 4 * group);
        store.write(group + 512, &[3; 512], false).unwrap();
        let bytes = read(&store, group - CHUNK as u64 - 512, 2 * CHUNK + 2048);
        let expected = CHUNK + 1024..CHUNK + 1536;
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(*byte, if expected.contains(&at) { 3 } else { 0 }, "at {at}");
        }
        store.unmap(0, 4 * group).unwrap();
        assert!(read(&store, group, CHUNK).iter().all(|byte| *byte == 0));
        assert_eq!(store.provisioning(0, group).unwrap(), (Provisioning::Deallocated, group));
    }

    #[test]
    fn the_largest_disk_grows_and_shrinks_without_looking_at_every_chunk() {
        let store = RamStore::new(4096, 1 << 20);
        store.resize(MAX_BYTES).unwrap();
        store.resize(1 << 20).unwrap();
        assert_eq!(store.resize(MAX_BYTES + 4096), Err(BlockError::NoSpace));
        assert_eq!(store.geometry().blocks, 256);
    }
}
