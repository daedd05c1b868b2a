//! The targets of a comparison: how each is started, and under which names its units are reached.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::place::{self, Running};
use crate::session::bad;

const NAME: &str = "iqn.2026-01.org.scstu:bench";

/// Where the load of a cell goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Medium {
    /// Nothing is stored.
    Null,
    /// A file in the page cache.
    File,
}

/// A target that runs.
pub struct Peer {
    pub name: String,
    /// Process and URL by medium.
    null: Option<(Option<u32>, String)>,
    file: Option<(Option<u32>, String)>,
    _running: Vec<Running>,
}

impl Peer {
    /// Process and URL that serve a medium.
    pub fn unit(&self, medium: Medium) -> Option<&(Option<u32>, String)> {
        match medium {
            Medium::Null => self.null.as_ref(),
            Medium::File => self.file.as_ref(),
        }
    }
}

/// What peers are started with.
pub struct Settings<'a> {
    pub folder: &'a Path,
    pub file: &'a Path,
    pub processor: Option<&'a str>,
}

/// Starts the peer of this name: `echo`, `echo-sendfile`, `scstu`, `scstu+ATTRIBUTE=VALUE,...`, `tgt`,
/// `istgt`, or `NAME=URL` for one that runs already, `@PID` behind it for its process.
pub fn start(name: &str, settings: &Settings<'_>) -> io::Result<Peer> {
    match name {
        "echo" => echo(name, settings, false),
        "echo-sendfile" => echo(name, settings, true),
        "tgt" => tgt(settings),
        "istgt" => istgt(settings),
        _ if name == "scstu" || name.starts_with("scstu+") => scstu(name, settings),
        _ => match name.split_once('=') {
            Some((name, url)) => {
                let (url, pid) =
                    url.split_once('@').map_or((url, None), |(url, pid)| (url, pid.parse().ok()));
                let unit = Some((pid, url.to_owned()));
                Ok(Peer { name: name.to_owned(), null: unit.clone(), file: unit, _running: Vec::new() })
            }
            None => Err(bad(format!("no peer {name}: echo, echo-sendfile, scstu, tgt, istgt, or NAME=URL"))),
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
    let mut unit = |file: bool| -> io::Result<Option<(Option<u32>, String)>> {
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
        Ok(Some(unit))
    };
    let (null, file) = (if sendfile { None } else { unit(false)? }, unit(true)?);
    Ok(Peer { name: name.to_owned(), null, file, _running: running })
}

fn scstu(name: &str, settings: &Settings<'_>) -> io::Result<Peer> {
    let program = place::find("scstud").ok_or_else(|| bad("no scstud beside this program or on the path"))?;
    let attributes = name.strip_prefix("scstu+").unwrap_or("").replace('=', " ").replace(',', "\n");
    let folder = settings.folder.join(name.replace(['+', '=', ','], "-"));
    fs::create_dir_all(&folder)?;
    let conf = folder.join("scst.conf");
    fs::write(
        &conf,
        format!(
            "HANDLER vdisk_nullio {{\nDEVICE null {{\nsize 1G\n}}\n}}\n\
             HANDLER vdisk_fileio {{\nDEVICE file {{\nfilename {}\n}}\n}}\n\
             TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {NAME} {{\n{attributes}\n\
             HeaderDigest None,CRC32C\nDataDigest None,CRC32C\nLUN 0 null\nLUN 1 file\nenabled 1\n}}\n}}\n",
            settings.file.display()
        ),
    )?;
    let mut command = place::command(&program, None, settings.processor);
    command.arg("-c").arg(conf).arg("--state-dir").arg(folder.join("state"));
    let (child, address) = place::start({
        command.args(["--portal", "127.0.0.1:0", "--log-level", "warn"]);
        command
    })?;
    let unit = |lun| Some((Some(child.0.id()), format!("iscsi://{address}/{NAME}/{lun}")));
    Ok(Peer { name: name.to_owned(), null: unit(0), file: unit(1), _running: vec![child] })
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
    let unit = |lun| Some((Some(child.0.id()), format!("iscsi://{address}/{NAME}/{lun}")));
    Ok(Peer { name: "tgt".to_owned(), null: unit(1), file: unit(2), _running: vec![child] })
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
         InitialR2T No\nImmediateData Yes\n[UnitControl]\nAuthMethod Auto\n\
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
    let unit = Some((Some(child.0.id()), format!("iscsi://{address}/iqn.2026-01.org.scstu:bench/0")));
    Ok(Peer { name: "istgt".to_owned(), null: None, file: unit, _running: vec![child] })
}
