//! What there is to know without a daemon: `help`, `completion`.

use std::collections::BTreeSet;

use crate::COMMANDS;
use crate::context::{Answer, Arguments, Command, Context, USAGE, failure};
use crate::kinds;
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

/// Commands that begin with these words, then the kind of object that has this name: `lun` is both.
fn help(_context: &Context, arguments: &Arguments) -> Answer {
    let words: Vec<&str> = arguments.plain.iter().map(String::as_str).collect();
    if words.is_empty() {
        return Ok(Report { text: crate::full_help(), json: Json::Null });
    }
    let rows: Vec<&Command> =
        COMMANDS.iter().copied().flatten().filter(|row| row.words.starts_with(&words)).collect();
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| vec![format!("{} {}", row.words.join(" "), row.usage), row.help.to_owned()])
        .collect();
    let mut text = table(&lines);
    let mut json = vec![("commands", Json::List(lines.iter().map(|line| Json::texts(line)).collect()))];
    match kinds::explain(&words.join(" ")) {
        Some((own, members)) => {
            text.extend((!text.is_empty()).then_some('\n'));
            text.push_str(&own);
            json.extend(members);
        }
        None if rows.is_empty() => {
            let name = words.join(" ");
            let text = format!("\"{name}\" is neither a command nor a kind of object");
            return Err(failure(USAGE, text).hint(format!("kinds of objects: {}", kinds::names())));
        }
        None => {}
    }
    Ok(Report { text, json: Json::Object(json) })
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
