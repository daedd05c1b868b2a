//! The admin tool: everything the daemon can be asked or told, from the command line.

#[cfg(feature = "fuse")]
#[path = "../../mgmt/fuse/mod.rs"]
mod fuse;

mod complete;
mod configuration;
mod context;
mod explain;
mod files;
mod hints;
mod kinds;
mod lists;
#[cfg(feature = "fuse")]
mod mounting;
mod objects;
mod output;
mod sessions;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use context::{Arguments, Command, Context, FAILED, Failure, USAGE, failure};

/// All commands, in the order of `--help`.
const COMMANDS: &[&[Command]] = &[
    sessions::COMMANDS,
    objects::COMMANDS,
    lists::COMMANDS,
    configuration::COMMANDS,
    files::COMMANDS,
    #[cfg(feature = "fuse")]
    mounting::COMMANDS,
    explain::OWN,
    complete::OWN,
];

/// Options with a value; all others have none.
const VALUED: [&str; 4] = ["group", "target", "interval", "count"];

const HELP: &str = "\
Usage: scstuadm [--socket PATH] [--json] COMMAND [ARGUMENT]...
Asks and tells the daemon, scstud, through its control socket.
";

const BEHIND: &str = "
  --socket PATH    the daemon's socket; otherwise that of SCSTU_SOCKET, scstu.sock in XDG_RUNTIME_DIR, or
                   /run/scstu/scstu.sock
  --json           answer as JSON
  -h, --help       this text
  -V, --version    the version

Exit codes: 0 done, 1 wrong usage, 2 refused (nothing was changed), 3 no daemon answers, 4 anything else,
5 it takes long and goes on in the daemon.
";

fn full_help() -> String {
    format!("{HELP}\n{}{BEHIND}", explain::usage())
}

/// The command line, read.
struct Line {
    socket: Option<PathBuf>,
    json: bool,
    words: Vec<String>,
    options: Vec<(String, Option<String>)>,
}

/// What the command line asks for.
enum Wish {
    Text(String),
    Command(Line),
}

fn read(arguments: impl Iterator<Item = OsString>) -> Result<Wish, Failure> {
    use lexopt::prelude::*;
    let usage = |error: lexopt::Error| failure(USAGE, error.to_string());
    let mut line = Line { socket: None, json: false, words: Vec::new(), options: Vec::new() };
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next().map_err(usage)? {
        match argument {
            Long("socket") => line.socket = Some(parser.value().map_err(usage)?.into()),
            Long("json") => line.json = true,
            Short('h') | Long("help") => return Ok(Wish::Text(full_help())),
            Short('V') | Long("version") => {
                return Ok(Wish::Text(format!("scstuadm {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Long(name) => {
                let name = name.to_owned();
                let value = if VALUED.contains(&name.as_str()) {
                    Some(parser.value().map_err(usage)?.string().map_err(usage)?)
                } else {
                    None
                };
                line.options.push((name, value));
            }
            Value(word) => line.words.push(word.string().map_err(usage)?),
            other => return Err(usage(other.unexpected())),
        }
    }
    Ok(Wish::Command(line))
}

/// The command whose words come first; the longer of two.
fn find(words: &[String]) -> Option<&'static Command> {
    let fits = |row: &&Command| {
        row.words.len() <= words.len() && row.words.iter().zip(words).all(|(own, given)| own == given)
    };
    COMMANDS.iter().copied().flatten().filter(fits).max_by_key(|row| row.words.len())
}

fn unknown(words: &[String]) -> Failure {
    let first = words.first().map_or("", String::as_str);
    let known: Vec<&str> = COMMANDS
        .iter()
        .copied()
        .flatten()
        .filter(|row| row.words[0] == first)
        .filter_map(|row| row.words.get(1).copied())
        .collect();
    if known.is_empty() {
        return failure(USAGE, format!("\"{first}\" is not a command"))
            .hint("scstuadm --help tells which are");
    }
    failure(USAGE, format!("{first} wants one of: {}", known.join(", ")))
}

fn run(arguments: impl Iterator<Item = OsString>) -> Result<String, Failure> {
    let line = match read(arguments)? {
        Wish::Text(text) => return Ok(text),
        Wish::Command(line) => line,
    };
    if line.words.is_empty() {
        return Err(failure(USAGE, "no command").hint("scstuadm --help tells which there are"));
    }
    let command = find(&line.words).ok_or_else(|| unknown(&line.words))?;
    let context = Context::new(line.socket, line.json);
    let plain = line.words.into_iter().skip(command.words.len()).collect();
    match (command.run)(&context, &Arguments { plain, options: line.options }) {
        Ok(report) => Ok(report.form(context.json)),
        Err(failure) if failure.code == USAGE => {
            let usage = format!("usage: scstuadm {} {}", command.words.join(" "), command.usage);
            let hint = failure.hint.clone().map_or(usage.clone(), |hint| format!("{hint}\n{usage}"));
            Err(failure.hint(hint))
        }
        Err(failure) => Err(failure),
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    #[cfg(feature = "fuse")]
    if arguments.peek().is_some_and(|first| first == fuse::mountpoint::GUARD_OPTION) {
        fuse::mountpoint::guard(&PathBuf::from(arguments.nth(1).unwrap_or_default()));
        return ExitCode::SUCCESS;
    }
    match run(arguments) {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            // Whoever read it has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        },
        Err(failure) => {
            output::tell(&format!("scstuadm: {}", failure.text));
            if let Some(hint) = &failure.hint {
                output::tell(hint);
            }
            ExitCode::from(failure.code)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(words: &[&str]) -> u8 {
        run(words.iter().map(OsString::from)).err().map_or(0, |failure| failure.code)
    }

    #[test]
    fn commands_are_told_apart() {
        let mut all: Vec<&[&str]> = COMMANDS.iter().copied().flatten().map(|row| row.words).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(find(&words("device add x")).unwrap().words, ["device", "add"]);
        assert!(find(&words("device")).is_none());
    }

    #[test]
    fn wrong_usage_says_so() {
        for words in [
            &["nonsense"][..],
            &[],
            &["device"],
            &["get"],
            &["get", "a", "b"],
            &["get", "--group", "x", "a"],
            &["--nothing", "status"],
            &["lun", "map", "a", "b", "c", "--group"],
            &["completion", "csh"],
            &["help", "nonsense"],
        ] {
            assert_eq!(code(words), USAGE, "{words:?}");
        }
        assert_eq!(code(&["--socket", "/none/at/all", "status"]), context::NO_DAEMON);
        for words in [
            &["--help"][..],
            &["-V"],
            &["help"],
            &["help", "device"],
            &["help", "target", "groups"],
            &["completion", "bash"],
        ] {
            assert_eq!(code(words), 0, "{words:?}");
        }
    }
}
