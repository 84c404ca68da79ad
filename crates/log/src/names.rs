//! How files and directories of a log are called.

use std::{fmt, io};

use hanbeon_records::{Offset, TopicName, TopicPartition};

use crate::FileName;

/// What a file of a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SegmentFile {
    /// Batches (`.log`).
    Log,
    /// Offset to position (`.index`).
    OffsetIndex,
    /// Time to offset (`.timeindex`).
    TimeIndex,
    /// Aborted transactions (`.txnindex`).
    TxnIndex,
    /// Producer states below the base offset (`.snapshot`).
    Snapshot,
    /// The older batches of the producers in the snapshot of the same name (`.producers`; ours, Kafka leaves it alone).
    Producers,
}

/// Where in its life a file of a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileStage {
    /// In use.
    Live,
    /// To be removed (`.deleted`).
    Deleted,
    /// Being written by compaction or a split; worth nothing yet (`.cleaned`).
    Cleaned,
    /// Written completely, about to replace its sources (`.swap`).
    Swap,
}

/// The name of a file of a segment: 20 decimal digits of its base offset, a suffix for its kind, one for its stage.
///
/// ```
/// use hanbeon_log::{FileStage, SegmentFile, SegmentFileName};
/// use hanbeon_records::Offset;
///
/// let name = SegmentFileName::live(Offset::new(42), SegmentFile::Log);
/// assert_eq!(name.to_string(), "00000000000000000042.log");
/// let deleted = name.at(FileStage::Deleted);
/// assert_eq!(SegmentFileName::parse("00000000000000000042.log.deleted"), Some(deleted));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentFileName {
    /// First offset the segment may hold; for a snapshot the first one it does not cover. Never negative.
    pub base_offset: Offset,
    /// What it holds.
    pub kind: SegmentFile,
    /// Where in its life it is.
    pub stage: FileStage,
}

/// Where in its life a partition's directory is. The tag keeps two directories of one partition apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DirStage {
    /// In use.
    Live,
    /// To be removed (`-delete`).
    Delete {
        /// A random number, written as 32 hexadecimal digits.
        tag: u128,
    },
    /// Being copied from another data directory (`-future`).
    Future {
        /// A random number, written as 32 hexadecimal digits.
        tag: u128,
    },
    /// Found without an owner (`-stray`).
    Stray {
        /// A random number, written as 32 hexadecimal digits.
        tag: u128,
    },
}

/// The name of a partition's directory: `topic-partition`, or `topic-partition.<tag>-delete` and the like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionDirName {
    /// The partition. In a directory on its way out the topic may be cut short.
    pub partition: TopicPartition,
    /// Where in its life it is.
    pub stage: DirStage,
}

impl SegmentFile {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Log,
        Self::OffsetIndex,
        Self::TimeIndex,
        Self::TxnIndex,
        Self::Snapshot,
        Self::Producers,
    ];

    /// What the file's name ends with.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
            Self::TxnIndex => ".txnindex",
            Self::Snapshot => ".snapshot",
            Self::Producers => ".producers",
        }
    }
}

impl FileStage {
    const ALL: [Self; 4] = [Self::Deleted, Self::Cleaned, Self::Swap, Self::Live];

    /// What comes after the suffix of the kind.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Live => "",
            Self::Deleted => ".deleted",
            Self::Cleaned => ".cleaned",
            Self::Swap => ".swap",
        }
    }
}

impl SegmentFileName {
    /// The name of a file in use.
    #[must_use]
    pub const fn live(base_offset: Offset, kind: SegmentFile) -> Self {
        Self { base_offset, kind, stage: FileStage::Live }
    }

    /// The same file in another stage.
    #[must_use]
    pub const fn at(self, stage: FileStage) -> Self {
        Self { stage, ..self }
    }

    /// Reads a name; `None` when it is none of a segment's file. Exactly 20 digits that fit 63 bits.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (digits, suffix) = name.split_at_checked(20)?;
        if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let base_offset = Offset::new(digits.parse().ok()?);
        let stage = FileStage::ALL.into_iter().find(|stage| suffix.ends_with(stage.suffix()))?;
        let suffix = suffix.strip_suffix(stage.suffix())?;
        let kind = SegmentFile::ALL.into_iter().find(|kind| kind.suffix() == suffix)?;
        Some(Self { base_offset, kind, stage })
    }

    /// The name as the storage takes it.
    ///
    /// # Panics
    /// Never: digits and a suffix are always a name.
    #[must_use]
    #[expect(clippy::expect_used, reason = "at most 40 digits, letters and dots")]
    pub fn file_name(&self) -> FileName {
        FileName::new(self.to_string()).expect("digits and a suffix are a name")
    }
}

impl fmt::Display for SegmentFileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, stage) = (self.kind.suffix(), self.stage.suffix());
        write!(f, "{:020}{kind}{stage}", self.base_offset.get())
    }
}

impl PartitionDirName {
    /// The name of a directory in use.
    #[must_use]
    pub const fn live(partition: TopicPartition) -> Self {
        Self { partition, stage: DirStage::Live }
    }

    /// Reads a directory's name; `None` when it is none of a partition. Topic and partition meet at the last `-`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (live, stage) = match name.rsplit_once('-') {
            Some((rest, "delete")) => tagged(rest, |tag| DirStage::Delete { tag })?,
            Some((rest, "future")) => tagged(rest, |tag| DirStage::Future { tag })?,
            Some((rest, "stray")) => tagged(rest, |tag| DirStage::Stray { tag })?,
            Some(_) => (name, DirStage::Live),
            None => return None,
        };
        let (topic, partition) = live.rsplit_once('-')?;
        let plain = partition.bytes().all(|digit| digit.is_ascii_digit())
            && (partition == "0" || !partition.starts_with('0'));
        if !plain {
            return None;
        }
        let topic = TopicName::new(topic).ok()?;
        Some(Self {
            partition: TopicPartition { topic, partition: partition.parse().ok()? },
            stage,
        })
    }

    /// The name as the storage takes it. Where it would exceed 255 bytes the topic is cut.
    ///
    /// # Errors
    /// `InvalidInput` when the partition's number is negative.
    pub fn file_name(&self) -> io::Result<FileName> {
        let TopicPartition { topic, partition } = &self.partition;
        if *partition < 0 {
            let text = format!("a partition's number is 0 or more, found {partition}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (tag, word) = match self.stage {
            DirStage::Live => return FileName::new(format!("{topic}-{partition}")),
            DirStage::Delete { tag } => (tag, "delete"),
            DirStage::Future { tag } => (tag, "future"),
            DirStage::Stray { tag } => (tag, "stray"),
        };
        let end = format!("-{partition}.{tag:032x}-{word}");
        let room = 255_usize.saturating_sub(end.len());
        let topic = topic.as_str();
        FileName::new(format!("{}{end}", topic.get(..room).unwrap_or(topic)))
    }
}

fn tagged(rest: &str, stage: impl Fn(u128) -> DirStage) -> Option<(&str, DirStage)> {
    let (live, digits) = rest.rsplit_once('.')?;
    let plain = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let tag = u128::from_str_radix(digits, 16).ok().filter(|_| plain)?;
    Some((live, stage(tag)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    #[test]
    fn segment_files_are_read_as_they_are_written() {
        for kind in SegmentFile::ALL {
            for stage in FileStage::ALL {
                for base in [0, 42, i64::MAX] {
                    let name = SegmentFileName::live(Offset::new(base), kind).at(stage);
                    assert_eq!(SegmentFileName::parse(&name.to_string()), Some(name));
                    assert_eq!(name.file_name().as_str(), name.to_string());
                }
            }
        }
        assert_eq!(
            SegmentFileName::live(Offset::new(i64::MAX), SegmentFile::TxnIndex).to_string(),
            "09223372036854775807.txnindex"
        );
    }

    #[test]
    fn other_files_are_no_segments() {
        for name in [
            "",
            ".log",
            "0.log",
            "00000000000000000042",
            "00000000000000000042.logs",
            "00000000000000000042.deleted",
            "00000000000000000042.log.deleted.swap",
            "0000000000000000004x.log",
            "+0000000000000000042.log",
            "99999999999999999999.log",
            "leader-epoch-checkpoint",
            "\u{e9}0000000000000000000.log",
        ] {
            assert_eq!(SegmentFileName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn topic_and_partition_meet_at_the_last_dash() {
        let name = PartitionDirName::parse("a-b-12").unwrap();
        assert_eq!(name.partition.topic, topic("a-b"));
        assert_eq!((name.partition.partition, name.stage), (12, DirStage::Live));
        let future = PartitionDirName::parse("t-future-3").unwrap();
        assert_eq!((future.partition.topic, future.stage), (topic("t-future"), DirStage::Live));
    }

    #[test]
    fn directories_are_read_as_they_are_written() {
        let partition = TopicPartition { topic: topic("a.b-c"), partition: 7 };
        let tag = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        let stages = [
            (DirStage::Live, "a.b-c-7"),
            (DirStage::Delete { tag }, "a.b-c-7.0123456789abcdef0123456789abcdef-delete"),
            (DirStage::Future { tag }, "a.b-c-7.0123456789abcdef0123456789abcdef-future"),
            (DirStage::Stray { tag }, "a.b-c-7.0123456789abcdef0123456789abcdef-stray"),
        ];
        for (stage, text) in stages {
            let name = PartitionDirName { partition: partition.clone(), stage };
            assert_eq!(name.file_name().unwrap().as_str(), text);
            assert_eq!(PartitionDirName::parse(text), Some(name));
        }
    }

    #[test]
    fn a_directory_to_be_deleted_keeps_its_name_below_256_bytes() {
        let partition = TopicPartition { topic: topic(&"x".repeat(249)), partition: i32::MAX };
        let live = PartitionDirName::live(partition.clone());
        assert!(live.file_name().is_err(), "260 bytes are no name");
        let gone = PartitionDirName { partition, stage: DirStage::Delete { tag: 1 } };
        let name = gone.file_name().unwrap();
        assert_eq!(name.as_str().len(), 255);
        assert!(PartitionDirName::parse(name.as_str()).is_some());
    }

    #[test]
    fn other_directories_are_no_partitions() {
        for name in [
            "",
            "topic",
            "-0",
            "topic-",
            "topic-01",
            "topic-+1",
            "topic-2147483648",
            "remote-log-index-cache",
            "t-0.123-delete",
            "t-0-delete",
            "t.0123456789abcdef0123456789abcdef-delete",
            "t-0.0123456789abcdef0123456789abcde+-delete",
        ] {
            assert_eq!(PartitionDirName::parse(name), None, "{name}");
        }
        let dash = PartitionDirName::parse("topic--1x");
        assert_eq!(dash, None);
    }
}
