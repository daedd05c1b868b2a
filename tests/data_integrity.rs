//! What was written reads back identical, however it travels: fragments, digests, block sizes, R2T and
//! immediate data, bursts, queue depths.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod common;
mod initiator;

use std::fmt::Write;

use common::Daemon;
use initiator::{Initiator, Options, READ, WRITE, rw16};

const TARGET: &str = "iqn.2026-01.test:data";
const BLOCK_SIZES: [usize; 4] = [512, 1024, 2048, 4096];
const SIZE: usize = 64 << 20;
const BURSTS: [usize; 4] = [512, 8192, 262_144, 1 << 20];

/// What the target must be told to agree to everything that is tried here.
const KEYS: &str = "HeaderDigest None,CRC32C\nDataDigest None,CRC32C\nMaxBurstLength 16777215\n\
                    FirstBurstLength 16777215\nMaxRecvDataSegmentLength 16777215\n\
                    MaxXmitDataSegmentLength 16777215\n";

/// A session with just these options.
fn login(daemon: &Daemon, options: &Options) -> Initiator {
    let session = Initiator::login(daemon.address, TARGET, options).unwrap();
    let agreed = session.options();
    assert_eq!((agreed.header_digest, agreed.data_digest), (options.header_digest, options.data_digest));
    assert_eq!((agreed.initial_r2t, agreed.immediate_data), (options.initial_r2t, options.immediate_data));
    assert_eq!((agreed.max_burst, agreed.first_burst), (options.max_burst, options.first_burst));
    session
}

/// A LUN for each block size, in memory; the same again, in files.
fn serve(name: &str) -> (Daemon, common::Folder) {
    let folder = common::Folder::new(name);
    let (mut rams, mut files, mut luns) = (String::new(), String::new(), String::new());
    for (lun, block) in BLOCK_SIZES.iter().enumerate() {
        let file = folder.file(&format!("file{lun}"));
        std::fs::File::create(&file).unwrap().set_len(SIZE as u64).unwrap();
        let settings = format!("blocksize {block}\nmax_tgt_dev_commands 0\n");
        writeln!(rams, "DEVICE r{lun} {{\nsize {SIZE}\n{settings}}}").unwrap();
        let file = file.display();
        writeln!(files, "DEVICE f{lun} {{\nfilename {file}\n{settings}}}").unwrap();
        writeln!(luns, "LUN {lun} r{lun}\nLUN {} f{lun}", lun + BLOCK_SIZES.len()).unwrap();
    }
    let conf = format!(
        "HANDLER vdisk_ram {{\n{rams}}}\nHANDLER vdisk_fileio {{\n{files}}}\n\
         TARGET_DRIVER iscsi {{\nenabled 1\n\
         TARGET {TARGET} {{\n{KEYS}QueuedCommands 2048\nenabled 1\n{luns}}}\n}}\n"
    );
    (Daemon::start_in(&folder.0, &conf), folder)
}

/// Bytes that tell where they belong.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let word = |at: u64| (seed << 40 ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).to_le_bytes();
    (0..length.div_ceil(8) as u64).flat_map(word).take(length).collect()
}

/// Writes and reads back ranges around the lengths that matter to this session.
fn round_trips(session: &mut Initiator, lun: usize, lengths: &[usize], seed: u64) {
    let block = BLOCK_SIZES[lun % BLOCK_SIZES.len()];
    for (number, length) in lengths.iter().enumerate() {
        let length = length.next_multiple_of(block);
        let lba = (number as u64 * 97 + seed * 13) % ((SIZE - length) / block) as u64;
        let data = pattern(seed << 8 | number as u64, length);
        let blocks = (length / block) as u32;
        let told = format!("LUN {lun}, {length} bytes, {:?}", session.options());
        session.good(lun as u8, &rw16(WRITE, lba, blocks, false), 0, &data).expect(&told);
        let back = session.good(lun as u8, &rw16(READ, lba, blocks, false), length, &[]).expect(&told);
        assert!(back == data, "{told}");
    }
}

fn switches() -> impl Iterator<Item = (bool, bool)> {
    [(false, false), (false, true), (true, false), (true, true)].into_iter()
}

#[test]
fn single_byte_fragments_with_every_digest() {
    let (daemon, _folder) = serve("fragments");
    for (number, (header_digest, data_digest)) in switches().enumerate() {
        for (initial_r2t, immediate_data) in switches() {
            let options = Options {
                header_digest,
                data_digest,
                initial_r2t,
                immediate_data,
                fragment: 1,
                max_burst: 4096,
                first_burst: 2048,
                ..Options::default()
            };
            let mut session = login(&daemon, &options);
            for lun in 0..2 * BLOCK_SIZES.len() {
                round_trips(&mut session, lun, &[512, 10_000], number as u64);
            }
        }
    }
}

#[test]
fn every_digest_block_size_r2t_and_burst() {
    let (daemon, _folder) = serve("matrix");
    let mut seed = 0;
    for (header_digest, data_digest) in switches() {
        for (initial_r2t, immediate_data) in switches() {
            for burst in BURSTS {
                seed += 1;
                let options = Options {
                    header_digest,
                    data_digest,
                    initial_r2t,
                    immediate_data,
                    max_burst: burst,
                    first_burst: burst.min(if seed % 2 == 0 { burst } else { 8192 }),
                    max_outstanding_r2t: seed as usize % 8 + 1,
                    max_recv: [512, 8192, 65_536, 1 << 20][seed as usize % 4],
                    ..Options::default()
                };
                let mut session = login(&daemon, &options);
                for lun in 0..2 * BLOCK_SIZES.len() {
                    round_trips(&mut session, lun, &[1, burst, burst / 2 * 3 + 1], seed);
                }
            }
        }
    }
}

#[test]
fn bursts_of_16_mib() {
    let (daemon, _folder) = serve("bursts");
    for (header_digest, initial_r2t) in switches() {
        let options = Options {
            header_digest,
            data_digest: header_digest,
            initial_r2t,
            max_burst: (16 << 20) - 1,
            first_burst: (16 << 20) - 1,
            max_recv: (16 << 20) - 1,
            ..Options::default()
        };
        let mut session = login(&daemon, &options);
        for lun in [0, 3, 4, 7] {
            round_trips(&mut session, lun, &[16 << 20, (16 << 20) - 4096], lun as u64);
        }
    }
}

#[test]
fn queue_depths_from_1_to_1024() {
    let (daemon, _folder) = serve("depths");
    for depth in [1, 2, 16, 128, 1024] {
        for lun in [0, 7] {
            let block = BLOCK_SIZES[lun % BLOCK_SIZES.len()];
            let mut session = Initiator::login(daemon.address, TARGET, &Options::default()).unwrap();
            session.good(lun as u8, &[0; 6], 0, &[]).unwrap();
            assert!(session.window() as usize >= depth, "so many may be under way");
            let data = |number: usize| pattern((depth * 2048 + number) as u64, 2 * block);
            for opcode in [WRITE, READ] {
                let start = |session: &mut Initiator, number: usize| {
                    let cdb = rw16(opcode, 2 * number as u64, 2, false);
                    let (read, write) =
                        if opcode == READ { (2 * block, Vec::new()) } else { (0, data(number)) };
                    session.start(lun as u8, &cdb, read, &write).unwrap()
                };
                let tags: Vec<u32> = (0..depth).map(|number| start(&mut session, number)).collect();
                for (number, tag) in tags.into_iter().enumerate() {
                    let answer = session.wait(tag).unwrap();
                    assert_eq!(answer.status, 0, "depth {depth}, command {number}: {:02x?}", answer.sense);
                    assert!(opcode == WRITE || answer.data == data(number), "depth {depth}: {number}");
                }
            }
        }
    }
}
