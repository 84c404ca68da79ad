//! What do transactions cost a broker by size and spread, how long from a client's `EndTxn` to a reader of committed data, and how many commit a second, beside Apache Kafka?
//!
//! One client that writes every byte itself drives both servers in turn over loopback, in the protocol of the newest clients (Produce 12 enrols
//! its partitions, `EndTxn` 5 answers with the next epoch): processor time of the server, not of a client, is what differs. A transaction is a
//! Produce over its partitions and an `EndTxn`. Nothing is asserted.
//!
//! `cargo build --release -p hanbeon-cli && KAFKA=tests/peers/kafka.sh cargo bench -p hanbeon-benches --bench transactions`; without
//! `KAFKA` only ours. `ROUNDS` (5) and `PASS_MS` (1000) change the size, `HANBEON=FILE` takes another binary; `-- latency` or another of
//! `sweep latency many` asks one question only.
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::{
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use hanbeon_benches::{Peer, Transactional, fetch_committed, fresh_dir};

const ROOT: &str = env!("CARGO_TARGET_TMPDIR");
const RECORDS: [u32; 4] = [1, 10, 100, 1_000];
const PARTITIONS: [i32; 3] = [1, 8, 64];
/// Producers that commit at the same time.
const MANY: i32 = 16;
/// Transactions of one pass for the time to a reader.
const WATCHED: usize = 500;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What one pass found, or the median of several.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    per_second: f64,
    /// Processor time of the server for each transaction, microseconds.
    cpu: f64,
    /// How often a client was told to come again, for each transaction.
    again: f64,
}

/// Lets `work` commit for the length of a pass; it returns how often it did, and how often it was told to come again.
fn pass(peer: &Peer, work: impl FnOnce(&(dyn Fn() -> bool + Sync)) -> (u64, u64)) -> Found {
    let length = Duration::from_millis(setting("PASS_MS", 1_000));
    let cpu = peer.cpu().expect("it runs");
    let began = Instant::now();
    let (commits, again) = work(&|| began.elapsed() < length);
    let (took, cpu) = (began.elapsed(), peer.cpu().expect("it runs").saturating_sub(cpu));
    let commits = commits as f64;
    Found {
        per_second: commits / took.as_secs_f64(),
        cpu: cpu.as_secs_f64() * 1e6 / commits,
        again: again as f64 / commits,
    }
}

/// The partitions of a transaction of `records` records, and how many each gets.
fn spread(records: u32, partitions: i32) -> (Vec<i32>, u32) {
    let touched = partitions.min(i32::try_from(records).unwrap_or(i32::MAX));
    let each = records / touched.unsigned_abs();
    ((0..touched).collect(), each)
}

fn commits(producer: &mut Transactional, (partitions, each): &(Vec<i32>, u32)) {
    producer.produce(partitions, *each).expect("it is taken");
    producer.commit().expect("it is committed");
}

fn one(peer: &Peer, producer: &mut Transactional, spread: &(Vec<i32>, u32)) -> Found {
    let before = producer.again;
    pass(peer, |more| {
        let mut count = 0;
        while more() {
            commits(producer, spread);
            count += 1;
        }
        (count, producer.again - before)
    })
}

/// Median, least and largest.
fn spread_of(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    let last = values.len().saturating_sub(1);
    [at(last / 2), at(0), at(last)]
}

fn medians(found: &[Found]) -> Found {
    let of = |field: fn(&Found) -> f64| spread_of(found.iter().map(field).collect())[0];
    Found { per_second: of(|f| f.per_second), cpu: of(|f| f.cpu), again: of(|f| f.again) }
}

/// One line of both tables.
fn row(what: &str, sides: &[Vec<Found>]) {
    let [ours, rest @ ..] = sides else { return };
    let of = medians(ours);
    let mut line = format!("| {what} | {:.0} | {:.0} |", of.per_second, of.cpu);
    for kafka in rest {
        let pairs = || ours.iter().zip(kafka);
        let faster = spread_of(pairs().map(|(o, k)| o.per_second / k.per_second).collect());
        let cheaper = spread_of(pairs().map(|(o, k)| k.cpu / o.cpu).collect());
        let of = medians(kafka);
        line += &format!(
            " {:.0} | {:.0} | {:.1} ({:.1} to {:.1}) | {:.1} ({:.1} to {:.1}) | {:.1} |",
            of.per_second,
            of.cpu,
            faster[0],
            faster[1],
            faster[2],
            cheaper[0],
            cheaper[1],
            cheaper[2],
            of.again
        );
    }
    eprintln!("{line}");
}

fn heading(what: &str, peers: &[Peer]) {
    let kafka = if peers.len() > 1 {
        " Kafka, transactions a second | us of CPU for each | times faster | times cheaper | come again, for each |"
    } else {
        ""
    };
    eprintln!("| {what} | transactions a second | us of CPU for each |{kafka}");
}

fn sweep(peers: &[Peer], rounds: u64) {
    heading("records x partitions", peers);
    for partitions in PARTITIONS {
        let topic = format!("sweep-{partitions}");
        let mut producers: Vec<_> =
            peers.iter().map(|peer| producer(peer, &topic, &topic, partitions)).collect();
        for records in RECORDS {
            let spread = spread(records, partitions);
            let mut found = vec![Vec::new(); peers.len()];
            for round in 0..=rounds {
                for ((peer, producer), found) in peers.iter().zip(&mut producers).zip(&mut found) {
                    let measured = one(peer, producer, &spread);
                    // The first is a warm-up.
                    if round > 0 {
                        found.push(measured);
                    }
                }
            }
            row(&format!("{records} x {partitions}"), &found);
        }
    }
}

fn producer(peer: &Peer, id: &str, topic: &str, partitions: i32) -> Transactional {
    let client = peer.client().expect("it listens");
    Transactional::new(client, id, topic, partitions).expect("nobody has the id")
}

/// Milliseconds from the first byte of `EndTxn` until a waiting reader has the record.
fn latencies(peer: &Peer, producer: &mut Transactional, topic: &str, from: &mut i64) -> Vec<f64> {
    let (ask, asked) = mpsc::channel::<i64>();
    let (tell, told) = mpsc::channel::<(Instant, i64)>();
    let mut reader = peer.client().expect("it listens");
    thread::scope(|scope| {
        scope.spawn(move || {
            while let Ok(mut from) = asked.recv() {
                loop {
                    let copied = fetch_committed(&mut reader, topic, from).expect("it reads");
                    let at = Instant::now();
                    from = copied.next;
                    if copied.batches > 0 {
                        tell.send((at, from)).expect("somebody listens");
                        break;
                    }
                }
            }
        });
        let mut found = Vec::new();
        for _ in 0..WATCHED {
            ask.send(*from).expect("the reader runs");
            producer.produce(&[0], 1).expect("it is taken");
            let began = Instant::now();
            producer.commit().expect("it is committed");
            let (at, next) = told.recv().expect("the reader runs");
            *from = next;
            found.push((at - began).as_secs_f64() * 1e3);
        }
        drop(ask);
        found
    })
}

fn latency(peers: &[Peer], rounds: u64) {
    let topic = "latency";
    let mut producers: Vec<_> =
        peers.iter().map(|peer| (producer(peer, topic, topic, 1), 0)).collect();
    let mut found = vec![Vec::new(); peers.len()];
    for round in 0..=rounds {
        for ((peer, (producer, from)), found) in peers.iter().zip(&mut producers).zip(&mut found) {
            let measured = latencies(peer, producer, topic, from);
            if round > 0 {
                found.push(measured);
            }
        }
    }
    eprintln!(
        "| ms from EndTxn to a read_committed fetch that returns the record | p50 | p99 | largest |"
    );
    for (name, rounds) in ["ours", "Apache Kafka"].iter().zip(found) {
        let of = |percent: usize| {
            let each = rounds.iter().map(|round| {
                let mut sorted = round.clone();
                sorted.sort_by(f64::total_cmp);
                sorted.get((sorted.len() * percent / 100).min(sorted.len() - 1)).copied()
            });
            let [median, least, largest] = spread_of(each.flatten().collect());
            format!("{median:.3} ({least:.3} to {largest:.3})")
        };
        eprintln!("| {name} | {} | {} | {} |", of(50), of(99), of(100));
    }
}

/// Many producers at once, each with an id and a partition of its own: what the coordinator does in a second.
fn many(peers: &[Peer], rounds: u64) {
    let number = |n: i32| format!("many-{n}");
    let mut producers: Vec<Vec<_>> = peers
        .iter()
        .map(|peer| (0..MANY).map(|n| producer(peer, &number(n), "many", MANY)).collect())
        .collect();
    let mut found = vec![Vec::new(); peers.len()];
    for round in 0..=rounds {
        for ((peer, producers), found) in peers.iter().zip(&mut producers).zip(&mut found) {
            let measured = at_once(peer, producers);
            if round > 0 {
                found.push(measured);
            }
        }
    }
    heading("producers at once", peers);
    row(&format!("{MANY}"), &found);
}

fn at_once(peer: &Peer, producers: &mut [Transactional]) -> Found {
    pass(peer, |more| {
        thread::scope(|scope| {
            let committing = |(partition, producer): (i32, &'_ mut Transactional)| {
                let (spread, before, mut count) = ((vec![partition], 1), producer.again, 0);
                while more() {
                    commits(producer, &spread);
                    count += 1;
                }
                (count, producer.again - before)
            };
            let threads: Vec<_> =
                (0..).zip(producers).map(|mine| scope.spawn(move || committing(mine))).collect();
            let done = threads.into_iter().map(|thread| thread.join().expect("it commits"));
            done.fold((0, 0), |sum, (count, again)| (sum.0 + count, sum.1 + again))
        })
    })
}

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let rounds = setting("ROUNDS", 5);
    let home = fresh_dir(ROOT);
    let mut peers = vec![Peer::ours(&home.path().join("ours")).expect("the broker starts")];
    if let Some(script) = std::env::var_os("KAFKA") {
        let kafka = Peer::kafka(Path::new(&script), &home.path().join("kafka"));
        peers.push(kafka.expect("Kafka starts"));
    }
    for (name, ask) in [("sweep", sweep as fn(&[Peer], u64)), ("latency", latency), ("many", many)]
    {
        if wants(name) {
            ask(&peers, rounds);
        }
    }
}
