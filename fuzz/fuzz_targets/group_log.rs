//! Any bytes are read as a record of `__consumer_offsets`, or refused; what is read is written back as a record that reads the same, and a
//! coordinator takes it in.
#![no_main]

use hanbeon_fuzz::within_room;
use hanbeon_group::{Coordinator, ListFilter, Record, Replayed, Settings};
use hanbeon_records::{Millis, Offset, ProducerId};
use libfuzzer_sys::fuzz_target;

const SETTINGS: Settings = Settings {
    session_timeout_ms_min: 6_000,
    session_timeout_ms_max: 1_800_000,
    initial_rebalance_delay_ms: 3_000,
    groups_max: 10_000,
    group_size_max: 1_000,
    member_bytes_max: 1 << 20,
    new_member_join_timeout_ms: 300_000,
    offset_metadata_len_max: 4_096,
    offsets_retention_ms: 604_800_000,
    offsets_retention_check_interval_ms: 600_000,
};

fuzz_target!(|records: Vec<(u8, Vec<u8>, Option<Vec<u8>>, Option<i8>)>| {
    within_room(|| {
        let mut groups = Coordinator::<()>::new(SETTINGS);
        let mut position = Offset::ZERO;
        for (key_type, rest, value, producer) in &records {
            let key: Vec<u8> = [0, *key_type].into_iter().chain(rest.iter().copied()).collect();
            let read = Record::decode(Some(&key), value.as_deref());
            let taken = groups.replay(&Replayed::Record {
                key: Some(&key),
                value: value.as_deref(),
                position,
                producer_id: producer.map(|id| ProducerId::new(i64::from(id))),
            });
            assert_eq!(taken.is_ok(), read.is_ok());
            position = position.saturating_add(1);
            let Ok(record) = read else { continue };
            let Some(written) = record.key() else { continue };
            assert_eq!(written, key);
            assert_eq!(Record::decode(Some(&key), record.value().as_deref()), Ok(record));
        }
        let (mut now, mut out) = (0, Vec::new());
        groups.loaded(Millis::new(now), &mut out);
        for _ in 0..16 {
            now = groups.next_deadline().expect("a sweep at least").get().max(now);
            groups.tick(Millis::new(now), &mut out);
        }
        let _ = groups.list(&ListFilter::default()).expect("it is loaded");
    });
});
