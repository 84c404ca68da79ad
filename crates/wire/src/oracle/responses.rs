//! The schemas of the responses that the codec writes, for the comparison alone.

use crate::{
    api::ApiKey,
    shape::{
        BOOL, BYTES, Field, I8, I16, I32, I64, Item, NULLABLE_TEXT, NUMBERS, Shape, TEXT, TEXTS,
        TOPIC_PARTITIONS, UUID, always, between, since, structs,
    },
};

const CONFIG_SYNONYM: Item = Item::Struct(&[always(TEXT), always(NULLABLE_TEXT), always(I8)]);
const ALTERED: Item = Item::Struct(&[always(I16), always(NULLABLE_TEXT), always(I8), always(TEXT)]);
const BROKER: Item =
    Item::Struct(&[always(I32), always(TEXT), always(I32), since(1, NULLABLE_TEXT)]);
const METADATA_PARTITION: Item = Item::Struct(&[
    always(I16),
    always(I32),
    always(I32),
    since(7, I32),
    always(NUMBERS),
    always(NUMBERS),
    since(5, NUMBERS),
]);
const METADATA_TOPIC: Item = Item::Struct(&[
    always(I16),
    always(Shape::NullableText(12)),
    since(10, UUID),
    since(1, BOOL),
    always(structs(&METADATA_PARTITION)),
    since(8, I32),
]);
const LISTED: Item = Item::Struct(&[
    always(TEXT),
    always(structs(&Item::Struct(&[
        always(I32),
        always(I16),
        always(I64),
        always(I64),
        since(4, I32),
    ]))),
]);
const CREATED: Item = Item::Struct(&[
    always(TEXT),
    since(7, UUID),
    always(I16),
    always(NULLABLE_TEXT),
    since(5, I32),
    since(5, I16),
    since(
        5,
        Shape::NullableArray(
            &Item::Struct(&[
                always(TEXT),
                always(NULLABLE_TEXT),
                always(BOOL),
                always(I8),
                always(BOOL),
            ]),
            0,
        ),
    ),
]);
const DELETED: Item = Item::Struct(&[
    always(Shape::NullableText(6)),
    since(6, UUID),
    always(I16),
    since(5, NULLABLE_TEXT),
]);
const CUT: Item = Item::Struct(&[
    always(TEXT),
    always(structs(&Item::Struct(&[always(I32), always(I64), always(I16)]))),
]);
const EPOCH_ENDS: Item = Item::Struct(&[
    always(TEXT),
    always(structs(&Item::Struct(&[always(I16), always(I32), always(I32), always(I64)]))),
]);
const DESCRIBED: Item = Item::Struct(&[
    always(I16),
    always(NULLABLE_TEXT),
    always(I8),
    always(TEXT),
    always(structs(&Item::Struct(&[
        always(TEXT),
        always(NULLABLE_TEXT),
        always(BOOL),
        always(I8),
        always(BOOL),
        always(structs(&CONFIG_SYNONYM)),
        since(3, I8),
        since(3, NULLABLE_TEXT),
    ]))),
]);
const PAGE: &[Field] = &[always(TEXT), always(I32)];
const GROWN: Item = Item::Struct(&[always(TEXT), always(I16), always(NULLABLE_TEXT)]);
const ELECTED: Item = Item::Struct(&[
    always(TEXT),
    always(structs(&Item::Struct(&[always(I32), always(I16), always(NULLABLE_TEXT)]))),
]);
const LOG_DIR: Item = Item::Struct(&[
    always(I16),
    always(TEXT),
    always(structs(&Item::Struct(&[
        always(TEXT),
        always(structs(&Item::Struct(&[always(I32), always(I64), always(I64), always(BOOL)]))),
    ]))),
    since(4, I64),
    since(4, I64),
    since(5, BOOL),
]);
const CLUSTER_BROKER: Item =
    Item::Struct(&[always(I32), always(TEXT), always(I32), always(NULLABLE_TEXT), since(2, BOOL)]);
const PRODUCERS: Item = Item::Struct(&[
    always(TEXT),
    always(structs(&Item::Struct(&[
        always(I32),
        always(I16),
        always(NULLABLE_TEXT),
        always(structs(&Item::Struct(&[
            always(I64),
            always(I32),
            always(I32),
            always(I64),
            always(I32),
            always(I64),
        ]))),
    ]))),
]);
const NULLABLE_NUMBERS: Shape = Shape::NullableArray(&Item::Plain(I32), 0);
const PAGED: Item = Item::Struct(&[
    always(I16),
    always(NULLABLE_TEXT),
    always(UUID),
    always(BOOL),
    always(structs(&Item::Struct(&[
        always(I16),
        always(I32),
        always(I32),
        always(I32),
        always(NUMBERS),
        always(NUMBERS),
        always(NULLABLE_NUMBERS),
        always(NULLABLE_NUMBERS),
        always(NUMBERS),
    ]))),
    always(I32),
]);

/// What became of each partition of each topic.
const OUTCOMES: Item =
    Item::Struct(&[always(TEXT), always(structs(&Item::Struct(&[always(I32), always(I16)])))]);

#[expect(clippy::wildcard_enum_match_arm, reason = "the others have no response shape")]
pub(super) fn response(api: ApiKey) -> &'static [Field] {
    match api {
        ApiKey::ListOffsets => const { &[since(2, I32), always(structs(&LISTED))] },
        ApiKey::Metadata => {
            const {
                &[
                    since(3, I32),
                    always(structs(&BROKER)),
                    since(2, NULLABLE_TEXT),
                    since(1, I32),
                    always(structs(&METADATA_TOPIC)),
                    between(8, 10, I32),
                    since(13, I16),
                ]
            }
        }
        ApiKey::CreateTopics => const { &[always(I32), always(structs(&CREATED))] },
        ApiKey::DeleteTopics => const { &[always(I32), always(structs(&DELETED))] },
        ApiKey::DeleteRecords => const { &[always(I32), always(structs(&CUT))] },
        ApiKey::OffsetForLeaderEpoch => const { &[always(I32), always(structs(&EPOCH_ENDS))] },
        ApiKey::DescribeConfigs => const { &[always(I32), always(structs(&DESCRIBED))] },
        ApiKey::AlterConfigs | ApiKey::IncrementalAlterConfigs => {
            const { &[always(I32), always(structs(&ALTERED))] }
        }
        ApiKey::CreatePartitions => const { &[always(I32), always(structs(&GROWN))] },
        ApiKey::ElectLeaders => const { &[always(I32), since(1, I16), always(structs(&ELECTED))] },
        ApiKey::DescribeLogDirs => {
            const { &[always(I32), since(3, I16), always(structs(&LOG_DIR))] }
        }
        ApiKey::DescribeCluster => {
            const {
                &[
                    always(I32),
                    always(I16),
                    always(NULLABLE_TEXT),
                    since(1, I8),
                    always(TEXT),
                    always(I32),
                    always(structs(&CLUSTER_BROKER)),
                    always(I32),
                ]
            }
        }
        ApiKey::DescribeProducers => const { &[always(I32), always(structs(&PRODUCERS))] },
        ApiKey::DescribeTopicPartitions => {
            const { &[always(I32), always(structs(&PAGED)), always(Shape::NullableStruct(PAGE))] }
        }
        other => coordinators(other).unwrap_or_else(|| panic!("{other} has no response shape")),
    }
}

/// The responses about groups, transactions and features.
#[expect(clippy::wildcard_enum_match_arm, reason = "the others have no response shape")]
fn coordinators(api: ApiKey) -> Option<&'static [Field]> {
    Some(match api {
        ApiKey::FindCoordinator => FIND_COORDINATOR,
        ApiKey::JoinGroup => JOIN_GROUP,
        ApiKey::SyncGroup => SYNC_GROUP,
        ApiKey::Heartbeat => const { &[since(1, I32), always(I16)] },
        ApiKey::LeaveGroup => LEAVE_GROUP,
        ApiKey::DescribeGroups => DESCRIBE_GROUPS,
        ApiKey::ListGroups => LIST_GROUPS,
        ApiKey::DeleteGroups => DELETE_GROUPS,
        ApiKey::OffsetCommit => OFFSET_COMMIT,
        ApiKey::OffsetFetch => OFFSET_FETCH,
        ApiKey::OffsetDelete => const { &[always(I16), always(I32), always(structs(&OUTCOMES))] },
        ApiKey::ConsumerGroupHeartbeat => CONSUMER_GROUP_HEARTBEAT,
        ApiKey::ConsumerGroupDescribe => CONSUMER_GROUP_DESCRIBE,
        ApiKey::InitProducerId => INIT_PRODUCER_ID,
        ApiKey::AddPartitionsToTxn => ADD_PARTITIONS_TO_TXN,
        ApiKey::AddOffsetsToTxn => const { &[always(I32), always(I16)] },
        ApiKey::EndTxn => const { &[always(I32), always(I16), since(5, I64), since(5, I16)] },
        ApiKey::WriteTxnMarkers => WRITE_TXN_MARKERS,
        ApiKey::TxnOffsetCommit => const { &[always(I32), always(structs(&OUTCOMES))] },
        ApiKey::DescribeTransactions => DESCRIBE_TRANSACTIONS,
        ApiKey::ListTransactions => LIST_TRANSACTIONS,
        ApiKey::SaslHandshake => const { &[always(I16), always(TEXTS)] },
        ApiKey::UpdateFeatures => UPDATE_FEATURES,
        ApiKey::ListConfigResources => LIST_CONFIG_RESOURCES,
        _ => return None,
    })
}

const FIND_COORDINATOR: &[Field] = {
    const FOUND: Item = Item::Struct(&[
        always(TEXT),
        always(I32),
        always(TEXT),
        always(I32),
        always(I16),
        always(NULLABLE_TEXT),
    ]);
    &[
        since(1, I32),
        between(0, 3, I16),
        between(1, 3, NULLABLE_TEXT),
        between(0, 3, I32),
        between(0, 3, TEXT),
        between(0, 3, I32),
        since(4, structs(&FOUND)),
    ]
};

const JOIN_GROUP: &[Field] = {
    const MEMBER: Item = Item::Struct(&[always(TEXT), since(5, NULLABLE_TEXT), always(BYTES)]);
    &[
        since(2, I32),
        always(I16),
        always(I32),
        since(7, NULLABLE_TEXT),
        always(Shape::NullableText(7)),
        always(TEXT),
        since(9, BOOL),
        always(TEXT),
        always(structs(&MEMBER)),
    ]
};

const SYNC_GROUP: &[Field] =
    &[since(1, I32), always(I16), since(5, NULLABLE_TEXT), since(5, NULLABLE_TEXT), always(BYTES)];

const LEAVE_GROUP: &[Field] = {
    const MEMBER: Item = Item::Struct(&[always(TEXT), always(NULLABLE_TEXT), always(I16)]);
    &[since(1, I32), always(I16), since(3, structs(&MEMBER))]
};

const DESCRIBE_GROUPS: &[Field] = {
    const MEMBER: Item = Item::Struct(&[
        always(TEXT),
        since(4, NULLABLE_TEXT),
        always(TEXT),
        always(TEXT),
        always(BYTES),
        always(BYTES),
    ]);
    const GROUP: Item = Item::Struct(&[
        always(I16),
        since(6, NULLABLE_TEXT),
        always(TEXT),
        always(TEXT),
        always(TEXT),
        always(TEXT),
        always(structs(&MEMBER)),
        since(3, I32),
    ]);
    &[since(1, I32), always(structs(&GROUP))]
};

const LIST_GROUPS: &[Field] = {
    const GROUP: Item = Item::Struct(&[always(TEXT), always(TEXT), since(4, TEXT), since(5, TEXT)]);
    &[since(1, I32), always(I16), always(structs(&GROUP))]
};

const DELETE_GROUPS: &[Field] = {
    const GROUP: Item = Item::Struct(&[always(TEXT), always(I16)]);
    &[always(I32), always(structs(&GROUP))]
};

const OFFSET_COMMIT: &[Field] = {
    const PARTITION: Item = Item::Struct(&[always(I32), always(I16)]);
    const TOPIC: Item =
        Item::Struct(&[between(0, 9, TEXT), since(10, UUID), always(structs(&PARTITION))]);
    &[since(3, I32), always(structs(&TOPIC))]
};

const OFFSET_FETCH: &[Field] = {
    const PARTITION: Item = Item::Struct(&[
        always(I32),
        always(I64),
        since(5, I32),
        always(NULLABLE_TEXT),
        always(I16),
    ]);
    const TOPIC: Item =
        Item::Struct(&[between(0, 9, TEXT), since(10, UUID), always(structs(&PARTITION))]);
    const GROUP: Item = Item::Struct(&[always(TEXT), always(structs(&TOPIC)), always(I16)]);
    &[since(3, I32), between(0, 7, structs(&TOPIC)), between(2, 7, I16), since(8, structs(&GROUP))]
};

const CONSUMER_GROUP_HEARTBEAT: &[Field] = {
    const PARTITIONS: Item = Item::Struct(&[always(UUID), always(NUMBERS)]);
    const ASSIGNMENT: &[Field] = &[always(structs(&PARTITIONS))];
    &[
        always(I32),
        always(I16),
        always(NULLABLE_TEXT),
        always(NULLABLE_TEXT),
        always(I32),
        always(I32),
        always(Shape::NullableStruct(ASSIGNMENT)),
    ]
};

const CONSUMER_GROUP_DESCRIBE: &[Field] = {
    const PARTITIONS: Item = Item::Struct(&[always(UUID), always(TEXT), always(NUMBERS)]);
    const ASSIGNMENT: Shape = Shape::Struct(&[always(structs(&PARTITIONS))]);
    const MEMBER: Item = Item::Struct(&[
        always(TEXT),
        always(NULLABLE_TEXT),
        always(NULLABLE_TEXT),
        always(I32),
        always(TEXT),
        always(TEXT),
        always(TEXTS),
        always(NULLABLE_TEXT),
        always(ASSIGNMENT),
        always(ASSIGNMENT),
        since(1, I8),
    ]);
    const GROUP: Item = Item::Struct(&[
        always(I16),
        always(NULLABLE_TEXT),
        always(TEXT),
        always(TEXT),
        always(I32),
        always(I32),
        always(TEXT),
        always(structs(&MEMBER)),
        always(I32),
    ]);
    &[always(I32), always(structs(&GROUP))]
};

const INIT_PRODUCER_ID: &[Field] =
    &[always(I32), always(I16), always(I64), always(I16), since(6, I64), since(6, I16)];

const ADD_PARTITIONS_TO_TXN: &[Field] = {
    const TRANSACTION: Item = Item::Struct(&[always(TEXT), always(structs(&OUTCOMES))]);
    &[
        always(I32),
        since(4, I16),
        since(4, structs(&TRANSACTION)),
        between(0, 3, structs(&OUTCOMES)),
    ]
};

const WRITE_TXN_MARKERS: &[Field] = {
    const MARKER: Item = Item::Struct(&[always(I64), always(structs(&OUTCOMES))]);
    &[always(structs(&MARKER))]
};

const DESCRIBE_TRANSACTIONS: &[Field] = {
    const TRANSACTION: Item = Item::Struct(&[
        always(I16),
        always(TEXT),
        always(TEXT),
        always(I32),
        always(I64),
        always(I64),
        always(I16),
        always(structs(&TOPIC_PARTITIONS)),
    ]);
    &[always(I32), always(structs(&TRANSACTION))]
};

const LIST_TRANSACTIONS: &[Field] = {
    const TRANSACTION: Item = Item::Struct(&[always(TEXT), always(I64), always(TEXT)]);
    &[always(I32), always(I16), always(TEXTS), always(structs(&TRANSACTION))]
};

const UPDATE_FEATURES: &[Field] = {
    const RESULT: Item = Item::Struct(&[always(TEXT), always(I16), always(NULLABLE_TEXT)]);
    &[always(I32), always(I16), always(NULLABLE_TEXT), between(0, 1, structs(&RESULT))]
};

const LIST_CONFIG_RESOURCES: &[Field] = {
    const RESOURCE: Item = Item::Struct(&[always(TEXT), since(1, I8)]);
    &[always(I32), always(I16), always(structs(&RESOURCE))]
};
