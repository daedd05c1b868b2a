//! The login of a connection: the machine decides, this sends its answers and opens the session.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::{info, warn};

use crate::iscsi::attachment::LiveSession;
use crate::iscsi::chap::NoRandomness;
use crate::iscsi::directory::Query;
use crate::iscsi::discovery::TextExchange;
use crate::iscsi::key::KeyId;
use crate::iscsi::login::{Agreed, Login, LoginAnswer, LoginContext, LoginStep, Next, SessionRequest};
use crate::iscsi::login_error::LoginStatus;
use crate::iscsi::send::Sender;
use crate::iscsi::session::CommandWindow;
use crate::iscsi::tags::LiveTags;
use crate::notice::Notice;
use crate::scsi::nexus::{NewNexus, Nexus, TargetPort, TransportId};
use crate::server::Shared;
use crate::server::connection::FullFeature;
use crate::server::nagle::{Nagle, Setting};
use crate::server::outbox::Outbox;
use crate::server::serving::{End, Established, Serving};
use crate::server::sessions::{NewSession, Session};
use crate::server::spin::Spin;
use crate::wire::bhs::padding;
use crate::wire::request::LoginRequest;
use crate::wire::response::{Sequence, set_data_length};

/// How long a login answer may take to leave.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The login in progress.
pub(super) struct LoginPhase {
    machine: Login,
    stat_sn: u32,
    opened: Option<(Arc<Session>, Option<Arc<Nexus>>)>,
}

impl LoginPhase {
    pub(super) fn new(shared: &Shared, portal: SocketAddr, peer: SocketAddr) -> Self {
        let context = LoginContext { portal, peer, challenges: Arc::clone(&shared.challenges) };
        LoginPhase { machine: Login::new(context), stat_sn: 0, opened: None }
    }
}

fn random(bytes: &mut [u8]) -> Result<(), NoRandomness> {
    getrandom::fill(bytes).map_err(|_| NoRandomness)
}

impl Serving<'_> {
    /// Takes a Login Request.
    pub(super) fn login(&mut self, request: &LoginRequest, text: &[u8]) -> Result<(), End> {
        let Some(mut phase) = self.login.take() else { return Ok(()) };
        if phase.stat_sn == 0 {
            phase.stat_sn = request.exp_stat_sn;
        }
        let mut step = phase.machine.request(request, text, &*self.shared.host, &mut random);
        loop {
            let LoginStep { answer, next } = step;
            match next {
                Next::Continue => {
                    self.answer(&mut phase, answer, request.cmd_sn, request.cmd_sn)?;
                    self.login = Some(phase);
                    return Ok(());
                }
                Next::OpenSession(wanted) => {
                    let opened = self.open_session(&mut phase, &wanted);
                    step = phase.machine.opened(opened);
                }
                Next::FullFeature(agreed) => return self.enter_full_feature(phase, answer, &agreed),
                Next::Fail(error) => {
                    if let Some((session, nexus)) = phase.opened.take() {
                        self.shared.discard_session(&session, nexus.as_ref());
                    }
                    self.shared.totals.login_failed(error.status());
                    let _ = self.answer(&mut phase, answer, request.cmd_sn, request.cmd_sn);
                    let peer = self.peer;
                    self.shared.noise.say(|| warn!("login from {peer} failed: {error}"));
                    self.shared.host.notice(&Notice::LoginRefused { peer, reason: &error });
                    return Err(End::LoginFailed);
                }
            }
        }
    }

    fn answer(
        &mut self,
        phase: &mut LoginPhase,
        answer: Option<LoginAnswer>,
        cmd_sn: u32,
        max_cmd_sn: u32,
    ) -> Result<(), End> {
        let Some(answer) = answer else { return Ok(()) };
        let sequence = Sequence { stat_sn: phase.stat_sn, exp_cmd_sn: cmd_sn, max_cmd_sn };
        let mut header = answer.response.header(sequence);
        phase.stat_sn = phase.stat_sn.wrapping_add(1);
        set_data_length(&mut header, answer.text.len());
        let mut bytes = header.to_vec();
        bytes.extend_from_slice(&answer.text);
        bytes.resize(bytes.len() + padding(answer.text.len()), 0);
        self.connection.socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
        (&*self.connection.socket).write_all(&bytes)?;
        Ok(())
    }

    /// Opens the session that the login wants, ending the one it reinstates (RFC 7143 6.3.4, 6.3.5).
    fn open_session(&mut self, phase: &mut LoginPhase, wanted: &SessionRequest) -> Result<u16, LoginStatus> {
        let sessions = &self.shared.sessions;
        let target = wanted.target.as_ref().map_or(String::new(), |name| name.as_str().to_owned());
        let initiator = wanted.initiator.as_str();
        let new = NewSession {
            tsih: wanted.tsih,
            cid: wanted.cid,
            target: target.clone(),
            initiator: initiator.to_owned(),
            isid: wanted.isid,
            peer: self.peer,
            portal: self.portal,
            closer: self.connection.clone(),
        };
        if wanted.tsih != 0 {
            let session = sessions
                .find(wanted.tsih, initiator, wanted.isid, &target)
                .ok_or(LoginStatus::SESSION_DOES_NOT_EXIST)?;
            if session.cid != wanted.cid {
                return Err(LoginStatus::TOO_MANY_CONNECTIONS);
            }
        }
        let reinstated = sessions.reinstate(&new);
        let id = sessions.next_id();
        let (nexus, most) = match &wanted.target {
            None => (None, 0),
            Some(_) => {
                let (nexus, most) = self.new_nexus(id, wanted, &target, reinstated)?;
                (Some(nexus), most)
            }
        };
        // Reinstatement adds none (SCST 4.3), even if another has taken its place for a moment.
        let opened = sessions.open(new, id, nexus.clone(), if reinstated { 0 } else { most });
        let session = opened.map_err(|_| LoginStatus::OUT_OF_RESOURCES)?;
        let tsih = session.tsih;
        phase.opened = Some((session, nexus));
        Ok(tsih)
    }

    /// The nexus, and how many sessions the target may have.
    fn new_nexus(
        &self,
        id: u64,
        wanted: &SessionRequest,
        target: &str,
        reinstated: bool,
    ) -> Result<(Arc<Nexus>, usize), LoginStatus> {
        let query = Query { initiator: &wanted.initiator, portal: self.portal, peer: self.peer };
        let attachment = self.shared.host.attach(wanted, &query)?;
        if let Some(processors) = attachment.processors {
            if let Err(error) = processors.bind() {
                self.shared.noise.say(|| warn!("cpu_mask {processors} of {target}: {error}"));
            }
        }
        let nexus = Nexus::new(NewNexus {
            id,
            initiator: TransportId { name: wanted.initiator.as_str().to_owned(), isid: wanted.isid },
            target: TargetPort {
                name: target.to_owned(),
                portal_group_tag: wanted.portal_group_tag,
                relative_identifier: attachment.relative_identifier,
            },
            buffers: self.shared.buffers.clone(),
            reinstated,
            map: attachment.map,
            absent: attachment.absent,
            well_known: attachment.well_known,
        });
        Ok((nexus, attachment.most_sessions))
    }

    fn enter_full_feature(
        &mut self,
        mut phase: LoginPhase,
        answer: Option<LoginAnswer>,
        agreed: &Agreed,
    ) -> Result<(), End> {
        let Some((session, nexus)) = phase.opened.take() else { return Err(End::LoginFailed) };
        let parameters = agreed.parameters();
        let cmd_sn = agreed.session.cmd_sn;
        // A login is immediate: the first command has the login's own CmdSN.
        let window = Arc::new(CommandWindow::new(cmd_sn, agreed.ours[KeyId::QueuedCommands]));
        let max_cmd_sn = window.max_cmd_sn();
        let tags = Arc::new(LiveTags::new(self.now));
        let sender = Sender::new(&parameters, Arc::clone(&window), phase.stat_sn.wrapping_add(1));
        let setting = Setting::of(agreed.ours[KeyId::Nagle]);
        let coalesces = setting == Setting::Coalesce;
        let outbox = Outbox::new(Arc::clone(&self.connection.socket), sender, coalesces);
        self.established = Some(Established {
            session: Arc::clone(&session),
            nexus: nexus.clone(),
            initiator: agreed.session.initiator.clone(),
            response_timeout: Duration::from_secs(u64::from(agreed.ours[KeyId::RspTimeout])),
            exchange: TextExchange::new(),
        });
        let full = FullFeature { outbox: outbox?, window: Arc::clone(&window), tags: Arc::clone(&tags) };
        self.connection.enter_full_feature(full);
        if let Some(nexus) = &nexus {
            self.shared.host.opened(LiveSession {
                nexus: Arc::clone(nexus),
                tsih: session.tsih,
                cid: session.cid,
                portal: self.portal,
                peer: self.peer,
                parameters: parameters.clone(),
                thread: crate::sys::thread_id(),
                control: self.connection.clone(),
            });
        }
        self.receiver.enter_full_feature(parameters, window, tags, self.now);
        self.nagle = Nagle::new(setting);
        self.spin = Spin::of(agreed.ours[KeyId::PollUs]);
        self.answer(&mut phase, answer, cmd_sn, max_cmd_sn)?;
        self.shared.roll.login_is_over(self.peer.ip());
        self.shared.totals.logins.fetch_add(1, Ordering::Relaxed);
        *self.logging_in = false;
        let name = if session.target.is_empty() { "discovery" } else { &session.target };
        self.shared.host.notice(&Notice::SessionOpened(session.ends()));
        let (id, initiator, peer) = (session.id, &session.initiator, self.peer);
        self.shared.events.say(|| info!("session {id} of {initiator} at {peer} with {name} opened"));
        Ok(())
    }
}
