//! Kafka protocol bytes to requests, and answers to bytes.
//!
//! It knows no engine, opens no socket and waits for nothing; whoever owns the socket feeds a [`Connection`] and sends what it gives back.
//!
//! ```text
//! bytes -> FrameReader -> Request -> ProduceRequest, FetchRequest    borrowed from the frame
//!          (Connection)          \-> Request::decode::<M>()          messages::*, generated from Kafka's schemas
//!
//! ReplyTo -> ProduceWriter, FetchWriter, ReplyTo::write -> Answer -> bytes, in the order of the requests
//! ```
//!
//! What comes from outside never panics here and never makes us allocate by a length that it claims. An error from reading means:
//! close this connection without an answer, as Kafka does; all others go on.
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test that panics has found something"
    )
)]

mod answer;
mod api;
mod api_versions;
mod connection;
mod cursor;
mod error;
mod fetch;
mod frame;
mod header;
pub mod messages;
#[cfg(test)]
mod oracle;
mod produce;
mod put;
mod shape;
mod topic;

pub use answer::Answer;
pub use api::{Advertised, ApiKey, Versions};
pub use api_versions::{
    ApiVersionsRequest, Features, FinalizedFeature, Software, SupportedFeature, write_api_versions,
};
pub use connection::{Connection, IN_FLIGHT_MAX, Next, Place, Standing};
pub use cursor::{ELEMENTS_MAX, TAGS_MAX};
pub use error::WireError;
pub use fetch::{
    AbortedTransaction, Diverging, FetchHead, FetchPartition, FetchPartitions, FetchRequest,
    FetchResult, FetchTopic, FetchTopics, FetchWriter, Fetcher, ForgottenTopic, ForgottenTopics,
    IsolationLevel,
};
pub use frame::{FrameReader, REQUEST_BYTES_MAX, UNAUTHENTICATED_BYTES_MAX};
pub use header::{CLIENT_ID_BYTES_MAX, ClientId, HEADER_BYTES_MAX, ReplyTo, Request};
pub use messages::{RequestMessage, ResponseMessage};
pub use produce::{
    Acks, BadRecord, ProducePartition, ProducePartitions, ProduceRequest, ProduceResult,
    ProduceTopic, ProduceTopics, ProduceWriter,
};
pub use topic::{CurrentLeader, NodeEndpoint, TopicRef};
