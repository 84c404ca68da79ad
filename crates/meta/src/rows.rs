//! The rows: typed values, each with a version of its own.
//!
//! A value is sealed (see `envelope`): version, checksum, and a payload in bincode's legacy form. No field is ever added to
//! a version in place; a wider row is a new version, and old ones go on being read. Golden bytes guard each version.

use std::collections::BTreeMap;

use bytes::Bytes;
use hanbeon_records::{LeaderEpoch, NodeId, PartitionEpoch, ProducerId, TopicId, TopicName};

use crate::{Damage, RowError, envelope, logged::LIMITS};

/// Most bytes of one row that is written; kept by the stores, see [`crate::Limits::value_bytes_max`].
pub(crate) const ROW_BYTES_MAX: usize = 1 << 20;
/// Most bytes that one row may make the decoder set aside. Earlier releases wrote rows as large as a whole transaction, and an entry of a map
/// takes up to three times the room that it has on the disk.
const DECODED_BYTES_MAX: usize = 3 * LIMITS.bytes_max;

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

/// The levels the cluster works at (KIP-584): what brokers may rely on all others to understand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeaturesRow {
    /// Number of the last change, from 1 on; it never falls. Clients take the levels with the highest one.
    pub epoch: i64,
    /// Levels by Kafka's names; a feature that is not there is off, at level 0.
    pub levels: BTreeMap<String, i16>,
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

/// An epoch at the `openings`-th opening that was `at_row` when a row of it was written.
pub(crate) fn epoch_at(openings: i32, at_row: i32, at_opening: i32) -> i32 {
    at_row.saturating_add(openings.saturating_sub(at_opening).max(0))
}

impl PartitionRow {
    /// The row as it would be written at the `openings`-th opening: both epochs go up by one with each.
    #[must_use]
    pub fn at(self, openings: i32) -> Self {
        let epoch = |at_row| epoch_at(openings, at_row, self.at_opening);
        Self {
            leader_epoch: LeaderEpoch::new(epoch(self.leader_epoch.get())),
            partition_epoch: PartitionEpoch::new(epoch(self.partition_epoch.get())),
            at_opening: openings,
            ..self
        }
    }
}

/// Configs of a topic, of brokers or of a group: only what was set, in Kafka's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configs(pub BTreeMap<String, String>);

/// Which producer ids were handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdsRow {
    /// The first id of the next block.
    pub next: ProducerId,
}

/// Which producer ids have epochs that power cuts have put in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoubtedIdsRow {
    /// The first that has not; it never falls.
    pub below: ProducerId,
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
    pub(super) struct Features {
        pub(super) epoch: i64,
        pub(super) levels: BTreeMap<String, i16>,
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

    #[derive(Encode, Decode)]
    pub(super) struct DoubtedIds {
        pub(super) below: i64,
    }
}

fn write<T: bincode::Encode>(kind: &'static str, version: u16, shape: T) -> Bytes {
    let config = bincode::config::legacy();
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
    let config = bincode::config::legacy().with_limit::<DECODED_BYTES_MAX>();
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

impl Row for FeaturesRow {
    const KIND: &'static str = "features";

    fn encode(&self) -> Bytes {
        let shape = v1::Features { epoch: self.epoch, levels: self.levels.clone() };
        write(Self::KIND, Self::VERSION, shape)
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let v1::Features { epoch, levels } = read(Self::KIND, Self::VERSION, bytes)?;
        Ok(Self { epoch, levels })
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

impl Row for DoubtedIdsRow {
    const KIND: &'static str = "doubted ids";

    fn encode(&self) -> Bytes {
        write(Self::KIND, Self::VERSION, v1::DoubtedIds { below: self.below.get() })
    }

    fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let v1::DoubtedIds { below } = read(Self::KIND, Self::VERSION, bytes)?;
        Ok(Self { below: ProducerId::new(below) })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Write};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    fn golden<T: Row + PartialEq + Debug>(row: &T, expected: &str) {
        let bytes = row.encode();
        assert_eq!(hex(&bytes), expected, "the bytes of {row:?} changed: this needs a new version");
        assert_eq!(T::decode(&bytes).as_ref(), Ok(row));
        for place in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[place] ^= 0x20;
            assert!(T::decode(&damaged).is_err(), "damage at {place} of {row:?}");
            assert!(T::decode(&bytes[..place]).is_err(), "{row:?} cut at {place}");
        }
        let extra = [&bytes[..], &[0]].concat();
        let damage = Damage::Long { extra: 1 };
        assert_eq!(T::decode(&extra), Err(RowError::Damaged { kind: T::KIND, damage }));
    }

    #[test]
    fn the_bytes_of_version_1_stay() {
        golden(
            &ClusterRow { cluster_id: "abc".to_owned() },
            "0000000b000148ecb5060300000000000000616263",
        );
        golden(&OpeningsRow { count: 3 }, "000000040001c840d5be03000000");
        let levels = [("group.version".to_owned(), 1), ("transaction.version".to_owned(), 2)];
        golden(
            &FeaturesRow { epoch: 7, levels: levels.into() },
            "000000440001b923de6c070000000000000002000000000000000d0000000000000067726f75702e76657273696f6e010013000000000000007472616e73616374696f6e2e76657273696f6e0200",
        );
        let name = TopicName::new("orders").unwrap();
        golden(
            &TopicRow { name, partition_count: 3, replication_factor: 1 },
            "00000014000198714f4906000000000000006f7264657273030000000100",
        );
        golden(
            &TopicNameRow { id: TopicId::new([9; 16]) },
            "00000010000147bde61209090909090909090909090909090909",
        );
        let row = PartitionRow {
            replicas: vec![NodeId::new(1), NodeId::new(2)],
            isr: vec![NodeId::new(1)],
            leader: Some(NodeId::new(1)),
            leader_epoch: LeaderEpoch::new(5),
            partition_epoch: PartitionEpoch::new(6),
            at_opening: 7,
        };
        golden(
            &row,
            "0000002c0001e0cc0eda0200000000000000010000000200000001000000000000000100000001000000050000000600000007000000",
        );
        let headless = PartitionRow { leader: None, isr: Vec::new(), ..row };
        assert_eq!(PartitionRow::decode(&headless.encode()), Ok(headless));
        let entries =
            [("a", "1"), ("b", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        golden(
            &Configs(entries.into()),
            "0000002b0001a7ccaaf602000000000000000100000000000000610100000000000000310100000000000000620000000000000000",
        );
        golden(
            &ProducerIdsRow { next: ProducerId::new(1000) },
            "00000008000178e2f700e803000000000000",
        );
        golden(
            &DoubtedIdsRow { below: ProducerId::new(1000) },
            "00000008000116e23cabe803000000000000",
        );
    }

    #[test]
    fn a_row_of_another_kind_or_a_later_version_does_not_pass() {
        let openings = OpeningsRow { count: 1 }.encode();
        assert!(matches!(ProducerIdsRow::decode(&openings), Err(RowError::Damaged { .. })));
        let mut later = Vec::new();
        envelope::seal(OpeningsRow::KIND.as_bytes(), 2, b"whatever", &mut later);
        let expected = RowError::Newer { kind: OpeningsRow::KIND, found: 2, known: 1 };
        assert_eq!(OpeningsRow::decode(&later), Err(expected));
    }

    #[test]
    fn rows_as_large_as_earlier_releases_wrote_them_open() {
        let long = Configs([("a".to_owned(), "x".repeat(LIMITS.bytes_max - 100))].into());
        assert_eq!(Configs::decode(&long.encode()).as_ref(), Ok(&long));
        let many = (0..800_000).map(|number| (format!("{number:06}"), String::new()));
        let many = Configs(many.collect());
        assert_eq!(Configs::decode(&many.encode()).as_ref(), Ok(&many));
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut payload = u64::MAX.to_le_bytes().to_vec();
        payload.extend_from_slice(b"abc");
        let mut sealed = Vec::new();
        envelope::seal(ClusterRow::KIND.as_bytes(), 1, &payload, &mut sealed);
        assert!(matches!(ClusterRow::decode(&sealed), Err(RowError::Damaged { .. })));
    }
}
