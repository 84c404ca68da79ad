//! The settings of groups (`org.apache.kafka.coordinator.group.GroupConfig`, Kafka 4.3), without those of share and streams groups.

use super::registry::{Bounds, ConfigKey, ConfigType, Owner, Scale, Update};

const INT_MAX: i64 = 2_147_483_647;

const fn key(
    name: &'static str,
    default: &'static str,
    min: i64,
    synonyms: &'static [(&'static str, Scale)],
    documentation: &'static str,
) -> ConfigKey {
    ConfigKey {
        name,
        owner: Owner::Group,
        config_type: ConfigType::Int,
        default: Some(default),
        bounds: Bounds::Range(min, INT_MAX),
        synonyms,
        update: Update::ClusterWide,
        documentation,
    }
}

/// A key of groups and the broker keys that bound it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) key: &'static str,
    pub(crate) min: &'static str,
    pub(crate) max: &'static str,
}

/// How often is assigned, how often a member is heard of, and after how long without it is put out.
pub(crate) const LIMITS: [Limits; 3] = [
    Limits {
        key: ASSIGNMENT_INTERVAL,
        min: "group.consumer.min.assignment.interval.ms",
        max: "group.consumer.max.assignment.interval.ms",
    },
    Limits {
        key: HEARTBEAT_INTERVAL,
        min: "group.consumer.min.heartbeat.interval.ms",
        max: "group.consumer.max.heartbeat.interval.ms",
    },
    Limits {
        key: SESSION_TIMEOUT,
        min: "group.consumer.min.session.timeout.ms",
        max: "group.consumer.max.session.timeout.ms",
    },
];

const ASSIGNMENT_INTERVAL: &str = "consumer.assignment.interval.ms";
const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";
const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";

/// Sorted by name.
#[rustfmt::skip] // a table: one key a line
pub(super) const KEYS: &[ConfigKey] = &[
    key(ASSIGNMENT_INTERVAL, "1000", 0, &[("group.consumer.assignment.interval.ms", Scale::Same)], "Milliseconds between two assignments of a group of the newer protocol."),
    key(HEARTBEAT_INTERVAL, "5000", 1, &[("group.consumer.heartbeat.interval.ms", Scale::Same)], "Milliseconds between heartbeats of a member of the newer protocol."),
    key(SESSION_TIMEOUT, "45000", 1, &[("group.consumer.session.timeout.ms", Scale::Same)], "Milliseconds without a heartbeat after which a member of the newer protocol is put out."),
];
