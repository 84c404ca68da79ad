//! Which operation fails, and how.

use std::io;

use crate::NotTried;

/// What a storage is asked to do, as far as it can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `open`, whether it makes the file or not, `lock`, or `list`.
    Open,
    /// `open` that makes a file, or `lock`.
    Create,
    /// `create_dir`.
    CreateDir,
    /// `rename`.
    Rename,
    /// `remove`.
    Remove,
    /// `Dir::sync`.
    SyncDir,
    /// `write_at`.
    Write,
    /// `reserve`.
    Reserve,
    /// `set_len`.
    SetLen,
    /// `LogFile::sync`.
    Sync,
    /// `read_at` or `view`.
    Read,
}

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Any operation that changes something reports an error and does nothing. A failed sync follows the rule below.
    Error,
    /// What needs room reports `StorageFull`; of a write, half may be there.
    NoSpace,
    /// A write puts down a part and reports an error.
    ShortWrite,
    /// The process dies inside an operation, and so does whatever it asks for afterwards but reads. Of a write the front is there: `bytes`
    /// modulo one more than its length. See [`crate::CrashDir::killed`].
    Kill {
        /// Any number.
        bytes: u64,
    },
    /// A sync reports an error once and *marks the pages clean*: they are not on the medium, reads show them, and the next
    /// sync says that all is well ("fsyncgate", what Linux does on ext4 and XFS).
    Sync,
    /// A read reports an error.
    Read,
    /// A directory's sync reports that it was [`NotTried`], and does nothing.
    DirClosed,
    /// No descriptor is left (`EMFILE`): opening a file or listing a directory reports an error and does nothing, and a directory's sync that it was [`NotTried`].
    NoDescriptor,
}

impl FaultKind {
    /// Whether such a fault can hit `operation`.
    #[must_use]
    pub const fn hits(self, operation: Operation) -> bool {
        use Operation::{Create, CreateDir, Open, Read, Reserve, SetLen, Sync, SyncDir, Write};
        match self {
            Self::Error | Self::Kill { .. } => !matches!(operation, Read | Open),
            Self::NoSpace => matches!(operation, Create | CreateDir | Write | Reserve | SetLen),
            Self::ShortWrite => matches!(operation, Write),
            Self::Sync => matches!(operation, Sync | SyncDir),
            Self::Read => matches!(operation, Read),
            Self::DirClosed => matches!(operation, SyncDir),
            Self::NoDescriptor => matches!(operation, Open | SyncDir),
        }
    }

    pub(crate) fn error(self) -> io::Error {
        let kind = match self {
            Self::NoSpace => io::ErrorKind::StorageFull,
            Self::Error
            | Self::ShortWrite
            | Self::Kill { .. }
            | Self::Sync
            | Self::Read
            | Self::DirClosed
            | Self::NoDescriptor => io::ErrorKind::Other,
        };
        let error = io::Error::new(kind, format!("injected fault: {self:?}"));
        let not_tried = matches!(self, Self::DirClosed | Self::NoDescriptor);
        if not_tried { NotTried(error).into() } else { error }
    }
}

/// How long a fault stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// One operation fails.
    Once,
    /// It and all later ones of its kind fail.
    Sticky,
}

/// A fault to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How.
    pub kind: FaultKind,
    /// How many operations that the kind can hit go well before.
    pub after: u64,
    /// How long.
    pub lasting: Lasting,
}

/// A rule of the storage traits that a back end breaks without a word: what [`crate::conformance`] must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// `LogFile::sync` says yes and does nothing.
    IgnoresSync,
    /// `Dir::sync` says yes and does nothing.
    IgnoresDirSync,
    /// `Dir::sync` leaves renames out.
    LosesRenames,
    /// `write_at` puts down a part and says that it was all.
    WritesShort,
}

/// The fault that is set, and what was counted.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    pub(crate) fault: Option<Fault>,
    pub(crate) fired: u64,
    pub(crate) operations: u64,
    pub(crate) syncs: u64,
}

impl Faults {
    /// Counts the operation; the fault that hits it.
    pub(crate) fn meet(&mut self, operation: Operation) -> Option<FaultKind> {
        if !matches!(operation, Operation::Read | Operation::Open) {
            self.operations = self.operations.saturating_add(1);
        }
        if matches!(operation, Operation::Sync | Operation::SyncDir) {
            self.syncs = self.syncs.saturating_add(1);
        }
        let fault = self.fault.as_mut().filter(|fault| fault.kind.hits(operation))?;
        if let Some(after) = fault.after.checked_sub(1) {
            fault.after = after;
            return None;
        }
        let kind = fault.kind;
        self.fired = self.fired.saturating_add(1);
        if fault.lasting == Lasting::Once {
            self.fault = None;
        }
        Some(kind)
    }
}
