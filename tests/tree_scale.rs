//! A thousand devices and LUNs: as one list of changes, and write by write. Times are printed, not judged.

#![allow(clippy::unwrap_used)] // A test panics to fail.

use std::sync::Arc;
use std::time::Instant;

use scstu::mgmt::tree::Tree;
use scstu::model::{Change, Model, Scope};
use scstu::scsi::device::Dispatch;
use scstu::server::pool::Pool;

const TARGET: &str = "iqn.2026-01.org.scstu:many";
const COUNT: u16 = 1000;

fn model() -> Arc<Model> {
    let dispatch: Arc<dyn Dispatch> = Arc::new(Pool::new(2));
    Model::new(dispatch, None).unwrap()
}

fn changes() -> Vec<Change> {
    let device = |number: u16| Change::AddDevice {
        handler: "vdisk_nullio".to_owned(),
        name: format!("d{number}"),
        parameters: vec![("size_mb".to_owned(), "64".to_owned())],
    };
    let lun = |number: u16| Change::AddLun {
        scope: Scope::target(TARGET),
        lun: number,
        device: format!("d{number}"),
        read_only: false,
    };
    let mut changes: Vec<Change> = (0..COUNT).map(device).collect();
    changes.push(Change::AddTarget(TARGET.to_owned()));
    changes.extend((0..COUNT).map(lun));
    changes.push(Change::set_target(TARGET, "enabled", "1"));
    changes
}

#[test]
fn a_thousand_devices_and_luns_are_the_same_either_way() {
    let native = model();
    let start = Instant::now();
    native.apply_all(&changes()).unwrap();
    println!("{COUNT} devices and LUNs as one list: {:?}", start.elapsed());

    let tree = Tree::new(model());
    let start = Instant::now();
    let write = |path: &str, text: &str| tree.write(path, text).unwrap();
    let mut slowest = std::time::Duration::ZERO;
    (0..COUNT).for_each(|n| write("handlers/vdisk_nullio/mgmt", &format!("add_device d{n} size_mb=64")));
    write("targets/iscsi/mgmt", &format!("add_target {TARGET}"));
    let luns = format!("targets/iscsi/{TARGET}/luns");
    for number in 0..COUNT {
        let start = Instant::now();
        write(&format!("{luns}/mgmt"), &format!("add d{number} {number}"));
        slowest = slowest.max(start.elapsed());
    }
    write(&format!("targets/iscsi/{TARGET}/enabled"), "1");
    println!("write by write: {:?}, the slowest LUN {slowest:?}", start.elapsed());

    let other = Tree::new(native);
    assert_eq!(tree.list(&luns).unwrap(), other.list(&luns).unwrap());
    assert_eq!(tree.list(&luns).unwrap().len(), usize::from(COUNT) + 1);
    let start = Instant::now();
    let shown: usize = (0..COUNT).map(|n| tree.read(&format!("devices/d{n}/size")).unwrap().len()).sum();
    assert_eq!(shown, usize::from(COUNT) * "67108864\n[key]\n".len());
    println!("{COUNT} reads: {:?}", start.elapsed());

    // A list with a mistake at its end changes nothing.
    let mut wrong = changes();
    wrong.push(Change::AddTarget(TARGET.to_owned()));
    let fresh = model();
    let (at, error) = fresh.apply_all(&wrong).unwrap_err();
    assert_eq!((at, error.errno), (wrong.len() - 1, libc::EEXIST));
    let left = fresh.configuration();
    assert!(left.devices.is_empty() && left.targets.is_empty());
}
