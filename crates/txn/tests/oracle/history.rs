//! One history, played to the crate and to the oracle side by side.

use std::collections::BTreeSet;

use crate::{
    naive::{Id, Naive, Step},
    subject::{Plant, Subject, asks},
};

/// Where the two part.
#[derive(Debug)]
pub(crate) struct Mismatch(pub(crate) String);

pub(crate) struct Pair {
    subject: Subject,
    naive: Naive,
    steps: usize,
}

impl Pair {
    /// The first id has got to the epoch `start`, the second is unknown.
    pub(crate) fn new(start: i16, plant: Option<Plant>) -> Self {
        let subject = Subject::new(start, plant);
        let mut naive = Naive::new(subject.world.now, subject.world.next_id);
        let begun = Id {
            state: 0,
            pid: 3,
            epoch: start,
            previous: 3,
            next: -1,
            last: -1,
            timeout: 60_000,
            at: BTreeSet::new(),
            start: -1,
            update: 900_000,
            v2: false,
        };
        naive.ids.insert(0, begun);
        Self { subject, naive, steps: 0 }
    }

    /// Both answer the step alike, and remember the same afterwards.
    pub(crate) fn play(&mut self, step: &Step) -> Result<(), Mismatch> {
        let at = self.steps;
        self.steps += 1;
        let pair = asks(step).and_then(|(id, who)| self.naive.pair(id, who));
        let expected = self.naive.play(step);
        let found = self.subject.play(step, pair);
        if found != expected {
            let why = format!("step {at} {step:?} by {pair:?}: {found:?}, expected {expected:?}");
            return Err(Mismatch(why));
        }
        for id in 0..2 {
            let (found, expected) = (self.subject.view(id), self.naive.ids.get(&id).cloned());
            if found != expected {
                let why = format!("after step {at} {step:?}: {found:?}, expected {expected:?}");
                return Err(Mismatch(why));
            }
        }
        Ok(())
    }
}
