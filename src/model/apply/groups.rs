//! Changes of device groups, and the units that must be told of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::attr::Error;
use crate::model::apply::{Batch, no_attribute};
use crate::model::device_group::{self, DeviceGroup, Member, TargetGroup};
use crate::model::{Change, Object, check_name, exists, missing, unknown};
use crate::scsi::alua::TargetPortGroup;

impl Batch<'_> {
    pub(super) fn apply_to_groups(&mut self, change: &Change) -> Result<(), Error> {
        let groups = &mut self.next.device_groups;
        match change {
            Change::AddDeviceGroup(name) => {
                check_name("device group", name)?;
                if groups.contains_key(name) || name == "mgmt" {
                    return Err(exists("device group", name));
                }
                groups.insert(name.clone(), Arc::default());
            }
            Change::RemoveDeviceGroup(name) => {
                self.regroup(name);
                self.next.device_groups.remove(name).ok_or_else(|| unknown("device group", name))?;
            }
            Change::AddGroupDevice(group, device) => {
                if !self.next.devices.contains_key(device) {
                    return Err(unknown("device", device));
                }
                if let Some((other, _)) = self.next.device_group_of(device) {
                    let text = format!("device {device} is in device group {other} already");
                    return Err(Error::new(libc::EEXIST, text));
                }
                self.device_group(group)?.devices.insert(device.clone());
                self.regroup(group);
            }
            Change::RemoveGroupDevice(group, device) => {
                self.regroup(group);
                if !self.device_group(group)?.devices.remove(device) {
                    return Err(unknown("device", device));
                }
            }
            Change::AddTargetGroup(group, name) => {
                check_name("target group", name)?;
                let own = self.device_group(group)?;
                if own.target_groups.contains_key(name) || name == "mgmt" {
                    return Err(exists("target group", name));
                }
                own.target_groups.push(name.as_str(), TargetGroup::default());
                self.regroup(group);
            }
            Change::RemoveTargetGroup(group, name) => {
                self.device_group(group)?
                    .target_groups
                    .remove(name)
                    .ok_or_else(|| unknown("target group", name))?;
                self.regroup(group);
            }
            Change::AddMember(group, name, target) => {
                check_name("target", target)?;
                let is_local = self.next.target(target).is_some_and(|own| own.name == *target);
                let own = self.device_group(group)?;
                let is_taken = own.target_groups.values().any(|own| own.members.contains_key(target));
                let reserved = ["mgmt", "group_id", "preferred", "state"];
                if is_taken || reserved.contains(&target.as_str()) {
                    return Err(exists("target", target));
                }
                let member = Member { is_local, relative_identifier: 0 };
                self.target_group(group, name)?.members.push(target.as_str(), member);
                self.regroup(group);
            }
            Change::RemoveMember(group, name, target) => {
                let own = self.target_group(group, name)?;
                own.members.remove(target).ok_or_else(|| unknown("target", target))?;
                self.regroup(group);
            }
            _ => {}
        }
        Ok(())
    }

    /// The first group that matches wins: sessions may see another.
    pub(super) fn order_groups(&mut self, target: &str, names: &[String]) -> Result<(), Error> {
        let groups = &mut self.target(target)?.groups;
        if let Some(name) = names.iter().find(|name| !groups.contains_key(name)) {
            return Err(unknown("group", name));
        }
        groups.arrange(names);
        Ok(())
    }

    pub(super) fn device_group(&mut self, name: &str) -> Result<&mut DeviceGroup, Error> {
        let own = self.next.device_groups.get_mut(name);
        own.map(Arc::make_mut).ok_or_else(|| unknown("device group", name))
    }

    pub(super) fn target_group(&mut self, group: &str, name: &str) -> Result<&mut TargetGroup, Error> {
        self.device_group(group)?.target_groups.get_mut(name).ok_or_else(|| unknown("target group", name))
    }

    /// Puts an attribute of a target group, or of a target of another node in one, back to `fresh`.
    pub(super) fn reset_group(&mut self, object: &Object, name: &str, fresh: &str) -> Result<(), Error> {
        let none = || no_attribute(object, name);
        match object {
            Object::TargetGroup(group, own) => {
                let row = device_group::GROUP_ATTRIBUTES.iter().find(|row| row.name == name);
                row.ok_or_else(none)?.restore(self.target_group(group, own)?, fresh)?;
                self.regroup(group);
            }
            Object::Remote(group, own, member) => {
                let row = device_group::MEMBER_ATTRIBUTES.iter().find(|row| row.name == name);
                let own = self.target_group(group, own)?.members.get_mut(member);
                let own = own.filter(|member| !member.is_local).ok_or_else(|| missing("target", member))?;
                row.ok_or_else(none)?.restore(own, fresh)?;
                self.regroup(group);
            }
            _ => return Err(none()),
        }
        Ok(())
    }

    /// The units of a device group will be told of its target groups.
    pub(super) fn regroup(&mut self, group: &str) {
        let devices = self.next.device_groups.get(group).map(|group| group.devices.iter().cloned());
        self.regrouped.extend(devices.into_iter().flatten().map(|device| (device, self.at)));
    }

    /// So will those of all device groups in which this target is.
    pub(super) fn regroup_those_with(&mut self, target: &str) {
        let name = self.next.target(target).map_or(target, |own| &own.name).to_owned();
        let has = |own: &TargetGroup| own.members.contains_key(&name);
        let groups = self.next.device_groups.values().filter(|group| group.target_groups.values().any(has));
        let devices: Vec<String> = groups.flat_map(|group| group.devices.iter().cloned()).collect();
        self.regrouped.extend(devices.into_iter().map(|device| (device, self.at)));
    }

    /// Whether the backing store follows the access state may have changed.
    pub(super) fn rebind(&mut self, device: &str, attribute: &str) {
        if attribute == "bind_alua_state" {
            self.regrouped.insert(device.to_owned(), self.at);
        }
    }

    /// Target port groups of every unit concerned, by its name.
    pub(in crate::model) fn regrouped(&self) -> BTreeMap<String, Vec<TargetPortGroup>> {
        let groups = |device: &String| {
            let group = self.next.device_group_of(device);
            (device.clone(), group.map_or(Vec::new(), |(_, group)| self.next.port_groups(group)))
        };
        self.regrouped.keys().filter(|name| self.next.devices.contains_key(*name)).map(groups).collect()
    }

    /// Target groups that name a target of another node have a target of this one from now on: as they would
    /// when they are made behind it, which is the order of a file.
    pub(super) fn take_into_groups(&mut self, name: &str) -> Result<(), Error> {
        let has = |own: &TargetGroup| own.members.contains_key(name);
        let groups =
            self.next.device_groups.iter().filter(|(_, group)| group.target_groups.values().any(has));
        for group in groups.map(|(group, _)| group.clone()).collect::<Vec<_>>() {
            for own in self.device_group(&group)?.target_groups.values_mut() {
                if let Some(member) = own.members.get_mut(name) {
                    *member = Member { is_local: true, relative_identifier: 0 };
                }
            }
            self.regroup(&group);
        }
        Ok(())
    }
}
