//! Pages of a store's file that go to an initiator without a copy.
//!
//! A [`Lent`] holds the file's own pages, in a pipe: what is written to the file meanwhile changes them. So
//! whoever lends them keeps writers away until the initiator has them ([`crate::scsi::loan`]).

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sys::pipe::Pipe;

/// Bytes of pages that one command may be lent.
pub const LARGEST: usize = 1 << 20;
/// Bytes that a pipe has room for at first.
const USUAL: usize = 64 << 10;
/// Shorter data costs less to copy than to lend.
pub const SMALLEST: usize = 48 << 10;
/// Pipes that are out at once: with [`LARGEST`], the memory that pages on their way may hold.
pub const PIPES: usize = 64;

/// Pipes that wait to be used again, and how many there are.
#[derive(Default)]
struct Stock {
    idle: Vec<Pipe>,
    out: usize,
}

/// The pipes of an instance. For any thread.
#[derive(Default)]
pub struct Pipes {
    stock: Mutex<Stock>,
}

impl Pipes {
    fn stock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty pipe; `None` when too many are out, or the system gives no more.
    pub fn take(self: &Arc<Self>) -> Option<Lent> {
        let recycled = {
            let mut stock = self.stock();
            if stock.out >= PIPES {
                return None;
            }
            stock.out += 1;
            stock.idle.pop()
        };
        // Made without the lock. From here on dropping it counts it down.
        let mut lent = Lent { pipe: recycled, pipes: Arc::clone(self) };
        if lent.pipe.is_none() {
            lent.pipe = Some(Pipe::new(USUAL).ok()?);
        }
        Some(lent)
    }

    /// Whether [`Pipes::take`] is likely to have one.
    pub fn has_room(&self) -> bool {
        self.stock().out < PIPES
    }

    /// Pipes that are out.
    pub fn out(&self) -> usize {
        self.stock().out
    }
}

/// A pipe with pages for one command.
pub struct Lent {
    pipe: Option<Pipe>,
    pipes: Arc<Pipes>,
}

impl Lent {
    /// The pipe, for the store to fill.
    pub fn pipe(&mut self) -> Option<&mut Pipe> {
        self.pipe.as_mut()
    }

    /// As [`Pipe::send`].
    pub fn send(&mut self, socket: BorrowedFd<'_>, length: usize, more: bool) -> io::Result<usize> {
        match &mut self.pipe {
            Some(pipe) => pipe.send(socket, length, more),
            None => Ok(0),
        }
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lent({} bytes)", self.pipe.as_ref().map_or(0, Pipe::len))
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut stock = self.pipes.stock();
        stock.out -= 1;
        // One that is not empty holds pages that nobody wants.
        if let Some(pipe) = self.pipe.take_if(|pipe| pipe.is_empty()) {
            stock.idle.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_used_again_when_they_are_empty_and_never_more_than_that_many() {
        let pipes = Arc::new(Pipes::default());
        let mut out: Vec<Lent> = (0..PIPES).map_while(|_| pipes.take()).collect();
        // Another user of this machine may have taken what the system gives.
        assert!(!out.is_empty());
        if out.len() == PIPES {
            assert!(pipes.take().is_none());
        }
        assert_eq!(pipes.out(), out.len());
        let file = std::fs::File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(out[0].pipe().unwrap().fill(&file, 0, 4096).unwrap());
        let (count, full) = (out.len(), out.swap_remove(0));
        drop(out);
        drop(full);
        assert_eq!((pipes.out(), pipes.stock().idle.len()), (0, count - 1));
    }
}
