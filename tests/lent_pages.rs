//! Large reads of files, which are answered with pages of the page cache: what the initiator receives is what
//! the blocks held when the read was carried out, however late it takes it and whatever is written meanwhile;
//! and nobody waits for it for long.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;
mod lent;
mod world;

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::thread;
use std::time::Duration;

use initiator::{Initiator, Options, READ, WRITE, rw16};
use lent::{
    BLOCK, BLOCKS, COPIED, KNOWN, LENT, MOMENT, READ_FROM, Random, SAME, alone, another, begin_read, cdb,
    filled, folders, has, is_same, length, login, read, serve, start_read, start_write, write,
};
use world::until;

/// READ (10) or READ (16) of random blocks, with lengths around the limits of what is lent; some for less or
/// more than they name.
fn random_reads(session: &mut Initiator, content: &[u8], random: &mut Random, count: u32) {
    const LENGTHS: [u64; 12] = [1, 63, 64, 65, 66, 127, 128, 129, 513, 2047, 2048, 2049];
    let mut flying = VecDeque::new();
    for number in 0..count + 4 {
        if number < count {
            let blocks = match random.below(3) {
                0 => 1 + random.below(2048),
                _ => LENGTHS[random.below(LENGTHS.len() as u64) as usize],
            };
            let named = blocks * BLOCK as u64;
            let lba = random.below(BLOCKS - blocks + 1);
            let mut cdb = rw16(READ, lba, blocks as u32, random.below(8) == 0).to_vec();
            if random.below(2) == 0 {
                let (lba, blocks) = ((lba as u32).to_be_bytes(), (blocks as u16).to_be_bytes());
                cdb = [&[0x28, 0], &lba[..], &[0], &blocks[..], &[0]].concat();
            }
            let expected = match random.below(8) {
                0 => named - 4,
                1 => named + 512,
                _ => named,
            };
            let lun = [LENT, COPIED][random.below(2) as usize];
            let tag = session.start(lun, &cdb, expected as usize, &[]).unwrap();
            flying.push_back((tag, lba, named.min(expected) as usize, lun));
        }
        if number >= 4 {
            let (tag, lba, length, lun) = flying.pop_front().unwrap();
            let answer = session.wait(tag).unwrap();
            let told = format!("LUN {lun}, {length} bytes, {:?}", session.options());
            assert_eq!(answer.status, 0, "{told}: {:02x?}", answer.sense);
            let from = lba as usize * BLOCK;
            is_same(&answer.data[..length], &content[from..from + length], lba, &told);
            assert!(answer.data[length..].iter().all(|byte| *byte == 0), "{told}");
        }
    }
}

#[test]
fn what_is_read_is_what_was_written_whatever_was_negotiated() {
    for folder in folders("negotiated") {
        let world = serve(&folder);
        let mut writer = alone(&world);
        let mut content = Vec::new();
        for lun in [LENT, COPIED] {
            content.clear();
            for lba in (0..BLOCKS).step_by(512) {
                write(&mut writer, lun, lba..lba + 512, 1 + lba);
                content.extend(filled(lba..lba + 512, 1 + lba));
            }
        }
        drop(writer);
        let mut random = Random(1);
        for (max_recv, max_burst) in [(8192, 262_144), (65_536, 65_536), (262_144, 1 << 20), (512, 12_288)] {
            for (header_digest, data_digest) in [(false, false), (true, false), (false, true), (true, true)] {
                until("the session before is gone", || world.sessions().is_empty());
                let options =
                    Options { header_digest, data_digest, max_recv, max_burst, ..Options::default() };
                let mut session = login(&world, &options);
                let agreed = session.options().clone();
                assert_eq!((agreed.header_digest, agreed.data_digest), (header_digest, data_digest));
                random_reads(&mut session, &content, &mut random, 60);
            }
        }
    }
}

/// RFC 7143 11.2.3: what is no multiple of four bytes is padded, and bursts need be none.
#[test]
fn bursts_of_any_length_are_sent_with_their_padding() {
    for folder in folders("bursts") {
        let world = serve(&folder);
        let blocks = 0..256;
        for max_burst in [65_536, 65_535, 513, 99_999, 16_382] {
            for header_digest in [false, true] {
                until("the session before is gone", || world.sessions().is_empty());
                let first_burst = max_burst.min(512);
                let max_recv = 1 << 20;
                let options =
                    Options { header_digest, max_burst, first_burst, max_recv, ..Options::default() };
                let mut session = login(&world, &options);
                assert_eq!(session.options().max_burst, max_burst);
                for lun in [COPIED, LENT] {
                    write(&mut session, lun, blocks.clone(), 7);
                    let told = format!("LUN {lun}, bursts of {max_burst}");
                    let tag = start_read(&mut session, lun, &blocks);
                    let answer = session.wait(tag).expect(&told);
                    has(&answer, blocks.clone(), 7, &told);
                }
            }
        }
    }
}

/// A command that changes blocks of [`KNOWN`], which hold number 1, to number 2 or to something else.
struct Writer {
    name: &'static str,
    cdb: Vec<u8>,
    data: Vec<u8>,
    blocks: Range<u64>,
    then: Vec<u8>,
}

fn writers() -> Vec<Writer> {
    let writer = |name, opcode: u8, (flags, count_at): (u8, usize), blocks: Range<u64>, data, then| {
        let mut cdb = rw16(opcode, blocks.start, 0, false).to_vec();
        cdb[1] = flags;
        let count = ((blocks.end - blocks.start) as u32).to_be_bytes();
        match count_at {
            13 => cdb[13] = count[3],
            at => cdb[at..at + 4].copy_from_slice(&count),
        }
        Writer { name, cdb, data, blocks, then }
    };
    let plain = |name, opcode, blocks: Range<u64>| {
        let new = filled(blocks.clone(), 2);
        writer(name, opcode, (0, 10), blocks, new.clone(), new)
    };
    let middle = 128..192;
    let zeros = vec![0; length(&middle)];
    let one_block = filled(77..78, 2);
    let compare = |blocks: Range<u64>| [filled(blocks.clone(), 1), filled(blocks, 2)].concat();
    let either = filled(middle.clone(), 1 | 2);
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend(rw16(0, middle.start, length(&middle) as u32 / BLOCK as u32, false)[2..14].to_vec());
    list.extend([0; 4]);
    let unmap = vec![0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    vec![
        plain("all of it", WRITE, READ_FROM),
        plain("its middle", WRITE, middle.clone()),
        plain("its first block", WRITE, READ_FROM.start..READ_FROM.start + 1),
        plain("its last block", WRITE, READ_FROM.end - 1..READ_FROM.end),
        plain("its end and more", WRITE, 300..400),
        plain("what is before it and its beginning", WRITE, 10..100),
        plain("more than it", WRITE, KNOWN),
        plain("WRITE AND VERIFY (16)", 0x8e, middle.clone()),
        writer("FUA", WRITE, (8, 10), middle.clone(), filled(middle.clone(), 2), filled(middle.clone(), 2)),
        writer("ORWRITE (16)", 0x8b, (0, 10), middle.clone(), filled(middle.clone(), 2), either),
        writer("WRITE SAME (16)", 0x93, (0, 10), middle.clone(), one_block.clone(), one_block.repeat(64)),
        writer("WRITE SAME (16), unmapping", 0x93, (8, 10), middle.clone(), vec![0; BLOCK], zeros.clone()),
        writer("WRITE SAME (16) without data", 0x93, (1, 10), middle.clone(), vec![], zeros.clone()),
        Writer { name: "UNMAP", cdb: unmap, data: list, blocks: middle, then: zeros },
        writer("COMPARE AND WRITE", 0x89, (0, 13), 65..66, compare(65..66), filled(65..66, 2)),
        writer("COMPARE AND WRITE, 8", 0x89, (0, 13), 312..320, compare(312..320), filled(312..320, 2)),
    ]
}

/// What changes the medium as a whole, in the background or not.
fn erasers() -> Vec<Writer> {
    let zeros = vec![0; length(&KNOWN)];
    let pattern = [0xde, 0xad, 0xbe, 0xef];
    let eraser = |name, cdb: &[u8], data: &[u8], then| Writer {
        name,
        cdb: cdb.to_vec(),
        data: data.to_vec(),
        blocks: KNOWN,
        then,
    };
    let overwrite = [&[1, 0, 0, 4][..], &pattern].concat();
    vec![
        eraser("FORMAT UNIT", &[4, 0, 0, 0, 0, 0], &[], zeros.clone()),
        eraser("BLOCK ERASE", &[0x48, 2, 0, 0, 0, 0, 0, 0, 0, 0], &[], zeros),
        eraser(
            "OVERWRITE",
            &[0x48, 1, 0, 0, 0, 0, 0, 0, 8, 0],
            &overwrite,
            pattern.repeat(length(&KNOWN) / pattern.len()),
        ),
    ]
}

/// EXTENDED COPY (LID1) within a unit, of what is behind the read to where it reads.
fn copier(session: &mut Initiator) -> Writer {
    let page = session.good(LENT, &[0x12, 1, 0x83, 1, 0, 0], 256, &[]).unwrap();
    let mut rest = &page[4..];
    while rest[1] & 0x3f != 3 {
        rest = &rest[4 + usize::from(rest[3])..];
    }
    let mut unit = vec![0xe4, 0, 0, 0];
    unit.extend(&rest[..4 + usize::from(rest[3])]);
    unit.resize(28, 0);
    unit.extend((BLOCK as u32).to_be_bytes());
    let (from, to): (Range<u64>, Range<u64>) = (400..464, 128..192);
    let mut data = vec![0; 16];
    (data[3], data[11]) = (32, 28);
    data.extend(unit);
    data.extend([2, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 64]);
    data.extend(from.start.to_be_bytes());
    data.extend(to.start.to_be_bytes());
    let mut cdb = vec![0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    cdb[13] = data.len() as u8;
    Writer { name: "EXTENDED COPY", cdb, data, blocks: to, then: filled(from, 1) }
}

/// A read that the initiator does not look at before the writer has had its time.
fn race(session: &mut Initiator, luns: (u8, u8), writer: &Writer, attribute: u8, together: bool) {
    let told = format!("{}, LUNs {luns:?}, attribute {attribute}, together: {together}", writer.name);
    write(session, luns.0, KNOWN, 1);
    let writes = |session: &mut Initiator| session.start_as(attribute, luns.1, &writer.cdb, 0, &writer.data);
    let (read_tag, write_tag) = if together {
        session.together(|session| Ok((start_read(session, luns.0, &READ_FROM), writes(session)?))).unwrap()
    } else {
        (begin_read(session, luns.0, READ_FROM), writes(session).unwrap())
    };
    thread::sleep(MOMENT);
    has(&session.wait(read_tag).unwrap(), READ_FROM, 1, &told);
    let answer = session.wait(write_tag).unwrap();
    assert_eq!(answer.status, 0, "{told}: {:02x?}", answer.sense);
    let mut then = filled(KNOWN, 1);
    let from = writer.blocks.start as usize * BLOCK;
    then[from..from + writer.then.len()].copy_from_slice(&writer.then);
    is_same(&read(session, luns.0, KNOWN), &then, 0, &told);
}

#[test]
fn a_read_that_is_not_looked_at_has_nothing_of_a_write_that_was_sent_after_it() {
    for folder in folders("race") {
        let world = serve(&folder);
        // All data of a write is on its way when it has been started.
        let options = Options { initial_r2t: false, first_burst: 262_144, ..Options::default() };
        let mut session = login(&world, &options);
        assert!(!session.options().initial_r2t && session.options().first_burst == 262_144);
        let copier = copier(&mut session);
        for (number, writer) in writers().iter().chain([&copier]).enumerate() {
            for together in [false, true] {
                race(&mut session, (LENT, LENT), writer, (number % 4) as u8, together);
            }
        }
        // Untagged, simple, ordered, head of queue; of a unit under two numbers; of one that is copied.
        for attribute in 0..4 {
            race(&mut session, (LENT, LENT), &writers()[0], attribute, false);
            race(&mut session, (LENT, SAME), &writers()[0], attribute, false);
            race(&mut session, (COPIED, COPIED), &writers()[0], attribute, false);
        }
    }
}

#[test]
fn a_read_that_is_not_looked_at_has_nothing_of_what_erases_the_unit() {
    for folder in folders("erase") {
        let world = serve(&folder);
        world.write("devices/lent/allow_sanitize", "1");
        let mut session = alone(&world);
        for eraser in erasers() {
            for together in [false, true] {
                race(&mut session, (LENT, LENT), &eraser, 1, together);
            }
        }
    }
}

#[test]
fn an_initiator_that_is_silent_is_asked_and_its_answer_lets_the_write_go_on() {
    for folder in folders("asked") {
        let world = serve(&folder);
        // Asked whether or not it is watched for silence.
        for interval in ["0", "30"] {
            world.write("@/NopInInterval", interval);
            let mut session = alone(&world);
            for blocks in [0..96, 1..257, 2048..4096] {
                write(&mut session, LENT, blocks.clone(), 1);
                let before = session.asked_for();
                let tag = begin_read(&mut session, LENT, blocks.clone());
                let first = blocks.start..blocks.start + 1;
                let write_tag = start_write(&mut session, first.clone(), 2);
                // From here on nothing is sent but answers to NOP-In.
                while session.asked_for() == before {
                    session.pump().unwrap();
                    assert!(session.answer(write_tag).is_none(), "it was written before it was acknowledged");
                }
                assert_eq!(session.wait(write_tag).unwrap().status, 0);
                has(&session.wait(tag).unwrap(), blocks.clone(), 1, "asked");
                assert!(read(&mut session, LENT, first.clone()) == filled(first, 2));
            }
            drop(session);
            until("the session is gone", || world.sessions().is_empty());
        }
    }
}

#[test]
fn a_file_that_was_truncated_behind_the_target_is_an_error_and_the_session_goes_on() {
    for folder in folders("truncated") {
        let world = serve(&folder);
        let mut session = alone(&world);
        for lun in [LENT, COPIED] {
            write(&mut session, lun, 0..1000, 1);
        }
        // Within a page, within a block, at a page, at nothing.
        for left in [300 * BLOCK as u64, 300 * BLOCK as u64 + 7, 32 << 10, 0] {
            let mut told = Vec::new();
            for (lun, name) in [(LENT, "lent"), (COPIED, "copied")] {
                let file = File::options().write(true).open(folder.file(name)).unwrap();
                file.set_len(left).unwrap();
                for blocks in [0..512, 256..512, 290..400, 1024..3072] {
                    let blocks: Range<u64> = blocks;
                    let tag = start_read(&mut session, lun, &blocks);
                    let answer = session.wait(tag).unwrap();
                    assert_eq!(answer.status, 2, "LUN {lun}, {blocks:?} of {left} bytes");
                    told.push((lun, answer.sense));
                }
                for blocks in [0..left / BLOCK as u64, 1..left / BLOCK as u64] {
                    if !blocks.is_empty() {
                        let tag = start_read(&mut session, lun, &blocks);
                        has(&session.wait(tag).unwrap(), blocks, 1, &format!("LUN {lun}, {left} bytes"));
                    }
                }
                file.set_len(BLOCKS * BLOCK as u64).unwrap();
                write(&mut session, lun, 0..1000, 1);
                assert!(read(&mut session, lun, KNOWN) == filled(KNOWN, 1), "LUN {lun}, again");
            }
            let senses = |of: u8| told.iter().filter(move |(lun, _)| *lun == of).map(|(_, sense)| sense);
            assert!(senses(LENT).eq(senses(COPIED)), "{left}: {told:02x?}");
        }
        session.nop().unwrap();
    }
}

/// A command in flight: what a read must have, block by block.
enum Flying {
    Read(Range<u64>, Vec<u8>),
    Write,
}

/// Of two commands that touch the same blocks, one of them writing, the younger waits: a read has just what
/// was sent before it.
fn mix(session: &mut Initiator, random: &mut Random, commands: u64) {
    let mut content = filled(KNOWN, 0);
    write(session, LENT, KNOWN, 0);
    let mut flying: VecDeque<(u32, Flying)> = VecDeque::new();
    for number in 1..=commands + 8 {
        while flying.len() >= 8 || (number > commands && !flying.is_empty()) {
            let (tag, what) = flying.pop_front().unwrap();
            let answer = session.wait(tag).unwrap();
            assert_eq!(answer.status, 0, "{:02x?}", answer.sense);
            if let Flying::Read(blocks, expected) = what {
                is_same(&answer.data, &expected, blocks.start, &format!("command {number}, {blocks:?}"));
            }
            if random.below(3) == 0 {
                break;
            }
        }
        if random.below(4) == 0 {
            // Not looking, for as long as the writes take that could spoil what is to be read.
            thread::sleep(Duration::from_millis(2));
        }
        if number > commands {
            continue;
        }
        let count = 64 + random.below(193);
        let lba = random.below(KNOWN.end - count + 1);
        let (blocks, at) = (lba..lba + count, lba as usize * BLOCK..(lba + count) as usize * BLOCK);
        if random.below(2) == 0 {
            let tag = start_read(session, LENT, &blocks);
            flying.push_back((tag, Flying::Read(blocks, content[at].to_vec())));
        } else {
            let data = filled(blocks.clone(), number);
            let attribute = random.below(4) as u8;
            let tag = session.start_as(attribute, LENT, &cdb(WRITE, &blocks), 0, &data).unwrap();
            content[at].copy_from_slice(&data);
            flying.push_back((tag, Flying::Write));
        }
    }
}

#[test]
fn reads_and_writes_that_meet_in_flight_have_what_was_sent_before_them() {
    for folder in folders("mix") {
        let world = serve(&folder);
        let mut random = Random(7);
        for (max_recv, nagle, poll) in [
            (8192, "coalesce", "auto"),
            (65_536, "adaptive", "0"),
            (262_144, "always", "100"),
            (262_144, "never", "1000"),
        ] {
            world.write_all(&[("@/nagle", nagle), ("@/poll_us", poll)]);
            let options = Options { max_recv, header_digest: max_recv == 65_536, ..Options::default() };
            let mut session = login(&world, &options);
            mix(&mut session, &mut random, 600);
            // Another comes and goes meanwhile.
            thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mut other = another(&world);
                        read(&mut other, LENT, 0..512);
                        write(&mut other, LENT, 1000..1256, 3);
                        thread::sleep(Duration::from_millis(20));
                    }
                });
                mix(&mut session, &mut random, 600);
            });
            drop(session);
            until("the session is gone", || world.sessions().is_empty());
        }
    }
}
