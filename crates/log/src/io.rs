//! What the log asks of storage: two small traits.
//!
//! Durability is explicit and has two halves. [`LogFile::sync`] makes a file's bytes and length survive a power cut;
//! [`Dir::sync`] makes creations, renames and removals in a directory survive. A back end proves itself against the
//! public suite `hanbeon_log::conformance` (feature `testing`).

use std::{
    fmt,
    io::{self, IoSlice},
    ops::Range,
};

use bytes::Bytes;

/// Inside an error of [`Dir::sync`]: the directory could not even be opened, for want of a file descriptor say. The system was asked to make
/// nothing durable, so that it has dropped nothing and told nobody.
#[derive(Debug, thiserror::Error)]
#[error("the directory does not open: {0}")]
pub struct NotTried(#[source] pub io::Error);

impl From<NotTried> for io::Error {
    fn from(error: NotTried) -> Self {
        Self::new(error.0.kind(), error)
    }
}

/// How [`Dir::open`] treats a file that is or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading only; `NotFound` when absent.
    Read,
    /// For reading and writing; `NotFound` when absent.
    Write,
    /// For reading and writing, made empty when absent, kept as it is when present.
    Create,
    /// For reading and writing; `AlreadyExists` when present.
    CreateNew,
}

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file with its length in bytes.
    File {
        /// Bytes.
        len: u64,
    },
    /// A directory.
    Dir,
    /// Anything else (a symbolic link, a socket): never followed, never opened.
    Other,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: FileName,
    /// What it is.
    pub kind: EntryKind,
}

/// The name of an entry directly in a directory: not empty, no `/`, no NUL, neither `.` nor `..`, at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

impl FileName {
    /// Checks a name.
    ///
    /// # Errors
    /// `InvalidInput` when the text is no name of an entry.
    pub fn new(name: impl Into<String>) -> io::Result<Self> {
        let name = name.into();
        let refused = name.is_empty()
            || name.len() > 255
            || name == "."
            || name == ".."
            || name.contains(['/', '\\', '\0']);
        if refused {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("not a file name: {name:?}"),
            ));
        }
        Ok(Self(name))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A directory: names, and the files and directories under them.
///
/// Cheap to clone; clones name the same directory.
pub trait Dir: Clone + fmt::Debug + Send + Sync + 'static {
    /// A file of this back end.
    type File: LogFile;
    /// Holds a [`Dir::lock`] until dropped.
    type Lock: fmt::Debug + Send + Sync + 'static;

    /// Opens a file. Symbolic links are not followed.
    ///
    /// # Errors
    /// As [`Open`] says, and what the storage reports.
    fn open(&self, name: &FileName, how: Open) -> io::Result<Self::File>;

    /// Renames a file or directory, atomically, replacing a file `to`. Durable after [`Dir::sync`].
    ///
    /// # Errors
    /// `NotFound` when `from` is absent.
    fn rename(&self, from: &FileName, to: &FileName) -> io::Result<()>;

    /// Removes a file, or a directory with all it holds. Durable after [`Dir::sync`]; open handles and views stay good.
    ///
    /// # Errors
    /// `NotFound` when absent.
    fn remove(&self, name: &FileName) -> io::Result<()>;

    /// All entries, sorted by name.
    ///
    /// # Errors
    /// What the storage reports.
    fn list(&self) -> io::Result<Vec<Entry>>;

    /// Makes all creations, renames and removals in this directory so far durable.
    ///
    /// # Errors
    /// What the storage reports; nothing may be assumed durable then. With [`NotTried`] inside it may be tried again.
    fn sync(&self) -> io::Result<()>;

    /// Makes a directory; fine when it is there. Durable after [`Dir::sync`] of this one.
    ///
    /// # Errors
    /// `AlreadyExists` when a file has the name.
    fn create_dir(&self, name: &FileName) -> io::Result<Self>;

    /// The directory under `name`.
    ///
    /// # Errors
    /// `NotFound` when absent.
    fn dir(&self, name: &FileName) -> io::Result<Self>;

    /// Takes the exclusive lock that the file `name` stands for (created when absent), without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when another holder, of this or another process, has it; the text names the holder's process id
    /// where the file tells.
    fn lock(&self, name: &FileName) -> io::Result<Self::Lock>;

    /// How a person finds this directory, for messages.
    fn display(&self) -> String;
}

/// An open file. Appends go to a place that the caller knows; nothing here keeps a position.
///
/// After an error of [`LogFile::write_at`] or [`LogFile::sync`] the file's state is unknown: its owner must stop using it for
/// writing. A failed `sync` must never be tried again (the pages it failed on may be gone and the second call succeed).
pub trait LogFile: fmt::Debug + Send + Sync + 'static {
    /// Bytes in the file.
    ///
    /// # Errors
    /// What the storage reports.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are none.
    ///
    /// # Errors
    /// As [`LogFile::len`].
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `into` from `at` on.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before `into` is full.
    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()>;

    /// The bytes of `range`, without copying where the back end can. They stay as they are while held, whatever
    /// happens to the file's name; nobody may shrink the file below `range.end` or write below it meanwhile.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before the range does.
    fn view(&self, range: Range<u64>) -> io::Result<Bytes>;

    /// Writes all of `slices`, one after the other, from `at` on.
    ///
    /// # Errors
    /// What the storage reports; any part may have been written.
    fn write_at(&self, slices: &[IoSlice<'_>], at: u64) -> io::Result<()>;

    /// Reserves space up to `len` bytes without changing the length of the file; a hint where the storage cannot.
    ///
    /// # Errors
    /// `StorageFull` when there is no room.
    fn reserve(&self, len: u64) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeroes, and gives reserved space beyond `len` back.
    ///
    /// # Errors
    /// What the storage reports.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the bytes and the length durable (`fdatasync`).
    ///
    /// # Errors
    /// What the storage reports; never to be tried again.
    fn sync(&self) -> io::Result<()>;
}
