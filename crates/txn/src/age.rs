//! What happens because time passed: open transactions are aborted, idle ids forgotten.

use alloc::vec::Vec;

use hanbeon_records::Millis;

use crate::{
    Cause, Coordinator, Decision, FreshIds, Record, TransactionalId,
    txn::{Txn, tombstone},
};

impl Coordinator {
    /// The ids whose open transactions are older than their timeout, oldest deadline first. The timeout runs from the first
    /// enrolment and never touches a transaction that is decided or one that has no timeout.
    #[must_use]
    pub fn timed_out(&self, now: Millis) -> Vec<TransactionalId> {
        let passed = self.deadlines().iter().take_while(|(deadline, _)| *deadline < now);
        passed.map(|(_, id)| id.clone()).collect()
    }

    /// Decides to abort a transaction that timed out; nothing when it has not, or no longer is.
    pub fn abort_timed_out(
        &self,
        now: Millis,
        id: &TransactionalId,
        fresh: &mut dyn FreshIds,
    ) -> Decision<()> {
        let Some(txn) = self.txn(id).filter(|txn| txn.has_timed_out(now)) else {
            return Decision::answer(());
        };
        match self.server_abort(now, id, txn, Cause::TimedOut, fresh) {
            Ok(record) => Decision::log(record, ()),
            Err(error) => Decision::refuse(error),
        }
    }

    /// The first moment at which [`Self::timed_out`] will list an id, if nothing happens before.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Millis> {
        self.deadlines().first().map(|(deadline, _)| deadline.saturating_add(1))
    }

    /// Decides to forget ids that were idle for too long: one tombstone each. Append them in batches of the topic's
    /// `max.message.bytes`; leave out ids that another decision is under way for.
    #[must_use]
    pub fn expire(&self, now: Millis) -> Vec<Record> {
        let expiration_ms = self.settings.id_expiration_ms;
        let idle = |(_, txn): &(&TransactionalId, &Txn)| txn.has_expired(now, expiration_ms);
        self.txns().iter().filter(idle).map(|(id, _)| tombstone(id.clone())).collect()
    }

    /// [`Self::expire`] for one id, looked at again once no other decision for it is under way; nothing when it is not
    /// idle any more.
    pub fn expire_one(&self, now: Millis, id: &TransactionalId) -> Decision<()> {
        let expiration_ms = self.settings.id_expiration_ms;
        match self.txn(id) {
            Some(txn) if txn.has_expired(now, expiration_ms) => {
                Decision::log(tombstone(id.clone()), ())
            }
            Some(_) | None => Decision::answer(()),
        }
    }
}
