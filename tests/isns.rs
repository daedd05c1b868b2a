//! The iSNS client against a server of our own.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod common;
mod initiator;
mod isns_server;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Daemon, Folder, skip};
use initiator::{Initiator, Options};
use isns_server::{IsnsServer, attribute};
use scstu::mgmt::isns::client::{Target, Timing};
use scstu::mgmt::isns::shell::{Host, Shell, Wanted};

/// A configuration that the test changes.
struct Configuration {
    wanted: Mutex<Option<Wanted>>,
    allowed: Mutex<Vec<(String, Vec<String>)>>,
}

impl Host for Configuration {
    fn wanted(&self) -> Option<Wanted> {
        self.wanted.lock().unwrap().clone()
    }

    fn allow(&self, _server: &str, target: &str, initiators: Vec<String>) {
        self.allowed.lock().unwrap().push((target.to_owned(), initiators));
    }
}

fn target(name: &str, alias: &str) -> Target {
    Target { name: name.to_owned(), alias: alias.to_owned() }
}

/// A client of this server, in a hurry.
fn client(server: &IsnsServer, access_control: bool) -> (Arc<Configuration>, Shell) {
    let wanted = Wanted {
        server: server.address.to_string(),
        entity: "box.test".to_owned(),
        portals: ["0.0.0.0:3260", "[::]:3262", "10.9.8.7:3261"].map(|at| at.parse().unwrap()).to_vec(),
        targets: vec![target("iqn.2026-01.test:a", "the first"), target("iqn.2026-01.test:b", "")],
        access_control,
    };
    let configuration =
        Arc::new(Configuration { wanted: Mutex::new(Some(wanted)), allowed: Mutex::default() });
    let timing =
        Timing { refresh: Duration::from_millis(50), rest: Duration::from_millis(20), ..Timing::default() };
    let shell = Shell::start(configuration.clone(), timing).unwrap();
    (configuration, shell)
}

#[test]
fn targets_are_registered_kept_changed_and_withdrawn() {
    let server = IsnsServer::start();
    let (configuration, shell) = client(&server, false);
    let known = server.wait("the registration", |known| known.targets.len() == 2);
    assert_eq!(known.entity, "box.test");
    assert_eq!(known.targets[0], ("iqn.2026-01.test:a".to_owned(), "the first".to_owned()));
    let portals = ["127.0.0.1:3260", "10.9.8.7:3261"].map(|portal| portal.parse().unwrap());
    assert_eq!(known.portals, portals, "a wildcard is where the server is reached from");
    server.wait("the refresh", |known| known.refreshes >= 3);
    configuration.wanted.lock().unwrap().as_mut().unwrap().targets = vec![target("iqn.2026-01.test:c", "")];
    shell.look();
    server.wait("the change", |known| {
        known.targets == [("iqn.2026-01.test:c".to_owned(), String::new())] && known.registrations == 2
    });
    shell.stop();
    assert!(server.known().entity.is_empty(), "deregistered: {:?}", server.known());
}

#[test]
fn the_servers_inquiries_are_answered() {
    let server = IsnsServer::start();
    let (_configuration, shell) = client(&server, false);
    server.wait("the registration", |known| known.inquiry_port != 0);
    for round in 0..3 {
        let body = [attribute(4, &[0, 0, 0, 0, 0, 0, 0, round]), attribute(1, b"box.test\0\0\0\0")].concat();
        let answer = server.ask(0x000d, &body);
        assert_eq!(answer.body, [&[0; 4][..], &body].concat(), "success, and the inquiry repeated");
    }
    shell.stop();
}

#[test]
fn they_are_answered_where_the_first_portal_is() {
    let Ok(server) = IsnsServer::start_at("[::1]:0") else { return skip("iSNS by IPv6", "no IPv6") };
    let (_configuration, shell) = client(&server, false);
    let known = server.wait("the registration", |known| known.portals.len() == 2);
    assert_eq!(known.portals[0], "[::1]:3262".parse().unwrap());
    assert_eq!(server.ask(0x000d, &[]).body, [0; 4]);
    shell.stop();
}

#[test]
fn what_it_is_told_meanwhile_does_not_keep_it_from_stopping() {
    let server = IsnsServer::start();
    let (configuration, shell) = client(&server, false);
    server.wait("the registration", |known| known.registrations == 1);
    let held = configuration.wanted.lock().unwrap();
    (0..1000).for_each(|_| shell.look());
    shell.stop();
    drop(held);
    server.wait("the withdrawal", |known| known.entity.is_empty());
}

#[test]
fn a_server_that_goes_away_is_found_again() {
    let server = IsnsServer::start();
    let (_configuration, shell) = client(&server, false);
    server.wait("the registration", |known| known.registrations == 1);
    server.hang_up();
    server.wait("another registration", |known| known.registrations == 2);
    server.known().status = 6;
    server.hang_up();
    server.wait("a refused attempt", |known| known.registrations >= 4);
    server.known().status = 0;
    let before = server.known().registrations;
    server.wait("a good one", |known| known.registrations > before);
    shell.stop();
}

#[test]
fn a_server_that_has_forgotten_it_is_told_again() {
    let server = IsnsServer::start();
    let (_configuration, shell) = client(&server, false);
    server.wait("the registration", |known| known.registrations == 1);
    server.known().entity.clear();
    server.wait("another registration", |known| known.registrations == 2 && known.entity == "box.test");
    shell.stop();
}

#[test]
fn another_server_gets_the_registration_and_the_old_one_loses_it() {
    let (first, second) = (IsnsServer::start(), IsnsServer::start());
    let (configuration, shell) = client(&first, false);
    first.wait("the registration", |known| known.targets.len() == 2);
    configuration.wanted.lock().unwrap().as_mut().unwrap().server = second.address.to_string();
    shell.look();
    second.wait("the registration", |known| known.targets.len() == 2);
    first.wait("the withdrawal", |known| known.entity.is_empty());
    *configuration.wanted.lock().unwrap() = None;
    shell.look();
    second.wait("the withdrawal", |known| known.entity.is_empty());
    shell.stop();
}

#[test]
fn the_server_decides_who_may_log_in() {
    let server = IsnsServer::start();
    server.known().initiators = vec!["iqn.2026-01.test:friend".to_owned()];
    let (configuration, shell) = client(&server, true);
    let allowed = |target: &str, names: &[&str]| {
        let until = Instant::now() + Duration::from_secs(20);
        let wanted = (target.to_owned(), names.iter().map(|name| (*name).to_owned()).collect());
        while !configuration.allowed.lock().unwrap().contains(&wanted) {
            assert!(Instant::now() < until, "{wanted:?}: {:?}", configuration.allowed.lock().unwrap());
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    allowed("iqn.2026-01.test:b", &["iqn.2026-01.test:friend"]);
    assert_eq!(server.known().subscriptions, ["iqn.2026-01.test:a", "iqn.2026-01.test:b"]);
    server.known().initiators.push("iqn.2026-01.test:other".to_owned());
    let name = attribute(32, b"iqn.2026-01.test:a\0\0");
    let answer = server.ask(0x0008, &[name.clone(), attribute(35, &[0, 0, 0, 8])].concat());
    assert_eq!(answer.body, [&[0; 4][..], &name].concat());
    allowed("iqn.2026-01.test:a", &["iqn.2026-01.test:friend", "iqn.2026-01.test:other"]);
    shell.stop();
}

#[test]
fn thousands_of_targets_are_registered() {
    let server = IsnsServer::start();
    let (configuration, shell) = client(&server, false);
    let many = (0..3000).map(|n| target(&format!("iqn.2026-01.test.longer.name:{n}"), "an alias")).collect();
    configuration.wanted.lock().unwrap().as_mut().unwrap().targets = many;
    shell.look();
    server.wait("the registration", |known| known.targets.len() == 3000);
    shell.stop();
}

/// scst.conf of a daemon that registers with `server`.
fn conf(server: &IsnsServer, access: &str, more: &str) -> String {
    format!(
        "HANDLER vdisk_ram {{\n\tDEVICE d {{\n\t\tsize 1M\n\t}}\n}}\nTARGET_DRIVER iscsi {{\n\tenabled 1\n\
         \tiSNSServer \"{}{access}\"\n\tisns_entity_name box.test\n\
         \tTARGET iqn.2026-01.test:a {{\n\t\tenabled 1\n\t\talias first\n\t\tLUN 0 d\n\t}}\n\
         \tTARGET iqn.2026-01.test:off {{\n\t\tLUN 0 d\n\t}}\n{more}}}\n",
        server.address
    )
}

#[test]
fn the_daemon_registers_its_enabled_targets_and_withdraws_them() {
    let server = IsnsServer::start();
    let folder = Folder::new("isns-daemon");
    let mut daemon = Daemon::start_in(&folder.0, &conf(&server, "", ""));
    let known = server.wait("the registration", |known| !known.portals.is_empty());
    assert_eq!(known.entity, "box.test");
    assert_eq!(known.targets, [("iqn.2026-01.test:a".to_owned(), "first".to_owned())]);
    assert_eq!(known.portals, [daemon.address]);
    let more = "\tTARGET iqn.2026-01.test:new {\n\t\tenabled 1\n\t}\n";
    std::fs::write(folder.file("scst.conf"), conf(&server, "", more)).unwrap();
    let pid = daemon.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    server.wait("the new target", |known| known.targets.len() == 2);
    assert!(daemon.stop().success());
    assert!(server.known().entity.is_empty(), "deregistered: {:?}", server.known());
}

#[test]
fn with_access_control_only_registered_initiators_log_in() {
    let server = IsnsServer::start();
    let daemon = Daemon::start("isns-access", &conf(&server, " AccessControl", ""));
    let login = || Initiator::login(daemon.address, "iqn.2026-01.test:a", &Options::default());
    server.wait("the subscription", |known| !known.subscriptions.is_empty());
    let refused = login().err().expect("refused");
    assert!(refused.to_string().contains("login refused"), "{refused}");
    server.known().initiators = vec!["iqn.2026-01.test:initiator".to_owned()];
    let name = attribute(32, b"iqn.2026-01.test:a\0\0");
    server.ask(0x0008, &[name, attribute(35, &[0, 0, 0, 8])].concat());
    let until = Instant::now() + Duration::from_secs(20);
    while login().is_err() {
        assert!(Instant::now() < until, "never let in");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server that is asked instead has the only word from then on, though it has not answered yet.
#[test]
fn with_access_control_the_word_of_another_server_does_not_count() {
    let (first, second) = (IsnsServer::start(), IsnsServer::start());
    let known = vec!["iqn.2026-01.test:initiator".to_owned()];
    (first.known().initiators, second.known().initiators) = (known.clone(), known);
    second.known().status = 3;
    let folder = Folder::new("isns-other");
    let daemon = Daemon::start_in(&folder.0, &conf(&first, " AccessControl", ""));
    let login = || Initiator::login(daemon.address, "iqn.2026-01.test:a", &Options::default()).is_ok();
    let until = Instant::now() + Duration::from_secs(20);
    while !login() {
        assert!(Instant::now() < until, "never let in");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::write(folder.file("scst.conf"), conf(&second, " AccessControl", "")).unwrap();
    let pid = daemon.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    second.wait("an attempt", |known| known.registrations > 0);
    assert!(!login(), "let in by the word of the first server");
    second.known().status = 0;
    while !login() {
        assert!(Instant::now() < until, "never let in by the second server");
        std::thread::sleep(Duration::from_millis(1));
    }
}
