//! Moving the bytes of a planned copy.
//!
//! Piece by piece: the blocks of both ends are claimed in their units' task sets, so a piece is one write
//! among others; whether the nexus may still read here and write there is asked anew each time, under the
//! lock that also guards reservations. Between pieces other commands have their turn, and an abort takes
//! effect.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::backstore::buffer::Buffer;
use crate::backstore::gate::Gate;
use crate::backstore::{Capabilities, Provisioning};
use crate::scsi::Status;
use crate::scsi::claim::{Claim, Signal};
use crate::scsi::copy::PIECE_BYTES;
use crate::scsi::copy::lists::{Progress, Stage};
use crate::scsi::copy::plan::{End, Step};
use crate::scsi::itl::Itl;
use crate::scsi::nexus::Nexus;
use crate::scsi::opcode::OpCode;
use crate::scsi::ops::same::is_thin;
use crate::scsi::ops::{READ_16, WRITE_16};
use crate::scsi::sense::{Sense, SenseKey};
use crate::scsi::target::permit;
use crate::scsi::task::Failure;
use crate::scsi::task_set::{Entry, Extent, Place, TaskId};
use crate::scsi::threshold;

/// Bytes that pass through memory at once.
const MEMORY_BYTES: u64 = crate::scsi::limits::PIECE_BYTES;
/// The tag of no task: claims of a nexus are told from its commands by it.
const NO_TAG: u32 = u32::MAX;

/// A copy under way.
pub(crate) struct Copy {
    /// Who asks.
    pub(crate) nexus: Arc<Nexus>,
    /// The unit that got the command, as the nexus sees it.
    pub(crate) itl: Arc<Itl>,
    /// The command's place in the task set of that unit, while it is unanswered.
    pub(crate) task: Option<TaskId>,
    /// What to copy.
    pub(crate) steps: Vec<Step>,
    /// How far it is.
    pub(crate) progress: Arc<Progress>,
}

/// A run of bytes inside a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Piece {
    from: u64,
    to: u64,
    length: u64,
}

/// The pieces of a run, cut where the destination's offset is a multiple of `size`. Backwards where the run
/// overlaps itself and goes up, so that nothing is written over before it was read.
fn pieces(from: u64, to: u64, length: u64, size: u64, backwards: bool) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut done = 0;
    while done < length {
        let part = (size - (to + done) % size).min(length - done);
        pieces.push(Piece { from: from + done, to: to + done, length: part });
        done += part;
    }
    if backwards {
        pieces.reverse();
    }
    pieces
}

impl Step {
    fn is_within_one_unit(&self) -> bool {
        Arc::ptr_eq(&self.source.itl.device, &self.destination.itl.device)
    }

    fn overlaps_itself(&self) -> bool {
        self.is_within_one_unit() && self.source.offset.abs_diff(self.destination.offset) < self.length
    }
}

impl End {
    /// The whole blocks that hold these bytes.
    fn extent(&self, offset: u64, length: u64) -> Extent {
        let first = offset / self.block;
        Extent { lba: first, blocks: (offset + length).div_ceil(self.block) - first }
    }
}

impl Copy {
    /// Copies everything, and enters how it ended into the lists of the I_T_L nexus.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let outcome = self.all_steps();
        let stage = match outcome {
            Ok(()) => Stage::Done,
            Err(_) if !self.is_wanted() => Stage::Terminated,
            Err(Failure::Sense(sense)) => Stage::Failed(sense),
            Err(_) => Stage::Failed(Sense::COPY_ABORTED),
        };
        self.itl.copies().end(&self.progress, stage);
        outcome
    }

    fn all_steps(&self) -> Result<(), Failure> {
        for step in &self.steps {
            self.step(step)?;
            self.progress.segments.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Neither aborted, nor told to end, nor its nexus gone.
    fn is_wanted(&self) -> bool {
        let aborted = self.task.is_some_and(|id| !self.itl.device.state().tasks.is_wanted(id));
        !self.progress.is_cancelled() && !self.nexus.is_lost() && !aborted
    }

    fn step(&self, step: &Step) -> Result<(), Failure> {
        let overlaps = step.overlaps_itself();
        let upwards = step.destination.offset > step.source.offset;
        let size = if overlaps { MEMORY_BYTES } else { PIECE_BYTES };
        for piece in
            pieces(step.source.offset, step.destination.offset, step.length, size, overlaps && upwards)
        {
            if !self.is_wanted() {
                return Err(Sense::COPY_COMMANDS_CLEARED_BY_DEVICE_SERVER
                    .in_segment(step.segment, None)
                    .into());
            }
            self.piece(step, piece, overlaps)?;
            self.progress.advance(piece.length);
            if let Some(gate) = step.destination.itl.device.gate() {
                threshold::tell(&step.destination.itl.device, &gate);
            }
        }
        if step.length > 0 && writes_through(&step.destination) {
            if let Some(gate) = step.destination.itl.device.gate() {
                gate.flush().map_err(|error| failed(step, error.into()))?;
            }
        }
        Ok(())
    }

    fn piece(&self, step: &Step, piece: Piece, overlaps: bool) -> Result<(), Failure> {
        let held = self.claim(step, piece)?;
        let (source, destination) = (&held.source, &held.destination);
        let done = if overlaps {
            self.through_memory(step, piece, source, destination)
        } else {
            self.runs(step, piece, source, destination)
        };
        done.map_err(|error| failed(step, error))?;
        if held.claims.iter().all(Claim::stands) {
            Ok(())
        } else {
            Err(Sense::COPY_COMMANDS_CLEARED_BY_DEVICE_SERVER.in_segment(step.segment, None).into())
        }
    }

    /// Claims the blocks of both ends, in the order of the units' addresses, and takes their media.
    fn claim(&self, step: &Step, piece: Piece) -> Result<Held, Failure> {
        let read =
            Wish { end: &step.source, extent: step.source.extent(piece.from, piece.length), row: &READ_16 };
        let write = Wish {
            end: &step.destination,
            extent: step.destination.extent(piece.to, piece.length),
            row: &WRITE_16,
        };
        let mut claims = Vec::with_capacity(2);
        let (source, destination) = if step.is_within_one_unit() {
            let gate = self.enter(step.segment, &[read, write], &mut claims)?;
            (Arc::clone(&gate), gate)
        } else if Arc::as_ptr(&step.source.itl.device) < Arc::as_ptr(&step.destination.itl.device) {
            let source = self.enter(step.segment, &[read], &mut claims)?;
            (source, self.enter(step.segment, &[write], &mut claims)?)
        } else {
            let destination = self.enter(step.segment, &[write], &mut claims)?;
            (self.enter(step.segment, &[read], &mut claims)?, destination)
        };
        Ok(Held { claims, source, destination })
    }

    /// Puts claims on one unit into its task set, at one moment, and waits for them.
    fn enter(
        &self,
        segment: u16,
        wishes: &[Wish<'_>],
        claims: &mut Vec<Claim>,
    ) -> Result<Arc<Gate>, Failure> {
        let device = &wishes[0].end.itl.device;
        let before = claims.len();
        let gate = {
            let mut state = device.state();
            for wish in wishes {
                permit(&wish.end.itl, &state, wish.row).map_err(|failure| refused(segment, failure))?;
            }
            let gate = state.gate.clone();
            for entry in entries(self.nexus.id, wishes) {
                let signal = Signal::new();
                let id = state.tasks.claim(entry, &signal);
                claims.push(Claim::new(device, id, signal));
            }
            gate
        };
        // With the claims in the set: whoever takes the unit away from the nexus later meets them there.
        if !wishes.iter().all(|wish| self.sees(wish)) {
            return Err(Sense::COPY_TARGET_DEVICE_NOT_REACHABLE.in_segment(segment, None).into());
        }
        let granted = claims[before..].iter().all(|claim| claim.wait(|| self.is_wanted()));
        match gate {
            Some(gate) if granted => Ok(gate),
            Some(_) => Err(Sense::COPY_COMMANDS_CLEARED_BY_DEVICE_SERVER.in_segment(segment, None).into()),
            None => Err(Sense::COPY_TARGET_DEVICE_NOT_REACHABLE.in_segment(segment, None).into()),
        }
    }

    /// Whether the unit is mapped to the nexus, to write where it is to be written.
    fn sees(&self, wish: &Wish<'_>) -> bool {
        self.nexus.map().entries().iter().any(|entry| {
            Arc::ptr_eq(&entry.device, &wish.end.itl.device) && !(wish.row.medium.writes() && entry.read_only)
        })
    }

    /// Run by run: holes stay holes, the file system copies where it can, the rest passes through memory.
    fn runs(&self, step: &Step, piece: Piece, source: &Gate, destination: &Gate) -> Result<(), Failure> {
        let capabilities = source.capabilities();
        let knows_holes =
            capabilities.contains(Capabilities::PROVISIONING_STATUS.with(Capabilities::UNMAP_READS_ZERO));
        let mut done = 0;
        while done < piece.length {
            let (from, to, left) = (piece.from + done, piece.to + done, piece.length - done);
            let whole = from % step.source.block == 0 && to % step.destination.block == 0;
            let block = step.destination.block;
            let (state, found) = match knows_holes && whole {
                true => source.provisioning(from, left).map_err(|error| Failure::from_read(error, 0))?,
                false => (Provisioning::Mapped, left),
            };
            let found = found.min(left);
            let blocks = found - found % block;
            let run = if found == left { left } else { blocks.max(block).min(left) };
            if state == Provisioning::Deallocated && run <= found && run % block == 0 {
                destination.write_zeroes(to, run, is_thin(&step.destination.itl.device))?;
            } else if !destination.copy_from(to, source, from, run)? {
                self.through_memory(step, Piece { from, to, length: run }, source, destination)?;
            }
            done += run;
        }
        Ok(())
    }

    fn through_memory(
        &self,
        step: &Step,
        piece: Piece,
        source: &Gate,
        destination: &Gate,
    ) -> Result<(), Failure> {
        let size = MEMORY_BYTES + 2 * step.source.block.max(step.destination.block);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let memory = |nexus: &Nexus| nexus.buffers.get(size).ok_or(Failure::Status(Status::BUSY));
        let (mut read, mut written) = (memory(&self.nexus)?, Buffer::empty());
        let mut done = 0;
        while done < piece.length {
            let length = MEMORY_BYTES.min(piece.length - done);
            let (from, to) = (piece.from + done, piece.to + done);
            let bytes = read_whole(source, &step.source, (from, length), &mut read)?;
            let into = step.destination.extent(to, length);
            let is_whole =
                into.lba * step.destination.block == to && into.blocks * step.destination.block == length;
            if is_whole {
                destination.write(to, bytes, false)?;
            } else {
                if written.is_empty() {
                    written = memory(&self.nexus)?;
                }
                merge(destination, &step.destination, (to, bytes), &mut written)?;
            }
            done += length;
        }
        Ok(())
    }
}

/// Both ends of a piece while it is copied.
struct Held {
    claims: Vec<Claim>,
    source: Arc<Gate>,
    destination: Arc<Gate>,
}

/// One end of a piece, and the command whose rules it goes by.
struct Wish<'a> {
    end: &'a End,
    extent: Extent,
    row: &'static OpCode,
}

/// The entries of claims on one unit. Where both ends touch they are one claim: of two, the second would wait
/// for the first.
fn entries(nexus: u64, wishes: &[Wish<'_>]) -> Vec<Entry> {
    let entry = |extent: Extent, writes: bool| Entry {
        nexus,
        tag: NO_TAG,
        place: Place::AtOnce,
        extent,
        writes,
        outlives: false,
        bytes: 0,
    };
    match wishes {
        [read, write] if read.extent.overlaps(write.extent) => {
            vec![entry(read.extent.hull(write.extent), true)]
        }
        _ => wishes.iter().map(|wish| entry(wish.extent, wish.row.medium.writes())).collect(),
    }
}

/// Reads the blocks that hold these bytes, and gives the bytes.
fn read_whole<'a>(
    gate: &Gate,
    end: &End,
    (offset, length): (u64, u64),
    memory: &'a mut Buffer,
) -> Result<&'a [u8], Failure> {
    let extent = end.extent(offset, length);
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let blocks = &mut memory[..size(extent.blocks * end.block)];
    let start = extent.lba * end.block;
    gate.read(start, blocks).map_err(|error| Failure::from_read(error, extent.lba))?;
    Ok(&blocks[size(offset - start)..size(offset - start + length)])
}

/// Writes bytes that do not fill their blocks, keeping what else is in them.
fn merge(gate: &Gate, end: &End, (offset, bytes): (u64, &[u8]), memory: &mut Buffer) -> Result<(), Failure> {
    let extent = end.extent(offset, bytes.len() as u64);
    let start = extent.lba * end.block;
    let size = usize::try_from(extent.blocks * end.block).unwrap_or(usize::MAX);
    let at = usize::try_from(offset - start).unwrap_or(usize::MAX);
    let blocks = &mut memory[..size];
    gate.read(start, blocks).map_err(|error| Failure::from_read(error, extent.lba))?;
    blocks[at..at + bytes.len()].copy_from_slice(bytes);
    Ok(gate.write(start, blocks, false)?)
}

/// The unit reports no volatile cache while its store has one: what a command wrote must be durable.
fn writes_through(end: &End) -> bool {
    let device = &end.itl.device;
    device.capabilities().contains(Capabilities::VOLATILE_CACHE) && !device.state().mode.write_cache_enabled
}

/// Why a unit did not let the copy in, as the copy reports it.
fn refused(segment: u16, failure: Failure) -> Failure {
    match failure {
        Failure::Sense(sense) if sense == Sense::WRITE_PROTECTED => {
            Sense::new(SenseKey::CopyAborted, sense.code).in_segment(segment, None).into()
        }
        _ => Sense::THIRD_PARTY_DEVICE_FAILURE.in_segment(segment, None).into(),
    }
}

/// What a medium failed with, as the copy reports it. Space that ran out is told as it is: hosts stop and
/// wait for it.
fn failed(step: &Step, failure: Failure) -> Failure {
    match failure {
        Failure::Sense(sense) if sense == Sense::SPACE_ALLOCATION_FAILED_WRITE_PROTECT => failure,
        Failure::Status(_) => failure,
        _ => Sense::THIRD_PARTY_DEVICE_FAILURE.in_segment(step.segment, None).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_run_once_and_end_on_multiples() {
        let cut = pieces(100, 30, 170, 64, false);
        let expected = [(100, 30, 34), (134, 64, 64), (198, 128, 64), (262, 192, 8)];
        assert_eq!(cut, expected.map(|(from, to, length)| Piece { from, to, length }));
        let mut backwards = pieces(100, 30, 170, 64, true);
        backwards.reverse();
        assert_eq!(backwards, cut);
        assert!(pieces(5, 6, 0, 64, false).is_empty());
    }
}
