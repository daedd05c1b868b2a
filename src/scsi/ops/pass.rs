//! Commands of units whose medium is a SCSI device by itself: they go to it as they came, but for those that
//! are about the nexus and not about the medium. The store says so with
//! [`crate::backstore::Capabilities::PASSES_COMMANDS`].

use crate::backstore::gate::Gate;
use crate::backstore::{BlockError, Pass};
use crate::scsi::cdb::{Cdb, Field, MAX_LENGTH, field};
use crate::scsi::limits::MAX_TRANSFER_BYTES;
use crate::scsi::opcode::{Access, Allow, Data, Medium, OpCode, Order, Run};
use crate::scsi::ops::inquiry::{ANYWHERE, INQUIRY};
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

/// REQUEST SENSE, RESERVE and RELEASE (6) and (10), PERSISTENT RESERVE IN and OUT, REPORT LUNS: ours.
const OWN: [u8; 8] = [0x03, 0x16, 0x17, 0x56, 0x57, 0x5e, 0x5f, 0xa0];

/// What changes nothing, by operation code (MMC-6, ZBC, SPC-4). Everything else counts as a write of the
/// whole medium.
const LOOKS: [u8; 32] = [
    0x00, 0x08, 0x1a, 0x1c, 0x23, 0x25, 0x28, 0x2f, 0x34, 0x3c, 0x43, 0x44, 0x46, 0x4a, 0x4d, 0x51, 0x52,
    0x5a, 0x5c, 0x88, 0x8f, 0x90, 0x95, 0x9e, 0xa3, 0xa8, 0xac, 0xad, 0xaf, 0xb9, 0xbd, 0xbe,
];

const PASS: OpCode = OpCode {
    name: "command passed on",
    data: Data::Announced,
    run: Run::Worker,
    execute: pass,
    ..OpCode::BLANK
};

static LOOK: OpCode = OpCode { medium: Medium::Whole(Access::Read), allow: Allow::WRITE_EXCLUSIVE, ..PASS };
static CHANGE: OpCode = OpCode { medium: Medium::Whole(Access::Write), ..PASS };
static ASK: OpCode = OpCode { allow: ANYWHERE, order: Order::AtOnce, ..PASS };

/// The row of a command that goes to the medium; `None` for one of ours.
pub(super) fn row(opcode: u8) -> Option<&'static OpCode> {
    match opcode {
        own if OWN.contains(&own) => None,
        opcode if opcode == INQUIRY.opcode => Some(&ASK),
        opcode if LOOKS.contains(&opcode) => Some(&LOOK),
        _ => Some(&CHANGE),
    }
}

/// Where a command has the number of blocks that it moves, and whether it moves them in. A medium may trust
/// that number, and not what the initiator has announced.
fn moved(cdb: &Cdb) -> Option<(Field, bool)> {
    match cdb.opcode() {
        0x08 => Some((field(4, 1), true)),
        0x0a => Some((field(4, 1), false)),
        0x28 => Some((field(7, 2), true)),
        0x2a | 0x2e => Some((field(7, 2), false)),
        0x2f if cdb.byte(1) & 0x06 != 0 => Some((field(7, 2), false)),
        0xa8 => Some((field(6, 4), true)),
        0xaa | 0xae => Some((field(6, 4), false)),
        0xaf if cdb.byte(1) & 0x06 != 0 => Some((field(6, 4), false)),
        0x88 => Some((field(10, 4), true)),
        0x8a | 0x8e => Some((field(10, 4), false)),
        0x8f if cdb.byte(1) & 0x06 != 0 => Some((field(10, 4), false)),
        _ => None,
    }
}

/// Bytes that the CDB moves, where it moves blocks of the unit; a six-byte command's 0 means 256.
fn block_bytes(cdb: &Cdb, block_size: u32) -> Option<(u64, bool)> {
    let (count, is_in) = moved(cdb)?;
    let blocks = match cdb.get(count) {
        0 if cdb.opcode() < 0x20 => 256,
        blocks => blocks,
    };
    Some((blocks.saturating_mul(u64::from(block_size)), is_in))
}

fn pass(context: &mut Context<'_>) -> Result<(), Failure> {
    if context.task.gate.is_none() && context.cdb().opcode() == INQUIRY.opcode {
        return (INQUIRY.execute)(context);
    }
    let gate = context.gate()?;
    let cdb = *context.cdb();
    let (inward, outward) = (context.task.transfer.data_in, context.task.transfer.data_out);
    let blocks = block_bytes(&cdb, context.block_size());
    let is_short = blocks.is_some_and(|(bytes, is_in)| bytes > if is_in { inward } else { outward });
    let is_torn = context.is_data_out_short();
    if (inward > 0 && outward > 0) || inward > MAX_TRANSFER_BYTES || is_short || is_torn {
        return Err(Sense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT.into());
    }
    let length = usize::try_from(inward).unwrap_or(usize::MAX);
    if length > 0 {
        context.data_in(length)?.fill(0);
    }
    let (data_out, data_in) = context.out_and_kept();
    let data_in = if length > 0 { data_in } else { &mut [] };
    let used = gate.command(&mut Pass { cdb: cdb.bytes(), data_out, data_in })?;
    if length > 0 {
        let used = used.min(length);
        context.task.transfer.data_in = used as u64;
        context.task.data_in_length = u32::try_from(used).unwrap_or(u32::MAX);
    }
    Ok(())
}

/// PERIPHERAL DEVICE TYPE, as a medium that is a SCSI device says it.
pub(crate) fn identify(gate: &Gate) -> Result<u8, BlockError> {
    let mut answer = [0; 36];
    let mut cdb = [0; MAX_LENGTH];
    (cdb[0], cdb[4]) = (INQUIRY.opcode, 36);
    gate.command(&mut Pass { cdb: &cdb, data_out: &[], data_in: &mut answer })?;
    Ok(answer[0] & 0x1f)
}
