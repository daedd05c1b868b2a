//! PERSISTENT RESERVE IN and OUT (SPC-4, 6.15 and 6.16): bytes in front of [`crate::scsi::reservation`].

use std::sync::Arc;

use crate::bytes::{Take, put_u16, put_u32, put_u64};
use crate::scsi::Status;
use crate::scsi::cdb::{Field, field};
use crate::scsi::nexus::{PortPair, TransportId};
use crate::scsi::opcode::{Allow, CONTROL, Data, OpCode, Order, Run, Types};
use crate::scsi::reservation::{Effects, Keys, Registering, Registration, ReservationType, Reservations};
use crate::scsi::sense::Sense;
use crate::scsi::target;
use crate::scsi::task::{Context, Failure};

/// Under which name registrations are saved.
pub(crate) const SAVED_AS: &str = "pr";

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

const LENGTH: Field = field(5, 4);

const OUT: OpCode = OpCode {
    opcode: 0x5f,
    types: Types::ALL,
    usage: &[0, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, CONTROL],
    data: Data::Custom(|cdb, _| crate::scsi::opcode::Transfer {
        data_in: 0,
        data_out: cdb.get(LENGTH).min(MAX_LIST),
    }),
    allow: Allow::PERSISTENT_RESERVATION.and(Allow::NO_MEDIUM).and(Allow::STANDBY),
    order: Order::Ordered,
    run: Run::Worker,
    execute: reserve_out,
    ..OpCode::BLANK
};

/// Longest parameter list that is taken, in bytes.
const MAX_LIST: u64 = 64 * 1024;

macro_rules! out_actions {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: OpCode = OpCode {
            service_action: Some($code),
            name: concat!("PERSISTENT RESERVE OUT ", $text),
            ..OUT
        };)*
    };
}

out_actions! {
    /// PERSISTENT RESERVE OUT, REGISTER.
    REGISTER = 0 "REGISTER";
    /// PERSISTENT RESERVE OUT, RESERVE.
    RESERVE = 1 "RESERVE";
    /// PERSISTENT RESERVE OUT, RELEASE.
    RELEASE = 2 "RELEASE";
    /// PERSISTENT RESERVE OUT, CLEAR.
    CLEAR = 3 "CLEAR";
    /// PERSISTENT RESERVE OUT, PREEMPT.
    PREEMPT = 4 "PREEMPT";
    /// PERSISTENT RESERVE OUT, PREEMPT AND ABORT.
    PREEMPT_AND_ABORT = 5 "PREEMPT AND ABORT";
    /// PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY.
    REGISTER_AND_IGNORE_EXISTING_KEY = 6 "REGISTER AND IGNORE EXISTING KEY";
    /// PERSISTENT RESERVE OUT, REGISTER AND MOVE.
    REGISTER_AND_MOVE = 7 "REGISTER AND MOVE";
}

/// A copy of the state, unless RESERVE of SPC-2 stands in the way.
fn state(context: &Context<'_>) -> Result<Reservations, Failure> {
    let state = context.device().state();
    if state.reservations.is_reserved_spc2() {
        return Err(Failure::Status(Status::RESERVATION_CONFLICT));
    }
    Ok(state.reservations.clone())
}

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
    if kind.code() >= 7 {
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
    let id = encode_transport_id(&registration.ports.initiator);
    let mut entry = vec![0; 24];
    put_u64(&mut entry, 0, registration.key);
    entry[12] = u8::from(registration.is_holder);
    entry[13] = if registration.is_holder { kind.map_or(0, ReservationType::code) } else { 0 };
    put_u16(&mut entry, 18, registration.ports.relative_port);
    put_u32(&mut entry, 20, u32::try_from(id.len()).unwrap_or(u32::MAX));
    entry.extend(id);
    entry
}

/// iSCSI TransportID of an initiator port (SPC-4, 7.6.4.6): format 01b, protocol 5, `name,i,0xISID`.
fn encode_transport_id(port: &TransportId) -> Vec<u8> {
    let isid: String = port.isid.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut name = format!("{},i,0x{isid}", port.name).into_bytes();
    name.push(0);
    name.resize(name.len().next_multiple_of(4).max(20), 0);
    let [high, low] = u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut id = vec![0x45, 0, high, low];
    id.extend(name);
    id
}

/// A TransportID at the front of `take`. Form 00b, a name without ISID, is refused: it names no port.
fn decode_transport_id(take: &mut Take<'_>) -> Option<TransportId> {
    let head = take.bytes(4)?;
    let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
    if head[0] != 0x45 || length % 4 != 0 || length < 20 {
        return None;
    }
    let bytes = take.bytes(length)?;
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    let (name, isid) = text.split_once(",i,0x")?;
    let isid = u64::from_str_radix(isid, 16).ok().filter(|_| isid.len() == 12)?.to_be_bytes();
    if name.is_empty() || name.len() > 223 || name.contains(' ') {
        return None;
    }
    let mut bytes = [0; 6];
    bytes.copy_from_slice(&isid[2..]);
    Some(TransportId { name: name.to_lowercase(), isid: bytes })
}

fn reserve_out(context: &mut Context<'_>) -> Result<(), Failure> {
    let length = context.cdb().get(LENGTH);
    let list = context.data_out();
    if length > MAX_LIST || (list.len() as u64) < length || list.len() < 24 {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let mut reservations = state(context)?;
    let action = context.cdb().byte(1) & 0x1f;
    let effects = match action {
        0 | 6 => register(context, &mut reservations, action == 6)?,
        7 => register_and_move(context, &mut reservations)?,
        _ => change(context, &mut reservations, action)?,
    };
    commit(context, reservations)?;
    carry_out(context, &effects);
    Ok(())
}

fn keys(list: &[u8]) -> Keys {
    let mut take = Take::new(list);
    Keys { reservation: take.u64().unwrap_or(0), service_action: take.u64().unwrap_or(0) }
}

/// What is kept is written before anybody sees the new state: a crash leaves the old or the new.
fn commit(context: &Context<'_>, reservations: Reservations) -> Result<(), Failure> {
    let device = context.device();
    let (before, after) = (device.state().reservations.saved(), reservations.saved());
    if before != after {
        if let Some(store) = device.store() {
            store
                .save(device.name(), SAVED_AS, &after)
                .map_err(|_| Failure::Sense(Sense::INTERNAL_TARGET_FAILURE))?;
        }
    }
    device.state().reservations = reservations;
    Ok(())
}

fn carry_out(context: &Context<'_>, effects: &Effects) {
    let device = context.device();
    for nexus in &effects.abort {
        target::leave_tasks(*nexus, device);
    }
    for itl in device.itls() {
        for (nexus, sense) in &effects.attentions {
            if *nexus == itl.nexus {
                itl.attention(*sense);
            }
        }
    }
}

const SPEC_I_PT: u8 = 0x08;
const ALL_TG_PT: u8 = 0x04;
const APTPL: u8 = 0x01;

fn register(
    context: &Context<'_>,
    reservations: &mut Reservations,
    ignore_existing: bool,
) -> Result<Effects, Failure> {
    let list = context.data_out();
    let flags = list[20];
    let persist = flags & APTPL != 0;
    if persist && context.device().store().is_none() {
        return Err(Sense::invalid_field_in_parameter_list(20, Some(0)).into());
    }
    let ports = context.nexus().ports();
    let mut others = Vec::new();
    if flags & SPEC_I_PT != 0 {
        if ignore_existing {
            return Err(Sense::invalid_field_in_parameter_list(20, Some(3)).into());
        }
        others = named_ports(list, ports.relative_port)?;
    } else if list.len() != 24 {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    if flags & ALL_TG_PT != 0 && others.is_empty() {
        // Every target port of this unit is reached through one relative identifier at a time; the others
        // are added by name when their nexus is known.
        others = context.device().other_ports(&ports);
    }
    let with = Registering { ignore_existing, persist, others };
    Ok(reservations.register(context.nexus().id, &ports, keys(list), &with)?)
}

/// The additional TransportIDs of SPEC_I_PT: every length is checked against what was received.
fn named_ports(list: &[u8], relative_port: u16) -> Result<Vec<PortPair>, Failure> {
    let mut take = Take::new(&list[24..]);
    let stated = take.u32().ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    if stated as usize != take.rest().len() {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let mut ports = Vec::new();
    while !take.rest().is_empty() {
        let initiator =
            decode_transport_id(&mut take).ok_or(Sense::invalid_field_in_parameter_list(28, None))?;
        ports.push(PortPair { initiator, relative_port });
    }
    Ok(ports)
}

/// RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT AND ABORT: scope and type are in byte 2 of the CDB.
fn change(context: &Context<'_>, reservations: &mut Reservations, action: u8) -> Result<Effects, Failure> {
    let list = context.data_out();
    if list.len() != 24 {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let (nexus, keys) = (context.nexus().id, keys(list));
    if action == 3 {
        return Ok(reservations.clear(nexus, keys.reservation)?);
    }
    let byte = context.cdb().byte(2);
    let kind = ReservationType::from_code(byte & 0x0f);
    let kind = kind.filter(|_| byte >> 4 == 0).ok_or(Sense::invalid_field_in_cdb(2, Some(7)));
    match action {
        1 => reservations.reserve_persistent(nexus, keys.reservation, kind?)?,
        2 => return Ok(reservations.release(nexus, keys.reservation, kind?)?),
        _ => return Ok(reservations.preempt(nexus, keys, kind?, action == 5)?),
    }
    Ok(Effects::default())
}

fn register_and_move(context: &Context<'_>, reservations: &mut Reservations) -> Result<Effects, Failure> {
    let list = context.data_out();
    let flags = list[17];
    let relative_port = u16::from_be_bytes([list[18], list[19]]);
    let mut take = Take::new(&list[20..]);
    let stated = take.u32().ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    if stated as usize != take.rest().len() {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let initiator = decode_transport_id(&mut take).ok_or(Sense::invalid_field_in_parameter_list(24, None))?;
    let to = PortPair { initiator, relative_port };
    let persist = flags & APTPL != 0;
    if persist && context.device().store().is_none() {
        return Err(Sense::invalid_field_in_parameter_list(17, Some(0)).into());
    }
    let number = context.device().nexus_of(&to);
    let unregister = flags & 0x02 != 0;
    let moved = reservations.register_and_move(
        context.nexus().id,
        keys(list),
        (&to, number),
        (unregister, persist),
    )?;
    Ok(moved)
}

/// Names a unit's nexuses by their ports; kept beside the only reader.
impl crate::scsi::device::Device {
    /// The nexus with these ports, if it exists and has used the unit.
    fn nexus_of(&self, ports: &PortPair) -> Option<u64> {
        self.itls().iter().find(|itl| *itl.ports == *ports).map(|itl| itl.nexus)
    }

    /// The same initiator port at other target ports.
    fn other_ports(&self, own: &PortPair) -> Vec<PortPair> {
        let mut ports: Vec<PortPair> = self
            .itls()
            .iter()
            .map(|itl| Arc::clone(&itl.ports))
            .filter(|ports| ports.initiator == own.initiator && **ports != *own)
            .map(|ports| PortPair::clone(&ports))
            .collect();
        ports.dedup();
        ports
    }
}
