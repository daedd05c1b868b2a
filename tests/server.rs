//! The server over real sockets, in this process.

#![allow(clippy::unwrap_used)] // A test panics to fail.

mod support;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use scstu::server::ServerOptions;
use support::{Memory, TARGET, serve};

#[test]
fn a_target_is_found() {
    let store = Arc::new(Memory::new(1 << 20, 512, true));
    let (server, address) = serve(vec![store], ServerOptions::default());
    let out = Command::new("iscsi-ls").arg(format!("iscsi://{address}")).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains(TARGET), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(server.stop(Duration::from_secs(5)), 0);
}

#[test]
#[ignore = "serves until killed"]
fn serve_for_clients() {
    use scstu::backstore::registry::{OpenRequest, find};
    let open = |thin| {
        let request =
            OpenRequest { size: Some(1000 << 20), thin_provisioned: Some(thin), ..Default::default() };
        find("vdisk_ram").unwrap().open(&request).unwrap().unwrap()
    };
    let (_server, address) = serve(vec![open(true), open(true)], ServerOptions::default());
    eprintln!("listening on {address}");
    loop {
        std::thread::park();
    }
}
