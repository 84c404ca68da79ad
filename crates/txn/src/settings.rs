//! What does not change from request to request.

/// Which rules a request or an end follows.
///
/// Decided for each request by its own version, never by the cluster's feature level: old and new clients live side by
/// side (KIP-890 part 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Transaction version 0 and 1: the epoch stays from one transaction to the next.
    V1,
    /// Transaction version 2: every end raises the epoch, so that a pair of producer id and epoch names one transaction.
    V2,
}

impl Protocol {
    /// What an `EndTxn` of this version follows.
    #[must_use]
    pub const fn of_end_txn(version: i16) -> Self {
        if version >= 5 { Self::V2 } else { Self::V1 }
    }

    /// What an `AddPartitionsToTxn` of this version that is not verify-only follows.
    #[must_use]
    pub const fn of_add_partitions(version: i16) -> Self {
        if version >= 4 { Self::V2 } else { Self::V1 }
    }

    /// The number in the log's `ClientTransactionVersion`.
    #[must_use]
    pub const fn client_version(self) -> i16 {
        match self {
            Self::V1 => 0,
            Self::V2 => 2,
        }
    }

    pub(crate) const fn of_client_version(version: i16) -> Self {
        if version >= 2 { Self::V2 } else { Self::V1 }
    }
}

/// Whether transactions may wait for an outside coordinator (KIP-939): they have no timeout then, and one that is
/// forgotten stops every `read_committed` reader of its partitions for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TwoPhaseCommit {
    /// No (`transaction.two.phase.commit.enable=false`).
    Off,
    /// Yes.
    On,
}

/// Which form new values of the log take. All forms are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueVersion {
    /// Transaction version 0: cannot carry rotation and retry fields, so after a failover a retry is fenced. Values of [`Protocol::V2`] never
    /// take it.
    V0,
    /// Transaction version 1 and later.
    V1,
}

/// What the operator decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Longest timeout a client may ask for, milliseconds (`transaction.max.timeout.ms`).
    pub timeout_ms_max: i32,
    /// How long an id may be idle before it is forgotten, milliseconds (`transactional.id.expiration.ms`).
    pub id_expiration_ms: i64,
    /// Whether transactions without timeout are allowed.
    pub two_phase_commit: TwoPhaseCommit,
    /// What an end follows that the coordinator begins itself: the finalized `transaction.version`, [`Protocol::V2`] from 2
    /// on.
    pub server_protocol: Protocol,
    /// How values are written: [`ValueVersion::V1`] once the finalized `transaction.version` is at least 1.
    pub value_version: ValueVersion,
}

impl Settings {
    /// What a broker of Kafka 4.3 decides with: transactions of at most 15 minutes, ids forgotten after 7 days, no two-phase commit,
    /// `transaction.version` 2.
    #[must_use]
    pub const fn kafka_defaults() -> Self {
        Self {
            timeout_ms_max: 15 * 60 * 1000,
            id_expiration_ms: 7 * 24 * 60 * 60 * 1000,
            two_phase_commit: TwoPhaseCommit::Off,
            server_protocol: Protocol::V2,
            value_version: ValueVersion::V1,
        }
    }
}
