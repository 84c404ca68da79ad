//! A completion and its completer on two threads.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
};

use hanbeon_log::{
    Abandoned, Completion,
    sync::{Arc, thread},
};

use super::model;

/// Counts wake-ups; of std, since wakers are.
struct Woken(std::sync::atomic::AtomicU64);

impl Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn a_poll_that_found_nothing_is_woken() {
    model("completion polled", || {
        let (completer, mut completion) = Completion::pair();
        let completing = thread::spawn(move || completer.complete(7));
        let woken = std::sync::Arc::new(Woken(std::sync::atomic::AtomicU64::new(0)));
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        let first = Pin::new(&mut completion).poll(&mut Context::from_waker(&waker));
        completing.join().unwrap();
        if first.is_pending() {
            assert_eq!(
                woken.0.load(std::sync::atomic::Ordering::SeqCst),
                1,
                "a polled completion was not woken"
            );
            let second = Pin::new(&mut completion).poll(&mut Context::from_waker(&waker));
            assert_eq!(second, Poll::Ready(Ok(7)));
        }
    });
}

#[test]
fn a_blocked_thread_is_woken_by_the_value_or_its_loss() {
    model("completion waited for", || {
        let (completer, completion) = Completion::pair();
        let (dropped, abandoned) = Completion::<u8>::pair();
        let dropped = Arc::new(dropped);
        let completing = thread::spawn(move || {
            completer.complete(7);
            drop(dropped);
        });
        assert_eq!(completion.wait(), Ok(7));
        assert_eq!(abandoned.wait(), Err(Abandoned));
        completing.join().unwrap();
    });
}
