//! One budget for the bytes of large requests, so that a thousand clients with large requests wait instead of filling the memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests up to this size are not counted: each connection has a buffer of about that size anyway.
pub(crate) const FREE_BYTES: usize = 64 * 1024;

/// The budget, counted in KiB.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    permits: Arc<Semaphore>,
    kib_max: u32,
}

/// Room for one large request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    permit: OwnedSemaphorePermit,
}

impl Room {
    /// As much of it as `bytes` take; none when they are few.
    pub(crate) fn shrunk_to(mut self, bytes: usize) -> Option<Self> {
        if bytes <= FREE_BYTES {
            return None;
        }
        let spare = self.permit.num_permits().saturating_sub(bytes.div_ceil(1024));
        drop(self.permit.split(spare));
        Some(self)
    }
}

impl Intake {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let kib_max = u32::try_from(bytes_max / 1024).unwrap_or(u32::MAX).max(1);
        let permits = usize::try_from(kib_max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(permits)), kib_max }
    }

    /// Waits until there is room for a request of `bytes`; at once when it is small. The whole request is asked for before any of it is
    /// read beyond the first [`FREE_BYTES`], so that no two half-read requests can wait for each other.
    pub(crate) async fn room_for(&self, bytes: usize) -> Option<Room> {
        if bytes <= FREE_BYTES {
            return None;
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.kib_max);
        // The semaphore is never closed.
        let permit = Arc::clone(&self.permits).acquire_many_owned(kib).await.ok()?;
        Some(Room { permit })
    }
}

#[cfg(test)]
impl Intake {
    /// What nobody holds.
    pub(crate) fn free_bytes(&self) -> usize {
        self.permits.available_permits() * 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_requests_share_a_budget_and_small_ones_pass() {
        let intake = Intake::new(1024 * 1024);
        assert!(intake.room_for(FREE_BYTES).await.is_none());
        let held = intake.room_for(1024 * 1024).await;
        assert!(held.is_some());
        let mut second = Box::pin(intake.room_for(200 * 1024));
        let blocked = futures_poll(&mut second).await;
        assert!(!blocked, "the budget is used up");
        drop(held);
        assert!(second.await.is_some());
        // More than the whole budget is held to the budget: it waits for all of it, but it is not refused.
        assert!(intake.room_for(100 * 1024 * 1024).await.is_some());
    }

    #[tokio::test]
    async fn t_a4_what_is_held_no_more_is_given_back() {
        let intake = Intake::new(1024 * 1024);
        for (held, free) in [(usize::MAX, 0), (800 * 1024, 224 * 1024), (FREE_BYTES, 1024 * 1024)] {
            let room = intake.room_for(1024 * 1024).await.and_then(|room| room.shrunk_to(held));
            assert_eq!(intake.free_bytes(), free);
            drop(room);
            assert_eq!(intake.free_bytes(), 1024 * 1024);
        }
    }

    /// Whether the future is ready when polled once.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_ready())
        })
        .await
    }
}
