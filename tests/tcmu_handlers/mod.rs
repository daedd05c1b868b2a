//! What the tests of tcmu-runner's handlers share: compiling one, the daemon with its tool, sense data.
#![allow(dead_code, clippy::unwrap_used)] // Each test uses a part; a test panics to fail.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::common::{Daemon, Folder, Outcome, run};
use crate::initiator::Answer;

const LIMIT: Duration = Duration::from_secs(120);

/// Compiles a handler of `tests/tcmu` into `folder`.
pub fn build(folder: &Path, source: &str, library: &str, flags: &[&str]) {
    let mut compiler = Command::new("gcc");
    compiler.args([
        "-std=c11",
        "-D_GNU_SOURCE",
        "-g",
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-shared",
        "-fPIC",
    ]);
    compiler.args(flags);
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/tcmu").join(source);
    compiler.arg(source).arg("-o").arg(folder.join(library)).args(["-lpthread", "-Wl,-z,now"]);
    let outcome = run(&mut compiler, LIMIT);
    assert!(outcome.is_good(), "{library} does not compile:\n{}", outcome.text);
}

/// The tool of a daemon.
pub struct Admin {
    pub socket: PathBuf,
}

impl Admin {
    /// A daemon with the handlers in `places`, and its tool. Its log is `log` in the folder.
    pub fn start(folder: &Folder, conf: &str, places: &[&Path]) -> (Daemon, Admin) {
        let socket = folder.file("socket");
        let daemon = Daemon::start_with(&folder.0, conf, |command| {
            for place in places {
                command.arg("--tcmu-handlers").arg(place);
            }
            command.env("SCSTU_TEST_DESTROYED", folder.file("destroyed"));
            command.arg("--socket").arg(&socket);
        });
        (daemon, Admin { socket })
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scstuadm"));
        run(command.arg("--socket").arg(&self.socket).args(arguments), LIMIT)
    }

    pub fn good(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert!(outcome.is_good(), "{arguments:?}: {}", outcome.text);
        outcome.text
    }

    /// What it says when it refuses.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        let code = outcome.status.and_then(|status| status.code());
        assert!(code.is_some_and(|code| code > 0), "{arguments:?}: {}", outcome.text);
        outcome.text
    }
}

/// Key, code and qualifier of sense data in fixed format.
pub fn sense(answer: &Answer) -> (u8, u8, u8) {
    assert_eq!(answer.status, 2, "no CHECK CONDITION: {answer:?}");
    (answer.sense[2] & 0xf, answer.sense[12], answer.sense[13])
}
