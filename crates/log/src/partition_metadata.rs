//! `partition.metadata`: which topic a partition's directory belongs to (KIP-516).
//!
//! ```text
//! version: 0
//! topic_id: 1HzfqvfWSICkuWvbNCFg3Q        (no line end)
//! ```

use hanbeon_records::{TopicId, TopicIdError};

use crate::{
    Dir, FileName,
    checkpoint::{corrupt, read_small, write_atomically},
    error::{Action, LogError},
};

/// The file's name.
pub const FILE_NAME: &str = "partition.metadata";

/// Why a `partition.metadata` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Not the two lines.
    #[error(
        "a partition.metadata says 'version: ' and 'topic_id: ', each on a line, found something else"
    )]
    Form,
    /// A version below 0, or none.
    #[error("the version of a partition.metadata is 0 or more, found {found:?}")]
    Version {
        /// What stands there.
        found: String,
    },
    /// Something that is no id.
    #[error(transparent)]
    TopicId(#[from] TopicIdError),
    /// The id of no topic.
    #[error("a partition.metadata holds a topic's id, found the zero id")]
    ZeroId,
}

/// Reads the file's text.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<TopicId, MetadataError> {
    let text = str::from_utf8(bytes).ok().ok_or(MetadataError::Form)?;
    let mut lines = text.lines();
    let version = field(lines.next(), "version:")?;
    let id = field(lines.next(), "topic_id:")?;
    if lines.any(|line| !line.trim_ascii().is_empty()) {
        return Err(MetadataError::Form);
    }
    if version.parse::<u32>().is_err() {
        return Err(MetadataError::Version { found: version.chars().take(20).collect() });
    }
    match id.parse()? {
        TopicId::ZERO => Err(MetadataError::ZeroId),
        id => Ok(id),
    }
}

fn field<'a>(line: Option<&'a str>, name: &str) -> Result<&'a str, MetadataError> {
    let value = line.and_then(|line| line.strip_prefix(name)).ok_or(MetadataError::Form)?;
    Ok(value.trim_ascii())
}

/// Writes the file's text.
#[must_use]
pub fn format(id: TopicId) -> Vec<u8> {
    format!("version: 0\ntopic_id: {id}").into_bytes()
}

/// The id in a partition's directory, or `None` when there is no file.
///
/// # Errors
/// [`LogError::Corrupt`] when the file cannot be read, else what the storage reports.
pub fn read<D: Dir>(dir: &D) -> Result<Option<TopicId>, LogError> {
    let name = file_name(dir)?;
    match read_small(dir, &name)? {
        Some(bytes) => parse(&bytes).map(Some).map_err(|error| corrupt(dir, &name, error.into())),
        None => Ok(None),
    }
}

/// Writes the id into a partition's directory, durably. To be done before the first record.
///
/// # Errors
/// What the storage reports.
pub fn write<D: Dir>(dir: &D, id: TopicId) -> Result<(), LogError> {
    write_atomically(dir, &file_name(dir)?, &format(id))
}

fn file_name<D: Dir>(dir: &D) -> Result<FileName, LogError> {
    FileName::new(FILE_NAME).map_err(|error| LogError::io(Action::Open, dir.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kafka_writes() {
        let text = b"version: 0\ntopic_id: 1HzfqvfWSICkuWvbNCFg3Q";
        let id = parse(text).unwrap();
        assert_eq!(id.to_string(), "1HzfqvfWSICkuWvbNCFg3Q");
        assert_eq!(format(id), text);
        assert_eq!(parse(b"version: 7\ntopic_id: 1HzfqvfWSICkuWvbNCFg3Q\n"), Ok(id));
    }

    #[test]
    fn refuses_everything_else() {
        let form = [
            &b""[..],
            b"version: 0",
            b"topic_id: 1HzfqvfWSICkuWvbNCFg3Q\nversion: 0",
            b"version: 0\ntopic_id: 1HzfqvfWSICkuWvbNCFg3Q\nmore",
            b"\xff",
        ];
        for bytes in form {
            assert_eq!(parse(bytes), Err(MetadataError::Form), "{bytes:?}");
        }
        let zero = b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(parse(zero), Err(MetadataError::ZeroId));
        let version = parse(b"version: -1\ntopic_id: 1HzfqvfWSICkuWvbNCFg3Q");
        assert_eq!(version, Err(MetadataError::Version { found: "-1".into() }));
        let id = parse(b"version: 0\ntopic_id: short");
        assert!(matches!(id, Err(MetadataError::TopicId(_))));
    }
}
