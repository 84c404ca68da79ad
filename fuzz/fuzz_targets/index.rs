//! Any bytes as each of the three indexes: never a panic, and what is taken reads back to the same bytes.
#![no_main]

use hanbeon_fuzz::within_room;
use hanbeon_log::{
    ActiveOffsetIndex, ActiveTimeIndex, ActiveTxnIndex, OffsetIndexView, SegmentSpan,
    TimeIndexView, TxnIndexView,
};
use hanbeon_records::{Millis, Offset};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (i64, u32, u32, i64, &[u8])| {
    within_room(|| {
        let (base, records, log_bytes, target, bytes) = input;
        let base_offset = Offset::new(base.saturating_abs());
        let span = SegmentSpan {
            base_offset,
            end_offset: base_offset.saturating_add(i64::from(records)),
            log_bytes: u64::from(log_bytes),
        };
        let target = Offset::new(target);

        if let Ok(view) = OffsetIndexView::parse(bytes, span) {
            let found = view.lookup(target);
            assert!(found.offset <= target.max(base_offset), "a lookup never overshoots");
            let _bound = view.upper_bound(found, u64::from(log_bytes));
            let mut active = ActiveOffsetIndex::new(base_offset, bytes.len());
            view.iter().for_each(|entry| active.push(entry.offset, entry.position).unwrap());
            assert_eq!(active.as_bytes(), bytes);
            active.truncate_to(target);
            assert!(active.view().last().is_none_or(|last| last.offset < target));
        }
        if let Ok(view) = TimeIndexView::parse(bytes, span) {
            let time = Millis::new(target.get());
            assert!(view.lookup(time).timestamp <= time.max(Millis::NONE));
            let mut active = ActiveTimeIndex::from_file(bytes, span, bytes.len()).unwrap();
            active.truncate_to(target);
            assert!(active.view().last().is_none_or(|last| last.offset < target));
        }
        if let Ok(view) = TxnIndexView::parse(bytes, span) {
            let mut found = Vec::new();
            let _collected = view.collect(base_offset, target, &mut found);
            assert!(found.len() <= view.len());
            let mut active = ActiveTxnIndex::new(base_offset);
            view.iter().for_each(|txn| active.push(txn).unwrap());
            assert_eq!(active.as_bytes(), bytes);
            active.truncate_to(target);
            assert!(active.view().iter().all(|txn| txn.last_offset < target));
        }
    });
});
