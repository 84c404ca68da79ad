//! Looking at a partition's directory without changing anything: no lock, no recovery, every file opened for reading.
//!
//! For tools that must see what is there, sound or not. [`inspect`] reads everything once and lists what is wrong;
//! [`InspectedSegment::batches`] walks the batches of one segment.
//!
//! ```
//! use hanbeon_log::{Dir, MemDir, inspect::inspect};
//!
//! let found = inspect(&MemDir::new())?;
//! assert!(found.segments.is_empty() && found.damage.is_empty());
//! # Ok::<(), hanbeon_log::LogError>(())
//! ```

use bytes::Bytes;
use hanbeon_idempotence::{
    FirstWrite, OpenTxn, ProducerStates, ProducerView, Settings, Verification,
};
use hanbeon_records::{BatchRef, Control, LeaderEpoch, Millis, Offset, TopicId, read_control};

use crate::{
    AbortedTxn, Action, Corruption, Damage, Dir, EntryKind, EpochEntry, LeaderEpochs, LogError,
    LogFile, OffsetIndexView, OffsetPosition, Open, SegmentFile, SegmentFileName, SegmentSpan,
    TimeIndexView, TimeOffset, TxnIndexView,
    active::{open, path},
    append::aborted,
    head::Head,
    listing::Listing,
    partition_metadata, snapshot_file,
    walk::{Fault, Scanner, length},
};

/// All that lies in a partition's directory.
#[derive(Debug)]
pub struct Inspection<F> {
    /// What `partition.metadata` says; `None` when it is missing or damaged.
    pub topic_id: Option<TopicId>,
    /// Segments by base offset.
    pub segments: Vec<InspectedSegment<F>>,
    /// The offset after the last sound batch.
    pub log_end_offset: Offset,
    /// What `leader-epoch-checkpoint` says.
    pub leader_epochs: Vec<EpochEntry>,
    /// Snapshots by offset.
    pub snapshots: Vec<InspectedSnapshot>,
    /// Aborted transactions as the batches tell them; the indexes' own are in [`InspectedSegment::aborted`].
    pub aborted: Vec<AbortedTxn>,
    /// Transactions without a marker, as the batches tell them.
    pub open_transactions: Vec<OpenTxn>,
    /// Producers as the batches tell them.
    pub producers: Vec<ProducerView>,
    /// Files of no meaning to a log, and files on their way in or out.
    pub others: Vec<String>,
    /// Everything that is wrong: file, place and what.
    pub damage: Vec<Corruption>,
}

/// One segment.
#[derive(Debug)]
pub struct InspectedSegment<F> {
    /// First offset it may hold.
    pub base_offset: Offset,
    /// Bytes of the `.log` file.
    pub bytes: u64,
    /// Bytes of it that are sound batches.
    pub sound_bytes: u64,
    /// Number of sound batches.
    pub batches: u64,
    /// Entries of `.index`, sound or not; `None` when there is no file.
    pub offset_index: Option<Vec<OffsetPosition>>,
    /// Entries of `.timeindex`, sound or not; `None` when there is no file.
    pub time_index: Option<Vec<TimeOffset>>,
    /// Entries of `.txnindex`, sound or not; `None` when there is no file.
    pub aborted: Option<Vec<AbortedTxn>>,
    name: String,
    file: F,
}

/// One producer snapshot.
#[derive(Debug)]
pub struct InspectedSnapshot {
    /// Offset in its name: it covers what lies below.
    pub offset: Offset,
    /// Its producers; empty when it is damaged.
    pub producers: Vec<ProducerView>,
}

/// One batch where it lies.
#[derive(Clone, Debug)]
pub struct InspectedBatch {
    /// First byte in the `.log` file.
    pub position: u64,
    bytes: Bytes,
}

impl InspectedBatch {
    /// The batch. Its checksum holds.
    ///
    /// # Panics
    /// Never: the bytes were parsed before.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the bytes were parsed when they were read")]
    pub fn batch(&self) -> BatchRef<'_> {
        BatchRef::parse(&self.bytes).expect("parsed before").0
    }

    /// What its marker says; `None` for data and for other control batches.
    #[must_use]
    pub fn marker(&self) -> Option<Control> {
        read_control(self.batch()).ok().flatten()
    }
}

impl<F: LogFile> InspectedSegment<F> {
    /// Walks the batches from the first on; ends behind the last, or with what is wrong.
    pub fn batches(&self) -> impl Iterator<Item = Result<InspectedBatch, LogError>> {
        let mut scanner = Some(Scanner::new(&self.file, 0, self.bytes));
        std::iter::from_fn(move || {
            let next = scanner.as_mut()?.next().and_then(|next| match next {
                Some((position, _, batch)) => match batch.verify() {
                    Ok(_) => {
                        let bytes = Bytes::copy_from_slice(batch.bytes());
                        Ok(Some(InspectedBatch { position, bytes }))
                    }
                    Err(error) => Err(Fault::Damage { at: position, damage: error.into() }),
                },
                None => Ok(None),
            });
            match next {
                Ok(Some(batch)) => Some(Ok(batch)),
                Ok(None) => None,
                Err(fault) => {
                    scanner = None;
                    Some(Err(self.error(fault)))
                }
            }
        })
    }

    fn error(&self, fault: Fault) -> LogError {
        match fault {
            Fault::Damage { at, damage } => {
                Corruption { file: self.name.clone(), at, damage }.into()
            }
            Fault::Io(error) => LogError::io(Action::Read, &self.name, error),
        }
    }
}

/// Reads a partition's directory.
///
/// # Errors
/// What the storage reports. Damage is no error here: see [`Inspection::damage`].
pub fn inspect<D: Dir>(dir: &D) -> Result<Inspection<D::File>, LogError> {
    let listing = Listing::read(dir)?;
    let mut found = Inspection {
        topic_id: None,
        segments: Vec::new(),
        log_end_offset: Offset::ZERO,
        leader_epochs: Vec::new(),
        snapshots: Vec::new(),
        aborted: Vec::new(),
        open_transactions: Vec::new(),
        producers: Vec::new(),
        others: others(dir)?,
        damage: Vec::new(),
    };
    found.topic_id = found.or_damage(partition_metadata::read(dir))?.flatten();
    let epochs = found.or_damage(LeaderEpochs::read(dir))?.flatten();
    found.leader_epochs = epochs.unwrap_or_default().entries().to_vec();
    let mut course = Course {
        states: ProducerStates::new(settings()),
        expected: listing.logs.keys().next().copied().unwrap_or(Offset::ZERO),
        epoch: LeaderEpoch::UNKNOWN,
    };
    for (base, bytes) in &listing.logs {
        let file = open(dir, *base, SegmentFile::Log, Open::Read)?;
        let name = path(dir, *base, SegmentFile::Log);
        let mut segment = InspectedSegment {
            base_offset: *base,
            bytes: *bytes,
            sound_bytes: 0,
            batches: 0,
            offset_index: None,
            time_index: None,
            aborted: None,
            name,
            file,
        };
        found.walk(&mut segment, &mut course)?;
        found.indexes(dir, &listing, &mut segment, course.expected)?;
        found.segments.push(segment);
    }
    found.log_end_offset = course.expected;
    found.open_transactions = course.states.open_transactions().collect();
    found.producers = course.states.producers().collect();
    found.read_snapshots(dir, &listing)?;
    Ok(found)
}

/// Expiry and verification have no say in what a directory holds.
const fn settings() -> Settings {
    Settings {
        expiration_ms: i64::MAX,
        verification: Verification::Off,
        first_write: FirstWrite::AnySequence,
        hash_seed: 0,
    }
}

fn others<D: Dir>(dir: &D) -> Result<Vec<String>, LogError> {
    let entries = dir.list().map_err(|error| LogError::io(Action::List, dir.display(), error))?;
    let known = ["partition.metadata", crate::leader_epochs::FILE_NAME];
    let is_other = |name: &str| {
        let live =
            SegmentFileName::parse(name).is_some_and(|name| name.stage == crate::FileStage::Live);
        !live && !known.contains(&name)
    };
    Ok(entries
        .iter()
        .filter(|entry| !matches!(entry.kind, EntryKind::Dir))
        .map(|entry| entry.name.as_str().to_owned())
        .filter(|name| is_other(name))
        .collect())
}

/// What is carried from batch to batch.
struct Course {
    states: ProducerStates,
    expected: Offset,
    epoch: LeaderEpoch,
}

impl<F: LogFile> Inspection<F> {
    fn or_damage<T>(&mut self, result: Result<T, LogError>) -> Result<Option<T>, LogError> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(LogError::Corrupt(corruption)) => {
                self.damage.push(corruption);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn walk(
        &mut self,
        segment: &mut InspectedSegment<F>,
        course: &mut Course,
    ) -> Result<(), LogError> {
        let mut walked = Ok(());
        let (mut sound_bytes, mut batches) = (0_u64, 0_u64);
        for batch in segment.batches() {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    walked = Err(error);
                    break;
                }
            };
            let at = batch.position;
            let mut wrong = |damage| {
                self.damage.push(Corruption { file: segment.name.clone(), at, damage });
            };
            match Head::parse(batch.batch().bytes()) {
                Ok(head) => course.check(&head, &mut wrong),
                Err(error) => wrong(error.into()),
            }
            match course.states.replay(&batch.batch(), Millis::NONE) {
                Ok(completed) => {
                    let is_abort = |txn: &hanbeon_idempotence::CompletedTxn| {
                        txn.outcome == hanbeon_idempotence::Outcome::Abort
                    };
                    self.aborted.extend(completed.filter(is_abort).map(aborted));
                }
                Err(error) => wrong(error.into()),
            }
            batches = batches.saturating_add(1);
            sound_bytes = at.saturating_add(length(batch.bytes.len()));
        }
        (segment.sound_bytes, segment.batches) = (sound_bytes, batches);
        self.or_damage(walked).map(drop)
    }

    fn indexes<D: Dir<File = F>>(
        &mut self,
        dir: &D,
        listing: &Listing,
        segment: &mut InspectedSegment<F>,
        end_offset: Offset,
    ) -> Result<(), LogError> {
        let base_offset = segment.base_offset;
        let span = SegmentSpan { base_offset, end_offset, log_bytes: segment.bytes };
        let read = |kind| {
            if !listing.has(base_offset, kind) {
                return Ok(None);
            }
            let failed = |error| LogError::io(Action::Read, path(dir, base_offset, kind), error);
            let file = open(dir, base_offset, kind, Open::Read)?;
            file.len().and_then(|len| file.view(0..len)).map(Some).map_err(failed)
        };
        let mut doubt = |kind, doubt: Option<crate::IndexDoubt>| {
            let file = path(dir, base_offset, kind);
            let corruption =
                |doubt: crate::IndexDoubt| Corruption { file, at: 0, damage: doubt.into() };
            self.damage.extend(doubt.map(corruption));
        };
        if let Some(bytes) = read(SegmentFile::OffsetIndex)? {
            doubt(SegmentFile::OffsetIndex, OffsetIndexView::parse(&bytes, span).err());
            let view = OffsetIndexView::trusted(&bytes, base_offset);
            segment.offset_index = Some(view.iter().collect());
        }
        if let Some(bytes) = read(SegmentFile::TimeIndex)? {
            doubt(SegmentFile::TimeIndex, TimeIndexView::parse(&bytes, span).err());
            let view = TimeIndexView::trusted(&bytes, base_offset);
            segment.time_index = Some(view.iter().collect());
        }
        if let Some(bytes) = read(SegmentFile::TxnIndex)? {
            doubt(SegmentFile::TxnIndex, TxnIndexView::parse(&bytes, span).err());
            segment.aborted = Some(TxnIndexView::trusted(&bytes).iter().collect());
        }
        Ok(())
    }

    fn read_snapshots<D: Dir>(&mut self, dir: &D, listing: &Listing) -> Result<(), LogError> {
        let mut offsets: Vec<_> = listing.snapshots().collect();
        offsets.reverse();
        for offset in offsets {
            let file = path(dir, offset, SegmentFile::Snapshot);
            let mut producers = Vec::new();
            match snapshot_file::read(dir, offset, settings(), Millis::NONE)? {
                Ok(loaded) => {
                    producers = loaded.states.producers().collect();
                    if let Err(error) = loaded.window {
                        let file = path(dir, offset, SegmentFile::Producers);
                        self.damage.push(Corruption { file, at: 0, damage: error.into() });
                    }
                }
                Err(damage) => self.damage.push(Corruption { file: file.clone(), at: 0, damage }),
            }
            if offset > self.log_end_offset {
                let damage = Damage::SnapshotAhead { end: self.log_end_offset, found: offset };
                self.damage.push(Corruption { file, at: 0, damage });
            }
            self.snapshots.push(InspectedSnapshot { offset, producers });
        }
        Ok(())
    }
}

impl Course {
    fn check(&mut self, head: &Head, wrong: &mut impl FnMut(Damage)) {
        let (expected, found) = (self.expected, head.base_offset);
        if found < expected {
            wrong(Damage::OffsetBack { expected, found });
        }
        let (expected, found) = (self.epoch, head.leader_epoch);
        if found < expected && found > LeaderEpoch::UNKNOWN {
            wrong(Damage::EpochBack { expected, found });
        }
        self.expected = self.expected.max(head.next_offset());
        self.epoch = self.epoch.max(head.leader_epoch);
    }
}
