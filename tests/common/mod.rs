//! The daemon as a process, and real clients, for black-box tests.
#![allow(dead_code, clippy::unwrap_used)] // Each test uses a part; a test panics to fail.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long the daemon may take to listen, and to end.
const DAEMON_DEADLINE: Duration = Duration::from_secs(30);

/// A folder that goes when this is dropped, unless the test panics.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// A running daemon.
pub struct Daemon {
    child: Child,
    lines: Receiver<String>,
    pub address: SocketAddr,
    folder: Option<Folder>,
}

impl Daemon {
    /// Starts the daemon with this scst.conf on a free port of 127.0.0.1.
    pub fn start(name: &str, conf: &str) -> Daemon {
        let folder = Folder::new(name);
        let mut daemon = Daemon::start_in(&folder.0, conf);
        daemon.folder = Some(folder);
        daemon
    }

    /// The same, with its files in a folder that outlives it. Its log is `log` there.
    pub fn start_in(folder: &Path, conf: &str) -> Daemon {
        Daemon::start_with(folder, conf, |_| {})
    }

    /// The same, with a command line or an environment that `change` has changed.
    pub fn start_with(folder: &Path, conf: &str, change: impl FnOnce(&mut Command)) -> Daemon {
        let file = folder.join("scst.conf");
        fs::write(&file, conf).unwrap();
        let log = OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_scstud"));
        command.arg("-c").arg(&file).arg("--state-dir").arg(folder.join("state"));
        command.args(["--portal", "127.0.0.1:0", "--log-level", "warn"]).stdin(Stdio::null());
        change(&mut command);
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let address = wait_for_address(&lines).unwrap_or_else(|| {
            let _ = child.kill();
            let status = child.wait();
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            panic!("the daemon does not listen: {status:?}\n{log}");
        });
        Daemon { child, lines, address, folder: None }
    }

    /// Where it listens besides, when it was told more portals than one.
    pub fn next_address(&self) -> SocketAddr {
        wait_for_address(&self.lines).expect("another portal")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `iscsi://address/target/lun`.
    pub fn url(&self, target: &str, lun: u16) -> String {
        format!("iscsi://{}/{target}/{lun}", self.address)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and the exit status.
    pub fn stop(&mut self) -> ExitStatus {
        let status = Command::new("kill").arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
        wait_for(&mut self.child, DAEMON_DEADLINE).expect("the daemon ends on SIGTERM")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lines_of(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    receive
}

fn wait_for_address(lines: &Receiver<String>) -> Option<SocketAddr> {
    let deadline = Instant::now() + DAEMON_DEADLINE;
    loop {
        let line = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
        if let Some(address) = line.strip_prefix("listening on ") {
            return address.trim().parse().ok();
        }
    }
}

/// The status of a child that ends in time.
pub fn wait_for(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
    None
}

/// What a program wrote, both streams together, and how it ended; no status if it took too long.
pub struct Outcome {
    pub text: String,
    pub status: Option<ExitStatus>,
}

impl Outcome {
    pub fn is_good(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    pub fn crashed(&self) -> bool {
        self.status.is_some_and(|status| status.signal().is_some())
    }
}

/// Runs a program for at most `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Outcome {
    let folder = Folder::new("output");
    let file = folder.file("text");
    let out = fs::File::create(&file).unwrap();
    command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let status = wait_for(&mut child, limit);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    Outcome { text: String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned(), status }
}

/// Whether a program is there.
pub fn is_installed(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

/// Says that a test did not run, and has `tests/run` count it.
pub fn skip(what: &str, why: &str) {
    let line = format!("SKIPPED {what}: {why}\n");
    say(&line);
    if let Some(file) = std::env::var_os("SCSTU_SKIPS") {
        let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// To the terminal, also from a test that passes.
pub fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The qemu-img that speaks iSCSI.
pub fn qemu_img() -> String {
    std::env::var("SCSTU_QEMU_IMG").unwrap_or_else(|_| "qemu-img".to_owned())
}

/// The qemu-io beside it.
pub fn qemu_io() -> String {
    std::env::var("SCSTU_QEMU_IO").unwrap_or_else(|_| "qemu-io".to_owned())
}

/// Whether qemu-img is there with its iscsi driver: nobody listens on port 1, and only a driver notices.
pub fn has_qemu() -> bool {
    let nobody = "iscsi://127.0.0.1:1/iqn.2026-01.test:none/0";
    is_installed(&qemu_img())
        && run(Command::new(qemu_img()).args(["info", nobody]), Duration::from_secs(60))
            .text
            .to_lowercase()
            .contains("failed to connect")
}
