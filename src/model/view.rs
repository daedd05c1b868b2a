//! The model as a tree of objects: what each has for attributes and children. Nothing here keeps anything.

use std::sync::Arc;

use crate::attr::{Attr, Error};
use crate::model::copy_session::{self, CopySession};
use crate::model::handler::{self, HandlerObject};
use crate::model::object::{COPY_MANAGER, COPY_MANAGER_TARGET, Object, Scope};
use crate::model::session::{SessionObject, Totals};
use crate::model::target::{CORE_ATTRIBUTES, GROUP_ATTRIBUTES, ISCSI_ATTRIBUTES, LunObject, Map, map_rows};
use crate::model::{
    Configuration, Model, TargetObject, device, device_group, driver, latency, memory, missing, root,
    session, trace,
};

/// What is in a directory besides files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Another directory.
    Object(Object),
    /// A relative symbolic link.
    Link(String),
}

/// Looks at the rows of an object, list by list.
pub trait Visitor {
    /// Rows, and what they read.
    fn rows<T>(&mut self, rows: &'static [Attr<T>], object: &T);
}

/// The model at one moment. Sessions come and go meanwhile.
pub struct View<'m> {
    model: &'m Model,
    /// The configuration.
    pub configuration: Arc<Configuration>,
}

/// A LUN of a map, as it is shown.
pub struct ShownLun {
    read_only: bool,
}

/// Attributes of LUNs.
pub static LUN_ATTRIBUTES: &[Attr<ShownLun>] = &[Attr {
    name: "read_only",
    access: crate::attr::Access::CreateOnly,
    default: "0",
    help: "writes are refused, because of the LUN or of the device",
    get: |lun| u8::from(lun.read_only).to_string(),
    ..Attr::ROW
}];

fn named(
    names: impl IntoIterator<Item = &'static str>,
    objects: impl IntoIterator<Item = Object>,
) -> Children {
    names.into_iter().zip(objects).map(|(name, object)| (name.to_owned(), Entry::Object(object))).collect()
}

type Children = Vec<(String, Entry)>;

impl Model {
    /// The model as a tree of objects.
    pub fn view(&self) -> View<'_> {
        View { model: self, configuration: self.configuration() }
    }
}

impl View<'_> {
    /// A target by its name as it was given.
    fn target(&self, name: &str) -> Option<&TargetObject> {
        self.configuration.target(name).map(Arc::as_ref).filter(|target| target.name == name)
    }

    fn map(&self, scope: &Scope) -> Option<&Map> {
        self.target(&scope.target)?.map_of(scope.group.as_deref())
    }

    /// A LUN of a target by its name as it was given.
    fn lun(&self, scope: &Scope, lun: u16) -> Option<LunObject> {
        self.target(&scope.target)?;
        self.configuration.lun(scope, lun)
    }

    fn session(&self, target: &str, name: &str) -> Option<Arc<SessionObject>> {
        self.target(target)?;
        self.model.session(target, name)
    }

    /// The map that a session sees.
    fn scope_of(&self, session: &SessionObject) -> Scope {
        let target = self.configuration.target(&session.target);
        target.map_or_else(|| Scope::target(""), |target| target.map_for(&session.subject).scope.clone())
    }

    /// Sums over the sessions of a target.
    fn totals(&self, target: &str) -> Totals {
        let mut totals = Totals::default();
        self.model.sessions_of(target).iter().for_each(|session| totals.add(&session.totals()));
        totals
    }

    /// Shows the rows of an object to a visitor; ENOENT when there is no such object.
    pub fn visit(&self, object: &Object, visitor: &mut impl Visitor) -> Result<(), Error> {
        let gone = || missing("object", &object.path());
        let configuration = &self.configuration;
        match object {
            Object::Root => {
                visitor.rows(root::ATTRIBUTES, &configuration.root);
                visitor.rows(trace::ATTRIBUTES, &configuration.root.trace);
                visitor.rows(root::DIAGNOSTICS, &self.model.sessions());
            }
            Object::Handler(name) => {
                let handler = self.model.handlers().find(name).ok_or_else(gone)?;
                visitor.rows(handler::ATTRIBUTES, &HandlerObject(handler));
                visitor.rows(trace::ATTRIBUTES, &configuration.root.trace);
            }
            Object::Device(name) => {
                let device = configuration.devices.get(name).ok_or_else(gone)?;
                visitor.rows(device::ATTRIBUTES, &device.config);
                let (rows, declared) = device.config.declared();
                visitor.rows(rows, &declared);
            }
            Object::Iscsi => {
                visitor.rows(driver::ATTRIBUTES, &configuration.driver);
                visitor.rows(trace::ATTRIBUTES, &configuration.root.trace);
            }
            Object::CopyManager => visitor.rows(driver::COPY_MANAGER_ATTRIBUTES, &configuration.driver),
            Object::Target(name) => {
                let target = self.target(name).ok_or_else(gone)?;
                visitor.rows(map_rows(), target);
                visitor.rows(CORE_ATTRIBUTES, target);
                if !target.is_copy_manager() {
                    visitor.rows(ISCSI_ATTRIBUTES, target);
                }
                visitor.rows(session::COUNTERS, &self.totals(name));
            }
            Object::Group(target, name) => {
                let group =
                    self.target(target).and_then(|target| target.groups.get(name)).ok_or_else(gone)?.as_ref();
                visitor.rows(map_rows(), group);
                visitor.rows(GROUP_ATTRIBUTES, group);
            }
            Object::Lun(scope, lun) => {
                let lun = self.lun(scope, *lun).ok_or_else(gone)?;
                let device = configuration.devices.get(&lun.device);
                let is_write_protected = device.is_some_and(|device| device.config.is_read_only());
                visitor.rows(LUN_ATTRIBUTES, &ShownLun { read_only: lun.read_only || is_write_protected });
            }
            Object::Session(target, name) => {
                let session = self.session(target, name).ok_or_else(gone)?;
                visitor.rows(session::COUNTERS, &session.totals());
                visitor.rows(session::ATTRIBUTES, &session);
            }
            Object::Connection(target, name) => {
                let session = self.session(target, name).ok_or_else(gone)?;
                visitor.rows(session::CONNECTION, &session);
            }
            Object::Latency(target, name) => {
                let session = self.session(target, name).ok_or_else(gone)?;
                visitor.rows(latency::ATTRIBUTES, &session);
            }
            Object::SessionLun(target, name, lun) => {
                let session = self.session(target, name).ok_or_else(gone)?;
                let itls = session.live.nexus.itls();
                let unused = session.live.nexus.map().get(*lun).is_some();
                match itls.into_iter().find(|itl| itl.lun == *lun) {
                    Some(itl) => visitor.rows(session::LUN_ATTRIBUTES, &Some(itl)),
                    None if unused => visitor.rows(session::LUN_ATTRIBUTES, &None),
                    None => return Err(gone()),
                }
            }
            Object::TargetGroup(group, name) => {
                let group = configuration.device_groups.get(group).ok_or_else(gone)?;
                let group = group.target_groups.get(name).ok_or_else(gone)?;
                visitor.rows(device_group::GROUP_ATTRIBUTES, group);
            }
            Object::Remote(group, name, member) => {
                let group = configuration.device_groups.get(group).ok_or_else(gone)?;
                let group = group.target_groups.get(name).ok_or_else(gone)?;
                visitor.rows(device_group::MEMBER_ATTRIBUTES, group.members.get(member).ok_or_else(gone)?);
            }
            Object::CopySession => {
                visitor.rows(copy_session::ATTRIBUTES, &CopySession::whole(configuration));
            }
            Object::CopySessionLun(lun) => {
                let lun = CopySession::lun(configuration, *lun).ok_or_else(gone)?;
                visitor.rows(copy_session::LUN_ATTRIBUTES, &lun);
            }
            Object::Memory | Object::MemoryPool => {
                let Some(buffers) = self.model.buffers.get() else { return Ok(()) };
                match object {
                    Object::Memory => visitor.rows(memory::GLOBAL_ATTRIBUTES, buffers),
                    _ => visitor.rows(memory::POOL_ATTRIBUTES, buffers),
                }
            }
            other => self.exists(other).then_some(()).ok_or_else(gone)?,
        }
        Ok(())
    }

    /// Whether an object that has no attributes is there.
    fn exists(&self, object: &Object) -> bool {
        let groups = &self.configuration.device_groups;
        match object {
            Object::Exported(device) => self.configuration.devices.contains_key(device),
            Object::Groups(target) | Object::Sessions(target) => self.target(target).is_some(),
            Object::Initiators(target, group) => {
                self.target(target).is_some_and(|target| target.groups.contains_key(group))
            }
            Object::Luns(scope) => self.map(scope).is_some(),
            Object::DeviceGroup(name) | Object::GroupDevices(name) | Object::TargetGroups(name) => {
                groups.contains_key(name)
            }
            _ => true,
        }
    }

    /// Tells an object from one that is made later under the same name; 0 for what is always there.
    pub fn made(&self, object: &Object) -> u64 {
        let of_target = |name: &str| self.target(name).map_or(0, |target| u64::from(target.tid));
        let of_group = |target: &str, name: &str| {
            self.target(target).and_then(|target| target.groups.get(name)).map_or(0, |own| own.made.number())
        };
        let of_session =
            |target: &str, name: &str| self.session(target, name).map_or(0, |session| session.live.nexus.id);
        let device_group = |name: &str| self.configuration.device_groups.get(name);
        match object {
            Object::Device(name) | Object::Exported(name) => {
                self.configuration.devices.get(name).map_or(0, |device| device.made.number())
            }
            Object::Target(name) | Object::Groups(name) | Object::Sessions(name) => of_target(name),
            Object::Luns(scope) | Object::Lun(scope, _) => match &scope.group {
                None => of_target(&scope.target),
                Some(group) => of_group(&scope.target, group),
            },
            Object::Group(target, name) | Object::Initiators(target, name) => of_group(target, name),
            Object::Session(target, name)
            | Object::SessionLun(target, name, _)
            | Object::Connection(target, name)
            | Object::Latency(target, name) => of_session(target, name),
            Object::DeviceGroup(name) | Object::GroupDevices(name) | Object::TargetGroups(name) => {
                device_group(name).map_or(0, |group| group.made.number())
            }
            Object::TargetGroup(group, name) | Object::Remote(group, name, _) => {
                let own = device_group(group).and_then(|group| group.target_groups.get(name));
                own.map_or(0, |own| own.made.number())
            }
            _ => 0,
        }
    }

    /// The patterns of a group: files that are named like what they hold.
    pub fn patterns(&self, object: &Object) -> Vec<String> {
        let Object::Initiators(target, group) = object else { return Vec::new() };
        let group = self.target(target).and_then(|target| target.groups.get(group));
        group.map_or(Vec::new(), |group| group.initiators.iter().map(|own| own.as_str().to_owned()).collect())
    }

    /// The entry of a name in a directory, if it is not a file.
    pub fn child(&self, object: &Object, name: &str) -> Option<Entry> {
        let configuration = &self.configuration;
        let owned = name.to_owned();
        match object {
            Object::Handlers => {
                self.model.handlers().find(name).map(|_| Entry::Object(Object::Handler(owned)))
            }
            Object::Handler(handler) => {
                let device = configuration.devices.get(name)?;
                (device.handler.name == handler.as_str())
                    .then(|| Entry::Link(format!("../../devices/{name}")))
            }
            Object::Devices => {
                configuration.devices.contains_key(name).then_some(Entry::Object(Object::Device(owned)))
            }
            Object::Iscsi => {
                let target = self.target(name).filter(|target| !target.is_copy_manager());
                target.map(|_| Entry::Object(Object::Target(owned)))
            }
            Object::Groups(target) => {
                let is_there = self.target(target)?.groups.contains_key(name);
                is_there.then(|| Entry::Object(Object::Group(target.clone(), owned)))
            }
            Object::Luns(scope) => {
                let lun: u16 = name.parse().ok().filter(|lun: &u16| lun.to_string() == name)?;
                self.lun(scope, lun).map(|_| Entry::Object(Object::Lun(scope.clone(), lun)))
            }
            Object::Sessions(target) if target != COPY_MANAGER_TARGET => {
                self.session(target, name).map(|_| Entry::Object(Object::Session(target.clone(), owned)))
            }
            Object::DeviceGroups => {
                let is_there = configuration.device_groups.contains_key(name);
                is_there.then_some(Entry::Object(Object::DeviceGroup(owned)))
            }
            _ => self.children(object).into_iter().find(|(own, _)| own == name).map(|(_, entry)| entry),
        }
    }

    /// What is in a directory besides files, in no order.
    pub fn children(&self, object: &Object) -> Children {
        let configuration = &self.configuration;
        let objects = |names: Vec<String>, object: &dyn Fn(String) -> Object| -> Children {
            names.into_iter().map(|name| (name.clone(), Entry::Object(object(name)))).collect()
        };
        match object {
            Object::Root => named(
                ["device_groups", "devices", "handlers", "sgv", "targets"],
                [Object::DeviceGroups, Object::Devices, Object::Handlers, Object::Memory, Object::Drivers],
            ),
            Object::Handlers => {
                let names = self.model.handlers().all().iter().map(|row| row.name.to_string()).collect();
                objects(names, &Object::Handler)
            }
            Object::Handler(name) => {
                let own = configuration.devices.iter().filter(|(_, d)| d.handler.name == name.as_str());
                own.map(|(name, _)| (name.clone(), Entry::Link(format!("../../devices/{name}")))).collect()
            }
            Object::Devices => objects(configuration.devices.keys().cloned().collect(), &Object::Device),
            Object::Device(name) => {
                let mut children = named(["exported"], [Object::Exported(name.clone())]);
                if let Some(device) = configuration.devices.get(name) {
                    children.push((
                        "handler".into(),
                        Entry::Link(format!("../../handlers/{}", device.handler.name)),
                    ));
                }
                children
            }
            Object::Exported(name) => {
                let link = |number: u32, scope: &Scope, lun: u16| {
                    let path = Object::Lun(scope.clone(), lun).path();
                    (format!("export{number}"), Entry::Link(format!("../../../{path}")))
                };
                let copies = configuration.copy_lun(name);
                let copies = copies.map(|lun| link(0, &Scope::target(COPY_MANAGER_TARGET), lun));
                let exports = configuration.devices.get(name).map(|device| &device.exports);
                let exports = exports.into_iter().flatten();
                copies
                    .into_iter()
                    .chain(exports.map(|(number, (scope, lun))| link(*number, scope, *lun)))
                    .collect()
            }
            Object::Drivers => named(["iscsi", COPY_MANAGER], [Object::Iscsi, Object::CopyManager]),
            Object::Iscsi => {
                let names = configuration.targets.values().map(|target| target.name.clone()).collect();
                objects(names, &Object::Target)
            }
            Object::Memory => {
                let pool = self.model.buffers.get().map(|_| Object::MemoryPool);
                named([memory::POOL], pool)
            }
            Object::CopyManager => objects(vec![COPY_MANAGER_TARGET.to_owned()], &Object::Target),
            _ => self.children_of_target(object),
        }
    }

    fn children_of_target(&self, object: &Object) -> Children {
        match object {
            Object::Target(name) => named(
                ["ini_groups", "luns", "sessions"],
                [
                    Object::Groups(name.clone()),
                    Object::Luns(Scope::target(name)),
                    Object::Sessions(name.clone()),
                ],
            ),
            Object::Groups(target) => {
                let groups = self.target(target).map(|target| target.groups.keys());
                let child = |name: &str| {
                    (name.to_owned(), Entry::Object(Object::Group(target.clone(), name.to_owned())))
                };
                groups.into_iter().flatten().map(child).collect()
            }
            Object::Group(target, name) => named(
                ["initiators", "luns"],
                [Object::Initiators(target.clone(), name.clone()), Object::Luns(Scope::group(target, name))],
            ),
            Object::Luns(scope) => {
                let child = |lun: u16| (lun.to_string(), Entry::Object(Object::Lun(scope.clone(), lun)));
                self.target(&scope.target).map_or_else(Vec::new, |_| {
                    self.configuration.luns(scope).into_iter().map(child).collect()
                })
            }
            Object::Lun(scope, lun) => {
                let Some(lun) = self.lun(scope, *lun) else { return Vec::new() };
                let up = "../".repeat(object.path().split('/').count());
                vec![("device".into(), Entry::Link(format!("{up}devices/{}", lun.device)))]
            }
            Object::Sessions(target) if target == COPY_MANAGER_TARGET => {
                named([copy_session::NAME], [Object::CopySession])
            }
            Object::CopySession => {
                let luns = self.configuration.luns(&Scope::target(COPY_MANAGER_TARGET));
                let child = |lun: u16| (format!("lun{lun}"), Entry::Object(Object::CopySessionLun(lun)));
                let own = ("luns".to_owned(), Entry::Link(String::from("../../luns")));
                luns.into_iter().map(child).chain([own]).collect()
            }
            Object::Sessions(target) => {
                let child = |session: &Arc<SessionObject>| {
                    let name = session.name.clone();
                    (name.clone(), Entry::Object(Object::Session(target.clone(), name)))
                };
                self.model.sessions_of(target).iter().map(child).collect()
            }
            Object::Session(target, name) => self.children_of_session(target, name),
            _ => self.children_of_groups(object),
        }
    }

    fn children_of_session(&self, target: &str, name: &str) -> Children {
        let Some(session) = self.session(target, name) else { return Vec::new() };
        let (target, name) = (target.to_owned(), name.to_owned());
        let link = SessionObject::luns_link(&self.scope_of(&session));
        let connection = Object::Connection(target.clone(), name.clone());
        let mut children = vec![
            ("luns".to_owned(), Entry::Link(link)),
            (session.connection(), Entry::Object(connection)),
            ("latency".to_owned(), Entry::Object(Object::Latency(target.clone(), name.clone()))),
        ];
        for entry in session.live.nexus.map().entries() {
            let object = Object::SessionLun(target.clone(), name.clone(), entry.lun);
            children.push((format!("lun{}", entry.lun), Entry::Object(object)));
        }
        children
    }

    fn children_of_groups(&self, object: &Object) -> Children {
        let groups = &self.configuration.device_groups;
        match object {
            Object::DeviceGroups => {
                let child = |name: &String| (name.clone(), Entry::Object(Object::DeviceGroup(name.clone())));
                groups.keys().map(child).collect()
            }
            Object::DeviceGroup(name) => named(
                ["devices", "target_groups"],
                [Object::GroupDevices(name.clone()), Object::TargetGroups(name.clone())],
            ),
            Object::GroupDevices(name) => {
                let devices = groups.get(name).into_iter().flat_map(|group| &group.devices);
                let link =
                    |device: &String| (device.clone(), Entry::Link(format!("../../../devices/{device}")));
                devices.map(link).collect()
            }
            Object::TargetGroups(name) => {
                let own = groups.get(name).into_iter().flat_map(|group| group.target_groups.keys());
                let child = |group: &str| {
                    (group.to_owned(), Entry::Object(Object::TargetGroup(name.clone(), group.to_owned())))
                };
                own.map(child).collect()
            }
            Object::TargetGroup(group, name) => {
                let own = groups.get(group).and_then(|group| group.target_groups.get(name));
                let child = |(target, member): (&str, &device_group::Member)| {
                    let entry = if member.is_local {
                        Entry::Link(format!("../../../../{}", Object::Target(target.to_owned()).path()))
                    } else {
                        Entry::Object(Object::Remote(group.clone(), name.clone(), target.to_owned()))
                    };
                    (target.to_owned(), entry)
                };
                own.into_iter().flat_map(|own| own.members.iter()).map(child).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What reading a `mgmt` file shows.
    pub fn usage(&self, object: &Object) -> String {
        self.model.usage(object)
    }

    /// Values of attributes that come and go.
    pub fn values(&self, object: &Object) -> Vec<crate::model::dynamic::Shown> {
        match object {
            Object::Target(name) if self.target(name).is_none() => Vec::new(),
            _ => self.configuration.values(object),
        }
    }
}
