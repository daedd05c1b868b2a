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
