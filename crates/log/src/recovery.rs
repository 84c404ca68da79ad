//! Opening a log: look at everything, then change what must be changed, in an order that a crash may interrupt anywhere.
//!
//! ```text
//! whose directory is it? -> finish what was interrupted -> examine (changes nothing) -> cut -> snapshots -> indexes -> epochs
//! ```
//!
//! Each step leaves a directory that the next opening takes for the same log (invariant L4): files go from the newest to the oldest,
//! a cut is synced before anything is written behind it, and whatever is rewritten is renamed into place.

use std::collections::BTreeSet;

use hanbeon_idempotence::{ProducerStates, Settings};
use hanbeon_records::{LeaderEpoch, Millis, Offset};

use crate::{
    Action, ActiveTimeIndex, Corruption, Damage, Dir, EpochsChanged, FileStage, LeaderEpochs,
    LogError, LogFile, Open, OpenPartition, OpenReport, SegmentFile, SegmentFileName, SegmentSpan,
    Shutdown, TimeIndexView, TruncatedTail,
    active::{Active, IndexFiles, Writing, open, path, remove_if_there},
    checkpoint::write_atomically,
    examine::{Examination, Examined, Part, name_of},
    last_write,
    listing::{self, Listing},
    partition_log::{Behind, jitter},
    partition_metadata,
    segment::{End, Indexes, Segment},
    snapshot_file,
    sync::Arc,
    unread::Unread,
};

/// A log ready for use.
#[derive(Debug)]
pub(crate) struct Recovered<D: Dir> {
    pub(crate) segments: Vec<Arc<Segment<D::File>>>,
    pub(crate) active: Active<D>,
    pub(crate) states: ProducerStates,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) snapshots: BTreeSet<Offset>,
    pub(crate) behind: Behind<D::File>,
    pub(crate) log_start: Offset,
    pub(crate) recovery_point: Offset,
    /// Bytes behind it, as far as the indexes tell.
    pub(crate) unsynced_bytes: u64,
    pub(crate) unread: Option<Unread>,
    pub(crate) compacted: bool,
}

/// Opens what lies in `dir`.
pub(crate) fn recover<D: Dir>(
    dir: &D,
    options: &OpenPartition,
    report: &mut OpenReport,
) -> Result<Recovered<D>, LogError> {
    options.poison.check(dir.display())?;
    let mut listing = Listing::read(dir)?;
    let identity = check_topic(dir, options, &listing)?;
    report.leftovers = listing.finish(dir)?;
    if !report.leftovers.is_empty() {
        listing = Listing::read(dir)?;
    }
    let options = &OpenPartition { shutdown: shown(dir, options, &listing)?, ..options.clone() };
    let settings = settings(options);
    let examination = Examination { dir, options, listing: &listing, settings, report };
    let mut found = examination.run().map_err(|error| kept(dir, error))?;
    let log_start = log_start(options, &found);
    check_start(dir, options, &found, log_start)?;
    check_reach(dir, options, &listing, &found, log_start, identity)?;
    if identity == Identity::Unwritten
        && let Some(id) = options.topic_id
    {
        partition_metadata::write(dir, id)?;
    }
    note_cut(&mut found, report);
    cut(dir, &listing, &found)?;
    if found.end < log_start {
        // All that counts was deleted before the log was lost.
        remove_all(dir, &mut found)?;
        found = nothing(options, log_start);
    }
    remove_snapshots(dir, options, &listing, &found, report)?;
    remove_orphans(dir, &listing, report)?;
    settle_epochs(dir, &mut found.epochs, (log_start, found.end), report)?;
    build(dir, options, found, log_start, report)
}

/// See [`last_write::shown`].
fn shown<D: Dir>(
    dir: &D,
    options: &OpenPartition,
    listing: &Listing,
) -> Result<Shutdown, LogError> {
    let (Shutdown::Killed, Some((base, _))) = (options.shutdown, listing.logs.last_key_value())
    else {
        return Ok(options.shutdown);
    };
    let file = open(dir, *base, SegmentFile::Log, Open::Read)?;
    let failed = |error| LogError::io(Action::Read, path(dir, *base, SegmentFile::Log), error);
    last_write::shown(&file).map_err(failed)
}

/// Makes what a kill has left durable where it is refused: whoever writes a recovery point above the damage says so of all below.
fn kept<D: Dir>(dir: &D, refused: LogError) -> LogError {
    if !matches!(refused, LogError::NotTorn { .. }) {
        return refused;
    }
    match sync_all(dir) {
        Ok(()) => refused,
        Err(error) => error,
    }
}

fn sync_all<D: Dir>(dir: &D) -> Result<(), LogError> {
    let entries = dir.list().map_err(|error| LogError::io(Action::List, dir.display(), error))?;
    for entry in entries {
        let Some(SegmentFileName { base_offset, kind, stage: FileStage::Live }) =
            SegmentFileName::parse(entry.name.as_str())
        else {
            continue;
        };
        let failed = |error| LogError::io(Action::Sync, path(dir, base_offset, kind), error);
        open(dir, base_offset, kind, Open::Write)?.sync().map_err(failed)?;
    }
    dir.sync().map_err(|error| LogError::sync_dir(dir.display(), error))
}

/// What `partition.metadata` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    Known,
    Unwritten,
}

fn check_topic<D: Dir>(
    dir: &D,
    options: &OpenPartition,
    listing: &Listing,
) -> Result<Identity, LogError> {
    let found = partition_metadata::read(dir)?;
    match (options.topic_id, found) {
        (Some(expected), Some(found)) if expected != found => {
            Err(LogError::ForeignTopic { dir: dir.display(), expected, found })
        }
        (Some(expected), None) if listing.logs.values().any(|len| *len > 0) => {
            Err(LogError::MissingTopicId { dir: dir.display(), expected })
        }
        (_, Some(_)) => Ok(Identity::Known),
        (_, None) => Ok(Identity::Unwritten),
    }
}

pub(crate) fn settings(options: &OpenPartition) -> Settings {
    Settings {
        expiration_ms: i64::from(options.config.producer_id_expiration_ms),
        verification: options.verification,
        first_write: options.first_write,
        hash_seed: options.hash_seed,
    }
}

fn log_start<F>(options: &OpenPartition, found: &Examined<F>) -> Offset {
    let first = found.parts.first().map_or(Offset::ZERO, |part| part.base);
    options.log_start.map_or(first, |start| start.max(first))
}

/// Fails when the log ends below its start, unless a power cut took what lay between: nothing else leaves that, so one of the two is
/// another log's, and the files are not to go for it.
fn check_start<D: Dir>(
    dir: &D,
    options: &OpenPartition,
    found: &Examined<D::File>,
    log_start: Offset,
) -> Result<(), LogError> {
    let Some(last) = found.parts.last().filter(|_| found.end < log_start) else { return Ok(()) };
    match options.shutdown {
        Shutdown::Unclean => Ok(()),
        Shutdown::Clean | Shutdown::Killed => {
            let file = path(dir, last.base, SegmentFile::Log);
            let damage = Damage::EndsEarly { expected: log_start, found: found.end };
            Err(Corruption { file, at: last.end.bytes, damage }.into())
        }
    }
}

/// Fails when the log ends below what was durable, unless nothing says that there was more.
fn check_reach<D: Dir>(
    dir: &D,
    options: &OpenPartition,
    listing: &Listing,
    found: &Examined<D::File>,
    log_start: Offset,
    identity: Identity,
) -> Result<(), LogError> {
    let (expected, end) = (options.recovery_point, found.end);
    if end >= expected || end < log_start {
        return Ok(());
    }
    let witness = match options.shutdown {
        Shutdown::Clean => true,
        // A cut that was interrupted by a crash removed these first.
        Shutdown::Killed | Shutdown::Unclean => {
            listing.snapshots().any(|offset| offset > end && offset <= expected)
        }
    };
    let vanished = listing.logs.is_empty() && identity == Identity::Known;
    if !(vanished || witness && !listing.logs.is_empty()) {
        return Ok(());
    }
    let (file, at) = found.parts.last().map_or_else(
        || (dir.display(), 0),
        |part| (path(dir, part.base, SegmentFile::Log), part.end.bytes),
    );
    Err(Corruption { file, at, damage: Damage::EndsEarly { expected, found: end } }.into())
}

fn note_cut<F>(found: &mut Examined<F>, report: &mut OpenReport) {
    if let Some((cause, bytes)) = found.cut.take() {
        report.truncated = Some(TruncatedTail { end_offset: found.end, bytes, cause });
    }
}

/// Takes away what lies behind the sound end: newest segments first, so that no crash leaves a hole.
fn cut<D: Dir>(dir: &D, listing: &Listing, found: &Examined<D::File>) -> Result<(), LogError> {
    for base in found.dropped.iter().rev() {
        for kind in [SegmentFile::OffsetIndex, SegmentFile::TimeIndex, SegmentFile::TxnIndex] {
            if listing.has(*base, kind) {
                remove_if_there(dir, *base, kind)?;
            }
        }
        remove_if_there(dir, *base, SegmentFile::Log)?;
    }
    if !found.dropped.is_empty() {
        dir.sync().map_err(|error| LogError::sync_dir(dir.display(), error))?;
    }
    let Some(last) = found.parts.last().filter(|last| last.end.bytes < last.len) else {
        return Ok(());
    };
    let failed = |action| {
        let file = path(dir, last.base, SegmentFile::Log);
        move |error| LogError::io(action, file, error)
    };
    last.file.set_len(last.end.bytes).map_err(failed(Action::Resize))?;
    last.file.sync().map_err(failed(Action::Sync))
}

fn remove_all<D: Dir>(dir: &D, found: &mut Examined<D::File>) -> Result<(), LogError> {
    for part in found.parts.drain(..).rev() {
        for kind in SegmentFile::ALL.into_iter().rev() {
            remove_if_there(dir, part.base, kind)?;
        }
    }
    dir.sync().map_err(|error| LogError::sync_dir(dir.display(), error))
}

fn nothing<F>(options: &OpenPartition, log_start: Offset) -> Examined<F> {
    let mut states = ProducerStates::new(settings(options));
    states.advance_end(log_start);
    Examined {
        parts: Vec::new(),
        states,
        epochs: LeaderEpochs::new(),
        end: log_start,
        cut: None,
        dropped: Vec::new(),
        unread: None,
        compacted: false,
    }
}

/// Removes snapshots that claim more than the log holds, those that could not be read, and after a kill those above the recovery
/// point: nobody knows which of them were durable, and a later opening would take them for it.
fn remove_snapshots<D: Dir>(
    dir: &D,
    options: &OpenPartition,
    listing: &Listing,
    found: &Examined<D::File>,
    report: &mut OpenReport,
) -> Result<(), LogError> {
    let vouched = match options.shutdown {
        Shutdown::Clean => found.end,
        Shutdown::Killed | Shutdown::Unclean => found.end.min(options.recovery_point),
    };
    let mut gone = Vec::new();
    for offset in listing.snapshots() {
        let name = path(dir, offset, SegmentFile::Snapshot);
        if offset > found.end {
            let damage = Damage::SnapshotAhead { end: found.end, found: offset };
            report.snapshots_ignored.push(Corruption { file: name.clone(), at: 0, damage });
        }
        if offset > vouched || report.snapshots_ignored.iter().any(|ignored| ignored.file == name) {
            gone.push(offset);
        }
    }
    // Durably, before anything is appended that an old snapshot could be taken for.
    snapshot_file::remove_all(dir, &gone)
}

fn remove_orphans<D: Dir>(
    dir: &D,
    listing: &Listing,
    report: &mut OpenReport,
) -> Result<(), LogError> {
    for name in listing.orphans() {
        listing::remove(dir, &name)?;
        report.leftovers.push(name.to_string());
    }
    Ok(())
}

fn settle_epochs<D: Dir>(
    dir: &D,
    epochs: &mut LeaderEpochs,
    (start, end): (Offset, Offset),
    report: &OpenReport,
) -> Result<(), LogError> {
    let known = LeaderEpochs::read(dir);
    let (EpochsChanged::Yes | EpochsChanged::No) = epochs.truncate_from_start(start);
    let latest = epochs.latest();
    // Behind the other: an epoch all of whose records were deleted now begins at the end.
    let (EpochsChanged::Yes | EpochsChanged::No) = epochs.truncate_from_end(end);
    if let (Ok(Some(known)), Some(latest)) = (&known, latest)
        && known.latest().is_some_and(|known| known.epoch == latest.epoch)
    {
        // Nothing else may tell that it was led in, and a crash before anybody has noted that must not cost it.
        let (EpochsChanged::Yes | EpochsChanged::No) =
            epochs.assign(latest.epoch, latest.start_offset.min(end));
    }
    let same = matches!(&known, Ok(Some(known)) if known == epochs);
    let none = epochs.entries().is_empty() && matches!(known, Ok(None));
    if same || none && report.epochs_rebuilt == crate::EpochFile::Kept {
        return Ok(());
    }
    epochs.write(dir)
}

fn build<D: Dir>(
    dir: &D,
    options: &OpenPartition,
    found: Examined<D::File>,
    log_start: Offset,
    report: &mut OpenReport,
) -> Result<Recovered<D>, LogError> {
    let unsynced_bytes = unsynced_bytes(options, &found);
    let Examined { mut parts, mut states, epochs, end, unread, compacted, .. } = found;
    let mut behind = Behind::nothing();
    let last = parts.pop();
    let mut segments = Vec::with_capacity(parts.len().saturating_add(1));
    for part in parts {
        segments.push(Arc::new(sealed(dir, part, options, &mut behind, report)?));
    }
    let jitter = |base| jitter(&options.config, options.jitter_seed, base);
    let active = match last {
        Some(part) => resumed(dir, part, end, options, report)?,
        None => {
            let base = log_start;
            Active::create(dir, base, &options.config, options.now, jitter(base))?
        }
    };
    segments.push(Arc::clone(&active.segment));
    states.advance_end(end);
    states.log_start_advanced(log_start);
    let snapshots = snapshot_file::list(dir)?.into_iter().collect();
    let recovery_point = match options.shutdown {
        Shutdown::Clean => end,
        // Not raised to the log's start: what lies below is not durable for that, and a torn batch there would end the log.
        Shutdown::Killed | Shutdown::Unclean => options.recovery_point.min(end),
    };
    report.open_transactions = states.open_transactions().count();
    report.producers = states.len();
    Ok(Recovered {
        segments,
        active,
        states,
        epochs,
        leader_epoch: led_in(options.leader_epoch, report.latest_epoch),
        snapshots,
        behind,
        log_start,
        recovery_point,
        unsynced_bytes,
        unread,
        compacted,
    })
}

/// The epoch in which a leader that was given `epoch` writes: that one, unless somebody has led the log in a later one, which whoever gave it
/// cannot have known. Then the next one above: batches of an earlier epoch behind those of a later one would be taken for damage.
fn led_in(epoch: LeaderEpoch, latest: Option<LeaderEpoch>) -> LeaderEpoch {
    match latest {
        Some(latest) if latest > epoch => LeaderEpoch::new(latest.get().saturating_add(1)),
        Some(_) | None => epoch,
    }
}

/// Bytes behind the recovery point, so that it moves as early as if this process had written them.
fn unsynced_bytes<F>(options: &OpenPartition, found: &Examined<F>) -> u64 {
    let point = options.recovery_point;
    let behind = |part: &Part<F>| match options.shutdown {
        Shutdown::Clean => 0,
        Shutdown::Killed | Shutdown::Unclean if part.end.offset <= point => 0,
        Shutdown::Killed | Shutdown::Unclean => {
            let below = part.indexes.offset(part.base).lookup(point.max(part.base)).position;
            part.end.bytes.saturating_sub(u64::from(below))
        }
    };
    found.parts.iter().map(behind).fold(0, u64::saturating_add)
}

/// A segment that is only read from now on.
fn sealed<D: Dir>(
    dir: &D,
    mut part: Part<D::File>,
    options: &OpenPartition,
    behind: &mut Behind<D::File>,
    report: &mut OpenReport,
) -> Result<Segment<D::File>, LogError> {
    if matches!(part.indexes, Indexes::Active { .. }) {
        let files = write_indexes(dir, &mut part, report)?;
        let view = |file: &D::File, kind| {
            let failed = |error| LogError::io(Action::Read, path(dir, part.base, kind), error);
            file.len().and_then(|len| file.view(0..len)).map_err(failed)
        };
        part.indexes = Indexes::Sealed {
            offset: view(&files.offset, SegmentFile::OffsetIndex)?,
            time: view(&files.time, SegmentFile::TimeIndex)?,
            txn: match &files.txn {
                Some(file) => view(file, SegmentFile::TxnIndex)?,
                None => bytes::Bytes::new(),
            },
        };
        behind.indexes.push(files);
    }
    complete_times(dir, &mut part, options, report)?;
    Ok(Segment::new(part.base, &dir.display(), part.file, part.end, part.indexes))
}

/// Adds the last entry of a time index where it is missing: it is written at the roll, and a power cut right behind that takes
/// it although the recovery point covers the segment.
fn complete_times<D: Dir>(
    dir: &D,
    part: &mut Part<D::File>,
    options: &OpenPartition,
    report: &mut OpenReport,
) -> Result<(), LogError> {
    let Indexes::Sealed { time, .. } = &mut part.indexes else { return Ok(()) };
    let (base, largest) = (part.base, part.progress.largest);
    let last = TimeIndexView::trusted(time, base).last();
    if largest.timestamp <= last.map_or(Millis::NONE, |last| last.timestamp) {
        return Ok(());
    }
    let span = SegmentSpan { base_offset: base, end_offset: part.end.offset, log_bytes: part.len };
    let name = SegmentFileName::live(base, SegmentFile::TimeIndex).file_name();
    let bytes_max = options.config.segment_index_bytes();
    let Ok(mut index) = ActiveTimeIndex::from_file(time, span, bytes_max) else { return Ok(()) };
    let (Ok(()) | Err(_)) = index.push_final(largest.timestamp, largest.offset);
    write_atomically(dir, &name, index.as_bytes())?;
    report.indexes_rebuilt.push(name_of(base, SegmentFile::TimeIndex));
    *time = bytes::Bytes::copy_from_slice(index.as_bytes());
    Ok(())
}

/// Brings the index files of a part in line with what is in memory. A doubtful one is replaced as a whole.
fn write_indexes<D: Dir>(
    dir: &D,
    part: &mut Part<D::File>,
    report: &mut OpenReport,
) -> Result<IndexFiles<D::File>, LogError> {
    let base = part.base;
    let Indexes::Active { offset, time, txn } = &mut part.indexes else {
        return Err(LogError::Closed { dir: dir.display() });
    };
    if part.progress.largest.timestamp > Millis::NONE {
        // Refused only where the index says the same or more already.
        let (Ok(()) | Err(_)) =
            time.push_final(part.progress.largest.timestamp, part.progress.largest.offset);
    }
    for kind in &part.doubtful {
        let bytes = match kind {
            SegmentFile::OffsetIndex => offset.as_bytes(),
            SegmentFile::TimeIndex => time.as_bytes(),
            SegmentFile::TxnIndex => txn.as_bytes(),
            SegmentFile::Log | SegmentFile::Snapshot | SegmentFile::Producers => continue,
        };
        write_atomically(dir, &SegmentFileName::live(base, *kind).file_name(), bytes)?;
        report.indexes_rebuilt.push(name_of(base, *kind));
    }
    let failed = |kind| move |error| LogError::io(Action::Write, path(dir, base, kind), error);
    let offset_file = open(dir, base, SegmentFile::OffsetIndex, Open::Create)?;
    let time_file = open(dir, base, SegmentFile::TimeIndex, Open::Create)?;
    offset.write_to(&offset_file).map_err(failed(SegmentFile::OffsetIndex))?;
    time.write_to(&time_file).map_err(failed(SegmentFile::TimeIndex))?;
    fit(dir, base, SegmentFile::OffsetIndex, &offset_file, offset.as_bytes().len())?;
    fit(dir, base, SegmentFile::TimeIndex, &time_file, time.as_bytes().len())?;
    let how = if txn.as_bytes().is_empty() { Open::Write } else { Open::Create };
    let txn_file = match dir
        .open(&SegmentFileName::live(base, SegmentFile::TxnIndex).file_name(), how)
    {
        Ok(file) => Some(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            return Err(LogError::io(Action::Open, path(dir, base, SegmentFile::TxnIndex), error));
        }
    };
    if let Some(file) = &txn_file {
        txn.write_to(file).map_err(failed(SegmentFile::TxnIndex))?;
        fit(dir, base, SegmentFile::TxnIndex, file, txn.as_bytes().len())?;
    }
    Ok(IndexFiles { offset: offset_file, time: time_file, txn: txn_file })
}

/// Cuts what a file has beyond its index: padding of a kill, or entries of what was lost.
fn fit<D: Dir>(
    dir: &D,
    base: Offset,
    kind: SegmentFile,
    file: &D::File,
    len: usize,
) -> Result<(), LogError> {
    let failed = |error| LogError::io(Action::Resize, path(dir, base, kind), error);
    let len = crate::walk::length(len);
    if file.len().map_err(failed)? == len { Ok(()) } else { file.set_len(len).map_err(failed) }
}

/// The segment that is written to from now on.
fn resumed<D: Dir>(
    dir: &D,
    mut part: Part<D::File>,
    end: Offset,
    options: &OpenPartition,
    report: &mut OpenReport,
) -> Result<Active<D>, LogError> {
    let files = write_indexes(dir, &mut part, report)?;
    let first_time = first_time(dir, &part)?;
    let state = Writing {
        progress: part.progress,
        first_time,
        created: options.now,
        jitter_ms: jitter(&options.config, options.jitter_seed, part.base),
    };
    let end = End { offset: end, bytes: part.end.bytes };
    let segment = Segment::new(part.base, &dir.display(), part.file, end, part.indexes);
    Ok(Active::resume(Arc::new(segment), files, state))
}

fn first_time<D: Dir>(dir: &D, part: &Part<D::File>) -> Result<Option<Millis>, LogError> {
    let mut walker = crate::walk::Walker::new(&part.file, 0, part.end.bytes);
    match walker.next() {
        Ok(head) => Ok(head.map(|(_, head)| head.max_timestamp)),
        Err(crate::walk::Fault::Damage { at, damage }) => {
            Err(Corruption { file: path(dir, part.base, SegmentFile::Log), at, damage }.into())
        }
        Err(crate::walk::Fault::Io(error)) => {
            Err(LogError::io(Action::Read, path(dir, part.base, SegmentFile::Log), error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_writes_in_no_epoch_below_the_latest() {
        let led = |epoch| led_in(LeaderEpoch::new(epoch), Some(LeaderEpoch::new(4))).get();
        assert_eq!([led(-1), led(3), led(4), led(5)], [5, 5, 4, 5]);
        assert_eq!(led_in(LeaderEpoch::new(0), None).get(), 0);
    }
}
