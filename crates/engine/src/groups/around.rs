//! What groups must know of the engine they are in.

use std::sync::Arc;

use hanbeon_group::{
    Settings,
    consumer::{SettingsOfGroups, TopicsImage},
};
use hanbeon_log::sync::Ordering;
use hanbeon_records::Millis;

use crate::{Env, Image, engine::Shared};

/// What groups must know of the engine. A shard asks only while it is locked, so that nobody tells it something older than what it was
/// told before.
pub(crate) trait Around {
    /// Time that never goes back nor leaps, for what lasts and ends: a clock that is set throws nobody out and keeps no dead.
    fn now(&self) -> Millis;
    /// The time of day, for what is written down.
    fn time_of_day(&self) -> Millis;
    /// What the operator has decided about groups.
    fn settings(&self) -> Settings;
    /// The same of KIP-848, for each group.
    fn consumer_settings(&self) -> Arc<dyn SettingsOfGroups + Send + Sync>;
    /// Which topics there are.
    fn topics(&self) -> Arc<dyn TopicsImage + Send + Sync>;
    /// Whether the engine has stopped.
    fn is_closed(&self) -> bool;
}

impl<E: Env> Around for Shared<E> {
    fn now(&self) -> Millis {
        let passed = self.ground.env.monotonic().as_millis();
        Millis::new(i64::try_from(passed).unwrap_or(i64::MAX))
    }

    fn time_of_day(&self) -> Millis {
        self.ground.env.now()
    }

    fn settings(&self) -> Settings {
        self.group_settings
    }

    fn consumer_settings(&self) -> Arc<dyn SettingsOfGroups + Send + Sync> {
        Arc::clone(&self.settings_of_groups)
    }

    fn topics(&self) -> Arc<dyn TopicsImage + Send + Sync> {
        let image: Arc<Image<E>> = Arc::clone(&self.image.read());
        image
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}
