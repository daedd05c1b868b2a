//! What survives a crash in the middle of a write to the state directory: the old state or the new one,
//! never neither. Files and names are cut at every step, and what was not made durable is lost, torn or kept
//! in every combination.
#![allow(clippy::unwrap_used)] // Tests panic to fail.

mod common;
mod initiator;
mod one_unit;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};

use common::Folder;
use initiator::Initiator;
use one_unit::{Bench, Path};
use scstu::instance::{Instance, Options};
use scstu::mgmt::conf::save;
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
fn a_saved_configuration_is_old_or_new_wherever_the_crash_comes() {
    let old = "# old\n\nTARGET_DRIVER iscsi {\n\tenabled 0\n}\n";
    let new = "# new\n\nTARGET_DRIVER iscsi {\n\tenabled 1\n\tlink_local 0\n}\n";
    let (files, shared) = store(&Disk::default());
    save::store_in(&files, "scst.conf", old).unwrap();
    let disk = Disk { steps: 0, ..shared.0.lock().unwrap().clone() };
    let found = Mutex::new(BTreeSet::new());
    let after = crash_everywhere(
        &disk,
        |files| save::store_in(files, "scst.conf", new),
        |files, is_done| {
            let left = String::from_utf8(files.get("scst.conf").unwrap().expect("a file is there")).unwrap();
            assert!(left == new || (left == old && !is_done), "{left}");
            found.lock().unwrap().insert(left);
        },
    );
    assert_eq!(found.lock().unwrap().len(), 2, "old and new were both seen");
    assert_eq!(after.names().len(), 1, "nothing is left beside");
    // The first time there is no old one.
    crash_everywhere(
        &Disk::default(),
        |files| save::store_in(files, "scst.conf", new),
        |files, is_done| match files.get("scst.conf").unwrap() {
            Some(left) => assert_eq!(left, new.as_bytes()),
            None => assert!(!is_done),
        },
    );
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

const STATE: &str = "version 1\ngeneration 3\naptpl 1\n";

/// A registrant with this key.
fn registrant(key: u64) -> String {
    let name: String = b"iqn.a,i,0x000000000001\0\0".iter().map(|byte| format!("{byte:02x}")).collect();
    let id = format!("45000018{name}");
    let line = format!("registrant 1 {key:016x} 0 {} {id}\n", id.len() / 2);
    format!("{STATE}{line}")
}

/// A daemon with device `d`, and what it keeps in this folder.
fn daemon(state: &std::path::Path) -> Instance {
    let options = Options { state_directory: Some(state.to_owned()), ..Options::default() };
    let instance = Instance::new(options).unwrap();
    instance.tree().write("handlers/vdisk_ram/mgmt", "add_device d size=1M").unwrap();
    instance
}

#[test]
fn a_state_directory_is_one_instances_alone() {
    let folder = Folder::new("state-of-one");
    let state = folder.file("state");
    let first = daemon(&state);
    let options = || Options { state_directory: Some(state.clone()), ..Options::default() };
    let refused = Instance::new(options()).err().unwrap();
    assert_eq!(refused.errno, libc::EBUSY);
    assert!(refused.text.ends_with("state is in use by another instance"), "{}", refused.text);
    drop(first);
    drop(daemon(&state));
    daemon(&state);
}

#[test]
fn scst_5_8_2_reservations_are_kept_in_the_file_that_was_chosen() {
    const FILE: &str = "devices/d/pr_file_name";
    const PR: &str = "devices/d/pr_state";
    let folder = Folder::new("pr-file");
    let (state, own) = (folder.file("state"), folder.file("own"));
    std::fs::create_dir(&own).unwrap();
    let path = own.join("registrations").to_str().unwrap().to_owned();
    let has = |instance: &Instance, key: u64| {
        instance.tree().read(PR).unwrap().contains(&format!("registrant 1 {key:016x} "))
    };
    {
        let instance = daemon(&state);
        let tree = instance.tree();
        assert_eq!(tree.read(FILE).unwrap(), format!("{}\n", state.join("pr.d").display()));
        tree.write(PR, &registrant(1)).unwrap();
        for (text, errno) in
            [("registrations", libc::EINVAL), ("/nowhere/at/all", libc::ENOENT), ("/", libc::EINVAL)]
        {
            assert_eq!(tree.write(FILE, text).unwrap_err().errno, errno, "{text}");
        }
        // Where nothing is kept yet, the present ones are kept.
        tree.write(FILE, &path).unwrap();
        assert_eq!(tree.read(FILE).unwrap(), format!("{path}\n[key]\n"));
        assert!(has(&instance, 1));
        tree.write(PR, &registrant(2)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("{:016x}", 2)), "{text}");
        instance.stop(std::time::Duration::ZERO).unwrap();
    }
    {
        let instance = daemon(&state);
        let tree = instance.tree();
        assert!(has(&instance, 1), "what the state directory has, until somebody says where to look");
        tree.write(FILE, &path).unwrap();
        assert!(has(&instance, 2));
        tree.write(FILE, "").unwrap();
        assert!(has(&instance, 1) && !tree.read(FILE).unwrap().contains("[key]"));
        // What cannot be read changes nothing.
        std::fs::write(&path, "version 1\nnonsense\n").unwrap();
        assert_eq!(tree.write(FILE, &path).unwrap_err().errno, libc::EIO);
        assert!(has(&instance, 1) && tree.read(FILE).unwrap().ends_with("pr.d\n"));
        // As a parameter of a new device it counts from the start.
        std::fs::write(&path, registrant(3).to_owned() + "end\n").unwrap();
        tree.write("handlers/vdisk_ram/mgmt", "del_device d").unwrap();
        let device = format!("add_device d size=1M;pr_file_name={path}");
        tree.write("handlers/vdisk_ram/mgmt", &device).unwrap();
        assert!(has(&instance, 3));
        // Nobody else may have it.
        let other = tree.write("handlers/vdisk_ram/mgmt", &device.replace("device d ", "device e "));
        assert_eq!(other.unwrap_err().errno, libc::EEXIST);
        // A session that uses the device keeps it.
        let name = "iqn.2026-01.test:kept";
        tree.write("targets/iscsi/mgmt", &format!("add_target {name}")).unwrap();
        tree.write(&format!("targets/iscsi/{name}/luns/mgmt"), "add d 0").unwrap();
        tree.write(&format!("targets/iscsi/{name}/enabled"), "1").unwrap();
        instance.start().unwrap();
        let address = instance.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut session = Initiator::login(address, name, &initiator::Options::default()).unwrap();
        session.command(0, &[0; 6], 0, &[]).unwrap();
        assert_eq!(tree.write(FILE, "").unwrap_err().errno, libc::EBUSY);
        assert!(has(&instance, 3) && tree.read(FILE).unwrap().starts_with(&path));
        drop(session);
        instance.stop(std::time::Duration::from_secs(5)).unwrap();
    }
    let instance = Instance::new(Options::default()).unwrap();
    instance.tree().write("handlers/vdisk_ram/mgmt", "add_device d size=1M").unwrap();
    assert_eq!(instance.tree().write(FILE, &path).unwrap_err().errno, libc::EOPNOTSUPP);
    assert_eq!(instance.tree().read(FILE).unwrap(), "\n");
}
