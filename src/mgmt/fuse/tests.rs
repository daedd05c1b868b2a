//! The file system as the kernel shows it, over files in memory.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use scstu::mgmt::tree::Kind;
use scstu::model::Error;

use super::*;

/// Files in memory. What is written to `errno` is the number of the error.
#[derive(Default)]
struct Fake {
    written: Mutex<Vec<(String, String)>>,
    reads: Mutex<BTreeMap<String, usize>>,
    looks: Mutex<BTreeMap<String, usize>>,
    gone: Mutex<Option<String>>,
    /// How often what is in `folder/inner` was made.
    made: Mutex<u64>,
}

const FILES: [(&str, u32); 7] = [
    ("plain", 0o644),
    ("fixed", 0o444),
    ("button", 0o200),
    ("secret", 0o600),
    ("errno", 0o644),
    ("long", 0o444),
    ("busy", 0o444),
];

impl Files for Fake {
    fn kind(&self, path: &str) -> Result<Kind, Error> {
        *self.looks.lock().unwrap().entry(path.into()).or_default() += 1;
        if self.gone.lock().unwrap().as_ref().is_some_and(|gone| path.starts_with(gone)) {
            return Err(Error::new(libc::ENOENT, "gone"));
        }
        match path {
            "" | "folder" | "folder/inner" => Ok(Kind::Directory),
            "folder/link" => Ok(Kind::Link { target: "../plain".into() }),
            "folder/inner/plain" => Ok(Kind::File { mode: 0o644 }),
            _ => FILES
                .iter()
                .find(|(name, _)| *name == path)
                .map(|(_, mode)| Kind::File { mode: *mode })
                .ok_or_else(|| Error::new(libc::ENOENT, "none")),
        }
    }

    fn look(&self, path: &str) -> Result<(Kind, u64), Error> {
        let made = if path.starts_with("folder/inner") { 1 + *self.made.lock().unwrap() } else { 0 };
        Ok((self.kind(path)?, made))
    }

    fn list(&self, path: &str) -> Result<Vec<(String, Kind)>, Error> {
        let names: Vec<String> = match path {
            "" => FILES.iter().map(|(name, _)| (*name).into()).chain(["folder".into()]).collect(),
            "folder" => vec!["inner".into(), "link".into()],
            "folder/inner" => vec!["plain".into()],
            _ => return Err(Error::new(libc::ENOTDIR, "no directory")),
        };
        let full = |name: &str| if path.is_empty() { name.into() } else { format!("{path}/{name}") };
        Ok(names.into_iter().filter_map(|name| Some((name.clone(), self.kind(&full(&name)).ok()?))).collect())
    }

    fn read(&self, path: &str) -> Result<String, Error> {
        *self.reads.lock().unwrap().entry(path.into()).or_default() += 1;
        match path {
            "long" => Ok("0123456789".repeat(1000)),
            "busy" => Err(Error::new(libc::EAGAIN, "later")),
            "plain" => Ok(format!("{}\n[key]\n", self.written.lock().unwrap().len())),
            _ => Ok("text\n".into()),
        }
    }

    fn write(&self, path: &str, text: &str) -> Result<(), Error> {
        if path == "errno" {
            return Err(Error::new(text.trim().parse().unwrap(), "as asked"));
        }
        self.written.lock().unwrap().push((path.into(), text.into()));
        Ok(())
    }
}

/// A mounted fake; none, and a line that says why, where FUSE cannot be used.
struct Mount {
    directory: PathBuf,
    fake: Arc<Fake>,
    session: Option<BackgroundSession>,
}

impl Mount {
    fn new(name: &str) -> Option<Mount> {
        if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/fuse") {
            return skip(&format!("fuse: {name}: /dev/fuse: {error}"));
        }
        let folder = std::env::temp_dir().join(format!("scstu-fuse-{}-{name}", std::process::id()));
        let directory = mountpoint::prepare(&folder).unwrap();
        let fake = Arc::new(Fake::default());
        match mount(Arc::clone(&fake) as Arc<dyn Files>, &directory) {
            Ok(session) => Some(Mount { directory, fake, session: Some(session) }),
            Err(error) => skip(&format!("fuse: {name}: {error}")),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn open(&self, name: &str) -> std::io::Result<File> {
        OpenOptions::new().write(true).open(self.at(name))
    }

    fn written(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.fake.written.lock().unwrap())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        mountpoint::detach(&self.directory);
        let _ = self.session.take().map(BackgroundSession::join);
        let _ = fs::remove_dir(&self.directory);
    }
}

fn skip(line: &str) -> Option<Mount> {
    eprintln!("SKIPPED {line}");
    if let Some(file) = std::env::var_os("SCSTU_SKIPS") {
        let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
        writeln!(file, "SKIPPED {line}").unwrap();
    }
    None
}

fn number<T>(result: std::io::Result<T>) -> i32 {
    result.err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}

#[test]
fn names_kinds_and_modes() {
    let Some(mount) = Mount::new("names") else { return };
    let mut names: Vec<String> = fs::read_dir(&mount.directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["busy", "button", "errno", "fixed", "folder", "long", "plain", "secret"]);
    for (name, mode) in FILES {
        let metadata = fs::metadata(mount.at(name)).unwrap();
        assert_eq!((metadata.permissions().mode() & 0o7777, metadata.size()), (mode, 4096), "{name}");
        assert_eq!(metadata.uid(), effective_user());
    }
    assert!(fs::metadata(mount.at("folder")).unwrap().is_dir());
    assert_eq!(fs::metadata(mount.at("folder")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_link(mount.at("folder/link")).unwrap(), PathBuf::from("../plain"));
    assert!(!fs::metadata(mount.at("plain")).unwrap().file_type().is_char_device());
    assert_eq!(fs::read_to_string(mount.at("folder/link")).unwrap(), "0\n[key]\n", "through the link");
    assert!(File::open(mount.at("folder")).is_ok(), "a directory opens for reading");
    assert_eq!(number(fs::metadata(mount.at("nothing"))), libc::ENOENT);
    assert_eq!(number(fs::metadata(mount.at("folder/inner/nothing"))), libc::ENOENT);
}

#[test]
fn a_text_is_made_when_it_is_read_from_the_start() {
    let Some(mount) = Mount::new("read") else { return };
    let mut file = File::open(mount.at("plain")).unwrap();
    let mut byte = [0];
    file.read_exact(&mut byte).unwrap();
    mount.open("plain").unwrap().write_all(b"x").unwrap();
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "\n[key]\n", "the rest of the same text");
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("1\n[key]\n"), "and a new one from the start");
    assert_eq!(mount.fake.reads.lock().unwrap()["plain"], 2);
    assert_eq!(file.read_at(&mut byte, 1 << 40).unwrap(), 0);
    assert_eq!(fs::read(mount.at("long")).unwrap().len(), 4096, "a page");
    assert_eq!(number(fs::read(mount.at("busy"))), libc::EAGAIN);
}

#[test]
fn a_write_is_a_message() {
    let Some(mount) = Mount::new("write") else { return };
    let message = "x".repeat(4096);
    let mut file = mount.open("plain").unwrap();
    file.write_all(message.as_bytes()).unwrap();
    file.write_all(b"at any offset\n").unwrap();
    let expected = [("plain".to_owned(), message.clone()), ("plain".into(), "at any offset\n".into())];
    assert_eq!(mount.written(), expected);
    for length in [4097, 8192, 200_000, 1 << 20] {
        let result = file.write(&vec![b'x'; length]);
        assert_eq!(number(result), libc::E2BIG, "{length}");
    }
    assert_eq!(number(file.write(b"with\0nul")), libc::EINVAL);
    assert_eq!(number(file.write(b"\xff\xfe")), libc::EINVAL);
    assert_eq!(mount.written(), [], "what is refused changes nothing");
    for append in [true, false] {
        let mut options = OpenOptions::new();
        options.append(append).write(true).truncate(!append);
        options.open(mount.at("plain")).unwrap().write_all(b"y").unwrap();
        assert_eq!(mount.written(), [("plain".into(), "y".into())]);
    }
    mount.open("plain").unwrap().set_len(0).unwrap();
    assert_eq!(mount.written(), [], "truncating does nothing");
    let direct = OpenOptions::new().write(true).custom_flags(libc::O_SYNC).open(mount.at("plain"));
    direct.unwrap().sync_all().unwrap();
}

#[test]
fn what_is_not_allowed() {
    let Some(mount) = Mount::new("forbidden") else { return };
    for (asked, got) in [
        (libc::EINVAL, libc::EINVAL),
        (libc::EEXIST, libc::EEXIST),
        (libc::EBADSLT, libc::EBADSLT),
        (libc::EAGAIN, libc::EAGAIN),
        (512, libc::EIO),
        (0, libc::EIO),
        (-22, libc::EIO),
    ] {
        let result = mount.open("errno").unwrap().write(asked.to_string().as_bytes());
        assert_eq!(number(result), got, "{asked}");
    }
    if effective_user() == 0 {
        assert_eq!(number(mount.open("fixed").unwrap().write(b"1")), libc::EIO);
        assert_eq!(number(fs::read(mount.at("button"))), libc::EIO);
    } else {
        assert_eq!(number(mount.open("fixed")), libc::EACCES);
        assert_eq!(number(fs::read(mount.at("button"))), libc::EACCES);
    }
    assert_eq!(number(File::create(mount.at("new"))), libc::EACCES);
    assert_eq!(number(fs::create_dir(mount.at("new"))), libc::EPERM);
    assert_eq!(number(fs::remove_file(mount.at("plain"))), libc::EPERM);
    assert_eq!(number(fs::remove_dir(mount.at("folder"))), libc::EPERM);
    let mode = fs::set_permissions(mount.at("fixed"), fs::Permissions::from_mode(0o644));
    assert_eq!(number(mode), libc::EPERM);
    assert_eq!(mount.written(), []);
}

#[test]
fn a_second_mount_is_refused_and_a_dead_one_goes() {
    let Some(mount) = Mount::new("twice") else { return };
    let error = mountpoint::prepare(&mount.directory).unwrap_err();
    assert!(error.contains("already"), "{error}");
    let file = fs::File::open(mount.at("plain")).unwrap();
    mountpoint::detach(&mount.directory);
    assert!(mountpoint::prepare(&mount.directory).is_ok());
    assert!(fs::read_dir(&mount.directory).unwrap().next().is_none());
    drop(file);
    assert_eq!(fs::metadata(mount.at("plain")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn only_what_comes_and_goes_is_looked_for_each_time() {
    let Some(mount) = Mount::new("lasting") else { return };
    let file = mount.at("folder/inner/plain");
    let looks = |path: &str| mount.fake.looks.lock().unwrap().get(path).copied().unwrap_or(0);
    let often = 50;
    for _ in 0..often {
        fs::metadata(&file).unwrap();
    }
    assert!(looks("folder/inner") >= often, "an object may go at any moment");
    // The kernel remembers for a second; a slow machine may take several.
    assert!(looks("folder/inner/plain") < often, "its files go with it");
    assert!(looks("folder") < often, "and this one is always there");
    *mount.fake.gone.lock().unwrap() = Some("folder/inner".into());
    assert_eq!(number(fs::metadata(&file)), libc::ENOENT);
    assert_eq!(number(fs::read(&file)), libc::ENOENT);
    *mount.fake.gone.lock().unwrap() = Some("folder/inner/plain".into());
    assert_eq!(number(fs::read(&file)), libc::ENOENT, "remembered or not, opening asks");
    *mount.fake.gone.lock().unwrap() = None;
    assert_eq!(fs::read(&file).unwrap(), b"text\n");
}

#[test]
fn who_holds_what_is_gone_does_not_get_what_was_made_in_its_place() {
    let Some(mount) = Mount::new("held") else { return };
    let path = mount.at("folder/inner/plain");
    let options = || OpenOptions::new().read(true).write(true).open(&path);
    let (mut held, folder) = (options().unwrap(), File::open(mount.at("folder/inner")).unwrap());
    held.write_all(b"before").unwrap();
    let number_before = fs::metadata(&path).unwrap().ino();
    mount.written();

    *mount.fake.made.lock().unwrap() += 1;
    assert_eq!(number(held.write(b"after")), libc::ENODEV);
    assert_eq!(number(held.read_at(&mut [0; 8], 0)), libc::ENODEV);
    let through = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    assert!(File::open(through.join("plain")).is_err(), "nor from within the directory");
    assert_eq!(number(fs::read_dir(&through)), libc::ESTALE);
    assert_eq!(mount.written(), []);

    let mut new = options().unwrap();
    new.write_all(b"new").unwrap();
    assert_eq!(mount.written(), [("folder/inner/plain".to_owned(), "new".to_owned())]);
    assert_ne!(fs::metadata(&path).unwrap().ino(), number_before);
    assert_eq!(fs::read_dir(mount.at("folder/inner")).unwrap().count(), 1);

    *mount.fake.gone.lock().unwrap() = Some("folder/inner".into());
    assert_eq!(number(new.write(b"nobody")), libc::ENODEV);
}

/// Reads a directory, and once more from its start when a line has come.
const READ_TWICE: &str = "$| = 1; opendir(D, $ARGV[0]) or die; print scalar(@{[readdir D]}), qq(\n); \
                          <STDIN>; rewinddir D; print scalar(@{[readdir D]}), qq(\n)";

#[test]
fn a_directory_that_is_read_again_is_as_it_is_now() {
    let Some(mount) = Mount::new("again") else { return };
    let mut command = Command::new("perl");
    command.args(["-e", READ_TWICE]).arg(mount.at("folder"));
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        skip("fuse: again: no perl");
        return;
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "4");
    *mount.fake.gone.lock().unwrap() = Some("folder/inner".into());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "3");
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_mount_whose_name_is_no_text_hides_no_other() {
    let Some(mount) = Mount::new("bytes") else { return };
    let mut odd = mount.directory.clone().into_os_string();
    odd.push(OsStr::from_bytes(b"\xff"));
    fs::create_dir(&odd).unwrap();
    let run = |command: &mut Command| command.status().is_ok_and(|status| status.success());
    let is_there = run(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&odd));
    let state = mountpoint::state(&mount.directory);
    assert_eq!(run(Command::new("umount").arg(&odd)), is_there);
    fs::remove_dir(&odd).unwrap();
    if !is_there {
        skip("fuse: bytes: this user may not mount");
    }
    assert_eq!(state, mountpoint::State::Alive);
}
