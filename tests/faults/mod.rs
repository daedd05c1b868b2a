//! Files that fail or hang when a test says so, below the real daemon.
#![allow(dead_code, clippy::unwrap_used)] // Each test uses a part; a test panics to fail.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::common::{Daemon, Folder, run};

/// What can go wrong with a file.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Read,
    Write,
    /// A write that is to be durable.
    Durable,
    Sync,
    Allocate,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Durable => "durable",
            Operation::Sync => "sync",
            Operation::Allocate => "allocate",
        }
    }
}

/// A daemon whose files are in the hands of the test.
pub struct Faulty {
    pub daemon: Daemon,
    pub folder: Folder,
}

impl Faulty {
    /// Starts it; `None` without a C compiler. `conf` gets the folder of the files.
    pub fn start(name: &str, conf: impl FnOnce(&Folder) -> String) -> Option<Faulty> {
        Faulty::start_with(name, conf, |_| {})
    }

    /// The same, with a command line that `change` has changed.
    pub fn start_with(
        name: &str,
        conf: impl FnOnce(&Folder) -> String,
        change: impl FnOnce(&mut Command),
    ) -> Option<Faulty> {
        let folder = Folder::new(name);
        let library = folder.file("faults.so");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library);
        compile.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/faults/faults.c")).arg("-ldl");
        if !crate::common::is_installed("cc") {
            return None;
        }
        let compiled = run(&mut compile, std::time::Duration::from_secs(60));
        assert!(compiled.is_good(), "{}", compiled.text);
        let conf = conf(&folder);
        let daemon = Daemon::start_with(&folder.0, &conf, |command| {
            change(command);
            command.env("LD_PRELOAD", &library).env("SCSTU_FAULTS", &folder.0);
        });
        Some(Faulty { daemon, folder })
    }

    fn order(&self, file: &str, operation: Operation) -> PathBuf {
        self.folder.file(&format!("{file}.{}", operation.word()))
    }

    fn say(&self, file: &str, operation: Operation, text: &str) {
        // In one step: half an order would be another one.
        let beside = self.folder.file("order");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.order(file, operation)).unwrap();
    }

    /// From now on the operation hangs.
    pub fn hang(&self, file: &str, operation: Operation) {
        self.say(file, operation, "hang\n");
    }

    /// From now on the operation fails.
    pub fn fail(&self, file: &str, operation: Operation, errno: i32) {
        self.say(file, operation, &format!("{errno}\n"));
    }

    /// All is well again, also for what hangs.
    pub fn heal(&self, file: &str, operation: Operation) {
        fs::remove_file(self.order(file, operation)).unwrap();
    }
}
