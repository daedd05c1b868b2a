//! The login machine against the rules of RFC 7143 6.3, 11.12 and 11.13, and against hostile initiators.

mod chap;
mod hostile;
mod keys;
mod stages;

use super::*;
use crate::iscsi::account::{Account, Secret};
use crate::iscsi::chap::{ChapError, NoRandomness};
use crate::iscsi::directory::fixture::{StaticDirectory, address};
use crate::iscsi::hash::Algorithm;
use crate::iscsi::key::KEYS;
use crate::wire::text::{Encoding, TextError, binary, encode_binary};

const TARGET: &str = "iqn.2000-01.example:disk";
const NAMES: &str = "InitiatorName=iqn.2000-01.example:initiator|TargetName=iqn.2000-01.example:disk|";
const SECRET: &str = "secret of joe";

/// An initiator and a target in one thread.
struct Dialogue {
    login: Login,
    directory: StaticDirectory,
    seed: u32,
    header: LoginRequest,
}

/// What a request came to, in short form.
#[derive(Debug, PartialEq)]
struct Seen {
    /// `T` and `C` bits, then the NSG when T is set.
    flags: String,
    text: String,
    status: u16,
}

fn context() -> LoginContext {
    let challenges = Arc::default();
    LoginContext { portal: address("10.0.0.1:3260"), peer: address("10.0.0.9:40000"), challenges }
}

/// `|` for NUL.
fn bytes(text: &str) -> Vec<u8> {
    text.replace('|', "\0").into_bytes()
}

impl Dialogue {
    fn new() -> Self {
        let mut directory = StaticDirectory::default();
        directory.add(TARGET, &["10.0.0.1:3260"]);
        let header = LoginRequest {
            is_immediate: true,
            transit: false,
            continues: false,
            current_stage: 0,
            next_stage: 0,
            version_max: 0,
            version_min: 0,
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: 0,
            initiator_task_tag: 0x1234,
            cid: 1,
            cmd_sn: 100,
            exp_stat_sn: 0,
        };
        Dialogue { login: Login::new(context()), directory, seed: 1, header }
    }

    fn with_offer(change: impl FnOnce(&mut Offer)) -> Self {
        let mut pair = Dialogue::new();
        let mut offer = Offer::open();
        change(&mut offer);
        pair.directory.offer = Ok(offer);
        pair
    }

    fn with_chap() -> Self {
        Dialogue::with_offer(|offer| {
            offer.accounts.incoming = vec![Account { name: "joe".into(), secret: Secret::new(SECRET) }];
        })
    }

    fn step(&mut self, header: &LoginRequest, text: &[u8]) -> LoginStep {
        let seed = &mut self.seed;
        let mut random = |bytes: &mut [u8]| {
            bytes.fill_with(|| {
                *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                seed.to_be_bytes()[0]
            });
            Ok(())
        };
        self.login.request(header, text, &self.directory, &mut random)
    }

    /// `stages` is `CSG` or `CSG>NSG`, with a `c` for the C bit.
    fn send_raw(&mut self, stages: &str, text: &[u8]) -> LoginStep {
        let digit = |at: usize| stages.as_bytes().get(at).map(|b| b - b'0');
        let header = LoginRequest {
            transit: stages.contains('>'),
            continues: stages.contains('c'),
            current_stage: digit(0).unwrap(),
            next_stage: if stages.contains('>') { digit(2).unwrap() } else { 0 },
            ..self.header
        };
        self.step(&header, text)
    }

    fn send(&mut self, stages: &str, text: &str) -> Seen {
        let step = self.send_raw(stages, &bytes(text));
        match step.next {
            Next::OpenSession(_) => seen(self.login.opened(Ok(77)).answer),
            _ => seen(step.answer),
        }
    }

    fn fail(&mut self, stages: &str, text: &str) -> LoginError {
        match self.send_raw(stages, &bytes(text)).next {
            Next::Fail(error) => error,
            next => panic!("the login did not fail: {next:?}"),
        }
    }

    /// Finishes a login with one request and gives what was agreed.
    fn agree(&mut self, text: &str) -> Agreed {
        let step = self.send_raw("1>3", &bytes(&format!("{NAMES}{text}")));
        assert!(matches!(step.next, Next::OpenSession(_)), "{step:?}");
        match self.login.opened(Ok(77)).next {
            Next::FullFeature(agreed) => *agreed,
            next => panic!("{next:?}"),
        }
    }
}

fn seen(answer: Option<LoginAnswer>) -> Seen {
    let LoginAnswer { response: answer, text } = answer.unwrap();
    let mut flags = String::new();
    if answer.transit {
        flags.push_str(&format!("T{}", answer.next_stage));
    }
    if answer.continues {
        flags.push('C');
    }
    let text = String::from_utf8(text).unwrap().replace('\0', "|");
    Seen { flags, text, status: answer.status }
}

fn ok(flags: &str, text: &str) -> Seen {
    Seen { flags: flags.into(), text: text.into(), status: 0 }
}

/// The answer to CHAP_I and CHAP_C in `text`, as CHAP_N and CHAP_R.
fn respond(text: &str, secret: &str) -> String {
    let value = |key: &str| text.split('|').find_map(|pair| pair.strip_prefix(key)).unwrap();
    let identifier: u8 = value("CHAP_I=").parse().unwrap();
    let (challenge, _) = binary(value("CHAP_C="), 1..=1024).unwrap();
    let algorithm = Algorithm::from_number(value("CHAP_A=").parse().unwrap()).unwrap();
    let digest = algorithm.digest(&[&[identifier], secret.as_bytes(), &challenge]);
    format!("CHAP_N=joe|CHAP_R={}|", encode_binary(digest.as_ref(), Encoding::Hex))
}

const DECLARED: &str = "MaxRecvDataSegmentLength=1048576|";
