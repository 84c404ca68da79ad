//! What the metadata log in a directory of Kafka's says of the settings of its topics. It is only read.
//!
//! Each `KRaft` node keeps the whole log (`__cluster_metadata-0`, unless `metadata.log.dir` lies elsewhere): snapshots (`<offset>-<epoch>.checkpoint`) of
//! all that was said below an offset, and batches behind them. A record's value is a frame version, a kind and a version, all unsigned varints, and the
//! fields in Kafka's flexible encoding (`TopicRecord`, `ConfigRecord` and `RemoveTopicRecord`, version 0, as Apache Kafka 4.3.1 writes them). Its last records may
//! not have been committed in a cluster of several controllers; nobody can tell from one node's copy.

use std::{collections::BTreeMap, io};

use hanbeon_log::{
    Action, Dir, EntryKind, FileName, FileStage, LogError, SegmentFile, SegmentFileName,
};
use hanbeon_records::{BatchRef, Offset, TopicName};

use crate::{
    adopt::{Reached, each_batch},
    data_dir::METADATA_PARTITION,
    state_log::with_records,
};

/// Values by key.
pub(crate) type TopicSettings = BTreeMap<String, String>;

/// A record in a form that is not known, or bytes that are no batch.
#[derive(Debug)]
struct Unknown;

/// What was said about topics.
#[derive(Default)]
struct Said {
    names: BTreeMap<[u8; 16], String>,
    settings: BTreeMap<String, TopicSettings>,
}

/// The settings that Kafka's metadata gives to topics by name. `None` where there is no such log, or it does not read.
///
/// # Errors
/// What the storage reports.
pub(crate) fn topic_settings<D: Dir>(
    data: &D,
) -> Result<Option<BTreeMap<TopicName, TopicSettings>>, LogError> {
    let failed = |action| move |error| LogError::io(action, METADATA_PARTITION, error);
    let name = FileName::new(METADATA_PARTITION)
        .map_err(|error| failed(Action::Open)(io::Error::other(error)))?;
    let dir = match data.dir(&name) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            tracing::warn!(
                "{METADATA_PARTITION} is no directory: nothing it may say of topics is taken over"
            );
            return Ok(None);
        }
        Err(error) => return Err(failed(Action::Open)(error)),
    };
    let (mut snapshot, mut logs) = (None, BTreeMap::new());
    for entry in dir.list().map_err(failed(Action::List))? {
        if !matches!(entry.kind, EntryKind::File { .. }) {
            continue;
        }
        let segment = SegmentFileName::parse(entry.name.as_str());
        match (snapshot_end(entry.name.as_str()), segment) {
            (Some(end), _) => snapshot = snapshot.max(Some((end, entry.name))),
            (None, Some(segment))
                if (segment.kind, segment.stage) == (SegmentFile::Log, FileStage::Live) =>
            {
                logs.insert(segment.base_offset, entry.name);
            }
            (None, _) => {}
        }
    }
    let mut said = Said::default();
    let mut read = Ok(());
    let start = snapshot.as_ref().map_or(Offset::ZERO, |(end, _)| *end);
    if let Some((_, name)) = &snapshot {
        let reached = each_batch(&dir, name, |batch| {
            if read.is_ok() {
                read = said.take(batch);
            }
        })?;
        read = read.and_then(|()| whole(reached));
    }
    let last = logs.keys().next_back().copied();
    for (base, name) in &logs {
        let reached = each_batch(&dir, name, |batch| {
            if read.is_ok() && batch.base_offset() >= start {
                read = said.take(batch);
            }
        })?;
        // A kill may have cut the last one short, and its room may have been reserved.
        if Some(*base) != last {
            read = read.and_then(|()| whole(reached));
        }
    }
    if let Err(Unknown) = read {
        tracing::warn!(
            "{METADATA_PARTITION} does not read: what it says of topics is not taken over"
        );
        return Ok(None);
    }
    let named = said.settings.into_iter();
    Ok(Some(named.filter_map(|(name, all)| Some((TopicName::new(&name).ok()?, all))).collect()))
}

/// Refuses a file that must read to its end and does not.
const fn whole(reached: Reached) -> Result<(), Unknown> {
    match reached {
        Reached::End => Ok(()),
        Reached::Unreadable => Err(Unknown),
    }
}

/// The offset below which a snapshot says all.
fn snapshot_end(name: &str) -> Option<Offset> {
    let (end, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    epoch.parse::<u32>().ok()?;
    Some(Offset::new(end.parse().ok()?))
}

impl Said {
    fn take(&mut self, batch: BatchRef<'_>) -> Result<(), Unknown> {
        if batch.attributes().is_control() {
            return Ok(());
        }
        batch.verify().map_err(|_damage| Unknown)?;
        let mut applied = Some(());
        with_records(batch, |record| {
            let value = record.value.unwrap_or_default();
            applied = applied.and_then(|()| self.apply(&mut Fields(value)));
        })
        .map_err(|_damage| Unknown)?;
        applied.ok_or(Unknown)
    }

    fn apply(&mut self, fields: &mut Fields<'_>) -> Option<()> {
        const TOPIC: u32 = 2;
        const CONFIG: u32 = 4;
        const REMOVE_TOPIC: u32 = 9;
        let (1, kind, version) = (fields.varint()?, fields.varint()?, fields.varint()?) else {
            return None;
        };
        match (kind, version) {
            (TOPIC, 0) => {
                let name = fields.text()??;
                self.names.insert(fields.take()?, name);
            }
            (REMOVE_TOPIC, 0) => {
                if let Some(name) = self.names.remove(&fields.take()?) {
                    self.settings.remove(&name);
                }
            }
            (CONFIG, 0) => {
                let [resource] = fields.take()?;
                let (name, key, value) = (fields.text()??, fields.text()??, fields.text()?);
                // That of a topic (`ConfigResource.Type`).
                if resource == 2 {
                    let settings = self.settings.entry(name).or_default();
                    match value {
                        Some(value) => settings.insert(key, value),
                        None => settings.remove(&key),
                    };
                }
            }
            (TOPIC | CONFIG | REMOVE_TOPIC, _) => return None,
            (_, _) => {}
        }
        Some(())
    }
}

/// The bytes of a record that are not read yet.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    fn varint(&mut self) -> Option<u32> {
        let mut value = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// A compact string; the inner `None` is Kafka's null.
    fn text(&mut self) -> Option<Option<String>> {
        let Some(len) = self.varint()?.checked_sub(1) else { return Some(None) };
        let (text, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(Some(str::from_utf8(text).ok()?.to_owned()))
    }
}
