//! Who waits for the log to reach an offset.

use alloc::collections::BTreeMap;

use hanbeon_records::Offset;

/// Names one waiter, to take it back before its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId {
    offset: Offset,
    number: u64,
}

impl WaiterId {
    /// What it waits for.
    #[must_use]
    pub const fn offset(self) -> Offset {
        self.offset
    }
}

/// Tokens that wait until some end (high watermark, last stable offset, log end) reaches an offset.
///
/// Says who may go and nothing more: wakers, deadlines and locks are the caller's. Whoever adds a waiter looks at the end
/// once more *after* adding it, under the same lock that guards this value, or a rise in between is missed.
///
/// ```
/// use hanbeon_records::Offset;
/// use hanbeon_replica::Waiters;
///
/// let mut waiters = Waiters::new();
/// waiters.add(Offset::new(10), "b");
/// waiters.add(Offset::new(5), "a");
/// let late = waiters.add(Offset::new(7), "gives up");
/// assert_eq!(waiters.cancel(late), Some("gives up"));
/// assert_eq!(waiters.release(Offset::new(7)).collect::<Vec<_>>(), ["a"]);
/// assert_eq!(waiters.lowest(), Some(Offset::new(10)));
/// ```
#[derive(Clone, Debug)]
pub struct Waiters<T> {
    waiting: BTreeMap<WaiterId, T>,
    next: u64,
}

impl<T> Default for Waiters<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Waiters<T> {
    /// Nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self { waiting: BTreeMap::new(), next: 0 }
    }

    /// `token` waits until the end is at or above `offset`.
    pub fn add(&mut self, offset: Offset, token: T) -> WaiterId {
        let id = WaiterId { offset, number: self.next };
        self.next = self.next.wrapping_add(1);
        self.waiting.insert(id, token);
        id
    }

    /// Takes a waiter back; `None` when it has gone already.
    pub fn cancel(&mut self, id: WaiterId) -> Option<T> {
        self.waiting.remove(&id)
    }

    /// All who waited for `reached` or less, by offset, then by age. Each token is handed out once; those the caller does not
    /// take before dropping the iterator stay.
    pub fn release(&mut self, reached: Offset) -> impl Iterator<Item = T> {
        core::iter::from_fn(move || {
            let first = self.waiting.first_entry()?;
            (first.key().offset <= reached).then(|| first.remove())
        })
    }

    /// All who wait, by offset, then by age: the leadership or the partition is gone.
    pub fn release_all(&mut self) -> impl Iterator<Item = T> + use<T> {
        core::mem::take(&mut self.waiting).into_values()
    }

    /// The lowest offset somebody waits for; nothing happens to anybody while the end is below it.
    #[must_use]
    pub fn lowest(&self) -> Option<Offset> {
        self.waiting.first_key_value().map(|(id, _)| id.offset)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Add(i64),
        Cancel(usize),
        Release(i64),
        TakeOne(i64),
        All,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0_i64..20).prop_map(Op::Add),
            1 => any::<usize>().prop_map(Op::Cancel),
            2 => (0_i64..20).prop_map(Op::Release),
            1 => (0_i64..20).prop_map(Op::TakeOne),
            1 => Just(Op::All),
        ]
    }

    proptest! {
        /// Against a plain list: everybody goes once, in order, and only when the end has reached them.
        #[test]
        fn waiters_go_once_and_in_order(ops in prop::collection::vec(op(), 0..60)) {
            let mut waiters = Waiters::new();
            let mut model: Vec<(i64, usize)> = Vec::new();
            let mut ids = Vec::new();
            for op in ops {
                match op {
                    Op::Add(offset) => {
                        let token = ids.len();
                        ids.push(waiters.add(Offset::new(offset), token));
                        model.push((offset, token));
                    }
                    Op::Cancel(index) if !ids.is_empty() => {
                        let token = index % ids.len();
                        let place = model.iter().position(|waiter| waiter.1 == token);
                        let expected = place.map(|place| model.remove(place).1);
                        prop_assert_eq!(waiters.cancel(ids[token]), expected);
                    }
                    Op::Cancel(_) => {}
                    Op::Release(reached) => {
                        model.sort_unstable();
                        let gone = model.partition_point(|waiter| waiter.0 <= reached);
                        let expected: Vec<_> = model.drain(..gone).map(|waiter| waiter.1).collect();
                        let released: Vec<_> = waiters.release(Offset::new(reached)).collect();
                        prop_assert_eq!(released, expected);
                    }
                    Op::TakeOne(reached) => {
                        model.sort_unstable();
                        let expected = model.first().filter(|waiter| waiter.0 <= reached).copied();
                        if expected.is_some() {
                            model.remove(0);
                        }
                        let first = waiters.release(Offset::new(reached)).next();
                        prop_assert_eq!(first, expected.map(|waiter| waiter.1));
                    }
                    Op::All => {
                        model.sort_unstable();
                        let expected: Vec<_> = model.drain(..).map(|waiter| waiter.1).collect();
                        prop_assert_eq!(waiters.release_all().collect::<Vec<_>>(), expected);
                    }
                }
                prop_assert_eq!(waiters.len(), model.len());
                prop_assert_eq!(waiters.is_empty(), model.is_empty());
                let lowest = model.iter().map(|waiter| waiter.0).min();
                prop_assert_eq!(waiters.lowest().map(Offset::get), lowest);
            }
        }
    }
}
