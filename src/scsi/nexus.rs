//! The I_T nexus: one initiator port and one target port, and the logical units it sees.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError, Weak};

use crate::backstore::buffer::BufferPool;
use crate::bytes::number_map::NumberMap;
use crate::scsi::device::Device;
use crate::scsi::itl::Itl;
use crate::scsi::lun::{Address, AddressingMethod, LunField};
use crate::scsi::sense::Sense;
use crate::sys::interleave::until;

/// Commands that [`Nexus::look_ahead`] looks at, at most: what is fetched for them is 2.5 KiB, a small part
/// of the nearest cache.
pub const AHEAD: usize = 8;

/// One entry of a LUN map.
#[derive(Clone)]
pub struct LunEntry {
    /// The number, at most [`crate::scsi::lun::MAX_LUN`].
    pub lun: u16,
    /// The logical unit.
    pub device: Arc<Device>,
    /// Mapped read-only.
    pub read_only: bool,
}

/// Which logical units an initiator sees, sorted by LUN. A snapshot: changing the map means a new one.
#[derive(Clone, Default)]
pub struct LunMap {
    entries: Vec<LunEntry>,
    /// How LUNs are written in REPORT LUNS.
    pub method: AddressingMethod,
}

impl LunMap {
    /// A map of these entries; of two with the same LUN the first stays.
    pub fn new(mut entries: Vec<LunEntry>, method: AddressingMethod) -> Self {
        entries.sort_by_key(|entry| entry.lun);
        entries.dedup_by_key(|entry| entry.lun);
        LunMap { entries, method }
    }

    /// All entries, by LUN.
    pub fn entries(&self) -> &[LunEntry] {
        &self.entries
    }

    /// Whether REPORT LUNS would answer the same.
    fn lists_like(&self, other: &LunMap) -> bool {
        self.method == other.method
            && self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&other.entries).all(|(a, b)| a.lun == b.lun)
    }

    /// The entry of a LUN.
    pub fn get(&self, lun: u16) -> Option<&LunEntry> {
        let at = self.entries.binary_search_by_key(&lun, |entry| entry.lun).ok()?;
        self.entries.get(at)
    }
}

/// A SCSI port name and what the transport adds to it: the initiator's half of the nexus (SPC-4, 7.6.4.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransportId {
    /// iSCSI name.
    pub name: String,
    /// Initiator session identifier.
    pub isid: [u8; 6],
}

/// The names of both ends of a nexus, by which it is known when it does not exist: initiator port and
/// relative target port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortPair {
    /// Initiator port.
    pub initiator: TransportId,
    /// RELATIVE TARGET PORT IDENTIFIER.
    pub relative_port: u16,
}

/// The target port's half of the nexus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPort {
    /// iSCSI name of the target.
    pub name: String,
    /// Target portal group tag.
    pub portal_group_tag: u16,
    /// RELATIVE TARGET PORT IDENTIFIER.
    pub relative_identifier: u16,
}

/// What a nexus sees at the moment, and the I_T_L nexuses made so far (at first use).
struct View {
    map: Arc<LunMap>,
    itls: NumberMap<u16, Arc<Itl>>,
}

/// An I_T nexus.
pub struct Nexus {
    /// Unique in the process, never used again.
    pub id: u64,
    /// Initiator port.
    pub initiator: TransportId,
    /// Target port.
    pub target: TargetPort,
    /// Memory for data.
    pub buffers: BufferPool,
    ports: Arc<PortPair>,
    /// Of the target, as each I_T_L nexus has it.
    name: Arc<str>,
    first_attention: Sense,
    view: RwLock<View>,
    /// Counts changes of `view`, those that only add a unit at its first use included.
    view_changes: AtomicU64,
    absent: Arc<Itl>,
    well_known: Arc<Itl>,
    lost: AtomicBool,
    black_hole: AtomicU8,
    measured: AtomicBool,
    changes: Mutex<()>,
    /// Units that it sees no longer and where it may have commands.
    left: Mutex<Vec<Weak<Device>>>,
}

/// What a new nexus is made of.
pub struct NewNexus {
    /// Unique in the process.
    pub id: u64,
    /// Initiator port.
    pub initiator: TransportId,
    /// Target port.
    pub target: TargetPort,
    /// Memory for data.
    pub buffers: BufferPool,
    /// It replaces a session that was reinstated: the first unit attention is I_T NEXUS LOSS.
    pub reinstated: bool,
    /// Units it sees.
    pub map: Arc<LunMap>,
    /// Pseudo unit that answers at LUNs that are not there ([`crate::scsi::device::DeviceType::Absent`]).
    pub absent: Arc<Device>,
    /// Pseudo unit that answers at the REPORT LUNS well known LUN.
    pub well_known: Arc<Device>,
}

impl Nexus {
    /// A nexus that has just come up.
    pub fn new(new: NewNexus) -> Arc<Self> {
        let first_attention = if new.reinstated {
            Sense::I_T_NEXUS_LOSS_OCCURRED
        } else {
            Sense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED
        };
        let ports =
            PortPair { initiator: new.initiator.clone(), relative_port: new.target.relative_identifier };
        let (ports, name) = (Arc::new(ports), Arc::from(new.target.name.as_str()));
        Arc::new(Nexus {
            id: new.id,
            initiator: new.initiator,
            target: new.target,
            buffers: new.buffers,
            first_attention,
            view: RwLock::new(View { map: new.map, itls: NumberMap::default() }),
            view_changes: AtomicU64::new(0),
            absent: Itl::new((new.id, &ports, &name), 0, true, &new.absent, None),
            well_known: Itl::new((new.id, &ports, &name), 0, true, &new.well_known, None),
            ports,
            name,
            lost: AtomicBool::new(false),
            black_hole: AtomicU8::new(0),
            measured: AtomicBool::new(false),
            changes: Mutex::new(()),
            left: Mutex::default(),
        })
    }

    /// Changes whenever [`Nexus::itl`] may answer otherwise than before.
    pub(crate) fn view_changes(&self) -> u64 {
        self.view_changes.load(Ordering::Acquire)
    }

    /// The units seen at the moment.
    pub fn map(&self) -> Arc<LunMap> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner).map)
    }

    /// The I_T_L nexus a LUN field addresses; the pseudo unit "absent" where nothing is mapped.
    pub(crate) fn itl(&self, field: LunField) -> Arc<Itl> {
        let lun = match field.address() {
            Address::Unit(lun) => u16::try_from(lun).ok(),
            Address::ReportLuns => return Arc::clone(&self.well_known),
            Address::Unsupported => None,
        };
        let Some(lun) = lun else { return Arc::clone(&self.absent) };
        until(|| !matches!(self.view.try_read(), Err(TryLockError::WouldBlock)));
        if let Some(itl) = self.view.read().unwrap_or_else(PoisonError::into_inner).itls.get(&lun) {
            return Arc::clone(itl);
        }
        self.first_use(lun)
    }

    /// Commands for these units come next, in this order: has what admission looks at fetched into the
    /// processor's cache, unless the first two are for the same unit, as most are where there are few. To
    /// wait for one unit after the other takes longer than the commands do, where there are very many.
    /// Nothing but time depends on it.
    ///
    /// Answers how many commands from the first on it need not be asked about again; 0 where fewer than two
    /// are there.
    #[inline]
    pub fn look_ahead(&self, mut fields: impl Iterator<Item = LunField>) -> usize {
        let mut ahead = [LunField::default(); AHEAD];
        let (Some(first), Some(second)) = (fields.next(), fields.next()) else { return 0 };
        if first == second {
            return AHEAD;
        }
        (ahead[0], ahead[1]) = (first, second);
        let more = ahead[2..].iter_mut().zip(fields).map(|(place, field)| *place = field).count();
        self.fetch(&ahead[..2 + more]);
        2 + more
    }

    fn fetch(&self, fields: &[LunField]) {
        let Ok(view) = self.view.try_read() else { return };
        let mut itls = [None; AHEAD];
        for (place, field) in itls.iter_mut().zip(fields) {
            let Address::Unit(lun) = field.address() else { continue };
            *place = u16::try_from(lun).ok().and_then(|lun| view.itls.get(&lun));
            place.iter().for_each(|itl| itl.fetch());
        }
        // By now the first of them have come.
        itls.iter().flatten().for_each(|itl| itl.device.fetch());
    }

    fn first_use(&self, lun: u16) -> Arc<Itl> {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(itl) = view.itls.get(&lun) {
            return Arc::clone(itl);
        }
        // Who ends the nexus looks at the units after it is marked: one that it missed is not attached.
        if self.is_lost() {
            return Arc::clone(&self.absent);
        }
        let Some(entry) = view.map.get(lun) else { return Arc::clone(&self.absent) };
        let first = Some(self.first_attention);
        let itl = Itl::new((self.id, &self.ports, &self.name), lun, entry.read_only, &entry.device, first);
        view.itls.insert(lun, Arc::clone(&itl));
        self.view_changes.fetch_add(1, Ordering::Release);
        itl.device.state().reservations.attach(&self.ports, self.id);
        itl
    }

    /// The names of both ends.
    pub fn ports(&self) -> PortPair {
        PortPair::clone(&self.ports)
    }

    /// I_T_L nexuses made so far.
    pub fn itls(&self) -> Vec<Arc<Itl>> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).itls.values().cloned().collect()
    }

    /// Changes what the nexus sees. I_T_L nexuses whose entry is unchanged stay. Commands that a removed
    /// unit has are finished and answered, and it gets no more once this returns; its reservation by this
    /// nexus is gone. The others learn that the list of LUNs is another (3F/0E), which it also is when
    /// `is_another` says so; a unit that took another's place says 3F/03, unless it is one of `quiet`.
    pub fn set_map(self: &Arc<Self>, map: Arc<LunMap>, is_another: bool, quiet: &[u16]) {
        let _one_at_a_time = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = Vec::new();
        let is_listed_otherwise;
        {
            let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
            self.view_changes.fetch_add(1, Ordering::Release);
            let before = std::mem::replace(&mut view.map, Arc::clone(&map));
            is_listed_otherwise = !before.lists_like(&map);
            view.itls.retain(|lun, itl| {
                let same = map
                    .get(*lun)
                    .is_some_and(|e| Arc::ptr_eq(&e.device, &itl.device) && e.read_only == itl.read_only);
                if !same {
                    gone.push(Arc::clone(itl));
                }
                same
            });
            for entry in map.entries() {
                let other = before.get(entry.lun).is_some_and(|old| {
                    !Arc::ptr_eq(&old.device, &entry.device) || old.read_only != entry.read_only
                });
                if other {
                    // Pending before a command can find the unit: none is carried out by a unit that its
                    // sender takes for the one before.
                    let first = (!quiet.contains(&entry.lun)).then_some(Sense::INQUIRY_DATA_HAS_CHANGED);
                    let names = (self.id, &self.ports, &self.name);
                    let itl = Itl::new(names, entry.lun, entry.read_only, &entry.device, first);
                    itl.device.state().reservations.attach(&self.ports, self.id);
                    view.itls.insert(entry.lun, itl);
                }
            }
        }
        for itl in gone {
            itl.unmap();
            self.leave(&itl.device);
            // The unit may still be there, under another number or with other rights.
            if !map.entries().iter().any(|entry| Arc::ptr_eq(&entry.device, &itl.device)) {
                crate::scsi::target::lose_nexus_state(self.id, &itl.device);
            }
        }
        for itl in self.itls() {
            // A unit that went under one number may stay under another.
            itl.device.state().reservations.attach(&self.ports, self.id);
            if is_another || is_listed_otherwise {
                itl.attention(Sense::REPORTED_LUNS_DATA_HAS_CHANGED);
            }
        }
    }

    /// Remembers a unit that is no longer seen while commands are out there: they must not outlive the nexus.
    fn leave(&self, device: &Arc<Device>) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|unit| unit.upgrade().is_some_and(|unit| unit.tasks() > 0));
        if !left.iter().any(|unit| Weak::as_ptr(unit) == Arc::as_ptr(device)) {
            left.push(Arc::downgrade(device));
        }
    }

    /// What is done to commands, for tests of initiators: 0 nothing, 1 they are never answered, 3 those that
    /// transfer data; 2 and 4 the same, and task management neither.
    pub fn black_hole(&self) -> u8 {
        self.black_hole.load(Ordering::Relaxed)
    }

    /// Whether the times of its commands are wanted.
    pub fn is_measured(&self) -> bool {
        self.measured.load(Ordering::Relaxed)
    }

    /// Changes [`Nexus::is_measured`].
    pub fn measure(&self, on: bool) {
        self.measured.store(on, Ordering::Relaxed);
    }

    /// Changes [`Nexus::black_hole`].
    pub fn set_black_hole(&self, kind: u8) {
        self.black_hole.store(kind, Ordering::Relaxed);
    }

    /// Whether [`crate::scsi::target::nexus_lost`] was called.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    pub(crate) fn mark_lost(&self) -> bool {
        self.lost.swap(true, Ordering::AcqRel)
    }

    /// Every unit that the nexus has touched, once.
    pub(crate) fn touched_units(&self) -> Vec<Arc<Device>> {
        let mut units: Vec<Arc<Device>> = self.itls().iter().map(|itl| Arc::clone(&itl.device)).collect();
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        units.extend(left.iter().filter_map(Weak::upgrade));
        units.sort_by_key(|unit| Arc::as_ptr(unit) as usize);
        units.dedup_by(|a, b| Arc::ptr_eq(a, b));
        units
    }
}
