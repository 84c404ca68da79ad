//! Going from batch to batch through the file of a segment.
//!
//! Two gaits: [`Walker`] looks at headers through views, for lookups; [`Scanner`] reads whole batches through a buffer of
//! its own, for recovery, where a bad sector must be an error value and not a signal of a map.

use std::io;

use bytes::Bytes;
use hanbeon_records::{BatchError, BatchRef, HEADER_LEN};

use crate::{
    Damage, LogFile,
    head::{Head, without_records},
};

/// Why a walk ends before the end.
#[derive(Debug)]
pub(crate) enum Fault {
    /// No sound batch begins at byte `at`.
    Damage { at: u64, damage: Damage },
    /// The storage failed.
    Io(io::Error),
}

const HEADER: u64 = HEADER_LEN as u64;

/// Headers of batches from a position on.
#[derive(Debug)]
pub(crate) struct Walker<'f, F> {
    file: &'f F,
    window: Bytes,
    /// Position of the window's first byte.
    start: u64,
    at: u64,
    end: u64,
    /// Bytes to look at once.
    step: u64,
}

impl<'f, F: LogFile> Walker<'f, F> {
    /// From byte `at`, where a batch begins, to byte `end`, where one ends.
    pub(crate) const fn new(file: &'f F, at: u64, end: u64) -> Self {
        Self { file, window: Bytes::new(), start: at, at, end, step: 16 * 1024 }
    }

    /// The next batch's position and header; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Head)>, Fault> {
        let at = self.at;
        if at >= self.end {
            return Ok(None);
        }
        let left = self.end.saturating_sub(at);
        if left < HEADER {
            return Err(truncated(at, HEADER, left));
        }
        self.fill()?;
        let skip = usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let head = Head::parse(self.window.get(skip..).unwrap_or_default())
            .map_err(|error| Fault::Damage { at, damage: error.into() })?;
        if head.len > left {
            return Err(truncated(at, head.len, left));
        }
        self.at = at.saturating_add(head.len);
        Ok(Some((at, head)))
    }

    fn fill(&mut self) -> Result<(), Fault> {
        let seen = self.start.saturating_add(length(self.window.len()));
        if self.at >= self.start && self.at.saturating_add(HEADER) <= seen {
            return Ok(());
        }
        let to = self.at.saturating_add(self.step).min(self.end);
        self.window = self.file.view(self.at..to).map_err(Fault::Io)?;
        self.start = self.at;
        Ok(())
    }
}

/// Whole batches from a position on.
#[derive(Debug)]
pub(crate) struct Scanner<'f, F> {
    file: &'f F,
    buffer: Vec<u8>,
    /// Position of the buffer's first byte.
    start: u64,
    at: u64,
    end: u64,
    /// Bytes to read at once where only a header is wanted.
    step: u64,
    /// A header that stands for its batch.
    bare: [u8; HEADER_LEN],
}

/// How much of a batch somebody wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// All of it.
    Whole,
    /// The header, as that of a batch without records. Control batches come whole: their record says what they do.
    Header,
}

/// A header, and the record of a marker behind it.
const HEADER_BYTES: u64 = 128;

/// Batches from this size on are skipped by reading their headers one by one; smaller ones come by the buffer.
const SKIPPED_BYTES_MIN: u64 = 4096;

/// Small enough to stay in the cache between being read and being summed.
const SCAN_BYTES: u64 = 256 * 1024;

impl<'f, F: LogFile> Scanner<'f, F> {
    /// From byte `at`, where a batch begins, to byte `end`.
    pub(crate) const fn new(file: &'f F, at: u64, end: u64) -> Self {
        let (step, bare) = (SCAN_BYTES, [0; HEADER_LEN]);
        Self { file, buffer: Vec::new(), start: at, at, end, step, bare }
    }

    /// The next batch and its position; `None` at the end. Its checksum is not looked at.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Head, BatchRef<'_>)>, Fault> {
        self.next_as(|_, _| Want::Whole)
    }

    /// The same, as far as it is wanted.
    pub(crate) fn next_as(
        &mut self,
        want: impl FnOnce(u64, &Head) -> Want,
    ) -> Result<Option<(u64, Head, BatchRef<'_>)>, Fault> {
        let at = self.at;
        if at >= self.end {
            return Ok(None);
        }
        let left = self.end.saturating_sub(at);
        if left < HEADER {
            return Err(truncated(at, HEADER, left));
        }
        self.fill(HEADER, self.step)?;
        let head = Head::parse(self.here()).map_err(|error| damage(at, error))?;
        if head.len > left {
            return Err(truncated(at, head.len, left));
        }
        if want(at, &head) == Want::Header && !head.control {
            self.step = if head.len < SKIPPED_BYTES_MIN { SCAN_BYTES } else { HEADER_BYTES };
            self.bare = without_records(self.here());
            self.at = at.saturating_add(head.len);
            let (batch, _) = BatchRef::parse(&self.bare).map_err(|error| damage(at, error))?;
            return Ok(Some((at, head, batch)));
        }
        self.fill(head.len, SCAN_BYTES)?;
        self.at = at.saturating_add(head.len);
        let skip = usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let bytes = self.buffer.get(skip..).unwrap_or_default();
        let (batch, _) = BatchRef::parse(bytes).map_err(|error| damage(at, error))?;
        Ok(Some((at, head, batch)))
    }

    fn here(&self) -> &[u8] {
        let skip = usize::try_from(self.at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.buffer.get(skip..).unwrap_or_default()
    }

    /// Makes the buffer hold `len` bytes from the current position on, and reads `step` where it must read; they are in the file.
    fn fill(&mut self, len: u64, step: u64) -> Result<(), Fault> {
        if length(self.here().len()) >= len {
            return Ok(());
        }
        let want = len.max(step).min(self.end.saturating_sub(self.at));
        let want = usize::try_from(want).map_err(|error| Fault::Io(io::Error::other(error)))?;
        self.buffer.resize(want, 0);
        self.file.read_at(&mut self.buffer, self.at).map_err(Fault::Io)?;
        self.start = self.at;
        Ok(())
    }
}

const fn damage(at: u64, error: BatchError) -> Fault {
    Fault::Damage { at, damage: Damage::Batch(error) }
}

fn truncated(at: u64, needed: u64, found: u64) -> Fault {
    let clip = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    damage(at, BatchError::Truncated { needed: clip(needed), found: clip(found) })
}

pub(crate) fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
