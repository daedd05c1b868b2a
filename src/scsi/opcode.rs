//! One row per command: what it looks like, what it does to the medium, when it may run, what runs it.
//!
//! # How to add a command
//! Write `pub(crate) const NAME: OpCode = OpCode { .. }` and its function in the fitting `ops/*.rs`, and add
//! the name to the list in `ops/mod.rs`. CDB length and reserved bits are checked from `usage`; REPORT
//! SUPPORTED OPERATION CODES, reservations, write protection, LBA range, ordering and the VPD bits that
//! announce the command follow from the row. A row left out of the list does not compile.

use crate::backstore::io::Operation;
use crate::scsi::cdb::{Cdb, Field, MAX_LENGTH};
use crate::scsi::device::Device;
use crate::scsi::sense::Sense;
use crate::scsi::task::{Context, Failure};

/// CONTROL byte: NACA may be set and is refused by the row check, as NormACA is 0.
pub(crate) const CONTROL: u8 = 0x04;

/// The function that carries a command out. It runs to completion on one thread.
pub(crate) type Execute = fn(&mut Context<'_>) -> Result<(), Failure>;

/// Which of a command's buffers goes with a request; the request's bytes are its first ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Memory {
    /// None.
    None,
    /// What the initiator gets, or what the command keeps for itself ([`Context::keep`]).
    In,
    /// What the initiator has sent.
    Out,
}

/// What a command asks of a backstore that answers later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Operation.
    pub(crate) operation: Operation,
    /// First byte.
    pub(crate) offset: u64,
    /// Number of bytes.
    pub(crate) length: u64,
    /// Its buffer.
    pub(crate) memory: Memory,
    /// [`Context::progress`] when it has been answered, above what it is now; `None` when the command is over
    /// then.
    pub(crate) next: Option<u64>,
}

impl Request {
    /// Everything so far is to be on stable storage; after that, `next`.
    pub(crate) const fn flush(next: Option<u64>) -> Self {
        Request { operation: Operation::Flush, offset: 0, length: 0, memory: Memory::None, next }
    }
}

/// What a command does next at a backstore that answers later.
pub(crate) enum Step {
    /// It asks, and no thread waits for the answer.
    Ask(Request),
    /// It is over.
    Done,
    /// [`OpCode::execute`] carries it out, on a thread that may wait. Only as the first step.
    Wait,
}

/// The next step of a command, [`Context::progress`] telling how far it is. Runs on a worker or on the thread
/// that has received the command, and waits for nothing.
pub(crate) type Submit = fn(&mut Context<'_>) -> Result<Step, Failure>;

/// Bytes that a command moves, as its CDB says; the initiator may expect more or less.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Transfer {
    /// To the initiator.
    pub data_in: u64,
    /// From the initiator.
    pub data_out: u64,
}

/// How the amount of data follows from the CDB.
#[derive(Clone, Copy)]
pub(crate) enum Data {
    /// None.
    None,
    /// At most ALLOCATION LENGTH bytes to the initiator.
    In(Field),
    /// PARAMETER LIST LENGTH bytes from the initiator.
    Out(Field),
    /// The blocks of `medium`, to the initiator.
    BlocksIn,
    /// The blocks of `medium`, from the initiator.
    BlocksOut,
    /// What the initiator has announced: what the CDB means only the medium knows.
    Announced,
    /// Neither: the function reads the CDB, given the logical block length in bytes.
    Custom(fn(&Cdb, u32) -> Transfer),
}

/// What is done to the medium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Blocks are read or looked at.
    Read,
    /// Blocks may change: refused when write protected.
    Write,
}

/// How the number of blocks is written in the CDB.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Count {
    /// Zero means none.
    Plain(Field),
    /// Zero means 256 (the six-byte commands).
    ZeroIs256(Field),
    /// Zero means up to the end of the medium.
    ZeroIsRest(Field),
}

/// Which part of the medium a command touches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Medium {
    /// None of it.
    None,
    /// One run of blocks, checked against the capacity before anything else is done.
    Blocks { access: Access, lba: Field, count: Count },
    /// Blocks of the units that the parameter list names; the function claims them. Task management waits for
    /// it as for a write.
    Elsewhere,
    /// Anything: for ordering it counts as the whole medium; the function checks its own ranges.
    Whole(Access),
    /// None of it, but what the unit is or does: for ordering, and for task management, the whole medium
    /// changes; write protection keeps nobody from it.
    Unit,
}

impl Medium {
    /// Whether blocks may change.
    pub(crate) const fn writes(self) -> bool {
        matches!(self, Medium::Blocks { access: Access::Write, .. } | Medium::Whole(Access::Write))
    }

    /// Whether it leaves behind what cannot be called back.
    pub(crate) const fn changes(self) -> bool {
        self.writes() || matches!(self, Medium::Elsewhere | Medium::Unit)
    }
}

/// Conditions under which a command runs although others would be refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allow(u32);

impl Allow {
    /// Nothing out of the ordinary.
    pub(crate) const NOWHERE: Allow = Allow(0);
    /// A pending unit attention is not reported by this command (SPC-4: INQUIRY, REPORT LUNS, REQUEST SENSE).
    pub(crate) const UNIT_ATTENTION: Allow = Allow(1);
    /// Without a medium, or while the backstore is closed.
    pub(crate) const NO_MEDIUM: Allow = Allow(1 << 1);
    /// At a LUN that is not there.
    pub(crate) const NO_LUN: Allow = Allow(1 << 2);
    /// In asymmetric access state standby.
    pub(crate) const STANDBY: Allow = Allow(1 << 3);
    /// In asymmetric access state unavailable or offline.
    pub(crate) const UNAVAILABLE: Allow = Allow(1 << 4);
    /// In asymmetric access state transitioning.
    pub(crate) const TRANSITIONING: Allow = Allow(1 << 5);
    /// While another nexus holds a RESERVE (6) or (10) reservation.
    pub(crate) const RESERVED: Allow = Allow(1 << 6);
    /// For a stranger under a Write Exclusive persistent reservation.
    pub(crate) const WRITE_EXCLUSIVE: Allow = Allow(1 << 7);
    /// For a stranger under an Exclusive Access persistent reservation.
    pub(crate) const EXCLUSIVE_ACCESS: Allow = Allow(1 << 8);
    /// While FORMAT UNIT or SANITIZE is running.
    pub(crate) const BACKGROUND: Allow = Allow(1 << 9);
    /// On any path, whatever others hold or the state of the unit is.
    pub(crate) const PERSISTENT_RESERVATION: Allow =
        Allow(Self::WRITE_EXCLUSIVE.0 | Self::EXCLUSIVE_ACCESS.0);

    /// Both.
    pub(crate) const fn and(self, other: Allow) -> Allow {
        Allow(self.0 | other.0)
    }

    /// Whether all of `other` is allowed.
    #[inline]
    pub(crate) const fn has(self, other: Allow) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Place among the other tasks of the task set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// As its task attribute says.
    AsSent,
    /// At once, in nobody's way: it neither waits for tasks nor holds them up.
    AtOnce,
    /// As if it were ORDERED: it changes what other commands mean.
    Ordered,
    /// As `AsSent`, and one at a time in the unit, whatever the nexus: it changes the reservations. It waits
    /// for no write that hangs, so that a nexus can be fenced.
    Exclusive,
    /// As `Ordered`; and what it began goes on, whatever becomes of the task: SANITIZE (SBC-3, 4.11).
    Outlives,
}

/// Where the function runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Run {
    /// On the thread that received it: it touches no medium, or asks to be moved with `WouldBlock`.
    Inline,
    /// On a worker, unless the backstore never blocks.
    Worker,
    /// On a thread of its own: it may take minutes.
    Apart,
}

/// Which peripheral device types have the command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Types(u8);

impl Types {
    /// Direct access block device (00h).
    pub(crate) const DISK: Types = Types(1);
    /// CD/DVD device (05h).
    pub(crate) const CDROM: Types = Types(2);
    /// Both.
    pub(crate) const ALL: Types = Types(3);

    /// Whether they have one in common.
    pub(crate) const fn meets(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }
}

/// A command.
#[derive(Clone, Copy)]
pub(crate) struct OpCode {
    /// OPERATION CODE.
    pub(crate) opcode: u8,
    /// SERVICE ACTION, for operation codes that have them.
    pub(crate) service_action: Option<u16>,
    /// Name as SPC and SBC print it.
    pub(crate) name: &'static str,
    /// Device types that have it.
    pub(crate) types: Types,
    /// Usable bits of bytes 1 and up, CONTROL last; its length fixes the length of the CDB.
    pub(crate) usage: &'static [u8],
    /// Bits of the CDB that must be zero: all but those of `usage` and the service action, and NACA.
    /// [`OpCode::complete`] derives it.
    pub(crate) refused: [u8; MAX_LENGTH],
    /// Data phase.
    pub(crate) data: Data,
    /// Medium access.
    pub(crate) medium: Medium,
    /// When it may run.
    pub(crate) allow: Allow,
    /// What it is allowed besides when its CDB says something harmless.
    pub(crate) allow_also: fn(&Cdb) -> Allow,
    /// Place in the task set.
    pub(crate) order: Order,
    /// Thread.
    pub(crate) run: Run,
    /// It does nothing but read its blocks, and may end where it is admitted.
    pub(crate) is_plain_read: bool,
    /// Whether this logical unit has it.
    pub(crate) supported: fn(&Device) -> bool,
    /// NOMINAL and RECOMMENDED COMMAND PROCESSING TIMEOUT in seconds.
    pub(crate) timeouts: (u32, u32),
    /// What runs it.
    pub(crate) execute: Execute,
    /// Its steps at a backstore that answers later; without, it runs on a worker that waits.
    pub(crate) submit: Option<Submit>,
}

impl OpCode {
    /// Defaults for a row to start from.
    pub(crate) const BLANK: OpCode = OpCode {
        opcode: 0,
        service_action: None,
        name: "",
        types: Types::DISK,
        usage: &[],
        refused: [0; MAX_LENGTH],
        data: Data::None,
        medium: Medium::None,
        allow: Allow::NOWHERE,
        allow_also: |_| Allow::NOWHERE,
        order: Order::AsSent,
        run: Run::Inline,
        is_plain_read: false,
        supported: |_| true,
        timeouts: (10, 30),
        execute: |_| Ok(()),
        submit: None,
    };

    /// The row with what is derived from the rest of it.
    pub(crate) const fn complete(mut self) -> OpCode {
        let mut index = 0;
        while index < self.usage.len() {
            let at = index + 1;
            let service_action = if self.service_action.is_some() && at == 1 { 0x1f } else { 0 };
            // NACA: a task that asks for auto contingent allegiance, which this unit lacks.
            let naca = if at == self.usage.len() && self.opcode != 0x7f { CONTROL } else { 0 };
            self.refused[at] = !(self.usage[index] | service_action) | naca;
            index += 1;
        }
        self
    }

    /// Refuses a CDB with bits outside `usage`, pointing at the first of them (SPC-4, 4.5.2.4.2).
    #[inline]
    pub(crate) fn check_bits(&self, cdb: &Cdb) -> Result<(), Sense> {
        // Nearly always nothing is wrong: no need to look for the place.
        if cdb.is_clear_of(&self.refused) { Ok(()) } else { Err(self.wrong_bit(cdb)) }
    }

    #[cold]
    fn wrong_bit(&self, cdb: &Cdb) -> Sense {
        let wrong = |at: usize| cdb.byte(at) & self.refused[at];
        let at = (0..MAX_LENGTH).find(|at| wrong(*at) != 0).unwrap_or(0);
        let bit = wrong(at).checked_ilog2().and_then(|bit| u8::try_from(bit).ok());
        Sense::invalid_field_in_cdb(u16::try_from(at).unwrap_or(0), bit)
    }

    /// Where the CDB says how much it moves.
    pub(crate) fn length_at(&self) -> u16 {
        let field = match (self.data, self.medium) {
            (Data::In(field) | Data::Out(field), _) => Some(field),
            (_, Medium::Blocks { count, .. }) => Some(match count {
                Count::Plain(field) | Count::ZeroIs256(field) | Count::ZeroIsRest(field) => field,
            }),
            _ => None,
        };
        field.map_or(0, |field| field.at.into())
    }

    /// Bytes that the CDB asks to move, `blocks` being what `medium` names.
    pub(crate) fn transfer(&self, cdb: &Cdb, blocks: u64, block_size: u32) -> Transfer {
        let bytes = blocks.saturating_mul(u64::from(block_size));
        match self.data {
            Data::None | Data::Announced => Transfer::default(),
            Data::In(field) => Transfer { data_in: cdb.get(field), data_out: 0 },
            Data::Out(field) => Transfer { data_in: 0, data_out: cdb.get(field) },
            Data::BlocksIn => Transfer { data_in: bytes, data_out: 0 },
            Data::BlocksOut => Transfer { data_in: 0, data_out: bytes },
            Data::Custom(transfer) => transfer(cdb, block_size),
        }
    }
}
