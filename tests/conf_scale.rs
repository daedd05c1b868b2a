//! How long a large configuration takes: figures for people, not a test. Run with
//! `cargo test --release --test conf_scale -- --ignored --nocapture`.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Folder, say};
use scstu::mgmt::conf::{Mode, apply_text, save};
use scstu::mgmt::tree::Tree;
use scstu::model::Model;
use scstu::server::pool::Pool;

const COUNT: usize = 1000;
const TARGET: &str = "iqn.2026-01.test:scale";

fn model() -> Arc<Model> {
    Model::new(Arc::new(Pool::new(2)), None).unwrap()
}

fn conf(folder: &Folder, count: usize) -> String {
    let mut text = String::from("HANDLER vdisk_fileio {\n");
    for n in 0..count {
        let path = folder.file(&format!("disk{n}"));
        std::fs::File::create(&path).unwrap().set_len(1 << 20).unwrap();
        writeln!(text, "\tDEVICE disk{n} {{\n\t\tfilename {}\n\t}}", path.display()).unwrap();
    }
    write!(text, "}}\nTARGET_DRIVER iscsi {{\n\tenabled 1\n\tTARGET {TARGET} {{\n\t\tenabled 1\n").unwrap();
    for n in 0..count {
        writeln!(text, "\t\tLUN {n} disk{n}").unwrap();
    }
    text + "\t}\n}\n"
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[test]
#[ignore = "prints figures; nothing can fail"]
fn a_thousand_devices_and_luns() {
    let folder = Folder::new("scale");
    for count in [COUNT / 4, COUNT / 2, 2 * COUNT] {
        let text = conf(&folder, count);
        let began = Instant::now();
        apply_text(&model(), &text, Mode::Merge).unwrap();
        let each = milliseconds(began.elapsed()) / count as f64;
        say(&format!("{count} devices and LUNs applied as one: {each:.3} ms for each pair\n"));
    }
    let text = conf(&folder, COUNT);
    let at_once = model();
    let began = Instant::now();
    apply_text(&at_once, &text, Mode::Merge).unwrap();
    say(&format!("{COUNT} devices and LUNs applied as one: {:.0} ms\n", milliseconds(began.elapsed())));
    let began = Instant::now();
    assert!(apply_text(&at_once, &text, Mode::Merge).unwrap().is_empty());
    say(&format!("the same file again, nothing to do: {:.0} ms\n", milliseconds(began.elapsed())));
    let began = Instant::now();
    let file = save::save(&at_once.configuration());
    let saved = milliseconds(began.elapsed());
    say(&format!("saved, {} bytes: {saved:.1} ms\n", file.len()));

    let tree = Tree::new(model());
    let began = Instant::now();
    let mut each = Vec::new();
    tree.write("targets/iscsi/mgmt", &format!("add_target {TARGET}")).unwrap();
    for n in 0..COUNT {
        let began = Instant::now();
        let path = folder.file(&format!("disk{n}"));
        let device = format!("add_device disk{n} filename={};", path.display());
        tree.write("handlers/vdisk_fileio/mgmt", &device).unwrap();
        tree.write(&format!("targets/iscsi/{TARGET}/luns/mgmt"), &format!("add disk{n} {n}")).unwrap();
        each.push(milliseconds(began.elapsed()));
    }
    tree.write(&format!("targets/iscsi/{TARGET}/enabled"), "1").unwrap();
    tree.write("targets/iscsi/enabled", "1").unwrap();
    let all = milliseconds(began.elapsed());
    let middle = |part: &[f64]| {
        let mut part = part.to_vec();
        part.sort_by(f64::total_cmp);
        part[part.len() / 2]
    };
    let (first, last) = (middle(&each[..50]), middle(&each[COUNT - 50..]));
    say(&format!(
        "the same through the tree, {} writes: {all:.0} ms; a device and its LUN: the first {first:.3} ms, \
         the last {last:.3} ms\n",
        2 * COUNT + 3
    ));
    assert_eq!(save::save(&tree.model().configuration()), file);
}
