//! Operational negotiation (RFC 7143 6.2): offers, answers, declarations, results.
//!
//! Each negotiated key moves once: silent, or offered by us and then answered, or offered by the initiator
//! and answered at once. A second move fails the login.

use crate::iscsi::key::{Key, KeyId, Kind, Sender, Values};
use crate::iscsi::login_error::LoginError;
use crate::limits::MAX_UNKNOWN_KEYS;
use crate::wire::text::{self, Pair};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Move {
    /// Nobody has sent the key.
    Silent,
    /// We have offered our value and wait for the answer.
    Ours,
    /// Negotiated or declared.
    Settled,
}

/// One login's negotiation.
#[derive(Debug)]
pub struct Negotiation {
    is_discovery: bool,
    ours: Values,
    result: Values,
    moves: [Move; KeyId::COUNT],
    unknown: Vec<String>,
    has_declared: bool,
}

impl Negotiation {
    /// Begins with the standard's defaults in force and `ours` to offer.
    pub fn new(ours: Values, is_discovery: bool) -> Self {
        let mut ours = ours;
        // iSER needs another transport, whatever the attribute says.
        ours[KeyId::RDMAExtensions] = 0;
        // None is always acceptable: a target cannot force digests.
        ours[KeyId::HeaderDigest] |= 1;
        ours[KeyId::DataDigest] |= 1;
        Negotiation {
            is_discovery,
            ours,
            result: Values::standard(),
            moves: [Move::Silent; KeyId::COUNT],
            unknown: Vec::new(),
            has_declared: false,
        }
    }

    /// Takes one pair that is no declared text and writes the answer.
    pub fn receive(&mut self, pair: Pair<'_>, answer: &mut Vec<u8>) -> Result<(), LoginError> {
        let Some(key) = Key::find(pair.key) else { return self.not_understood(pair.key, answer) };
        if pair.value.len() > text::MAX_VALUE {
            return Err(LoginError::ValueTooLong(key.name));
        }
        match self.moves[key.id as usize] {
            Move::Silent => self.answer(key, pair.value, answer),
            Move::Ours => self.take_answer(key, pair.value),
            Move::Settled if key.kind == Kind::DeclareNumber => self.redeclare(key, pair.value),
            Move::Settled => Err(LoginError::DuplicateKey(key.name)),
        }
    }

    /// Declares what we receive, once.
    pub fn declare(&mut self, answer: &mut Vec<u8>) {
        if !self.has_declared {
            self.has_declared = true;
            push(answer, KeyId::MaxRecvDataSegmentLength.row(), self.ours[KeyId::MaxRecvDataSegmentLength]);
        }
    }

    /// Offers our value of every key that must not stay at its default.
    pub fn insist(&mut self, answer: &mut Vec<u8>) {
        for key in Key::attributes() {
            if self.must_offer(key) {
                push(answer, key, self.ours(key.id));
                self.moves[key.id as usize] = Move::Ours;
            }
        }
    }

    /// Whether there is anything to [`insist`](Self::insist) on.
    pub fn must_insist(&self) -> bool {
        Key::attributes().any(|key| self.must_offer(key))
    }

    /// What we accept of a key: a first burst is no longer than any (RFC 7143 13.14).
    fn ours(&self, key: KeyId) -> u32 {
        let ours = self.ours[key];
        if key != KeyId::FirstBurstLength {
            return ours;
        }
        let is_known = self.moves[KeyId::MaxBurstLength as usize] == Move::Settled;
        let burst = if is_known { self.result[KeyId::MaxBurstLength] } else { u32::MAX };
        ours.min(self.ours[KeyId::MaxBurstLength]).min(burst)
    }

    /// The initiator is silent on the key, and its default is above what we accept.
    fn must_offer(&self, key: &Key) -> bool {
        let is_relevant = !(self.is_discovery && key.irrelevant_in_discovery);
        let is_silent = self.moves[key.id as usize] == Move::Silent;
        key.insist && is_relevant && is_silent && self.ours(key.id) < key.rfc_default
    }

    /// Whether the initiator owes us an answer.
    pub fn has_unanswered(&self) -> bool {
        self.moves.contains(&Move::Ours)
    }

    /// The longest data segment that the initiator receives, as far as it has said so.
    pub fn initiator_segment_length(&self) -> u32 {
        self.result[KeyId::MaxRecvDataSegmentLength]
    }

    /// What is in force. MaxRecvDataSegmentLength is the initiator's; FirstBurstLength does not exceed
    /// MaxBurstLength.
    pub fn result(&self) -> Values {
        let mut result = self.result;
        let burst = result[KeyId::MaxBurstLength];
        let first = &mut result[KeyId::FirstBurstLength];
        *first = burst.min(*first);
        result
    }

    /// The longest data segment that we have told the initiator to send.
    pub fn our_segment_length(&self) -> u32 {
        let key = KeyId::MaxRecvDataSegmentLength;
        if self.has_declared { self.ours[key] } else { key.row().rfc_default }
    }

    fn not_understood(&mut self, key: &str, answer: &mut Vec<u8>) -> Result<(), LoginError> {
        if self.unknown.iter().any(|seen| seen == key) {
            return Err(LoginError::DuplicateUnknownKey);
        }
        if self.unknown.len() >= MAX_UNKNOWN_KEYS {
            return Err(LoginError::TooManyKeys);
        }
        self.unknown.push(key.to_owned());
        text::push_pair(answer, key, "NotUnderstood");
        Ok(())
    }

    fn answer(&mut self, key: &Key, value: &str, answer: &mut Vec<u8>) -> Result<(), LoginError> {
        self.moves[key.id as usize] = Move::Settled;
        if self.is_discovery && key.irrelevant_in_discovery {
            text::push_pair(answer, key.name, "Irrelevant");
            return Ok(());
        }
        match self.settle(key, value) {
            Some(result) => {
                self.result[key.id] = result;
                if key.kind != Kind::DeclareNumber {
                    push(answer, key, result);
                }
            }
            None => text::push_pair(answer, key.name, "Reject"),
        }
        Ok(())
    }

    /// The result of an offer; `None` when it is not admissible.
    fn settle(&self, key: &Key, value: &str) -> Option<u32> {
        if key.sender == Sender::Target {
            return None;
        }
        let ours = self.ours(key.id);
        match key.kind {
            Kind::And => text::boolean(value).map(|theirs| u32::from(theirs) & ours),
            Kind::Or => text::boolean(value).map(|theirs| u32::from(theirs) | ours),
            Kind::Min => {
                let theirs = capped(key, value)?;
                key.is_in_range(theirs).then_some(theirs.min(ours))
            }
            Kind::Max => {
                let theirs = u32::try_from(text::number(value)?).ok()?;
                key.is_in_range(theirs).then_some(theirs.max(ours))
            }
            Kind::Choice(words) => value.split(',').find_map(|word| {
                let place = words.iter().position(|known| *known == word)?;
                (ours >> place & 1 == 1).then_some(1 << place)
            }),
            Kind::DeclareNumber => {
                let theirs = capped(key, value)?;
                key.is_in_range(theirs).then_some(theirs)
            }
            Kind::DeclareText | Kind::Obsolete | Kind::Procedure => None,
            Kind::LocalNumber | Kind::LocalNumberOr(_) | Kind::LocalWord(_) => None,
        }
    }

    /// The initiator's answer to our offer must be the result of the result function.
    fn take_answer(&mut self, key: &'static Key, value: &str) -> Result<(), LoginError> {
        let theirs = key.parse(value).ok().filter(|&theirs| self.settle(key, value) == Some(theirs));
        self.result[key.id] = theirs.ok_or(LoginError::BadAnswer(key.name))?;
        self.moves[key.id as usize] = Move::Settled;
        Ok(())
    }

    fn redeclare(&mut self, key: &'static Key, value: &str) -> Result<(), LoginError> {
        if self.settle(key, value) == Some(self.result[key.id]) {
            Ok(())
        } else {
            Err(LoginError::DuplicateKey(key.name))
        }
    }
}

/// A number cut to the key's maximum. For minimum functions and for what the initiator can receive, a
/// number beyond the range has an admissible result, so it need not be rejected (RFC 7143 6.2).
fn capped(key: &Key, value: &str) -> Option<u32> {
    let number = text::number(value)?.min(u64::from(key.range.1));
    u32::try_from(number).ok()
}

fn push(answer: &mut Vec<u8>, key: &Key, value: u32) {
    text::push_pair(answer, key.name, &key.format(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is answered to these pairs, and then offered, by one that accepts bursts of so many bytes.
    fn answer(burst: u32, pairs: &[(&str, &str)]) -> (String, [u32; 2]) {
        let mut ours = Values::standard();
        (ours[KeyId::MaxBurstLength], ours[KeyId::FirstBurstLength]) = (burst, 1 << 20);
        let mut negotiation = Negotiation::new(ours, false);
        let mut answer = Vec::new();
        for (key, value) in pairs {
            negotiation.receive(Pair { key, value }, &mut answer).unwrap();
        }
        negotiation.insist(&mut answer);
        let result = negotiation.result();
        let text = String::from_utf8(answer).unwrap().replace('\0', " ");
        (text, [result[KeyId::MaxBurstLength], result[KeyId::FirstBurstLength]])
    }

    #[test]
    fn rfc7143_13_14_no_first_burst_is_agreed_on_beyond_the_longest() {
        let (most, first) = (("MaxBurstLength", "262144"), ("FirstBurstLength", "262144"));
        for pairs in [[most, first], [first, most]] {
            let (text, result) = answer(16384, &pairs);
            assert!(
                text.contains("FirstBurstLength=16384 ") && text.contains("MaxBurstLength=16384 "),
                "{text}"
            );
            assert_eq!(result, [16384, 16384]);
        }
        let (text, _) = answer(1 << 20, &[("MaxBurstLength", "8192")]);
        assert_eq!(text, "MaxBurstLength=8192 FirstBurstLength=8192 ", "its default would be beyond");
        let (text, result) = answer(1 << 20, &[most, ("FirstBurstLength", "65536")]);
        assert_eq!(
            (text.as_str(), result),
            ("MaxBurstLength=262144 FirstBurstLength=65536 ", [262_144, 65536])
        );
    }
}
