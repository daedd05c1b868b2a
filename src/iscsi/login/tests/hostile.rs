//! Splits, limits and mutation.

use super::*;

#[test]
fn rfc7143_6_2_text_split_at_every_byte_gives_the_same_login() {
    let text = bytes(&format!("{NAMES}InitialR2T=No|MaxBurstLength=65536|X-a=1|HeaderDigest=None|"));
    let whole = {
        let mut pair = Dialogue::new();
        let step = pair.send_raw("1>3", &text);
        assert!(matches!(step.next, Next::OpenSession(_)));
        let last = pair.login.opened(Ok(77));
        (last.answer, format!("{:?}", last.next))
    };
    for cut in 0..=text.len() {
        let mut pair = Dialogue::new();
        let first = pair.send_raw("1c", &text[..cut]);
        assert_eq!(seen(first.answer), ok("", ""));
        let second = pair.send_raw("1>3", &text[cut..]);
        assert!(matches!(second.next, Next::OpenSession(_)), "cut at {cut}");
        let last = pair.login.opened(Ok(77));
        assert_eq!((last.answer, format!("{:?}", last.next)), whole, "cut at {cut}");
    }
    let mut pair = Dialogue::new();
    for byte in &text {
        assert_eq!(seen(pair.send_raw("1c", &[*byte]).answer), ok("", ""));
    }
    assert!(matches!(pair.send_raw("1>3", b"").next, Next::OpenSession(_)));
}

#[test]
fn rfc7143_6_2_long_answers_are_split() {
    let unknown: String = (0..60).map(|i| format!("X-{i:050}=1|")).collect();
    for segment in ["512", "1024", "65536"] {
        let mut pair = Dialogue::new();
        let text = format!("{NAMES}MaxRecvDataSegmentLength={segment}|{unknown}");
        let mut answer = pair.send("1>3", &text);
        let most = segment.parse::<usize>().unwrap().min(MAX_LOGIN_SEGMENT);
        let mut joined = answer.text.clone();
        while answer.flags == "C" {
            assert!(answer.text.len() <= most);
            answer = pair.send("1>3", "");
            joined.push_str(&answer.text);
        }
        assert_eq!(answer.flags, "T3");
        assert_eq!(joined.matches("=NotUnderstood|").count(), 60);
        assert!(joined.ends_with(DECLARED));
    }
    let mut pair = Dialogue::new();
    let text = format!("{NAMES}MaxRecvDataSegmentLength=512|{unknown}");
    assert_eq!(pair.send("1>3", &text).flags, "C");
    assert_eq!(pair.fail("1>3", "InitialR2T=No|"), LoginError::AnswerInterrupted);
}

#[test]
fn hostile_text_is_refused_within_bounds() {
    let fails = |text: &str| Dialogue::new().fail("1>3", text);
    assert_eq!(fails(&format!("{NAMES}novalue|")), LoginError::Text(TextError::NoEquals));
    assert_eq!(fails(&format!("{NAMES}=1|")), LoginError::Text(TextError::EmptyKey));
    for length in [64, 255, 7000] {
        let text = format!("{NAMES}{}=1|", "K".repeat(length));
        assert_eq!(fails(&text), LoginError::Text(TextError::KeyTooLong));
    }
    for length in [256, 7000] {
        let text = format!("{NAMES}InitiatorAlias={}|", "v".repeat(length));
        assert_eq!(fails(&text), LoginError::ValueTooLong("InitiatorAlias"));
    }
    let pairs = "a=b|".repeat(1900);
    assert_eq!(fails(&format!("{NAMES}{pairs}")), LoginError::DuplicateUnknownKey);
    let pairs: String = (0..500).map(|i| format!("a{i}=b|")).collect();
    assert_eq!(fails(&format!("{NAMES}{pairs}")), LoginError::TooManyKeys);

    let mut pair = Dialogue::new();
    assert_eq!(pair.fail("1c", &"a".repeat(MAX_LOGIN_SEGMENT + 1)), LoginError::TooMuchText);
    let mut pair = Dialogue::new();
    for _ in 0..MAX_LOGIN_TEXT / MAX_LOGIN_SEGMENT {
        assert_eq!(pair.send("1c", &"a".repeat(MAX_LOGIN_SEGMENT)), ok("", ""));
    }
    assert_eq!(pair.fail("1c", "a"), LoginError::TooMuchText);
    let mut pair = Dialogue::new();
    for _ in 0..MAX_LOGIN_REQUESTS {
        assert_eq!(pair.send("1c", ""), ok("", ""));
    }
    assert_eq!(pair.fail("1c", ""), LoginError::TooManyRequests);
}

/// Seeded mutation of whole dialogues: whatever arrives, the machine answers within its bounds, and a login
/// with accounts never succeeds without the secret.
#[test]
fn mutated_dialogues_neither_panic_nor_succeed_without_the_secret() {
    let mut state = 0x5eed_u32;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        usize::try_from(state).unwrap() % below
    };
    let stages = ["0", "0>1", "0>3", "1", "1>3", "0c", "1c", "2", "1>0", "0>2"];
    let first = format!("{NAMES}AuthMethod=CHAP,None|");
    let proof = "CHAP_N=joe|CHAP_R=0x00112233445566778899aabbccddeeff|CHAP_I=1|CHAP_C=0bAAAA|";
    let keys = "InitialR2T=No|MaxRecvDataSegmentLength=512|HeaderDigest=CRC32C,None|X-a=0x1~2|";
    let locked = [("0>1", first.as_str()), ("0", "CHAP_A=5,6,7|"), ("0>1", proof), ("1", keys), ("1>3", "")];
    let bursts = "MaxBurstLength=512|FirstBurstLength=512|";
    let open = [("0>1", first.as_str()), ("1", keys), ("1", bursts), ("1>3", ""), ("1>3", "")];
    let mut logins = 0;
    for round in 0..20_000 {
        let is_locked = round % 2 == 0;
        let mut pair = if is_locked { Dialogue::with_chap() } else { Dialogue::new() };
        let script = if is_locked { &locked } else { &open };
        for turn in script {
            let is_wild = next(8) == 0;
            let (_, text) = if is_wild { script[next(script.len())] } else { *turn };
            let stages = if is_wild { stages[next(stages.len())] } else { turn.0 };
            let mut text = bytes(text);
            for _ in 0..next(4) * next(2) {
                mutate(&mut text, &mut next);
            }
            let step = pair.send_raw(stages, &text);
            if let Some(answer) = &step.answer {
                assert!(answer.text.len() <= MAX_LOGIN_SEGMENT);
                assert!(!(answer.response.transit && answer.response.continues));
            }
            match step.next {
                Next::Continue => assert!(step.answer.is_some()),
                Next::Fail(_) => break,
                Next::OpenSession(_) => {
                    assert!(!is_locked, "a login without the secret");
                    logins += 1;
                    assert!(matches!(pair.login.opened(Ok(1)).next, Next::FullFeature(_)));
                    break;
                }
                Next::FullFeature(_) => panic!("before the session is open"),
            }
        }
    }
    assert!(logins > 1000, "the dialogues get through often enough: {logins}");
}

fn mutate(text: &mut Vec<u8>, next: &mut impl FnMut(usize) -> usize) {
    let at = next(text.len() + 1);
    match next(4) {
        0 => text.insert(at, b"\0=,~x0\xff"[next(7)]),
        1 => text.truncate(at),
        2 if at < text.len() => text[at] ^= 1 << next(8),
        _ => {
            let copy = text[at..].to_vec();
            text.extend_from_slice(&copy);
        }
    }
}
