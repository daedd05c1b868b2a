//! What the receiving half does when time has passed, or when the initiator is to say something.

use std::time::Instant;

use crate::iscsi::action::Action;
use crate::iscsi::error::ProtocolError;
use crate::iscsi::receive::Receiver;
use crate::iscsi::send::Outgoing;

impl<T> Receiver<T> {
    /// When [`Receiver::expired`] wants to be called next.
    pub fn deadline(&self) -> Option<Instant> {
        let Some(full) = &self.full else { return Some(self.login_deadline) };
        [full.silence.deadline(), self.turns.deadline(), self.arrivals.deadline()].into_iter().flatten().min()
    }

    /// Looks at the deadlines: asks a silent initiator, gives up one that does not answer.
    pub fn expired(&mut self, now: Instant, actions: &mut Vec<Action<T>>) -> Result<(), ProtocolError> {
        self.now = now;
        let Some(full) = &mut self.full else {
            return if now >= self.login_deadline { Err(ProtocolError::LoginTimeout) } else { Ok(()) };
        };
        if self.turns.deadline().is_some_and(|deadline| now >= deadline) {
            return Err(ProtocolError::CommandGap);
        }
        if let Some(ttt) = full.silence.expired(now)? {
            actions.push(Action::Send(Outgoing::Ping { ttt }));
        }
        self.arrivals.expired(full.response_timeout, now)
    }

    /// The initiator has taken some of what it is sent: it is there, as if it had said something.
    pub fn is_there(&mut self, now: Instant) {
        if let Some(full) = &mut self.full {
            full.silence.input(now);
        }
    }

    /// Has the initiator send something, so that it tells what it has received, unless it is asked already.
    pub fn ask(&mut self, actions: &mut Vec<Action<T>>) {
        if let Some(ttt) = self.full.as_mut().and_then(|full| full.silence.ask()) {
            actions.push(Action::Send(Outgoing::Ping { ttt }));
        }
    }

    /// Whether an answer to a NOP-In is awaited.
    pub fn is_asking(&self) -> bool {
        self.full.as_ref().is_some_and(|full| full.silence.is_asking())
    }

    /// Changes the NOP-In timers of a connection in full feature phase, in seconds.
    pub fn set_nop_in(&mut self, interval: u32, timeout: u32) {
        if let Some(full) = &mut self.full {
            full.silence.set(interval, timeout);
        }
    }
}
