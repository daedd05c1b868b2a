//! What the file does not mention goes (`Mode::Exact`).

use crate::mgmt::conf::plan::targets::{lun_key, membership_key, target_key};
use crate::mgmt::conf::plan::values::first_word;
use crate::mgmt::conf::plan::{Planner, When};
use crate::model::target::{Map, TargetObject};
use crate::model::{Change, Object};

impl Planner {
    pub(super) fn remove_the_rest(&mut self) {
        let now = self.now.clone();
        for name in now.device_groups.keys() {
            self.rest_of_device_group(name);
        }
        self.values(&Object::Iscsi);
        for target in now.targets.values() {
            if self.has_seen(&target_key(&target.name)) {
                self.rest_of_target(target);
            } else {
                self.gone(Change::RemoveTarget(target.name.clone()));
            }
        }
        for name in now
            .devices
            .keys()
            .filter(|name| !self.has_seen(&format!("DEVICE {name}")))
            .cloned()
            .collect::<Vec<_>>()
        {
            self.gone(Change::RemoveDevice(name));
        }
    }

    fn gone(&mut self, change: Change) {
        self.push(When::First, None, change, None);
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

    fn rest_of_device_group(&mut self, name: &str) {
        let now = self.now.clone();
        if !self.has_seen(&Object::DeviceGroup(name.to_owned()).path()) {
            return self.gone(Change::RemoveDeviceGroup(name.to_owned()));
        }
        let Some(group) = now.device_groups.get(name) else { return };
        for device in &group.devices {
            if !self.has_seen(&format!("device_groups DEVICE {device}")) {
                self.gone(Change::RemoveGroupDevice(name.to_owned(), device.clone()));
            }
        }
        for (own, members) in group.target_groups.iter() {
            if !self.has_seen(&Object::TargetGroup(name.to_owned(), own.to_owned()).path()) {
                self.gone(Change::RemoveTargetGroup(name.to_owned(), own.to_owned()));
                continue;
            }
            for target in members.members.keys() {
                if !self.has_seen(&format!("device_groups/{name} TARGET {target}")) {
                    let (name, own) = (name.to_owned(), own.to_owned());
                    self.gone(Change::RemoveMember(name, own, target.to_owned()));
                }
            }
        }
    }
}
