//! Waiting for something to read, or for the next word to the coordinator.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::seats::MemberKey;
use crate::{AnyData, Engine, Env, System, engine::Shared};

impl<E: Env> Shared<E> {
    /// Wakes the members whose heartbeat is due; milliseconds until the next one's is.
    pub(crate) fn tend_members(&self) -> u64 {
        let now = self.ground.env.monotonic();
        let left = self.members.wake_due(now).map(|next| next.saturating_sub(now).as_millis());
        left.map_or(u64::MAX, |left| u64::try_from(left).unwrap_or(u64::MAX).max(1))
    }

    /// The engine has stopped: every member must speak, and hears that.
    pub(crate) fn wake_members(&self) {
        self.members.nudge(|_| true);
    }
}

/// Resolves when [`crate::GroupConsumer::poll`] may return something, or has to be called for the sake of the membership.
#[derive(Debug)]
#[must_use]
pub struct GroupData<E: Env = System> {
    pub(super) engine: Engine<E>,
    pub(super) key: MemberKey,
    /// None while there is nothing to read from.
    pub(super) data: Option<AnyData<E>>,
}

impl<E: Env> Future for GroupData<E> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(data) = &mut self.data
            && Pin::new(data).poll(cx).is_ready()
        {
            return Poll::Ready(());
        }
        self.engine.shared().members.poll(&self.key, self.engine.env().monotonic(), cx)
    }
}
