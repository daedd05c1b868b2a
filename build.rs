//! How library and daemon are linked: the library's name, and what leaves them: the C API, and what handlers
//! of tcmu-runner look for.

use std::process::Command;

/// The first compiler with naked functions, which the messages of handlers need (`backstore::tcmu::message`).
const NAKED_SINCE: u32 = 88;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=packaging/tcmu.dynamic-list");
    // Symbols of static libraries stay inside; a library with threads must not be unmapped by dlclose.
    for argument in ["-soname,libscstu.so.0", "--exclude-libs,ALL", "-z,nodelete", "-z,defs"] {
        println!("cargo:rustc-cdylib-link-arg=-Wl,{argument}");
    }
    let list = format!("{}/packaging/tcmu.dynamic-list", env!("CARGO_MANIFEST_DIR"));
    println!("cargo:rustc-link-arg-bin=scstud=-Wl,--dynamic-list={list}");
    println!("cargo:rustc-check-cfg=cfg(scstu_naked)");
    if minor_version().is_some_and(|minor| minor >= NAKED_SINCE) {
        println!("cargo:rustc-cfg=scstu_naked");
    }
}

/// Of the compiler: 95 of "rustc 1.95.0 (...)".
fn minor_version() -> Option<u32> {
    let compiler = std::env::var_os("RUSTC")?;
    let output = Command::new(compiler).arg("--version").output().ok()?;
    String::from_utf8_lossy(&output.stdout).split('.').nth(1)?.parse().ok()
}
