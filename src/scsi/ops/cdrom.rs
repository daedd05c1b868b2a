//! Commands of a CD-ROM drive (MMC-6): READ TOC, GET CONFIGURATION, GET EVENT STATUS NOTIFICATION, READ DISC
//! INFORMATION. The medium is one data track.

use crate::bytes::{put_u16, put_u32};
use crate::scsi::cdb::field;
use crate::scsi::device::{Device, MediumState};
use crate::scsi::opcode::{Allow, CONTROL, Data, OpCode, Order, Types};
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

const CD: OpCode = OpCode {
    types: Types::CDROM,
    data: Data::In(field(7, 2)),
    allow: Allow::WRITE_EXCLUSIVE,
    ..OpCode::BLANK
};

/// READ TOC/PMA/ATIP.
pub(crate) const READ_TOC: OpCode = OpCode {
    opcode: 0x43,
    name: "READ TOC/PMA/ATIP",
    usage: &[0x02, 0x0f, 0, 0, 0, 0xff, 0xff, 0xff, CONTROL | 0xc0],
    execute: read_toc,
    ..CD
};

/// GET CONFIGURATION.
pub(crate) const GET_CONFIGURATION: OpCode = OpCode {
    opcode: 0x46,
    name: "GET CONFIGURATION",
    usage: &[0x03, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, CONTROL],
    allow: Allow::WRITE_EXCLUSIVE.and(Allow::NO_MEDIUM).and(Allow::UNIT_ATTENTION),
    execute: get_configuration,
    ..CD
};

/// GET EVENT STATUS NOTIFICATION.
pub(crate) const GET_EVENT_STATUS_NOTIFICATION: OpCode = OpCode {
    opcode: 0x4a,
    name: "GET EVENT STATUS NOTIFICATION",
    usage: &[0x01, 0, 0, 0xff, 0, 0, 0xff, 0xff, CONTROL],
    allow: Allow::WRITE_EXCLUSIVE.and(Allow::NO_MEDIUM).and(Allow::UNIT_ATTENTION),
    order: Order::AtOnce,
    execute: get_event_status,
    ..CD
};

/// READ DISC INFORMATION.
pub(crate) const READ_DISC_INFORMATION: OpCode = OpCode {
    opcode: 0x51,
    name: "READ DISC INFORMATION",
    usage: &[0x07, 0, 0, 0, 0, 0, 0xff, 0xff, CONTROL],
    execute: read_disc_information,
    ..CD
};

/// An address as minute, second, frame (75 frames a second, 150 frames of pregap), or as a block number.
fn address(lba: u64, in_msf: bool) -> [u8; 4] {
    let small = |number: u64| u8::try_from(number).unwrap_or(u8::MAX);
    if in_msf {
        let frames = lba + 150;
        [0, small(frames / 75 / 60), small(frames / 75 % 60), small(frames % 75)]
    } else {
        u32::try_from(lba).unwrap_or(u32::MAX).to_be_bytes()
    }
}

const LEAD_OUT: u8 = 0xaa;

fn read_toc(context: &mut Context<'_>) -> Result<(), Failure> {
    let in_msf = context.cdb().bit(1, 0x02);
    // Old hosts put the format into the top bits of CONTROL (SFF-8020).
    let format = match context.cdb().byte(2) & 0x0f {
        0 => context.cdb().byte(9) >> 6,
        format => format,
    };
    let first = context.cdb().byte(6);
    let end = context.device().geometry().blocks;
    let track = |number: u8, lba: u64| {
        let [a, b, c, d] = address(lba, in_msf);
        [0, 0x14, number, 0, a, b, c, d]
    };
    let entries = match (format, first) {
        (0, 0 | 1) => [track(1, 0), track(LEAD_OUT, end)].concat(),
        (0, LEAD_OUT) => track(LEAD_OUT, end).to_vec(),
        (1, _) => track(1, 0).to_vec(),
        (0, _) => return Err(Sense::invalid_field_in_cdb(6, None).into()),
        _ => return Err(Sense::invalid_field_in_cdb(2, Some(3)).into()),
    };
    let mut reply = vec![0, 0, 1, 1];
    reply.extend(entries);
    let length = u16::try_from(reply.len() - 2).unwrap_or(u16::MAX);
    put_u16(&mut reply, 0, length);
    context.reply(&reply)
}

fn has_medium(device: &Device) -> bool {
    device.state().medium == MediumState::Present
}

/// Profile of a CD-ROM.
const CD_ROM: u16 = 0x0008;

fn get_configuration(context: &mut Context<'_>) -> Result<(), Failure> {
    let current = has_medium(context.device());
    let from = u16::try_from(context.cdb().get(field(2, 2))).unwrap_or(0);
    let only = context.cdb().byte(1) & 3;
    let now = u8::from(current);
    let features: [(u16, Vec<u8>); 5] = [
        // Profile List, Core (SCSI-3 interface), Morphing, Removable Medium (tray, eject, lock), CD Read.
        (0x0000, vec![0, 8, now, 0]),
        (0x0001, vec![0, 0, 0, 1, 0, 0, 0, 0]),
        (0x0002, vec![0, 0, 0, 0]),
        (0x0003, vec![0x29, 0, 0, 0]),
        (0x001e, vec![0, 0, 0, 0]),
    ];
    let mut reply = vec![0; 8];
    put_u16(&mut reply, 6, if current { CD_ROM } else { 0 });
    for (code, body) in features {
        let is_current = code != 0x001e || current;
        let wanted = match only {
            0 => code >= from,
            1 => code >= from && is_current,
            2 => code == from,
            _ => return Err(Sense::invalid_field_in_cdb(1, Some(1)).into()),
        };
        if !wanted {
            continue;
        }
        let [high, low] = code.to_be_bytes();
        let persistent = if code == 0x001e { 0 } else { 0x02 };
        let length = u8::try_from(body.len()).unwrap_or(0);
        reply.extend_from_slice(&[high, low, persistent | u8::from(is_current), length]);
        reply.extend(body);
    }
    let length = u32::try_from(reply.len() - 4).unwrap_or(u32::MAX);
    put_u32(&mut reply, 0, length);
    context.reply(&reply)
}

/// Notification class of media events, and its bit.
const MEDIA: u8 = 4;

fn get_event_status(context: &mut Context<'_>) -> Result<(), Failure> {
    if !context.cdb().bit(1, 0x01) {
        // Asynchronous operation is not supported: POLLED must be set.
        return Err(Sense::invalid_field_in_cdb(1, Some(0)).into());
    }
    if context.cdb().byte(4) & 1 << MEDIA == 0 {
        return context.reply(&[0, 2, 0x80, 1 << MEDIA]);
    }
    let state = context.device().state().medium;
    let status = match state {
        MediumState::Present => 0x02,
        MediumState::TrayOpen => 0x01,
        MediumState::TrayClosed | MediumState::Closed => 0x00,
    };
    let event = context.itl().take_media_event();
    context.reply(&[0, 6, MEDIA, 1 << MEDIA, event, status, 0, 0])
}

fn read_disc_information(context: &mut Context<'_>) -> Result<(), Failure> {
    if context.cdb().byte(1) & 7 != 0 {
        return Err(Sense::invalid_field_in_cdb(1, Some(2)).into());
    }
    let mut reply = [0; 34];
    put_u16(&mut reply, 0, 32);
    // Complete disc, complete last session, one session, tracks 1 to 1.
    reply[2] = 0x0e;
    reply[3..7].copy_from_slice(&[1, 1, 1, 1]);
    reply[16..24].fill(0xff);
    context.reply(&reply)
}
