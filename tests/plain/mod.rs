//! What writes to the tree mean, written down as plainly as can be.

use std::collections::{BTreeMap, BTreeSet};

/// LUNs: device and whether it is mapped read-only.
pub type Seen = BTreeMap<u16, (String, bool)>;

#[derive(Debug, Default)]
struct Group {
    name: String,
    patterns: Vec<String>,
    luns: Seen,
}

#[derive(Debug, Default)]
struct Target {
    enabled: bool,
    luns: Seen,
    groups: Vec<Group>,
}

#[derive(Debug, Default)]
pub struct Plain {
    enabled: bool,
    devices: BTreeSet<String>,
    targets: BTreeMap<String, Target>,
    sessions: BTreeMap<u64, (String, String)>,
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

impl Plain {
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

    /// Whether a pattern is in two groups of a target.
    pub fn has_pattern_twice(&self) -> bool {
        self.targets.values().any(|target| {
            let mut seen = BTreeSet::new();
            target.groups.iter().flat_map(|group| &group.patterns).any(|pattern| !seen.insert(pattern))
        })
    }

    pub fn login(&mut self, id: u64, target: &str, initiator: &str) {
        self.sessions.insert(id, (target.to_owned(), initiator.to_owned()));
    }

    pub fn logout(&mut self, id: u64) {
        self.sessions.remove(&id);
    }

    /// Does what a write does, and answers its errno.
    pub fn write(&mut self, path: &str, text: &str) -> i32 {
        let path: Vec<&str> = path.split('/').collect();
        let words: Vec<&str> = text.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        match (path.as_slice(), words.as_slice()) {
            (["handlers", ..], ["add_device", name, ..]) => {
                if self.devices.insert((*name).to_owned()) {
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
                0
            }
            (["targets", "iscsi", target, rest @ ..], words) => {
                if self.targets.contains_key(*target) {
                    self.of_target(target, rest, words)
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
        for target in self.targets.values_mut() {
            target.luns.retain(|_, (device, _)| device != name);
            for group in &mut target.groups {
                group.luns.retain(|_, (device, _)| device != name);
            }
        }
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
