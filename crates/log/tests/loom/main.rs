//! Every structure that threads share, run through all its interleavings by loom (`loom.sh` beside this folder runs the
//! models, and each of them again with one ordering or wake-up taken away, which must fail).
#![cfg(hanbeon_loom)]

mod completion;
mod group;
mod group_sync;
mod new_names;
mod offsets;
mod published;
mod segments;

// For the sources that are taken in by path.
use hanbeon_log::{Published, sync};

use std::sync::atomic::{AtomicU64, Ordering};

/// Runs `body` through its interleavings with at most three preemptions (`LOOM_MAX_PREEMPTIONS` changes that) and
/// prints how many there were.
fn model(name: &str, body: impl Fn() + Send + Sync + 'static) {
    // Of std, not of loom: it counts over all interleavings.
    let runs = std::sync::Arc::new(AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&runs);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        body();
    });
    eprintln!("{name}: {} interleavings", runs.load(Ordering::Relaxed));
}
