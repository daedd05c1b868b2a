//! Who gets in, and what they see, by the portal that they come to: `per_portal_acl`, `allowed_portal`; and
//! how many may (`MaxSessions`).

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod initiator;
mod world;

use std::net::SocketAddr;
use std::sync::Barrier;
use std::thread;

use initiator::{Initiator, Options};
use world::{INQUIRY, TARGET, TEST_UNIT_READY, World, attention, until};

const OTHER: &str = "iqn.2026-01.org.scstu:other";
const HOST: &str = "iqn.2026-01.test:initiator";
/// Class and detail of login statuses (RFC 7143 11.13.5).
const NOT_FOUND: (u8, u8) = (2, 3);
const OUT_OF_RESOURCES: (u8, u8) = (3, 2);

/// Devices a, b and c; a is LUN 0 of the target for everybody. Two portals, whose addresses differ.
struct Portals {
    world: World,
    near: SocketAddr,
    far: SocketAddr,
}

impl Portals {
    fn new() -> Portals {
        let world = World::empty();
        let far = world.instance.listen("127.0.0.2:0".parse().unwrap()).unwrap();
        world.write_all(&[
            ("handlers/vdisk_ram/mgmt", "add_device a size=1M"),
            ("handlers/vdisk_ram/mgmt", "add_device b size=1M"),
            ("handlers/vdisk_ram/mgmt", "add_device c size=1M"),
            ("targets/iscsi/mgmt", &format!("add_target {TARGET}")),
            ("@/luns/mgmt", "add a 0"),
            ("@/enabled", "1"),
            ("targets/iscsi/mgmt", &format!("add_target {OTHER}")),
            (&format!("targets/iscsi/{OTHER}/luns/mgmt"), "add c 0"),
            (&format!("targets/iscsi/{OTHER}/enabled"), "1"),
        ]);
        Portals { near: world.address, world, far }
    }

    fn group(&self, name: &str, device: &str, pattern: &str) {
        self.world.write("@/ini_groups/mgmt", &format!("create {name}"));
        if !device.is_empty() {
            self.world.write(&format!("@/ini_groups/{name}/luns/mgmt"), &format!("add {device} 0"));
        }
        self.world.write(&format!("@/ini_groups/{name}/initiators/mgmt"), &format!("add {pattern}"));
    }
}

fn login(address: SocketAddr, target: &str, isid: u32) -> Result<Initiator, (u8, u8)> {
    let options = Options { isid, ..Options::default() };
    Initiator::login(address, target, &options).map_err(|error| {
        let text = error.to_string();
        let status = text.strip_suffix(", 00, 00]").unwrap_or_else(|| panic!("no refusal: {text}"));
        let byte = |at: usize| u8::from_str_radix(&status[at..at + 2], 16).unwrap();
        (byte(status.len() - 6), byte(status.len() - 2))
    })
}

/// The device that is LUN 0, by its product identification.
fn device(session: &mut Initiator) -> char {
    char::from(session.good(0, &INQUIRY, 96, &[]).unwrap()[16])
}

/// The targets that discovery tells at a portal, each with its addresses.
fn discovered(address: SocketAddr) -> Vec<(String, Vec<String>)> {
    let text = Initiator::login(address, "", &Options::default()).unwrap().send_targets().unwrap();
    let mut targets: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.split('\0').filter(|line| !line.is_empty()) {
        match line.split_once('=').unwrap() {
            ("TargetName", name) => targets.push((name.to_owned(), Vec::new())),
            ("TargetAddress", address) => targets.last_mut().unwrap().1.push(address.to_owned()),
            (key, _) => panic!("{key}"),
        }
    }
    targets
}

fn names(address: SocketAddr) -> Vec<String> {
    discovered(address).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn scst_1_8_2_with_per_portal_acl_groups_are_found_by_initiator_and_portal() {
    let portals = Portals::new();
    let (world, near, far) = (&portals.world, portals.near, portals.far);
    portals.group("near", "b", &format!("{HOST}#127.0.0.1"));
    portals.group("far", "c", "IQN.2026-01.test:*#127.0.0.2");
    for address in [near, far] {
        assert_eq!(device(&mut login(address, TARGET, 1).unwrap()), 'a', "the portal does not count yet");
    }
    until("the sessions are gone", || world.sessions().is_empty());
    world.write("@/per_portal_acl", "1");
    let (mut one, mut two) = (login(near, TARGET, 1).unwrap(), login(far, TARGET, 2).unwrap());
    assert_eq!((device(&mut one), device(&mut two)), ('b', 'c'));
    assert_eq!(world.sessions(), [format!("{HOST}#127.0.0.1"), format!("{HOST}#127.0.0.2")]);
    for (portal, group) in [("127.0.0.1", "near"), ("127.0.0.2", "far")] {
        let own = format!("@/sessions/{HOST}#{portal}");
        assert_eq!(world.read(&format!("{own}/initiator_name")), format!("{HOST}\n"));
        let link = world.tree.kind(&World::path(&format!("{own}/luns"))).unwrap();
        assert!(format!("{link:?}").contains(&format!("../../ini_groups/{group}/luns")), "{link:?}");
        let busy = world.refused("@/ini_groups/mgmt", &format!("del {group}"));
        assert_eq!(busy.0, libc::EBUSY);
    }

    // A change of a group concerns the session of its portal.
    for session in [&mut one, &mut two] {
        session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    }
    world.write("@/ini_groups/near/initiators/mgmt", "clear");
    let mut told = [attention(&mut one, 0), attention(&mut one, 0)];
    told.sort_unstable();
    assert_eq!(told, [Some((0x3f, 0x03)), Some((0x3f, 0x0e))]);
    assert_eq!((device(&mut one), device(&mut two)), ('a', 'c'));
    assert_eq!(attention(&mut two, 0), None);
    world.write("@/ini_groups/near/initiators/mgmt", "add !*#127.0.0.2");
    assert_eq!(device(&mut one), 'b', "every portal but one");
    assert_eq!(device(&mut two), 'c');

    // Without a portal in it, a pattern matches no session.
    world.write("@/ini_groups/near/initiators/mgmt", "clear");
    world.write("@/ini_groups/near/initiators/mgmt", &format!("add {HOST}"));
    assert_eq!(device(&mut one), 'a');
}

#[test]
fn scst_1_8_2_who_has_no_luns_at_a_portal_neither_sees_the_target_there_nor_gets_in() {
    let portals = Portals::new();
    let (world, near, far) = (&portals.world, portals.near, portals.far);
    world.write("@/per_portal_acl", "1");
    portals.group("blocked", "", "*#127.0.0.2");
    assert_eq!(names(near), [OTHER, TARGET]);
    assert_eq!(names(far), [OTHER]);
    assert_eq!(login(far, TARGET, 1).err(), Some(NOT_FOUND));
    login(near, TARGET, 1).unwrap().good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    world.write("@/ini_groups/blocked/luns/mgmt", "add b 0");
    assert_eq!(names(far), [OTHER, TARGET]);
    assert_eq!(device(&mut login(far, TARGET, 1).unwrap()), 'b');
}

#[test]
fn scst_4_5_a_target_is_offered_and_served_at_its_portals_only() {
    let portals = Portals::new();
    let (world, near, far) = (&portals.world, portals.near, portals.far);
    let allow = |verb: &str, pattern: &str| {
        let text = format!("{verb}_target_attribute {TARGET} allowed_portal {pattern}");
        world.write("targets/iscsi/mgmt", &text);
    };
    // Patterns, and whether the target is at 127.0.0.1 and at 127.0.0.2.
    let cases: [(&[&str], bool, bool); 8] = [
        (&[], true, true),
        (&["127.0.0.1"], true, false),
        (&["10.*", "127.0.0.2"], false, true),
        (&["127.0.0.?"], true, true),
        (&["!127.0.0.1"], false, true),
        (&["!127.0.0.1", "!127.0.0.2"], false, false),
        (&["127.*", "!*.2"], true, false),
        (&["10.0.0.1"], false, false),
    ];
    for (patterns, at_near, at_far) in cases {
        patterns.iter().for_each(|pattern| allow("add", pattern));
        for (address, is_there) in [(near, at_near), (far, at_far)] {
            let found = discovered(address);
            let own = found.iter().find(|(name, _)| name == TARGET).map(|(_, addresses)| addresses.clone());
            // Other loopback addresses are of no use to who may be elsewhere.
            let expected = is_there.then(|| vec![format!("{address},1")]);
            assert_eq!(own, expected, "{patterns:?} at {address}");
            assert!(found.iter().any(|(name, _)| name == OTHER), "{patterns:?}");
            match login(address, TARGET, 1) {
                Ok(mut session) => {
                    assert!(is_there, "{patterns:?} at {address}");
                    assert_eq!(device(&mut session), 'a');
                }
                Err(status) => {
                    assert_eq!((is_there, status), (false, NOT_FOUND), "{patterns:?} at {address}")
                }
            }
            login(address, OTHER, 1).unwrap();
        }
        patterns.iter().for_each(|pattern| allow("del", pattern));
    }

    // Who is in stays in.
    let mut session = login(near, TARGET, 7).unwrap();
    allow("add", "127.0.0.2");
    session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    assert_eq!(login(near, TARGET, 8).err(), Some(NOT_FOUND));
    world.write("@/allowed_portal", "127.0.0.1");
    login(near, TARGET, 8).unwrap();
    assert_eq!(login(far, TARGET, 8).err(), Some(NOT_FOUND));
}

#[test]
fn scst_4_3_no_more_sessions_than_max_sessions() {
    let portals = Portals::new();
    let (world, near, far) = (&portals.world, portals.near, portals.far);
    world.write("@/MaxSessions", "2");
    let (mut one, mut two) = (login(near, TARGET, 1).unwrap(), login(far, TARGET, 2).unwrap());
    assert_eq!(login(near, TARGET, 3).err(), Some(OUT_OF_RESOURCES));
    assert_eq!(login(far, TARGET, 3).err(), Some(OUT_OF_RESOURCES));
    assert_eq!(names(near), [OTHER, TARGET], "discovery is no session of the target");
    login(near, OTHER, 3).unwrap();
    for session in [&mut one, &mut two] {
        session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    }
    // Reinstatement (RFC 7143 6.3.5) takes the place of a session, of the same initiator port only.
    let mut again = login(near, TARGET, 1).unwrap();
    assert_eq!(attention(&mut again, 0), Some((0x29, 0x07)));
    assert!(one.command(0, &TEST_UNIT_READY, 0, &[]).is_err());
    assert_eq!(login(near, TARGET, 3).err(), Some(OUT_OF_RESOURCES));
    two.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();

    // A place that is free is taken; a lower limit closes nothing; 0 is no limit.
    drop(two);
    until("it is gone", || world.sessions().len() == 1);
    let mut three = login(near, TARGET, 3).unwrap();
    world.write("@/MaxSessions", "1");
    assert_eq!(login(near, TARGET, 4).err(), Some(OUT_OF_RESOURCES));
    for session in [&mut again, &mut three] {
        session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    }
    world.write("@/MaxSessions", "0");
    let many: Vec<Initiator> = (4..24).map(|isid| login(near, TARGET, isid).unwrap()).collect();
    assert_eq!(world.sessions().len(), 22);
    drop(many);
}

#[test]
fn of_logins_that_come_at_once_no_more_get_in_than_may() {
    let portals = Portals::new();
    let (world, near) = (&portals.world, portals.near);
    world.write("@/MaxSessions", "3");
    for round in 0..100 {
        let barrier = Barrier::new(12);
        let outcomes: Vec<Result<Initiator, (u8, u8)>> = thread::scope(|scope| {
            let come = |isid: u32| {
                barrier.wait();
                login(near, TARGET, isid)
            };
            let logins: Vec<_> = (1..=12).map(|isid| scope.spawn(move || come(isid))).collect();
            logins.into_iter().map(|login| login.join().unwrap()).collect()
        });
        let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
        assert!(refused.clone().all(|status| *status == OUT_OF_RESOURCES), "round {round}");
        assert_eq!(refused.count(), 9, "round {round}");
        assert_eq!(world.sessions().len(), 3, "round {round}");
        drop(outcomes);
        until("all are gone", || world.sessions().is_empty());
    }
}

#[test]
fn rfc7143_6_3_5_of_logins_of_one_port_that_come_at_once_one_session_is_left() {
    let portals = Portals::new();
    let (world, near) = (&portals.world, portals.near);
    for round in 0..100 {
        let barrier = Barrier::new(8);
        let mut sessions: Vec<Initiator> = thread::scope(|scope| {
            // One may end while it is still logging in.
            let come = || {
                barrier.wait();
                Initiator::login(near, TARGET, &Options::default()).ok()
            };
            let logins: Vec<_> = (0..8).map(|_| scope.spawn(come)).collect();
            logins.into_iter().filter_map(|login| login.join().unwrap()).collect()
        });
        until("one is left", || world.sessions().len() == 1);
        let live = sessions.iter_mut().map(|session| session.good(0, &TEST_UNIT_READY, 0, &[]));
        assert_eq!(live.filter(Result::is_ok).count(), 1, "round {round}");
        drop(sessions);
        until("it is gone", || world.sessions().is_empty());
    }
}
