//! Targets, their groups, and maps of LUNs. The attribute rows are in `attributes`.

use std::sync::Arc;

use crate::attr::Error;
use crate::iscsi::account::Accounts;
use crate::iscsi::directory::Redirect;
use crate::iscsi::key::Values;
use crate::model::Configuration;
use crate::model::device::DeviceObject;
use crate::model::dynamic::Numbers;
use crate::model::effect::Pending;
use crate::model::object::{COPY_MANAGER_TARGET, Made, Scope};
use crate::model::ordered::Ordered;
use crate::model::shared_map::SharedMap;
use crate::names::Pattern;
use crate::scsi::lun::{AddressingMethod, MAX_LUN};
use crate::scsi::nexus::{LunEntry, LunMap};

mod attributes;
pub use attributes::{
    COPY_MANAGER_ATTRIBUTES, CORE_ATTRIBUTES, GROUP_ATTRIBUTES, ISCSI_ATTRIBUTES, map_rows,
};

/// A LUN of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunObject {
    /// Device.
    pub device: String,
    /// Mapped read-only.
    pub read_only: bool,
}

/// A map of LUNs, and how its sessions are treated: a target's own, or a group's.
#[derive(Clone)]
pub struct Map {
    /// The LUNs.
    pub luns: SharedMap<u16, LunObject>,
    /// How LUNs are written.
    pub method: AddressingMethod,
    /// `auto`, `this_group_only`, `never` or a number.
    pub io_grouping_type: String,
    /// What is done to commands, for tests: 0 nothing.
    pub black_hole: u8,
    /// Processors of the sessions' threads; `None` for all.
    pub cpu_mask: Option<Vec<u32>>,
    pub(super) pending: Pending,
    /// Where it is; set once.
    pub scope: Scope,
}

impl Map {
    fn new(scope: Scope) -> Self {
        Map {
            luns: SharedMap::default(),
            method: AddressingMethod::default(),
            io_grouping_type: "auto".to_owned(),
            black_hole: 0,
            cpu_mask: None,
            pending: Pending::default(),
            scope,
        }
    }
}

/// What has a map of LUNs.
pub trait HasMap {
    /// The map.
    fn map(&self) -> &Map;
    /// The map, to change it.
    fn map_mut(&mut self) -> &mut Map;
}

/// A group of initiators (`ini_groups`).
#[derive(Clone)]
pub struct Group {
    /// Patterns of initiator names, in the order they were added.
    pub initiators: Vec<Pattern>,
    /// What its members see.
    pub map: Map,
    /// Each session has threads of its own.
    pub per_sess_dedicated_tgt_threads: bool,
    /// Which of all that had its name.
    pub made: Made,
}

impl Group {
    /// A group without members and LUNs.
    pub fn new(target: &str, name: &str) -> Self {
        Group {
            initiators: Vec::new(),
            map: Map::new(Scope::group(target, name)),
            per_sess_dedicated_tgt_threads: false,
            made: Made::default(),
        }
    }
}

/// A target, of iSCSI or of the copy manager.
#[derive(Clone)]
pub struct TargetObject {
    /// Name as given.
    pub name: String,
    /// Number of the target, never used again.
    pub tid: u32,
    /// Relative target port identifier, 1 to 65535; 0 until it is set or the target is enabled first.
    pub relative_identifier: u16,
    /// Whether logins are accepted.
    pub enabled: bool,
    /// TargetAlias.
    pub alias: String,
    /// Text for people.
    pub comment: String,
    /// Values of the keys.
    pub values: Values,
    /// CHAP accounts.
    pub accounts: Accounts,
    /// Portals where it is offered; all without.
    pub allowed_portals: Vec<Pattern>,
    /// Names of the files of accounts and portals.
    pub numbers: Numbers,
    /// Where initiators are sent.
    pub redirect: Option<Redirect>,
    /// Groups are looked up by `initiator#portal`.
    pub per_portal_acl: bool,
    /// No asynchronous messages.
    pub aen_disabled: bool,
    /// Source, and destination, of forwarded commands.
    pub forward: [bool; 2],
    /// What initiators see that are in no group.
    pub map: Map,
    /// Groups by name, oldest first.
    pub groups: Ordered<Arc<Group>>,
    /// Sums over the sessions, when a snapshot for showing was made.
    pub totals: crate::model::session::Totals,
}

impl HasMap for Group {
    fn map(&self) -> &Map {
        &self.map
    }

    fn map_mut(&mut self) -> &mut Map {
        &mut self.map
    }
}

impl HasMap for TargetObject {
    fn map(&self) -> &Map {
        &self.map
    }

    fn map_mut(&mut self) -> &mut Map {
        &mut self.map
    }
}

impl TargetObject {
    /// A target that is disabled and maps nothing.
    pub fn new(name: &str, tid: u32) -> Self {
        TargetObject {
            name: name.to_owned(),
            tid,
            relative_identifier: 0,
            enabled: false,
            alias: String::new(),
            comment: String::new(),
            values: Values::offered(),
            accounts: Accounts::default(),
            allowed_portals: Vec::new(),
            numbers: Numbers::default(),
            redirect: None,
            per_portal_acl: false,
            aen_disabled: false,
            forward: [false; 2],
            map: Map::new(Scope::target(name)),
            groups: Ordered::default(),
            totals: Default::default(),
        }
    }

    /// Whether it is the copy manager's.
    pub fn is_copy_manager(&self) -> bool {
        self.name == COPY_MANAGER_TARGET
    }

    /// The LUNs of the target, or of one of its groups.
    pub fn map_of(&self, group: Option<&str>) -> Option<&Map> {
        match group {
            None => Some(&self.map),
            Some(group) => self.groups.get(group).map(|group| &group.map),
        }
    }

    /// All maps: its own, and its groups'.
    pub fn maps(&self) -> impl Iterator<Item = &Map> {
        std::iter::once(&self.map).chain(self.groups.values().map(|group| &group.map))
    }

    /// The group of an initiator: of the first group, and in it the first pattern, that matches
    /// (SCST 1.8.2). Without one the target's own LUNs are shown.
    pub fn group_of(&self, subject: &str) -> Option<&str> {
        let is_member = |group: &Group| group.initiators.iter().any(|pattern| pattern.matches(subject));
        self.groups.iter().find(|(_, group)| is_member(group)).map(|(name, _)| name)
    }

    /// The map of an initiator.
    pub fn map_for(&self, subject: &str) -> &Map {
        self.group_of(subject).and_then(|name| self.groups.get(name)).map_or(&self.map, |group| &group.map)
    }
}

impl Configuration {
    /// The LUN of a device at the copy manager (SCST 1.11): its place among all devices by name, so that a
    /// saved configuration gives the same numbers again, in whatever order its devices are made. Nobody logs
    /// in there, so a number that moves disturbs nobody.
    pub fn copy_lun(&self, device: &str) -> Option<u16> {
        let is_copied = self.devices.get(device)?.is_copied();
        let place = u16::try_from(self.devices.place(device)?).ok()?;
        (is_copied && u32::from(place) <= MAX_LUN).then_some(place)
    }

    /// The device of a LUN of the copy manager.
    pub fn copy_device(&self, lun: u16) -> Option<(&str, &Arc<DeviceObject>)> {
        let (name, object) = self.devices.nth(usize::from(lun))?;
        (object.is_copied() && u32::from(lun) <= MAX_LUN).then_some((name.as_str(), object))
    }

    /// A LUN of a map, the copy manager's included.
    pub fn lun(&self, scope: &Scope, lun: u16) -> Option<LunObject> {
        if scope.target == COPY_MANAGER_TARGET {
            let (device, _) = self.copy_device(lun)?;
            return Some(LunObject { device: device.to_owned(), read_only: false });
        }
        self.target(&scope.target)?.map_of(scope.group.as_deref())?.luns.get(&lun).cloned()
    }

    /// The numbers of all LUNs of a map, the copy manager's included.
    pub fn luns(&self, scope: &Scope) -> Vec<u16> {
        if scope.target == COPY_MANAGER_TARGET {
            return self.devices.keys().filter_map(|name| self.copy_lun(name)).collect();
        }
        let map = self.target(&scope.target).and_then(|target| target.map_of(scope.group.as_deref()));
        map.map_or_else(Vec::new, |map| map.luns.keys().copied().collect())
    }

    /// What an initiator sees at a target.
    pub(super) fn shown(&self, target: &TargetObject, subject: &str) -> Arc<LunMap> {
        let map = target.map_for(subject);
        let entries = map.luns.iter().filter_map(|(lun, object)| {
            let device = self.devices.get(&object.device)?;
            Some(LunEntry { lun: *lun, device: Arc::clone(&device.device), read_only: object.read_only })
        });
        Arc::new(LunMap::new(entries.collect(), map.method))
    }
}

/// Whether two maps show the same.
pub(super) fn is_same_map(a: &LunMap, b: &LunMap) -> bool {
    let same = |(a, b): (&LunEntry, &LunEntry)| {
        a.lun == b.lun && Arc::ptr_eq(&a.device, &b.device) && a.read_only == b.read_only
    };
    a.method == b.method
        && a.entries().len() == b.entries().len()
        && a.entries().iter().zip(b.entries()).all(same)
}

/// A number of a LUN as the verbs take it.
pub(super) fn lun_number(text: &str) -> Result<u16, Error> {
    let max = crate::scsi::lun::MAX_LUN;
    let number = crate::attr::number(text).ok().flatten().filter(|number| *number <= u64::from(max));
    let wrong = || Error::invalid(format!("LUN {text} is not a number from 0 to {max}"));
    number.and_then(|number| u16::try_from(number).ok()).ok_or_else(wrong)
}
