//! The configuration: devices, targets, groups, LUNs, and the sessions that exist. The only truth.
//!
//! Every mutation is a [`Change`]; [`Model::apply`] and [`Model::apply_all`] are the only writers. Whoever
//! shows or takes configuration (the tree, scst.conf, the command line, a C program) makes Changes and reads
//! the objects, and keeps nothing.
//!
//! # How a change is made
//! `apply` makes a list of changes on a copy of the configuration, which shares with it what is the same
//! ([`shared_map`]), opening backstores as it goes; what a
//! change does to units and sessions is kept back as `effect`s. When all are right, the copy becomes the
//! configuration and the effects are done, each session being looked at once. So a list is made as a whole,
//! or not at all, and a reader sees the configuration before it or after it.
//!
//! # Locks
//! One writer at a time (`writer`), which may wait for a backstore. Readers take a snapshot and wait for
//! nobody. `sessions` comes before a unit's state and is never held while something waits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use crate::attr::Access;
pub use crate::attr::Error;
use crate::backstore::buffer::BufferPool;
use crate::backstore::registry::{Handler, Registry};
use crate::iscsi::attachment::CloseReason;
use crate::iscsi::key::Key;
use crate::model::apply::Batch;
pub use crate::model::change::Change;
use crate::model::device::{DeviceConfig, DeviceObject};
use crate::model::device_group::DeviceGroup;
use crate::model::driver::DriverObject;
use crate::model::effect::Effect;
pub use crate::model::object::{COPY_MANAGER, COPY_MANAGER_TARGET, Object, Scope};
use crate::model::root::RootObject;
use crate::model::session::{SessionObject, Sessions};
use crate::model::shared_map::SharedMap;
use crate::model::target::{TargetObject, is_same_map};
pub use crate::model::verb::Verb;
use crate::scsi::alua::{Cause, PortGroupControl};
use crate::scsi::device::{Device, DeviceType, Dispatch, NewDevice, Settings, StateStore, TargetPorts};

mod alua;
mod apply;
pub mod catalogue;
mod change;
pub mod copy_session;
pub mod device;
pub mod device_group;
pub mod driver;
pub mod dynamic;
mod effect;
mod flush;
pub mod fresh;
pub mod handler;
mod handover;
pub mod hold;
mod host;
mod kept;
pub mod latency;
pub(crate) mod lex;
pub mod memory;
pub mod object;
pub mod ordered;
mod processors;
mod rehearsal;
pub mod root;
pub mod session;
pub mod shared_map;
pub mod store;
pub mod target;
mod trace;
mod verb;
pub mod view;

/// Most devices, targets, groups of a target, patterns of a group.
pub const OBJECT_LIMIT: usize = 65536;
/// Longest name of an object in bytes.
pub const NAME_LIMIT: usize = 255;

fn missing(what: &str, name: &str) -> Error {
    Error::new(libc::ENOENT, format!("there is no {what} {name}"))
}

/// SCST answers EINVAL where a verb names what is not there.
fn unknown(what: &str, name: &str) -> Error {
    Error::invalid(format!("there is no {what} {name}"))
}

fn exists(what: &str, name: &str) -> Error {
    let article = if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    Error::new(libc::EEXIST, format!("there is {article} {what} {name} already"))
}

/// Everything configured.
#[derive(Clone)]
pub struct Configuration {
    /// Global settings.
    pub root: RootObject,
    /// Devices by name.
    pub devices: SharedMap<String, Arc<DeviceObject>>,
    /// Attributes and accounts of the driver.
    pub driver: DriverObject,
    /// Targets by name in small letters.
    pub targets: SharedMap<String, Arc<TargetObject>>,
    /// The target of the copy manager.
    pub copy_manager: Arc<TargetObject>,
    /// Device groups by name.
    pub device_groups: SharedMap<String, Arc<DeviceGroup>>,
    /// Relative identifiers of enabled targets, and whose they are.
    identifiers: SharedMap<u16, String>,
    next_tid: u32,
    next_relative: u16,
}

impl Configuration {
    fn new(workers: usize) -> Self {
        let mut copy_manager = TargetObject::new(COPY_MANAGER_TARGET, 0);
        copy_manager.enabled = true;
        Configuration {
            root: RootObject::new(workers),
            devices: SharedMap::default(),
            driver: DriverObject::new(),
            targets: SharedMap::default(),
            copy_manager: Arc::new(copy_manager),
            device_groups: SharedMap::default(),
            identifiers: SharedMap::default(),
            next_tid: 1,
            next_relative: 1,
        }
    }

    /// A target, of either driver, without regard to case.
    pub fn target(&self, name: &str) -> Option<&Arc<TargetObject>> {
        if name == COPY_MANAGER_TARGET { Some(&self.copy_manager) } else { self.targets.get(&key(name)) }
    }

    /// Values of attributes that come and go; none for objects that have none.
    pub fn values(&self, object: &Object) -> Vec<dynamic::Shown> {
        match object {
            Object::Iscsi => self.driver.numbers.shown(&self.driver.accounts),
            Object::Target(name) => {
                self.target(name).map_or(Vec::new(), |target| target.numbers.shown(&target.accounts))
            }
            _ => Vec::new(),
        }
    }

    /// Whether an object has this value of an attribute that comes and goes; of accounts the name counts.
    pub fn has_value(&self, object: &Object, attribute: &str, value: &str) -> bool {
        let word = lex::first_word;
        self.values(object).iter().any(|own| own.name == attribute && word(&own.value) == word(value))
    }
}

/// The configuration and what exists of it.
pub struct Model {
    configuration: RwLock<Arc<Configuration>>,
    writer: Mutex<()>,
    sessions: Mutex<Sessions>,
    portals: RwLock<Vec<SocketAddr>>,
    /// An iSNS server and, by its word, who may log in where.
    registered: RwLock<(String, BTreeMap<String, BTreeSet<String>>)>,
    watcher: OnceLock<Box<dyn Fn() + Send + Sync>>,
    buffers: OnceLock<BufferPool>,
    dispatch: Arc<dyn Dispatch>,
    store: Option<Arc<dyn StateStore>>,
    handlers: Registry,
    /// Random number of this installation.
    installation: u64,
    absent: Arc<Device>,
    well_known: Arc<Device>,
    myself: Weak<Model>,
}

fn pseudo(device_type: DeviceType, dispatch: &Arc<dyn Dispatch>) -> Arc<Device> {
    let new = NewDevice {
        name: String::new(),
        device_type,
        settings: Settings::default(),
        gate: None,
        block_size: 512,
        task_set_type: 1,
    };
    Device::new(new, Arc::clone(dispatch))
}

impl Model {
    /// An empty configuration. What must survive a restart is kept in `state_directory`; without one,
    /// nothing is.
    pub fn new(dispatch: Arc<dyn Dispatch>, state_directory: Option<PathBuf>) -> Result<Arc<Self>, Error> {
        let (store, installation) = match state_directory {
            Some(directory) => {
                let store = store::DirectoryStore::open(&directory)?;
                let installation = store.setup_id()?;
                (Some(Arc::new(store) as Arc<dyn StateStore>), installation)
            }
            None => (None, store::random_id()?),
        };
        Ok(Arc::new_cyclic(|myself| Model {
            configuration: RwLock::new(Arc::new(Configuration::new(dispatch.workers()))),
            writer: Mutex::default(),
            sessions: Mutex::default(),
            portals: RwLock::default(),
            registered: RwLock::default(),
            watcher: OnceLock::new(),
            buffers: OnceLock::new(),
            absent: pseudo(DeviceType::Absent, &dispatch),
            well_known: pseudo(DeviceType::WellKnown, &dispatch),
            dispatch,
            store,
            handlers: Registry::default(),
            installation,
            myself: myself.clone(),
        }))
    }

    /// The configuration as it is now: a snapshot, which stays as it is.
    pub fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.configuration.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The kinds of backstore.
    pub fn handlers(&self) -> &Registry {
        &self.handlers
    }

    /// Where the portals listen, for SendTargets.
    pub fn set_portals(&self, portals: Vec<SocketAddr>) {
        *self.portals.write().unwrap_or_else(PoisonError::into_inner) = portals;
        self.tell_watcher();
    }

    /// Has `look` called after every change, by the thread that made it: it must not block and not change
    /// anything. Only the first one to ask is called.
    pub fn watch(&self, look: impl Fn() + Send + Sync + 'static) {
        let _ = self.watcher.set(Box::new(look));
    }

    /// Says from which pool the data of commands comes, for `sgv`; only the first one counts.
    pub fn set_buffers(&self, buffers: BufferPool) {
        let _ = self.buffers.set(buffers);
    }

    fn tell_watcher(&self) {
        if let Some(look) = self.watcher.get() {
            look();
        }
    }

    /// The initiators that may log in to a target, by the word of an iSNS server. They count only while this
    /// server decides (`iSNSServer` with AccessControl); until it has spoken, nobody may.
    pub fn set_registered_initiators(&self, server: &str, target: &str, initiators: BTreeSet<String>) {
        let mut registered = self.registered.write().unwrap_or_else(PoisonError::into_inner);
        if registered.0 != server {
            *registered = (server.to_owned(), BTreeMap::new());
        }
        registered.1.insert(key(target), initiators);
    }

    /// Where the portals listen.
    pub fn portals(&self) -> Vec<SocketAddr> {
        self.portals.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn sessions_table(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The normal sessions, oldest first.
    pub fn sessions(&self) -> Vec<Arc<SessionObject>> {
        self.sessions_table().all().cloned().collect()
    }

    /// The sessions of a target, by name in the tree.
    pub fn sessions_of(&self, target: &str) -> Vec<Arc<SessionObject>> {
        self.sessions_table().of(&key(target)).cloned().collect()
    }

    /// A session of a target, by its name in the tree.
    pub fn session(&self, target: &str, name: &str) -> Option<Arc<SessionObject>> {
        self.sessions_table().find(&key(target), name).cloned()
    }

    fn session_count(&self, target: &str) -> usize {
        self.sessions_table().of(target).count()
    }

    /// Number of sessions that see this map.
    fn sessions_in(&self, configuration: &Configuration, scope: &Scope) -> usize {
        let Some(target) = configuration.target(&scope.target) else { return 0 };
        let sessions = self.sessions_of(&scope.target);
        sessions.iter().filter(|session| target.map_for(&session.subject).scope == *scope).count()
    }

    /// Carries out one change, whole or not at all, and tells the sessions that it concerns.
    pub fn apply(&self, change: &Change) -> Result<(), Error> {
        self.apply_all(std::slice::from_ref(change)).map_err(|(_, error)| error)
    }

    /// Carries out a list of changes as one: all, or none with the place of the one that is wrong. Sessions
    /// are looked at once, when all are made. May be called from any thread.
    pub fn apply_all(&self, changes: &[Change]) -> Result<(), (usize, Error)> {
        self.apply_because(changes, Cause::Implicit, |_| Ok(()))
    }

    /// The same, if the configuration is as `condition` wants it: in one step, so that nobody changes it in
    /// between.
    pub fn apply_if(
        &self,
        change: &Change,
        condition: impl FnOnce(&Configuration) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let changes = std::slice::from_ref(change);
        self.apply_because(changes, Cause::Implicit, condition).map_err(|(_, error)| error)
    }

    /// A device as it is when nobody has set anything of it.
    pub fn fresh_device(&self, now: &Configuration, handler: &Arc<Handler>, name: &str) -> DeviceConfig {
        let identity = device::identity(now.root.setup_id, self.installation, name, handler);
        DeviceConfig::new(Arc::clone(handler), name, identity)
    }

    fn prepare<'m>(
        &self,
        mut batch: Batch<'m>,
        changes: &[Change],
    ) -> Result<(Batch<'m>, Vec<usize>), (usize, Error)> {
        let mut marks = Vec::with_capacity(changes.len());
        for (at, change) in changes.iter().enumerate() {
            batch.at = at;
            batch.apply(change).map_err(|error| (at, error))?;
            marks.push(batch.effects.len());
        }
        batch.settle_identifiers()?;
        let last = changes.len().saturating_sub(1);
        for list in batch.regrouped().values() {
            crate::scsi::alua::check(list).map_err(|error| (last, Error::invalid(error.to_string())))?;
        }
        Ok((batch, marks))
    }

    /// Does something while nobody changes the configuration. It must not block.
    pub fn undisturbed<T>(&self, work: impl FnOnce(&Configuration) -> T) -> T {
        let _writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        work(&self.configuration())
    }

    fn apply_because(
        &self,
        changes: &[Change],
        cause: Cause,
        condition: impl FnOnce(&Configuration) -> Result<(), Error>,
    ) -> Result<(), (usize, Error)> {
        let made = self.make(changes, cause, condition);
        // Not as the writer: what has begun may take its time, and a medium may hang.
        made.and_then(Later::wait).map_err(|(at, error)| (at, error.ended()))
    }

    fn make(
        &self,
        changes: &[Change],
        cause: Cause,
        condition: impl FnOnce(&Configuration) -> Result<(), Error>,
    ) -> Result<Later, (usize, Error)> {
        let _writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        condition(&self.configuration()).map_err(|error| (0, error))?;
        let (mut batch, marks) = self.prepare(Batch::new(self, &self.configuration()), changes)?;
        let last = changes.len().saturating_sub(1);
        let groups = batch.regrouped();
        let opened = batch.bind_to_groups()?;
        // A path is said to be active when the medium is there, and the medium goes when no path is.
        let (early, late) = groups.into_iter().partition(|(name, _)| !opened.contains(name));
        attempt(&batch.effects)
            .map_err(|(effect, error)| (marks.partition_point(|mark| *mark <= effect).min(last), error))?;
        batch.keep_sizes();
        batch.handover.is_done();
        let next = Arc::new(batch.next.clone());
        let before = {
            let mut configuration = self.configuration.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *configuration, next)
        };
        batch.next.show_groups(early, cause);
        let later = self.hold(&batch, &marks)?;
        self.carry_out(batch);
        self.configuration().show_groups(late, cause);
        self.tell_watcher();
        // Devices that are gone may close their files: last, and under no lock but the writers'.
        drop(before);
        Ok(later)
    }

    fn hold(&self, batch: &Batch<'_>, marks: &[usize]) -> Result<Later, (usize, Error)> {
        let mut later = Later::default();
        for (effect, order) in batch.effects.iter().enumerate() {
            let at = marks.partition_point(|mark| *mark <= effect).min(marks.len().saturating_sub(1));
            if let Effect::Flush(device) = order {
                later.flushing.push((at, Arc::clone(device)));
            }
            let Effect::Hold { holds, devices, limit } = order else { continue };
            let all = || batch.next.devices.values().map(|object| Arc::clone(&object.device)).collect();
            let devices = devices.clone().unwrap_or_else(all);
            let level = holds.add(&devices).map_err(|error| (at, error))?;
            if let Some(limit) = limit {
                later.holding.push((at, holds.clone(), level, *limit));
            }
        }
        Ok(later)
    }

    fn carry_out(&self, batch: Batch<'_>) {
        let mut quiet = Vec::new();
        let mut orders = Vec::new();
        for effect in batch.effects {
            match effect {
                Effect::Silent { scope, lun } => quiet.push((scope, lun)),
                Effect::Workers(count) => self.dispatch.set_workers(count),
                Effect::CloseAll(_)
                | Effect::Close(_)
                | Effect::Values { .. }
                | Effect::Measure(_)
                | Effect::Forget(_) => orders.push(effect),
                effect => effect.carry_out(),
            }
        }
        let sessions = self.sessions_table();
        for session in batch.touched.iter().flat_map(|target| sessions.of(target)) {
            self.refresh(session, &quiet);
        }
        for order in orders {
            self.order(&sessions, &order);
        }
    }

    /// Gives a session the map it has now; one whose map is unchanged notices nothing. The table of sessions
    /// is locked, so that the last one to do this knows the last configuration.
    fn refresh(&self, session: &SessionObject, quiet: &[(Scope, u16)]) {
        let configuration = self.configuration();
        let target = configuration.targets.get(&session.target);
        let map = target.map_or_else(Arc::default, |target| configuration.shown(target, &session.subject));
        let scope = target.map(|target| target.map_for(&session.subject).scope.clone());
        let before = {
            let mut shown = session.shown.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *shown, scope.clone())
        };
        let black_hole = target.map_or(0, |target| target.map_for(&session.subject).black_hole);
        session.live.nexus.set_black_hole(black_hole);
        if is_same_map(&session.live.nexus.map(), &map) {
            return;
        }
        let quiet: Vec<u16> =
            quiet.iter().filter(|(own, _)| Some(own) == scope.as_ref()).map(|(_, lun)| *lun).collect();
        let is_moved = before.is_some() && before != scope;
        session.live.nexus.set_map(map, is_moved, &quiet);
    }

    fn order(&self, sessions: &Sessions, order: &Effect) {
        match order {
            Effect::Close(session) => session.close(CloseReason::Kicked),
            Effect::Forget(session) => latency::clear(session),
            Effect::Measure(on) => {
                for session in sessions.all() {
                    session.live.nexus.measure(*on);
                    if !on {
                        latency::clear(session);
                    }
                }
            }
            Effect::CloseAll(scope) => {
                for session in sessions.of(&key(&scope.target)) {
                    let shown = session.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    if shown.as_ref() == Some(scope) {
                        session.close(CloseReason::TargetGone);
                    }
                }
            }
            Effect::Values { target, values } => {
                sessions.of(&key(target)).for_each(|session| session.live.control.update(values));
            }
            _ => {}
        }
    }

    /// Remembers how a command of the tree ended, for `last_sysfs_mgmt_res`.
    pub fn set_last_result(&self, errno: i32) {
        self.configuration().root.last_result.store(-errno, Ordering::Relaxed);
    }

    /// Flushes every device, for at most `limit`: a backing that hangs is left behind. Errors are logged.
    /// Answers how many devices are not flushed.
    pub fn flush(&self, limit: Duration) -> usize {
        flush::all(self.devices(), limit)
    }

    /// Closes every device's backing, for at most `limit`: nothing is served any more. Answers how many are
    /// not closed.
    pub fn close(&self, limit: Duration) -> usize {
        flush::close(self.devices(), limit)
    }

    fn devices(&self) -> Vec<Arc<Device>> {
        self.configuration().devices.values().map(|object| Arc::clone(&object.device)).collect()
    }

    fn target_ports(&self) -> Arc<dyn TargetPorts> {
        Arc::new(alua::Control(self.myself.clone()))
    }

    fn port_group_control(&self) -> Arc<dyn PortGroupControl> {
        Arc::new(alua::Control(self.myself.clone()))
    }
}

/// A level at which commands are held back and which is to be waited for, with the place of its change.
type Holding = (usize, hold::Holds, Arc<Vec<crate::scsi::claim::Hold>>, std::time::Duration);

/// What is waited for when a list is made, with the place of its change.
#[derive(Default)]
struct Later {
    holding: Vec<Holding>,
    flushing: Vec<(usize, Arc<Device>)>,
}

impl Later {
    fn wait(self) -> Result<(), (usize, Error)> {
        for (at, holds, level, limit) in self.holding {
            holds.wait(&level, limit).map_err(|error| (at, error))?;
        }
        for (at, device) in self.flushing {
            effect::flush(&device).map_err(|error| (at, error))?;
        }
        Ok(())
    }
}

/// Does what may fail; when something does, undoes what was done.
fn attempt(effects: &[Effect]) -> Result<(), (usize, Error)> {
    let mut undo = Vec::new();
    for (at, effect) in effects.iter().enumerate() {
        match effect.attempt() {
            Ok(back) => undo.extend(back),
            Err(error) => {
                for back in undo.iter().rev() {
                    if let Err(error) = back.attempt() {
                        log::error!("a change could not be undone: {error}");
                    }
                }
                return Err((at, error));
            }
        }
    }
    Ok(())
}

fn check_name(what: &str, name: &str) -> Result<(), Error> {
    check_name_within(what, name, NAME_LIMIT)
}

fn check_name_within(what: &str, name: &str, limit: usize) -> Result<(), Error> {
    let fits = !name.is_empty()
        && name.len() <= limit
        && name != "."
        && name != ".."
        && name != "mgmt"
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if fits {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "\"{name}\" is no name of a {what}: 1 to {limit} printable characters without blanks and /, not \
         \".\", \"..\" or \"mgmt\""
    )))
}

fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The rows of the keys that are attributes, for help texts.
pub fn key_attributes() -> impl Iterator<Item = &'static Key> {
    Key::attributes()
}

/// Refuses a write where the row does not let it.
fn check_access(access: Access, name: &str) -> Result<(), Error> {
    if access.is_writable() {
        return Ok(());
    }
    let text = match access {
        Access::CreateOnly => format!("{name} can only be given when the object is made"),
        _ => format!("{name} cannot be written"),
    };
    Err(Error::new(libc::EACCES, text))
}
