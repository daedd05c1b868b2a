//! Ways to configure and to watch: each turns its own notation into [`crate::model::Change`]s or shows what
//! is there, and keeps nothing.

pub mod conf;
pub mod control;
pub mod isns;
pub mod metrics;
pub mod tree;
