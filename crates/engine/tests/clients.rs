//! The embedded producer, appender and consumer, with and without helper threads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};

use hanbeon::{
    Acks, ClientError, ConsumerSettings, Engine, Env, Mode, NewTopic, Options, ProducerSettings,
    Record, Reset, System,
};
use hanbeon_log::MemDir;
use hanbeon_records::{Millis, Offset};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor there is.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn open(options: Options) -> (tempfile::TempDir, Engine) {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open_with(home.path(), options).unwrap();
    (home, engine)
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap()
}

#[test]
fn records_share_batches_and_each_knows_its_offset() {
    let (_home, engine) = open(Options::embedded());
    engine.ensure_topic("t", 1).unwrap();
    let producer = engine.producer();
    let sent: Vec<_> = (0..100)
        .map(|number| producer.send(Record::new("t", format!("{number}"))).unwrap())
        .collect();
    for (number, delivery) in (0..).zip(sent) {
        assert_eq!(delivery.wait().unwrap().offset, Offset::new(number));
    }
    assert_eq!(engine.metrics().admitted.get(), 1, "one batch");
    let mut consumer = engine.consumer();
    consumer.assign("t", 0).unwrap();
    let received = consumer.poll().unwrap();
    let values: Vec<_> = received.iter().map(|record| text(record.value.as_deref())).collect();
    assert_eq!(values, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    assert!(consumer.poll().unwrap().is_empty());
}

#[test]
fn keys_headers_and_tombstones_come_back_through_every_codec() {
    let (_home, engine) = open(Options::embedded());
    engine.ensure_topic("t", 4).unwrap();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let settings = ProducerSettings::new().set("compression.type", codec).unwrap();
        let producer = engine.producer_with(settings);
        let record = Record::new("t", codec)
            .key("k")
            .header("h", "1")
            .timestamp(Millis::new(1_700_000_000_000));
        let sent = producer.send(record).unwrap();
        let gone = producer.send(Record::tombstone("t", "k")).unwrap();
        let (sent, gone) = (sent.wait().unwrap(), gone.wait().unwrap());
        assert_eq!(sent.partition, gone.partition, "one key, one partition");
    }
    let mut consumer = engine.consumer();
    consumer.assign_all("t").unwrap();
    let received = consumer.poll().unwrap();
    assert_eq!(received.len(), 10);
    for (pair, codec) in received.chunks(2).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        assert_eq!(
            (text(pair[0].key.as_deref()), text(pair[0].value.as_deref())),
            ("k".to_owned(), codec.to_owned())
        );
        assert_eq!(pair[0].headers[0].0, "h");
        assert_eq!(pair[0].timestamp, Millis::new(1_700_000_000_000));
        assert_eq!(pair[1].value, None);
    }
}

#[test]
fn futures_are_answered_by_helpers_and_one_sync_covers_many() {
    let (_home, engine) = open(Options::embedded().helpers(2));
    engine.ensure_topic("t", 1).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let partition = engine.partition("t", 0).unwrap();
                for _ in 0..25 {
                    match partition.produce(support::batch(&["x"]), Acks::All) {
                        hanbeon::Produce::Done(result) => drop(result.unwrap()),
                        hanbeon::Produce::Waiting(future) => drop(block_on(future).unwrap()),
                    }
                }
            });
        }
    });
    let partition = engine.partition("t", 0).unwrap();
    assert_eq!(partition.high_watermark().unwrap(), Offset::new(100));
    engine.shutdown().unwrap();
}

#[test]
fn a_reader_that_waits_is_woken_by_the_write_it_waits_for() {
    for helpers in [0, 1] {
        let (_home, engine) = open(Options::embedded().helpers(helpers));
        engine.ensure_topic("t", 1).unwrap();
        let mut consumer = engine.consumer();
        consumer.assign("t", 0).unwrap();
        thread::scope(|scope| {
            let reader =
                scope.spawn(move || consumer.poll_timeout(Duration::from_secs(60)).unwrap());
            let sent = engine.producer().send(Record::new("t", "late")).unwrap();
            block_on(sent).unwrap();
            let received = reader.join().unwrap();
            assert_eq!(text(received[0].value.as_deref()), "late");
        });
        let mut consumer = engine.consumer_with(ConsumerSettings::new().reset(Reset::Latest));
        consumer.assign("t", 0).unwrap();
        assert!(consumer.poll_timeout(Duration::from_millis(1)).unwrap().is_empty());
    }
}

#[test]
fn readers_begin_where_they_are_told() {
    let (_home, engine) = open(Options::embedded());
    engine.ensure_topic("t", 1).unwrap();
    let producer = engine.producer();
    for at in [10, 20, 30] {
        let record =
            Record::new("t", at.to_string()).timestamp(Millis::new(1_700_000_000_000 + at));
        producer.send(record).unwrap().wait().unwrap();
    }
    let mut consumer = engine.consumer_with(ConsumerSettings::new().reset(Reset::Fail));
    consumer.assign("t", 0).unwrap();
    assert!(matches!(consumer.poll(), Err(ClientError::NoPosition { .. })));
    consumer.seek_to_time("t", 0, Millis::new(1_700_000_000_015)).unwrap();
    assert_eq!(text(consumer.poll().unwrap()[0].value.as_deref()), "20");
    consumer.seek("t", 0, Offset::new(2)).unwrap();
    assert_eq!(text(consumer.poll().unwrap()[0].value.as_deref()), "30");
    assert_eq!(consumer.position("t", 0).unwrap(), Offset::new(3));
    consumer.seek("t", 0, Offset::new(99)).unwrap();
    assert!(consumer.poll().is_err());
    assert!(matches!(consumer.seek("t", 7, Offset::ZERO), Err(ClientError::NotAssigned { .. })));
}

#[test]
fn a_poll_takes_no_more_than_it_was_told_and_forgets_nothing() {
    let (_home, engine) = open(Options::embedded());
    engine.ensure_topic("t", 2).unwrap();
    let producer = engine.producer();
    for number in 0..20 {
        drop(producer.send(Record::new("t", number.to_string()).partition(number % 2)).unwrap());
    }
    producer.flush().unwrap();
    let settings = ConsumerSettings::new().set("max.poll.records", "3").unwrap();
    let mut consumer = engine.consumer_with(settings);
    consumer.assign_all("t").unwrap();
    let mut seen = Vec::new();
    loop {
        let received = consumer.poll().unwrap();
        assert!(received.len() <= 3);
        if received.is_empty() {
            break;
        }
        seen.extend(
            received.iter().map(|record| text(record.value.as_deref()).parse::<i32>().unwrap()),
        );
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_refused_batch_does_not_stop_the_next() {
    let (_home, engine) = open(Options::embedded());
    let topic = NewTopic::new("t", 1).config("max.message.bytes", "200");
    engine.create_topic(&topic, Mode::Apply).unwrap();
    let producer = engine.producer();
    let large = producer.send(Record::new("t", vec![0; 500])).unwrap();
    assert!(large.wait().is_err());
    for offset in 0..3 {
        let sent = producer.send(Record::new("t", "x")).unwrap().wait().unwrap();
        assert_eq!(sent.offset, Offset::new(offset));
    }
    assert!(matches!(
        producer.send(Record::new("nowhere", "x")),
        Err(ClientError::UnknownTopic { .. })
    ));
}

/// Whoever drops its deliveries hears of them here, however many batches came behind.
#[test]
fn a_flush_tells_of_every_batch_since_the_last() {
    let (_home, engine) = open(Options::embedded());
    let topic = NewTopic::new("t", 1).config("max.message.bytes", "200");
    engine.create_topic(&topic, Mode::Apply).unwrap();
    // A batch for each record.
    let settings = ProducerSettings::new().set("batch.size", "1").unwrap();
    let producer = engine.producer_with(settings);
    for behind in [0, 3, 7] {
        drop(producer.send(Record::new("t", vec![0; 500])).unwrap());
        for _ in 0..behind {
            drop(producer.send(Record::new("t", "x")).unwrap());
        }
        assert!(producer.flush().is_err(), "{behind} behind it");
        producer.flush().unwrap();
    }
}

#[test]
fn a_dropped_producer_leaves_nothing_that_readers_wait_for() {
    let (_home, engine) = open(Options::embedded());
    engine.ensure_topic("t", 1).unwrap();
    let producer = engine.producer();
    drop(producer.send(Record::new("t", "x")).unwrap());
    drop(producer);
    let mut consumer = engine.consumer();
    consumer.assign_all("t").unwrap();
    assert_eq!(consumer.poll().unwrap().len(), 1);
}

/// The system's clocks, and how often one was asked.
#[derive(Clone, Debug, Default)]
struct Counting(System, Arc<AtomicU64>);

impl Env for Counting {
    type Dir = MemDir;

    fn now(&self) -> Millis {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.monotonic()
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

#[test]
fn a_consumer_of_nothing_does_not_spin() {
    let env = Counting::default();
    let engine = Engine::open_in(env.clone(), MemDir::new(), Options::embedded()).unwrap();
    let mut consumer = engine.consumer();
    let before = env.1.load(Ordering::Relaxed);
    assert!(consumer.poll_timeout(Duration::from_millis(100)).unwrap().is_empty());
    let asked = env.1.load(Ordering::Relaxed) - before;
    assert!(asked < 20, "looked at the clock {asked} times");
}

#[test]
fn an_appender_goes_on_where_it_stopped_whatever_stopped_it() {
    let home = tempfile::tempdir().unwrap();
    for round in 0..4_u64 {
        let engine = Engine::open(home.path()).unwrap();
        engine.ensure_topic("t", 1).unwrap();
        let mut appender = engine.appender("t", 0, "importer").unwrap();
        assert_eq!(appender.next(), round * 5);
        assert!(matches!(engine.appender("t", 0, "importer"), Err(ClientError::NameInUse { .. })));
        assert_eq!(engine.appender("t", 0, &format!("other {round}")).unwrap().next(), 0);
        for number in 0..5 {
            let number = round * 5 + number;
            let offset = appender.append(None, number.to_string().as_bytes()).unwrap();
            assert_eq!(u64::try_from(offset.get()).unwrap(), number);
        }
    }
}

#[test]
fn a_new_appender_begins_on_a_partition_whose_first_records_are_gone() {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path()).unwrap();
    engine.ensure_topic("t", 1).unwrap();
    let mut old = engine.appender("t", 0, "old").unwrap();
    for _ in 0..4 {
        old.append(None, b"x").unwrap();
    }
    let delete = |before| {
        engine.partition("t", 0).unwrap().delete_records(Some(Offset::new(before))).unwrap();
    };
    delete(2);
    // A name that was taken, and nothing came of it.
    drop(engine.appender("t", 0, "new").unwrap());
    let mut new = engine.appender("t", 0, "new").unwrap();
    assert_eq!(new.next(), 0);
    new.append(None, b"y").unwrap();
    delete(5);
    drop(new);
    assert_eq!(engine.appender("t", 0, "new").unwrap().next(), 1, "the partition knows it");
}

#[test]
fn an_appender_finds_its_place_in_the_log_when_the_partition_has_forgotten_it() {
    let home = tempfile::tempdir().unwrap();
    let options = || Options::embedded().set("producer.id.expiration.ms", "1").unwrap();
    {
        let engine = Engine::open_with(home.path(), options()).unwrap();
        engine.ensure_topic("t", 1).unwrap();
        let mut appender = engine.appender("t", 0, "importer").unwrap();
        for _ in 0..3 {
            appender.append(None, b"x").unwrap();
        }
    }
    let engine = Engine::open_with(home.path(), options()).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    partition.open().unwrap();
    engine.maintain(engine.now().saturating_add(3_600_000)).unwrap();
    assert!(partition.describe_producers().unwrap().is_empty(), "forgotten");
    let mut appender = engine.appender("t", 0, "importer").unwrap();
    assert_eq!(appender.next(), 3);
    assert_eq!(appender.append(None, b"x").unwrap(), Offset::new(3));
}
