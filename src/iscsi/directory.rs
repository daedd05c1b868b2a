//! What the login machine and SendTargets ask of those who know the targets.
//!
//! The model implements [`Directory`]; the machines call it and never keep what it says longer than one
//! login. All calls are look-ups that must not block.

#[cfg(test)]
pub(crate) mod fixture;

use std::net::SocketAddr;

use crate::iscsi::account::Accounts;
use crate::iscsi::key::Values;
use crate::iscsi::login_error::LoginStatus;
use crate::names::IscsiName;

/// Who asks, and over which connection.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The initiator.
    pub initiator: &'a IscsiName,
    /// Our end of the connection.
    pub portal: SocketAddr,
    /// The initiator's end.
    pub peer: SocketAddr,
}

/// Why there is no offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The login is answered with this status.
    Status(LoginStatus),
    /// The connection is closed without an answer (a disabled target).
    Silent,
}

/// Where a target went (attribute `redirect`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `address:port`, IPv6 addresses in brackets.
    pub address: String,
    /// For good (status 0102h) or for now (0101h).
    pub is_permanent: bool,
}

/// On what terms a login is possible, to a target or for discovery.
#[derive(Clone, Debug)]
pub struct Offer {
    /// TargetPortalGroupTag; without meaning for discovery.
    pub portal_group_tag: u16,
    /// TargetAlias; empty for none.
    pub alias: String,
    /// What we offer and accept for each key.
    pub values: Values,
    /// Who may log in. With incoming accounts, authentication is required.
    pub accounts: Accounts,
    /// The portal is internal: a login that begins in the operational stage needs no authentication.
    pub is_internal_portal: bool,
    /// Set when this login must go elsewhere; not when the connection arrived at that address already.
    pub redirect: Option<Redirect>,
}

impl Offer {
    /// No authentication, portal group 1, default values.
    pub fn open() -> Self {
        Offer {
            portal_group_tag: 1,
            alias: String::new(),
            values: Values::offered(),
            accounts: Accounts::default(),
            is_internal_portal: false,
            redirect: None,
        }
    }
}

/// What SendTargets asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Every target that this initiator may see.
    All,
    /// One target, named as the initiator wrote it.
    Named(&'a str),
}

/// A target and where it can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRecord {
    /// TargetName.
    pub name: String,
    /// Addresses and their portal group tags, the connected one first.
    pub addresses: Vec<(SocketAddr, u16)>,
}

/// Those who know the targets.
pub trait Directory {
    /// Whether new logins are accepted at present (SCST's SIGUSR1 suspends them).
    fn accepts_logins(&self) -> bool {
        true
    }

    /// The terms for a normal session with `target`: NOT_FOUND when there is none or the initiator may
    /// not see it.
    fn target(&self, target: &IscsiName, query: &Query<'_>) -> Result<Offer, Refusal>;

    /// The terms for a discovery session.
    fn discovery(&self, query: &Query<'_>) -> Result<Offer, Refusal>;

    /// The targets wanted that this initiator may see at this portal.
    fn send_targets(&self, wanted: Wanted<'_>, query: &Query<'_>) -> Vec<TargetRecord>;
}
