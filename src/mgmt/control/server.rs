//! The daemon's end of the control socket.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use log::{debug, warn};

use crate::mgmt::conf::FILE_LIMIT;
use crate::mgmt::control::line;
use crate::mgmt::control::{
    BODY_TIME, CONNECTION_LIMIT, IDLE_LIMIT, LINE_LIMIT, LINE_TIME, Lines, PATH_LIMIT, Service, VERSION,
};
use crate::model::Error;
use crate::sys::process::{effective_user, peer_user};
use crate::sys::thread::spawn;

/// Stack of a thread in bytes.
const STACK_BYTES: usize = 512 << 10;
/// Bytes of bodies longer than [`SHORT_BODY`] in memory at once.
const BODIES_LIMIT: usize = 2 * FILE_LIMIT;
const SHORT_BODY: usize = 1 << 20;
/// Wait after accept(2) failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A control socket that is served; dropping it takes the socket away.
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// Device and inode of the socket's name: another daemon may have put its own there since.
    identity: (u64, u64),
    service: Arc<dyn Service>,
    connections: Mutex<Vec<Arc<Connection>>>,
    next: AtomicU64,
    /// Bytes of long bodies in memory.
    bodies: AtomicUsize,
    stopping: AtomicBool,
}

struct Connection {
    id: u64,
    socket: UnixStream,
    /// When the last request ended; none while one is carried out.
    silent_since: Mutex<Option<Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    /// Serves `service` on a socket at `path`, which only its owner may open. A socket that nobody serves any
    /// more is replaced; `AddrInUse` if a daemon answers there.
    pub fn open(path: &Path, service: Arc<dyn Service>) -> io::Result<Self> {
        let listener = bind(path)?;
        let metadata = fs::symlink_metadata(path)?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
            service,
            connections: Mutex::default(),
            next: AtomicU64::new(0),
            bodies: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        spawn("scstu-control".into(), STACK_BYTES, move || theirs.accept(&listener))?;
        Ok(Server { shared })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let shared = &self.shared;
        shared.stopping.store(true, Ordering::SeqCst);
        // The accepting thread looks at the flag after each connection.
        let _ = UnixStream::connect(&shared.path);
        let same = |m: fs::Metadata| (m.dev(), m.ino()) == shared.identity;
        if fs::symlink_metadata(&shared.path).is_ok_and(same) {
            let _ = fs::remove_file(&shared.path);
        }
        for connection in lock(&shared.connections).drain(..) {
            let _ = connection.socket.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Binds under another name and renames: nobody ever sees a socket with wrong permissions, and none is
/// missing in between.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(format!(".{}", std::process::id()));
    let hidden = PathBuf::from(hidden);
    if hidden.as_os_str().len() > PATH_LIMIT {
        let most = PATH_LIMIT + path.as_os_str().len() - hidden.as_os_str().len();
        let text = format!("the path of a socket has at most {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is there"));
        }
        Ok(_) => match UnixStream::connect(path).map_err(|error| (error.kind(), error)) {
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another daemon serves it")),
            Err((io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound, _)) => {}
            // It may be served, to others or in another way.
            Err((kind, error)) => {
                return Err(io::Error::new(kind, format!("another program's socket is there: {error}")));
            }
        },
        Err(_) => {}
    }
    let _ = fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    let placed = fs::set_permissions(&hidden, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&hidden, path));
    if let Err(error) = placed {
        let _ = fs::remove_file(&hidden);
        return Err(error);
    }
    Ok(listener)
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &UnixListener) {
        loop {
            let accepted = listener.accept();
            if self.stopping.load(Ordering::SeqCst) {
                return;
            }
            match accepted.and_then(|(socket, _)| self.admit(socket)) {
                Ok(()) => {}
                Err(error) => {
                    warn!("control socket: {error}");
                    thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Turns strangers away and gives others a thread.
    fn admit(self: &Arc<Self>, socket: UnixStream) -> io::Result<()> {
        let peer = peer_user(&socket)?;
        if peer != 0 && peer != effective_user() {
            debug!("control socket: user {peer} was turned away");
            socket.set_nonblocking(true)?;
            let text = "this daemon serves its own user and root";
            let _ = (&socket).write_all(answer(Err(Error::new(libc::EACCES, text))).as_bytes());
            return Ok(());
        }
        socket.set_write_timeout(Some(LINE_TIME))?;
        let connection = Arc::new(Connection {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            socket,
            silent_since: Mutex::new(Some(Instant::now())),
        });
        self.make_room();
        lock(&self.connections).push(Arc::clone(&connection));
        let (shared, theirs) = (Arc::clone(self), Arc::clone(&connection));
        let serve = move || {
            if let Err(error) = shared.serve(&theirs) {
                debug!("control socket: connection {}: {error}", theirs.id);
            }
            let _ = theirs.socket.shutdown(std::net::Shutdown::Both);
            shared.forget(theirs.id);
        };
        let spawned = spawn("scstu-control".into(), STACK_BYTES, serve);
        if spawned.is_err() {
            self.forget(connection.id);
        }
        spawned
    }

    fn forget(&self, id: u64) {
        lock(&self.connections).retain(|connection| connection.id != id);
    }

    /// Beyond the limit, the connection that was silent the longest goes; one whose request is being carried
    /// out only if all are like that.
    fn make_room(&self) {
        let mut connections = lock(&self.connections);
        while connections.len() >= CONNECTION_LIMIT {
            let silent = |c: &Arc<Connection>| lock(&c.silent_since).map(|at| at.elapsed());
            let longest = (0..connections.len()).max_by_key(|at| silent(&connections[*at])).unwrap_or(0);
            let _ = connections.swap_remove(longest).socket.shutdown(std::net::Shutdown::Both);
        }
    }

    fn serve(&self, connection: &Connection) -> io::Result<()> {
        let mut input = Input::new(&connection.socket);
        let mut greeted = false;
        while let Some(line) = input.line(IDLE_LIMIT)? {
            *lock(&connection.silent_since) = None;
            let fields = line::parse(&line).map_err(|what| Error::new(libc::EINVAL, what));
            let result = match fields {
                Ok(fields) => {
                    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
                    if greeted { self.answer(&fields, &mut input)? } else { greet(&fields) }
                }
                Err(error) => Err(error),
            };
            let ends = !greeted && result.is_err();
            greeted |= result.is_ok();
            (&connection.socket).write_all(answer(result).as_bytes())?;
            if ends {
                return Ok(());
            }
            *lock(&connection.silent_since) = Some(Instant::now());
        }
        Ok(())
    }

    /// The answer to a request; an I/O error if its bytes do not come.
    fn answer(&self, fields: &[&str], input: &mut Input<'_>) -> io::Result<Result<Lines, Error>> {
        let service = &self.service;
        Ok(match fields {
            ["kind", path] => service.kind(path).map(|kind| vec![line::from_kind(&kind)]),
            ["look", path] => {
                let line = |(kind, made): (_, u64)| [vec![made.to_string()], line::from_kind(&kind)].concat();
                service.look(path).map(|found| vec![line(found)])
            }
            ["list", path] => service.list(path).map(|entries| {
                entries
                    .into_iter()
                    .map(|(name, kind)| [vec![name], line::from_kind(&kind)].concat())
                    .collect()
            }),
            ["read", path] => service.read(path).map(|text| vec![vec![text]]),
            ["write", path, text] => service.write(path, text).map(|()| Lines::new()),
            ["describe", path] => service.describe(path),
            ["save"] => service.save().map(|text| vec![vec![text]]),
            ["do", name, arguments @ ..] => service.perform(name, arguments),
            [verb @ ("plan" | "apply"), mode, length] => {
                let body = match Reservation::new(&self.bodies, length) {
                    Ok(body) => body,
                    Err(error) => {
                        // What follows cannot be told from requests.
                        (&*input.socket).write_all(answer(Err(error)).as_bytes())?;
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                };
                match String::from_utf8(input.body(body.length)?) {
                    Ok(text) if *verb == "plan" => service.plan(mode, &text),
                    Ok(text) => service.apply(mode, &text),
                    Err(_) => Err(Error::new(libc::EINVAL, "the text is not UTF-8")),
                }
            }
            [verb, ..] => Err(Error::new(
                libc::EINVAL,
                format!(
                    "\"{verb}\" with {} fields is no request; there are kind, look, list, read, write, \
                     describe, plan, apply, save and do",
                    fields.len() - 1
                ),
            )),
            [] => Err(Error::new(libc::EINVAL, "an empty request")),
        })
    }
}

/// Memory for a body: short ones always have some, long ones share [`BODIES_LIMIT`].
struct Reservation<'a> {
    bodies: &'a AtomicUsize,
    length: usize,
}

impl<'a> Reservation<'a> {
    fn new(bodies: &'a AtomicUsize, length: &str) -> Result<Self, Error> {
        let length = length.parse().ok().filter(|length| *length <= FILE_LIMIT);
        let length = length.ok_or_else(|| {
            Error::new(libc::EFBIG, format!("an scst.conf has a length of at most {FILE_LIMIT} bytes"))
        })?;
        let body = Reservation { bodies, length };
        if body.counts() && bodies.fetch_add(length, Ordering::SeqCst) + length > BODIES_LIMIT {
            return Err(Error::new(libc::EBUSY, "other long files are being taken; nothing was changed"));
        }
        Ok(body)
    }

    fn counts(&self) -> bool {
        self.length > SHORT_BODY
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.counts() {
            self.bodies.fetch_sub(self.length, Ordering::SeqCst);
        }
    }
}

fn greet(fields: &[&str]) -> Result<Lines, Error> {
    match fields {
        ["scstu", VERSION] => Ok(vec![vec![VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()]]),
        ["scstu", other] => {
            let text = format!("version {other} of the protocol is not spoken here; version {VERSION} is");
            Err(Error::new(libc::EPROTONOSUPPORT, text))
        }
        _ => Err(Error::new(libc::EPROTO, format!("the first line must be scstu, TAB, {VERSION}"))),
    }
}

fn answer(result: Result<Lines, Error>) -> String {
    match result {
        Ok(lines) => {
            let mut text = line::format(&["ok", &lines.len().to_string()]);
            for fields in &lines {
                text.push_str(&line::format(fields));
            }
            text
        }
        Err(error) => line::format(&["error", &error.errno.to_string(), &error.text]),
    }
}

/// What comes from a peer, in lines and bodies that must come in time.
struct Input<'a> {
    socket: &'a UnixStream,
    buffer: Vec<u8>,
}

impl<'a> Input<'a> {
    fn new(socket: &'a UnixStream) -> Self {
        Input { socket, buffer: Vec::new() }
    }

    /// The next line without its newline; none if the peer has closed. It may begin within `idle`, and must
    /// end within [`LINE_TIME`] of its beginning.
    fn line(&mut self, idle: Duration) -> io::Result<Option<Vec<u8>>> {
        let mut deadline = Instant::now() + if self.buffer.is_empty() { idle } else { LINE_TIME };
        let mut seen = 0;
        loop {
            if let Some(at) = self.buffer.iter().skip(seen).position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=seen + at).collect();
                line.pop();
                return Ok(Some(line));
            }
            seen = self.buffer.len();
            if seen >= LINE_LIMIT {
                let text = format!("a line has at most {LINE_LIMIT} bytes");
                let refusal = answer(Err(Error::new(libc::E2BIG, text.clone())));
                let _ = (&*self.socket).write_all(refusal.as_bytes());
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if self.more(deadline)? == 0 {
                return Ok(None);
            }
            if seen == 0 {
                deadline = Instant::now() + LINE_TIME;
            }
        }
    }

    fn body(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + BODY_TIME;
        while self.buffer.len() < length {
            if self.more(deadline)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Receives what is there; 0 if the peer has closed.
    fn more(&mut self, deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        let mut piece = [0; 16 << 10];
        let mut socket = self.socket;
        let length = socket.read(&mut piece)?;
        self.buffer.extend_from_slice(&piece[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
