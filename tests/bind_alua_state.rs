//! `bind_alua_state`: the file of a device that no path reaches is closed, and open when one does.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;
mod initiator;
mod world;

use std::fs;
use std::path::PathBuf;

use common::Folder;
use initiator::{Initiator, READ, WRITE, rw16};
use scstu::mgmt::conf::save;
use world::{TARGET, World, sense, until};

const STATE: &str = "device_groups/dg/target_groups/here/state";
const BIND: &str = "devices/d/bind_alua_state";
const BLOCK: usize = 512;

/// One file device that follows the access state of its group, and the file.
struct Bound {
    world: World,
    file: PathBuf,
    _folder: Folder,
}

impl Bound {
    fn new(parameters: &str) -> Bound {
        Bound::of("vdisk_fileio", parameters)
    }

    fn of(handler: &str, parameters: &str) -> Bound {
        let folder = Folder::new("bound");
        let file = folder.file("disk");
        fs::File::create(&file).unwrap().set_len(1 << 20).unwrap();
        let device = format!("add_device d filename={};{parameters}", file.display());
        let world = World::empty();
        world.write_all(&[
            (&format!("handlers/{handler}/mgmt"), &device),
            ("targets/iscsi/mgmt", &format!("add_target {TARGET}")),
            ("@/luns/mgmt", "add d 0"),
            ("@/enabled", "1"),
            ("device_groups/mgmt", "create dg"),
            ("device_groups/dg/devices/mgmt", "add d"),
            ("device_groups/dg/target_groups/mgmt", "add here"),
            ("device_groups/dg/target_groups/here/mgmt", &format!("add {TARGET}")),
            ("device_groups/dg/target_groups/here/group_id", "1"),
        ]);
        Bound { world, file, _folder: folder }
    }

    /// Whether this process has the file open.
    fn is_open(&self) -> bool {
        let link = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
        let mut open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| link(entry.unwrap()));
        open.any(|path| path == self.file)
    }

    fn opens(&self, what: &str) {
        assert!(self.is_open(), "{what}");
    }

    /// A command that has just ended may still have it.
    fn closes(&self, what: &str) {
        until(what, || !self.is_open());
    }
}

fn write(session: &mut Initiator, lba: u64, byte: u8) {
    session.good(0, &rw16(WRITE, lba, 1, false), 0, &[byte; BLOCK]).unwrap();
}

fn read(session: &mut Initiator, lba: u64) -> Vec<u8> {
    session.good(0, &rw16(READ, lba, 1, false), BLOCK, &[]).unwrap()
}

#[test]
fn scst_5_7_every_state_without_access_closes_the_file_and_its_end_opens_it() {
    let bound = Bound::new("bind_alua_state=1");
    let world = &bound.world;
    let mut session = world.login();
    bound.opens("active");
    let states =
        [("standby", 0x040b), ("unavailable", 0x040c), ("offline", 0x040c), ("transitioning", 0x040a)];
    for (byte, (state, code)) in (1..).zip(states) {
        for back in ["active", "nonoptimized"] {
            write(&mut session, u64::from(byte), byte);
            world.write(STATE, state);
            bound.closes(state);
            assert_eq!(sense(&mut session, 0, &rw16(READ, 0, 1, false), BLOCK), Some((2, code)), "{state}");
            assert_eq!(world.read("devices/d/active"), "1\n", "{state}: it is still wanted");
            assert!(!save::save(&world.tree.model().configuration()).contains("active 0"), "{state}");
            world.write(STATE, back);
            bound.opens(back);
            assert_eq!(read(&mut session, u64::from(byte)), [byte; BLOCK], "{state}, {back}");
        }
    }
}

#[test]
fn scst_1_4_2_vdisk_blockio_follows_by_itself_and_vdisk_fileio_when_it_is_told() {
    for (handler, follows) in [("vdisk_blockio", true), ("vdisk_fileio", false)] {
        let bound = Bound::of(handler, "");
        assert_eq!(bound.world.read(BIND), format!("{}\n", u8::from(follows)));
        bound.world.write(STATE, "offline");
        if follows {
            bound.closes(handler);
        } else {
            bound.opens(handler);
        }
        bound.world.write(STATE, "active");
        bound.opens(handler);
    }
}

#[test]
fn it_stays_open_while_a_local_path_reaches_it_or_nobody_has_asked() {
    let bound = Bound::new("bind_alua_state=0");
    let world = &bound.world;
    let mut session = world.login();
    write(&mut session, 7, 7);
    world.write(STATE, "offline");
    bound.opens("bind_alua_state is 0");
    world.write(STATE, "active");
    bound.opens("and it was open all the time");
    assert_eq!(read(&mut session, 7), [7; BLOCK]);
    world.write_all(&[
        (BIND, "1"),
        ("targets/iscsi/mgmt", "add_target iqn.2026-01.org.scstu:second"),
        ("device_groups/dg/target_groups/mgmt", "add there"),
        ("device_groups/dg/target_groups/there/mgmt", "add iqn.2026-01.org.scstu:second"),
        ("device_groups/dg/target_groups/there/group_id", "2"),
        ("device_groups/dg/target_groups/mgmt", "add far"),
        ("device_groups/dg/target_groups/far/mgmt", "add iqn.2026-01.org.scstu:of-another-node"),
        (STATE, "unavailable"),
    ]);
    bound.opens("another local target reaches it");
    world.write("device_groups/dg/target_groups/there/state", "standby");
    bound.closes("no local target reaches it, whatever another node's does");
    world.write("targets/iscsi/mgmt", "del_target iqn.2026-01.org.scstu:second");
    bound.closes("nor now");
    world.write("device_groups/dg/devices/mgmt", "del d");
    bound.opens("it is in no group");
    world.write("device_groups/dg/devices/mgmt", "add d");
    bound.closes("and in one again");
    world.write("device_groups/mgmt", "del dg");
    bound.opens("without groups every path is active");
}

#[test]
fn the_attribute_counts_at_once() {
    let bound = Bound::new("bind_alua_state=0");
    let world = &bound.world;
    world.write(STATE, "unavailable");
    bound.opens("it does not follow");
    world.write(BIND, "1");
    bound.closes("it follows from now on");
    world.write(BIND, "0");
    bound.opens("and no longer");
    world.write(BIND, "1");
    world.write("devices/d/active", "0");
    world.write(STATE, "active");
    bound.closes("active is 0");
    world.write(STATE, "offline");
    world.write("devices/d/active", "1");
    bound.closes("the state keeps it closed");
    world.write(STATE, "active");
    bound.opens("now nothing does");
    assert_eq!(read(&mut world.login(), 0), [0; BLOCK]);
}

#[test]
fn what_cannot_be_opened_is_told_and_can_be_tried_again() {
    let bound = Bound::new("bind_alua_state=1;thin_provisioned=1");
    let world = &bound.world;
    let mut session = world.login();
    write(&mut session, 3, 3);
    let away = bound.file.with_extension("away");
    let hide = || fs::rename(&bound.file, &away).unwrap();
    let bring = || fs::rename(&away, &bound.file).unwrap();
    let is_refused = |path: &str, text: &str| {
        let before = world.read(path);
        let (errno, told) = world.refused(path, text);
        assert_eq!(errno, libc::ENOENT, "{told}");
        assert!(told.contains("device d") || path.contains("devices/d"), "{told}");
        assert_eq!(world.read(path), before, "{path}: nothing has changed");
        bound.closes("nothing is open");
    };

    world.write(STATE, "offline");
    hide();
    is_refused(STATE, "active");
    is_refused(BIND, "0");
    assert_eq!(world.refused("device_groups/mgmt", "del dg").0, libc::ENOENT);
    assert_eq!(sense(&mut session, 0, &rw16(READ, 0, 1, false), BLOCK), Some((2, 0x040c)), "still offline");
    bring();
    world.write(STATE, "active");
    bound.opens("tried again");
    assert_eq!(read(&mut session, 3), [3; BLOCK]);

    // With `active` too: the state may change while the device is not wanted.
    world.write(STATE, "offline");
    hide();
    world.write("devices/d/active", "0");
    world.write(STATE, "active");
    is_refused("devices/d/active", "1");
    bring();
    world.write("devices/d/active", "1");
    bound.opens("tried again");
    assert_eq!(read(&mut session, 3), [3; BLOCK]);
    assert_eq!(world.read("devices/d/thin_provisioned"), "1\n[key]\n");
}

#[test]
fn spc_6_45_an_initiator_is_told_as_well() {
    let bound = Bound::new("bind_alua_state=1");
    let world = &bound.world;
    world.write("devices/d/expl_alua", "1");
    let mut session = world.login();
    let away = bound.file.with_extension("away");
    let mut set = |state: u8| {
        let cdb = [0xa4, 0x0a, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
        let answer = session.command(0, &cdb, 0, &[0, 0, 0, 0, state, 0, 0, 1]).unwrap();
        (answer.status, answer.sense.get(2..14).map(|sense| (sense[0] & 0x0f, sense[10], sense[11])))
    };
    assert_eq!(set(3), (0, None), "unavailable");
    bound.closes("unavailable");
    fs::rename(&bound.file, &away).unwrap();
    assert_eq!(set(0), (2, Some((4, 0x67, 0x0a))), "SET TARGET PORT GROUPS COMMAND FAILED");
    assert_eq!(world.read(STATE), "unavailable\n[key]\n");
    fs::rename(&away, &bound.file).unwrap();
    assert_eq!(set(0), (0, None));
    bound.opens("active again");
    assert_eq!(read(&mut session, 0), [0; BLOCK]);
}

/// A path that may not be used would be active again, and another node may have the medium.
#[test]
fn a_session_stays_in_the_group_of_its_target_when_that_gets_another_identifier() {
    let bound = Bound::new("bind_alua_state=0");
    let world = &bound.world;
    let mut session = world.login();
    let mut refused = |what: &str| {
        let mut told = (0..9).map(|_| sense(&mut session, 0, &rw16(READ, 0, 1, false), BLOCK));
        // Unit attentions come first.
        let told = told.find(|told| told.is_none_or(|(key, _)| key != 6));
        assert_eq!(told, Some(Some((2, 0x040b))), "{what}");
    };
    world.write(STATE, "standby");
    refused("standby");
    world.write("@/rel_tgt_id", "7");
    refused("with another identifier");
    world.write("@/enabled", "0");
    world.write("@/rel_tgt_id", "0");
    refused("with none");
}

#[test]
fn a_disk_that_has_grown_is_opened_again_as_large() {
    for size in ["", "size=524288;"] {
        let bound = Bound::of("vdisk_blockio", size);
        let grown = if size.is_empty() { 3 << 20 } else { 2 << 20 };
        fs::File::options().write(true).open(&bound.file).unwrap().set_len(2 << 20).unwrap();
        bound.world.write("devices/d/resync_size", "1");
        if size.is_empty() {
            // Nobody has asked for a size: it is the backing's.
            fs::File::options().write(true).open(&bound.file).unwrap().set_len(grown).unwrap();
        }
        bound.world.write(STATE, "standby");
        bound.closes("standby");
        bound.world.write(STATE, "active");
        assert_eq!(bound.world.read("devices/d/size"), format!("{grown}\n[key]\n"), "{size}");
        fs::File::options().write(true).open(&bound.file).unwrap().set_len(4 << 20).unwrap();
        assert_eq!(bound.world.instance.resync_device("d").unwrap(), 4 << 20);
        bound.world.write("devices/d/active", "0");
        bound.world.write("devices/d/active", "1");
        assert_eq!(bound.world.read("devices/d/size"), "4194304\n[key]\n", "{size}");
    }
}
