//! The APIs of the protocol: keys, the versions we can read, and the list that a broker advertises.

use core::fmt;

use crate::error::WireError;

/// An inclusive range of versions of one API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Versions {
    /// The oldest.
    pub min: i16,
    /// The newest.
    pub max: i16,
}

impl Versions {
    /// The versions from `min` to `max`, both included.
    #[must_use]
    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    /// Whether `version` is one of them.
    #[must_use]
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.min, self.max)
    }
}

macro_rules! api_keys {
    ($($number:literal $name:ident $kafka:literal $flexible:literal $min:literal $max:literal)*) => {
        /// An API that clients and brokers use (`org.apache.kafka.common.protocol.ApiKeys`, Kafka 4.3).
        ///
        /// Controller and quorum APIs are not here: on a broker's listener they are unknown keys, as in Kafka.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(#[doc = concat!("`", $kafka, "`.")] $name = $number,)*
        }

        impl ApiKey {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The API with this key.
            #[must_use]
            pub const fn from_number(number: i16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name in Kafka's sources and tools.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $kafka,)*
                }
            }

            /// The first version with compact types and tags, and so with request header 2 and response header 1.
            #[must_use]
            pub const fn flexible_since(self) -> i16 {
                match self {
                    $(Self::$name => $flexible,)*
                }
            }

            /// The versions that Kafka 4.3 knows and this crate may come to read.
            #[must_use]
            const fn known(self) -> Versions {
                match self {
                    $(Self::$name => Versions::new($min, $max),)*
                }
            }
        }
    };
}

api_keys! {
    0 Produce "Produce" 9 3 13
    1 Fetch "Fetch" 12 4 18
    2 ListOffsets "ListOffsets" 6 1 11
    3 Metadata "Metadata" 9 0 13
    8 OffsetCommit "OffsetCommit" 8 2 10
    9 OffsetFetch "OffsetFetch" 6 1 10
    10 FindCoordinator "FindCoordinator" 3 0 6
    11 JoinGroup "JoinGroup" 6 0 9
    12 Heartbeat "Heartbeat" 4 0 4
    13 LeaveGroup "LeaveGroup" 4 0 5
    14 SyncGroup "SyncGroup" 4 0 5
    15 DescribeGroups "DescribeGroups" 5 0 6
    16 ListGroups "ListGroups" 3 0 5
    17 SaslHandshake "SaslHandshake" 0x7fff 0 1
    18 ApiVersions "ApiVersions" 3 0 4
    19 CreateTopics "CreateTopics" 5 2 7
    20 DeleteTopics "DeleteTopics" 4 1 6
    21 DeleteRecords "DeleteRecords" 2 0 2
    22 InitProducerId "InitProducerId" 2 0 6
    23 OffsetForLeaderEpoch "OffsetForLeaderEpoch" 4 2 4
    24 AddPartitionsToTxn "AddPartitionsToTxn" 3 0 5
    25 AddOffsetsToTxn "AddOffsetsToTxn" 3 0 4
    26 EndTxn "EndTxn" 3 0 5
    27 WriteTxnMarkers "WriteTxnMarkers" 1 1 2
    28 TxnOffsetCommit "TxnOffsetCommit" 3 0 5
    29 DescribeAcls "DescribeAcls" 2 1 3
    30 CreateAcls "CreateAcls" 2 1 3
    31 DeleteAcls "DeleteAcls" 2 1 3
    32 DescribeConfigs "DescribeConfigs" 4 1 4
    33 AlterConfigs "AlterConfigs" 2 0 2
    34 AlterReplicaLogDirs "AlterReplicaLogDirs" 2 1 2
    35 DescribeLogDirs "DescribeLogDirs" 2 1 5
    36 SaslAuthenticate "SaslAuthenticate" 2 0 2
    37 CreatePartitions "CreatePartitions" 2 0 3
    42 DeleteGroups "DeleteGroups" 2 0 2
    43 ElectLeaders "ElectLeaders" 2 0 2
    44 IncrementalAlterConfigs "IncrementalAlterConfigs" 1 0 1
    45 AlterPartitionReassignments "AlterPartitionReassignments" 0 0 1
    46 ListPartitionReassignments "ListPartitionReassignments" 0 0 0
    47 OffsetDelete "OffsetDelete" 0x7fff 0 0
    48 DescribeClientQuotas "DescribeClientQuotas" 1 0 1
    49 AlterClientQuotas "AlterClientQuotas" 1 0 1
    50 DescribeUserScramCredentials "DescribeUserScramCredentials" 0 0 0
    51 AlterUserScramCredentials "AlterUserScramCredentials" 0 0 0
    55 DescribeQuorum "DescribeQuorum" 0 0 2
    57 UpdateFeatures "UpdateFeatures" 0 0 2
    60 DescribeCluster "DescribeCluster" 0 0 2
    61 DescribeProducers "DescribeProducers" 0 0 0
    65 DescribeTransactions "DescribeTransactions" 0 0 0
    66 ListTransactions "ListTransactions" 0 0 2
    68 ConsumerGroupHeartbeat "ConsumerGroupHeartbeat" 0 0 1
    69 ConsumerGroupDescribe "ConsumerGroupDescribe" 0 0 1
    74 ListConfigResources "ListConfigResources" 0 0 1
    75 DescribeTopicPartitions "DescribeTopicPartitions" 0 0 0
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ApiKey {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// Whether `version` has compact types, tags and the newer headers.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_since()
    }

    /// The versions this crate reads and answers, unstable ones included, or `None` for an API that it cannot read yet.
    #[must_use]
    pub const fn readable(self) -> Option<Versions> {
        match self {
            Self::Produce
            | Self::Fetch
            | Self::ListOffsets
            | Self::Metadata
            | Self::OffsetCommit
            | Self::OffsetFetch
            | Self::FindCoordinator
            | Self::JoinGroup
            | Self::Heartbeat
            | Self::LeaveGroup
            | Self::SyncGroup
            | Self::DescribeGroups
            | Self::ListGroups
            | Self::ApiVersions
            | Self::CreateTopics
            | Self::DeleteTopics
            | Self::DeleteRecords
            | Self::InitProducerId
            | Self::OffsetForLeaderEpoch
            | Self::AddPartitionsToTxn
            | Self::AddOffsetsToTxn
            | Self::EndTxn
            | Self::WriteTxnMarkers
            | Self::TxnOffsetCommit
            | Self::DescribeConfigs
            | Self::AlterConfigs
            | Self::DescribeLogDirs
            | Self::CreatePartitions
            | Self::DeleteGroups
            | Self::ElectLeaders
            | Self::IncrementalAlterConfigs
            | Self::OffsetDelete
            | Self::UpdateFeatures
            | Self::DescribeCluster
            | Self::DescribeProducers
            | Self::DescribeTransactions
            | Self::ListTransactions
            | Self::SaslHandshake
            | Self::ConsumerGroupHeartbeat
            | Self::ConsumerGroupDescribe
            | Self::ListConfigResources
            | Self::DescribeTopicPartitions => Some(self.known()),
            Self::DescribeAcls
            | Self::CreateAcls
            | Self::DeleteAcls
            | Self::AlterReplicaLogDirs
            | Self::SaslAuthenticate
            | Self::AlterPartitionReassignments
            | Self::ListPartitionReassignments
            | Self::DescribeClientQuotas
            | Self::AlterClientQuotas
            | Self::DescribeUserScramCredentials
            | Self::AlterUserScramCredentials
            | Self::DescribeQuorum => None,
        }
    }

    /// The newest version that Kafka 4.3 serves without being told to serve unstable ones.
    ///
    /// What is above it may still change its form: only version 6 of `InitProducerId` is (KIP-939, two-phase commit).
    #[must_use]
    const fn stable_max(self) -> i16 {
        if matches!(self, Self::InitProducerId) { 5 } else { self.known().max }
    }

    /// Whether a client may send it before it has proven who it is.
    #[must_use]
    pub const fn precedes_authentication(self) -> bool {
        matches!(self, Self::ApiVersions | Self::SaslHandshake | Self::SaslAuthenticate)
    }
}

/// What a broker says it serves, and nothing else is served.
///
/// Clients choose the newest version of the list and cannot step back, so an API stands here only when every version of its range
/// is answered in earnest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// By key, each key once.
    ranges: Vec<(ApiKey, Versions)>,
}

impl Advertised {
    /// A broker that answers the APIs of `apis` in every stable version that this crate reads; others are left out.
    ///
    /// Produce is advertised from 0 although versions 0 to 2 are refused by closing (KAFKA-18659): librdkafka before 2.11.1 asks for
    /// version 0 to decide whether it may compress, and otherwise sends batches uncompressed without a word.
    #[must_use]
    pub fn new(apis: &[ApiKey]) -> Self {
        let mut ranges: Vec<_> = apis
            .iter()
            .filter_map(|&api| {
                let versions = api.readable()?;
                let min = if api == ApiKey::Produce { 0 } else { versions.min };
                Some((api, Versions::new(min, versions.max.min(api.stable_max()))))
            })
            .collect();
        ranges.sort_by_key(|&(api, _)| api);
        ranges.dedup_by_key(|&mut (api, _)| api);
        Self { ranges }
    }

    /// The same APIs with their unstable versions too, as Kafka does under `unstable.api.versions.enable`: `InitProducerId` 6 (KIP-939).
    ///
    /// Without this an unstable version is neither listed nor served, and who sends it all the same is cut off.
    #[must_use]
    pub fn with_unstable_versions(mut self) -> Self {
        for (api, versions) in &mut self.ranges {
            versions.max = api.known().max;
        }
        self
    }

    /// Every API that this crate can read, in its stable versions.
    #[must_use]
    pub fn everything_readable() -> Self {
        Self::new(ApiKey::ALL)
    }

    /// The list as `ApiVersions` shows it, by key.
    #[must_use]
    pub fn ranges(&self) -> &[(ApiKey, Versions)] {
        &self.ranges
    }

    /// The advertised versions of one API.
    #[must_use]
    pub fn versions(&self, api: ApiKey) -> Option<Versions> {
        let at = self.ranges.binary_search_by_key(&api, |&(key, _)| key).ok()?;
        self.ranges.get(at).map(|&(_, versions)| versions)
    }

    /// Finds the API of a request and checks that its version is served.
    ///
    /// An unknown version of `ApiVersions` passes: it has an answer (KIP-511).
    ///
    /// # Errors
    /// The key is unknown or not advertised, or the version is not served; the connection is to be closed.
    pub fn check(&self, key: i16, version: i16) -> Result<ApiKey, WireError> {
        let api = ApiKey::from_number(key).ok_or(WireError::UnknownApi { key })?;
        let (Some(advertised), Some(readable)) = (self.versions(api), api.readable()) else {
            return Err(WireError::UnknownApi { key });
        };
        let supported = Versions::new(advertised.min.max(readable.min), advertised.max);
        if supported.contains(version) || api == ApiKey::ApiVersions {
            return Ok(api);
        }
        Err(WireError::UnsupportedVersion { api, found: version, supported })
    }
}
