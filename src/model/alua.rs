//! Access states of device groups: explicit transitions, and backing stores that follow their state.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use crate::attr::Error;
use crate::model::apply::Batch;
use crate::model::{Change, Configuration, Model, Object};
use crate::scsi::alua::{AccessState, Cause, ControlFailed, PortGroupControl};
use crate::scsi::device::TargetPorts;

/// Carries out SET TARGET PORT GROUPS. A unit has it, and the model has the unit: hence weak.
pub(super) struct Control(pub(super) Weak<Model>);

impl PortGroupControl for Control {
    fn set_states(
        &self,
        device: &str,
        states: &[(u16, AccessState)],
        nexus: u64,
    ) -> Result<(), ControlFailed> {
        let model = self.0.upgrade().ok_or(ControlFailed)?;
        let configuration = model.configuration();
        let (name, group) = configuration.device_group_of(device).ok_or(ControlFailed)?;
        let change = |(identifier, state): &(u16, AccessState)| {
            let mut own = group.target_groups.iter().filter(|(_, own)| own.group_id == *identifier);
            let (target_group, _) = own.next()?;
            let object = Object::TargetGroup(name.to_owned(), target_group.to_owned());
            Some(Change::set(object, "state", state.name()))
        };
        let changes: Option<Vec<Change>> = states.iter().map(change).collect();
        let changes = changes.ok_or(ControlFailed)?;
        model.apply_because(&changes, Cause::Explicit { nexus }, |_| Ok(())).map_err(|(_, error)| {
            log::warn!("SET TARGET PORT GROUPS for device {device} failed: {error}");
            ControlFailed
        })
    }
}

impl TargetPorts for Control {
    fn target_ports(&self, device: &str) -> Vec<u16> {
        let Some(model) = self.0.upgrade() else { return Vec::new() };
        let configuration = model.configuration();
        let scopes = configuration.devices.get(device).into_iter().flat_map(|object| object.exports.values());
        let targets = scopes.filter_map(|(scope, _)| configuration.target(&scope.target));
        targets.map(|target| target.relative_identifier).filter(|port| *port != 0).collect()
    }
}

impl Batch<'_> {
    /// `bind_alua_state` (SCST 1.4.2): a backing store closes when no local path may reach it, and opens
    /// again when one may. One that cannot be opened refuses the changes: a path that is said to be active
    /// and reaches nothing would be used. Answers which have been opened.
    pub(super) fn bind_to_groups(&mut self) -> Result<BTreeSet<String>, (usize, Error)> {
        let mut opened = BTreeSet::new();
        for (name, at) in &self.regrouped {
            let group = self.next.device_group_of(name).map(|(_, group)| group);
            let unreachable = group.is_some_and(Configuration::is_unreachable);
            let Some(object) = self.next.devices.get_mut(name) else { continue };
            let closed = unreachable && object.config.bind_alua_state;
            if object.config.is_held_closed() == closed {
                continue;
            }
            let refused = |error: Error| {
                let text = format!("device {name} cannot be opened again: {}", error.text);
                (*at, Error::new(error.errno, text))
            };
            let object = Arc::make_mut(object);
            object.config.rehearsal = self.rehearsal;
            self.effects.extend(object.hold_closed(closed).map_err(refused)?);
            if !closed {
                opened.insert(name.clone());
            }
        }
        Ok(opened)
    }
}
