//! Ways to configure: each turns its own notation into [`crate::model::Change`]s and keeps nothing.

pub mod conf;
