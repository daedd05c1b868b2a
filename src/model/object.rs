//! Names of the objects of the model: one for every directory of the tree.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{copy_session, memory};

/// Driver, target and session of EXTENDED COPY (SCST 1.11).
pub const COPY_MANAGER: &str = "copy_manager";
/// The only target of the copy manager; no iSCSI target may have its name.
pub const COPY_MANAGER_TARGET: &str = "copy_manager_tgt";

/// A map of LUNs and who has it: a target's own, for initiators that are in none of its groups, or a group's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// Target.
    pub target: String,
    /// Group; the target's own map without.
    pub group: Option<String>,
}

impl Scope {
    /// What a target shows to initiators that are in none of its groups.
    pub fn target(target: impl Into<String>) -> Self {
        Scope { target: target.into(), group: None }
    }

    /// What a group shows.
    pub fn group(target: impl Into<String>, group: impl Into<String>) -> Self {
        Scope { target: target.into(), group: Some(group.into()) }
    }
}

/// Tells an object from another that is made later under the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made(u64);

impl Default for Made {
    /// A number that no other has, beginning with 1.
    fn default() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Made(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Made {
    /// As a number.
    pub fn number(self) -> u64 {
        self.0
    }
}

/// An object of the model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    /// The whole.
    Root,
    /// All kinds of backstore.
    Handlers,
    /// A kind of backstore.
    Handler(String),
    /// All devices.
    Devices,
    /// A device.
    Device(String),
    /// Where a device is mapped.
    Exported(String),
    /// All target drivers.
    Drivers,
    /// The iSCSI driver.
    Iscsi,
    /// The driver of EXTENDED COPY.
    CopyManager,
    /// A target, of either driver.
    Target(String),
    /// All groups of a target.
    Groups(String),
    /// A group of initiators.
    Group(String, String),
    /// The patterns of a group.
    Initiators(String, String),
    /// A map of LUNs.
    Luns(Scope),
    /// A LUN of a map.
    Lun(Scope, u16),
    /// All sessions of a target.
    Sessions(String),
    /// A session, by its name in the tree.
    Session(String, String),
    /// A unit that a session sees.
    SessionLun(String, String, u16),
    /// The connection of a session.
    Connection(String, String),
    /// Times that commands of a session took.
    Latency(String, String),
    /// All device groups.
    DeviceGroups,
    /// A device group.
    DeviceGroup(String),
    /// The devices of a device group.
    GroupDevices(String),
    /// The target groups of a device group.
    TargetGroups(String),
    /// A target group of a device group.
    TargetGroup(String, String),
    /// A target of another node in a target group.
    Remote(String, String, String),
    /// The session of the copy manager.
    CopySession,
    /// A unit that it sees.
    CopySessionLun(u16),
    /// Memory pools.
    Memory,
    /// The pool of memory.
    MemoryPool,
}

impl Object {
    /// The path of its directory, from the root of the tree.
    pub fn path(&self) -> String {
        match self {
            Object::Root => String::new(),
            Object::Handlers => "handlers".into(),
            Object::Handler(name) => format!("handlers/{name}"),
            Object::Devices => "devices".into(),
            Object::Device(name) => format!("devices/{name}"),
            Object::Exported(name) => format!("devices/{name}/exported"),
            Object::Drivers => "targets".into(),
            Object::Iscsi => "targets/iscsi".into(),
            Object::CopyManager => format!("targets/{COPY_MANAGER}"),
            Object::Target(name) if name == COPY_MANAGER_TARGET => format!("targets/{COPY_MANAGER}/{name}"),
            Object::Target(name) => format!("targets/iscsi/{name}"),
            Object::Groups(target) => format!("{}/ini_groups", Object::Target(target.clone()).path()),
            Object::Group(target, group) => format!("{}/{group}", Object::Groups(target.clone()).path()),
            Object::Initiators(target, group) => {
                format!("{}/initiators", Object::Group(target.clone(), group.clone()).path())
            }
            Object::Luns(scope) => format!("{}/luns", scope.owner().path()),
            Object::Lun(scope, lun) => format!("{}/{lun}", Object::Luns(scope.clone()).path()),
            Object::Sessions(target) => format!("{}/sessions", Object::Target(target.clone()).path()),
            Object::Session(target, name) => format!("{}/{name}", Object::Sessions(target.clone()).path()),
            Object::SessionLun(target, session, lun) => {
                format!("{}/lun{lun}", Object::Session(target.clone(), session.clone()).path())
            }
            Object::Connection(target, session) => {
                format!("{}/connection", Object::Session(target.clone(), session.clone()).path())
            }
            Object::Latency(target, session) => {
                format!("{}/latency", Object::Session(target.clone(), session.clone()).path())
            }
            Object::DeviceGroups => "device_groups".into(),
            Object::DeviceGroup(name) => format!("device_groups/{name}"),
            Object::GroupDevices(name) => format!("device_groups/{name}/devices"),
            Object::TargetGroups(name) => format!("device_groups/{name}/target_groups"),
            Object::TargetGroup(name, group) => format!("device_groups/{name}/target_groups/{group}"),
            Object::Remote(name, group, target) => {
                format!("device_groups/{name}/target_groups/{group}/{target}")
            }
            Object::CopySession => {
                format!("{}/{}", Object::Sessions(COPY_MANAGER_TARGET.to_owned()).path(), copy_session::NAME)
            }
            Object::CopySessionLun(lun) => format!("{}/lun{lun}", Object::CopySession.path()),
            Object::Memory => "sgv".into(),
            Object::MemoryPool => format!("sgv/{}", memory::POOL),
        }
    }
}

impl Scope {
    /// The target or the group.
    pub fn owner(&self) -> Object {
        match &self.group {
            None => Object::Target(self.target.clone()),
            Some(group) => Object::Group(self.target.clone(), group.clone()),
        }
    }
}
