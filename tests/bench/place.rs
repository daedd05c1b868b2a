//! Where a comparison runs: a folder, a network namespace, processors; and the programs that it starts there.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::session::bad;

/// How long a program may take to listen.
pub const START: Duration = Duration::from_secs(20);

/// Set by a signal that ends this program.
static IS_ENDED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on a signal that asks for the end lets what runs be taken away first; a second one does not wait.
pub fn end_in_order() -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&IS_ENDED))?;
        flag::register(signal, Arc::clone(&IS_ENDED))?;
    }
    Ok(())
}

/// An error once this program was asked to end.
pub fn go_on() -> io::Result<()> {
    if IS_ENDED.load(Ordering::Relaxed) { Err(bad("ended by a signal")) } else { Ok(()) }
}

/// Ends a program when it is dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn signal(&self, signal: &str) -> io::Result<()> {
        output(Command::new("kill").arg(signal).arg(self.0.id().to_string())).map(|_| ())
    }

    /// Keeps it from running.
    pub fn hold(&self) -> io::Result<()> {
        self.signal("-STOP")
    }

    /// Lets a program that is held back run, until the answer is dropped.
    pub fn awake(&self) -> io::Result<Awake<'_>> {
        self.signal("-CONT")?;
        Ok(Awake(self))
    }
}

/// Holds a program back when it is dropped.
pub struct Awake<'a>(&'a Running);

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        let _ = self.0.hold();
    }
}

/// A folder that goes with everything in it.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A new one below the system's folder for such things.
    pub fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("scstu-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A command in a network namespace and on a processor, where those are given.
pub fn command(program: &Path, space: Option<&str>, processor: Option<&str>) -> Command {
    let mut words: Vec<&std::ffi::OsStr> = Vec::new();
    if let Some(space) = space {
        words.extend(["ip", "netns", "exec", space].map(std::ffi::OsStr::new));
    }
    if let Some(processor) = processor {
        words.extend(["taskset", "-c", processor].map(std::ffi::OsStr::new));
    }
    words.push(program.as_os_str());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    command
}

/// Runs a program to its end; its output.
pub fn output(command: &mut Command) -> io::Result<String> {
    let outcome = command.output()?;
    if outcome.status.success() {
        return Ok(String::from_utf8_lossy(&outcome.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&outcome.stderr);
    Err(bad(format!("{:?}: {}", command.get_program(), text.trim())))
}

/// Runs words that a shell would take.
pub fn run(words: &str) -> io::Result<String> {
    let mut parts = words.split_whitespace();
    let program = parts.next().unwrap_or("true");
    output(Command::new(program).args(parts)).map_err(|error| bad(format!("{words}: {error}")))
}

/// Starts a program that says where it listens.
pub fn start(mut command: Command) -> io::Result<(Running, String)> {
    let mut child = Running(command.stdout(Stdio::piped()).spawn()?);
    let mut line = String::new();
    if let Some(stdout) = child.0.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    match line.trim().strip_prefix("listening on ") {
        Some(address) => Ok((child, address.to_owned())),
        None => Err(bad(format!("{:?} does not listen", command.get_program()))),
    }
}

/// Runs this program again, with its own arguments but `--netns`, in a new network namespace.
pub fn again_in_namespace() -> io::Result<ExitCode> {
    let space = format!("scstu-bench-{}", std::process::id());
    run(&format!("ip netns add {space}"))?;
    let outcome = (|| {
        run(&format!("ip -n {space} link set lo up"))?;
        // A congestion control that paces would add a shaper of its own.
        run(&format!("ip netns exec {space} sysctl -qw net.ipv4.tcp_congestion_control=reno"))?;
        let mut command = command(&std::env::current_exe()?, Some(&space), None);
        command.args(std::env::args_os().skip(1).filter(|argument| argument != "--netns"));
        await_end(command.spawn()?)
    })();
    let _ = run(&format!("ip netns del {space}"));
    Ok(if outcome?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for a program that ends in order by itself, and hands a signal on to it.
fn await_end(mut child: Child) -> io::Result<ExitStatus> {
    let mut is_told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if go_on().is_err() && !is_told {
            is_told = true;
            let _ = run(&format!("kill -TERM {}", child.id()));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Clock ticks that all processors together have been idle, and have been there.
fn idle_ticks() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    (ticks.iter().skip(3).take(2).sum(), ticks.iter().take(8).sum())
}

/// Waits, at most for `limit`, until the machine has had nothing else to do for a moment. An error once this
/// program was asked to end.
pub fn settle(limit: Duration) -> io::Result<()> {
    let until = Instant::now() + limit;
    while Instant::now() < until {
        let before = idle_ticks();
        std::thread::sleep(Duration::from_millis(200));
        let after = idle_ticks();
        if (after.0 - before.0) as f64 >= 0.95 * (after.1 - before.1) as f64 {
            break;
        }
    }
    go_on()
}

/// Waits until something listens.
pub fn await_listener(address: &str) -> io::Result<()> {
    let until = Instant::now() + START;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > until {
            return Err(bad(format!("nothing listens at {address}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A port that nobody has at the moment, for programs that cannot pick one.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A program beside this one, or on the path.
pub fn find(name: &str) -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(name)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let standard = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(standard).map(|folder| folder.join(name));
    beside.into_iter().chain(folders).find(|file| file.is_file())
}

/// Progress, for whoever watches.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The number behind a key of a JSON object without nesting.
pub fn number(json: &str, key: &str) -> Option<f64> {
    let at = json.find(&format!("\"{key}\":"))?;
    let rest = &json[at + key.len() + 3..];
    rest[..rest.find([',', '}'])?].parse().ok()
}

/// The middle one of some values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}
