//! Kafka record batches and the words everything else speaks: ids, error codes, checksums.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod batch;
mod crc;
mod error_code;
mod ids;

pub use batch::{
    Attributes, BatchError, BatchRef, CRC_START, Codec, HEADER_LEN, LOG_OVERHEAD, MAGIC,
    TimestampType, VerifiedBatch, total_len,
};
pub use crc::{crc32c, crc32c_of_parts};
pub use error_code::{ErrorClass, ErrorCode};
pub use ids::{
    BrokerEpoch, CoordinatorEpoch, LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch,
    ProducerEpoch, ProducerId, Sequence,
    TopicId, TopicIdError, TopicName, TopicNameError, TopicPartition,
};
