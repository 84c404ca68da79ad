//! Small text files that say how far something is, replaced as a whole.
//!
//! ```text
//! 0                  format version
//! 2                  number of entries
//! orders 0 17        one entry a line: topic, partition, offset (in the leader-epoch file: epoch, start offset)
//! orders 1 4
//! ```

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::{self, IoSlice},
    str::SplitAsciiWhitespace,
};

use hanbeon_records::{Offset, TopicName, TopicPartition};

use crate::{
    Dir, FileName, LogFile, Open,
    error::{Action, Corruption, Damage, LogError},
};

/// File of the recovery points in a data directory.
pub const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// File of the log start offsets in a data directory.
pub const LOG_STARTS: &str = "log-start-offset-checkpoint";
/// File of the high watermarks in a data directory.
pub const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
/// File of the first offsets that compaction did not see, in a data directory.
pub const CLEANER_OFFSETS: &str = "cleaner-offset-checkpoint";

/// The largest small file that is read. 16 MiB of checkpoints name some 200,000 partitions.
const SMALL_FILE_BYTES_MAX: u64 = 16 << 20;

/// How much of a refused line an error quotes, in characters.
const QUOTE_CHARS_MAX: usize = 60;

/// Why a checkpoint file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// Not text.
    #[error("a checkpoint file is UTF-8 text, found byte {at} to be none")]
    NotText {
        /// Place of the first byte that is not UTF-8.
        at: usize,
    },
    /// A first line that is not `0`.
    #[error("the first line of a checkpoint file is its version, 0, found {found:?}")]
    Version {
        /// The line, cut short.
        found: String,
    },
    /// A second line that is not the number of lines that follow.
    #[error("the second line says how many lines follow, {lines} do, found {found:?}")]
    Count {
        /// Lines that follow.
        lines: usize,
        /// The line, cut short.
        found: String,
    },
    /// A line that is no entry.
    #[error("line {line} is no entry: {found:?}")]
    Line {
        /// From 1, as editors count.
        line: usize,
        /// The line, cut short.
        found: String,
    },
}

/// Reads an offset checkpoint. An empty file holds no entries; of two lines for one partition the later counts.
///
/// # Errors
/// Which line is wrong.
pub fn parse_offsets(bytes: &[u8]) -> Result<BTreeMap<TopicPartition, Offset>, CheckpointError> {
    let entries = parse_lines(bytes, |words| {
        let topic = TopicName::new(words.next()?).ok()?;
        let partition = words.next()?.parse().ok()?;
        let offset = words.next()?.parse().ok()?;
        Some((TopicPartition { topic, partition }, Offset::new(offset)))
    })?;
    Ok(entries.into_iter().collect())
}

/// Writes an offset checkpoint.
#[must_use]
pub fn format_offsets(offsets: &BTreeMap<TopicPartition, Offset>) -> Vec<u8> {
    let lines = offsets.iter().map(|(at, offset)| format!("{} {} {offset}", at.topic, at.partition));
    format_lines(offsets.len(), lines)
}

/// Reads an offset checkpoint from `dir`; one that is absent holds no entries.
///
/// # Errors
/// [`LogError::Corrupt`] when the file cannot be read, else what the storage reports.
pub fn read_offsets<D: Dir>(
    dir: &D,
    name: &FileName,
) -> Result<BTreeMap<TopicPartition, Offset>, LogError> {
    match read_small(dir, name)? {
        Some(bytes) => parse_offsets(&bytes).map_err(|error| corrupt(dir, name, error.into())),
        None => Ok(BTreeMap::new()),
    }
}

/// Replaces an offset checkpoint in `dir`, durably.
///
/// # Errors
/// What the storage reports; the file is then the old or the new one.
pub fn write_offsets<D: Dir>(
    dir: &D,
    name: &FileName,
    offsets: &BTreeMap<TopicPartition, Offset>,
) -> Result<(), LogError> {
    write_atomically(dir, name, &format_offsets(offsets))
}

/// Replaces the file `name` by `bytes`, durably: a reader after any crash finds all of the old or all of the new.
///
/// Writes `name.tmp`, syncs it, renames it, syncs the directory.
///
/// # Errors
/// What the storage reports. After one a sync may be lost for good, so the caller must take the directory for poisoned.
pub fn write_atomically<D: Dir>(dir: &D, name: &FileName, bytes: &[u8]) -> Result<(), LogError> {
    let aside = FileName::new(format!("{name}.tmp"))
        .map_err(|error| LogError::io(Action::Open, path(dir, name), error))?;
    let failed = |action| {
        let file = path(dir, &aside);
        move |error| LogError::io(action, file, error)
    };
    let file = dir.open(&aside, Open::Create).map_err(failed(Action::Open))?;
    file.set_len(0).map_err(failed(Action::Resize))?;
    file.write_at(&[IoSlice::new(bytes)], 0).map_err(failed(Action::Write))?;
    file.sync().map_err(failed(Action::Sync))?;
    drop(file);
    dir.rename(&aside, name).map_err(failed(Action::Rename))?;
    dir.sync().map_err(|error| LogError::io(Action::SyncDir, dir.display(), error))
}

/// All bytes of `file`, when there are no more than `limit`; `None` when there are.
///
/// # Errors
/// What the storage reports.
pub fn read_whole<F: LogFile>(file: &F, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let len = file.len()?;
    if len > limit {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

/// All bytes of a small file in `dir`; `None` when it is absent.
///
/// # Errors
/// [`LogError::Corrupt`] when it has more than 16 MiB, else what the storage reports.
pub fn read_small<D: Dir>(dir: &D, name: &FileName) -> Result<Option<Vec<u8>>, LogError> {
    let failed = |error| LogError::io(Action::Read, path(dir, name), error);
    let file = match dir.open(name, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    match read_whole(&file, SMALL_FILE_BYTES_MAX).map_err(failed)? {
        Some(bytes) => Ok(Some(bytes)),
        None => {
            let found = file.len().map_err(failed)?;
            Err(corrupt(dir, name, Damage::Oversize { limit: SMALL_FILE_BYTES_MAX, found }))
        }
    }
}

/// Directory and name, for messages.
pub(crate) fn path<D: Dir>(dir: &D, name: &FileName) -> String {
    format!("{}/{name}", dir.display())
}

pub(crate) fn corrupt<D: Dir>(dir: &D, name: &FileName, damage: Damage) -> LogError {
    LogError::Corrupt(Corruption { file: path(dir, name), at: 0, damage })
}

/// Reads version, count and as many entries.
pub(crate) fn parse_lines<T>(
    bytes: &[u8],
    entry: impl Fn(&mut SplitAsciiWhitespace<'_>) -> Option<T>,
) -> Result<Vec<T>, CheckpointError> {
    let text = str::from_utf8(bytes)
        .map_err(|error| CheckpointError::NotText { at: error.valid_up_to() })?;
    let mut lines = text.lines().enumerate();
    let Some((_, version)) = lines.next() else {
        return Ok(Vec::new());
    };
    if version.trim_ascii() != "0" {
        return Err(CheckpointError::Version { found: quote(version) });
    }
    let count = lines.next().map_or("", |(_, line)| line);
    let mut found = Vec::new();
    for (place, line) in lines {
        let mut words = line.split_ascii_whitespace();
        match (entry(&mut words), words.next()) {
            (Some(entry), None) => found.push(entry),
            (Some(_) | None, _) => {
                let line_number = place.saturating_add(1);
                return Err(CheckpointError::Line { line: line_number, found: quote(line) });
            }
        }
    }
    if count.trim_ascii().parse() == Ok(found.len()) {
        Ok(found)
    } else {
        Err(CheckpointError::Count { lines: found.len(), found: quote(count) })
    }
}

/// Writes version, count and entries.
pub(crate) fn format_lines<T: Display>(count: usize, lines: impl Iterator<Item = T>) -> Vec<u8> {
    let mut text = format!("0\n{count}\n");
    for line in lines {
        text.push_str(&line.to_string());
        text.push('\n');
    }
    text.into_bytes()
}

fn quote(line: &str) -> String {
    line.chars().take(QUOTE_CHARS_MAX).collect()
}
