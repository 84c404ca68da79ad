//! The loop of `examples/consume_transform_produce.rs` in a process that is killed with SIGKILL again and again, at random moments and above
//! all inside its transactions: one invoice for each order, and the group stands behind the last of them.
//!
//! `SEED=... KILLS=200 cargo test --release -p hanbeon --test exactly_once -- --nocapture`
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "its main belongs to the example")]
#[path = "../examples/consume_transform_produce.rs"]
mod example;

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    ops::Range,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use hanbeon::{Engine, FetchSpec, Isolation, Offset, Record, group::Name};
use support::wait;

const HOME: &str = "HANBEON_KILLED_LOOP";
const INVOICES: [i32; 2] = [0, 1];
/// More than a process gets through before its kill.
const ORDERS_A_KILL: usize = 4_000;

fn number(name: &str, otherwise: usize) -> usize {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// The process that is killed: this binary once more, with a directory.
#[test]
fn child() {
    let Some(home) = env::var_os(HOME) else { return };
    let engine = Engine::open(home).unwrap();
    example::bill(&engine).unwrap();
    engine.shutdown().unwrap();
}

fn start(home: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["child", "--exact", "--test-threads=1"])
        .env(HOME, home)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Numbers from a seed (`SplitMix64`; Steele, Lea, Flood 2014).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// Bytes of invoices, markers and what is uncommitted included.
fn written(home: &Path) -> u64 {
    let log = |number| home.join(format!("invoices-{number}/00000000000000000000.log"));
    INVOICES.iter().map(|number| fs::metadata(log(number)).map_or(0, |file| file.len())).sum()
}

/// Writes orders with these numbers; how many there are then.
fn feed(home: &Path, orders: Range<usize>) -> usize {
    let engine = Engine::open(home).unwrap();
    let producer = engine.producer();
    for order in orders.clone() {
        let record = Record::new("orders", order.to_string()).key(order.to_string());
        drop(producer.send(record).unwrap());
    }
    producer.flush().unwrap();
    drop(producer);
    engine.shutdown().unwrap();
    orders.end
}

/// Kills it a moment after it has written so and so often: a batch, which opens a transaction there, or a marker, which ends one. Whether it
/// was still alive.
fn kill(home: &Path, chance: &mut Chance) -> bool {
    let mut child = start(home);
    // Some while they start and clear up behind the one before.
    let writes = chance.below(10);
    let mut before = written(home);
    for _ in 0..writes {
        while written(home) == before {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            thread::yield_now();
        }
        before = written(home);
    }
    let moment = if writes == 0 { 100_000 } else { 500 };
    for _ in 0..chance.below(moment) {
        thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// How often each committed value is in a topic.
fn copies(engine: &Engine, topic: &str) -> BTreeMap<String, usize> {
    let mut consumer = engine.consumer();
    consumer.assign_all(topic).unwrap();
    let mut copies = BTreeMap::new();
    loop {
        let received = consumer.poll().unwrap();
        if received.is_empty() {
            return copies;
        }
        for record in received {
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            *copies.entry(value).or_insert(0) += 1;
        }
    }
}

/// How many transactions were aborted, which is what becomes of one that a kill leaves open; as many as one partition knows of.
fn aborted(engine: &Engine) -> usize {
    let on = |number: &i32| {
        let partition = engine.partition("invoices", *number).unwrap();
        let end = partition.log_end_offset().unwrap();
        let (mut from, mut found) = (Offset::ZERO, BTreeSet::new());
        while from < end {
            let spec = FetchSpec { isolation: Isolation::Committed, ..FetchSpec::from(from) };
            let fetched = partition.fetch(&spec).unwrap();
            let mut rest = &fetched.records[..];
            while let Ok((batch, behind)) = hanbeon_records::BatchRef::parse(rest) {
                (from, rest) = (from.max(batch.next_offset()), behind);
            }
            let listed = fetched.aborted.unwrap_or_default();
            found.extend(listed.iter().map(|txn| (txn.producer_id, txn.first_offset)));
        }
        found.len()
    };
    INVOICES.iter().map(on).max().unwrap_or(0)
}

#[test]
fn t8_a_loop_that_is_killed_makes_one_invoice_of_each_order() {
    let (seed, kills) = (number("SEED", 1), number("KILLS", 20));
    eprintln!("SEED={seed} KILLS={kills}");
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open(home.path()).unwrap();
    engine.ensure_topic("orders", 3).unwrap();
    engine.ensure_topic("invoices", i32::try_from(INVOICES.len()).unwrap()).unwrap();
    drop(engine);
    let mut orders = feed(home.path(), 0..(kills + 1) * ORDERS_A_KILL);

    let mut chance = Chance(u64::try_from(seed).unwrap());
    let (mut killed, mut missed) = (0, 0);
    while killed < kills {
        if kill(home.path(), &mut chance) {
            killed += 1;
        } else {
            // On a busy machine it may come to its end while this waits for a processor.
            missed += 1;
            assert!(missed < 20 + kills, "{killed} kills, and {missed} came too late");
            orders = feed(home.path(), orders..orders + ORDERS_A_KILL);
        }
    }
    assert!(start(home.path()).wait().unwrap().success());

    let engine = Engine::open(home.path()).unwrap();
    let invoices = copies(&engine, "invoices");
    let expected = (0..orders).map(|order| (format!("{order} invoiced"), 1)).collect();
    let doubled = invoices.iter().filter(|(_, copies)| **copies > 1).count();
    let (found, aborted) = (invoices.len(), aborted(&engine));
    eprintln!("{found} invoices, {doubled} doubled, {aborted} transactions aborted");
    assert!(invoices == expected, "{orders} orders, {found} invoices, {doubled} doubled");
    let lags =
        wait(engine.group_lag(&Name::new("billing").unwrap(), Isolation::Committed)).unwrap();
    assert!(lags.iter().all(|lag| lag.lag.offsets == 0), "{lags:?}");
    let committed: i64 = lags.iter().map(|lag| lag.committed.get()).sum();
    assert_eq!(usize::try_from(committed).unwrap(), orders);
    assert!(aborted * 10 >= kills, "only {aborted} of {kills} kills fell inside a transaction");
}
