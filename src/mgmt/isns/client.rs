//! What to tell the iSNS server and when: a machine without I/O and without a clock.
//!
//! ```text
//!            wanted              connected          a request is out
//!   Off --------------> Connecting ------> Connected <-------------> (one at a time)
//!    ^                     ^   |             |
//!    | nothing wanted      |   | failed      | lost, silent, refused
//!    | and deregistered    |   v             v
//!    +-------------------- Resting <---------+
//! ```
//! The whole entity is registered anew, with REPLACE, whenever it has changed or the connection is new; so
//! the server never knows more than there is. A query in between keeps the registration from expiring
//! (RFC 4171, 6.2.6), tells whether the server has dropped it all the same (6.3.5: inquiries that did not get
//! through), and with access control asks who may log in.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::mgmt::isns::message::{Attribute, Message, function, node_type, tag};

/// ISCSI, as ENTITY PROTOCOL (RFC 4171, 6.2.2).
const PROTOCOL_ISCSI: u32 = 2;
/// SCN bitmap: an object was added, removed, updated; initiators only (6.4.4).
const SCN_EVENTS: u32 = 0x1c | 0x80;
/// Status "No Such Entry" (5.4).
const NO_SUCH_ENTRY: u32 = 9;
/// Requests that wait to be sent; a client with more targets than this asks for them round by round.
const QUEUE_LIMIT: usize = 65_536;

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The server forgets the entity when it has not heard of it for so long.
    pub registration_period: Duration,
    /// How often the server asks back.
    pub inquiry_interval: Duration,
    /// How often we ask.
    pub refresh: Duration,
    /// How long an answer may take, and a connection.
    pub patience: Duration,
    /// Rest after the first failure; it doubles up to `longest_rest`.
    pub rest: Duration,
    /// Longest rest.
    pub longest_rest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            registration_period: Duration::from_secs(300),
            inquiry_interval: Duration::from_secs(60),
            refresh: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            rest: Duration::from_secs(1),
            longest_rest: Duration::from_secs(60),
        }
    }
}

/// A target to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name.
    pub name: String,
    /// Alias; none when empty.
    pub alias: String,
}

/// What the server shall know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Name of the entity.
    pub entity: String,
    /// Where the targets can be reached.
    pub portals: Vec<SocketAddr>,
    /// TCP port where the server's inquiries and notifications are answered.
    pub inquiry_port: u16,
    /// Enabled targets.
    pub targets: Vec<Target>,
    /// Whether the server decides who may log in.
    pub access_control: bool,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect to the server.
    Connect,
    /// Send these bytes.
    Send(Vec<u8>),
    /// Close the connection.
    Disconnect,
    /// These initiators may log in to the target, and no others.
    Initiators {
        /// Target.
        target: String,
        /// Names.
        names: Vec<String>,
    },
    /// For the log.
    Say(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Off,
    Connecting { until: Instant },
    Connected,
    Resting { until: Instant },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Request {
    Register,
    Deregister,
    Notify(String),
    Refresh,
    Query(String),
}

/// The client.
pub struct Client {
    timing: Timing,
    wanted: Option<Registration>,
    /// Entity and name of a node that the server may know.
    known: Option<(String, String)>,
    state: State,
    queue: VecDeque<Request>,
    out: Option<(u16, Request, Instant)>,
    transaction: u16,
    rest: Duration,
    refresh_at: Option<Instant>,
    actions: Vec<Action>,
}

impl Client {
    /// A client that wants nothing.
    pub fn new(timing: Timing) -> Self {
        Client {
            rest: timing.rest,
            timing,
            wanted: None,
            known: None,
            state: State::Off,
            queue: VecDeque::new(),
            out: None,
            transaction: 0,
            refresh_at: None,
            actions: Vec::new(),
        }
    }

    /// Whether nothing is wanted, known or connected.
    pub fn is_off(&self) -> bool {
        self.state == State::Off
    }

    /// What is to be done, in order.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// When [`Client::expired`] wants to be called, whatever happens.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Off => None,
            State::Connecting { until } | State::Resting { until } => Some(until),
            State::Connected => self.out.as_ref().map(|(_, _, until)| *until).or(self.refresh_at),
        }
    }

    /// The server shall know this; nothing at all with `None`, or without targets.
    pub fn want(&mut self, wanted: Option<Registration>, now: Instant) {
        let wanted = wanted.filter(|wanted| !wanted.targets.is_empty());
        if wanted == self.wanted {
            return;
        }
        self.wanted = wanted;
        match self.state {
            State::Off => self.connect(now),
            State::Connected => self.begin(now),
            _ if self.wanted.is_none() && self.known.is_none() => self.turn_off(),
            State::Connecting { .. } | State::Resting { .. } => {}
        }
    }

    fn connect(&mut self, now: Instant) {
        self.state = State::Connecting { until: now + self.timing.patience };
        self.actions.push(Action::Connect);
    }

    fn turn_off(&mut self) {
        self.state = State::Off;
        self.queue.clear();
        self.out = None;
        self.refresh_at = None;
        self.rest = self.timing.rest;
        self.actions.push(Action::Disconnect);
    }

    /// The connection is there.
    pub fn connected(&mut self, now: Instant) {
        if matches!(self.state, State::Connecting { .. }) {
            self.state = State::Connected;
            self.begin(now);
        }
    }

    /// There is no connection, or no longer.
    pub fn failed(&mut self, why: &str, now: Instant) {
        if self.is_off() {
            return;
        }
        self.queue.clear();
        self.out = None;
        self.refresh_at = None;
        self.actions.push(Action::Disconnect);
        if self.wanted.is_none() {
            // Nobody is left to tell: the registration expires.
            self.known = None;
            return self.turn_off();
        }
        let rest = self.rest;
        self.actions.push(Action::Say(format!("{why}; next attempt in {} s", rest.as_secs_f32())));
        self.state = State::Resting { until: now + rest };
        self.rest = (rest * 2).min(self.timing.longest_rest);
    }

    /// Tells the server everything.
    fn begin(&mut self, now: Instant) {
        self.queue.clear();
        match &self.wanted {
            Some(wanted) => {
                if self.known.as_ref().is_some_and(|(entity, _)| *entity != wanted.entity) {
                    self.queue.push_back(Request::Deregister);
                }
                self.queue.push_back(Request::Register);
                if wanted.access_control {
                    let names = wanted.targets.iter().map(|target| target.name.clone());
                    self.queue.extend(names.clone().map(Request::Notify));
                    self.queue.extend(names.map(Request::Query));
                }
            }
            None if self.known.is_some() => self.queue.push_back(Request::Deregister),
            None => return self.turn_off(),
        }
        self.queue.truncate(QUEUE_LIMIT);
        self.send_next(now);
    }

    fn send_next(&mut self, now: Instant) {
        if self.out.is_some() {
            return;
        }
        let Some(request) = self.queue.pop_front() else {
            self.refresh_at = Some(now + self.timing.refresh);
            return;
        };
        self.transaction = self.transaction.wrapping_add(1);
        let Some(message) = self.message(&request) else { return self.send_next(now) };
        if let (Request::Register, Some(wanted)) = (&request, &self.wanted) {
            // From now on the server may know it, whether its answer comes or not.
            let source = wanted.targets.first().map_or(String::new(), |target| target.name.clone());
            self.known = Some((wanted.entity.clone(), source));
        }
        self.actions.push(Action::Send(message.encode()));
        self.out = Some((self.transaction, request, now + self.timing.patience));
    }

    fn message(&self, request: &Request) -> Option<Message> {
        let name = |name: &str| Attribute::text(tag::ISCSI_NAME, name);
        let delimiter = || Attribute::empty(tag::DELIMITER);
        let (function, attributes) = match request {
            Request::Register => (function::DEV_ATTR_REG, self.registration(self.wanted.as_ref()?)),
            Request::Deregister => {
                let (entity, source) = self.known.as_ref()?;
                let entity = Attribute::text(tag::ENTITY_IDENTIFIER, entity);
                (function::DEV_DEREG, vec![name(source), delimiter(), entity])
            }
            Request::Notify(target) => {
                let events = Attribute::number(tag::ISCSI_SCN_BITMAP, SCN_EVENTS);
                (function::SCN_REG, vec![name(target), name(target), delimiter(), events])
            }
            Request::Refresh => {
                let (entity, source) = self.known.as_ref()?;
                let entity = Attribute::text(tag::ENTITY_IDENTIFIER, entity);
                let asked = Attribute::empty(tag::ENTITY_IDENTIFIER);
                (function::DEV_ATTR_QRY, vec![name(source), entity, delimiter(), asked])
            }
            Request::Query(target) => {
                let kind = Attribute::number(tag::ISCSI_NODE_TYPE, node_type::INITIATOR);
                let asked = [Attribute::empty(tag::ISCSI_NAME), Attribute::empty(tag::ISCSI_NODE_TYPE)];
                let mut attributes = vec![name(target), kind, delimiter()];
                attributes.extend(asked);
                (function::DEV_ATTR_QRY, attributes)
            }
        };
        let replaces = *request == Request::Register;
        Some(Message { replaces, ..Message::request(function, self.transaction, &attributes) })
    }

    /// Source, message key, then entity, portals and nodes (RFC 4171, 5.6.5.1).
    fn registration(&self, wanted: &Registration) -> Vec<Attribute> {
        let seconds = |time: Duration| u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX);
        let source = wanted.targets.first().map_or("", |target| &target.name);
        let mut attributes = vec![
            Attribute::text(tag::ISCSI_NAME, source),
            Attribute::text(tag::ENTITY_IDENTIFIER, &wanted.entity),
            Attribute::empty(tag::DELIMITER),
            Attribute::text(tag::ENTITY_IDENTIFIER, &wanted.entity),
            Attribute::number(tag::ENTITY_PROTOCOL, PROTOCOL_ISCSI),
            Attribute::number(tag::REGISTRATION_PERIOD, seconds(self.timing.registration_period)),
        ];
        for (index, portal) in wanted.portals.iter().enumerate() {
            attributes.extend(Attribute::portal(*portal));
            if index == 0 {
                let port = u32::from(wanted.inquiry_port);
                attributes.push(Attribute::number(tag::ESI_INTERVAL, seconds(self.timing.inquiry_interval)));
                attributes.push(Attribute::number(tag::ESI_PORT, port));
                attributes.push(Attribute::number(tag::SCN_PORT, port));
            }
        }
        for target in &wanted.targets {
            attributes.push(Attribute::text(tag::ISCSI_NAME, &target.name));
            attributes.push(Attribute::number(tag::ISCSI_NODE_TYPE, node_type::TARGET));
            if !target.alias.is_empty() {
                attributes.push(Attribute::text(tag::ISCSI_ALIAS, &target.alias));
            }
        }
        attributes
    }

    /// The server has sent a message.
    pub fn received(&mut self, message: &Message, now: Instant) {
        let Some((transaction, request, _)) = &self.out else { return };
        if message.transaction != *transaction || message.function & function::RESPONSE == 0 {
            return;
        }
        let request = request.clone();
        self.out = None;
        let Some((status, attributes)) = message.response() else {
            return self.failed("an answer that makes no sense", now);
        };
        // What to answer where nothing matches, 5.7.5.2 leaves open: success without objects, or this.
        let matches_nothing =
            status == NO_SUCH_ENTRY && matches!(request, Request::Query(_) | Request::Refresh);
        if status != 0 && request == Request::Deregister {
            self.actions.push(Action::Say(format!("deregistration refused with status {status}")));
        } else if status != 0 && !matches_nothing {
            return self.failed(&format!("{request:?} refused with status {status}"), now);
        }
        match request {
            Request::Register => {
                self.rest = self.timing.rest;
                let count = self.wanted.as_ref().map_or(0, |wanted| wanted.targets.len());
                self.actions.push(Action::Say(format!("{count} targets registered")));
            }
            Request::Deregister => {
                self.known = None;
                if self.wanted.is_none() {
                    return self.turn_off();
                }
            }
            Request::Query(target) => self.learn(target, &attributes),
            Request::Refresh if objects(&attributes).all(|found| found.tag != tag::ENTITY_IDENTIFIER) => {
                self.actions.push(Action::Say("it has forgotten the registration".to_owned()));
                return self.begin(now);
            }
            Request::Notify(_) | Request::Refresh => {}
        }
        self.send_next(now);
    }

    fn learn(&mut self, target: String, attributes: &[Attribute]) {
        let names = objects(attributes).filter(|attribute| attribute.tag == tag::ISCSI_NAME);
        let names = names.filter_map(|attribute| attribute.as_text()).map(str::to_ascii_lowercase).collect();
        self.actions.push(Action::Initiators { target, names });
    }

    /// The server has notified us of a change.
    pub fn notified(&mut self, now: Instant) {
        if self.state == State::Connected && self.known.is_some() {
            self.ask(now);
        }
    }

    /// Keeps the registration alive, and asks who may log in.
    fn ask(&mut self, now: Instant) {
        if self.queue.is_empty() {
            self.queue.push_back(Request::Refresh);
            let controlled = self.wanted.iter().filter(|wanted| wanted.access_control);
            let names = controlled.flat_map(|wanted| wanted.targets.iter().map(|target| target.name.clone()));
            self.queue.extend(names.map(Request::Query).take(QUEUE_LIMIT));
        }
        self.send_next(now);
    }

    /// The deadline has come, or not: looks at the time.
    pub fn expired(&mut self, now: Instant) {
        match self.state {
            State::Connecting { until } if now >= until => self.failed("no connection", now),
            State::Resting { until } if now >= until => self.connect(now),
            State::Connected => match &self.out {
                Some((_, _, until)) if now >= *until => self.failed("no answer", now),
                None if self.refresh_at.is_some_and(|at| now >= at) => self.ask(now),
                _ => {}
            },
            _ => {}
        }
    }
}

/// What a query has found, behind what was asked (5.7.5.2).
fn objects(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().skip_while(|attribute| attribute.tag != tag::DELIMITER)
}

#[cfg(test)]
mod tests;
