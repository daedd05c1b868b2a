//! What applying a file means: all of it, in its order, or nothing.

use std::collections::BTreeSet;

use super::doc::{Doc, Lines, Luns, Target};
use super::{Group, Plain, Seen, shown};

/// A file that is refused.
#[derive(Debug)]
pub struct Refused;

type Done = Result<(), Refused>;

fn wanted(is_good: bool) -> Done {
    if is_good { Ok(()) } else { Err(Refused) }
}

fn is_once<T: Ord>(items: impl IntoIterator<Item = T>) -> bool {
    let mut seen = BTreeSet::new();
    items.into_iter().all(|item| seen.insert(item))
}

/// What an attribute is when nobody has set it; `object` is its directory.
fn default(object: &str, name: &str) -> String {
    match name {
        "RspTimeout" => "90".into(),
        "MaxSessions" | "aen_disabled" => "0".into(),
        "max_tgt_dev_commands" => "64".into(),
        "addr_method" => "PERIPHERAL".into(),
        "prod_id" => object.rsplit('/').next().unwrap().into(),
        _ => String::new(),
    }
}

fn line<'l>(lines: &'l Lines, name: &str) -> Option<&'l str> {
    lines.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

impl Plain {
    /// Applies a file: what it does not mention stays, or goes when it is meant `exact`ly.
    pub fn apply(&mut self, doc: &Doc, exact: bool) -> Done {
        let before = self.clone();
        let done = self.try_apply(doc, exact);
        if done.is_err() {
            *self = before;
        }
        done
    }

    fn try_apply(&mut self, doc: &Doc, exact: bool) -> Done {
        let before = self.clone();
        self.check(doc, exact)?;
        if exact {
            self.groups.remove_rest(&doc.groups);
            self.remove_targets(doc)?;
            self.remove_devices(doc);
        }
        for device in &doc.devices {
            let at = format!("devices/{}", device.name);
            if before.is_renewed(&device.name, device.read_only) {
                self.remove_device(&device.name);
            }
            if self.devices.insert(device.name.clone()) && device.read_only {
                self.read_only.insert(device.name.clone());
            }
            self.set_lines(&at, &device.lines)?;
        }
        for target in &doc.targets {
            self.apply_target((&before, exact), doc, target)?;
        }
        let mut groups = std::mem::take(&mut self.groups);
        let done = groups.apply(&before.groups, &doc.groups, &before.renewed(doc), &self.devices, |name| {
            self.targets.contains_key(name)
        });
        self.groups = groups;
        wanted(done)?;
        if let Some(enabled) = &doc.enabled {
            self.enabled = enabled == "1";
        }
        for target in &doc.targets {
            let was = before.targets.get(&target.name).is_some_and(|own| own.enabled);
            let Some(enabled) = line(&target.lines, "enabled").filter(|text| (*text == "1") != was) else {
                continue;
            };
            self.targets.get_mut(&target.name).unwrap().enabled = enabled == "1";
        }
        // Identifiers are looked at in the end: those that the file chooses, then those that are given.
        let names = doc.targets.iter().map(|target| target.name.clone());
        let (given, chosen): (Vec<_>, Vec<_>) = names.partition(|name| self.targets[name].relative == 0);
        for name in chosen.iter().chain(&given) {
            wanted(self.identify(name) == 0)?;
        }
        wanted(self.groups.is_consistent(&self.identifiers()))
    }

    /// What the file says twice, or cannot mean.
    fn check(&self, doc: &Doc, exact: bool) -> Done {
        let made: BTreeSet<&str> = doc.devices.iter().map(|device| device.name.as_str()).collect();
        let is_known = |device: &str| made.contains(device) || (!exact && self.devices.contains(device));
        let is_map = |luns: &Luns| {
            is_once(luns.iter().map(|(lun, ..)| *lun)) && luns.iter().all(|(_, device, _)| is_known(device))
        };
        for device in &doc.devices {
            wanted(exact || !self.is_renewed(&device.name, device.read_only))?;
        }
        for target in &doc.targets {
            wanted(is_map(&target.luns) && target.groups.iter().all(|group| is_map(&group.luns)))?;
            wanted(target.groups.iter().all(|group| is_once(&group.patterns)))?;
        }
        let grouped = || doc.groups.iter().flat_map(|group| &group.devices);
        wanted(is_once(grouped()) && grouped().all(|device| is_known(device)))?;
        for group in &doc.groups {
            wanted(is_once(group.groups.iter().flat_map(|own| &own.members).map(|(name, _)| name)))?;
            let is_local = |name: &String| {
                doc.targets.iter().any(|target| target.name == *name)
                    || (!exact && self.targets.contains_key(name))
            };
            for (name, port) in group.groups.iter().flat_map(|own| &own.members) {
                wanted(port.is_none() || !is_local(name))?;
            }
        }
        Ok(())
    }

    /// Whether a device has another fixed attribute than the file wants.
    fn is_renewed(&self, name: &str, read_only: bool) -> bool {
        self.devices.contains(name) && self.read_only.contains(name) != read_only
    }

    fn renewed(&self, doc: &Doc) -> BTreeSet<String> {
        let renewed = doc.devices.iter().filter(|device| self.is_renewed(&device.name, device.read_only));
        renewed.map(|device| device.name.clone()).collect()
    }

    fn set_lines(&mut self, object: &str, lines: &Lines) -> Done {
        for (name, value) in
            lines.iter().filter(|(name, _)| !["enabled", "rel_tgt_id"].contains(&name.as_str()))
        {
            let shown = shown(name, value).unwrap_or_else(|| panic!("{name}")).ok_or(Refused)?;
            self.values.insert(format!("{object}/{name}"), shown);
        }
        Ok(())
    }

    /// Attributes that the file leaves out.
    fn reset_lines(&mut self, object: &str, lines: &Lines) {
        for (path, value) in &mut self.values {
            let Some((at, name)) = path.rsplit_once('/') else { continue };
            if at == object && name != "black_hole" && line(lines, name).is_none() {
                *value = default(object, name);
            }
        }
    }

    fn remove_devices(&mut self, doc: &Doc) {
        for name in self.devices.clone() {
            match doc.devices.iter().find(|device| device.name == name) {
                None => {
                    self.remove_device(&name);
                }
                Some(device) => self.reset_lines(&format!("devices/{name}"), &device.lines),
            }
        }
    }

    fn remove_targets(&mut self, doc: &Doc) -> Done {
        for name in self.targets.keys().cloned().collect::<Vec<_>>() {
            let at = format!("targets/iscsi/{name}");
            let Some(target) = doc.targets.iter().find(|target| target.name == name) else {
                wanted(self.try_write("targets/iscsi/mgmt", &format!("del_target {name}")) == 0)?;
                continue;
            };
            self.reset_lines(&at, &target.lines);
            let own = self.targets.get_mut(&name).unwrap();
            own.enabled &= line(&target.lines, "enabled").is_some();
            own.luns.retain(|lun, _| target.luns.iter().any(|(number, ..)| number == lun));
            for group in own.groups.iter().map(|group| group.name.clone()).collect::<Vec<_>>() {
                let Some(wants) = target.groups.iter().find(|wants| wants.name == group) else {
                    wanted(self.try_write(&format!("{at}/ini_groups/mgmt"), &format!("del {group}")) == 0)?;
                    continue;
                };
                self.reset_lines(&format!("{at}/ini_groups/{group}"), &wants.lines);
                let own = self.targets.get_mut(&name).and_then(|target| target.group(&group)).unwrap();
                own.luns.retain(|lun, _| wants.luns.iter().any(|(number, ..)| number == lun));
                own.patterns.retain(|pattern| wants.patterns.contains(pattern));
            }
        }
        Ok(())
    }

    fn apply_target(&mut self, (before, exact): (&Plain, bool), doc: &Doc, target: &Target) -> Done {
        let at = format!("targets/iscsi/{}", target.name);
        if !self.targets.contains_key(&target.name) {
            wanted(self.try_write("targets/iscsi/mgmt", &format!("add_target {}", target.name)) == 0)?;
        }
        let known = before.targets.get(&target.name);
        self.set_lines(&at, &target.lines)?;
        if let Some(text) = line(&target.lines, "rel_tgt_id") {
            let number: u16 = text.parse().map_err(|_| Refused)?;
            let was_enabled = known.is_some_and(|own| own.enabled);
            let stays = line(&target.lines, "enabled").map_or(!exact, |text| text == "1");
            // 0 means any.
            let is_given = number == 0 && was_enabled && stays;
            if !is_given && number != known.map_or(0, |own| own.relative) {
                let own = self.targets.get_mut(&target.name).unwrap();
                // It is looked at as it was, and set as it is by then.
                wanted(number != 0 || !(was_enabled || own.enabled))?;
                own.relative = number;
            }
        }
        let fixed = &before.read_only;
        let renewed = before.renewed(doc);
        let empty = Seen::new();
        let own = self.targets.get_mut(&target.name).unwrap();
        set_luns(&mut own.luns, known.map_or(&empty, |own| &own.luns), &target.luns, (fixed, &renewed));
        for group in &target.groups {
            let known = known.and_then(|own| own.groups.iter().find(|own| own.name == group.name));
            let own = self.targets.get_mut(&target.name).unwrap();
            if own.group(&group.name).is_none() {
                own.groups.push(Group { name: group.name.clone(), ..Group::default() });
            }
            self.set_lines(&format!("{at}/ini_groups/{}", group.name), &group.lines)?;
            let own = self.targets.get_mut(&target.name).and_then(|own| own.group(&group.name)).unwrap();
            set_luns(&mut own.luns, known.map_or(&empty, |own| &own.luns), &group.luns, (fixed, &renewed));
            for pattern in &group.patterns {
                if !own.patterns.contains(pattern) {
                    own.patterns.push(pattern.clone());
                }
            }
        }
        // Those of the file come into its order; the others stay where they are.
        let own = &mut self.targets.get_mut(&target.name).unwrap().groups;
        let place = |group: &Group| target.groups.iter().position(|wants| wants.name == group.name);
        let mut ordered: Vec<Group> = own.iter().filter(|group| place(group).is_some()).cloned().collect();
        ordered.sort_by_key(|group| place(group));
        let places = own.iter_mut().filter(|group| place(group).is_some());
        places.zip(ordered).for_each(|(group, wants)| *group = wants);
        Ok(())
    }
}

/// A LUN of a read-only device is shown read-only, and that is no difference.
fn set_luns(
    luns: &mut Seen,
    before: &Seen,
    wanted: &Luns,
    (fixed, renewed): (&BTreeSet<String>, &BTreeSet<String>),
) {
    for (lun, device, read_only) in wanted {
        let is_there = before.get(lun).is_some_and(|(own, is_read_only)| {
            own == device
                && !renewed.contains(own)
                && (is_read_only == read_only || (*read_only && fixed.contains(own)))
        });
        if !is_there {
            luns.insert(*lun, (device.clone(), *read_only));
        }
    }
}
