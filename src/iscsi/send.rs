//! The sending half of a connection in full feature phase: sequence numbers, Data-In, residuals.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::backstore::buffer::Buffer;
use crate::bytes::number_map::NumberMap;
use crate::iscsi::parameters::Parameters;
use crate::iscsi::queue::{Digests, Queue, SMALL};
use crate::iscsi::session::CommandWindow;
use crate::scsi::Status;
use crate::scsi::loan::Loan;
use crate::scsi::task::Completion;
use crate::wire::bhs::RESERVED_TAG;
use crate::wire::response::{
    AsyncMessage, DataIn, ReadyToTransfer, Residual, Sequence, TextResponse, logout_response, nop_in, reject,
    scsi_response, task_management_response,
};

/// A PDU other than the answer to a SCSI command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// Answer to a NOP-Out with its data.
    Pong {
        /// Initiator task tag of the NOP-Out.
        itt: u32,
        /// Ping data, cut to what the initiator accepts.
        data: Vec<u8>,
    },
    /// A NOP-In of ours that wants an answer.
    Ping {
        /// Target transfer tag.
        ttt: u32,
    },
    /// A NOP-In that only tells the command window.
    WindowUpdate,
    /// Ready To Transfer.
    ReadyToTransfer(ReadyToTransfer),
    /// Task Management Function Response.
    TaskManagement {
        /// Initiator task tag of the request.
        itt: u32,
        /// Response code (RFC 7143 11.6.1).
        response: u8,
    },
    /// Text Response.
    Text {
        /// Header fields.
        response: TextResponse,
        /// Data segment.
        text: Vec<u8>,
    },
    /// Logout Response.
    Logout {
        /// Initiator task tag of the request.
        itt: u32,
        /// Response code (RFC 7143 11.15.1).
        response: u8,
    },
    /// Reject.
    Reject {
        /// Reason (RFC 7143 11.17.1).
        reason: u8,
        /// Header of the rejected PDU.
        header: Box<[u8]>,
    },
    /// Asynchronous Message.
    Async {
        /// Header fields.
        message: AsyncMessage,
        /// Sense data, for SCSI events.
        data: Vec<u8>,
    },
}

/// The sending half.
#[derive(Debug)]
pub struct Sender {
    window: Arc<CommandWindow>,
    stat_sn: u32,
    digests: Digests,
    segment: usize,
    burst: usize,
    time2wait: u16,
    time2retain: u16,
    /// R2Ts sent for each command in progress, for its ExpDataSN.
    r2ts: NumberMap<u32, u32>,
    /// Blocks whose pages were sent, with the StatSN that is to be acknowledged, oldest first.
    loans: VecDeque<(u32, Loan)>,
}

impl Sender {
    /// StatSN of the next answer.
    pub fn stat_sn(&self) -> u32 {
        self.stat_sn
    }

    /// A sender whose first status gets `stat_sn`.
    pub fn new(parameters: &Parameters, window: Arc<CommandWindow>, stat_sn: u32) -> Self {
        Sender {
            window,
            stat_sn,
            digests: Digests { header: parameters.header_digest, data: parameters.data_digest },
            segment: segment(parameters.max_send_data_segment_length),
            burst: parameters.max_burst_length.max(512) as usize,
            time2wait: parameters.default_time2wait,
            time2retain: parameters.default_time2retain,
            r2ts: NumberMap::default(),
            loans: VecDeque::new(),
        }
    }

    /// Whether the initiator takes data that nobody has seen: without a data digest, and without padding
    /// within a command.
    pub fn takes_pages(&self) -> bool {
        !self.digests.data && self.burst % 4 == 0
    }

    /// Loans that are not acknowledged.
    pub fn loans(&self) -> usize {
        self.loans.len()
    }

    /// The StatSNs of the oldest and the youngest loan.
    pub fn waiting_loans(&self) -> Option<(u32, u32)> {
        Some((self.loans.front()?.0, self.loans.back()?.0))
    }

    /// Takes out the oldest loan, if `is_over` says so of its StatSN.
    pub fn end_loan(&mut self, is_over: impl Fn(u32) -> bool) -> Option<Loan> {
        let (oldest, _) = self.loans.front()?;
        if is_over(*oldest) { self.loans.pop_front().map(|(_, loan)| loan) } else { None }
    }

    /// Sequence numbers of a PDU that consumes a StatSN.
    fn consume(&mut self) -> Sequence {
        let sequence = self.peek();
        self.stat_sn = self.stat_sn.wrapping_add(1);
        sequence
    }

    /// Sequence numbers of a PDU that shows the next StatSN.
    fn peek(&self) -> Sequence {
        Sequence { stat_sn: self.stat_sn, ..self.unnumbered() }
    }

    /// Sequence numbers of a PDU without StatSN.
    fn unnumbered(&self) -> Sequence {
        let (exp_cmd_sn, max_cmd_sn) = self.window.announce();
        Sequence { stat_sn: 0, exp_cmd_sn, max_cmd_sn }
    }

    /// The answer to a SCSI command: its data, cut into PDUs and sequences, and its status, in the last
    /// Data-In where the standard lets it (RFC 7143 11.7.3: GOOD, no sense data).
    /// Data of more than a few bytes is taken out of it.
    pub fn respond(&mut self, done: &mut Completion, queue: &mut Queue) {
        let residual = residual(done);
        let r2ts = if self.r2ts.is_empty() { 0 } else { self.r2ts.remove(&done.tag).unwrap_or(0) };
        let length = done.data_in_length as usize;
        let collapses = done.status == Status::GOOD && length > 0;
        let mut data_sn = 0;
        if collapses && length <= SMALL.min(self.segment).min(self.burst) {
            return self.respond_small(done, residual, queue);
        }
        if length > 0 {
            let lent = done.lent.take();
            let is_lent = lent.is_some();
            let held = match lent {
                Some((pages, loan)) => {
                    // The status is in the last Data-In, and gets the next number.
                    self.loans.push_back((self.stat_sn, loan));
                    queue.hold_pages(pages)
                }
                None => queue.hold(std::mem::replace(&mut done.data_in, Buffer::empty())),
            };
            let (mut offset, mut in_burst) = (0, 0);
            while offset < length {
                let size = self.segment.min(length - offset).min(self.burst - in_burst);
                let last = offset + size == length;
                in_burst = (in_burst + size) % self.burst;
                let status = (last && collapses).then_some((done.status.0, residual));
                let header = DataIn {
                    itt: done.tag,
                    is_final: last || in_burst == 0,
                    status,
                    data_sn,
                    buffer_offset: u32::try_from(offset).unwrap_or(u32::MAX),
                };
                let sequence = if status.is_some() { self.consume() } else { self.unnumbered() };
                let header = header.header(sequence);
                if is_lent {
                    queue.push_pages(header, held, size, last, self.digests);
                } else {
                    queue.push_shared(header, held, offset, size, last, self.digests);
                }
                data_sn += 1;
                offset += size;
            }
        }
        if !collapses {
            // 11.4.8: R2T and Data-In PDUs count together.
            let exp_data_sn = data_sn + r2ts;
            let header = scsi_response(done.tag, done.status.0, exp_data_sn, residual, self.consume());
            self.push_with_sense(header, &done.sense, queue);
        }
    }

    /// One Data-In with everything.
    #[inline]
    fn respond_small(&mut self, done: &Completion, residual: Residual, queue: &mut Queue) {
        let header = DataIn {
            itt: done.tag,
            is_final: true,
            status: Some((done.status.0, residual)),
            data_sn: 0,
            buffer_offset: 0,
        };
        let header = header.header(self.consume());
        queue.push(header, &done.data_in[..done.data_in_length as usize], self.digests);
    }

    /// Sense data goes behind its two-byte length (RFC 7143 11.4.7).
    fn push_with_sense(&self, header: [u8; 48], sense: &[u8], queue: &mut Queue) {
        if sense.is_empty() {
            return queue.push(header, &[], self.digests);
        }
        let mut data = [0; 2 + crate::scsi::sense::MAX_LENGTH];
        let [high, low] = u16::try_from(sense.len()).unwrap_or(0).to_be_bytes();
        data[..2].copy_from_slice(&[high, low]);
        data[2..2 + sense.len()].copy_from_slice(sense);
        queue.push(header, &data[..2 + sense.len()], self.digests);
    }

    /// A command is over without an answer.
    pub fn forget(&mut self, itt: u32) {
        self.r2ts.remove(&itt);
    }

    /// Any other PDU.
    pub fn send(&mut self, outgoing: &Outgoing, queue: &mut Queue) {
        let digests = self.digests;
        match outgoing {
            Outgoing::Pong { itt, data } => {
                let data = &data[..data.len().min(self.segment)];
                queue.push(nop_in(*itt, RESERVED_TAG, [0; 8], self.consume()), data, digests);
            }
            Outgoing::Ping { ttt } => {
                queue.push(nop_in(RESERVED_TAG, *ttt, [0; 8], self.peek()), &[], digests)
            }
            Outgoing::WindowUpdate => {
                queue.push(nop_in(RESERVED_TAG, RESERVED_TAG, [0; 8], self.peek()), &[], digests);
            }
            Outgoing::ReadyToTransfer(r2t) => {
                self.r2ts.insert(r2t.itt, r2t.r2t_sn + 1);
                queue.push(r2t.header(self.peek()), &[], digests);
            }
            Outgoing::TaskManagement { itt, response } => {
                queue.push(task_management_response(*itt, *response, self.consume()), &[], digests);
            }
            Outgoing::Text { response, text } => {
                queue.push(response.header(self.consume()), text, digests);
            }
            Outgoing::Logout { itt, response } => {
                let (wait, retain) = (self.time2wait, self.time2retain);
                queue.push(logout_response(*itt, *response, wait, retain, self.consume()), &[], digests);
            }
            Outgoing::Reject { reason, header } => {
                queue.push(reject(*reason, self.consume()), header, digests);
            }
            Outgoing::Async { message, data } => {
                queue.push(message.header(self.consume()), data, digests);
            }
        }
    }

    /// The initiator has declared a new MaxRecvDataSegmentLength.
    pub fn set_max_segment(&mut self, length: u32) {
        self.segment = segment(length);
    }

    /// Longest data segment that may be sent, in bytes.
    pub fn max_segment(&self) -> usize {
        self.segment
    }
}

/// Segments within a sequence are filled to whole words (RFC 7143 11.7.7).
fn segment(declared: u32) -> usize {
    declared.max(512) as usize & !3
}

/// Residual count (RFC 7143 11.4.5): what the command would have moved against what the initiator expected.
/// A command that moved data the other way than announced has moved none of what was expected.
fn residual(done: &Completion) -> Residual {
    let (expected, wanted) = match (done.expected_in, done.expected_out) {
        (0, expected) if expected > 0 => (expected, done.transfer.data_out),
        (expected, _) => (expected, done.transfer.data_in.max(done.transfer.data_out)),
    };
    let failed = done.status != Status::GOOD && done.transfer.data_out == 0;
    let moved = if failed { u64::from(done.data_in_length) } else { wanted };
    match moved.checked_sub(u64::from(expected)) {
        Some(0) => Residual::None,
        Some(over) => Residual::Overflow(u32::try_from(over).unwrap_or(u32::MAX)),
        None => Residual::Underflow(expected - u32::try_from(moved).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests;
