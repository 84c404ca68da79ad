//! The list of segments as appender and readers share it.

use std::fmt;

use hanbeon_records::Offset;

use crate::sync::{Arc, Mutex};

/// Has a first offset that it may hold.
pub(crate) trait Based {
    /// That offset.
    fn base_offset(&self) -> Offset;
}

/// Segments by rising base offset; never empty. One writer, any number of readers.
///
/// Readers take the whole list and keep it as long as they like: a segment that was rolled, cut or deleted meanwhile stays
/// as it was for them. The lock is held for as long as it takes to copy one pointer.
///
/// A reader loads the published end of the log *before* it loads the list, and the writer adds a segment *before* it publishes an
/// end inside it: so a list is never older than the end it is used with.
pub(crate) struct Segments<S>(Mutex<Arc<Vec<Arc<S>>>>);

impl<S: Based> Segments<S> {
    /// A list of one or more.
    #[must_use]
    pub(crate) fn new(segments: Vec<Arc<S>>) -> Self {
        debug_assert!(!segments.is_empty(), "a log has a segment");
        Self(Mutex::new(Arc::new(segments)))
    }

    /// The list as it is now.
    #[must_use]
    pub(crate) fn load(&self) -> Arc<Vec<Arc<S>>> {
        Arc::clone(&self.0.lock())
    }

    /// Adds the newest segment.
    pub(crate) fn push(&self, segment: Arc<S>) {
        let mut segments = self.load().to_vec();
        segments.push(segment);
        self.replace(segments);
    }

    /// Puts another list in place of this one.
    pub(crate) fn replace(&self, segments: Vec<Arc<S>>) {
        debug_assert!(!segments.is_empty(), "a log has a segment");
        let new = Arc::new(segments);
        let old = std::mem::replace(&mut *self.0.lock(), new);
        drop(old); // outside the lock: the last holder of a segment unmaps it
    }
}

/// Place of the segment that holds `offset` if any does: the last one that begins at or below it.
pub(crate) fn floor<S: Based>(segments: &[Arc<S>], offset: Offset) -> Option<usize> {
    segments.partition_point(|segment| segment.base_offset() <= offset).checked_sub(1)
}

impl<S> fmt::Debug for Segments<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments").finish_non_exhaustive()
    }
}
