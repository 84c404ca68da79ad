//! Schemas of requests about producer ids and transactions.

use super::{
    BOOL, Field, I8, I16, I32, I64, Item, NULLABLE_TEXT, Shape, TEXT, TEXTS, TOPIC_PARTITIONS,
    always, between, since, structs,
};

/// From version 6 on with the two questions of KIP-939: enable two-phase commit, keep a prepared transaction.
pub(super) const INIT_PRODUCER_ID: &[Field] = &[
    always(NULLABLE_TEXT),
    always(I32),
    since(3, I64),
    since(3, I16),
    since(6, BOOL),
    since(6, BOOL),
];

/// One transaction up to version 3, which clients send; a list of them from version 4 on, which brokers send.
pub(super) const ADD_PARTITIONS_TO_TXN: &[Field] = {
    const TRANSACTION: Item = Item::Struct(&[
        always(TEXT),
        always(I64),
        always(I16),
        always(BOOL),
        always(structs(&TOPIC_PARTITIONS)),
    ]);
    &[
        since(4, structs(&TRANSACTION)),
        between(0, 3, TEXT),
        between(0, 3, I64),
        between(0, 3, I16),
        between(0, 3, structs(&TOPIC_PARTITIONS)),
    ]
};

pub(super) const ADD_OFFSETS_TO_TXN: &[Field] =
    &[always(TEXT), always(I64), always(I16), always(TEXT)];

pub(super) const END_TXN: &[Field] = &[always(TEXT), always(I64), always(I16), always(BOOL)];

pub(super) const WRITE_TXN_MARKERS: &[Field] = {
    const MARKER: Item = Item::Struct(&[
        always(I64),
        always(I16),
        always(BOOL),
        always(structs(&TOPIC_PARTITIONS)),
        always(I32),
        since(2, I8),
    ]);
    &[always(structs(&MARKER))]
};

pub(super) const TXN_OFFSET_COMMIT: &[Field] = {
    const PARTITION: Item =
        Item::Struct(&[always(I32), always(I64), since(2, I32), always(NULLABLE_TEXT)]);
    const TOPIC: Item = Item::Struct(&[always(TEXT), always(structs(&PARTITION))]);
    &[
        always(TEXT),
        always(TEXT),
        always(I64),
        always(I16),
        since(3, I32),
        since(3, TEXT),
        since(3, NULLABLE_TEXT),
        always(structs(&TOPIC)),
    ]
};

pub(super) const DESCRIBE_TRANSACTIONS: &[Field] = &[always(TEXTS)];

pub(super) const LIST_TRANSACTIONS: &[Field] = &[
    always(TEXTS),
    always(Shape::Array(&Item::Plain(I64))),
    since(1, I64),
    since(2, NULLABLE_TEXT),
];
