//! Device groups, plainly.

use std::collections::{BTreeMap, BTreeSet};

use super::doc;

#[derive(Clone, Debug)]
struct TargetGroup {
    name: String,
    id: u16,
    preferred: String,
    state: String,
    /// Names, and the identifier that a target of another node has.
    members: Vec<(String, Option<u16>)>,
}

#[derive(Clone, Debug, Default)]
struct DeviceGroup {
    devices: BTreeSet<String>,
    groups: Vec<TargetGroup>,
}

/// A target group as its units show it: identifier, state, preference, ports.
pub type Shown = (u16, String, bool, Vec<u16>);

/// All device groups by name.
#[derive(Clone, Debug, Default)]
pub struct Groups(BTreeMap<String, DeviceGroup>);

/// What device groups know of the rest.
pub struct Around<'a> {
    pub devices: &'a BTreeSet<String>,
    /// Identifiers of the targets that there are.
    pub targets: &'a BTreeMap<String, u16>,
}

impl Groups {
    /// Everything as a file says it.
    pub fn doc(&self) -> Vec<doc::DeviceGroup> {
        let group = |own: &TargetGroup| doc::TargetGroup {
            name: own.name.clone(),
            lines: vec![
                ("group_id".into(), own.id.to_string()),
                ("preferred".into(), own.preferred.clone()),
                ("state".into(), own.state.clone()),
            ],
            members: own
                .members
                .iter()
                .map(|(name, port)| (name.clone(), port.map(|port| port.to_string())))
                .collect(),
        };
        let groups = self.0.iter().map(|(name, own)| doc::DeviceGroup {
            name: name.clone(),
            devices: own.devices.iter().cloned().collect(),
            groups: own.groups.iter().map(group).collect(),
        });
        groups.collect()
    }

    /// What a file does not mention goes, or back to its default.
    pub fn remove_rest(&mut self, wanted: &[doc::DeviceGroup]) {
        self.0.retain(|name, _| wanted.iter().any(|own| own.name == *name));
        for (name, group) in &mut self.0 {
            let Some(wants) = wanted.iter().find(|own| own.name == *name) else { continue };
            group.devices.retain(|device| wants.devices.contains(device));
            group.groups.retain(|own| wants.groups.iter().any(|wants| wants.name == own.name));
            for own in &mut group.groups {
                let Some(line) = wants.groups.iter().find(|wants| wants.name == own.name) else { continue };
                let says = |name: &str| line.lines.iter().any(|(own, _)| own == name);
                own.id = if says("group_id") { own.id } else { 0 };
                own.preferred = if says("preferred") { own.preferred.clone() } else { "0".into() };
                own.state = if says("state") { own.state.clone() } else { "active".into() };
                let mentioned = |name: &str| line.members.iter().find(|(own, _)| own == name).cloned();
                own.members.retain(|(name, _)| mentioned(name).is_some());
                for (name, port) in &mut own.members {
                    if port.is_some() && mentioned(name).is_some_and(|(_, port)| port.is_none()) {
                        *port = Some(0);
                    }
                }
            }
        }
    }

    /// Brings groups to what a file says; whether all of it can be.
    pub fn apply(
        &mut self,
        before: &Groups,
        wanted: &[doc::DeviceGroup],
        renewed: &BTreeSet<String>,
        devices: &BTreeSet<String>,
        is_local: impl Fn(&str) -> bool,
    ) -> bool {
        for wants in wanted {
            let known = before.0.get(&wants.name);
            self.0.entry(wants.name.clone()).or_default();
            for device in &wants.devices {
                let is_there =
                    known.is_some_and(|own| own.devices.contains(device)) && !renewed.contains(device);
                let is_taken = self.0.values().any(|group| group.devices.contains(device));
                if !is_there && (is_taken || !devices.contains(device)) {
                    return false;
                }
                self.0.get_mut(&wants.name).unwrap().devices.insert(device.clone());
            }
            for own in &wants.groups {
                if !self.apply_group(before, &wants.name, own, &is_local) {
                    return false;
                }
            }
        }
        true
    }

    fn apply_group(
        &mut self,
        before: &Groups,
        name: &str,
        wants: &doc::TargetGroup,
        is_local: &impl Fn(&str) -> bool,
    ) -> bool {
        let group = self.0.get_mut(name).unwrap();
        if !group.groups.iter().any(|own| own.name == wants.name) {
            group.groups.push(TargetGroup::new(&wants.name));
        }
        let at = group.groups.iter().position(|own| own.name == wants.name).unwrap();
        for (name, value) in &wants.lines {
            // Saying the 0 that nobody can write is putting it back.
            if name == "group_id" && value == "0" {
                group.groups[at].id = 0;
            } else if group.groups[at].write(&[name.as_str()], &[value.as_str()]) != 0 {
                return false;
            }
        }
        for (target, port) in &wants.members {
            let known =
                before.0.get(name).and_then(|own| own.groups.iter().find(|own| own.name == wants.name));
            let known = known.and_then(|own| own.members.iter().find(|(own, _)| own == target));
            let is_there = group.groups[at].members.iter().any(|(own, _)| own == target);
            if !is_there {
                if group.groups.iter().any(|own| own.members.iter().any(|(own, _)| own == target)) {
                    return false;
                }
                let remote = (!is_local(target)).then_some(0);
                group.groups[at].members.push((target.clone(), remote));
            }
            let Some(port) = port else { continue };
            let now = known.and_then(|(_, port)| *port).unwrap_or(0);
            if port == "0" {
                let own = group.groups[at].members.iter_mut().find(|(own, _)| own == target).unwrap();
                if now != 0 && own.1.is_none() {
                    return false;
                }
                own.1 = own.1.map(|_| 0);
            } else if *port != now.to_string()
                && group.groups[at].write(&[target.as_str(), "rel_tgt_id"], &[port.as_str()]) != 0
            {
                return false;
            }
        }
        true
    }

    /// Identifiers of ports of other nodes.
    pub fn remote_ports(&self) -> BTreeSet<u16> {
        let groups = self.0.values().flat_map(|group| &group.groups);
        groups.flat_map(|group| &group.members).filter_map(|(_, remote)| *remote).collect()
    }

    pub fn forget_device(&mut self, name: &str) {
        for group in self.0.values_mut() {
            group.devices.remove(name);
        }
    }

    /// Members of this name are of this node from now on.
    pub fn take_in(&mut self, target: &str) {
        let groups = self.0.values_mut().flat_map(|group| &mut group.groups);
        let members = groups.flat_map(|group| &mut group.members);
        members.filter(|(name, _)| name == target).for_each(|member| member.1 = None);
    }

    pub fn forget_target(&mut self, target: &str) {
        for group in self.0.values_mut().flat_map(|group| &mut group.groups) {
            group.members.retain(|(name, remote)| name != target || remote.is_some());
        }
    }

    /// Of a group that has devices, no two targets may have the same identifier.
    pub fn is_consistent(&self, targets: &BTreeMap<String, u16>) -> bool {
        self.0.values().filter(|group| !group.devices.is_empty()).all(|group| {
            let mut ports = group.ports(targets);
            ports.retain(|port| *port != 0);
            let count = ports.len();
            ports.sort_unstable();
            ports.dedup();
            ports.len() == count
        })
    }

    pub fn write(&mut self, path: &[&str], words: &[&str], around: &Around<'_>) -> i32 {
        match (path, words) {
            (["mgmt"], ["create" | "add", name]) => {
                if self.0.contains_key(*name) {
                    return libc::EEXIST;
                }
                self.0.insert((*name).to_owned(), DeviceGroup::default());
                0
            }
            (["mgmt"], ["del", name]) => self.0.remove(*name).map_or(libc::EINVAL, |_| 0),
            ([name, rest @ ..], words) => {
                if !self.0.contains_key(*name) {
                    return libc::ENOENT;
                }
                match (rest, words) {
                    (["devices", "mgmt"], ["add", device]) => {
                        if !around.devices.contains(*device) {
                            return libc::EINVAL;
                        }
                        if self.0.values().any(|group| group.devices.contains(*device)) {
                            return libc::EEXIST;
                        }
                        self.0.get_mut(*name).map(|group| group.devices.insert((*device).to_owned()));
                        0
                    }
                    (rest, words) => {
                        self.0.get_mut(*name).map_or(libc::ENOENT, |group| group.write(rest, words, around))
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Everything as the tree should show it: links, and values of attributes.
    pub fn shown(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for (name, group) in &self.0 {
            let own = format!("device_groups/{name}");
            all.extend(group.devices.iter().map(|device| format!("{own}/devices/{device}")));
            for group in &group.groups {
                let own = format!("{own}/target_groups/{}", group.name);
                all.insert(format!("{own}/group_id {}", group.id));
                all.insert(format!("{own}/preferred {}", group.preferred));
                all.insert(format!("{own}/state {}", group.state));
                all.extend(group.members.iter().map(|(target, remote)| match remote {
                    None => format!("{own}/{target}"),
                    Some(port) => format!("{own}/{target}/rel_tgt_id {port}"),
                }));
            }
        }
        all
    }

    /// For each device in a group: its target groups.
    pub fn of_devices(&self, targets: &BTreeMap<String, u16>) -> BTreeMap<String, Vec<Shown>> {
        let groups = |group: &DeviceGroup| -> Vec<_> {
            let own = group.groups.iter();
            let own = own.map(|own| (own.id, own.state.clone(), own.preferred == "1", own.ports(targets)));
            own.collect()
        };
        let own = self.0.values().flat_map(|group| group.devices.iter().map(move |name| (name, group)));
        own.map(|(name, group)| (name.clone(), groups(group))).collect()
    }
}

impl TargetGroup {
    fn new(name: &str) -> Self {
        TargetGroup {
            name: name.to_owned(),
            id: 0,
            preferred: "0".to_owned(),
            state: "active".to_owned(),
            members: Vec::new(),
        }
    }

    fn ports(&self, targets: &BTreeMap<String, u16>) -> Vec<u16> {
        let port = |(name, remote): &(String, Option<u16>)| remote.unwrap_or_else(|| targets[name]);
        self.members.iter().map(port).collect()
    }

    fn write(&mut self, path: &[&str], words: &[&str]) -> i32 {
        match (path, words) {
            (["group_id"], [value]) => match value.parse() {
                Ok(value @ 1..=65535) => {
                    self.id = value;
                    0
                }
                _ => libc::EINVAL,
            },
            (["preferred"], [value @ ("0" | "1")]) => {
                self.preferred = (*value).to_owned();
                0
            }
            (["state"], [value]) => {
                let known = ["active", "nonoptimized", "standby", "unavailable", "offline", "transitioning"];
                if !known.contains(value) {
                    return libc::EINVAL;
                }
                self.state = (*value).to_owned();
                0
            }
            (["mgmt"], ["del", target]) => {
                let count = self.members.len();
                self.members.retain(|(name, _)| name != target);
                if self.members.len() < count { 0 } else { libc::EINVAL }
            }
            ([target, "rel_tgt_id"], [value]) => {
                let own = self.members.iter_mut().find(|(name, _)| name == target);
                match (own, value.parse()) {
                    (None | Some((_, None)), _) => libc::ENOENT,
                    (Some((_, port)), Ok(value @ 1..=65535)) => {
                        *port = Some(value);
                        0
                    }
                    _ => libc::EINVAL,
                }
            }
            (_, _) => libc::EINVAL,
        }
    }
}

impl DeviceGroup {
    fn ports(&self, targets: &BTreeMap<String, u16>) -> Vec<u16> {
        self.groups.iter().flat_map(|group| group.ports(targets)).collect()
    }

    fn write(&mut self, path: &[&str], words: &[&str], around: &Around<'_>) -> i32 {
        match (path, words) {
            (["devices", "mgmt"], ["del", device]) => {
                if self.devices.remove(*device) {
                    0
                } else {
                    libc::EINVAL
                }
            }
            (["target_groups", "mgmt"], ["create" | "add", name]) => {
                if self.groups.iter().any(|group| group.name == *name) {
                    return libc::EEXIST;
                }
                self.groups.push(TargetGroup::new(name));
                0
            }
            (["target_groups", "mgmt"], ["del", name]) => {
                let count = self.groups.len();
                self.groups.retain(|group| group.name != *name);
                if self.groups.len() < count { 0 } else { libc::EINVAL }
            }
            (["target_groups", name, rest @ ..], words) => {
                let taken = |target: &str| {
                    self.groups.iter().any(|group| group.members.iter().any(|(name, _)| name == target))
                };
                let Some(at) = self.groups.iter().position(|group| group.name == *name) else {
                    return libc::ENOENT;
                };
                if let (["mgmt"], ["add", target]) = (rest, words) {
                    if taken(target) {
                        return libc::EEXIST;
                    }
                    let remote = (!around.targets.contains_key(*target)).then_some(0);
                    self.groups[at].members.push(((*target).to_owned(), remote));
                    return 0;
                }
                self.groups[at].write(rest, words)
            }
            other => panic!("{other:?}"),
        }
    }
}
