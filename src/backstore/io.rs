//! A command on its way through a backstore that answers later, from a thread of its own.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::backstore::buffer::Buffer;
use crate::backstore::{Backstore, BlockError};
use crate::sys::interleave::until;

/// What is asked of the backstore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Fill the data from the medium.
    Read,
    /// Write the data to the medium.
    Write {
        /// It is on stable storage when the command is completed (FUA).
        durable: bool,
    },
    /// Everything completed so far is on stable storage when the command is completed.
    Flush,
    /// Free the range.
    Unmap,
}

/// Who waits for the command.
pub trait Owner: Send {
    /// The command is over; `buffer` comes back. Called on the thread that completes it; must not block.
    fn done(self: Box<Self>, buffer: Buffer, result: Result<(), BlockError>);
}

/// A command that was handed to a backstore: it is completed exactly once, even if it is dropped. Its data
/// stays where it is until then, also when the command is aborted meanwhile.
pub struct Io {
    operation: Operation,
    offset: u64,
    length: u64,
    buffer: Buffer,
    owner: Option<Box<dyn Owner>>,
}

impl Io {
    /// A command; `buffer` has at least `length` bytes where data is moved.
    pub fn new(
        (operation, offset, length): (Operation, u64, u64),
        buffer: Buffer,
        owner: Box<dyn Owner>,
    ) -> Self {
        Io { operation, offset, length, buffer, owner: Some(owner) }
    }

    /// What to do.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// First byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Number of bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The data: to be filled by a read, to be written by a write, empty for the others.
    pub fn data(&mut self) -> &mut [u8] {
        match self.operation {
            Operation::Read | Operation::Write { .. } => {
                let length = usize::try_from(self.length).unwrap_or(usize::MAX).min(self.buffer.len());
                &mut self.buffer[..length]
            }
            Operation::Flush | Operation::Unmap => &mut [],
        }
    }

    /// Ends the command. Any thread may, before or after [`Backstore::submit`] has returned.
    pub fn complete(mut self, result: Result<(), BlockError>) {
        self.end(result);
    }

    fn end(&mut self, result: Result<(), BlockError>) {
        if let Some(owner) = self.owner.take() {
            owner.done(std::mem::replace(&mut self.buffer, Buffer::empty()), result);
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.end(Err(BlockError::Gone));
    }
}

/// Names a command that a backstore has taken, to tell it that nobody waits for it any more.
#[derive(Clone)]
pub struct Ticket {
    store: Arc<dyn Backstore>,
    number: u64,
}

impl Ticket {
    pub(crate) fn new(store: Arc<dyn Backstore>, number: u64) -> Self {
        Ticket { store, number }
    }

    /// Tells the backstore. The command is completed all the same, sooner or later.
    pub fn cancel(&self) {
        self.store.cancel(self.number);
    }
}

/// A thread that waits for a command.
#[derive(Default)]
pub struct Waiter {
    result: Mutex<Option<Result<(), BlockError>>>,
    ended: Condvar,
}

impl Waiter {
    /// Says how it ended.
    pub fn end(&self, result: Result<(), BlockError>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.ended.notify_all();
    }

    /// Waits for as long as it takes: the memory is lent.
    pub fn wait(&self) -> Result<(), BlockError> {
        until(|| self.result.try_lock().is_ok_and(|result| result.is_some()));
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = *result {
                return result;
            }
            result = self.ended.wait(result).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
