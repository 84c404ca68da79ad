//! Moments at which something ends, of many at once: none of what happens often looks at all of them.

use alloc::collections::{BTreeMap, BTreeSet};

use hanbeon_records::Millis;

/// A moment for each key, with what belongs to it.
#[derive(Debug)]
pub(crate) struct Timers<K, V = ()> {
    until: BTreeMap<K, (Millis, V)>,
    by_time: BTreeSet<(Millis, K)>,
}

impl<K: Ord + Clone, V> Timers<K, V> {
    pub(crate) const fn new() -> Self {
        Self { until: BTreeMap::new(), by_time: BTreeSet::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.until.is_empty()
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.until.contains_key(key)
    }

    /// Takes the place of the key's earlier moment.
    pub(crate) fn set(&mut self, key: K, until: Millis, value: V) {
        self.remove(&key);
        self.by_time.insert((until, key.clone()));
        self.until.insert(key, (until, value));
    }

    /// Whether there was one.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        let Some((until, _)) = self.until.remove(key) else { return false };
        self.by_time.remove(&(until, key.clone()))
    }

    /// The first of them, and whose it is.
    pub(crate) fn first(&self) -> Option<(Millis, &K)> {
        self.by_time.first().map(|(until, key)| (*until, key))
    }

    /// Takes out the first whose time has come.
    pub(crate) fn pop_due(&mut self, now: Millis) -> Option<(K, V)> {
        let (until, _) = self.by_time.first()?;
        if *until > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        let (_, value) = self.until.remove(&key)?;
        Some((key, value))
    }
}
