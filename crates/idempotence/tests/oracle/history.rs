//! One history, played to the crate and to the oracle side by side.

use std::fmt::Debug;

use hanbeon_idempotence::FirstWrite;

use crate::{
    naive::{Answer, Batch, Marker, Oracle, Question, later},
    subject::{Plant, Subject},
};

/// Where a batch aims, as seen from what the oracle knows of its producer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Aim {
    Next,
    Zero,
    Retry(usize),
    Gap(i64),
    Behind(i64),
    NearTheEnd(i32),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Batch {
        id: i64,
        epoch: i16,
        aim: Aim,
        records: i32,
        in_txn: bool,
        coordinator: bool,
        stale: bool,
    },
    Ask {
        id: i64,
        epoch: i16,
        aim: Aim,
        v2: bool,
    },
    Marker {
        id: i64,
        epoch: i16,
        coordinator: i32,
        v2: bool,
        commit: bool,
    },
    Wait(i64),
    Expire,
    Save,
    Reload,
    Truncate(usize),
    Replicate(u8),
    Delete(u8),
}

/// First sequence, and how many records when it repeats a batch.
fn aimed(oracle: &Oracle, id: i64, epoch: i16, aim: Aim) -> (i16, i32, Option<i32>) {
    let known = oracle.known(id);
    let current = known.as_ref().map_or(0, |known| known.epoch);
    let recent = known.map(|known| known.recent).unwrap_or_default();
    let next = recent.last().map_or(0, |batch| later(batch.1, 1));
    let (first, records) = match aim {
        Aim::Next => (next, None),
        Aim::Zero => (0, None),
        Aim::Retry(back) => match recent.iter().rev().nth(back) {
            Some(batch) => (batch.0, i32::try_from(batch.3 - batch.2 + 1).ok()),
            None => (later(next, -6), None),
        },
        Aim::Gap(by) => (later(next, by), None),
        Aim::Behind(by) => (later(next, -by), None),
        Aim::NearTheEnd(by) => (i32::MAX - by, None),
    };
    ((current + epoch).max(0), first, records)
}

/// The crate and the oracle, asked the same.
pub(crate) struct Pair {
    oracle: Oracle,
    subject: Subject,
    tokens: Vec<(i64, usize)>,
}

/// What the oracle expected, what the crate answered, and to what.
#[derive(Debug)]
pub(crate) struct Mismatch(pub(crate) String);

fn same<T: PartialEq + Debug>(expected: &T, found: &T, asked: &impl Debug) -> Result<(), Mismatch> {
    if expected == found {
        return Ok(());
    }
    Err(Mismatch(format!("{asked:?}: expected {expected:?}, found {found:?}")))
}

impl Pair {
    pub(crate) fn new(first_write: FirstWrite, plant: Option<Plant>) -> Self {
        let oracle = Oracle::at(1_000_000, first_write);
        Self { oracle, subject: Subject::new(first_write, plant), tokens: Vec::new() }
    }

    /// The last guard this producer was given, or the one before it.
    fn token(&self, id: i64, stale: bool) -> Option<usize> {
        let mine = self.tokens.iter().rev().filter(|(owner, _)| *owner == id);
        mine.map(|(_, token)| *token).nth(usize::from(stale))
    }

    pub(crate) fn play(&mut self, step: Step) -> Result<(), Mismatch> {
        let (oracle, subject) = (&mut self.oracle, &mut self.subject);
        let now = oracle.now;
        match step {
            Step::Batch { id, epoch, aim, records, in_txn, coordinator, stale } => {
                let (epoch, first, exact) = aimed(oracle, id, epoch, aim);
                let batch = Batch {
                    id,
                    epoch,
                    first: if coordinator { 0 } else { first },
                    records: exact.unwrap_or(records),
                    in_txn,
                    by_coordinator: coordinator,
                    token: self.token(id, stale),
                    time: now - i64::from(records) * 300,
                };
                let (expected, found) =
                    (self.oracle.produce(&batch), self.subject.produce(&batch, now));
                same(&expected, &found, &batch)?;
            }
            Step::Ask { id, epoch, aim, v2 } => {
                let (epoch, first, _) = aimed(oracle, id, epoch, aim);
                let question = Question { id, epoch, first, v2 };
                let (expected, found) = (oracle.ask(&question), subject.ask(&question, now));
                same(&expected, &found, &question)?;
                if let Answer::Ask(token) = found {
                    self.tokens.retain(|known| *known != (id, token));
                    self.tokens.push((id, token));
                }
            }
            Step::Marker { id, epoch, coordinator, v2, commit } => {
                let known = oracle.known(id);
                let epoch = (known.map_or(0, |known| known.epoch) + epoch.min(1)).max(0);
                let marker = Marker { id, epoch, coordinator, v2, commit, time: now };
                let (expected, found) = (oracle.end_txn(&marker), subject.end_txn(&marker, now));
                same(&expected, &found, &marker)?;
            }
            Step::Wait(ms) => oracle.now += ms,
            Step::Expire => {
                oracle.expire();
                subject.expire(now, &oracle.log, oracle.high_watermark);
            }
            Step::Save => {
                oracle.save();
                subject.save();
            }
            Step::Reload => {
                let from = oracle.reload();
                subject.reload(now, &oracle.log[from..], oracle.start);
            }
            Step::Truncate(batches) => {
                let keep_saved = oracle.truncate(batches);
                subject.truncate(&oracle.log, oracle.high_watermark, keep_saved);
                subject.begin_at(oracle.start);
            }
            Step::Delete(share) => {
                oracle.delete(share);
                subject.delete(oracle.start, &oracle.log, oracle.high_watermark);
            }
            Step::Replicate(share) => {
                let far = oracle.end * i64::from(share) / 255;
                oracle.high_watermark = oracle.high_watermark.max(far);
                let high_watermark = hanbeon_records::Offset::new(oracle.high_watermark);
                subject.states.high_watermark_advanced(high_watermark);
            }
        }
        self.compare()
    }

    fn compare(&self) -> Result<(), Mismatch> {
        let high_watermark = self.oracle.high_watermark;
        let stable = self.oracle.last_stable_offset();
        same(&stable, &self.subject.last_stable_offset(high_watermark), &"last stable offset")?;
        let expected: Vec<_> = self
            .oracle
            .all()
            .into_iter()
            .map(|(id, known)| {
                let last = known.recent.last().map(|batch| batch.1);
                (id, known.epoch, last, known.retriable, known.open, known.coordinator)
            })
            .collect();
        let found: Vec<_> = self
            .subject
            .states
            .producers()
            .map(|view| {
                (
                    view.producer_id.get(),
                    view.producer_epoch.get(),
                    view.last_sequence.map(hanbeon_records::Sequence::get),
                    view.window,
                    view.txn_first_offset.map(hanbeon_records::Offset::get),
                    view.coordinator_epoch.get(),
                )
            })
            .collect();
        same(&expected, &found, &"producers")
    }
}
