//! Features: behaviours of the whole cluster that are raised and lowered as one (KIP-584).
//!
//! The levels lie in one row of the metadata with a number that rises with each change. Clients read both from `ApiVersions` and take
//! the levels with the highest number they have seen, so it must never fall.

use std::collections::{BTreeMap, BTreeSet};

use hanbeon_log::Dir;
use hanbeon_meta::{FeaturesRow, Image as Rows, MetadataStore, changes};
use hanbeon_records::ErrorCode;

use crate::{
    Engine, Env, Mode, OpenError, TopicError,
    admin::Admin,
    data_dir::DataDir,
    engine::{committed, metadata},
};

/// A behaviour that the whole cluster has or has not. Levels begin at 0, which is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feature {
    /// `group.version`: 1 allows groups of the newer protocol (KIP-848).
    GroupVersion,
    /// `transaction.version`: 1 writes the coordinator's log with tagged fields, 2 tells clients to enrol partitions by writing to them and
    /// to expect another epoch after each transaction (KIP-890, part 2).
    TransactionVersion,
}

impl Feature {
    /// All of them, by name.
    pub const ALL: &'static [Self] = &[Self::GroupVersion, Self::TransactionVersion];

    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GroupVersion => "group.version",
            Self::TransactionVersion => "transaction.version",
        }
    }

    /// The feature of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|feature| feature.name() == name)
    }

    /// The highest level this release works at, where a new cluster begins.
    #[must_use]
    pub const fn max_level(self) -> i16 {
        match self {
            Self::GroupVersion => 1,
            Self::TransactionVersion => 2,
        }
    }
}

/// The levels at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    epoch: i64,
    group_version: i16,
    transaction_version: i16,
}

impl Features {
    /// The number of the last change.
    #[must_use]
    pub const fn epoch(self) -> i64 {
        self.epoch
    }

    /// The level of one feature.
    #[must_use]
    pub const fn level(self, feature: Feature) -> i16 {
        match feature {
            Feature::GroupVersion => self.group_version,
            Feature::TransactionVersion => self.transaction_version,
        }
    }

    /// As the rows have them. Opening has checked that this release knows every level; off is what is not there.
    pub(crate) fn of(row: Option<&FeaturesRow>) -> Self {
        let level = |feature: Feature| {
            let found = row.and_then(|row| row.levels.get(feature.name()));
            found.copied().unwrap_or(0).clamp(0, feature.max_level())
        };
        Self {
            epoch: row.map_or(0, |row| row.epoch),
            group_version: level(Feature::GroupVersion),
            transaction_version: level(Feature::TransactionVersion),
        }
    }
}

/// Which way a level may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelChange {
    /// Up.
    Upgrade,
    /// Down, if nothing is lost by it. No feature here loses anything.
    SafeDowngrade,
    /// Down, whatever is lost by it.
    UnsafeDowngrade,
}

/// A wish for one feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureUpdate<'a> {
    /// Its name.
    pub feature: &'a str,
    /// The level it shall have; 0 turns it off.
    pub level: i16,
    /// Which way that may be.
    pub change: LevelChange,
}

/// Why no level was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// No feature has this name.
    #[error("there is no feature {feature:?}; ApiVersions lists those there are")]
    Unknown {
        /// The name.
        feature: String,
    },
    /// A level that this release does not work at.
    #[error("{feature} has levels 0 to {max}, found {found}")]
    Level {
        /// The feature.
        feature: &'static str,
        /// The highest level.
        max: i16,
        /// What was asked for.
        found: i16,
    },
    /// An upgrade that goes down.
    #[error(
        "{feature} is at level {current}: going down to {found} takes a downgrade, safe or unsafe"
    )]
    Lower {
        /// The feature.
        feature: &'static str,
        /// Its level.
        current: i16,
        /// What was asked for.
        found: i16,
    },
    /// A downgrade that goes up.
    #[error("{feature} is at level {current}: going up to {found} takes an upgrade")]
    Higher {
        /// The feature.
        feature: &'static str,
        /// Its level.
        current: i16,
        /// What was asked for.
        found: i16,
    },
    /// The metadata could not be changed.
    #[error(transparent)]
    Metadata(#[from] TopicError),
}

impl FeatureError {
    /// The code a client sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown { .. }
            | Self::Level { .. }
            | Self::Lower { .. }
            | Self::Higher { .. } => ErrorCode::InvalidUpdateVersion,
            Self::Metadata(error) => error.code(),
        }
    }
}

impl<E: Env> Engine<E> {
    /// The levels the cluster works at now.
    #[must_use]
    pub fn features(&self) -> Features {
        self.shared().cluster.read().features
    }

    /// Changes levels, all that are named or none (`FeatureControlManager.updateFeature`). Of a feature named twice the last wish counts.
    ///
    /// # Errors
    /// The first wish that cannot be granted; nothing is changed then.
    pub fn update_features(
        &self,
        updates: &[FeatureUpdate<'_>],
        mode: Mode,
    ) -> Result<Features, FeatureError> {
        let wishes = last_wishes(updates);
        let mut admin = self.admin()?;
        let before = Features::of(admin.rows.features().map(|stored| &stored.row));
        let mut levels = levels_of(&admin.rows);
        for update in wishes {
            let feature = granted(before, update)?;
            if update.level == 0 {
                levels.remove(feature.name());
            } else {
                levels.insert(feature.name().to_owned(), update.level);
            }
        }
        if mode == Mode::Apply && levels != levels_of(&admin.rows) {
            let txn = changes::set_features(&admin.rows, &levels);
            let why = "the features were changed meanwhile: ask for them again";
            admin.commit(&txn, || TopicError::InvalidRequest { why })?;
            self.publish_cluster(&admin);
        }
        drop(admin);
        Ok(self.features())
    }

    /// Makes what the rows now say about features and groups visible. Called by holders of the admin lock only.
    pub(crate) fn publish_cluster(&self, admin: &Admin<E>) {
        let cluster = admin.cluster();
        let features = cluster.features;
        *self.shared().cluster.write() = cluster;
        self.shared().take_features(features);
    }
}

/// In the order of the request, of several for one feature the last.
fn last_wishes<'a>(updates: &'a [FeatureUpdate<'a>]) -> Vec<&'a FeatureUpdate<'a>> {
    let mut named = BTreeSet::new();
    let last = |update: &&'a FeatureUpdate<'a>| named.insert(update.feature);
    let mut wishes: Vec<_> = updates.iter().rev().filter(last).collect();
    wishes.reverse();
    wishes
}

fn granted(before: Features, update: &FeatureUpdate<'_>) -> Result<Feature, FeatureError> {
    let Some(known) = Feature::from_name(update.feature) else {
        return Err(FeatureError::Unknown { feature: update.feature.to_owned() });
    };
    let (feature, max, found) = (known.name(), known.max_level(), update.level);
    let current = before.level(known);
    match update.change {
        _ if !(0..=max).contains(&found) => Err(FeatureError::Level { feature, max, found }),
        LevelChange::Upgrade if found < current => {
            Err(FeatureError::Lower { feature, current, found })
        }
        LevelChange::SafeDowngrade | LevelChange::UnsafeDowngrade if found > current => {
            Err(FeatureError::Higher { feature, current, found })
        }
        LevelChange::Upgrade | LevelChange::SafeDowngrade | LevelChange::UnsafeDowngrade => {
            Ok(known)
        }
    }
}

fn levels_of(rows: &Rows) -> BTreeMap<String, i16> {
    rows.features().map(|stored| stored.row.levels.clone()).unwrap_or_default()
}

/// The levels a new cluster begins at: all that this release can do.
pub(crate) fn first_levels() -> BTreeMap<String, i16> {
    Feature::ALL.iter().map(|feature| (feature.name().to_owned(), feature.max_level())).collect()
}

/// Checks that this release knows the levels of a directory. One that an earlier release without features left gets those of a new
/// cluster: it holds no transaction and no group that lower levels would be for.
pub(crate) fn settle<D: Dir>(
    store: &dyn MetadataStore,
    data: &DataDir<D>,
) -> Result<(), OpenError> {
    let failed = |error| metadata(data, error);
    let rows = Rows::read(store).map_err(failed)?;
    let Some(found) = rows.features() else {
        let txn = changes::set_features(&rows, &first_levels());
        return committed(store.commit(&txn).map_err(failed)?).map_err(failed);
    };
    for (name, &level) in &found.row.levels {
        let max = Feature::from_name(name).map_or(0, Feature::max_level);
        if !(0..=max).contains(&level) {
            let dir = data.dir.display();
            return Err(OpenError::Feature { dir, name: name.clone(), max, found: level });
        }
    }
    Ok(())
}
