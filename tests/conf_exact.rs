//! scst.conf: what becomes of what a file leaves out, and what is found out without opening anything.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;
mod whole;

use std::sync::Arc;

use common::Folder;
use scstu::mgmt::conf::{self, Mode, apply_text};
use whole::{everything, lines, loaded, model, saved};

/// The same objects as in [`whole::EVERYTHING`], and nothing said of them.
const BARE: &str = r##"HANDLER vdisk_fileio {
	DEVICE f1 {
		filename "{F}/f 1"
	}
	DEVICE f2 {
		filename {F}/f2
	}
}
HANDLER vdisk_blockio {
	DEVICE b1 {
		filename {F}/b1
	}
}
HANDLER vdisk_nullio {
	DEVICE n1
	DEVICE n2 {
		size_mb 64
	}
}
HANDLER vcdrom {
	DEVICE cd0
	DEVICE cd1
}
TARGET_DRIVER iscsi {
	enabled 1
	TARGET iqn.2006-10.net.vlnb:Mixed {
		rel_tgt_id 7
		enabled 1
		LUN 0 f1
		GROUP zz {
			LUN 0 f2
		}
		GROUP aa
	}
	TARGET iqn.2006-10.net.vlnb:off
}
DEVICE_GROUP dg1 {
	DEVICE f1
	TARGET_GROUP tg_local {
		group_id 1
		TARGET iqn.2006-10.net.vlnb:Mixed
	}
	TARGET_GROUP tg_remote {
		group_id 2
		TARGET iqn.2006-10.net.vlnb:peer {
			rel_tgt_id 2
		}
	}
}
"##;

#[test]
fn exact_puts_what_the_file_leaves_out_back_to_its_default() {
    let folder = Folder::new("conf-defaults");
    let model = loaded(&everything(&folder));
    apply_text(&model, "TARGET_DRIVER iscsi {\n\tisns_entity_name x\n}\n", Mode::Merge).unwrap();
    let bare = BARE.replace("{F}", folder.0.to_str().unwrap());
    let clean = saved(&loaded(&bare));
    let steps = lines(&model, &bare, Mode::Exact);
    for line in [
        "~ the whole: setup_id 0x1234 -> 0x0, its default",
        "~ the whole: cluster_name a b -> \"\", its default",
        "~ driver iscsi: link_local 0 -> 1, its default",
        "~ driver copy_manager: allow_not_connected_copy 1 -> 0, its default",
        "~ target iqn.2006-10.net.vlnb:Mixed: HeaderDigest None,CRC32C -> None, its default",
        "~ target iqn.2006-10.net.vlnb:Mixed: addr_method FLAT -> PERIPHERAL, its default",
        "~ device group dg1, target group tg_remote: state nonoptimized -> active, its default",
        "- device f1, and every LUN that it is",
    ] {
        assert!(steps.iter().any(|step| step == line), "{line} is missing in\n{steps:#?}");
    }
    assert!(!steps.iter().any(|step| step.contains("rel_tgt_id")), "{steps:#?}");
    apply_text(&model, &bare, Mode::Exact).unwrap_or_else(|error| panic!("{error}\n{steps:#?}"));
    assert_eq!(saved(&model), clean, "{steps:#?}");
    assert_eq!(lines(&model, &bare, Mode::Exact), [""; 0]);
    // What is not mentioned stays without being asked.
    let model = loaded(&everything(&folder));
    let before = saved(&model);
    assert!(!lines(&model, &bare, Mode::Merge).iter().any(|step| step.contains("default")));
    assert_eq!(saved(&model), before);
}

#[test]
fn attributes_of_devices_go_back_while_they_are_in_use() {
    let device = |attributes: &str| format!("HANDLER vdisk_nullio {{\n\tDEVICE d {{\n{attributes}\t}}\n}}\n");
    let model = loaded(&device(
        "size_mb 10\nusn 7\nprod_id P\nnaa_id 0x5000000000000001\nthreads_num 3\nread_zero 1\n\
         max_tgt_dev_commands 5\nopt_trans_len 4096\nnuma_node_id 0\nscsi_device_name n\n",
    ));
    let clean = saved(&loaded(&device("size_mb 10\n")));
    let unit = Arc::clone(&model.configuration().devices.get("d").unwrap().device);
    apply_text(&model, &device(""), Mode::Exact).unwrap();
    assert_eq!(saved(&model), clean, "the size stays");
    assert!(Arc::ptr_eq(&unit, &model.configuration().devices.get("d").unwrap().device));
    assert_eq!((unit.settings().max_tgt_dev_commands, unit.settings().opt_trans_len), (64, 524_288));
    assert_ne!(unit.settings().identity.usn, "7");
}

#[test]
fn numbers_of_groups_go_back_to_the_0_that_nobody_can_write() {
    let file = |numbers: bool| {
        let line = |line: &str| if numbers { line.to_owned() } else { String::new() };
        format!(
            "DEVICE_GROUP dg {{\n\tTARGET_GROUP g {{\n{}\t\tTARGET iqn.far:t {{\n{}\t\t}}\n\t}}\n}}\n",
            line("\t\tgroup_id 5\n"),
            line("\t\t\trel_tgt_id 7\n")
        )
    };
    let numbered = || loaded(&file(true));
    let clean = saved(&loaded(&file(false)));
    assert!(clean.contains("group_id 0") && clean.contains("rel_tgt_id 0"), "{clean}");
    assert_eq!(
        lines(&numbered(), &file(false), Mode::Exact),
        [
            "~ device group dg, target group g: group_id 5 -> 0, its default",
            "~ device group dg, target group g, target iqn.far:t: rel_tgt_id 7 -> 0, its default"
        ]
    );
    // A saved file says 0; that is meant in both ways to apply it, and stays when the file says nothing.
    for (text, mode) in [(&file(false), Mode::Exact), (&clean, Mode::Exact), (&clean, Mode::Merge)] {
        let model = numbered();
        apply_text(&model, text, mode).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(saved(&model), clean, "{mode:?}\n{text}");
        assert_eq!(lines(&model, text, mode), [""; 0]);
    }
    let model = numbered();
    apply_text(&model, &file(false), Mode::Merge).unwrap();
    assert_eq!(saved(&model), saved(&numbered()));
}

#[test]
fn a_file_is_checked_without_opening_anything() {
    let model = model();
    let check = |text: &str| conf::check_text(&model, text, Mode::Merge);
    let good = "HANDLER vdisk_fileio {\n\tDEVICE d {\n\t\tfilename /nowhere/at/all\n\t}\n}\n\
        TARGET_DRIVER iscsi {\n\tTARGET iqn.x:t {\n\t\tLUN 0 d\n\t\tenabled 1\n\t}\n}\n";
    assert_eq!(check(good).unwrap().steps.len(), 4);
    let of_target =
        |line: &str| format!("TARGET_DRIVER iscsi {{\n\tTARGET iqn.x:t {{\n\t\t{line}\n\t}}\n}}\n");
    let of_device = |line: &str| good.replace("filename /nowhere/at/all", line);
    for (bad, place, what) in [
        (of_device("colour red"), (3, 3), "has no attribute colour; there are type, filename"),
        (of_device("filename /x\n\t\tcolour red"), (4, 3), "has no attribute colour"),
        (of_device("filename /x\n\t\tnv_cache 2"), (4, 3), "\"2\" is not 0 or 1"),
        (of_device("filename /x\n\t\tblocksize 100"), (4, 3), "512, 1024, 2048 or 4096"),
        (of_device("filename x"), (3, 3), "absolute"),
        (of_device("nv_cache 1"), (2, 2), "filename is missing"),
        (of_device("filename /x\n\t\tusn 123456789012345678901"), (4, 3), "at most 20 bytes"),
        (good.replace("vdisk_fileio", "vdisk_floppy"), (2, 2), "there are vcdrom"),
        (good.replace("DEVICE d", "DEVICE d.e").replace("LUN 0 d", "LUN 0 d.e"), (2, 2), "no dot"),
        (of_target("allowed_portal *!*!*"), (0, 0), ""),
        (of_target("IncomingUser \"joe short\""), (3, 3), "12 to 255"),
        (of_target("GROUP g/h"), (3, 3), "no name of a group"),
        (
            good.replace("iqn.x:t", "iqn.x t").replace("TARGET iqn.x t", "TARGET \"iqn.x t\""),
            (7, 2),
            "no name",
        ),
        (
            good.replace(
                "enabled 1\n",
                "enabled 1\n\t\trel_tgt_id 4\n\t}\n\tTARGET u {\n\t\trel_tgt_id 4\n\t\tenabled 1\n",
            ),
            (14, 3),
            "another enabled target's",
        ),
    ] {
        match check(&bad) {
            Ok(_) => assert_eq!(place, (0, 0), "{bad}"),
            Err(error) => {
                assert_eq!((error.place.line, error.place.column), place, "{bad}{error}");
                assert!(error.text.contains(what), "{bad}{error}");
            }
        }
    }
    assert!(model.configuration().devices.is_empty());
}

#[test]
fn members_move_from_one_group_to_another() {
    let devices = "HANDLER vdisk_nullio {\n\tDEVICE n1\n\tDEVICE n2\n}\n\
                   TARGET_DRIVER iscsi {\n\tTARGET iqn.l:1 {\n\t}\n}\n";
    let file = |devices_of: [&str; 2], targets: [&str; 2]| {
        let group = |name, device| {
            format!(
                "DEVICE_GROUP {name} {{\n\tDEVICE {device}\n\tTARGET_GROUP tg1 {{\n\t\tTARGET {}\n\t}}\n\
                 \tTARGET_GROUP tg2 {{\n\t\tTARGET {}\n\t}}\n}}\n",
                targets[0], targets[1]
            )
        };
        format!("{devices}{}{}", group("dg1", devices_of[0]), group("dg2", devices_of[1]))
    };
    let (before, after) =
        (file(["n1", "n2"], ["iqn.l:1", "iqn.far:1"]), file(["n2", "n1"], ["iqn.far:1", "iqn.l:1"]));
    let model = loaded(&before);
    apply_text(&model, &after, Mode::Exact).unwrap_or_else(|error| panic!("{error}\n{after}"));
    assert_eq!(saved(&model), saved(&loaded(&after)));
    assert_eq!(lines(&model, &after, Mode::Exact), [""; 0]);
}

#[test]
fn groups_of_initiators_come_into_the_order_of_the_file() {
    let file = |names: &[&str]| {
        let group = |name: &&str| format!("\t\tGROUP {name} {{\n\t\t\tINITIATOR iqn.*\n\t\t}}\n");
        let groups: String = names.iter().map(group).collect();
        format!("TARGET_DRIVER iscsi {{\n\tTARGET iqn.a:1 {{\n{groups}\t}}\n}}\n")
    };
    for mode in [Mode::Merge, Mode::Exact] {
        let model = loaded(&file(&["a", "b", "c"]));
        let wanted = file(&["c", "new", "b", "a"]);
        let steps = lines(&model, &wanted, mode);
        let line =
            "~ target iqn.a:1: groups a, b, c, new -> c, new, b, a, of which the first that matches wins";
        assert!(steps.iter().any(|step| step == line), "{steps:#?}");
        apply_text(&model, &wanted, mode).unwrap();
        assert_eq!(saved(&model), saved(&loaded(&wanted)));
        assert_eq!(lines(&model, &wanted, mode), [""; 0]);
    }
    // Groups that the file does not name keep their places.
    let model = loaded(&file(&["a", "b", "c"]));
    apply_text(&model, &file(&["c", "a"]), Mode::Merge).unwrap();
    assert_eq!(saved(&model), saved(&loaded(&file(&["c", "b", "a"]))));
}

#[test]
fn an_attribute_with_two_names_is_one() {
    let file = |lines: &str| format!("TARGET_DRIVER iscsi {{\n\tTARGET iqn.a:1 {{\n{lines}\t}}\n}}\n");
    for name in ["forwarding", "forward_dst"] {
        let model = loaded(&file(&format!("{name} 1\n")));
        assert_eq!(lines(&model, &file(&format!("{name} 1\n")), Mode::Exact), [""; 0]);
        apply_text(&model, &file(""), Mode::Exact).unwrap();
        assert_eq!(saved(&model), saved(&loaded(&file(""))));
    }
    let both = "forwarding 1\nforward_dst 1\n";
    assert_eq!(lines(&loaded(&file(both)), &file(both), Mode::Exact), [""; 0]);
    let error = apply_text(&model(), &file("forwarding 1\nforward_dst 0\n"), Mode::Merge).unwrap_err();
    assert_eq!(error.place.line, 4, "{error}");
}

#[test]
fn what_was_asked_of_thin_provisioning_goes_with_its_line() {
    let file = |line: &str| format!("HANDLER vdisk_ram {{\n\tDEVICE r {{\n\t\tsize 1M\n{line}\t}}\n}}\n");
    let model = loaded(&file("thin_provisioned 0\n"));
    let bare = file("");
    apply_text(&model, &bare, Mode::Exact).unwrap();
    assert_eq!(saved(&model), saved(&loaded(&bare)));
    assert!(model.configuration().devices.get("r").unwrap().device.settings().thin_provisioned);
    assert_eq!(lines(&model, &bare, Mode::Exact), [""; 0]);
    // What is so anyway costs no device its data.
    let model = loaded(&file("thin_provisioned 1\n"));
    assert!(!lines(&model, &bare, Mode::Exact).iter().any(|step| step.starts_with('-')));
}

/// Targets, each with its relative identifier.
fn identified(targets: &[(&str, u16)]) -> String {
    let target = |(name, number): &(&str, u16)| {
        format!("\tTARGET iqn.x:{name} {{\n\t\trel_tgt_id {number}\n\t\tenabled 1\n\t}}\n")
    };
    format!("TARGET_DRIVER iscsi {{\n{}}}\n", targets.iter().map(target).collect::<String>())
}

#[test]
fn enabled_targets_exchange_their_identifiers() {
    let model = loaded(&identified(&[("a", 1), ("b", 2), ("c", 3)]));
    let after = [
        vec![("a", 2), ("b", 1)],
        vec![("a", 3), ("b", 2), ("c", 1)],
        vec![("c", 2), ("b", 4), ("a", 1)],
        vec![("a", 5), ("b", 1), ("d", 4)],
    ];
    for mode in [Mode::Merge, Mode::Exact] {
        for targets in &after {
            apply_text(&model, &identified(targets), mode)
                .unwrap_or_else(|error| panic!("{targets:?}: {error}"));
            for (name, number) in targets {
                let target = model.configuration().target(&format!("iqn.x:{name}")).cloned().unwrap();
                assert_eq!((target.relative_identifier, target.enabled), (*number, true), "{targets:?}");
            }
        }
    }
}

#[test]
fn identifiers_that_clash_in_the_end_are_refused_with_everything_else() {
    let model = loaded(&identified(&[("a", 1), ("b", 2), ("c", 3)]));
    let before = saved(&model);
    for (targets, line) in [
        (vec![("a", 2)], 3),
        (vec![("a", 2), ("b", 3)], 7),
        (vec![("a", 2), ("b", 1), ("c", 1)], 11),
        (vec![("d", 3), ("a", 4)], 4),
    ] {
        let error = apply_text(&model, &identified(&targets), Mode::Merge).unwrap_err();
        assert_eq!((error.errno, error.place.line), (libc::EBADSLT, line), "{targets:?}: {error}");
        assert!(error.text.contains("another enabled target's"), "{error}");
        assert_eq!(saved(&model), before, "{targets:?}");
    }
    // A number that is given avoids those that are chosen behind it.
    let text = identified(&[("d", 0), ("e", 4), ("f", 0), ("a", 5), ("b", 1)]);
    apply_text(&model, &text, Mode::Merge).unwrap_or_else(|error| panic!("{error}"));
    let configuration = model.configuration();
    let mut all: Vec<u16> = configuration.targets.values().map(|target| target.relative_identifier).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6, "{all:?}");
}
