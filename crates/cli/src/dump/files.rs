//! Single files: one line per batch or entry.

use std::io::Write;

use hanbeon_log::{
    Dir, FileName, FsDir, LeaderEpochs, LogError, LogFile, Open, SegmentFile, SegmentFileName,
    checkpoint::{self, read_small, read_whole},
    inspect::{
        Batches, Defect, Finding, INDEX_BYTES_MAX, SidecarContents, SnapshotContents, any_span,
        read_offset_index, read_time_index, read_txn_index,
    },
    partition_metadata,
};
use serde::Serialize;

use super::{
    DumpError, Form, Health,
    json::{
        Batch, CheckpointEntry, DamageLine, EpochLine, Metadata, OffsetEntry, Producer, TimeEntry,
        TxnEntry, Window,
    },
    progress::Progress,
    text,
};

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Segment(SegmentFileName),
    Offsets,
    Epochs,
    Metadata,
}

/// One file on its way out.
struct Show<'a, W> {
    dir: &'a FsDir,
    name: &'a FileName,
    form: Form,
    out: &'a mut W,
    findings: Vec<Finding>,
}

impl Kind {
    pub(super) fn of(name: &str) -> Option<Self> {
        match name {
            checkpoint::RECOVERY_POINTS
            | checkpoint::LOG_STARTS
            | checkpoint::HIGH_WATERMARKS
            | checkpoint::CLEANER_OFFSETS => Some(Self::Offsets),
            "leader-epoch-checkpoint" => Some(Self::Epochs),
            partition_metadata::FILE_NAME => Some(Self::Metadata),
            other => SegmentFileName::parse(other).map(Self::Segment),
        }
    }
}

/// Shows one file.
pub(super) fn show(
    dir: &FsDir,
    name: &FileName,
    kind: Kind,
    form: Form,
    out: &mut impl Write,
) -> Result<Health, DumpError> {
    let mut show = Show { dir, name, form, out, findings: Vec::new() };
    if form == Form::Text {
        writeln!(show.out, "{name}")?;
    }
    match kind {
        Kind::Segment(segment) => show.segment_file(segment)?,
        Kind::Offsets => show.offsets()?,
        Kind::Epochs => show.epochs()?,
        Kind::Metadata => show.metadata()?,
    }
    match form {
        Form::Text => text::findings(&show.findings, show.out)?,
        Form::Json => {
            for finding in &show.findings {
                line(show.out, &DamageLine::new(finding))?;
            }
        }
    }
    Ok(Health::of(&show.findings))
}

/// Writes one object and ends the line.
pub(super) fn line(out: &mut impl Write, value: &impl Serialize) -> Result<(), DumpError> {
    serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

impl<W: Write> Show<'_, W> {
    fn segment_file(&mut self, name: SegmentFileName) -> Result<(), DumpError> {
        let base = name.base_offset;
        match name.kind {
            SegmentFile::Log => self.batches(base.get()),
            SegmentFile::OffsetIndex => {
                let Some(bytes) = self.bytes()? else { return Ok(()) };
                let index = read_offset_index(&bytes, any_span(base));
                self.findings.extend(index.finding(self.name));
                for entry in &index.entries {
                    self.entry(*entry, text::offset_entry, OffsetEntry::from)?;
                }
                self.padding(&index)
            }
            SegmentFile::TimeIndex => {
                let Some(bytes) = self.bytes()? else { return Ok(()) };
                let index = read_time_index(&bytes, any_span(base));
                self.findings.extend(index.finding(self.name));
                for entry in &index.entries {
                    self.entry(*entry, text::time_entry, TimeEntry::from)?;
                }
                self.padding(&index)
            }
            SegmentFile::TxnIndex => {
                let Some(bytes) = self.bytes()? else { return Ok(()) };
                let index = read_txn_index(&bytes, any_span(base));
                self.findings.extend(index.finding(self.name));
                for entry in &index.entries {
                    self.entry(*entry, text::aborted, TxnEntry::from)?;
                }
                Ok(())
            }
            SegmentFile::Snapshot => {
                let Some(bytes) = self.bytes()? else { return Ok(()) };
                let snapshot = SnapshotContents::parse(&bytes);
                self.findings.extend(snapshot.error.map(|error| self.finding(error)));
                for entry in snapshot.entries {
                    self.entry(entry, |entry, out| text::producer(&entry, out), Producer::from)?;
                }
                Ok(())
            }
            SegmentFile::Producers => {
                let Some(bytes) = self.bytes()? else { return Ok(()) };
                let sidecar = SidecarContents::parse(&bytes);
                self.findings.extend(sidecar.error.map(|error| self.finding(error)));
                for entry in &sidecar.entries {
                    self.entry(entry, text::window, Window::from)?;
                }
                Ok(())
            }
        }
    }

    fn batches(&mut self, segment: i64) -> Result<(), DumpError> {
        let failed = |source| DumpError::Open { path: self.name.to_string(), source };
        let file = self.dir.open(self.name, Open::Read).map_err(failed)?;
        let mut batches = Batches::new(&file).map_err(failed)?;
        let progress = Progress::begin(batches.file_len());
        if self.form == Form::Text {
            text::batch_header(self.out)?;
        }
        loop {
            let at = batches.position();
            match batches.next().map_err(failed)? {
                Ok(None) => return Ok(()),
                Ok(Some(stored)) => {
                    if let Err(error) = stored.checksum {
                        self.findings.push(self.at(at, error));
                    }
                    match self.form {
                        Form::Text => text::batch(&stored, self.out)?,
                        Form::Json => line(self.out, &Batch::new(segment, &stored))?,
                    }
                    progress.advance(u64::try_from(stored.batch.bytes().len()).unwrap_or(0));
                }
                Err(defect) => {
                    self.findings.push(self.at(at, defect));
                    return Ok(());
                }
            }
        }
    }

    fn offsets(&mut self) -> Result<(), DumpError> {
        let Some(bytes) = self.bytes()? else { return Ok(()) };
        match checkpoint::parse_offsets(&bytes) {
            Ok(offsets) => {
                for (at, offset) in &offsets {
                    let (topic, partition, offset) =
                        (at.topic.as_str(), at.partition, offset.get());
                    match self.form {
                        Form::Text => writeln!(self.out, "{topic}-{partition}  offset {offset}")?,
                        Form::Json => {
                            line(self.out, &CheckpointEntry { topic, partition, offset })?;
                        }
                    }
                }
            }
            Err(error) => self.findings.push(self.finding(error)),
        }
        Ok(())
    }

    fn epochs(&mut self) -> Result<(), DumpError> {
        let Some(bytes) = self.bytes()? else { return Ok(()) };
        match LeaderEpochs::parse(&bytes) {
            Ok(epochs) => {
                for entry in epochs.entries() {
                    let (epoch, start_offset) = (entry.epoch.get(), entry.start_offset.get());
                    match self.form {
                        Form::Text => {
                            writeln!(self.out, "epoch {epoch:>6} from offset {start_offset} on")?;
                        }
                        Form::Json => line(self.out, &EpochLine { epoch, start_offset })?,
                    }
                }
            }
            Err(error) => self.findings.push(self.finding(error)),
        }
        Ok(())
    }

    fn metadata(&mut self) -> Result<(), DumpError> {
        let Some(bytes) = self.bytes()? else { return Ok(()) };
        match partition_metadata::parse(&bytes) {
            Ok(id) => match self.form {
                Form::Text => writeln!(self.out, "topic id {id}")?,
                Form::Json => line(self.out, &Metadata { topic_id: id.to_string() })?,
            },
            Err(error) => self.findings.push(self.finding(error)),
        }
        Ok(())
    }

    /// One entry in the form asked for.
    fn entry<T: Copy, J: Serialize>(
        &mut self,
        entry: T,
        write: impl Fn(T, &mut W) -> std::io::Result<()>,
        object: impl Fn(T) -> J,
    ) -> Result<(), DumpError> {
        match self.form {
            Form::Text => write(entry, self.out).map_err(DumpError::from),
            Form::Json => line(self.out, &object(entry)),
        }
    }

    fn padding<T>(
        &mut self,
        index: &hanbeon_log::inspect::IndexContents<T>,
    ) -> Result<(), DumpError> {
        if self.form == Form::Text {
            text::padding(index, self.out)?;
        }
        Ok(())
    }

    /// All bytes; none, and a finding, when there are too many.
    fn bytes(&mut self) -> Result<Option<Vec<u8>>, DumpError> {
        let failed = |source| DumpError::Open { path: self.name.to_string(), source };
        let small = Kind::of(self.name.as_str()).is_some_and(|kind| match kind {
            Kind::Segment(_) => false,
            Kind::Offsets | Kind::Epochs | Kind::Metadata => true,
        });
        if small {
            return match read_small(self.dir, self.name) {
                Ok(bytes) => Ok(Some(bytes.unwrap_or_default())),
                Err(LogError::Corrupt(found)) => {
                    self.findings.push(self.at(found.at, found.damage));
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            };
        }
        let file = self.dir.open(self.name, Open::Read).map_err(failed)?;
        if let Some(bytes) = read_whole(&file, INDEX_BYTES_MAX).map_err(failed)? {
            return Ok(Some(bytes));
        }
        let (limit, found) = (INDEX_BYTES_MAX, file.len().map_err(failed)?);
        self.findings.push(self.finding(hanbeon_log::Damage::Oversize { limit, found }));
        Ok(None)
    }

    fn finding(&self, defect: impl Into<Defect>) -> Finding {
        self.at(0, defect)
    }

    fn at(&self, at: u64, defect: impl Into<Defect>) -> Finding {
        Finding { file: self.name.to_string(), at, defect: defect.into() }
    }
}
