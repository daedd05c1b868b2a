//! The daemon reads its configuration again while initiators work; and sends them elsewhere at login.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Daemon, Folder, is_installed, run, skip};
use initiator::{Initiator, Options, READ, WRITE, rw16};

const TARGET: &str = "iqn.2026-01.test:reload";

/// A daemon whose configuration file the test rewrites.
struct Running {
    daemon: Daemon,
    folder: Folder,
}

impl Running {
    fn start(name: &str, conf: &str) -> Running {
        let folder = Folder::new(name);
        Running { daemon: Daemon::start_in(&folder.0, conf), folder }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.file("log")).unwrap()
    }

    /// Rewrites the file and has it read; returns when `is_done`.
    fn reload(&self, conf: &str, mut is_done: impl FnMut() -> bool) {
        fs::write(self.folder.file("scst.conf"), conf).unwrap();
        let status = Command::new("kill").args(["-HUP", &self.daemon.pid().to_string()]).status().unwrap();
        assert!(status.success());
        let until = Instant::now() + Duration::from_secs(20);
        while !is_done() {
            assert!(Instant::now() < until, "the reload has no effect: {}", self.log());
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A configuration with these devices as LUN 0, 1, ... of the target, and more lines about it.
fn conf(devices: &[&str], more: &str) -> String {
    let mut text = String::from("HANDLER vdisk_ram {\n");
    for device in devices {
        text += &format!("\tDEVICE {device} {{\n\t\tsize 1M\n\t}}\n");
    }
    text += &format!("}}\nTARGET_DRIVER iscsi {{\n\tenabled 1\n\tTARGET {TARGET} {{\n\t\tenabled 1\n{more}");
    for (lun, device) in devices.iter().enumerate() {
        text += &format!("\t\tLUN {lun} {device}\n");
    }
    text + "\t}\n}\n"
}

fn login(address: SocketAddr, isid: u32) -> Initiator {
    Initiator::login(address, TARGET, &Options { isid, ..Options::default() }).unwrap()
}

/// Luns that REPORT LUNS tells.
fn luns(session: &mut Initiator) -> usize {
    let mut cdb = [0; 12];
    cdb[0] = 0xa0;
    cdb[8..10].copy_from_slice(&[4, 0]);
    let answer = session.good(0, &cdb, 1024, &[]).unwrap();
    u32::from_be_bytes(answer[..4].try_into().unwrap()) as usize / 8
}

#[test]
fn a_reload_leaves_the_work_of_others_alone() {
    let other = "\tTARGET iqn.2026-01.test:other {\n\t\tenabled 1\n\t\tLUN 0 busy\n\t}\n";
    let with_other = |text: String| text.replacen("\tenabled 1\n", &format!("\tenabled 1\n{other}"), 1);
    let first = with_other(conf(&["busy"], ""));
    let boxed = Running::start("reload", &first);
    let address = boxed.daemon.address;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let (own_stop, own_done) = (Arc::clone(&stop), Arc::clone(&done));
    // One session works at a target that no reload mentions again in another way.
    let worker = thread::spawn(move || {
        let options = Options { isid: 77, ..Options::default() };
        let mut session = Initiator::login(address, "iqn.2026-01.test:other", &options).unwrap();
        session.good(0, &[0; 6], 0, &[]).unwrap();
        let mut round = 0u8;
        while !own_stop.load(Ordering::Relaxed) {
            round = round.wrapping_add(1);
            let lba = u64::from(round);
            let wrote = session.command(0, &rw16(WRITE, lba, 1, false), 0, &[round; 512]).unwrap();
            assert_eq!((wrote.status, wrote.sense.len()), (0, 0), "no unit attention, no error: {wrote:?}");
            let read = session.command(0, &rw16(READ, lba, 1, false), 512, &[]).unwrap();
            assert_eq!((read.status, read.data), (0, vec![round; 512]));
            own_done.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut session = login(address, 1);
    session.good(0, &[0; 6], 0, &[]).unwrap();
    for round in 0..20 {
        let devices: &[&str] = if round % 2 == 0 { &["busy", "more"] } else { &["busy"] };
        let before = done.load(Ordering::Relaxed);
        // What is left out stays: the second LUN comes once and is never taken away.
        boxed.reload(&with_other(conf(devices, "")), || luns(&mut session) == 2);
        while done.load(Ordering::Relaxed) == before {
            assert!(!worker.is_finished(), "the other session has failed");
            thread::sleep(Duration::from_millis(1));
        }
    }
    // A file with a mistake changes nothing at all.
    let bad =
        with_other(conf(&["busy", "more", "third"], "")).replace("\t\tLUN 2 third\n", "\t\tLUN 2 none\n");
    boxed.reload(&bad, || boxed.log().contains("there is no device none"));
    assert!(boxed.log().contains("scst.conf:"), "{}", boxed.log());
    assert_eq!(luns(&mut session), 2);
    stop.store(true, Ordering::Relaxed);
    worker.join().unwrap();
    assert!(done.load(Ordering::Relaxed) > 20);
}

#[test]
fn rfc7143_9_2_1_one_secret_for_both_directions_is_taken_with_a_warning() {
    const OPEN: &str = "iqn.2026-01.test:open";
    // How many LUNs the other target has tells that a file has been read.
    let file = |outgoing: &str, luns: usize| {
        let users = format!(
            "\t\tIncomingUser \"ann othersecret12\"\n\t\tIncomingUser \"joe sharedsecret12\"\n\
             \t\tOutgoingUser \"me {outgoing}\"\n"
        );
        let luns: String = (0..luns).map(|lun| format!("\t\tLUN {lun} one\n")).collect();
        let open = format!("\tTARGET {OPEN} {{\n\t\tenabled 1\n{luns}\t}}\n");
        conf(&["one"], &users).replacen("\tenabled 1\n", &format!("\tenabled 1\n{open}"), 1)
    };
    let boxed = Running::start("secrets", &file("sharedsecret12", 1));
    let warning = format!("iscsi/{TARGET}: IncomingUser joe has the secret of OutgoingUser");
    let warnings = || boxed.log().matches(&warning).count();
    assert_eq!(warnings(), 1, "{}", boxed.log());
    let mut session = Initiator::login(boxed.daemon.address, OPEN, &Options::default()).unwrap();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    boxed.reload(&file("thirdsecret12", 2), || luns(&mut session) == 2);
    boxed.reload(&file("thirdsecret12", 3), || luns(&mut session) == 3);
    assert_eq!(warnings(), 1, "it is no longer so: {}", boxed.log());
    boxed.reload(&file("sharedsecret12", 3), || warnings() == 2);
    boxed.reload(&file("sharedsecret12", 4), || luns(&mut session) == 4);
    assert_eq!(warnings(), 2, "it was so before: {}", boxed.log());
    assert!(!boxed.log().contains("secret12"), "no secret is told: {}", boxed.log());
}

/// Sends a Login Request of a normal session, and answers status and text.
fn answer_to_login(address: SocketAddr, target: &str) -> (u16, String) {
    let text = format!("InitiatorName=iqn.2026-01.test:host\0TargetName={target}\0SessionType=Normal\0");
    let mut pdu = vec![0; 48];
    pdu[..2].copy_from_slice(&[0x43, 0x87]);
    pdu[5..8].copy_from_slice(&(text.len() as u32).to_be_bytes()[1..]);
    pdu[8] = 0x80;
    pdu.extend_from_slice(text.as_bytes());
    pdu.resize(pdu.len().next_multiple_of(4), 0);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(&pdu).unwrap();
    let mut header = [0; 48];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(header[0], 0x23, "a Login Response");
    let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
    let mut data = vec![0; length];
    stream.read_exact(&mut data).unwrap();
    (u16::from_be_bytes([header[36], header[37]]), String::from_utf8(data).unwrap())
}

#[test]
fn rfc7143_11_13_5_a_login_is_redirected_for_now_or_for_good() {
    let there = Running::start("redirect-there", &conf(&["d"], ""));
    let here = Running::start("redirect-here", &conf(&["d"], ""));
    let (address, elsewhere) = (here.daemon.address, there.daemon.address);
    let mut old = login(address, 1);
    old.good(0, &[0; 6], 0, &[]).unwrap();
    for (word, status) in [("temp", 0x0101), ("perm", 0x0102)] {
        let more = format!("\t\tredirect \"{elsewhere} {word}\"\n");
        here.reload(&conf(&["d"], &more), || answer_to_login(address, TARGET).0 == status);
        let (_, text) = answer_to_login(address, TARGET);
        let keys: Vec<&str> = text.split('\0').collect();
        assert!(keys.contains(&format!("TargetAddress={elsewhere}").as_str()), "{text:?}");
        assert_eq!(answer_to_login(elsewhere, TARGET).0, 0, "served there");
        old.good(0, &[0; 6], 0, &[]).unwrap();
        if word == "temp" {
            follow(address, &here.daemon.url(TARGET, 0));
        }
    }
    // Who arrives at that address already is served.
    let more = format!("\t\tredirect \"{elsewhere} temp\"\n\t\talias moved\n");
    there.reload(&conf(&["d"], &more), || answer_to_login(elsewhere, TARGET).1.contains("TargetAlias=moved"));
    assert_eq!(answer_to_login(elsewhere, TARGET).0, 0);
    login(elsewhere, 2).good(0, &[0; 6], 0, &[]).unwrap();
    // Taken back, logins are served here again.
    here.reload(&conf(&["d"], "\t\tredirect \"\"\n"), || answer_to_login(address, TARGET).0 == 0);
}

/// A real initiator goes where it is sent. libiscsi follows temporary redirections only.
fn follow(address: SocketAddr, url: &str) {
    if !is_installed("iscsi-inq") {
        return skip("libiscsi follows a redirection", "no iscsi-inq");
    }
    let outcome = run(Command::new("iscsi-inq").arg(url), Duration::from_secs(30));
    assert!(outcome.is_good(), "{address}: {}", outcome.text);
    assert!(outcome.text.contains("Peripheral Qualifier"), "{}", outcome.text);
}
