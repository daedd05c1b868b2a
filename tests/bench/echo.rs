//! The ceiling: a server that knows no SCSI. One blocking thread a connection takes everything that one
//! receive call brings, and answers all complete requests in one send call: what TCP itself costs.
//!
//! It says yes to any login, answers every READ with bytes and every WRITE with GOOD, and checks nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use scstu::sys::socket;

use crate::pdu::{self, BHS, data_length, get32, put32};
use crate::session::again;

/// Bytes that one receive call takes.
const ROOM: usize = 256 << 10;
/// Bytes gathered before they are sent whatever else is at hand.
const GATHER: usize = 256 << 10;
/// From here on file data leaves by sendfile(2), where that is asked for.
const LARGE: usize = 16 << 10;
/// Longest transfer of one command.
const LONGEST: usize = 16 << 20;
const BLOCK: u64 = 512;

/// Where the bytes are.
#[derive(Clone, Debug)]
pub struct Echo {
    /// A file, or nothing but memory.
    pub file: Option<PathBuf>,
    /// Large reads from the file without a copy through this process.
    pub sendfile: bool,
    /// Size that READ CAPACITY tells.
    pub bytes: u64,
}

struct Connection {
    stream: TcpStream,
    file: Option<File>,
    echo: Echo,
    input: Vec<u8>,
    start: usize,
    end: usize,
    out: Vec<u8>,
    data: Vec<u8>,
    stat_sn: u32,
    cmd_sn: u32,
    /// Tag, offset and length of the WRITE whose Data-Out is arriving.
    write: Option<(u32, u64, usize)>,
    segment: usize,
}

/// Serves until the process is ended.
pub fn serve(listener: TcpListener, echo: Echo) -> io::Result<()> {
    let echo = Arc::new(echo);
    loop {
        let (stream, _) = listener.accept()?;
        let echo = Arc::clone(&echo);
        let serve = move || {
            // The initiator closing its connection is how every one ends.
            let _ = Connection::new(stream, Echo::clone(&echo)).and_then(|mut connection| connection.run());
        };
        thread::Builder::new().stack_size(128 << 10).spawn(serve)?;
    }
}

impl Connection {
    fn new(stream: TcpStream, echo: Echo) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let open = |path: &PathBuf| OpenOptions::new().read(true).write(true).open(path);
        let file = echo.file.as_ref().map(open).transpose()?;
        Ok(Connection {
            stream,
            file,
            echo,
            input: vec![0; ROOM],
            start: 0,
            end: 0,
            out: Vec::with_capacity(2 * GATHER),
            data: Vec::new(),
            stat_sn: 1,
            cmd_sn: 0,
            write: None,
            segment: 256 << 10,
        })
    }

    fn run(&mut self) -> io::Result<()> {
        loop {
            while self.end - self.start >= BHS {
                let mut header = [0; BHS];
                header.copy_from_slice(&self.input[self.start..self.start + BHS]);
                self.start += BHS;
                self.request(&header)?;
            }
            self.flush()?;
            self.receive()?;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let mut room = [IoSliceMut::new(&mut self.input[self.end..])];
        match again(|| socket::receive(self.stream.as_fd(), &mut room, true))? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    fn respond(&mut self, opcode: u8, flags: u8, itt: u32) -> [u8; BHS] {
        let mut header = [0; BHS];
        header[0] = opcode;
        header[1] = flags;
        put32(&mut header, 16, itt);
        put32(&mut header, 24, self.stat_sn);
        put32(&mut header, 28, self.cmd_sn.wrapping_add(1));
        put32(&mut header, 32, self.cmd_sn.wrapping_add(4096));
        self.stat_sn = self.stat_sn.wrapping_add(1);
        header
    }

    fn request(&mut self, header: &[u8; BHS]) -> io::Result<()> {
        let itt = get32(header, 16);
        let opcode = header[0] & 0x3f;
        if opcode != 0x05 && header[0] & 0x40 == 0 {
            self.cmd_sn = get32(header, 24);
        }
        match opcode {
            0x03 => self.login(header, itt),
            0x01 => self.command(header, itt),
            0x05 => self.data_out(header),
            0x06 => {
                let answer = self.respond(0x26, 0x80, itt);
                self.out.extend_from_slice(&answer);
                Ok(())
            }
            _ => self.discard(data_length(header)),
        }
    }

    /// The initiator's own wishes are what is agreed, but for digests, which are refused.
    fn login(&mut self, header: &[u8; BHS], itt: u32) -> io::Result<()> {
        let length = data_length(header);
        self.take(length.next_multiple_of(4))?;
        let asked = String::from_utf8_lossy(&self.data[..length]).into_owned();
        let mut keys = String::from("MaxRecvDataSegmentLength=8388608\0TargetPortalGroupTag=1\0");
        for pair in asked.split('\0') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match key {
                "HeaderDigest" | "DataDigest" => keys += &format!("{key}=None\0"),
                "MaxRecvDataSegmentLength" => self.segment = value.parse().unwrap_or(8192),
                "InitialR2T" | "ImmediateData" | "MaxBurstLength" | "FirstBurstLength" => {
                    keys += &format!("{key}={value}\0");
                }
                _ => {}
            }
        }
        let mut answer = self.respond(0x23, header[1], itt);
        answer[8..16].copy_from_slice(&header[8..16]);
        answer[15] = 1;
        pdu::set_data_length(&mut answer, keys.len());
        self.out.extend_from_slice(&answer);
        self.out.extend_from_slice(keys.as_bytes());
        self.out.resize(self.out.len().next_multiple_of(4), 0);
        Ok(())
    }

    fn command(&mut self, header: &[u8; BHS], itt: u32) -> io::Result<()> {
        let cdb = &header[32..48];
        let lba = match cdb[0] {
            0x28 | 0x2a => u64::from(get32(cdb, 2)),
            _ => u64::from(get32(cdb, 2)) << 32 | u64::from(get32(cdb, 6)),
        };
        let length = (get32(header, 20) as usize).min(LONGEST);
        match cdb[0] {
            0x28 | 0x88 => self.read(itt, lba * BLOCK, length),
            0x2a | 0x8a => {
                let immediate = data_length(header);
                self.write = Some((itt, lba * BLOCK, length));
                self.landed(lba * BLOCK, immediate)?;
                if header[1] & 0x80 != 0 { self.written(itt) } else { Ok(()) }
            }
            0x9e => {
                let mut data = [0; 32];
                data[..8].copy_from_slice(&(self.echo.bytes / BLOCK - 1).to_be_bytes());
                data[8..12].copy_from_slice(&512u32.to_be_bytes());
                let mut answer = self.respond(0x25, 0x81, itt);
                pdu::set_data_length(&mut answer, data.len());
                self.out.extend_from_slice(&answer);
                self.out.extend_from_slice(&data);
                Ok(())
            }
            _ => self.written(itt),
        }
    }

    fn written(&mut self, itt: u32) -> io::Result<()> {
        self.write = None;
        let answer = self.respond(0x21, 0x80, itt);
        self.out.extend_from_slice(&answer);
        Ok(())
    }

    fn data_out(&mut self, header: &[u8; BHS]) -> io::Result<()> {
        let Some((itt, offset, _)) = self.write else { return self.discard(data_length(header)) };
        self.landed(offset + u64::from(get32(header, 40)), data_length(header))?;
        if header[1] & 0x80 != 0 { self.written(itt) } else { Ok(()) }
    }

    /// Data of a WRITE: into memory of its own, from there with one call into the file.
    fn landed(&mut self, offset: u64, length: usize) -> io::Result<()> {
        if length <= self.end - self.start {
            let data = &self.input[self.start..self.start + length];
            if let Some(file) = &self.file {
                file.write_all_at(data, offset)?;
            }
            self.start += length;
            return Ok(());
        }
        self.take(length)?;
        match &self.file {
            Some(file) => file.write_all_at(&self.data[..length], offset),
            None => Ok(()),
        }
    }

    /// Moves the next `length` bytes to `data`.
    fn take(&mut self, length: usize) -> io::Result<()> {
        if self.data.len() < length {
            self.data.resize(length, 0);
        }
        let here = length.min(self.end - self.start);
        self.data[..here].copy_from_slice(&self.input[self.start..self.start + here]);
        self.start += here;
        (&self.stream).read_exact(&mut self.data[here..length])
    }

    fn discard(&mut self, length: usize) -> io::Result<()> {
        let length = length.next_multiple_of(4).min(LONGEST);
        self.take(length)
    }

    fn read(&mut self, itt: u32, offset: u64, length: usize) -> io::Result<()> {
        let mut at = 0;
        while at < length {
            let part = (length - at).min(self.segment);
            let is_last = at + part == length;
            let mut header = self.respond(0x25, if is_last { 0x81 } else { 0 }, itt);
            if !is_last {
                self.stat_sn = self.stat_sn.wrapping_sub(1);
            }
            pdu::set_data_length(&mut header, part);
            put32(&mut header, 40, u32::try_from(at).unwrap_or(0));
            self.data_in(&header, offset + at as u64, part)?;
            at += part;
        }
        Ok(())
    }

    fn data_in(&mut self, header: &[u8; BHS], offset: u64, length: usize) -> io::Result<()> {
        if length < LARGE {
            self.out.extend_from_slice(header);
            let from = self.out.len();
            self.out.resize(from + length, 0);
            if let Some(file) = &self.file {
                file.read_exact_at(&mut self.out[from..], offset)?;
            }
            return if self.out.len() > GATHER { self.flush() } else { Ok(()) };
        }
        if let (true, Some(file)) = (self.echo.sendfile, &self.file) {
            self.out.extend_from_slice(header);
            socket::send_file(self.stream.as_fd(), &self.out, file, offset, length)?;
            self.out.clear();
            return Ok(());
        }
        if self.data.len() < length {
            self.data.resize(length, 0);
        }
        if let Some(file) = &self.file {
            file.read_exact_at(&mut self.data[..length], offset)?;
        }
        self.out.extend_from_slice(header);
        let slices = [IoSlice::new(&self.out), IoSlice::new(&self.data[..length])];
        let sent = again(|| (&self.stream).write_vectored(&slices))?;
        let gathered = self.out.len();
        self.stream.write_all(&self.out[sent.min(gathered)..])?;
        self.stream.write_all(&self.data[sent.saturating_sub(gathered)..length])?;
        self.out.clear();
        Ok(())
    }
}
