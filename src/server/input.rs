//! The receive buffer of a connection: many requests with one system call, large data past it. Short writes
//! are carried out from it.

use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;

use crate::backstore::piece::PIECE;
use crate::sys::pages::Pages;
use crate::sys::socket::receive;

/// Bytes that one receive call takes at most while requests are small.
const ROOM: usize = 64 * 1024;
/// While there are data segments of [`MEDIUM`] size: a call and an answer for each would cost more. Two of
/// 64 KiB fit, with their headers and digests, and some short commands before them.
const MEDIUM_ROOM: usize = 136 * 1024;
/// While data segments are large, so little is read behind them that next to nothing is copied twice.
const BULK_ROOM: usize = 4096;
/// From so many bytes on a data segment is of medium size.
const MEDIUM: usize = 32 * 1024;
/// A place for at least this many bytes is received into directly.
const DIRECT: usize = 128 * 1024;
/// A part of a command that is at most so long is moved to make room for the rest.
const MOVED: usize = 8 * 1024;
/// Bytes of a large segment that one receive call takes at most: shorter calls cost more for each byte,
/// longer ones keep others waiting.
const DIRECT_MOST: usize = 2 * PIECE;

/// Bytes received and not yet understood.
#[derive(Debug, Default)]
pub struct Input {
    buffer: Pages,
    start: usize,
    end: usize,
    is_medium: bool,
    /// Bytes of the last command with its data, or 0: what comes next may be as long.
    unit: usize,
    is_bulk: bool,
    /// The last call has filled its room.
    is_full: bool,
    since: usize,
    /// Bytes received into their places since the thread has last given way.
    direct: usize,
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

    /// Whether the next call is likely to bring something at once: the last one has filled its room, or what
    /// it brought ends in the middle of a command.
    pub fn has_more(&self) -> bool {
        self.is_full || !self.is_empty()
    }

    /// Whether the last call has filled its room, so that more may have been sent before it.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Whether the thread has copied so much that it should let others have their turn; asked once.
    pub fn owes_turn(&mut self) -> bool {
        let owes = self.direct >= PIECE;
        if owes {
            self.direct = 0;
        }
        owes
    }

    /// Bytes received since [`Input::count_anew`].
    pub fn since(&self) -> usize {
        self.since
    }

    /// Counts from zero again.
    pub fn count_anew(&mut self) {
        self.since = 0;
    }

    /// What has been received and not taken.
    #[inline]
    pub fn front(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The first `count` bytes of [`Input::front`] are done with.
    #[inline]
    pub fn skip(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    /// Moves received bytes to `into`; answers how many.
    pub fn take(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.end - self.start);
        into[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        self.is_medium |= count >= MEDIUM;
        // A large segment that came with its header was copied; the next one is received where it belongs.
        self.is_bulk |= count >= DIRECT;
        count
    }

    /// Nothing has come for long: gives the memory back.
    pub fn rest(&mut self) {
        if self.is_empty() {
            *self = Input { since: self.since, ..Input::default() };
        }
    }

    /// What is here is part of a command of `length` bytes with its data. Whether the rest is to be received
    /// behind it; otherwise it is to be taken piece by piece.
    pub fn awaits(&mut self, length: usize) -> bool {
        self.unit = length;
        self.is_medium |= (MEDIUM..DIRECT).contains(&length);
        if length >= DIRECT || length > self.buffer.len() {
            return false;
        }
        if self.start + length > self.buffer.len() {
            if self.end - self.start > MOVED {
                return false;
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        true
    }

    /// Where received bytes end at most: where a command does, as far as can be told.
    fn room(&self) -> usize {
        let start = if self.is_empty() { 0 } else { self.start };
        let most = self.buffer.len() - start;
        let beyond = most.checked_rem(self.unit).filter(|_| self.unit <= most);
        start + most - beyond.unwrap_or(0)
    }

    /// Receives; first into `want` when that is large, then behind what is here. Answers how many bytes went
    /// to `want`, or `None` when the peer has closed.
    ///
    /// Where something is here, [`Input::awaits`] has said that there is room behind it.
    pub fn fill(&mut self, socket: BorrowedFd<'_>, want: &mut [u8], wait: bool) -> io::Result<Option<usize>> {
        if self.is_empty() {
            let size = if self.is_medium { MEDIUM_ROOM } else { ROOM };
            if self.buffer.len() < size {
                self.buffer = Pages::new(size)?;
            }
            (self.start, self.end) = (0, 0);
        }
        // The end of a large segment as its beginning.
        let is_direct = self.is_empty() && want.len() >= if self.is_bulk { MEDIUM } else { DIRECT };
        let is_short = self.is_empty() && (is_direct || self.is_bulk);
        let room = if is_short { BULK_ROOM } else { self.room() };
        debug_assert!(self.end < room, "no room would look like a peer that has closed");
        // What came behind a large segment and is part of a short command says nothing of the next.
        self.is_bulk = if self.is_empty() { is_direct } else { self.is_bulk };
        let direct = if is_direct { want.len().min(DIRECT_MOST) } else { 0 };
        let mut slices =
            [IoSliceMut::new(&mut want[..direct]), IoSliceMut::new(&mut self.buffer[self.end..room])];
        let slices = if is_direct { &mut slices[..] } else { &mut slices[1..] };
        let count = receive(socket, slices, wait)?;
        if count == 0 {
            return Ok(None);
        }
        self.since = self.since.saturating_add(count);
        self.end += count.saturating_sub(direct);
        self.is_full = self.end == room;
        self.direct += count.min(direct);
        Ok(Some(count.min(direct)))
    }
}

#[cfg(test)]
mod tests;
