//! How changes are made: on a copy of the configuration, which takes the place of the old one when all of
//! them are right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::attr::{Access, Attr, Error};
use crate::model::device::{self, DeviceObject};
use crate::model::device_group::{self, DeviceGroup, Member, TargetGroup};
use crate::model::dynamic::{self, Values};
use crate::model::effect::Effect;
use crate::model::object::{COPY_MANAGER_TARGET, Object, Scope};
use crate::model::target::{
    CORE_ATTRIBUTES, GROUP_ATTRIBUTES, Group, HasMap, ISCSI_ATTRIBUTES, LunObject, Map, TargetObject,
    map_rows,
};
use crate::model::{
    Change, Configuration, Model, OBJECT_LIMIT, check_access, check_name, driver, exists, key, latency,
    missing, root, session, unknown,
};
use crate::names::{IscsiName, Pattern};
use crate::scsi::lun::MAX_LUN;

/// Changes in the making.
pub(super) struct Batch<'m> {
    model: &'m Model,
    /// The configuration as it will be.
    pub(super) next: Configuration,
    /// What is to be done then.
    pub(super) effects: Vec<Effect>,
    /// Targets, by key, whose sessions may see something else.
    pub(super) touched: BTreeSet<String>,
    /// Devices whose target port groups may have changed.
    pub(super) regrouped: BTreeSet<String>,
    /// Objects that are gone; their files close when the batch does.
    removed: Vec<Arc<DeviceObject>>,
}

/// Sets an attribute of one of these lists; `None` when none has it.
fn set<T>(
    lists: &[&'static [Attr<T>]],
    object: &mut T,
    name: &str,
    value: &str,
) -> Option<Result<(), Error>> {
    let row = lists.iter().flat_map(|list| list.iter()).find(|row| row.name == name)?;
    let access = (row.here)(object, row.access)?;
    Some(check_access(access, name).and_then(|()| row.write(object, value)))
}

fn no_attribute(object: &Object, name: &str) -> Error {
    Error::new(libc::ENOENT, format!("/{} has no attribute {name}", object.path()))
}

impl<'m> Batch<'m> {
    pub(super) fn new(model: &'m Model, now: &Configuration) -> Self {
        Batch {
            model,
            next: now.clone(),
            effects: Vec::new(),
            touched: BTreeSet::new(),
            regrouped: BTreeSet::new(),
            removed: Vec::new(),
        }
    }

    /// Makes one change, whole or not at all.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Set { object, attribute, value } => self.set(object, attribute, value),
            Change::AddValue { object, attribute, value } => self.values(object, |v| v.add(attribute, value)),
            Change::RemoveValue { object, attribute, value } => {
                self.values(object, |v| v.remove(attribute, value))
            }
            Change::AddDevice { handler, name, parameters } => self.add_device(handler, name, parameters),
            Change::RemoveDevice(name) => self.remove_device(name),
            Change::Resize(name, bytes) => {
                let effects = self.device(name)?.resize(*bytes)?;
                self.effects.extend(effects);
                Ok(())
            }
            Change::AddTarget(name) => self.add_target(name),
            Change::RemoveTarget(name) => self.remove_target(name),
            Change::AddGroup(target, name) => self.add_group(target, name),
            Change::RemoveGroup(target, name) => self.remove_group(target, name),
            Change::AddInitiator(target, group, pattern) => self.add_initiator(target, group, pattern),
            Change::RemoveInitiator(target, group, pattern) => {
                self.take_initiator(target, group, pattern).map(|_| ())
            }
            Change::MoveInitiator { target, group, pattern, to } => {
                self.move_initiator(target, group, pattern, to)
            }
            Change::ClearInitiators(target, group) => {
                self.group(target, group)?.initiators.clear();
                Ok(())
            }
            Change::AddLun { scope, lun, device, read_only } => {
                if self.map(scope)?.luns.contains_key(lun) {
                    return Err(exists("LUN", &lun.to_string()));
                }
                self.put_lun(scope, *lun, LunObject { device: device.clone(), read_only: *read_only })
            }
            Change::ReplaceLun { scope, lun, device, read_only, is_silent } => {
                self.put_lun(scope, *lun, LunObject { device: device.clone(), read_only: *read_only })?;
                if *is_silent {
                    self.effects.push(Effect::Silent { scope: scope.clone(), lun: *lun });
                }
                Ok(())
            }
            Change::RemoveLun(scope, lun) => {
                if !self.map(scope)?.luns.contains_key(lun) {
                    return Err(unknown("LUN", &lun.to_string()));
                }
                self.take_lun(scope, *lun)
            }
            Change::ClearLuns(scope) => {
                let luns: Vec<u16> = self.map(scope)?.luns.keys().copied().collect();
                luns.into_iter().try_for_each(|lun| self.take_lun(scope, lun))
            }
            _ => self.apply_to_groups(change),
        }
    }

    fn set(&mut self, object: &Object, name: &str, value: &str) -> Result<(), Error> {
        let done = match object {
            Object::Root => {
                let done = set(&[root::ATTRIBUTES], &mut self.next.root, name, value);
                self.effects.extend(self.next.root.pending.take());
                done
            }
            Object::Device(device) => {
                let effects = self.device(device)?.set(name, value)?;
                self.effects.extend(effects);
                return Ok(());
            }
            Object::Iscsi | Object::CopyManager if dynamic::find(name, true).is_some() => {
                return self.values(object, |values| values.replace(name, value));
            }
            Object::Iscsi => set(&[driver::ATTRIBUTES], &mut self.next.driver, name, value),
            Object::CopyManager => {
                set(&[driver::COPY_MANAGER_ATTRIBUTES], &mut self.next.driver, name, value)
            }
            Object::Target(_) if dynamic::find(name, false).is_some() => {
                return self.values(object, |values| values.replace(name, value));
            }
            Object::Target(target) => return self.set_target(target, name, value),
            Object::Group(target, group) => {
                let own = self.group(target, group)?;
                let done = set(&[map_rows(), GROUP_ATTRIBUTES], own, name, value);
                let effects = own.map.pending.take();
                self.effects.extend(effects);
                done
            }
            Object::TargetGroup(device_group, group) => {
                let own = self.target_group(device_group, group)?;
                let done = set(&[device_group::GROUP_ATTRIBUTES], own, name, value);
                self.regroup(device_group);
                done
            }
            Object::Remote(device_group, group, member) => {
                let own = self.target_group(device_group, group)?.members.get_mut(member);
                let own = own.filter(|member| !member.is_local).ok_or_else(|| missing("target", member))?;
                let done = set(&[device_group::MEMBER_ATTRIBUTES], own, name, value);
                self.regroup(device_group);
                done
            }
            Object::Latency(target, session) => {
                if !latency::ATTRIBUTES.iter().any(|row| row.name == name) {
                    return Err(no_attribute(object, name));
                }
                let session =
                    self.model.session(target, session).ok_or_else(|| missing("session", session))?;
                self.effects.push(Effect::Forget(session));
                return Ok(());
            }
            Object::Session(target, session) => return self.set_session(object, (target, session), name),
            _ => None,
        };
        done.unwrap_or_else(|| Err(no_attribute(object, name)))
    }

    /// Sessions have orders only.
    fn set_session(&mut self, object: &Object, at: (&str, &str), name: &str) -> Result<(), Error> {
        let session = self.model.session(at.0, at.1).ok_or_else(|| missing("session", at.1))?;
        if name == "force_close" {
            self.effects.push(Effect::Close(session));
        } else if session::COUNTERS.iter().any(|row| row.name == name) {
            session::reset(&session, name);
        } else if session::ATTRIBUTES.iter().any(|row| row.name == name) {
            return check_access(Access::ReadOnly, name);
        } else {
            return Err(no_attribute(object, name));
        }
        Ok(())
    }

    fn set_target(&mut self, name: &str, attribute: &str, value: &str) -> Result<(), Error> {
        let target = self.target(name)?;
        let lists = [map_rows(), CORE_ATTRIBUTES, ISCSI_ATTRIBUTES];
        let lists = if target.is_copy_manager() { &lists[..2] } else { &lists[..] };
        let done = set(lists, target, attribute, value);
        let effects = target.map.pending.take();
        done.unwrap_or_else(|| Err(no_attribute(&Object::Target(name.to_owned()), attribute)))?;
        self.effects.extend(effects);
        if matches!(attribute, "enabled" | "rel_tgt_id") {
            self.identify(name)?;
        }
        Ok(())
    }

    /// An enabled target has an identifier, which no other enabled target has (SCST 1.6.1).
    fn identify(&mut self, name: &str) -> Result<(), Error> {
        let own = key(name);
        let used: BTreeSet<u16> = self
            .next
            .targets
            .iter()
            .filter(|(other, target)| **other != own && target.enabled)
            .map(|(_, target)| target.relative_identifier)
            .collect();
        let mut next = self.next.next_relative;
        let target = self.target(name)?;
        if !target.enabled {
            return Ok(());
        }
        if target.relative_identifier == 0 {
            while used.contains(&next) {
                next = next.checked_add(1).unwrap_or(1);
            }
            target.relative_identifier = next;
            self.next.next_relative = next.checked_add(1).unwrap_or(1);
        } else if used.contains(&target.relative_identifier) {
            let text = format!("rel_tgt_id {} is another enabled target's", target.relative_identifier);
            return Err(Error::new(libc::EBADSLT, text));
        }
        let groups: Vec<String> = self.next.device_groups.keys().cloned().collect();
        groups.iter().for_each(|group| self.regroup(group));
        Ok(())
    }

    fn values(
        &mut self,
        object: &Object,
        change: impl FnOnce(&mut Values<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match object {
            Object::Iscsi => {
                let own = &mut self.next.driver;
                let (numbers, accounts) = (&mut own.numbers, &mut own.accounts);
                change(&mut Values { numbers, accounts, portals: None })
            }
            Object::Target(name) => {
                let own = self.target(name)?;
                let (numbers, accounts) = (&mut own.numbers, &mut own.accounts);
                change(&mut Values { numbers, accounts, portals: Some(&mut own.allowed_portals) })
            }
            _ => Err(Error::invalid(format!("/{} has no such attributes", object.path()))),
        }
    }

    fn device(&mut self, name: &str) -> Result<&mut DeviceObject, Error> {
        self.next.devices.get_mut(name).map(Arc::make_mut).ok_or_else(|| unknown("device", name))
    }

    fn add_device(
        &mut self,
        handler: &str,
        name: &str,
        parameters: &[(String, String)],
    ) -> Result<(), Error> {
        check_name("device", name)?;
        if name.len() > device::NAME_LIMIT || name.contains('.') {
            let limit = device::NAME_LIMIT;
            let text = format!("\"{name}\" is no name of a device: at most {limit} characters, and no dot");
            return Err(Error::invalid(text));
        }
        let row = self.model.handlers().find(handler).ok_or_else(|| {
            let known: Vec<String> =
                self.model.handlers().all().iter().map(|row| row.name.to_string()).collect();
            Error::new(libc::ENOENT, format!("there is no handler {handler}; there are {}", known.join(", ")))
        })?;
        if self.next.devices.contains_key(name) {
            return Err(exists("device", name));
        }
        if self.next.devices.len() >= OBJECT_LIMIT {
            return Err(Error::new(libc::ENOSPC, format!("there are {OBJECT_LIMIT} devices already")));
        }
        let identity = device::identity(self.next.root.setup_id, self.model.installation, name, &row);
        let means = (&self.model.dispatch, self.model.store.as_ref());
        let object = DeviceObject::open(row, name, parameters, identity, means)?;
        object.device.set_port_group_control(Some(self.model.port_group_control()));
        object.device.set_target_ports(Some(self.model.target_ports()));
        self.next.devices.insert(name.to_owned(), Arc::new(object));
        self.assign_to_copy_manager(name)
    }

    /// SCST 1.11: every device is a LUN of the copy manager, with a number that was not used before while
    /// there are any.
    fn assign_to_copy_manager(&mut self, name: &str) -> Result<(), Error> {
        let luns = &self.next.copy_manager.map.luns;
        let from = self.next.next_copy_lun;
        let numbers = (0..=MAX_LUN).map(|at| (u32::from(from) + at) % (MAX_LUN + 1));
        let free = numbers.filter_map(|lun| u16::try_from(lun).ok()).find(|lun| !luns.contains_key(lun));
        let Some(lun) = free else { return Ok(()) };
        self.next.next_copy_lun = lun + 1;
        let object = LunObject { device: name.to_owned(), read_only: false };
        self.put_lun(&Scope::target(COPY_MANAGER_TARGET), lun, object)
    }

    /// SCST 1.3.2: every LUN that it is goes with it, and it leaves its device group.
    fn remove_device(&mut self, name: &str) -> Result<(), Error> {
        let object = self.next.devices.get(name).cloned().ok_or_else(|| unknown("device", name))?;
        for (scope, lun) in object.exports.values() {
            self.take_lun(scope, *lun)?;
        }
        for group in self.next.device_groups.values_mut() {
            group.devices.remove(name);
        }
        self.next.devices.remove(name);
        self.removed.push(object);
        Ok(())
    }

    fn add_target(&mut self, name: &str) -> Result<(), Error> {
        check_name("target", name)?;
        IscsiName::parse_any_form(name.as_bytes())
            .map_err(|error| Error::invalid(format!("\"{name}\" is no target name: {error}")))?;
        let own = key(name);
        if self.next.targets.contains_key(&own) || own == COPY_MANAGER_TARGET {
            return Err(exists("target", name));
        }
        if self.next.targets.len() >= OBJECT_LIMIT {
            return Err(Error::new(libc::ENOSPC, format!("there are {OBJECT_LIMIT} targets already")));
        }
        let tid = self.next.next_tid;
        self.next.next_tid += 1;
        self.next.targets.insert(own, Arc::new(TargetObject::new(name, tid)));
        Ok(())
    }

    fn remove_target(&mut self, name: &str) -> Result<(), Error> {
        let own = key(name);
        let target = self.next.targets.get(&own).cloned().ok_or_else(|| missing("target", name))?;
        let sessions = self.model.session_count(&own);
        if sessions > 0 {
            return Err(Error::new(libc::EBUSY, format!("target {name} has {sessions} sessions")));
        }
        for map in target.maps() {
            for lun in map.luns.keys() {
                self.take_lun(&map.scope, *lun)?;
            }
        }
        let mut regrouped = Vec::new();
        for (name, group) in &mut self.next.device_groups {
            for own in group.target_groups.values_mut() {
                if own.members.get(&target.name).is_some_and(|member| member.is_local) {
                    own.members.remove(&target.name);
                    regrouped.push(name.clone());
                }
            }
        }
        regrouped.iter().for_each(|group| self.regroup(group));
        self.next.targets.remove(&own);
        Ok(())
    }

    /// The target, to change it; its sessions are looked at again.
    fn target(&mut self, name: &str) -> Result<&mut TargetObject, Error> {
        if name == COPY_MANAGER_TARGET {
            return Ok(Arc::make_mut(&mut self.next.copy_manager));
        }
        let own = key(name);
        let target = self.next.targets.get_mut(&own).ok_or_else(|| missing("target", name))?;
        self.touched.insert(own);
        Ok(Arc::make_mut(target))
    }

    fn add_group(&mut self, target: &str, name: &str) -> Result<(), Error> {
        check_name("group", name)?;
        let own = self.target(target)?;
        if own.is_copy_manager() {
            return Err(Error::invalid("the copy manager has no groups"));
        }
        if own.groups.contains_key(name) {
            return Err(exists("group", name));
        }
        if own.groups.len() >= OBJECT_LIMIT {
            return Err(Error::new(libc::ENOSPC, format!("there are {OBJECT_LIMIT} groups already")));
        }
        let group = Group::new(&own.name, name);
        own.groups.push(name, group);
        Ok(())
    }

    fn remove_group(&mut self, target: &str, name: &str) -> Result<(), Error> {
        let luns: Vec<u16> = self.group(target, name)?.map.luns.keys().copied().collect();
        let scope = self.group(target, name)?.map.scope.clone();
        let sessions = self.model.sessions_in(&self.next, &scope);
        if sessions > 0 {
            return Err(Error::new(libc::EBUSY, format!("group {name} has {sessions} sessions")));
        }
        luns.into_iter().try_for_each(|lun| self.take_lun(&scope, lun))?;
        self.target(target)?.groups.remove(name);
        Ok(())
    }

    fn group(&mut self, target: &str, group: &str) -> Result<&mut Group, Error> {
        self.target(target)?.groups.get_mut(group).ok_or_else(|| unknown("group", group))
    }

    fn add_initiator(&mut self, target: &str, group: &str, pattern: &str) -> Result<(), Error> {
        let wrong = |error| Error::invalid(format!("initiator \"{pattern}\": {error}"));
        let parsed = Pattern::parse(pattern).map_err(wrong)?;
        check_name("initiator", pattern)?;
        let group = self.group(target, group)?;
        if pattern == "mgmt" || group.initiators.contains(&parsed) {
            return Err(exists("initiator", pattern));
        }
        if group.initiators.len() >= OBJECT_LIMIT {
            return Err(Error::new(libc::ENOSPC, format!("there are {OBJECT_LIMIT} initiators already")));
        }
        group.initiators.push(parsed);
        Ok(())
    }

    fn take_initiator(&mut self, target: &str, group: &str, pattern: &str) -> Result<Pattern, Error> {
        let group = self.group(target, group)?;
        let place = group.initiators.iter().position(|known| known.as_str() == pattern);
        Ok(group.initiators.remove(place.ok_or_else(|| unknown("initiator", pattern))?))
    }

    fn move_initiator(&mut self, target: &str, group: &str, pattern: &str, to: &str) -> Result<(), Error> {
        if self.group(target, to)?.initiators.iter().any(|known| known.as_str() == pattern) {
            return Err(exists("initiator", pattern));
        }
        let moved = self.take_initiator(target, group, pattern)?;
        self.group(target, to)?.initiators.push(moved);
        Ok(())
    }

    fn map(&mut self, scope: &Scope) -> Result<&mut Map, Error> {
        match &scope.group {
            None => Ok(self.target(&scope.target)?.map_mut()),
            Some(group) => Ok(self.group(&scope.target, group)?.map_mut()),
        }
    }

    fn put_lun(&mut self, scope: &Scope, lun: u16, object: LunObject) -> Result<(), Error> {
        if u32::from(lun) > MAX_LUN {
            return Err(Error::invalid(format!("LUN {lun} is not a number from 0 to {MAX_LUN}")));
        }
        self.next.devices.get(&object.device).ok_or_else(|| unknown("device", &object.device))?;
        if scope.target == COPY_MANAGER_TARGET && object.read_only {
            return Err(Error::invalid("the copy manager takes no LUN that is read-only"));
        }
        let scope = self.map(scope)?.scope.clone();
        if self.map(&scope)?.luns.contains_key(&lun) {
            self.take_lun(&scope, lun)?;
        }
        self.device(&object.device)?.export(scope.clone(), lun);
        self.map(&scope)?.luns.insert(lun, object);
        Ok(())
    }

    fn take_lun(&mut self, scope: &Scope, lun: u16) -> Result<(), Error> {
        let map = self.map(scope)?;
        let scope = map.scope.clone();
        if let Some(object) = map.luns.remove(&lun) {
            self.device(&object.device)?.unexport(&scope, lun);
        }
        Ok(())
    }

    fn apply_to_groups(&mut self, change: &Change) -> Result<(), Error> {
        let groups = &mut self.next.device_groups;
        match change {
            Change::AddDeviceGroup(name) => {
                check_name("device group", name)?;
                if groups.contains_key(name) || name == "mgmt" {
                    return Err(exists("device group", name));
                }
                groups.insert(name.clone(), DeviceGroup::default());
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
                own.target_groups.push(name, TargetGroup::default());
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
                self.target_group(group, name)?.members.push(target, member);
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

    fn device_group(&mut self, name: &str) -> Result<&mut DeviceGroup, Error> {
        self.next.device_groups.get_mut(name).ok_or_else(|| unknown("device group", name))
    }

    fn target_group(&mut self, group: &str, name: &str) -> Result<&mut TargetGroup, Error> {
        self.device_group(group)?.target_groups.get_mut(name).ok_or_else(|| unknown("target group", name))
    }

    /// The units of a device group will be told of its target groups.
    fn regroup(&mut self, group: &str) {
        let devices = self.next.device_groups.get(group).map(|group| group.devices.iter().cloned());
        self.regrouped.extend(devices.into_iter().flatten());
    }

    /// Target port groups of every unit concerned, by its name.
    pub(super) fn regrouped(&self) -> BTreeMap<String, Vec<crate::scsi::alua::TargetPortGroup>> {
        let groups = |device: &String| {
            let group = self.next.device_group_of(device);
            (device.clone(), group.map_or(Vec::new(), |(_, group)| self.next.port_groups(group)))
        };
        self.regrouped.iter().filter(|name| self.next.devices.contains_key(*name)).map(groups).collect()
    }
}
