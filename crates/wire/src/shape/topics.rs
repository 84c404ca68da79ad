//! Schemas of requests about topics and partitions.

use super::{
    BOOL, Field, I8, I16, I32, I64, Item, NULLABLE_TEXT, NUMBERS, Shape, TEXT, TOPIC_PARTITIONS,
    UUID, always, between, since, structs,
};

pub(super) const LIST_OFFSETS: &[Field] = {
    const PARTITION: Item = Item::Struct(&[always(I32), since(4, I32), always(I64)]);
    const TOPIC: Item = Item::Struct(&[always(TEXT), always(structs(&PARTITION))]);
    &[always(I32), since(2, I8), always(structs(&TOPIC)), since(10, I32)]
};

pub(super) const METADATA: &[Field] = {
    const TOPIC: Item = Item::Struct(&[since(10, UUID), always(Shape::NullableText(10))]);
    &[always(Shape::NullableArray(&TOPIC, 1)), since(4, BOOL), between(8, 10, BOOL), since(8, BOOL)]
};

pub(super) const CREATE_TOPICS: &[Field] = {
    const ASSIGNMENT: Item = Item::Struct(&[always(I32), always(NUMBERS)]);
    const CONFIG: Item = Item::Struct(&[always(TEXT), always(NULLABLE_TEXT)]);
    const TOPIC: Item = Item::Struct(&[
        always(TEXT),
        always(I32),
        always(I16),
        always(structs(&ASSIGNMENT)),
        always(structs(&CONFIG)),
    ]);
    &[always(structs(&TOPIC)), always(I32), always(BOOL)]
};

pub(super) const DELETE_TOPICS: &[Field] = {
    const TOPIC: Item = Item::Struct(&[always(NULLABLE_TEXT), always(UUID)]);
    &[since(6, structs(&TOPIC)), between(0, 5, Shape::Array(&Item::Plain(TEXT))), always(I32)]
};

pub(super) const DELETE_RECORDS: &[Field] = {
    const PARTITION: Item = Item::Struct(&[always(I32), always(I64)]);
    const TOPIC: Item = Item::Struct(&[always(TEXT), always(structs(&PARTITION))]);
    &[always(structs(&TOPIC)), always(I32)]
};

pub(super) const OFFSET_FOR_LEADER_EPOCH: &[Field] = {
    const PARTITION: Item = Item::Struct(&[always(I32), always(I32), always(I32)]);
    const TOPIC: Item = Item::Struct(&[always(TEXT), always(structs(&PARTITION))]);
    &[since(3, I32), always(structs(&TOPIC))]
};

pub(super) const CREATE_PARTITIONS: &[Field] = {
    const ASSIGNMENT: Item = Item::Struct(&[always(NUMBERS)]);
    const TOPIC: Item =
        Item::Struct(&[always(TEXT), always(I32), always(Shape::NullableArray(&ASSIGNMENT, 0))]);
    &[always(structs(&TOPIC)), always(I32), always(BOOL)]
};

pub(super) const ELECT_LEADERS: &[Field] =
    &[since(1, I8), always(Shape::NullableArray(&TOPIC_PARTITIONS, 0)), always(I32)];

pub(super) const DESCRIBE_LOG_DIRS: &[Field] =
    &[always(Shape::NullableArray(&TOPIC_PARTITIONS, 0))];

pub(super) const DESCRIBE_PRODUCERS: &[Field] = &[always(structs(&TOPIC_PARTITIONS))];

pub(super) const DESCRIBE_TOPIC_PARTITIONS: &[Field] = {
    const TOPIC: Item = Item::Struct(&[always(TEXT)]);
    const CURSOR: &[Field] = &[always(TEXT), always(I32)];
    &[always(structs(&TOPIC)), always(I32), always(Shape::NullableStruct(CURSOR))]
};
