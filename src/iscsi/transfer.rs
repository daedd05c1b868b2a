//! The Data-Out phase of one command: immediate, unsolicited and solicited data (RFC 7143 4.2.5.2, 11.7, 11.8).

use std::collections::VecDeque;

use crate::backstore::buffer::Buffer;
use crate::iscsi::parameters::Parameters;
use crate::scsi::sense::Sense;
use crate::wire::bhs::RESERVED_TAG;
use crate::wire::request::DataOut;
use crate::wire::response::ReadyToTransfer;

/// Most R2Ts outstanding for one command, whatever was negotiated.
pub const R2T_LIMIT: usize = 32;

/// A sequence of Data-Out PDUs that is expected.
#[derive(Debug)]
struct Burst {
    ttt: u32,
    offset: usize,
    length: usize,
    received: usize,
    data_sn: u32,
}

/// A command whose data is arriving; `T` is what the shell knows it by.
#[derive(Debug)]
pub struct Transfer<T> {
    /// The shell's name for it.
    pub token: T,
    lun: [u8; 8],
    itt: u32,
    buffer: Buffer,
    /// Bytes that the command wants.
    length: usize,
    /// Bytes asked for or announced so far.
    requested: usize,
    received: usize,
    unsolicited: Option<Burst>,
    bursts: VecDeque<Burst>,
    r2t_sn: u32,
}

/// Where the data segment of a PDU goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Landing {
    /// Offset in the command's memory.
    pub offset: usize,
    /// Bytes that go there; what the segment has beyond is discarded.
    pub length: usize,
}

impl<T> Transfer<T> {
    /// A command that wants `length` bytes into `buffer`. `expected` is its Expected Data Transfer Length,
    /// `immediate` the length of its immediate data, `is_final` its F bit.
    pub fn new(
        token: T,
        lun: [u8; 8],
        itt: u32,
        (buffer, length): (Buffer, usize),
        (expected, immediate, is_final): (usize, usize, bool),
        parameters: &Parameters,
    ) -> Result<Self, (T, Sense)> {
        let length = length.min(buffer.len());
        let first = expected.min(parameters.first_burst_length as usize);
        if immediate > 0 && (!parameters.immediate_data || immediate > first) {
            return Err((token, Sense::UNEXPECTED_UNSOLICITED_DATA));
        }
        if !is_final && parameters.initial_r2t {
            return Err((token, Sense::UNEXPECTED_UNSOLICITED_DATA));
        }
        let unsolicited = (!is_final && first > immediate).then(|| Burst {
            ttt: RESERVED_TAG,
            offset: immediate,
            length: first - immediate,
            received: 0,
            data_sn: 0,
        });
        Ok(Transfer {
            token,
            lun,
            itt,
            buffer,
            length,
            requested: if unsolicited.is_some() { first } else { immediate },
            received: 0,
            unsolicited,
            bursts: VecDeque::new(),
            r2t_sn: 0,
        })
    }

    /// Where immediate data goes.
    pub fn immediate(&self, length: usize) -> Landing {
        self.landing(0, length)
    }

    fn landing(&self, offset: usize, length: usize) -> Landing {
        Landing { offset, length: length.min(self.length.saturating_sub(offset)) }
    }

    /// Judges a Data-Out PDU of `length` bytes. `Ok(None)` is a late PDU of a sequence that is over.
    pub fn data_out(
        &mut self,
        pdu: &DataOut,
        length: usize,
        parameters: &Parameters,
    ) -> Result<Option<Landing>, Sense> {
        let unsolicited = pdu.target_transfer_tag == RESERVED_TAG;
        let burst = if unsolicited {
            self.unsolicited.as_mut().ok_or(Sense::UNEXPECTED_UNSOLICITED_DATA)?
        } else {
            match self.bursts.iter_mut().find(|burst| burst.ttt == pdu.target_transfer_tag) {
                Some(burst) => burst,
                None => return Ok(None),
            }
        };
        let offset = pdu.buffer_offset as usize;
        let in_order = !parameters.data_pdu_in_order || offset == burst.offset + burst.received;
        let inside = offset >= burst.offset && offset + length <= burst.offset + burst.length;
        if pdu.data_sn != burst.data_sn || !in_order || !inside {
            return Err(Sense::DATA_PHASE_ERROR);
        }
        burst.data_sn = burst.data_sn.wrapping_add(1);
        burst.received += length;
        let is_full = burst.received == burst.length;
        if unsolicited {
            if is_full || pdu.is_final {
                self.requested = burst.offset + burst.received;
                self.unsolicited = None;
            }
        } else if is_full {
            self.bursts.retain(|burst| burst.ttt != pdu.target_transfer_tag);
        } else if pdu.is_final {
            return Err(Sense::NOT_ENOUGH_UNSOLICITED_DATA);
        }
        Ok(Some(self.landing(offset, length)))
    }

    /// The memory a landing names.
    pub fn memory(&mut self, landing: Landing) -> &mut [u8] {
        &mut self.buffer[landing.offset..landing.offset + landing.length]
    }

    /// A landing has been filled.
    pub fn landed(&mut self, landing: Landing) {
        self.received += landing.length;
    }

    /// Whether everything wanted is here.
    pub fn is_complete(&self) -> bool {
        self.received >= self.length && self.unsolicited.is_none()
    }

    /// The next R2T that may be sent; `ttt` becomes its tag.
    pub fn next_r2t(&mut self, ttt: u32, parameters: &Parameters) -> Option<ReadyToTransfer> {
        let limit = (parameters.max_outstanding_r2t as usize).clamp(1, R2T_LIMIT);
        if self.unsolicited.is_some() || self.requested >= self.length || self.bursts.len() >= limit {
            return None;
        }
        let offset = self.requested;
        let length = (self.length - offset).min(parameters.max_burst_length as usize);
        self.requested += length;
        self.bursts.push_back(Burst { ttt, offset, length, received: 0, data_sn: 0 });
        let r2t_sn = self.r2t_sn;
        self.r2t_sn += 1;
        Some(ReadyToTransfer {
            lun: self.lun,
            itt: self.itt,
            ttt,
            r2t_sn,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            length: u32::try_from(length).unwrap_or(u32::MAX),
        })
    }

    /// Ends the phase.
    pub fn finish(self) -> (T, Buffer, usize) {
        (self.token, self.buffer, self.received.min(self.length))
    }
}
