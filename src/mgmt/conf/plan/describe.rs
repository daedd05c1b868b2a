//! Changes in words.

use crate::model::lex::first_word;
use crate::model::{Change, Object, Scope};

fn map(scope: &Scope) -> String {
    match &scope.group {
        None => format!("target {}", scope.target),
        Some(group) => format!("target {}, group {group}", scope.target),
    }
}

fn object(object: &Object) -> String {
    match object {
        Object::Root => "the whole".to_owned(),
        Object::Iscsi => "driver iscsi".to_owned(),
        Object::CopyManager => "driver copy_manager".to_owned(),
        Object::Device(name) => format!("device {name}"),
        Object::Target(name) => format!("target {name}"),
        Object::Group(target, group) => format!("target {target}, group {group}"),
        Object::TargetGroup(group, name) => format!("device group {group}, target group {name}"),
        Object::Remote(group, name, target) => {
            format!("device group {group}, target group {name}, target {target}")
        }
        other => other.path(),
    }
}

/// A value as it may be shown: of accounts the name only.
fn shown<'a>(attribute: &str, value: &'a str) -> std::borrow::Cow<'a, str> {
    let base = attribute.trim_end_matches(|c: char| c.is_ascii_digit());
    if base.eq_ignore_ascii_case("IncomingUser") || base.eq_ignore_ascii_case("OutgoingUser") {
        return format!("{} (password not shown)", first_word(value)).into();
    }
    if value.is_empty() { "\"\"".into() } else { value.into() }
}

fn lun(sign: char, scope: &Scope, lun: u16, device: &str, read_only: bool) -> String {
    let read_only = if read_only { " (read only)" } else { "" };
    format!("{sign} {}: LUN {lun} is {device}{read_only}", map(scope))
}

/// A change in a line; `before` is what the value was.
pub(super) fn change(change: &Change, before: Option<&str>) -> String {
    match change {
        Change::Set { object: own, attribute, value } => {
            let before = before.map_or(String::new(), |before| format!("{} -> ", shown(attribute, before)));
            format!("~ {}: {attribute} {before}{}", object(own), shown(attribute, value))
        }
        Change::Reset { object: own, attribute } => {
            format!("~ {}: {attribute} {}, its default", object(own), before.unwrap_or_default())
        }
        Change::AddValue { object: own, attribute, value } => {
            format!("+ {}: {attribute} {}", object(own), shown(attribute, value))
        }
        Change::RemoveValue { object: own, attribute, value } => {
            format!("- {}: {attribute} {}", object(own), shown(attribute, value))
        }
        Change::AddDevice { handler, name, parameters } => {
            let parameters =
                parameters.iter().map(|(name, value)| format!(", {name} {}", shown(name, value)));
            format!("+ device {name} ({handler}{})", parameters.collect::<String>())
        }
        Change::RemoveDevice(name) => format!("- device {name}, and every LUN that it is"),
        Change::Resize(name, bytes) => {
            let before = before.map_or(String::new(), |before| format!("{before} -> "));
            format!("~ device {name}: size {before}{bytes}")
        }
        Change::Resync(name) => format!("~ device {name}: size as its backing has it"),
        Change::AddTarget(name) => format!("+ target {name}"),
        Change::RemoveTarget(name) => format!("- target {name}"),
        Change::AddGroup(target, name) => format!("+ target {target}, group {name}"),
        Change::RemoveGroup(target, name) => format!("- target {target}, group {name}"),
        Change::OrderGroups(target, names) => format!(
            "~ target {target}: groups {} -> {}, of which the first that matches wins",
            before.unwrap_or_default(),
            names.join(", ")
        ),
        Change::AddInitiator(target, group, name) => {
            format!("+ target {target}, group {group}: initiator {name}")
        }
        Change::RemoveInitiator(target, group, name) => {
            format!("- target {target}, group {group}: initiator {name}")
        }
        Change::MoveInitiator { target, group, pattern, to } => {
            format!("~ target {target}: initiator {pattern} from group {group} to {to}")
        }
        Change::ClearInitiators(target, group) => format!("- target {target}, group {group}: all initiators"),
        Change::AddLun { scope, lun: number, device, read_only } => {
            lun('+', scope, *number, device, *read_only)
        }
        Change::ReplaceLun { scope, lun: number, device, read_only, .. } => {
            let before = before.map_or(String::new(), |before| format!(", was {before}"));
            lun('~', scope, *number, device, *read_only) + &before
        }
        Change::RemoveLun(scope, number) => format!("- {}: LUN {number}", map(scope)),
        Change::ClearLuns(scope) => format!("- {}: all LUNs", map(scope)),
        Change::AddDeviceGroup(name) => format!("+ device group {name}"),
        Change::RemoveDeviceGroup(name) => format!("- device group {name}"),
        Change::AddGroupDevice(group, name) => format!("+ device group {group}: device {name}"),
        Change::RemoveGroupDevice(group, name) => format!("- device group {group}: device {name}"),
        Change::AddTargetGroup(group, name) => format!("+ device group {group}, target group {name}"),
        Change::RemoveTargetGroup(group, name) => format!("- device group {group}, target group {name}"),
        Change::AddMember(group, name, target) => {
            format!("+ device group {group}, target group {name}: target {target}")
        }
        Change::RemoveMember(group, name, target) => {
            format!("- device group {group}, target group {name}: target {target}")
        }
    }
}
