//! Commands that asynchronous handlers have. A token is looked up, never followed, and never used again, so
//! that completing a command twice is an error.

use std::cell::Cell;
use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use libc::iovec;

use crate::backstore::BlockError;
use crate::backstore::io::{Io, Operation, Waiter};
use crate::capi::backstore::scstu_request;
use crate::capi::disk::{Disk, completed, request};
use crate::model::Error;
use crate::sys::interleave::until;
use crate::sys::thread::on_behalf_of;

thread_local! {
    static COMPLETING: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is the program's own and completes a command.
pub(super) fn is_completing() -> bool {
    COMPLETING.get()
}

/// Who waits for a command.
pub(super) enum Work {
    /// A task; the memory is the command's own.
    Io(Io, iovec),
    /// A thread, which lends its memory until then.
    Wait(Arc<Waiter>, iovec),
}

impl Work {
    fn data(&self) -> iovec {
        let (Work::Io(_, data) | Work::Wait(_, data)) = self;
        *data
    }

    /// Says how it ended.
    pub(super) fn end(self, result: Result<(), BlockError>) {
        match self {
            Work::Io(io, _) => io.complete(result),
            Work::Wait(waiter, _) => waiter.end(result),
        }
    }
}

/// A place for a command; it keeps its address.
struct Slot {
    generation: u32,
    command: Option<(Work, Arc<Disk>)>,
    request: scstu_request,
    data: iovec,
}

#[derive(Default)]
struct Shard {
    #[allow(clippy::vec_box)] // A slot keeps its address when the list grows.
    slots: Vec<Box<Slot>>,
    free: Vec<u32>,
}

// SAFETY: the pointers are lent to the handler and followed by nobody here.
unsafe impl Send for Shard {}

/// Commands are spread over so many locks.
const SHARDS: usize = 8;
const SHARD_BITS: u32 = SHARDS.ilog2();
static SHARD: [Mutex<Shard>; SHARDS] =
    [const { Mutex::new(Shard { slots: Vec::new(), free: Vec::new() }) }; SHARDS];

fn shard(number: usize) -> MutexGuard<'static, Shard> {
    let shard = &SHARD[number % SHARDS];
    until(|| !matches!(shard.try_lock(), Err(TryLockError::WouldBlock)));
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a token points: shard and slot; and its generation.
fn place(token: u64) -> (usize, usize, u32) {
    let low = usize::try_from(token & u64::from(u32::MAX)).unwrap_or(usize::MAX);
    let generation = u32::try_from(token >> 32).unwrap_or(0);
    (low & (SHARDS - 1), low >> SHARD_BITS, generation)
}

fn token(shard: usize, slot: usize, generation: u32) -> u64 {
    (u64::from(generation) << 32) | ((slot << SHARD_BITS) | shard) as u64
}

/// Enters a command. The request stays where it is until the command is completed.
pub(super) fn enter(
    work: Work,
    disk: Arc<Disk>,
    operation: Operation,
    offset: u64,
    length: u64,
) -> (u64, *const scstu_request) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    let data = work.data();
    let mut shard = shard(number);
    let at = shard.free.pop().map_or(shard.slots.len(), |at| usize::try_from(at).unwrap_or(0));
    if at == shard.slots.len() {
        // Filled below.
        let request = request(0, operation, (0, 0), std::ptr::null(), false);
        shard.slots.push(Box::new(Slot { generation: 0, command: None, request, data }));
    }
    let slot = &mut *shard.slots[at];
    slot.generation = slot.generation.wrapping_add(1).max(1);
    let token = token(number, at, slot.generation);
    slot.data = data;
    slot.request =
        request(token, operation, (offset, length), &raw const slot.data, !data.iov_base.is_null());
    slot.command = Some((work, disk));
    (token, &raw const slot.request)
}

/// Takes a command out; `None` when it was completed before, or never was one.
fn leave(token: u64) -> Option<(Work, Arc<Disk>)> {
    let (number, at, generation) = place(token);
    let mut shard = shard(number);
    let slot = shard.slots.get_mut(at)?;
    if slot.generation != generation {
        return None;
    }
    let command = slot.command.take()?;
    shard.free.push(u32::try_from(at).unwrap_or(0));
    Some(command)
}

/// Whether a command is still to be completed.
pub(super) fn is_out(token: u64) -> bool {
    let (number, at, generation) = place(token);
    let shard = shard(number);
    shard.slots.get(at).is_some_and(|slot| slot.generation == generation && slot.command.is_some())
}

fn end((work, disk): (Work, Arc<Disk>), result: Result<(), BlockError>) {
    let before = COMPLETING.replace(true);
    on_behalf_of(disk.owner, || {
        work.end(result);
        // The last use may close the device.
        drop(disk);
    });
    COMPLETING.set(before);
}

/// The handler has not taken the command.
pub(super) fn refused(token: u64, result: Result<(), BlockError>) {
    if let Some(command) = leave(token) {
        end(command, result);
    }
}

/// The handler has done the command.
pub(super) fn complete(token: u64, result: c_int) -> Result<(), Error> {
    if result > 0 {
        let text = format!("result {result} is not 0 or a negative errno; the command is still out");
        return Err(Error::new(libc::EINVAL, text));
    }
    let command = leave(token).ok_or_else(|| {
        let text = format!("there is no command {token:#x}: it is completed already, or never was one");
        Error::new(libc::ENOENT, text)
    })?;
    end(command, completed(result));
    Ok(())
}
