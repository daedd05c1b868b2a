//! The receive buffer of a connection: many requests with one system call, large data past it.

use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;

use crate::sys::socket::receive;

/// Bytes that one receive call takes at most while requests are small.
const ROOM: usize = 64 * 1024;
/// While data segments are large, so little is read behind them that next to nothing is copied twice.
const BULK_ROOM: usize = 4096;
/// A place for at least this many bytes is received into directly.
pub const DIRECT: usize = 8192;

/// Bytes received and not yet understood.
#[derive(Debug, Default)]
pub struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    is_bulk: bool,
    since: usize,
}

impl Input {
    /// Whether everything received has been taken.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether data segments are large at the moment.
    pub fn is_bulk(&self) -> bool {
        self.is_bulk
    }

    /// Bytes received since [`Input::count_anew`].
    pub fn since(&self) -> usize {
        self.since
    }

    /// Counts from zero again.
    pub fn count_anew(&mut self) {
        self.since = 0;
    }

    /// Moves received bytes to `into`; answers how many.
    pub fn take(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.end - self.start);
        into[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        count
    }

    /// Receives; first into `want` when that is large, then behind it. Answers how many bytes went to
    /// `want`, or `None` when the peer has closed.
    pub fn fill(&mut self, socket: BorrowedFd<'_>, want: &mut [u8], wait: bool) -> io::Result<Option<usize>> {
        if self.buffer.is_empty() {
            self.buffer = vec![0; ROOM];
        }
        self.start = 0;
        self.end = 0;
        let is_direct = want.len() >= DIRECT;
        let room = if is_direct || self.is_bulk { BULK_ROOM } else { ROOM };
        self.is_bulk = is_direct;
        let direct = if is_direct { want.len() } else { 0 };
        let mut slices = [IoSliceMut::new(&mut want[..direct]), IoSliceMut::new(&mut self.buffer[..room])];
        let slices = if is_direct { &mut slices[..] } else { &mut slices[1..] };
        let count = receive(socket, slices, wait)?;
        if count == 0 {
            return Ok(None);
        }
        self.since = self.since.saturating_add(count);
        self.end = count.saturating_sub(direct);
        Ok(Some(count.min(direct)))
    }
}
