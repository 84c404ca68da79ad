//! Coordinators whose state logs lie in a sled database instead of internal topics. A line is printed as each commit is answered: `tests/durable`
//! watches with strace that the database was synced before it.

use std::{
    env,
    error::Error,
    io::{Write, stdout},
    path::PathBuf,
};

use hanbeon::{Engine, Options, Record, SledStateLogs};

const TRANSACTIONS: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let root: PathBuf = env::args_os().nth(1).map_or_else(|| "sled-data".into(), PathBuf::from);
    std::fs::create_dir_all(&root)?;
    // Any number will do where no stranger chooses producer ids.
    let logs = SledStateLogs::open(&root.join("states"), 1)?;
    let engine = Engine::open_with(root.join("log"), Options::embedded().state_logs(logs))?;
    engine.ensure_topic("orders", 1)?;
    let mut producer = engine.transactional_producer("till-7")?;
    for number in 0..TRANSACTIONS {
        let mut order = producer.begin();
        order.send(Record::new("orders", format!("order {number}")))?;
        order.commit()?;
        writeln!(stdout(), "answered {number}")?;
    }
    assert!(engine.topic("__transaction_state").is_none(), "the states lie in sled alone");
    Ok(engine.shutdown()?)
}
