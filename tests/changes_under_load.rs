//! Changes of the configuration while sessions work: those whom a change concerns are told, in the way that
//! SCST tells them (5.11), and nobody else; no command of another LUN is lost or goes astray.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;
mod verified;
mod world;

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::Folder;
use initiator::{Initiator, Options, READ, WRITE, rw16};
use verified::{BLOCK, BUSY, Load, sense_of};
use world::{TARGET, TEST_UNIT_READY, World, sense, until};

/// A target that no change concerns.
const OTHER: &str = "iqn.2026-01.org.scstu:other";
const READ_10: &[u8] = &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// The last block of 1 MiB.
const READ_LAST: &[u8] = &[0x28, 0, 0, 0, 0x07, 0xff, 0, 0, 1, 0];
/// The last block of 2 MiB.
const READ_FAR: &[u8] = &[0x28, 0, 0, 0, 0x0f, 0xff, 0, 0, 1, 0];
const WRITE_10: &[u8] = &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// What is in the first block of the devices that are changed.
const OLD: [u8; BLOCK] = [0x5a; BLOCK];

/// Commands that each session must have done since a change.
const COMMANDS: u64 = 40;

type Sense = (u8, u16);

/// A change, and what follows.
#[derive(Default)]
struct Change {
    what: &'static str,
    writes: &'static [(&'static str, &'static str)],
    /// Unit attentions of the session at the changed target, by LUN.
    near: &'static [Sense],
    /// Those of the session that sees the changed device elsewhere.
    apart: &'static [Sense],
    /// Commands to LUN 1 of the first session, and how they end.
    then: &'static [(&'static [u8], usize, Option<Sense>)],
}

const LUNS_CHANGED: u16 = 0x3f0e;
const INQUIRY_CHANGED: u16 = 0x3f03;
const CAPACITY_CHANGED: u16 = 0x2a09;
const MEDIUM_CHANGED: u16 = 0x2800;
const STATE_CHANGED: u16 = 0x2a06;
const POWER_ON: u16 = 0x2900;

const CHANGES: &[Change] = &[
    Change {
        what: "a LUN comes",
        writes: &[("@/luns/mgmt", "add spare 2")],
        near: &[(0, LUNS_CHANGED), (1, LUNS_CHANGED), (2, POWER_ON), (3, LUNS_CHANGED)],
        apart: &[],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "a LUN is replaced",
        writes: &[("@/luns/mgmt", "replace spare 1")],
        near: &[(1, INQUIRY_CHANGED)],
        apart: &[],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "a LUN is replaced in silence",
        writes: &[("@/luns/mgmt", "replace_no_ua subject 1")],
        near: &[],
        apart: &[],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "a LUN goes",
        writes: &[("@/luns/mgmt", "del 2")],
        near: &[(0, LUNS_CHANGED), (1, LUNS_CHANGED), (3, LUNS_CHANGED)],
        apart: &[],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "a LUN goes read-only",
        writes: &[("@/luns/mgmt", "replace subject 1 read_only=1")],
        near: &[(1, INQUIRY_CHANGED)],
        apart: &[],
        then: &[(WRITE_10, 0, Some((7, 0x2700))), (READ_10, 512, None)],
    },
    Change {
        what: "and can be written again",
        writes: &[("@/luns/mgmt", "replace subject 1")],
        near: &[(1, INQUIRY_CHANGED)],
        apart: &[],
        then: &[(WRITE_10, 0, None)],
    },
    Change {
        what: "a device grows",
        writes: &[("devices/subject/size_mb", "2")],
        near: &[(1, CAPACITY_CHANGED)],
        apart: &[(1, CAPACITY_CHANGED)],
        then: &[(READ_FAR, 512, None)],
    },
    Change {
        what: "a device shrinks",
        writes: &[("devices/subject/size_mb", "1")],
        near: &[(1, CAPACITY_CHANGED)],
        apart: &[(1, CAPACITY_CHANGED)],
        then: &[(READ_FAR, 512, Some((5, 0x2100))), (READ_LAST, 512, None)],
    },
    Change {
        what: "a file grows behind the target, and is looked at",
        writes: &[("devices/file/resync_size", "1")],
        near: &[(3, CAPACITY_CHANGED)],
        apart: &[],
        then: &[],
    },
    Change {
        what: "a device has another name",
        writes: &[("devices/subject/prod_id", "another")],
        near: &[(1, INQUIRY_CHANGED)],
        apart: &[(1, INQUIRY_CHANGED)],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "paths to a device are worse",
        writes: &[("device_groups/dg/target_groups/tg/state", "nonoptimized")],
        near: &[(1, STATE_CHANGED)],
        apart: &[(1, STATE_CHANGED)],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "paths to a device are closed",
        writes: &[("device_groups/dg/target_groups/tg/state", "standby")],
        near: &[],
        apart: &[],
        then: &[(READ_10, 512, Some((2, 0x040b)))],
    },
    Change {
        what: "and open",
        writes: &[("device_groups/dg/target_groups/tg/state", "active")],
        // The change to standby was not asked for yet; an attention that is queued is not queued twice.
        near: &[(1, STATE_CHANGED)],
        apart: &[(1, STATE_CHANGED)],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "a target is disabled",
        writes: &[("@/enabled", "0")],
        near: &[],
        apart: &[],
        then: &[(READ_10, 512, None), (WRITE_10, 0, None)],
    },
    Change {
        what: "a target is enabled",
        writes: &[("@/enabled", "1")],
        near: &[],
        apart: &[],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "the initiator gets a group, where LUN 0 is the same",
        writes: &[("@/ini_groups/hosts/initiators/mgmt", "add iqn.2026-01.test:load1")],
        near: &[(0, LUNS_CHANGED), (1, INQUIRY_CHANGED), (1, LUNS_CHANGED)],
        apart: &[],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "it moves to another",
        writes: &[("@/ini_groups/hosts/initiators/mgmt", "move iqn.2026-01.test:load1 guests")],
        near: &[(0, LUNS_CHANGED), (1, INQUIRY_CHANGED), (1, LUNS_CHANGED)],
        apart: &[],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "it leaves",
        writes: &[("@/ini_groups/guests/initiators/mgmt", "clear")],
        near: &[(0, LUNS_CHANGED), (1, LUNS_CHANGED), (3, POWER_ON)],
        apart: &[],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "a group that nobody is in changes",
        writes: &[
            ("@/ini_groups/hosts/luns/mgmt", "clear"),
            ("@/ini_groups/mgmt", "del hosts"),
            ("@/comment", "nothing that an initiator sees"),
        ],
        near: &[],
        apart: &[],
        then: &[(READ_10, 512, None)],
    },
    Change {
        what: "a file takes the place of the disk",
        writes: &[("@/luns/mgmt", "replace file 1")],
        near: &[(1, INQUIRY_CHANGED)],
        apart: &[],
        then: &[(READ_FAR, 512, None)],
    },
    Change {
        what: "the file is closed",
        writes: &[("devices/file/active", "0")],
        near: &[],
        apart: &[],
        then: &[(READ_10, 512, Some((2, 0x3a00)))],
    },
    Change {
        what: "and opened again",
        writes: &[("devices/file/active", "1")],
        near: &[(1, MEDIUM_CHANGED), (3, MEDIUM_CHANGED)],
        apart: &[],
        then: &[(READ_FAR, 512, None)],
    },
    Change {
        what: "an empty drive is mapped",
        writes: &[("@/luns/mgmt", "replace cd 1")],
        near: &[(1, INQUIRY_CHANGED)],
        apart: &[],
        then: &[(READ_10, 2048, Some((2, 0x3a01)))],
    },
    Change {
        what: "a medium is inserted",
        writes: &[("devices/cd/filename", "{F}/disc1")],
        near: &[(1, MEDIUM_CHANGED)],
        apart: &[],
        then: &[(READ_10, 2048, None)],
    },
    Change {
        what: "another takes its place",
        writes: &[("devices/cd/filename", "{F}/disc2")],
        near: &[(1, MEDIUM_CHANGED)],
        apart: &[],
        then: &[(READ_10, 2048, None)],
    },
    Change {
        what: "it is ejected",
        writes: &[("devices/cd/filename", "")],
        near: &[],
        apart: &[],
        then: &[(READ_10, 2048, Some((2, 0x3a01)))],
    },
    Change {
        what: "a disk is mapped again, and deleted with all its LUNs",
        writes: &[("@/luns/mgmt", "replace subject 1"), ("handlers/vdisk_ram/mgmt", "del_device subject")],
        near: &[(0, LUNS_CHANGED), (3, LUNS_CHANGED)],
        apart: &[(0, LUNS_CHANGED)],
        then: &[(READ_10, 512, Some((5, 0x2500)))],
    },
];

/// Two targets; at one of them two initiators with maps of their own.
fn world(folder: &Folder) -> World {
    for (name, length) in [("busy", 1 << 20), ("file", 1 << 20), ("disc1", 1 << 20), ("disc2", 1 << 20)] {
        File::create(folder.file(name)).unwrap().set_len(length).unwrap();
    }
    let file = |name: &str| format!("add_device {name} filename={}", folder.file(name).display());
    let world = World::empty();
    world.write_all(&[
        ("handlers/vdisk_fileio/mgmt", &file("busy")),
        ("handlers/vdisk_fileio/mgmt", &file("file")),
        ("handlers/vdisk_ram/mgmt", "add_device quick size=1M"),
        ("handlers/vdisk_ram/mgmt", "add_device far size=1M"),
        ("handlers/vdisk_ram/mgmt", "add_device subject size=1M"),
        ("handlers/vdisk_ram/mgmt", "add_device spare size=1M"),
        ("handlers/vcdrom/mgmt", "add_device cd"),
        ("targets/iscsi/mgmt", &format!("add_target {TARGET}")),
        ("@/luns/mgmt", "add busy 0"),
        ("@/luns/mgmt", "add subject 1"),
        ("@/luns/mgmt", "add file 3"),
        ("@/ini_groups/mgmt", "create apart"),
        ("@/ini_groups/apart/initiators/mgmt", "add iqn.2026-01.test:load2"),
        ("@/ini_groups/apart/luns/mgmt", "add quick 0"),
        ("@/ini_groups/apart/luns/mgmt", "add subject 1"),
        ("@/ini_groups/mgmt", "create hosts"),
        ("@/ini_groups/hosts/luns/mgmt", "add busy 0"),
        ("@/ini_groups/hosts/luns/mgmt", "add spare 1"),
        ("@/ini_groups/mgmt", "create guests"),
        ("@/ini_groups/guests/luns/mgmt", "add busy 0"),
        ("@/ini_groups/guests/luns/mgmt", "add subject 1"),
        ("@/enabled", "1"),
        ("device_groups/mgmt", "create dg"),
        ("device_groups/dg/devices/mgmt", "add subject"),
        ("device_groups/dg/target_groups/mgmt", "add tg"),
        ("device_groups/dg/target_groups/tg/mgmt", &format!("add {TARGET}")),
        ("device_groups/dg/target_groups/tg/group_id", "1"),
        ("targets/iscsi/mgmt", &format!("add_target {OTHER}")),
        (&format!("targets/iscsi/{OTHER}/luns/mgmt"), "add far 0"),
        (&format!("targets/iscsi/{OTHER}/luns/mgmt"), "add spare 1"),
        (&format!("targets/iscsi/{OTHER}/enabled"), "1"),
    ]);
    world
}

/// The data of LUN 1.
fn whole(session: &mut Initiator, _seen: &mut Vec<Sense>) -> Vec<u8> {
    let piece = |at: u64| session.good(1, &rw16(READ, at * 128, 128, false), 128 * BLOCK, &[]).unwrap();
    (0..16).flat_map(piece).collect()
}

#[test]
fn scst_5_11_whom_a_change_concerns_is_told_and_nothing_is_lost() {
    let folder = Folder::new("changes");
    let world = world(&folder);
    let near = Load::start(world.address, TARGET, 1);
    let apart = Load::start(world.address, TARGET, 2);
    let far = Load::start(world.address, OTHER, 3);
    for load in [&near, &apart, &far] {
        load.attentions(&[0, 1, 3]);
    }
    assert_eq!(near.outcome(1, WRITE_10, 0, &OLD), None);
    File::options().write(true).open(folder.file("file")).unwrap().set_len(2 << 20).unwrap();
    for (number, change) in CHANGES.iter().enumerate() {
        let all = [&near, &apart, &far];
        if number + 1 == CHANGES.len() {
            // What was written to other LUNs never went here.
            assert!(apart.ask(whole) == [&OLD[..], &[0; (1 << 20) - BLOCK]].concat(), "of subject");
            assert!(far.ask(whole) == [0; 1 << 20], "of spare");
        }
        all.iter().for_each(|load| load.progress(COMMANDS));
        for (path, text) in change.writes {
            world.write(path, &text.replace("{F}", folder.0.to_str().unwrap()));
        }
        all.iter().for_each(|load| load.progress(COMMANDS));
        let told = [near.attentions(&[0, 1, 2, 3]), apart.attentions(&[0, 1]), far.attentions(&[0, 1])];
        assert_eq!(told, [change.near, change.apart, &[]], "{}", change.what);
        for (cdb, read, expected) in change.then {
            let write: &'static [u8] = if *cdb == WRITE_10 { &OLD } else { &[] };
            assert_eq!(near.outcome(1, cdb, *read, write), *expected, "{}: {cdb:02x?}", change.what);
        }
    }
    near.stop();
    apart.stop();
    far.stop();
}

#[test]
fn a_target_goes_when_its_sessions_have_and_others_go_on() {
    let folder = Folder::new("changes");
    let world = world(&folder);
    let far = Load::start(world.address, OTHER, 3);
    far.attentions(&[0, 1]);
    let mut session = world.login();
    let delete = || world.tree.write("targets/iscsi/mgmt", &format!("del_target {TARGET}"));
    assert_eq!(delete().unwrap_err().errno, libc::EBUSY);
    assert_eq!(sense(&mut session, 0, READ_10, 512), None, "nothing has happened");
    far.progress(COMMANDS);
    let waiting = session.start(0, &rw16(WRITE, 0, 1, false), 0, &[1; BLOCK]).unwrap();
    world.write(&format!("@/sessions/{}/force_close", session.options().name), "1");
    until("the session is closed", || world.sessions().is_empty());
    delete().unwrap();
    far.progress(COMMANDS);
    // Whatever was said before the end: an answer, or a request to log out; then the connection ends.
    while session.pump().is_ok() {}
    let _ = session.answer(waiting);
    assert!(Initiator::login(world.address, TARGET, &Options::default()).is_err());
    far.progress(COMMANDS);
    assert_eq!(far.attentions(&[0, 1]), [], "nobody else is told");
    far.stop();
}

#[test]
fn what_is_answered_before_a_replacement_is_told_is_on_the_old_device_and_later_on_the_new() {
    let folder = Folder::new("changes");
    let world = world(&folder);
    let near = Load::start(world.address, TARGET, 1);
    near.attentions(&[0, 1]);
    let stop = AtomicBool::new(false);
    let devices = ["subject", "spare"];
    // Number of the last write to each block of each device, as the initiator believes.
    let mut last = [[0u8; 256]; 2];
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=60 {
                world.write("@/luns/mgmt", &format!("replace {} 1", devices[round % 2]));
                near.progress(5);
            }
            stop.store(true, Ordering::Relaxed);
        });
        let options = Options { isid: 9, name: "iqn.2026-01.test:writer".to_owned(), ..Options::default() };
        let mut session = Initiator::login(world.address, TARGET, &options).unwrap();
        session.good(1, &TEST_UNIT_READY, 0, &[]).unwrap();
        // Which it is now, the product says.
        let seen_device = |session: &mut Initiator| {
            loop {
                let answer = session.command(1, &[0x12, 0, 0, 0, 96, 0], 96, &[]).unwrap();
                if answer.status != BUSY {
                    return usize::from(answer.data[16..].starts_with(b"spare"));
                }
            }
        };
        let (mut now, mut number, mut told) = (seen_device(&mut session), 0u8, 0);
        while !stop.load(Ordering::Relaxed) || told == 0 {
            number = number.wrapping_add(1).max(1);
            let lba = usize::from(number);
            let cdb = rw16(WRITE, lba as u64, 1, false);
            let answer = session.command(1, &cdb, 0, &[number; BLOCK]).unwrap();
            if answer.status == BUSY {
                continue;
            }
            match sense_of(&answer) {
                None => last[now][lba] = number,
                Some((6, 0x3f03)) => {
                    told += 1;
                    now = seen_device(&mut session);
                }
                Some(other) => panic!("{other:02x?}"),
            }
        }
        assert!(told > 5, "{told}");
    });
    for (device, last) in devices.iter().zip(&last) {
        world.write("@/luns/mgmt", &format!("replace_no_ua {device} 1"));
        let mut session = world.login();
        for (lba, number) in last.iter().enumerate() {
            let data = session.good(1, &rw16(READ, lba as u64, 1, false), BLOCK, &[]).unwrap();
            assert_eq!(data, [*number; BLOCK], "{device}, block {lba}");
        }
    }
    near.stop();
}
