//! Transactions through the engine: decided once, visible together.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use hanbeon::{
    AbortedData, Acks, Engine, Enrol, Feature, FeatureUpdate, FetchSpec, Isolation, LevelChange,
    MarkerRequest, Mode, Options, Record, TransactionError, Transactions,
    txn::{EndTxn, InitProducerId, Outcome, Producer, Protocol, State, TransactionalId},
};
use hanbeon_records::{
    BatchRef, CoordinatorEpoch, ErrorCode, Offset, ProducerEpoch, ProducerId, TopicName,
    TopicPartition,
};
use support::{in_transaction, wait};

type Home = tempfile::TempDir;

fn init(id: &TransactionalId) -> InitProducerId {
    InitProducerId::new(id.clone(), 60_000)
}

fn end(id: &TransactionalId, producer: Producer, outcome: Outcome) -> EndTxn {
    EndTxn { id: id.clone(), producer, outcome, protocol: Protocol::V2 }
}

fn write(
    transactions: &Transactions,
    engine: &Engine,
    id: &TransactionalId,
    producer: Producer,
    (partition, values): (i32, &[&str]),
) -> Result<Offset, ErrorCode> {
    let handle = engine.partition("t", partition).unwrap();
    let batch = in_transaction(producer, 0, values);
    let begun =
        wait(transactions.produce(id, Enrol::Add, vec![(handle, batch)], Acks::All).begun());
    let produced = begun.into_iter().next().unwrap().wait();
    produced.map(|produced| produced.base_offset).map_err(|error| error.code())
}

fn stable(engine: &Engine, partition: i32) -> i64 {
    engine.partition("t", partition).unwrap().last_stable_offset().unwrap().get()
}

fn open() -> (Home, Engine) {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    engine.ensure_topic("t", 2).unwrap();
    (home, engine)
}

#[test]
fn t1_partitions_see_one_decision_and_readers_see_it_whole() {
    let (_home, engine) = open();
    let transactions = engine.transactions();
    let id = TransactionalId::new("tx-1").unwrap();
    let first = wait(transactions.init_producer_id(init(&id))).unwrap();
    assert_eq!(first.epoch, ProducerEpoch::new(0));
    write(&transactions, &engine, &id, first, (0, &["a", "b"])).unwrap();
    write(&transactions, &engine, &id, first, (1, &["c"])).unwrap();
    assert_eq!((stable(&engine, 0), stable(&engine, 1)), (0, 0), "nobody knows yet");
    let second = wait(transactions.end(end(&id, first, Outcome::Commit))).unwrap();
    assert_eq!((second.id, second.epoch), (first.id, ProducerEpoch::new(1)));
    assert_eq!((stable(&engine, 0), stable(&engine, 1)), (3, 2), "a marker each");
    let state = transactions.describe("tx-1").unwrap().unwrap().state;
    assert_eq!(state, State::CompleteCommit);

    write(&transactions, &engine, &id, second, (0, &["d"])).unwrap();
    wait(transactions.end(end(&id, second, Outcome::Abort))).unwrap();
    let spec = FetchSpec { isolation: Isolation::Committed, ..FetchSpec::from(Offset::ZERO) };
    let fetched = engine.partition("t", 0).unwrap().fetch(&spec).unwrap();
    let aborted = fetched.aborted.unwrap();
    assert_eq!(aborted.len(), 1);
    assert_eq!(aborted[0].first_offset, Offset::new(3));
    assert_eq!(fetched.last_stable_offset, Offset::new(5));
}

#[test]
fn t3_a_new_instance_fences_the_old_one_everywhere() {
    let (_home, engine) = open();
    let transactions = engine.transactions();
    let id = TransactionalId::new("tx-1").unwrap();
    let old = wait(transactions.init_producer_id(init(&id))).unwrap();
    write(&transactions, &engine, &id, old, (0, &["a"])).unwrap();
    let aborting = wait(transactions.init_producer_id(init(&id))).unwrap_err();
    assert_eq!(aborting.code(), ErrorCode::ConcurrentTransactions);
    let new = wait(transactions.init_producer_id(init(&id))).unwrap();
    assert!(new.epoch > old.epoch);
    assert_eq!(
        write(&transactions, &engine, &id, old, (0, &["zombie"])),
        Err(ErrorCode::InvalidProducerEpoch)
    );
    let refused = wait(transactions.end(end(&id, old, Outcome::Commit))).unwrap_err();
    assert!(matches!(refused, TransactionError::Refused(_)), "{refused:?}");
    assert_eq!(refused.code(), ErrorCode::ProducerFenced);
}

#[test]
fn t2_a_decision_that_was_written_is_carried_out_after_a_restart() {
    let (home, engine) = open();
    let transactions = engine.transactions();
    let id = TransactionalId::new("tx-1").unwrap();
    let first = wait(transactions.init_producer_id(init(&id))).unwrap();
    write(&transactions, &engine, &id, first, (0, &["a"])).unwrap();
    write(&transactions, &engine, &id, first, (1, &["b"])).unwrap();
    // Polled once it is decided and, with nothing to wait for, done; a process that dies in between leaves the Prepare record, which is
    // what the crash images of `transaction_crashes.rs` look at. Here the transaction is left open.
    drop(transactions);
    engine.shutdown().unwrap();
    drop(engine);
    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    let transactions = engine.transactions();
    assert_eq!(transactions.describe("tx-1").unwrap().unwrap().state, State::Ongoing);
    assert_eq!(stable(&engine, 0), 0);
    wait(transactions.end(end(&id, first, Outcome::Commit))).unwrap();
    assert_eq!((stable(&engine, 0), stable(&engine, 1)), (2, 2));
}

#[test]
fn t4_a_partition_that_is_offline_keeps_its_marker_owed_until_it_is_back() {
    let (home, engine) = open();
    let transactions = engine.transactions();
    let id = TransactionalId::new("tx-1").unwrap();
    let producer = wait(transactions.init_producer_id(init(&id))).unwrap();
    write(&transactions, &engine, &id, producer, (0, &["a"])).unwrap();
    write(&transactions, &engine, &id, producer, (1, &["b"])).unwrap();
    drop(transactions);
    engine.shutdown().unwrap();
    drop(engine);

    // Somebody else's directory in the place of t-0: offline, and not deleted.
    let metadata = home.path().join("t-0/partition.metadata");
    let own = std::fs::read(&metadata).unwrap();
    std::fs::write(&metadata, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ").unwrap();
    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    let transactions = engine.transactions();
    let next = wait(transactions.end(end(&id, producer, Outcome::Commit))).unwrap();
    assert!(engine.partition("t", 0).unwrap().is_offline());
    assert_eq!(stable(&engine, 1), 2, "the marker is where it could be written");
    let described = transactions.describe("tx-1").unwrap().unwrap();
    assert_eq!(described.state, State::PrepareCommit);
    assert_eq!(described.partitions.len(), 1, "the one that lacks its marker");
    // The next transaction has to wait: its partitions would not know which one they are asked about.
    assert_eq!(
        write(&transactions, &engine, &id, next, (1, &["c"])),
        Err(ErrorCode::ConcurrentTransactions)
    );

    std::fs::write(&metadata, own).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    partition.reopen().unwrap();
    let waits = partition.data_beyond(Offset::ZERO, Isolation::Committed).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            waits.wait();
            partition.last_stable_offset().unwrap()
        });
        assert_eq!(stable(&engine, 0), 0, "undecided for its readers");
        let mut now = engine.now();
        while transactions.describe("tx-1").unwrap().unwrap().state != State::CompleteCommit {
            now = now.saturating_add(10_001);
            engine.maintain(now).unwrap();
        }
        assert_eq!(reader.join().unwrap(), Offset::new(2));
    });
    write(&transactions, &engine, &id, next, (0, &["c"])).unwrap();
}

/// The old form of the log has no room for the protocol of the end, by which the marker's epoch is judged.
#[test]
fn t2_a_commit_of_protocol_2_is_none_of_protocol_1_after_a_restart_at_level_0() {
    let (home, engine) = open();
    let change = LevelChange::SafeDowngrade;
    let lower = FeatureUpdate { feature: Feature::TransactionVersion.name(), level: 0, change };
    engine.update_features(&[lower], Mode::Apply).unwrap();
    let id = TransactionalId::new("tx-1").unwrap();
    let producer = wait(engine.transactions().init_producer_id(init(&id))).unwrap();
    write(&engine.transactions(), &engine, &id, producer, (0, &["a"])).unwrap();
    engine.shutdown().unwrap();
    drop(engine);
    let metadata = home.path().join("t-0/partition.metadata");
    let own = std::fs::read(&metadata).unwrap();
    std::fs::write(&metadata, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ").unwrap();
    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    wait(engine.transactions().end(end(&id, producer, Outcome::Commit))).unwrap();
    let state = engine.transactions().describe("tx-1").unwrap().unwrap().state;
    assert_eq!(state, State::PrepareCommit, "t-0 is offline");
    // Not in order, with a partition offline.
    drop(engine.shutdown());
    drop(engine);
    std::fs::write(&metadata, own).unwrap();

    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    let mut now = engine.now();
    while engine.transactions().describe("tx-1").unwrap().unwrap().state != State::CompleteCommit {
        now = now.saturating_add(10_001);
        engine.maintain(now).unwrap();
    }
    let spec = FetchSpec { isolation: Isolation::Committed, ..FetchSpec::from(Offset::ZERO) };
    let fetched = engine.partition("t", 0).unwrap().fetch(&spec).unwrap();
    assert_eq!((fetched.aborted.map(|all| all.len()), stable(&engine, 0)), (Some(0), 2));
    // And the answer to its end is known to a retry.
    let next = Producer { epoch: ProducerEpoch::new(1), ..producer };
    let again = wait(engine.transactions().end(end(&id, producer, Outcome::Commit))).unwrap();
    assert_eq!(again, next);
}

/// A power cut leaves of each file what it likes: here all but the marker in `t-0`.
#[test]
fn t1_a_commit_whose_marker_a_power_cut_took_is_none_of_nobodys() {
    let (home, engine) = open();
    let id = TransactionalId::new("tx-1").unwrap();
    let producer = wait(engine.transactions().init_producer_id(init(&id))).unwrap();
    write(&engine.transactions(), &engine, &id, producer, (0, &["a"])).unwrap();
    wait(engine.transactions().end(end(&id, producer, Outcome::Commit))).unwrap();
    engine.shutdown().unwrap();
    drop(engine);
    for name in [
        ".kafka_cleanshutdown",
        "hanbeon.boot",
        "recovery-point-offset-checkpoint",
        "replication-offset-checkpoint",
    ] {
        // Not each of them need be there.
        drop(std::fs::remove_file(home.path().join(name)));
    }
    let log = home.path().join("t-0/00000000000000000000.log");
    let bytes = std::fs::read(&log).unwrap();
    let (batch, _marker) = BatchRef::parse(&bytes).unwrap();
    let left = u64::try_from(batch.bytes().len()).unwrap();
    std::fs::File::options().write(true).open(&log).unwrap().set_len(left).unwrap();

    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    let mut now = engine.now();
    // Partitions are opened and looked at one by one.
    for _ in 0..500 {
        now = now.saturating_add(10_001);
        engine.maintain(now).unwrap();
        if stable(&engine, 0) == 2 {
            break;
        }
    }
    let spec = FetchSpec { isolation: Isolation::Committed, ..FetchSpec::from(Offset::ZERO) };
    let fetched = engine.partition("t", 0).unwrap().fetch(&spec).unwrap();
    assert_eq!((fetched.aborted.map(|all| all.len()), stable(&engine, 0)), (Some(0), 2));
}

/// Version 1 of `WriteTxnMarkers` has no room for the protocol, and a coordinator of Kafka 4.0 raises the epoch all the same.
#[test]
fn t1_a_coordinator_elsewhere_commits_at_the_next_epoch() {
    let (_home, engine) = open();
    let id = TransactionalId::new("tx-1").unwrap();
    let producer = wait(engine.transactions().init_producer_id(init(&id))).unwrap();
    write(&engine.transactions(), &engine, &id, producer, (0, &["a"])).unwrap();
    let next = Producer { epoch: ProducerEpoch::new(1), ..producer };
    let partition = engine.partition("t", 0).unwrap();
    wait(engine.transactions().write_marker(MarkerRequest {
        producer: next,
        outcome: Outcome::Commit,
        coordinator_epoch: CoordinatorEpoch::new(0),
        protocol: Protocol::V1,
        partition: TopicPartition { topic: TopicName::new("t").unwrap(), partition: 0 },
    }))
    .unwrap();
    let spec = FetchSpec { isolation: Isolation::Committed, ..FetchSpec::from(Offset::ZERO) };
    let fetched = partition.fetch(&spec).unwrap();
    assert_eq!((fetched.aborted.map(|all| all.len()), stable(&engine, 0)), (Some(0), 2));
}

#[test]
fn t5_who_holds_readers_back_is_told_with_name_age_and_size() {
    let (_home, engine) = open();
    let transactions = engine.transactions();
    let id = TransactionalId::new("payments").unwrap();
    let producer = wait(transactions.init_producer_id(init(&id))).unwrap();
    assert!(engine.pins().is_empty());
    let begun = engine.now();
    write(&transactions, &engine, &id, producer, (1, &["a", "b"])).unwrap();
    engine.partition("t", 1).unwrap().produce(support::batch(&["c"]), Acks::All).wait().unwrap();
    let pins = engine.pins();
    assert_eq!(pins.len(), 1);
    let pin = &pins[0];
    assert_eq!((pin.partition.partition, pin.offsets_behind), (1, 3));
    assert_eq!(pin.transactional_id.as_ref(), Some(&id));
    assert_eq!(pin.producer_id, producer.id);
    assert_eq!(pin.bytes_behind, engine.partition("t", 1).unwrap().size_bytes().unwrap());
    assert!(pin.since >= begun.saturating_add(-1000) && pin.since <= engine.now());
    let (whole, first) = (pin.bytes_behind, pin.first_offset);
    assert_eq!(first, Offset::ZERO);

    // Deleting into it leaves the rest of it undecided.
    let partition = engine.partition("t", 1).unwrap();
    assert_eq!(partition.delete_records(Some(Offset::new(1))).unwrap(), Offset::new(1));
    let pins = engine.pins();
    assert_eq!(pins.len(), 1, "it holds readers back all the same");
    assert_eq!((pins[0].first_offset, pins[0].offsets_behind), (Offset::new(1), 2));
    assert_eq!((pins[0].transactional_id.as_ref(), pins[0].bytes_behind), (Some(&id), whole));

    let lag = partition.lag(Offset::new(1), Isolation::Committed).unwrap();
    assert_eq!((lag.records, lag.offsets, lag.undecided), (0, 0, 2));
    wait(transactions.end(end(&id, producer, Outcome::Abort))).unwrap();
    assert!(engine.pins().is_empty());
    let lag = partition.lag(Offset::new(1), Isolation::Committed).unwrap();
    assert_eq!((lag.records, lag.offsets), (1, 3), "one aborted, one marker");
    let lag = partition.lag(Offset::new(1), Isolation::Uncommitted).unwrap();
    assert_eq!((lag.records, lag.offsets), (2, 3));
    let lag = partition.lag(Offset::new(3), Isolation::Committed).unwrap();
    assert_eq!((lag.records, lag.offsets), (0, 1), "all read: nothing but a marker is left");
}

/// A back-fill of a year ago is as young as it is: what a producer says of its records tells nobody to abort it.
#[test]
fn t5_the_age_of_a_transaction_is_not_that_of_its_records() {
    let (_home, engine) = open();
    let transactions = engine.transactions();
    let id = TransactionalId::new("back-fill").unwrap();
    let producer = wait(transactions.init_producer_id(init(&id))).unwrap();
    let begun = engine.now();
    let year_ago = begun.saturating_add(-365 * 86_400_000).get();
    let handle = engine.partition("t", 0).unwrap();
    let batch = support::in_transaction_at(year_ago, producer, 0, &["a"]);
    let added = transactions.produce(&id, Enrol::Add, vec![(handle, batch)], Acks::All).begun();
    wait(added).into_iter().next().unwrap().wait().unwrap();
    let pins = engine.pins();
    assert_eq!(pins.len(), 1);
    assert_eq!(pins[0].transactional_id.as_ref(), Some(&id));
    assert!(pins[0].since >= begun && pins[0].since <= engine.now(), "{:?}", pins[0].since);
}

/// A transaction that nobody will end is as old as itself, not as what another client wrote behind its beginning.
#[test]
fn t5_the_age_of_a_hanging_transaction_is_not_that_of_a_strangers_batch() {
    let home = tempfile::tempdir().unwrap();
    let unasked = Options::broker().set("transaction.partition.verification.enable", "false");
    let engine = Engine::open_with(home.path(), unasked.unwrap()).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    let begun = engine.now();
    let year_ago = begun.saturating_add(-365 * 86_400_000).get();
    let nobody = Producer { id: ProducerId::new(7), epoch: ProducerEpoch::new(0) };
    let write = |batch| partition.produce(batch, Acks::All).wait().unwrap();
    write(support::in_transaction_at(begun.get(), nobody, 0, &["a"]));
    write(support::batch_at(year_ago, &["b"]));
    assert_eq!(partition.delete_records(Some(Offset::new(1))).unwrap(), Offset::new(1));
    let pins = engine.pins();
    assert_eq!(pins.len(), 1);
    assert_eq!((pins[0].producer_id, pins[0].transactional_id.as_ref()), (nobody.id, None));
    assert_eq!(pins[0].since, begun, "nothing else is left of it");
    write(support::in_transaction_at(begun.get() + 1, nobody, 1, &["c"]));
    write(support::in_transaction_at(begun.get() + 2, nobody, 2, &["d"]));
    assert_eq!(engine.pins()[0].since, begun.saturating_add(1), "the first that is left");
}

#[test]
fn t6_a_reader_that_cannot_sort_out_aborted_data_gets_none_and_still_moves_on() {
    let (_home, engine) = open();
    let transactions = engine.transactions();
    let id = TransactionalId::new("tx-1").unwrap();
    let first = wait(transactions.init_producer_id(init(&id))).unwrap();
    write(&transactions, &engine, &id, first, (0, &["void", "void"])).unwrap();
    let second = wait(transactions.end(end(&id, first, Outcome::Abort))).unwrap();
    write(&transactions, &engine, &id, second, (0, &["kept"])).unwrap();
    wait(transactions.end(end(&id, second, Outcome::Commit))).unwrap();
    let spec = FetchSpec {
        isolation: Isolation::Committed,
        aborted_data: AbortedData::LeftOut,
        ..FetchSpec::from(Offset::ZERO)
    };
    let fetched = engine.partition("t", 0).unwrap().fetch(&spec).unwrap();
    assert_eq!(fetched.aborted, Some(Vec::new()));
    let mut rest: &[u8] = &fetched.records;
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let (batch, behind) = BatchRef::parse(rest).unwrap();
        batch.verify().unwrap();
        seen.push((batch.base_offset().get(), batch.last_offset().get(), batch.record_count()));
        rest = behind;
    }
    assert_eq!(seen, [(0, 1, 0), (2, 2, 1), (3, 3, 1), (4, 4, 1)], "emptied, marker, data, marker");
}

#[test]
fn t1_a_transaction_does_not_reach_into_what_coordinators_keep() {
    let (_home, engine) = open();
    let transactions = engine.transactions();
    let id = TransactionalId::new("tx-1").unwrap();
    let producer = wait(transactions.init_producer_id(init(&id))).unwrap();
    let topic = engine.topic("__transaction_state").unwrap();
    for partition in topic.partitions() {
        partition.open().unwrap();
        let before = partition.log_end_offset().unwrap();
        for enrol in [Enrol::Add, Enrol::Verify] {
            let batch = vec![(partition.clone(), in_transaction(producer, 0, &["forged"]))];
            let begun = wait(transactions.produce(&id, enrol, batch, Acks::All).begun());
            let refused = begun.into_iter().next().unwrap().wait().unwrap_err();
            assert_eq!(refused.code(), ErrorCode::InvalidTopicException);
        }
        assert_eq!(partition.log_end_offset().unwrap(), before);
    }
    let state = transactions.describe("tx-1").unwrap().unwrap();
    assert_eq!((state.state, state.partitions.len()), (State::Empty, 0), "nothing was enrolled");
    let mut producer = engine.transactional_producer("tx-2").unwrap();
    let mut transaction = producer.begin();
    let sent = transaction.send(Record::new("__transaction_state", "forged").partition(0));
    let refused = sent.map(drop).and_then(|()| transaction.commit().map(drop)).unwrap_err();
    assert!(refused.to_string().contains("a topic of the server's own"), "{refused}");
}
