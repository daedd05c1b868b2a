//! What every command has: the daemon, the options given to all, and how it can fail.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::Duration;

use scstu::mgmt::control::client::Client;
use scstu::mgmt::control::{Service, candidates};
use scstu::model::Error;

use crate::output::Report;

/// Exit codes, as `--help` tells them.
pub const USAGE: u8 = 1;
/// The daemon, or a file, has something wrong in it.
pub const REFUSED: u8 = 2;
/// No daemon answers.
pub const NO_DAEMON: u8 = 3;
/// Anything else.
pub const FAILED: u8 = 4;
/// It takes longer than the daemon lets anybody wait, and goes on.
pub const GOES_ON: u8 = 5;

/// Why a command failed.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A failure of this kind.
pub fn failure(code: u8, text: impl Into<String>) -> Failure {
    Failure { code, text: text.into(), hint: None }
}

impl Failure {
    /// The same, with what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.errno {
            libc::EAGAIN => failure(GOES_ON, error.text)
                .hint("`scstuadm get last_sysfs_mgmt_res` tells its result once it is done: 0, or an errno"),
            // The answer was lost, and not what was asked for.
            libc::ECONNRESET | libc::EPIPE | libc::EPROTO | libc::ETIMEDOUT => {
                failure(FAILED, error.text).hint("what was asked for may have been done, or not")
            }
            _ => failure(REFUSED, error.text),
        }
    }
}

/// What a command answers.
pub type Answer = Result<Report, Failure>;

/// What every command has.
pub struct Context {
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// `--json`.
    pub json: bool,
    /// How long the daemon may take to answer; as long as anybody waits for it if nothing is said.
    patience: Option<Duration>,
    daemon: OnceCell<Client>,
}

impl Context {
    /// With these options.
    pub fn new(socket: Option<PathBuf>, json: bool) -> Self {
        Context { socket, json, patience: None, daemon: OnceCell::new() }
    }

    /// The same, with the time that the daemon may take to answer.
    pub fn within(self, patience: Duration) -> Self {
        Context { patience: Some(patience), ..self }
    }

    /// The daemon; the first one that answers where it may be.
    pub fn daemon(&self) -> Result<&dyn Service, Failure> {
        if self.daemon.get().is_none() {
            let _ = self.daemon.set(self.connect()?);
        }
        match self.daemon.get() {
            Some(client) => Ok(client),
            None => Err(failure(NO_DAEMON, "no daemon")),
        }
    }

    /// A new connection to it.
    pub fn connect(&self) -> Result<Client, Failure> {
        let given = self.socket.clone().or_else(|| std::env::var_os("SCSTU_SOCKET").map(PathBuf::from));
        let places = given.map_or_else(candidates, |path| vec![path]);
        let mut reasons = Vec::new();
        for place in &places {
            let connected = match self.patience {
                Some(patience) => Client::with_patience(place, patience),
                None => Client::connect(place),
            };
            match connected {
                Ok(client) => return Ok(client),
                Err(error) => reasons.push(error.text),
            }
        }
        let hint = "start scstud, or say where its socket is: --socket PATH";
        Err(failure(NO_DAEMON, reasons.join("\n")).hint(hint))
    }
}

/// A command of the tool: what it is called, what it takes, what it is for.
pub struct Command {
    /// Its words.
    pub words: &'static [&'static str],
    /// What follows them.
    pub usage: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Does it.
    pub run: fn(&Context, &Arguments) -> Answer,
}

/// What was given to a command.
pub struct Arguments {
    /// In order.
    pub plain: Vec<String>,
    /// `--name`, and its value if there was one.
    pub options: Vec<(String, Option<String>)>,
}

impl Arguments {
    /// Exactly `N` of them, and no options but these.
    pub fn exactly<const N: usize>(&self, options: &[&str]) -> Result<[&str; N], Failure> {
        self.allow(options)?;
        let plain: Vec<&str> = self.plain.iter().map(String::as_str).collect();
        plain.try_into().map_err(|plain: Vec<&str>| wrong_number(plain.len()))
    }

    /// Exactly `N` of them and the rest.
    pub fn leading<const N: usize>(&self, options: &[&str]) -> Result<([&str; N], &[String]), Failure> {
        self.allow(options)?;
        let first: Vec<&str> = self.plain.iter().take(N).map(String::as_str).collect();
        let first = first.try_into().map_err(|first: Vec<&str>| wrong_number(first.len()))?;
        Ok((first, self.plain.get(N..).unwrap_or_default()))
    }

    /// As [`Arguments::exactly`]; each is one word, for the files that take messages split them at blanks.
    pub fn words<const N: usize>(&self, options: &[&str]) -> Result<[&str; N], Failure> {
        let words = self.exactly(options)?;
        words.iter().try_for_each(|word| one_word(word))?;
        Ok(words)
    }

    /// As [`Arguments::leading`]; the first `N` are one word each.
    pub fn leading_words<const N: usize>(&self, options: &[&str]) -> Result<([&str; N], &[String]), Failure> {
        let (words, rest) = self.leading(options)?;
        words.iter().try_for_each(|word| one_word(word))?;
        Ok((words, rest))
    }

    /// At most one.
    pub fn optional(&self, options: &[&str]) -> Result<Option<&str>, Failure> {
        self.allow(options)?;
        match self.plain.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            more => Err(wrong_number(more.len())),
        }
    }

    fn allow(&self, options: &[&str]) -> Result<(), Failure> {
        match self.options.iter().find(|(name, _)| !options.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) if options.is_empty() => {
                Err(failure(USAGE, format!("--{name}: this command has no options of its own")))
            }
            Some((name, _)) => {
                let known: Vec<String> = options.iter().map(|name| format!("--{name}")).collect();
                Err(failure(USAGE, format!("--{name}: this command knows {}", known.join(", "))))
            }
        }
    }

    /// Whether `--name` was given.
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(given, _)| given == name)
    }

    /// The value of `--name VALUE`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.iter().find(|(given, _)| given == name).and_then(|(_, value)| value.as_deref())
    }
}

fn one_word(word: &str) -> Result<(), Failure> {
    if word.is_empty() || word.chars().any(char::is_whitespace) {
        let hint = "names, numbers and patterns are words without blanks";
        return Err(failure(USAGE, format!("\"{word}\" is not one word")).hint(hint));
    }
    Ok(())
}

fn wrong_number(given: usize) -> Failure {
    failure(USAGE, format!("{given} arguments are too few, or too many"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_is_told_from_what_goes_on_and_from_what_nobody_knows() {
        for (errno, code) in [
            (libc::EINVAL, REFUSED),
            (libc::EBUSY, REFUSED),
            (libc::EAGAIN, GOES_ON),
            (libc::ECONNRESET, FAILED),
            (libc::EPROTO, FAILED),
            (libc::ETIMEDOUT, FAILED),
        ] {
            let failure = Failure::from(Error::new(errno, "text"));
            assert_eq!((failure.code, failure.hint.is_some()), (code, code != REFUSED), "{errno}");
        }
    }
}
