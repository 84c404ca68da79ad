//! What lies in a partition's directory, and finishing what a crash interrupted there.

use std::collections::{BTreeMap, BTreeSet};

use hanbeon_records::Offset;

use crate::{
    Action, Dir, EntryKind, FileName, FileStage, LogError, LogFile, Open, SegmentFile,
    SegmentFileName,
    checkpoint::path,
    walk::{Fault, Walker},
};

/// The files of a partition that belong to segments.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// `.log` files in use, with their bytes.
    pub(crate) logs: BTreeMap<Offset, u64>,
    /// All other files in use.
    pub(crate) others: BTreeSet<SegmentFileName>,
    /// Files on their way in or out.
    pub(crate) unfinished: BTreeSet<SegmentFileName>,
}

impl Listing {
    pub(crate) fn read<D: Dir>(dir: &D) -> Result<Self, LogError> {
        let entries =
            dir.list().map_err(|error| LogError::io(Action::List, dir.display(), error))?;
        let mut listing = Self::default();
        for entry in entries {
            let EntryKind::File { len } = entry.kind else { continue };
            let Some(name) = SegmentFileName::parse(entry.name.as_str()) else { continue };
            match (name.stage, name.kind) {
                (FileStage::Live, SegmentFile::Log) => {
                    listing.logs.insert(name.base_offset, len);
                }
                (FileStage::Live, _) => {
                    listing.others.insert(name);
                }
                (FileStage::Deleted | FileStage::Cleaned | FileStage::Swap, _) => {
                    listing.unfinished.insert(name);
                }
            }
        }
        Ok(listing)
    }

    pub(crate) fn has(&self, base: Offset, kind: SegmentFile) -> bool {
        self.others.contains(&SegmentFileName::live(base, kind))
    }

    /// Offsets of the snapshots, newest first.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = Offset> {
        let snapshots = self.others.iter().rev();
        snapshots.filter(|name| name.kind == SegmentFile::Snapshot).map(|name| name.base_offset)
    }

    /// Indexes whose segment is gone.
    pub(crate) fn orphans(&self) -> impl Iterator<Item = SegmentFileName> {
        let of_segment = |kind| match kind {
            SegmentFile::OffsetIndex | SegmentFile::TimeIndex | SegmentFile::TxnIndex => true,
            SegmentFile::Log | SegmentFile::Snapshot | SegmentFile::Producers => false,
        };
        self.others
            .iter()
            .filter(move |name| of_segment(name.kind) && !self.logs.contains_key(&name.base_offset))
            .copied()
    }

    /// Brings deletions, compactions and cuts that a crash interrupted to their end. Returns the files touched.
    ///
    /// `.deleted` and `.cleaned` files go. `.swap` files replace what they were made from, unless a `.cleaned` file at or below them says
    /// that the set is not complete. Every step may be interrupted and done again.
    pub(crate) fn finish<D: Dir>(&self, dir: &D) -> Result<Vec<String>, LogError> {
        let at = |stage| self.unfinished.iter().filter(move |name| name.stage == stage).copied();
        let cleaned: Vec<_> = at(FileStage::Cleaned).collect();
        let incomplete = cleaned.iter().map(|name| name.base_offset).min();
        let (dropped, swaps): (Vec<_>, Vec<_>) = at(FileStage::Swap)
            .partition(|name| incomplete.is_some_and(|from| name.base_offset >= from));
        let mut touched = Vec::new();
        for name in at(FileStage::Deleted).chain(dropped).chain(cleaned) {
            remove(dir, &name)?;
            touched.push(name.to_string());
        }
        self.replace_sources(dir, &swaps, &mut touched)?;
        // The log first: with only its indexes left aside, the rest is renaming.
        let is_log = |name: &&SegmentFileName| name.kind == SegmentFile::Log;
        let logs = swaps.iter().filter(is_log);
        let indexes = swaps.iter().filter(|name| !is_log(name));
        for name in logs.chain(indexes) {
            let (from, to) = (name.file_name(), name.at(FileStage::Live).file_name());
            dir.rename(&from, &to)
                .map_err(|error| LogError::io(Action::Rename, path(dir, &from), error))?;
            touched.push(name.to_string());
        }
        if !touched.is_empty() {
            dir.sync().map_err(|error| LogError::sync_dir(dir.display(), error))?;
        }
        Ok(touched)
    }

    /// Removes the files that complete `.swap` logs stand for.
    fn replace_sources<D: Dir>(
        &self,
        dir: &D,
        swaps: &[SegmentFileName],
        touched: &mut Vec<String>,
    ) -> Result<(), LogError> {
        let mut covered: Option<(Offset, Offset)> = None;
        for name in swaps.iter().filter(|name| name.kind == SegmentFile::Log) {
            let end = end_of(dir, name)?;
            let (from, to) = covered.unwrap_or((name.base_offset, end));
            covered = Some((from.min(name.base_offset), to.max(end)));
        }
        let Some((from, to)) = covered else { return Ok(()) };
        let logs = self.logs.keys().map(|base| SegmentFileName::live(*base, SegmentFile::Log));
        for name in self.others.iter().copied().chain(logs) {
            if (from..to).contains(&name.base_offset) {
                remove(dir, &name)?;
                touched.push(name.to_string());
            }
        }
        Ok(())
    }
}

/// The offset at which a `.swap` log ends.
fn end_of<D: Dir>(dir: &D, name: &SegmentFileName) -> Result<Offset, LogError> {
    let file_name = name.file_name();
    let tried = |action| {
        let file_name = &file_name;
        move |error| LogError::io(action, path(dir, file_name), error)
    };
    let failed = tried(Action::Read);
    let file = dir.open(&file_name, Open::Read).map_err(tried(Action::Open))?;
    let len = file.len().map_err(&failed)?;
    let mut walker = Walker::new(&file, 0, len);
    let mut end = name.base_offset;
    loop {
        match walker.next() {
            Ok(Some((_, head))) => end = head.next_offset(),
            Ok(None) => return Ok(end),
            Err(Fault::Io(error)) => return Err(failed(error)),
            Err(Fault::Damage { at, damage }) => {
                let file = path(dir, &file_name);
                return Err(crate::Corruption { file, at, damage }.into());
            }
        }
    }
}

pub(crate) fn remove<D: Dir>(dir: &D, name: &SegmentFileName) -> Result<(), LogError> {
    let name: FileName = name.file_name();
    match dir.remove(&name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(LogError::io(Action::Remove, path(dir, &name), error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
