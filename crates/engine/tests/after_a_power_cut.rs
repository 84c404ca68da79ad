//! What a power cut leaves where nothing was synced: of each log what it likes. Here it is said of which how much, one case at a time; the sweeps in
//! `transaction_crashes.rs` draw it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/hooked.rs"]
mod hooked;
mod support;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    task::{Context, Wake, Waker},
    thread,
    time::Duration,
};

use hanbeon::{
    Acks, Engine, Enrol, ErrorCode, Isolation, Manual, MarkerRequest, Millis, Offset, Options,
    Produce, Record, TopicName, TopicPartition,
    txn::{
        AddPartitions, EndTxn, InitProducerId, Outcome, Producer, Protocol, State, TransactionalId,
    },
};
use hanbeon_log::{Dir as _, FileName, LogFile as _, Open};
use hanbeon_records::{BatchRef, CoordinatorEpoch, ProducerEpoch};
use hooked::Hooked;
use support::{batch_at, in_transaction_at, wait};

const NOW: Millis = Millis::new(1_700_000_000_000);
const SHARD: &str = "__transaction_state-0";
/// After which a coordinator that does not answer is one that cannot.
const PATIENCE: Duration = Duration::from_secs(20);
const LOG: &str = "00000000000000000000.log";

type World = Engine<Manual<Hooked>>;

fn open(dir: &Hooked, options: Options) -> World {
    let options = options.set("transaction.state.log.num.partitions", "1").unwrap();
    Engine::open_in(Manual::new(NOW, 7), dir.clone(), options).unwrap()
}

/// A directory with a topic of two partitions, nothing of which is ever synced.
fn new() -> (Hooked, World) {
    let dir = Hooked::new();
    let engine = open(&dir, Options::broker());
    engine.ensure_topic("t", 2).unwrap();
    (dir, engine)
}

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

/// Ends an engine and takes away what says that nothing was lost, and of each of these logs all but its first batches.
fn power_cut(engine: World, dir: &Hooked, left: &[(&str, usize)]) {
    engine.shutdown().unwrap();
    drop(engine);
    for file in [
        ".kafka_cleanshutdown",
        "recovery-point-offset-checkpoint",
        "replication-offset-checkpoint",
    ] {
        // Not each of them need be there.
        drop(dir.remove(&name(file)));
    }
    for (partition, batches) in left {
        let partition = dir.dir(&name(partition)).unwrap();
        let log = partition.open(&name(LOG), Open::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(log.len().unwrap()).unwrap()];
        log.read_at(&mut bytes, 0).unwrap();
        let mut rest: &[u8] = &bytes;
        for _ in 0..*batches {
            rest = BatchRef::parse(rest).unwrap().1;
        }
        let len = u64::try_from(bytes.len() - rest.len()).unwrap();
        partition.open(&name(LOG), Open::Write).unwrap().set_len(len).unwrap();
    }
}

/// Lets upkeep do all there is to do.
fn settle(engine: &World) {
    for _ in 0..3 {
        engine.env().advance(10_001);
        while engine.maintain(engine.now()).unwrap() == 0 {}
    }
}

fn id() -> TransactionalId {
    TransactionalId::new("tx").unwrap()
}

fn init(engine: &World) -> Producer {
    wait(engine.transactions().init_producer_id(InitProducerId::new(id(), 60_000))).unwrap()
}

fn end(
    engine: &World,
    producer: Producer,
    outcome: Outcome,
    protocol: Protocol,
) -> Result<Producer, ErrorCode> {
    let end = EndTxn { id: id(), producer, outcome, protocol };
    wait(engine.transactions().end(end)).map_err(|error| error.code())
}

fn enrol(engine: &World, producer: Producer, partition: i32) -> Result<(), ErrorCode> {
    let partitions = vec![TopicPartition { topic: TopicName::new("t").unwrap(), partition }];
    let add = AddPartitions { id: id(), producer, partitions, protocol: Protocol::V1 };
    wait(engine.transactions().add_partitions(add)).map_err(|error| error.code())
}

fn write(
    engine: &World,
    producer: Producer,
    (partition, sequence, value): (i32, i32, &str),
    protocol: Protocol,
) -> Result<Offset, ErrorCode> {
    let enrol = match protocol {
        Protocol::V1 => {
            enrol(engine, producer, partition)?;
            Enrol::Verify
        }
        Protocol::V2 => Enrol::Add,
    };
    let batch = in_transaction_at(NOW.get(), producer, sequence, &[value]);
    let batches = vec![(engine.partition("t", partition).unwrap(), batch)];
    let begun = wait(engine.transactions().produce(&id(), enrol, batches, Acks::All).begun());
    let produced = begun.into_iter().next().unwrap().wait();
    produced.map(|produced| produced.base_offset).map_err(|error| error.code())
}

/// What readers of committed data get, and where they stand at its end.
fn committed(engine: &World, partition: i32) -> (Vec<String>, i64) {
    let mut consumer = engine.consumer();
    consumer.assign("t", partition).unwrap();
    let mut values = Vec::new();
    loop {
        let received = consumer.poll().unwrap();
        if received.is_empty() {
            let stable = engine.partition("t", partition).unwrap().last_stable_offset().unwrap();
            return (values, stable.get());
        }
        let value = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        values.extend(received.iter().filter_map(|one| one.value.as_deref().map(value)));
    }
}

fn values(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

const fn next(producer: Producer) -> Producer {
    Producer { epoch: ProducerEpoch::new(producer.epoch.get() + 1), ..producer }
}

/// The coordinator has lost that the epoch was given, and a partition knows a sequence of it.
#[test]
fn t3_an_epoch_in_doubt_is_so_after_a_shutdown_as_well() {
    let (dir, engine) = new();
    let first = init(&engine);
    let lost = init(&engine);
    assert_eq!(lost, next(first));
    write(&engine, lost, (0, 0, "a"), Protocol::V1).unwrap();
    end(&engine, lost, Outcome::Commit, Protocol::V1).unwrap();
    power_cut(engine, &dir, &[(SHARD, 1)]);

    let engine = open(&dir, Options::broker());
    settle(&engine);
    engine.shutdown().unwrap();
    drop(engine);
    let engine = open(&dir, Options::broker());
    let fresh = init(&engine);
    assert_ne!(fresh.id, first.id);
    write(&engine, fresh, (0, 0, "b"), Protocol::V1).unwrap();
    end(&engine, fresh, Outcome::Commit, Protocol::V1).unwrap();
    assert_eq!(committed(&engine, 0), (values(&["a", "b"]), 4));
    assert_eq!(init(&engine), next(fresh), "ids that were given since are not in doubt");
}

/// What was not synced when it was written is lost, whatever its topic asks for since.
#[test]
fn t12_what_is_nobodys_is_ended_where_everything_is_synced_since() {
    for options in
        [Options::embedded(), Options::broker().set("log.flush.interval.messages", "1").unwrap()]
    {
        let (dir, engine) = new();
        let producer = init(&engine);
        write(&engine, producer, (0, 0, "a"), Protocol::V2).unwrap();
        power_cut(engine, &dir, &[(SHARD, 1)]);
        let engine = open(&dir, options);
        settle(&engine);
        // The high watermark too is behind the marker, which is on the disk.
        assert_eq!(committed(&engine, 0), (values(&[]), 2));
        assert_ne!(init(&engine).id, producer.id);
    }
}

/// A commit of both partitions; the first has lost its marker.
fn a_commit_without_a_marker() -> (Hooked, World, Producer) {
    let (dir, engine) = new();
    let producer = init(&engine);
    write(&engine, producer, (0, 0, "a"), Protocol::V2).unwrap();
    write(&engine, producer, (1, 0, "b"), Protocol::V2).unwrap();
    let pair = end(&engine, producer, Outcome::Commit, Protocol::V2).unwrap();
    assert_eq!(pair, next(producer));
    power_cut(engine, &dir, &[("t-0", 1)]);
    let engine = open(&dir, Options::broker());
    (dir, engine, pair)
}

#[test]
fn t1_a_commit_that_lacks_a_marker_is_completed_whoever_takes_the_id_first() {
    let (_dir, engine, before) = a_commit_without_a_marker();
    assert_ne!(init(&engine).id, before.id);
    settle(&engine);
    assert_eq!(committed(&engine, 0), (values(&["a"]), 2));
}

/// Upkeep is in the middle of it when the process ends; the id has gone on.
#[test]
fn t1_a_commit_that_lacks_a_marker_is_completed_at_a_later_opening() {
    let (dir, engine, _) = a_commit_without_a_marker();
    init(&engine);
    engine.shutdown().unwrap();
    drop(engine);
    let engine = open(&dir, Options::broker());
    settle(&engine);
    assert_eq!(committed(&engine, 0), (values(&["a"]), 2));
}

#[test]
fn t1_a_commit_that_lacks_a_marker_is_completed_while_the_next_transaction_is_open() {
    let (_dir, engine, pair) = a_commit_without_a_marker();
    write(&engine, pair, (1, 0, "c"), Protocol::V2).unwrap();
    settle(&engine);
    assert_eq!(committed(&engine, 0), (values(&["a"]), 2));
    end(&engine, pair, Outcome::Commit, Protocol::V2).unwrap();
    assert_eq!(committed(&engine, 1), (values(&["b", "c"]), 4));
}

/// The next transaction is refused where the one before is open, and has the partition for its own all the same.
#[test]
fn t1_a_commit_that_lacks_a_marker_is_completed_before_the_next_transaction_is_aborted() {
    for settled in [false, true] {
        let (_dir, engine, pair) = a_commit_without_a_marker();
        let refused = write(&engine, pair, (0, 0, "c"), Protocol::V2);
        assert_eq!(refused, Err(ErrorCode::InvalidTxnState));
        if settled {
            settle(&engine);
        }
        end(&engine, pair, Outcome::Abort, Protocol::V2).unwrap();
        settle(&engine);
        assert_eq!(committed(&engine, 0).0, values(&["a"]), "settled before: {settled}");
        let state = engine.transactions().describe("tx").unwrap().unwrap().state;
        assert_eq!(state, State::CompleteAbort);
    }
}

/// A client that goes over to protocol 2 ends the last transaction of an epoch by it, and others of that epoch before.
#[test]
fn t1_a_commit_of_protocol_2_says_nothing_of_an_earlier_abort_in_its_epoch() {
    let (dir, engine) = new();
    let producer = init(&engine);
    write(&engine, producer, (0, 0, "a"), Protocol::V1).unwrap();
    end(&engine, producer, Outcome::Abort, Protocol::V1).unwrap();
    write(&engine, producer, (1, 0, "b"), Protocol::V2).unwrap();
    end(&engine, producer, Outcome::Commit, Protocol::V2).unwrap();
    power_cut(engine, &dir, &[("t-0", 1)]);
    let engine = open(&dir, Options::broker());
    settle(&engine);
    assert_eq!(committed(&engine, 0), (values(&[]), 2));
    assert_eq!(committed(&engine, 1), (values(&["b"]), 2));
}

/// What the power cut has left of a transaction of protocol 1: a record in each of these partitions, of which the coordinator knows nothing.
fn records_of_nobody(partitions: &[i32]) -> (Hooked, World, Producer) {
    let (dir, engine) = new();
    let producer = init(&engine);
    for partition in partitions {
        write(&engine, producer, (*partition, 0, "a"), Protocol::V1).unwrap();
    }
    power_cut(engine, &dir, &[(SHARD, 1)]);
    let engine = open(&dir, Options::broker());
    engine.partition("t", 1).unwrap().open().unwrap();
    (dir, engine, producer)
}

/// Asks a coordinator on a thread of its own, so that a test fails where it would stand still for ever.
fn answers<T: Send + 'static>(
    engine: &World,
    ask: impl FnOnce(&World) -> T + Send + 'static,
) -> Option<T> {
    let (engine, (answered, answer)) = (engine.clone(), mpsc::channel());
    let asking = move || drop(answered.send(ask(&engine)));
    thread::Builder::new().spawn(asking).unwrap();
    answer.recv_timeout(PATIENCE).ok()
}

fn describe(engine: &World) -> State {
    engine.transactions().describe("tx").unwrap().unwrap().state
}

/// An executor that runs the task which it is told of at once, and that task asks a coordinator.
struct Inline {
    engine: World,
    answered: Mutex<Option<Option<State>>>,
}

impl Inline {
    fn new(engine: &World) -> Arc<Self> {
        Arc::new(Self { engine: engine.clone(), answered: Mutex::new(None) })
    }
}

impl Wake for Inline {
    fn wake(self: Arc<Self>) {
        *self.answered.lock().unwrap() = Some(answers(&self.engine, describe));
    }
}

#[test]
fn who_is_woken_by_the_end_of_what_is_nobodys_finds_no_coordinator_held() {
    let (_dir, engine, _) = records_of_nobody(&[0]);
    let partition = engine.partition("t", 0).unwrap();
    let mut stable = partition.data_beyond(Offset::ZERO, Isolation::Committed).unwrap();
    let inline = Inline::new(&engine);
    let waker = Waker::from(Arc::clone(&inline));
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut stable).poll(&mut cx).is_pending());
    settle(&engine);
    assert_eq!(*inline.answered.lock().unwrap(), Some(Some(State::CompleteAbort)));
    assert!(Pin::new(&mut stable).poll(&mut cx).is_ready());
}

/// A batch comes while the marker is written, and who writes the marker writes the batch and wakes its producer.
#[test]
fn who_is_woken_by_the_writer_of_a_marker_of_nobodys_finds_no_coordinator_held() {
    let (dir, engine, _) = records_of_nobody(&[0]);
    let (inline, produced) = (Inline::new(&engine), Arc::new(Mutex::new(None)));
    let (waker, coming) = (Waker::from(Arc::clone(&inline)), Arc::clone(&produced));
    let partition = engine.partition("t", 0).unwrap();
    dir.hook.before_write("t-0", move || {
        let batch = batch_at(NOW.get(), &["b"]);
        let Produce::Waiting(mut future) = partition.produce(batch, Acks::Leader) else {
            panic!("somebody is writing");
        };
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
        *coming.lock().unwrap() = Some(future);
    });
    settle(&engine);
    assert_eq!(*inline.answered.lock().unwrap(), Some(Some(State::CompleteAbort)));
    let produced = produced.lock().unwrap().take().unwrap().wait().unwrap();
    assert_eq!(produced.base_offset.get(), 2, "behind the marker");
}

/// The partition would refuse an epoch above, while the other is open, in a way that ends its client.
#[test]
fn t12_who_has_a_higher_epoch_is_told_to_come_again_once_what_is_nobodys_is_ended() {
    let (dir, engine, producer) = records_of_nobody(&[0, 1]);
    let (at_it, told) = (engine.clone(), Arc::new(Mutex::new(None)));
    let telling = Arc::clone(&told);
    // All is decided by then, and the marker of the other partition not written.
    dir.hook.before_write("t-0", move || {
        let said = answers(&at_it, move |engine| {
            let pair = end(engine, producer, Outcome::Abort, Protocol::V2)?;
            Ok::<_, ErrorCode>((pair, write(engine, pair, (1, 0, "b"), Protocol::V2)))
        });
        *telling.lock().unwrap() = said;
    });
    settle(&engine);
    let (pair, said) = told.lock().unwrap().take().expect("it is ended, in time").unwrap();
    assert_eq!(said, Err(ErrorCode::ConcurrentTransactions));
    write(&engine, pair, (1, 0, "b"), Protocol::V2).unwrap();
    end(&engine, pair, Outcome::Commit, Protocol::V2).unwrap();
    assert_eq!(committed(&engine, 1), (values(&["b"]), 4));
}

#[test]
fn t12_a_marker_of_nobodys_that_panics_keeps_nobody_out() {
    let (dir, engine, producer) = records_of_nobody(&[0]);
    dir.hook.before_write("t-0", || panic!("planted"));
    assert!(catch_unwind(AssertUnwindSafe(|| settle(&engine))).is_err());
    let pair = end(&engine, producer, Outcome::Abort, Protocol::V2).unwrap();
    assert_eq!(enrol(&engine, pair, 0), Ok(()));
}

/// The coordinator has lost an enrolment, and the client that wrote is not answered and tries again.
#[test]
fn p1_a_retry_of_what_was_nobodys_is_no_duplicate_of_what_was_aborted() {
    let (dir, engine) = new();
    let producer = init(&engine);
    write(&engine, producer, (0, 0, "a"), Protocol::V2).unwrap();
    power_cut(engine, &dir, &[(SHARD, 1)]);
    let engine = open(&dir, Options::broker());
    settle(&engine);
    let retried = write(&engine, producer, (0, 0, "a"), Protocol::V2);
    assert_eq!(retried, Err(ErrorCode::InvalidProducerEpoch));
    let pair = end(&engine, producer, Outcome::Abort, Protocol::V2).unwrap();
    write(&engine, pair, (0, 0, "a"), Protocol::V2).unwrap();
    end(&engine, pair, Outcome::Commit, Protocol::V2).unwrap();
    assert_eq!(committed(&engine, 0).0, values(&["a"]));
}

/// Nobody can tell whether that was its last transaction or the one it is in, of which a part is lost.
#[test]
fn t1_a_producer_of_protocol_1_begins_anew_behind_the_abort_of_what_was_nobodys() {
    let (dir, engine) = new();
    let producer = init(&engine);
    write(&engine, producer, (0, 0, "a"), Protocol::V1).unwrap();
    power_cut(engine, &dir, &[(SHARD, 1)]);
    let engine = open(&dir, Options::broker());
    settle(&engine);
    let refused = write(&engine, producer, (0, 1, "b"), Protocol::V1);
    assert_eq!(refused, Err(ErrorCode::ProducerFenced));
    let fresh = init(&engine);
    write(&engine, fresh, (0, 0, "b"), Protocol::V1).unwrap();
    end(&engine, fresh, Outcome::Commit, Protocol::V1).unwrap();
    assert_eq!(committed(&engine, 0), (values(&["b"]), 4));
}

/// How far an engine has got since its opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// No partition is open.
    Nowhere,
    /// All are, and upkeep has not looked yet.
    Everywhere,
    /// Upkeep has ended what it has to.
    Swept,
}

const LOOKED: [Looked; 3] = [Looked::Nowhere, Looked::Everywhere, Looked::Swept];

fn look(engine: &World, looked: Looked) {
    match looked {
        Looked::Nowhere => {}
        Looked::Everywhere => {
            for topic in ["t", "__transaction_state", "__consumer_offsets"] {
                let topic = engine.topic(topic);
                for partition in topic.iter().flat_map(|topic| topic.partitions()) {
                    partition.open().unwrap();
                }
            }
        }
        Looked::Swept => settle(engine),
    }
}

/// What a commit hears of a transaction that has lost a part.
const fn told(looked: Looked) -> Result<Producer, ErrorCode> {
    Err(match looked {
        Looked::Nowhere => ErrorCode::CoordinatorLoadInProgress,
        Looked::Everywhere => ErrorCode::TransactionAbortable,
        Looked::Swept => ErrorCode::ProducerFenced,
    })
}

/// A transaction that has written to both partitions, and of the coordinator's log a power cut leaves so many records: the id, the first partition,
/// and both.
fn cut(protocol: Protocol, records: usize) -> (World, Producer) {
    let (dir, engine) = new();
    let producer = init(&engine);
    write(&engine, producer, (0, 0, "a"), protocol).unwrap();
    write(&engine, producer, (1, 0, "b"), protocol).unwrap();
    power_cut(engine, &dir, &[(SHARD, records)]);
    (open(&dir, Options::broker()), producer)
}

#[test]
fn t1_a_transaction_that_has_lost_a_part_is_not_committed() {
    for protocol in [Protocol::V1, Protocol::V2] {
        for (records, looked) in [1, 2].into_iter().flat_map(|n| LOOKED.map(|looked| (n, looked))) {
            let story = format!("{protocol:?}, {records} records, {looked:?}");
            let (engine, producer) = cut(protocol, records);
            look(&engine, looked);
            let committing = end(&engine, producer, Outcome::Commit, protocol);
            assert_eq!(committing, told(looked), "{story}");
            settle(&engine);
            for partition in [0, 1] {
                let (seen, stable) = committed(&engine, partition);
                assert_eq!((seen, stable), (values(&[]), 2), "{story}: {partition}");
            }
            // A client of protocol 2 goes on with what its abort is answered.
            let next = match protocol {
                Protocol::V1 => init(&engine),
                Protocol::V2 => end(&engine, producer, Outcome::Abort, protocol).unwrap(),
            };
            write(&engine, next, (0, 0, "c"), protocol).unwrap();
            write(&engine, next, (1, 0, "d"), protocol).unwrap();
            end(&engine, next, Outcome::Commit, protocol).unwrap();
            assert_eq!(committed(&engine, 0).0, values(&["c"]), "{story}");
            assert_eq!(committed(&engine, 1).0, values(&["d"]), "{story}");
        }
    }
}

/// A refusal that its client has not earned would cost it the transaction.
#[test]
fn t1_a_transaction_that_has_lost_nothing_is_committed_over_a_power_cut() {
    for protocol in [Protocol::V1, Protocol::V2] {
        for looked in [Looked::Everywhere, Looked::Swept] {
            let (engine, producer) = cut(protocol, 3);
            look(&engine, looked);
            // No power cut has taken anything of this one, which nobody has touched.
            engine.ensure_topic("u", 1).unwrap();
            write(&engine, producer, (1, 1, "c"), protocol).unwrap();
            end(&engine, producer, Outcome::Commit, protocol).unwrap();
            assert_eq!(committed(&engine, 0), (values(&["a"]), 2), "{protocol:?}, {looked:?}");
            assert_eq!(committed(&engine, 1), (values(&["b", "c"]), 3), "{protocol:?}, {looked:?}");
        }
    }
}

/// Its pair is good for others ahead of upkeep, also where protocol 1 goes on with it.
#[test]
fn t1_a_transaction_behind_the_abort_of_one_that_has_lost_a_part_is_committed() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let (engine, producer) = cut(protocol, 2);
        look(&engine, Looked::Everywhere);
        let next = end(&engine, producer, Outcome::Abort, protocol).unwrap();
        let sequence = if protocol == Protocol::V1 { 1 } else { 0 };
        write(&engine, next, (0, sequence, "c"), protocol).unwrap();
        end(&engine, next, Outcome::Commit, protocol).unwrap();
        assert_eq!(committed(&engine, 0).0, values(&["c"]), "{protocol:?}");
    }
}

/// A transaction of which the coordinator has lost everything: its log ends with the decision of the one before, of which partition 0 has
/// lost the marker. The lost one has written to partition 1. The pair is that of the lost one.
fn lost_behind_a_decision(epochs: Epochs) -> (Hooked, World, Producer) {
    let (dir, engine) = new();
    let inits = match epochs {
        Epochs::Low => 1,
        Epochs::Last => usize::try_from(Producer::EPOCH_MAX.get()).unwrap() + 1,
    };
    for _ in 1..inits {
        init(&engine);
    }
    let producer = init(&engine);
    write(&engine, producer, (0, 0, "a"), Protocol::V2).unwrap();
    let pair = end(&engine, producer, Outcome::Commit, Protocol::V2).unwrap();
    assert_eq!(pair.id == producer.id, epochs == Epochs::Low);
    write(&engine, pair, (1, 0, "b"), Protocol::V2).unwrap();
    power_cut(engine, &dir, &[(SHARD, inits + 2), ("t-0", 1)]);
    let engine = open(&dir, Options::broker());
    (dir, engine, pair)
}

/// Which epoch the first of two transactions has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Epochs {
    Low,
    /// The last that a client is given, so that the next one has another producer id.
    Last,
}

/// Its client is alive, and nothing that it writes is taken.
fn assert_lost(engine: &World, pair: Producer) {
    let refused = write(engine, pair, (0, 0, "c"), Protocol::V2);
    assert_eq!(refused, Err(ErrorCode::InvalidProducerEpoch));
    assert_eq!(end(engine, pair, Outcome::Commit, Protocol::V2), Err(ErrorCode::ProducerFenced));
    assert_eq!(committed(engine, 0).0, values(&["a"]));
    assert_eq!(committed(engine, 1), (values(&[]), 2));
}

/// The coordinator has to complete the one before first, which says nothing of the one that it has lost.
#[test]
fn t1_a_transaction_that_is_lost_behind_a_decision_is_not_begun_again() {
    let (_dir, engine, pair) = lost_behind_a_decision(Epochs::Low);
    settle(&engine);
    assert_lost(&engine, pair);
}

/// Whoever asks for an id first reads the coordinator's log, and completes nothing.
#[test]
fn t1_what_is_lost_behind_a_decision_is_not_begun_again_whoever_reads_the_log_first() {
    for epochs in [Epochs::Low, Epochs::Last] {
        let (_dir, engine, pair) = lost_behind_a_decision(epochs);
        assert_eq!(describe(&engine), State::PrepareCommit);
        // Before anything is due.
        while engine.maintain(engine.now()).unwrap() == 0 {}
        settle(&engine);
        assert_lost(&engine, pair);
    }
}

/// A partition takes no marker from this coordinator any more, and while the decision stands nobody can abort what comes behind it.
#[test]
fn t1_what_is_lost_behind_a_decision_is_not_ended_before_that_is_complete() {
    for epochs in [Epochs::Low, Epochs::Last] {
        let (_dir, engine, pair) = lost_behind_a_decision(epochs);
        let producer = engine.transactions().describe("tx").unwrap().unwrap().producer;
        let later = MarkerRequest {
            producer: Producer { epoch: ProducerEpoch::new(producer.epoch.get() - 1), ..producer },
            outcome: Outcome::Abort,
            coordinator_epoch: CoordinatorEpoch::new(1000),
            protocol: Protocol::V1,
            partition: TopicPartition { topic: TopicName::new("t").unwrap(), partition: 0 },
        };
        wait(engine.transactions().write_marker(later)).unwrap();
        settle(&engine);
        assert_eq!(describe(&engine), State::PrepareCommit);
        assert_eq!(committed(&engine, 1), (values(&[]), 0), "{pair:?}");
    }
}

/// The partition that knows the later epoch has an end of it by the second time.
#[test]
fn t3_an_epoch_that_was_lost_is_met_each_time_a_decision_is_redone() {
    let (dir, engine) = new();
    let producer = init(&engine);
    write(&engine, producer, (0, 0, "a"), Protocol::V2).unwrap();
    let pair = end(&engine, producer, Outcome::Commit, Protocol::V2).unwrap();
    write(&engine, pair, (0, 0, "b"), Protocol::V2).unwrap();
    write(&engine, pair, (1, 0, "c"), Protocol::V2).unwrap();
    power_cut(engine, &dir, &[(SHARD, 3)]);
    let engine = open(&dir, Options::broker());
    settle(&engine);
    // Complete now, and that is lost again.
    power_cut(engine, &dir, &[(SHARD, 3)]);
    let engine = open(&dir, Options::broker());
    settle(&engine);
    let refused = write(&engine, pair, (1, 0, "d"), Protocol::V2);
    assert_eq!(refused, Err(ErrorCode::InvalidProducerIdMapping));
    assert_eq!(committed(&engine, 0).0, values(&["a"]));
    assert_eq!(committed(&engine, 1), (values(&[]), 2));
}

/// It has lost the abort of the one before, and the transaction that has it enrolled could not write there until its end.
#[test]
fn t12_what_an_earlier_epoch_has_open_is_ended_before_the_open_transaction() {
    let (dir, engine) = new();
    let producer = init(&engine);
    write(&engine, producer, (0, 0, "a"), Protocol::V2).unwrap();
    let pair = end(&engine, producer, Outcome::Abort, Protocol::V2).unwrap();
    write(&engine, pair, (0, 0, "b"), Protocol::V2).unwrap();
    power_cut(engine, &dir, &[("t-0", 1)]);
    let engine = open(&dir, Options::broker());
    settle(&engine);
    assert_eq!(committed(&engine, 0), (values(&[]), 2));
    write(&engine, pair, (0, 0, "c"), Protocol::V2).unwrap();
    end(&engine, pair, Outcome::Commit, Protocol::V2).unwrap();
    assert_eq!(committed(&engine, 0), (values(&["c"]), 4));
}

/// What is written to the lost part joins it until upkeep has looked, and goes with it.
#[test]
fn t1_a_lost_part_that_is_written_to_is_lost_all_the_same() {
    for looked in [Looked::Everywhere, Looked::Swept] {
        let (engine, producer) = cut(Protocol::V2, 2);
        write(&engine, producer, (1, 1, "c"), Protocol::V2).unwrap();
        look(&engine, looked);
        let late = write(&engine, producer, (1, 2, "d"), Protocol::V2);
        assert_eq!(late.is_ok(), looked == Looked::Everywhere, "{late:?}");
        assert_eq!(end(&engine, producer, Outcome::Commit, Protocol::V2), told(looked));
        settle(&engine);
        assert_eq!(committed(&engine, 0).0, values(&[]));
        assert_eq!(committed(&engine, 1).0, values(&[]));
    }
}

/// The coordinator has lost the whole transaction, and a partition that is written to since begins another of the same pair.
#[test]
fn t1_a_transaction_that_has_lost_its_beginning_is_not_begun_again() {
    for looked in LOOKED {
        let (dir, engine) = new();
        let producer = init(&engine);
        write(&engine, producer, (0, 0, "a"), Protocol::V2).unwrap();
        power_cut(engine, &dir, &[(SHARD, 1)]);
        let engine = open(&dir, Options::broker());
        write(&engine, producer, (1, 0, "b"), Protocol::V2).unwrap();
        look(&engine, looked);
        assert_eq!(end(&engine, producer, Outcome::Commit, Protocol::V2), told(looked));
        settle(&engine);
        assert_eq!(committed(&engine, 0), (values(&[]), 2));
        assert_eq!(committed(&engine, 1), (values(&[]), 2));
    }
}

/// Under protocol 1 a commit of which nothing is known looks like the retry of the one before.
#[test]
fn t1_t11_a_commit_of_protocol_1_is_no_retry_where_something_is_open() {
    for looked in LOOKED {
        let (dir, engine) = new();
        let producer = init(&engine);
        write(&engine, producer, (0, 0, "a"), Protocol::V1).unwrap();
        end(&engine, producer, Outcome::Commit, Protocol::V1).unwrap();
        write(&engine, producer, (1, 0, "b"), Protocol::V1).unwrap();
        power_cut(engine, &dir, &[(SHARD, 4)]);
        let engine = open(&dir, Options::broker());
        look(&engine, looked);
        assert_eq!(end(&engine, producer, Outcome::Commit, Protocol::V1), told(looked));
    }
    // And where nothing is, it is taken for one.
    let (dir, engine) = new();
    let producer = init(&engine);
    write(&engine, producer, (0, 0, "a"), Protocol::V1).unwrap();
    end(&engine, producer, Outcome::Commit, Protocol::V1).unwrap();
    power_cut(engine, &dir, &[]);
    let engine = open(&dir, Options::broker());
    look(&engine, Looked::Everywhere);
    assert_eq!(end(&engine, producer, Outcome::Commit, Protocol::V1), Ok(producer));
}

/// The answer of its commit was lost. The pair is not the current one, and what is open lacks a marker that is written again.
#[test]
fn t11_a_commit_of_protocol_2_that_lacks_a_marker_is_answered_again() {
    for looked in LOOKED {
        let (_dir, engine, pair) = a_commit_without_a_marker();
        let before = Producer { epoch: ProducerEpoch::new(pair.epoch.get() - 1), ..pair };
        look(&engine, looked);
        assert_eq!(end(&engine, before, Outcome::Commit, Protocol::V2), Ok(pair));
    }
}

#[test]
fn t8_a_transaction_that_has_lost_its_offsets_is_not_committed() {
    for looked in LOOKED {
        let (dir, engine) = new();
        let mut producer = engine.transactional_producer("tx").unwrap();
        let mut transaction = producer.begin();
        transaction.send(Record::new("t", "a").partition(0)).unwrap();
        transaction.flush().unwrap();
        let at = TopicPartition { topic: TopicName::new("t").unwrap(), partition: 0 };
        transaction.send_offsets("g", &[(at, Offset::new(7))]).unwrap();
        let pair = engine.transactions().describe("tx").unwrap().unwrap().producer;
        std::mem::forget(transaction);
        std::mem::forget(producer);
        power_cut(engine, &dir, &[(SHARD, 2)]);
        let engine = open(&dir, Options::broker());
        look(&engine, looked);
        assert_eq!(end(&engine, pair, Outcome::Commit, Protocol::V2), told(looked));
        settle(&engine);
        assert_eq!(committed(&engine, 0), (values(&[]), 2));
    }
}

/// Its marker was lost. Under protocol 1 the next transaction has the same pair, and would take in what was aborted.
#[test]
fn t1_an_aborted_transaction_of_protocol_1_is_not_gone_on_with() {
    for looked in LOOKED {
        let (dir, engine) = new();
        let producer = init(&engine);
        write(&engine, producer, (0, 0, "a"), Protocol::V1).unwrap();
        end(&engine, producer, Outcome::Abort, Protocol::V1).unwrap();
        power_cut(engine, &dir, &[("t-0", 1)]);
        let engine = open(&dir, Options::broker());
        look(&engine, looked);
        let expected = match looked {
            Looked::Nowhere | Looked::Everywhere => ErrorCode::CoordinatorLoadInProgress,
            Looked::Swept => ErrorCode::ProducerFenced,
        };
        assert_eq!(write(&engine, producer, (0, 1, "b"), Protocol::V1), Err(expected));
        settle(&engine);
        assert_eq!(committed(&engine, 0), (values(&[]), 2));
    }
}
