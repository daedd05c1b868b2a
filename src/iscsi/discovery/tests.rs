//! Text exchanges against RFC 7143 and against hostile initiators.

use super::*;
use crate::iscsi::directory::fixture::{StaticDirectory, address, initiator};

struct Run {
    directory: StaticDirectory,
    exchange: TextExchange,
    target: Option<&'static str>,
    segment_length: u32,
}

const ONE: &str = "iqn.2000-01.example:one";
const SECOND: &str = "iqn.2000-01.example:two";

impl Run {
    fn new(target: Option<&'static str>) -> Self {
        let mut directory = StaticDirectory::default();
        directory.add(ONE, &["10.0.0.1:3260", "[fe80::1]:3261"]);
        directory.add(SECOND, &["10.0.0.1:3260"]);
        Run { directory, exchange: TextExchange::new(), target, segment_length: 8192 }
    }

    fn send(&mut self, flags: &str, ttt: u32, text: &[u8]) -> Result<TextAnswer, TextReject> {
        let name = initiator();
        let query =
            Query { initiator: &name, portal: address("10.0.0.1:3260"), peer: address("10.0.0.9:999") };
        let session = TextSession { query, target: self.target, segment_length: self.segment_length };
        let (is_final, continues) = (flags.contains('F'), flags.contains('C'));
        let request = TextRequest {
            is_immediate: false,
            is_final,
            continues,
            lun: [0; 8],
            initiator_task_tag: 7,
            target_transfer_tag: ttt,
            cmd_sn: 1,
        };
        self.exchange.request(&request, text, &session, &self.directory)
    }

    fn ask(&mut self, text: &str) -> Result<String, TextReject> {
        let answer = self.send("F", RESERVED_TAG, text.as_bytes())?;
        assert!(answer.response.is_final && answer.response.ttt == RESERVED_TAG && !self.exchange.is_open());
        Ok(String::from_utf8(answer.text).unwrap().replace('\0', "\n"))
    }
}

const BOTH: &str = "TargetName=iqn.2000-01.example:one\nTargetAddress=10.0.0.1:3260,1\n\
    TargetAddress=[fe80::1]:3261,1\nTargetName=iqn.2000-01.example:two\nTargetAddress=10.0.0.1:3260,1\n";

#[test]
fn rfc7143_c_send_targets_all_is_for_discovery_sessions() {
    assert_eq!(Run::new(None).ask("SendTargets=All\0"), Ok(BOTH.into()));
    assert_eq!(Run::new(Some(ONE)).ask("SendTargets=All\0"), Err(TextReject::SendTargets));
}

#[test]
fn rfc7143_c_send_targets_of_one_target() {
    let second = "TargetName=iqn.2000-01.example:two\nTargetAddress=10.0.0.1:3260,1\n";
    assert_eq!(Run::new(None).ask(&format!("SendTargets={SECOND}\0")), Ok(second.into()));
    assert_eq!(Run::new(Some(SECOND)).ask("SendTargets=\0"), Ok(second.into()));
    assert_eq!(Run::new(None).ask("SendTargets=\0"), Err(TextReject::SendTargets));
    assert_eq!(Run::new(None).ask("SendTargets=iqn.2000-01.example:none\0"), Ok(String::new()));
}

#[test]
fn rfc7143_11_17_misspelled_requests_are_rejected() {
    for target in [None, Some(ONE)] {
        for text in ["SendTargetsPlease=All\0", "sENDtARGETS=aLL\0", "MaxBurstLength=512\0"] {
            let rejected = Run::new(target).ask(text);
            assert_eq!(rejected, Err(TextReject::NothingUnderstood), "{text}");
        }
        for text in ["SendTargets=Alle\0", "SendTargets=A\0", "SendTargets=all\0"] {
            assert_eq!(Run::new(target).ask(text), Err(TextReject::SendTargets), "{text}");
        }
    }
    let long = format!("SendTargets=iqn.{}\0", "a".repeat(8000));
    assert_eq!(Run::new(None).ask(&long), Err(TextReject::SendTargets));
    assert_eq!(TextReject::SendTargets.reason(), 0x04);
}

#[test]
fn rfc7143_6_2_other_keys_of_a_text_request() {
    let mut run = Run::new(Some(ONE));
    assert_eq!(run.ask("X-com.example.a=1\0"), Ok("X-com.example.a=NotUnderstood\n".into()));
    assert_eq!(run.ask("InitiatorAlias=me\0A=1\0"), Ok("A=NotUnderstood\n".into()));
    assert_eq!(run.ask("InitiatorAlias=me\0InitialR2T=No\0"), Ok("InitialR2T=Reject\n".into()));
    assert_eq!(run.ask("A=1\0A=1\0"), Err(TextReject::DuplicateKey));
    assert_eq!(run.ask("A\0"), Err(TextReject::Text(TextError::NoEquals)));
    assert_eq!(run.ask(""), Ok(String::new()));
    let answer = run.send("F", RESERVED_TAG, b"MaxRecvDataSegmentLength=512\0").unwrap();
    assert_eq!((answer.segment_length, answer.text.len()), (Some(512), 0));
    let answer = run.send("F", RESERVED_TAG, b"MaxRecvDataSegmentLength=511\0").unwrap();
    assert_eq!((answer.segment_length, answer.text), (None, b"MaxRecvDataSegmentLength=Reject\0".to_vec()));
    let many: String = (0..100).map(|i| format!("X-{i}=1\0")).collect();
    assert_eq!(run.ask(&many), Err(TextReject::TooManyKeys));
}

#[test]
fn rfc7143_11_11_long_answers_continue() {
    let mut run = Run::new(None);
    run.segment_length = 16;
    let mut ttt = RESERVED_TAG;
    let mut text = b"SendTargets=All\0".to_vec();
    let mut joined = Vec::new();
    loop {
        let answer = run.send("F", ttt, &text).unwrap();
        assert!(answer.text.len() <= 16);
        assert_eq!(answer.response.is_final, !answer.response.continues);
        assert_eq!(answer.response.ttt == RESERVED_TAG, answer.response.is_final);
        joined.extend_from_slice(&answer.text);
        (ttt, text) = (answer.response.ttt, Vec::new());
        if answer.response.is_final {
            break;
        }
    }
    assert_eq!(String::from_utf8(joined).unwrap().replace('\0', "\n"), BOTH);
    assert!(!run.exchange.is_open());
}

#[test]
fn rfc7143_11_10_requests_split_anywhere_give_the_same_answer() {
    let text = b"SendTargets=All\0";
    for cut in 0..=text.len() {
        let mut run = Run::new(None);
        let first = run.send("C", RESERVED_TAG, &text[..cut]).unwrap();
        assert!(!first.response.is_final && !first.response.continues && first.text.is_empty());
        let answer = run.send("F", first.response.ttt, &text[cut..]).unwrap();
        assert_eq!(String::from_utf8(answer.text).unwrap().replace('\0', "\n"), BOTH);
    }
}

#[test]
fn rfc7143_11_10_4_tags() {
    let mut run = Run::new(None);
    run.segment_length = 16;
    assert_eq!(run.send("F", 5, b""), Err(TextReject::UnknownExchange));
    let first = run.send("F", RESERVED_TAG, b"SendTargets=All\0").unwrap();
    let second = run.send("F", RESERVED_TAG, b"SendTargets=All\0").unwrap();
    assert_ne!(first.response.ttt, second.response.ttt);
    assert_eq!(run.send("F", first.response.ttt, b""), Err(TextReject::UnknownExchange));
    assert_eq!(run.send("F", second.response.ttt, b""), Err(TextReject::UnknownExchange), "a Reject ends it");
    let third = run.send("F", RESERVED_TAG, b"SendTargets=All\0").unwrap();
    assert_eq!(run.send("F", third.response.ttt, b"A=1\0"), Err(TextReject::AnswerInterrupted));
    assert_eq!(run.send("FC", RESERVED_TAG, b""), Err(TextReject::FinalAndContinue));
}

#[test]
fn text_exchanges_are_bounded() {
    let mut run = Run::new(None);
    let mut ttt = RESERVED_TAG;
    let mut rounds = 0;
    let refused = loop {
        match run.send("", ttt, b"") {
            Ok(answer) => ttt = answer.response.ttt,
            Err(reason) => break reason,
        }
        rounds += 1;
    };
    assert_eq!((rounds, refused), (MAX_TEXT_REQUESTS, TextReject::TooManyRequests));

    let text = vec![b'a'; MAX_REQUEST_TEXT];
    let first = run.send("C", RESERVED_TAG, &text).unwrap();
    assert_eq!(run.send("C", first.response.ttt, b"a"), Err(TextReject::Text(TextError::TooLong)));
    assert_eq!(run.ask("SendTargets=All\0"), Ok(BOTH.into()), "and the session lives");
}

#[test]
fn very_many_targets_are_sent_completely_or_not_at_all() {
    let mut run = Run::new(None);
    run.directory = StaticDirectory::default();
    let portals: Vec<String> = (1..=8).map(|i| format!("10.0.0.{i}:3260")).collect();
    let portals: Vec<&str> = portals.iter().map(String::as_str).collect();
    (0..10_000).for_each(|i| run.directory.add(&format!("iqn.2000-01.example:disk{i}"), &portals));
    run.segment_length = 512;
    let mut ttt = RESERVED_TAG;
    let mut text = &b"SendTargets=All\0"[..];
    let mut names = Vec::new();
    loop {
        let answer = run.send("F", ttt, text).unwrap();
        names.extend_from_slice(&answer.text);
        (ttt, text) = (answer.response.ttt, b"");
        if answer.response.is_final {
            break;
        }
    }
    assert_eq!(text::pairs(&names).filter(|pair| pair.unwrap().key == "TargetName").count(), 10_000);
    (0..20_000).for_each(|i| run.directory.add(&format!("iqn.2000-01.example:more{i}"), &portals));
    assert_eq!(run.ask("SendTargets=All\0"), Err(TextReject::AnswerTooLong));
}

#[test]
fn rfc7143_13_8_addresses() {
    let listening: Vec<SocketAddr> = [
        "127.0.0.1:3260",
        "10.0.0.1:3260",
        "10.0.0.2:3260",
        "0.0.0.0:3260",
        "[::1]:3260",
        "[fe80::2]:3260",
        "[2001:db8::1]:3260",
        "[::ffff:10.0.0.3]:3260",
        "10.0.0.2:3260",
    ]
    .map(address)
    .to_vec();
    let list = |connected: &str, link_local| -> Vec<String> {
        announced(address(connected), &listening, link_local).into_iter().map(written).collect()
    };
    assert_eq!(list("10.0.0.2:3260", true), ["10.0.0.2:3260", "10.0.0.1:3260", "10.0.0.3:3260"]);
    assert_eq!(list("127.0.0.1:3260", true)[0], "127.0.0.1:3260");
    assert_eq!(list("[::ffff:10.0.0.1]:3260", true)[0], "10.0.0.1:3260");
    assert_eq!(list("[2001:db8::1]:3260", false), ["[2001:db8::1]:3260"]);
    assert_eq!(list("[fe80::9%3]:3260", true), ["[fe80::9]:3260", "[fe80::2]:3260", "[2001:db8::1]:3260"]);
}

#[test]
fn mutated_exchanges_neither_panic_nor_outgrow_their_bounds() {
    let mut state = 0xfeed_u32;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        usize::try_from(state).unwrap() % below
    };
    let texts = ["SendTargets=All\0", "SendTargets=\0", "MaxRecvDataSegmentLength=512\0", "X-a=1\0", ""];
    let mut run = Run::new(Some(ONE));
    run.segment_length = 64;
    let (mut ttt, mut answers) = (RESERVED_TAG, 0);
    for _ in 0..50_000 {
        let mut text = texts[next(texts.len())].as_bytes().to_vec();
        if next(4) == 0 && !text.is_empty() {
            let at = next(text.len());
            text[at] ^= 1 << next(8);
        }
        let flags = ["F", "F", "C", "", "FC"][next(5)];
        match run.send(flags, if next(3) == 0 { RESERVED_TAG } else { ttt }, &text) {
            Ok(answer) => {
                assert!(answer.text.len() <= 64);
                assert!(!(answer.response.is_final && answer.response.continues));
                assert_eq!(answer.response.is_final, !run.exchange.is_open());
                ttt = answer.response.ttt;
                answers += 1;
            }
            Err(_) => assert!(!run.exchange.is_open()),
        }
    }
    assert!(answers > 10_000, "{answers}");
}
