//! Golden vectors: what hosts send and what they get, byte for byte, in `tests/vectors/*.txt`.
//!
//! ```text
//! # a comment, until the end of the line
//! unit thin               a fresh unit of a kind (see `unit`), and nexuses that have not asked anything yet
//! 1> 12 00 00 00 24 00    nexus 1 sends a CDB; `+` and the Data-Out may follow, `00*512` is a byte repeated
//! < good                  how it ended: good, conflict, status HH, or check KEY/CODE with @BYTE.BIT
//! < 00 00 06 12           Data-In, sixteen bytes a line
//! ```
//! `SCSTU_BLESS=1` writes the answers anew; read the difference before you keep it.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod one_unit;
mod support;

use std::fmt::Write;
use std::path::Path as FilePath;
use std::sync::Arc;

use one_unit::{Answer, Bench, Path};
use scstu::backstore::gate::Gate;
use scstu::backstore::registry::{OpenRequest, find};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry, Provisioning};
use scstu::model::device::default_identity;
use scstu::scsi::device::{DeviceType, NewDevice, Settings};
use scstu::scsi::{Status, TaskAttribute};

/// A sparse disk in memory that shows itself as a file does: a volatile cache, physical blocks of 4096 bytes.
struct Disk(Arc<dyn Backstore>);

impl Backstore for Disk {
    fn geometry(&self) -> Geometry {
        Geometry {
            physical_block_exponent: (4096 / self.0.geometry().block_size).ilog2() as u8,
            unmap_granularity_bytes: 4096,
            ..self.0.geometry()
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities().with(Capabilities::VOLATILE_CACHE).without(Capabilities::NEVER_BLOCKS)
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.0.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        self.0.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.0.flush()
    }

    fn unmap(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        self.0.unmap(offset, length)
    }

    fn write_zeroes(&self, offset: u64, length: u64, may_unmap: bool) -> Result<(), BlockError> {
        self.0.write_zeroes(offset, length, may_unmap)
    }

    fn provisioning(&self, offset: u64, limit: u64) -> Result<(Provisioning, u64), BlockError> {
        self.0.provisioning(offset, limit)
    }
}

/// The kinds of unit: `thin` and `thick` disks of 64 MiB, `wide` with blocks of 4096 bytes, `locked` against
/// writes, `cd` with a medium of 1 MiB.
fn unit(kind: &str) -> Bench {
    let block_size = match kind {
        "wide" => 4096,
        "cd" => 2048,
        _ => 512,
    };
    let size = if kind == "cd" { 1 << 20 } else { 64 << 20 };
    let request = OpenRequest { size: Some(size), blocksize: Some(block_size), ..OpenRequest::default() };
    let store = find("vdisk_ram").unwrap().open(&request).unwrap().unwrap();
    Bench::made(NewDevice {
        name: "disk1".to_owned(),
        device_type: if kind == "cd" { DeviceType::CdRom } else { DeviceType::Disk },
        settings: Settings {
            identity: default_identity(0x0123_4567_89ab_cdef, "disk1"),
            thin_provisioned: matches!(kind, "thin" | "wide"),
            rotational: false,
            read_only: matches!(kind, "locked" | "cd"),
            ..Settings::default()
        },
        gate: Some(Arc::new(Gate::new(Arc::new(Disk(store))))),
        block_size,
        task_set_type: 1,
    })
}

/// Bytes in hexadecimal digits, `HH*N` for N of them.
fn bytes(text: &str) -> Vec<u8> {
    let byte = |digits: &str| u8::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("{digits}: {text}"));
    let word = |word: &str| match word.split_once('*') {
        Some((digits, count)) => vec![byte(digits); count.parse().unwrap()],
        None => (0..word.len() / 2).map(|at| byte(&word[2 * at..2 * at + 2])).collect(),
    };
    text.split_whitespace().flat_map(word).collect()
}

/// An answer as the files write it.
fn shown(answer: &Answer) -> String {
    let mut text = String::from("< ");
    match answer.status {
        Status::GOOD => text.push_str("good"),
        Status::RESERVATION_CONFLICT => text.push_str("conflict"),
        Status::CHECK_CONDITION => {
            write!(text, "check {:x}/{:04x}", answer.sense.0, answer.sense.1).unwrap();
            if let Some((byte, bit)) = answer.pointer {
                write!(text, " @{byte}{}", bit.map_or(String::new(), |bit| format!(".{bit}"))).unwrap();
            }
        }
        Status(other) => write!(text, "status {other:02x}").unwrap(),
    }
    text.push('\n');
    for line in answer.data.chunks(16) {
        let line: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(text, "< {}", line.join(" ")).unwrap();
    }
    text
}

/// Carries a command out, with what it leaves to long jobs.
fn run(bench: &Bench, path: &Path<'_>, line: &str) -> Answer {
    let (cdb, data) = line.split_once('+').unwrap_or((line, ""));
    let tag = path.send(&bytes(cdb), &bytes(data), TaskAttribute::Simple);
    bench.run_all();
    bench.run_jobs();
    path.answer(tag).unwrap_or_else(|| panic!("no answer: {line}"))
}

/// The file with the answers that the units give now, and the number of commands.
fn played(text: &str) -> (String, usize) {
    let blocks: Vec<&str> = text.split_inclusive('\n').filter(|line| !line.starts_with("< ")).collect();
    let mut out = String::new();
    let mut count = 0;
    let mut at = 0;
    while at < blocks.len() {
        let kind = blocks[at].strip_prefix("unit ").map_or("", str::trim);
        let end = blocks[at + 1..].iter().position(|line| line.starts_with("unit "));
        let end = end.map_or(blocks.len(), |length| at + 1 + length);
        if kind.is_empty() {
            out.extend(blocks[at..end].iter().copied());
            assert!(!blocks[at..end].iter().any(|line| line.contains('>')), "a command before any unit");
            at = end;
            continue;
        }
        let bench = unit(kind);
        let paths: Vec<Path<'_>> =
            (1..=3).map(|number| bench.fresh_path(&format!("host{number}"), 1)).collect();
        for line in &blocks[at..end] {
            out.push_str(line);
            let Some((number, command)) = line.split_once("> ") else { continue };
            let command = command.split('#').next().unwrap_or("");
            let path = &paths[number.parse::<usize>().unwrap_or_else(|_| panic!("{line}")) - 1];
            out.push_str(&shown(&run(&bench, path, command)));
            count += 1;
        }
        at = end;
    }
    (out, count)
}

/// The first line in which two texts differ.
fn difference(file: &FilePath, kept: &str, now: &str) -> Option<String> {
    let mut command = "";
    for (number, (kept, now)) in kept.lines().zip(now.lines()).enumerate() {
        if !now.starts_with("< ") {
            command = now;
        }
        if kept != now {
            let file = file.display();
            return Some(format!(
                "{file}:{}: after {command}\n  expected {kept}\n  found    {now}",
                number + 1
            ));
        }
    }
    (kept != now).then(|| format!("{}: one is longer than the other", file.display()))
}

#[test]
fn hosts_get_what_the_golden_vectors_say() {
    let folder = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut wrong = Vec::new();
    for file in &files {
        let kept = std::fs::read_to_string(file).unwrap();
        let (now, count) = played(&kept);
        assert!(count > 0, "{} has no command", file.display());
        if std::env::var_os("SCSTU_BLESS").is_some() {
            std::fs::write(file, &now).unwrap();
        } else {
            wrong.extend(difference(file, &kept, &now));
        }
    }
    assert!(files.len() >= 5, "{files:?}");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_changed_byte_is_seen() {
    let text = "unit thin\n1> 12 00 00 00 05 00\n< good\n< 00 00 06 12 5b\n";
    let (now, count) = played(text);
    assert_eq!((now.as_str(), count), (text, 1));
    let changed = text.replace("12 5b", "12 5c");
    assert!(difference(FilePath::new("x"), &changed, &played(&changed).0).is_some());
}
