//! Logical unit numbers: as many as fit, however they are addressed, and none at 0.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;

use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use common::{Daemon, Folder, run};
use initiator::{Answer, Initiator, Options, READ, rw16};

const FULL: &str = "iqn.2026-01.test:full";
const SPARSE: &str = "iqn.2026-01.test:sparse";
const LUNS: usize = 16_384;
const INQUIRY: [u8; 6] = [0x12, 0, 0, 0, 36, 0];
const TEST_UNIT_READY: [u8; 6] = [0; 6];
const LOGICAL_UNIT_RESET: u8 = 5;

/// A target with every LUN, and one with LUN 5 only.
fn serve() -> Daemon {
    let mut luns = String::new();
    for lun in 0..LUNS {
        writeln!(luns, "LUN {lun} d").unwrap();
    }
    let conf = format!(
        "HANDLER vdisk_ram {{\nDEVICE d {{\nsize 1M\n}}\nDEVICE e {{\nsize 1M\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {FULL} {{\nenabled 1\n{luns}}}\n\
         TARGET {SPARSE} {{\nenabled 1\nLUN 5 e\n}}\n}}\n"
    );
    Daemon::start("luns", &conf)
}

fn report_luns(select: u8, allocation_length: u32) -> [u8; 12] {
    let mut cdb = [0; 12];
    (cdb[0], cdb[2]) = (0xa0, select);
    cdb[6..10].copy_from_slice(&allocation_length.to_be_bytes());
    cdb
}

/// LUN fields of a REPORT LUNS answer.
fn fields(data: &[u8]) -> Vec<u16> {
    let length = u32::from_be_bytes(data[..4].try_into().unwrap()) as usize;
    data[8..8 + length].chunks(8).map(|field| u16::from_be_bytes([field[0], field[1]])).collect()
}

fn sense(answer: &Answer) -> (u8, u8, u8) {
    assert_eq!(answer.status, 2, "{answer:02x?}");
    (answer.sense[2] & 0x0f, answer.sense[12], answer.sense[13])
}

#[test]
fn sam_4_7_a_target_has_16384_units() {
    let daemon = serve();
    let mut session = Initiator::login(daemon.address, FULL, &Options::default()).unwrap();
    let length = 8 + 8 * LUNS;
    let luns = fields(&session.good(0, &report_luns(0, length as u32), length, &[]).unwrap());
    let expected: Vec<u16> = (0..LUNS as u16).map(|lun| if lun < 256 { lun } else { 0x4000 | lun }).collect();
    assert!(luns == expected, "{} LUNs", luns.len());
    // What does not fit is cut off; the length stays.
    let cut = session.good(0, &report_luns(0, 24), 24, &[]).unwrap();
    assert_eq!(u32::from_be_bytes(cut[..4].try_into().unwrap()) as usize, 8 * LUNS);
    for lun in [255u16, 256, 4095, 16_383] {
        session.address_flat(lun);
        session.good(lun as u8, &TEST_UNIT_READY, 0, &[]).unwrap();
        session.good(lun as u8, &rw16(READ, 0, 1, false), 512, &[]).unwrap();
    }
    // The same unit by the other method, where both exist.
    session.address_flat(7);
    session.good(7, &TEST_UNIT_READY, 0, &[]).unwrap();
    session.address_peripheral();
    session.good(7, &TEST_UNIT_READY, 0, &[]).unwrap();
}

#[test]
fn spc_without_lun_0_the_others_are_found() {
    let daemon = serve();
    let mut session = Initiator::login(daemon.address, SPARSE, &Options::default()).unwrap();
    let data = session.good(0, &INQUIRY, 36, &[]).unwrap();
    assert!(data[0] == 0x7f || data[0] >> 5 == 1, "peripheral qualifier and type {:#04x}", data[0]);
    assert_eq!(sense(&session.command(0, &TEST_UNIT_READY, 0, &[]).unwrap()), (5, 0x25, 0));
    assert_eq!(sense(&session.command(0, &rw16(READ, 0, 1, false), 512, &[]).unwrap()), (5, 0x25, 0));
    assert_eq!(fields(&session.good(0, &report_luns(0, 64), 64, &[]).unwrap()), [5]);
    assert!(fields(&session.good(0, &report_luns(2, 64), 64, &[]).unwrap()).contains(&5));
    assert_eq!(sense(&session.command(0, &report_luns(3, 64), 64, &[]).unwrap()), (5, 0x24, 0));
    assert_eq!(sense(&session.command(0, &report_luns(0, 15), 15, &[]).unwrap()), (5, 0x24, 0));
    let reset = session.begin_function(LOGICAL_UNIT_RESET, 0, u32::MAX).unwrap();
    assert_eq!(session.wait_function(reset).unwrap(), 2, "LUN does not exist");
    session.good(5, &TEST_UNIT_READY, 0, &[]).unwrap();
    // The REPORT LUNS well known unit, C1 01.
    session.address(0xc1);
    assert_eq!(fields(&session.good(1, &report_luns(0, 64), 64, &[]).unwrap()), [5]);
    // Forms that address nothing: bus 1, logical unit addressing, all ones.
    for (first, second) in [(0x01, 0), (0x80, 0), (0xff, 0xff), (0x7f, 0xff)] {
        session.address(first);
        let answer = session.command(second, &TEST_UNIT_READY, 0, &[]).unwrap();
        assert_eq!(sense(&answer), (5, 0x25, 0), "{first:#04x} {second:#04x}");
    }
}

#[test]
fn a_lun_above_16383_is_a_mistake_with_its_line() {
    let folder = Folder::new("lun");
    let file = folder.file("conf");
    let text = "HANDLER vdisk_ram {\nDEVICE d {\nsize 1M\n}\n}\nTARGET_DRIVER iscsi {\n\
                TARGET iqn.2026-01.test:x {\nLUN 16384 d\n}\n}\n";
    std::fs::write(&file, text).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_scstud"));
    check.arg("--check").arg("-c").arg(&file).arg("--state-dir").arg(folder.file("state"));
    let outcome = run(&mut check, Duration::from_secs(30));
    assert_eq!(outcome.status.and_then(|status| status.code()), Some(2));
    assert!(outcome.text.contains(":8:") && outcome.text.contains("16383"), "{}", outcome.text);
}
