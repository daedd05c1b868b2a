//! SYNCHRONIZE CACHE (10) and (16) (SBC-3).

use crate::scsi::cdb::{Field, field};
use crate::scsi::opcode::{Access, CONTROL, Count, Medium, OpCode, Request, Run, Step};
use crate::scsi::ops::read::GROUP;
use crate::scsi::task::{Context, Failure};

const SYNCHRONIZE_CACHE: OpCode =
    OpCode { run: Run::Worker, execute: synchronize_cache, submit: Some(flush_step), ..OpCode::BLANK };

const fn range(lba: Field, count: Field) -> Medium {
    Medium::Blocks { access: Access::Read, lba, count: Count::ZeroIsRest(count) }
}

/// SYNCHRONIZE CACHE (10). With IMMED it is answered no earlier: nobody loses by that.
pub(crate) const SYNCHRONIZE_CACHE_10: OpCode = OpCode {
    opcode: 0x35,
    name: "SYNCHRONIZE CACHE(10)",
    usage: &[0x06, 0xff, 0xff, 0xff, 0xff, GROUP, 0xff, 0xff, CONTROL],
    medium: range(field(2, 4), field(7, 2)),
    ..SYNCHRONIZE_CACHE
};

/// SYNCHRONIZE CACHE (16).
pub(crate) const SYNCHRONIZE_CACHE_16: OpCode = OpCode {
    opcode: 0x91,
    name: "SYNCHRONIZE CACHE(16)",
    usage: &[0x06, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, GROUP, CONTROL],
    medium: range(field(2, 8), field(10, 4)),
    ..SYNCHRONIZE_CACHE
};

fn flush_step(_: &mut Context<'_>) -> Result<Step, Failure> {
    Ok(Step::Ask(Request::flush(None)))
}

fn synchronize_cache(context: &mut Context<'_>) -> Result<(), Failure> {
    Ok(context.gate()?.flush()?)
}
