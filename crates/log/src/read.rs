//! Reading batches: up to which byte, and which aborted transactions reach into them.

use hanbeon_records::Offset;

use crate::{
    AbortedTxn, Action, Collected, Dir, FirstBatch, Isolation, LogError, LogFile, Read, ReadError,
    offsets::Bounds,
    segment::Segment,
    segments::{Based, floor},
    sync::Arc,
    visible::Visible,
    walk::length,
};

/// A run of bytes in one segment.
struct Run {
    /// Place of the segment in the list.
    place: usize,
    position: u64,
    bytes: u64,
    /// Base offset of its first batch.
    first: Offset,
    /// All its offsets lie below, where that had to be known to choose its bytes.
    below: Option<Offset>,
}

impl<D: Dir> Visible<D> {
    /// Reads from `from` on as far as `isolation` and `max_bytes` allow.
    ///
    /// The bounds are taken first and once: whatever is appended or rolled meanwhile lies above them.
    pub(crate) fn read(
        &self,
        from: Offset,
        isolation: Isolation,
        max_bytes: usize,
        first: FirstBatch,
    ) -> Result<Read, ReadError> {
        let bounds = self.offsets.bounds();
        if from < bounds.log_start || from > bounds.log_end {
            let Bounds { log_start: start, log_end: end, .. } = bounds;
            return Err(ReadError::OffsetOutOfRange { start, end, found: from });
        }
        let bound = bounds.of(isolation);
        let committed = isolation == Isolation::Committed;
        let mut read = Read {
            records: bytes::Bytes::new(),
            high_watermark: bounds.high_watermark,
            last_stable_offset: bounds.last_stable,
            log_start_offset: bounds.log_start,
            log_end_offset: bounds.log_end,
            aborted: committed.then(Vec::new),
        };
        if from >= bound {
            return Ok(read);
        }
        let segments = self.segments.load();
        let Some(run) = find_run(&segments, from, bound, length(max_bytes), first)? else {
            return Ok(read);
        };
        let Some(segment) = segments.get(run.place) else { return Ok(read) };
        let end = run.position.saturating_add(run.bytes);
        let failed = |error| LogError::io(Action::Read, segment.name(), error);
        read.records = segment.file().view(run.position..end).map_err(failed)?;
        if let Some(aborted) = &mut read.aborted {
            collect_aborted(&segments, &run, from, bound, aborted);
        }
        Ok(read)
    }
}

impl Bounds {
    /// Where a reader of this isolation ends.
    pub(crate) const fn of(self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::LogEnd => self.log_end,
            Isolation::Uncommitted => self.high_watermark,
            Isolation::Committed => self.last_stable,
        }
    }
}

fn find_run<F: LogFile>(
    segments: &[Arc<Segment<F>>],
    from: Offset,
    bound: Offset,
    max_bytes: u64,
    first: FirstBatch,
) -> Result<Option<Run>, LogError> {
    let start = floor(segments, from).unwrap_or(0);
    for (place, segment) in segments.iter().enumerate().skip(start) {
        if segment.base_offset() >= bound {
            return Ok(None);
        }
        let end = segment.end();
        // Compaction may have left nothing at `from` or behind it here: then the next segment has it.
        let Some((position, head)) = segment.seek(from, end.bytes)? else { continue };
        if head.base_offset >= bound {
            return Ok(None);
        }
        let wanted = match first {
            FirstBatch::Whole => max_bytes.max(head.len),
            FirstBatch::WithinLimit if head.len > max_bytes => return Ok(None),
            FirstBatch::WithinLimit => max_bytes,
        };
        let (limit, below) = if end.offset <= bound {
            (end.bytes, None)
        } else {
            // Most reads end far below the bound: then it is not looked for.
            let below = segment.below(head.base_offset, position, wanted);
            match below.filter(|below| *below <= bound) {
                Some(below) => (end.bytes, Some(below)),
                None => {
                    let found = segment.seek(bound, end.bytes)?;
                    (found.map_or(end.bytes, |(position, _)| position), None)
                }
            }
        };
        let Some(room) = limit.checked_sub(position).filter(|room| *room > 0) else {
            return Ok(None);
        };
        let bytes = wanted.min(room);
        return Ok(Some(Run { place, position, bytes, first: head.base_offset, below }));
    }
    Ok(None)
}

/// Adds the aborted transactions that touch what is read, by first offset: clients work through the list as it comes.
fn collect_aborted<F: LogFile>(
    segments: &[Arc<Segment<F>>],
    run: &Run,
    from: Offset,
    bound: Offset,
    into: &mut Vec<AbortedTxn>,
) {
    let Some(segment) = segments.get(run.place) else { return };
    let end = run
        .below
        .or_else(|| segment.below(run.first, run.position, run.bytes))
        .unwrap_or_else(|| segment.end().offset)
        .min(bound);
    for segment in segments.iter().skip(run.place) {
        if segment.indexes().txn().collect(from, end, into) == Collected::Complete {
            break;
        }
    }
    into.sort_unstable_by_key(|txn| txn.first_offset);
}
