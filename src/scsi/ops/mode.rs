//! MODE SENSE and MODE SELECT, (6) and (10) (SPC-4).

use crate::bytes::{get_u16, put_u16, put_u24, put_u32, put_u64};
use crate::scsi::cdb::field;
use crate::scsi::device::{Device, DeviceType};
use crate::scsi::mode_parameters::ModeParameters;
use crate::scsi::opcode::{Allow, CONTROL, Data, Medium, OpCode, Order, Run, Types};
use crate::scsi::page::mode::{PAGES, Page};
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

/// Under which name mode parameters are saved.
pub(crate) const SAVED_AS: &str = "mode";

const SENSE: OpCode = OpCode {
    types: Types::ALL,
    allow: Allow::WRITE_EXCLUSIVE.and(Allow::NO_MEDIUM).and(Allow::STANDBY),
    execute: mode_sense,
    ..OpCode::BLANK
};

/// MODE SENSE (6).
pub(crate) const MODE_SENSE_6: OpCode = OpCode {
    opcode: 0x1a,
    name: "MODE SENSE(6)",
    usage: &[0x08, 0xff, 0xff, 0xff, CONTROL],
    data: Data::In(field(4, 1)),
    ..SENSE
};

/// MODE SENSE (10).
pub(crate) const MODE_SENSE_10: OpCode = OpCode {
    opcode: 0x5a,
    name: "MODE SENSE(10)",
    usage: &[0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, CONTROL],
    data: Data::In(field(7, 2)),
    ..SENSE
};

const SELECT: OpCode = OpCode {
    types: Types::ALL,
    allow: Allow::NO_MEDIUM.and(Allow::STANDBY),
    order: Order::Ordered,
    // Writes that other nexuses have begun may leave their data in a cache that there will be none of.
    medium: Medium::Unit,
    run: Run::Worker,
    execute: mode_select,
    ..OpCode::BLANK
};

/// MODE SELECT (6).
pub(crate) const MODE_SELECT_6: OpCode = OpCode {
    opcode: 0x15,
    name: "MODE SELECT(6)",
    usage: &[0x11, 0, 0, 0xff, CONTROL],
    data: Data::Out(field(4, 1)),
    ..SELECT
};

/// MODE SELECT (10).
pub(crate) const MODE_SELECT_10: OpCode = OpCode {
    opcode: 0x55,
    name: "MODE SELECT(10)",
    usage: &[0x11, 0, 0, 0, 0, 0, 0xff, 0xff, CONTROL],
    data: Data::Out(field(7, 2)),
    ..SELECT
};

const ALL_PAGES: u8 = 0x3f;
const ALL_SUBPAGES: u8 = 0xff;
const DBD: u8 = 0x08;
const LLBAA: u8 = 0x10;
/// Device-specific parameter of a disk: WP and DPOFUA.
const WP: u8 = 0x80;
const DPOFUA: u8 = 0x10;

/// PAGE CONTROL.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    Current,
    Changeable,
    Default,
    Saved,
}

fn is_short(context: &Context<'_>) -> bool {
    context.cdb().opcode() & 0xe0 == 0
}

fn pages(device: &Device, code: u8, subpage: u8) -> Vec<&'static Page> {
    let is_wanted = |page: &&Page| {
        page.types.meets(device.device_type().types())
            && (code == ALL_PAGES || page.code == code)
            && (subpage == ALL_SUBPAGES || page.subpage == subpage)
            && (page.applies)(device)
    };
    PAGES.iter().filter(is_wanted).collect()
}

fn mode_sense(context: &mut Context<'_>) -> Result<(), Failure> {
    let (code, subpage) = (context.cdb().byte(2) & 0x3f, context.cdb().byte(3));
    let control = match context.cdb().byte(2) >> 6 {
        0 => Control::Current,
        1 => Control::Changeable,
        2 => Control::Default,
        _ => Control::Saved,
    };
    let device = context.device().clone();
    if control == Control::Saved && device.store().is_none() {
        return Err(Sense::SAVING_PARAMETERS_NOT_SUPPORTED.into());
    }
    let wanted = pages(&device, code, subpage);
    if wanted.is_empty() {
        let at = if pages(&device, code, ALL_SUBPAGES).is_empty() { 2 } else { 3 };
        return Err(Sense::invalid_field_in_cdb(at, if at == 2 { Some(5) } else { None }).into());
    }
    let protected = {
        let state = device.state();
        context.itl().read_only || device.is_write_protected(&state)
    };
    let long = !is_short(context) && context.cdb().bit(1, LLBAA);
    let mut reply = header(&device, is_short(context), context.cdb().bit(1, DBD), long, protected);
    for page in wanted {
        reply.extend(page.with_header(device.store().is_some(), &content(&device, page, control)));
    }
    if is_short(context) {
        reply[0] = u8::try_from(reply.len() - 1).unwrap_or(u8::MAX);
    } else {
        let length = u16::try_from(reply.len() - 2).unwrap_or(u16::MAX);
        put_u16(&mut reply, 0, length);
    }
    context.reply(&reply)
}

fn content(device: &Device, page: &Page, control: Control) -> Vec<u8> {
    let mut body = vec![0; page.length];
    let (current, saved, default) = {
        let state = device.state();
        (state.mode, state.saved_mode, state.default_mode)
    };
    match control {
        Control::Current => (page.show)(&current, &mut body),
        Control::Saved => (page.show)(&saved, &mut body),
        Control::Default => (page.show)(&default, &mut body),
        Control::Changeable => (page.changeable)(device, &mut body),
    }
    if control != Control::Changeable {
        (page.adds)(device, &mut body);
    }
    body
}

/// The mode parameter header and block descriptor; the length field is written last.
fn header(device: &Device, short: bool, without_descriptor: bool, long: bool, protected: bool) -> Vec<u8> {
    let geometry = device.geometry();
    let is_disk = device.device_type() == DeviceType::Disk;
    let specific = match (is_disk, protected) {
        (true, true) => WP | DPOFUA,
        (true, false) => DPOFUA,
        (false, _) => 0,
    };
    let mut descriptor = Vec::new();
    if !without_descriptor && is_disk {
        if long {
            descriptor = vec![0; 16];
            put_u64(&mut descriptor, 0, geometry.blocks);
            put_u32(&mut descriptor, 12, geometry.block_size);
        } else {
            descriptor = vec![0; 8];
            put_u32(&mut descriptor, 0, u32::try_from(geometry.blocks).unwrap_or(u32::MAX));
            put_u24(&mut descriptor, 5, geometry.block_size);
        }
    }
    let length = u8::try_from(descriptor.len()).unwrap_or(0);
    let mut header = if short {
        vec![0, 0, specific, length]
    } else {
        vec![0, 0, 0, specific, u8::from(long), 0, 0, length]
    };
    header.extend(descriptor);
    header
}

fn mode_select(context: &mut Context<'_>) -> Result<(), Failure> {
    let (page_format, saves) = (context.cdb().bit(1, 0x10), context.cdb().bit(1, 0x01));
    let device = context.device().clone();
    if !page_format {
        return Err(Sense::invalid_field_in_cdb(1, Some(4)).into());
    }
    if saves && device.store().is_none() {
        return Err(Sense::invalid_field_in_cdb(1, Some(0)).into());
    }
    if context.cdb().get(if is_short(context) { field(4, 1) } else { field(7, 2) }) == 0 {
        return Ok(());
    }
    let before = device.state().mode;
    let after = parse(&device, context.data_out(), is_short(context), before)?;
    if saves {
        // First, so that values that could not be saved change nothing.
        let store = device.store().ok_or(Sense::invalid_field_in_cdb(1, Some(0)))?;
        store
            .save(device.name(), SAVED_AS, after.to_text().as_bytes())
            .map_err(|_| Failure::Sense(Sense::INTERNAL_TARGET_FAILURE))?;
        device.state().saved_mode = after;
    }
    let mut state = device.state();
    state.mode = after;
    if after != before {
        device.attention(Sense::MODE_PARAMETERS_CHANGED, Some(context.nexus().id));
    }
    drop(state);
    // Whoever sees no cache flushes none: what was answered out of it is written first (SBC-3, 6.5.5).
    match device.gate().filter(|_| before.write_cache_enabled && !after.write_cache_enabled) {
        Some(gate) => Ok(gate.flush()?),
        None => Ok(()),
    }
}

/// Checks the whole parameter list before anything of it counts (SPC-4, 6.11).
fn parse(device: &Device, list: &[u8], short: bool, mode: ModeParameters) -> Result<ModeParameters, Failure> {
    let header = if short { 4 } else { 8 };
    if list.len() < header {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let descriptor = usize::from(if short { u16::from(list[3]) } else { get_u16(list, 6) });
    check_descriptor(device, list, header, descriptor)?;
    let mut at = header + descriptor;
    let mut mode = mode;
    while at < list.len() {
        at = parse_page(device, list, at, &mut mode)?;
    }
    Ok(mode)
}

fn check_descriptor(device: &Device, list: &[u8], header: usize, length: usize) -> Result<(), Failure> {
    let at = u16::try_from(header).unwrap_or(0);
    if length == 0 {
        return Ok(());
    }
    if length != 8 && length != 16 {
        return Err(Sense::invalid_field_in_parameter_list(at - 1, None).into());
    }
    let descriptor = list.get(header..header + length).ok_or(Sense::PARAMETER_LIST_LENGTH_ERROR)?;
    let size =
        u32::from_be_bytes([0, descriptor[length - 3], descriptor[length - 2], descriptor[length - 1]]);
    if size != 0 && size != device.geometry().block_size {
        return Err(Sense::invalid_field_in_parameter_list(at + 5, None).into());
    }
    Ok(())
}

/// One page at `at`; answers where the next begins.
fn parse_page(device: &Device, list: &[u8], at: usize, mode: &mut ModeParameters) -> Result<usize, Failure> {
    let wrong = |at: usize, bit| Sense::invalid_field_in_parameter_list(u16::try_from(at).unwrap_or(0), bit);
    let too_short = Failure::Sense(Sense::PARAMETER_LIST_LENGTH_ERROR);
    let rest = &list[at..];
    let (first, second) = (rest[0], *rest.get(1).ok_or(too_short)?);
    if first & 0x80 != 0 {
        return Err(wrong(at, Some(7)).into());
    }
    let has_subpage = first & 0x40 != 0;
    let subpage = if has_subpage { second } else { 0 };
    let page = *pages(device, first & 0x3f, subpage).first().ok_or(wrong(at, Some(5)))?;
    if first & 0x3f == ALL_PAGES || subpage == ALL_SUBPAGES {
        return Err(wrong(at, Some(5)).into());
    }
    let header = page.header_length();
    let stated = if has_subpage {
        usize::from(get_u16(rest.get(..4).ok_or(too_short)?, 2))
    } else {
        usize::from(second)
    };
    if stated != page.length {
        return Err(wrong(at + header - 1, None).into());
    }
    let body = rest.get(header..header + page.length).ok_or(too_short)?;
    let mut current = vec![0; page.length];
    let mut changeable = vec![0; page.length];
    (page.show)(mode, &mut current);
    (page.adds)(device, &mut current);
    (page.changeable)(device, &mut changeable);
    for (index, byte) in body.iter().enumerate() {
        let bits = (byte ^ current[index]) & !changeable[index];
        if bits != 0 {
            return Err(wrong(at + header + index, u8::try_from(bits.ilog2()).ok()).into());
        }
    }
    if !(page.apply)(mode, body) {
        return Err(wrong(at + header + 1, Some(7)).into());
    }
    Ok(at + header + page.length)
}
