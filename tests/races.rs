//! Completions of an asynchronous backstore racing aborts, resets, lost sessions, stop and free. What happens
//! next comes from a seed; who wins a race does not, so there are many.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod initiator;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use initiator::{Initiator, Options, rw16};
use scstu::backstore::io::{Io, Operation};
use scstu::backstore::null::NullStore;
use scstu::backstore::registry::{Handler, OpenRequest};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::instance::{Instance, Options as InstanceOptions};

const TARGET: &str = "iqn.2026-01.test:races";
const BLOCKS: u64 = 2048;
const ABORT_TASK: u8 = 1;
const LUN_RESET: u8 = 5;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[derive(Default)]
struct Counts {
    submitted: AtomicU64,
    completed: AtomicU64,
    cancelled: AtomicU64,
    strangers: AtomicU64,
}

/// Commands wait here until a thread picks one, at random.
struct Store {
    waiting: Mutex<(HashMap<u64, Io>, u64, Random)>,
    changed: Condvar,
    counts: Arc<Counts>,
}

impl Store {
    fn open(seed: u64, counts: Arc<Counts>) -> Arc<Self> {
        let store = Arc::new(Store {
            waiting: Mutex::new((HashMap::new(), 0, Random(seed | 1))),
            changed: Condvar::new(),
            counts,
        });
        for _ in 0..2 {
            let weak = Arc::downgrade(&store);
            thread::spawn(move || {
                while let Some(store) = weak.upgrade() {
                    store.complete_one();
                }
            });
        }
        store
    }

    fn complete_one(&self) {
        let mut waiting = self.waiting.lock().unwrap();
        if waiting.0.is_empty() {
            waiting = self.changed.wait_timeout(waiting, Duration::from_millis(1)).unwrap().0;
        }
        let count = waiting.0.len() as u64;
        if count == 0 {
            return;
        }
        let pick = usize::try_from(waiting.2.below(count)).unwrap();
        let number = *waiting.0.keys().nth(pick).unwrap();
        let io = waiting.0.remove(&number).unwrap();
        drop(waiting);
        self.end(io);
    }

    /// Fills a read with its block number, looks at a write's data: both must still be there.
    fn end(&self, mut io: Io) {
        let (operation, offset) = (io.operation(), io.offset());
        let expected = u8::try_from(offset / 512 % 251).unwrap();
        let result = match operation {
            Operation::Read => {
                io.data().fill(expected);
                Ok(())
            }
            Operation::Write { .. } if io.data().iter().any(|byte| *byte != expected) => {
                self.counts.strangers.fetch_add(1, Ordering::Relaxed);
                Err(BlockError::Io(libc::EIO))
            }
            _ => Ok(()),
        };
        self.counts.completed.fetch_add(1, Ordering::Relaxed);
        io.complete(result);
    }
}

impl Backstore for Store {
    fn geometry(&self) -> Geometry {
        Geometry {
            block_size: 512,
            blocks: BLOCKS,
            physical_block_exponent: 0,
            optimal_transfer_bytes: 0,
            unmap_granularity_bytes: 0,
            unmap_alignment_bytes: 0,
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ASYNCHRONOUS
    }

    fn read(&self, _offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        into.fill(0);
        Ok(())
    }

    fn write(&self, _offset: u64, _from: &[u8], _durable: bool) -> Result<(), BlockError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        Ok(())
    }

    fn submit(&self, io: Io) -> Option<u64> {
        self.counts.submitted.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock().unwrap();
        waiting.1 += 1;
        let number = waiting.1;
        if waiting.2.below(4) == 0 {
            // Completed before submit returns.
            drop(waiting);
            self.end(io);
        } else {
            waiting.0.insert(number, io);
            self.changed.notify_one();
        }
        Some(number)
    }

    fn cancel(&self, number: u64) {
        let mut waiting = self.waiting.lock().unwrap();
        assert!(number <= waiting.1, "a number that was never given");
        let io = waiting.0.remove(&number);
        let at_once = waiting.2.below(2) == 0;
        if let Some(io) = io {
            self.counts.cancelled.fetch_add(1, Ordering::Relaxed);
            if at_once {
                drop(waiting);
                self.counts.completed.fetch_add(1, Ordering::Relaxed);
                io.complete(Err(BlockError::Io(libc::ECANCELED)));
            } else {
                waiting.0.insert(number, io);
            }
        }
    }
}

fn instance(seed: u64, counts: &Arc<Counts>) -> Instance {
    let instance = Instance::new(InstanceOptions::default()).unwrap();
    let counts = Arc::clone(counts);
    let open = move |_: &_| Ok(Some(Store::open(seed, Arc::clone(&counts)) as Arc<dyn Backstore>));
    instance.register(Handler::registered("races", "completes when it likes", open)).unwrap();
    instance.add_device("races", "disk", &[]).unwrap();
    instance.add_target(TARGET).unwrap();
    instance.add_lun(TARGET, None, 0, "disk", false).unwrap();
    instance.enable_target(TARGET, true).unwrap();
    instance.start().unwrap();
    instance
}

/// One session: commands, aborts, resets; then it goes, with commands out, one way or another.
fn session(instance: &Instance, random: &mut Random) {
    let address = instance.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut initiator = Initiator::login(address, TARGET, &Options::default()).unwrap();
    let _ = initiator.command(0, &[0; 6], 0, &[]);
    let mut out = Vec::new();
    for _ in 0..40 {
        let lba = random.below(BLOCKS);
        match random.below(10) {
            0 if !out.is_empty() => {
                let tag = out[usize::try_from(random.below(out.len() as u64)).unwrap()];
                let function = initiator.begin_function(ABORT_TASK, 0, tag).unwrap();
                initiator.wait_function(function).unwrap();
                out.retain(|other| *other != tag);
            }
            1 if random.below(4) == 0 => {
                let function = initiator.begin_function(LUN_RESET, 0, 0xffff_ffff).unwrap();
                initiator.wait_function(function).unwrap();
                out.clear();
            }
            2..=5 => {
                let data = vec![u8::try_from(lba % 251).unwrap(); 512];
                out.push(initiator.start(0, &rw16(0x8a, lba, 1, false), 0, &data).unwrap());
            }
            _ => out.push(initiator.start(0, &rw16(0x88, lba, 1, false), 512, &[]).unwrap()),
        }
    }
    match random.below(4) {
        0 => drop(initiator),
        1 => {
            for session in instance.sessions() {
                let _ = instance.kick(session.id);
            }
        }
        2 => instance.stop(Duration::ZERO).unwrap(),
        _ => {
            for tag in out {
                initiator.wait(tag).unwrap();
            }
        }
    }
}

#[test]
fn completions_race_aborts_stop_and_free_and_every_command_ends_once() {
    let counts = Arc::new(Counts::default());
    for seed in 1..=400u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let instance = instance(seed, &counts);
        session(&instance, &mut random);
        if random.below(2) == 0 {
            instance.stop(Duration::ZERO).unwrap();
        }
        drop(instance);
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    while read(&counts.completed) < read(&counts.submitted) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(read(&counts.completed), read(&counts.submitted), "a command that never ended, or twice");
    assert_eq!(read(&counts.strangers), 0, "a buffer that was not there any more");
    assert!(read(&counts.submitted) > 500 && read(&counts.cancelled) > 0, "nothing raced");
}

/// Two threads do something at once, over and over; `check` sees what each was answered.
fn at_once<T: Send>(rounds: u64, act: impl Fn(u64, usize) -> T + Sync, check: impl Fn(u64, [T; 2])) {
    for round in 0..rounds {
        let together = Barrier::new(2);
        let run = |side: usize| {
            together.wait();
            act(round, side)
        };
        let answers = thread::scope(|scope| {
            let other = scope.spawn(|| run(1));
            [run(0), other.join().unwrap()]
        });
        check(round, answers);
    }
}

/// Of two outgoing users that are added at once, one is there and the other is refused; secrets of the two
/// directions that are added at once are never the same.
#[test]
fn users_that_are_added_at_once_know_of_each_other() {
    let instance = Instance::new(InstanceOptions::default()).unwrap();
    instance.add_target(TARGET).unwrap();
    let outgoing =
        |_: u64, side: usize| instance.add_outgoing_user(TARGET, ["a", "b"][side], "twelvesecrets");
    at_once(10_000, outgoing, |round, answers| {
        let errors: Vec<i32> =
            answers.iter().filter_map(|answer| Some(answer.as_ref().err()?.errno)).collect();
        assert_eq!(errors, [libc::EEXIST], "round {round}: {answers:?}");
        let winner = if answers[0].is_ok() { "a" } else { "b" };
        instance.remove_outgoing_user(TARGET, winner).unwrap();
    });
    let both = |_: u64, side: usize| match side {
        0 => instance.add_outgoing_user(TARGET, "out", "twelvesecrets"),
        _ => instance.add_incoming_user(TARGET, "in", "twelvesecrets"),
    };
    at_once(10_000, both, |round, answers| {
        let errors: Vec<i32> =
            answers.iter().filter_map(|answer| Some(answer.as_ref().err()?.errno)).collect();
        assert_eq!(errors, [libc::EINVAL], "round {round}: {answers:?}");
        let _ = instance.remove_outgoing_user(TARGET, "out");
        let _ = instance.remove_incoming_user(TARGET, "in");
    });
}

/// A device that is mapped and taken out at once is the one or the other.
#[test]
fn a_device_that_is_mapped_stays() {
    let instance = Instance::new(InstanceOptions::default()).unwrap();
    instance.add_target(TARGET).unwrap();
    let act = |_: u64, side: usize| match side {
        0 => instance.add_lun(TARGET, None, 0, "disk", false),
        _ => instance.remove_device("disk"),
    };
    instance.add_device("vdisk_nullio", "disk", &[]).unwrap();
    at_once(60_000, act, |round, answers| {
        let errors: Vec<i32> =
            answers.iter().filter_map(|answer| Some(answer.as_ref().err()?.errno)).collect();
        assert_eq!(errors.len(), 1, "round {round}: {answers:?}");
        match answers[0] {
            Ok(()) => instance.remove_lun(TARGET, None, 0).unwrap(),
            Err(_) => instance.add_device("vdisk_nullio", "disk", &[]).unwrap(),
        }
    });
}

/// A handler that is taken out while a device of it is made is gone, or has a device.
#[test]
fn a_handler_with_a_device_stays() {
    let instance = Instance::new(InstanceOptions::default()).unwrap();
    let register = || {
        let open = |_: &OpenRequest| Ok(Some(Arc::new(NullStore::new(512, 1 << 20)) as Arc<dyn Backstore>));
        instance.register(Handler::registered("kind", "", open)).unwrap();
    };
    register();
    let act = |_: u64, side: usize| match side {
        0 => instance.add_device("kind", "disk", &[]),
        _ => instance.unregister("kind"),
    };
    at_once(60_000, act, |round, answers| {
        let errors: Vec<i32> =
            answers.iter().filter_map(|answer| Some(answer.as_ref().err()?.errno)).collect();
        assert_eq!(errors.len(), 1, "round {round}: {answers:?}");
        match answers[0] {
            Ok(()) => instance.remove_device("disk").unwrap(),
            Err(_) => register(),
        }
    });
}
