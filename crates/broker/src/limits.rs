//! What one client, and all of them together, may take from the broker.

use hanbeon::Settings;

/// Limits that concern connections and memory. Kafka has no counterpart for some of them.
///
/// Where one has a Kafka key and the engine was given a value for it, that counts. Those of connections can be changed while the broker
/// runs, as Kafka's can; connections that are open stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request in bytes (`socket.request.max.bytes`).
    pub request_bytes_max: usize,
    /// Bytes of large requests that are held at once, over all connections (`queued.max.request.bytes`; its -1 leaves it to the broker). Those
    /// from one address hold half of them at most, and a request that is longer counts as half.
    pub queued_bytes_max: usize,
    /// Open connections (`max.connections`).
    pub connections_max: usize,
    /// Open connections from one address (`max.connections.per.ip`).
    pub connections_per_address_max: usize,
    /// Connections accepted in a second (`max.connection.creation.rate`). One address gets at most half of them, and less when others come.
    pub connections_per_second_max: u32,
    /// Milliseconds without a request after which a connection is closed (`connections.max.idle.ms`; its -1 stands for never), and that a
    /// Fetch waits for data at most.
    pub idle_ms_max: u64,
    /// Milliseconds that a begun request may take to arrive, unless it comes at 8 KiB a second or more.
    pub request_ms_max: u64,
    /// Milliseconds that a client may leave an answer unread.
    pub answer_ms_max: u64,
    /// Bytes of answers that may wait for a client to read them, and of what one answer describes before it refuses to describe more.
    pub answer_bytes_max: usize,
    /// Bytes of records that one answer to Fetch carries, whatever the client asks for (`fetch.max.bytes`).
    pub fetch_bytes_max: usize,
    /// Fetch sessions over all connections (`max.incremental.fetch.session.cache.slots`).
    pub fetch_sessions_max: usize,
}

impl Limits {
    /// Bytes in a second below which a slowly arriving request is given up.
    pub const BYTES_PER_SECOND_MIN: usize = 8 * 1024;

    /// What a broker uses when it is not told otherwise.
    #[must_use]
    pub const fn standard() -> Self {
        Self {
            request_bytes_max: 100 * 1024 * 1024,
            queued_bytes_max: 256 * 1024 * 1024,
            connections_max: 10_000,
            connections_per_address_max: 1_000,
            connections_per_second_max: 1_000,
            idle_ms_max: 600_000,
            request_ms_max: 30_000,
            answer_ms_max: 60_000,
            answer_bytes_max: 64 * 1024 * 1024,
            fetch_bytes_max: 55 * 1024 * 1024,
            fetch_sessions_max: 10_000,
        }
    }

    /// These limits, but for what the engine was told.
    pub(crate) fn with_given(self, settings: &Settings) -> Self {
        let size = |key, limit| {
            let given = settings.given_long(key);
            given.map_or(limit, |given| usize::try_from(given).unwrap_or(usize::MAX))
        };
        let queued = settings.given_long("queued.max.request.bytes").filter(|bytes| *bytes > 0);
        let rate = settings.given_long("max.connection.creation.rate");
        let idle = settings.given_long("connections.max.idle.ms");
        Self {
            request_bytes_max: size("socket.request.max.bytes", self.request_bytes_max),
            queued_bytes_max: queued.map_or(self.queued_bytes_max, |bytes| {
                usize::try_from(bytes).unwrap_or(usize::MAX)
            }),
            connections_max: size("max.connections", self.connections_max),
            connections_per_address_max: size(
                "max.connections.per.ip",
                self.connections_per_address_max,
            ),
            connections_per_second_max: rate.map_or(self.connections_per_second_max, |rate| {
                u32::try_from(rate).unwrap_or(u32::MAX)
            }),
            // -1 is larger than any time.
            idle_ms_max: idle.map_or(self.idle_ms_max, |ms| u64::try_from(ms).unwrap_or(u64::MAX)),
            fetch_bytes_max: size("fetch.max.bytes", self.fetch_bytes_max),
            fetch_sessions_max: size(
                "max.incremental.fetch.session.cache.slots",
                self.fetch_sessions_max,
            ),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use hanbeon::{Engine, Options, registry};

    use super::*;

    /// `DescribeConfigs` tells the defaults of the keys.
    #[test]
    fn the_standard_limits_are_the_defaults_of_their_keys() {
        let limits = Limits::standard();
        let default =
            |key| registry::broker_key(key).unwrap().default_value().unwrap().parse::<u64>();
        for (key, limit) in [
            ("socket.request.max.bytes", limits.request_bytes_max),
            ("max.connections", limits.connections_max),
            ("max.connections.per.ip", limits.connections_per_address_max),
            ("fetch.max.bytes", limits.fetch_bytes_max),
            ("max.incremental.fetch.session.cache.slots", limits.fetch_sessions_max),
        ] {
            assert_eq!(default(key), Ok(limit as u64), "{key}");
        }
        let rate = u64::from(limits.connections_per_second_max);
        assert_eq!(default("max.connection.creation.rate"), Ok(rate));
        assert_eq!(default("connections.max.idle.ms"), Ok(limits.idle_ms_max));
    }

    #[test]
    fn the_budget_of_large_requests_is_what_is_given_or_our_own() {
        let home = tempfile::tempdir().unwrap();
        for (given, expected) in [("-1", 256 << 20), ("0", 256 << 20), ("104857600", 100 << 20)] {
            let options = Options::broker().set("queued.max.request.bytes", given).unwrap();
            let engine = Engine::open_with(home.path(), options).unwrap();
            let limits = Limits::standard().with_given(&engine.settings());
            assert_eq!(limits.queued_bytes_max, expected, "{given}");
            engine.shutdown().unwrap();
        }
    }
}
