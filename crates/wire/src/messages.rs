//! The APIs that need no speed: typed requests and responses, generated from Kafka 4.3's schemas.
//!
//! Each API is a module with `Request`, `Response` and the structures inside them, all with public fields and `Default`:
//!
//! ```
//! use hanbeon_wire::messages::{metadata, text};
//!
//! let broker = metadata::MetadataResponseBroker {
//!     node_id: 1,
//!     host: text("localhost"),
//!     port: 9092,
//!     ..Default::default()
//! };
//! let response = metadata::Response { brokers: vec![broker], controller_id: 1, ..Default::default() };
//! # assert_eq!(response.brokers[0].host.as_str(), "localhost");
//! ```
//!
//! A response is filled the same way for every version: fields that the asked version lacks are left out on writing. Only a few refuse to
//! be lost, [`WireError::FieldNotInVersion`] names them then: what moved into a list of groups, keys or transactions in a later version
//! (`FindCoordinator` 4, `OffsetFetch` 8, `AddPartitionsToTxn` 4, `LeaveGroup` 3) stands on one side of it only, and `skip_assignment`
//! means something only from `JoinGroup` 9 on.

use bytes::{Bytes, BytesMut};
use hanbeon_records::TopicId;
use kacrab_protocol::{ProtocolError, string::StringErrorKind};

use crate::{
    answer::Answer,
    api::ApiKey,
    api_versions::ApiVersionsRequest,
    error::WireError,
    fetch::FetchRequest,
    header::{ReplyTo, Request},
    produce::ProduceRequest,
    put, shape,
};

/// A UTF-8 text inside a message; a slice of the request it came with.
pub use kacrab_protocol::KafkaString as Text;
/// A topic id inside a message; see [`uuid`] and [`topic_id`].
pub use kacrab_protocol::KafkaUuid as Uuid;

/// A text for a response.
#[must_use]
pub fn text(value: &str) -> Text {
    Text::from(value.to_owned())
}

/// A topic id for a response.
#[must_use]
pub fn uuid(id: TopicId) -> Uuid {
    let whole = u128::from_be_bytes(id.get());
    let [high, low] = [whole >> 64, whole & u128::from(u64::MAX)]
        .map(|half| u64::try_from(half).unwrap_or(u64::MAX));
    Uuid::from_parts(high, low)
}

/// A topic id from a request.
#[must_use]
pub const fn topic_id(uuid: Uuid) -> TopicId {
    TopicId::new(uuid.to_bytes())
}

mod sealed {
    #[expect(unnameable_types, reason = "that nobody else can name it is what seals the traits")]
    pub trait Sealed {}
}

/// A request that [`Request::decode`] reads.
pub trait RequestMessage: Sized + sealed::Sealed {
    /// Its API.
    const API: ApiKey;
    /// What answers it.
    type Response: ResponseMessage;

    /// Reads a body that the guard has seen.
    #[doc(hidden)]
    fn read_body(body: &mut Bytes, version: i16) -> Result<Self, WireError>;
}

/// A response that [`ReplyTo::write`] writes.
pub trait ResponseMessage: sealed::Sealed {
    /// Its API.
    const API: ApiKey;

    /// Appends the body.
    #[doc(hidden)]
    fn write_body(&self, out: &mut BytesMut, version: i16) -> Result<(), WireError>;
}

impl Request {
    /// Reads the body as the request of an API; strings in it share the memory of the frame.
    ///
    /// # Errors
    /// The connection is to be closed: the body is broken or asks for more than one request may, or this is another API's request.
    pub fn decode<M: RequestMessage>(&self) -> Result<M, WireError> {
        let ReplyTo { api, version, .. } = self.reply_to;
        let (true, Some(fields)) = (api == M::API, shape::request(api)) else {
            return Err(WireError::OtherApi { asked: M::API, found: api });
        };
        let mut body = shape::guard(fields, version, self.reply_to.form(), &self.body)?;
        M::read_body(&mut body, version)
    }
}

impl ReplyTo {
    /// Appends a whole frame with the response to `out`, which is as before when that fails.
    ///
    /// # Errors
    /// The response belongs to another API, or a field of it has no form in the asked version.
    pub fn write<M: ResponseMessage>(
        self,
        response: &M,
        out: &mut BytesMut,
    ) -> Result<(), WireError> {
        if self.api != M::API {
            return Err(WireError::OtherApi { asked: M::API, found: self.api });
        }
        let start = put::begin_frame(out, self);
        let written =
            response.write_body(out, self.version).and_then(|()| put::end_frame(out, start, 0));
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    /// As [`ReplyTo::write`], and takes everything out of the buffer as an answer.
    ///
    /// # Errors
    /// As [`ReplyTo::write`].
    pub fn answer<M: ResponseMessage>(
        self,
        response: &M,
        scratch: &mut BytesMut,
    ) -> Result<Answer, WireError> {
        self.write(response, scratch)?;
        Ok(Answer::from(scratch.split().freeze()))
    }
}

/// Turns the codec's errors into ours.
fn refused(api: ApiKey, version: i16, error: &ProtocolError) -> WireError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the guard or the types rule the others out"
    )]
    match error {
        ProtocolError::FieldVersion(field) => {
            WireError::FieldNotInVersion { api, version, field: field.field }
        }
        ProtocolError::String(text) => match text.kind {
            StringErrorKind::TooLong { length, max } => {
                WireError::FieldTooLong { len: length, max }
            }
            _ => WireError::Codec { api, version },
        },
        _ => WireError::Codec { api, version },
    }
}

macro_rules! messages {
    ($($api:ident $module:ident $request:ident::$request_type:ident $response:ident::$response_type:ident)*) => {
        $(
            #[doc = concat!("Messages of ", stringify!($api), ".")]
            pub mod $module {
                #[allow(
                    ambiguous_glob_reexports,
                    reason = "the one name that stands in a request and its response is re-exported apart"
                )]
                pub use kacrab_protocol::generated::{$request::*, $response::*};
                /// The request.
                pub type Request = $request_type;
                /// The response.
                pub type Response = $response_type;
            }

            impl sealed::Sealed for $module::Request {}
            impl sealed::Sealed for $module::Response {}

            impl RequestMessage for $module::Request {
                const API: ApiKey = ApiKey::$api;
                type Response = $module::Response;

                fn read_body(body: &mut Bytes, version: i16) -> Result<Self, WireError> {
                    Self::read(body, version).map_err(|error| refused(Self::API, version, &error))
                }
            }

            impl ResponseMessage for $module::Response {
                const API: ApiKey = ApiKey::$api;

                fn write_body(&self, out: &mut BytesMut, version: i16) -> Result<(), WireError> {
                    Self::write(self, out, version)
                        .map_err(|error| refused(Self::API, version, &error))
                }
            }
        )*

        impl Request {
            /// Reads the body, whichever API it belongs to, and forgets it: says whether a broker could have taken the request.
            ///
            /// # Errors
            /// What reading it in earnest would say.
            pub fn check(&self) -> Result<(), WireError> {
                let ReplyTo { api, version, .. } = self.reply_to;
                if api == ApiKey::ApiVersions {
                    // Has an answer in versions that the codec cannot read.
                    return ApiVersionsRequest::read(self).map(|_read| ());
                }
                match api {
                    ApiKey::Produce => ProduceRequest::read(self).map(|_read| ()),
                    ApiKey::Fetch => FetchRequest::read(self).map(|_read| ()),
                    $(ApiKey::$api => self.decode::<$module::Request>().map(|_read| ()),)*
                    _ => Err(WireError::Codec { api, version }),
                }
            }
        }
    };
}

messages! {
    ListOffsets list_offsets list_offsets_request::ListOffsetsRequestData list_offsets_response::ListOffsetsResponseData
    Metadata metadata metadata_request::MetadataRequestData metadata_response::MetadataResponseData
    SaslHandshake sasl_handshake sasl_handshake_request::SaslHandshakeRequestData sasl_handshake_response::SaslHandshakeResponseData
    ApiVersions api_versions api_versions_request::ApiVersionsRequestData api_versions_response::ApiVersionsResponseData
    CreateTopics create_topics create_topics_request::CreateTopicsRequestData create_topics_response::CreateTopicsResponseData
    DeleteTopics delete_topics delete_topics_request::DeleteTopicsRequestData delete_topics_response::DeleteTopicsResponseData
    DeleteRecords delete_records delete_records_request::DeleteRecordsRequestData delete_records_response::DeleteRecordsResponseData
    InitProducerId init_producer_id init_producer_id_request::InitProducerIdRequestData init_producer_id_response::InitProducerIdResponseData
    OffsetForLeaderEpoch offset_for_leader_epoch offset_for_leader_epoch_request::OffsetForLeaderEpochRequestData offset_for_leader_epoch_response::OffsetForLeaderEpochResponseData
    DescribeConfigs describe_configs describe_configs_request::DescribeConfigsRequestData describe_configs_response::DescribeConfigsResponseData
    AlterConfigs alter_configs alter_configs_request::AlterConfigsRequestData alter_configs_response::AlterConfigsResponseData
    IncrementalAlterConfigs incremental_alter_configs incremental_alter_configs_request::IncrementalAlterConfigsRequestData incremental_alter_configs_response::IncrementalAlterConfigsResponseData
    CreatePartitions create_partitions create_partitions_request::CreatePartitionsRequestData create_partitions_response::CreatePartitionsResponseData
    ElectLeaders elect_leaders elect_leaders_request::ElectLeadersRequestData elect_leaders_response::ElectLeadersResponseData
    DescribeLogDirs describe_log_dirs describe_log_dirs_request::DescribeLogDirsRequestData describe_log_dirs_response::DescribeLogDirsResponseData
    DescribeCluster describe_cluster describe_cluster_request::DescribeClusterRequestData describe_cluster_response::DescribeClusterResponseData
    DescribeProducers describe_producers describe_producers_request::DescribeProducersRequestData describe_producers_response::DescribeProducersResponseData
    DescribeTopicPartitions describe_topic_partitions describe_topic_partitions_request::DescribeTopicPartitionsRequestData describe_topic_partitions_response::DescribeTopicPartitionsResponseData
    OffsetCommit offset_commit offset_commit_request::OffsetCommitRequestData offset_commit_response::OffsetCommitResponseData
    OffsetFetch offset_fetch offset_fetch_request::OffsetFetchRequestData offset_fetch_response::OffsetFetchResponseData
    FindCoordinator find_coordinator find_coordinator_request::FindCoordinatorRequestData find_coordinator_response::FindCoordinatorResponseData
    JoinGroup join_group join_group_request::JoinGroupRequestData join_group_response::JoinGroupResponseData
    Heartbeat heartbeat heartbeat_request::HeartbeatRequestData heartbeat_response::HeartbeatResponseData
    LeaveGroup leave_group leave_group_request::LeaveGroupRequestData leave_group_response::LeaveGroupResponseData
    SyncGroup sync_group sync_group_request::SyncGroupRequestData sync_group_response::SyncGroupResponseData
    DescribeGroups describe_groups describe_groups_request::DescribeGroupsRequestData describe_groups_response::DescribeGroupsResponseData
    ListGroups list_groups list_groups_request::ListGroupsRequestData list_groups_response::ListGroupsResponseData
    DeleteGroups delete_groups delete_groups_request::DeleteGroupsRequestData delete_groups_response::DeleteGroupsResponseData
    OffsetDelete offset_delete offset_delete_request::OffsetDeleteRequestData offset_delete_response::OffsetDeleteResponseData
    ConsumerGroupHeartbeat consumer_group_heartbeat consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequestData consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponseData
    ConsumerGroupDescribe consumer_group_describe consumer_group_describe_request::ConsumerGroupDescribeRequestData consumer_group_describe_response::ConsumerGroupDescribeResponseData
    AddPartitionsToTxn add_partitions_to_txn add_partitions_to_txn_request::AddPartitionsToTxnRequestData add_partitions_to_txn_response::AddPartitionsToTxnResponseData
    AddOffsetsToTxn add_offsets_to_txn add_offsets_to_txn_request::AddOffsetsToTxnRequestData add_offsets_to_txn_response::AddOffsetsToTxnResponseData
    EndTxn end_txn end_txn_request::EndTxnRequestData end_txn_response::EndTxnResponseData
    WriteTxnMarkers write_txn_markers write_txn_markers_request::WriteTxnMarkersRequestData write_txn_markers_response::WriteTxnMarkersResponseData
    TxnOffsetCommit txn_offset_commit txn_offset_commit_request::TxnOffsetCommitRequestData txn_offset_commit_response::TxnOffsetCommitResponseData
    DescribeTransactions describe_transactions describe_transactions_request::DescribeTransactionsRequestData describe_transactions_response::DescribeTransactionsResponseData
    ListTransactions list_transactions list_transactions_request::ListTransactionsRequestData list_transactions_response::ListTransactionsResponseData
    UpdateFeatures update_features update_features_request::UpdateFeaturesRequestData update_features_response::UpdateFeaturesResponseData
    ListConfigResources list_config_resources list_config_resources_request::ListConfigResourcesRequestData list_config_resources_response::ListConfigResourcesResponseData
}

/// The page mark of `DescribeTopicPartitions`, which has the same name in the request and in the response.
pub mod page {
    pub use kacrab_protocol::generated::{
        describe_topic_partitions_request::Cursor as From,
        describe_topic_partitions_response::Cursor as Next,
    };
}

/// Partitions of a topic in `ConsumerGroupHeartbeat`, which have the same name in the request and in the response.
pub mod heartbeat_partitions {
    pub use kacrab_protocol::generated::{
        consumer_group_heartbeat_request::TopicPartitions as Owned,
        consumer_group_heartbeat_response::TopicPartitions as Assigned,
    };
}
