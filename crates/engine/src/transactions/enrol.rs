//! Writes inside a transaction: the coordinator is asked before a partition's first batch, and the batch carries its word (KIP-890).

use std::{collections::BTreeMap, fmt, future::Future, pin::Pin};

use bytes::Bytes;
use hanbeon_idempotence::{
    MarkerProtocol, Origin, Verification, VerificationGuard, VerificationNeed, VerificationRequest,
};
use hanbeon_log::Source;
use hanbeon_records::{BatchRef, Offset, TopicPartition};
use hanbeon_replica::Acks;
use hanbeon_txn::{AddPartitions, Membership, Producer, Protocol, TransactionalId, Verify};

use super::{
    TransactionError, Transactions,
    shard::{Decided, pass},
};
use crate::{Env, PartitionHandle, Produce, ProduceError, System};

/// What a write does about a partition that is not part of its transaction yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrol {
    /// It is refused: the client announces partitions beforehand (Produce up to 11).
    Verify,
    /// It becomes part of it (Produce 12 and later).
    Add,
}

/// Batches on their way into a transaction, in the order they were given.
#[must_use = "only the answers say whether the batches were taken"]
pub enum TransactionalProduce<E: Env = System> {
    /// The coordinator's word is in its log.
    Begun(Vec<Produce<E>>),
    /// It is being made durable; the batches are written then.
    Gated(Pin<Box<dyn Future<Output = Vec<Produce<E>>> + Send>>),
}

impl<E: Env> TransactionalProduce<E> {
    /// Waits for the coordinator's word.
    pub async fn begun(self) -> Vec<Produce<E>> {
        match self {
            Self::Begun(produced) => produced,
            Self::Gated(future) => future.await,
        }
    }
}

impl<E: Env> fmt::Debug for TransactionalProduce<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun(produced) => f.debug_tuple("Begun").field(produced).finish(),
            Self::Gated(_) => f.write_str("Gated"),
        }
    }
}

/// A batch and what its partition says about it.
struct Asked<E: Env> {
    partition: PartitionHandle<E>,
    records: Bytes,
    standing: Standing,
}

enum Standing {
    /// It needs nobody's word.
    Free,
    /// The coordinator is asked, and the guard goes with the batch.
    Asks(Producer, VerificationGuard),
    Refused(ProduceError),
}

impl<E: Env> Transactions<E> {
    /// Appends batches of one transaction.
    ///
    /// The shard of `id` is read first if it is not yet, which blocks: see [`Transactions::is_loaded`].
    ///
    /// # Errors
    /// In the answers: [`ProduceError::Transaction`] where the coordinator does not let the batch in.
    pub fn produce(
        &self,
        id: &TransactionalId,
        enrol: Enrol,
        batches: Vec<(PartitionHandle<E>, Bytes)>,
        acks: Acks,
    ) -> TransactionalProduce<E> {
        let mut asked: Vec<_> = batches
            .into_iter()
            .map(|(partition, records)| ask(partition, records, enrol))
            .collect();
        let gate = self.confirm(id, enrol, &mut asked);
        let write =
            move |asked: Vec<Asked<E>>| asked.into_iter().map(|one| one.write(acks)).collect();
        let Some(gate) = gate else {
            return TransactionalProduce::Begun(write(asked));
        };
        let (this, id) = (self.clone(), id.clone());
        TransactionalProduce::Gated(Box::pin(async move {
            let passed = match this.shard(id.as_str()) {
                Ok(shard) => pass(&*shard.log, Some(gate)).await.map_err(TransactionError::from),
                Err(error) => Err(error),
            };
            let mut asked = asked;
            if let Err(error) = passed {
                for one in &mut asked {
                    one.refuse(&error);
                }
            }
            write(asked)
        }))
    }

    /// Asks the coordinator about all batches that need its word, once for each producer among them. What must be durable first.
    fn confirm(
        &self,
        id: &TransactionalId,
        enrol: Enrol,
        asked: &mut [Asked<E>],
    ) -> Option<Offset> {
        let mut by_producer: BTreeMap<Producer, Vec<usize>> = BTreeMap::new();
        for (at, one) in asked.iter().enumerate() {
            if let Standing::Asks(producer, _) = one.standing {
                by_producer.entry(producer).or_default().push(at);
            }
        }
        let mut gate = None;
        for (producer, places) in by_producer {
            let names: Vec<_> =
                places.iter().map(|at| asked[*at].partition.0.name.clone()).collect();
            match self.confirm_one(id, producer, enrol, names) {
                Ok((missing, end)) => {
                    gate = gate.max(end);
                    for at in places {
                        let one = &mut asked[at];
                        let TopicPartition { topic, partition } = &one.partition.0.name;
                        if missing.contains(&one.partition.0.name) {
                            let error = TransactionError::NotEnrolled {
                                topic: topic.to_string(),
                                partition: *partition,
                            };
                            one.standing = Standing::Refused(error.into_produce());
                        }
                    }
                }
                Err(error) => places.into_iter().for_each(|at| asked[at].refuse(&error)),
            }
        }
        gate
    }

    fn confirm_one(
        &self,
        id: &TransactionalId,
        producer: Producer,
        enrol: Enrol,
        partitions: Vec<TopicPartition>,
    ) -> Result<(Vec<TopicPartition>, Option<Offset>), TransactionError> {
        let id = id.clone();
        match enrol {
            Enrol::Verify => {
                let request = Verify { id, producer, partitions };
                let Decided { reply, gate } = self.verify_now(&request)?;
                let standings = reply?;
                let absent = request.partitions.into_iter().zip(standings);
                let absent = absent.filter(|(_, standing)| *standing == Membership::Absent);
                Ok((absent.map(|(partition, _)| partition).collect(), gate))
            }
            Enrol::Add => {
                let shard = self.shard(id.as_str())?;
                let protocol = Protocol::V2;
                let request = AddPartitions { id, producer, partitions, protocol };
                let Decided { reply, gate } = self.0.shared().add_partitions(&shard, &request)?;
                reply.map(|()| (Vec::new(), gate))
            }
        }
    }
}

impl<E: Env> PartitionHandle<E> {
    /// Whether a batch may be written without the coordinator's word: it is in no transaction, or in one that is open here. Should that end before
    /// the batch is written, the partition refuses it.
    #[must_use]
    pub fn needs_no_word(&self, records: &Bytes, enrol: Enrol) -> bool {
        matches!(standing(self, records, enrol), Standing::Free)
    }
}

fn ask<E: Env>(partition: PartitionHandle<E>, records: Bytes, enrol: Enrol) -> Asked<E> {
    let standing = standing(&partition, &records, enrol);
    Asked { partition, records, standing }
}

fn standing<E: Env>(partition: &PartitionHandle<E>, records: &Bytes, enrol: Enrol) -> Standing {
    // Before anything else: the coordinators would read it back as their own word, an aborted one too.
    if let Err(error) = partition.open_to_clients() {
        return Standing::Refused(error);
    }
    // What does not read, or is no batch of a transaction, is judged by the log.
    let Ok((batch, _)) = BatchRef::parse(records) else { return Standing::Free };
    let producer = Producer { id: batch.producer_id(), epoch: batch.producer_epoch() };
    let (true, true, Some(base_sequence)) =
        (batch.attributes().is_transactional(), producer.id.is_some(), batch.base_sequence())
    else {
        return Standing::Free;
    };
    if enrol == Enrol::Verify && partition.0.ground.verification == Verification::Off {
        return Standing::Free;
    }
    let request = VerificationRequest {
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        base_sequence,
        protocol: match enrol {
            Enrol::Verify => MarkerProtocol::V1,
            Enrol::Add => MarkerProtocol::V2,
        },
    };
    match partition.begin_verification(request) {
        Ok(VerificationNeed::None) => Standing::Free,
        Ok(VerificationNeed::Ask(guard)) => Standing::Asks(producer, guard),
        Err(error) => Standing::Refused(error),
    }
}

impl<E: Env> Asked<E> {
    fn refuse(&mut self, error: &TransactionError) {
        if matches!(self.standing, Standing::Asks(..)) {
            self.standing = Standing::Refused(error.clone().into_produce());
        }
    }

    fn write(self, acks: Acks) -> Produce<E> {
        let Self { partition, records, standing } = self;
        let guard = match standing {
            Standing::Refused(error) => return partition.refused(error),
            Standing::Free => None,
            Standing::Asks(_, guard) => Some(guard),
        };
        partition.produce_from(records, acks, Source { origin: Origin::Client, guard })
    }
}
