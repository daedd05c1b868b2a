//! Devices in scst.conf: what was asked of their backing is saved, applied again, and still so when it opens.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;
mod initiator;
mod whole;
mod world;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use common::Folder;
use initiator::Initiator;
use scstu::instance::Options;
use scstu::mgmt::conf::{Mode, apply_text};
use scstu::model::{Change, Model, Object};
use whole::{lines, loaded, saved};
use world::{TARGET, World};

const MIB: u64 = 1 << 20;
const MODES: [Mode; 2] = [Mode::Merge, Mode::Exact];

/// A file of so many bytes.
fn file(folder: &Folder, name: &str, bytes: u64) -> PathBuf {
    let path = folder.file(name);
    let file = File::options().write(true).create(true).truncate(false).open(&path).unwrap();
    file.set_len(bytes).unwrap();
    path
}

/// A device `d` with these lines, and a target that shows it.
fn conf(handler: &str, lines: &str) -> String {
    format!(
        "HANDLER {handler} {{\n\tDEVICE d {{\n{lines}\n\t}}\n}}\n\
         TARGET_DRIVER iscsi {{\n\tTARGET iqn.x:t {{\n\t\tLUN 0 d\n\t}}\n}}\n"
    )
}

fn set(model: &Model, attribute: &str, value: &str) {
    let change = Change::set(Object::Device("d".to_owned()), attribute, value);
    model.apply(&change).unwrap_or_else(|error| panic!("{attribute} {value}: {error}"));
}

fn get(model: &Model, attribute: &str) -> String {
    let configuration = model.configuration();
    let config = &configuration.devices.get("d").unwrap().config;
    config.find(attribute).unwrap().0.get(config)
}

/// What initiators are told of the capacity.
fn served(model: &Model) -> u64 {
    model.configuration().devices.get("d").unwrap().device.geometry().bytes()
}

/// Applying a file changes nothing, and neither does applying what is saved, which is loaded to the same.
fn settled(model: &Model, text: &str) -> Arc<Model> {
    let file = saved(model);
    for text in [text, &file] {
        for mode in MODES {
            assert_eq!(lines(model, text, mode), [""; 0], "nothing is left to do:\n{text}");
        }
    }
    let again = loaded(&file);
    assert_eq!(saved(&again), file);
    again
}

#[test]
fn a_size_asked_of_a_closed_device_is_kept_until_it_opens() {
    let folder = Folder::new("conf-closed");
    let path = file(&folder, "disk", 8 * MIB);
    let text = |size: &str| {
        conf("vdisk_blockio", &format!("\t\tfilename {}\n\t\tsize {size}\n\t\tactive 0", path.display()))
    };
    let first = loaded(&text("4M"));
    assert_eq!(get(&first, "size"), "4194304");
    let again = settled(&first, &text("4M"));
    set(&again, "active", "1");
    assert_eq!(served(&again), 4 * MIB);
    // Another size counts from the next opening on.
    apply_text(&first, &text("2M"), Mode::Merge).unwrap();
    settled(&first, &text("2M"));
    set(&first, "active", "1");
    assert_eq!(served(&first), 2 * MIB);
    set(&first, "active", "0");
    assert_eq!(lines(&first, &text("6M"), Mode::Merge), ["~ device d: size 2097152 -> 6291456"]);
    apply_text(&first, &text("6M"), Mode::Merge).unwrap();
    settled(&first, &text("6M"));
    set(&first, "active", "1");
    assert_eq!(served(&first), 6 * MIB);
}

#[test]
fn a_size_that_nobody_knows_is_not_saved() {
    let folder = Folder::new("conf-unknown");
    let path = file(&folder, "disk", 8 * MIB);
    let text = conf("vdisk_blockio", &format!("\t\tfilename {}\n\t\tactive 0", path.display()));
    let again = settled(&loaded(&text), &text);
    set(&again, "active", "1");
    assert_eq!(served(&again), 8 * MIB);
}

#[test]
fn a_size_that_was_given_is_saved_and_a_file_changes_it() {
    let folder = Folder::new("conf-given");
    let path = file(&folder, "disk", 8 * MIB);
    for handler in ["vdisk_fileio", "vdisk_blockio"] {
        let text = |size: &str| conf(handler, &format!("\t\tfilename {}\n\t\t{size}", path.display()));
        let first = loaded(&text("size 4M"));
        assert_eq!(served(&settled(&first, &text("size_mb 4"))), 4 * MIB);
        first.apply(&Change::Resync("d".to_owned())).unwrap();
        assert_eq!(served(&settled(&first, &text("size 8M"))), 8 * MIB);
        for mode in MODES {
            assert_eq!(lines(&first, &text("size 4M"), mode), ["~ device d: size 8388608 -> 4194304"]);
        }
        apply_text(&first, &text("size_mb 4"), Mode::Exact).unwrap();
        assert_eq!(served(&settled(&first, &text("size 4M"))), 4 * MIB);
        let error = apply_text(&first, &text("size 1000"), Mode::Merge).unwrap_err();
        assert_eq!((error.errno, error.place.line), (libc::EINVAL, 4), "{error}");
        assert!(error.text.starts_with("size: 1000 is not a positive multiple"), "{error}");
        // A file has its size, unless somebody has given another.
        let file = saved(&loaded(&text("")));
        assert_eq!(file.contains("size 8388608"), handler == "vdisk_blockio", "{file}");
    }
}

#[test]
fn a_disk_is_active_or_not_as_the_file_says_when_it_gets_another_file() {
    let folder = Folder::new("conf-other");
    let path = |name: &str, size| file(&folder, name, size * MIB).display().to_string();
    let (small, large) = (path("small", 2), path("large", 4));
    let text = |first: &str, file: &str| conf("vdisk_fileio", &format!("{first}\t\tfilename {file}"));
    let model = loaded(&text("", &small));
    for (mode, first, file, active, size) in [
        (Mode::Merge, "\t\tactive 0\n", &large, "0", 2 * MIB),
        (Mode::Merge, "\t\tactive 1\n", &small, "1", 2 * MIB),
        (Mode::Merge, "\t\tactive 1\n", &large, "1", 4 * MIB),
        (Mode::Merge, "\t\tactive 0\n", &small, "0", 4 * MIB),
        (Mode::Exact, "", &large, "1", 4 * MIB),
        (Mode::Exact, "\t\tactive 0\n", &small, "0", 4 * MIB),
        (Mode::Exact, "\t\tactive 1\n\t\tsize 1M\n", &large, "1", MIB),
    ] {
        let text = text(first, file);
        apply_text(&model, &text, mode).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!((get(&model, "active").as_str(), served(&model)), (active, size), "{text}");
        assert_eq!(lines(&model, &text, mode), [""; 0], "{text}");
        assert_eq!(&get(&model, "filename"), file);
    }
}

#[test]
fn a_disk_gets_another_file_and_its_size_in_either_order() {
    let folder = Folder::new("conf-both");
    let path = |name: &str, size| file(&folder, name, size * MIB);
    let (small, large) = (path("small", 2), path("large", 4));
    let length = |path: &PathBuf| std::fs::metadata(path).unwrap().len() / MIB;
    for (handler, mode) in
        [("vdisk_fileio", MODES[0]), ("vdisk_fileio", MODES[1]), ("vdisk_blockio", MODES[0])]
    {
        for is_file_first in [true, false] {
            let text = |path: &PathBuf, size: u64| {
                let both = [format!("\t\tfilename {}", path.display()), format!("\t\tsize {size}M")];
                conf(
                    handler,
                    &if is_file_first {
                        both.join("\n")
                    } else {
                        both.iter().rev().cloned().collect::<Vec<_>>().join("\n")
                    },
                )
            };
            let model = loaded(&text(&large, 4));
            for (path, size) in [(&small, 2), (&large, 3), (&small, 1), (&large, 4)] {
                let text = text(path, size);
                apply_text(&model, &text, mode).unwrap_or_else(|error| panic!("{error}\n{text}"));
                assert_eq!((served(&model), get(&model, "active").as_str()), (size * MIB, "1"), "{text}");
                assert_eq!([length(&small), length(&large)], [2, 4], "no file is made longer");
                assert_eq!(lines(&model, &text, mode), [""; 0], "{text}");
            }
        }
    }
}

#[test]
fn the_size_of_another_file_is_not_that_of_the_one_before() {
    let folder = Folder::new("conf-unknown");
    let path = |name: &str, size| file(&folder, name, size * MIB).display().to_string();
    let (small, large) = (path("small", 2), path("large", 4));
    let model = loaded(&conf("vdisk_blockio", &format!("\t\tfilename {large}")));
    set(&model, "active", "0");
    assert_eq!(get(&model, "size"), (4 * MIB).to_string());
    set(&model, "filename", &small);
    assert!(!saved(&model).contains("size"), "nobody knows it: {}", saved(&model));
    set(&model, "active", "1");
    assert_eq!(served(&model), 2 * MIB);
    set(&model, "active", "0");
    assert_eq!(get(&model, "size"), (2 * MIB).to_string());
}

/// WCE of the caching page: the values of this PAGE CONTROL.
fn has_cache(session: &mut Initiator, control: u8) -> bool {
    session.good(0, &[0x1a, 0x08, control << 6 | 0x08, 0, 24, 0], 24, &[]).unwrap()[6] & 0x04 != 0
}

/// WCE from now on, and after a restart.
fn save_cache(session: &mut Initiator, on: bool) {
    let mut list = session.good(0, &[0x1a, 0x08, 0x08, 0, 24, 0], 24, &[]).unwrap();
    list[..4].fill(0);
    list[4] &= 0x3f;
    list[6] = list[6] & !0x04 | u8::from(on) << 2;
    session.good(0, &[0x15, 0x11, 0, 0, 24, 0], 0, &list).unwrap();
}

/// An instance that keeps its state in `folder`, with a device that is made closed and then opened.
fn opened_later(folder: &Folder, parameters: &str) -> World {
    let path = file(folder, "disk", MIB);
    let state = Some(folder.file("state"));
    let world = World::with(Options { state_directory: state, ..Options::default() });
    let device = format!("add_device d filename={};active=0;{parameters}", path.display());
    world.write_all(&[
        ("handlers/vdisk_fileio/mgmt", &device),
        ("targets/iscsi/mgmt", &format!("add_target {TARGET}")),
        ("@/luns/mgmt", "add d 0"),
        ("@/enabled", "1"),
        ("devices/d/active", "1"),
    ]);
    world
}

#[test]
fn a_disk_that_is_opened_later_has_the_cache_it_would_have_had() {
    let folder = Folder::new("conf-cache");
    for (parameters, cache) in [("", true), ("write_through=1", false), ("nv_cache=1", false)] {
        let world = opened_later(&folder, parameters);
        let mut session = world.login();
        let found = [0, 2, 3].map(|control| has_cache(&mut session, control));
        assert_eq!(found, [cache; 3], "current, default and saved values: {parameters}");
    }
    for on in [false, true] {
        let world = opened_later(&folder, "");
        save_cache(&mut world.login(), on);
        drop(world);
        let world = opened_later(&folder, "");
        let mut session = world.login();
        let found = [0, 2, 3].map(|control| has_cache(&mut session, control));
        assert_eq!(found, [on, true, on], "current, default and saved values");
    }
}

#[test]
fn what_the_backing_cannot_do_is_asked_of_it_again() {
    let folder = Folder::new("conf-thin");
    let path = file(&folder, "disk", MIB);
    let lines = format!("\t\tfilename {}\n\t\tread_only 1\n\t\tthin_provisioned 1", path.display());
    let text = conf("vdisk_fileio", &lines);
    let cannot = loaded(&text);
    assert_eq!(get(&cannot, "thin_provisioned"), "0", "what is there");
    assert!(saved(&cannot).contains("thin_provisioned 1"), "what was asked for: {}", saved(&cannot));
    assert_eq!(get(&settled(&cannot, &text), "thin_provisioned"), "0");
}
