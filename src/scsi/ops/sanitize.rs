//! SANITIZE and FORMAT UNIT (SBC-3): the medium as a whole, in the background.

use std::sync::Arc;
use std::time::Duration;

use crate::backstore::Capabilities;
use crate::backstore::gate::Gate;
use crate::bytes::get_u16;
use crate::scsi::background::Background;
use crate::scsi::cdb::{Cdb, field};
use crate::scsi::device::Device;
use crate::scsi::limits::PIECE_BYTES;
use crate::scsi::opcode::{Access, CONTROL, Data, Medium, OpCode, Order, Run, Transfer};
use crate::scsi::ops::same::is_thin;
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

const IMMED: u8 = 0x80;
/// IMMED and AUSE.
const BITS: u8 = 0xa0;

const SANITIZE: OpCode = OpCode {
    opcode: 0x48,
    usage: &[BITS, 0, 0, 0, 0, 0, 0, 0, CONTROL],
    medium: Medium::Whole(Access::Write),
    order: Order::Outlives,
    run: Run::Inline,
    supported: |device| device.settings().allow_sanitize,
    timeouts: (3600, 36000),
    ..OpCode::BLANK
};

/// SANITIZE, OVERWRITE.
pub(crate) const SANITIZE_OVERWRITE: OpCode = OpCode {
    service_action: Some(0x01),
    name: "SANITIZE OVERWRITE",
    usage: &[BITS, 0, 0, 0, 0, 0, 0xff, 0xff, CONTROL],
    data: Data::Out(field(7, 2)),
    execute: overwrite,
    ..SANITIZE
};

/// SANITIZE, BLOCK ERASE.
pub(crate) const SANITIZE_BLOCK_ERASE: OpCode = OpCode {
    service_action: Some(0x02),
    name: "SANITIZE BLOCK ERASE",
    supported: |device| device.settings().allow_sanitize && is_thin(device),
    execute: |context| run(context, Erase::Free),
    ..SANITIZE
};

/// SANITIZE, CRYPTO ERASE: nothing is encrypted, so the blocks are freed or overwritten.
pub(crate) const SANITIZE_CRYPTO_ERASE: OpCode = OpCode {
    service_action: Some(0x03),
    name: "SANITIZE CRYPTO ERASE",
    execute: |context| run(context, Erase::Free),
    ..SANITIZE
};

/// SANITIZE, EXIT FAILURE MODE: there is no failure mode to leave.
pub(crate) const SANITIZE_EXIT_FAILURE_MODE: OpCode = OpCode {
    service_action: Some(0x1f),
    name: "SANITIZE EXIT FAILURE MODE",
    usage: &[BITS, 0, 0, 0, 0, 0, 0, 0, CONTROL],
    execute: |_| Ok(()),
    ..SANITIZE
};

/// What is done to the medium.
enum Erase {
    /// Freed, so that it reads as zeros; zeros are written where that cannot be had.
    Free,
    /// A pattern of one block, over and over.
    Pattern(Vec<u8>),
}

/// The parameter list of OVERWRITE (SBC-3, 5.30.2.2): four bytes of header, a pattern of at most a block.
fn overwrite(context: &mut Context<'_>) -> Result<(), Failure> {
    let list = context.data_out();
    let block = context.block_size() as usize;
    let length = usize::try_from(context.cdb().get(field(7, 2))).unwrap_or(0);
    if length < 5 || length > block + 4 || list.len() < length {
        return Err(Sense::invalid_field_in_cdb(7, None).into());
    }
    let pattern_length = usize::from(get_u16(list, 2));
    if list[0] & 0x1f == 0 {
        return Err(Sense::invalid_field_in_parameter_list(0, Some(4)).into());
    }
    if pattern_length == 0 || pattern_length > block || pattern_length != length - 4 {
        return Err(Sense::invalid_field_in_parameter_list(2, None).into());
    }
    let pattern = list[4..].iter().copied().take(pattern_length).cycle().take(block).collect();
    run(context, Erase::Pattern(pattern))
}

/// Runs the job: behind the answer with IMMED, else before it. Meanwhile other commands are told SANITIZE IN
/// PROGRESS: from the moment on that the command is taken up, so that one sent right behind it is told too.
fn run(context: &mut Context<'_>, erase: Erase) -> Result<(), Failure> {
    let device = Arc::clone(context.device());
    let gate = context.gate()?;
    let background = {
        let mut state = device.state();
        let new = || Arc::new(Background::new("sanitize", Sense::SANITIZE_IN_PROGRESS));
        Arc::clone(state.background.get_or_insert_with(new))
    };
    if context.cdb().bit(1, IMMED) {
        let own = Arc::clone(&device);
        device.dispatcher().background(Box::new(move || {
            let _ = work(&own, &gate, &background, &erase);
        }));
        return Ok(());
    }
    if !context.may_block() {
        return Err(Failure::WouldBlock);
    }
    work(&device, &gate, &background, &erase)
}

fn work(device: &Device, gate: &Gate, progress: &Background, erase: &Erase) -> Result<(), Failure> {
    let done = pieces(device, gate, progress, erase).and_then(|()| gate.flush());
    device.state().background.take_if(|background| std::ptr::eq(&**background, progress));
    done.map_err(|_| Sense::SANITIZE_COMMAND_FAILED.into())
}

fn pieces(
    device: &Device,
    gate: &Gate,
    progress: &Background,
    erase: &Erase,
) -> Result<(), crate::backstore::BlockError> {
    let bytes = gate.geometry().bytes();
    let count = bytes.div_ceil(PIECE_BYTES).max(1);
    let rest = Duration::from_millis(u64::from(device.settings().sanitize_min_ms))
        / u32::try_from(count).unwrap_or(u32::MAX);
    let frees = gate.capabilities().contains(Capabilities::UNMAP.with(Capabilities::UNMAP_READS_ZERO));
    let piece = match erase {
        Erase::Pattern(pattern) => pattern.repeat(usize::try_from(PIECE_BYTES).unwrap_or(0) / pattern.len()),
        Erase::Free => Vec::new(),
    };
    for number in 0..count {
        let at = number * PIECE_BYTES;
        let length = PIECE_BYTES.min(bytes - at);
        match erase {
            Erase::Pattern(_) => gate.write(at, &piece[..usize::try_from(length).unwrap_or(0)], false)?,
            Erase::Free if frees => gate.unmap(at, length)?,
            Erase::Free => gate.write_zeroes(at, length, true)?,
        }
        progress.advance(number + 1, count);
        if !rest.is_zero() && matches!(erase, Erase::Pattern(_)) {
            device.dispatcher().rest(rest);
        }
    }
    Ok(())
}

/// FORMAT UNIT: a thin unit is freed as a whole; on others the data stays as it is, as the standard permits.
pub(crate) const FORMAT_UNIT: OpCode = OpCode {
    opcode: 0x04,
    name: "FORMAT UNIT",
    usage: &[0x3f, 0, 0, 0, CONTROL],
    data: Data::Custom(format_transfer),
    medium: Medium::Whole(Access::Write),
    order: Order::Ordered,
    run: Run::Worker,
    timeouts: (3600, 36000),
    execute: format_unit,
    ..OpCode::BLANK
};

const FMTDATA: u8 = 0x10;
const LONGLIST: u8 = 0x20;

fn format_transfer(cdb: &Cdb, _block_size: u32) -> Transfer {
    let header = if cdb.bit(1, LONGLIST) { 8 } else { 4 };
    Transfer { data_in: 0, data_out: if cdb.bit(1, FMTDATA) { header } else { 0 } }
}

fn format_unit(context: &mut Context<'_>) -> Result<(), Failure> {
    let (has_list, is_long) = (context.cdb().bit(1, FMTDATA), context.cdb().bit(1, LONGLIST));
    if has_list {
        check_format_list(context.data_out(), is_long)?;
    }
    let device = Arc::clone(context.device());
    let gate = context.gate()?;
    if !is_thin(&device) {
        return Ok(());
    }
    let immed = has_list && context.data_out()[1] & 0x02 != 0;
    let background = Arc::new(Background::new("format", Sense::FORMAT_IN_PROGRESS));
    device.state().background = Some(Arc::clone(&background));
    if immed {
        let own = Arc::clone(&device);
        device.dispatcher().background(Box::new(move || {
            let _ = work(&own, &gate, &background, &Erase::Free);
        }));
        return Ok(());
    }
    work(&device, &gate, &background, &Erase::Free)
}

/// No initialization pattern, no protection information, no defect list (SBC-3, 5.3.2).
fn check_format_list(list: &[u8], is_long: bool) -> Result<(), Failure> {
    if list.len() < if is_long { 8 } else { 4 } {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    if list[0] & 0x07 != 0 {
        return Err(Sense::invalid_field_in_parameter_list(0, Some(2)).into());
    }
    if list[1] & 0x08 != 0 {
        return Err(Sense::invalid_field_in_parameter_list(1, Some(3)).into());
    }
    let (at, defects) = if is_long { (4, &list[4..8]) } else { (2, &list[2..4]) };
    if defects.iter().any(|byte| *byte != 0) {
        return Err(Sense::invalid_field_in_parameter_list(at, None).into());
    }
    Ok(())
}
