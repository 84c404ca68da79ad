//! Any bytes as the payload of each codec: bounded output, and whatever comes out is walked.
#![no_main]

use hanbeon_fuzz::within_room;
use hanbeon_records::{
    Codec, CompressionLevel, OutputLimit, Records, compress, decompress, read_varint,
};
use libfuzzer_sys::fuzz_target;

/// Small, so that what grows past it shows in a few bytes of input.
const LIMIT: OutputLimit = OutputLimit::new(1 << 20);

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn walk(count: i32, plain: &[u8]) {
    let mut used = 0;
    let mut records = Records::new(count, plain);
    let most = records.size_hint().1.unwrap();
    for record in records.by_ref() {
        let Ok(record) = record else { break };
        used += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let claimed = record.headers.len();
        assert_eq!(record.headers.count(), claimed);
    }
    assert!(records.next().is_none());
    assert!(used <= plain.len() && most <= plain.len() + 1);
}

fuzz_target!(|input: (u8, i32, &[u8])| {
    within_room(|| {
        let (codec, count, bytes) = input;
        let codec = CODECS[usize::from(codec) % CODECS.len()];
        let mut plain = vec![7];
        match decompress(codec, bytes, LIMIT, &mut plain) {
            Ok(()) => {
                assert!(plain.len() <= LIMIT.get() + 1);
                walk(count, &plain[1..]);
                // The count that fits is worth more than a random one.
                let whole = std::iter::successors(Some(&plain[1..]), |rest| {
                    let (len, rest) = read_varint(rest)?;
                    rest.get(usize::try_from(len).ok()?..)
                });
                walk(i32::try_from(whole.count()).unwrap() - 1, &plain[1..]);
            }
            Err(_) => assert_eq!(plain, [7], "an error leaves nothing behind"),
        }
        let (mut packed, mut again) = (Vec::new(), Vec::new());
        compress(codec, CompressionLevel::DEFAULT, bytes, &mut packed).unwrap();
        decompress(codec, &packed, OutputLimit::new(bytes.len()), &mut again).unwrap();
        assert_eq!(again, bytes, "{codec} leads back");
    });
});
