//! Who holds readers of committed data back is told by the log, and asking for it costs no log its first reading.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    fmt::{self, Write as _},
    sync::{Arc, Mutex},
};

use hanbeon::{
    Acks, Engine, Manual, Mode, NewTopic, Options, ProducerSettings, Record,
    txn::{Producer, TransactionalId},
};
use hanbeon_log::CrashDir;
use hanbeon_records::{Millis, ProducerEpoch, ProducerId};
use support::in_transaction_at;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record as Values},
};

const NOW: Millis = Millis::new(1_700_000_000_000);

fn open(disk: &CrashDir) -> Engine<Manual<CrashDir>> {
    let unasked = Options::broker().set("transaction.partition.verification.enable", "false");
    Engine::open_in(Manual::new(NOW, 7), disk.clone(), unasked.unwrap()).unwrap()
}

/// Keeps what the log says about transactions, a line each.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<String>>);

impl Subscriber for Said {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Values<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Text<'a>(&'a mut String);
        impl Visit for Text<'_> {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                write!(self.0, "{field}={value:?} ").unwrap();
            }
        }
        let mut said = self.0.lock().unwrap();
        write!(said, "{} ", event.metadata().level()).unwrap();
        event.record(&mut Text(&mut said));
        said.push('\n');
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[test]
fn t5_the_log_says_which_transaction_is_open_for_long_and_which_one_nobody_will_end() {
    let engine = open(&CrashDir::new());
    engine.create_topic(&NewTopic::new("t", 2), Mode::Apply).unwrap();
    let settings = ProducerSettings::new().set("transaction.timeout.ms", "600000").unwrap();
    let mut producer = engine.transactional_producer_with("payments", settings).unwrap();
    let mut transaction = producer.begin();
    for value in ["a", "b"] {
        transaction.send(Record::new("t", value).partition(0)).unwrap();
    }
    transaction.flush().unwrap();
    let nobody = Producer { id: ProducerId::new(77), epoch: ProducerEpoch::new(3) };
    let hanging = in_transaction_at(NOW.get(), nobody, 0, &["c"]);
    engine.partition("t", 1).unwrap().produce(hanging, Acks::All).wait().unwrap();

    let said = Said::default();
    let after = |ms: u32| {
        engine.env().advance(ms);
        // Upkeep does one thing after the other.
        tracing::subscriber::with_default(said.clone(), || {
            for _ in 0..200 {
                engine.maintain(engine.now()).unwrap();
            }
        });
        std::mem::take(&mut *said.0.lock().unwrap())
    };
    let early = after(59_000);
    assert!(!early.contains("readers of committed data"), "{early}");
    let told = after(1_000);
    let line = |of: &str| told.lines().find(|line| line.contains(of)).unwrap_or_default();
    for part in [
        "INFO ",
        "a transaction is open for long",
        "transactional_id=\"payments\" ",
        "producer_epoch=0 ",
        "open_ms=60000 ",
        "offsets=2 ",
    ] {
        assert!(line("partition=t-0 ").contains(part), "{part} is not in\n{told}");
    }
    for part in [
        "WARN ",
        "a transaction hangs",
        "transactional_id=\"none\" ",
        "producer_id=77 ",
        "producer_epoch=3 ",
        "open_ms=60000 ",
        "offsets=1 ",
    ] {
        assert!(line("partition=t-1 ").contains(part), "{part} is not in\n{told}");
    }
    transaction.abort().unwrap();
}

#[test]
fn t5_asking_who_holds_readers_back_reads_no_log_of_a_coordinator() {
    let disk = CrashDir::new();
    let killed = open(&disk);
    killed.create_topic(&NewTopic::new("t", 1), Mode::Apply).unwrap();
    let mut producer = killed.transactional_producer("payments").unwrap();
    let mut transaction = producer.begin();
    transaction.send(Record::new("t", "a").partition(0)).unwrap();
    transaction.flush().unwrap();
    assert_eq!(killed.transactions().counts().iter().map(|shard| shard.ids).sum::<usize>(), 1);
    assert_eq!(killed.remembered_producers(), 1);
    let engine = open(&disk.killed());
    std::mem::forget(transaction);
    std::mem::forget(producer);
    std::mem::forget(killed);

    assert_eq!(engine.remembered_producers(), 0, "no log is open");
    engine.partition("t", 0).unwrap().open().unwrap();
    let whose = || {
        let pins = engine.pins();
        assert_eq!(pins.len(), 1);
        pins[0].transactional_id.as_ref().map(TransactionalId::to_string)
    };
    assert_eq!((whose(), engine.remembered_producers()), (None, 1));
    assert_eq!(engine.transactions().counts(), []);
    assert!(!engine.transactions().is_loaded("payments"));
    engine.transactions().load("payments").unwrap();
    assert_eq!(whose().as_deref(), Some("payments"));
}
