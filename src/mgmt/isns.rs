//! Registration with an iSNS server (RFC 4171), where initiators find targets: attribute `iSNSServer`.
//!
//! [`message`] is the format, [`client`] decides what to send and when, without I/O and without a clock;
//! [`shell`] has the sockets and the threads, [`registrar`] ties it to the model. Enabled targets are
//! registered as one entity; the server asks back from time to time (entity status inquiry) and forgets an
//! entity that does not answer.

pub mod client;
pub mod message;
pub mod registrar;
pub mod shell;
