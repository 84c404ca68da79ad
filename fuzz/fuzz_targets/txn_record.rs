//! Any bytes are read as key and value of the transaction log, or refused; what is read is written back the same, and a
//! coordinator that replays them says what they say.
#![no_main]

use hanbeon_fuzz::within_room;
use hanbeon_txn::{Coordinator, Replayed, Settings, TxnKey, TxnValue, decode_key, encode_key};
use libfuzzer_sys::fuzz_target;

const SETTINGS: Settings = Settings::kafka_defaults();

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    within_room(|| {
        let (mut key, mut bytes) = input;
        let mut coordinator = Coordinator::new(SETTINGS);
        let replayed = coordinator.replay(&key, Some(&bytes));
        if let Ok(TxnKey::Transaction(id)) = decode_key(&key) {
            let mut again = Vec::new();
            encode_key(&id, &mut again);
            assert_eq!(key, again, "a key has one form");
        }
        // The key is easy to get wrong: look at the value by itself as well.
        let Ok((value, version)) = TxnValue::decode(&bytes) else {
            assert_ne!(replayed, Ok(Replayed::Applied));
            return;
        };
        let mut again = Vec::new();
        value.encode(version, &mut again).expect("what was read can be written");
        // Kafka reads lengths and tags in more forms than it writes; ours is never longer.
        assert!(again.len() <= bytes.len(), "{bytes:x?} became {again:x?}");
        if again.len() == bytes.len() {
            assert_eq!(again, bytes);
        }
        assert_eq!(TxnValue::decode(&again), Ok((value.clone(), version)));

        key = vec![0, 0, 0, 1, b'x'];
        bytes = again;
        assert_eq!(coordinator.replay(&key, Some(&bytes)), Ok(Replayed::Applied));
        let Ok(TxnKey::Transaction(id)) = decode_key(&key) else { unreachable!() };
        let view = coordinator.describe(&id).expect("it was replayed");
        assert_eq!((view.producer, view.state), (value.producer, value.state));
    });
});
