//! The suite that every state log must pass, ours or foreign (feature `testing`).

use std::{collections::BTreeMap, sync::Arc};

use hanbeon_idempotence::{
    Ends, MarkerClaim,
    MarkerProtocol::{self, V1, V2},
};
use hanbeon_records::{
    CoordinatorEpoch, ErrorCode, Millis, Offset, Outcome, ProducerEpoch, ProducerId,
};

use super::{Enrolment, InTransaction, StateEntry, StateLog, StateRecord};
use crate::{ProduceError, produce::block_on};

/// Makes the logs that the suite asks.
pub trait Fixture {
    /// An empty log.
    fn fresh(&mut self) -> Arc<dyn StateLog>;

    /// The same log after the process was started again. What the suite has of it is dropped before.
    fn restart(&mut self) -> Arc<dyn StateLog>;

    /// The same log after a power cut; `None` where that cannot be shown.
    fn power_cut(&mut self, seed: u64) -> Option<Arc<dyn StateLog>>;
}

/// A value and where it stands.
type Placed = (Offset, Option<Vec<u8>>);

/// What a log comes down to: decided values by key, and what waits for a decision.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    decided: BTreeMap<Vec<u8>, Placed>,
    waiting: BTreeMap<(ProducerId, Vec<u8>), Placed>,
}

impl Sum {
    fn of(log: &dyn StateLog) -> Result<Self, ProduceError> {
        let mut sum = Self::default();
        let mut before = Offset::new(-1);
        let end = log.replay(&mut |entry| {
            let at = match entry {
                StateEntry::Record { offset, .. } | StateEntry::Marker { offset, .. } => offset,
            };
            assert!(at > before, "entries come in the order of their offsets");
            before = at;
            sum.take(entry);
        })?;
        assert!(end > before, "the end is behind the last entry");
        Ok(sum)
    }

    fn take(&mut self, entry: StateEntry<'_>) {
        match entry {
            StateEntry::Record { offset, record, transaction, .. } => {
                let (key, value) = (record.key.to_vec(), record.value.map(<[u8]>::to_vec));
                match transaction {
                    None => self.decide(key, offset, value),
                    Some((producer, _)) => {
                        self.waiting.insert((producer, key), (offset, value));
                    }
                }
            }
            StateEntry::Marker { producer_id, outcome, .. } => {
                let (its, others) = std::mem::take(&mut self.waiting)
                    .into_iter()
                    .partition(|((producer, _), _)| *producer == producer_id);
                self.waiting = others;
                let its: BTreeMap<(ProducerId, Vec<u8>), _> = its;
                if outcome == Outcome::Commit {
                    for ((_, key), (offset, value)) in its {
                        self.decide(key, offset, value);
                    }
                }
            }
        }
    }

    /// The later place in the log wins, whenever it was decided.
    fn decide(&mut self, key: Vec<u8>, offset: Offset, value: Option<Vec<u8>>) {
        let known = self.decided.get(&key);
        if known.is_none_or(|(at, _)| *at < offset) {
            self.decided.insert(key, (offset, value));
        }
    }

    fn values(&self) -> Vec<(&str, Option<&str>)> {
        self.decided
            .iter()
            .map(|(key, (_, value))| {
                let key = std::str::from_utf8(key).unwrap_or("?");
                (key, value.as_deref().map(|value| std::str::from_utf8(value).unwrap_or("?")))
            })
            .collect()
    }
}

/// What is there, without what was taken away: a log may forget that it ever was.
fn alive(sum: &Sum) -> Vec<(&str, &str)> {
    sum.values().into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

const NOW: Millis = Millis::new(1_700_000_000_000);

const fn producer(id: i64, epoch: i16) -> (ProducerId, ProducerEpoch) {
    (ProducerId::new(id), ProducerEpoch::new(epoch))
}

fn put(log: &dyn StateLog, key: &str, value: Option<&str>) -> Result<Offset, ProduceError> {
    let record = StateRecord { key: key.as_bytes(), value: value.map(str::as_bytes) };
    log.append(NOW, &[record], None).map(|written| written.end)
}

fn put_in(
    log: &dyn StateLog,
    (producer_id, producer_epoch): (ProducerId, ProducerEpoch),
    key: &str,
    value: &str,
) -> Result<Offset, ProduceError> {
    let enrolment = log.begin_transaction((producer_id, producer_epoch), V1)?;
    let guard = match enrolment {
        Enrolment::Open => None,
        Enrolment::Ask(guard) => guard,
    };
    let record = StateRecord { key: key.as_bytes(), value: Some(value.as_bytes()) };
    let transaction = InTransaction { producer_id, producer_epoch, guard };
    log.append(NOW, &[record], Some(transaction)).map(|written| written.end)
}

fn end(
    log: &dyn StateLog,
    (producer_id, producer_epoch): (ProducerId, ProducerEpoch),
    outcome: Outcome,
    protocol: MarkerProtocol,
) -> Result<Offset, ProduceError> {
    let claim = MarkerClaim {
        producer_id,
        producer_epoch,
        coordinator_epoch: CoordinatorEpoch::new(1),
        outcome,
        timestamp: NOW,
        protocol,
        ends: Ends::Named,
    };
    log.append_marker(claim).map(|written| written.end)
}

/// Asks everything. Panics where a promise is broken, and says which.
///
/// # Errors
/// The storage fails.
///
/// # Panics
/// A promise is broken.
pub fn run(fixture: &mut impl Fixture) -> Result<(), ProduceError> {
    records_come_back(fixture)?;
    transactions_are_decided_by_their_markers(fixture)?;
    the_later_place_wins(fixture)?;
    zombies_are_refused(fixture)?;
    epochs_and_what_waits_come_back_together(fixture)?;
    an_epoch_names_one_transaction(fixture)?;
    what_is_durable_survives(fixture)
}

fn records_come_back(fixture: &mut impl Fixture) -> Result<(), ProduceError> {
    let log = fixture.fresh();
    let first = log.epoch()?;
    put(&*log, "a", Some("1"))?;
    put(&*log, "b", Some("2"))?;
    put(&*log, "a", Some("3"))?;
    put(&*log, "b", None)?;
    let record = |key: &'static str| StateRecord { key: key.as_bytes(), value: Some(b"x") };
    let written = log.append(NOW, &[record("c"), record("d")], None)?;
    assert!(written.end >= written.offset.saturating_add(2), "each record has an offset");
    let before = Sum::of(&*log)?;
    assert_eq!(alive(&before), [("a", "3"), ("c", "x"), ("d", "x")], "the last value of each key");
    drop(log);
    let log = fixture.restart();
    assert!(log.epoch()? > first, "each opening has a greater epoch");
    assert_eq!(Sum::of(&*log)?, before, "a restart changes nothing");
    let end = put(&*log, "e", Some("5"))?;
    assert!(end > written.end, "offsets go on");
    Ok(())
}

fn transactions_are_decided_by_their_markers(
    fixture: &mut impl Fixture,
) -> Result<(), ProduceError> {
    let log = fixture.fresh();
    let (one, two) = (producer(1, 0), producer(2, 0));
    put(&*log, "a", Some("before"))?;
    put_in(&*log, one, "a", "one")?;
    put_in(&*log, one, "b", "one")?;
    put_in(&*log, two, "c", "two")?;
    assert_eq!(
        log.begin_transaction(one, V1)?,
        Enrolment::Open,
        "an open transaction needs nobody's word"
    );
    assert_eq!(Sum::of(&*log)?.values(), [("a", Some("before"))], "nothing is decided");
    drop(log);
    let log = fixture.restart();
    assert_eq!(Sum::of(&*log)?.waiting.len(), 3, "what waits is not lost by a restart");
    assert_eq!(log.begin_transaction(one, V1)?, Enrolment::Open);
    end(&*log, one, Outcome::Commit, V1)?;
    end(&*log, two, Outcome::Abort, V1)?;
    let sum = Sum::of(&*log)?;
    assert_eq!(sum.values(), [("a", Some("one")), ("b", Some("one"))]);
    assert!(sum.waiting.is_empty(), "all is decided");
    drop(log);
    let log = fixture.restart();
    assert_eq!(Sum::of(&*log)?.values(), sum.values());
    assert_eq!(Sum::of(&*log)?.waiting.len(), 0);
    Ok(())
}

fn the_later_place_wins(fixture: &mut impl Fixture) -> Result<(), ProduceError> {
    let log = fixture.fresh();
    let one = producer(1, 0);
    put_in(&*log, one, "a", "10")?;
    put(&*log, "a", Some("20"))?;
    end(&*log, one, Outcome::Commit, V1)?;
    assert_eq!(Sum::of(&*log)?.values(), [("a", Some("20"))], "a plain record behind it stands");
    put_in(&*log, one, "a", "25")?;
    put(&*log, "a", None)?;
    drop(log);
    let log = fixture.restart();
    end(&*log, one, Outcome::Commit, V1)?;
    assert_eq!(alive(&Sum::of(&*log)?), [], "so does one that takes the key away");
    put(&*log, "a", Some("30"))?;
    put_in(&*log, one, "a", "40")?;
    put_in(&*log, one, "a", "50")?;
    end(&*log, one, Outcome::Commit, V1)?;
    drop(log);
    let log = fixture.restart();
    assert_eq!(Sum::of(&*log)?.values(), [("a", Some("50"))]);
    Ok(())
}

fn zombies_are_refused(fixture: &mut impl Fixture) -> Result<(), ProduceError> {
    let log = fixture.fresh();
    let (old, new) = (producer(1, 0), producer(1, 1));
    put_in(&*log, old, "a", "1")?;
    end(&*log, new, Outcome::Abort, V1)?;
    let code = |result: Result<Offset, ProduceError>| result.map_err(|error| error.code());
    assert_eq!(code(put_in(&*log, old, "a", "2")), Err(ErrorCode::InvalidProducerEpoch));
    assert_eq!(code(end(&*log, old, Outcome::Commit, V1)), Err(ErrorCode::InvalidProducerEpoch));
    drop(log);
    let log = fixture.restart();
    assert_eq!(
        code(put_in(&*log, old, "a", "3")),
        Err(ErrorCode::InvalidProducerEpoch),
        "a restart does not forget who was fenced"
    );
    // The coordinator was asked, and a marker came before the write: its word is worth nothing any more.
    let Enrolment::Ask(guard) = log.begin_transaction(new, V1)? else {
        panic!("no transaction is open");
    };
    end(&*log, new, Outcome::Abort, V1)?;
    let transaction = InTransaction { producer_id: new.0, producer_epoch: new.1, guard };
    let late = log.append(NOW, &[StateRecord { key: b"a", value: Some(b"4") }], Some(transaction));
    assert!(late.is_err(), "a guard from before a marker opens no transaction");
    assert!(Sum::of(&*log)?.values().is_empty());
    Ok(())
}

/// A transaction that waits is of the epoch that the last marker left, or of one above it: protocol 2 goes on with the pair of the marker.
fn epochs_and_what_waits_come_back_together(
    fixture: &mut impl Fixture,
) -> Result<(), ProduceError> {
    for epoch in [1, 2] {
        let log = fixture.fresh();
        let waiting = producer(1, epoch);
        put_in(&*log, producer(1, 0), "a", "1")?;
        end(&*log, producer(1, 1), Outcome::Commit, V2)?;
        put_in(&*log, waiting, "a", "2")?;
        drop(log);
        let log = fixture.restart();
        let sum = Sum::of(&*log)?;
        assert_eq!((alive(&sum), sum.waiting.len()), (vec![("a", "1")], 1), "epoch {epoch}");
        assert_eq!(log.begin_transaction(waiting, V2)?, Enrolment::Open, "epoch {epoch}");
        end(&*log, producer(1, epoch + 1), Outcome::Commit, V2)?;
        drop(log);
        let log = fixture.restart();
        let sum = Sum::of(&*log)?;
        assert_eq!((alive(&sum), sum.waiting.len()), (vec![("a", "2")], 0), "epoch {epoch}");
    }
    Ok(())
}

/// Under protocol 2, where a marker raises the epoch, it is told from one of the transaction before.
fn an_epoch_names_one_transaction(fixture: &mut impl Fixture) -> Result<(), ProduceError> {
    let log = fixture.fresh();
    let (one, next) = (producer(1, 0), producer(1, 1));
    put_in(&*log, one, "a", "1")?;
    end(&*log, next, Outcome::Commit, V2)?;
    end(&*log, next, Outcome::Commit, V2)?;
    assert_eq!(alive(&Sum::of(&*log)?), [("a", "1")], "a repeated marker is taken");
    put_in(&*log, next, "a", "2")?;
    let late = end(&*log, next, Outcome::Commit, V2).map_err(|error| error.code());
    assert_eq!(late, Err(ErrorCode::InvalidProducerEpoch), "it ended the one before");
    end(&*log, producer(1, 2), Outcome::Abort, V2)?;
    let sum = Sum::of(&*log)?;
    assert_eq!((alive(&sum), sum.waiting.len()), (vec![("a", "1")], 0));
    Ok(())
}

fn what_is_durable_survives(fixture: &mut impl Fixture) -> Result<(), ProduceError> {
    for seed in 0..32 {
        let log = fixture.fresh();
        let one = producer(1, 0);
        put(&*log, "a", Some("1"))?;
        put_in(&*log, one, "b", "2")?;
        end(&*log, one, Outcome::Commit, V1)?;
        put_in(&*log, one, "c", "3")?;
        let durable = put(&*log, "d", Some("4"))?;
        block_on(log.durable_to(durable))?;
        assert!(log.is_durable(durable));
        let promised = Sum::of(&*log)?;
        put(&*log, "late", Some("5"))?;
        drop(log);
        let Some(log) = fixture.power_cut(seed) else { return Ok(()) };
        let mut found = Sum::of(&*log)?;
        found.decided.remove(&b"late"[..]);
        assert_eq!(found, promised, "power cut with seed {seed}");
    }
    Ok(())
}
