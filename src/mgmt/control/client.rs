//! The other end of the control socket: a daemon's tree and configuration, from another process.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::mgmt::control::line;
use crate::mgmt::control::{ANSWER_LIMIT, Files, IDLE_LIMIT, Lines, Service, VERSION};
use crate::mgmt::tree::Kind;
use crate::model::Error;

/// Time that an answer may take: longer than the daemon's own deadline.
const ANSWER_TIME: Duration = Duration::from_secs(90);
/// Most lines of an answer.
const LINES_LIMIT: usize = 1 << 22;

type Connection = BufReader<UnixStream>;

/// A daemon, by its socket. Connections are made as they are needed, and made again after the daemon was
/// restarted; several threads may use one client at once.
pub struct Client {
    path: PathBuf,
    patience: Duration,
    idle: Mutex<Vec<(Instant, Connection)>>,
}

/// Why a connection gave no answer.
enum Trouble {
    /// The daemon's own answer.
    Answer(Error),
    /// The daemon had closed the connection: the request did not reach it.
    Unsent(io::Error),
    /// The connection broke before the first byte of an answer.
    Lost(io::Error),
    /// Nothing came, or was taken, in time.
    Silent,
    /// Anything else.
    Broken(String),
}

impl Client {
    /// The daemon whose socket is at `path`; fails if none answers there.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        Client::with_patience(path, ANSWER_TIME)
    }

    /// The same, with another time that an answer may take.
    pub fn with_patience(path: &Path, patience: Duration) -> Result<Self, Error> {
        let client = Client { path: path.to_owned(), patience, idle: Mutex::default() };
        let connection = client.open()?;
        client.keep(connection);
        Ok(client)
    }

    /// Where its socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, connection: Connection) {
        self.idle().push((Instant::now(), connection));
    }

    fn open(&self) -> Result<Connection, Error> {
        let fail = |error: io::Error| {
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            Error::new(errno, format!("no daemon at {}: {error}", self.path.display()))
        };
        let socket = UnixStream::connect(&self.path).map_err(fail)?;
        socket.set_read_timeout(Some(self.patience)).map_err(fail)?;
        socket.set_write_timeout(Some(self.patience)).map_err(fail)?;
        let mut connection = BufReader::new(socket);
        ask(&mut connection, &line::format(&["scstu", VERSION]), b"")
            .map_err(|trouble| self.error(trouble))?;
        Ok(connection)
    }

    fn error(&self, trouble: Trouble) -> Error {
        match trouble {
            Trouble::Answer(error) => error,
            Trouble::Unsent(error) | Trouble::Lost(error) => Error::new(
                error.raw_os_error().unwrap_or(libc::ECONNRESET),
                format!("the daemon at {} closed the connection: {error}", self.path.display()),
            ),
            Trouble::Silent => {
                let seconds = self.patience.as_secs_f32();
                let text = format!("the daemon at {} did not answer in {seconds} s", self.path.display());
                Error::new(libc::ETIMEDOUT, text)
            }
            Trouble::Broken(text) => {
                Error::new(libc::EPROTO, format!("the daemon at {}: {text}", self.path.display()))
            }
        }
    }

    /// A connection that the daemon has not closed for being idle; its answers would be missed otherwise.
    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle();
        idle.retain(|(since, _)| since.elapsed() < IDLE_LIMIT / 2);
        idle.pop().map(|(_, connection)| connection)
    }

    /// Asks, with bytes behind the line. A request is sent again only if it surely had no effect: reading, on
    /// a connection kept from before.
    fn request(&self, fields: &[&str], body: &[u8]) -> Result<Lines, Error> {
        let line = line::format(fields);
        if let Some(mut connection) = self.take() {
            let reads = !matches!(fields.first(), Some(&("write" | "apply" | "do")));
            match ask(&mut connection, &line, body) {
                Err(Trouble::Unsent(_)) => self.idle().clear(),
                Err(Trouble::Lost(_)) if reads => self.idle().clear(),
                result => return self.settle(connection, result),
            }
        }
        let mut connection = self.open()?;
        let result = ask(&mut connection, &line, body);
        self.settle(connection, result)
    }

    fn settle(&self, connection: Connection, result: Result<Lines, Trouble>) -> Result<Lines, Error> {
        if matches!(result, Ok(_) | Err(Trouble::Answer(_))) {
            self.keep(connection);
        }
        result.map_err(|trouble| self.error(trouble))
    }

    fn one(&self, fields: &[&str]) -> Result<Vec<String>, Error> {
        let mut lines = self.request(fields, b"")?;
        match lines.pop() {
            Some(fields) if lines.is_empty() => Ok(fields),
            _ => Err(self.error(Trouble::Broken("its answer has no line, or several".into()))),
        }
    }

    fn text(&self, fields: &[&str]) -> Result<String, Error> {
        Ok(self.one(fields)?.into_iter().next().unwrap_or_default())
    }

    fn bad_kind(&self, fields: &[String]) -> Error {
        self.error(Trouble::Broken(format!("{fields:?} is no kind of file")))
    }
}

/// What became of a connection, if it was not only slow.
fn late_or(trouble: fn(io::Error) -> Trouble) -> impl Fn(io::Error) -> Trouble {
    move |error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Trouble::Silent,
        _ => trouble(error),
    }
}

fn ask(connection: &mut Connection, line: &str, body: &[u8]) -> Result<Lines, Trouble> {
    let mut socket = connection.get_ref();
    socket.write_all(line.as_bytes()).map_err(late_or(Trouble::Unsent))?;
    // A body that is refused unread breaks the pipe; the reason is there to be read.
    let sent = socket.write_all(body);
    let first = match read_line(connection) {
        Ok(first) => first,
        Err(Trouble::Lost(error)) => return Err(Trouble::Lost(sent.err().unwrap_or(error))),
        Err(trouble) => return Err(trouble),
    };
    let fields: Vec<&str> = first.iter().map(String::as_str).collect();
    match fields.as_slice() {
        ["ok", count] => {
            let count = count.parse::<usize>().ok().filter(|count| *count <= LINES_LIMIT);
            let count = count.ok_or_else(|| Trouble::Broken("its answer has no good length".into()))?;
            (0..count).map(|_| read_line(connection)).collect()
        }
        ["error", errno, text] => {
            let errno = errno.parse().ok().filter(|errno| (1..512).contains(errno)).unwrap_or(libc::EIO);
            Err(Trouble::Answer(Error::new(errno, *text)))
        }
        _ => Err(Trouble::Broken(format!("{first:?} is no answer"))),
    }
}

fn read_line(connection: &mut Connection) -> Result<Vec<String>, Trouble> {
    let mut line = Vec::new();
    let limit = u64::try_from(ANSWER_LIMIT).unwrap_or(u64::MAX);
    connection.take(limit).read_until(b'\n', &mut line).map_err(late_or(Trouble::Lost))?;
    if line.is_empty() {
        return Err(Trouble::Lost(io::ErrorKind::UnexpectedEof.into()));
    }
    if line.pop() != Some(b'\n') {
        return Err(Trouble::Broken("its answer breaks off".into()));
    }
    line::parse(&line).map_err(|what| Trouble::Broken(what.to_owned()))
}

impl Files for Client {
    fn kind(&self, path: &str) -> Result<Kind, Error> {
        let fields = self.one(&["kind", path])?;
        line::to_kind(&fields).ok_or_else(|| self.bad_kind(&fields))
    }

    fn look(&self, path: &str) -> Result<(Kind, u64), Error> {
        let fields = self.one(&["look", path])?;
        let made = fields.first().and_then(|made| made.parse().ok());
        let kind = fields.get(1..).and_then(line::to_kind);
        kind.zip(made).ok_or_else(|| self.bad_kind(&fields))
    }

    fn list(&self, path: &str) -> Result<Vec<(String, Kind)>, Error> {
        let lines = self.request(&["list", path], b"")?;
        let entry = |fields: Vec<String>| {
            let kind = fields.get(1..).and_then(line::to_kind).ok_or_else(|| self.bad_kind(&fields))?;
            Ok((fields.into_iter().next().unwrap_or_default(), kind))
        };
        lines.into_iter().map(entry).collect()
    }

    fn read(&self, path: &str) -> Result<String, Error> {
        self.text(&["read", path])
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Error> {
        self.request(&["write", path, text], b"").map(|_| ())
    }
}

impl Service for Client {
    fn describe(&self, path: &str) -> Result<Lines, Error> {
        self.request(&["describe", path], b"")
    }

    fn plan(&self, mode: &str, text: &str) -> Result<Lines, Error> {
        self.request(&["plan", mode, &text.len().to_string()], text.as_bytes())
    }

    fn apply(&self, mode: &str, text: &str) -> Result<Lines, Error> {
        self.request(&["apply", mode, &text.len().to_string()], text.as_bytes())
    }

    fn save(&self) -> Result<String, Error> {
        self.text(&["save"])
    }

    fn perform(&self, name: &str, arguments: &[&str]) -> Result<Lines, Error> {
        let fields: Vec<&str> = [&["do", name], arguments].concat();
        self.request(&fields, b"")
    }
}
