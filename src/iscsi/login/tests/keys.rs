//! Answers to keys.

use super::*;

#[test]
fn rfc7143_6_2_results() {
    let mut pair = Dialogue::new();
    let agreed = pair.agree(
        "HeaderDigest=CRC32C,None|DataDigest=None|MaxConnections=8|InitialR2T=No|ImmediateData=Yes|\
         MaxRecvDataSegmentLength=262144|MaxBurstLength=16776192|FirstBurstLength=4096|DefaultTime2Wait=2|\
         DefaultTime2Retain=20|MaxOutstandingR2T=4|DataPDUInOrder=Yes|DataSequenceInOrder=No|\
         ErrorRecoveryLevel=2|IFMarker=No|OFMarkInt=1~5|TaskReporting=FastAbort,RFC3720|\
         iSCSIProtocolLevel=2|RDMAExtensions=Yes|X-example.key=1|",
    );
    let value = |key: KeyId| agreed.values[key];
    assert_eq!(value(KeyId::HeaderDigest), 1, "CRC32C is not among ours");
    assert_eq!((value(KeyId::MaxConnections), value(KeyId::ErrorRecoveryLevel)), (1, 0));
    assert_eq!((value(KeyId::InitialR2T), value(KeyId::ImmediateData)), (0, 1));
    assert_eq!(value(KeyId::MaxRecvDataSegmentLength), 262_144);
    assert_eq!((value(KeyId::MaxBurstLength), value(KeyId::FirstBurstLength)), (1_048_576, 4096));
    assert_eq!((value(KeyId::DefaultTime2Wait), value(KeyId::DefaultTime2Retain)), (2, 0));
    assert_eq!(value(KeyId::MaxOutstandingR2T), 4);
    assert_eq!((value(KeyId::DataPDUInOrder), value(KeyId::DataSequenceInOrder)), (1, 0));
    assert_eq!((value(KeyId::TaskReporting), value(KeyId::IscsiProtocolLevel)), (1, 2));
    assert_eq!(value(KeyId::RDMAExtensions), 0);
    assert_eq!(agreed.our_segment_length, 1_048_576);
}

#[test]
fn rfc7143_13_agreed_values_become_parameters() {
    let mut pair = Dialogue::with_offer(|offer| {
        offer.values[KeyId::HeaderDigest] = 3;
        offer.values[KeyId::MaxXmitDataSegmentLength] = 4096;
        offer.values[KeyId::NopInInterval] = 7;
    });
    let agreed = pair.agree("HeaderDigest=CRC32C|DefaultTime2Wait=3|MaxRecvDataSegmentLength=65536|");
    let expected = Parameters {
        header_digest: true,
        max_recv_data_segment_length: 1_048_576,
        max_send_data_segment_length: 4096,
        default_time2wait: 3,
        cid: 1,
        nop_in_interval: 7,
        ..Parameters::default()
    };
    assert_eq!(agreed.parameters(), expected);
}

/// The answer to `text` in the operational stage, without what the first answer always says.
fn answered(pair: &mut Dialogue, text: &str) -> String {
    let answer = pair.send("1", &format!("{NAMES}{text}"));
    assert_eq!(answer.status, 0, "{text}");
    answer.text.replace("TargetPortalGroupTag=1|", "").replace(DECLARED, "")
}

#[test]
fn rfc7143_6_2_each_kind_of_answer() {
    let mut pair = Dialogue::with_offer(|offer| {
        offer.values[KeyId::HeaderDigest] = 2;
        offer.values[KeyId::InitialR2T] = 1;
        offer.values[KeyId::RDMAExtensions] = 1;
    });
    for (offer, answer) in [
        ("HeaderDigest=CRC32C,None", "CRC32C"),
        ("DataDigest=CRC32C", "Reject"),
        ("InitialR2T=No", "Yes"),
        ("ImmediateData=yes", "Reject"),
        ("MaxConnections=0", "Reject"),
        ("MaxOutstandingR2T=65536", "32"),
        ("DefaultTime2Wait=3601", "Reject"),
        ("DefaultTime2Retain=3601", "0"),
        ("IFMarker=No", "Reject"),
        ("OFMarker=Yes", "Reject"),
        ("IFMarkInt=2048", "Reject"),
        ("OFMarkInt=1~65535", "Reject"),
        ("TaskReporting=FastAbort", "Reject"),
        ("TargetAlias=mine", "Reject"),
        ("TargetPortalGroupTag=1", "Reject"),
        ("SendTargets=All", "Reject"),
        ("RDMAExtensions=Yes", "No"),
        ("InitiatorRecvDataSegmentLength=8192", "NotUnderstood"),
        ("MaxXmitDataSegmentLength=8192", "NotUnderstood"),
        ("X-com.example.key=anything", "NotUnderstood"),
        ("initialR2T=No", "NotUnderstood"),
    ] {
        let key = offer.split('=').next().unwrap();
        assert_eq!(answered(&mut pair, &format!("{offer}|")), format!("{key}={answer}|"));
    }
}

#[test]
fn rfc7143_6_2_list_values() {
    for (list, answer) in [
        ("None", "None"),
        ("None,CRC32C", "None"),
        ("CRC32C,None", "CRC32C"),
        ("SHA,CRC32C", "CRC32C"),
        ("CRC32C,,None", "CRC32C"),
        ("crc32c,none", "Reject"),
        ("SHA", "Reject"),
        ("", "Reject"),
        (",,,,,,", "Reject"),
        ("Reject", "Reject"),
    ] {
        let mut pair = Dialogue::with_offer(|offer| offer.values[KeyId::HeaderDigest] = 3);
        let expected = format!("HeaderDigest={answer}|");
        assert_eq!(answered(&mut pair, &format!("HeaderDigest={list}|")), expected, "{list}");
    }
    let commas = format!("{NAMES}HeaderDigest={}|", ",".repeat(4000));
    assert_eq!(Dialogue::new().fail("1", &commas), LoginError::ValueTooLong("HeaderDigest"));
}

#[test]
fn rfc7143_6_1_numbers_in_a_minimum_negotiation() {
    for (value, answer) in [
        ("", "Reject"),
        ("-1", "Reject"),
        ("+5", "Reject"),
        ("0x", "Reject"),
        ("0xZZ", "Reject"),
        ("18446744073709551616", "Reject"),
        ("1~5", "Reject"),
        ("0512", "Reject"),
        ("0", "Reject"),
        ("511", "Reject"),
        ("512", "512"),
        ("0x200", "512"),
        ("262144", "262144"),
        ("16777215", "1048576"),
        ("16777216", "1048576"),
        ("4294967296", "1048576"),
        ("18446744073709551615", "1048576"),
    ] {
        let expected = format!("MaxBurstLength={answer}|");
        assert_eq!(answered(&mut Dialogue::new(), &format!("MaxBurstLength={value}|")), expected, "{value}");
    }
}

#[test]
fn rfc7143_13_12_declared_segment_lengths() {
    for (value, answer, in_force) in [
        ("512", "", 512),
        ("16777215", "", 16_777_215),
        ("16777216", "", 16_777_215),
        ("511", "MaxRecvDataSegmentLength=Reject|", 8192),
        ("many", "MaxRecvDataSegmentLength=Reject|", 8192),
    ] {
        let mut pair = Dialogue::new();
        let text = format!("MaxRecvDataSegmentLength={value}|");
        assert_eq!(answered(&mut pair, &text), answer);
        assert!(matches!(pair.send_raw("1>3", b"").next, Next::OpenSession(_)));
        let Next::FullFeature(agreed) = pair.login.opened(Ok(1)).next else { panic!() };
        assert_eq!(agreed.values[KeyId::MaxRecvDataSegmentLength], in_force);
    }
}

#[test]
fn rfc7143_13_14_first_burst_never_exceeds_max_burst() {
    let agreed = Dialogue::new().agree("FirstBurstLength=65536|MaxBurstLength=4096|");
    assert_eq!(agreed.values[KeyId::FirstBurstLength], 4096);
}

#[test]
fn rfc7143_13_keys_irrelevant_in_discovery() {
    let mut pair = Dialogue::new();
    let names = "InitiatorName=iqn.2000-01.example:initiator|SessionType=Discovery|TargetName=iqn.x|";
    for key in KEYS.iter().filter(|key| key.irrelevant_in_discovery) {
        let answer = pair.send("1", &format!("{names}{}=1|", key.name));
        assert_eq!(answer.text.replace(DECLARED, ""), format!("{}=Irrelevant|", key.name));
    }
    let last = pair.send_raw("1>3", &bytes("HeaderDigest=None|"));
    let Next::OpenSession(session) = last.next else { panic!() };
    assert_eq!((session.session_type, session.target), (SessionType::Discovery, None));
}

#[test]
fn rfc7143_6_3_keys_sent_twice() {
    let twice = |text: &str| Dialogue::new().fail("1", &format!("{NAMES}{text}"));
    assert_eq!(twice("InitialR2T=No|InitialR2T=No|"), LoginError::DuplicateKey("InitialR2T"));
    assert_eq!(twice("A=1|B=1|A=1|"), LoginError::DuplicateUnknownKey);
    assert_eq!(twice("InitiatorName=iqn.other|"), LoginError::DuplicateKey("InitiatorName"));
    assert_eq!(twice("TargetName=iqn.other|"), LoginError::DuplicateKey("TargetName"));
    assert_eq!(
        twice("MaxRecvDataSegmentLength=512|MaxRecvDataSegmentLength=1024|"),
        LoginError::DuplicateKey("MaxRecvDataSegmentLength")
    );
    assert_eq!(
        answered(&mut Dialogue::new(), "MaxRecvDataSegmentLength=512|MaxRecvDataSegmentLength=512|"),
        ""
    );

    let mut pair = Dialogue::new();
    pair.send("1", &format!("{NAMES}MaxBurstLength=512|"));
    assert_eq!(pair.fail("1", "MaxBurstLength=512|"), LoginError::DuplicateKey("MaxBurstLength"));

    let security = |text: &str| Dialogue::with_chap().fail("0", &format!("{NAMES}{text}"));
    assert_eq!(security("AuthMethod=CHAP|AuthMethod=CHAP|"), LoginError::DuplicateKey("AuthMethod"));
    assert_eq!(security("AuthMethod=CHAP|CHAP_A=5|CHAP_A=7|"), LoginError::DuplicateKey("CHAP_A"));
    let mut pair = Dialogue::with_chap();
    pair.send("0", &format!("{NAMES}AuthMethod=CHAP|"));
    assert_eq!(pair.fail("0", "AuthMethod=CHAP|"), LoginError::DuplicateKey("AuthMethod"));
}

#[test]
fn rfc7143_13_names_come_with_the_first_request() {
    let mut pair = Dialogue::new();
    pair.send("1", "InitiatorName=iqn.2000-01.example:initiator|SessionType=Discovery|");
    assert_eq!(pair.fail("1", "TargetName=iqn.x|"), LoginError::LateName("TargetName"));
    let mut pair = Dialogue::new();
    pair.send("1", NAMES);
    assert_eq!(pair.send("1", "SessionType=Normal|InitiatorAlias=late|").status, 0);
    assert_eq!(pair.fail("1", "SessionType=Discovery|"), LoginError::LateName("SessionType"));
}

#[test]
fn rfc7143_12_keys_of_the_other_stage() {
    for text in ["AuthMethod=None|", "CHAP_A=5|", "CHAP_N=joe|", "CHAP_R=0x00|"] {
        let key = text.split('=').next().unwrap();
        let error = Dialogue::new().fail("1", &format!("{NAMES}{text}"));
        assert!(matches!(error, LoginError::WrongStage(name) if name == key));
    }
    let mut pair = Dialogue::new();
    let answer = pair.send("0", &format!("{NAMES}InitialR2T=No|MaxRecvDataSegmentLength=4096|Z=1|"));
    assert_eq!(answer, ok("", "TargetPortalGroupTag=1|InitialR2T=Reject|Z=NotUnderstood|"));
    assert_eq!(pair.send("0>1", "").flags, "T1");
    assert_eq!(
        pair.send("1", "InitialR2T=No|").text,
        format!("InitialR2T=No|{DECLARED}"),
        "a Reject is no result"
    );
}

#[test]
fn rfc7143_6_2_our_offers_must_be_answered() {
    let strict = || {
        Dialogue::with_offer(|offer| {
            offer.values[KeyId::ImmediateData] = 0;
            offer.values[KeyId::FirstBurstLength] = 1024;
        })
    };
    let offered = format!("TargetPortalGroupTag=1|{DECLARED}ImmediateData=No|FirstBurstLength=1024|");
    let mut pair = strict();
    assert_eq!(pair.send("1>3", NAMES), ok("", &offered));
    assert_eq!(pair.send("1>3", "ImmediateData=No|FirstBurstLength=0x200|"), ok("T3", ""));

    let mut silent = strict();
    silent.send("1>3", NAMES);
    assert_eq!(silent.fail("1>3", ""), LoginError::Unanswered);
    for bad in ["ImmediateData=Yes|", "FirstBurstLength=1025|", "FirstBurstLength=Reject|"] {
        let mut pair = strict();
        pair.send("1>3", NAMES);
        assert!(matches!(pair.fail("1>3", bad), LoginError::BadAnswer(_)), "{bad}");
    }
    let mut again = strict();
    again.send("1>3", NAMES);
    let error = again.fail("1>3", "ImmediateData=No|ImmediateData=No|");
    assert_eq!(error, LoginError::DuplicateKey("ImmediateData"));

    let mut spoken = strict();
    let text = format!("{NAMES}ImmediateData=Yes|FirstBurstLength=512|");
    let answer = format!("TargetPortalGroupTag=1|ImmediateData=No|FirstBurstLength=512|{DECLARED}");
    assert_eq!(spoken.send("1>3", &text), ok("T3", &answer));
}
