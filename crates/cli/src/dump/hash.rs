//! What readers get, in one line: how many records, which offsets, and a hash over all they hold.

use hanbeon_log::inspect::StoredRecord;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// SHA-256 over one line per record in offset order: `offset TAB timestamp TAB key TAB value TAB headers LF`. Numbers are decimal,
/// keys and values lower-case hexadecimal with `-` for null; headers are `name=value`, both hexadecimal, joined by `;`.
#[derive(Debug, Default)]
pub(super) struct Canonical {
    count: u64,
    hash: Sha256,
    offsets: Vec<(i64, i64)>,
}

/// What was read.
#[derive(Debug, Serialize)]
pub(super) struct Digested {
    pub(super) count: u64,
    pub(super) sha256: String,
    pub(super) offsets: Vec<(i64, i64)>,
}

impl Canonical {
    /// Counts a record in, whose line is `line`.
    pub(super) fn add(&mut self, offset: i64, line: &[u8]) {
        self.count += 1;
        self.hash.update(line);
        match self.offsets.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(offset) => *last = offset,
            Some(_) | None => self.offsets.push((offset, offset)),
        }
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
