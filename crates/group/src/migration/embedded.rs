//! What consumers of the classic protocol tell each other through the coordinator (`ConsumerProtocolSubscription`,
//! `ConsumerProtocolAssignment`), as far as a coordinator that assigns for them must read and write it.
//!
//! ```text
//! subscription: int16 version | array topics | nullable bytes user data
//!               v1 | array { topic, array partitions } owned    v2 | int32 generation    v3 | nullable string rack
//! assignment:   int16 version | array { topic, array partitions } | nullable bytes user data
//! ```
//!
//! A later version is read by the prefix that is known of it.

use alloc::vec::Vec;

use crate::{
    Name,
    record::{
        RecordError,
        bytes::{Fields, Form, Writer},
    },
};

/// The last version that is known, and written at most.
const LATEST: i16 = 3;

/// Partitions by the name of their topic.
pub(crate) type Named = Vec<(Name, Vec<i32>)>;

/// A member's subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) topics: Vec<Name>,
    /// What a cooperative member still has; an eager one has given up everything before it joins.
    pub(crate) owned: Named,
    pub(crate) rack_id: Option<Name>,
}

/// What a leader gave a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) partitions: Named,
    /// Whether an assignor left word of its own, which a coordinator that assigns would lose.
    pub(crate) has_user_data: bool,
}

/// Reads a subscription; none when it is none.
pub(crate) fn subscription(bytes: &[u8]) -> Option<Subscription> {
    read_subscription(bytes).ok().flatten()
}

fn read_subscription(bytes: &[u8]) -> Result<Option<Subscription>, RecordError> {
    let mut fields = Fields::new(bytes);
    let version = fields.i16()?;
    if version < 0 {
        return Ok(None);
    }
    let mut topics = Vec::new();
    for _ in 0..fields.count(Form::Fixed)? {
        topics.push(fields.string(Form::Fixed)?);
    }
    skip_user_data(&mut fields)?;
    let owned = if version >= 1 { named(&mut fields)? } else { Vec::new() };
    if version >= 2 {
        fields.i32()?; // the generation of what it owns: its epoch is known here
    }
    let rack_id = if version >= 3 { fields.nullable_string(Form::Fixed)? } else { None };
    Ok(Some(Subscription { topics, owned, rack_id }))
}

/// Reads an assignment; none when it is none. No bytes at all are an assignment of nothing.
pub(crate) fn assignment(bytes: &[u8]) -> Option<Assignment> {
    if bytes.is_empty() {
        return Some(Assignment { partitions: Vec::new(), has_user_data: false });
    }
    let mut fields = Fields::new(bytes);
    if fields.i16().ok()? < 0 {
        return None;
    }
    let partitions = named(&mut fields).ok()?;
    let has_user_data = skip_user_data(&mut fields).ok()? > 0;
    Some(Assignment { partitions, has_user_data })
}

fn named(fields: &mut Fields<'_>) -> Result<Named, RecordError> {
    let mut all = Vec::new();
    for _ in 0..fields.count(Form::Fixed)? {
        let topic = fields.string(Form::Fixed)?;
        let mut partitions = Vec::new();
        for _ in 0..fields.count(Form::Fixed)? {
            partitions.push(fields.i32()?);
        }
        all.push((topic, partitions));
    }
    Ok(all)
}

fn skip_user_data(fields: &mut Fields<'_>) -> Result<usize, RecordError> {
    let len = fields.array_len(Form::Fixed)?.unwrap_or(0);
    fields.take(len).map(<[u8]>::len)
}

/// An assignment in the version of the member's own `subscription`.
pub(crate) fn write_assignment<'a>(
    subscription: &[u8],
    partitions: impl ExactSizeIterator<Item = (&'a str, Vec<i32>)>,
) -> Vec<u8> {
    let version = Fields::new(subscription).i16().unwrap_or(0).clamp(0, LATEST);
    let mut bytes = Vec::new();
    let mut writer = Writer(&mut bytes);
    writer.i16(version);
    writer.array_len(Form::Fixed, partitions.len());
    for (topic, numbers) in partitions {
        writer.string(Form::Fixed, topic);
        writer.array_len(Form::Fixed, numbers.len());
        for number in numbers {
            writer.i32(number);
        }
    }
    writer.i32(-1);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn each_version_of_a_subscription_is_read() {
        let mut bytes = std::vec![0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff];
        let plain = Subscription { topics: std::vec![name("t")], owned: Vec::new(), rack_id: None };
        assert_eq!(subscription(&bytes), Some(plain.clone()));
        bytes[1] = 1;
        assert_eq!(subscription(&bytes), None, "version 1 says what the member owns");
        bytes.extend_from_slice(&[0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 7]);
        let owns = Subscription { owned: std::vec![(name("t"), std::vec![7])], ..plain };
        assert_eq!(subscription(&bytes), Some(owns.clone()));
        bytes[1] = 9;
        bytes.extend_from_slice(&[0, 0, 0, 5, 0, 1, b'r', 1, 2, 3]);
        let racked = Subscription { rack_id: Some(name("r")), ..owns };
        assert_eq!(subscription(&bytes), Some(racked), "a later version, by its prefix");
        bytes[0] = 0x80;
        assert_eq!(subscription(&bytes), None, "a negative version");
        assert_eq!(subscription(b"sub"), None);
    }

    #[test]
    fn an_assignment_comes_back_as_it_was_written() {
        let bytes = write_assignment(&[0, 9], [("t", std::vec![0, 2])].into_iter());
        assert_eq!(bytes[..2], [0, 3], "no later version than is known");
        let partitions = std::vec![(name("t"), std::vec![0, 2])];
        assert_eq!(assignment(&bytes), Some(Assignment { partitions, has_user_data: false }));
        let nothing = Assignment { partitions: Vec::new(), has_user_data: false };
        assert_eq!(assignment(&[]), Some(nothing));
        let worded = assignment(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5]);
        assert!(worded.unwrap().has_user_data);
        assert_eq!(assignment(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None, "more than there is");
    }
}
