//! `trace_level`: SCST's tokens, as far as there are levels of the log for them. There is one log with one
//! level, so the root, the handlers and the driver show and change the same.

use std::fmt;

use log::LevelFilter;

use crate::attr::{Attr, Error, Kind, Saved, number};

/// Its name.
pub const NAME: &str = "trace_level";

/// The attribute, of whatever has it.
pub static ATTRIBUTES: &[Attr<Trace>] = &[Attr {
    name: NAME,
    kind: Kind::Own("all, none, default, add TOKEN, del TOKEN or value NUMBER"),
    default: "out_of_mem | mgmt | pid | special",
    saved: Saved::Never,
    help: "which messages are logged: the tokens of details mean debug, mgmt and special information; the \
           same at the root, the handlers and the driver, which share one log",
    get: Trace::to_string,
    set: |trace, value| {
        *trace = trace.changed(&value.text())?;
        Ok(())
    },
    ..Attr::ROW
}];

/// The tokens of the root, of the handlers and of the driver, and the least level at which their messages
/// are logged. The order gives the bits of `value`.
const TOKENS: [(&str, LevelFilter); 29] = [
    ("out_of_mem", LevelFilter::Warn),
    ("minor", LevelFilter::Warn),
    ("sg", LevelFilter::Trace),
    ("mem", LevelFilter::Trace),
    ("buff", LevelFilter::Trace),
    ("entryexit", LevelFilter::Trace),
    ("pid", LevelFilter::Error),
    ("line", LevelFilter::Error),
    ("function", LevelFilter::Error),
    ("debug", LevelFilter::Debug),
    ("special", LevelFilter::Info),
    ("scsi", LevelFilter::Debug),
    ("mgmt", LevelFilter::Info),
    ("mgmt_dbg", LevelFilter::Debug),
    ("flow_control", LevelFilter::Debug),
    ("pr", LevelFilter::Debug),
    ("retry", LevelFilter::Debug),
    ("scsi_serializing", LevelFilter::Debug),
    ("data_send", LevelFilter::Trace),
    ("data_received", LevelFilter::Trace),
    ("block", LevelFilter::Debug),
    ("order", LevelFilter::Debug),
    ("d_read", LevelFilter::Trace),
    ("d_write", LevelFilter::Trace),
    ("conn", LevelFilter::Debug),
    ("conn_dbg", LevelFilter::Trace),
    ("iov", LevelFilter::Trace),
    ("pdu", LevelFilter::Trace),
    ("net_page", LevelFilter::Trace),
];

/// The tokens that are on, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace(u64);

fn bit(token: &str) -> Result<u64, Error> {
    let place = TOKENS.iter().position(|(name, _)| name.eq_ignore_ascii_case(token));
    let known = || TOKENS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    place.map(|place| 1 << place).ok_or_else(|| Error::invalid(format!("\"{token}\" is none of {}", known())))
}

impl Default for Trace {
    fn default() -> Self {
        let tokens = ["out_of_mem", "mgmt", "pid", "special"];
        Trace(tokens.iter().filter_map(|token| bit(token).ok()).sum())
    }
}

impl Trace {
    /// What a command makes of it.
    pub fn changed(self, text: &str) -> Result<Self, Error> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let all = (1 << TOKENS.len()) - 1;
        Ok(match words.as_slice() {
            ["all"] => Trace(all),
            ["none" | "null"] => Trace(0),
            ["default"] => Trace::default(),
            ["add", token] => Trace(self.0 | bit(token)?),
            ["del", token] => Trace(self.0 & !bit(token)?),
            ["value", text] => match number(text)? {
                Some(value) => Trace(value & all),
                None => return Err(Error::invalid(format!("\"{text}\" is no number"))),
            },
            _ => {
                return Err(Error::invalid(format!(
                    "\"{text}\" is not all, none, default, add TOKEN, del TOKEN or value NUMBER"
                )));
            }
        })
    }

    fn on(self) -> impl Iterator<Item = &'static (&'static str, LevelFilter)> {
        TOKENS.iter().enumerate().filter(move |(at, _)| self.0 >> at & 1 == 1).map(|(_, token)| token)
    }

    /// The level that lets all its messages through.
    pub fn level(self) -> LevelFilter {
        self.on().map(|(_, level)| *level).max().unwrap_or(LevelFilter::Error)
    }
}

/// As the file shows it; scstadmin takes the tokens from the brackets.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on: Vec<&str> = self.on().map(|(name, _)| *name).collect();
        let all: Vec<&str> = TOKENS.iter().map(|(name, _)| *name).collect();
        f.write_str(&if on.is_empty() { "none".to_owned() } else { on.join(" | ") })?;
        write!(f, "\n\n\nUsage: all, none, default, add TOKEN, del TOKEN or value NUMBER,\n")?;
        write!(f, "where TOKEN is one of [{}]", all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_and_go_and_set_the_level() {
        let trace = Trace::default();
        assert_eq!(trace.level(), LevelFilter::Info);
        assert!(trace.to_string().starts_with("out_of_mem | pid | special | mgmt\n\n\n"));
        let trace = trace.changed("add debug").unwrap();
        assert_eq!(trace.level(), LevelFilter::Debug);
        assert_eq!(trace.changed("del debug").unwrap(), Trace::default());
        assert_eq!(trace.changed("none").unwrap().level(), LevelFilter::Error);
        assert_eq!(trace.changed("value 0x1").unwrap().level(), LevelFilter::Warn);
        for text in ["", "add", "add nothing", "value x", "loud"] {
            assert_eq!(trace.changed(text).unwrap_err().errno, libc::EINVAL, "{text}");
        }
    }
}
