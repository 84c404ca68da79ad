//! Every message the codec reads or writes, in every version we serve, against another implementation of the protocol.
//!
//! Bodies are made at random from the schemas, all fields set: those of the requests are the guard's own, those of the responses stand
//! in `responses`. Both implementations must read every byte and write the same bytes again; so codec, oracle and guard agree on each
//! field's place and size, or the test fails.

mod responses;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages as oracle,
    protocol::{Decodable, Encodable},
};

use crate::{
    api::ApiKey,
    cursor::Form,
    header::{ReplyTo, Request},
    messages::{self, RequestMessage, ResponseMessage},
    put,
    shape::{Field, Item, Shape, guard, request},
};

/// A small deterministic generator (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Writes one random body twice: with and without unknown tags.
struct Author {
    chance: Chance,
    version: i16,
    form: Form,
    dirty: BytesMut,
    clean: BytesMut,
}

impl Author {
    fn write(chance: u64, version: i16, form: Form, fields: &[Field]) -> (Bytes, Bytes) {
        let mut author = Self {
            chance: Chance(chance),
            version,
            form,
            dirty: BytesMut::new(),
            clean: BytesMut::new(),
        };
        author.structure(fields);
        (author.dirty.freeze(), author.clean.freeze())
    }

    fn both(&mut self, write: impl Fn(&mut BytesMut)) {
        write(&mut self.dirty);
        write(&mut self.clean);
    }

    fn structure(&mut self, fields: &[Field]) {
        for field in fields {
            if (field.since..=field.last).contains(&self.version) {
                self.field(&field.shape);
            }
        }
        put::no_tags(&mut self.clean, self.form);
        if self.form.is_compact() {
            let tags = self.chance.below(3);
            put::uvarint(&mut self.dirty, tags.try_into().unwrap());
            for _ in 0..tags {
                // Numbers far from the known ones; they repeat and fall.
                put::uvarint(&mut self.dirty, 900 + u32::try_from(self.chance.below(3)).unwrap());
                let size = self.chance.below(4);
                put::uvarint(&mut self.dirty, size.try_into().unwrap());
                self.dirty.put_bytes(0xee, size.try_into().unwrap());
            }
        }
    }

    fn field(&mut self, shape: &Shape) {
        let (version, form) = (self.version, self.form);
        let null = self.chance.below(4) == 0;
        match *shape {
            Shape::Bool => {
                let value = u8::try_from(self.chance.below(2)).unwrap();
                self.both(|out| out.put_u8(value));
            }
            Shape::Fixed(length) => {
                for _ in 0..length {
                    let byte = u8::try_from(1 + self.chance.below(255)).unwrap();
                    self.both(|out| out.put_u8(byte));
                }
            }
            Shape::NullableText(since) if since <= version && null => {
                self.both(|out| put::nullable_text(out, form, None).unwrap());
            }
            Shape::Text | Shape::NullableText(_) => {
                let length = usize::try_from(self.chance.below(200)).unwrap();
                let text = "t\u{e9}xt".repeat(length);
                self.both(|out| put::text(out, form, &text).unwrap());
            }
            Shape::NullableArray(_, since) if since <= version && null => {
                self.both(|out| put::nullable_count(out, form, None).unwrap());
            }
            Shape::Array(item) | Shape::NullableArray(item, _) => {
                let count = usize::try_from(self.chance.below(4)).unwrap();
                self.both(|out| put::count(out, form, count).unwrap());
                for _ in 0..count {
                    match item {
                        Item::Plain(shape) => self.field(shape),
                        Item::Struct(fields) => self.structure(fields),
                    }
                }
            }
            Shape::Bytes => {
                let length = usize::try_from(self.chance.below(300)).unwrap();
                self.both(|out| {
                    put::count(out, form, length).unwrap();
                    out.put_bytes(0xff, length);
                });
            }
            Shape::Struct(fields) => self.structure(fields),
            Shape::NullableStruct(_) if null => self.both(|out| out.put_i8(-1)),
            Shape::NullableStruct(fields) => {
                self.both(|out| out.put_i8(1));
                self.structure(fields);
            }
        }
    }
}

/// Reads with the oracle, to the last byte, and writes again.
fn through_oracle<M: Decodable + Encodable>(body: &Bytes, version: i16, what: &str) {
    let mut rest = body.clone();
    let read = M::decode(&mut rest, version).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(!rest.has_remaining(), "{what}: the oracle leaves {} bytes", rest.len());
    let mut written = BytesMut::new();
    read.encode(&mut written, version).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(written.freeze(), body, "{what}: the oracle writes other bytes");
}

trait Rewrite: Sized {
    fn read(buf: &mut Bytes, version: i16) -> Self;
    fn write(&self, out: &mut BytesMut, version: i16);
}

macro_rules! rewrite {
    ($($module:ident)*) => {$(
        impl Rewrite for messages::$module::Request {
            fn read(buf: &mut Bytes, version: i16) -> Self {
                <Self as RequestMessage>::read_body(buf, version).unwrap()
            }
            fn write(&self, out: &mut BytesMut, version: i16) {
                Self::write(self, out, version).unwrap();
            }
        }
        impl Rewrite for messages::$module::Response {
            fn read(buf: &mut Bytes, version: i16) -> Self {
                Self::read(buf, version).unwrap()
            }
            fn write(&self, out: &mut BytesMut, version: i16) {
                <Self as ResponseMessage>::write_body(self, out, version).unwrap();
            }
        }
    )*};
}

fn through_codec<M: Rewrite>(body: &Bytes, version: i16, what: &str) {
    let mut rest = body.clone();
    let read = M::read(&mut rest, version);
    assert!(!rest.has_remaining(), "{what}: the codec leaves {} bytes", rest.len());
    let mut written = BytesMut::new();
    read.write(&mut written, version);
    assert_eq!(written.freeze(), body, "{what}: the codec writes other bytes");
}

/// The newest version that the oracle knows, where it is behind Kafka 4.3. The newer ones are held against our schemas alone.
#[expect(clippy::wildcard_enum_match_arm, reason = "it knows all others as we do")]
const fn oracle_max(api: ApiKey) -> i16 {
    match api {
        ApiKey::ListOffsets => 10,
        ApiKey::DescribeLogDirs => 4,
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 9,
        ApiKey::InitProducerId => 5,
        ApiKey::WriteTxnMarkers => 1,
        _ => i16::MAX,
    }
}

macro_rules! agree {
    ($($test:ident $api:ident $module:ident $request:ident $response:ident)*) => {
        rewrite! { $($module)* }
        $(
            #[test]
            fn $test() {
                let api = ApiKey::$api;
                let versions = api.readable().unwrap();
                for version in versions.min..=versions.max {
                    for seed in 0..40 {
                        let what = format!("{api} {version}, seed {seed}");
                        let form = Form::of(api.is_flexible(version));
                        let fields = request(api).unwrap();
                        let (dirty, clean) = Author::write(seed, version, form, fields);
                        assert_eq!(guard(fields, version, form, &dirty).unwrap(), clean, "{what}");
                        through_codec::<messages::$module::Request>(&clean, version, &what);
                        let reply_to = ReplyTo { api, version, correlation_id: 0 };
                        let whole = Request { reply_to, client_id: None, body: dirty };
                        whole.decode::<messages::$module::Request>().unwrap();
                        let (_, answer) = Author::write(seed, version, form, responses::response(api));
                        through_codec::<messages::$module::Response>(&answer, version, &what);
                        if version <= oracle_max(api) {
                            through_oracle::<oracle::$request>(&clean, version, &what);
                            through_oracle::<oracle::$response>(&answer, version, &what);
                        }
                    }
                }
            }
        )*
    };
}

agree! {
    list_offsets_agrees ListOffsets list_offsets ListOffsetsRequest ListOffsetsResponse
    metadata_agrees Metadata metadata MetadataRequest MetadataResponse
    create_topics_agrees CreateTopics create_topics CreateTopicsRequest CreateTopicsResponse
    delete_topics_agrees DeleteTopics delete_topics DeleteTopicsRequest DeleteTopicsResponse
    delete_records_agrees DeleteRecords delete_records DeleteRecordsRequest DeleteRecordsResponse
    init_producer_id_agrees InitProducerId init_producer_id InitProducerIdRequest InitProducerIdResponse
    offset_for_leader_epoch_agrees OffsetForLeaderEpoch offset_for_leader_epoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse
    describe_configs_agrees DescribeConfigs describe_configs DescribeConfigsRequest DescribeConfigsResponse
    alter_configs_agrees AlterConfigs alter_configs AlterConfigsRequest AlterConfigsResponse
    incremental_alter_configs_agrees IncrementalAlterConfigs incremental_alter_configs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse
    create_partitions_agrees CreatePartitions create_partitions CreatePartitionsRequest CreatePartitionsResponse
    elect_leaders_agrees ElectLeaders elect_leaders ElectLeadersRequest ElectLeadersResponse
    describe_log_dirs_agrees DescribeLogDirs describe_log_dirs DescribeLogDirsRequest DescribeLogDirsResponse
    describe_cluster_agrees DescribeCluster describe_cluster DescribeClusterRequest DescribeClusterResponse
    describe_producers_agrees DescribeProducers describe_producers DescribeProducersRequest DescribeProducersResponse
    describe_topic_partitions_agrees DescribeTopicPartitions describe_topic_partitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse
    offset_commit_agrees OffsetCommit offset_commit OffsetCommitRequest OffsetCommitResponse
    offset_fetch_agrees OffsetFetch offset_fetch OffsetFetchRequest OffsetFetchResponse
    find_coordinator_agrees FindCoordinator find_coordinator FindCoordinatorRequest FindCoordinatorResponse
    join_group_agrees JoinGroup join_group JoinGroupRequest JoinGroupResponse
    heartbeat_agrees Heartbeat heartbeat HeartbeatRequest HeartbeatResponse
    leave_group_agrees LeaveGroup leave_group LeaveGroupRequest LeaveGroupResponse
    sync_group_agrees SyncGroup sync_group SyncGroupRequest SyncGroupResponse
    describe_groups_agrees DescribeGroups describe_groups DescribeGroupsRequest DescribeGroupsResponse
    list_groups_agrees ListGroups list_groups ListGroupsRequest ListGroupsResponse
    delete_groups_agrees DeleteGroups delete_groups DeleteGroupsRequest DeleteGroupsResponse
    offset_delete_agrees OffsetDelete offset_delete OffsetDeleteRequest OffsetDeleteResponse
    consumer_group_heartbeat_agrees ConsumerGroupHeartbeat consumer_group_heartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse
    consumer_group_describe_agrees ConsumerGroupDescribe consumer_group_describe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse
    add_partitions_to_txn_agrees AddPartitionsToTxn add_partitions_to_txn AddPartitionsToTxnRequest AddPartitionsToTxnResponse
    add_offsets_to_txn_agrees AddOffsetsToTxn add_offsets_to_txn AddOffsetsToTxnRequest AddOffsetsToTxnResponse
    end_txn_agrees EndTxn end_txn EndTxnRequest EndTxnResponse
    write_txn_markers_agrees WriteTxnMarkers write_txn_markers WriteTxnMarkersRequest WriteTxnMarkersResponse
    txn_offset_commit_agrees TxnOffsetCommit txn_offset_commit TxnOffsetCommitRequest TxnOffsetCommitResponse
    describe_transactions_agrees DescribeTransactions describe_transactions DescribeTransactionsRequest DescribeTransactionsResponse
    list_transactions_agrees ListTransactions list_transactions ListTransactionsRequest ListTransactionsResponse
    sasl_handshake_agrees SaslHandshake sasl_handshake SaslHandshakeRequest SaslHandshakeResponse
    update_features_agrees UpdateFeatures update_features UpdateFeaturesRequest UpdateFeaturesResponse
    list_config_resources_agrees ListConfigResources list_config_resources ListConfigResourcesRequest ListConfigResourcesResponse
}

#[test]
fn the_hidden_error_of_created_configs_travels_as_a_tag() {
    let topic = messages::create_topics::CreatableTopicResult {
        name: messages::text("orders"),
        topic_config_error_code: 29,
        ..Default::default()
    };
    let response = messages::create_topics::Response { topics: vec![topic], ..Default::default() };
    let mut body = BytesMut::new();
    response.write_body(&mut body, 7).unwrap();
    let read = oracle::CreateTopicsResponse::decode(&mut body.freeze(), 7).unwrap();
    assert_eq!(read.topics[0].topic_config_error_code, 29);
}
