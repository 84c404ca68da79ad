//! How many members support each protocol.
//!
//! A client may name as many protocols as fit into a request. Asking every member about every one of them is quadratic in that, so that
//! they are counted as members come and go.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::{Name, Protocol};

/// Members by the protocols they support.
#[derive(Debug, Default)]
pub(super) struct Supported {
    members: usize,
    by: BTreeMap<Name, usize>,
}

impl Supported {
    pub(super) const fn new() -> Self {
        Self { members: 0, by: BTreeMap::new() }
    }

    /// A member that supports these is there.
    pub(super) fn add(&mut self, protocols: &[Protocol]) {
        self.members = self.members.saturating_add(1);
        for name in distinct(protocols) {
            let count = self.by.entry(name.clone()).or_insert(0);
            *count = count.saturating_add(1);
        }
    }

    /// A member that supports these is gone.
    pub(super) fn take(&mut self, protocols: &[Protocol]) {
        self.members = self.members.saturating_sub(1);
        for name in distinct(protocols) {
            match self.by.get_mut(name) {
                Some(count) if *count > 1 => *count = count.saturating_sub(1),
                Some(_) | None => {
                    self.by.remove(name);
                }
            }
        }
    }

    /// Whether every member supports it.
    pub(super) fn by_all(&self, protocol: &Name) -> bool {
        self.by.get(protocol).copied().unwrap_or(0) == self.members
    }
}

/// A name that a member lists twice is one protocol.
fn distinct(protocols: &[Protocol]) -> BTreeSet<&Name> {
    protocols.iter().map(|protocol| &protocol.name).collect()
}
