//! The tree, by its paths.

use scstu::mgmt::control::{Files, Service};
use scstu::mgmt::tree::Kind;

use crate::context::{Answer, Arguments, Command, Context};
use crate::hints::refusal;
use crate::output::{Json, Report, table};

/// Its commands.
pub const COMMANDS: &[Command] = &[
    Command { words: &["list"], usage: "[PATH]", help: "what is in a directory of the tree", run: list },
    Command {
        words: &["get"],
        usage: "PATH",
        help: "the value of a file of the tree, or of all files of a directory",
        run: get,
    },
    Command { words: &["set"], usage: "PATH VALUE", help: "write a value to a file of the tree", run: set },
    Command {
        words: &["do"],
        usage: "PATH VERB...",
        help: "carry out a verb of a directory: write it to its file mgmt",
        run: perform,
    },
    Command {
        words: &["describe"],
        usage: "PATH",
        help: "what a directory or file of the tree is, and what it takes",
        run: describe,
    },
];

/// The path as the daemon wants it, whatever the user put before it.
fn relative(path: &str) -> &str {
    let path = path.strip_prefix("/sys/kernel/scst_tgt").unwrap_or(path);
    path.trim_matches('/')
}

/// The lines of a text without SCST's mark, and whether it was there.
pub fn value(text: &str) -> (String, bool) {
    let lines: Vec<&str> = text.trim_end_matches('\n').split('\n').collect();
    let saved = lines.get(1).is_some_and(|line| *line == "[key]");
    let lines: Vec<&str> =
        lines.iter().enumerate().filter(|(at, _)| !(saved && *at == 1)).map(|(_, l)| *l).collect();
    (lines.join("\n"), saved)
}

fn list(context: &Context, arguments: &Arguments) -> Answer {
    let path = arguments.optional(&[])?.unwrap_or("");
    let (daemon, path) = (context.daemon()?, relative(path));
    let entries = daemon.list(path).map_err(|error| refusal(daemon, path, error))?;
    let row = |(name, kind): &(String, Kind)| match kind {
        Kind::Directory => vec!["directory".to_owned(), format!("{name}/")],
        Kind::File { mode } => vec![format!("{mode:04o}"), name.clone()],
        Kind::Link { target } => vec!["link".to_owned(), format!("{name} -> {target}")],
    };
    let entry = |(name, kind): &(String, Kind)| {
        let (sort, more) = match kind {
            Kind::Directory => ("directory", None),
            Kind::File { mode } => ("file", Some(("mode", Json::text(format!("{mode:04o}"))))),
            Kind::Link { target } => ("link", Some(("target", Json::text(target)))),
        };
        let mut members = vec![("name", Json::text(name)), ("kind", Json::text(sort))];
        members.extend(more);
        Json::Object(members)
    };
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    Ok(Report { text: table(&rows), json: Json::List(entries.iter().map(entry).collect()) })
}

fn get(context: &Context, arguments: &Arguments) -> Answer {
    let [path] = arguments.exactly(&[])?;
    let (daemon, path) = (context.daemon()?, relative(path));
    if daemon.kind(path).map_err(|error| refusal(daemon, path, error))? == Kind::Directory {
        return get_all(daemon, path);
    }
    let (value, saved) = value(&daemon.read(path)?);
    let json = Json::Object(vec![
        ("path", Json::text(path)),
        ("value", Json::text(&value)),
        ("saved", Json::Bool(saved)),
    ]);
    Ok(Report { text: value + "\n", json })
}

fn get_all(daemon: &dyn Service, path: &str) -> Answer {
    let (mut rows, mut members) = (Vec::new(), Vec::new());
    for (name, kind) in daemon.list(path)? {
        // What its owner alone may read has secrets in it, and is shown when it is asked for by name.
        if name == "mgmt" || !matches!(kind, Kind::File { mode } if mode & 0o004 != 0) {
            continue;
        }
        let file = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        // An attribute that cannot be read now must not hide the others.
        let (value, _) = match daemon.read(&file) {
            Ok(text) => value(&text),
            Err(error) => (format!("({error})"), false),
        };
        rows.push(vec![name.clone(), value.lines().next().unwrap_or("").to_owned()]);
        members.push((name, Json::text(value)));
    }
    Ok(Report { text: table(&rows), json: Json::Map(members) })
}

fn set(context: &Context, arguments: &Arguments) -> Answer {
    let [path, value] = arguments.exactly(&[])?;
    write(context.daemon()?, relative(path), value)
}

fn perform(context: &Context, arguments: &Arguments) -> Answer {
    let ([path], words) = arguments.leading(&[])?;
    let path = relative(path);
    let file = if path.is_empty() { "mgmt".to_owned() } else { format!("{path}/mgmt") };
    write(context.daemon()?, &file, &words.join(" "))
}

/// Writes as a line.
pub fn write(daemon: &dyn Service, path: &str, text: &str) -> Answer {
    let written = Files::write(daemon, path, &format!("{text}\n"));
    written.map(|()| Report::done()).map_err(|error| refusal(daemon, path, error))
}

fn describe(context: &Context, arguments: &Arguments) -> Answer {
    let [path] = arguments.exactly(&[])?;
    let (daemon, path) = (context.daemon()?, relative(path));
    let lines = daemon.describe(path).map_err(|error| refusal(daemon, path, error))?;
    let (mut text, mut list) = (String::new(), Vec::new());
    for line in &lines {
        let (file, verbs) = line.split_at(line.len().min(7));
        let field = |at: usize| file.get(at).map_or("", String::as_str);
        text.push_str(&format!("{} ({}): {}\n", field(0), field(1), field(6)));
        for (name, at) in [("values", 2), ("default", 3), ("now", 4), ("", 5)] {
            if !field(at).is_empty() {
                text.push_str(&format!(
                    "    {name}{}{}\n",
                    if name.is_empty() { "" } else { ": " },
                    field(at)
                ));
            }
        }
        let mut rows = Vec::new();
        for verb in verbs.chunks(3) {
            text.push_str(&format!("    {}\n", verb.join("  ")));
            rows.push(Json::texts(verb));
        }
        let names = ["name", "mode", "values", "default", "value", "marks", "help"];
        let mut members: Vec<_> =
            names.iter().enumerate().map(|(at, name)| (*name, Json::text(field(at)))).collect();
        members.push(("verbs", Json::List(rows)));
        list.push(Json::Object(members));
    }
    Ok(Report { text, json: Json::List(list) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_not_part_of_a_value() {
        assert_eq!(value("5\n[key]\n"), ("5".into(), true));
        assert_eq!(value("5\n[key]\n\n"), ("5".into(), true));
        assert_eq!(value("5\n"), ("5".into(), false));
        assert_eq!(value("a\nb\n[key]\n"), ("a\nb\n[key]".into(), false));
        assert_eq!(value(""), (String::new(), false));
    }

    #[test]
    fn paths_may_be_those_of_scst() {
        for path in ["devices/a", "/devices/a/", "/sys/kernel/scst_tgt/devices/a"] {
            assert_eq!(relative(path), "devices/a");
        }
        assert_eq!(relative("/sys/kernel/scst_tgt"), "");
    }
}
