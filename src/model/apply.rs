//! How changes are made: on a copy of the configuration, which takes the place of the old one when all of
//! them are right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::attr::{Access, Attr, Error};
use crate::model::device::{self, DeviceObject};
use crate::model::device_group::{self, TargetGroup};
use crate::model::dynamic::{self, Values};
use crate::model::effect::Effect;
use crate::model::handover::Handover;
use crate::model::object::{COPY_MANAGER_TARGET, Object, Scope};
use crate::model::rehearsal::Rehearsal;
use crate::model::target::{
    CORE_ATTRIBUTES, GROUP_ATTRIBUTES, Group, HasMap, ISCSI_ATTRIBUTES, LunObject, Map, TargetObject,
    map_rows,
};
use crate::model::{
    Change, Configuration, Model, OBJECT_LIMIT, check_access, check_name, check_name_within, driver, exists,
    fresh, key, latency, memory, missing, root, session, trace, unknown,
};
use crate::names::{IscsiName, Pattern};
use crate::scsi::lun::MAX_LUN;

mod groups;
mod identifiers;

/// Changes in the making.
pub(super) struct Batch<'m> {
    model: &'m Model,
    /// The configuration as it will be.
    pub(super) next: Configuration,
    /// What is to be done then.
    pub(super) effects: Vec<Effect>,
    /// Targets, by key, whose sessions may see something else.
    pub(super) touched: BTreeSet<String>,
    /// Devices whose target port groups may have changed, or what follows from them, each with the place of
    /// the last change that did it.
    pub(super) regrouped: BTreeMap<String, usize>,
    /// Targets, by key, whose relative identifiers are to be looked at, each with the place of the last
    /// change that made it so.
    identified: BTreeMap<String, usize>,
    /// Place of the change that is being made.
    pub(super) at: usize,
    /// Objects that are gone; their files close when the batch does, unless another needs them before.
    removed: Vec<Arc<DeviceObject>>,
    /// Nothing is opened, and nothing of this is made.
    pub(super) rehearsal: Option<Rehearsal>,
    /// Last: what it opens again, the devices above have closed by then.
    pub(super) handover: Handover<'m>,
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

fn check_lun(lun: u16) -> Result<(), Error> {
    if u32::from(lun) > MAX_LUN {
        return Err(Error::invalid(format!("LUN {lun} is not a number from 0 to {MAX_LUN}")));
    }
    Ok(())
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
            regrouped: BTreeMap::new(),
            identified: BTreeMap::new(),
            at: 0,
            removed: Vec::new(),
            rehearsal: None,
            handover: Handover::new(model),
        }
    }

    /// Makes one change, whole or not at all.
    pub(super) fn apply(&mut self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Set { object, attribute, value } => self.set(object, attribute, value),
            Change::Reset { object, attribute } => self.reset(object, attribute),
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
            Change::Resync(name) => {
                let effects = self.device(name)?.resync()?;
                self.effects.extend(effects);
                Ok(())
            }
            Change::AddTarget(name) => self.add_target(name),
            Change::RemoveTarget(name) => self.remove_target(name),
            Change::AddGroup(target, name) => self.add_group(target, name),
            Change::RemoveGroup(target, name) => self.remove_group(target, name),
            Change::OrderGroups(target, names) => self.order_groups(target, names),
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
            Change::AddLun { scope, lun, device, read_only }
            | Change::ReplaceLun { scope, lun, device, read_only, .. }
                if scope.target == COPY_MANAGER_TARGET =>
            {
                let adds = matches!(change, Change::AddLun { .. });
                if adds && self.next.copy_device(*lun).is_some() {
                    return Err(exists("LUN", &lun.to_string()));
                }
                self.include_in_copies(*lun, device, *read_only)
            }
            Change::RemoveLun(scope, lun) if scope.target == COPY_MANAGER_TARGET => {
                let own = self.next.copy_device(*lun).map(|(name, _)| name.to_owned());
                self.copy(&own.ok_or_else(|| unknown("LUN", &lun.to_string()))?, false)
            }
            Change::ClearLuns(scope) if scope.target == COPY_MANAGER_TARGET => {
                let names: Vec<String> = self.next.devices.keys().cloned().collect();
                names.iter().try_for_each(|name| self.copy(name, false))
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
            Object::Handler(handler) if self.model.handlers().find(handler).is_none() => {
                return Err(missing("handler", handler));
            }
            Object::Root | Object::Handler(_) | Object::Iscsi if name == trace::NAME => {
                let done = set(&[trace::ATTRIBUTES], &mut self.next.root.trace, name, value);
                self.effects.push(Effect::Log(self.next.root.trace.level()));
                done
            }
            Object::Root => {
                let done = set(&[root::ATTRIBUTES], &mut self.next.root, name, value);
                self.effects.extend(self.next.root.pending.take());
                done
            }
            Object::Device(device) => {
                let effects = self.device(device)?.set(name, value)?;
                self.effects.extend(effects);
                self.rebind(device, name);
                return self.check_reservations_file(device);
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
            Object::Memory | Object::MemoryPool => {
                let lists = [memory::GLOBAL_ATTRIBUTES, memory::POOL_ATTRIBUTES];
                let list = lists[usize::from(*object == Object::MemoryPool)];
                self.model.buffers.get().cloned().and_then(|mut pool| set(&[list], &mut pool, name, value))
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

    fn reset(&mut self, object: &Object, name: &str) -> Result<(), Error> {
        if let Object::Device(device) = object {
            let handler = Arc::clone(&self.device(device)?.handler);
            let fresh = self.model.fresh_device(&self.next, &handler, device);
            let effects = self.device(device)?.reset(name, &fresh)?;
            self.effects.extend(effects);
            self.rebind(device, name);
            return Ok(());
        }
        let value = fresh::value(&self.next, object, name).ok_or_else(|| no_attribute(object, name))?;
        match object {
            Object::TargetGroup(..) | Object::Remote(..) => self.reset_group(object, name, &value),
            _ => self.set(object, name, &value),
        }
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
        let before = Some(target.relative_identifier).filter(|_| target.enabled && !target.is_copy_manager());
        let lists = [map_rows(), CORE_ATTRIBUTES, ISCSI_ATTRIBUTES];
        let lists = if target.is_copy_manager() { &lists[..2] } else { &lists[..] };
        let done = set(lists, target, attribute, value);
        let effects = target.map.pending.take();
        done.unwrap_or_else(|| Err(no_attribute(&Object::Target(name.to_owned()), attribute)))?;
        self.effects.extend(effects);
        if matches!(attribute, "enabled" | "rel_tgt_id") {
            self.identify(name, before);
            // Also of a disabled target the units of its groups show the identifier.
            self.regroup_those_with(name);
        }
        Ok(())
    }

    fn values(
        &mut self,
        object: &Object,
        change: impl FnOnce(&mut Values<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (numbers, accounts, portals) = match object {
            Object::Iscsi => {
                let own = &mut self.next.driver;
                (&mut own.numbers, &mut own.accounts, None)
            }
            Object::Target(name) => {
                let own = self.target(name)?;
                (&mut own.numbers, &mut own.accounts, Some(&mut own.allowed_portals))
            }
            _ => return Err(Error::invalid(format!("/{} has no such attributes", object.path()))),
        };
        let warning = Values { numbers, accounts, portals }.changed(change)?;
        self.effects.extend(warning.map(|text| Effect::Warn(format!("/{}: {text}", object.path()))));
        Ok(())
    }

    fn device(&mut self, name: &str) -> Result<&mut DeviceObject, Error> {
        let object = Arc::make_mut(self.next.devices.get_mut(name).ok_or_else(|| unknown("device", name))?);
        object.config.rehearsal = self.rehearsal;
        Ok(object)
    }

    fn add_device(
        &mut self,
        handler: &str,
        name: &str,
        parameters: &[(String, String)],
    ) -> Result<(), Error> {
        check_name_within("device", name, device::NAME_LIMIT)?;
        if name.contains('.') {
            return Err(Error::invalid(format!(
                "\"{name}\" is no name of a device: there may be no dot in it"
            )));
        }
        let handlers = self.model.handlers();
        // A rehearsal loads no library.
        let found = match self.rehearsal {
            Some(_) => Ok(handlers.find(handler)),
            None => handlers.provide(handler),
        };
        let found = found.map_err(|error| Error::new(error.errno, error.text))?;
        let row = found.ok_or_else(|| {
            let known: Vec<String> = handlers.all().iter().map(|row| row.name.to_string()).collect();
            Error::new(libc::ENOENT, format!("there is no handler {handler}; there are {}", known.join(", ")))
        })?;
        if self.next.devices.contains_key(name) {
            return Err(exists("device", name));
        }
        if self.next.devices.len() >= OBJECT_LIMIT {
            return Err(Error::new(libc::ENOSPC, format!("there are {OBJECT_LIMIT} devices already")));
        }
        let mut config = self.model.fresh_device(&self.next, &row, name);
        config.rehearsal = self.rehearsal;
        let means = (&self.model.dispatch, self.model.store.as_ref());
        let (handover, gone) = (&mut self.handover, &self.removed);
        let object = DeviceObject::open(config, parameters, means, |new| handover.make_way(gone, new))?;
        object.device.set_port_group_control(Some(self.model.port_group_control()));
        object.device.set_target_ports(Some(self.model.target_ports()));
        self.check_identity(&object)?;
        self.next.devices.insert(name.to_owned(), Arc::new(object));
        self.check_reservations_file(name)
    }

    /// Identities made of 32 bits of a name may be the same (SCST 1.3.2), and initiators would take two disks
    /// for two paths to one. What somebody has chosen is theirs to know.
    fn check_identity(&self, new: &DeviceObject) -> Result<(), Error> {
        fn made(object: &DeviceObject) -> Option<&str> {
            let own = &object.config;
            (!own.given.contains("usn")).then_some(own.settings.identity.usn.as_str())
        }
        // Without a setup_id there are 64 bits.
        let Some(usn) = made(new).filter(|_| self.next.root.setup_id != 0) else { return Ok(()) };
        match self.next.devices.iter().find(|(_, other)| made(other) == Some(usn)) {
            None => Ok(()),
            Some((other, _)) => {
                let text = format!("its usn {usn} is that of device {other}; another name or usn is wanted");
                Err(Error::new(libc::EEXIST, text))
            }
        }
    }

    /// Two devices that keep their reservations in one file would each lose those of the other.
    fn check_reservations_file(&self, name: &str) -> Result<(), Error> {
        let Some(own) = self.next.devices.get(name) else { return Ok(()) };
        let Some(path) = &own.config.pr_file_name else { return Ok(()) };
        let is_same = |(other, object): &(&String, &Arc<DeviceObject>)| {
            *other != name && object.config.pr_file_name.as_ref() == Some(path)
        };
        match self.next.devices.iter().find(is_same) {
            None => Ok(()),
            Some((other, _)) => {
                let text = format!("pr_file_name: {} is that of device {other}", path.display());
                Err(Error::new(libc::EEXIST, text))
            }
        }
    }

    /// SCST 1.3.2: every LUN that it is goes with it, and it leaves its device group.
    fn remove_device(&mut self, name: &str) -> Result<(), Error> {
        let object = self.next.devices.get(name).cloned().ok_or_else(|| unknown("device", name))?;
        for (scope, lun) in object.exports.values() {
            self.take_lun(scope, *lun)?;
        }
        if let Some(group) = self.next.device_group_of(name).map(|(group, _)| group.to_owned()) {
            self.device_group(&group)?.devices.remove(name);
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
        self.take_into_groups(name)
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
        let has = |own: &TargetGroup| own.members.get(&target.name).is_some_and(|member| member.is_local);
        let groups =
            self.next.device_groups.iter().filter(|(_, group)| group.target_groups.values().any(has));
        for name in groups.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            for own in self.device_group(&name)?.target_groups.values_mut().filter(|own| has(own)) {
                own.members.remove(&target.name);
            }
            self.regroup(&name);
        }
        self.next.targets.remove(&own);
        self.free(&own, target.relative_identifier);
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
        own.groups.push(name, Arc::new(group));
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
        let own = self.target(target)?.groups.get_mut(group);
        own.map(Arc::make_mut).ok_or_else(|| unknown("group", group))
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

    /// A device that has left the copy manager comes back; one that is there stays as it is. The number is
    /// its own, whatever was said.
    fn include_in_copies(&mut self, lun: u16, device: &str, read_only: bool) -> Result<(), Error> {
        check_lun(lun)?;
        if read_only {
            return Err(Error::invalid("the copy manager takes no LUN that is read-only"));
        }
        self.copy(device, true)
    }

    fn copy(&mut self, device: &str, is_copied: bool) -> Result<(), Error> {
        let effects = self.device(device)?.set_copied(is_copied);
        self.effects.extend(effects);
        Ok(())
    }

    fn put_lun(&mut self, scope: &Scope, lun: u16, object: LunObject) -> Result<(), Error> {
        check_lun(lun)?;
        self.next.devices.get(&object.device).ok_or_else(|| unknown("device", &object.device))?;
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
}
