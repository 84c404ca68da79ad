//! Kafka record batches (magic 2) as borrowed views, their builder and codecs, and the words everything else speaks:
//! ids, error codes, CRC-32C.
//!
//! It does no IO, keeps no state, and judges nothing that needs more than the bytes of one batch: whether a producer
//! may append a batch is the business of `hanbeon-log` and `hanbeon-idempotence`. The message formats before Kafka
//! 0.11 (magic 0 and 1) are named by their number in an error and not read.
//!
//! ```text
//!  0        8      12          16    17    21         23              27
//!  | base   | len  | leader    | ma- | CRC | attri-   | last offset   | base
//!  | offset |      | epoch     | gic |     | butes    | delta         | timestamp ...
//!  |<------- the leader may stamp this --->|<------- under the CRC -------------------
//!
//!     35          43         51         53         57      61
//! ... | max       | producer | producer | base     | record | records, or one
//!     | timestamp | id       | epoch    | sequence | count  | compressed blob of them
//! ```
//!
//! # Example
//! ```
//! use hanbeon_records::{
//!     BatchBuilder, BatchKind, BatchRef, BatchSettings, Codec, CompressionLevel, LeaderEpoch,
//!     Millis, NewRecord, Offset, ProducerEpoch, ProducerId, ProducerStamp, Sequence,
//!     TimestampType,
//! };
//!
//! let mut bytes = Vec::new();
//! let mut builder = BatchBuilder::new(&mut bytes, BatchSettings {
//!     codec: Codec::None,
//!     level: CompressionLevel::DEFAULT,
//!     timestamp_type: TimestampType::CreateTime,
//!     producer: Some(ProducerStamp {
//!         id: ProducerId::new(1000),
//!         epoch: ProducerEpoch::new(0),
//!         base_sequence: Sequence::ZERO,
//!     }),
//!     kind: BatchKind::Plain,
//!     base_offset: Offset::ZERO,
//!     leader_epoch: LeaderEpoch::UNKNOWN,
//! });
//! builder.push(NewRecord {
//!     timestamp: Millis::new(1_700_000_000_000),
//!     key: Some(b"account-7"),
//!     value: Some(b"+100"),
//!     headers: &[("source", Some(b"atm"))],
//! })?;
//! builder.finish()?;
//!
//! let (batch, rest) = BatchRef::parse(&bytes)?;
//! let batch = batch.verify()?; // the checksum holds
//! assert!(rest.is_empty());
//! for record in batch.records()? {
//!     let record = record?;
//!     assert_eq!(record.key, Some(&b"account-7"[..]));
//!     assert_eq!(batch.offset_of(&record), Offset::ZERO);
//! }
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Invariants
//! - A [`BatchRef`] is one whole batch: reading a header field cannot fail. A [`VerifiedBatch`] has a checksum that
//!   holds.
//! - Bytes from outside never panic and never make this crate allocate by a length or count that they claim.
//!   Walking headers, records and record headers allocates nothing.
//! - A walk over records yields exactly as many as the batch claims and uses up exactly its payload, or ends with an
//!   error (`INVALID_RECORD`).
//! - Decompressed output never exceeds the caller's [`OutputLimit`].
//! - What fails changes nothing: after an error the buffer that was to be written holds what it held before.
//!
//! # Features
//! `std` (default) brings the CRC of the processor; without it tables do, and the crate is `no_std` with `alloc`. `gzip`, `snappy`,
//! `lz4` and `zstd` bring one codec each, `compression` all four. A codec that is not there is a typed error.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test that panics fails, which is what it is for"
    )
)]

extern crate alloc;

mod batch;
mod builder;
mod compression;
mod control;
mod crc;
mod error_code;
mod ids;
mod record;
mod stamp;
mod varint;

pub use batch::{
    Attributes, BatchError, BatchRef, CRC_START, Codec, HEADER_LEN, LOG_OVERHEAD, MAGIC,
    TimestampType, VerifiedBatch, total_len,
};
pub use builder::{BatchBuilder, BatchKind, BatchSettings, BuildError, NewRecord, ProducerStamp};
pub use compression::{
    CodecError, CodecFault, CompressionLevel, OutputLimit, compress, decompress,
};
pub use control::{
    Control, ControlError, ControlType, EndTxnMarker, MARKER_LEN, Marker, Outcome, read_control,
    write_marker,
};
pub use crc::{crc32c, crc32c_of_parts};
pub use error_code::{ErrorClass, ErrorCode};
pub use ids::{
    BrokerEpoch, CoordinatorEpoch, LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch,
    ProducerEpoch, ProducerId, Sequence, TopicId, TopicIdError, TopicName, TopicNameError,
    TopicPartition,
};
pub use record::{Field, Header, Headers, Record, RecordError, Records};
pub use stamp::{stamp, stamp_times, write_emptied};
pub use varint::{
    VARINT_LEN_MAX, VARLONG_LEN_MAX, read_varint, read_varlong, varint_len, varlong_len,
    write_varint, write_varlong,
};
