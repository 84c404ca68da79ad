//! Who waits for an end of a partition to pass an offset: readers with nothing to read, producers whose records are not
//! committed yet.
//!
//! [`hanbeon_replica::Waiters`] says who may go; here are the wakers. Deadlines are the caller's: dropping a future takes its
//! waiter back.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll, Waker},
};

use hanbeon_log::sync::Mutex;
use hanbeon_records::Offset;
use hanbeon_replica::{WaiterId, Waiters};

/// Which end is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The log's.
    Written,
    /// The high watermark.
    Committed,
    /// The last stable offset.
    Stable,
}

/// The three ends at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) written: Offset,
    pub(crate) committed: Offset,
    pub(crate) stable: Offset,
}

/// The waiters of one partition.
#[derive(Debug, Default)]
pub(crate) struct Parking(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    written: Waiters<Waker>,
    committed: Waiters<Waker>,
    stable: Waiters<Waker>,
    closed: bool,
}

impl State {
    const fn row(&mut self, end: End) -> &mut Waiters<Waker> {
        match end {
            End::Written => &mut self.written,
            End::Committed => &mut self.committed,
            End::Stable => &mut self.stable,
        }
    }
}

impl Parking {
    /// Ready when `reached` says that `end` is at `goal` or beyond it, or when the partition is closed; otherwise the task is
    /// woken then. `seat` is where the waiter sits between two calls.
    pub(crate) fn poll(
        &self,
        end: End,
        goal: Offset,
        seat: &mut Option<WaiterId>,
        cx: &mut Context<'_>,
        reached: impl FnOnce() -> Offset,
    ) -> Poll<()> {
        #[cfg(hanbeon_weak = "waiters")]
        let now = reached();
        let mut state = self.0.lock();
        if let Some(id) = seat.take() {
            state.row(end).cancel(id);
        }
        if state.closed {
            return Poll::Ready(());
        }
        let id = state.row(end).add(goal, cx.waker().clone());
        // Looked at after sitting down: whoever raises the end publishes it first and takes this lock then, so either it
        // sees the waiter or the waiter sees the new end.
        #[cfg(not(hanbeon_weak = "waiters"))]
        let now = reached();
        if now >= goal {
            state.row(end).cancel(id);
            return Poll::Ready(());
        }
        drop(state);
        *seat = Some(id);
        Poll::Pending
    }

    /// Takes a waiter back.
    pub(crate) fn leave(&self, end: End, seat: &mut Option<WaiterId>) {
        if let Some(id) = seat.take() {
            self.0.lock().row(end).cancel(id);
        }
    }

    /// Wakes those whose goal is reached. Called after the ends were published.
    pub(crate) fn release(&self, ends: Ends) {
        let mut wakers = Vec::new();
        {
            let mut state = self.0.lock();
            wakers.extend(state.written.release(ends.written));
            wakers.extend(state.committed.release(ends.committed));
            wakers.extend(state.stable.release(ends.stable));
        }
        // Outside the lock: a waker may poll at once.
        wake_all(wakers);
    }

    /// Wakes everybody, now and from now on.
    pub(crate) fn close(&self) {
        let mut wakers = Vec::new();
        {
            let mut state = self.0.lock();
            state.closed = true;
            for end in [End::Written, End::Committed, End::Stable] {
                wakers.extend(state.row(end).release_all());
            }
        }
        wake_all(wakers);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        let state = self.0.lock();
        state.written.len() + state.committed.len() + state.stable.len()
    }
}

/// Wakes them all. A waker is an executor's code: when one panics the others are woken all the same, and whoever wakes them goes on.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
            tracing::error!("a waker panicked: its task may wait for ever");
        }
    }
}

#[cfg(all(test, not(hanbeon_loom)))]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn ends(committed: i64, stable: i64) -> Ends {
        Ends {
            written: Offset::new(committed),
            committed: Offset::new(committed),
            stable: Offset::new(stable),
        }
    }

    #[test]
    fn a_waiter_is_woken_once_when_its_own_end_is_there() {
        let (parking, count) = (Parking::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let (mut seat, goal) = (None, Offset::new(5));
        let mut poll = |seat: &mut _, at: i64| {
            parking.poll(End::Stable, goal, seat, &mut cx, || Offset::new(at))
        };
        assert!(poll(&mut seat, 4).is_pending());
        assert!(poll(&mut seat, 4).is_pending());
        assert_eq!(parking.len(), 1, "one seat however often it is polled");
        parking.release(ends(9, 4));
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        parking.release(ends(9, 5));
        parking.release(ends(9, 6));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(poll(&mut seat, 5).is_ready());
        assert_eq!(parking.len(), 0);
    }

    #[test]
    fn who_leaves_is_not_woken_and_a_closed_partition_lets_all_go() {
        let (parking, count) = (Parking::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let (mut one, mut two) = (None, None);
        let start = || Offset::ZERO;
        assert!(parking.poll(End::Written, Offset::new(1), &mut one, &mut cx, start).is_pending());
        assert!(
            parking.poll(End::Committed, Offset::new(1), &mut two, &mut cx, start).is_pending()
        );
        parking.leave(End::Written, &mut one);
        parking.close();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(parking.poll(End::Written, Offset::new(1), &mut one, &mut cx, start).is_ready());
    }
    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("planted");
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_nobody_else_waiting() {
        let (parking, count) = (Parking::default(), Arc::new(Count::default()));
        let (bad, good) = (Waker::from(Arc::new(Panics)), Waker::from(Arc::clone(&count)));
        let (mut one, mut two) = (None, None);
        for (waker, seat) in [(&bad, &mut one), (&good, &mut two)] {
            let mut cx = Context::from_waker(waker);
            let at = || Offset::ZERO;
            assert!(parking.poll(End::Committed, Offset::new(1), seat, &mut cx, at).is_pending());
        }
        parking.release(ends(1, 1));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
