//! PERSISTENT RESERVE IN (SPC-4, 6.15).

use super::state;
use crate::bytes::{put_u16, put_u32, put_u64};
use crate::scsi::cdb::field;
use crate::scsi::opcode::{Allow, CONTROL, Data, OpCode, Types};
use crate::scsi::reservation::{Registration, ReservationType, Reservations};
use crate::scsi::task::{Context, Failure};
use crate::scsi::transport_id::encode;

const IN: OpCode = OpCode {
    opcode: 0x5e,
    types: Types::ALL,
    usage: &[0, 0, 0, 0, 0, 0, 0xff, 0xff, CONTROL],
    data: Data::In(field(7, 2)),
    allow: Allow::PERSISTENT_RESERVATION.and(Allow::NO_MEDIUM).and(Allow::STANDBY),
    ..OpCode::BLANK
};

/// PERSISTENT RESERVE IN, READ KEYS.
pub(crate) const READ_KEYS: OpCode =
    OpCode { service_action: Some(0), name: "PERSISTENT RESERVE IN READ KEYS", execute: read_keys, ..IN };

/// PERSISTENT RESERVE IN, READ RESERVATION.
pub(crate) const READ_RESERVATION: OpCode = OpCode {
    service_action: Some(1),
    name: "PERSISTENT RESERVE IN READ RESERVATION",
    execute: read_reservation,
    ..IN
};

/// PERSISTENT RESERVE IN, REPORT CAPABILITIES.
pub(crate) const REPORT_CAPABILITIES: OpCode = OpCode {
    service_action: Some(2),
    name: "PERSISTENT RESERVE IN REPORT CAPABILITIES",
    execute: report_capabilities,
    ..IN
};

/// PERSISTENT RESERVE IN, READ FULL STATUS.
pub(crate) const READ_FULL_STATUS: OpCode = OpCode {
    service_action: Some(3),
    name: "PERSISTENT RESERVE IN READ FULL STATUS",
    execute: read_full_status,
    ..IN
};

/// PRGENERATION and ADDITIONAL LENGTH in front of `body`.
fn with_header(reservations: &Reservations, body: &[u8]) -> Vec<u8> {
    let mut reply = vec![0; 8];
    put_u32(&mut reply, 0, reservations.generation());
    put_u32(&mut reply, 4, u32::try_from(body.len()).unwrap_or(u32::MAX));
    reply.extend_from_slice(body);
    reply
}

fn read_keys(context: &mut Context<'_>) -> Result<(), Failure> {
    let reservations = state(context)?;
    let keys: Vec<u8> = reservations.registrations().iter().flat_map(|r| r.key.to_be_bytes()).collect();
    context.reply(&with_header(&reservations, &keys))
}

/// The key that READ RESERVATION shows: the holder's, or 0 when all registrants hold it.
fn shown_key(reservations: &Reservations, kind: ReservationType) -> u64 {
    if kind.is_held_by_all() {
        return 0;
    }
    reservations.registrations().iter().find(|r| r.is_holder).map_or(0, |r| r.key)
}

fn read_reservation(context: &mut Context<'_>) -> Result<(), Failure> {
    let reservations = state(context)?;
    let mut body = Vec::new();
    if let Some(kind) = reservations.reservation() {
        body = vec![0; 16];
        put_u64(&mut body, 0, shown_key(&reservations, kind));
        body[13] = kind.code();
    }
    context.reply(&with_header(&reservations, &body))
}

fn report_capabilities(context: &mut Context<'_>) -> Result<(), Failure> {
    let reservations = state(context)?;
    let mut reply = [0; 8];
    put_u16(&mut reply, 0, 8);
    // CRH, SIP_C, ATP_C; PTPL_C where something keeps it.
    let can_persist = context.device().store().is_some();
    reply[2] = 0x1c | u8::from(can_persist);
    // TMV, ALLOW COMMANDS 100b, PTPL_A.
    reply[3] = 0x80 | 0x40 | u8::from(reservations.persists());
    put_u16(&mut reply, 4, 0xea01);
    context.reply(&reply)
}

fn read_full_status(context: &mut Context<'_>) -> Result<(), Failure> {
    let reservations = state(context)?;
    let mut body = Vec::new();
    for registration in reservations.registrations() {
        body.extend(full_status(registration, reservations.reservation()));
    }
    context.reply(&with_header(&reservations, &body))
}

fn full_status(registration: &Registration, kind: Option<ReservationType>) -> Vec<u8> {
    let id = encode(&registration.ports.initiator);
    let mut entry = vec![0; 24];
    put_u64(&mut entry, 0, registration.key);
    entry[12] = u8::from(registration.is_holder);
    entry[13] = if registration.is_holder { kind.map_or(0, ReservationType::code) } else { 0 };
    put_u16(&mut entry, 18, registration.ports.relative_port);
    put_u32(&mut entry, 20, u32::try_from(id.len()).unwrap_or(u32::MAX));
    entry.extend(id);
    entry
}
