//! The daemon: serves what a configuration file names, or a RAM disk without one.
//!
//! Exit codes: 0 ended as asked, 1 wrong usage, 2 a bad configuration or a file that cannot be opened, 3 a
//! portal, control socket or mount that cannot be opened, 4 anything else, 5 ended
//! before every disk was flushed.

#[cfg(feature = "fuse")]
#[path = "../mgmt/fuse/mod.rs"]
mod fuse;
#[path = "scstud/management.rs"]
mod management;
#[path = "scstud/notify.rs"]
mod notify;

use std::fs::DirBuilder;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::{LevelFilter, error, info, warn};
use management::Management;
use notify::notify;
use scstu::backstore::tcmu;
use scstu::instance::{Instance, Options as InstanceOptions};
use scstu::mgmt::conf::{self, Mode};
use scstu::mgmt::control::local::Local;
use scstu::mgmt::metrics::{self, endpoint::Endpoint};
use scstu::model::store::random_id;
use scstu::model::{Change, Error, Model, Object};
use scstu::server::{self, Server, ServerOptions};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use simplelog::{Config, ConfigBuilder, WriteLogger};

/// Where a daemon without `--portal` and without a configuration listens.
const DEFAULT_PORTAL: &str = "127.0.0.1:3260";
/// Where a daemon with a configuration listens unless told otherwise.
const ALL_PORTALS: [&str; 2] = ["0.0.0.0:3260", "[::]:3260"];
/// The target and the size of the disk of a daemon without a configuration.
const DEFAULT_TARGET: &str = "iqn.2026-01.org.scstu:ram";
const DEFAULT_SIZE: &str = "1G";
/// Time that initiators have to log out when the daemon stops.
const DRAIN: Duration = Duration::from_secs(3);
/// Time that the disks have to take what was written, when the daemon stops.
const FLUSH: Duration = Duration::from_secs(20);
/// Time that the backings have to be closed after that.
const CLOSE: Duration = Duration::from_secs(5);
/// Exit code of a daemon that has not flushed every disk.
const NOT_FLUSHED: u8 = 5;

/// What options take.
const PORTAL: &str = "ADDRESS:PORT, an address of IPv6 in brackets";
const LEVELS: &str = "error, warn, info, debug or trace";

const HELP: &str = "\
Usage: scstud [OPTION]...
Serves disks over iSCSI, as an ordinary user. Without options: a RAM disk of 1 GiB on 127.0.0.1:3260.

  -c, --config FILE     serve what this scst.conf names
      --check           read the configuration, say what is wrong with it, and exit
      --portal ADDRESS  listen on ADDRESS:PORT ([ADDRESS]:PORT for IPv6); may be given several times. Without
                        it: port 3260, of all addresses with a configuration, else of 127.0.0.1
      --state-dir DIR   keep reservations, mode pages and the identity of the installation there; otherwise,
                        with a configuration, in /var/lib/scstu, or in scstu in XDG_STATE_HOME or
                        ~/.local/state
      --workers N       worker threads
      --metrics ADDRESS figures for Prometheus at http://ADDRESS:PORT/metrics; times are measured then
      --socket PATH     control socket for scstuadm; otherwise scstu.sock in XDG_RUNTIME_DIR or /run/scstu
      --mount DIR       show SCST's tree as files there
  -l, --tcmu-handlers DIR
                        load the handlers of tcmu-runner in DIR; may be given several times. Without it
                        those in the distribution's directory are known, and loaded when a device is made of
                        them; with \"none\" there are none
      --log-level L     error, warn, info, debug or trace
  -h, --help            this text
  -V, --version         the version

SIGTERM and SIGINT stop it, a second one at once. SIGHUP reads the configuration again. SIGUSR1 writes its
state to the log.
";

struct Options {
    config: Option<PathBuf>,
    portals: Vec<SocketAddr>,
    state: Option<PathBuf>,
    workers: Option<usize>,
    metrics: Option<SocketAddr>,
    socket: Option<PathBuf>,
    mount: Option<PathBuf>,
    handlers: Vec<PathBuf>,
    level: LevelFilter,
    only_check: bool,
}

/// Why the daemon ends badly.
struct Failure {
    code: u8,
    text: String,
}

fn failure(code: u8, text: impl Into<String>) -> Failure {
    Failure { code, text: text.into() }
}

/// Tells whoever started it. That nobody listens any more ends nothing.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn main() -> ExitCode {
    #[cfg(feature = "fuse")]
    if std::env::args_os().nth(1).is_some_and(|first| first == fuse::mountpoint::GUARD_OPTION) {
        fuse::mountpoint::guard(Path::new(&std::env::args_os().nth(2).unwrap_or_default()));
        return ExitCode::SUCCESS;
    }
    match options().and_then(|options| options.map_or(Ok(()), run)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "scstud: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn usage(error: impl std::fmt::Display) -> Failure {
    failure(1, format!("{error}; --help tells the options"))
}

/// The value of an option, which is to be `what`.
fn value<T: FromStr>(parser: &mut lexopt::Parser, option: &str, what: &str) -> Result<T, Failure> {
    let given = parser.value().map_err(usage)?;
    let parsed = given.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| usage(format!("--{option}: {given:?} is not {what}")))
}

/// The command line; `None` when it only asked for a text.
fn options() -> Result<Option<Options>, Failure> {
    use lexopt::prelude::*;
    let mut options = Options {
        config: None,
        portals: Vec::new(),
        state: None,
        workers: None,
        metrics: None,
        socket: None,
        mount: None,
        handlers: Vec::new(),
        level: LevelFilter::Info,
        only_check: false,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Short('c') | Long("config") => options.config = Some(parser.value().map_err(usage)?.into()),
            Long("check") => options.only_check = true,
            Long("portal") => options.portals.push(value(&mut parser, "portal", PORTAL)?),
            Long("state-dir") => options.state = Some(parser.value().map_err(usage)?.into()),
            Long("workers") => options.workers = Some(value(&mut parser, "workers", "a number")?),
            Long("metrics") => options.metrics = Some(value(&mut parser, "metrics", PORTAL)?),
            Long("socket") => options.socket = Some(parser.value().map_err(usage)?.into()),
            Long("mount") => options.mount = Some(parser.value().map_err(usage)?.into()),
            Short('l') | Long("tcmu-handlers") => {
                options.handlers.push(parser.value().map_err(usage)?.into());
            }
            Long("log-level") => options.level = value(&mut parser, "log-level", LEVELS)?,
            Short('h') | Long("help") => {
                say(HELP.trim_end());
                return Ok(None);
            }
            Short('V') | Long("version") => {
                say(concat!("scstud ", env!("CARGO_PKG_VERSION")));
                return Ok(None);
            }
            other => return Err(usage(other.unexpected())),
        }
    }
    if options.only_check && options.config.is_none() {
        return Err(failure(1, "--check: which file? -c FILE names it; --help tells the options"));
    }
    Ok(Some(options))
}

fn log_config() -> Config {
    let mut builder = ConfigBuilder::new();
    builder.set_time_format_rfc3339().set_target_level(LevelFilter::Error).set_thread_level(LevelFilter::Off);
    builder.build()
}

/// Where the state of a daemon with a configuration is kept: /var/lib/scstu for root, else below the user's
/// own state directory.
fn state_directory(options: &Options) -> Option<PathBuf> {
    if options.state.is_some() || options.config.is_none() {
        return options.state.clone();
    }
    let system = PathBuf::from("/var/lib/scstu");
    if std::fs::metadata(&system).is_ok_and(|metadata| !metadata.permissions().readonly())
        && std::fs::File::open(&system).is_ok()
        && scstu::model::store::DirectoryStore::open(&system).is_ok_and(|store| store.setup_id().is_ok())
    {
        return Some(system);
    }
    let home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
    home.map(|directory| directory.join("scstu"))
}

/// A state directory for a check, which keeps nothing: the daemon that runs has its own for itself.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let number = random_id().map_err(|error| failure(4, error.text))?;
        let path = std::env::temp_dir().join(format!("scstud-check-{number:016x}"));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|error| failure(4, format!("{}: {error}", path.display())))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read_config(path: &Path) -> Result<String, Failure> {
    conf::read_file(path).map_err(|error| failure(2, format!("{}:{error}", path.display())))
}

/// Loads the handlers of tcmu-runner that were asked for; else says where one that is named may be found.
fn find_handlers(model: &Model, options: &Options) -> Result<(), Failure> {
    if options.handlers.is_empty() {
        model.handlers().look_in(&tcmu::directories());
    }
    for directory in options.handlers.iter().filter(|directory| *directory != Path::new("none")) {
        let loaded = model.handlers().load_directory(directory, None);
        let (names, errors) = loaded.map_err(|error| failure(2, error.text))?;
        errors.iter().for_each(|error| warn!("{}", error.text));
        info!("handlers in {}: {}", directory.display(), names.join(", "));
    }
    Ok(())
}

fn configure(instance: &Instance, options: &Options) -> Result<(), Failure> {
    if let Some(path) = &options.config {
        let text = read_config(path)?;
        let loaded = if options.only_check {
            instance.plan(&text, Mode::Merge)
        } else {
            instance.load(&text, Mode::Merge)
        };
        let plan = loaded.map_err(|error| failure(2, format!("{}:{}", path.display(), error.text)))?;
        plan.notes.iter().for_each(|note| warn!("{}: {note}", path.display()));
        return Ok(());
    }
    serve_a_ram_disk(instance).map_err(|error| failure(4, error.text))
}

fn serve_a_ram_disk(instance: &Instance) -> Result<(), Error> {
    instance.add_device("vdisk_ram", "ram", &[("size", DEFAULT_SIZE)])?;
    instance.add_target(DEFAULT_TARGET)?;
    instance.add_lun(DEFAULT_TARGET, None, 0, "ram", false)?;
    instance.enable_target(DEFAULT_TARGET, true)?;
    instance.apply(&Change::set(Object::Iscsi, "enabled", "1"))
}

fn instance(options: &Options, state_directory: Option<PathBuf>) -> Result<Instance, Failure> {
    let mut server = ServerOptions::default();
    if let Some(workers) = options.workers {
        server.workers = workers;
    }
    let made = Instance::new(InstanceOptions {
        server,
        state_directory,
        events: None,
        is_disabled: true,
        flush_limit: Some(FLUSH),
    });
    made.map_err(|error| failure(2, format!("{}; --state-dir names another", error.text)))
}

fn run(mut options: Options) -> Result<(), Failure> {
    let _ = WriteLogger::init(LevelFilter::Trace, log_config(), std::io::stderr());
    log::set_max_level(options.level);
    // Orders to a daemon that is not ready yet wait; what ends it does so at once, whatever it waits for.
    let no_signals = |error: std::io::Error| failure(4, format!("signals: {error}"));
    let mut signals = Signals::new([SIGHUP, SIGUSR1]).map_err(no_signals)?;
    let scratch = if options.only_check { Some(Scratch::new()?) } else { None };
    if let Some(scratch) = &scratch {
        options.state = Some(scratch.0.clone());
    }
    let state = state_directory(&options);
    if options.config.is_some() && state.is_none() {
        warn!(
            "there is no state directory: reservations, mode pages and the identifiers of devices are \
             forgotten when this daemon ends; --state-dir names one"
        );
    }
    let instance = Arc::new(instance(&options, state)?);
    find_handlers(instance.model(), &options)?;
    configure(&instance, &options)?;
    if options.only_check {
        say("the configuration is good");
        return Ok(());
    }
    for signal in [SIGTERM, SIGINT] {
        signals.add_signal(signal).map_err(no_signals)?;
    }
    // Who is told where it listens may also ask it.
    let management = manage(&instance, &options)?;
    instance.start().map_err(|error| failure(4, error.text))?;
    listen(&instance, &options)?;
    let _metrics = options.metrics.map(|address| serve_metrics(instance.server(), address)).transpose()?;
    notify("READY=1");
    let options = Arc::new(options);
    for signal in signals.forever() {
        match signal {
            SIGHUP => reload(&instance, &options),
            SIGUSR1 => dump(&instance),
            _ => break,
        }
    }
    force_on_second_signal(signals);
    drop(management);
    notify("STOPPING=1");
    info!("stopping");
    instance.stop(DRAIN).map_err(|error| failure(NOT_FLUSHED, error.text))?;
    if instance.model().close(CLOSE) == 0 {
        tcmu::destroy();
    }
    Ok(())
}

fn manage(instance: &Instance, options: &Options) -> Result<Management, Failure> {
    let local = Local::new(instance.tree().clone(), Arc::clone(instance.server()));
    management::open(local, options.socket.as_deref(), options.mount.as_deref())
        .map_err(|text| failure(3, text))
}

fn serve_metrics(server: &Arc<Server>, address: SocketAddr) -> Result<Endpoint, Failure> {
    server.totals().measure();
    let own = Arc::clone(server);
    Endpoint::open(address, move || metrics::render(&own))
        .map_err(|error| failure(3, format!("metrics at {address}: {error}")))
}

fn force_on_second_signal(mut signals: Signals) {
    let wait = move || {
        for signal in signals.forever() {
            if matches!(signal, SIGTERM | SIGINT) {
                error!("ended by a second signal; nothing was flushed");
                std::process::exit(i32::from(NOT_FLUSHED));
            }
        }
    };
    let _ = std::thread::Builder::new().name("scstu-signals".into()).spawn(wait);
}

fn listen(instance: &Instance, options: &Options) -> Result<(), Failure> {
    let mut portals = options.portals.clone();
    if portals.is_empty() {
        let defaults: &[&str] = if options.config.is_some() { &ALL_PORTALS } else { &[DEFAULT_PORTAL] };
        portals.extend(defaults.iter().filter_map(|text| text.parse::<SocketAddr>().ok()));
    }
    let mut opened = Vec::new();
    for portal in portals {
        match instance.listen(portal) {
            Ok(address) => opened.push(address),
            // A machine without IPv6 still serves IPv4.
            Err(error) if options.portals.is_empty() && portal.is_ipv6() => {
                warn!("{}", error.text);
            }
            Err(error) => return Err(failure(3, format!("{}{}", error.text, what_to_do(error.errno)))),
        }
    }
    for address in &opened {
        say(&format!("listening on {address}"));
    }
    if options.config.is_none() {
        let address = opened.first().map_or(String::new(), SocketAddr::to_string);
        say(&format!("a RAM disk of 1 GiB is LUN 0 of {DEFAULT_TARGET}; to reach it, for instance:"));
        say(&format!("  iscsi-inq iscsi://{address}/{DEFAULT_TARGET}/0"));
        say(&format!("  qemu-img info iscsi://{address}/{DEFAULT_TARGET}/0"));
        say(&format!("  iscsiadm -m discovery -t sendtargets -p {address}"));
    }
    Ok(())
}

/// What to do about a portal that does not open.
fn what_to_do(errno: i32) -> &'static str {
    match std::io::Error::from_raw_os_error(errno).kind() {
        ErrorKind::AddrInUse => ": another program listens there; --portal names another place",
        ErrorKind::PermissionDenied => ": ports below 1024 are not for every user; --portal names another",
        ErrorKind::AddrNotAvailable => ": this machine does not have that address",
        _ => "",
    }
}

/// Reads the configuration again, on a thread of its own: a file that hangs must not keep signals waiting.
fn reload(instance: &Arc<Instance>, options: &Arc<Options>) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let (instance, options) = (Arc::clone(instance), Arc::clone(options));
    let work = move || {
        let Some(path) = &options.config else {
            return warn!("there is no configuration to read again");
        };
        let Ok(_alone) = ONE_AT_A_TIME.try_lock() else {
            return warn!("{} is being read already", path.display());
        };
        notify("RELOADING=1");
        let read = read_config(path).map(|text| instance.load(&text, Mode::Merge));
        notify("READY=1");
        match read {
            Err(failure) => error!("{}; nothing was changed", failure.text),
            Ok(Ok(plan)) => {
                plan.notes.iter().for_each(|note| warn!("{}: {note}", path.display()));
                plan.steps.iter().for_each(|step| info!("{}", step.text));
                info!("{} read again: {} changes", path.display(), plan.steps.len());
            }
            Ok(Err(error)) => error!("{}:{}; nothing was changed", path.display(), error.text),
        }
    };
    if let Err(error) = std::thread::Builder::new().name("scstu-reload".into()).spawn(work) {
        error!("no thread to read the configuration again: {error}");
    }
}

/// The state of the daemon, to the log. It was asked for, so it is there also where only warnings are.
fn dump(instance: &Instance) {
    for line in server::dump::lines(instance.server()) {
        warn!("{line}");
    }
    for (name, object) in &instance.model().configuration().devices {
        warn!("device {name}: {} tasks", object.device.tasks());
    }
}
