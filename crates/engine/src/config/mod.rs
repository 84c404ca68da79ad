//! Every setting Kafka knows, who owns it, and where a value comes from.
//!
//! One table says for each key its type, default, bounds, what it is called on the other level, and what it does. A key that
//! nobody knows, or one handed to somebody who does not own it, is an error that names the owner:
//!
//! ```
//! use hanbeon::{Owner, registry};
//!
//! let refused = registry::topic_key("enable.idempotence").unwrap_err();
//! assert_eq!(
//!     refused.to_string(),
//!     "enable.idempotence is a setting of the client, not of a topic: give it to the producer or consumer"
//! );
//! assert_eq!(registry::topic_key("retention.ms")?.owner(), Owner::Topic);
//! # Ok::<(), hanbeon::ConfigError>(())
//! ```

mod broker_keys;
mod client_keys;
mod group_keys;
mod layers;
pub mod registry;
mod topic_keys;
mod topic_settings;
mod unused_keys;
mod value;

use std::fmt;

pub(crate) use group_keys::LIMITS as GROUP_LIMITS;
pub(crate) use layers::{BrokerLayers, Overrides, apply_changes, replacement};
pub use layers::{ConfigSource, ConfigSynonym, DescribedConfig, Settings};
pub use registry::{ConfigKey, ConfigType, Owner, Update};
pub(crate) use topic_settings::log_config;

use hanbeon_records::ErrorCode;

/// A setting that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No key of Kafka's or ours has this name.
    #[error("no setting is called {key:?}{}", Near(.near))]
    UnknownKey {
        /// What was given.
        key: String,
        /// A key with almost the same name.
        near: Option<&'static str>,
    },
    /// A key that exists, but belongs to somebody else.
    #[error("{key} is a setting of the {owner}, not of a {asked}: {}", owner.advice())]
    WrongOwner {
        /// The key.
        key: &'static str,
        /// Whose it is.
        owner: Owner,
        /// Whose it was taken for.
        asked: Owner,
    },
    /// A name from earlier releases of Kafka.
    #[error("{key} was a setting of earlier releases: {instead}")]
    Gone {
        /// The key.
        key: &'static str,
        /// What took its place.
        instead: &'static str,
    },
    /// A setting of Kafka's that is not served here, with a value that says something.
    #[error("{key} is not served here, and without it {without}: leave it out, found {found:?}")]
    NotServed {
        /// The key.
        key: &'static str,
        /// The refused value.
        found: String,
        /// What would be otherwise than the value says.
        without: &'static str,
    },
    /// A value that the key cannot have.
    #[error("{key} is {expected}, found {found:?}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// What it may be.
        expected: String,
        /// The refused value.
        found: String,
    },
    /// A value that nobody means.
    #[error("a value has at most {max} bytes, found {found} for {key}")]
    TooLong {
        /// The key.
        key: &'static str,
        /// Bytes of a value.
        max: usize,
        /// Bytes of the refused one.
        found: usize,
    },
    /// Values that are fine each, but not together.
    #[error("{key} = {found} does not go with {other}: {rule}")]
    Conflict {
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The other key.
        other: &'static str,
        /// What must hold.
        rule: &'static str,
    },
    /// A key that is read when the process starts and not again.
    #[error("{key} can only be changed in the configuration the server starts with")]
    ReadOnly {
        /// The key.
        key: &'static str,
    },
    /// Appending to or subtracting from a value that is not a list.
    #[error("{key} is no list: set it, or delete it")]
    NoList {
        /// The key.
        key: &'static str,
    },
    /// Setting a key to nothing.
    #[error("{key} is set to no value: delete it to get the default back")]
    NullValue {
        /// The key.
        key: String,
    },
    /// One key twice in a request.
    #[error("{key} is named twice")]
    Twice {
        /// The key.
        key: String,
    },
}

impl ConfigError {
    /// The code a client sees.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownKey { .. }
            | Self::WrongOwner { .. }
            | Self::Gone { .. }
            | Self::NotServed { .. }
            | Self::BadValue { .. }
            | Self::TooLong { .. }
            | Self::Conflict { .. }
            | Self::NoList { .. } => ErrorCode::InvalidConfig,
            // Kafka's ConfigurationControlManager and ControllerConfigurationValidator answer these with 42.
            Self::ReadOnly { .. } | Self::NullValue { .. } | Self::Twice { .. } => {
                ErrorCode::InvalidRequest
            }
        }
    }
}

struct Near<'a>(&'a Option<&'static str>);

impl fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(near) => write!(f, "; is {near} meant?"),
            None => Ok(()),
        }
    }
}

/// What to do with one key (KIP-339).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigOp {
    /// Gives it this value.
    Set(String),
    /// Takes the override away, so that the next layer counts.
    Delete,
    /// Adds to a list what is not in it yet.
    Append(String),
    /// Takes out of a list what is in it.
    Subtract(String),
}

/// One change to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// The key.
    pub key: String,
    /// What to do with it.
    pub op: ConfigOp,
}

/// Whether a request is carried out or only checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Carried out.
    Apply,
    /// Checked; nothing changes.
    ValidateOnly,
}
