//! Random writes to the tree, files applied in both ways, and sessions, all on one live model, against a
//! plain model of what they mean; and that what is saved and loaded is the same.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod plain;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use plain::doc::Chance;
use plain::{Plain, Seen};
use scstu::backstore::buffer::BufferPool;
use scstu::iscsi::attachment::{CloseReason, Host, LiveSession, SessionControl};
use scstu::iscsi::declaration::SessionType;
use scstu::iscsi::directory::Query;
use scstu::iscsi::key::Values;
use scstu::iscsi::login::SessionRequest;
use scstu::iscsi::parameters::Parameters;
use scstu::mgmt::conf::plan::{self, Mode};
use scstu::mgmt::conf::save::save;
use scstu::mgmt::tree::{Kind, Tree};
use scstu::model::Model;
use scstu::model::target::Map;
use scstu::names::IscsiName;
use scstu::scsi::device::Dispatch;
use scstu::scsi::nexus::{NewNexus, Nexus, TargetPort, TransportId};
use scstu::server::pool::Pool;

const ROUNDS: u64 = 60;
const STEPS: usize = 250;

/// A small generator: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 8).unwrap() % limit
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

const DEVICES: [&str; 4] = ["d0", "d1", "d2", "d3"];
const TARGETS: [&str; 3] = ["iqn.x:t0", "iqn.x:t1", "iqn.x:t2"];
const GROUPS: [&str; 3] = ["g0", "g1", "g2"];
const PATTERNS: [&str; 5] = ["iqn.i:a*", "iqn.i:b?", "!iqn.i:c", "iqn.i:d", "*"];
const INITIATORS: [&str; 5] = ["iqn.i:a1", "iqn.i:b2", "iqn.i:c", "iqn.i:d", "iqn.i:e"];
const DEVICE_GROUPS: [&str; 2] = ["dg0", "dg1"];
const TARGET_GROUPS: [&str; 3] = ["tg0", "tg1", "tg2"];
const MEMBERS: [&str; 5] = ["iqn.x:t0", "iqn.x:t1", "iqn.x:t2", "iqn.peer:a", "iqn.peer:b"];
const LUNS: [&str; 4] = ["0", "1", "7", "16383"];

impl Chance for Random {
    fn below(&mut self, limit: usize) -> usize {
        Random::below(self, limit)
    }

    fn device(&mut self) -> String {
        self.of(&DEVICES).to_owned()
    }

    fn target(&mut self) -> String {
        self.of(&TARGETS).to_owned()
    }

    fn group(&mut self) -> String {
        self.of(&GROUPS).to_owned()
    }

    fn pattern(&mut self) -> String {
        self.of(&PATTERNS).to_owned()
    }

    fn lun(&mut self) -> u16 {
        self.of(&LUNS).parse().unwrap()
    }

    fn member(&mut self) -> String {
        self.of(&MEMBERS).to_owned()
    }

    fn target_group(&mut self) -> String {
        self.of(&TARGET_GROUPS).to_owned()
    }

    fn device_group(&mut self) -> String {
        self.of(&DEVICE_GROUPS).to_owned()
    }

    fn number(&mut self) -> String {
        self.of(&["0", "1", "2", "3", "9", "60", "70000"]).to_owned()
    }
}

/// Notes that it was told to close.
#[derive(Default)]
struct Control(AtomicBool);

impl SessionControl for Control {
    fn close(&self, _reason: CloseReason) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn update(&self, _values: &Values) {}
}

/// A session without a connection.
struct Session {
    nexus: Arc<Nexus>,
    control: Arc<Control>,
    target: String,
    initiator: String,
}

struct World {
    model: Arc<Model>,
    tree: Tree,
    plain: Plain,
    sessions: Mutex<BTreeMap<u64, Session>>,
    next: u64,
    /// Files that were applied, and those that were refused: of each way.
    files: [[usize; 2]; 2],
    logins: usize,
}

impl World {
    fn new() -> World {
        let dispatch: Arc<dyn Dispatch> = Arc::new(Pool::new(2));
        let model = Model::new(dispatch, None).unwrap();
        let tree = Tree::new(Arc::clone(&model));
        World {
            model,
            tree,
            plain: Plain::default(),
            sessions: Mutex::default(),
            next: 1,
            files: [[0; 2]; 2],
            logins: 0,
        }
    }

    /// A login, as the server does it. Answers whether it was let in.
    fn login(&mut self, target: &str, initiator: &str) -> bool {
        let name = IscsiName::parse_any_form(initiator.as_bytes()).unwrap();
        let address = "127.0.0.1:3260".parse().unwrap();
        let query = Query { initiator: &name, portal: address, peer: address };
        let request = SessionRequest {
            session_type: SessionType::Normal,
            initiator: name.clone(),
            initiator_alias: String::new(),
            target: Some(IscsiName::parse_any_form(target.as_bytes()).unwrap()),
            portal_group_tag: 1,
            isid: [0; 6],
            tsih: 0,
            cid: 0,
            cmd_sn: 0,
            user: None,
        };
        let Ok(attachment) = self.model.attach(&request, &query) else { return false };
        let id = self.next;
        self.next += 1;
        let nexus = Nexus::new(NewNexus {
            id,
            initiator: TransportId { name: initiator.to_owned(), isid: [0; 6] },
            target: TargetPort {
                name: target.to_owned(),
                portal_group_tag: 1,
                relative_identifier: attachment.relative_identifier,
            },
            buffers: BufferPool::new(1 << 20),
            reinstated: false,
            map: attachment.map,
            absent: attachment.absent,
            well_known: attachment.well_known,
        });
        let control = Arc::new(Control::default());
        self.model.opened(LiveSession {
            nexus: Arc::clone(&nexus),
            tsih: 1,
            cid: 0,
            portal: address,
            peer: address,
            parameters: Parameters::default(),
            thread: 0,
            control: control.clone(),
        });
        let session = Session { nexus, control, target: target.to_owned(), initiator: initiator.to_owned() };
        self.sessions.lock().unwrap().insert(id, session);
        self.plain.login(id, target, initiator);
        true
    }

    fn logout(&mut self, id: u64) {
        if let Some(session) = self.sessions.lock().unwrap().remove(&id) {
            self.model.closed(&session.nexus);
            self.plain.logout(id);
        }
    }

    /// A write, whose result must be the plain model's.
    fn write(&mut self, path: &str, text: &str) {
        let expected = self.plain.write(path, text);
        let found = self.tree.write(path, text).err().map_or(0, |error| error.errno);
        assert_eq!(found, expected, "{text:?} to {path}\n{:#?}", self.plain);
    }

    /// Sessions that were told to close are those that the plain model closes; they go.
    fn settle(&mut self) {
        let told: Vec<u64> = {
            let sessions = self.sessions.lock().unwrap();
            let told = sessions.iter().filter(|(_, session)| session.control.0.load(Ordering::Relaxed));
            told.map(|(id, _)| *id).collect()
        };
        assert_eq!(told, std::mem::take(&mut self.plain.closing), "sessions that were to close");
        told.into_iter().for_each(|id| self.logout(id));
    }

    /// Every object is there, and as the plain model says.
    fn compare_objects(&self) {
        let now = self.model.configuration();
        let devices = now.devices.iter().map(|(name, own)| (name.clone(), own.config.open.read_only));
        assert_eq!(devices.collect::<Vec<_>>(), self.plain.shown_devices());
        assert_eq!(now.driver.enabled, self.plain.is_enabled());
        let luns = |map: &Map| -> Seen {
            map.luns.iter().map(|(lun, own)| (*lun, (own.device.clone(), own.read_only))).collect()
        };
        let targets = now.targets.values().map(|target| {
            let groups = target.groups.iter().map(|(name, group)| {
                let patterns = group.initiators.iter().map(|pattern| pattern.as_str().to_owned());
                (name.to_owned(), patterns.collect(), luns(&group.map))
            });
            let own = (target.name.clone(), target.enabled, target.relative_identifier);
            (own, luns(&target.map), groups.collect())
        });
        assert_eq!(targets.collect::<Vec<_>>(), self.plain.shown_targets());
    }

    /// Every session sees what the plain model says.
    fn compare(&self) {
        for (id, session) in &*self.sessions.lock().unwrap() {
            let map = session.nexus.map();
            let seen: Seen = map
                .entries()
                .iter()
                .map(|entry| (entry.lun, (entry.device.name().to_owned(), entry.read_only)))
                .collect();
            let expected = self.plain.seen(&session.target, &session.initiator);
            assert_eq!(seen, expected, "session {id} of {} with {}", session.initiator, session.target);
        }
        for target in TARGETS {
            let path = format!("targets/iscsi/{target}/sessions");
            let listed = self.tree.list(&path).map_or(0, |listed| listed.len());
            let own = self.sessions.lock().unwrap().values().filter(|s| s.target == target).count();
            assert_eq!(listed, own, "{path}");
        }
        let enabled = self.model.configuration();
        let mut identifiers: Vec<u16> =
            enabled.targets.values().filter(|t| t.enabled).map(|t| t.relative_identifier).collect();
        identifiers.sort_unstable();
        let count = identifiers.len();
        identifiers.dedup();
        assert!(identifiers.len() == count && !identifiers.contains(&0), "identifiers are unique");
    }

    fn step(&mut self, random: &mut Random) {
        let (device, target, group) = (random.of(&DEVICES), random.of(&TARGETS), random.of(&GROUPS));
        let (lun, pattern) = (random.of(&LUNS), random.of(&PATTERNS));
        let at = format!("targets/iscsi/{target}");
        let scope = if random.below(2) == 0 { at.clone() } else { format!("{at}/ini_groups/{group}") };
        let flag = random.of(&["0", "1"]);
        match random.below(38) {
            30..=33 => self.step_of_files(random),
            34..=37 => self.step_of_logins(random),
            20..=26 => self.step_in_groups(random),
            27..=29 => self.step_of_attributes(random, &scope),
            0 | 1 => {
                let text = format!("add_device {device} size_mb=16;read_only={flag}");
                self.write("handlers/vdisk_nullio/mgmt", &text);
            }
            2 => self.write("handlers/vdisk_nullio/mgmt", &format!("del_device {device}")),
            3 | 4 => self.write("targets/iscsi/mgmt", &format!("add_target {target}")),
            5 => self.write("targets/iscsi/mgmt", &format!("del_target {target}")),
            6 => self.write(&format!("{at}/enabled"), random.of(&["0", "1", "1", "1", "2"])),
            7 => self.write("targets/iscsi/enabled", random.of(&["0", "1", "1", "1"])),
            8 | 9 => self.write(&format!("{at}/ini_groups/mgmt"), &format!("create {group}")),
            10 => self.write(&format!("{at}/ini_groups/mgmt"), &format!("del {group}")),
            11 | 12 => {
                let path = format!("{at}/ini_groups/{group}/initiators/mgmt");
                let to = random.of(&GROUPS);
                let text = match random.below(6) {
                    0 => format!("del {pattern}"),
                    1 => format!("move {pattern} {to}"),
                    2 => "clear".to_owned(),
                    _ => format!("add {pattern}"),
                };
                self.write(&path, &text);
            }
            13..=16 => {
                let verb = random.of(&["add", "add", "replace", "replace_no_ua", "del", "clear"]);
                let text = match verb {
                    "del" => format!("del {lun}"),
                    "clear" => "clear".to_owned(),
                    verb => format!("{verb} {device} {lun} read_only={flag};"),
                };
                self.write(&format!("{scope}/luns/mgmt"), &text);
            }
            17 | 18 => self.step_of_logins(random),
            _ => self.end_of_a_session(random),
        }
    }

    fn step_of_logins(&mut self, random: &mut Random) {
        let (target, initiator) = (random.of(&TARGETS), random.of(&INITIATORS));
        let expected = self.plain.lets_in(target, initiator);
        assert_eq!(self.login(target, initiator), expected, "{initiator} to {target}");
        self.logins += usize::from(expected);
    }

    /// A world in which there is much to change.
    fn furnish(&mut self) {
        self.write("targets/iscsi/enabled", "1");
        for device in DEVICES {
            self.write("handlers/vdisk_nullio/mgmt", &format!("add_device {device} size_mb=16;read_only=0"));
        }
        for target in TARGETS {
            let at = format!("targets/iscsi/{target}");
            self.write("targets/iscsi/mgmt", &format!("add_target {target}"));
            self.write(&format!("{at}/enabled"), "1");
            for (group, pattern) in GROUPS.iter().zip(PATTERNS) {
                self.write(&format!("{at}/ini_groups/mgmt"), &format!("create {group}"));
                let own = format!("{at}/ini_groups/{group}");
                self.write(&format!("{own}/initiators/mgmt"), &format!("add {pattern}"));
                self.write(&format!("{own}/luns/mgmt"), "add d0 0 read_only=0;");
                self.write(&format!("{own}/luns/mgmt"), "add d1 1 read_only=1;");
            }
            self.write(&format!("{at}/luns/mgmt"), "add d2 0 read_only=0;");
        }
    }

    /// A file that says what there is, and something else.
    fn step_of_files(&mut self, random: &mut Random) {
        let mut doc = self.plain.doc();
        for _ in 0..random.below(8) {
            doc.edit(random);
        }
        let (text, exact) = (doc.text(), random.below(2) == 0);
        let mode = if exact { Mode::Exact } else { Mode::Merge };
        let before = self.plain.clone();
        let expected = self.plain.apply(&doc, exact);
        let planned = plan::plan_text(&self.model, &text, mode).map(|plan| plan.text());
        let found = plan::apply_text(&self.model, &text, mode);
        let state = || format!("{mode:?}\n{text}\n{found:?}\n{before:#?}");
        assert_eq!(found.is_ok(), expected.is_ok(), "{}", state());
        assert_eq!(planned.is_ok(), found.is_ok(), "what is planned can be done\n{}", state());
        self.files[usize::from(exact)][usize::from(found.is_err())] += 1;
        if found.is_ok() {
            let again = plan::plan_text(&self.model, &text, mode).unwrap();
            assert!(again.is_empty(), "{}\n{}", again.text(), state());
        }
    }

    fn step_in_groups(&mut self, random: &mut Random) {
        let (group, name) = (random.of(&DEVICE_GROUPS), random.of(&TARGET_GROUPS));
        let (device, member) = (random.of(&DEVICES), random.of(&MEMBERS));
        let at = format!("device_groups/{group}");
        let own = format!("{at}/target_groups/{name}");
        let makes = random.of(&["create", "add", "add", "add", "del"]);
        let adds = random.of(&["add", "add", "add", "del"]);
        match random.below(10) {
            0 => self.write("device_groups/mgmt", &format!("{makes} {group}")),
            1 => self.write(&format!("{at}/devices/mgmt"), &format!("{adds} {device}")),
            2 | 3 => self.write(&format!("{at}/target_groups/mgmt"), &format!("{makes} {name}")),
            4 | 5 => self.write(&format!("{own}/mgmt"), &format!("{adds} {member}")),
            6 => {
                let id = random.of(&["0", "1", "2", "65535", "65536"]);
                self.write(&format!("{own}/group_id"), id);
            }
            7 => self.write(&format!("{own}/preferred"), random.of(&["0", "1", "2"])),
            8 => {
                let states = ["active", "nonoptimized", "standby", "offline", "transitioning", "Active"];
                self.write(&format!("{own}/state"), random.of(&states));
            }
            _ => {
                let id = random.of(&["0", "1", "2", "3", "9"]);
                self.write(&format!("{own}/{member}/rel_tgt_id"), id);
            }
        }
    }

    fn step_of_attributes(&mut self, random: &mut Random, scope: &str) {
        let (device, target) = (random.of(&DEVICES), format!("targets/iscsi/{}", random.of(&TARGETS)));
        let number = random.of(&["0", "1", "2", "4", "60", "65535", "65536", "x"]);
        match random.below(9) {
            0 => self.write(&format!("{target}/alias"), random.of(&["", "an alias", "\"{}#"])),
            1 => self.write(&format!("{target}/comment"), random.of(&["", "\\ text", "x"])),
            2 => self.write(&format!("{target}/RspTimeout"), number),
            3 => self.write(&format!("{target}/MaxSessions"), random.of(&["0", "65535", "65536", "x"])),
            4 => self.write(&format!("{target}/aen_disabled"), number),
            5 => self.write(&format!("{target}/rel_tgt_id"), random.of(&["0", "1", "2", "3", "70000"])),
            6 => self
                .write(&format!("devices/{device}/prod_id"), random.of(&["P", "p q", "a-name-of-17-bytes"])),
            7 => self.write(&format!("devices/{device}/max_tgt_dev_commands"), number),
            _ => self
                .write(&format!("{scope}/addr_method"), random.of(&["FLAT", "lun", "PERIPHERAL", "ROUND"])),
        }
    }

    /// Device groups as the tree shows them and as their units do; every attribute reads what was written.
    fn compare_values(&self) {
        let mut found = BTreeSet::new();
        let mut files = Vec::new();
        listing(&self.tree, "device_groups", &mut files);
        for line in files {
            let (path, rest) = line.split_once(' ').unwrap();
            if rest.starts_with("->") {
                found.insert(path.to_owned());
            } else if !path.ends_with("/mgmt") {
                let text = self.tree.read(path).unwrap();
                found.insert(format!("{path} {}", text.lines().next().unwrap_or_default()));
            }
        }
        assert_eq!(found, self.plain.device_groups().shown());
        let configuration = self.model.configuration();
        let expected = self.plain.device_groups().of_devices(&self.plain.identifiers());
        for (name, object) in &configuration.devices {
            let own = object.device.target_port_groups();
            let own = own.groups().map(|group| {
                (group.group_id, group.state.name().to_owned(), group.preferred, group.ports.clone())
            });
            let own: Vec<_> = own.collect();
            assert_eq!(
                Some(&own).filter(|own| !own.is_empty()),
                expected.get(name).filter(|own| !own.is_empty()),
                "{name}"
            );
        }
        for (path, value) in &self.plain.values {
            let text = self.tree.read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(text.lines().next().unwrap_or_default(), value, "{path}");
        }
    }

    fn end_of_a_session(&mut self, random: &mut Random) {
        let ids: Vec<u64> = self.sessions.lock().unwrap().keys().copied().collect();
        let Some(id) = ids.get(random.below(ids.len().max(1))).copied() else { return };
        if random.below(2) == 0 {
            return self.logout(id);
        }
        let session = self.model.sessions().into_iter().find(|s| s.live.nexus.id == id).unwrap();
        let path = format!("targets/iscsi/{}/sessions/{}/force_close", session.target, session.name);
        self.plain.closing.push(id);
        self.tree.write(&path, "1").unwrap();
    }
}

/// The whole tree but sessions and what counts up: numbers of targets and of links.
fn listing(tree: &Tree, directory: &str, out: &mut Vec<String>) {
    for (name, kind) in tree.list(directory).unwrap() {
        let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
        // They count up, or are made from a number of the installation.
        let own = ["exported", "sessions", "tid", "last_sysfs_mgmt_res"];
        let identity = ["usn", "t10_dev_id", "vend_specific_id", "naa_id"];
        if own.contains(&name.as_str()) || identity.contains(&name.as_str()) || path == "targets/copy_manager"
        {
            continue;
        }
        match kind {
            Kind::Directory => listing(tree, &path, out),
            Kind::Link { target } => out.push(format!("{path} -> {target}")),
            Kind::File { mode } if mode & 0o400 != 0 => out.push(format!("{path} {:?}", tree.read(&path))),
            Kind::File { mode } => out.push(format!("{path} {mode:o}")),
        }
    }
}

#[test]
fn random_writes_files_and_sessions_do_what_they_mean_and_survive_saving() {
    let (mut files, mut logins) = ([[0; 2]; 2], 0);
    for seed in 1..=ROUNDS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut world = World::new();
        for step in 0..STEPS {
            // Half of the worlds begin with nothing.
            if step % 60 == 0 && (step > 0 || seed % 2 == 0) {
                world.furnish();
            }
            world.step(&mut random);
            world.settle();
            world.compare_objects();
            world.compare();
            world.compare_values();
            if step % 50 == 49 {
                saved_is_loaded(&world, seed);
            }
        }
        for (all, own) in files.iter_mut().flatten().zip(world.files.iter().flatten()) {
            *all += own;
        }
        logins += world.logins;
    }
    assert!(files.iter().all(|[good, bad]| *good > 300 && *bad > 60), "too few of a kind: {files:?}");
    assert!(logins > 500, "only {logins} logins were let in");
}

fn saved_is_loaded(world: &World, seed: u64) {
    let text = save(&world.model.configuration());
    let other = World::new();
    let loaded = plan::apply_text(&other.model, &text, Mode::Merge).map(|_| ());
    loaded.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
    let (mut before, mut after) = (Vec::new(), Vec::new());
    listing(&world.tree, "", &mut before);
    listing(&other.tree, "", &mut after);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after, "seed {seed}\n{text}");
    }
    assert_eq!(before.len(), after.len(), "seed {seed}\n{text}");
    assert_eq!(save(&other.model.configuration()), text, "seed {seed}");
}
