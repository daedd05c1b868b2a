//! The page over HTTP: one request a connection, bounded in length, time and number.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};

use crate::sys::socket::{listen, stop_listening};

/// Longest head of a request in bytes.
const REQUEST_LIMIT: usize = 8192;
/// How long a client may take in all.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// Clients at once; more are closed.
const CLIENT_LIMIT: usize = 8;
const BACKLOG: i32 = 16;
const STACK_BYTES: usize = 256 * 1024;
/// How long the listener rests when the process has no descriptors left.
const REST: Duration = Duration::from_millis(100);

/// A listening endpoint; it ends when this is dropped.
pub struct Endpoint {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    listener: TcpListener,
    page: Box<dyn Fn() -> String + Send + Sync>,
    clients: AtomicUsize,
    stopping: AtomicBool,
}

impl Endpoint {
    /// Serves `page` at `/metrics` of `address` (port 0: any free port).
    pub fn open(
        address: SocketAddr,
        page: impl Fn() -> String + Send + Sync + 'static,
    ) -> io::Result<Endpoint> {
        let listener = listen(address, BACKLOG)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            listener,
            page: Box::new(page),
            clients: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        spawn(move || accept(&own))?;
        info!("metrics at http://{address}/metrics");
        Ok(Endpoint { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        stop_listening(self.shared.listener.as_fd());
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    crate::sys::thread::spawn("scstu-metrics".into(), STACK_BYTES, run)
}

fn accept(shared: &Arc<Shared>) {
    while !shared.stopping.load(Ordering::Acquire) {
        match shared.listener.accept() {
            Ok((client, _)) => begin(shared, client),
            Err(_) if shared.stopping.load(Ordering::Acquire) => return,
            Err(error) => {
                warn!("metrics: {error}");
                thread::sleep(REST);
            }
        }
    }
}

fn begin(shared: &Arc<Shared>, client: TcpStream) {
    if shared.clients.fetch_add(1, Ordering::AcqRel) >= CLIENT_LIMIT {
        shared.clients.fetch_sub(1, Ordering::AcqRel);
        return;
    }
    let own = Arc::clone(shared);
    let serve = move || {
        let _ = serve(client, &*own.page);
        own.clients.fetch_sub(1, Ordering::AcqRel);
    };
    if spawn(serve).is_err() {
        shared.clients.fetch_sub(1, Ordering::AcqRel);
    }
}

fn serve(mut client: TcpStream, page: &(dyn Fn() -> String + Send + Sync)) -> io::Result<()> {
    let answer = match read_request(&mut client)? {
        Some(request) => answer(&request, page),
        None => response("431 Request Header Fields Too Large", "text/plain", "the request is too long\n"),
    };
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    client.write_all(answer.as_bytes())?;
    client.shutdown(Shutdown::Write)
}

/// The head of a request, `None` if it is too long. The deadline is total: bytes that trickle in do not
/// move it.
fn read_request(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let until = Instant::now() + CLIENT_TIMEOUT;
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while request.len() <= REQUEST_LIMIT {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_read_timeout(Some(left))?;
        let count = client.read(&mut part)?;
        request.extend_from_slice(&part[..count]);
        if count == 0 || request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            return Ok(Some(request));
        }
    }
    Ok(None)
}

fn answer(request: &[u8], page: &(dyn Fn() -> String + Send + Sync)) -> String {
    let head = String::from_utf8_lossy(request);
    let line = head.lines().next().unwrap_or("");
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["GET", path, version] if version.starts_with("HTTP/1.") => match path.split('?').next() {
            Some("/metrics") => response("200 OK", "text/plain; version=0.0.4; charset=utf-8", &page()),
            _ => response("404 Not Found", "text/plain", "there is only /metrics\n"),
        },
        [_, _, version] if version.starts_with("HTTP/") => {
            response("405 Method Not Allowed", "text/plain", "only GET is allowed\n")
        }
        _ => response("400 Bad Request", "text/plain", "this is not HTTP\n"),
    }
}

fn response(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}
