//! Which command is allowed to whom while something is reserved: every command that the unit reports, for
//! holder, registrant and stranger, under every type (SPC-4 and SBC-3, tables of commands that are allowed
//! in the presence of reservations), and under RESERVE of SPC-2.
#![allow(clippy::unwrap_used)] // Tests panic to fail.

mod one_unit;
mod support;

use one_unit::{Answer, Bench, Path};
use scstu::scsi::alua::{AccessState, Cause, ControlFailed, PortGroupControl, TargetPortGroup};
use scstu::scsi::device::DeviceType;

/// What the tables say of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Allowed to everybody under everything.
    Always,
    /// Allowed to everybody under every persistent reservation, not under RESERVE of another.
    Persistent,
    /// Looks at the medium or the unit: a stranger may under Write Exclusive.
    Reads,
    /// Changes the medium or the unit: only for those who hold, or are admitted.
    Changes,
    /// RESERVE and RELEASE of SPC-2.
    Spc2,
    /// PERSISTENT RESERVE OUT: has rules of its own.
    Own,
}
use Class::{Always, Changes, Own, Persistent, Reads, Spc2};

const TABLE: &[(u8, Option<u16>, Class)] = &[
    (0x00, None, Always),
    (0x03, None, Always),
    (0x04, None, Changes),
    (0x08, None, Reads),
    (0x0a, None, Changes),
    (0x12, None, Always),
    (0x15, None, Changes),
    (0x16, None, Spc2),
    (0x17, None, Spc2),
    (0x1a, None, Reads),
    (0x1b, None, Changes),
    (0x1c, None, Reads),
    (0x1d, None, Changes),
    (0x1e, None, Persistent), // PREVENT 0; PREVENT 1 below.
    (0x25, None, Always),
    (0x28, None, Reads),
    (0x2a, None, Changes),
    (0x2e, None, Changes),
    (0x2f, None, Reads),
    (0x34, None, Reads),
    (0x35, None, Changes),
    (0x37, None, Reads),
    (0x3c, None, Reads),
    (0x41, None, Changes),
    (0x42, None, Changes),
    (0x43, None, Reads),
    (0x46, None, Reads),
    (0x48, Some(1), Changes),
    (0x48, Some(2), Changes),
    (0x48, Some(3), Changes),
    (0x48, Some(0x1f), Changes),
    (0x4a, None, Reads),
    (0x4c, None, Changes),
    (0x4d, None, Always),
    (0x51, None, Reads),
    (0x55, None, Changes),
    (0x56, None, Spc2),
    (0x57, None, Spc2),
    (0x5a, None, Reads),
    (0x5e, Some(0), Persistent),
    (0x5e, Some(1), Persistent),
    (0x5e, Some(2), Persistent),
    (0x5e, Some(3), Persistent),
    (0x5f, Some(0), Own),
    (0x5f, Some(1), Own),
    (0x5f, Some(2), Own),
    (0x5f, Some(3), Own),
    (0x5f, Some(4), Own),
    (0x5f, Some(5), Own),
    (0x5f, Some(6), Own),
    (0x5f, Some(7), Own),
    (0x83, Some(0x00), Changes),
    (0x83, Some(0x01), Changes),
    (0x83, Some(0x1c), Changes),
    (0x84, Some(0x00), Persistent),
    (0x84, Some(0x03), Persistent),
    (0x84, Some(0x04), Persistent),
    (0x84, Some(0x05), Persistent),
    (0x88, None, Reads),
    (0x89, None, Changes),
    (0x8a, None, Changes),
    (0x8b, None, Changes),
    (0x8e, None, Changes),
    (0x8f, None, Reads),
    (0x90, None, Reads),
    (0x91, None, Changes),
    (0x93, None, Changes),
    (0x9c, None, Changes),
    (0x9e, Some(0x10), Always),
    (0x9e, Some(0x12), Reads),
    (0xa0, None, Always),
    (0xa3, Some(0x0a), Always),
    (0xa3, Some(0x0c), Reads),
    (0xa3, Some(0x0d), Reads),
    (0xa4, Some(0x0a), Changes),
    (0xa8, None, Reads),
    (0xaa, None, Changes),
    (0xae, None, Changes),
    (0xaf, None, Reads),
    (0xb7, None, Reads),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Holder,
    Registrant,
    Stranger,
}
use Role::{Holder, Registrant, Stranger};

const ROLES: [Role; 3] = [Holder, Registrant, Stranger];
const TYPES: [u8; 6] = [1, 3, 5, 6, 7, 8];

struct Nobody;

impl PortGroupControl for Nobody {
    fn set_states(&self, _: &str, _: &[(u16, AccessState)], _: u64) -> Result<(), ControlFailed> {
        Err(ControlFailed)
    }
}

/// A unit in a target port group, so that it has every command.
fn bench(device_type: DeviceType) -> Bench {
    let bench = Bench::with(device_type, None);
    let group = TargetPortGroup { group_id: 1, ports: vec![1], ..TargetPortGroup::default() };
    bench.device.set_target_port_groups(vec![group], Cause::Implicit).unwrap();
    bench.device.set_port_group_control(Some(std::sync::Arc::new(Nobody)));
    bench
}

fn reserve_out(path: &Path<'_>, action: u8, kind: u8, rk: u64, sark: u64) -> Answer {
    let mut list = [0; 24];
    list[..8].copy_from_slice(&rk.to_be_bytes());
    list[8..16].copy_from_slice(&sark.to_be_bytes());
    path.run(&[0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0], &list)
}

/// A command by the nexus in `role`, while a nexus holds a reservation of type `kind`.
fn answer(device_type: DeviceType, kind: u8, role: Role, cdb: &[u8], list: &[u8]) -> Answer {
    let bench = bench(device_type);
    let paths = [bench.path("holder", 1), bench.path("registrant", 1), bench.path("stranger", 1)];
    for (path, key) in paths.iter().zip([1, 2]) {
        assert!(reserve_out(path, 0, 0, 0, key).is_good());
    }
    assert!(reserve_out(&paths[0], 1, kind, 1, 0).is_good());
    paths[role as usize].attentions();
    paths[role as usize].run(cdb, list)
}

/// Columns of the tables.
fn is_allowed(class: Class, kind: u8, role: Role) -> bool {
    let is_admitted = role == Holder || (role == Registrant && kind >= 5);
    let is_write_exclusive = matches!(kind, 1 | 5 | 7);
    match class {
        Always | Persistent => true,
        Reads => is_admitted || is_write_exclusive,
        Changes | Spc2 => is_admitted,
        Own => unreachable!(),
    }
}

/// Operation code and service action of everything that the unit reports.
fn reported(device_type: DeviceType) -> Vec<(u8, Option<u16>)> {
    let bench = bench(device_type);
    let path = bench.path("a", 1);
    let all = path.run(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0], &[]).data;
    let row = |d: &[u8]| (d[0], (d[5] & 1 == 1).then(|| u16::from_be_bytes([d[2], d[3]])));
    all[4..].chunks(8).map(row).collect()
}

fn class_of(command: (u8, Option<u16>)) -> Class {
    let row = TABLE.iter().find(|(opcode, action, _)| (*opcode, *action) == command);
    row.unwrap_or_else(|| panic!("{command:02x?} has no row in this test's table")).2
}

fn cdb(command: (u8, Option<u16>)) -> Vec<u8> {
    let mut cdb = vec![0; 16];
    cdb[0] = command.0;
    cdb[1] = u8::try_from(command.1.unwrap_or(0)).unwrap();
    cdb
}

#[test]
fn spc_and_sbc_tables_of_commands_under_persistent_reservations() {
    let mut checked = 0;
    let mut unmet: Vec<_> = TABLE.iter().map(|(opcode, action, _)| (*opcode, *action)).collect();
    for device_type in [DeviceType::Disk, DeviceType::CdRom] {
        for command in reported(device_type) {
            unmet.retain(|row| *row != command);
            let class = class_of(command);
            if class == Own {
                continue;
            }
            for (kind, role) in TYPES.into_iter().flat_map(|kind| ROLES.map(|role| (kind, role))) {
                let answer = answer(device_type, kind, role, &cdb(command), &[]);
                let allowed = is_allowed(class, kind, role);
                assert_eq!(answer.is_conflict(), !allowed, "{command:02x?} {kind}h {role:?} {answer:?}");
                checked += 1;
            }
        }
    }
    assert!(checked > 1000, "{checked}");
    assert!(unmet.is_empty(), "rows of commands that no unit reports: {unmet:02x?}");
}

#[test]
fn sbc_what_the_cdb_says_makes_some_commands_harmless() {
    let variants: [(&[u8], Class); 6] = [
        (&[0x1b, 0, 0, 0, 0x01, 0], Persistent), // START.
        (&[0x1b, 0, 0, 0, 0x00, 0], Changes),    // STOP.
        (&[0x1b, 0, 0, 0, 0x03, 0], Changes),    // Load.
        (&[0x1b, 0, 0, 0, 0x11, 0], Changes),    // A power condition.
        (&[0x1e, 0, 0, 0, 0, 0], Persistent),    // Allow removal.
        (&[0x1e, 0, 0, 0, 1, 0], Changes),       // Prevent it.
    ];
    for (cdb, class) in variants {
        for (kind, role) in TYPES.into_iter().flat_map(|kind| ROLES.map(|role| (kind, role))) {
            let answer = answer(DeviceType::Disk, kind, role, cdb, &[]);
            assert_eq!(answer.is_conflict(), !is_allowed(class, kind, role), "{cdb:02x?} {kind}h {role:?}");
        }
    }
}

/// For each action: what holder, registrant and stranger get with their own key. `g` GOOD, `c` RESERVATION
/// CONFLICT, `s` CHECK CONDITION. The holder has key 1, the registrant key 2, the stranger says key 3.
#[test]
fn spc_5_13_4_persistent_reserve_out_by_holder_registrant_and_stranger() {
    // Types with one holder, and types that all registrants hold.
    let table: [(u8, u64, &str, &str); 9] = [
        (0, 4, "ggc", "ggc"), // REGISTER; the stranger's key is wrong.
        (6, 4, "ggg", "ggg"), // REGISTER AND IGNORE EXISTING KEY.
        (1, 0, "gcc", "ggc"), // RESERVE, same type.
        (2, 0, "ggc", "ggc"), // RELEASE.
        (3, 0, "ggc", "ggc"), // CLEAR.
        (4, 1, "ggc", "ggc"), // PREEMPT of the holder's key.
        (4, 2, "ggc", "ggc"), // PREEMPT of the registrant's key.
        (5, 9, "ccc", "ccc"), // PREEMPT AND ABORT of nobody's key.
        (4, 0, "ssc", "ggc"), // PREEMPT of key 0.
    ];
    for (kind, (action, sark, one, all)) in TYPES.into_iter().flat_map(|kind| table.map(|row| (kind, row))) {
        let wanted = if kind >= 7 { all } else { one };
        for (role, wanted) in ROLES.into_iter().zip(wanted.chars()) {
            let mut list = [0; 24];
            list[7] = role as u8 + 1;
            list[8..16].copy_from_slice(&sark.to_be_bytes());
            let cdb = [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
            let answer = answer(DeviceType::Disk, kind, role, &cdb, &list);
            let got = match answer.status {
                _ if answer.is_good() => 'g',
                _ if answer.is_conflict() => 'c',
                _ => 's',
            };
            assert_eq!(got, wanted, "action {action} {kind}h {role:?} {answer:?}");
        }
    }
}

#[test]
fn spc2_commands_while_another_nexus_has_reserved() {
    for device_type in [DeviceType::Disk, DeviceType::CdRom] {
        for command in reported(device_type) {
            let bench = bench(device_type);
            let (holder, stranger) = (bench.path("holder", 1), bench.path("stranger", 1));
            assert!(holder.run(&[0x16, 0, 0, 0, 0, 0], &[]).is_good());
            let release = matches!(command.0, 0x17 | 0x57);
            let allowed = class_of(command) == Always || release;
            let answer = stranger.run(&cdb(command), &[]);
            assert_eq!(answer.is_conflict(), !allowed, "{command:02x?} {answer:?}");
            let own_conflicts = matches!(command.0, 0x5e | 0x5f);
            let list = [0; 24];
            let mut own = cdb(command);
            own[8] = if command.0 == 0x5f { 24 } else { 0 };
            let answer = holder.run(&own, if command.0 == 0x5f { &list } else { &[] });
            assert_eq!(answer.is_conflict(), own_conflicts, "the holder: {command:02x?} {answer:?}");
            if release {
                let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
                assert!(
                    stranger.run(&read, &[]).is_good(),
                    "the holder's release counts, the stranger's not"
                );
            }
        }
    }
}
