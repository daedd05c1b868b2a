//! Where threads can get in each other's way, marked so that tests can go through every order of it.
//!
//! Code that takes part calls [`until`] before it takes a lock and [`point`] before it touches an atomic that
//! others look at. In a build that is not for the library's own tests both are nothing. In a test,
//! `explorer::explore` has a few threads stop at these marks and lets one of them go on at a time, in every
//! order that there is.

#[cfg(test)]
pub(crate) mod explorer;

#[cfg(test)]
pub(crate) use explorer::{point, until};

/// Here another thread may come first.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn point() {}

/// As [`point`]; in an exploration, the thread goes on only while `is_free` says that what it takes next can
/// be had.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn until(_is_free: impl Fn() -> bool) {}
