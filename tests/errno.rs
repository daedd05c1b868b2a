//! Every rule of SCST's errno table: a mistake has SCST's errno and a text, and changes nothing.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;
mod initiator;
mod listing;
mod mistakes;
mod support;
mod world;

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use common::Folder;
use initiator::{Initiator, Options, READ, WRITE, rw16};
use listing::listing;
use mistakes::rules;
use scstu::backstore::registry::Handler;
use scstu::instance::Options as InstanceOptions;
use scstu::mgmt::tree::Tree;
use support::gated::Gated;
use world::{TARGET, World, sense};

/// The target that has a session.
const USED: &str = "iqn.2026-01.org.scstu:used";
const PREVENT: [u8; 6] = [0x1e, 0, 0, 0, 1, 0];

/// Something of everything, and an initiator that uses some of it.
fn configured(folder: &Folder) -> (World, Initiator) {
    let world = World::with(InstanceOptions {
        state_directory: Some(folder.file("state")),
        ..InstanceOptions::default()
    });
    for name in ["open", "closed", "blk", "disc", "b"] {
        File::create(folder.file(name)).unwrap().set_len(4 << 20).unwrap();
    }
    let at = |name: &str| folder.file(name).display().to_string();
    world.write_all(&[
        ("setup_id", "0x1234"),
        ("handlers/vdisk_nullio/mgmt", "add_device null size_mb=100;blocksize=4096;rotational=0"),
        ("handlers/vdisk_ram/mgmt", "add_device ram size=1048576;read_only=1"),
        ("handlers/vcdrom/mgmt", "add_device cd"),
        ("handlers/vcdrom/mgmt", "add_device disc"),
        ("devices/disc/filename", &at("disc")),
        ("handlers/vdisk_fileio/mgmt", &format!("add_device open filename={}", at("open"))),
        ("handlers/vdisk_fileio/mgmt", &format!("add_device closed filename={};active=0", at("closed"))),
        ("handlers/vdisk_blockio/mgmt", &format!("add_device blk filename={}", at("blk"))),
        (
            "targets/iscsi/mgmt",
            &format!("add_target {TARGET} QueuedCommands=64;IncomingUser=joe twelvesecrets"),
        ),
        ("targets/iscsi/mgmt", "add_attribute IncomingUser jane twelvesecrets"),
        ("targets/iscsi/mgmt", &format!("add_target_attribute {TARGET} allowed_portal 10.*")),
        ("@/luns/mgmt", "add null 0"),
        ("@/luns/mgmt", "add ram 0x10 read_only=1;"),
        ("@/ini_groups/mgmt", "create hosts"),
        ("@/ini_groups/hosts/luns/mgmt", "add cd 0"),
        ("@/ini_groups/hosts/initiators/mgmt", "add iqn.2026-01.org.*"),
        ("@/enabled", "1"),
        ("targets/iscsi/mgmt", &format!("add_target {USED}")),
        ("device_groups/mgmt", "create dg"),
        ("device_groups/dg/devices/mgmt", "add null"),
        ("device_groups/dg/target_groups/mgmt", "add here"),
        ("device_groups/dg/target_groups/here/mgmt", &format!("add {TARGET}")),
        ("device_groups/dg/target_groups/here/mgmt", "add iqn.peer"),
        ("device_groups/dg/target_groups/here/iqn.peer/rel_tgt_id", "7"),
        ("device_groups/dg/target_groups/here/group_id", "1"),
    ]);
    let used = format!("targets/iscsi/{USED}");
    for (path, text) in [
        ("ini_groups/mgmt", "create members"),
        ("ini_groups/members/initiators/mgmt", "add iqn.2026-01.test:initiator"),
        ("ini_groups/members/luns/mgmt", "add open 0"),
        ("ini_groups/members/luns/mgmt", "add disc 1"),
        ("enabled", "1"),
    ] {
        world.write(&format!("{used}/{path}"), text);
    }
    let mut session = Initiator::login(world.address, USED, &Options::default()).unwrap();
    session.good(0, &rw16(READ, 0, 1, false), 512, &[]).unwrap();
    session.good(1, &PREVENT, 0, &[]).unwrap();
    (world, session)
}

/// `{N}` stands for N letters.
fn filled(text: &str, folder: &Folder) -> String {
    let mut text = text.replace("{F}", folder.0.to_str().unwrap());
    text = text.replace("{T}", TARGET).replace("{U}", USED);
    for length in [128, 160, 223, 250, 255, 256] {
        text = text.replace(&format!("{{{length}}}"), &"x".repeat(length));
    }
    text
}

fn everything(tree: &Tree) -> String {
    let mut text = String::new();
    listing(tree, "", &mut text);
    text.lines().filter(|line| !line.starts_with("last_sysfs_mgmt_res")).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_mistake_has_scsts_errno_and_changes_nothing() {
    let folder = Folder::new("errno");
    let (world, _session) = configured(&folder);
    let tree = &world.tree;
    for (rule, cases) in rules() {
        assert!(!cases.is_empty(), "{rule}");
        for (path, text, errno) in *cases {
            let path = World::path(&path.replace('%', &format!("targets/iscsi/{USED}")));
            let text = filled(text, &folder);
            let before = everything(tree);
            let result = tree.write(&path, &text).map_err(|error| (error.errno, error.text));
            let found = result.as_ref().err().map_or(0, |(errno, _)| *errno);
            assert_eq!(found, *errno, "{rule}\n{text:?} to {path}: {result:?}");
            assert_eq!(tree.read("last_sysfs_mgmt_res").unwrap(), format!("{}\n", -errno));
            if let Err((_, told)) = result {
                assert_eq!(everything(tree), before, "{rule}\n{text:?} to {path} has changed something");
                assert!(!told.is_empty(), "{rule}\n{text:?} to {path}");
            }
        }
    }
}

#[test]
fn scst_1_4_4_an_open_tray_takes_a_medium_while_removal_is_prevented() {
    let folder = Folder::new("errno-tray");
    let (world, mut session) = configured(&folder);
    let at = |name: &str| folder.file(name).display().to_string();
    for cdb in [[0x1e, 0, 0, 0, 0, 0], [0x1b, 0, 0, 0, 2, 0], PREVENT] {
        session.good(1, &cdb, 0, &[]).unwrap();
    }
    world.write("devices/disc/filename", &at("b"));
    let refused = world.tree.write("devices/disc/filename", &at("disc")).unwrap_err();
    assert_eq!(refused.errno, libc::EBUSY, "{}", refused.text);
}

#[test]
fn scst_1_0_1_what_cannot_be_written_or_read_is_eio_and_what_is_too_long_is_e2big() {
    let folder = Folder::new("errno");
    let (world, _session) = configured(&folder);
    let tree = &world.tree;
    let before = everything(tree);
    let (mut read_only, mut write_only) = (0, 0);
    for line in before.lines().filter(|line| !line.contains(" -> ") && !line.ends_with('/')) {
        let mut words = line.split(' ');
        let (path, mode) = (words.next().unwrap(), words.next().unwrap());
        match mode {
            "0444" => {
                assert_eq!(tree.write(path, "1").unwrap_err().errno, libc::EIO, "{path}");
                read_only += 1;
            }
            "0200" => {
                assert_eq!(tree.read(path).unwrap_err().errno, libc::EIO, "{path}");
                write_only += 1;
            }
            _ => {}
        }
        if mode != "0444" {
            let error = tree.write(path, &"x".repeat(4097)).unwrap_err();
            assert!(error.errno == libc::E2BIG && error.text.contains("at most 4096"), "{path}: {error}");
            let error = tree.write(path, "1\0").unwrap_err();
            assert!(error.errno == libc::EINVAL && error.text.contains("NUL"), "{path}: {error}");
        }
    }
    assert!(read_only > 100 && write_only > 5, "{read_only}, {write_only}");
    assert_eq!(everything(tree), before);
}

/// The place of a file among those of its kind: names of objects are left out.
fn kind_of(path: &str) -> String {
    const WORDS: [&str; 12] = [
        "handlers",
        "devices",
        "targets",
        "iscsi",
        "copy_manager",
        "luns",
        "ini_groups",
        "initiators",
        "sessions",
        "device_groups",
        "target_groups",
        "sgv",
    ];
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    let words: Vec<&str> = directory.split('/').filter(|word| WORDS.contains(word)).collect();
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
    format!("{}/{base}", words.join("/"))
}

#[test]
fn every_file_that_takes_some_values_only_has_a_case_that_is_refused() {
    let folder = Folder::new("errno");
    let (world, _session) = configured(&folder);
    let refused = rules().flat_map(|(_, cases)| *cases).filter(|(_, _, errno)| *errno != 0);
    let refused: BTreeSet<String> = refused
        .map(|(path, ..)| kind_of(&World::path(&path.replace('%', &format!("targets/iscsi/{USED}")))))
        .collect();
    let mut missing = BTreeSet::new();
    for line in everything(&world.tree).lines() {
        let (path, mode) = line.split_once(' ').unwrap_or((line, ""));
        let is_written = ["0644", "0600", "0200"].iter().any(|writable| mode.starts_with(writable));
        if is_written && world.tree.describe(path).unwrap().values != "anything" {
            missing.insert(kind_of(path));
        }
    }
    // Targets of both drivers have the same rows.
    missing
        .retain(|kind| !refused.contains(kind) && !refused.contains(&kind.replace("copy_manager", "iscsi")));
    assert!(missing.is_empty(), "no case is refused of {missing:#?}");
}

/// A world whose LUN 0 writes when the test lets it.
fn gated() -> (World, Initiator, Arc<Gated>) {
    let store = Gated::new();
    let world = World::empty();
    let own = Arc::clone(&store);
    let handler = Handler::registered("gated", "waits", move |_| Ok(Some(own.clone())));
    world.instance.register(handler).unwrap();
    world.write_all(&[
        ("handlers/gated/mgmt", "add_device d"),
        ("targets/iscsi/mgmt", &format!("add_target {TARGET}")),
        ("@/luns/mgmt", "add d 0"),
        ("@/enabled", "1"),
    ]);
    let session = world.login();
    (world, session, store)
}

#[test]
fn scst_1_0_5_suspending_is_ebusy_when_a_command_does_not_finish_in_time() {
    let (world, mut session, store) = gated();
    let stuck = session.start(0, &rw16(WRITE, 0, 1, false), 0, &[1; 512]).unwrap();
    session.nop().unwrap();
    let (errno, text) = world.refused("suspend", "1");
    assert!(errno == libc::EBUSY && text.contains("1 s"), "{errno} {text}");
    assert_eq!(world.read("suspend"), "0\n", "it was undone");
    let other = session.start(0, &rw16(READ, 9, 1, false), 512, &[]).unwrap();
    assert_eq!(session.wait(other).unwrap().status, 0, "commands go on");
    store.allow(512);
    assert_eq!(session.wait(stuck).unwrap().status, 0);
    world.write("suspend", "1");
    assert_eq!(world.read("suspend"), "1\n");
    world.write("suspend", "-1");
}

#[test]
fn scst_1_1_what_is_suspended_is_suspended_again_at_once() {
    let (world, mut session, store) = gated();
    store.allow(1 << 20);
    world.write("suspend", "30");
    let waiting = session.start(0, &rw16(READ, 0, 1, false), 512, &[]).unwrap();
    session.nop().unwrap();
    let begun = Instant::now();
    world.write_all(&[("suspend", "30"), ("devices/d/block", "1")]);
    assert!(begun.elapsed().as_secs() < 30, "what waits behind the first must not make the second wait");
    assert_eq!((world.read("suspend"), world.read("devices/d/block")), ("2\n".into(), "1 0\n".into()));
    for (path, text) in [("suspend", "-1"), ("suspend", "-1"), ("devices/d/block", "0")] {
        session.nop().unwrap();
        assert!(session.answer(waiting).is_none(), "held before {text} to {path}");
        world.write(path, text);
    }
    assert_eq!(session.wait(waiting).unwrap().status, 0);
    assert_eq!(sense(&mut session, 0, &rw16(READ, 0, 1, false), 512), None);
}
