//! INQUIRY (SPC-4).

use crate::bytes::{put_u16, put_u32};
use crate::scsi::cdb::field;
use crate::scsi::device::DeviceType;
use crate::scsi::itl::Itl;
use crate::scsi::opcode::{Allow, CONTROL, Data, OpCode, Order, Types};
use crate::scsi::ops::copy::is_copy_manager;
use crate::scsi::ops::groups;
use crate::scsi::ops::unit::is_removable;
use crate::scsi::page::vpd;
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

/// Runs in every state, at every LUN, whatever is reserved or pending.
pub(super) const ANYWHERE: Allow = Allow::UNIT_ATTENTION
    .and(Allow::NO_MEDIUM)
    .and(Allow::NO_LUN)
    .and(Allow::STANDBY)
    .and(Allow::UNAVAILABLE)
    .and(Allow::TRANSITIONING)
    .and(Allow::RESERVED)
    .and(Allow::PERSISTENT_RESERVATION)
    .and(Allow::BACKGROUND);

/// INQUIRY.
pub(crate) const INQUIRY: OpCode = OpCode {
    opcode: 0x12,
    name: "INQUIRY",
    types: Types::ALL,
    usage: &[0x01, 0xff, 0xff, 0xff, CONTROL],
    data: Data::In(field(3, 2)),
    allow: ANYWHERE,
    order: Order::AtOnce,
    execute: inquiry,
    ..OpCode::BLANK
};

/// Version descriptors (SPC-4, 6.6.5): SAM-5, iSCSI, SPC-4, and the command set's.
const SAM_5: u16 = 0x00a0;
const ISCSI: u16 = 0x0960;
const SPC_4: u16 = 0x0460;
const SBC_3: u16 = 0x04c0;
const MMC_6: u16 = 0x04e0;

/// Length of the standard INQUIRY data without a long vendor specific part.
const STANDARD: usize = 96;

fn inquiry(context: &mut Context<'_>) -> Result<(), Failure> {
    let page = context.cdb().byte(2);
    if context.cdb().bit(1, 0x01) {
        let answer = vpd::page(context.itl(), context.nexus(), page);
        let answer = answer.ok_or(Sense::invalid_field_in_cdb(2, Some(7)))?;
        return context.reply(&answer);
    }
    if page != 0 {
        return Err(Sense::invalid_field_in_cdb(2, Some(7)).into());
    }
    let answer = standard(context.itl());
    context.reply(&answer)
}

/// PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE. A path on which the unit cannot be used shows it as not
/// connected (SPC-4, 5.15.2.4.5).
pub(crate) fn peripheral(itl: &Itl) -> u8 {
    let device = &itl.device;
    let qualifier = if itl.access_state().hides_unit() { 0x20 } else { 0 };
    match device.device_type() {
        DeviceType::Absent => 0x7f,
        DeviceType::WellKnown => 0x1e,
        _ if device.settings().dummy => 0x3f,
        DeviceType::Disk => qualifier,
        DeviceType::CdRom => qualifier | 0x05,
        DeviceType::Passed(device_type) => qualifier | device_type,
    }
}

/// Copies `text` into a field filled up with spaces (left-aligned ASCII, SPC-4 4.4.1).
pub(crate) fn ascii(field: &mut [u8], text: &str) {
    field.fill(b' ');
    for (place, byte) in field.iter_mut().zip(text.bytes()) {
        *place = if (0x20..=0x7e).contains(&byte) { byte } else { b'?' };
    }
}

fn standard(itl: &Itl) -> Vec<u8> {
    let device = &itl.device;
    let settings = device.settings();
    let identity = &settings.identity;
    let mut data = vec![0; STANDARD];
    data[0] = peripheral(itl);
    data[1] = if is_removable(device) { 0x80 } else { 0 };
    data[2] = 0x06;
    // HISUP and response data format 2; NORMACA is 0.
    data[3] = 0x12;
    // 3PC, beside TPGS.
    data[5] = groups::tpgs(device) | if is_copy_manager(device) { 0x08 } else { 0 };
    data[6] = 0x10;
    data[7] = 0x02;
    let vendor = if identity.t10_vend_id.is_empty() { "SCST_FIO" } else { &identity.t10_vend_id };
    ascii(&mut data[8..16], vendor);
    let product = if identity.prod_id.is_empty() { device.name() } else { &identity.prod_id };
    ascii(&mut data[16..32], product);
    let revision = if identity.prod_rev_lvl.is_empty() { "0100" } else { &identity.prod_rev_lvl };
    ascii(&mut data[32..36], revision);
    let own = &identity.inq_vend_specific;
    if own.len() <= 20 {
        data[36..36 + own.len()].copy_from_slice(own);
    } else {
        data.extend_from_slice(own);
    }
    let command_set = match device.device_type() {
        DeviceType::CdRom => MMC_6,
        _ => SBC_3,
    };
    for (index, version) in [SAM_5, ISCSI, SPC_4, command_set].into_iter().enumerate() {
        put_u16(&mut data, 58 + 2 * index, version);
    }
    data[4] = u8::try_from(data.len() - 5).unwrap_or(u8::MAX);
    data
}

/// REPORT LUNS.
pub(crate) const REPORT_LUNS: OpCode = OpCode {
    opcode: 0xa0,
    name: "REPORT LUNS",
    types: Types::ALL,
    usage: &[0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
    data: Data::In(field(6, 4)),
    allow: ANYWHERE,
    order: Order::AtOnce,
    execute: report_luns,
    ..OpCode::BLANK
};

/// The REPORT LUNS well known logical unit.
const WELL_KNOWN: [u8; 8] = [0xc1, 0x01, 0, 0, 0, 0, 0, 0];

fn report_luns(context: &mut Context<'_>) -> Result<(), Failure> {
    let select = context.cdb().byte(2);
    if context.cdb().get(field(6, 4)) < 16 {
        return Err(Sense::invalid_field_in_cdb(6, None).into());
    }
    let nexus = context.nexus().clone();
    let map = nexus.map();
    let mut list: Vec<[u8; 8]> = Vec::new();
    match select {
        0x00 | 0x02 => {
            list.extend(map.entries().iter().map(|e| crate::scsi::lun::LunField::new(e.lun, map.method).0));
        }
        0x01 => {}
        _ => return Err(Sense::invalid_field_in_cdb(2, Some(7)).into()),
    }
    if select != 0x00 {
        list.push(WELL_KNOWN);
    }
    let mut reply = vec![0; 8 + list.len() * 8];
    put_u32(&mut reply, 0, u32::try_from(list.len() * 8).unwrap_or(u32::MAX));
    for (place, lun) in reply[8..].chunks_mut(8).zip(&list) {
        place.copy_from_slice(lun);
    }
    for itl in nexus.itls() {
        itl.clear_attention(Sense::REPORTED_LUNS_DATA_HAS_CHANGED.code);
    }
    context.reply(&reply)
}
