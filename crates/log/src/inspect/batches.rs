//! The batches of a `.log` file, one after the other.

use std::io;

use hanbeon_records::{
    BatchError, BatchRef, Codec, Control, ControlError, HEADER_LEN, OutputLimit, Record, Records,
    decompress, read_control,
};

use super::Defect;
use crate::{LogFile, head::Head, torn::is_padding, walk::length};

/// Largest batch that is looked into: 256 MiB, far above any `max.message.bytes` in use.
pub const BATCH_BYTES_MAX: u64 = 256 << 20;

/// Bytes that are read at once.
const READ_BYTES: u64 = 256 * 1024;

const HEADER: u64 = HEADER_LEN as u64;

/// A batch and where it lies.
#[derive(Clone, Copy, Debug)]
pub struct StoredBatch<'a> {
    /// Place of its first byte in the file.
    pub position: u64,
    /// The batch as its header tells; when the checksum is wrong nothing of it can be relied on.
    pub batch: BatchRef<'a>,
    /// Whether the checksum is right: [`BatchError::Crc`] with both values when not.
    pub checksum: Result<(), BatchError>,
}

/// Walks the batches of a log.
///
/// Checksums are computed and handed on, not judged: a batch with a wrong one is still given out, and the walk goes on behind it
/// by the length in its header.
#[derive(Debug)]
pub struct Batches<'f, F> {
    file: &'f F,
    buffer: Vec<u8>,
    /// Position of the buffer's first byte.
    start: u64,
    at: u64,
    end: u64,
}

/// Why a walk ends before the file does.
#[derive(Debug)]
pub(super) enum Stop {
    Defect(Defect),
    Io(io::Error),
}

impl<'f, F: LogFile> Batches<'f, F> {
    /// From the file's first byte to what is its end now.
    ///
    /// # Errors
    /// What the storage reports.
    pub fn new(file: &'f F) -> io::Result<Self> {
        let end = file.len()?;
        Ok(Self { file, buffer: Vec::new(), start: 0, at: 0, end })
    }

    /// Place of the next batch, or of what is wrong after [`Self::next`] said so.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.at
    }

    /// Bytes in the file when the walk began.
    #[must_use]
    pub const fn file_len(&self) -> u64 {
        self.end
    }

    /// The next batch; `None` at the end. The inner error says why no batch begins at [`Self::position`], and comes again on every
    /// further call.
    ///
    /// # Errors
    /// What the storage reports.
    #[expect(clippy::should_implement_trait, reason = "what is given out borrows the buffer")]
    pub fn next(&mut self) -> Result<Result<Option<StoredBatch<'_>>, Defect>, io::Error> {
        match self.step() {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(None)),
            Err(Stop::Defect(defect)) => return Ok(Err(defect)),
            Err(Stop::Io(error)) => return Err(error),
        }
        let position = self.at;
        let skip = usize::try_from(position.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let bytes = self.buffer.get(skip..).unwrap_or_default();
        let batch = match BatchRef::parse(bytes) {
            Ok((batch, _)) => batch,
            Err(error) => return Ok(Err(error.into())),
        };
        self.at = position.saturating_add(length(batch.bytes().len()));
        let checksum = batch.verify().map(drop);
        Ok(Ok(Some(StoredBatch { position, batch, checksum })))
    }

    /// Makes the buffer hold the batch at the current position; false at the end.
    fn step(&mut self) -> Result<bool, Stop> {
        let left = self.end.saturating_sub(self.at);
        if left == 0 {
            return Ok(false);
        }
        if left < HEADER {
            return Err(self.wrong(truncated(HEADER, left)));
        }
        self.fill(HEADER)?;
        let head = match Head::parse(self.here()) {
            Ok(head) => head,
            Err(error) => return Err(self.wrong(error)),
        };
        if head.len > left {
            return Err(self.wrong(truncated(head.len, left)));
        }
        if head.len > BATCH_BYTES_MAX {
            let (limit, found) = (BATCH_BYTES_MAX, head.len);
            return Err(Stop::Defect(Defect::BatchSize { limit, found }));
        }
        self.fill(head.len)?;
        Ok(true)
    }

    /// Zeroes to the end have a name of their own.
    fn wrong(&self, error: BatchError) -> Stop {
        match is_padding(self.file, self.at, self.end) {
            Ok(true) => {
                let bytes = self.end.saturating_sub(self.at);
                Stop::Defect(Defect::Padding { bytes })
            }
            Ok(false) => Stop::Defect(error.into()),
            Err(error) => Stop::Io(error),
        }
    }

    fn here(&self) -> &[u8] {
        let skip = usize::try_from(self.at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.buffer.get(skip..).unwrap_or_default()
    }

    /// Makes the buffer hold `len` bytes from the current position on; they are in the file.
    fn fill(&mut self, len: u64) -> Result<(), Stop> {
        if length(self.here().len()) >= len {
            return Ok(());
        }
        let want = len.max(READ_BYTES).min(self.end.saturating_sub(self.at));
        let want = usize::try_from(want).map_err(|error| Stop::Io(io::Error::other(error)))?;
        self.buffer.clear();
        self.buffer.resize(want, 0);
        self.start = self.at;
        self.file.read_at(&mut self.buffer, self.at).map_err(Stop::Io)
    }
}

impl StoredBatch<'_> {
    /// What the control record of the batch says; `None` for a batch of data and for one that compaction has emptied.
    ///
    /// # Errors
    /// What is wrong with the record.
    pub fn control(&self) -> Result<Option<Control>, ControlError> {
        if self.batch.attributes().is_control() { read_control(self.batch) } else { Ok(None) }
    }

    /// Calls `each` with every record, decompressed. Records before a damaged one have been given out by then.
    ///
    /// # Errors
    /// [`RecordsError::Defect`] when they cannot be read, [`RecordsError::Visitor`] with what `each` said.
    pub fn records<E>(
        &self,
        mut each: impl FnMut(&Record<'_>) -> Result<(), E>,
    ) -> Result<(), RecordsError<E>> {
        let batch = &self.batch;
        let codec = batch.attributes().codec().map_err(|found| Defect::CodecNumber { found })?;
        let mut plain = Vec::new();
        let records = if codec == Codec::None || batch.record_count() == 0 {
            batch.records().map_err(Defect::from)?
        } else {
            decompress(codec, batch.payload(), OutputLimit::STORED, &mut plain)
                .map_err(Defect::from)?;
            Records::new(batch.record_count(), &plain)
        };
        for record in records {
            each(&record.map_err(Defect::from)?).map_err(RecordsError::Visitor)?;
        }
        Ok(())
    }
}

/// Why the records of a batch were not all given out.
#[derive(Debug)]
pub enum RecordsError<E> {
    /// They cannot be read.
    Defect(Defect),
    /// Whoever was given them said so.
    Visitor(E),
}

impl<E> From<Defect> for RecordsError<E> {
    fn from(defect: Defect) -> Self {
        Self::Defect(defect)
    }
}

fn truncated(needed: u64, found: u64) -> BatchError {
    let clip = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    BatchError::Truncated { needed: clip(needed), found: clip(found) }
}
