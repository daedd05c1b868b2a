//! The service actions of PERSISTENT RESERVE OUT (SPC-4, 5.13.5 to 5.13.11).

use crate::scsi::nexus::PortPair;
use crate::scsi::reservation::{
    Effects, REGISTRATION_LIMIT, Refusal, Registration, ReservationType, Reservations,
};
use crate::scsi::sense::Sense;

/// The keys that every action has.
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
    /// SPEC_I_PT was set.
    pub specifies_ports: bool,
    /// Nexuses that SPEC_I_PT names: registered with the first registration of the one that asks, those
    /// that are registered already excepted.
    pub named: Vec<PortPair>,
    /// ALL_TG_PT: the asking initiator port at the other target ports. Each is treated as if it had sent the
    /// same request; where that would be a conflict nothing changes there.
    pub siblings: Vec<PortPair>,
}

/// What REGISTER AND MOVE has besides keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moving {
    /// Who holds the reservation afterwards.
    pub to: PortPair,
    /// UNREG: the registration of the one that asks goes.
    pub unregister: bool,
    /// APTPL.
    pub persist: bool,
}

/// PREEMPT and PREEMPT AND ABORT besides keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preempting {
    /// The new type; `None` when the CDB has no valid scope and type, which matters only to the preemption
    /// of a reservation.
    pub kind: Option<ReservationType>,
    /// PREEMPT AND ABORT.
    pub abort: bool,
}

/// Where the service action reservation key is in the parameter list.
const SERVICE_ACTION_KEY: u16 = 8;

impl Reservations {
    fn position(&self, ports: &PortPair) -> Option<usize> {
        self.registrations.iter().position(|r| r.ports == *ports)
    }

    /// The registration of a nexus that must be registered with this key.
    fn registered(&self, ports: &PortPair, key: u64) -> Result<usize, Refusal> {
        let index = self.position(ports).ok_or(Refusal::Conflict)?;
        if self.registrations[index].key == key { Ok(index) } else { Err(Refusal::Conflict) }
    }

    /// A unit attention for every registrant but one.
    fn tell_others(&self, ports: &PortPair, sense: Sense, effects: &mut Effects) {
        let others = self.registrations.iter().filter(|r| r.ports != *ports);
        effects.attentions.extend(others.map(|r| (r.ports.clone(), sense)));
    }

    fn count_change(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// REGISTER, REGISTER AND IGNORE EXISTING KEY.
    pub fn register(&mut self, ports: &PortPair, keys: Keys, with: &Registering) -> Result<Effects, Refusal> {
        let existing = self.position(ports);
        let known = existing.map_or(0, |index| self.registrations[index].key);
        if !with.ignore_existing && keys.reservation != known {
            return Err(Refusal::Conflict);
        }
        // SPC-4, table of REGISTER behaviors: an unregistered nexus that names no key does nothing.
        if existing.is_none() && keys.service_action == 0 {
            return Ok(Effects::default());
        }
        if existing.is_some() && with.specifies_ports {
            // SPEC_I_PT is for a first registration only (SPC-4, table of REGISTER behaviors).
            return Err(Refusal::Sense(Sense::invalid_field_in_parameter_list(20, Some(3))));
        }
        let named: &[PortPair] = if keys.service_action == 0 { &[] } else { &with.named };
        self.check_room(std::iter::once(ports).chain(&with.siblings).chain(named), keys.service_action)?;
        let mut effects = Effects::default();
        self.register_one(ports, keys.service_action, ports, &mut effects);
        for sibling in &with.siblings {
            let known = self.position(sibling).map_or(0, |index| self.registrations[index].key);
            if with.ignore_existing || keys.reservation == known {
                self.register_one(sibling, keys.service_action, ports, &mut effects);
            }
        }
        for named in named {
            if self.position(named).is_none() {
                self.register_one(named, keys.service_action, ports, &mut effects);
            }
        }
        self.persists = with.persist;
        self.count_change();
        Ok(effects)
    }

    fn check_room<'a>(&self, wanted: impl Iterator<Item = &'a PortPair>, key: u64) -> Result<(), Refusal> {
        let new = wanted.filter(|ports| self.position(ports).is_none()).count();
        if key != 0 && self.registrations.len() + new > REGISTRATION_LIMIT {
            return Err(Refusal::Sense(Sense::INSUFFICIENT_REGISTRATION_RESOURCES));
        }
        Ok(())
    }

    /// Registers, changes the key, or with key 0 unregisters.
    fn register_one(&mut self, ports: &PortPair, key: u64, by: &PortPair, effects: &mut Effects) {
        match (self.position(ports), key) {
            (None, 0) => {}
            (None, key) => {
                let is_holder = self.reservation.is_some_and(ReservationType::is_held_by_all);
                self.registrations.push(Registration { ports: ports.clone(), key, is_holder, nexus: None });
            }
            (Some(index), 0) => self.unregister(index, by, effects),
            (Some(index), key) => self.registrations[index].key = key,
        }
    }

    /// Takes a registration away; with the holder's goes the reservation, unless all registrants hold it and
    /// some are left (SPC-4, 5.13.11.3).
    fn unregister(&mut self, index: usize, by: &PortPair, effects: &mut Effects) {
        let gone = self.registrations.remove(index);
        let Some(kind) = self.reservation else { return };
        let ends = if kind.is_held_by_all() { self.registrations.is_empty() } else { gone.is_holder };
        if ends {
            self.reservation = None;
            if kind.admits_registrants() {
                self.tell_others(by, Sense::RESERVATIONS_RELEASED, effects);
            }
        }
    }

    /// RESERVE: again with the same type is GOOD for a holder.
    pub fn reserve(&mut self, ports: &PortPair, key: u64, kind: ReservationType) -> Result<(), Refusal> {
        let index = self.registered(ports, key)?;
        if let Some(held) = self.reservation {
            let again = held == kind && self.registrations[index].is_holder;
            return if again { Ok(()) } else { Err(Refusal::Conflict) };
        }
        self.hold(ports, kind);
        Ok(())
    }

    fn hold(&mut self, holder: &PortPair, kind: ReservationType) {
        self.reservation = Some(kind);
        for registration in &mut self.registrations {
            registration.is_holder = kind.is_held_by_all() || registration.ports == *holder;
        }
    }

    fn end_reservation(&mut self) {
        self.reservation = None;
        for registration in &mut self.registrations {
            registration.is_holder = false;
        }
    }

    /// RELEASE: without effect for a registrant that does not hold.
    pub fn release(&mut self, ports: &PortPair, key: u64, kind: ReservationType) -> Result<Effects, Refusal> {
        let index = self.registered(ports, key)?;
        let mut effects = Effects::default();
        let Some(held) = self.reservation.filter(|_| self.registrations[index].is_holder) else {
            return Ok(effects);
        };
        if held != kind {
            return Err(Refusal::Sense(Sense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION));
        }
        self.end_reservation();
        if held.admits_registrants() {
            self.tell_others(ports, Sense::RESERVATIONS_RELEASED, &mut effects);
        }
        Ok(effects)
    }

    /// CLEAR.
    pub fn clear(&mut self, ports: &PortPair, key: u64) -> Result<Effects, Refusal> {
        self.registered(ports, key)?;
        let mut effects = Effects::default();
        self.tell_others(ports, Sense::RESERVATIONS_PREEMPTED, &mut effects);
        self.end_reservation();
        self.registrations.clear();
        self.count_change();
        Ok(effects)
    }

    /// PREEMPT and PREEMPT AND ABORT (SPC-4, 5.13.11.4): the reservation changes hands when its holder's key
    /// is named, or 0 while all registrants hold it; else only registrations go. The registration of the one
    /// that asks always stays.
    pub fn preempt(&mut self, ports: &PortPair, keys: Keys, with: Preempting) -> Result<Effects, Refusal> {
        self.registered(ports, keys.reservation)?;
        let victim = keys.service_action;
        let takes = match self.reservation {
            None => false,
            Some(kind) if kind.is_held_by_all() => victim == 0,
            Some(_) => self.registrations.iter().any(|r| r.is_holder && r.key == victim),
        };
        if victim == 0 && !takes {
            return Err(Refusal::Sense(Sense::invalid_field_in_parameter_list(SERVICE_ACTION_KEY, None)));
        }
        if !takes && !self.registrations.iter().any(|r| r.key == victim) {
            return Err(Refusal::Conflict);
        }
        let kind = match (takes, with.kind) {
            (true, None) => return Err(Refusal::Sense(Sense::invalid_field_in_cdb(2, Some(7)))),
            (true, kind) => kind,
            (false, _) => None,
        };
        Ok(self.carry_out_preempt(ports, victim, kind, with.abort))
    }

    fn carry_out_preempt(
        &mut self,
        ports: &PortPair,
        victim: u64,
        takes: Option<ReservationType>,
        abort: bool,
    ) -> Effects {
        let before = self.reservation;
        let mut effects = Effects::default();
        self.registrations.retain(|r| {
            let goes = r.ports != *ports && (victim == 0 || r.key == victim);
            if goes {
                effects.attentions.push((r.ports.clone(), Sense::REGISTRATIONS_PREEMPTED));
                effects.abort.push(r.ports.clone());
            }
            !goes
        });
        if let Some(kind) = takes {
            self.hold(ports, kind);
            if before != Some(kind) {
                self.tell_others(ports, Sense::RESERVATIONS_RELEASED, &mut effects);
            }
        }
        if !abort {
            effects.abort.clear();
        }
        self.count_change();
        effects
    }

    /// REGISTER AND MOVE (SPC-4, 5.13.8): the reservation goes to another nexus, which gets the new key.
    pub fn register_and_move(
        &mut self,
        ports: &PortPair,
        keys: Keys,
        with: &Moving,
    ) -> Result<Effects, Refusal> {
        let from = self.registered(ports, keys.reservation)?;
        let Some(kind) = self.reservation else { return Err(Refusal::Conflict) };
        if kind.is_held_by_all() || !self.registrations[from].is_holder {
            return Err(Refusal::Conflict);
        }
        if keys.service_action == 0 {
            return Err(Refusal::Sense(Sense::invalid_field_in_parameter_list(SERVICE_ACTION_KEY, None)));
        }
        if with.to == *ports {
            return Err(Refusal::Sense(Sense::invalid_field_in_parameter_list(24, None)));
        }
        // A registration that goes makes room for the one that comes.
        if !with.unregister {
            self.check_room(std::iter::once(&with.to), keys.service_action)?;
        }
        let mut effects = Effects::default();
        self.register_one(&with.to, keys.service_action, ports, &mut effects);
        self.hold(&with.to, kind);
        if with.unregister {
            self.registrations.remove(from);
        }
        self.persists = with.persist;
        self.count_change();
        Ok(effects)
    }
}
