//! How the thread of a connection waits: for input, for room in the socket, for deadlines.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::backstore::spare;
use crate::iscsi::error::ProtocolError;
use crate::iscsi::key::KeyId;
use crate::iscsi::send::Outgoing;
use crate::server::connection::{Connection, FullFeature};
use crate::server::nagle::{Nagle, Statistics, Switch};
use crate::server::outbox::HIGH_WATER_BYTES;
use crate::server::serving::{Blocked, End, Overdue, Serving};
use crate::server::sessions::Closer;
use crate::server::spin::Figures;
use crate::sys::{socket, thread};

/// How long what is queued may take to leave after a logout.
const LINGER: Duration = Duration::from_secs(5);
/// While the next receive call is likely to bring something at once: bytes received until the answers leave.
/// An answer that leaves by itself wakes the initiator, which costs more than to look.
const GATHER_BYTES: usize = 512 * 1024;
/// A connection whose thread has slept for so long between two requests gives its memory back before it
/// sleeps again: it may be one that only asks now and then whether the target is still there.
const QUIET: Duration = Duration::from_secs(1);
/// How long pages may stay unacknowledged before the initiator is asked.
const LOAN: Duration = Duration::from_millis(10);
/// How long pages that have left may stay unacknowledged by an initiator that sends nothing.
const LOAN_LIMIT: Duration = Duration::from_secs(5);
/// How often a thread that waits for commands to end looks whether they were answered with pages.
const LOOK_FOR_LOANS: Duration = Duration::from_millis(100);
/// How long part of a command with its data lies where it was received at most. The rest of it follows within
/// a millisecond, or the initiator has stopped, or its link is slow.
const REST: Duration = Duration::from_millis(100);
/// Shortest wait: what is due within it is due.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// Time-outs of the socket are set again only when they move by more than this.
const TIMEOUT_SLACK: Duration = Duration::from_millis(500);

impl Serving<'_> {
    /// Waits until there is something to read; sends what is queued meanwhile.
    pub(super) fn await_input(&mut self) -> Result<(), End> {
        let connection = Arc::clone(&self.connection);
        let Some(full) = connection.full() else { return self.await_login_input() };
        if self.gathers_on(full) && self.receive(false)? {
            return Ok(());
        }
        self.input.count_anew();
        self.gathered = 0;
        if self.end_if_reset() {
            return Ok(());
        }
        self.hold_to_deadlines()?;
        full.outbox.uncork();
        self.take_over_values();
        if full.outbox.has_loans() {
            self.note_loans(full);
        }
        if !self.is_input_near(full)? {
            self.sleep_until_input(&connection, full)?;
        }
        full.outbox.cork();
        Ok(())
    }

    /// Whether to look for more before the answers leave. Where commands are short, half of those that the
    /// initiator keeps out are answered together: it sends more while the others are carried out. One that is
    /// asked for data is to hear of it.
    fn gathers_on(&self, full: &FullFeature) -> bool {
        let is_short = || {
            self.input.has_more()
                && self.receiver.arriving() == 0
                && full.outbox.gathers_on(self.receiver.exp_stat_sn())
        };
        self.input.since() < GATHER_BYTES && (self.input.is_bulk() || is_short())
    }

    /// What the administrator has changed since the login and is not negotiated.
    fn take_over_values(&mut self) {
        let Some(values) = self.connection.take_values() else { return };
        self.receiver.set_nop_in(values[KeyId::NopInInterval], values[KeyId::NopInTimeout]);
        if let Some(established) = &mut self.established {
            established.response_timeout = Duration::from_secs(u64::from(values[KeyId::RspTimeout]));
        }
    }

    /// Looks for input without sleeping, where that is wanted.
    fn is_input_near(&mut self, full: &FullFeature) -> Result<bool, End> {
        if self.nagle.is_some() {
            self.look_at_functions();
            if self.receive(false)? {
                return Ok(true);
            }
            self.with_nagle(Nagle::idle)?;
        }
        if !self.may_look(full) {
            return Ok(false);
        }
        let until = Instant::now() + self.spin.limit();
        let mut is_here = self.receive(false)?;
        while !is_here && self.now < until {
            // Whoever else wants this processor goes first.
            std::thread::yield_now();
            is_here = self.receive(false)?;
        }
        if let Some(established) = &self.established {
            let statistics = &established.session.statistics;
            statistics.polls.fetch_add(1, Ordering::Relaxed);
            statistics.poll_hits.fetch_add(u64::from(is_here), Ordering::Relaxed);
        }
        self.spin.looked(is_here);
        Ok(is_here)
    }

    /// Whether to look for input before the thread sleeps.
    fn may_look(&mut self, full: &FullFeature) -> bool {
        let busy = &self.shared.busy;
        let millisecond = busy.millisecond(self.now);
        if millisecond != std::mem::replace(&mut self.busy_in, millisecond) {
            busy.mark(millisecond);
        }
        if !self.spin.is_on() {
            return false;
        }
        if self.spin.is_due() {
            self.spin.compare(Figures { time: thread::cpu_time(), pdus: self.receiver.pdus() });
        }
        if !self.spin.looks() {
            return false;
        }
        // Functions have deadlines, which a sleep looks at.
        let is_free = self.functions.is_empty() && !full.outbox.is_blocked() && busy.has_room(millisecond);
        if !is_free {
            self.spin.pause();
        }
        is_free
    }

    /// Lets the history decide over TCP_NODELAY.
    pub(super) fn with_nagle(
        &mut self,
        decide: impl FnOnce(&mut Nagle, &Statistics) -> Switch,
    ) -> Result<(), End> {
        let (Some(nagle), Some(established)) = (&mut self.nagle, &self.established) else { return Ok(()) };
        let switch = decide(nagle, &established.session.statistics);
        let socket = &self.connection.socket;
        if matches!(switch, Switch::Flush | Switch::FlushAndGather) {
            socket.set_nodelay(true)?;
        }
        if matches!(switch, Switch::Gather | Switch::FlushAndGather) {
            socket.set_nodelay(false)?;
        }
        Ok(())
    }

    fn sleep_until_input(&mut self, connection: &Connection, full: &FullFeature) -> Result<(), End> {
        self.entrance.rest();
        spare::give_back();
        if self.is_quiet {
            self.input.rest();
            full.outbox.rest();
        }
        let asleep = self.now;
        let waited = self.sleep(connection, full);
        self.is_quiet = self.now.saturating_duration_since(asleep) >= QUIET;
        waited
    }

    fn sleep(&mut self, connection: &Connection, full: &FullFeature) -> Result<(), End> {
        if !self.spin.is_on() {
            return self.wait_for_input(connection, full);
        }
        let start = Instant::now();
        let waited = self.wait_for_input(connection, full);
        self.spin.slept(self.now.saturating_duration_since(start));
        waited
    }

    fn wait_for_input(&mut self, connection: &Connection, full: &FullFeature) -> Result<(), End> {
        // Behind part of a command there is mostly nothing yet.
        let (mut tried, mut waited) = (!self.input.is_empty(), false);
        loop {
            if let Some(reason) = connection.close_reason() {
                return Err(End::Closed(reason));
            }
            self.take_over_values();
            self.look_at_functions();
            if self.end_if_reset() {
                break;
            }
            if full.window.owes_update_at_rest() {
                connection.send(&Outgoing::WindowUpdate);
            }
            // Nothing is out that could leave output behind: the socket is all there is to wait for.
            let is_settled = self.input.is_empty()
                && self.functions.is_empty()
                && full.is_settled(self.receiver.arriving());
            let is_alone = is_settled && !full.outbox.never_blocks();
            let blocked = !is_settled && full.outbox.is_blocked();
            self.check_blocked(blocked.then(|| full.outbox.taken()))?;
            if is_alone {
                if self.receive(true)? {
                    break;
                }
                continue;
            }
            let is_full = blocked && full.outbox.bytes() > HIGH_WATER_BYTES;
            // Where nothing is out, the initiator is to say what comes next, and mostly has not yet.
            tried |= is_settled && !waited;
            if !is_full && !tried && self.receive(false)? {
                break;
            }
            let patience = self.patience(full);
            let timeout = self.poll_timeout().into_iter().chain(patience).chain(self.rest()).min();
            let socket = Arc::clone(&connection.socket);
            let ready = socket::wait(socket.as_fd(), full.outbox.wake(), !is_full, blocked, timeout)?;
            self.now = Instant::now();
            waited = true;
            if ready.woken {
                full.outbox.wake().clear();
            }
            if ready.writable {
                full.outbox.resume();
            }
            tried = !ready.readable;
            if tried && self.rest().is_some_and(|left| left <= TICK) {
                self.take_pieces()?;
            }
            if ready == socket::Ready::default() {
                self.look_at_loans(full);
                self.expired()?;
            }
        }
        Ok(())
    }

    /// How long to wait before loans are looked at again: who is kept from writing may be the initiator
    /// itself. A worker may send pages while this thread sleeps, and does not wake it.
    fn patience(&mut self, full: &FullFeature) -> Option<Duration> {
        if !full.outbox.never_blocks() {
            return None;
        }
        // A tag is freed under the lock under which its loan is taken in, so it is looked at first.
        let is_idle = full.tags.is_empty();
        let Some(waited) = self.note_loans(full) else { return (!is_idle).then_some(LOOK_FOR_LOANS) };
        Some(if self.receiver.is_asking() { LOAN_LIMIT.saturating_sub(waited).max(LOAN) } else { LOAN })
    }

    /// Since when the oldest pages that have left are not acknowledged; `None` without any. An initiator that
    /// sends but does not acknowledge is not waited for either.
    fn note_loans(&mut self, full: &FullFeature) -> Option<Duration> {
        let Some((oldest, youngest, has_left)) = full.outbox.waiting_loans() else {
            self.overdue = None;
            return None;
        };
        let known = self.overdue.filter(|overdue| has_left && overdue.oldest == oldest);
        let overdue = *self.overdue.insert(known.unwrap_or(Overdue { oldest, youngest, since: self.now }));
        let waited = self.now.saturating_duration_since(overdue.since);
        if waited >= 2 * LOAN_LIMIT {
            full.outbox.forgive(overdue.youngest);
        }
        Some(waited)
    }

    /// Nothing has come for a while: asks the initiator to acknowledge what it has. One that does not, and to
    /// which all has left, holds up others for a bounded time; what is written then, it may receive.
    fn look_at_loans(&mut self, full: &FullFeature) {
        if !full.outbox.has_loans() {
            return;
        }
        self.receiver.ask(&mut self.actions);
        let is_over = |overdue: &Overdue| self.now.saturating_duration_since(overdue.since) >= LOAN_LIMIT;
        if let Some(overdue) = self.overdue.take_if(|overdue| is_over(overdue)) {
            full.outbox.forgive(overdue.youngest);
        }
    }

    fn await_login_input(&mut self) -> Result<(), End> {
        while !self.receive(true)? {}
        Ok(())
    }

    /// One receive call; `false` when nothing came in time.
    fn receive(&mut self, wait: bool) -> Result<bool, End> {
        if wait {
            self.arm()?;
        }
        let socket = Arc::clone(&self.connection.socket);
        let filled = self.input.fill(socket.as_fd(), self.receiver.want(), wait);
        self.now = Instant::now();
        match filled {
            Ok(None) => Err(End::PeerClosed),
            Ok(Some(0)) => {
                self.check_login_deadline()?;
                Ok(true)
            }
            Ok(Some(direct)) => {
                if self.input.owes_turn() {
                    std::thread::yield_now();
                }
                self.got(direct)?;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if wait {
                    self.timeout = None;
                    self.expired()?;
                }
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(End::Io(error)),
        }
    }

    /// The login deadline is total: bytes that trickle in do not move it.
    fn check_login_deadline(&mut self) -> Result<(), End> {
        if self.established.is_none() {
            Ok(self.receiver.expired(self.now, &mut self.actions)?)
        } else {
            Ok(())
        }
    }

    /// An initiator that goes on sending keeps its deadlines too. While there may be more that it has sent,
    /// it may have kept them.
    fn hold_to_deadlines(&mut self) -> Result<(), End> {
        let is_due = self.receiver.deadline().is_some_and(|at| self.now >= at);
        if is_due && !self.input.is_full() { self.look_at_deadlines() } else { Ok(()) }
    }

    #[cold]
    fn look_at_deadlines(&mut self) -> Result<(), End> {
        self.receiver.expired(self.now, &mut self.actions)?;
        self.perform_all()
    }

    fn expired(&mut self) -> Result<(), End> {
        self.input.rest();
        self.look_at_deadlines()?;
        if let Some(full) = self.connection.full() {
            full.outbox.uncork();
            full.outbox.rest();
        }
        Ok(())
    }

    /// Sets the receive time-out to the next deadline, unless it is about that already.
    fn arm(&mut self) -> Result<(), End> {
        let wanted = self.receiver.deadline().map(|at| at.saturating_duration_since(self.now).max(TICK));
        let is_near = match (wanted, self.timeout) {
            (Some(wanted), Some(set)) => wanted.abs_diff(set) <= TIMEOUT_SLACK,
            (None, None) => true,
            _ => false,
        };
        if !is_near {
            self.connection.socket.set_read_timeout(wanted)?;
            self.timeout = wanted;
        }
        Ok(())
    }

    /// How much longer part of a command may lie where it was received, if some does; at least [`TICK`].
    pub(super) fn rest(&self) -> Option<Duration> {
        let since = self.part_since.filter(|_| !self.input.is_empty())?;
        Some(REST.saturating_sub(self.now.saturating_duration_since(since)).max(TICK))
    }

    /// The initiator is slow in the middle of a command: the receiver is given what is here, and its
    /// deadlines for data begin.
    fn take_pieces(&mut self) -> Result<(), End> {
        self.part_since = None;
        while !self.input.is_empty() {
            self.take_piece()?;
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Duration> {
        let functions = self.functions.iter().map(|(at, _)| *at).min();
        let blocked = self
            .blocked
            .zip(self.established.as_ref())
            .map(|(blocked, e)| blocked.since + e.response_timeout);
        [self.receiver.deadline(), functions, blocked]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at.saturating_duration_since(self.now).max(TICK))
    }

    fn look_at_functions(&mut self) {
        let now = self.now;
        let totals = &self.shared.totals;
        self.functions.retain(|(at, function)| {
            if now >= *at && !function.is_answered() {
                totals.functions_given_up.fetch_add(1, Ordering::Relaxed);
                function.give_up();
            }
            !function.is_answered()
        });
    }

    /// An initiator that has not taken anything for RspTimeout is given up; one that takes is there, though
    /// what it says may lie unread behind what it asked for. `taken` is what it has, while output is blocked.
    fn check_blocked(&mut self, taken: Option<usize>) -> Result<(), End> {
        let Some(taken) = taken else {
            self.blocked = None;
            return Ok(());
        };
        let before = self.blocked.filter(|blocked| blocked.taken == taken);
        if before.is_none() {
            self.receiver.is_there(self.now);
        }
        let Blocked { since, .. } =
            *self.blocked.insert(before.unwrap_or(Blocked { taken, since: self.now }));
        let limit = self.established.as_ref().map(|e| e.response_timeout);
        match limit {
            Some(limit) if self.now.duration_since(since) >= limit => {
                Err(End::Protocol(ProtocolError::ResponseTimeout))
            }
            _ => Ok(()),
        }
    }

    /// Sends what is queued, for a bounded time.
    pub(super) fn linger(&mut self) {
        let Some(full) = self.connection.full() else { return };
        let until = Instant::now() + LINGER;
        full.outbox.uncork();
        // What another thread is sending is in nobody's queue.
        while !full.outbox.is_settled() && Instant::now() < until {
            std::thread::yield_now();
            let left = until.saturating_duration_since(Instant::now());
            let socket = Arc::clone(&self.connection.socket);
            match socket::wait(socket.as_fd(), full.outbox.wake(), false, true, Some(left)) {
                Ok(ready) if ready.writable => full.outbox.resume(),
                Ok(_) => full.outbox.wake().clear(),
                Err(_) => break,
            }
        }
    }
}
