//! Numbers of variable length: any bytes against a plain reading of the format, any number there and back.
#![no_main]

use hanbeon_fuzz::within_room;
use hanbeon_records::{
    read_varint, read_varlong, varint_len, varlong_len, write_varint, write_varlong,
};
use libfuzzer_sys::fuzz_target;

/// Seven bits a byte, lowest first, in a number wide enough for any; then the range decides.
fn plain(bytes: &[u8], bits: u32) -> Option<(i128, usize)> {
    let len = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    if len > bits.div_ceil(7) as usize {
        return None;
    }
    let raw =
        bytes[..len].iter().rev().fold(0_u128, |raw, byte| raw << 7 | u128::from(byte & 0x7f));
    if raw >> bits != 0 {
        return None;
    }
    let half = i128::try_from(raw >> 1).unwrap();
    Some((if raw & 1 == 0 { half } else { -half - 1 }, len))
}

fuzz_target!(|input: (i32, i64, &[u8])| {
    within_room(|| {
        let (int, long, bytes) = input;
        let read = read_varint(bytes).map(|(n, rest)| (i128::from(n), bytes.len() - rest.len()));
        assert_eq!(read, plain(bytes, 32));
        let read = read_varlong(bytes).map(|(n, rest)| (i128::from(n), bytes.len() - rest.len()));
        assert_eq!(read, plain(bytes, 64));

        let mut written = Vec::new();
        write_varint(int, &mut written);
        assert_eq!(written.len(), varint_len(int));
        assert_eq!(read_varint(&written), Some((int, &[][..])));
        written.clear();
        write_varlong(long, &mut written);
        assert_eq!(written.len(), varlong_len(long));
        assert_eq!(read_varlong(&written), Some((long, &[][..])));
    });
});
