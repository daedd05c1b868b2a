//! The size of a device: what is served, what was asked for, and what is saved.

use std::sync::Arc;

use crate::attr::Error;
use crate::backstore::null;
use crate::model::apply::Batch;
use crate::model::device::DeviceConfig;
use crate::model::device::attributes::is_of_tcmu_runner;
use crate::model::effect::Effect;

/// What is served; of one that is closed, what it will be asked for, or what was served last
/// of its file. Without a
/// medium that was ever open there may be none.
fn size_of(config: &DeviceConfig) -> Option<u64> {
    let served = config.unit().map(|unit| unit.geometry().bytes()).filter(|bytes| *bytes > 0);
    let last = || served.filter(|_| !config.has_new_file);
    if config.is_open() { served } else { config.open.size.or_else(last) }
}

/// An image of tcmu-runner's handlers may tell its own size, which others may change. A size that is not
/// known would be one of no blocks when it is loaded.
pub(super) fn is_size_saved(config: &DeviceConfig) -> bool {
    match config.handler.name.as_ref() {
        "vdisk_nullio" => size_of(config) != Some(null::DEFAULT_BYTES),
        "vcdrom" => true,
        _ if is_of_tcmu_runner(config) => config.is_given("size"),
        _ => size_of(config).is_some(),
    }
}

/// So many MiB in bytes.
pub fn mebibytes(value: u64) -> Result<u64, Error> {
    let too_large = || Error::new(libc::ERANGE, format!("{value} MiB do not fit into 64 bits"));
    value.checked_mul(1 << 20).ok_or_else(too_large)
}

impl DeviceConfig {
    /// `size`: 0 while nobody knows it.
    pub fn size(&self) -> u64 {
        size_of(self).unwrap_or(0)
    }

    /// `size`, `size_mb` (SCST 1.4.2): of a device that is there only while it is open.
    pub(super) fn resize_open(&mut self, bytes: u64) -> Result<(), Error> {
        if self.unit.is_some() && !self.is_open() {
            return Err(Error::new(libc::EMEDIUMTYPE, "the device is not active"));
        }
        self.resize(bytes)
    }

    /// A size was found: what was asked for counts no more. One that nobody asked for stays the backing's.
    fn keep_size(&mut self, found: u64) {
        self.open.size = self.open.size.map(|_| found).filter(|bytes| *bytes > 0);
    }

    /// Another size, of one that is closed when it is opened again.
    pub(super) fn resize(&mut self, bytes: u64) -> Result<(), Error> {
        self.open.size = Some(bytes);
        self.given.insert("size");
        let Some(unit) = &self.unit else { return Ok(()) };
        let block = u64::from(unit.geometry().block_size);
        if bytes == 0 || bytes % block != 0 {
            return Err(Error::invalid(format!("{bytes} is not a positive multiple of blocksize {block}")));
        }
        if let Some(gate) = self.gate.upgrade() {
            self.after(|device| Effect::Resize { device, gate, bytes });
        }
        Ok(())
    }
}

impl Batch<'_> {
    /// What was found when sizes were read again takes the place of those asked for: a device that is opened
    /// again keeps it.
    pub(in crate::model) fn keep_sizes(&mut self) {
        for effect in &self.effects {
            let Effect::Resync(device) = effect else { continue };
            let Some(object) = self.next.devices.get_mut(device.name()) else { continue };
            if let Some(gate) = device.gate().filter(|_| Arc::ptr_eq(&object.device, device)) {
                Arc::make_mut(object).config.keep_size(gate.geometry().bytes());
            }
        }
    }
}
