//! Which sessions notice a change.

use std::sync::Arc;

use crate::model::session::SessionObject;
use crate::model::target::Group;
use crate::model::{Change, Configuration, Model, Object, Scope};
use crate::names::Pattern;

/// Attributes of targets and groups that act on sessions which exist; the others act on those to come.
const LIVE: [&str; 10] = [
    "enabled",
    "cpu_mask",
    "addr_method",
    "black_hole",
    "aen_disabled",
    "per_portal_acl",
    "QueuedCommands",
    "RspTimeout",
    "NopInInterval",
    "NopInTimeout",
];

/// The sessions at the moment of the plan.
pub(super) struct Sessions(Vec<Arc<SessionObject>>);

impl Sessions {
    pub(super) fn new(model: &Model) -> Self {
        Sessions(model.sessions())
    }

    /// The sessions that notice a change, as `INITIATOR at TARGET`.
    pub(super) fn touched(&self, now: &Configuration, change: &Change) -> Vec<String> {
        let touched = self.0.iter().filter(|session| notices(now, session, change));
        touched.map(|session| format!("{} at {}", session.name, session.target)).collect()
    }
}

fn scope<'c>(now: &'c Configuration, session: &SessionObject) -> Option<&'c Scope> {
    now.target(&session.target).map(|target| &target.map_for(&session.subject).scope)
}

fn sees(now: &Configuration, session: &SessionObject, device: &str) -> bool {
    let target = now.target(&session.target);
    target
        .is_some_and(|target| target.map_for(&session.subject).luns.values().any(|lun| lun.device == device))
}

fn is_of(session: &SessionObject, target: &str) -> bool {
    session.target.eq_ignore_ascii_case(target)
}

fn matches(session: &SessionObject, target: &str, pattern: &str) -> bool {
    is_of(session, target) && Pattern::parse(pattern).is_ok_and(|pattern| pattern.matches(&session.subject))
}

fn sees_group(now: &Configuration, session: &SessionObject, group: &str) -> bool {
    let group = now.device_groups.get(group);
    group.is_some_and(|group| group.devices.iter().any(|device| sees(now, session, device)))
}

/// Of the groups that match it, another is the first.
fn notices_order(now: &Configuration, session: &SessionObject, target: &str, names: &[String]) -> bool {
    let Some(own) = now.target(target).filter(|_| is_of(session, target)) else { return false };
    let mut groups = own.groups.clone();
    groups.arrange(names);
    let matches = |group: &Group| group.initiators.iter().any(|pattern| pattern.matches(&session.subject));
    let first = groups.iter().find(|(_, group)| matches(group)).map(|(name, _)| name);
    first != own.group_of(&session.subject)
}

fn notices(now: &Configuration, session: &SessionObject, change: &Change) -> bool {
    match change {
        Change::Set { object, attribute, .. } | Change::Reset { object, attribute } => match object {
            Object::Device(device) => sees(now, session, device),
            Object::Target(target) => is_of(session, target) && LIVE.contains(&attribute.as_str()),
            Object::Group(target, group) => {
                LIVE.contains(&attribute.as_str())
                    && scope(now, session) == Some(&Scope::group(target, group))
            }
            Object::TargetGroup(group, _) | Object::Remote(group, ..) => sees_group(now, session, group),
            _ => false,
        },
        Change::RemoveDevice(device) | Change::Resize(device, _) | Change::Resync(device) => {
            sees(now, session, device)
        }
        Change::RemoveTarget(target) => is_of(session, target),
        Change::RemoveGroup(target, group) | Change::ClearInitiators(target, group) => {
            scope(now, session) == Some(&Scope::group(target, group))
        }
        Change::OrderGroups(target, names) => notices_order(now, session, target, names),
        Change::AddInitiator(target, _, pattern)
        | Change::RemoveInitiator(target, _, pattern)
        | Change::MoveInitiator { target, pattern, .. } => matches(session, target, pattern),
        Change::AddLun { scope: own, .. }
        | Change::ReplaceLun { scope: own, .. }
        | Change::RemoveLun(own, _)
        | Change::ClearLuns(own) => scope(now, session) == Some(own),
        Change::AddGroupDevice(_, device) | Change::RemoveGroupDevice(_, device) => {
            sees(now, session, device)
        }
        Change::RemoveDeviceGroup(group)
        | Change::AddTargetGroup(group, _)
        | Change::RemoveTargetGroup(group, _)
        | Change::AddMember(group, ..)
        | Change::RemoveMember(group, ..) => sees_group(now, session, group),
        Change::AddValue { .. }
        | Change::RemoveValue { .. }
        | Change::AddDevice { .. }
        | Change::AddTarget(_)
        | Change::AddGroup(..)
        | Change::AddDeviceGroup(_) => false,
    }
}
