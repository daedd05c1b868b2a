//! Pages: what a unit says of itself, as rows.

pub(crate) mod log;
pub(crate) mod mode;
pub(crate) mod vpd;
