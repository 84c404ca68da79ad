//! A partition on a disk that may lose power, and beside it what must be true of it.

use bytes::Bytes;
use hanbeon_idempotence::{Ends, FirstWrite, MarkerClaim, MarkerProtocol, Outcome, Verification};
use hanbeon_log::{
    Appended, CrashDir, Dir, Fault, FaultKind, Lasting, LogConfig, LogSettings, OpenPartition,
    Partition, Placed, Poison, Shutdown,
};
use hanbeon_records::{
    CoordinatorEpoch, LeaderEpoch, Marker, Millis, Offset, ProducerEpoch, ProducerId, TopicId,
};

use super::{
    batches::{Sender, Stored, client_batch},
    rng::Rng,
};

/// What a run found wrong.
pub(crate) type Verdict<T> = Result<T, String>;

/// Fails with a text unless `holds`.
pub(crate) fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict<()> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Producers without transactions, whose retries are watched.
pub(crate) const IDEMPOTENT: [i64; 3] = [100, 101, 102];
/// Producers that write transactions only.
const TRANSACTIONAL: [i64; 2] = [200, 201];

/// What may have happened when the power went in the middle of a call.
pub(crate) enum Doubt {
    /// All of these, or a prefix.
    Append(Vec<Stored>),
    Truncate {
        to: i64,
    },
}

/// What the log must hold.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) batches: Vec<Stored>,
    /// Where the log ends.
    pub(crate) end: i64,
    /// Everything below was acknowledged as durable.
    pub(crate) floor: i64,
    pub(crate) start: i64,
    /// Largest start that was asked for: epochs below may be forgotten although the start is not yet there.
    pub(crate) asked_start: i64,
    pub(crate) doubt: Option<Doubt>,
}

/// What the engine keeps in its checkpoint files; taken as durable at once.
pub(crate) struct Saved {
    pub(crate) recovery_point: i64,
    pub(crate) log_start: i64,
    pub(crate) clean: bool,
    /// What an opening is told that does not find the log closed.
    pub(crate) otherwise: Shutdown,
}

impl Saved {
    pub(crate) fn nothing(otherwise: Shutdown) -> Self {
        Self { recovery_point: 0, log_start: 0, clean: false, otherwise }
    }
}

/// How a process ends, and what the next one is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Small batches, and power cuts that are told as such.
    PowerCut,
    /// Batches that are large beside what a last write can be, and kills that are told as such.
    Kill,
    /// The same, and power cuts that are told as kills: a lie, to be found out.
    CutToldAsKill,
}

/// How many of everything there were.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    pub(crate) retries: u64,
    pub(crate) rolled: usize,
    pub(crate) cut_inside_calls: u64,
    pub(crate) recoveries_cut: u64,
    /// Openings that left checksums for later.
    pub(crate) unread: u64,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) dir: CrashDir,
    pub(crate) partition: Partition<CrashDir>,
    pub(crate) config: LogConfig,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) now: Millis,
    pub(crate) model: Model,
    pub(crate) saved: Saved,
    pub(crate) stop: Stop,
    /// How many of 100 appends are synced before they are acknowledged.
    sync_percent: usize,
    batch_bytes_max: usize,
    /// The power went between two calls.
    off: bool,
    pub(crate) tally: Tally,
}

impl Model {
    /// Epoch and sequence a producer goes on with, as the batches tell.
    pub(crate) fn next_of(&self, id: i64) -> (i16, i32) {
        let of_id = |stored: &&Stored| stored.sender.is_some_and(|sender| sender.id == id);
        let Some(newest) = self.batches.iter().rev().find(of_id) else { return (0, 0) };
        let epoch = newest.sender.map_or(0, |sender| sender.epoch);
        let data = self.batches.iter().rev().filter(of_id).find(|stored| stored.sent.is_some());
        match data.and_then(|stored| stored.sender.map(|sender| (sender, stored.count()))) {
            Some((sender, count)) if sender.epoch == epoch => (epoch, sender.sequence + count),
            _ => (epoch, 0),
        }
    }

    /// A producer's last five batches of its newest epoch, newest first.
    pub(crate) fn recent_of(&self, id: i64) -> Vec<&Stored> {
        let (epoch, _) = self.next_of(id);
        let data = self.batches.iter().rev().filter(|stored| stored.sent.is_some());
        data.filter(|stored| {
            stored.sender.is_some_and(|sender| sender.id == id && sender.epoch == epoch)
        })
        .take(5)
        .collect()
    }

    fn is_open(&self, id: i64) -> bool {
        let newest = self
            .batches
            .iter()
            .rev()
            .find(|stored| stored.sender.is_some_and(|sender| sender.id == id));
        newest.is_some_and(|stored| stored.sent.is_some())
    }

    pub(crate) fn push(&mut self, stored: Stored) {
        self.end = stored.end();
        self.batches.push(stored);
    }

    fn cut(&mut self, to: i64) {
        self.batches.retain(|stored| stored.last < to);
        // A batch that reaches over the cut goes whole.
        self.end = self.batches.last().map_or(self.start, Stored::end).max(self.start).min(to);
        self.floor = self.floor.min(self.end);
    }
}

pub(crate) fn topic_id() -> TopicId {
    TopicId::new([7; 16])
}

pub(crate) fn options(
    config: &LogConfig,
    saved: &Saved,
    epoch: LeaderEpoch,
    now: Millis,
) -> OpenPartition {
    OpenPartition {
        config: config.clone(),
        shutdown: if saved.clean { Shutdown::Clean } else { saved.otherwise },
        recovery_point: Offset::new(saved.recovery_point),
        log_start: (saved.log_start > 0).then_some(Offset::new(saved.log_start)),
        high_watermark: None,
        leader_epoch: epoch,
        topic_id: Some(topic_id()),
        verification: Verification::Off,
        first_write: FirstWrite::FromZero,
        hash_seed: 1,
        jitter_seed: 2,
        now,
        poison: Poison::new(),
    }
}

impl World {
    pub(crate) fn new(mut rng: Rng, dir: CrashDir, stop: Stop) -> Verdict<Self> {
        let (segment_bytes, batch_bytes_max) = match stop {
            Stop::PowerCut => {
                let segment_bytes = rng.range(3_000, 40_000);
                (segment_bytes, segment_bytes.min(9_000))
            }
            Stop::Kill | Stop::CutToldAsKill => (rng.range(200_000, 3_000_000), 60_000),
        };
        let config = LogSettings {
            internal_segment_bytes: Some(i32::try_from(segment_bytes).unwrap()),
            segment_index_bytes: i32::try_from(rng.range(10, 200) * 24).unwrap(),
            index_interval_bytes: i32::try_from(rng.range(0, 2_000)).unwrap(),
            message_timestamp_after_max_ms: i64::MAX,
            producer_id_expiration_ms: i32::MAX,
            max_message_bytes: 64 << 10,
            ..LogSettings::kafka_defaults()
        };
        let config = config.validate().map_err(|error| error.to_string())?;
        let saved = Saved::nothing(match stop {
            Stop::PowerCut => Shutdown::Unclean,
            Stop::Kill | Stop::CutToldAsKill => Shutdown::Killed,
        });
        let (epoch, now) = (LeaderEpoch::new(0), Millis::new(1_700_000_000_000));
        let opened = Partition::open(dir.clone(), options(&config, &saved, epoch, now));
        let (partition, _) = opened.map_err(|error| format!("a new log: {error}"))?;
        let sync_percent = [0, 0, 0, 3, 20, 100][rng.range(0, 6)];
        Ok(Self {
            rng,
            dir,
            partition,
            config,
            epoch,
            now,
            model: Model::default(),
            saved,
            stop,
            sync_percent,
            batch_bytes_max,
            off: false,
            tally: Tally::default(),
        })
    }

    /// Works for a while; in half of the runs the power goes inside a call.
    pub(crate) fn work(&mut self) -> Verdict<()> {
        let steps = match self.stop {
            Stop::PowerCut => self.rng.range(5, 60),
            Stop::Kill | Stop::CutToldAsKill => self.rng.range(60, 150),
        };
        let power_goes = self.rng.percent(50).then(|| self.rng.range(0, steps));
        for step in 0..steps {
            if power_goes == Some(step) {
                let after = u64::try_from(self.rng.range(0, 14)).unwrap();
                let kind = self.end();
                self.dir.inject(Fault { kind, after, lasting: Lasting::Sticky });
            }
            self.now = self.now.saturating_add(i64::try_from(self.rng.range(1, 2_000)).unwrap());
            self.trace(&format!("step {step}"));
            self.step()?;
            if self.dir.fired() > 0 {
                self.tally.cut_inside_calls += 1;
            }
            if self.is_dark() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What ends a process inside a call.
    pub(crate) fn end(&mut self) -> FaultKind {
        match self.stop {
            Stop::PowerCut | Stop::CutToldAsKill => FaultKind::Error,
            Stop::Kill => FaultKind::Kill { bytes: self.rng.next() },
        }
    }

    /// What it leaves.
    pub(crate) fn left(&mut self) -> CrashDir {
        match self.stop {
            Stop::PowerCut | Stop::CutToldAsKill => self.dir.crash(self.rng.next()),
            Stop::Kill => self.dir.killed(),
        }
    }

    fn is_dark(&self) -> bool {
        self.off || self.dir.fired() > 0
    }

    /// An error is one unless the power went.
    fn dark(&self, what: &str, error: &dyn std::fmt::Display) -> Verdict<()> {
        require(self.is_dark(), || format!("{what}: {error}"))
    }

    fn step(&mut self) -> Verdict<()> {
        match self.rng.range(0, 100) {
            0..48 => self.append_any(),
            48..58 => self.append_run(),
            58..68 => self.end_transaction(),
            68..74 => self.retry(),
            74..79 => self.sync_written(),
            79..86 => self.raise_high_watermark(),
            86..89 => self.delete_records(),
            89..92 => self.truncate(),
            92..94 => {
                self.epoch = LeaderEpoch::new(self.epoch.get() + 1);
                self.partition.begin_leader_epoch(self.epoch);
                Ok(())
            }
            94..96 => self.sync(),
            96..98 => self.close_and_open(),
            _ => self.kill_and_open(),
        }
    }

    fn append_any(&mut self) -> Verdict<()> {
        let id = match self.rng.range(0, 10) {
            0 => None,
            1..=6 => IDEMPOTENT.get(self.rng.range(0, 3)).copied(),
            _ => TRANSACTIONAL.get(self.rng.range(0, 2)).copied(),
        };
        let sender = id.map(|id| self.sender(id));
        let sent = client_batch(&mut self.rng, sender, self.now, self.batch_bytes_max);
        self.append(sent, sender)
    }

    /// Several batches of one producer, handed over together.
    fn append_run(&mut self) -> Verdict<()> {
        let id = IDEMPOTENT[self.rng.range(0, 3)];
        let (mut end, mut run) = (self.model.end, Vec::new());
        let mut sender = self.sender(id);
        for _ in 0..self.rng.range(2, 6) {
            let sent = client_batch(
                &mut self.rng,
                Some(sender),
                self.now,
                self.batch_bytes_max.min(1_500),
            );
            let stored = Stored::data(sent, Some(sender), end, self.epoch);
            sender.sequence += stored.count();
            end = stored.end();
            run.push(stored);
        }
        let sent: Vec<Bytes> = run.iter().filter_map(|stored| stored.sent.clone()).collect();
        let answers = self.partition.append_all(&sent, self.now);
        let mut run = run.into_iter();
        for answer in answers {
            match answer.wait().map_err(|error| error.to_string())? {
                Ok(appended) => {
                    let stored = run.next().ok_or("more answers than batches")?;
                    self.appended(stored, appended)?;
                }
                Err(error) => {
                    if self.model.doubt.is_none() {
                        self.model.doubt = Some(Doubt::Append(run.by_ref().collect()));
                    }
                    self.dark("append_all", &error)?;
                }
            }
        }
        Ok(())
    }

    fn sender(&mut self, id: i64) -> Sender {
        let transactional = TRANSACTIONAL.contains(&id);
        let (epoch, sequence) = self.model.next_of(id);
        if !transactional && sequence > 0 && self.rng.percent(4) {
            return Sender { id, epoch: epoch + 1, sequence: 0, transactional };
        }
        Sender { id, epoch, sequence, transactional }
    }

    pub(crate) fn append(&mut self, sent: Bytes, sender: Option<Sender>) -> Verdict<()> {
        let stored = Stored::data(sent.clone(), sender, self.model.end, self.epoch);
        let done = self.partition.append(sent, self.now).wait().map_err(|e| e.to_string())?;
        match done {
            Ok(appended) => self.appended(stored, appended),
            Err(error) => {
                self.model.doubt = Some(Doubt::Append(vec![stored]));
                self.dark("append", &error)
            }
        }
    }

    fn appended(&mut self, stored: Stored, appended: Appended) -> Verdict<()> {
        let found = (appended.base_offset.get(), appended.last_offset.get(), appended.placed);
        let expected = (stored.base, stored.last, Placed::Written);
        require(found == expected, || format!("append: expected {expected:?}, found {found:?}"))?;
        self.model.push(stored);
        if self.rng.percent(self.sync_percent) { self.sync() } else { Ok(()) }
    }

    fn end_transaction(&mut self) -> Verdict<()> {
        let Some(id) = TRANSACTIONAL.into_iter().find(|id| self.model.is_open(*id)) else {
            return self.append_any();
        };
        let (epoch, _) = self.model.next_of(id);
        let outcome = if self.rng.percent(50) { Outcome::Commit } else { Outcome::Abort };
        let claim = MarkerClaim {
            producer_id: ProducerId::new(id),
            producer_epoch: ProducerEpoch::new(epoch),
            coordinator_epoch: CoordinatorEpoch::new(0),
            outcome,
            timestamp: self.now,
            protocol: MarkerProtocol::V1,
            ends: Ends::Named,
        };
        let stored = Stored::marker(&Marker {
            base_offset: Offset::new(self.model.end),
            leader_epoch: self.epoch,
            producer_id: claim.producer_id,
            producer_epoch: claim.producer_epoch,
            outcome,
            coordinator_epoch: claim.coordinator_epoch,
            timestamp: self.now,
        });
        let done = self.partition.append_marker(claim, self.now).wait();
        match done.map_err(|error| error.to_string())? {
            Ok(appended) => self.appended(stored, appended),
            Err(error) => {
                self.model.doubt = Some(Doubt::Append(vec![stored]));
                self.dark("marker", &error)
            }
        }
    }

    fn retry(&mut self) -> Verdict<()> {
        let id = IDEMPOTENT[self.rng.range(0, 3)];
        self.retry_all(id)
    }

    /// P2: every batch of the window is known again, at its place; P1: nothing is written.
    pub(crate) fn retry_all(&mut self, id: i64) -> Verdict<()> {
        let end = self.partition.log_end_offset();
        for stored in self.model.recent_of(id) {
            let Some(sent) = stored.sent.clone() else { continue };
            let done = self.partition.append(sent, self.now).wait().map_err(|e| e.to_string())?;
            let appended = match done {
                Ok(appended) => appended,
                Err(error) => return self.dark(&format!("retry of {stored:?}"), &error),
            };
            let found = (appended.placed, appended.base_offset.get(), appended.last_offset.get());
            let expected = (Placed::Duplicate, stored.base, stored.last);
            require(found == expected, || {
                format!("P2: a retry by {id}: expected {expected:?}, found {found:?}")
            })?;
            self.tally.retries += 1;
        }
        let after = self.partition.log_end_offset();
        require(after == end, || format!("P1: retries moved the end from {end} to {after}"))
    }

    fn sync(&mut self) -> Verdict<()> {
        let end = self.partition.log_end_offset();
        let synced = if self.rng.percent(70) {
            self.partition.sync(end)
        } else {
            let waiting = self.partition.synced_to(end);
            self.partition
                .lead_sync()
                .and_then(|()| waiting.wait().unwrap_or_else(|error| Err(error.into())))
        };
        match synced {
            Ok(()) => {
                self.model.floor = self.model.floor.max(end.get());
                Ok(())
            }
            Err(error) => self.dark("sync", &error),
        }
    }

    fn sync_written(&mut self) -> Verdict<()> {
        // Seldom, so that more lies behind the recovery point than a last write can be.
        if self.stop != Stop::PowerCut && self.rng.percent(80) {
            return Ok(());
        }
        match self.partition.sync_written() {
            Ok(point) => {
                self.model.floor = self.model.floor.max(point.get());
                if self.rng.percent(70) {
                    self.saved.recovery_point = point.get();
                }
                Ok(())
            }
            Err(error) => self.dark("sync_written", &error),
        }
    }

    fn raise_high_watermark(&mut self) -> Verdict<()> {
        let end = usize::try_from(self.model.end).unwrap();
        let to = self.rng.range(0, end + 1);
        self.partition.advance_high_watermark(Offset::new(i64::try_from(to).unwrap()));
        Ok(())
    }

    fn delete_records(&mut self) -> Verdict<()> {
        let low = usize::try_from(self.model.start).unwrap();
        let high = usize::try_from(self.partition.high_watermark().get()).unwrap();
        if high <= low || !self.rng.percent(30) {
            return Ok(());
        }
        let before = Offset::new(i64::try_from(self.rng.range(low, high + 1)).unwrap());
        self.model.asked_start = before.get();
        match self.partition.delete_records(before) {
            Ok(start) => {
                require(start == before, || format!("log start {start} instead of {before}"))?;
                self.model.start = start.get();
                self.saved.log_start = start.get();
                Ok(())
            }
            Err(error) => self.dark("delete_records", &error),
        }
    }

    fn truncate(&mut self) -> Verdict<()> {
        let start = self.model.start;
        let batches: Vec<_> = self.model.batches.iter().filter(|b| b.base >= start).collect();
        if batches.is_empty() {
            return Ok(());
        }
        let recent = batches.len().saturating_sub(12);
        let to = batches[self.rng.range(recent, batches.len())].base;
        let inside = self.rng.percent(20) && to < self.model.end - 1;
        let to = if inside { to + 1 } else { to };
        match self.partition.truncate_to(Offset::new(to)) {
            Ok(()) => {
                self.model.cut(to);
                let point = self.partition.recovery_point().get();
                self.saved.recovery_point = self.saved.recovery_point.min(point);
                let (found, end) = (self.partition.log_end_offset().get(), self.model.end);
                require(found == end, || format!("cut to {to}, the log ends at {found}, not {end}"))
            }
            Err(error) => {
                self.model.doubt = Some(Doubt::Truncate { to });
                self.dark("truncate", &error)
            }
        }
    }

    fn close_and_open(&mut self) -> Verdict<()> {
        match self.partition.close() {
            Ok(closed) => {
                let point = closed.recovery_point.get();
                let last = self.model.batches.last().map_or(self.model.start, Stored::end);
                require(point == self.model.end || point == last, || format!("closed at {point}"))?;
                self.model.floor = self.model.floor.max(point);
                self.saved.recovery_point = point;
                self.saved.clean = true;
            }
            Err(error) => return self.dark("close", &error),
        }
        if self.rng.percent(30) {
            self.off = true;
            return Ok(());
        }
        self.open_here("after a clean stop")
    }

    /// The process dies, the page cache does not.
    fn kill_and_open(&mut self) -> Verdict<()> {
        self.open_here("after a kill")
    }

    fn open_here(&mut self, when: &str) -> Verdict<()> {
        let options = options(&self.config, &self.saved, self.epoch, self.now);
        // The marker goes before the first file is touched (KAFKA-10471).
        self.saved.clean = false;
        match Partition::open(self.dir.clone(), options) {
            Ok((partition, _)) => self.partition = partition,
            Err(error) => return self.dark(&format!("open {when}"), &error),
        }
        let found = self.partition.log_end_offset().get();
        let last = self.model.batches.last().map_or(self.model.start, Stored::end);
        let whole = found == self.model.end || found == last.max(self.model.start);
        require(whole, || format!("{when} the log ends at {found}, not at {}", self.model.end))?;
        self.model.end = found;
        Ok(())
    }
}

impl World {
    /// With `CRASH_TRACE` set: where the run is, and what lies on the disk.
    pub(crate) fn trace(&self, what: &str) {
        if std::env::var_os("CRASH_TRACE").is_none() {
            return;
        }
        let Saved { recovery_point, log_start, clean, .. } = &self.saved;
        eprintln!("{what}: {}", super::check::summary(&self.model));
        eprintln!("  saved: recovery point {recovery_point}, start {log_start}, clean {clean}");
        for entry in self.dir.list().unwrap_or_default() {
            eprintln!("  {} {:?}", entry.name, entry.kind);
        }
    }

    /// After a crash and recovery.
    pub(crate) fn woken(&mut self) {
        self.off = false;
    }

    /// Closes, looks at the files behind the indexes, and opens again.
    pub(crate) fn close_and_check(&mut self) -> Verdict<()> {
        let closed = self.partition.close().map_err(|error| format!("close: {error}"))?;
        let point = closed.recovery_point.get();
        self.model.floor = point;
        self.saved.recovery_point = point;
        self.check_index_files()?;
        self.saved.clean = true;
        self.open_here("after a clean stop")
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.retries += other.retries;
        self.rolled += other.rolled;
        self.cut_inside_calls += other.cut_inside_calls;
        self.recoveries_cut += other.recoveries_cut;
        self.unread += other.unread;
    }
}
