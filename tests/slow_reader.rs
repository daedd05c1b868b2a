//! An initiator that reads slowly, but reads, is left alone however long it takes.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;
mod raw;
mod support;
mod world;

use std::thread;
use std::time::{Duration, Instant};

use raw::units::{READ, cdb, serve};
use raw::{Keys, Raw, WHOLE};
use world::{LIMIT, TARGET, until};

/// Commands of 1 MiB, far more than sockets hold.
const COMMANDS: usize = 48;
const BLOCKS: u64 = 2048;

fn ask(raw: &mut Raw, lun: u8) -> Vec<u32> {
    let commands: Vec<_> =
        (0..COMMANDS).map(|_| raw.reading(lun, &cdb(READ, &(0..BLOCKS)), BLOCKS as usize * 512)).collect();
    let bytes: Vec<u8> = commands.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    raw.send(&bytes);
    commands.into_iter().map(|(tag, _)| tag).collect()
}

/// Takes so many answers in more than `least`, a little at a time.
fn read_slowly(raw: &mut Raw, tags: &[u32], least: Duration) {
    let start = Instant::now();
    let mut pumped = 0;
    while !tags.iter().all(|tag| raw.has_ended(*tag)) {
        raw.pump().unwrap_or_else(|error| panic!("{pumped} PDUs after {:?}: {error}", start.elapsed()));
        pumped += 1;
        thread::sleep(least / COMMANDS as u32 / 3);
    }
    assert!(start.elapsed() > least, "it was to take longer: {pumped} PDUs in {:?}", start.elapsed());
}

#[test]
fn a_slow_reader_is_neither_given_up_nor_taken_for_dead() {
    let all = [
        ("taking", [("@/RspTimeout", "2"), ("@/NopInInterval", "0")]),
        ("asked", [("@/NopInInterval", "1"), ("@/NopInTimeout", "2")]),
    ];
    thread::scope(|scope| {
        for (name, settings) in all {
            scope.spawn(move || {
                let (world, _folders) = serve(name, &settings);
                let address = world.address;
                thread::scope(|scope| {
                    for lun in 0..3 {
                        scope.spawn(move || {
                            let mut raw = Raw::login(address, TARGET, Keys { isid: lun + 1, ..WHOLE });
                            raw.ready(lun);
                            let tags = ask(&mut raw, lun);
                            read_slowly(&mut raw, &tags, Duration::from_secs(5));
                        });
                    }
                });
            });
        }
    });
}

#[test]
fn one_that_stops_reading_is_given_up() {
    let (world, _folders) = serve("stopped", &[("@/RspTimeout", "2"), ("@/NopInInterval", "0")]);
    let mut raw = Raw::login(world.address, TARGET, WHOLE);
    raw.ready(0);
    let _tags = ask(&mut raw, 0);
    raw.pump().unwrap();
    let start = Instant::now();
    until("the session is gone", || world.sessions().is_empty());
    assert!(start.elapsed() > Duration::from_secs(1) && start.elapsed() < LIMIT);
}
