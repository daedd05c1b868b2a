//! Lists of changes that are looked at and not made: checks and plans.
//!
//! Nothing is opened for them: a handler may make what it opens, format it, or take it from whoever has it
//! open.

use std::sync::PoisonError;

use crate::model::apply::Batch;
use crate::model::{Change, Error, Model};

/// How far a list is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rehearsal {
    /// Names, attributes and values.
    Words,
    /// Files as well, from outside.
    Media,
}

impl Model {
    /// Whether the list is right, as far as can be said without opening anything: what [`Model::check_words`]
    /// looks at, and files from outside.
    pub fn check_all(&self, changes: &[Change]) -> Result<(), (usize, Error)> {
        self.rehearse(changes, Rehearsal::Media)
    }

    /// Whether the words of the list are right: names, attributes and values, and what may be together. The
    /// files may be another machine's.
    pub fn check_words(&self, changes: &[Change]) -> Result<(), (usize, Error)> {
        self.rehearse(changes, Rehearsal::Words)
    }

    fn rehearse(&self, changes: &[Change], rehearsal: Rehearsal) -> Result<(), (usize, Error)> {
        let _writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = Batch::new(self, &self.configuration());
        batch.rehearsal = Some(rehearsal);
        let (mut batch, _) = self.prepare(batch, changes)?;
        batch.bind_to_groups().map(|_| ())
    }
}
