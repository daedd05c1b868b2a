//! Mode pages (SPC-4, 7.5; SBC-3, 6.5) as rows: what they show, which bits may change, what a change does.
//!
//! # How to add a page
//! Add a row to [`PAGES`]. `show` writes the page's content behind its header for given parameters;
//! `changeable` is the same with ones where MODE SELECT may write; `apply` takes what was written.

use crate::backstore::Capabilities;
use crate::bytes::put_u32;
use crate::scsi::device::Device;
use crate::scsi::mode_parameters::ModeParameters;
use crate::scsi::opcode::Types;
use crate::scsi::threshold;

/// A mode page.
pub(crate) struct Page {
    /// PAGE CODE.
    pub(crate) code: u8,
    /// SUBPAGE CODE; other than 0 the header is four bytes long.
    pub(crate) subpage: u8,
    /// Device types that have it.
    pub(crate) types: Types,
    /// Bytes behind the header.
    pub(crate) length: usize,
    /// Whether the unit has it.
    pub(crate) applies: fn(&Device) -> bool,
    /// Writes the content.
    pub(crate) show: fn(&ModeParameters, &mut [u8]),
    /// Writes what is in the content besides, and is the same for current, default and saved values.
    pub(crate) adds: fn(&Device, &mut [u8]),
    /// Ones where it may be changed.
    pub(crate) changeable: fn(&Device, &mut [u8]),
    /// Takes a content that differs from the current one in changeable bits only; `false` refuses a value.
    pub(crate) apply: fn(&mut ModeParameters, &[u8]) -> bool,
}

const FIXED: Page = Page {
    code: 0,
    subpage: 0,
    types: Types::ALL,
    length: 0,
    applies: |_| true,
    show: |_, _| {},
    adds: |_, _| {},
    changeable: |_, _| {},
    apply: |_, _| true,
};

/// All pages, by code and subpage.
pub(crate) static PAGES: &[Page] = &[
    // Read-Write Error Recovery: AWRE and ARRE.
    Page { code: 0x01, length: 10, show: |_, body| body[0] = 0xc0, ..FIXED },
    // Caching.
    Page {
        code: 0x08,
        types: Types::DISK,
        length: 18,
        show: |mode, body| body[0] = if mode.write_cache_enabled { 0x04 } else { 0 },
        changeable: |device, body| body[0] = if can_switch_cache(device) { 0x04 } else { 0 },
        apply: |mode, body| {
            mode.write_cache_enabled = body[0] & 0x04 != 0;
            true
        },
        ..FIXED
    },
    // Control.
    Page {
        code: 0x0a,
        length: 10,
        show: show_control,
        changeable: change_control,
        apply: apply_control,
        ..FIXED
    },
    // Control Extension: the sense data never grows beyond what one structure holds.
    Page { code: 0x0a, subpage: 0x01, length: 28, ..FIXED },
    // Informational Exceptions Control: DEXCPT, as none are reported.
    Page { code: 0x1c, length: 10, show: |_, body| body[0] = 0x08, ..FIXED },
    // Logical Block Provisioning: the soft threshold, armed for what is left, falling.
    Page {
        code: 0x1c,
        subpage: 0x02,
        types: Types::DISK,
        length: 20,
        applies: threshold::is_offered,
        adds: |device, body| {
            let sets = threshold::sets(u64::from(device.settings().soft_threshold_mb) << 20);
            body[12] = if sets > 0 { 0x80 } else { 0 };
            body[13] = 0x01;
            put_u32(body, 16, sets);
        },
        ..FIXED
    },
    // MM Capabilities: reads what CD-ROMs hold, a tray that can be locked and ejected.
    Page {
        code: 0x2a,
        types: Types::CDROM,
        length: 18,
        show: |_, body| {
            body[0] = 0x03;
            body[4] = 0x29;
        },
        ..FIXED
    },
];

/// The cache can be switched off where there is one: every write is then durable.
fn can_switch_cache(device: &Device) -> bool {
    device.capabilities().contains(Capabilities::VOLATILE_CACHE) && !device.settings().nv_cache
}

fn show_control(mode: &ModeParameters, body: &mut [u8]) {
    body[0] = mode.task_set_type << 5
        | u8::from(mode.task_management_only) << 4
        | u8::from(mode.disable_protection_check) << 3
        | u8::from(mode.descriptor_sense) << 2;
    body[1] = mode.queue_algorithm_modifier << 4 | mode.queue_error << 1;
    body[2] = u8::from(mode.software_write_protect) << 3;
    body[3] = u8::from(mode.task_aborted_status) << 6;
}

fn change_control(_device: &Device, body: &mut [u8]) {
    body[0] = 0x04;
    body[1] = 0xf0;
    body[2] = 0x08;
    body[3] = 0x40;
}

fn apply_control(mode: &mut ModeParameters, body: &[u8]) -> bool {
    let modifier = body[1] >> 4;
    if modifier > 1 {
        return false;
    }
    mode.descriptor_sense = body[0] & 0x04 != 0;
    mode.queue_algorithm_modifier = modifier;
    mode.software_write_protect = body[2] & 0x08 != 0;
    mode.task_aborted_status = body[3] & 0x40 != 0;
    true
}

impl Page {
    /// Length of the header in bytes.
    pub(crate) fn header_length(&self) -> usize {
        if self.subpage == 0 { 2 } else { 4 }
    }

    /// The page with its header, `content` behind it; `saves` sets PS.
    pub(crate) fn with_header(&self, saves: bool, content: &[u8]) -> Vec<u8> {
        let ps = if saves { 0x80 } else { 0 };
        let length = u8::try_from(content.len()).unwrap_or(u8::MAX);
        let mut page = if self.subpage == 0 {
            vec![ps | self.code, length]
        } else {
            vec![ps | 0x40 | self.code, self.subpage, 0, length]
        };
        page.extend_from_slice(content);
        page
    }
}
