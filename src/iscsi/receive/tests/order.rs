//! CmdSN, tags, task management.

use super::*;

#[test]
fn rfc7143_4_2_2_1_commands_are_delivered_in_order() {
    let mut shell = Shell::new(parameters());
    let mut told =
        shell.send(&[Pdu::read(2, sn(2), 512), Pdu::read(1, sn(1), 512), Pdu::read(4, sn(4), 512)]);
    assert!(told.is_empty());
    told = shell.send(&[Pdu::read(0, sn(0), 512)]);
    assert_eq!(told, ["command 0", "command 1", "command 2"]);
    assert_eq!(shell.send(&[Pdu::read(3, sn(3), 512)]), ["command 3", "command 4"]);
    assert_eq!(shell.window.exp_cmd_sn(), sn(5));
    assert_eq!(shell.expire(10_000), Ok(vec![]), "the gap is closed");
}

#[test]
fn rfc7143_4_2_2_1_what_is_outside_the_window_is_ignored() {
    let mut shell = Shell::new(parameters());
    shell.send(&[Pdu::read(0, sn(0), 512)]);
    for cmd_sn in [sn(0), sn(DEPTH), sn(1 + 0x8000_0000), sn(0x4000_0000), sn(u32::MAX)] {
        let pdu = Pdu::write(9, cmd_sn, 512).data(&[1; 512]);
        assert!(shell.send(&[pdu]).is_empty(), "{cmd_sn:x}");
    }
    assert_eq!(shell.send(&[Pdu::read(1, sn(1), 512)]), ["command 1"], "and the next one works");
}

#[test]
fn rfc7143_4_2_2_1_a_duplicate_of_a_kept_command_is_ignored() {
    let mut shell = Shell::new(parameters());
    shell.send(&[Pdu::read(1, sn(1), 512), Pdu::read(2, sn(1), 512)]);
    assert_eq!(shell.send(&[Pdu::read(0, sn(0), 512)]), ["command 0", "command 1"]);
}

#[test]
fn rfc7143_4_2_2_1_a_closed_window_takes_nothing() {
    let mut shell = Shell::new(parameters());
    for i in 0..DEPTH {
        assert_eq!(shell.send(&[Pdu::read(i, sn(i), 512)]).len(), 1);
    }
    assert!(shell.send(&[Pdu::read(100, sn(DEPTH), 512)]).is_empty());
    assert_eq!(shell.send(&[Pdu::nop_out(101, sn(DEPTH), b"").immediate()]), ["pong 65 0"]);
    shell.finish(0);
    assert_eq!(shell.send(&[Pdu::read(100, sn(DEPTH), 512)]), ["command 64"]);
}

#[test]
fn rfc7143_4_2_2_1_a_window_reopened_in_silence_is_announced() {
    let mut shell = Shell::new(parameters());
    for i in 0..DEPTH - 1 {
        shell.send(&[Pdu::read(i, sn(i), 512)]);
    }
    shell.tags.free(0);
    shell.window.release_unanswered();
    let last = shell.send(&[Pdu::read(99, sn(DEPTH - 1), 512)]);
    assert_eq!(last, ["window", "command 63"], "the initiator must believe the window closed");
}

#[test]
fn rfc7143_a_gap_is_not_kept_for_ever() {
    let mut shell = Shell::new(parameters());
    shell.send(&[Pdu::read(1, sn(1), 512)]);
    assert_eq!(shell.expire(29), Ok(vec![]));
    assert_eq!(shell.expire(30), Err(ProtocolError::CommandGap));
}

#[test]
fn rfc7143_a_gap_is_bounded_in_bytes() {
    let long = Parameters { max_recv_data_segment_length: 1 << 20, ..parameters() };
    let mut shell = Shell::new(long);
    for i in 1..5 {
        shell.send(&[Pdu::write(i, sn(i), 1 << 20).data(&vec![0; 1 << 20])]);
    }
    assert_eq!(shell.ended, Some(ProtocolError::CommandGap));
}

#[test]
fn rfc7143_kept_commands_bring_their_data() {
    let mut shell = Shell::new(parameters());
    let data = pattern(600);
    shell.send(&[Pdu::write(1, sn(1), 600).data(&data), Pdu::write(2, sn(2), 3000).data(&data)]);
    let told = shell.send(&[Pdu::read(0, sn(0), 512)]);
    let execute = format!("execute 1 600 {}", crc(&data));
    assert_eq!(told, ["command 0", "command 1", &execute, "command 2", "r2t 2 0 600+2400"]);
}

#[test]
fn rfc7143_unsolicited_data_of_a_kept_command_is_lost_with_it() {
    let mut shell = Shell::new(parameters());
    let data = pattern(2048);
    let told = shell.send(&[
        Pdu::write(1, sn(1), 4096).data(&data[..512]).not_final(),
        Pdu::data_out(1, RESERVED_TAG, 0, 512, &data[512..]),
        Pdu::read(0, sn(0), 512),
    ]);
    assert_eq!(told, ["command 0", "command 1", "fail 1 4705"]);
}

#[test]
fn rfc7143_11_2_1_8_a_tag_in_use_is_rejected() {
    let mut shell = Shell::new(parameters());
    let told = shell.send(&[
        Pdu::read(7, sn(0), 512),
        Pdu::write(7, sn(1), 512).data(&[1; 512]),
        Pdu::read(RESERVED_TAG, sn(2), 512),
        Pdu::nop_out(8, sn(3), b"x"),
    ]);
    assert_eq!(told, ["command 7", "reject 7 7", "reject 9 ffffffff", "pong 8 1"]);
    assert_eq!(shell.window.max_cmd_sn(), sn(DEPTH - 1 + 3), "rejected commands give their places back");
    shell.finish(7);
    assert_eq!(shell.send(&[Pdu::read(7, sn(4), 512)]), ["command 7"]);
}

#[test]
fn rfc7143_4_2_2_1_immediate_commands_are_limited_and_functions_are_not() {
    let mut shell = Shell::new(parameters());
    for i in 0..MAX_IMMEDIATE_COMMANDS {
        assert_eq!(shell.send(&[Pdu::read(i, sn(0), 512).immediate()]).len(), 1);
    }
    let told = shell.send(&[
        Pdu::read(100, sn(0), 512).immediate(),
        Pdu::manage(1, 101, sn(0)).with(20, 0).immediate(),
        Pdu::read(102, sn(0), 512),
    ]);
    assert_eq!(told, ["reject 6 64", "manage 1 65", "command 66"]);
    shell.tags.free(3);
    assert_eq!(shell.send(&[Pdu::read(100, sn(1), 512).immediate()]), ["command 64"]);
}

#[test]
fn rfc7143_11_6_1_an_abort_of_a_task_that_never_came_is_complete() {
    let mut shell = Shell::new(parameters());
    shell.send(&[Pdu::read(0, sn(0), 512), Pdu::read(2, sn(2), 512)]);
    // The command with tag 1 and the next CmdSN is lost.
    let told = shell.send(&[Pdu::manage(1, 50, sn(3)).with(20, 1).with(32, sn(1)).immediate()]);
    assert_eq!(told, ["managed 32 0", "command 2"]);
    assert_eq!(shell.window.exp_cmd_sn(), sn(3));
    assert!(shell.send(&[Pdu::read(1, sn(1), 512)]).is_empty(), "it comes too late");
    let gone = Pdu::manage(1, 51, sn(3)).with(20, 1).with(32, sn(1)).immediate();
    assert_eq!(shell.send(&[gone]), ["manage 1 33"], "outside the window it is for SCSI to say");
    let future = Pdu::manage(1, 52, sn(3)).with(20, 9).with(32, sn(5)).immediate();
    assert_eq!(shell.send(&[future]), ["manage 1 34"], "sent before the task it names");
}

#[test]
fn rfc7143_11_6_1_an_abort_of_a_kept_task_takes_its_place() {
    let mut shell = Shell::new(parameters());
    shell.send(&[Pdu::write(1, sn(1), 512).data(&[1; 512]), Pdu::read(2, sn(2), 512)]);
    let told = shell.send(&[Pdu::manage(1, 50, sn(3)).with(20, 1).with(32, sn(1)).immediate()]);
    assert_eq!(told, ["managed 32 0"]);
    assert_eq!(shell.send(&[Pdu::read(0, sn(0), 512)]), ["command 0", "command 2"]);
}

#[test]
fn rfc7143_4_2_3_3_a_reset_waits_for_the_commands_sent_before_it() {
    for function in [2, 4, 5, 6, 7] {
        let mut shell = Shell::new(parameters());
        let told = shell.send(&[
            Pdu::read(2, sn(1), 512),
            Pdu::manage(function, 50, sn(2)).immediate(),
            Pdu::manage(1, 51, sn(2)).with(20, 0x77).immediate(),
        ]);
        assert_eq!(told, ["manage 1 33"], "ABORT TASK names one task");
        let told = shell.send(&[Pdu::read(1, sn(0), 512)]);
        assert_eq!(told, ["command 1".to_owned(), "command 2".to_owned(), format!("manage {function} 32")]);
    }
}

#[test]
fn rfc7143_7_8_a_damaged_command_counts_all_the_same() {
    let digests = Parameters { data_digest: true, ..parameters() };
    let mut shell = Shell::new(digests);
    let mut bytes = Pdu::write(1, sn(1), 512).data(&[1; 512]).bytes(shell.digests);
    bytes[100] ^= 1;
    shell.feed(&bytes, usize::MAX);
    assert_eq!(shell.send(&[Pdu::read(0, sn(0), 512)]), ["reject 2 1", "command 0"]);
    assert_eq!(shell.window.exp_cmd_sn(), sn(2));
}

#[test]
fn kept_commands_wait_for_the_end_of_the_pdu_in_progress() {
    // ABORT TASK frees the tag, the next command uses it for less memory: the first one's data stays out.
    let mut shell = Shell::new(parameters());
    shell.send(&[Pdu::manage(1, 50, sn(1)).with(20, 7), Pdu::write(7, sn(2), 16)]);
    let bytes = Pdu::write(7, sn(0), 4096).data(&[1; 2048]).bytes(shell.digests);
    shell.feed(&bytes[..100], usize::MAX);
    assert_eq!(shell.log, ["command 7"]);
    shell.feed(&bytes[100..], usize::MAX);
    assert_eq!(shell.log, ["command 7", "r2t 7 0 2048+2048", "manage 1 32", "reject 7 7"]);
}
