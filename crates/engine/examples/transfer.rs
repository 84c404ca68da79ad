//! Money that moves once: run it, kill it at any point, run it again. What the two topics say always adds up.

use hanbeon::{ClientError, Engine, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open(std::env::args().nth(1).as_deref().unwrap_or("transfer-data"))?;
    engine.ensure_topic("debits", 1)?;
    engine.ensure_topic("credits", 1)?;
    // Whatever an earlier run left half done is committed or aborted when this returns.
    let mut producer = engine.transactional_producer("transfers")?;
    for number in count(&engine, "debits")?..1_000 {
        let mut transfer = producer.begin();
        transfer.send(Record::new("debits", format!("transfer {number}: anna pays 5")))?;
        transfer.send(Record::new("credits", format!("transfer {number}: bert gets 5")))?;
        transfer.commit()?;
    }
    assert_eq!(count(&engine, "debits")?, count(&engine, "credits")?);
    Ok(engine.shutdown()?)
}

/// How many committed records a topic has.
fn count(engine: &Engine, topic: &str) -> Result<usize, ClientError> {
    let mut consumer = engine.consumer();
    consumer.assign_all(topic)?;
    let polls = std::iter::from_fn(|| consumer.poll().map(Some).transpose());
    polls
        .map(|polled| polled.map(|records| records.len()))
        .take_while(|n| !matches!(n, Ok(0)))
        .sum()
}
