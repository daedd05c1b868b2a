//! Text exchanges of the full feature phase, of which SendTargets is the one that matters (RFC 7143 11.10,
//! 11.11, 13.3, appendix C).
//!
//! [`TextExchange`] is a machine without I/O: one Text Request in, one Text Response or one Reject out. A
//! connection has at most one exchange open; a request with the reserved Target Transfer Tag begins a new
//! one and forgets the old.

use std::net::{IpAddr, SocketAddr};

use crate::iscsi::directory::{Directory, Query, Wanted};
use crate::iscsi::error::reason;
use crate::iscsi::key::{Key, KeyId, Use};
use crate::limits::{MAX_ANSWER_TEXT, MAX_REQUEST_TEXT, MAX_TEXT_KEYS, MAX_TEXT_REQUESTS, MAX_TEXT_SEGMENT};
use crate::names::IscsiName;
use crate::wire::bhs::RESERVED_TAG;
use crate::wire::request::TextRequest;
use crate::wire::response::TextResponse;
use crate::wire::text::{self, Collector, Outgoing, TextError};

/// A Text Response and its data segment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct TextAnswer {
    /// The header, but for the sequence numbers.
    pub response: TextResponse,
    /// Data segment.
    pub text: Vec<u8>,
    /// The initiator has declared a new MaxRecvDataSegmentLength, in force behind this response.
    pub segment_length: Option<u32>,
}

/// Why a Text Request is answered with a Reject PDU. The exchange is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextReject {
    /// A Target Transfer Tag that is not of the open exchange, or another Initiator Task Tag.
    UnknownExchange,
    /// F and C together.
    FinalAndContinue,
    /// Text while the rest of our answer was due.
    AnswerInterrupted,
    /// Not pairs, or too much text.
    Text(TextError),
    /// More than [`MAX_TEXT_REQUESTS`].
    TooManyRequests,
    /// A key twice.
    DuplicateKey,
    /// More than [`MAX_TEXT_KEYS`].
    TooManyKeys,
    /// No key that can be used in this phase.
    NothingUnderstood,
    /// SendTargets with a value that is neither `All` nor empty nor a name.
    SendTargets,
    /// The answer would be longer than [`MAX_ANSWER_TEXT`].
    AnswerTooLong,
}

impl TextReject {
    /// The reason code of the Reject PDU (RFC 7143 11.17.1).
    pub fn reason(self) -> u8 {
        match self {
            TextReject::UnknownExchange => reason::INVALID_PDU_FIELD,
            TextReject::AnswerTooLong => reason::LONG_OPERATION_REJECT,
            _ => reason::PROTOCOL_ERROR,
        }
    }
}

/// What an exchange must know of its session.
#[derive(Clone, Copy, Debug)]
pub struct TextSession<'a> {
    /// Who asks, and over which connection.
    pub query: Query<'a>,
    /// The target of a normal session; `None` in a discovery session.
    pub target: Option<&'a str>,
    /// The initiator's MaxRecvDataSegmentLength.
    pub segment_length: u32,
}

/// The text exchanges of one connection.
#[derive(Debug, Default)]
pub struct TextExchange {
    last_tag: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    itt: u32,
    ttt: u32,
    requests: u32,
    text_left: usize,
    collector: Collector,
    outgoing: Outgoing,
}

/// The answer to a complete text.
#[derive(Default)]
struct Reply {
    text: Vec<u8>,
    segment_length: Option<u32>,
}

impl TextExchange {
    /// No exchange open.
    pub fn new() -> Self {
        TextExchange::default()
    }

    /// Whether the initiator has an exchange under way.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a Text Request. A Reject ends the exchange, never the session.
    pub fn request(
        &mut self,
        request: &TextRequest,
        text: &[u8],
        session: &TextSession<'_>,
        directory: &dyn Directory,
    ) -> Result<TextAnswer, TextReject> {
        let mut open = self.select(request)?;
        let (answer, is_over) = open.advance(request, text, session, directory)?;
        if !is_over {
            self.open = Some(open);
        }
        Ok(answer)
    }

    /// The exchange that a request belongs to, taken out of `self`: an error leaves none open.
    fn select(&mut self, request: &TextRequest) -> Result<Open, TextReject> {
        let open = self.open.take();
        if request.target_transfer_tag == RESERVED_TAG {
            return Ok(Open::new(request.initiator_task_tag, self.next_tag()));
        }
        open.filter(|open| (open.ttt, open.itt) == (request.target_transfer_tag, request.initiator_task_tag))
            .ok_or(TextReject::UnknownExchange)
    }

    fn next_tag(&mut self) -> u32 {
        self.last_tag = self.last_tag.wrapping_add(1);
        if self.last_tag == RESERVED_TAG {
            self.last_tag = 0;
        }
        self.last_tag
    }
}

impl Open {
    fn new(itt: u32, ttt: u32) -> Self {
        Open {
            itt,
            ttt,
            requests: 0,
            text_left: MAX_REQUEST_TEXT,
            collector: Collector::new(MAX_REQUEST_TEXT),
            outgoing: Outgoing::default(),
        }
    }

    /// The answer, and whether it ends the exchange.
    fn advance(
        &mut self,
        request: &TextRequest,
        text: &[u8],
        session: &TextSession<'_>,
        directory: &dyn Directory,
    ) -> Result<(TextAnswer, bool), TextReject> {
        if request.is_final && request.continues {
            return Err(TextReject::FinalAndContinue);
        }
        let mut segment_length = None;
        if self.outgoing.is_empty() {
            self.count(text.len())?;
            let complete = self.collector.push(text, request.continues).map_err(TextReject::Text)?;
            if let Some(text) = complete {
                let reply = reply(&text, session, directory)?;
                self.outgoing = Outgoing::new(reply.text);
                segment_length = reply.segment_length;
            }
        } else if request.continues || !text.is_empty() {
            return Err(TextReject::AnswerInterrupted);
        }
        let most = usize::try_from(session.segment_length).unwrap_or(MAX_TEXT_SEGMENT).min(MAX_TEXT_SEGMENT);
        let (text, continues) = self.outgoing.next_segment(most);
        let is_final = request.is_final && !continues;
        let ttt = if is_final { RESERVED_TAG } else { self.ttt };
        let response = TextResponse { itt: self.itt, ttt, lun: request.lun, is_final, continues };
        let answer = TextAnswer { response, text, segment_length };
        Ok((answer, is_final))
    }

    fn count(&mut self, length: usize) -> Result<(), TextReject> {
        self.requests += 1;
        if self.requests > MAX_TEXT_REQUESTS {
            return Err(TextReject::TooManyRequests);
        }
        let left = self.text_left.checked_sub(length);
        self.text_left = left.ok_or(TextReject::Text(TextError::TooLong))?;
        Ok(())
    }
}

/// Answers a complete text. A text in which no key has a use here is rejected as a whole: initiators take
/// that for a failure of the request, but `NotUnderstood` for a failure of the session.
fn reply(text: &[u8], session: &TextSession<'_>, directory: &dyn Directory) -> Result<Reply, TextReject> {
    let mut reply = Reply::default();
    let mut seen: Vec<&str> = Vec::new();
    let mut understood = false;
    for pair in text::pairs(text) {
        let pair = pair.map_err(TextReject::Text)?;
        if seen.contains(&pair.key) {
            return Err(TextReject::DuplicateKey);
        }
        if seen.len() >= MAX_TEXT_KEYS {
            return Err(TextReject::TooManyKeys);
        }
        seen.push(pair.key);
        understood |= match Key::find(pair.key) {
            Some(key) => reply.known(key, pair.value, session, directory)?,
            None => {
                text::push_pair(&mut reply.text, pair.key, "NotUnderstood");
                pair.key.starts_with("X-") || pair.key.starts_with("X#")
            }
        };
    }
    if understood || seen.is_empty() { Ok(reply) } else { Err(TextReject::NothingUnderstood) }
}

impl Reply {
    /// Answers a key of the table; whether it has a use in this phase.
    fn known(
        &mut self,
        key: &Key,
        value: &str,
        session: &TextSession<'_>,
        directory: &dyn Directory,
    ) -> Result<bool, TextReject> {
        match key.id {
            KeyId::SendTargets => self.send_targets(value, session, directory)?,
            KeyId::InitiatorAlias => {}
            KeyId::MaxRecvDataSegmentLength => match key.parse(value) {
                Ok(length) => self.segment_length = Some(length),
                Err(_) => text::push_pair(&mut self.text, key.name, "Reject"),
            },
            _ => {
                text::push_pair(&mut self.text, key.name, "Reject");
                return Ok(key.used == Use::All);
            }
        }
        Ok(true)
    }

    fn send_targets(
        &mut self,
        value: &str,
        session: &TextSession<'_>,
        directory: &dyn Directory,
    ) -> Result<(), TextReject> {
        let wanted = match (value, session.target) {
            ("All", None) => Wanted::All,
            ("All", Some(_)) => return Err(TextReject::SendTargets),
            ("", Some(target)) => Wanted::Named(target),
            ("", None) => return Err(TextReject::SendTargets),
            _ if value.len() > text::MAX_VALUE => return Err(TextReject::SendTargets),
            (name, _) => Wanted::Named(name),
        };
        let records = directory.send_targets(wanted, &session.query);
        // Targets may have names of any form, so only a name that is unknown must look like one.
        let is_word = records.is_empty() && wanted == Wanted::Named(value);
        if is_word && IscsiName::parse(value.as_bytes()).is_err() {
            return Err(TextReject::SendTargets);
        }
        for record in &records {
            text::push_pair(&mut self.text, "TargetName", &record.name);
            for (address, tag) in &record.addresses {
                text::push_pair(&mut self.text, "TargetAddress", &format!("{},{tag}", written(*address)));
            }
            if self.text.len() > MAX_ANSWER_TEXT {
                return Err(TextReject::AnswerTooLong);
            }
        }
        Ok(())
    }
}

/// An address as TargetAddress writes it: IPv6 in brackets without scope, IPv4 never as mapped IPv6.
pub fn written(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => format!("{ip}:{}", address.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", address.port()),
    }
}

/// The addresses to announce on a connection that arrived at `connected`: that one first, then the others
/// of its family in `listening` (wildcard listeners already expanded to interface addresses). Loopback and
/// unspecified addresses are left out, and IPv6 link-local ones unless `with_link_local`.
pub fn announced(connected: SocketAddr, listening: &[SocketAddr], with_link_local: bool) -> Vec<SocketAddr> {
    let canonical = |address: &SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let mut addresses = vec![canonical(&connected)];
    for address in listening.iter().map(canonical) {
        let is_link_local = match address.ip() {
            IpAddr::V4(_) => false,
            IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
        };
        let is_useful = !address.ip().is_loopback()
            && !address.ip().is_unspecified()
            && address.is_ipv4() == addresses[0].is_ipv4()
            && (with_link_local || !is_link_local);
        if is_useful && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests;
