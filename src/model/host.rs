//! The model as the protocol sees it: who may log in where, and what they see.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use crate::iscsi::attachment::{Attachment, CloseReason, Host, LiveSession};
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
use crate::sys::thread::CpuSet;

/// All portals of a target are in one group.
const PORTAL_GROUP: u16 = 1;

impl Configuration {
    /// The target, if this initiator may know of it: enabled, on this portal, with LUNs.
    fn visible(&self, name: &str, query: &Query<'_>) -> Result<&TargetObject, Refusal> {
        const UNKNOWN: Refusal = Refusal::Status(LoginStatus::NOT_FOUND);
        let target = self.targets.get(&key(name)).ok_or(UNKNOWN)?;
        if !self.driver.enabled || !target.enabled {
            return Err(Refusal::Silent);
        }
        let portal = query.portal.ip().to_canonical().to_string();
        let is_here = is_allowed_by(&target.allowed_portals, &portal);
        let luns = &target.map_for(&subject(target, query)).luns;
        if is_here && !luns.is_empty() { Ok(target) } else { Err(UNKNOWN) }
    }
}

/// What the patterns of groups are compared with (SCST 1.8.2).
fn subject(target: &TargetObject, query: &Query<'_>) -> String {
    match target.per_portal_acl {
        true => format!("{}#{}", query.initiator.as_str(), query.portal.ip().to_canonical()),
        false => query.initiator.as_str().to_owned(),
    }
}

impl Model {
    /// The target, if this initiator may know of it. Where the iSNS server decides, it must have said so.
    fn visible<'c>(
        &self,
        configuration: &'c Configuration,
        name: &str,
        query: &Query<'_>,
    ) -> Result<&'c TargetObject, Refusal> {
        let target = configuration.visible(name, query)?;
        let Some((server, true)) = &configuration.driver.isns_server else { return Ok(target) };
        let registered = self.registered.read().unwrap_or_else(PoisonError::into_inner);
        let names = registered.1.get(&key(name)).filter(|_| registered.0 == *server);
        let is_known = names.is_some_and(|names| names.contains(&key(query.initiator.as_str())));
        if is_known { Ok(target) } else { Err(Refusal::Status(LoginStatus::NOT_FOUND)) }
    }
}

impl Directory for Model {
    fn accepts_logins(&self) -> bool {
        !self.configuration().driver.suspend_logins
    }

    fn target(&self, target: &IscsiName, query: &Query<'_>) -> Result<Offer, Refusal> {
        let configuration = self.configuration();
        let target = self.visible(&configuration, target.as_str(), query)?;
        let here = crate::iscsi::discovery::written(query.portal);
        let portal = query.portal.ip().to_canonical();
        Ok(Offer {
            portal_group_tag: PORTAL_GROUP,
            alias: target.alias.clone(),
            values: target.values,
            accounts: target.accounts.clone(),
            is_internal_portal: configuration.driver.internal_portals.contains(&portal),
            redirect: target.redirect.clone().filter(|redirect| redirect.address != here),
        })
    }

    fn discovery(&self, query: &Query<'_>) -> Result<Offer, Refusal> {
        let configuration = self.configuration();
        let portal = query.portal.ip().to_canonical();
        Ok(Offer {
            values: Values::offered(),
            accounts: configuration.driver.accounts.clone(),
            is_internal_portal: configuration.driver.internal_portals.contains(&portal),
            ..Offer::open()
        })
    }

    fn send_targets(&self, wanted: Wanted<'_>, query: &Query<'_>) -> Vec<TargetRecord> {
        let configuration = self.configuration();
        let portals = announced(query.portal, &self.portals(), configuration.driver.link_local);
        let record = |target: &TargetObject| TargetRecord {
            name: key(&target.name),
            addresses: portals
                .iter()
                .filter(|portal: &&SocketAddr| {
                    is_allowed_by(&target.allowed_portals, &portal.ip().to_string())
                })
                .map(|portal| (*portal, PORTAL_GROUP))
                .collect(),
        };
        match wanted {
            Wanted::Named(name) => {
                self.visible(&configuration, name, query).map(record).into_iter().collect()
            }
            Wanted::All => {
                let names = configuration.targets.keys();
                names.filter_map(|name| self.visible(&configuration, name, query).ok()).map(record).collect()
            }
        }
    }
}

impl Host for Model {
    fn attach(&self, request: &SessionRequest, query: &Query<'_>) -> Result<Attachment, LoginStatus> {
        let configuration = self.configuration();
        let name = request.target.as_ref().ok_or(LoginStatus::MISSING_PARAMETER)?;
        let target =
            self.visible(&configuration, name.as_str(), query).map_err(|_| LoginStatus::NOT_FOUND)?;
        let subject = subject(target, query);
        Ok(Attachment {
            map: configuration.shown(target, &subject),
            relative_identifier: target.relative_identifier,
            absent: Arc::clone(&self.absent),
            well_known: Arc::clone(&self.well_known),
            processors: target.map_for(&subject).cpu_mask.as_deref().map(CpuSet::of),
            most_sessions: target.values[KeyId::MaxSessions] as usize,
        })
    }

    fn opened(&self, session: LiveSession) {
        let mut sessions = self.sessions_table();
        let initiator = session.nexus.initiator.name.clone();
        let target = session.nexus.target.name.clone();
        let is_per_portal = self.configuration().target(&target).is_some_and(|own| own.per_portal_acl);
        let subject = match is_per_portal {
            true => format!("{initiator}#{}", session.portal.ip().to_canonical()),
            false => initiator,
        };
        session.nexus.measure(self.configuration().root.measure_latency);
        let session = sessions.open(&target, &subject, session);
        // The configuration may have changed since the login began: also the target may be gone.
        self.refresh(&session, &[]);
        if self.configuration().target(&target).is_none_or(|own| !own.enabled) {
            session.close(CloseReason::TargetGone);
        }
    }

    fn closed(&self, nexus: &Arc<Nexus>) {
        self.sessions_table().close(nexus.id);
    }

    fn notice(&self, notice: &Notice<'_>) {
        self.dispatch.notice(notice);
    }
}
