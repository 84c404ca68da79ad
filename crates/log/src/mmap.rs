//! Files mapped for reading; the only unsafe code of the workspace.
//!
//! A map covers more than the file holds, so that bytes appended later are seen through it without mapping again. Pages
//! past the end of the file are never touched: a slice is only ever formed over bytes that are in the file.

#![allow(
    unsafe_code,
    reason = "slices over a mapped file cannot be made without; every block says who keeps the promise"
)]

use std::{fs::File, io};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};

use crate::sync::Arc;

/// A shared read-only map of a file from its start.
#[derive(Debug)]
pub(crate) struct Map {
    raw: MmapRaw,
}

impl Map {
    /// Maps `capacity` bytes of `file`, which may be shorter.
    pub(crate) fn new(file: &File, capacity: usize) -> io::Result<Self> {
        Ok(Self { raw: MmapOptions::new().len(capacity).map_raw_read_only(file)? })
    }

    /// The first `len` bytes, which keep the map alive; `None` when the map is smaller.
    ///
    /// The caller answers for the file being at least `len` bytes long.
    pub(crate) fn bytes(self: &Arc<Self>, len: usize) -> Option<Bytes> {
        (len <= self.raw.len()).then(|| Bytes::from_owner(Part { map: Arc::clone(self), len }))
    }
}

/// The part of a map that lies in the file.
struct Part {
    map: Arc<Map>,
    /// At most the map's length and, when the part was made, the file's.
    len: usize,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `len` is within the map (checked in `Map::bytes`, the only maker), and the map lives as long as `self`.
        // The pages exist: `FsFile::view`, the only caller of `Map::bytes`, asks for no more than the file's length, and
        // users of `LogFile` promise (its documentation) neither to shrink the file below a view nor to write below its end; the
        // partition keeps that promise by appending past the published end only and by cutting into a new file, and the
        // lock of the data directory keeps other processes out. Tests: `conformance::views_*`, `fs::tests`.
        unsafe { std::slice::from_raw_parts(self.map.raw.as_ptr(), self.len) }
    }
}
