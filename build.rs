//! How library and daemon are linked: the library's name, and what leaves them: the C API, and what handlers
//! of tcmu-runner look for.

use std::process::Command;

/// The first compiler with naked functions, which the messages of handlers need (`backstore::tcmu::message`).
const NAKED_SINCE: u32 = 88;
/// The first compiler with the 512-bit instructions that digests are quickest with (`sys::crc`).
const WIDE_SINCE: u32 = 89;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=packaging/tcmu.dynamic-list");
    // Symbols of static libraries stay inside; a library with threads must not be unmapped by dlclose.
    for argument in ["-soname,libscstu.so.0", "--exclude-libs,ALL", "-z,nodelete", "-z,defs"] {
        println!("cargo:rustc-cdylib-link-arg=-Wl,{argument}");
    }
    let list = format!("{}/packaging/tcmu.dynamic-list", env!("CARGO_MANIFEST_DIR"));
    println!("cargo:rustc-link-arg-bin=scstud=-Wl,--dynamic-list={list}");
    let minor = minor_version();
    for (word, since) in [("scstu_naked", NAKED_SINCE), ("scstu_wide", WIDE_SINCE)] {
        println!("cargo:rustc-check-cfg=cfg({word})");
        if minor.is_some_and(|minor| minor >= since) {
            println!("cargo:rustc-cfg={word}");
        }
    }
}

/// Of the compiler: 95 of "rustc 1.95.0 (...)".
fn minor_version() -> Option<u32> {
    let compiler = std::env::var_os("RUSTC")?;
    let output = Command::new(compiler).arg("--version").output().ok()?;
    String::from_utf8_lossy(&output.stdout).split('.').nth(1)?.parse().ok()
}
