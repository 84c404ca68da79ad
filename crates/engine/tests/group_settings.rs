//! Settings of groups as Apache Kafka 4.3.1 describes and takes them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use hanbeon::{
    BrokerScope, ConfigChange, ConfigOp, ConfigSource, ConfigType, Engine, ErrorCode,
    GroupSettings, Mode, Options, TopicError,
};

const ASSIGNMENT: &str = "consumer.assignment.interval.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const SESSION: &str = "consumer.session.timeout.ms";

fn open(home: &tempfile::TempDir) -> Engine {
    Engine::open_with(home.path(), Options::broker()).unwrap()
}

fn set(key: &str, value: &str) -> ConfigChange {
    ConfigChange { key: key.to_owned(), op: ConfigOp::Set(value.to_owned()) }
}

fn delete(key: &str) -> ConfigChange {
    ConfigChange { key: key.to_owned(), op: ConfigOp::Delete }
}

fn counts(engine: &Engine, group: &str) -> (i32, i32, i32) {
    let GroupSettings { assignment_interval_ms, heartbeat_interval_ms, session_timeout_ms } =
        engine.group_settings(group);
    (assignment_interval_ms, heartbeat_interval_ms, session_timeout_ms)
}

#[test]
fn a_group_that_does_not_exist_has_the_brokers_settings() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(&home);
    assert_eq!(counts(&engine, "g"), (1000, 5000, 45_000));
    let all = engine.describe_group_config("g", None).unwrap();
    let seen: Vec<_> = all.iter().map(|one| (one.name, one.value.as_deref())).collect();
    let defaults =
        [(ASSIGNMENT, Some("1000")), (HEARTBEAT, Some("5000")), (SESSION, Some("45000"))];
    assert_eq!(seen, defaults);
    assert!(all.iter().all(|one| one.config_type == ConfigType::Int));
    assert!(all.iter().all(|one| one.source == ConfigSource::Default));
    assert_eq!(all[2].synonyms[0].name, "group.consumer.session.timeout.ms");
    let asked = engine.describe_group_config("g", Some(&[SESSION, "no.such"])).unwrap();
    assert_eq!(asked.len(), 1);
    // The one of the three that can change while the server runs.
    let changes = [set("group.consumer.assignment.interval.ms", "2000")];
    engine.alter_broker_config(BrokerScope::All, &changes, Mode::Apply).unwrap();
    assert_eq!(counts(&engine, "g"), (2000, 5000, 45_000));
    let fixed = [set("group.consumer.session.timeout.ms", "50000")];
    let refused = engine.alter_broker_config(BrokerScope::This, &fixed, Mode::Apply).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidRequest);
}

#[test]
fn what_was_set_counts_is_kept_and_can_be_taken_back() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(&home);
    let changes = [set(SESSION, "50000"), set(HEARTBEAT, "6000")];
    engine.alter_group_config("a/b c", &changes, Mode::ValidateOnly).unwrap();
    assert!(engine.configured_groups().is_empty());
    engine.alter_group_config("a/b c", &changes, Mode::Apply).unwrap();
    assert_eq!(counts(&engine, "a/b c"), (1000, 6000, 50_000));
    assert_eq!(counts(&engine, "other"), (1000, 5000, 45_000));
    drop(engine);

    let engine = open(&home);
    assert_eq!(engine.configured_groups(), ["a/b c"]);
    let described = engine.describe_group_config("a/b c", Some(&[SESSION])).unwrap();
    let seen: Vec<_> = described[0].synonyms.iter().map(|one| (one.name, one.source)).collect();
    let synonyms = [
        (SESSION, ConfigSource::Group),
        ("group.consumer.session.timeout.ms", ConfigSource::Default),
    ];
    assert_eq!((described[0].source.number(), &seen[..]), (8, &synonyms[..]));

    engine.replace_group_config("a/b c", &[(ASSIGNMENT, Some("0"))], Mode::Apply).unwrap();
    assert_eq!(counts(&engine, "a/b c"), (0, 5000, 45_000));
    engine.alter_group_config("a/b c", &[delete(ASSIGNMENT)], Mode::Apply).unwrap();
    assert!(engine.configured_groups().is_empty(), "nothing set is no row");
}

#[test]
fn what_is_out_of_the_brokers_bounds_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let engine = open(&home);
    let refused = |changes: &[ConfigChange]| -> TopicError {
        let refused = engine.alter_group_config("g", changes, Mode::Apply).unwrap_err();
        assert!(engine.configured_groups().is_empty());
        refused
    };
    for (key, value) in [
        (SESSION, "44999"),
        (SESSION, "60001"),
        (SESSION, "soon"),
        (HEARTBEAT, "4999"),
        (HEARTBEAT, "15001"),
        (ASSIGNMENT, "-1"),
        (ASSIGNMENT, "15001"),
        ("no.such", "1"),
        ("retention.ms", "1"),
    ] {
        let error = refused(&[set(key, value)]);
        assert_eq!(error.code(), ErrorCode::InvalidConfig, "{key} = {value}: {error}");
    }
    let append = ConfigChange { key: SESSION.to_owned(), op: ConfigOp::Append("1".to_owned()) };
    assert_eq!(refused(&[append]).code(), ErrorCode::InvalidConfig);
    let twice = refused(&[set(SESSION, "46000"), set(SESSION, "47000")]);
    assert_eq!(twice.code(), ErrorCode::InvalidRequest);
    let nameless = engine.alter_group_config("", &[set(SESSION, "46000")], Mode::Apply);
    assert_eq!(nameless.unwrap_err().code(), ErrorCode::InvalidRequest);
    let nameless = engine.describe_group_config("", None).unwrap_err();
    assert_eq!(nameless.code(), ErrorCode::InvalidRequest);
    for (key, value) in [(SESSION, "45000"), (SESSION, "60000"), (HEARTBEAT, "15000")] {
        engine.alter_group_config("g", &[set(key, value)], Mode::ValidateOnly).unwrap();
    }
}

/// Only where the broker's own bounds let the two meet.
#[test]
fn a_session_outlives_a_heartbeat() {
    let home = tempfile::tempdir().unwrap();
    let options = Options::broker()
        .set("group.consumer.min.session.timeout.ms", "1000")
        .unwrap()
        .set("group.consumer.max.heartbeat.interval.ms", "50000")
        .unwrap();
    let engine = Engine::open_with(home.path(), options).unwrap();
    for changes in [[set(SESSION, "5000")], [set(HEARTBEAT, "45000")]] {
        let refused = engine.alter_group_config("g", &changes, Mode::Apply).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidConfig);
    }
    engine.alter_group_config("g", &[set(SESSION, "5001")], Mode::Apply).unwrap();
}
