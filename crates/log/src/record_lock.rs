//! The record lock that Apache Kafka takes, seen from Linux.
//!
//! Java locks a file by a record lock of POSIX (`fcntl`), and Linux keeps those apart from the locks of `flock`: neither sees
//! the other. A record lock of the open file does see Java's, and unlike one of the process it is not lost when
//! another handle to the file is closed.

use std::{fs::File, io};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordLock {
    Taken,
    /// Another holds one, by its process id where the system tells it.
    HeldBy(Option<u32>),
    /// The file system or the system has none: nobody else can hold one either.
    Unsupported,
}

/// Takes the write lock over all of `file`, which lasts as long as the open file does.
pub(crate) fn try_lock(file: &File) -> io::Result<RecordLock> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file())) {
        Ok(_) => Ok(RecordLock::Taken),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(RecordLock::HeldBy(holder(file))),
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => Ok(RecordLock::Unsupported),
        Err(error) => Err(error.into()),
    }
}

/// The process whose lock is in the way. A lock of an open file has none, nor has a process of another namespace.
fn holder(file: &File) -> Option<u32> {
    let mut found = whole_file();
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut found)).ok()?;
    u32::try_from(found.l_pid).ok().filter(|pid| *pid != 0)
}

const fn whole_file() -> libc::flock {
    #[expect(clippy::cast_possible_truncation, reason = "two constants that are 1 and 0")]
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        // To the end, wherever that will be.
        l_len: 0,
        // Must be 0 for locks of an open file.
        l_pid: 0,
    }
}
