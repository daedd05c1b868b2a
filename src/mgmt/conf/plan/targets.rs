//! `TARGET_DRIVER` sections: the driver, targets, groups of initiators, LUNs.

use std::collections::HashSet;
use std::sync::Arc;

use crate::mgmt::conf::Error;
use crate::mgmt::conf::parse::Node;
use crate::mgmt::conf::plan::{Mode, Planner, When, unknown, value};
use crate::model::target::{
    CORE_ATTRIBUTES, GROUP_ATTRIBUTES, Group, ISCSI_ATTRIBUTES, LunObject, Map, TargetObject, map_rows,
};
use crate::model::{COPY_MANAGER, COPY_MANAGER_TARGET, Change, Object, Scope, driver, dynamic};
use crate::scsi::lun::MAX_LUN;

impl Planner<'_> {
    pub(super) fn driver(&mut self, node: &Node) -> Result<(), Error> {
        let name = node.value("the name of a driver")?;
        self.once(node, format!("TARGET_DRIVER {name}"), &format!("TARGET_DRIVER {name}"))?;
        match name {
            "iscsi" => self.iscsi(node),
            COPY_MANAGER => self.copy_manager(node),
            _ => Err(node.wrong(format!("there is no driver {name}; there are iscsi and {COPY_MANAGER}"))),
        }
    }

    fn iscsi(&mut self, node: &Node) -> Result<(), Error> {
        let now = self.now.clone();
        let shown = now.values(&Object::Iscsi);
        for child in node.children() {
            match child.name.as_str() {
                "TARGET" => self.target(child)?,
                name if dynamic::find(name, true).is_some() => {
                    self.add_value(child, &Object::Iscsi, &shown)?;
                }
                name => {
                    self.once(child, format!("targets/iscsi {name}"), name)?;
                    let when = if name == "enabled" { When::Last } else { When::InOrder };
                    self.compare(child, Object::Iscsi, &[driver::ATTRIBUTES], &now.driver, when)?;
                }
            }
        }
        Ok(())
    }

    /// The LUNs of the copy manager come by themselves, with numbers of their own: lines about them are read
    /// over.
    fn copy_manager(&mut self, node: &Node) -> Result<(), Error> {
        let now = self.now.clone();
        for child in node.children() {
            match child.name.as_str() {
                "TARGET" if child.values == [COPY_MANAGER_TARGET] => {}
                "TARGET" => return Err(child.wrong(format!("there is only {COPY_MANAGER_TARGET}"))),
                name => {
                    self.once(child, format!("targets/{COPY_MANAGER} {name}"), name)?;
                    let rows = [driver::COPY_MANAGER_ATTRIBUTES];
                    self.compare(child, Object::CopyManager, &rows, &now.driver, When::InOrder)?;
                }
            }
        }
        Ok(())
    }

    fn target(&mut self, node: &Node) -> Result<(), Error> {
        let name = node.value("the name of a target")?;
        self.once(node, target_key(name), &format!("TARGET {name}"))?;
        let configuration = self.now.clone();
        let known = configuration.target(name).filter(|target| !target.is_copy_manager());
        let fresh = TargetObject::new(name, 0);
        let now = known.map_or(&fresh, AsRef::as_ref);
        if known.is_none() {
            self.add(node, Change::AddTarget(name.to_owned()));
        }
        let object = Object::Target(now.name.clone());
        let shown = now.numbers.shown(&now.accounts);
        let lists = [map_rows(), CORE_ATTRIBUTES, ISCSI_ATTRIBUTES];
        for child in node.children() {
            match child.name.as_str() {
                "LUN" => self.lun(child, Scope::target(&now.name), &now.map)?,
                "GROUP" => self.group(child, now)?,
                "HW_TARGET" => return Err(child.wrong("there are no hardware targets")),
                attribute if dynamic::find(attribute, false).is_some() => {
                    self.add_value(child, &object, &shown)?;
                }
                attribute => {
                    self.once(child, format!("{} {attribute}", object.path()), attribute)?;
                    self.agree(node, child)?;
                    // Any identifier is wanted, and it has one.
                    let is_given = attribute == "rel_tgt_id" && now.enabled && self.stays_enabled(node);
                    if is_given && crate::attr::number(value(child)?) == Ok(Some(0)) {
                        continue;
                    }
                    let when = if attribute == "enabled" { When::Last } else { When::InOrder };
                    self.compare(child, object.clone(), &lists, now, when)?;
                }
            }
        }
        self.order_groups(node, now);
        Ok(())
    }

    /// The groups that a file has come into its order: an initiator is in the first that matches.
    fn order_groups(&mut self, node: &Node, target: &TargetObject) {
        let lines = node.children().iter().filter(|child| child.name == "GROUP");
        let wanted: Vec<String> = lines.filter_map(|line| line.values.first().cloned()).collect();
        // Those that it adds come behind those that there are.
        let named: HashSet<&str> = wanted.iter().map(String::as_str).collect();
        let mut before: Vec<&str> = target.groups.keys().filter(|name| named.contains(name)).collect();
        let known: HashSet<&str> = before.iter().copied().collect();
        before.extend(wanted.iter().map(String::as_str).filter(|name| !known.contains(name)));
        if before != wanted {
            let before = before.join(", ");
            let change = Change::OrderGroups(target.name.clone(), wanted);
            self.push(When::InOrder, Some(node.place), change, Some(&before));
        }
    }

    /// Two names of one attribute may both be there, as they are in a directory, with one value.
    fn agree(&self, target: &Node, line: &Node) -> Result<(), Error> {
        let Some(other) = other_name(&line.name) else { return Ok(()) };
        match target.children().iter().find(|child| child.name == other && child.values != line.values) {
            Some(before) if before.place < line.place => {
                let text = format!("{} is another name of {other}, and has another value", line.name);
                Err(line.wrong(format!("{text} at {}", before.place)))
            }
            _ => Ok(()),
        }
    }

    /// Whether a target that is enabled is so when the file was applied.
    fn stays_enabled(&self, node: &Node) -> bool {
        let mut lines = node.children().iter().filter(|line| line.name == "enabled");
        lines.next().map_or(self.mode == Mode::Merge, |line| line.values == ["1"])
    }

    fn group(&mut self, node: &Node, target: &TargetObject) -> Result<(), Error> {
        let name = node.value("the name of a group")?;
        let object = Object::Group(target.name.clone(), name.to_owned());
        self.once(node, object.path(), &format!("GROUP {name}"))?;
        let fresh = Group::new(&target.name, name);
        let known = target.groups.get(name);
        let now = known.map_or(&fresh, AsRef::as_ref);
        if known.is_none() {
            self.add(node, Change::AddGroup(target.name.clone(), name.to_owned()));
        }
        for child in node.children() {
            match child.name.as_str() {
                "LUN" => self.lun(child, Scope::group(&target.name, name), &now.map)?,
                "INITIATOR" => self.initiator(child, target, name)?,
                attribute => {
                    self.once(child, format!("{} {attribute}", object.path()), attribute)?;
                    let lists = [map_rows(), GROUP_ATTRIBUTES];
                    self.compare(child, object.clone(), &lists, now, When::InOrder)?;
                }
            }
        }
        Ok(())
    }

    /// An initiator may be in several groups of a target: the first of them has it.
    fn initiator(&mut self, node: &Node, target: &TargetObject, group: &str) -> Result<(), Error> {
        if node.children.is_some() {
            return Err(node.wrong("initiators have no attributes"));
        }
        let pattern = node.value("the name of an initiator, or a pattern")?;
        let key = membership_key(&target.name, group, pattern);
        self.once(node, key, &format!("INITIATOR {pattern} of this group"))?;
        let has = |own: &Arc<Group>| own.initiators.iter().any(|known| known.as_str() == pattern);
        let mut others = target.groups.iter().filter(|(name, own)| *name != group && has(own));
        // With Mode::Exact it leaves groups in which the file does not have it.
        let other = others.next().filter(|_| self.mode == Mode::Merge).map(|(name, _)| name.to_owned());
        let before = self.seen.insert(initiator_key(&target.name, pattern), node.place);
        let other = other.map(|name| format!("group {name}"));
        if let Some(other) = other.or_else(|| before.map(|place| format!("the group at {place}"))) {
            self.notes.push(format!(
                "{}: initiator {pattern} of target {} is in {other} too; the first of its groups has it",
                node.place, target.name
            ));
        }
        if target.groups.get(group).is_some_and(has) {
            return Ok(());
        }
        let change = Change::AddInitiator(target.name.clone(), group.to_owned(), pattern.to_owned());
        self.add(node, change);
        Ok(())
    }

    fn lun(&mut self, node: &Node, scope: Scope, map: &Map) -> Result<(), Error> {
        let [number, device] = node.values.as_slice() else {
            return Err(node.wrong("LUN wants a number and the name of a device"));
        };
        let lun = crate::attr::number(number).ok().flatten().filter(|lun| *lun <= u64::from(MAX_LUN));
        let lun = lun.and_then(|lun| u16::try_from(lun).ok());
        let wrong = || node.wrong(format!("LUN {number} is not a number from 0 to {MAX_LUN}"));
        let lun = lun.ok_or_else(wrong)?;
        self.once(node, lun_key(&scope, lun), &format!("LUN {lun}"))?;
        let read_only = read_only(node)?;
        self.there_is(node, device)?;
        let wanted = LunObject { device: device.clone(), read_only: read_only.unwrap_or(false) };
        let now = map.luns.get(&lun).filter(|now| !self.renewed.contains(&now.device));
        let device = device.clone();
        match now {
            None => self.add(node, Change::AddLun { scope, lun, device, read_only: wanted.read_only }),
            Some(now) if now.device == device && self.is_shown_as(now, read_only) => {}
            Some(now) => {
                let before = format!("{}{}", now.device, if now.read_only { " (read only)" } else { "" });
                let read_only = wanted.read_only;
                let change = Change::ReplaceLun { scope, lun, device, read_only, is_silent: false };
                self.push(When::InOrder, Some(node.place), change, Some(&before));
            }
        }
        Ok(())
    }

    /// A LUN on a device that is read-only shows that too, and is saved so by scstadmin.
    fn is_shown_as(&self, now: &LunObject, read_only: Option<bool>) -> bool {
        let is_fixed = || self.now.devices.get(&now.device).is_some_and(|own| own.config.is_read_only());
        match read_only {
            None => !now.read_only,
            Some(wanted) => wanted == now.read_only || (wanted && is_fixed()),
        }
    }
}

/// The other name of an attribute of targets that has two.
pub(super) fn other_name(attribute: &str) -> Option<&'static str> {
    match attribute {
        "forwarding" => Some("forward_dst"),
        "forward_dst" => Some("forwarding"),
        _ => None,
    }
}

pub(super) fn target_key(name: &str) -> String {
    format!("TARGET {}", name.to_ascii_lowercase())
}

fn initiator_key(target: &str, pattern: &str) -> String {
    format!("{} INITIATOR {pattern}", target_key(target))
}

pub(super) fn membership_key(target: &str, group: &str, pattern: &str) -> String {
    format!("{} GROUP {group} INITIATOR {pattern}", target_key(target))
}

pub(super) fn lun_key(scope: &Scope, lun: u16) -> String {
    let group = scope.group.as_deref().map_or(String::new(), |group| format!(" GROUP {group}"));
    format!("{}{group} LUN {lun}", target_key(&scope.target))
}

fn read_only(node: &Node) -> Result<Option<bool>, Error> {
    let mut read_only = None;
    for attribute in node.children() {
        if attribute.name != "read_only" || attribute.children.is_some() {
            return Err(unknown(attribute, "read_only"));
        }
        if read_only.is_some() {
            return Err(attribute.wrong("read_only a second time"));
        }
        read_only = match attribute.value("0 or 1")? {
            "0" => Some(false),
            "1" => Some(true),
            other => return Err(attribute.wrong(format!("read_only: \"{other}\" is not 0 or 1"))),
        };
    }
    Ok(read_only)
}
