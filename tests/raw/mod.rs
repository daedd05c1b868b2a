//! An initiator whose bytes a test sends as it likes: PDUs cut anywhere, wrong digests, halves.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)] // Each test uses a part.

pub mod units;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::initiator::pdu::Pdu;

const NO_TAG: u32 = 0xffff_ffff;
const LIMIT: Duration = Duration::from_secs(30);

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub status: u8,
    pub data: Vec<u8>,
    pub sense: Vec<u8>,
    /// The O and U bits, and the count.
    pub residual: (u8, u32),
}

impl Ended {
    pub fn is_good(&self) -> bool {
        self.status == 0
    }

    /// Sense key, code and qualifier.
    pub fn key(&self) -> (u8, u8, u8) {
        assert_eq!(self.status, 2, "{self:x?}");
        (self.sense[2] & 0x0f, self.sense[12], self.sense[13])
    }
}

/// How to log in.
#[derive(Clone, Copy)]
pub struct Keys {
    pub digests: (bool, bool),
    /// Data goes with the command, or is asked for.
    pub immediate: bool,
    pub isid: u8,
}

pub const WHOLE: Keys = Keys { digests: (false, false), immediate: true, isid: 1 };

pub struct Raw {
    stream: TcpStream,
    keys: Keys,
    cmd_sn: u32,
    max_cmd_sn: u32,
    stat_sn: u32,
    itt: u32,
    /// Data that may be asked for; and what has come of the answers.
    asked: BTreeMap<u32, Vec<u8>>,
    /// R2Ts are not answered for now.
    holds: bool,
    held: Vec<Pdu>,
    ended: BTreeMap<u32, Ended>,
    data_in: BTreeMap<u32, Vec<u8>>,
    pub functions: BTreeMap<u32, u8>,
    pub rejects: Vec<u8>,
    /// NOP-Ins that want an answer; they get none.
    pub pings: usize,
    pub is_logged_out: bool,
}

impl Raw {
    pub fn login(address: SocketAddr, target: &str, keys: Keys) -> Raw {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let mut raw = Raw {
            stream,
            keys,
            cmd_sn: 1,
            max_cmd_sn: 1,
            stat_sn: 0,
            itt: 1,
            asked: BTreeMap::new(),
            holds: false,
            held: Vec::new(),
            ended: BTreeMap::new(),
            data_in: BTreeMap::new(),
            functions: BTreeMap::new(),
            rejects: Vec::new(),
            pings: 0,
            is_logged_out: false,
        };
        let digest = |is_on| if is_on { "CRC32C" } else { "None" };
        let (immediate, initial) = if keys.immediate { ("Yes", "No") } else { ("No", "Yes") };
        let text = format!(
            "InitiatorName=iqn.2026-01.test:raw{}\0SessionType=Normal\0TargetName={target}\0\
             HeaderDigest={}\0DataDigest={}\0ImmediateData={immediate}\0InitialR2T={initial}\0\
             MaxBurstLength=262144\0FirstBurstLength=262144\0MaxRecvDataSegmentLength=262144\0",
            keys.isid,
            digest(keys.digests.0),
            digest(keys.digests.1)
        );
        let mut request = Pdu::new(0x43);
        request.bhs[1] = 0x87;
        request.bhs[8] = 0x80;
        request.bhs[13] = keys.isid;
        request.put(24, raw.cmd_sn);
        request.data = text.into_bytes();
        request.send(&mut raw.stream, (false, false), 0).unwrap();
        let answer = Pdu::receive(&mut raw.stream, (false, false)).unwrap();
        assert_eq!((answer.opcode(), answer.bhs[36], answer.bhs[1] & 0x83), (0x23, 0, 0x83));
        let agreed = String::from_utf8_lossy(&answer.data).into_owned();
        for (key, is_on) in [("HeaderDigest=CRC32C", keys.digests.0), ("DataDigest=CRC32C", keys.digests.1)] {
            assert_eq!(agreed.contains(key), is_on, "{agreed}");
        }
        raw.stat_sn = answer.get(24).wrapping_add(1);
        raw.max_cmd_sn = answer.get(32);
        raw
    }

    /// Takes what the unit wants to say first.
    pub fn ready(&mut self, lun: u8) {
        while !self.run(lun, &[0; 6], 0, &[]).is_good() {}
    }

    /// A SCSI command, its numbers taken, not sent: its tag and its PDU.
    pub fn pdu(&mut self, lun: u8, cdb: &[u8], announced: usize, data: &[u8]) -> (u32, Pdu) {
        let mut pdu = Pdu::new(0x01);
        pdu.bhs[1] = 0x80 | if announced > 0 { 0x20 } else { 0 };
        pdu.bhs[9] = lun;
        pdu.put(16, self.itt);
        pdu.put(20, announced as u32);
        pdu.put(24, self.cmd_sn);
        pdu.put(28, self.stat_sn);
        pdu.bhs[32..32 + cdb.len()].copy_from_slice(cdb);
        if self.keys.immediate {
            pdu.data = data.to_vec();
        } else {
            self.asked.insert(self.itt, data.to_vec());
        }
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        self.itt += 1;
        (self.itt - 1, pdu)
    }

    pub fn bytes(&self, pdu: &Pdu) -> Vec<u8> {
        let mut bytes = Vec::new();
        pdu.send(&mut bytes, self.keys.digests, 0).unwrap();
        bytes
    }

    /// The bytes of a write that has its data.
    pub fn whole(&mut self, lun: u8, cdb: &[u8], data: &[u8]) -> (u32, Vec<u8>) {
        let (itt, pdu) = self.pdu(lun, cdb, data.len(), data);
        (itt, self.bytes(&pdu))
    }

    /// The last command was made to look at, and is not sent.
    pub fn forget_last(&mut self) {
        self.cmd_sn = self.cmd_sn.wrapping_sub(1);
        self.itt -= 1;
    }

    /// A command that reads.
    pub fn reading(&mut self, lun: u8, cdb: &[u8], length: usize) -> (u32, Vec<u8>) {
        let (itt, mut pdu) = self.pdu(lun, cdb, 0, &[]);
        if length > 0 {
            pdu.bhs[1] |= 0x40;
            pdu.put(20, length as u32);
        }
        self.data_in.insert(itt, vec![0; length]);
        (itt, self.bytes(&pdu))
    }

    /// A task management function, for immediate delivery.
    pub fn function(&mut self, function: u8, lun: u8, referenced: u32) -> (u32, Vec<u8>) {
        let mut pdu = Pdu::new(0x42);
        pdu.bhs[1] = 0x80 | function;
        pdu.bhs[9] = lun;
        let itt = self.numbers(&mut pdu);
        pdu.put(20, referenced);
        pdu.put(32, self.cmd_sn);
        (itt, self.bytes(&pdu))
    }

    pub fn logout(&mut self) -> Vec<u8> {
        let mut pdu = Pdu::new(0x46);
        self.numbers(&mut pdu);
        self.bytes(&pdu)
    }

    fn numbers(&mut self, pdu: &mut Pdu) -> u32 {
        pdu.put(16, self.itt);
        pdu.put(24, self.cmd_sn);
        pdu.put(28, self.stat_sn);
        self.itt += 1;
        self.itt - 1
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// More commands that the target takes now.
    pub fn window(&self) -> u32 {
        let room = self.max_cmd_sn.wrapping_sub(self.cmd_sn).wrapping_add(1);
        if room > 0x8000_0000 { 0 } else { room }
    }

    /// Takes one PDU.
    pub fn pump(&mut self) -> io::Result<()> {
        let pdu = Pdu::receive(&mut self.stream, self.keys.digests)?;
        let itt = pdu.get(16);
        self.max_cmd_sn = pdu.get(32);
        match pdu.opcode() {
            0x21 => self.end(itt, &pdu, pdu.data.get(2..).unwrap_or_default().to_vec()),
            0x25 => {
                let at = pdu.get(40) as usize;
                let place = self.data_in.get_mut(&itt).unwrap();
                place[at..at + pdu.data.len()].copy_from_slice(&pdu.data);
                if pdu.bhs[1] & 0x01 != 0 {
                    self.end(itt, &pdu, Vec::new());
                }
            }
            0x22 => {
                self.stat_sn(&pdu);
                self.functions.insert(itt, pdu.bhs[2]);
            }
            0x26 => {
                self.stat_sn(&pdu);
                self.is_logged_out = true;
            }
            0x31 if self.holds => self.held.push(pdu),
            0x31 => self.give(&pdu),
            // An Asynchronous Message.
            0x32 => self.stat_sn(&pdu),
            0x3f => {
                self.stat_sn(&pdu);
                self.rejects.push(pdu.bhs[2]);
            }
            0x20 => self.pings += usize::from(pdu.get(20) != NO_TAG),
            opcode => panic!("opcode {opcode:#04x}"),
        }
        Ok(())
    }

    fn stat_sn(&mut self, pdu: &Pdu) {
        assert_eq!(pdu.get(24), self.stat_sn, "StatSN");
        self.stat_sn = self.stat_sn.wrapping_add(1);
    }

    fn end(&mut self, itt: u32, pdu: &Pdu, sense: Vec<u8>) {
        self.stat_sn(pdu);
        let data = self.data_in.remove(&itt).unwrap_or_default();
        let residual = (pdu.bhs[1] & 0x06, pdu.get(44));
        let ended = Ended { status: pdu.bhs[3], data, sense, residual };
        assert!(self.ended.insert(itt, ended).is_none(), "answered twice");
    }

    /// Sends what an R2T asks for.
    fn give(&mut self, asking: &Pdu) {
        let itt = asking.get(16);
        let (offset, length) = (asking.get(40) as usize, asking.get(44) as usize);
        let mut pdu = Pdu::new(0x05);
        pdu.bhs[9] = asking.bhs[9];
        pdu.put(16, itt);
        pdu.put(20, asking.get(20));
        pdu.put(28, self.stat_sn);
        pdu.put(40, offset as u32);
        pdu.data = self.asked[&itt][offset..offset + length].to_vec();
        let bytes = self.bytes(&pdu);
        self.send(&bytes);
    }

    /// A command whose data is asked for, whatever was agreed on.
    pub fn run_asked(&mut self, lun: u8, cdb: &[u8], data: &[u8]) -> Ended {
        let bytes = self.without_data(lun, cdb, data);
        self.send(&bytes);
        self.wait(self.itt - 1)
    }

    fn without_data(&mut self, lun: u8, cdb: &[u8], data: &[u8]) -> Vec<u8> {
        let (itt, mut pdu) = self.pdu(lun, cdb, data.len(), data);
        pdu.data.clear();
        self.asked.insert(itt, data.to_vec());
        self.bytes(&pdu)
    }

    /// Sends a command of which the target has asked for the data when this returns; they are held back.
    pub fn start_without_data(&mut self, lun: u8, cdb: &[u8], data: &[u8]) -> u32 {
        let bytes = self.without_data(lun, cdb, data);
        let itt = self.itt - 1;
        self.holds = true;
        self.send(&bytes);
        while self.held.iter().all(|asking| asking.get(16) != itt) {
            self.pump().unwrap();
        }
        self.holds = false;
        itt
    }

    /// Sends what was held back.
    pub fn give_data(&mut self) {
        for asking in std::mem::take(&mut self.held) {
            self.give(&asking);
        }
    }

    pub fn wait(&mut self, itt: u32) -> Ended {
        loop {
            if let Some(ended) = self.ended.remove(&itt) {
                return ended;
            }
            self.pump().unwrap();
        }
    }

    pub fn wait_function(&mut self, itt: u32) -> u8 {
        loop {
            if let Some(response) = self.functions.remove(&itt) {
                return response;
            }
            self.pump().unwrap();
        }
    }

    /// Whether the command has been answered, as far as was received.
    pub fn has_ended(&self, itt: u32) -> bool {
        self.ended.contains_key(&itt)
    }

    /// One command; `announced` bytes of data are announced, and these are sent.
    pub fn run(&mut self, lun: u8, cdb: &[u8], announced: usize, data: &[u8]) -> Ended {
        let (itt, pdu) = self.pdu(lun, cdb, announced, data);
        let bytes = self.bytes(&pdu);
        self.send(&bytes);
        self.wait(itt)
    }

    pub fn read(&mut self, lun: u8, cdb: &[u8], length: usize) -> Vec<u8> {
        let (itt, bytes) = self.reading(lun, cdb, length);
        self.send(&bytes);
        let ended = self.wait(itt);
        assert!(ended.is_good(), "{ended:x?}");
        ended.data
    }

    /// A command that reads, answered, unless the connection is closed before.
    pub fn try_read(&mut self, lun: u8, cdb: &[u8], length: usize) -> io::Result<()> {
        let (itt, bytes) = self.reading(lun, cdb, length);
        self.stream.write_all(&bytes)?;
        while self.ended.remove(&itt).is_none() {
            self.pump()?;
        }
        Ok(())
    }

    /// Nothing more is sent.
    pub fn shut(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Takes what still comes, until the target has closed.
    pub fn until_closed(&mut self) {
        loop {
            match self.pump() {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    panic!("the connection is still open")
                }
                Err(_) => return,
            }
        }
    }
}

/// READ(16) or WRITE(16).
pub fn rw16(opcode: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}
