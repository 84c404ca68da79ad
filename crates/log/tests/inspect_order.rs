//! What an inspection says of a batch whose records do not follow each other, and that it gives them all the same.
#![allow(clippy::unwrap_used, reason = "a test fails where its ground is missing")]

use std::{fs, io};

use hanbeon_log::{
    FsDir, ReadMode,
    inspect::{Beside, Defect, StoredRecord, Visitor, inspect},
};
use hanbeon_records::{Offset, crc32c, write_varint};

/// The bytes of a batch at offset 0 with a record for each delta.
fn batch(deltas: &[i32], last_delta: i32) -> Vec<u8> {
    let count = i32::try_from(deltas.len()).unwrap();
    let mut tail = vec![0; 2];
    tail.extend(last_delta.to_be_bytes());
    tail.extend([0; 16]);
    tail.extend([0xff; 14]);
    tail.extend(count.to_be_bytes());
    for delta in deltas {
        let mut record = vec![0, 0];
        write_varint(*delta, &mut record);
        // No key, no value, no headers.
        write_varint(-1, &mut record);
        write_varint(-1, &mut record);
        write_varint(0, &mut record);
        write_varint(i32::try_from(record.len()).unwrap(), &mut tail);
        tail.extend(record);
    }
    let mut bytes = vec![0; 8];
    bytes.extend(i32::try_from(tail.len() + 9).unwrap().to_be_bytes());
    bytes.extend(0_i32.to_be_bytes());
    bytes.push(2);
    bytes.extend(crc32c(&tail).to_be_bytes());
    bytes.extend(tail);
    bytes
}

#[derive(Default)]
struct Offsets(Vec<i64>);

impl Visitor for Offsets {
    fn record(&mut self, record: &StoredRecord<'_>) -> io::Result<()> {
        self.0.push(record.offset.get());
        Ok(())
    }
}

fn look(bytes: &[u8]) -> (Vec<i64>, Vec<Defect>) {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("t-0");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("00000000000000000000.log"), bytes).unwrap();
    let mut offsets = Offsets::default();
    let dir = FsDir::open(&dir, ReadMode::Pread).unwrap();
    let found = inspect(&dir, Beside::default(), &mut offsets).unwrap().findings;
    let of_log = found.into_iter().filter(|finding| finding.file.ends_with(".log"));
    (offsets.0, of_log.map(|finding| finding.defect).collect())
}

#[test]
fn records_that_do_not_rise_within_a_batch_are_a_finding_for_each_batch() {
    let (offsets, found) = look(&batch(&[0, 5, 2, 2, 9], 9));
    assert_eq!(offsets, [0, 5, 2, 2, 9]);
    let expected = Defect::RecordOrder { before: Offset::new(5), found: Offset::new(2) };
    assert_eq!(found, [expected]);
    let (offsets, found) = look(&batch(&[0, 2, 9], 9));
    assert_eq!((offsets, found), (vec![0, 2, 9], vec![]), "a gap is what compaction leaves");
}
