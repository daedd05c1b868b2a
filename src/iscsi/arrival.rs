//! The commands of a connection whose data is arriving: where Data-Out goes, what is asked for next, and
//! which initiator has stopped sending.

use std::time::{Duration, Instant};

use crate::backstore::buffer::Buffer;
use crate::bytes::number_map::NumberMap;
use crate::iscsi::error::ProtocolError;
use crate::iscsi::parameters::Parameters;
use crate::iscsi::transfer::{Landing, Transfer};
use crate::scsi::sense::Sense;
use crate::wire::request::DataOut;
use crate::wire::response::ReadyToTransfer;

/// A command whose data is arriving, and when some of it last did.
#[derive(Debug)]
struct Arriving<T> {
    transfer: Transfer<T>,
    progress: Instant,
}

/// Data phases in progress, by initiator task tag.
#[derive(Debug)]
pub struct Arrivals<T> {
    transfers: NumberMap<u32, Arriving<T>>,
    /// When they are to be looked through for one that has stopped.
    due: Option<Instant>,
    /// When data of any command last came.
    landed: Option<Instant>,
    last_ttt: u32,
}

impl<T> Default for Arrivals<T> {
    fn default() -> Self {
        Arrivals { transfers: NumberMap::default(), due: None, landed: None, last_ttt: 0 }
    }
}

impl<T> Arrivals<T> {
    /// A data phase begins.
    pub fn insert(&mut self, itt: u32, transfer: Transfer<T>, timeout: Duration, now: Instant) {
        self.due.get_or_insert(now + timeout);
        self.transfers.insert(itt, Arriving { transfer, progress: now });
    }

    /// Number of data phases.
    pub fn len(&self) -> usize {
        self.transfers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.transfers.is_empty()
    }

    /// Judges a Data-Out PDU of `length` bytes: where its data goes, `None` when it is late and discarded, or
    /// how its command fails.
    pub fn data_out(&mut self, pdu: &DataOut, length: usize) -> Result<Option<Landing>, Sense> {
        match self.transfers.get_mut(&pdu.initiator_task_tag) {
            Some(arriving) => arriving.transfer.data_out(pdu, length),
            None => Ok(None),
        }
    }

    /// The memory that a landing names.
    pub fn memory(&mut self, itt: u32, landing: Landing) -> Option<&mut [u8]> {
        self.transfers.get_mut(&itt).map(|arriving| arriving.transfer.memory(landing))
    }

    /// A landing has been filled.
    pub fn landed(&mut self, itt: u32, landing: Landing, now: Instant) {
        if let Some(arriving) = self.transfers.get_mut(&itt) {
            arriving.transfer.landed(landing);
            if landing.length > 0 {
                arriving.progress = now;
                self.landed = Some(now);
            }
        }
    }

    /// The next R2T that a command may be sent.
    pub fn next_r2t(&mut self, itt: u32, parameters: &Parameters) -> Option<ReadyToTransfer> {
        // Tags count up, so that late data of one that is over finds nothing. NOP-In has the upper half.
        let ttt = self.last_ttt.wrapping_add(1) & 0x7fff_ffff;
        let r2t = self.transfers.get_mut(&itt)?.transfer.next_r2t(ttt, parameters)?;
        self.last_ttt = ttt;
        Some(r2t)
    }

    /// Takes out a command whose data is here: its token, its memory, and how much of that was filled.
    pub fn take_complete(&mut self, itt: u32) -> Option<(T, Buffer, usize)> {
        if !self.transfers.get(&itt)?.transfer.is_complete() {
            return None;
        }
        self.transfers.remove(&itt).map(|arriving| arriving.transfer.finish())
    }

    /// Takes out a command whatever has come of its data.
    pub fn forget(&mut self, itt: u32) -> Option<T> {
        self.transfers.remove(&itt).map(|arriving| arriving.transfer.finish().0)
    }

    /// Takes out the commands that `is_over` names.
    pub fn forget_if(&mut self, mut is_over: impl FnMut(&T) -> bool) -> Vec<T> {
        let over: Vec<u32> = self
            .transfers
            .iter()
            .filter(|(_, arriving)| is_over(&arriving.transfer.token))
            .map(|(itt, _)| *itt)
            .collect();
        over.into_iter().filter_map(|itt| self.forget(itt)).collect()
    }

    /// When [`Arrivals::expired`] wants to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Gives up an initiator that has sent no data for `timeout`, though some command waits for some. One
    /// that sends the data of others is on its way: its link may be slow, and the data asked for much.
    pub fn expired(&mut self, timeout: Duration, now: Instant) -> Result<(), ProtocolError> {
        if self.due.is_none_or(|due| now < due) {
            return Ok(());
        }
        let oldest = self.transfers.values().map(|arriving| arriving.progress).min();
        self.due = oldest.map(|progress| self.landed.map_or(progress, |at| at.max(progress)) + timeout);
        if self.due.is_some_and(|due| now >= due) { Err(ProtocolError::DataTimeout) } else { Ok(()) }
    }
}
