//! The coordinator once more, as tables and plain numbers. It shares nothing with the crate but the questions.

use std::collections::{BTreeMap, BTreeSet};

/// Everything that may be asked or may happen.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Init {
        id: usize,
        who: Who,
        timeout: Timeout,
    },
    Enrol {
        id: usize,
        who: Who,
        at: BTreeSet<usize>,
        v2: bool,
    },
    Verify {
        id: usize,
        who: Who,
        at: Vec<usize>,
    },
    End {
        id: usize,
        who: Who,
        commit: bool,
        v2: bool,
    },
    /// The marker of one partition arrives.
    Marker {
        id: usize,
        at: usize,
    },
    Markers {
        id: usize,
    },
    Reap,
    Expire,
    Pass(i64),
    Crash,
    /// The next appends fail, or no longer do.
    LogDown(bool),
    NoIds(bool),
    Server {
        v2: bool,
    },
}

/// The pair a question is asked with, seen from the current one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Nobody,
    Current,
    Behind,
    Ahead,
    BeforeRotation,
    AfterRotation,
    Stranger,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Timeout {
    Short,
    Long,
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Pair(i64, i16),
    Code(i16),
    Done,
    Codes(Vec<i16>),
    /// Ids by number and what became of each.
    Ids(Vec<(usize, i16)>),
}

/// State numbers are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    pub(crate) state: i8,
    pub(crate) pid: i64,
    pub(crate) epoch: i16,
    pub(crate) previous: i64,
    pub(crate) next: i64,
    pub(crate) last: i16,
    pub(crate) timeout: i32,
    pub(crate) at: BTreeSet<usize>,
    pub(crate) start: i64,
    pub(crate) update: i64,
    pub(crate) v2: bool,
}

pub(crate) const EXPIRATION: i64 = 604_800_000;
const DOWN: Answer = Answer::Code(15);

#[derive(Clone, Debug)]
pub(crate) struct Naive {
    pub(crate) ids: BTreeMap<usize, Id>,
    pub(crate) missing: BTreeMap<usize, BTreeSet<usize>>,
    pub(crate) now: i64,
    pub(crate) next_pid: i64,
    down: bool,
    no_ids: bool,
    server_v2: bool,
    /// Whose pair was made by an abort of protocol 1 that nobody asked for; the log does not say so.
    raised_v1: BTreeSet<usize>,
}

impl Naive {
    pub(crate) fn new(now: i64, next_pid: i64) -> Self {
        let (ids, missing) = (BTreeMap::new(), BTreeMap::new());
        let raised_v1 = BTreeSet::new();
        Self { ids, missing, now, next_pid, down: false, no_ids: false, server_v2: true, raised_v1 }
    }

    /// The numbers behind a [`Who`].
    pub(crate) fn pair(&self, id: usize, who: Who) -> Option<(i64, i16)> {
        let it = self.ids.get(&id);
        let (pid, epoch) = it.map_or((4, 4), |it| (it.pid, it.epoch));
        match who {
            Who::Nobody => None,
            Who::Current => Some((pid, epoch)),
            Who::Behind => Some((pid, epoch.saturating_sub(1).max(0))),
            Who::Ahead => Some((pid, epoch.saturating_add(1))),
            Who::BeforeRotation => Some((it.map_or(4, |it| it.previous), 32_766)),
            Who::AfterRotation => Some((it.map_or(4, |it| it.next.max(0)), 0)),
            Who::Stranger => Some((99_999, 0)),
        }
    }

    fn fresh(&mut self) -> Option<i64> {
        if self.no_ids {
            return None;
        }
        self.next_pid += 1;
        Some(self.next_pid - 1)
    }

    pub(crate) fn play(&mut self, step: &Step) -> Answer {
        match step {
            Step::Init { id, who, timeout } => self.init(*id, *who, *timeout),
            Step::Enrol { id, who, at, v2 } => self.enrol(*id, *who, at, *v2),
            Step::Verify { id, who, at } => self.verify(*id, *who, at),
            Step::End { id, who, commit, v2 } => self.end(*id, *who, *commit, *v2),
            Step::Marker { id, at } => self.marker(*id, *at),
            Step::Markers { id } => {
                for at in self.missing.get(id).cloned().unwrap_or_default() {
                    self.marker(*id, at);
                }
                Answer::Done
            }
            Step::Reap => self.reap(),
            Step::Expire => {
                let now = self.now;
                let idle = |it: &Id| [0, 4, 5].contains(&it.state) && it.update <= now - EXPIRATION;
                let gone: Vec<_> =
                    self.ids.iter().filter(|(_, it)| idle(it)).map(|(id, _)| (*id, 0)).collect();
                for (id, _) in &gone {
                    self.ids.remove(id);
                    self.raised_v1.remove(id);
                }
                Answer::Ids(gone)
            }
            Step::Pass(ms) => {
                self.now += ms;
                Answer::Done
            }
            Step::Crash => {
                self.raised_v1.clear();
                self.missing.clear();
                self.down = false;
                for (id, it) in &self.ids {
                    if [2, 3].contains(&it.state) {
                        self.missing.insert(*id, it.at.clone());
                    }
                }
                let empty: Vec<_> = self
                    .missing
                    .iter()
                    .filter(|(_, at)| at.is_empty())
                    .map(|(id, _)| *id)
                    .collect();
                empty.into_iter().for_each(|id| self.complete(id));
                Answer::Done
            }
            Step::LogDown(down) => {
                self.down = *down;
                Answer::Done
            }
            Step::NoIds(none) => {
                self.no_ids = *none;
                Answer::Done
            }
            Step::Server { v2 } => {
                self.server_v2 = *v2;
                Answer::Done
            }
        }
    }

    fn init(&mut self, id: usize, who: Who, timeout: Timeout) -> Answer {
        let pair = self.pair(id, who);
        let timeout = match timeout {
            Timeout::Short => 1000,
            Timeout::Long => 60_000,
            Timeout::None => i32::MAX,
        };
        let Some(it) = self.ids.get(&id).cloned() else {
            let Some(pid) = self.fresh() else { return Answer::Code(14) };
            if self.down {
                return DOWN;
            }
            let (now, start, last) = (self.now, -1, -1);
            let it = Id {
                state: 0,
                pid,
                epoch: 0,
                previous: pid,
                next: -1,
                last,
                timeout,
                at: BTreeSet::new(),
                start,
                update: now,
                v2: false,
            };
            self.ids.insert(id, it);
            return Answer::Pair(pid, 0);
        };
        if [2, 3].contains(&it.state) {
            return Answer::Code(51);
        }
        if let Some((pid, epoch)) = pair {
            if pid != it.pid && !(pid == it.previous && epoch >= 32_766) {
                return Answer::Code(90);
            }
            if it.state == 1 && (pid, epoch) != (it.pid, it.epoch) {
                return Answer::Code(90);
            }
        }
        if it.state == 1 {
            let code = self.abort(id);
            return Answer::Code(if code == 0 { 51 } else { code });
        }
        let current = pair == Some((it.pid, it.epoch));
        let mut new = Id {
            state: 0,
            at: BTreeSet::new(),
            start: -1,
            update: self.now,
            timeout,
            next: -1,
            previous: it.pid,
            ..it
        };
        if pair.is_none() || current {
            new.last = if current { it.epoch } else { -1 };
            if it.epoch >= 32_766 {
                let Some(pid) = self.fresh() else { return Answer::Code(14) };
                (new.pid, new.epoch) = (pid, 0);
            } else {
                new.epoch += 1;
            }
        } else if pair.is_some_and(|(_, epoch)| epoch == it.last && epoch >= 0) {
            new.previous = it.previous;
        } else {
            return Answer::Code(90);
        }
        if self.down {
            return DOWN;
        }
        let answer = Answer::Pair(new.pid, new.epoch);
        if self.ids.insert(id, new).is_some_and(|it| answer != Answer::Pair(it.pid, it.epoch)) {
            self.raised_v1.remove(&id);
        }
        answer
    }

    /// Common to enrolments and verification: 49, 90 and 51, in one of two orders.
    fn judge(&self, id: usize, who: Who, pending_first: bool) -> Result<Id, i16> {
        let it = self.ids.get(&id).ok_or(49_i16)?;
        let pending = [2, 3].contains(&it.state);
        let (pid, epoch) = self.pair(id, who).unwrap_or((-1, -1));
        if pending && pending_first {
            return Err(51);
        }
        if pid != it.pid {
            return Err(49);
        }
        if epoch != it.epoch {
            return Err(90);
        }
        if pending { Err(51) } else { Ok(it.clone()) }
    }

    fn enrol(&mut self, id: usize, who: Who, at: &BTreeSet<usize>, v2: bool) -> Answer {
        let mut it = match self.judge(id, who, true) {
            Ok(it) => it,
            Err(code) => return Answer::Code(code),
        };
        if it.state == 1 && at.is_subset(&it.at) {
            return Answer::Done;
        }
        if self.down {
            return DOWN;
        }
        if it.state != 1 {
            it.start = self.now;
        }
        it.at.extend(at);
        (it.state, it.v2, it.update, it.previous) = (1, v2, self.now, it.pid);
        self.ids.insert(id, it);
        Answer::Done
    }

    fn verify(&self, id: usize, who: Who, at: &[usize]) -> Answer {
        match self.judge(id, who, false) {
            Ok(it) => Answer::Codes(
                at.iter().map(|at| if it.at.contains(at) { 0 } else { 120 }).collect(),
            ),
            Err(code) => Answer::Code(code),
        }
    }

    fn end(&mut self, id: usize, who: Who, commit: bool, v2: bool) -> Answer {
        let Some(it) = self.ids.get(&id).cloned() else { return Answer::Code(49) };
        let (pid, epoch) = self.pair(id, who).unwrap_or((-1, -1));
        if !v2 {
            return match self.judge(id, who, false) {
                Err(code) => Answer::Code(code),
                Ok(it) => match (it.state, commit) {
                    (1, _) => self.decide(id, commit, false),
                    (4, true) | (5, false) => Answer::Pair(it.pid, it.epoch),
                    _ => Answer::Code(48),
                },
            };
        }
        if [2, 3].contains(&it.state) {
            return Answer::Code(51);
        }
        let made = it.v2 || self.raised_v1.contains(&id);
        let overflow =
            made && epoch == 32_766 && it.epoch == 0 && pid == it.previous && it.previous != it.pid;
        if pid != it.pid && !(overflow && it.state >= 4) {
            return Answer::Code(49);
        }
        // No client is given 32767.
        let retry =
            overflow || (made && it.epoch < 32_767 && i32::from(epoch) + 1 == i32::from(it.epoch));
        let current = (pid, epoch) == (it.pid, it.epoch);
        // Rows: Empty, Ongoing, -, -, CompleteCommit, CompleteAbort; what a retry and what the current epoch gets.
        let table: [[&str; 4]; 6] = [
            // abort retry, abort current, commit retry, commit current
            ["90", "end", "90", "48"],
            ["90", "end", "90", "end"],
            ["51"; 4],
            ["51"; 4],
            ["48", "end", "ok", "48"],
            ["ok", "end", "90", "48"],
        ];
        let column = usize::from(commit) * 2 + usize::from(current);
        let cell =
            if current || retry { table[usize::try_from(it.state).unwrap()][column] } else { "90" };
        match cell {
            "end" => self.decide(id, commit, true),
            "ok" => Answer::Pair(it.pid, it.epoch),
            code => Answer::Code(code.parse().unwrap()),
        }
    }

    /// Logs a decision: `raise` makes the next pair. Answers it.
    fn decide(&mut self, id: usize, commit: bool, raise: bool) -> Answer {
        let mut it = self.ids[&id].clone();
        let mut answer = Answer::Pair(it.pid, it.epoch);
        let old = it.epoch;
        it.previous = it.pid;
        if raise {
            if old >= 32_766 {
                let Some(next) = self.fresh() else { return Answer::Code(14) };
                it.next = next;
                answer = Answer::Pair(next, 0);
            } else {
                answer = Answer::Pair(it.pid, old + 1);
            }
            it.epoch = old.saturating_add(1);
            it.last = old.min(32_766);
        }
        if self.down {
            return DOWN;
        }
        if raise {
            self.raised_v1.remove(&id);
        }
        if it.state != 1 {
            it.start = self.now;
        }
        it.v2 = raise && old != 32_767;
        (it.state, it.update) = (if commit { 2 } else { 3 }, self.now);
        self.missing.insert(id, it.at.clone());
        let nothing = it.at.is_empty();
        self.ids.insert(id, it);
        if nothing {
            self.complete(id);
        }
        answer
    }

    /// The coordinator's own abort; 0 or the code of why not.
    fn abort(&mut self, id: usize) -> i16 {
        if self.server_v2 {
            return match self.decide(id, false, true) {
                Answer::Code(code) => code,
                _ => 0,
            };
        }
        if self.down {
            // The record is not logged, so nobody was fenced; an initialisation is told to come again all the same.
            return 15;
        }
        let it = self.ids.get_mut(&id).unwrap();
        it.previous = it.pid;
        it.epoch = it.epoch.saturating_add(1);
        (it.last, it.state, it.update, it.v2) = (-1, 3, self.now, false);
        self.raised_v1.insert(id);
        let at = it.at.clone();
        let nothing = at.is_empty();
        self.missing.insert(id, at);
        if nothing {
            self.complete(id);
        }
        0
    }

    fn marker(&mut self, id: usize, at: usize) -> Answer {
        let Some(missing) = self.missing.get_mut(&id) else { return Answer::Code(-1) };
        if !missing.contains(&at) {
            return Answer::Code(-1);
        }
        if self.down && missing.len() == 1 {
            // The last marker would complete the transaction, which cannot be logged: the marker is sent again later.
            return DOWN;
        }
        missing.remove(&at);
        if missing.is_empty() {
            self.complete(id);
        }
        Answer::Done
    }

    fn complete(&mut self, id: usize) {
        self.missing.remove(&id);
        let it = self.ids.get_mut(&id).unwrap();
        it.previous = it.pid;
        if it.next >= 0 {
            (it.pid, it.epoch, it.next) = (it.next, 0, -1);
        }
        it.at.clear();
        (it.state, it.update) = (it.state + 2, self.now);
    }

    fn reap(&mut self) -> Answer {
        let late = |it: &Id| {
            it.state == 1 && it.timeout != i32::MAX && self.now - it.start > i64::from(it.timeout)
        };
        let mut late: Vec<_> = self
            .ids
            .iter()
            .filter(|(_, it)| late(it))
            .map(|(id, it)| (it.start + i64::from(it.timeout), *id))
            .collect();
        late.sort_unstable();
        Answer::Ids(late.into_iter().map(|(_, id)| (id, self.abort(id))).collect())
    }
}
