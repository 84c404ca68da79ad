//! `meta.properties`: whose data directory this is (Kafka's file, Java properties).

use hanbeon_log::{Dir, FileName, LogError, checkpoint};
use hanbeon_records::{NodeId, TopicId};

use crate::error::MetaPropertiesError;

pub(crate) const FILE_NAME: &str = "meta.properties";

/// Whose a data directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// 22 characters of base64 in a directory made here; any text in one that Kafka made.
    pub(crate) cluster_id: String,
    pub(crate) node_id: NodeId,
    /// 22 characters of base64; none in Kafka's version 0.
    pub(crate) directory_id: Option<String>,
}

/// A random identity in Kafka's way: a version 4 UUID in URL-safe base64 that does not begin with a dash, because tools would take
/// it for an option (`org.apache.kafka.common.Uuid.randomUuid`).
pub(crate) fn random_id(random: impl Fn() -> u64) -> TopicId {
    loop {
        let mut raw = [0; 16];
        for (half, word) in raw.chunks_exact_mut(8).zip([random(), random()]) {
            half.copy_from_slice(&word.to_be_bytes());
        }
        raw[6] = (raw[6] & 0x0f) | 0x40;
        raw[8] = (raw[8] & 0x3f) | 0x80;
        let id = TopicId::new(raw);
        // The zero id and id 1 are Kafka's own; the version bits keep us from both.
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

impl Identity {
    /// Reads the file of a data directory; `None` when there is none.
    pub(crate) fn read<D: Dir>(
        dir: &D,
        name: &FileName,
    ) -> Result<Option<Result<Self, MetaPropertiesError>>, LogError> {
        Ok(checkpoint::read_small(dir, name)?.map(|bytes| Self::parse(&bytes)))
    }

    /// Writes the file, aside and renamed.
    pub(crate) fn write<D: Dir>(&self, dir: &D, name: &FileName) -> Result<(), LogError> {
        checkpoint::write_atomically(dir, name, &self.format())
    }

    fn parse(bytes: &[u8]) -> Result<Self, MetaPropertiesError> {
        let text = String::from_utf8_lossy(bytes);
        let field = |key: &'static str| {
            text.lines()
                .map(str::trim_start)
                .filter(|line| !line.starts_with(['#', '!']))
                .filter_map(|line| line.split_once(['=', ':']))
                .find(|(name, _)| name.trim() == key)
                // Java's writer puts a backslash before '=' and ':' in values.
                .map(|(_, value)| value.trim().replace('\\', ""))
        };
        let version = field("version").ok_or(MetaPropertiesError::Missing { key: "version" })?;
        let node_key = match version.as_str() {
            "0" => "broker.id",
            "1" => "node.id",
            _ => return Err(MetaPropertiesError::Version { found: version }),
        };
        let node = field(node_key).ok_or(MetaPropertiesError::Missing { key: node_key })?;
        let node_id =
            node.parse().ok().filter(|id: &i32| *id >= 0).ok_or(MetaPropertiesError::Value {
                key: node_key,
                expected: "a whole number of 0 or more",
                found: node,
            })?;
        Ok(Self {
            cluster_id: field("cluster.id")
                .ok_or(MetaPropertiesError::Missing { key: "cluster.id" })?,
            node_id: NodeId::new(node_id),
            directory_id: field("directory.id"),
        })
    }

    fn format(&self) -> Vec<u8> {
        let Self { cluster_id, node_id, directory_id } = self;
        let mut text = format!("version=1\ncluster.id={cluster_id}\nnode.id={node_id}\n");
        if let Some(id) = directory_id {
            text.push_str("directory.id=");
            text.push_str(id);
            text.push('\n');
        }
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafkas_file_is_read_and_ours_leads_back() {
        let kafkas = b"#\n#Sat Nov 21 04:33:34 UTC 2026\nnode.id=1\ndirectory.id=NwclIR_IQLhY4KNLZPt_BA\nversion=1\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\n";
        let identity = Identity::parse(kafkas).unwrap();
        assert_eq!(identity.cluster_id, "MkU3OEVBNTcwNTJENDM2Qg");
        assert_eq!(identity.node_id, NodeId::new(1));
        assert_eq!(Identity::parse(&identity.format()).unwrap(), identity);
        let old = Identity::parse(b"version=0\nbroker.id=3\ncluster.id=x\n").unwrap();
        assert_eq!((old.node_id, old.directory_id), (NodeId::new(3), None));
    }

    #[test]
    fn what_is_missing_or_newer_is_said() {
        assert_eq!(
            Identity::parse(b"cluster.id=x\n"),
            Err(MetaPropertiesError::Missing { key: "version" })
        );
        assert_eq!(
            Identity::parse(b"version=2\n"),
            Err(MetaPropertiesError::Version { found: "2".to_owned() })
        );
        assert!(matches!(
            Identity::parse(b"version=1\nnode.id=-4\ncluster.id=x\n"),
            Err(MetaPropertiesError::Value { key: "node.id", .. })
        ));
    }

    #[test]
    fn ids_are_22_characters_and_never_look_like_an_option() {
        let state = std::cell::Cell::new(0_u64);
        let random = || {
            state.set(state.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
            state.get()
        };
        for _ in 0..500 {
            let id = random_id(random).to_string();
            assert_eq!(id.len(), 22);
            assert!(!id.starts_with('-'));
        }
    }
}
