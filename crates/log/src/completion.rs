//! A value that somebody else will bring: awaited as a future of any executor, or waited for by blocking.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::sync::{Arc, Condvar, Mutex};

/// Nobody will bring the value: whoever owed it panicked or was shut down. Whether the work was done is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("abandoned before it was done; whether it took effect is unknown, reopen the log to find out")
    }
}

impl std::error::Error for Abandoned {}

/// A one-shot value in the making.
///
/// It is a future that knows no executor, and [`Completion::wait`] blocks for those who have none. Dropping it cancels
/// nothing.
///
/// ```
/// let (completer, completion) = hanbeon_log::Completion::pair();
/// completer.complete(7);
/// assert_eq!(completion.wait(), Ok(7));
/// ```
#[must_use = "the work may fail, and only the completion says so"]
pub struct Completion<T>(Inner<T>);

enum Inner<T> {
    Here(Option<Result<T, Abandoned>>),
    Shared(Arc<Shared<T>>),
}

/// The right and the duty to bring the value of one [`Completion`]. Dropped without a value it resolves the completion to
/// [`Abandoned`].
pub struct Completer<T>(Option<Arc<Shared<T>>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    value: Option<Result<T, Abandoned>>,
    waiter: Waiter,
}

enum Waiter {
    Nobody,
    Thread,
    Task(Waker),
}

impl<T> Completion<T> {
    /// A completion and the right to complete it.
    pub fn pair() -> (Completer<T>, Self) {
        let shared = Arc::new(Shared {
            state: Mutex::new(State { value: None, waiter: Waiter::Nobody }),
            arrived: Condvar::new(),
        });
        (Completer(Some(Arc::clone(&shared))), Self(Inner::Shared(shared)))
    }

    /// One that is complete already; allocates nothing.
    pub const fn ready(value: T) -> Self {
        Self(Inner::Here(Some(Ok(value))))
    }

    /// One whose value will never come.
    pub const fn abandoned() -> Self {
        Self(Inner::Here(Some(Err(Abandoned))))
    }

    /// Blocks until the value is there.
    ///
    /// # Errors
    /// [`Abandoned`] when it will never be, or was taken by a poll before.
    pub fn wait(self) -> Result<T, Abandoned> {
        let shared = match self.0 {
            Inner::Here(value) => return value.unwrap_or(Err(Abandoned)),
            Inner::Shared(shared) => shared,
        };
        let mut state = shared.state.lock();
        loop {
            if let Some(value) = state.value.take() {
                return value;
            }
            state.waiter = Waiter::Thread;
            state = shared.arrived.wait(state);
        }
    }

    /// The value if it is there; the completion again if not.
    ///
    /// # Errors
    /// The completion, to ask again.
    pub fn try_take(self) -> Result<Result<T, Abandoned>, Self> {
        let taken = match self.0 {
            Inner::Here(value) => return Ok(value.unwrap_or(Err(Abandoned))),
            Inner::Shared(ref shared) => shared.state.lock().value.take(),
        };
        taken.ok_or(self)
    }
}

impl<T: Unpin> Future for Completion<T> {
    type Output = Result<T, Abandoned>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let taken = match &mut self.0 {
            Inner::Here(value) => value.take().or(Some(Err(Abandoned))),
            Inner::Shared(shared) => {
                let mut state = shared.state.lock();
                let taken = state.value.take();
                if taken.is_none() {
                    state.waiter = Waiter::Task(cx.waker().clone());
                }
                taken
            }
        };
        match taken {
            Some(value) => {
                self.0 = Inner::Here(None);
                Poll::Ready(value)
            }
            None => Poll::Pending,
        }
    }
}

impl<T> Completer<T> {
    /// Brings the value and wakes whoever waits for it.
    pub fn complete(mut self, value: T) {
        if let Some(shared) = self.0.take() {
            shared.resolve(Ok(value));
        }
    }
}

impl<T> Drop for Completer<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.resolve(Err(Abandoned));
        }
    }
}

impl<T> Shared<T> {
    fn resolve(&self, value: Result<T, Abandoned>) {
        let mut state = self.state.lock();
        state.value = Some(value);
        let waiter = std::mem::replace(&mut state.waiter, Waiter::Nobody);
        drop(state); // the woken one needs the lock at once
        match waiter {
            Waiter::Nobody => {}
            Waiter::Thread => self.arrived.notify_one(),
            // Somebody else's code: a panic there is no failure of what is completed here, and others are still to be told.
            Waiter::Task(waker) => drop(catch_unwind(AssertUnwindSafe(|| waker.wake()))),
        }
    }
}

impl<T> fmt::Debug for Completion<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Completer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completer").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(hanbeon_loom)))]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::sync::{AtomicU64, Ordering, thread};

    struct Count(AtomicU64);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_future_is_woken_once_and_gets_the_value() {
        let (completer, mut completion) = Completion::pair();
        let count = Arc::new(Count(AtomicU64::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        assert!(Pin::new(&mut completion).poll(&mut cx).is_pending());
        assert!(Pin::new(&mut completion).poll(&mut cx).is_pending());
        completer.complete("value");
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(Pin::new(&mut completion).poll(&mut cx), Poll::Ready(Ok("value")));
    }

    #[test]
    fn a_dropped_completer_resolves_to_abandoned() {
        let (completer, completion) = Completion::<u8>::pair();
        drop(completer);
        assert_eq!(completion.wait(), Err(Abandoned));
        assert_eq!(Completion::<u8>::abandoned().wait(), Err(Abandoned));
    }

    #[test]
    fn a_blocked_thread_gets_the_value_that_comes_later() {
        let (completer, completion) = Completion::pair();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| completion.wait());
            completer.complete(9);
            assert_eq!(waiter.join().unwrap(), Ok(9));
        });
    }

    #[test]
    fn try_take_gives_the_completion_back_until_the_value_is_there() {
        let (completer, completion) = Completion::pair();
        let completion = completion.try_take().unwrap_err();
        completer.complete(1);
        assert_eq!(completion.try_take().unwrap(), Ok(1));
    }
}
