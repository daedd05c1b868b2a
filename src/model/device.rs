//! Devices: configuration, and the unit made of it. The attribute rows are in `attributes`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::attr::{Access, Error};
use crate::backstore::declared::Declared;
use crate::backstore::gate::Gate;
use crate::backstore::registry::{Handler, Medium, OpenError, OpenRequest};
use crate::backstore::{Capabilities, Geometry};
use crate::model::effect::{Effect, Pending};
use crate::model::hold::{self, Holds};
use crate::model::kept::{self, Kept};
use crate::model::object::{Made, Scope};
use crate::model::rehearsal::Rehearsal;
use crate::scsi::device::{
    Device, DeviceType, Dispatch, Identity, MediumState, NewDevice, Settings, StateStore,
};
use crate::scsi::ops::identify;
use crate::scsi::ops::persistent::SAVED_AS;
use crate::scsi::reservation::Reservations;
use crate::scsi::sense::Sense;

mod attributes;
mod row;
mod size;
pub use attributes::ATTRIBUTES;
pub use row::{Row, check_declared};
pub use size::mebibytes;

/// Longest name of a device in bytes (SCST 1.3.2).
pub const NAME_LIMIT: usize = 64;

/// What an administrator has said of a device.
#[derive(Clone)]
pub struct DeviceConfig {
    /// Its handler.
    pub handler: Arc<Handler>,
    /// Parameters of the backstore.
    pub open: OpenRequest,
    /// Settings of the unit.
    pub settings: Settings,
    /// TST.
    pub tst: u8,
    /// The backstore is open.
    pub active: bool,
    /// ALUA states that allow no access close the backstore.
    pub bind_alua_state: bool,
    /// Worker threads for each initiator, or for all together.
    pub threads_num: u32,
    /// `per_initiator` or `shared`.
    pub threads_pool_type: String,
    /// NUMA node of the buffers.
    pub numa_node_id: i64,
    /// I/O is submitted asynchronously.
    pub is_async: bool,
    /// Reads are filled with zeros.
    pub read_zero: bool,
    /// File of the reservations; `None` for the state directory.
    pub pr_file_name: Option<PathBuf>,
    /// Where its state is kept.
    kept: Option<Arc<Kept>>,
    /// What its handler declares.
    declared: Declared,
    /// The medium as it will be when what is pending is done.
    pub(super) gate: Weak<Gate>,
    /// Names of the attributes that somebody has set.
    pub given: BTreeSet<&'static str>,
    /// Closed because of the access state, though `active`.
    is_held_closed: bool,
    /// It has another file than the one that was served last.
    has_new_file: bool,
    /// Nothing is opened, and nothing of this is made.
    pub(super) rehearsal: Option<Rehearsal>,
    unit: Option<Arc<Device>>,
    /// Commands held back.
    holds: Holds,
    pending: Pending,
}

/// A device of the configuration.
#[derive(Clone)]
pub struct DeviceObject {
    /// Its handler.
    pub handler: Arc<Handler>,
    /// Its configuration.
    pub config: DeviceConfig,
    /// The unit.
    pub device: Arc<Device>,
    /// Where it is mapped, by the number of the link; number 0 is for the copy manager.
    pub exports: BTreeMap<u32, (Scope, u16)>,
    next_export: u32,
    /// Which of all that had its name.
    pub made: Made,
}

/// Identity of a device that was given none: unique to this installation and this name, and the same after
/// every restart.
pub fn default_identity(installation: u64, name: &str) -> Identity {
    let id = fingerprint(installation, name);
    numbered(id, format!("{id:016x}"), name)
}

/// The NAA designator is of type 3h, locally assigned (SPC-4, 7.8.6.6.3).
fn numbered(id: u64, usn: String, name: &str) -> Identity {
    let mut naa = (id >> 4).to_be_bytes();
    naa[0] = 0x30 | (naa[0] & 0x0f);
    let t10_dev_id: String = format!("{usn}-{name}").chars().take(25).collect();
    Identity {
        prod_id: name.chars().take(16).collect(),
        vend_specific_id: t10_dev_id.clone(),
        t10_dev_id,
        usn,
        naa_id: naa.to_vec(),
        ..Identity::default()
    }
}

/// What a new device is called. With a `setup_id` it is SCST's own identity (5.3), so that a device that
/// moves here keeps it; without one a random number of this installation takes its place, so that devices of
/// the same name on two machines differ.
pub(super) fn identity(setup_id: u32, installation: u64, name: &str, handler: &Handler) -> Identity {
    let id = number(setup_id, name);
    let identity = if setup_id == 0 {
        default_identity(installation, name)
    } else {
        numbered(id, format!("{id:x}"), name)
    };
    Identity {
        t10_vend_id: String::from(if handler.name == "vdisk_blockio" { "SCST_BIO" } else { "SCST_FIO" }),
        prod_rev_lvl: "3110".to_owned(),
        ..identity
    }
}

/// SCST's `dev_id_num`: setup_id, and the CRC32C that the kernel computes over the name with its NUL, which
/// begins with 0 and is not inverted at the end.
fn number(setup_id: u32, name: &str) -> u64 {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    let crc = !crc32c::crc32c_append(!0, &bytes);
    u64::from(setup_id) << 32 | u64::from(crc)
}

/// 64 bits of a digest over installation and name.
fn fingerprint(installation: u64, name: &str) -> u64 {
    use sha2::Digest;
    let digest = sha2::Sha256::new().chain_update(installation.to_be_bytes()).chain_update(name).finalize();
    digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

impl DeviceConfig {
    /// A device that nobody has set anything of.
    pub(super) fn new(handler: Arc<Handler>, name: &str, identity: Identity) -> Self {
        DeviceConfig {
            bind_alua_state: handler.name == "vdisk_blockio",
            threads_num: handler_threads(&handler),
            declared: Declared::new(handler.declared),
            gate: Weak::new(),
            handler,
            open: OpenRequest { device: name.to_owned(), zero_copy: true, ..OpenRequest::default() },
            settings: Settings { identity, ..Settings::default() },
            tst: 1,
            active: true,
            threads_pool_type: "per_initiator".to_owned(),
            numa_node_id: -1,
            is_async: false,
            read_zero: false,
            pr_file_name: None,
            kept: None,
            given: BTreeSet::new(),
            is_held_closed: false,
            has_new_file: false,
            rehearsal: None,
            unit: None,
            holds: Holds::default(),
            pending: Pending::default(),
        }
    }

    fn is_given(&self, name: &str) -> bool {
        self.given.contains(name)
    }

    /// The row of an attribute that this device has, and who may write it.
    pub fn find(&self, name: &str) -> Result<(Row, Access), Error> {
        let has = |row: Row| Some((row, row.access(self)?));
        if name.starts_with("dif_") {
            let text = format!("{name}: T10 protection information is not supported; leave it out");
            return Err(Error::new(libc::EOPNOTSUPP, text));
        }
        self.rows().find(|row| row.name() == name).and_then(has).ok_or_else(|| {
            let known: Vec<&str> = self.rows().filter_map(has).map(|(row, _)| row.name()).collect();
            let text =
                format!("{} has no attribute {name}; there are {}", self.handler.name, known.join(", "));
            Error::new(libc::ENOENT, text)
        })
    }

    /// What the handler refuses before it opens anything (SCST 1.3.2).
    fn check(&self) -> Result<(), Error> {
        let open = &self.open;
        if self.handler.name == "vdisk_fileio" && open.read_only && (open.write_through || open.nv_cache) {
            return Err(Error::invalid("read_only goes with neither write_through nor nv_cache"));
        }
        (self.handler.check)(open).map_err(|error| Error::new(error.errno, error.text))
    }

    /// The medium that the configuration opens; none when it is not active, while its access state keeps it
    /// closed, or for an empty drive.
    pub(super) fn opened(&self) -> Result<Option<Arc<Gate>>, Error> {
        if !self.active || self.is_held_closed || self.rehearsal == Some(Rehearsal::Words) {
            return Ok(None);
        }
        let failed = |error: OpenError| Error::new(error.errno, error.text);
        if self.rehearsal.is_some() {
            return (self.handler.look)(&self.open).map(|()| None).map_err(failed);
        }
        let serial = self.settings.identity.usn.clone();
        let declared = self.declared.texts().to_vec();
        let request = OpenRequest { serial, declared, ..self.open.clone() };
        let store = self.handler.open(&request).map_err(failed)?;
        Ok(store.map(|store| Arc::new(Gate::new(store))))
    }

    /// Whether the medium of this and that of `other`, a new device, are not to be open at once.
    pub(super) fn excludes(&self, other: &DeviceConfig) -> bool {
        let (own, others) = (&self.open, &other.open);
        let is_same = own.device == others.device
            || own.filename.is_some() && own.filename == others.filename
            || !own.cfgstring.is_empty() && own.cfgstring == others.cfgstring;
        is_same && self.handler.name == other.handler.name && self.handler.opens_once(own)
    }

    /// Blocks can be freed: asked for, or the backing can and nobody has said no. One that is closed is what
    /// it was, or what was asked for.
    fn is_thin(&self, gate: Option<&Gate>) -> bool {
        let asked = self.open.thin_provisioned;
        match gate {
            Some(gate) => gate.capabilities().contains(Capabilities::UNMAP) && asked.unwrap_or(true),
            None => asked.unwrap_or(self.settings.thin_provisioned),
        }
    }

    /// Whether the medium is never written: a drive, or a disk that is read-only.
    pub fn is_read_only(&self) -> bool {
        self.open.read_only || self.handler.medium == Medium::CdRom
    }

    /// Whether the access state keeps the backing store closed (`bind_alua_state`).
    pub fn is_held_closed(&self) -> bool {
        self.is_held_closed
    }

    /// Whether the backing store is open when what is pending is done.
    fn is_open(&self) -> bool {
        self.gate.strong_count() > 0
    }

    /// The unit, once there is one.
    fn unit(&self) -> Option<&Arc<Device>> {
        self.unit.as_ref()
    }

    fn after(&mut self, effect: impl FnOnce(Arc<Device>) -> Effect) {
        if let Some(unit) = &self.unit {
            self.pending.push(effect(Arc::clone(unit)));
        }
    }

    /// `active` (SCST 1.4.2): opens the backing store, or closes it.
    fn activate(&mut self, active: bool) -> Result<(), Error> {
        let was = std::mem::replace(&mut self.active, active);
        if was == active || self.unit.is_none() {
            return Ok(());
        }
        let gate = self.opened()?;
        self.has_new_file &= gate.is_none();
        self.change_medium(gate);
        Ok(())
    }

    /// The backing store of a disk opens or closes.
    fn change_medium(&mut self, gate: Option<Arc<Gate>>) {
        self.settings.thin_provisioned = self.is_thin(gate.as_deref());
        self.gate = gate.as_ref().map_or_else(Weak::new, Arc::downgrade);
        self.after(|device| Effect::Medium { device, gate, absent: MediumState::Closed });
    }

    /// `filename`: of a disk only while it is closed; of a drive it changes the medium (SCST 1.4.4).
    fn change_file(&mut self, text: &str) -> Result<(), Error> {
        let text = text.trim();
        if !text.is_empty() && !text.starts_with('/') {
            return Err(Error::invalid(format!("\"{text}\" is not an absolute path")));
        }
        let is_drive = self.handler.medium == Medium::CdRom;
        if let Some(unit) = &self.unit {
            let state = unit.state();
            let is_kept = !state.prevented.is_empty() && state.medium == MediumState::Present;
            drop(state);
            if is_drive && is_kept {
                return Err(Error::new(libc::EBUSY, "an initiator prevents removal of the medium"));
            }
            if !is_drive && self.active {
                return Err(Error::new(libc::EBUSY, "can be changed only while active is 0"));
            }
            if !is_drive && text.is_empty() {
                return Err(Error::invalid("a disk needs a file"));
            }
        }
        let file = Some(text.into()).filter(|_| !text.is_empty());
        self.has_new_file |= self.unit.is_some() && self.open.filename != file;
        self.open.filename = file;
        if is_drive && self.unit.is_some() {
            let gate = self.opened()?;
            self.after(|device| Effect::Medium { device, gate, absent: MediumState::TrayClosed });
        }
        Ok(())
    }

    /// `block` (SCST 1.4.1): 0 lets commands go, 1 holds them back and waits for those that have begun, 11
    /// holds them back and waits for nothing.
    fn block(&mut self, text: &str) -> Result<(), Error> {
        let holds = self.holds.clone();
        let hold = |limit: Option<Duration>| {
            move |device| Effect::Hold { holds, devices: Some(vec![device]), limit }
        };
        match text.split_whitespace().next() {
            Some("0") => {
                let holds = self.holds.clone();
                self.after(|_| Effect::Release(holds));
            }
            Some("1") => self.after(hold(Some(hold::LIMIT))),
            Some("11") => self.after(hold(None)),
            _ => return Err(Error::invalid(format!("\"{text}\" is not 0, 1 or 11"))),
        }
        Ok(())
    }

    /// `pr_state` (SCST 5.8.3): another state, whole, while no session uses the device.
    fn set_reservations(&mut self, text: &str) -> Result<(), Error> {
        let users = self.unit.as_ref().map_or(0, |unit| unit.itls().len());
        if users > 0 {
            return Err(Error::new(libc::EBUSY, format!("{users} sessions use the device")));
        }
        let state = Reservations::parse(text).map_err(|error| Error::invalid(error.to_string()))?;
        self.after(|device| Effect::Reservations { device, state: Box::new(state) });
        Ok(())
    }

    /// Where reservations are kept: `pr_file_name`.
    fn reservations_place(&self) -> String {
        self.kept.as_ref().map_or_else(String::new, |kept| kept.place(&self.open.device, SAVED_AS))
    }

    /// `pr_file_name` (SCST 1.4.1): the reservations are those in that file, if it is there; while no session
    /// uses the device.
    fn keep_reservations_in(&mut self, text: &str) -> Result<(), Error> {
        let path = if text.is_empty() { None } else { Some(kept::path(text)?) };
        if self.rehearsal == Some(Rehearsal::Words) {
            // Directories, this one and that of the state, are those of the daemon that will be told.
            self.pr_file_name = path;
            return Ok(());
        }
        path.as_deref().map_or(Ok(()), kept::check)?;
        let Some(kept) = self.kept.clone() else {
            return Err(Error::new(libc::EOPNOTSUPP, "without a state directory no reservations are kept"));
        };
        if path == self.pr_file_name {
            return Ok(());
        }
        self.pr_file_name.clone_from(&path);
        if self.unit.is_none() {
            kept.keep_in(path);
        } else {
            self.after(|device| Effect::KeepReservations { device, kept, path, state: None });
        }
        Ok(())
    }

    /// An order to the backing store, which must be open.
    fn order(&mut self, effect: impl FnOnce(Arc<Device>) -> Effect) -> Result<(), Error> {
        if self.unit.as_ref().is_some_and(|unit| unit.gate().is_none()) {
            return Err(Error::new(libc::EMEDIUMTYPE, "the device is not active"));
        }
        self.after(effect);
        Ok(())
    }
}

/// Threads of a device that was told nothing of threads (SCST's `num_threads`).
fn handler_threads(handler: &Handler) -> u32 {
    if matches!(handler.name.as_ref(), "vdisk_fileio" | "vcdrom") { 8 } else { 1 }
}

/// The attribute that says what a backstore may say too, and its limit in bytes.
const OPTIMAL: &str = "opt_trans_len";
const OPTIMAL_LIMIT: u32 = 32 << 20;

impl DeviceConfig {
    /// Until another is given, the optimal transfer length is what the backstore tells, in whole blocks.
    fn take_optimal_transfer(&mut self) {
        let Some(gate) = self.gate.upgrade().filter(|_| !self.is_given(OPTIMAL)) else { return };
        let Geometry { block_size, optimal_transfer_bytes, .. } = gate.geometry();
        let bytes = optimal_transfer_bytes.min(OPTIMAL_LIMIT);
        if bytes >= block_size {
            self.settings.opt_trans_len = bytes - bytes % block_size;
        }
    }
}

impl DeviceObject {
    /// Opens a new device that begins as `config` says; before its medium is opened, `make_way` is called.
    pub(super) fn open(
        mut config: DeviceConfig,
        parameters: &[(String, String)],
        (dispatch, store): (&Arc<dyn Dispatch>, Option<&Arc<dyn StateStore>>),
        make_way: impl FnOnce(&DeviceConfig) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let (handler, name) = (Arc::clone(&config.handler), config.open.device.clone());
        let name = name.as_str();
        config.kept = store.map(Kept::new);
        for (at, (name, value)) in parameters.iter().enumerate() {
            if parameters[..at].iter().any(|(known, _)| known == name) {
                return Err(Error::invalid(format!("{name} is given twice")));
            }
            let (row, _) = config.find(name).map_err(|error| Error::invalid(error.text))?;
            row.write(&mut config, value)?;
            config.given.insert(row.name());
        }
        config.check()?;
        if config.active && config.rehearsal.is_none() {
            make_way(&config)?;
        }
        let gate = config.opened()?;
        config.settings.thin_provisioned = config.is_thin(gate.as_deref());
        config.gate = gate.as_ref().map_or_else(Weak::new, Arc::downgrade);
        config.take_optimal_transfer();
        let is_drive = handler.medium == Medium::CdRom;
        let device_type = match (handler.medium, &gate) {
            (Medium::CdRom, _) => DeviceType::CdRom,
            (Medium::Passed, Some(gate)) => {
                let failed = |error| Error::new(libc::EIO, format!("{name}: INQUIRY fails: {error}"));
                DeviceType::Passed(identify(gate).map_err(failed)?)
            }
            (Medium::Passed, None) => DeviceType::Passed(0x1f),
            (Medium::Disk, _) => DeviceType::Disk,
        };
        let new = NewDevice {
            name: name.to_owned(),
            device_type,
            settings: config.settings.clone(),
            block_size: config.open.blocksize.unwrap_or(if is_drive { 2048 } else { 512 }),
            task_set_type: config.tst,
            gate,
        };
        let device = match config.kept.clone().filter(|_| config.rehearsal.is_none()) {
            Some(kept) => Device::open(new, Arc::clone(dispatch), kept)
                .map_err(|error| Error::new(libc::EIO, format!("device {name}: {error}")))?,
            None => Device::new(new, Arc::clone(dispatch)),
        };
        if !config.active {
            device.set_medium(None, MediumState::Closed);
        }
        config.unit = Some(Arc::clone(&device));
        Ok(DeviceObject {
            handler,
            config,
            device,
            exports: BTreeMap::new(),
            next_export: 1,
            made: Made::default(),
        })
    }

    /// Writes an attribute; what it does to the unit comes back, to be done when everything else is right.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<Vec<Effect>, Error> {
        let (row, access) = self.config.find(name)?;
        crate::model::check_access(access, name)?;
        let before = self.config.settings.clone();
        row.write(&mut self.config, value)?;
        self.config.given.insert(row.name());
        Ok(self.effects(&before))
    }

    /// Puts an attribute back to what it is when nobody has set it: what `fresh` has.
    pub(super) fn reset(&mut self, name: &str, fresh: &DeviceConfig) -> Result<Vec<Effect>, Error> {
        let (row, access) = self.config.find(name)?;
        crate::model::check_access(access, name)?;
        let before = self.config.settings.clone();
        let value = row.get(fresh);
        // An empty drive shows a word for nothing.
        let value = if row.name() == "filename" && value == row.default() { "" } else { &value };
        row.write(&mut self.config, value)?;
        self.config.given.remove(row.name());
        self.config.take_optimal_transfer();
        Ok(self.effects(&before))
    }

    /// Whether it is a LUN of the copy manager, as every device is until somebody takes it out there.
    pub fn is_copied(&self) -> bool {
        self.config.settings.is_copied
    }

    /// Makes it a LUN of the copy manager, or none.
    pub(super) fn set_copied(&mut self, is_copied: bool) -> Vec<Effect> {
        let before = self.config.settings.clone();
        self.config.settings.is_copied = is_copied;
        self.effects(&before)
    }

    fn effects(&mut self, before: &Settings) -> Vec<Effect> {
        let mut effects = self.config.pending.take();
        if *before != self.config.settings {
            let settings = self.config.settings.clone();
            effects.push(Effect::Settings { device: Arc::clone(&self.device), settings });
        }
        effects
    }

    /// Resizes whatever kind it is, also a file that the tree lets nobody resize, and one that is closed.
    pub(super) fn resize(&mut self, bytes: u64) -> Result<Vec<Effect>, Error> {
        let named = |error: Error| Error::new(error.errno, format!("size: {}", error.text));
        self.config.resize(bytes).map_err(named)?;
        Ok(self.config.pending.take())
    }

    /// Reads the size of the backing again, of whatever kind it is.
    pub(super) fn resync(&mut self) -> Result<Vec<Effect>, Error> {
        self.config.order(Effect::Resync)?;
        Ok(self.config.pending.take())
    }

    /// Closes the backing store because no path reaches it, or opens it again.
    pub(super) fn hold_closed(&mut self, closed: bool) -> Result<Vec<Effect>, Error> {
        let config = &mut self.config;
        let before = config.settings.clone();
        config.is_held_closed = closed;
        if config.active {
            let gate = config.opened()?;
            config.change_medium(gate);
        }
        Ok(self.effects(&before))
    }

    /// Enters where it is mapped; numbers of links are never used again while the device lives.
    pub(super) fn export(&mut self, scope: Scope, lun: u16) {
        self.exports.insert(self.next_export, (scope, lun));
        self.next_export += 1;
    }

    pub(super) fn unexport(&mut self, scope: &Scope, lun: u16) {
        self.exports.retain(|_, (own, number)| own != scope || *number != lun);
    }
}

/// What every nexus of a thin unit learns on `gen_tp_soft_threshold_reached_UA`.
const SOFT_THRESHOLD: Sense = Sense::THIN_PROVISIONING_SOFT_THRESHOLD_REACHED;
