//! How the shared library is linked: its name, and that nothing but the C API leaves it.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Symbols of static libraries stay inside; a library with threads must not be unmapped by dlclose.
    for argument in ["-soname,libscstu.so.0", "--exclude-libs,ALL", "-z,nodelete", "-z,defs"] {
        println!("cargo:rustc-cdylib-link-arg=-Wl,{argument}");
    }
}
