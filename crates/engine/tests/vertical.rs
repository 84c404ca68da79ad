//! From a new directory to records that are there after it is opened again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use hanbeon::{
    Acks, Engine, Env, FetchSpec, FirstBatch, Isolation, Mode, NewTopic, Options, PartitionHandle,
    Placed, TimeQuery,
};
use hanbeon_records::{LeaderEpoch, Millis, Offset};
use support::{batch, idempotent};

fn values<E: Env>(partition: &PartitionHandle<E>) -> Vec<String> {
    let fetched = partition.fetch(&FetchSpec::from(Offset::ZERO)).unwrap();
    support::values(&fetched.records)
}

#[test]
fn what_is_acknowledged_is_there_after_reopening() {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path()).unwrap();
    let created = engine.create_topic(&NewTopic::new("orders", 2), Mode::Apply).unwrap();
    let partition = engine.partition("orders", 0).unwrap();
    assert!(!partition.is_open(), "logs are opened when they are touched");
    let first = partition.produce(batch(&["a", "b"]), Acks::All).wait().unwrap();
    assert_eq!((first.base_offset, first.last_offset), (Offset::ZERO, Offset::new(1)));
    let second = partition.produce(batch(&["c"]), Acks::All).wait().unwrap();
    assert_eq!(second.base_offset, Offset::new(2));
    assert_eq!(values(&partition), ["a", "b", "c"]);
    let (cluster, epoch) = (engine.cluster_id().to_owned(), partition.leader_epoch());
    engine.shutdown().unwrap();
    assert!(partition.fetch(&FetchSpec::from(Offset::ZERO)).is_err());

    let engine = Engine::open(home.path()).unwrap();
    assert_eq!(engine.cluster_id(), cluster);
    let topic = engine.topic("orders").unwrap();
    assert_eq!((topic.id(), topic.partitions().len()), (created.id, 2));
    let partition = engine.partition_by_id(created.id, 0).unwrap();
    assert_eq!(partition.leader_epoch().get(), epoch.get() + 1);
    assert_eq!(values(&partition), ["a", "b", "c"]);
    let third = partition.produce(batch(&["d"]), Acks::All).wait().unwrap();
    assert_eq!(third.base_offset, Offset::new(3));
}

#[test]
fn a_retry_after_reopening_is_known() {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path()).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    let producer = engine.init_producer_id().unwrap();
    let partition = engine.partition("t", 0).unwrap();
    for sequence in 0..5 {
        let sent = idempotent(producer, sequence, &["x"]);
        let produced = partition.produce(sent, Acks::All).wait().unwrap();
        assert_eq!(
            (produced.base_offset.get(), produced.placed),
            (i64::from(sequence), Placed::Written)
        );
    }
    drop((partition, engine));
    let engine = Engine::open(home.path()).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    for sequence in 0..5 {
        let produced = partition.produce(idempotent(producer, sequence, &["x"]), Acks::All).wait();
        let produced = produced.unwrap();
        assert_eq!(
            (produced.base_offset.get(), produced.placed),
            (i64::from(sequence), Placed::Duplicate)
        );
    }
    assert_eq!(partition.log_end_offset().unwrap(), Offset::new(5));
    let fresh = engine.init_producer_id().unwrap();
    assert!(fresh.id > producer.id, "ids are never given out twice");
}

#[test]
fn offsets_are_found_by_time_and_at_the_ends() {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    partition.produce(batch(&["a", "b", "c"]), Acks::Leader).wait().unwrap();
    let find = |query| {
        let found = partition.list_offsets(query, Isolation::Uncommitted, None).unwrap();
        found.map(|found| found.offset.get())
    };
    assert_eq!(find(TimeQuery::Earliest), Some(0));
    assert_eq!(find(TimeQuery::Latest), Some(3));
    assert_eq!(find(TimeQuery::At(Millis::new(0))), Some(0));
    assert_eq!(find(TimeQuery::At(Millis::new(i64::MAX))), None);
    assert_eq!(partition.delete_records(Some(Offset::new(2))).unwrap(), Offset::new(2));
    assert_eq!(find(TimeQuery::Earliest), Some(2));
    assert!(partition.delete_records(Some(Offset::new(4))).is_err());
    let spec = FetchSpec {
        first_batch: FirstBatch::Whole,
        max_bytes: 1,
        ..FetchSpec::from(Offset::new(2))
    };
    assert_eq!(
        support::values(&partition.fetch(&spec).unwrap().records).len(),
        3,
        "the batch comes whole"
    );
}

#[test]
fn batches_that_come_together_are_answered_as_if_each_had_come_alone() {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path()).unwrap();
    let producer = engine.init_producer_id().unwrap();
    let sent = |sequence, acks| (idempotent(producer, sequence, &["x"]), acks);
    let run = [
        sent(0, Acks::All),
        sent(1, Acks::Leader),
        sent(3, Acks::All),
        sent(1, Acks::All),
        (bytes::Bytes::from_static(b"no batch"), Acks::Leader),
        sent(2, Acks::Leader),
    ];
    let answers = ["together", "alone"].map(|name| {
        engine.ensure_topic(name, 1).unwrap();
        let partition = engine.partition(name, 0).unwrap();
        let produced = match name {
            "together" => partition.produce_all(run.to_vec()),
            _ => run.iter().map(|(sent, acks)| partition.produce(sent.clone(), *acks)).collect(),
        };
        let answer = |produced: hanbeon::Produce| match produced.wait() {
            Ok(produced) => Ok((produced.base_offset.get(), produced.placed)),
            Err(error) => Err(error.code()),
        };
        produced.into_iter().map(answer).collect::<Vec<_>>()
    });
    let written = |offset| Ok((offset, Placed::Written));
    let [together, alone] = answers;
    assert_eq!(together, alone);
    assert_eq!(together[..2], [written(0), written(1)]);
    assert!(together[2].is_err() && together[4].is_err());
    assert_eq!((together[3], together[5]), (Ok((1, Placed::Duplicate)), written(2)));
}

/// KIP-320: a consumer asks where the epoch ends that it was told. The answer for one in which nothing was written yet is no "unknown".
#[test]
fn g1_an_epoch_without_records_ends_where_the_log_does() {
    let home = tempfile::tempdir().unwrap();
    let opened = || {
        let engine = Engine::open(home.path()).unwrap();
        engine.ensure_topic("t", 1).unwrap();
        let partition = engine.partition("t", 0).unwrap();
        (engine, partition)
    };
    let end = |partition: &PartitionHandle, epoch| {
        let end = partition.end_offset_for_epoch(LeaderEpoch::new(epoch), None).unwrap();
        (end.epoch.get(), end.end_offset.get())
    };
    let earliest = |partition: &PartitionHandle| {
        let found = partition.list_offsets(TimeQuery::Earliest, Isolation::Uncommitted, None);
        let found = found.unwrap().unwrap();
        (found.offset.get(), found.leader_epoch.get())
    };
    {
        let (_engine, partition) = opened();
        assert_eq!(
            (end(&partition, 0), earliest(&partition)),
            ((0, 0), (0, 0)),
            "nothing is there"
        );
        partition.produce(batch(&["a", "b"]), Acks::All).wait().unwrap();
        assert_eq!(end(&partition, 0), (0, 2));
    }
    {
        let (_engine, partition) = opened();
        assert_eq!(partition.leader_epoch(), LeaderEpoch::new(1));
        assert_eq!([0, 1, 2].map(|epoch| end(&partition, epoch)), [(0, 2), (1, 2), (-1, -1)]);
        let spec = FetchSpec {
            last_fetched_epoch: Some(LeaderEpoch::new(1)),
            ..FetchSpec::from(Offset::new(2))
        };
        assert_eq!(partition.fetch(&spec).unwrap().diverging, None);
    }
    let (_engine, partition) = opened();
    assert_eq!([0, 1, 2].map(|epoch| end(&partition, epoch)), [(0, 2), (0, 2), (2, 2)]);
    assert_eq!(earliest(&partition), (0, 0));
    assert_eq!(partition.delete_records(None).unwrap(), Offset::new(2));
    assert_eq!([0, 1, 2].map(|epoch| end(&partition, epoch)), [(0, 2), (1, 2), (2, 2)]);
    assert_eq!(earliest(&partition), (2, 2));
}
