//! Where the blocks are: one blocking trait, one file per kind of backstore.
//!
//! A backstore knows bytes, not SCSI. It is called only through [`gate::Gate`], which has checked the
//! range, and only on a thread that may block (a worker), except for [`Backstore::try_read`] and for
//! stores that declare [`Capabilities::NEVER_BLOCKS`]; with the unit's state locked only where it declares
//! [`Capabilities::AT_HAND`]. Calls come from several threads at once. A store that
//! declares [`Capabilities::ASYNCHRONOUS`] is given reads, writes, flushes and frees through
//! [`Backstore::submit`], on any thread, and holds none while it works; commands that take more than one of
//! these take them one after the other. Only what an administrator asks for, third-party copies, FORMAT UNIT
//! and SANITIZE still wait for it, on threads of their own.
//!
//! # How to add a backstore
//! Write one file with a type that implements [`Backstore`] and a [`registry::Handler`] row that opens it;
//! add the row to `registry::HANDLERS`. `tests/backstores.rs` runs its suite over every row.

use std::fmt;

use crate::backstore::io::Io;
use crate::sys::pipe::Pipe;

pub mod buffer;
pub mod declared;
mod direct;
pub mod file;
pub mod gate;
pub mod io;
pub mod lent;
pub mod mapped;
pub mod null;
pub mod piece;
pub mod ram;
pub mod registry;
pub mod space;
pub mod spare;
pub mod tcmu;

/// Size and shape of the medium. Lengths in logical blocks unless the name says bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Logical block length in bytes: 512, 1024, 2048 or 4096.
    pub block_size: u32,
    /// Number of logical blocks.
    pub blocks: u64,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT (SBC-3, READ CAPACITY (16)).
    pub physical_block_exponent: u8,
    /// OPTIMAL TRANSFER LENGTH in bytes, 0 when unknown.
    pub optimal_transfer_bytes: u32,
    /// OPTIMAL UNMAP GRANULARITY in bytes, 0 when it cannot unmap.
    pub unmap_granularity_bytes: u32,
    /// UNMAP GRANULARITY ALIGNMENT in bytes.
    pub unmap_alignment_bytes: u32,
}

impl Geometry {
    /// So many blocks of so many bytes, of which nothing more is known.
    pub const fn plain(block_size: u32, blocks: u64) -> Self {
        Geometry {
            block_size,
            blocks,
            physical_block_exponent: 0,
            optimal_transfer_bytes: 0,
            unmap_granularity_bytes: 0,
            unmap_alignment_bytes: 0,
        }
    }

    /// Length of the medium in bytes.
    pub fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(u64::from(self.block_size))
    }
}

/// What a backstore can do and how it behaves; SCSI advertises nothing that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Capabilities(u32);

impl Capabilities {
    /// Nothing.
    pub const NONE: Self = Capabilities(0);
    /// [`Backstore::unmap`] frees space.
    pub const UNMAP: Self = Capabilities(1);
    /// Unmapped ranges read as zeros, always (LBPRZ).
    pub const UNMAP_READS_ZERO: Self = Capabilities(1 << 1);
    /// [`Backstore::write_zeroes`] is cheaper than writing zeros.
    pub const WRITE_ZEROES: Self = Capabilities(1 << 2);
    /// No call ever waits for a device: commands may run on the connection's own thread.
    pub const NEVER_BLOCKS: Self = Capabilities(1 << 3);
    /// [`Backstore::try_read`] may succeed.
    pub const TRY_READ: Self = Capabilities(1 << 4);
    /// Every write fails.
    pub const READ_ONLY: Self = Capabilities(1 << 5);
    /// A write without `durable` may be lost with the power until `flush` returns (WCE).
    pub const VOLATILE_CACHE: Self = Capabilities(1 << 6);
    /// [`Backstore::provisioning`] tells mapped from deallocated ranges.
    pub const PROVISIONING_STATUS: Self = Capabilities(1 << 7);
    /// [`Backstore::submit`] takes commands and answers later; the blocking calls wait for it.
    pub const ASYNCHRONOUS: Self = Capabilities(1 << 9);
    /// [`Backstore::space`] tells what is left.
    pub const SPACE: Self = Capabilities(1 << 10);
    /// [`Backstore::submit`] may have to wait for a moment: it is called only where that is allowed.
    pub const SUBMIT_WAITS: Self = Capabilities(1 << 11);
    /// It is a SCSI device by itself: [`Backstore::command`] takes every command, and nothing else works.
    pub const PASSES_COMMANDS: Self = Capabilities(1 << 12);
    /// [`Backstore::write_same`] is the store's own.
    pub const WRITE_SAME: Self = Capabilities(1 << 13);
    /// [`Backstore::compare_and_write`] is the store's own.
    pub const COMPARE_AND_WRITE: Self = Capabilities(1 << 14);
    /// [`Backstore::try_read`] of a few KiB is no more than a copy out of memory, which waits for nobody: it
    /// may be called with a lock held. Without meaning beside [`Capabilities::VOLATILE_CACHE`].
    pub const AT_HAND: Self = Capabilities(1 << 15);
    /// Buffers and offsets must be multiples of [`buffer::ALIGNMENT`] or of the block size (O_DIRECT).
    pub const ALIGNED: Self = Capabilities(1 << 8);

    /// [`Backstore::lend`] may succeed.
    pub const LENDS: Self = Capabilities(1 << 16);

    /// Whether all of `other` is in `self`.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Capabilities(self.0 | other.0)
    }

    /// `self` less `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Capabilities(self.0 & !other.0)
    }
}

/// Why the medium did not do it. The SCSI layer has the one translation into sense data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// The operating system's error number.
    Io(i32),
    /// No space left to allocate a block (ENOSPC, EDQUOT).
    NoSpace,
    /// The medium cannot be written.
    ReadOnly,
    /// This backstore does not have the operation; nothing was done.
    Unsupported,
    /// The store is closed, or an earlier flush failed and the state of the medium is unknown.
    Gone,
    /// Outside the medium.
    OutOfRange,
    /// It could not be done now; it may be tried again.
    Busy,
    /// There is no room for another command now.
    Full,
    /// The store speaks SCSI itself and says what is wrong.
    Reported(Reported),
}

/// Sense data of a store that speaks SCSI (SPC-4, 4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// SENSE KEY.
    pub key: u8,
    /// ADDITIONAL SENSE CODE and its qualifier, 0xAAQQ.
    pub code: u16,
    /// INFORMATION.
    pub information: Option<u32>,
    /// SENSE KEY SPECIFIC, with SKSV.
    pub specific: Option<[u8; 3]>,
}

impl Reported {
    /// MISCOMPARE.
    pub fn is_miscompare(&self) -> bool {
        self.key == 0xe
    }
}

/// A command that a store carries out whole ([`Capabilities::PASSES_COMMANDS`]). It has data for one
/// direction at most.
pub struct Pass<'a> {
    /// CDB.
    pub cdb: &'a [u8],
    /// What the initiator has sent.
    pub data_out: &'a [u8],
    /// Room for what it gets; zeros.
    pub data_in: &'a mut [u8],
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockError::Io(errno) => write!(f, "{}", std::io::Error::from_raw_os_error(*errno)),
            BlockError::NoSpace => f.write_str("no space left"),
            BlockError::ReadOnly => f.write_str("read-only"),
            BlockError::Unsupported => f.write_str("not supported"),
            BlockError::Gone => f.write_str("store closed or failed"),
            BlockError::OutOfRange => f.write_str("out of range"),
            BlockError::Busy => f.write_str("busy"),
            BlockError::Full => f.write_str("no room for another command"),
            BlockError::Reported(Reported { key, code, .. }) => {
                write!(f, "sense key {key:x}h, code {:02x}h/{:02x}h", code >> 8, code & 0xff)
            }
        }
    }
}

/// State of a run of bytes (SBC-3, GET LBA STATUS, PROVISIONING STATUS field).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provisioning {
    /// Blocks are allocated, or the store cannot tell.
    Mapped,
    /// Nothing is allocated; reads as zeros.
    Deallocated,
}

/// How much of a thin medium is allocated, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What others leave it to allocate still.
    pub available: u64,
    /// What it has allocated.
    pub used: u64,
}

/// A store of blocks. Offsets and lengths are bytes, multiples of the block size, inside the medium.
///
/// Implementations are shared between threads and must allow concurrent calls.
pub trait Backstore: Send + Sync {
    /// Current shape; may change after [`Backstore::resize`] or [`Backstore::resync`].
    fn geometry(&self) -> Geometry;

    /// What it can do; constant while open.
    fn capabilities(&self) -> Capabilities;

    /// Fills `into` from `offset`. A short read is an error.
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError>;

    /// As `read`, but answers `Ok(false)` instead of waiting for a device; `into` is then unspecified.
    fn try_read(&self, _offset: u64, _into: &mut [u8]) -> Result<bool, BlockError> {
        Ok(false)
    }

    /// Puts `length` bytes from `offset` into the empty `pipe`, uncopied, and may wait for a device.
    /// `Ok(false)` where it cannot, and they are to be read; what is in the pipe is then of no use.
    fn lend(&self, _offset: u64, _length: usize, _pipe: &mut Pipe) -> Result<bool, BlockError> {
        Ok(false)
    }

    /// Writes all of `from`. With `durable`, it is on stable storage when the call returns (FUA).
    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError>;

    /// Everything acknowledged so far is on stable storage when the call returns.
    fn flush(&self) -> Result<(), BlockError>;

    /// Frees the range; it reads as zeros afterwards when `UNMAP_READS_ZERO` is set.
    fn unmap(&self, _offset: u64, _length: u64) -> Result<(), BlockError> {
        Err(BlockError::Unsupported)
    }

    /// Makes the range read as zeros; may free it when `may_unmap`.
    fn write_zeroes(&self, _offset: u64, _length: u64, _may_unmap: bool) -> Result<(), BlockError> {
        Err(BlockError::Unsupported)
    }

    /// Writes `block` over and over, over the whole range.
    fn write_same(
        &self,
        _offset: u64,
        _length: u64,
        _block: &[u8],
        _durable: bool,
    ) -> Result<(), BlockError> {
        Err(BlockError::Unsupported)
    }

    /// Writes `new` where the medium holds `old`, in one step as far as other calls can tell. Answers the
    /// first byte that differs, counted from `offset`; nothing is written then.
    fn compare_and_write(
        &self,
        _offset: u64,
        _old: &[u8],
        _new: &[u8],
        _durable: bool,
    ) -> Result<Option<u64>, BlockError> {
        Err(BlockError::Unsupported)
    }

    /// Carries out a SCSI command whole; answers how many bytes of data it has moved.
    fn command(&self, _pass: &mut Pass<'_>) -> Result<usize, BlockError> {
        Err(BlockError::Unsupported)
    }

    /// Takes a command and completes it later, from any thread, or at once. Must not block, unless
    /// [`Capabilities::SUBMIT_WAITS`] says that it may. Answers a number
    /// for [`Backstore::cancel`], which is not used again while the store is open.
    fn submit(&self, io: Io) -> Option<u64> {
        io.complete(Err(BlockError::Unsupported));
        None
    }

    /// Nobody waits for this command any more; it must still be completed. It may be completed already.
    /// Must not block.
    fn cancel(&self, _number: u64) {}

    /// State of the bytes from `offset` on, and how many share it (at least one block, at most `limit`).
    fn provisioning(&self, _offset: u64, limit: u64) -> Result<(Provisioning, u64), BlockError> {
        Ok((Provisioning::Mapped, limit))
    }

    /// What is left to allocate and what is allocated, where that can be told. May wait for a device.
    fn space(&self) -> Option<Space> {
        None
    }

    /// The file with the medium's bytes at their own offsets, where the kernel may copy from and to it.
    fn file(&self) -> Option<&std::fs::File> {
        None
    }

    /// Makes the medium `bytes` long where the store has a size of its own.
    fn resize(&self, _bytes: u64) -> Result<(), BlockError> {
        Err(BlockError::Unsupported)
    }

    /// What the device tells of an attribute that its handler declares ([`declared`]), by its place. Must not
    /// block: whoever reads the tree waits for it.
    fn attribute(&self, _slot: usize) -> Result<String, BlockError> {
        Err(BlockError::Unsupported)
    }

    /// An attribute that its handler declares has another value, which fits its row.
    fn set_attribute(&self, _slot: usize, _value: &str) -> Result<(), BlockError> {
        Err(BlockError::Unsupported)
    }

    /// Looks at the medium's size again (the file or device grew behind our back).
    fn resync(&self) -> Result<Geometry, BlockError> {
        Ok(self.geometry())
    }
}
