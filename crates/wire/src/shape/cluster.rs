//! Schemas of requests about the cluster as a whole: versions, features and settings.

use super::{
    BOOL, Field, I8, I16, I32, Item, NULLABLE_TEXT, Shape, TEXT, always, between, since, structs,
};

pub(super) const API_VERSIONS: &[Field] = &[since(3, TEXT), since(3, TEXT)];

pub(super) const SASL_HANDSHAKE: &[Field] = &[always(TEXT)];

pub(super) const DESCRIBE_CLUSTER: &[Field] = &[always(BOOL), since(1, I8), since(2, BOOL)];

pub(super) const DESCRIBE_CONFIGS: &[Field] = {
    const RESOURCE: Item = Item::Struct(&[
        always(I8),
        always(TEXT),
        always(Shape::NullableArray(&Item::Plain(TEXT), 0)),
    ]);
    &[always(structs(&RESOURCE)), always(BOOL), since(3, BOOL)]
};

pub(super) const ALTER_CONFIGS: &[Field] = {
    const CONFIG: Item = Item::Struct(&[always(TEXT), always(NULLABLE_TEXT)]);
    const RESOURCE: Item = Item::Struct(&[always(I8), always(TEXT), always(structs(&CONFIG))]);
    &[always(structs(&RESOURCE)), always(BOOL)]
};

pub(super) const INCREMENTAL_ALTER_CONFIGS: &[Field] = {
    const CONFIG: Item = Item::Struct(&[always(TEXT), always(I8), always(NULLABLE_TEXT)]);
    const RESOURCE: Item = Item::Struct(&[always(I8), always(TEXT), always(structs(&CONFIG))]);
    &[always(structs(&RESOURCE)), always(BOOL)]
};

pub(super) const UPDATE_FEATURES: &[Field] = {
    const UPDATE: Item =
        Item::Struct(&[always(TEXT), always(I16), between(0, 0, BOOL), since(1, I8)]);
    &[always(I32), always(structs(&UPDATE)), since(1, BOOL)]
};

pub(super) const LIST_CONFIG_RESOURCES: &[Field] = &[since(1, Shape::Array(&Item::Plain(I8)))];
