//! Commands of units whose medium is a SCSI device by itself: they go to it as they came, but for those that
//! are about the nexus and not about the medium. The store says so with
//! [`crate::backstore::Capabilities::PASSES_COMMANDS`].

use crate::backstore::gate::Gate;
use crate::backstore::{BlockError, Pass};
use crate::scsi::cdb::{Cdb, Field, MAX_LENGTH, field};
use crate::scsi::limits::MAX_TRANSFER_BYTES;
use crate::scsi::opcode::{Access, Allow, Data, Medium, OpCode, Order, Run, Transfer};
use crate::scsi::ops::inquiry::{ANYWHERE, INQUIRY};
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

/// REQUEST SENSE, RESERVE and RELEASE (6) and (10), PERSISTENT RESERVE IN and OUT, REPORT LUNS: ours.
const OWN: [u8; 8] = [0x03, 0x16, 0x17, 0x56, 0x57, 0x5e, 0x5f, 0xa0];

/// What changes nothing, by operation code (MMC-6, ZBC, SPC-4). Everything else, but [`UNIT`], counts as a
/// write of the whole medium.
const LOOKS: [u8; 32] = [
    0x00, 0x08, 0x1a, 0x1c, 0x23, 0x25, 0x28, 0x2f, 0x34, 0x3c, 0x43, 0x44, 0x46, 0x4a, 0x4d, 0x51, 0x52,
    0x5a, 0x5c, 0x88, 0x8f, 0x90, 0x95, 0x9e, 0xa3, 0xa8, 0xac, 0xad, 0xaf, 0xb9, 0xbd, 0xbe,
];

/// What changes the unit and not its medium: SEEK, MODE SELECT, START STOP UNIT, SEND DIAGNOSTIC, PREVENT
/// ALLOW MEDIUM REMOVAL, SYNCHRONIZE CACHE, LOG SELECT, LOAD/UNLOAD MEDIUM, SET READ AHEAD, SET STREAMING,
/// SET CD SPEED. Reservations keep others from it (SPC-4, MMC-6), and no write protection.
const UNIT: [u8; 14] = [0x0b, 0x15, 0x1b, 0x1d, 0x1e, 0x2b, 0x35, 0x4c, 0x55, 0x91, 0xa6, 0xa7, 0xb6, 0xbb];

const PASS: OpCode = OpCode {
    name: "command passed on",
    data: Data::Announced,
    run: Run::Worker,
    execute: pass,
    ..OpCode::BLANK
};

static LOOK: OpCode = OpCode { medium: Medium::Whole(Access::Read), allow: Allow::WRITE_EXCLUSIVE, ..PASS };
static CHANGE: OpCode = OpCode { medium: Medium::Whole(Access::Write), ..PASS };
static SET: OpCode = OpCode { medium: Medium::Unit, order: Order::Ordered, ..PASS };
static ASK: OpCode = OpCode { allow: ANYWHERE, order: Order::AtOnce, ..PASS };

/// The row of a command that goes to the medium; `None` for one of ours.
pub(super) fn row(opcode: u8) -> Option<&'static OpCode> {
    match opcode {
        own if OWN.contains(&own) => None,
        opcode if opcode == INQUIRY.opcode => Some(&ASK),
        opcode if LOOKS.contains(&opcode) => Some(&LOOK),
        opcode if UNIT.contains(&opcode) => Some(&SET),
        _ => Some(&CHANGE),
    }
}

/// The way of a command's blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
    /// VERIFY without BYTCHK: they stay where they are.
    Nowhere,
}

/// Where a command has the number of its blocks, and their way. A medium may trust that number, and not what
/// the initiator has announced.
fn moved(cdb: &Cdb) -> Option<(Field, Way)> {
    let compared = if cdb.byte(1) & BYTCHK != 0 { Way::Out } else { Way::Nowhere };
    match cdb.opcode() {
        0x08 => Some((field(4, 1), Way::In)),
        0x0a => Some((field(4, 1), Way::Out)),
        0x28 => Some((field(7, 2), Way::In)),
        0x2a | 0x2e => Some((field(7, 2), Way::Out)),
        0x2f => Some((field(7, 2), compared)),
        0xa8 => Some((field(6, 4), Way::In)),
        0xaa | 0xae => Some((field(6, 4), Way::Out)),
        0xaf => Some((field(6, 4), compared)),
        0x88 => Some((field(10, 4), Way::In)),
        0x8a | 0x8e => Some((field(10, 4), Way::Out)),
        0x8f => Some((field(10, 4), compared)),
        _ => None,
    }
}

const BYTCHK: u8 = 0x06;
/// VRPROTECT, and what is reserved of VERIFY.
const NOT_OF_VERIFY: u8 = 0xe9;

/// Blocks of a command that names blocks of the unit; a six-byte command's 0 means 256.
fn blocks(cdb: &Cdb) -> Option<(u64, Way)> {
    let (count, way) = moved(cdb)?;
    match cdb.get(count) {
        0 if cdb.opcode() < 0x20 => Some((256, way)),
        blocks => Some((blocks, way)),
    }
}

/// A command that moves no block: the medium must be ready and have those that it names, which VERIFY counts
/// and others do not. The handler is not asked: it would compare them with data that nobody has sent.
fn move_nothing(context: &mut Context<'_>, gate: &Gate, blocks: u64) -> Result<(), Failure> {
    let cdb = *context.cdb();
    let lba = cdb.get(if cdb.opcode() >> 5 == 4 { field(2, 8) } else { field(2, 4) });
    if moved(&cdb).is_some_and(|(_, way)| way == Way::Nowhere) && cdb.byte(1) & NOT_OF_VERIFY != 0 {
        return Err(Sense::invalid_field_in_cdb(1, None).into());
    }
    let ready = [0; MAX_LENGTH];
    gate.command(&mut Pass { cdb: &ready, data_out: &[], data_in: &mut [] })?;
    let capacity = context.device().geometry().blocks;
    match lba.checked_add(blocks) {
        Some(end) if lba < capacity && end <= capacity => Ok(()),
        _ => Err(Sense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE.with_information(lba).into()),
    }
}

fn pass(context: &mut Context<'_>) -> Result<(), Failure> {
    if context.task.gate.is_none() && context.cdb().opcode() == INQUIRY.opcode {
        return (INQUIRY.execute)(context);
    }
    let gate = context.gate()?;
    let cdb = *context.cdb();
    let announced = context.task.transfer;
    let (mut inward, mut outward) = (announced.data_in, announced.data_out);
    let is_torn = context.is_data_out_short();
    if let Some((blocks, way)) = blocks(&cdb) {
        let bytes = blocks.saturating_mul(u64::from(context.block_size()));
        (inward, outward) = match way {
            Way::In => (bytes, 0),
            Way::Out => (0, bytes),
            Way::Nowhere => (0, 0),
        };
        // What the residual is counted against.
        context.task.transfer = Transfer { data_in: inward, data_out: outward };
        if inward + outward == 0 && !is_torn {
            return move_nothing(context, &gate, blocks);
        }
    }
    let is_both = announced.data_in > 0 && announced.data_out > 0;
    let is_short = inward > announced.data_in || outward > announced.data_out;
    if is_both || inward > MAX_TRANSFER_BYTES || is_short || is_torn {
        return Err(Sense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT.into());
    }
    let length = usize::try_from(inward).unwrap_or(usize::MAX);
    if length > 0 {
        context.data_in(length)?.fill(0);
    }
    let (data_out, data_in) = context.out_and_kept();
    // A handler reads and writes on while there is room or data, whatever the CDB says.
    let data_out = &data_out[..data_out.len().min(usize::try_from(outward).unwrap_or(usize::MAX))];
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
