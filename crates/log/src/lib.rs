//! A partition log in Apache Kafka's format.
#![deny(unsafe_code)]

mod completion;
mod config;
#[cfg(not(hanbeon_loom))]
mod fs;
mod group;
mod group_sync;
mod io;
pub mod checkpoint;
mod error;
mod index;
mod names;
pub mod partition_metadata;
mod mem;
#[cfg(all(unix, target_pointer_width = "64", not(hanbeon_loom)))]
mod mmap;
#[cfg(not(hanbeon_loom))]
mod options;
#[cfg(not(hanbeon_loom))]
mod partition;
mod poison;
mod published;
#[doc(hidden)]
pub mod sync;

pub use completion::{Abandoned, Completer, Completion};

pub use config::{
    CleanupPolicy, CompressionType, ConfigError, Durability, LogConfig, LogSettings,
};
pub use error::{
    Action, AppendError, Corruption, Damage, LogError, ReadError, RecordFault, RecordFaultKind,
};
pub use index::{
    AbortedTxn, ActiveOffsetIndex, ActiveTimeIndex, ActiveTxnIndex, Collected, IndexDoubt,
    IndexRefusal, OffsetIndexView, OffsetPosition, SegmentSpan, TimeIndexView, TimeOffset,
    TxnIndexView,
};
pub use names::{DirStage, FileStage, PartitionDirName, SegmentFile, SegmentFileName};
pub use io::{Dir, Entry, EntryKind, FileName, LogFile, Open};
#[cfg(not(hanbeon_loom))]
pub use fs::{FsDir, FsFile, FsLock, ReadMode};
pub use group::{GROUP_BYTES_MAX, GROUP_ITEMS_MAX, Group, Joined, Slot};
pub use group_sync::{Lead, SyncGroup};
pub use mem::{MemDir, MemFile, MemLock};
#[cfg(not(hanbeon_loom))]
pub use options::{EpochFile, OpenPartition, OpenReport, Shutdown, TruncatedTail};
#[cfg(not(hanbeon_loom))]
pub use partition::{
    Appended, Closed, EpochEnd, FirstBatch, FoundOffset, Isolation, Partition, Placed, Read,
    SegmentView, Source, TimeQuery,
};
pub use poison::Poison;
pub use published::Published;
