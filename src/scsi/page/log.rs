//! Log pages (SPC-4, 7.3; SBC-3, 6.4) as rows.
//!
//! # How to add a page
//! Add a row to [`PAGES`]: its code, who has it, and a function that gives its parameters.

use crate::scsi::device::Device;
use crate::scsi::threshold;

/// A log page: its code, who has it, and its parameters.
pub(crate) struct Page {
    /// PAGE CODE.
    pub(crate) code: u8,
    /// Whether the unit has it.
    pub(crate) applies: fn(&Device) -> bool,
    /// Writes the log parameters.
    pub(crate) parameters: fn(&Device) -> Vec<u8>,
}

/// All pages but the list of pages, by code.
pub(crate) static PAGES: &[Page] = &[
    Page { code: 0x0c, applies: threshold::is_offered, parameters: provisioning },
    // Informational Exceptions: nothing to report, no temperature.
    Page { code: 0x2f, applies: |_| true, parameters: |_| vec![0, 0, 0x03, 4, 0, 0, 0xff, 0] },
];

/// Logical Block Provisioning: threshold sets left and used. What is left is not this unit's alone, what is
/// used is (SCOPE).
fn provisioning(device: &Device) -> Vec<u8> {
    const SHARED: u8 = 0x02;
    const OWN: u8 = 0x01;
    let Some(space) = device.gate().and_then(|gate| gate.space()) else { return Vec::new() };
    let mut out = Vec::new();
    for (code, bytes, scope) in [(0x0001u16, space.available, SHARED), (0x0002, space.used, OWN)] {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(&[0x03, 8]);
        out.extend_from_slice(&threshold::sets(bytes).to_be_bytes());
        out.extend_from_slice(&[scope, 0, 0, 0]);
    }
    out
}

/// The page with this code behind its header, if there is one.
pub(crate) fn page(device: &Device, code: u8) -> Option<Vec<u8>> {
    let known = || PAGES.iter().filter(|page| (page.applies)(device));
    let parameters = if code == 0 {
        std::iter::once(0).chain(known().map(|page| page.code)).collect()
    } else {
        (known().find(|page| page.code == code)?.parameters)(device)
    };
    let [high, low] = u16::try_from(parameters.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut page = vec![code, 0, high, low];
    page.extend(parameters);
    Some(page)
}
