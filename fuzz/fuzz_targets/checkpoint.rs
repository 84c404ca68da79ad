//! Any bytes as each of the small text files: never a panic, and what is taken is written back to something that reads the
//! same.
#![no_main]

use hanbeon_fuzz::within_room;
use hanbeon_log::{
    LeaderEpochs, PartitionDirName, SegmentFileName, checkpoint, partition_metadata,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    within_room(|| {
        if let Ok(offsets) = checkpoint::parse_offsets(bytes) {
            let again = checkpoint::format_offsets(&offsets);
            assert_eq!(checkpoint::parse_offsets(&again), Ok(offsets));
        }
        if let Ok(epochs) = LeaderEpochs::parse(bytes) {
            assert_eq!(LeaderEpochs::parse(&epochs.format()), Ok(epochs));
        }
        if let Ok(id) = partition_metadata::parse(bytes) {
            assert_eq!(partition_metadata::parse(&partition_metadata::format(id)), Ok(id));
        }
        let Ok(text) = str::from_utf8(bytes) else { return };
        if let Some(name) = SegmentFileName::parse(text) {
            assert_eq!(name.to_string(), text);
        }
        if let Some(name) = PartitionDirName::parse(text) {
            let written = name.file_name().map(|name| name.as_str().to_owned());
            assert!(written.is_err() || PartitionDirName::parse(&written.unwrap()) == Some(name));
        }
    });
});
