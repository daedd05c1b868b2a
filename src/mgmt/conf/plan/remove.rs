//! What the file does not mention goes (`Mode::Exact`).

use crate::attr::{Access, Attr};
use crate::backstore::registry::Medium;
use crate::mgmt::conf::plan::groups::{device_key, member_key};
use crate::mgmt::conf::plan::targets::{lun_key, membership_key, other_name, target_key};
use crate::mgmt::conf::plan::{Planner, When};
use crate::model::device::DeviceObject;
use crate::model::device_group::{MEMBER_ATTRIBUTES, Member};
use crate::model::lex::first_word;
use crate::model::target::{
    CORE_ATTRIBUTES, GROUP_ATTRIBUTES, ISCSI_ATTRIBUTES, Map, TargetObject, map_rows,
};
use crate::model::{Change, Object, device_group, driver, fresh, root};

impl Planner<'_> {
    pub(super) fn remove_the_rest(&mut self) {
        let now = self.now.clone();
        for name in now.device_groups.keys() {
            self.rest_of_device_group(name);
        }
        self.attributes(&Object::Root, &[root::ATTRIBUTES], &now.root);
        self.attributes(&Object::Iscsi, &[driver::ATTRIBUTES], &now.driver);
        self.attributes(&Object::CopyManager, &[driver::COPY_MANAGER_ATTRIBUTES], &now.driver);
        self.values(&Object::Iscsi);
        for target in now.targets.values() {
            if self.has_seen(&target_key(&target.name)) {
                self.rest_of_target(target);
            } else {
                self.gone(Change::RemoveTarget(target.name.clone()));
            }
        }
        for (name, object) in &now.devices {
            if !self.has_seen(&format!("DEVICE {name}")) {
                self.gone(Change::RemoveDevice(name.clone()));
            } else if !self.renewed.contains(name) {
                self.attributes_of_device(name, object);
            }
        }
    }

    fn gone(&mut self, change: Change) {
        self.push(When::First, None, change, None);
    }

    /// Attributes that the file could set, and leaves out, go back to their defaults. Identifiers of target
    /// ports stay, which were given without a word; so does what lets initiators in, which has rules of its
    /// own.
    fn attributes<T>(&mut self, object: &Object, lists: &[&'static [Attr<T>]], own: &T) {
        for row in lists.iter().flat_map(|list| list.iter()) {
            let is_open = (row.here)(own, row.access) == Some(Access::ReadWrite) && row.is_key(own);
            if !is_open || matches!(row.name, "enabled" | "rel_tgt_id") || self.mentions(object, row.name) {
                continue;
            }
            let Some(value) = fresh::value(&self.now, object, row.name) else { continue };
            self.reset(object, row, own, &value);
        }
    }

    /// The size of a device is that of its data, and the file of a disk is the disk: neither has a default.
    fn attributes_of_device(&mut self, name: &str, own: &DeviceObject) {
        let object = Object::Device(name.to_owned());
        let fresh = self.model.fresh_device(&self.now, &own.handler, name);
        let is_disk = own.handler.medium == Medium::Disk;
        for row in own.config.rows() {
            let is_open = row.access(&own.config) == Some(Access::ReadWrite);
            let is_data = row.name() == "size" || (row.name() == "filename" && is_disk);
            let is_mentioned = || self.mentions(&object, row.name());
            if !is_open || is_data || !row.is_key(&own.config) || is_mentioned() {
                continue;
            }
            let (value, default) = (row.get(&own.config), row.get(&fresh));
            if row.can_restore(&default) {
                // A disk opens when all is as it shall be.
                let when = if row.name() == "active" { When::InOrder } else { When::First };
                self.put_back(when, &object, row.name(), (&value, &default));
            }
        }
    }

    fn mentions(&self, object: &Object, attribute: &str) -> bool {
        match object {
            Object::Root => self.has_seen(&format!("/{attribute}")),
            _ => {
                let has = |name| self.has_seen(&format!("{} {name}", object.path()));
                let other = other_name(attribute).filter(|_| matches!(object, Object::Target(_)));
                has(attribute) || other.is_some_and(has)
            }
        }
    }

    /// A default that nobody can write is none that can be gone back to.
    fn reset<T>(&mut self, object: &Object, row: &Attr<T>, own: &T, default: &str) {
        if row.can_restore(default) {
            self.put_back(When::First, object, row.name, (&(row.get)(own), default));
        }
    }

    fn put_back(&mut self, when: When, object: &Object, attribute: &str, (value, default): (&str, &str)) {
        if value == default {
            return;
        }
        let change = Change::Reset { object: object.clone(), attribute: attribute.to_owned() };
        self.push(
            when,
            None,
            change,
            Some(&format!("{value} -> {}", if default.is_empty() { "\"\"" } else { default })),
        );
    }

    fn values(&mut self, object: &Object) {
        for own in self.now.clone().values(object) {
            let word = if own.name == "OutgoingUser" { "" } else { first_word(&own.value) };
            if !self.has_seen(&format!("{} {} {word}", object.path(), own.name)) {
                let (object, attribute) = (object.clone(), own.name.to_owned());
                self.gone(Change::RemoveValue {
                    object,
                    attribute,
                    value: first_word(&own.value).to_owned(),
                });
            }
        }
    }

    fn rest_of_target(&mut self, target: &TargetObject) {
        let object = Object::Target(target.name.clone());
        self.values(&object);
        self.attributes(&object, &[map_rows(), CORE_ATTRIBUTES, ISCSI_ATTRIBUTES], target);
        if target.enabled && !self.has_seen(&format!("{} enabled", object.path())) {
            self.push(When::First, None, Change::set(object, "enabled", "0"), Some("1"));
        }
        self.luns(&target.map);
        for (name, group) in target.groups.iter() {
            let object = Object::Group(target.name.clone(), name.to_owned());
            if !self.has_seen(&object.path()) {
                self.gone(Change::RemoveGroup(target.name.clone(), name.to_owned()));
                continue;
            }
            self.attributes(&object, &[map_rows(), GROUP_ATTRIBUTES], group.as_ref());
            self.luns(&group.map);
            for pattern in &group.initiators {
                let pattern = pattern.as_str().to_owned();
                if !self.has_seen(&membership_key(&target.name, name, &pattern)) {
                    self.gone(Change::RemoveInitiator(target.name.clone(), name.to_owned(), pattern));
                }
            }
        }
    }

    fn luns(&mut self, map: &Map) {
        for lun in map.luns.keys() {
            if !self.has_seen(&lun_key(&map.scope, *lun)) {
                self.gone(Change::RemoveLun(map.scope.clone(), *lun));
            }
        }
    }

    fn rest_of_member(&mut self, (group, own, target): (&str, &str, &str), member: &Member) {
        if !self.has_seen(&member_key(group, own, target)) {
            return self.gone(Change::RemoveMember(group.to_owned(), own.to_owned(), target.to_owned()));
        }
        let (group_name, own) = (group.to_owned(), own.to_owned());
        let object = Object::Remote(group_name, own, target.to_owned());
        for row in MEMBER_ATTRIBUTES.iter().filter(|_| !member.is_local) {
            let fresh = fresh::value(&self.now, &object, row.name);
            if let Some(fresh) = fresh.filter(|_| !self.mentions(&object, row.name)) {
                self.reset(&object, row, member, &fresh);
            }
        }
    }

    fn rest_of_device_group(&mut self, name: &str) {
        let now = self.now.clone();
        if !self.has_seen(&Object::DeviceGroup(name.to_owned()).path()) {
            return self.gone(Change::RemoveDeviceGroup(name.to_owned()));
        }
        let Some(group) = now.device_groups.get(name) else { return };
        for device in &group.devices {
            if !self.has_seen(&device_key(name, device)) {
                self.gone(Change::RemoveGroupDevice(name.to_owned(), device.clone()));
            }
        }
        for (own, members) in group.target_groups.iter() {
            if !self.has_seen(&Object::TargetGroup(name.to_owned(), own.to_owned()).path()) {
                self.gone(Change::RemoveTargetGroup(name.to_owned(), own.to_owned()));
                continue;
            }
            let object = Object::TargetGroup(name.to_owned(), own.to_owned());
            self.attributes(&object, &[device_group::GROUP_ATTRIBUTES], members);
            for (target, member) in members.members.iter() {
                self.rest_of_member((name, own, target), member);
            }
        }
    }
}
