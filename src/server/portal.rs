//! A portal: a listening socket with a thread that accepts connections.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use log::{info, warn};

use crate::sys::socket::{listen, stop_listening};
use crate::sys::thread::spawn;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// How long a portal rests when the process has no descriptors or memory for another connection.
const REST: Duration = Duration::from_millis(100);
/// Stack of a portal's thread in bytes.
const STACK_BYTES: usize = 128 * 1024;

/// A listening portal.
pub struct Portal {
    address: SocketAddr,
    listener: TcpListener,
    stopping: AtomicBool,
}

impl Portal {
    /// Listens on `address` (port 0: any free port) and gives each connection to `serve`, which must not
    /// block. The thread ends after [`Portal::stop`].
    pub fn open(
        address: SocketAddr,
        serve: impl Fn(TcpStream, SocketAddr) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        Self::adopt(listen(address, BACKLOG)?, serve)
    }

    /// The same on a socket that listens already.
    pub fn adopt(
        listener: TcpListener,
        serve: impl Fn(TcpStream, SocketAddr) + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let address = listener.local_addr()?;
        let portal = Arc::new(Portal { address, listener, stopping: AtomicBool::new(false) });
        let own = Arc::clone(&portal);
        spawn("scstu-portal".into(), STACK_BYTES, move || own.run(serve))?;
        Ok(portal)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections. The address is free again when the last reference is gone.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        stop_listening(self.listener.as_fd());
    }

    fn run(&self, serve: impl Fn(TcpStream, SocketAddr)) {
        info!("portal {} is open", self.address);
        while !self.stopping.load(Ordering::Acquire) {
            match self.listener.accept() {
                Ok((socket, peer)) => serve(socket, peer),
                Err(_) if self.stopping.load(Ordering::Acquire) => break,
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    warn!("portal {}: {error}; resting", self.address);
                    thread::sleep(REST);
                }
            }
        }
        info!("portal {} is closed", self.address);
    }
}

/// Errors of a connection that was gone before it was accepted (accept(2)).
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionReset
    )
}
