//! The targets of a comparison: how each is started, and under which names its units are reached.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cells::{MANY, Medium};
use crate::place::{self, Awake, Running};
use crate::session::bad;
use crate::spdk;

pub const NAME: &str = "iqn.2026-01.org.scstu:bench";

/// A target that runs.
pub struct Peer {
    pub name: String,
    /// What serves each medium.
    units: Vec<(Medium, Unit)>,
    /// Whether it keeps its processor busy while it has nothing to do.
    never_sleeps: bool,
    running: Vec<Running>,
}

/// Process and URL of a unit.
type Unit = (Option<u32>, String);

impl Peer {
    pub fn new(name: &str, units: Vec<(Medium, Unit)>, running: Vec<Running>) -> Self {
        Peer { name: name.to_owned(), units, never_sleeps: false, running }
    }

    /// A peer that would take a processor from the others in their turn: it is held back in theirs.
    pub fn that_never_sleeps(self) -> io::Result<Self> {
        self.running.iter().try_for_each(Running::hold)?;
        Ok(Peer { never_sleeps: true, ..self })
    }

    /// Lets it run until the answer is dropped.
    pub fn awake(&self) -> io::Result<Vec<Awake<'_>>> {
        let held = self.running.iter().filter(|_| self.never_sleeps);
        held.map(Running::awake).collect()
    }

    /// Process and URL that serve a medium.
    pub fn unit(&self, medium: Medium) -> Option<&Unit> {
        self.units.iter().find(|(served, _)| *served == medium).map(|(_, unit)| unit)
    }
}

/// What peers are started with.
pub struct Settings<'a> {
    pub folder: &'a Path,
    pub file: &'a Path,
    pub processor: Option<&'a str>,
    /// SPDK's `iscsi_tgt`, where it is not on the path.
    pub spdk: Option<&'a Path>,
    /// Whether there is a load on many units or targets.
    pub needs_many: bool,
}

/// Starts the peer of this name: `echo`, `echo-sendfile`, `scstu`, `scstu+ATTRIBUTE=VALUE+...`, `tgt`,
/// `istgt`, `spdk`, or `NAME=URL` for one that runs already, `@PID` behind it for its process.
pub fn start(name: &str, settings: &Settings<'_>) -> io::Result<Peer> {
    match name {
        "echo" => echo(name, settings, false),
        "echo-sendfile" => echo(name, settings, true),
        "tgt" => tgt(settings),
        "istgt" => istgt(settings),
        "spdk" => spdk::start(settings),
        _ if name == "scstu" || name.starts_with("scstu+") => scstu(name, settings),
        _ => match name.split_once('=') {
            Some((name, url)) => {
                let (url, pid) =
                    url.split_once('@').map_or((url, None), |(url, pid)| (url, pid.parse().ok()));
                let unit = (pid, url.to_owned());
                let units = [Medium::Null, Medium::File].map(|medium| (medium, unit.clone()));
                Ok(Peer::new(name, units.into(), Vec::new()))
            }
            None => {
                Err(bad(format!("no peer {name}: echo, echo-sendfile, scstu, tgt, istgt, spdk, or NAME=URL")))
            }
        },
    }
}

/// Finds or installs what the peers of these names need: a namespace of one's own has no way to a mirror.
pub fn prepare(names: &[String]) {
    for name in names {
        let missing = match name.as_str() {
            "tgt" => installed("tgtd", "tgt").err(),
            "istgt" => installed("istgt", "istgt").err(),
            _ => None,
        };
        if let Some(error) = missing {
            place::say(&error.to_string());
        }
    }
}

fn echo(name: &str, settings: &Settings<'_>, sendfile: bool) -> io::Result<Peer> {
    let own = std::env::current_exe()?;
    let mut running = Vec::new();
    let mut unit = |file: bool| -> io::Result<Unit> {
        let mut command = place::command(&own, None, settings.processor);
        command.arg("echo");
        if file {
            command.arg("--file").arg(settings.file);
        }
        if sendfile {
            command.arg("--sendfile");
        }
        let (child, address) = place::start(command)?;
        let unit = (Some(child.0.id()), format!("iscsi://{address}/any/0"));
        running.push(child);
        Ok(unit)
    };
    let mut units = vec![(Medium::File, unit(true)?)];
    if !sendfile {
        let null = unit(false)?;
        units.extend([Medium::Null, Medium::Units, Medium::Targets].map(|medium| (medium, null.clone())));
    }
    Ok(Peer::new(name, units, running))
}

/// What `scstu+NAME=VALUE+...` says: attributes of the device with the file, attributes of the target, and
/// how many workers the daemon has.
#[derive(Default)]
struct Words {
    device: String,
    target: String,
    workers: Option<String>,
}

/// The attributes of `vdisk_fileio` that a comparison may set; any other name is one of the target.
const OF_THE_DEVICE: [&str; 5] = ["o_direct", "zero_copy", "write_through", "nv_cache", "blocksize"];

fn words(name: &str) -> io::Result<Words> {
    let mut words = Words::default();
    for word in name.split('+').skip(1) {
        let wrong = || bad(format!("\"{word}\" of peer {name} is not ATTRIBUTE=VALUE"));
        let (attribute, value) = word.split_once('=').ok_or_else(wrong)?;
        let line = format!("{attribute} {value}\n");
        match attribute {
            "workers" => words.workers = Some(value.to_owned()),
            _ if OF_THE_DEVICE.contains(&attribute) => words.device += &line,
            _ => words.target += &line,
        }
    }
    Ok(words)
}

fn scstu(name: &str, settings: &Settings<'_>) -> io::Result<Peer> {
    let words = words(name)?;
    let folder = settings.folder.join(name.replace(['+', '='], "-"));
    let file = settings.file.display();
    let text = format!(
        "HANDLER vdisk_nullio {{\nDEVICE null {{\nsize 1G\n}}\n}}\n\
         HANDLER vdisk_fileio {{\nDEVICE file {{\nfilename {file}\n{}}}\n}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {NAME} {{\n{}\
         HeaderDigest None,CRC32C\nDataDigest None,CRC32C\nLUN 0 null\nLUN 1 file\nenabled 1\n}}\n}}\n",
        words.device, words.target
    );
    let (child, address) = scstud(&folder, &text, &words, settings)?;
    let unit = |lun| (Some(child.0.id()), format!("iscsi://{address}/{NAME}/{lun}"));
    let mut units = vec![(Medium::Null, unit(0)), (Medium::File, unit(1))];
    let mut running = vec![child];
    if settings.needs_many {
        let (child, address) = scstud(&folder.join("many"), &many(&words.target), &words, settings)?;
        let unit = |target| (Some(child.0.id()), format!("iscsi://{address}/{target}/0"));
        units.push((Medium::Units, unit(format!("{NAME}.units"))));
        units.push((Medium::Targets, unit(format!("{NAME}."))));
        running.push(child);
    }
    Ok(Peer::new(name, units, running))
}

/// A configuration with many units in one target, and many targets.
fn many(attributes: &str) -> String {
    let devices: String = (0..MANY).map(|at| format!("DEVICE null{at} {{\nsize 1G\n}}\n")).collect();
    let luns: String = (0..MANY).map(|at| format!("LUN {at} null{at}\n")).collect();
    let target =
        |name: String, luns: &str| format!("TARGET {NAME}.{name} {{\n{attributes}{luns}enabled 1\n}}\n");
    let targets: String = (0..MANY).map(|at| target(at.to_string(), &format!("LUN 0 null{at}\n"))).collect();
    let units = target("units".to_owned(), &luns);
    format!("HANDLER vdisk_nullio {{\n{devices}}}\nTARGET_DRIVER iscsi {{\nenabled 1\n{units}{targets}}}\n")
}

/// Starts the daemon with a configuration.
fn scstud(
    folder: &Path,
    conf: &str,
    words: &Words,
    settings: &Settings<'_>,
) -> io::Result<(Running, String)> {
    let program = place::find("scstud").ok_or_else(|| bad("no scstud beside this program or on the path"))?;
    fs::create_dir_all(folder)?;
    let path = folder.join("scst.conf");
    fs::write(&path, conf)?;
    let mut command = place::command(&program, None, settings.processor);
    command.arg("-c").arg(path).arg("--state-dir").arg(folder.join("state"));
    command.arg("--socket").arg(folder.join("socket"));
    if let Some(workers) = &words.workers {
        command.args(["--workers", workers]);
    }
    command.args(["--portal", "127.0.0.1:0", "--log-level", "error"]);
    place::start(command)
}

/// Finds a program, or installs the package of a distribution that has it, where that is allowed.
fn installed(program: &str, package: &str) -> io::Result<PathBuf> {
    if let Some(found) = place::find(program) {
        return Ok(found);
    }
    place::say(&format!("installing {package}"));
    let tried = if place::find("apt-get").is_some() {
        place::run(&format!("apt-get install -y -qq --no-install-recommends {package}"))
    } else {
        place::run(&format!("dnf install -y -q {package}"))
    };
    place::find(program).ok_or_else(|| {
        let why = tried.err().map_or(String::new(), |error| format!(" ({error})"));
        bad(format!("{program} is not installed, and {package} cannot be installed here{why}"))
    })
}

fn tgt(settings: &Settings<'_>) -> io::Result<Peer> {
    let program = installed("tgtd", "tgt")?;
    let control = installed("tgtadm", "tgt")?;
    let (port, number) = (place::free_port()?, std::process::id() % 30000);
    let address = format!("127.0.0.1:{port}");
    let mut command = place::command(&program, None, settings.processor);
    command.args(["-f", "-C", &number.to_string(), "--iscsi", &format!("portal={address}")]);
    let child = Running(command.stderr(std::process::Stdio::null()).spawn()?);
    place::await_listener(&address)?;
    let (control, file) = (control.display(), settings.file.display());
    for words in [
        format!("--op new --mode target --tid 1 -T {NAME}"),
        "--op new --mode logicalunit --tid 1 --lun 1 --bstype null -b /dev/null".to_owned(),
        format!("--op new --mode logicalunit --tid 1 --lun 2 --bstype rdwr -b {file}"),
        "--op bind --mode target --tid 1 -I ALL".to_owned(),
    ] {
        if let Err(error) = place::run(&format!("{control} -C {number} --lld iscsi {words}")) {
            place::say(&format!("tgt: {error}"));
        }
    }
    let unit = |lun| (Some(child.0.id()), format!("iscsi://{address}/{NAME}/{lun}"));
    Ok(Peer::new("tgt", vec![(Medium::Null, unit(1)), (Medium::File, unit(2))], vec![child]))
}

fn istgt(settings: &Settings<'_>) -> io::Result<Peer> {
    let program = installed("istgt", "istgt")?;
    let (port, control) = (place::free_port()?, place::free_port()?);
    let folder = settings.folder.join("istgt");
    fs::create_dir_all(&folder)?;
    let (shown, file) = (folder.display(), settings.file.display());
    let text = format!(
        "[Global]\nNodeBase \"iqn.2026-01.org.scstu\"\nPidFile {shown}/pid\nAuthFile {shown}/auth\n\
         MediaDirectory {shown}\nLogFacility \"local7\"\nTimeout 30\nNopInInterval 20\n\
         DiscoveryAuthMethod Auto\nMaxSessions 64\nMaxConnections 4\nMaxOutstandingR2T 16\nMaxR2T 32\n\
         FirstBurstLength 262144\nMaxBurstLength 1048576\nMaxRecvDataSegmentLength 262144\n\
         InitialR2T Yes\nImmediateData Yes\n[UnitControl]\nAuthMethod Auto\n\
         Portal UC1 127.0.0.1:{control}\nNetmask 127.0.0.1\n[PortalGroup1]\nPortal DA1 127.0.0.1:{port}\n\
         [InitiatorGroup1]\nInitiatorName \"ALL\"\nNetmask 127.0.0.1\n\
         [LogicalUnit1]\nTargetName bench\nMapping PortalGroup1 InitiatorGroup1\nAuthMethod Auto\n\
         UseDigest Auto\nUnitType Disk\nQueueDepth 64\nLUN0 Storage {file} Auto\n"
    );
    fs::write(folder.join("conf"), text)?;
    fs::write(folder.join("auth"), "")?;
    let mut command = place::command(&program, None, settings.processor);
    command.arg("-D").arg("-c").arg(folder.join("conf"));
    let quiet = std::process::Stdio::null;
    let child = Running(command.stdout(quiet()).stderr(quiet()).spawn()?);
    let address = format!("127.0.0.1:{port}");
    place::await_listener(&address)?;
    let unit = (Some(child.0.id()), format!("iscsi://{address}/iqn.2026-01.org.scstu:bench/0"));
    Ok(Peer::new("istgt", vec![(Medium::File, unit)], vec![child]))
}
