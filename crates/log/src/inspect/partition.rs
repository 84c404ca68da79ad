//! All of a partition's directory.

use std::{collections::BTreeMap, io};

use hanbeon_idempotence::{OpenTxn, ProducerStates};
use hanbeon_records::{LeaderEpoch, Millis, Offset, Record, TopicId, TopicPartition};

use super::{
    Defect, Finding, IndexContents, RecordsError, SidecarContents, SnapshotContents, StoredBatch,
    aborted::Aborted,
    batches::Batches,
    epochs::Epochs,
    indexes::INDEX_BYTES_MAX,
    snapshots::settings,
    walk::{Course, SegmentWalk},
};
use crate::{
    AbortedTxn, Action, Damage, Dir, EntryKind, FileName, FileStage, LeaderEpochs, LogError,
    LogFile, OffsetPosition, Open, PartitionDirName, SegmentFile, SegmentFileName, TimeOffset,
    checkpoint::{LOG_STARTS, RECOVERY_POINTS, path, read_offsets, read_whole},
    listing::Listing,
    partition_metadata,
};

/// Largest snapshot that is read: some 5.8 million producers.
const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;

/// What the checkpoint files of the data directory say of the partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Records below do not count any more.
    pub log_start: Option<Offset>,
    /// Everything below was made durable.
    pub recovery_point: Option<Offset>,
    /// The checkpoint files that cannot be read.
    pub findings: Vec<Finding>,
}

/// Takes what is found in a partition, in the order of the log: first all batches, then all records. An error ends the inspection.
pub trait Visitor {
    /// So many bytes of batches will be reported to [`Self::advanced`].
    fn begin(&mut self, bytes: u64) {
        let _ = bytes;
    }

    /// A segment begins; its batches follow.
    ///
    /// # Errors
    /// Whatever ends the inspection.
    fn segment(&mut self, base_offset: Offset) -> io::Result<()> {
        let _ = base_offset;
        Ok(())
    }

    /// One batch, sound or not, of the segment that began last.
    ///
    /// # Errors
    /// Whatever ends the inspection.
    fn batch(&mut self, batch: &StoredBatch<'_>) -> io::Result<()> {
        let _ = batch;
        Ok(())
    }

    /// One record of a sound batch of data, at or above the log's start.
    ///
    /// # Errors
    /// Whatever ends the inspection.
    fn record(&mut self, record: &StoredRecord<'_>) -> io::Result<()> {
        let _ = record;
        Ok(())
    }

    /// So many more bytes of batches were gone through.
    fn advanced(&mut self, bytes: u64) {
        let _ = bytes;
    }
}

/// A record with its place.
#[derive(Clone, Copy, Debug)]
pub struct StoredRecord<'a> {
    /// Its offset.
    pub offset: Offset,
    /// Its time: under `LogAppendTime` that of its batch.
    pub timestamp: Millis,
    /// Key, value and headers.
    pub record: Record<'a>,
    /// Who may read it.
    pub visibility: Visibility,
}

/// Who may read a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Committed,
    /// Not who reads committed data: it is of an aborted transaction.
    Aborted,
    /// Not yet who reads committed data: it lies at or above the last stable offset.
    Unstable,
}

/// One segment.
#[derive(Clone, Debug)]
pub struct SegmentContents {
    /// Offset in its name.
    pub base_offset: Offset,
    /// Offset after its last readable batch.
    pub end_offset: Offset,
    /// Bytes of its `.log`.
    pub log_bytes: u64,
    /// How many batches can be read.
    pub batches: u64,
    /// Its `.index`, when there is one.
    pub offset_index: Option<IndexContents<OffsetPosition>>,
    /// Its `.timeindex`, when there is one.
    pub time_index: Option<IndexContents<TimeOffset>>,
    /// Its `.txnindex`, when there is one.
    pub txn_index: Option<IndexContents<AbortedTxn>>,
}

/// What a partition's directory holds.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// Id of the topic, where the directory tells.
    pub topic_id: Option<TopicId>,
    /// First offset that counts.
    pub log_start_offset: Offset,
    /// The offset after the last readable one.
    pub log_end_offset: Offset,
    /// Where the first open transaction begins, else the log's end.
    pub last_stable_offset: Offset,
    /// Leader epochs by the file; by the batches where that is missing or damaged.
    pub leader_epochs: LeaderEpochs,
    /// Transactions without a marker, by first offset.
    pub open_transactions: Vec<OpenTxn>,
    /// Aborted transactions that reach to the log's start or above it, by marker: as the transaction indexes name them, and where these are
    /// missing or damaged as the batches tell.
    pub aborted_transactions: Vec<AbortedTxn>,
    /// The segments in order.
    pub segments: Vec<SegmentContents>,
    /// The snapshots, by the offset in their names.
    pub snapshots: BTreeMap<Offset, SnapshotContents>,
    /// The sidecars of snapshots, by the offset in their names.
    pub sidecars: BTreeMap<Offset, SidecarContents>,
    /// Everything that is wrong, in the order it was found.
    pub findings: Vec<Finding>,
}

/// Why an inspection did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// The storage failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The visitor ended it.
    #[error(transparent)]
    Visitor(io::Error),
}

impl Beside {
    /// Reads the checkpoint files of a data directory; absent ones say nothing, damaged ones are findings.
    ///
    /// # Errors
    /// What the storage reports.
    pub fn read<D: Dir>(data_dir: &D, partition: &TopicPartition) -> Result<Self, LogError> {
        let mut beside = Self::default();
        beside.log_start = beside.lookup(data_dir, LOG_STARTS, partition)?;
        beside.recovery_point = beside.lookup(data_dir, RECOVERY_POINTS, partition)?;
        Ok(beside)
    }

    fn lookup<D: Dir>(
        &mut self,
        dir: &D,
        name: &str,
        partition: &TopicPartition,
    ) -> Result<Option<Offset>, LogError> {
        match read_offsets(dir, &file_name(dir, name)?) {
            Ok(offsets) => Ok(offsets.get(partition).copied()),
            Err(LogError::Corrupt(found)) => {
                self.findings.push(Finding::new(name, found.at, found.damage));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Goes through a partition's directory and tells `visitor` what is in the log. See the module.
///
/// # Errors
/// [`InspectError::Log`] when the storage fails, [`InspectError::Visitor`] with what the visitor said. Damage is no error.
pub fn inspect<D: Dir, V: Visitor>(
    dir: &D,
    beside: Beside,
    visitor: &mut V,
) -> Result<Inspected, InspectError> {
    let listing = Listing::read(dir)?;
    // Once for batches, once for records.
    visitor.begin(listing.logs.values().sum::<u64>().saturating_mul(2));
    let Beside { log_start, recovery_point, mut findings } = beside;
    unfinished(&listing, &mut findings);
    let (snapshots, sidecars) = snapshots(dir, &listing, &mut findings)?;
    let first = listing.logs.keys().next().copied().unwrap_or(Offset::ZERO);
    let mut course = Course::new(states_at(dir, &snapshots, first)?, Epochs::read(dir)?, first);
    let mut segments = Vec::new();
    let mut bases = listing.logs.keys().copied().peekable();
    while let Some(base) = bases.next() {
        visitor.segment(base).map_err(InspectError::Visitor)?;
        let mut walk = SegmentWalk::new(dir, base, &mut findings)?;
        segments.push(walk.run(&mut course, bases.peek().copied(), visitor)?);
    }
    let Course { mut states, epochs, expected: log_end_offset, aborted, last_epoch, .. } = course;
    let log_start_offset = log_start.map_or(first, |start| start.max(first));
    ends_early(&segments, log_end_offset, log_start.max(recovery_point), &mut findings);
    ahead(&snapshots, log_end_offset, &mut findings);
    states.high_watermark_advanced(log_end_offset);
    states.log_start_advanced(log_start_offset.min(log_end_offset));
    let (leader_epochs, finding) = epochs.finish(log_start_offset);
    findings.extend(finding);
    let topic_id = topic_id(dir, last_epoch, &mut findings)?;
    let aborted_transactions: Vec<_> =
        aborted.into_iter().filter(|txn| txn.last_offset >= log_start_offset).collect();
    let mut inspected = Inspected {
        topic_id,
        log_start_offset,
        log_end_offset,
        last_stable_offset: states.last_stable_offset(log_end_offset),
        leader_epochs,
        open_transactions: states.open_transactions().collect(),
        aborted_transactions,
        segments,
        snapshots,
        sidecars,
        findings,
    };
    drop(states);
    inspected.records(dir, visitor)?;
    Ok(inspected)
}

impl Inspected {
    /// The second walk: now it is known what was aborted and what is open.
    fn records<D: Dir, V: Visitor>(
        &mut self,
        dir: &D,
        visitor: &mut V,
    ) -> Result<(), InspectError> {
        let aborted = Aborted::new(&self.aborted_transactions);
        for segment in &self.segments {
            let name = SegmentFileName::live(segment.base_offset, SegmentFile::Log);
            let failed = |error| LogError::io(Action::Read, path(dir, &name.file_name()), error);
            let file = dir.open(&name.file_name(), Open::Read).map_err(failed)?;
            let mut batches = Batches::new(&file).map_err(failed)?;
            // Where the first walk could go no further, this one cannot either.
            while let Ok(Some(stored)) = batches.next().map_err(failed)? {
                let size = crate::walk::length(stored.batch.bytes().len());
                let data = !stored.batch.attributes().is_control();
                if data
                    && stored.checksum.is_ok()
                    && stored.batch.next_offset() > self.log_start_offset
                {
                    let told = tell(&stored, self, &aborted, visitor);
                    match told {
                        Ok(()) => {}
                        Err(RecordsError::Visitor(error)) => {
                            return Err(InspectError::Visitor(error));
                        }
                        Err(RecordsError::Defect(defect)) => {
                            self.findings.push(Finding::new(name, stored.position, defect));
                        }
                    }
                }
                visitor.advanced(size);
            }
        }
        Ok(())
    }
}

/// Gives out the records of one batch; says so when their offsets do not rise.
fn tell<V: Visitor>(
    stored: &StoredBatch<'_>,
    inspected: &Inspected,
    aborted: &Aborted,
    visitor: &mut V,
) -> Result<(), RecordsError<io::Error>> {
    let batch = &stored.batch;
    let transactional = batch.attributes().is_transactional();
    let mut last: Option<Offset> = None;
    let mut disorder = None;
    stored.records(|record| {
        let offset = batch.offset_of(record);
        if let Some(before) = last.replace(offset).filter(|before| *before >= offset) {
            disorder.get_or_insert(Defect::RecordOrder { before, found: offset });
        }
        if offset < inspected.log_start_offset {
            return Ok(());
        }
        let visibility = if transactional && aborted.holds(batch.producer_id(), offset) {
            Visibility::Aborted
        } else if offset >= inspected.last_stable_offset {
            Visibility::Unstable
        } else {
            Visibility::Committed
        };
        let timestamp = batch.timestamp_of(record);
        visitor.record(&StoredRecord { offset, timestamp, record: *record, visibility })
    })?;
    disorder.map_or(Ok(()), |defect| Err(defect.into()))
}

fn unfinished(listing: &Listing, findings: &mut Vec<Finding>) {
    let cleaned = listing.unfinished.iter().filter(|name| name.stage == FileStage::Cleaned);
    let incomplete = cleaned.map(|name| name.base_offset).min();
    for name in &listing.unfinished {
        let defect = match name.stage {
            FileStage::Live => continue,
            FileStage::Deleted => Defect::NotRemoved,
            FileStage::Cleaned => Defect::Abandoned,
            FileStage::Swap if incomplete.is_some_and(|from| name.base_offset >= from) => {
                Defect::Abandoned
            }
            FileStage::Swap => Defect::NotSwapped,
        };
        findings.push(Finding::new(name, 0, defect));
    }
    findings.extend(listing.orphans().map(|name| Finding::new(name, 0, Defect::Orphan)));
}

type Snapshots = (BTreeMap<Offset, SnapshotContents>, BTreeMap<Offset, SidecarContents>);

fn snapshots<D: Dir>(
    dir: &D,
    listing: &Listing,
    findings: &mut Vec<Finding>,
) -> Result<Snapshots, LogError> {
    let (mut snapshots, mut sidecars) = (BTreeMap::new(), BTreeMap::new());
    for name in &listing.others {
        match name.kind {
            SegmentFile::Snapshot => {
                let Some(bytes) = read(dir, *name, SNAPSHOT_BYTES_MAX, findings)? else { continue };
                let contents = SnapshotContents::parse(&bytes);
                findings.extend(contents.error.map(|error| Finding::new(name, 0, error)));
                snapshots.insert(name.base_offset, contents);
            }
            SegmentFile::Producers => {
                let Some(bytes) = read(dir, *name, SNAPSHOT_BYTES_MAX, findings)? else { continue };
                let contents = SidecarContents::parse(&bytes);
                findings.extend(contents.error.map(|error| Finding::new(name, 0, error)));
                sidecars.insert(name.base_offset, contents);
            }
            SegmentFile::Log
            | SegmentFile::OffsetIndex
            | SegmentFile::TimeIndex
            | SegmentFile::TxnIndex => {}
        }
    }
    for (offset, sidecar) in sidecars.iter().filter(|(_, sidecar)| sidecar.error.is_none()) {
        let name = SegmentFileName::live(*offset, SegmentFile::Producers);
        let found = sidecar.snapshot_crc.unwrap_or_default();
        match snapshots.get(offset) {
            None => findings.push(Finding::new(name, 0, Defect::LoneSidecar)),
            Some(SnapshotContents { crc: Some(expected), error: None, .. })
                if *expected != found =>
            {
                let foreign =
                    hanbeon_idempotence::WindowError::Foreign { expected: *expected, found };
                findings.push(Finding::new(name, 0, foreign));
            }
            Some(_) => {}
        }
    }
    Ok((snapshots, sidecars))
}

/// The producers below the first batch, so that transactions are known which began below it.
fn states_at<D: Dir>(
    dir: &D,
    snapshots: &BTreeMap<Offset, SnapshotContents>,
    first: Offset,
) -> Result<ProducerStates, LogError> {
    let sound = snapshots.get(&first).is_some_and(|snapshot| snapshot.error.is_none());
    let loaded = if sound {
        crate::snapshot_file::read(dir, first, settings(), Millis::NONE)?.ok()
    } else {
        None
    };
    let mut states = loaded.map_or_else(|| ProducerStates::new(settings()), |loaded| loaded.states);
    states.advance_end(first);
    Ok(states)
}

/// A log that ends below what was made durable, or below its start, has lost its end.
fn ends_early(
    segments: &[SegmentContents],
    found: Offset,
    expected: Option<Offset>,
    findings: &mut Vec<Finding>,
) {
    let (Some(last), Some(expected)) = (segments.last(), expected) else { return };
    if found < expected {
        let name = SegmentFileName::live(last.base_offset, SegmentFile::Log);
        let damage = Damage::EndsEarly { expected, found };
        findings.push(Finding::new(name, last.log_bytes, damage));
    }
}

fn ahead(snapshots: &BTreeMap<Offset, SnapshotContents>, end: Offset, findings: &mut Vec<Finding>) {
    for offset in snapshots.keys().filter(|offset| **offset > end) {
        let name = SegmentFileName::live(*offset, SegmentFile::Snapshot);
        let damage = Damage::SnapshotAhead { end, found: *offset };
        findings.push(Finding::new(name, 0, damage));
    }
}

/// The topic's id. A directory that holds records of a broker names it, or the broker takes it for nobody's.
fn topic_id<D: Dir>(
    dir: &D,
    last_epoch: LeaderEpoch,
    findings: &mut Vec<Finding>,
) -> Result<Option<TopicId>, LogError> {
    match partition_metadata::read(dir) {
        Ok(None) => {
            if last_epoch > LeaderEpoch::UNKNOWN && is_partition_name(dir) {
                let name = partition_metadata::FILE_NAME;
                findings.push(Finding::new(name, 0, Defect::Missing));
            }
            Ok(None)
        }
        Ok(id) => Ok(id),
        Err(LogError::Corrupt(found)) => {
            findings.push(Finding::new(partition_metadata::FILE_NAME, found.at, found.damage));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_partition_name<D: Dir>(dir: &D) -> bool {
    let display = dir.display();
    let name = display.rsplit(['/', '\\']).next().unwrap_or_default();
    PartitionDirName::parse(name).is_some()
}

/// All bytes of a segment's file; `None`, and a finding, when there are too many.
pub(super) fn read<D: Dir>(
    dir: &D,
    name: SegmentFileName,
    limit: u64,
    findings: &mut Vec<Finding>,
) -> Result<Option<Vec<u8>>, LogError> {
    let failed = |error| LogError::io(Action::Read, path(dir, &name.file_name()), error);
    let file = match dir.open(&name.file_name(), Open::Read) {
        Ok(file) => file,
        // Removed meanwhile by a broker that runs.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let bytes = read_whole(&file, limit).map_err(failed)?;
    if bytes.is_none() {
        let found = file.len().map_err(failed)?;
        findings.push(Finding::new(name, 0, Damage::Oversize { limit, found }));
    }
    Ok(bytes)
}

/// All bytes of an index of a segment; `None` when there is none.
pub(super) fn read_index<D: Dir>(
    dir: &D,
    base: Offset,
    kind: SegmentFile,
    findings: &mut Vec<Finding>,
) -> Result<Option<Vec<u8>>, LogError> {
    read(dir, SegmentFileName::live(base, kind), INDEX_BYTES_MAX, findings)
}

fn file_name<D: Dir>(dir: &D, name: &str) -> Result<FileName, LogError> {
    FileName::new(name).map_err(|error| LogError::io(Action::Open, dir.display(), error))
}

/// Whether the directory looks like a partition's: it holds files of segments, or says whose it is.
///
/// # Errors
/// What the storage reports.
pub fn is_partition<D: Dir>(dir: &D) -> Result<bool, LogError> {
    let entries = dir.list().map_err(|error| LogError::io(Action::List, dir.display(), error))?;
    Ok(entries.iter().any(|entry| {
        let name = entry.name.as_str();
        matches!(entry.kind, EntryKind::File { .. })
            && (SegmentFileName::parse(name).is_some() || name == partition_metadata::FILE_NAME)
    }))
}
