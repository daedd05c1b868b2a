//! The kinds of objects, for `help KIND`: their attributes and verbs, as the rows of the model have them.

use scstu::attr::Access;
use scstu::backstore::registry::{HANDLERS, Handler, OF_TCMU_RUNNER};
use scstu::iscsi::key::Key;
use scstu::model::catalogue::{self, Row};
use scstu::model::key_attributes;

use crate::output::Json;

/// A kind of object.
struct Kind {
    name: &'static str,
    /// What it is in the catalogue of attributes; none if it has none.
    class: Option<&'static str>,
    /// Its directory in the tree.
    path: &'static str,
    /// Directories with the verbs that make it, remove it and fill it.
    verbs: &'static [&'static str],
}

macro_rules! kind {
    ($name:literal $class:expr, $path:literal $verbs:expr) => {
        Kind { name: $name, class: $class, path: $path, verbs: $verbs }
    };
}

const LUNS: &str = "targets/iscsi/<target>/luns";
const GROUPS: &str = "targets/iscsi/<target>/ini_groups";
const INITIATORS: &str = "targets/iscsi/<target>/ini_groups/<group>/initiators";
const DEVICE_GROUPS: &str = "device_groups";
const GROUP_DEVICES: &str = "device_groups/<device_group>/devices";
const TARGET_GROUPS: &str = "device_groups/<device_group>/target_groups";
const TARGET_GROUP: &str = "device_groups/<device_group>/target_groups/<target_group>";

const KINDS: &[Kind] = &[
    kind!("root" Some("root"), "" &[]),
    kind!("handler" Some("handler"), "handlers/HANDLER" &["handlers/<handler>"]),
    kind!("device" Some("device"), "devices/DEVICE" &["handlers/<handler>"]),
    kind!("driver" Some("driver"), "targets/iscsi" &["targets/iscsi"]),
    kind!("copy manager" Some("copy_manager"), "targets/copy_manager" &[]),
    kind!("target" Some("target"), "targets/iscsi/TARGET" &["targets/iscsi"]),
    kind!("lun" Some("lun"), "targets/iscsi/TARGET/luns/LUN" &[LUNS]),
    kind!("group" Some("group"), "targets/iscsi/TARGET/ini_groups/GROUP" &[GROUPS]),
    kind!("initiator" None, "targets/iscsi/TARGET/ini_groups/GROUP/initiators/INITIATOR" &[INITIATORS]),
    kind!("session" Some("session"), "targets/iscsi/TARGET/sessions/SESSION" &[]),
    kind!("session lun" Some("session_lun"), "targets/iscsi/TARGET/sessions/SESSION/lunLUN" &[]),
    kind!("latency" Some("latency"), "targets/iscsi/TARGET/sessions/SESSION/latency" &[]),
    kind!("connection" Some("connection"), "targets/iscsi/TARGET/sessions/SESSION/ADDRESS" &[]),
    kind!("copy session" Some("copy_session"),
        "targets/copy_manager/copy_manager_tgt/sessions/copy_manager_sess" &[]),
    kind!("copy session lun" Some("copy_session_lun"),
        "targets/copy_manager/copy_manager_tgt/sessions/copy_manager_sess/lunLUN" &[]),
    kind!("device group" None, "device_groups/GROUP" &[DEVICE_GROUPS, GROUP_DEVICES]),
    kind!("target group" Some("target_group"), "device_groups/GROUP/target_groups/GROUP"
        &[TARGET_GROUPS, TARGET_GROUP]),
    kind!("remote target" Some("remote_target"), "device_groups/GROUP/target_groups/GROUP/TARGET"
        &[TARGET_GROUP]),
    kind!("memory" Some("memory"), "sgv" &[]),
    kind!("memory pool" Some("memory_pool"), "sgv/sgv" &[]),
];

/// Besides the kinds: the keys of RFC 7143 that are attributes of targets.
const PARAMETERS: &str = "parameter";

/// An attribute as it is printed.
struct Line {
    name: String,
    values: String,
    default: String,
    access: &'static str,
    help: String,
}

/// Their names, and those of the handlers, which are asked for one by one.
pub fn all_names() -> Vec<String> {
    let kinds = KINDS.iter().map(|kind| kind.name.to_owned()).chain([PARAMETERS.to_owned()]);
    kinds.chain(handlers().map(|row| row.name.to_string())).collect()
}

/// One name for singular and plural, and for blanks, underlines and hyphens.
fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '-'], " ").trim_end_matches('s').to_owned()
}

/// Ours, and those of tcmu-runner as one.
fn handlers() -> impl Iterator<Item = &'static Handler> {
    HANDLERS.iter().chain([&OF_TCMU_RUNNER])
}

/// What there is to say of a kind of object or of a handler, for people and for programs.
pub fn explain(name: &str) -> Option<(String, Vec<(&'static str, Json)>)> {
    if normal(name) == PARAMETERS {
        let lines: Vec<Line> = key_attributes().map(parameter).collect();
        return Some(print("attributes of targets, also parameters of add_target", &lines, &[]));
    }
    if let Some(handler) = handlers().find(|row| row.name == name) {
        return Some(print(&format!("{}: {}", handler.name, handler.help), &parameters(handler), &[]));
    }
    let kind = KINDS.iter().find(|kind| normal(kind.name) == normal(name))?;
    let rows = catalogue::rows();
    let mut lines: Vec<Line> =
        rows.iter().filter(|row| Some(row.class) == kind.class).map(attribute).collect();
    if kind.name == "handler" {
        lines.extend(handlers().map(|row| Line {
            name: row.name.to_string(),
            values: row.parameters.join(", "),
            default: String::new(),
            access: "parameters of add_device",
            help: row.help.to_string(),
        }));
    }
    Some(print(&format!("/{}", kind.path), &lines, kind.verbs))
}

fn attribute(row: &Row) -> Line {
    let access = match row.access {
        Access::ReadOnly => "read",
        Access::CreateOnly => "given when made",
        Access::WriteOnly => "write",
        _ => "read and write",
    };
    let help = match row.compatibility {
        Some(why) => format!("{}. Accepted, without effect: {why}", row.help),
        None => row.help.to_owned(),
    };
    let name = if row.is_dynamic { format!("{0}, {0}1, ...", row.name) } else { row.name.to_owned() };
    Line { name, values: row.kind.to_string(), default: row.default.to_owned(), access, help }
}

/// The attributes that a device of this handler can be given when it is made.
fn parameters(handler: &Handler) -> Vec<Line> {
    let rows = catalogue::rows();
    let rows = rows.iter().filter(|row| row.class == "device" && handler.parameters.contains(&row.name));
    rows.map(attribute).collect()
}

/// The names of the attributes that a device of this handler can be given; none if no such handler is known
/// here.
pub fn parameter_names(handler: &str) -> Vec<&'static str> {
    let row = handlers().find(|row| row.name == handler || is_of_tcmu_runner(row, handler));
    row.map_or_else(Vec::new, |row| row.parameters.to_vec())
}

/// Handlers of tcmu-runner take the same, whichever is loaded.
fn is_of_tcmu_runner(row: &Handler, name: &str) -> bool {
    std::ptr::eq(row, &OF_TCMU_RUNNER) && name.starts_with("tcmu_")
}

fn parameter(key: &Key) -> Line {
    Line {
        name: key.name.to_owned(),
        values: catalogue::rows()
            .iter()
            .find(|row| row.class == "target" && row.name == key.name)
            .map_or_else(String::new, |row| row.kind.to_string()),
        default: key.format(key.offer),
        access: "read and write",
        help: key.help.to_owned(),
    }
}

fn print(head: &str, lines: &[Line], paths: &[&str]) -> (String, Vec<(&'static str, Json)>) {
    let mut text = format!("{head}\n");
    for line in lines {
        let default =
            if line.default.is_empty() { String::new() } else { format!(", default {}", line.default) };
        text.push_str(&format!(
            "{}: {}{default} ({})\n    {}\n",
            line.name, line.values, line.access, line.help
        ));
    }
    let attributes = lines.iter().map(|line| {
        let values = [&line.name, &line.values, &line.default, line.access, &line.help].map(Json::text);
        let names = ["name", "values", "default", "access", "help"];
        Json::Object(names.into_iter().zip(values).collect())
    });
    let attributes = Json::List(attributes.collect());
    let verbs = catalogue::verbs();
    let verbs: Vec<_> = verbs.iter().filter(|(path, _)| paths.contains(&path.as_str())).collect();
    for (path, verb) in &verbs {
        text.push_str(&format!("scstuadm do {path} {} {}\n    {}\n", verb.name, verb.syntax, verb.help));
    }
    let verbs = verbs.iter().map(|(path, verb)| {
        let values = [path.as_str(), verb.name, verb.syntax, verb.help].map(Json::text);
        Json::Object(["path", "verb", "syntax", "help"].into_iter().zip(values).collect())
    });
    (text, vec![("attributes", attributes), ("verbs", Json::List(verbs.collect()))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_and_verb_of_the_model_is_told_somewhere() {
        let all: String = KINDS.iter().map(|kind| explain(kind.name).unwrap().0).collect();
        for row in catalogue::rows() {
            let text = KINDS.iter().find(|kind| kind.class == Some(row.class)).expect(row.class);
            assert!(
                explain(text.name).unwrap().0.contains(&attribute(&row).name),
                "{} {}",
                row.class,
                row.name
            );
            assert!(all.contains(row.help), "{}", row.name);
        }
        for (path, verb) in catalogue::verbs() {
            assert!(all.contains(&format!("do {path} {} ", verb.name)), "{path} {}", verb.name);
        }
    }

    #[test]
    fn names_are_taken_as_people_write_them() {
        for name in
            ["lun", "LUNs", "target groups", "target_group", "device-group", "session luns", "parameters"]
        {
            assert!(explain(name).is_some(), "{name}");
        }
        for handler in handlers() {
            let (text, _) = explain(&handler.name).unwrap();
            assert!(handler.parameters.iter().all(|name| text.contains(&format!("\n{name}: "))), "{text}");
        }
        assert!(explain("nothing").is_none());
    }
}
