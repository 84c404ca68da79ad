//! Topics and settings as Apache Kafka answers about them (the codes are those of Kafka 4.3.1).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use hanbeon::{
    Acks, BrokerScope, ConfigChange, ConfigError, ConfigOp, ConfigSource, Engine, ErrorCode,
    FetchSpec, INTERNAL_TOPICS, Isolation, Mode, NewTopic, OpenError, Options, PartitionError,
    TopicError, TopicRef,
};
use hanbeon_log::{FsDir, ReadMode};
use hanbeon_meta::{
    ConfigScope, Configs, LoggedSettings, LoggedStore, MetadataStore as _, Row as _, RowKey, Txn,
    TxnResult,
};
use hanbeon_records::{NodeId, Offset, TopicId, TopicName};
use support::batch;

fn open() -> (tempfile::TempDir, Engine) {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    (home, engine)
}

fn code<T: std::fmt::Debug>(result: Result<T, TopicError>) -> ErrorCode {
    result.unwrap_err().code()
}

fn change(key: &str, op: ConfigOp) -> ConfigChange {
    ConfigChange { key: key.to_owned(), op }
}

fn set(key: &str, value: &str) -> ConfigChange {
    change(key, ConfigOp::Set(value.to_owned()))
}

/// Kafka 4.3.1 starts with them, and answers for ever that there is no coordinator.
#[test]
fn segments_that_an_internal_topic_cannot_have_are_refused_at_the_start() {
    for key in ["transaction.state.log.segment.bytes", "offsets.topic.segment.bytes"] {
        assert!(Options::broker().set(key, "1048575").is_err(), "{key}");
        let home = tempfile::tempdir().unwrap();
        let options = Options::broker().set(key, "1048576").unwrap();
        let engine = Engine::open_with(home.path(), options).unwrap();
        engine.transactions().ensure_log().unwrap();
        engine.groups().load("g").unwrap();
    }
}

/// Everybody on the machine could put a file of theirs in the place of a log.
#[cfg(unix)]
#[test]
fn a_data_directory_that_everybody_may_write_to_is_refused() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let home = tempfile::tempdir().unwrap();
    for mode in [0o777, 0o1777, 0o702] {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
        let error = Engine::open(home.path()).unwrap_err();
        let (found, text) = (format!("{mode:04o}"), error.to_string());
        assert!(matches!(error, OpenError::WritableByAll { .. }), "{text}");
        assert!(text.contains(&found) && text.contains("0700"), "{text}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "nothing was made there");
    }
    for mode in [0o700, 0o755, 0o775] {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
        Engine::open(home.path()).unwrap().shutdown().unwrap();
    }
}

#[test]
fn a_broker_that_has_all_its_partitions_makes_no_more() {
    let home = tempfile::tempdir().unwrap();
    let options = Options::broker()
        .set("max.broker.partitions", "6")
        .unwrap()
        .set("offsets.topic.num.partitions", "4")
        .unwrap();
    let engine = Engine::open_with(home.path(), options).unwrap();
    engine.create_topic(&NewTopic::new("t", 3), Mode::Apply).unwrap();
    for mode in [Mode::ValidateOnly, Mode::Apply] {
        let refused = engine.create_topic(&NewTopic::new("u", 4), mode).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::PolicyViolation);
        let text = refused.to_string();
        assert!(
            text.contains("has 6 partitions at most (max.broker.partitions), it has 3"),
            "{text}"
        );
        let refused = engine.create_partitions("t", 7, None, mode);
        assert_eq!(code(refused), ErrorCode::PolicyViolation);
    }
    assert!(engine.topic("u").is_none());
    engine.create_partitions("t", 5, None, Mode::Apply).unwrap();
    // The server's own are made all the same, and counted.
    engine.groups().load("g").unwrap();
    assert_eq!(code(engine.auto_create_topic("v").map(drop)), ErrorCode::PolicyViolation);
    engine.delete_topic(TopicRef::Name("t")).unwrap();
    engine.create_topic(&NewTopic::new("v", 2), Mode::Apply).unwrap();
    let more = set("max.broker.partitions", "7");
    engine.alter_broker_config(BrokerScope::All, &[more], Mode::Apply).unwrap();
    engine.create_partitions("v", 3, None, Mode::Apply).unwrap();
}

#[test]
fn creating_with_bad_input_is_refused_with_kafkas_codes() {
    let (_home, engine) = open();
    let check = |topic: &NewTopic| code(engine.create_topic(topic, Mode::ValidateOnly));
    for name in ["a/b", "..", "", &"x".repeat(250)] {
        assert_eq!(check(&NewTopic::new(name, 1)), ErrorCode::InvalidTopicException, "{name}");
    }
    assert_eq!(check(&NewTopic::new("t", 0)), ErrorCode::InvalidPartitions);
    assert_eq!(check(&NewTopic::new("t", -2)), ErrorCode::InvalidPartitions);
    for factor in [0, 99] {
        let topic = NewTopic { replication_factor: Some(factor), ..NewTopic::new("t", 1) };
        assert_eq!(check(&topic), ErrorCode::InvalidReplicationFactor);
    }
    let configured = |key: &str, value: &str| NewTopic::new("t", 1).config(key, value);
    assert_eq!(check(&configured("no.such", "1")), ErrorCode::InvalidConfig);
    assert_eq!(check(&configured("retention.ms", "soon")), ErrorCode::InvalidConfig);
    assert_eq!(check(&configured("acks", "all")), ErrorCode::InvalidConfig);
    for internal in INTERNAL_TOPICS {
        assert_eq!(check(&NewTopic::new(internal, 1)), ErrorCode::TopicAlreadyExists);
    }
    assert!(engine.image().is_empty(), "checking changes nothing");
}

#[test]
fn static_settings_that_do_not_go_together_are_refused_and_not_replaced_by_defaults() {
    let (home, engine) = open();
    let lagging = NewTopic::new("t", 1).config("min.compaction.lag.ms", "100");
    engine.create_topic(&lagging, Mode::Apply).unwrap();
    engine.shutdown().unwrap();
    drop(engine);
    let with = |keys: &[(&str, &str)]| {
        let options = keys
            .iter()
            .fold(Options::broker(), |options, (key, value)| options.set(key, *value).unwrap());
        Engine::open_with(home.path(), options)
    };
    let (min, max) = ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms");
    for refused in [&[(min, "10"), (max, "9")] as &[_], &[(max, "99")]] {
        let error = with(refused).unwrap_err();
        assert!(matches!(error, OpenError::Config(ConfigError::Conflict { .. })), "{error}");
    }
    with(&[(max, "101")]).unwrap().shutdown().unwrap();
    // What only stored settings bring about can be mended once the directory is open.
    let dir = FsDir::create(home.path(), ReadMode::Map).unwrap();
    let store = LoggedStore::open(dir, LoggedSettings::STANDARD).unwrap();
    let lags = [("min.compaction.lag.ms", "100"), ("max.compaction.lag.ms", "9")];
    let lags = Configs(lags.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let scope = ConfigScope::Topic(TopicName::new("t").unwrap());
    let txn = Txn::new().put(RowKey::Configs(scope).key(), lags.encode());
    assert!(matches!(store.commit(&txn).unwrap(), TxnResult::Committed(_)));
    drop(store);
    let engine = with(&[]).unwrap();
    engine.alter_topic_config("t", &[set("max.compaction.lag.ms", "100")], Mode::Apply).unwrap();
}

#[test]
fn replicas_can_be_named_on_one_node() {
    let (_home, engine) = open();
    let assigned = |assignments: Vec<(i32, Vec<NodeId>)>| NewTopic {
        name: "t".to_owned(),
        assignments,
        ..NewTopic::default()
    };
    let (own, other) = (engine.node_id(), NodeId::new(77));
    for bad in [
        vec![(0, vec![])],
        vec![(0, vec![other])],
        vec![(0, vec![own, own])],
        vec![(1, vec![own])],
        vec![(0, vec![own]), (0, vec![own])],
    ] {
        let refused = code(engine.create_topic(&assigned(bad.clone()), Mode::Apply));
        assert_eq!(refused, ErrorCode::InvalidReplicaAssignment, "{bad:?}");
    }
    let both = NewTopic { partitions: Some(1), ..assigned(vec![(0, vec![own])]) };
    assert_eq!(code(engine.create_topic(&both, Mode::Apply)), ErrorCode::InvalidRequest);
    let created = engine.create_topic(&assigned(vec![(1, vec![own]), (0, vec![own])]), Mode::Apply);
    assert_eq!(created.unwrap().partitions, 2);
}

#[test]
fn names_that_differ_by_dot_and_underscore_collide() {
    let (_home, engine) = open();
    engine.ensure_topic("a.b", 1).unwrap();
    assert_eq!(
        code(engine.create_topic(&NewTopic::new("a_b", 1), Mode::Apply)),
        ErrorCode::InvalidTopicException
    );
    let again = NewTopic::new("a.b", 1);
    assert_eq!(code(engine.create_topic(&again, Mode::Apply)), ErrorCode::TopicAlreadyExists);
    assert!(engine.create_topic(&NewTopic::new("a-b", 1), Mode::Apply).is_ok());
}

#[test]
fn partitions_are_only_ever_added() {
    let (home, engine) = open();
    engine.ensure_topic("t", 2).unwrap();
    let kept = engine.partition("t", 1).unwrap();
    let more = |count, mode| engine.create_partitions("t", count, None, mode);
    for count in [0, 1, 2] {
        assert_eq!(code(more(count, Mode::Apply)), ErrorCode::InvalidPartitions, "{count}");
    }
    let unknown = engine.create_partitions("nowhere", 3, None, Mode::Apply);
    assert_eq!(code(unknown), ErrorCode::UnknownTopicOrPartition);
    let wrong = [vec![engine.node_id()], vec![engine.node_id()]];
    let refused = engine.create_partitions("t", 3, Some(&wrong), Mode::Apply);
    assert_eq!(code(refused), ErrorCode::InvalidReplicaAssignment);
    more(4, Mode::ValidateOnly).unwrap();
    assert!(engine.partition("t", 2).is_err());
    more(4, Mode::Apply).unwrap();
    engine.partition("t", 3).unwrap().produce(batch(&["x"]), Acks::All).wait().unwrap();
    kept.produce(batch(&["y"]), Acks::All).wait().unwrap();
    drop((kept, engine));
    let engine = Engine::open(home.path()).unwrap();
    assert_eq!(engine.topic("t").unwrap().partitions().len(), 4);
    assert_eq!(engine.partition("t", 1).unwrap().log_end_offset().unwrap(), Offset::new(1));
}

#[test]
fn a_deleted_topic_is_gone_for_who_waits_and_who_asks_and_its_name_is_free() {
    let (home, engine) = open();
    let first = engine.ensure_topic("t", 1).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    partition.produce(batch(&["old"]), Acks::All).wait().unwrap();
    let waiting = partition.data_beyond(Offset::new(5), Isolation::Uncommitted).unwrap();
    assert_eq!(
        code(engine.delete_topic(TopicRef::Id(TopicId::new([9; 16])))),
        ErrorCode::UnknownTopicId
    );
    assert_eq!(code(engine.delete_topic(TopicRef::Name("u"))), ErrorCode::UnknownTopicOrPartition);
    engine.delete_topic(TopicRef::Id(first.id())).unwrap();
    waiting.wait();
    let refused = partition.produce(batch(&["late"]), Acks::All).wait().unwrap_err();
    assert_eq!(refused.code(), ErrorCode::UnknownTopicOrPartition);
    assert!(matches!(
        partition.fetch(&FetchSpec::from(Offset::ZERO)),
        Err(PartitionError::Unknown { .. })
    ));
    assert!(!home.path().join("t-0").exists());
    let second = engine.ensure_topic("t", 1).unwrap();
    assert_ne!(second.id(), first.id());
    let partition = engine.partition("t", 0).unwrap();
    assert_eq!(partition.log_end_offset().unwrap(), Offset::ZERO, "nothing of the old topic");
    engine.shutdown().unwrap();
    let left: Vec<_> = std::fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains("delete"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn internal_topics_refuse_clients() {
    let (_home, engine) = open();
    let topic = engine.create_internal_topic(&NewTopic::new("__consumer_offsets", 2)).unwrap();
    assert!(topic.is_internal());
    let refused = topic.partitions()[0].produce(batch(&["x"]), Acks::All).wait().unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidTopicException);
    let deleted = engine.delete_topic(TopicRef::Name("__consumer_offsets"));
    assert_eq!(code(deleted), ErrorCode::InvalidTopicException);
    // Groups are found by the number of partitions.
    let more = engine.create_partitions("__consumer_offsets", 3, None, Mode::Apply);
    assert_eq!(code(more), ErrorCode::InvalidTopicException);
}

#[test]
fn settings_come_with_their_sources_and_work_at_once() {
    let (home, engine) = open();
    engine.ensure_topic("t", 1).unwrap();
    let described = |key: &str| {
        let mut found = engine.describe_topic_config("t", Some(&[key])).unwrap();
        let found = found.pop().unwrap();
        (found.value.unwrap(), found.source)
    };
    assert_eq!(described("max.message.bytes"), ("1048588".to_owned(), ConfigSource::Default));
    let broker = [set("message.max.bytes", "2000")];
    engine.alter_broker_config(BrokerScope::All, &broker, Mode::Apply).unwrap();
    let inherited = ("2000".to_owned(), ConfigSource::DynamicDefaultBroker);
    assert_eq!(described("max.message.bytes"), inherited);
    engine.alter_topic_config("t", &[set("max.message.bytes", "60")], Mode::ValidateOnly).unwrap();
    assert_eq!(described("max.message.bytes"), inherited);
    engine.alter_topic_config("t", &[set("max.message.bytes", "60")], Mode::Apply).unwrap();
    assert_eq!(described("max.message.bytes"), ("60".to_owned(), ConfigSource::Topic));
    let partition = engine.partition("t", 0).unwrap();
    let refused = partition.produce(batch(&["x"]), Acks::All).wait().unwrap_err();
    assert_eq!(refused.code(), ErrorCode::MessageTooLarge);
    drop((partition, engine));

    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    let kept = engine.describe_topic_config("t", Some(&["max.message.bytes"])).unwrap();
    assert_eq!(kept[0].value.as_deref(), Some("60"), "settings are kept");
    let back = [change("max.message.bytes", ConfigOp::Delete)];
    engine.alter_topic_config("t", &back, Mode::Apply).unwrap();
    let kept = engine.describe_topic_config("t", Some(&["max.message.bytes"])).unwrap();
    assert_eq!(kept[0].value.as_deref(), Some("2000"), "of the broker too");
    let partition = engine.partition("t", 0).unwrap();
    partition.produce(batch(&["x"]), Acks::All).wait().unwrap();
}

#[test]
fn refused_settings_have_kafkas_codes_and_change_nothing() {
    let (_home, engine) = open();
    engine.ensure_topic("t", 1).unwrap();
    let alter = |change| code(engine.alter_topic_config("t", &[change], Mode::Apply));
    assert_eq!(alter(set("no.such", "1")), ErrorCode::InvalidConfig);
    assert_eq!(alter(set("retention.ms", "soon")), ErrorCode::InvalidConfig);
    assert_eq!(
        alter(change("retention.ms", ConfigOp::Append("1".to_owned()))),
        ErrorCode::InvalidConfig
    );
    assert_eq!(alter(set("num.partitions", "3")), ErrorCode::InvalidConfig);
    let unknown = engine.alter_topic_config("nowhere", &[set("retention.ms", "1")], Mode::Apply);
    assert_eq!(code(unknown), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(code(engine.describe_topic_config("a/b", None)), ErrorCode::InvalidTopicException);
    let null = engine.replace_topic_config("t", &[("retention.ms", None)], Mode::Apply);
    assert_eq!(code(null), ErrorCode::InvalidRequest);
    let fixed =
        engine.alter_broker_config(BrokerScope::This, &[set("num.partitions", "3")], Mode::Apply);
    assert_eq!(code(fixed), ErrorCode::InvalidRequest, "read-only while the server runs");
    let all = engine.describe_topic_config("t", None).unwrap();
    assert_eq!(all.len(), 33, "as many as Kafka 4.3.1 shows");
    assert!(all.iter().all(|config| config.source == ConfigSource::Default));
    assert!(engine.describe_topic_config("t", Some(&["no.such"])).unwrap().is_empty());
}

#[test]
fn the_old_way_replaces_all_settings() {
    let (_home, engine) = open();
    engine
        .create_topic(&NewTopic::new("t", 1).config("max.message.bytes", "100"), Mode::Apply)
        .unwrap();
    engine.replace_topic_config("t", &[("retention.ms", Some("6000"))], Mode::Apply).unwrap();
    let described =
        engine.describe_topic_config("t", Some(&["max.message.bytes", "retention.ms"])).unwrap();
    let sources: Vec<_> = described.iter().map(|config| config.source).collect();
    assert_eq!(sources, [ConfigSource::Default, ConfigSource::Topic]);
}

#[test]
fn values_that_no_row_can_hold_are_refused_and_the_directory_opens_again() {
    let (home, engine) = open();
    engine.ensure_topic("t", 1).unwrap();
    let (long, padded) = ("1:1,".repeat(280_000), format!("{}5", " ".repeat(1_100_000)));
    let replicas = "follower.replication.throttled.replicas";
    for refused in [
        set(replicas, &long),
        change(replicas, ConfigOp::Append(format!("0:{}", "1".repeat(32_767)))),
        set("retention.ms", &padded),
    ] {
        let key = refused.key.clone();
        let refused = engine.alter_topic_config("t", &[refused], Mode::Apply).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::InvalidConfig, "{key}");
        assert!(refused.to_string().contains("at most 32767 bytes"), "{key}");
    }
    let replaced = engine.replace_topic_config("t", &[(replicas, Some(&long))], Mode::Apply);
    assert_eq!(code(replaced), ErrorCode::InvalidConfig);
    let created = engine.create_topic(&NewTopic::new("u", 1).config(replicas, &*long), Mode::Apply);
    assert_eq!(code(created), ErrorCode::InvalidConfig);
    let group = [set("consumer.session.timeout.ms", &padded)];
    let group = engine.alter_group_config("g", &group, Mode::Apply);
    assert_eq!(code(group), ErrorCode::InvalidConfig);

    // Each as long as it may be, and all together more than a row.
    let all = engine.describe_topic_config("t", None).unwrap();
    let all = all.iter().filter_map(|config| Some((config.name, config.value.clone()?)));
    let all: Vec<_> = all.map(|(key, value)| (key, format!("{value:<32767}"))).collect();
    let pairs: Vec<_> = all.iter().map(|(key, value)| (*key, Some(value.as_str()))).collect();
    let replaced = engine.replace_topic_config("t", &pairs, Mode::Apply);
    assert_eq!(code(replaced), ErrorCode::PolicyViolation);
    let configs = all.iter().map(|(key, value)| ((*key).to_owned(), Some(value.clone())));
    let large = NewTopic { configs: configs.collect(), ..NewTopic::new("u", 1) };
    assert_eq!(code(engine.create_topic(&large, Mode::Apply)), ErrorCode::PolicyViolation);
    assert!(!home.path().join("u-0").exists());

    engine.alter_topic_config("t", &[set("retention.ms", "5")], Mode::Apply).unwrap();
    drop(engine);
    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    let kept = engine.describe_topic_config("t", Some(&["retention.ms"])).unwrap();
    assert_eq!(kept[0].value.as_deref(), Some("5"));
}
