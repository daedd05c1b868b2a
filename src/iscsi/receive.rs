//! The receiving half of a connection: bytes in, actions out, in any fragmentation.
//!
//! ```text
//!  want() -> where the next bytes go      got(n) -> what they meant
//!
//!  header --> its turn? --yes--> SCSI command: [command(), accept()] --> data --> whole: Execute, R2T
//!                |               Data-Out: into the memory of its command  --> data --> whole: Execute, R2T
//!                |               other: kept                               --> data --> whole: its action
//!                no --> kept until replay()
//! ```
//! A SCSI command is there ([`Receiver::command`]) with its header, when its turn has come: the shell answers
//! with [`Receiver::accept`] before it asks for more, so that immediate data lands where it belongs. One that
//! is nothing but a header is taken at once ([`Receiver::plain_command`]), and so is one that is all in the
//! shell's receive buffer with its data ([`Receiver::whole_command`]).
//! PDUs that come before their turn (CmdSN) are kept whole and taken up by [`Receiver::replay`].
//!
//! Invariant: the actions do not depend on how the bytes that [`Receiver::got`] is given were cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backstore::buffer::Buffer;
use crate::iscsi::action::{Action, Disposition};
use crate::iscsi::arrival::Arrivals;
use crate::iscsi::error::{ProtocolError, reason};
use crate::iscsi::frame::{Frame, Progress};
use crate::iscsi::manage;
use crate::iscsi::parameters::Parameters;
use crate::iscsi::queue::Digests;
use crate::iscsi::send::Outgoing;
use crate::iscsi::session::{Arrival, CommandWindow};
use crate::iscsi::silence::Silence;
use crate::iscsi::tags::{LiveTags, Stamp, TagError};
use crate::iscsi::transfer::{Landing, Transfer};
use crate::iscsi::turn::{Early, Turns};
use crate::limits::{DISCARD_BYTES, MAX_CONTROL_SEGMENT, MAX_LOGIN_SEGMENT};
use crate::scsi::sense::Sense;
use crate::wire::ahs;
use crate::wire::bhs::{Bhs, PduOpcode, RESERVED_TAG};
use crate::wire::request::{DataOut, NopOut, Request, ScsiCommand, TaskManagementRequest};

/// What becomes of the PDU in progress when it is whole, and so where its data goes.
#[derive(Debug)]
enum Pending {
    /// Nothing: its data is discarded.
    Discard,
    /// It is acted on, with the first bytes of its data.
    Act { request: Request, data: Vec<u8> },
    /// It is kept until its turn.
    Keep { request: Request, data: Vec<u8> },
    /// Its data belongs to a command.
    Land { itt: u32, landing: Landing },
}

/// A SCSI command that [`Receiver::accept`] is awaited for.
#[derive(Debug)]
struct Awaited {
    command: ScsiCommand,
    /// Its immediate data, when it was kept until its turn.
    kept: Option<Vec<u8>>,
}

#[derive(Debug)]
struct FullFeature {
    parameters: Parameters,
    window: Arc<CommandWindow>,
    tags: Arc<LiveTags>,
    /// Now, for them.
    stamp: Stamp,
    silence: Silence,
    /// How long the data of a command may stop.
    response_timeout: Duration,
}

/// The receiving half of a connection. `T` is what the shell knows a command by while its data arrives.
#[derive(Debug)]
pub struct Receiver<T> {
    now: Instant,
    frame: Frame,
    /// Header of the PDU that is being dealt with, should it be rejected.
    current: Bhs,
    pending: Pending,
    sink: Vec<u8>,
    /// `None` until login has succeeded.
    full: Option<FullFeature>,
    login_deadline: Instant,
    awaited: Option<Awaited>,
    arrivals: Arrivals<T>,
    turns: Turns,
    /// PDUs received so far; wraps around.
    pdus: u32,
    /// ExpStatSN of the last header.
    exp_stat_sn: u32,
}

impl<T> Receiver<T> {
    /// A connection that has just been accepted; login must be over at `login_deadline`.
    pub fn new(login_deadline: Instant) -> Self {
        let frame = Frame::new();
        Receiver {
            now: login_deadline,
            current: frame.bhs(),
            frame,
            pending: Pending::Discard,
            sink: Vec::new(),
            full: None,
            login_deadline,
            awaited: None,
            arrivals: Arrivals::default(),
            turns: Turns::default(),
            pdus: 0,
            exp_stat_sn: 0,
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
        let Parameters { header_digest, data_digest, nop_in_interval, nop_in_timeout, .. } = parameters;
        self.frame.set_digests(Digests { header: header_digest, data: data_digest });
        let silence = Silence::new(nop_in_interval, nop_in_timeout, now);
        let response_timeout = Duration::from_secs(u64::from(parameters.response_timeout));
        let stamp = tags.stamp(now);
        self.full = Some(FullFeature { parameters, window, tags, stamp, silence, response_timeout });
    }

    /// Where the next bytes go; never empty. [`Receiver::got`] says how many came.
    pub fn want(&mut self) -> &mut [u8] {
        match self.frame.data_filled() {
            Some(filled) => {
                let left = self.frame.data_length() - filled;
                place(&mut self.pending, &mut self.arrivals, &mut self.sink, filled, left)
            }
            None => self.frame.want(),
        }
    }

    /// `count` bytes, at most what [`Receiver::want`] offered, have been written there.
    pub fn got(
        &mut self,
        count: usize,
        now: Instant,
        actions: &mut Vec<Action<T>>,
    ) -> Result<(), ProtocolError> {
        self.now = now;
        if let Some(full) = &mut self.full {
            if full.silence.input(now) {
                full.stamp = full.tags.stamp(now);
            }
        }
        if let Some(filled) = self.frame.data_filled() {
            let left = self.frame.data_length() - filled;
            let data = place(&mut self.pending, &mut self.arrivals, &mut self.sink, filled, left);
            self.frame.cover(&data[..count]);
        }
        match self.frame.got(count)? {
            Progress::Partial => {}
            Progress::Header => self.header_complete(actions)?,
            Progress::Whole { is_intact } => self.whole(is_intact, actions),
        }
        Ok(())
    }

    fn header_complete(&mut self, actions: &mut Vec<Action<T>>) -> Result<(), ProtocolError> {
        self.current = self.frame.bhs();
        self.exp_stat_sn = self.current.exp_stat_sn();
        self.check_length()?;
        match Request::parse(&self.current, self.frame.segments()) {
            Ok(Request::ScsiCommand(command)) if self.full.is_some() => {
                self.sort_command(command, actions)?
            }
            Ok(request) => self.sort(request, actions)?,
            Err(ahs::BadSegments) => {
                self.skip_number(actions);
                self.reject(reason::INVALID_PDU_FIELD, actions);
            }
        }
        if self.awaited.is_none() {
            self.begin_data(actions);
        }
        Ok(())
    }

    /// RFC 7143 13.12; before login nothing longer than the default is taken, nor any additional header.
    fn check_length(&self) -> Result<(), ProtocolError> {
        let limit = match &self.full {
            Some(full) => full.parameters.max_recv_data_segment_length as usize,
            None if self.current.opcode() != PduOpcode::LOGIN_REQUEST => {
                return Err(ProtocolError::NotALogin { opcode: self.current.opcode().0 });
            }
            None if self.current.ahs_length() > 0 => return Err(ProtocolError::AdditionalHeaders),
            None => MAX_LOGIN_SEGMENT,
        };
        let length = self.frame.data_length();
        if length > limit { Err(ProtocolError::DataSegmentTooLong { length }) } else { Ok(()) }
    }

    /// Sorts a request by its turn: commands in CmdSN order, immediate ones and Data-Out at once.
    fn sort(&mut self, request: Request, actions: &mut Vec<Action<T>>) -> Result<(), ProtocolError> {
        let Some(full) = &self.full else {
            self.collect(request);
            return Ok(());
        };
        match &request {
            Request::Login(_) => return Err(ProtocolError::LoginAgain),
            Request::DataOut(pdu) => self.data_out(pdu, actions),
            Request::Snack => self.reject(reason::SNACK_REJECT, actions),
            Request::Unknown(_) => self.reject(reason::COMMAND_NOT_SUPPORTED, actions),
            _ if self.current.is_immediate() => self.deliver(request, None, actions),
            _ => match full.window.judge(self.current.cmd_sn()) {
                Arrival::Now => {
                    self.take_number(actions);
                    self.deliver(request, None, actions);
                }
                Arrival::Early => return self.keep(request),
                Arrival::Ignored => {}
            },
        }
        Ok(())
    }

    /// As [`Receiver::sort`], for what comes most.
    #[inline]
    fn sort_command(
        &mut self,
        command: ScsiCommand,
        actions: &mut Vec<Action<T>>,
    ) -> Result<(), ProtocolError> {
        if !command.is_immediate {
            let Some(full) = &self.full else { return Ok(()) };
            match full.window.judge(command.cmd_sn) {
                Arrival::Now => self.take_number(actions),
                Arrival::Early => return self.keep(Request::ScsiCommand(command)),
                Arrival::Ignored => return Ok(()),
            }
        }
        self.await_command(command, None, actions);
        Ok(())
    }

    /// The expected CmdSN has come.
    fn take_number(&self, actions: &mut Vec<Action<T>>) {
        let Some(full) = &self.full else { return };
        full.window.accept();
        if full.window.owes_update() {
            actions.push(Action::Send(Outgoing::WindowUpdate));
        }
    }

    /// A numbered command that is rejected for its form still takes its number (RFC 7143 7.3).
    fn skip_number(&mut self, actions: &mut Vec<Action<T>>) {
        let Some(full) = &self.full else { return };
        let cmd_sn = self.current.cmd_sn();
        if self.current.is_immediate() {
            return;
        }
        match full.window.judge(cmd_sn) {
            Arrival::Now => {
                self.take_number(actions);
                full.window.release();
            }
            Arrival::Early => self.turns.keep(cmd_sn, Early::Void, self.now),
            Arrival::Ignored => {}
        }
    }

    fn keep(&mut self, request: Request) -> Result<(), ProtocolError> {
        let length = self.frame.data_length();
        if self.turns.contains(self.current.cmd_sn()) {
            return Ok(());
        }
        if !self.turns.has_room(length) {
            return Err(ProtocolError::CommandGap);
        }
        self.pending = Pending::Keep { request, data: vec![0; length] };
        Ok(())
    }

    /// A request whose turn has come. `kept` is its data segment when it was kept.
    fn deliver(&mut self, request: Request, kept: Option<Vec<u8>>, actions: &mut Vec<Action<T>>) {
        let Some(full) = &self.full else { return };
        if let Request::ScsiCommand(command) = request {
            return self.await_command(command, kept, actions);
        }
        if !self.current.is_immediate() {
            full.window.release();
        }
        match kept {
            Some(data) => self.act(request, data, actions),
            None => self.collect(request),
        }
    }

    #[inline]
    fn await_command(&mut self, command: ScsiCommand, kept: Option<Vec<u8>>, actions: &mut Vec<Action<T>>) {
        let Some(full) = &self.full else { return };
        let itt = command.initiator_task_tag;
        let refused = if full.parameters.is_discovery {
            Some(reason::PROTOCOL_ERROR)
        } else if itt == RESERVED_TAG {
            Some(reason::INVALID_PDU_FIELD)
        } else {
            match full.tags.take(itt, command.is_immediate, full.stamp) {
                Ok(()) => None,
                Err(TagError::InUse) => Some(reason::TASK_IN_PROGRESS),
                Err(TagError::TooManyImmediate) => Some(reason::TOO_MANY_IMMEDIATE_COMMANDS),
            }
        };
        if let Some(reason) = refused {
            if !command.is_immediate {
                full.window.release();
            }
            return self.reject(reason, actions);
        }
        self.awaited = Some(Awaited { command, kept });
    }

    /// A SCSI command whose turn has come: admit it, then [`Receiver::accept`]. Nothing else may be done
    /// before but the actions that are out.
    #[inline]
    pub fn command(&self) -> Option<&ScsiCommand> {
        self.awaited.as_ref().map(|awaited| &awaited.command)
    }

    /// A request that is acted on when it is whole: as much of its data is kept as can matter.
    fn collect(&mut self, request: Request) {
        let most = match (&request, &self.full) {
            (Request::Login(_), _) => MAX_LOGIN_SEGMENT,
            (Request::Text(_), _) => MAX_CONTROL_SEGMENT,
            (Request::NopOut(nop), Some(full)) if nop.initiator_task_tag != RESERVED_TAG => {
                full.parameters.max_send_data_segment_length as usize
            }
            _ => 0,
        };
        let data = vec![0; self.frame.data_length().min(most)];
        self.pending = Pending::Act { request, data };
    }

    /// Says what becomes of the data of [`Receiver::command`]. To be called before [`Receiver::want`].
    pub fn accept(&mut self, disposition: Disposition<T>, actions: &mut Vec<Action<T>>) {
        let Some(awaited) = self.awaited.take() else { return };
        // A kept PDU has had its data already; the frame is between PDUs then.
        let is_kept = awaited.kept.is_some();
        if let Disposition::Fetch { token, buffer, length } = disposition {
            self.fetch(awaited, token, (buffer, length), actions);
        }
        if !is_kept {
            self.begin_data(actions);
        }
    }

    fn fetch(&mut self, awaited: Awaited, token: T, memory: (Buffer, usize), actions: &mut Vec<Action<T>>) {
        let Some(full) = &self.full else { return };
        let Awaited { command, kept } = awaited;
        let ScsiCommand { lun, initiator_task_tag: itt, is_final, .. } = command;
        let expected = command.expected_data_transfer_length as usize;
        if kept.is_some() && !is_final {
            // Unsolicited data cannot have come in order either; it was discarded.
            return actions.push(Action::Fail { token, sense: Sense::PROTOCOL_SERVICE_CRC_ERROR });
        }
        let immediate = kept.as_ref().map_or(self.frame.data_length(), Vec::len);
        let announced = (expected, immediate, is_final);
        let mut transfer = match Transfer::new(token, lun, itt, memory, announced, &full.parameters) {
            Ok(transfer) => transfer,
            Err((token, sense)) => return actions.push(Action::Fail { token, sense }),
        };
        let landing = transfer.immediate(immediate);
        if let Some(data) = &kept {
            transfer.memory(landing).copy_from_slice(&data[..landing.length]);
            transfer.landed(landing);
        }
        self.arrivals.insert(itt, transfer, full.response_timeout, self.now);
        if kept.is_none() && immediate > 0 {
            self.pending = Pending::Land { itt, landing };
        } else {
            self.advance(itt, actions);
        }
    }

    /// The header is dealt with: on to the data segment, or to the next PDU.
    fn begin_data(&mut self, actions: &mut Vec<Action<T>>) {
        if let Progress::Whole { is_intact } = self.frame.begin_data() {
            self.whole(is_intact, actions);
        }
    }

    /// A whole PDU is here.
    fn whole(&mut self, is_intact: bool, actions: &mut Vec<Action<T>>) {
        self.pdus = self.pdus.wrapping_add(1);
        let pending = std::mem::replace(&mut self.pending, Pending::Discard);
        if !is_intact {
            return self.damaged(pending, actions);
        }
        match pending {
            Pending::Act { request, data } => self.act(request, data, actions),
            Pending::Keep { request, data } => {
                let early = Early::Pdu { request, bhs: self.current, data };
                self.turns.keep(self.current.cmd_sn(), early, self.now);
            }
            Pending::Land { itt, landing } => {
                self.arrivals.landed(itt, landing, self.now);
                self.advance(itt, actions);
            }
            Pending::Discard => {}
        }
    }

    /// The data digest is wrong (RFC 7143 7.8): Reject; a task that was begun ends with CHECK CONDITION.
    fn damaged(&mut self, pending: Pending, actions: &mut Vec<Action<T>>) {
        self.reject(reason::DATA_DIGEST_ERROR, actions);
        match pending {
            Pending::Land { itt, .. } => self.fail(itt, Sense::PROTOCOL_SERVICE_CRC_ERROR, actions),
            Pending::Keep { .. } => self.turns.keep(self.current.cmd_sn(), Early::Void, self.now),
            _ => {}
        }
    }

    fn fail(&mut self, itt: u32, sense: Sense, actions: &mut Vec<Action<T>>) {
        if let Some(token) = self.forget(itt) {
            actions.push(Action::Fail { token, sense });
        }
    }

    /// Late data of a command that is over, and data of none, is discarded.
    fn data_out(&mut self, pdu: &DataOut, actions: &mut Vec<Action<T>>) {
        let itt = pdu.initiator_task_tag;
        match self.arrivals.data_out(pdu, self.frame.data_length()) {
            Ok(Some(landing)) => self.pending = Pending::Land { itt, landing },
            Ok(None) => {}
            Err(sense) => self.fail(itt, sense, actions),
        }
    }

    /// Asks for more data of a command, or reports it complete.
    fn advance(&mut self, itt: u32, actions: &mut Vec<Action<T>>) {
        let Some(full) = &self.full else { return };
        while let Some(r2t) = self.arrivals.next_r2t(itt, &full.parameters) {
            actions.push(Action::Send(Outgoing::ReadyToTransfer(r2t)));
        }
        if let Some((token, buffer, length)) = self.arrivals.take_complete(itt) {
            actions.push(Action::Execute { token, buffer, length });
        }
    }

    /// A whole PDU that is not SCSI data.
    fn act(&mut self, request: Request, data: Vec<u8>, actions: &mut Vec<Action<T>>) {
        match request {
            Request::Login(login) => actions.push(Action::Login(login, data)),
            Request::NopOut(nop) => self.nop_out(&nop, data, actions),
            Request::TaskManagement(function) => self.manage(function, actions),
            Request::Text(text) => actions.push(Action::Text(text, data)),
            Request::Logout(logout) => actions.push(Action::Logout(logout)),
            Request::ScsiCommand(_) | Request::DataOut(_) | Request::Snack | Request::Unknown(_) => {}
        }
    }

    fn nop_out(&mut self, nop: &NopOut, data: Vec<u8>, actions: &mut Vec<Action<T>>) {
        if let Some(full) = &mut self.full {
            full.silence.answered(nop.target_transfer_tag);
        }
        if nop.initiator_task_tag != RESERVED_TAG {
            actions.push(Action::Send(Outgoing::Pong { itt: nop.initiator_task_tag, data }));
        }
    }

    fn manage(&mut self, function: TaskManagementRequest, actions: &mut Vec<Action<T>>) {
        let Some(full) = &self.full else { return };
        if full.parameters.is_discovery {
            return self.reject(reason::PROTOCOL_ERROR, actions);
        }
        if manage::must_wait(&function, &full.window) {
            if let Err(function) = self.turns.defer(function, self.now) {
                actions.push(Action::Manage(function));
            }
        } else if manage::aborts_unseen(&function, &full.window, &full.tags, &mut self.turns, self.now) {
            let (itt, response) = (function.initiator_task_tag, manage::response::FUNCTION_COMPLETE);
            actions.push(Action::Send(Outgoing::TaskManagement { itt, response }));
        } else {
            actions.push(Action::Manage(function));
        }
    }

    /// Takes up the next kept PDU whose turn has come; `false` when there is none. The shell calls it after
    /// every batch of actions.
    pub fn replay(&mut self, actions: &mut Vec<Action<T>>) -> bool {
        let Some(full) = &self.full else { return false };
        // In the middle of a PDU its command could be aborted and its tag used again.
        if self.awaited.is_some() || !self.frame.is_between() {
            return false;
        }
        let exp_cmd_sn = full.window.exp_cmd_sn();
        if let Some(function) = self.turns.take_function(exp_cmd_sn) {
            actions.push(Action::Manage(function));
            return true;
        }
        match self.turns.take(exp_cmd_sn) {
            None => return false,
            Some(Early::Void) => {
                full.window.release_unanswered();
                self.take_number(actions);
            }
            Some(Early::Pdu { request, bhs, data }) => {
                self.take_number(actions);
                self.current = bhs;
                self.deliver(request, Some(data), actions);
            }
        }
        true
    }

    fn reject(&self, reason: u8, actions: &mut Vec<Action<T>>) {
        actions.push(Action::Send(Outgoing::Reject { reason, header: self.current.0.into() }));
    }

    /// Header of the PDU that the last actions came from, for a Reject.
    pub fn header(&self) -> Bhs {
        self.current
    }

    /// PDUs received so far; wraps around.
    pub fn pdus(&self) -> u32 {
        self.pdus
    }

    /// ExpStatSN of the last header: the initiator has what came before it.
    pub fn exp_stat_sn(&self) -> u32 {
        self.exp_stat_sn
    }

    /// Commands whose data is arriving.
    pub fn arriving(&self) -> usize {
        self.arrivals.len()
    }

    /// Takes back a command whose data is arriving: it was aborted. Late data is discarded.
    pub fn forget(&mut self, itt: u32) -> Option<T> {
        self.arrivals.forget(itt)
    }

    /// Takes back the commands whose data is arriving and that `is_over` names.
    pub fn forget_if(&mut self, is_over: impl FnMut(&T) -> bool) -> Vec<T> {
        self.arrivals.forget_if(is_over)
    }

    /// Takes back every command whose data is arriving.
    pub fn forget_all(&mut self) -> Vec<T> {
        self.forget_if(|_| true)
    }
}

/// Where the data from byte `filled` goes, `left` bytes being still to come.
fn place<'a, T>(
    pending: &'a mut Pending,
    arrivals: &'a mut Arrivals<T>,
    sink: &'a mut Vec<u8>,
    filled: usize,
    left: usize,
) -> &'a mut [u8] {
    let memory = match pending {
        Pending::Act { data, .. } | Pending::Keep { data, .. } => data.get_mut(filled..),
        Pending::Land { itt, landing } => {
            arrivals.memory(*itt, *landing).and_then(|memory| memory.get_mut(filled..))
        }
        Pending::Discard => None,
    };
    match memory {
        Some(memory) if !memory.is_empty() => memory,
        _ => {
            sink.resize(DISCARD_BYTES, 0);
            &mut sink[..left.min(DISCARD_BYTES)]
        }
    }
}

mod deadlines;
mod plain;
#[cfg(test)]
mod tests;
pub mod whole;
