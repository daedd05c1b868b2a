//! The files of SCST's older versions and of the original user-mode SCST, as a tree of scst.conf.
//!
//! The procfs scst.conf ([`procfs`]) names devices, groups of initiators and what each group sees; the
//! targets, their accounts and parameters are in iscsi-scstd.conf ([`scstd`]). There a group belongs to all
//! targets, `Default_TARGET` is what everybody else sees at a target, and `Default` what they see where there
//! is no such group.

pub mod procfs;
pub mod scstd;

use crate::mgmt::conf::parse::{Node, parse};
use crate::mgmt::conf::{BYTE_ORDER_MARK, Error, Place, marked, write};
use procfs::{Assignment, Procfs};
use scstd::Scstd;

/// What came of older files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// The tree of scst.conf.
    pub nodes: Vec<Node>,
    /// What has no place in it, or changes its meaning, for people.
    pub notes: Vec<String>,
}

impl Converted {
    /// The file, with the notes as comments at its head.
    pub fn text(&self) -> String {
        let notes: String = self.notes.iter().map(|note| format!("# {note}\n")).collect();
        let gap = if notes.is_empty() { "" } else { "\n" };
        format!("{notes}{gap}{}", write::text(&self.nodes))
    }
}

/// A file of one of these kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// scst.conf as it is now.
    Current,
    /// scst.conf of the procfs versions.
    Procfs,
    /// iscsi-scstd.conf.
    Scstd,
}

/// Words that begin a section of today's format.
const CURRENT: [&str; 3] = ["HANDLER", "TARGET_DRIVER", "DEVICE_GROUP"];

/// Which kind of file this is.
pub fn format(text: &str) -> Format {
    let lines = || text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let is_section = |line: &str| {
        let name = line.strip_prefix('[').map(|rest| rest.split([' ', '\t', ']']).next().unwrap_or(""));
        name.is_some_and(|name| procfs::SECTIONS.contains(&name))
    };
    let first_words = || lines().filter_map(|line| line.split_whitespace().next());
    if lines().any(is_section) {
        Format::Procfs
    } else if first_words().any(|word| CURRENT.contains(&word)) {
        Format::Current
    } else if first_words().any(scstd::is_known) {
        Format::Scstd
    } else {
        Format::Current
    }
}

/// Makes one scst.conf of an older scst.conf, an iscsi-scstd.conf, or both, in any order. An error tells the
/// number of the file, counted from 0. A file in today's format, if it is alone, comes out without its
/// comments.
pub fn convert(texts: &[&str]) -> Result<Converted, (usize, Error)> {
    let mut procfs = None;
    let mut scstd = None;
    for (number, text) in texts.iter().enumerate() {
        let at = |error| (number, error);
        if text.starts_with(BYTE_ORDER_MARK) {
            return Err(at(marked()));
        }
        let twice = |what| Err((number, Error::new(Place::START, format!("a second {what}"))));
        match format(text) {
            Format::Current if texts.len() == 1 => {
                let nodes = parse(text).map_err(at)?;
                return Ok(Converted { nodes, notes: Vec::new() });
            }
            Format::Current => {
                let what = "this is an scst.conf in today's format; there is nothing to convert";
                return Err((number, Error::new(Place::START, what)));
            }
            Format::Procfs if procfs.is_some() => return twice("scst.conf"),
            Format::Procfs => procfs = Some((number, procfs::parse(text).map_err(at)?)),
            Format::Scstd if scstd.is_some() => return twice("iscsi-scstd.conf"),
            Format::Scstd => scstd = Some(scstd::parse(text).map_err(at)?),
        }
    }
    let number = procfs.as_ref().map_or(0, |(number, _)| *number);
    join(procfs.map(|(_, procfs)| procfs).unwrap_or_default(), scstd).map_err(|error| (number, error))
}

fn join(procfs: Procfs, scstd: Option<Scstd>) -> Result<Converted, Error> {
    let mut notes = procfs.notes.clone();
    let is_alone = scstd.is_none();
    let mut scstd = scstd.unwrap_or_default();
    notes.append(&mut scstd.notes);
    if is_alone {
        scstd.targets = procfs.default_targets().map(|name| (name.to_owned(), Vec::new())).collect();
        if scstd.targets.is_empty() && !procfs.assignments.is_empty() {
            let what = "this file names no targets; give the iscsi-scstd.conf that does as well";
            return Err(Error::new(procfs.assignments[0].place, what));
        }
        if scstd.targets.is_empty() {
            let groups = procfs.groups().flat_map(|group| group.values);
            notes.extend(groups.map(|name| format!("group {name} was left out: this file names no targets")));
        }
    }
    for target in procfs.default_targets() {
        if !scstd.targets.iter().any(|(name, _)| name == target) {
            notes.push(format!("[ASSIGNMENT Default_{target}] was left out: there is no target {target}"));
        }
    }
    let mut nodes: Vec<Node> = Vec::new();
    for (handler, device) in procfs.devices.iter().cloned() {
        match nodes.iter_mut().find(|node| node.values == [handler]) {
            Some(section) => section.children.get_or_insert_default().push(device),
            None => nodes.push(Node::section("HANDLER", [handler], vec![device])),
        }
    }
    let mut driver = vec![Node::line("enabled", ["1"])];
    driver.append(&mut scstd.driver);
    for (name, attributes) in scstd.targets {
        let mut children = attributes;
        children.push(Node::line("enabled", ["1"]));
        children.extend(procfs.luns_of_target(&name).map(Assignment::node));
        children.extend(procfs.groups());
        driver.push(Node::section("TARGET", [&name], children));
    }
    nodes.push(Node::section("TARGET_DRIVER", ["iscsi"], driver));
    Ok(Converted { nodes, notes })
}

#[cfg(test)]
mod tests;
