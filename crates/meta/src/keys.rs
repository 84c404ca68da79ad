//! Which row lies under which key (`c/meta`, `t/{topic id}`, `p/{topic id}/{partition}`, ...).

use hanbeon_records::{NodeId, TopicId, TopicName};

use crate::Key;

/// Whose configs a row holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigScope {
    /// A topic's.
    Topic(TopicName),
    /// One broker's.
    Broker(NodeId),
    /// All brokers' (the cluster-wide default).
    Brokers,
    /// A group's, whether it exists yet or not; its id may be any text but the empty one.
    Group(String),
}

/// The place of a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// [`crate::ClusterRow`].
    Cluster,
    /// [`crate::OpeningsRow`].
    Openings,
    /// [`crate::FeaturesRow`].
    Features,
    /// [`crate::TopicRow`].
    Topic(TopicId),
    /// [`crate::TopicNameRow`].
    TopicName(TopicName),
    /// [`crate::PartitionRow`].
    Partition(TopicId, i32),
    /// [`crate::Configs`].
    Configs(ConfigScope),
    /// [`crate::ProducerIdsRow`].
    ProducerIds,
    /// [`crate::DoubtedIdsRow`].
    DoubtedIds,
}

impl RowKey {
    /// The key in the store.
    #[must_use]
    pub fn key(&self) -> Key {
        let text = match self {
            Self::Cluster => "c/meta".to_owned(),
            Self::Openings => "c/openings".to_owned(),
            Self::Features => "c/features".to_owned(),
            Self::Topic(id) => format!("t/{id}"),
            Self::TopicName(name) => format!("n/{name}"),
            // Ten digits, so that the order of keys is the order of partitions.
            Self::Partition(id, number) => format!("p/{id}/{number:010}"),
            Self::Configs(ConfigScope::Topic(name)) => format!("cfg/topic/{name}"),
            Self::Configs(ConfigScope::Broker(node)) => format!("cfg/broker/{node}"),
            Self::Configs(ConfigScope::Brokers) => "cfg/broker/".to_owned(),
            Self::Configs(ConfigScope::Group(id)) => format!("cfg/group/{id}"),
            Self::ProducerIds => "pid/next".to_owned(),
            Self::DoubtedIds => "pid/doubted".to_owned(),
        };
        Key::new(&text)
    }

    /// Which row lies under `key`; `None` for keys of others, which are left alone.
    #[must_use]
    pub fn parse(key: &Key) -> Option<Self> {
        let (family, rest) = key.as_str().split_once('/')?;
        match (family, rest) {
            ("c", "meta") => Some(Self::Cluster),
            ("c", "openings") => Some(Self::Openings),
            ("c", "features") => Some(Self::Features),
            ("pid", "next") => Some(Self::ProducerIds),
            ("pid", "doubted") => Some(Self::DoubtedIds),
            ("t", id) => Some(Self::Topic(id.parse().ok()?)),
            ("n", name) => Some(Self::TopicName(TopicName::new(name).ok()?)),
            ("p", rest) => {
                let (id, number) = rest.split_once('/')?;
                Some(Self::Partition(id.parse().ok()?, number.parse().ok()?))
            }
            ("cfg", "broker/") => Some(Self::Configs(ConfigScope::Brokers)),
            ("cfg", rest) => match rest.split_once('/')? {
                ("topic", name) => {
                    Some(Self::Configs(ConfigScope::Topic(TopicName::new(name).ok()?)))
                }
                ("broker", node) => {
                    Some(Self::Configs(ConfigScope::Broker(NodeId::new(node.parse().ok()?))))
                }
                ("group", id) if !id.is_empty() => {
                    Some(Self::Configs(ConfigScope::Group(id.to_owned())))
                }
                _ => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_back_to_their_rows() {
        let id = TopicId::new([0xfb; 16]);
        let name = TopicName::new("a.b_c-d").unwrap();
        for row in [
            RowKey::Cluster,
            RowKey::Openings,
            RowKey::Features,
            RowKey::Topic(id),
            RowKey::TopicName(name.clone()),
            RowKey::Partition(id, 0),
            RowKey::Partition(id, i32::MAX),
            RowKey::Configs(ConfigScope::Topic(name)),
            RowKey::Configs(ConfigScope::Broker(NodeId::new(7))),
            RowKey::Configs(ConfigScope::Brokers),
            RowKey::Configs(ConfigScope::Group("a/b c".to_owned())),
            RowKey::ProducerIds,
            RowKey::DoubtedIds,
        ] {
            assert_eq!(RowKey::parse(&row.key()), Some(row.clone()), "{}", row.key());
        }
        for foreign in [
            "",
            "c",
            "c/else",
            "t/",
            "n/",
            "p/x/1",
            "cfg/user/x",
            "cfg/topic/",
            "cfg/group/",
            "b/1/reg",
        ] {
            assert_eq!(RowKey::parse(&Key::new(foreign)), None, "{foreign}");
        }
    }

    #[test]
    fn partitions_sort_by_number() {
        let id = TopicId::new([1; 16]);
        let keys: Vec<_> = [2, 10, 100].map(|number| RowKey::Partition(id, number).key()).into();
        assert!(keys.is_sorted());
    }
}
