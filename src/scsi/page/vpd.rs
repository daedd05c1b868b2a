//! Vital product data (SPC-4, 7.8; SBC-3, 6.6): a row a page, ascending.
//!
//! What a page claims comes from what the backstore can do and from which commands the unit has.
//!
//! # How to add a page
//! Add a row to [`PAGES`] and its function below.

use std::sync::Arc;

use crate::backstore::Capabilities;
use crate::bytes::{put_u16, put_u32, put_u64};
use crate::scsi::copy;
use crate::scsi::device::{Device, DeviceType, Identity};
use crate::scsi::itl::Itl;
use crate::scsi::limits;
use crate::scsi::nexus::Nexus;
use crate::scsi::ops::copy::{OPCODES as COPY_OPCODES, is_copy_manager};
use crate::scsi::ops::inquiry::{ascii, peripheral};
use crate::scsi::ops::rows_of;
use crate::scsi::ops::same::is_thin;
use crate::scsi::threshold;

/// A page: its code, who has it, and what it says behind the four bytes of header.
struct Page {
    code: u8,
    applies: fn(&Device) -> bool,
    body: fn(&Device, &Arc<Nexus>) -> Vec<u8>,
}

fn is_unit(device: &Device) -> bool {
    matches!(device.device_type(), DeviceType::Disk | DeviceType::CdRom)
}

fn is_disk(device: &Device) -> bool {
    device.device_type() == DeviceType::Disk
}

static PAGES: &[Page] = &[
    Page { code: 0x00, applies: |_| true, body: supported },
    Page { code: 0x80, applies: is_unit, body: |device, _| serial_number(device) },
    Page { code: 0x83, applies: is_unit, body: |device, nexus| identification(device, nexus) },
    Page { code: 0x86, applies: is_unit, body: |device, _| extended(device) },
    Page { code: 0x8f, applies: is_copy_manager, body: |device, _| third_party_copy(device) },
    Page { code: 0xb0, applies: is_disk, body: |device, _| block_limits(device) },
    Page { code: 0xb1, applies: is_disk, body: |device, _| characteristics(device) },
    Page { code: 0xb2, applies: is_disk, body: |device, _| provisioning(device) },
];

/// The page with this code, whole; `None` when the unit does not have it.
pub(crate) fn page(itl: &Itl, nexus: &Arc<Nexus>, code: u8) -> Option<Vec<u8>> {
    let device = &itl.device;
    let row = PAGES.iter().find(|page| page.code == code && (page.applies)(device))?;
    let body = (row.body)(device, nexus);
    let mut page = vec![peripheral(itl), code, 0, 0];
    put_u16(&mut page, 2, u16::try_from(body.len()).unwrap_or(u16::MAX));
    page.extend_from_slice(&body);
    Some(page)
}

fn supported(device: &Device, _nexus: &Arc<Nexus>) -> Vec<u8> {
    PAGES.iter().filter(|page| (page.applies)(device)).map(|page| page.code).collect()
}

fn serial_number(device: &Device) -> Vec<u8> {
    device.settings().identity.usn.clone().into_bytes()
}

/// One designation descriptor (SPC-4, 7.8.6.1). `code_set`: 1 binary, 2 ASCII, 3 UTF-8; `association`: 0 the
/// unit, 1 the target port, 2 the target device.
fn designator(out: &mut Vec<u8>, code_set: u8, association: u8, kind: u8, value: &[u8]) {
    const ISCSI: u8 = 0x50;
    let piv = if association == 0 { 0 } else { 0x80 };
    let protocol = if association == 0 { 0 } else { ISCSI };
    out.extend_from_slice(&[protocol | code_set, piv | association << 4 | kind, 0]);
    out.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(&value[..value.len().min(255)]);
}

/// A SCSI name string: UTF-8, ended by NUL, padded to four bytes.
fn name_string(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes()[..name.len().min(250)].to_vec();
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A designator of the unit itself (ASSOCIATION 00b).
pub(crate) struct UnitDesignator {
    /// CODE SET.
    pub(crate) code_set: u8,
    /// DESIGNATOR TYPE.
    pub(crate) kind: u8,
    /// DESIGNATOR.
    pub(crate) value: Vec<u8>,
}

/// What VPD page 83h says of the unit itself, and by what a third-party copy finds it.
pub(crate) fn unit_designators(identity: &Identity) -> Vec<UnitDesignator> {
    let mut vendor = vec![0; 8];
    let t10 = if identity.t10_vend_id.is_empty() { "SCST_FIO" } else { &identity.t10_vend_id };
    ascii(&mut vendor, t10);
    vendor.extend_from_slice(identity.vend_specific_id.as_bytes());
    let all = [
        UnitDesignator { code_set: 2, kind: 1, value: vendor },
        UnitDesignator { code_set: 1, kind: 2, value: identity.eui64_id.clone() },
        UnitDesignator { code_set: 1, kind: 3, value: identity.naa_id.clone() },
    ];
    all.into_iter().filter(|designator| !designator.value.is_empty()).collect()
}

fn identification(device: &Device, nexus: &Arc<Nexus>) -> Vec<u8> {
    let settings = device.settings();
    let identity = &settings.identity;
    let mut out = Vec::new();
    if !identity.scsi_device_name.is_empty() {
        designator(&mut out, 3, 2, 8, &name_string(&identity.scsi_device_name));
    }
    let own = unit_designators(identity);
    let (vendor, numbers) = own.split_at(1);
    for vendor in vendor {
        designator(&mut out, vendor.code_set, 0, vendor.kind, &vendor.value);
    }
    let mut port = [0; 4];
    put_u16(&mut port, 2, nexus.target.relative_identifier);
    designator(&mut out, 1, 1, 4, &port);
    let target = &nexus.target;
    if let Some(group) = device.target_port_groups().group_of(&target.name, target.relative_identifier) {
        let mut designation = [0; 4];
        put_u16(&mut designation, 2, group.group_id);
        designator(&mut out, 1, 1, 5, &designation);
    }
    let portal_group = format!("{},t,0x{:04x}", nexus.target.name, nexus.target.portal_group_tag);
    designator(&mut out, 3, 1, 8, &name_string(&portal_group));
    for number in numbers {
        designator(&mut out, number.code_set, 0, number.kind, &number.value);
    }
    out
}

/// Extended INQUIRY data (SPC-4, 7.8.7).
fn extended(device: &Device) -> Vec<u8> {
    let mut body = vec![0; 60];
    // SIMPSUP, ORDSUP, HEADSUP.
    body[1] = 0x07;
    let volatile = device.capabilities().contains(Capabilities::VOLATILE_CACHE);
    // V_SUP: there is a volatile cache.
    body[2] = u8::from(volatile && !device.settings().nv_cache);
    // LUICLR.
    body[3] = 0x01;
    body
}

/// A third-party copy descriptor, padded to four bytes.
fn copy_descriptor(out: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = content.len().next_multiple_of(4);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(content);
    out.resize(out.len() + length - content.len(), 0);
}

/// Third-party copy (SPC-4, 7.8.17): the commands as the rows have them, the limits, the descriptors.
fn third_party_copy(device: &Device) -> Vec<u8> {
    let mut out = Vec::new();
    let mut commands = vec![0];
    for opcode in COPY_OPCODES {
        let actions = rows_of(opcode).1.iter().filter(|row| device.supports(row));
        let actions: Vec<u8> = actions.filter_map(|row| u8::try_from(row.service_action?).ok()).collect();
        commands.extend_from_slice(&[opcode, u8::try_from(actions.len()).unwrap_or(0)]);
        commands.extend(actions);
    }
    commands[0] = u8::try_from(commands.len() - 1).unwrap_or(0);
    copy_descriptor(&mut out, 0x0001, &commands);
    let mut limits = [0; 28];
    put_u16(&mut limits, 4, u16::try_from(copy::MAX_CSCDS).unwrap_or(u16::MAX));
    put_u16(&mut limits, 6, u16::try_from(copy::MAX_SEGMENTS).unwrap_or(u16::MAX));
    put_u32(&mut limits, 8, u32::try_from(copy::MAX_DESCRIPTOR_BYTES).unwrap_or(u32::MAX));
    copy_descriptor(&mut out, 0x0004, &limits);
    let mut descriptors = vec![u8::try_from(copy::DESCRIPTOR_TYPES.len()).unwrap_or(0)];
    descriptors.extend_from_slice(&copy::DESCRIPTOR_TYPES);
    copy_descriptor(&mut out, 0x0008, &descriptors);
    let [high, low] = copy::OWN_UNIT.to_be_bytes();
    copy_descriptor(&mut out, 0x000c, &[0, 2, high, low]);
    let mut general = [0; 32];
    let copies = u32::try_from(copy::MAX_COPIES).unwrap_or(u32::MAX);
    put_u32(&mut general, 0, copies);
    put_u32(&mut general, 4, copies);
    put_u32(&mut general, 8, u32::try_from(copy::MAX_SEGMENT_BYTES).unwrap_or(u32::MAX));
    general[12] = copy::GRANULARITY;
    copy_descriptor(&mut out, 0x8001, &general);
    out
}

/// Block limits (SBC-3, 6.6.4; SBC-4 for the atomic fields).
fn block_limits(device: &Device) -> Vec<u8> {
    let geometry = device.geometry();
    let settings = device.settings();
    let block = u64::from(geometry.block_size);
    let small = |blocks: u64| u32::try_from(blocks).unwrap_or(u32::MAX);
    let mut page = vec![0; 64];
    // WSNZ is 0: WRITE SAME of 0 blocks goes to the end.
    page[5] = u8::try_from(limits::MAX_COMPARE_BLOCKS).unwrap_or(u8::MAX);
    let granularity = (4096 / block).max(1);
    put_u16(&mut page, 6, u16::try_from(granularity).unwrap_or(1));
    put_u32(&mut page, 8, small(limits::MAX_TRANSFER_BYTES / block));
    put_u32(&mut page, 12, small(u64::from(settings.opt_trans_len) / block));
    if is_thin(device) {
        put_u32(&mut page, 20, small(limits::MAX_UNMAP_BLOCKS));
        put_u32(&mut page, 24, small(limits::MAX_UNMAP_DESCRIPTORS as u64));
        put_u32(&mut page, 28, small(u64::from(geometry.unmap_granularity_bytes) / block).max(1));
        if geometry.unmap_alignment_bytes > 0 {
            put_u32(&mut page, 32, 0x8000_0000 | small(u64::from(geometry.unmap_alignment_bytes) / block));
        }
    }
    put_u64(&mut page, 36, limits::max_write_same_blocks(geometry.blocks, geometry.block_size));
    put_u32(&mut page, 44, small(limits::MAX_ATOMIC_BLOCKS));
    put_u32(&mut page, 48, small(limits::ATOMIC_UNIT_BLOCKS));
    put_u32(&mut page, 52, small(limits::ATOMIC_UNIT_BLOCKS));
    page.split_off(4)
}

/// Block device characteristics (SBC-3, 6.6.3).
fn characteristics(device: &Device) -> Vec<u8> {
    let mut body = vec![0; 60];
    let settings = device.settings();
    put_u16(&mut body, 0, if settings.rotational { 15000 } else { 1 });
    if settings.allow_sanitize {
        // WABEREQ and WACEREQ 01b: after an erase, reads work.
        body[3] = 0x50;
    }
    body
}

/// Logical block provisioning (SBC-3, 6.6.5).
fn provisioning(device: &Device) -> Vec<u8> {
    let mut body = vec![0; 4];
    if is_thin(device) {
        let zeros = device.capabilities().contains(Capabilities::UNMAP_READS_ZERO);
        // LBPU, LBPWS, LBPWS10, and LBPRZ 001b.
        body[1] = 0xe0 | if zeros { 0x04 } else { 0 };
        body[2] = 0x02;
        body[0] = threshold::exponent(device);
    }
    body
}
