//! Creating, growing and deleting topics.

use hanbeon_records::{NodeId, TopicId};

use crate::DescribedConfig;

/// A topic to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None` for `num.partitions`.
    pub partitions: Option<i32>,
    /// How many replicas; `None` for `default.replication.factor`.
    pub replication_factor: Option<i16>,
    /// Which replicas each partition has, instead of the two numbers.
    pub assignments: Vec<(i32, Vec<NodeId>)>,
    /// Settings.
    pub configs: Vec<(String, Option<String>)>,
}

impl NewTopic {
    /// A topic with this name and so many partitions.
    #[must_use]
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions: Some(partitions), ..Self::default() }
    }

    /// Gives it a setting.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.push((key.into(), Some(value.into())));
        self
    }
}

/// A topic that was created, or would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its identity.
    pub id: TopicId,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas.
    pub replication_factor: i16,
    /// All its settings, by name.
    pub configs: Vec<DescribedConfig>,
}
