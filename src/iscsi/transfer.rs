//! Data-Out of one command: immediate, unsolicited and solicited data (RFC 7143 4.2.5.2, 11.7, 11.8).
//!
//! Invariant: the command's memory is filled from the front of each sequence without gap or overlap, so that
//! when [`Transfer::is_complete`] every byte wanted was sent by the initiator. This is why the target insists
//! on DataPDUInOrder=Yes.

use std::collections::VecDeque;

use crate::backstore::buffer::Buffer;
use crate::iscsi::parameters::Parameters;
use crate::limits::MAX_OUTSTANDING_R2T;
use crate::scsi::sense::Sense;
use crate::wire::bhs::RESERVED_TAG;
use crate::wire::request::DataOut;
use crate::wire::response::ReadyToTransfer;

/// A sequence of Data-Out PDUs that is expected.
#[derive(Debug)]
struct Burst {
    ttt: u32,
    offset: usize,
    length: usize,
    received: usize,
    data_sn: u32,
}

impl Burst {
    fn new(ttt: u32, offset: usize, length: usize) -> Self {
        Burst { ttt, offset, length, received: 0, data_sn: 0 }
    }
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
    /// Sequences announced or asked for; that of unsolicited data has the reserved tag.
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
        let mut bursts = VecDeque::new();
        if !is_final && first > immediate {
            bursts.push_back(Burst::new(RESERVED_TAG, immediate, first - immediate));
        }
        Ok(Transfer {
            token,
            lun,
            itt,
            buffer,
            length,
            requested: if bursts.is_empty() { immediate } else { first },
            received: 0,
            bursts,
            r2t_sn: 0,
        })
    }

    /// Where immediate data goes.
    pub fn immediate(&self, length: usize) -> Landing {
        self.landing(0, length)
    }

    fn landing(&self, offset: usize, length: usize) -> Landing {
        let offset = offset.min(self.length);
        Landing { offset, length: length.min(self.length - offset) }
    }

    /// Judges a Data-Out PDU of `length` bytes. `Ok(None)` is a late PDU of a sequence that is over.
    ///
    /// A PDU that is missing or out of place counts as one lost to a digest error (RFC 7143 7.8, 7.9).
    pub fn data_out(&mut self, pdu: &DataOut, length: usize) -> Result<Option<Landing>, Sense> {
        let is_unsolicited = pdu.target_transfer_tag == RESERVED_TAG;
        let Some(at) = self.bursts.iter().position(|burst| burst.ttt == pdu.target_transfer_tag) else {
            // An initiator may end its sequence with a PDU without data.
            let is_harmless = !is_unsolicited || length == 0;
            return if is_harmless { Ok(None) } else { Err(Sense::UNEXPECTED_UNSOLICITED_DATA) };
        };
        let burst = &mut self.bursts[at];
        let offset = burst.offset + burst.received;
        let is_in_place = pdu.data_sn == burst.data_sn && pdu.buffer_offset as usize == offset;
        if !is_in_place || (!is_unsolicited && pdu.lun != self.lun) {
            return Err(Sense::PROTOCOL_SERVICE_CRC_ERROR);
        }
        burst.data_sn = burst.data_sn.wrapping_add(1);
        burst.received += length;
        let is_short = pdu.is_final && burst.received < burst.length;
        if burst.received > burst.length || is_short {
            return Err(Sense::NOT_ENOUGH_UNSOLICITED_DATA);
        }
        if burst.received == burst.length {
            self.bursts.remove(at);
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
        self.received >= self.length && self.bursts.is_empty()
    }

    /// The next R2T that may be sent; `ttt` becomes its tag.
    pub fn next_r2t(&mut self, ttt: u32, parameters: &Parameters) -> Option<ReadyToTransfer> {
        let limit = (parameters.max_outstanding_r2t as usize).clamp(1, MAX_OUTSTANDING_R2T);
        let is_unsolicited = self.bursts.front().is_some_and(|burst| burst.ttt == RESERVED_TAG);
        if is_unsolicited || self.requested >= self.length || self.bursts.len() >= limit {
            return None;
        }
        let offset = self.requested;
        let length = (self.length - offset).min(parameters.max_burst_length as usize);
        self.requested += length;
        self.bursts.push_back(Burst::new(ttt, offset, length));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backstore::buffer::BufferPool;

    const LUN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

    fn parameters() -> Parameters {
        Parameters {
            initial_r2t: false,
            first_burst_length: 1024,
            max_burst_length: 2048,
            max_outstanding_r2t: 2,
            ..Parameters::default()
        }
    }

    /// A write of `length` bytes announced as `expected`, with `immediate` bytes in the command.
    fn write(
        length: usize,
        (expected, immediate, is_final): (usize, usize, bool),
        parameters: &Parameters,
    ) -> Result<Transfer<()>, Sense> {
        let buffer = BufferPool::new(1 << 20).get(length).unwrap();
        let announced = (expected, immediate, is_final);
        Transfer::new((), LUN, 7, (buffer, length), announced, parameters).map_err(|((), sense)| sense)
    }

    fn data(ttt: u32, data_sn: u32, buffer_offset: u32, is_final: bool) -> DataOut {
        DataOut {
            is_final,
            lun: LUN,
            initiator_task_tag: 7,
            target_transfer_tag: ttt,
            data_sn,
            buffer_offset,
        }
    }

    fn feed(transfer: &mut Transfer<()>, pdu: &DataOut, length: usize) -> Result<usize, Sense> {
        let landing = transfer.data_out(pdu, length)?;
        let landing = landing.unwrap_or(Landing { offset: 0, length: 0 });
        assert_eq!(transfer.memory(landing).len(), landing.length);
        transfer.landed(landing);
        Ok(landing.length)
    }

    #[test]
    fn rfc7143_11_7_immediate_then_unsolicited_then_solicited() {
        let parameters = parameters();
        let mut transfer = write(6000, (6000, 500, false), &parameters).unwrap();
        let immediate = transfer.immediate(500);
        transfer.landed(immediate);
        assert_eq!(transfer.next_r2t(1, &parameters), None, "unsolicited data is still coming");
        assert_eq!(feed(&mut transfer, &data(RESERVED_TAG, 0, 500, false), 500), Ok(500));
        assert_eq!(feed(&mut transfer, &data(RESERVED_TAG, 1, 1000, true), 24), Ok(24));

        let first = transfer.next_r2t(1, &parameters).unwrap();
        let second = transfer.next_r2t(2, &parameters).unwrap();
        assert_eq!((first.r2t_sn, first.offset, first.length), (0, 1024, 2048));
        assert_eq!((second.r2t_sn, second.offset, second.length), (1, 3072, 2048));
        assert_eq!(transfer.next_r2t(3, &parameters), None, "13.17: MaxOutstandingR2T is 2");

        assert_eq!(feed(&mut transfer, &data(2, 0, 3072, true), 2048), Ok(2048));
        let third = transfer.next_r2t(3, &parameters).unwrap();
        assert_eq!((third.r2t_sn, third.offset, third.length), (2, 5120, 880));
        assert_eq!(feed(&mut transfer, &data(3, 0, 5120, true), 880), Ok(880));
        assert!(!transfer.is_complete());
        assert_eq!(feed(&mut transfer, &data(1, 0, 1024, false), 2000), Ok(2000));
        assert_eq!(feed(&mut transfer, &data(1, 1, 3024, true), 48), Ok(48));
        assert!(transfer.is_complete());
        assert_eq!(transfer.next_r2t(4, &parameters), None);
        assert_eq!(transfer.finish().2, 6000);
    }

    #[test]
    fn rfc7143_11_4_7_2_unexpected_unsolicited_data() {
        let unexpected = Some(Sense::UNEXPECTED_UNSOLICITED_DATA);
        let usual = parameters();
        let no_immediate = Parameters { immediate_data: false, ..usual.clone() };
        let r2t_only = Parameters { initial_r2t: true, ..usual.clone() };
        assert_eq!(write(4096, (4096, 512, true), &no_immediate).err(), unexpected);
        assert_eq!(write(4096, (4096, 512, false), &r2t_only).err(), unexpected);
        assert_eq!(write(4096, (4096, 1025, true), &usual).err(), unexpected, "above FirstBurstLength");
        assert_eq!(write(4096, (100, 101, true), &usual).err(), unexpected, "above what was announced");
        let mut transfer = write(4096, (4096, 512, true), &usual).unwrap();
        assert_eq!(feed(&mut transfer, &data(RESERVED_TAG, 0, 512, true), 512).err(), unexpected);
    }

    #[test]
    fn rfc7143_11_7_a_sequence_is_exact() {
        let parameters = parameters();
        let solicited = || {
            let mut transfer = write(2048, (2048, 0, true), &parameters).unwrap();
            transfer.next_r2t(9, &parameters).unwrap();
            transfer
        };
        let unsolicited = || write(2048, (2048, 0, false), &parameters).unwrap();
        let amount = Err(Sense::NOT_ENOUGH_UNSOLICITED_DATA);
        let lost = Err(Sense::PROTOCOL_SERVICE_CRC_ERROR);
        let with_lun = |lun| DataOut { lun, ..data(9, 0, 0, true) };
        assert_eq!(feed(&mut solicited(), &data(9, 0, 0, true), 2047), amount, "F too early");
        assert_eq!(feed(&mut solicited(), &data(9, 0, 0, true), 2049), amount, "more than asked for");
        assert_eq!(feed(&mut solicited(), &data(9, 1, 0, true), 2048), lost, "DataSN");
        assert_eq!(feed(&mut solicited(), &data(9, 0, 4, true), 2044), lost, "a gap");
        assert_eq!(feed(&mut solicited(), &data(9, 0, u32::MAX, true), 2048), lost, "out of range");
        assert_eq!(feed(&mut solicited(), &with_lun([0; 8]), 2048), lost, "another LUN");
        assert_eq!(feed(&mut unsolicited(), &data(RESERVED_TAG, 0, 0, true), 1000), amount, "F too early");
        assert_eq!(feed(&mut unsolicited(), &data(RESERVED_TAG, 0, 0, true), 1025), amount);
        let mut overlapping = solicited();
        assert_eq!(feed(&mut overlapping, &data(9, 0, 0, false), 1024), Ok(1024));
        assert_eq!(feed(&mut overlapping, &data(9, 1, 512, true), 1024), lost, "an overlap");
    }

    #[test]
    fn rfc7143_11_7_late_and_empty_data_is_harmless() {
        let parameters = parameters();
        let mut transfer = write(2048, (2048, 1024, false), &parameters).unwrap();
        transfer.landed(Landing { offset: 0, length: 1024 });
        assert_eq!(feed(&mut transfer, &data(RESERVED_TAG, 0, 1024, true), 0), Ok(0));
        assert_eq!(feed(&mut transfer, &data(77, 0, 0, true), 512), Ok(0), "a sequence that is over");
        assert!(!transfer.is_complete());
        assert_eq!(transfer.next_r2t(1, &parameters).map(|r2t| (r2t.offset, r2t.length)), Some((1024, 1024)));
    }

    #[test]
    fn rfc7143_11_3_4_what_the_command_does_not_want_is_discarded() {
        let parameters = parameters();
        let mut transfer = write(100, (10_000, 0, false), &parameters).unwrap();
        assert_eq!(feed(&mut transfer, &data(RESERVED_TAG, 0, 0, false), 300), Ok(100));
        assert!(!transfer.is_complete(), "the sequence announced has not ended");
        assert_eq!(feed(&mut transfer, &data(RESERVED_TAG, 1, 300, true), 724), Ok(0));
        assert!(transfer.is_complete());
        assert_eq!(transfer.next_r2t(1, &parameters), None);
        assert_eq!(transfer.finish().2, 100);
    }
}
