//! Whether a member may commit or fetch offsets.

use hanbeon_records::TopicId;

use super::{ConsumerError, ConsumerGroup, member::Member};

/// The first version of `OffsetCommit` whose generation can be a member epoch.
const SAYS_MEMBER_EPOCH: i16 = 9;

/// What a commit says of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitClaim<'a> {
    /// Who, empty for nobody.
    pub member_id: &'a str,
    /// Of a static member.
    pub instance_id: Option<&'a str>,
    /// Member epoch or generation, negative for none.
    pub member_epoch: i32,
    /// Which request it came with.
    pub api: CommitApi,
}

/// How offsets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitApi {
    /// `OffsetCommit` of this version.
    OffsetCommit {
        /// Version of the request.
        version: i16,
    },
    /// `TxnOffsetCommit`, which need not say who commits.
    TxnOffsetCommit,
}

/// The right to commit offsets of the partitions it admits.
#[derive(Clone, Copy, Debug)]
pub struct CommitRule<'a>(Admits<'a>);

#[derive(Clone, Copy, Debug)]
enum Admits<'a> {
    All,
    /// From an earlier epoch: partitions that the member had then and has still (KIP-1251).
    HeldSince {
        member_id: &'a str,
        member: &'a Member,
        epoch: i32,
    },
}

impl CommitRule<'_> {
    /// Whether an offset of this partition may be committed.
    ///
    /// # Errors
    /// [`ConsumerError::StaleMemberEpoch`].
    pub fn admits(&self, topic: TopicId, partition: i32) -> Result<(), ConsumerError> {
        let Admits::HeldSince { member_id, member, epoch } = self.0 else { return Ok(()) };
        let since = member.assigned.epoch(topic, partition);
        match since.or_else(|| member.revoking.epoch(topic, partition)) {
            Some(since) if since <= epoch => Ok(()),
            _ => Err(stale(member_id, member, epoch)),
        }
    }
}

impl ConsumerGroup {
    /// Checks who commits; what comes back says which partitions it may commit.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`; `UNSUPPORTED_VERSION` for a commit whose version cannot say a member epoch; `STALE_MEMBER_EPOCH`, or
    /// `ILLEGAL_GENERATION` for members that speak the classic protocol.
    pub fn check_commit(&self, claim: &CommitClaim<'_>) -> Result<CommitRule<'_>, ConsumerError> {
        let epoch = claim.member_epoch;
        // An administrator, or a consumer that assigns itself.
        if epoch < 0 && self.is_empty() {
            return Ok(CommitRule(Admits::All));
        }
        let version = match claim.api {
            CommitApi::OffsetCommit { version } => Some(version),
            CommitApi::TxnOffsetCommit => None,
        };
        let says_nobody = claim.member_id.is_empty() && claim.instance_id.is_none();
        if version.is_none() && epoch == -1 && says_nobody {
            return Ok(CommitRule(Admits::All));
        }
        let (member_id, member) = self
            .members
            .get_key_value(claim.member_id)
            .ok_or_else(|| self.unknown(claim.member_id))?;
        if let Some(got) =
            version.filter(|got| *got < SAYS_MEMBER_EPOCH && !member.speaks_classic())
        {
            let member_id = member_id.clone();
            return Err(ConsumerError::UnsupportedCommitVersion { member_id, got });
        }
        if epoch == member.epoch {
            return Ok(CommitRule(Admits::All));
        }
        if epoch > member.epoch || epoch < 0 || member.speaks_classic() {
            return Err(stale(member_id, member, epoch));
        }
        Ok(CommitRule(Admits::HeldSince { member_id, member, epoch }))
    }

    /// Checks who fetches offsets; a request without member id and epoch is nobody's.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`; `STALE_MEMBER_EPOCH`, or `ILLEGAL_GENERATION` for members that speak the classic protocol.
    pub fn check_fetch(
        &self,
        member_id: Option<&str>,
        member_epoch: i32,
    ) -> Result<(), ConsumerError> {
        let Some(id) = member_id else {
            return if member_epoch < 0 { Ok(()) } else { Err(self.unknown("")) };
        };
        if id.is_empty() && member_epoch < 0 {
            return Ok(());
        }
        let member = self.member(id).ok_or_else(|| self.unknown(id))?;
        if member.epoch == member_epoch { Ok(()) } else { Err(stale(id, member, member_epoch)) }
    }
}

fn stale(member_id: &str, member: &Member, got: i32) -> ConsumerError {
    let (member_id, current) = (member_id.into(), member.epoch);
    if member.speaks_classic() {
        ConsumerError::IllegalGeneration { member_id, current, got }
    } else {
        ConsumerError::StaleMemberEpoch { member_id, current, got }
    }
}
