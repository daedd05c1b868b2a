//! READ CAPACITY (10) and (16), READ DEFECT DATA (10) and (12) (SBC-3).

use crate::backstore::Capabilities;
use crate::bytes::{put_u16, put_u32, put_u64};
use crate::scsi::cdb::field;
use crate::scsi::opcode::{Allow, CONTROL, Data, OpCode, Order, Types};
use crate::scsi::ops::same::is_thin;
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

/// Commands that tell nothing but the size run under every reservation, on every path.
const ALWAYS: Allow = Allow::RESERVED
    .and(Allow::PERSISTENT_RESERVATION)
    .and(Allow::STANDBY)
    .and(Allow::UNAVAILABLE)
    .and(Allow::TRANSITIONING);

/// READ CAPACITY (10).
pub(crate) const READ_CAPACITY_10: OpCode = OpCode {
    opcode: 0x25,
    name: "READ CAPACITY(10)",
    types: Types::ALL,
    usage: &[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x01, CONTROL],
    data: Data::Custom(|_, _| crate::scsi::opcode::Transfer { data_in: 8, data_out: 0 }),
    allow: ALWAYS,
    order: Order::AtOnce,
    execute: read_capacity_10,
    ..OpCode::BLANK
};

/// READ CAPACITY (16).
pub(crate) const READ_CAPACITY_16: OpCode = OpCode {
    opcode: 0x9e,
    service_action: Some(0x10),
    name: "READ CAPACITY(16)",
    usage: &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, CONTROL],
    data: Data::In(field(10, 4)),
    allow: ALWAYS,
    order: Order::AtOnce,
    execute: read_capacity_16,
    ..OpCode::BLANK
};

/// Without PMI there is no address to ask about (SBC-3, 5.15).
fn check_address(context: &Context<'_>, at: u8, length: u8, pmi_at: usize) -> Result<(), Failure> {
    if context.cdb().get(field(at, length)) != 0 && !context.cdb().bit(pmi_at, 0x01) {
        return Err(Sense::invalid_field_in_cdb(u16::from(at), None).into());
    }
    Ok(())
}

fn read_capacity_10(context: &mut Context<'_>) -> Result<(), Failure> {
    check_address(context, 2, 4, 8)?;
    let geometry = context.device().geometry();
    let last = geometry.blocks.saturating_sub(1);
    let mut reply = [0; 8];
    put_u32(&mut reply, 0, u32::try_from(last).unwrap_or(u32::MAX));
    put_u32(&mut reply, 4, geometry.block_size);
    context.reply(&reply)
}

fn read_capacity_16(context: &mut Context<'_>) -> Result<(), Failure> {
    check_address(context, 2, 8, 14)?;
    let device = context.device();
    let (geometry, capabilities) = (device.geometry(), device.capabilities());
    let mut reply = [0; 32];
    put_u64(&mut reply, 0, geometry.blocks.saturating_sub(1));
    put_u32(&mut reply, 8, geometry.block_size);
    if device.settings().lb_per_pb_exp {
        reply[13] = geometry.physical_block_exponent & 0x0f;
    }
    if is_thin(device) {
        reply[14] |= 0x80;
        if capabilities.contains(Capabilities::UNMAP_READS_ZERO) {
            reply[14] |= 0x40;
        }
    }
    context.reply(&reply)
}

/// Formats of address descriptors with which an empty list makes sense.
fn check_format(format: u8, at: u16) -> Result<(), Failure> {
    if format & 7 == 6 || format & 7 == 7 {
        return Err(Sense::invalid_field_in_cdb(at, Some(2)).into());
    }
    Ok(())
}

/// READ DEFECT DATA (10): both lists are empty.
pub(crate) const READ_DEFECT_DATA_10: OpCode = OpCode {
    opcode: 0x37,
    name: "READ DEFECT DATA(10)",
    usage: &[0, 0x1f, 0, 0, 0, 0, 0xff, 0xff, CONTROL],
    data: Data::In(field(7, 2)),
    allow: Allow::WRITE_EXCLUSIVE,
    execute: |context| {
        let asked = context.cdb().byte(2) & 0x1f;
        check_format(asked, 2)?;
        context.reply(&[0, asked, 0, 0])
    },
    ..OpCode::BLANK
};

/// READ DEFECT DATA (12).
pub(crate) const READ_DEFECT_DATA_12: OpCode = OpCode {
    opcode: 0xb7,
    name: "READ DEFECT DATA(12)",
    usage: &[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
    data: Data::In(field(6, 4)),
    allow: Allow::WRITE_EXCLUSIVE,
    execute: |context| {
        let asked = context.cdb().byte(1) & 0x1f;
        check_format(asked, 1)?;
        let mut reply = [0; 8];
        reply[1] = asked;
        put_u16(&mut reply, 2, 0);
        context.reply(&reply)
    },
    ..OpCode::BLANK
};
