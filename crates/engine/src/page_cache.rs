//! Knowing that no page was lost: whether the machine has run without a break since a directory was written to.
//!
//! What a process has written outlives it, in the page cache, until the machine goes down. So a file in the data directory says in which
//! boot, and in which directory, everything in it is either on the disk or in the cache. It counts only where all of it is as it
//! would be written now, so it is compared and never parsed: torn, copied with the directory, of another boot, it says nothing.
//! It needs no sync: what a power cut makes of it is never of the next boot.

use std::{fmt, io};

use hanbeon_log::{Dir, FileName, LogFile, Open, checkpoint::read_whole};

/// Name of the file in a data directory; Kafka leaves plain files alone that it does not know.
pub(crate) const FILE_NAME: &str = "hanbeon.boot";

/// Far above what the file can have.
const BYTES_MAX: u64 = 1024;

/// What keeps the pages that are written into a directory until they are on the disk: one boot of a machine, and the directory
/// itself, so that a copy is another one.
///
/// [`crate::Env::page_cache`] says which it is now. Where two moments have the same, whatever was written in between is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageCache {
    boot: String,
    device: u64,
    inode: u64,
}

impl PageCache {
    /// The boot `boot`, an identifier that no other boot of any machine has, and the directory `inode` of `device`.
    #[must_use]
    pub fn new(boot: impl Into<String>, device: u64, inode: u64) -> Self {
        Self { boot: boot.into(), device, inode }
    }

    /// Of a directory on this machine; `None` where the system does not tell.
    #[cfg(target_os = "linux")]
    pub(crate) fn of(dir: &std::path::Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;

        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let boot = boot.trim();
        let metadata = std::fs::metadata(dir).ok()?;
        (!boot.is_empty()).then(|| Self::new(boot, metadata.dev(), metadata.ino()))
    }

    /// Of a directory on this machine; `None`, because no such identifier is known of this system.
    #[cfg(not(target_os = "linux"))]
    pub(crate) const fn of(_dir: &std::path::Path) -> Option<Self> {
        None
    }

    /// Whether the file in `dir` says that this is what has kept its pages.
    pub(crate) fn has_kept<D: Dir>(&self, dir: &D, file: &FileName) -> io::Result<bool> {
        let file = match dir.open(file, Open::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let found = read_whole(&file, BYTES_MAX)?;
        Ok(found.is_some_and(|found| found == self.to_string().as_bytes()))
    }

    /// Says in `dir` that it keeps its pages from now on.
    pub(crate) fn write<D: Dir>(&self, dir: &D, file: &FileName) -> io::Result<()> {
        let (file, text) = (dir.open(file, Open::Create)?, self.to_string());
        // Cutting a file gives its block back, and the next opening of the same boot writes the same: only what is longer is cut.
        if file.len()? > text.len() as u64 {
            file.set_len(0)?;
        }
        file.write_at(&[io::IoSlice::new(text.as_bytes())], 0)
    }
}

/// The text of the file.
impl fmt::Display for PageCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boot, device, inode } = self;
        write!(f, "version=1\nboot={boot}\ndevice={device}\ninode={inode}\n")
    }
}

#[cfg(test)]
mod tests {
    use hanbeon_log::MemDir;

    use super::*;

    #[test]
    fn only_all_of_it_counts() {
        let (dir, file) = (MemDir::new(), FileName::new(FILE_NAME).unwrap());
        let cache = PageCache::new("b", 3, 4);
        assert!(!cache.has_kept(&dir, &file).unwrap(), "absent");
        cache.write(&dir, &file).unwrap();
        assert!(cache.has_kept(&dir, &file).unwrap());
        for other in
            [PageCache::new("c", 3, 4), PageCache::new("b", 5, 4), PageCache::new("b", 3, 6)]
        {
            assert!(!other.has_kept(&dir, &file).unwrap(), "{other}");
        }
        let written = dir.open(&file, Open::Write).unwrap();
        for len in (0..written.len().unwrap()).rev() {
            written.set_len(len).unwrap();
            assert!(!cache.has_kept(&dir, &file).unwrap(), "torn after {len} bytes");
        }
        written.set_len(BYTES_MAX + 1).unwrap();
        assert!(!cache.has_kept(&dir, &file).unwrap(), "too long");
        for other in [PageCache::new("longer", 30, 40), PageCache::new("s", 3, 4), cache] {
            other.write(&dir, &file).unwrap();
            assert!(other.has_kept(&dir, &file).unwrap(), "{other} over another");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_tells_and_a_copy_is_another_directory() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let of = |dir: &tempfile::TempDir| PageCache::of(dir.path()).unwrap();
        assert_eq!(of(&one), of(&one));
        assert_ne!(of(&one), of(&two));
    }
}
