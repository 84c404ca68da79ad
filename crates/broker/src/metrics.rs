//! What is counted about connections and requests, and the page that shows it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use hanbeon_wire::ApiKey;

/// Connections opened, closed and refused. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionMetrics(Arc<ConnectionCounts>);

#[derive(Debug, Default)]
struct ConnectionCounts {
    opened: AtomicU64,
    closed: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionMetrics {
    pub(crate) fn opened(&self) {
        self.0.opened.fetch_add(1, Relaxed);
    }

    pub(crate) fn closed(&self) {
        self.0.closed.fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.0.refused.fetch_add(1, Relaxed);
    }
}

/// Requests by API. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct RequestMetrics(Arc<Vec<AtomicU64>>);

impl RequestMetrics {
    pub(crate) fn new() -> Self {
        let slots = ApiKey::ALL.iter().map(|api| usize::try_from(api.number()).unwrap_or(0)).max();
        Self(Arc::new((0..=slots.unwrap_or(0)).map(|_| AtomicU64::new(0)).collect()))
    }

    pub(crate) fn count(&self, api: ApiKey) {
        if let Some(count) = usize::try_from(api.number()).ok().and_then(|at| self.0.get(at)) {
            count.fetch_add(1, Relaxed);
        }
    }
}
