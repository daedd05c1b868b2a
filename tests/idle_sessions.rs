//! A thousand idle sessions: they are held, they answer, and what each costs is told.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;

use std::time::Duration;

use common::{Daemon, say, skip};
use initiator::{Initiator, Options};

const TARGET: &str = "iqn.2026-01.test:idle";
const SESSIONS: u32 = 1000;
/// READ(10) of block 0.
const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
/// Longer than it takes a connection to count as quiet.
const PAUSE: Duration = Duration::from_millis(1500);
/// KiB that an idle session may cost, its stack included; what it does cost is told.
const LIMIT_KIB: u64 = 63;

/// Proportional set size of the daemon in KiB.
fn memory(daemon: &Daemon) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", daemon.pid())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok())
}

/// Descriptors that this process may open.
fn descriptors() -> u32 {
    let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("Max open files"));
    line.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(0)
}

#[test]
fn a_thousand_sessions_are_held() {
    if descriptors() < SESSIONS + 20 {
        return skip("1,000 idle sessions", "too few file descriptors (ulimit -n)");
    }
    let conf = format!(
        "HANDLER vdisk_ram {{\nDEVICE d {{\nsize 1048576\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\nLUN 0 d\n}}\n}}\n"
    );
    let daemon = Daemon::start("idle", &conf);
    let login = |isid| {
        let options = Options { isid, ..Options::default() };
        let mut session = Initiator::login(daemon.address, TARGET, &options).unwrap();
        session.good(0, &[0; 6], 0, &[]).unwrap();
        session
    };
    let mut sessions = vec![login(0)];
    let before = memory(&daemon);
    sessions.extend((1..=SESSIONS).map(login));
    // Idle as most are: each thread gives back what it has before it sleeps for long, and takes it again.
    for _ in 0..3 {
        for session in &mut sessions {
            session.good(0, &READ, 512, &[]).unwrap();
        }
        std::thread::sleep(PAUSE);
    }
    let after = memory(&daemon);
    for session in &mut sessions {
        session.good(0, &[0; 6], 0, &[]).unwrap();
    }
    let (Some(before), Some(after)) = (before, after) else {
        return skip("memory of an idle session", "no /proc/PID/smaps_rollup");
    };
    let each = after.saturating_sub(before) / u64::from(SESSIONS);
    say(&format!("an idle session costs {each} KiB ({before} KiB before, {after} KiB with {SESSIONS})\n"));
    assert!(each <= LIMIT_KIB, "{each} KiB for each session");
}
