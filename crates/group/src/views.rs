//! `DescribeGroups` and `ListGroups`.

use alloc::vec::Vec;

use crate::{
    Coordinator, Described, GroupError, GroupType, ListFilter, Listed, Name,
    coordinator::{Group, Phase},
};

impl<T> Coordinator<T> {
    /// `DescribeGroups` for one classic group.
    ///
    /// # Errors
    /// While the partition is loading, and for a name that no classic group has: before v6 that is answered as a group in
    /// [`State::Dead`](crate::State::Dead) without error.
    pub fn describe(&self, group: &Name) -> Result<Described, GroupError> {
        if self.phase == Phase::Loading {
            return Err(GroupError::Loading);
        }
        match self.groups.get(group).map(|entry| &entry.group) {
            Some(Group::Classic(classic)) => Ok(classic.describe()),
            Some(Group::Consumer(_)) | None => {
                Err(GroupError::GroupNotFound { group: group.clone() })
            }
        }
    }

    /// `ListGroups`: the groups that pass the filter, by name.
    ///
    /// # Errors
    /// While the partition is loading.
    pub fn list(&self, filter: &ListFilter) -> Result<Vec<Listed>, GroupError> {
        if self.phase == Phase::Loading {
            return Err(GroupError::Loading);
        }
        let passes = |words: &[Name], word: &str| {
            words.is_empty() || words.iter().any(|own| own.as_str().eq_ignore_ascii_case(word))
        };
        Ok(self
            .groups
            .iter()
            .map(|(name, entry)| match &entry.group {
                Group::Classic(classic) => Listed {
                    group: name.clone(),
                    protocol_type: classic.protocol_type().cloned().unwrap_or_else(Name::empty),
                    state: classic.state(),
                    group_type: GroupType::Classic,
                },
                Group::Consumer(live) => Listed {
                    group: name.clone(),
                    protocol_type: Name::new("consumer").unwrap_or_else(|_| Name::empty()),
                    state: live.state(),
                    group_type: GroupType::Consumer,
                },
            })
            .filter(|listed| passes(&filter.states, listed.state.name()))
            .filter(|listed| passes(&filter.types, listed.group_type.name()))
            .collect())
    }
}
