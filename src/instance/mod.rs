//! A target as one object: configuration, server, worker pool, kinds of backstore. What a program embeds.
//!
//! An [`Instance`] owns everything; several in one process share nothing but the process and the level of its
//! log (`trace_level`). The C API (`capi`) is a translation of this module and has no way around it.
//!
//! ```
//! use std::time::Duration;
//! use scstu::instance::{Instance, Options};
//!
//! let instance = Instance::new(Options::default())?;
//! instance.add_device("vdisk_ram", "disk1", &[("size", "16M")])?;
//! instance.add_target("iqn.2026-01.org.example:disk1")?;
//! instance.add_lun("iqn.2026-01.org.example:disk1", None, 0, "disk1", false)?;
//! instance.enable_target("iqn.2026-01.org.example:disk1", true)?;
//! instance.start()?;
//! let address = instance.listen("127.0.0.1:0".parse().unwrap())?;
//! assert_ne!(address.port(), 0);
//! instance.stop(Duration::from_secs(1))?;
//! # Ok::<(), scstu::model::Error>(())
//! ```
//!
//! All methods may be called from any thread, also at once. None may be called from a backstore, whose
//! thread others wait for. Errors carry an errno and a text that says what was wrong and what is allowed.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::warn;

use crate::backstore::registry::{Handler, InUse};
use crate::mgmt::isns::client::Timing;
use crate::mgmt::isns::registrar::Registrar;
use crate::mgmt::tree::Tree;
use crate::model::device::check_declared;
use crate::model::store::Ownership;
use crate::model::{Change, Error, Model, Object};
use crate::notice::Notice;
use crate::scsi::device::{Device, Dispatch};
use crate::scsi::task::Task;
use crate::server::pool::Pool;
use crate::server::{Server, ServerOptions};
use crate::sys::thread::on_behalf_of;

pub mod configuration;
pub mod events;
pub mod observation;
pub mod paths;

use events::{EventSink, Events};

/// How an instance is to be.
#[derive(Default)]
pub struct Options {
    /// Threads, memory, time-outs.
    pub server: ServerOptions,
    /// Where reservations, mode pages and the identity of the installation are kept, by no other instance at
    /// the same time; without it they are forgotten, and the identifiers of devices differ from run to run.
    pub state_directory: Option<PathBuf>,
    /// Takes events, on a thread of its own.
    pub events: Option<EventSink>,
    /// Attribute `enabled` of `targets/iscsi` is 0 at first, as in SCST: nothing is served before it is 1.
    /// Otherwise it is 1, and who embeds the instance says with each target whether it is served.
    pub is_disabled: bool,
    /// Time for the devices to be flushed when the instance stops; one that hangs is left behind then.
    /// Without it, 300 seconds.
    pub flush_limit: Option<Duration>,
}

/// How long [`Instance::stop`] waits for the commands of asynchronous backstores, once they are cancelled.
const COME_BACK: Duration = Duration::from_secs(2);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    New,
    Running,
    Stopping,
    Stopped,
}

/// [`Options::flush_limit`] when it is not given.
const FLUSH_LIMIT: Duration = Duration::from_secs(300);
/// The same when backstores have not come back: what hangs there will hardly be flushed.
const FLUSH_LIMIT_WHEN_STUCK: Duration = Duration::from_secs(20);

/// A target in this process.
pub struct Instance {
    id: u64,
    model: Arc<Model>,
    tree: Tree,
    server: Arc<Server>,
    events: Option<Arc<Events>>,
    stage: Mutex<Stage>,
    flush_limit: Duration,
    registrar: Arc<Registrar>,
    /// After all that writes there.
    _state: Option<Ownership>,
}

/// What the units see above them: the pool, and those who want to hear of events.
struct Above {
    pool: Pool,
    events: Option<Arc<Events>>,
}

impl Dispatch for Above {
    fn dispatch(&self, task: Task) {
        self.pool.submit(task);
    }

    fn background(&self, job: Box<dyn FnOnce() + Send>) {
        self.pool.background(job);
    }

    fn notice(&self, notice: &Notice<'_>) {
        if let Some(events) = &self.events {
            events.tell(notice);
        }
    }

    fn workers(&self) -> usize {
        self.pool.workers()
    }

    fn set_workers(&self, count: usize) {
        self.pool.set_workers(count);
    }

    fn rest(&self, time: Duration) {
        self.pool.rest(time);
    }
}

fn failed(what: impl std::fmt::Display, error: &std::io::Error) -> Error {
    Error::new(error.raw_os_error().unwrap_or(libc::EIO), format!("{what}: {error}"))
}

impl Instance {
    /// An instance without configuration that serves nobody yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        on_behalf_of(id, || {
            let state = options.state_directory.as_deref().map(Ownership::take).transpose()?;
            let pool = Pool::new(options.server.workers);
            let events = options.events.map(Events::start).transpose();
            let events = events.map_err(|error| failed("no thread for events", &error))?;
            let above = Above { pool: pool.clone(), events: events.clone() };
            let model = match Model::new(Arc::new(above), options.state_directory) {
                Ok(model) => model,
                Err(error) => {
                    events.inspect(|events| events.end());
                    return Err(error);
                }
            };
            if !options.is_disabled {
                model.apply(&Change::set(Object::Iscsi, "enabled", "1"))?;
            }
            let server = Arc::new(Server::new(options.server, model.clone(), pool));
            model.set_buffers(server.buffers().clone());
            let registrar = Registrar::attach(&model, Timing::default());
            let tree = Tree::new(model.clone());
            let (stage, flush_limit) = (Mutex::new(Stage::New), options.flush_limit.unwrap_or(FLUSH_LIMIT));
            Ok(Instance { id, model, tree, server, events, stage, flush_limit, registrar, _state: state })
        })
    }

    /// Number of the instance in this process, never used again.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The configuration.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The configuration as SCST's tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The threads and sockets.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` with its log lines counted as this instance's.
    fn own<T>(&self, work: impl FnOnce() -> T) -> T {
        on_behalf_of(self.id, work)
    }

    fn running(&self) -> Result<(), Error> {
        match *self.stage() {
            Stage::Running => Ok(()),
            Stage::New => Err(Error::new(libc::ENOTCONN, "the instance is not started")),
            Stage::Stopping | Stage::Stopped => {
                Err(Error::new(libc::ESHUTDOWN, "the instance is stopped; start it again first"))
            }
        }
    }

    /// From now on connections are taken; also after [`Instance::stop`], which has closed the portals: they
    /// are to be opened again. EALREADY when it is started, EBUSY while it is being stopped.
    pub fn start(&self) -> Result<(), Error> {
        let mut stage = self.stage();
        match *stage {
            Stage::New => {}
            Stage::Running => return Err(Error::new(libc::EALREADY, "the instance is started already")),
            Stage::Stopping => {
                let text = "the instance is being stopped; start it again when it has";
                return Err(Error::new(libc::EBUSY, text));
            }
            Stage::Stopped => self.own(|| {
                self.server.start();
                self.registrar.start();
            }),
        }
        *stage = Stage::Running;
        Ok(())
    }

    /// Stops: no new connections; initiators are asked to log out and have `drain` for it, then their
    /// connections are closed and their commands aborted; workers end; devices are flushed. The configuration
    /// stays, and the instance can be started again. Stopping twice, or before the start, is no error.
    ///
    /// ETIMEDOUT when backstores have not answered in time; what they still hold stays valid until they do.
    /// EIO when all have answered, but devices could not be flushed.
    pub fn stop(&self, drain: Duration) -> Result<(), Error> {
        {
            let mut stage = self.stage();
            if matches!(*stage, Stage::Stopping | Stage::Stopped) {
                return Ok(());
            }
            *stage = Stage::Stopping;
        }
        let stopped = self.own(|| self.wind_up(drain));
        *self.stage() = Stage::Stopped;
        stopped
    }

    fn wind_up(&self, drain: Duration) -> Result<(), Error> {
        let devices = self.devices();
        self.registrar.stop();
        let stuck = self.server.stop(drain);
        // Initiators that did not log out have used up `drain`, and their commands were cancelled only now.
        let until = Instant::now() + COME_BACK;
        self.announce();
        let mut outstanding = outstanding(&devices);
        while outstanding > 0 && Instant::now() < until {
            thread::sleep(LOOK_EVERY);
            outstanding = self::outstanding(&devices);
        }
        let hangs = stuck > 0 || outstanding > 0;
        let limit = if hangs { self.flush_limit.min(FLUSH_LIMIT_WHEN_STUCK) } else { self.flush_limit };
        let left = self.model.flush(limit);
        if hangs {
            let held = format!("backstores still hold {stuck} threads and {outstanding} commands");
            let text = format!("{held}; {left} devices are not flushed");
            return Err(Error::new(libc::ETIMEDOUT, text));
        }
        if left > 0 {
            return Err(Error::new(libc::EIO, format!("{left} devices are not flushed; the log says which")));
        }
        Ok(())
    }

    fn devices(&self) -> Vec<Arc<Device>> {
        self.model.configuration().devices.values().map(|object| Arc::clone(&object.device)).collect()
    }

    /// Opens a portal and answers where it listens (port 0: any free port).
    pub fn listen(&self, address: SocketAddr) -> Result<SocketAddr, Error> {
        self.running()?;
        let listened = self.own(|| self.server.listen(address));
        let address = listened.map_err(|error| failed(format_args!("portal {address}"), &error))?;
        self.announce();
        Ok(address)
    }

    /// Takes over a socket that listens already.
    pub fn adopt(&self, listener: TcpListener) -> Result<SocketAddr, Error> {
        self.running()?;
        let adopted = self.own(|| self.server.adopt(listener));
        let address = adopted.map_err(|error| failed("listening socket", &error))?;
        self.announce();
        Ok(address)
    }

    /// Serves a connection that the caller has accepted.
    pub fn serve(&self, socket: TcpStream) -> Result<(), Error> {
        self.running()?;
        self.own(|| self.server.serve(socket)).map_err(|error| failed("connection", &error))
    }

    /// Closes a portal; its connections stay. ENOENT when there is none.
    pub fn close_portal(&self, address: SocketAddr) -> Result<(), Error> {
        if !self.own(|| self.server.close_portal(address)) {
            return Err(Error::new(libc::ENOENT, format!("there is no portal {address}")));
        }
        self.announce();
        Ok(())
    }

    /// Where it listens.
    pub fn portals(&self) -> Vec<SocketAddr> {
        self.server.addresses()
    }

    /// SendTargets tells the portals that there are.
    fn announce(&self) {
        self.model.set_portals(self.server.addresses());
    }

    /// Adds a kind of backstore. EEXIST when there is one of this name, or it declares an attribute that all
    /// devices have; EINVAL when what it declares cannot be.
    pub fn register(&self, handler: Handler) -> Result<(), Error> {
        check_declared(&handler)?;
        self.model.handlers().add(handler).map_err(|error| Error::new(error.errno, error.text))
    }

    /// Loads the handlers of tcmu-runner 1.5 in a directory: each becomes a kind of backstore `tcmu_...`.
    /// Answers their names; what could not be loaded is logged. Their code runs in this process, and stays
    /// until it ends. `in_use` is kept until the instance and every device of them are gone. The errno of a
    /// directory that cannot be read; ENOEXEC when nothing could be loaded.
    pub fn load_tcmu_handlers(&self, directory: &Path, in_use: Option<&InUse>) -> Result<Vec<String>, Error> {
        let loaded = self.own(|| self.model.handlers().load_directory(directory, in_use));
        let (names, errors) = loaded.map_err(|error| Error::new(error.errno, error.text))?;
        self.own(|| errors.iter().for_each(|error| warn!("{}", error.text)));
        match errors.into_iter().next() {
            Some(error) if names.is_empty() => Err(Error::new(error.errno, error.text)),
            None if names.is_empty() => {
                let text = format!("{} has no handlers of tcmu-runner", directory.display());
                Err(Error::new(libc::ENOENT, text))
            }
            _ => Ok(names),
        }
    }

    /// Takes a kind of backstore out again. EBUSY while there is a device of it.
    pub fn unregister(&self, name: &str) -> Result<(), Error> {
        let removed = self.model.undisturbed(|configuration| {
            let mut devices = configuration.devices.iter();
            if let Some((device, _)) = devices.find(|(_, own)| own.handler.name == name) {
                return Err(Error::new(libc::EBUSY, format!("device {device} is of handler {name}")));
            }
            let removed = self.model.handlers().remove(name);
            removed.map_err(|error| Error::new(error.errno, error.text))
        });
        // What the program releases then is released under no lock.
        removed.map(drop)
    }
}

/// Commands that backstores have and have not completed.
fn outstanding(devices: &[Arc<Device>]) -> usize {
    devices.iter().filter_map(|device| device.gate()).map(|gate| gate.outstanding()).sum()
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.stop(Duration::ZERO);
        if let Some(events) = &self.events {
            events.end();
        }
    }
}
