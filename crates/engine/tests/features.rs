//! Features are raised and lowered as Apache Kafka 4.3.1 does it, and every directory has levels once it was opened.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use hanbeon::{
    Engine, ErrorCode, Feature, FeatureError, FeatureUpdate, LevelChange, Mode, OpenError, Options,
};
use hanbeon_log::{FsDir, ReadMode};
use hanbeon_meta::{
    FeaturesRow, Image, LoggedSettings, LoggedStore, MetadataStore, Row, RowKey, Txn, TxnResult,
};

const TXN: &str = "transaction.version";
const GROUP: &str = "group.version";

fn open(home: &Path) -> Engine {
    Engine::open_with(home, Options::broker()).unwrap()
}

fn up(feature: &str, level: i16) -> FeatureUpdate<'_> {
    FeatureUpdate { feature, level, change: LevelChange::Upgrade }
}

fn down(feature: &str, level: i16) -> FeatureUpdate<'_> {
    FeatureUpdate { feature, level, change: LevelChange::SafeDowngrade }
}

/// Epoch, `transaction.version`, `group.version`.
fn seen(engine: &Engine) -> (i64, i16, i16) {
    let features = engine.features();
    let level = |feature| features.level(feature);
    (features.epoch(), level(Feature::TransactionVersion), level(Feature::GroupVersion))
}

/// Changes the metadata of a directory that nobody has open.
fn rewrite(home: &Path, txn: &Txn) {
    let dir = FsDir::create(home, ReadMode::Map).unwrap();
    let store = LoggedStore::open(dir, LoggedSettings::STANDARD).unwrap();
    assert!(matches!(store.commit(txn).unwrap(), TxnResult::Committed(_)));
}

fn row(home: &Path) -> FeaturesRow {
    let dir = FsDir::create(home, ReadMode::Map).unwrap();
    let store = LoggedStore::open(dir, LoggedSettings::STANDARD).unwrap();
    Image::read(&store).unwrap().features().unwrap().row.clone()
}

#[test]
fn a_new_cluster_has_all_there_is_and_keeps_what_was_changed() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(home.path());
    assert_eq!(seen(&engine), (1, 2, 1));
    let changed = engine.update_features(&[down(TXN, 1)], Mode::Apply).unwrap();
    assert_eq!((changed, seen(&engine)), (engine.features(), (2, 1, 1)));
    engine.update_features(&[down(GROUP, 0)], Mode::Apply).unwrap();
    assert_eq!(seen(&engine), (3, 1, 0));
    drop(engine);
    let levels = [(TXN.to_owned(), 1)].into();
    assert_eq!(row(home.path()), FeaturesRow { epoch: 3, levels }, "off is not there");
    let engine = open(home.path());
    assert_eq!(seen(&engine), (3, 1, 0), "opening changes nothing");
    engine.update_features(&[up(GROUP, 1), up(TXN, 2)], Mode::Apply).unwrap();
    assert_eq!(seen(&engine), (4, 2, 1), "several levels are one change");
}

#[test]
fn what_is_refused_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(home.path());
    let refused = |updates: &[FeatureUpdate<'_>]| {
        let error = engine.update_features(updates, Mode::Apply).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidUpdateVersion, "{error}");
        assert_eq!(seen(&engine), (1, 2, 1));
        error
    };
    for name in ["no.such", "", "metadata.version"] {
        assert!(matches!(refused(&[up(name, 1)]), FeatureError::Unknown { .. }), "{name}");
        assert!(matches!(refused(&[down(name, 0)]), FeatureError::Unknown { .. }), "{name}");
    }
    for level in [3, -1, i16::MIN, i16::MAX] {
        assert!(matches!(refused(&[up(TXN, level)]), FeatureError::Level { max: 2, .. }));
        assert!(matches!(refused(&[down(TXN, level)]), FeatureError::Level { max: 2, .. }));
    }
    let lower = refused(&[up(TXN, 1)]);
    assert!(matches!(lower, FeatureError::Lower { current: 2, found: 1, .. }));
    // One that cannot be granted stops the others.
    refused(&[down(TXN, 1), up("no.such", 1)]);
    engine.update_features(&[down(TXN, 0)], Mode::Apply).unwrap();
    for change in [LevelChange::SafeDowngrade, LevelChange::UnsafeDowngrade] {
        let update = FeatureUpdate { feature: TXN, level: 2, change };
        let higher = engine.update_features(&[update], Mode::Apply).unwrap_err();
        assert!(matches!(higher, FeatureError::Higher { current: 0, found: 2, .. }), "{higher}");
    }
}

#[test]
fn an_update_to_where_it_is_or_for_looking_only_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(home.path());
    engine.update_features(&[], Mode::Apply).unwrap();
    engine.update_features(&[up(TXN, 2), down(GROUP, 1)], Mode::Apply).unwrap();
    engine.update_features(&[down(TXN, 0)], Mode::ValidateOnly).unwrap();
    assert!(engine.update_features(&[up(TXN, 0)], Mode::ValidateOnly).is_err());
    assert_eq!(seen(&engine), (1, 2, 1));
    // Of two wishes for one feature the last counts, also where the first could not be granted.
    engine.update_features(&[up(TXN, 9), down(TXN, 1)], Mode::Apply).unwrap();
    assert_eq!(seen(&engine), (2, 1, 1));
    assert!(engine.update_features(&[down(TXN, 0), up(TXN, 0)], Mode::Apply).is_err());
}

#[test]
fn a_directory_of_a_release_without_features_gets_them() {
    let home = tempfile::tempdir().unwrap();
    drop(open(home.path()));
    rewrite(home.path(), &Txn::new().delete(RowKey::Features.key()));
    let engine = open(home.path());
    assert_eq!(seen(&engine), (1, 2, 1));
    drop(engine);
    assert_eq!(seen(&open(home.path())), (1, 2, 1), "once");
}

#[test]
fn a_level_of_a_later_release_is_named_and_left_alone() {
    for (name, level, known) in [(TXN, 3, 2), ("share.version", 1, 0), (GROUP, -1, 1)] {
        let home = tempfile::tempdir().unwrap();
        drop(open(home.path()));
        let later = FeaturesRow { epoch: 9, levels: [(name.to_owned(), level)].into() };
        rewrite(home.path(), &Txn::new().put(RowKey::Features.key(), later.encode()));
        let refused = Engine::open_with(home.path(), Options::broker()).unwrap_err();
        let OpenError::Feature { max, found, .. } = refused else { panic!("{refused}") };
        assert_eq!((max, found), (known, level));
        assert_eq!(row(home.path()), later);
    }
}
