//! Commands to the unit itself: TEST UNIT READY, REQUEST SENSE, START STOP UNIT, PREVENT ALLOW MEDIUM
//! REMOVAL, SEND DIAGNOSTIC, RECEIVE DIAGNOSTIC RESULTS, RESERVE and RELEASE.

use crate::scsi::Status;
use crate::scsi::cdb::{Cdb, field};
use crate::scsi::device::{Device, DeviceType, MediumState};
use crate::scsi::itl::MediaEvent;
use crate::scsi::opcode::{Allow, CONTROL, Data, OpCode, Order, Request, Run, Step, Types};
use crate::scsi::ops::inquiry::ANYWHERE;
use crate::scsi::reservation::Refusal;
use crate::scsi::sense::{MAX_LENGTH, Sense};
use crate::scsi::task::{Context, Failure};

/// TEST UNIT READY (SPC-4). Readiness was checked on admission.
pub(crate) const TEST_UNIT_READY: OpCode = OpCode {
    opcode: 0x00,
    name: "TEST UNIT READY",
    types: Types::ALL,
    usage: &[0, 0, 0, 0, CONTROL],
    allow: Allow::RESERVED.and(Allow::PERSISTENT_RESERVATION),
    order: Order::AtOnce,
    execute: |_| Ok(()),
    ..OpCode::BLANK
};

/// REQUEST SENSE (SPC-4): what is pending, as data.
pub(crate) const REQUEST_SENSE: OpCode = OpCode {
    opcode: 0x03,
    name: "REQUEST SENSE",
    types: Types::ALL,
    usage: &[0x01, 0, 0, 0xff, CONTROL],
    data: Data::In(field(4, 1)),
    allow: ANYWHERE,
    order: Order::AtOnce,
    execute: request_sense,
    ..OpCode::BLANK
};

fn request_sense(context: &mut Context<'_>) -> Result<(), Failure> {
    let sense = match context.device().device_type() {
        DeviceType::Absent => Sense::LOGICAL_UNIT_NOT_SUPPORTED,
        _ => match context.itl().take_attention() {
            Some(attention) => attention,
            None => {
                let state = context.device().state();
                let running = state.background.as_ref().map(|background| background.sense());
                running.unwrap_or(Sense::NO_ADDITIONAL_SENSE_INFORMATION)
            }
        },
    };
    let mut bytes = [0; MAX_LENGTH];
    let length = sense.encode(context.cdb().bit(1, 0x01), &mut bytes);
    context.reply(&bytes[..length])
}

/// START STOP UNIT (SBC-3).
pub(crate) const START_STOP_UNIT: OpCode = OpCode {
    opcode: 0x1b,
    name: "START STOP UNIT",
    types: Types::ALL,
    usage: &[0x01, 0, 0x0f, 0xf7, CONTROL],
    allow: Allow::NO_MEDIUM,
    // START alone disturbs nobody (SBC-3, table of reservations).
    allow_also: |cdb| match (cdb.byte(4) >> 4, cdb.bit(4, LOEJ), cdb.bit(4, START)) {
        (0, false, true) => Allow::PERSISTENT_RESERVATION,
        _ => Allow::NOWHERE,
    },
    order: Order::Ordered,
    run: Run::Worker,
    execute: start_stop_unit,
    submit: Some(start_stop_step),
    ..OpCode::BLANK
};

const START: u8 = 0x01;
const LOEJ: u8 = 0x02;
const NO_FLUSH: u8 = 0x04;

/// RMB: a medium that comes and goes. That of a CD drive does.
pub(super) fn is_removable(device: &Device) -> bool {
    device.settings().removable || device.device_type() == DeviceType::CdRom
}

/// Power conditions: there is nothing to spin down, and LOEJ and START mean nothing with them.
fn is_power_condition(cdb: &Cdb) -> bool {
    cdb.byte(4) >> 4 != 0
}

fn flushes(cdb: &Cdb) -> bool {
    !is_power_condition(cdb) && !cdb.bit(4, START) && !cdb.bit(4, NO_FLUSH)
}

fn start_stop_unit(context: &mut Context<'_>) -> Result<(), Failure> {
    if flushes(context.cdb()) {
        let gate = context.device().state().gate.clone();
        if let Some(gate) = gate {
            gate.flush()?;
        }
    }
    start_or_stop(context)
}

fn start_stop_step(context: &mut Context<'_>) -> Result<Step, Failure> {
    if context.progress() == 0 && flushes(context.cdb()) {
        return Ok(Step::Ask(Request::flush(Some(1))));
    }
    start_or_stop(context).map(|()| Step::Done)
}

/// What is left when the medium is flushed.
fn start_or_stop(context: &mut Context<'_>) -> Result<(), Failure> {
    let cdb = *context.cdb();
    let device = context.device().clone();
    if is_power_condition(&cdb) {
        return Ok(());
    }
    let (start, eject_or_load) = (cdb.bit(4, START), cdb.bit(4, LOEJ));
    if !eject_or_load {
        return Ok(());
    }
    if !is_removable(&device) {
        return Err(Sense::invalid_field_in_cdb(4, Some(1)).into());
    }
    let mut state = device.state();
    // What is prevented is to take the medium out (MMC-6, PREVENT ALLOW MEDIUM REMOVAL): a drive's open or
    // empty tray may be loaded. Of a disk libiscsi's PreventAllow wants every load refused.
    let holds_medium = state.medium == MediumState::Present;
    let may_move = start && device.device_type() == DeviceType::CdRom && !holds_medium;
    if !may_move && !state.prevented.is_empty() {
        return Err(Sense::MEDIUM_REMOVAL_PREVENTED.into());
    }
    if !start {
        state.medium = MediumState::TrayOpen;
        drop(state);
        if holds_medium {
            device.media_event(MediaEvent::Removal);
        }
        return Ok(());
    }
    let came = state.medium == MediumState::TrayOpen && state.gate.is_some();
    state.medium = if state.gate.is_some() { MediumState::Present } else { MediumState::TrayClosed };
    if came {
        device.attention(Sense::NOT_READY_TO_READY_CHANGE, Some(context.nexus().id));
    }
    drop(state);
    if came {
        device.media_event(MediaEvent::New);
    }
    Ok(())
}

/// PREVENT ALLOW MEDIUM REMOVAL (SPC-3): kept per I_T nexus.
pub(crate) const PREVENT_ALLOW_MEDIUM_REMOVAL: OpCode = OpCode {
    opcode: 0x1e,
    name: "PREVENT ALLOW MEDIUM REMOVAL",
    types: Types::ALL,
    usage: &[0, 0, 0, 0x03, CONTROL],
    allow: Allow::NO_MEDIUM,
    // To allow removal is always allowed (SPC-4, table of reservations).
    allow_also: |cdb| match cdb.byte(4) & 3 {
        0 => Allow::PERSISTENT_RESERVATION,
        _ => Allow::NOWHERE,
    },
    supported: is_removable,
    execute: prevent_allow,
    ..OpCode::BLANK
};

fn prevent_allow(context: &mut Context<'_>) -> Result<(), Failure> {
    let nexus = context.nexus().id;
    let mut state = context.device().state();
    match context.cdb().byte(4) & 3 {
        0 => state.prevented.retain(|holder| *holder != nexus),
        1 if !state.prevented.contains(&nexus) => state.prevented.push(nexus),
        1 => {}
        _ => return Err(Sense::invalid_field_in_cdb(4, Some(1)).into()),
    }
    Ok(())
}

/// SEND DIAGNOSTIC (SPC-4): the self-test passes; there are no pages to send.
pub(crate) const SEND_DIAGNOSTIC: OpCode = OpCode {
    opcode: 0x1d,
    name: "SEND DIAGNOSTIC",
    types: Types::ALL,
    usage: &[0xf7, 0, 0xff, 0xff, CONTROL],
    data: Data::Out(field(3, 2)),
    allow: Allow::NO_MEDIUM.and(Allow::STANDBY),
    execute: |context| match (context.cdb().bit(1, 0x04), context.cdb().get(field(3, 2))) {
        (_, 0) => Ok(()),
        (true, _) => Err(Sense::invalid_field_in_cdb(3, None).into()),
        (false, _) => Err(Sense::invalid_field_in_parameter_list(0, None).into()),
    },
    ..OpCode::BLANK
};

/// RECEIVE DIAGNOSTIC RESULTS (SPC-4): the list of pages, which is itself the only one.
pub(crate) const RECEIVE_DIAGNOSTIC_RESULTS: OpCode = OpCode {
    opcode: 0x1c,
    name: "RECEIVE DIAGNOSTIC RESULTS",
    types: Types::ALL,
    usage: &[0x01, 0xff, 0xff, 0xff, CONTROL],
    data: Data::In(field(3, 2)),
    allow: Allow::NO_MEDIUM.and(Allow::STANDBY).and(Allow::WRITE_EXCLUSIVE),
    execute: |context| {
        if context.cdb().bit(1, 0x01) && context.cdb().byte(2) != 0 {
            return Err(Sense::invalid_field_in_cdb(2, None).into());
        }
        context.reply(&[0, 0, 0, 1, 0])
    },
    ..OpCode::BLANK
};

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Conflict => Failure::Status(Status::RESERVATION_CONFLICT),
            Refusal::Sense(sense) => Failure::Sense(sense),
        }
    }
}

/// What RESERVE and RELEASE share: they decide themselves what conflicts.
const SPC2: OpCode = OpCode {
    types: Types::ALL,
    allow: Allow::RESERVED.and(Allow::PERSISTENT_RESERVATION).and(Allow::NO_MEDIUM).and(Allow::STANDBY),
    order: Order::Exclusive,
    ..OpCode::BLANK
};

fn reserve(context: &mut Context<'_>) -> Result<(), Failure> {
    Ok(context.device().state().reservations.reserve_spc2(context.nexus().id)?)
}

fn release(context: &mut Context<'_>) -> Result<(), Failure> {
    Ok(context.device().state().reservations.release_spc2(context.nexus().id)?)
}

/// RESERVE (6) (SPC-2), without third parties and extents.
pub(crate) const RESERVE_6: OpCode =
    OpCode { opcode: 0x16, name: "RESERVE(6)", usage: &[0, 0, 0, 0, CONTROL], execute: reserve, ..SPC2 };

/// RELEASE (6) (SPC-2).
pub(crate) const RELEASE_6: OpCode =
    OpCode { opcode: 0x17, name: "RELEASE(6)", usage: &[0, 0, 0, 0, CONTROL], execute: release, ..SPC2 };

/// RESERVE (10) (SPC-2).
pub(crate) const RESERVE_10: OpCode = OpCode {
    opcode: 0x56,
    name: "RESERVE(10)",
    usage: &[0, 0, 0, 0, 0, 0, 0, 0, CONTROL],
    execute: reserve,
    ..SPC2
};

/// RELEASE (10) (SPC-2).
pub(crate) const RELEASE_10: OpCode = OpCode {
    opcode: 0x57,
    name: "RELEASE(10)",
    usage: &[0, 0, 0, 0, 0, 0, 0, 0, CONTROL],
    execute: release,
    ..SPC2
};
