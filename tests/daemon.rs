//! The daemon as its administrator sees it: exit codes and messages, signals, the log; also while a file
//! hangs.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod faults;
mod initiator;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Daemon, Folder, run, skip, wait_for};
use faults::{Faulty, Operation};
use initiator::{Initiator, Options, READ, WRITE, rw16};

const TARGET: &str = "iqn.2026-01.test:daemon";
const LIMIT: Duration = Duration::from_secs(30);

/// Files as LUN 0, 1, ...
fn conf(files: &[&Path]) -> String {
    let (mut devices, mut luns) = (String::new(), String::new());
    for (lun, file) in files.iter().enumerate() {
        devices += &format!("DEVICE d{lun} {{\nfilename {}\n}}\n", file.display());
        luns += &format!("LUN {lun} d{lun}\n");
    }
    format!(
        "HANDLER vdisk_fileio {{\n{devices}}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\n{luns}}}\n}}\n"
    )
}

fn disk(folder: &Folder, name: &str) -> std::path::PathBuf {
    let file = folder.file(name);
    std::fs::File::create(&file).unwrap().set_len(1 << 20).unwrap();
    file
}

/// Runs the daemon until it ends, which it is to do by itself: exit code and what it said.
fn ends(arguments: &[&str]) -> (Option<i32>, String) {
    let outcome = run(Command::new(env!("CARGO_BIN_EXE_scstud")).args(arguments), LIMIT);
    (outcome.status.and_then(|status| status.code()), outcome.text)
}

/// The daemon's exit code, and the parts that its message must have.
fn assert_ends(arguments: &[&str], code: i32, parts: &[&str]) {
    let (found, text) = ends(arguments);
    assert_eq!(found, Some(code), "{arguments:?}: {text}");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: no \"{part}\" in: {text}");
    }
}

#[test]
fn every_kind_of_failure_has_its_exit_code_and_says_what_to_do() {
    let folder = Folder::new("exits");
    let state = folder.file("state");
    let state = state.to_str().unwrap();
    let file = folder.file("conf");
    let path = file.to_str().unwrap();
    let write = |text: &str| std::fs::write(&file, text).unwrap();

    assert_ends(&["--nonsense"], 1, &["--nonsense", "--help"]);
    assert_ends(&["--portal", "somewhere"], 1, &["--portal", "\"somewhere\" is not ADDRESS:PORT", "--help"]);
    assert_ends(&["--workers", "many"], 1, &["--workers: \"many\" is not a number"]);
    assert_ends(&["--log-level", "loud"], 1, &["--log-level", "debug or trace"]);
    assert_ends(
        &["-c", folder.file("none").to_str().unwrap(), "--state-dir", state],
        2,
        &["none", "No such file"],
    );
    write("HANDLER vdisk_fileio {\n  DEVICE d {\n    filname /x\n  }\n}\n");
    assert_ends(&["-c", path, "--state-dir", state], 2, &[&format!("{path}:3:"), "filname", "filename"]);
    write("HANDLER vdisk_fileio {\n");
    assert_ends(&["-c", path, "--state-dir", state], 2, &[&format!("{path}:1:")]);
    let gone = folder.file("gone");
    write(&conf(&[&gone]));
    assert_ends(&["-c", path, "--state-dir", state], 2, &[gone.to_str().unwrap(), "No such file"]);
    write("TARGET_DRIVER nonsense {\n}\n");
    assert_ends(&["-c", path, "--state-dir", state, "--check"], 2, &["nonsense", "iscsi"]);
    write("");
    assert_ends(&["-c", path, "--state-dir", state, "--check"], 0, &["good"]);

    assert_ends(&["--check"], 1, &["which file", "--help"]);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_ends(&["--portal", &address], 3, &[&address, "another program listens there"]);
    // 192.0.2.1 is for documentation; no machine has it.
    assert_ends(&["--portal", "192.0.2.1:3260"], 3, &["192.0.2.1", "does not have that address"]);
}

/// Somewhere to write to that nobody reads any more.
fn unread() -> Stdio {
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    Stdio::from(OwnedFd::from(ours))
}

#[test]
fn nobody_needs_to_read_what_a_program_says() {
    let folder = Folder::new("daemon-unread");
    let (daemon, tool) = (env!("CARGO_BIN_EXE_scstud"), env!("CARGO_BIN_EXE_scstuadm"));
    let unread_code = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let mut child = command.args(arguments).stdout(unread()).stderr(unread()).spawn().unwrap();
        wait_for(&mut child, LIMIT).unwrap().code()
    };
    assert_eq!(unread_code(daemon, &["--help"]), Some(0));
    assert_eq!(unread_code(daemon, &["--nonsense"]), Some(1));
    assert_eq!(unread_code(tool, &["--help"]), Some(0));
    assert_eq!(unread_code(tool, &["nonsense"]), Some(1));

    let socket = folder.file("s");
    let mut command = Command::new(daemon);
    command.args(["--portal", "127.0.0.1:0", "--socket"]).arg(&socket).stdout(unread()).stderr(unread());
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + LIMIT;
    while !run(Command::new(tool).arg("--socket").arg(&socket).arg("status"), LIMIT).is_good() {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none());
    }
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(
        wait_for(&mut child, LIMIT).unwrap().code(),
        Some(0),
        "it says where it listens before it stops"
    );
}

#[test]
fn a_daemon_that_is_not_ready_yet_is_not_ended_by_an_order_to_read_again() {
    let folder = Folder::new("daemon-early");
    let config = folder.file("scst.conf");
    assert!(Command::new("mkfifo").arg(&config).status().unwrap().success());
    let mut command = Command::new(env!("CARGO_BIN_EXE_scstud"));
    command.args(["--portal", "127.0.0.1:0", "-c"]).arg(&config).arg("--state-dir").arg(folder.file("state"));
    command.arg("--socket").arg(folder.file("s")).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let send = |name: &str| {
        assert!(Command::new("kill").arg(name).arg(child.id().to_string()).status().unwrap().success());
    };
    // It opens when the daemon does.
    let mut file = std::fs::OpenOptions::new().write(true).open(&config).unwrap();
    send("-HUP");
    send("-USR1");
    writeln!(file, "# nothing").unwrap();
    drop(file);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let is_ready = line.starts_with("listening on ");
    if is_ready {
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
    }
    let ended = wait_for(&mut child, LIMIT);
    assert!(is_ready && ended.unwrap().success(), "{line} {ended:?}");
}

#[test]
fn a_daemon_that_can_keep_nothing_says_so() {
    let folder = Folder::new("daemon-homeless");
    let config = folder.file("scst.conf");
    std::fs::write(&config, "").unwrap();
    // The portal is in use, so that it ends by itself.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_scstud"));
    command.env_remove("HOME").env_remove("XDG_STATE_HOME").arg("-c").arg(&config);
    let outcome = run(command.arg("--portal").arg(taken.local_addr().unwrap().to_string()), LIMIT);
    let is_told = outcome.text.contains("there is no state directory");
    // Elsewhere there may be one that this user can write to.
    assert!(is_told || Path::new("/var/lib/scstu").exists(), "{}", outcome.text);
}

#[test]
fn two_daemons_have_not_one_state_directory() {
    let folder = Folder::new("daemon-state");
    let file = disk(&folder, "disk");
    let mut first = Daemon::start_in(&folder.0, &conf(&[&file]));
    let (config, state) = (folder.file("scst.conf"), folder.file("state"));
    let (config, state) = (config.to_str().unwrap(), state.to_str().unwrap());
    let words = ["in use by another instance", state, "--state-dir names another"];
    assert_ends(&["-c", config, "--state-dir", state, "--portal", "127.0.0.1:0"], 2, &words);
    // To look at a configuration disturbs nobody.
    assert_ends(&["-c", config, "--state-dir", state, "--check"], 0, &["the configuration is good"]);
    Initiator::login(first.address, TARGET, &Options::default()).unwrap().good(0, &[0; 6], 0, &[]).unwrap();
    first.kill();
    drop(Daemon::start_in(&folder.0, &conf(&[&file])));
}

#[test]
fn a_check_of_the_file_of_a_running_daemon_disturbs_nobody_and_makes_nothing() {
    let folder = Folder::new("daemon-check");
    let conf = |name: &str| {
        let path = folder.file(name);
        format!(
            "HANDLER vdisk_ram {{\n  DEVICE {name} {{\n    filename {}\n    size 1M\n  }}\n}}\n",
            path.display()
        )
    };
    let _running = Daemon::start_in(&folder.0, &conf("one"));
    let own = folder.file("scst.conf");
    assert_ends(&["-c", own.to_str().unwrap(), "--check"], 0, &["the configuration is good"]);
    let other = folder.file("other");
    for (more, code, says) in [("", 0, "good"), ("DEVICE_GROUP g {\n  DEVICE nobody\n}\n", 2, "nobody")] {
        std::fs::write(&other, conf("two") + more).unwrap();
        assert_ends(&["-c", other.to_str().unwrap(), "--check"], code, &[says]);
        assert!(!folder.file("two").exists(), "a check makes no file");
    }
}

#[test]
fn what_is_not_permitted_is_said_to_be() {
    let folder = Folder::new("permission");
    let file = disk(&folder, "disk");
    std::fs::write(folder.file("conf"), conf(&[&file])).unwrap();
    let is_root = run(Command::new("id").arg("-u"), LIMIT).text.trim() == "0";
    if !is_root || !common::is_installed("setpriv") {
        return skip("files without permission", "not root, or no setpriv");
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(&file, 0o600);
    // Where nobody can go: the tree that is tested may be in a place that is closed.
    let place = std::env::temp_dir().join(format!("scstu-permission-{}", std::process::id()));
    std::fs::create_dir_all(place.join("state")).unwrap();
    let program = place.join("scstud");
    std::fs::copy(env!("CARGO_BIN_EXE_scstud"), &program).unwrap();
    let secret = place.join("disk");
    std::fs::copy(&file, &secret).unwrap();
    std::fs::write(place.join("conf"), conf(&[&secret])).unwrap();
    for (path, bits) in [(&place, 0o755), (&program, 0o755), (&place.join("state"), 0o777), (&secret, 0o600)]
    {
        mode(path, bits);
    }
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).args(arguments);
        let outcome = run(&mut command, LIMIT);
        (outcome.status.and_then(|status| status.code()), outcome.text)
    };
    let (conf, state) = (place.join("conf"), place.join("state"));
    let (conf, state) = (conf.to_str().unwrap(), state.to_str().unwrap());
    let (code, text) = as_nobody(&["-c", conf, "--state-dir", state]);
    assert!(
        code == Some(2) && text.contains("Permission denied") && text.contains("disk"),
        "{code:?} {text}"
    );
    let (code, text) = as_nobody(&["-c", conf, "--state-dir", "/proc/scstu"]);
    assert!(code == Some(2) && text.contains("--state-dir"), "{code:?} {text}");
    std::fs::remove_dir_all(&place).unwrap();
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap()
}

fn signal(daemon: &Daemon, name: &str) {
    let kill = Command::new("kill").args(["-s", name, &daemon.pid().to_string()]).status().unwrap();
    assert!(kill.success());
}

fn wait_for_line(folder: &Path, what: &[&str]) -> String {
    let deadline = Instant::now() + LIMIT;
    loop {
        let text = log(folder);
        if let Some(line) = text.lines().find(|line| what.iter().all(|part| line.contains(part))) {
            return line.to_owned();
        }
        assert!(Instant::now() < deadline, "no line with {what:?} in:\n{text}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn verbose(command: &mut Command) {
    command.args(["--log-level", "info"]);
}

#[test]
fn log_lines_have_time_level_module_and_session() {
    let folder = Folder::new("log");
    let file = disk(&folder, "disk");
    let daemon = Daemon::start_with(&folder.0, &conf(&[&file]), verbose);
    let mut session = Initiator::login(daemon.address, TARGET, &Options::default()).unwrap();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    drop(session);
    let opened = wait_for_line(&folder.0, &["session 1 of iqn.2026-01.test:initiator", TARGET, "opened"]);
    let closed = wait_for_line(&folder.0, &["session 1 of", "closed: the initiator closed the connection"]);
    for line in [opened, closed] {
        let mut words = line.split(' ');
        let time = words.next().unwrap();
        assert!(time.starts_with("20") && time.contains('T') && time.ends_with('Z'), "{line}");
        assert_eq!(words.next(), Some("[INFO]"));
        assert!(words.next().unwrap().starts_with("scstu::server::"), "{line}");
    }
}

#[test]
fn a_configuration_is_read_again_and_mistakes_in_it_change_nothing() {
    let folder = Folder::new("reload");
    let (one, two) = (disk(&folder, "one"), disk(&folder, "two"));
    let mut daemon = Daemon::start_with(&folder.0, &conf(&[&one]), verbose);
    let mut session = Initiator::login(daemon.address, TARGET, &Options::default()).unwrap();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    std::fs::write(folder.file("scst.conf"), conf(&[&one, &two])).unwrap();
    signal(&daemon, "HUP");
    wait_for_line(&folder.0, &["read again"]);
    session.good(1, &[0; 6], 0, &[]).unwrap();
    std::fs::write(folder.file("scst.conf"), "HANDLER {\n").unwrap();
    signal(&daemon, "HUP");
    wait_for_line(&folder.0, &["[ERROR]", "scst.conf:1:"]);
    session.good(0, &rw16(WRITE, 0, 1, false), 0, &[7; 512]).unwrap();
    session.good(1, &rw16(READ, 0, 1, false), 512, &[]).unwrap();
    drop(session);
    assert_eq!(daemon.stop().code(), Some(0));
    assert_eq!(std::fs::read(one).unwrap()[..512], [7; 512]);
}

/// Median time of a write and a read of one block.
fn median(session: &mut Initiator, lun: u8) -> Duration {
    let mut times: Vec<Duration> = (0..200)
        .map(|number| {
            let started = Instant::now();
            session.good(lun, &rw16(WRITE, number, 1, false), 0, &[1; 512]).unwrap();
            session.good(lun, &rw16(READ, number, 1, false), 512, &[]).unwrap();
            started.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn while_a_file_hangs_everything_else_goes_on() {
    let start = |folder: &Folder| conf(&[&disk(folder, "bad"), &disk(folder, "good")]);
    let Some(mut faulty) = Faulty::start_with("hanging-file", start, verbose) else {
        return skip("a file that hangs", "no C compiler (cc) for the library of faults");
    };
    let address = faulty.daemon.address;
    let login = |isid| {
        let mut session = Initiator::login(address, TARGET, &Options { isid, ..Options::default() }).unwrap();
        session.good(0, &[0; 6], 0, &[]).unwrap();
        session.good(1, &[0; 6], 0, &[]).unwrap();
        session
    };
    let (mut one, mut two) = (login(1), login(2));
    let before = median(&mut two, 1);
    for operation in [Operation::Write, Operation::Sync, Operation::Read] {
        faulty.hang("bad", operation);
    }
    let writes: Vec<u32> = (0..30)
        .map(|number| one.start(0, &rw16(WRITE, number * 8, 8, number % 2 == 0), 0, &[2; 4096]).unwrap())
        .collect();
    let during = (median(&mut one, 1), median(&mut two, 1));
    common::say(&format!(
        "median of a write and a read: {before:?} before, {during:?} while another LUN hangs\n"
    ));
    assert!(during.0.max(during.1) < before * 20 + Duration::from_millis(50), "{before:?}, {during:?}");
    assert!(writes.iter().all(|write| one.answer(*write).is_none()));
    // Logins, discovery, pings, commands that need no medium, also of the unit that hangs.
    let mut three = login(3);
    three.good(0, &[0x12, 0, 0, 0, 96, 0], 96, &[]).unwrap();
    three.nop().unwrap();
    let mut discovery = Initiator::login(address, "", &Options { isid: 4, ..Options::default() }).unwrap();
    assert!(discovery.send_targets().unwrap().contains(TARGET));
    // Signals.
    signal(&faulty.daemon, "USR1");
    wait_for_line(&faulty.folder.0, &["oldest command: tag", "of session 1"]);
    wait_for_line(&faulty.folder.0, &["threads:", "workers"]);
    wait_for_line(&faulty.folder.0, &["longest at work", "device d0"]);
    signal(&faulty.daemon, "HUP");
    wait_for_line(&faulty.folder.0, &["read again"]);
    drop((one, two, three, discovery));
    let started = Instant::now();
    let status = faulty.daemon.stop();
    common::say(&format!("with a file that hangs the daemon ended after {:?}\n", started.elapsed()));
    assert_eq!(status.code(), Some(5), "what could not be flushed is not called a success");
    assert!(log(&faulty.folder.0).contains("device d0: not flushed"));
    assert!(!log(&faulty.folder.0).contains("device d1: not flushed"));
}

/// Processor time of a process, by /proc.
fn used(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let behind_name = stat.rsplit_once(')').unwrap().1;
    // utime and stime, in hundredths of a second.
    let ticks: u64 =
        behind_name.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn a_busy_session_looks_for_requests_and_an_idle_one_uses_no_processor() {
    let folder = Folder::new("look");
    let file = disk(&folder, "disk");
    let daemon = Daemon::start_with(&folder.0, &conf(&[&file]), verbose);
    let mut session = Initiator::login(daemon.address, TARGET, &Options::default()).unwrap();
    let deadline = Instant::now() + LIMIT;
    while !log(&folder.0).contains("poll hits") {
        assert!(Instant::now() < deadline, "it never looked: {}", log(&folder.0));
        for _ in 0..300 {
            session.good(0, &[0; 6], 0, &[]).unwrap();
        }
        signal(&daemon, "USR1");
    }
    let before = used(daemon.pid());
    std::thread::sleep(Duration::from_secs(2));
    let idle = used(daemon.pid()) - before;
    assert!(idle < Duration::from_millis(150), "{idle:?} of 2 s");
    session.good(0, &[0; 6], 0, &[]).unwrap();
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let Some(mut faulty) = Faulty::start_with("second", |folder| conf(&[&disk(folder, "bad")]), verbose)
    else {
        return skip("a second signal", "no C compiler (cc) for the library of faults");
    };
    faulty.hang("bad", Operation::Sync);
    signal(&faulty.daemon, "TERM");
    wait_for_line(&faulty.folder.0, &["stopping"]);
    let started = Instant::now();
    assert_eq!(faulty.daemon.stop().code(), Some(5));
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(log(&faulty.folder.0).contains("second signal"));
}

#[test]
fn dev_zero_is_a_disk_over_ipv6_and_ipv4() {
    if TcpListener::bind("[::1]:0").is_err() {
        return skip("IPv6", "this machine has no ::1");
    }
    let folder = Folder::new("zero");
    let conf = format!(
        "HANDLER vdisk_fileio {{\nDEVICE zero {{\nfilename /dev/zero\nsize 1048576\n}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {TARGET} {{\nenabled 1\nLUN 0 zero\n}}\n}}\n"
    );
    let daemon = Daemon::start_with(&folder.0, &conf, |command| {
        command.args(["--portal", "[::1]:0"]);
    });
    let addresses = [daemon.address, daemon.next_address()];
    assert_eq!(addresses.map(|address| address.is_ipv6()), [false, true]);
    for address in addresses {
        let mut session = Initiator::login(address, TARGET, &Options::default()).unwrap();
        let data = session.good(0, &rw16(READ, 2040, 8, false), 8 * 512, &[]).unwrap();
        assert_eq!(data, [0; 8 * 512], "{address}");
        let answer = session.command(0, &rw16(READ, 2041, 8, false), 8 * 512, &[]).unwrap();
        assert_eq!(answer.status, 2, "{address}: beyond the size");
    }
}
