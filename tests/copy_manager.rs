//! The LUNs of the copy manager are the units between which is copied (SCST 1.11).
#![allow(clippy::unwrap_used)] // A test panics to fail.

mod initiator;
mod world;

use initiator::Initiator;
use world::{World, sense};

const LUNS: &str = "targets/copy_manager/copy_manager_tgt/luns/mgmt";
/// COPY TARGET DEVICE NOT REACHABLE, of a copy that is aborted.
const NOT_REACHABLE: Option<(u8, u16)> = Some((0x0a, 0x0d02));

/// The identification descriptor of the unit at `lun`, from its NAA designator.
fn cscd(session: &mut Initiator, lun: u8) -> [u8; 32] {
    let page = session.good(lun, &[0x12, 1, 0x83, 1, 0, 0], 256, &[]).unwrap();
    let mut rest = &page[4..];
    while rest[1] & 0x3f != 3 {
        rest = &rest[4 + usize::from(rest[3])..];
    }
    let length = 4 + usize::from(rest[3]);
    let mut cscd = [0; 32];
    cscd[0] = 0xe4;
    cscd[4..4 + length].copy_from_slice(&rest[..length]);
    cscd[28..32].copy_from_slice(&512_u32.to_be_bytes());
    cscd
}

/// Copies one block from the first to the second, which LUN `lun` is asked for.
fn copy(session: &mut Initiator, lun: u8, ends: [&[u8; 32]; 2]) -> Option<(u8, u16)> {
    let mut list = vec![1, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 0];
    ends.iter().for_each(|end| list.extend(*end));
    list.extend([0x02, 0, 0, 0x18, 0, 0, 0, 1, 0, 0, 0, 1]);
    list.extend([0; 16]);
    let mut cdb = [0; 16];
    cdb[0] = 0x83;
    cdb[13] = u8::try_from(list.len()).unwrap();
    let answer = session.command(lun, &cdb, 0, &list).unwrap();
    let code = || u16::from_be_bytes([answer.sense[12], answer.sense[13]]);
    (answer.status != 0).then(|| (answer.sense[2] & 0x0f, code()))
}

#[test]
fn what_the_copy_manager_does_not_have_is_not_copied() {
    let world = World::empty();
    world.write_all(&[
        ("handlers/vdisk_ram/mgmt", "add_device a size=1M"),
        ("handlers/vdisk_ram/mgmt", "add_device b size=1M"),
        ("targets/iscsi/mgmt", &format!("add_target {}", world::TARGET)),
        ("@/luns/mgmt", "add a 0"),
        ("@/luns/mgmt", "add b 1"),
        ("@/enabled", "1"),
        ("targets/iscsi/enabled", "1"),
    ]);
    let mut session = world.login();
    let _ = sense(&mut session, 1, &world::TEST_UNIT_READY, 0);
    let (a, b) = (cscd(&mut session, 0), cscd(&mut session, 1));
    assert_eq!(copy(&mut session, 0, [&a, &b]), None);
    world.write(LUNS, "del 1");
    assert_eq!(copy(&mut session, 0, [&a, &b]), NOT_REACHABLE, "as destination");
    assert_eq!(copy(&mut session, 0, [&b, &a]), NOT_REACHABLE, "as source");
    assert_eq!(copy(&mut session, 0, [&a, &a]), None, "others are there");
    // Other changes of the device do not bring it back.
    world.write("devices/b/prod_id", "other");
    let _ = sense(&mut session, 1, &world::TEST_UNIT_READY, 0);
    assert_eq!(copy(&mut session, 0, [&a, &b]), NOT_REACHABLE);
    world.write(LUNS, "add b 1");
    assert_eq!(copy(&mut session, 0, [&a, &b]), None);
    world.write(LUNS, "clear");
    assert_eq!(copy(&mut session, 0, [&a, &a]), NOT_REACHABLE);
    world.write(LUNS, "replace a 0");
    assert_eq!(copy(&mut session, 0, [&a, &a]), None);
}
