//! Consume, transform, produce, exactly once: kill it at any point, run it again, and each order has its invoice once.
use std::{env, error::Error, time::Duration};

use hanbeon::{Engine, Record};

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::open(env::args().nth(1).as_deref().unwrap_or("billing-data"))?;
    engine.ensure_topic("orders", 3)?;
    engine.ensure_topic("invoices", 2)?;
    engine.producer().send(Record::new("orders", "3 apples"))?.wait()?;
    bill(&engine)
}

pub(crate) fn bill(engine: &Engine) -> Result<(), Box<dyn Error>> {
    // Whatever an earlier life left half done is committed or aborted when this returns.
    let mut producer = engine.transactional_producer("invoices-1")?;
    let mut consumer = engine.group_consumer("billing").subscribe(["orders"])?;
    loop {
        let orders = consumer.poll_timeout(Duration::from_secs(1))?;
        if orders.is_empty() {
            return Ok(());
        }
        let mut transaction = producer.begin();
        for order in orders.iter().filter_map(|order| order.value.as_deref()) {
            transaction.send(Record::new("invoices", [order, b" invoiced"].concat()))?;
        }
        transaction.send_positions(&mut consumer)?;
        transaction.commit()?;
    }
}
