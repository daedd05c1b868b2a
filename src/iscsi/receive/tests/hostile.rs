//! Initiators that lie.

use super::*;

fn before_login() -> Receiver<u32> {
    Receiver::new(Instant::now() + Duration::from_secs(15))
}

fn feed(receiver: &mut Receiver<u32>, mut bytes: &[u8]) -> Result<Vec<Action<u32>>, ProtocolError> {
    let mut actions = Vec::new();
    while !bytes.is_empty() {
        let want = receiver.want();
        let count = want.len().min(bytes.len());
        want[..count].copy_from_slice(&bytes[..count]);
        bytes = &bytes[count..];
        receiver.got(count, Instant::now(), &mut actions)?;
    }
    Ok(actions)
}

fn login(data: &[u8]) -> Vec<u8> {
    Pdu::new(0x43, 0x87, 1, 0).data(data).bytes(Digests::default())
}

#[test]
fn rfc7143_6_3_only_login_comes_before_full_feature_phase() {
    for opcode in (0..=0x3f).filter(|opcode| *opcode != 0x03) {
        let bytes = Pdu::new(opcode, 0x80, 1, 0).bytes(Digests::default());
        let error = ProtocolError::NotALogin { opcode };
        assert_eq!(feed(&mut before_login(), &bytes).err(), Some(error));
    }
}

#[test]
fn rfc7143_13_12_a_login_segment_is_bounded_before_memory_is_taken() {
    for length in [0, 1, 8189, 8190, 8191, 8192] {
        let actions = feed(&mut before_login(), &login(&vec![b'x'; length])).unwrap();
        assert!(matches!(&actions[..], [Action::Login(_, text)] if text.len() == length));
    }
    for length in [8193usize, 0x00ff_ffff] {
        let mut bytes = login(b"");
        bytes[5..8].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes()[1..]);
        let error = ProtocolError::DataSegmentTooLong { length };
        assert_eq!(feed(&mut before_login(), &bytes).err(), Some(error));
    }
    let mut bytes = login(b"");
    bytes[4] = 255;
    bytes.resize(LENGTH + 255 * 4, 0);
    assert_eq!(feed(&mut before_login(), &bytes).err(), Some(ProtocolError::AdditionalHeaders));
}

#[test]
fn rfc7143_6_3_a_login_has_a_deadline() {
    let start = Instant::now();
    let mut receiver: Receiver<u32> = Receiver::new(start + Duration::from_secs(15));
    assert_eq!(receiver.deadline(), Some(start + Duration::from_secs(15)));
    feed(&mut receiver, &login(b"x")[..30]).unwrap();
    let mut actions = Vec::new();
    assert_eq!(receiver.expired(start + Duration::from_secs(14), &mut actions), Ok(()));
    let late = receiver.expired(start + Duration::from_secs(15), &mut actions);
    assert_eq!(late, Err(ProtocolError::LoginTimeout));
}

#[test]
fn rfc7143_11_12_a_second_login_ends_the_connection() {
    let mut shell = Shell::new(parameters());
    shell.send(&[Pdu::new(0x43, 0x87, 1, sn(0))]);
    assert_eq!(shell.ended, Some(ProtocolError::LoginAgain));
}

#[test]
fn rfc7143_13_12_a_segment_longer_than_declared_ends_the_connection() {
    for pdu in [
        Pdu::nop_out(1, sn(0), &[0; 8193]),
        Pdu::write(1, sn(0), 10_000).data(&[0; 8193]),
        Pdu::data_out(1, 1, 0, 0, &[0; 8193]),
    ] {
        let mut shell = Shell::new(parameters());
        shell.send(&[pdu]);
        assert_eq!(shell.ended, Some(ProtocolError::DataSegmentTooLong { length: 8193 }));
    }
}

#[test]
fn rfc7143_11_17_1_what_no_initiator_sends_is_rejected() {
    let mut shell = Shell::new(parameters());
    for opcode in [0x07, 0x0f, 0x11, 0x1c, 0x1f, 0x20, 0x25, 0x31, 0x3f] {
        let told = shell.send(&[Pdu::new(opcode, 0x80, 5, sn(0)).data(b"abc")]);
        assert_eq!(told, ["reject 5 5"], "{opcode:x}");
    }
    assert_eq!(shell.send(&[Pdu::new(0x10, 0x80, 6, 0)]), ["reject 3 6"], "SNACK");
    assert_eq!(shell.send(&[Pdu::read(1, sn(0), 512)]), ["command 1"]);
}

#[test]
fn rfc7143_11_2_2_segments_that_lie_reject_the_command_but_take_its_number() {
    let mut shell = Shell::new(parameters());
    let bad = |itt, cmd_sn, segments: &[u8]| {
        let mut pdu = Pdu::write(itt, cmd_sn, 512).data(&[1; 512]);
        pdu.segments = segments.to_vec();
        pdu
    };
    assert_eq!(shell.send(&[bad(1, sn(0), &[0, 0, 1, 0])]), ["reject 9 1"]);
    assert_eq!(shell.send(&[bad(2, sn(2), &[0xff, 0xff, 1, 0])]), ["reject 9 2"]);
    assert_eq!(shell.send(&[bad(3, sn(3), &[0, 9, 1, 0]).immediate()]), ["reject 9 3"]);
    assert_eq!(shell.send(&[Pdu::read(4, sn(1), 512)]), ["command 4"]);
    assert_eq!(shell.window.exp_cmd_sn(), sn(3), "the number of the second one counts too");
}

#[test]
fn rfc7143_11_2_2_an_extended_cdb_is_reported() {
    let mut shell = Shell::new(parameters());
    let mut pdu = Pdu::read(1, sn(0), 512);
    pdu.segments = [&[0, 17, 1, 0][..], &[9; 16]].concat();
    let bytes = pdu.bytes(shell.digests);
    let mut actions = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let want = shell.receiver.want();
        let count = want.len();
        want.copy_from_slice(&bytes[at..at + count]);
        at += count;
        shell.receiver.got(count, shell.now, &mut actions).unwrap();
    }
    assert!(actions.is_empty(), "{actions:?}");
    let command = shell.receiver.command().expect("a command");
    assert_eq!(command.additional.extended_cdb.as_deref(), Some(&[9; 16][..]));
}

/// Small, seeded, and good enough to break things (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// Numbers that matter more than others.
    fn word(&mut self) -> u32 {
        let near = u32::try_from(self.below(20)).unwrap();
        match self.below(6) {
            0 => 0,
            1 => u32::MAX,
            2 => sn(near),
            3 => near,
            4 => 512 * near,
            _ => u32::try_from(self.next() >> 32).unwrap(),
        }
    }
}

fn mutate(random: &mut Random, pdu: &mut Pdu) {
    match random.below(8) {
        0 => pdu.header[random.below(LENGTH)] ^= 1 << random.below(8),
        1 | 2 => {
            let (at, word) = (16 + 4 * random.below(8), random.word());
            pdu.put(at, word);
        }
        3 => pdu.header[1] ^= 1 << random.below(8),
        4 => pdu.data = vec![3; random.below(9000)],
        5 => {
            pdu.segments = vec![0; 4 * random.below(256)];
            for _ in 0..random.below(8) {
                let at = random.below(pdu.segments.len() + 1);
                if at < pdu.segments.len() {
                    pdu.segments[at] = u8::try_from(random.below(256)).unwrap();
                }
            }
        }
        6 => *pdu = Pdu::data_out(0x11, random.word(), random.word(), random.word(), &[1; 700]),
        _ => *pdu = Pdu::manage(u8::try_from(random.below(14)).unwrap(), 0x33, random.word()).immediate(),
    }
}

/// Whatever comes, nothing panics, memory stays bounded, and what is executed was sent.
#[test]
fn mutated_conversations_do_no_harm() {
    for seed in 1..=3000u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let has_digests = random.below(4) == 0;
        let digests = Digests { header: has_digests, data: has_digests };
        let parameters = Parameters { header_digest: has_digests, data_digest: has_digests, ..parameters() };
        let mut shell = Shell::new(parameters);
        shell.most = [100, 512, 4096, usize::MAX][random.below(4)];
        for _ in 0..6 {
            let mut pdus = conversation();
            for _ in 0..random.below(6) {
                let at = random.below(pdus.len());
                match random.below(4) {
                    0 => pdus.swap(at, 0),
                    1 => pdus.push(pdus[at].clone()),
                    _ => mutate(&mut random, &mut pdus[at]),
                }
            }
            for pdu in &pdus {
                let mut bytes = pdu.bytes(digests);
                if random.below(40) == 0 {
                    let at = random.below(bytes.len());
                    bytes[at] ^= 1 << random.below(8);
                }
                let piece = 1 + random.below(3000);
                shell.feed(&bytes, piece);
                if random.below(20) == 0 {
                    drop(shell.receiver.forget_if(|_| true));
                }
                assert!(shell.receiver.turns.bytes() <= crate::limits::MAX_EARLY_BYTES);
                assert!(shell.tags.len() <= (DEPTH + MAX_IMMEDIATE_COMMANDS) as usize + shell.log.len());
            }
            shell.log.clear();
            for i in 0..0x20 {
                shell.tags.free(i);
            }
        }
        drop(shell.receiver);
        assert_eq!(shell.pool.in_use(), 0, "seed {seed}");
    }
}
