//! No thread starts that was not asked for. The only test of its binary, so that nobody else starts one meanwhile.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, thread};

use hanbeon::{Engine, Options, Record};

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// All that an application does; how many threads there were meanwhile.
fn live(home: &Path, options: Options) -> usize {
    let options = options.set("transaction.state.log.num.partitions", "1").unwrap();
    let options = options.set("offsets.topic.num.partitions", "1").unwrap();
    let engine = Engine::open_with(home, options).unwrap();
    engine.ensure_topic("in", 2).unwrap();
    engine.ensure_topic("out", 1).unwrap();
    let producer = engine.producer();
    for key in ["a", "b", "c"] {
        drop(producer.send(Record::new("in", "x").key(key)).unwrap());
    }
    producer.flush().unwrap();
    let mut consumer = engine.group_consumer("g").subscribe(["in"]).unwrap();
    let mut copier = engine.transactional_producer("copier").unwrap();
    let mut copied = 0;
    while copied < 3 {
        let received = consumer.poll().unwrap();
        let mut transaction = copier.begin();
        for record in &received {
            transaction.send(Record::new("out", record.value.clone().unwrap())).unwrap();
        }
        transaction.send_positions(&mut consumer).unwrap();
        transaction.commit().unwrap();
        copied += received.len();
    }
    engine.maintain(engine.now()).unwrap();
    let count = threads();
    drop((consumer, copier, producer));
    engine.shutdown().unwrap();
    count
}

#[test]
fn an_engine_has_the_threads_that_were_asked_for_and_no_others() {
    let before = threads();
    for helpers in [0, 1, 3] {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(live(home.path(), Options::embedded().helpers(helpers)), before + helpers);
        // The kernel shows a thread for a moment after it was joined.
        while threads() > before {
            thread::yield_now();
        }
        // Without a word about them there are none.
        assert_eq!(live(home.path(), Options::embedded()), before);
    }
}
