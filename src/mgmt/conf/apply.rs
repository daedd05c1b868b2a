//! From the tree of a file to changes of the model.

use crate::mgmt::conf::parse::{Node, parse};
use crate::mgmt::conf::{Error, Place};
use crate::model::{Change, Configuration, Model};

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
                plan.push(child, Change::SetDriver(name.to_owned(), value));
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
                let change = Change::SetTarget(name.to_owned(), attribute.to_owned(), value);
                let steps = if attribute == "enabled" { &mut plan.last } else { &mut plan.steps };
                steps.push(Step { place: child.place, change });
            }
        }
    }
    Ok(())
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
    let (target, group) = (target.to_owned(), group.map(str::to_owned));
    plan.push(node, Change::AddLun { target, group, lun, device: device.clone(), read_only });
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

fn apply(model: &Model, step: &Step) -> Result<(), Error> {
    model.apply(&step.change).map_err(|error| Error {
        place: step.place,
        errno: error.errno,
        text: error.text,
    })
}

/// Loads a file into an empty model; on an error the model is of no further use.
pub fn load(model: &Model, text: &str) -> Result<(), Error> {
    plan(text)?.iter().try_for_each(|step| apply(model, step))
}

/// Brings a model that is in use to what a file says: adds what is new and sets what can be set. What the
/// file does not mention stays, and sessions that a change does not concern notice nothing.
pub fn reload(model: &Model, text: &str) -> Result<usize, Error> {
    let steps = plan(text)?;
    let mut changed = 0;
    for step in &steps {
        if is_done(&model.configuration(), &step.change) {
            continue;
        }
        apply(model, step)?;
        changed += 1;
    }
    Ok(changed)
}

/// Whether the configuration has it already.
fn is_done(configuration: &Configuration, change: &Change) -> bool {
    let target = |name: &str| configuration.targets.get(&name.to_ascii_lowercase());
    match change {
        Change::AddDevice { name, .. } => configuration.devices.contains_key(name),
        Change::AddTarget(name) => target(name).is_some(),
        Change::AddGroup(name, group) => target(name).is_some_and(|t| t.groups.contains_key(group)),
        Change::AddInitiator(name, group, pattern) => target(name)
            .and_then(|t| t.groups.get(group))
            .is_some_and(|group| group.initiators.iter().any(|known| known.as_str() == pattern)),
        Change::AddLun { target: name, group, lun, .. } => target(name).is_some_and(|t| match group {
            None => t.luns.contains_key(lun),
            Some(group) => t.groups.get(group).is_some_and(|group| group.luns.contains_key(lun)),
        }),
        Change::SetTarget(name, attribute, value) => target(name).is_some_and(|t| t.has(attribute, value)),
        Change::SetDriver(attribute, value) => configuration.driver.has(attribute, value),
        _ => false,
    }
}
