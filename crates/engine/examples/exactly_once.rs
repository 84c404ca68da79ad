//! Consume, transform, produce, killed at any point, exactly once: a child makes invoices of orders and is killed again and again.
//!
//! What the child reads, what it writes, and how far it came are one transaction. The parent kills it with SIGKILL at random moments, starts it again on
//! the same directory, and in the end looks for the invoice of each order: there, and there once.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    hash::{BuildHasher as _, RandomState},
    io::{BufRead as _, BufReader, Write as _, stdout},
    process::{Child, Command, Stdio},
    thread::park_timeout,
    time::Duration,
};

use bytes::Bytes;
use hanbeon::{ConsumerSettings, Engine, Record};

const ORDERS: usize = 40_000;
const KILLS: usize = 30;

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1) {
        Some(dir) => invoice(&dir),
        None => kill_and_count(),
    }
}

/// The child: all of the application.
fn invoice(dir: &str) -> Result<(), Box<dyn Error>> {
    let engine = Engine::open(dir)?;
    // Whatever an earlier life left half done is committed or aborted when this returns.
    let mut producer = engine.transactional_producer("invoices-1")?;
    let settings = ConsumerSettings::new().set("max.poll.records", "100")?;
    let mut consumer = engine.group_consumer("billing").settings(settings).subscribe(["orders"])?;
    loop {
        let orders = consumer.poll_timeout(Duration::from_secs(1))?;
        if orders.is_empty() {
            break Ok(());
        }
        let mut transaction = producer.begin();
        for order in &orders {
            transaction.send(Record::new("invoices", to_invoice(order.value.as_ref())))?;
        }
        transaction.send_positions(&mut consumer)?;
        transaction.commit()?;
        writeln!(stdout(), "{}", orders.len())?;
    }
}

fn to_invoice(order: Option<&Bytes>) -> String {
    let order = order.map(|order| String::from_utf8_lossy(order)).unwrap_or_default();
    format!("invoice for {order}")
}

/// How a child came to its end.
enum End {
    Killed,
    Done,
}

/// Lets a child live for as long as `kill` draws, or to its own end without one. How many orders it said were committed.
fn watch(mut child: Child, kill: Option<u64>) -> Result<(usize, End), Box<dyn Error>> {
    let mut lines = BufReader::new(child.stdout.take().ok_or("the child has no output")?).lines();
    let mut committed = 0;
    if let Some(draw) = kill {
        // Some while they start, most between two transactions and somewhere in the next.
        let transactions = draw % 8;
        for line in lines.by_ref().take(usize::try_from(transactions)?) {
            committed += line?.parse::<usize>()?;
        }
        let range_us = if transactions == 0 { 200_000 } else { 8_000 };
        park_timeout(Duration::from_micros(draw / 8 % range_us));
        child.kill()?;
    }
    for line in lines {
        committed += line?.parse::<usize>()?;
    }
    let status = child.wait()?;
    match status.code() {
        None => Ok((committed, End::Killed)),
        Some(0) => Ok((committed, End::Done)),
        Some(_) => Err(format!("the child failed: {status}").into()),
    }
}

/// The parent: orders first, then kills, then the count.
fn kill_and_count() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let engine = Engine::open(dir.path())?;
    engine.ensure_topic("orders", 3)?;
    engine.ensure_topic("invoices", 2)?;
    let producer = engine.producer();
    for number in 0..ORDERS {
        drop(
            producer
                .send(Record::new("orders", format!("order {number}")).key(number.to_string()))?,
        );
    }
    producer.flush()?;
    engine.shutdown()?;
    let (chance, mut kills, mut done) = (RandomState::new(), 0, 0);
    // A child that is not killed goes on to the end.
    loop {
        let child =
            Command::new(env::current_exe()?).arg(dir.path()).stdout(Stdio::piped()).spawn()?;
        let kill = (kills < KILLS).then(|| chance.hash_one(kills));
        let (committed, end) = watch(child, kill)?;
        done += committed;
        match end {
            End::Killed => kills += 1,
            End::Done => break,
        }
    }
    let engine = Engine::open(dir.path())?;
    let mut consumer = engine.consumer();
    consumer.assign_all("invoices")?;
    let mut copies = BTreeMap::new();
    loop {
        let received = consumer.poll()?;
        if received.is_empty() {
            break;
        }
        for record in received {
            *copies.entry(record.value).or_insert(0_usize) += 1;
        }
    }
    let expected = |number: &usize| Some(Bytes::from(format!("invoice for order {number}")));
    let lost = (0..ORDERS).filter(|number| !copies.contains_key(&expected(number))).count();
    let doubled = copies.values().filter(|count| **count > 1).count();
    let invoices: usize = copies.values().sum();
    writeln!(
        stdout(),
        "{kills} kills: {ORDERS} orders, {invoices} invoices, {lost} lost, {doubled} doubled, {done} seen committed"
    )?;
    if lost + doubled == 0 && invoices == ORDERS { Ok(()) } else { Err("not exactly once".into()) }
}
