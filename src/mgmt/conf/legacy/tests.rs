use super::*;

const PROCFS: &str = "\
# Devices of the storage box
[OPTIONS]
KEEP_CONFIG TRUE

[HANDLER vdisk]
DEVICE disk1,/images/disk1.img,WRITE_THROUGH|READ_ONLY,4096,id-disk1
DEVICE disk2,/images/disk2.img,,512
DEVICE blk,/dev/vg0/lv0,BIO|NV_CACHE
DEVICE null,,NULLIO
[HANDLER vcdrom]
DEVICE cd,/images/cd.iso

[GROUP Default]
[GROUP hosts]
USER iqn.1993-08.org.debian:01:*   # all of them
USER iqn.2005-03.org.open-iscsi:?

[ASSIGNMENT hosts]
DEVICE disk1,0
DEVICE disk2,1,READ_ONLY
[ASSIGNMENT Default]
DEVICE null,0
[ASSIGNMENT Default_iqn.2006-10.net.vlnb:b]
DEVICE cd,3
[TARGETS enable]
HOST 21:00:00:e0:8b:05:05:04
";

const SCSTD: &str = "\
iSNSServer 192.168.1.5
iSNSAccessControl Yes
IncomingUser disco secretsecret1
Target iqn.2006-10.net.vlnb:a
\tIncomingUser joe secret{}#12345
\tOutgoingUser box othersecret12
\tAlias \"two words\"
\tMaxConnections 1
\tInitialR2T No
\tMaxBurstLength 16776192
\tMaxOutstandingR2T 8
\tHeaderDigest CRC32C,None
\tQueuedCommands 4096
target iqn.2006-10.net.vlnb:b
\tNopInInterval 0
";

const EXPECTED: &str = r##"# option KEEP_CONFIG was left out: it is about scstadmin
# [TARGETS] 21:00:00:e0:8b:05:05:04 was left out: there is no Fibre Channel
# MaxConnections was left out: it is fixed
# QueuedCommands 4096 became 2048: 1 to 2048 is allowed

HANDLER vdisk_fileio {
	DEVICE disk1 {
		filename /images/disk1.img
		write_through 1
		read_only 1
		blocksize 4096
		t10_dev_id id-disk1
	}

	DEVICE disk2 {
		filename /images/disk2.img
		blocksize 512
	}
}

HANDLER vdisk_blockio {
	DEVICE blk {
		filename /dev/vg0/lv0
		nv_cache 1
	}
}

HANDLER vdisk_nullio {
	DEVICE null
}

HANDLER vcdrom {
	DEVICE cd {
		filename /images/cd.iso
	}
}

TARGET_DRIVER iscsi {
	enabled 1
	IncomingUser "disco secretsecret1"
	iSNSServer "192.168.1.5 AccessControl"

	TARGET iqn.2006-10.net.vlnb:a {
		IncomingUser "joe secret\{\}\#12345"
		OutgoingUser "box othersecret12"
		alias "two words"
		MaxBurstLength 16776192
		MaxOutstandingR2T 8
		HeaderDigest None,CRC32C
		QueuedCommands 2048
		enabled 1
		LUN 0 null

		GROUP hosts {
			LUN 0 disk1

			LUN 1 disk2 {
				read_only 1
			}

			INITIATOR iqn.1993-08.org.debian:01:*
			INITIATOR iqn.2005-03.org.open-iscsi:?
		}
	}

	TARGET iqn.2006-10.net.vlnb:b {
		NopInInterval 0
		enabled 1
		LUN 3 cd

		GROUP hosts {
			LUN 0 disk1

			LUN 1 disk2 {
				read_only 1
			}

			INITIATOR iqn.1993-08.org.debian:01:*
			INITIATOR iqn.2005-03.org.open-iscsi:?
		}
	}
}
"##;

#[test]
fn both_files_make_one_in_any_order() {
    for texts in [[PROCFS, SCSTD], [SCSTD, PROCFS]] {
        let text = convert(&texts).unwrap().text();
        assert_eq!(text, EXPECTED);
        assert_eq!(super::format(&text), Format::Current);
        let again = convert(&[&text]).unwrap();
        assert_eq!(write::text(&again.nodes), text.split_once("\n\n").unwrap().1);
    }
}

#[test]
fn targets_come_from_the_default_groups_if_there_is_no_other_file() {
    let text =
        convert(&["[HANDLER vdisk]\nDEVICE d,/d\n[ASSIGNMENT Default_iqn.x:t]\nDEVICE d,0\n"]).unwrap();
    assert_eq!(text.notes, [""; 0]);
    assert!(text.text().contains("TARGET iqn.x:t {\n\t\tenabled 1\n\t\tLUN 0 d\n"), "{}", text.text());
}

#[test]
fn formats_are_told_apart() {
    assert_eq!(super::format(PROCFS), Format::Procfs);
    assert_eq!(super::format(SCSTD), Format::Scstd);
    for text in ["", "# [HANDLER vdisk]\n", "HANDLER x {\n}\n", "threads 4\n"] {
        assert_eq!(super::format(text), Format::Current, "{text}");
    }
}

#[test]
fn mistakes_have_a_file_a_place_and_what_is_allowed() {
    let good = "[HANDLER vdisk]\nDEVICE d,/d\n";
    let cases: [(&[&str], usize, usize, &str); 21] = [
        (&[good, "iSNSServer a\niSNSAccessControl 1\n"], 1, 2, "Yes and No"),
        (&["[HANDLER vdisk\n"], 0, 1, "not closed with ]"),
        (&[good, "Target a\n  Nonsense 1\n"], 1, 2, "iSNSAccessControl"),
        (&[good, "Target a\nMaxBurstLength x\n"], 1, 2, "bytes"),
        (&[good, "Target a\nInitialR2T yes\n"], 1, 2, "InitialR2T"),
        (&[good, "Target a\nTarget A\n"], 1, 2, "second time"),
        (&[good, "Target a\nIncomingUser joe\n"], 1, 2, "a name and a password"),
        (&[good, "MaxSessions 1\nTarget a\n"], 1, 1, "before the first Target"),
        (&[good, "Target\n"], 1, 1, "wants a value"),
        (&[good, good], 1, 1, "a second scst.conf"),
        (&[good, "HANDLER x {\n}\n"], 1, 1, "today's format"),
        (&["[HANDLER vdisk]\nDEVICE d,/d,FAST\n"], 0, 2, "WRITE_THROUGH"),
        (&["[HANDLER vdisk]\nDEVICE ,/d\n"], 0, 2, "NAME,PATH"),
        (&["[HANDLER vdisk]\nUSER x\n"], 0, 2, "only DEVICE"),
        (&["[HANDLER dev_disk]\nDEVICE 0:0:0:0\n"], 0, 2, "vdisk and vcdrom"),
        (&["[GROUP g]\nDEVICE x\n"], 0, 2, "only USER"),
        (&["[HANDLER]\n"], 0, 1, "wants a name"),
        (&["[OPTIONS]\n[ASSIGNMENT g]\nDEVICE d,x\n"], 0, 3, "NAME,LUN"),
        (&["[OPTIONS]\n[ASSIGNMENT g]\nDEVICE d,1,NULLIO\n"], 0, 3, "READ_ONLY"),
        (&["[ASSIGNMENT g]\n\nDEVICE d,1\n"], 0, 3, "iscsi-scstd.conf"),
        (&["[OPTIONS]\n[NONSENSE]\n"], 0, 2, "ASSIGNMENT"),
    ];
    for (texts, file, line, what) in cases {
        let (number, error) = convert(texts).unwrap_err();
        assert_eq!((number, error.place.line), (file, line), "{texts:?}: {error}");
        assert!(error.text.contains(what), "{texts:?}: {error}");
    }
    let (_, error) = convert(&["x\n[OPTIONS]\n"]).unwrap_err();
    assert!(error.text.contains("before the first"), "{error}");
}

#[test]
fn nothing_is_lost_in_silence() {
    // What a target's own default group hides stays hidden, though others show it.
    let procfs = "[HANDLER vdisk]\nDEVICE d,/d\nDEVICE e,/e\n\
                  [GROUP Default_iqn.x:t]\n[GROUP Default]\nUSER iqn.i\n\
                  [ASSIGNMENT Default]\nDEVICE d,0\n[ASSIGNMENT Default_iqn.x:u]\nDEVICE d,1\n\
                  [ASSIGNMENT Default_iqn.x:v]\nDEVICE d,2\n[ASSIGNMENT Default_iqn.x:u]\nDEVICE e,3\n";
    let alone = convert(&[procfs]).unwrap();
    let text = alone.text();
    assert!(text.contains("TARGET iqn.x:t {\n\t\tenabled 1\n\t}\n"), "{text}");
    assert!(text.contains("TARGET iqn.x:u {\n\t\tenabled 1\n\t\tLUN 1 d\n\t\tLUN 3 e\n\t}\n"), "{text}");
    assert_eq!(text.matches("TARGET iqn.x:u").count(), 1, "{text}");
    assert_eq!(alone.notes, ["USER iqn.i of group Default was left out: who is in no group sees its LUNs"]);

    let scstd = "iSNSServer a\niSNSServer b\nTarget iqn.x:t\nMaxBurstLength 4096\nAlias a\nAlias b\n\
                 MaxBurstLength 1048576\nFirstBurstLength 4096\nFirstBurstLength 8192\n";
    let both = convert(&[procfs, scstd]).unwrap();
    assert!(both.notes.contains(&"iSNSServer a was left out: there is another behind it".to_owned()));
    for name in ["alias", "FirstBurstLength", "MaxBurstLength"] {
        let note = format!("{name} of target iqn.x:t is there twice; the last one was taken");
        assert!(both.notes.contains(&note), "{name}: {:?}", both.notes);
    }
    let text = both.text();
    assert!(text.contains("\t\talias b\n\t\tFirstBurstLength 8192\n\t\tenabled 1\n\t}\n"), "{text}");
    let notes = convert(&["[HANDLER vdisk]\nDEVICE d,/d\n[GROUP hosts]\nUSER iqn.i\n"]).unwrap().notes;
    assert_eq!(notes, ["group hosts was left out: this file names no targets"]);
    let notes = convert(&["iSNSAccessControl Yes\nTarget iqn.x:t\n"]).unwrap().notes;
    assert_eq!(notes, ["iSNSAccessControl was left out: there is no iSNSServer"]);
}

#[test]
fn a_byte_order_mark_is_called_by_its_name() {
    for text in [PROCFS, SCSTD, "threads 4\n"] {
        let (_, error) = convert(&[&format!("\u{feff}{text}")]).unwrap_err();
        assert!(error.text.contains("byte order mark"), "{error}");
        let error = crate::mgmt::conf::text(format!("\u{feff}{text}").into_bytes()).unwrap_err();
        assert!(error.text.contains("byte order mark"), "{error}");
    }
}

#[test]
fn any_text_is_converted_or_refused() {
    let mut seed = 1u64;
    let mut next = |limit: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % limit
    };
    for _ in 0..3_000 {
        let mut texts = [PROCFS.as_bytes().to_vec(), SCSTD.as_bytes().to_vec()];
        for _ in 0..1 + next(6) {
            let text = &mut texts[next(2)];
            let at = next(text.len());
            match next(3) {
                0 => text[at] = b"[]#,\" \n{}\0xA"[next(12)],
                1 => drop(text.remove(at)),
                _ => text.insert(at, b"[]#,\" \n{}\0xA"[next(12)]),
            }
        }
        let [a, b] = texts.map(|text| String::from_utf8(text).unwrap());
        if let Ok(converted) = convert(&[&a, &b]) {
            let text = converted.text();
            parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        }
    }
}
