//! CHAP, one-way and mutual (RFC 7143 12.1.3, 9.2.1).
//!
//! ```text
//! Algorithm --CHAP_A--> Response --CHAP_N CHAP_R [CHAP_I CHAP_C]--> Done
//!                                  (target: [CHAP_N CHAP_R])
//! ```
//! Any key at another place, or any wrong value, fails for good. A user that does not exist takes the same
//! path as a wrong secret. The length of every binary value is checked before it is decoded.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use subtle::{Choice, ConstantTimeEq};

use crate::iscsi::account::{Accounts, Secret};
use crate::iscsi::hash::Algorithm;
use crate::limits::MAX_OUTSTANDING_CHALLENGES;
use crate::wire::text::{self, Encoding};

/// Length of the challenges we send, in bytes.
pub const CHALLENGE_LENGTH: usize = 32;
/// Longest challenge we accept, in bytes (RFC 7143 12.1.3).
pub const MAX_CHALLENGE: usize = 1024;

/// The operating system could not give random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRandomness;

/// A source of random bytes: fills the slice or fails.
pub type Random<'a> = dyn FnMut(&mut [u8]) -> Result<(), NoRandomness> + 'a;

/// Why CHAP failed. The initiator learns only that it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChapError {
    /// A key before its turn, after it, or missing.
    Order,
    /// CHAP_A is not a list of numbers, or has none that we know.
    Algorithm,
    /// CHAP_N is empty or too long.
    Name,
    /// CHAP_R is not a binary value of the digest's length.
    ResponseSyntax,
    /// No such user, or the response does not prove the secret.
    WrongSecret,
    /// CHAP_I is not a number from 0 to 255.
    Identifier,
    /// CHAP_C is not a binary value of 1 to [`MAX_CHALLENGE`] bytes.
    Challenge,
    /// CHAP_C is one of our own challenges.
    Reflection,
    /// The initiator wants the target to authenticate itself, which has no account for it.
    NoOutgoingAccount,
    /// No random bytes for a challenge.
    NoRandomness,
    /// [`MAX_OUTSTANDING_CHALLENGES`] challenges are outstanding.
    TooMany,
}

impl fmt::Display for ChapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ChapError::Order => "a key before its turn, after it, or missing",
            ChapError::Algorithm => "no algorithm that is known here",
            ChapError::Name => "an empty or too long name",
            ChapError::ResponseSyntax => "a response that is no value of the digest's length",
            ChapError::WrongSecret => "no such user, or another secret",
            ChapError::Identifier => "an identifier that is not 0 to 255",
            ChapError::Challenge => "a challenge that is no value of a valid length",
            ChapError::Reflection => "a challenge that is one of our own",
            ChapError::NoOutgoingAccount => "the initiator wants a proof and no outgoing user is set",
            ChapError::NoRandomness => "no random bytes for a challenge",
            ChapError::TooMany => "too many challenges are outstanding",
        })
    }
}

/// The challenges that we have sent and that are not yet answered, of all connections: an initiator that
/// presents one of them wants us to compute the answer for it.
#[derive(Debug, Default)]
pub struct Challenges {
    outstanding: Mutex<HashSet<[u8; CHALLENGE_LENGTH]>>,
}

impl Challenges {
    /// A new challenge, outstanding until the ticket is dropped.
    fn issue(self: &Arc<Self>, random: &mut Random<'_>) -> Result<Ticket, ChapError> {
        let mut challenge = [0; CHALLENGE_LENGTH];
        random(&mut challenge).map_err(|NoRandomness| ChapError::NoRandomness)?;
        let mut outstanding = self.outstanding.lock().unwrap_or_else(PoisonError::into_inner);
        if outstanding.len() >= MAX_OUTSTANDING_CHALLENGES {
            return Err(ChapError::TooMany);
        }
        // A source that repeats itself is not random.
        if !outstanding.insert(challenge) {
            return Err(ChapError::NoRandomness);
        }
        Ok(Ticket { table: Arc::clone(self), challenge })
    }

    fn contains(&self, challenge: &[u8]) -> bool {
        self.outstanding.lock().unwrap_or_else(PoisonError::into_inner).contains(challenge)
    }

    /// Number of challenges outstanding.
    pub fn len(&self) -> usize {
        self.outstanding.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none is outstanding.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[derive(Debug)]
struct Ticket {
    table: Arc<Challenges>,
    challenge: [u8; CHALLENGE_LENGTH],
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.table.outstanding.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.challenge);
    }
}

/// The CHAP keys of one complete request.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct ChapKeys<'a> {
    pub a: Option<&'a str>,
    pub i: Option<&'a str>,
    pub c: Option<&'a str>,
    pub n: Option<&'a str>,
    pub r: Option<&'a str>,
}

impl ChapKeys<'_> {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        [self.a, self.i, self.c, self.n, self.r].iter().all(Option::is_none)
    }
}

/// The target's side of one exchange.
#[derive(Debug)]
pub struct Chap {
    state: State,
}

#[derive(Debug)]
enum State {
    Algorithm,
    Response { algorithm: Algorithm, identifier: u8, ticket: Ticket },
    Done { user: String },
    Failed,
}

impl Chap {
    /// Waits for CHAP_A.
    pub fn new() -> Self {
        Chap { state: State::Algorithm }
    }

    /// The user that proved its secret, once it has.
    pub fn user(&self) -> Option<&str> {
        match &self.state {
            State::Done { user } => Some(user),
            _ => None,
        }
    }

    /// Takes the CHAP keys of one request and writes the answer as pairs.
    pub fn step(
        &mut self,
        keys: ChapKeys<'_>,
        accounts: &Accounts,
        challenges: &Arc<Challenges>,
        random: &mut Random<'_>,
        answer: &mut Vec<u8>,
    ) -> Result<(), ChapError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.state = match std::mem::replace(&mut self.state, State::Failed) {
            State::Algorithm => choose(keys, challenges, random, answer)?,
            State::Response { algorithm, identifier, ticket } => {
                let exchange = Exchange { algorithm, identifier, ticket };
                State::Done { user: exchange.verify(keys, accounts, answer)? }
            }
            State::Done { .. } | State::Failed => return Err(ChapError::Order),
        };
        Ok(())
    }
}

impl Default for Chap {
    fn default() -> Self {
        Chap::new()
    }
}

/// Answers CHAP_A with the strongest algorithm of the initiator's list that we have, and a challenge. An
/// initiator may list MD5 first for the sake of old targets and still be able to do better.
fn choose(
    keys: ChapKeys<'_>,
    challenges: &Arc<Challenges>,
    random: &mut Random<'_>,
    answer: &mut Vec<u8>,
) -> Result<State, ChapError> {
    let ChapKeys { a: Some(list), i: None, c: None, n: None, r: None } = keys else {
        return Err(ChapError::Order);
    };
    if list.len() > text::MAX_VALUE {
        return Err(ChapError::Algorithm);
    }
    let algorithm = list
        .split(',')
        .filter_map(|number| text::number(number).and_then(Algorithm::from_number))
        .max_by_key(|algorithm| algorithm.number())
        .ok_or(ChapError::Algorithm)?;
    let mut identifier = [0];
    random(&mut identifier).map_err(|NoRandomness| ChapError::NoRandomness)?;
    let ticket = challenges.issue(random)?;
    text::push_pair(answer, "CHAP_A", &algorithm.number().to_string());
    text::push_pair(answer, "CHAP_I", &identifier[0].to_string());
    text::push_pair(answer, "CHAP_C", &text::encode_binary(&ticket.challenge, Encoding::Hex));
    Ok(State::Response { algorithm, identifier: identifier[0], ticket })
}

struct Exchange {
    algorithm: Algorithm,
    identifier: u8,
    ticket: Ticket,
}

/// What the initiator wants us to answer.
struct Demand {
    identifier: u8,
    challenge: Vec<u8>,
    encoding: Encoding,
}

impl Exchange {
    /// Checks CHAP_N and CHAP_R; answers CHAP_I and CHAP_C. Returns the user.
    fn verify(
        self,
        keys: ChapKeys<'_>,
        accounts: &Accounts,
        answer: &mut Vec<u8>,
    ) -> Result<String, ChapError> {
        let ChapKeys { a: None, n: Some(name), r: Some(response), .. } = keys else {
            return Err(ChapError::Order);
        };
        if name.is_empty() || name.len() > text::MAX_VALUE {
            return Err(ChapError::Name);
        }
        let length = self.algorithm.length();
        let (response, _) = text::binary(response, length..=length).ok_or(ChapError::ResponseSyntax)?;
        let demand = match (keys.i, keys.c) {
            (None, None) => None,
            (Some(identifier), Some(challenge)) => Some(self.demand(identifier, challenge)?),
            _ => return Err(ChapError::Order),
        };
        self.prove(name, &response, accounts)?;
        if let Some(demand) = demand {
            self.answer(&demand, accounts, answer)?;
        }
        Ok(name.to_owned())
    }

    fn prove(&self, name: &str, response: &[u8], accounts: &Accounts) -> Result<(), ChapError> {
        let nobody = Secret::new("0123456789abcdef");
        let found = accounts.incoming.iter().find(|account| account.name == name);
        let secret = found.map_or(&nobody, |account| &account.secret);
        let parts = [&[self.identifier], secret.expose(), &self.ticket.challenge];
        let expected = self.algorithm.digest(&parts);
        let is_known = Choice::from(u8::from(found.is_some()));
        let is_right = expected.as_ref().ct_eq(response) & is_known;
        if bool::from(is_right) { Ok(()) } else { Err(ChapError::WrongSecret) }
    }

    fn demand(&self, identifier: &str, challenge: &str) -> Result<Demand, ChapError> {
        let identifier = text::number(identifier).and_then(|number| u8::try_from(number).ok());
        let identifier = identifier.ok_or(ChapError::Identifier)?;
        let (challenge, encoding) = text::binary(challenge, 1..=MAX_CHALLENGE).ok_or(ChapError::Challenge)?;
        // Our own challenge is in the table as long as this exchange holds its ticket.
        if self.ticket.table.contains(&challenge) {
            return Err(ChapError::Reflection);
        }
        Ok(Demand { identifier, challenge, encoding })
    }

    fn answer(&self, demand: &Demand, accounts: &Accounts, answer: &mut Vec<u8>) -> Result<(), ChapError> {
        let account = accounts.outgoing.as_ref().ok_or(ChapError::NoOutgoingAccount)?;
        let parts = [&[demand.identifier], account.secret.expose(), &demand.challenge];
        let digest = self.algorithm.digest(&parts);
        text::push_pair(answer, "CHAP_N", &account.name);
        text::push_pair(answer, "CHAP_R", &text::encode_binary(digest.as_ref(), demand.encoding));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iscsi::account::Account;

    const SECRET: &str = "a secret of 16+ bytes";

    fn account(name: &str, secret: &str) -> Account {
        Account { name: name.to_owned(), secret: Secret::new(secret) }
    }

    fn accounts() -> Accounts {
        Accounts {
            incoming: vec![account("joe", SECRET), account("0x42", SECRET), account("0bAAAA", SECRET)],
            outgoing: Some(account("target", "the other secret")),
        }
    }

    /// Identifier 0x17 and challenge 00 01 .. 1f, as in the vectors of `hash`.
    fn fixed(bytes: &mut [u8]) -> Result<(), NoRandomness> {
        if let [one] = bytes {
            *one = 0x17;
        } else {
            bytes.iter_mut().zip(0..).for_each(|(byte, i)| *byte = i);
        }
        Ok(())
    }

    struct Run {
        chap: Chap,
        accounts: Accounts,
        challenges: Arc<Challenges>,
    }

    impl Run {
        fn new() -> Self {
            Run { chap: Chap::new(), accounts: accounts(), challenges: Arc::default() }
        }

        fn step(&mut self, keys: &[(&str, &str)]) -> Result<String, ChapError> {
            let find = |name: &str| keys.iter().find(|k| k.0 == name).map(|k| k.1);
            let keys = ChapKeys { a: find("A"), i: find("I"), c: find("C"), n: find("N"), r: find("R") };
            let mut answer = Vec::new();
            self.chap.step(keys, &self.accounts, &self.challenges, &mut fixed, &mut answer)?;
            Ok(String::from_utf8(answer).unwrap().replace('\0', " "))
        }
    }

    const MD5: &str = "0xbfbe201cbad014caf81a5eb857050dc1";
    const CHALLENGE: &str = "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn rfc7143_12_1_3_one_way_with_every_algorithm_in_hex_and_base64() {
        let vectors = [
            ("5", MD5, "0bv74gHLrQFMr4Gl64VwUNwQ=="),
            ("6", "0x8da43358c3a0b5912d329f2f7680476bf20985f4", "0bjaQzWMOgtZEtMp8vdoBHa/IJhfQ="),
            (
                "7",
                "0xC98F4C2F74125448A4F58734F923E06D7F6E01F3D37ECB923526A24A1C8FDADD",
                "0byY9ML3QSVEik9Yc0+SPgbX9uAfPTfsuSNSaiShyP2t0=",
            ),
            (
                "8",
                "0x0d6a5f36b17f4088a61715ce356bc416c11571eb47b48d1986283845d9d2eaf5",
                "0bDWpfNrF/QIimFxXONWvEFsEVcetHtI0Zhig4RdnS6vU=",
            ),
        ];
        for (algorithm, hex, base64) in vectors {
            for response in [hex, base64] {
                let mut run = Run::new();
                let challenge = format!("CHAP_A={algorithm} CHAP_I=23 CHAP_C={CHALLENGE} ");
                assert_eq!(run.step(&[("A", algorithm)]), Ok(challenge));
                assert_eq!(run.challenges.len(), 1);
                assert_eq!(run.step(&[("N", "joe"), ("R", response)]), Ok(String::new()));
                assert_eq!(run.chap.user(), Some("joe"));
                assert!(run.challenges.is_empty());
            }
        }
    }

    #[test]
    fn rfc7143_12_1_3_mutual_answers_in_the_encoding_of_the_challenge() {
        let demand = |challenge: &str| {
            let mut run = Run::new();
            run.step(&[("A", "5")]).unwrap();
            run.step(&[("N", "joe"), ("R", MD5), ("I", "42"), ("C", challenge)])
        };
        let hex = demand("0xa5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5");
        assert_eq!(hex, Ok("CHAP_N=target CHAP_R=0x0b34576199984ca3123309bfa6e75010 ".into()));
        let base64 = demand("0bpaWlpaWlpaWlpaWlpaWlpQ==");
        assert_eq!(base64, Ok("CHAP_N=target CHAP_R=0bCzRXYZmYTKMSMwm/pudQEA== ".into()));
    }

    #[test]
    fn rfc7143_12_1_3_the_strongest_known_algorithm_of_the_list_is_taken() {
        for (list, chosen) in
            [("5,6,7,8", "8"), ("8,5", "8"), ("6,5", "6"), ("4,6", "6"), ("0x7", "7"), ("x,5", "5")]
        {
            assert!(Run::new().step(&[("A", list)]).unwrap().starts_with(&format!("CHAP_A={chosen} ")));
        }
        for list in ["", "0", "4", "56", "05", "5 ", "5;6", &"5,".repeat(1000)] {
            assert_eq!(Run::new().step(&[("A", list)]), Err(ChapError::Algorithm), "{list}");
        }
    }

    #[test]
    fn rfc7143_12_1_3_keys_out_of_order_fail_for_good() {
        let mut run = Run::new();
        assert_eq!(run.step(&[("N", "joe"), ("R", MD5)]), Err(ChapError::Order));
        assert_eq!(run.step(&[("A", "5")]), Err(ChapError::Order));
        assert_eq!(Run::new().step(&[("A", "5"), ("N", "joe"), ("R", MD5)]), Err(ChapError::Order));
        for second in [
            &[("A", "5")][..],
            &[("N", "joe")],
            &[("R", MD5)],
            &[("N", "joe"), ("R", MD5), ("I", "1")],
            &[("N", "joe"), ("R", MD5), ("C", "0x01")],
        ] {
            let mut run = Run::new();
            run.step(&[("A", "5")]).unwrap();
            assert_eq!(run.step(second), Err(ChapError::Order), "{second:?}");
            assert!(run.challenges.is_empty(), "a failed exchange gives its challenge back");
        }
    }

    #[test]
    fn rfc7143_12_1_3_bad_values_fail() {
        let long = "a".repeat(256);
        let twice = format!("{MD5}{}", &MD5[2..]);
        let huge = format!("0x{}", "00".repeat(1025));
        let base64 = format!("0b{}", "A".repeat(127));
        let cases: &[(&[(&str, &str)], ChapError)] = &[
            (&[("N", ""), ("R", MD5)], ChapError::Name),
            (&[("N", &long), ("R", MD5)], ChapError::Name),
            (&[("N", "joe"), ("R", &MD5[2..])], ChapError::ResponseSyntax),
            (&[("N", "joe"), ("R", "0x")], ChapError::ResponseSyntax),
            (&[("N", "joe"), ("R", &MD5[..MD5.len() - 2])], ChapError::ResponseSyntax),
            (&[("N", "joe"), ("R", &twice)], ChapError::ResponseSyntax),
            (&[("N", "joe"), ("R", &base64)], ChapError::ResponseSyntax),
            (&[("N", "joe"), ("R", MD5), ("I", "256"), ("C", "0x01")], ChapError::Identifier),
            (&[("N", "joe"), ("R", MD5), ("I", "-1"), ("C", "0x01")], ChapError::Identifier),
            (&[("N", "joe"), ("R", MD5), ("I", "0x100"), ("C", "0x01")], ChapError::Identifier),
            (&[("N", "joe"), ("R", MD5), ("I", ""), ("C", "0x01")], ChapError::Identifier),
            (&[("N", "joe"), ("R", MD5), ("I", "1"), ("C", "0x")], ChapError::Challenge),
            (&[("N", "joe"), ("R", MD5), ("I", "1"), ("C", "0x123")], ChapError::Challenge),
            (&[("N", "joe"), ("R", MD5), ("I", "1"), ("C", &huge)], ChapError::Challenge),
            (&[("N", "joe"), ("R", MD5), ("I", "1"), ("C", "0bAA==AAAA")], ChapError::Challenge),
        ];
        for (keys, expected) in cases {
            let mut run = Run::new();
            run.step(&[("A", "5")]).unwrap();
            assert_eq!(run.step(keys), Err(*expected), "{keys:?}");
            assert_eq!(run.chap.user(), None);
        }
    }

    #[test]
    fn rfc7143_12_1_3_wrong_secret_and_unknown_user_look_the_same() {
        let wrong = "0x00000000000000000000000000000000";
        for (name, response) in [("joe", wrong), ("Joe", MD5), ("nobody", MD5), ("nobody", wrong)] {
            let mut run = Run::new();
            run.step(&[("A", "5")]).unwrap();
            assert_eq!(run.step(&[("N", name), ("R", response)]), Err(ChapError::WrongSecret));
        }
        // The stand-in secret of unknown users opens nothing.
        let challenge: Vec<u8> = (0..32).collect();
        let digest = Algorithm::Md5.digest(&[&[0x17], b"0123456789abcdef", &challenge]);
        let mut run = Run::new();
        run.step(&[("A", "5")]).unwrap();
        let response = text::encode_binary(digest.as_ref(), Encoding::Hex);
        assert_eq!(run.step(&[("N", "nobody"), ("R", &response)]), Err(ChapError::WrongSecret));
    }

    #[test]
    fn rfc7143_12_1_3_names_that_look_like_numbers_are_literal() {
        for name in ["0x42", "0bAAAA"] {
            let mut run = Run::new();
            run.step(&[("A", "5")]).unwrap();
            assert_eq!(run.step(&[("N", name), ("R", MD5)]), Ok(String::new()));
        }
    }

    #[test]
    fn rfc7143_9_2_1_reflected_challenges_are_refused() {
        let mut run = Run::new();
        run.step(&[("A", "5")]).unwrap();
        let keys = [("N", "joe"), ("R", MD5), ("I", "1"), ("C", CHALLENGE)];
        assert_eq!(run.step(&keys), Err(ChapError::Reflection));

        // The same through a second connection.
        let mut first = Run::new();
        first.step(&[("A", "5")]).unwrap();
        let mut second = Run::new();
        second.challenges = Arc::clone(&first.challenges);
        let mut answer = Vec::new();
        let mut other = |bytes: &mut [u8]| {
            bytes.fill(0x55);
            Ok(())
        };
        let ask = ChapKeys { a: Some("5"), ..ChapKeys::default() };
        second.chap.step(ask, &accounts(), &second.challenges, &mut other, &mut answer).unwrap();
        assert_eq!(second.step(&keys), Err(ChapError::Reflection));
    }

    #[test]
    fn rfc7143_9_2_1_mutual_needs_an_account_and_comes_after_the_proof() {
        let mut run = Run::new();
        run.accounts.outgoing = None;
        run.step(&[("A", "5")]).unwrap();
        let keys = [("N", "joe"), ("R", MD5), ("I", "1"), ("C", "0x0102")];
        assert_eq!(run.step(&keys), Err(ChapError::NoOutgoingAccount));
        let mut run = Run::new();
        run.step(&[("A", "5")]).unwrap();
        let keys = [("N", "eve"), ("R", MD5), ("I", "1"), ("C", "0x0102")];
        assert_eq!(run.step(&keys), Err(ChapError::WrongSecret));
    }

    #[test]
    fn challenges_are_random_unique_and_limited() {
        let mut answer = Vec::new();
        let ask = ChapKeys { a: Some("5"), ..ChapKeys::default() };
        let table = Arc::<Challenges>::default();
        let mut none = |_: &mut [u8]| Err(NoRandomness);
        let failed = Chap::new().step(ask, &accounts(), &table, &mut none, &mut answer);
        assert_eq!(failed, Err(ChapError::NoRandomness));

        let mut first = Chap::new();
        first.step(ask, &accounts(), &table, &mut fixed, &mut answer).unwrap();
        let repeated = Chap::new().step(ask, &accounts(), &table, &mut fixed, &mut answer);
        assert_eq!(repeated, Err(ChapError::NoRandomness));

        let mut count = 0u32;
        let mut counter = |bytes: &mut [u8]| {
            count += 1;
            bytes.fill(0);
            bytes.iter_mut().zip(count.to_be_bytes()).for_each(|(byte, c)| *byte = c);
            Ok(())
        };
        let mut open = Vec::new();
        let refused = loop {
            let mut chap = Chap::new();
            match chap.step(ask, &accounts(), &table, &mut counter, &mut answer) {
                Ok(()) => open.push(chap),
                Err(error) => break error,
            }
        };
        assert_eq!((refused, open.len()), (ChapError::TooMany, MAX_OUTSTANDING_CHALLENGES - 1));
        drop((open, first));
        assert!(table.is_empty());
    }
}
