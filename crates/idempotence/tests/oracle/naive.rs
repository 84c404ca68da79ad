//! What the table should answer, worked out anew for every question from everything that ever happened.
//!
//! Nothing here is taken from the crate but a setting's name: numbers are plain, sequences are 31-bit sums, and no state is kept that could be
//! scanned for.

use std::collections::BTreeMap;

use hanbeon_idempotence::FirstWrite;

pub(crate) const LIMIT_MS: i64 = 1000;
const RING: i64 = 1 << 31;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Data { first: i32, last: i32, in_txn: bool },
    Marker { coordinator: i32 },
}

/// One batch in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Logged {
    pub(crate) base: i64,
    pub(crate) last: i64,
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) what: What,
    pub(crate) time: i64,
    pub(crate) at: i64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) first: i32,
    pub(crate) records: i32,
    pub(crate) in_txn: bool,
    pub(crate) by_coordinator: bool,
    pub(crate) token: Option<usize>,
    pub(crate) time: i64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Marker {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) coordinator: i32,
    pub(crate) v2: bool,
    pub(crate) commit: bool,
    pub(crate) time: i64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Question {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    pub(crate) first: i32,
    pub(crate) v2: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Appended(i64),
    Duplicate(i64, i64),
    Ended(Option<(i64, i64)>),
    Repeated,
    Refused(i16),
    Ask(usize),
    NoNeed,
}

/// What is known of one producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) epoch: i16,
    /// First and last sequence, first and last offset of the last batches of the epoch.
    pub(crate) recent: Vec<(i32, i32, i64, i64)>,
    /// The last so many of them came behind the last marker, and a retry of one is known as such.
    pub(crate) retriable: usize,
    pub(crate) open: Option<i64>,
    pub(crate) coordinator: i32,
    newest: i64,
}

impl Known {
    fn retriable(&self) -> &[(i32, i32, i64, i64)] {
        &self.recent[self.recent.len() - self.retriable..]
    }
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    token: usize,
    lowest: i32,
    epoch: i16,
    v2: bool,
    since: i64,
}

/// A snapshot: of how many batches, what was forgotten of them, and when they were appended as far as it was known.
#[derive(Clone, Debug)]
struct Saved {
    batches: usize,
    forgotten: BTreeMap<i64, usize>,
    at: Vec<i64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) log: Vec<Logged>,
    pub(crate) end: i64,
    pub(crate) now: i64,
    pub(crate) high_watermark: i64,
    pub(crate) start: i64,
    /// Whether the very first batch must have sequence 0.
    from_zero: bool,
    /// How many batches of the log are forgotten for a producer.
    forgotten: BTreeMap<i64, usize>,
    saved: Option<Saved>,
    asked: BTreeMap<i64, Asked>,
    tokens: usize,
}

/// The sequence `by` after `from`.
pub(crate) fn later(from: i32, by: i64) -> i32 {
    i32::try_from((i64::from(from) + by).rem_euclid(RING)).unwrap()
}

impl Oracle {
    pub(crate) fn at(now: i64, first_write: FirstWrite) -> Self {
        Self { now, from_zero: first_write == FirstWrite::FromZero, ..Self::default() }
    }

    pub(crate) fn known(&self, id: i64) -> Option<Known> {
        self.known_before(id, self.log.len())
    }

    fn known_before(&self, id: i64, end: usize) -> Option<Known> {
        let from = self.forgotten.get(&id).copied().unwrap_or(0).min(end);
        let mut known: Option<Known> = None;
        for batch in self.log[from..end].iter().filter(|batch| batch.id == id) {
            let fresh = Known { epoch: batch.epoch, coordinator: -1, ..Known::default() };
            let known = known.get_or_insert(fresh);
            if known.epoch != batch.epoch {
                (known.recent, known.retriable) = (Vec::new(), 0);
            }
            known.epoch = batch.epoch;
            known.newest = batch.time.max(batch.at);
            match batch.what {
                What::Data { first, last, in_txn } => {
                    known.recent.push((first, last, batch.base, batch.last));
                    known.retriable = (known.retriable + 1).min(5);
                    if known.recent.len() > 5 {
                        known.recent.remove(0);
                    }
                    if in_txn && known.open.is_none() {
                        known.open = Some(batch.base);
                    }
                }
                What::Marker { coordinator } => {
                    known.coordinator = coordinator;
                    (known.open, known.retriable) = (None, 0);
                }
            }
        }
        known
    }

    pub(crate) fn all(&self) -> BTreeMap<i64, Known> {
        (0..10).filter_map(|id| Some((id, self.known(id)?))).collect()
    }

    fn refusal(&self, batch: &Batch, known: Option<&Known>) -> Option<i16> {
        if known.is_some_and(|known| batch.epoch < known.epoch) {
            return Some(47);
        }
        let going_on =
            known.is_some_and(|known| known.open.is_some() && known.epoch == batch.epoch);
        let asked = self.asked.get(&batch.id);
        let token = asked.map(|asked| asked.token);
        if batch.in_txn && !going_on && (token.is_none() || token != batch.token) {
            return Some(48);
        }
        if !batch.by_coordinator {
            if asked.is_some_and(|asked| batch.first > asked.lowest) {
                return Some(45);
            }
            let nothing = known.is_none_or(|known| known.recent.is_empty());
            if asked.is_some_and(|asked| asked.v2) && nothing && batch.first != 0 {
                return Some(45);
            }
            if self.from_zero && known.is_none() && self.end == 0 && batch.first != 0 {
                return Some(45);
            }
            if let Some(known) = known {
                let expected = match known.recent.last() {
                    Some((_, last, _, _)) if known.epoch == batch.epoch => later(*last, 1),
                    _ => 0,
                };
                if batch.first != expected {
                    return Some(45);
                }
            }
        }
        let open = known.is_some_and(|known| known.open.is_some());
        (open && !(batch.in_txn && going_on)).then_some(48)
    }

    pub(crate) fn produce(&mut self, batch: &Batch) -> Answer {
        let known = self.known(batch.id);
        let last = later(batch.first, i64::from(batch.records) - 1);
        if let Some(known) = &known
            && !batch.by_coordinator
            && known.epoch == batch.epoch
            && let Some(copy) = known.retriable().iter().find(|c| (c.0, c.1) == (batch.first, last))
        {
            return Answer::Duplicate(copy.2, copy.3);
        }
        if let Some(code) = self.refusal(batch, known.as_ref()) {
            return Answer::Refused(code);
        }
        let what = What::Data { first: batch.first, last, in_txn: batch.in_txn };
        let base = self.append(batch.id, batch.epoch, what, i64::from(batch.records), batch.time);
        if batch.in_txn {
            self.asked.remove(&batch.id);
        }
        Answer::Appended(base)
    }

    fn append(&mut self, id: i64, epoch: i16, what: What, records: i64, time: i64) -> i64 {
        let base = self.end;
        self.end += records;
        self.log.push(Logged { base, last: self.end - 1, id, epoch, what, time, at: self.now });
        base
    }

    pub(crate) fn end_txn(&mut self, marker: &Marker) -> Answer {
        let known = self.known(marker.id);
        if let Some(known) = &known {
            let same = marker.v2 && marker.epoch == known.epoch;
            if marker.epoch < known.epoch || (same && known.open.is_some()) {
                return Answer::Refused(47);
            }
            if marker.coordinator < known.coordinator {
                return Answer::Refused(52);
            }
            let of = marker.epoch - i16::from(marker.v2);
            if marker.commit && known.open.is_some() && of != known.epoch {
                return Answer::Refused(48);
            }
            if same && marker.coordinator == known.coordinator {
                return Answer::Repeated;
            }
        }
        let what = What::Marker { coordinator: marker.coordinator };
        let at = self.append(marker.id, marker.epoch, what, 1, marker.time);
        self.asked.remove(&marker.id);
        let ended = known.and_then(|known| known.open).map(|first| {
            let others = self.all().values().filter_map(|known| known.open).min();
            (first, others.unwrap_or(at + 1))
        });
        Answer::Ended(ended)
    }

    pub(crate) fn ask(&mut self, question: &Question) -> Answer {
        let known = self.known(question.id);
        if known.is_some_and(|known| known.open.is_some() && known.epoch == question.epoch) {
            return Answer::NoNeed;
        }
        let fresh = Asked {
            token: self.tokens,
            lowest: question.first,
            epoch: question.epoch,
            v2: question.v2,
            since: self.now,
        };
        let mut asked = self.asked.get(&question.id).copied().unwrap_or(fresh);
        self.tokens = self.tokens.max(asked.token + 1);
        if question.epoch > asked.epoch {
            asked = Asked { token: asked.token, since: asked.since, ..fresh };
        } else if question.epoch == asked.epoch {
            asked.lowest = asked.lowest.min(question.first);
        }
        self.asked.insert(question.id, asked);
        Answer::Ask(asked.token)
    }

    /// Forgets producers that were silent long enough, as they stood before the batch number `end`.
    fn forget_silent(&mut self, end: usize) {
        for id in 0..10 {
            let Some(known) = self.known_before(id, end) else { continue };
            if known.open.is_none() && self.now - known.newest >= LIMIT_MS {
                self.forgotten.insert(id, end);
            }
        }
    }

    pub(crate) fn expire(&mut self) {
        self.forget_silent(self.log.len());
        self.asked.retain(|_, asked| self.now - asked.since < LIMIT_MS);
    }

    pub(crate) fn save(&mut self) {
        let at = self.log.iter().map(|batch| batch.at).collect();
        self.saved = Some(Saved { batches: self.log.len(), forgotten: self.forgotten.clone(), at });
    }

    /// Loads what was saved last, or nothing, and replays the batches behind it; returns where they begin.
    pub(crate) fn reload(&mut self) -> usize {
        self.high_watermark = self.end;
        let none = Saved { batches: 0, forgotten: BTreeMap::new(), at: Vec::new() };
        let Saved { batches: from, forgotten, at } = self.saved.clone().unwrap_or(none);
        self.forgotten = forgotten;
        for (batch, at) in self.log.iter_mut().zip(at) {
            batch.at = at;
        }
        self.forget_silent(from);
        self.drop_asked(from);
        from
    }

    /// Cuts the last batches off and replays what is left: when that was appended is known of the producers that were known.
    /// Whether what was saved still counts is the answer.
    pub(crate) fn truncate(&mut self, batches: usize) -> bool {
        let keep = self.log.len().saturating_sub(batches);
        let appended: BTreeMap<i64, i64> = (0..10)
            .filter_map(|id| {
                let from = self.forgotten.get(&id).copied().unwrap_or(0);
                let last = self.log[from..].iter().rfind(|batch| batch.id == id)?;
                Some((id, last.at))
            })
            .collect();
        self.log.truncate(keep);
        for batch in &mut self.log {
            batch.at = appended.get(&batch.id).copied().unwrap_or(-1);
        }
        self.end = self.log.last().map_or(0, |last| last.last + 1);
        self.high_watermark = self.high_watermark.min(self.end);
        self.start = self.start.min(self.end);
        self.forgotten.clear();
        self.saved = self.saved.take().filter(|saved| saved.batches <= keep);
        self.drop_asked(0);
        self.saved.is_some()
    }

    fn drop_asked(&mut self, from: usize) {
        for batch in &self.log[from..] {
            match batch.what {
                What::Data { in_txn: false, .. } => {}
                What::Data { in_txn: true, .. } | What::Marker { .. } => {
                    self.asked.remove(&batch.id);
                }
            }
        }
    }

    /// Takes the records of a share of what is replicated away from readers; nothing of it is forgotten.
    pub(crate) fn delete(&mut self, share: u8) {
        self.start = self.start.max(self.high_watermark * i64::from(share) / 255);
    }

    /// Where readers of committed data must stop: not below where the log begins.
    pub(crate) fn last_stable_offset(&self) -> i64 {
        self.first_unstable().max(self.start).min(self.high_watermark)
    }

    fn first_unstable(&self) -> i64 {
        let mut stable = self.high_watermark;
        let mut open: BTreeMap<i64, i64> = BTreeMap::new();
        for batch in &self.log {
            match batch.what {
                What::Data { in_txn: true, .. } => {
                    open.entry(batch.id).or_insert(batch.base);
                }
                What::Data { in_txn: false, .. } => {}
                What::Marker { .. } => {
                    if let Some(first) = open.remove(&batch.id)
                        && batch.base >= self.high_watermark
                    {
                        stable = stable.min(first);
                    }
                }
            }
        }
        open.values().fold(stable, |stable, first| stable.min(*first))
    }
}
