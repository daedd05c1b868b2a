//! What opening a disk is refused for, and what an open one tells of its backing.
#![allow(clippy::unwrap_used)] // A test panics to fail.

mod initiator;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use scstu::backstore::ram::RamStore;
use scstu::backstore::registry::{Handler, OpenError};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::model::{Change, Object};
use world::World;

/// Zeros, best read in so many bytes.
struct Optimal(u32);

impl Backstore for Optimal {
    fn geometry(&self) -> Geometry {
        Geometry { optimal_transfer_bytes: self.0, ..Geometry::plain(4096, 1 << 10) }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    fn read(&self, _: u64, into: &mut [u8]) -> Result<(), BlockError> {
        into.fill(0);
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8], _: bool) -> Result<(), BlockError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }
}

/// SBC-4, 6.6.4: OPTIMAL TRANSFER LENGTH is in blocks, and not above MAXIMUM TRANSFER LENGTH.
#[test]
fn the_optimal_transfer_length_is_the_backings_until_another_is_given() {
    let world = World::empty();
    for (name, bytes) in [("some", 1 << 20), ("odd", 10_000), ("huge", 1 << 30), ("tiny", 100), ("none", 0)] {
        let open = move |_: &_| Ok(Some(Arc::new(Optimal(bytes)) as Arc<dyn Backstore>));
        world.instance.model().handlers().add(Handler::registered(name, "a test", open)).unwrap();
        world.write(&format!("handlers/{name}/mgmt"), &format!("add_device {name} blocksize=4096"));
    }
    world.write("handlers/some/mgmt", "add_device own blocksize=4096");
    world.write("devices/own/opt_trans_len", "65536");
    world.write("targets/iscsi/mgmt", &format!("add_target {}", world::TARGET));
    let names = ["some", "odd", "huge", "tiny", "none", "own"];
    for (lun, name) in names.iter().enumerate() {
        world.write("@/luns/mgmt", &format!("add {name} {lun}"));
    }
    world.write("@/enabled", "1");
    world.write("targets/iscsi/enabled", "1");
    let mut session = world.login();
    let mut told = |lun: u8| {
        let page = session.good(lun, &[0x12, 1, 0xb0, 0, 64, 0], 64, &[]).unwrap();
        u32::from_be_bytes(page[12..16].try_into().unwrap())
    };
    assert_eq!([0, 1, 2, 3, 4, 5].map(&mut told), [256, 2, 8192, 128, 128, 16]);
    assert_eq!(world.read("devices/some/opt_trans_len"), "1048576\n");
    for text in ["active 0", "active 1"] {
        let (attribute, value) = text.split_once(' ').unwrap();
        world.write(&format!("devices/own/{attribute}"), value);
    }
    assert_eq!(told(5), 16, "what is given counts");
    let reset = |name: &str| {
        let (object, attribute) = (Object::Device(name.into()), "opt_trans_len".into());
        world.instance.model().apply(&Change::Reset { object, attribute }).unwrap();
        world.read(&format!("devices/{name}/opt_trans_len"))
    };
    assert_eq!(reset("some"), "1048576\n", "what nobody has given stays");
    world.write("devices/some/opt_trans_len", "65536");
    assert_eq!(world.read("devices/some/opt_trans_len"), "65536\n[key]\n");
    assert_eq!(reset("some"), "1048576\n");
}

#[test]
fn a_file_system_without_o_direct_is_named_with_who_asked_for_it() {
    let world = World::empty();
    // That of /proc has none, whoever mounts what.
    let add = |more: &str| format!("add_device d filename=/proc/version;read_only=1{more}");
    for (mgmt, more) in [("handlers/vdisk_fileio/mgmt", ";o_direct=1"), ("handlers/vdisk_blockio/mgmt", "")] {
        let (errno, text) = world.refused(mgmt, &add(more));
        assert_eq!(errno, libc::EINVAL);
        for word in ["/proc/version", "file system has no O_DIRECT", "o_direct", "vdisk_blockio"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}

#[test]
fn a_device_that_cannot_be_opened_again_stays_closed() {
    let world = World::empty();
    let model = world.instance.model();
    let is_bad = Arc::new(AtomicBool::new(false));
    let own = Arc::clone(&is_bad);
    let open = move |_: &_| match own.load(Ordering::Relaxed) {
        true => Err(OpenError { errno: libc::EIO, text: "it is bad".to_owned() }),
        false => Ok(Some(Arc::new(RamStore::new(512, 1 << 20)) as Arc<dyn Backstore>)),
    };
    model.handlers().add(Handler::registered("own", "a test", open)).unwrap();
    world.write("handlers/own/mgmt", "add_device d");
    is_bad.store(true, Ordering::Relaxed);
    let anew = Change::AddDevice { handler: "own".into(), name: "d".into(), parameters: vec![] };
    let (at, error) = model.apply_all(&[Change::RemoveDevice("d".into()), anew]).unwrap_err();
    assert_eq!((at, error.text.as_str()), (1, "it is bad"));
    let configuration = model.configuration();
    let device = &configuration.devices.get("d").unwrap().device;
    assert!(device.gate().is_none(), "it is not opened again");
    assert!(world.read("devices/d/active").starts_with('0'), "and says so");
    assert_eq!(world.refused("devices/d/active", "1"), (libc::EIO, "active: it is bad".to_owned()));
    is_bad.store(false, Ordering::Relaxed);
    world.write("devices/d/active", "1");
    assert!(device.gate().is_some());
}
