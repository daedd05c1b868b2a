//! READ (6), (10), (12), (16) and PRE-FETCH (10), (16) (SBC-3).

use crate::backstore::Capabilities;
use crate::backstore::gate::Gate;
use crate::backstore::io::Operation;
use crate::scsi::cdb::{field, masked};
use crate::scsi::limits::MAX_TRANSFER_BYTES;
use crate::scsi::opcode::{
    Access, Allow, CONTROL, Count, Data, Medium, Memory, OpCode, Request, Run, Step, Types,
};
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

/// DPO and FUA; RDPROTECT must be 0 on a unit without protection information.
pub(super) const DPO_FUA: u8 = 0x18;
/// GROUP NUMBER.
pub(super) const GROUP: u8 = 0x3f;

const READ: OpCode = OpCode {
    types: Types::ALL,
    data: Data::BlocksIn,
    allow: Allow::WRITE_EXCLUSIVE,
    run: Run::Worker,
    is_plain_read: true,
    execute: read,
    submit: Some(read_step),
    ..OpCode::BLANK
};

/// READ (6).
pub(crate) const READ_6: OpCode = OpCode {
    opcode: 0x08,
    name: "READ(6)",
    types: Types::DISK,
    usage: &[0x1f, 0xff, 0xff, 0xff, CONTROL],
    medium: Medium::Blocks {
        access: Access::Read,
        lba: masked(1, 3, 0x1f),
        count: Count::ZeroIs256(field(4, 1)),
    },
    ..READ
};

/// READ (10).
pub(crate) const READ_10: OpCode = OpCode {
    opcode: 0x28,
    name: "READ(10)",
    usage: &[DPO_FUA, 0xff, 0xff, 0xff, 0xff, GROUP, 0xff, 0xff, CONTROL],
    medium: Medium::Blocks { access: Access::Read, lba: field(2, 4), count: Count::Plain(field(7, 2)) },
    ..READ
};

/// READ (12).
pub(crate) const READ_12: OpCode = OpCode {
    opcode: 0xa8,
    name: "READ(12)",
    usage: &[DPO_FUA, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, GROUP, CONTROL],
    medium: Medium::Blocks { access: Access::Read, lba: field(2, 4), count: Count::Plain(field(6, 4)) },
    ..READ
};

/// READ (16).
pub(crate) const READ_16: OpCode = OpCode {
    opcode: 0x88,
    name: "READ(16)",
    types: Types::DISK,
    usage: &[DPO_FUA, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, GROUP, CONTROL],
    medium: Medium::Blocks { access: Access::Read, lba: field(2, 8), count: Count::Plain(field(10, 4)) },
    ..READ
};

/// Bytes of the blocks named, or an error when they are more than one command may move. `count_at` is where
/// the CDB has their number.
pub(super) fn transfer_bytes(context: &Context<'_>, count_at: u16) -> Result<usize, Failure> {
    let bytes = context.blocks().saturating_mul(u64::from(context.block_size()));
    if bytes > MAX_TRANSFER_BYTES {
        return Err(Sense::invalid_field_in_cdb(count_at, None).into());
    }
    usize::try_from(bytes).map_err(|_| Sense::invalid_field_in_cdb(count_at, None).into())
}

fn count_at(opcode: u8) -> u16 {
    match opcode {
        0x08 => 4,
        0x28 => 7,
        0xa8 => 6,
        _ => 10,
    }
}

/// FUA: what is read is on the medium (SBC-3, 4.15), so a volatile cache is written back first.
fn wants_flush(context: &Context<'_>, gate: &Gate) -> bool {
    let has_fua = context.cdb().opcode() != 0x08 && context.cdb().bit(1, 0x08);
    has_fua && gate.capabilities().contains(Capabilities::VOLATILE_CACHE)
}

fn read(context: &mut Context<'_>) -> Result<(), Failure> {
    let length = transfer_bytes(context, count_at(context.cdb().opcode()))?;
    if length == 0 {
        return Ok(());
    }
    let (gate, lba, offset) = (context.open_gate()?, context.lba(), context.offset());
    let waits = context.may_block() || gate.capabilities().contains(Capabilities::NEVER_BLOCKS);
    if wants_flush(context, gate) {
        if !waits {
            return Err(Failure::WouldBlock);
        }
        gate.flush()?;
    }
    if context.may_lend(length) {
        if !waits {
            return Err(Failure::WouldBlock);
        }
        if context.lend(length).map_err(|error| Failure::from_read(error, lba))? {
            return Ok(());
        }
    }
    let (gate, memory) = context.gate_and_data_in(length)?;
    if waits {
        return gate.read(offset, memory).map_err(|error| Failure::from_read(error, lba));
    }
    match gate.try_read(offset, memory) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::WouldBlock),
        Err(error) => Err(Failure::from_read(error, lba)),
    }
}

fn read_step(context: &mut Context<'_>) -> Result<Step, Failure> {
    let length = transfer_bytes(context, count_at(context.cdb().opcode()))?;
    if length == 0 {
        return Ok(Step::Done);
    }
    if context.progress() == 0 && wants_flush(context, context.open_gate()?) {
        return Ok(Step::Ask(Request::flush(Some(1))));
    }
    context.data_in(length)?;
    Ok(Step::Ask(Request {
        operation: Operation::Read,
        offset: context.offset(),
        length: length as u64,
        memory: Memory::In,
        next: None,
    }))
}

const PRE_FETCH: OpCode =
    OpCode { allow: Allow::WRITE_EXCLUSIVE, run: Run::Inline, execute: |_| Ok(()), ..OpCode::BLANK };

/// PRE-FETCH (10): the range is checked, nothing is kept for it, and it ends GOOD.
pub(crate) const PRE_FETCH_10: OpCode = OpCode {
    opcode: 0x34,
    name: "PRE-FETCH(10)",
    usage: &[0x02, 0xff, 0xff, 0xff, 0xff, GROUP, 0xff, 0xff, CONTROL],
    medium: Medium::Blocks { access: Access::Read, lba: field(2, 4), count: Count::ZeroIsRest(field(7, 2)) },
    ..PRE_FETCH
};

/// PRE-FETCH (16).
pub(crate) const PRE_FETCH_16: OpCode = OpCode {
    opcode: 0x90,
    name: "PRE-FETCH(16)",
    usage: &[0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, GROUP, CONTROL],
    medium: Medium::Blocks { access: Access::Read, lba: field(2, 8), count: Count::ZeroIsRest(field(10, 4)) },
    ..PRE_FETCH
};
