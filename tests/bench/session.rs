//! Logging in, and the questions that come before a load: is the unit ready, how large is it.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::pdu::{self, BHS, Numbers, data_length, get32, put32};

/// How long the target may take over anything before and after the load.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes of one data segment that we take, and the bursts that we offer.
const OFFERED_SEGMENT: usize = 256 << 10;
const OFFERED_BURST: usize = 16 << 20 >> 1;

/// Where to log in, and how.
#[derive(Clone, Debug)]
pub struct Place {
    pub address: SocketAddr,
    pub target: String,
    pub lun: u16,
    pub header_digest: bool,
    pub data_digest: bool,
}

/// What was negotiated.
#[derive(Clone, Copy, Debug)]
pub struct Agreed {
    /// Longest data segment that the target takes.
    pub segment: usize,
    pub first_burst: usize,
    pub immediate: bool,
    pub initial_r2t: bool,
    pub header_digest: bool,
    pub data_digest: bool,
}

/// Size of a unit.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    pub block_size: u32,
    pub blocks: u64,
}

/// A session in full feature phase.
pub struct Session {
    pub stream: TcpStream,
    pub agreed: Agreed,
    /// The one of its place.
    pub first_lun: u16,
    pub lun: [u8; 8],
    pub cmd_sn: u32,
    pub max_cmd_sn: u32,
    pub exp_stat_sn: u32,
}

pub fn bad(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidData, text.into())
}

/// Makes a system call again for as long as a signal interrupts it. On a socket with a time-out it fails even
/// with no signal handled, when the process was stopped and goes on (signal(7)). The time-out begins anew: a
/// target that was stopped with this process, as a terminal stops both, has not been silent.
pub fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

impl Session {
    /// Logs in as initiator number `number`.
    pub fn open(place: &Place, number: usize) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&place.address, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let agreed = Agreed {
            segment: 8192,
            first_burst: 65536,
            immediate: true,
            initial_r2t: true,
            header_digest: false,
            data_digest: false,
        };
        let mut session = Session {
            stream,
            agreed,
            first_lun: place.lun,
            lun: pdu::lun_field(place.lun),
            cmd_sn: 1,
            max_cmd_sn: 1,
            exp_stat_sn: 0,
        };
        session.negotiate(place, number)?;
        Ok(session)
    }

    fn negotiate(&mut self, place: &Place, number: usize) -> io::Result<()> {
        let digest = |wanted| if wanted { "CRC32C" } else { "None" };
        let mut text = format!(
            "InitiatorName=iqn.2026-01.org.scstu:bench.{number}\0TargetName={}\0SessionType=Normal\0\
             HeaderDigest={}\0DataDigest={}\0InitialR2T=No\0ImmediateData=Yes\0MaxOutstandingR2T=8\0\
             MaxBurstLength={OFFERED_BURST}\0FirstBurstLength={OFFERED_BURST}\0\
             MaxRecvDataSegmentLength={OFFERED_SEGMENT}\0DefaultTime2Wait=2\0DefaultTime2Retain=0\0\
             ErrorRecoveryLevel=0\0MaxConnections=1\0DataPDUInOrder=Yes\0DataSequenceInOrder=Yes\0",
            place.target,
            digest(place.header_digest),
            digest(place.data_digest)
        )
        .into_bytes();
        for _ in 0..8 {
            let mut header = [0; BHS];
            header[0] = 0x43;
            header[1] = 0x87; // Transit from the operational stage to full feature phase.
            header[8] = 0x80;
            // Several of these programs at once are several initiator ports.
            header[9..12].copy_from_slice(&std::process::id().to_be_bytes()[1..]);
            header[12..14].copy_from_slice(&u16::try_from(number & 0xffff).unwrap_or(0).to_be_bytes());
            put32(&mut header, 24, self.cmd_sn);
            put32(&mut header, 28, self.exp_stat_sn);
            self.write(header, &std::mem::take(&mut text), false)?;
            let (answer, keys) = self.read(false)?;
            if answer[0] & 0x3f != 0x23 || answer[36] != 0 {
                return Err(bad(format!("login refused: status {:02x}{:02x}h", answer[36], answer[37])));
            }
            self.adopt(&keys);
            if answer[1] & 0x83 == 0x83 {
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
            let agreed = &mut self.agreed;
            match key {
                "MaxRecvDataSegmentLength" => agreed.segment = number,
                "FirstBurstLength" => agreed.first_burst = number,
                "ImmediateData" => agreed.immediate = value == "Yes",
                "InitialR2T" => agreed.initial_r2t = value == "Yes",
                "HeaderDigest" => agreed.header_digest = value == "CRC32C",
                "DataDigest" => agreed.data_digest = value == "CRC32C",
                _ => {}
            }
        }
    }

    fn write(&mut self, mut header: [u8; BHS], data: &[u8], digests: bool) -> io::Result<()> {
        pdu::set_data_length(&mut header, data.len());
        let mut bytes = header.to_vec();
        if digests && self.agreed.header_digest {
            bytes.extend(crc32c::crc32c(&header).to_le_bytes());
        }
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.stream.write_all(&bytes)
    }

    /// One PDU; notes what it says of sequence numbers.
    fn read(&mut self, digests: bool) -> io::Result<([u8; BHS], Vec<u8>)> {
        let mut header = [0; BHS];
        let mut digest = [0; 4];
        self.stream.read_exact(&mut header)?;
        if digests && self.agreed.header_digest {
            self.stream.read_exact(&mut digest)?;
        }
        let length = data_length(&header);
        let mut data = vec![0; length.next_multiple_of(4)];
        self.stream.read_exact(&mut data)?;
        if digests && self.agreed.data_digest && length > 0 {
            self.stream.read_exact(&mut digest)?;
        }
        data.truncate(length);
        self.note(&header);
        Ok((header, data))
    }

    /// Takes over StatSN and the command window.
    pub fn note(&mut self, header: &[u8]) {
        let has_status = header[0] & 0x3f != 0x25 || header[1] & 1 != 0;
        if has_status && header[0] & 0x3f != 0x31 {
            self.exp_stat_sn = get32(header, 24).wrapping_add(1);
        }
        let max = get32(header, 32);
        if max.wrapping_sub(self.max_cmd_sn) < 0x8000_0000 {
            self.max_cmd_sn = max;
        }
    }

    /// Commands that the target takes now.
    pub fn window(&self) -> u32 {
        let room = self.max_cmd_sn.wrapping_sub(self.cmd_sn).wrapping_add(1);
        if room > 0x8000_0000 { 0 } else { room }
    }

    /// A command that reads at most `room` bytes: status and data.
    pub fn ask(&mut self, cdb: [u8; 16], room: u32) -> io::Result<(u8, Vec<u8>)> {
        let numbers = Numbers { itt: 0x7fff_0000, cmd_sn: self.cmd_sn, exp_stat_sn: self.exp_stat_sn };
        let flags = if room > 0 { 0xc0 } else { 0x80 };
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        self.write(pdu::command(flags, self.lun, &cdb, room, numbers), &[], true)?;
        let mut data = Vec::new();
        loop {
            let (header, bytes) = self.read(true)?;
            match header[0] & 0x3f {
                0x25 => {
                    data.extend(bytes);
                    if header[1] & 1 != 0 {
                        return Ok((header[3], data));
                    }
                }
                0x21 => return Ok((header[3], data)),
                0x20 => {}
                opcode => return Err(bad(format!("PDU {opcode:02x}h where a response was due"))),
            }
        }
    }

    /// Which unit is asked from here on.
    pub fn turn_to(&mut self, lun: u16) {
        self.lun = pdu::lun_field(lun);
    }

    /// Waits until the unit is ready, past its unit attentions.
    pub fn await_ready(&mut self) -> io::Result<()> {
        for _ in 0..16 {
            if self.ask([0; 16], 0)?.0 == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Waits until the unit is ready, and asks for its size.
    pub fn unit(&mut self) -> io::Result<Unit> {
        self.await_ready()?;
        let mut capacity = [0; 16];
        capacity[0] = 0x9e;
        capacity[1] = 0x10;
        capacity[13] = 32;
        let (status, data) = self.ask(capacity, 32)?;
        if status != 0 || data.len() < 12 {
            return Err(bad(format!("READ CAPACITY(16) ended with status {status:02x}h")));
        }
        let mut last = [0; 8];
        last.copy_from_slice(&data[..8]);
        let blocks = u64::from_be_bytes(last).wrapping_add(1);
        Ok(Unit { block_size: get32(&data, 8).max(1), blocks })
    }

    /// Logs out; the target may close instead of answering.
    pub fn close(mut self) {
        let mut header = [0; BHS];
        header[0] = 0x46;
        header[1] = 0x80;
        put32(&mut header, 16, 0x7fff_0001);
        put32(&mut header, 24, self.cmd_sn);
        put32(&mut header, 28, self.exp_stat_sn);
        if self.write(header, &[], true).is_ok() {
            let _ = self.read(true);
        }
    }
}
