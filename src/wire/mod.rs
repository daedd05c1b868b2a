//! The bytes of RFC 7143: header and text formats, without meaning or state.

pub mod ahs;
pub mod bhs;
pub mod digest;
pub mod request;
pub mod response;
pub mod serial;
pub mod text;
