//! REPORT SUPPORTED OPERATION CODES, REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS, LOG SENSE and LOG SELECT,
//! READ BUFFER (SPC-4). The unit has no buffer to write: WRITE BUFFER is left out.

use crate::bytes::{put_u16, put_u32};
use crate::scsi::cdb::field;
use crate::scsi::device::Device;
use crate::scsi::opcode::{Allow, CONTROL, Data, OpCode, Run, Types};
use crate::scsi::ops::{OPERATIONS, rows_of};
use crate::scsi::page::log;
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

const REPORT: OpCode = OpCode {
    opcode: 0xa3,
    types: Types::ALL,
    data: Data::In(field(6, 4)),
    allow: Allow::WRITE_EXCLUSIVE.and(Allow::NO_MEDIUM).and(Allow::STANDBY),
    ..OpCode::BLANK
};

/// REPORT SUPPORTED OPERATION CODES.
pub(crate) const REPORT_SUPPORTED_OPERATION_CODES: OpCode = OpCode {
    service_action: Some(0x0c),
    name: "REPORT SUPPORTED OPERATION CODES",
    usage: &[0, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
    execute: report_operation_codes,
    ..REPORT
};

/// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS.
pub(crate) const REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS: OpCode = OpCode {
    service_action: Some(0x0d),
    name: "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS",
    usage: &[0, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
    execute: report_functions,
    ..REPORT
};

/// Length of a command timeouts descriptor, and what its length field says.
const TIMEOUTS: usize = 12;

fn timeouts(row: &OpCode) -> [u8; TIMEOUTS] {
    let mut descriptor = [0; TIMEOUTS];
    put_u16(&mut descriptor, 0, 0x0a);
    put_u32(&mut descriptor, 4, row.timeouts.0);
    put_u32(&mut descriptor, 8, row.timeouts.1);
    descriptor
}

fn cdb_length(row: &OpCode) -> u16 {
    u16::try_from(row.usage.len() + 1).unwrap_or(0)
}

fn report_operation_codes(context: &mut Context<'_>) -> Result<(), Failure> {
    let with_timeouts = context.cdb().bit(2, 0x80);
    let device = context.device().clone();
    let reply = match context.cdb().byte(2) & 7 {
        0 => all_commands(&device, with_timeouts),
        option @ 1..=3 => one_command(context, &device, option, with_timeouts)?,
        _ => return Err(Sense::invalid_field_in_cdb(2, Some(2)).into()),
    };
    context.reply(&reply)
}

fn all_commands(device: &Device, with_timeouts: bool) -> Vec<u8> {
    let mut reply = vec![0; 4];
    for row in OPERATIONS.iter().filter(|row| device.supports(row)) {
        let mut entry = [0; 8];
        entry[0] = row.opcode;
        put_u16(&mut entry, 2, row.service_action.unwrap_or(0));
        entry[5] = u8::from(row.service_action.is_some()) | u8::from(with_timeouts) << 1;
        put_u16(&mut entry, 6, cdb_length(row));
        reply.extend_from_slice(&entry);
        if with_timeouts {
            reply.extend_from_slice(&timeouts(row));
        }
    }
    let length = u32::try_from(reply.len() - 4).unwrap_or(u32::MAX);
    put_u32(&mut reply, 0, length);
    reply
}

/// REPORTING OPTIONS 001b wants an operation code without service actions, 010b one with, 011b either.
fn one_command(
    context: &Context<'_>,
    device: &Device,
    option: u8,
    with_timeouts: bool,
) -> Result<Vec<u8>, Failure> {
    let opcode = context.cdb().byte(3);
    let asked = u16::try_from(context.cdb().get(field(4, 2))).unwrap_or(0);
    let rows: Vec<&OpCode> = rows_of(opcode).1.iter().filter(|row| device.supports(row)).collect();
    let has_actions = rows.iter().any(|row| row.service_action.is_some());
    if (option == 1 && has_actions) || (option == 2 && !has_actions && !rows.is_empty()) {
        return Err(Sense::invalid_field_in_cdb(2, Some(2)).into());
    }
    let row = rows.into_iter().find(|row| row.service_action.is_none_or(|action| action == asked));
    let Some(row) = row else { return Ok(vec![0, 1, 0, 0]) };
    let mut reply = vec![0, 3 | u8::from(with_timeouts) << 7, 0, 0, row.opcode];
    put_u16(&mut reply, 2, cdb_length(row));
    reply.extend_from_slice(row.usage);
    match row.service_action {
        Some(action) if row.opcode == 0x7f => put_u16(&mut reply, 4 + 8, action),
        Some(action) => reply[5] |= u8::try_from(action).unwrap_or(0),
        None => {}
    }
    // NACA is checked but not usable: NORMACA is 0.
    if let Some(control) = reply.last_mut() {
        *control &= !CONTROL;
    }
    if with_timeouts {
        reply.extend_from_slice(&timeouts(row));
    }
    Ok(reply)
}

fn report_functions(context: &mut Context<'_>) -> Result<(), Failure> {
    if context.cdb().get(field(6, 4)) < 4 {
        return Err(Sense::invalid_field_in_cdb(6, None).into());
    }
    // ATS, ATSS, CTSS, LURS, QTS; then QAES, QTSS, ITNRS.
    let mut reply = vec![0xdc, 0x07, 0, 0];
    if context.cdb().bit(2, 0x80) {
        reply[3] = 0x0c;
        reply.extend_from_slice(&[0; 12]);
    }
    context.reply(&reply)
}

/// LOG SENSE.
pub(crate) const LOG_SENSE: OpCode = OpCode {
    opcode: 0x4d,
    name: "LOG SENSE",
    types: Types::ALL,
    usage: &[0x01, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, CONTROL],
    data: Data::In(field(7, 2)),
    allow: Allow::RESERVED.and(Allow::PERSISTENT_RESERVATION).and(Allow::NO_MEDIUM).and(Allow::STANDBY),
    // Asking a file system what it has left may wait for it.
    run: Run::Worker,
    execute: |context| {
        if context.cdb().bit(1, 0x01) {
            return Err(Sense::invalid_field_in_cdb(1, Some(0)).into());
        }
        if context.cdb().byte(3) != 0 {
            return Err(Sense::invalid_field_in_cdb(3, None).into());
        }
        if context.cdb().get(field(5, 2)) != 0 {
            return Err(Sense::invalid_field_in_cdb(5, None).into());
        }
        let page = log::page(context.device(), context.cdb().byte(2) & 0x3f);
        context.reply(&page.ok_or(Sense::invalid_field_in_cdb(2, Some(5)))?)
    },
    ..OpCode::BLANK
};

/// LOG SELECT: resetting counters is all that can be asked, and there are none.
pub(crate) const LOG_SELECT: OpCode = OpCode {
    opcode: 0x4c,
    name: "LOG SELECT",
    types: Types::ALL,
    usage: &[0x02, 0xc0, 0, 0, 0, 0, 0xff, 0xff, CONTROL],
    data: Data::Out(field(7, 2)),
    allow: Allow::NO_MEDIUM.and(Allow::STANDBY),
    execute: |context| match context.cdb().get(field(7, 2)) {
        0 => Ok(()),
        _ if context.cdb().bit(1, 0x02) => Err(Sense::invalid_field_in_cdb(7, None).into()),
        _ => Err(Sense::invalid_field_in_parameter_list(0, None).into()),
    },
    ..OpCode::BLANK
};

/// Modes of READ BUFFER that are served: data and descriptor of a buffer of no bytes.
const BUFFER_DATA: u8 = 0x02;
const BUFFER_DESCRIPTOR: u8 = 0x03;
const ECHO_DESCRIPTOR: u8 = 0x0b;

/// READ BUFFER (10): the unit has no buffer that an initiator could see; its descriptors say so.
pub(crate) const READ_BUFFER_10: OpCode = OpCode {
    opcode: 0x3c,
    name: "READ BUFFER(10)",
    types: Types::ALL,
    usage: &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, CONTROL],
    data: Data::In(field(6, 3)),
    allow: Allow::WRITE_EXCLUSIVE
        .and(Allow::NO_MEDIUM)
        .and(Allow::STANDBY)
        .and(Allow::UNAVAILABLE)
        .and(Allow::TRANSITIONING),
    execute: |context| match context.cdb().byte(1) & 0x1f {
        BUFFER_DATA if context.cdb().get(field(2, 4)) == 0 => context.reply(&[]),
        BUFFER_DATA => Err(Sense::invalid_field_in_cdb(2, None).into()),
        BUFFER_DESCRIPTOR | ECHO_DESCRIPTOR => context.reply(&[0, 0, 0, 0]),
        _ => Err(Sense::invalid_field_in_cdb(1, Some(4)).into()),
    },
    ..OpCode::BLANK
};
