//! A bar for whoever waits at a terminal.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

/// From so many bytes on the work is long.
const LONG_BYTES: u64 = 64 << 20;

/// Shows on standard error how far the work is: only there, only to a terminal, only when it is long, and not between lines that come
/// to the same terminal.
#[derive(Debug, Default)]
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(super) fn begin(bytes: u64) -> Self {
        let watched = io::stderr().is_terminal() && !io::stdout().is_terminal();
        if !watched || bytes < LONG_BYTES {
            return Self(None);
        }
        let bar = ProgressBar::new(bytes);
        if let Ok(style) = ProgressStyle::with_template(
            "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
        ) {
            bar.set_style(style);
        }
        Self(Some(bar))
    }

    pub(super) fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
