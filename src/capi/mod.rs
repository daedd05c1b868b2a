//! The C API: `include/scstu.h` is made of this module (`SCSTU_BLESS=1 cargo test --test header`).
//!
//! A function here checks its arguments, calls [`crate::instance::Instance`], and turns the result into 0 or
//! a negative errno; nothing is decided here. What a C program passes is looked at in three places only:
//! `handle` (which instance), `text` (strings), `sized` (structs that grow).
//!
//! # How to add a function
//! Write it out beside its kin, with a Doxygen comment that names every parameter, the errors and the
//! version; call `error::call` first. `tests/header.rs` and `tests/abi.rs` say what is missing: the header,
//! the map `packaging/scstu.map`, and a C program in `tests/c/misuse`.
#![allow(unsafe_code)] // The boundary to C: pointers become references here and nowhere else.
#![allow(non_camel_case_types)] // The names are those of the header.

pub mod access;
pub mod attribute;
pub mod backstore;
mod commands;
pub mod configure;
mod disk;
pub mod error;
pub mod handle;
#[cfg(test)]
mod interleavings;
pub mod lifecycle;
mod log;
pub mod objects;
pub mod observe;
pub mod portals;
mod process;
mod sized;
mod text;
