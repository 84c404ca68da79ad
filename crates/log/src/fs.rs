//! Directories and files of the operating system.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Read, Write},
    ops::Range,
    path::{Path, PathBuf},
};

use bytes::Bytes;

#[cfg(all(unix, target_pointer_width = "64"))]
use crate::mmap::Map;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
use crate::record_lock::{self, RecordLock};
use crate::{
    io::{Dir, Entry, EntryKind, FileName, LogFile, NotTried, Open},
    sync::{Arc, AtomicU64, Mutex, Ordering},
};

/// How [`LogFile::view`] gets at the bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// Through a shared read-only map; nothing is copied. A read error of the device kills the process (SIGBUS). Targets
    /// of 32 bits and systems other than Unix read as under [`ReadMode::Pread`].
    Map,
    /// By copying with `pread`; a read error of the device is an error value.
    Pread,
}

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct FsDir {
    path: Arc<Path>,
    mode: ReadMode,
}

/// A file of the file system. One handle at a time writes to it.
#[derive(Debug)]
pub struct FsFile {
    file: File,
    /// What this handle knows to be the length; other handles may have made the file longer.
    len: AtomicU64,
    mode: ReadMode,
    mapped: Mutex<Mapped>,
    /// What the first sync that failed was. One sync at a time: the system tells a handle of a failed write-back once, and whoever asks
    /// beside or after that call would take pages for durable that are not.
    failed_sync: Mutex<Option<io::ErrorKind>>,
}

/// The lock file of a data directory, held until dropped.
#[derive(Debug)]
pub struct FsLock {
    _file: File,
}

#[derive(Debug, Default)]
struct Mapped {
    /// All bytes that were asked for so far; empty when nothing is mapped.
    bytes: Bytes,
    #[cfg(all(unix, target_pointer_width = "64"))]
    map: Option<Arc<Map>>,
}

/// What a map holds beyond twice the file, at least: small files grow without being mapped again and again.
#[cfg(all(unix, target_pointer_width = "64"))]
const MAP_ROOM: u64 = 1 << 20;

/// Buffers that one `writev` of the system takes (`IOV_MAX` on Linux, the BSDs and macOS).
const SLICES_MAX: usize = 1024;

impl FsDir {
    /// The directory at `path`, made with its parents when absent (mode 0700 on Unix).
    ///
    /// # Errors
    /// What the system reports.
    pub fn create(path: impl AsRef<Path>, mode: ReadMode) -> io::Result<Self> {
        make_dir(path.as_ref(), Parents::Too)?;
        Self::open(path, mode)
    }

    /// The directory at `path`.
    ///
    /// # Errors
    /// `NotFound` when absent, `NotADirectory` when it is something else.
    pub fn open(path: impl AsRef<Path>, mode: ReadMode) -> io::Result<Self> {
        let path = path.as_ref();
        if !fs::metadata(path)?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self { path: path.into(), mode })
    }

    /// Its permission bits, where the system has such (`st_mode & 0o7777`).
    ///
    /// # Errors
    /// What the system reports.
    pub fn permission_bits(&self) -> io::Result<Option<u32>> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            Ok(Some(fs::metadata(&self.path)?.permissions().mode() & 0o7777))
        }
        #[cfg(not(unix))]
        Ok(None)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn at(&self, name: &FileName) -> PathBuf {
        self.path.join(name.as_str())
    }

    fn open_file(&self, name: &FileName, how: Open) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true);
            }
            Open::Create => {
                options.write(true).create(true).truncate(false);
            }
            Open::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        private_file(&mut options);
        options.open(self.at(name))
    }
}

impl Dir for FsDir {
    type File = FsFile;
    type Lock = FsLock;

    fn open(&self, name: &FileName, how: Open) -> io::Result<FsFile> {
        let file = self.open_file(name, how)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            let text = format!("{} is not a regular file", self.at(name).display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let len = AtomicU64::new(metadata.len());
        let mapped = Mutex::new(Mapped::default());
        Ok(FsFile { file, len, mode: self.mode, mapped, failed_sync: Mutex::new(None) })
    }

    fn rename(&self, from: &FileName, to: &FileName) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &FileName) -> io::Result<()> {
        let path = self.at(name);
        // Nearly always it is a file: what else it may be is looked at when the system says no.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                if fs::symlink_metadata(&path)?.is_dir() {
                    return fs::remove_dir_all(path);
                }
                Err(error)
            }
            result => result,
        }
    }

    /// Entries whose names are not valid UTF-8 are left out: nothing of ours or of Kafka's is called so.
    fn list(&self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().and_then(|name| FileName::new(name).ok())
            else {
                continue;
            };
            match kind_of(&entry) {
                Ok(kind) => entries.push(Entry { name, kind }),
                // Removed between being listed and being looked at.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    #[cfg(unix)]
    fn sync(&self) -> io::Result<()> {
        File::open(&self.path).map_err(NotTried)?.sync_all()
    }

    /// Windows has no such call; NTFS keeps its metadata in a journal.
    #[cfg(not(unix))]
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn create_dir(&self, name: &FileName) -> io::Result<Self> {
        let path = self.at(name);
        match make_dir(&path, Parents::MustExist) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(&path)?.is_dir() {
                    return Err(error);
                }
            }
            result => result?,
        }
        Ok(Self { path: path.into(), mode: self.mode })
    }

    fn dir(&self, name: &FileName) -> io::Result<Self> {
        let path = self.at(name);
        if !fs::symlink_metadata(&path)?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        Ok(Self { path: path.into(), mode: self.mode })
    }

    fn lock(&self, name: &FileName) -> io::Result<FsLock> {
        let mut file = self.open_file(name, Open::Create)?;
        let holder = match try_lock(&file)? {
            Locking::Taken => {
                let holder = format!("{}\n", std::process::id());
                // Cutting a file gives its block back: only what is longer is cut.
                if file.metadata()?.len() > holder.len() as u64 {
                    file.set_len(0)?;
                }
                file.write_all(holder.as_bytes())?;
                return Ok(FsLock { _file: file });
            }
            Locking::HeldByOurs => {
                let mut written = String::new();
                // Whoever holds it may be about to write its number; then the text does without.
                let told = file.take(32).read_to_string(&mut written).is_ok();
                Some(written.trim().to_owned()).filter(|text| told && !text.is_empty())
            }
            // What the file says is from an earlier holder: Kafka writes nothing into it.
            #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
            Locking::HeldByOther(pid) => pid.map(|pid| pid.to_string()),
        };
        let holder =
            holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"));
        let text = format!("{} is locked by {holder}", self.at(name).display());
        Err(io::Error::new(io::ErrorKind::WouldBlock, text))
    }

    fn display(&self) -> String {
        self.path.display().to_string()
    }
}

/// What an entry is. Only files are asked for their length: listing tells directories without a call for each.
fn kind_of(entry: &fs::DirEntry) -> io::Result<EntryKind> {
    let file_type = entry.file_type()?;
    Ok(if file_type.is_dir() {
        EntryKind::Dir
    } else if file_type.is_file() {
        EntryKind::File { len: entry.metadata()?.len() }
    } else {
        EntryKind::Other
    })
}

impl FsFile {
    /// Fails unless the file has `end` bytes; asks the system only when this handle knows of fewer.
    fn must_reach(&self, end: u64) -> io::Result<()> {
        if end <= self.len.load(Ordering::Acquire) || end <= self.refresh_len()? {
            return Ok(());
        }
        Err(io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    fn refresh_len(&self) -> io::Result<u64> {
        let len = self.file.metadata()?.len();
        // Never lowered: this handle's own writer may have published more since.
        Ok(self.len.fetch_max(len, Ordering::AcqRel).max(len))
    }

    fn copy(&self, range: Range<u64>) -> io::Result<Bytes> {
        let len = range.end.checked_sub(range.start).and_then(|len| usize::try_from(len).ok());
        let mut bytes = vec![0; len.ok_or(io::ErrorKind::InvalidInput)?];
        read_exact_at(&self.file, &mut bytes, range.start)?;
        Ok(bytes.into())
    }

    #[cfg(all(unix, target_pointer_width = "64"))]
    fn mapped(&self, range: Range<u64>) -> io::Result<Bytes> {
        let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let start = usize::try_from(range.start).map_err(too_large)?;
        let end = usize::try_from(range.end).map_err(too_large)?;
        if start > end {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let mut mapped = self.mapped.lock();
        if end > mapped.bytes.len() {
            // Up to the known end, not the asked one: whoever reads on finds it there.
            let len =
                usize::try_from(self.len.load(Ordering::Acquire)).map_err(too_large)?.max(end);
            mapped.bytes = match mapped.map.as_ref().and_then(|map| map.bytes(len)) {
                Some(bytes) => bytes,
                None => {
                    let room = (range.end.saturating_mul(2)).max(MAP_ROOM).max(range.end);
                    let room = usize::try_from(room).map_err(too_large)?.max(len);
                    let map = Arc::new(Map::new(&self.file, room)?);
                    let bytes = map.bytes(len).ok_or(io::ErrorKind::InvalidInput)?;
                    mapped.map = Some(map);
                    bytes
                }
            };
        }
        Ok(mapped.bytes.slice(start..end))
    }
}

impl LogFile for FsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.load(Ordering::Acquire))
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        read_exact_at(&self.file, into, at)
    }

    fn view(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.must_reach(range.end)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        match self.mode {
            #[cfg(all(unix, target_pointer_width = "64"))]
            ReadMode::Map => self.mapped(range),
            #[cfg(not(all(unix, target_pointer_width = "64")))]
            ReadMode::Map => self.copy(range),
            ReadMode::Pread => self.copy(range),
        }
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        write_all(slices, at, |left, at| {
            let written = write_some_at(&self.file, left, at)?;
            let end = at.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
            self.len.fetch_max(end, Ordering::Release); // pairs with the loads in `must_reach` and `len`
            Ok(written)
        })
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        let from = self.len.load(Ordering::Acquire);
        match len.checked_sub(from) {
            None | Some(0) => Ok(()),
            Some(more) => allocate(&self.file, from, more),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // The map is let go first: what it saw beyond `len` must not be reached through it again.
        let mut mapped = self.mapped.lock();
        *mapped = Mapped::default();
        self.file.set_len(len)?;
        self.len.store(len, Ordering::Release);
        drop(mapped);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut failed = self.failed_sync.lock();
        if let Some(kind) = *failed {
            return Err(io::Error::new(kind, "a sync of this file failed before"));
        }
        let synced = self.file.sync_data();
        *failed = synced.as_ref().err().map(io::Error::kind);
        drop(failed);
        synced
    }
}

/// Writes all of `slices` by as many calls as it takes: one call may write less than asked (KAFKA-17181).
pub(crate) fn write_all(
    slices: &[IoSlice<'_>],
    mut at: u64,
    mut write: impl FnMut(&[IoSlice<'_>], u64) -> io::Result<usize>,
) -> io::Result<()> {
    for chunk in slices.chunks(SLICES_MAX) {
        let mut total = chunk.iter().fold(0_usize, |sum, slice| sum.saturating_add(slice.len()));
        let mut rest: Vec<IoSlice<'_>>; // made only when a call came back short
        let mut left = chunk;
        while total > 0 {
            let written = match write(left, at) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(written) => written.min(total),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            total = total.saturating_sub(written);
            at = at.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
            if total > 0 {
                rest = left_after(left, written);
                left = &rest;
            }
        }
    }
    Ok(())
}

/// What is left of `slices` after their first `skip` bytes.
fn left_after<'a>(slices: &[IoSlice<'a>], mut skip: usize) -> Vec<IoSlice<'a>> {
    let mut left = Vec::with_capacity(slices.len());
    for slice in slices {
        let here = skip.min(slice.len());
        skip = skip.saturating_sub(here);
        let mut slice = *slice;
        slice.advance(here);
        if !slice.is_empty() {
            left.push(slice);
        }
    }
    left
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Parents {
    Too,
    MustExist,
}

fn make_dir(path: &Path, parents: Parents) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(parents == Parents::Too);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(unix)]
fn private_file(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    // std adds O_CLOEXEC by itself.
    options.mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
}

#[cfg(not(unix))]
fn private_file(_: &mut OpenOptions) {}

/// What became of an attempt to take the lock file.
enum Locking {
    Taken,
    /// By somebody who locks as we do, and writes its process id into the file.
    HeldByOurs,
    /// By somebody who locks as Java does, Apache Kafka above all.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    HeldByOther(Option<u32>),
}

fn try_lock(file: &File) -> io::Result<Locking> {
    if !try_flock(file)? {
        return Ok(Locking::HeldByOurs);
    }
    // Elsewhere the two kinds of locks see each other, or there is but one.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    if let RecordLock::HeldBy(pid) = record_lock::try_lock(file)? {
        return Ok(Locking::HeldByOther(pid));
    }
    Ok(Locking::Taken)
}

#[cfg(unix)]
fn try_flock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn try_flock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(fs::TryLockError::WouldBlock) => Ok(false),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, into: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, at)
}

#[cfg(unix)]
fn write_some_at(file: &File, slices: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
    match slices {
        // A tenth cheaper than a list of one.
        [one, rest @ ..] if rest.iter().all(|slice| slice.is_empty()) => {
            std::os::unix::fs::FileExt::write_at(file, one, at)
        }
        many => Ok(rustix::io::pwritev(file, many, at)?),
    }
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut into: &mut [u8], mut at: u64) -> io::Result<()> {
    while !into.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, into, at) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(read) => {
                into = into.get_mut(read..).unwrap_or_default();
                at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(windows)]
fn write_some_at(file: &File, slices: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
    let first = slices.iter().find(|slice| !slice.is_empty());
    first.map_or(Ok(0), |slice| std::os::windows::fs::FileExt::seek_write(file, slice, at))
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, from: u64, more: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::KEEP_SIZE, from, more) {
        // File systems without reservation: the space is found, or not, by the writes.
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Action, LogError, Poison};

    fn name(text: &str) -> FileName {
        FileName::new(text).unwrap()
    }

    fn short_writes(slices: &[&[u8]], most: usize) -> Vec<u8> {
        let slices: Vec<_> = slices.iter().map(|slice| IoSlice::new(slice)).collect();
        let mut content = Vec::new();
        let mut interrupted = false;
        write_all(&slices, 0, |left, at| {
            interrupted = !interrupted;
            if interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            assert!(left.len() <= SLICES_MAX, "more slices than one call takes");
            assert_eq!(at, content.len() as u64);
            let bytes: Vec<u8> =
                left.iter().flat_map(|slice| slice.iter().copied()).take(most).collect();
            content.extend_from_slice(&bytes);
            Ok(bytes.len())
        })
        .unwrap();
        content
    }

    /// L9: what was not tried may be tried again. A directory that is gone opens as little as any does without a file descriptor.
    #[cfg(unix)]
    #[test]
    fn l9_a_directory_that_does_not_open_is_no_sync_that_failed() {
        let home = tempfile::tempdir().unwrap();
        let dir = FsDir::create(home.path().join("t-0"), ReadMode::Pread).unwrap();
        fs::remove_dir(dir.path()).unwrap();
        let poison = Poison::new();
        let failed = |error| LogError::sync_dir(dir.display(), error);
        let error = poison.by_sync(dir.sync().map_err(failed)).unwrap_err();
        assert!(matches!(error, LogError::Io { action: Action::Open, .. }), "{error}");
        assert!(!poison.is_set());
    }

    #[test]
    fn a16_short_writes_are_finished_at_every_cut() {
        for most in 1..=12 {
            assert_eq!(short_writes(&[b"abc", b"", b"defg", b"hij"], most), b"abcdefghij");
        }
        let many = vec![&b"xy"[..]; SLICES_MAX * 2 + 1];
        assert_eq!(short_writes(&many, 1000).len(), many.len() * 2);
    }

    #[test]
    fn a16_a_write_that_writes_nothing_is_an_error() {
        let error = write_all(&[IoSlice::new(b"abc")], 0, |_, _| Ok(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
        write_all(&[IoSlice::new(b"")], 0, |_, _| Ok(0)).unwrap();
    }

    #[test]
    fn a_taken_lock_names_its_holder() {
        let root = tempfile::tempdir().unwrap();
        let dir = FsDir::open(root.path(), ReadMode::Map).unwrap();
        let held = dir.lock(&name(".lock")).unwrap();
        let error = dir.lock(&name(".lock")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(
            error.to_string().ends_with(&format!("locked by process {}", std::process::id())),
            "{error}"
        );
        drop(held);
        dir.lock(&name(".lock")).unwrap();
    }

    /// A record lock of POSIX conflicts with one of an open file even within one process; Java's `FileChannel.tryLock` takes such a one.
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    #[test]
    fn a_lock_as_java_takes_it_excludes_ours_and_is_excluded() {
        use rustix::fs::{FlockOperation, fcntl_lock};
        let root = tempfile::tempdir().unwrap();
        let dir = FsDir::open(root.path(), ReadMode::Map).unwrap();
        let java = dir.open_file(&name(".lock"), Open::Create).unwrap();

        let held = dir.lock(&name(".lock")).unwrap();
        let refused = fcntl_lock(&java, FlockOperation::NonBlockingLockExclusive).unwrap_err();
        assert!(matches!(refused, rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS));
        drop(held);

        // What a holder of ours wrote into the file is no word about Java.
        fs::write(root.path().join(".lock"), "1\n").unwrap();
        fcntl_lock(&java, FlockOperation::NonBlockingLockExclusive).unwrap();
        let error = dir.lock(&name(".lock")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(
            error.to_string().ends_with(&format!("locked by process {}", std::process::id())),
            "{error}"
        );
        assert_eq!(fs::read(root.path().join(".lock")).unwrap(), b"1\n");
        fcntl_lock(&java, FlockOperation::NonBlockingUnlock).unwrap();
        dir.lock(&name(".lock")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn files_and_directories_are_private_and_symbolic_links_not_followed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let root = tempfile::tempdir().unwrap();
        let dir = FsDir::create(root.path().join("data/log"), ReadMode::Map).unwrap();
        dir.open(&name("a"), Open::CreateNew).unwrap();
        dir.create_dir(&name("d")).unwrap();
        let mode =
            |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode("data"), mode("data/log"), mode("data/log/d"), mode("data/log/a")),
            (0o700, 0o700, 0o700, 0o600)
        );
        symlink("a", dir.path().join("link")).unwrap();
        symlink("d", dir.path().join("dir_link")).unwrap();
        for how in [Open::Read, Open::Write, Open::Create, Open::CreateNew] {
            assert!(dir.open(&name("link"), how).is_err());
        }
        assert!(dir.dir(&name("dir_link")).is_err());
        assert!(dir.create_dir(&name("dir_link")).is_err());
        let kinds: Vec<_> = dir.list().unwrap().into_iter().map(|entry| entry.kind).collect();
        assert_eq!(
            kinds,
            [EntryKind::File { len: 0 }, EntryKind::Dir, EntryKind::Other, EntryKind::Other]
        );
        dir.remove(&name("dir_link")).unwrap();
        assert!(dir.dir(&name("d")).is_ok(), "removing a link removes the link");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn set_len_gives_reserved_space_back() {
        use std::os::unix::fs::MetadataExt;
        let root = tempfile::tempdir().unwrap();
        let dir = FsDir::open(root.path(), ReadMode::Map).unwrap();
        let file = dir.open(&name("a"), Open::CreateNew).unwrap();
        let blocks = || fs::metadata(root.path().join("a")).unwrap().blocks();
        file.write_at(&[IoSlice::new(b"bytes")], 0).unwrap();
        file.reserve(8 << 20).unwrap();
        let reserved = blocks();
        file.set_len(5).unwrap();
        // File systems without reservation have nothing to give back.
        assert!(
            reserved < 1024 || blocks() < reserved / 2,
            "{reserved} blocks before, {} after",
            blocks()
        );
        assert_eq!(file.view(0..5).unwrap(), &b"bytes"[..]);
    }

    #[cfg(all(unix, target_pointer_width = "64"))]
    #[test]
    fn l7_views_are_slices_of_one_map_until_it_is_outgrown() {
        let root = tempfile::tempdir().unwrap();
        let dir = FsDir::open(root.path(), ReadMode::Map).unwrap();
        let file = dir.open(&name("a"), Open::CreateNew).unwrap();
        file.write_at(&[IoSlice::new(&[7; 4096])], 0).unwrap();
        let first = file.view(0..4096).unwrap();
        file.write_at(&[IoSlice::new(&[8; 4096])], 4096).unwrap();
        assert_eq!(file.view(0..8192).unwrap().as_ptr(), first.as_ptr());
        file.write_at(&[IoSlice::new(&vec![9; 4 << 20])], 8192).unwrap();
        assert_ne!(file.view(0..(4 << 20)).unwrap().as_ptr(), first.as_ptr());
        assert_eq!(first, vec![7; 4096]);
    }

    #[test]
    fn l10_views_outlive_a_removed_file() {
        let root = tempfile::tempdir().unwrap();
        let dir = FsDir::open(root.path(), ReadMode::Map).unwrap();
        let file = dir.open(&name("a"), Open::CreateNew).unwrap();
        file.write_at(&[IoSlice::new(&vec![7; 100_000])], 0).unwrap();
        let view = file.view(0..100_000).unwrap();
        dir.remove(&name("a")).unwrap();
        drop(file);
        assert!(view.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn readers_never_see_less_than_the_writer_told_them() {
        let root = tempfile::tempdir().unwrap();
        let dir = FsDir::open(root.path(), ReadMode::Map).unwrap();
        let file = dir.open(&name("a"), Open::CreateNew).unwrap();
        let published = crate::Published::new(0);
        crate::sync::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut seen = 0;
                    while seen < 2 << 20 {
                        let end = published.get();
                        let view = file.view(seen..end).unwrap();
                        assert!(
                            view.iter().all(|byte| *byte == 5),
                            "bytes below the published end were not there"
                        );
                        seen = end;
                    }
                });
            }
            for at in (0..2 << 20).step_by(4096) {
                file.write_at(&[IoSlice::new(&[5; 4096])], at).unwrap();
                published.advance(at + 4096);
            }
        });
    }
}
