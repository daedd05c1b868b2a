//! The logical unit: identity, medium, the commands it supports, and its state behind one mutex.
//!
//! Lock order: target port groups, `state`, an I_T_L nexus's unit attentions, a transport's queue. Nothing
//! that can block is called with `state` held.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use crate::backstore::gate::Gate;
use crate::backstore::{Capabilities, Geometry};
use crate::notice::Notice;
use crate::scsi::alua::Alua;
use crate::scsi::background::Background;
use crate::scsi::claim::Claim;
use crate::scsi::itl::{Itl, MediaEvent};
use crate::scsi::mode_parameters::ModeParameters;
use crate::scsi::opcode::{OpCode, Types};
use crate::scsi::ops::OpSet;
pub use crate::scsi::ops::persistent::TargetPorts;
use crate::scsi::reservation::Reservations;
use crate::scsi::sense::Sense;
pub use crate::scsi::store::{MemoryStore, StateError, StateStore};
use crate::scsi::task::Task;
use crate::scsi::task_set::TaskSet;
use crate::scsi::threshold;
use crate::sys::cache;
use crate::sys::interleave::until;
use crate::sys::lock::{Lock, Locked};

/// PERIPHERAL DEVICE TYPE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeviceType {
    /// 00h, direct access block device.
    Disk,
    /// 05h, CD/DVD device.
    CdRom,
    /// Whatever the medium says, which is a SCSI device by itself and gets the commands as they are.
    Passed(u8),
    /// 1Eh, well known logical unit (REPORT LUNS).
    WellKnown,
    /// 1Fh with qualifier 011b: nothing can be there.
    Absent,
}

impl DeviceType {
    pub(crate) fn types(self) -> Types {
        match self {
            DeviceType::Disk => Types::DISK,
            DeviceType::CdRom => Types::CDROM,
            DeviceType::Passed(_) | DeviceType::WellKnown | DeviceType::Absent => Types::ALL,
        }
    }
}

/// What identifies a unit to an initiator (SCST's attributes of the same names).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// T10 VENDOR IDENTIFICATION, at most 8 bytes.
    pub t10_vend_id: String,
    /// PRODUCT IDENTIFICATION, at most 16 bytes.
    pub prod_id: String,
    /// PRODUCT REVISION LEVEL, at most 4 bytes.
    pub prod_rev_lvl: String,
    /// Vendor specific identifier of the T10 designator, at most 128 bytes.
    pub vend_specific_id: String,
    /// `t10_dev_id`, at most 25 bytes.
    pub t10_dev_id: String,
    /// Unit serial number, VPD page 80h, at most 20 bytes.
    pub usn: String,
    /// SCSI name string of the target device, at most 256 bytes.
    pub scsi_device_name: String,
    /// NAA designator: 8 or 16 bytes, or none.
    pub naa_id: Vec<u8>,
    /// EUI-64 designator: 8, 12 or 16 bytes, or none.
    pub eui64_id: Vec<u8>,
    /// Vendor specific bytes of the standard INQUIRY data.
    pub inq_vend_specific: Vec<u8>,
}

/// What an administrator may change while the unit is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Identity.
    pub identity: Identity,
    /// Removable medium (RMB).
    pub removable: bool,
    /// Rotating medium (VPD B1h).
    pub rotational: bool,
    /// Report the physical block exponent (READ CAPACITY (16)).
    pub lb_per_pb_exp: bool,
    /// OPTIMAL TRANSFER LENGTH in bytes (VPD B0h).
    pub opt_trans_len: u32,
    /// A placeholder: qualifier 001b, type 1Fh.
    pub dummy: bool,
    /// SANITIZE is supported.
    pub allow_sanitize: bool,
    /// Shortest time that SANITIZE OVERWRITE takes, in milliseconds; for tests of its progress.
    pub sanitize_min_ms: u32,
    /// Write protected by configuration.
    pub read_only: bool,
    /// SET TARGET PORT GROUPS is offered, where there are target port groups.
    pub expl_alua: bool,
    /// The cache is declared non-volatile (nv_cache): WCE and V_SUP are not shown.
    pub nv_cache: bool,
    /// Thin provisioning is on: UNMAP and LBPME are offered.
    pub thin_provisioned: bool,
    /// MiB that the backing has left when initiators are warned (38/07); 0 for no warning.
    pub soft_threshold_mb: u32,
    /// Most commands of one I_T_L nexus before TASK SET FULL.
    pub max_tgt_dev_commands: u32,
    /// EXTENDED COPY may name it.
    pub is_copied: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            identity: Identity::default(),
            removable: false,
            rotational: true,
            lb_per_pb_exp: true,
            opt_trans_len: 512 * 1024,
            dummy: false,
            allow_sanitize: false,
            sanitize_min_ms: 0,
            read_only: false,
            expl_alua: false,
            nv_cache: false,
            thin_provisioned: false,
            soft_threshold_mb: 0,
            max_tgt_dev_commands: 64,
            is_copied: true,
        }
    }
}

/// Whether a medium is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MediumState {
    /// Present and usable.
    #[default]
    Present,
    /// None, tray closed (3A/01).
    TrayClosed,
    /// None, tray open (3A/02).
    TrayOpen,
    /// The administrator closed the backstore (`active` = 0): 3A/00.
    Closed,
}

/// Everything that changes while commands run. In order for the reason that [`Device`] has.
#[repr(C)]
pub(crate) struct State {
    pub(crate) gate: Option<Arc<Gate>>,
    /// FORMAT UNIT or SANITIZE that runs by itself.
    pub(crate) background: Option<Arc<Background>>,
    pub(crate) medium: MediumState,
    pub(crate) mode: ModeParameters,
    pub(crate) geometry: Geometry,
    pub(crate) reservations: Reservations,
    pub(crate) tasks: TaskSet<Task>,
    pub(crate) saved_mode: ModeParameters,
    /// Mode parameters as they are before anybody changes them.
    pub(crate) default_mode: ModeParameters,
    /// Nexuses that prevent removal of the medium.
    pub(crate) prevented: Vec<u64>,
}

/// Runs tasks that have just become free to run. Implemented by the worker pool.
pub trait Dispatch: Send + Sync {
    /// Takes the task over; must not run it on the calling thread.
    fn dispatch(&self, task: Task);
    /// Queued tasks of this unit were aborted: [`crate::scsi::execute::end_if_aborted`] is for each of them.
    fn drop_aborted(&self, _device: &Arc<Device>) {}
    /// Runs a long job (FORMAT UNIT, SANITIZE) on a thread of its own.
    fn background(&self, job: Box<dyn FnOnce() + Send>);
    /// Something has happened to a unit. Called from any thread, without a lock held; must not block.
    fn notice(&self, _notice: &Notice<'_>) {}
    /// Number of worker threads; 0 when there are none to count.
    fn workers(&self) -> usize {
        0
    }
    /// Has another number of worker threads.
    fn set_workers(&self, _count: usize) {}
    /// Lets a background job pause.
    fn rest(&self, time: std::time::Duration);
}

/// A logical unit.
///
/// What every command looks at comes first, so that it shares lines of the processor's cache: with thousands
/// of units each line is fetched anew. What a read needs is what `fetch` names.
#[repr(C, align(64))]
pub struct Device {
    /// Tasks that have left the task set, and those of them that are answered: equal when nobody is between
    /// the two. `leaving` is written with `state` held only.
    pub(crate) leaving: AtomicU64,
    pub(crate) answered: AtomicU64,
    supported: OpSet,
    device_type: DeviceType,
    /// `max_tgt_dev_commands`, where admission reads it without a lock.
    pub(crate) max_commands: AtomicU32,
    state: Lock<State>,
    dispatch: Arc<dyn Dispatch>,
    settings: RwLock<Arc<Settings>>,
    /// Set once a command of this unit has panicked: the unit's state is suspect.
    pub(crate) faulted: AtomicBool,
    name: String,
    itls: Mutex<Vec<Weak<Itl>>>,
    store: Option<Arc<dyn StateStore>>,
    pub(crate) alua: Alua,
    pub(crate) ports: Mutex<Option<Arc<dyn TargetPorts>>>,
    /// What holds back commands for the administrator.
    pub(crate) held: Mutex<Weak<Claim>>,
}

/// What a new device is made of.
pub struct NewDevice {
    /// SCST's name of the device.
    pub name: String,
    /// Kind.
    pub device_type: DeviceType,
    /// Settings.
    pub settings: Settings,
    /// Medium; `None` for an empty drive.
    pub gate: Option<Arc<Gate>>,
    /// Logical block length used while there is no medium.
    pub block_size: u32,
    /// TST: 1 for a task set per nexus (SCST's default), 0 for one for all.
    pub task_set_type: u8,
}

fn has_cache(gate: &Gate) -> bool {
    gate.capabilities().contains(Capabilities::VOLATILE_CACHE)
}

/// A disk that is closed counts as one with a cache: an initiator that takes it for one flushes, once it is
/// open. [`Device::set_medium`] knows better.
fn default_mode(new: &NewDevice) -> ModeParameters {
    let is_disk = new.device_type == DeviceType::Disk;
    let can_cache = new.gate.as_ref().map_or(is_disk && !new.settings.read_only, |gate| has_cache(gate));
    ModeParameters {
        write_cache_enabled: can_cache && !new.settings.nv_cache,
        task_set_type: new.task_set_type,
        queue_algorithm_modifier: 1,
        ..ModeParameters::default()
    }
}

impl Device {
    /// A logical unit that nobody sees yet and that keeps nothing over a restart.
    pub fn new(new: NewDevice, dispatch: Arc<dyn Dispatch>) -> Arc<Self> {
        let mode = default_mode(&new);
        Self::made(new, dispatch, None, (mode, Reservations::default()))
    }

    /// A logical unit that nobody sees yet, as `store` has kept it. What cannot be read is an error, and the
    /// unit is not made: a reservation that is forgotten lets two hosts write at once.
    pub fn open(
        new: NewDevice,
        dispatch: Arc<dyn Dispatch>,
        store: Arc<dyn StateStore>,
    ) -> Result<Arc<Self>, StateError> {
        let load = |kind: &'static str| {
            store.load(&new.name, kind).map_err(|errno| StateError::Unreadable { kind, errno })
        };
        let mut mode = default_mode(&new);
        if let Some(saved) = load(crate::scsi::ops::mode::SAVED_AS)? {
            let has_cache = mode.write_cache_enabled;
            mode.read_text(std::str::from_utf8(&saved).map_err(|_| StateError::ModePages)?);
            mode.write_cache_enabled &= has_cache;
        }
        let reservations = match load(crate::scsi::ops::persistent::SAVED_AS)? {
            Some(saved) => Reservations::restore(&saved).map_err(StateError::Reservations)?,
            None => Reservations::default(),
        };
        Ok(Self::made(new, dispatch, Some(store), (mode, reservations)))
    }

    fn made(
        new: NewDevice,
        dispatch: Arc<dyn Dispatch>,
        store: Option<Arc<dyn StateStore>>,
        (mode, reservations): (ModeParameters, Reservations),
    ) -> Arc<Self> {
        let none = Geometry::plain(new.block_size, 0);
        let geometry = new.gate.as_ref().map_or(none, |gate| gate.geometry());
        let default_mode = default_mode(&new);
        let state = State {
            tasks: TaskSet::new(new.task_set_type == 1),
            medium: if new.gate.is_some() { MediumState::Present } else { MediumState::TrayClosed },
            gate: new.gate,
            geometry,
            prevented: Vec::new(),
            reservations,
            mode,
            saved_mode: mode,
            default_mode,
            background: None,
        };
        let device = Arc::new_cyclic(|_| Device {
            name: new.name,
            device_type: new.device_type,
            max_commands: AtomicU32::new(new.settings.max_tgt_dev_commands),
            settings: RwLock::new(Arc::new(new.settings)),
            supported: OpSet::new(),
            state: Lock::new(state),
            itls: Mutex::new(Vec::new()),
            dispatch,
            store,
            alua: Alua::default(),
            ports: Mutex::default(),
            held: Mutex::default(),
            faulted: AtomicBool::new(false),
            leaving: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        });
        device.refresh_operations();
        device
    }

    /// Has what admission looks at fetched into the processor's cache.
    #[inline]
    pub(crate) fn fetch(&self) {
        cache::fetch(self, 0, 3 * cache::LINE);
    }

    /// SCST's name of the device.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kind.
    pub fn device_type(&self) -> DeviceType {
        self.device_type
    }

    /// Settings as they are now.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes settings; a changed identity is told to every nexus (3F/03).
    pub fn change_settings(&self, change: impl FnOnce(&mut Settings)) {
        let identity_changed = {
            let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
            let mut new = Settings::clone(&settings);
            change(&mut new);
            let identity_changed = new.identity != settings.identity;
            self.max_commands.store(new.max_tgt_dev_commands, Ordering::Relaxed);
            *settings = Arc::new(new);
            identity_changed
        };
        self.refresh_operations();
        if identity_changed {
            self.attention(Sense::INQUIRY_DATA_HAS_CHANGED, None);
        }
    }

    /// Computes again which rows this unit supports: their answers depend on medium and settings.
    pub(crate) fn refresh_operations(&self) {
        self.supported.refresh(self);
        threshold::arm(self);
    }

    /// Whether the unit has this command.
    pub(crate) fn supports(&self, row: &OpCode) -> bool {
        self.supported.contains(row)
    }

    /// Whether the unit has row number `index` of the list of commands.
    pub(crate) fn has_operation(&self, index: usize) -> bool {
        self.supported.has(index)
    }

    pub(crate) fn state(&self) -> Locked<'_, State> {
        until(|| !self.state.is_taken());
        self.state.lock()
    }

    pub(crate) fn dispatcher(&self) -> &Arc<dyn Dispatch> {
        &self.dispatch
    }

    pub(crate) fn store(&self) -> Option<&Arc<dyn StateStore>> {
        self.store.as_ref()
    }

    /// Size and shape of the medium; zero blocks when there is none.
    pub fn geometry(&self) -> Geometry {
        self.state().geometry
    }

    /// What the backstore can do; nothing when there is none.
    pub fn capabilities(&self) -> Capabilities {
        self.state().gate.as_ref().map_or(Capabilities::NONE, |gate| gate.capabilities())
    }

    /// The medium, for the administrator's verbs.
    pub fn gate(&self) -> Option<Arc<Gate>> {
        self.state().gate.clone()
    }

    /// Number of commands that are not finished.
    pub fn tasks(&self) -> usize {
        self.state().tasks.len()
    }

    /// Whether the medium may not be written: by configuration, by the store, or by SWP.
    pub(crate) fn is_write_protected(&self, state: &State) -> bool {
        state.mode.software_write_protect
            || self.settings.read().unwrap_or_else(PoisonError::into_inner).read_only
            || state.gate.as_ref().is_some_and(|gate| gate.capabilities().contains(Capabilities::READ_ONLY))
    }

    /// Exchanges the medium. Commands that are out keep the old one until they are done. Raises NOT READY TO
    /// READY CHANGE (28/00) when a medium has come.
    pub fn set_medium(&self, gate: Option<Arc<Gate>>, absent: MediumState) {
        let came = gate.is_some();
        let was_present;
        {
            let mut state = self.state();
            was_present = state.medium == MediumState::Present;
            if let Some(gate) = &gate {
                state.geometry = gate.geometry();
                let before = state.mode;
                if !has_cache(gate) {
                    state.mode.write_cache_enabled = false;
                    state.saved_mode.write_cache_enabled = false;
                    state.default_mode.write_cache_enabled = false;
                }
                if state.mode != before {
                    self.attention(Sense::MODE_PARAMETERS_CHANGED, None);
                }
            } else if self.device_type == DeviceType::CdRom {
                state.geometry.blocks = 0;
            }
            state.medium = if came { MediumState::Present } else { absent };
            state.gate = gate;
            if came {
                self.attention(Sense::NOT_READY_TO_READY_CHANGE, None);
            }
        }
        self.refresh_operations();
        if came {
            self.media_event(MediaEvent::New);
        } else if was_present {
            self.media_event(MediaEvent::Removal);
        }
    }

    /// Keeps a media event for every nexus, in place of one not yet asked for.
    pub(crate) fn media_event(&self, event: MediaEvent) {
        self.itls().iter().for_each(|itl| itl.keep_media_event(event));
    }

    /// Takes the geometry from the backstore again and tells every nexus when the capacity has changed
    /// (2A/09). Answers whether it has.
    pub fn refresh_geometry(&self) -> bool {
        let changed = {
            let mut state = self.state();
            let Some(geometry) = state.gate.as_ref().map(|gate| gate.geometry()) else { return false };
            let changed = geometry != state.geometry;
            state.geometry = geometry;
            if changed {
                self.attention(Sense::CAPACITY_DATA_HAS_CHANGED, None);
            }
            changed
        };
        if changed {
            let bytes = self.geometry().bytes();
            self.dispatch.notice(&Notice::CapacityChanged { device: &self.name, bytes });
        }
        changed
    }

    /// Establishes a unit attention for every nexus but one. What is told of the state is told with the state
    /// locked, in which it changes: a command finds the one with the other.
    pub fn attention(&self, sense: Sense, except: Option<u64>) {
        for itl in self.itls() {
            if except != Some(itl.nexus) {
                itl.attention(sense);
            }
        }
    }

    /// The I_T_L nexuses that have used this unit and still exist.
    pub fn itls(&self) -> Vec<Arc<Itl>> {
        let mut itls = self.itls.lock().unwrap_or_else(PoisonError::into_inner);
        itls.retain(|itl| itl.strong_count() > 0);
        itls.iter().filter_map(Weak::upgrade).collect()
    }

    /// Whether an I_T nexus other than this one uses the unit.
    pub(crate) fn is_shared(&self, nexus: u64) -> bool {
        let itls = self.itls.lock().unwrap_or_else(PoisonError::into_inner);
        itls.iter().any(|itl| itl.upgrade().is_some_and(|itl| itl.nexus != nexus))
    }

    /// The path's state is taken while no change of the groups can pass it by.
    pub(crate) fn add_itl(&self, itl: &Arc<Itl>) {
        let groups = self.alua.lock();
        itl.path.set(groups.state(&itl.target, itl.ports.relative_port));
        let mut itls = self.itls.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that are over keep their memory until they are taken out: before the list grows, so that it
        // is at most twice as long as it was ever needed.
        if itls.len() == itls.capacity() {
            itls.retain(|itl| itl.strong_count() > 0);
            let live = itls.len();
            itls.reserve_exact(live + 1);
        }
        itls.push(Arc::downgrade(itl));
    }

    /// Sense data in descriptor format when D_SENSE says so.
    pub(crate) fn descriptor_sense(&self) -> bool {
        self.state().mode.descriptor_sense
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};
    use std::time::Duration;

    use super::*;
    use crate::scsi::nexus::{PortPair, TransportId};

    #[test]
    fn a_read_needs_the_beginning_of_its_nexus_and_a_line_of_the_gate() {
        const { assert!(Itl::FETCHED <= cache::LINE) };
        assert_eq!(align_of::<Gate>(), cache::LINE);
        assert!(offset_of!(Gate, watch) <= cache::LINE, "{} bytes", offset_of!(Gate, watch));
    }

    /// What [`crate::scsi::target::check`] looks at when it admits a read and the task set is empty.
    #[test]
    fn a_read_needs_three_lines_of_the_cache() {
        const LINE: usize = cache::LINE;
        let state = offset_of!(Device, state) + size_of::<Lock<()>>();
        assert_eq!(state, LINE, "all before the state, and the lock, are the first");
        let fields = [
            ("medium", offset_of!(State, medium), size_of::<MediumState>()),
            ("geometry", offset_of!(State, geometry), size_of::<Geometry>()),
            ("holder and kind of the reservation", offset_of!(State, reservations), size_of::<[u64; 3]>()),
            ("counts of tasks", offset_of!(State, tasks), size_of::<[u32; 4]>()),
        ];
        for (name, offset, size) in fields {
            assert!(offset + size <= 2 * LINE, "{name}: {size} bytes from {offset} of the state");
        }
    }

    struct Nothing;

    impl Dispatch for Nothing {
        fn dispatch(&self, _task: Task) {}
        fn background(&self, _job: Box<dyn FnOnce() + Send>) {}
        fn rest(&self, _time: Duration) {}
    }

    #[test]
    fn nexuses_that_are_over_leave_nothing_behind() {
        let new = NewDevice {
            name: "disk".to_owned(),
            device_type: DeviceType::Disk,
            settings: Settings::default(),
            gate: None,
            block_size: 512,
            task_set_type: 1,
        };
        let device = Device::new(new, Arc::new(Nothing));
        let initiator = TransportId { name: "iqn.2026-01.test:host".to_owned(), isid: [0; 6] };
        let ports = Arc::new(PortPair { initiator, relative_port: 1 });
        let mut kept = Vec::new();
        for id in 0..20_000 {
            let itl = Itl::new((id, &ports, &Arc::from("")), 0, false, &device, None);
            if id % 1000 == 0 {
                kept.push(itl);
            }
            let listed = device.itls.lock().unwrap().len();
            assert!(listed <= 2 * kept.len() + 8, "{listed} for {}", kept.len());
        }
        assert_eq!(device.itls().len(), kept.len());
    }
}
