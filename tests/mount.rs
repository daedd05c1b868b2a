//! The tree as files: mounted by the daemon, by a second process, and in a namespace for SCST's own tools.
//!
//! Where this process may not use FUSE or namespaces, that part is skipped, and counted.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;
mod initiator;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Daemon, Folder, Outcome, is_installed, run, skip, wait_for};
use initiator::{Initiator, Options};

const LIMIT: Duration = Duration::from_secs(60);

/// Why FUSE cannot be used here.
fn no_fuse() -> Option<String> {
    match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Err(error) => Some(format!("/dev/fuse: {error}")),
        Ok(_) if !is_root() && !is_installed("fusermount3") => Some("no fusermount3".to_owned()),
        Ok(_) => None,
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// Waits for a condition.
fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_mounted(directory: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == directory.to_str())
}

/// A daemon with a control socket, and with the tree mounted if asked for.
struct Served {
    daemon: Daemon,
    folder: Folder,
    socket: PathBuf,
    tree: PathBuf,
}

impl Served {
    fn new(name: &str, mounts: bool) -> Served {
        let folder = Folder::new(name);
        let (socket, tree) = (folder.file("s"), folder.file("tree"));
        let daemon = start(&folder, &socket, mounts.then_some(&tree));
        Served { daemon, folder, socket, tree }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.tree.join(path)
    }

    fn restart(&mut self, mounts: bool) {
        self.daemon = start(&self.folder, &self.socket, mounts.then_some(&self.tree));
    }

    fn is_alive(&self) -> bool {
        fs::read_to_string(self.at("version")).is_ok_and(|text| text.starts_with("SCST version: "))
    }
}

fn start(folder: &Folder, socket: &Path, tree: Option<&PathBuf>) -> Daemon {
    Daemon::start_with(&folder.0, "", |command| {
        command.arg("--socket").arg(socket);
        if let Some(tree) = tree {
            command.arg("--mount").arg(tree);
        }
    })
}

fn write(path: &Path, text: &str) -> i32 {
    let result =
        OpenOptions::new().write(true).open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1))
}

/// Processes whose parent this is.
fn children(pid: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        if parent == Some(pid) {
            all.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
    }
    all
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").arg(name).arg(pid.to_string()).status().unwrap().success());
}

#[test]
fn a_target_is_made_with_echo() {
    if let Some(why) = no_fuse() {
        return skip("a tree mounted by the daemon", &why);
    }
    let mut served = Served::new("echo", true);
    let disk = served.folder.file("disk");
    fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let target = "iqn.2026-01.test:echo";
    let device = format!("add_device d filename={}", disk.display());
    assert_eq!(write(&served.at("handlers/vdisk_fileio/mgmt"), &device), 0);
    assert_eq!(write(&served.at("handlers/vdisk_fileio/mgmt"), &device), libc::EEXIST);
    assert_eq!(fs::read_to_string(served.at("last_sysfs_mgmt_res")).unwrap(), format!("-{}\n", libc::EEXIST));
    assert_eq!(write(&served.at("handlers/vdisk_fileio/mgmt"), "nonsense\n"), libc::EINVAL);
    assert_eq!(write(&served.at("targets/iscsi/mgmt"), &format!("add_target {target}\n")), 0);
    let own = format!("targets/iscsi/{target}");
    assert_eq!(write(&served.at(&format!("{own}/luns/mgmt")), "add d 0"), 0);
    assert_eq!(write(&served.at(&format!("{own}/enabled")), "1\n"), 0);
    assert_eq!(write(&served.at("targets/iscsi/enabled"), "1\n"), 0);
    assert_eq!(
        fs::read_link(served.at("devices/d/handler")).unwrap(),
        Path::new("../../handlers/vdisk_fileio")
    );
    assert_eq!(fs::read_to_string(served.at("devices/d/size")).unwrap(), "1048576\n[key]\n");
    let through = served.at(&format!("{own}/luns/0/device/size_mb"));
    assert_eq!(fs::read_to_string(through).unwrap(), "1\n", "through the link");
    if is_root() {
        assert_eq!(write(&served.at("devices/d/read_only"), "1"), libc::EIO);
    }
    let mut session = Initiator::login(served.daemon.address, target, &Options::default()).unwrap();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    let sessions = served.at(&format!("{own}/sessions"));
    assert_eq!(fs::read_dir(&sessions).unwrap().count(), 1);
    let name = fs::read_dir(&sessions).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_link(name.join("luns")).unwrap(), Path::new("../../luns"));
    assert_eq!(write(&name.join("force_close"), "1"), 0);
    assert!(session.command(0, &[0; 6], 0, &[]).is_err());
    until("the session goes", || fs::read_dir(&sessions).unwrap().count() == 0);
    assert!(served.daemon.stop().success());
    assert!(!is_mounted(&served.tree), "who ends in order takes the tree away");
}

#[test]
fn a_killed_daemon_leaves_nothing_mounted() {
    if let Some(why) = no_fuse() {
        return skip("a tree whose daemon is killed", &why);
    }
    let mut served = Served::new("killed", true);
    assert!(served.is_alive() && is_mounted(&served.tree));
    served.daemon.kill();
    until("the guard takes the mount away", || !is_mounted(&served.tree));
    assert_eq!(fs::read_dir(&served.tree).unwrap().count(), 0);
    served.restart(true);
    assert!(served.is_alive());

    // The guard dies too: the next one finds a dead mount and takes it away.
    let guards = children(served.daemon.pid());
    assert_eq!(guards.len(), 1, "{guards:?}");
    signal(guards[0], "-KILL");
    served.daemon.kill();
    until("the mount is dead", || fs::metadata(&served.tree).is_err());
    assert!(is_mounted(&served.tree));
    served.restart(true);
    assert!(served.is_alive());

    // One that lives is left alone.
    let second = Folder::new("second");
    let mut command = Command::new(env!("CARGO_BIN_EXE_scstud"));
    command.args(["--portal", "127.0.0.1:0", "--socket"]).arg(second.file("s"));
    let outcome = run(command.arg("--mount").arg(&served.tree), LIMIT);
    assert_eq!(outcome.status.and_then(|status| status.code()), Some(3), "{}", outcome.text);
    assert!(outcome.text.contains("already"), "{}", outcome.text);
    assert!(served.is_alive());
}

#[test]
fn whoever_stands_inside_does_not_hold_the_daemon() {
    if let Some(why) = no_fuse() {
        return skip("a tree that is in use when the daemon ends", &why);
    }
    let mut served = Served::new("inside", true);
    let file = fs::File::open(served.at("version")).unwrap();
    let mut inside = Command::new("sleep").arg("1000").current_dir(served.at("devices")).spawn().unwrap();
    assert!(served.daemon.stop().success());
    assert!(!is_mounted(&served.tree));
    let _ = inside.kill();
    let _ = inside.wait();
    drop(file);
}

/// `scstuadm mount`, as soon as it has mounted.
struct Second(Child);

impl Second {
    fn new(served: &Served) -> Second {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scstuadm"));
        command.arg("--socket").arg(&served.socket).arg("mount").arg(&served.tree);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("mounted on "), "{line}");
        Second(child)
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_second_process_serves_the_tree() {
    if let Some(why) = no_fuse() {
        return skip("a tree mounted by scstuadm", &why);
    }
    let mut served = Served::new("other", false);
    let mut second = Second::new(&served);
    assert!(served.is_alive());
    assert_eq!(write(&served.at("handlers/vdisk_nullio/mgmt"), "add_device n"), 0);
    assert_eq!(write(&served.at("handlers/vdisk_nullio/mgmt"), "add_device n"), libc::EEXIST);

    served.daemon.kill();
    let result = fs::read_to_string(served.at("version"));
    assert_eq!(result.err().and_then(|error| error.raw_os_error()), Some(libc::ECONNREFUSED));
    served.restart(false);
    assert!(served.is_alive(), "the next daemon is served without mounting again");
    assert!(!served.at("devices/n").exists());

    signal(second.0.id(), "-TERM");
    assert!(wait_for(&mut second.0, LIMIT).unwrap().success());
    assert!(!is_mounted(&served.tree));

    let mut second = Second::new(&served);
    let mut command = Command::new(env!("CARGO_BIN_EXE_scstuadm"));
    assert!(run(command.arg("unmount").arg(&served.tree), LIMIT).is_good());
    assert!(wait_for(&mut second.0, LIMIT).unwrap().success(), "it ends when its mount is taken away");

    let second = Second::new(&served);
    drop(second);
    until("the guard takes the mount away", || !is_mounted(&served.tree));
}

/// A descriptor of what is gone reaches nothing, whoever serves the tree.
fn held_across_making_again(served: &Served) {
    let target = "iqn.2026-01.test:held";
    let mgmt = |file: &str, text: &str| assert_eq!(write(&served.at(file), text), 0, "{text}");
    let make = || {
        mgmt("handlers/vdisk_nullio/mgmt", "add_device held");
        mgmt("targets/iscsi/mgmt", &format!("add_target {target}"));
        mgmt(&format!("targets/iscsi/{target}/ini_groups/mgmt"), "create g");
        mgmt("device_groups/mgmt", "create dg");
        mgmt("device_groups/dg/target_groups/mgmt", "add tg");
    };
    let own = format!("targets/iscsi/{target}");
    let files = [
        ("devices/held/threads_num".to_owned(), "3"),
        (format!("{own}/comment"), "old"),
        (format!("{own}/ini_groups/g/black_hole"), "2"),
        ("device_groups/dg/target_groups/tg/group_id".to_owned(), "7"),
    ];
    make();
    let before = files.each_ref().map(|(file, _)| fs::read_to_string(served.at(file)).unwrap());
    let mut held: Vec<fs::File> = files
        .iter()
        .map(|(file, _)| OpenOptions::new().read(true).write(true).open(served.at(file)).unwrap())
        .collect();
    mgmt("device_groups/mgmt", "del dg");
    mgmt("targets/iscsi/mgmt", &format!("del_target {target}"));
    mgmt("handlers/vdisk_nullio/mgmt", "del_device held");
    make();
    for (file, (path, text)) in held.iter_mut().zip(&files) {
        let written = file.write(text.as_bytes()).map_err(|error| error.raw_os_error());
        assert_eq!(written, Err(Some(libc::ENODEV)), "{path}");
        assert_eq!(file.read(&mut [0; 8]).map_err(|error| error.raw_os_error()), Err(Some(libc::ENODEV)));
    }
    assert_eq!(files.each_ref().map(|(file, _)| fs::read_to_string(served.at(file)).unwrap()), before);
    for (file, text) in &files {
        mgmt(file, text);
    }
}

#[test]
fn a_descriptor_of_what_was_made_again_reaches_nothing() {
    if let Some(why) = no_fuse() {
        return skip("descriptors that are held across making again", &why);
    }
    held_across_making_again(&Served::new("held", true));
    let served = Served::new("held-other", false);
    let _second = Second::new(&served);
    held_across_making_again(&served);
}

/// A file system of somebody else.
struct Foreign<'a>(&'a Path);

impl Drop for Foreign<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
fn what_is_no_tree_is_not_taken_away() {
    let folder = Folder::new("foreign");
    let place = folder.file("place");
    fs::create_dir(&place).unwrap();
    let unmount = || run(Command::new(env!("CARGO_BIN_EXE_scstuadm")).arg("unmount").arg(&place), LIMIT);
    assert!(!unmount().is_good(), "nothing is mounted there");
    let mut command = Command::new("mount");
    if !run(command.args(["-t", "tmpfs", "none"]).arg(&place), LIMIT).is_good() {
        return skip("foreign mount", "this user may not mount");
    }
    let _foreign = Foreign(&place);
    fs::write(place.join("file"), "kept").unwrap();
    let outcome = unmount();
    assert!(!outcome.is_good() && outcome.text.contains("no tree is mounted there"), "{}", outcome.text);
    assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "kept");
}

/// The wrapper with a command.
fn wrapped(served: &Served, command: &[&str]) -> Command {
    let mut wrapper = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/scstu-scstadmin"));
    wrapper.env("SCSTUADM", env!("CARGO_BIN_EXE_scstuadm"));
    wrapper.arg("--socket").arg(&served.socket).arg("--").args(command);
    wrapper
}

fn in_namespace(what: &str, served: &Served, command: &[&str]) -> Option<Outcome> {
    if let Some(why) = no_fuse() {
        skip(what, &why);
        return None;
    }
    let outcome = run(&mut wrapped(served, command), LIMIT);
    if outcome.text.contains("namespace of its own") || outcome.text.contains("cannot mount") {
        skip(what, outcome.text.trim());
        return None;
    }
    Some(outcome)
}

#[test]
fn a_command_finds_the_tree_where_scst_has_it() {
    let served = Served::new("wrapper", false);
    let what = "the tree at /sys/kernel/scst_tgt";
    let script = "head -1 /sys/kernel/scst_tgt/version; ls -d /sys/kernel/mm; echo oops >&2; exit 7";
    let Some(outcome) = in_namespace(what, &served, &["sh", "-c", script]) else { return };
    assert_eq!(outcome.status.and_then(|status| status.code()), Some(7), "{}", outcome.text);
    assert_eq!(outcome.text, "SCST version: 3.11.0-pre\n/sys/kernel/mm\noops\n");
    assert!(!Path::new("/sys/kernel/scst_tgt").exists(), "nobody else sees it");
    let outcome = in_namespace(what, &served, &["/none/at/all"]).unwrap();
    assert_eq!(outcome.status.and_then(|status| status.code()), Some(127));
    let mut no_daemon = wrapped(&served, &["true"]);
    no_daemon.env("SCSTUADM", "/bin/false");
    assert_eq!(run(&mut no_daemon, LIMIT).status.and_then(|status| status.code()), Some(125));
}

/// What SCST's scstadmin does with the files, step by step, from a script of our own: reading everything as
/// it does at its start, two targets with groups and CHAP, listing them, and taking all of it away.
#[test]
fn the_steps_of_scstadmin() {
    let served = Served::new("steps", false);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scstadmin/steps.sh");
    let disk = served.folder.file("disk");
    fs::File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    let command = ["bash", script.to_str().unwrap(), disk.to_str().unwrap()];
    let Some(outcome) = in_namespace("the steps of scstadmin", &served, &command) else { return };
    let expected = include_str!("golden/scstadmin.txt");
    let text = outcome.text.replace(disk.to_str().unwrap(), "DISK");
    assert!(outcome.is_good() && text == expected, "{:?}\n{text}", outcome.status);
}
