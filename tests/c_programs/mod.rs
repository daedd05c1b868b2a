//! Programs in C against the shared library of this build.
#![allow(dead_code, clippy::unwrap_used)] // Each test uses a part; a test panics to fail.

pub mod program;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{Folder, is_installed, run};

/// How long a compiler or a small program may take.
pub const LIMIT: Duration = Duration::from_secs(120);

pub fn tree() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The shared library that belongs to this test: cargo leaves it beside the test's own program.
pub fn library() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let library = own.parent().unwrap().join("libscstu.so");
    assert!(library.exists(), "{} is not there", library.display());
    library
}

/// A folder as an installation has it: the library under its names, and a scstu.pc.
pub fn installed(folder: &Folder) -> PathBuf {
    for name in ["libscstu.so", "libscstu.so.0"] {
        symlink(library(), folder.file(name)).unwrap();
    }
    let template = fs::read_to_string(tree().join("packaging/scstu.pc.in")).unwrap();
    let text = template
        .replace("@PREFIX@", tree().to_str().unwrap())
        .replace("@LIBDIR@", folder.0.to_str().unwrap())
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"));
    assert!(!text.contains('@'), "a place in scstu.pc.in that nobody fills: {text}");
    fs::write(folder.file("scstu.pc"), text).unwrap();
    folder.0.clone()
}

/// Compiles a program of the tree into `folder`, which [`installed`] has prepared.
pub fn compile(folder: &Path, source: &str, flags: &[&str]) -> PathBuf {
    let program = folder.join(Path::new(source).file_stem().unwrap());
    let mut command = Command::new("gcc");
    command.args(["-std=c11", "-g", "-Wall", "-Wextra", "-Werror"]).args(flags);
    command.arg("-I").arg(tree().join("include")).arg(tree().join(source)).arg("-o").arg(&program);
    command.arg("-L").arg(folder).args(["-lscstu", "-lpthread", "-ldl"]);
    command.arg(format!("-Wl,-rpath,{}", folder.display()));
    let outcome = run(&mut command, LIMIT);
    assert!(outcome.is_good(), "{source} does not compile:\n{}", outcome.text);
    program
}

/// Whether there is a C compiler; says so once where there is none.
pub fn has_compiler(what: &str) -> bool {
    let has = is_installed("gcc");
    if !has {
        crate::common::skip(what, "no gcc");
    }
    has
}

/// Whether valgrind runs here.
pub fn has_valgrind(what: &str) -> bool {
    let works = is_installed("valgrind")
        && Command::new("valgrind")
            .arg("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if !works {
        crate::common::skip(what, "no valgrind that runs");
    }
    works
}

/// A command that runs `program` under valgrind: errors and lost memory are exit status 99.
pub fn valgrind(program: &Path) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["-q", "--error-exitcode=99", "--leak-check=full", "--fair-sched=yes"]);
    command.args(["--errors-for-leak-kinds=definite,indirect", "--show-leak-kinds=definite,indirect"]);
    command.arg(program);
    command
}
