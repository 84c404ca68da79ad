//! Schemas of requests about groups, their members and their offsets.

use super::{
    BOOL, BYTES, Field, I8, I32, I64, Item, NULLABLE_TEXT, NUMBERS, Shape, TEXT, TEXTS,
    TOPIC_PARTITIONS, UUID, always, between, since, structs,
};

/// One key up to version 3, a list of them from version 4 on (KIP-699).
pub(super) const FIND_COORDINATOR: &[Field] = &[between(0, 3, TEXT), since(1, I8), since(4, TEXTS)];

pub(super) const JOIN_GROUP: &[Field] = {
    const PROTOCOL: Item = Item::Struct(&[always(TEXT), always(BYTES)]);
    &[
        always(TEXT),
        always(I32),
        since(1, I32),
        always(TEXT),
        since(5, NULLABLE_TEXT),
        always(TEXT),
        always(structs(&PROTOCOL)),
        since(8, NULLABLE_TEXT),
    ]
};

pub(super) const SYNC_GROUP: &[Field] = {
    const ASSIGNMENT: Item = Item::Struct(&[always(TEXT), always(BYTES)]);
    &[
        always(TEXT),
        always(I32),
        always(TEXT),
        since(3, NULLABLE_TEXT),
        since(5, NULLABLE_TEXT),
        since(5, NULLABLE_TEXT),
        always(structs(&ASSIGNMENT)),
    ]
};

pub(super) const HEARTBEAT: &[Field] =
    &[always(TEXT), always(I32), always(TEXT), since(3, NULLABLE_TEXT)];

pub(super) const LEAVE_GROUP: &[Field] = {
    const MEMBER: Item =
        Item::Struct(&[always(TEXT), always(NULLABLE_TEXT), since(5, NULLABLE_TEXT)]);
    &[always(TEXT), between(0, 2, TEXT), since(3, structs(&MEMBER))]
};

pub(super) const DESCRIBE_GROUPS: &[Field] = &[always(TEXTS), since(3, BOOL)];

pub(super) const LIST_GROUPS: &[Field] = &[since(4, TEXTS), since(5, TEXTS)];

pub(super) const DELETE_GROUPS: &[Field] = &[always(TEXTS)];

pub(super) const OFFSET_COMMIT: &[Field] = {
    const PARTITION: Item =
        Item::Struct(&[always(I32), always(I64), since(6, I32), always(NULLABLE_TEXT)]);
    const TOPIC: Item =
        Item::Struct(&[between(0, 9, TEXT), since(10, UUID), always(structs(&PARTITION))]);
    &[
        always(TEXT),
        always(I32),
        always(TEXT),
        since(7, NULLABLE_TEXT),
        between(0, 4, I64),
        always(structs(&TOPIC)),
    ]
};

/// One group up to version 7, a list of them from version 8 on (KIP-709). Null asks for all topics from version 2 on.
pub(super) const OFFSET_FETCH: &[Field] = {
    const TOPIC: Item = Item::Struct(&[between(0, 9, TEXT), since(10, UUID), always(NUMBERS)]);
    const GROUP: Item = Item::Struct(&[
        always(TEXT),
        since(9, NULLABLE_TEXT),
        since(9, I32),
        always(Shape::NullableArray(&TOPIC, 0)),
    ]);
    &[
        between(0, 7, TEXT),
        between(0, 7, Shape::NullableArray(&TOPIC_PARTITIONS, 2)),
        since(8, structs(&GROUP)),
        since(7, BOOL),
    ]
};

pub(super) const OFFSET_DELETE: &[Field] = {
    const PARTITION: Item = Item::Struct(&[always(I32)]);
    const TOPIC: Item = Item::Struct(&[always(TEXT), always(structs(&PARTITION))]);
    &[always(TEXT), always(structs(&TOPIC))]
};

pub(super) const CONSUMER_GROUP_HEARTBEAT: &[Field] = {
    const OWNED: Item = Item::Struct(&[always(UUID), always(NUMBERS)]);
    &[
        always(TEXT),
        always(TEXT),
        always(I32),
        always(NULLABLE_TEXT),
        always(NULLABLE_TEXT),
        always(I32),
        always(Shape::NullableArray(&Item::Plain(TEXT), 0)),
        since(1, NULLABLE_TEXT),
        always(NULLABLE_TEXT),
        always(Shape::NullableArray(&OWNED, 0)),
    ]
};

pub(super) const CONSUMER_GROUP_DESCRIBE: &[Field] = &[always(TEXTS), always(BOOL)];
