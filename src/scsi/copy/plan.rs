//! A checked request resolved to units and runs of bytes. Nothing is copied before all of it is in order.

use std::sync::Arc;

use crate::scsi::copy::parameters::{Amount, Cscd, Request, Segment};
use crate::scsi::copy::{MAX_SEGMENT_BYTES, OWN_UNIT};
use crate::scsi::device::DeviceType;
use crate::scsi::itl::Itl;
use crate::scsi::lun::LunField;
use crate::scsi::nexus::Nexus;
use crate::scsi::page::vpd::unit_designators;
use crate::scsi::sense::Sense;

/// A run of bytes to copy.
#[derive(Clone)]
pub(crate) struct Step {
    /// Number of its segment descriptor.
    pub(crate) segment: u16,
    /// Where it comes from.
    pub(crate) source: End,
    /// Where it goes to.
    pub(crate) destination: End,
    /// Bytes.
    pub(crate) length: u64,
}

/// One end of a run.
#[derive(Clone)]
pub(crate) struct End {
    /// The asking nexus at the unit.
    pub(crate) itl: Arc<Itl>,
    /// First byte.
    pub(crate) offset: u64,
    /// Logical block length in bytes.
    pub(crate) block: u64,
}

/// Where the fields of a segment descriptor are that can be wrong.
mod field {
    pub(super) const SOURCE: u16 = 4;
    pub(super) const DESTINATION: u16 = 6;
    pub(super) const BYTES: u16 = 8;
    pub(super) const SOURCE_LBA: u16 = 12;
    pub(super) const DESTINATION_LBA: u16 = 20;
    pub(super) const SOURCE_OFFSET: u16 = 28;
    pub(super) const DESTINATION_OFFSET: u16 = 30;
}

/// Resolves every descriptor as `nexus` sees it; `own` is the unit that got the command.
pub(crate) fn plan(nexus: &Arc<Nexus>, own: &Arc<Itl>, request: &Request) -> Result<Vec<Step>, Sense> {
    let mut steps = Vec::with_capacity(request.segments.len());
    for (number, segment) in request.segments.iter().enumerate() {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        steps.push(step(nexus, own, request, segment, number)?);
    }
    Ok(steps)
}

fn step(
    nexus: &Arc<Nexus>,
    own: &Arc<Itl>,
    request: &Request,
    segment: &Segment,
    number: u16,
) -> Result<Step, Sense> {
    let resolve = |id: u16, writes: bool, at: u16| {
        let found = match request.cscds.get(usize::from(id)) {
            _ if id == OWN_UNIT => Ok(Arc::clone(own)),
            Some(cscd) => find(nexus, cscd, writes),
            None => Err(Sense::UNREACHABLE_COPY_TARGET),
        };
        found.map_err(|sense| match sense.key {
            crate::scsi::sense::SenseKey::CopyAborted => sense.in_segment(number, Some(at)),
            _ => sense,
        })
    };
    let source = resolve(segment.source, false, field::SOURCE)?;
    let destination = resolve(segment.destination, true, field::DESTINATION)?;
    let blocks = (block_length(&source), block_length(&destination));
    let length = match segment.amount {
        Amount::Bytes(bytes) => u64::from(bytes),
        Amount::Blocks { count, of_destination: false } => u64::from(count) * blocks.0,
        Amount::Blocks { count, of_destination: true } => u64::from(count) * blocks.1,
    };
    if length > MAX_SEGMENT_BYTES {
        return Err(Sense::invalid_field_in_parameter_list(segment.at.saturating_add(field::BYTES), None));
    }
    let is_exact = length % blocks.0 == 0 && length % blocks.1 == 0;
    if matches!(segment.amount, Amount::Blocks { .. }) && !is_exact {
        return Err(Sense::UNEXPECTED_INEXACT_SEGMENT.in_segment(number, None));
    }
    let end = |itl: Arc<Itl>, (lba, offset): (u64, u16), at: (u16, u16)| {
        let block = block_length(&itl);
        if u64::from(offset) >= block {
            let at = segment.at.saturating_add(at.1);
            return Err(Sense::invalid_field_in_parameter_list(at, None));
        }
        let start = lba.checked_mul(block).and_then(|bytes| bytes.checked_add(u64::from(offset)));
        let capacity = itl.device.geometry().bytes();
        match start.and_then(|start| Some((start, start.checked_add(length)?))) {
            Some((offset, end)) if end <= capacity => Ok(End { itl, offset, block }),
            _ => Err(Sense::COPY_ABORTED.in_segment(number, Some(at.0))),
        }
    };
    Ok(Step {
        segment: number,
        source: end(source, (segment.lba.0, segment.offset.0), (field::SOURCE_LBA, field::SOURCE_OFFSET))?,
        destination: end(
            destination,
            (segment.lba.1, segment.offset.1),
            (field::DESTINATION_LBA, field::DESTINATION_OFFSET),
        )?,
        length,
    })
}

fn block_length(itl: &Itl) -> u64 {
    u64::from(itl.device.geometry().block_size).max(1)
}

/// The unit that a descriptor names, if the copy manager has it and the nexus sees exactly one; to write, at
/// a LUN where it may. Two units with one designator are as good as none: nobody could say which was meant.
fn find(nexus: &Arc<Nexus>, cscd: &Cscd, writes: bool) -> Result<Arc<Itl>, Sense> {
    let map = nexus.map();
    let names = |itl: &crate::scsi::nexus::LunEntry| {
        // ASSOCIATION 00b is the upper half of `kind` being 0.
        let settings = itl.device.settings();
        let own = unit_designators(&settings.identity);
        settings.is_copied
            && own.iter().any(|designator| {
                designator.code_set == cscd.code_set
                    && designator.kind == cscd.kind
                    && designator.value == cscd.designator
            })
    };
    let matches: Vec<_> = map.entries().iter().filter(|entry| names(entry)).collect();
    let Some(first) = matches.first() else { return Err(Sense::COPY_TARGET_DEVICE_NOT_REACHABLE) };
    if matches.iter().any(|entry| !Arc::ptr_eq(&entry.device, &first.device)) {
        return Err(Sense::COPY_TARGET_DEVICE_NOT_REACHABLE);
    }
    if first.device.device_type() != DeviceType::Disk || cscd.device_type != 0 {
        return Err(Sense::INCORRECT_COPY_TARGET_DEVICE_TYPE);
    }
    let block = first.device.geometry().block_size;
    if cscd.block_length != 0 && cscd.block_length != block {
        return Err(Sense::invalid_field_in_parameter_list(cscd.at.saturating_add(29), None));
    }
    let entry = matches.iter().find(|entry| !writes || !entry.read_only).unwrap_or(first);
    Ok(nexus.itl(LunField::new(entry.lun, map.method)))
}
