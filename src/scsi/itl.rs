//! An I_T_L nexus: what one initiator port, by one target port, has to do with one logical unit.

use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::scsi::alua::{AccessState, PathState};
use crate::scsi::copy::lists::Lists;
use crate::scsi::counters::{Counters, Figures};
use crate::scsi::device::Device;
use crate::scsi::nexus::PortPair;
use crate::scsi::sense::Sense;
use crate::scsi::unit_attention::UnitAttentions;
use crate::sys::cache;

/// Media event codes of GET EVENT STATUS NOTIFICATION (MMC-6, media class).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum MediaEvent {
    /// NoChg.
    NoChange = 0,
    /// NewMedia.
    New = 2,
    /// MediaRemoval.
    Removal = 3,
}

/// An I_T_L nexus: one initiator port, one target port, one logical unit.
///
/// What every command looks at comes first, so that it shares lines of the processor's cache: with thousands
/// of units each line is fetched anew. What a read needs is `FETCHED` bytes, as many as a line has.
#[repr(C)]
pub struct Itl {
    /// The nexus.
    pub nexus: u64,
    /// The unit.
    pub device: Arc<Device>,
    /// Commands admitted and not finished. Written with the unit's `state` held.
    in_flight: AtomicU32,
    /// Mapped read-only.
    pub read_only: bool,
    pub(crate) path: PathState,
    /// Written with the unit's `state` held.
    is_unmapped: AtomicBool,
    has_attention: AtomicBool,
    /// Counters.
    pub counters: Counters,
    /// The number under which the nexus sees the unit.
    pub lun: u16,
    media_event: AtomicU8,
    /// The names of its ends.
    pub ports: Arc<PortPair>,
    /// iSCSI name of the target.
    pub(crate) target: Arc<str>,
    attentions: Mutex<UnitAttentions>,
    copies: Mutex<Lists>,
}

impl Itl {
    /// A fresh I_T_L nexus with its first unit attention pending.
    pub(crate) fn new(
        (nexus, ports, target): (u64, &Arc<PortPair>, &Arc<str>),
        lun: u16,
        read_only: bool,
        device: &Arc<Device>,
        first: Option<Sense>,
    ) -> Arc<Self> {
        let itl = Arc::new(Itl {
            nexus,
            ports: Arc::clone(ports),
            target: Arc::clone(target),
            lun,
            read_only,
            device: Arc::clone(device),
            in_flight: AtomicU32::new(0),
            counters: Counters::default(),
            path: PathState::default(),
            is_unmapped: AtomicBool::new(false),
            attentions: Mutex::default(),
            has_attention: AtomicBool::new(false),
            copies: Mutex::default(),
            media_event: AtomicU8::new(MediaEvent::NoChange as u8),
        });
        if let Some(sense) = first {
            itl.attention(sense);
        }
        device.add_itl(&itl);
        itl
    }

    /// Bytes of the counts of references that are before it.
    const BEFORE: usize = 2 * size_of::<usize>();
    /// Bytes that a read looks at, with those: to the end of what is counted of reads.
    pub(crate) const FETCHED: usize = Self::BEFORE + offset_of!(Itl, counters) + size_of::<[u64; 3]>();

    /// Has what admission looks at fetched into the processor's cache.
    #[inline]
    pub(crate) fn fetch(&self) {
        cache::fetch(self, Self::BEFORE, Self::FETCHED - Self::BEFORE);
    }

    /// The nexus sees the unit no longer, or with other rights: nothing more is admitted by this I_T_L nexus.
    pub(crate) fn unmap(&self) {
        let _state = self.device.state();
        self.is_unmapped.store(true, Ordering::Relaxed);
    }

    /// Whether [`Itl::unmap`] was called; for whoever has the unit's `state`.
    pub(crate) fn is_unmapped(&self) -> bool {
        self.is_unmapped.load(Ordering::Relaxed)
    }

    /// Commands admitted and not finished.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A command was admitted. With the unit's `state` held.
    pub(crate) fn admitted(&self) {
        self.in_flight.store(self.in_flight().wrapping_add(1), Ordering::Relaxed);
    }

    /// A command that was admitted is out of the task set. With the unit's `state` held.
    pub(crate) fn over(&self) {
        self.in_flight.store(self.in_flight().saturating_sub(1), Ordering::Relaxed);
    }

    /// Its counters, and how many commands it has.
    pub fn figures(&self) -> Figures {
        self.counters.snapshot(self.in_flight())
    }

    /// The third-party copies of this I_T_L nexus.
    pub(crate) fn copies(&self) -> MutexGuard<'_, Lists> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attentions(&self) -> MutexGuard<'_, UnitAttentions> {
        self.attentions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asymmetric access state of this path.
    pub fn access_state(&self) -> AccessState {
        self.path.get()
    }

    /// Establishes a unit attention condition.
    pub fn attention(&self, sense: Sense) {
        let mut attentions = self.attentions();
        attentions.establish(sense);
        self.has_attention.store(true, Ordering::Release);
    }

    /// Takes the unit attention condition to report, if any.
    #[inline]
    pub fn take_attention(&self) -> Option<Sense> {
        if self.has_attention.load(Ordering::Acquire) { self.take_one() } else { None }
    }

    #[cold]
    fn take_one(&self) -> Option<Sense> {
        let mut attentions = self.attentions();
        let sense = attentions.take();
        self.has_attention.store(!attentions.is_empty(), Ordering::Release);
        sense
    }

    /// Keeps a media event, in place of one not yet asked for.
    pub(crate) fn keep_media_event(&self, event: MediaEvent) {
        self.media_event.store(event as u8, Ordering::Relaxed);
    }

    /// Takes the media event that was not yet asked for; it is told once.
    pub(crate) fn take_media_event(&self) -> u8 {
        self.media_event.swap(MediaEvent::NoChange as u8, Ordering::Relaxed)
    }

    /// Whether a unit attention condition is pending.
    pub fn has_attention(&self) -> bool {
        self.has_attention.load(Ordering::Acquire)
    }

    /// Forgets a condition that became known another way.
    pub fn clear_attention(&self, code: u16) {
        let mut attentions = self.attentions();
        attentions.clear(code);
        self.has_attention.store(!attentions.is_empty(), Ordering::Release);
    }
}
