//! VERIFY (10), (12), (16) and COMPARE AND WRITE (SBC-3).

use crate::backstore::gate::Gate;
use crate::backstore::io::Operation;
use crate::backstore::{BlockError, Capabilities};
use crate::scsi::cdb::{Cdb, Field, field};
use crate::scsi::limits::{MAX_COMPARE_BLOCKS, PIECE_BYTES};
use crate::scsi::opcode::{
    Access, Allow, CONTROL, Count, Data, Medium, Memory, OpCode, Request, Run, Step, Transfer,
};
use crate::scsi::ops::read::{DPO_FUA, GROUP};
use crate::scsi::ops::write::is_durable;
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

/// DPO and BYTCHK.
const VERIFY_BITS: u8 = 0x16;

const VERIFY: OpCode = OpCode {
    allow: Allow::WRITE_EXCLUSIVE,
    run: Run::Worker,
    execute: verify,
    submit: Some(verify_step),
    ..OpCode::BLANK
};

const fn blocks(at: u8, length: u8, count: Field) -> Medium {
    Medium::Blocks { access: Access::Read, lba: field(at, length), count: Count::Plain(count) }
}

/// BYTCHK: 00 sends nothing, 01 every block, 11 one block for all.
fn verify_transfer(cdb: &Cdb, block_size: u32, count: Field) -> Transfer {
    let blocks = cdb.get(count);
    let sent = match cdb.byte(1) >> 1 & 3 {
        1 => blocks,
        3 => blocks.min(1),
        _ => 0,
    };
    Transfer { data_in: 0, data_out: sent.saturating_mul(u64::from(block_size)) }
}

/// VERIFY (10).
pub(crate) const VERIFY_10: OpCode = OpCode {
    opcode: 0x2f,
    name: "VERIFY(10)",
    usage: &[VERIFY_BITS, 0xff, 0xff, 0xff, 0xff, GROUP, 0xff, 0xff, CONTROL],
    data: Data::Custom(|cdb, size| verify_transfer(cdb, size, field(7, 2))),
    medium: blocks(2, 4, field(7, 2)),
    ..VERIFY
};

/// VERIFY (12).
pub(crate) const VERIFY_12: OpCode = OpCode {
    opcode: 0xaf,
    name: "VERIFY(12)",
    usage: &[VERIFY_BITS, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, GROUP, CONTROL],
    data: Data::Custom(|cdb, size| verify_transfer(cdb, size, field(6, 4))),
    medium: blocks(2, 4, field(6, 4)),
    ..VERIFY
};

/// VERIFY (16).
pub(crate) const VERIFY_16: OpCode = OpCode {
    opcode: 0x8f,
    name: "VERIFY(16)",
    usage: &[
        VERIFY_BITS,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        0xff,
        GROUP,
        CONTROL,
    ],
    data: Data::Custom(|cdb, size| verify_transfer(cdb, size, field(10, 4))),
    medium: blocks(2, 8, field(10, 4)),
    ..VERIFY
};

/// COMPARE AND WRITE: blocks to compare, then blocks to write. Its blocks are its own until it is done.
pub(crate) const COMPARE_AND_WRITE: OpCode = OpCode {
    opcode: 0x89,
    name: "COMPARE AND WRITE",
    usage: &[DPO_FUA, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff, GROUP, CONTROL],
    data: Data::Custom(|cdb, size| Transfer {
        data_in: 0,
        data_out: 2 * cdb.get(field(13, 1)) * u64::from(size),
    }),
    medium: Medium::Blocks { access: Access::Write, lba: field(2, 8), count: Count::Plain(field(13, 1)) },
    run: Run::Worker,
    execute: compare_and_write,
    submit: Some(compare_and_write_step),
    ..OpCode::BLANK
};

/// What VERIFY makes of the medium's content.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// It can be read.
    Readable,
    /// It is what was sent.
    Same,
    /// Every block is the one that was sent.
    EachSame,
}

impl Check {
    /// Looks at a piece of the medium, `at` bytes from the beginning of the range.
    fn look(self, context: &Context<'_>, medium: &[u8], at: u64) -> Result<(), Failure> {
        let sent = context.data_out();
        match self {
            Check::Readable => Ok(()),
            Check::Same => {
                let start = usize::try_from(at).unwrap_or(usize::MAX);
                same(medium, &sent[start..start + medium.len()], at)
            }
            Check::EachSame => {
                let places = (at..).step_by(sent.len());
                medium.chunks(sent.len()).zip(places).try_for_each(|(part, at)| same(part, sent, at))
            }
        }
    }
}

/// How VERIFY checks, and how many bytes.
fn wanted(context: &Context<'_>) -> Result<(Check, u64), Failure> {
    let length = context.blocks().saturating_mul(u64::from(context.block_size()));
    match context.cdb().byte(1) >> 1 & 3 {
        0 => Ok((Check::Readable, length)),
        1 => Ok((Check::Same, context.data_out().len() as u64)),
        3 if context.data_out().len() == context.block_size() as usize => Ok((Check::EachSame, length)),
        3 if context.blocks() == 0 => Ok((Check::Readable, 0)),
        3 => Err(Sense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT.into()),
        _ => Err(Sense::invalid_field_in_cdb(1, Some(2)).into()),
    }
}

fn verify(context: &mut Context<'_>) -> Result<(), Failure> {
    let (check, length) = wanted(context)?;
    let gate = context.gate()?;
    each_piece(context, &gate, length, |medium, at| check.look(context, medium, at))
}

fn verify_step(context: &mut Context<'_>) -> Result<Step, Failure> {
    let (check, length) = wanted(context)?;
    check_step(context, check, length, 0)
}

/// The next piece of a check of `length` bytes that began at progress `from`.
pub(super) fn check_step(
    context: &mut Context<'_>,
    check: Check,
    length: u64,
    from: u64,
) -> Result<Step, Failure> {
    let done = context.progress().saturating_sub(from);
    if done > 0 {
        let start = (done - 1) / PIECE_BYTES * PIECE_BYTES;
        let size = usize::try_from(done - start).unwrap_or(usize::MAX);
        check.look(context, &context.kept()[..size], start)?;
    }
    if done >= length {
        return Ok(Step::Done);
    }
    let part = (length - done).min(PIECE_BYTES);
    let whole = part.next_multiple_of(u64::from(context.block_size()));
    context.keep(usize::try_from(whole).unwrap_or(usize::MAX))?;
    Ok(Step::Ask(Request {
        operation: Operation::Read,
        offset: context.offset() + done,
        length: whole,
        memory: Memory::In,
        next: Some(from + done + part),
    }))
}

/// Calls `look` with the medium's content, piece by piece: the bytes and their offset in the range.
fn each_piece(
    context: &Context<'_>,
    gate: &Gate,
    length: u64,
    mut look: impl FnMut(&[u8], u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let block = u64::from(context.block_size());
    let mut done = 0;
    while done < length {
        let part = (length - done).min(PIECE_BYTES);
        let whole = part.next_multiple_of(block);
        let size = usize::try_from(whole).unwrap_or(usize::MAX);
        let mut memory = context.scratch(size)?;
        let lba = context.lba() + done / block;
        gate.read(context.offset() + done, &mut memory).map_err(|error| Failure::from_read(error, lba))?;
        look(&memory[..usize::try_from(part).unwrap_or(size)], done)?;
        done += part;
    }
    Ok(())
}

/// Compares the first `length` bytes sent with the medium. MISCOMPARE tells the first difference.
pub(super) fn compare(context: &Context<'_>, gate: &Gate, length: usize) -> Result<(), Failure> {
    each_piece(context, gate, length as u64, |medium, at| Check::Same.look(context, medium, at))
}

fn same(medium: &[u8], sent: &[u8], at: u64) -> Result<(), Failure> {
    if medium == sent {
        return Ok(());
    }
    let first = medium.iter().zip(sent).position(|(a, b)| a != b).unwrap_or(0) as u64;
    Err(Sense::MISCOMPARE_DURING_VERIFY_OPERATION.with_information(at + first).into())
}

/// Bytes to compare, and to write.
fn compared_bytes(context: &Context<'_>) -> Result<u64, Failure> {
    let length = context.blocks() * u64::from(context.block_size());
    if context.blocks() > MAX_COMPARE_BLOCKS {
        return Err(Sense::invalid_field_in_cdb(13, None).into());
    }
    // What was announced must be twice what the CDB says: NUMBER OF LOGICAL BLOCKS is the wrong field.
    if context.expected_out() != 2 * length {
        return Err(Sense::invalid_field_in_cdb(13, None).into());
    }
    Ok(length)
}

/// The blocks are held for this command alone, so between its steps they stay as they are.
fn compare_and_write_step(context: &mut Context<'_>) -> Result<Step, Failure> {
    let bytes = compared_bytes(context)?;
    let gate = context.gate()?;
    if gate.capabilities().contains(Capabilities::COMPARE_AND_WRITE) || context.is_data_out_short() {
        return Ok(Step::Wait);
    }
    if bytes == 0 {
        return Ok(Step::Done);
    }
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    let (offset, memory) = (context.offset(), Memory::In);
    if context.progress() == 0 {
        context.keep(length)?;
        let operation = Operation::Read;
        return Ok(Step::Ask(Request { operation, offset, length: bytes, memory, next: Some(1) }));
    }
    let operation = Operation::Write { durable: is_durable(context, &gate) };
    let (sent, kept) = context.out_and_kept();
    same(kept, &sent[..length], 0)?;
    kept.copy_from_slice(&sent[length..]);
    Ok(Step::Ask(Request { operation, offset, length: bytes, memory, next: None }))
}

fn compare_and_write(context: &mut Context<'_>) -> Result<(), Failure> {
    if compared_bytes(context)? == 0 {
        return Ok(());
    }
    let half = context.data_out().len() / 2;
    let gate = context.gate()?;
    let durable = is_durable(context, &gate);
    let (old, new) = context.data_out().split_at(half);
    match gate.compare_and_write(context.offset(), (old, new), durable) {
        Ok(None) => return Ok(()),
        Ok(Some(at)) => {
            return Err(Sense::MISCOMPARE_DURING_VERIFY_OPERATION.with_information(at).into());
        }
        Err(BlockError::Unsupported) => compare(context, &gate, half)?,
        Err(error) => return Err(error.into()),
    }
    Ok(gate.write(context.offset(), &context.data_out()[half..], durable)?)
}
