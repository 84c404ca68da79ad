//! The main job in one command: a child process appends numbers and is killed again and again; then every number is counted.
//!
//! The child prints each number once it is acknowledged. The parent kills it with SIGKILL while the next append is under way, starts it
//! again on the same directory, and in the end looks for every acknowledged number: there, and there once.

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    io::{BufRead as _, BufReader, Write as _, stdout},
    process::{Command, Stdio},
};

use hanbeon::Engine;

const KILLS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1) {
        Some(dir) => append(&dir),
        None => kill_and_count(),
    }
}

/// The child: goes on where the log ends, for ever.
fn append(dir: &str) -> Result<(), Box<dyn Error>> {
    let engine = Engine::open(dir)?;
    engine.ensure_topic("numbers", 1)?;
    let mut appender = engine.appender("numbers", 0, "counter")?;
    for number in appender.next().. {
        appender.append(None, number.to_string().as_bytes())?;
        writeln!(stdout(), "{number}")?;
    }
    Ok(())
}

fn kill_and_count() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut child =
            Command::new(env::current_exe()?).arg(dir.path()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("the child has no output")?).lines();
        // Another number of records each time, so that the kills fall on different points of an append.
        for line in lines.take(20 + 7 * kill) {
            line?;
            acknowledged += 1;
        }
        child.kill()?;
        child.wait()?;
    }
    let engine = Engine::open(dir.path())?;
    let mut consumer = engine.consumer();
    consumer.assign("numbers", 0)?;
    let mut copies = BTreeMap::new();
    loop {
        let received = consumer.poll()?;
        if received.is_empty() {
            break;
        }
        for record in received {
            let number: usize = std::str::from_utf8(&record.value.unwrap_or_default())?.parse()?;
            *copies.entry(number).or_insert(0_usize) += 1;
        }
    }
    // Numbers count up without a gap, so that as many different ones as were acknowledged are the acknowledged ones.
    let gaps = copies.keys().zip(0..).filter(|(found, expected)| **found != *expected).count();
    let doubled = copies.values().filter(|count| **count > 1).count();
    let lost = acknowledged_missing(acknowledged, copies.len());
    writeln!(
        stdout(),
        "{KILLS} kills: {acknowledged} acknowledged, {} stored, {lost} lost, {doubled} doubled, {gaps} gaps",
        copies.len()
    )?;
    if lost + doubled + gaps == 0 { Ok(()) } else { Err("not exactly once".into()) }
}

/// Whatever was acknowledged is stored; what was stored and not acknowledged was under way when the process was killed.
const fn acknowledged_missing(acknowledged: usize, stored: usize) -> usize {
    acknowledged.saturating_sub(stored)
}
