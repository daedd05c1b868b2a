//! The bytes of RFC 7143: header and text formats, without meaning or state.

pub mod text;
