//! System calls of a process, counted by the kernel's own trace point through `perf`, which slows nothing
//! down that would change their number. It needs root, or kernel.perf_event_paranoid -1 and a readable
//! tracefs.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::place;
use crate::session::bad;

const POINT: &str = "raw_syscalls:sys_enter";

fn perf(out: &Path) -> Command {
    let mut command = Command::new("perf");
    command.args(["stat", "-x,", "-e", POINT, "-o"]).arg(out);
    command
}

/// Whether they can be counted here.
pub fn probe(folder: &Path) -> io::Result<()> {
    place::output(perf(&folder.join("calls")).args(["--", "true"])).map(|_| ())
}

/// Those of process `pid`, all its threads, while `load` runs.
pub fn count(pid: u32, load: &Command, folder: &Path) -> io::Result<f64> {
    let out = folder.join("calls");
    let mut command = perf(&out);
    command.args(["-p", &pid.to_string(), "--"]).arg(load.get_program()).args(load.get_args());
    place::output(&mut command)?;
    let text = fs::read_to_string(&out)?;
    let line = text.lines().find(|line| line.contains(POINT));
    let count = line.and_then(|line| line.split(',').next()?.parse().ok());
    count.ok_or_else(|| bad(format!("perf has not counted: {text}")))
}
