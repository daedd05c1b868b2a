//! scstu: an iSCSI target that runs in user mode.
//!
//! This is the map: layers, invariants, the way of a READ, names, limits; behind it, made from the source,
//! what is where, and every command, key and attribute.
//!
//! # Layers
//! A module names only itself and modules to its left (`tests/layers.rs` checks it):
//!
//! ```text
//! bytes limits names attr notice sys < wire < backstore < scsi < iscsi < model < server < mgmt
//! < instance < capi < bin
//! ```
//!
//! The path of a command is another: socket, `server`, `iscsi`, `scsi`, `backstore`. In SAM the transport
//! is a client of the SCSI layer, so `iscsi` knows `scsi` and not the reverse. What a lower layer needs of
//! a higher one is a trait that the lower declares: [`scsi::task::Reply`] (a finished task; the connection
//! implements it), [`scsi::device::Dispatch`] (tasks that may run now; the worker pool),
//! [`scsi::device::StateStore`] (what survives a restart; `model::store`), [`iscsi::directory::Directory`]
//! and [`iscsi::attachment::Host`] (who may log in where, and sees what; the model).
//!
//! # Invariants
//! 1. `wire`, `scsi` and `iscsi` do no I/O, read no clock, start no thread: time and randomness are
//!    parameters (`tests/tidy.rs`). So `tests/pair.rs` plays initiator and target without either.
//! 2. A worker never waits for a socket; a connection's thread never waits for a medium.
//! 3. Every admitted command is answered exactly once: a [`scsi::task::Task`] that is dropped answers.
//!    `capi::interleavings` goes through the orders in which it can be completed, aborted, stopped and freed.
//! 4. No lock is held across a call that can block. With a unit's state locked no store is written, and read
//!    only what it has at hand ([`backstore::Capabilities::AT_HAND`]). Order of locks: model, a device's
//!    holds, its state, its nexuses' unit attentions, an outbox. A unit's state and the stock of buffers,
//!    which nearly every command takes, have a [`sys::lock::Lock`]: who has it may lose the processor, and
//!    hundreds of threads then wait.
//! 5. What `wire` has parsed is in range; no panic is reachable from a peer's bytes, and one in our code
//!    costs its command (HARDWARE ERROR) or its connection, never the process.
//! 6. The model is the only truth: files, sockets and the C API change it by [`model::Change`] and keep
//!    nothing.
//! 7. `unsafe` is in the system calls (`sys`), in the C boundary (`capi`) and in the host of tcmu-runner's
//!    handlers ([`backstore::tcmu`]); each block is one operation and says why it is sound (`tests/tidy.rs`,
//!    clippy).
//! 8. Every queue, list and buffer has a limit with a name, so that memory can be computed on paper.
//! 9. Of two tasks that touch the same blocks, one of them writing, the younger waits; what changes the unit
//!    counts as writing all of it. An aborted write that is out keeps its blocks until it has come back
//!    ([`scsi::target`], `scsi::task_set`). A nexus that is lost admits nothing more, whatever its connection
//!    has received, nor does a LUN that is taken away.
//!    A change and the unit attention that tells it become visible to commands at once. A read whose data go
//!    out as a file's own pages keeps its blocks from writers until its initiator acknowledges it, an abort
//!    or the end of the session releases them, or a limit in time has passed ([`scsi::loan`]).
//! 10. What the mode pages say of the cache is what the backstore does; after a failed flush it is failed
//!     ([`backstore::file`]).
//!
//! # The way of a READ
//! 1. [`server::serving`]: the connection's thread gets bytes, many requests with one system call; before it
//!    sleeps it looks for more, while that costs about no more than sleeping ([`server::spin`]).
//! 2. [`iscsi::receive::Receiver`] cuts them into PDUs (`want`, `got`), checks digests and the order of
//!    CmdSN, and has the command ([`iscsi::receive::Receiver::command`]); one that is nothing but a header it
//!    takes in one step ([`iscsi::receive::Receiver::plain_command`], `server::front`). What admission looks
//!    at of the units of those behind it comes into the processor's cache meanwhile
//!    ([`scsi::nexus::Nexus::look_ahead`]).
//! 3. [`scsi::entrance`], which makes a task that is over the next command's, has [`scsi::target`] find the
//!    row in `scsi::ops`, check the CDB's bits, reservations, unit attentions, readiness and the range of
//!    blocks, and put a [`scsi::task::Task`] into the unit's task set, where one that awaits no data and no
//!    other thread begins at once. A short read from memory ends there (`scsi::target::at_once`): what
//!    follows of 4 to 6 is done for it under the lock that admits it.
//! 4. [`scsi::execute::start`]: an older task in its way makes it wait there. Otherwise it runs at once if
//!    the store never blocks, is tried at once if the blocks may be in memory, and goes to [`server::pool`]
//!    if not.
//! 5. [`scsi::execute::execute`] calls the row's function, which reads through [`backstore::gate::Gate`]
//!    into the task's [`backstore::buffer::Buffer`]; small ones a thread keeps until it sleeps
//!    ([`backstore::spare`]). A large one may be given a file's own pages instead ([`backstore::lent`]).
//! 6. [`scsi::execute::finish`] takes it out of the task set, but for the blocks of lent pages, starts what
//!    waited for it, and replies.
//! 7. [`server::outbox`]: under its lock [`iscsi::send::Sender`] cuts Data-In PDUs with the status in the
//!    last one; they leave in one `sendmsg` with what else is there, large data from where the command left
//!    it, small data behind its header ([`iscsi::queue`]); pages leave between two of these by `splice`
//!    ([`sys::pipe`]), from the library's own threads only. What the socket does not take is left to the
//!    connection's thread.
//!
//! Where a unit's last tasks were quicker than a thread wakes, one worker carries them all out and holds the
//! outbox meanwhile (`server::lane`). Threads that copy megabytes let others have their turn between pieces
//! ([`backstore::piece`]). With an asynchronous backstore 5 is the row's `submit`: it names one
//! request after the other, and whoever completes one goes on with the task.
//!
//! A WRITE differs in 3: the receiver fetches its data (immediate, unsolicited, by R2T) into its buffer
//! first, after everything that can be refused was; [`iscsi::action::Action::Execute`] follows the last
//! byte. A short one, all of which is in the receive buffer, is taken in one step as well
//! ([`iscsi::receive::Receiver::whole_command`]): if its store never blocks and nothing older is in
//! its way, it is mostly carried out from there; otherwise its data moves to a buffer first.
//!
//! # Names
//! The standards' nouns, in full. Short forms that are used: lba, lun, cdb, pdu, bhs, ahs, isid, tsih, cid,
//! itt, ttt, vpd, nop, r2t, pr, alua, itl (an I_T_L nexus), usn, naa, eui, and the sequence numbers
//! `cmd_sn`, `exp_cmd_sn`, `max_cmd_sn`, `stat_sn`, `exp_stat_sn`, `data_sn`, `r2t_sn`. A *command* is what
//! was received, a *task* the answer owed, a *nexus* an I_T nexus, a *device* a logical unit, a *LUN* only
//! its number. In and out are as the initiator sees them. Attributes, verbs and objects are spelled as SCST
//! spells them.
//!
//! # Limits
//! [`limits`] has those of the protocol, [`scsi::limits`] those of one command; the others stand where they
//! act: [`server::LOGIN_LIMIT`], [`server::sessions::SESSION_LIMIT`], [`server::pool::STUCK_AFTER`],
//! [`server::outbox::HIGH_WATER_BYTES`], [`backstore::buffer::LARGEST`], [`backstore::lent::PIPES`],
//! [`backstore::ram::MAX_BYTES`], [`backstore::buffer::MODEST`],
//! [`backstore::declared::ROW_LIMIT`], [`scsi::lun::MAX_LUN`], [`scsi::nexus::AHEAD`],
//! [`scsi::reservation::REGISTRATION_LIMIT`],
//! [`scsi::unit_attention::LIMIT`], [`model::OBJECT_LIMIT`], [`model::NAME_LIMIT`],
//! [`mgmt::conf::FILE_LIMIT`], [`mgmt::control::CONNECTION_LIMIT`], [`mgmt::control::LINE_LIMIT`]. The memory
//! for command data is one pool with one budget, [`server::ServerOptions::buffer_budget`]; answers of up to
//! [`iscsi::queue::SMALL`] bytes that wait for their initiator lie in the outbox.
#![doc = include_str!("tables.md")]
#![warn(missing_docs)]

pub mod attr;
pub mod bytes;
pub mod limits;
pub mod names;
pub mod notice;
pub mod sys;

pub mod wire;

pub mod backstore;
pub mod iscsi;
pub mod scsi;

pub mod model;
pub mod server;

pub mod mgmt;

pub mod instance;

pub mod capi;
