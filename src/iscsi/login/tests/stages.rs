//! Stages, transitions and refusals.

use super::*;
use crate::iscsi::directory::Redirect;

#[test]
fn rfc7143_6_3_operational_stage_alone() {
    let mut pair = Dialogue::new();
    let first = pair.send("1>3", NAMES);
    assert_eq!(first, ok("T3", &format!("TargetPortalGroupTag=1|{DECLARED}")));
}

#[test]
fn rfc7143_6_3_both_stages_without_authentication() {
    let mut pair = Dialogue::with_offer(|offer| offer.alias = "a disk".into());
    let first = pair.send("0>1", &format!("{NAMES}SessionType=Normal|AuthMethod=CHAP,None|"));
    assert_eq!(first, ok("T1", "TargetPortalGroupTag=1|TargetAlias=a disk|AuthMethod=None|"));
    // Initiators repeat their first keys in the operational stage.
    let second = pair.send("1>3", &format!("{NAMES}SessionType=Normal|InitialR2T=No|"));
    assert_eq!(second, ok("T3", &format!("InitialR2T=No|{DECLARED}")));
}

#[test]
fn rfc7143_6_3_security_stage_may_lead_to_full_feature_phase() {
    let mut pair = Dialogue::new();
    let step = pair.send_raw("0>3", &bytes(&format!("{NAMES}AuthMethod=None|")));
    assert!(matches!(step.next, Next::OpenSession(_)));
    let Next::FullFeature(agreed) = pair.login.opened(Ok(5)).next else { panic!() };
    assert_eq!((agreed.session.tsih, agreed.our_segment_length), (5, 8192));
    assert_eq!(agreed.values, Values::standard());
}

#[test]
fn rfc7143_6_3_partial_requests_without_transit() {
    let mut pair = Dialogue::new();
    assert_eq!(pair.send("0", NAMES), ok("", "TargetPortalGroupTag=1|"));
    assert_eq!(pair.send("0", "AuthMethod=None|"), ok("", "AuthMethod=None|"));
    assert_eq!(pair.send("0>1", ""), ok("T1", ""));
    assert_eq!(pair.send("1", "InitialR2T=Yes|"), ok("", &format!("InitialR2T=Yes|{DECLARED}")));
    assert_eq!(pair.send("1", "ImmediateData=No|"), ok("", "ImmediateData=No|"));
    assert_eq!(pair.send("1>3", ""), ok("T3", ""));
}

#[test]
fn rfc7143_6_3_the_session_is_opened_before_the_last_answer() {
    let mut pair = Dialogue::new();
    pair.header.tsih = 9;
    let step = pair.send_raw("1>3", &bytes(&format!("{NAMES}InitiatorAlias=me|")));
    assert!(step.answer.is_none());
    let Next::OpenSession(session) = step.next else { panic!() };
    assert_eq!(session.initiator.as_str(), "iqn.2000-01.example:initiator");
    assert_eq!(session.target.as_ref().unwrap().as_str(), TARGET);
    let identity = (session.isid, session.tsih, session.cid, session.cmd_sn);
    assert_eq!(identity, ([0x80, 0, 0, 0, 0, 1], 9, 1, 100));
    assert_eq!((session.initiator_alias.as_str(), session.user), ("me", None));
    let last = pair.login.opened(Ok(9));
    assert_eq!(last.answer.as_ref().unwrap().response.tsih, 9);
    assert!(matches!(last.next, Next::FullFeature(_)));
    assert_eq!(pair.fail("1>3", ""), LoginError::Ended);
}

#[test]
fn rfc7143_11_13_5_the_session_table_may_refuse() {
    for status in [0x0206, 0x020a, 0x0302] {
        let mut pair = Dialogue::new();
        assert!(matches!(pair.send_raw("1>3", &bytes(NAMES)).next, Next::OpenSession(_)));
        let step = pair.login.opened(Err(LoginStatus(status)));
        assert_eq!(step.answer.as_ref().unwrap().response.tsih, 0);
        assert_eq!(seen(step.answer), Seen { flags: String::new(), text: String::new(), status });
        assert!(matches!(step.next, Next::Fail(LoginError::Refused(_))));
    }
    let nothing = Dialogue::new().login.opened(Ok(1));
    assert!(nothing.answer.is_none() && matches!(nothing.next, Next::Fail(LoginError::Ended)));
}

/// One line of the table of refusals: what goes wrong, what is sent, the status.
type Refused = (&'static str, fn(&mut Dialogue), &'static str, &'static str, Option<u16>);

const BAD_NAME: &str = "InitiatorName=iqn.a b|TargetName=iqn.2000-01.example:disk|";
const UNKNOWN: &str = "InitiatorName=iqn.2000-01.example:initiator|TargetName=iqn.2000-01.example:none|";
const NO_TARGET: &str = "InitiatorName=iqn.2000-01.example:initiator|";

fn locked(pair: &mut Dialogue) {
    pair.directory.offer = Dialogue::with_chap().directory.offer;
}

fn moved(pair: &mut Dialogue, is_permanent: bool) {
    let redirect = Some(Redirect { address: "10.0.0.7:3260".into(), is_permanent });
    pair.directory.offer = Ok(Offer { redirect, ..Offer::open() });
}

const REFUSALS: &[Refused] = &[
    ("not immediate", |p| p.header.is_immediate = false, "1>3", NAMES, Some(0x0200)),
    ("version", |p| p.header.version_min = 1, "1>3", NAMES, Some(0x0205)),
    ("version ff", |p| p.header.version_min = 0xff, "1>3", NAMES, Some(0x0205)),
    ("no text", |_| {}, "1>3", "", Some(0x0207)),
    ("no InitiatorName", |_| {}, "1>3", "TargetName=iqn.2000-01.example:disk|", Some(0x0207)),
    ("bad InitiatorName", |_| {}, "1>3", BAD_NAME, Some(0x0200)),
    ("suspended", |p| p.directory.is_suspended = true, "1>3", NAMES, Some(0x0301)),
    ("suspended, unknown target", |p| p.directory.is_suspended = true, "1>3", UNKNOWN, Some(0x0301)),
    ("session type", |_| {}, "1>3", "InitiatorName=iqn.a|SessionType=Other|", Some(0x0209)),
    ("no TargetName", |_| {}, "1>3", NO_TARGET, Some(0x0207)),
    ("unknown target", |_| {}, "1>3", UNKNOWN, Some(0x0203)),
    ("bad TargetName", |_| {}, "1>3", "InitiatorName=iqn.a|TargetName=a/../b|", Some(0x0203)),
    ("disabled", |p| p.directory.offer = Err(Refusal::Silent), "1>3", NAMES, None),
    (
        "denied",
        |p| p.directory.offer = Err(Refusal::Status(LoginStatus::AUTHORIZATION_FAILURE)),
        "1>3",
        NAMES,
        Some(0x0202),
    ),
    ("moved for now", |p| moved(p, false), "1>3", NAMES, Some(0x0101)),
    ("moved for good", |p| moved(p, true), "0>1", NAMES, Some(0x0102)),
    ("operational stage without CHAP", locked, "1>3", NAMES, Some(0x0201)),
    ("full feature phase without CHAP", locked, "0>3", NAMES, Some(0x0201)),
    ("security stage without AuthMethod", locked, "0>1", NAMES, Some(0x0201)),
    ("continue and transit", |_| {}, "0>1c", NAMES, Some(0x0200)),
    ("reserved current stage", |_| {}, "2", NAMES, Some(0x0200)),
    ("full feature phase as current stage", |_| {}, "3", NAMES, Some(0x0200)),
    ("reserved next stage", |_| {}, "0>2", NAMES, Some(0x0200)),
    ("same stage", |_| {}, "1>1", NAMES, Some(0x0200)),
    ("stage backwards", |_| {}, "1>0", NAMES, Some(0x0200)),
    ("security keys in the operational stage", |_| {}, "1>3", "InitiatorName=iqn.a|CHAP_A=5|", Some(0x0207)),
];

#[test]
fn rfc7143_11_13_5_every_refusal_has_its_status() {
    for (what, prepare, stages, text, status) in REFUSALS {
        let mut pair = Dialogue::new();
        prepare(&mut pair);
        let step = pair.send_raw(stages, &bytes(text));
        assert!(matches!(step.next, Next::Fail(_)), "{what}");
        let answer = step.answer.as_ref();
        assert_eq!(answer.map(|answer| answer.response.status), *status, "{what}");
        assert!(answer.is_none_or(|answer| !answer.response.transit && !answer.response.continues), "{what}");
        assert_eq!(pair.fail(stages, text), LoginError::Ended, "{what}: the login has ended");
    }
}

#[test]
fn rfc7143_13_8_redirections_carry_the_address() {
    let mut pair = Dialogue::new();
    moved(&mut pair, true);
    let answer = pair.send("0>1", NAMES);
    let expected = Seen { flags: "".into(), text: "TargetAddress=10.0.0.7:3260|".into(), status: 0x0102 };
    assert_eq!(answer, expected);
}

#[test]
fn rfc7143_11_12_identifiers_stay_the_same() {
    let changes: [fn(&mut LoginRequest); 5] = [
        |h| h.initiator_task_tag += 1,
        |h| h.cid += 1,
        |h| h.isid[5] += 1,
        |h| h.tsih += 1,
        |h| h.cmd_sn += 1,
    ];
    for change in changes {
        let mut pair = Dialogue::new();
        pair.send("1", NAMES);
        change(&mut pair.header);
        assert_eq!(pair.fail("1", ""), LoginError::IdentifierChanged);
    }
}
