//! Kafka record batches and the words everything else speaks: ids, error codes, checksums.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

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
pub use stamp::{stamp, stamp_times};
pub use varint::{
    VARINT_LEN_MAX, VARLONG_LEN_MAX, read_varint, read_varlong, varint_len, varlong_len,
    write_varint, write_varlong,
};
