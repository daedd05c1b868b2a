//! The commands: every row in one ordered list, and the index over it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::scsi::cdb::Cdb;
use crate::scsi::device::{Device, DeviceType};
use crate::scsi::opcode::OpCode;
use crate::scsi::sense::Sense;

mod capacity;
mod cdrom;
pub(crate) mod copy;
pub(crate) mod groups;
pub(crate) mod inquiry;
pub(crate) mod mode;
mod pass;
pub(crate) mod persistent;
mod provision;
mod read;
mod report;
pub(crate) mod same;
mod sanitize;
mod sync;
mod unit;
mod verify;
mod write;

pub(crate) use pass::identify;
pub(crate) use read::READ_16;
pub(crate) use write::WRITE_16;

/// Every command, by operation code and service action.
pub(crate) static OPERATIONS: &[OpCode] = &complete([
    unit::TEST_UNIT_READY,
    unit::REQUEST_SENSE,
    sanitize::FORMAT_UNIT,
    read::READ_6,
    write::WRITE_6,
    inquiry::INQUIRY,
    mode::MODE_SELECT_6,
    unit::RESERVE_6,
    unit::RELEASE_6,
    mode::MODE_SENSE_6,
    unit::START_STOP_UNIT,
    unit::RECEIVE_DIAGNOSTIC_RESULTS,
    unit::SEND_DIAGNOSTIC,
    unit::PREVENT_ALLOW_MEDIUM_REMOVAL,
    capacity::READ_CAPACITY_10,
    read::READ_10,
    write::WRITE_10,
    write::WRITE_AND_VERIFY_10,
    verify::VERIFY_10,
    read::PRE_FETCH_10,
    sync::SYNCHRONIZE_CACHE_10,
    capacity::READ_DEFECT_DATA_10,
    report::READ_BUFFER_10,
    same::WRITE_SAME_10,
    provision::UNMAP,
    cdrom::READ_TOC,
    cdrom::GET_CONFIGURATION,
    sanitize::SANITIZE_OVERWRITE,
    sanitize::SANITIZE_BLOCK_ERASE,
    sanitize::SANITIZE_CRYPTO_ERASE,
    sanitize::SANITIZE_EXIT_FAILURE_MODE,
    cdrom::GET_EVENT_STATUS_NOTIFICATION,
    report::LOG_SELECT,
    report::LOG_SENSE,
    cdrom::READ_DISC_INFORMATION,
    mode::MODE_SELECT_10,
    unit::RESERVE_10,
    unit::RELEASE_10,
    mode::MODE_SENSE_10,
    persistent::READ_KEYS,
    persistent::READ_RESERVATION,
    persistent::REPORT_CAPABILITIES,
    persistent::READ_FULL_STATUS,
    persistent::REGISTER,
    persistent::RESERVE,
    persistent::RELEASE,
    persistent::CLEAR,
    persistent::PREEMPT,
    persistent::PREEMPT_AND_ABORT,
    persistent::REGISTER_AND_IGNORE_EXISTING_KEY,
    persistent::REGISTER_AND_MOVE,
    copy::EXTENDED_COPY_LID1,
    copy::EXTENDED_COPY_LID4,
    copy::COPY_OPERATION_ABORT,
    copy::RECEIVE_COPY_STATUS_LID1,
    copy::RECEIVE_COPY_OPERATING_PARAMETERS,
    copy::RECEIVE_COPY_FAILURE_DETAILS_LID1,
    copy::RECEIVE_COPY_STATUS_LID4,
    read::READ_16,
    verify::COMPARE_AND_WRITE,
    write::WRITE_16,
    write::ORWRITE_16,
    write::WRITE_AND_VERIFY_16,
    verify::VERIFY_16,
    read::PRE_FETCH_16,
    sync::SYNCHRONIZE_CACHE_16,
    same::WRITE_SAME_16,
    write::WRITE_ATOMIC_16,
    capacity::READ_CAPACITY_16,
    provision::GET_LBA_STATUS,
    inquiry::REPORT_LUNS,
    groups::REPORT_TARGET_PORT_GROUPS,
    report::REPORT_SUPPORTED_OPERATION_CODES,
    report::REPORT_SUPPORTED_TASK_MANAGEMENT_FUNCTIONS,
    groups::SET_TARGET_PORT_GROUPS,
    read::READ_12,
    write::WRITE_12,
    write::WRITE_AND_VERIFY_12,
    verify::VERIFY_12,
    capacity::READ_DEFECT_DATA_12,
]);

const fn complete<const ROWS: usize>(mut rows: [OpCode; ROWS]) -> [OpCode; ROWS] {
    let mut index = 0;
    while index < ROWS {
        rows[index] = rows[index].complete();
        index += 1;
    }
    rows
}

/// First row of each operation code, and how many rows it has.
static ROWS: [(u8, u8); 256] = rows_by_opcode();

const fn rows_by_opcode() -> [(u8, u8); 256] {
    assert!(OPERATIONS.len() < u8::MAX as usize);
    let mut rows = [(0, 0); 256];
    let mut index = OPERATIONS.len();
    while index > 0 {
        index -= 1;
        let row = &OPERATIONS[index];
        if index > 0 {
            assert!(key(&OPERATIONS[index - 1]) < key(row), "rows are sorted by operation code");
        }
        assert!(row.usage.len() + 1 == cdb_length(row), "usage data is as long as the CDB");
        #[allow(clippy::cast_possible_truncation)] // A row number, as asserted above.
        let number = index as u8;
        let (_, count) = rows[row.opcode as usize];
        rows[row.opcode as usize] = (number, count + 1);
    }
    rows
}

const fn key(row: &OpCode) -> u32 {
    let service_action = match row.service_action {
        Some(action) => action as u32 + 1,
        None => 0,
    };
    (row.opcode as u32) << 17 | service_action
}

/// CDB length by command group (SAM-5, 5.2); the variable-length form here is always 32 bytes.
const fn cdb_length(row: &OpCode) -> usize {
    match row.opcode {
        0x7f => 32,
        opcode => match opcode >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => 16,
            5 => 12,
            _ => row.usage.len() + 1,
        },
    }
}

/// Rows with this operation code, and the number of the first.
pub(crate) fn rows_of(opcode: u8) -> (usize, &'static [OpCode]) {
    let (first, count) = ROWS[usize::from(opcode)];
    let (first, count) = (usize::from(first), usize::from(count));
    (first, &OPERATIONS[first..first + count])
}

/// The row that `device` carries this CDB out with.
///
/// An operation code it does not have at all is INVALID COMMAND OPERATION CODE; a service action it does not
/// have is INVALID FIELD IN CDB, pointing at the service action.
pub(crate) fn lookup(device: &Device, cdb: &Cdb) -> Result<&'static OpCode, Sense> {
    if let DeviceType::Passed(_) = device.device_type() {
        if let Some(row) = pass::row(cdb.opcode()) {
            return Ok(row);
        }
    }
    let (first, rows) = rows_of(cdb.opcode());
    let mut any = false;
    for (index, row) in rows.iter().enumerate() {
        if !device.has_operation(first + index) {
            continue;
        }
        any = true;
        if row.service_action.is_none_or(|action| action == cdb.service_action()) {
            return Ok(row);
        }
    }
    if !any {
        return Err(Sense::INVALID_COMMAND_OPERATION_CODE);
    }
    let (byte, bit) = if cdb.opcode() == 0x7f { (8, 7) } else { (1, 4) };
    Err(Sense::invalid_field_in_cdb(byte, Some(bit)))
}

/// Which rows a unit supports: a bit each.
pub(crate) struct OpSet {
    bits: [AtomicU64; 4],
}

impl OpSet {
    /// None yet.
    pub(crate) fn new() -> Self {
        OpSet { bits: Default::default() }
    }

    /// Asks every row again.
    pub(crate) fn refresh(&self, device: &Device) {
        let absent = matches!(device.device_type(), DeviceType::Absent | DeviceType::WellKnown);
        for (word, rows) in self.bits.iter().zip(OPERATIONS.chunks(64)) {
            let mut bits = 0;
            for (bit, row) in rows.iter().enumerate() {
                let has = row.types.meets(device.device_type().types());
                if has && (absent || (row.supported)(device)) {
                    bits |= 1 << bit;
                }
            }
            word.store(bits, Ordering::Relaxed);
        }
    }

    /// Whether row number `index` of [`OPERATIONS`] is supported.
    #[inline]
    pub(crate) fn has(&self, index: usize) -> bool {
        self.bits.get(index / 64).is_some_and(|word| word.load(Ordering::Relaxed) >> (index % 64) & 1 == 1)
    }

    /// Whether `row` is supported.
    pub(crate) fn contains(&self, row: &OpCode) -> bool {
        let (first, rows) = rows_of(row.opcode);
        rows.iter().position(|r| key(r) == key(row)).is_some_and(|index| self.has(first + index))
    }
}
