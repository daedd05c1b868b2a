//! Asymmetric logical unit access over two paths: what each state lets through, what initiators are told,
//! implicit and explicit transitions (SPC-4, 5.15.2).
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod one_unit;
mod support;

use std::sync::{Arc, Mutex, Weak};

use one_unit::{Answer, Bench, Path};
use scstu::scsi::alua::{
    AccessState, Cause, ControlFailed, GROUP_LIMIT, GroupError, PORT_LIMIT, PortGroupControl, TargetPortGroup,
};
use scstu::scsi::device::Device;

const NEAR: u16 = 1;
const FAR: u16 = 2;
const REMOTE: u16 = 77;

fn group(group_id: u16, state: AccessState, ports: &[u16]) -> TargetPortGroup {
    TargetPortGroup { group_id, state, ports: ports.to_vec(), ..TargetPortGroup::default() }
}

fn two_groups(near: AccessState, far: AccessState) -> Vec<TargetPortGroup> {
    vec![group(0x11, near, &[NEAR]), group(0x22, far, &[FAR, REMOTE])]
}

fn set(bench: &Bench, near: AccessState, far: AccessState) {
    bench.device.set_target_port_groups(two_groups(near, far), Cause::Implicit).unwrap();
}

fn report(path: &Path<'_>, format: u8, allocation: u8) -> Answer {
    path.run(&[0xa3, format << 5 | 0x0a, 0, 0, 0, 0, 0, 0, 0, allocation, 0, 0], &[])
}

fn inquiry(path: &Path<'_>) -> Vec<u8> {
    path.run(&[0x12, 0, 0, 0, 96, 0], &[]).data
}

/// Designators of the target port, by type.
fn port_designators(path: &Path<'_>) -> Vec<(u8, Vec<u8>)> {
    let page = path.run(&[0x12, 1, 0x83, 1, 0, 0], &[]).data;
    let mut rest = &page[4..];
    let mut found = Vec::new();
    while rest.len() >= 4 {
        let (kind, length) = (rest[1], usize::from(rest[3]));
        if kind & 0x30 == 0x10 {
            found.push((kind & 0x0f, rest[4..4 + length].to_vec()));
        }
        rest = &rest[4 + length..];
    }
    found
}

#[test]
fn spc_6_35_reports_groups_states_and_ports() {
    let bench = Bench::new(None);
    let near = bench.path("a", NEAR);
    assert!(report(&near, 0, 255).has(5, 0x2400), "without groups TPGS is 0 and there is no such command");
    assert_eq!(inquiry(&near)[5] & 0x30, 0x00);

    let mut groups = two_groups(AccessState::Active, AccessState::Standby);
    groups[0].preferred = true;
    bench.device.set_target_port_groups(groups, Cause::Implicit).unwrap();
    assert_eq!(near.attentions(), [0x3f03, 0x2a06]);
    assert_eq!(inquiry(&near)[5] & 0x30, 0x10);
    let body = [
        0x80, 0xcf, 0x00, 0x11, 0, 0, 0, 1, 0, 0, 0, 1, // The near group, preferred, with one port.
        0x02, 0xcf, 0x00, 0x22, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 77,
    ];
    let mut plain = vec![0, 0, 0, 28];
    plain.extend(body);
    assert_eq!(report(&near, 0, 255).data, plain);
    let mut extended = vec![0, 0, 0, 32, 0x10, 0, 0, 0];
    extended.extend(body);
    assert_eq!(report(&near, 1, 255).data, extended);
    assert_eq!(report(&near, 1, 9).data, extended[..9], "cut, with the whole length told");
    assert_eq!(report(&near, 0, 0).data, []);
    let refused = report(&near, 2, 255);
    assert!(refused.has(5, 0x2400) && refused.pointer == Some((1, Some(7))), "{refused:?}");
}

#[test]
fn spc_7_8_6_the_port_names_itself_and_its_group() {
    let bench = Bench::new(None);
    let (near, far, other) = (bench.path("a", NEAR), bench.path("a", FAR), bench.path("a", 3));
    set(&bench, AccessState::Active, AccessState::NonOptimized);
    for (path, port, group) in [(&near, 1, Some(0x11)), (&far, 2, Some(0x22)), (&other, 3, None)] {
        let designators = port_designators(path);
        assert!(designators.contains(&(4, vec![0, 0, 0, port])), "{designators:?}");
        let found = designators.iter().find(|(kind, _)| *kind == 5).map(|(_, value)| value.clone());
        assert_eq!(found, group.map(|group| vec![0, 0, 0, group]));
    }
}

/// TEST UNIT READY, INQUIRY, MODE SENSE, READ CAPACITY, READ, PERSISTENT RESERVE IN, REPORT TARGET PORT
/// GROUPS, SET TARGET PORT GROUPS of nothing.
const COMMANDS: [&[u8]; 8] = [
    &[0x00, 0, 0, 0, 0, 0],
    &[0x12, 0, 0, 0, 96, 0],
    &[0x1a, 0, 0x3f, 0, 255, 0],
    &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],
    &[0x5e, 0, 0, 0, 0, 0, 0, 0, 8, 0],
    &[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0],
    &[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
];

#[test]
fn spc_5_15_2_4_each_state_lets_through_what_it_should() {
    let bench = Bench::new(None);
    let control = owner(&bench);
    bench.device.set_port_group_control(Some(control));
    let path = bench.path("a", NEAR);
    let table: [(AccessState, &str, u16); 6] = [
        (AccessState::Active, "++++++++", 0),
        (AccessState::NonOptimized, "++++++++", 0),
        (AccessState::Standby, "-+++-+++", 0x040b),
        (AccessState::Unavailable, "-+-+--++", 0x040c),
        (AccessState::Offline, "-+-+--++", 0x040c),
        (AccessState::Transitioning, "-+-+--+-", 0x040a),
    ];
    for (state, allowed, code) in table {
        set(&bench, state, AccessState::Active);
        path.attentions();
        for (cdb, allowed) in COMMANDS.iter().zip(allowed.chars()) {
            let answer = path.run(cdb, &[]);
            if allowed == '+' {
                assert!(answer.is_good(), "{state:?} {cdb:02x?} {answer:?}");
            } else {
                assert!(answer.has(2, code), "{state:?} {cdb:02x?} {answer:?}");
            }
        }
        let hidden = matches!(state, AccessState::Unavailable | AccessState::Offline);
        assert_eq!(inquiry(&path)[0] >> 5, u8::from(hidden), "{state:?}");
    }
}

#[test]
fn the_state_of_the_path_is_looked_at_before_reservations_and_unit_attentions() {
    let bench = Bench::new(None);
    let (holder, path) = (bench.path("a", FAR), bench.path("b", NEAR));
    assert!(holder.run(&[0x16, 0, 0, 0, 0, 0], &[]).is_good());
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    assert!(path.run(&read, &[]).is_conflict());
    set(&bench, AccessState::Unavailable, AccessState::Active);
    assert!(path.run(&read, &[]).has(2, 0x040c));
    assert_eq!(path.attentions(), [0x3f03, 0x2a06], "the refusal took no unit attention");
    set(&bench, AccessState::Active, AccessState::Active);
    assert!(path.run(&read, &[]).is_conflict());
    assert_eq!(path.attentions(), [0x2a06]);
}

#[test]
fn every_nexus_learns_of_a_new_state_and_none_of_a_transition_that_begins() {
    let bench = Bench::new(None);
    let (near, far) = (bench.path("a", NEAR), bench.path("b", FAR));
    set(&bench, AccessState::Active, AccessState::Standby);
    let told = |code: &[u16]| {
        assert_eq!(near.attentions(), code);
        assert_eq!(far.attentions(), code);
    };
    told(&[0x3f03, 0x2a06]);
    set(&bench, AccessState::Active, AccessState::Standby);
    told(&[]);
    set(&bench, AccessState::Active, AccessState::Transitioning);
    told(&[]);
    let status = |path: &Path<'_>| (report(path, 0, 255).data[9], report(path, 0, 255).data[21]);
    assert_eq!(status(&near), (0, 2), "implicitly");
    set(&bench, AccessState::Active, AccessState::Active);
    told(&[0x2a06]);
    let mut groups = two_groups(AccessState::Active, AccessState::Active);
    groups[1].preferred = true;
    bench.device.set_target_port_groups(groups, Cause::Implicit).unwrap();
    told(&[0x2a06]);
    bench.device.set_target_port_groups(Vec::new(), Cause::Implicit).unwrap();
    told(&[0x3f03, 0x2a06]);
    assert!(far.run(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[]).is_good());
}

#[test]
fn a_path_that_comes_later_has_the_state_of_its_group() {
    let bench = Bench::new(None);
    set(&bench, AccessState::Active, AccessState::Standby);
    let far = bench.fresh_path("b", FAR);
    assert!(far.run(&[0x00, 0, 0, 0, 0, 0], &[]).has(2, 0x040b));
    assert_eq!(far.attentions(), [0x2900]);
}

/// Stands for the model: keeps the groups, and gives them to the one device.
struct Owner {
    device: Weak<Device>,
    groups: Mutex<Vec<TargetPortGroup>>,
}

fn owner(bench: &Bench) -> Arc<Owner> {
    let groups = Mutex::new(two_groups(AccessState::Active, AccessState::Standby));
    Arc::new(Owner { device: Arc::downgrade(&bench.device), groups })
}

impl PortGroupControl for Owner {
    fn set_states(
        &self,
        device: &str,
        states: &[(u16, AccessState)],
        nexus: u64,
    ) -> Result<(), ControlFailed> {
        assert_eq!(device, "disk");
        let mut groups = self.groups.lock().unwrap();
        for (group_id, state) in states {
            if *state == AccessState::Offline {
                return Err(ControlFailed);
            }
            groups.iter_mut().find(|group| group.group_id == *group_id).unwrap().state = *state;
        }
        let device = self.device.upgrade().unwrap();
        device.set_target_port_groups(groups.clone(), Cause::Explicit { nexus }).unwrap();
        Ok(())
    }
}

fn set_explicitly(path: &Path<'_>, descriptors: &[u8]) -> Answer {
    let mut list = vec![0; 4];
    list.extend_from_slice(descriptors);
    let length = u8::try_from(list.len()).unwrap();
    path.run(&[0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, length, 0, 0], &list)
}

#[test]
fn spc_6_45_an_initiator_moves_the_groups() {
    let bench = Bench::new(None);
    let (near, far) = (bench.path("a", NEAR), bench.path("b", FAR));
    set(&bench, AccessState::Active, AccessState::Standby);
    assert!(set_explicitly(&near, &[]).has(5, 0x2000), "nobody to carry it out: implicit only");
    bench.device.set_port_group_control(Some(owner(&bench)));
    assert_eq!(inquiry(&near)[5] & 0x30, 0x30);
    near.attentions();
    far.attentions();

    assert!(set_explicitly(&near, &[2, 0, 0, 0x11, 0, 0, 0, 0x22]).is_good());
    assert_eq!((near.attentions(), far.attentions()), (vec![], vec![0x2a06]));
    assert!(near.run(&[0x00, 0, 0, 0, 0, 0], &[]).has(2, 0x040b));
    assert!(far.run(&[0x00, 0, 0, 0, 0, 0], &[]).is_good());
    let reported = report(&near, 0, 255).data;
    assert_eq!((reported[4], reported[9]), (0x02, 1), "explicitly");
    bench.device.change_settings(|settings| settings.expl_alua = false);
    assert!(set_explicitly(&near, &[]).has(5, 0x2000), "expl_alua is off");
    assert_eq!(inquiry(&near)[5] & 0x30, 0x10);
}

#[test]
fn spc_6_45_what_cannot_be_set_changes_nothing() {
    let bench = Bench::new(None);
    let path = bench.path("a", NEAR);
    set(&bench, AccessState::Active, AccessState::Standby);
    bench.device.set_port_group_control(Some(owner(&bench)));
    path.attentions();
    let before = report(&path, 0, 255).data;
    let wrong: [(&[u8], u16); 5] = [
        (&[0, 0, 0, 0x11, 4, 0, 0, 0x22], 8),  // LBA dependent.
        (&[0x0f, 0, 0, 0x11], 4),              // Transitioning.
        (&[9, 0, 0, 0x11], 4),                 // Reserved.
        (&[0, 0, 0, 0x33], 6),                 // No such group.
        (&[0, 0, 0, 0x11, 1, 0, 0, 0x11], 10), // The same group twice.
    ];
    for (descriptors, at) in wrong {
        let answer = set_explicitly(&path, descriptors);
        assert!(answer.has(5, 0x2600) && answer.pointer.unwrap().0 == at, "{descriptors:?} {answer:?}");
    }
    for length in [1, 3, 5, 7] {
        let cdb = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, length, 0, 0];
        assert!(path.run(&cdb, &[0; 8]).has(5, 0x1a00), "{length}");
    }
    for stated in [[0, 0, 0, 12], [0xff; 4]] {
        let mut cdb = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        cdb[6..10].copy_from_slice(&stated);
        assert!(path.run(&cdb, &[0; 8]).has(5, 0x1a00), "more than was sent");
    }
    assert!(set_explicitly(&path, &[0x0e, 0, 0, 0x11]).has(4, 0x670a), "the owner refuses");
    assert_eq!(report(&path, 0, 255).data, before);
    assert_eq!(path.attentions(), []);
}

#[test]
fn spc_5_15_2_5_a_transition_that_is_under_way_is_not_cut_short() {
    let bench = Bench::new(None);
    let path = bench.path("a", NEAR);
    set(&bench, AccessState::Active, AccessState::Transitioning);
    bench.device.set_port_group_control(Some(owner(&bench)));
    path.attentions();
    let before = report(&path, 0, 255).data;
    assert!(set_explicitly(&path, &[2, 0, 0, 0x11, 0, 0, 0, 0x22]).has(2, 0x040a));
    assert_eq!(report(&path, 0, 255).data, before);
    assert!(set_explicitly(&path, &[1, 0, 0, 0x11]).is_good(), "the other group stands still");
}

#[test]
fn lists_of_groups_have_limits_and_scst_names() {
    let bench = Bench::new(None);
    let many: Vec<u16> = (1..=PORT_LIMIT as u16 + 1).collect();
    let refused = |groups| bench.device.set_target_port_groups(groups, Cause::Implicit);
    let active = AccessState::Active;
    assert_eq!(refused(vec![group(7, active, &many)]), Err(GroupError::TooManyPorts(7)));
    let twice = vec![group(1, active, &[0, 5]), group(2, active, &[0, 5])];
    assert_eq!(refused(twice), Err(GroupError::PortInTwoGroups(5)));
    let too_many = (0..=GROUP_LIMIT as u16).map(|number| group(number, active, &[])).collect();
    assert_eq!(refused(too_many), Err(GroupError::TooManyGroups));
    assert!(bench.device.target_port_groups().is_empty());
    let names: Vec<_> = AccessState::names().collect();
    assert_eq!(names, ["active", "nonoptimized", "standby", "unavailable", "offline", "transitioning"]);
    for name in names {
        assert_eq!(AccessState::from_name(name).unwrap().name(), name);
    }
    assert_eq!(AccessState::from_name("Active"), None);
}
