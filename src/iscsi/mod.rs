//! The iSCSI protocol machines (RFC 7143): bytes and events in, PDUs and actions out.
//!
//! Nothing here reads a socket, a clock or a file; time and randomness are parameters.

pub mod account;
pub mod catalogue;
pub mod command;
pub mod error;
pub mod hash;
pub mod key;
pub mod parameters;
pub mod silence;

pub mod chap;
pub mod login_error;

pub mod authentication;
pub mod declaration;
pub mod directory;
pub mod negotiation;

pub mod discovery;
pub mod login;

pub mod queue;

pub mod frame;
pub mod session;
pub mod tags;
pub mod turn;

pub mod manage;
pub mod send;
pub mod transfer;

pub mod action;
pub mod arrival;

pub mod attachment;
pub mod receive;
