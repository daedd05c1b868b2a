//! A configuration file as a value: made from what there is and changed a little, so that most are right.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Plain;

/// Attributes with their values, as written.
pub type Lines = Vec<(String, String)>;

#[derive(Clone, Debug, Default)]
pub struct Doc {
    /// `enabled` of the driver.
    pub enabled: Option<String>,
    pub devices: Vec<Device>,
    pub targets: Vec<Target>,
    pub groups: Vec<DeviceGroup>,
}

#[derive(Clone, Debug)]
pub struct Device {
    pub name: String,
    pub read_only: bool,
    pub lines: Lines,
}

/// LUNs: number, device, mapped read-only.
pub type Luns = Vec<(u16, String, bool)>;

#[derive(Clone, Debug, Default)]
pub struct Target {
    pub name: String,
    pub lines: Lines,
    pub luns: Luns,
    pub groups: Vec<Group>,
}

#[derive(Clone, Debug, Default)]
pub struct Group {
    pub name: String,
    pub lines: Lines,
    pub luns: Luns,
    pub patterns: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub struct DeviceGroup {
    pub name: String,
    pub devices: Vec<String>,
    pub groups: Vec<TargetGroup>,
}

#[derive(Clone, Debug, Default)]
pub struct TargetGroup {
    pub name: String,
    pub lines: Lines,
    /// Names, and the identifier that the file gives.
    pub members: Vec<(String, Option<String>)>,
}

/// Words to choose from, and chance.
pub trait Chance {
    fn below(&mut self, limit: usize) -> usize;
    fn device(&mut self) -> String;
    fn target(&mut self) -> String;
    fn group(&mut self) -> String;
    fn pattern(&mut self) -> String;
    fn lun(&mut self) -> u16;
    fn member(&mut self) -> String;
    fn target_group(&mut self) -> String;
    fn device_group(&mut self) -> String;
    /// Values that may be right or wrong.
    fn number(&mut self) -> String;
}

fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '#' | '{' | '}') {
            text.push('\\');
        }
        text.push(c);
    }
    text + "\""
}

fn lines(lines: &Lines, out: &mut String) {
    for (name, value) in lines {
        writeln!(out, "{name} {}", quoted(value)).unwrap();
    }
}

fn luns(luns: &Luns, out: &mut String) {
    for (lun, device, read_only) in luns {
        let more = if *read_only { " {\nread_only 1\n}" } else { "" };
        writeln!(out, "LUN {lun} {device}{more}").unwrap();
    }
}

impl Doc {
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut section = |head: String, body: &dyn Fn(&mut String)| {
            writeln!(out, "{head} {{").unwrap();
            body(&mut out);
            out.push_str("}\n");
        };
        section("HANDLER vdisk_nullio".into(), &|out| {
            for device in &self.devices {
                writeln!(
                    out,
                    "DEVICE {} {{\nsize_mb 16\nread_only {}",
                    device.name,
                    u8::from(device.read_only)
                )
                .unwrap();
                lines(&device.lines, out);
                out.push_str("}\n");
            }
        });
        section("TARGET_DRIVER iscsi".into(), &|out| {
            if let Some(enabled) = &self.enabled {
                writeln!(out, "enabled {enabled}").unwrap();
            }
            self.targets.iter().for_each(|target| target.text(out));
        });
        for group in &self.groups {
            section(format!("DEVICE_GROUP {}", group.name), &|out| group.text(out));
        }
        out
    }
}

impl Target {
    fn text(&self, out: &mut String) {
        writeln!(out, "TARGET {} {{", self.name).unwrap();
        lines(&self.lines, out);
        luns(&self.luns, out);
        for group in &self.groups {
            writeln!(out, "GROUP {} {{", group.name).unwrap();
            lines(&group.lines, out);
            luns(&group.luns, out);
            group.patterns.iter().for_each(|pattern| writeln!(out, "INITIATOR {pattern}").unwrap());
            out.push_str("}\n");
        }
        out.push_str("}\n");
    }
}

impl DeviceGroup {
    fn text(&self, out: &mut String) {
        self.devices.iter().for_each(|device| writeln!(out, "DEVICE {device}").unwrap());
        for group in &self.groups {
            writeln!(out, "TARGET_GROUP {} {{", group.name).unwrap();
            lines(&group.lines, out);
            for (member, port) in &group.members {
                match port {
                    None => writeln!(out, "TARGET {member}").unwrap(),
                    Some(port) => writeln!(out, "TARGET {member} {{\nrel_tgt_id {port}\n}}").unwrap(),
                }
            }
            out.push_str("}\n");
        }
    }
}

/// What has been set of an object, by its directory.
fn values_of(values: &BTreeMap<String, String>, object: &str) -> Lines {
    let own = values.iter().filter_map(|(path, value)| Some((path.rsplit_once('/')?, value)));
    let own = own.filter(|((at, name), _)| *at == object && *name != "black_hole");
    own.map(|((_, name), value)| (name.to_owned(), value.clone())).collect()
}

impl Plain {
    /// Everything as a file says it.
    pub fn doc(&self) -> Doc {
        let seen = |luns: &super::Seen| -> Luns {
            luns.iter().map(|(lun, (device, read_only))| (*lun, device.clone(), *read_only)).collect()
        };
        let devices = self.devices.iter().map(|name| Device {
            name: name.clone(),
            read_only: self.read_only.contains(name),
            lines: values_of(&self.values, &format!("devices/{name}")),
        });
        let targets = self.targets.iter().map(|(name, target)| {
            let at = format!("targets/iscsi/{name}");
            let mut lines = values_of(&self.values, &at);
            lines.push(("enabled".into(), u8::from(target.enabled).to_string()));
            if target.relative != 0 {
                lines.push(("rel_tgt_id".into(), target.relative.to_string()));
            }
            let groups = target.groups.iter().map(|group| Group {
                name: group.name.clone(),
                lines: values_of(&self.values, &format!("{at}/ini_groups/{}", group.name)),
                luns: seen(&group.luns),
                patterns: group.patterns.clone(),
            });
            Target { name: name.clone(), lines, luns: seen(&target.luns), groups: groups.collect() }
        });
        Doc {
            enabled: Some(u8::from(self.enabled).to_string()),
            devices: devices.collect(),
            targets: targets.collect(),
            groups: self.groups.doc(),
        }
    }
}

/// Takes one out.
fn drop_one<T>(list: &mut Vec<T>, chance: &mut impl Chance) {
    if !list.is_empty() {
        let at = chance.below(list.len());
        list.remove(at);
    }
}

fn one_of<'a, T>(list: &'a mut [T], chance: &mut impl Chance) -> Option<&'a mut T> {
    let count = list.len();
    if count == 0 { None } else { list.get_mut(chance.below(count)) }
}

fn set(lines: &mut Lines, name: &str, value: String) {
    lines.retain(|(own, _)| own != name);
    lines.push((name.to_owned(), value));
}

fn edit_luns(luns: &mut Luns, chance: &mut impl Chance) {
    match chance.below(5) {
        0 => drop_one(luns, chance),
        3 | 4 => {
            if let Some(lun) = one_of(luns, chance) {
                lun.2 = !lun.2;
            }
        }
        1 => {
            let (device, read_only) = (chance.device(), chance.below(2) == 0);
            if let Some(lun) = one_of(luns, chance) {
                (lun.1, lun.2) = (device, read_only);
            }
        }
        _ => luns.push((chance.lun(), chance.device(), chance.below(2) == 0)),
    }
}

impl Doc {
    /// One change, which may make the file wrong.
    pub fn edit(&mut self, chance: &mut impl Chance) {
        match chance.below(12) {
            0 => drop_one(&mut self.devices, chance),
            1 => {
                let (name, read_only) = (chance.device(), chance.below(2) == 0);
                self.devices.retain(|own| own.name != name);
                self.devices.push(Device { name, read_only, lines: Lines::new() });
            }
            2 => {
                let number = chance.number();
                if let Some(device) = one_of(&mut self.devices, chance) {
                    set(&mut device.lines, "max_tgt_dev_commands", number);
                }
            }
            3 => drop_one(&mut self.targets, chance),
            4 => {
                let name = chance.target();
                if !self.targets.iter().any(|own| own.name == name) {
                    let mut lines = vec![("enabled".to_owned(), chance.below(2).to_string())];
                    if chance.below(2) == 0 {
                        lines.push(("rel_tgt_id".to_owned(), chance.number()));
                    }
                    let luns = vec![(chance.lun(), chance.device(), false)];
                    self.targets.push(Target { name, lines, luns, ..Target::default() });
                }
            }
            5 => self.enabled = [None, Some("0"), Some("1")][chance.below(3)].map(str::to_owned),
            6 => drop_one(&mut self.groups, chance),
            7 | 8 => self.edit_groups(chance),
            _ => {
                if let Some(target) = one_of(&mut self.targets, chance) {
                    target.edit(chance);
                }
            }
        }
    }

    fn edit_groups(&mut self, chance: &mut impl Chance) {
        let name = chance.device_group();
        if !self.groups.iter().any(|own| own.name == name) {
            self.groups.push(DeviceGroup { name, ..DeviceGroup::default() });
        }
        if let Some(group) = one_of(&mut self.groups, chance) {
            group.edit(chance);
        }
    }
}

impl Target {
    fn edit(&mut self, chance: &mut impl Chance) {
        match chance.below(9) {
            0 => drop_one(&mut self.lines, chance),
            1 => set(&mut self.lines, "enabled", chance.below(2).to_string()),
            2 => set(&mut self.lines, "rel_tgt_id", chance.number()),
            3 => {
                let name = ["RspTimeout", "MaxSessions", "aen_disabled"][chance.below(3)];
                set(&mut self.lines, name, chance.number());
            }
            4 => edit_luns(&mut self.luns, chance),
            5 => drop_one(&mut self.groups, chance),
            6 => {
                let name = chance.group();
                if !self.groups.iter().any(|own| own.name == name) {
                    self.groups.push(Group { name, ..Group::default() });
                }
            }
            _ => {
                if let Some(group) = one_of(&mut self.groups, chance) {
                    match chance.below(4) {
                        0 => drop_one(&mut group.patterns, chance),
                        1 => group.patterns.push(chance.pattern()),
                        2 => edit_luns(&mut group.luns, chance),
                        _ => {
                            let word = ["FLAT", "lun", "PERIPHERAL", "ROUND"][chance.below(4)];
                            set(&mut group.lines, "addr_method", word.to_owned());
                        }
                    }
                }
            }
        }
    }
}

impl DeviceGroup {
    fn edit(&mut self, chance: &mut impl Chance) {
        match chance.below(8) {
            0 => drop_one(&mut self.devices, chance),
            1 => self.devices.push(chance.device()),
            2 => drop_one(&mut self.groups, chance),
            3 => {
                let name = chance.target_group();
                if !self.groups.iter().any(|own| own.name == name) {
                    self.groups.push(TargetGroup { name, ..TargetGroup::default() });
                }
            }
            n => {
                let Some(group) = one_of(&mut self.groups, chance) else { return };
                match n {
                    4 => drop_one(&mut group.members, chance),
                    5 => {
                        let port = (chance.below(2) == 0).then(|| chance.number());
                        group.members.push((chance.member(), port));
                    }
                    6 => set(&mut group.lines, "group_id", chance.number()),
                    _ => {
                        let state = ["active", "standby", "offline", "Active"][chance.below(4)];
                        set(&mut group.lines, "state", state.to_owned());
                        drop_one(&mut group.lines, chance);
                    }
                }
            }
        }
    }
}
