//! What survives a crash in the middle of a write to the state directory: the old state or the new one,
//! never neither. Files and names are cut at every step, and what was not made durable is lost, torn or kept
//! in every combination.
#![allow(clippy::unwrap_used)] // Tests panic to fail.

mod one_unit;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use one_unit::{Bench, Path};
use scstu::model::store::{DirectoryStore, FileStore, Files};
use scstu::scsi::device::{Device, StateStore};
use scstu::scsi::reservation::Reservations;

type Names = BTreeMap<String, usize>;

/// A file: what is durable of it, and what was written.
#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    written: Vec<u8>,
}

/// A directory with a cache that a crash empties.
#[derive(Clone, Default)]
struct Disk {
    inodes: Vec<Inode>,
    durable: Names,
    /// What was done to names since they were made durable, in order.
    changes: Vec<Change>,
    steps: usize,
    /// The step that fails, with everything after it.
    crash_at: Option<usize>,
}

#[derive(Clone)]
enum Change {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Change::Create(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Change::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Change::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Disk {
    fn names(&self) -> Names {
        let mut names = self.durable.clone();
        self.changes.iter().for_each(|change| change.apply(&mut names));
        names
    }

    fn step(&mut self) -> io::Result<()> {
        let step = self.steps;
        self.steps += 1;
        match self.crash_at {
            Some(at) if step >= at => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names().get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Every disk that a crash may leave: of the changes of names any, in their order; of each file that is
    /// not durable nothing, the first half, or all, before or behind what was durable.
    fn after_crash(&self) -> Vec<Disk> {
        let mut left = Vec::new();
        for kept in 0..1_usize << self.changes.len() {
            let mut names = self.durable.clone();
            let chosen = self.changes.iter().enumerate().filter(|(bit, _)| kept >> bit & 1 == 1);
            chosen.for_each(|(_, change)| change.apply(&mut names));
            for fate in 0..4 {
                let survive = |inode: &Inode| {
                    let bytes = match fate {
                        0 => inode.durable.clone(),
                        1 => inode.written[..inode.written.len() / 2].to_vec(),
                        2 => vec![0; inode.written.len()],
                        _ => inode.written.clone(),
                    };
                    let bytes = if inode.durable == inode.written { inode.durable.clone() } else { bytes };
                    Inode { durable: bytes.clone(), written: bytes }
                };
                let inodes = self.inodes.iter().map(survive).collect();
                left.push(Disk { inodes, durable: names.clone(), ..Disk::default() });
            }
        }
        left
    }
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Disk>>);

impl Files for Shared {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let disk = self.0.lock().unwrap();
        Ok(disk.inodes[disk.inode(name)?].written.clone())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        let inode = match disk.inode(name) {
            Ok(inode) => inode,
            Err(_) => {
                disk.inodes.push(Inode::default());
                let inode = disk.inodes.len() - 1;
                disk.changes.push(Change::Create(name.to_owned(), inode));
                inode
            }
        };
        disk.inodes[inode].written = bytes.to_vec();
        disk.step()
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        let inode = disk.inode(name)?;
        disk.inodes[inode].durable = disk.inodes[inode].written.clone();
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        disk.inode(from)?;
        disk.changes.push(Change::Rename(from.to_owned(), to.to_owned()));
        disk.step()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        disk.inode(name)?;
        disk.changes.push(Change::Remove(name.to_owned()));
        disk.step()
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.step()?;
        disk.durable = disk.names();
        disk.changes.clear();
        Ok(())
    }
}

fn store(disk: &Disk) -> (FileStore<Shared>, Shared) {
    let shared = Shared(Arc::new(Mutex::new(disk.clone())));
    (FileStore::new(shared.clone()), shared)
}

/// Begins on `disk` and crashes at every step of `change`; hands every disk that may be left, and whether the
/// change had been reported done, to `check`. Answers the disk on which nothing has crashed.
fn crash_everywhere(
    disk: &Disk,
    change: impl Fn(&FileStore<Shared>) -> Result<(), i32>,
    check: impl Fn(&FileStore<Shared>, bool),
) -> Disk {
    for crash_at in 0.. {
        let cut = Disk { steps: 0, crash_at: Some(crash_at), ..disk.clone() };
        let (on_cut, shared) = store(&cut);
        let is_done = change(&on_cut).is_ok();
        let after = shared.0.lock().unwrap().clone();
        for left in after.after_crash() {
            check(&store(&left).0, is_done);
        }
        if after.steps <= crash_at {
            assert!(is_done);
            return Disk { crash_at: None, ..after };
        }
        assert!(crash_at < 100, "it never ends");
    }
    unreachable!()
}

#[test]
fn a_file_is_old_or_new_wherever_the_crash_comes() {
    let states: [&[u8]; 5] = [b"first", b"the second, longer than the first", b"", b"third", b""];
    let (mut disk, mut old): (Disk, Option<Vec<u8>>) = (Disk::default(), None);
    let found = Mutex::new(BTreeSet::new());
    for (index, new) in states.into_iter().enumerate() {
        let new = (!new.is_empty()).then(|| new.to_vec());
        let bytes = new.clone().unwrap_or_default();
        disk = crash_everywhere(
            &disk,
            |store| store.save("disk", "pr", &bytes),
            |store, is_done| {
                let kept = store.load("disk", "pr").unwrap();
                assert!(kept == new || (kept == old && !is_done), "{kept:?} is neither {old:?} nor {new:?}");
                found.lock().unwrap().insert((index, kept));
            },
        );
        old = new;
    }
    assert_eq!(found.lock().unwrap().len(), 2 * states.len(), "old and new were both seen, each time");
}

#[test]
fn the_number_of_the_installation_is_made_once() {
    crash_everywhere(
        &Disk::default(),
        |store| store.setup_id().map(drop).map_err(|error| error.errno),
        |store, _| {
            let id = store.setup_id().unwrap();
            assert_eq!(store.setup_id().unwrap(), id);
        },
    );
}

fn out(path: &Path<'_>, action: u8, kind: u8, keys: (u64, u64), aptpl: u8) -> bool {
    let mut list = [0; 24];
    list[..8].copy_from_slice(&keys.0.to_be_bytes());
    list[8..16].copy_from_slice(&keys.1.to_be_bytes());
    list[20] = aptpl;
    path.run(&[0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0], &list).is_good()
}

/// REGISTER, RESERVE, PREEMPT and so on, each on the disk that the one before has left.
#[test]
fn spc_5_13_aptpl_a_crash_in_any_command_leaves_the_state_before_it_or_after_it() {
    type Step = fn(&Path<'_>) -> bool;
    let steps: [(&str, Step); 8] = [
        ("a", |a| out(a, 0, 0, (0, 1), 1)),
        ("b", |b| out(b, 0, 0, (0, 2), 1)),
        ("a", |a| out(a, 1, 5, (1, 0), 0)),
        ("b", |b| out(b, 4, 6, (2, 1), 0)),
        ("a", |a| out(a, 6, 0, (0, 9), 1)),
        ("b", |b| out(b, 2, 6, (2, 0), 0)),
        ("a", |a| out(a, 0, 0, (9, 0), 1)),
        ("b", |b| out(b, 3, 0, (2, 0), 0)),
    ];
    let mut disk = Disk::default();
    let mut before = Reservations::default().text();
    for (name, step) in steps {
        let run = |files: &Shared| -> (bool, Arc<Device>) {
            let bench = Bench::new(Some(Arc::new(FileStore::new(files.clone()))));
            let is_good = step(&bench.path(name, 1));
            (is_good, Arc::clone(&bench.device))
        };
        let (_, whole) = store(&disk);
        assert!(run(&whole).0, "{name}, after {before}");
        let after = kept(&FileStore::new(whole));
        disk = crash_everywhere(
            &disk,
            |store| {
                let files = store.files().clone();
                if run(&files).0 { Ok(()) } else { Err(5) }
            },
            |store, is_done| {
                let kept = kept(store);
                assert!(kept == after || (kept == before && !is_done), "{name}: {kept}");
            },
        );
        before = after;
    }
    assert_eq!(before, Reservations::default().text());
}

/// The kept reservations as a unit would find them.
fn kept(store: &FileStore<Shared>) -> String {
    let saved = store.load("disk", "pr").unwrap();
    saved.map_or_else(Reservations::default, |saved| Reservations::restore(&saved).unwrap()).text()
}

#[test]
fn a_directory_keeps_names_apart_and_says_what_it_cannot_read() {
    use std::os::unix::fs::PermissionsExt;
    let directory = std::env::temp_dir().join(format!("scstu-kept-{}", std::process::id()));
    let store = DirectoryStore::open(&directory).unwrap();
    for device in ["disk", "disk.new", ".new", "x.disk"] {
        store.save(device, "pr", device.as_bytes()).unwrap();
    }
    for device in ["disk", "disk.new", ".new", "x.disk"] {
        assert_eq!(store.load(device, "pr").unwrap().as_deref(), Some(device.as_bytes()));
    }
    assert_eq!(store.load("other", "pr"), Ok(None));
    let mode = std::fs::metadata(directory.join("pr.disk")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::create_dir(directory.join("pr.strange")).unwrap();
    assert_eq!(store.load("strange", "pr"), Err(libc::EISDIR));
    std::fs::remove_dir_all(&directory).unwrap();
}
