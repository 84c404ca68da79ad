//! Directories and files on the heap: for tests, for Miri, and for hosts that keep nothing.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice},
    ops::Range,
};

use bytes::Bytes;

use crate::{
    io::{Dir, Entry, EntryKind, FileName, LogFile, Open},
    sync::{Arc, AtomicBool, Mutex, Ordering},
};

/// A directory on the heap, gone when the last clone of it or of a directory above it is.
#[derive(Clone, Debug)]
pub struct MemDir {
    path: String,
    entries: Arc<Mutex<BTreeMap<FileName, Node>>>,
}

/// A file on the heap. Views are copies.
#[derive(Clone, Debug, Default)]
pub struct MemFile(Arc<Mutex<Vec<u8>>>);

/// A held [`Dir::lock`] of a [`MemDir`].
#[derive(Debug)]
pub struct MemLock(Arc<AtomicBool>);

#[derive(Clone, Debug)]
enum Node {
    File(MemFile),
    Dir(MemDir),
    Lock(Arc<AtomicBool>),
}

impl MemDir {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::called("memory")
    }

    fn called(path: &str) -> Self {
        Self { path: path.to_owned(), entries: Arc::new(Mutex::new(BTreeMap::new())) }
    }
}

impl Default for MemDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Dir for MemDir {
    type File = MemFile;
    type Lock = MemLock;

    fn open(&self, name: &FileName, how: Open) -> io::Result<MemFile> {
        let mut entries = self.entries.lock();
        match entries.get(name) {
            Some(_) if how == Open::CreateNew => Err(io::ErrorKind::AlreadyExists.into()),
            Some(Node::File(file)) => Ok(file.clone()),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Node::Lock(_)) => Ok(MemFile::default()),
            None if matches!(how, Open::Create | Open::CreateNew) => {
                let file = MemFile::default();
                entries.insert(name.clone(), Node::File(file.clone()));
                drop(entries);
                Ok(file)
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn rename(&self, from: &FileName, to: &FileName) -> io::Result<()> {
        let mut entries = self.entries.lock();
        let node = entries.get(from).cloned().ok_or(io::ErrorKind::NotFound)?;
        if matches!((&node, entries.get(to)), (Node::File(_) | Node::Lock(_), Some(Node::Dir(_)))) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        entries.remove(from);
        entries.insert(to.clone(), node);
        drop(entries);
        Ok(())
    }

    fn remove(&self, name: &FileName) -> io::Result<()> {
        let removed = self.entries.lock().remove(name);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let entries = self.entries.lock();
        let mut listed = Vec::with_capacity(entries.len());
        for (name, node) in entries.iter() {
            let kind = match node {
                Node::File(file) => EntryKind::File { len: file.len()? },
                Node::Dir(_) => EntryKind::Dir,
                Node::Lock(_) => EntryKind::File { len: 0 },
            };
            listed.push(Entry { name: name.clone(), kind });
        }
        drop(entries);
        Ok(listed)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn create_dir(&self, name: &FileName) -> io::Result<Self> {
        let mut entries = self.entries.lock();
        match entries.get(name) {
            Some(Node::Dir(dir)) => Ok(dir.clone()),
            Some(Node::File(_) | Node::Lock(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => {
                let dir = Self::called(&format!("{}/{name}", self.path));
                entries.insert(name.clone(), Node::Dir(dir.clone()));
                drop(entries);
                Ok(dir)
            }
        }
    }

    fn dir(&self, name: &FileName) -> io::Result<Self> {
        match self.entries.lock().get(name) {
            Some(Node::Dir(dir)) => Ok(dir.clone()),
            Some(Node::File(_) | Node::Lock(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn lock(&self, name: &FileName) -> io::Result<MemLock> {
        let mut entries = self.entries.lock();
        let node = entries
            .entry(name.clone())
            .or_insert_with(|| Node::Lock(Arc::new(AtomicBool::new(false))));
        if let Node::File(_) = node {
            *node = Node::Lock(Arc::new(AtomicBool::new(false)));
        }
        let Node::Lock(held) = node else { return Err(io::ErrorKind::IsADirectory.into()) };
        let held = Arc::clone(held);
        drop(entries);
        if held.swap(true, Ordering::AcqRel) {
            let text =
                format!("{}/{name} is locked by this process ({})", self.path, std::process::id());
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        Ok(MemLock(held))
    }

    fn display(&self) -> String {
        self.path.clone()
    }
}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl LogFile for MemFile {
    fn len(&self) -> io::Result<u64> {
        u64::try_from(self.0.lock().len()).map_err(io::Error::other)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let len = u64::try_from(into.len()).map_err(io::Error::other)?;
        let content = self.0.lock();
        into.copy_from_slice(part(&content, at..at.saturating_add(len))?);
        drop(content);
        Ok(())
    }

    fn view(&self, range: Range<u64>) -> io::Result<Bytes> {
        Ok(Bytes::copy_from_slice(part(&self.0.lock(), range)?))
    }

    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()> {
        let mut content = self.0.lock();
        let mut at = usize::try_from(at).map_err(io::Error::other)?;
        for slice in slices {
            overwrite(&mut content, slice, at);
            at = at.saturating_add(slice.len());
        }
        drop(content);
        Ok(())
    }

    fn reserve(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of `range`, or `UnexpectedEof`.
pub(crate) fn part(content: &[u8], range: Range<u64>) -> io::Result<&[u8]> {
    let range = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
    let part = range.and_then(|(start, end)| content.get(start..end));
    part.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Puts `bytes` at `at`, with zeroes before them where the content ended earlier.
pub(crate) fn overwrite(content: &mut Vec<u8>, bytes: &[u8], at: usize) {
    let end = at.saturating_add(bytes.len());
    if content.len() < end && !bytes.is_empty() {
        content.resize(end, 0);
    }
    if let Some(place) = content.get_mut(at..end) {
        place.copy_from_slice(bytes);
    }
}
