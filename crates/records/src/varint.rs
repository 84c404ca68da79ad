//! Zigzag integers of variable length, as the fields of a record are written.
//!
//! Seven bits a byte, least significant group first; the top bit says that another byte follows. Encodings longer
//! than needed are read (not every client writes the shortest), bits that have no place in the number are not:
//! Kafka drops them without a word, so two readers could see two numbers.

use alloc::vec::Vec;

/// Most bytes a 32-bit number takes.
pub const VARINT_LEN_MAX: usize = 5;

/// Most bytes a 64-bit number takes.
pub const VARLONG_LEN_MAX: usize = 10;

/// Reads a 32-bit number off the front of `input` and returns it with what follows.
///
/// `None` when the input ends within the number, when it has more than 5 bytes, or when the fifth is above `0x0F`.
#[inline]
#[must_use]
pub const fn read_varint(input: &[u8]) -> Option<(i32, &[u8])> {
    match input {
        [b0, rest @ ..] if *b0 < 0x80 => Some((unzigzag(*b0 as u32), rest)),
        [b0, b1, rest @ ..] if *b1 < 0x80 => {
            Some((unzigzag((*b0 & 0x7f) as u32 | (*b1 as u32) << 7), rest))
        }
        _ => read_varint_long(input),
    }
}

/// Reads a 64-bit number off the front of `input` and returns it with what follows.
///
/// `None` when the input ends within the number, when it has more than 10 bytes, or when the tenth is above `0x01`.
#[inline]
#[must_use]
pub const fn read_varlong(input: &[u8]) -> Option<(i64, &[u8])> {
    match input {
        [b0, rest @ ..] if *b0 < 0x80 => Some((unzigzag_long(*b0 as u64), rest)),
        [b0, b1, rest @ ..] if *b1 < 0x80 => {
            Some((unzigzag_long((*b0 & 0x7f) as u64 | (*b1 as u64) << 7), rest))
        }
        _ => read_varlong_long(input),
    }
}

const fn unzigzag(raw: u32) -> i32 {
    (raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg()
}

const fn unzigzag_long(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ (raw & 1).cast_signed().wrapping_neg()
}

#[inline(never)]
const fn read_varint_long(input: &[u8]) -> Option<(i32, &[u8])> {
    match read_varlong_raw(input, 28, 0x0f) {
        Some((raw, rest)) => {
            let [a, b, c, d, _, _, _, _] = raw.to_le_bytes();
            Some((unzigzag(u32::from_le_bytes([a, b, c, d])), rest))
        }
        None => None,
    }
}

#[inline(never)]
const fn read_varlong_long(input: &[u8]) -> Option<(i64, &[u8])> {
    match read_varlong_raw(input, 63, 0x01) {
        Some((raw, rest)) => Some((unzigzag_long(raw), rest)),
        None => None,
    }
}

/// `last_shift` is the place of the last byte that may come, which may be `last_max` at most.
const fn read_varlong_raw(mut input: &[u8], last_shift: u32, last_max: u8) -> Option<(u64, &[u8])> {
    let mut raw = 0;
    let mut shift = 0;
    while let [byte, rest @ ..] = input {
        input = rest;
        if shift == last_shift && *byte > last_max {
            return None;
        }
        raw |= ((*byte & 0x7f) as u64) << shift;
        if *byte < 0x80 {
            return Some((raw, input));
        }
        shift = shift.wrapping_add(7);
    }
    None
}

/// Appends a 32-bit number in its shortest form.
#[inline]
pub fn write_varint(value: i32, into: &mut Vec<u8>) {
    write_raw(u64::from((value << 1).cast_unsigned() ^ (value >> 31).cast_unsigned()), into);
}

/// Appends a 64-bit number in its shortest form.
#[inline]
pub fn write_varlong(value: i64, into: &mut Vec<u8>) {
    write_raw((value << 1).cast_unsigned() ^ (value >> 63).cast_unsigned(), into);
}

#[inline]
fn write_raw(mut raw: u64, into: &mut Vec<u8>) {
    while raw >= 0x80 {
        into.push(low_bits(raw) | 0x80);
        raw >>= 7;
    }
    into.push(low_bits(raw));
}

const fn low_bits(raw: u64) -> u8 {
    let [low, ..] = raw.to_le_bytes();
    low & 0x7f
}

/// Bytes that [`write_varint`] appends.
#[inline]
#[must_use]
pub const fn varint_len(value: i32) -> usize {
    raw_len(((value << 1).cast_unsigned() ^ (value >> 31).cast_unsigned()) as u64)
}

/// Bytes that [`write_varlong`] appends.
#[inline]
#[must_use]
pub const fn varlong_len(value: i64) -> usize {
    raw_len((value << 1).cast_unsigned() ^ (value >> 63).cast_unsigned())
}

/// One byte for each started group of seven bits; a table of 64 entries as arithmetic (no division).
const fn raw_len(raw: u64) -> usize {
    let bits = 64_u32.wrapping_sub((raw | 1).leading_zeros());
    (bits.wrapping_mul(9).wrapping_add(64) >> 6) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_varint(value, &mut bytes);
        bytes
    }

    #[test]
    fn samples_of_the_format_read_and_write() {
        let samples: [(i32, &[u8]); 8] = [
            (-1, &[0x01]),
            (0, &[0x00]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (value, bytes) in samples {
            assert_eq!(written(value), bytes, "{value}");
            assert_eq!(read_varint(bytes), Some((value, &[][..])), "{value}");
            assert_eq!(read_varlong(bytes), Some((i64::from(value), &[][..])), "{value}");
            assert_eq!(varint_len(value), bytes.len());
        }
    }

    #[test]
    fn every_width_of_both_forms_leads_back() {
        for shift in 0..64 {
            for value in [1_i64 << shift, (1_i64 << shift).wrapping_sub(1)] {
                for value in [value, value.wrapping_neg(), !value] {
                    let mut bytes = Vec::new();
                    write_varlong(value, &mut bytes);
                    assert_eq!(bytes.len(), varlong_len(value), "{value}");
                    assert!(bytes.len() <= VARLONG_LEN_MAX);
                    assert_eq!(read_varlong(&bytes), Some((value, &[][..])));
                    if let Ok(small) = i32::try_from(value) {
                        assert_eq!(written(small), bytes);
                        assert_eq!(read_varint(&bytes), Some((small, &[][..])));
                        assert_eq!(varint_len(small), bytes.len());
                    }
                }
            }
        }
    }

    #[test]
    fn overlong_forms_are_read_while_they_fit() {
        assert_eq!(read_varint(&[0x82, 0x80, 0x80, 0x80, 0x00, 9]), Some((1, &[9][..])));
        assert_eq!(read_varint(&[0x82, 0x00]), Some((1, &[][..])));
        let long = [0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
        assert_eq!(read_varlong(&long), Some((1, &[][..])));
    }

    #[test]
    fn surplus_bits_and_bytes_are_refused() {
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0x10]), None);
        assert_eq!(read_varint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), None);
        let mut long = [0xff; 10];
        long[9] = 0x01;
        assert_eq!(read_varlong(&long), Some((i64::MIN, &[][..])));
        long[9] = 0x02;
        assert_eq!(read_varlong(&long), None);
        assert_eq!(read_varlong(&[0x80; 11]), None);
    }

    #[test]
    fn a_number_cut_short_is_none() {
        for len in 0..5 {
            assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff][..len.min(4)]), None, "{len}");
            assert_eq!(read_varlong(&[0xff; 9][..len]), None, "{len}");
        }
    }
}
