//! krafka, a client that knows nothing of us and speaks the second transaction protocol, copies from topic to topic inside transactions: some
//! are aborted, some are cut short by SIGKILL of the broker, and every record arrives once. Zombies, freezes and cut connections are in `tests/clients`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has found something")]
#![expect(clippy::significant_drop_tightening, reason = "clients live as long as their test")]

mod served;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use krafka::{
    Kafka, KrafkaError, Record,
    admin::NewTopic,
    consumer::{AutoOffsetReset, Consumer, ConsumerRecord, IsolationLevel},
    producer::{Acks, TopicPartitionOffset, TransactionalProducer},
};
use served::{Chance, Served};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

const INPUT: &str = "orders";
const OUTPUT: &str = "copied";
const GROUP: &str = "copiers";
const PARTITIONS: i32 = 2;
const RECORDS: usize = 400;
/// Every so many transactions one is aborted by its copier.
const ABORT_EVERY: u64 = 4;
/// Long enough for any step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
const SETTINGS: [&str; 3] = [
    "offsets.topic.num.partitions=4",
    "transaction.state.log.num.partitions=4",
    "group.initial.rebalance.delay.ms=0",
];

fn serve(home: &Path, listen: &str) -> Served {
    Served::start(home, listen, &SETTINGS)
}

async fn connect(address: &str) -> Kafka {
    Kafka::builder(address).client_id("test").connect().await.unwrap()
}

async fn prepare(kafka: &Kafka) {
    let topics = [INPUT, OUTPUT].map(|name| NewTopic::new(name, PARTITIONS, 1).unwrap());
    let created = kafka.admin().create_topics(topics, Default::default()).await.unwrap();
    for (name, result) in created {
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let producer = kafka.producer().acks(Acks::All).idempotent(true).build().await.unwrap();
    let mut handles = Vec::new();
    for number in 0..RECORDS {
        let partition = i32::try_from(number % 2).unwrap();
        let record = Record::new(INPUT, number.to_string()).partition(partition);
        handles.push(producer.enqueue(record).await.unwrap());
    }
    for handle in handles {
        assert!(handle.await.unwrap().is_success());
    }
    producer.close().await.unwrap();
}

async fn member(kafka: &Kafka) -> Consumer {
    let consumer = kafka.consumer(GROUP).auto_offset_reset(AutoOffsetReset::Earliest);
    let consumer = consumer.isolation_level(IsolationLevel::ReadCommitted);
    let consumer = consumer.enable_auto_commit(false).max_poll_records(10);
    let consumer = consumer.session_timeout(Duration::from_secs(6)).build().await.unwrap();
    consumer.subscribe([INPUT]).await.unwrap();
    consumer
}

async fn owner(kafka: &Kafka) -> TransactionalProducer {
    let producer = kafka.producer().acks(Acks::All).transaction_timeout(Duration::from_secs(60));
    let producer = producer.delivery_timeout(Duration::from_secs(45));
    producer.build_transactional("copier").await.unwrap()
}

enum Outcome {
    Committed,
    Aborted,
}

/// One life of the copy loop: what it reads, what it writes, and how its transactions ended.
struct Copier {
    consumer: Consumer,
    producer: TransactionalProducer,
    /// Whether a transaction is open.
    open: watch::Sender<bool>,
    begun: u64,
    committed: u64,
    aborted: u64,
}

impl Copier {
    async fn new(kafka: &Kafka) -> Self {
        // The transactional id first: what an earlier copier left open has ended before its offsets are asked for.
        let producer = owner(kafka).await;
        let consumer = member(kafka).await;
        let open = watch::Sender::new(false);
        Self { consumer, producer, open, begun: 0, committed: 0, aborted: 0 }
    }

    /// Takes what is there and copies it in one transaction.
    async fn step(&mut self) -> Result<(), KrafkaError> {
        let records = self.consumer.poll(Duration::from_millis(200)).await?;
        if records.is_empty() {
            return Ok(());
        }
        self.begun += 1;
        self.producer.begin()?;
        self.open.send_replace(true);
        let ended = self.transaction(&records).await;
        self.open.send_replace(false);
        match ended? {
            Outcome::Committed => self.committed += 1,
            Outcome::Aborted => {
                self.aborted += 1;
                self.rewind().await?;
            }
        }
        Ok(())
    }

    async fn transaction(&self, records: &[ConsumerRecord]) -> Result<Outcome, KrafkaError> {
        let copied = self.copy(records).await;
        if copied.is_ok() && !self.begun.is_multiple_of(ABORT_EVERY) {
            self.producer.commit().await?;
            return Ok(Outcome::Committed);
        }
        self.producer.abort().await?;
        Ok(Outcome::Aborted)
    }

    async fn copy(&self, records: &[ConsumerRecord]) -> Result<(), KrafkaError> {
        let mut ends = BTreeMap::new();
        for record in records {
            let source = format!("{}:{}", record.partition, record.offset);
            let to = i32::try_from(record.offset % 2).unwrap();
            let value = record.value_str().unwrap().to_owned();
            let copy = Record::new(OUTPUT, value).key(source).partition(to);
            let told = self.producer.send(copy).await?;
            assert!(told.is_success(), "{told:?}");
            ends.insert(record.partition, record.offset + 1);
        }
        let ends = ends.into_iter().map(|(at, end)| TopicPartitionOffset::new(INPUT, at, end));
        let Some(group) = self.consumer.group_metadata().await else {
            return Err(KrafkaError::transaction_abortable("not a member just now"));
        };
        self.producer.send_offsets(&ends.collect::<Vec<_>>(), &group).await
    }

    /// Back to what the group has committed.
    async fn rewind(&self) -> Result<(), KrafkaError> {
        let assigned = self.consumer.assignment().await;
        let assigned: Vec<i32> = assigned.into_values().flatten().collect();
        let committed = committed(&self.consumer, &assigned).await?;
        for partition in assigned {
            let at = committed.get(&partition).copied().unwrap_or(0);
            self.consumer.seek(INPUT, partition, at).await?;
        }
        Ok(())
    }
}

async fn committed(consumer: &Consumer, of: &[i32]) -> Result<BTreeMap<i32, i64>, KrafkaError> {
    let of: Vec<_> = of.iter().map(|partition| (INPUT, *partition)).collect();
    let found = consumer.committed(&of).await?;
    Ok(found.into_iter().map(|((_, partition), at)| (partition, at.offset)).collect())
}

async fn all_copied(consumer: &Consumer) -> bool {
    let end = i64::try_from(RECORDS / 2).unwrap();
    let partitions: Vec<_> = (0..PARTITIONS).collect();
    // The broker may be starting: it is asked again.
    let Ok(found) = committed(consumer, &partitions).await else { return false };
    partitions.iter().all(|partition| found.get(partition) == Some(&end))
}

/// The output: so many records, and whatever else is there.
async fn read(kafka: &Kafka, isolation: IsolationLevel, at_least: usize) -> Vec<ConsumerRecord> {
    let consumer = kafka.consumer_without_group().auto_offset_reset(AutoOffsetReset::Earliest);
    let consumer = consumer.isolation_level(isolation).build().await.unwrap();
    consumer.assign(OUTPUT, (0..PARTITIONS).collect()).await.unwrap();
    let mut records = Vec::new();
    let all = async {
        while records.len() < at_least {
            records.extend(consumer.poll(Duration::from_secs(1)).await.unwrap());
        }
        // And none that should not be there.
        records.extend(consumer.poll(Duration::from_millis(500)).await.unwrap());
    };
    timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("not all came within {PATIENCE:?}"));
    records
}

/// Each input is there once, unchanged, and the copies of a partition keep its order.
fn check(records: &[ConsumerRecord]) {
    let mut sources = BTreeSet::new();
    let mut last = BTreeMap::new();
    for record in records {
        let key = record.key_str().unwrap();
        let (partition, offset) = key.split_once(':').unwrap();
        let (partition, offset): (i64, i64) = (partition.parse().unwrap(), offset.parse().unwrap());
        assert_eq!(record.value_str(), Some(&*(offset * 2 + partition).to_string()), "{key}");
        assert!(sources.insert((partition, offset)), "{key} was copied twice");
        let before = last.insert((record.partition, partition), offset);
        assert!(before < Some(offset), "{key} comes after {before:?}");
    }
    assert_eq!(sources.len(), RECORDS, "every record was copied");
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_copies_arrive_once_though_transactions_abort_and_the_broker_is_killed() {
    let kills: u64 = std::env::var("KILLS").map_or(5, |kills| kills.parse().unwrap());
    let mut chance = Chance::new("t1_copies");
    let home = tempfile::tempdir().unwrap();
    let mut broker = serve(home.path(), "127.0.0.1:0");
    let listen = broker.address.to_string();
    let kafka = connect(&listen).await;
    prepare(&kafka).await;
    let mut copier = Copier::new(&kafka).await;
    let (mut done, mut inside, mut restarts) = (0, 0, 0);
    let (mut committed, mut aborted) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "{done} kills, {restarts} restarts, not all is copied");
        let killing = done < kills && chance.below(4) == 0;
        let stepped = if killing {
            // Somewhere inside the next transaction, its end included; when there is none, all the same.
            let wait = Duration::from_micros(chance.below(15_000));
            let mut open = copier.open.subscribe();
            let kill = async {
                drop(timeout(Duration::from_secs(1), open.wait_for(|open| *open)).await);
                tokio::time::sleep(wait).await;
                inside += u64::from(*open.borrow());
                tokio::task::block_in_place(|| {
                    broker.kill();
                    broker = serve(home.path(), &listen);
                });
            };
            done += 1;
            tokio::join!(copier.step(), kill).0
        } else {
            copier.step().await
        };
        if let Err(error) = stepped {
            // What it did is not known to it: another one asks for the transactional id and for what is committed.
            eprintln!("a copier ended: {error}");
            restarts += 1;
            committed += copier.committed;
            aborted += copier.aborted;
            drop(copier);
            copier = Copier::new(&kafka).await;
        }
        if done == kills && all_copied(&copier.consumer).await {
            break;
        }
    }
    let records = read(&kafka, IsolationLevel::ReadCommitted, RECORDS).await;
    check(&records);
    let everything = read(&kafka, IsolationLevel::ReadUncommitted, RECORDS).await;
    let hidden = everything.len() - records.len();
    assert!(hidden > 0, "nothing was aborted: the run was weak");
    committed += copier.committed;
    aborted += copier.aborted;
    eprintln!(
        "{done} kills, {inside} inside open transactions, {restarts} copiers replaced, {committed} commits, {aborted} aborts, {hidden} records hidden"
    );
    assert!(broker.terminate().success());
}
