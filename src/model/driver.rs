//! The iSCSI driver: what concerns all its targets, and discovery.

use std::net::IpAddr;

use crate::attr::{Access, Attr, Error, Kind, Saved, Tail};
use crate::iscsi::account::Accounts;
use crate::model::dynamic::Numbers;
use crate::model::root::SCST_VERSION;

/// The iSCSI driver.
#[derive(Clone)]
pub struct DriverObject {
    /// Whether logins are accepted at all.
    pub enabled: bool,
    /// Accounts of discovery sessions.
    pub accounts: Accounts,
    /// Names of their files.
    pub numbers: Numbers,
    /// iSNS server, and whether it decides who may log in; none when empty.
    pub isns_server: Option<(String, bool)>,
    /// Name of this entity at the iSNS server.
    pub isns_entity_name: String,
    /// IPv6 link-local addresses are listed in SendTargets.
    pub link_local: bool,
    /// Portals where no authentication is needed.
    pub internal_portals: Vec<IpAddr>,
    /// Logins are told to come again later.
    pub suspend_logins: bool,
    /// LUNs of other initiators may be copied from and to.
    pub allow_not_connected_copy: bool,
}

impl DriverObject {
    /// The driver as it is at the start: disabled.
    pub fn new() -> Self {
        DriverObject {
            enabled: false,
            accounts: Accounts::default(),
            numbers: Numbers::default(),
            isns_server: None,
            isns_entity_name: String::new(),
            link_local: true,
            internal_portals: Vec::new(),
            suspend_logins: false,
            allow_not_connected_copy: false,
        }
    }
}

impl Default for DriverObject {
    fn default() -> Self {
        Self::new()
    }
}

fn flag(value: bool) -> String {
    u8::from(value).to_string()
}

type Row = Attr<DriverObject>;

/// All of them.
pub static ATTRIBUTES: &[Row] = &[
    Attr {
        name: "version",
        kind: Kind::Text(64),
        access: Access::ReadOnly,
        saved: Saved::Never,
        help: "version of the interface",
        get: |_| SCST_VERSION.to_owned(),
        ..Row::ROW
    },
    Attr {
        name: "open_state",
        kind: Kind::Word(&["open", "closed", "closing"]),
        access: Access::ReadOnly,
        saved: Saved::Never,
        help: "whether logins are served; always, in user mode",
        get: |_| "open".to_owned(),
        ..Row::ROW
    },
    Attr {
        name: "enabled",
        default: "0",
        saved: Saved::Never,
        tail: Tail::Always,
        help: "logins are accepted; sessions stay when it is 0",
        get: |driver| flag(driver.enabled),
        set: |driver, value| {
            driver.enabled = value.bool();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "suspend_logins",
        default: "0",
        saved: Saved::Never,
        help: "every login is refused as service unavailable (0301h), so that initiators come again: for the \
               moment of a fail-over, in which targets and LUNs are not all there; sessions stay",
        get: |driver| flag(driver.suspend_logins),
        set: |driver, value| {
            driver.suspend_logins = value.bool();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "iSNSServer",
        kind: Kind::Own("HOST, and AccessControl if you like; or nothing"),
        saved: Saved::When(|driver| driver.isns_server.is_some()),
        tail: Tail::AfterKey,
        help: "iSNS server where enabled targets are registered; with AccessControl it says who may log in",
        get: |driver| {
            let server = driver.isns_server.as_ref();
            server.map_or(String::new(), |(host, decides)| {
                format!("{host} {}", if *decides { "AccessControl" } else { "" })
            })
        },
        set: |driver, value| {
            let text = value.text();
            let words: Vec<&str> = text.split_whitespace().collect();
            driver.isns_server = match words.as_slice() {
                [] => None,
                [host] | [host, "AccessControl", "No"] => Some(((*host).to_owned(), false)),
                [host, "AccessControl"] => Some(((*host).to_owned(), true)),
                _ => {
                    return Err(Error::invalid(
                        "HOST, HOST AccessControl or HOST AccessControl No is wanted",
                    ));
                }
            };
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "isns_entity_name",
        kind: Kind::Text(223),
        saved: Saved::Never,
        help: "name of this entity at the iSNS server; only the first word counts",
        get: |driver| driver.isns_entity_name.clone(),
        set: |driver, value| {
            driver.isns_entity_name = value.text().split_whitespace().next().unwrap_or("").to_owned();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "link_local",
        default: "1",
        tail: Tail::AfterKey,
        help: "IPv6 link-local addresses are told in discovery",
        get: |driver| flag(driver.link_local),
        set: |driver, value| {
            driver.link_local = value.bool();
            Ok(())
        },
        ..Row::ROW
    },
    Attr {
        name: "internal_portal",
        kind: Kind::Own("addresses with blanks between them, or nothing"),
        tail: Tail::AfterKey,
        help: "local addresses where a login that begins in the operational stage needs no authentication",
        get: |driver| {
            let portals: Vec<String> = driver.internal_portals.iter().map(IpAddr::to_string).collect();
            portals.join(" ")
        },
        set: |driver, value| {
            let text = value.text();
            let portals: Result<Vec<IpAddr>, Error> = text
                .split_whitespace()
                .map(|word| word.parse().map_err(|_| Error::invalid(format!("\"{word}\" is no address"))))
                .collect();
            driver.internal_portals = portals?;
            Ok(())
        },
        ..Row::ROW
    },
];

/// The attribute of the copy manager's driver.
pub static COPY_MANAGER_ATTRIBUTES: &[Row] = &[Attr {
    name: "allow_not_connected_copy",
    default: "0",
    compatibility: Some("an initiator copies between units that it sees, and no others"),
    help: "an initiator may copy between devices that it does not see",
    get: |driver| flag(driver.allow_not_connected_copy),
    set: |driver, value| {
        driver.allow_not_connected_copy = value.bool();
        Ok(())
    },
    ..Row::ROW
}];
