//! Pipes in which pages of the page cache go out are bounded, and come back, whatever becomes of the sessions
//! that they were for. Alone in its file: it counts the descriptors of the process.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;
mod world;

use std::fs::{self, File};
use std::thread;
use std::time::Duration;

use common::Folder;
use initiator::{Initiator, Options, READ, WRITE, rw16};
use world::{TEST_UNIT_READY, World, until};

const BLOCK: usize = 512;
/// Sessions, each the only one of its unit.
const SESSIONS: usize = 8;
/// Blocks of the reads that fill a socket, and of those that are still in their pipes then.
const LONG: u32 = 2048;
const SHORT: u32 = 128;
const LONG_READS: usize = 4;
const READS: usize = 32;
/// Pipes that may be out at once.
const PIPES: usize = 64;

fn target(number: usize) -> String {
    format!("iqn.2026-01.org.scstu:t{number}")
}

fn serve(folder: &Folder) -> World {
    let world = World::empty();
    for number in 0..SESSIONS {
        let file = folder.file(&format!("disk{number}"));
        File::create(&file).unwrap().set_len(u64::from(LONG) * BLOCK as u64).unwrap();
        let target = target(number);
        world.write_all(&[
            ("handlers/vdisk_fileio/mgmt", &format!("add_device disk{number} filename={}", file.display())),
            ("targets/iscsi/mgmt", &format!("add_target {target}")),
            (&format!("targets/iscsi/{target}/luns/mgmt"), &format!("add disk{number} 0")),
            (&format!("targets/iscsi/{target}/enabled"), "1"),
        ]);
    }
    world
}

fn login(world: &World, number: usize) -> Initiator {
    let mut session = Initiator::login(world.address, &target(number), &Options::default()).unwrap();
    session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    session
}

fn content(number: usize) -> Vec<u8> {
    (0..LONG as usize).flat_map(|lba| [(lba * 7 + number) as u8; BLOCK]).collect()
}

/// Descriptors of pipes, and all others.
fn descriptors() -> (usize, usize) {
    let all =
        fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let (pipes, others): (Vec<_>, Vec<_>) = all.partition(|link| link.to_string_lossy().starts_with("pipe:"));
    (pipes.len(), others.len())
}

/// Begins more than the socket takes; tags and blocks of the reads.
fn begin_reads(session: &mut Initiator) -> Vec<(u32, u32)> {
    let blocks = |number: usize| if number < LONG_READS { LONG } else { SHORT };
    let start = |number: usize| {
        let blocks = blocks(number);
        let cdb = rw16(READ, 0, blocks, false);
        (session.start(0, &cdb, blocks as usize * BLOCK, &[]).unwrap(), blocks)
    };
    (0..READS).map(start).collect()
}

/// A write waits for a read that nobody has looked at: pages were lent.
fn lends(session: &mut Initiator, content: &[u8]) {
    let before = session.asked_for();
    let read = session.start(0, &rw16(READ, 0, SHORT, false), SHORT as usize * BLOCK, &[]).unwrap();
    session.arrives().unwrap();
    let write = session.start(0, &rw16(WRITE, 0, 1, false), 0, &content[..BLOCK]).unwrap();
    assert_eq!(session.wait(write).unwrap().status, 0);
    assert!(session.asked_for() > before, "nothing was lent");
    assert!(session.wait(read).unwrap().data == content[..SHORT as usize * BLOCK]);
}

#[test]
fn pipes_are_bounded_and_come_back() {
    let folder = Folder::new("pipes");
    let world = serve(&folder);
    let gone = || {
        until("the sessions are gone", || {
            let sessions = |number| world.tree.list(&format!("targets/iscsi/{}/sessions", target(number)));
            (0..SESSIONS).all(|number| sessions(number).unwrap().is_empty())
        });
    };
    for number in 0..SESSIONS {
        let mut session = login(&world, number);
        session.good(0, &rw16(WRITE, 0, LONG, false), 0, &content(number)).unwrap();
    }
    gone();
    // Threads that end close what they had a little later.
    thread::sleep(Duration::from_millis(200));
    let (pipes_before, before) = descriptors();
    for round in 0..4 {
        let mut sessions: Vec<Initiator> = (0..SESSIONS).map(|number| login(&world, number)).collect();
        let reads: Vec<_> = sessions.iter_mut().map(begin_reads).collect();
        let most = pipes_before + 2 * PIPES;
        until("all pipes are in use", || descriptors().0 >= most);
        for _ in 0..20 {
            assert_eq!(descriptors().0, most, "round {round}: more pipes than may be out");
            thread::sleep(Duration::from_millis(5));
        }
        if round % 2 == 0 {
            for (number, (session, reads)) in sessions.iter_mut().zip(reads).enumerate() {
                let content = content(number);
                for (tag, blocks) in reads {
                    let answer = session.wait(tag).unwrap();
                    assert_eq!(answer.status, 0, "round {round}: {:02x?}", answer.sense);
                    assert!(answer.data == content[..blocks as usize * BLOCK], "round {round}, {number}");
                }
                lends(session, &content);
            }
        }
        drop(sessions);
        gone();
        until("the descriptors of the sessions are closed", || descriptors().1 <= before);
        assert!(descriptors().0 <= most, "round {round}");
        for number in 0..SESSIONS {
            let (mut session, content) = (login(&world, number), content(number));
            let whole = session.good(0, &rw16(READ, 0, LONG, false), content.len(), &[]).unwrap();
            assert!(whole == content, "round {round}, {number}");
            lends(&mut session, &content);
        }
        gone();
    }
}
