//! The data directory: who holds it, whose it is, what lies in it, and the files beside the partitions.
//!
//! ```text
//!   .lock                              held while open
//!   meta.properties                    cluster.id, node.id, directory.id
//!   .kafka_cleanshutdown               read and removed first, written last
//!   recovery-point-offset-checkpoint   log-start-offset-checkpoint   replication-offset-checkpoint
//!   hanbeon.meta                       topics, settings, producer ids, openings (ours; Kafka ignores it)
//!   <topic>-<partition>/               one directory a partition
//!   <topic>-<partition>.<tag>-delete/  on its way out
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use hanbeon_log::{
    Action, Dir, DirStage, EntryKind, FileName, LogError, Open, PartitionDirName, Poison,
    checkpoint, sync::Mutex,
};
use hanbeon_records::{NodeId, Offset, TopicPartition};

use crate::{
    error::OpenError,
    meta_properties::{self, Identity, random_id},
};

const LOCK: &str = ".lock";
const CLEAN_MARKER: &str = ".kafka_cleanshutdown";
/// What Kafka 4 writes; that the file is there is what counts.
const CLEAN_MARKER_TEXT: &[u8] = b"{\"version\":0,\"brokerEpoch\":-1}";

/// Directories of Kafka's own that are no partitions, the controller's log, and what file systems put at their root.
const LEFT_ALONE: [&str; 3] = ["remote-log-index-cache", "__cluster_metadata-0", "lost+found"];

/// How the last holder of the directory left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastStop {
    Clean,
    Unclean,
}

/// Offsets by partition, of one checkpoint file.
pub(crate) type Offsets = BTreeMap<TopicPartition, Offset>;

/// The three checkpoint files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoints {
    pub(crate) recovery_points: Offsets,
    pub(crate) log_starts: Offsets,
    pub(crate) high_watermarks: Offsets,
}

/// An open data directory.
#[derive(Debug)]
pub(crate) struct DataDir<D: Dir> {
    pub(crate) dir: D,
    pub(crate) poison: Poison,
    pub(crate) identity: Identity,
    pub(crate) last_stop: LastStop,
    /// Partition directories that were there when it was opened.
    pub(crate) partitions: BTreeSet<TopicPartition>,
    /// As they were read; a partition that is not opened keeps its entries.
    pub(crate) found: Checkpoints,
    /// The recovery points as the file has them now.
    recovery_points: Mutex<Offsets>,
    /// `None` once the directory is let go.
    lock: Mutex<Option<D::Lock>>,
}

/// A name that is known to be one.
pub(crate) fn name(text: &str) -> io::Result<FileName> {
    FileName::new(text)
}

impl<D: Dir> DataDir<D> {
    /// Takes the directory and reads what lies beside the partitions. `node` is what the options say about its number.
    pub(crate) fn open(
        dir: D,
        node: Option<NodeId>,
        random: impl Fn() -> u64,
    ) -> Result<Self, OpenError> {
        let at = Place(&dir);
        let lock = at.lock()?;
        let identity = at.identity(node, random)?;
        // Gone before anything is touched, so that a crash from here on is seen as one.
        let last_stop = at.take_clean_marker()?;
        let partitions = at.partitions()?;
        let found = Checkpoints {
            recovery_points: at.offsets(checkpoint::RECOVERY_POINTS)?,
            log_starts: at.offsets(checkpoint::LOG_STARTS)?,
            high_watermarks: at.offsets(checkpoint::HIGH_WATERMARKS)?,
        };
        Ok(Self {
            poison: Poison::new(),
            identity,
            last_stop,
            partitions,
            recovery_points: Mutex::new(found.recovery_points.clone()),
            found,
            lock: Mutex::new(Some(lock)),
            dir,
        })
    }

    /// Writes recovery points and log starts.
    pub(crate) fn write_positions(&self, now: &Checkpoints) -> Result<(), LogError> {
        let mut written = self.recovery_points.lock();
        self.write_offsets(checkpoint::RECOVERY_POINTS, &now.recovery_points)?;
        written.clone_from(&now.recovery_points);
        drop(written);
        self.write_offsets(checkpoint::LOG_STARTS, &now.log_starts)
    }

    /// Takes a recovery point back in the file, where recovery found that less is known to be on the disk than the file says. What is
    /// appended after it must not be taken for checked by the next opening.
    #[expect(clippy::significant_drop_tightening, reason = "the file and its copy change together")]
    pub(crate) fn lower_recovery_point(
        &self,
        partition: &TopicPartition,
        to: Offset,
    ) -> Result<(), LogError> {
        let mut written = self.recovery_points.lock();
        match written.get_mut(partition) {
            Some(point) if *point > to => *point = to,
            Some(_) | None => return Ok(()),
        }
        self.write_offsets(checkpoint::RECOVERY_POINTS, &written)
    }

    /// Writes high watermarks.
    pub(crate) fn write_high_watermarks(&self, offsets: &Offsets) -> Result<(), LogError> {
        self.write_offsets(checkpoint::HIGH_WATERMARKS, offsets)
    }

    /// Says that everything was closed in order. The last thing that is written.
    pub(crate) fn write_clean_marker(&self) -> Result<(), LogError> {
        let name = self.file(CLEAN_MARKER)?;
        checkpoint::write_atomically(&self.dir, &name, CLEAN_MARKER_TEXT)
    }

    /// Lets others open the directory.
    pub(crate) fn release(&self) {
        drop(self.lock.lock().take());
    }

    /// The directory of a partition that is there.
    pub(crate) fn partition(&self, partition: &TopicPartition) -> Result<D, LogError> {
        let name = self.live_name(partition)?;
        self.dir.dir(&name).map_err(|error| self.failed(Action::Open, &name, error))
    }

    /// Makes the directory of a new partition; durable after [`DataDir::sync`].
    pub(crate) fn create_partition(&self, partition: &TopicPartition) -> Result<D, LogError> {
        let name = self.live_name(partition)?;
        self.dir.create_dir(&name).map_err(|error| self.failed(Action::Open, &name, error))
    }

    /// Takes a partition's directory out: renamed first, so that half a removal is recognised as one.
    pub(crate) fn remove_partition(
        &self,
        partition: &TopicPartition,
        tag: u128,
    ) -> Result<(), LogError> {
        let live = self.live_name(partition)?;
        let gone = self.staged_name(partition, DirStage::Delete { tag })?;
        match self.dir.rename(&live, &gone) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failed(Action::Rename, &live, error)),
        }
        self.sync()?;
        self.dir.remove(&gone).map_err(|error| self.failed(Action::Remove, &gone, error))
    }

    /// Puts a partition's directory aside under a name that says nobody owns it.
    pub(crate) fn put_astray(&self, partition: &TopicPartition, tag: u128) -> Result<(), LogError> {
        let live = self.live_name(partition)?;
        let stray = self.staged_name(partition, DirStage::Stray { tag })?;
        self.dir
            .rename(&live, &stray)
            .map_err(|error| self.failed(Action::Rename, &live, error))?;
        self.sync()
    }

    /// Makes creations and renames of partition directories durable.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.dir.sync().map_err(|error| LogError::io(Action::SyncDir, self.dir.display(), error))
    }

    fn write_offsets(&self, file: &str, offsets: &Offsets) -> Result<(), LogError> {
        checkpoint::write_offsets(&self.dir, &self.file(file)?, offsets)
    }

    fn file(&self, text: &str) -> Result<FileName, LogError> {
        name(text).map_err(|error| LogError::io(Action::Open, self.dir.display(), error))
    }

    fn live_name(&self, partition: &TopicPartition) -> Result<FileName, LogError> {
        self.staged_name(partition, DirStage::Live)
    }

    fn staged_name(
        &self,
        partition: &TopicPartition,
        stage: DirStage,
    ) -> Result<FileName, LogError> {
        PartitionDirName { partition: partition.clone(), stage }
            .file_name()
            .map_err(|error| LogError::io(Action::Open, self.dir.display(), error))
    }

    fn failed(&self, action: Action, name: &FileName, error: io::Error) -> LogError {
        LogError::io(action, format_args!("{}/{name}", self.dir.display()), error)
    }
}

/// A data directory before it is known to be one.
struct Place<'a, D>(&'a D);

impl<D: Dir> Place<'_, D> {
    fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> OpenError {
        let dir = self.0.display();
        move |source| OpenError::Io { dir, action, source: Arc::new(source) }
    }

    fn name(&self, text: &str) -> Result<FileName, OpenError> {
        name(text).map_err(self.failed("name a file"))
    }

    fn lock(&self) -> Result<D::Lock, OpenError> {
        self.0.lock(&self.name(LOCK)?).map_err(|error| {
            let dir = self.0.display();
            if error.kind() == io::ErrorKind::WouldBlock {
                OpenError::Locked { dir, source: Arc::new(error) }
            } else {
                OpenError::Io { dir, action: "lock it", source: Arc::new(error) }
            }
        })
    }

    fn identity(
        &self,
        node: Option<NodeId>,
        random: impl Fn() -> u64,
    ) -> Result<Identity, OpenError> {
        let file = self.name(meta_properties::FILE_NAME)?;
        let damaged = |damage| OpenError::MetaProperties { dir: self.0.display(), damage };
        if let Some(found) = Identity::read(self.0, &file)? {
            let identity = found.map_err(damaged)?;
            return match node {
                Some(node) if node != identity.node_id => {
                    Err(damaged(crate::error::MetaPropertiesError::OtherNode {
                        expected: node.get(),
                        found: identity.node_id.get(),
                    }))
                }
                Some(_) | None => Ok(identity),
            };
        }
        let identity = Identity {
            cluster_id: random_id(&random).to_string(),
            node_id: node.unwrap_or(NodeId::new(1)),
            directory_id: Some(random_id(&random).to_string()),
        };
        identity.write(self.0, &file)?;
        Ok(identity)
    }

    fn take_clean_marker(&self) -> Result<LastStop, OpenError> {
        match self.0.remove(&self.name(CLEAN_MARKER)?) {
            Ok(()) => {
                self.0.sync().map_err(self.failed("sync it"))?;
                Ok(LastStop::Clean)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LastStop::Unclean),
            Err(error) => Err(self.failed("remove the clean-shutdown marker")(error)),
        }
    }

    /// The partitions that are there. Finishes deletions that were under way.
    fn partitions(&self) -> Result<BTreeSet<TopicPartition>, OpenError> {
        let mut partitions = BTreeSet::new();
        for entry in self.0.list().map_err(self.failed("list it"))? {
            let text = entry.name.as_str();
            if entry.kind != EntryKind::Dir || LEFT_ALONE.contains(&text) {
                continue;
            }
            match PartitionDirName::parse(text).map(|name| (name.stage, name.partition)) {
                Some((DirStage::Live, partition)) => {
                    partitions.insert(partition);
                }
                Some((DirStage::Delete { .. }, _)) => {
                    self.0.remove(&entry.name).map_err(self.failed("finish a deletion"))?;
                }
                Some((DirStage::Future { .. } | DirStage::Stray { .. }, _)) => {
                    tracing::warn!(directory = text, "left alone: no partition of this node");
                }
                None => {
                    return Err(OpenError::Foreign {
                        dir: self.0.display(),
                        name: text.to_owned(),
                        why: "is no partition: move it away",
                    });
                }
            }
        }
        Ok(partitions)
    }

    /// A checkpoint file. A damaged one is reported and taken for empty, as Kafka does: every offset in it is a hint.
    fn offsets(&self, file: &str) -> Result<Offsets, OpenError> {
        let file = self.name(file)?;
        match checkpoint::read_offsets(self.0, &file) {
            Ok(offsets) => Ok(offsets),
            Err(LogError::Corrupt(damage)) => {
                tracing::warn!(%damage, "taken for empty: logs are checked from their start");
                Ok(Offsets::new())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether anything was ever written into a partition's directory.
pub(crate) fn holds_data<D: Dir>(dir: &D) -> io::Result<bool> {
    let data = |kind: EntryKind| match kind {
        EntryKind::File { len } => len > 0,
        EntryKind::Dir | EntryKind::Other => false,
    };
    let entries = dir.list()?;
    Ok(entries.iter().any(|entry| entry.name.as_str().ends_with(".log") && data(entry.kind)))
}

/// Reads a file that may be of any size, from a directory that is not opened as a log.
pub(crate) fn open_for_reading<D: Dir>(dir: &D, name: &FileName) -> Result<D::File, LogError> {
    dir.open(name, Open::Read).map_err(|error| {
        LogError::io(Action::Open, format_args!("{}/{name}", dir.display()), error)
    })
}

#[cfg(test)]
mod tests {
    use hanbeon_log::{LogFile, MemDir};
    use hanbeon_records::TopicName;

    use super::*;

    fn open(dir: &MemDir) -> Result<DataDir<MemDir>, OpenError> {
        let state = std::cell::Cell::new(1_u64);
        DataDir::open(dir.clone(), None, || {
            state.set(state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            state.get()
        })
    }

    fn put(dir: &MemDir, file: &str, bytes: &[u8]) {
        let file = dir.open(&name(file).unwrap(), Open::Create).unwrap();
        file.write_at(&[io::IoSlice::new(bytes)], 0).unwrap();
    }

    fn partition(topic: &str, number: i32) -> TopicPartition {
        TopicPartition { topic: TopicName::new(topic).unwrap(), partition: number }
    }

    #[test]
    fn the_identity_is_made_once_and_kept() {
        let dir = MemDir::new();
        let first = open(&dir).unwrap();
        let identity = first.identity.clone();
        assert_eq!(identity.cluster_id.len(), 22);
        first.release();
        assert_eq!(open(&dir).unwrap().identity, identity);
    }

    #[test]
    fn a_second_opener_is_told_that_it_is_taken() {
        let dir = MemDir::new();
        let held = open(&dir).unwrap();
        assert!(matches!(open(&dir), Err(OpenError::Locked { .. })));
        held.release();
        assert!(open(&dir).is_ok());
    }

    #[test]
    fn the_clean_marker_counts_once() {
        let dir = MemDir::new();
        let first = open(&dir).unwrap();
        assert_eq!(first.last_stop, LastStop::Unclean);
        first.write_clean_marker().unwrap();
        first.release();
        let second = open(&dir).unwrap();
        assert_eq!(second.last_stop, LastStop::Clean);
        second.release();
        assert_eq!(open(&dir).unwrap().last_stop, LastStop::Unclean);
    }

    #[test]
    fn deletions_are_finished_strays_kept_and_foreign_directories_refused() {
        let dir = MemDir::new();
        let tag = "0123456789abcdef0123456789abcdef";
        let names = [
            "a-0".to_owned(),
            format!("b-0.{tag}-delete"),
            format!("c-0.{tag}-stray"),
            "__cluster_metadata-0".to_owned(),
            "lost+found".to_owned(),
        ];
        for text in &names {
            dir.create_dir(&name(text).unwrap()).unwrap();
        }
        let opened = open(&dir).unwrap();
        assert_eq!(opened.partitions, BTreeSet::from([partition("a", 0)]));
        assert!(dir.dir(&name(&names[1]).unwrap()).is_err(), "deleted");
        assert!(dir.dir(&name(&names[2]).unwrap()).is_ok(), "kept");
        opened.release();
        dir.create_dir(&name("photos").unwrap()).unwrap();
        assert!(matches!(open(&dir), Err(OpenError::Foreign { name, .. }) if name == "photos"));
    }

    #[test]
    fn a_damaged_checkpoint_is_taken_for_empty() {
        let dir = MemDir::new();
        put(&dir, checkpoint::RECOVERY_POINTS, b"0\n1\na 0 17\n");
        put(&dir, checkpoint::LOG_STARTS, b"0\n9\na 0 3\n");
        let opened = open(&dir).unwrap();
        let expected = Offsets::from([(partition("a", 0), Offset::new(17))]);
        assert_eq!(opened.found.recovery_points, expected);
        assert!(opened.found.log_starts.is_empty());
        opened.write_positions(&opened.found).unwrap();
        opened.release();
        assert_eq!(open(&dir).unwrap().found.recovery_points, expected);
    }

    #[test]
    fn a_recovery_point_is_taken_back_in_the_file_and_never_moved_on_by_that() {
        let dir = MemDir::new();
        put(&dir, checkpoint::RECOVERY_POINTS, b"0\n2\na 0 17\nb 0 9\n");
        let opened = open(&dir).unwrap();
        opened.lower_recovery_point(&partition("a", 0), Offset::new(11)).unwrap();
        opened.lower_recovery_point(&partition("b", 0), Offset::new(12)).unwrap();
        opened.lower_recovery_point(&partition("c", 0), Offset::new(1)).unwrap();
        opened.release();
        let expected = Offsets::from([
            (partition("a", 0), Offset::new(11)),
            (partition("b", 0), Offset::new(9)),
        ]);
        assert_eq!(open(&dir).unwrap().found.recovery_points, expected);
    }

    #[test]
    fn a_removed_partition_leaves_nothing() {
        let dir = MemDir::new();
        let opened = open(&dir).unwrap();
        let made = opened.create_partition(&partition("a", 3)).unwrap();
        assert!(!holds_data(&made).unwrap());
        put(&made, "00000000000000000000.log", b"x");
        assert!(holds_data(&made).unwrap());
        opened.remove_partition(&partition("a", 3), 7).unwrap();
        assert!(opened.partition(&partition("a", 3)).is_err());
        opened.remove_partition(&partition("a", 3), 7).unwrap();
    }
}
