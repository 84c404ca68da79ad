//! The topics in what consumers tell each other, the only part of it a coordinator reads (`ConsumerProtocolSubscription`).

use alloc::{collections::BTreeSet, vec::Vec};

use crate::{
    Name,
    record::bytes::{Fields, Form},
};

/// Which topics the members of a group read, as far as the coordinator can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subscribed {
    /// Unknown: no consumer group, or a member's subscription cannot be read.
    Unknown,
    /// These.
    To(BTreeSet<Name>),
}

/// Topics of one subscription. Every version begins with those of version 0, so a later one is read by that prefix.
pub(crate) fn topics(metadata: &[u8]) -> Option<Vec<Name>> {
    let mut fields = Fields::new(metadata);
    if fields.i16().ok()? < 0 {
        return None;
    }
    let count = fields.array_len(Form::Fixed).ok()??;
    let mut topics = Vec::new();
    for _ in 0..count {
        topics.push(fields.string(Form::Fixed).ok()?);
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_versions_are_read_by_their_prefix() {
        let t = Name::new("t").unwrap();
        let mut bytes = std::vec![0, 9, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff, 7, 7];
        assert_eq!(topics(&bytes), Some(std::vec![t]));
        bytes[0] = 0x80;
        assert_eq!(topics(&bytes), None, "a negative version");
        assert_eq!(topics(b"sub"), None);
        assert_eq!(topics(&[0, 0, 0x7f, 0xff, 0xff, 0xff]), None, "more topics than bytes");
    }
}
