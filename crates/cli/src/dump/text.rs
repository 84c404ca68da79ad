//! Lines for a person.

use std::io::{self, Write};

use hanbeon_log::{
    AbortedTxn, OffsetPosition, TimeOffset,
    inspect::{
        Finding, IndexContents, Inspected, SegmentContents, SidecarEntry, SnapshotContents,
        SnapshotEntry, StoredBatch,
    },
};
use hanbeon_records::{Control, Millis};

use super::{hash::Digested, json, time::Utc};

/// The line above batches.
pub(super) fn batch_header(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:>10}  {:<17} {:>7} {:>9} {:>5}  {:<12} {:<15} {:<24}  {:<6}  kind",
        "position",
        "offsets",
        "records",
        "bytes",
        "epoch",
        "producer",
        "sequences",
        "largest time",
        "codec",
    )
}

/// One batch.
pub(super) fn batch(stored: &StoredBatch<'_>, out: &mut impl Write) -> io::Result<()> {
    let batch = &stored.batch;
    let offsets = range(batch.base_offset().get(), batch.last_offset().get());
    let producer = if batch.producer_id().is_some() {
        format!("{}/{}", batch.producer_id(), batch.producer_epoch())
    } else {
        "-".into()
    };
    let sequences = match (batch.base_sequence(), batch.last_sequence()) {
        (Some(first), Some(last)) => range(first.get().into(), last.get().into()),
        _ => "-".into(),
    };
    write!(
        out,
        "{:>10}  {offsets:<17} {:>7} {:>9} {:>5}  {producer:<12} {sequences:<15} {:<24}  {:<6}  {}",
        stored.position,
        batch.record_count(),
        batch.bytes().len(),
        batch.leader_epoch().get(),
        Utc(batch.max_timestamp()),
        json::codec_name(stored),
        kind(stored),
    )?;
    if batch.attributes().has_delete_horizon() {
        write!(out, ", to be dropped from {} on", Utc(batch.base_timestamp()))?;
    }
    if let Err(error) = stored.checksum {
        write!(out, ", DAMAGED: {error}")?;
    }
    writeln!(out)
}

/// What a batch is for.
fn kind(stored: &StoredBatch<'_>) -> String {
    let attributes = stored.batch.attributes();
    if attributes.is_control() {
        return match stored.control() {
            Ok(Some(control @ Control::EndTxn(marker))) => {
                let epoch = marker.coordinator_epoch.get();
                format!("{} by coordinator epoch {epoch}", json::control_name(control))
            }
            Ok(Some(control @ Control::Other(_))) => json::control_name(control).into_owned(),
            Ok(None) => "control, emptied by compaction".into(),
            Err(error) => format!("control, DAMAGED: {error}"),
        };
    }
    let kind = if attributes.is_transactional() { "transactional" } else { "data" };
    if stored.batch.record_count() == 0 {
        format!("{kind}, emptied by compaction")
    } else {
        kind.into()
    }
}

fn range(first: i64, last: i64) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// One entry of an offset index.
pub(super) fn offset_entry(entry: OffsetPosition, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "offset {:>12}  position {:>10}", entry.offset.get(), entry.position)
}

/// One entry of a time index.
pub(super) fn time_entry(entry: TimeOffset, out: &mut impl Write) -> io::Result<()> {
    let ms = entry.timestamp.get();
    writeln!(out, "{}  {ms:>13}  offset {:>12}", Utc(entry.timestamp), entry.offset.get())
}

/// One aborted transaction.
pub(super) fn aborted(txn: AbortedTxn, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "producer {:>8}  offsets {:>10} to {:>10}, last stable offset then {:>10}",
        txn.producer_id.get(),
        txn.first_offset.get(),
        txn.last_offset.get(),
        txn.last_stable_offset.get(),
    )
}

/// How many bytes of an index wait for entries.
pub(super) fn padding<T>(index: &IndexContents<T>, out: &mut impl Write) -> io::Result<()> {
    if index.padding > 0 {
        writeln!(out, "{} zero bytes of room for more entries follow", index.padding)?;
    }
    Ok(())
}

/// One producer of a snapshot.
pub(super) fn producer(entry: &SnapshotEntry, out: &mut impl Write) -> io::Result<()> {
    let SnapshotEntry { producer_id, producer_epoch, last_sequence, last_offset, .. } = *entry;
    write!(out, "producer {producer_id:>8} epoch {producer_epoch:>5}")?;
    if last_offset < 0 {
        write!(out, "  {:<46}", "no batch of this epoch")?;
    } else {
        write!(out, "  last sequence {last_sequence:>10} at offset {last_offset:>10}")?;
    }
    write!(out, "  {}", Utc(Millis::new(entry.last_timestamp)))?;
    if entry.coordinator_epoch >= 0 {
        write!(out, "  coordinator epoch {}", entry.coordinator_epoch)?;
    }
    if entry.current_txn_first_offset >= 0 {
        write!(out, "  transaction open since offset {}", entry.current_txn_first_offset)?;
    }
    writeln!(out)
}

/// One producer of a sidecar.
pub(super) fn window(entry: &SidecarEntry, out: &mut impl Write) -> io::Result<()> {
    let SidecarEntry { producer_id, producer_epoch, .. } = entry;
    write!(out, "producer {producer_id:>8} epoch {producer_epoch:>5}")?;
    write!(out, "  appended {:<24}", Utc(Millis::new(entry.appended_at)))?;
    write!(out, "  retries known {}  earlier batches end at", entry.retriable)?;
    if entry.older.is_empty() {
        write!(out, " -")?;
    }
    for batch in &entry.older {
        write!(out, " {}", batch.last_offset)?;
    }
    writeln!(out)
}

/// Everything that is wrong.
pub(super) fn findings(findings: &[Finding], out: &mut impl Write) -> io::Result<()> {
    for finding in findings {
        writeln!(out, "DAMAGED {finding}")?;
    }
    Ok(())
}

/// What a partition comes to, below its batches.
pub(super) fn partition(
    inspected: &Inspected,
    uncommitted: &Digested,
    committed: &Digested,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out)?;
    if let Some(id) = inspected.topic_id {
        writeln!(out, "topic id            {id}")?;
    }
    writeln!(out, "log start offset    {}", inspected.log_start_offset.get())?;
    writeln!(out, "log end offset      {}", inspected.log_end_offset.get())?;
    write!(out, "last stable offset  {}", inspected.last_stable_offset.get())?;
    if let Some(first) = inspected.open_transactions.first() {
        let (id, epoch) = (first.producer_id.get(), first.producer_epoch.get());
        write!(out, ", held back by producer {id} epoch {epoch}")?;
    }
    writeln!(out)?;
    for entry in inspected.leader_epochs.entries() {
        writeln!(
            out,
            "leader epoch        {} from offset {} on",
            entry.epoch.get(),
            entry.start_offset.get()
        )?;
    }
    readers("read uncommitted", uncommitted, out)?;
    readers("read committed", committed, out)?;
    transactions(inspected, out)?;
    writeln!(out, "\nsegments")?;
    for found in &inspected.segments {
        segment(found, out)?;
    }
    for (offset, snapshot) in &inspected.snapshots {
        snapshot_lines(offset.get(), snapshot, out)?;
    }
    for (offset, sidecar) in &inspected.sidecars {
        writeln!(out, "\nsidecar {:020}.producers", offset.get())?;
        for entry in &sidecar.entries {
            write!(out, "  ")?;
            window(entry, out)?;
        }
    }
    if !inspected.findings.is_empty() {
        writeln!(out)?;
    }
    findings(&inspected.findings, out)
}

fn readers(who: &str, digested: &Digested, out: &mut impl Write) -> io::Result<()> {
    let Digested { count, sha256, .. } = digested;
    writeln!(out, "{who:<18}  {count} records, SHA-256 {sha256}")
}

fn transactions(inspected: &Inspected, out: &mut impl Write) -> io::Result<()> {
    if !inspected.open_transactions.is_empty() {
        writeln!(out, "\nopen transactions")?;
    }
    for open in &inspected.open_transactions {
        writeln!(
            out,
            "  producer {:>8} epoch {:>5} from offset {:>10} on, last batch {}",
            open.producer_id.get(),
            open.producer_epoch.get(),
            open.first_offset.get(),
            Utc(open.last_timestamp),
        )?;
    }
    if !inspected.aborted_transactions.is_empty() {
        writeln!(out, "\naborted transactions")?;
    }
    for txn in &inspected.aborted_transactions {
        write!(out, "  ")?;
        aborted(*txn, out)?;
    }
    Ok(())
}

fn segment(segment: &SegmentContents, out: &mut impl Write) -> io::Result<()> {
    let entries =
        |count: Option<usize>| count.map_or_else(|| "-".into(), |count| count.to_string());
    writeln!(
        out,
        "  {:020}  {:>10} bytes  {:>7} batches  entries: {} offset, {} time, {} aborted",
        segment.base_offset.get(),
        segment.log_bytes,
        segment.batches,
        entries(segment.offset_index.as_ref().map(|index| index.entries.len())),
        entries(segment.time_index.as_ref().map(|index| index.entries.len())),
        entries(segment.txn_index.as_ref().map(|index| index.entries.len())),
    )
}

fn snapshot_lines(
    offset: i64,
    snapshot: &SnapshotContents,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "\nsnapshot {offset:020}.snapshot, {} producers", snapshot.entries.len())?;
    for entry in &snapshot.entries {
        write!(out, "  ")?;
        producer(entry, out)?;
    }
    Ok(())
}
