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
