//! Power cuts: a medium with a volatile cache loses any part of it, at any operation. What was acknowledged
//! with FUA, or before an acknowledged SYNCHRONIZE CACHE, is there. A cut is an event of the store, so the
//! target must have asked it for the right thing at the right time; killing the daemon cannot show that.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod initiator;
mod stamps;
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use initiator::{Initiator, Options};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::server::ServerOptions;
use stamps::{BLOCK, BLOCKS, Disk, End};
use support::{TARGET, serve};

const CUTS: u64 = 1000;

#[derive(Default)]
struct State {
    stable: Vec<u8>,
    cache: BTreeMap<usize, Vec<u8>>,
    random: u64,
    /// Operations until the cut; `None` without power.
    left: Option<u32>,
}

impl State {
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.random >> 33
    }

    /// Counts an operation; at the cut, each cached block reaches the medium or not.
    fn operate(&mut self) -> Result<(), BlockError> {
        match self.left {
            None => return Err(BlockError::Io(5)),
            Some(0) => {
                self.left = None;
                for (block, bytes) in std::mem::take(&mut self.cache) {
                    if self.random() % 2 == 0 {
                        self.stable[block * BLOCK..][..BLOCK].copy_from_slice(&bytes);
                    }
                }
                return Err(BlockError::Io(5));
            }
            Some(left) => self.left = Some(left - 1),
        }
        Ok(())
    }
}

#[derive(Default)]
struct Volatile(Mutex<State>);

impl Backstore for Volatile {
    fn geometry(&self) -> Geometry {
        Geometry {
            block_size: BLOCK as u32,
            blocks: BLOCKS as u64,
            physical_block_exponent: 0,
            optimal_transfer_bytes: 0,
            unmap_granularity_bytes: 0,
            unmap_alignment_bytes: 0,
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::VOLATILE_CACHE
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        let state = self.0.lock().unwrap();
        for (index, block) in into.chunks_mut(BLOCK).enumerate() {
            let number = offset as usize / BLOCK + index;
            let stable = &state.stable[number * BLOCK..][..BLOCK];
            block.copy_from_slice(state.cache.get(&number).map_or(stable, |cached| cached));
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        for (index, block) in from.chunks(BLOCK).enumerate() {
            let number = offset as usize / BLOCK + index;
            if durable {
                state.cache.remove(&number);
                state.stable[number * BLOCK..][..BLOCK].copy_from_slice(block);
            } else {
                state.cache.insert(number, block.to_vec());
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), BlockError> {
        let mut state = self.0.lock().unwrap();
        state.operate()?;
        for (number, block) in std::mem::take(&mut state.cache) {
            state.stable[number * BLOCK..][..BLOCK].copy_from_slice(&block);
        }
        Ok(())
    }
}

#[test]
fn what_is_durable_survives_power_cuts() {
    let store = Arc::new(Volatile::default());
    store.0.lock().unwrap().stable = vec![0; BLOCKS * BLOCK];
    let (server, address) = serve(vec![store.clone()], ServerOptions::default());
    let mut disk = Disk::new(7);
    let login = || {
        let mut session = Initiator::login(address, TARGET, &Options::default()).unwrap();
        session.good(0, &[0; 6], 0, &[]).unwrap();
        session
    };
    for round in 0..CUTS {
        let mut session = login();
        disk.check(&mut session, round);
        store.0.lock().unwrap().left = Some(disk.random(60) as u32);
        let end = disk.load(&mut session).unwrap_err();
        assert!(matches!(end, End::Refused(_)), "round {round}: {end:?}");
    }
    disk.check(&mut login(), CUTS);
    assert_eq!(server.stop(std::time::Duration::from_secs(5)), 0);
}
