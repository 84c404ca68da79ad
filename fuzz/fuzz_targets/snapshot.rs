//! Any bytes are read as a producer snapshot and its sidecar, or refused; what is read is written back the same.
#![no_main]

use hanbeon_fuzz::within_room;
use hanbeon_idempotence::{FirstWrite, ProducerStates, Settings, Verification, load};
use hanbeon_records::{Millis, crc32c};
use libfuzzer_sys::fuzz_target;

const SETTINGS: Settings = Settings {
    expiration_ms: i64::MAX,
    verification: Verification::On,
    first_write: FirstWrite::AnySequence,
    hash_seed: 1,
};

/// Puts in the checksum at `at`, so that the fuzzer gets behind it.
fn seal(bytes: &mut [u8], at: usize) {
    if let Some((head, covered)) = bytes.split_at_mut_checked(at + 4) {
        head[at..].copy_from_slice(&crc32c(covered).to_be_bytes());
    }
}

fn files(states: &ProducerStates) -> (Vec<u8>, Vec<u8>) {
    let (mut snapshot, mut window) = (Vec::new(), Vec::new());
    let crc = states.write_snapshot(&mut snapshot);
    states.write_window(crc, &mut window);
    (snapshot, window)
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    within_room(|| {
        let (mut snapshot, mut window) = input;
        seal(&mut snapshot, 2);
        if let (Some(crc), Some(key)) = (snapshot.get(2..6), window.get_mut(10..14)) {
            key.copy_from_slice(crc);
        }
        seal(&mut window, 6);
        let Ok(loaded) = load(&snapshot, Some(&window), SETTINGS, Millis::new(0)) else { return };
        let (snapshot, window) = files(&loaded.states);
        let again =
            load(&snapshot, Some(&window), SETTINGS, Millis::new(0)).expect("our own bytes");
        assert_eq!(again.window, Ok(()));
        assert_eq!(files(&again.states), (snapshot, window));
    });
});
