//! krafka; the verbs are explained in ../suite.py, ../transactions.py and ../groups.py.
#![allow(clippy::print_stdout, reason = "what it says is what it is for")]

mod copy;
mod member;

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use krafka::{
    Compression, Kafka, KrafkaError, Record, Result,
    consumer::{AutoOffsetReset, Consumer, ConsumerRecord, IsolationLevel},
    producer::Acks,
};

/// What a program that was called wrongly is told.
fn misused(what: &str) -> KrafkaError {
    KrafkaError::config(format!("{what}: the verbs are explained in suite.py"))
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N> {
    text.parse().map_err(|_no_number| misused(text))
}

/// A broker that is being started again is asked until it answers; the suite's patience ends it.
async fn connect(bootstrap: &str) -> Kafka {
    loop {
        let builder = Kafka::builder(bootstrap).client_id("krafka").allow_auto_create_topics(true);
        match builder
            .connect_timeout(Duration::from_secs(2))
            .request_timeout(Duration::from_secs(4))
            .connect()
            .await
        {
            Ok(kafka) => return kafka,
            Err(why) => eprintln!("{why}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn codec(name: &str) -> Result<Compression> {
    Ok(match name {
        "none" => Compression::None,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        _ => return Err(misused(name)),
    })
}

async fn produce(
    bootstrap: &str,
    topic: &str,
    compression: Compression,
    count: i32,
    prefix: &str,
) -> Result<()> {
    let kafka = connect(bootstrap).await;
    let producer = kafka.producer().acks(Acks::All).idempotent(true).compression(compression);
    let producer = producer
        .batch_size(1024)
        .linger(Duration::from_millis(1))
        .retry_backoff(Duration::from_millis(20));
    let producer = producer.build().await?;
    let mut waiting = Vec::new();
    for i in 0..count {
        let record = Record::new(topic, format!("{prefix}-{i}")).key(format!("k{i}"));
        let record = record.header("n", i.to_string()).partition(i % 2);
        waiting.push((i, producer.enqueue(record).await?));
    }
    for (i, answer) in waiting {
        let told = answer.await?;
        println!("acked {i} {} {}", told.partition, told.offset);
    }
    producer.close().await
}

/// A consumer by assignment, which begins at the beginning.
async fn reader(bootstrap: &str) -> Result<Consumer> {
    let kafka = connect(bootstrap).await;
    let consumer = kafka.consumer_without_group().auto_offset_reset(AutoOffsetReset::Earliest);
    consumer.isolation_level(IsolationLevel::ReadUncommitted).build().await
}

/// What there is within `patience`. A broker that is gone for a moment is asked again later.
async fn poll(consumer: &Consumer, patience: Duration) -> Result<Vec<ConsumerRecord>> {
    match consumer.poll(patience).await {
        Err(why) if why.is_retriable() => {
            eprintln!("{why}");
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(Vec::new())
        }
        found => found,
    }
}

async fn consume(bootstrap: &str, wanted: &[&str]) -> Result<()> {
    let consumer = reader(bootstrap).await?;
    let (mut ends, mut of) = (BTreeMap::new(), BTreeMap::<_, Vec<i32>>::new());
    for text in wanted {
        let mut parts = text.split(':');
        let (Some(topic), Some(partition), Some(end)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(misused(text));
        };
        let partition = number(partition)?;
        ends.insert((topic.to_owned(), partition), number::<i64>(end)?);
        of.entry(topic).or_default().push(partition);
    }
    for (topic, partitions) in of {
        consumer.assign(topic, partitions).await?;
    }
    while !ends.is_empty() {
        for r in poll(&consumer, Duration::from_secs(1)).await? {
            let (key, value) = (r.key_str().unwrap_or_default(), r.value_str().unwrap_or_default());
            println!(
                "record {} {} {} {} {key} {value}",
                r.topic, r.partition, r.offset, r.timestamp
            );
            let at = (r.topic.to_string(), r.partition);
            if ends.get(&at) == Some(&(r.offset + 1)) {
                ends.remove(&at);
            }
        }
    }
    consumer.close().await
}

/// The first offset at or after the time.
async fn seek(bootstrap: &str, topic: &str, partition: i32, timestamp: i64) -> Result<()> {
    let consumer = reader(bootstrap).await?;
    consumer.assign(topic, vec![partition]).await?;
    consumer.seek_to_timestamp(topic, partition, timestamp).await?;
    let found = consumer.position(topic, partition).await;
    println!("offset {}", found.ok_or_else(|| misused(topic))?);
    consumer.close().await
}

async fn end(bootstrap: &str, topic: &str, partition: i32) -> Result<()> {
    let consumer = reader(bootstrap).await?;
    consumer.assign(topic, vec![partition]).await?;
    consumer.seek_to_end(topic, partition).await?;
    let found = consumer.position(topic, partition).await;
    println!("end {}", found.ok_or_else(|| misused(topic))?);
    consumer.close().await
}

async fn run(args: &[&str]) -> Result<()> {
    match args {
        ["produce", bootstrap, topic, codec_name, count, prefix] => {
            produce(bootstrap, topic, codec(codec_name)?, number(count)?, prefix).await
        }
        ["consume", bootstrap, wanted @ ..] => consume(bootstrap, wanted).await,
        ["seek", bootstrap, topic, partition, timestamp] => {
            seek(bootstrap, topic, number(partition)?, number(timestamp)?).await
        }
        ["end", bootstrap, topic, partition] => end(bootstrap, topic, number(partition)?).await,
        ["member", bootstrap, group, topic, protocol, session] => {
            member::run(bootstrap, group, topic, protocol, number(session)?).await
        }
        _ => Err(misused("no such verb")),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["copy", args @ ..] = &*args {
        return copy::run(args).await;
    }
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
