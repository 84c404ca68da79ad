//! krafka, a client that knows nothing of us, against the real binary, which is killed with requests unanswered. Everything else that clients do
//! is in `tests/clients`, krafka among them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has found something")]
#![expect(clippy::significant_drop_tightening, reason = "clients live as long as their test")]

mod served;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use krafka::{
    Compression, Kafka, Record,
    admin::NewTopic,
    consumer::{AutoOffsetReset, Consumer, ConsumerRecord},
    producer::{Acks, DeliveryHandle, Producer},
};
use served::{Chance, Served};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{block_in_place, yield_now},
    time::timeout,
};

const TOPIC: &str = "orders";
/// Long enough for any step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

async fn connect(address: &str) -> Kafka {
    Kafka::builder(address).client_id("test").connect().await.unwrap()
}

async fn create(kafka: &Kafka, partitions: i32) {
    let topic = NewTopic::new(TOPIC, partitions, 1).unwrap();
    let created = kafka.admin().create_topics([topic], Default::default()).await.unwrap();
    for (name, result) in created {
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

async fn producer(kafka: &Kafka, compression: Compression) -> Producer {
    let producer = kafka.producer().acks(Acks::All).idempotent(true).compression(compression);
    producer.linger(Duration::from_millis(1)).build().await.unwrap()
}

async fn consumer(kafka: &Kafka, partitions: i32) -> Consumer {
    let consumer = kafka.consumer_without_group().auto_offset_reset(AutoOffsetReset::Earliest);
    let consumer = consumer.build().await.unwrap();
    consumer.assign(TOPIC, (0..partitions).collect()).await.unwrap();
    consumer
}

/// Reads until there are so many, and then sees that there are no more.
async fn read(consumer: &Consumer, count: usize) -> Vec<ConsumerRecord> {
    let mut records = Vec::new();
    let all = async {
        while records.len() < count {
            records.extend(consumer.poll(Duration::from_secs(1)).await.unwrap());
        }
        records.extend(consumer.poll(Duration::from_millis(200)).await.unwrap());
    };
    timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("not all came within {PATIENCE:?}"));
    records
}

/// What was sent and where it was acknowledged.
type Acknowledged = BTreeMap<u64, (i32, i64)>;

/// Enqueues numbered records until told to stop, at most so many unanswered, and hands out what is to be awaited.
async fn feed(
    producer: &Producer,
    partitions: u64,
    room: &Arc<Semaphore>,
    stop: watch::Receiver<bool>,
    handles: mpsc::UnboundedSender<(u64, DeliveryHandle)>,
) -> u64 {
    for number in 0.. {
        if *stop.borrow() {
            return number;
        }
        // Given back when the answer is there.
        room.acquire().await.unwrap().forget();
        let partition = i32::try_from(number % partitions).unwrap();
        let record = Record::new(TOPIC, number.to_string()).partition(partition);
        handles.send((number, producer.enqueue(record).await.unwrap())).unwrap();
    }
    unreachable!("numbers do not run out")
}

/// Awaits answers in the order of sending; every single one has to be a success with an offset.
async fn collect(
    mut handles: mpsc::UnboundedReceiver<(u64, DeliveryHandle)>,
    room: &Arc<Semaphore>,
    count: watch::Sender<u64>,
) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    while let Some((number, handle)) = handles.recv().await {
        let told = handle.await.unwrap_or_else(|error| panic!("{number}: {error}"));
        assert!(told.is_success() && told.offset >= 0, "{number}: {told:?}");
        acknowledged.insert(number, (told.partition, told.offset));
        room.add_permits(1);
        count.send_modify(|count| *count += 1);
    }
    acknowledged
}

/// Everything was written once, where its acknowledgement said, in the order of sending.
fn check(sent: u64, acknowledged: &Acknowledged, records: &[ConsumerRecord]) {
    assert_eq!(u64::try_from(acknowledged.len()).unwrap(), sent, "everything was acknowledged");
    let mut read = BTreeMap::new();
    let mut last = BTreeMap::new();
    for record in records {
        let number: u64 = record.value_str().unwrap().parse().unwrap();
        let place = (record.partition, record.offset);
        let doubled = read.insert(number, place);
        assert_eq!(doubled, None, "{number} is there twice, at {place:?}");
        let before = last.insert(record.partition, number);
        assert!(before < Some(number), "{number} comes after {before:?}");
    }
    for (number, place) in acknowledged {
        assert_eq!(read.get(number), Some(place), "{number} was acknowledged there");
    }
    assert_eq!(read.len(), acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn l1_p2_kills_between_request_and_answer_lose_and_double_nothing() {
    const PARTITIONS: i32 = 3;
    const UNANSWERED_MAX: usize = 500;
    let kills: u64 = std::env::var("KILLS").map_or(20, |kills| kills.parse().unwrap());
    let mut chance = Chance::new("l1_p2");
    let home = tempfile::tempdir().unwrap();
    let mut broker = Served::start(home.path(), "127.0.0.1:0", &[]);
    let listen = broker.address.to_string();
    let kafka = connect(&listen).await;
    create(&kafka, PARTITIONS).await;
    let producer = Arc::new(producer(&kafka, Compression::Lz4).await);

    let room = Arc::new(Semaphore::new(UNANSWERED_MAX));
    let (stop, stopping) = watch::channel(false);
    let (handles, to_await) = mpsc::unbounded_channel();
    let (count, mut acknowledged) = watch::channel(0);
    let feeding = tokio::spawn({
        let (producer, room) = (Arc::clone(&producer), Arc::clone(&room));
        async move { feed(&producer, 3, &room, stopping, handles).await }
    });
    let collecting = tokio::spawn({
        let room = Arc::clone(&room);
        async move { collect(to_await, &room, count).await }
    });
    for kill in 0..kills {
        let goal = *acknowledged.borrow() + 1 + chance.below(3000);
        let reached = timeout(PATIENCE, acknowledged.wait_for(|count| *count >= goal));
        if reached.await.is_err() {
            panic!("after {kill} kills nothing is acknowledged any more");
        }
        let unanswered = loop {
            match UNANSWERED_MAX - room.available_permits() {
                0 => yield_now().await,
                unanswered => break unanswered,
            }
        };
        block_in_place(|| {
            broker.kill();
            broker = Served::start(home.path(), &listen, &[]);
        });
        eprintln!("kill {kill}: {goal} acknowledged, {unanswered} unanswered");
    }
    stop.send_replace(true);
    let sent = feeding.await.unwrap();
    let acknowledged = timeout(PATIENCE, collecting).await.unwrap().unwrap();
    let consumer = consumer(&kafka, PARTITIONS).await;
    let records = read(&consumer, acknowledged.len()).await;
    check(sent, &acknowledged, &records);
    eprintln!("{kills} kills, {sent} records, each there once");
    producer.close().await.unwrap();
    assert!(broker.terminate().success());
}
