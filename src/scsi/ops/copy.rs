//! EXTENDED COPY, COPY OPERATION ABORT and RECEIVE COPY RESULTS (SPC-4, 6.4, 6.5, 6.3 and 6.17 to 6.20).
//!
//! The command runs on a thread of its own and is answered when the copy is done; with IMMED, at once.
//! POPULATE TOKEN and WRITE USING TOKEN are not there: no ROD type is supported, and VPD page 8Fh says so.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::bytes::{put_u16, put_u32, put_u64};
use crate::scsi::Status;
use crate::scsi::cdb::field;
use crate::scsi::copy::carry::Copy;
use crate::scsi::copy::lists::{Operation, Refusal, Stage};
use crate::scsi::copy::parameters::{Form, Request};
use crate::scsi::copy::plan::plan;
use crate::scsi::copy::{
    DESCRIPTOR_TYPES, GRANULARITY, MAX_COPIES, MAX_CSCDS, MAX_DESCRIPTOR_BYTES, MAX_SEGMENT_BYTES,
    MAX_SEGMENTS,
};
use crate::scsi::device::Device;
use crate::scsi::opcode::{Allow, CONTROL, Data, Medium, OpCode, Run};
use crate::scsi::sense::{MAX_LENGTH, Sense};
use crate::scsi::task::{Context, Failure, SenseData};

const COPY: OpCode = OpCode {
    opcode: 0x83,
    usage: &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
    data: Data::Out(field(10, 4)),
    medium: Medium::Elsewhere,
    run: Run::Apart,
    timeouts: (60, 600),
    ..OpCode::BLANK
};

/// EXTENDED COPY (LID1).
pub(crate) const EXTENDED_COPY_LID1: OpCode = OpCode {
    service_action: Some(0x00),
    name: "EXTENDED COPY(LID1)",
    execute: |context| extended_copy(context, Form::Lid1),
    ..COPY
};

/// EXTENDED COPY (LID4).
pub(crate) const EXTENDED_COPY_LID4: OpCode = OpCode {
    service_action: Some(0x01),
    name: "EXTENDED COPY(LID4)",
    execute: |context| extended_copy(context, Form::Lid4),
    ..COPY
};

/// COPY OPERATION ABORT.
pub(crate) const COPY_OPERATION_ABORT: OpCode = OpCode {
    opcode: 0x83,
    service_action: Some(0x1c),
    name: "COPY OPERATION ABORT",
    usage: &[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, CONTROL],
    execute: copy_operation_abort,
    ..OpCode::BLANK
};

const RECEIVE: OpCode = OpCode {
    opcode: 0x84,
    usage: &[0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
    data: Data::In(field(10, 4)),
    allow: Allow::PERSISTENT_RESERVATION,
    ..OpCode::BLANK
};

/// CDB with a LIST IDENTIFIER of one byte.
const USAGE_LID1: &[u8] = &[0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL];

/// RECEIVE COPY STATUS (LID1): "copy status" of RECEIVE COPY RESULTS.
pub(crate) const RECEIVE_COPY_STATUS_LID1: OpCode = OpCode {
    service_action: Some(0x00),
    name: "RECEIVE COPY STATUS(LID1)",
    usage: USAGE_LID1,
    execute: status_1,
    ..RECEIVE
};

/// RECEIVE COPY OPERATING PARAMETERS.
pub(crate) const RECEIVE_COPY_OPERATING_PARAMETERS: OpCode = OpCode {
    service_action: Some(0x03),
    name: "RECEIVE COPY OPERATING PARAMETERS",
    usage: &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
    execute: operating_parameters,
    ..RECEIVE
};

/// RECEIVE COPY FAILURE DETAILS (LID1).
pub(crate) const RECEIVE_COPY_FAILURE_DETAILS_LID1: OpCode = OpCode {
    service_action: Some(0x04),
    name: "RECEIVE COPY FAILURE DETAILS(LID1)",
    usage: USAGE_LID1,
    execute: failure_details_1,
    ..RECEIVE
};

/// RECEIVE COPY STATUS (LID4).
pub(crate) const RECEIVE_COPY_STATUS_LID4: OpCode = OpCode {
    service_action: Some(0x05),
    name: "RECEIVE COPY STATUS(LID4)",
    usage: &[0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
    execute: status_4,
    ..RECEIVE
};

/// Operation codes of third-party copy, for VPD page 8Fh.
pub(crate) const OPCODES: [u8; 2] = [COPY.opcode, RECEIVE.opcode];

/// Whether the unit is a copy manager (3PC).
pub(crate) fn is_copy_manager(device: &Device) -> bool {
    device.supports(&EXTENDED_COPY_LID1)
}

fn extended_copy(context: &mut Context<'_>, form: Form) -> Result<(), Failure> {
    if context.is_data_out_short() {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let Some(request) = Request::parse(form, context.data_out())? else { return Ok(()) };
    let (nexus, itl) = (Arc::clone(context.nexus()), Arc::clone(context.itl()));
    let steps = plan(&nexus, &itl, &request)?;
    let total = steps.iter().map(|step| step.length).sum();
    let begun = itl.copies().begin(request.identifier, request.is_remembered, request.is_immediate, total);
    let progress = begun.map_err(|refusal| match refusal {
        Refusal::InProgress => Failure::Sense(Sense::OPERATION_IN_PROGRESS),
        Refusal::TooMany => Failure::Status(Status::BUSY),
    })?;
    let task = context.task.id.filter(|_| !request.is_immediate);
    let copy = Copy { nexus, itl, task, steps, progress };
    if !request.is_immediate {
        return copy.run();
    }
    let dispatcher = Arc::clone(context.device().dispatcher());
    dispatcher.background(Box::new(move || {
        // How it ended is in the lists: nobody waits for it here.
        let _ = copy.run();
    }));
    Ok(())
}

fn copy_operation_abort(context: &mut Context<'_>) -> Result<(), Failure> {
    let operation = operation(context, 2, 4)?;
    if let Stage::Running { .. } = operation.stage {
        operation.progress.cancel();
    }
    Ok(())
}

/// The operation whose LIST IDENTIFIER the CDB has. One of another nexus is not known here.
fn operation(context: &Context<'_>, at: u8, length: u8) -> Result<Operation, Failure> {
    let identifier = u32::try_from(context.cdb().get(field(at, length))).unwrap_or(u32::MAX);
    let found = context.itl().copies().find(identifier).cloned();
    found.ok_or_else(|| Sense::invalid_field_in_cdb(u16::from(at), None).into())
}

/// TRANSFER COUNT and its unit, so that it fits `limit`: bytes, KiB, MiB, GiB (SPC-4, table 261).
fn transfer_count(bytes: u64, limit: u64) -> (u8, u64) {
    (0..4).map(|unit| (unit, bytes >> (10 * unit))).find(|(_, count)| *count <= limit).unwrap_or((3, limit))
}

fn status_1(context: &mut Context<'_>) -> Result<(), Failure> {
    let operation = operation(context, 2, 1)?;
    let mut reply = [0; 12];
    put_u32(&mut reply, 0, 8);
    reply[4] = match operation.stage {
        Stage::Running { .. } => 0x00,
        Stage::Done => 0x01,
        Stage::Failed(_) | Stage::Terminated => 0x02,
    };
    put_u16(&mut reply, 5, operation.progress.segments.load(Ordering::Relaxed));
    let bytes = operation.progress.bytes.load(Ordering::Relaxed);
    let (unit, count) = transfer_count(bytes, u64::from(u32::MAX));
    reply[7] = unit;
    put_u32(&mut reply, 8, u32::try_from(count).unwrap_or(u32::MAX));
    context.reply(&reply)
}

/// The status and sense data with which an operation ended, if it failed.
fn failure(context: &Context<'_>, operation: &Operation) -> Option<(Status, SenseData)> {
    let sense = match operation.stage {
        Stage::Failed(sense) => sense,
        Stage::Terminated => Sense::COPY_COMMANDS_CLEARED_BY_DEVICE_SERVER,
        _ => return None,
    };
    Some((Status::CHECK_CONDITION, SenseData::new(&sense, context.device().descriptor_sense())))
}

fn failure_details_1(context: &mut Context<'_>) -> Result<(), Failure> {
    let operation = operation(context, 2, 1)?;
    let Some((status, sense)) = failure(context, &operation) else { return context.reply(&[0; 4]) };
    let mut reply = vec![0; 60];
    reply[56] = status.0;
    put_u16(&mut reply, 58, u16::try_from(sense.len()).unwrap_or(0));
    reply.extend_from_slice(&sense);
    let available = u32::try_from(reply.len() - 4).unwrap_or(0);
    put_u32(&mut reply, 0, available);
    context.reply(&reply)
}

/// COPY OPERATION STATUS (SPC-4, table 258).
fn operation_status(stage: Stage) -> u8 {
    match stage {
        Stage::Done => 0x01,
        Stage::Failed(_) => 0x02,
        Stage::Running { in_background: false } => 0x11,
        Stage::Running { in_background: true } => 0x12,
        Stage::Terminated => 0x60,
    }
}

fn status_4(context: &mut Context<'_>) -> Result<(), Failure> {
    const HEADER: usize = 32;
    let operation = operation(context, 2, 4)?;
    let mut reply = vec![0; HEADER];
    // RESPONSE TO SERVICE ACTION: EXTENDED COPY(LID4).
    reply[4] = 0x01;
    reply[5] = operation_status(operation.stage);
    put_u16(&mut reply, 6, operation.progress.pieces.load(Ordering::Relaxed));
    // ESTIMATED STATUS UPDATE DELAY in milliseconds; FFFFFFFEh: nothing more will come.
    let delay = if let Stage::Running { .. } = operation.stage { 100 } else { 0xffff_fffe };
    put_u32(&mut reply, 8, delay);
    let bytes = operation.progress.bytes.load(Ordering::Relaxed);
    put_u64(&mut reply, 16, bytes);
    put_u16(&mut reply, 24, operation.progress.segments.load(Ordering::Relaxed));
    if let Some((status, sense)) = failure(context, &operation) {
        reply[12] = status.0;
        reply[13] = u8::try_from(MAX_LENGTH).unwrap_or(0);
        reply[14] = u8::try_from(sense.len()).unwrap_or(0);
        reply.extend_from_slice(&sense);
        reply.resize(HEADER + MAX_LENGTH, 0);
    }
    let available = u32::try_from(reply.len() - 4).unwrap_or(0);
    put_u32(&mut reply, 0, available);
    context.reply(&reply)
}

fn operating_parameters(context: &mut Context<'_>) -> Result<(), Failure> {
    let mut reply = vec![0; 44];
    // SNLID: LIST ID USAGE 11b is supported.
    reply[4] = 0x01;
    put_u16(&mut reply, 8, u16::try_from(MAX_CSCDS).unwrap_or(u16::MAX));
    put_u16(&mut reply, 10, u16::try_from(MAX_SEGMENTS).unwrap_or(u16::MAX));
    put_u32(&mut reply, 12, u32::try_from(MAX_DESCRIPTOR_BYTES).unwrap_or(u32::MAX));
    put_u32(&mut reply, 16, u32::try_from(MAX_SEGMENT_BYTES).unwrap_or(u32::MAX));
    put_u16(&mut reply, 34, u16::try_from(MAX_COPIES).unwrap_or(u16::MAX));
    reply[36] = u8::try_from(MAX_COPIES).unwrap_or(u8::MAX);
    reply[37] = GRANULARITY;
    reply[43] = u8::try_from(DESCRIPTOR_TYPES.len()).unwrap_or(0);
    reply.extend_from_slice(&DESCRIPTOR_TYPES);
    let available = u32::try_from(reply.len() - 4).unwrap_or(0);
    put_u32(&mut reply, 0, available);
    context.reply(&reply)
}
