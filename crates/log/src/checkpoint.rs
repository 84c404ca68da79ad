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
    let lines =
        offsets.iter().map(|(at, offset)| format!("{} {} {offset}", at.topic, at.partition));
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
/// What the storage reports. A sync that failed is lost for good, so the caller must take the directory for poisoned then.
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
    dir.sync().map_err(|error| LogError::sync_dir(dir.display(), error))
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
        Err(error) => return Err(LogError::io(Action::Open, path(dir, name), error)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemDir;

    fn at(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: TopicName::new(topic).unwrap(), partition }
    }

    fn name() -> FileName {
        FileName::new(RECOVERY_POINTS).unwrap()
    }

    #[test]
    fn text_is_kafkas() {
        let offsets = [
            (at("orders", 1), Offset::new(4)),
            (at("orders", 0), Offset::new(17)),
            (at("a.b-c", 10), Offset::new(i64::MAX)),
        ];
        let text = "0\n3\na.b-c 10 9223372036854775807\norders 0 17\norders 1 4\n";
        assert_eq!(format_offsets(&offsets.clone().into()), text.as_bytes());
        assert_eq!(parse_offsets(text.as_bytes()), Ok(offsets.into()));
        assert_eq!(format_offsets(&BTreeMap::new()), b"0\n0\n");
        assert_eq!(parse_offsets(b"0\n0\n"), Ok(BTreeMap::new()));
    }

    #[test]
    fn any_order_and_any_white_space_is_read() {
        let read = parse_offsets(b"0\n2\n  orders\t1   4 \r\norders 0 17");
        let offsets = [(at("orders", 0), Offset::new(17)), (at("orders", 1), Offset::new(4))];
        assert_eq!(read, Ok(offsets.into()));
    }

    #[test]
    fn a_line_that_comes_twice_counts_as_the_later_one() {
        let read = parse_offsets(b"0\n2\norders 0 17\norders 0 4\n").unwrap();
        assert_eq!(read, [(at("orders", 0), Offset::new(4))].into());
    }

    #[test]
    fn an_empty_file_holds_no_entries() {
        assert_eq!(parse_offsets(b""), Ok(BTreeMap::new()));
    }

    #[test]
    fn says_which_line_is_wrong() {
        let quote = String::from;
        let wrong = |text: &str| parse_offsets(text.as_bytes()).unwrap_err();
        assert_eq!(wrong("1\n0\n"), CheckpointError::Version { found: quote("1") });
        assert_eq!(wrong("\n"), CheckpointError::Version { found: quote("") });
        assert_eq!(wrong("0"), CheckpointError::Count { lines: 0, found: quote("") });
        assert_eq!(wrong("0\nx\n"), CheckpointError::Count { lines: 0, found: quote("x") });
        assert_eq!(wrong("0\n2\nt 0 1\n"), CheckpointError::Count { lines: 1, found: quote("2") });
        assert_eq!(wrong("0\n0\nt 0 1\n"), CheckpointError::Count { lines: 1, found: quote("0") });
        assert_eq!(wrong("0\n-1\n"), CheckpointError::Count { lines: 0, found: quote("-1") });
        for line in ["t 0", "t 0 1 2", "", "t x 1", "t 0 99999999999999999999", "../t 0 1"] {
            let text = format!("0\n2\nt 0 1\n{line}\n");
            let expected = CheckpointError::Line { line: 4, found: quote(line) };
            assert_eq!(wrong(&text), expected, "{line:?}");
        }
        assert_eq!(parse_offsets(b"0\n\xff"), Err(CheckpointError::NotText { at: 2 }));
        let long = format!("0\n1\n{}\n", "x".repeat(5000));
        assert_eq!(wrong(&long), CheckpointError::Line { line: 3, found: "x".repeat(60) });
    }

    #[test]
    fn a_claimed_count_allocates_nothing() {
        assert!(parse_offsets(b"0\n99999999999\nt 0 1\n").is_err());
    }

    #[test]
    fn a6_files_are_replaced_as_a_whole() {
        let dir = MemDir::new();
        assert_eq!(read_offsets(&dir, &name()).unwrap(), BTreeMap::new(), "absent is empty");
        let many = (0..50).map(|partition| (at("t", partition), Offset::new(1))).collect();
        write_offsets(&dir, &name(), &many).unwrap();
        let one = [(at("t", 0), Offset::new(2))].into();
        write_offsets(&dir, &name(), &one).unwrap();
        assert_eq!(read_offsets(&dir, &name()).unwrap(), one, "nothing of the longer one is left");
        assert_eq!(dir.list().unwrap().len(), 1, "nothing is left aside");
    }

    #[test]
    fn c16_a_longer_file_left_aside_by_a_crash_does_not_show_through() {
        let dir = MemDir::new();
        let aside = FileName::new(format!("{RECOVERY_POINTS}.tmp")).unwrap();
        let file = dir.open(&aside, Open::Create).unwrap();
        file.write_at(&[IoSlice::new(&[b'x'; 500])], 0).unwrap();
        write_atomically(&dir, &name(), b"0\n0\n").unwrap();
        assert_eq!(read_small(&dir, &name()).unwrap().unwrap(), b"0\n0\n");
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = MemDir::new();
        write_atomically(&dir, &name(), b"nonsense").unwrap();
        let error = read_offsets(&dir, &name()).unwrap_err();
        let LogError::Corrupt(Corruption { file, .. }) = &error else { panic!("{error}") };
        assert!(file.ends_with("/recovery-point-offset-checkpoint"), "{file}");
    }

    #[test]
    fn a_file_of_impossible_size_is_not_read() {
        let dir = MemDir::new();
        let file = dir.open(&name(), Open::Create).unwrap();
        file.set_len(SMALL_FILE_BYTES_MAX + 1).unwrap();
        assert_eq!(read_whole(&file, SMALL_FILE_BYTES_MAX).unwrap(), None);
        assert!(matches!(read_small(&dir, &name()), Err(LogError::Corrupt(_))));
    }
}
