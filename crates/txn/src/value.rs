//! Key and value of a record of `__transaction_state`, byte for byte Kafka's.

use alloc::vec::Vec;

use hanbeon_records::{ErrorCode, Millis, ProducerEpoch, ProducerId, TopicName, TopicNameError};

use crate::{
    Producer, Protocol, State, TransactionalId, TransactionalIdError, ValueVersion,
    bytes::{Input, Output},
};

const KEY_VERSION: i16 = 0;

const TAG_PREVIOUS_PRODUCER_ID: u32 = 0;
const TAG_NEXT_PRODUCER_ID: u32 = 1;
const TAG_CLIENT_TRANSACTION_VERSION: u32 = 2;
const TAG_NEXT_PRODUCER_EPOCH: u32 = 3;
/// The next number behind those of Kafka 4.3's schema. Kafka writes the field since KAFKA-20357, in no release yet.
const TAG_LAST_PRODUCER_EPOCH: u32 = 4;

/// The partitions of one topic in a transaction, in the order in which the log lists them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicPartitions {
    /// The topic.
    pub topic: TopicName,
    /// Their numbers.
    pub partitions: Vec<i32>,
}

/// A tagged field that no version known here has a name for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnknownTag {
    /// Its number.
    pub tag: u32,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The value of a record: everything the coordinator remembers of a transactional id (`TransactionLogValue`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxnValue {
    /// The producer that may use the id. In a Prepare state, the pair that the markers carry.
    pub producer: Producer,
    /// Transaction timeout, milliseconds; `i32::MAX` for a transaction without one.
    pub timeout_ms: i32,
    /// The state.
    pub state: State,
    /// The enrolled partitions; `None` exactly in [`State::Empty`].
    pub partitions: Option<Vec<TopicPartitions>>,
    /// When the record was decided.
    pub last_update: Millis,
    /// When the transaction began; [`Millis::NONE`] in [`State::Empty`].
    pub start: Millis,
    /// The producer id before this record, equal to the current one unless it was just rotated.
    pub previous_producer_id: ProducerId,
    /// In a Prepare state, the producer id of the next transaction when the epochs of this one are used up.
    pub next_producer_id: ProducerId,
    /// `transaction.version` of the request behind the last enrolment or end.
    pub client_transaction_version: i16,
    /// Used by KIP-939 only, of which no release makes use.
    pub next_producer_epoch: ProducerEpoch,
    /// The epoch whose retried `InitProducerId` is answered with the current pair; -1 for none.
    pub last_producer_epoch: ProducerEpoch,
    /// Fields of later versions. Kept by decoding and encoding, not by the coordinator's own records.
    pub unknown_tags: Vec<UnknownTag>,
}

/// Why bytes are not a record of `__transaction_state`, or a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes end too early.
    #[error("the record ends within {field}")]
    Truncated {
        /// What was being read.
        field: Field,
    },
    /// Bytes follow the last field.
    #[error("{count} bytes follow the end of the record")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// A length or count that cannot be.
    #[error("the length of {field} is {found}")]
    Length {
        /// Of what.
        field: Field,
        /// What was read, in the non-flexible form.
        found: i32,
    },
    /// Bytes that are no UTF-8.
    #[error("{field} is not UTF-8")]
    NotUtf8 {
        /// Of what.
        field: Field,
    },
    /// The key's id.
    #[error(transparent)]
    Id(#[from] TransactionalIdError),
    /// A topic's name.
    #[error(transparent)]
    Topic(#[from] TopicNameError),
    /// A value of a later software: it must not be guessed at.
    #[error("value version {found} is not known here, 0 and 1 are: use the software that wrote it")]
    ValueVersion {
        /// What was read.
        found: i16,
    },
    /// A state that is never logged or does not exist.
    #[error("state number {found} is not one that is logged")]
    State {
        /// What was read or was to be written.
        found: i8,
    },
    /// Partitions where there are none, or none where there must be a list.
    #[error("a value in state {state} {}", if *state == State::Empty { "has no partitions" } else { "has a list of partitions" })]
    Partitions {
        /// The value's state.
        state: State,
    },
    /// Tags that do not rise.
    #[error("tagged field {tag} is out of order")]
    TagOrder {
        /// The tag.
        tag: u32,
    },
    /// A tagged field of another size than its type has.
    #[error("tagged field {tag} has {found} bytes, {expected} are needed")]
    TagSize {
        /// The tag.
        tag: u32,
        /// What its type has.
        expected: usize,
        /// What was read.
        found: usize,
    },
}

/// A part of a record, named in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// The version prefix.
    Version,
    /// The key's id.
    TransactionalId,
    /// The fixed fields of a value.
    Value,
    /// The list of topics.
    Topics,
    /// A topic's name.
    Topic,
    /// A topic's list of partitions.
    Partitions,
    /// The tagged fields.
    Tags,
}

impl core::fmt::Display for Field {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Version => "the version",
            Self::TransactionalId => "the transactional id",
            Self::Value => "the fixed fields",
            Self::Topics => "the topics",
            Self::Topic => "a topic's name",
            Self::Partitions => "a topic's partitions",
            Self::Tags => "the tagged fields",
        })
    }
}

impl RecordError {
    /// What a client is told whose partition of the log cannot be read or written.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Truncated { .. }
            | Self::Trailing { .. }
            | Self::Length { .. }
            | Self::NotUtf8 { .. }
            | Self::Id(_)
            | Self::Topic(_)
            | Self::ValueVersion { .. }
            | Self::State { .. }
            | Self::Partitions { .. }
            | Self::TagOrder { .. }
            | Self::TagSize { .. } => ErrorCode::UnknownServerError,
        }
    }
}

/// A key of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TxnKey {
    /// State of this id.
    Transaction(TransactionalId),
    /// A kind of record that this version does not know; readers skip it.
    Unknown {
        /// The key's version.
        version: i16,
    },
}

/// Appends the key of `id`'s records.
pub fn encode_key(id: &TransactionalId, into: &mut Vec<u8>) {
    let mut out = Output(into);
    out.put(KEY_VERSION.to_be_bytes());
    out.short_string(id.as_str());
}

/// Reads a key.
///
/// # Errors
/// What is wrong with it. A version that is not known is none.
pub fn decode_key(bytes: &[u8]) -> Result<TxnKey, RecordError> {
    let mut input = Input(bytes);
    let version = i16::from_be_bytes(input.take(Field::Version)?);
    if version != KEY_VERSION {
        return Ok(TxnKey::Unknown { version });
    }
    let id = TransactionalId::new(input.short_string(Field::TransactionalId)?)?;
    input.end()?;
    Ok(TxnKey::Transaction(id))
}

impl TxnValue {
    /// Appends the value in the form of `version`. [`ValueVersion::V0`] leaves out everything behind [`Self::start`].
    ///
    /// # Errors
    /// [`RecordError::State`] and [`RecordError::Partitions`] for a value that Kafka would not read back; nothing was
    /// appended.
    pub fn encode(&self, version: ValueVersion, into: &mut Vec<u8>) -> Result<(), RecordError> {
        self.check()?;
        let mut out = Output(into);
        out.put(match version {
            ValueVersion::V0 => [0, 0],
            ValueVersion::V1 => [0, 1],
        });
        out.put(self.producer.id.get().to_be_bytes());
        out.put(self.producer.epoch.get().to_be_bytes());
        out.put(self.timeout_ms.to_be_bytes());
        out.put(self.state.number().to_be_bytes());
        out.count(version, self.partitions.as_ref().map(Vec::len));
        for topic in self.partitions.iter().flatten() {
            match version {
                ValueVersion::V0 => out.short_string(topic.topic.as_str()),
                ValueVersion::V1 => out.compact_string(topic.topic.as_str()),
            }
            out.count(version, Some(topic.partitions.len()));
            topic.partitions.iter().for_each(|number| out.put(number.to_be_bytes()));
            if version == ValueVersion::V1 {
                out.uvarint(0);
            }
        }
        out.put(self.last_update.get().to_be_bytes());
        out.put(self.start.get().to_be_bytes());
        if version == ValueVersion::V1 {
            self.encode_tags(&mut out);
        }
        Ok(())
    }

    fn encode_tags(&self, out: &mut Output<'_>) {
        let (previous, next) = (self.previous_producer_id.get(), self.next_producer_id.get());
        let (last, next_epoch) = (self.last_producer_epoch.get(), self.next_producer_epoch.get());
        let client = self.client_transaction_version;
        let mut tags: Vec<(u32, &[u8])> = Vec::new();
        let bytes = (
            previous.to_be_bytes(),
            next.to_be_bytes(),
            client.to_be_bytes(),
            next_epoch.to_be_bytes(),
            last.to_be_bytes(),
        );
        for (tag, present, bytes) in [
            (TAG_PREVIOUS_PRODUCER_ID, previous != -1, bytes.0.as_slice()),
            (TAG_NEXT_PRODUCER_ID, next != -1, &bytes.1),
            (TAG_CLIENT_TRANSACTION_VERSION, client != 0, &bytes.2),
            (TAG_NEXT_PRODUCER_EPOCH, next_epoch != -1, &bytes.3),
            (TAG_LAST_PRODUCER_EPOCH, last != -1, &bytes.4),
        ] {
            if present {
                tags.push((tag, bytes));
            }
        }
        tags.extend(self.unknown_tags.iter().map(|unknown| (unknown.tag, &*unknown.bytes)));
        out.uvarint(tags.len());
        for (tag, bytes) in tags {
            out.uvarint(usize::try_from(tag).unwrap_or(usize::MAX));
            out.uvarint(bytes.len());
            out.0.extend_from_slice(bytes);
        }
    }

    /// Which rules the last enrolment or end followed.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        Protocol::of_client_version(self.client_transaction_version)
    }

    /// Reads a value and says in which form it was written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<(Self, ValueVersion), RecordError> {
        let mut input = Input(bytes);
        let version = match i16::from_be_bytes(input.take(Field::Version)?) {
            0 => ValueVersion::V0,
            1 => ValueVersion::V1,
            found => return Err(RecordError::ValueVersion { found }),
        };
        let id = ProducerId::new(i64::from_be_bytes(input.take(Field::Value)?));
        let epoch = ProducerEpoch::new(i16::from_be_bytes(input.take(Field::Value)?));
        let timeout_ms = i32::from_be_bytes(input.take(Field::Value)?);
        let number = i8::from_be_bytes(input.take(Field::Value)?);
        let state = State::from_logged(number).ok_or(RecordError::State { found: number })?;
        let partitions = read_partitions(&mut input, version)?;
        let mut value = Self {
            producer: Producer { id, epoch },
            timeout_ms,
            state,
            partitions,
            last_update: Millis::new(i64::from_be_bytes(input.take(Field::Value)?)),
            start: Millis::new(i64::from_be_bytes(input.take(Field::Value)?)),
            previous_producer_id: ProducerId::NONE,
            next_producer_id: ProducerId::NONE,
            client_transaction_version: 0,
            next_producer_epoch: ProducerEpoch::NONE,
            last_producer_epoch: ProducerEpoch::NONE,
            unknown_tags: Vec::new(),
        };
        if version == ValueVersion::V1 {
            value.read_tags(&mut input)?;
        }
        input.end()?;
        value.check()?;
        Ok((value, version))
    }

    fn read_tags(&mut self, input: &mut Input<'_>) -> Result<(), RecordError> {
        let mut lowest = 0;
        for _ in 0..input.uvarint(Field::Tags)? {
            let tag = input.uvarint(Field::Tags)?;
            if tag < lowest {
                return Err(RecordError::TagOrder { tag });
            }
            lowest = tag.saturating_add(1);
            let len = input.uvarint(Field::Tags)?;
            let bytes = input.bytes(Field::Tags, len)?;
            match tag {
                TAG_PREVIOUS_PRODUCER_ID => {
                    self.previous_producer_id =
                        ProducerId::new(i64::from_be_bytes(sized(tag, bytes)?));
                }
                TAG_NEXT_PRODUCER_ID => {
                    self.next_producer_id = ProducerId::new(i64::from_be_bytes(sized(tag, bytes)?));
                }
                TAG_CLIENT_TRANSACTION_VERSION => {
                    self.client_transaction_version = i16::from_be_bytes(sized(tag, bytes)?);
                }
                TAG_NEXT_PRODUCER_EPOCH => {
                    self.next_producer_epoch =
                        ProducerEpoch::new(i16::from_be_bytes(sized(tag, bytes)?));
                }
                TAG_LAST_PRODUCER_EPOCH => {
                    self.last_producer_epoch =
                        ProducerEpoch::new(i16::from_be_bytes(sized(tag, bytes)?));
                }
                _ => self.unknown_tags.push(UnknownTag { tag, bytes: bytes.to_vec() }),
            }
        }
        Ok(())
    }

    const fn check(&self) -> Result<(), RecordError> {
        let state = self.state;
        if State::from_logged(state.number()).is_none() {
            return Err(RecordError::State { found: state.number() });
        }
        if matches!(state, State::Empty) == self.partitions.is_some() {
            return Err(RecordError::Partitions { state });
        }
        Ok(())
    }
}

fn read_partitions(
    input: &mut Input<'_>,
    version: ValueVersion,
) -> Result<Option<Vec<TopicPartitions>>, RecordError> {
    let Some(count) = input.count(version, Field::Topics)? else { return Ok(None) };
    // No room is made for what the counts claim: each topic and partition has to be there to be counted.
    let mut topics = Vec::new();
    for _ in 0..count {
        let topic = TopicName::new(match version {
            ValueVersion::V0 => input.short_string(Field::Topic)?,
            ValueVersion::V1 => input.compact_string(Field::Topic)?,
        })?;
        let Some(count) = input.count(version, Field::Partitions)? else {
            return Err(RecordError::Length { field: Field::Partitions, found: -1 });
        };
        let mut partitions = Vec::new();
        for _ in 0..count {
            partitions.push(i32::from_be_bytes(input.take(Field::Partitions)?));
        }
        if version == ValueVersion::V1 {
            for _ in 0..input.uvarint(Field::Tags)? {
                let (_, len) = (input.uvarint(Field::Tags)?, input.uvarint(Field::Tags)?);
                input.bytes(Field::Tags, len)?;
            }
        }
        topics.push(TopicPartitions { topic, partitions });
    }
    Ok(Some(topics))
}

fn sized<const N: usize>(tag: u32, bytes: &[u8]) -> Result<[u8; N], RecordError> {
    bytes.try_into().or(Err(RecordError::TagSize { tag, expected: N, found: bytes.len() }))
}
