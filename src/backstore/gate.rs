//! The one way to a backstore: checks the range, counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::backstore::io::{Io, Operation, Ticket};
use crate::backstore::space::Watch;
use crate::backstore::{Backstore, BlockError, Capabilities, Geometry, Pass, Provisioning, Space};
use crate::sys::AlignedMemory;
use crate::sys::interleave::point;
use crate::sys::pipe::Pipe;

/// Zeros written at once where the store has no better way.
const ZEROS: usize = 1 << 20;

/// Operations and errors since the store was opened.
#[derive(Debug, Default)]
pub struct Counts {
    /// Calls that read, wrote, flushed, freed.
    pub operations: AtomicU64,
    /// Calls that failed.
    pub errors: AtomicU64,
    /// Bytes given back at the hosts' request: unmapped, or zeroed where that may unmap.
    pub reclaimed: AtomicU64,
}

impl Counts {
    /// Operations and errors.
    pub fn totals(&self) -> (u64, u64) {
        (self.operations.load(Ordering::Relaxed), self.errors.load(Ordering::Relaxed))
    }
}

/// A backstore behind its checks. What all it does looks at is one line of the processor's cache.
#[repr(C, align(64))]
pub struct Gate {
    store: Arc<dyn Backstore>,
    capabilities: Capabilities,
    outstanding: AtomicUsize,
    /// What has happened.
    pub counts: Counts,
    /// The soft threshold.
    pub watch: Watch,
}

impl Gate {
    /// A gate before `store`.
    pub fn new(store: Arc<dyn Backstore>) -> Self {
        let mut capabilities = store.capabilities();
        // A read may have to flush first, which is no copy.
        if capabilities.contains(Capabilities::VOLATILE_CACHE) {
            capabilities = capabilities.without(Capabilities::AT_HAND);
        }
        let outstanding = AtomicUsize::new(0);
        Gate { store, capabilities, outstanding, counts: Counts::default(), watch: Watch::default() }
    }

    /// Size and shape.
    pub fn geometry(&self) -> Geometry {
        self.store.geometry()
    }

    /// What the store can do.
    #[inline]
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn check(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        let end = offset.checked_add(length).ok_or(BlockError::OutOfRange)?;
        if end > self.store.geometry().bytes() { Err(BlockError::OutOfRange) } else { Ok(()) }
    }

    fn counted<T>(&self, result: Result<T, BlockError>) -> Result<T, BlockError> {
        self.counts.operations.fetch_add(1, Ordering::Relaxed);
        if result.is_err() {
            self.counts.errors.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// [`Backstore::read`].
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.check(offset, into.len() as u64)?;
        self.counted(self.store.read(offset, into))
    }

    /// [`Backstore::try_read`].
    pub fn try_read(&self, offset: u64, into: &mut [u8]) -> Result<bool, BlockError> {
        self.check(offset, into.len() as u64)?;
        self.counted(self.store.try_read(offset, into))
    }

    /// [`Backstore::lend`].
    pub fn lend(&self, offset: u64, length: usize, pipe: &mut Pipe) -> Result<bool, BlockError> {
        self.check(offset, length as u64)?;
        self.counted(self.store.lend(offset, length, pipe))
    }

    /// [`Backstore::write`].
    pub fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.check(offset, from.len() as u64)?;
        let written = self.counted(self.store.write(offset, from, durable));
        if self.watch.wrote(from.len() as u64) {
            self.look();
        }
        written
    }

    fn look(&self) {
        if let Some(space) = self.store.space() {
            self.watch.look(space.available);
        }
    }

    /// [`Backstore::space`].
    pub fn space(&self) -> Option<Space> {
        self.store.space()
    }

    fn reclaimed(&self, length: u64, result: Result<(), BlockError>) -> Result<(), BlockError> {
        if result.is_ok() {
            self.counts.reclaimed.fetch_add(length, Ordering::Relaxed);
        }
        self.counted(result)
    }

    /// [`Backstore::flush`].
    pub fn flush(&self) -> Result<(), BlockError> {
        self.counted(self.store.flush())
    }

    /// [`Backstore::unmap`].
    pub fn unmap(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        self.check(offset, length)?;
        if length == 0 { Ok(()) } else { self.reclaimed(length, self.store.unmap(offset, length)) }
    }

    /// [`Backstore::write_zeroes`], with zeros from memory where the store has no way of its own.
    pub fn write_zeroes(&self, offset: u64, length: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.check(offset, length)?;
        if length == 0 {
            return Ok(());
        }
        match self.store.write_zeroes(offset, length, may_unmap) {
            Err(BlockError::Unsupported) => self.counted(self.write_zeros_from_memory(offset, length)),
            other if may_unmap => self.reclaimed(length, other),
            other => self.counted(other),
        }
    }

    fn write_zeros_from_memory(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        let size = usize::try_from(length).unwrap_or(ZEROS).min(ZEROS);
        let zeros = AlignedMemory::zeroed(size);
        let mut done = 0;
        while done < length {
            let part = usize::try_from(length - done).unwrap_or(size).min(size);
            self.store.write(offset + done, &zeros[..part], false)?;
            done += part as u64;
        }
        Ok(())
    }

    /// [`Backstore::write_same`].
    pub fn write_same(
        &self,
        offset: u64,
        length: u64,
        block: &[u8],
        durable: bool,
    ) -> Result<(), BlockError> {
        self.check(offset, length)?;
        self.has_it(self.store.write_same(offset, length, block, durable))
    }

    /// [`Backstore::compare_and_write`].
    pub fn compare_and_write(
        &self,
        offset: u64,
        (old, new): (&[u8], &[u8]),
        durable: bool,
    ) -> Result<Option<u64>, BlockError> {
        self.check(offset, old.len() as u64)?;
        self.has_it(self.store.compare_and_write(offset, old, new, durable))
    }

    /// An operation that is missing is no failure of the medium.
    fn has_it<T>(&self, result: Result<T, BlockError>) -> Result<T, BlockError> {
        if matches!(result, Err(BlockError::Unsupported)) { result } else { self.counted(result) }
    }

    /// [`Backstore::command`]. A command that the store does not know is no failure of the medium.
    pub fn command(&self, pass: &mut Pass<'_>) -> Result<usize, BlockError> {
        self.has_it(self.store.command(pass))
    }

    /// [`Backstore::submit`]; whoever completes `io` calls [`Gate::settle`].
    pub fn submit(&self, io: Io) -> Option<Ticket> {
        point();
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        let number = self.store.submit(io)?;
        Some(Ticket::new(Arc::clone(&self.store), number))
    }

    /// Counts the end of a command of so many bytes that was submitted.
    pub fn settle(
        &self,
        operation: Operation,
        length: u64,
        result: Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        point();
        self.outstanding.fetch_sub(1, Ordering::Relaxed);
        if operation == Operation::Unmap { self.reclaimed(length, result) } else { self.counted(result) }
    }

    /// Commands that were submitted and are not completed.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Whether a range may be submitted.
    pub fn admits(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        self.check(offset, length)
    }

    /// Has the kernel copy bytes from another store's file into this one's: shared extents where the file
    /// system can (reflink), else within the kernel. `false` when it cannot, and the caller copies; part of
    /// the range may have been copied by then.
    pub fn copy_from(&self, offset: u64, source: &Gate, from: u64, length: u64) -> Result<bool, BlockError> {
        self.check(offset, length)?;
        source.check(from, length)?;
        let (Some(target), Some(file)) = (self.store.file(), source.store.file()) else { return Ok(false) };
        if !crate::sys::file::copy_range(file, from, target, offset, length) {
            return Ok(false);
        }
        source.counts.operations.fetch_add(1, Ordering::Relaxed);
        if self.watch.wrote(length) {
            self.look();
        }
        self.counted(Ok(true))
    }

    /// [`Backstore::provisioning`].
    pub fn provisioning(&self, offset: u64, limit: u64) -> Result<(Provisioning, u64), BlockError> {
        self.check(offset, limit)?;
        self.store.provisioning(offset, limit)
    }

    /// [`Backstore::resize`].
    pub fn resize(&self, bytes: u64) -> Result<(), BlockError> {
        self.counted(self.store.resize(bytes))
    }

    /// [`Backstore::attribute`].
    pub fn attribute(&self, slot: usize) -> Result<String, BlockError> {
        self.store.attribute(slot)
    }

    /// [`Backstore::set_attribute`].
    pub fn set_attribute(&self, slot: usize, value: &str) -> Result<(), BlockError> {
        self.store.set_attribute(slot, value)
    }

    /// [`Backstore::resync`].
    pub fn resync(&self) -> Result<Geometry, BlockError> {
        self.counted(self.store.resync())
    }
}
