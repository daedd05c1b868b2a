//! A small iSNS server, written from RFC 4171: it shares no code with the client.
#![allow(dead_code, clippy::unwrap_used, clippy::cast_possible_truncation)] // Each test uses a part.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

/// Function, transaction, flags of the first PDU, body.
#[derive(Debug)]
pub struct Message {
    pub function: u16,
    pub transaction: u16,
    pub flags: u16,
    pub body: Vec<u8>,
}

impl Message {
    pub fn read(stream: &mut TcpStream) -> io::Result<Message> {
        let mut message = Message { function: 0, transaction: 0, flags: 0, body: Vec::new() };
        for expected in 0.. {
            let mut header = [0; 12];
            stream.read_exact(&mut header)?;
            let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
            assert_eq!(word(0), 1, "version");
            assert_eq!(word(4) % 4, 0, "a payload is a multiple of four");
            assert_eq!(word(10), expected, "sequence");
            assert_eq!(word(6) & 0x0400 != 0, expected == 0, "the first PDU says so");
            if expected == 0 {
                (message.function, message.flags, message.transaction) = (word(2), word(6), word(8));
            }
            let mut payload = vec![0; usize::from(word(4))];
            stream.read_exact(&mut payload)?;
            message.body.extend(payload);
            if word(6) & 0x0800 != 0 {
                break;
            }
        }
        Ok(message)
    }

    pub fn write(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut bytes = Vec::new();
        let length = self.body.len() as u16;
        for word in [1, self.function, length, self.flags | 0x0c00, self.transaction, 0] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(&self.body);
        stream.write_all(&bytes)
    }

    pub fn attributes(&self) -> Vec<(u32, Vec<u8>)> {
        let mut found = Vec::new();
        let mut rest = &self.body[..];
        while !rest.is_empty() {
            let number = |at: usize| u32::from_be_bytes(rest[at..at + 4].try_into().unwrap());
            let length = number(4) as usize;
            found.push((number(0), rest[8..8 + length].to_vec()));
            rest = &rest[8 + length..];
        }
        found
    }
}

pub fn attribute(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = tag.to_be_bytes().to_vec();
    bytes.extend((value.len() as u32).to_be_bytes());
    bytes.extend(value);
    bytes
}

fn text(value: &[u8]) -> String {
    assert_eq!(value.len() % 4, 0, "padded");
    assert_eq!(value.last(), Some(&0), "ends with NUL");
    String::from_utf8(value.to_vec()).unwrap().trim_end_matches('\0').to_owned()
}

fn padded(value: &str) -> Vec<u8> {
    let mut bytes = value.as_bytes().to_vec();
    bytes.resize((bytes.len() / 4 + 1) * 4, 0);
    bytes
}

/// What the server knows.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub entity: String,
    pub portals: Vec<SocketAddr>,
    /// Names and aliases.
    pub targets: Vec<(String, String)>,
    pub inquiry_port: u16,
    pub registrations: usize,
    pub refreshes: usize,
    pub subscriptions: Vec<String>,
    /// Who may log in anywhere.
    pub initiators: Vec<String>,
    /// Status of the answer to registrations.
    pub status: u32,
}

#[derive(Default)]
struct Shared {
    known: Mutex<Known>,
    changed: Condvar,
    connections: Mutex<Vec<TcpStream>>,
}

/// A running server.
pub struct IsnsServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl IsnsServer {
    pub fn start() -> IsnsServer {
        Self::start_at("127.0.0.1:0").unwrap()
    }

    pub fn start_at(address: &str) -> io::Result<IsnsServer> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                own.connections.lock().unwrap().push(stream.try_clone().unwrap());
                let own = Arc::clone(&own);
                thread::spawn(move || own.serve(stream));
            }
        });
        Ok(IsnsServer { address, shared })
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.shared.known.lock().unwrap()
    }

    /// Waits until what it knows is right.
    pub fn wait(&self, what: &str, is_right: impl Fn(&Known) -> bool) -> Known {
        let until = Instant::now() + LIMIT;
        let mut known = self.known();
        while !is_right(&known) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} never comes: {known:?}");
            known = self.shared.changed.wait_timeout(known, left).unwrap().0;
        }
        known.clone()
    }

    /// Closes every connection.
    pub fn hang_up(&self) {
        for stream in self.shared.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Sends the client a message of the server's own, and gives the answer.
    pub fn ask(&self, function: u16, body: &[u8]) -> Message {
        let port = self.known().inquiry_port;
        let mut stream = TcpStream::connect((self.address.ip(), port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let question = Message { function, transaction: 0x55aa, flags: 0x4000, body: body.to_vec() };
        question.write(&mut stream).unwrap();
        let answer = Message::read(&mut stream).unwrap();
        assert_eq!((answer.function, answer.transaction), (function | 0x8000, 0x55aa));
        answer
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        while let Ok(message) = Message::read(&mut stream) {
            let body = self.answer(&message);
            self.changed.notify_all();
            let function = message.function | 0x8000;
            let answer = Message { function, transaction: message.transaction, flags: 0x4000, body };
            if answer.write(&mut stream).is_err() {
                return;
            }
        }
    }

    fn answer(&self, message: &Message) -> Vec<u8> {
        let mut known = self.known.lock().unwrap();
        let attributes = message.attributes();
        let behind = attributes.iter().skip_while(|(tag, _)| *tag != 0).skip(1);
        assert_eq!(attributes[0].0, 32, "the source is a name");
        let mut body = vec![0; 4];
        match message.function {
            0x0001 => {
                assert_ne!(message.flags & 0x1000, 0, "the registration replaces the old one");
                known.registrations += 1;
                if known.status != 0 {
                    return known.status.to_be_bytes().to_vec();
                }
                known.register(behind);
            }
            0x0002 if attributes[1].0 == 33 => {
                assert_eq!(attributes[1].1, [0, 0, 0, 2], "initiators are asked for");
                body.extend(attribute(33, &[0, 0, 0, 2]));
                body.extend(attribute(0, &[]));
                for name in &known.initiators {
                    body.extend(attribute(32, &padded(name)));
                    body.extend(attribute(33, &[0, 0, 0, 2]));
                }
            }
            0x0002 => {
                known.refreshes += 1;
                body.extend(attribute(1, &attributes[1].1));
                body.extend(attribute(0, &[]));
                if !known.entity.is_empty() {
                    body.extend(attribute(1, &padded(&known.entity)));
                }
            }
            0x0004 => {
                for (tag, value) in behind {
                    assert_eq!((*tag, text(value)), (1, known.entity.clone()));
                }
                *known = Known { registrations: known.registrations, ..Known::default() };
            }
            0x0005 => known.subscriptions.push(text(&attributes[0].1)),
            other => panic!("function {other:#06x}"),
        }
        body
    }
}

impl Known {
    fn register<'a>(&mut self, attributes: impl Iterator<Item = &'a (u32, Vec<u8>)>) {
        self.portals.clear();
        self.targets.clear();
        let mut address = None;
        for (tag, value) in attributes {
            let number = || u32::from_be_bytes(value[..].try_into().unwrap());
            match tag {
                1 => self.entity = text(value),
                2 => assert_eq!(number(), 2, "the protocol is iSCSI"),
                16 => {
                    let octets: [u8; 16] = value[..].try_into().unwrap();
                    address = Some(IpAddr::V6(Ipv6Addr::from(octets)).to_canonical());
                }
                17 => self.portals.push(SocketAddr::new(address.take().unwrap(), number() as u16)),
                20 => self.inquiry_port = number() as u16,
                32 => self.targets.push((text(value), String::new())),
                33 => assert_eq!(number(), 1, "a target"),
                34 => self.targets.last_mut().unwrap().1 = text(value),
                6 | 19 | 23 => assert_ne!(number(), 0),
                other => panic!("attribute {other}"),
            }
        }
    }
}
