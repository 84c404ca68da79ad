//! A partition log in Apache Kafka's format.
#![deny(unsafe_code)]

mod completion;
#[cfg(feature = "testing")]
pub mod conformance;
mod config;
#[cfg(feature = "testing")]
mod faulty;
#[cfg(not(hanbeon_loom))]
mod fs;
mod group;
mod group_sync;
mod io;
pub mod checkpoint;
mod error;
mod index;
mod names;
mod leader_epochs;
pub mod snapshot_file;
mod validate;
pub mod partition_metadata;
mod mem;
#[cfg(all(unix, target_pointer_width = "64", not(hanbeon_loom)))]
mod mmap;
#[cfg(not(hanbeon_loom))]
mod active;
#[cfg(not(hanbeon_loom))]
mod append;
#[cfg(not(hanbeon_loom))]
mod examine;
#[cfg(not(hanbeon_loom))]
mod find;
#[cfg(not(hanbeon_loom))]
mod flush;
#[cfg(not(hanbeon_loom))]
mod follower;
#[cfg(not(hanbeon_loom))]
mod head;
#[cfg(not(hanbeon_loom))]
mod listing;
#[cfg(not(hanbeon_loom))]
mod partition_log;
#[cfg(not(hanbeon_loom))]
mod read;
#[cfg(not(hanbeon_loom))]
mod records_of;
#[cfg(not(hanbeon_loom))]
mod recovery;
#[cfg(not(hanbeon_loom))]
mod segment;
#[cfg(not(hanbeon_loom))]
mod torn;
#[cfg(not(hanbeon_loom))]
mod truncate;
#[cfg(not(hanbeon_loom))]
mod visible;
#[cfg(not(hanbeon_loom))]
mod walk;
#[cfg(not(hanbeon_loom))]
mod options;
#[cfg(not(hanbeon_loom))]
mod partition;
mod poison;
mod published;
#[cfg(not(hanbeon_loom))]
mod segments;
#[doc(hidden)]
pub mod sync;

pub use completion::{Abandoned, Completer, Completion};

pub use config::{
    CleanupPolicy, CompressionType, ConfigError, Durability, LogConfig, LogSettings,
};
pub use error::{
    Action, AppendError, Corruption, Damage, LogError, ReadError, RecordFault, RecordFaultKind,
    RecordFaults,
};
pub use index::{
    AbortedTxn, ActiveOffsetIndex, ActiveTimeIndex, ActiveTxnIndex, Collected, IndexDoubt,
    IndexRefusal, OffsetIndexView, OffsetPosition, SegmentSpan, TimeIndexView, TimeOffset,
    TxnIndexView,
};
pub use names::{DirStage, FileStage, PartitionDirName, SegmentFile, SegmentFileName};
pub use io::{Dir, Entry, EntryKind, FileName, LogFile, Open};
#[cfg(feature = "testing")]
pub use faulty::{
    Broken, CrashDir, CrashFile, CrashLock, CrashReport, Fault, FaultKind, Lasting, Operation,
};
#[cfg(not(hanbeon_loom))]
pub use fs::{FsDir, FsFile, FsLock, ReadMode};
pub use group::{GROUP_BYTES_MAX, GROUP_ITEMS_MAX, Group, Joined, Slot};
pub use group_sync::{Lead, SyncGroup};
pub use mem::{MemDir, MemFile, MemLock};
#[cfg(not(hanbeon_loom))]
pub use options::{EpochFile, OpenPartition, OpenReport, Shutdown, TruncatedTail};
#[cfg(not(hanbeon_loom))]
pub use partition::{
    Appended, Closed, FirstBatch, FoundOffset, Isolation, Partition, Placed, Read,
    SegmentView, Source, TimeQuery,
};
pub use poison::Poison;
pub use published::Published;
pub use leader_epochs::{EpochEnd, EpochEntry, EpochsChanged, LeaderEpochs};
pub use validate::{RECORDS_PER_BATCH_MAX, Scratch, Validated, one_batch, validate};
