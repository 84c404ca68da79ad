//! Group commit: one `sync` covers all that was written before it began.

use std::fmt;

use crate::{
    completion::{Abandoned, Completer, Completion},
    sync::{AtomicU64, Mutex, MutexGuard, Ordering, PATIENCE, thread},
};

/// What became of [`SyncGroup::lead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// Everything below this end is durable, and nobody waits for more.
    Synced(u64),
    /// Another thread leads; it covers whoever waits, now or until it is done.
    Busy,
}

/// Why a sync did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsynced<E> {
    /// It was not begun: who waits is told, and who leads next tries again.
    Untried(E),
    /// It failed, or may have.
    Failed(E),
}

/// Who waits for which end to become durable, and who leads the sync.
///
/// Whoever leads asks for the written end first and syncs then, so it covers all that was written before it began. Those
/// who come meanwhile are covered by the next lead, which passes to one of the blocked threads among them without a gap, or stays
/// where it is when only futures wait. After the first failed sync everybody gets its error, now and later: a sync is never
/// tried again (its pages may be gone, and the second call would say it is fine). One that was not begun fails only those who wait for it.
pub struct SyncGroup<E> {
    state: Mutex<State<E>>,
    /// Copy of `State::synced` for readers without the lock.
    synced: AtomicU64,
    /// Threads and futures in `State::waiters`, for the leader that waits for company.
    waiting: AtomicU64,
}

struct State<E> {
    synced: u64,
    led: bool,
    failed: Option<E>,
    waiters: Vec<Waiter<E>>,
    /// Blocked threads that the last sync covered, its leader included: as many are about to come back.
    company: u64,
}

struct Waiter<E> {
    end: u64,
    who: Who<E>,
}

enum Who<E> {
    Future(Completer<Result<(), E>>),
    Thread(Completer<Turn<E>>),
}

/// What a blocked thread is woken for.
enum Turn<E> {
    Covered(Result<(), E>),
    /// To lead the next sync, in the company of so many threads.
    Lead {
        company: u64,
    },
}

impl<E: Clone + From<Abandoned>> SyncGroup<E> {
    /// With everything below `synced` durable already.
    #[must_use]
    pub fn new(synced: u64) -> Self {
        let state = State { synced, led: false, failed: None, waiters: Vec::new(), company: 0 };
        Self {
            state: Mutex::new(state),
            synced: AtomicU64::new(synced),
            waiting: AtomicU64::new(0),
        }
    }

    /// Everything below is durable.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire) // pairs with the store in `finish`
    }

    /// The error of the first failed sync.
    #[must_use]
    pub fn failed(&self) -> Option<E> {
        self.state.lock().failed.clone()
    }

    /// Fails everybody with `error`, as a failed sync does, unless something failed before: for a write that failed.
    pub fn fail(&self, error: E) {
        let mut state = self.state.lock();
        let error = state.failed.get_or_insert(error).clone();
        self.refuse_all(state, &error);
    }

    /// Tells those who wait now that nobody leads a sync for them. Who comes later may lead one.
    pub fn refuse(&self, error: &E) {
        self.refuse_all(self.state.lock(), error);
    }

    /// Resolves when everything below `end` is durable. Somebody must lead for that: see [`SyncGroup::lead`].
    pub fn wait(&self, end: u64) -> Completion<Result<(), E>> {
        let mut state = self.state.lock();
        if let Some(settled) = state.settled(end) {
            return Completion::ready(settled);
        }
        let (completer, completion) = Completion::pair();
        state.waiters.push(Waiter { end, who: Who::Future(completer) });
        drop(state);
        completion
    }

    /// Leads a sync now, and further ones as long as futures wait for what was written meanwhile.
    ///
    /// `written_end` must do no more than load a number: it is also asked under this group's lock.
    ///
    /// # Errors
    /// The error of the first failed sync, or why this one was not tried.
    pub fn lead(
        &self,
        written_end: impl Fn() -> u64,
        mut sync: impl FnMut() -> Result<(), Unsynced<E>>,
    ) -> Result<Lead, E> {
        let mut state = self.state.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        if state.led {
            return Ok(Lead::Busy);
        }
        state.led = true;
        drop(state);
        self.lead_rounds(&written_end, &mut sync, Leader::Helper).map(Lead::Synced)
    }

    /// Blocks until everything below `end`, which must be written, is durable: leads a sync, or waits for who does.
    ///
    /// # Errors
    /// The error of the first failed sync, or why this one was not tried.
    pub fn sync(
        &self,
        end: u64,
        written_end: impl Fn() -> u64,
        mut sync: impl FnMut() -> Result<(), Unsynced<E>>,
    ) -> Result<(), E> {
        debug_assert!(end <= written_end(), "asked to sync what is not written");
        let mut state = self.state.lock();
        if let Some(settled) = state.settled(end) {
            return settled;
        }
        let company = if state.led {
            let (completer, completion) = Completion::pair();
            state.waiters.push(Waiter { end, who: Who::Thread(completer) });
            self.waiting.fetch_add(1, Ordering::Relaxed);
            drop(state);
            match completion.wait()? {
                Turn::Covered(result) => return result,
                Turn::Lead { company } => company,
            }
        } else {
            state.led = true;
            let company = state.company;
            drop(state);
            company
        };
        self.await_company(company);
        self.lead_rounds(&written_end, &mut sync, Leader::Blocked).map(|_| ())
    }

    /// The threads that the last sync let go are about to write again and come back. Starting without them would make
    /// them wait for two syncs; so the leader lets them run first, as long as they keep coming.
    fn await_company(&self, company: u64) {
        if PATIENCE == 0 {
            return;
        }
        let mut seen = 0;
        let mut patience = PATIENCE;
        while patience > 0 {
            let here = self.waiting.load(Ordering::Relaxed).saturating_add(1);
            if here >= company {
                return;
            }
            patience = if here > seen { PATIENCE } else { patience.saturating_sub(1) };
            seen = here;
            thread::yield_now();
        }
    }

    fn lead_rounds(
        &self,
        written_end: &impl Fn() -> u64,
        sync: &mut impl FnMut() -> Result<(), Unsynced<E>>,
        leader: Leader,
    ) -> Result<u64, E> {
        let abandon = AbandonOnUnwind(self);
        let left = loop {
            // Before the sync begins: what is written during it may miss it.
            #[cfg(not(hanbeon_weak = "sync_ack"))]
            let (end, result) = {
                let end = written_end();
                (end, sync())
            };
            #[cfg(hanbeon_weak = "sync_ack")]
            let (end, result) = {
                let result = sync();
                (written_end(), result)
            };
            match self.finish(end, result, written_end, leader) {
                Next::Leave(result) => break result,
                Next::Again => {}
            }
        };
        std::mem::forget(abandon);
        left
    }

    fn finish(
        &self,
        end: u64,
        result: Result<(), Unsynced<E>>,
        written_end: &impl Fn() -> u64,
        leader: Leader,
    ) -> Next<E> {
        let mut state = self.state.lock();
        if let Err(unsynced) = result {
            // Somebody else may have failed the group during the sync; the first error stays.
            let error = match unsynced {
                Unsynced::Untried(error) => state.failed.clone().unwrap_or(error),
                Unsynced::Failed(error) => state.failed.get_or_insert(error).clone(),
            };
            #[cfg(hanbeon_weak = "sync_failed")]
            {
                state.failed = None;
            }
            state.led = false;
            self.refuse_all(state, &error);
            return Next::Leave(Err(error));
        }
        if let Some(error) = state.failed.clone() {
            state.led = false;
            return Next::Leave(Err(error));
        }
        state.synced = state.synced.max(end);
        let synced = state.synced;
        self.synced.store(synced, Ordering::Release); // pairs with the load in `synced`
        let covered: Vec<_> = state.waiters.extract_if(.., |waiter| waiter.end <= synced).collect();
        let threads = covered.iter().filter(|waiter| waiter.is_thread()).count();
        let heir = state.waiters.iter().position(Waiter::is_thread);
        let heir = heir.map(|at| state.waiters.swap_remove(at));
        let left = state.waiters.iter().filter(|waiter| waiter.is_thread()).count();
        self.waiting.store(count(left), Ordering::Relaxed);
        state.company =
            count(threads).saturating_add(count(left)).saturating_add(leader.comes_back());
        let company = state.company.saturating_add(u64::from(heir.is_some()));
        let again = heir.is_none() && state.waiters_below(written_end);
        #[cfg(hanbeon_weak = "sync_wakeup")]
        let again = false;
        state.led = heir.is_some() || again;
        drop(state);
        // First of all, so that the next sync starts while the others wake up.
        if let Some(heir) = heir {
            heir.lead(company);
        }
        for waiter in covered {
            waiter.resolve(Ok(()));
        }
        if again { Next::Again } else { Next::Leave(Ok(synced)) }
    }

    /// Gives everybody `error`.
    fn refuse_all(&self, mut state: MutexGuard<'_, State<E>>, error: &E) {
        let waiters = std::mem::take(&mut state.waiters);
        self.waiting.store(0, Ordering::Relaxed);
        drop(state);
        for waiter in waiters {
            waiter.resolve(Err(error.clone()));
        }
    }
}

enum Next<E> {
    Leave(Result<u64, E>),
    Again,
}

/// Who leads.
#[derive(Clone, Copy)]
enum Leader {
    /// A thread that waits for its own end and, when it is durable, will come with the next.
    Blocked,
    /// One that syncs for others.
    Helper,
}

impl Leader {
    const fn comes_back(self) -> u64 {
        match self {
            Self::Blocked => 1,
            Self::Helper => 0,
        }
    }
}

impl<E: Clone> State<E> {
    /// The answer for `end` if there is one already.
    fn settled(&self, end: u64) -> Option<Result<(), E>> {
        match &self.failed {
            Some(error) => Some(Err(error.clone())),
            None => (end <= self.synced).then_some(Ok(())),
        }
    }

    /// Whether somebody waits for what is written already.
    fn waiters_below(&self, written_end: &impl Fn() -> u64) -> bool {
        !self.waiters.is_empty() && {
            let written = written_end();
            self.waiters.iter().any(|waiter| waiter.end <= written)
        }
    }
}

impl<E> Waiter<E> {
    const fn is_thread(&self) -> bool {
        matches!(self.who, Who::Thread(_))
    }

    fn resolve(self, result: Result<(), E>) {
        match self.who {
            Who::Future(completer) => completer.complete(result),
            Who::Thread(completer) => completer.complete(Turn::Covered(result)),
        }
    }

    fn lead(self, company: u64) {
        match self.who {
            Who::Thread(completer) => completer.complete(Turn::Lead { company }),
            Who::Future(_) => debug_assert!(false, "a future cannot lead"),
        }
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Dropped only when a leader unwinds: whether the sync was done is unknown then, so it counts as failed.
struct AbandonOnUnwind<'a, E: Clone + From<Abandoned>>(&'a SyncGroup<E>);

impl<E: Clone + From<Abandoned>> Drop for AbandonOnUnwind<'_, E> {
    fn drop(&mut self) {
        self.0.fail(E::from(Abandoned));
    }
}

impl<E> fmt::Debug for SyncGroup<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncGroup").field("synced", &self.synced).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(hanbeon_loom)))]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::AtomicBool,
    };

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Failure {
        Disk,
        Gone,
    }

    impl From<Abandoned> for Failure {
        fn from(_: Abandoned) -> Self {
            Self::Gone
        }
    }

    fn group() -> SyncGroup<Failure> {
        SyncGroup::new(0)
    }

    #[test]
    fn l1_a_lead_covers_all_that_was_written_before_it_began_and_no_more() {
        let group = group();
        let written = AtomicU64::new(10);
        let early = group.wait(10);
        let mut late = None;
        let mut syncs = 0;
        let led = group.lead(
            || written.load(Ordering::SeqCst),
            || {
                syncs += 1;
                if syncs == 1 {
                    written.store(20, Ordering::SeqCst);
                    late = Some(group.wait(20));
                } else {
                    assert_eq!(
                        group.synced(),
                        10,
                        "what came during the first sync is not covered by it"
                    );
                }
                Ok(())
            },
        );
        assert_eq!(led, Ok(Lead::Synced(20)));
        assert_eq!((syncs, group.synced()), (2, 20));
        assert_eq!(early.wait(), Ok(Ok(())));
        assert_eq!(late.map(Completion::wait), Some(Ok(Ok(()))));
        assert_eq!(group.wait(20).wait(), Ok(Ok(())));
    }

    #[test]
    fn who_waits_for_what_nobody_wrote_keeps_no_leader() {
        let group = group();
        let waiting = group.wait(100);
        assert_eq!(group.lead(|| 10, || Ok(())), Ok(Lead::Synced(10)));
        let waiting = waiting.try_take().unwrap_err();
        assert_eq!(group.lead(|| 100, || Ok(())), Ok(Lead::Synced(100)));
        assert_eq!(waiting.wait(), Ok(Ok(())));
    }

    #[test]
    fn l9_after_a_failed_sync_everybody_gets_its_error_and_none_is_tried_again() {
        let group = group();
        let waiting = group.wait(5);
        let mut during = None;
        let failed = group.lead(
            || 5,
            || {
                during = Some(group.wait(9));
                Err(Unsynced::Failed(Failure::Disk))
            },
        );
        assert_eq!(failed, Err(Failure::Disk));
        assert_eq!(waiting.wait(), Ok(Err(Failure::Disk)));
        assert_eq!(during.unwrap().wait(), Ok(Err(Failure::Disk)));
        let never =
            || -> Result<(), Unsynced<Failure>> { unreachable!("a failed sync is tried again") };
        assert_eq!(group.lead(|| 9, never), Err(Failure::Disk));
        assert_eq!(group.sync(9, || 9, never), Err(Failure::Disk));
        assert_eq!(group.wait(1).wait(), Ok(Err(Failure::Disk)));
        assert_eq!((group.synced(), group.failed()), (0, Some(Failure::Disk)));
    }

    #[test]
    fn a_sync_that_was_not_begun_fails_who_waits_for_it_and_the_next_is_tried() {
        let group = group();
        let waiting = group.wait(5);
        let untried = || Err(Unsynced::Untried(Failure::Disk));
        assert_eq!(group.lead(|| 5, untried), Err(Failure::Disk));
        assert_eq!(waiting.wait(), Ok(Err(Failure::Disk)));
        assert_eq!((group.synced(), group.failed()), (0, None));
        let waiting = group.wait(5);
        assert_eq!(group.sync(5, || 5, || Ok(())), Ok(()));
        assert_eq!(waiting.wait(), Ok(Ok(())));
        group.fail(Failure::Gone);
        assert_eq!(group.lead(|| 9, untried), Err(Failure::Gone));
    }

    #[test]
    fn who_is_refused_hears_it_and_who_comes_later_may_lead() {
        let group = group();
        let waiting = group.wait(5);
        group.refuse(&Failure::Gone);
        assert_eq!(waiting.wait(), Ok(Err(Failure::Gone)));
        assert_eq!((group.synced(), group.failed()), (0, None));
        assert_eq!(group.sync(5, || 5, || Ok(())), Ok(()));
    }

    #[test]
    fn l9_a_panic_in_a_sync_counts_as_a_failure() {
        let group = group();
        let waiting = group.wait(5);
        let panicked = catch_unwind(AssertUnwindSafe(|| group.sync(5, || 5, || panic!("planted"))));
        assert!(panicked.is_err());
        assert_eq!(waiting.wait(), Ok(Err(Failure::Gone)));
        assert_eq!(group.sync(5, || 5, || Ok(())), Err(Failure::Gone));
    }

    #[test]
    fn l9_a_failure_from_outside_wins_over_a_sync_under_way() {
        let group = group();
        let led = group.lead(
            || 5,
            || {
                group.fail(Failure::Disk);
                Ok(())
            },
        );
        assert_eq!(led, Err(Failure::Disk));
        assert_eq!(group.synced(), 0);
    }

    #[test]
    fn l1_blocked_threads_hand_the_lead_over_and_lose_nobody() {
        const THREADS: u64 = 8;
        const ROUNDS: u64 = 500;
        let group = group();
        let (written, durable) = (AtomicU64::new(0), AtomicU64::new(0));
        let (syncing, syncs) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..ROUNDS {
                        let end = written.fetch_add(1, Ordering::SeqCst) + 1;
                        let sync = || {
                            assert!(!syncing.swap(true, Ordering::SeqCst), "two syncs at once");
                            let covered = written.load(Ordering::SeqCst);
                            thread::yield_now();
                            durable.store(covered, Ordering::SeqCst);
                            syncs.fetch_add(1, Ordering::SeqCst);
                            syncing.store(false, Ordering::SeqCst);
                            Ok(())
                        };
                        group.sync(end, || written.load(Ordering::SeqCst), sync).unwrap();
                        assert!(
                            durable.load(Ordering::SeqCst) >= end,
                            "acknowledged before it was durable"
                        );
                    }
                });
            }
        });
        assert_eq!(group.synced(), THREADS * ROUNDS);
        let syncs = syncs.load(Ordering::SeqCst);
        assert!(syncs < THREADS * ROUNDS, "{syncs} syncs for {} appends", THREADS * ROUNDS);
    }
}
