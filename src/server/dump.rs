//! The state of a server in words, for the log: threads, memory, sessions, the oldest command.

use std::time::Instant;

use crate::server::Server;
use crate::server::sessions::Session;

/// One line for each thing.
pub fn lines(server: &Server) -> Vec<String> {
    let now = Instant::now();
    let sessions = server.sessions();
    let mut lines = vec![threads(server), memory(server), workers(server, now)];
    let oldest = sessions.iter().filter_map(|session| Some((session, session.oldest()?)));
    lines.push(match oldest.min_by_key(|(_, (_, since))| *since) {
        Some((session, (tag, since))) => {
            let age = now.saturating_duration_since(since);
            format!("oldest command: tag {tag:#010x} of session {}, {:.3} s", session.id, age.as_secs_f64())
        }
        None => "oldest command: none".to_owned(),
    });
    lines.extend(sessions.iter().map(|session| line(session, now)));
    lines
}

/// Threads of the process, as the kernel counts them.
fn all_threads() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok())
}

fn threads(server: &Server) -> String {
    let pool = server.pool().state();
    let all = all_threads().map_or(String::new(), |all| format!(" of {all}"));
    format!(
        "threads: {} of connections, {} workers ({} idle, {} stuck){all}",
        server.connections(),
        pool.workers,
        pool.idle,
        pool.stuck
    )
}

fn memory(server: &Server) -> String {
    let buffers = server.buffers();
    format!("memory for data: {} of {} bytes", buffers.in_use(), buffers.budget())
}

fn workers(server: &Server, now: Instant) -> String {
    let pool = server.pool().state();
    let longest = match server.pool().longest() {
        Some((device, since)) => {
            let age = now.saturating_duration_since(since);
            format!("; the longest at work: {:.3} s, device {device}", age.as_secs_f64())
        }
        None => String::new(),
    };
    format!("tasks waiting for a worker: {}{longest}", pool.queued)
}

fn line(session: &Session, now: Instant) -> String {
    let itls = session.nexus.as_ref().map_or_else(Vec::new, |nexus| nexus.itls());
    let commands: u32 = itls.iter().map(|itl| itl.in_flight()).sum();
    let target = if session.target.is_empty() { "discovery" } else { &session.target };
    let oldest = session.oldest().map_or(String::new(), |(_, since)| {
        format!(", the oldest {:.3} s", now.saturating_duration_since(since).as_secs_f64())
    });
    let age = now.saturating_duration_since(session.opened).as_secs();
    format!(
        "session {}: {} at {} with {target}, {age} s, {commands} commands{oldest}{}",
        session.id,
        session.initiator,
        session.peer,
        session.statistics.text()
    )
}
