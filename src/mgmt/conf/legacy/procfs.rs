//! scst.conf of the procfs versions: `[SECTION argument]` lines, and `NAME value` lines below them.

use std::collections::HashSet;

use crate::mgmt::conf::parse::Node;
use crate::mgmt::conf::{Error, FILE_LIMIT, LINE_LIMIT, Place, too_long};

/// Names of the sections.
pub const SECTIONS: [&str; 5] = ["OPTIONS", "HANDLER", "GROUP", "ASSIGNMENT", "TARGETS"];
/// What a target shows whose name follows, to initiators that are in no group.
const DEFAULT_OF: &str = "Default_";
/// What other targets show to them.
const DEFAULT: &str = "Default";

/// Flags of devices: two spellings, the attribute that each became.
const FLAGS: [(&str, &str, &str); 7] = [
    ("WRITE_THROUGH", "WT", "write_through"),
    ("READ_ONLY", "RO", "read_only"),
    ("O_DIRECT", "DR", "o_direct"),
    ("NULLIO", "NIO", ""),
    ("NV_CACHE", "NV", "nv_cache"),
    ("BLOCKIO", "BIO", ""),
    ("REMOVABLE", "RM", "removable"),
];

/// A device that a group sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Where it stands.
    pub place: Place,
    /// Group.
    pub group: String,
    /// LUN.
    pub lun: String,
    /// Device.
    pub device: String,
    /// Mapped read-only.
    pub read_only: bool,
}

impl Assignment {
    /// The line or section of today's format.
    pub fn node(&self) -> Node {
        let values = [self.lun.as_str(), &self.device];
        if self.read_only {
            Node::section("LUN", values, vec![Node::line("read_only", ["1"])])
        } else {
            Node::line("LUN", values)
        }
    }
}

/// The contents of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Procfs {
    /// Devices in today's format, with their handlers.
    pub devices: Vec<(&'static str, Node)>,
    /// Groups and their initiators, in order.
    pub users: Vec<(String, Vec<String>)>,
    /// What groups see.
    pub assignments: Vec<Assignment>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl Procfs {
    /// The targets that have a default group of their own, also one that shows nothing.
    pub fn default_targets(&self) -> impl Iterator<Item = &str> {
        let groups = self.assignments.iter().map(|a| &a.group).chain(self.users.iter().map(|(name, _)| name));
        let mut seen = HashSet::new();
        groups.filter_map(|group| group.strip_prefix(DEFAULT_OF)).filter(move |name| seen.insert(*name))
    }

    /// What a target shows to initiators that are in no group.
    pub fn luns_of_target(&self, target: &str) -> impl Iterator<Item = &Assignment> {
        let own = format!("{DEFAULT_OF}{target}");
        let has_own = self.assignments.iter().any(|assignment| assignment.group == own)
            || self.users.iter().any(|(name, _)| *name == own);
        let group = if has_own { own } else { DEFAULT.to_owned() };
        self.assignments.iter().filter(move |assignment| assignment.group == group)
    }

    /// The groups that have initiators, as every target has them.
    pub fn groups(&self) -> impl Iterator<Item = Node> {
        let named = self.users.iter().filter(|(name, _)| !is_default(name));
        named.map(|(name, users)| {
            let luns = self.assignments.iter().filter(|a| a.group == *name).map(Assignment::node);
            let initiators = users.iter().map(|user| Node::line("INITIATOR", [user.as_str()]));
            Node::section("GROUP", [name], luns.chain(initiators).collect())
        })
    }
}

fn is_default(group: &str) -> bool {
    group == DEFAULT || group.starts_with(DEFAULT_OF)
}

struct Reader {
    section: &'static str,
    argument: String,
    result: Procfs,
}

/// Reads a file.
pub fn parse(text: &str) -> Result<Procfs, Error> {
    if text.len() > FILE_LIMIT {
        return Err(too_long(&format!("{} bytes", text.len())));
    }
    let mut reader = Reader { section: "", argument: String::new(), result: Procfs::default() };
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("");
        let column = line.len() - line.trim_start().len() + 1;
        let place = Place { line: index + 1, column };
        if index >= LINE_LIMIT {
            return Err(Error::new(place, format!("more than {LINE_LIMIT} lines are not allowed")));
        }
        match line.trim() {
            "" => {}
            line if line.contains(|c: char| c.is_control() && c != '\t') => {
                return Err(Error::new(place, "a control character; the file must be text"));
            }
            line if line.starts_with('[') => reader.section(place, line)?,
            line => reader.line(place, line)?,
        }
    }
    reader.finish();
    Ok(reader.result)
}

impl Reader {
    fn section(&mut self, place: Place, line: &str) -> Result<(), Error> {
        let inner = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
        let inner = inner.ok_or_else(|| Error::new(place, "the section's name is not closed with ]"))?;
        let (name, argument) = inner.trim().split_once([' ', '\t']).unwrap_or((inner.trim(), ""));
        self.section = SECTIONS.into_iter().find(|known| *known == name).ok_or_else(|| {
            Error::new(place, format!("[{name}] is no section; there are {}", SECTIONS.join(", ")))
        })?;
        self.argument = argument.trim().to_owned();
        if self.section == "GROUP" {
            self.group();
        }
        if self.argument.is_empty() && self.section != "OPTIONS" {
            return Err(Error::new(place, format!("[{name}] wants a name, as in [{name} NAME]")));
        }
        Ok(())
    }

    /// The initiators of the group that this section is about.
    fn group(&mut self) -> &mut Vec<String> {
        let users = &mut self.result.users;
        let at = users.iter().position(|(name, _)| *name == self.argument).unwrap_or_else(|| {
            users.push((self.argument.clone(), Vec::new()));
            users.len() - 1
        });
        &mut users[at].1
    }

    fn line(&mut self, place: Place, line: &str) -> Result<(), Error> {
        let (name, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let value = value.trim();
        let wants = |what: &str| Error::new(place, format!("{name}: {what}"));
        match (self.section, name) {
            ("", _) => Err(Error::new(place, "a line before the first [SECTION]")),
            ("OPTIONS", _) => {
                self.note(format!("option {name} was left out: it is about scstadmin"));
                Ok(())
            }
            ("TARGETS", "HOST") => {
                self.note(format!("[TARGETS] {value} was left out: there is no Fibre Channel"));
                Ok(())
            }
            ("GROUP", "USER") if !value.is_empty() => {
                if value.contains('@') {
                    self.note(format!(
                        "USER {value} has the name of a CHAP account, which never matches here"
                    ));
                }
                self.group().push(value.to_owned());
                Ok(())
            }
            ("GROUP", "USER") => Err(wants("the name of an initiator, or a pattern, must follow")),
            ("HANDLER", "DEVICE") => self.device(place, value),
            ("ASSIGNMENT", "DEVICE") => self.assignment(place, value),
            ("GROUP", _) => Err(wants("is not known here; only USER is allowed")),
            ("TARGETS", _) => Err(wants("is not known here; only HOST is allowed")),
            _ => Err(wants("is not known here; only DEVICE is allowed")),
        }
    }

    fn note(&mut self, note: String) {
        if !self.result.notes.contains(&note) {
            self.result.notes.push(note);
        }
    }

    fn device(&mut self, place: Place, value: &str) -> Result<(), Error> {
        let fields: Vec<&str> = value.split(',').map(str::trim).collect();
        let field = |at: usize| fields.get(at).copied().unwrap_or("");
        let (name, path) = (field(0), field(1));
        if name.is_empty() || fields.len() > 5 {
            let what = "DEVICE wants NAME,PATH,OPTIONS,BLOCKSIZE,T10ID; all but the name may be missing";
            return Err(Error::new(place, what));
        }
        let flags = flags(place, field(2))?;
        let handler = match self.argument.as_str() {
            "vdisk" if flags.contains(&"NULLIO") => "vdisk_nullio",
            "vdisk" if flags.contains(&"BLOCKIO") => "vdisk_blockio",
            "vdisk" | "vdisk_fileio" => "vdisk_fileio",
            "vdisk_blk" | "vdisk_blockio" => "vdisk_blockio",
            "vdisk_nullio" => "vdisk_nullio",
            "vcdrom" => "vcdrom",
            other => {
                let what = format!("handler {other} has no counterpart; there are vdisk and vcdrom");
                return Err(Error::new(place, what));
            }
        };
        let mut children = Vec::new();
        if !path.is_empty() && handler != "vdisk_nullio" {
            children.push(Node::line("filename", [path]));
        }
        let attributes = FLAGS.iter().filter(|(flag, _, _)| flags.contains(flag)).map(|(_, _, name)| *name);
        for attribute in attributes.filter(|name| !name.is_empty()) {
            let has = match handler {
                "vcdrom" => false,
                "vdisk_nullio" => matches!(attribute, "read_only" | "removable"),
                "vdisk_blockio" => attribute != "o_direct",
                _ => true,
            };
            if has {
                children.push(Node::line(attribute, ["1"]));
            } else {
                self.note(format!("{attribute} of device {name} was left out: {handler} does not have it"));
            }
        }
        for (attribute, value) in [("blocksize", field(3)), ("t10_dev_id", field(4))] {
            if !value.is_empty() && value != "0" {
                children.push(Node::line(attribute, [value]));
            }
        }
        let node = Node { place, ..Node::section("DEVICE", [name], children) };
        self.result.devices.push((handler, node));
        Ok(())
    }

    fn assignment(&mut self, place: Place, value: &str) -> Result<(), Error> {
        let fields: Vec<&str> = value.split(',').map(str::trim).collect();
        let [device, lun, options @ ..] = fields.as_slice() else {
            return Err(Error::new(place, "DEVICE wants NAME,LUN, and READ_ONLY behind another comma"));
        };
        if lun.parse::<u16>().is_err() || device.is_empty() || options.len() > 1 {
            let what = format!("\"{value}\" is not NAME,LUN or NAME,LUN,READ_ONLY");
            return Err(Error::new(place, what));
        }
        let flags = flags(place, options.first().copied().unwrap_or(""))?;
        if let Some(flag) = flags.iter().find(|flag| **flag != "READ_ONLY") {
            return Err(Error::new(place, format!("{flag} is no option of a LUN; there is READ_ONLY")));
        }
        self.result.assignments.push(Assignment {
            place,
            group: self.argument.clone(),
            lun: (*lun).to_owned(),
            device: (*device).to_owned(),
            read_only: !flags.is_empty(),
        });
        Ok(())
    }

    /// Groups that see something but have no members, and members of groups that are not groups here.
    fn finish(&mut self) {
        for (group, users) in std::mem::take(&mut self.result.users) {
            for user in users.iter().filter(|_| is_default(&group)) {
                let why = "who is in no group sees its LUNs";
                self.note(format!("USER {user} of group {group} was left out: {why}"));
            }
            self.result.users.push((group, users));
        }
        let groups: Vec<String> = self.result.assignments.iter().map(|a| a.group.clone()).collect();
        for group in groups.into_iter().filter(|group| !is_default(group)) {
            if !self.result.users.iter().any(|(name, _)| *name == group) {
                self.note(format!("group {group} has no initiators"));
                self.result.users.push((group, Vec::new()));
            }
        }
    }
}

fn flags(place: Place, text: &str) -> Result<Vec<&'static str>, Error> {
    let words = text.split(['|', ' ']).map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| {
            let row = FLAGS.iter().find(|(long, short, _)| *long == word || *short == word);
            row.map(|(long, _, _)| *long).ok_or_else(|| {
                let known: Vec<&str> = FLAGS.iter().map(|(long, _, _)| *long).collect();
                Error::new(place, format!("{word} is no option; there are {}", known.join(", ")))
            })
        })
        .collect()
}
