//! Writes taken in one step with their data, against the same bytes through [`Receiver::want`] and
//! [`Receiver::got`].

use super::plain::{Initiator, NOT_PLAIN, Random, TAGS, asked, happen, state, trap, world};
use super::*;
use crate::iscsi::receive::whole::Front;

const SWITCHES: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// What has been seen of the first part of a command.
#[derive(Default)]
struct Counts {
    whole: usize,
    parts: usize,
    /// Parts that became whole, and those that did not.
    kept: usize,
    broken: usize,
}

/// What [`Receiver::whole_command`] says of these bytes. It takes nothing unless it takes all.
fn look(shell: &mut Shell, received: &[u8]) -> Front {
    let seen = |shell: &Shell| {
        let (window, tags, receiver) = (&shell.window, &shell.tags, &shell.receiver);
        let numbers = (window.exp_cmd_sn(), window.max_cmd_sn(), window.owes_update());
        (numbers, tags.len(), receiver.pdus(), receiver.exp_stat_sn(), receiver.arriving())
    };
    let before = seen(shell);
    let mut actions = Vec::new();
    let front = shell.receiver.whole_command(received, shell.now, &mut actions);
    if let Front::Whole { command, data, .. } = &front {
        shell.perform(actions);
        shell.commands.push(words(command));
        shell.log.push(format!("command {:x}", command.tag));
        if !shell.refused.contains(&command.tag) {
            let sent = &received[data.clone()];
            let length = shell.most.min(sent.len());
            shell.log.push(format!("execute {:x} {length} {}", command.tag, crc(&sent[..length])));
        }
        shell.finish(command.tag);
        assert!(shell.receiver.command().is_none());
    } else {
        assert!(actions.is_empty());
        assert_eq!(before, seen(shell), "nothing is taken");
    }
    front
}

/// Gives the receiver what it wants of the bytes in front.
fn piece(shell: &mut Shell, received: &mut Vec<u8>) {
    let want = shell.receiver.want();
    let count = want.len().min(received.len());
    want[..count].copy_from_slice(&received[..count]);
    received.drain(..count);
    let mut actions = Vec::new();
    shell.ended = shell.receiver.got(count, shell.now, &mut actions).err();
    shell.perform(actions);
}

/// A connection whose thread has a receive buffer, as the server's.
#[derive(Default)]
struct Buffered {
    received: Vec<u8>,
    /// Length of the PDU whose first part is here.
    awaited: Option<usize>,
    counts: Counts,
}

impl Buffered {
    /// Takes what can be taken, until a part is left.
    fn take(&mut self, shell: &mut Shell) {
        while !self.received.is_empty() && shell.ended.is_none() {
            if shell.feed_plain(&self.received) {
                self.received.drain(..shell.receiver.plain_length());
                continue;
            }
            match look(shell, &self.received) {
                Front::Whole { length, .. } => {
                    if let Some(awaited) = self.awaited.take() {
                        assert_eq!(length, awaited);
                        self.counts.kept += 1;
                    }
                    self.counts.whole += 1;
                    self.received.drain(..length);
                }
                Front::Part { length } => {
                    assert!(self.received.len() < length && self.awaited.is_none_or(|was| was == length));
                    self.counts.parts += usize::from(self.awaited.is_none());
                    self.awaited = Some(length);
                    return;
                }
                Front::Other => {
                    self.counts.broken += usize::from(self.awaited.take().is_some());
                    piece(shell, &mut self.received);
                }
            }
        }
    }

    /// The rest does not come for a while.
    fn drain(&mut self, shell: &mut Shell) {
        self.awaited = None;
        while !self.received.is_empty() && shell.ended.is_none() {
            piece(shell, &mut self.received);
        }
    }
}

/// A write with its data: mostly one that may be taken in one step.
fn write(initiator: &mut Initiator, expected: u32, limits: [u32; 2]) -> Pdu {
    let random = &mut initiator.random;
    let length = match random.below(12) {
        0..=3 => random.number(12),
        4 => limits[0] - 1 + random.number(3),
        5 if random.one_in(8) => limits[1] - 1 + random.number(3),
        5 => 0,
        _ => random.number(700),
    };
    let announced = match random.below(12) {
        0 => length + random.number(600),
        1 => length.saturating_sub(1 + random.number(5)),
        _ => length,
    };
    let data = initiator.bytes(length);
    let itt = initiator.tag();
    let mut pdu = Pdu::write(itt, initiator.cmd_sn(expected), announced).data(&data);
    pdu.put(28, initiator.random.number(1000));
    match initiator.random.below(24) {
        0 => pdu.header[1] |= 0x40,
        1 => pdu.header[1] &= !0x20,
        2 => pdu = pdu.not_final(),
        3 => pdu = pdu.immediate(),
        4 => initiator.disturb(&mut pdu),
        _ => {}
    }
    pdu
}

/// Damage that a digest shows: rarely in the header, which ends the connection.
fn damage(random: &mut Random, pdu: &mut [u8], digests: Digests) {
    let header = LENGTH + if digests.header { digest::LENGTH } else { 0 };
    if digests.header && random.one_in(60) {
        pdu[LENGTH + random.below(4)] ^= 0x10;
    } else if digests.data && pdu.len() > header && random.one_in(6) {
        let at = header + random.below(pdu.len() - header);
        pdu[at] ^= 0x10;
    }
}

fn base(random: &mut Random) -> Parameters {
    Parameters {
        immediate_data: !random.one_in(8),
        initial_r2t: random.one_in(2),
        first_burst_length: [512, 600, 2048][random.below(3)],
        max_recv_data_segment_length: [512, 640, 8192][random.below(3)],
        ..parameters()
    }
}

/// One connection.
fn play(seed: u64) -> Counts {
    let mut random = Random(seed);
    let base = base(&mut random);
    let limits = [base.first_burst_length, base.max_recv_data_segment_length];
    let mut shells = world(&mut random, base);
    let mut initiator = Initiator { random: Random(!seed), next: sn(0), gaps: Vec::new(), owed: Vec::new() };
    let (mut buffered, mut bytes, mut r2ts) = (Buffered::default(), Vec::new(), 0);
    for step in 0..150 {
        let expected = shells[1].window.exp_cmd_sn();
        if initiator.gaps.is_empty() && bytes.is_empty() && buffered.received.is_empty() {
            initiator.next = expected;
        }
        for _ in 0..random.below(4) {
            let is_write = random.below(3) < 2;
            let pdu =
                if is_write { write(&mut initiator, expected, limits) } else { initiator.pdu(expected) };
            let mut pdu = pdu.bytes(shells[0].digests);
            damage(&mut random, &mut pdu, shells[0].digests);
            bytes.extend_from_slice(&pdu);
        }
        let count = if random.one_in(3) { bytes.len() } else { random.below(bytes.len() + 1) };
        let received: Vec<u8> = bytes.drain(..count).collect();
        let [one, other] = &mut shells;
        other.feed(&received, NOT_PLAIN);
        buffered.received.extend_from_slice(&received);
        buffered.take(one);
        if random.one_in(4) {
            buffered.drain(one);
        }
        if one.ended.is_none() && !buffered.received.is_empty() {
            continue;
        }
        assert_eq!(one.log, other.log, "seed {seed}, step {step}");
        assert_eq!(one.commands, other.commands, "seed {seed}, step {step}");
        assert_eq!(one.ended, other.ended, "seed {seed}, step {step}");
        assert_eq!(state(one), state(other), "seed {seed}, step {step}: {:?}", one.log);
        asked(&one.log, &mut r2ts, &mut initiator.owed);
        one.log.clear();
        other.log.clear();
        if one.ended.is_some() {
            break;
        }
        happen(&mut random, &mut shells);
    }
    buffered.counts
}

#[test]
fn rfc7143_a_write_taken_with_its_data_is_what_it_is_otherwise() {
    let mut total = Counts::default();
    for seed in 0..2000 {
        let counts = play(seed);
        total.whole += counts.whole;
        total.parts += counts.parts;
        total.kept += counts.kept;
        total.broken += counts.broken;
    }
    let Counts { whole, parts, kept, broken } = total;
    assert!(whole > 5000 && parts > 1000 && kept > 500, "{whole} {parts} {kept}");
    assert!(broken > 10 && broken < kept / 2, "{broken} of {kept}");
}

fn parameters_with((header, data): (bool, bool)) -> Parameters {
    Parameters { header_digest: header, data_digest: data, ..parameters() }
}

#[test]
fn rfc7143_11_2_a_write_is_seen_from_its_header_on_and_taken_with_its_last_byte() {
    for switches in SWITCHES {
        let (header, data) = switches;
        let digests = Digests { header, data };
        for length in (1..10).chain([511, 512, 2048]) {
            let sent = pattern(length);
            let pdu = Pdu::write(7, sn(0), u32::try_from(length).unwrap()).data(&sent);
            let bytes = pdu.bytes(digests);
            let next = Pdu::write(8, sn(1), 4).data(b"next").bytes(digests);
            let stream = [&bytes[..], &next].concat();
            let told = [
                "command 7".to_owned(),
                format!("execute 7 {length} {}", crc(&sent)),
                "command 8".to_owned(),
                format!("execute 8 4 {}", crc(b"next")),
            ];
            let start = LENGTH + if header { digest::LENGTH } else { 0 };
            for cut in (0..bytes.len()).filter(|cut| length < 20 || *cut < 60 || cut % 97 < 2) {
                let mut shell = Shell::new(parameters_with(switches));
                match look(&mut shell, &stream[..cut]) {
                    Front::Part { length } => assert!(cut >= start && length == bytes.len(), "cut at {cut}"),
                    Front::Other => assert!(cut < start, "cut at {cut}"),
                    Front::Whole { .. } => panic!("whole with {cut} bytes of {}", bytes.len()),
                }
                // It may be left for the rest to come, or be taken piece by piece.
                shell.feed(&stream[..cut], NOT_PLAIN);
                shell.feed(&stream[cut..], NOT_PLAIN);
                assert_eq!(shell.log, told, "cut at {cut}");
            }
            for more in 0..=next.len() {
                let mut shell = Shell::new(parameters_with(switches));
                let Front::Whole { data, length, .. } = look(&mut shell, &stream[..bytes.len() + more])
                else {
                    panic!("{} bytes and {more} more", bytes.len())
                };
                assert_eq!((data, length), (start..start + sent.len(), bytes.len()));
                shell.feed(&stream[length..], NOT_PLAIN);
                assert_eq!(shell.log, told);
            }
        }
    }
}

/// A write of 512 bytes that would be taken.
fn good() -> Pdu {
    Pdu::write(7, sn(0), 512).data(&pattern(512))
}

/// Not seen, whatever is here of it; and the same is said of it as by a shell that never looks.
fn is_left(mut make: impl FnMut() -> Shell, pdu: &Pdu, what: &str) {
    let (mut one, mut other) = (make(), make());
    let bytes = pdu.bytes(one.digests);
    for cut in 0..=bytes.len() {
        assert!(matches!(look(&mut one, &bytes[..cut]), Front::Other), "{what}, cut at {cut}");
    }
    one.feed(&bytes, NOT_PLAIN);
    other.feed(&bytes, NOT_PLAIN);
    assert_eq!((&one.log, one.ended), (&other.log, other.ended), "{what}");
    assert_eq!(one.commands, other.commands, "{what}");
}

#[test]
fn what_takes_more_than_one_step_is_left_alone() {
    let usual = || Shell::new(parameters());
    let with = |change: fn(&mut Pdu)| {
        let mut pdu = good();
        change(&mut pdu);
        pdu
    };
    let pdus: [(&str, Pdu); 15] = [
        ("it is bidirectional", with(|pdu| pdu.header[1] |= 0x40)),
        ("it is no write", with(|pdu| pdu.header[1] &= !0x20)),
        ("unsolicited data follow", good().not_final()),
        ("it is immediate", good().immediate()),
        ("it has additional headers", with(|pdu| pdu.segments = vec![0, 5, 2, 0, 0, 0, 2, 0])),
        ("it has no data", Pdu::write(7, sn(0), 512)),
        ("it announces none and has none", Pdu::write(7, sn(0), 0)),
        ("more is announced", good().with(20, 513)),
        ("less is announced", good().with(20, 511)),
        ("nothing is announced", good().with(20, 0)),
        ("FirstBurstLength", Pdu::write(7, sn(0), 2049).data(&pattern(2049))),
        ("its number is to come", good().with(24, sn(1))),
        ("its number is over", good().with(24, sn(u32::MAX))),
        ("its tag is reserved", good().with(16, RESERVED_TAG)),
        ("it is another PDU", with(|pdu| pdu.header[0] = 0x05)),
    ];
    assert!(matches!(look(&mut usual(), &good().bytes(Digests::default())), Front::Whole { .. }));
    for (what, pdu) in pdus {
        is_left(usual, &pdu, what);
    }
    let long = Pdu::write(7, sn(0), 1025).data(&pattern(1025));
    let short = || Shell::new(Parameters { max_recv_data_segment_length: 1024, ..parameters() });
    is_left(short, &long, "MaxRecvDataSegmentLength");
    is_left(|| Shell::new(Parameters { immediate_data: false, ..parameters() }), &good(), "ImmediateData");
    is_left(|| Shell::new(Parameters { is_discovery: true, ..parameters() }), &good(), "discovery");
}

#[test]
fn a_write_is_left_alone_while_another_request_has_its_turn() {
    let kept = || {
        let mut shell = Shell::new(parameters());
        shell.send(&[Pdu::read(2, sn(1), 512)]);
        shell
    };
    is_left(kept, &good(), "another is kept");
    let deferred = || {
        let mut shell = Shell::new(parameters());
        shell.send(&[Pdu::manage(2, 0x14, sn(1)).with(20, RESERVED_TAG).with(32, sn(1)).immediate()]);
        assert!(!shell.receiver.turns.is_empty());
        shell
    };
    is_left(deferred, &good(), "a function waits for it");
    let mut shell = Shell::new(parameters());
    shell.feed(&Pdu::write(3, sn(0), 512).data(&[1; 512]).bytes(Digests::default())[..LENGTH + 9], NOT_PLAIN);
    let next = good().with(24, sn(1)).bytes(Digests::default());
    assert!(matches!(look(&mut shell, &next), Front::Other), "in the middle of another");
    let mut login = Receiver::<u32>::new(shell.start);
    assert!(matches!(login.whole_command(&next, shell.now, &mut Vec::new()), Front::Other), "before login");
    // A kept command whose turn has come is not accepted yet.
    let mut shell = kept();
    shell.window.accept();
    let mut actions = Vec::new();
    assert!(shell.receiver.replay(&mut actions) && shell.receiver.command().is_some());
    let next = good().with(24, sn(2)).bytes(Digests::default());
    assert!(matches!(look(&mut shell, &next), Front::Other));
}

/// What only the whole PDU shows: a part of it is awaited, and then nothing of it is taken in one step.
#[test]
fn a_write_that_is_wrong_at_its_end_is_said_to_be_wrong() {
    for switches in SWITCHES {
        let digests = Digests { header: switches.0, data: switches.1 };
        let good = good().bytes(digests);
        let start = good.len() - if switches.1 { 516 } else { 512 };
        let in_use = || {
            let mut shell = Shell::new(parameters_with(switches));
            shell.send(&[Pdu::read(7, sn(0), 512)]);
            shell
        };
        let next = Pdu::write(7, sn(1), 512).data(&pattern(512)).bytes(digests);
        let mut shell = in_use();
        assert!(matches!(look(&mut shell, &next), Front::Other));
        shell.feed(&next, NOT_PLAIN);
        assert_eq!(shell.log, ["reject 7 7"]);
        if !switches.1 {
            continue;
        }
        for at in (start..good.len()).filter(|at| at % 53 == 0 || good.len() - at < 8) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            let mut shell = Shell::new(parameters_with(switches));
            let before = state(&shell);
            assert!(matches!(look(&mut shell, &bad), Front::Other), "byte {at}");
            assert_eq!(state(&shell), before);
            let live = TAGS.into_iter().filter(|tag| shell.tags.contains(*tag)).count();
            assert_eq!(live, 0, "its tag is free");
            shell.feed(&bad, NOT_PLAIN);
            assert_eq!(shell.log, ["command 7", "reject 2 7", "fail 7 4705"], "byte {at}");
            shell.log.clear();
            assert_eq!(shell.send(&[Pdu::write(7, sn(1), 4).data(b"good")]).len(), 2);
        }
    }
}

#[test]
fn a_wrong_header_digest_ends_the_connection_as_ever() {
    for data in [false, true] {
        let digests = Digests { header: true, data };
        for at in (0..LENGTH + digest::LENGTH).filter(|at| !(4..8).contains(at)) {
            let mut bad = good().bytes(digests);
            bad[at] ^= 1;
            let mut shell = Shell::new(parameters_with((true, data)));
            assert!(matches!(look(&mut shell, &bad), Front::Other), "byte {at}");
            assert!(matches!(look(&mut shell, &bad[..60]), Front::Other), "byte {at}");
            shell.feed(&bad, NOT_PLAIN);
            assert_eq!(shell.ended, Some(ProtocolError::HeaderDigest), "byte {at}");
        }
    }
}

#[test]
fn what_is_inside_a_pdu_is_no_write() {
    let inner = |cmd_sn| Pdu::write(2, cmd_sn, 8).data(b"trapped!");
    let outer = trap(LENGTH, &inner(sn(1)));
    // The same, of which more is to come: it is taken piece by piece.
    let longer = trap(LENGTH, &inner(sn(1))).with(20, 1000);
    // From the CDB on, with the write's own number.
    let early = trap(32, &inner(sn(0)));
    for pdu in [outer, longer, early] {
        let bytes = pdu.bytes(Digests::default());
        for cut in 0..bytes.len() {
            for waits in [false, true] {
                let (mut shell, mut buffered) = (Shell::new(parameters()), Buffered::default());
                for part in [&bytes[..cut], &bytes[cut..]] {
                    buffered.received.extend_from_slice(part);
                    buffered.take(&mut shell);
                    if waits {
                        buffered.drain(&mut shell);
                    }
                }
                assert_eq!(shell.commands.len(), 1, "cut at {cut}: {:?}", shell.log);
                assert_eq!(shell.log[0], "command 1", "cut at {cut}");
                assert!(!shell.tags.contains(2) && shell.window.exp_cmd_sn() == sn(1));
            }
        }
    }
}

#[test]
fn rfc7143_11_19_who_sends_part_of_a_write_is_there() {
    let timers = Parameters { nop_in_interval: 30, nop_in_timeout: 10, ..parameters() };
    let mut shell = Shell::new(timers);
    assert_eq!(shell.expire(30), Ok(vec!["ping".to_owned()]));
    shell.now = shell.start + Duration::from_secs(39);
    let bytes = good().bytes(Digests::default());
    assert!(matches!(look(&mut shell, &bytes[..100]), Front::Part { .. }));
    assert_eq!(shell.expire(48), Ok(vec![]));
    assert_eq!(shell.expire(49), Err(ProtocolError::NopInTimeout));
}
