//! The tree: its listing, and what follows from a write.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod listing;

use std::sync::Arc;

use listing::listing;
use scstu::mgmt::tree::{Kind, Tree};
use scstu::model::Model;
use scstu::scsi::device::Dispatch;
use scstu::server::pool::Pool;

const TARGET: &str = "iqn.2026-01.org.scstu:Disk";

fn tree() -> Tree {
    let dispatch: Arc<dyn Dispatch> = Arc::new(Pool::new(2));
    Tree::new(Model::new(dispatch, None).unwrap())
}

/// Writes, and says which write it was when one fails.
fn write(tree: &Tree, path: &str, text: &str) {
    tree.write(path, text).unwrap_or_else(|error| panic!("{text:?} to {path}: {error}"));
}

/// A daemon with a bit of everything.
fn configured() -> Tree {
    let tree = tree();
    let target = format!("targets/iscsi/{TARGET}");
    for (path, text) in [
        ("setup_id", "0x1234"),
        ("handlers/vdisk_nullio/mgmt", "add_device null size_mb=100; blocksize=4096; rotational=0"),
        ("handlers/vdisk_ram/mgmt", "add_device ram size=1048576;read_only=1"),
        ("handlers/vcdrom/mgmt", "add_device cd"),
        ("devices/null/prod_id", "measure"),
        (
            "targets/iscsi/mgmt",
            &format!("add_target {TARGET} QueuedCommands=64;IncomingUser=joe twelvesecrets"),
        ),
        ("targets/iscsi/mgmt", "add_attribute IncomingUser jane twelvesecrets"),
        ("targets/iscsi/mgmt", &format!("add_target_attribute {TARGET} IncomingUser jim twelvesecrets")),
        ("targets/iscsi/mgmt", &format!("add_target_attribute {TARGET} allowed_portal 10.*")),
        (&format!("{target}/luns/mgmt"), "add null 0"),
        (&format!("{target}/luns/mgmt"), "add ram 0x10 read_only=1;"),
        (&format!("{target}/ini_groups/mgmt"), "create hosts"),
        (&format!("{target}/ini_groups/hosts/luns/mgmt"), "add cd 0"),
        (&format!("{target}/ini_groups/hosts/initiators/mgmt"), "add iqn.2026-01.org.*"),
        (&format!("{target}/enabled"), "1"),
        ("targets/iscsi/enabled", "1"),
        ("device_groups/mgmt", "create dg"),
        ("device_groups/dg/devices/mgmt", "add null"),
        ("device_groups/dg/target_groups/mgmt", "add here"),
        ("device_groups/dg/target_groups/here/mgmt", &format!("add {TARGET}")),
        ("device_groups/dg/target_groups/here/mgmt", "add iqn.peer"),
        ("device_groups/dg/target_groups/here/iqn.peer/rel_tgt_id", "7"),
        ("device_groups/dg/target_groups/here/group_id", "1"),
    ] {
        write(&tree, path, text);
    }
    tree
}

#[test]
fn the_whole_tree_is_as_it_was() {
    let mut found = String::new();
    listing(&configured(), "", &mut found);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tree.txt");
    if std::env::var_os("SCSTU_BLESS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).unwrap();
        std::fs::write(path, &found).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    for (found, golden) in found.lines().zip(golden.lines()) {
        assert_eq!(found, golden, "SCSTU_BLESS=1 accepts the tree as it is now");
    }
    assert_eq!(found.lines().count(), golden.lines().count());
}

#[test]
fn scst_1_0_3_parameters_on_a_line_of_their_own_count() {
    let tree = configured();
    let luns = format!("targets/iscsi/{TARGET}/luns");
    write(&tree, &format!("{luns}/mgmt"), "add null 50\nread_only=1\n");
    write(&tree, &format!("{luns}/mgmt"), "add null 51 \n\n read_only=1");
    for lun in [50, 51] {
        assert_eq!(tree.read(&format!("{luns}/{lun}/read_only")).unwrap().lines().next(), Some("1"));
    }
    for text in ["add null 52\nbogus=1\n", "add null 52\n garbage here = and there\n", "del 50\ndel 51\n"] {
        assert_eq!(tree.write(&format!("{luns}/mgmt"), text).unwrap_err().errno, libc::EINVAL, "{text:?}");
    }
    write(&tree, "targets/iscsi/mgmt", "add_target iqn.c:2\nIncomingUser joe 12charsecret\n");
    assert!(tree.read("targets/iscsi/iqn.c:2/IncomingUser").unwrap().starts_with("joe 12charsecret\n"));
}

#[test]
fn accounts_have_no_control_characters_and_blanks_are_of_one_kind() {
    let tree = configured();
    let command = |text: String| tree.write("targets/iscsi/mgmt", &text);
    for text in [
        "a\u{b}b 123456789012",
        "joe1 secretsecret\u{1}x",
        "joe2 secretsecret1\u{7f}",
        "a\u{85}b 123456789012",
    ] {
        let error = command(format!("add_attribute IncomingUser {text}")).unwrap_err();
        assert!(error.errno == libc::EINVAL && error.text.contains("control character"), "{text:?}: {error}");
    }
    let before = tree.read("targets/iscsi/IncomingUser").unwrap();
    assert!(tree.write("targets/iscsi/IncomingUser", "joe secret\u{1}secret\n").is_err());
    assert_eq!(tree.read("targets/iscsi/IncomingUser").unwrap(), before);
    command("add_attribute IncomingUser no\u{a0}break 123456789012".to_owned()).unwrap();
    assert_eq!(command("del_attribute IncomingUser no".to_owned()).unwrap_err().errno, libc::ENOENT);
    command("del_attribute IncomingUser no\u{a0}break".to_owned()).unwrap();
}

#[test]
fn an_identifier_of_a_port_of_another_node_is_given_to_no_target() {
    let tree = configured();
    write(&tree, "device_groups/dg/target_groups/here/iqn.peer/rel_tgt_id", "2");
    write(&tree, "targets/iscsi/mgmt", "add_target other");
    write(&tree, "device_groups/dg/target_groups/here/mgmt", "add other");
    write(&tree, "targets/iscsi/other/enabled", "1");
    assert_eq!(tree.read("targets/iscsi/other/rel_tgt_id").unwrap(), "3\n[key]\n");
}

#[test]
fn an_identifier_of_another_enabled_target_is_ebadslt() {
    let tree = configured();
    write(&tree, "targets/iscsi/mgmt", "add_target other");
    write(&tree, "targets/iscsi/other/rel_tgt_id", "1");
    assert_eq!(tree.write("targets/iscsi/other/enabled", "1").unwrap_err().errno, libc::EBADSLT);
    assert_eq!(tree.read("targets/iscsi/other/enabled").unwrap(), "0\n");
    write(&tree, "targets/iscsi/other/rel_tgt_id", "0");
    write(&tree, "targets/iscsi/other/enabled", "1");
    assert_eq!(tree.read("targets/iscsi/other/rel_tgt_id").unwrap(), "2\n[key]\n");
    assert_eq!(tree.write("targets/iscsi/other/rel_tgt_id", "1").unwrap_err().errno, libc::EBADSLT);
}

#[test]
fn a_device_that_goes_leaves_every_map_and_group() {
    let tree = configured();
    write(&tree, "handlers/vdisk_nullio/mgmt", "del_device null");
    let mut text = String::new();
    listing(&tree, "", &mut text);
    assert!(!text.lines().any(|line| line.contains("/null")), "{text}");
    write(&tree, "handlers/vdisk_nullio/mgmt", "add_device null");
    let link = tree.kind("devices/null/exported/export0").unwrap();
    let lun = "../../../targets/copy_manager/copy_manager_tgt/luns/1";
    assert_eq!(link, Kind::Link { target: lun.to_owned() }, "between cd and ram");
}

#[test]
fn luns_of_the_copy_manager_depend_on_names_and_on_nothing_else() {
    let luns = "targets/copy_manager/copy_manager_tgt/luns";
    let made = |names: &[&str]| {
        let tree = tree();
        write(&tree, "setup_id", "1");
        for name in names {
            write(&tree, "handlers/vdisk_nullio/mgmt", &format!("add_device {name}"));
        }
        tree
    };
    let text = |tree: &Tree| {
        let mut text = String::new();
        listing(tree, "", &mut text);
        text
    };
    let tree = made(&["m", "z", "a", "gone", "b"]);
    write(&tree, "handlers/vdisk_nullio/mgmt", "del_device gone");
    assert_eq!(text(&tree), text(&made(&["a", "b", "m", "z"])));
    let device = |lun: &str| match tree.kind(&format!("{luns}/{lun}/device")) {
        Ok(Kind::Link { target }) => target.rsplit('/').next().unwrap().to_owned(),
        other => format!("{other:?}"),
    };
    assert_eq!(["0", "1", "2", "3"].map(device), ["a", "b", "m", "z"]);
    let mgmt = format!("{luns}/mgmt");
    assert_eq!(tree.write(&mgmt, "add a 1").unwrap_err().errno, libc::EEXIST);
    assert_eq!(tree.write(&mgmt, "del 4").unwrap_err().errno, libc::EINVAL);
    // What is taken out leaves a gap, so that a list that was read before can be taken out one by one.
    write(&tree, &mgmt, "del 0");
    write(&tree, &mgmt, "del 1");
    assert_eq!(tree.write(&mgmt, "del 1").unwrap_err().errno, libc::EINVAL);
    assert!(tree.list("devices/b/exported").unwrap().is_empty());
    assert_eq!(device("2"), "m");
    write(&tree, &mgmt, "add b 9");
    assert_eq!(device("1"), "b");
    write(&tree, &mgmt, "clear");
    assert_eq!(tree.list(luns).unwrap().len(), 1, "mgmt alone");
    write(&tree, &mgmt, "add a 0");
    write(&tree, &mgmt, "replace z 7");
    assert_eq!(["0", "3"].map(device), ["a", "z"]);
    let session = "targets/copy_manager/copy_manager_tgt/sessions/copy_manager_sess";
    assert_eq!(tree.read(&format!("{session}/lun3/active_commands")).unwrap(), "0\n");
    assert_eq!(tree.kind(&format!("{session}/lun1")).unwrap_err().errno, libc::ENOENT);
    assert_eq!(tree.kind(&format!("{session}/luns")).unwrap(), Kind::Link { target: "../../luns".into() });
}

#[test]
fn one_level_of_the_log_is_shown_and_set_in_three_places() {
    let tree = tree();
    let all = ["trace_level", "handlers/vdisk_fileio/trace_level", "targets/iscsi/trace_level"];
    for own in all {
        write(&tree, own, "default");
        write(&tree, own, "add conn_dbg");
        assert_eq!(log::max_level(), log::LevelFilter::Trace, "{own}");
        for other in all {
            let text = tree.read(other).unwrap();
            assert!(
                text.starts_with("out_of_mem | pid | special | mgmt | conn_dbg\n\n\n"),
                "{other}: {text}"
            );
        }
        write(&tree, own, "none");
        assert_eq!(log::max_level(), log::LevelFilter::Error, "{own}");
    }
    assert_eq!(tree.write("handlers/nobody/trace_level", "all").unwrap_err().errno, libc::ENOENT);
    assert_eq!(tree.write(all[1], "add colour").unwrap_err().errno, libc::EINVAL);
}
