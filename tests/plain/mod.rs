//! What writes to the tree mean, written down as plainly as can be.

pub mod apply;
pub mod doc;
pub mod groups;

use groups::{Around, Groups};
use std::collections::{BTreeMap, BTreeSet};

/// LUNs: device and whether it is mapped read-only.
pub type Seen = BTreeMap<u16, (String, bool)>;

#[derive(Clone, Debug, Default)]
struct Group {
    name: String,
    patterns: Vec<String>,
    luns: Seen,
}

#[derive(Clone, Debug, Default)]
struct Target {
    enabled: bool,
    relative: u16,
    luns: Seen,
    groups: Vec<Group>,
}

#[derive(Clone, Debug, Default)]
pub struct Plain {
    enabled: bool,
    devices: BTreeSet<String>,
    /// Devices that were made read-only.
    read_only: BTreeSet<String>,
    targets: BTreeMap<String, Target>,
    sessions: BTreeMap<u64, (String, String)>,
    groups: Groups,
    /// Values of attributes by path, as they are read.
    pub values: BTreeMap<String, String>,
    next_relative: u16,
    /// Sessions that must end now, oldest first.
    pub closing: Vec<u64>,
}

/// `*`, `?` and one `!`, for the patterns of this test only.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_at(pattern.len() - 1) {
        _ if pattern.starts_with('!') => name != &pattern[1..],
        (prefix, "*") => name.starts_with(prefix),
        (prefix, "?") => name.len() == pattern.len() && name.starts_with(prefix),
        _ => pattern == name,
    }
}

/// What an attribute reads after a text was written: nothing if that is refused; `None` for other files.
fn shown(name: &str, text: &str) -> Option<Option<String>> {
    let number = |range: std::ops::RangeInclusive<u64>| {
        text.parse().ok().filter(|number| range.contains(number)).map(|number: u64| number.to_string())
    };
    let own = || Some(text.to_owned());
    Some(match name {
        "alias" | "comment" => own(),
        "prod_id" => own().filter(|text| text.len() <= 16),
        "RspTimeout" => number(2..=65535),
        "MaxSessions" => number(0..=65535),
        "max_tgt_dev_commands" => number(0..=u64::from(u32::MAX)),
        "aen_disabled" => number(0..=1),
        "black_hole" => number(0..=4),
        "addr_method" => {
            let word = text.to_ascii_uppercase();
            Some(word.clone()).filter(|_| ["PERIPHERAL", "FLAT", "LUN"].contains(&word.as_str()))
        }
        _ => return None,
    })
}

impl Target {
    fn group(&mut self, name: &str) -> Option<&mut Group> {
        self.groups.iter_mut().find(|group| group.name == name)
    }

    fn group_of(&self, initiator: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.patterns.iter().any(|pattern| matches(pattern, initiator)))
    }

    fn luns_for(&self, initiator: &str) -> &Seen {
        self.group_of(initiator).map_or(&self.luns, |group| &group.luns)
    }
}

/// A group as it should be: name, patterns, LUNs.
pub type ShownGroup = (String, Vec<String>, Seen);
/// A target: name, whether it is enabled, identifier; LUNs; groups.
pub type ShownTarget = ((String, bool, u16), Seen, Vec<ShownGroup>);

impl Plain {
    /// Devices, and whether they are read-only.
    pub fn shown_devices(&self) -> Vec<(String, bool)> {
        self.devices.iter().map(|name| (name.clone(), self.read_only.contains(name))).collect()
    }

    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub fn shown_targets(&self) -> Vec<ShownTarget> {
        let targets = self.targets.iter().map(|(name, target)| {
            let own = target.groups.clone().into_iter();
            let groups = own.map(|group| (group.name, group.patterns, group.luns)).collect();
            ((name.clone(), target.enabled, target.relative), target.luns.clone(), groups)
        });
        targets.collect()
    }

    /// What a session sees.
    pub fn seen(&self, target: &str, initiator: &str) -> Seen {
        let target = self.targets.get(target);
        target.map_or(Seen::new(), |target| target.luns_for(initiator).clone())
    }

    /// Whether a login succeeds.
    pub fn lets_in(&self, target: &str, initiator: &str) -> bool {
        let is_enabled = self.targets.get(target).is_some_and(|target| target.enabled);
        self.enabled && is_enabled && !self.seen(target, initiator).is_empty()
    }

    pub fn login(&mut self, id: u64, target: &str, initiator: &str) {
        self.sessions.insert(id, (target.to_owned(), initiator.to_owned()));
    }

    pub fn logout(&mut self, id: u64) {
        self.sessions.remove(&id);
    }

    /// Identifiers of all targets.
    pub fn identifiers(&self) -> BTreeMap<String, u16> {
        self.targets.iter().map(|(name, target)| (name.clone(), target.relative)).collect()
    }

    pub fn device_groups(&self) -> &Groups {
        &self.groups
    }

    /// Does what a write does, and answers its errno. What is refused changes nothing.
    pub fn write(&mut self, path: &str, text: &str) -> i32 {
        let before = self.clone();
        let mut errno = self.try_write(path, text);
        if errno == 0 && !self.groups.is_consistent(&self.identifiers()) {
            errno = libc::EINVAL;
        }
        if errno != 0 {
            *self = before;
        }
        errno
    }

    /// Attributes that have a value each, and no consequences that this model knows.
    fn attribute(&mut self, path: &str, text: &str) -> Option<i32> {
        let (object, name) = path.rsplit_once('/')?;
        let shown = shown(name, text)?;
        let parts: Vec<&str> = object.split('/').collect();
        let is_there = match parts.as_slice() {
            ["devices", device] => self.devices.contains(*device),
            ["targets", "iscsi", target] => self.targets.contains_key(*target),
            ["targets", "iscsi", target, "ini_groups", group] => {
                self.targets.get_mut(*target).is_some_and(|target| target.group(group).is_some())
            }
            _ => return None,
        };
        Some(match shown {
            _ if !is_there => libc::ENOENT,
            None => libc::EINVAL,
            Some(shown) => {
                self.values.insert(path.to_owned(), shown);
                0
            }
        })
    }

    fn forget(&mut self, object: &str) {
        self.values.retain(|path, _| !path.starts_with(&format!("{object}/")));
    }

    /// An enabled target has an identifier of its own.
    fn identify(&mut self, name: &str) -> i32 {
        let others = self.targets.iter().filter(|(own, target)| *own != name && target.enabled);
        let used: BTreeSet<u16> = others.map(|(_, target)| target.relative).collect();
        let Some(target) = self.targets.get_mut(name).filter(|target| target.enabled) else { return 0 };
        if target.relative == 0 {
            let remote = self.groups.remote_ports();
            let is_free = |number: &u16| !used.contains(number) && !remote.contains(number);
            let free = (self.next_relative.max(1)..).find(is_free).unwrap();
            target.relative = free;
            self.next_relative = free + 1;
        } else if used.contains(&target.relative) {
            return libc::EBADSLT;
        }
        0
    }

    fn try_write(&mut self, path: &str, text: &str) -> i32 {
        if let Some(errno) = self.attribute(path, text) {
            return errno;
        }
        let path: Vec<&str> = path.split('/').collect();
        let words: Vec<&str> = text.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        match (path.as_slice(), words.as_slice()) {
            (["handlers", ..], ["add_device", name, rest @ ..]) => {
                if self.devices.insert((*name).to_owned()) {
                    if rest.contains(&"read_only=1") {
                        self.read_only.insert((*name).to_owned());
                    }
                    0
                } else {
                    libc::EEXIST
                }
            }
            (["handlers", ..], ["del_device", name]) => self.remove_device(name),
            (["targets", "iscsi", "enabled"], [flag]) => {
                self.enabled = *flag == "1";
                0
            }
            (["targets", "iscsi", "mgmt"], ["add_target", name]) => {
                if self.targets.contains_key(*name) {
                    return libc::EEXIST;
                }
                self.targets.insert((*name).to_owned(), Target::default());
                self.groups.take_in(name);
                0
            }
            (["targets", "iscsi", "mgmt"], ["del_target", name]) => {
                if !self.targets.contains_key(*name) {
                    return libc::ENOENT;
                }
                if self.sessions.values().any(|(target, _)| target == name) {
                    return libc::EBUSY;
                }
                self.targets.remove(*name);
                self.groups.forget_target(name);
                self.forget(&format!("targets/iscsi/{name}"));
                0
            }
            (["device_groups", rest @ ..], words) => {
                let (devices, targets) = (self.devices.clone(), self.identifiers());
                self.groups.write(rest, words, &Around { devices: &devices, targets: &targets })
            }
            (["targets", "iscsi", target, rest @ ..], words) => {
                if self.targets.contains_key(*target) {
                    match self.of_target(target, rest, words) {
                        0 if matches!(rest, ["enabled" | "rel_tgt_id"]) => self.identify(target),
                        errno => errno,
                    }
                } else {
                    libc::ENOENT
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn remove_device(&mut self, name: &str) -> i32 {
        if !self.devices.remove(name) {
            return libc::EINVAL;
        }
        self.read_only.remove(name);
        for target in self.targets.values_mut() {
            target.luns.retain(|_, (device, _)| device != name);
            for group in &mut target.groups {
                group.luns.retain(|_, (device, _)| device != name);
            }
        }
        self.groups.forget_device(name);
        self.forget(&format!("devices/{name}"));
        0
    }

    fn of_target(&mut self, name: &str, path: &[&str], words: &[&str]) -> i32 {
        let devices = &self.devices;
        let Some(target) = self.targets.get_mut(name) else { return libc::ENOENT };
        match (path, words) {
            (["enabled"], ["0"]) => {
                target.enabled = false;
                0
            }
            (["enabled"], ["1"]) => {
                target.enabled = true;
                0
            }
            (["enabled"], _) => libc::EINVAL,
            (["rel_tgt_id"], [text]) => match text.parse() {
                Ok(0) if target.enabled => libc::EINVAL,
                Ok(number) => {
                    target.relative = number;
                    0
                }
                Err(_) => libc::EINVAL,
            },
            (["ini_groups", "mgmt"], ["create", group]) => {
                if target.group(group).is_some() {
                    return libc::EEXIST;
                }
                target.groups.push(Group { name: (*group).to_owned(), ..Group::default() });
                0
            }
            (["ini_groups", "mgmt"], ["del", group]) => {
                if target.group(group).is_none() {
                    return libc::EINVAL;
                }
                let is_member = |(own, initiator): &(String, String)| {
                    own == name && target.group_of(initiator).is_some_and(|own| own.name == *group)
                };
                if self.sessions.values().any(is_member) {
                    return libc::EBUSY;
                }
                target.groups.retain(|own| own.name != *group);
                self.forget(&format!("targets/iscsi/{name}/ini_groups/{group}"));
                0
            }
            (["ini_groups", group, "initiators", "mgmt"], words) => initiators(target, group, words),
            (["ini_groups", group, "luns", "mgmt"], words) => match target.group(group) {
                Some(group) => luns(&mut group.luns, devices, words),
                None => libc::ENOENT,
            },
            (["luns", "mgmt"], words) => luns(&mut target.luns, devices, words),
            other => panic!("{other:?}"),
        }
    }
}

fn initiators(target: &mut Target, group: &str, words: &[&str]) -> i32 {
    let has = |target: &mut Target, group: &str, pattern: &str| {
        target.group(group).map(|group| group.patterns.iter().any(|own| own == pattern))
    };
    let Some(own) = target.group(group) else { return libc::ENOENT };
    match words {
        ["add", pattern] if own.patterns.iter().any(|own| own == pattern) => libc::EEXIST,
        ["add", pattern] => {
            own.patterns.push((*pattern).to_owned());
            0
        }
        ["clear"] => {
            own.patterns.clear();
            0
        }
        ["del", pattern] | ["move", pattern, _] if !own.patterns.iter().any(|own| own == pattern) => {
            // SCST looks at the other group first.
            match words {
                ["move", pattern, to] if has(target, to, pattern) == Some(true) => libc::EEXIST,
                _ => libc::EINVAL,
            }
        }
        ["del", pattern] => {
            own.patterns.retain(|own| own != pattern);
            0
        }
        ["move", pattern, to] => match has(target, to, pattern) {
            None => libc::EINVAL,
            Some(true) => libc::EEXIST,
            Some(false) => {
                let from = target.group(group).map(|own| own.patterns.retain(|own| own != pattern));
                let into = target.group(to).map(|to| to.patterns.push((*pattern).to_owned()));
                assert!(from.is_some() && into.is_some());
                0
            }
        },
        other => panic!("{other:?}"),
    }
}

fn luns(luns: &mut Seen, devices: &BTreeSet<String>, words: &[&str]) -> i32 {
    match words {
        ["clear"] => {
            luns.clear();
            0
        }
        ["del", lun] => luns.remove(&lun.parse().unwrap()).map_or(libc::EINVAL, |_| 0),
        [verb, device, lun, read_only] => {
            let lun = lun.parse().unwrap();
            if *verb == "add" && luns.contains_key(&lun) {
                return libc::EEXIST;
            }
            if !devices.contains(*device) {
                return libc::EINVAL;
            }
            luns.insert(lun, ((*device).to_owned(), *read_only == "read_only=1"));
            0
        }
        other => panic!("{other:?}"),
    }
}
