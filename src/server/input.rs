//! The receive buffer of a connection: many requests with one system call, large data past it.

use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;

use crate::backstore::piece::PIECE;
use crate::sys::pages::Pages;
use crate::sys::socket::receive;

/// Bytes that one receive call takes at most while requests are small.
const ROOM: usize = 64 * 1024;
/// While there are data segments of [`MEDIUM`] size: to copy them costs less than a call and an answer for
/// each.
const MEDIUM_ROOM: usize = 128 * 1024;
/// While data segments are large, so little is read behind them that next to nothing is copied twice.
const BULK_ROOM: usize = 4096;
/// From so many bytes on a data segment is of medium size.
const MEDIUM: usize = 32 * 1024;
/// A place for at least this many bytes is received into directly.
const DIRECT: usize = 128 * 1024;
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
    is_bulk: bool,
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

    /// Receives; first into `want` when that is large, then behind it. Answers how many bytes went to
    /// `want`, or `None` when the peer has closed.
    pub fn fill(&mut self, socket: BorrowedFd<'_>, want: &mut [u8], wait: bool) -> io::Result<Option<usize>> {
        let size = if self.is_medium { MEDIUM_ROOM } else { ROOM };
        if self.buffer.len() < size {
            self.buffer = Pages::new(size)?;
        }
        self.start = 0;
        self.end = 0;
        // The end of a large segment as its beginning.
        let is_direct = want.len() >= if self.is_bulk { MEDIUM } else { DIRECT };
        let room = if is_direct || self.is_bulk { BULK_ROOM } else { self.buffer.len() };
        self.is_bulk = is_direct;
        let direct = if is_direct { want.len().min(DIRECT_MOST) } else { 0 };
        let mut slices = [IoSliceMut::new(&mut want[..direct]), IoSliceMut::new(&mut self.buffer[..room])];
        let slices = if is_direct { &mut slices[..] } else { &mut slices[1..] };
        let count = receive(socket, slices, wait)?;
        if count == 0 {
            return Ok(None);
        }
        self.since = self.since.saturating_add(count);
        self.end = count.saturating_sub(direct);
        self.direct += count.min(direct);
        Ok(Some(count.min(direct)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Sends `count` bytes and receives them for segments of `segment` bytes; the sizes of the copies.
    fn pass(input: &mut Input, count: usize, segment: usize) -> Vec<usize> {
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        let bytes: Vec<u8> = (0..count).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let expected = bytes.clone();
        let thread = std::thread::spawn(move || sender.write_all(&bytes).unwrap());
        let (mut got, mut copies) = (Vec::new(), Vec::new());
        while got.len() < count {
            let mut want = vec![0; segment - got.len() % segment];
            let taken = if input.is_empty() {
                input.fill(receiver.as_fd(), &mut want, true).unwrap().unwrap()
            } else {
                copies.push(input.take(&mut want));
                copies[copies.len() - 1]
            };
            got.extend_from_slice(&want[..taken]);
        }
        thread.join().unwrap();
        assert!(got == expected, "the bytes are those that were sent");
        copies
    }

    #[test]
    fn room_follows_the_size_of_segments_and_goes_when_nothing_comes() {
        let mut input = Input::default();
        pass(&mut input, 48 * 1000, 48);
        assert_eq!(input.buffer.len(), ROOM);
        pass(&mut input, 1 << 20, 64 << 10);
        assert_eq!(input.buffer.len(), MEDIUM_ROOM);
        input.rest();
        assert_eq!((input.buffer.len(), input.is_empty()), (0, true));
        pass(&mut input, 48 * 1000, 48);
        assert_eq!(input.buffer.len(), ROOM);
    }

    #[test]
    fn a_turn_is_owed_once_for_what_was_received_into_its_place() {
        let mut input = Input::default();
        pass(&mut input, 48 * 1000, 48);
        assert!(!input.owes_turn(), "small requests owe none");
        pass(&mut input, 2 << 20, 1 << 20);
        assert!(input.owes_turn());
        assert!(!input.owes_turn());
    }

    #[test]
    fn large_segments_are_not_copied_but_for_their_first_bytes() {
        let mut input = Input::default();
        let copies = pass(&mut input, 16 << 20, 1 << 20);
        // At worst the room of a call that ends one segment holds the beginning of the next.
        assert!(copies.iter().sum::<usize>() <= 4 << 20, "{copies:?}");
    }
}
