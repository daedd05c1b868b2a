//! WRITE SAME (10) and (16) (SBC-3).

use crate::backstore::io::Operation;
use crate::backstore::{BlockError, Capabilities};
use crate::scsi::cdb::{Cdb, field};
use crate::scsi::device::Device;
use crate::scsi::limits::{PIECE_BYTES, max_write_same_blocks};
use crate::scsi::opcode::{
    Access, CONTROL, Count, Data, Medium, Memory, OpCode, Request, Run, Step, Transfer,
};
use crate::scsi::ops::read::GROUP;
use crate::scsi::ops::write::is_durable;
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};
use crate::scsi::threshold;

const UNMAP: u8 = 0x08;
const ANCHOR: u8 = 0x10;
const NDOB: u8 = 0x01;

const WRITE_SAME: OpCode =
    OpCode { run: Run::Worker, execute: write_same, submit: Some(write_same_step), ..OpCode::BLANK };

/// One block, unless NDOB says there is none.
fn transfer(cdb: &Cdb, block_size: u32) -> Transfer {
    let none = cdb.opcode() == 0x93 && cdb.bit(1, NDOB);
    Transfer { data_in: 0, data_out: if none { 0 } else { u64::from(block_size) } }
}

/// WRITE SAME (10).
pub(crate) const WRITE_SAME_10: OpCode = OpCode {
    opcode: 0x41,
    name: "WRITE SAME(10)",
    usage: &[UNMAP | ANCHOR, 0xff, 0xff, 0xff, 0xff, GROUP, 0xff, 0xff, CONTROL],
    data: Data::Custom(transfer),
    medium: Medium::Blocks { access: Access::Write, lba: field(2, 4), count: Count::ZeroIsRest(field(7, 2)) },
    ..WRITE_SAME
};

/// WRITE SAME (16).
pub(crate) const WRITE_SAME_16: OpCode = OpCode {
    opcode: 0x93,
    name: "WRITE SAME(16)",
    usage: &[
        UNMAP | ANCHOR | NDOB,
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
    data: Data::Custom(transfer),
    medium: Medium::Blocks {
        access: Access::Write,
        lba: field(2, 8),
        count: Count::ZeroIsRest(field(10, 4)),
    },
    ..WRITE_SAME
};

/// Whether the unit frees blocks on request (LBPU, LBPWS, LBPWS10).
pub(crate) fn is_thin(device: &Device) -> bool {
    device.settings().thin_provisioned && device.capabilities().contains(Capabilities::UNMAP)
}

/// Where it writes: first byte and number of bytes; and whether it frees them.
fn range(context: &Context<'_>) -> Result<(u64, u64, bool), Failure> {
    let unmaps = context.cdb().bit(1, UNMAP);
    if context.cdb().bit(1, ANCHOR) {
        // ANC_SUP is 0; ANCHOR without UNMAP is wrong anyhow.
        return Err(Sense::invalid_field_in_cdb(1, Some(4)).into());
    }
    if unmaps && !is_thin(context.device()) {
        return Err(Sense::invalid_field_in_cdb(1, Some(3)).into());
    }
    let blocks = context.blocks();
    let capacity = context.device().geometry().blocks;
    let count_at = if context.cdb().opcode() == 0x41 { 7 } else { 10 };
    if blocks > max_write_same_blocks(capacity, context.block_size()) {
        return Err(Sense::invalid_field_in_cdb(count_at, None).into());
    }
    let block = u64::from(context.block_size());
    let has_data = !(context.cdb().opcode() == 0x93 && context.cdb().bit(1, NDOB));
    if has_data && context.expected_out() != block {
        return Err(Sense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT.into());
    }
    Ok((context.offset(), blocks * block, unmaps))
}

fn write_same(context: &mut Context<'_>) -> Result<(), Failure> {
    let (offset, length, unmaps) = range(context)?;
    let gate = context.gate()?;
    // SBC-3 would have a block other than zeros written even with UNMAP. SCST frees the blocks whatever the
    // block sent holds, and libiscsi's suite insists on it (WriteSame10.UnmapUntilEnd): whoever sets the bit
    // wants the space back.
    if unmaps || context.data_out().iter().all(|byte| *byte == 0) {
        gate.write_zeroes(offset, length, unmaps)?;
        if is_durable(context, &gate) {
            gate.flush()?;
        }
        return Ok(());
    }
    match gate.write_same(offset, length, context.data_out(), is_durable(context, &gate)) {
        Err(BlockError::Unsupported) => fill(context, offset, length),
        other => Ok(other?),
    }
}

/// As [`write_same`], piece by piece; the store's own function is called on a worker.
fn write_same_step(context: &mut Context<'_>) -> Result<Step, Failure> {
    const FREES: Capabilities = Capabilities::UNMAP.with(Capabilities::UNMAP_READS_ZERO);
    let (offset, length, unmaps) = range(context)?;
    let gate = context.gate()?;
    let (capabilities, durable) = (gate.capabilities(), is_durable(context, &gate));
    if unmaps && capabilities.contains(FREES) {
        if context.progress() > 0 {
            return Ok(Step::Ask(Request::flush(None)));
        }
        let (operation, memory) = (Operation::Unmap, Memory::None);
        return Ok(Step::Ask(Request { operation, offset, length, memory, next: durable.then_some(1) }));
    }
    if capabilities.contains(Capabilities::WRITE_SAME) {
        return Ok(Step::Wait);
    }
    let done = context.progress();
    if done == 0 {
        keep_pattern(context, length.min(PIECE_BYTES), unmaps)?;
    }
    let part = (length - done).min(PIECE_BYTES);
    Ok(Step::Ask(Request {
        operation: Operation::Write { durable },
        offset: offset + done,
        length: part,
        memory: Memory::In,
        next: Some(done + part).filter(|next| *next < length),
    }))
}

/// The block sent, over and over; zeros if none was sent, or the blocks were to be freed.
fn keep_pattern(context: &mut Context<'_>, length: u64, zeros: bool) -> Result<(), Failure> {
    let block = context.block_size() as usize;
    context.keep(usize::try_from(length).unwrap_or(usize::MAX))?;
    let (sent, pattern) = context.out_and_kept();
    if zeros || sent.len() < block {
        pattern.fill(0);
    } else {
        pattern.chunks_mut(block).for_each(|part| part.copy_from_slice(&sent[..part.len()]));
    }
    Ok(())
}

/// Writes the block sent over the whole range.
fn fill(context: &Context<'_>, offset: u64, length: u64) -> Result<(), Failure> {
    let gate = context.gate()?;
    let durable = is_durable(context, &gate);
    let size = usize::try_from(length.min(PIECE_BYTES)).unwrap_or(usize::MAX);
    let mut pattern = context.scratch(size)?;
    for part in pattern.chunks_mut(context.block_size() as usize) {
        part.copy_from_slice(&context.data_out()[..part.len()]);
    }
    let mut done = 0;
    while done < length {
        let part = usize::try_from(length - done).unwrap_or(size).min(size);
        gate.write(offset + done, &pattern[..part], durable)?;
        done += part as u64;
    }
    threshold::tell(context.device(), &gate);
    Ok(())
}
