use super::*;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};

use crate::mgmt::control::Files;
use crate::mgmt::control::client::Client;
use crate::mgmt::tree::Kind;

/// Files in memory; a write to `hang` waits until the tap is opened.
#[derive(Default)]
struct Fake {
    files: Mutex<BTreeMap<String, String>>,
    applied: Mutex<Vec<String>>,
}

impl Files for Fake {
    fn kind(&self, path: &str) -> Result<Kind, Error> {
        match path {
            "" => Ok(Kind::Directory),
            "link" => Ok(Kind::Link { target: "../a b".into() }),
            _ => self.read(path).map(|_| Kind::File { mode: 0o644 }),
        }
    }

    fn list(&self, _path: &str) -> Result<Vec<(String, Kind)>, Error> {
        let files = lock(&self.files);
        let mut all: Vec<_> = files.keys().map(|name| (name.clone(), Kind::File { mode: 0o644 })).collect();
        all.push(("link".into(), Kind::Link { target: "../a b".into() }));
        Ok(all)
    }

    fn read(&self, path: &str) -> Result<String, Error> {
        lock(&self.files).get(path).cloned().ok_or_else(|| Error::new(libc::ENOENT, "no such\tfile"))
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Error> {
        lock(&self.files).insert(path.to_owned(), text.to_owned());
        Ok(())
    }
}

impl Service for Fake {
    fn describe(&self, path: &str) -> Result<Lines, Error> {
        Ok(vec![vec!["of".into(), path.to_owned()], vec![]])
    }

    fn plan(&self, mode: &str, text: &str) -> Result<Lines, Error> {
        Ok(vec![vec![mode.to_owned(), text.len().to_string()]])
    }

    fn apply(&self, _mode: &str, text: &str) -> Result<Lines, Error> {
        lock(&self.applied).push(text.to_owned());
        Ok(Lines::new())
    }

    fn save(&self) -> Result<String, Error> {
        Ok("a\nb\t\"c\"\n".into())
    }

    fn perform(&self, name: &str, arguments: &[&str]) -> Result<Lines, Error> {
        Ok(vec![[&[name], arguments].concat().into_iter().map(str::to_owned).collect()])
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("scstu-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn serve() -> (Folder, Server, Arc<Fake>) {
    let (folder, fake) = (Folder::new(), Arc::new(Fake::default()));
    let server = Server::open(&folder.socket(), Arc::clone(&fake) as Arc<dyn Service>).unwrap();
    (folder, server, fake)
}

/// A peer that speaks for itself.
fn raw(server: &Server) -> BufReader<UnixStream> {
    let socket = UnixStream::connect(server.path()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    BufReader::new(socket)
}

fn say(peer: &mut BufReader<UnixStream>, text: &str) -> String {
    peer.get_mut().write_all(text.as_bytes()).unwrap();
    let mut line = String::new();
    peer.read_line(&mut line).unwrap();
    line
}

#[test]
fn a_client_sees_what_the_daemon_sees() {
    let (_folder, server, fake) = serve();
    let client = Client::connect(server.path()).unwrap();
    let text = "add_device a b=c;\twith \\ and \u{e9}\n";
    client.write("handlers/x y/mgmt", text).unwrap();
    assert_eq!(client.read("handlers/x y/mgmt").unwrap(), text);
    for path in ["", "link", "handlers/x y/mgmt", "none"] {
        assert_eq!(client.kind(path), fake.kind(path));
    }
    assert_eq!(client.list(""), fake.list(""));
    assert_eq!(client.read("none").unwrap_err().text, "no such\tfile");
    assert_eq!(client.describe("a").unwrap(), vec![vec!["of", "a"], vec![""]]);
    assert_eq!(client.save().unwrap(), fake.save().unwrap());
    assert_eq!(client.perform("n", &["", "b"]).unwrap(), vec![vec!["n", "", "b"]]);
}

#[test]
fn long_files_go_through() {
    let (_folder, server, fake) = serve();
    let client = Client::connect(server.path()).unwrap();
    let text = "# \t\\ \n".repeat(300_000);
    assert_eq!(client.plan("m", &text).unwrap(), vec![vec!["m".to_owned(), text.len().to_string()]]);
    client.apply("m", &text).unwrap();
    assert_eq!(*lock(&fake.applied), [text]);
}

#[test]
fn a_client_outlives_the_daemon() {
    let (folder, server, fake) = serve();
    let client = Client::connect(server.path()).unwrap();
    client.write("a", "1").unwrap();
    drop(server);
    assert!(!folder.socket().exists());
    let error = client.read("a").unwrap_err();
    assert_eq!(error.errno, libc::ENOENT, "{error}");
    let _server = Server::open(&folder.socket(), fake as Arc<dyn Service>).unwrap();
    client.write("a", "2").unwrap();
    assert_eq!(client.read("a").unwrap(), "2");
}

#[test]
fn the_socket_is_its_owners_and_stale_ones_go() {
    let (folder, server, fake) = serve();
    assert_eq!(fs::metadata(server.path()).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Server::open(&folder.socket(), Arc::clone(&fake) as Arc<dyn Service>);
    assert_eq!(again.err().unwrap().kind(), io::ErrorKind::AddrInUse);
    let stale = folder.0.join("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let replaced = Server::open(&stale, Arc::clone(&fake) as Arc<dyn Service>).unwrap();
    assert!(Client::connect(&stale).is_ok());
    drop(replaced);
    let file = folder.0.join("file");
    fs::write(&file, "precious").unwrap();
    assert!(Server::open(&file, Arc::clone(&fake) as Arc<dyn Service>).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    let long = folder.0.join("x".repeat(PATH_LIMIT));
    assert!(Server::open(&long, fake).err().unwrap().to_string().contains("at most"));
}

#[test]
fn what_is_not_a_request_gets_an_error() {
    let (_folder, server, fake) = serve();
    let mut peer = raw(&server);
    assert!(say(&mut peer, "scstu\t2\n").contains("version 1 is"));
    for text in ["write\ta\tb\n", "GET / HTTP/1.1\r\n", "\n"] {
        assert!(say(&mut raw(&server), text).starts_with("error\t"), "{text}");
    }
    let mut peer = raw(&server);
    assert_eq!(say(&mut peer, "scstu\t1\n"), "ok\t1\n");
    let mut version = String::new();
    peer.read_line(&mut version).unwrap();
    for text in
        ["nothing\n", "read\n", "read\ta\tb\n", "\n", "read\t\\q\n", "read\t\u{1}\\xff\n", "plan\tm\n"]
    {
        assert!(say(&mut peer, text).starts_with("error\t22\t"), "{text}");
    }
    assert!(say(&mut peer, "plan\tm\t99999999999\n").starts_with("error\t27\t"));
    assert_eq!(say(&mut peer, ""), "", "what follows a refused body cannot be read");
    assert!(lock(&fake.files).is_empty());
}

#[test]
fn a_line_has_a_limit() {
    let (_folder, server, _fake) = serve();
    let mut peer = raw(&server);
    let answer = say(&mut peer, &"x".repeat(LINE_LIMIT));
    assert!(answer.starts_with("error\t7\t"), "{answer}");
}

#[test]
fn whoever_is_silent_makes_room() {
    let (_folder, server, _fake) = serve();
    let mut hostile: Vec<_> = (0..3 * CONNECTION_LIMIT).map(|_| raw(&server)).collect();
    for peer in &mut hostile {
        // Half a line each, for ever.
        let _ = peer.get_mut().write_all(b"scst");
    }
    let client = Client::connect(server.path()).unwrap();
    client.write("a", "b").unwrap();
    assert!(lock(&server.shared.connections).len() <= CONNECTION_LIMIT);
}

#[test]
fn long_bodies_share_memory_and_short_ones_have_theirs() {
    let bodies = AtomicUsize::new(0);
    let full = FILE_LIMIT.to_string();
    let one = Reservation::new(&bodies, &full).unwrap();
    let two = Reservation::new(&bodies, &full).unwrap();
    assert_eq!(Reservation::new(&bodies, &full).err().unwrap().errno, libc::EBUSY);
    assert!(Reservation::new(&bodies, "1000").is_ok());
    drop((one, two));
    assert!(Reservation::new(&bodies, &full).is_ok());
    assert_eq!(bodies.load(Ordering::SeqCst), 0);
    for bad in ["-1", "x", "67108865", "1e3", ""] {
        assert_eq!(Reservation::new(&bodies, bad).err().unwrap().errno, libc::EFBIG);
    }
}

#[test]
fn a_daemon_that_hangs_is_said_to_be_silent() {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.socket()).unwrap();
    let error = Client::with_patience(&folder.socket(), Duration::from_millis(20)).err().unwrap();
    assert!(error.errno == libc::ETIMEDOUT && error.text.contains("did not answer"), "{error}");
    // A connection that is kept is not asked twice.
    let serve = thread::spawn(move || {
        let _first = listener.accept().unwrap();
        let (mut second, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(second.try_clone().unwrap()).lines();
        lines.next().unwrap().unwrap();
        second.write_all(b"ok\t1\n1\t0\n").unwrap();
        (lines.count(), listener.set_nonblocking(true).and_then(|()| listener.accept()).is_err())
    });
    let client = Client::with_patience(&folder.socket(), Duration::from_secs(1)).unwrap();
    assert_eq!(client.kind("").unwrap_err().errno, libc::ETIMEDOUT);
    drop(client);
    assert_eq!(serve.join().unwrap(), (1, true));
}

#[test]
fn only_a_socket_that_nobody_serves_is_replaced() {
    let folder = Folder::new();
    let path = folder.socket();
    let open = || Server::open(&path, Arc::new(Fake::default()));
    let theirs = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let inode = || fs::symlink_metadata(&path).unwrap().ino();
    let before = inode();
    let error = open().err().unwrap();
    assert!(error.to_string().contains("another program's socket"), "{error}");
    assert_eq!(inode(), before);
    drop(theirs);
    fs::remove_file(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    drop(open().unwrap());
}
