//! A partition's directory: its batches as they come, then what they come to.

use std::io::{self, Write};

use hanbeon_log::{
    FsDir, PartitionDirName,
    inspect::{Beside, StoredBatch, StoredRecord, Visibility, Visitor, inspect},
};
use hanbeon_records::Offset;

use super::{
    DumpError, Form, Health,
    hash::{self, Canonical},
    json,
    progress::Progress,
    text,
};

/// Prints batches and counts records.
struct Printer<'a, W> {
    form: Form,
    out: &'a mut W,
    segment: Offset,
    batches: u64,
    /// The line of one record, for hashing.
    line: String,
    uncommitted: Canonical,
    committed: Canonical,
    progress: Progress,
}

/// Shows one partition. The checkpoint files are looked for in `beside`.
pub(super) fn show(
    dir: &FsDir,
    beside: &FsDir,
    name: &str,
    form: Form,
    out: &mut impl Write,
) -> Result<Health, DumpError> {
    let beside = match PartitionDirName::parse(name) {
        Some(name) => Beside::read(beside, &name.partition)?,
        // Moved away under another name: no checkpoint can speak of it.
        None => Beside::default(),
    };
    match form {
        Form::Text => writeln!(out, "{name}")?,
        Form::Json => write!(out, "{{\"batches\":[")?,
    }
    // Text shows no offsets of records.
    let canonical = || match form {
        Form::Text => Canonical::without_offsets(),
        Form::Json => Canonical::with_offsets(),
    };
    let mut printer = Printer {
        form,
        out,
        segment: Offset::ZERO,
        batches: 0,
        line: String::new(),
        uncommitted: canonical(),
        committed: canonical(),
        progress: Progress::default(),
    };
    let inspected = inspect(dir, beside, &mut printer)?;
    let Printer { out, uncommitted, committed, .. } = printer;
    let (uncommitted, committed) = (uncommitted.finish(), committed.finish());
    match form {
        Form::Text => text::partition(&inspected, &uncommitted, &committed, out)?,
        Form::Json => {
            let rest = json::Partition::new(&inspected, uncommitted, committed);
            // The batches were the first field of the same object, whose brace is written.
            out.write_all(b"],")?;
            let behind = Behind { out: &mut *out, skip: 1 };
            serde_json::to_writer(behind, &rest).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(Health::of(&inspected.findings))
}

/// Leaves out the first bytes of what is written, so that a whole object can go on with one that was begun.
struct Behind<'a, W> {
    out: &'a mut W,
    skip: usize,
}

impl<W: Write> Write for Behind<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.out.write_all(bytes.get(skipped..).unwrap_or_default())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Visitor for Printer<'_, W> {
    fn begin(&mut self, bytes: u64) {
        self.progress = Progress::begin(bytes);
    }

    fn segment(&mut self, base_offset: Offset) -> io::Result<()> {
        self.segment = base_offset;
        if self.form == Form::Text {
            writeln!(self.out, "\nsegment {:020}.log", base_offset.get())?;
            text::batch_header(self.out)?;
        }
        Ok(())
    }

    fn batch(&mut self, batch: &StoredBatch<'_>) -> io::Result<()> {
        match self.form {
            Form::Text => text::batch(batch, self.out)?,
            Form::Json => {
                if self.batches > 0 {
                    self.out.write_all(b",")?;
                }
                let object = json::Batch::new(self.segment.get(), batch);
                serde_json::to_writer(&mut *self.out, &object)?;
            }
        }
        self.batches = self.batches.saturating_add(1);
        Ok(())
    }

    fn record(&mut self, record: &StoredRecord<'_>) -> io::Result<()> {
        hash::line(record, &mut self.line);
        let offset = record.offset.get();
        self.uncommitted.add(offset, self.line.as_bytes());
        match record.visibility {
            Visibility::Committed => self.committed.add(offset, self.line.as_bytes()),
            Visibility::Aborted | Visibility::Unstable => {}
        }
        Ok(())
    }

    fn advanced(&mut self, bytes: u64) {
        self.progress.advance(bytes);
    }
}
