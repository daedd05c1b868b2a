//! Initiator and target in one thread: who moves next, how bytes are cut, which task finishes first and what
//! is aborted come from a seed, so that every failure can be played again.
#![allow(clippy::unwrap_used)] // Tests panic to fail.

mod pair {
    pub mod initiator;
    pub mod target;
}
mod support;

use pair::initiator::Initiator;
use pair::target::Target;
use scstu::iscsi::parameters::Parameters;

/// A small generator (xorshift): the same seed gives the same conversation.
pub struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

const BLOCKS: usize = 400;

fn parameters(random: &mut Random) -> Parameters {
    let max_burst_length = random.pick(&[512, 4096, 10_000, 262_144]);
    Parameters {
        header_digest: random.below(3) == 0,
        data_digest: random.below(3) == 0,
        initial_r2t: random.below(2) == 0,
        immediate_data: random.below(2) == 0,
        max_burst_length,
        first_burst_length: random.pick(&[512, 2000, 65_536]).min(max_burst_length),
        max_outstanding_r2t: random.pick(&[1, 2, 16]),
        max_recv_data_segment_length: random.pick(&[512, 8192, 262_144]),
        max_send_data_segment_length: random.pick(&[512, 1000, 8192, 262_144]),
        ..Parameters::default()
    }
}

/// Plays one conversation; answers how many commands succeeded and how many were aborted.
fn play(seed: u64, moves: usize, may_abort: bool) -> (u32, u32) {
    let mut random = Random::new(seed);
    let parameters = parameters(&mut random);
    let depth = random.pick(&[1, 2, 8, 32]);
    let cmd_sn = random.pick(&[0, 1, 0x7fff_fff8, 0xffff_fff0]);
    let stat_sn = random.pick(&[0, 0xffff_fffa]);
    let mut target = Target::new(&parameters, cmd_sn, u32::try_from(depth).unwrap(), stat_sn, BLOCKS);
    let mut initiator = Initiator::new(&parameters, cmd_sn, u32::try_from(depth).unwrap(), stat_sn, BLOCKS);
    for turn in 0..moves * 20 {
        let is_ending = turn >= moves;
        let is_quiet = initiator.is_idle() && initiator.output.is_empty();
        if is_ending && is_quiet && target.is_idle() {
            break;
        }
        match random.below(10) {
            0 | 1 if !is_ending => initiator.command(&mut random),
            2 if !is_ending && random.below(4) == 0 => initiator.ping(&mut random),
            2 if !is_ending && may_abort && random.below(6) == 0 => initiator.manage(&mut random),
            3 | 4 => initiator.answer_r2t(&mut random),
            5 | 6 => {
                let count = initiator.output.len().min(1 + random.pick(&[10, 100, 5000, 100_000]));
                let bytes: Vec<u8> = initiator.output.drain(..count).collect();
                target.feed(&bytes);
            }
            7 if target.ready() > 0 => {
                let index = random.below(target.ready());
                target.run(index);
            }
            _ => {
                let mut bytes = Vec::new();
                target.drain(random.pick(&[10, 100, 5000, 100_000]), &mut bytes);
                initiator.feed(&bytes);
            }
        }
    }
    assert!(initiator.is_idle(), "everything is answered");
    target.check_idle();
    (initiator.good, initiator.aborted)
}

fn play_all(seeds: std::ops::Range<u64>, may_abort: bool) -> (u32, u32) {
    let (mut good, mut aborted) = (0, 0);
    for seed in seeds {
        let played = std::panic::catch_unwind(|| play(seed, 1500, may_abort));
        let (more_good, more_aborted) = played.unwrap_or_else(|_| panic!("seed {seed}"));
        good += more_good;
        aborted += more_aborted;
    }
    (good, aborted)
}

#[test]
fn rfc7143_commands_in_any_order_and_any_fragmentation() {
    let (good, _) = play_all(0..120, false);
    assert!(good > 3000, "{good}");
}

#[test]
fn rfc7143_aborts_and_resets_at_any_moment() {
    let (good, aborted) = play_all(1000..1160, true);
    assert!(good > 3000 && aborted > 100, "{good} {aborted}");
}
