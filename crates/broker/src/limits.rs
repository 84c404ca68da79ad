//! What one client, and all of them together, may take from the broker.

/// Limits that concern connections and memory. Kafka has no counterpart for most of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request in bytes (`socket.request.max.bytes`).
    pub request_bytes_max: usize,
    /// Bytes of large requests that are held at once, over all connections (`queued.max.request.bytes`).
    pub queued_bytes_max: usize,
    /// Open connections (`max.connections`).
    pub connections_max: usize,
    /// Open connections from one address (`max.connections.per.ip`).
    pub connections_per_address_max: usize,
    /// Connections accepted in a second (`max.connection.creation.rate`).
    pub connections_per_second_max: u32,
    /// Milliseconds without a request after which a connection is closed (`connections.max.idle.ms`).
    pub idle_ms_max: u64,
    /// Milliseconds that a begun request may take to arrive, unless it comes at 8 KiB a second or more.
    pub request_ms_max: u64,
    /// Milliseconds that a client may leave an answer unread.
    pub answer_ms_max: u64,
    /// Bytes of answers that may wait for a client to read them, and of what one answer describes before it refuses to describe more.
    pub answer_bytes_max: usize,
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
            connections_per_second_max: 200,
            idle_ms_max: 600_000,
            request_ms_max: 30_000,
            answer_ms_max: 60_000,
            answer_bytes_max: 64 * 1024 * 1024,
            fetch_sessions_max: 10_000,
        }
    }
}
