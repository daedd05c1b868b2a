//! All rows of all kinds of objects, for usage texts and tables.

use crate::attr::{Access, Attr, Kind, Saved};
use crate::model::object::{Object, Scope};
use crate::model::target::{
    CORE_ATTRIBUTES, GROUP_ATTRIBUTES, Group, ISCSI_ATTRIBUTES, TargetObject, map_rows,
};
use crate::model::{
    Verb, copy_session, device, device_group, driver, dynamic, handler, latency, memory, root, session,
    trace, view,
};

/// An attribute, whatever has it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What has it: a word of [`CLASSES`].
    pub class: &'static str,
    /// Name.
    pub name: &'static str,
    /// Values.
    pub kind: Kind,
    /// Access.
    pub access: Access,
    /// Value when nobody has set it.
    pub default: &'static str,
    /// It never belongs into a saved configuration.
    pub is_never_saved: bool,
    /// There may be several, which come and go.
    pub is_dynamic: bool,
    /// Why it is accepted for compatibility only.
    pub compatibility: Option<&'static str>,
    /// What it means.
    pub help: &'static str,
}

/// Kinds of objects that have attributes, and what they are.
pub const CLASSES: &[(&str, &str)] = &[
    ("root", "the whole"),
    ("handler", "a kind of backstore"),
    ("device", "a device"),
    ("driver", "the iSCSI driver"),
    ("copy_manager", "the driver of EXTENDED COPY"),
    ("target", "a target"),
    ("group", "a group of initiators of a target"),
    ("lun", "a LUN"),
    ("session", "a session"),
    ("latency", "the times of a session's commands"),
    ("connection", "the connection of a session"),
    ("session_lun", "a unit that a session sees"),
    ("copy_session", "the session of the copy manager"),
    ("copy_session_lun", "a unit that the copy manager sees"),
    ("target_group", "a target group of a device group"),
    ("remote_target", "a target of another node in a target group"),
    ("memory", "the memory for data of commands"),
    ("memory_pool", "a pool of that memory"),
];

fn list<T>(class: &'static str, rows: &'static [Attr<T>], into: &mut Vec<Row>) {
    into.extend(rows.iter().map(|row| Row {
        class,
        name: row.name,
        kind: row.kind,
        access: row.access,
        default: row.default,
        is_never_saved: matches!(row.saved, Saved::Never),
        is_dynamic: false,
        compatibility: row.compatibility,
        help: row.help,
    }));
}

fn dynamic_rows(class: &'static str, on_driver: bool, into: &mut Vec<Row>) {
    let rows = dynamic::DYNAMIC.iter().filter(|row| row.on_driver || !on_driver);
    into.extend(rows.map(|row| Row {
        class,
        name: row.name,
        kind: Kind::Own(row.syntax),
        access: row.access,
        default: "",
        is_never_saved: false,
        is_dynamic: true,
        compatibility: None,
        help: row.help,
    }));
}

/// Every attribute, by kind of object.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    list("root", root::ATTRIBUTES, &mut rows);
    list("root", trace::ATTRIBUTES, &mut rows);
    list("root", root::DIAGNOSTICS, &mut rows);
    list("handler", handler::ATTRIBUTES, &mut rows);
    list("handler", trace::ATTRIBUTES, &mut rows);
    list("device", device::ATTRIBUTES, &mut rows);
    list("driver", driver::ATTRIBUTES, &mut rows);
    list("driver", trace::ATTRIBUTES, &mut rows);
    dynamic_rows("driver", true, &mut rows);
    list("copy_manager", driver::COPY_MANAGER_ATTRIBUTES, &mut rows);
    list("target", ISCSI_ATTRIBUTES, &mut rows);
    list("target", CORE_ATTRIBUTES, &mut rows);
    list("target", map_rows::<TargetObject>(), &mut rows);
    dynamic_rows("target", false, &mut rows);
    list("target", session::COUNTERS, &mut rows);
    list("group", map_rows::<Group>(), &mut rows);
    list("group", GROUP_ATTRIBUTES, &mut rows);
    list("lun", view::LUN_ATTRIBUTES, &mut rows);
    list("session", session::ATTRIBUTES, &mut rows);
    list("session", session::COUNTERS, &mut rows);
    list("latency", latency::ATTRIBUTES, &mut rows);
    list("connection", session::CONNECTION, &mut rows);
    list("session_lun", session::LUN_ATTRIBUTES, &mut rows);
    list("copy_session", copy_session::ATTRIBUTES, &mut rows);
    list("copy_session_lun", copy_session::LUN_ATTRIBUTES, &mut rows);
    list("target_group", device_group::GROUP_ATTRIBUTES, &mut rows);
    list("remote_target", device_group::MEMBER_ATTRIBUTES, &mut rows);
    list("memory", memory::GLOBAL_ATTRIBUTES, &mut rows);
    list("memory_pool", memory::POOL_ATTRIBUTES, &mut rows);
    rows
}

/// Every command, with the directory of its `mgmt` file.
pub fn verbs() -> Vec<(String, &'static Verb)> {
    let name = |word: &str| format!("<{word}>");
    let (device_group, target_group) = (name("device_group"), name("target_group"));
    let (target, group) = (name("target"), name("group"));
    let objects = [
        Object::Handler(name("handler")),
        Object::Iscsi,
        Object::Luns(Scope::target(&target)),
        Object::Groups(target.clone()),
        Object::Initiators(target, group),
        Object::DeviceGroups,
        Object::GroupDevices(device_group.clone()),
        Object::TargetGroups(device_group.clone()),
        Object::TargetGroup(device_group, target_group),
    ];
    let own = |object: &Object| {
        let path = object.path();
        object.verbs().iter().map(move |verb| (path.clone(), verb)).collect::<Vec<_>>()
    };
    objects.iter().flat_map(own).collect()
}
