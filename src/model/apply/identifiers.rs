//! Relative target port identifiers: no two enabled targets have the same (SCST 1.6.1). A list of changes is
//! looked at when all of them are made, so that targets can exchange theirs.

use std::collections::BTreeSet;

use crate::attr::Error;
use crate::model::apply::Batch;
use crate::model::key;
use crate::model::object::COPY_MANAGER_TARGET;

impl Batch<'_> {
    /// The target may have another identifier from now on, or need one; `before` is the one that it had while
    /// it was enabled.
    pub(super) fn identify(&mut self, name: &str, before: Option<u16>) {
        let own = if name == COPY_MANAGER_TARGET { name.to_owned() } else { key(name) };
        if let Some(before) = before {
            self.free(&own, before);
        }
        self.identified.insert(own, self.at);
    }

    /// The target, by key, has this identifier no longer.
    pub(super) fn free(&mut self, own: &str, identifier: u16) {
        if self.next.identifiers.get(&identifier).is_some_and(|holder| holder == own) {
            self.next.identifiers.remove(&identifier);
        }
    }

    /// Looks at the identifiers when all changes are made: those that somebody chose, then those that are
    /// given. An error comes with the place of its change.
    pub(in crate::model) fn settle_identifiers(&mut self) -> Result<(), (usize, Error)> {
        let mut all: Vec<(usize, String)> = Vec::new();
        all.extend(std::mem::take(&mut self.identified).into_iter().map(|(own, at)| (at, own)));
        all.sort_unstable();
        // The order in which they were enabled is that of the numbers given.
        let (given, chosen): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, own)| self.wants_any(own));
        for (at, own) in chosen.into_iter().chain(given) {
            self.settle(&own).map_err(|error| (at, error))?;
        }
        Ok(())
    }

    fn wants_any(&self, own: &str) -> bool {
        self.next.target(own).is_some_and(|target| target.relative_identifier == 0)
    }

    fn settle(&mut self, own: &str) -> Result<(), Error> {
        // It may have been disabled again, or removed.
        let Some(target) = self.next.target(own).filter(|target| target.enabled) else { return Ok(()) };
        let mut identifier = target.relative_identifier;
        if identifier != 0 && self.next.identifiers.contains_key(&identifier) {
            let text = format!("rel_tgt_id {identifier} is another enabled target's");
            return Err(Error::new(libc::EBADSLT, text));
        }
        if identifier == 0 {
            identifier = self.free_identifier()?;
            self.target(own)?.relative_identifier = identifier;
        }
        if own != COPY_MANAGER_TARGET {
            self.next.identifiers.insert(identifier, own.to_owned());
        }
        Ok(())
    }

    /// An identifier for a target that shall have any: no other enabled target's, and no port's of another
    /// node, with which it may be in one device group.
    fn free_identifier(&mut self) -> Result<u16, Error> {
        let groups = self.next.device_groups.values().flat_map(|group| group.target_groups.values());
        let remote = groups.flat_map(|group| group.members.values()).filter(|member| !member.is_local);
        let remote: BTreeSet<u16> = remote.map(|member| member.relative_identifier).collect();
        let used = &self.next.identifiers;
        let is_free = |own: &u16| *own != 0 && !used.contains_key(own) && !remote.contains(own);
        let own = (self.next.next_relative..=u16::MAX).chain(1..self.next.next_relative).find(is_free);
        let own = own.ok_or_else(|| {
            let text = "every rel_tgt_id is an enabled target's, or that of a port of another node";
            Error::new(libc::ENOSPC, text)
        })?;
        self.next.next_relative = own.checked_add(1).unwrap_or(1);
        Ok(own)
    }
}
