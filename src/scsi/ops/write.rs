//! WRITE (6), (10), (12), (16), WRITE ATOMIC (16), WRITE AND VERIFY, ORWRITE (16) (SBC-3, SBC-4).

use crate::backstore::Capabilities;
use crate::backstore::gate::Gate;
use crate::backstore::io::Operation;
use crate::scsi::cdb::{field, masked};
use crate::scsi::limits::{ATOMIC_UNIT_BLOCKS, MAX_ATOMIC_BLOCKS};
use crate::scsi::opcode::{Access, CONTROL, Count, Data, Medium, Memory, OpCode, Request, Run, Step};
use crate::scsi::ops::read::{DPO_FUA, GROUP, transfer_bytes};
use crate::scsi::ops::verify::{Check, check_step, compare};
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};
use crate::scsi::threshold;

const WRITE: OpCode = OpCode {
    data: Data::BlocksOut,
    run: Run::Worker,
    execute: write,
    submit: Some(write_step),
    ..OpCode::BLANK
};

const fn blocks(at: u8, length: u8, count: Count) -> Medium {
    Medium::Blocks { access: Access::Write, lba: field(at, length), count }
}

/// WRITE (6).
pub(crate) const WRITE_6: OpCode = OpCode {
    opcode: 0x0a,
    name: "WRITE(6)",
    usage: &[0x1f, 0xff, 0xff, 0xff, CONTROL],
    medium: Medium::Blocks {
        access: Access::Write,
        lba: masked(1, 3, 0x1f),
        count: Count::ZeroIs256(field(4, 1)),
    },
    ..WRITE
};

/// WRITE (10).
pub(crate) const WRITE_10: OpCode = OpCode {
    opcode: 0x2a,
    name: "WRITE(10)",
    usage: &[DPO_FUA, 0xff, 0xff, 0xff, 0xff, GROUP, 0xff, 0xff, CONTROL],
    medium: blocks(2, 4, Count::Plain(field(7, 2))),
    ..WRITE
};

/// WRITE (12).
pub(crate) const WRITE_12: OpCode = OpCode {
    opcode: 0xaa,
    name: "WRITE(12)",
    usage: &[DPO_FUA, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, GROUP, CONTROL],
    medium: blocks(2, 4, Count::Plain(field(6, 4))),
    ..WRITE
};

const USAGE_16: &[u8] =
    &[DPO_FUA, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, GROUP, CONTROL];

/// WRITE (16).
pub(crate) const WRITE_16: OpCode = OpCode {
    opcode: 0x8a,
    name: "WRITE(16)",
    usage: USAGE_16,
    medium: blocks(2, 8, Count::Plain(field(10, 4))),
    ..WRITE
};

/// ORWRITE (16): the medium becomes what it is, or what comes, bit by bit. Overlapping commands wait.
pub(crate) const ORWRITE_16: OpCode = OpCode {
    opcode: 0x8b,
    name: "ORWRITE(16)",
    usage: USAGE_16,
    medium: blocks(2, 8, Count::Plain(field(10, 4))),
    execute: orwrite,
    submit: Some(orwrite_step),
    ..WRITE
};

/// WRITE ATOMIC (16) (SBC-4): whole or not at all, as far as other commands can tell.
pub(crate) const WRITE_ATOMIC_16: OpCode = OpCode {
    opcode: 0x9c,
    name: "WRITE ATOMIC(16)",
    usage: &[DPO_FUA, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, GROUP, CONTROL],
    medium: blocks(2, 8, Count::Plain(field(12, 2))),
    execute: write_atomic,
    submit: Some(write_atomic_step),
    ..WRITE
};

/// DPO and BYTCHK.
const VERIFY_BITS: u8 = 0x16;
const WRITE_AND_VERIFY: OpCode =
    OpCode { execute: write_and_verify, submit: Some(write_and_verify_step), ..WRITE };

/// WRITE AND VERIFY (10).
pub(crate) const WRITE_AND_VERIFY_10: OpCode = OpCode {
    opcode: 0x2e,
    name: "WRITE AND VERIFY(10)",
    usage: &[VERIFY_BITS, 0xff, 0xff, 0xff, 0xff, GROUP, 0xff, 0xff, CONTROL],
    medium: blocks(2, 4, Count::Plain(field(7, 2))),
    ..WRITE_AND_VERIFY
};

/// WRITE AND VERIFY (12).
pub(crate) const WRITE_AND_VERIFY_12: OpCode = OpCode {
    opcode: 0xae,
    name: "WRITE AND VERIFY(12)",
    usage: &[VERIFY_BITS, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, GROUP, CONTROL],
    medium: blocks(2, 4, Count::Plain(field(6, 4))),
    ..WRITE_AND_VERIFY
};

/// WRITE AND VERIFY (16).
pub(crate) const WRITE_AND_VERIFY_16: OpCode = OpCode {
    opcode: 0x8e,
    name: "WRITE AND VERIFY(16)",
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
    medium: blocks(2, 8, Count::Plain(field(10, 4))),
    ..WRITE_AND_VERIFY
};

/// Where the CDB has the number of blocks.
fn count_at(opcode: u8) -> u16 {
    match opcode & 0xe0 {
        0x00 => 4,
        0x20 => 7,
        0xa0 => 6,
        _ => 10,
    }
}

/// Whether a write must be on stable storage before it is answered: FUA says so, or the unit reports no
/// write cache while the store has one.
pub(super) fn is_durable(context: &Context<'_>, gate: &Gate) -> bool {
    let opcode = context.cdb().opcode();
    // In WRITE SAME the bit is UNMAP; WRITE AND VERIFY has BYTCHK beside it, and goes to the medium anyhow.
    let has_fua = opcode & 0xe0 != 0 && !matches!(opcode, 0x2e | 0xae | 0x8e | 0x41 | 0x93);
    if has_fua && context.cdb().bit(1, 0x08) {
        return true;
    }
    gate.capabilities().contains(Capabilities::VOLATILE_CACHE)
        && !context.device().state().mode.write_cache_enabled
}

/// Writes what came at the place named; a last block of which only a part came keeps its rest.
fn store(context: &Context<'_>) -> Result<(), Failure> {
    let (gate, offset) = (context.open_gate()?, context.offset());
    let durable = is_durable(context, gate);
    let data = context.data_out();
    let block = context.block_size() as usize;
    let whole = data.len() - data.len() % block;
    if whole > 0 {
        gate.write(offset, &data[..whole], durable)?;
    }
    if whole < data.len() {
        let at = offset + whole as u64;
        let mut last = context.scratch(block)?;
        gate.read(at, &mut last).map_err(|error| Failure::from_read(error, context.lba()))?;
        last[..data.len() - whole].copy_from_slice(&data[whole..]);
        gate.write(at, &last, durable)?;
    }
    threshold::tell(context.device(), gate);
    Ok(())
}

fn write(context: &mut Context<'_>) -> Result<(), Failure> {
    transfer_bytes(context, count_at(context.cdb().opcode()))?;
    store(context)
}

/// Progress of a command that stores what came: whole blocks are written, the last one is read, all is done.
const WHOLE_WRITTEN: u64 = 1;
const LAST_READ: u64 = 2;
const STORED: u64 = 3;

/// As [`store`], the next step; `None` when it is done.
fn store_step(context: &mut Context<'_>) -> Result<Option<Request>, Failure> {
    let operation = Operation::Write { durable: is_durable(context, &*context.gate()?) };
    let (size, length, offset) = (context.block_size() as usize, context.data_out().len(), context.offset());
    let (block, rest) = (u64::from(context.block_size()), length % size);
    let whole = (length - rest) as u64;
    Ok(match context.progress() {
        0 if whole > 0 => {
            let next = Some(if rest == 0 { STORED } else { WHOLE_WRITTEN });
            Some(Request { operation, offset, length: whole, memory: Memory::Out, next })
        }
        0 | WHOLE_WRITTEN if rest > 0 => {
            context.keep(size)?;
            let (operation, next) = (Operation::Read, Some(LAST_READ));
            Some(Request { operation, offset: offset + whole, length: block, memory: Memory::In, next })
        }
        LAST_READ => {
            let (sent, last) = context.out_and_kept();
            last[..rest].copy_from_slice(&sent[length - rest..]);
            let next = Some(STORED);
            Some(Request { operation, offset: offset + whole, length: block, memory: Memory::In, next })
        }
        _ => None,
    })
}

/// [`store_step`] of a command that is over when all is stored.
fn only_store(context: &mut Context<'_>) -> Result<Step, Failure> {
    let request = store_step(context)?;
    let is_last = |next: &u64| *next != STORED;
    Ok(request
        .map_or(Step::Done, |request| Step::Ask(Request { next: request.next.filter(is_last), ..request })))
}

fn write_step(context: &mut Context<'_>) -> Result<Step, Failure> {
    transfer_bytes(context, count_at(context.cdb().opcode()))?;
    only_store(context)
}

fn check_atomic(context: &Context<'_>) -> Result<(), Failure> {
    if context.blocks() > MAX_ATOMIC_BLOCKS {
        return Err(Sense::invalid_field_in_cdb(12, None).into());
    }
    if context.cdb().get(field(10, 2)) != 0 {
        // ATOMIC BOUNDARY: MAXIMUM ATOMIC BOUNDARY SIZE is 0.
        return Err(Sense::invalid_field_in_cdb(10, None).into());
    }
    if context.lba() % ATOMIC_UNIT_BLOCKS != 0 {
        return Err(Sense::invalid_field_in_cdb(2, None).into());
    }
    if context.blocks() % ATOMIC_UNIT_BLOCKS != 0 {
        return Err(Sense::invalid_field_in_cdb(12, None).into());
    }
    Ok(())
}

fn write_atomic(context: &mut Context<'_>) -> Result<(), Failure> {
    check_atomic(context)?;
    store(context)
}

fn write_atomic_step(context: &mut Context<'_>) -> Result<Step, Failure> {
    check_atomic(context)?;
    only_store(context)
}

fn orwrite(context: &mut Context<'_>) -> Result<(), Failure> {
    let length = transfer_bytes(context, 10)?;
    if length == 0 {
        return Ok(());
    }
    let (gate, offset) = (context.gate()?, context.offset());
    let durable = is_durable(context, &gate);
    let mut medium = context.scratch(length)?;
    gate.read(offset, &mut medium).map_err(|error| Failure::from_read(error, context.lba()))?;
    for (byte, new) in medium.iter_mut().zip(context.data_out()) {
        *byte |= new;
    }
    Ok(gate.write(offset, &medium, durable)?)
}

fn orwrite_step(context: &mut Context<'_>) -> Result<Step, Failure> {
    let length = transfer_bytes(context, 10)?;
    if length == 0 {
        return Ok(Step::Done);
    }
    let (offset, bytes, memory) = (context.offset(), length as u64, Memory::In);
    if context.progress() == 0 {
        context.keep(length)?;
        let operation = Operation::Read;
        return Ok(Step::Ask(Request { operation, offset, length: bytes, memory, next: Some(1) }));
    }
    let operation = Operation::Write { durable: is_durable(context, &*context.gate()?) };
    let (sent, medium) = context.out_and_kept();
    for (byte, new) in medium.iter_mut().zip(sent) {
        *byte |= new;
    }
    Ok(Step::Ask(Request { operation, offset, length: bytes, memory, next: None }))
}

/// BYTCHK must be 0 or 1.
fn check_write_and_verify(context: &Context<'_>) -> Result<(), Failure> {
    transfer_bytes(context, count_at(context.cdb().opcode()))?;
    let check = context.cdb().byte(1) >> 1 & 3;
    if check > 1 { Err(Sense::invalid_field_in_cdb(1, Some(2)).into()) } else { Ok(()) }
}

fn write_and_verify(context: &mut Context<'_>) -> Result<(), Failure> {
    check_write_and_verify(context)?;
    store(context)?;
    let gate = context.gate()?;
    gate.flush()?;
    compare(context, &gate, context.data_out().len())
}

/// Stored, flushed, compared.
fn write_and_verify_step(context: &mut Context<'_>) -> Result<Step, Failure> {
    const FLUSHED: u64 = STORED + 1;
    check_write_and_verify(context)?;
    if context.progress() >= FLUSHED {
        let length = context.data_out().len() as u64;
        return check_step(context, Check::Same, length, FLUSHED);
    }
    Ok(Step::Ask(store_step(context)?.unwrap_or(Request::flush(Some(FLUSHED)))))
}
