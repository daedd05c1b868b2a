//! The model as the protocol sees it: who may log in where, and what they see.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::iscsi::attachment::{Attachment, Host};
use crate::iscsi::directory::{Directory, Offer, Query, Refusal, TargetRecord, Wanted};
use crate::iscsi::discovery::announced;
use crate::iscsi::key::{KeyId, Values};
use crate::iscsi::login::SessionRequest;
use crate::iscsi::login_error::LoginStatus;
use crate::model::target::TargetObject;
use crate::model::{Configuration, Model, key};
use crate::names::{IscsiName, is_allowed_by};
use crate::notice::Notice;
use crate::scsi::nexus::Nexus;

/// All portals of a target are in one group.
const PORTAL_GROUP: u16 = 1;

impl Configuration {
    /// The target, if this initiator may know of it: enabled, on this portal, with LUNs.
    fn visible(&self, name: &str, query: &Query<'_>) -> Option<&TargetObject> {
        let target = self.targets.get(&key(name))?;
        let is_here = is_allowed_by(&target.allowed_portals, &query.portal.ip().to_string());
        let has_luns = !self.map(target, query.initiator.as_str()).entries().is_empty();
        (target.enabled && is_here && has_luns).then_some(target)
    }
}

impl Directory for Model {
    fn target(&self, target: &IscsiName, query: &Query<'_>) -> Result<Offer, Refusal> {
        let configuration = self.configuration();
        let target =
            configuration.visible(target.as_str(), query).ok_or(Refusal::Status(LoginStatus::NOT_FOUND))?;
        let here = crate::iscsi::discovery::written(query.portal);
        Ok(Offer {
            portal_group_tag: PORTAL_GROUP,
            alias: target.alias.clone(),
            values: target.values,
            accounts: target.accounts.clone(),
            is_internal_portal: false,
            redirect: target.redirect.clone().filter(|redirect| redirect.address != here),
        })
    }

    fn discovery(&self, _query: &Query<'_>) -> Result<Offer, Refusal> {
        let accounts = self.configuration().driver.accounts.clone();
        Ok(Offer { values: Values::offered(), accounts, ..Offer::open() })
    }

    fn send_targets(&self, wanted: Wanted<'_>, query: &Query<'_>) -> Vec<TargetRecord> {
        let configuration = self.configuration();
        let portals = announced(query.portal, &configuration.portals, false);
        let record = |target: &TargetObject| TargetRecord {
            name: target.name.clone(),
            addresses: portals
                .iter()
                .filter(|portal: &&SocketAddr| {
                    is_allowed_by(&target.allowed_portals, &portal.ip().to_string())
                })
                .map(|portal| (*portal, PORTAL_GROUP))
                .collect(),
        };
        match wanted {
            Wanted::Named(name) => configuration.visible(name, query).map(record).into_iter().collect(),
            Wanted::All => {
                let names = configuration.targets.keys();
                names.filter_map(|name| configuration.visible(name, query)).map(record).collect()
            }
        }
    }
}

impl Host for Model {
    fn attach(
        &self,
        request: &SessionRequest,
        query: &Query<'_>,
        sessions: usize,
    ) -> Result<Attachment, LoginStatus> {
        let configuration = self.configuration();
        let name = request.target.as_ref().ok_or(LoginStatus::MISSING_PARAMETER)?;
        let target = configuration.visible(name.as_str(), query).ok_or(LoginStatus::NOT_FOUND)?;
        let limit = target.values[KeyId::MaxSessions] as usize;
        if limit > 0 && sessions >= limit {
            return Err(LoginStatus::OUT_OF_RESOURCES);
        }
        Ok(Attachment {
            map: configuration.map(target, request.initiator.as_str()),
            relative_identifier: target.relative_identifier,
            absent: Arc::clone(&self.absent),
            well_known: Arc::clone(&self.well_known),
        })
    }

    fn opened(&self, nexus: &Arc<Nexus>) {
        let mut configuration = self.writing();
        configuration.nexuses.insert(nexus.id, Arc::clone(nexus));
        configuration.refresh_nexuses();
    }

    fn closed(&self, nexus: &Arc<Nexus>) {
        self.writing().nexuses.remove(&nexus.id);
    }

    fn notice(&self, notice: &Notice<'_>) {
        self.dispatch.notice(notice);
    }
}
