//! Control records from any key and value, and markers there and back.
#![no_main]

use hanbeon_fuzz::within_room;
use hanbeon_records::{
    BatchRef, Control, CoordinatorEpoch, EndTxnMarker, LeaderEpoch, MARKER_LEN, Marker, Millis,
    Offset, Outcome, ProducerEpoch, ProducerId, read_control, write_marker,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: ((i64, i32, i64, i16, i32, i64, u8), Option<&[u8]>, Option<&[u8]>)| {
    within_room(|| {
        let ((offset, leader_epoch, id, epoch, coordinator_epoch, time, outcome), key, value) =
            input;
        if let Ok(Control::EndTxn(marker)) = Control::parse(key, value) {
            assert_eq!(&key.unwrap()[2..4], marker.outcome.control_type().number().to_be_bytes());
            assert_eq!(&value.unwrap()[2..6], marker.coordinator_epoch.get().to_be_bytes());
        }

        let marker = Marker {
            base_offset: Offset::new(offset),
            leader_epoch: LeaderEpoch::new(leader_epoch),
            producer_id: ProducerId::new(id),
            producer_epoch: ProducerEpoch::new(epoch),
            outcome: if outcome % 2 == 0 { Outcome::Commit } else { Outcome::Abort },
            coordinator_epoch: CoordinatorEpoch::new(coordinator_epoch),
            timestamp: Millis::new(time),
        };
        let mut bytes = Vec::new();
        write_marker(&mut bytes, &marker);
        assert_eq!(bytes.len(), MARKER_LEN);
        let (batch, rest) = BatchRef::parse(&bytes).unwrap();
        let batch = batch.verify().unwrap();
        assert!(rest.is_empty());
        assert_eq!(batch.base_offset(), marker.base_offset);
        assert_eq!(batch.leader_epoch(), marker.leader_epoch);
        assert_eq!(batch.producer_id(), marker.producer_id);
        assert_eq!(batch.producer_epoch(), marker.producer_epoch);
        assert_eq!(batch.max_timestamp(), marker.timestamp);
        let Marker { outcome, coordinator_epoch, .. } = marker;
        let read = read_control(batch.get()).unwrap();
        assert_eq!(read, Some(Control::EndTxn(EndTxnMarker { outcome, coordinator_epoch })));
    });
});
