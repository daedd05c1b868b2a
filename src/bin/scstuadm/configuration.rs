//! scst.conf: `check`, `convert`, `plan`, `apply`, `save`.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use scstu::backstore::registry::{Handler, OF_TCMU_RUNNER, OpenError};
use scstu::mgmt::conf::parse::{Node, parse};
use scstu::mgmt::conf::write::is_legacy;
use scstu::mgmt::conf::{self, FILE_LIMIT, Mode, legacy, plan, save::store};
use scstu::mgmt::control::Lines;
use scstu::model::Model;
use scstu::server::pool::Pool;

use crate::context::{Answer, Arguments, Command, Context, FAILED, Failure, REFUSED, USAGE, failure};
use crate::output::{Json, Report, tell};

/// Their commands.
pub const COMMANDS: &[Command] = &[
    Command {
        words: &["check"],
        usage: "FILE",
        help: "read an scst.conf and say what is wrong with it; asks no daemon",
        run: check,
    },
    Command {
        words: &["convert"],
        usage: "FILE...",
        help: "make an scst.conf of files of SCST's older versions: scst.conf, iscsi-scstd.conf, or both",
        run: convert,
    },
    Command {
        words: &["plan"],
        usage: "FILE [--remove]",
        help: "what apply would change, and whose sessions that touches",
        run: |context, arguments| change(context, arguments, false),
    },
    Command {
        words: &["apply"],
        usage: "FILE [--remove]",
        help: "make the changes that a file asks for, all or none; with --remove also take away what it does \
               not mention, and put attributes that it leaves out back to their defaults",
        run: |context, arguments| change(context, arguments, true),
    },
    Command {
        words: &["save"],
        usage: "[FILE]",
        help: "write the running configuration as an scst.conf",
        run: save,
    },
];

/// A file, or standard input as `-`.
fn text_of(file: &str) -> Result<String, Failure> {
    let fail = |error: conf::Error| failure(REFUSED, format!("{file}:{error}"));
    if file != "-" {
        return conf::read_file(Path::new(file)).map_err(fail);
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(FILE_LIMIT).unwrap_or(u64::MAX);
    let read = std::io::stdin().take(limit.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| failure(FAILED, format!("standard input: {error}")))?;
    conf::text(bytes).map_err(fail)
}

fn check(_context: &Context, arguments: &Arguments) -> Answer {
    let [file] = arguments.exactly(&[])?;
    // An empty model opens nothing: a file that is not there is no mistake yet.
    let model = Model::new(Arc::new(Pool::new(2)), None).map_err(|error| failure(FAILED, error.text))?;
    let text = text_of(file)?;
    expect_handlers(&model, &text);
    let plan = plan::check_text(&model, &text, Mode::Merge)
        .map_err(|error| failure(REFUSED, format!("{file}:{error}")))?;
    plan.notes.iter().for_each(|note| tell(&format!("scstuadm: warning: {file}: {note}")));
    let count = u64::try_from(plan.steps.len()).unwrap_or(u64::MAX);
    Ok(Report { text: format!("{file}: good; {count} changes"), json: Json::Number(count) })
}

/// Beginnings of the names of SCST's own handlers; another name behind them is a slip of the pen.
const SCSTS: [&str; 3] = ["vdisk_", "vcdrom", "dev_"];

/// Handlers of tcmu-runner are loaded by the daemon and not here; all of them take the same attributes. So do
/// those that a program registers with libscstu, of which this tool cannot know, but can say so.
fn expect_handlers(model: &Model, text: &str) {
    let nodes = parse(text).unwrap_or_default();
    let handlers = nodes.iter().filter(|node| node.name == "HANDLER").flat_map(|node| &node.values);
    for name in handlers.filter(|name| !SCSTS.iter().any(|own| name.starts_with(own))) {
        // One that is named twice is the file's mistake.
        if name.starts_with("tcmu_") {
            let _ = model.handlers().add(Handler { name: name.clone().into(), ..OF_TCMU_RUNNER.clone() });
            continue;
        }
        let unopened =
            |_: &_| Err(OpenError { errno: libc::ENOENT, text: "only its program opens it".to_owned() });
        if model.handlers().add(Handler::registered(name, "", unopened)).is_ok() {
            tell(&format!(
                "scstuadm: warning: handler {name} is not built in: only a program that registers it can use \
                 this file, scstud refuses it"
            ));
        }
    }
}

fn convert(_context: &Context, arguments: &Arguments) -> Answer {
    let ([], files) = arguments.leading(&[])?;
    if files.is_empty() {
        return Err(failure(USAGE, "no file"));
    }
    let texts = files.iter().map(|file| text_of(file)).collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let converted = legacy::convert(&texts).map_err(|(number, error)| {
        failure(REFUSED, format!("{}:{error}", files.get(number).map_or("", String::as_str)))
    })?;
    let text = converted.text();
    Ok(Report { json: Json::text(&text), text })
}

fn change(context: &Context, arguments: &Arguments, really: bool) -> Answer {
    let [file] = arguments.exactly(&["remove"])?;
    let mode = if arguments.has("remove") { "remove" } else { "keep" };
    let text = text_of(file)?;
    let daemon = context.daemon()?;
    let result = if really { daemon.apply(mode, &text) } else { daemon.plan(mode, &text) };
    let lines = result.map_err(|error| {
        // What is wrong in the file begins with its place.
        let is_place = error.text.starts_with(|c: char| c.is_ascii_digit());
        if is_place { failure(REFUSED, format!("{file}:{}", error.text)) } else { Failure::from(error) }
    })?;
    let list = lines.iter().map(|line| {
        let (change, sessions) = line.split_first().map_or(("", &[][..]), |(c, s)| (c.as_str(), s));
        if let Some(note) = change.strip_prefix(NOTE) {
            return Json::Object(vec![("note", Json::text(note))]);
        }
        Json::Object(vec![("change", Json::text(change)), ("sessions", Json::texts(sessions))])
    });
    Ok(Report { text: changes(&lines, really), json: Json::List(list.collect()) })
}

/// What a line begins with that is no change but something to know of the file.
const NOTE: &str = "# ";

fn changes(lines: &Lines, really: bool) -> String {
    if lines.is_empty() {
        return "nothing to change".to_owned();
    }
    let mut text: String = lines.iter().map(|line| line.join("\n      ") + "\n").collect();
    if really {
        let is_change = |line: &&Vec<String>| !line.first().is_some_and(|line| line.starts_with(NOTE));
        text.push_str(&format!("{} changes made\n", lines.iter().filter(is_change).count()));
    }
    text
}

fn save(context: &Context, arguments: &Arguments) -> Answer {
    let file = arguments.optional(&[])?;
    let text = context.daemon()?.save()?;
    for place in beyond_scstadmin(&text) {
        tell(&format!("scstuadm: warning: {}:{place}", file.unwrap_or("-")));
    }
    let Some(file) = file.filter(|file| *file != "-") else {
        return Ok(Report { json: Json::text(&text), text });
    };
    store(Path::new(file), &text).map_err(|error| failure(FAILED, format!("{file}: {error}")))?;
    Ok(Report::done())
}

/// Lines that scstu reads back and scstadmin does not, and why. Values stay unsaid: one may be a password.
fn beyond_scstadmin(text: &str) -> Vec<String> {
    fn look(nodes: &[Node], found: &mut Vec<String>) {
        for node in nodes {
            if !node.values.iter().all(|value| is_legacy(value)) {
                let why = "is empty or has a \", {, } or tab: scstadmin cannot read it back";
                found.push(format!("{}: the value of {} {why}", node.place, node.name));
            }
            look(node.children(), found);
        }
    }
    let mut found = Vec::new();
    look(&parse(text).unwrap_or_default(), &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scstadmin_cannot_read_back_is_told_with_its_place() {
        let text = "a 1\nS x {\n\tcomment \"say \\\"it\\\"\"\n\tgood \"a b\"\n\tempty \"\"\n}\n";
        let found = beyond_scstadmin(text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("3:2: the value of comment ") && !found[0].contains("say"));
        assert!(found[1].starts_with("5:2: the value of empty "));
    }
}
