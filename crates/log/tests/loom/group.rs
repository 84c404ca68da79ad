//! The append group: one leader at a time, and no item is left behind when it goes.

use hanbeon_log::{
    Completion, Group, Joined, Slot,
    sync::{Arc, AtomicU64, Ordering, thread},
};

use super::model;

struct Log {
    group: Group<u64, u64>,
    /// Written by leaders only, without an ordering of its own: the group must give it.
    end: AtomicU64,
}

impl Log {
    fn append(&self, item: u64) -> Completion<u64> {
        let joined = self.group.join(item, 1, |slots| self.lead(slots));
        if let Joined::Done(result) = &joined {
            assert_eq!(result / 100, item, "a leader came back with the result of another");
        }
        joined.into_completion()
    }

    fn lead(&self, slots: &mut [Slot<u64, u64>]) {
        for slot in slots {
            let end = self.end.load(Ordering::Relaxed) + 1;
            self.end.store(end, Ordering::Relaxed);
            let item = *slot.item();
            slot.finish(item * 100 + end);
        }
    }
}

impl Log {
    /// Both items at once.
    fn append_both(&self, items: [u64; 2]) -> Vec<Completion<u64>> {
        let joined = self.group.join_all(items.map(|item| (item, 1)), |slots| self.lead(slots));
        joined.into_iter().map(Joined::into_completion).collect()
    }
}

#[test]
fn two_threads_that_bring_several_leave_nothing_behind_and_keep_them_in_order() {
    model("group of two threads, two items at once and two one by one", || {
        let log = Arc::new(Log { group: Group::new(), end: AtomicU64::new(0) });
        let other = Arc::clone(&log);
        let joining = thread::spawn(move || other.append_both([10, 11]));
        let mut completions = vec![log.append(1), log.append(2)];
        completions.extend(joining.join().unwrap());
        let done: Vec<u64> = completions
            .into_iter()
            .map(|completion| {
                let Ok(done) = completion.try_take() else {
                    panic!("an item was left behind in the queue")
                };
                done.unwrap()
            })
            .collect();
        let items: Vec<u64> = done.iter().map(|done| done / 100).collect();
        assert_eq!(items, [1, 2, 10, 11], "a result went to another's item");
        let [first, second, third, fourth] = [0, 1, 2, 3].map(|at| done[at] % 100);
        assert!(first < second && fourth == third + 1, "out of order: {done:?}");
    });
}

/// Each of `threads` appends `items`; nobody waits, so that a lost item is seen and not a deadlock.
fn nothing_is_left_behind(threads: u64, items: u64) {
    let log = Arc::new(Log { group: Group::new(), end: AtomicU64::new(0) });
    let mut joining = Vec::new();
    for thread in 1..threads {
        let log = Arc::clone(&log);
        joining.push(thread::spawn(move || {
            (0..items).map(|n| log.append(thread * 10 + n)).collect::<Vec<_>>()
        }));
    }
    let mut completions: Vec<_> = (0..items).map(|n| log.append(n)).collect();
    for joining in joining {
        completions.extend(joining.join().unwrap());
    }
    let mut ends = Vec::new();
    for completion in completions {
        let Ok(done) = completion.try_take() else {
            panic!("an item was left behind in the queue")
        };
        ends.push(done.unwrap() % 100);
    }
    ends.sort_unstable();
    assert!(ends.iter().copied().eq(1..=threads * items), "two leaders wrote at once: {ends:?}");
}

#[test]
fn two_threads_leave_nothing_behind() {
    model("group of two threads, two items each", || nothing_is_left_behind(2, 2));
}

#[test]
fn two_threads_relieve_each_other() {
    model("group of two threads, three items each", || nothing_is_left_behind(2, 3));
}

#[test]
fn three_threads_leave_nothing_behind() {
    model("group of three threads, one item each", || nothing_is_left_behind(3, 1));
}

#[test]
fn l9_whoever_waits_on_a_leader_that_panics_is_told() {
    // Without a panic, which loom takes for a failed model: a slot that its leader drops unset.
    model("group whose leader sets nothing", || {
        let group = Arc::new(Group::<u64, u64>::new());
        let other = Arc::clone(&group);
        let joining = thread::spawn(move || other.join(1, 1, |_| {}).wait());
        assert!(group.join(2, 1, |_| {}).wait().is_err());
        assert!(joining.join().unwrap().is_err());
    });
}
