//! PERSISTENT RESERVE IN and OUT (SPC-4, 6.15 and 6.16): bytes in front of [`crate::scsi::reservation`].
//!
//! PERSISTENT RESERVE OUT runs one at a time in the unit ([`Order::Exclusive`]): it works on a copy of the
//! state, which is saved, then takes effect.

mod input;

use std::sync::{Arc, PoisonError};

use crate::bytes::Take;
use crate::scsi::Status;
use crate::scsi::cdb::{Field, field};
use crate::scsi::device::Device;
use crate::scsi::itl::Itl;
use crate::scsi::nexus::PortPair;
use crate::scsi::opcode::{Allow, CONTROL, Data, OpCode, Order, Run, Transfer, Types};
use crate::scsi::reservation::actions::{Keys, Moving, Preempting, Registering};
use crate::scsi::reservation::{Effects, ReservationType, Reservations};
use crate::scsi::sense::Sense;
use crate::scsi::store::StateError;
use crate::scsi::target;
use crate::scsi::task::{Context, Failure};
use crate::scsi::transport_id::{Named, decode};

pub(crate) use input::{READ_FULL_STATUS, READ_KEYS, READ_RESERVATION, REPORT_CAPABILITIES};

/// Under which name registrations are saved.
pub(crate) const SAVED_AS: &str = "pr";

const LENGTH: Field = field(5, 4);

const OUT: OpCode = OpCode {
    opcode: 0x5f,
    types: Types::ALL,
    usage: &[0, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, CONTROL],
    data: Data::Custom(|cdb, _| Transfer { data_in: 0, data_out: cdb.get(LENGTH).min(MAX_LIST) }),
    allow: Allow::PERSISTENT_RESERVATION.and(Allow::NO_MEDIUM).and(Allow::STANDBY),
    order: Order::Exclusive,
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

/// SPEC_I_PT, ALL_TG_PT and APTPL in byte 20 of the parameter list.
const SPEC_I_PT: u8 = 0x08;
const ALL_TG_PT: u8 = 0x04;
const APTPL: u8 = 0x01;

/// Length of the parameter list without TransportIDs.
const PLAIN: usize = 24;

fn reserve_out(context: &mut Context<'_>) -> Result<(), Failure> {
    let length = context.cdb().get(LENGTH);
    let list = context.data_out();
    if length > MAX_LIST || (list.len() as u64) < length || list.len() < PLAIN {
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

/// What is kept is written before anybody sees the new state: a crash leaves the old or the new. Nexuses that
/// have come since the copy was made find their registrations.
fn commit(context: &Context<'_>, mut reservations: Reservations) -> Result<(), Failure> {
    let device = context.device();
    let (before, after) = (device.state().reservations.saved(), reservations.saved());
    if before != after {
        if let Some(store) = device.store() {
            store
                .save(device.name(), SAVED_AS, &after)
                .map_err(|_| Failure::Sense(Sense::INTERNAL_TARGET_FAILURE))?;
        }
    }
    let mut state = device.state();
    for itl in device.itls() {
        reservations.attach(&itl.ports, itl.nexus);
    }
    state.reservations = reservations;
    Ok(())
}

/// The nexuses named that exist. A session that has ended may still be among them; it does no harm.
fn existing<'a>(itls: &'a [Arc<Itl>], ports: &'a PortPair) -> impl Iterator<Item = &'a Arc<Itl>> {
    itls.iter().filter(move |itl| *itl.ports == *ports)
}

/// The command ends when the tasks that it aborts have come back (SPC-4, 5.13.11.5).
fn carry_out(context: &mut Context<'_>, effects: &Effects) {
    let device = Arc::clone(context.device());
    let itls = device.itls();
    for ports in &effects.abort {
        for itl in existing(&itls, ports) {
            target::preempt_tasks(itl, context.task);
        }
    }
    for (ports, sense) in &effects.attentions {
        existing(&itls, ports).for_each(|itl| itl.attention(*sense));
    }
}

fn check_persistence(context: &Context<'_>, persist: bool, byte: u16) -> Result<(), Failure> {
    if persist && context.device().store().is_none() {
        return Err(Sense::invalid_field_in_parameter_list(byte, Some(0)).into());
    }
    Ok(())
}

fn register(
    context: &Context<'_>,
    reservations: &mut Reservations,
    ignore_existing: bool,
) -> Result<Effects, Failure> {
    let list = context.data_out();
    let flags = list[20];
    let (specifies_ports, persist) = (flags & SPEC_I_PT != 0, flags & APTPL != 0);
    check_specified(list, !ignore_existing)?;
    check_persistence(context, persist, 20)?;
    let own = context.nexus().ports();
    let all = if flags & ALL_TG_PT != 0 { context.device().target_ports() } else { Vec::new() };
    let named = if specifies_ports {
        named_ports(context.device(), list, own.relative_port, &all)?
    } else {
        Vec::new()
    };
    let siblings = all
        .into_iter()
        .filter(|port| *port != own.relative_port)
        .map(|relative_port| PortPair { initiator: own.initiator.clone(), relative_port })
        .collect();
    let with = Registering { ignore_existing, persist, specifies_ports, named, siblings };
    Ok(reservations.register(&own, keys(list), &with)?)
}

/// TransportIDs come with SPEC_I_PT, and SPEC_I_PT with REGISTER alone.
fn check_specified(list: &[u8], may_specify: bool) -> Result<(), Failure> {
    match (list[20] & SPEC_I_PT != 0, may_specify) {
        (true, false) => Err(Sense::invalid_field_in_parameter_list(20, Some(3)).into()),
        (false, _) if list.len() != PLAIN => Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into()),
        _ => Ok(()),
    }
}

/// The additional TransportIDs of SPEC_I_PT, at the port asked or at all: every length is checked against
/// what was received, and one that names nothing fails the command.
fn named_ports(device: &Device, list: &[u8], port: u16, all: &[u16]) -> Result<Vec<PortPair>, Failure> {
    let mut take = Take::new(&list[PLAIN..]);
    let stated = take.u32().ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    if stated as usize != take.rest().len() {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let here = [port];
    let at = if all.is_empty() { &here } else { all };
    let mut ports: Vec<PortPair> = Vec::new();
    while !take.rest().is_empty() {
        let offset = u16::try_from(list.len() - take.rest().len()).unwrap_or(u16::MAX);
        let wrong = Sense::invalid_field_in_parameter_list(offset, None);
        let initiators = match decode(&mut take).ok_or(wrong)? {
            Named::Port(initiator) => vec![initiator],
            Named::Device(name) => device.initiator_ports(&name),
        };
        if initiators.is_empty() {
            return Err(wrong.into());
        }
        for initiator in initiators {
            for relative_port in at {
                let pair = PortPair { initiator: initiator.clone(), relative_port: *relative_port };
                if !ports.contains(&pair) {
                    ports.push(pair);
                }
            }
        }
    }
    Ok(ports)
}

/// RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT AND ABORT: scope and type are in byte 2 of the CDB.
fn change(context: &Context<'_>, reservations: &mut Reservations, action: u8) -> Result<Effects, Failure> {
    let list = context.data_out();
    check_specified(list, false)?;
    let (ports, keys) = (context.nexus().ports(), keys(list));
    let byte = context.cdb().byte(2);
    let kind = ReservationType::from_code(byte & 0x0f).filter(|_| byte >> 4 == 0);
    let wanted = kind.ok_or(Sense::invalid_field_in_cdb(2, Some(7)));
    Ok(match action {
        1 => {
            reservations.reserve(&ports, keys.reservation, wanted?)?;
            Effects::default()
        }
        2 => reservations.release(&ports, keys.reservation, wanted?)?,
        3 => reservations.clear(&ports, keys.reservation)?,
        _ => reservations.preempt(&ports, keys, Preempting { kind, abort: action == 5 })?,
    })
}

fn register_and_move(context: &Context<'_>, reservations: &mut Reservations) -> Result<Effects, Failure> {
    let list = context.data_out();
    let flags = list[17];
    let (unregister, persist) = (flags & 0x02 != 0, flags & APTPL != 0);
    let relative_port = u16::from_be_bytes([list[18], list[19]]);
    let mut take = Take::new(&list[20..]);
    let stated = take.u32().ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    if stated as usize != take.rest().len() {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let initiator = decode(&mut take).and_then(Named::port).filter(|_| take.rest().is_empty());
    let initiator = initiator.ok_or(Sense::invalid_field_in_parameter_list(24, None))?;
    if !context.device().target_ports().contains(&relative_port) {
        return Err(Sense::invalid_field_in_parameter_list(18, None).into());
    }
    check_persistence(context, persist, 17)?;
    let with = Moving { to: PortPair { initiator, relative_port }, unregister, persist };
    Ok(reservations.register_and_move(&context.nexus().ports(), keys(list), &with)?)
}

impl Device {
    /// Reservations and registrations as SCST's `pr_state` shows them.
    pub fn reservations_text(&self) -> String {
        self.state().reservations.text()
    }

    /// Puts a state that was shown before in the place of the present one, keeping it over a restart when it
    /// says so. Errors are errno.
    pub fn restore_reservations(&self, mut state: Reservations) -> Result<(), i32> {
        if let Some(store) = self.store() {
            store.save(self.name(), SAVED_AS, &state.saved())?;
        }
        for itl in self.itls() {
            state.attach(&itl.ports, itl.nexus);
        }
        self.state().reservations = state;
        Ok(())
    }
}

impl Device {
    /// Takes reservations and registrations from the place where they are kept now, after that has become
    /// another one; where nothing is kept, the present ones are. Answers the former ones. While sessions use
    /// the unit it is refused, errno being EBUSY.
    pub fn reload_reservations(&self) -> Result<Reservations, StateError> {
        let failed = |errno| StateError::Unreadable { kind: SAVED_AS, errno };
        let store = self.store().ok_or(failed(libc::EOPNOTSUPP))?;
        let kept = store.load(self.name(), SAVED_AS).map_err(failed)?;
        let kept = kept.map(|bytes| Reservations::restore(&bytes)).transpose();
        let kept = kept.map_err(StateError::Reservations)?;
        if kept.is_none() {
            let saved = self.state().reservations.saved();
            store.save(self.name(), SAVED_AS, &saved).map_err(failed)?;
        }
        let mut state = self.state();
        if !self.itls().is_empty() {
            return Err(failed(libc::EBUSY));
        }
        let next = kept.unwrap_or_else(|| state.reservations.clone());
        Ok(std::mem::replace(&mut state.reservations, next))
    }
}

/// Knows the target ports of the target device; implemented by the model.
pub trait TargetPorts: Send + Sync {
    /// Relative target port identifiers of every port that leads, or may lead, to `device`. Called on a
    /// worker with no lock held; may block.
    fn target_ports(&self, device: &str) -> Vec<u16>;
}

/// What the parameter lists name; kept beside the only reader.
impl Device {
    /// Who knows the target ports of this unit. Without anybody, those count that initiators have used and
    /// those of the target port groups.
    pub fn set_target_ports(&self, ports: Option<Arc<dyn TargetPorts>>) {
        *self.ports.lock().unwrap_or_else(PoisonError::into_inner) = ports;
    }

    /// Relative identifiers of all target ports of this unit, those on other machines included, ascending.
    fn target_ports(&self) -> Vec<u16> {
        let source = self.ports.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut ports = source.map_or(Vec::new(), |source| source.target_ports(self.name()));
        ports.extend(self.itls().iter().map(|itl| itl.ports.relative_port));
        ports.extend(self.target_port_groups().groups().flat_map(|group| group.ports.clone()));
        ports.retain(|port| *port != 0);
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The ports of an initiator device that have used the unit.
    fn initiator_ports(&self, name: &str) -> Vec<crate::scsi::nexus::TransportId> {
        let itls = self.itls();
        let of_device = itls.iter().filter(|itl| itl.ports.initiator.name == name);
        let mut ports: Vec<_> = of_device.map(|itl| itl.ports.initiator.clone()).collect();
        ports.dedup();
        ports
    }
}
