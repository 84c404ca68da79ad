//! One partition's log in Apache Kafka's on-disk format: segments, indexes, producer snapshots, recovery, group commit.
//!
//! It knows no network, no coordinator and no async runtime, starts no thread and reads no clock. Which directory it lives in, and on
//! which storage, is the caller's choice ([`Dir`]); a directory that Kafka wrote opens here, and ours opens there.
//!
//! ```text
//!            append(bytes, now)                                    read(from, isolation, ..)
//!                  |                                                        |
//!   validate: CRC, counts, times, codec      (no lock)                      | bounds: high watermark, stable offset, end
//!                  |                                                        | (no lock)
//!   Group: whoever finds nobody leading leads                               v
//!                  |                                               Segments -> floor(from) -> index -> headers
//!   PartitionLog (one owner at a time)                                      |
//!     admit -> roll -> epoch file -> stamp -> ONE write                     v
//!     record -> indexes -> publish the end (one Release store) ----->  bytes, not copied
//!                  |
//!   SyncGroup: whoever leads syncs what was written before it began
//! ```
//!
//! ```
//! use bytes::Bytes;
//! use hanbeon_idempotence::{FirstWrite, Verification};
//! use hanbeon_log::{
//!     FirstBatch, Isolation, LogConfig, MemDir, OpenPartition, Partition, Poison, Shutdown,
//! };
//! use hanbeon_records::{
//!     BatchBuilder, BatchKind, BatchSettings, Codec, CompressionLevel, LeaderEpoch, Millis, NewRecord,
//!     Offset, TimestampType,
//! };
//!
//! let options = OpenPartition {
//!     config: LogConfig::kafka_defaults(),
//!     shutdown: Shutdown::Unclean,
//!     recovery_point: Offset::ZERO,
//!     log_start: None,
//!     high_watermark: None,
//!     leader_epoch: LeaderEpoch::new(0),
//!     topic_id: None,
//!     verification: Verification::On,
//!     first_write: FirstWrite::FromZero,
//!     hash_seed: 1, // random in earnest
//!     jitter_seed: 1,
//!     now: Millis::new(1_700_000_000_000),
//!     poison: Poison::new(),
//! };
//! let now = options.now;
//! let (log, report) = Partition::open(MemDir::new(), options)?;
//! assert!(report.truncated.is_none());
//!
//! let mut batch = Vec::new();
//! # let settings = BatchSettings {
//! #     codec: Codec::None, level: CompressionLevel::DEFAULT, timestamp_type: TimestampType::CreateTime, producer: None,
//! #     kind: BatchKind::Plain, base_offset: Offset::ZERO, leader_epoch: LeaderEpoch::UNKNOWN,
//! # };
//! let mut builder = BatchBuilder::new(&mut batch, settings);
//! builder.push(NewRecord { timestamp: now, key: None, value: Some(b"hello"), headers: &[] })?;
//! builder.finish()?;
//!
//! let appended = log.append(Bytes::from(batch), now).wait()??;
//! log.sync(appended.end)?; // now a power cut cannot take it back
//! let read = log.read(Offset::ZERO, Isolation::LogEnd, 1 << 20, FirstBatch::Whole)?;
//! assert!(read.records.windows(5).any(|bytes| bytes == b"hello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds
//! L1 what was synced survives any crash byte for byte. L2 a recovered log is a prefix of what was appended, at least its synced part,
//! without a hole. L3 recovered batches pass their checksums, and offsets and epochs rise. L4 recovery may be interrupted anywhere and
//! done again. L5 what is rebuilt equals what the batches alone tell. L6 a lookup never overshoots and walks at most one index interval.
//! L7 no read returns bytes at or above the published end. L9 after a failed write or sync nothing is acknowledged until the directory is opened
//! anew ([`Poison`]). P1, P2, P5: no batch of an idempotent producer is stored twice, a retry gets the original offsets, and that outlives
//! restarts. Corruption is reported with file and byte; only the unflushed end of a log is ever cut, and the [`OpenReport`] says so.
#![deny(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test that panics has failed, which is what tests are for"
    )
)]

#[cfg(not(hanbeon_loom))]
mod active;
#[cfg(not(hanbeon_loom))]
mod append;
pub mod checkpoint;
mod completion;
mod config;
#[cfg(feature = "testing")]
pub mod conformance;
mod error;
#[cfg(not(hanbeon_loom))]
mod examine;
#[cfg(feature = "testing")]
mod faulty;
#[cfg(not(hanbeon_loom))]
mod find;
#[cfg(not(hanbeon_loom))]
mod flush;
#[cfg(not(hanbeon_loom))]
mod follower;
#[cfg(not(hanbeon_loom))]
mod fs;
mod group;
mod group_sync;
#[cfg(not(hanbeon_loom))]
mod head;
mod index;
#[cfg(not(hanbeon_loom))]
pub mod inspect;
mod io;
#[cfg(not(hanbeon_loom))]
mod last_write;
mod leader_epochs;
#[cfg(not(hanbeon_loom))]
mod listing;
mod mem;
#[cfg(all(unix, target_pointer_width = "64", not(hanbeon_loom)))]
mod mmap;
mod names;
#[cfg(not(hanbeon_loom))]
mod new_names;
#[cfg(not(hanbeon_loom))]
mod offsets;
#[cfg(not(hanbeon_loom))]
mod options;
#[cfg(not(hanbeon_loom))]
mod partition;
#[cfg(not(hanbeon_loom))]
mod partition_log;
pub mod partition_metadata;
mod poison;
mod published;
#[cfg(not(hanbeon_loom))]
mod read;
#[cfg(all(target_os = "linux", target_pointer_width = "64", not(hanbeon_loom)))]
mod record_lock;
#[cfg(not(hanbeon_loom))]
mod records_of;
#[cfg(not(hanbeon_loom))]
mod recovery;
#[cfg(not(hanbeon_loom))]
mod segment;
#[cfg(not(hanbeon_loom))]
mod segments;
pub mod snapshot_file;
#[doc(hidden)]
pub mod sync;
#[cfg(not(hanbeon_loom))]
mod torn;
#[cfg(not(hanbeon_loom))]
mod truncate;
#[cfg(not(hanbeon_loom))]
mod unread;
mod validate;
#[cfg(not(hanbeon_loom))]
mod visible;
#[cfg(not(hanbeon_loom))]
mod walk;

pub use completion::{Abandoned, Completer, Completion};

pub use config::{CleanupPolicy, CompressionType, ConfigError, Durability, LogConfig, LogSettings};
pub use error::{
    Action, AppendError, Corruption, Damage, LogError, ReadError, RecordFault, RecordFaultKind,
    RecordFaults,
};
#[cfg(feature = "testing")]
pub use faulty::{
    Broken, CrashDir, CrashFile, CrashLock, CrashReport, Fault, FaultKind, Lasting, Operation,
};
#[cfg(not(hanbeon_loom))]
pub use fs::{FsDir, FsFile, FsLock, ReadMode};
pub use group::{GROUP_BYTES_MAX, GROUP_ITEMS_MAX, Group, Joined, Slot};
pub use group_sync::{Lead, SyncGroup, Unsynced};
pub use index::{
    AbortedTxn, ActiveOffsetIndex, ActiveTimeIndex, ActiveTxnIndex, Collected, IndexDoubt,
    IndexRefusal, OffsetIndexView, OffsetPosition, SegmentSpan, TimeIndexView, TimeOffset,
    TxnIndexView,
};
pub use io::{Dir, Entry, EntryKind, FileName, LogFile, NotTried, Open};
pub use leader_epochs::{EpochEnd, EpochEntry, EpochsChanged, LeaderEpochs, Led};
pub use mem::{MemDir, MemFile, MemLock};
pub use names::{DirStage, FileStage, PartitionDirName, SegmentFile, SegmentFileName};
#[cfg(not(hanbeon_loom))]
pub use options::{EpochFile, OpenPartition, OpenReport, Shutdown, TruncatedTail};
#[cfg(not(hanbeon_loom))]
pub use partition::{
    Appended, Closed, FirstBatch, FoundOffset, Isolation, Partition, Placed, Read, SegmentView,
    Source, TimeQuery,
};
pub use poison::Poison;
pub use published::Published;
#[cfg(not(hanbeon_loom))]
pub use unread::Checked;
pub use validate::{RECORDS_PER_BATCH_MAX, Scratch, Validated, one_batch, validate};
