//! The embedded transactional producer: all or nothing over partitions and offsets, one instance of an id, with and without helpers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hanbeon::{
    Acks, ClientError, ConsumerSettings, Engine, Enrol, ErrorCode, Manual, Millis, Mode, NewTopic,
    Offset, Options, ProducerSettings, Record, TopicPartition, TransactionError,
    TransactionalProduce,
    group::{Fetch, FetchWhat, Name, Stability},
    txn::{
        self, Cause, Fence, State, TopicPartitions, TransactionalId, TxnError, TxnValue,
        ValueVersion,
    },
};
use hanbeon_log::MemDir;
use hanbeon_records::{
    BatchBuilder, BatchKind, BatchSettings, Codec, CompressionLevel, LeaderEpoch, NewRecord,
    ProducerEpoch, TimestampType, TopicName,
};

type Home = tempfile::TempDir;

/// Few shards, so that a test makes few files.
fn small(options: Options) -> Options {
    let options = options.set("transaction.state.log.num.partitions", "2").unwrap();
    options.set("offsets.topic.num.partitions", "2").unwrap()
}

fn open(options: Options) -> (Home, Engine) {
    let home = tempfile::tempdir().unwrap();
    let engine = reopen(&home, options);
    engine.ensure_topic("t", 2).unwrap();
    (home, engine)
}

fn reopen(home: &Home, options: Options) -> Engine {
    Engine::open_with(home.path(), small(options)).unwrap()
}

/// Every durability with and without helpers.
fn ways() -> [Options; 4] {
    [
        Options::embedded(),
        Options::embedded().helpers(1),
        Options::broker(),
        Options::broker().helpers(1),
    ]
}

fn read<E: hanbeon::Env>(engine: &Engine<E>, isolation: &str) -> Vec<String> {
    let settings = ConsumerSettings::new().set("isolation.level", isolation).unwrap();
    let mut consumer = engine.consumer_with(settings);
    consumer.assign_all("t").unwrap();
    let mut values = Vec::new();
    loop {
        let received = consumer.poll().unwrap();
        if received.is_empty() {
            values.sort();
            return values;
        }
        let text = |record: hanbeon::Received| {
            String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap()
        };
        values.extend(received.into_iter().map(text));
    }
}

fn committed<E: hanbeon::Env>(engine: &Engine<E>) -> Vec<String> {
    read(engine, "read_committed")
}

fn on(partition: i32, value: &str) -> Record {
    Record::new("t", value.to_owned()).partition(partition)
}

/// What the coordinator said.
fn refusal(error: &ClientError) -> &TxnError {
    let ClientError::Transaction(told) = error else { panic!("{error:?}") };
    let TransactionError::Refused(refused) = &**told else { panic!("{told}") };
    refused
}

#[test]
fn t1_a_transaction_becomes_visible_on_all_partitions_or_on_none() {
    for options in ways() {
        let (_home, engine) = open(options);
        let mut producer = engine.transactional_producer("tx").unwrap();
        let mut transaction = producer.begin();
        let first = transaction.send(on(0, "a")).unwrap();
        transaction.send(on(1, "b")).unwrap().wait().unwrap();
        assert_eq!(read(&engine, "read_uncommitted"), ["b"], "written when it is waited for");
        transaction.flush().unwrap();
        assert_eq!(read(&engine, "read_uncommitted"), ["a", "b"]);
        assert!(committed(&engine).is_empty(), "not decided");
        assert!(transaction.commit().unwrap().lacking.is_empty());
        assert_eq!(first.wait().unwrap().offset, Offset::ZERO);
        assert_eq!(committed(&engine), ["a", "b"]);

        let mut transaction = producer.begin();
        transaction.send(on(0, "c")).unwrap();
        transaction.send(on(1, "d")).unwrap().wait().unwrap();
        let late = transaction.send(on(1, "never written")).unwrap();
        transaction.abort().unwrap();
        assert!(matches!(late.wait(), Err(ClientError::NotWritten)));
        assert_eq!(committed(&engine), ["a", "b"]);
        assert_eq!(read(&engine, "read_uncommitted"), ["a", "b", "d"], "c was not written yet");

        // Sequences begin at 0 again, under the next epoch.
        let mut transaction = producer.begin();
        transaction.send(on(0, "e")).unwrap();
        transaction.commit().unwrap();
        assert_eq!(committed(&engine), ["a", "b", "e"]);
        assert_eq!(producer.identity().epoch, ProducerEpoch::new(3));
        engine.shutdown().unwrap();
    }
}

#[test]
fn t1_batches_are_written_when_they_are_full_and_all_count() {
    for options in ways() {
        let (_home, engine) = open(options);
        let settings = ProducerSettings::new().set("batch.size", "200").unwrap();
        let mut producer = engine.transactional_producer_with("tx", settings).unwrap();
        for _ in 0..2 {
            let mut transaction = producer.begin();
            for number in 0..100 {
                transaction.send(Record::new("t", format!("{number:03}"))).unwrap();
            }
            transaction.commit().unwrap();
        }
        let expected: Vec<_> = (0..200).map(|number| format!("{:03}", number / 2)).collect();
        assert_eq!(committed(&engine), expected);
    }
}

#[test]
fn t12_a_transaction_that_goes_out_of_scope_is_aborted() {
    for options in ways() {
        let (_home, engine) = open(options);
        let mut producer = engine.transactional_producer("tx").unwrap();
        {
            let mut transaction = producer.begin();
            transaction.send(on(0, "a")).unwrap().wait().unwrap();
        }
        let described = engine.transactions().describe("tx").unwrap().unwrap();
        assert_eq!(described.state, State::CompleteAbort);
        drop(producer.begin());
        assert_eq!(producer.identity().epoch, ProducerEpoch::new(1), "nothing was sent");

        // One that is forgotten is aborted by the next, and what that sends is not taken for a repetition.
        let mut transaction = producer.begin();
        transaction.send(on(0, "b")).unwrap().wait().unwrap();
        std::mem::forget(transaction);
        let mut transaction = producer.begin();
        transaction.send(on(0, "c")).unwrap().wait().unwrap();
        transaction.commit().unwrap();
        assert_eq!(committed(&engine), ["c"]);

        // Also when the engine is gone; it only says so.
        let mut transaction = producer.begin();
        transaction.send(on(0, "d")).unwrap().wait().unwrap();
        engine.shutdown().unwrap();
        drop(transaction);
    }
}

#[test]
fn t3_a_second_producer_fences_the_first_at_its_next_write_and_at_its_commit() {
    for options in ways() {
        let (_home, engine) = open(options);
        let mut old = engine.transactional_producer("tx").unwrap();
        let mut transaction = old.begin();
        transaction.send(on(0, "old")).unwrap().wait().unwrap();
        let mut new = engine.transactional_producer("tx").unwrap();
        // On a partition that knows it, and on one that does not.
        for partition in [0, 1] {
            let refused = transaction.send(on(partition, "zombie")).unwrap().wait().unwrap_err();
            assert!(matches!(refused, ClientError::Produce(_)), "{refused:?}");
        }
        let refused = transaction.flush().unwrap_err();
        let TxnError::Fenced { current, got, fence, .. } = refusal(&refused) else {
            panic!("{refused:?}")
        };
        assert_eq!((got.epoch.get(), current.epoch.get()), (0, 2));
        let Some(Fence { cause: Cause::Initialised, at, .. }) = fence else { panic!("{fence:?}") };
        assert!(engine.now().since(*at) < 600_000, "when it was");
        assert!(matches!(transaction.send(on(0, "x")), Err(ClientError::Doomed { .. })));
        let refused = transaction.commit().unwrap_err();
        assert!(matches!(refusal(&refused), TxnError::Fenced { .. }));
        assert!(refused.to_string().contains("epoch 2 is current"), "{refused}");

        let mut transaction = new.begin();
        transaction.send(on(0, "new")).unwrap();
        transaction.commit().unwrap();
        // For good.
        let refused = old.begin().send(on(0, "zombie")).unwrap_err();
        assert!(matches!(refusal(&refused), TxnError::Fenced { .. }));
        assert_eq!(committed(&engine), ["new"]);
    }
}

#[test]
fn t3_a_fenced_commit_with_nothing_left_to_write_is_refused() {
    let (_home, engine) = open(Options::broker());
    let mut old = engine.transactional_producer("tx").unwrap();
    let mut transaction = old.begin();
    transaction.send(on(0, "old")).unwrap().wait().unwrap();
    let new = engine.transactional_producer("tx").unwrap();
    let refused = transaction.commit().unwrap_err();
    assert!(matches!(refusal(&refused), TxnError::Fenced { .. }));
    assert!(committed(&engine).is_empty());
    drop(new);
}

#[test]
fn t7_t10_a_transaction_that_idles_is_aborted_and_its_commit_is_told_so() {
    let env = Manual::<MemDir>::new(Millis::new(1_700_000_000_000), 7);
    let engine = Engine::open_in(env.clone(), MemDir::new(), small(Options::embedded())).unwrap();
    engine.ensure_topic("t", 2).unwrap();
    let settings = ProducerSettings::new().set("transaction.timeout.ms", "5000").unwrap();
    let mut producer = engine.transactional_producer_with("tx", settings).unwrap();
    let mut transaction = producer.begin();
    transaction.send(on(0, "a")).unwrap().wait().unwrap();
    env.advance(5_000);
    engine.maintain(engine.now()).unwrap();
    assert_eq!(engine.transactions().describe("tx").unwrap().unwrap().state, State::Ongoing);
    env.advance(10_001);
    while engine.maintain(engine.now()).unwrap() == 0 {}
    let partition = engine.partition("t", 0).unwrap();
    assert_eq!(partition.last_stable_offset().unwrap(), Offset::new(2), "readers go on");

    let refused = transaction.commit().unwrap_err();
    assert_eq!(refusal(&refused).code(), ErrorCode::ProducerFenced);
    let text = refused.to_string();
    assert!(text.contains("aborted before its commit arrived (the transaction timeout"), "{text}");
    // Nobody else has the id: the producer goes on.
    let mut transaction = producer.begin();
    transaction.send(on(1, "b")).unwrap();
    transaction.commit().unwrap();
    assert_eq!(committed(&engine), ["b"]);

    // And a write that comes too late is told the same.
    let mut transaction = producer.begin();
    transaction.send(on(0, "c")).unwrap().wait().unwrap();
    env.advance(20_000);
    while engine.maintain(engine.now()).unwrap() == 0 {}
    transaction.send(on(0, "d")).unwrap();
    let refused = transaction.commit().unwrap_err();
    assert!(refused.to_string().contains("the transaction timeout"), "{refused}");
    let mut transaction = producer.begin();
    transaction.send(on(0, "e")).unwrap();
    transaction.commit().unwrap();
    assert_eq!(committed(&engine), ["b", "e"]);
}

#[test]
fn a_timeout_that_the_operator_does_not_allow_is_refused_with_the_bound() {
    let (_home, engine) = open(Options::broker());
    let settings = ProducerSettings::new().set("transaction.timeout.ms", "900001").unwrap();
    let refused = engine.transactional_producer_with("tx", settings).unwrap_err();
    assert!(refused.to_string().contains("1 to 900000 ms"), "{refused}");
    assert!(matches!(engine.transactional_producer(""), Err(ClientError::Transaction(_))));
}

#[test]
fn t1_a_record_that_is_not_taken_takes_the_whole_transaction_with_it() {
    for options in ways() {
        let (_home, engine) = open(options);
        let topic = NewTopic::new("small", 1).config("max.message.bytes", "200");
        engine.create_topic(&topic, Mode::Apply).unwrap();
        let mut producer = engine.transactional_producer("tx").unwrap();
        let mut transaction = producer.begin();
        transaction.send(on(0, "a")).unwrap().wait().unwrap();
        // Nobody looks at its delivery.
        transaction.send(Record::new("small", vec![0; 500])).unwrap();
        let refused = transaction.commit().unwrap_err();
        let ClientError::Aborted { id, reason } = &refused else { panic!("{refused:?}") };
        assert_eq!(id, "tx");
        assert!(matches!(&**reason, ClientError::Produce(_)), "{reason:?}");

        let mut transaction = producer.begin();
        transaction.send(on(0, "b")).unwrap();
        assert!(matches!(
            transaction.send(Record::new("nowhere", "x")),
            Err(ClientError::UnknownTopic { .. })
        ));
        assert!(matches!(transaction.send(on(0, "c")), Err(ClientError::Doomed { .. })));
        assert!(matches!(transaction.commit(), Err(ClientError::Aborted { .. })));
        let mut transaction = producer.begin();
        transaction.send(on(1, "d")).unwrap();
        transaction.commit().unwrap();
        assert_eq!(committed(&engine), ["d"]);
    }
}

#[test]
fn t2_a_commit_whose_future_is_dropped_is_all_or_nothing_and_the_producer_goes_on() {
    for options in ways() {
        let (_home, engine) = open(options);
        let mut producer = engine.transactional_producer("tx").unwrap();
        let mut expected: Vec<String> = Vec::new();
        for polls in 0..12 {
            let values = [format!("{polls:02} a"), format!("{polls:02} b")];
            let mut transaction = producer.begin();
            transaction.send(on(0, &values[0])).unwrap();
            transaction.send(on(1, &values[1])).unwrap();
            {
                let mut commit = pin!(transaction.commit_async());
                for _ in 0..polls {
                    let mut cx = Context::from_waker(Waker::noop());
                    if let Poll::Ready(result) = commit.as_mut().poll(&mut cx) {
                        result.unwrap();
                        break;
                    }
                    std::thread::yield_now();
                }
            }
            let mut transaction = producer.begin();
            let last = format!("{polls:02} c");
            transaction.send(on(0, &last)).unwrap();
            transaction.commit().unwrap();
            let seen = committed(&engine);
            assert_eq!(seen.contains(&values[0]), seen.contains(&values[1]), "{polls}: {seen:?}");
            if seen.contains(&values[0]) {
                expected.extend(values);
            }
            expected.push(last);
            assert_eq!(seen, expected, "after {polls} polls");
        }
    }
}

/// The longest way to a decision: the topic is synced and the group's log is not, so that the offsets are made durable before it.
#[test]
fn t1_a_commit_that_is_dropped_before_it_is_decided_is_aborted() {
    let (_home, engine) = open(Options::broker().helpers(1));
    let synced = NewTopic::new("synced", 1).config("flush.messages", "1");
    engine.create_topic(&synced, Mode::Apply).unwrap();
    engine.ensure_topic("in", 1).unwrap();
    let mut producer = engine.transactional_producer("tx").unwrap();
    let source = TopicPartition { topic: TopicName::new("in").unwrap(), partition: 0 };
    let mut undecided = 0;
    for polls in (0..14).map(|power| 1 << power) {
        let value = format!("after {polls} polls");
        let mut transaction = producer.begin();
        transaction.send(Record::new("synced", value.clone())).unwrap();
        transaction.send_offsets("g", &[(source.clone(), Offset::new(polls))]).unwrap();
        transaction.flush().unwrap();
        {
            let mut commit = pin!(transaction.commit_async());
            for _ in 0..polls {
                let mut cx = Context::from_waker(Waker::noop());
                if commit.as_mut().poll(&mut cx).is_ready() {
                    break;
                }
            }
        }
        let state = engine.transactions().describe("tx").unwrap().unwrap().state;
        let offset = group_offset(&engine, "g");
        // At once, whether or not the application begins another.
        let (committed, aborted) = (State::CompleteCommit, State::CompleteAbort);
        assert!([committed, aborted].contains(&state), "{state:?} after {polls} polls");
        assert_eq!(offset == Some(polls), state == committed, "after {polls} polls");
        undecided += i32::from(state == aborted);
        // The application heard nothing, and does the same once more.
        let mut transaction = producer.begin();
        transaction.send(Record::new("synced", format!("{value}, again"))).unwrap();
        transaction.commit().unwrap();
        if state == aborted {
            assert_ne!(group_offset(&engine, "g"), Some(polls), "nor behind another commit");
        }
    }
    assert!(undecided > 0, "nothing was asked");
}

#[test]
fn t12_what_a_process_left_open_is_aborted_by_the_next_instance() {
    for options in ways() {
        let (home, engine) = open(options.clone());
        let mut producer = engine.transactional_producer("tx").unwrap();
        let mut transaction = producer.begin();
        transaction.send(on(0, "a")).unwrap();
        transaction.commit().unwrap();
        let mut transaction = producer.begin();
        transaction.send(on(0, "b")).unwrap().wait().unwrap();
        transaction.send(on(1, "c")).unwrap().wait().unwrap();
        std::mem::forget(transaction);
        engine.shutdown().unwrap();
        drop((producer, engine));

        let engine = reopen(&home, options);
        assert_eq!(engine.partition("t", 1).unwrap().last_stable_offset().unwrap(), Offset::ZERO);
        let mut producer = engine.transactional_producer("tx").unwrap();
        assert_eq!(engine.partition("t", 1).unwrap().last_stable_offset().unwrap(), Offset::new(2));
        let mut transaction = producer.begin();
        transaction.send(on(1, "d")).unwrap();
        transaction.commit().unwrap();
        assert_eq!(committed(&engine), ["a", "d"]);
    }
}

#[test]
fn t4_who_takes_an_id_over_hears_which_partition_keeps_it_from_that() {
    let (home, engine) = open(Options::broker());
    let mut producer = engine.transactional_producer("tx").unwrap();
    let mut transaction = producer.begin();
    transaction.send(on(0, "a")).unwrap().wait().unwrap();
    transaction.send(on(1, "b")).unwrap().wait().unwrap();
    std::mem::forget(transaction);
    engine.shutdown().unwrap();
    drop((producer, engine));

    // Somebody else's directory in the place of t-0.
    let metadata = home.path().join("t-0/partition.metadata");
    let own = std::fs::read(&metadata).unwrap();
    std::fs::write(&metadata, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ").unwrap();
    let engine = reopen(&home, Options::broker());
    let refused = engine.transactional_producer("tx").unwrap_err();
    let ClientError::Unfinished { id, partitions } = &refused else { panic!("{refused:?}") };
    assert_eq!((id.as_str(), partitions.len()), ("tx", 1));
    assert!(refused.to_string().contains("cannot be told to t-0"), "{refused}");

    std::fs::write(&metadata, own).unwrap();
    let mut producer = engine.transactional_producer("tx").unwrap();
    let mut transaction = producer.begin();
    transaction.send(on(0, "c")).unwrap();
    transaction.commit().unwrap();
    assert_eq!(committed(&engine), ["c"]);
}

#[test]
fn t9_when_epochs_are_used_up_the_producer_goes_on_under_another_id() {
    let (home, engine) = open(Options::broker());
    let first = engine.transactional_producer("tx").unwrap();
    let before = first.identity();
    engine.shutdown().unwrap();
    drop((first, engine));
    let engine = reopen(&home, Options::broker());
    let far = value_of(engine.now(), before.id, ProducerEpoch::new(32_764));
    set_state(&engine, far, ValueVersion::V1);
    let mut producer = engine.transactional_producer("tx").unwrap();
    assert_eq!(producer.identity().id, before.id);
    let mut pairs = Vec::new();
    for value in ["a", "b", "c", "d"] {
        let mut transaction = producer.begin();
        transaction.send(on(0, value)).unwrap();
        transaction.send(on(1, value)).unwrap();
        transaction.commit().unwrap();
        pairs.push((producer.identity().id == before.id, producer.identity().epoch.get()));
    }
    assert_eq!(pairs, [(true, 32_766), (false, 0), (false, 1), (false, 2)]);
    assert_eq!(committed(&engine), ["a", "a", "b", "b", "c", "c", "d", "d"]);
}

/// An earlier release, or Kafka, has decided in the form of `transaction.version` 0, which does not say that the end was of protocol 2.
#[test]
fn t2_a_commit_in_the_old_form_of_the_log_is_carried_out_whatever_its_protocol() {
    for raised in [0, 1] {
        let (home, engine) = open(Options::broker());
        let producer = engine.transactional_producer("tx").unwrap();
        let pair = engine.transactions().describe("tx").unwrap().unwrap().producer;
        let (id, partition) =
            (TransactionalId::new("tx").unwrap(), engine.partition("t", 0).unwrap());
        let batches = vec![(partition, support::in_transaction(pair, 0, &["a"]))];
        let begun = engine.transactions().produce(&id, Enrol::Add, batches, Acks::All);
        let TransactionalProduce::Begun(mut produced) = begun else { panic!("nothing is synced") };
        produced.pop().unwrap().wait().unwrap();
        engine.shutdown().unwrap();
        drop((produced, producer, engine));
        let engine = reopen(&home, Options::broker());
        let epoch = ProducerEpoch::new(pair.epoch.get() + raised);
        let topic = TopicName::new("t").unwrap();
        let mut value = value_of(engine.now(), pair.id, epoch);
        value.state = State::PrepareCommit;
        value.partitions = Some(vec![TopicPartitions { topic, partitions: vec![0] }]);
        value.start = engine.now();
        value.client_transaction_version = 0;
        set_state(&engine, value, ValueVersion::V0);
        while engine.maintain(engine.now()).unwrap() == 0 {}
        assert_eq!(committed(&engine), ["a"], "raised by {raised}");
        let state = engine.transactions().describe("tx").unwrap().unwrap().state;
        assert_eq!(state, State::CompleteCommit);
    }
}

/// An id that has got so far.
fn value_of(now: Millis, id: hanbeon_records::ProducerId, epoch: ProducerEpoch) -> TxnValue {
    TxnValue {
        producer: txn::Producer { id, epoch },
        timeout_ms: 60_000,
        state: State::Empty,
        partitions: None,
        last_update: now,
        start: Millis::NONE,
        previous_producer_id: id,
        next_producer_id: hanbeon_records::ProducerId::NONE,
        client_transaction_version: 2,
        next_producer_epoch: ProducerEpoch::NONE,
        last_producer_epoch: ProducerEpoch::NONE,
        unknown_tags: Vec::new(),
    }
}

/// Puts an id's state into the log before anybody has read it.
fn set_state(engine: &Engine, value: TxnValue, version: ValueVersion) {
    let name = TransactionalId::new("tx").unwrap();
    let record = txn::Record::new(name, Some(value), Cause::Initialised);
    let (key, value) = record.encode(version).unwrap();
    let mut bytes = Vec::new();
    let settings = BatchSettings {
        codec: Codec::None,
        level: CompressionLevel::DEFAULT,
        timestamp_type: TimestampType::CreateTime,
        producer: None,
        kind: BatchKind::Plain,
        base_offset: Offset::ZERO,
        leader_epoch: LeaderEpoch::UNKNOWN,
    };
    let mut batch = BatchBuilder::new(&mut bytes, settings);
    let value = value.as_deref();
    batch
        .push(NewRecord { timestamp: engine.now(), key: Some(&key), value, headers: &[] })
        .unwrap();
    batch.finish().unwrap();
    let shard = engine.partition("__transaction_state", txn::partition_for("tx", 2)).unwrap();
    shard.produce_as_server(Bytes::from(bytes), Acks::All).wait().unwrap();
}

fn group_offset(engine: &Engine, group: &str) -> Option<i64> {
    let fetch = Fetch {
        group: Name::new(group).unwrap(),
        member: None,
        stability: Stability::Required,
        what: FetchWhat::These(vec![(Name::new("in").unwrap(), 0)]),
    };
    let mut fetched = pin!(engine.groups().fetch_offsets(fetch));
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(found) = fetched.as_mut().poll(&mut cx) {
            let offset = found.unwrap().pop().unwrap();
            assert_eq!(offset.error, None);
            return offset.committed.map(|committed| committed.offset.get());
        }
        std::thread::yield_now();
    }
}

#[test]
fn t8_a_groups_offsets_move_with_what_was_made_of_its_records() {
    for options in ways() {
        let (_home, engine) = open(options);
        engine.ensure_topic("in", 1).unwrap();
        let source = engine.producer();
        for value in ["a", "b", "c"] {
            drop(source.send(Record::new("in", value)).unwrap());
        }
        source.flush().unwrap();
        let mut producer = engine.transactional_producer("tx").unwrap();
        let mut consumer = engine.consumer();
        consumer.assign("in", 0).unwrap();
        assert!(consumer.positions().is_empty(), "not read yet");
        let received = consumer.poll().unwrap();
        let positions = consumer.positions();
        assert_eq!((positions.len(), positions[0].1), (1, Offset::new(3)));

        let mut transaction = producer.begin();
        for record in &received {
            transaction.send(Record::new("t", record.value.clone().unwrap())).unwrap();
        }
        transaction.send_offsets("g", &positions).unwrap();
        transaction.abort().unwrap();
        assert_eq!(group_offset(&engine, "g"), None);

        let mut transaction = producer.begin();
        for record in &received {
            transaction.send(Record::new("t", record.value.clone().unwrap())).unwrap();
        }
        transaction.send_offsets("g", &positions).unwrap();
        transaction.commit().unwrap();
        assert_eq!(group_offset(&engine, "g"), Some(3));
        assert_eq!(committed(&engine), ["a", "b", "c"]);

        // Offsets alone are a transaction too, and those of a partition that is none doom theirs.
        let mut transaction = producer.begin();
        let (mut at, _) = positions[0].clone();
        transaction.send_offsets("g", &[(at.clone(), Offset::new(2))]).unwrap();
        transaction.commit().unwrap();
        assert_eq!(group_offset(&engine, "g"), Some(2));
        let mut transaction = producer.begin();
        at = TopicPartition { partition: 7, ..at };
        assert!(transaction.send_offsets("g", &[(at, Offset::new(1))]).is_err());
        assert!(matches!(transaction.commit(), Err(ClientError::Aborted { .. })));
        assert_eq!(group_offset(&engine, "g"), Some(2));
    }
}
