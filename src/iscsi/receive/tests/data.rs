//! Data phases.

use super::*;

#[test]
fn rfc7143_7_8_a_damaged_data_out_ends_its_task() {
    let digests = Parameters { data_digest: true, ..parameters() };
    let mut shell = Shell::new(digests);
    assert_eq!(shell.send(&[Pdu::write(1, sn(0), 4096)]), ["command 1", "r2t 1 0 0+4096"]);
    let mut bytes = Pdu::data_out(1, Shell::ttt(1), 0, 0, &[7; 4096]).bytes(shell.digests);
    bytes[1000] ^= 0x80;
    shell.feed(&bytes, 1000);
    assert_eq!(shell.log, ["reject 2 1", "fail 1 4705"]);
    shell.log.clear();
    assert!(shell.send(&[Pdu::data_out(1, Shell::ttt(1), 0, 0, &[7; 4096])]).is_empty(), "late data");
    assert_eq!(shell.pool.in_use(), 0);
}

#[test]
fn rfc7143_7_8_damaged_immediate_data_ends_its_task() {
    let digests = Parameters { data_digest: true, header_digest: true, ..parameters() };
    let mut shell = Shell::new(digests);
    let mut bytes = Pdu::write(1, sn(0), 512).data(&[7; 512]).bytes(shell.digests);
    *bytes.last_mut().unwrap() ^= 1;
    shell.feed(&bytes, 33);
    assert_eq!(shell.log, ["command 1", "reject 2 1", "fail 1 4705"]);
}

#[test]
fn rfc7143_7_8_a_wrong_header_digest_ends_the_connection() {
    let digests = Parameters { header_digest: true, ..parameters() };
    let mut shell = Shell::new(digests);
    let mut bytes = Pdu::nop_out(1, sn(0), b"").bytes(shell.digests);
    bytes[20] ^= 1;
    shell.feed(&bytes, usize::MAX);
    assert_eq!((shell.ended, shell.log.len()), (Some(ProtocolError::HeaderDigest), 0));
}

#[test]
fn rfc7143_data_of_a_refused_command_is_swallowed() {
    let mut shell = Shell::new(parameters());
    shell.refused.push(1);
    let told = shell.send(&[
        Pdu::write(1, sn(0), 10_000).data(&[1; 1000]).not_final(),
        Pdu::data_out(1, RESERVED_TAG, 0, 1000, &[1; 1000]),
        Pdu::data_out(1, RESERVED_TAG, 1, 2000, &[1; 48]),
        Pdu::nop_out(2, sn(1), b"x"),
    ]);
    assert_eq!(told, ["command 1", "pong 2 1"]);
}

#[test]
fn rfc7143_more_data_than_the_command_wants_is_swallowed() {
    let mut shell = Shell::new(parameters());
    shell.most = 100;
    let data = pattern(2048);
    let told = shell.send(&[
        Pdu::write(1, sn(0), 10_000).data(&data[..300]).not_final(),
        Pdu::data_out(1, RESERVED_TAG, 0, 300, &data[300..]),
    ]);
    assert_eq!(told, ["command 1".to_owned(), format!("execute 1 100 {}", crc(&data[..100]))]);
}

#[test]
fn rfc7143_11_4_7_2_unexpected_data_fails_the_command_and_is_swallowed() {
    let strict = Parameters { initial_r2t: true, immediate_data: false, ..parameters() };
    let mut shell = Shell::new(strict);
    let told = shell.send(&[
        Pdu::write(1, sn(0), 512).data(&[1; 512]),
        Pdu::write(2, sn(1), 512).not_final(),
        Pdu::data_out(2, RESERVED_TAG, 0, 0, &[1; 512]),
        Pdu::write(3, sn(2), 512),
        Pdu::data_out(3, RESERVED_TAG, 0, 0, &[1; 512]),
    ]);
    assert_eq!(
        told,
        ["command 1", "fail 1 0c0c", "command 2", "fail 2 0c0c", "command 3", "r2t 3 0 0+512", "fail 3 0c0c"]
    );
}

#[test]
fn rfc7143_data_that_belongs_nowhere_is_discarded() {
    let mut shell = Shell::new(parameters());
    shell.send(&[Pdu::read(1, sn(0), 512), Pdu::write(2, sn(1), 4096)]);
    let told = shell.send(&[
        Pdu::data_out(1, RESERVED_TAG, 0, 0, &[1; 512]),
        Pdu::data_out(9, 5, 0, 0, &[1; 512]),
        Pdu::data_out(2, 0x7777, 0, 0, &[1; 512]),
        Pdu::data_out(RESERVED_TAG, RESERVED_TAG, 0, u32::MAX, &[1; 512]),
    ]);
    assert!(told.is_empty(), "{told:?}");
    let told = shell.send(&[Pdu::data_out(2, Shell::ttt(1), 0, 0, &[5; 4096])]);
    assert_eq!(told, [format!("execute 2 4096 {}", crc(&[5; 4096]))]);
}

#[test]
fn rfc7143_late_data_of_an_aborted_command_is_discarded() {
    let mut shell = Shell::new(parameters());
    shell.send(&[Pdu::write(1, sn(0), 4096)]);
    assert_eq!(shell.receiver.forget(1), Some(1));
    shell.finish(1);
    // The tag is used again: its target transfer tag tells the new data from the old.
    assert_eq!(shell.send(&[Pdu::write(1, sn(1), 4096)]), ["command 1", "r2t 1 0 0+4096"]);
    let told = shell.send(&[
        Pdu::data_out(1, Shell::ttt(1), 0, 0, &[1; 4096]),
        Pdu::data_out(1, Shell::ttt(2), 0, 0, &[2; 4096]),
    ]);
    assert_eq!(told, [format!("execute 1 4096 {}", crc(&[2; 4096]))]);
    shell.send(&[Pdu::write(3, sn(2), 64), Pdu::write(4, sn(3), 64)]);
    assert_eq!(shell.receiver.forget_if(|token| *token == 4), [4]);
    assert_eq!(shell.receiver.forget_all(), [3]);
}

#[test]
fn rfc7143_data_that_stops_ends_the_connection() {
    let patient = Parameters { response_timeout: 90, ..parameters() };
    let mut shell = Shell::new(patient);
    shell.send(&[Pdu::write(1, sn(0), 4096)]);
    assert_eq!(shell.expire(80), Ok(vec![]));
    let mut part = Pdu::data_out(1, Shell::ttt(1), 0, 0, &[1; 1024]);
    part.header[1] = 0;
    shell.send(&[part]);
    assert_eq!(shell.expire(169), Ok(vec![]));
    let mut empty = Pdu::data_out(1, Shell::ttt(1), 1, 1024, &[]);
    empty.header[1] = 0;
    shell.send(&[empty]);
    assert_eq!(shell.expire(170), Err(ProtocolError::DataTimeout));
}

#[test]
fn rfc7143_time_does_not_run_while_nothing_is_asked_for() {
    let mut shell = Shell::new(parameters());
    shell.send(&[Pdu::write(1, sn(0), 512).data(&[1; 512])]);
    assert_eq!(shell.expire(10_000), Ok(vec![]));
    assert_eq!(shell.receiver.deadline(), None);
}
