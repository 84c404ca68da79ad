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
pub(crate) use rng::Rng;

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
    path: Arc<str>,
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
        Self { disk: Arc::new(Mutex::new(disk)), id, path: "crash".into() }
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
        Self { disk: Arc::new(Mutex::new(crashed)), id: self.id, path: Arc::clone(&self.path) }
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
        Self { disk: Arc::clone(&self.disk), id, path: format!("{}/{name}", self.path).into() }
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
        let mut disk = self.disk.lock();
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
        self.path.as_ref().to_owned()
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
