//! The receiving half against an initiator made of bytes, and a shell that writes down what it is told.

mod data;
mod hostile;
mod order;
mod plain;
mod whole;

use super::*;
use crate::backstore::buffer::BufferPool;
use crate::iscsi::command::command;
use crate::limits::MAX_IMMEDIATE_COMMANDS;
use crate::scsi::task::Command;
use crate::wire::bhs::{LENGTH, padding};
use crate::wire::digest;

/// An initiator's PDU.
#[derive(Clone)]
struct Pdu {
    header: [u8; LENGTH],
    segments: Vec<u8>,
    data: Vec<u8>,
}

impl Pdu {
    fn new(opcode: u8, flags: u8, itt: u32, cmd_sn: u32) -> Self {
        let mut pdu = Pdu { header: [0; LENGTH], segments: Vec::new(), data: Vec::new() };
        pdu.header[0] = opcode;
        pdu.header[1] = flags;
        pdu.put(16, itt).put(20, RESERVED_TAG).put(24, cmd_sn);
        pdu
    }

    fn put(&mut self, at: usize, value: u32) -> &mut Self {
        self.header[at..at + 4].copy_from_slice(&value.to_be_bytes());
        self
    }

    fn with(mut self, at: usize, value: u32) -> Self {
        self.put(at, value);
        self
    }

    fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    fn immediate(mut self) -> Self {
        self.header[0] |= 0x40;
        self
    }

    /// A WRITE of `length` bytes, with its F bit set.
    fn write(itt: u32, cmd_sn: u32, length: u32) -> Self {
        Pdu::new(0x01, 0xa1, itt, cmd_sn).with(20, length)
    }

    /// The same, announcing unsolicited Data-Out.
    fn not_final(mut self) -> Self {
        self.header[1] &= 0x7f;
        self
    }

    fn read(itt: u32, cmd_sn: u32, length: u32) -> Self {
        Pdu::new(0x01, 0xc1, itt, cmd_sn).with(20, length)
    }

    fn manage(function: u8, itt: u32, cmd_sn: u32) -> Self {
        Pdu::new(0x02, 0x80 | function, itt, cmd_sn)
    }

    fn data_out(itt: u32, ttt: u32, data_sn: u32, offset: u32, data: &[u8]) -> Self {
        let mut pdu = Pdu::new(0x05, 0x80, itt, 0).data(data);
        pdu.put(20, ttt).put(36, data_sn).put(40, offset);
        pdu
    }

    fn nop_out(itt: u32, cmd_sn: u32, data: &[u8]) -> Self {
        Pdu::new(0x00, 0x80, itt, cmd_sn).data(data)
    }

    fn bytes(&self, digests: Digests) -> Vec<u8> {
        let mut header = self.header.to_vec();
        header[4] = u8::try_from(self.segments.len() / 4).unwrap();
        header[5..8].copy_from_slice(&u32::try_from(self.data.len()).unwrap().to_be_bytes()[1..]);
        header.extend_from_slice(&self.segments);
        let data = [&self.data[..], &[0; 3][..padding(self.data.len())]].concat();
        let mut bytes = header.clone();
        if digests.header {
            bytes.extend_from_slice(&digest::digest(&[&header]));
        }
        bytes.extend_from_slice(&data);
        if digests.data && !data.is_empty() {
            bytes.extend_from_slice(&digest::digest(&[&data]));
        }
        bytes
    }
}

/// The shell: commands are named by their tag; a write wants what it announces, at most `most`.
struct Shell {
    receiver: Receiver<u32>,
    window: Arc<CommandWindow>,
    tags: Arc<LiveTags>,
    pool: BufferPool,
    digests: Digests,
    start: Instant,
    now: Instant,
    most: usize,
    /// Tags whose commands are refused on admission.
    refused: Vec<u32>,
    log: Vec<String>,
    /// What the SCSI layer gets.
    commands: Vec<String>,
    /// Commands taken in one step.
    plain: usize,
    ended: Option<ProtocolError>,
}

/// What memory holds before data lands there; test data has no four of these in a row.
const UNWRITTEN: u8 = 0xff;
const DEPTH: u32 = 8;
const FIRST_CMD_SN: u32 = 0xffff_fffd;

fn sn(offset: u32) -> u32 {
    FIRST_CMD_SN.wrapping_add(offset)
}

fn parameters() -> Parameters {
    Parameters {
        initial_r2t: false,
        first_burst_length: 2048,
        max_burst_length: 4096,
        max_outstanding_r2t: 2,
        max_recv_data_segment_length: 8192,
        max_send_data_segment_length: 1024,
        ..Parameters::default()
    }
}

impl Shell {
    fn new(parameters: Parameters) -> Self {
        let start = Instant::now();
        let window = Arc::new(CommandWindow::new(FIRST_CMD_SN, DEPTH));
        let tags = Arc::new(LiveTags::new(start));
        let digests = Digests { header: parameters.header_digest, data: parameters.data_digest };
        let mut receiver = Receiver::new(start + Duration::from_secs(15));
        receiver.enter_full_feature(parameters, Arc::clone(&window), Arc::clone(&tags), start);
        Shell {
            receiver,
            window,
            tags,
            pool: BufferPool::new(16 << 20),
            digests,
            start,
            now: start,
            most: usize::MAX,
            refused: Vec::new(),
            log: Vec::new(),
            commands: Vec::new(),
            plain: 0,
            ended: None,
        }
    }

    /// Feeds bytes in pieces of at most `piece`.
    fn feed(&mut self, mut bytes: &[u8], piece: usize) {
        while !bytes.is_empty() && self.ended.is_none() {
            // In one piece as the shell does it.
            if piece == usize::MAX && self.feed_plain(bytes) {
                bytes = &bytes[self.receiver.plain_length()..];
                continue;
            }
            let want = self.receiver.want();
            assert!(!want.is_empty());
            let count = want.len().min(bytes.len()).min(piece);
            want[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            let mut actions = Vec::new();
            self.ended = self.receiver.got(count, self.now, &mut actions).err();
            self.perform(actions);
        }
    }

    fn feed_plain(&mut self, bytes: &[u8]) -> bool {
        let mut actions = Vec::new();
        let Some(command) = self.receiver.plain_command(bytes, self.now, &mut actions) else {
            assert!(actions.is_empty());
            return false;
        };
        self.perform(actions);
        self.log.push(format!("command {:x}", command.tag));
        if self.refused.contains(&command.tag) {
            self.finish(command.tag);
        }
        self.commands.push(words(&command));
        self.plain += 1;
        // The shell does not look for more.
        let mut more = Vec::new();
        assert!(!self.receiver.replay(&mut more) && self.receiver.command().is_none() && more.is_empty());
        true
    }

    /// Sends PDUs and gives what the shell was told.
    fn send(&mut self, pdus: &[Pdu]) -> Vec<String> {
        for pdu in pdus {
            let bytes = pdu.bytes(self.digests);
            self.feed(&bytes, usize::MAX);
        }
        std::mem::take(&mut self.log)
    }

    fn perform(&mut self, mut actions: Vec<Action<u32>>) {
        loop {
            while !actions.is_empty() {
                for action in std::mem::take(&mut actions) {
                    self.act(action);
                }
            }
            if let Some(command) = self.receiver.command().cloned() {
                self.command(&command, &mut actions);
            } else if !self.receiver.replay(&mut actions) {
                return;
            }
        }
    }

    fn act(&mut self, action: Action<u32>) {
        let line = match action {
            Action::Execute { token, buffer, length } => {
                let is_unwritten = |bytes: &[u8]| bytes == [UNWRITTEN; 4];
                assert!(!buffer[..length].windows(4).any(is_unwritten), "memory that nobody sent");
                let line = format!("execute {token:x} {length} {:08x}", digest::append(0, &buffer[..length]));
                self.finish(token);
                line
            }
            Action::Fail { token, sense } => {
                self.finish(token);
                format!("fail {token:x} {:04x}", sense.code)
            }
            Action::Manage(request) => {
                format!("manage {} {:x}", request.function, request.initiator_task_tag)
            }
            Action::Text(request, text) => {
                format!("text {:x} {}", request.initiator_task_tag, text.len())
            }
            Action::Login(request, text) => {
                format!("login {:x} {}", request.initiator_task_tag, text.len())
            }
            Action::Logout(request) => format!("logout {} {:x}", request.reason, request.initiator_task_tag),
            Action::Send(Outgoing::ReadyToTransfer(r2t)) => {
                format!("r2t {:x} {} {}+{}", r2t.itt, r2t.r2t_sn, r2t.offset, r2t.length)
            }
            Action::Send(Outgoing::Pong { itt, data }) => format!("pong {itt:x} {}", data.len()),
            Action::Send(Outgoing::Ping { .. }) => "ping".to_owned(),
            Action::Send(Outgoing::WindowUpdate) => "window".to_owned(),
            Action::Send(Outgoing::TaskManagement { itt, response }) => {
                format!("managed {itt:x} {response}")
            }
            Action::Send(Outgoing::Reject { reason, header }) => {
                assert_eq!(header.len(), LENGTH);
                format!("reject {reason} {:x}", u32::from_be_bytes(header[16..20].try_into().unwrap()))
            }
            Action::Send(other) => format!("{other:?}"),
        };
        self.log.push(line);
    }

    fn command(&mut self, pdu: &ScsiCommand, more: &mut Vec<Action<u32>>) {
        self.commands.push(words(&command(pdu)));
        let itt = pdu.initiator_task_tag;
        self.log.push(format!("command {itt:x}"));
        let length = self.most.min(pdu.expected_data_transfer_length as usize);
        let is_refused = self.refused.contains(&itt);
        let buffer = if pdu.is_write && !is_refused { self.pool.get(length) } else { None };
        match buffer {
            Some(mut buffer) if length > 0 => {
                buffer.fill(UNWRITTEN);
                self.receiver.accept(Disposition::Fetch { token: itt, buffer, length }, more);
            }
            _ => {
                if is_refused || pdu.is_write {
                    self.finish(itt);
                }
                self.receiver.accept(Disposition::Discard, more);
            }
        }
    }

    /// The command has been answered. Reads stay in progress until a test says otherwise.
    fn finish(&mut self, itt: u32) {
        self.tags.free(itt);
        self.window.release();
    }

    fn expire(&mut self, seconds: u64) -> Result<Vec<String>, ProtocolError> {
        self.now = self.start + Duration::from_secs(seconds);
        let mut actions = Vec::new();
        self.receiver.expired(self.now, &mut actions)?;
        self.perform(actions);
        Ok(std::mem::take(&mut self.log))
    }

    /// The tag of the R2T that was sent `index`-th on this connection, from 1.
    fn ttt(index: u32) -> u32 {
        index
    }
}

fn words(command: &Command) -> String {
    let Command { tag, lun, attribute, cdb, expected_in, expected_out, is_immediate } = command;
    let cdb = cdb.bytes();
    format!("{tag} {:?} {attribute:?} {cdb:?} {expected_in} {expected_out} {is_immediate}", lun.0)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i * 7 % 251).unwrap()).collect()
}

fn crc(bytes: &[u8]) -> String {
    format!("{:08x}", digest::append(0, bytes))
}

/// One of everything.
fn conversation() -> Vec<Pdu> {
    let all = pattern(10_000);
    vec![
        Pdu::nop_out(0x10, sn(0), b"hello"),
        Pdu::write(0x11, sn(1), 10_000).data(&all[..1000]).not_final(),
        Pdu::data_out(0x11, RESERVED_TAG, 0, 1000, &all[1000..2048]),
        Pdu::read(0x12, sn(3), 512),
        Pdu::write(0x13, sn(2), 777).data(&all[..777]),
        Pdu::data_out(0x11, Shell::ttt(1), 0, 2048, &all[2048..6144]),
        Pdu::manage(1, 0x14, sn(4)).with(20, 0x99).immediate(),
        Pdu::data_out(0x11, Shell::ttt(2), 0, 6144, &all[6144..10_000]),
        Pdu::new(0x04, 0x80, 0x15, sn(4)).data(b"SendTargets=All\0"),
        Pdu::nop_out(RESERVED_TAG, sn(5), b"").immediate(),
        Pdu::new(0x10, 0x80, 0x16, 0),
        Pdu::new(0x06, 0x80, 0x17, sn(5)),
    ]
}

#[test]
fn rfc7143_every_fragmentation_gives_the_same_actions() {
    let all = pattern(10_000);
    let expected = [
        "pong 10 5".to_owned(),
        "command 11".to_owned(),
        "r2t 11 0 2048+4096".to_owned(),
        "r2t 11 1 6144+3856".to_owned(),
        "command 13".to_owned(),
        "command 12".to_owned(),
        format!("execute 13 777 {}", crc(&all[..777])),
        "manage 1 14".to_owned(),
        format!("execute 11 10000 {}", crc(&all)),
        "text 15 16".to_owned(),
        "reject 3 16".to_owned(),
        "logout 0 17".to_owned(),
    ];
    let mut expected = expected.to_vec();
    // A write's data comes before the next command that was kept is taken up.
    expected.swap(5, 6);
    for (header, data) in [(false, false), (true, true), (false, true), (true, false)] {
        let parameters = Parameters { header_digest: header, data_digest: data, ..parameters() };
        let digests = Digests { header, data };
        let stream: Vec<u8> = conversation().iter().flat_map(|pdu| pdu.bytes(digests)).collect();
        for piece in [1, 2, 3, 7, 47, 48, 49, 500, 4096, usize::MAX] {
            let mut shell = Shell::new(parameters.clone());
            shell.feed(&stream, piece);
            assert_eq!(shell.ended, None);
            assert_eq!(shell.log, expected, "pieces of {piece}");
        }
    }
}

#[test]
fn rfc7143_11_18_pings_are_answered_with_what_fits() {
    let mut shell = Shell::new(parameters());
    assert_eq!(shell.send(&[Pdu::nop_out(1, sn(0), &[7; 8000])]), ["pong 1 1024"]);
    assert_eq!(shell.send(&[Pdu::nop_out(2, sn(1), b"")]), ["pong 2 0"]);
    assert!(shell.send(&[Pdu::nop_out(RESERVED_TAG, sn(2), &[7; 8000]).immediate()]).is_empty());
    assert_eq!(shell.window.exp_cmd_sn(), sn(2));
}

#[test]
fn rfc7143_11_19_a_silent_initiator_is_asked() {
    let timers = Parameters { nop_in_interval: 30, nop_in_timeout: 10, ..parameters() };
    let mut shell = Shell::new(timers);
    assert_eq!(shell.expire(29), Ok(vec![]));
    assert_eq!(shell.expire(30), Ok(vec!["ping".to_owned()]));
    let ttt = 0x8000_0001;
    shell.now = shell.start + Duration::from_secs(35);
    assert!(shell.send(&[Pdu::nop_out(RESERVED_TAG, sn(0), b"").immediate().with(20, ttt)]).is_empty());
    assert_eq!(shell.expire(64), Ok(vec![]));
    assert_eq!(shell.expire(65), Ok(vec!["ping".to_owned()]));
    assert_eq!(shell.expire(75), Err(ProtocolError::NopInTimeout));
}

#[test]
fn rfc7143_5_2_a_discovery_session_has_no_commands() {
    let mut shell = Shell::new(Parameters { is_discovery: true, ..parameters() });
    let told = shell.send(&[
        Pdu::read(1, sn(0), 512),
        Pdu::manage(5, 2, sn(1)).immediate(),
        Pdu::write(3, sn(1), 512).data(&[1; 512]),
        Pdu::nop_out(4, sn(2), b"ping"),
        Pdu::new(0x04, 0x80, 5, sn(3)),
    ]);
    assert_eq!(told, ["reject 4 1", "reject 4 2", "reject 4 3", "pong 4 4", "text 5 0"]);
}

#[test]
fn rfc7143_11_10_a_text_that_is_far_too_long_is_kept_in_part() {
    let long = Parameters { max_recv_data_segment_length: 1 << 20, ..parameters() };
    let mut shell = Shell::new(long);
    let told = shell.send(&[Pdu::new(0x04, 0x80, 5, sn(0)).data(&[b'a'; 1 << 20])]);
    assert_eq!(told, [format!("text 5 {MAX_CONTROL_SEGMENT}")]);
    assert_eq!(shell.send(&[Pdu::nop_out(1, sn(1), b"x")]), ["pong 1 1"]);
}
