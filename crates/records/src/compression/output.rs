//! A caller's buffer with a lid.

use alloc::vec::Vec;

use super::{CodecError, OutputLimit};

/// Smallest step in which the buffer grows.
#[cfg(any(feature = "gzip", feature = "zstd"))]
const STEP_MIN: usize = 8 << 10;

/// Appends to a buffer, at most as many bytes as the limit allows.
#[derive(Debug)]
pub(super) struct Output<'b> {
    into: &'b mut Vec<u8>,
    start: usize,
    limit: usize,
}

impl<'b> Output<'b> {
    pub(super) const fn new(into: &'b mut Vec<u8>, limit: OutputLimit) -> Self {
        let start = into.len();
        Self { into, start, limit: limit.get() }
    }

    /// Bytes that may still be appended.
    pub(super) const fn left(&self) -> usize {
        self.limit.saturating_sub(self.into.len().saturating_sub(self.start))
    }

    pub(super) const fn too_large(&self) -> CodecError {
        CodecError::TooLarge { limit: self.limit }
    }

    /// Appends `bytes` as they are.
    #[cfg(feature = "lz4")]
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), CodecError> {
        if bytes.len() > self.left() {
            return Err(self.too_large());
        }
        self.into.extend_from_slice(bytes);
        Ok(())
    }

    /// Gives `write` a slice of `len` zeroes at the end of the buffer and keeps as many bytes as it returns. The
    /// caller has made sure that `len` is within the limit and in proportion to real input.
    #[cfg(any(feature = "lz4", feature = "snappy"))]
    pub(super) fn fill<E>(
        &mut self,
        len: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let at = self.into.len();
        self.into.resize(at.saturating_add(len), 0);
        let result = write(self.into.get_mut(at..).unwrap_or_default());
        let kept = result.as_ref().map_or(0, |written| *written);
        self.into.truncate(at.saturating_add(kept));
        result.map(drop)
    }

    /// The buffer with spare capacity behind its end: as much as is there already, within the limit. One byte above
    /// the limit is granted, so that what goes beyond is noticed by [`Self::check`].
    #[cfg(any(feature = "gzip", feature = "zstd"))]
    pub(super) fn spare(&mut self) -> &mut Vec<u8> {
        if self.into.len() == self.into.capacity() {
            let written = self.into.len().saturating_sub(self.start);
            let step = written.max(STEP_MIN).min(self.left().saturating_add(1));
            self.into.reserve_exact(step);
        }
        self.into
    }

    /// Whether what was written through [`Self::spare`] is within the limit.
    #[cfg(any(feature = "gzip", feature = "zstd"))]
    pub(super) fn check(&self) -> Result<(), CodecError> {
        if self.into.len().saturating_sub(self.start) > self.limit {
            Err(self.too_large())
        } else {
            Ok(())
        }
    }
}
