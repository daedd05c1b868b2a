//! Reservations: persistent ones (SPC-4, 5.13) and RESERVE and RELEASE (SPC-2), as a pure state machine.
//!
//! A registration belongs to an I_T nexus by name (initiator port and relative target port), so it survives
//! the session; while such a nexus exists its number is kept with the registration, which is what the check
//! of every command compares.
//!
//! Actions answer with the [`Effects`] that the caller carries out: unit attentions, tasks to abort, and
//! whether the saved form has changed.

use crate::scsi::nexus::PortPair;
use crate::scsi::opcode::{Allow, OpCode};
use crate::scsi::sense::Sense;

/// Most registrations of a unit; one more is INSUFFICIENT REGISTRATION RESOURCES.
pub const REGISTRATION_LIMIT: usize = 1024;

/// TYPE of a persistent reservation (SPC-4, 6.15.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReservationType {
    /// 1h.
    WriteExclusive,
    /// 3h.
    ExclusiveAccess,
    /// 5h.
    WriteExclusiveRegistrantsOnly,
    /// 6h.
    ExclusiveAccessRegistrantsOnly,
    /// 7h.
    WriteExclusiveAllRegistrants,
    /// 8h.
    ExclusiveAccessAllRegistrants,
}

impl ReservationType {
    /// The type with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => ReservationType::WriteExclusive,
            3 => ReservationType::ExclusiveAccess,
            5 => ReservationType::WriteExclusiveRegistrantsOnly,
            6 => ReservationType::ExclusiveAccessRegistrantsOnly,
            7 => ReservationType::WriteExclusiveAllRegistrants,
            8 => ReservationType::ExclusiveAccessAllRegistrants,
            _ => return None,
        })
    }

    /// Its code.
    pub fn code(self) -> u8 {
        match self {
            ReservationType::WriteExclusive => 1,
            ReservationType::ExclusiveAccess => 3,
            ReservationType::WriteExclusiveRegistrantsOnly => 5,
            ReservationType::ExclusiveAccessRegistrantsOnly => 6,
            ReservationType::WriteExclusiveAllRegistrants => 7,
            ReservationType::ExclusiveAccessAllRegistrants => 8,
        }
    }

    fn is_all_registrants(self) -> bool {
        matches!(self.code(), 7 | 8)
    }

    fn admits_registrants(self) -> bool {
        self.code() >= 5
    }

    /// What a command needs to be allowed for strangers.
    fn stranger(self) -> Allow {
        match self.code() {
            1 | 5 | 7 => Allow::WRITE_EXCLUSIVE,
            _ => Allow::EXCLUSIVE_ACCESS,
        }
    }
}

/// A registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The I_T nexus by name.
    pub ports: PortPair,
    /// Reservation key, never 0.
    pub key: u64,
    /// Holds the reservation (with the all-registrants types everybody does).
    pub is_holder: bool,
    /// The nexus that exists at the moment.
    pub nexus: Option<u64>,
}

/// What an action wants done besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Unit attentions, by nexus.
    pub attentions: Vec<(u64, Sense)>,
    /// Nexuses whose tasks are aborted (PREEMPT AND ABORT).
    pub abort: Vec<u64>,
}

/// Why an action is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// RESERVATION CONFLICT.
    Conflict,
    /// CHECK CONDITION.
    Sense(Sense),
}

/// Parameters that most actions share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keys {
    /// RESERVATION KEY.
    pub reservation: u64,
    /// SERVICE ACTION RESERVATION KEY.
    pub service_action: u64,
}

/// What REGISTER and REGISTER AND IGNORE EXISTING KEY have besides keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registering {
    /// REGISTER AND IGNORE EXISTING KEY.
    pub ignore_existing: bool,
    /// APTPL: keep over power loss.
    pub persist: bool,
    /// Other nexuses to register too (SPEC_I_PT, ALL_TG_PT).
    pub others: Vec<PortPair>,
}

/// Reservations of a logical unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservations {
    spc2_holder: Option<u64>,
    registrations: Vec<Registration>,
    reservation: Option<ReservationType>,
    generation: u32,
    persists: bool,
}

impl Reservations {
    /// RESERVE (SPC-2). With registrations it is a conflict, except for who may do everything anyway, for
    /// whom it is GOOD without effect (SPC-4, 5.13.3: compatible reservation handling).
    pub fn reserve(&mut self, nexus: u64) -> Result<(), Refusal> {
        if !self.registrations.is_empty() {
            return if self.is_entitled(nexus) { Ok(()) } else { Err(Refusal::Conflict) };
        }
        match self.spc2_holder {
            Some(holder) if holder != nexus => Err(Refusal::Conflict),
            _ => {
                self.spc2_holder = Some(nexus);
                Ok(())
            }
        }
    }

    /// RELEASE (SPC-2): without effect when another nexus, or nobody, holds it.
    pub fn release_spc2(&mut self, nexus: u64) -> Result<(), Refusal> {
        if !self.registrations.is_empty() && !self.is_entitled(nexus) {
            return Err(Refusal::Conflict);
        }
        if self.spc2_holder == Some(nexus) {
            self.spc2_holder = None;
        }
        Ok(())
    }

    /// Holder, or registrant under a type that admits registrants.
    fn is_entitled(&self, nexus: u64) -> bool {
        let Some(kind) = self.reservation else { return false };
        self.registration(nexus).is_some_and(|r| r.is_holder || kind.admits_registrants())
    }

    /// Whether a reservation of another nexus forbids this command.
    pub(crate) fn conflicts(&self, nexus: u64, row: &OpCode) -> bool {
        if self.spc2_holder.is_some_and(|holder| holder != nexus) && !row.allow.has(Allow::RESERVED) {
            return true;
        }
        match self.reservation {
            Some(kind) => !row.allow.has(kind.stranger()) && !self.is_entitled(nexus),
            None => false,
        }
    }

    /// Whether a RESERVE of SPC-2 is held; PERSISTENT RESERVE IN and OUT conflict with it.
    pub fn is_reserved_spc2(&self) -> bool {
        self.spc2_holder.is_some()
    }

    /// The nexus is gone: its SPC-2 reservation goes, its registration stays.
    pub fn nexus_lost(&mut self, nexus: u64) {
        if self.spc2_holder == Some(nexus) {
            self.spc2_holder = None;
        }
        for registration in &mut self.registrations {
            registration.nexus = registration.nexus.filter(|number| *number != nexus);
        }
    }

    /// Logical unit reset: the SPC-2 reservation goes, persistent ones stay.
    pub fn reset(&mut self) {
        self.spc2_holder = None;
    }

    /// A nexus begins to use the unit: its registration, if any, is known by its number again.
    pub fn attach(&mut self, ports: &PortPair, nexus: u64) {
        if let Some(registration) = self.registrations.iter_mut().find(|r| r.ports == *ports) {
            registration.nexus = Some(nexus);
        }
    }

    fn registration(&self, nexus: u64) -> Option<&Registration> {
        self.registrations.iter().find(|r| r.nexus == Some(nexus))
    }

    /// All registrations, in the order they were made.
    pub fn registrations(&self) -> &[Registration] {
        &self.registrations
    }

    /// The reservation in force.
    pub fn reservation(&self) -> Option<ReservationType> {
        self.reservation
    }

    /// PRGENERATION.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// PTPL_A: the registrations are kept over power loss.
    pub fn persists(&self) -> bool {
        self.persists
    }

    fn others(&self, nexus: u64) -> impl Iterator<Item = u64> + '_ {
        self.registrations.iter().filter_map(|r| r.nexus).filter(move |other| *other != nexus)
    }

    /// REGISTER, REGISTER AND IGNORE EXISTING KEY.
    pub fn register(
        &mut self,
        nexus: u64,
        ports: &PortPair,
        keys: Keys,
        with: &Registering,
    ) -> Result<Effects, Refusal> {
        let existing = self.registrations.iter().position(|r| r.ports == *ports);
        let known = existing.map_or(0, |index| self.registrations[index].key);
        if !with.ignore_existing && keys.reservation != known {
            return Err(Refusal::Conflict);
        }
        if existing.is_some() && !with.others.is_empty() {
            // SPEC_I_PT is for a first registration only (SPC-4, 5.13.7).
            return Err(Refusal::Sense(Sense::invalid_field_in_parameter_list(20, Some(3))));
        }
        let mut effects = Effects::default();
        match (existing, keys.service_action) {
            (None, 0) => {}
            (None, key) => self.add(nexus, ports, key, &with.others)?,
            (Some(index), 0) => effects = self.unregister(index, nexus),
            (Some(index), key) => {
                self.registrations[index].key = key;
                self.registrations[index].nexus = Some(nexus);
            }
        }
        self.persists = with.persist;
        self.generation = self.generation.wrapping_add(1);
        Ok(effects)
    }

    fn add(&mut self, nexus: u64, ports: &PortPair, key: u64, others: &[PortPair]) -> Result<(), Refusal> {
        if self.registrations.len() + others.len() >= REGISTRATION_LIMIT {
            return Err(Refusal::Sense(Sense::INSUFFICIENT_REGISTRATION_RESOURCES));
        }
        let holds = self.reservation.is_some_and(ReservationType::is_all_registrants);
        let new =
            |ports: &PortPair, nexus| Registration { ports: ports.clone(), key, is_holder: holds, nexus };
        if others.iter().any(|other| self.registrations.iter().any(|r| r.ports == *other)) {
            return Err(Refusal::Sense(Sense::invalid_field_in_parameter_list(24, None)));
        }
        self.registrations.push(new(ports, Some(nexus)));
        for other in others {
            if !self.registrations.iter().any(|r| r.ports == *other) {
                self.registrations.push(new(other, None));
            }
        }
        Ok(())
    }

    /// Takes a registration away; with the holder's goes the reservation, unless all registrants hold it and
    /// some are left.
    fn unregister(&mut self, index: usize, by: u64) -> Effects {
        let gone = self.registrations.remove(index);
        let mut effects = Effects::default();
        let Some(kind) = self.reservation else { return effects };
        let ends = if kind.is_all_registrants() { self.registrations.is_empty() } else { gone.is_holder };
        if ends {
            self.reservation = None;
            if kind.admits_registrants() {
                effects.attentions =
                    self.others(by).map(|other| (other, Sense::RESERVATIONS_RELEASED)).collect();
            }
        }
        effects
    }

    /// The registration of a nexus that must be registered with this key.
    fn registered(&self, nexus: u64, key: u64) -> Result<usize, Refusal> {
        let index =
            self.registrations.iter().position(|r| r.nexus == Some(nexus)).ok_or(Refusal::Conflict)?;
        if self.registrations[index].key == key { Ok(index) } else { Err(Refusal::Conflict) }
    }

    /// RESERVE.
    pub fn reserve_persistent(&mut self, nexus: u64, key: u64, kind: ReservationType) -> Result<(), Refusal> {
        let index = self.registered(nexus, key)?;
        if let Some(held) = self.reservation {
            let again = held == kind && self.registrations[index].is_holder;
            return if again { Ok(()) } else { Err(Refusal::Conflict) };
        }
        self.hold(index, kind);
        Ok(())
    }

    fn hold(&mut self, holder: usize, kind: ReservationType) {
        self.reservation = Some(kind);
        for (index, registration) in self.registrations.iter_mut().enumerate() {
            registration.is_holder = kind.is_all_registrants() || index == holder;
        }
    }

    fn drop_reservation(&mut self) {
        self.reservation = None;
        for registration in &mut self.registrations {
            registration.is_holder = false;
        }
    }

    /// RELEASE.
    pub fn release(&mut self, nexus: u64, key: u64, kind: ReservationType) -> Result<Effects, Refusal> {
        let index = self.registered(nexus, key)?;
        let Some(held) = self.reservation else { return Ok(Effects::default()) };
        if !self.registrations[index].is_holder {
            return Ok(Effects::default());
        }
        if held != kind {
            return Err(Refusal::Sense(Sense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION));
        }
        self.drop_reservation();
        let tells = held.admits_registrants();
        let attentions = if tells { self.others(nexus).collect() } else { Vec::new() };
        let attentions = attentions.into_iter().map(|other| (other, Sense::RESERVATIONS_RELEASED)).collect();
        Ok(Effects { attentions, abort: Vec::new() })
    }

    /// CLEAR.
    pub fn clear(&mut self, nexus: u64, key: u64) -> Result<Effects, Refusal> {
        self.registered(nexus, key)?;
        let attentions = self.others(nexus).map(|other| (other, Sense::RESERVATIONS_PREEMPTED)).collect();
        self.drop_reservation();
        self.registrations.clear();
        self.generation = self.generation.wrapping_add(1);
        Ok(Effects { attentions, abort: Vec::new() })
    }

    /// PREEMPT and PREEMPT AND ABORT (SPC-4, 5.13.11.4).
    pub fn preempt(
        &mut self,
        nexus: u64,
        keys: Keys,
        kind: ReservationType,
        abort: bool,
    ) -> Result<Effects, Refusal> {
        self.registered(nexus, keys.reservation)?;
        let victim_key = keys.service_action;
        let all = self.reservation.is_some_and(ReservationType::is_all_registrants);
        let holder_key = self.registrations.iter().find(|r| r.is_holder).map(|r| r.key);
        let takes = match (self.reservation, all) {
            (None, _) => false,
            (Some(_), true) => victim_key == 0,
            (Some(_), false) => holder_key == Some(victim_key),
        };
        if victim_key == 0 && !(all && takes) {
            return Err(Refusal::Sense(Sense::invalid_field_in_parameter_list(8, None)));
        }
        let removes = |r: &Registration| r.nexus != Some(nexus) && (victim_key == 0 || r.key == victim_key);
        let matches_own = self.registration(nexus).is_some_and(|r| r.key == victim_key);
        if !takes && !matches_own && !self.registrations.iter().any(removes) {
            return Err(Refusal::Conflict);
        }
        Ok(self.carry_out_preempt(nexus, victim_key, takes.then_some(kind), abort))
    }

    fn carry_out_preempt(
        &mut self,
        nexus: u64,
        victim_key: u64,
        takes: Option<ReservationType>,
        abort: bool,
    ) -> Effects {
        let before = self.reservation;
        let mut effects = Effects::default();
        self.registrations.retain(|r| {
            let goes = r.nexus != Some(nexus) && (victim_key == 0 || r.key == victim_key);
            if let (true, Some(number)) = (goes, r.nexus) {
                effects.attentions.push((number, Sense::REGISTRATIONS_PREEMPTED));
                effects.abort.push(number);
            }
            !goes
        });
        if let Some(kind) = takes {
            let own = self.registrations.iter().position(|r| r.nexus == Some(nexus)).unwrap_or(0);
            self.hold(own, kind);
            if before != Some(kind) && before.is_some_and(ReservationType::admits_registrants) {
                let told: Vec<u64> = self.others(nexus).collect();
                effects
                    .attentions
                    .extend(told.into_iter().map(|other| (other, Sense::RESERVATIONS_RELEASED)));
            }
        }
        if !abort {
            effects.abort.clear();
        }
        self.generation = self.generation.wrapping_add(1);
        effects
    }

    /// REGISTER AND MOVE: the reservation goes to another nexus, by name.
    pub fn register_and_move(
        &mut self,
        nexus: u64,
        keys: Keys,
        to: (&PortPair, Option<u64>),
        (unregister, persist): (bool, bool),
    ) -> Result<Effects, Refusal> {
        let from = self.registered(nexus, keys.reservation)?;
        let Some(kind) = self.reservation else { return Err(Refusal::Conflict) };
        if kind.is_all_registrants() || !self.registrations[from].is_holder {
            return Err(Refusal::Conflict);
        }
        if keys.service_action == 0 || self.registrations[from].ports == *to.0 {
            return Err(Refusal::Sense(Sense::INVALID_FIELD_IN_PARAMETER_LIST));
        }
        let key = keys.service_action;
        let at = match self.registrations.iter().position(|r| r.ports == *to.0) {
            Some(index) => {
                self.registrations[index].key = key;
                index
            }
            None if self.registrations.len() >= REGISTRATION_LIMIT => {
                return Err(Refusal::Sense(Sense::INSUFFICIENT_REGISTRATION_RESOURCES));
            }
            None => {
                let ports = to.0.clone();
                self.registrations.push(Registration { ports, key, is_holder: false, nexus: to.1 });
                self.registrations.len() - 1
            }
        };
        self.hold(at, kind);
        if unregister {
            self.registrations.remove(from);
        }
        self.persists = persist;
        self.generation = self.generation.wrapping_add(1);
        Ok(Effects::default())
    }

    /// The state to keep, or nothing when APTPL is off or nobody is registered.
    pub fn saved(&self) -> Vec<u8> {
        if !self.persists || self.registrations.is_empty() {
            return Vec::new();
        }
        let mut text = format!("version 1\ngeneration {}\n", self.generation);
        if let Some(kind) = self.reservation {
            text.push_str(&format!("reservation {}\n", kind.code()));
        }
        for r in &self.registrations {
            let isid: String = r.ports.initiator.isid.iter().map(|byte| format!("{byte:02x}")).collect();
            let holds = u8::from(r.is_holder);
            let port = r.ports.relative_port;
            let name = &r.ports.initiator.name;
            text.push_str(&format!("registrant {port} {:016x} {holds} {isid} {name}\n", r.key));
        }
        text.into_bytes()
    }

    /// What [`Reservations::saved`] wrote; `None` when it is not that.
    pub fn restore(saved: &[u8]) -> Option<Self> {
        let mut state = Reservations { persists: true, ..Self::default() };
        let mut lines = std::str::from_utf8(saved).ok()?.lines();
        if lines.next()? != "version 1" {
            return None;
        }
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["generation", number] => state.generation = number.parse().ok()?,
                ["reservation", code] => {
                    state.reservation = Some(ReservationType::from_code(code.parse().ok()?)?);
                }
                ["registrant", port, key, holds, isid, name] => {
                    state.registrations.push(restored(port, key, holds, isid, name)?);
                }
                _ => return None,
            }
        }
        let holders = state.registrations.iter().filter(|r| r.is_holder).count();
        let fits = match state.reservation {
            None => holders == 0,
            Some(kind) if kind.is_all_registrants() => holders == state.registrations.len(),
            Some(_) => holders == 1,
        };
        (fits && state.registrations.len() <= REGISTRATION_LIMIT).then_some(state)
    }
}

fn restored(port: &str, key: &str, holds: &str, isid: &str, name: &str) -> Option<Registration> {
    let isid = u64::from_str_radix(isid, 16).ok().filter(|_| isid.len() == 12)?.to_be_bytes();
    let mut bytes = [0; 6];
    bytes.copy_from_slice(&isid[2..]);
    Some(Registration {
        ports: PortPair {
            initiator: crate::scsi::nexus::TransportId { name: name.to_owned(), isid: bytes },
            relative_port: port.parse().ok()?,
        },
        key: u64::from_str_radix(key, 16).ok().filter(|key| *key != 0)?,
        is_holder: holds == "1",
        nexus: None,
    })
}
