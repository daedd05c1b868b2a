//! From a file to the changes that bring the model to it: first listed, then made as one.
//!
//! A plan changes what the file says differently and adds what is missing. What the file does not mention
//! stays, unless [`Mode::Exact`] asks for the file and nothing else. Changes come in the order in which they
//! can be made: global settings, devices, targets with their attributes, groups and LUNs, device groups, and
//! last what lets initiators in.
//!
//! # How to add a section
//! A function here that walks its lines, compares with the configuration and pushes [`Change`]s; the same
//! section in [`save`](super::save); `tests/conf.rs` loads and saves it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use crate::mgmt::conf::parse::{Node, parse};
use crate::mgmt::conf::{Error, Place, legacy};
use crate::model::{Change, Configuration, Model, Object, root};

mod describe;
mod devices;
mod groups;
mod remove;
mod targets;
mod touch;
mod values;

/// What becomes of what the file does not mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It stays.
    Merge,
    /// It goes, and attributes go back to their defaults; devices whose fixed attributes differ are made
    /// anew. Sessions that are in the way are not closed: what they use cannot go.
    Exact,
}

/// A change, why it is made, and whom it concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The line that asks for it; none for what is missing from the file.
    pub place: Option<Place>,
    /// What.
    pub change: Change,
    /// The same for people, without passwords: `+` something new, `-` something that goes, `~` something that
    /// changes, and how.
    pub text: String,
    /// Sessions that notice it, as `INITIATOR at TARGET`.
    pub sessions: Vec<String>,
}

/// Changes, in the order to make them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes.
    pub steps: Vec<Step>,
    /// What an older file says that has no place here, and what may not be meant.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The plan for people: a line for each change, and below it the sessions that notice it.
    pub fn text(&self) -> String {
        let mut text: String = self.notes.iter().map(|note| format!("# {note}\n")).collect();
        for step in &self.steps {
            let _ = writeln!(text, "{}", step.text);
            for session in &step.sessions {
                let _ = writeln!(text, "      {session}");
            }
        }
        text
    }
}

/// The changes that a file asks for, with every name, attribute and value looked at, and files from outside.
/// Nothing is opened.
pub fn plan_text(model: &Model, text: &str, mode: Mode) -> Result<Plan, Error> {
    let plan = draft(model, text, mode)?;
    let changes: Vec<Change> = plan.steps.iter().map(|step| step.change.clone()).collect();
    model.check_all(&changes).map_err(|failed| place(&plan, text, failed))?;
    Ok(plan)
}

/// The changes that a file asks for, with every name, attribute and value looked at. The media may be another
/// machine's.
pub fn check_text(model: &Model, text: &str, mode: Mode) -> Result<Plan, Error> {
    let plan = draft(model, text, mode)?;
    let changes: Vec<Change> = plan.steps.iter().map(|step| step.change.clone()).collect();
    model.check_words(&changes).map_err(|failed| place(&plan, text, failed))?;
    Ok(plan)
}

/// Makes the changes of a plan as one: all, or none and the reason.
pub fn apply(model: &Model, plan: &Plan) -> Result<(), Error> {
    carry_out(model, plan, "")
}

/// Brings the model to what a file says, all of it or nothing, and tells what was changed.
pub fn apply_text(model: &Model, text: &str, mode: Mode) -> Result<Plan, Error> {
    let plan = draft(model, text, mode)?;
    carry_out(model, &plan, text)?;
    Ok(plan)
}

fn carry_out(model: &Model, plan: &Plan, text: &str) -> Result<(), Error> {
    let changes: Vec<Change> = plan.steps.iter().map(|step| step.change.clone()).collect();
    model.apply_all(&changes).map_err(|failed| place(plan, text, failed))
}

/// The error of a change, at the line that asks for it.
fn place(plan: &Plan, text: &str, (at, error): (usize, crate::model::Error)) -> Error {
    let step = plan.steps.get(at);
    let mut place = step.and_then(|step| step.place).unwrap_or(Place::START);
    if let Some(Change::AddDevice { parameters, .. }) = step.map(|step| &step.change) {
        place = devices::place_of(text, place, parameters, &error.text).unwrap_or(place);
    }
    Error { place, errno: error.errno, text: error.text }
}

/// The changes that a file asks for. Nothing is opened.
pub fn draft(model: &Model, text: &str, mode: Mode) -> Result<Plan, Error> {
    let (nodes, mut notes) = match legacy::format(text) {
        legacy::Format::Current => (parse(text)?, Vec::new()),
        _ => {
            let converted = legacy::convert(&[text]).map_err(|(_, error)| error)?;
            (converted.nodes, converted.notes)
        }
    };
    let mut planner = Planner {
        model,
        now: model.configuration(),
        sessions: touch::Sessions::new(model),
        mode,
        first: Vec::new(),
        renewals: Vec::new(),
        steps: Vec::new(),
        last: Vec::new(),
        seen: HashMap::new(),
        renewed: HashSet::new(),
        notes: Vec::new(),
    };
    planner.file(&nodes)?;
    if mode == Mode::Exact {
        planner.remove_the_rest();
    }
    notes.append(&mut planner.notes);
    let mut steps = planner.first;
    steps.append(&mut planner.renewals);
    steps.append(&mut planner.steps);
    steps.append(&mut planner.last);
    Ok(Plan { steps, notes })
}

/// A plan in the making.
struct Planner<'m> {
    model: &'m Model,
    now: Arc<Configuration>,
    sessions: touch::Sessions,
    mode: Mode,
    /// What goes.
    first: Vec<Step>,
    /// Devices that are made anew go, all before the first of them comes: they may exchange their files.
    renewals: Vec<Step>,
    steps: Vec<Step>,
    /// What lets initiators in.
    last: Vec<Step>,
    /// What the file has said already, by a name of it, and where.
    seen: HashMap<String, Place>,
    /// Devices that are made anew; their LUNs are gone by then.
    renewed: HashSet<String>,
    notes: Vec<String>,
}

/// When a change is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    First,
    Renewal,
    InOrder,
    Last,
}

fn unknown(node: &Node, allowed: &str) -> Error {
    node.wrong(format!("\"{}\" is not known here; allowed are {allowed}", node.name))
}

/// Refuses a section where a line is wanted.
fn line(node: &Node, allowed: &str) -> Result<(), Error> {
    if node.children.is_some() { Err(unknown(node, allowed)) } else { Ok(()) }
}

/// The value of an attribute; none is an empty one.
fn value(node: &Node) -> Result<&str, Error> {
    if node.values.is_empty() { Ok("") } else { node.value("one value") }
}

impl Planner<'_> {
    fn push(&mut self, when: When, place: Option<Place>, change: Change, before: Option<&str>) {
        let text = describe::change(&change, before);
        let sessions = self.sessions.touched(&self.now, &change);
        let steps = match when {
            When::First => &mut self.first,
            When::Renewal => &mut self.renewals,
            When::InOrder => &mut self.steps,
            When::Last => &mut self.last,
        };
        steps.push(Step { place, change, text, sessions });
    }

    /// Something new, at its turn.
    fn add(&mut self, node: &Node, change: Change) {
        self.push(When::InOrder, Some(node.place), change, None);
    }

    /// Refuses what the file has said already.
    fn once(&mut self, node: &Node, key: String, what: &str) -> Result<(), Error> {
        match self.seen.insert(key, node.place) {
            Some(before) => Err(node.wrong(format!("{what} a second time; the first is at {before}"))),
            None => Ok(()),
        }
    }

    fn has_seen(&self, key: &str) -> bool {
        self.seen.contains_key(key)
    }

    fn file(&mut self, nodes: &[Node]) -> Result<(), Error> {
        const SECTIONS: [&str; 4] = ["HANDLER", "TARGET_DRIVER", "ALUA", "DEVICE_GROUP"];
        for node in nodes {
            let is_section = SECTIONS.contains(&node.name.as_str());
            // An empty one of these says something, and is saved without braces.
            let may_be_empty = matches!(node.name.as_str(), "HANDLER" | "DEVICE_GROUP");
            if is_section && node.children.is_none() && !may_be_empty {
                return Err(node.wrong(format!("{} wants a section in braces", node.name)));
            }
            if !is_section && node.children.is_some() {
                return Err(unknown(node, &format!("attributes, and the sections {}", SECTIONS.join(", "))));
            }
        }
        for node in nodes.iter().filter(|node| !SECTIONS.contains(&node.name.as_str())) {
            self.root_attribute(node)?;
        }
        for name in SECTIONS {
            for node in nodes.iter().filter(|node| node.name == name) {
                match name {
                    "HANDLER" => self.handler(node)?,
                    "TARGET_DRIVER" => self.driver(node)?,
                    "DEVICE_GROUP" => self.device_group(node)?,
                    _ => self.alua(node)?,
                }
            }
        }
        Ok(())
    }

    fn root_attribute(&mut self, node: &Node) -> Result<(), Error> {
        self.once(node, format!("/{}", node.name), &node.name)?;
        let now = Arc::clone(&self.now);
        self.compare(node, Object::Root, &[root::ATTRIBUTES], &now.root, When::InOrder)
    }

    /// SCST keeps attributes of ALUA as a whole here; there are none.
    fn alua(&mut self, node: &Node) -> Result<(), Error> {
        self.once(node, "ALUA".to_owned(), "ALUA")?;
        match node.children().first() {
            Some(child) => Err(child.wrong(format!("ALUA has no attribute {}; there are none", child.name))),
            None => Ok(()),
        }
    }
}
