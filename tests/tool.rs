//! scstuadm and the control socket, as processes.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;
mod initiator;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Daemon, Folder, Outcome, is_installed, run, skip};
use initiator::{Initiator, Options};

const TARGET: &str = "iqn.2026-01.test:tool";
const LIMIT: Duration = Duration::from_secs(60);

/// A daemon with a control socket.
struct Served {
    daemon: Daemon,
    folder: Folder,
    socket: PathBuf,
}

impl Served {
    fn new(name: &str) -> Served {
        let folder = Folder::new(name);
        let socket = folder.file("s");
        let daemon = Daemon::start_with(&folder.0, "", |command| {
            command.arg("--socket").arg(&socket);
        });
        Served { daemon, folder, socket }
    }

    fn tool(&self, words: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scstuadm"));
        run(command.arg("--socket").arg(&self.socket).args(words), LIMIT)
    }

    /// What a command says that must succeed.
    fn good(&self, words: &[&str]) -> String {
        let outcome = self.tool(words);
        assert!(outcome.is_good(), "{words:?}: {:?}\n{}", outcome.status, outcome.text);
        outcome.text
    }

    /// What a command says that must end with this code.
    fn bad(&self, code: i32, words: &[&str]) -> String {
        let outcome = self.tool(words);
        let ended = outcome.status.and_then(|status| status.code());
        assert_eq!(ended, Some(code), "{words:?}\n{}", outcome.text);
        outcome.text
    }

    fn disk(&self, name: &str, bytes: u64) -> String {
        let path = self.folder.file(name);
        fs::File::create(&path).unwrap().set_len(bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A target with LUN 0 on a disk of 1 MiB, as somebody would make it by hand.
    fn configured(name: &str) -> Served {
        let served = Served::new(name);
        let disk = served.disk("disk.img", 1 << 20);
        served.good(&["device", "add", "disk1", "vdisk_fileio", &format!("filename={disk}")]);
        served.good(&["target", "add", TARGET]);
        served.good(&["lun", "map", TARGET, "0", "disk1"]);
        served.good(&["target", "enable", TARGET]);
        served
    }

    fn login(&self) -> Initiator {
        Initiator::login(self.daemon.address, TARGET, &Options::default()).unwrap()
    }
}

#[test]
fn from_nothing_to_a_session_and_back() {
    let served = Served::configured("tool");
    let mut session = served.login();
    session.good(0, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8, &[]).unwrap();

    let status = served.good(&["status"]);
    for part in ["disk1", TARGET, "enabled", "1 MiB", "vdisk_fileio", "1 connections"] {
        assert!(status.contains(part), "{part} is missing in\n{status}");
    }
    assert!(status.lines().any(|line| line.contains("127.0.0.1:") && line.contains("/s")), "{status}");
    let sessions = served.good(&["--json", "session", "list"]);
    assert!(sessions.contains(&format!("\"target\":\"{TARGET}\"")), "{sessions}");
    assert!(sessions.contains("\"luns\":[{\"lun\":0,\"device\":\"disk1\",\"in_flight\":0,"), "{sessions}");
    let top = served.good(&["top", "--count", "1", "--interval", "0.1"]);
    assert!(top.lines().count() == 2 && top.contains("disk1"), "{top}");

    let memory = served.good(&["get", "sgv/sgv/stats"]);
    assert!(memory.lines().any(|line| line.starts_with("  sgv-4K  ")), "{memory}");

    let text = served.bad(2, &["device", "remove", "disk1"]);
    assert!(text.contains(&format!("mapped: {TARGET} LUN 0")) && text.contains("--force"), "{text}");
    served.bad(2, &["target", "remove", TARGET]);
    let id = sessions.split("\"id\":").nth(1).unwrap().split(',').next().unwrap().to_owned();
    served.good(&["session", "kick", &id]);
    assert!(session.command(0, &[0; 6], 0, &[]).is_err(), "the session is over");
    served.bad(2, &["session", "kick", &id]);
    served.good(&["target", "disable", TARGET]);
    assert!(Initiator::login(served.daemon.address, TARGET, &Options::default()).is_err());
    served.good(&["lun", "unmap", TARGET, "0"]);
    served.good(&["device", "remove", "disk1"]);
    served.good(&["target", "remove", TARGET]);
    assert_eq!(served.good(&["--json", "device", "list"]), "[]\n");
    assert_eq!(served.good(&["--json", "target", "list"]), "[]\n");
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + LIMIT;
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "{what}: not within {LIMIT:?}");
    }
}

/// The number behind `key` in a line of JSON.
fn number_in(json: &str, key: &str) -> Option<u64> {
    let behind = json.split(&format!("\"{key}\":")).nth(1)?;
    behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[test]
fn the_oldest_command_and_long_work_are_told() {
    let served = Served::configured("work");
    let mut session = served.login();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    const AGE: &str = "oldest_command_milliseconds";
    assert!(served.good(&["--json", "session", "list"]).contains(&format!("\"{AGE}\":null")));
    let line = served.good(&["device", "list"]);
    assert!(line.lines().nth(1).unwrap().contains(" - "), "{line}");

    // Held back, a command grows old.
    served.good(&["set", "devices/disk1/block", "11"]);
    let held = session.start(0, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512, &[]).unwrap();
    let look = || number_in(&served.good(&["--json", "status"]), AGE);
    until("it is told", || look().is_some());
    let first = look().unwrap();
    assert!(look().unwrap() > first, "it grows older");
    let status = served.good(&["status"]);
    let line = status.lines().find(|line| line.contains("127.0.0.1:")).unwrap();
    assert!(line.contains(" s  "), "{line}");
    served.good(&["top", "--count", "1", "--interval", "0.1"]);
    served.good(&["set", "devices/disk1/block", "0"]);
    assert_eq!(session.wait(held).unwrap().status, 0);
    until("it is told no longer", || look().is_none());

    // SANITIZE of a disk of four parts, stretched so that it can be seen.
    let disk = served.disk("large.img", 32 << 20);
    let attributes = [&format!("filename={disk}"), "allow_sanitize=1", "sanitize_min_ms=4000"];
    served.good(&[&["device", "add", "disk2", "vdisk_fileio"][..], &attributes[..]].concat());
    served.good(&["lun", "map", TARGET, "1", "disk2"]);
    assert_eq!(served.good(&["get", "devices/disk2/progress"]), "none\n");
    session.command(1, &[0; 6], 0, &[]).unwrap();
    let list = [1, 0, 0, 4, 0xde, 0xad, 0xbe, 0xef];
    session.command(0, &[0; 6], 0, &[]).unwrap();
    session.good(1, &[0x48, 0x80 | 0x01, 0, 0, 0, 0, 0, 0, 8, 0], 0, &list).unwrap();
    let percent = || number_in(&served.good(&["--json", "device", "progress", "disk2"]), "percent");
    let mut seen = std::collections::BTreeSet::new();
    until("it ends", || {
        let now = percent();
        seen.extend(now);
        now.is_none()
    });
    assert!(seen.len() > 1 && seen.iter().all(|percent| *percent < 100), "{seen:?}");
    session.good(1, &[0x48, 0x80 | 0x01, 0, 0, 0, 0, 0, 0, 8, 0], 0, &list).unwrap();
    let tree = served.good(&["get", "devices/disk2/progress"]);
    assert!(tree.starts_with("sanitize ") && tree.ends_with("%\n"), "{tree}");
    assert!(served.good(&["status"]).contains("sanitize "));
    assert!(served.good(&["--json", "status"]).contains("\"work\":[{\"what\":\"sanitize\",\"percent\":"));
    assert_eq!(served.good(&["device", "progress", "--wait"]), "");
    assert_eq!(served.good(&["get", "devices/disk2/progress"]), "none\n");
    served.bad(2, &["device", "progress", "nothing"]);
}

#[test]
fn a_disk_grows_under_its_session() {
    let served = Served::configured("grow");
    let mut session = served.login();
    let blocks = |session: &mut Initiator| {
        // The first command after a change has a unit attention.
        let capacity = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let answer = session.command(0, &capacity, 8, &[]).unwrap();
        let data = if answer.status == 0 { answer.data } else { session.good(0, &capacity, 8, &[]).unwrap() };
        u32::from_be_bytes([data[0], data[1], data[2], data[3]]) + 1
    };
    assert_eq!(blocks(&mut session), 2048);
    served.disk("disk.img", 3 << 20);
    served.good(&["device", "resize", "disk1"]);
    assert_eq!(blocks(&mut session), 6144);
    assert!(served.good(&["device", "list"]).contains("3 MiB"));
}

#[test]
fn groups_users_and_attributes() {
    let served = Served::configured("groups");
    served.good(&["group", "add", TARGET, "hosts"]);
    served.good(&["group", "allow", TARGET, "hosts", "iqn.2026-01.test:host*"]);
    served.good(&["lun", "map", TARGET, "5", "disk1", "--group", "hosts", "--read-only"]);
    let lun = format!("targets/iscsi/{TARGET}/ini_groups/hosts/luns/5/read_only");
    assert_eq!(served.good(&["get", &lun]), "1\n");
    assert!(served.good(&["--json", "get", &lun]).contains("\"saved\":true"));
    served.good(&["lun", "unmap", TARGET, "5", "--group", "hosts"]);
    served.good(&["group", "deny", TARGET, "hosts", "iqn.2026-01.test:host*"]);
    served.good(&["group", "remove", TARGET, "hosts"]);

    let path = format!("/sys/kernel/scst_tgt/targets/iscsi/{TARGET}/MaxBurstLength");
    served.good(&["set", &path, "65536"]);
    assert_eq!(served.good(&["get", &path]), "65536\n");
    let text = served.bad(2, &["set", &path, "many"]);
    assert!(text.contains("many"), "what is wrong is named: {text}");
    served.bad(2, &["get", "no/such/file"]);
    served.bad(2, &["set", "version", "1"]);
    served.good(&["do", "targets/iscsi", "add_target", "iqn.2026-01.test:other"]);
    assert!(served.good(&["list", "targets/iscsi"]).contains("iqn.2026-01.test:other/"));
    assert!(served.good(&["describe", "targets/iscsi/mgmt"]).contains("add_target"));

    let add_joe = |secret: &[u8]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scstuadm"));
        command.arg("--socket").arg(&served.socket).args(["user", "add", "joe", "--target", TARGET]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(secret).unwrap();
        child.wait().unwrap().code()
    };
    assert_eq!(add_joe(b"a-secret-of-joe \n"), Some(1), "the blank would be lost");
    assert_eq!(add_joe(b"a-secret-of-joe\n"), Some(0));
    assert!(
        Initiator::login(served.daemon.address, TARGET, &Options::default()).is_err(),
        "CHAP is asked for"
    );
    let account = format!("targets/iscsi/{TARGET}/IncomingUser");
    assert_eq!(served.good(&["get", &account]), "joe a-secret-of-joe\n");
    let target = format!("targets/iscsi/{TARGET}");
    for words in [&["status"][..], &["--json", "status"], &["describe", &target], &["get", &target]] {
        assert!(!served.good(words).contains("a-secret"), "{words:?} tells a secret");
    }
    let log = fs::read_to_string(served.folder.file("log")).unwrap();
    assert!(!log.contains("a-secret"), "the log tells a secret");
    served.good(&["user", "remove", "joe", "--target", TARGET]);
    served.login();
}

#[test]
fn what_is_saved_makes_the_same_again() {
    let served = Served::configured("saved");
    let file = served.folder.file("saved.conf");
    served.good(&["save", file.to_str().unwrap()]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(served.good(&["save"]), text);
    // The daemon, of that group, reads it again; others see no secrets. Only root can give a file away.
    let given = chown(&file, Some(1), Some(1)).is_ok();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    served.good(&["save", file.to_str().unwrap()]);
    let kept = fs::metadata(&file).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o640);
    assert!(!given || (kept.uid(), kept.gid()) == (1, 1));
    served.good(&["check", file.to_str().unwrap()]);
    assert!(served.good(&["plan", file.to_str().unwrap()]).contains("nothing to change"));
    served.good(&["target", "add", "iqn.2026-01.test:more"]);
    assert!(served.good(&["plan", file.to_str().unwrap()]).contains("nothing to change"));
    let plan = served.good(&["plan", file.to_str().unwrap(), "--remove"]);
    assert!(plan.contains("iqn.2026-01.test:more"), "{plan}");
    assert!(served.good(&["target", "list"]).contains("iqn.2026-01.test:more"), "a plan changes nothing");
    served.good(&["apply", file.to_str().unwrap(), "--remove"]);
    assert_eq!(served.good(&["save"]), text, "{plan}");
    let other = Served::new("again");
    other.good(&["apply", file.to_str().unwrap()]);
    assert_eq!(other.good(&["save"]), text);
    other.login();
}

#[test]
fn a_file_that_says_where_reservations_are_kept_is_good() {
    let served = Served::configured("kept-check");
    let kept = served.folder.file("reservations");
    served.good(&["set", "devices/disk1/pr_file_name", kept.to_str().unwrap()]);
    let saved = served.folder.file("saved.conf");
    let name = saved.to_str().unwrap();
    served.good(&["save", name]);
    let text = fs::read_to_string(&saved).unwrap();
    assert!(text.contains("pr_file_name"), "{text}");
    assert!(served.good(&["check", name]).contains("good"));
    served.good(&["plan", name]);
    // Here it need not be, and there it must.
    fs::write(&saved, text.replace(kept.to_str().unwrap(), "/none/at/all")).unwrap();
    assert!(served.good(&["check", name]).contains("good"));
    assert!(served.bad(2, &["plan", name]).contains("there is no directory /none/at"));
    fs::write(&saved, text.replace(kept.to_str().unwrap(), "here")).unwrap();
    assert!(served.bad(2, &["check", name]).contains("is not an absolute path of a file"));
}

#[test]
fn a_mistake_in_a_file_is_told_with_its_place_and_a_value_beyond_scstadmin_is_warned_of() {
    let served = Served::configured("places");
    let file = served.folder.file("new.conf");
    let device = "HANDLER vdisk_nullio {\n\tDEVICE n {\n\t\tsize 1M\n\t\tcolour red\n\t}\n}\n";
    fs::write(&file, device).unwrap();
    let name = file.to_str().unwrap();
    for words in [&["check", name][..], &["plan", name], &["apply", name]] {
        let text = served.bad(2, words);
        assert!(
            text.contains(&format!("{name}:4:3: vdisk_nullio has no attribute colour; there are ")),
            "{text}"
        );
    }
    // What the daemon may load, this tool need not know.
    let image = "HANDLER tcmu_qcow {\n\tDEVICE q {\n\t\tcfgstring /none/at/all.qcow2\n\t}\n}\n";
    fs::write(&file, image).unwrap();
    assert!(served.good(&["check", name]).contains("good; 1 changes"));
    fs::write(&file, image.replace("\t}\n}", "\t\tcolour red\n\t}\n}")).unwrap();
    assert!(served.bad(2, &["check", name]).contains(":4:3: tcmu_qcow has no attribute colour; "));
    fs::write(&file, image.replace("tcmu", "user")).unwrap();
    assert!(served.bad(2, &["check", name]).contains(":3:3: user_qcow has no attribute cfgstring; "));
    // Nor what a program registers; but the daemon must.
    let own = "HANDLER my_store {\n\tDEVICE m {\n\t\tfilename /x\n\t\toptions fast\n\t}\n}\n";
    fs::write(&file, own).unwrap();
    let text = served.good(&["check", name]);
    assert!(text.contains("good; 1 changes") && text.contains("warning: handler my_store is not built in"));
    assert!(served.bad(2, &["apply", name]).contains(":2:2: there is no handler my_store; there are "));
    fs::write(&file, own.replace("my_store", "vdisk_filio")).unwrap();
    assert!(served.bad(2, &["check", name]).contains(":2:2: there is no handler vdisk_filio; there are "));
    let path = format!("targets/iscsi/{TARGET}/comment");
    served.good(&["set", &path, "say \"it\""]);
    let saved = served.folder.file("saved.conf");
    let text = served.good(&["save", saved.to_str().unwrap()]);
    assert!(text.contains("warning: ") && text.contains("the value of comment "), "{text}");
    let line: usize = text.split("saved.conf:").nth(1).unwrap().split(':').next().unwrap().parse().unwrap();
    assert!(fs::read_to_string(&saved).unwrap().lines().nth(line - 1).unwrap().contains("comment"));
    fs::write(&saved, "TARGET_DRIVER iscsi {\n\tenabled 1\n}\n").unwrap();
    let plan = served.good(&["plan", saved.to_str().unwrap(), "--remove"]);
    assert!(plan.contains("- target"), "{plan}");
    served.good(&["set", "targets/iscsi/link_local", "0"]);
    let plan = served.good(&["plan", saved.to_str().unwrap(), "--remove"]);
    assert!(plan.contains("~ driver iscsi: link_local 0 -> 1, its default"), "{plan}");
}

#[test]
fn the_log_can_be_turned_up() {
    let served = Served::new("level");
    assert_eq!(served.good(&["log", "level"]), "warn\n");
    served.good(&["log", "level", "debug"]);
    assert_eq!(served.good(&["log", "level"]), "debug\n");
    assert!(served.bad(2, &["log", "level", "loud"]).contains("trace"));
}

/// What the completion of bash makes of a line whose cursor is at its end.
fn completed(served: &Served, folder: &Folder, line: &str) -> Vec<String> {
    let script = folder.file("script");
    let text = run(Command::new(env!("CARGO_BIN_EXE_scstuadm")).args(["completion", "bash"]), LIMIT).text;
    let call = format!(
        "COMP_LINE='{line}' COMP_POINT=${{#COMP_LINE}}\nCOMP_POINT=${{#COMP_LINE}}\n_scstuadm\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    );
    fs::write(&script, text + &call).unwrap();
    let tools = Path::new(env!("CARGO_BIN_EXE_scstuadm")).parent().unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.arg(&script).env("PATH", path).env("SCSTU_SOCKET", &served.socket);
    run(&mut bash, LIMIT).text.lines().map(str::to_owned).collect()
}

#[test]
fn shells_complete_commands_and_what_the_daemon_has() {
    let served = Served::configured("complete");
    for shell in ["zsh", "fish"] {
        let outcome = served.tool(&["completion", shell]);
        assert!(outcome.is_good() && outcome.text.contains("complete --"), "{shell}: {}", outcome.text);
    }
    let folder = Folder::new("completion");
    served.good(&["group", "add", TARGET, "hosts"]);
    let (colons, _) = TARGET.rsplit_once(':').unwrap();
    for (line, wanted) in [
        ("scstuadm device re", &["remove", "resize"][..]),
        ("scstuadm --json device re", &["remove", "resize"]),
        ("scstuadm lun unmap ", &[TARGET]),
        // bash has cut the word at the colon, and replaces what is behind it.
        (&format!("scstuadm lun unmap {colons}:"), &[&TARGET[colons.len() + 1..]]),
        (&format!("scstuadm lun unmap {TARGET} 0 --gr"), &["--group"]),
        (&format!("scstuadm group allow {TARGET} "), &["hosts"]),
        ("scstuadm device add x vdisk_ram re", &["removable=", "read_only="]),
        ("scstuadm device add x vdi", &["vdisk_blockio", "vdisk_fileio", "vdisk_nullio", "vdisk_ram"]),
        ("scstuadm get targ", &["targets/"]),
        ("scstuadm completion f", &["fish"]),
        ("scstuadm top --c", &["--count"]),
    ] {
        let found = completed(&served, &folder, line);
        assert!(wanted.iter().all(|word| found.iter().any(|own| own == word)), "{line}: {found:?}");
        let is_list = line.contains("unmap") || line.contains("allow") || line.contains("re ");
        assert!(!is_list || found.len() == wanted.len(), "{line}: {found:?}");
    }
}

#[test]
fn a_refusal_says_what_there_is_instead() {
    let served = Served::configured("hints");
    let hint = |words: &[&str], wanted: &str| {
        let text = served.bad(2, words);
        assert!(text.contains(wanted), "{words:?}: {text}");
    };
    hint(&["device", "add", "x", "vdisk_fielio", "filename=/x"], "did you mean vdisk_fileio?");
    hint(&["get", "targets/iscsi/enabeld"], "did you mean enabled?");
    hint(&["lun", "map", &format!("{TARGET}2"), "0", "x"], &format!("did you mean {TARGET}?"));
    hint(&["lun", "map", TARGET, "7", "nodisk"], "`scstuadm device list` tells which there are");
    hint(&["group", "allow", TARGET, "hosts", "x"], "it has nothing yet");
    hint(&["target", "enable", "iqn.2026-01.org.example:none"], "has no iqn.2026-01.org.example:none");
    assert!(!served.good(&["target", "list"]).contains("example:none"), "nothing was made");
}

#[test]
fn enabling_a_target_enables_the_driver_with_it_or_nothing() {
    let served = Served::configured("enable");
    let value = |path: &str| served.good(&["get", path]);
    served.good(&["set", "targets/iscsi/enabled", "0"]);
    served.good(&["target", "disable", TARGET]);
    served.good(&["target", "enable", TARGET]);
    assert_eq!(value("targets/iscsi/enabled"), "1\n");
    assert_eq!(value(&format!("targets/iscsi/{TARGET}/enabled")), "1\n");
}

#[test]
fn a_shell_does_not_wait_for_a_daemon_that_hangs() {
    let served = Served::configured("complete-hang");
    let words = ["complete", "--", "device", "remove", ""];
    assert_eq!(served.good(&words), "disk1\n");
    let signal = |name: &str| {
        let mut kill = Command::new("kill");
        assert!(kill.arg(name).arg(served.daemon.pid().to_string()).status().unwrap().success());
    };
    signal("-STOP");
    let outcome = served.tool(&words);
    signal("-CONT");
    assert!(outcome.is_good() && outcome.text.is_empty(), "{:?} {}", outcome.status, outcome.text);
}

#[test]
fn what_is_in_use_is_refused_and_does_not_go_on() {
    let served = Served::configured("in-use");
    let file = format!("filename={}", served.disk("ram.img", 1 << 20));
    served.good(&["device", "add", "one", "vdisk_ram", &file]);
    let text = served.bad(2, &["device", "add", "two", "vdisk_ram", &file]);
    assert!(text.contains("in use by another process, or by another device of this one"), "{text}");
}

#[test]
fn what_is_to_know_of_a_file_is_told_and_is_no_change() {
    let served = Served::configured("notes");
    let file = served.folder.file("twice.conf");
    let group = |name: &str| format!("GROUP {name} {{\nINITIATOR iqn.2026-01.*\n}}\n");
    let groups = group("one") + &group("two");
    fs::write(&file, format!("TARGET_DRIVER iscsi {{\nTARGET {TARGET} {{\n{groups}}}\n}}\n")).unwrap();
    let file = file.to_str().unwrap();
    let note = "is in the group at 4:1 too; the first of its groups has it";
    assert!(served.good(&["check", file]).contains(note));
    let plan = served.good(&["--json", "plan", file]);
    assert!(plan.contains("{\"note\":\"") && !plan.contains("\"change\":\"#"), "{plan}");
    let told = served.good(&["apply", file]);
    assert!(told.contains(note) && told.ends_with("\n4 changes made\n"), "{told}");
}

#[test]
fn groups_luns_and_users_are_listed() {
    let served = Served::configured("lists");
    served.good(&["group", "add", TARGET, "hosts"]);
    served.good(&["group", "allow", TARGET, "hosts", "iqn.2026-01.*"]);
    served.good(&["lun", "map", TARGET, "12", "disk1", "--group", "hosts", "--read-only"]);
    let secret = "a very long secret";
    served.good(&["do", "targets/iscsi", "add_target_attribute", TARGET, "IncomingUser", "joe", secret]);
    let groups = served.good(&["group", "list"]);
    assert!(groups.lines().any(|line| line.contains("hosts") && line.contains("iqn.2026-01.*")), "{groups}");
    let luns = served.good(&["--json", "lun", "list", TARGET]);
    assert!(luns.contains("\"group\":\"hosts\",\"lun\":12,"), "{luns}");
    assert!(luns.contains("\"read_only\":true"), "{luns}");
    assert!(luns.contains("\"group\":null,"), "{luns}");
    let users = served.good(&["user", "list"]);
    assert!(users.contains("joe") && users.contains("incoming") && !users.contains("long"), "{users}");
    served.bad(2, &["lun", "list", "iqn.2026-01.org.example:none"]);
}

#[test]
fn every_answer_is_one_value_of_json_or_one_a_line() {
    let served = Served::configured("json");
    let mut session = served.login();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    for words in [
        &["--json", "top", "--count", "2", "--interval", "0.1"][..],
        &["--json", "help"],
        &["--json", "help", "device"],
        &["--json", "status"],
        &["--json", "lun", "list"],
        &["--json", "log", "level"],
    ] {
        let text = served.good(words);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), if words.contains(&"top") { 2 } else { 1 }, "{words:?}: {text}");
        let is_whole = |line: &&str| {
            let ends = (line.chars().next(), line.chars().last());
            matches!(ends, (Some('{'), Some('}')) | (Some('['), Some(']')) | (Some('"'), Some('"')))
        };
        assert!(lines.iter().all(is_whole) && !text.contains("[]\n"), "{words:?}: {text}");
    }
}

#[test]
fn top_ends_quietly_when_nobody_reads_it() {
    let served = Served::configured("top");
    let mut session = served.login();
    session.good(0, &[0; 6], 0, &[]).unwrap();
    // `head` ends after the first line.
    let line = "scstuadm top --interval 0.1 --count 40 | head -n 1 >/dev/null; echo ${PIPESTATUS[0]}";
    let tools = Path::new(env!("CARGO_BIN_EXE_scstuadm")).parent().unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-c", line]).env("PATH", path).env("SCSTU_SOCKET", &served.socket);
    assert_eq!(run(&mut bash, LIMIT).text, "0\n");
}

/// Whether this is root, who alone can run things as somebody else.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

#[test]
fn another_user_is_turned_away_unread() {
    if !is_root() || !is_installed("setpriv") || !is_installed("perl") {
        return skip("the control socket and another user", "not root, or no setpriv or perl");
    }
    let served = Served::new("stranger");
    // As open as a careless administrator can make it.
    fs::set_permissions(&served.socket, fs::Permissions::from_mode(0o666)).unwrap();
    // It may be turned away before it has written.
    let program = "use Socket; $SIG{PIPE} = 'IGNORE'; socket(S, PF_UNIX, SOCK_STREAM, 0); \
                   connect(S, sockaddr_un($ARGV[0])) or die \"connect: $!\\n\"; \
                   syswrite(S, \"scstu\\t1\\nsave\\n\"); $/ = undef; print <S>;";
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e", program]);
    let outcome = run(command.arg(&served.socket), LIMIT);
    if outcome.text.starts_with("connect:") {
        return skip("the control socket and another user", "its folder is closed to others");
    }
    assert_eq!(outcome.text, "error\t13\tthis daemon serves its own user and root\n");
    served.good(&["status"]);
}

#[test]
fn a_client_that_does_not_read_holds_nobody() {
    let served = Served::new("silent");
    let mut hostile = Vec::new();
    for _ in 0..100 {
        let Ok(mut socket) = UnixStream::connect(&served.socket) else { continue };
        socket.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
        // Asks for much and takes nothing.
        let _ = socket.write_all(("scstu\t1\n".to_owned() + &"list\t\n".repeat(2000)).as_bytes());
        hostile.push(socket);
    }
    served.good(&["status"]);
    let mut plain = UnixStream::connect(&served.socket).unwrap();
    plain.set_read_timeout(Some(LIMIT)).unwrap();
    plain.write_all(b"scstu\t1\nread\tversion\n").unwrap();
    let mut lines = BufReader::new(&plain).lines().map(Result::unwrap);
    let answer: Vec<String> = lines.by_ref().take(4).collect();
    assert_eq!(answer[0], "ok\t1");
    assert!(answer[3].starts_with("SCST version: "), "{answer:?}");
    drop(hostile);
    assert!(fs::metadata(&served.socket).is_ok());
    drop(plain.shutdown(std::net::Shutdown::Write));
    assert_eq!((&plain).read(&mut [0]).unwrap(), 0);
}
