//! The page for Prometheus: its format is checked as promtool does, its figures against what was done.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // A test panics to fail.

mod exposition;
mod initiator;
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use exposition::Page;
use initiator::{Initiator, Options};
use scstu::backstore::{Backstore, BlockError, Capabilities, Geometry};
use scstu::mgmt::metrics::endpoint::Endpoint;
use scstu::mgmt::metrics::{SERIES_LIMIT, render};
use scstu::server::{Server, ServerOptions};
use support::{Memory, TARGET, serve};

const TEST_UNIT_READY: [u8; 6] = [0; 6];

/// READ (10) or WRITE (10).
fn cdb10(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = opcode;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

fn page(server: &Server) -> Page {
    Page::parse(&render(server)).unwrap()
}

/// Waits until `is_there`, for what the server's threads do after they have answered.
fn wait_for(mut is_there: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_there() {
        assert!(Instant::now() < deadline, "it never comes");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn session(address: SocketAddr) -> Initiator {
    let mut session = Initiator::login(address, TARGET, &Options::default()).unwrap();
    session.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    session
}

#[test]
fn what_was_done_is_counted() {
    for never_blocks in [true, false] {
        let store = Arc::new(Memory::new(1 << 20, 512, never_blocks));
        let (server, address) = serve(vec![store], ServerOptions::default());
        server.totals().measure();
        let mut session = session(address);
        for lba in 0..10 {
            session.good(0, &cdb10(0x2a, lba, 2), 0, &[7; 1024]).unwrap();
            session.good(0, &cdb10(0x28, lba, 1), 512, &[]).unwrap();
        }
        assert_eq!(session.command(0, &cdb10(0x28, u32::MAX, 1), 512, &[]).unwrap().status, 2);
        let count = |name: &str, labels: &[(&str, &str)]| page(&server).value(name, labels);
        wait_for(|| count("scstu_backend_seconds_count", &[("lun", "0")]) >= Some(20.0));
        assert_eq!(count("scstu_commands_total", &[("direction", "read")]), Some(10.0));
        assert_eq!(count("scstu_commands_total", &[("direction", "write")]), Some(10.0));
        assert_eq!(count("scstu_bytes_total", &[("direction", "read")]), Some(5120.0));
        assert_eq!(count("scstu_bytes_total", &[("direction", "write")]), Some(10240.0));
        assert_eq!(
            count("scstu_check_conditions_total", &[("sense_key", "illegal_request")]),
            Some(1.0),
            "{}",
            render(&server)
        );
        assert_eq!(count("scstu_check_conditions_total", &[("sense_key", "unit_attention")]), Some(1.0));
        assert_eq!(count("scstu_queue_seconds_count", &[]), count("scstu_backend_seconds_count", &[]));
        assert_eq!(count("scstu_sessions", &[("type", "normal")]), Some(1.0));
        assert_eq!(count("scstu_logins_total", &[]), Some(1.0));
        assert_eq!(count("scstu_commands_in_flight", &[("device", "disk0")]), Some(0.0));
        drop(session);
        assert_eq!(server.stop(Duration::from_secs(5)), 0);
    }
}

/// Writes take a known time.
struct Slow(Memory, Duration);

impl Backstore for Slow {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }

    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), BlockError> {
        self.0.read(offset, into)
    }

    fn write(&self, offset: u64, from: &[u8], durable: bool) -> Result<(), BlockError> {
        std::thread::sleep(self.1);
        self.0.write(offset, from, durable)
    }

    fn flush(&self) -> Result<(), BlockError> {
        self.0.flush()
    }
}

#[test]
fn time_in_the_backstore_is_told_from_time_in_the_queue() {
    let slow = Slow(Memory::new(1 << 20, 512, false), Duration::from_millis(40));
    let (server, address) = serve(vec![Arc::new(slow)], ServerOptions { workers: 2, ..Default::default() });
    server.totals().measure();
    let mut session = session(address);
    // One worker serves one unit here, so the second write waits for the first.
    let first = session.start(0, &cdb10(0x2a, 0, 1), 0, &[1; 512]).unwrap();
    let second = session.start(0, &cdb10(0x2a, 8, 1), 0, &[1; 512]).unwrap();
    for tag in [first, second] {
        assert_eq!(session.wait(tag).unwrap().status, 0);
    }
    wait_for(|| page(&server).value("scstu_backend_seconds_count", &[]) >= Some(3.0));
    let page = page(&server);
    let sum = |name| page.value(name, &[]).unwrap();
    assert!(sum("scstu_backend_seconds_sum") >= 0.080, "{page:?}");
    assert!(sum("scstu_queue_seconds_sum") >= 0.030, "{page:?}");
    drop(session);
    server.stop(Duration::from_secs(5));
}

#[test]
fn an_initiator_that_logs_in_again_goes_on_with_its_series() {
    let (server, address) = serve(vec![Arc::new(Memory::new(1 << 20, 512, true))], ServerOptions::default());
    let labels = || -> Vec<_> {
        let page = page(&server);
        page.samples.iter().filter(|s| s.name == "scstu_bytes_total").map(|s| s.labels.clone()).collect()
    };
    let first = session(address);
    let before = labels();
    assert_eq!(before.len(), 2, "{before:?}");
    drop(first);
    wait_for(|| labels().is_empty());
    let second = session(address);
    assert_eq!(labels(), before);
    // The same initiator port again takes the place of its session; another port is another nexus.
    let third = session(address);
    wait_for(|| labels() == before);
    let other = Options { isid: 77, ..Options::default() };
    let mut other = Initiator::login(address, TARGET, &other).unwrap();
    other.good(0, &TEST_UNIT_READY, 0, &[]).unwrap();
    assert_eq!(labels().len(), 4);
    drop((second, third, other));
    server.stop(Duration::from_secs(5));
}

#[test]
fn nothing_is_measured_unless_it_is_wanted() {
    let (server, address) = serve(vec![Arc::new(Memory::new(1 << 20, 512, false))], ServerOptions::default());
    let mut session = session(address);
    session.good(0, &cdb10(0x28, 0, 1), 512, &[]).unwrap();
    assert_eq!(page(&server).value("scstu_backend_seconds_count", &[]), Some(0.0));
    assert_eq!(page(&server).value("scstu_commands_total", &[("direction", "read")]), Some(1.0));
    drop(session);
    server.stop(Duration::from_secs(5));
}

#[test]
fn refused_logins_are_counted_by_reason() {
    let (server, address) = serve(vec![Arc::new(Memory::new(1 << 20, 512, true))], ServerOptions::default());
    for _ in 0..3 {
        assert!(Initiator::login(address, "iqn.2026-01.test:nobody", &Options::default()).is_err());
    }
    let rejects = |reason| page(&server).value("scstu_login_rejects_total", &[("reason", reason)]);
    assert_eq!(rejects("not_found"), Some(3.0));
    assert_eq!(rejects("authentication_failure"), Some(0.0));
    server.stop(Duration::from_secs(5));
}

#[test]
fn the_number_of_series_is_bounded() {
    let stores = (0..SERIES_LIMIT + 20).map(|_| Arc::new(Memory::new(4096, 512, true)) as Arc<dyn Backstore>);
    let (server, address) = serve(stores.collect(), ServerOptions::default());
    let mut sessions: Vec<_> = (0..4)
        .map(|isid| Initiator::login(address, TARGET, &Options { isid, ..Options::default() }).unwrap())
        .collect();
    for session in &mut sessions {
        for lun in 0..=255 {
            session.good(lun, &TEST_UNIT_READY, 0, &[]).unwrap();
        }
    }
    let page = page(&server);
    let series = page.samples.iter().filter(|sample| sample.name == "scstu_commands_in_flight").count();
    assert_eq!(series, SERIES_LIMIT + 1);
    let other = page.value("scstu_commands_total", &[("isid", "other"), ("direction", "none")]);
    assert!(other.is_some_and(|count| count >= (4.0 * 256.0 - SERIES_LIMIT as f64)), "{other:?}");
    drop(sessions);
    server.stop(Duration::from_secs(5));
}

/// Sends `request` and answers everything that comes back.
fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The endpoint may hang up in the middle of too long a request.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn the_endpoint_serves_the_page_and_survives_bad_clients() {
    let (server, _) = serve(vec![Arc::new(Memory::new(1 << 20, 512, true))], ServerOptions::default());
    let server = Arc::new(server);
    let own = Arc::clone(&server);
    let endpoint = Endpoint::open("127.0.0.1:0".parse().unwrap(), move || render(&own)).unwrap();
    let address = endpoint.address();
    // Clients that say nothing hold no place for ever; others are served meanwhile.
    let _silent: Vec<_> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    for (request, status) in [
        ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "200"),
        ("GET /metrics?x=y HTTP/1.0\r\n\r\n".to_owned(), "200"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n".to_owned(), "405"),
        ("\r\n\r\n".to_owned(), "400"),
        ("\u{0}\u{ff}\u{fe} nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = ask(address, request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
        if status == "200" {
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
            assert!(head.contains("text/plain; version=0.0.4"), "{head}");
            Page::parse(body).unwrap();
        }
    }
    let answer = ask(address, &[b'a'; 9000]);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    drop(endpoint);
    wait_for(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err());
    server.stop(Duration::from_secs(5));
}

#[test]
fn the_checker_sees_mistakes() {
    for bad in [
        "scstu_x 1\n",
        "# TYPE scstu_x counter\nscstu_x 1\n",
        "# HELP scstu_x h\n# TYPE scstu_x counter\nscstu_x 1\n",
        "# HELP scstu_x h\n# TYPE scstu_x gauge\nscstu_x one\n",
        "# HELP scstu_x h\n# TYPE scstu_x gauge\nscstu_x{a=\"1} 1\n",
        "# HELP scstu_x h\n# TYPE scstu_x gauge\nscstu_x{a=\"1\"} 1\nscstu_x{a=\"1\"} 1\n",
        "# HELP scstu_x h\n# TYPE scstu_x gauge\nscstu_x 1",
        "# HELP scstu_h h\n# TYPE scstu_h histogram\nscstu_h_bucket{le=\"1\"} 2\n\
         scstu_h_bucket{le=\"+Inf\"} 1\nscstu_h_sum 1\nscstu_h_count 1\n",
        "# HELP scstu_h h\n# TYPE scstu_h histogram\nscstu_h_bucket{le=\"1\"} 1\n\
         scstu_h_sum 1\nscstu_h_count 1\n",
    ] {
        assert!(Page::parse(bad).is_err(), "{bad}");
    }
}
