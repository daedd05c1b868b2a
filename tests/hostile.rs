//! Connections that mean no good, against the real daemon: each costs itself at most, and an honest session
//! notices nothing.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use common::{Daemon, say};
use initiator::{Initiator, Options, READ, WRITE, rw16};

const TARGET: &str = "iqn.2026-01.test:hostile";
/// How long the daemon may take to be done with a connection that has said its last word.
const LIMIT: Duration = Duration::from_secs(30);
const SEEDS: u64 = 400;

fn serve() -> Daemon {
    let conf = format!(
        "HANDLER vdisk_ram {{\nDEVICE d {{\nsize 16M\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\nLUN 0 d\n}}\n}}\n"
    );
    Daemon::start("hostile", &conf)
}

/// A small generator (splitmix): the same seed gives the same bytes.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// A PDU: header, data segment length as told, data as sent.
fn pdu(opcode: u8, flags: u8, told: usize, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 48];
    (bytes[0], bytes[1]) = (opcode, flags);
    bytes[5..8].copy_from_slice(&(told as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(data);
    bytes.resize(48 + data.len().next_multiple_of(4), 0);
    bytes
}

fn login(flags: u8, text: &[u8]) -> Vec<u8> {
    let mut bytes = pdu(0x43, flags, text.len(), text);
    bytes[8] = 0x80;
    bytes
}

fn good_text() -> Vec<u8> {
    format!("InitiatorName=iqn.2026-01.test:bad\0SessionType=Normal\0TargetName={TARGET}\0").into_bytes()
}

/// Sends it all, says that nothing more comes, and reads until the daemon is done. Answers what it sent.
fn send(daemon: &Daemon, bytes: &[u8], what: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    // The daemon may close at any byte.
    let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("{what}: the connection is still open")
        }
        _ => answer,
    }
}

/// Status class and detail of a Login Response.
fn login_status(answer: &[u8]) -> Option<(u8, u8)> {
    (answer.len() >= 48 && answer[0] == 0x23).then(|| (answer[36], answer[37]))
}

fn threads(daemon: &Daemon) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
    line.trim().parse().unwrap()
}

/// Resident kilobytes.
fn resident(daemon: &Daemon) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn use_it(session: &mut Initiator, round: u64) {
    let data = [round as u8; 4096];
    session.good(0, &rw16(WRITE, round % 1000, 8, false), 0, &data).unwrap();
    assert_eq!(session.good(0, &rw16(READ, round % 1000, 8, false), 4096, &[]).unwrap(), data);
}

/// Everything is as before: the honest session works, no thread and next to no memory is left behind.
fn check(daemon: &Daemon, session: &mut Initiator, (thread_count, memory): (usize, u64)) {
    use_it(session, 1);
    let deadline = Instant::now() + LIMIT;
    while threads(daemon) > thread_count {
        assert!(Instant::now() < deadline, "{} threads, {thread_count} before", threads(daemon));
        std::thread::sleep(Duration::from_millis(5));
    }
    let now = resident(daemon);
    say(&format!("resident: {memory} KiB before, {now} KiB after\n"));
    assert!(now < memory + 32 * 1024, "{memory} KiB before, {now} KiB after");
}

fn start() -> (Daemon, Initiator, (usize, u64)) {
    let daemon = serve();
    let mut session = Initiator::login(daemon.address, TARGET, &Options::default()).unwrap();
    use_it(&mut session, 0);
    // The accepting thread, the main one and this session's.
    let before = (threads(&daemon), resident(&daemon));
    (daemon, session, before)
}

#[test]
fn before_login_everything_but_a_login_is_turned_away() {
    let (daemon, mut session, before) = start();
    for opcode in 0..=0x7fu8 {
        if opcode & 0x3f == 0x03 {
            continue;
        }
        let answer = send(&daemon, &pdu(opcode, 0x80, 0, &[]), &format!("opcode {opcode:#04x}"));
        assert!(login_status(&answer).is_none_or(|(class, _)| class == 2), "{opcode:#04x}: {answer:02x?}");
    }
    for cut in [0, 1, 47] {
        send(&daemon, &login(0x87, &good_text())[..cut], &format!("{cut} bytes"));
    }
    for length in [8193, 65_536, (1 << 24) - 1] {
        let answer = send(&daemon, &pdu(0x43, 0x87, length, &[b'a'; 16_384]), &format!("length {length}"));
        assert!(login_status(&answer).is_none_or(|(class, _)| class == 2));
    }
    let mut segments = login(0x87, &good_text());
    segments[4] = 255;
    send(&daemon, &segments, "255 words of additional header segments");
    check(&daemon, &mut session, before);
}

#[test]
fn rfc7143_6_hostile_logins_are_refused_in_bounded_memory() {
    let (daemon, mut session, before) = start();
    let refused = |bytes: &[u8], what: &str| {
        let answer = send(&daemon, bytes, what);
        assert!(login_status(&answer).is_none_or(|(class, _)| class != 0), "{what}: {:02x?}", &answer[..48]);
    };
    let with = |more: &[u8]| login(0x87, &[good_text(), more.to_vec()].concat());
    refused(&login(0x87, b""), "no text");
    refused(&login(0x87, b"InitiatorName"), "a key without =");
    refused(&with(b"=x\0"), "a value without a key");
    refused(&with(&[b'k'; 7000]), "a long key");
    refused(&with(&b"a=b\0".repeat(1900)), "very many unknown keys");
    refused(&with(&[b"HeaderDigest=", &b",".repeat(4000)[..], b"\0"].concat()), "4000 commas");
    refused(&with(b"MaxBurstLength=511\0MaxBurstLength=512\0"), "a key twice");
    refused(&with(b"SessionType=Nonsense\0"), "a second SessionType");
    let name = [b"InitiatorName=iqn.2026-01.test:", &[b'n'; 300][..], b"\0"].concat();
    refused(&login(0x87, &name), "a long name");
    refused(&login(0x87, b"InitiatorName=iqn.2026-01.test:../../x%n\nlog\0"), "a name with a line end");
    let endless: Vec<u8> = (0..3000).flat_map(|_| login(0x44, &[b'x'; 512])).collect();
    let answer = send(&daemon, &endless, "a text without end");
    // What was still on its way when the daemon closed may have taken its last word along.
    assert!(answer.len() < 200 * 48, "{} answers", answer.len() / 48);
    let mut version = login(0x87, &good_text());
    (version[2], version[3]) = (1, 1);
    assert_eq!(login_status(&send(&daemon, &version, "version 1")), Some((2, 5)));
    let mut other = login(0x87, &good_text());
    other[14..16].copy_from_slice(&[0x12, 0x34]);
    assert_eq!(login_status(&send(&daemon, &other, "a TSIH of nobody")), Some((2, 10)));
    check(&daemon, &mut session, before);
}

/// Random bytes, random bytes behind a login, and PDUs with a few bits changed.
#[test]
fn random_bytes_do_no_harm_before_and_after_login() {
    let (daemon, mut session, before) = start();
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let mut bytes = Vec::new();
        if seed % 4 != 0 {
            bytes.extend(login(0x87, &good_text()));
        }
        match seed % 3 {
            0 => bytes.extend((0..random.below(20_000)).map(|_| random.next() as u8)),
            _ => {
                for cmd_sn in 0..random.below(30) as u32 {
                    let opcodes = [0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x10, 0x40, 0x42];
                    let data: Vec<u8> = (0..random.below(600)).map(|_| random.next() as u8).collect();
                    let opcode = opcodes[random.below(opcodes.len())];
                    let mut one = pdu(opcode, random.next() as u8, data.len(), &data);
                    one[16..20].copy_from_slice(&cmd_sn.to_be_bytes());
                    one[24..28].copy_from_slice(&cmd_sn.to_be_bytes());
                    for byte in &mut one[32..48] {
                        *byte = random.next() as u8;
                    }
                    for _ in 0..random.below(3) {
                        let at = random.below(48);
                        one[at] ^= 1 << random.below(8);
                    }
                    bytes.extend(one);
                }
            }
        }
        send(&daemon, &bytes, &format!("seed {seed}"));
    }
    session.nop().unwrap();
    check(&daemon, &mut session, before);
}

#[test]
fn very_many_silent_connections_leave_sessions_alone() {
    let (daemon, mut session, before) = start();
    let count = 400;
    let silent: Vec<TcpStream> = (0..count).filter_map(|_| TcpStream::connect(daemon.address).ok()).collect();
    for round in 0..200 {
        use_it(&mut session, round);
    }
    let mut late =
        Initiator::login(daemon.address, TARGET, &Options { isid: 9, ..Options::default() }).unwrap();
    late.good(0, &[0; 6], 0, &[]).unwrap();
    assert!(silent.len() >= count - 10, "{} connections", silent.len());
    drop((silent, late));
    check(&daemon, &mut session, before);
}
