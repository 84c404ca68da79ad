//! Describing and altering settings of groups.

use std::collections::BTreeMap;

use hanbeon_meta::{ConfigScope, changes};

use crate::{
    ConfigChange, ConfigError, DescribedConfig, Engine, Env, Features, Mode, Settings, TopicError,
    admin::{Admin, known, rows_of},
    config::{self, ConfigKey, GROUP_LIMITS, Overrides, Owner, registry},
};

/// What counts for the whole cluster beside topics and the settings of brokers.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) features: Features,
    pub(crate) groups: BTreeMap<String, Overrides>,
}

impl<E: Env> Admin<E> {
    /// As the rows have it.
    pub(crate) fn cluster(&self) -> Cluster {
        let groups = self.rows.configured_groups();
        Cluster {
            features: Features::of(self.rows.features().map(|stored| &stored.row)),
            groups: groups
                .map(|(id, row)| (id.to_owned(), known(Some(row), registry::group_key)))
                .collect(),
        }
    }
}

/// The settings of a group that its coordinator acts on, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Between two assignments.
    pub assignment_interval_ms: i32,
    /// Between heartbeats of a member.
    pub heartbeat_interval_ms: i32,
    /// Without a heartbeat, after which a member is put out.
    pub session_timeout_ms: i32,
}

impl GroupSettings {
    pub(crate) fn of(settings: &Settings, overrides: &Overrides) -> Self {
        let [assignment_interval_ms, heartbeat_interval_ms, session_timeout_ms] =
            GROUP_LIMITS.map(|limits| settings.group_int(limits.key, overrides));
        Self { assignment_interval_ms, heartbeat_interval_ms, session_timeout_ms }
    }
}

impl<E: Env> Engine<E> {
    /// What counts for a group of the newer protocol, whether it exists yet or not.
    #[must_use]
    pub fn group_settings(&self, group: &str) -> GroupSettings {
        GroupSettings::of(&self.settings(), &self.group_overrides(group))
    }

    /// The ids of groups that have settings of their own.
    #[must_use]
    pub fn configured_groups(&self) -> Vec<String> {
        self.shared().cluster.read().groups.keys().cloned().collect()
    }

    /// A group's settings, by name; all of them, or those asked for that exist.
    ///
    /// # Errors
    /// The group has no name.
    pub fn describe_group_config(
        &self,
        group: &str,
        keys: Option<&[&str]>,
    ) -> Result<Vec<DescribedConfig>, TopicError> {
        named(group)?;
        let settings = self.settings();
        let overrides = self.group_overrides(group);
        let asked = |key: &&ConfigKey| keys.is_none_or(|keys| keys.contains(&key.name()));
        let shown = registry::group_keys().iter().filter(asked);
        Ok(shown.map(|key| settings.0.describe_owned(key, &overrides)).collect())
    }

    /// Changes single settings of a group, whether it exists yet or not.
    ///
    /// # Errors
    /// The group has no name, or a setting cannot be taken; nothing is changed then.
    pub fn alter_group_config(
        &self,
        group: &str,
        changes: &[ConfigChange],
        mode: Mode,
    ) -> Result<(), TopicError> {
        let mut admin = self.admin()?;
        named(group)?;
        let layers = admin.layers.clone();
        let current = admin.cluster().groups.remove(group).unwrap_or_default();
        let effective = |key: &'static ConfigKey| layers.owned_value(key, &current);
        let changed = config::apply_changes(Owner::Group, &current, changes, effective)?;
        let result = self.set_group_config(&mut admin, group, &changed, mode);
        drop(admin);
        result
    }

    /// Gives a group these settings and no others.
    ///
    /// # Errors
    /// As [`Engine::alter_group_config`].
    pub fn replace_group_config(
        &self,
        group: &str,
        settings: &[(&str, Option<&str>)],
        mode: Mode,
    ) -> Result<(), TopicError> {
        let mut admin = self.admin()?;
        named(group)?;
        let changed = config::replacement(Owner::Group, settings.iter().copied())?;
        let result = self.set_group_config(&mut admin, group, &changed, mode);
        drop(admin);
        result
    }

    fn group_overrides(&self, group: &str) -> Overrides {
        self.shared().cluster.read().groups.get(group).cloned().unwrap_or_default()
    }

    fn set_group_config(
        &self,
        admin: &mut Admin<E>,
        group: &str,
        changed: &Overrides,
        mode: Mode,
    ) -> Result<(), TopicError> {
        check(&admin.settings(), changed)?;
        if mode == Mode::ValidateOnly {
            return Ok(());
        }
        let scope = ConfigScope::Group(group.to_owned());
        let txn = changes::set_configs(&admin.rows, &scope, &rows_of(changed));
        let why = "the settings were changed meanwhile";
        admin.commit(&txn, || TopicError::InvalidRequest { why })?;
        self.publish_cluster(admin);
        Ok(())
    }
}

const fn named(group: &str) -> Result<(), TopicError> {
    if group.is_empty() {
        let why = "a group has a name: there are no settings for all groups but the broker's";
        return Err(TopicError::InvalidRequest { why });
    }
    Ok(())
}

/// The broker says how far each group may go, and who is told to send a heartbeat must have the time to (`GroupConfig.validate`).
fn check(settings: &Settings, changed: &Overrides) -> Result<(), ConfigError> {
    for limits in GROUP_LIMITS {
        if !changed.contains_key(limits.key) {
            continue;
        }
        let (key, found) = (limits.key, settings.group_int(limits.key, changed));
        let conflict =
            |other, rule| Err(ConfigError::Conflict { key, found: found.to_string(), other, rule });
        if settings.int(limits.min).is_some_and(|min| found < min) {
            return conflict(limits.min, "it is at least as large");
        }
        if settings.int(limits.max).is_some_and(|max| found > max) {
            return conflict(limits.max, "it is at most as large");
        }
    }
    let [_, heartbeat, session] = GROUP_LIMITS.map(|limits| limits.key);
    let found = settings.group_int(session, changed);
    if found <= settings.group_int(heartbeat, changed) {
        return Err(ConfigError::Conflict {
            key: session,
            found: found.to_string(),
            other: heartbeat,
            rule: "it is larger",
        });
    }
    Ok(())
}
