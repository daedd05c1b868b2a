//! `HANDLER` sections: devices.

use std::sync::Arc;

use crate::attr::Access;
use crate::mgmt::conf::parse::{Node, parse};
use crate::mgmt::conf::plan::{Mode, Planner, When, line, unknown, value};
use crate::mgmt::conf::{Error, Place};
use crate::model::device::{DeviceObject, Row, mebibytes};
use crate::model::{Change, Object};

/// Which line of a new device an error is about: its text begins with the attribute's name, or says that
/// there is no such attribute.
pub(super) fn place_of(
    text: &str,
    device: Place,
    parameters: &[(String, String)],
    error: &str,
) -> Option<Place> {
    let is_about = |name: &str| {
        let behind = error.strip_prefix(name);
        behind.is_some_and(|rest| rest.starts_with([':', ' ']))
            || error.contains(&format!(" has no attribute {name};"))
    };
    let at = parameters.iter().position(|(name, _)| is_about(name))?;
    let nodes = parse(text).ok()?;
    let handlers = nodes.iter().filter(|node| node.name == "HANDLER");
    let node = handlers.flat_map(Node::children).find(|node| node.place == device)?;
    node.children().get(at).map(|line| line.place)
}

impl Planner<'_> {
    /// Refuses a line that speaks of a device that will not be there.
    pub(super) fn there_is(&self, node: &Node, device: &str) -> Result<(), Error> {
        let is_running = self.now.devices.contains_key(device);
        if self.has_seen(&format!("DEVICE {device}")) || (is_running && self.mode == Mode::Merge) {
            return Ok(());
        }
        let text = if is_running {
            format!("device {device} is not in this file, so that it would be removed")
        } else {
            format!("there is no device {device}, neither in this file nor running")
        };
        Err(node.wrong(text))
    }

    pub(super) fn handler(&mut self, node: &Node) -> Result<(), Error> {
        let handler = node.value("the name of a handler")?;
        self.once(node, format!("HANDLER {handler}"), &format!("HANDLER {handler}"))?;
        node.children().iter().try_for_each(|child| match child.name.as_str() {
            "DEVICE" => self.device(handler, child),
            _ => Err(unknown(child, "DEVICE")),
        })
    }

    fn device(&mut self, handler: &str, node: &Node) -> Result<(), Error> {
        let name = node.value("the name of a device")?;
        self.once(node, format!("DEVICE {name}"), &format!("DEVICE {name}"))?;
        let mut parameters = Vec::new();
        for attribute in node.children() {
            line(attribute, "attributes")?;
            let key = format!("devices/{name} {}", attribute.name);
            self.once(attribute, key, &attribute.name)?;
            parameters.push((attribute.name.clone(), value(attribute)?.to_owned()));
        }
        let new = Change::AddDevice { handler: handler.to_owned(), name: name.to_owned(), parameters };
        let Some(now) = self.now.devices.get(name).cloned() else {
            self.add(node, new);
            return Ok(());
        };
        let difference = if *now.handler.name == *handler {
            self.first_fixed_difference(node, &now)?
        } else {
            Some(node.wrong(format!("device {name} is one of {}, not of {handler}", now.handler.name)))
        };
        match difference {
            None => self.change_device(name, node, &now),
            Some(error) if self.mode == Mode::Merge => Err(error),
            Some(_) => {
                self.push(When::Renewal, Some(node.place), Change::RemoveDevice(name.to_owned()), None);
                self.renewed.insert(name.to_owned());
                self.add(node, new);
                Ok(())
            }
        }
    }

    /// The first attribute that differs and that nothing but a new device can have.
    fn first_fixed_difference(&self, node: &Node, now: &Arc<DeviceObject>) -> Result<Option<Error>, Error> {
        for attribute in node.children() {
            let (row, access) = now
                .config
                .find(&attribute.name)
                .map_err(|error| Error { errno: error.errno, ..attribute.wrong(error.text) })?;
            let before = row.asked(&now.config);
            let value = value(attribute)?;
            if access == Access::ReadOnly && matches!(row, Row::Declared(..)) {
                return Err(attribute.wrong(format!("{} can be read only", row.name())));
            }
            if access == Access::WriteOnly {
                return Err(attribute.wrong(format!("{} is an order and no setting", row.name())));
            }
            if !can_change(now, row, access) && is_another(row.kind(), &before, value) {
                let name = &now.device.name();
                return Ok(Some(attribute.wrong(format!(
                    "{} of device {name} is {before} and can be set only when the device is made",
                    row.name()
                ))));
            }
        }
        if self.mode == Mode::Exact {
            return Ok(self.first_fixed_left_out(node, now));
        }
        Ok(None)
    }

    /// The first attribute that the file leaves out, that is not at its default, and that nothing but a new
    /// device can have there. The size of a file is the file's.
    fn first_fixed_left_out(&self, node: &Node, now: &Arc<DeviceObject>) -> Option<Error> {
        let name = now.device.name();
        let fresh = self.model.fresh_device(&self.now, &now.handler, name);
        let is_other = |row: &Row| {
            row.access(&now.config) == Some(Access::CreateOnly)
                && row.name() != "size"
                && now.handler.parameter_names().any(|name| name == row.name())
                && row.is_key(&now.config)
                && row.is_other_by_default(&now.config, &fresh)
                && !node.children().iter().any(|child| child.name == row.name())
        };
        let row = now.config.rows().find(is_other)?;
        Some(node.wrong(format!("{} of device {name} is not at its default, and fixed", row.name())))
    }

    fn change_device(&mut self, name: &str, node: &Node, now: &Arc<DeviceObject>) -> Result<(), Error> {
        let set =
            |attribute: &str, value: &str| Change::set(Object::Device(name.to_owned()), attribute, value);
        let is_disk = now.handler.medium == crate::backstore::registry::Medium::Disk;
        // A disk closes before anything else is done, and opens when its file and size are as they shall be.
        let turn = |attribute: &Node| match (attribute.name.as_str(), attribute.values.first()) {
            ("active", Some(value)) if value == "0" => 0,
            ("filename", _) => 1,
            ("size" | "size_mb", _) => 2,
            ("active", _) => 4,
            _ => 3,
        };
        let mut attributes: Vec<&Node> = node.children().iter().collect();
        attributes.sort_by_key(|attribute| turn(attribute));
        let closes = attributes.first().is_some_and(|attribute| turn(attribute) == 0);
        let mut reopens = None;
        for attribute in attributes {
            if let Some(place) = reopens.take_if(|_| turn(attribute) > 2) {
                self.push(When::InOrder, Some(place), set("active", "1"), Some("0"));
            }
            let Ok((row, access)) = now.config.find(&attribute.name) else { continue };
            let before = row.asked(&now.config);
            let value = value(attribute)?;
            if !can_change(now, row, access) || !is_another(row.kind(), &before, value) {
                continue;
            }
            let named = |e: crate::attr::Error| Error {
                errno: e.errno,
                ..attribute.wrong(format!("{}: {}", row.name(), e.text))
            };
            let parsed = row.kind().parse(value).map_err(named)?;
            if is_size(row) {
                let number = parsed.number();
                let bytes = if row.name() == "size" { number } else { mebibytes(number).map_err(named)? };
                let before = now.config.size().to_string();
                let change = Change::Resize(name.to_owned(), bytes);
                self.push(When::InOrder, Some(attribute.place), change, Some(&before));
                continue;
            }
            // The file of a disk is exchanged while it is closed.
            let is_exchange = row.name() == "filename" && is_disk && now.config.active && !closes;
            if is_exchange {
                self.push(When::InOrder, Some(attribute.place), set("active", "0"), Some("1"));
                reopens = Some(attribute.place);
            }
            self.push(When::InOrder, Some(attribute.place), set(row.name(), value), Some(&before));
        }
        if let Some(place) = reopens {
            self.push(When::InOrder, Some(place), set("active", "1"), Some("0"));
        }
        Ok(())
    }
}

fn is_size(row: Row) -> bool {
    matches!(row.name(), "size" | "size_mb")
}

/// Whether a device can have another value. The size of a file, which the tree lets nobody write, can change.
fn can_change(now: &DeviceObject, row: Row, access: Access) -> bool {
    let has_size = || now.handler.parameter_names().any(|name| name == "size");
    access.is_writable() || (is_size(row) && has_size())
}

/// Whether two texts mean different values; an empty drive shows `none`.
fn is_another(kind: crate::attr::Kind, before: &str, value: &str) -> bool {
    if before == value || (before == "none" && value.is_empty()) {
        return false;
    }
    match (kind.parse(before), kind.parse(value)) {
        (Ok(before), Ok(value)) => before != value,
        _ => true,
    }
}
