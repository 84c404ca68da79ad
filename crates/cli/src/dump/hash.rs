//! What readers get, in one line: how many records, which offsets, and a hash over all they hold.

use hanbeon_log::inspect::StoredRecord;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Most ranges of offsets that are kept, 16 MiB of them. A compacted log may have a gap behind every record, and records compress well.
const RANGES_MAX: usize = 1 << 20;

/// SHA-256 over one line per record in offset order: `offset TAB timestamp TAB key TAB value TAB headers LF`. Numbers are decimal,
/// keys and values lower-case hexadecimal with `-` for null; headers are `name=value`, both hexadecimal, joined by `;`.
#[derive(Debug)]
pub(super) struct Canonical {
    count: u64,
    hash: Sha256,
    offsets: Ranges,
}

/// What was read.
#[derive(Debug, Serialize)]
pub(super) struct Digested {
    pub(super) count: u64,
    pub(super) sha256: String,
    #[serde(flatten)]
    offsets: Ranges,
}

/// Offsets that follow each other, from the first to the last of each run.
#[derive(Debug, Default, Serialize)]
struct Ranges {
    #[serde(rename = "offsets")]
    kept: Vec<(i64, i64)>,
    /// Records behind the last range that was kept; only when there are any.
    #[serde(rename = "offsets_left_out", skip_serializing_if = "is_zero")]
    left_out: u64,
    #[serde(skip)]
    max: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Ranges {
    const fn new(max: usize) -> Self {
        Self { kept: Vec::new(), left_out: 0, max }
    }

    fn add(&mut self, offset: i64) {
        let is_full = self.kept.len() >= self.max;
        match self.kept.last_mut() {
            _ if self.left_out > 0 => self.left_out += 1,
            Some((_, last)) if last.checked_add(1) == Some(offset) => *last = offset,
            Some(_) | None if is_full => self.left_out += 1,
            Some(_) | None => self.kept.push((offset, offset)),
        }
    }
}

impl Canonical {
    /// With the ranges of offsets, as JSON shows them.
    pub(super) fn with_offsets() -> Self {
        Self { count: 0, hash: Sha256::default(), offsets: Ranges::new(RANGES_MAX) }
    }

    /// Without offsets.
    pub(super) fn without_offsets() -> Self {
        Self { count: 0, hash: Sha256::default(), offsets: Ranges::new(0) }
    }

    /// Counts a record in, whose line is `line`.
    pub(super) fn add(&mut self, offset: i64, line: &[u8]) {
        self.count += 1;
        self.hash.update(line);
        self.offsets.add(offset);
    }

    pub(super) fn finish(self) -> Digested {
        let mut sha256 = String::new();
        push_hex(&mut sha256, &self.hash.finalize());
        Digested { count: self.count, sha256, offsets: self.offsets }
    }
}

/// Writes the line of a record.
pub(super) fn line(stored: &StoredRecord<'_>, into: &mut String) {
    into.clear();
    into.push_str(&format!("{}\t{}\t", stored.offset.get(), stored.timestamp.get()));
    push_field(into, stored.record.key);
    into.push('\t');
    push_field(into, stored.record.value);
    into.push('\t');
    for (place, header) in stored.record.headers.enumerate() {
        if place > 0 {
            into.push(';');
        }
        push_hex(into, header.key);
        into.push('=');
        push_field(into, header.value);
    }
    into.push('\n');
}

fn push_field(into: &mut String, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => push_hex(into, bytes),
        None => into.push('-'),
    }
}

fn push_hex(into: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    into.reserve(bytes.len().saturating_mul(2));
    for byte in bytes {
        into.push(DIGITS[usize::from(byte >> 4)]);
        into.push(DIGITS[usize::from(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_take_no_more_than_the_ranges_that_are_kept() {
        let mut ranges = Ranges::new(3);
        for offset in [0, 1, 2, 5, 9, 10, 20, 21, 30] {
            ranges.add(offset);
        }
        assert_eq!(ranges.kept, [(0, 2), (5, 5), (9, 10)]);
        assert_eq!(ranges.left_out, 3);
        let text =
            serde_json::to_string(&Digested { count: 1, sha256: String::new(), offsets: ranges });
        let expected =
            r#"{"count":1,"sha256":"","offsets":[[0,2],[5,5],[9,10]],"offsets_left_out":3}"#;
        assert_eq!(text.unwrap(), expected);
    }

    #[test]
    fn who_shows_no_offsets_keeps_none() {
        let mut canonical = Canonical::without_offsets();
        for offset in 0..1000 {
            canonical.add(offset * 2, b"x");
        }
        assert_eq!(canonical.offsets.kept.capacity(), 0);
        assert_eq!(canonical.finish().count, 1000);
    }
}
