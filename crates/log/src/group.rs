//! The append group: items that arrive while one is being written are written together, by one thread.

use std::{collections::VecDeque, fmt, ops::ControlFlow};

use crate::{
    completion::{Completer, Completion},
    sync::{AtomicU8, Condvar, Mutex, MutexGuard, Ordering, ROUNDS},
};

/// Items that one lead takes at most.
pub const GROUP_ITEMS_MAX: usize = 64;
/// Bytes after which a lead takes no further item.
pub const GROUP_BYTES_MAX: usize = 1 << 20;

/// A result, or the promise of one.
#[derive(Debug)]
#[must_use = "the work may have failed"]
pub enum Joined<T> {
    /// The caller's own thread did the work.
    Done(T),
    /// Another thread does it.
    Waiting(Completion<T>),
}

impl<T> Joined<T> {
    /// The result, blocking for it if need be.
    ///
    /// # Errors
    /// [`crate::Abandoned`] when whoever was doing the work panicked.
    pub fn wait(self) -> Result<T, crate::Abandoned> {
        match self {
            Self::Done(value) => Ok(value),
            Self::Waiting(completion) => completion.wait(),
        }
    }

    /// As a completion, whoever did the work.
    pub fn into_completion(self) -> Completion<T> {
        match self {
            Self::Done(value) => Completion::ready(value),
            Self::Waiting(completion) => completion,
        }
    }
}

/// One item in the hands of a leader, and the place for its result.
pub struct Slot<T, R> {
    item: T,
    bytes: usize,
    result: Option<R>,
    completer: Option<Completer<R>>,
}

impl<T, R> Slot<T, R> {
    const fn new(item: T, bytes: usize) -> Self {
        Self { item, bytes, result: None, completer: None }
    }

    /// The result that this thread's own lead has set.
    fn into_joined(self) -> Joined<R> {
        self.result.map_or_else(|| Joined::Waiting(Completion::abandoned()), Joined::Done)
    }

    /// What was joined with.
    #[must_use]
    pub const fn item(&self) -> &T {
        &self.item
    }

    /// The same, to change.
    pub const fn item_mut(&mut self) -> &mut T {
        &mut self.item
    }

    /// Sets the result. A slot left without one resolves to [`crate::Abandoned`].
    pub fn finish(&mut self, result: R) {
        self.result = Some(result);
    }

    /// The result set so far.
    #[must_use]
    pub const fn result(&self) -> Option<&R> {
        self.result.as_ref()
    }
}

impl<T: fmt::Debug, R> fmt::Debug for Slot<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("item", &self.item).finish_non_exhaustive()
    }
}

/// Nobody leads and nothing is queued.
const IDLE: u8 = 0;
/// Somebody leads, nothing is queued.
const LED: u8 = 1;
/// Somebody leads and must look into the queue before leaving.
const QUEUED: u8 = 2;
/// A leader panicked. What it left half done is unknown, so nobody leads any more.
const POISONED: u8 = 3;
/// Somebody leads and has done so for long: the next who comes is its heir. Something may be queued.
const TIRED: u8 = 4;
/// As [`QUEUED`], and the heir waits to take the lead over.
const INHERITED: u8 = 5;

/// Whoever comes to an idle group leads it with an item of its own and then with all that was queued meanwhile.
///
/// It does not do so for ever: after some rounds for others the next who comes takes over, so that a group which never falls idle
/// does not keep the one thread that happened to find it idle.
///
/// Taking and leaving an idle group is one compare-and-swap each and allocates nothing. The queue has a lock; its length is
/// bounded by the callers (each waits for a result or keeps to a budget of its own).
pub struct Group<T, R> {
    state: AtomicU8,
    queue: Mutex<Queue<T, R>>,
    passed: Condvar,
}

struct Queue<T, R> {
    slots: VecDeque<Slot<T, R>>,
    /// Whether the lead waits for the heir.
    lead: Lead,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lead {
    Held,
    /// Given up for the heir, who has not taken it yet.
    Passed,
}

type Queued<'a, T, R> = MutexGuard<'a, Queue<T, R>>;

/// What somebody becomes who brings items.
enum Entered<'a, T, R> {
    /// The leader.
    Leads,
    /// One of those whom the leader takes along.
    Queues(Queued<'a, T, R>),
    /// One of those, and the leader after the one that leads now.
    Inherits(Queued<'a, T, R>),
    /// Nobody leads any more.
    Poisoned,
}

impl<T, R> Group<T, R> {
    /// An idle group.
    #[must_use]
    pub fn new() -> Self {
        let queue = Queue { slots: VecDeque::new(), lead: Lead::Held };
        Self { state: AtomicU8::new(IDLE), queue: Mutex::new(queue), passed: Condvar::new() }
    }

    /// Brings `item` of `bytes` bytes in. When nobody leads, `lead` is called with it at once, on this thread, and then with whatever
    /// others queued meanwhile, at most [`GROUP_ITEMS_MAX`] items or about [`GROUP_BYTES_MAX`] bytes a time; the own result comes
    /// back as [`Joined::Done`]. Otherwise the current leader takes the item along, or hands the lead over: then this blocks until it has,
    /// and leads. So `lead` must not join its own group.
    ///
    /// `lead` sets each slot's result. When it panics the group is poisoned: everybody queued, now or later, gets
    /// [`crate::Abandoned`].
    pub fn join(
        &self,
        item: T,
        bytes: usize,
        mut lead: impl FnMut(&mut [Slot<T, R>]),
    ) -> Joined<R> {
        let slot = Slot::new(item, bytes);
        match self.enter() {
            Entered::Leads => {
                let mut own = [slot];
                self.lead_own(&mut own, &mut lead);
                let [own] = own;
                own.into_joined()
            }
            Entered::Queues(mut queue) => Self::push(&mut queue, slot),
            Entered::Inherits(mut queue) => {
                let joined = Self::push(&mut queue, slot);
                self.inherit(queue, &mut lead);
                joined
            }
            Entered::Poisoned => Joined::Waiting(Completion::abandoned()),
        }
    }

    /// Brings several items in, each with its bytes: next to each other, in their order. Results come back in that order, all of them
    /// by this thread or all by another, as in [`Group::join`].
    pub fn join_all(
        &self,
        items: impl IntoIterator<Item = (T, usize)>,
        mut lead: impl FnMut(&mut [Slot<T, R>]),
    ) -> Vec<Joined<R>> {
        let slots = items.into_iter().map(|(item, bytes)| Slot::new(item, bytes));
        let mut slots: Vec<_> = slots.collect();
        if slots.is_empty() {
            return Vec::new();
        }
        match self.enter() {
            Entered::Leads => {
                self.lead_own(&mut slots, &mut lead);
                slots.into_iter().map(Slot::into_joined).collect()
            }
            Entered::Queues(mut queue) => {
                slots.into_iter().map(|slot| Self::push(&mut queue, slot)).collect()
            }
            Entered::Inherits(mut queue) => {
                let push = |slot| Self::push(&mut queue, slot);
                let joined = slots.into_iter().map(push).collect();
                self.inherit(queue, &mut lead);
                joined
            }
            Entered::Poisoned => {
                let abandoned = |_| Joined::Waiting(Completion::abandoned());
                slots.into_iter().map(abandoned).collect()
            }
        }
    }

    /// Takes the lead of an idle group, else a place in the queue of the one that leads.
    fn enter(&self) -> Entered<'_, T, R> {
        if self.take(IDLE, LED) {
            return Entered::Leads;
        }
        let queue = self.queue.lock();
        loop {
            // Under the lock of the queue only leaders move the state, and only between IDLE and LED.
            match self.state.load(Ordering::Acquire) {
                IDLE if self.take(IDLE, LED) => return Entered::Leads,
                LED if self.take(LED, QUEUED) => return Entered::Queues(queue),
                QUEUED | INHERITED => return Entered::Queues(queue),
                TIRED if self.take(TIRED, INHERITED) => return Entered::Inherits(queue),
                POISONED => return Entered::Poisoned,
                _ => {}
            }
        }
    }

    fn push(queue: &mut Queue<T, R>, slot: Slot<T, R>) -> Joined<R> {
        let (completer, completion) = Completion::pair();
        queue.slots.push_back(Slot { completer: Some(completer), ..slot });
        Joined::Waiting(completion)
    }

    /// Leads with the caller's own items, and then with what others queue.
    fn lead_own(&self, own: &mut [Slot<T, R>], lead: &mut impl FnMut(&mut [Slot<T, R>])) {
        let poison = PoisonOnUnwind(self);
        lead(own);
        self.lead_others(lead);
        std::mem::forget(poison);
    }

    /// Waits for the lead, and leads with what others and the caller have queued.
    fn inherit(&self, mut queue: Queued<'_, T, R>, lead: &mut impl FnMut(&mut [Slot<T, R>])) {
        while queue.lead == Lead::Held {
            if self.state.load(Ordering::Acquire) == POISONED {
                return;
            }
            queue = self.passed.wait(queue);
        }
        queue.lead = Lead::Held;
        drop(queue);
        let poison = PoisonOnUnwind(self);
        self.lead_others(lead);
        std::mem::forget(poison);
    }

    /// Leads with what is queued until nothing is, or somebody else leads.
    fn lead_others(&self, lead: &mut impl FnMut(&mut [Slot<T, R>])) {
        let mut batch = Vec::new();
        let mut rounds = 0_u32;
        while !self.leave() {
            rounds = rounds.saturating_add(1);
            if self.next_batch(&mut batch, rounds).is_break() {
                return;
            }
            lead(&mut batch);
            for slot in batch.drain(..) {
                if let (Some(completer), Some(result)) = (slot.completer, slot.result) {
                    completer.complete(result);
                }
            }
        }
    }

    /// Gives the lead up; `false` when something is queued.
    #[cfg(not(hanbeon_weak = "group"))]
    fn leave(&self) -> bool {
        self.take(LED, IDLE)
    }

    /// The weakened twin looks first and leaves then.
    #[cfg(hanbeon_weak = "group")]
    fn leave(&self) -> bool {
        let alone = self.state.load(Ordering::Acquire) == LED;
        if alone {
            self.state.store(IDLE, Ordering::Release);
        }
        alone
    }

    /// Takes what the `rounds`th lead for others is about, or gives the lead up: to the heir, or to nobody when nothing is queued.
    fn next_batch(&self, batch: &mut Vec<Slot<T, R>>, rounds: u32) -> ControlFlow<()> {
        let mut bytes = 0_usize;
        let mut queue = self.queue.lock();
        match self.state.load(Ordering::Relaxed) {
            INHERITED => {
                // The heir's from here on, who has queued something of its own.
                self.state.store(QUEUED, Ordering::Release);
                queue.lead = Lead::Passed;
                self.passed.notify_all();
                // The weakened twin goes on beside the heir.
                #[cfg(not(hanbeon_weak = "heir"))]
                return ControlFlow::Break(());
            }
            TIRED if queue.slots.is_empty() => {
                self.state.store(IDLE, Ordering::Release);
                return ControlFlow::Break(());
            }
            _ => {}
        }
        while batch.len() < GROUP_ITEMS_MAX && bytes < GROUP_BYTES_MAX {
            let Some(slot) = queue.slots.pop_front() else { break };
            bytes = bytes.saturating_add(slot.bytes);
            batch.push(slot);
        }
        // Joiners change it under this lock only.
        if rounds >= ROUNDS {
            self.state.store(TIRED, Ordering::Release);
        } else if queue.slots.is_empty() {
            self.state.store(LED, Ordering::Release);
        }
        drop(queue);
        ControlFlow::Continue(())
    }

    /// Success pairs with the last holder's `leave`: what it wrote is seen by the next leader.
    fn take(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

impl<T, R> Default for Group<T, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, R> fmt::Debug for Group<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

/// Dropped only when a leader unwinds.
struct PoisonOnUnwind<'a, T, R>(&'a Group<T, R>);

impl<T, R> Drop for PoisonOnUnwind<'_, T, R> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        self.0.state.store(POISONED, Ordering::Release);
        let abandoned = std::mem::take(&mut queue.slots);
        drop(queue);
        self.0.passed.notify_all();
        drop(abandoned); // tells the owners
    }
}

#[cfg(all(test, not(hanbeon_loom)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{
        Abandoned,
        sync::{AtomicU64, thread},
    };

    fn square(slots: &mut [Slot<u64, u64>]) {
        for slot in slots {
            let item = *slot.item();
            slot.finish(item * item);
        }
    }

    #[test]
    fn whoever_is_alone_does_its_own_work() {
        let group = Group::new();
        assert!(matches!(group.join(5, 1, square), Joined::Done(25)));
        assert!(matches!(group.join(6, 1, square), Joined::Done(36)));
    }

    #[test]
    fn what_joins_during_a_lead_is_led_next_in_groups_of_at_most_64() {
        let group = Group::new();
        let mut sizes = Vec::new();
        let mut waiting = Vec::new();
        let own = group.join(0, 1, |slots| {
            sizes.push(slots.len());
            if sizes.len() == 1 {
                for n in 1..=150 {
                    waiting.push(group.join(n, 1, |_| unreachable!("somebody leads")));
                }
            }
            square(slots);
        });
        assert_eq!(own.wait(), Ok(0));
        assert_eq!(sizes, [1, 64, 64, 22]);
        for (n, joined) in (1..).zip(waiting) {
            assert_eq!(joined.wait(), Ok(n * n));
        }
    }

    #[test]
    fn a_group_ends_when_its_bytes_reach_the_limit() {
        let group = Group::new();
        let mut sizes = Vec::new();
        let own = group.join(0, 1, |slots| {
            sizes.push(slots.len());
            if sizes.len() == 1 {
                for n in 1..=4 {
                    drop(group.join(n, GROUP_BYTES_MAX / 2, |_| unreachable!("somebody leads")));
                }
            }
            square(slots);
        });
        assert_eq!(own.wait(), Ok(0));
        assert_eq!(sizes, [1, 2, 2]);
    }

    #[test]
    fn l9_a_panic_poisons_the_group_and_abandons_all_who_wait() {
        let group = Group::<u64, u64>::new();
        let mut queued = None;
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            group.join(1, 1, |_| {
                queued = Some(group.join(2, 1, |_| unreachable!("somebody leads")));
                panic!("planted");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(queued.unwrap().wait(), Err(Abandoned));
        assert_eq!(group.join(3, 1, |_| unreachable!("poisoned")).wait(), Err(Abandoned));
    }

    /// As where producers send the next batch as soon as the last is answered.
    #[test]
    fn a_leader_of_a_group_that_never_falls_idle_hands_the_lead_over() {
        let group = Group::new();
        let (ask, asked) = std::sync::mpsc::channel();
        let mut leads = 0;
        thread::scope(|scope| {
            let bringing = scope.spawn(|| {
                let joined: Vec<_> = asked.into_iter().map(|n| group.join(n, 1, square)).collect();
                joined.into_iter().map(Joined::wait).collect::<Vec<_>>()
            });
            let own = group.join(7, 1, |slots| {
                leads += 1;
                // Not for ever: a leader that nobody relieves would not come back.
                if leads <= 10 * u64::from(ROUNDS) {
                    ask.send(leads).unwrap();
                    while group.queue.lock().slots.is_empty() {
                        thread::yield_now();
                    }
                }
                square(slots);
            });
            drop(ask);
            assert_eq!(own.wait(), Ok(49));
            let squares: Vec<_> = (1..=leads).map(|n| Ok(n * n)).collect();
            assert_eq!(bringing.join().unwrap(), squares);
        });
        assert_eq!(leads, 1 + u64::from(ROUNDS));
    }

    #[test]
    fn l9_an_heir_is_told_of_a_panic() {
        let group = Group::new();
        let (ask, asked) = std::sync::mpsc::channel();
        let mut leads = 0;
        thread::scope(|scope| {
            let bringing = scope.spawn(|| {
                let joined: Vec<_> = asked.into_iter().map(|n| group.join(n, 1, square)).collect();
                joined.into_iter().map(Joined::wait).collect::<Vec<_>>()
            });
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                group.join(7, 1, |slots| {
                    leads += 1;
                    ask.send(leads).unwrap();
                    while group.queue.lock().slots.is_empty() {
                        thread::yield_now();
                    }
                    assert!(leads <= u64::from(ROUNDS), "planted");
                    square(slots);
                })
            }));
            drop(ask);
            assert!(panicked.is_err());
            let told = bringing.join().unwrap();
            assert_eq!(told.last(), Some(&Err(Abandoned)), "{told:?}");
        });
    }

    #[test]
    fn an_unset_slot_is_abandoned() {
        let group = Group::<u64, u64>::new();
        assert_eq!(group.join(1, 1, |_| {}).wait(), Err(Abandoned));
        assert_eq!(group.join(2, 1, square).wait(), Ok(4));
    }

    #[test]
    fn four_threads_lose_no_item_and_never_lead_at_once() {
        let group = Group::new();
        let leading = AtomicU64::new(0);
        let led = AtomicU64::new(0);
        thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (group, leading, led) = (&group, &leading, &led);
                scope.spawn(move || {
                    for n in 0..2_000 {
                        let item = thread * 10_000 + n;
                        let joined = group.join(item, 1, |slots| {
                            assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0);
                            led.fetch_add(slots.len() as u64, Ordering::SeqCst);
                            square(slots);
                            leading.fetch_sub(1, Ordering::SeqCst);
                        });
                        assert_eq!(joined.wait(), Ok(item * item));
                    }
                });
            }
        });
        assert_eq!(led.load(Ordering::SeqCst), 8_000);
    }
}
