//! The transactional copy loop; the verb is explained in ../transactions.py.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use krafka::{
    Kafka, KrafkaError, Record, Result,
    consumer::{Consumer, ConsumerGroupMetadata, ConsumerRecord, GroupProtocol},
    producer::{Acks, RecordMetadata, TopicPartitionOffset, TransactionalProducer},
};
use rustix::time::{ClockId, clock_gettime};

use crate::{connect, member, misused, number, poll};

/// With the clock that all clients of a run share.
fn say(what: std::fmt::Arguments<'_>) {
    let at = clock_gettime(ClockId::Monotonic);
    println!("{} {what}", at.tv_sec * 1_000_000_000 + at.tv_nsec);
}

fn one_word(why: &KrafkaError) -> String {
    why.to_string().replace(char::is_whitespace, "_")
}

/// Ends as a crash would: nothing is closed in order.
pub(crate) async fn run(args: &[&str]) -> ExitCode {
    let why = match copy(args).await {
        Ok(never) => match never {},
        Err(why) => why,
    };
    let fenced = matches!(why, KrafkaError::Fenced { .. });
    say(format_args!("{} {}", if fenced { "fenced" } else { "broken" }, one_word(&why)));
    std::process::exit(if fenced { 3 } else { 1 });
}

struct Copier<'a> {
    producer: TransactionalProducer,
    consumer: Consumer,
    input: &'a str,
    output: &'a str,
    instance: &'a str,
    abort_every: u64,
    offsets: Offsets,
}

/// Whether the offsets go into the transaction, as they should.
#[derive(Clone, Copy)]
enum Offsets {
    Sent,
    Omitted,
}

#[expect(clippy::significant_drop_tightening, reason = "a copier ends with its process")]
async fn copy(args: &[&str]) -> Result<std::convert::Infallible> {
    let [
        bootstrap,
        group,
        txn_id,
        input,
        output,
        batch,
        abort_every,
        instance,
        timeout,
        session,
        offsets,
    ] = args
    else {
        return Err(misused("copy"));
    };
    let kafka = connect(bootstrap).await;
    // The transactional id first: what an earlier copier left open has ended before its offsets are asked for.
    let producer = owner(&kafka, txn_id, number(timeout)?).await?;
    say(format_args!("ready"));
    let builder = member::builder(&kafka, group, GroupProtocol::Classic, number(session)?);
    let consumer = builder.max_poll_records(number(batch)?).build().await?;
    consumer.subscribe([*input]).await?;
    let offsets = if *offsets == "with-offsets" { Offsets::Sent } else { Offsets::Omitted };
    let abort_every = number(abort_every)?;
    let copier = Copier { producer, consumer, input, output, instance, abort_every, offsets };
    let mut transaction = 0;
    loop {
        let records = poll(&copier.consumer, Duration::from_millis(200)).await?;
        if !records.is_empty() {
            // Who it was when it got them: a rebalance may come before their offsets are sent.
            let member = copier.consumer.group_metadata().await;
            copier.transaction(transaction, &records, member).await?;
            transaction += 1;
        }
    }
}

async fn owner(kafka: &Kafka, txn_id: &str, timeout_ms: u64) -> Result<TransactionalProducer> {
    let timeout = Duration::from_millis(timeout_ms);
    let producer = kafka.producer().acks(Acks::All).linger(Duration::from_millis(1));
    let producer = producer.retry_backoff(Duration::from_millis(20)).transaction_timeout(timeout);
    producer
        .delivery_timeout(timeout.min(Duration::from_secs(45)))
        .build_transactional(txn_id)
        .await
}

impl Copier<'_> {
    async fn transaction(
        &self,
        n: u64,
        records: &[ConsumerRecord],
        member: Option<ConsumerGroupMetadata>,
    ) -> Result<()> {
        say(format_args!("begin {n}"));
        self.producer.begin()?;
        let copied = self.write(n, records, member).await;
        if let Err(why) = copied {
            if matches!(why, KrafkaError::Fenced { .. }) {
                return Err(why);
            }
            say(format_args!("failed {n} {}", one_word(&why)));
            return self.abort(n, records).await;
        }
        if self.abort_every > 0 && n % self.abort_every == self.abort_every - 1 {
            return self.abort(n, records).await;
        }
        say(format_args!("commit {n}"));
        match self.producer.commit().await {
            Ok(()) => {
                say(format_args!("committed {n}"));
                Ok(())
            }
            Err(why) if why.requires_abort() => {
                say(format_args!("failed {n} {}", one_word(&why)));
                self.abort(n, records).await
            }
            Err(why) => Err(why),
        }
    }

    async fn write(
        &self,
        n: u64,
        records: &[ConsumerRecord],
        member: Option<ConsumerGroupMetadata>,
    ) -> Result<()> {
        let (mut waiting, mut ends) = (Vec::new(), BTreeMap::new());
        for r in records {
            let value = format!("{}@{}.{n}", r.value_str().unwrap_or_default(), self.instance);
            let record =
                Record::new(self.output, value).key(format!("{}:{}", r.partition, r.offset));
            let to = if r.offset % 2 == 0 { 0 } else { 1 };
            waiting.push(self.producer.enqueue(record.partition(to)).await?);
            ends.insert(r.partition, r.offset + 1);
        }
        for answer in waiting {
            let _told: RecordMetadata = answer.await?;
        }
        say(format_args!("sent {n} {}", records.len()));
        if matches!(self.offsets, Offsets::Omitted) {
            return Ok(());
        }
        let ends = ends.into_iter().map(|(at, end)| TopicPartitionOffset::new(self.input, at, end));
        let Some(member) = member else {
            return Err(KrafkaError::transaction_abortable("not a member just now"));
        };
        self.producer.send_offsets(&ends.collect::<Vec<_>>(), &member).await?;
        say(format_args!("offsets {n}"));
        Ok(())
    }

    async fn abort(&self, n: u64, records: &[ConsumerRecord]) -> Result<()> {
        say(format_args!("abort {n}"));
        self.producer.abort().await?;
        say(format_args!("aborted {n}"));
        let mut first = BTreeMap::new();
        for r in records {
            first.entry(r.partition).or_insert(r.offset);
        }
        for (partition, offset) in first {
            // One that is not in its hands any more is another's to read.
            if let Err(why) = self.consumer.seek(self.input, partition, offset).await {
                eprintln!("{why}");
            }
        }
        Ok(())
    }
}
