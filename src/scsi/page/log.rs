//! Log pages (SPC-4, 7.3) as rows.

use crate::scsi::device::Device;

/// A log page: its code and its parameters.
pub(crate) struct Page {
    /// PAGE CODE.
    pub(crate) code: u8,
    /// Writes the log parameters.
    pub(crate) parameters: fn(&Device) -> Vec<u8>,
}

/// All pages but the list of pages, by code.
pub(crate) static PAGES: &[Page] = &[
    // Informational Exceptions: nothing to report, no temperature.
    Page { code: 0x2f, parameters: |_| vec![0, 0, 0x03, 4, 0, 0, 0xff, 0] },
];

/// The page with this code behind its header, if there is one.
pub(crate) fn page(device: &Device, code: u8) -> Option<Vec<u8>> {
    let parameters = if code == 0 {
        std::iter::once(0).chain(PAGES.iter().map(|page| page.code)).collect()
    } else {
        (PAGES.iter().find(|page| page.code == code)?.parameters)(device)
    };
    let [high, low] = u16::try_from(parameters.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut page = vec![code, 0, high, low];
    page.extend(parameters);
    Some(page)
}
