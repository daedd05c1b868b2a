//! Targets: values of the keys, accounts, groups, LUNs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::attr::Kind;
use crate::iscsi::account::Accounts;
use crate::iscsi::directory::Redirect;
use crate::iscsi::key::{Key, Values};
use crate::model::{Configuration, Error, account, invalid};
use crate::names::Pattern;
use crate::scsi::lun::AddressingMethod;
use crate::scsi::nexus::{LunEntry, LunMap};

/// A LUN of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LunObject {
    /// Device.
    pub device: String,
    /// Mapped read-only.
    pub read_only: bool,
}

/// A group of initiators (`ini_groups`).
#[derive(Default)]
pub struct Group {
    /// Patterns of initiator names.
    pub initiators: Vec<Pattern>,
    /// What its members see.
    pub luns: BTreeMap<u16, LunObject>,
}

/// A target; also the driver itself, for discovery sessions.
pub struct TargetObject {
    /// Name as given.
    pub name: String,
    /// Relative target port identifier, 1 to 65535.
    pub relative_identifier: u16,
    /// Whether logins are accepted.
    pub enabled: bool,
    /// TargetAlias.
    pub alias: String,
    /// Values of the keys.
    pub values: Values,
    /// CHAP accounts.
    pub accounts: Accounts,
    /// Portals where it is offered; all without.
    pub allowed_portals: Vec<Pattern>,
    /// Where initiators are sent.
    pub redirect: Option<Redirect>,
    /// How LUNs are written.
    pub method: AddressingMethod,
    /// What initiators see that are in no group.
    pub luns: BTreeMap<u16, LunObject>,
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
}

/// An attribute of targets that is not a key.
struct Row {
    name: &'static str,
    on_driver: bool,
    set: fn(&mut TargetObject, &str) -> Result<(), Error>,
}

const ROWS: &[Row] = &[
    Row {
        name: "enabled",
        on_driver: true,
        set: |target, value| {
            target.enabled = kind("enabled", Kind::Bool, value)? == 1;
            Ok(())
        },
    },
    Row {
        name: "IncomingUser",
        on_driver: true,
        set: |target, value| {
            let account = account("IncomingUser", value)?;
            if target.accounts.incoming.iter().any(|known| known.name == account.name) {
                return Err(Error::new(
                    libc::EEXIST,
                    format!("there is an IncomingUser {} already", account.name),
                ));
            }
            target.accounts.incoming.push(account);
            Ok(())
        },
    },
    Row {
        name: "OutgoingUser",
        on_driver: true,
        set: |target, value| {
            target.accounts.outgoing = Some(account("OutgoingUser", value)?);
            Ok(())
        },
    },
    Row {
        name: "allowed_portal",
        on_driver: false,
        set: |target, value| {
            let pattern = Pattern::parse(value)
                .map_err(|error| invalid(format!("allowed_portal {value}: {error:?}")))?;
            target.allowed_portals.push(pattern);
            Ok(())
        },
    },
    Row {
        name: "alias",
        on_driver: false,
        set: |target, value| {
            target.alias = Kind::Text(255).parse(value).map_err(invalid)?.text();
            Ok(())
        },
    },
    Row {
        name: "rel_tgt_id",
        on_driver: false,
        set: |target, value| {
            let number = kind("rel_tgt_id", Kind::Number { min: 1, max: 65535 }, value)?;
            target.relative_identifier = u16::try_from(number).unwrap_or(1);
            Ok(())
        },
    },
    Row {
        name: "redirect",
        on_driver: false,
        set: |target, value| {
            let words: Vec<&str> = value.split_whitespace().collect();
            target.redirect = match words.as_slice() {
                [] => None,
                [address, how @ ("temp" | "perm")] => {
                    Some(Redirect { address: (*address).to_owned(), is_permanent: *how == "perm" })
                }
                _ => {
                    return Err(invalid("redirect wants \"ADDRESS[:PORT] temp\" or \"ADDRESS[:PORT] perm\""));
                }
            };
            Ok(())
        },
    },
    Row {
        name: "addr_method",
        on_driver: false,
        set: |target, value| {
            target.method = match value {
                "PERIPHERAL" => AddressingMethod::Peripheral,
                "FLAT" => AddressingMethod::Flat,
                "LUN" => AddressingMethod::Lun,
                _ => return Err(invalid(format!("\"{value}\" is not PERIPHERAL, FLAT or LUN"))),
            };
            Ok(())
        },
    },
];

fn kind(name: &str, kind: Kind, value: &str) -> Result<u64, Error> {
    kind.parse(value).map(|value| value.number()).map_err(|text| invalid(format!("{name}: {text}")))
}

impl TargetObject {
    /// A target that is disabled and maps nothing.
    pub fn new(name: String, relative_identifier: u16) -> Self {
        TargetObject {
            name,
            relative_identifier,
            enabled: false,
            alias: String::new(),
            values: Values::offered(),
            accounts: Accounts::default(),
            allowed_portals: Vec::new(),
            redirect: None,
            method: AddressingMethod::default(),
            luns: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }

    /// Whether a LUN of this target, in a group or not, is this device.
    pub fn maps(&self, device: &str) -> bool {
        let in_groups = self.groups.values().flat_map(|group| group.luns.values());
        self.luns.values().chain(in_groups).any(|lun| lun.device == device)
    }

    pub(super) fn set(&mut self, name: &str, value: &str, is_driver: bool) -> Result<(), Error> {
        if let Some(row) = ROWS.iter().find(|row| row.name == name && (row.on_driver || !is_driver)) {
            return (row.set)(self, value);
        }
        let row = Key::attribute(name).filter(|_| !is_driver).ok_or_else(|| {
            let own = ROWS.iter().filter(|row| row.on_driver || !is_driver).map(|row| row.name);
            let keys = Key::attributes().filter(|_| !is_driver).map(|key| key.name);
            let known: Vec<&str> = own.chain(keys).collect();
            let what = if is_driver { "the driver" } else { "a target" };
            Error::new(
                libc::ENOENT,
                format!("{what} has no attribute {name}; there are {}", known.join(", ")),
            )
        })?;
        let (min, max) = row.range;
        self.values[row.id] = row
            .parse(value)
            .map_err(|_| invalid(format!("\"{value}\" is no value of {name} ({min} to {max})")))?;
        Ok(())
    }

    /// Whether an attribute that accumulates, or a switch, has this value already.
    pub fn has(&self, name: &str, value: &str) -> bool {
        let user = value.split_once(' ').map_or(value, |(user, _)| user);
        match name {
            "enabled" => value == if self.enabled { "1" } else { "0" },
            "IncomingUser" => self.accounts.incoming.iter().any(|account| account.name == user),
            "allowed_portal" => self.allowed_portals.iter().any(|pattern| pattern.as_str() == value),
            _ => false,
        }
    }

    /// The LUNs that an initiator sees: those of the first group with a pattern that matches, else the
    /// target's own (SCST 1.8.2).
    fn luns_of(&self, initiator: &str) -> &BTreeMap<u16, LunObject> {
        let is_member = |group: &&Group| group.initiators.iter().any(|pattern| pattern.matches(initiator));
        self.groups.values().find(is_member).map_or(&self.luns, |group| &group.luns)
    }
}

impl Configuration {
    /// The map that an initiator has at a target.
    pub(super) fn map(&self, target: &TargetObject, initiator: &str) -> Arc<LunMap> {
        if !target.enabled {
            return Arc::default();
        }
        let entries = target.luns_of(initiator).iter().filter_map(|(lun, object)| {
            let device = self.devices.get(&object.device)?;
            Some(LunEntry { lun: *lun, device: Arc::clone(&device.device), read_only: object.read_only })
        });
        Arc::new(LunMap::new(entries.collect(), target.method))
    }
}

/// Whether two maps show the same.
pub(super) fn is_same_map(a: &LunMap, b: &LunMap) -> bool {
    let same = |(a, b): (&LunEntry, &LunEntry)| {
        a.lun == b.lun && Arc::ptr_eq(&a.device, &b.device) && a.read_only == b.read_only
    };
    a.method == b.method
        && a.entries().len() == b.entries().len()
        && a.entries().iter().zip(b.entries()).all(same)
}
