//! Persistent reservations against an independent model: every state of a small world and every action in
//! it, and long random conversations over real commands. `SCSTU_SEEDS=N` plays N conversations.
#![allow(clippy::unwrap_used)] // Tests panic to fail.

mod one_unit;
mod reservation;
mod support;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use one_unit::{Bench, Path};
use reservation::{Action, Held, Model, NEXUSES, Outcome, Status, TYPES, ends, neighbour, sibling};
use scstu::scsi::device::{MemoryStore, StateStore, TargetPorts};
use scstu::scsi::nexus::{PortPair, TransportId};
use scstu::scsi::reservation::actions::{Keys, Moving, Preempting, Registering};
use scstu::scsi::reservation::{Effects, Refusal, ReservationType, Reservations};
use scstu::scsi::sense::Sense;
use scstu::scsi::transport_id;

const ISID: [u8; 6] = [0x80, 0, 0, 0, 0, 1];
const INITIATORS: [&str; 2] = ["a", "b"];

fn ports(nexus: usize) -> PortPair {
    let (initiator, relative_port) = ends(nexus);
    let name = format!("iqn.2026-01.test:{}", INITIATORS[initiator]);
    PortPair { initiator: TransportId { name, isid: ISID }, relative_port }
}

fn number(ports: &PortPair) -> usize {
    let initiator = usize::from(ports.initiator.name.ends_with('b'));
    initiator * 2 + usize::from(ports.relative_port - 1)
}

/// Every action with keys 0, 1 and 2.
fn every_action() -> Vec<Action> {
    let (keys, flags) = ([0, 1, 2], [false, true]);
    let mut actions = Vec::new();
    for rk in keys {
        actions.push(Action::Clear { rk });
        for kind in TYPES {
            actions.push(Action::Reserve { rk, kind });
            actions.push(Action::Release { rk, kind });
        }
        for (sark, abort) in keys.into_iter().flat_map(|key| flags.map(|flag| (key, flag))) {
            // 2h is no type.
            for kind in TYPES.into_iter().chain([2]) {
                actions.push(Action::Preempt { rk, sark, kind, abort });
            }
            for (to, unreg) in (0..NEXUSES).flat_map(|to| flags.map(|unreg| (to, unreg))) {
                actions.push(Action::Move { rk, sark, to, unreg, aptpl: abort });
            }
        }
        for bits in 0..16 {
            let [ignore, all_tg_pt, spec_i_pt, aptpl] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
            for sark in keys {
                actions.push(Action::Register { rk, sark, ignore, all_tg_pt, spec_i_pt, aptpl });
            }
        }
    }
    actions
}

/// Carries an action out in the target's state machine.
fn apply(state: &mut Reservations, who: usize, action: &Action) -> Outcome {
    let own = ports(who);
    let keys = |reservation, service_action| Keys { reservation, service_action };
    let kind_of = |kind| ReservationType::from_code(kind);
    let result = match *action {
        Action::Register { rk, sark, ignore, all_tg_pt, spec_i_pt, aptpl } => {
            let mut named = if spec_i_pt { vec![ports(neighbour(who))] } else { Vec::new() };
            if spec_i_pt && all_tg_pt {
                named.push(ports(sibling(neighbour(who))));
            }
            let siblings = if all_tg_pt { vec![ports(sibling(who))] } else { Vec::new() };
            let with = Registering {
                ignore_existing: ignore,
                persist: aptpl,
                specifies_ports: spec_i_pt,
                named,
                siblings,
            };
            state.register(&own, keys(rk, sark), &with)
        }
        Action::Reserve { rk, kind } => {
            state.reserve(&own, rk, kind_of(kind).unwrap()).map(|()| Effects::default())
        }
        Action::Release { rk, kind } => state.release(&own, rk, kind_of(kind).unwrap()),
        Action::Clear { rk } => state.clear(&own, rk),
        Action::Preempt { rk, sark, kind, abort } => {
            state.preempt(&own, keys(rk, sark), Preempting { kind: kind_of(kind), abort })
        }
        Action::Move { rk, sark, to, unreg, aptpl } => {
            let with = Moving { to: ports(to), unregister: unreg, persist: aptpl };
            state.register_and_move(&own, keys(rk, sark), &with)
        }
    };
    outcome(result)
}

fn outcome(result: Result<Effects, Refusal>) -> Outcome {
    let mut outcome = Outcome { status: Status::Good, attentions: Vec::new(), aborted: Vec::new() };
    match result {
        Ok(effects) => {
            outcome.attentions = effects.attentions.iter().map(|(p, s)| (number(p), s.code)).collect();
            outcome.aborted = effects.abort.iter().map(number).collect();
            outcome.attentions.sort_unstable();
            outcome.aborted.sort_unstable();
        }
        Err(Refusal::Conflict) => outcome.status = Status::Conflict,
        Err(Refusal::Sense(Sense { code, .. })) => outcome.status = Status::Illegal(code),
    }
    outcome
}

/// The target's state in the model's words.
fn read(state: &Reservations) -> Model {
    let mut model = Model::new();
    let kind = state.reservation().map(ReservationType::code);
    for r in state.registrations() {
        let nexus = number(&r.ports);
        assert_eq!(model.keys[nexus], 0, "registered twice");
        model.keys[nexus] = r.key;
        match (kind, r.is_holder) {
            (Some(kind @ (7 | 8)), true) => model.held = Held::ByAll(kind),
            (Some(kind), true) => {
                assert_eq!(model.held, Held::Nobody, "two holders");
                model.held = Held::By(nexus, kind);
            }
            (None, true) => panic!("a holder of nothing"),
            (_, false) => {}
        }
    }
    assert_eq!(model.kind(), kind);
    assert!(!matches!(kind, Some(7 | 8)) || state.registrations().iter().all(|r| r.is_holder));
    model.aptpl = state.persists();
    model.generation = state.generation();
    model
}

/// PRGENERATION would make the world endless.
fn without_generation(model: Model) -> Model {
    Model { generation: 0, ..model }
}

#[test]
fn spc_5_13_every_action_in_every_state_of_two_initiators_at_two_ports() {
    let actions: Vec<Action> = every_action()
        .into_iter()
        // REGISTER AND IGNORE EXISTING KEY with SPEC_I_PT is refused before the state is looked at.
        .filter(|a| !matches!(a, Action::Register { ignore: true, spec_i_pt: true, .. }))
        .collect();
    let mut known: HashMap<Model, Reservations> = HashMap::new();
    let mut todo = VecDeque::from([Model::new()]);
    known.insert(Model::new(), Reservations::default());
    let mut steps = 0_u64;
    while let Some(model) = todo.pop_front() {
        let state = known[&model].clone();
        let saved = Reservations::parse(&state.text()).unwrap();
        assert_eq!(read(&saved), read(&state), "the text says it all");
        for (who, action) in (0..NEXUSES).flat_map(|who| actions.iter().map(move |a| (who, a))) {
            let (mut expected, mut actual) = (model, state.clone());
            expected.generation = actual.generation();
            let (wanted, got) = (expected.step(who, action), apply(&mut actual, who, action));
            assert_eq!(got, wanted, "{model:?} {who} {action:?}");
            if got.status == Status::Good {
                assert_eq!(read(&actual), expected, "{model:?} {who} {action:?}");
                known.entry(without_generation(expected)).or_insert_with(|| {
                    todo.push_back(without_generation(expected));
                    actual
                });
            }
            steps += 1;
        }
    }
    assert!(known.len() > 2000 && steps > 2_000_000, "{} states, {steps} steps", known.len());
}

struct BothPorts;

impl TargetPorts for BothPorts {
    fn target_ports(&self, _device: &str) -> Vec<u16> {
        vec![1, 2]
    }
}

/// CDB and parameter list of an action.
fn command(who: usize, action: &Action) -> (Vec<u8>, Vec<u8>) {
    let (mut cdb, mut list) = (vec![0x5f, 0, 0, 0, 0, 0, 0, 0, 0, 0], vec![0; 24]);
    let mut keys = |rk: u64, sark: u64| {
        list[..8].copy_from_slice(&rk.to_be_bytes());
        list[8..16].copy_from_slice(&sark.to_be_bytes());
    };
    let additional = |list: &mut Vec<u8>, nexus: usize| {
        let id = transport_id::encode(&ports(nexus).initiator);
        list.extend_from_slice(&u32::try_from(id.len()).unwrap().to_be_bytes());
        list.extend(id);
    };
    match *action {
        Action::Register { rk, sark, ignore, all_tg_pt, spec_i_pt, aptpl } => {
            keys(rk, sark);
            cdb[1] = if ignore { 6 } else { 0 };
            list[20] = u8::from(spec_i_pt) << 3 | u8::from(all_tg_pt) << 2 | u8::from(aptpl);
            if spec_i_pt {
                additional(&mut list, neighbour(who));
            }
        }
        Action::Reserve { rk, kind } => {
            keys(rk, 0);
            (cdb[1], cdb[2]) = (1, kind);
        }
        Action::Release { rk, kind } => {
            keys(rk, 0);
            (cdb[1], cdb[2]) = (2, kind);
        }
        Action::Clear { rk } => {
            keys(rk, 0);
            cdb[1] = 3;
        }
        Action::Preempt { rk, sark, kind, abort } => {
            keys(rk, sark);
            (cdb[1], cdb[2]) = (if abort { 5 } else { 4 }, kind);
        }
        Action::Move { rk, sark, to, unreg, aptpl } => {
            keys(rk, sark);
            cdb[1] = 7;
            list[17] = u8::from(unreg) << 1 | u8::from(aptpl);
            list[18..20].copy_from_slice(&ends(to).1.to_be_bytes());
            list.truncate(20);
            additional(&mut list, to);
        }
    }
    let length = u32::try_from(list.len()).unwrap();
    cdb[5..9].copy_from_slice(&length.to_be_bytes());
    (cdb, list)
}

/// What PERSISTENT RESERVE IN says, in the model's words.
fn reported(path: &Path<'_>) -> Model {
    let read = |action| path.run(&[0x5e, action, 0, 0, 0, 0, 0, 0xff, 0xff, 0], &[]).data;
    let (keys, reservation, capabilities, full) = (read(0), read(1), read(2), read(3));
    let u32_at = |b: &[u8], at: usize| u32::from_be_bytes(b[at..at + 4].try_into().unwrap());
    let u64_at = |b: &[u8], at: usize| u64::from_be_bytes(b[at..at + 8].try_into().unwrap());
    let mut model = Model::new();
    model.generation = u32_at(&keys, 0);
    model.aptpl = capabilities[3] & 1 == 1;
    let kind = (u32_at(&reservation, 4) == 16).then(|| reservation[21]);
    let (mut at, mut listed) = (8, Vec::new());
    while at < full.len() {
        let length = usize::try_from(u32_at(&full, at + 20)).unwrap();
        let name = String::from_utf8_lossy(&full[at + 28..at + 24 + length]);
        let initiator = usize::from(name.starts_with("iqn.2026-01.test:b,"));
        let nexus = initiator * 2 + usize::from(full[at + 19]) - 1;
        model.keys[nexus] = u64_at(&full, at);
        listed.push(u64_at(&full, at));
        match (kind, full[at + 12] & 1) {
            (Some(kind @ (7 | 8)), 1) => model.held = Held::ByAll(kind),
            (Some(kind), 1) => {
                model.held = Held::By(nexus, kind);
                assert_eq!(u64_at(&reservation, 8), model.keys[nexus]);
            }
            (_, holds) => assert_eq!(holds, 0),
        }
        assert_eq!(full[at + 13], if full[at + 12] & 1 == 1 { kind.unwrap() } else { 0 });
        at += 24 + length;
    }
    assert_eq!(keys[8..].chunks(8).map(|key| u64_at(key, 0)).collect::<Vec<_>>(), listed);
    assert_eq!([&reservation[..4], &full[..4]], [&keys[..4]; 2]);
    assert_eq!(model.kind(), kind);
    model
}

/// A small generator (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// One conversation: commands, lost sessions, resets and lost power; answers how many commands were good.
fn converse(seed: u64, moves: usize) -> usize {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let store: Arc<dyn StateStore> = Arc::new(MemoryStore::default());
    let actions = every_action();
    let (mut model, mut good, mut left) = (Model::new(), 0, moves);
    while left > 0 {
        let bench = Bench::new(Some(Arc::clone(&store)));
        bench.device.set_target_ports(Some(Arc::new(BothPorts)));
        let path = |nexus| bench.path(INITIATORS[ends(nexus).0], ends(nexus).1);
        let mut paths: Vec<Path<'_>> = (0..NEXUSES).map(path).collect();
        for _ in 0..random.below(80).min(left) {
            left -= 1;
            let who = random.below(NEXUSES);
            match random.below(40) {
                0 => {
                    paths[who].lose();
                    paths[who] = path(who);
                }
                1 => {
                    paths[who].manage(scstu::scsi::TaskManagementFunction::LogicalUnitReset);
                    paths.iter().for_each(|path| assert_eq!(path.attentions(), [0x2900]));
                }
                _ => {
                    let action = &actions[random.below(actions.len())];
                    let wanted = model.step(who, action);
                    good += usize::from(wanted.status == Status::Good);
                    check_command(&paths, who, action, &wanted);
                }
            }
            assert_eq!(reported(&paths[who]), model);
            check_access(&paths, &model);
        }
        model.lose_power();
        left = left.saturating_sub(1);
    }
    good
}

fn check_command(paths: &[Path<'_>], who: usize, action: &Action, wanted: &Outcome) {
    let (cdb, list) = command(who, action);
    let answer = paths[who].run(&cdb, &list);
    match wanted.status {
        Status::Good => assert!(answer.is_good(), "{action:?} {answer:?}"),
        Status::Conflict => assert!(answer.is_conflict(), "{action:?} {answer:?}"),
        Status::Illegal(code) => assert!(answer.has(5, code), "{action:?} {answer:?}"),
    }
    for (nexus, path) in paths.iter().enumerate() {
        let mut told = path.attentions();
        told.sort_unstable();
        let mine = wanted.attentions.iter().filter(|(told, _)| *told == nexus);
        assert_eq!(told, mine.map(|(_, code)| *code).collect::<Vec<_>>(), "{nexus} {action:?}");
    }
}

fn check_access(paths: &[Path<'_>], model: &Model) {
    for (nexus, path) in paths.iter().enumerate() {
        let read = path.run(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[]);
        let write = path.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 512]);
        for (answer, writes) in [(read, false), (write, true)] {
            let allowed = model.allows(nexus, writes);
            assert!(if allowed { answer.is_good() } else { answer.is_conflict() }, "{nexus} {model:?}");
        }
    }
}

#[test]
fn spc_5_13_conversations_of_four_nexuses_over_commands() {
    let seeds = std::env::var("SCSTU_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let mut good = 0;
    for seed in 0..seeds {
        let played = std::panic::catch_unwind(|| converse(seed, 1500));
        good += played.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(good > 100 * usize::try_from(seeds).unwrap(), "{good}");
}
