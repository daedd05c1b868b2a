//! The tree: its listing, every mistake's errno, and what scstadmin does to it.

#![allow(clippy::unwrap_used)] // A test panics to fail.

use std::fmt::Write;
use std::sync::Arc;

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

/// Everything below a directory: path, mode and content of files, target of links.
fn listing(tree: &Tree, directory: &str, out: &mut String) {
    for (name, kind) in tree.list(directory).unwrap() {
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        assert_eq!(tree.kind(&path).unwrap(), kind, "{path}");
        match kind {
            Kind::Directory => {
                writeln!(out, "{path}/").unwrap();
                listing(tree, &path, out);
            }
            Kind::Link { target } => writeln!(out, "{path} -> {target}").unwrap(),
            Kind::File { mode } => {
                write!(out, "{path} {mode:04o}").unwrap();
                if mode & 0o444 != 0 {
                    write!(out, " {:?}", tree.read(&path).unwrap()).unwrap();
                }
                out.push('\n');
            }
        }
    }
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

/// A write, and how it ends: 0, or the errno that SCST gives (the section is the reference's).
const MISTAKES: &[(&str, &str, i32)] = &[
    // 1.0.1, 1.0.3: files and words.
    ("version", "x", libc::EIO),
    ("devices/null/blocksize", "512", libc::EIO),
    ("devices/null/nothing", "1", libc::ENOENT),
    ("devices/nobody/prod_id", "1", libc::ENOENT),
    ("nothing", "1", libc::ENOENT),
    ("devices", "1", libc::EISDIR),
    ("devices/null/handler", "1", libc::ELOOP),
    ("handlers/vdisk_nullio/mgmt", "", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "make_device x", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device a\0b", libc::EINVAL),
    ("devices/null/max_tgt_dev_commands", "99999999999999999999", libc::ERANGE),
    ("devices/null/max_tgt_dev_commands", "ten", libc::EINVAL),
    // 1.1: root attributes.
    ("threads", "0", libc::EINVAL),
    ("threads", "many", libc::EINVAL),
    ("setup_id", "-1", libc::EINVAL),
    ("measure_latency", "yes", libc::EINVAL),
    ("async_lun_replace", "maybe", libc::EINVAL),
    ("async_lun_replace", "on", 0),
    ("async_lun_replace", "n", 0),
    ("suspend", "-1", libc::EINVAL),
    ("trace_level", "add nothing", libc::EINVAL),
    ("trace_level", "loud", libc::EINVAL),
    // 1.3.2: devices.
    ("handlers/vdisk_nullio/mgmt", "add_device null", libc::EEXIST),
    ("handlers/vdisk_ram/mgmt", "add_device null size=1M", libc::EEXIST),
    ("handlers/vdisk_nullio/mgmt", "add_device a.b", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device a/b", libc::EINVAL),
    (
        "handlers/vdisk_nullio/mgmt",
        "add_device a1234567890123456789012345678901234567890123456789012345678901234",
        libc::EINVAL,
    ),
    ("handlers/vdisk_nullio/mgmt", "add_device x color=red", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device x filename=/x", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device x size", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device x size=1 2", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device x size=big", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device x size=513", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device x blocksize=256", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device x blocksize=1000", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device x dummy=2", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device x tst=2", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "add_device x numa_node_id=-2", libc::EINVAL),
    ("handlers/vdisk_fileio/mgmt", "add_device x", libc::EINVAL),
    ("handlers/vdisk_fileio/mgmt", "add_device x filename=image", libc::EINVAL),
    ("handlers/vdisk_fileio/mgmt", "add_device x filename=/a;filename=/b", libc::EINVAL),
    ("handlers/vdisk_fileio/mgmt", "add_device x filename=/nowhere/at/all", libc::ENOENT),
    ("handlers/vdisk_fileio/mgmt", "add_device x filename=/nowhere;read_only=1;nv_cache=1", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "del_device nobody", libc::EINVAL),
    ("handlers/vdisk_nullio/mgmt", "del_device null now", libc::EINVAL),
    // 1.4: attributes of devices.
    ("devices/null/threads_num", "-1", libc::EINVAL),
    ("devices/null/threads_pool_type", "private", libc::EINVAL),
    ("devices/null/numa_node_id", "-2", libc::EINVAL),
    ("devices/null/block", "2", libc::EINVAL),
    ("devices/null/block", "0", libc::EINVAL),
    ("devices/null/pr_state", "version 2", libc::EINVAL),
    ("devices/null/size", "4097", libc::EINVAL),
    ("devices/null/size_mb", "0", libc::EINVAL),
    ("devices/null/opt_trans_len", "4097", libc::EINVAL),
    ("devices/null/cluster_mode", "1", libc::EOPNOTSUPP),
    ("devices/null/cluster_mode", "2", libc::EINVAL),
    ("devices/null/read_zero", "2", libc::EINVAL),
    ("devices/null/t10_vend_id", "ninechars", libc::EINVAL),
    ("devices/null/prod_id", "12345678901234567", libc::EINVAL),
    ("devices/null/prod_rev_lvl", "12345", libc::EINVAL),
    ("devices/null/t10_dev_id", "12345678901234567890123456", libc::EINVAL),
    ("devices/null/usn", "123456789012345678901", libc::EINVAL),
    ("devices/null/naa_id", "0x1000000000000000", libc::EINVAL),
    ("devices/null/naa_id", "0x50000000000000001", libc::EINVAL),
    ("devices/null/naa_id", "0x5000000000000001", 0),
    ("devices/null/eui64_id", "0x00", libc::EINVAL),
    ("devices/cd/filename", "image", libc::EINVAL),
    ("devices/cd/filename", "/nowhere/at/all", libc::ENOENT),
    ("devices/cd/filename", "", 0),
    // 1.5: the driver.
    ("targets/iscsi/enabled", "2", libc::EINVAL),
    ("targets/iscsi/iSNSServer", "host Control", libc::EINVAL),
    ("targets/iscsi/link_local", "no", libc::EINVAL),
    ("targets/iscsi/internal_portal", "10.0.0.1 here", libc::EINVAL),
    ("targets/iscsi/mgmt", "add_target", libc::EINVAL),
    ("targets/iscsi/mgmt", "add_target IQN.2026-01.org.scstu:disk", libc::EEXIST),
    ("targets/iscsi/mgmt", "add_target t Color=red", libc::EINVAL),
    ("targets/iscsi/mgmt", "add_target t MaxBurstLength=1", libc::EINVAL),
    ("targets/iscsi/mgmt", "del_target", libc::EINVAL),
    ("targets/iscsi/mgmt", "del_target nobody", libc::ENOENT),
    ("targets/iscsi/mgmt", "del_target nobody now", libc::EINVAL),
    ("targets/iscsi/mgmt", "add_attribute Color red", libc::EINVAL),
    ("targets/iscsi/mgmt", "add_attribute allowed_portal *", libc::EINVAL),
    ("targets/iscsi/mgmt", "add_attribute IncomingUser joe short", libc::EINVAL),
    ("targets/iscsi/mgmt", "add_attribute IncomingUser jane twelvesecrets", libc::EINVAL),
    ("targets/iscsi/mgmt", "del_attribute IncomingUser nobody", libc::ENOENT),
    ("targets/iscsi/mgmt", "add_target_attribute nobody IncomingUser joe twelvesecrets", libc::ENOENT),
    (
        "targets/iscsi/mgmt",
        "del_target_attribute iqn.2026-01.org.scstu:Disk IncomingUser nobody",
        libc::ENOENT,
    ),
    (
        "targets/iscsi/mgmt",
        "del_target_attribute iqn.2026-01.org.scstu:Disk allowed_portal 11.*",
        libc::EINVAL,
    ),
    // 1.6: targets.
    ("@/enabled", "2", libc::EINVAL),
    ("@/rel_tgt_id", "65536", libc::EINVAL),
    ("@/rel_tgt_id", "0", libc::EINVAL),
    ("@/cpu_mask", "none", libc::EINVAL),
    ("@/addr_method", "ROUND", libc::EINVAL),
    ("@/addr_method", "flat", 0),
    ("@/io_grouping_type", "0", libc::EINVAL),
    ("@/io_grouping_type", "7", 0),
    ("@/black_hole", "5", libc::EINVAL),
    ("@/forwarding", "2", libc::EINVAL),
    ("@/aen_disabled", "x", libc::EINVAL),
    ("@/per_portal_acl", "2", libc::EINVAL),
    ("@/redirect", "10.0.0.9:3261", libc::EINVAL),
    ("@/redirect", "10.0.0.9:3261 soon", libc::EINVAL),
    ("@/InitialR2T", "yes", libc::EINVAL),
    ("@/MaxBurstLength", "511", libc::EINVAL),
    ("@/MaxBurstLength", "65536 1", libc::EINVAL),
    ("@/MaxBurstLength", ":default:", 0),
    ("@/HeaderDigest", "MD5", libc::EINVAL),
    ("@/QueuedCommands", "0", libc::EINVAL),
    // 1.7: LUNs.
    ("@/luns/mgmt", "add nobody 3", libc::EINVAL),
    ("@/luns/mgmt", "add null many", libc::EINVAL),
    ("@/luns/mgmt", "add null 16384", libc::EINVAL),
    ("@/luns/mgmt", "add null 3 color=red", libc::EINVAL),
    ("@/luns/mgmt", "add null 3 read_only=2", libc::EINVAL),
    ("@/luns/mgmt", "add null 0", libc::EEXIST),
    ("@/luns/mgmt", "add null", libc::EINVAL),
    ("@/luns/mgmt", "replace nobody 0", libc::EINVAL),
    ("@/luns/mgmt", "replace null 0", 0),
    ("@/luns/mgmt", "del 3", libc::EINVAL),
    ("@/luns/mgmt", "del zero", libc::EINVAL),
    ("@/luns/mgmt", "del 0 now", libc::EINVAL),
    ("@/luns/mgmt", "clear all", libc::EINVAL),
    ("targets/copy_manager/copy_manager_tgt/luns/mgmt", "add ram 9 read_only=1", libc::EINVAL),
    ("targets/copy_manager/copy_manager_tgt/ini_groups/mgmt", "create g", libc::EINVAL),
    // 1.8: groups.
    ("@/ini_groups/mgmt", "create hosts", libc::EEXIST),
    ("@/ini_groups/mgmt", "create", libc::EINVAL),
    ("@/ini_groups/mgmt", "del nobody", libc::EINVAL),
    ("@/ini_groups/hosts/initiators/mgmt", "add iqn.2026-01.org.*", libc::EEXIST),
    ("@/ini_groups/hosts/initiators/mgmt", "add", libc::EINVAL),
    ("@/ini_groups/hosts/initiators/mgmt", "del nobody", libc::EINVAL),
    ("@/ini_groups/hosts/initiators/mgmt", "move nobody hosts", libc::EINVAL),
    ("@/ini_groups/hosts/initiators/mgmt", "move iqn.2026-01.org.* nobody", libc::EINVAL),
    ("@/ini_groups/hosts/initiators/mgmt", "move iqn.2026-01.org.* hosts", libc::EEXIST),
    ("@/ini_groups/hosts/initiators/iqn.2026-01.org.*", "x", libc::EIO),
    // 1.10: device groups.
    ("device_groups/mgmt", "create dg", libc::EEXIST),
    ("device_groups/mgmt", "add", libc::EINVAL),
    ("device_groups/mgmt", "del nobody", libc::EINVAL),
    ("device_groups/mgmt", "make x", libc::EINVAL),
    ("device_groups/dg/devices/mgmt", "add null", libc::EEXIST),
    ("device_groups/dg/devices/mgmt", "add nobody", libc::EINVAL),
    ("device_groups/dg/devices/mgmt", "del ram", libc::EINVAL),
    ("device_groups/dg/target_groups/mgmt", "create here", libc::EEXIST),
    ("device_groups/dg/target_groups/mgmt", "del nobody", libc::EINVAL),
    ("device_groups/dg/target_groups/here/mgmt", "add iqn.peer", libc::EEXIST),
    ("device_groups/dg/target_groups/here/mgmt", "del nobody", libc::EINVAL),
    ("device_groups/dg/target_groups/here/group_id", "0", libc::EINVAL),
    ("device_groups/dg/target_groups/here/group_id", "65536", libc::EINVAL),
    ("device_groups/dg/target_groups/here/preferred", "2", libc::EINVAL),
    ("device_groups/dg/target_groups/here/state", "Active", libc::EINVAL),
    ("device_groups/dg/target_groups/here/iqn.peer/rel_tgt_id", "0", libc::EINVAL),
];

#[test]
fn every_mistake_has_scsts_errno_and_changes_nothing() {
    let tree = configured();
    let everything = |tree: &Tree| {
        let mut text = String::new();
        listing(tree, "", &mut text);
        text.lines().filter(|line| !line.starts_with("last_sysfs_mgmt_res")).collect::<Vec<_>>().join("\n")
    };
    for (path, text, errno) in MISTAKES {
        let path = path.replace('@', &format!("targets/iscsi/{TARGET}"));
        let before = everything(&tree);
        let result = tree.write(&path, text).map_err(|error| (error.errno, error.text));
        let found = result.as_ref().err().map_or(0, |(errno, _)| *errno);
        assert_eq!(found, *errno, "{text:?} to {path}: {result:?}");
        assert_eq!(tree.read("last_sysfs_mgmt_res").unwrap(), format!("{}\n", -errno));
        if *errno != 0 {
            assert_eq!(everything(&tree), before, "{text:?} to {path} has changed something");
            assert!(!result.unwrap_err().1.is_empty());
        }
    }
    let long = "x".repeat(4097);
    assert_eq!(tree.write("cluster_name", &long).unwrap_err().errno, libc::E2BIG);
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
