//! The objects that `--json` prints. Field names are the contract of the command line.

use std::{borrow::Cow, collections::BTreeMap};

use hanbeon_log::{
    AbortedTxn, OffsetPosition, TimeOffset,
    inspect::{
        Finding, IndexContents, Inspected, OlderBatch, SegmentContents, SidecarContents,
        SidecarEntry, SnapshotContents, SnapshotEntry, StoredBatch,
    },
};
use hanbeon_records::{Control, ControlType, Outcome, Sequence, TimestampType};
use serde::Serialize;

use super::hash::Digested;

#[derive(Debug, Serialize)]
pub(super) struct Batch {
    segment: i64,
    position: u64,
    size: usize,
    base_offset: i64,
    last_offset: i64,
    count: i32,
    leader_epoch: i32,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    last_sequence: i32,
    transactional: bool,
    control: bool,
    codec: Cow<'static, str>,
    timestamp_type: &'static str,
    base_timestamp: i64,
    max_timestamp: i64,
    delete_horizon_ms: i64,
    attributes: i16,
    crc: u32,
    crc_valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    marker: Option<Marker>,
}

#[derive(Debug, Serialize)]
struct Marker {
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coordinator_epoch: Option<i32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Damage {
    file: String,
    offset: u64,
    what: String,
}

#[derive(Debug, Serialize)]
pub(super) struct DamageLine {
    damage: Damage,
}

#[derive(Debug, Serialize)]
pub(super) struct OffsetEntry {
    offset: i64,
    position: u32,
}

#[derive(Debug, Serialize)]
pub(super) struct TimeEntry {
    timestamp: i64,
    offset: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct TxnEntry {
    producer_id: i64,
    first_offset: i64,
    last_offset: i64,
    last_stable_offset: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct CheckpointEntry<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct EpochLine {
    pub(super) epoch: i32,
    pub(super) start_offset: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct Metadata {
    pub(super) topic_id: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Producer {
    producer_id: i64,
    producer_epoch: i16,
    coordinator_epoch: i32,
    current_txn_first_offset: i64,
    last_timestamp: i64,
    last_sequence: i32,
    last_offset: i64,
    offset_delta: i32,
}

#[derive(Debug, Serialize)]
pub(super) struct Window {
    producer_id: i64,
    producer_epoch: i16,
    appended_at: i64,
    last_timestamp: i64,
    retriable: u8,
    older: Vec<Older>,
}

#[derive(Debug, Serialize)]
struct Older {
    last_sequence: i32,
    last_offset: i64,
    offset_delta: i32,
    timestamp: i64,
}

#[derive(Debug, Serialize)]
struct Segment {
    base_offset: i64,
    log_size: u64,
    batches: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset_index_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset_index: Option<Vec<(i64, u32)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_index_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_index: Option<Vec<(i64, i64)>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    txn_index: Option<Vec<TxnEntry>>,
}

#[derive(Debug, Serialize)]
struct Snapshot {
    version: Option<i16>,
    crc_valid: bool,
    entries: Vec<Producer>,
}

#[derive(Debug, Serialize)]
struct Sidecar {
    snapshot_crc: Option<u32>,
    entries: Vec<Window>,
}

#[derive(Debug, Serialize)]
struct OpenTransaction {
    producer_id: i64,
    producer_epoch: i16,
    first_offset: i64,
}

/// What a partition comes to, without its batches, which are printed while they are read.
#[derive(Debug, Serialize)]
pub(super) struct Partition {
    topic_id: Option<String>,
    log_start_offset: i64,
    log_end_offset: i64,
    last_stable_offset: i64,
    leader_epochs: Vec<(i32, i64)>,
    open_transactions: Vec<OpenTransaction>,
    aborted_transactions: Vec<TxnEntry>,
    read_uncommitted: Digested,
    read_committed: Digested,
    segments: Vec<Segment>,
    snapshots: BTreeMap<String, Snapshot>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sidecars: BTreeMap<String, Sidecar>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damage: Vec<Damage>,
}

impl Batch {
    pub(super) fn new(segment: i64, stored: &StoredBatch<'_>) -> Self {
        let batch = &stored.batch;
        let attributes = batch.attributes();
        let sequence = |sequence: Option<Sequence>| sequence.map_or(-1, Sequence::get);
        let base_timestamp = batch.base_timestamp().get();
        Self {
            segment,
            position: stored.position,
            size: batch.bytes().len(),
            base_offset: batch.base_offset().get(),
            last_offset: batch.last_offset().get(),
            count: batch.record_count(),
            leader_epoch: batch.leader_epoch().get(),
            producer_id: batch.producer_id().get(),
            producer_epoch: batch.producer_epoch().get(),
            base_sequence: sequence(batch.base_sequence()),
            last_sequence: sequence(batch.last_sequence()),
            transactional: attributes.is_transactional(),
            control: attributes.is_control(),
            codec: codec_name(stored),
            timestamp_type: match attributes.timestamp_type() {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            },
            base_timestamp,
            max_timestamp: batch.max_timestamp().get(),
            delete_horizon_ms: if attributes.has_delete_horizon() { base_timestamp } else { -1 },
            attributes: attributes.get(),
            crc: batch.crc(),
            crc_valid: stored.checksum.is_ok(),
            marker: stored.control().ok().flatten().map(Marker::new),
        }
    }
}

/// The codec's name, or its number where it has none.
pub(super) fn codec_name(stored: &StoredBatch<'_>) -> Cow<'static, str> {
    match stored.batch.attributes().codec() {
        Ok(codec) => codec.name().into(),
        Err(number) => number.to_string().into(),
    }
}

/// What Kafka calls a control record.
pub(super) fn control_name(control: Control) -> Cow<'static, str> {
    let kind = match control {
        Control::EndTxn(marker) => match marker.outcome {
            Outcome::Commit => ControlType::Commit,
            Outcome::Abort => ControlType::Abort,
        },
        Control::Other(kind) => kind,
    };
    match kind {
        ControlType::Abort => "ABORT".into(),
        ControlType::Commit => "COMMIT".into(),
        ControlType::LeaderChange => "LEADER_CHANGE".into(),
        ControlType::SnapshotHeader => "SNAPSHOT_HEADER".into(),
        ControlType::SnapshotFooter => "SNAPSHOT_FOOTER".into(),
        ControlType::KRaftVersion => "KRAFT_VERSION".into(),
        ControlType::KRaftVoters => "KRAFT_VOTERS".into(),
        ControlType::Unknown(number) => format!("UNKNOWN_{number}").into(),
    }
}

impl Marker {
    fn new(control: Control) -> Self {
        let coordinator_epoch = match control {
            Control::EndTxn(marker) => Some(marker.coordinator_epoch.get()),
            Control::Other(_) => None,
        };
        Self { kind: control_name(control), coordinator_epoch }
    }
}

impl Damage {
    pub(super) fn new(finding: &Finding) -> Self {
        Self { file: finding.file.clone(), offset: finding.at, what: finding.defect.to_string() }
    }
}

impl DamageLine {
    pub(super) fn new(finding: &Finding) -> Self {
        Self { damage: Damage::new(finding) }
    }
}

impl From<OffsetPosition> for OffsetEntry {
    fn from(entry: OffsetPosition) -> Self {
        Self { offset: entry.offset.get(), position: entry.position }
    }
}

impl From<TimeOffset> for TimeEntry {
    fn from(entry: TimeOffset) -> Self {
        Self { timestamp: entry.timestamp.get(), offset: entry.offset.get() }
    }
}

impl From<AbortedTxn> for TxnEntry {
    fn from(txn: AbortedTxn) -> Self {
        Self {
            producer_id: txn.producer_id.get(),
            first_offset: txn.first_offset.get(),
            last_offset: txn.last_offset.get(),
            last_stable_offset: txn.last_stable_offset.get(),
        }
    }
}

impl From<SnapshotEntry> for Producer {
    fn from(entry: SnapshotEntry) -> Self {
        Self {
            producer_id: entry.producer_id,
            producer_epoch: entry.producer_epoch,
            coordinator_epoch: entry.coordinator_epoch,
            current_txn_first_offset: entry.current_txn_first_offset,
            last_timestamp: entry.last_timestamp,
            last_sequence: entry.last_sequence,
            last_offset: entry.last_offset,
            offset_delta: entry.offset_delta,
        }
    }
}

impl From<&SidecarEntry> for Window {
    fn from(entry: &SidecarEntry) -> Self {
        let older = |batch: &OlderBatch| Older {
            last_sequence: batch.last_sequence,
            last_offset: batch.last_offset,
            offset_delta: batch.offset_delta,
            timestamp: batch.timestamp,
        };
        Self {
            producer_id: entry.producer_id,
            producer_epoch: entry.producer_epoch,
            appended_at: entry.appended_at,
            last_timestamp: entry.last_timestamp,
            retriable: entry.retriable,
            older: entry.older.iter().map(older).collect(),
        }
    }
}

impl From<&SegmentContents> for Segment {
    fn from(segment: &SegmentContents) -> Self {
        let offsets = |index: &IndexContents<OffsetPosition>| {
            index.entries.iter().map(|entry| (entry.offset.get(), entry.position)).collect()
        };
        let times = |index: &IndexContents<TimeOffset>| {
            let pair = |entry: &TimeOffset| (entry.timestamp.get(), entry.offset.get());
            index.entries.iter().map(pair).collect()
        };
        let txns = |index: &IndexContents<AbortedTxn>| {
            index.entries.iter().copied().map(TxnEntry::from).collect()
        };
        Self {
            base_offset: segment.base_offset.get(),
            log_size: segment.log_bytes,
            batches: segment.batches,
            offset_index_size: segment.offset_index.as_ref().map(|index| index.bytes),
            offset_index: segment.offset_index.as_ref().map(offsets),
            time_index_size: segment.time_index.as_ref().map(|index| index.bytes),
            time_index: segment.time_index.as_ref().map(times),
            txn_index: segment.txn_index.as_ref().map(txns),
        }
    }
}

impl From<&SnapshotContents> for Snapshot {
    fn from(snapshot: &SnapshotContents) -> Self {
        let mut entries: Vec<Producer> =
            snapshot.entries.iter().copied().map(Producer::from).collect();
        entries.sort_by_key(|entry| entry.producer_id);
        Self { version: snapshot.version, crc_valid: snapshot.crc_valid, entries }
    }
}

impl From<&SidecarContents> for Sidecar {
    fn from(sidecar: &SidecarContents) -> Self {
        let entries = sidecar.entries.iter().map(Window::from).collect();
        Self { snapshot_crc: sidecar.snapshot_crc, entries }
    }
}

impl Partition {
    pub(super) fn new(
        inspected: &Inspected,
        read_uncommitted: Digested,
        read_committed: Digested,
    ) -> Self {
        let epochs = inspected.leader_epochs.entries().iter();
        let open = inspected.open_transactions.iter().map(|open| OpenTransaction {
            producer_id: open.producer_id.get(),
            producer_epoch: open.producer_epoch.get(),
            first_offset: open.first_offset.get(),
        });
        let snapshots = inspected.snapshots.iter();
        let sidecars = inspected.sidecars.iter();
        Self {
            topic_id: inspected.topic_id.map(|id| id.to_string()),
            log_start_offset: inspected.log_start_offset.get(),
            log_end_offset: inspected.log_end_offset.get(),
            last_stable_offset: inspected.last_stable_offset.get(),
            leader_epochs: epochs.map(|e| (e.epoch.get(), e.start_offset.get())).collect(),
            open_transactions: open.collect(),
            aborted_transactions: inspected
                .aborted_transactions
                .iter()
                .copied()
                .map(TxnEntry::from)
                .collect(),
            read_uncommitted,
            read_committed,
            segments: inspected.segments.iter().map(Segment::from).collect(),
            snapshots: snapshots
                .map(|(offset, found)| (format!("{:020}.snapshot", offset.get()), found.into()))
                .collect(),
            sidecars: sidecars
                .map(|(offset, found)| (format!("{:020}.producers", offset.get()), found.into()))
                .collect(),
            damage: inspected.findings.iter().map(Damage::new).collect(),
        }
    }
}
