//! One session under load: keeps a fixed number of commands out, or begins so many a second, and times every
//! one.
//!
//! Requests are written when everything received has been looked at, many in one call; with `batch` off each
//! goes out in a call of its own, as most initiators do it.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use scstu::sys::{socket, thread};

use crate::histogram::Histogram;
use crate::load::{Load, Shared};
use crate::pace::{self, Pace};
use crate::pdu::{self, BHS, Numbers, Transfer, data_length, get32};
use crate::plan::{Next, Plan};
use crate::session::{Session, Unit, again, bad};

/// Bytes that one receive call takes.
const ROOM: usize = 512 << 10;
/// Bytes that one receive call takes where they are to be taken slowly.
const SIP: usize = 64 << 10;
/// Bytes that one send call takes at most; then other loads on the processor have their turn.
const PIECE: usize = 128 << 10;
/// Slices given to one send call.
const SLICES: usize = 256;
/// The target is silent while commands are out when so many looks of [`LOOK`] have found nothing of it. A
/// time that this process was stopped, and the target perhaps with it, ends one of them, however long it was.
const LOOKS: u32 = 60;
const LOOK: Duration = Duration::from_secs(1);

/// A command that is out, or room for one.
struct Slot {
    next: Option<Next>,
    started: Instant,
    received: usize,
    crc: u32,
    /// Data to write, or read for comparison; empty where all slots share `Worker::data`.
    data: Vec<u8>,
}

/// A PDU on its way out; its data is a range of a slot's.
struct Outgoing {
    head: [u8; BHS + 4],
    head_length: usize,
    slot: usize,
    start: usize,
    length: usize,
    tail: [u8; 8],
    tail_length: usize,
}

/// Where the parser is.
enum State {
    Header,
    Data { slot: Option<usize>, at: usize, left: usize, header: pdu::Header },
    Tail { slot: Option<usize>, header: pdu::Header },
}

/// What a session has done.
#[derive(Default)]
pub struct Outcome {
    pub latency: Histogram,
    /// Commands that ended in BUSY or TASK SET FULL; they were sent again.
    pub refused: u64,
    /// Commands that ended in another status.
    pub failed: u64,
    /// Commands whose data was not what had been written.
    pub wrong: u64,
    /// Nanoseconds of CPU that this thread used.
    pub cpu: u64,
}

pub struct Worker<'a> {
    session: Session,
    load: &'a Load,
    shared: &'a Arc<Shared>,
    number: usize,
    unit: Unit,
    plan: Plan,
    /// When its commands are due, where they are paced.
    pace: Option<Pace>,
    /// How long before that it stays awake.
    awake: Duration,
    slots: Vec<Slot>,
    free: Vec<usize>,
    data: Vec<u8>,
    queue: VecDeque<Outgoing>,
    sent: usize,
    input: Vec<u8>,
    start: usize,
    end: usize,
    state: State,
    outcome: Outcome,
    look: Duration,
}

impl<'a> Worker<'a> {
    pub fn new(
        session: Session,
        unit: Unit,
        load: &'a Load,
        shared: &'a Arc<Shared>,
        number: usize,
    ) -> io::Result<Self> {
        let plan = Plan::new(load, unit, number)?;
        let own = if load.verify { load.size } else { 0 };
        let slot = |_| Slot { next: None, started: Instant::now(), received: 0, crc: 0, data: vec![0; own] };
        let room = if load.size <= 4096 { ROOM / 4 } else { ROOM };
        Ok(Worker {
            slots: (0..load.depth).map(slot).collect(),
            free: (0..load.depth).rev().collect(),
            data: if load.verify || load.read_percent == 100 { Vec::new() } else { vec![0x5a; load.size] },
            queue: VecDeque::new(),
            sent: 0,
            input: vec![0; room],
            start: 0,
            end: 0,
            state: State::Header,
            outcome: Outcome::default(),
            session,
            load,
            shared,
            number,
            unit,
            plan,
            pace: None,
            awake: pace::awake(load.sessions),
            look: LOOK,
        })
    }

    /// Works until told to stop, and until every command has come back.
    pub fn run(mut self) -> io::Result<Outcome> {
        let before = crate::process::own_thread();
        self.session.stream.set_read_timeout(Some(self.look * LOOKS))?;
        if let Some(rate) = self.load.rate {
            thread::be_punctual();
            self.pace = Some(Pace::new(rate, Instant::now(), self.number, self.load.sessions));
        }
        loop {
            let due = self.issue()?;
            if due.is_none() && self.free.len() == self.slots.len() {
                if self.is_over() {
                    break;
                }
                // All its commands are done, those of other sessions are not: they need the processor.
                std::thread::sleep(Duration::from_millis(1 + self.load.sessions as u64 / 10));
                continue;
            }
            self.flush()?;
            if let Some(due) = due
                && !self.await_input(due)?
            {
                continue;
            }
            self.receive()?;
            self.parse()?;
        }
        self.outcome.cpu = crate::process::own_thread().saturating_sub(before);
        self.session.close();
        Ok(self.outcome)
    }

    fn is_over(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed) && self.plan.is_swept()
    }

    /// Begins the commands for which there is a place; when the next is due, if that is all it waits for.
    fn issue(&mut self) -> io::Result<Option<Instant>> {
        while self.session.window() > 0 {
            let Some(slot) = self.free.pop() else { break };
            let stopping = self.shared.stop.load(Ordering::Relaxed);
            // The comparison at the end is no part of the load: nothing paces it.
            let pace = self.pace.as_ref().filter(|_| !stopping);
            if let Some(due) = pace.map(Pace::due).filter(|due| *due > Instant::now()) {
                self.free.push(slot);
                return Ok(Some(due));
            }
            let is_paced = pace.is_some();
            let Some(next) = self.plan.next(stopping) else {
                self.free.push(slot);
                break;
            };
            let due = self.pace.as_mut().filter(|_| is_paced).map(Pace::begin);
            self.begin(slot, next, due);
            if !self.load.batch {
                self.flush()?;
            }
        }
        Ok(None)
    }

    /// Waits until there is input, or the next command is due, or all is to end; whether there is input. It
    /// may return early without any.
    fn await_input(&mut self, due: Instant) -> io::Result<bool> {
        let left = due.saturating_duration_since(Instant::now());
        let wake = &self.shared.wakes[self.number];
        let stream = self.session.stream.as_fd();
        let sleep = left.saturating_sub(self.awake);
        let ready = socket::wait(stream, wake, true, !self.queue.is_empty(), Some(sleep))?;
        if ready.woken {
            wake.clear();
        }
        if sleep.is_zero() && !ready.readable {
            // Others go first on a processor that is not the load generator's alone.
            std::thread::yield_now();
        }
        Ok(ready.readable)
    }

    fn numbers(&self, slot: usize) -> Numbers {
        let itt = u32::try_from(slot).unwrap_or(0);
        Numbers { itt, cmd_sn: self.session.cmd_sn, exp_stat_sn: self.session.exp_stat_sn }
    }

    /// Sends a command; its latency counts from when it was `due`, and from now on if it never was.
    fn begin(&mut self, slot: usize, next: Next, due: Option<Instant>) {
        let blocks = u32::try_from(self.load.size).unwrap_or(0) / self.unit.block_size;
        let transfer = Transfer {
            is_read: next.is_read,
            lba: next.offset / u64::from(self.unit.block_size),
            blocks,
            bytes: u32::try_from(self.load.size).unwrap_or(0),
        };
        if self.load.verify && !next.is_read {
            self.plan.fill(&next, &mut self.slots[slot].data);
        }
        let agreed = self.session.agreed;
        let size = if next.is_read { 0 } else { self.load.size };
        let first = size.min(agreed.first_burst);
        let immediate = if agreed.immediate { first.min(agreed.segment) } else { 0 };
        let unsolicited = if agreed.initial_r2t { immediate } else { first };
        let is_final = immediate == unsolicited;
        let flags = if is_final { 0x80 } else { 0 } | if next.is_read { 0x40 } else { 0x20 };
        let cdb = pdu::cdb(&transfer);
        let header = pdu::command(flags, self.lun(&next), &cdb, transfer.bytes, self.numbers(slot));
        self.session.cmd_sn = self.session.cmd_sn.wrapping_add(1);
        let state = &mut self.slots[slot];
        state.next = Some(next);
        state.started = due.unwrap_or_else(Instant::now);
        state.received = 0;
        state.crc = 0;
        self.push(header, slot, 0, immediate);
        self.data_out(slot, pdu::NO_TAG, immediate, unsolicited - immediate);
    }

    fn lun(&self, next: &Next) -> [u8; 8] {
        if next.unit == 0 {
            self.session.lun
        } else {
            pdu::lun_field(self.session.first_lun.saturating_add(next.unit))
        }
    }

    /// A sequence of Data-Out PDUs.
    fn data_out(&mut self, slot: usize, tag: u32, start: usize, length: usize) {
        let (mut at, end, mut data_sn) = (start, start + length, 0);
        while at < end {
            let part = (end - at).min(self.session.agreed.segment);
            let tags = (u32::try_from(slot).unwrap_or(0), tag);
            let command = self.slots[slot].next.filter(|_| tag != pdu::NO_TAG);
            let lun = command.map_or([0; 8], |next| self.lun(&next));
            let header = pdu::data_out(at + part == end, lun, tags, data_sn, at);
            self.push(header, slot, at, part);
            at += part;
            data_sn += 1;
        }
    }

    fn push(&mut self, mut header: pdu::Header, slot: usize, start: usize, length: usize) {
        pdu::set_data_length(&mut header, length);
        let mut head = [0; BHS + 4];
        head[..BHS].copy_from_slice(&header);
        let mut head_length = BHS;
        if self.session.agreed.header_digest {
            head[BHS..].copy_from_slice(&crc32c::crc32c(&header).to_le_bytes());
            head_length += 4;
        }
        let (mut tail, mut tail_length) = ([0; 8], length.next_multiple_of(4) - length);
        if self.session.agreed.data_digest && length > 0 {
            let crc = crc32c::crc32c(&self.source(slot)[start..start + length]);
            let crc = crc32c::crc32c_append(crc, &[0; 3][..tail_length]);
            tail[tail_length..tail_length + 4].copy_from_slice(&crc.to_le_bytes());
            tail_length += 4;
        }
        self.queue.push_back(Outgoing { head, head_length, slot, start, length, tail, tail_length });
    }

    fn source(&self, slot: usize) -> &[u8] {
        if self.data.is_empty() { &self.slots[slot].data } else { &self.data }
    }

    /// Sends what the socket takes.
    fn flush(&mut self) -> io::Result<()> {
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.slices(&mut slices);
            match again(|| socket::send(self.session.stream.as_fd(), &slices[..count], false)) {
                Ok(sent) => {
                    self.advance(sent);
                    if sent == PIECE {
                        std::thread::yield_now();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn slices<'s>(&'s self, slices: &mut [IoSlice<'s>]) -> usize {
        let (mut filled, mut skip, mut left) = (0, self.sent, PIECE);
        for pdu in &self.queue {
            let data: &[u8] =
                if pdu.length > 0 { &self.source(pdu.slot)[pdu.start..][..pdu.length] } else { &[] };
            for part in [&pdu.head[..pdu.head_length], data, &pdu.tail[..pdu.tail_length]] {
                let skipped = skip.min(part.len());
                skip -= skipped;
                if skipped == part.len() {
                    continue;
                }
                if filled == slices.len() || left == 0 {
                    return filled;
                }
                let rest = &part[skipped..];
                let taken = &rest[..rest.len().min(left)];
                left -= taken.len();
                slices[filled] = IoSlice::new(taken);
                filled += 1;
            }
        }
        filled
    }

    fn advance(&mut self, count: usize) {
        self.sent += count;
        while let Some(pdu) = self.queue.front() {
            let length = pdu.head_length + pdu.length + pdu.tail_length;
            if self.sent < length {
                return;
            }
            self.sent -= length;
            self.queue.pop_front();
        }
    }

    /// Waits for input, and sends meanwhile what could not be sent at once.
    fn receive(&mut self) -> io::Result<()> {
        let mut silent = 0;
        while !self.queue.is_empty() {
            let stream = self.session.stream.as_fd();
            let wake = &self.shared.wakes[self.number];
            let ready = socket::wait(stream, wake, true, true, Some(self.look))?;
            if ready.woken {
                wake.clear();
            }
            if ready.writable {
                self.flush()?;
            }
            if ready.readable {
                break;
            }
            silent = if ready.writable { 0 } else { silent + 1 };
            if silent == LOOKS {
                let text = "the target neither takes nor answers anything";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        }
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.input.len() - self.end;
        let room = if self.load.drain.is_some() { room.min(SIP) } else { room };
        let mut room = [IoSliceMut::new(&mut self.input[self.end..self.end + room])];
        let count = again(|| socket::receive(self.session.stream.as_fd(), &mut room, true))?;
        if let Some(rate) = self.load.drain {
            std::thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
        }
        if count == 0 {
            return Err(bad("the target has closed the connection"));
        }
        self.end += count;
        Ok(())
    }

    fn parse(&mut self) -> io::Result<()> {
        loop {
            let available = self.end - self.start;
            match self.state {
                State::Header => {
                    let need = BHS + if self.session.agreed.header_digest { 4 } else { 0 };
                    if available < need {
                        return Ok(());
                    }
                    let bytes = &self.input[self.start..self.start + need];
                    let mut header = [0; BHS];
                    header.copy_from_slice(&bytes[..BHS]);
                    if need > BHS && bytes[BHS..] != crc32c::crc32c(&header).to_le_bytes() {
                        return Err(bad("header digest"));
                    }
                    self.start += need;
                    self.header(header)?;
                }
                State::Data { left, .. } => {
                    if available == 0 {
                        return Ok(());
                    }
                    self.take(left.min(available));
                }
                State::Tail { slot, header } => {
                    let padding = data_length(&header).wrapping_neg() & 3;
                    let need = padding + if self.session.agreed.data_digest { 4 } else { 0 };
                    if available < need {
                        return Ok(());
                    }
                    let tail = &self.input[self.start..self.start + need];
                    if let (true, Some(slot)) = (self.session.agreed.data_digest, slot) {
                        let crc = crc32c::crc32c_append(self.slots[slot].crc, &tail[..padding]);
                        if tail[padding..] != crc.to_le_bytes() {
                            return Err(bad("data digest"));
                        }
                        self.slots[slot].crc = 0;
                    }
                    self.start += need;
                    self.state = State::Header;
                    self.whole(&header)?;
                }
            }
        }
    }

    fn header(&mut self, header: pdu::Header) -> io::Result<()> {
        let length = data_length(&header);
        if length == 0 {
            return self.whole(&header);
        }
        let is_data = header[0] & 0x3f == 0x25;
        let slot = if is_data { Some(self.slot(&header)?) } else { None };
        self.state = State::Data { slot, at: get32(&header, 40) as usize, left: length, header };
        Ok(())
    }

    fn slot(&self, header: &[u8]) -> io::Result<usize> {
        let slot = get32(header, 16) as usize;
        match self.slots.get(slot) {
            Some(known) if known.next.is_some() => Ok(slot),
            _ => Err(bad(format!("PDU {:02x}h for a command that is not out", header[0] & 0x3f))),
        }
    }

    /// `count` bytes of a data segment are here.
    fn take(&mut self, count: usize) {
        let bytes = &self.input[self.start..self.start + count];
        self.start += count;
        let State::Data { slot, at, left, header } = &mut self.state else { return };
        if let Some(slot) = slot.as_ref().map(|slot| &mut self.slots[*slot]) {
            slot.received += count;
            if self.session.agreed.data_digest {
                slot.crc = crc32c::crc32c_append(slot.crc, bytes);
            }
            if let Some(place) = slot.data.get_mut(*at..*at + count) {
                place.copy_from_slice(bytes);
            }
        }
        *at += count;
        *left -= count;
        if *left == 0 {
            self.state = State::Tail { slot: *slot, header: *header };
        }
    }

    /// A whole PDU is here.
    fn whole(&mut self, header: &pdu::Header) -> io::Result<()> {
        self.session.note(header);
        match header[0] & 0x3f {
            0x25 if header[1] & 1 == 0 => Ok(()),
            0x25 | 0x21 => self.finish(header),
            0x31 => {
                let slot = self.slot(header)?;
                let (offset, length) = (get32(header, 40) as usize, get32(header, 44) as usize);
                if offset + length > self.load.size {
                    return Err(bad("R2T beyond the command's data"));
                }
                self.data_out(slot, get32(header, 20), offset, length);
                Ok(())
            }
            0x20 => {
                if get32(header, 20) != pdu::NO_TAG {
                    let numbers = self.numbers(0);
                    self.push(pdu::nop_out(header, numbers), 0, 0, 0);
                }
                Ok(())
            }
            opcode => Err(bad(format!("PDU {opcode:02x}h from the target"))),
        }
    }

    fn finish(&mut self, header: &pdu::Header) -> io::Result<()> {
        let index = self.slot(header)?;
        let slot = &mut self.slots[index];
        let Some(next) = slot.next.take() else { return Ok(()) };
        self.free.push(index);
        let status = header[3];
        if self.shared.measuring.load(Ordering::Relaxed) {
            let elapsed = slot.started.elapsed();
            self.outcome.latency.add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        }
        match status {
            0 => {
                if next.is_read && slot.received != self.load.size {
                    return Err(bad(format!("{} bytes of {}", slot.received, self.load.size)));
                }
                if self.load.verify && next.is_read && !self.plan.is_right(&next, &slot.data) {
                    self.outcome.wrong += 1;
                }
            }
            0x08 | 0x28 => self.outcome.refused += 1,
            _ => self.outcome.failed += 1,
        }
        self.plan.done(&next, status == 0);
        self.shared.done[self.number].fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Agreed;
    use scstu::sys::socket::Wake;
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::channel;

    fn session(stream: TcpStream) -> Session {
        let agreed = Agreed {
            segment: 1 << 20,
            first_burst: 1 << 20,
            immediate: true,
            initial_r2t: true,
            header_digest: false,
            data_digest: false,
        };
        let (first_lun, lun) = (0, [0; 8]);
        Session { stream, agreed, first_lun, lun, cmd_sn: 1, max_cmd_sn: 64, exp_stat_sn: 1 }
    }

    #[test]
    fn a_target_that_neither_takes_nor_answers_ends_the_load() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let target = listener.accept().unwrap();
        // More than two sockets hold.
        let load = Load { size: 1 << 20, depth: 64, read_percent: 0, region: 1 << 30, ..Load::new() };
        let shared = Arc::new(Shared {
            measuring: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            done: vec![0.into()],
            wakes: vec![Wake::new().unwrap()],
        });
        let unit = Unit { blocks: 1 << 21, block_size: 512 };
        let mut worker = Worker::new(session(stream), unit, &load, &shared, 0).unwrap();
        worker.look = Duration::from_millis(1);
        let (send, receive) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || send.send(worker.run().err().map(|error| error.kind())).unwrap());
            // One that waits for ever ends with the connection.
            let end = receive.recv_timeout(Duration::from_secs(30));
            drop(target);
            assert_eq!(end, Ok(Some(io::ErrorKind::TimedOut)));
        });
    }
}
