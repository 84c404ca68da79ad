//! The record lock that Apache Kafka takes, seen from Linux.
//!
//! Java locks a file by a record lock of POSIX (`fcntl`), and Linux keeps those apart from the locks of `flock`: neither sees
//! the other. A record lock of the open file does see Java's, and unlike one of the process it is not lost when
//! another handle to the file is closed.

#![allow(
    unsafe_code,
    reason = "no dependency has a safe call for these locks; the one block says who keeps the promise"
)]

use std::{fs::File, io, os::fd::AsRawFd};

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
    let Err(error) = control(file, libc::F_OFD_SETLK, &mut whole_file()) else {
        return Ok(RecordLock::Taken);
    };
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(RecordLock::HeldBy(holder(file))),
        Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => Ok(RecordLock::Unsupported),
        _ => Err(error),
    }
}

/// The process whose lock is in the way. A lock of an open file has none, nor has a process of another namespace.
fn holder(file: &File) -> Option<u32> {
    let mut found = whole_file();
    control(file, libc::F_OFD_GETLK, &mut found).ok()?;
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

fn control(file: &File, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as `file` is borrowed. Both commands that are used here read a `flock` and
    // may write one, at a pointer that comes from a unique borrow of one and is not kept.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
