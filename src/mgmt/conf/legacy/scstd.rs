//! iscsi-scstd.conf: `NAME value` lines; those behind a `Target` line are about that target.

use crate::iscsi::key::{Key, ValueError};
use crate::mgmt::conf::parse::Node;
use crate::mgmt::conf::{Error, FILE_LIMIT, LINE_LIMIT, Place, too_long};

/// Keys that could be set once and are fixed here.
const FIXED: [&str; 12] = [
    "MaxConnections",
    "DefaultTime2Wait",
    "DefaultTime2Retain",
    "DataPDUInOrder",
    "DataSequenceInOrder",
    "ErrorRecoveryLevel",
    "OFMarker",
    "IFMarker",
    "OFMarkInt",
    "IFMarkInt",
    "Wthreads",
    "Type",
];
/// Names beside the keys.
const OTHERS: [&str; 6] =
    ["Target", "IncomingUser", "OutgoingUser", "Alias", "iSNSServer", "iSNSAccessControl"];
/// Shorter passwords are refused by SCST and here.
const SHORTEST_PASSWORD: usize = 12;

/// The contents of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scstd {
    /// Lines about the driver, in today's format.
    pub driver: Vec<Node>,
    /// Targets, and the lines about each.
    pub targets: Vec<(String, Vec<Node>)>,
    /// What was left out or changed, and why.
    pub notes: Vec<String>,
}

/// Whether a line of such a file begins with this word.
pub fn is_known(word: &str) -> bool {
    let known = Key::attributes().map(|key| key.name).chain(FIXED).chain(OTHERS);
    known.into_iter().any(|name| name.eq_ignore_ascii_case(word))
}

#[derive(Default)]
struct Reader {
    result: Scstd,
    server: Option<String>,
    access_control: Option<bool>,
}

/// Reads a file.
pub fn parse(text: &str) -> Result<Scstd, Error> {
    if text.len() > FILE_LIMIT {
        return Err(too_long(&format!("{} bytes", text.len())));
    }
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        let place = Place { line: index + 1, column: line.len() - line.trim_start().len() + 1 };
        if index >= LINE_LIMIT {
            return Err(Error::new(place, format!("more than {LINE_LIMIT} lines are not allowed")));
        }
        match line.trim() {
            "" => {}
            line if line.starts_with('#') => {}
            line if line.contains(|c: char| c.is_control() && c != '\t') => {
                return Err(Error::new(place, "a control character; the file must be text"));
            }
            line => reader.line(place, line)?,
        }
    }
    match reader.server.take() {
        Some(server) => {
            let is_controlled = reader.access_control == Some(true);
            let value = if is_controlled { format!("{server} AccessControl") } else { server };
            reader.result.driver.push(Node::line("iSNSServer", [&value]));
        }
        None if reader.access_control.is_some() => {
            reader.note("iSNSAccessControl was left out: there is no iSNSServer".to_owned());
        }
        None => {}
    }
    Ok(reader.result)
}

impl Reader {
    fn line(&mut self, place: Place, line: &str) -> Result<(), Error> {
        let (name, value) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        let value = value.trim();
        let known = Key::attributes().map(|key| key.name).chain(FIXED).chain(OTHERS);
        let Some(name) = known.into_iter().find(|known| known.eq_ignore_ascii_case(name)) else {
            let keys: Vec<&str> = OTHERS.into_iter().chain(Key::attributes().map(|key| key.name)).collect();
            return Err(Error::new(
                place,
                format!("{name} is not known here; there are {}", keys.join(", ")),
            ));
        };
        if value.is_empty() {
            return Err(Error::new(place, format!("{name} wants a value")));
        }
        match name {
            "Target" => self.target(place, value)?,
            "IncomingUser" | "OutgoingUser" => {
                let account = account(place, name, value)?;
                if account.len() < value.split_whitespace().next().map_or(0, str::len) + 1 + SHORTEST_PASSWORD
                {
                    let user = account.split(' ').next().unwrap_or("");
                    self.note(format!(
                        "the password of {user} is too short: {SHORTEST_PASSWORD} characters or more"
                    ));
                }
                self.add(Node::line(name, [&account]));
            }
            "Alias" => {
                let alias = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
                self.only_in_target(place, name)?;
                self.forget("alias");
                self.add(Node::line("alias", [alias]));
            }
            "iSNSServer" => {
                if let Some(before) = self.server.replace(value.to_owned()) {
                    self.note(format!("iSNSServer {before} was left out: there is another behind it"));
                }
            }
            "iSNSAccessControl" => self.access_control = Some(yes_or_no(place, name, value)?),
            _ if FIXED.contains(&name) => self.note(format!("{name} was left out: it is fixed")),
            _ => self.key(place, name, value)?,
        }
        Ok(())
    }

    fn note(&mut self, note: String) {
        if !self.result.notes.contains(&note) {
            self.result.notes.push(note);
        }
    }

    fn add(&mut self, node: Node) {
        match self.result.targets.last_mut() {
            Some((_, lines)) => lines.push(node),
            None => self.result.driver.push(node),
        }
    }

    /// What the target's lines say of this attribute is said again: the last line counts, as it did there.
    fn forget(&mut self, name: &str) {
        let Some((target, lines)) = self.result.targets.last_mut() else { return };
        let count = lines.len();
        lines.retain(|line| line.name != name);
        if lines.len() < count {
            let note = format!("{name} of target {target} is there twice; the last one was taken");
            self.note(note);
        }
    }

    fn only_in_target(&self, place: Place, name: &str) -> Result<(), Error> {
        if self.result.targets.is_empty() {
            return Err(Error::new(place, format!("{name} stands before the first Target")));
        }
        Ok(())
    }

    fn target(&mut self, place: Place, name: &str) -> Result<(), Error> {
        if self.result.targets.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            return Err(Error::new(place, format!("target {name} a second time")));
        }
        self.result.targets.push((name.to_owned(), Vec::new()));
        Ok(())
    }

    /// A number beyond what is allowed here is brought within it: the key is negotiated anyway.
    fn key(&mut self, place: Place, name: &str, value: &str) -> Result<(), Error> {
        self.only_in_target(place, name)?;
        let Some(key) = Key::attribute(name) else { return Ok(()) };
        let (min, max) = key.range;
        let value = match key.parse(value) {
            Ok(number) => key.format(number),
            Err(ValueError::Range) => {
                let number = value.parse::<u64>().unwrap_or(u64::MAX);
                let near = u32::try_from(number).unwrap_or(max).clamp(min, max);
                self.note(format!("{name} {value} became {near}: {min} to {max} is allowed"));
                near.to_string()
            }
            Err(ValueError::Syntax) => {
                return Err(Error::new(place, format!("\"{value}\" is no value of {name}: {}", key.help)));
            }
        };
        self.forget(name);
        if value != key.format(key.offer) {
            self.add(Node::line(name, [&value]));
        }
        Ok(())
    }
}

fn yes_or_no(place: Place, name: &str, value: &str) -> Result<bool, Error> {
    match value.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(Error::new(place, format!("\"{value}\" is no value of {name}; there are Yes and No"))),
    }
}

/// Name and password, with one blank between them.
fn account(place: Place, name: &str, value: &str) -> Result<String, Error> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let [user, password] = words.as_slice() else {
        return Err(Error::new(place, format!("{name} wants a name and a password")));
    };
    let password = password.strip_prefix('"').and_then(|p| p.strip_suffix('"')).unwrap_or(password);
    Ok(format!("{user} {password}"))
}
