//! A process that appends is killed again and again, and every number is in the log once, in order.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use hanbeon::Engine;

const HOME: &str = "HANBEON_KILL_TEST_HOME";

/// Appends numbers for ever and tells each one when it is acknowledged. Does something only when it is started by the test.
#[test]
fn child() {
    let Ok(home) = env::var(HOME) else {
        return;
    };
    let engine = Engine::open(home).unwrap();
    engine.ensure_topic("numbers", 1).unwrap();
    let mut appender = engine.appender("numbers", 0, "counter").unwrap();
    let mut out = std::io::stdout();
    for number in appender.next().. {
        appender.append(None, number.to_string().as_bytes()).unwrap();
        writeln!(out, "acknowledged {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn p2_a_killed_appender_goes_on_without_a_gap_or_a_double() {
    let home = tempfile::tempdir().unwrap();
    let mut told = 0_u64;
    for round in 1..=5 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(HOME, home.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let acknowledged = lines.map_while(Result::ok).filter_map(|line| {
            line.split_once("acknowledged ").map(|(_, number)| number.parse::<u64>().unwrap())
        });
        told = acknowledged.take(7 * round).last().unwrap();
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    let engine = Engine::open(home.path()).unwrap();
    let mut consumer = engine.consumer();
    consumer.assign("numbers", 0).unwrap();
    let mut numbers = Vec::new();
    loop {
        let received = consumer.poll().unwrap();
        if received.is_empty() {
            break;
        }
        let text = |record: &hanbeon::Received| {
            String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap()
        };
        numbers.extend(received.iter().map(|record| text(record).parse::<u64>().unwrap()));
    }
    assert!(numbers.iter().copied().eq(0..u64::try_from(numbers.len()).unwrap()), "{numbers:?}");
    assert!(u64::try_from(numbers.len()).unwrap() > told, "acknowledged {told}: {}", numbers.len());
}
