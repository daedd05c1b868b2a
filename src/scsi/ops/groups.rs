//! REPORT TARGET PORT GROUPS and SET TARGET PORT GROUPS (SPC-4, 6.35 and 6.45).

use crate::bytes::{put_u16, put_u32};
use crate::scsi::alua::{AccessState, Shown};
use crate::scsi::cdb::field;
use crate::scsi::device::Device;
use crate::scsi::opcode::{Allow, CONTROL, Data, OpCode, Order, Run, Transfer, Types};
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

/// Whether the unit has target port groups at all (TPGS not 0).
fn has_groups(device: &Device) -> bool {
    !device.target_port_groups().is_empty()
}

fn has_explicit_transitions(device: &Device) -> bool {
    has_groups(device) && device.settings().expl_alua && device.port_group_control().is_some()
}

/// TPGS of the standard INQUIRY data, in place: bit 4 implicit, bit 5 explicit transitions.
pub(crate) fn tpgs(device: &Device) -> u8 {
    match (has_groups(device), has_explicit_transitions(device)) {
        (false, _) => 0x00,
        (true, false) => 0x10,
        (true, true) => 0x30,
    }
}

const IN_EVERY_STATE: Allow = Allow::NO_MEDIUM.and(Allow::STANDBY).and(Allow::UNAVAILABLE);

/// REPORT TARGET PORT GROUPS.
pub(crate) const REPORT_TARGET_PORT_GROUPS: OpCode = OpCode {
    opcode: 0xa3,
    service_action: Some(0x0a),
    name: "REPORT TARGET PORT GROUPS",
    types: Types::ALL,
    usage: &[0xe0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
    data: Data::In(field(6, 4)),
    allow: IN_EVERY_STATE
        .and(Allow::TRANSITIONING)
        .and(Allow::RESERVED)
        .and(Allow::PERSISTENT_RESERVATION)
        .and(Allow::BACKGROUND),
    order: Order::AtOnce,
    supported: has_groups,
    execute: report,
    ..OpCode::BLANK
};

/// Every state can be reached, the LBA dependent one excepted: T_SUP, O_SUP, U_SUP, S_SUP, AN_SUP, AO_SUP.
const SUPPORTED_STATES: u8 = 0xcf;

fn report(context: &mut Context<'_>) -> Result<(), Failure> {
    let header: &[u8] = match context.cdb().byte(1) >> 5 {
        0 => &[],
        // RETURN DATA FORMAT 001b; IMPLICIT TRANSITION TIME 0: none is promised.
        1 => &[0x10, 0, 0, 0],
        _ => return Err(Sense::invalid_field_in_cdb(1, Some(7)).into()),
    };
    let groups = context.device().target_port_groups();
    let mut reply = vec![0; 4];
    reply.extend_from_slice(header);
    for shown in groups.shown() {
        describe(shown, &mut reply);
    }
    let length = u32::try_from(reply.len() - 4).unwrap_or(u32::MAX);
    put_u32(&mut reply, 0, length);
    context.reply(&reply)
}

fn describe(shown: &Shown, reply: &mut Vec<u8>) {
    let group = &shown.group;
    let mut descriptor = vec![0; 8];
    descriptor[0] = if group.preferred { 0x80 } else { 0 } | group.state.code();
    descriptor[1] = SUPPORTED_STATES;
    put_u16(&mut descriptor, 2, group.group_id);
    descriptor[5] = shown.status_code;
    for port in group.ports.iter().filter(|port| **port != 0) {
        descriptor.extend_from_slice(&[0, 0]);
        descriptor.extend_from_slice(&port.to_be_bytes());
    }
    descriptor[7] = u8::try_from((descriptor.len() - 8) / 4).unwrap_or(u8::MAX);
    reply.extend(descriptor);
}

/// Longest parameter list of SET TARGET PORT GROUPS that is taken, in bytes.
const MAX_LIST: u64 = 4096;

/// SET TARGET PORT GROUPS.
pub(crate) const SET_TARGET_PORT_GROUPS: OpCode = OpCode {
    opcode: 0xa4,
    service_action: Some(0x0a),
    name: "SET TARGET PORT GROUPS",
    types: Types::ALL,
    usage: &[0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
    data: Data::Custom(|cdb, _| Transfer { data_in: 0, data_out: cdb.get(field(6, 4)).min(MAX_LIST) }),
    allow: IN_EVERY_STATE,
    order: Order::Ordered,
    run: Run::Worker,
    supported: has_explicit_transitions,
    timeouts: (60, 60),
    execute: set,
    ..OpCode::BLANK
};

fn set(context: &mut Context<'_>) -> Result<(), Failure> {
    let length = context.cdb().get(field(6, 4));
    if length == 0 {
        return Ok(());
    }
    let list = context.data_out();
    if length > MAX_LIST || (list.len() as u64) < length || length % 4 != 0 {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let states = wanted(context.device(), list)?;
    let control = context.device().port_group_control();
    let done =
        control.map(|control| control.set_states(context.device().name(), &states, context.nexus().id));
    match done {
        Some(Ok(())) => Ok(()),
        _ => Err(Sense::SET_TARGET_PORT_GROUPS_FAILED.into()),
    }
}

/// All descriptors, checked before anything changes: four reserved bytes, then four bytes each.
fn wanted(device: &Device, list: &[u8]) -> Result<Vec<(u16, AccessState)>, Failure> {
    let groups = device.target_port_groups();
    let (mut states, mut moves): (Vec<(u16, AccessState)>, _) = (Vec::new(), false);
    for (index, descriptor) in list.chunks_exact(4).enumerate().skip(1) {
        let at = u16::try_from(index * 4).unwrap_or(u16::MAX);
        let state = AccessState::from_code(descriptor[0] & 0x0f)
            .filter(|state| *state != AccessState::Transitioning)
            .ok_or(Sense::invalid_field_in_parameter_list(at, Some(3)))?;
        let group_id = u16::from_be_bytes([descriptor[2], descriptor[3]]);
        let group = groups.groups().find(|group| group.group_id == group_id);
        let is_repeated = states.iter().any(|(known, _)| *known == group_id);
        let group = group.filter(|_| !is_repeated);
        let group = group.ok_or(Sense::invalid_field_in_parameter_list(at + 2, None))?;
        moves |= group.state == AccessState::Transitioning;
        states.push((group_id, state));
    }
    // Whoever has begun to move the group says where it ends: its medium may not be there yet.
    if moves { Err(Sense::ASYMMETRIC_ACCESS_STATE_TRANSITION.into()) } else { Ok(states) }
}
