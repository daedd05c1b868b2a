//! What there is to know without a daemon: `help`, `completion`.

use std::collections::BTreeSet;

use scstu::attr::{Access, Attr};
use scstu::backstore::registry::HANDLERS;
use scstu::iscsi::key::Key;
use scstu::model::{device, device_group, driver, key_attributes, root, session, target};

use crate::COMMANDS;
use crate::context::{Answer, Arguments, Command, Context, USAGE, failure};
use crate::output::{Json, Report, table};

/// Their commands.
pub const OWN: &[Command] = &[
    Command {
        words: &["help"],
        usage: "[COMMAND | KIND]",
        help: "explain a command, or the attributes of a kind of object",
        run: help,
    },
    Command {
        words: &["completion"],
        usage: "SHELL",
        help: "the completion of bash, zsh or fish, to be read by it",
        run: completion,
    },
];

/// All commands, one a line.
pub fn usage() -> String {
    let mut rows = Vec::new();
    for row in COMMANDS.iter().copied().flatten() {
        rows.push(vec![format!("  {} {}", row.words.join(" "), row.usage), row.help.to_owned()]);
    }
    rows.iter().map(|row| format!("{}\n      {}\n", row[0].trim_end(), row[1])).collect()
}

fn help(_context: &Context, arguments: &Arguments) -> Answer {
    let words: Vec<&str> = arguments.plain.iter().map(String::as_str).collect();
    if words.is_empty() {
        return Ok(Report { text: crate::full_help(), json: Json::Null });
    }
    let rows: Vec<&Command> =
        COMMANDS.iter().copied().flatten().filter(|row| row.words.starts_with(&words)).collect();
    if !rows.is_empty() {
        let lines: Vec<Vec<String>> = rows
            .iter()
            .map(|row| vec![format!("{} {}", row.words.join(" "), row.usage), row.help.to_owned()])
            .collect();
        let json = Json::List(lines.iter().map(|line| Json::texts(line)).collect());
        return Ok(Report { text: table(&lines), json });
    }
    kind(&words.join(" "))
}

/// Kinds of objects that have attributes, as `help KIND` takes them.
const KINDS: [&str; 10] = [
    "root",
    "handlers",
    "devices",
    "driver",
    "targets",
    "parameters",
    "groups",
    "sessions",
    "target groups",
    "members of target groups",
];

fn kind(name: &str) -> Answer {
    let rows = match name {
        "root" => attributes(root::ATTRIBUTES),
        "handlers" => handlers(),
        "devices" => attributes(device::ATTRIBUTES),
        "driver" => attributes(driver::ATTRIBUTES),
        "targets" => [attributes(target::CORE_ATTRIBUTES), attributes(target::ISCSI_ATTRIBUTES)].concat(),
        "parameters" => key_attributes().map(parameter).collect(),
        "groups" => attributes(target::GROUP_ATTRIBUTES),
        "sessions" => attributes(session::ATTRIBUTES),
        "target groups" => attributes(device_group::GROUP_ATTRIBUTES),
        "members of target groups" => attributes(device_group::MEMBER_ATTRIBUTES),
        _ => {
            let text = format!("\"{name}\" is neither a command nor a kind of object: {}", KINDS.join(", "));
            return Err(failure(USAGE, text));
        }
    };
    let json = Json::List(
        rows.iter()
            .map(|row| {
                let names = ["name", "values", "default", "access", "help"];
                Json::Object(names.into_iter().zip(row.iter().map(Json::text)).collect())
            })
            .collect(),
    );
    let text = rows.iter().map(|row| {
        let default = if row[2].is_empty() { String::new() } else { format!(", default {}", row[2]) };
        format!("{}: {}{default} ({})\n    {}\n", row[0], row[1], row[3], row[4])
    });
    Ok(Report { text: text.collect(), json })
}

fn attributes<T>(rows: &[Attr<T>]) -> Vec<Vec<String>> {
    let row = |row: &Attr<T>| {
        let access = match row.access {
            Access::ReadOnly => "read",
            Access::CreateOnly => "given when made",
            Access::WriteOnly => "write",
            _ => "read and write",
        };
        let help = match row.compatibility {
            Some(why) => format!("{} Accepted, without effect: {why}", row.help),
            None => row.help.to_owned(),
        };
        vec![row.name.to_owned(), row.kind.to_string(), row.default.to_owned(), access.to_owned(), help]
    };
    rows.iter().map(row).collect()
}

fn handlers() -> Vec<Vec<String>> {
    let row = |row: &scstu::backstore::registry::Handler| {
        let parameters = row.parameters.join(", ");
        vec![
            row.name.to_string(),
            parameters,
            String::new(),
            "given when made".to_owned(),
            row.help.to_string(),
        ]
    };
    HANDLERS.iter().map(row).collect()
}

fn parameter(key: &Key) -> Vec<String> {
    let (min, max) = key.range;
    let range = format!("{min} to {max}");
    vec![key.name.to_owned(), range, key.format(key.offer), "read and write".to_owned(), key.help.to_owned()]
}

/// The first words, or the second words behind one.
fn words(behind: Option<&str>) -> Vec<&'static str> {
    let all = COMMANDS.iter().copied().flatten();
    let words: BTreeSet<&str> = match behind {
        None => all.map(|row| row.words[0]).collect(),
        Some(first) => {
            all.filter(|row| row.words[0] == first).filter_map(|row| row.words.get(1).copied()).collect()
        }
    };
    words.into_iter().collect()
}

fn completion(_context: &Context, arguments: &Arguments) -> Answer {
    let [shell] = arguments.exactly(&[])?;
    let text = match shell {
        "bash" => bash(),
        "zsh" => format!("autoload -U +X bashcompinit && bashcompinit\n{}", bash()),
        "fish" => fish(),
        _ => return Err(failure(USAGE, format!("\"{shell}\" is none of bash, zsh and fish"))),
    };
    Ok(Report { json: Json::text(&text), text })
}

/// Commands by their words; where a path of the tree is wanted, what the daemon has.
fn bash() -> String {
    let mut cases = String::new();
    for first in words(None) {
        let second = words(Some(first));
        if !second.is_empty() {
            cases.push_str(&format!("        {first}) words='{}' ;;\n", second.join(" ")));
        }
    }
    format!(
        "_scstuadm() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} words=
    COMPREPLY=()
    if [ \"$COMP_CWORD\" = 1 ]; then
        words='{} --socket --json --help --version'
    elif [ \"$COMP_CWORD\" = 2 ]; then
        case ${{COMP_WORDS[1]}} in
{cases}        list|get|set|do|describe)
            local folder= name
            case $current in */*) folder=${{current%/*}} ;; esac
            for name in $(scstuadm list \"$folder\" 2>/dev/null | awk '{{print $2}}'); do
                words=\"$words ${{folder:+$folder/}}$name\"
            done
            compopt -o nospace ;;
        *) compopt -o default; return ;;
        esac
    else
        compopt -o default
        return
    fi
    COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))
}}
complete -F _scstuadm scstuadm
",
        words(None).join(" ")
    )
}

fn fish() -> String {
    let mut text = String::new();
    let mut complete = |condition: &str, word: &str, help: &str| {
        let line = format!("complete -c scstuadm -n '{condition}' -f -a {word} -d \"{help}\"\n");
        text.push_str(&line);
    };
    for first in words(None) {
        complete("__fish_use_subcommand", first, "");
    }
    for row in COMMANDS.iter().copied().flatten() {
        match row.words {
            [first, second] => complete(&format!("__fish_seen_subcommand_from {first}"), second, row.help),
            [first] => complete("__fish_use_subcommand", first, row.help),
            _ => {}
        }
    }
    text
}
