//! Device groups: which targets reach which devices, and in which asymmetric access state (SCST 1.10).

use std::collections::{BTreeMap, BTreeSet};

use crate::attr::{Attr, Error, Kind, Saved};
use crate::model::Configuration;
use crate::model::object::Made;
use crate::model::ordered::Ordered;
use crate::scsi::alua::{AccessState, Cause, TargetPortGroup};

/// A target in a target group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// It is a target of this daemon, whose own identifier counts.
    pub is_local: bool,
    /// Relative target port identifier of a target of another node.
    pub relative_identifier: u16,
}

/// A target group.
#[derive(Clone, Debug, Default)]
pub struct TargetGroup {
    /// TARGET PORT GROUP.
    pub group_id: u16,
    /// PREF.
    pub preferred: bool,
    /// State of the paths through its targets.
    pub state: AccessState,
    /// Its targets by name.
    pub members: Ordered<Member>,
    /// Which of all that had its name.
    pub made: Made,
}

/// A device group.
#[derive(Clone, Debug, Default)]
pub struct DeviceGroup {
    /// Names of its devices.
    pub devices: BTreeSet<String>,
    /// Its target groups by name.
    pub target_groups: Ordered<TargetGroup>,
    /// Which of all that had its name.
    pub made: Made,
}

impl Configuration {
    /// The device group of a device, by name.
    pub fn device_group_of(&self, device: &str) -> Option<(&str, &DeviceGroup)> {
        self.device_groups
            .iter()
            .find(|(_, group)| group.devices.contains(device))
            .map(|(name, group)| (name.as_str(), group.as_ref()))
    }

    /// The target port groups as the units of a device group show them.
    pub fn port_groups(&self, group: &DeviceGroup) -> Vec<TargetPortGroup> {
        let identifier = |(name, member): (&str, &Member)| match member.is_local {
            true => self.target(name).map_or(0, |target| target.relative_identifier),
            false => member.relative_identifier,
        };
        let local = |own: &TargetGroup| {
            let local = own.members.iter().filter(|(_, member)| member.is_local);
            local.map(|(name, _)| name.to_owned()).collect()
        };
        let shown = group.target_groups.values().map(|own| TargetPortGroup {
            group_id: own.group_id,
            state: own.state,
            preferred: own.preferred,
            ports: own.members.iter().map(identifier).collect(),
            targets: local(own),
        });
        shown.collect()
    }

    /// Shows the units these groups.
    pub(super) fn show_groups(&self, groups: BTreeMap<String, Vec<TargetPortGroup>>, cause: Cause) {
        for (name, list) in groups {
            if let Some(object) = self.devices.get(&name) {
                let _ = object.device.set_target_port_groups(list, cause);
            }
        }
    }

    /// Whether no local path to the devices of a group reaches the medium, though there are local paths.
    pub(super) fn is_unreachable(group: &DeviceGroup) -> bool {
        let mut local = group.target_groups.values().filter(|own| own.members.values().any(|m| m.is_local));
        let first = local.next();
        first.is_some_and(|own| !own.state.is_accessible()) && local.all(|own| !own.state.is_accessible())
    }
}

/// Attributes of target groups.
pub static GROUP_ATTRIBUTES: &[Attr<TargetGroup>] = &[
    Attr {
        name: "group_id",
        kind: Kind::Number { min: 1, max: 65535 },
        default: "0",
        saved: Saved::Always,
        help: "TARGET PORT GROUP",
        get: |group| group.group_id.to_string(),
        set: |group, value| {
            group.group_id = u16::try_from(value.number()).unwrap_or(0);
            Ok(())
        },
        ..Attr::ROW
    },
    Attr {
        name: "preferred",
        kind: Kind::Bool,
        default: "0",
        help: "initiators should use this group when they have the choice (PREF)",
        get: |group| u8::from(group.preferred).to_string(),
        set: |group, value| {
            group.preferred = value.bool();
            Ok(())
        },
        ..Attr::ROW
    },
    Attr {
        name: "state",
        kind: Kind::Word(&["active", "nonoptimized", "standby", "unavailable", "offline", "transitioning"]),
        default: "active",
        saved: Saved::Always,
        help: "asymmetric access state of the paths through the targets of the group",
        get: |group| group.state.name().to_owned(),
        set: |group, value| {
            let text = value.text();
            let wrong = || Error::invalid(format!("\"{text}\" is no access state"));
            group.state = AccessState::from_name(&text).ok_or_else(wrong)?;
            Ok(())
        },
        ..Attr::ROW
    },
];

/// Attributes of targets of other nodes.
pub static MEMBER_ATTRIBUTES: &[Attr<Member>] = &[Attr {
    name: "rel_tgt_id",
    kind: Kind::Number { min: 1, max: 65535 },
    default: "0",
    saved: Saved::Always,
    help: "relative target port identifier of the target, which another node has",
    get: |member| member.relative_identifier.to_string(),
    set: |member, value| {
        member.relative_identifier = u16::try_from(value.number()).unwrap_or(0);
        Ok(())
    },
    ..Attr::ROW
}];
