//! Whether the initiator is still there: NOP-In when it is silent, and how long its answer may take
//! (RFC 7143 11.19).

use std::time::{Duration, Instant};

use crate::iscsi::error::ProtocolError;

/// The watch over one connection.
#[derive(Debug)]
pub struct Silence {
    interval: Duration,
    timeout: Duration,
    last_input: Instant,
    /// Target transfer tag and time of the NOP-In that is not answered yet.
    ping: Option<(u32, Instant)>,
    /// Target transfer tag of one that was sent for another reason, and on whose answer nobody insists.
    question: Option<u32>,
    last_ttt: u32,
}

/// Target transfer tags of NOP-In are in the upper half, those of R2T in the lower. Neither is reserved.
const FIRST_TTT: u32 = 0x8000_0000;
const TTT_MASK: u32 = 0x3fff_ffff;

impl Silence {
    /// Asks after `interval` seconds of silence, never when that is 0, and gives up after `timeout` more.
    pub fn new(interval: u32, timeout: u32, now: Instant) -> Self {
        let mut silence = Silence {
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            last_input: now,
            ping: None,
            question: None,
            last_ttt: 0,
        };
        silence.set(interval, timeout);
        silence
    }

    /// Changes the times, in seconds.
    pub fn set(&mut self, interval: u32, timeout: u32) {
        self.interval = Duration::from_secs(u64::from(interval));
        self.timeout = Duration::from_secs(u64::from(timeout));
    }

    /// The initiator has sent something. Whether that is news: of what came together only the first is.
    #[inline]
    pub fn input(&mut self, now: Instant) -> bool {
        std::mem::replace(&mut self.last_input, now) != now
    }

    /// A NOP-Out answers the NOP-In with this target transfer tag.
    pub fn answered(&mut self, ttt: u32) {
        self.ping = self.ping.filter(|(asked, _)| *asked != ttt);
        self.question = self.question.filter(|asked| *asked != ttt);
    }

    /// When [`Silence::expired`] wants to be called. An initiator that goes on sending is there, even if it
    /// owes an answer.
    pub fn deadline(&self) -> Option<Instant> {
        match self.ping {
            Some((_, asked)) => Some(asked.max(self.last_input) + self.timeout),
            None if self.interval.is_zero() => None,
            None => Some(self.last_input + self.interval),
        }
    }

    /// The target transfer tag of a NOP-In, when it is time for one.
    pub fn expired(&mut self, now: Instant) -> Result<Option<u32>, ProtocolError> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(None);
        }
        if self.ping.is_some() {
            return Err(ProtocolError::NopInTimeout);
        }
        let ttt = self.next_ttt();
        self.ping = Some((ttt, now));
        Ok(Some(ttt))
    }

    fn next_ttt(&mut self) -> u32 {
        self.last_ttt = self.last_ttt.wrapping_add(1) & TTT_MASK;
        FIRST_TTT | self.last_ttt
    }

    /// The target transfer tag of a NOP-In that has the initiator say something; none while it owes an
    /// answer. That it is silent then is not held against it earlier than without.
    pub fn ask(&mut self) -> Option<u32> {
        if self.is_asking() {
            return None;
        }
        self.question = Some(self.next_ttt());
        self.question
    }

    /// Whether a NOP-In is not answered yet.
    pub fn is_asking(&self) -> bool {
        self.ping.is_some() || self.question.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7143_11_19_silence_is_asked_about_and_then_given_up() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut silence = Silence::new(30, 10, start);
        assert_eq!(silence.deadline(), Some(at(30)));
        assert_eq!(silence.expired(at(29)), Ok(None));
        let ttt = silence.expired(at(30)).unwrap().unwrap();
        assert_eq!(silence.expired(at(39)), Ok(None));
        silence.input(at(35));
        assert_eq!(silence.expired(at(44)), Ok(None), "it sends");
        silence.answered(ttt ^ 1);
        assert_eq!(silence.expired(at(45)), Err(ProtocolError::NopInTimeout), "not our tag");
        silence.answered(ttt);
        silence.input(at(45));
        assert_eq!(silence.deadline(), Some(at(75)));
    }

    #[test]
    fn an_interval_of_zero_never_asks() {
        let start = Instant::now();
        let mut silence = Silence::new(0, 10, start);
        assert_eq!(silence.deadline(), None);
        assert_eq!(silence.expired(start + Duration::from_secs(100_000)), Ok(None));
        let ttt = silence.ask().unwrap();
        assert_eq!((silence.ask(), silence.deadline()), (None, None), "nobody insists");
        silence.answered(ttt);
        assert!(silence.ask().is_some());
    }
}
