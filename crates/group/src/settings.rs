//! What an operator decides.

/// Limits and times, under Kafka's names. No default: who embeds the coordinator spells them out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `group.min.session.timeout.ms` (Kafka: 6000).
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms` (Kafka: 1800000).
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms` (Kafka: 3000).
    pub initial_rebalance_delay_ms: i32,
    /// How many groups one partition of `__consumer_offsets` holds (Kafka: as many as come). Who would make one more is refused; all that are there go on.
    pub groups_max: usize,
    /// `group.max.size` (Kafka: 2147483647).
    pub group_size_max: usize,
    /// How many bytes a member of a classic group may say of itself, see [`crate::Join::kept_bytes`] (Kafka: as many as a request has). What
    /// the log does not take, at a mebibyte by default, leads nowhere.
    pub member_bytes_max: usize,
    /// How long the `JoinGroup` of a member that cannot heartbeat yet may wait (Kafka: 300000, not configurable).
    pub new_member_join_timeout_ms: i32,
    /// `offset.metadata.max.bytes` (Kafka: 4096), in UTF-16 units as Kafka counts.
    pub offset_metadata_len_max: usize,
    /// `offsets.retention.minutes`, in milliseconds (Kafka: 604800000).
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms` (Kafka: 600000).
    pub offsets_retention_check_interval_ms: i64,
}
