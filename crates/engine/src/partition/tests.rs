#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fmt, time::Duration};

use hanbeon_log::MemDir;

use super::*;
use crate::{ConfigChange, ConfigOp, Engine, Manual, Mode, NewTopic, Options};

/// Done once, when the clock is next read. An opening reads it after it has looked at its settings.
type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

#[derive(Clone)]
struct Hooked {
    inner: Manual<MemDir>,
    meanwhile: Meanwhile,
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Env for Hooked {
    type Dir = MemDir;

    fn now(&self) -> Millis {
        let meanwhile = self.meanwhile.lock().take();
        if let Some(act) = meanwhile {
            act();
        }
        self.inner.now()
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }
}

/// An engine with a topic whose partition is not open, and what is done while it opens.
fn unopened() -> (Engine<Hooked>, PartitionHandle<Hooked>, Meanwhile) {
    let meanwhile = Meanwhile::default();
    let inner = Manual::new(Millis::new(1_700_000_000_000), 7);
    let env = Hooked { inner, meanwhile: Arc::clone(&meanwhile) };
    let engine = Engine::open_in(env, MemDir::new(), Options::embedded()).unwrap();
    engine.create_topic(&NewTopic::new("t", 1), Mode::Apply).unwrap();
    let partition = engine.partition("t", 0).unwrap();
    assert!(!partition.is_open());
    (engine, partition, meanwhile)
}

#[test]
fn settings_that_change_during_an_opening_hold_after_it() {
    let (engine, partition, meanwhile) = unopened();
    // The last clone to go would shut it down.
    let other = engine.clone();
    *meanwhile.lock() = Some(Box::new(move || {
        let set = |key: &str, value: &str| {
            let op = ConfigOp::Set(value.to_owned());
            ConfigChange { key: key.to_owned(), op }
        };
        let changes = [set("max.message.bytes", "77"), set("flush.messages", "5")];
        other.alter_topic_config("t", &changes, Mode::Apply).unwrap();
    }));
    let opened = partition.opened().unwrap();
    assert!(meanwhile.lock().is_none(), "it was changed");
    assert_eq!(opened.log.config().max_message_bytes, 77);
    assert!(matches!(opened.durability(), Durability::Interval { messages: 5, .. }));
    engine.shutdown().unwrap();
}
