//! Control batches: transaction markers (KIP-98) and the records that readers skip.

use alloc::vec::Vec;

use crate::{
    Attributes, BatchRef, Codec, CoordinatorEpoch, ErrorCode, HEADER_LEN, LOG_OVERHEAD,
    LeaderEpoch, MAGIC, Millis, Offset, ProducerEpoch, ProducerId, RecordError, TimestampType,
    stamp::{put, seal},
};

/// Bytes of a batch that holds one transaction marker.
pub const MARKER_LEN: usize = 78;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its records count.
    Commit,
    /// Its records are skipped by readers of committed data.
    Abort,
}

/// What a control record says (`org.apache.kafka.common.record.ControlRecordType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ControlType {
    /// End of a transaction whose records are skipped.
    Abort,
    /// End of a transaction whose records count.
    Commit,
    /// A new leader of a Raft quorum.
    LeaderChange,
    /// Begin of a metadata snapshot.
    SnapshotHeader,
    /// End of a metadata snapshot.
    SnapshotFooter,
    /// Version of the Raft protocol.
    KRaftVersion,
    /// Voters of a Raft quorum.
    KRaftVoters,
    /// A type of a later Kafka; readers skip it.
    Unknown(i16),
}

/// The content of a transaction marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndTxnMarker {
    /// How the transaction ended.
    pub outcome: Outcome,
    /// Incarnation of the coordinator that decided; a lower one than was seen is a zombie's.
    pub coordinator_epoch: CoordinatorEpoch,
}

/// The first record of a control batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// A transaction ends.
    EndTxn(EndTxnMarker),
    /// Nothing that a partition of data acts on.
    Other(ControlType),
}

/// Everything in the batch that [`write_marker`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Offset of the marker.
    pub base_offset: Offset,
    /// Leader epoch of the leader that writes it.
    pub leader_epoch: LeaderEpoch,
    /// Producer of the transaction.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// How the transaction ended.
    pub outcome: Outcome,
    /// Incarnation of the deciding coordinator.
    pub coordinator_epoch: CoordinatorEpoch,
    /// Clock of the writing broker.
    pub timestamp: Millis,
}

/// Why a batch is not readable as control batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The control bit is not set.
    #[error("this batch holds data, not control records")]
    NotControl,
    /// Its record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The key is null or has no room for version and type.
    #[error("the key of a control record has at least 4 bytes, found {found:?}")]
    KeyTooShort {
        /// Bytes in the key; `None` when it is null.
        found: Option<usize>,
    },
    /// The key's version is negative.
    #[error("the version of a control record's key is at least 0, found {found}")]
    KeyVersion {
        /// Version found.
        found: i16,
    },
    /// The value of a transaction marker is null or has no room for version and coordinator epoch.
    #[error("the value of a transaction marker has at least 6 bytes, found {found:?}")]
    ValueTooShort {
        /// Bytes in the value; `None` when it is null.
        found: Option<usize>,
    },
    /// The version of a transaction marker's value is negative.
    #[error("the version of a transaction marker's value is at least 0, found {found}")]
    ValueVersion {
        /// Version found.
        found: i16,
    },
}

impl ControlError {
    /// What a client is told.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Record(error) => error.code(),
            Self::NotControl
            | Self::KeyTooShort { .. }
            | Self::KeyVersion { .. }
            | Self::ValueTooShort { .. }
            | Self::ValueVersion { .. } => ErrorCode::InvalidRecord,
        }
    }
}

impl Outcome {
    /// The type of its marker.
    #[must_use]
    pub const fn control_type(self) -> ControlType {
        match self {
            Self::Commit => ControlType::Commit,
            Self::Abort => ControlType::Abort,
        }
    }
}

impl ControlType {
    /// The type with this number.
    #[must_use]
    pub const fn from_number(number: i16) -> Self {
        match number {
            0 => Self::Abort,
            1 => Self::Commit,
            2 => Self::LeaderChange,
            3 => Self::SnapshotHeader,
            4 => Self::SnapshotFooter,
            5 => Self::KRaftVersion,
            6 => Self::KRaftVoters,
            other => Self::Unknown(other),
        }
    }

    /// The number in a control record's key.
    #[must_use]
    pub const fn number(self) -> i16 {
        match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::LeaderChange => 2,
            Self::SnapshotHeader => 3,
            Self::SnapshotFooter => 4,
            Self::KRaftVersion => 5,
            Self::KRaftVoters => 6,
            Self::Unknown(number) => number,
        }
    }
}

impl Control {
    /// Reads a control record's key and value. Versions above 0 are read as version 0, which they extend.
    ///
    /// # Errors
    /// Says which of the two is too short or of which version.
    pub fn parse(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Self, ControlError> {
        let key_len = key.map(<[u8]>::len);
        let Some(&[v0, v1, t0, t1]) = key.and_then(<[u8]>::first_chunk) else {
            return Err(ControlError::KeyTooShort { found: key_len });
        };
        let version = i16::from_be_bytes([v0, v1]);
        if version < 0 {
            return Err(ControlError::KeyVersion { found: version });
        }
        let outcome = match ControlType::from_number(i16::from_be_bytes([t0, t1])) {
            ControlType::Abort => Outcome::Abort,
            ControlType::Commit => Outcome::Commit,
            other @ (ControlType::LeaderChange
            | ControlType::SnapshotHeader
            | ControlType::SnapshotFooter
            | ControlType::KRaftVersion
            | ControlType::KRaftVoters
            | ControlType::Unknown(_)) => return Ok(Self::Other(other)),
        };
        let value_len = value.map(<[u8]>::len);
        let Some(&[v0, v1, e0, e1, e2, e3]) = value.and_then(<[u8]>::first_chunk) else {
            return Err(ControlError::ValueTooShort { found: value_len });
        };
        let version = i16::from_be_bytes([v0, v1]);
        if version < 0 {
            return Err(ControlError::ValueVersion { found: version });
        }
        let coordinator_epoch = CoordinatorEpoch::new(i32::from_be_bytes([e0, e1, e2, e3]));
        Ok(Self::EndTxn(EndTxnMarker { outcome, coordinator_epoch }))
    }
}

/// Reads the first record of a control batch, which for a transaction marker is the only one. `None` for a batch
/// that compaction has emptied.
///
/// # Errors
/// [`ControlError::NotControl`] for a batch of data; otherwise says what is wrong with the record.
pub fn read_control(batch: BatchRef<'_>) -> Result<Option<Control>, ControlError> {
    if !batch.attributes().is_control() {
        return Err(ControlError::NotControl);
    }
    match batch.records()?.next() {
        None => Ok(None),
        Some(record) => {
            let record = record?;
            Control::parse(record.key, record.value).map(Some)
        }
    }
}

/// The one record of a marker: 16 bytes, attributes and deltas 0, key {version 0, type}, value {version 0,
/// coordinator epoch}, no headers.
const RECORD: [u8; 17] = [0x20, 0, 0, 0, 8, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0];

/// Appends the batch of a transaction marker: [`MARKER_LEN`] bytes.
pub fn write_marker(into: &mut Vec<u8>, marker: &Marker) {
    let mut header = [0; HEADER_LEN];
    let attributes =
        Attributes::of(Codec::None, TimestampType::CreateTime).transactional().control();
    let time = marker.timestamp.get().to_be_bytes();
    put::<8, 0>(&mut header, marker.base_offset.get().to_be_bytes());
    put::<4, 8>(&mut header, [0, 0, 0, LEN_FIELD]);
    put::<4, 12>(&mut header, marker.leader_epoch.get().to_be_bytes());
    put::<1, 16>(&mut header, [MAGIC]);
    put::<2, 21>(&mut header, attributes.get().to_be_bytes());
    put::<8, 27>(&mut header, time);
    put::<8, 35>(&mut header, time);
    put::<8, 43>(&mut header, marker.producer_id.get().to_be_bytes());
    put::<2, 51>(&mut header, marker.producer_epoch.get().to_be_bytes());
    put::<4, 53>(&mut header, [0xff; 4]);
    put::<4, 57>(&mut header, [0, 0, 0, 1]);

    let mut record = RECORD;
    let [t0, t1] = marker.outcome.control_type().number().to_be_bytes();
    let [e0, e1, e2, e3] = marker.coordinator_epoch.get().to_be_bytes();
    let [.., a0, a1, _, _, _, b0, b1, b2, b3, _] = &mut record;
    (*a0, *a1) = (t0, t1);
    (*b0, *b1, *b2, *b3) = (e0, e1, e2, e3);

    let start = into.len();
    into.extend_from_slice(&header);
    into.extend_from_slice(&record);
    if let Some(batch) = into.get_mut(start..) {
        seal(batch);
    }
}

/// What the length field of a marker's batch says.
const LEN_FIELD: u8 = 66;
const _: () = assert!(LEN_FIELD as usize + LOG_OVERHEAD == MARKER_LEN, "the length is the batch's");
const _: () = assert!(HEADER_LEN + RECORD.len() == MARKER_LEN, "header and one record");
