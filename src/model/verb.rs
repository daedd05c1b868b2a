//! The commands of the tree's `mgmt` files: one row for each, which a usage text and a change are made of.

use crate::attr::Error;
use crate::attr::{Access, Attr};
use crate::backstore::declared::Declared;
use crate::backstore::registry::{Handler, Medium, Opener};
use crate::model::lex::Words;
use crate::model::object::{Object, Scope};
use crate::model::target::{ISCSI_ATTRIBUTES, lun_number};
use crate::model::{Change, Configuration, Model, device, dynamic, missing, unknown};

/// A command.
pub struct Verb {
    /// Its word.
    pub name: &'static str,
    /// What follows it.
    pub syntax: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
    parse: fn(&Configuration, &Object, &mut Words<'_>) -> Result<Vec<Change>, Error>,
}

macro_rules! verb {
    ($name:literal $syntax:literal $help:literal, |$c:ident, $o:pat_param, $w:ident| $body:expr) => {
        Verb {
            name: $name,
            syntax: $syntax,
            help: $help,
            parse: |$c, object, $w| match object {
                $o => $body,
                _ => Err(unknown("command", $name)),
            },
        }
    };
}

static HANDLER: &[Verb] = &[
    verb!("add_device" "DEVICE [PARAMETER=VALUE; ...]" "adds a device",
        |_c, Object::Handler(handler), w| add_device(handler, w)),
    verb!("del_device" "DEVICE" "removes a device and its LUNs", |c, Object::Handler(_), w| {
        let name = w.wanted("the name of a device")?;
        w.end()?;
        // As in SCST, any kind's file removes devices of all kinds.
        c.devices.get(name).ok_or_else(|| unknown("device", name))?;
        Ok(vec![Change::RemoveDevice(name.to_owned())])
    }),
];

static DRIVER: &[Verb] = &[
    verb!("add_target" "TARGET [PARAMETER=VALUE; ...]" "adds a target, which is disabled",
        |_c, Object::Iscsi, w| add_target(w)),
    verb!("del_target" "TARGET" "removes a target, which must have no sessions", |_c, Object::Iscsi, w| {
        let name = w.wanted("the name of a target")?;
        w.end()?;
        Ok(vec![Change::RemoveTarget(name.to_owned())])
    }),
    verb!("add_attribute" "ATTRIBUTE VALUE" "adds a value for discovery", |_c, Object::Iscsi, w| {
        let attribute = w.wanted("the name of an attribute")?.to_owned();
        Ok(vec![Change::AddValue { object: Object::Iscsi, attribute, value: w.remainder().to_owned() }])
    }),
    verb!("del_attribute" "ATTRIBUTE VALUE" "removes a value for discovery", |_c, Object::Iscsi, w| {
        let attribute = w.wanted("the name of an attribute")?.to_owned();
        Ok(vec![Change::RemoveValue { object: Object::Iscsi, attribute, value: w.remainder().to_owned() }])
    }),
    verb!("add_target_attribute" "TARGET ATTRIBUTE VALUE" "adds a value to a target", |c, Object::Iscsi, w| {
        let object = target(c, w)?;
        let attribute = w.wanted("the name of an attribute")?.to_owned();
        Ok(vec![Change::AddValue { object, attribute, value: w.remainder().to_owned() }])
    }),
    verb!("del_target_attribute" "TARGET ATTRIBUTE VALUE" "removes a value of a target",
    |c, Object::Iscsi, w| {
        let object = target(c, w)?;
        let attribute = w.wanted("the name of an attribute")?.to_owned();
        Ok(vec![Change::RemoveValue { object, attribute, value: w.remainder().to_owned() }])
    }),
];

static GROUPS: &[Verb] = &[
    verb!("create" "GROUP" "adds a group", |_c, Object::Groups(target), w| {
        let name = w.wanted("the name of a group")?;
        Ok(vec![Change::AddGroup(target.clone(), name.to_owned())])
    }),
    verb!("del" "GROUP" "removes a group, which must have no sessions", |_c, Object::Groups(target), w| {
        let name = w.wanted("the name of a group")?;
        Ok(vec![Change::RemoveGroup(target.clone(), name.to_owned())])
    }),
];

static INITIATORS: &[Verb] = &[
    verb!("add" "INITIATOR" "adds an initiator: a name, or a pattern with *, ? and !",
    |_c, Object::Initiators(target, group), w| {
        let pattern = w.wanted("the name of an initiator")?.to_owned();
        Ok(vec![Change::AddInitiator(target.clone(), group.clone(), pattern)])
    }),
    verb!("del" "INITIATOR" "removes an initiator", |_c, Object::Initiators(target, group), w| {
        let pattern = w.wanted("the name of an initiator")?.to_owned();
        Ok(vec![Change::RemoveInitiator(target.clone(), group.clone(), pattern)])
    }),
    verb!("move" "INITIATOR GROUP" "moves an initiator to another group",
    |_c, Object::Initiators(target, group), w| {
        let pattern = w.wanted("the name of an initiator")?.to_owned();
        let to = w.wanted("the name of a group")?.to_owned();
        Ok(vec![Change::MoveInitiator { target: target.clone(), group: group.clone(), pattern, to }])
    }),
    verb!("clear" "" "removes all initiators", |_c, Object::Initiators(target, group), w| {
        w.end()?;
        Ok(vec![Change::ClearInitiators(target.clone(), group.clone())])
    }),
];

static LUNS: &[Verb] = &[
    verb!("add" "DEVICE LUN [PARAMETER=VALUE; ...]" "maps a device", |_c, Object::Luns(scope), w| {
        let (device, lun, read_only) = lun(w)?;
        Ok(vec![Change::AddLun { scope: scope.clone(), lun, device, read_only }])
    }),
    verb!("replace" "DEVICE LUN [PARAMETER=VALUE; ...]" "maps another device at a LUN",
        |_c, Object::Luns(scope), w| replace(scope, w, false)),
    verb!("replace_no_ua" "DEVICE LUN [PARAMETER=VALUE; ...]" "the same, and tells nobody",
        |_c, Object::Luns(scope), w| replace(scope, w, true)),
    verb!("del" "LUN" "removes a LUN", |_c, Object::Luns(scope), w| {
        let lun = lun_number(w.wanted("the number of a LUN")?)?;
        w.end()?;
        Ok(vec![Change::RemoveLun(scope.clone(), lun)])
    }),
    verb!("clear" "" "removes all LUNs", |_c, Object::Luns(scope), w| {
        w.end()?;
        Ok(vec![Change::ClearLuns(scope.clone())])
    }),
];

/// Two rows with another word each, which SCST takes for the same.
macro_rules! create_and_add {
    ($help:literal, |$o:pat_param, $w:ident| $body:expr) => {
        [verb!("create" "NAME" $help, |_c, $o, $w| $body), verb!("add" "NAME" $help, |_c, $o, $w| $body)]
    };
}

static DEVICE_GROUPS: [Verb; 3] = {
    let [create, add] = create_and_add!("adds a device group", |Object::DeviceGroups, w| {
        Ok(vec![Change::AddDeviceGroup(w.wanted("the name of a device group")?.to_owned())])
    });
    [
        create,
        add,
        verb!("del" "NAME" "removes a device group", |_c, Object::DeviceGroups, w| {
            Ok(vec![Change::RemoveDeviceGroup(w.wanted("the name of a device group")?.to_owned())])
        }),
    ]
};

static GROUP_DEVICES: &[Verb] = &[
    verb!("add" "DEVICE" "adds a device to the group", |_c, Object::GroupDevices(group), w| {
        Ok(vec![Change::AddGroupDevice(group.clone(), w.wanted("the name of a device")?.to_owned())])
    }),
    verb!("del" "DEVICE" "removes a device from the group", |_c, Object::GroupDevices(group), w| {
        Ok(vec![Change::RemoveGroupDevice(group.clone(), w.wanted("the name of a device")?.to_owned())])
    }),
];

static TARGET_GROUPS: [Verb; 3] = {
    let [create, add] = create_and_add!("adds a target group", |Object::TargetGroups(group), w| {
        Ok(vec![Change::AddTargetGroup(group.clone(), w.wanted("the name of a target group")?.to_owned())])
    });
    [
        create,
        add,
        verb!("del" "NAME" "removes a target group", |_c, Object::TargetGroups(group), w| {
            let name = w.wanted("the name of a target group")?.to_owned();
        Ok(vec![Change::RemoveTargetGroup(group.clone(), name)])
        }),
    ]
};

static TARGET_GROUP: [Verb; 3] = {
    let [create, add] =
        create_and_add!("adds a target, also one of another node", |Object::TargetGroup(group, own), w| {
            let target = w.wanted("the name of a target")?.to_owned();
            Ok(vec![Change::AddMember(group.clone(), own.clone(), target)])
        });
    [
        add,
        create,
        verb!("del" "NAME" "removes a target", |_c, Object::TargetGroup(group, own), w| {
            let target = w.wanted("the name of a target")?.to_owned();
            Ok(vec![Change::RemoveMember(group.clone(), own.clone(), target)])
        }),
    ]
};

fn target(configuration: &Configuration, words: &mut Words<'_>) -> Result<Object, Error> {
    let name = words.wanted("the name of a target")?;
    let target = configuration.target(name).filter(|target| !target.is_copy_manager());
    target.map(|target| Object::Target(target.name.clone())).ok_or_else(|| missing("target", name))
}

fn lun(words: &mut Words<'_>) -> Result<(String, u16, bool), Error> {
    let device = words.wanted("the name of a device")?.to_owned();
    let lun = lun_number(words.wanted("the number of a LUN")?)?;
    let mut read_only = None;
    for (name, value) in words.pairs()? {
        if !name.eq_ignore_ascii_case("read_only") {
            return Err(Error::invalid(format!("{name} is no parameter of a LUN; there is read_only")));
        }
        if read_only.replace(crate::attr::Kind::Bool.parse(value)?.bool()).is_some() {
            return Err(Error::invalid("read_only is given twice"));
        }
    }
    Ok((device, lun, read_only.unwrap_or(false)))
}

fn replace(scope: &Scope, words: &mut Words<'_>, is_silent: bool) -> Result<Vec<Change>, Error> {
    let (device, lun, read_only) = lun(words)?;
    Ok(vec![Change::ReplaceLun { scope: scope.clone(), lun, device, read_only, is_silent }])
}

/// Names of common attributes are taken in any case, as SCST does.
fn add_device(handler: &str, words: &mut Words<'_>) -> Result<Vec<Change>, Error> {
    let name = words.wanted("the name of a device")?.to_owned();
    let mut parameters: Vec<(String, String)> = Vec::new();
    for (name, value) in words.pairs()? {
        let row = device::ATTRIBUTES.iter().find(|row| row.name.eq_ignore_ascii_case(name));
        let name = row.map_or(name, |row| row.name);
        parameters.push((name.to_owned(), value.to_owned()));
    }
    Ok(vec![Change::AddDevice { handler: handler.to_owned(), name, parameters }])
}

/// The parameters are lines of the old iscsi-scstd.conf, with `;` between them.
fn add_target(words: &mut Words<'_>) -> Result<Vec<Change>, Error> {
    let name = words.wanted("the name of a target")?;
    let object = Object::Target(name.to_owned());
    let mut changes = vec![Change::AddTarget(name.to_owned())];
    let mut given = Vec::new();
    for mut line in words.parameters() {
        let attribute = line.wanted("the name of a parameter")?;
        if let Some((row, _)) = dynamic::find(attribute, false) {
            let words: Vec<&str> = std::iter::from_fn(|| line.next_word()).collect();
            let (object, attribute) = (object.clone(), row.name.to_owned());
            changes.push(Change::AddValue { object, attribute, value: words.join(" ") });
            continue;
        }
        let row = ISCSI_ATTRIBUTES.iter().find(|row| row.name.eq_ignore_ascii_case(attribute));
        let row = row.filter(|row| row.access.is_writable() && row.name != "enabled");
        let row = row.ok_or_else(|| Error::invalid(format!("{attribute} is no parameter of a target")))?;
        if given.contains(&row.name) {
            return Err(Error::invalid(format!("{} is given twice", row.name)));
        }
        given.push(row.name);
        let value = line.remainder().trim_start_matches(['=', ' ', '\t']);
        changes.push(Change::set(object.clone(), row.name, value));
    }
    Ok(changes)
}

impl Object {
    /// The commands of its `mgmt` file; none for objects without one.
    pub fn verbs(&self) -> &'static [Verb] {
        match self {
            Object::Handler(_) => HANDLER,
            Object::Iscsi => DRIVER,
            Object::Groups(_) => GROUPS,
            Object::Initiators(..) => INITIATORS,
            Object::Luns(_) => LUNS,
            Object::DeviceGroups => &DEVICE_GROUPS,
            Object::GroupDevices(_) => GROUP_DEVICES,
            Object::TargetGroups(_) => &TARGET_GROUPS,
            Object::TargetGroup(..) => &TARGET_GROUP,
            _ => &[],
        }
    }
}

impl Model {
    /// The changes that a command means, as it is written to a `mgmt` file.
    pub fn command(&self, object: &Object, text: &str) -> Result<Vec<Change>, Error> {
        let mut words = Words::new(text);
        let name = words.wanted("a command")?;
        let verbs = object.verbs();
        let verb = verbs.iter().find(|verb| verb.name.eq_ignore_ascii_case(name)).ok_or_else(|| {
            let known: Vec<&str> = verbs.iter().map(|verb| verb.name).collect();
            Error::invalid(format!("there is no command {name}; there are {}", known.join(", ")))
        })?;
        let named = |error: Error| Error::new(error.errno, format!("{}: {}", verb.name, error.text));
        (verb.parse)(&self.configuration(), object, &mut words).map_err(named)
    }

    /// What reading a `mgmt` file shows; scstadmin takes the lists of parameters and attributes from it.
    pub fn usage(&self, object: &Object) -> String {
        let mut text = String::from("Usage:");
        for verb in object.verbs() {
            let blank = if verb.syntax.is_empty() { "" } else { " " };
            text.push_str(&format!(" echo \"{}{blank}{}\" >mgmt\n      ", verb.name, verb.syntax));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        let takes_pairs = object.verbs().iter().any(|verb| verb.syntax.contains("PARAMETER"));
        if takes_pairs {
            text.push_str("\nPARAMETER=VALUE pairs have a semicolon between them.\n\n");
        }
        let dynamic = |on_driver: bool| -> String {
            let rows = dynamic::DYNAMIC.iter().filter(|row| row.on_driver || !on_driver);
            rows.map(|row| row.name).collect::<Vec<_>>().join(", ")
        };
        match object {
            Object::Handler(name) => {
                let handler = self.handlers().find(name);
                let parameters = handler.as_ref().map(|row| told(row)).unwrap_or_default();
                text.push_str(&format!("The following parameters available: {}\n", parameters.join(", ")));
                text.push_str(&handler.map_or_else(String::new, |row| told_alone(&row)));
            }
            Object::Luns(_) => text.push_str("The following parameters available: read_only\n"),
            Object::Iscsi => {
                let (driver, target) = (dynamic(true), dynamic(false));
                text.push_str(&format!("The following target driver attributes available: {driver}\n"));
                text.push_str(&format!("The following target attributes available: {target}\n"));
            }
            _ => {}
        }
        text
    }
}

/// The parameters that are told. scstadmin makes a device anew when one of them differs, and saves what it
/// cannot write later only if it is one of them; so a file tells its own size, and a drive begins empty.
fn told(handler: &Handler) -> Vec<&'static str> {
    let is_own = matches!(handler.opener, Opener::Function(_));
    let has_file = handler.parameters.contains(&"filename");
    let hidden = match handler.medium {
        Medium::CdRom => "filename",
        Medium::Disk if is_own && has_file => "size",
        Medium::Disk | Medium::Passed => "",
    };
    let mut told: Vec<&str> = handler.parameter_names().filter(|name| *name != hidden).collect();
    if let Some(size) = told.iter().position(|name| *name == "size") {
        told.insert(size + 1, "size_mb");
    }
    told
}

/// What only devices of this handler have, in words.
fn told_alone(handler: &Handler) -> String {
    let line = |row: &Attr<Declared>| {
        let when = match row.access {
            Access::ReadOnly => "to be read",
            Access::CreateOnly => "given when the device is made",
            _ => "given when the device is made, or set",
        };
        let default = if row.default.is_empty() { "\"\"" } else { row.default };
        format!("  {} ({}; default {default}; {when}): {}\n", row.name, row.kind, row.help)
    };
    let lines: String = handler.declared.iter().map(line).collect();
    if lines.is_empty() { lines } else { format!("\nAttributes of this handler's devices alone:\n{lines}") }
}
