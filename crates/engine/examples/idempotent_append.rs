//! An append that survives `kill -9`: run it, kill it at any moment, run it again. Every number is in the log once.

use hanbeon::Engine;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::open(std::env::args().nth(1).as_deref().unwrap_or("append-data"))?;
    engine.ensure_topic("numbers", 1)?;
    let mut appender = engine.appender("numbers", 0, "counter")?;
    // Whatever was appended before a crash is counted, and not appended again.
    for number in appender.next()..1_000 {
        appender.append(None, number.to_string().as_bytes())?;
    }
    Ok(engine.shutdown()?)
}
