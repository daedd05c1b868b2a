//! Commands to the unit itself: TEST UNIT READY.

use crate::scsi::opcode::{Allow, CONTROL, OpCode, Order, Types};

/// TEST UNIT READY (SPC-4). Readiness was checked on admission.
pub(crate) const TEST_UNIT_READY: OpCode = OpCode {
    opcode: 0x00,
    name: "TEST UNIT READY",
    types: Types::ALL,
    usage: &[0, 0, 0, 0, CONTROL],
    allow: Allow::RESERVED.and(Allow::PERSISTENT_RESERVATION),
    order: Order::AtOnce,
    execute: |_| Ok(()),
    ..OpCode::BLANK
};
