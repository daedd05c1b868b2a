//! The receiving half of a connection: bytes in, actions out, in any fragmentation.
//!
//! ```text
//!  want() -> where the next bytes go      got(n) -> what they meant
//!
//!  Header --> Segments (AHS, digest) --> [Action::Command, accept()] --> Data --> Tail (pad, digest) --+
//!    ^                                                                                                 |
//!    +-------------------------------------------------------------------------------------------------+
//! ```
//! A SCSI command is reported when its header is complete and its turn has come, before its data: the shell
//! answers with [`Receiver::accept`] before it asks for more, so that immediate data lands where it belongs.
//! PDUs that come before their turn (CmdSN) are kept whole and replayed by [`Receiver::replay`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backstore::buffer::Buffer;
use crate::iscsi::error::{ProtocolError, reason};
use crate::iscsi::parameters::Parameters;
use crate::iscsi::send::Outgoing;
use crate::iscsi::session::{Arrival, CommandWindow, LiveTags, TagError};
use crate::iscsi::transfer::{Landing, Transfer};
use crate::scsi::sense::Sense;
use crate::wire::ahs;
use crate::wire::bhs::{self, Bhs, PduOpcode, RESERVED_TAG, padding};
use crate::wire::digest;
use crate::wire::request::{
    DataOut, LoginRequest, LogoutRequest, NopOut, Request, ScsiCommand, TaskManagementRequest, TextRequest,
};

/// Longest data segment before full feature phase (RFC 7143 13.12).
pub const LOGIN_SEGMENT: usize = 8192;
/// Longest data segment of a PDU that is not SCSI data: Text, NOP-Out.
pub const CONTROL_SEGMENT: usize = 64 * 1024;
/// Bytes of PDUs kept because their turn has not come.
pub const HELD_BYTES: usize = 4 << 20;
/// How long a gap in CmdSN may stay.
const GAP_TIMEOUT: Duration = Duration::from_secs(30);
const DISCARD: usize = 16 * 1024;

/// What the shell is to do, in order.
#[derive(Debug)]
pub enum Action<T> {
    /// A Login Request and its text.
    Login(LoginRequest, Vec<u8>),
    /// A SCSI command whose turn has come: admit it, then [`Receiver::accept`].
    Command(ScsiCommand),
    /// The data of a command is here: the first `length` bytes of `buffer`.
    Execute {
        /// The shell's name for it.
        token: T,
        /// Its memory.
        buffer: Buffer,
        /// Bytes received.
        length: usize,
    },
    /// The data phase of a command failed: end it with this sense data.
    Fail {
        /// The shell's name for it.
        token: T,
        /// Why.
        sense: Sense,
    },
    /// A task management function.
    Manage(TaskManagementRequest),
    /// A Text Request and its text.
    Text(TextRequest, Vec<u8>),
    /// A Logout Request.
    Logout(LogoutRequest),
    /// A PDU to send.
    Send(Outgoing),
}

/// What becomes of a command's data.
pub enum Disposition<T> {
    /// Fetch `length` bytes into `buffer`, then [`Action::Execute`].
    Fetch {
        /// The shell's name for the command.
        token: T,
        /// Its memory, at least `length` bytes.
        buffer: Buffer,
        /// Bytes that the command wants.
        length: usize,
    },
    /// It wants none, or is answered already: what comes is discarded.
    Discard,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    Header,
    Segments,
    Data,
    Tail,
}

/// Where the data segment in progress goes.
#[derive(Debug)]
enum Destination {
    /// Discarded.
    Nowhere,
    /// A PDU that is acted on when it is complete.
    Control(Vec<u8>),
    /// Memory of a transfer.
    Transfer { itt: u32, landing: Landing },
    /// A PDU whose turn has not come.
    Early(Vec<u8>),
}

/// A PDU kept until its turn.
#[derive(Debug)]
struct Early {
    request: Request,
    bhs: Bhs,
    data: Vec<u8>,
}

#[derive(Debug)]
struct FullFeature {
    parameters: Parameters,
    window: Arc<CommandWindow>,
    tags: Arc<LiveTags>,
}

/// The receiving half of a connection. `T` is what the shell knows a command by while its data arrives.
#[derive(Debug)]
pub struct Receiver<T> {
    part: Part,
    header: Vec<u8>,
    filled: usize,
    /// Header of the PDU in progress, should it be rejected.
    rejected: [u8; bhs::LENGTH],
    request: Option<Request>,
    destination: Destination,
    /// Bytes of the data segment so far, and in all.
    data_filled: usize,
    data_length: usize,
    crc: u32,
    discard: Vec<u8>,
    full: Option<FullFeature>,
    transfers: HashMap<u32, Transfer<T>>,
    /// The command that [`Receiver::accept`] is awaited for, and whether it was kept.
    awaited: Option<(ScsiCommand, Option<Vec<u8>>)>,
    early: BTreeMap<u32, Early>,
    early_bytes: usize,
    gap_since: Option<Instant>,
    last_ttt: u32,
    last_input: Option<Instant>,
    ping: Option<(u32, Instant)>,
    login_deadline: Instant,
}

impl<T> Receiver<T> {
    /// A connection that has just been accepted; login must be over at `login_deadline`.
    pub fn new(login_deadline: Instant) -> Self {
        Receiver {
            part: Part::Header,
            header: vec![0; bhs::LENGTH + digest::LENGTH],
            filled: 0,
            rejected: [0; bhs::LENGTH],
            request: None,
            destination: Destination::Nowhere,
            data_filled: 0,
            data_length: 0,
            crc: 0,
            discard: Vec::new(),
            full: None,
            transfers: HashMap::new(),
            awaited: None,
            early: BTreeMap::new(),
            early_bytes: 0,
            gap_since: None,
            last_ttt: 0,
            last_input: None,
            ping: None,
            login_deadline,
        }
    }

    /// Login has succeeded: what follows is full feature phase.
    pub fn enter_full_feature(
        &mut self,
        parameters: Parameters,
        window: Arc<CommandWindow>,
        tags: Arc<LiveTags>,
        now: Instant,
    ) {
        self.last_input = Some(now);
        self.full = Some(FullFeature { parameters, window, tags });
    }

    fn header_digest(&self) -> usize {
        let has = self.full.as_ref().is_some_and(|full| full.parameters.header_digest);
        if has { digest::LENGTH } else { 0 }
    }

    fn data_digest(&self) -> bool {
        self.full.as_ref().is_some_and(|full| full.parameters.data_digest)
    }

    fn bhs(&self) -> Bhs {
        let mut bytes = [0; bhs::LENGTH];
        bytes.copy_from_slice(&self.header[..bhs::LENGTH]);
        Bhs(bytes)
    }

    /// Bytes that the header needs in all, once the basic header segment is known.
    fn header_need(&self) -> usize {
        match self.part {
            Part::Header => bhs::LENGTH,
            _ => bhs::LENGTH + self.bhs().ahs_length() + self.header_digest(),
        }
    }

    fn tail_need(&self) -> usize {
        padding(self.data_length) + if self.data_digest() { digest::LENGTH } else { 0 }
    }

    /// Where the next bytes go; never empty. [`Receiver::got`] says how many came.
    pub fn want(&mut self) -> &mut [u8] {
        match self.part {
            Part::Header | Part::Segments => {
                let need = self.header_need();
                if self.header.len() < need {
                    self.header.resize(need, 0);
                }
                &mut self.header[self.filled..need]
            }
            Part::Data => self.want_data(),
            Part::Tail => {
                let need = self.tail_need();
                &mut self.header[self.filled..need]
            }
        }
    }

    fn want_data(&mut self) -> &mut [u8] {
        let (filled, left) = (self.data_filled, self.data_length - self.data_filled);
        let discard = left.min(DISCARD);
        if self.discard.len() < discard && !self.lands_in_memory() {
            self.discard.resize(DISCARD, 0);
        }
        match &mut self.destination {
            Destination::Nowhere => &mut self.discard[..discard],
            Destination::Control(data) | Destination::Early(data) => &mut data[filled..],
            Destination::Transfer { itt, landing } if filled < landing.length => {
                match self.transfers.get_mut(itt) {
                    Some(transfer) => &mut transfer.memory(*landing)[filled..],
                    None => &mut self.discard[..discard],
                }
            }
            Destination::Transfer { .. } => &mut self.discard[..discard],
        }
    }

    fn lands_in_memory(&self) -> bool {
        match &self.destination {
            Destination::Nowhere => false,
            Destination::Control(_) | Destination::Early(_) => true,
            Destination::Transfer { itt, landing } => {
                self.data_filled < landing.length && self.transfers.contains_key(itt)
            }
        }
    }

    /// `count` bytes, at most what [`Receiver::want`] offered, have been written there.
    pub fn got(
        &mut self,
        count: usize,
        now: Instant,
        actions: &mut Vec<Action<T>>,
    ) -> Result<(), ProtocolError> {
        self.last_input = Some(now);
        match self.part {
            Part::Header => {
                self.filled += count;
                if self.filled == bhs::LENGTH {
                    self.part = Part::Segments;
                    if self.filled == self.header_need() {
                        return self.header_complete(now, actions);
                    }
                }
            }
            Part::Segments => {
                self.filled += count;
                if self.filled == self.header_need() {
                    return self.header_complete(now, actions);
                }
            }
            Part::Data => {
                if self.data_digest() {
                    let crc = self.crc;
                    self.crc = digest::append(crc, &self.want_data()[..count]);
                }
                self.data_filled += count;
                if self.data_filled == self.data_length {
                    return self.data_segment_complete(now, actions);
                }
            }
            Part::Tail => {
                self.filled += count;
                if self.filled == self.tail_need() {
                    return self.tail_complete(now, actions);
                }
            }
        }
        Ok(())
    }

    fn header_complete(&mut self, now: Instant, actions: &mut Vec<Action<T>>) -> Result<(), ProtocolError> {
        let end = self.filled - self.header_digest();
        if end != self.filled && digest::digest(&[&self.header[..end]]) != self.header[end..self.filled] {
            return Err(ProtocolError::HeaderDigest);
        }
        let bhs = self.bhs();
        self.rejected = bhs.0;
        self.data_length = bhs.data_length();
        self.check_length(&bhs)?;
        let request = Request::parse(&bhs, &self.header[bhs::LENGTH..end]);
        self.filled = 0;
        self.data_filled = 0;
        self.crc = 0;
        self.destination = Destination::Nowhere;
        match request {
            Ok(request) => self.dispatch(request, bhs, now, actions)?,
            Err(ahs::BadSegments) => {
                self.consume_number(&bhs);
                actions.push(self.reject(reason::INVALID_PDU_FIELD, &bhs));
            }
        }
        if self.awaited.is_none() { self.begin_data(now, actions) } else { Ok(()) }
    }

    /// RFC 7143 13.12; before login nothing longer than the default is taken, nor any additional header.
    fn check_length(&self, bhs: &Bhs) -> Result<(), ProtocolError> {
        let length = self.data_length;
        let Some(full) = &self.full else {
            if bhs.opcode() != PduOpcode::LOGIN_REQUEST {
                return Err(ProtocolError::NotALogin { opcode: bhs.opcode().0 });
            }
            if bhs.ahs_length() > 0 {
                return Err(ProtocolError::AdditionalHeaders);
            }
            return if length > LOGIN_SEGMENT {
                Err(ProtocolError::DataSegmentTooLong { length })
            } else {
                Ok(())
            };
        };
        let limit = full.parameters.max_recv_data_segment_length as usize;
        let carries_scsi_data = matches!(bhs.opcode(), PduOpcode::SCSI_COMMAND | PduOpcode::DATA_OUT);
        let limit = if carries_scsi_data { limit } else { limit.min(CONTROL_SEGMENT) };
        if length > limit { Err(ProtocolError::DataSegmentTooLong { length }) } else { Ok(()) }
    }

    /// Sorts a request by its turn: commands in CmdSN order, immediate ones and Data-Out at once.
    fn dispatch(
        &mut self,
        request: Request,
        bhs: Bhs,
        now: Instant,
        actions: &mut Vec<Action<T>>,
    ) -> Result<(), ProtocolError> {
        let Some(full) = &self.full else {
            self.collect(request);
            return Ok(());
        };
        match &request {
            Request::Login(_) => return Err(ProtocolError::LoginAgain),
            Request::DataOut(pdu) => {
                let pdu = *pdu;
                self.data_out(&pdu, actions);
                self.request = Some(request);
                return Ok(());
            }
            Request::Snack => {
                actions.push(self.reject(reason::SNACK_REJECT, &bhs));
                return Ok(());
            }
            Request::Unknown(_) => {
                actions.push(self.reject(reason::COMMAND_NOT_SUPPORTED, &bhs));
                return Ok(());
            }
            _ => {}
        }
        if bhs.is_immediate() {
            self.deliver(request, bhs, None, actions);
            return Ok(());
        }
        match full.window.judge(bhs.cmd_sn()) {
            Arrival::Now => {
                full.window.accept();
                self.deliver(request, bhs, None, actions);
            }
            Arrival::Early if !self.early.contains_key(&bhs.cmd_sn()) => {
                self.early_bytes += self.data_length + bhs::LENGTH;
                if self.early_bytes > HELD_BYTES {
                    return Err(ProtocolError::CommandGap);
                }
                self.gap_since.get_or_insert(now);
                self.destination = Destination::Early(vec![0; self.data_length]);
                self.request = Some(request);
            }
            Arrival::Early | Arrival::Ignored => {}
        }
        Ok(())
    }

    fn consume_number(&mut self, bhs: &Bhs) {
        let Some(full) = &self.full else { return };
        let numbered = !matches!(bhs.opcode(), PduOpcode::DATA_OUT | PduOpcode::SNACK_REQUEST);
        if numbered && !bhs.is_immediate() && full.window.judge(bhs.cmd_sn()) == Arrival::Now {
            full.window.accept();
            full.window.release();
        }
    }

    /// A request whose turn has come. `data` is its data segment when it was kept.
    fn deliver(&mut self, request: Request, bhs: Bhs, data: Option<Vec<u8>>, actions: &mut Vec<Action<T>>) {
        let Some(full) = &self.full else { return };
        if let Request::ScsiCommand(command) = request {
            let refused = if full.parameters.is_discovery {
                Some(reason::PROTOCOL_ERROR)
            } else if command.initiator_task_tag == RESERVED_TAG {
                Some(reason::INVALID_PDU_FIELD)
            } else {
                match full.tags.take(command.initiator_task_tag, command.is_immediate) {
                    Ok(()) => None,
                    Err(TagError::InUse) => Some(reason::TASK_IN_PROGRESS),
                    Err(TagError::TooManyImmediate) => Some(reason::TOO_MANY_IMMEDIATE_COMMANDS),
                }
            };
            match refused {
                Some(reason) => {
                    if !command.is_immediate {
                        full.window.release();
                    }
                    actions.push(self.reject(reason, &bhs));
                }
                None => {
                    actions.push(Action::Command(command.clone()));
                    self.awaited = Some((command, data));
                }
            }
            return;
        }
        if !bhs.is_immediate() {
            full.window.release();
        }
        match data {
            Some(data) => self.act(request, data, actions),
            None => self.collect(request),
        }
    }

    fn collect(&mut self, request: Request) {
        self.destination = Destination::Control(vec![0; self.data_length]);
        self.request = Some(request);
    }

    /// Answers [`Action::Command`]. To be called before [`Receiver::want`].
    pub fn accept(
        &mut self,
        disposition: Disposition<T>,
        now: Instant,
        actions: &mut Vec<Action<T>>,
    ) -> Result<(), ProtocolError> {
        let Some((command, kept)) = self.awaited.take() else { return Ok(()) };
        let immediate = kept.as_ref().map_or(self.data_length, Vec::len);
        let itt = command.initiator_task_tag;
        if let Disposition::Fetch { token, buffer, length } = disposition {
            let Some(full) = &self.full else { return Ok(()) };
            let expected = command.expected_data_transfer_length as usize;
            let phase = (expected, immediate, command.is_final);
            match Transfer::new(token, command.lun, itt, (buffer, length), phase, &full.parameters) {
                Ok(transfer) => {
                    let landing = transfer.immediate(immediate);
                    self.transfers.insert(itt, transfer);
                    self.land_immediate(itt, landing, kept.as_deref(), actions);
                }
                Err((token, sense)) => actions.push(Action::Fail { token, sense }),
            }
        }
        // A kept PDU has had its data already; the segment in progress, if any, is another's.
        if kept.is_some() { Ok(()) } else { self.begin_data(now, actions) }
    }

    fn land_immediate(
        &mut self,
        itt: u32,
        landing: Landing,
        kept: Option<&[u8]>,
        actions: &mut Vec<Action<T>>,
    ) {
        match kept {
            Some(data) => {
                if let Some(transfer) = self.transfers.get_mut(&itt) {
                    transfer.memory(landing).copy_from_slice(&data[..landing.length]);
                    transfer.landed(landing);
                }
                self.advance(itt, actions);
            }
            None if self.data_length == 0 => self.advance(itt, actions),
            None => self.destination = Destination::Transfer { itt, landing },
        }
    }

    /// The header is dealt with: on to the data segment, or to the next PDU.
    fn begin_data(&mut self, now: Instant, actions: &mut Vec<Action<T>>) -> Result<(), ProtocolError> {
        self.part = Part::Data;
        if self.data_length == 0 { self.tail_complete(now, actions) } else { Ok(()) }
    }

    fn data_segment_complete(
        &mut self,
        now: Instant,
        actions: &mut Vec<Action<T>>,
    ) -> Result<(), ProtocolError> {
        self.part = Part::Tail;
        self.filled = 0;
        if self.tail_need() == 0 { self.tail_complete(now, actions) } else { Ok(()) }
    }

    fn is_data_intact(&self) -> bool {
        if self.data_length == 0 || !self.data_digest() {
            return true;
        }
        let pad = padding(self.data_length);
        let crc = digest::append(self.crc, &self.header[..pad]);
        self.header[pad..pad + digest::LENGTH] == crc.to_le_bytes()
    }

    /// A whole PDU is here.
    fn tail_complete(&mut self, _now: Instant, actions: &mut Vec<Action<T>>) -> Result<(), ProtocolError> {
        let intact = self.is_data_intact();
        // The header buffer was reused for pad and digest: only its size matters from here on.
        self.part = Part::Header;
        self.filled = 0;
        let destination = std::mem::replace(&mut self.destination, Destination::Nowhere);
        let request = self.request.take();
        if !intact {
            self.data_digest_error(destination, actions);
            return Ok(());
        }
        match (destination, request) {
            (Destination::Control(data), Some(request)) => self.act(request, data, actions),
            (Destination::Transfer { itt, landing }, _) => {
                if let Some(transfer) = self.transfers.get_mut(&itt) {
                    transfer.landed(landing);
                }
                self.advance(itt, actions);
            }
            (Destination::Early(data), Some(request)) => self.keep(request, data),
            _ => {}
        }
        Ok(())
    }

    /// RFC 7143 7.8: Reject; a task that was begun ends with CHECK CONDITION.
    fn data_digest_error(&mut self, destination: Destination, actions: &mut Vec<Action<T>>) {
        let header = self.bhs_of_rejected();
        actions.push(Action::Send(Outgoing::Reject { reason: reason::DATA_DIGEST_ERROR, header }));
        match destination {
            Destination::Transfer { itt, .. } => {
                self.fail_transfer(itt, Sense::PROTOCOL_SERVICE_CRC_ERROR, actions);
            }
            Destination::Early(data) => self.early_bytes -= data.len() + bhs::LENGTH,
            _ => {}
        }
    }

    fn bhs_of_rejected(&self) -> Box<[u8]> {
        self.rejected.into()
    }

    fn fail_transfer(&mut self, itt: u32, sense: Sense, actions: &mut Vec<Action<T>>) {
        if let Some(transfer) = self.transfers.remove(&itt) {
            let (token, _, _) = transfer.finish();
            actions.push(Action::Fail { token, sense });
        }
    }

    fn data_out(&mut self, pdu: &DataOut, actions: &mut Vec<Action<T>>) {
        let Some(full) = &self.full else { return };
        let itt = pdu.initiator_task_tag;
        let Some(transfer) = self.transfers.get_mut(&itt) else { return };
        match transfer.data_out(pdu, self.data_length, &full.parameters) {
            Ok(Some(landing)) => {
                if self.data_length == 0 {
                    self.advance(itt, actions);
                } else {
                    self.destination = Destination::Transfer { itt, landing };
                }
            }
            Ok(None) => {}
            Err(sense) => self.fail_transfer(itt, sense, actions),
        }
    }

    /// Asks for more data of a command, or reports it complete.
    fn advance(&mut self, itt: u32, actions: &mut Vec<Action<T>>) {
        let Some(full) = &self.full else { return };
        let Some(transfer) = self.transfers.get_mut(&itt) else { return };
        if transfer.is_complete() {
            if let Some(transfer) = self.transfers.remove(&itt) {
                let (token, buffer, length) = transfer.finish();
                actions.push(Action::Execute { token, buffer, length });
            }
            return;
        }
        loop {
            let ttt = self.last_ttt.wrapping_add(1) & 0x7fff_ffff;
            let Some(r2t) = transfer.next_r2t(ttt, &full.parameters) else { break };
            self.last_ttt = ttt;
            actions.push(Action::Send(Outgoing::ReadyToTransfer(r2t)));
        }
    }

    /// A complete PDU that is not SCSI data.
    fn act(&mut self, request: Request, data: Vec<u8>, actions: &mut Vec<Action<T>>) {
        let is_discovery = self.full.as_ref().is_some_and(|full| full.parameters.is_discovery);
        match request {
            Request::Login(login) => actions.push(Action::Login(login, data)),
            Request::NopOut(nop) => self.nop_out(&nop, data, actions),
            Request::TaskManagement(_) if is_discovery => {
                let header = self.bhs_of_rejected();
                actions.push(Action::Send(Outgoing::Reject { reason: reason::PROTOCOL_ERROR, header }));
            }
            Request::TaskManagement(function) => actions.push(Action::Manage(function)),
            Request::Text(text) => actions.push(Action::Text(text, data)),
            Request::Logout(logout) => actions.push(Action::Logout(logout)),
            Request::ScsiCommand(_) | Request::DataOut(_) | Request::Snack | Request::Unknown(_) => {}
        }
    }

    fn nop_out(&mut self, nop: &NopOut, data: Vec<u8>, actions: &mut Vec<Action<T>>) {
        if nop.target_transfer_tag != RESERVED_TAG {
            self.ping = self.ping.take().filter(|(ttt, _)| *ttt != nop.target_transfer_tag);
        }
        if nop.initiator_task_tag != RESERVED_TAG {
            actions.push(Action::Send(Outgoing::Pong { itt: nop.initiator_task_tag, lun: nop.lun, data }));
        }
    }

    fn keep(&mut self, request: Request, data: Vec<u8>) {
        let bhs = Bhs(self.rejected);
        self.early.insert(bhs.cmd_sn(), Early { request, bhs, data });
    }

    /// Takes up the next kept PDU whose turn has come; `false` when there is none. The shell calls it after
    /// every batch of actions.
    pub fn replay(&mut self, actions: &mut Vec<Action<T>>) -> bool {
        let Some(full) = &self.full else { return false };
        if self.awaited.is_some() {
            return false;
        }
        let Some(early) = self.early.remove(&full.window.exp_cmd_sn()) else { return false };
        full.window.accept();
        self.early_bytes -= early.data.len() + bhs::LENGTH;
        if self.early.is_empty() {
            self.gap_since = None;
        }
        self.rejected = early.bhs.0;
        self.deliver(early.request, early.bhs, Some(early.data), actions);
        true
    }

    fn reject(&self, reason: u8, bhs: &Bhs) -> Action<T> {
        Action::Send(Outgoing::Reject { reason, header: bhs.0.into() })
    }

    /// Header of the PDU that the last actions came from, for a Reject.
    pub fn header(&self) -> Bhs {
        Bhs(self.rejected)
    }

    /// Takes back a command whose data is arriving: it was aborted. Late data is discarded.
    pub fn forget(&mut self, itt: u32) -> Option<T> {
        self.transfers.remove(&itt).map(|transfer| transfer.finish().0)
    }

    /// Takes back every command whose data is arriving.
    pub fn forget_all(&mut self) -> Vec<T> {
        self.transfers.drain().map(|(_, transfer)| transfer.finish().0).collect()
    }

    /// Number of commands whose data is arriving.
    pub fn transfers(&self) -> usize {
        self.transfers.len()
    }

    /// When [`Receiver::expired`] wants to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        let Some(full) = &self.full else { return Some(self.login_deadline) };
        let gap = self.gap_since.map(|since| since + GAP_TIMEOUT);
        let interval = Duration::from_secs(u64::from(full.parameters.nop_in_interval));
        let timeout = Duration::from_secs(u64::from(full.parameters.nop_in_timeout));
        let nop = match (self.ping, self.last_input) {
            (Some((_, since)), _) => Some(since + timeout),
            (None, Some(last)) if !interval.is_zero() => Some(last + interval),
            _ => None,
        };
        match (gap, nop) {
            (Some(gap), Some(nop)) => Some(gap.min(nop)),
            (gap, nop) => gap.or(nop),
        }
    }

    /// Looks at the deadlines: asks a silent initiator, gives up one that does not answer.
    pub fn expired(&mut self, now: Instant, actions: &mut Vec<Action<T>>) -> Result<(), ProtocolError> {
        let Some(full) = &self.full else {
            return if now >= self.login_deadline { Err(ProtocolError::LoginTimeout) } else { Ok(()) };
        };
        if self.gap_since.is_some_and(|since| now >= since + GAP_TIMEOUT) {
            return Err(ProtocolError::CommandGap);
        }
        let interval = Duration::from_secs(u64::from(full.parameters.nop_in_interval));
        let timeout = Duration::from_secs(u64::from(full.parameters.nop_in_timeout));
        match (self.ping, self.last_input) {
            (Some((_, since)), _) if now >= since + timeout => return Err(ProtocolError::NopInTimeout),
            (None, Some(last)) if !interval.is_zero() && now >= last + interval => {
                self.last_ttt = self.last_ttt.wrapping_add(1) & 0x7fff_ffff;
                self.ping = Some((self.last_ttt, now));
                actions.push(Action::Send(Outgoing::Ping { ttt: self.last_ttt }));
            }
            _ => {}
        }
        Ok(())
    }

    /// Changes the NOP-In timers of a connection in full feature phase, in seconds.
    pub fn set_nop_in(&mut self, interval: u32, timeout: u32) {
        if let Some(full) = &mut self.full {
            full.parameters.nop_in_interval = interval;
            full.parameters.nop_in_timeout = timeout;
        }
    }
}
