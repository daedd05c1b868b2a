//! What there is to know without a daemon: `help`, `completion`. One is asked only for handlers that nobody
//! else knows.

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

/// What a running daemon says of a handler that only it knows.
fn foreign(context: &Context, name: &str) -> Option<String> {
    let daemon = context.daemon().ok()?;
    daemon.read(&format!("handlers/{name}/mgmt")).ok()
}

/// Commands that begin with these words, then the kind of object that has this name: `lun` is both.
fn help(context: &Context, arguments: &Arguments) -> Answer {
    let words: Vec<&str> = arguments.plain.iter().map(String::as_str).collect();
    let rows: Vec<&Command> =
        COMMANDS.iter().copied().flatten().filter(|row| row.words.starts_with(&words)).collect();
    let lines: Vec<Vec<String>> = rows
        .iter()
        .map(|row| vec![format!("{} {}", row.words.join(" "), row.usage), row.help.to_owned()])
        .collect();
    let mut json = vec![("commands", Json::List(lines.iter().map(|line| Json::texts(line)).collect()))];
    if words.is_empty() {
        json.push(("kinds", Json::texts(&kinds::all_names())));
        return Ok(Report { text: crate::full_help(), json: Json::Object(json) });
    }
    let mut text = table(&lines);
    match kinds::explain(&words.join(" ")) {
        Some((own, members)) => {
            text.extend((!text.is_empty()).then_some('\n'));
            text.push_str(&own);
            json.extend(members);
        }
        None if rows.is_empty() => {
            let name = words.join(" ");
            if let Some(told) = foreign(context, &name) {
                json.push(("mgmt", Json::text(&told)));
                return Ok(Report { text: told, json: Json::Object(json) });
            }
            let text = format!("\"{name}\" is neither a command nor a kind of object");
            return Err(
                failure(USAGE, text).hint(format!("kinds of objects: {}", kinds::all_names().join(", ")))
            );
        }
        None => {}
    }
    Ok(Report { text, json: Json::Object(json) })
}

/// Shells whose completion is known.
pub const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

fn completion(_context: &Context, arguments: &Arguments) -> Answer {
    let [shell] = arguments.exactly(&[])?;
    let text = match shell {
        "bash" => BASH.to_owned(),
        "zsh" => format!("autoload -U +X bashcompinit && bashcompinit\n{BASH}"),
        "fish" => FISH.to_owned(),
        _ => return Err(failure(USAGE, format!("\"{shell}\" is none of {}", SHELLS.join(", ")))),
    };
    Ok(Report { json: Json::text(&text), text })
}

/// The words come from `scstuadm complete`. bash cuts words at = and :, which are in names of targets and
/// attributes, and replaces only what is behind the last one: so what is before it is taken off.
const BASH: &str = r#"_scstuadm() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$' \t\n' words current cut
    read -ra words <<<"$line"
    case $line in *[[:space:]]) words+=("") ;; esac
    current=${words[${#words[@]}-1]}
    IFS=$'\n'
    COMPREPLY=($(scstuadm complete -- "${words[@]:1}" 2>/dev/null))
    if [ ${#COMPREPLY[@]} = 0 ]; then
        compopt -o default 2>/dev/null
        return
    fi
    case ${COMPREPLY[0]} in */ | *=) compopt -o nospace 2>/dev/null ;; esac
    cut=${current%"${current##*[:=]}"}
    COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}
complete -F _scstuadm scstuadm
"#;

/// Files, where nothing else is known.
const FISH: &str = "complete -c scstuadm -a '(scstuadm complete -- (commandline -opc)[2..-1] \
(commandline -ct) 2>/dev/null)'
";
