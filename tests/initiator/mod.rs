//! A small iSCSI initiator over a blocking socket, written from RFC 7143: it shares no code with the target.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)] // Each test uses a part.

pub mod pdu;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use pdu::Pdu;

const NO_TAG: u32 = 0xffff_ffff;
const LIMIT: Duration = Duration::from_secs(30);

/// What to offer at login, and how to send.
#[derive(Clone, Debug)]
pub struct Options {
    pub header_digest: bool,
    pub data_digest: bool,
    pub initial_r2t: bool,
    pub immediate_data: bool,
    pub max_burst: usize,
    pub first_burst: usize,
    pub max_outstanding_r2t: usize,
    /// Largest data segment that we take.
    pub max_recv: usize,
    /// Bytes of each write to the socket; 0 for all at once.
    pub fragment: usize,
    /// Tells sessions of one initiator apart.
    pub isid: u32,
    /// The initiator's name.
    pub name: String,
    /// The session whose connection is to be reinstated; 0 for a new session.
    pub tsih: u16,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            header_digest: false,
            data_digest: false,
            initial_r2t: true,
            immediate_data: true,
            max_burst: 262_144,
            first_burst: 65_536,
            max_outstanding_r2t: 1,
            max_recv: 262_144,
            fragment: 0,
            isid: 1,
            name: "iqn.2026-01.test:initiator".to_owned(),
            tsih: 0,
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u8,
    pub data: Vec<u8>,
    pub sense: Vec<u8>,
    /// Bytes that were moved less than was announced.
    pub underflow: u32,
}

struct Pending {
    write: Vec<u8>,
    read: Vec<u8>,
}

/// A session in its full feature phase.
pub struct Initiator {
    stream: TcpStream,
    options: Options,
    /// Largest data segment that the target takes.
    max_send: usize,
    cmd_sn: u32,
    max_cmd_sn: u32,
    exp_stat_sn: u32,
    next_itt: u32,
    pending: BTreeMap<u32, Pending>,
    answers: BTreeMap<u32, Answer>,
    /// Responses to task management functions, by their tags.
    functions: BTreeMap<u32, u8>,
    /// Pings that were answered.
    pings: Vec<u32>,
    /// NOP-Ins that wanted an answer, and got one.
    asked_for: u32,
    /// Text of the last Text Response.
    text: Option<Vec<u8>>,
    /// First byte of every LUN field.
    address: u8,
    /// Data that is asked for is not sent for now; and what was asked for since.
    holds_data: bool,
    asked: Vec<Asked>,
    /// What is sent with one call, while it gathers.
    gathered: Option<Vec<u8>>,
}

/// An R2T: tag of the command, LUN, target transfer tag, range of its data.
type Asked = (u32, u8, u32, std::ops::Range<usize>);

fn bad(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

impl Initiator {
    /// Logs in to `target`, without authentication; to a discovery session if it is empty.
    pub fn login(address: SocketAddr, target: &str, options: &Options) -> io::Result<Initiator> {
        let stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let mut session = Initiator {
            stream,
            options: options.clone(),
            max_send: 8192,
            cmd_sn: 1,
            max_cmd_sn: 1,
            exp_stat_sn: 0,
            next_itt: 1,
            pending: BTreeMap::new(),
            answers: BTreeMap::new(),
            functions: BTreeMap::new(),
            pings: Vec::new(),
            asked_for: 0,
            text: None,
            address: 0,
            holds_data: false,
            asked: Vec::new(),
            gathered: None,
        };
        session.negotiate(target)?;
        Ok(session)
    }

    fn offer(&self, target: &str) -> Vec<u8> {
        let yes = |value: bool| if value { "Yes" } else { "No" }.to_owned();
        let digest = |value: bool| if value { "CRC32C" } else { "None" }.to_owned();
        let o = &self.options;
        let session_type = if target.is_empty() { "Discovery" } else { "Normal" };
        let keys = [
            ("InitiatorName", o.name.clone()),
            ("TargetName", target.to_owned()),
            ("SessionType", session_type.to_owned()),
            ("HeaderDigest", digest(o.header_digest)),
            ("DataDigest", digest(o.data_digest)),
            ("InitialR2T", yes(o.initial_r2t)),
            ("ImmediateData", yes(o.immediate_data)),
            ("MaxBurstLength", o.max_burst.to_string()),
            ("FirstBurstLength", o.first_burst.to_string()),
            ("MaxOutstandingR2T", o.max_outstanding_r2t.to_string()),
            ("MaxRecvDataSegmentLength", o.max_recv.to_string()),
        ];
        let keys = keys.iter().filter(|(key, _)| *key != "TargetName" || !target.is_empty());
        keys.flat_map(|(key, value)| format!("{key}={value}\0").into_bytes()).collect()
    }

    fn negotiate(&mut self, target: &str) -> io::Result<()> {
        let mut text = self.offer(target);
        for _ in 0..8 {
            let mut request = Pdu::new(0x43);
            request.bhs[1] = 0x87;
            request.bhs[8] = 0x80;
            request.bhs[10..14].copy_from_slice(&self.options.isid.to_be_bytes());
            request.bhs[14..16].copy_from_slice(&self.options.tsih.to_be_bytes());
            request.put(24, self.cmd_sn);
            request.put(28, self.exp_stat_sn);
            request.data = std::mem::take(&mut text);
            request.send(&mut self.stream, (false, false), self.options.fragment)?;
            let answer = Pdu::receive(&mut self.stream, (false, false))?;
            if answer.opcode() != 0x23 || answer.bhs[36] != 0 {
                return Err(bad(format!("login refused: {:02x?}", &answer.bhs[..40])));
            }
            self.exp_stat_sn = answer.get(24).wrapping_add(1);
            self.max_cmd_sn = answer.get(32);
            self.adopt(&answer.data);
            if answer.bhs[1] & 0x83 == 0x83 {
                self.options.tsih = u16::from_be_bytes([answer.bhs[14], answer.bhs[15]]);
                return Ok(());
            }
        }
        Err(bad("the login does not end"))
    }

    fn adopt(&mut self, text: &[u8]) {
        for pair in text.split(|byte| *byte == 0) {
            let pair = String::from_utf8_lossy(pair);
            let Some((key, value)) = pair.split_once('=') else { continue };
            let number = value.parse().unwrap_or(0);
            let o = &mut self.options;
            match key {
                "MaxRecvDataSegmentLength" => self.max_send = number,
                "MaxBurstLength" => o.max_burst = number,
                "FirstBurstLength" => o.first_burst = number,
                "InitialR2T" => o.initial_r2t = value == "Yes",
                "ImmediateData" => o.immediate_data = value == "Yes",
                "HeaderDigest" => o.header_digest = value == "CRC32C",
                "DataDigest" => o.data_digest = value == "CRC32C",
                _ => {}
            }
        }
    }

    /// What was negotiated.
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn digests(&self) -> (bool, bool) {
        (self.options.header_digest, self.options.data_digest)
    }

    fn send(&mut self, pdu: &Pdu) -> io::Result<()> {
        let (digests, fragment) = (self.digests(), self.options.fragment);
        match &mut self.gathered {
            Some(gathered) => pdu.send(gathered, digests, fragment),
            None => pdu.send(&mut self.stream, digests, fragment),
        }
    }

    /// What `work` sends leaves with one call.
    pub fn together<T>(&mut self, work: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        self.gathered = Some(Vec::new());
        let done = work(self);
        let gathered = self.gathered.take().unwrap_or_default();
        self.stream.write_all(&gathered)?;
        done
    }

    /// How many more commands the target takes now.
    pub fn window(&self) -> u32 {
        let room = self.max_cmd_sn.wrapping_sub(self.cmd_sn).wrapping_add(1);
        if room > 0x8000_0000 { 0 } else { room }
    }

    /// Sends a command and its unsolicited data, waiting for room in the window; returns its tag.
    pub fn start(&mut self, lun: u8, cdb: &[u8], read: usize, write: &[u8]) -> io::Result<u32> {
        self.start_as(0, lun, cdb, read, write)
    }

    /// The same with a task attribute: 0 untagged, 1 simple, 2 ordered, 3 head of queue.
    pub fn start_as(
        &mut self,
        attribute: u8,
        lun: u8,
        cdb: &[u8],
        read: usize,
        write: &[u8],
    ) -> io::Result<u32> {
        while self.window() == 0 {
            self.pump()?;
        }
        let itt = self.tag();
        let (first, segment) = (self.options.first_burst, self.max_send);
        let now = if self.options.immediate_data { write.len().min(first).min(segment) } else { 0 };
        let unsolicited = if self.options.initial_r2t { now } else { write.len().min(first).max(now) };
        let mut command = Pdu::new(0x01);
        let (reads, writes) = (u8::from(read > 0), u8::from(!write.is_empty()));
        command.bhs[1] = u8::from(unsolicited == now) << 7 | reads << 6 | writes << 5 | attribute;
        command.bhs[8] = self.address;
        command.bhs[9] = lun;
        command.put(16, itt);
        command.put(20, read.max(write.len()) as u32);
        command.put(24, self.cmd_sn);
        command.put(28, self.exp_stat_sn);
        command.bhs[32..32 + cdb.len()].copy_from_slice(cdb);
        command.data = write[..now].to_vec();
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        self.pending.insert(itt, Pending { write: write.to_vec(), read: vec![0; read] });
        self.send(&command)?;
        self.data_out(itt, lun, NO_TAG, now..unsolicited)?;
        Ok(itt)
    }

    fn data_out(&mut self, itt: u32, lun: u8, ttt: u32, range: std::ops::Range<usize>) -> io::Result<()> {
        let (mut at, mut data_sn) = (range.start, 0);
        while at < range.end {
            let end = range.end.min(at + self.max_send);
            let mut pdu = Pdu::new(0x05);
            pdu.bhs[1] = u8::from(end == range.end) << 7;
            pdu.bhs[8] = self.address;
            pdu.bhs[9] = lun;
            pdu.put(16, itt);
            pdu.put(20, ttt);
            pdu.put(28, self.exp_stat_sn);
            pdu.put(36, data_sn);
            pdu.put(40, at as u32);
            let pending = self.pending.get(&itt).ok_or_else(|| bad("data for no command"))?;
            pdu.data = pending.write[at..end].to_vec();
            self.send(&pdu)?;
            (at, data_sn) = (end, data_sn + 1);
        }
        Ok(())
    }

    /// Takes one PDU from the target.
    pub fn pump(&mut self) -> io::Result<()> {
        let digests = self.digests();
        let pdu = Pdu::receive(&mut self.stream, digests)?;
        let itt = pdu.get(16);
        self.max_cmd_sn = pdu.get(32);
        match pdu.opcode() {
            0x21 => self.answered(&pdu, itt),
            0x25 => self.data_in(&pdu, itt),
            0x31 => {
                let (offset, length) = (pdu.get(40) as usize, pdu.get(44) as usize);
                let known = self.pending.get(&itt).is_some_and(|p| offset + length <= p.write.len());
                if !known || length == 0 || length > self.options.max_burst {
                    return Err(bad(format!("R2T for {length} bytes at {offset}")));
                }
                let asked = (itt, pdu.bhs[9], pdu.get(20), offset..offset + length);
                if self.holds_data {
                    self.asked.push(asked);
                    return Ok(());
                }
                self.give(asked)
            }
            0x20 => self.ping(&pdu),
            0x22 => {
                self.stat_sn(&pdu)?;
                self.functions.insert(itt, pdu.bhs[2]);
                Ok(())
            }
            0x24 => {
                self.stat_sn(&pdu)?;
                self.text = Some(pdu.data.clone());
                Ok(())
            }
            opcode => Err(bad(format!("opcode {opcode:#04x}"))),
        }
    }

    fn give(&mut self, (itt, lun, ttt, range): Asked) -> io::Result<()> {
        self.data_out(itt, lun, ttt, range)
    }

    /// Starts a command whose data is held back; its tag. The target has asked for it when this returns, so
    /// the command is in its task set.
    pub fn start_without_data(&mut self, lun: u8, cdb: &[u8], write: &[u8]) -> io::Result<u32> {
        self.holds_data = true;
        let itt = self.start(lun, cdb, 0, write)?;
        while self.asked.iter().all(|asked| asked.0 != itt) {
            self.pump()?;
        }
        Ok(itt)
    }

    /// Sends the data that was held back.
    pub fn give_data(&mut self) -> io::Result<()> {
        self.holds_data = false;
        std::mem::take(&mut self.asked).into_iter().try_for_each(|asked| self.give(asked))
    }

    fn stat_sn(&mut self, pdu: &Pdu) -> io::Result<()> {
        if pdu.get(24) != self.exp_stat_sn {
            return Err(bad(format!("StatSN {} and not {}", pdu.get(24), self.exp_stat_sn)));
        }
        self.exp_stat_sn = self.exp_stat_sn.wrapping_add(1);
        Ok(())
    }

    fn answered(&mut self, pdu: &Pdu, itt: u32) -> io::Result<()> {
        self.stat_sn(pdu)?;
        let pending = self.pending.remove(&itt).ok_or_else(|| bad("answer to no command"))?;
        let sense = pdu.data.get(2..).unwrap_or_default().to_vec();
        let (status, underflow) = (pdu.bhs[3], underflow(pdu));
        self.answers.insert(itt, Answer { status, data: pending.read, sense, underflow });
        Ok(())
    }

    fn data_in(&mut self, pdu: &Pdu, itt: u32) -> io::Result<()> {
        let pending = self.pending.get_mut(&itt).ok_or_else(|| bad("data of no command"))?;
        let at = pdu.get(40) as usize;
        let place = pending.read.get_mut(at..at + pdu.data.len()).ok_or_else(|| bad("too much data"))?;
        place.copy_from_slice(&pdu.data);
        if pdu.bhs[1] & 0x01 != 0 {
            self.stat_sn(pdu)?;
            let pending = self.pending.remove(&itt).ok_or_else(|| bad("answer to no command"))?;
            let (status, underflow) = (pdu.bhs[3], underflow(pdu));
            self.answers.insert(itt, Answer { status, data: pending.read, sense: Vec::new(), underflow });
        }
        Ok(())
    }

    fn ping(&mut self, pdu: &Pdu) -> io::Result<()> {
        if pdu.get(16) != NO_TAG {
            self.stat_sn(pdu)?;
            self.pings.push(pdu.get(16));
            return Ok(());
        }
        if pdu.get(20) == NO_TAG {
            return Ok(());
        }
        self.asked_for += 1;
        let mut answer = Pdu::new(0x40);
        answer.bhs[1] = 0x80;
        answer.put(16, NO_TAG);
        answer.put(20, pdu.get(20));
        answer.put(24, self.cmd_sn);
        answer.put(28, self.exp_stat_sn);
        self.send(&answer)
    }

    /// The answer to a command that was started.
    pub fn wait(&mut self, itt: u32) -> io::Result<Answer> {
        loop {
            if let Some(answer) = self.answers.remove(&itt) {
                return Ok(answer);
            }
            self.pump()?;
        }
    }

    /// Sends a task management function, for immediate delivery; returns its tag.
    pub fn begin_function(&mut self, function: u8, lun: u8, referenced: u32) -> io::Result<u32> {
        let itt = self.next_itt;
        self.next_itt = self.next_itt.wrapping_add(1) & 0x7fff_ffff;
        let mut pdu = Pdu::new(0x42);
        pdu.bhs[1] = 0x80 | function;
        pdu.bhs[9] = lun;
        pdu.put(16, itt);
        pdu.put(20, referenced);
        pdu.put(24, self.cmd_sn);
        pdu.put(28, self.exp_stat_sn);
        pdu.put(32, self.cmd_sn);
        self.send(&pdu)?;
        Ok(itt)
    }

    /// The response to a function, if it has come with what was received so far.
    pub fn function_result(&mut self, itt: u32) -> Option<u8> {
        self.functions.get(&itt).copied()
    }

    /// The response to a function.
    pub fn wait_function(&mut self, itt: u32) -> io::Result<u8> {
        loop {
            if let Some(response) = self.functions.remove(&itt) {
                return Ok(response);
            }
            self.pump()?;
        }
    }

    /// One command from start to end.
    pub fn command(&mut self, lun: u8, cdb: &[u8], read: usize, write: &[u8]) -> io::Result<Answer> {
        let itt = self.start(lun, cdb, read, write)?;
        self.wait(itt)
    }

    /// The same, of which nothing but GOOD is expected; a unit attention is taken and the command repeated.
    pub fn good(&mut self, lun: u8, cdb: &[u8], read: usize, write: &[u8]) -> io::Result<Vec<u8>> {
        for _ in 0..8 {
            let answer = self.command(lun, cdb, read, write)?;
            match (answer.status, answer.sense.get(2).map(|byte| byte & 0x0f)) {
                (0, _) => return Ok(answer.data),
                (2, Some(6)) => {}
                _ => return Err(bad(format!("{cdb:02x?}: {:#04x} {:02x?}", answer.status, answer.sense))),
            }
        }
        Err(bad("no end of unit attentions"))
    }

    /// The first byte of the LUN fields from now on; the `lun` given with a command is the second.
    pub fn address(&mut self, first: u8) {
        self.address = first;
    }

    /// Flat space addressing of units in the same 256 as `lun`.
    pub fn address_flat(&mut self, lun: u16) {
        self.address(0x40 | lun.to_be_bytes()[0]);
    }

    /// Peripheral device addressing.
    pub fn address_peripheral(&mut self) {
        self.address(0);
    }

    fn tag(&mut self) -> u32 {
        let itt = self.next_itt;
        self.next_itt = self.next_itt.wrapping_add(1) & 0x7fff_ffff;
        itt
    }

    /// The answer to a command, once it has come.
    pub fn answer(&self, itt: u32) -> Option<&Answer> {
        self.answers.get(&itt)
    }

    /// A ping and its answer: everything that the target had said before has come when this returns.
    pub fn nop(&mut self) -> io::Result<()> {
        let itt = self.tag();
        let mut pdu = Pdu::new(0x40);
        pdu.bhs[1] = 0x80;
        pdu.put(16, itt);
        pdu.put(20, NO_TAG);
        pdu.put(24, self.cmd_sn);
        pdu.put(28, self.exp_stat_sn);
        self.send(&pdu)?;
        while !self.pings.contains(&itt) {
            self.pump()?;
        }
        Ok(())
    }

    /// How often the target has asked for a NOP-Out.
    pub fn asked_for(&self) -> u32 {
        self.asked_for
    }

    /// Waits until something has come, and takes none of it.
    pub fn arrives(&self) -> io::Result<()> {
        self.stream.peek(&mut [0]).map(drop)
    }

    /// SendTargets=All, and the text of the answer.
    pub fn send_targets(&mut self) -> io::Result<String> {
        let mut pdu = Pdu::new(0x44);
        pdu.bhs[1] = 0x80;
        let itt = self.tag();
        pdu.put(16, itt);
        pdu.put(20, NO_TAG);
        pdu.put(24, self.cmd_sn);
        pdu.put(28, self.exp_stat_sn);
        pdu.data = b"SendTargets=All\0".to_vec();
        self.send(&pdu)?;
        loop {
            if let Some(text) = self.text.take() {
                return Ok(String::from_utf8_lossy(&text).into_owned());
            }
            self.pump()?;
        }
    }

    /// Sends these bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }
}

/// Residual Count, with U (RFC 7143 11.4.5).
fn underflow(pdu: &Pdu) -> u32 {
    if pdu.bhs[1] & 0x02 != 0 { pdu.get(44) } else { 0 }
}

/// The parameter list of UNMAP for these blocks.
pub fn unmap_list(ranges: &[(u64, u32)]) -> Vec<u8> {
    let length = 16 * ranges.len();
    let mut list = vec![0; 8];
    list[..2].copy_from_slice(&(length as u16 + 6).to_be_bytes());
    list[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    for (lba, blocks) in ranges {
        list.extend(lba.to_be_bytes());
        list.extend(blocks.to_be_bytes());
        list.extend([0; 4]);
    }
    list
}

/// READ(16) or WRITE(16).
pub fn rw16(opcode: u8, lba: u64, blocks: u32, fua: bool) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[1] = u8::from(fua) << 3;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

pub const READ: u8 = 0x88;
pub const WRITE: u8 = 0x8a;
pub const SYNCHRONIZE_CACHE: u8 = 0x91;
