//! What a fuzz target may take of memory while it handles one input, counted where it allocates: a fuzzer's own tables grow with its corpus and are no finding.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Most bytes of an input; `run` tells the fuzzer the same.
const MAX_LEN: usize = 8192;

/// Most bytes that may be held at once on behalf of one input: 64 MiB and eight times the input.
pub const ROOM: usize = (64 << 20) + 8 * MAX_LEN;

#[global_allocator]
static COUNTED: Counted = Counted;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Runs what handles one input within [`ROOM`].
///
/// # Panics
///
/// When more bytes than that were held at a time.
pub fn within_room(handle: impl FnOnce()) {
    within(ROOM, handle);
}

/// Runs what handles one input.
///
/// # Panics
///
/// When more than `room` bytes were held at a time.
pub fn within(room: usize, handle: impl FnOnce()) {
    let before = HELD.load(Relaxed);
    PEAK.store(before, Relaxed);
    handle();
    let most = PEAK.load(Relaxed) - before;
    assert!(most <= room, "an input made its target hold {most} bytes at once, {room} are allowed");
}

struct Counted;

impl Counted {
    fn took(bytes: usize) {
        let held = HELD.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(held, Relaxed);
    }
}

// SAFETY: each call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::took(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::took(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::took(size);
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}
