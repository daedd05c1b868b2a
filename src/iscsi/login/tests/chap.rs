//! Authentication within a login.

use super::*;

#[test]
fn rfc7143_12_chap_one_way() {
    for algorithm in ["5", "6", "7", "8"] {
        let mut pair = Dialogue::with_chap();
        let first = pair.send("0>1", &format!("{NAMES}AuthMethod=CHAP,None|"));
        assert_eq!(first, ok("", "TargetPortalGroupTag=1|AuthMethod=CHAP|"));
        let second = pair.send("0", &format!("CHAP_A={algorithm}|"));
        let third = pair.send("0>1", &respond(&second.text, SECRET));
        assert_eq!(third, ok("T1", ""));
        assert!(matches!(pair.send_raw("1>3", b"").next, Next::OpenSession(session) if
            session.user.as_deref() == Some("joe")));
    }
}

#[test]
fn rfc7143_12_chap_mutual() {
    let mut pair = Dialogue::with_chap();
    let outgoing = Account { name: "disk".into(), secret: Secret::new("secret of disk") };
    pair.directory.offer.as_mut().unwrap().accounts.outgoing = Some(outgoing);
    pair.send("0>1", &format!("{NAMES}AuthMethod=CHAP|"));
    let second = pair.send("0", "CHAP_A=7|");
    let response = respond(&second.text, SECRET);
    let third = pair.send("0>1", &format!("{response}CHAP_I=3|CHAP_C=0x0102|"));
    let digest = Algorithm::Sha256.digest(&[&[3], b"secret of disk", &[1, 2]]);
    let expected = format!("CHAP_N=disk|CHAP_R={}|", encode_binary(digest.as_ref(), Encoding::Hex));
    assert_eq!(third, ok("T1", &expected));
}

#[test]
fn rfc7143_12_chap_failures_are_authentication_failures() {
    let start = |pair: &mut Dialogue| pair.send("0>1", &format!("{NAMES}AuthMethod=CHAP|"));
    let status = |error: LoginError| error.status().unwrap().0;
    for bad in ["CHAP_A=56|", "CHAP_A=|", "CHAP_A=4|", "CHAP_N=joe|CHAP_R=0x00|", "CHAP_R=0x00|"] {
        let mut pair = Dialogue::with_chap();
        start(&mut pair);
        assert_eq!(status(pair.fail("0", bad)), 0x0201, "{bad}");
    }
    let mut pair = Dialogue::with_chap();
    start(&mut pair);
    let second = pair.send("0", "CHAP_A=5|");
    let wrong = respond(&second.text, "another secret");
    assert_eq!(pair.fail("0>1", &wrong), LoginError::Chap(ChapError::WrongSecret));

    // A recorded exchange does not fit another challenge.
    let mut pair = Dialogue::with_chap();
    start(&mut pair);
    let recorded = respond(&pair.send("0", "CHAP_A=5|").text, SECRET);
    let mut replay = Dialogue::with_chap();
    replay.seed = 2;
    start(&mut replay);
    replay.send("0", "CHAP_A=5|");
    assert_eq!(replay.fail("0>1", &recorded), LoginError::Chap(ChapError::WrongSecret));
}

#[test]
fn rfc7143_12_1_methods_that_do_not_fit_are_rejected() {
    for (mut pair, methods) in [
        (Dialogue::with_chap(), "None"),
        (Dialogue::with_chap(), "KRB5,SRP"),
        (Dialogue::new(), "CHAP"),
        (Dialogue::new(), ""),
        (Dialogue::new(), "none"),
    ] {
        let answer = pair.send("0>1", &format!("{NAMES}AuthMethod={methods}|"));
        assert_eq!((answer.status, answer.text.as_str()), (0x0201, "AuthMethod=Reject|"), "{methods}");
    }
}

#[test]
fn rfc7143_6_3_the_security_stage_is_not_left_before_chap_is_done() {
    let mut pair = Dialogue::with_chap();
    for stages in ["0>1", "0>3"] {
        let text = if stages == "0>1" { format!("{NAMES}AuthMethod=CHAP|") } else { String::new() };
        assert_eq!(pair.send(stages, &text).flags, "");
    }
    assert_eq!(pair.send("0>3", "CHAP_A=5|").flags, "");
    assert_eq!(pair.send("0>3", "").flags, "");
    assert_eq!(pair.fail("1>3", ""), LoginError::CurrentStage);
}

#[test]
fn internal_portals_need_no_authentication_in_the_operational_stage() {
    let internal = |pair: &mut Dialogue| pair.directory.offer.as_mut().unwrap().is_internal_portal = true;
    let mut pair = Dialogue::with_chap();
    internal(&mut pair);
    assert_eq!(pair.send("1>3", NAMES).flags, "T3");
    let mut pair = Dialogue::with_chap();
    internal(&mut pair);
    let answer = pair.send("0>1", &format!("{NAMES}AuthMethod=None|"));
    assert_eq!(answer.status, 0x0201, "the security stage authenticates even there");
}

#[test]
fn no_random_bytes_end_the_login() {
    let mut pair = Dialogue::with_chap();
    pair.send("0>1", &format!("{NAMES}AuthMethod=CHAP|"));
    let mut none = |_: &mut [u8]| Err(NoRandomness);
    let header = pair.header;
    let step = pair.login.request(&header, &bytes("CHAP_A=5|"), &pair.directory, &mut none);
    assert_eq!(seen(step.answer).status, 0x0300);
}

#[test]
fn rfc7143_6_2_chap_split_at_every_byte_gives_the_same_login() {
    let run = |cut: Option<usize>| {
        let mut pair = Dialogue::with_chap();
        pair.send("0>1", &format!("{NAMES}AuthMethod=CHAP|"));
        let response = bytes(&respond(&pair.send("0", "CHAP_A=7|").text, SECRET));
        let cut = cut.unwrap_or(response.len());
        assert_eq!(seen(pair.send_raw("0c", &response[..cut]).answer), ok("", ""));
        (seen(pair.send_raw("0>1", &response[cut..]).answer), response.len())
    };
    let (whole, length) = run(None);
    assert_eq!(whole, ok("T1", ""));
    for cut in 0..length {
        assert_eq!(run(Some(cut)).0, whole);
    }
}
