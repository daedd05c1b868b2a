//! TARGET COLD RESET ends the sessions of its target, once it is answered (RFC 7143 11.5.1).
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // Tests panic to fail.

mod initiator;
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use initiator::{Initiator, Options, WRITE, rw16};
use scstu::server::{Server, ServerOptions};
use support::gated::Gated;
use support::{OTHER_TARGET, TARGET, serve};

const BLOCK: usize = 512;
const TARGET_WARM_RESET: u8 = 6;
const TARGET_COLD_RESET: u8 = 7;
const TEST_UNIT_READY: [u8; 6] = [0; 6];

fn session(address: SocketAddr, target: &str, isid: u32) -> Initiator {
    let options = Options { isid, ..Options::default() };
    let mut session = Initiator::login(address, target, &options).unwrap();
    session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    session
}

/// Waits until so many sessions are there.
fn await_sessions(server: &Server, count: usize) {
    let start = Instant::now();
    while server.sessions().len() != count {
        assert!(start.elapsed() < Duration::from_secs(30), "{} sessions", server.sessions().len());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The connection ends, and nothing more comes with it.
fn ends(session: &mut Initiator) -> bool {
    session.pump().is_err_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof)
}

#[test]
fn rfc7143_11_5_1_a_cold_reset_ends_all_sessions_of_its_target_and_no_other() {
    let (server, address) = serve(vec![Gated::new()], ServerOptions::default());
    let mut own = session(address, TARGET, 1);
    let mut neighbour = session(address, TARGET, 2);
    let mut other = session(address, OTHER_TARGET, 1);

    let warm = own.begin_function(TARGET_WARM_RESET, 0, 0).unwrap();
    assert_eq!(own.wait_function(warm).unwrap(), 0);
    for told in [&mut own, &mut neighbour] {
        assert_eq!(told.command(0, &TEST_UNIT_READY, 0, &[]).unwrap().sense[12], 0x29);
        told.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    }

    let cold = own.begin_function(TARGET_COLD_RESET, 0, 0).unwrap();
    assert_eq!(own.wait_function(cold).unwrap(), 0);
    assert!(ends(&mut own), "the session of the one who asked");
    assert!(ends(&mut neighbour), "another of the target");
    await_sessions(&server, 1);
    // Its units were reset.
    assert_eq!(other.command(0, &TEST_UNIT_READY, 0, &[]).unwrap().sense[12], 0x29);
    other.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    drop((session(address, TARGET, 1), other));
    server.stop(Duration::from_secs(10));
}

#[test]
fn sessions_stay_until_the_writes_that_a_cold_reset_waits_for_are_over() {
    let store = Gated::new();
    let (server, address) = serve(vec![store.clone()], ServerOptions::default());
    let mut own = session(address, TARGET, 1);
    let mut neighbour = session(address, TARGET, 2);
    let write = rw16(WRITE, 0, 1, false);
    neighbour.start(0, &write, 0, &[1; BLOCK]).unwrap();
    store.wait_for_writes(1);
    let cold = own.begin_function(TARGET_COLD_RESET, 0, 0).unwrap();
    own.nop().unwrap();
    assert_eq!(own.function_result(cold), None, "the write may still land");
    neighbour.nop().unwrap();
    store.allow(BLOCK as u64);
    assert_eq!(own.wait_function(cold).unwrap(), 0);
    assert!(ends(&mut own));
    assert!(ends(&mut neighbour));
    await_sessions(&server, 0);
    server.stop(Duration::from_secs(10));
}

#[test]
fn a_cold_reset_ends_the_sessions_though_the_one_who_asked_is_gone_before_it_is_over() {
    let store = Gated::new();
    let (server, address) = serve(vec![store.clone()], ServerOptions::default());
    let mut own = session(address, TARGET, 1);
    let mut neighbour = session(address, TARGET, 2);
    let other = session(address, OTHER_TARGET, 1);
    neighbour.start(0, &rw16(WRITE, 0, 1, false), 0, &[1; BLOCK]).unwrap();
    store.wait_for_writes(1);
    let cold = own.begin_function(TARGET_COLD_RESET, 0, 0).unwrap();
    own.nop().unwrap();
    assert_eq!(own.function_result(cold), None, "the write may still land");
    drop(own);
    assert!(ends(&mut neighbour));
    await_sessions(&server, 1);
    store.allow(BLOCK as u64);
    drop(other);
    server.stop(Duration::from_secs(10));
}

#[test]
fn rfc7143_6_3_4_a_session_keeps_its_tsih_when_its_connection_is_reinstated() {
    let (server, address) = serve(vec![Gated::new()], ServerOptions::default());
    let mut old = session(address, TARGET, 1);
    let tsih = old.options().tsih;
    assert_ne!(tsih, 0);
    let again = Options { tsih, ..Options::default() };
    let mut new = Initiator::login(address, TARGET, &again).unwrap();
    assert_eq!(new.options().tsih, tsih);
    assert!(ends(&mut old));
    new.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    // Whoever logs in without it has another session.
    let newest = session(address, TARGET, 1);
    assert_ne!(newest.options().tsih, tsih);
    assert!(ends(&mut new));
    await_sessions(&server, 1);
    let gone = Options { tsih, ..Options::default() };
    let refused = Initiator::login(address, TARGET, &gone).err().unwrap().to_string();
    assert!(refused.contains("02, 0a"), "{refused}");
    drop(newest);
    server.stop(Duration::from_secs(10));
}
