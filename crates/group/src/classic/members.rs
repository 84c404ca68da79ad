//! The members of a classic group, and what is asked of all of them for each request of one: who of them supports what, who is missing,
//! who is late. None of that looks at all of them.

use alloc::collections::{BTreeMap, BTreeSet};

use hanbeon_records::Millis;

use super::{
    member::{Member, Synced},
    supported::Supported,
};
use crate::{Name, timers::Timers};

/// Members by id. Each change of one goes through here.
#[derive(Debug)]
pub(super) struct Members<T> {
    by_id: BTreeMap<Name, Member<T>>,
    pub(super) supported: Supported,
    /// In the order of their joining.
    by_number: BTreeSet<(u64, Name)>,
    /// When each is taken for dead.
    deadlines: Timers<Name>,
    /// How many wait for the others to join.
    joined: usize,
    /// How many have not asked for their assignment.
    unsynced: usize,
}

impl<T> Members<T> {
    pub(super) const fn new() -> Self {
        Self {
            by_id: BTreeMap::new(),
            supported: Supported::new(),
            by_number: BTreeSet::new(),
            deadlines: Timers::new(),
            joined: 0,
            unsynced: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(super) fn get(&self, id: &Name) -> Option<&Member<T>> {
        self.by_id.get(id)
    }

    pub(super) fn contains(&self, id: &Name) -> bool {
        self.by_id.contains_key(id)
    }

    /// By id.
    pub(super) fn ids(&self) -> impl Iterator<Item = &Name> {
        self.by_id.keys()
    }

    /// By id.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member<T>> {
        self.by_id.values()
    }

    /// In the order of their joining.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Member<T>> {
        self.by_number.iter().filter_map(|(_, id)| self.by_id.get(id))
    }

    pub(super) fn into_members(self) -> impl Iterator<Item = Member<T>> {
        self.by_id.into_values()
    }

    /// How many wait for the others to join.
    pub(super) const fn joined(&self) -> usize {
        self.joined
    }

    /// Whether every one waits for the others to join.
    pub(super) fn have_joined(&self) -> bool {
        self.joined == self.len()
    }

    /// Whether every one has asked for its assignment.
    pub(super) const fn have_asked(&self) -> bool {
        self.unsynced == 0
    }

    /// Who is taken for dead first, and when.
    pub(super) fn deadline(&self) -> Option<(Millis, &Name)> {
        self.deadlines.first()
    }

    /// A member takes its place.
    pub(super) fn seat(&mut self, member: Member<T>) {
        self.unseat(&member.id.clone());
        self.supported.add(&member.protocols);
        self.by_number.insert((member.number, member.id.clone()));
        self.note(&member);
        self.by_id.insert(member.id.clone(), member);
    }

    /// A member leaves its place.
    pub(super) fn unseat(&mut self, id: &Name) -> Option<Member<T>> {
        let member = self.by_id.remove(id)?;
        self.supported.take(&member.protocols);
        self.by_number.remove(&(member.number, member.id.clone()));
        self.forget(&member);
        self.deadlines.remove(id);
        Some(member)
    }

    /// Changes a member; not who it is, when it joined or what it supports.
    pub(super) fn change<R>(
        &mut self,
        id: &Name,
        how: impl FnOnce(&mut Member<T>) -> R,
    ) -> Option<R> {
        let mut member = self.by_id.remove(id)?;
        self.forget(&member);
        let changed = how(&mut member);
        self.note(&member);
        self.by_id.insert(id.clone(), member);
        Some(changed)
    }

    /// The same of all, by id.
    pub(super) fn change_all(&mut self, mut how: impl FnMut(&mut Member<T>)) {
        let mut all = core::mem::take(&mut self.by_id);
        for member in all.values_mut() {
            self.forget(member);
            how(member);
            self.note(member);
        }
        self.by_id = all;
    }

    fn note(&mut self, member: &Member<T>) {
        self.joined = self.joined.saturating_add(usize::from(member.join.is_some()));
        self.unsynced = self.unsynced.saturating_add(usize::from(member.synced == Synced::Not));
        match member.deadline() {
            Some(at) => self.deadlines.set(member.id.clone(), at, ()),
            None => {
                self.deadlines.remove(&member.id);
            }
        }
    }

    fn forget(&mut self, member: &Member<T>) {
        self.joined = self.joined.saturating_sub(usize::from(member.join.is_some()));
        self.unsynced = self.unsynced.saturating_sub(usize::from(member.synced == Synced::Not));
    }
}
