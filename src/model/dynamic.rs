//! Attributes that come and go: accounts and portals. Each value has a file of its own, with a number behind
//! the name that stays while the value does (SCST 1.5.2).

use std::collections::BTreeSet;

use crate::attr::{Access, Error};
use crate::iscsi::account::{Account, Accounts, Secret};
use crate::model::lex::{first_and_rest, first_word};
use crate::names::Pattern;

/// Longest and shortest password in bytes (SCST; RFC 7143 9.2.1 wants 96 bits).
const PASSWORD: std::ops::RangeInclusive<usize> = 12..=255;
/// Most values of one attribute of one object.
pub const VALUE_LIMIT: usize = 4096;

/// An attribute that comes and goes.
pub struct Dynamic {
    /// Name, without a number.
    pub name: &'static str,
    /// Access to its files.
    pub access: Access,
    /// Whether the driver has it as well as targets.
    pub on_driver: bool,
    /// What its values look like.
    pub syntax: &'static str,
    /// What it means, in one line.
    pub help: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Incoming,
    Outgoing,
    Portal,
}

/// All of them, in the order that SCST lists them.
pub static DYNAMIC: [Dynamic; 3] = [
    Dynamic {
        name: "IncomingUser",
        access: Access::Secret,
        on_driver: true,
        syntax: "a name, and a password of 12 to 255 characters",
        help: "who may log in; with one or more, initiators must authenticate themselves",
        kind: Kind::Incoming,
    },
    Dynamic {
        name: "OutgoingUser",
        access: Access::Secret,
        on_driver: true,
        syntax: "a name, and a password of 12 to 255 characters",
        help: "how the target authenticates itself; there is one at most",
        kind: Kind::Outgoing,
    },
    Dynamic {
        name: "allowed_portal",
        access: Access::ReadWrite,
        on_driver: false,
        syntax: "an address, with * and ? and a ! in front if you like",
        help: "local addresses at which the target is offered; all without one",
        kind: Kind::Portal,
    },
];

/// The files of an object: which attribute, which number, and the account's name or the pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(Vec<(Kind, u32, String)>);

/// What has such attributes.
pub struct Values<'a> {
    /// Names of the files.
    pub numbers: &'a mut Numbers,
    /// Accounts.
    pub accounts: &'a mut Accounts,
    /// Patterns; none on the driver.
    pub portals: Option<&'a mut Vec<Pattern>>,
}

/// A value as its file shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Name of the file.
    pub file: String,
    /// Name of the attribute.
    pub name: &'static str,
    /// Access.
    pub access: Access,
    /// Value.
    pub value: String,
}

/// The attribute with this name, which may have a number at its end.
pub fn find(name: &str, on_driver: bool) -> Option<(&'static Dynamic, u32)> {
    let base = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = if base.len() == name.len() { 0 } else { name[base.len()..].parse().ok()? };
    let row = DYNAMIC.iter().find(|row| row.name.eq_ignore_ascii_case(base))?;
    (row.on_driver || !on_driver).then_some((row, number))
}

/// Name and password of an account.
fn account(value: &str) -> Result<Account, Error> {
    let (name, secret) = first_and_rest(value);
    if secret.is_empty() {
        return Err(Error::invalid("a name and a password are wanted, with a blank between them"));
    }
    // No file could bring them back, and no initiator has them.
    for (what, text) in [("name", name), ("password", secret)] {
        if text.contains(char::is_control) {
            let text = format!("the {what} of an account has a control character, such as a tab, in it");
            return Err(Error::invalid(text));
        }
    }
    if !PASSWORD.contains(&secret.len()) {
        return Err(Error::invalid(format!(
            "the password of {name} must have {} to {} characters",
            PASSWORD.start(),
            PASSWORD.end()
        )));
    }
    Ok(Account { name: name.to_owned(), secret: Secret::new(secret) })
}

fn written(account: &Account) -> String {
    format!("{} {}", account.name, String::from_utf8_lossy(account.secret.expose()))
}

impl Numbers {
    fn free(&self, kind: Kind) -> u32 {
        let used = self.0.iter().filter(|(own, ..)| *own == kind).map(|(_, number, _)| *number);
        let used: BTreeSet<u32> = used.collect();
        (0..).find(|number| !used.contains(number)).unwrap_or(0)
    }

    fn enter(&mut self, kind: Kind, word: &str) -> Result<(), Error> {
        if self.0.iter().filter(|(own, ..)| *own == kind).count() >= VALUE_LIMIT {
            return Err(Error::new(libc::ENOSPC, format!("there are {VALUE_LIMIT} values already")));
        }
        let number = self.free(kind);
        self.0.push((kind, number, word.to_owned()));
        Ok(())
    }

    fn strike(&mut self, kind: Kind, word: &str) {
        if let Some(at) = self.0.iter().position(|(own, _, name)| *own == kind && name == word) {
            self.0.remove(at);
        }
    }

    fn word(&self, kind: Kind, number: u32) -> Option<&str> {
        self.0.iter().find(|(own, at, _)| *own == kind && *at == number).map(|(.., word)| word.as_str())
    }

    /// Every value with its file, in the order of the rows and their numbers.
    pub fn shown(&self, accounts: &Accounts) -> Vec<Shown> {
        let mut entries = self.0.clone();
        entries.sort();
        let shown = entries.into_iter().filter_map(|(kind, number, word)| {
            let row = DYNAMIC.iter().find(|row| row.kind == kind)?;
            let value = match kind {
                Kind::Incoming => accounts.incoming.iter().find(|own| own.name == word).map(written)?,
                Kind::Outgoing => accounts.outgoing.as_ref().map(written)?,
                Kind::Portal => word,
            };
            let suffix = if number == 0 { String::new() } else { number.to_string() };
            Some(Shown { file: format!("{}{suffix}", row.name), name: row.name, access: row.access, value })
        });
        shown.collect()
    }
}

impl Values<'_> {
    fn find(&self, name: &str) -> Result<(&'static Dynamic, u32), Error> {
        let on_driver = self.portals.is_none();
        find(name, on_driver).ok_or_else(|| {
            let rows = DYNAMIC.iter().filter(|row| row.on_driver || !on_driver);
            let known: Vec<&str> = rows.map(|row| row.name).collect();
            Error::invalid(format!("{name} cannot be added; {} can", known.join(", ")))
        })
    }

    /// Makes a change, and answers what the administrator is to be warned of.
    pub fn changed(
        mut self,
        change: impl FnOnce(&mut Values<'_>) -> Result<(), Error>,
    ) -> Result<Option<String>, Error> {
        let was_shared = self.accounts.of_both_directions().is_some();
        change(&mut self)?;
        // SCST takes it, and so may files that were written for it.
        let shared = self.accounts.of_both_directions().filter(|_| !was_shared);
        Ok(shared.map(|account| {
            let name = &account.name;
            format!("IncomingUser {name} has the secret of OutgoingUser; they should differ (RFC 7143 9.2.1)")
        }))
    }

    /// `add_attribute`, `add_target_attribute`.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let (row, _) = self.find(name)?;
        match row.kind {
            Kind::Incoming => {
                let account = account(value)?;
                if self.accounts.incoming.iter().any(|known| known.name == account.name) {
                    return Err(Error::invalid(format!("there is an {} {} already", row.name, account.name)));
                }
                self.numbers.enter(row.kind, &account.name)?;
                self.accounts.incoming.push(account);
            }
            Kind::Outgoing => {
                let account = account(value)?;
                if let Some(before) = self.accounts.outgoing.take() {
                    self.numbers.strike(row.kind, &before.name);
                }
                self.numbers.enter(row.kind, &account.name)?;
                self.accounts.outgoing = Some(account);
            }
            Kind::Portal => {
                let pattern = pattern(value.trim())?;
                let Some(portals) = self.portals.as_deref_mut() else { return Ok(()) };
                if portals.contains(&pattern) {
                    return Err(Error::new(libc::EEXIST, format!("{pattern} is allowed already")));
                }
                self.numbers.enter(row.kind, pattern.as_str())?;
                portals.push(pattern);
            }
        }
        Ok(())
    }

    /// `del_attribute`, `del_target_attribute`: of an account only the name counts.
    pub fn remove(&mut self, name: &str, value: &str) -> Result<(), Error> {
        let (row, _) = self.find(name)?;
        let user = first_word(value);
        let missing = || Error::new(libc::ENOENT, format!("there is no {} {user}", row.name));
        match row.kind {
            Kind::Incoming => {
                let place = self.accounts.incoming.iter().position(|known| known.name == user);
                self.accounts.incoming.remove(place.ok_or_else(missing)?);
            }
            Kind::Outgoing => {
                self.accounts.outgoing.take_if(|known| known.name == user).ok_or_else(missing)?;
            }
            Kind::Portal => {
                let Some(portals) = self.portals.as_deref_mut() else { return Ok(()) };
                let place = portals.iter().position(|known| known.as_str() == user);
                let missing = || Error::invalid(format!("there is no {} {user}", row.name));
                portals.remove(place.ok_or_else(missing)?);
            }
        }
        self.numbers.strike(row.kind, user);
        Ok(())
    }

    /// A write to the file of a value puts another in its place.
    pub fn replace(&mut self, file: &str, value: &str) -> Result<(), Error> {
        let (row, number) = self.find(file)?;
        let missing = || Error::new(libc::ENOENT, format!("there is no {file}"));
        let before = self.numbers.word(row.kind, number).ok_or_else(missing)?.to_owned();
        let word = match row.kind {
            Kind::Portal => {
                let pattern = pattern(value.trim())?;
                let word = pattern.as_str().to_owned();
                let known = self.portals.iter_mut().flat_map(|portals| portals.iter_mut());
                known.filter(|known| known.as_str() == before).for_each(|known| *known = pattern.clone());
                word
            }
            Kind::Outgoing => {
                let account = account(value)?;
                let word = account.name.clone();
                self.accounts.outgoing = Some(account);
                word
            }
            Kind::Incoming => {
                let account = account(value)?;
                let word = account.name.clone();
                let others = &mut self.accounts.incoming;
                if word != before && others.iter().any(|known| known.name == word) {
                    return Err(Error::invalid(format!("there is an {} {word} already", row.name)));
                }
                others
                    .iter_mut()
                    .filter(|known| known.name == before)
                    .for_each(|known| *known = account.clone());
                word
            }
        };
        let entries = self.numbers.0.iter_mut();
        entries
            .filter(|entry| entry.0 == row.kind && entry.1 == number)
            .for_each(|entry| entry.2 = word.clone());
        Ok(())
    }
}

fn pattern(text: &str) -> Result<Pattern, Error> {
    Pattern::parse(text).map_err(|error| Error::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_numbers_and_free_ones_are_used_again() {
        let (mut numbers, mut accounts, mut portals) = (Numbers::default(), Accounts::default(), Vec::new());
        let mut values =
            Values { numbers: &mut numbers, accounts: &mut accounts, portals: Some(&mut portals) };
        values.add("IncomingUser", "a twelvesecrets").unwrap();
        values.add("IncomingUser7", "b twelvesecrets").unwrap();
        values.add("allowed_portal", "10.*").unwrap();
        assert_eq!(values.add("IncomingUser", "b othersecrets").unwrap_err().errno, libc::EINVAL);
        assert_eq!(values.add("IncomingUser", "c short").unwrap_err().errno, libc::EINVAL);
        assert_eq!(values.remove("IncomingUser", "x y").unwrap_err().errno, libc::ENOENT);
        assert_eq!(values.remove("allowed_portal", "11.*").unwrap_err().errno, libc::EINVAL);
        values.remove("IncomingUser", "a whatever").unwrap();
        values.add("IncomingUser", "c twelvesecrets").unwrap();
        values.replace("IncomingUser1", "d twelvesecrets").unwrap();
        let files: Vec<(String, String)> =
            numbers.shown(&accounts).into_iter().map(|shown| (shown.file, shown.value)).collect();
        assert_eq!(files[0], ("IncomingUser".into(), "c twelvesecrets".into()));
        assert_eq!(files[1], ("IncomingUser1".into(), "d twelvesecrets".into()));
        assert_eq!(files[2], ("allowed_portal".into(), "10.*".into()));
    }
}
