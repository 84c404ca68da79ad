//! Two writers, one picture: the second learns that the picture it decided by is old, and nothing is overwritten.

use std::{error::Error, io::Write as _};

use hanbeon_meta::{Image, MemoryStore, MetadataStore, NewTopic, TxnResult, changes};
use hanbeon_records::{NodeId, TopicId, TopicName};

fn main() -> Result<(), Box<dyn Error>> {
    let store = MemoryStore::new();
    let seen_by_both = Image::read(&store)?;
    let mut out = std::io::stdout();
    for (writer, id) in [("first", [1; 16]), ("second", [2; 16])] {
        let orders = NewTopic {
            id: TopicId::new(id),
            name: TopicName::new("orders")?,
            assignments: vec![vec![NodeId::new(1)]; 3],
            configs: [].into(),
        };
        let said = match store.commit(&changes::create_topic(&seen_by_both, &orders))? {
            TxnResult::Committed(_) => "committed",
            TxnResult::Refused(_) => "refused: somebody else was faster",
            TxnResult::Unknown(_) => "unknown: read again before trying again",
        };
        writeln!(out, "{writer}: {said}")?;
    }
    let topics = Image::read(&store)?;
    let stored = topics.topic(&TopicName::new("orders")?).map(|topic| topic.partitions.len());
    writeln!(out, "orders has {stored:?} partitions")?;
    Ok(())
}
