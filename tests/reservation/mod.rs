//! Persistent reservations as SPC-4 (5.13) has them, written from the standard and not from the target:
//! nexuses are numbers, a key of 0 is no registration, the reservation names its holder or everybody.
#![allow(dead_code)] // Each test uses a part.

/// Nexuses of the world: initiators A and B, each at target ports 1 and 2.
pub const NEXUSES: usize = 4;
/// Types that there are.
pub const TYPES: [u8; 6] = [1, 3, 5, 6, 7, 8];

pub const RESERVATIONS_PREEMPTED: u16 = 0x2a03;
pub const RESERVATIONS_RELEASED: u16 = 0x2a04;
pub const REGISTRATIONS_PREEMPTED: u16 = 0x2a05;

/// Initiator and relative target port of a nexus.
pub fn ends(nexus: usize) -> (usize, u16) {
    (nexus / 2, if nexus % 2 == 0 { 1 } else { 2 })
}

/// The same initiator port at the other target port.
pub fn sibling(nexus: usize) -> usize {
    nexus ^ 1
}

/// The other initiator port at the same target port.
pub fn neighbour(nexus: usize) -> usize {
    nexus ^ 2
}

/// A PERSISTENT RESERVE OUT command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `ignore`: REGISTER AND IGNORE EXISTING KEY. SPEC_I_PT names the neighbour.
    Register {
        rk: u64,
        sark: u64,
        ignore: bool,
        all_tg_pt: bool,
        spec_i_pt: bool,
        aptpl: bool,
    },
    Reserve {
        rk: u64,
        kind: u8,
    },
    Release {
        rk: u64,
        kind: u8,
    },
    Clear {
        rk: u64,
    },
    Preempt {
        rk: u64,
        sark: u64,
        kind: u8,
        abort: bool,
    },
    Move {
        rk: u64,
        sark: u64,
        to: usize,
        unreg: bool,
        aptpl: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Good,
    Conflict,
    /// CHECK CONDITION, ILLEGAL REQUEST, with this additional sense code.
    Illegal(u16),
}

/// What a command does besides changing the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: Status,
    /// Unit attentions established, by nexus, sorted.
    pub attentions: Vec<(usize, u16)>,
    /// Nexuses whose commands are aborted, sorted.
    pub aborted: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    Nobody,
    /// By one nexus, with this type.
    By(usize, u8),
    /// By every registrant.
    ByAll(u8),
}

/// The state of a logical unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Model {
    pub keys: [u64; NEXUSES],
    pub held: Held,
    pub aptpl: bool,
    pub generation: u32,
}

type Refused = Result<(), Status>;

impl Model {
    pub fn new() -> Self {
        Model { keys: [0; NEXUSES], held: Held::Nobody, aptpl: false, generation: 0 }
    }

    fn is_registered(&self, nexus: usize) -> bool {
        self.keys[nexus] != 0
    }

    fn registrants(&self) -> impl Iterator<Item = usize> + '_ {
        (0..NEXUSES).filter(|nexus| self.is_registered(*nexus))
    }

    fn with_key(&self, key: u64) -> Vec<usize> {
        self.registrants().filter(|nexus| self.keys[*nexus] == key).collect()
    }

    pub fn is_holder(&self, nexus: usize) -> bool {
        match self.held {
            Held::Nobody => false,
            Held::By(holder, _) => holder == nexus,
            Held::ByAll(_) => self.is_registered(nexus),
        }
    }

    pub fn kind(&self) -> Option<u8> {
        match self.held {
            Held::Nobody => None,
            Held::By(_, kind) | Held::ByAll(kind) => Some(kind),
        }
    }

    /// Whether a READ, or a WRITE, of this nexus goes through.
    pub fn allows(&self, nexus: usize, writes: bool) -> bool {
        let Some(kind) = self.kind() else { return true };
        let only_writes_are_exclusive = matches!(kind, 1 | 5 | 7);
        let registrants_are_admitted = kind >= 5;
        self.is_holder(nexus)
            || (registrants_are_admitted && self.is_registered(nexus))
            || (only_writes_are_exclusive && !writes)
    }

    fn established(kind: u8, by: usize) -> Held {
        if matches!(kind, 7 | 8) { Held::ByAll(kind) } else { Held::By(by, kind) }
    }

    /// Carries an action out for nexus `who`; a refusal leaves everything as it was.
    pub fn step(&mut self, who: usize, action: &Action) -> Outcome {
        let before = *self;
        let mut outcome = Outcome { status: Status::Good, attentions: Vec::new(), aborted: Vec::new() };
        let done = match *action {
            Action::Register { .. } => self.register(who, action, &mut outcome),
            Action::Reserve { rk, kind } => self.reserve(who, rk, kind),
            Action::Release { rk, kind } => self.release(who, rk, kind, &mut outcome),
            Action::Clear { rk } => self.clear(who, rk, &mut outcome),
            Action::Preempt { .. } => self.preempt(who, action, &mut outcome),
            Action::Move { .. } => self.move_reservation(who, action),
        };
        if let Err(status) = done {
            *self = before;
            return Outcome { status, attentions: Vec::new(), aborted: Vec::new() };
        }
        outcome.attentions.sort_unstable();
        outcome.aborted.sort_unstable();
        outcome
    }

    fn tell(&self, except: usize, code: u16, outcome: &mut Outcome) {
        outcome.attentions.extend(self.registrants().filter(|n| *n != except).map(|n| (n, code)));
    }

    /// 5.13.7 with the tables of REGISTER and REGISTER AND IGNORE EXISTING KEY behaviors.
    fn register(&mut self, who: usize, action: &Action, outcome: &mut Outcome) -> Refused {
        let Action::Register { rk, sark, ignore, all_tg_pt, spec_i_pt, aptpl } = *action else {
            unreachable!()
        };
        if spec_i_pt && ignore {
            return Err(Status::Illegal(0x2600));
        }
        if !ignore && rk != self.keys[who] {
            return Err(Status::Conflict);
        }
        if spec_i_pt && self.is_registered(who) {
            return Err(Status::Illegal(0x2600));
        }
        // Table of REGISTER behaviors: do nothing except return GOOD status.
        if !self.is_registered(who) && sark == 0 {
            return Ok(());
        }
        self.register_one(who, sark, who, outcome);
        let other = sibling(who);
        if all_tg_pt && (ignore || self.keys[other] == rk) {
            self.register_one(other, sark, who, outcome);
        }
        if spec_i_pt && sark != 0 {
            let named = neighbour(who);
            for nexus in [Some(named), all_tg_pt.then(|| sibling(named))].into_iter().flatten() {
                if !self.is_registered(nexus) {
                    self.keys[nexus] = sark;
                }
            }
        }
        self.aptpl = aptpl;
        self.generation += 1;
        Ok(())
    }

    fn register_one(&mut self, nexus: usize, key: u64, by: usize, outcome: &mut Outcome) {
        let was_holder = self.is_holder(nexus);
        self.keys[nexus] = key;
        if key != 0 || !was_holder {
            return;
        }
        // 5.13.11.3: the reservation goes with its holder, or with the last of all registrants.
        match self.held {
            Held::By(_, kind) => {
                self.held = Held::Nobody;
                if matches!(kind, 5 | 6) {
                    self.tell(by, RESERVATIONS_RELEASED, outcome);
                }
            }
            Held::ByAll(_) if self.registrants().next().is_none() => self.held = Held::Nobody,
            _ => {}
        }
    }

    fn check_registered(&self, who: usize, rk: u64) -> Refused {
        if self.is_registered(who) && self.keys[who] == rk { Ok(()) } else { Err(Status::Conflict) }
    }

    /// 5.13.9.
    fn reserve(&mut self, who: usize, rk: u64, kind: u8) -> Refused {
        self.check_kind(kind)?;
        self.check_registered(who, rk)?;
        match self.kind() {
            None => self.held = Self::established(kind, who),
            Some(held) if held == kind && self.is_holder(who) => {}
            Some(_) => return Err(Status::Conflict),
        }
        Ok(())
    }

    fn check_kind(&self, kind: u8) -> Refused {
        if TYPES.contains(&kind) { Ok(()) } else { Err(Status::Illegal(0x2400)) }
    }

    /// 5.13.11.2.
    fn release(&mut self, who: usize, rk: u64, kind: u8, outcome: &mut Outcome) -> Refused {
        self.check_kind(kind)?;
        self.check_registered(who, rk)?;
        if !self.is_holder(who) {
            return Ok(());
        }
        if self.kind() != Some(kind) {
            return Err(Status::Illegal(0x2604));
        }
        self.held = Held::Nobody;
        if kind >= 5 {
            self.tell(who, RESERVATIONS_RELEASED, outcome);
        }
        Ok(())
    }

    /// 5.13.11.6.
    fn clear(&mut self, who: usize, rk: u64, outcome: &mut Outcome) -> Refused {
        self.check_registered(who, rk)?;
        self.tell(who, RESERVATIONS_PREEMPTED, outcome);
        self.keys = [0; NEXUSES];
        self.held = Held::Nobody;
        self.generation += 1;
        Ok(())
    }

    /// 5.13.11.4 and 5.13.11.5.
    fn preempt(&mut self, who: usize, action: &Action, outcome: &mut Outcome) -> Refused {
        let Action::Preempt { rk, sark, kind, abort } = *action else { unreachable!() };
        self.check_registered(who, rk)?;
        let takes = match self.held {
            Held::Nobody => false,
            Held::By(holder, _) => self.keys[holder] == sark,
            Held::ByAll(_) => sark == 0,
        };
        let victims = match (takes, sark) {
            (false, 0) => return Err(Status::Illegal(0x2600)),
            (true, 0) => self.registrants().collect(),
            _ => self.with_key(sark),
        };
        if victims.is_empty() {
            return Err(Status::Conflict);
        }
        if takes {
            self.check_kind(kind)?;
        }
        for victim in victims.into_iter().filter(|victim| *victim != who) {
            self.keys[victim] = 0;
            outcome.attentions.push((victim, REGISTRATIONS_PREEMPTED));
            if abort {
                outcome.aborted.push(victim);
            }
        }
        if takes {
            if self.kind() != Some(kind) {
                self.tell(who, RESERVATIONS_RELEASED, outcome);
            }
            self.held = Self::established(kind, who);
        }
        self.generation += 1;
        Ok(())
    }

    /// 5.13.8.
    fn move_reservation(&mut self, who: usize, action: &Action) -> Refused {
        let Action::Move { rk, sark, to, unreg, aptpl } = *action else { unreachable!() };
        self.check_registered(who, rk)?;
        let Held::By(holder, kind) = self.held else { return Err(Status::Conflict) };
        if holder != who {
            return Err(Status::Conflict);
        }
        if sark == 0 || to == who {
            return Err(Status::Illegal(0x2600));
        }
        self.keys[to] = sark;
        self.held = Held::By(to, kind);
        if unreg {
            self.keys[who] = 0;
        }
        self.aptpl = aptpl;
        self.generation += 1;
        Ok(())
    }

    /// Power is lost: registrations stay with APTPL, and PRGENERATION starts again.
    pub fn lose_power(&mut self) {
        *self = if self.aptpl && self.registrants().next().is_some() {
            Model { generation: 0, ..*self }
        } else {
            Model::new()
        };
    }
}
