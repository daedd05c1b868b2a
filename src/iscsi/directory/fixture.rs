//! A directory in memory, for tests.

use std::net::SocketAddr;

use crate::iscsi::directory::{Directory, Offer, Query, Refusal, TargetRecord, Wanted};
use crate::iscsi::login_error::LoginStatus;
use crate::names::IscsiName;

/// Reads `address:port`.
pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The initiator of the tests.
pub(crate) fn initiator() -> IscsiName {
    IscsiName::parse(b"iqn.2000-01.example:initiator").unwrap()
}

/// Targets in the order of their creation, all with the same terms.
pub(crate) struct StaticDirectory {
    pub(crate) targets: Vec<TargetRecord>,
    pub(crate) offer: Result<Offer, Refusal>,
    pub(crate) discovery: Result<Offer, Refusal>,
    pub(crate) is_suspended: bool,
}

impl Default for StaticDirectory {
    fn default() -> Self {
        let (offer, discovery) = (Ok(Offer::open()), Ok(Offer::open()));
        StaticDirectory { targets: Vec::new(), offer, discovery, is_suspended: false }
    }
}

impl StaticDirectory {
    pub(crate) fn add(&mut self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|text| (address(text), 1)).collect();
        self.targets.push(TargetRecord { name: name.to_owned(), addresses });
    }
}

impl Directory for StaticDirectory {
    fn accepts_logins(&self) -> bool {
        !self.is_suspended
    }

    fn target(&self, target: &IscsiName, _query: &Query<'_>) -> Result<Offer, Refusal> {
        if self.targets.iter().any(|record| record.name == target.as_str()) {
            self.offer.clone()
        } else {
            Err(Refusal::Status(LoginStatus::NOT_FOUND))
        }
    }

    fn discovery(&self, _query: &Query<'_>) -> Result<Offer, Refusal> {
        self.discovery.clone()
    }

    fn send_targets(&self, wanted: Wanted<'_>, _query: &Query<'_>) -> Vec<TargetRecord> {
        let is_wanted = |record: &&TargetRecord| match wanted {
            Wanted::All => true,
            Wanted::Named(name) => record.name == name,
        };
        self.targets.iter().filter(is_wanted).cloned().collect()
    }
}
