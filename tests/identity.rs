//! What a unit calls itself: the same after every restart whatever else is configured, different in another
//! installation, and byte for byte what the administrator has set.
#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;
mod initiator;

use common::{Daemon, Folder};
use initiator::{Initiator, Options};

const TARGET: &str = "iqn.2026-01.test:identity";

/// The devices in this order, at LUN 0 and up, with their attributes.
fn conf(devices: &[(&str, &str)]) -> String {
    let mut text = String::from("HANDLER vdisk_ram {\n");
    for (name, attributes) in devices {
        text += &format!("DEVICE {name} {{\nsize 1M\n{attributes}\n}}\n");
    }
    text += &format!("}}\nTARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\n");
    for (lun, (name, _)) in devices.iter().enumerate() {
        text += &format!("LUN {lun} {name}\n");
    }
    text + "}\n}\n"
}

/// Standard INQUIRY data, VPD page 80h, and what VPD page 83h says of the unit itself.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Identity {
    standard: Vec<u8>,
    serial: Vec<u8>,
    designators: Vec<(u8, Vec<u8>)>,
}

fn identity(session: &mut Initiator, lun: u8) -> Identity {
    let mut inquiry = |cdb: [u8; 6]| {
        let data = session.good(lun, &cdb, 512, &[]).unwrap();
        let length = match cdb[1] {
            0 => usize::from(data[4]) + 5,
            _ => usize::from(u16::from_be_bytes([data[2], data[3]])) + 4,
        };
        data[..length].to_vec()
    };
    let standard = inquiry([0x12, 0, 0, 2, 0, 0]);
    let serial = inquiry([0x12, 1, 0x80, 2, 0, 0])[4..].to_vec();
    let page = inquiry([0x12, 1, 0x83, 2, 0, 0]);
    let mut rest = &page[4..];
    let mut designators = Vec::new();
    while rest.len() >= 4 {
        let (kind, length) = (rest[1], usize::from(rest[3]));
        // ASSOCIATION: the logical unit, or the target device.
        if kind & 0x30 != 0x10 {
            designators.push((kind & 0x3f, rest[4..4 + length].to_vec()));
        }
        rest = &rest[4 + length..];
    }
    Identity { standard, serial, designators }
}

/// The identities of the units of a daemon that is started with this configuration and ended again.
fn identities(folder: &Folder, devices: &[(&str, &str)]) -> Vec<Identity> {
    let mut daemon = Daemon::start_in(&folder.0, &conf(devices));
    let mut session = Initiator::login(daemon.address, TARGET, &Options::default()).unwrap();
    let found = (0..devices.len()).map(|lun| identity(&mut session, u8::try_from(lun).unwrap())).collect();
    drop(session);
    daemon.stop();
    found
}

#[test]
fn a_unit_keeps_its_name_whatever_is_around_it() {
    let folder = Folder::new("identity");
    let first = identities(&folder, &[("alpha", ""), ("beta", ""), ("gamma", "")]);
    for (index, one) in first.iter().enumerate() {
        assert!(!one.serial.is_empty());
        assert!(one.designators.iter().any(|(kind, value)| *kind == 3 && value.len() == 8), "{one:?}");
        for other in &first[index + 1..] {
            assert_ne!(one.serial, other.serial);
            for (kind, value) in &one.designators {
                assert!(!other.designators.contains(&(*kind, value.clone())), "{value:02x?} is not unique");
            }
        }
    }
    let again = identities(&folder, &[("gamma", ""), ("new", ""), ("alpha", ""), ("beta", "")]);
    assert_eq!((&again[2], &again[3], &again[0]), (&first[0], &first[1], &first[2]));
    let elsewhere = identities(&Folder::new("identity-elsewhere"), &[("alpha", "")]);
    assert_ne!(elsewhere[0].serial, first[0].serial, "another installation");
    assert_ne!(elsewhere[0].designators, first[0].designators);
}

#[test]
fn what_is_set_is_what_hosts_read() {
    let folder = Folder::new("identity-set");
    let attributes = "t10_vend_id FREE_TT\nprod_id iSCSI_Disk\nprod_rev_lvl 370\nusn 10000000000000000001\n\
                      vend_specific_id serial-of-the-old-array\nnaa_id 0x6589cfc000000123456789abcdef0123\n\
                      eui64_id 0x0011223344556677\nscsi_device_name iqn.2001-04.test:device";
    let found = identities(&folder, &[("moved", attributes)]);
    let one = &found[0];
    assert_eq!(&one.standard[8..36], b"FREE_TT iSCSI_Disk      370 ");
    assert_eq!(one.serial, b"10000000000000000001");
    let naa = [0x65, 0x89, 0xcf, 0xc0, 0, 0, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23];
    let expected = [
        (0x28, b"iqn.2001-04.test:device\0".to_vec()),
        (0x01, b"FREE_TT serial-of-the-old-array".to_vec()),
        (0x02, vec![0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]),
        (0x03, naa.to_vec()),
    ];
    assert_eq!(one.designators, expected);
    let renamed = identities(&folder, &[("first", ""), ("another_name", attributes)]);
    assert_eq!(renamed[1], found[0], "under another name and at another LUN");
}
