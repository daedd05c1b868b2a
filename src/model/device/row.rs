//! The rows of a device: those of all devices, then those that its handler declares.

use crate::attr::{Access, Attr, Error, Kind};
use crate::backstore::declared::{self, Declared};
use crate::backstore::registry::Handler;
use crate::model::device::{ATTRIBUTES, DeviceConfig};
use crate::model::effect::Effect;

/// A row, whoever has made it.
#[derive(Clone, Copy)]
pub enum Row {
    /// Of all devices.
    Common(&'static Attr<DeviceConfig>),
    /// Of those of one handler, and its place in the handler's list.
    Declared(usize, &'static Attr<Declared>),
}

impl Row {
    /// Name.
    pub fn name(self) -> &'static str {
        match self {
            Row::Common(row) => row.name,
            Row::Declared(_, row) => row.name,
        }
    }

    /// Values.
    pub fn kind(self) -> Kind {
        match self {
            Row::Common(row) => row.kind,
            Row::Declared(_, row) => row.kind,
        }
    }

    /// Value when nobody has set it.
    pub fn default(self) -> &'static str {
        match self {
            Row::Common(row) => row.default,
            Row::Declared(_, row) => row.default,
        }
    }

    /// Who may read and write it; `None` for a device that does not have it.
    pub fn access(self, config: &DeviceConfig) -> Option<Access> {
        match self {
            Row::Common(row) => (row.here)(config, row.access),
            Row::Declared(_, row) => Some(row.access),
        }
    }

    /// Its value, as far as the configuration knows it: the device itself is not asked.
    pub fn get(self, config: &DeviceConfig) -> String {
        match self {
            Row::Common(row) => (row.get)(config),
            Row::Declared(_, row) => (row.get)(&config.declared),
        }
    }

    /// What a file says of it: what was asked for, which the backing may not be able to do.
    pub fn asked(self, config: &DeviceConfig) -> String {
        match (self.name(), config.open.thin_provisioned) {
            ("thin_provisioned", Some(asked)) => u8::from(asked).to_string(),
            _ => self.get(config),
        }
    }

    /// Whether a new device that was told nothing of it would have another value than this one. What its
    /// backing can do, a new one does: only who has refused it has something else.
    pub fn is_other_by_default(self, config: &DeviceConfig, fresh: &DeviceConfig) -> bool {
        if self.name() == "thin_provisioned" {
            return config.open.thin_provisioned == Some(false);
        }
        self.get(config) != self.get(fresh)
    }

    /// Whether the value belongs into a saved configuration.
    pub fn is_key(self, config: &DeviceConfig) -> bool {
        match self {
            Row::Common(row) => row.is_key(config),
            Row::Declared(_, row) => row.is_key(&config.declared),
        }
    }

    /// Whether its default can be put back.
    pub fn can_restore(self, default: &str) -> bool {
        match self {
            Row::Common(row) => row.can_restore(default),
            Row::Declared(_, row) => row.can_restore(default),
        }
    }

    /// Checks a value and writes it.
    pub(super) fn write(self, config: &mut DeviceConfig, text: &str) -> Result<(), Error> {
        let (slot, row) = match self {
            Row::Common(row) => return row.write(config, text),
            Row::Declared(slot, row) => (slot, row),
        };
        if row.access == Access::ReadOnly {
            return Err(Error::invalid(format!("{} can be read only", row.name)));
        }
        let before = (row.get)(&config.declared);
        row.write(&mut config.declared, text)?;
        let now = (row.get)(&config.declared);
        // One that is closed learns of it when it is opened.
        if let Some(gate) = config.gate.upgrade().filter(|_| before != now) {
            config.after(|_| Effect::Declared { gate, slot, name: row.name, before, now });
        }
        Ok(())
    }
}

impl DeviceConfig {
    /// All rows that a device of this handler may have.
    pub fn rows(&self) -> impl Iterator<Item = Row> + use<> {
        let own = self.handler.declared.iter().enumerate().map(|(slot, row)| Row::Declared(slot, row));
        ATTRIBUTES.iter().map(Row::Common).chain(own)
    }

    /// The rows that only this handler's devices have, and what they read: the open device, if it is.
    pub fn declared(&self) -> (&'static [Attr<Declared>], Declared) {
        let gate = self.unit().and_then(|unit| unit.gate());
        (self.handler.declared, self.declared.of(gate))
    }
}

/// What of a handler's rows cannot be: a device has each name once.
pub fn check_declared(handler: &Handler) -> Result<(), Error> {
    declared::check(handler.declared)?;
    let common = |row: &&Attr<Declared>| ATTRIBUTES.iter().any(|known| known.name == row.name);
    match handler.declared.iter().find(common) {
        Some(row) => {
            let text = format!("attribute \"{}\": all devices have an attribute of this name", row.name);
            Err(Error::new(libc::EEXIST, text))
        }
        None => Ok(()),
    }
}
