//! The target's side of the login phase (RFC 7143 6.3, 11.12, 11.13): a machine without I/O.
//!
//! ```text
//!            +--------------------------- 0 -> 3 -------------------------+
//!            |                                                            v
//! first -> Security --0 -> 1--> Operational --1 -> 3--> (session opened) -> full feature phase
//!   |                               ^
//!   +-------------------------------+   a login may begin in either stage
//! ```
//! Every Login Request gets exactly one Login Response, or, when the login is about to succeed,
//! [`Next::OpenSession`]; the caller then opens (or reinstates) the session and reports with
//! [`Login::opened`], which gives the last response. After [`Next::Fail`] the connection is closed.
//!
//! Invariant: no more than [`MAX_LOGIN_REQUESTS`] requests and [`MAX_LOGIN_TEXT`] bytes of text are taken,
//! and an answer is never longer than a constant times the text it answers.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::iscsi::authentication::{Authentication, SecurityKeys};
use crate::iscsi::chap::{Challenges, Random};
use crate::iscsi::declaration::{Declarations, SessionType};
use crate::iscsi::directory::{Directory, Offer, Query, Refusal};
use crate::iscsi::key::{CRC32C, Key, KeyId, Use, Values};
use crate::iscsi::login_error::{LoginError, LoginStatus};
use crate::iscsi::negotiation::Negotiation;
use crate::iscsi::parameters::Parameters;
use crate::limits::{MAX_LOGIN_REQUESTS, MAX_LOGIN_SEGMENT, MAX_LOGIN_TEXT};
use crate::names::IscsiName;
use crate::wire::request::LoginRequest;
use crate::wire::response::LoginResponse;
use crate::wire::text::{self, Collector, Outgoing, Pair};

/// A Login Response and its data segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginAnswer {
    /// The header, but for the sequence numbers.
    pub response: LoginResponse,
    /// Data segment.
    pub text: Vec<u8>,
}

/// What happens next.
#[derive(Debug)]
pub enum Next {
    /// The login goes on with the initiator's next request.
    Continue,
    /// The caller opens the session and reports with [`Login::opened`]; there is no answer yet.
    OpenSession(Box<SessionRequest>),
    /// The answer is the last one; the full feature phase begins behind it.
    FullFeature(Box<Agreed>),
    /// The connection is closed behind the answer, if there is one.
    Fail(LoginError),
}

/// The outcome of one request.
#[derive(Debug)]
#[must_use]
pub struct LoginStep {
    /// The Login Response to send.
    pub answer: Option<LoginAnswer>,
    /// What happens next.
    pub next: Next,
}

/// The session that a login wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// Normal or discovery.
    pub session_type: SessionType,
    /// The initiator.
    pub initiator: IscsiName,
    /// InitiatorAlias, or empty.
    pub initiator_alias: String,
    /// The target; `None` for discovery.
    pub target: Option<IscsiName>,
    /// TargetPortalGroupTag.
    pub portal_group_tag: u16,
    /// Initiator part of the session identifier.
    pub isid: [u8; 6],
    /// 0 opens a session, or reinstates the one with this initiator, target and ISID; any other value names
    /// a session, of which the connection `cid` is reinstated (RFC 7143 6.3.4, 6.3.5).
    pub tsih: u16,
    /// Connection identifier.
    pub cid: u16,
    /// CmdSN of the login: the session's first ExpCmdSN.
    pub cmd_sn: u32,
    /// The CHAP user, when authenticated.
    pub user: Option<String>,
}

/// What a successful login has agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The session, as asked for; `session.tsih` is now the session's own.
    pub session: SessionRequest,
    /// Negotiated values. MaxRecvDataSegmentLength is the initiator's.
    pub values: Values,
    /// The longest data segment the initiator was told to send.
    pub our_segment_length: u32,
    /// The target's own values, for the rows that are not negotiated.
    pub ours: Values,
}

impl Agreed {
    /// The agreement as the full feature phase needs it.
    pub fn parameters(&self) -> Parameters {
        let value = |key: KeyId| self.values[key];
        let is_set = |key: KeyId| value(key) == 1;
        let seconds = |key: KeyId| u16::try_from(value(key)).unwrap_or(u16::MAX);
        Parameters {
            header_digest: value(KeyId::HeaderDigest) == CRC32C,
            data_digest: value(KeyId::DataDigest) == CRC32C,
            max_recv_data_segment_length: self.our_segment_length,
            max_send_data_segment_length: value(KeyId::MaxRecvDataSegmentLength)
                .min(self.ours[KeyId::MaxXmitDataSegmentLength]),
            max_burst_length: value(KeyId::MaxBurstLength),
            first_burst_length: value(KeyId::FirstBurstLength),
            initial_r2t: is_set(KeyId::InitialR2T),
            immediate_data: is_set(KeyId::ImmediateData),
            max_outstanding_r2t: value(KeyId::MaxOutstandingR2T),
            default_time2wait: seconds(KeyId::DefaultTime2Wait),
            default_time2retain: seconds(KeyId::DefaultTime2Retain),
            is_discovery: self.session.session_type == SessionType::Discovery,
            cid: self.session.cid,
            nop_in_interval: self.ours[KeyId::NopInInterval],
            nop_in_timeout: self.ours[KeyId::NopInTimeout],
            response_timeout: self.ours[KeyId::RspTimeout],
        }
    }
}

/// What a login must know of its connection.
#[derive(Clone, Debug)]
pub struct LoginContext {
    /// Our end.
    pub portal: SocketAddr,
    /// The initiator's end.
    pub peer: SocketAddr,
    /// The challenges of all logins.
    pub challenges: Arc<Challenges>,
}

/// Login stages as CSG and NSG number them.
const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const FULL_FEATURE: u8 = 3;

/// One login.
#[derive(Debug)]
pub struct Login {
    context: LoginContext,
    first: Option<LoginRequest>,
    stage: u8,
    requests: u32,
    text_left: usize,
    collector: Collector,
    outgoing: Outgoing,
    declarations: Declarations,
    admitted: Option<Admitted>,
    /// The last answer, held back until the session is open.
    last: Option<LoginAnswer>,
    has_ended: bool,
}

/// A login whose first request was acceptable.
#[derive(Debug)]
struct Admitted {
    session_type: SessionType,
    initiator: IscsiName,
    target: Option<IscsiName>,
    offer: Offer,
    authentication: Authentication,
    is_authentication_required: bool,
    negotiation: Negotiation,
}

impl Login {
    /// Waits for the first Login Request of a connection.
    pub fn new(context: LoginContext) -> Self {
        Login {
            context,
            first: None,
            stage: SECURITY,
            requests: 0,
            text_left: MAX_LOGIN_TEXT,
            collector: Collector::new(MAX_LOGIN_TEXT),
            outgoing: Outgoing::default(),
            declarations: Declarations::default(),
            admitted: None,
            last: None,
            has_ended: false,
        }
    }

    /// Takes a Login Request and its data segment.
    pub fn request(
        &mut self,
        request: &LoginRequest,
        text: &[u8],
        directory: &dyn Directory,
        random: &mut Random<'_>,
    ) -> LoginStep {
        self.advance(request, text, directory, random).unwrap_or_else(|error| self.fail(request, error))
    }

    /// Reports what became of [`Next::OpenSession`]: the session's TSIH, or the status to answer with.
    pub fn opened(&mut self, session: Result<u16, LoginStatus>) -> LoginStep {
        let (Some(mut answer), Some(first)) = (self.last.take(), self.first) else {
            return LoginStep { answer: None, next: Next::Fail(LoginError::Ended) };
        };
        self.has_ended = true;
        match (session, self.agreed(&first)) {
            (Ok(tsih), Some(mut agreed)) => {
                answer.response.tsih = tsih;
                agreed.session.tsih = tsih;
                LoginStep { answer: Some(answer), next: Next::FullFeature(Box::new(agreed)) }
            }
            (Err(status), _) => self.fail(&first, LoginError::Refused(status)),
            (Ok(_), None) => self.fail(&first, LoginError::Ended),
        }
    }

    fn advance(
        &mut self,
        request: &LoginRequest,
        text: &[u8],
        directory: &dyn Directory,
        random: &mut Random<'_>,
    ) -> Result<LoginStep, LoginError> {
        self.check(request, text.len())?;
        if !self.outgoing.is_empty() {
            if request.continues || !text.is_empty() {
                return Err(LoginError::AnswerInterrupted);
            }
            return self.send(request);
        }
        let Some(text) = self.collector.push(text, request.continues)? else {
            let answer = LoginAnswer { response: plain(request), text: Vec::new() };
            return Ok(LoginStep { answer: Some(answer), next: Next::Continue });
        };
        self.declare(&text)?;
        let mut answer = Vec::new();
        if self.admitted.is_none() {
            self.admit(request, directory, &mut answer)?;
        }
        self.process(request, &text, random, &mut answer)?;
        self.outgoing = Outgoing::new(answer);
        self.send(request)
    }

    /// The rules that need only the header (RFC 7143 11.12).
    fn check(&mut self, request: &LoginRequest, length: usize) -> Result<(), LoginError> {
        if self.has_ended || self.last.is_some() {
            return Err(LoginError::Ended);
        }
        if !request.is_immediate {
            return Err(LoginError::NotImmediate);
        }
        if request.version_min > 0 {
            return Err(LoginError::Version);
        }
        self.requests += 1;
        if self.requests > MAX_LOGIN_REQUESTS {
            return Err(LoginError::TooManyRequests);
        }
        if length > MAX_LOGIN_SEGMENT {
            return Err(LoginError::TooMuchText);
        }
        self.text_left = self.text_left.checked_sub(length).ok_or(LoginError::TooMuchText)?;
        match &self.first {
            None => {
                self.first = Some(*request);
                self.stage = request.current_stage;
            }
            Some(first) if identifiers(first) != identifiers(request) => {
                return Err(LoginError::IdentifierChanged);
            }
            Some(_) => {}
        }
        self.check_stages(request)
    }

    fn check_stages(&self, request: &LoginRequest) -> Result<(), LoginError> {
        if request.continues && request.transit {
            return Err(LoginError::ContinueAndTransit);
        }
        if request.current_stage != self.stage || request.current_stage > OPERATIONAL {
            return Err(LoginError::CurrentStage);
        }
        let next = request.next_stage;
        let is_later = next > request.current_stage && matches!(next, OPERATIONAL | FULL_FEATURE);
        if request.transit && !is_later { Err(LoginError::NextStage) } else { Ok(()) }
    }

    /// Notes the declared texts of a complete request.
    fn declare(&mut self, text: &[u8]) -> Result<(), LoginError> {
        for pair in text::pairs(text) {
            let pair = pair?;
            if let Some(key) = Key::find(pair.key).filter(|key| Declarations::includes(key.id)) {
                self.declarations.declare(key.id, pair.value)?;
            }
        }
        self.declarations.close();
        Ok(())
    }

    /// Decides about the login from the first complete request.
    fn admit(
        &mut self,
        request: &LoginRequest,
        directory: &dyn Directory,
        answer: &mut Vec<u8>,
    ) -> Result<(), LoginError> {
        let initiator = self.declarations.initiator()?;
        if !directory.accepts_logins() {
            return Err(LoginError::Refused(LoginStatus::SERVICE_UNAVAILABLE));
        }
        let session_type = self.declarations.session_type()?;
        let query = Query { initiator: &initiator, portal: self.context.portal, peer: self.context.peer };
        let (target, offer) = match session_type {
            SessionType::Discovery => (None, directory.discovery(&query)),
            SessionType::Normal => {
                let name = self.declarations.target().ok_or(LoginError::Missing("TargetName"))?;
                let name = IscsiName::parse_any_form(name.as_bytes())
                    .map_err(|_| LoginError::Refused(LoginStatus::NOT_FOUND))?;
                let offer = directory.target(&name, &query);
                (Some(name), offer)
            }
        };
        let offer = offer.map_err(refused)?;
        if let Some(redirect) = &offer.redirect {
            let permanent = LoginStatus::MOVED_PERMANENTLY;
            let status = if redirect.is_permanent { permanent } else { LoginStatus::MOVED_TEMPORARILY };
            return Err(LoginError::Redirected(status, redirect.address.clone()));
        }
        let is_operational = request.current_stage == OPERATIONAL;
        let is_exempt = is_operational && offer.is_internal_portal;
        let is_authentication_required = offer.accounts.are_required() && !is_exempt;
        if is_operational && is_authentication_required {
            return Err(LoginError::AuthenticationRequired);
        }
        if target.is_some() {
            announce(&offer, answer);
        }
        self.admitted = Some(Admitted {
            negotiation: Negotiation::new(offer.values, session_type == SessionType::Discovery),
            session_type,
            initiator,
            target,
            offer,
            authentication: Authentication::Open,
            is_authentication_required,
        });
        Ok(())
    }

    /// Takes the negotiable keys of a complete request.
    fn process(
        &mut self,
        request: &LoginRequest,
        text: &[u8],
        random: &mut Random<'_>,
        answer: &mut Vec<u8>,
    ) -> Result<(), LoginError> {
        let Some(admitted) = &mut self.admitted else { return Err(LoginError::Ended) };
        let is_security = self.stage == SECURITY;
        let mut keys = SecurityKeys::default();
        for pair in text::pairs(text) {
            let pair = pair?;
            match Key::find(pair.key) {
                Some(key) if Declarations::includes(key.id) => {}
                Some(key) if key.used == Use::Security && is_security => keys.add(key.id, pair.value)?,
                Some(key) if key.used == Use::Security => return Err(LoginError::WrongStage(key.name)),
                Some(key) if is_security && key.used != Use::All => {
                    text::push_pair(answer, key.name, "Reject");
                }
                _ => admitted.negotiation.receive(Pair { key: pair.key, value: pair.value }, answer)?,
            }
        }
        if is_security {
            let accounts = &admitted.offer.accounts;
            return admitted.authentication.step(&keys, accounts, &self.context.challenges, random, answer);
        }
        admitted.negotiation.declare(answer);
        if request.transit {
            if admitted.negotiation.has_unanswered() {
                return Err(LoginError::Unanswered);
            }
            admitted.negotiation.insist(answer);
        }
        Ok(())
    }

    /// Sends the next piece of the answer, and moves on to the next stage with the last one.
    fn send(&mut self, request: &LoginRequest) -> Result<LoginStep, LoginError> {
        let Some(admitted) = &self.admitted else { return Err(LoginError::Ended) };
        let declared = usize::try_from(admitted.negotiation.initiator_segment_length());
        let most = declared.unwrap_or(MAX_LOGIN_SEGMENT).min(MAX_LOGIN_SEGMENT);
        let (text, continues) = self.outgoing.next_segment(most);
        let mut answer = LoginAnswer { response: LoginResponse { continues, ..plain(request) }, text };
        if continues || !request.transit || !admitted.may_leave(self.stage)? {
            return Ok(LoginStep { answer: Some(answer), next: Next::Continue });
        }
        answer.response.transit = true;
        answer.response.next_stage = request.next_stage;
        self.stage = request.next_stage;
        if self.stage != FULL_FEATURE {
            return Ok(LoginStep { answer: Some(answer), next: Next::Continue });
        }
        self.last = Some(answer);
        match self.agreed(request) {
            Some(agreed) => Ok(LoginStep { answer: None, next: Next::OpenSession(Box::new(agreed.session)) }),
            None => Err(LoginError::Ended),
        }
    }

    fn agreed(&self, request: &LoginRequest) -> Option<Agreed> {
        let admitted = self.admitted.as_ref()?;
        let session = SessionRequest {
            session_type: admitted.session_type,
            initiator: admitted.initiator.clone(),
            initiator_alias: self.declarations.initiator_alias().to_owned(),
            target: admitted.target.clone(),
            portal_group_tag: admitted.offer.portal_group_tag,
            isid: request.isid,
            tsih: request.tsih,
            cid: request.cid,
            cmd_sn: request.cmd_sn,
            user: admitted.authentication.user().map(str::to_owned),
        };
        Some(Agreed {
            session,
            values: admitted.negotiation.result(),
            our_segment_length: admitted.negotiation.our_segment_length(),
            ours: admitted.offer.values,
        })
    }

    fn fail(&mut self, request: &LoginRequest, error: LoginError) -> LoginStep {
        self.has_ended = true;
        self.last = None;
        let mut text = Vec::new();
        match &error {
            LoginError::Redirected(_, address) => text::push_pair(&mut text, "TargetAddress", address),
            LoginError::AuthMethod => text::push_pair(&mut text, "AuthMethod", "Reject"),
            _ => {}
        }
        let answer = error.status().map(|status| LoginAnswer {
            response: LoginResponse { status: status.0, ..plain(request) },
            text,
        });
        LoginStep { answer, next: Next::Fail(error) }
    }
}

impl Admitted {
    /// Whether the stage may be left now; an error when it can never be left this way.
    fn may_leave(&self, stage: u8) -> Result<bool, LoginError> {
        if stage != SECURITY {
            return Ok(!self.negotiation.has_unanswered() && !self.negotiation.must_insist());
        }
        if !self.is_authentication_required || self.authentication.user().is_some() {
            return Ok(true);
        }
        if self.authentication.has_begun() { Ok(false) } else { Err(LoginError::AuthenticationRequired) }
    }
}

/// What must not change within a login.
fn identifiers(request: &LoginRequest) -> (u32, u16, [u8; 6], u16, u32) {
    (request.initiator_task_tag, request.cid, request.isid, request.tsih, request.cmd_sn)
}

/// A successful response that stays in its stage.
fn plain(request: &LoginRequest) -> LoginResponse {
    LoginResponse {
        transit: false,
        continues: false,
        current_stage: request.current_stage,
        next_stage: 0,
        isid: request.isid,
        tsih: request.tsih,
        itt: request.initiator_task_tag,
        status: LoginStatus::SUCCESS.0,
    }
}

/// TargetPortalGroupTag and TargetAlias, in the first answer of a normal session (RFC 7143 13.9).
fn announce(offer: &Offer, answer: &mut Vec<u8>) {
    text::push_pair(answer, KeyId::TargetPortalGroupTag.row().name, &offer.portal_group_tag.to_string());
    if !offer.alias.is_empty() {
        text::push_pair(answer, KeyId::TargetAlias.row().name, &offer.alias);
    }
}

fn refused(refusal: Refusal) -> LoginError {
    match refusal {
        Refusal::Status(status) => LoginError::Refused(status),
        Refusal::Silent => LoginError::Silent,
    }
}

#[cfg(test)]
mod tests;
