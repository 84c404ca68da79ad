//! Waiters against the publishing of the end they wait for, through all interleavings (`loom.sh` beside this folder runs the
//! model, and once more with the look after sitting down taken away, which must fail).
#![cfg(hanbeon_loom)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../src/dirty.rs"]
mod dirty;
#[path = "../../src/group_consumer/seats.rs"]
#[allow(dead_code, reason = "the model uses a part of it")]
mod seats;
#[path = "../../src/waiters.rs"]
#[allow(dead_code, reason = "the model uses a part of it")]
mod waiters;

use std::{
    task::{Context, Wake, Waker},
    time::Duration,
};

use dirty::{Asked, DirtySince};
use hanbeon_group::Name;
use hanbeon_log::{
    Published,
    sync::{Arc, AtomicU64, Ordering, thread},
};
use hanbeon_records::{Millis, Offset};
use seats::{MemberKey, Seats};
use waiters::{End, Ends, Parking};

/// Counts wake-ups; of std, since wakers are.
#[derive(Default)]
struct Woken(std::sync::atomic::AtomicU64);

impl Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

fn offset(end: u64) -> Offset {
    Offset::new(i64::try_from(end).unwrap())
}

#[test]
fn r3_who_found_nothing_is_woken_by_the_rise_it_missed() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(|| {
        let parking = Arc::new(Parking::default());
        let end = Arc::new(Published::new(0));
        let raising = {
            let (parking, end) = (Arc::clone(&parking), Arc::clone(&end));
            thread::spawn(move || {
                for raised in 1..3 {
                    end.advance(raised);
                    let reached = offset(raised);
                    parking.release(Ends { written: reached, committed: reached, stable: reached });
                }
            })
        };
        let woken = std::sync::Arc::new(Woken::default());
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        let mut seat = None;
        let mut cx = Context::from_waker(&waker);
        let goal = Offset::new(2);
        let first = parking.poll(End::Committed, goal, &mut seat, &mut cx, || offset(end.get()));
        raising.join().unwrap();
        if first.is_pending() {
            let count = woken.0.load(std::sync::atomic::Ordering::SeqCst);
            assert_eq!(count, 1, "lost wake-up: the end is there and nobody says so");
            let again =
                parking.poll(End::Committed, goal, &mut seat, &mut cx, || offset(end.get()));
            assert!(again.is_ready());
        }
    });
}

/// A member speaks while another one changes the group and nudges it: it heard of the change, or is due to ask again.
#[test]
fn a_change_that_a_member_did_not_hear_of_makes_it_speak_again() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(|| {
        let key = |id: &str| MemberKey {
            group: Name::new("g").unwrap(),
            member_id: Name::new(id).unwrap(),
        };
        let (member, other) = (key("1"), key("2"));
        let (seats, epoch) = (Arc::new(Seats::default()), Arc::new(AtomicU64::new(0)));
        seats.take(member.clone());
        let changing = {
            let (seats, epoch) = (Arc::clone(&seats), Arc::clone(&epoch));
            thread::spawn(move || {
                epoch.store(1, Ordering::Release);
                seats.nudge_others(&other);
            })
        };
        let woken = std::sync::Arc::new(Woken::default());
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        let turn = seats.begin_to_speak(&member);
        let heard = epoch.load(Ordering::Acquire);
        turn.spoken(Duration::from_secs(5));
        let waits = seats.poll(&member, Duration::ZERO, &Context::from_waker(&waker)).is_pending();
        changing.join().unwrap();
        let due = seats.due(&member) == Duration::ZERO;
        assert!(heard == 1 || due, "lost nudge: it heard nothing and is not asked");
        let count = woken.0.load(std::sync::atomic::Ordering::SeqCst);
        assert!(!(waits && due) || count == 1, "lost wake-up: it is due and nobody says so");
    });
}

/// A helper syncs while an appender writes: what the sync did not cover is due later on.
#[test]
fn l1_what_a_sync_did_not_cover_is_due() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(|| {
        let dirty = Arc::new(DirtySince::never());
        let end = Arc::new(Published::new(1));
        dirty.mark(Millis::new(5));
        let appending = {
            let (dirty, end) = (Arc::clone(&dirty), Arc::clone(&end));
            thread::spawn(move || {
                end.advance(2);
                dirty.mark(Millis::new(7));
            })
        };
        let synced = end.get();
        dirty.synced(|| end.get() <= synced);
        appending.join().unwrap();
        assert!(
            synced == 2 || dirty.get().is_some(),
            "lost interval: written, not synced, and never due"
        );
    });
}

/// A helper begins a sync while an appender asks for one: the sync covers the batch, or a helper is told of it.
#[test]
fn l1_who_is_not_covered_by_a_sync_is_heard() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(|| {
        let asked = Arc::new(Asked::nobody());
        let end = Arc::new(Published::new(1));
        assert!(asked.ask());
        let appending = {
            let (asked, end) = (Arc::clone(&asked), Arc::clone(&end));
            thread::spawn(move || {
                end.advance(2);
                asked.ask()
            })
        };
        asked.begin();
        let synced = end.get();
        let told = appending.join().unwrap();
        assert!(synced == 2 || told, "lost sync: written, not synced, and no helper knows");
    });
}
