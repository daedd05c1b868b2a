//! What is said to an instance: the common changes of its configuration, one method each.
//!
//! Every method is one [`Change`] of the model, carried out whole or not at all. The errors are the model's,
//! but ENOENT where SCST's tree says EINVAL of an object that is not there: EEXIST there is one, EINVAL a bad
//! value, EBUSY in use, EACCES not writable.
//!
//! ```
//! use scstu::instance::{Instance, Options};
//! use scstu::mgmt::conf::Mode;
//!
//! let instance = Instance::new(Options::default())?;
//! let text = "HANDLER vdisk_ram {\nDEVICE disk1 {\nsize 16M\n}\n}\n";
//! assert!(instance.plan(text, Mode::Merge)?.steps[0].text.contains("disk1"));
//! instance.load(text, Mode::Merge)?;
//! assert!(instance.save().contains("DEVICE disk1"));
//! instance.resize_device("disk1", 32 << 20)?;
//! let wrong = instance.load("HANDLER vdisk_ram {\nDEVCE disk2\n}\n", Mode::Merge).unwrap_err();
//! assert!(wrong.text.starts_with("2:"));
//! # Ok::<(), scstu::model::Error>(())
//! ```

use std::sync::Arc;

use crate::backstore::gate::Gate;
use crate::instance::Instance;
use crate::iscsi::account::{Account, Accounts, Secret};
use crate::mgmt::conf::{self, Mode, Plan};
use crate::model::{COPY_MANAGER_TARGET, Change, Configuration, Error, Object, Scope};
use crate::names::IscsiName;

/// Longest name of a CHAP user in bytes: what a text value may have (RFC 7143 6.1).
const USER_LIMIT: usize = 255;

impl Instance {
    /// Carries out one change of the configuration.
    pub fn apply(&self, change: &Change) -> Result<(), Error> {
        self.own(|| self.model.apply(change))
    }

    /// Brings the configuration to what a text (as in scst.conf) says: all of it, or nothing. With
    /// [`Mode::Merge`] what it does not mention stays. Answers what has changed; the error's text begins with
    /// line and column.
    pub fn load(&self, text: &str, mode: Mode) -> Result<Plan, Error> {
        let loaded = self.own(|| conf::apply_text(&self.model, text, mode));
        loaded.map_err(|error| Error::new(error.errno, error.to_string()))
    }

    /// What [`Instance::load`] would change. Nothing is opened: what a medium says only then, this does not.
    pub fn plan(&self, text: &str, mode: Mode) -> Result<Plan, Error> {
        let planned = self.own(|| conf::plan_text(&self.model, text, mode));
        planned.map_err(|error| Error::new(error.errno, error.to_string()))
    }

    /// The configuration as a text that [`Instance::load`] takes. It holds the secrets of CHAP users.
    pub fn save(&self) -> String {
        conf::save::save(&self.model.configuration())
    }

    /// Adds a device of a handler, with its parameters in order.
    pub fn add_device(&self, handler: &str, name: &str, parameters: &[(&str, &str)]) -> Result<(), Error> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.apply(&Change::AddDevice {
            handler: handler.to_owned(),
            name: name.to_owned(),
            parameters: parameters.iter().map(own).collect(),
        })
    }

    /// Takes a device out. EBUSY while it is mapped.
    pub fn remove_device(&self, name: &str) -> Result<(), Error> {
        self.device(name)?;
        self.apply_if(&Change::RemoveDevice(name.to_owned()), |configuration| {
            let exports = configuration.devices.get(name).map(|object| object.exports.values());
            let mut mapped =
                exports.into_iter().flatten().filter(|(scope, _)| scope.target != COPY_MANAGER_TARGET);
            match mapped.next() {
                Some((scope, lun)) => {
                    let text = format!("device {name} is LUN {lun} of {}", scope.target);
                    Err(Error::new(libc::EBUSY, text))
                }
                None => Ok(()),
            }
        })
    }

    /// Makes a device `bytes` long and tells its initiators.
    pub fn resize_device(&self, name: &str, bytes: u64) -> Result<(), Error> {
        self.open_gate(name)?;
        self.apply(&Change::Resize(name.to_owned(), bytes))
    }

    /// Looks at the size of a device's backing again, and tells its initiators when it is another. Answers
    /// the size in bytes.
    pub fn resync_device(&self, name: &str) -> Result<u64, Error> {
        let gate = self.open_gate(name)?;
        self.apply(&Change::Resync(name.to_owned())).map_err(|error| match error.errno {
            libc::ENOENT | libc::EMEDIUMTYPE => error,
            _ => Error::new(libc::EIO, format!("device {name}: {}", error.text)),
        })?;
        Ok(gate.geometry().bytes())
    }

    /// The medium of a device. EMEDIUMTYPE without one.
    fn open_gate(&self, name: &str) -> Result<Arc<Gate>, Error> {
        let none = || Error::new(libc::EMEDIUMTYPE, format!("device {name} has no medium"));
        self.device(name)?.gate().ok_or_else(none)
    }

    /// Adds a target, disabled and without LUNs. `name` is an iSCSI name (iqn., eui., naa.); others, which
    /// SCST takes and initiators do not, can be made by [`Instance::command`].
    pub fn add_target(&self, name: &str) -> Result<(), Error> {
        IscsiName::parse(name.as_bytes())
            .map_err(|error| Error::invalid(format!("\"{name}\" is no iSCSI name: {error}")))?;
        self.apply(&Change::AddTarget(name.to_owned()))
    }

    /// Takes a target out. EBUSY while it has sessions.
    pub fn remove_target(&self, name: &str) -> Result<(), Error> {
        self.has(name, None)?;
        self.apply(&Change::RemoveTarget(name.to_owned()))
    }

    /// Has a target accept logins, or no more.
    pub fn enable_target(&self, name: &str, on: bool) -> Result<(), Error> {
        self.has(name, None)?;
        let value = u8::from(on).to_string();
        self.apply(&Change::set_target(name, "enabled", value))
    }

    /// Shows a device as a LUN (0 to 16383) of a target, or of one of its groups.
    pub fn add_lun(
        &self,
        target: &str,
        group: Option<&str>,
        lun: u16,
        device: &str,
        read_only: bool,
    ) -> Result<(), Error> {
        self.has(target, group)?;
        self.device(device)?;
        self.apply(&Change::AddLun {
            scope: Scope { target: target.to_owned(), group: group.map(str::to_owned) },
            lun,
            device: device.to_owned(),
            read_only,
        })
    }

    /// Takes a LUN out.
    pub fn remove_lun(&self, target: &str, group: Option<&str>, lun: u16) -> Result<(), Error> {
        self.has(target, group)?;
        let configuration = self.model.configuration();
        let scope = Scope { target: target.to_owned(), group: group.map(str::to_owned) };
        let has_it = configuration.target(target).is_some_and(|object| match group {
            None => object.map.luns.contains_key(&lun),
            Some(group) => object.groups.get(group).is_some_and(|group| group.map.luns.contains_key(&lun)),
        });
        if !has_it {
            return Err(Error::new(libc::ENOENT, format!("there is no LUN {lun}")));
        }
        self.apply(&Change::RemoveLun(scope, lun))
    }

    /// Adds a group of initiators to a target.
    pub fn add_group(&self, target: &str, group: &str) -> Result<(), Error> {
        self.has(target, None)?;
        self.apply(&Change::AddGroup(target.to_owned(), group.to_owned()))
    }

    /// Takes a group out. EBUSY while it has sessions.
    pub fn remove_group(&self, target: &str, group: &str) -> Result<(), Error> {
        self.has(target, Some(group))?;
        self.apply(&Change::RemoveGroup(target.to_owned(), group.to_owned()))
    }

    /// Adds an initiator name, or a pattern with `*` and `?`, to a group.
    pub fn add_initiator(&self, target: &str, group: &str, initiator: &str) -> Result<(), Error> {
        self.has(target, Some(group))?;
        self.apply(&Change::AddInitiator(target.to_owned(), group.to_owned(), initiator.to_owned()))
    }

    /// Takes an initiator, as it was added, out of a group.
    pub fn remove_initiator(&self, target: &str, group: &str, initiator: &str) -> Result<(), Error> {
        self.has(target, Some(group))?;
        let configuration = self.model.configuration();
        let found = configuration.target(target).and_then(|target| target.groups.get(group));
        if !found.is_some_and(|group| group.initiators.iter().any(|known| known.as_str() == initiator)) {
            return Err(Error::new(libc::ENOENT, format!("there is no initiator {initiator}")));
        }
        let (target, group) = (target.to_owned(), group.to_owned());
        self.apply(&Change::RemoveInitiator(target, group, initiator.to_owned()))
    }

    /// Adds a name and secret (12 to 255 bytes) with which initiators must log in to a target. EEXIST when
    /// there is one of this name, EINVAL when the target proves itself with the same secret.
    pub fn add_incoming_user(&self, target: &str, user: &str, secret: &str) -> Result<(), Error> {
        self.add_user(target, "IncomingUser", (user, secret), |accounts| {
            if accounts.incoming.iter().any(|known| known.name == user) {
                return Err(Error::new(libc::EEXIST, format!("target {target} has an incoming user {user}")));
            }
            check_secret((user, secret), accounts.outgoing.iter())
        })
    }

    /// Adds the name and secret with which a target answers initiators that ask it to authenticate itself.
    /// EEXIST when it has one, EINVAL when initiators log in with the same secret.
    pub fn add_outgoing_user(&self, target: &str, user: &str, secret: &str) -> Result<(), Error> {
        self.add_user(target, "OutgoingUser", (user, secret), |accounts| {
            if let Some(known) = &accounts.outgoing {
                let text = format!("target {target} has an outgoing user, {}; take it out first", known.name);
                return Err(Error::new(libc::EEXIST, text));
            }
            check_secret((user, secret), accounts.incoming.iter())
        })
    }

    /// Takes a user of [`Instance::add_incoming_user`] out.
    pub fn remove_incoming_user(&self, target: &str, user: &str) -> Result<(), Error> {
        self.remove_user(target, "IncomingUser", user)
    }

    /// Takes the user of [`Instance::add_outgoing_user`] out.
    pub fn remove_outgoing_user(&self, target: &str, user: &str) -> Result<(), Error> {
        self.remove_user(target, "OutgoingUser", user)
    }

    fn remove_user(&self, target: &str, attribute: &str, user: &str) -> Result<(), Error> {
        self.has(target, None)?;
        let object = Object::Target(target.to_owned());
        if !self.model.configuration().has_value(&object, attribute, user) {
            return Err(Error::new(libc::ENOENT, format!("target {target} has no {attribute} {user}")));
        }
        let (attribute, value) = (attribute.to_owned(), user.to_owned());
        self.apply(&Change::RemoveValue { object, attribute, value })
    }

    /// ENOENT unless there is this target, and this group of it.
    fn has(&self, target: &str, group: Option<&str>) -> Result<(), Error> {
        let missing = |what, name| Err(Error::new(libc::ENOENT, format!("there is no {what} {name}")));
        let configuration = self.model.configuration();
        let Some(object) = configuration.target(target) else { return missing("target", target) };
        match group {
            Some(group) if object.groups.get(group).is_none() => missing("group", group),
            _ => Ok(()),
        }
    }

    /// Carries out a change if the configuration is as `condition` wants it, in one step.
    fn apply_if(
        &self,
        change: &Change,
        condition: impl FnOnce(&Configuration) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.own(|| self.model.apply_if(change, condition))
    }

    /// Adds a user unless `condition` has something against it. The check and the change are one step: of two
    /// who add at once, one learns of the other.
    fn add_user(
        &self,
        target: &str,
        attribute: &str,
        (user, secret): (&str, &str),
        condition: impl FnOnce(&Accounts) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.has(target, None)?;
        let change = Change::AddValue {
            object: Object::Target(target.to_owned()),
            attribute: attribute.to_owned(),
            value: format!("{user} {secret}"),
        };
        self.apply_if(&change, |configuration| {
            configuration.target(target).map_or(Ok(()), |target| condition(&target.accounts))
        })
    }
}

/// Whether a user can be added beside `others`, those of the other direction.
fn check_secret<'a>(
    (user, secret): (&str, &str),
    mut others: impl Iterator<Item = &'a Account>,
) -> Result<(), Error> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control();
    if user.is_empty() || user.len() > USER_LIMIT || user.contains(is_odd) {
        let text = format!("\"{user}\" is no user name: 1 to {USER_LIMIT} bytes without blanks");
        return Err(Error::invalid(text));
    }
    // The attribute is a line of words: what it would change is refused.
    if secret.starts_with(is_odd) || secret.ends_with(is_odd) || secret.contains(char::is_control) {
        return Err(Error::invalid(format!(
            "the secret of {user} has blanks at its ends or control characters, which are not kept"
        )));
    }
    // RFC 7143 9.2.1, 12.1.4: who knows the secret of one direction must not be able to play the other.
    if others.any(|other| other.secret == Secret::new(secret)) {
        return Err(Error::invalid(format!(
            "the secret of {user} is that of the other direction; they must differ (RFC 7143 9.2.1)"
        )));
    }
    Ok(())
}
