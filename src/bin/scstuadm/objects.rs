//! Devices, targets, groups, LUNs, accounts: each command is a message to a file of the tree.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use scstu::mgmt::conf;
use scstu::mgmt::control::Service;
use scstu::mgmt::tree::Kind;

use crate::context::{Answer, Arguments, Command, Context, Failure, USAGE, failure};
use crate::files::{value, write};
use crate::hints::refusal;
use crate::output::{Json, Report, size, table};

/// Where the targets are.
pub const TARGETS: &str = "targets/iscsi";

/// Their commands.
pub const COMMANDS: &[Command] = &[
    Command {
        words: &["device", "list"],
        usage: "",
        help: "devices, their sizes and backings",
        run: device_list,
    },
    Command {
        words: &["device", "add"],
        usage: "NAME HANDLER [ATTRIBUTE=VALUE]...",
        help: "add a device; `help HANDLER` tells what it takes",
        run: |context, arguments| {
            let ([name, handler], rest) = arguments.leading_words(&[])?;
            let parameters = parameters(rest)?;
            write(
                context.daemon()?,
                &format!("handlers/{handler}/mgmt"),
                &format!("add_device {name} {parameters}"),
            )
        },
    },
    Command {
        words: &["device", "resize"],
        usage: "NAME [SIZE]",
        help: "give a device another size, or have it look at the size of its backing again",
        run: device_resize,
    },
    Command {
        words: &["device", "progress"],
        usage: "[NAME] [--wait]",
        help: "how far formatting, sanitizing and copying are; with --wait until nothing of it goes on",
        run: device_progress,
    },
    Command {
        words: &["device", "remove"],
        usage: "NAME [--force]",
        help: "remove a device; with --force also one that is mapped",
        run: device_remove,
    },
    Command { words: &["target", "list"], usage: "", help: "targets, and what is in them", run: target_list },
    Command {
        words: &["target", "add"],
        usage: "NAME [PARAMETER=VALUE]...",
        help: "add a target, disabled",
        run: |context, arguments| {
            let ([name], rest) = arguments.leading_words(&[])?;
            let text = format!("add_target {name} {}", parameters(rest)?);
            write(context.daemon()?, &format!("{TARGETS}/mgmt"), &text)
        },
    },
    Command {
        words: &["target", "remove"],
        usage: "NAME",
        help: "remove a target that has no sessions",
        run: |context, arguments| {
            let [name] = arguments.words(&[])?;
            write(context.daemon()?, &format!("{TARGETS}/mgmt"), &format!("del_target {name}"))
        },
    },
    Command {
        words: &["target", "enable"],
        usage: "NAME",
        help: "let initiators log in",
        run: |context, arguments| {
            let [name] = arguments.words(&[])?;
            let (daemon, path) = (context.daemon()?, format!("{TARGETS}/{name}"));
            // What an scst.conf names and is not there would be made.
            daemon.kind(&path).map_err(|error| refusal(daemon, &path, error))?;
            let name = conf::write::word(name);
            let text = format!("TARGET_DRIVER iscsi {{\nenabled 1\nTARGET {name} {{\nenabled 1\n}}\n}}\n");
            daemon.apply("keep", &text)?;
            Ok(Report::done())
        },
    },
    Command {
        words: &["target", "disable"],
        usage: "NAME",
        help: "let no more initiators log in; sessions stay",
        run: |context, arguments| {
            let [name] = arguments.words(&[])?;
            write(context.daemon()?, &format!("{TARGETS}/{name}/enabled"), "0")
        },
    },
    Command {
        words: &["group", "add"],
        usage: "TARGET GROUP",
        help: "add a group of initiators with LUNs of their own",
        run: |context, arguments| {
            let [target, group] = arguments.words(&[])?;
            write(
                context.daemon()?,
                &format!("{TARGETS}/{target}/ini_groups/mgmt"),
                &format!("create {group}"),
            )
        },
    },
    Command {
        words: &["group", "remove"],
        usage: "TARGET GROUP",
        help: "remove a group that has no sessions",
        run: |context, arguments| {
            let [target, group] = arguments.words(&[])?;
            write(context.daemon()?, &format!("{TARGETS}/{target}/ini_groups/mgmt"), &format!("del {group}"))
        },
    },
    Command {
        words: &["group", "allow"],
        usage: "TARGET GROUP INITIATOR",
        help: "put an initiator into a group; * and ? stand for other characters",
        run: |context, arguments| initiator(context, arguments, "add"),
    },
    Command {
        words: &["group", "deny"],
        usage: "TARGET GROUP INITIATOR",
        help: "take an initiator out of a group",
        run: |context, arguments| initiator(context, arguments, "del"),
    },
    Command {
        words: &["lun", "map"],
        usage: "TARGET LUN DEVICE [--group GROUP] [--read-only]",
        help: "show a device to initiators",
        run: |context, arguments| map(context, arguments, "add"),
    },
    Command {
        words: &["lun", "replace"],
        usage: "TARGET LUN DEVICE [--group GROUP] [--read-only]",
        help: "show another device in the place of one",
        run: |context, arguments| map(context, arguments, "replace"),
    },
    Command {
        words: &["lun", "unmap"],
        usage: "TARGET LUN [--group GROUP]",
        help: "hide a device from initiators",
        run: |context, arguments| {
            let [target, lun] = arguments.words(&["group"])?;
            write(context.daemon()?, &luns(target, arguments), &format!("del {lun}"))
        },
    },
    Command {
        words: &["user", "add"],
        usage: "NAME [--target TARGET] [--outgoing]",
        help: "add a CHAP account, for discovery without --target; reads its secret from standard input",
        run: user_add,
    },
    Command {
        words: &["user", "remove"],
        usage: "NAME [--target TARGET] [--outgoing]",
        help: "remove a CHAP account",
        run: |context, arguments| {
            let [name] = arguments.words(&["target", "outgoing"])?;
            account(context, arguments, "del", name)
        },
    },
];

/// `name=value` words as SCST's parameter list.
fn parameters(words: &[String]) -> Result<String, Failure> {
    let mut text = String::new();
    for word in words {
        if !word.contains('=') || word.contains([';', '\n']) || word.chars().any(char::is_whitespace) {
            let hint = "write NAME=VALUE; a value with blanks, = or ; can be given in an scst.conf";
            return Err(failure(USAGE, format!("\"{word}\" is not an attribute and its value")).hint(hint));
        }
        text.push_str(word);
        text.push(';');
    }
    Ok(text)
}

/// The directories in `path`.
pub fn directories(daemon: &dyn Service, path: &str) -> Result<Vec<String>, Failure> {
    let entries = daemon.list(path)?;
    Ok(entries.into_iter().filter(|(_, kind)| *kind == Kind::Directory).map(|(name, _)| name).collect())
}

/// The value of a file; nothing if it is not there.
pub fn attribute(daemon: &dyn Service, path: &str) -> String {
    daemon.read(path).map(|text| value(&text).0).unwrap_or_default()
}

fn handler(daemon: &dyn Service, device: &str) -> Result<String, Failure> {
    match daemon.kind(&format!("devices/{device}/handler")) {
        Ok(Kind::Link { target }) => Ok(target.rsplit('/').next().unwrap_or_default().to_owned()),
        _ => Err(failure(crate::context::REFUSED, format!("there is no device {device}"))
            .hint("`scstuadm device list` tells which there are")),
    }
}

/// Where a device is mapped: `TARGET LUN` or `TARGET GROUP LUN`.
fn exports(daemon: &dyn Service, device: &str) -> Vec<String> {
    let entries = daemon.list(&format!("devices/{device}/exported")).unwrap_or_default();
    let mut all = Vec::new();
    for (_, kind) in entries {
        let Kind::Link { target } = kind else { continue };
        let parts: Vec<&str> = target.split('/').skip_while(|part| *part == "..").collect();
        match parts.as_slice() {
            ["targets", "copy_manager", ..] => {}
            ["targets", _, target, "luns", lun] => all.push(format!("{target} LUN {lun}")),
            ["targets", _, target, "ini_groups", group, "luns", lun] => {
                all.push(format!("{target} group {group} LUN {lun}"));
            }
            _ => {}
        }
    }
    all
}

fn device_list(context: &Context, arguments: &Arguments) -> Answer {
    let [] = arguments.exactly(&[])?;
    let daemon = context.daemon()?;
    let mut rows =
        vec![["DEVICE", "HANDLER", "SIZE", "MAPPED", "AT WORK", "BACKING"].map(str::to_owned).to_vec()];
    let mut list = Vec::new();
    for name in directories(daemon, "devices")? {
        let handler = handler(daemon, &name)?;
        let bytes = attribute(daemon, &format!("devices/{name}/size")).parse::<u64>().ok();
        let backing = attribute(daemon, &format!("devices/{name}/filename"));
        let exports = exports(daemon, &name);
        let work = work(daemon, &name);
        rows.push(vec![
            name.clone(),
            handler.clone(),
            bytes.map_or_else(|| "-".to_owned(), size),
            exports.len().to_string(),
            work.clone().unwrap_or_else(|| "-".to_owned()),
            backing.clone(),
        ]);
        list.push(Json::Object(vec![
            ("name", Json::text(name)),
            ("handler", Json::text(handler)),
            ("bytes", bytes.map_or(Json::Null, Json::Number)),
            ("backing", if backing.is_empty() { Json::Null } else { Json::text(backing) }),
            ("mapped", Json::texts(&exports)),
            ("work", work_json(work.as_deref())),
        ]));
    }
    Ok(Report { text: table(&rows), json: Json::List(list) })
}

/// The long work of a device as its attribute tells it; none when nothing goes on.
fn work(daemon: &dyn Service, device: &str) -> Option<String> {
    let text = attribute(daemon, &format!("devices/{device}/progress"));
    Some(text).filter(|text| !text.is_empty() && text != "none")
}

/// `format 12%, copy 3%` as a list.
fn work_json(text: Option<&str>) -> Json {
    let one = |part: &str| {
        let (what, percent) = part.trim().split_once(' ')?;
        let percent = percent.trim_end_matches('%').parse().ok()?;
        Some(Json::Object(vec![("what", Json::text(what)), ("percent", Json::Number(percent))]))
    };
    Json::List(text.unwrap_or_default().split(',').filter_map(one).collect())
}

/// How often `--wait` looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

fn device_progress(context: &Context, arguments: &Arguments) -> Answer {
    let name = arguments.optional(&["wait"])?;
    let daemon = context.daemon()?;
    let names = match name {
        Some(name) => {
            handler(daemon, name)?;
            vec![name.to_owned()]
        }
        None => directories(daemon, "devices")?,
    };
    let show = std::io::stderr().is_terminal();
    loop {
        let all: Vec<(&String, String)> =
            names.iter().filter_map(|name| Some((name, work(daemon, name)?))).collect();
        if !arguments.has("wait") || all.is_empty() {
            if show && arguments.has("wait") {
                eprint!("\r\x1b[K");
            }
            let lines = all.iter().map(|(name, work)| format!("{name}: {work}\n"));
            let list = all.iter().map(|(name, work)| {
                Json::Object(vec![("name", Json::text(*name)), ("work", work_json(Some(work)))])
            });
            return Ok(Report { text: lines.collect(), json: Json::List(list.collect()) });
        }
        if show {
            let line: Vec<String> = all.iter().map(|(name, work)| format!("{name}: {work}")).collect();
            eprint!("\r\x1b[K{}", line.join("; "));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn device_resize(context: &Context, arguments: &Arguments) -> Answer {
    let ([name], rest) = arguments.leading_words(&[])?;
    let daemon = context.daemon()?;
    handler(daemon, name)?;
    let file = |attribute: &str| format!("devices/{name}/{attribute}");
    match rest {
        [] => write(daemon, &file("resync_size"), "1"),
        [bytes] => match daemon.kind(&file("size"))? {
            Kind::File { mode } if mode & 0o200 != 0 => write(daemon, &file("size"), bytes),
            _ => Err(failure(crate::context::REFUSED, format!("the size of {name} is that of its backing"))
                .hint(format!("resize the backing, then: scstuadm device resize {name}"))),
        },
        _ => Err(failure(USAGE, "one size")),
    }
}

fn device_remove(context: &Context, arguments: &Arguments) -> Answer {
    let [name] = arguments.words(&["force"])?;
    let daemon = context.daemon()?;
    let handler = handler(daemon, name)?;
    let exports = exports(daemon, name);
    if !exports.is_empty() && !arguments.has("force") {
        let text = format!("device {name} is mapped: {}", exports.join("; "));
        return Err(failure(crate::context::REFUSED, text).hint("unmap it first, or give --force"));
    }
    write(daemon, &format!("handlers/{handler}/mgmt"), &format!("del_device {name}"))
}

fn target_list(context: &Context, arguments: &Arguments) -> Answer {
    let [] = arguments.exactly(&[])?;
    let daemon = context.daemon()?;
    let mut rows = vec![["TARGET", "STATE", "LUNS", "GROUPS", "SESSIONS"].map(str::to_owned).to_vec()];
    let mut list = Vec::new();
    for name in directories(daemon, TARGETS)? {
        let path = format!("{TARGETS}/{name}");
        let enabled = attribute(daemon, &format!("{path}/enabled")) == "1";
        let mut counts = Vec::new();
        for folder in ["luns", "ini_groups", "sessions"] {
            counts.push(directories(daemon, &format!("{path}/{folder}"))?.len());
        }
        let mut row = vec![name.clone(), if enabled { "enabled" } else { "disabled" }.to_owned()];
        row.extend(counts.iter().map(usize::to_string));
        rows.push(row);
        let count = |at: usize| Json::Number(u64::try_from(counts[at]).unwrap_or(u64::MAX));
        list.push(Json::Object(vec![
            ("name", Json::text(name)),
            ("enabled", Json::Bool(enabled)),
            ("luns", count(0)),
            ("groups", count(1)),
            ("sessions", count(2)),
        ]));
    }
    Ok(Report { text: table(&rows), json: Json::List(list) })
}

fn initiator(context: &Context, arguments: &Arguments, verb: &str) -> Answer {
    let [target, group, initiator] = arguments.words(&[])?;
    let path = format!("{TARGETS}/{target}/ini_groups/{group}/initiators/mgmt");
    write(context.daemon()?, &path, &format!("{verb} {initiator}"))
}

fn luns(target: &str, arguments: &Arguments) -> String {
    match arguments.value("group") {
        Some(group) => format!("{TARGETS}/{target}/ini_groups/{group}/luns/mgmt"),
        None => format!("{TARGETS}/{target}/luns/mgmt"),
    }
}

fn map(context: &Context, arguments: &Arguments, verb: &str) -> Answer {
    let [target, lun, device] = arguments.words(&["group", "read-only"])?;
    let read_only = if arguments.has("read-only") { " read_only=1;" } else { "" };
    write(context.daemon()?, &luns(target, arguments), &format!("{verb} {device} {lun}{read_only}"))
}

fn account(context: &Context, arguments: &Arguments, verb: &str, words: &str) -> Answer {
    let attribute = if arguments.has("outgoing") { "OutgoingUser" } else { "IncomingUser" };
    let text = match arguments.value("target") {
        Some(target) => format!("{verb}_target_attribute {target} {attribute} {words}"),
        None => format!("{verb}_attribute {attribute} {words}"),
    };
    write(context.daemon()?, &format!("{TARGETS}/mgmt"), &text)
}

/// The secret is read and not given as an argument, which every user of the machine could see.
fn user_add(context: &Context, arguments: &Arguments) -> Answer {
    let [name] = arguments.words(&["target", "outgoing"])?;
    let input = std::io::stdin();
    if input.is_terminal() {
        eprint!("secret of {name} (12 to 255 characters, shown as typed): ");
    }
    let mut secret = String::new();
    input
        .lock()
        .read_line(&mut secret)
        .map_err(|error| failure(crate::context::FAILED, error.to_string()))?;
    let secret = secret.trim_end_matches(['\r', '\n']);
    if secret.trim() != secret {
        return Err(failure(USAGE, "a secret neither begins nor ends with a blank"));
    }
    account(context, arguments, "add", &format!("{name} {secret}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_names_and_values() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            parameters(&words(&["filename=/a", "blocksize=512"])).unwrap(),
            "filename=/a;blocksize=512;"
        );
        assert_eq!(parameters(&[]).unwrap(), "");
        for bad in ["filename", "a=b;c=d", "a=b c", "a=b\nc"] {
            assert_eq!(parameters(&words(&[bad])).unwrap_err().code, USAGE, "{bad}");
        }
    }
}
