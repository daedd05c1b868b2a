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
