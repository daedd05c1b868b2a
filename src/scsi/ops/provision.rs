//! UNMAP and GET LBA STATUS (SBC-3).

use crate::backstore::Provisioning;
use crate::backstore::io::Operation;
use crate::bytes::{get_u16, get_u32, get_u64, put_u32, put_u64};
use crate::scsi::cdb::field;
use crate::scsi::limits::{MAX_STATUS_DESCRIPTORS, MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS};
use crate::scsi::opcode::{Access, Allow, CONTROL, Data, Medium, Memory, OpCode, Request, Run, Step};
use crate::scsi::ops::read::GROUP;
use crate::scsi::ops::same::is_thin;
use crate::scsi::ops::write::is_durable;
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

/// UNMAP.
pub(crate) const UNMAP: OpCode = OpCode {
    opcode: 0x42,
    name: "UNMAP",
    usage: &[0x01, 0, 0, 0, 0, GROUP, 0xff, 0xff, CONTROL],
    data: Data::Out(field(7, 2)),
    medium: Medium::Whole(Access::Write),
    run: Run::Worker,
    supported: is_thin,
    execute: unmap,
    submit: Some(unmap_step),
    ..OpCode::BLANK
};

/// GET LBA STATUS.
pub(crate) const GET_LBA_STATUS: OpCode = OpCode {
    opcode: 0x9e,
    service_action: Some(0x12),
    name: "GET LBA STATUS",
    usage: &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CONTROL],
    data: Data::In(field(10, 4)),
    allow: Allow::WRITE_EXCLUSIVE,
    run: Run::Worker,
    execute: get_lba_status,
    ..OpCode::BLANK
};

/// Length of the header and of each block descriptor of an UNMAP parameter list.
const HEADER: usize = 8;
const DESCRIPTOR: usize = 16;

/// Frees one run after the other; the progress is the number of descriptors that are done.
fn unmap_step(context: &mut Context<'_>) -> Result<Step, Failure> {
    if context.cdb().bit(1, 0x01) {
        return Err(Sense::invalid_field_in_cdb(1, Some(0)).into());
    }
    if context.progress() == 0 {
        ranges(context)?;
    }
    let flushes = is_durable(context, &*context.gate()?);
    let list = context.data_out();
    let mut left = descriptors(list).skip(usize::try_from(context.progress()).unwrap_or(usize::MAX));
    let Some((passed, (lba, blocks))) = left.by_ref().enumerate().find(|(_, (_, blocks))| *blocks > 0) else {
        return Ok(if flushes { Step::Ask(Request::flush(None)) } else { Step::Done });
    };
    let is_last = !flushes && left.all(|(_, blocks)| blocks == 0);
    let block = u64::from(context.block_size());
    Ok(Step::Ask(Request {
        operation: Operation::Unmap,
        offset: lba * block,
        length: blocks * block,
        memory: Memory::None,
        next: (!is_last).then_some(context.progress() + passed as u64 + 1),
    }))
}

/// First block and number of blocks of each whole descriptor that the list says it has.
fn descriptors(list: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    let length = list.get(2..4).map_or(0, |length| usize::from(get_u16(length, 0)));
    let descriptors = list.get(HEADER..).unwrap_or(&[]);
    let descriptors = descriptors[..length.min(descriptors.len())].chunks_exact(DESCRIPTOR);
    descriptors.map(|descriptor| (get_u64(descriptor, 0), u64::from(get_u32(descriptor, 8))))
}

fn unmap(context: &mut Context<'_>) -> Result<(), Failure> {
    if context.cdb().bit(1, 0x01) {
        return Err(Sense::invalid_field_in_cdb(1, Some(0)).into());
    }
    let ranges = ranges(context)?;
    let gate = context.gate()?;
    let block = u64::from(context.block_size());
    for (lba, blocks) in ranges {
        gate.unmap(lba * block, blocks * block)?;
    }
    if is_durable(context, &gate) { Ok(gate.flush()?) } else { Ok(()) }
}

/// The parameter list, checked completely before anything is freed.
fn ranges(context: &Context<'_>) -> Result<Vec<(u64, u64)>, Failure> {
    let list = context.data_out();
    if list.is_empty() {
        return Ok(Vec::new());
    }
    if list.len() < HEADER {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    let length = usize::from(get_u16(list, 2));
    if length % DESCRIPTOR != 0 {
        return Err(Sense::invalid_field_in_parameter_list(2, None).into());
    }
    if length > list.len() - HEADER {
        return Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into());
    }
    if length / DESCRIPTOR > MAX_UNMAP_DESCRIPTORS {
        return Err(Sense::invalid_field_in_parameter_list(2, None).into());
    }
    let capacity = context.device().geometry().blocks;
    let mut total = 0u64;
    let mut ranges = Vec::with_capacity(length / DESCRIPTOR);
    for (lba, blocks) in descriptors(list) {
        match lba.checked_add(blocks) {
            Some(end) if end <= capacity => {}
            _ => return Err(Sense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE.with_information(lba).into()),
        }
        total += blocks;
        ranges.push((lba, blocks));
    }
    if total > MAX_UNMAP_BLOCKS {
        return Err(Sense::invalid_field_in_parameter_list(2, None).into());
    }
    Ok(ranges)
}

/// PROVISIONING STATUS (SBC-3, 5.6.2).
fn status(provisioning: Provisioning) -> u8 {
    match provisioning {
        Provisioning::Mapped => 0,
        Provisioning::Deallocated => 1,
    }
}

fn get_lba_status(context: &mut Context<'_>) -> Result<(), Failure> {
    let mut lba = context.cdb().get(field(2, 8));
    let capacity = context.device().geometry().blocks;
    if lba >= capacity {
        return Err(Sense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE.with_information(lba).into());
    }
    let gate = context.gate()?;
    let block = u64::from(context.block_size());
    let allocated = usize::try_from(context.cdb().get(field(10, 4))).unwrap_or(usize::MAX);
    let room = (allocated.saturating_sub(HEADER) / DESCRIPTOR).clamp(1, MAX_STATUS_DESCRIPTORS);
    let mut found: Vec<(u64, u64, Provisioning)> = Vec::new();
    while lba < capacity {
        let (state, bytes) = gate
            .provisioning(lba * block, (capacity - lba) * block)
            .map_err(|error| Failure::from_read(error, lba))?;
        let blocks = (bytes / block).clamp(1, capacity - lba).min(u64::from(u32::MAX));
        let is_full = found.len() == room;
        match found.last_mut() {
            Some(last) if last.2 == state && last.1 + blocks <= u64::from(u32::MAX) => last.1 += blocks,
            _ if is_full => break,
            _ => found.push((lba, blocks, state)),
        }
        lba += blocks;
    }
    let mut reply = vec![0; HEADER + found.len() * DESCRIPTOR];
    let length = u32::try_from(reply.len() - 4).unwrap_or(u32::MAX);
    put_u32(&mut reply, 0, length);
    for (entry, (lba, blocks, state)) in reply[HEADER..].chunks_mut(DESCRIPTOR).zip(&found) {
        put_u64(entry, 0, *lba);
        put_u32(entry, 8, u32::try_from(*blocks).unwrap_or(u32::MAX));
        entry[12] = status(*state);
    }
    context.reply(&reply)
}
