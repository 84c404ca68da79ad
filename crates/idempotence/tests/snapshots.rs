//! Snapshots byte for byte, and the sidecar that keeps the window deep.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that stops has failed")]

mod fixture;

use fixture::{DAY_MS, Log, NOW, Placed, claim, in_txn, marker, settings, v2};
use hanbeon_idempotence::{Claim, ProducerStates, SnapshotError, WindowError, load, read_snapshot};
use hanbeon_records::{ErrorCode, Millis, Offset, ProducerId, crc32c};
use proptest::prelude::*;

/// From the description of the format; also what Kafka 4.3.1 writes for an empty table.
const EMPTY: &str = "000148674bc700000000";
const ONE: &str = "0001456b22600000000100000000000003e8000700000004000000000000000e00000004\
                   0000018bcfe5680000000005ffffffffffffffff";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn snapshot_of(states: &ProducerStates) -> (u32, Vec<u8>) {
    let mut bytes = Vec::new();
    let crc = states.write_snapshot(&mut bytes);
    (crc, bytes)
}

fn files_of(states: &ProducerStates) -> (Vec<u8>, Vec<u8>) {
    let (crc, snapshot) = snapshot_of(states);
    let mut window = Vec::new();
    states.write_window(crc, &mut window);
    (snapshot, window)
}

/// Bytes with the checksum that belongs to them.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Several kinds of producers, and a log behind them.
fn busy() -> Log {
    let mut log = Log::new();
    for round in 0..7 {
        for id in 1..=3 {
            log.put(&claim(id, 2, round * 3, 3));
        }
    }
    log.put(&in_txn(claim(4, 0, 0, 2)));
    log.put(&in_txn(claim(5, 0, 0, 1)));
    log.end_txn(&v2(marker(5, 1, 9))).unwrap();
    log.put(&in_txn(claim(6, 0, 0, 1)));
    log.end_txn(&marker(6, 0, 9)).unwrap();
    log.states.high_watermark_advanced(Offset::new(log.end));
    log
}

#[test]
fn an_empty_table_is_ten_bytes() {
    let (_, bytes) = snapshot_of(&ProducerStates::new(settings()));
    assert_eq!(bytes, hex(EMPTY));
    assert!(read_snapshot(&bytes, settings(), NOW).unwrap().is_empty());
}

#[test]
fn kafkas_entry_is_read_and_written_back_byte_for_byte() {
    let bytes = hex(&ONE.replace(' ', ""));
    let states = read_snapshot(&bytes, settings(), NOW).unwrap();
    let one = states.producer(ProducerId::new(1000)).unwrap();
    assert_eq!(one.producer_epoch.get(), 7);
    assert_eq!(one.last_sequence.unwrap().get(), 4);
    assert_eq!(one.last_offset, Some(Offset::new(14)));
    assert_eq!(one.last_timestamp, NOW);
    assert_eq!(one.coordinator_epoch.get(), 5);
    assert_eq!(one.txn_first_offset, None);
    assert_eq!(snapshot_of(&states).1, bytes);
}

/// What Apache Kafka 4.3.1 wrote at offset 68 of a partition with an open transaction, two producers of which only
/// markers were known, and a plain idempotent one.
const KAFKAS: &str = "0001b68f06fc00000004\
    0000000000000007000100000004000000000000003e00000003000001a1fc5449f6000000000000000000000036\
    00000000000000080003ffffffffffffffffffffffff00000000000001a1fc6204f400000000ffffffffffffffff\
    00000000000000090002ffffffffffffffffffffffff00000000000001a1fc62051200000000ffffffffffffffff\
    000000000000000a000000000009000000000000004300000000000001a1fc544a5cffffffffffffffffffffffff";

#[test]
fn l5_i8_kafkas_own_snapshot_is_read_and_written_back_byte_for_byte() {
    let bytes = hex(KAFKAS);
    let states = read_snapshot(&bytes, settings(), NOW).unwrap();
    assert_eq!(snapshot_of(&states).1, bytes);
    assert_eq!(states.first_unstable_offset(), Some(Offset::new(54)));
    let open: Vec<_> = states.open_transactions().collect();
    assert_eq!((open.len(), open[0].producer_id.get(), open[0].producer_epoch.get()), (1, 7, 1));
    let mut log = Log { states, end: 68, now: NOW };
    log.states.advance_end(Offset::new(68));
    assert_eq!(log.write(&claim(10, 0, 9, 1)).unwrap(), Placed::Again { base: 67, last: 67 });
    assert_eq!(log.refused(&claim(8, 3, 1, 1)), 45);
    assert_eq!(log.put(&claim(8, 3, 0, 1)), 68);
}

#[test]
fn pf_c4_a_producer_with_a_marker_only_has_no_batch_in_the_file() {
    let mut log = Log::new();
    log.end_txn(&marker(1, 3, 0)).unwrap();
    let (_, bytes) = snapshot_of(&log.states);
    assert_eq!(&bytes[20..36], [[0xff; 12].as_slice(), &[0; 4]].concat());
    let states = read_snapshot(&bytes, settings(), NOW).unwrap();
    assert_eq!(states.producer(ProducerId::new(1)).unwrap().last_offset, None);
}

#[test]
fn pf_c3_every_damage_is_told_apart() {
    let good = snapshot_of(&busy().states).1;
    let read = |bytes: &[u8]| read_snapshot(bytes, settings(), NOW).map(|_| ()).unwrap_err();
    assert!(matches!(read(&good[..9]), SnapshotError::Length { needed: 10, found: 9 }));
    assert!(matches!(read(&good[..good.len() - 1]), SnapshotError::Crc { .. }));
    let mut longer = good.clone();
    longer.push(0);
    assert!(matches!(read(&longer), SnapshotError::Crc { .. }), "C16");
    assert!(matches!(read(&sealed(longer)), SnapshotError::Length { .. }));
    let mut version = good.clone();
    version[1] = 2;
    assert!(matches!(read(&version), SnapshotError::Version { expected: 1, found: 2 }));
    let mut negative = good.clone();
    negative[6] = 0x80;
    assert!(matches!(read(&sealed(negative)), SnapshotError::Count { .. }));
    let mut huge = good.clone();
    huge[6] = 0x7f;
    assert!(matches!(read(&sealed(huge)), SnapshotError::Length { .. }));
    let mut twice = good[..102].to_vec();
    twice[9] = 2;
    twice.copy_within(10..56, 56);
    let error = read(&sealed(twice));
    assert!(matches!(error, SnapshotError::Repeated { .. }));
    assert_eq!(error.code(), ErrorCode::KafkaStorageError);
}

#[test]
fn p5_i5_snapshot_and_sidecar_bring_the_whole_table_back() {
    let log = busy();
    let (snapshot, window) = files_of(&log.states);
    let loaded = load(&snapshot, Some(&window), settings(), NOW).unwrap();
    assert_eq!(loaded.window, Ok(()));
    let mut states = loaded.states;
    states.advance_end(Offset::new(log.end));
    assert_eq!(files_of(&states), (snapshot, window));
    let mut back = Log { states, end: log.end, now: NOW };
    for id in 1..=3 {
        for round in 2..7 {
            let base = i64::from(round) * 9 + (id - 1) * 3;
            let again = back.write(&claim(id, 2, round * 3, 3)).unwrap();
            assert_eq!(again, Placed::Again { base, last: base + 2 }, "P2 {id} {round}");
        }
        assert_eq!(back.refused(&claim(id, 2, 3, 3)), 45);
    }
}

/// A producer that was at each of the places at which a table can be saved, what it sent last, and whether a retry of that is one.
fn around_markers() -> Vec<(Log, Claim, bool)> {
    let last = in_txn(claim(1, 0, 1, 2));
    let mut log = Log::new();
    log.put(&in_txn(claim(1, 0, 0, 1)));
    log.put(&last);
    let open = Log { states: log.states.clone(), ..log };
    log.end_txn(&marker(1, 0, 0)).unwrap();
    let mut again = Log { states: log.states.clone(), ..log };
    let of_the_next = in_txn(claim(1, 0, 3, 1));
    again.put(&of_the_next);
    let mut plain = Log { states: log.states.clone(), ..log };
    let behind = claim(1, 0, 3, 1);
    plain.put(&behind);
    vec![(open, last, true), (log, last, false), (again, of_the_next, true), (plain, behind, true)]
}

#[test]
fn p5_what_a_marker_ended_stays_ended_over_a_reload() {
    for (log, last, is_retry) in around_markers() {
        let (snapshot, window) = files_of(&log.states);
        let loaded = load(&snapshot, Some(&window), settings(), NOW).unwrap();
        assert_eq!(loaded.window, Ok(()));
        let mut states = loaded.states;
        states.advance_end(Offset::new(log.end));
        assert_eq!(files_of(&states), (snapshot, window));
        let mut back = Log { states, ..log };
        let known = back.states.producer(ProducerId::new(1)).unwrap();
        assert_eq!(Some(known), log.states.producer(ProducerId::new(1)), "{last:?}");
        if is_retry {
            assert!(matches!(back.write(&last), Ok(Placed::Again { .. })), "{last:?}");
        } else {
            assert_eq!(back.refused(&last), 45);
        }
        let next = Claim { base_sequence: last.last_sequence().advance(1), ..last };
        back.put(&next);
        assert!(matches!(back.write(&next), Ok(Placed::Again { .. })));
    }
}

/// Kafka's file alone does not say whether the last marker came before or behind the last batch. In a transaction that is open it came before;
/// else no retry is known: right behind a decided transaction, and heard by the client behind plain data.
#[test]
fn p5_without_a_sidecar_a_decided_producer_has_no_retries() {
    let expected = [true, false, true, false];
    for ((log, last, _), is_retry) in around_markers().into_iter().zip(expected) {
        let states = read_snapshot(&snapshot_of(&log.states).1, settings(), NOW).unwrap();
        let mut back = Log { states, ..log };
        if is_retry {
            assert!(matches!(back.write(&last), Ok(Placed::Again { .. })), "{last:?}");
        } else {
            assert_eq!(back.refused(&last), 45);
        }
        back.put(&Claim { base_sequence: last.last_sequence().advance(1), ..last });
    }
}

/// The sidecar of producer 1 as the first version had it: it counted the batches before the last (last sequence, last offset, offset delta), also
/// those from before a marker.
fn first_version(snapshot_crc: u32, older: &[(i32, i64, i32)]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(1_i64.to_be_bytes());
    body.extend(0_i16.to_be_bytes());
    body.extend(NOW.get().to_be_bytes());
    body.extend(NOW.get().to_be_bytes());
    body.push(u8::try_from(older.len()).unwrap());
    for (last_sequence, last_offset, offset_delta) in older {
        body.extend(last_sequence.to_be_bytes());
        body.extend(last_offset.to_be_bytes());
        body.extend(offset_delta.to_be_bytes());
        body.extend(NOW.get().to_be_bytes());
    }
    let mut covered = snapshot_crc.to_be_bytes().to_vec();
    covered.extend(u64::try_from(body.len()).unwrap().to_be_bytes());
    covered.extend(body);
    [b"HBPW\0\x01".as_slice(), &crc32c(&covered).to_be_bytes(), &covered].concat()
}

fn with_first_version(log: &Log, older: &[(i32, i64, i32)]) -> Log {
    let (crc, snapshot) = snapshot_of(&log.states);
    let window = first_version(crc, older);
    let loaded = load(&snapshot, Some(&window), settings(), NOW).unwrap();
    assert_eq!(loaded.window, Ok(()));
    let mut states = loaded.states;
    states.advance_end(Offset::new(log.end));
    Log { states, ..*log }
}

#[test]
fn p2_a_sidecar_of_the_first_version_brings_back_the_window_of_a_producer_without_markers() {
    let mut log = Log::new();
    for sequence in 0..4 {
        log.put(&claim(1, 0, sequence * 2, 2));
    }
    let written = log.states.clone();
    let mut back = with_first_version(&log, &[(1, 1, 1), (3, 3, 1), (5, 5, 1)]);
    assert_eq!(files_of(&back.states), files_of(&written), "as the second version has it");
    for sequence in 0..4 {
        let base = i64::from(sequence) * 2;
        let again = back.write(&claim(1, 0, sequence * 2, 2)).unwrap();
        assert_eq!(again, Placed::Again { base, last: base + 1 });
    }
}

#[test]
fn p2_a_sidecar_of_the_first_version_is_trusted_as_far_as_no_marker_can_have_come_between() {
    let mut log = Log::new();
    for sequence in 0..2 {
        log.put(&in_txn(claim(1, 0, sequence, 1)));
    }
    log.end_txn(&marker(1, 0, 0)).unwrap();
    let ended = Log { states: log.states.clone(), ..log };
    for sequence in 2..4 {
        log.put(&in_txn(claim(1, 0, sequence, 1)));
    }
    let older = [(0, 0, 0), (1, 1, 0), (2, 3, 0)];

    let mut open = with_first_version(&log, &older);
    let of_the_open = open.write(&in_txn(claim(1, 0, 2, 1))).unwrap();
    assert_eq!(of_the_open, Placed::Again { base: 3, last: 3 });
    assert_eq!(open.refused(&in_txn(claim(1, 0, 1, 1))), 45, "a retry of what was aborted");

    let mut ended = with_first_version(&ended, &older[..1]);
    assert_eq!(ended.refused(&in_txn(claim(1, 0, 1, 1))), 45);
    assert_eq!(ended.refused(&in_txn(claim(1, 0, 0, 1))), 45);
    assert_eq!(ended.put(&in_txn(claim(1, 0, 2, 1))), 3);
}

#[test]
fn a_sidecar_of_a_version_to_come_is_left_out() {
    let (log, ..) = around_markers().swap_remove(1);
    let (snapshot, mut window) = files_of(&log.states);
    for found in [0, 3] {
        window[5] = u8::try_from(found).unwrap();
        let window = load(&snapshot, Some(&window), settings(), NOW).unwrap().window;
        assert_eq!(window, Err(WindowError::Version { expected: 2, found }));
    }
}

#[test]
fn c15_the_sidecar_keeps_back_dated_data_from_expiring_at_load() {
    let mut log = Log::new();
    log.put(&Claim { max_timestamp: Millis::new(0), ..claim(1, 0, 0, 1) });
    let (snapshot, window) = files_of(&log.states);
    assert!(read_snapshot(&snapshot, settings(), NOW).unwrap().is_empty());
    assert_eq!(load(&snapshot, Some(&window), settings(), NOW).unwrap().states.len(), 1);
}

#[test]
fn p7_load_drops_the_expired_but_not_those_with_an_open_transaction() {
    let later = Millis::new(NOW.get() + DAY_MS);
    let (snapshot, window) = files_of(&busy().states);
    for window in [None, Some(window.as_slice())] {
        let states = load(&snapshot, window, settings(), later).unwrap().states;
        let ids: Vec<i64> = states.producers().map(|p| p.producer_id.get()).collect();
        assert_eq!(ids, [4]);
        assert_eq!(states.first_unstable_offset(), Some(Offset::new(63)));
    }
}

#[test]
fn a_damaged_or_foreign_sidecar_is_left_out_and_changes_nothing() {
    let log = busy();
    let (snapshot, window) = files_of(&log.states);
    let alone = read_snapshot(&snapshot, settings(), NOW).unwrap();
    let left_out = |bytes: &[u8]| {
        let loaded = load(&snapshot, Some(bytes), settings(), NOW).unwrap();
        assert_eq!(format!("{:?}", loaded.states), format!("{alone:?}"));
        loaded.window.unwrap_err()
    };
    for cut in 0..window.len() {
        assert!(matches!(left_out(&window[..cut]), WindowError::Length { .. }), "cut at {cut}");
    }
    for at in 0..window.len() {
        let mut flipped = window.clone();
        flipped[at] ^= 0x10;
        left_out(&flipped);
    }
    let mut other = Log::new();
    other.put(&claim(1, 0, 0, 1));
    assert!(matches!(left_out(&files_of(&other.states).1), WindowError::Foreign { .. }));
}

#[test]
fn a_sidecar_that_disagrees_with_its_snapshot_is_left_out_whole() {
    let (snapshot, _) = files_of(&busy().states);
    let crc = u32::from_be_bytes(snapshot[2..6].try_into().unwrap());
    let mut other = busy();
    other.put(&claim(1, 3, 0, 1));
    let mut window = Vec::new();
    other.states.write_window(crc, &mut window);
    let found = load(&snapshot, Some(&window), settings(), NOW).unwrap().window.unwrap_err();
    assert_eq!(found, WindowError::Disagrees { producer_id: ProducerId::new(1) });
}

#[test]
fn a_snapshot_does_not_depend_on_the_hash_seed() {
    let mut other = Log::with(hanbeon_idempotence::Settings { hash_seed: 1, ..settings() });
    let mut log = Log::new();
    for id in (0..100).rev() {
        log.put(&claim(id, 0, 0, 1));
        other.put(&claim(id, 0, 0, 1));
    }
    assert_eq!(files_of(&log.states), files_of(&other.states));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_and_what_is_read_is_written_back(
        entries in proptest::collection::vec(any::<[u8; 46]>(), 0..5)
    ) {
        let count = u8::try_from(entries.len()).unwrap();
        let mut bytes = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, count];
        entries.iter().for_each(|entry| bytes.extend(entry));
        let bytes = sealed(bytes);
        let forever = hanbeon_idempotence::Settings { expiration_ms: i64::MAX, ..settings() };
        if let Ok(states) = read_snapshot(&bytes, forever, Millis::new(0)) {
            let (crc, again) = snapshot_of(&states);
            let mut back = read_snapshot(&again, forever, Millis::new(0)).unwrap();
            prop_assert_eq!(&snapshot_of(&back).1, &again);
            let mut window = Vec::new();
            states.write_window(crc, &mut window);
            prop_assert_eq!(back.restore_window(crc, &window), Ok(()));
        }
    }
}
