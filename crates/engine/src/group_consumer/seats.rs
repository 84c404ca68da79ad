//! The group consumers of this process: when each must speak again, and who waits for that.
//!
//! Members of a group in one process tell each other when something changed, so that nobody waits for the next interval.

use std::{
    collections::BTreeMap,
    task::{Context, Poll, Waker},
    time::Duration,
};

use hanbeon_group::Name;
use hanbeon_log::sync::Mutex;

use crate::waiters::wake_all;

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MemberKey {
    pub(crate) group: Name,
    pub(crate) member_id: Name,
}

/// All group consumers of an engine.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<BTreeMap<MemberKey, Seat>>);

#[derive(Debug, Default)]
struct Seat {
    /// When it must speak, by the environment's monotonic clock.
    due: Duration,
    waker: Option<Waker>,
}

impl Seats {
    /// Makes a seat for a member that must speak at once.
    pub(crate) fn take(&self, key: MemberKey) {
        self.0.lock().insert(key, Seat::default());
    }

    pub(crate) fn leave(&self, key: &MemberKey) {
        self.0.lock().remove(key);
    }

    /// Whether a member of that name lives in this process.
    pub(crate) fn has(&self, key: &MemberKey) -> bool {
        self.0.lock().contains_key(key)
    }

    /// When a member must speak.
    pub(crate) fn due(&self, key: &MemberKey) -> Duration {
        self.0.lock().get(key).map_or(Duration::ZERO, |seat| seat.due)
    }

    /// It is about to speak. What changes from here on it may not hear of any more, so whoever nudges it is remembered until it has
    /// spoken.
    #[cfg(not(hanbeon_weak = "seats"))]
    pub(crate) fn begin_to_speak<'a>(&'a self, key: &'a MemberKey) -> Turn<'a> {
        if let Some(seat) = self.0.lock().get_mut(key) {
            seat.due = Duration::MAX;
        }
        Turn { seats: self, key, next: Duration::ZERO }
    }

    /// The weakened twin sets the time only when it has spoken.
    #[cfg(hanbeon_weak = "seats")]
    pub(crate) fn begin_to_speak<'a>(&'a self, key: &'a MemberKey) -> Turn<'a> {
        Turn { seats: self, key, next: Duration::ZERO }
    }

    /// It must speak at `due` at the latest.
    pub(crate) fn hasten(&self, key: &MemberKey, due: Duration) {
        if let Some(seat) = self.0.lock().get_mut(key) {
            seat.due = seat.due.min(due);
        }
    }

    /// Something changed in a group: its other members must speak at once.
    pub(crate) fn nudge_others(&self, key: &MemberKey) {
        self.nudge(|other| other.group == key.group && other.member_id != key.member_id);
    }

    /// Something may have changed for these members.
    pub(crate) fn nudge(&self, whom: impl Fn(&MemberKey) -> bool) {
        let mut wakers = Vec::new();
        for (member, seat) in &mut *self.0.lock() {
            if whom(member) {
                seat.due = Duration::ZERO;
                wakers.extend(seat.waker.take());
            }
        }
        // Outside the lock: who is woken may look at once.
        wake_all(wakers);
    }

    /// Wakes who waits and must speak; when the next of those who wait must.
    pub(crate) fn wake_due(&self, now: Duration) -> Option<Duration> {
        let (mut wakers, mut next) = (Vec::new(), None::<Duration>);
        for seat in self.0.lock().values_mut() {
            if seat.due <= now {
                wakers.extend(seat.waker.take());
            } else if seat.waker.is_some() {
                next = Some(next.map_or(seat.due, |next| next.min(seat.due)));
            }
        }
        wake_all(wakers);
        next
    }

    /// Ready when a member must speak, or has no seat; otherwise the task is woken then. Looked at under the lock under which
    /// a seat's time is changed, so that no change is missed.
    pub(crate) fn poll(&self, key: &MemberKey, now: Duration, cx: &Context<'_>) -> Poll<()> {
        match self.0.lock().get_mut(key) {
            Some(seat) if seat.due > now => {
                seat.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(_) | None => Poll::Ready(()),
        }
    }
}

/// A member that speaks. One that broke off is due at once when this goes.
#[derive(Debug)]
#[must_use]
pub(crate) struct Turn<'a> {
    seats: &'a Seats,
    key: &'a MemberKey,
    next: Duration,
}

impl Turn<'_> {
    /// It has spoken, and must again at `due`, or as soon as somebody asked for meanwhile.
    pub(crate) fn spoken(mut self, due: Duration) {
        self.next = due;
    }
}

impl Drop for Turn<'_> {
    #[cfg(not(hanbeon_weak = "seats"))]
    fn drop(&mut self) {
        self.seats.hasten(self.key, self.next);
    }

    #[cfg(hanbeon_weak = "seats")]
    fn drop(&mut self) {
        if let Some(seat) = self.seats.0.lock().get_mut(self.key) {
            seat.due = self.next;
        }
    }
}

#[cfg(not(hanbeon_loom))]
#[cfg(test)]
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

    fn key(group: &str, member_id: &str) -> MemberKey {
        MemberKey { group: Name::new(group).unwrap(), member_id: Name::new(member_id).unwrap() }
    }

    #[test]
    fn who_waits_is_woken_when_due_or_nudged_and_only_then() {
        let (seats, count) = (Seats::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        let woken = || count.0.load(Ordering::SeqCst);
        let at = Duration::from_secs;
        let (one, two, stranger) = (key("g", "1"), key("g", "2"), key("h", "3"));
        for key in [&one, &two, &stranger] {
            seats.take(key.clone());
            assert!(seats.poll(key, at(0), &cx).is_ready(), "a newcomer speaks at once");
            seats.begin_to_speak(key).spoken(at(5));
            assert!(seats.poll(key, at(0), &cx).is_pending());
        }
        assert_eq!((seats.wake_due(at(4)), woken()), (Some(at(5)), 0));
        seats.nudge_others(&one);
        assert_eq!((woken(), seats.due(&one), seats.due(&two)), (1, at(5), at(0)));
        assert_eq!(seats.due(&stranger), at(5));
        assert_eq!((seats.wake_due(at(5)), woken()), (None, 3), "and nobody is woken twice");
        let turn = seats.begin_to_speak(&two);
        seats.nudge_others(&one);
        turn.spoken(at(9));
        assert_eq!(seats.due(&two), at(0), "what it may not have heard of is not forgotten");
        seats.begin_to_speak(&two).spoken(at(9));
        assert_eq!(seats.due(&two), at(9));
        drop(seats.begin_to_speak(&two));
        assert_eq!(seats.due(&two), at(0), "it did not get to speak");
        seats.leave(&one);
        assert!(seats.poll(&one, at(0), &cx).is_ready(), "no seat, no waiting");
        assert!(!seats.has(&one) && seats.has(&two));
    }
}
