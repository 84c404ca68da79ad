//! How long until a broker listens, and until a partition answers whose broker was killed over 1 GiB?
//!
//! Beside it `true`, a process that does nothing. Then rounds of: produce to one partition, SIGKILL, start, one Produce, one Fetch. The
//! recovery point that the background sync wrote down stands in half of the rounds and is removed in the others, so that all of the
//! gibibyte must be checked. Nothing is asserted; goals: 20 ms, 50 ms, 10 MiB.
//!
//! `cargo build --release -p hanbeon-cli && cargo bench -p hanbeon-benches --bench start`; `HANBEON=FILE` takes another binary,
//! `KAFKA=tests/peers/kafka.sh` starts Apache Kafka, too, `MIB` and `ROUNDS` change the size, `RECORDS` and
//! `RECORD_BYTES` the batches (16 of 1 KiB).
#![expect(clippy::expect_used, reason = "a bench that cannot go on has nothing to say")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use hanbeon_benches::{Batches, Client, Served, cost_of, fresh_dir};

const ROOT: &str = env!("CARGO_TARGET_TMPDIR");
const TOPIC: &str = "killed";
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const PRODUCERS: i64 = 100;

/// Whether the recovery point outlives the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Written,
    Nothing,
}

/// A number from the environment.
fn setting(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn took<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let mut done = None;
    let cost = cost_of(|| done = Some(work()));
    (cost.wall, done.expect("it was done"))
}

/// Prints least, median and largest.
fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let ms = |at: usize| times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    let last = times.len().saturating_sub(1);
    eprintln!(
        "{what}: {:.1} ms ({:.1} to {:.1}), {} times",
        ms(last / 2),
        ms(0),
        ms(last),
        last + 1
    );
}

fn starting(rounds: usize) {
    let (mut ours, mut nothing, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let run = || Command::new("true").status().expect("there is a true");
        nothing.push(took(run).0);
        let home = fresh_dir(ROOT);
        let (time, broker) = took(|| Served::start(home.path()).expect("the broker starts"));
        ours.push(time);
        broker.client().and_then(|mut client| client.make_topic(TOPIC)).expect("it answers");
        idle.push(broker.anonymous_kib().expect("it runs"));
        broker.kill().expect("it ends");
    }
    idle.sort_unstable();
    show("`true`, started and ended", nothing);
    show("a new directory, to the listening line", ours);
    eprintln!("idle, anonymous: {} KiB at most", idle.last().copied().unwrap_or(0));
    if let Some(script) = std::env::var_os("KAFKA") {
        // From the root of the workspace; benches run in the folder of their package.
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        kafka(&root.join(script), rounds.min(3));
    }
}

/// Formatted first, so that only the start counts.
fn kafka(script: &Path, rounds: usize) {
    let home = fresh_dir(ROOT);
    let run = |words: &[&str]| {
        let home = home.path();
        let (verb, rest) = words.split_first().expect("a verb");
        let mut command = Command::new(script);
        command.arg(verb).arg(home).args(rest).stdout(Stdio::null()).stderr(Stdio::null());
        let ended = command.status().expect("the script runs");
        assert!(ended.success(), "{words:?}");
    };
    let port = "39092";
    run(&["start", port]);
    run(&["stop"]);
    let times = (0..rounds).map(|_| {
        let time = took(|| run(&["start", port])).0;
        run(&["stop"]);
        time
    });
    show("Apache Kafka, to its first connection", times.collect());
}

/// Writes `mib` MiB and kills.
fn fill(home: &Path, batches: &mut Batches, mib: usize) {
    let broker = Served::start(home).expect("the broker starts");
    let mut client = broker.client().expect("it listens");
    client.make_topic(TOPIC).expect("it answers");
    for _ in 0..(mib << 20) / batches.batch_len() {
        produce(&mut client, batches);
    }
    broker.kill().expect("it ends");
}

fn produce(client: &mut Client, batches: &mut Batches) {
    let batch = batches.next_batch();
    let code = client.produce(TOPIC, &batch).expect("it answers");
    assert_eq!(code, 0, "the batch is taken");
}

/// Times of the start, the first Produce and the first Fetch of a broker that was killed.
fn killed(known: Known, mib: usize) -> [Duration; 3] {
    let home = fresh_dir(ROOT);
    let records = u32::try_from(setting("RECORDS", 16)).expect("so many fit a batch");
    let mut batches = Batches::new(PRODUCERS, 0, records, setting("RECORD_BYTES", 1 << 10));
    fill(home.path(), &mut batches, mib);
    if known == Known::Nothing {
        // Absent when nothing was synced yet.
        let (Ok(()) | Err(_)) = fs::remove_file(home.path().join(RECOVERY_POINTS));
    }
    let (start, broker) = took(|| Served::start(home.path()).expect("the broker starts"));
    let mut client = broker.client().expect("it listens");
    let (first, ()) = took(|| produce(&mut client, &mut batches));
    let (fetch, fetched) = took(|| client.fetch(TOPIC, 0).expect("it answers"));
    assert_eq!(fetched.0, 0, "the fetch is answered");
    assert!(fetched.1 > 1 << 18, "with records: {}", fetched.1);
    [start, first, fetch]
}

fn main() {
    let rounds = setting("ROUNDS", 5);
    let mib = setting("MIB", 1024);
    starting(rounds * 2);
    for (known, what) in [
        (Known::Written, "recovery point as the background sync left it"),
        (Known::Nothing, "nothing known durable"),
    ] {
        let mut times = [const { Vec::new() }; 3];
        for _ in 0..rounds {
            for (times, time) in times.iter_mut().zip(killed(known, mib)) {
                times.push(time);
            }
        }
        let [start, first, fetch] = times;
        eprintln!("killed over {mib} MiB, {what}");
        show("  to the listening line", start);
        show("  first Produce", first);
        show("  first Fetch behind it", fetch);
    }
}
