//! The configuration: devices, targets, groups, LUNs, and the nexuses that exist. The only truth.
//!
//! Every mutation is a [`Change`]; [`Model::apply`] is the only writer. Whoever shows or takes configuration
//! (scst.conf, the command line, a C program) makes Changes and reads the objects, and keeps nothing.
//!
//! Lock order: the model before a unit's state. Opening a backstore happens before the lock is taken.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::attr::Access;
use crate::backstore::registry::Registry;
use crate::iscsi::account::{Account, Secret};
use crate::iscsi::key::Key;
use crate::model::device::DeviceObject;
use crate::model::target::{Group, LunObject, TargetObject};
use crate::names::{IscsiName, Pattern};
use crate::scsi::device::{Device, DeviceType, Dispatch, NewDevice, Settings, StateStore};
use crate::scsi::lun::MAX_LUN;
use crate::scsi::nexus::Nexus;

pub mod device;
mod host;
pub mod store;
pub mod target;

/// Most devices, targets, groups of a target, patterns of a group, accounts of a scope.
pub const OBJECT_LIMIT: usize = 65536;
/// Longest name of an object in bytes.
pub const NAME_LIMIT: usize = 223;

/// An administrator's request that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// ENOENT no such object, EEXIST there is one, EINVAL bad value, EBUSY in use, EACCES not writable.
    pub errno: i32,
    /// What was wrong, and what is allowed.
    pub text: String,
}

impl Error {
    /// An error with its text.
    pub fn new(errno: i32, text: impl Into<String>) -> Self {
        Error { errno, text: text.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(libc::EINVAL, text)
}

fn missing(what: &str, name: &str) -> Error {
    Error::new(libc::ENOENT, format!("there is no {what} {name}"))
}

fn exists(what: &str, name: &str) -> Error {
    Error::new(libc::EEXIST, format!("there is a {what} {name} already"))
}

/// A mutation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new device of a handler, with its parameters.
    AddDevice {
        /// Handler.
        handler: String,
        /// Name of the device.
        name: String,
        /// Parameters and attributes, in order.
        parameters: Vec<(String, String)>,
    },
    /// A device goes; it must not be mapped.
    RemoveDevice(String),
    /// An attribute of a device.
    SetDevice(String, String, String),
    /// An attribute of the iSCSI driver.
    SetDriver(String, String),
    /// A new target.
    AddTarget(String),
    /// A target goes.
    RemoveTarget(String),
    /// An attribute of a target.
    SetTarget(String, String, String),
    /// A new group of initiators of a target.
    AddGroup(String, String),
    /// A group goes.
    RemoveGroup(String, String),
    /// An initiator, as a pattern, of a group.
    AddInitiator(String, String, String),
    /// A LUN of a target, or of one of its groups.
    AddLun {
        /// Target.
        target: String,
        /// Group; the target's own LUNs without.
        group: Option<String>,
        /// Number.
        lun: u16,
        /// Device.
        device: String,
        /// Mapped read-only.
        read_only: bool,
    },
    /// A LUN goes.
    RemoveLun {
        /// Target.
        target: String,
        /// Group; the target's own LUNs without.
        group: Option<String>,
        /// Number.
        lun: u16,
    },
}

/// Everything configured.
pub struct Configuration {
    /// Devices by name.
    pub devices: BTreeMap<String, DeviceObject>,
    /// Targets by name, lower case.
    pub targets: BTreeMap<String, TargetObject>,
    /// Attributes and accounts of the driver: discovery sessions.
    pub driver: TargetObject,
    nexuses: HashMap<u64, Arc<Nexus>>,
    portals: Vec<std::net::SocketAddr>,
}

/// The configuration and what exists of it.
pub struct Model {
    configuration: RwLock<Configuration>,
    dispatch: Arc<dyn Dispatch>,
    store: Option<Arc<dyn StateStore>>,
    handlers: Registry,
    setup_id: u64,
    absent: Arc<Device>,
    well_known: Arc<Device>,
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
        let (store, setup_id) = match state_directory {
            Some(directory) => {
                let store = store::DirectoryStore::open(&directory)?;
                let setup_id = store.setup_id()?;
                (Some(Arc::new(store) as Arc<dyn StateStore>), setup_id)
            }
            None => (None, store::random_id()?),
        };
        Ok(Arc::new(Model {
            configuration: RwLock::new(Configuration {
                devices: BTreeMap::new(),
                targets: BTreeMap::new(),
                driver: TargetObject::new(String::new(), 0),
                nexuses: HashMap::new(),
                portals: Vec::new(),
            }),
            absent: pseudo(DeviceType::Absent, &dispatch),
            well_known: pseudo(DeviceType::WellKnown, &dispatch),
            dispatch,
            store,
            handlers: Registry::default(),
            setup_id,
        }))
    }

    /// The configuration, to read.
    pub fn configuration(&self) -> RwLockReadGuard<'_, Configuration> {
        self.configuration.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> RwLockWriteGuard<'_, Configuration> {
        self.configuration.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kinds of backstore.
    pub fn handlers(&self) -> &Registry {
        &self.handlers
    }

    /// Where the portals listen, for SendTargets.
    pub fn set_portals(&self, portals: Vec<std::net::SocketAddr>) {
        self.writing().portals = portals;
    }

    /// Carries out one change, whole or not at all, and tells the nexuses that it concerns.
    pub fn apply(&self, change: &Change) -> Result<(), Error> {
        if let Change::AddDevice { handler, name, parameters } = change {
            return self.add_device(handler, name, parameters);
        }
        if let Change::SetDevice(name, attribute, value) = change {
            return self.set_device(name, attribute, value);
        }
        let removed;
        {
            let mut configuration = self.writing();
            removed = configuration.apply(change)?;
            configuration.refresh_nexuses();
        }
        // A device may close its files: not under the lock.
        drop(removed);
        Ok(())
    }

    fn add_device(&self, handler: &str, name: &str, parameters: &[(String, String)]) -> Result<(), Error> {
        check_name("device", name)?;
        let row = self.handlers.find(handler).ok_or_else(|| {
            let known: Vec<String> = self.handlers.all().iter().map(|row| row.name.to_string()).collect();
            Error::new(libc::ENOENT, format!("there is no handler {handler}; there are {}", known.join(", ")))
        })?;
        if self.configuration().devices.contains_key(name) {
            return Err(exists("device", name));
        }
        let identity = device::default_identity(self.setup_id, name);
        let object =
            DeviceObject::open(row, name, parameters, identity, (&self.dispatch, self.store.as_ref()))?;
        let mut configuration = self.writing();
        if configuration.devices.contains_key(name) {
            return Err(exists("device", name));
        }
        if configuration.devices.len() >= OBJECT_LIMIT {
            return Err(Error::new(libc::ENOSPC, format!("there are {OBJECT_LIMIT} devices already")));
        }
        configuration.devices.insert(name.to_owned(), object);
        Ok(())
    }

    /// Resizing and opening may wait for a medium, so the lock is not held for them.
    fn set_device(&self, name: &str, attribute: &str, value: &str) -> Result<(), Error> {
        let mut object = {
            let configuration = self.configuration();
            configuration.devices.get(name).ok_or_else(|| missing("device", name))?.clone()
        };
        object.set(attribute, value)?;
        self.writing().devices.insert(name.to_owned(), object);
        Ok(())
    }

    /// Flushes every device, once; errors are logged.
    pub fn flush(&self) {
        let devices: Vec<Arc<Device>> =
            self.configuration().devices.values().map(|object| Arc::clone(&object.device)).collect();
        for device in devices {
            if let Some(Err(error)) = device.gate().map(|gate| gate.flush()) {
                log::error!("device {}: flush failed: {error}", device.name());
            }
        }
    }
}

fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let fits = !name.is_empty()
        && name.len() <= NAME_LIMIT
        && name != "."
        && name != ".."
        && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if fits {
        return Ok(());
    }
    Err(invalid(format!(
        "\"{name}\" is no name of a {what}: 1 to {NAME_LIMIT} printable characters without blanks and /"
    )))
}

/// What a change took out of the configuration.
type Removed = Option<DeviceObject>;

impl Configuration {
    fn apply(&mut self, change: &Change) -> Result<Removed, Error> {
        match change {
            Change::AddDevice { .. } | Change::SetDevice(..) => {}
            Change::RemoveDevice(name) => return self.remove_device(name).map(Some),
            Change::SetDriver(name, value) => self.driver.set(name, value, true)?,
            Change::AddTarget(name) => self.add_target(name)?,
            Change::RemoveTarget(name) => {
                self.targets.remove(&key(name)).ok_or_else(|| missing("target", name))?;
            }
            Change::SetTarget(target, name, value) => self.target(target)?.set(name, value, false)?,
            Change::AddGroup(target, group) => {
                check_name("group", group)?;
                let target = self.target(target)?;
                if target.groups.contains_key(group) {
                    return Err(exists("group", group));
                }
                target.groups.insert(group.clone(), Group::default());
            }
            Change::RemoveGroup(target, group) => {
                self.target(target)?.groups.remove(group).ok_or_else(|| missing("group", group))?;
            }
            Change::AddInitiator(target, group, pattern) => {
                let parsed = Pattern::parse(pattern)
                    .map_err(|error| invalid(format!("initiator \"{pattern}\": {error:?}")))?;
                let group = self.group(target, group)?;
                if group.initiators.iter().any(|known| known.as_str() == parsed.as_str()) {
                    return Err(exists("initiator", pattern));
                }
                group.initiators.push(parsed);
            }
            Change::AddLun { target, group, lun, device, read_only } => {
                self.add_lun(target, group.as_deref(), *lun, device, *read_only)?;
            }
            Change::RemoveLun { target, group, lun } => {
                let luns = self.luns(target, group.as_deref())?;
                luns.remove(lun).ok_or_else(|| missing("LUN", &lun.to_string()))?;
            }
        }
        Ok(None)
    }

    fn remove_device(&mut self, name: &str) -> Result<DeviceObject, Error> {
        let is_mapped = self.targets.iter().find(|(_, target)| target.maps(name));
        if let Some((target, _)) = is_mapped {
            return Err(Error::new(libc::EBUSY, format!("device {name} is mapped by target {target}")));
        }
        self.devices.remove(name).ok_or_else(|| missing("device", name))
    }

    fn add_target(&mut self, name: &str) -> Result<(), Error> {
        let parsed = IscsiName::parse_any_form(name.as_bytes())
            .map_err(|error| invalid(format!("\"{name}\" is no target name: {error:?}")))?;
        if self.targets.contains_key(&key(name)) {
            return Err(exists("target", name));
        }
        let used: Vec<u16> = self.targets.values().map(|target| target.relative_identifier).collect();
        let free = (1..=u16::MAX).find(|number| !used.contains(number));
        let free = free.ok_or_else(|| Error::new(libc::ENOSPC, "there are 65535 targets already"))?;
        self.targets.insert(key(name), TargetObject::new(parsed.as_str().to_owned(), free));
        Ok(())
    }

    fn target(&mut self, name: &str) -> Result<&mut TargetObject, Error> {
        self.targets.get_mut(&key(name)).ok_or_else(|| missing("target", name))
    }

    fn group(&mut self, target: &str, group: &str) -> Result<&mut Group, Error> {
        self.target(target)?.groups.get_mut(group).ok_or_else(|| missing("group", group))
    }

    fn luns(&mut self, target: &str, group: Option<&str>) -> Result<&mut BTreeMap<u16, LunObject>, Error> {
        match group {
            None => Ok(&mut self.target(target)?.luns),
            Some(group) => Ok(&mut self.group(target, group)?.luns),
        }
    }

    fn add_lun(
        &mut self,
        target: &str,
        group: Option<&str>,
        lun: u16,
        device: &str,
        read_only: bool,
    ) -> Result<(), Error> {
        if u32::from(lun) > MAX_LUN {
            return Err(invalid(format!("LUN {lun} is not a number from 0 to {MAX_LUN}")));
        }
        if !self.devices.contains_key(device) {
            return Err(missing("device", device));
        }
        let luns = self.luns(target, group)?;
        if luns.contains_key(&lun) {
            return Err(exists("LUN", &lun.to_string()));
        }
        luns.insert(lun, LunObject { device: device.to_owned(), read_only });
        Ok(())
    }

    /// Gives every nexus the map it has now; those whose map is unchanged notice nothing.
    fn refresh_nexuses(&self) {
        for nexus in self.nexuses.values() {
            let map = match self.targets.get(&nexus.target.name) {
                Some(target) => self.map(target, &nexus.initiator.name),
                None => Arc::default(),
            };
            if !target::is_same_map(&nexus.map(), &map) {
                nexus.set_map(map);
            }
        }
    }
}

fn key(name: &str) -> String {
    name.to_ascii_lowercase()
}

/// The rows of the keys that are attributes, for help texts.
pub fn key_attributes() -> impl Iterator<Item = &'static Key> {
    Key::attributes()
}

/// An account from the two words of IncomingUser and OutgoingUser.
fn account(attribute: &str, value: &str) -> Result<Account, Error> {
    /// SCST's minimum (RFC 7143 9.2.1: 96 bits).
    const SHORTEST: usize = 12;
    let (name, secret) = value
        .split_once(' ')
        .ok_or_else(|| invalid(format!("{attribute} wants a name and a password, in quotes together")))?;
    if secret.len() < SHORTEST || secret.len() > 255 {
        return Err(invalid(format!("the password of {name} must have {SHORTEST} to 255 characters")));
    }
    Ok(Account { name: name.to_owned(), secret: Secret::new(secret) })
}

/// Refuses a write where the row does not let it.
fn check_access(access: Access, name: &str) -> Result<(), Error> {
    match access {
        Access::ReadWrite => Ok(()),
        Access::ReadOnly => Err(Error::new(libc::EACCES, format!("{name} cannot be written"))),
        Access::CreateOnly => {
            Err(Error::new(libc::EACCES, format!("{name} can only be given when the device is added")))
        }
    }
}
