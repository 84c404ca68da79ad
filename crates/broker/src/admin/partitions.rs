//! `ListOffsets`, `DeleteRecords`, `OffsetForLeaderEpoch` and `DescribeLogDirs`: questions to single partitions.

use std::collections::BTreeSet;

use hanbeon::{Env, FoundOffset, Isolation, PartitionError, TimeQuery};
use hanbeon_records::{ErrorCode, LeaderEpoch, Millis, Offset};
use hanbeon_wire::{
    Request,
    messages::{
        delete_records as delete, describe_log_dirs as dirs, list_offsets as list,
        offset_for_leader_epoch as epochs, text,
    },
};

use super::{Answered, number, respond};
use crate::{dispatch::Node, sessions::known};

/// The first `ListOffsets` version whose answer names a leader epoch (KIP-320).
const LEADER_EPOCH_VERSION_MIN: i16 = 4;

/// What a "time" below 0 asks for, and since which version it may.
enum Special {
    Query(TimeQuery),
    /// About a tier that there is not: no offset, and no error.
    Tiered,
}

/// The special times of `ListOffsets`; `None` when the version does not have it, or nobody has.
const fn special(time: i64, version: i16) -> Option<Special> {
    match time {
        -1 => Some(Special::Query(TimeQuery::Latest)),
        -2 => Some(Special::Query(TimeQuery::Earliest)),
        -3 if version >= 7 => Some(Special::Query(TimeQuery::MaxTimestamp)),
        -4 if version >= 8 => Some(Special::Query(TimeQuery::EarliestLocal)),
        -5 if version >= 9 => Some(Special::Tiered),
        -6 if version >= 11 => Some(Special::Tiered),
        0.. => Some(Special::Query(TimeQuery::At(Millis::new(time)))),
        _ => None,
    }
}

pub(super) fn list_offsets<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: list::Request = request.decode()?;
    let version = request.reply_to.version;
    let isolation = match (asked.replica_id, asked.isolation_level) {
        (0.., _) => Ok(Isolation::LogEnd),
        (_, 0) => Ok(Isolation::Uncommitted),
        (_, 1) => Ok(Isolation::Committed),
        _ => Err(ErrorCode::UnknownServerError),
    };
    let topics = asked.topics.iter().map(|topic| {
        let name = topic.name.as_str();
        let mut seen = BTreeSet::new();
        let twice: BTreeSet<_> = topic
            .partitions
            .iter()
            .map(|p| p.partition_index)
            .filter(|index| !seen.insert(*index))
            .collect();
        let mut answered = BTreeSet::new();
        let partitions =
            topic.partitions.iter().filter(|p| answered.insert(p.partition_index)).map(|p| {
                let found = match isolation {
                    _ if twice.contains(&p.partition_index) => Err(ErrorCode::InvalidRequest),
                    Err(code) => Err(code),
                    Ok(isolation) => find(node, name, p, isolation, version),
                };
                let mut answer = list::ListOffsetsPartitionResponse {
                    partition_index: p.partition_index,
                    timestamp: -1,
                    offset: -1,
                    leader_epoch: -1,
                    ..Default::default()
                };
                match found {
                    Ok(Some(found)) => {
                        answer.timestamp = found.timestamp.get();
                        answer.offset = found.offset.get();
                        // The codec refuses to lose a field that a version does not have.
                        if version >= LEADER_EPOCH_VERSION_MIN {
                            answer.leader_epoch = found.leader_epoch.get();
                        }
                    }
                    Ok(None) => {}
                    Err(code) => answer.error_code = number(code),
                }
                answer
            });
        list::ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: partitions.collect(),
            ..Default::default()
        }
    });
    let response = list::Response { topics: topics.collect(), ..Default::default() };
    respond::<list::Request>(request, &response)
}

fn find<E: Env>(
    node: &Node<E>,
    topic: &str,
    asked: &list::ListOffsetsPartition,
    isolation: Isolation,
    version: i16,
) -> Result<Option<FoundOffset>, ErrorCode> {
    let partition =
        node.engine.partition(topic, asked.partition_index).map_err(|error| error.code())?;
    match special(asked.timestamp, version) {
        None => Err(ErrorCode::UnsupportedVersion),
        Some(Special::Tiered) => Ok(None),
        Some(Special::Query(query)) => {
            let epoch = known(LeaderEpoch::new(asked.current_leader_epoch));
            partition.list_offsets(query, isolation, epoch).map_err(|error| error.code())
        }
    }
}

pub(super) fn delete_records<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: delete::Request = request.decode()?;
    let topics = asked.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            // -1 stands for the high watermark.
            let before = (p.offset != -1).then(|| Offset::new(p.offset));
            let deleted = node
                .engine
                .partition(topic.name.as_str(), p.partition_index)
                .and_then(|partition| partition.delete_records(before));
            let (low_watermark, code) = match deleted {
                Ok(start) => (start.get(), ErrorCode::None),
                Err(error) => (-1, error.code()),
            };
            delete::DeleteRecordsPartitionResult {
                partition_index: p.partition_index,
                low_watermark,
                error_code: number(code),
                ..Default::default()
            }
        });
        delete::DeleteRecordsTopicResult {
            name: topic.name.clone(),
            partitions: partitions.collect(),
            ..Default::default()
        }
    });
    let response = delete::Response { topics: topics.collect(), ..Default::default() };
    respond::<delete::Request>(request, &response)
}

pub(super) fn offset_for_leader_epoch<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: epochs::Request = request.decode()?;
    let topics = asked.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let current = known(LeaderEpoch::new(p.current_leader_epoch));
            let end =
                node.engine.partition(topic.topic.as_str(), p.partition).and_then(|partition| {
                    partition.end_offset_for_epoch(LeaderEpoch::new(p.leader_epoch), current)
                });
            let (code, leader_epoch, end_offset) = match end {
                Ok(end) => (ErrorCode::None, end.epoch.get(), end.end_offset.get()),
                Err(error) => (error.code(), -1, -1),
            };
            epochs::EpochEndOffset {
                error_code: number(code),
                partition: p.partition,
                leader_epoch,
                end_offset,
                ..Default::default()
            }
        });
        epochs::OffsetForLeaderTopicResult {
            topic: topic.topic.clone(),
            partitions: partitions.collect(),
            ..Default::default()
        }
    });
    let response = epochs::Response { topics: topics.collect(), ..Default::default() };
    respond::<epochs::Request>(request, &response)
}

pub(super) fn describe_log_dirs<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: dirs::Request = request.decode()?;
    let image = node.engine.image();
    let mut topics = Vec::new();
    match asked.topics {
        None => {
            for topic in image.topics() {
                let all: Vec<_> =
                    topic.partitions().iter().map(hanbeon::PartitionHandle::number).collect();
                topics.extend(sizes(node, topic.name().as_str(), &all));
            }
        }
        Some(named) => {
            for topic in named {
                topics.extend(sizes(node, topic.topic.as_str(), &topic.partitions));
            }
        }
    }
    let path = node.engine.data_dir();
    let (total_bytes, usable_bytes) = volume(&path);
    let response = dirs::Response {
        results: vec![dirs::DescribeLogDirsResult {
            log_dir: text(&path),
            topics,
            total_bytes,
            usable_bytes,
            ..Default::default()
        }],
        ..Default::default()
    };
    respond::<dirs::Request>(request, &response)
}

/// One topic with the sizes of those partitions that there are; nothing when there are none.
fn sizes<E: Env>(
    node: &Node<E>,
    name: &str,
    partitions: &[i32],
) -> Option<dirs::DescribeLogDirsTopic> {
    let found: Vec<_> = partitions
        .iter()
        .filter_map(|&index| {
            let bytes = node.engine.partition(name, index).and_then(|partition| partition.size_bytes());
            if let Err(error) = &bytes
                && !matches!(error, PartitionError::Unknown { .. })
            {
                tracing::warn!(topic = name, partition = index, %error, "a partition's size is not known");
            }
            Some(dirs::DescribeLogDirsPartition {
                partition_index: index,
                partition_size: i64::try_from(bytes.ok()?).unwrap_or(i64::MAX),
                ..Default::default()
            })
        })
        .collect();
    (!found.is_empty()).then(|| dirs::DescribeLogDirsTopic {
        name: text(name),
        partitions: found,
        ..Default::default()
    })
}

/// Bytes in all and bytes to be had on the volume of a directory; -1 where the system does not tell (KIP-827).
fn volume(path: &str) -> (i64, i64) {
    match rustix::fs::statvfs(path) {
        Ok(volume) => {
            let bytes = |blocks: u64| {
                i64::try_from(blocks.saturating_mul(volume.f_frsize)).unwrap_or(i64::MAX)
            };
            (bytes(volume.f_blocks), bytes(volume.f_bavail))
        }
        Err(_) => (-1, -1),
    }
}
