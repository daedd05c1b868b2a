//! One unit over two portals, two targets and two target port groups of the daemon: asymmetric access,
//! explicit transitions, reservations that span the paths and survive a crash.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod common;
mod initiator;

use std::net::SocketAddr;

use common::{Daemon, Folder};
use initiator::{Initiator, Options, READ, WRITE, rw16};

const NEAR: &str = "iqn.2026-01.test:near";
const FAR: &str = "iqn.2026-01.test:far";

const CONF: &str = "
HANDLER vdisk_ram {
    DEVICE disk {
        size 1048576
        expl_alua 1
    }
}
TARGET_DRIVER iscsi {
    enabled 1
    TARGET iqn.2026-01.test:near {
        rel_tgt_id 11
        allowed_portal 127.0.0.1
        enabled 1
        LUN 0 disk
    }
    TARGET iqn.2026-01.test:far {
        rel_tgt_id 12
        allowed_portal 127.0.0.2
        enabled 1
        LUN 0 disk
    }
}
DEVICE_GROUP dg {
    DEVICE disk
    TARGET_GROUP near {
        group_id 1
        preferred 1
        state active
        TARGET iqn.2026-01.test:near
    }
    TARGET_GROUP far {
        group_id 2
        state standby
        TARGET iqn.2026-01.test:far
    }
    TARGET_GROUP elsewhere {
        group_id 3
        state unavailable
        TARGET iqn.2026-01.test:other-machine {
            rel_tgt_id 99
        }
    }
}
";

/// The daemon on two portals, and the initiator's sessions through them.
struct Paths {
    daemon: Daemon,
    near: Initiator,
    far: Initiator,
}

fn start(folder: &Folder) -> Paths {
    let second = |command: &mut std::process::Command| {
        command.args(["--portal", "127.0.0.2:0"]);
    };
    let daemon = Daemon::start_with(&folder.0, CONF, second);
    let addresses = [daemon.address, daemon.next_address()];
    let login = |target, address: &str| {
        let address = address.parse::<std::net::IpAddr>().unwrap();
        let portal = addresses.iter().find(|portal| portal.ip() == address).unwrap();
        session(*portal, target)
    };
    Paths { near: login(NEAR, "127.0.0.1"), far: login(FAR, "127.0.0.2"), daemon }
}

/// A session with its first unit attention taken by REQUEST SENSE, which every state allows.
fn session(address: SocketAddr, target: &str) -> Initiator {
    let mut session = Initiator::login(address, target, &Options::default()).unwrap();
    assert_eq!(attention(&mut session), Some(0x2900));
    session
}

/// The unit attention that is pending.
fn attention(session: &mut Initiator) -> Option<u16> {
    let sense = session.command(0, &[0x03, 0, 0, 0, 18, 0], 18, &[]).unwrap().data;
    (sense[2] & 0x0f == 6).then(|| u16::from_be_bytes([sense[12], sense[13]]))
}

/// Sense key and code of a command, zeros when it is GOOD, the status alone when there is no sense.
fn outcome(session: &mut Initiator, cdb: &[u8], read: usize, write: &[u8]) -> (u8, u16) {
    let answer = session.command(0, cdb, read, write).unwrap();
    match answer.status {
        0 => (0, 0),
        2 => (answer.sense[2] & 0x0f, u16::from_be_bytes([answer.sense[12], answer.sense[13]])),
        status => (status, 0),
    }
}

fn read(session: &mut Initiator) -> (u8, u16) {
    outcome(session, &rw16(READ, 0, 1, false), 512, &[])
}

fn write(session: &mut Initiator) -> (u8, u16) {
    outcome(session, &rw16(WRITE, 0, 1, false), 0, &[1; 512])
}

/// State, PREF and STATUS CODE of each group, as REPORT TARGET PORT GROUPS says.
fn groups(session: &mut Initiator) -> Vec<(u16, u8, u8, Vec<u16>)> {
    let cdb = [0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0];
    let reply = session.command(0, &cdb, 255, &[]).unwrap().data;
    let length = u32::from_be_bytes(reply[..4].try_into().unwrap()) as usize;
    let (mut rest, mut groups) = (&reply[4..4 + length], Vec::new());
    while !rest.is_empty() {
        let (head, ports) = rest.split_at(8);
        let (ports, after) = ports.split_at(usize::from(head[7]) * 4);
        let ports = ports.chunks(4).map(|port| u16::from_be_bytes([port[2], port[3]])).collect();
        groups.push((u16::from_be_bytes([head[2], head[3]]), head[0], head[5], ports));
        rest = after;
    }
    groups.sort();
    groups
}

const IN_STANDBY: (u8, u16) = (2, 0x040b);

#[test]
fn spc_5_15_two_groups_over_two_portals() {
    let folder = Folder::new("two-paths");
    let Paths { daemon: _daemon, mut near, mut far } = start(&folder);
    let expected = vec![(1, 0x80, 0, vec![11]), (2, 0x02, 0, vec![12]), (3, 0x03, 0, vec![99])];
    assert_eq!(groups(&mut near), expected);
    assert_eq!(groups(&mut far), expected);
    for (path, port, group) in [(&mut near, 11, 1), (&mut far, 12, 2)] {
        let inquiry = path.command(0, &[0x12, 0, 0, 0, 96, 0], 96, &[]).unwrap().data;
        assert_eq!(inquiry[5] & 0x30, 0x30, "TPGS: implicit and explicit");
        let page = path.command(0, &[0x12, 1, 0x83, 1, 0, 0], 256, &[]).unwrap().data;
        let has = |designator: [u8; 8]| page.windows(8).any(|window| window == designator);
        assert!(has([0x51, 0x94, 0, 4, 0, 0, 0, port]) && has([0x51, 0x95, 0, 4, 0, 0, 0, group]));
    }
    assert_eq!((read(&mut near), read(&mut far)), ((0, 0), IN_STANDBY));

    // The other path takes over, as a multipath daemon would have it.
    let list = [0, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 2];
    let set = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0];
    assert_eq!(outcome(&mut far, &set, 0, &list), (0, 0));
    assert_eq!(attention(&mut far), None, "it has asked for it");
    assert_eq!(attention(&mut near), Some(0x2a06));
    assert_eq!((read(&mut near), read(&mut far)), (IN_STANDBY, (0, 0)));
    let expected = vec![(1, 0x82, 1, vec![11]), (2, 0x00, 1, vec![12]), (3, 0x03, 0, vec![99])];
    assert_eq!(groups(&mut near), expected);
    let unknown = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9];
    assert_eq!(outcome(&mut far, &set, 0, &unknown), (5, 0x2600));
    assert_eq!(groups(&mut far), expected);
}

fn reserve_out(session: &mut Initiator, action: u8, kind: u8, keys: (u8, u8), flags: u8) -> (u8, u16) {
    let mut list = [0; 24];
    (list[7], list[15], list[20]) = (keys.0, keys.1, flags);
    outcome(session, &[0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0], 0, &list)
}

/// Relative target port and key of each registration, and whether it holds.
fn registrations(session: &mut Initiator) -> Vec<(u8, u8, bool)> {
    let full = session.command(0, &[0x5e, 3, 0, 0, 0, 0, 0, 4, 0, 0], 1024, &[]).unwrap().data;
    let length = u32::from_be_bytes(full[4..8].try_into().unwrap()) as usize;
    let (mut rest, mut found) = (&full[8..8 + length], Vec::new());
    while !rest.is_empty() {
        found.push((rest[19], rest[7], rest[12] & 1 == 1));
        rest = &rest[24 + u32::from_be_bytes(rest[20..24].try_into().unwrap()) as usize..];
    }
    found.sort_unstable();
    found
}

#[test]
fn spc_5_13_a_reservation_spans_the_paths_and_survives_a_crash() {
    const ALL_TG_PT: u8 = 4;
    const APTPL: u8 = 1;
    let folder = Folder::new("two-paths-reserved");
    let Paths { mut daemon, mut near, far } = start(&folder);
    drop(far);
    assert_eq!(reserve_out(&mut near, 0, 0, (0, 7), ALL_TG_PT | APTPL), (0, 0));
    assert_eq!(registrations(&mut near), [(11, 7, false), (12, 7, false), (99, 7, false)]);
    assert_eq!(reserve_out(&mut near, 1, 5, (7, 0), 0), (0, 0));
    daemon.kill();

    let Paths { daemon: _daemon, mut near, mut far } = start(&folder);
    assert_eq!(registrations(&mut far), [(11, 7, true), (12, 7, false), (99, 7, false)]);
    assert_eq!(write(&mut near), (0, 0));
    let set = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
    assert_eq!(outcome(&mut near, &set, 0, &[0, 0, 0, 0, 0, 0, 0, 2]), (0, 0));
    assert_eq!(attention(&mut far), Some(0x2a06));
    assert_eq!(write(&mut far), (0, 0), "a registrant, by its name and port alone");
    // The near path fails; the far one fences it.
    assert_eq!(reserve_out(&mut far, 5, 5, (7, 7), 0), (0, 0));
    assert_eq!(attention(&mut near), Some(0x2a05));
    assert_eq!(write(&mut near), (0x18, 0));
    assert_eq!(registrations(&mut near), [(12, 7, true)]);
}
