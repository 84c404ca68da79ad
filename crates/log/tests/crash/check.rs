//! Holds a recovered log against the model, and its derived files against those of a scan from scratch.

use std::io::IoSlice;

use bytes::Bytes;
use hanbeon_log::{
    CrashDir, Dir, EntryKind, FileName, FileStage, FirstBatch, Isolation, LeaderEpochs, LogFile,
    MemDir, OffsetIndexView, Open, Partition, SegmentFile, SegmentFileName, Shutdown,
    TimeIndexView, TimeQuery, TxnIndexView,
};
use hanbeon_records::{BatchRef, LeaderEpoch, Millis, Offset};

use super::{
    batches::Stored,
    world::{Doubt, IDEMPOTENT, Model, Saved, Verdict, World, options, require},
};

/// Every batch from `from` on, read in pieces.
pub(crate) fn read_all<D: Dir>(partition: &Partition<D>, from: i64) -> Verdict<Vec<Vec<u8>>> {
    let mut batches = Vec::new();
    let mut from = Offset::new(from);
    loop {
        let read = partition.read(from, Isolation::LogEnd, 20_000, FirstBatch::Whole);
        let read = read.map_err(|error| format!("read from {from}: {error}"))?;
        let mut rest: &[u8] = &read.records;
        if rest.is_empty() {
            return Ok(batches);
        }
        while let Ok((batch, behind)) = BatchRef::parse(rest) {
            batch.verify().map_err(|error| format!("L3: at {}: {error}", batch.base_offset()))?;
            from = batch.next_offset();
            batches.push(batch.bytes().to_vec());
            rest = behind;
        }
    }
}

impl World {
    /// L1, L2, L3: what was recovered is a prefix of what was appended, and holds all that was durable. The model goes on from there.
    pub(crate) fn check_batches(&mut self) -> Verdict<()> {
        let start = self.partition.log_start_offset().get();
        require(start >= self.model.start, || {
            format!("the log starts at {start}, below {}", self.model.start)
        })?;
        let found = read_all(&self.partition, start)?;
        let doubt = self.model.doubt.take();
        let mut sequence = std::mem::take(&mut self.model.batches);
        let mut floor = self.model.floor;
        match doubt {
            Some(Doubt::Append(run)) => sequence.extend(run),
            Some(Doubt::Truncate { to }) => floor = floor.min(to),
            None => {}
        }
        // Where nothing was left above the log's start, what lay below it went as well.
        let first = self.partition.segments().first().map_or(0, |first| first.base_offset.get());
        sequence.retain(|stored| stored.last >= first);
        let below = sequence.iter().take_while(|stored| stored.last < start).count();
        let kept = below + found.len();
        for (nth, (stored, found)) in sequence.iter().skip(below).zip(&found).enumerate() {
            require(stored.bytes == *found, || {
                let (other, _) = BatchRef::parse(found).unwrap();
                format!(
                    "L2: batch {nth} is at {} to {}, expected {} to {} of {:?}",
                    other.base_offset(),
                    other.last_offset(),
                    stored.base,
                    stored.last,
                    stored.sender,
                )
            })?;
        }
        require(kept <= sequence.len(), || {
            format!("L2: {} batches too many", kept.saturating_sub(sequence.len()))
        })?;
        let lost = sequence.iter().skip(kept).find(|stored| stored.end() <= floor);
        require(lost.is_none(), || {
            let lost = lost.map(|stored| (stored.base, stored.last, stored.sender));
            format!("L1: acknowledged below {floor}, lost: {lost:?}; {kept} batches are there")
        })?;
        let durable = sequence.iter().take(kept).filter(|stored| stored.end() <= floor).count();
        self.tally.acknowledged += u64::try_from(durable).unwrap();
        sequence.truncate(kept);
        self.model.end = self.partition.log_end_offset().get();
        let end = sequence.last().map_or(start, |stored| stored.end().max(start));
        require(self.model.end == end, || {
            format!("the log ends at {}, its batches at {end}", self.model.end)
        })?;
        self.model.batches = sequence;
        self.model.floor = floor.min(end);
        self.model.start = start;
        Ok(())
    }

    /// L5, P5: what was recovered with snapshots, checkpoints and indexes equals what the batches alone tell.
    pub(crate) fn check_against_scratch(&self) -> Verdict<()> {
        let bare = only_logs(&self.dir)?;
        let saved = Saved { log_start: self.model.start, ..Saved::nothing(Shutdown::Unclean) };
        let options = options(&self.config, &saved, self.epoch, self.now);
        let (scratch, _) = Partition::open(bare.clone(), options)
            .map_err(|error| format!("a scan from scratch: {error}"))?;
        let ours = &self.partition;
        let end = ours.log_end_offset();
        same("the end", &end, &scratch.log_end_offset())?;
        ours.advance_high_watermark(end);
        scratch.advance_high_watermark(end);
        same("the last stable offset", &ours.last_stable_offset(), &scratch.last_stable_offset())?;
        same("P5: the producers", &ours.producers(), &scratch.producers())?;
        let epochs = |dir: Result<Option<LeaderEpochs>, hanbeon_log::LogError>| {
            let epochs = dir.map(Option::unwrap_or_default).map_err(|error| error.to_string())?;
            Ok::<_, String>(self.of_batches(&epochs))
        };
        let (found, expected) =
            (epochs(LeaderEpochs::read(&self.dir))?, epochs(LeaderEpochs::read(&bare))?);
        same("the epoch file", &found, &expected)?;
        for (epoch, _) in &found {
            let (found, expected) =
                (ours.end_offset_for_epoch(*epoch), scratch.end_offset_for_epoch(*epoch));
            let ends = [found, expected].map(|end| (end.epoch, self.next_batch(end.end_offset)));
            same(&format!("the end of epoch {epoch}"), &ends[0], &ends[1])?;
        }
        self.check_reads(&scratch)
    }

    /// The first batch at `offset` or behind it: after a cut inside a batch an epoch may begin where no batch does.
    fn next_batch(&self, offset: Offset) -> i64 {
        let base = self.model.batches.iter().map(|stored| stored.base).find(|b| *b >= offset.get());
        base.unwrap_or(self.model.end)
    }

    /// Epochs by the batches with which they begin; those without a batch are left out.
    fn of_batches(&self, epochs: &LeaderEpochs) -> Vec<(LeaderEpoch, i64)> {
        let mut begins: Vec<(LeaderEpoch, i64)> = Vec::new();
        let start = self.model.start.max(self.model.asked_start);
        for entry in epochs.entries() {
            let base = self.next_batch(entry.start_offset.max(Offset::new(start)));
            begins.retain(|(_, begin)| *begin < base);
            if base < self.model.end {
                begins.push((entry.epoch, base));
            }
        }
        begins
    }

    /// Lookups by offset and by time, and lists of aborted transactions.
    fn check_reads(&self, scratch: &Partition<MemDir>) -> Verdict<()> {
        let answer =
            |partition: &dyn Fn(Offset) -> Verdict<(Bytes, Option<Vec<_>>)>, at| partition(at);
        for at in self.model.start..self.model.end {
            let at = Offset::new(at);
            let (found, expected) = (
                answer(&|at| committed(&self.partition, at), at)?,
                answer(&|at| committed(scratch, at), at)?,
            );
            require(found == expected, || {
                let (found, expected) = (found.1, expected.1);
                format!(
                    "L5: a committed read from {at} differs: {found:?}\n  from scratch {expected:?}"
                )
            })?;
        }
        for stored in &self.model.batches {
            let (batch, _) = BatchRef::parse(&stored.bytes).unwrap();
            for time in [batch.max_timestamp(), batch.base_timestamp().saturating_add(1)] {
                let query = TimeQuery::At(time);
                let found = self.partition.find_offset(query, Isolation::LogEnd);
                let expected = scratch.find_offset(query, Isolation::LogEnd);
                let text = |found: Result<_, hanbeon_log::ReadError>| {
                    found.map_err(|error| error.to_string())
                };
                same(&format!("the record at {time}"), &text(found)?, &text(expected)?)?;
            }
        }
        Ok(())
    }

    /// L5: the files behind the indexes, once everything is closed.
    pub(crate) fn check_index_files(&self) -> Verdict<()> {
        for entry in self.dir.list().map_err(|error| error.to_string())? {
            let Some(name) = SegmentFileName::parse(entry.name.as_str()) else { continue };
            require(name.stage == FileStage::Live, || format!("{name} was left behind"))?;
            let base = name.base_offset;
            let log =
                content(&self.dir, &SegmentFileName::live(base, SegmentFile::Log).file_name());
            match name.kind {
                SegmentFile::OffsetIndex => {
                    let bytes = content(&self.dir, &entry.name)?;
                    offset_entries(&name.to_string(), &bytes, base, &log?, &self.config)?;
                }
                SegmentFile::TimeIndex => {
                    let bytes = content(&self.dir, &entry.name)?;
                    time_entries(&name.to_string(), &bytes, base, &log?)?;
                }
                SegmentFile::TxnIndex => {
                    let bytes = content(&self.dir, &entry.name)?;
                    require(bytes.len().is_multiple_of(34), || {
                        format!("{name} has {} bytes", bytes.len())
                    })?;
                    let last = TxnIndexView::trusted(&bytes).iter().map(|txn| txn.last_offset);
                    require(last.is_sorted(), || format!("{name} is not in order"))?;
                }
                SegmentFile::Log | SegmentFile::Snapshot | SegmentFile::Producers => {}
            }
        }
        Ok(())
    }

    /// P1, P2: retries are known; what was lost is taken anew; nothing is there twice.
    pub(crate) fn check_producers(&mut self) -> Verdict<()> {
        for id in IDEMPOTENT {
            self.retry_all(id)?;
        }
        for id in IDEMPOTENT {
            let (epoch, sequence) = self.model.next_of(id);
            let sender = super::batches::Sender { id, epoch, sequence, transactional: false };
            let sent = super::batches::client_batch(&mut self.rng, Some(sender), self.now, 3_000);
            self.append(sent, Some(sender))?;
        }
        let found = read_all(&self.partition, self.model.start)?;
        let start = self.model.start;
        let expected: Vec<_> = self.model.batches.iter().filter(|s| s.last >= start).collect();
        require(found.len() == expected.len(), || {
            format!("P1: {} batches instead of {}", found.len(), expected.len())
        })?;
        let differs = found.iter().zip(expected).find(|(found, stored)| **found != stored.bytes);
        require(differs.is_none(), || "the log changed under new appends".to_owned())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Verdict<()> {
    require(found == expected, || {
        format!("L5: {what}: recovered {found:?}\n  from scratch {expected:?}")
    })
}

type Answer = (Bytes, Option<Vec<hanbeon_log::AbortedTxn>>);

fn committed<D: Dir>(partition: &Partition<D>, at: Offset) -> Verdict<Answer> {
    let read = partition.read(at, Isolation::Committed, 3_000, FirstBatch::Whole);
    read.map(|read| (read.records, read.aborted)).map_err(|error| format!("read {at}: {error}"))
}

fn content<D: Dir>(dir: &D, name: &FileName) -> Verdict<Bytes> {
    let file = dir.open(name, Open::Read).map_err(|error| format!("{name}: {error}"))?;
    let len = file.len().map_err(|error| error.to_string())?;
    file.view(0..len).map_err(|error| error.to_string())
}

/// A directory with the `.log` files of `dir` and its identity, and nothing else.
fn only_logs(dir: &CrashDir) -> Verdict<MemDir> {
    let bare = MemDir::new();
    for entry in dir.list().map_err(|error| error.to_string())? {
        let EntryKind::File { .. } = entry.kind else { continue };
        let is_log = SegmentFileName::parse(entry.name.as_str())
            .is_some_and(|name| name.kind == SegmentFile::Log && name.stage == FileStage::Live);
        if is_log || entry.name.as_str() == "partition.metadata" {
            let bytes = content(dir, &entry.name)?;
            let file = bare.open(&entry.name, Open::CreateNew).map_err(|e| e.to_string())?;
            file.write_at(&[IoSlice::new(&bytes)], 0).map_err(|error| error.to_string())?;
        }
    }
    Ok(bare)
}

/// Position, last offset and largest time of every batch.
fn heads(log: &[u8]) -> Vec<(usize, Offset, Millis)> {
    let mut heads = Vec::new();
    let mut rest = log;
    while let Ok((batch, behind)) = BatchRef::parse(rest) {
        heads.push((log.len() - rest.len(), batch.last_offset(), batch.max_timestamp()));
        rest = behind;
    }
    heads
}

/// Every entry names a batch, and no two neighbours are further apart than an interval and a batch (L6).
fn offset_entries(
    name: &str,
    bytes: &[u8],
    base: Offset,
    log: &[u8],
    config: &hanbeon_log::LogConfig,
) -> Verdict<()> {
    require(bytes.len().is_multiple_of(8), || format!("{name} has {} bytes", bytes.len()))?;
    let heads = heads(log);
    let entries: Vec<_> = OffsetIndexView::trusted(bytes, base)
        .iter()
        .map(|entry| (usize::try_from(entry.position).unwrap(), entry.offset))
        .collect();
    require(entries.is_sorted(), || format!("{name} is not in order"))?;
    for entry in &entries {
        let known = heads.iter().any(|(position, last, _)| (*position, *last) == *entry);
        require(known, || format!("L5: {name} has {entry:?}, which is no batch"))?;
    }
    let interval = usize::try_from(config.index_interval_bytes()).unwrap();
    let mut ahead = 0;
    for (position, last, _) in &heads {
        let indexed = entries.iter().any(|entry| entry == &(*position, *last));
        require(
            indexed || ahead <= interval || entries.len() * 8 + 8 > config.segment_index_bytes(),
            || {
                format!(
                    "L6: {name} misses the batch at {position}, {ahead} bytes behind the last entry"
                )
            },
        )?;
        ahead = if indexed { 0 } else { ahead };
        let end = heads.iter().map(|head| head.0).find(|next| next > position).unwrap_or(log.len());
        ahead += end - position;
    }
    Ok(())
}

/// Every entry names the first batch with the largest time so far; the last one the largest of all.
fn time_entries(name: &str, bytes: &[u8], base: Offset, log: &[u8]) -> Verdict<()> {
    require(bytes.len().is_multiple_of(12), || format!("{name} has {} bytes", bytes.len()))?;
    let mut largest = Vec::new();
    for (_, last, time) in heads(log) {
        if largest.last().is_none_or(|(known, _)| time > *known) {
            largest.push((time, last));
        }
    }
    let entries: Vec<_> = TimeIndexView::trusted(bytes, base)
        .iter()
        .map(|entry| (entry.timestamp, entry.offset))
        .collect();
    for entry in &entries {
        require(largest.contains(entry), || format!("L5: {name} has {entry:?}, which is wrong"))?;
    }
    require(entries.is_sorted(), || format!("{name} is not in order"))?;
    require(entries.last() == largest.last(), || {
        format!(
            "L5: {name} ends with {:?}, the largest time is {:?}",
            entries.last(),
            largest.last()
        )
    })
}

/// For messages.
pub(crate) fn summary(model: &Model) -> String {
    let last = model.batches.last().map_or(0, Stored::end);
    format!("{} batches to {last}, durable to {}", model.batches.len(), model.floor)
}
