//! A storage that loses power and fails on demand (feature `testing`).
//!
//! Files and directories live on the heap together with what a medium would hold of them. [`CrashDir::crash`] draws, from a
//! seed, one of the states that a power cut may leave: any of the unsynced page writes, in any order, torn into sectors; old or new
//! lengths; any of the directory operations since the last [`Dir::sync`]; zeroes or stale bytes where a file grew before
//! its pages were written. What was synced is there.

mod disk;
mod fault;
mod rng;

use std::{
    io::{self, IoSlice},
    ops::Range,
};

use bytes::Bytes;

pub use disk::CrashReport;
pub use fault::{Broken, Fault, FaultKind, Lasting, Operation};

use crate::{
    io::{Dir, Entry, EntryKind, FileName, LogFile, Open},
    mem::part,
    sync::{Arc, Mutex, MutexGuard},
};
use disk::{Child, Disk};

/// A directory on a simulated medium.
#[derive(Clone, Debug)]
pub struct CrashDir {
    disk: Arc<Mutex<Disk>>,
    id: u64,
    path: String,
}

/// A file on a simulated medium. Views are copies.
#[derive(Debug)]
pub struct CrashFile {
    disk: Arc<Mutex<Disk>>,
    id: u64,
}

/// A held [`Dir::lock`] of a [`CrashDir`].
#[derive(Debug)]
pub struct CrashLock {
    disk: Arc<Mutex<Disk>>,
    dir: u64,
    name: FileName,
}

impl CrashDir {
    /// The root of an empty medium.
    #[must_use]
    pub fn new() -> Self {
        let mut disk = Disk::default();
        let id = disk.new_dir();
        Self { disk: Arc::new(Mutex::new(disk)), id, path: "crash".to_owned() }
    }

    /// One that breaks a rule of the traits.
    #[must_use]
    pub fn broken(how: Broken) -> Self {
        let dir = Self::new();
        dir.disk.lock().broken = Some(how);
        dir
    }

    /// The medium as a power cut at this moment may leave it, seen from this directory; which way, the seed says. This
    /// one stays as it is, so that many crashes can be drawn from one moment. Faults are not taken over, a broken rule is.
    ///
    /// The directory itself must have been made durable (as the root is): otherwise the copy may be empty and without a name.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let disk = self.disk.lock();
        let mut crashed = disk.crashed(seed);
        crashed.broken = disk.broken;
        drop(disk);
        crashed.dirs.entry(self.id).or_default();
        Self { disk: Arc::new(Mutex::new(crashed)), id: self.id, path: self.path.clone() }
    }

    /// The medium as a kill of the process at this moment leaves it, seen from this directory: with everything that was written, as far from
    /// the medium as it was. This one stays as it is. Faults are not taken over, a broken rule is.
    #[must_use]
    pub fn killed(&self) -> Self {
        let disk = self.disk.lock();
        let mut killed = disk.killed();
        killed.broken = disk.broken;
        drop(disk);
        Self { disk: Arc::new(Mutex::new(killed)), id: self.id, path: self.path.clone() }
    }

    /// What the crash that made this medium did.
    #[must_use]
    pub fn report(&self) -> CrashReport {
        self.disk.lock().report
    }

    /// How many unsynced page writes, lengths and directory operations there are for a crash to choose from.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.disk.lock().unsynced()
    }

    /// Sets the fault to come, in place of the one set before.
    pub fn inject(&self, fault: Fault) {
        self.disk.lock().faults.fault = Some(fault);
    }

    /// Takes the fault away.
    pub fn heal(&self) {
        self.disk.lock().faults.fault = None;
    }

    /// Operations that failed by [`CrashDir::inject`] so far.
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.disk.lock().faults.fired
    }

    /// Operations so far, reads left out.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk.lock().faults.operations
    }

    /// Syncs of files and directories so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.disk.lock().faults.syncs
    }

    fn meet(&self, operation: Operation) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk.lock();
        match disk.faults.meet(operation) {
            Some(fault) => Err(fault.error()),
            None => Ok(disk),
        }
    }

    fn child(&self, name: &FileName) -> io::Result<Option<Child>> {
        Ok(self.disk.lock().dir(self.id)?.entries.get(name).copied())
    }

    fn file(&self, id: u64) -> CrashFile {
        CrashFile { disk: Arc::clone(&self.disk), id }
    }

    fn below(&self, name: &FileName, id: u64) -> Self {
        Self { disk: Arc::clone(&self.disk), id, path: format!("{}/{name}", self.path) }
    }
}

impl Default for CrashDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Dir for CrashDir {
    type File = CrashFile;
    type Lock = CrashLock;

    fn open(&self, name: &FileName, how: Open) -> io::Result<CrashFile> {
        self.meet(Operation::Open).map(drop)?;
        match self.child(name)? {
            Some(_) if how == Open::CreateNew => Err(io::ErrorKind::AlreadyExists.into()),
            Some(Child::File(id)) => Ok(self.file(id)),
            Some(Child::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None if matches!(how, Open::Create | Open::CreateNew) => {
                let mut disk = self.meet(Operation::Create)?;
                let id = disk.new_file();
                disk.dir(self.id)?.link(name, Child::File(id));
                drop(disk);
                Ok(self.file(id))
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &FileName, to: &FileName) -> io::Result<()> {
        let mut disk = self.meet(Operation::Rename)?;
        let dir = disk.dir(self.id)?;
        let child = dir.entries.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        if matches!((child, dir.entries.get(to)), (Child::File(_), Some(Child::Dir(_)))) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if from != to {
            dir.rename(from, to, child);
        }
        drop(disk);
        Ok(())
    }

    fn remove(&self, name: &FileName) -> io::Result<()> {
        let mut disk = self.meet(Operation::Remove)?;
        let dir = disk.dir(self.id)?;
        if !dir.entries.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        dir.unlink(name);
        drop(disk);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut disk = self.meet(Operation::Open)?;
        let entries = disk.dir(self.id)?.entries.clone();
        let mut listed = Vec::with_capacity(entries.len());
        for (name, child) in entries {
            let kind = match child {
                Child::Dir(_) => EntryKind::Dir,
                Child::File(id) => EntryKind::File { len: length(disk.file(id)?.0.content.len()) },
            };
            listed.push(Entry { name, kind });
        }
        drop(disk);
        Ok(listed)
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.meet(Operation::SyncDir)?;
        let broken = disk.broken;
        disk.dir(self.id)?.sync(broken);
        drop(disk);
        Ok(())
    }

    fn create_dir(&self, name: &FileName) -> io::Result<Self> {
        match self.child(name)? {
            Some(Child::Dir(id)) => return Ok(self.below(name, id)),
            Some(Child::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            None => {}
        }
        let mut disk = self.meet(Operation::CreateDir)?;
        let id = disk.new_dir();
        disk.dir(self.id)?.link(name, Child::Dir(id));
        drop(disk);
        Ok(self.below(name, id))
    }

    fn dir(&self, name: &FileName) -> io::Result<Self> {
        match self.child(name)? {
            Some(Child::Dir(id)) => Ok(self.below(name, id)),
            Some(Child::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn lock(&self, name: &FileName) -> io::Result<CrashLock> {
        self.open(name, Open::Create)?;
        if !self.disk.lock().locks.insert((self.id, name.clone())) {
            let text =
                format!("{}/{name} is locked by this process ({})", self.path, std::process::id());
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        Ok(CrashLock { disk: Arc::clone(&self.disk), dir: self.id, name: name.clone() })
    }

    fn display(&self) -> String {
        self.path.clone()
    }
}

impl Drop for CrashLock {
    fn drop(&mut self) {
        self.disk.lock().locks.remove(&(self.dir, self.name.clone()));
    }
}

impl CrashFile {
    fn meet(&self, operation: Operation) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk.lock();
        match disk.faults.meet(operation) {
            Some(fault) => Err(fault.error()),
            None => Ok(disk),
        }
    }

    fn put(
        &self,
        disk: &mut Disk,
        slices: &[IoSlice<'_>],
        at: u64,
        mut room: usize,
    ) -> io::Result<()> {
        let mut at = usize::try_from(at).map_err(io::Error::other)?;
        for slice in slices {
            let bytes = slice.get(..room.min(slice.len())).unwrap_or_default();
            let (file, clock) = disk.file(self.id)?;
            file.write(bytes, at, clock);
            at = at.saturating_add(bytes.len());
            room = room.saturating_sub(bytes.len());
        }
        Ok(())
    }
}

impl LogFile for CrashFile {
    fn len(&self) -> io::Result<u64> {
        Ok(length(self.disk.lock().file(self.id)?.0.content.len()))
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let mut disk = self.meet(Operation::Read)?;
        let (file, _) = disk.file(self.id)?;
        into.copy_from_slice(part(&file.content, at..at.saturating_add(length(into.len())))?);
        drop(disk);
        Ok(())
    }

    fn view(&self, range: Range<u64>) -> io::Result<Bytes> {
        let mut disk = self.meet(Operation::Read)?;
        let view = Bytes::copy_from_slice(part(&disk.file(self.id)?.0.content, range)?);
        drop(disk);
        Ok(view)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let total = slices.iter().fold(0_usize, |sum, slice| sum.saturating_add(slice.len()));
        let mut disk = self.disk.lock();
        let (room, result) = match disk.faults.meet(Operation::Write) {
            Some(fault @ (FaultKind::ShortWrite | FaultKind::NoSpace)) => {
                (total / 2, Err(fault.error()))
            }
            Some(fault @ FaultKind::Kill { bytes }) if disk.faults.fired == 1 => {
                let front = bytes.checked_rem(length(total).saturating_add(1)).unwrap_or(0);
                (usize::try_from(front).unwrap_or(total), Err(fault.error()))
            }
            Some(fault) => (0, Err(fault.error())),
            None if disk.broken == Some(Broken::WritesShort) => (total.saturating_sub(1), Ok(())),
            None => (total, Ok(())),
        };
        self.put(&mut disk, slices, at, room)?;
        drop(disk);
        result
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        self.meet(Operation::Reserve).map(drop)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.meet(Operation::SetLen)?;
        let (file, clock) = disk.file(self.id)?;
        file.set_len(usize::try_from(len).map_err(io::Error::other)?, clock);
        drop(disk);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let fault = disk.faults.meet(Operation::Sync);
        let broken = disk.broken;
        let (file, _) = disk.file(self.id)?;
        match fault {
            None => {
                file.sync(broken);
                drop(disk);
                Ok(())
            }
            // The cache goes on having what it had.
            Some(fault @ FaultKind::Kill { .. }) => Err(fault.error()),
            Some(fault) => {
                file.sync_failed();
                drop(disk);
                Err(fault.error())
            }
        }
    }
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    fn put(file: &CrashFile, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_at(&[IoSlice::new(bytes)], at)
    }

    fn all(file: &CrashFile) -> Vec<u8> {
        file.view(0..file.len().unwrap()).unwrap().to_vec()
    }

    /// A log of 40 KiB of which the first 8 KiB are synced, and a checkpoint renamed into place without a sync.
    fn half_synced() -> CrashDir {
        let dir = CrashDir::new();
        let log = dir.open(&name("log"), Open::CreateNew).unwrap();
        put(&log, &[1; 8192], 0).unwrap();
        log.sync().unwrap();
        dir.sync().unwrap();
        for (nth, at) in (2..).zip((8192..40_960).step_by(2048)) {
            put(&log, &[nth; 2048], at).unwrap();
        }
        drop(dir.open(&name("checkpoint.tmp"), Open::CreateNew).unwrap());
        dir.rename(&name("checkpoint.tmp"), &name("checkpoint")).unwrap();
        dir
    }

    #[test]
    fn every_kind_of_loss_is_drawn_often_enough() {
        let dir = half_synced();
        let reports: Vec<_> = (0..1000).map(|seed| dir.crash(seed).report()).collect();
        let share = |kind: fn(&CrashReport) -> u64| {
            reports.iter().filter(|report| kind(report) > 0).count()
        };
        let shares = [
            ("dropped", share(|report| report.dropped)),
            ("torn", share(|report| report.torn)),
            ("reordered", share(|report| report.reordered)),
            ("lost directory operations", share(|report| report.lost_dir_ops)),
            ("old sizes", share(|report| report.old_sizes)),
            ("stale pages", share(|report| report.stale_pages)),
        ];
        for (kind, images) in shares {
            eprintln!("{kind}: {images} of 1000 images");
            assert!((150..1000).contains(&images), "{kind} in {images} of 1000 images");
        }
    }

    #[test]
    fn l1_what_was_synced_is_in_every_image_and_the_same_seed_draws_the_same() {
        let dir = half_synced();
        for seed in 0..500 {
            let image = dir.crash(seed);
            let log = all(&image.open(&name("log"), Open::Read).unwrap());
            assert_eq!(log.get(..8192).unwrap(), [1; 8192], "seed {seed}");
            assert_eq!(
                log,
                all(&dir.crash(seed).open(&name("log"), Open::Read).unwrap()),
                "seed {seed}"
            );
            assert_eq!(image.list().unwrap(), dir.crash(seed).list().unwrap(), "seed {seed}");
        }
    }

    #[test]
    fn a_kill_loses_nothing_and_holds_no_lock() {
        let dir = half_synced();
        let lock = dir.lock(&name(".lock")).unwrap();
        let left = dir.killed();
        assert_eq!(left.list().unwrap(), dir.list().unwrap());
        let all_of = |dir: &CrashDir| all(&dir.open(&name("log"), Open::Read).unwrap());
        assert_eq!(all_of(&left), all_of(&dir));
        drop(left.lock(&name(".lock")).unwrap());
        assert_eq!(left.unsynced(), dir.unsynced(), "and no more of it is on the medium");
        for seed in 0..100 {
            assert_eq!(all_of(&left.crash(seed)), all_of(&dir.crash(seed)), "seed {seed}");
        }
        drop(lock);
    }

    #[test]
    fn an_image_is_durable_as_a_whole() {
        let image = half_synced().crash(3);
        assert_eq!(image.unsynced(), 0);
        let log = all(&image.open(&name("log"), Open::Read).unwrap());
        assert_eq!(all(&image.crash(9).open(&name("log"), Open::Read).unwrap()), log);
        assert_eq!(image.crash(9).report(), CrashReport::default());
    }

    #[test]
    fn l9_after_a_failed_sync_the_next_says_all_is_well_and_the_bytes_are_gone() {
        let dir = CrashDir::new();
        let file = dir.open(&name("a"), Open::CreateNew).unwrap();
        put(&file, &[1; 4096], 0).unwrap();
        file.sync().unwrap();
        dir.sync().unwrap();
        put(&file, &[2; 4096], 0).unwrap();
        dir.inject(Fault { kind: FaultKind::Sync, after: 0, lasting: Lasting::Once });
        file.sync().unwrap_err();
        file.sync().unwrap();
        assert_eq!(all(&file), [2; 4096], "the cache shows the new bytes");
        for seed in 0..20 {
            let image = dir.crash(seed);
            assert_eq!(
                all(&image.open(&name("a"), Open::Read).unwrap()),
                [1; 4096],
                "the medium has the old ones"
            );
        }
        assert_eq!(dir.fired(), 1);
    }

    #[test]
    fn faults_hit_the_operation_they_name_once_or_for_good() {
        let dir = CrashDir::new();
        let file = dir.open(&name("a"), Open::CreateNew).unwrap();
        dir.inject(Fault { kind: FaultKind::NoSpace, after: 1, lasting: Lasting::Sticky });
        put(&file, b"1234", 0).unwrap();
        assert_eq!(put(&file, b"5678", 4).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(all(&file), b"123456", "half of it was written");
        file.sync().unwrap();
        assert_eq!(
            dir.open(&name("b"), Open::Create).unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
        dir.heal();
        put(&file, b"78", 6).unwrap();
        dir.inject(Fault { kind: FaultKind::Read, after: 0, lasting: Lasting::Once });
        file.view(0..8).unwrap_err();
        assert_eq!(file.view(0..8).unwrap(), &b"12345678"[..]);
        assert_eq!((dir.fired(), dir.operations(), dir.syncs()), (3, 6, 1));
    }

    #[test]
    fn a4_a_new_file_may_vanish_until_its_directory_is_synced() {
        let dir = CrashDir::new();
        let file = dir.open(&name("a"), Open::CreateNew).unwrap();
        put(&file, b"bytes", 0).unwrap();
        file.sync().unwrap();
        assert!((0..50).any(|seed| dir.crash(seed).list().unwrap().is_empty()));
        dir.sync().unwrap();
        assert!((0..50).all(|seed| dir.crash(seed).list().unwrap().len() == 1));
    }
}
