//! Threads and sockets around the machines: portals, connections, sessions, the worker pool.
//!
//! One thread a portal accepts; one thread a connection reads, decides and answers ([`serving`]); the pool's
//! workers run what may wait for a medium. Nothing of the protocol is decided here.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::backstore::buffer::BufferPool;
use crate::iscsi::attachment::Host;
use crate::iscsi::chap::Challenges;
use crate::iscsi::send::Outgoing;
use crate::scsi::nexus::Nexus;
use crate::scsi::target;
use crate::server::noise::Noise;
use crate::server::pool::Pool;
use crate::server::portal::Portal;
pub use crate::server::roll::LOGIN_LIMIT;
use crate::server::roll::Roll;
use crate::server::serving::Serving;
use crate::server::sessions::{CloseReason, Session, Sessions};
use crate::server::spin::Busy;
use crate::server::totals::Totals;
use crate::sys::thread::spawn;
use crate::wire::response::AsyncMessage;

pub mod connection;
pub mod dump;
mod front;
pub mod input;
mod lane;
mod login;
pub mod nagle;
pub mod noise;
pub mod outbox;
pub mod pool;
pub mod portal;
mod roll;
pub mod serving;
pub mod sessions;
pub mod spin;
pub mod totals;
mod waiting;

/// Stack of a connection's thread in bytes; only what is used becomes resident.
const STACK_BYTES: usize = 256 * 1024;

/// How a server is to be.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Worker threads.
    pub workers: usize,
    /// Bytes of command data in memory at once; commands beyond it are answered with BUSY.
    pub buffer_budget: usize,
    /// Time that a login may take in all.
    pub login_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        ServerOptions {
            workers: (4 * processors).clamp(16, 256),
            buffer_budget: 512 << 20,
            login_timeout: Duration::from_secs(15),
        }
    }
}

/// What every thread of the server knows.
pub(crate) struct Shared {
    options: ServerOptions,
    host: Arc<dyn Host>,
    pool: Pool,
    buffers: BufferPool,
    sessions: Sessions,
    challenges: Arc<Challenges>,
    noise: Noise,
    events: Noise,
    totals: Totals,
    busy: Busy,
    roll: Arc<Roll>,
}

/// A running server.
pub struct Server {
    shared: Arc<Shared>,
    portals: Mutex<Vec<Arc<Portal>>>,
}

impl Server {
    /// A server without portals. `pool` is the one that the devices dispatch to.
    pub fn new(options: ServerOptions, host: Arc<dyn Host>, pool: Pool) -> Self {
        let shared = Shared {
            buffers: BufferPool::new(options.buffer_budget),
            options,
            host,
            pool,
            sessions: Sessions::default(),
            challenges: Arc::new(Challenges::default()),
            noise: Noise::complaints(),
            events: Noise::events(),
            totals: Totals::default(),
            busy: Busy::default(),
            roll: Arc::default(),
        };
        Server { shared: Arc::new(shared), portals: Mutex::default() }
    }

    fn portals(&self) -> MutexGuard<'_, Vec<Arc<Portal>>> {
        self.portals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a portal and answers where it listens (port 0: any free port).
    pub fn listen(&self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.add(Portal::open(address, self.acceptor())?)
    }

    /// Takes over a socket that listens already.
    pub fn adopt(&self, listener: TcpListener) -> io::Result<SocketAddr> {
        self.add(Portal::adopt(listener, self.acceptor())?)
    }

    /// A portal's thread keeps nothing of the server alive: it may end a little after [`Server::stop`].
    fn acceptor(&self) -> impl Fn(TcpStream, SocketAddr) + Send + 'static {
        let server = Arc::downgrade(&self.shared);
        move |socket, peer| {
            if let Some(shared) = server.upgrade() {
                Shared::serve(&shared, socket, peer);
            }
        }
    }

    fn add(&self, portal: Arc<Portal>) -> io::Result<SocketAddr> {
        let address = portal.address();
        self.portals().push(portal);
        Ok(address)
    }

    /// Serves a connection that the caller has accepted.
    pub fn serve(&self, socket: TcpStream) -> io::Result<()> {
        let peer = socket.peer_addr()?;
        Shared::serve(&self.shared, socket, peer);
        Ok(())
    }

    /// Closes the portal at `address`; its connections stay. Answers whether there was one.
    pub fn close_portal(&self, address: SocketAddr) -> bool {
        let mut portals = self.portals();
        let before = portals.len();
        portals.retain(|portal| {
            let keep = portal.address() != address;
            if !keep {
                portal.stop();
            }
            keep
        });
        portals.len() < before
    }

    /// Where it listens.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.portals().iter().map(|portal| portal.address()).collect()
    }

    /// The sessions.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.shared.sessions.all()
    }

    /// The worker pool.
    pub fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// Counts since the start.
    pub fn totals(&self) -> &Totals {
        &self.shared.totals
    }

    /// Memory for command data.
    pub fn buffers(&self) -> &BufferPool {
        &self.shared.buffers
    }

    /// Number of connection threads.
    pub fn connections(&self) -> usize {
        self.shared.roll.connections()
    }

    /// Goes on after [`Server::stop`]. Portals are to be opened again.
    pub fn start(&self) {
        self.shared.pool.start();
    }

    /// Stops: no new connections; initiators are asked to log out (RFC 7143 11.9, event 1) and have `drain`
    /// to do so; then every connection is closed and the workers end. Answers how many threads were left
    /// hanging in a backstore.
    pub fn stop(&self, drain: Duration) -> usize {
        let until = Instant::now() + drain;
        for portal in self.portals().drain(..) {
            portal.stop();
        }
        let sessions = self.sessions();
        let seconds = u16::try_from(drain.as_secs()).unwrap_or(u16::MAX);
        let message = AsyncMessage { lun: [0; 8], event: 1, parameters: [0, 0, seconds] };
        for session in &sessions {
            session.send(&Outgoing::Async { message, data: Vec::new() });
        }
        if !sessions.is_empty() {
            info!("stopping: {} sessions asked to log out", sessions.len());
        }
        self.shared.roll.await_none(until);
        for session in self.sessions() {
            session.close(CloseReason::Stopping);
        }
        self.shared.roll.await_none(Instant::now() + Duration::from_secs(2));
        self.shared.pool.stop(Duration::from_secs(2).max(until.saturating_duration_since(Instant::now())))
    }
}

impl Shared {
    /// Gives a connection a thread of its own.
    fn serve(shared: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        if let Err(count) = shared.roll.admit(peer.ip()) {
            shared.totals.login_failed(None);
            return shared.noise.say(|| {
                warn!("connection from {peer} closed: {count} logins from there, of {LOGIN_LIMIT} at most");
            });
        }
        let (own, roll) = (Arc::clone(shared), Arc::clone(&shared.roll));
        let run = move || roll.connection_ended(peer.ip(), Self::connection_thread(own, socket, peer));
        if let Err(error) = spawn("scstu-conn".into(), STACK_BYTES, run) {
            shared.noise.say(|| warn!("connection from {peer} closed: no thread for it: {error}"));
            shared.roll.connection_ended(peer.ip(), true);
        }
    }

    /// A panic is our bug; it costs this connection only. Answers whether it was still logging in.
    fn connection_thread(shared: Arc<Self>, socket: TcpStream, peer: SocketAddr) -> bool {
        let mut logging_in = true;
        let served = catch_unwind(AssertUnwindSafe(|| {
            if socket.set_nodelay(true).is_err() {
                return;
            }
            let Ok(portal) = socket.local_addr() else { return };
            Serving::new(shared, socket, peer, portal, &mut logging_in).run();
        }));
        if served.is_err() {
            warn!("connection from {peer} closed: internal error");
        }
        logging_in
    }

    /// A session that was opened for a login which then failed.
    fn discard_session(&self, session: &Arc<Session>, nexus: Option<&Arc<Nexus>>) {
        self.sessions.remove(session);
        if let Some(nexus) = nexus {
            target::nexus_lost(nexus);
        }
    }
}
