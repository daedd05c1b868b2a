//! What can come next on a command line, for the completion of shells: words of commands, options, and the
//! names that the daemon has where the usage of a command wants a name.

use std::path::PathBuf;
use std::time::Duration;

use scstu::mgmt::control::Service;
use scstu::mgmt::tree::Kind;

use crate::COMMANDS;
use crate::context::{Answer, Arguments, Command, Context};
use crate::explain::SHELLS;
use crate::kinds;
use crate::objects::{TARGETS, directories};
use crate::output::{Json, Report};

/// Their commands.
pub const OWN: &[Command] = &[Command {
    words: &["complete"],
    usage: "-- WORD...",
    help: "what the last of these words can become, for the completion of shells",
    run: complete,
}];

/// How long a shell waits for the daemon.
const PATIENCE: Duration = Duration::from_secs(1);
/// The options of every command.
const COMMON: [&str; 4] = ["--socket", "--json", "--help", "--version"];
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

fn complete(context: &Context, arguments: &Arguments) -> Answer {
    let ([], words) = arguments.leading(&[])?;
    let (current, before) = words.split_last().map_or(("", &[][..]), |(last, rest)| (last.as_str(), rest));
    let (before, socket) = without_common(before);
    // The daemon that the line is for.
    let socket = socket.map(PathBuf::from).or_else(|| context.socket.clone());
    let own = Context::new(socket, false).within(PATIENCE);
    let mut all = candidates(&own, &before, current);
    all.retain(|word| word.starts_with(current));
    all.sort_unstable();
    all.dedup();
    let lines = all.iter().map(|word| format!("{word}\n")).collect();
    Ok(Report { text: lines, json: Json::texts(&all) })
}

/// The words without the options that may stand anywhere, and the socket that one of them names.
fn without_common(words: &[String]) -> (Vec<&str>, Option<&str>) {
    let (mut kept, mut socket) = (Vec::new(), None);
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--socket" => socket = words.next(),
            word if COMMON.contains(&word) => {}
            word => match word.strip_prefix("--socket=") {
                Some(path) => socket = Some(path),
                None => kept.push(word),
            },
        }
    }
    (kept, socket)
}

fn candidates(context: &Context, before: &[&str], current: &str) -> Vec<String> {
    let rows = || COMMANDS.iter().copied().flatten();
    let mut all: Vec<String> = rows()
        .filter(|row| row.words.len() > before.len() && row.words.starts_with(before))
        .map(|row| row.words[before.len()].to_owned())
        .collect();
    let fits = |row: &&Command| before.starts_with(row.words);
    let Some(row) = rows().filter(fits).max_by_key(|row| row.words.len()) else {
        if before.is_empty() && current.starts_with('-') {
            all.extend(COMMON.map(str::to_owned));
        }
        return all;
    };
    let usage = Usage::of(row.usage);
    let (wanted, plain) = usage.wanted(&before[row.words.len()..]);
    if current.starts_with('-') {
        all.extend(usage.options.iter().map(|(name, _)| (*name).to_owned()));
        return all;
    }
    let Some(wanted) = wanted else { return all };
    let fixed = fixed(wanted);
    if fixed.is_empty() {
        all.extend(
            context.daemon().map(|daemon| names(daemon, row, wanted, &plain, current)).unwrap_or_default(),
        );
    }
    all.extend(fixed);
    all
}

/// The usage of a command, read: `TARGET LUN [--group GROUP] [--read-only] [ATTRIBUTE=VALUE]...`.
struct Usage {
    plain: Vec<&'static str>,
    repeats: bool,
    /// Each with what its value is, if it has one.
    options: Vec<(&'static str, Option<&'static str>)>,
}

impl Usage {
    fn of(text: &'static str) -> Usage {
        let bare = |word: &'static str| word.trim_matches(['[', ']', '.']);
        let mut usage = Usage { plain: Vec::new(), repeats: text.ends_with("..."), options: Vec::new() };
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            match word {
                "--" => {}
                // One of several: the first stands for all.
                "|" => {
                    let _ = words.next();
                }
                option if bare(option).starts_with("--") => {
                    let value = if option.ends_with(']') { None } else { words.next().map(bare) };
                    usage.options.push((bare(option), value));
                }
                plain => usage.plain.push(bare(plain)),
            }
        }
        usage
    }

    /// What is wanted behind `given`, and those of them that are neither options nor their values.
    fn wanted<'a>(&self, given: &[&'a str]) -> (Option<&'static str>, Vec<&'a str>) {
        let mut plain = Vec::new();
        let mut given = given.iter();
        while let Some(word) = given.next() {
            match self.options.iter().find(|(name, _)| name == word) {
                Some((_, Some(value))) if given.next().is_none() => return (Some(value), plain),
                Some(_) => {}
                None => plain.push(*word),
            }
        }
        let last = self.plain.last().filter(|_| self.repeats);
        (self.plain.get(plain.len()).or(last).copied(), plain)
    }
}

/// What can stand for a word of a usage, whatever the daemon has.
fn fixed(wanted: &str) -> Vec<String> {
    match wanted {
        "SHELL" => SHELLS.map(str::to_owned).to_vec(),
        "LEVEL" => LEVELS.map(str::to_owned).to_vec(),
        "COMMAND" => {
            let words = COMMANDS.iter().copied().flatten().map(|row| row.words[0].to_owned());
            words.chain(kinds::all_names()).filter(|word| !word.contains(' ')).collect()
        }
        _ => Vec::new(),
    }
}

/// What the daemon has for a word of the usage of `row`, behind the words `plain`.
fn names(daemon: &dyn Service, row: &Command, wanted: &str, plain: &[&str], current: &str) -> Vec<String> {
    let below = |path: &str| directories(daemon, path).unwrap_or_default();
    let target = format!("{TARGETS}/{}", plain.first().copied().unwrap_or_default());
    match (wanted, row.words) {
        ("NAME", [_, "add"]) | ("LUN", [_, "map"]) => Vec::new(),
        ("DEVICE", _) | ("NAME", ["device", ..]) => below("devices"),
        ("TARGET", _) | ("NAME", ["target", ..]) => below(TARGETS),
        ("HANDLER", _) => below("handlers"),
        ("GROUP", [_, "add"]) => Vec::new(),
        ("GROUP", _) => below(&format!("{target}/ini_groups")),
        ("LUN", _) => below(&format!("{target}/luns")),
        ("ATTRIBUTE=VALUE", _) => {
            let handler = plain.get(1).copied().unwrap_or_default();
            kinds::parameter_names(handler).into_iter().map(|name| format!("{name}=")).collect()
        }
        ("ID", _) => {
            let lines = daemon.perform("sessions", &[]).unwrap_or_default().into_iter();
            let sessions = lines.filter(|line| line.first().is_some_and(|word| word == "session"));
            sessions.filter_map(|line| line.into_iter().nth(1)).collect()
        }
        ("PATH", _) => paths(daemon, current),
        _ => Vec::new(),
    }
}

/// What is in the directory of the tree that `current` has got to.
fn paths(daemon: &dyn Service, current: &str) -> Vec<String> {
    let folder = current.rfind('/').map_or("", |end| &current[..=end]);
    let entries = daemon.list(folder.trim_matches('/')).unwrap_or_default().into_iter();
    let path = |(name, kind)| {
        let end = if kind == Kind::Directory { "/" } else { "" };
        format!("{folder}{name}{end}")
    };
    entries.map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_usage_tells_what_comes_next() {
        let usage = Usage::of("TARGET LUN DEVICE [--group GROUP] [--read-only]");
        assert_eq!(usage.options, [("--group", Some("GROUP")), ("--read-only", None)]);
        for (given, wanted) in [
            (&[][..], Some("TARGET")),
            (&["t", "--read-only"], Some("LUN")),
            (&["t", "--group"], Some("GROUP")),
            (&["t", "--group", "g", "5"], Some("DEVICE")),
            (&["t", "5", "d"], None),
        ] {
            assert_eq!(usage.wanted(given).0, wanted, "{given:?}");
        }
        let many = Usage::of("NAME HANDLER [ATTRIBUTE=VALUE]...");
        assert_eq!(
            many.wanted(&["n", "h", "a=1", "b=2"]),
            (Some("ATTRIBUTE=VALUE"), vec!["n", "h", "a=1", "b=2"])
        );
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for line in ["--socket /s device --json remove", "device --socket=/s remove"] {
            assert_eq!(without_common(&words(line)), (vec!["device", "remove"], Some("/s")), "{line}");
        }
        assert_eq!(Usage::of("[COMMAND | KIND]").plain, ["COMMAND"]);
        assert!(!fixed("COMMAND").is_empty());
    }
}
