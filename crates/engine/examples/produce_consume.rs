//! A producer and a reader in one process: keys choose partitions, several records share a batch and a sync.

use std::io::Write as _;

use hanbeon::{Engine, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let home = std::env::args().nth(1).unwrap_or_else(|| "orders-data".to_owned());
    let engine = Engine::open(home)?;
    engine.ensure_topic("orders", 3)?;

    let producer = engine.producer();
    let mut sent = Vec::new();
    for number in 0..6 {
        let record = Record::new("orders", format!("order {number}"))
            .key(format!("customer {}", number % 2));
        sent.push(producer.send(record)?);
    }
    // Waiting for one record writes and syncs its batch; the others of the batch are there with it.
    for delivery in sent {
        delivery.wait()?;
    }

    let mut consumer = engine.consumer();
    consumer.assign_all("orders")?;
    let mut out = std::io::stdout();
    loop {
        let received = consumer.poll()?;
        if received.is_empty() {
            break;
        }
        for record in received {
            let value =
                String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
            writeln!(out, "{}-{} at {}: {value}", record.topic, record.partition, record.offset)?;
        }
    }
    Ok(engine.shutdown()?)
}
