//! What a process has used, from /proc.

use std::collections::BTreeSet;
use std::fs;
use std::io;

/// Sums over the threads that live.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Nanoseconds on a CPU.
    pub cpu: u64,
    /// Of user code, in clock ticks.
    pub user: u64,
    /// Of the kernel for it, in clock ticks.
    pub system: u64,
    /// Times that a thread gave the CPU up, or lost it.
    pub switches: Option<u64>,
    /// Resident set in KiB.
    pub resident: u64,
    pub threads: u64,
}

fn after(text: &str, key: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Of more threads than this the figures of each are not read: meanwhile they would go on for too long.
const MANY: u64 = 64;
/// Nanoseconds of a clock tick in /proc (USER_HZ, 100 a second on every architecture of today).
const TICK: u64 = 10_000_000;

/// What process `pid` has used so far. With very many threads the CPU time is told by clock ticks, and
/// switches are not.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse().ok()).unwrap_or(0);
    let (user, system, threads) = (field(11), field(12), field(17));
    let mut usage = Usage { user, system, threads, cpu: (user + system) * TICK, ..Usage::default() };
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    usage.resident = after(&status, "VmRSS:");
    if threads > MANY {
        return Ok(usage);
    }
    (usage.cpu, usage.switches) = (0, Some(0));
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = thread?.path();
        // A thread that has ended meanwhile is left out.
        let Ok(statistics) = fs::read_to_string(path.join("schedstat")) else { continue };
        let Ok(status) = fs::read_to_string(path.join("status")) else { continue };
        usage.cpu += statistics.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let own = after(&status, "voluntary_ctxt_switches:") + after(&status, "nonvoluntary_ctxt_switches:");
        usage.switches = usage.switches.map(|all| all + own);
    }
    Ok(usage)
}

impl Usage {
    /// What was used between `before` and now.
    pub fn since(&self, before: &Usage) -> Usage {
        Usage {
            cpu: self.cpu.saturating_sub(before.cpu),
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            switches: self.switches.zip(before.switches).map(|(now, before)| now.saturating_sub(before)),
            ..*self
        }
    }
}

/// The threads of a process that have this name.
pub fn threads(pid: u32, name: &str) -> io::Result<BTreeSet<u32>> {
    let all = fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
    let named = all.filter(|thread| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|known| known.trim_end() == name)
    });
    Ok(named.filter_map(|thread| thread.file_name().to_str()?.parse().ok()).collect())
}

fn nanoseconds(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.split_whitespace().next()?.parse().ok()
}

/// Nanoseconds of CPU that a thread has used; `None` when it has ended.
pub fn of_thread(pid: u32, thread: u32) -> Option<u64> {
    nanoseconds(&format!("/proc/{pid}/task/{thread}/schedstat"))
}

/// Nanoseconds of CPU that the calling thread has used.
pub fn own_thread() -> u64 {
    nanoseconds("/proc/thread-self/schedstat").unwrap_or(0)
}
