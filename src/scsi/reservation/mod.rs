//! Reservations: persistent ones (SPC-4, 5.13) and RESERVE and RELEASE (SPC-2), as a pure state machine.
//!
//! A registration belongs to an I_T nexus by name (initiator port and relative target port), so it survives
//! the session; every action names nexuses so. While such a nexus exists its number is kept with the
//! registration, which is all that the check of every command compares.
//!
//! Actions ([`actions`]) work on a copy that is saved before it takes effect, and answer with the
//! [`Effects`] that the caller carries out then: unit attentions and tasks to abort.

pub mod actions;
pub mod saved;

use crate::scsi::cdb::Cdb;
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

/// A type: its code, what it asks of a stranger's command, who may do everything, who holds it.
struct TypeRow {
    kind: ReservationType,
    code: u8,
    stranger: Allow,
    admits_registrants: bool,
    is_held_by_all: bool,
}

const fn row(kind: ReservationType, code: u8, stranger: Allow, admits: bool, by_all: bool) -> TypeRow {
    TypeRow { kind, code, stranger, admits_registrants: admits, is_held_by_all: by_all }
}

static TYPES: [TypeRow; 6] = [
    row(ReservationType::WriteExclusive, 1, Allow::WRITE_EXCLUSIVE, false, false),
    row(ReservationType::ExclusiveAccess, 3, Allow::EXCLUSIVE_ACCESS, false, false),
    row(ReservationType::WriteExclusiveRegistrantsOnly, 5, Allow::WRITE_EXCLUSIVE, true, false),
    row(ReservationType::ExclusiveAccessRegistrantsOnly, 6, Allow::EXCLUSIVE_ACCESS, true, false),
    row(ReservationType::WriteExclusiveAllRegistrants, 7, Allow::WRITE_EXCLUSIVE, true, true),
    row(ReservationType::ExclusiveAccessAllRegistrants, 8, Allow::EXCLUSIVE_ACCESS, true, true),
];

impl ReservationType {
    /// The type with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        TYPES.iter().find(|row| row.code == code).map(|row| row.kind)
    }

    fn row(self) -> &'static TypeRow {
        TYPES.iter().find(|row| row.kind == self).unwrap_or(&TYPES[0])
    }

    /// Its code.
    pub fn code(self) -> u8 {
        self.row().code
    }

    /// Whether every registrant holds it.
    pub fn is_held_by_all(self) -> bool {
        self.row().is_held_by_all
    }

    /// Whether a registrant may do what the holder may.
    pub fn admits_registrants(self) -> bool {
        self.row().admits_registrants
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

/// What an action wants done besides, by name of the nexus; one that does not exist is passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Unit attentions.
    pub attentions: Vec<(PortPair, Sense)>,
    /// Nexuses whose tasks are aborted (PREEMPT AND ABORT).
    pub abort: Vec<PortPair>,
}

/// Why an action is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// RESERVATION CONFLICT.
    Conflict,
    /// CHECK CONDITION.
    Sense(Sense),
}

/// Reservations of a logical unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)] // What every command looks at comes first.
pub struct Reservations {
    spc2_holder: Option<u64>,
    reservation: Option<ReservationType>,
    persists: bool,
    generation: u32,
    registrations: Vec<Registration>,
}

impl Reservations {
    /// RESERVE (SPC-2). With registrations it is a conflict, except for who may do everything anyway, for
    /// whom it is GOOD without effect (SPC-4, 5.13.3: compatible reservation handling).
    pub fn reserve_spc2(&mut self, nexus: u64) -> Result<(), Refusal> {
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
        self.nexus_reset(nexus);
        Ok(())
    }

    /// Holder, or registrant under a type that admits registrants.
    fn is_entitled(&self, nexus: u64) -> bool {
        let Some(kind) = self.reservation else { return false };
        self.registrations
            .iter()
            .find(|r| r.nexus == Some(nexus))
            .is_some_and(|r| r.is_holder || kind.admits_registrants())
    }

    /// Whether a reservation of another nexus forbids this command.
    #[inline]
    pub(crate) fn conflicts(&self, nexus: u64, row: &OpCode, cdb: &Cdb) -> bool {
        (self.spc2_holder.is_some() || self.reservation.is_some()) && self.conflict(nexus, row, cdb)
    }

    fn conflict(&self, nexus: u64, row: &OpCode, cdb: &Cdb) -> bool {
        if self.spc2_holder.is_some_and(|holder| holder != nexus) && !row.allow.has(Allow::RESERVED) {
            return true;
        }
        match self.reservation {
            Some(kind) => {
                let allow = row.allow.and((row.allow_also)(cdb));
                !allow.has(kind.row().stranger) && !self.is_entitled(nexus)
            }
            None => false,
        }
    }

    /// Whether a RESERVE of SPC-2 is held; PERSISTENT RESERVE IN and OUT conflict with it.
    pub fn is_reserved_spc2(&self) -> bool {
        self.spc2_holder.is_some()
    }

    /// The nexus is gone: its SPC-2 reservation goes, its registration stays.
    pub fn nexus_lost(&mut self, nexus: u64) {
        self.nexus_reset(nexus);
        for registration in &mut self.registrations {
            registration.nexus = registration.nexus.filter(|number| *number != nexus);
        }
    }

    /// I_T NEXUS RESET: the nexus goes on, without its SPC-2 reservation.
    pub fn nexus_reset(&mut self, nexus: u64) {
        self.spc2_holder = self.spc2_holder.filter(|holder| *holder != nexus);
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
}
