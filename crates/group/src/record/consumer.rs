//! The records of KIP-848 consumer groups: kinds 3 to 8 and 16 of `__consumer_offsets`, byte for byte Kafka's.
//!
//! ```text
//! key:   int16 kind | string group id [ | string member id, or regular expression ]     never flexible
//! value: int16 version 0 | fields | tagged fields                                        null: a tombstone
//! ```
//!
//! Tags that nobody here knows are left out when they are read. Kind 4 is obsolete since Kafka 4.1: it is read, and a group that
//! still has one writes its tombstone.

mod fields;

use alloc::{string::String, vec::Vec};

use hanbeon_records::{ErrorCode, TopicId};

use fields::{Reader, Tag, Writer};

/// Kinds of keys.
const GROUP_EPOCH: i16 = 3;
const PARTITION_METADATA: i16 = 4;
const MEMBER: i16 = 5;
const TARGET_EPOCH: i16 = 6;
const TARGET_ASSIGNMENT: i16 = 7;
const CURRENT_ASSIGNMENT: i16 = 8;
const RESOLVED_REGEX: i16 = 16;

/// The only version of each value.
const VERSION: i16 = 0;

/// Why bytes are no record of a consumer group, or a record has no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The bytes end within a field.
    #[error("a group record ends within a field")]
    Truncated,
    /// Bytes after the last field.
    #[error("a group record has {left} bytes after its last field")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A value of a version we do not know.
    #[error(
        "the version of a group record's value is {VERSION}, found {found}: a newer broker wrote it"
    )]
    Version {
        /// Value in the record.
        found: i16,
    },
    /// A length below 0 or beyond what memory can address.
    #[error("a group record claims a length of {found}")]
    Length {
        /// Value in the record.
        found: i64,
    },
    /// A variable-length integer of more than 32 bits.
    #[error("a group record holds a variable-length integer of more than 32 bits")]
    Varint,
    /// Null where a value must be.
    #[error("a group record holds null where a value must be")]
    Null,
    /// A string that is not UTF-8.
    #[error("a string of a group record is no UTF-8 after its first {valid_up_to} bytes")]
    Text {
        /// How far it is.
        valid_up_to: usize,
    },
    /// A field that the format has no room for.
    #[error("a field of {len} bytes or elements does not fit a group record")]
    TooLong {
        /// How long it is.
        len: usize,
    },
}

impl RecordError {
    /// What a client is told that meets it.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Truncated
            | Self::Trailing { .. }
            | Self::Version { .. }
            | Self::Length { .. }
            | Self::Varint
            | Self::Null
            | Self::Text { .. } => ErrorCode::CorruptMessage,
            Self::TooLong { .. } => ErrorCode::InvalidRequest,
        }
    }
}

/// One record of a consumer group; a `value` of `None` is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerRecord {
    /// Kind 3.
    GroupEpoch {
        /// Whose.
        group_id: String,
        /// What it says.
        value: Option<GroupEpoch>,
    },
    /// Kind 4, obsolete.
    PartitionMetadata {
        /// Whose.
        group_id: String,
        /// What it says.
        value: Option<PartitionMetadata>,
    },
    /// Kind 5.
    Member {
        /// Of which group.
        group_id: String,
        /// Whose.
        member_id: String,
        /// What it says.
        value: Option<MemberMetadata>,
    },
    /// Kind 6.
    TargetEpoch {
        /// Whose.
        group_id: String,
        /// What it says.
        value: Option<TargetEpoch>,
    },
    /// Kind 7.
    TargetAssignment {
        /// Of which group.
        group_id: String,
        /// Whose.
        member_id: String,
        /// The partitions that it is to have.
        value: Option<Vec<TopicPartitions>>,
    },
    /// Kind 8.
    CurrentAssignment {
        /// Of which group.
        group_id: String,
        /// Whose.
        member_id: String,
        /// What it says.
        value: Option<CurrentAssignment>,
    },
    /// Kind 16.
    ResolvedRegex {
        /// Of which group.
        group_id: String,
        /// The expression.
        regex: String,
        /// What it says.
        value: Option<ResolvedRegex>,
    },
}

/// How far a group has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEpoch {
    /// Rises with each change that needs a new assignment.
    pub epoch: i32,
    /// Of the topics that are subscribed (KIP-1101); 0 without any.
    pub metadata_hash: i64,
    /// When the group was made, -1 when nobody wrote it down (KIP-1282).
    pub creation_time_ms: i64,
}

/// The topics of a group as Kafka wrote them before 4.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// By name.
    pub topics: Vec<TopicMetadata>,
}

/// One topic of [`PartitionMetadata`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its identity.
    pub topic_id: TopicId,
    /// Its name.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// For partitions with known racks, which.
    pub racks: Vec<(i32, Vec<String>)>,
}

/// What a member said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Of a static member (KIP-345).
    pub instance_id: Option<String>,
    /// Where it runs.
    pub rack_id: Option<String>,
    /// Its client's name.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// Topics that it subscribes to by name.
    pub subscribed_topic_names: Vec<String>,
    /// Topics that it subscribes to by expression; empty is none.
    pub subscribed_topic_regex: Option<String>,
    /// How long it may take to give up a partition, -1 for unknown.
    pub rebalance_timeout_ms: i32,
    /// Which assignor it asks for.
    pub server_assignor: Option<String>,
    /// Of a member that speaks the classic protocol.
    pub classic: Option<ClassicMember>,
}

/// What the classic protocol needs to know of a member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMember {
    /// Its session timeout.
    pub session_timeout_ms: i32,
    /// The protocols that it joined with, by name, with their metadata.
    pub protocols: Vec<(String, Vec<u8>)>,
}

/// For which group epoch the target assignment was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetEpoch {
    /// The group epoch.
    pub assignment_epoch: i32,
    /// When; absent in records before Kafka 4.3.
    pub assignment_timestamp: Option<i64>,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// The topic.
    pub topic_id: TopicId,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// Partitions of one topic and since when a member has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedPartitions {
    /// The topic.
    pub topic_id: TopicId,
    /// Its partitions.
    pub partitions: Vec<i32>,
    /// For each partition the member epoch at which it was assigned (KIP-1251); absent before Kafka 4.3.
    pub assignment_epochs: Option<Vec<i32>>,
}

/// What a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// Its epoch.
    pub member_epoch: i32,
    /// The one before.
    pub previous_member_epoch: i32,
    /// Where it stands, as the number of Kafka's `MemberState`.
    pub state: i8,
    /// What it may read.
    pub assigned: Vec<AssignedPartitions>,
    /// What it was told to give up and has not yet.
    pub pending_revocation: Vec<AssignedPartitions>,
}

/// The topics that a regular expression matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRegex {
    /// Their names.
    pub topics: Vec<String>,
    /// Of the topics when they were looked at.
    pub version: i64,
    /// When.
    pub timestamp: i64,
}

impl ConsumerRecord {
    /// Reads a record; `None` when its key is of another kind than those of consumer groups.
    ///
    /// # Errors
    /// Says where the bytes break the format.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, RecordError> {
        let mut fields = Reader::new(key);
        let kind = fields.i16()?;
        if !matches!(kind, GROUP_EPOCH..=CURRENT_ASSIGNMENT | RESOLVED_REGEX) {
            return Ok(None);
        }
        let group_id = fields.short_string()?;
        let mut second = || fields.short_string();
        let record = match kind {
            GROUP_EPOCH => Self::GroupEpoch { group_id, value: read(value, group_epoch)? },
            PARTITION_METADATA => {
                Self::PartitionMetadata { group_id, value: read(value, partition_metadata)? }
            }
            MEMBER => Self::Member { group_id, member_id: second()?, value: read(value, member)? },
            TARGET_EPOCH => Self::TargetEpoch { group_id, value: read(value, target_epoch)? },
            TARGET_ASSIGNMENT => Self::TargetAssignment {
                group_id,
                member_id: second()?,
                value: read(value, target_assignment)?,
            },
            CURRENT_ASSIGNMENT => Self::CurrentAssignment {
                group_id,
                member_id: second()?,
                value: read(value, current_assignment)?,
            },
            _ => Self::ResolvedRegex {
                group_id,
                regex: second()?,
                value: read(value, resolved_regex)?,
            },
        };
        fields.finish()?;
        Ok(Some(record))
    }

    /// Whose record it is.
    #[must_use]
    pub fn group_id(&self) -> &str {
        match self {
            Self::GroupEpoch { group_id, .. }
            | Self::PartitionMetadata { group_id, .. }
            | Self::Member { group_id, .. }
            | Self::TargetEpoch { group_id, .. }
            | Self::TargetAssignment { group_id, .. }
            | Self::CurrentAssignment { group_id, .. }
            | Self::ResolvedRegex { group_id, .. } => group_id,
        }
    }

    /// The bytes of its key.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] for an id of more than 32,767 bytes.
    pub fn key(&self) -> Result<Vec<u8>, RecordError> {
        let (kind, second) = match self {
            Self::GroupEpoch { .. } => (GROUP_EPOCH, None),
            Self::PartitionMetadata { .. } => (PARTITION_METADATA, None),
            Self::Member { member_id, .. } => (MEMBER, Some(member_id)),
            Self::TargetEpoch { .. } => (TARGET_EPOCH, None),
            Self::TargetAssignment { member_id, .. } => (TARGET_ASSIGNMENT, Some(member_id)),
            Self::CurrentAssignment { member_id, .. } => (CURRENT_ASSIGNMENT, Some(member_id)),
            Self::ResolvedRegex { regex, .. } => (RESOLVED_REGEX, Some(regex)),
        };
        let mut fields = Writer::new(kind);
        fields.short_string(self.group_id())?;
        if let Some(second) = second {
            fields.short_string(second)?;
        }
        Ok(fields.finish())
    }

    /// The bytes of its value, `None` for a tombstone.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] for a field that the format has no room for.
    pub fn value(&self) -> Result<Option<Vec<u8>>, RecordError> {
        match self {
            Self::GroupEpoch { value, .. } => write(value.as_ref(), put_group_epoch),
            Self::PartitionMetadata { value, .. } => write(value.as_ref(), put_partition_metadata),
            Self::Member { value, .. } => write(value.as_ref(), put_member),
            Self::TargetEpoch { value, .. } => write(value.as_ref(), put_target_epoch),
            Self::TargetAssignment { value, .. } => write(value.as_ref(), put_target_assignment),
            Self::CurrentAssignment { value, .. } => write(value.as_ref(), put_current_assignment),
            Self::ResolvedRegex { value, .. } => write(value.as_ref(), put_resolved_regex),
        }
    }
}

fn read<'a, T>(
    value: Option<&'a [u8]>,
    fields: impl FnOnce(&mut Reader<'a>) -> Result<T, RecordError>,
) -> Result<Option<T>, RecordError> {
    let Some(bytes) = value else { return Ok(None) };
    let mut reader = Reader::new(bytes);
    let found = reader.i16()?;
    if found != VERSION {
        return Err(RecordError::Version { found });
    }
    let value = fields(&mut reader)?;
    reader.finish()?;
    Ok(Some(value))
}

fn group_epoch(fields: &mut Reader<'_>) -> Result<GroupEpoch, RecordError> {
    let mut value = GroupEpoch { epoch: fields.i32()?, metadata_hash: 0, creation_time_ms: -1 };
    fields.tags(|tag, field| {
        match tag {
            0 => value.metadata_hash = field.i64()?,
            1 => value.creation_time_ms = field.i64()?,
            _ => return Ok(Tag::Unknown),
        }
        Ok(Tag::Read)
    })?;
    Ok(value)
}

fn partition_metadata(fields: &mut Reader<'_>) -> Result<PartitionMetadata, RecordError> {
    let topics = fields.array(|topic| {
        let (topic_id, name, partitions) = (topic.topic_id()?, topic.string()?, topic.i32()?);
        let racks = topic.array(|partition| {
            let racks = (partition.i32()?, partition.array(Reader::string)?);
            partition.no_tags()?;
            Ok(racks)
        })?;
        topic.no_tags()?;
        Ok(TopicMetadata { topic_id, topic: name, partitions, racks })
    })?;
    fields.no_tags()?;
    Ok(PartitionMetadata { topics })
}

fn member(fields: &mut Reader<'_>) -> Result<MemberMetadata, RecordError> {
    let mut value = MemberMetadata {
        instance_id: fields.nullable_string()?,
        rack_id: fields.nullable_string()?,
        client_id: fields.string()?,
        client_host: fields.string()?,
        subscribed_topic_names: fields.array(Reader::string)?,
        subscribed_topic_regex: fields.nullable_string()?,
        rebalance_timeout_ms: fields.i32()?,
        server_assignor: fields.nullable_string()?,
        classic: None,
    };
    fields.tags(|tag, field| match tag {
        0 => {
            value.classic = field.nullable_struct(classic_member)?;
            Ok(Tag::Read)
        }
        _ => Ok(Tag::Unknown),
    })?;
    Ok(value)
}

fn classic_member(fields: &mut Reader<'_>) -> Result<ClassicMember, RecordError> {
    let session_timeout_ms = fields.i32()?;
    let protocols = fields.array(|protocol| {
        let named = (protocol.string()?, protocol.bytes()?);
        protocol.no_tags()?;
        Ok(named)
    })?;
    fields.no_tags()?;
    Ok(ClassicMember { session_timeout_ms, protocols })
}

fn target_epoch(fields: &mut Reader<'_>) -> Result<TargetEpoch, RecordError> {
    let mut value = TargetEpoch { assignment_epoch: fields.i32()?, assignment_timestamp: None };
    fields.tags(|tag, field| match tag {
        0 => {
            value.assignment_timestamp = Some(field.i64()?);
            Ok(Tag::Read)
        }
        _ => Ok(Tag::Unknown),
    })?;
    Ok(value)
}

fn target_assignment(fields: &mut Reader<'_>) -> Result<Vec<TopicPartitions>, RecordError> {
    let topics = fields.array(|topic| {
        let value =
            TopicPartitions { topic_id: topic.topic_id()?, partitions: topic.array(Reader::i32)? };
        topic.no_tags()?;
        Ok(value)
    })?;
    fields.no_tags()?;
    Ok(topics)
}

fn current_assignment(fields: &mut Reader<'_>) -> Result<CurrentAssignment, RecordError> {
    let value = CurrentAssignment {
        member_epoch: fields.i32()?,
        previous_member_epoch: fields.i32()?,
        state: fields.i8()?,
        assigned: fields.array(assigned_partitions)?,
        pending_revocation: fields.array(assigned_partitions)?,
    };
    fields.no_tags()?;
    Ok(value)
}

fn assigned_partitions(fields: &mut Reader<'_>) -> Result<AssignedPartitions, RecordError> {
    let mut value = AssignedPartitions {
        topic_id: fields.topic_id()?,
        partitions: fields.array(Reader::i32)?,
        assignment_epochs: None,
    };
    fields.tags(|tag, field| match tag {
        0 => {
            value.assignment_epochs = field.nullable_array(Reader::i32)?;
            Ok(Tag::Read)
        }
        _ => Ok(Tag::Unknown),
    })?;
    Ok(value)
}

fn resolved_regex(fields: &mut Reader<'_>) -> Result<ResolvedRegex, RecordError> {
    let value = ResolvedRegex {
        topics: fields.array(Reader::string)?,
        version: fields.i64()?,
        timestamp: fields.i64()?,
    };
    fields.no_tags()?;
    Ok(value)
}

fn write<T>(
    value: Option<&T>,
    put: impl FnOnce(&mut Writer, &T) -> Result<(), RecordError>,
) -> Result<Option<Vec<u8>>, RecordError> {
    let Some(value) = value else { return Ok(None) };
    let mut fields = Writer::new(VERSION);
    put(&mut fields, value)?;
    Ok(Some(fields.finish()))
}

fn put_group_epoch(fields: &mut Writer, value: &GroupEpoch) -> Result<(), RecordError> {
    fields.put(&value.epoch.to_be_bytes());
    let mut tags = Vec::new();
    if value.metadata_hash != 0 {
        tags.push((0, value.metadata_hash.to_be_bytes().to_vec()));
    }
    if value.creation_time_ms != -1 {
        tags.push((1, value.creation_time_ms.to_be_bytes().to_vec()));
    }
    fields.tags(&tags)
}

fn put_partition_metadata(
    fields: &mut Writer,
    value: &PartitionMetadata,
) -> Result<(), RecordError> {
    fields.array(&value.topics, |fields, topic| {
        fields.put(&topic.topic_id.get());
        fields.string(&topic.topic)?;
        fields.put(&topic.partitions.to_be_bytes());
        fields.array(&topic.racks, |fields, (partition, racks)| {
            fields.put(&partition.to_be_bytes());
            fields.array(racks, |fields, rack| fields.string(rack))?;
            fields.no_tags();
            Ok(())
        })?;
        fields.no_tags();
        Ok(())
    })?;
    fields.no_tags();
    Ok(())
}

fn put_member(fields: &mut Writer, value: &MemberMetadata) -> Result<(), RecordError> {
    fields.nullable_string(value.instance_id.as_deref())?;
    fields.nullable_string(value.rack_id.as_deref())?;
    fields.string(&value.client_id)?;
    fields.string(&value.client_host)?;
    fields.array(&value.subscribed_topic_names, |fields, name| fields.string(name))?;
    fields.nullable_string(value.subscribed_topic_regex.as_deref())?;
    fields.put(&value.rebalance_timeout_ms.to_be_bytes());
    fields.nullable_string(value.server_assignor.as_deref())?;
    // Kafka writes this tag also when it is null.
    let classic = Writer::tagged(|field| {
        field.nullable_struct(value.classic.as_ref(), |field, classic| {
            field.put(&classic.session_timeout_ms.to_be_bytes());
            field.array(&classic.protocols, |field, (name, metadata)| {
                field.string(name)?;
                field.data(metadata)?;
                field.no_tags();
                Ok(())
            })?;
            field.no_tags();
            Ok(())
        })
    })?;
    fields.tags(&[(0, classic)])
}

fn put_target_epoch(fields: &mut Writer, value: &TargetEpoch) -> Result<(), RecordError> {
    fields.put(&value.assignment_epoch.to_be_bytes());
    let tag = value.assignment_timestamp.map(|at| (0, at.to_be_bytes().to_vec()));
    fields.tags(tag.as_slice())
}

#[expect(clippy::ptr_arg, reason = "the value of its record, as for the other kinds")]
fn put_target_assignment(
    fields: &mut Writer,
    value: &Vec<TopicPartitions>,
) -> Result<(), RecordError> {
    fields.array(value, |fields, topic| {
        fields.put(&topic.topic_id.get());
        put_numbers(fields, &topic.partitions)?;
        fields.no_tags();
        Ok(())
    })?;
    fields.no_tags();
    Ok(())
}

fn put_current_assignment(
    fields: &mut Writer,
    value: &CurrentAssignment,
) -> Result<(), RecordError> {
    fields.put(&value.member_epoch.to_be_bytes());
    fields.put(&value.previous_member_epoch.to_be_bytes());
    fields.put(&value.state.to_be_bytes());
    fields.array(&value.assigned, put_assigned_partitions)?;
    fields.array(&value.pending_revocation, put_assigned_partitions)?;
    fields.no_tags();
    Ok(())
}

fn put_assigned_partitions(
    fields: &mut Writer,
    value: &AssignedPartitions,
) -> Result<(), RecordError> {
    fields.put(&value.topic_id.get());
    put_numbers(fields, &value.partitions)?;
    match &value.assignment_epochs {
        None => fields.no_tags(),
        Some(epochs) => {
            fields.tags(&[(0, Writer::tagged(|field| put_numbers(field, epochs))?)])?;
        }
    }
    Ok(())
}

fn put_resolved_regex(fields: &mut Writer, value: &ResolvedRegex) -> Result<(), RecordError> {
    fields.array(&value.topics, |fields, name| fields.string(name))?;
    fields.put(&value.version.to_be_bytes());
    fields.put(&value.timestamp.to_be_bytes());
    fields.no_tags();
    Ok(())
}

fn put_numbers(fields: &mut Writer, numbers: &[i32]) -> Result<(), RecordError> {
    fields.array(numbers, |fields, number| {
        fields.put(&number.to_be_bytes());
        Ok(())
    })
}
