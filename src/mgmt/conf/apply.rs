//! From the tree of a file to changes of the model.

use crate::mgmt::conf::parse::{Node, parse};
use crate::mgmt::conf::{Error, Place};
use crate::model::{Change, Configuration, Model, Object, Scope, dynamic};

/// A change and the line that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub place: Place,
    /// What.
    pub change: Change,
}

#[derive(Default)]
struct Plan {
    steps: Vec<Step>,
    /// What enables things comes when everything else is in place.
    last: Vec<Step>,
}

impl Plan {
    fn push(&mut self, node: &Node, change: Change) {
        self.steps.push(Step { place: node.place, change });
    }
}

fn unknown(node: &Node, allowed: &str) -> Error {
    node.wrong(format!("\"{}\" is not known here; allowed are {allowed}", node.name))
}

/// The changes that a file asks for on an empty configuration, in the order to make them.
pub fn plan(text: &str) -> Result<Vec<Step>, Error> {
    let mut plan = Plan::default();
    for node in parse(text)? {
        match (node.name.as_str(), node.children.is_some()) {
            ("HANDLER", true) => handler(&node, &mut plan)?,
            ("TARGET_DRIVER", true) => driver(&node, &mut plan)?,
            ("HANDLER" | "TARGET_DRIVER", false) => {
                return Err(node.wrong(format!("{} wants a section in braces", node.name)));
            }
            _ => return Err(unknown(&node, "HANDLER and TARGET_DRIVER")),
        }
    }
    plan.steps.append(&mut plan.last);
    Ok(plan.steps)
}

fn handler(node: &Node, plan: &mut Plan) -> Result<(), Error> {
    let handler = node.value("the name of a handler")?;
    for child in node.children() {
        if child.name != "DEVICE" {
            return Err(unknown(child, "DEVICE"));
        }
        let name = child.value("the name of a device")?.to_owned();
        let mut parameters = Vec::new();
        for attribute in child.children() {
            if attribute.children.is_some() {
                return Err(unknown(attribute, "attributes"));
            }
            parameters.push((attribute.name.clone(), attribute.value("one value")?.to_owned()));
        }
        plan.push(child, Change::AddDevice { handler: handler.to_owned(), name, parameters });
    }
    Ok(())
}

fn driver(node: &Node, plan: &mut Plan) -> Result<(), Error> {
    let driver = node.value("the name of a driver")?;
    match driver {
        "iscsi" => {}
        "copy_manager" => return Ok(()),
        _ => return Err(node.wrong(format!("there is no driver {driver}; there is iscsi"))),
    }
    for child in node.children() {
        match (child.name.as_str(), child.children.is_some()) {
            ("TARGET", _) => target(child, plan)?,
            (_, true) => return Err(unknown(child, "TARGET and attributes")),
            (name, false) => {
                let value = child.value("one value")?.to_owned();
                plan.push(child, value_of(Object::Iscsi, name, value));
            }
        }
    }
    Ok(())
}

fn target(node: &Node, plan: &mut Plan) -> Result<(), Error> {
    let name = node.value("the name of a target")?;
    plan.push(node, Change::AddTarget(name.to_owned()));
    for child in node.children() {
        match (child.name.as_str(), child.children.is_some()) {
            ("LUN", _) => lun(child, name, None, plan)?,
            ("GROUP", _) => group(child, name, plan)?,
            (_, true) => return Err(unknown(child, "LUN, GROUP and attributes")),
            (attribute, false) => {
                let value = child.value("one value")?.to_owned();
                let change = value_of(Object::Target(name.to_owned()), attribute, value);
                let steps = if attribute == "enabled" { &mut plan.last } else { &mut plan.steps };
                steps.push(Step { place: child.place, change });
            }
        }
    }
    Ok(())
}

/// An attribute of the driver or of a target; those that come and go accumulate.
fn value_of(object: Object, attribute: &str, value: String) -> Change {
    let attribute = attribute.to_owned();
    if dynamic::find(&attribute, object == Object::Iscsi).is_some() {
        return Change::AddValue { object, attribute, value };
    }
    Change::Set { object, attribute, value }
}

fn lun(node: &Node, target: &str, group: Option<&str>, plan: &mut Plan) -> Result<(), Error> {
    let [number, device] = node.values.as_slice() else {
        return Err(node.wrong("LUN wants a number and the name of a device"));
    };
    let lun =
        number.parse().map_err(|_| node.wrong(format!("LUN {number} is not a number from 0 to 16383")))?;
    let mut read_only = false;
    for attribute in node.children() {
        match (attribute.name.as_str(), attribute.value("0 or 1")?) {
            ("read_only", "0") => read_only = false,
            ("read_only", "1") => read_only = true,
            ("read_only", other) => {
                return Err(attribute.wrong(format!("read_only: \"{other}\" is not 0 or 1")));
            }
            _ => return Err(unknown(attribute, "read_only")),
        }
    }
    let scope = Scope { target: target.to_owned(), group: group.map(str::to_owned) };
    plan.push(node, Change::AddLun { scope, lun, device: device.clone(), read_only });
    Ok(())
}

fn group(node: &Node, target: &str, plan: &mut Plan) -> Result<(), Error> {
    let name = node.value("the name of a group")?;
    plan.push(node, Change::AddGroup(target.to_owned(), name.to_owned()));
    for child in node.children() {
        match child.name.as_str() {
            "LUN" => lun(child, target, Some(name), plan)?,
            "INITIATOR" => {
                let pattern = child.value("the name of an initiator, or a pattern")?;
                let change = Change::AddInitiator(target.to_owned(), name.to_owned(), pattern.to_owned());
                plan.push(child, change);
            }
            _ => return Err(unknown(child, "LUN and INITIATOR")),
        }
    }
    Ok(())
}

fn apply(model: &Model, steps: &[Step]) -> Result<(), Error> {
    let changes: Vec<Change> = steps.iter().map(|step| step.change.clone()).collect();
    model.apply_all(&changes).map_err(|(at, error)| Error {
        place: steps[at].place,
        errno: error.errno,
        text: error.text,
    })
}

/// Loads a file into an empty model: all of it, or nothing.
pub fn load(model: &Model, text: &str) -> Result<(), Error> {
    apply(model, &plan(text)?)
}

/// Brings a model that is in use to what a file says: adds what is new and sets what can be set, all of it or
/// nothing. What the file does not mention stays, and sessions that a change does not concern notice nothing.
pub fn reload(model: &Model, text: &str) -> Result<usize, Error> {
    let mut steps = plan(text)?;
    let configuration = model.configuration();
    steps.retain(|step| !is_done(&configuration, &step.change));
    apply(model, &steps)?;
    Ok(steps.len())
}

/// Whether the configuration has it already.
fn is_done(configuration: &Configuration, change: &Change) -> bool {
    let target = |name: &str| configuration.target(name);
    match change {
        Change::AddDevice { name, .. } => configuration.devices.contains_key(name),
        Change::AddTarget(name) => target(name).is_some(),
        Change::AddGroup(name, group) => target(name).is_some_and(|t| t.groups.contains_key(group)),
        Change::AddInitiator(name, group, pattern) => target(name)
            .and_then(|t| t.groups.get(group))
            .is_some_and(|group| group.initiators.iter().any(|known| known.as_str() == pattern)),
        Change::AddLun { scope, lun, .. } => target(&scope.target)
            .and_then(|t| t.map_of(scope.group.as_deref()))
            .is_some_and(|map| map.luns.contains_key(lun)),
        Change::AddValue { object, attribute, value } => configuration.has_value(object, attribute, value),
        Change::Set { object: Object::Target(name), attribute, value } if attribute == "enabled" => {
            target(name).is_some_and(|target| value == if target.enabled { "1" } else { "0" })
        }
        _ => false,
    }
}
