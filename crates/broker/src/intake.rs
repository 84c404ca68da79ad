//! One budget for the bytes of large requests, so that a thousand clients with large requests wait instead of filling the memory.
//!
//! Room is given for what a client announces, and a client may announce much and send nothing. So each address has a share in the budget, half
//! of it: whoever waits for room behind such clients waits for those of his own address.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests up to this size are not counted: each connection has a buffer of about that size anyway.
pub(crate) const FREE_BYTES: usize = 64 * 1024;

/// The budget as the connections from one address see it, counted in KiB. Clones are for the same address.
#[derive(Clone, Debug)]
pub(crate) struct Intake {
    all: Arc<Semaphore>,
    share: Arc<Semaphore>,
    share_kib: u32,
}

/// Room for one large request; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    of_share: OwnedSemaphorePermit,
    of_all: OwnedSemaphorePermit,
}

impl Room {
    /// As much of it as `bytes` take; none when they are few.
    pub(crate) fn shrunk_to(mut self, bytes: usize) -> Option<Self> {
        if bytes <= FREE_BYTES {
            return None;
        }
        let spare = self.of_all.num_permits().saturating_sub(bytes.div_ceil(1024));
        drop((self.of_all.split(spare), self.of_share.split(spare)));
        Some(self)
    }
}

impl Intake {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let all = (bytes_max / 1024).clamp(2, Semaphore::MAX_PERMITS);
        let share_kib = u32::try_from(all / 2).unwrap_or(u32::MAX);
        Self { all: Arc::new(Semaphore::new(all)), share: share_of(share_kib), share_kib }
    }

    /// The same budget, for the connections from another address.
    pub(crate) fn elsewhere(&self) -> Self {
        Self { share: share_of(self.share_kib), ..self.clone() }
    }

    /// Waits until there is room for a request of `bytes`; at once when it is small. The whole request is asked for before any of it is
    /// read beyond the first [`FREE_BYTES`], so that no two half-read requests can wait for each other. One that is longer than the share
    /// takes the share.
    pub(crate) async fn room_for(&self, bytes: usize) -> Option<Room> {
        if bytes <= FREE_BYTES {
            return None;
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.share_kib);
        // The share first, so that nobody waits in front of others for what its own address holds. The semaphores are never closed.
        let of_share = Arc::clone(&self.share).acquire_many_owned(kib).await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_many_owned(kib).await.ok()?;
        Some(Room { of_share, of_all })
    }
}

fn share_of(kib: u32) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(usize::try_from(kib).unwrap_or(usize::MAX)))
}

#[cfg(test)]
impl Intake {
    /// What nobody holds.
    pub(crate) fn free_bytes(&self) -> usize {
        self.all.available_permits() * 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn large_requests_share_a_budget_and_small_ones_pass() {
        let intake = Intake::new(1024 * 1024);
        assert!(intake.room_for(FREE_BYTES).await.is_none());
        let held = intake.room_for(400 * 1024).await;
        assert!(held.is_some());
        let mut second = Box::pin(intake.room_for(200 * 1024));
        assert!(!futures_poll(&mut second).await, "the share is used up");
        // More than the share takes the share: it waits for all of it, but it is not refused.
        let other = intake.elsewhere();
        let others = other.room_for(100 * 1024 * 1024).await;
        assert!(others.is_some());
        let third = intake.elsewhere();
        let mut third = Box::pin(third.room_for(200 * 1024));
        assert!(!futures_poll(&mut third).await, "the budget is used up");
        drop(others);
        assert!(third.await.is_some());
        drop(held);
        assert!(second.await.is_some());
    }

    #[tokio::test]
    async fn t_a4_who_waits_for_the_share_of_his_address_keeps_nobody_else_waiting() {
        let intake = Intake::new(1024 * 1024);
        let held = intake.room_for(usize::MAX).await;
        let mut next = Box::pin(intake.room_for(usize::MAX));
        assert!(!futures_poll(&mut next).await);
        assert!(intake.elsewhere().room_for(512 * 1024).await.is_some());
        drop(held);
        assert!(next.await.is_some());
    }

    #[tokio::test]
    async fn t_a4_what_is_held_no_more_is_given_back() {
        let intake = Intake::new(1024 * 1024);
        for (held, free) in
            [(usize::MAX, 624 * 1024), (300 * 1024, 724 * 1024), (FREE_BYTES, 1024 * 1024)]
        {
            let room = intake.room_for(400 * 1024).await.and_then(|room| room.shrunk_to(held));
            assert_eq!(intake.free_bytes(), free);
            drop(room);
            assert_eq!(intake.free_bytes(), 1024 * 1024);
        }
        // Of the share as well.
        assert!(intake.room_for(512 * 1024).await.is_some());
    }

    /// Whether the future is ready when polled once.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_ready())
        })
        .await
    }
}
