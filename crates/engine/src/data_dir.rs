//! The data directory: who holds it, whose it is, what lies in it, and the files beside the partitions.
//!
//! ```text
//!   .lock                              held while open
//!   meta.properties                    cluster.id, node.id, directory.id
//!   .kafka_cleanshutdown               removed before any log is touched, written last
//!   recovery-point-offset-checkpoint   log-start-offset-checkpoint   replication-offset-checkpoint
//!   hanbeon.boot                       what has kept the pages of all that is in here (ours; see `page_cache`)
//!   hanbeon.meta                       topics, settings, producer ids, openings (ours; Kafka ignores it)
//!   <topic>-<partition>/               one directory a partition
//!   <topic>-<partition>.<tag>-delete/  on its way out
//! ```

use std::{collections::BTreeSet, io, sync::Arc};

use hanbeon_log::{
    Action, Dir, DirStage, EntryKind, FileName, LogError, LogFile as _, Open, PartitionDirName,
    Poison, checkpoint, sync::Mutex,
};
use hanbeon_records::{NodeId, Offset, TopicPartition};

use crate::{
    PageCache,
    checkpoints::{CheckpointFiles, Checkpoints, Stood},
    error::OpenError,
    meta_properties::{self, Identity, random_id},
    page_cache,
};

const LOCK: &str = ".lock";
const CLEAN_MARKER: &str = ".kafka_cleanshutdown";
/// What Kafka 4 writes; that the file is there is what counts.
const CLEAN_MARKER_TEXT: &[u8] = b"{\"version\":0,\"brokerEpoch\":-1}";

/// Directories of Kafka's own that are no partitions, the controller's log, and what file systems put at their root.
const LEFT_ALONE: [&str; 3] = ["remote-log-index-cache", METADATA_PARTITION, "lost+found"];

/// Where Kafka's nodes keep the metadata of their cluster.
pub(crate) const METADATA_PARTITION: &str = "__cluster_metadata-0";

/// How the last holder of the directory left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastStop {
    Clean,
    /// Not closed, and no page was lost since.
    Killed,
    /// Not closed, and pages may have been lost, or nobody knows.
    Unclean,
}

/// Who had the directory before, as far as it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastHolder {
    /// One of us has closed it.
    Ours,
    /// Kafka has closed it.
    Kafka,
    /// Nobody has closed it: it is new, or one of both was killed.
    Unknown,
}

/// Whether the directory says that its pages were kept since all that is in it was on the disk or checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Said,
    /// Not yet.
    Unsaid,
    /// And will not before the directory is opened again: nobody knows, or it could not be said, or pages are in doubt.
    Never,
}

/// An open data directory.
#[derive(Debug)]
pub(crate) struct DataDir<D: Dir> {
    pub(crate) dir: D,
    pub(crate) poison: Poison,
    pub(crate) identity: Identity,
    pub(crate) last_stop: LastStop,
    pub(crate) last_holder: LastHolder,
    page_cache: Option<PageCache>,
    /// What `hanbeon.boot` says of `page_cache`.
    kept: Mutex<Kept>,
    /// Partition directories that were there when it was opened.
    pub(crate) partitions: BTreeSet<TopicPartition>,
    checkpoints: Mutex<CheckpointFiles>,
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
        page_cache: Option<PageCache>,
        random: impl Fn() -> u64,
    ) -> Result<Self, OpenError> {
        let at = Place(&dir);
        let lock = at.lock()?;
        let identity = at.identity(node, random)?;
        let last_holder = at.last_holder()?;
        let last_stop = match last_holder {
            LastHolder::Ours | LastHolder::Kafka => LastStop::Clean,
            LastHolder::Unknown if at.kept_pages(page_cache.as_ref()) => LastStop::Killed,
            LastHolder::Unknown => LastStop::Unclean,
        };
        // Before anything is written that a kill could leave in the cache. Where pages were lost it must wait: a partition that nobody
        // has checked since would be taken for a kept one by the opening after the next kill.
        let kept = match last_stop {
            LastStop::Clean | LastStop::Killed => at.say_kept(page_cache.as_ref()),
            LastStop::Unclean => {
                at.say_nothing();
                Kept::Unsaid
            }
        };
        let partitions = at.partitions()?;
        let checkpoints = Mutex::new(CheckpointFiles::read(&dir)?);
        Ok(Self {
            poison: Poison::new(),
            identity,
            last_stop,
            last_holder,
            page_cache,
            kept: Mutex::new(kept),
            partitions,
            checkpoints,
            lock: Mutex::new(Some(lock)),
            dir,
        })
    }

    /// Takes the clean-shutdown marker away: before any log is touched, so that a crash from here on is seen as one, and behind all that
    /// may refuse the directory, so that an opening which fails leaves what the marker says to the next.
    pub(crate) fn take_clean_marker(&self) -> Result<(), OpenError> {
        let at = Place(&self.dir);
        match self.dir.remove(&at.name(CLEAN_MARKER)?) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(at.failed("remove the clean-shutdown marker")(error))
            }
            Ok(()) | Err(_) => self.dir.sync().map_err(at.failed("sync it")),
        }
    }

    /// Everything in the directory was checked in this boot, or is on the disk.
    pub(crate) fn all_checked(&self) {
        let mut kept = self.kept.lock();
        if *kept == Kept::Unsaid && self.page_cache.is_some() && !self.poison.is_set() {
            *kept = Place(&self.dir).say_kept(self.page_cache.as_ref());
        }
    }

    /// A write or a sync failed: the kernel may have dropped pages that it could not write, and told it to us alone.
    pub(crate) fn pages_in_doubt(&self) {
        let mut kept = self.kept.lock();
        if *kept == Kept::Said
            && let Err(error) = Place(&self.dir).take_back()
        {
            tracing::error!(
                %error,
                "hanbeon.boot is neither removed nor emptied and is not true any more: remove it before the next opening, \
                 or that takes pages for kept which the failed write may have cost"
            );
        }
        *kept = Kept::Never;
    }

    /// Where a partition stood when the directory was opened.
    pub(crate) fn stood(&self, partition: &TopicPartition) -> Stood {
        self.checkpoints.lock().stood(partition)
    }

    /// Writes recovery points and log starts, where they changed. `now` gathers them, so that no topic is deleted and made again
    /// between that and the write.
    pub(crate) fn write_positions(
        &self,
        now: impl FnOnce(&CheckpointFiles) -> Checkpoints,
    ) -> Result<(), LogError> {
        let mut files = self.checkpoints.lock();
        let now = now(&files);
        self.poison.by_sync(files.write_positions(&self.dir, now))
    }

    /// Writes high watermarks in the same way.
    pub(crate) fn write_high_watermarks(
        &self,
        now: impl FnOnce(&CheckpointFiles) -> Checkpoints,
    ) -> Result<(), LogError> {
        let mut files = self.checkpoints.lock();
        let now = now(&files);
        self.poison.by_sync(files.write_high_watermarks(&self.dir, now))
    }

    /// See [`CheckpointFiles::lower_recovery_point`].
    pub(crate) fn lower_recovery_point(
        &self,
        partition: &TopicPartition,
        to: Offset,
    ) -> Result<(), LogError> {
        let lowered = self.checkpoints.lock().lower_recovery_point(&self.dir, partition, to);
        self.poison.by_sync(lowered)
    }

    /// See [`CheckpointFiles::raise_recovery_point`].
    pub(crate) fn raise_recovery_point(
        &self,
        partition: &TopicPartition,
        to: Offset,
    ) -> Result<(), LogError> {
        let raised = self.checkpoints.lock().raise_recovery_point(&self.dir, partition, to);
        self.poison.by_sync(raised)
    }

    /// See [`CheckpointFiles::forget`].
    pub(crate) fn forget(&self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        let forgotten = self.checkpoints.lock().forget(&self.dir, partitions);
        self.poison.by_sync(forgotten)
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

    /// Makes the directory of a new partition, whose name was [forgotten](DataDir::forget); durable after [`DataDir::sync`].
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
    fn put_astray(&self, partition: &TopicPartition, tag: u128) -> Result<(), LogError> {
        let live = self.live_name(partition)?;
        let stray = self.staged_name(partition, DirStage::Stray { tag })?;
        self.dir
            .rename(&live, &stray)
            .map_err(|error| self.failed(Action::Rename, &live, error))?;
        self.sync()
    }

    /// Clears away the directory of a partition that no row knows, if there is one: half a creation is removed, anything with data in it is
    /// put aside and never read or deleted by us again.
    pub(crate) fn clear_leftover(
        &self,
        partition: &TopicPartition,
        tag: u128,
    ) -> Result<(), LogError> {
        let live = self.live_name(partition)?;
        let dir = match self.dir.dir(&live) {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(self.failed(Action::Open, &live, error)),
        };
        if holds_data(&dir).map_err(|error| self.failed(Action::List, &live, error))? {
            tracing::warn!(%partition, "no topic owns this directory: put aside as -stray");
            self.put_astray(partition, tag)
        } else {
            self.remove_partition(partition, tag)
        }
    }

    /// Makes creations and renames of partition directories durable.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        let synced = self.dir.sync();
        let failed = |error| LogError::sync_dir(self.dir.display(), error);
        self.poison.by_sync(synced.map_err(failed))
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

    /// Told by the text of the clean-shutdown marker: Kafka writes the epoch of its broker into it, which is not -1 once it has served.
    fn last_holder(&self) -> Result<LastHolder, OpenError> {
        let marker = checkpoint::read_small(self.0, &self.name(CLEAN_MARKER)?)?;
        Ok(match marker.as_deref() {
            None => LastHolder::Unknown,
            Some(CLEAN_MARKER_TEXT) => LastHolder::Ours,
            Some(_) => LastHolder::Kafka,
        })
    }

    /// A file that cannot be read says nothing.
    fn kept_pages(&self, cache: Option<&PageCache>) -> bool {
        let Some(cache) = cache else { return false };
        let kept = name(page_cache::FILE_NAME).and_then(|file| cache.has_kept(self.0, &file));
        kept.unwrap_or_else(|error| {
            tracing::warn!(%error, "hanbeon.boot cannot be read: everything is checked");
            false
        })
    }

    /// What is not said costs time at the next opening, and nothing else: failures are no reason not to start.
    fn say_kept(&self, cache: Option<&PageCache>) -> Kept {
        let Some(cache) = cache else {
            self.say_nothing();
            return Kept::Never;
        };
        let written = name(page_cache::FILE_NAME).and_then(|file| cache.write(self.0, &file));
        if let Err(error) = written {
            tracing::warn!(%error, "hanbeon.boot is not written: the opening after a kill checks everything");
            self.say_nothing();
            return Kept::Never;
        }
        Kept::Said
    }

    /// Takes the file away where it is not known to be true. If that fails it is of another boot, or of this one and true: it was written
    /// when all was checked, and no page was lost since.
    fn say_nothing(&self) {
        if let Err(error) = self.take_back() {
            tracing::warn!(%error, "hanbeon.boot is not removed");
        }
    }

    /// Takes away what is not true any more. Empty, the file says nothing either.
    fn take_back(&self) -> io::Result<()> {
        let file = name(page_cache::FILE_NAME)?;
        match self.0.remove(&file) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(_) => self.0.open(&file, Open::Write)?.set_len(0),
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
}

/// Whether anything was ever written into a partition's directory.
fn holds_data<D: Dir>(dir: &D) -> io::Result<bool> {
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
    use hanbeon_log::{CrashDir, Fault, FaultKind, Lasting, MemDir};
    use hanbeon_records::TopicName;

    use super::*;

    fn open(dir: &MemDir) -> Result<DataDir<MemDir>, OpenError> {
        open_in(dir, None)
    }

    fn open_in<D: Dir>(dir: &D, page_cache: Option<PageCache>) -> Result<DataDir<D>, OpenError> {
        let state = std::cell::Cell::new(1_u64);
        DataDir::open(dir.clone(), None, page_cache, || {
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
        for _ in 0..2 {
            let refused = open(&dir).unwrap();
            assert_eq!(refused.last_stop, LastStop::Clean, "the last one has touched nothing");
            refused.release();
        }
        let opened = open(&dir).unwrap();
        opened.take_clean_marker().unwrap();
        opened.release();
        assert_eq!(open(&dir).unwrap().last_stop, LastStop::Unclean);
    }

    /// How the next opening in `boot` takes the last stop, when it goes through.
    fn stop_in<D: Dir>(dir: &D, boot: Option<&str>) -> (LastStop, DataDir<D>) {
        let opened = open_in(dir, boot.map(|boot| PageCache::new(boot, 1, 2))).unwrap();
        opened.take_clean_marker().unwrap();
        (opened.last_stop, opened)
    }

    #[test]
    fn a_kill_is_known_by_the_boot_and_nothing_else() {
        let dir = MemDir::new();
        let (stop, opened) = stop_in(&dir, Some("a"));
        assert_eq!(stop, LastStop::Unclean, "nobody knows who made it");
        opened.all_checked();
        opened.release();
        for boot in [Some("a"), Some("a")] {
            let (stop, opened) = stop_in(&dir, boot);
            assert_eq!(stop, LastStop::Killed);
            opened.release();
        }
        for boot in [Some("b"), None, Some("b"), Some("a")] {
            let (stop, opened) = stop_in(&dir, boot);
            assert_eq!(stop, LastStop::Unclean, "{boot:?}");
            opened.release();
        }
    }

    #[test]
    fn a_kill_before_all_was_checked_after_a_power_cut_is_none() {
        let dir = MemDir::new();
        let (_, opened) = stop_in(&dir, Some("a"));
        opened.write_clean_marker().unwrap();
        opened.release();
        let (stop, opened) = stop_in(&dir, Some("a"));
        assert_eq!(stop, LastStop::Clean);
        opened.release();
        // The power goes. The next one is killed while it checks, and so is the one after it.
        for _ in 0..2 {
            let (stop, opened) = stop_in(&dir, Some("b"));
            assert_eq!(stop, LastStop::Unclean);
            opened.release();
        }
        let (_, opened) = stop_in(&dir, Some("b"));
        opened.all_checked();
        opened.release();
        assert_eq!(stop_in(&dir, Some("b")).0, LastStop::Killed);
    }

    #[test]
    fn l9_a_failed_sync_puts_the_pages_in_doubt() {
        let dir = MemDir::new();
        let (_, opened) = stop_in(&dir, Some("a"));
        opened.all_checked();
        let error = LogError::Poisoned { dir: "x".to_owned() };
        let LogError::Poisoned { .. } = opened.poison.set(error) else { unreachable!() };
        opened.pages_in_doubt();
        opened.all_checked();
        opened.release();
        assert_eq!(stop_in(&dir, Some("a")).0, LastStop::Unclean);
    }

    #[test]
    fn l9_pages_are_in_doubt_though_the_file_that_vouches_for_them_cannot_be_removed() {
        let dir = CrashDir::new();
        let (_, opened) = stop_in(&dir, Some("a"));
        opened.all_checked();
        dir.inject(Fault { kind: FaultKind::Error, after: 0, lasting: Lasting::Once });
        opened.pages_in_doubt();
        assert_eq!(dir.fired(), 1);
        opened.release();
        assert_eq!(stop_in(&dir, Some("a")).0, LastStop::Unclean);
    }

    #[test]
    fn a_file_that_cannot_be_read_vouches_for_nothing_and_keeps_nobody_out() {
        let dir = CrashDir::new();
        let (_, opened) = stop_in(&dir, Some("a"));
        opened.all_checked();
        opened.release();
        // Behind `meta.properties`.
        dir.inject(Fault { kind: FaultKind::Read, after: 1, lasting: Lasting::Once });
        let (stop, opened) = stop_in(&dir, Some("a"));
        assert_eq!((stop, dir.fired()), (LastStop::Unclean, 1));
        opened.release();
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
