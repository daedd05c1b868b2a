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
use crate::capi::disk::{Disk, Pieces, outcome, request};
use crate::capi::process::{self, Process};
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
    pieces: Pieces,
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
pub(super) const SHARDS: usize = 8;
const SHARD_BITS: u32 = SHARDS.ilog2();

/// The commands that are out in a process.
#[derive(Default)]
pub(super) struct Table([Mutex<Shard>; SHARDS]);

fn shard(process: &Process, number: usize) -> MutexGuard<'_, Shard> {
    let shard = &process.commands.0[number % SHARDS];
    until(|| !matches!(shard.try_lock(), Err(TryLockError::WouldBlock)));
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a command is. As a token, from the highest bit: 32 bits of generation, 8 of depth (that of the
/// process), 21 of the slot's number, 3 of the shard's.
#[derive(Clone, Copy)]
struct Place {
    shard: usize,
    slot: usize,
    depth: u8,
    generation: u32,
}

const SLOT_BITS: u32 = 24 - SHARD_BITS;
/// Most commands of a process in one shard, so 16,777,216 in all: what a token can tell apart. One more is
/// answered BUSY.
const SLOT_LIMIT: usize = 1 << SLOT_BITS;

#[cfg(test)]
thread_local! {
    /// Stands in for [`SLOT_LIMIT`].
    pub(super) static TEST_LIMIT: Cell<usize> = const { Cell::new(SLOT_LIMIT) };
}

fn slot_limit() -> usize {
    #[cfg(test)]
    return TEST_LIMIT.get();
    #[cfg(not(test))]
    SLOT_LIMIT
}

impl Place {
    #[allow(clippy::cast_possible_truncation)] // That is what takes the parts out.
    fn of(token: u64) -> Place {
        Place {
            shard: token as usize & (SHARDS - 1),
            slot: (token >> SHARD_BITS) as usize & (SLOT_LIMIT - 1),
            depth: (token >> 24) as u8,
            generation: (token >> 32) as u32,
        }
    }

    fn token(self) -> u64 {
        let low = ((self.slot << SHARD_BITS) | self.shard) as u64;
        (u64::from(self.generation) << 32) | (u64::from(self.depth) << 24) | low
    }
}

/// A shard that has room, and its number; none when all are full.
fn roomy(process: &Process) -> Option<(usize, MutexGuard<'_, Shard>)> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let first = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    let shards = (0..SHARDS).map(|step| (first + step) % SHARDS);
    let mut locked = shards.map(|number| (number, shard(process, number)));
    locked.find(|(_, shard)| shard.slots.len() - shard.free.len() < slot_limit())
}

/// Enters a command. The request stays where it is until the command is completed. Gives the work back where
/// there is no room for it.
pub(super) fn enter(
    work: Work,
    disk: Arc<Disk>,
    operation: Operation,
    offset: u64,
    length: u64,
) -> Result<(u64, *const scstu_request), Work> {
    let process = process::here();
    let pieces = Pieces::of(work.data(), disk.splits);
    let Some((number, mut shard)) = roomy(process) else { return Err(work) };
    let at = shard.free.pop().map_or(shard.slots.len(), |at| usize::try_from(at).unwrap_or(0));
    if at == shard.slots.len() {
        // Filled below.
        let request = request(0, operation, (0, 0), &pieces);
        shard.slots.push(Box::new(Slot { generation: 0, command: None, request, pieces }));
    }
    let slot = &mut *shard.slots[at];
    slot.generation += 1;
    let place = Place { shard: number, slot: at, depth: process.depth, generation: slot.generation };
    let token = place.token();
    slot.pieces = pieces;
    slot.request = request(token, operation, (offset, length), &slot.pieces);
    slot.command = Some((work, disk));
    Ok((token, &raw const slot.request))
}

/// Takes a command out; `None` when it was completed before, or never was one.
fn leave(process: &Process, token: u64) -> Option<(Work, Arc<Disk>)> {
    let place = Place::of(token);
    let mut shard = shard(process, place.shard);
    let slot = shard.slots.get_mut(place.slot)?;
    if (slot.generation, process.depth) != (place.generation, place.depth) {
        return None;
    }
    let command = slot.command.take()?;
    // A slot that has had all its generations rests for ever, so that no token is used again.
    if place.generation < u32::MAX {
        shard.free.push(u32::try_from(place.slot).unwrap_or(0));
    }
    Some(command)
}

/// Whether a command is still to be completed.
pub(super) fn is_out(token: u64) -> bool {
    let (process, place) = (process::here(), Place::of(token));
    let shard = shard(process, place.shard);
    let slot = shard.slots.get(place.slot);
    slot.is_some_and(|slot| slot.generation == place.generation && slot.command.is_some())
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
    if let Some(command) = leave(process::here(), token) {
        end(command, result);
    }
}

/// The handler has done the command.
pub(super) fn complete(token: u64, result: c_int) -> Result<(), Error> {
    if result > 0 {
        let text = format!("result {result} is not 0 or a negative errno; the command is still out");
        return Err(Error::new(libc::EINVAL, text));
    }
    let missing = || {
        let text = format!("there is no command {token:#x}: it is completed already, or never was one");
        Error::new(libc::ENOENT, text)
    };
    let process = process::own()?.ok_or_else(missing)?;
    if Place::of(token).depth < process.depth {
        return Err(process::of_an_ancestor());
    }
    let command = leave(process, token).ok_or_else(missing)?;
    end(command, outcome(result));
    Ok(())
}
