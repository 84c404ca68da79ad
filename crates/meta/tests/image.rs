//! Changes, rows and images together, as an engine on one node uses them.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::collections::BTreeMap;

use bytes::Bytes;
use hanbeon_log::MemDir;
use hanbeon_meta::{
    ClusterRow, ConfigScope, FeaturesRow, Image, ImageError, Key, LoggedSettings, LoggedStore,
    MemoryStore, MetadataStore, NewTopic, PartitionRow, Revision, Row, RowKey, StoreError,
    TopicNameRow, Txn, TxnResult, Watched, changes,
};
use hanbeon_records::{LeaderEpoch, NodeId, PartitionEpoch, ProducerId, TopicId, TopicName};

fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn new_topic(text: &str, partitions: usize) -> NewTopic {
    NewTopic {
        id: TopicId::new([u8::try_from(text.len()).unwrap(); 16]),
        name: name(text),
        assignments: vec![vec![NodeId::new(1)]; partitions],
        configs: configs(&[("retention.ms", "1")]),
    }
}

fn configs(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn levels(pairs: &[(&str, i16)]) -> BTreeMap<String, i16> {
    pairs.iter().map(|&(name, level)| (name.to_owned(), level)).collect()
}

fn done(store: &impl MetadataStore, txn: &Txn) -> Image {
    assert!(matches!(store.commit(txn).unwrap(), TxnResult::Committed(_)), "{txn:?}");
    Image::read(store).unwrap()
}

fn refused(store: &impl MetadataStore, txn: &Txn) {
    assert!(matches!(store.commit(txn).unwrap(), TxnResult::Refused(_)), "{txn:?}");
}

#[test]
fn a_single_node_keeps_its_cluster_over_restarts() {
    let dir = MemDir::new();
    let open = || LoggedStore::open(dir.clone(), LoggedSettings::STANDARD).unwrap();
    let store = open();
    let cluster = ClusterRow { cluster_id: "q1Sh-9_ISia_zwGINzRvyQ".to_owned() };
    let levels = levels(&[("transaction.version", 2)]);
    let found = changes::found_cluster(&cluster, &levels, ProducerId::new(4000));
    let image = done(&store, &found);
    assert_eq!(image.cluster().unwrap().row, cluster);
    assert_eq!(image.features().unwrap().row, FeaturesRow { epoch: 1, levels });
    assert_eq!(image.next_producer_id(), Some(ProducerId::new(4000)));
    refused(&store, &found);

    let image = done(&store, &changes::begin_opening(&image));
    assert_eq!(image.openings(), 1);
    let image = done(&store, &changes::create_topic(&image, &new_topic("orders", 3)));
    let topic = image.topic(&name("orders")).unwrap();
    let numbers: Vec<_> = topic.partitions.keys().copied().collect();
    assert_eq!((topic.replication_factor, numbers), (1, vec![0, 1, 2]));
    let first = &topic.partitions[&0];
    assert_eq!(
        (first.leader, image.leader_epoch(first)),
        (Some(NodeId::new(1)), LeaderEpoch::new(0))
    );
    assert_eq!(image.configs(&ConfigScope::Topic(name("orders"))).unwrap()["retention.ms"], "1");
    drop(store);

    let store = open();
    let again = Image::read(&store).unwrap();
    assert_eq!(again, image);
    let revision = again.revision();
    let image = done(&store, &changes::begin_opening(&again));
    assert_eq!(image.revision(), revision.next(), "one write for all partitions");
    for partition in image.topic(&name("orders")).unwrap().partitions.values() {
        assert_eq!(image.leader_epoch(partition), LeaderEpoch::new(1));
        assert_eq!(image.partition_epoch(partition), PartitionEpoch::new(1));
    }
    let image = done(&store, &changes::create_topic(&image, &new_topic("late", 1)));
    let late = image.topic(&name("late")).unwrap();
    assert_eq!(
        image.leader_epoch(&late.partitions[&0]),
        LeaderEpoch::new(0),
        "a topic begins at 0"
    );
    refused(&store, &changes::begin_opening(&again));
}

#[test]
fn l11_a_raised_leader_epoch_goes_on_from_there_with_each_opening() {
    let store = MemoryStore::new();
    let image = done(&store, &changes::create_topic(&Image::default(), &new_topic("a", 2)));
    let id = image.topic(&name("a")).unwrap().id;
    done(&store, &changes::begin_opening(&image));
    let epochs = |image: &Image| {
        let partitions = image.topic(&name("a")).unwrap().partitions.values();
        let epochs = |partition| {
            (image.leader_epoch(partition).get(), image.partition_epoch(partition).get())
        };
        partitions.map(epochs).collect::<Vec<_>>()
    };
    let raise = |number, to| {
        changes::raise_leader_epoch(&store, (id, number), LeaderEpoch::new(to)).unwrap();
        Image::read(&store).unwrap()
    };
    assert_eq!(epochs(&raise(1, 7)), [(1, 1), (7, 1)]);
    assert_eq!(epochs(&raise(1, 6)), [(1, 1), (7, 1)], "never lowered");
    let image = done(&store, &changes::begin_opening(&Image::read(&store).unwrap()));
    assert_eq!(epochs(&image), [(2, 2), (8, 2)]);
    let gone = done(&store, &changes::delete_topic(image.topic(&name("a")).unwrap()));
    assert_eq!(raise(1, 9).revision(), gone.revision(), "a deleted partition gets no row");
}

#[test]
fn t3_ids_are_in_doubt_up_to_the_last_one_that_was_handed_out_and_stay_so() {
    let store = MemoryStore::new();
    let first_sure = || Image::read(&store).unwrap().first_sure_producer_id();
    let doubt = || changes::doubt_producer_ids(&Image::read(&store).unwrap());
    assert_eq!((doubt(), first_sure()), (None, ProducerId::new(0)), "no id was handed out");
    changes::take_producer_ids(&store, 1000).unwrap();
    let late = doubt().unwrap();
    done(&store, &doubt().unwrap());
    assert_eq!((doubt(), first_sure()), (None, ProducerId::new(1000)));
    changes::take_producer_ids(&store, 1000).unwrap();
    assert_eq!(first_sure(), ProducerId::new(1000), "those of later are sure");
    done(&store, &doubt().unwrap());
    refused(&store, &late);
    assert_eq!(first_sure(), ProducerId::new(2000));
}

#[test]
fn rival_changes_of_a_topic_are_refused() {
    let store = MemoryStore::new();
    let empty = Image::read(&store).unwrap();
    let image = done(&store, &changes::create_topic(&empty, &new_topic("a", 1)));
    let same_name = NewTopic { id: TopicId::new([77; 16]), ..new_topic("a", 1) };
    refused(&store, &changes::create_topic(&empty, &same_name));
    let same_id = NewTopic { name: name("b"), ..new_topic("a", 1) };
    refused(&store, &changes::create_topic(&empty, &same_id));

    let topic = image.topic(&name("a")).unwrap();
    let scope = ConfigScope::Topic(name("a"));
    let grown =
        done(&store, &changes::add_partitions(&image, topic, &vec![vec![NodeId::new(1)]; 2]));
    assert_eq!(grown.topic(&name("a")).unwrap().partitions.len(), 3);
    refused(&store, &changes::delete_topic(topic));
    refused(&store, &changes::set_configs(&image, &scope, &configs(&[])));
    let set = done(&store, &changes::set_configs(&grown, &scope, &configs(&[("x", "y")])));
    assert_eq!(set.configs(&scope).unwrap(), &configs(&[("x", "y")]));
    refused(&store, &changes::set_configs(&grown, &scope, &configs(&[("x", "z")])));

    let gone = done(&store, &changes::delete_topic(set.topic(&name("a")).unwrap()));
    assert!(gone.topic(&name("a")).is_none() && gone.configs(&scope).is_none());
    assert!(store.range("").unwrap().entries.is_empty(), "nothing stays behind");
    refused(&store, &changes::set_configs(&set, &scope, &configs(&[("x", "z")])));
    // Nobody has the name any more: configs for it are guarded by the name itself.
    done(&store, &changes::create_topic(&gone, &new_topic("a", 1)));
    refused(&store, &changes::set_configs(&gone, &scope, &configs(&[("x", "z")])));
}

#[test]
fn broker_configs_have_two_scopes() {
    let store = MemoryStore::new();
    let mut image = Image::read(&store).unwrap();
    for scope in [ConfigScope::Broker(NodeId::new(1)), ConfigScope::Brokers] {
        image = done(&store, &changes::set_configs(&image, &scope, &configs(&[("k", "v")])));
    }
    image = done(&store, &changes::set_configs(&image, &ConfigScope::Brokers, &configs(&[])));
    assert_eq!(image.configs(&ConfigScope::Brokers), None, "nothing set is no row");
    assert!(image.configs(&ConfigScope::Broker(NodeId::new(1))).is_some());
}

#[test]
fn the_epoch_of_features_rises_with_each_change() {
    let store = MemoryStore::new();
    let none = Image::read(&store).unwrap();
    assert_eq!(none.features(), None);
    let two = levels(&[("group.version", 1), ("transaction.version", 2)]);
    let first = done(&store, &changes::set_features(&none, &two));
    assert_eq!(first.features().unwrap().row, FeaturesRow { epoch: 1, levels: two });
    refused(&store, &changes::set_features(&none, &levels(&[])));
    let second = done(&store, &changes::set_features(&first, &levels(&[("group.version", 1)])));
    let row = &second.features().unwrap().row;
    assert_eq!((row.epoch, row.levels.get("transaction.version")), (2, None));
    refused(&store, &changes::set_features(&first, &levels(&[])));
}

#[test]
fn groups_are_configured_whether_they_exist_or_not() {
    let store = MemoryStore::new();
    let mut image = Image::read(&store).unwrap();
    for id in ["b", "a/b c"] {
        let scope = ConfigScope::Group(id.to_owned());
        image = done(&store, &changes::set_configs(&image, &scope, &configs(&[("k", id)])));
    }
    let set: Vec<_> = image.configured_groups().map(|(id, row)| (id, row["k"].as_str())).collect();
    assert_eq!(set, [("a/b c", "a/b c"), ("b", "b")]);
    let scope = ConfigScope::Group("b".to_owned());
    image = done(&store, &changes::set_configs(&image, &scope, &configs(&[])));
    assert_eq!(image.configured_groups().count(), 1, "nothing set is no row");
}

#[test]
fn p8_producer_ids_are_handed_out_once() {
    let store = MemoryStore::new();
    let mut firsts: Vec<i64> = std::thread::scope(|scope| {
        let takers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let take = || loop {
                        match changes::take_producer_ids(&store, 1000) {
                            Ok(block) => break block.first.get(),
                            Err(StoreError::Contended { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    };
                    (0..25).map(|_| take()).collect::<Vec<_>>()
                })
            })
            .collect();
        takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
    });
    firsts.sort_unstable();
    assert_eq!(firsts, (0..100).map(|block| block * 1000).collect::<Vec<_>>());
}

#[test]
fn an_image_that_follows_the_watch_equals_one_read_anew() {
    let store = MemoryStore::new();
    let mut followed = Image::read(&store).unwrap();
    let mut watch = store.watch("", Revision::new(1)).unwrap();
    let mut image = followed.clone();
    for text in ["a", "bb", "ccc"] {
        image = done(&store, &changes::create_topic(&image, &new_topic(text, 4)));
    }
    let topic = image.topic(&name("bb")).unwrap();
    image = done(&store, &changes::add_partitions(&image, topic, &[vec![NodeId::new(2)]]));
    image = done(&store, &changes::delete_topic(image.topic(&name("a")).unwrap()));
    image = done(&store, &changes::begin_opening(&image));
    // A creation in several transactions writes the topic's row last, and nobody sees half of it.
    let id = TopicId::new([200; 16]);
    let row = PartitionRow {
        replicas: vec![NodeId::new(1)],
        isr: vec![NodeId::new(1)],
        leader: None,
        leader_epoch: LeaderEpoch::new(0),
        partition_epoch: PartitionEpoch::new(0),
        at_opening: 1,
    };
    for number in 0..2 {
        let txn = Txn::new().put(RowKey::Partition(id, number).key(), row.encode());
        image = done(&store, &txn);
        assert!(image.topic_by_id(id).is_none());
    }
    let late = NewTopic { id, name: name("late"), assignments: Vec::new(), configs: configs(&[]) };
    let mut last = changes::create_topic(&image, &late);
    let whole =
        hanbeon_meta::TopicRow { name: name("late"), partition_count: 2, replication_factor: 1 };
    last.writes.retain(|write| write.key() != &RowKey::Topic(id).key());
    image = done(&store, &last.put(RowKey::Topic(id).key(), whole.encode()));
    assert_eq!(image.topic_by_id(id).unwrap().partitions.len(), 2);
    loop {
        match watch.poll(None).unwrap() {
            Watched::Changed(commit) => {
                followed = followed.advanced(commit.revision, &commit.changes).unwrap();
            }
            Watched::Idle(_) => break,
            Watched::Compacted(oldest) => panic!("compacted to {oldest}"),
        }
    }
    assert_eq!(followed, image);
}

#[test]
fn rows_that_do_not_fit_together_are_reported() {
    let store = MemoryStore::new();
    let empty = Image::read(&store).unwrap();
    let topic = new_topic("a", 2);
    done(&store, &changes::create_topic(&empty, &topic));
    let gap = Txn::new().delete(RowKey::Partition(topic.id, 0).key());
    assert!(matches!(store.commit(&gap).unwrap(), TxnResult::Committed(_)));
    match Image::read(&store) {
        Err(StoreError::Image(ImageError::Partitions { expected: 2, found: 1, .. })) => {}
        other => panic!("{other:?}"),
    }
    let store = MemoryStore::new();
    let dangling = TopicNameRow { id: topic.id }.encode();
    let txn = Txn::new().put(RowKey::TopicName(name("a")).key(), dangling);
    assert!(matches!(store.commit(&txn).unwrap(), TxnResult::Committed(_)));
    assert!(matches!(Image::read(&store), Err(StoreError::Image(ImageError::Name { .. }))));
    let store = MemoryStore::new();
    let txn = Txn::new().put(RowKey::Cluster.key(), Bytes::from_static(b"rubbish"));
    assert!(matches!(store.commit(&txn).unwrap(), TxnResult::Committed(_)));
    match Image::read(&store) {
        Err(StoreError::Image(ImageError::Row { key, .. })) => {
            assert_eq!(key, RowKey::Cluster.key());
        }
        other => panic!("{other:?}"),
    }
    let foreign =
        Txn::new().put(Key::new("b/1/live"), Bytes::from_static(b"a session of somebody"));
    let store = MemoryStore::new();
    done(&store, &foreign);
}
