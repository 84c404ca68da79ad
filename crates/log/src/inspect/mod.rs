//! Looking at partition directories without touching them.
//!
//! What a tool needs that shows, checks or explains a directory written by Apache Kafka or by this crate: batches with their places
//! and checksums ([`Batches`]), entries of indexes ([`IndexContents`]), snapshots ([`SnapshotContents`]) and their sidecars
//! ([`SidecarContents`]), and all of a partition at once ([`inspect`]).
//!
//! Nothing is opened for writing, and nothing on disk is believed: damage becomes a [`Finding`] and the walk goes on where it can.
//! Memory grows with what files really hold, never with what a field in them claims. The directory of a running broker may be
//! looked at, too; its last batch then may be found half written.
//!
//! ```
//! use hanbeon_log::{MemDir, inspect};
//!
//! #[derive(Default)]
//! struct Count(usize);
//! impl inspect::Visitor for Count {
//!     fn batch(&mut self, _: &inspect::StoredBatch<'_>) -> std::io::Result<()> {
//!         self.0 += 1;
//!         Ok(())
//!     }
//! }
//!
//! let mut count = Count::default();
//! let found = inspect::inspect(&MemDir::new(), inspect::Beside::default(), &mut count)?;
//! assert!(count.0 == 0 && found.segments.is_empty());
//! # Ok::<(), inspect::InspectError>(())
//! ```

mod aborted;
mod batches;
mod defect;
mod epochs;
mod indexes;
mod partition;
mod snapshots;
mod walk;

pub use batches::{BATCH_BYTES_MAX, Batches, RecordsError, StoredBatch};
pub use defect::{Defect, Finding};
pub use indexes::{
    INDEX_BYTES_MAX, IndexContents, any_span, read_offset_index, read_time_index, read_txn_index,
};
pub use partition::{
    Beside, InspectError, Inspected, SegmentContents, StoredRecord, Visibility, Visitor, inspect,
    is_partition,
};
pub use snapshots::{OlderBatch, SidecarContents, SidecarEntry, SnapshotContents, SnapshotEntry};
