//! Settings of retention and compaction, which nothing acts on yet: taken, shown, and said so in the log.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use hanbeon::{ConfigChange, ConfigOp, Engine, Mode, NewTopic, Options, registry};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Keeps the warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = String::new();
        event.record(&mut Text(&mut text));
        self.0.lock().unwrap().push(text);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn who_gives_a_topic_a_setting_that_nothing_acts_on_is_warned_once() {
    let home = tempfile::tempdir().unwrap();
    let engine = Engine::open_with(home.path(), Options::broker()).unwrap();
    let warnings = Warnings::default();
    let told = || std::mem::take(&mut *warnings.0.lock().unwrap());
    tracing::subscriber::with_default(warnings.clone(), || {
        let compacted = NewTopic::new("t", 1)
            .config("cleanup.policy", "compact")
            .config("retention.ms", "60000")
            .config("retention.bytes", "-1")
            .config("flush.ms", "5");
        engine.create_topic(&compacted, Mode::ValidateOnly).unwrap();
        assert!(told().is_empty(), "nobody was given anything");
        engine.create_topic(&compacted, Mode::Apply).unwrap();
        let created = told();
        assert_eq!(created.len(), 1, "{created:?}");
        assert!(created[0].contains("topic=t"), "{created:?}");
        assert!(created[0].contains("[\"cleanup.policy\", \"retention.ms\"]"), "{created:?}");

        engine.ensure_topic("u", 1).unwrap();
        engine.transactions().ensure_log().unwrap();
        assert!(told().is_empty(), "defaults, and those of the server itself");
        let set = |key: &str, value: &str| {
            let op = ConfigOp::Set(value.to_owned());
            engine.alter_topic_config("u", &[ConfigChange { key: key.to_owned(), op }], Mode::Apply)
        };
        set("flush.ms", "5").unwrap();
        assert!(told().is_empty());
        set("min.compaction.lag.ms", "5").unwrap();
        assert_eq!(told().len(), 1);
    });
    let kept = engine.describe_topic_config("t", Some(&["cleanup.policy"])).unwrap();
    assert_eq!(kept[0].value.as_deref(), Some("compact"));
    assert!(registry::topic_key("cleanup.policy").unwrap().is_idle());
    assert!(!registry::topic_key("flush.ms").unwrap().is_idle());
}
