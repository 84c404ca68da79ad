//! The rows: typed values, each with a version of its own.
//!
//! A value is sealed (see `envelope`): version, checksum, and a payload in bincode's legacy form. No field is ever added to
//! a version in place; a wider row is a new version, and old ones go on being read. Golden bytes guard each version.

use std::collections::BTreeMap;

use bytes::Bytes;
use hanbeon_records::{LeaderEpoch, NodeId, PartitionEpoch, ProducerId, TopicId, TopicName};

use crate::{Damage, RowError, envelope};

/// Most bytes that one row may make the decoder set aside.
const ROW_BYTES_MAX: usize = 1 << 20;

/// A typed value.
pub trait Row: Sized {
    /// What kind of row it is, for messages; part of the checksum.
    const KIND: &'static str;
    /// The version that is written.
    const VERSION: u16 = 1;

    /// The bytes to store.
    #[must_use]
    fn encode(&self) -> Bytes;

    /// Reads what [`Row::encode`] wrote.
    ///
    /// # Errors
    /// [`RowError`] for damaged bytes and for a version that only a later release knows.
    fn decode(bytes: &[u8]) -> Result<Self, RowError>;
}

/// The cluster: written once, when the data directory is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRow {
    /// `cluster.id` of `meta.properties`; normally 22 characters of base64, but any text is kept.
    pub cluster_id: String,
}

/// How often the data directory of a single node was opened.
///
/// On one node the leader epoch and the partition epoch of every partition go up by one at each opening. This one row says
/// so for all of them: a [`PartitionRow`] notes the count it was written at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpeningsRow {
    /// The count.
    pub count: i32,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRow {
    /// Its name.
    pub name: TopicName,
    /// How many partitions it has.
    pub partition_count: i32,
    /// How many replicas each was created with.
    pub replication_factor: i16,
}

/// Which topic has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicNameRow {
    /// The topic.
    pub id: TopicId,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// All replicas; the first is the preferred leader.
    pub replicas: Vec<NodeId>,
    /// Those in sync.
    pub isr: Vec<NodeId>,
    /// Who leads, if anybody does.
    pub leader: Option<NodeId>,
    /// Leader epoch when the row was written.
    pub leader_epoch: LeaderEpoch,
    /// Partition epoch when the row was written.
    pub partition_epoch: PartitionEpoch,
    /// [`OpeningsRow::count`] when the row was written.
    pub at_opening: i32,
}

/// Configs of a topic or of brokers: only what was set, in Kafka's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configs(pub BTreeMap<String, String>);

/// Which producer ids were handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdsRow {
    /// The first id of the next block.
    pub next: ProducerId,
}

/// The shapes on disk. Plain integers and texts only, so that a change of the types above cannot change the bytes.
mod v1 {
    use std::collections::BTreeMap;

    use bincode::{Decode, Encode};

    #[derive(Encode, Decode)]
    pub(super) struct Cluster {
        pub(super) cluster_id: String,
    }

    #[derive(Encode, Decode)]
    pub(super) struct Openings {
        pub(super) count: i32,
    }

    #[derive(Encode, Decode)]
    pub(super) struct Topic {
        pub(super) name: String,
        pub(super) partition_count: i32,
        pub(super) replication_factor: i16,
    }

    #[derive(Encode, Decode)]
    pub(super) struct TopicName {
        pub(super) id: [u8; 16],
    }

    #[derive(Encode, Decode)]
    pub(super) struct Partition {
        pub(super) replicas: Vec<i32>,
        pub(super) isr: Vec<i32>,
        /// -1 for none.
        pub(super) leader: i32,
        pub(super) leader_epoch: i32,
        pub(super) partition_epoch: i32,
        pub(super) at_opening: i32,
    }

    #[derive(Encode, Decode)]
    pub(super) struct Configs {
        pub(super) entries: BTreeMap<String, String>,
    }

    #[derive(Encode, Decode)]
    pub(super) struct ProducerIds {
        pub(super) next: i64,
    }
}

fn write<T: bincode::Encode>(kind: &'static str, version: u16, shape: T) -> Bytes {
    let config = bincode::config::legacy().with_limit::<ROW_BYTES_MAX>();
    #[expect(clippy::expect_used, reason = "integers and texts always encode into a vector")]
    let payload = bincode::encode_to_vec(shape, config).expect("a row encodes");
    let mut bytes = Vec::with_capacity(payload.len().saturating_add(envelope::HEADER_LEN));
    envelope::seal(kind.as_bytes(), version, &payload, &mut bytes);
    bytes.into()
}

fn read<T: bincode::Decode<()>>(
    kind: &'static str,
    known: u16,
    bytes: &[u8],
) -> Result<T, RowError> {
    let damaged = |damage| RowError::Damaged { kind, damage };
    let opened = envelope::open(kind.as_bytes(), bytes).map_err(damaged)?;
    if !opened.rest.is_empty() {
        return Err(damaged(Damage::Long { extra: opened.rest.len() }));
    }
    // Versions begin at 1; 0 was never written.
    if opened.version > known {
        return Err(RowError::Newer { kind, found: opened.version, known });
    }
    let config = bincode::config::legacy().with_limit::<ROW_BYTES_MAX>();
    match bincode::decode_from_slice::<T, _>(opened.payload, config) {
        Ok((shape, used)) if used == opened.payload.len() && opened.version > 0 => Ok(shape),
        Ok(_) | Err(_) => Err(damaged(Damage::Payload { what: kind })),
    }
}

fn numbers(nodes: &[NodeId]) -> Vec<i32> {
    nodes.iter().map(|node| node.get()).collect()
}

fn nodes(numbers: Vec<i32>) -> Vec<NodeId> {
    numbers.into_iter().map(NodeId::new).collect()
}

impl Row for ClusterRow {
    const KIND: &'static str = "cluster";

    fn encode(&self) -> Bytes {
        write(Self::KIND, Self::VERSION, v1::Cluster { cluster_id: self.cluster_id.clone() })
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let v1::Cluster { cluster_id } = read(Self::KIND, Self::VERSION, bytes)?;
        Ok(Self { cluster_id })
    }
}

impl Row for OpeningsRow {
    const KIND: &'static str = "openings";

    fn encode(&self) -> Bytes {
        write(Self::KIND, Self::VERSION, v1::Openings { count: self.count })
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let v1::Openings { count } = read(Self::KIND, Self::VERSION, bytes)?;
        Ok(Self { count })
    }
}

impl Row for TopicRow {
    const KIND: &'static str = "topic";

    fn encode(&self) -> Bytes {
        let Self { name, partition_count, replication_factor } = self;
        let shape = v1::Topic {
            name: name.as_str().to_owned(),
            partition_count: *partition_count,
            replication_factor: *replication_factor,
        };
        write(Self::KIND, Self::VERSION, shape)
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let shape: v1::Topic = read(Self::KIND, Self::VERSION, bytes)?;
        let damage = Damage::Payload { what: "topic name" };
        match TopicName::new(&shape.name) {
            Ok(name) => Ok(Self {
                name,
                partition_count: shape.partition_count,
                replication_factor: shape.replication_factor,
            }),
            Err(_) => Err(RowError::Damaged { kind: Self::KIND, damage }),
        }
    }
}

impl Row for TopicNameRow {
    const KIND: &'static str = "topic name";

    fn encode(&self) -> Bytes {
        write(Self::KIND, Self::VERSION, v1::TopicName { id: self.id.get() })
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let v1::TopicName { id } = read(Self::KIND, Self::VERSION, bytes)?;
        Ok(Self { id: TopicId::new(id) })
    }
}

impl Row for PartitionRow {
    const KIND: &'static str = "partition";

    fn encode(&self) -> Bytes {
        let shape = v1::Partition {
            replicas: numbers(&self.replicas),
            isr: numbers(&self.isr),
            leader: self.leader.map_or(-1, NodeId::get),
            leader_epoch: self.leader_epoch.get(),
            partition_epoch: self.partition_epoch.get(),
            at_opening: self.at_opening,
        };
        write(Self::KIND, Self::VERSION, shape)
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let shape: v1::Partition = read(Self::KIND, Self::VERSION, bytes)?;
        Ok(Self {
            replicas: nodes(shape.replicas),
            isr: nodes(shape.isr),
            leader: (shape.leader >= 0).then_some(NodeId::new(shape.leader)),
            leader_epoch: LeaderEpoch::new(shape.leader_epoch),
            partition_epoch: PartitionEpoch::new(shape.partition_epoch),
            at_opening: shape.at_opening,
        })
    }
}

impl Row for Configs {
    const KIND: &'static str = "configs";

    fn encode(&self) -> Bytes {
        write(Self::KIND, Self::VERSION, v1::Configs { entries: self.0.clone() })
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let v1::Configs { entries } = read(Self::KIND, Self::VERSION, bytes)?;
        Ok(Self(entries))
    }
}

impl Row for ProducerIdsRow {
    const KIND: &'static str = "producer ids";

    fn encode(&self) -> Bytes {
        write(Self::KIND, Self::VERSION, v1::ProducerIds { next: self.next.get() })
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let v1::ProducerIds { next } = read(Self::KIND, Self::VERSION, bytes)?;
        Ok(Self { next: ProducerId::new(next) })
    }
}
