//! Who was given a member id and has not come with it yet (KIP-394).
//!
//! An id costs a client one small request, and nothing bounds how many it asks for: none of what happens often looks at all of them.

use alloc::collections::{BTreeMap, BTreeSet};

use hanbeon_records::Millis;

use crate::Name;

/// Those who are expected, and until when.
#[derive(Debug)]
pub(super) struct Pending {
    until: BTreeMap<Name, Millis>,
    by_time: BTreeSet<(Millis, Name)>,
}

impl Pending {
    pub(super) const fn new() -> Self {
        Self { until: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    pub(super) fn insert(&mut self, id: Name, until: Millis) {
        self.remove(&id);
        self.by_time.insert((until, id.clone()));
        self.until.insert(id, until);
    }

    /// Whether it was expected.
    pub(super) fn remove(&mut self, id: &Name) -> bool {
        let Some(until) = self.until.remove(id) else { return false };
        self.by_time.remove(&(until, id.clone()))
    }

    /// When the first of them will not be expected any more.
    pub(super) fn deadline(&self) -> Option<Millis> {
        self.by_time.first().map(|(until, _)| *until)
    }

    /// Nobody is expected any more whose time has come.
    pub(super) fn expire(&mut self, now: Millis) {
        while let Some((until, _)) = self.by_time.first()
            && *until <= now
            && let Some((_, id)) = self.by_time.pop_first()
        {
            self.until.remove(&id);
        }
    }
}
