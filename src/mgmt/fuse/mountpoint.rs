//! Directories with a tree mounted: whether one is, whether it is alive, and taking it away.

use std::fs;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use scstu::sys::process::detach_mount;

/// What the mount table calls a tree of ours.
pub const SOURCE: &str = "scstu";
/// The argument that makes a program the guard of a mount; not for people.
pub const GUARD_OPTION: &str = "--guard-mount";
/// How long a guard waits for the kernel to notice that its program is gone.
const GUARD_PATIENCE: Duration = Duration::from_secs(20);
const GUARD_PAUSE: Duration = Duration::from_millis(20);

/// What is mounted on a directory.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing of ours.
    Free,
    /// A tree that nobody serves any more.
    Dead,
    /// A tree.
    Alive,
}

/// The absolute path of a directory that a tree can be mounted on: made if its parent is there, and with what
/// a killed program left taken away.
pub fn prepare(directory: &Path) -> Result<PathBuf, String> {
    let fail = |error: io::Error| format!("{}: {error}", directory.display());
    let path = place(directory)?;
    match state(&path) {
        State::Alive => return Err(format!("{}: a tree is mounted there already", path.display())),
        State::Dead if !detach(&path) => {
            return Err(format!("{}: a dead mount is there and cannot be taken away", path.display()));
        }
        State::Dead => log::warn!("{}: took away the mount that a killed program left", path.display()),
        State::Free => {}
    }
    if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        fs::create_dir(&path).map_err(fail)?;
    }
    let path = path.canonicalize().map_err(fail)?;
    if path.is_dir() { Ok(path) } else { Err(format!("{}: not a directory", directory.display())) }
}

/// The absolute path of a directory, without symbolic links above it.
pub fn place(directory: &Path) -> Result<PathBuf, String> {
    let fail = |error: io::Error| format!("{}: {error}", directory.display());
    // A dead mount cannot be looked at, but its parent can.
    let absolute = std::path::absolute(directory).map_err(fail)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize().map_err(fail)?.join(name)),
        _ => Err(format!("{}: not a place to mount on", directory.display())),
    }
}

/// What is mounted on a [`place`].
pub fn state(path: &Path) -> State {
    // Another mount may have a name that is no text.
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    if !is_ours(&String::from_utf8_lossy(&table), path) {
        return State::Free;
    }
    match fs::metadata(path) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTCONN) => State::Dead,
        // A connection that was aborted.
        Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => State::Dead,
        _ => State::Alive,
    }
}

/// Whether the uppermost mount on `path` in a mountinfo table (proc(5)) is a tree of ours.
fn is_ours(table: &str, path: &Path) -> bool {
    let mounted = |line: &&str| line.split(' ').nth(4).is_some_and(|at| Path::new(&unescape(at)) == path);
    let source = |line: &str| {
        let mut fields = line.split_once(" - ")?.1.split(' ');
        fields.next().filter(|kind| kind.starts_with("fuse")).and_then(|_| fields.next().map(str::to_owned))
    };
    table.lines().rfind(mounted).and_then(source).is_some_and(|source| source == SOURCE)
}

/// Octal escapes of blanks and backslashes.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let code = after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(code.map_or('\\', char::from));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    plain + rest
}

/// Takes the mount at `path` away, unless somebody is inside; answers whether it is gone.
pub fn unmount(path: &Path) -> bool {
    fusermount(path, "-u") || umount(path, &[])
}

/// Takes the mount at `path` away; whoever is inside stays there. Answers whether it is gone.
pub fn detach(path: &Path) -> bool {
    detach_mount(path).is_ok() || fusermount(path, "-uz")
}

fn umount(path: &Path, options: &[&str]) -> bool {
    runs(Command::new("umount").args(options).arg("--").arg(path))
}

fn fusermount(path: &Path, option: &str) -> bool {
    runs(Command::new("fusermount3").arg(option).arg("--").arg(path))
}

fn runs(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A child that takes a mount away once this process is no more, whatever ended it.
pub struct Guard {
    child: Child,
    /// The child reads from it and sees the end when this process ends.
    _line: Option<ChildStdin>,
}

impl Guard {
    /// Starts it for `directory`: this program once more, with [`GUARD_OPTION`].
    pub fn start(directory: &Path) -> Result<Self, String> {
        let fail = |error: io::Error| format!("{}: no guard for the mount: {error}", directory.display());
        let mut command = Command::new(std::env::current_exe().map_err(fail)?);
        command.arg(GUARD_OPTION).arg(directory).stdin(Stdio::piped()).stdout(Stdio::null());
        // Out of reach of the terminal's signals, and of the directory that one stands in.
        let mut child = command.process_group(0).current_dir("/").spawn().map_err(fail)?;
        let _line = child.stdin.take();
        Ok(Guard { child, _line })
    }
}

impl Drop for Guard {
    /// There is nothing left to guard.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The life of a guard: waits for the other program's end, then takes away what it left.
pub fn guard(directory: &Path) {
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP] {
        // Whoever stops a service stops all of its processes at once; this one has something left to do.
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    let mut end = Vec::new();
    while io::stdin().read_to_end(&mut end).is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
    let deadline = Instant::now() + GUARD_PATIENCE;
    while Instant::now() < deadline {
        match state(directory) {
            State::Free => return,
            State::Dead => {
                detach(directory);
                return;
            }
            // The kernel has not closed the program's files yet; or it is another program's tree.
            State::Alive => std::thread::sleep(GUARD_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uppermost_mount_counts() {
        let line = |at: &str, kind: &str, source: &str| {
            format!("36 35 98:0 / {at} rw,noatime shared:1 - {kind} {source} rw,user_id=0\n")
        };
        let ours = line("/mnt/a\\040b", "fuse.scstu", "scstu");
        assert!(is_ours(&ours, Path::new("/mnt/a b")));
        assert!(is_ours(&line("/mnt/a", "fuse", "scstu"), Path::new("/mnt/a")));
        assert!(!is_ours(&ours, Path::new("/mnt")));
        assert!(!is_ours(&line("/mnt/a", "ext4", "scstu"), Path::new("/mnt/a")));
        assert!(!is_ours(&line("/mnt/a", "fuse.sshfs", "host:"), Path::new("/mnt/a")));
        let covered = ours.clone() + &line("/mnt/a\\040b", "tmpfs", "tmpfs");
        assert!(!is_ours(&covered, Path::new("/mnt/a b")));
        assert!(!is_ours("nonsense\n\n", Path::new("/")));
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        assert!(prepare(Path::new("/dev/null")).unwrap_err().contains("not a directory"));
        assert!(prepare(Path::new("/none/at/all")).is_err());
        assert!(prepare(Path::new("/")).is_err());
    }
}
