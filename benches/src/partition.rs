//! Partitions on a real disk, opened with few words.

use bytes::Bytes;
use hanbeon_idempotence::{FirstWrite, Verification};
use hanbeon_log::{
    Appended, Dir, FsDir, LogConfig, LogSettings, OpenPartition, OpenReport, Partition, Poison,
    ReadMode, Shutdown,
};
use hanbeon_records::{LeaderEpoch, Offset};
use tempfile::TempDir;

use crate::NOW;

/// An empty directory below `root`, which is `CARGO_TARGET_TMPDIR`: on a disk, where `/tmp` may be memory.
///
/// # Panics
/// When none can be made.
#[must_use]
pub fn fresh_dir(root: &str) -> TempDir {
    tempfile::tempdir_in(root).expect("a directory for the bench")
}

/// Kafka's defaults.
///
/// # Panics
/// Never: the defaults are valid.
#[must_use]
pub fn config() -> LogConfig {
    LogSettings::kafka_defaults().validate().expect("the defaults are valid")
}

/// An opening after a kill that knows nothing.
#[must_use]
pub fn options() -> OpenPartition {
    OpenPartition {
        config: config(),
        shutdown: Shutdown::Unclean,
        recovery_point: Offset::ZERO,
        log_start: None,
        high_watermark: None,
        leader_epoch: LeaderEpoch::new(0),
        topic_id: None,
        verification: Verification::Off,
        first_write: FirstWrite::FromZero,
        hash_seed: 7,
        jitter_seed: 7,
        now: NOW,
        poison: Poison::new(),
    }
}

/// Opens what lies in `dir`.
///
/// # Panics
/// When it cannot be opened.
#[must_use]
pub fn open(dir: &TempDir, options: OpenPartition) -> (Partition<FsDir>, OpenReport) {
    let dir = FsDir::open(dir.path(), ReadMode::Map).expect("the bench's directory");
    Partition::open(dir, options).expect("a partition for the bench")
}

/// Appends a batch that is in order.
///
/// # Panics
/// When it is refused.
pub fn append<D: Dir>(log: &Partition<D>, batch: Bytes) -> Appended {
    log.append(batch, NOW).wait().expect("the leader lives").expect("the batch is in order")
}
