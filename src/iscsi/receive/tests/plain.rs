//! Commands taken in one step, against the same bytes through [`Receiver::want`] and [`Receiver::got`].

use std::collections::BTreeMap;

use super::*;

/// Tags in use; the last five find room in one set of the table with the first.
pub(super) const TAGS: [u32; 12] = [7, 1, 2, 3, 4, RESERVED_TAG, 0x3fff, 39, 71, 103, 135, 167];
/// Bytes are fed in pieces of any size, but not the plain way.
pub(super) const NOT_PLAIN: usize = usize::MAX - 1;

pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    pub(super) fn number(&mut self, limit: u32) -> u32 {
        u32::try_from(self.below(limit as usize)).unwrap()
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// Data that an R2T or a write without its F bit has announced.
pub(super) struct Owed {
    itt: u32,
    ttt: u32,
    offset: u32,
    length: u32,
}

/// An initiator that keeps to the standard most of the time.
pub(super) struct Initiator {
    pub(super) random: Random,
    pub(super) next: u32,
    /// Numbers passed over.
    pub(super) gaps: Vec<u32>,
    pub(super) owed: Vec<Owed>,
}

impl Initiator {
    pub(super) fn cmd_sn(&mut self, expected: u32) -> u32 {
        match self.random.below(20) {
            0 => {
                self.gaps.push(self.next);
                self.next = self.next.wrapping_add(2);
                self.next.wrapping_sub(1)
            }
            1..=4 if !self.gaps.is_empty() => self.gaps.swap_remove(0),
            5 => expected.wrapping_add(self.random.number(14)).wrapping_sub(3),
            _ => {
                self.next = self.next.wrapping_add(1);
                self.next.wrapping_sub(1)
            }
        }
    }

    pub(super) fn tag(&mut self) -> u32 {
        TAGS[self.random.below(TAGS.len())]
    }

    pub(super) fn bytes(&mut self, length: u32) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.random.below(251)).unwrap()).collect()
    }

    pub(super) fn pdu(&mut self, expected: u32) -> Pdu {
        let itt = self.tag();
        let mut pdu = match self.random.below(16) {
            0..=5 => {
                let length = self.random.number(4096);
                Pdu::read(itt, self.cmd_sn(expected), length)
            }
            6 => Pdu::new(0x01, 0x80, itt, self.cmd_sn(expected)).with(20, 0),
            7..=9 => self.write(itt, expected),
            10 => self.data_out(itt),
            11 => {
                let length = self.random.number(1500);
                let data = self.bytes(length);
                Pdu::nop_out(itt, self.cmd_sn(expected), &data)
            }
            12 => Pdu::new(0x04, 0x80, itt, self.cmd_sn(expected)).data(b"SendTargets=All\0"),
            13 => self.manage(itt, expected),
            14 => self.data_out(itt),
            _ => self.odd(itt, expected),
        };
        self.disturb(&mut pdu);
        pdu
    }

    fn write(&mut self, itt: u32, expected: u32) -> Pdu {
        let length = self.random.number(9000);
        let immediate = self.random.number(2048).min(length);
        let immediate = if self.random.one_in(2) { immediate } else { 0 };
        let data = self.bytes(immediate);
        let offset = u32::try_from(data.len()).unwrap();
        let mut pdu = Pdu::write(itt, self.cmd_sn(expected), length).data(&data);
        if self.random.one_in(4) {
            pdu = pdu.not_final();
            let length = length.min(2048).saturating_sub(offset);
            self.owed.push(Owed { itt, ttt: RESERVED_TAG, offset, length });
        }
        if self.random.one_in(6) {
            pdu.header[1] |= 0x40;
        }
        pdu
    }

    /// Data that was asked for, or that nobody wants.
    fn data_out(&mut self, itt: u32) -> Pdu {
        if self.owed.is_empty() || self.random.one_in(5) {
            let ttt = if self.random.one_in(2) { RESERVED_TAG } else { self.random.number(20) };
            let length = self.random.number(600);
            let data = self.bytes(length);
            return Pdu::data_out(itt, ttt, self.random.number(3), self.random.number(4096), &data);
        }
        let at = self.random.below(self.owed.len());
        let Owed { itt, ttt, offset, length } = self.owed.swap_remove(at);
        let data = self.bytes(length);
        Pdu::data_out(itt, ttt, 0, offset, &data)
    }

    fn manage(&mut self, itt: u32, expected: u32) -> Pdu {
        let function = u8::try_from([1, 1, 1, 2, 5, 9][self.random.below(6)]).unwrap();
        let about = expected.wrapping_add(self.random.number(8)).wrapping_sub(2);
        let cmd_sn = self.next.wrapping_add(self.random.number(2));
        let pdu = Pdu::manage(function, itt, cmd_sn).with(20, self.tag()).with(32, about).immediate();
        if self.random.one_in(3) { Pdu::manage(function, itt, self.cmd_sn(expected)) } else { pdu }
    }

    /// What an initiator may not send; the last ones end the connection.
    fn odd(&mut self, itt: u32, expected: u32) -> Pdu {
        let cmd_sn = self.cmd_sn(expected);
        match self.random.below(40) {
            0..=9 => Pdu::new(0x10, 0x80, itt, cmd_sn),
            10..=19 => Pdu::new(0x1f, 0xc1, itt, cmd_sn),
            20..=37 => Pdu::read(itt, cmd_sn, 512).data(&[1; 40]),
            38 => Pdu::new(0x03, 0x87, itt, cmd_sn),
            _ => Pdu::read(itt, cmd_sn, 512).data(&[1; 8193]),
        }
    }

    /// Bits and segments that any PDU may have.
    pub(super) fn disturb(&mut self, pdu: &mut Pdu) {
        match self.random.below(40) {
            0..=2 => pdu.header[0] |= 0x40,
            3 => pdu.header[1] &= 0x7f,
            4 | 5 => pdu.segments = vec![0, 5, 2, 0, 0, 0, 2, 0],
            6 => pdu.segments = self.bytes(4),
            7 => pdu.header[1] = pdu.header[1] & 0xf8 | u8::try_from(self.random.below(8)).unwrap(),
            8 => pdu.header[8..16].copy_from_slice(&[0, 3, 0, 0, 0, 0, 0, 1]),
            9 => pdu.header[32..48].copy_from_slice(&[0x88; 16]),
            _ => {}
        }
    }
}

pub(super) fn world(random: &mut Random, base: Parameters) -> [Shell; 2] {
    let parameters = Parameters {
        header_digest: random.one_in(4),
        data_digest: random.one_in(3),
        is_discovery: random.one_in(12),
        nop_in_interval: 30,
        ..base
    };
    let refused = vec![TAGS[random.below(TAGS.len())]];
    let most = if random.one_in(3) { 1000 } else { usize::MAX };
    let start = Instant::now();
    [(), ()].map(|()| {
        let mut shell = Shell::new(parameters.clone());
        // One time for both.
        shell.receiver = Receiver::new(start);
        (shell.start, shell.now, shell.tags) = (start, start, Arc::new(LiveTags::new(start)));
        let (window, tags) = (Arc::clone(&shell.window), Arc::clone(&shell.tags));
        shell.receiver.enter_full_feature(parameters.clone(), window, tags, start);
        (shell.refused, shell.most) = (refused.clone(), most);
        shell
    })
}

/// All that can be seen of a receiver.
pub(super) fn state(shell: &Shell) -> String {
    let (window, tags, receiver) = (&shell.window, &shell.tags, &shell.receiver);
    let live: Vec<u32> = TAGS.into_iter().filter(|tag| tags.contains(*tag)).collect();
    let turn = (receiver.turns.is_empty(), receiver.turns.bytes(), receiver.turns.deadline());
    format!(
        "{:?} {:?} {:?} {live:?} {} {:?} {:?} {} {} {} {turn:?}",
        window.exp_cmd_sn(),
        window.max_cmd_sn(),
        window.owes_update(),
        tags.len(),
        tags.oldest(),
        receiver.deadline(),
        receiver.pdus(),
        receiver.exp_stat_sn(),
        receiver.arriving(),
    )
}

/// What happens beside the bytes: answers, aborts, another window, time.
pub(super) fn happen(random: &mut Random, shells: &mut [Shell; 2]) {
    let tag = TAGS[random.below(TAGS.len())];
    let (is_over, is_told) = (random.below(5) < 4, random.one_in(2));
    let depth = random.one_in(25).then(|| random.number(7) + 2);
    let later = Duration::from_micros(random.number(3).into());
    for shell in shells {
        if is_over && shell.tags.contains(tag) {
            shell.receiver.forget(tag);
            shell.finish(tag);
        }
        if is_told {
            shell.window.announce();
        }
        if let Some(depth) = depth {
            shell.window.resize(depth);
        }
        shell.now += later;
    }
}

/// The R2Ts among what a shell was told.
pub(super) fn asked(told: &[String], count: &mut u32, owed: &mut Vec<Owed>) {
    for line in told {
        let words: Vec<&str> = line.split([' ', '+']).collect();
        if words[0] == "r2t" {
            *count += 1;
            let (itt, ttt) = (u32::from_str_radix(words[1], 16).unwrap(), Shell::ttt(*count));
            owed.push(Owed {
                itt,
                ttt,
                offset: words[3].parse().unwrap(),
                length: words[4].parse().unwrap(),
            });
        }
    }
}

/// One connection; how often each thing was told, and how many commands were taken in one step.
fn play(seed: u64, told: &mut BTreeMap<String, usize>) -> usize {
    let mut random = Random(seed);
    let mut shells = world(&mut random, parameters());
    let (mut bytes, mut r2ts) = (Vec::new(), 0);
    let mut initiator = Initiator { random: Random(!seed), next: sn(0), gaps: Vec::new(), owed: Vec::new() };
    for step in 0..150 {
        let expected = shells[1].window.exp_cmd_sn();
        if initiator.gaps.is_empty() && bytes.is_empty() {
            initiator.next = expected;
        }
        for _ in 0..random.below(4) {
            let mut pdu = initiator.pdu(expected).bytes(shells[0].digests);
            // Damaged data; a damaged header ends the connection.
            if shells[0].digests.data && pdu.len() > 70 && random.one_in(8) {
                let last = pdu.len() - 5;
                pdu[last] ^= 1;
            }
            bytes.extend_from_slice(&pdu);
        }
        let count = if random.one_in(3) { bytes.len() } else { random.below(bytes.len() + 1) };
        let received: Vec<u8> = bytes.drain(..count).collect();
        for (shell, piece) in shells.iter_mut().zip([usize::MAX, NOT_PLAIN]) {
            shell.feed(&received, piece);
        }
        let [one, other] = &mut shells;
        assert_eq!(one.log, other.log, "seed {seed}, step {step}");
        assert_eq!(one.commands, other.commands, "seed {seed}, step {step}");
        assert_eq!(one.ended, other.ended, "seed {seed}, step {step}");
        assert_eq!(state(one), state(other), "seed {seed}, step {step}: {:?}", one.log);
        asked(&one.log, &mut r2ts, &mut initiator.owed);
        for line in std::mem::take(&mut one.log) {
            *told.entry(line.split(' ').next().unwrap().to_owned()).or_default() += 1;
        }
        other.log.clear();
        if let Some(end) = one.ended {
            *told.entry(format!("{end:?}").split(' ').next().unwrap().to_owned()).or_default() += 1;
            break;
        }
        happen(&mut random, &mut shells);
    }
    assert_eq!(shells[1].plain, 0);
    shells[0].plain
}

#[test]
fn rfc7143_a_command_taken_in_one_step_is_what_it_is_otherwise() {
    let mut told = BTreeMap::new();
    let plain: usize = (0..400).map(|seed| play(seed, &mut told)).sum();
    assert!(plain > 2000, "{plain} of {told:?}");
    for what in [
        "command",
        "execute",
        "fail",
        "r2t",
        "pong",
        "text",
        "manage",
        "managed",
        "reject",
        "window",
        "LoginAgain",
        "DataSegmentTooLong",
    ] {
        assert!(told.get(what).is_some_and(|count| *count > 1), "too few of {what}: {told:?}");
    }
}

#[test]
fn the_units_of_the_plain_commands_in_front_are_seen_ahead() {
    for header in [false, true] {
        let digests = Digests { header, data: false };
        let mut shell = Shell::new(Parameters { header_digest: header, ..parameters() });
        let reads: Vec<u8> = (0..4u8)
            .flat_map(|lun| {
                let mut read = Pdu::read(2 + u32::from(lun), sn(u32::from(lun)), 512);
                read.header[9] = lun;
                read.bytes(digests)
            })
            .collect();
        let write = Pdu::write(9, sn(4), 512).data(&[1; 512]).bytes(digests);
        let last = Pdu::read(10, sn(5), 512).bytes(digests);
        let received = [&reads[..], &write, &last].concat();
        let seen = |bytes: &[u8]| {
            let fields = shell.receiver.fields_ahead(bytes);
            fields.map(|field| u32::from(field.0[1])).collect::<Vec<_>>()
        };
        let each = reads.len() / 4;
        assert_eq!(seen(&received), [0, 1, 2, 3], "one that brings data ends the view");
        assert_eq!(seen(&reads[..4 * each - 1]), [0, 1, 2], "a header that is not whole");
        assert_eq!(seen(&reads[..each - 1]), [0; 0]);
        assert_eq!(seen(&received[4 * each..]), [0; 0]);
        shell.feed(&reads, usize::MAX);
        assert_eq!(shell.log.len(), 4, "they were only looked at: {:?}", shell.log);
    }
}

#[test]
fn nothing_is_taken_in_one_step_while_a_command_is_dealt_with() {
    let mut shell = Shell::new(parameters());
    shell.send(&[Pdu::read(2, sn(1), 512)]);
    shell.window.accept();
    // The kept one's turn has come, and its command is not accepted yet.
    let mut actions = Vec::new();
    assert!(shell.receiver.replay(&mut actions) && shell.receiver.command().is_some());
    let next = Pdu::read(3, sn(2), 512).bytes(shell.digests);
    assert!(shell.receiver.plain_command(&next, shell.now, &mut actions).is_none());
    shell.perform(actions);
    assert_eq!(shell.send(&[Pdu::read(3, sn(2), 512)]), ["command 2", "command 3"]);
}

/// A write of which the bytes from `at` on are another command, should they be taken for a PDU.
pub(super) fn trap(at: usize, inner: &Pdu) -> Pdu {
    let bytes = inner.bytes(Digests::default());
    let (front, rest) = bytes.split_at(LENGTH - at);
    let mut pdu = Pdu::write(1, sn(0), u32::try_from(rest.len()).unwrap()).data(rest);
    pdu.header[at..].copy_from_slice(front);
    pdu
}

#[test]
fn what_is_inside_a_pdu_is_no_command() {
    // In the data segment, with the number that is expected then; and from the CDB on, with the write's own.
    for (at, cmd_sn) in [(LENGTH, sn(1)), (32, sn(0))] {
        let pdu = trap(at, &Pdu::read(2, cmd_sn, 512));
        let bytes =
            [pdu.bytes(Digests::default()), Pdu::read(3, sn(1), 512).bytes(Digests::default())].concat();
        let execute = format!("execute 1 {} {}", pdu.data.len(), crc(&pdu.data));
        for cut in 0..bytes.len() {
            let mut shell = Shell::new(parameters());
            shell.feed(&bytes[..cut], usize::MAX);
            shell.feed(&bytes[cut..], usize::MAX);
            assert_eq!(shell.log, ["command 1", &execute, "command 3"], "the trap at {at}, cut at {cut}");
        }
    }
}
