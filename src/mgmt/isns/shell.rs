//! The sockets and threads around `client`.
//!
//! One thread decides and sends; one reads what the server answers; one listens for what the server asks by
//! itself and answers each connection on a thread of its own. None of them touches the data path, and none
//! exists before an iSNS server is configured.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use log::{debug, info, warn};

use crate::mgmt::isns::client::{Action, Client, Registration, Target, Timing};
use crate::mgmt::isns::message::{Assembler, HEADER_LENGTH, Header, Message, attributes, function, tag};
use crate::sys::socket::{listen, stop_listening};
use crate::sys::thread::spawn;

/// The server's port (RFC 4171, 2.9).
const PORT: u16 = 3205;
/// How often the configuration is looked at, if nobody says that it has changed.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How long a write, and an inquiry of the server, may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Connections of the server at once.
const INQUIRY_LIMIT: usize = 8;
/// Inquiries on one connection.
const INQUIRIES: usize = 1024;
const BACKLOG: i32 = 16;
/// How long the listener rests when the process has no descriptors left.
const REST: Duration = Duration::from_millis(100);
const STACK_BYTES: usize = 256 * 1024;
const EVENTS: usize = 256;
/// How long the registration may take to be withdrawn at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What shall be registered, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Server: `HOST`, `HOST:PORT`, `[ADDRESS]:PORT`.
    pub server: String,
    /// Name of the entity; the name of the machine when empty.
    pub entity: String,
    /// Portals; of a wildcard, the address is taken from which the server is reached.
    pub portals: Vec<SocketAddr>,
    /// Enabled targets.
    pub targets: Vec<Target>,
    /// Whether the server decides who may log in.
    pub access_control: bool,
}

/// Those who know the configuration. Both functions are called from the client's thread and must not block.
pub trait Host: Send + Sync {
    /// What shall be registered now; `None` without a server.
    fn wanted(&self) -> Option<Wanted>;
    /// Only these initiators may log in to the target, by the word of this server.
    fn allow(&self, server: &str, target: &str, initiators: Vec<String>);
}

enum Event {
    Received(u64, Message),
    Lost(u64, String),
    Notified,
    /// Something else has changed.
    Look,
}

/// A running client.
pub struct Shell {
    events: SyncSender<Event>,
    /// Not an event: there may be no room for one.
    is_over: Arc<AtomicBool>,
    /// Closed by the thread when it ends.
    ended: Receiver<()>,
}

impl Shell {
    /// Starts the client.
    pub fn start(host: Arc<dyn Host>, timing: Timing) -> io::Result<Shell> {
        let (events, receiver) = sync_channel(EVENTS);
        let (alive, ended) = sync_channel(1);
        let is_over = Arc::new(AtomicBool::new(false));
        let (own, over) = (events.clone(), Arc::clone(&is_over));
        spawn("scstu-isns".into(), STACK_BYTES, move || {
            Loop::new(host, timing, own).run(&receiver, &over);
            drop(alive);
        })?;
        Ok(Shell { events, is_over, ended })
    }

    /// The configuration has changed: look at it now.
    pub fn look(&self) {
        let _ = self.events.try_send(Event::Look);
    }

    /// Withdraws the registration, if the server answers soon, and ends the client.
    pub fn stop(self) {
        self.end();
        let _ = self.ended.recv_timeout(2 * FAREWELL);
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.look();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.end();
    }
}

struct Loop {
    host: Arc<dyn Host>,
    timing: Timing,
    client: Client,
    events: SyncSender<Event>,
    server: Option<String>,
    connection: Option<TcpStream>,
    /// Of the connection; what older ones still say does not count.
    number: u64,
    /// From which address the server was reached.
    local: Option<IpAddr>,
    inquiries: Option<Inquiries>,
    stopping: Option<Instant>,
}

impl Loop {
    fn new(host: Arc<dyn Host>, timing: Timing, events: SyncSender<Event>) -> Self {
        let client = Client::new(timing);
        let (server, connection, local, inquiries) = (None, None, None, None);
        Loop { host, timing, client, events, server, connection, number: 0, local, inquiries, stopping: None }
    }

    fn run(mut self, receiver: &Receiver<Event>, is_over: &AtomicBool) {
        loop {
            if self.stopping.is_none() && is_over.load(Ordering::Acquire) {
                self.stopping = Some(Instant::now() + FAREWELL);
            }
            self.look();
            self.act();
            let now = Instant::now();
            if self.stopping.is_some_and(|until| self.client.is_off() || now >= until) {
                return;
            }
            let look_at = now + LOOK_EVERY;
            let until =
                [self.client.deadline(), self.stopping].into_iter().flatten().fold(look_at, Instant::min);
            match receiver.recv_timeout(until.saturating_duration_since(now)) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.client.expired(Instant::now());
        }
    }

    fn take(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Received(number, message) if number == self.number => self.client.received(&message, now),
            Event::Lost(number, why) if number == self.number => self.client.failed(&why, now),
            Event::Notified => self.client.notified(now),
            _ => {}
        }
    }

    /// Looks at what is wanted now. Another server gets its turn when the old one has been told.
    fn look(&mut self) {
        let now = Instant::now();
        let wanted = if self.stopping.is_some() { None } else { self.host.wanted() };
        let server = wanted.as_ref().map(|wanted| wanted.server.clone());
        if self.client.is_off() && self.server != server {
            self.server = server.clone();
            self.local = None;
            self.inquiries = None;
        }
        if self.server != server {
            return self.client.want(None, now);
        }
        let registration = wanted.and_then(|wanted| self.registration(&wanted));
        self.client.want(registration, now);
    }

    fn registration(&mut self, wanted: &Wanted) -> Option<Registration> {
        let portals = reachable(&wanted.portals, self.local);
        // Inquiries come to the address of the portal with which their port is registered: the first one.
        let is_ipv4 = portals.first().is_none_or(SocketAddr::is_ipv4);
        if self.inquiries.as_ref().is_none_or(|inquiries| inquiries.is_ipv4 != is_ipv4) {
            match Inquiries::open(self.events.clone(), is_ipv4) {
                Ok(inquiries) => self.inquiries = Some(inquiries),
                Err(error) => {
                    warn!("iSNS: no port for the server's inquiries: {error}");
                    return None;
                }
            }
        }
        Some(Registration {
            entity: if wanted.entity.is_empty() { machine_name() } else { wanted.entity.clone() },
            portals,
            inquiry_port: self.inquiries.as_ref().map_or(0, |inquiries| inquiries.port),
            targets: wanted.targets.clone(),
            access_control: wanted.access_control,
        })
    }

    fn act(&mut self) {
        loop {
            let actions = self.client.take_actions();
            if actions.is_empty() {
                return;
            }
            for action in actions {
                match action {
                    Action::Connect => self.connect(),
                    Action::Send(bytes) => self.send(&bytes),
                    Action::Disconnect => self.disconnect(),
                    Action::Initiators { target, names } => {
                        self.host.allow(self.server.as_deref().unwrap_or(""), &target, names);
                    }
                    Action::Say(text) => {
                        info!("iSNS server {}: {text}", self.server.as_deref().unwrap_or(""))
                    }
                }
            }
        }
    }

    fn connect(&mut self) {
        self.disconnect();
        let server = self.server.clone().unwrap_or_default();
        match reach(&server, self.timing.patience).and_then(|stream| self.adopt(stream)) {
            Ok(()) => {
                // Now it is known from where the server is reached.
                self.look();
                self.client.connected(Instant::now());
            }
            Err(error) => self.client.failed(&error.to_string(), Instant::now()),
        }
    }

    fn adopt(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_write_timeout(Some(TIMEOUT))?;
        self.local = Some(stream.local_addr()?.ip().to_canonical());
        self.number += 1;
        let (number, events, own) = (self.number, self.events.clone(), stream.try_clone()?);
        spawn("scstu-isns-in".into(), STACK_BYTES, move || {
            let why = read_messages(own, |message| events.send(Event::Received(number, message)).is_ok());
            let _ = events.send(Event::Lost(number, why.to_string()));
        })?;
        self.connection = Some(stream);
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) {
        let Some(connection) = &mut self.connection else { return };
        if let Err(error) = connection.write_all(bytes) {
            self.client.failed(&error.to_string(), Instant::now());
        }
    }

    fn disconnect(&mut self) {
        self.number += 1;
        if let Some(connection) = self.connection.take() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.disconnect();
    }
}

/// The portals as others reach them, where the server is reached from `local`. An address of the loopback
/// would be another machine's own there, where nobody answers inquiries.
fn reachable(portals: &[SocketAddr], local: Option<IpAddr>) -> Vec<SocketAddr> {
    let here = |portal: &SocketAddr| match (portal.ip(), local) {
        (own, Some(local)) if own.is_unspecified() && local.is_ipv4() == own.is_ipv4() => {
            Some(SocketAddr::new(local, portal.port()))
        }
        (own, _) if own.is_unspecified() => None,
        (own, local) if own.is_loopback() && !local.is_some_and(|local| local.is_loopback()) => None,
        _ => Some(*portal),
    };
    portals.iter().filter_map(here).collect()
}

fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "scstu".to_owned() } else { name.to_owned() }
}

fn reach(server: &str, patience: Duration) -> io::Result<TcpStream> {
    let bare = server.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = match (bare.parse::<IpAddr>(), server.rsplit_once(':')) {
        (Ok(address), _) => vec![SocketAddr::new(address, PORT)],
        (Err(_), Some(_)) => server.to_socket_addrs()?.collect(),
        (Err(_), None) => (server, PORT).to_socket_addrs()?.collect(),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Gives every message to `take` until it wants no more or the connection ends, and tells why.
fn read_messages(mut stream: TcpStream, mut take: impl FnMut(Message) -> bool) -> io::Error {
    let mut assembler = Assembler::default();
    loop {
        match read_pdu(&mut stream, &mut assembler) {
            Ok(Some(message)) => {
                if !take(message) {
                    return io::ErrorKind::Interrupted.into();
                }
            }
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return io::Error::other("the server closed the connection");
            }
            Err(error) => return error,
        }
    }
}

fn read_pdu(stream: &mut TcpStream, assembler: &mut Assembler) -> io::Result<Option<Message>> {
    let wrong = |error| io::Error::new(io::ErrorKind::InvalidData, format!("a bad PDU: {error:?}"));
    let mut header = [0; HEADER_LENGTH];
    stream.read_exact(&mut header)?;
    let header = Header::parse(&header).map_err(wrong)?;
    let mut payload = vec![0; header.payload_length()];
    stream.read_exact(&mut payload)?;
    assembler.push(header, &payload).map_err(wrong)
}

/// Answers what the server asks by itself.
struct Inquiries {
    port: u16,
    /// The family that was wanted; a machine may have only the other one.
    is_ipv4: bool,
    listener: Arc<TcpListener>,
    stopping: Arc<AtomicBool>,
}

impl Inquiries {
    fn open(events: SyncSender<Event>, is_ipv4: bool) -> io::Result<Self> {
        let any4 = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        let any6 = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), 0);
        let (first, second) = if is_ipv4 { (any4, any6) } else { (any6, any4) };
        let listener = Arc::new(listen(first, BACKLOG).or_else(|_| listen(second, BACKLOG))?);
        let port = listener.local_addr()?.port();
        let stopping = Arc::new(AtomicBool::new(false));
        let (own, stop) = (Arc::clone(&listener), Arc::clone(&stopping));
        spawn("scstu-isns-esi".into(), STACK_BYTES, move || accept(&own, &stop, &events))?;
        Ok(Inquiries { port, is_ipv4, listener, stopping })
    }
}

impl Drop for Inquiries {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        stop_listening(self.listener.as_fd());
    }
}

fn accept(listener: &TcpListener, stopping: &AtomicBool, events: &SyncSender<Event>) {
    let clients = Arc::new(AtomicUsize::new(0));
    while !stopping.load(Ordering::Acquire) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(_) if stopping.load(Ordering::Acquire) => return,
            Err(error) => {
                warn!("iSNS: {error}");
                std::thread::sleep(REST);
                continue;
            }
        };
        if clients.fetch_add(1, Ordering::AcqRel) >= INQUIRY_LIMIT {
            clients.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let (own, events) = (Arc::clone(&clients), events.clone());
        let serve = move || {
            if let Err(error) = answer(stream, &events) {
                debug!("iSNS inquiry: {error}");
            }
            own.fetch_sub(1, Ordering::AcqRel);
        };
        if spawn("scstu-isns-esi".into(), STACK_BYTES, serve).is_err() {
            clients.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// An inquiry is answered with what it says, a notification with whom it is for (RFC 4171, 5.7.5).
fn answer(mut stream: TcpStream, events: &SyncSender<Event>) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut assembler = Assembler::default();
    for _ in 0..INQUIRIES {
        let Some(message) = read_pdu(&mut stream, &mut assembler)? else { continue };
        let response = match message.function {
            function::ESI => message.success(&message.body),
            function::SCN => {
                let _ = events.try_send(Event::Notified);
                let destination = attributes(&message.body).unwrap_or_default().into_iter();
                let destination: Vec<_> = destination.filter(|a| a.tag == tag::ISCSI_NAME).take(1).collect();
                message.success(&Message::request(0, 0, &destination).body)
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        stream.write_all(&response.encode())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portals_are_told_as_others_reach_them() {
        let all =
            ["127.0.0.1:1", "0.0.0.0:2", "[::]:3", "10.0.0.1:4", "[::1]:5"].map(|at| at.parse().unwrap());
        let told = |local: Option<&str>| {
            let told = reachable(&all, local.map(|local| local.parse().unwrap()));
            told.iter().map(SocketAddr::to_string).collect::<Vec<_>>()
        };
        assert_eq!(told(None), ["10.0.0.1:4"]);
        assert_eq!(told(Some("10.0.0.9")), ["10.0.0.9:2", "10.0.0.1:4"]);
        assert_eq!(told(Some("2001:db8::9")), ["[2001:db8::9]:3", "10.0.0.1:4"]);
        assert_eq!(told(Some("127.0.0.1")), ["127.0.0.1:1", "127.0.0.1:2", "10.0.0.1:4", "[::1]:5"]);
    }
}
