//! CRC-32C (Castagnoli), the checksum of batches and producer snapshots.

/// Where there is no std, and so no question to the processor: tables.
#[cfg(not(feature = "std"))]
static TABLES: crc::Crc<u32, crc::Table<16>> =
    crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);

/// The CRC-32C of `bytes`.
///
/// Not the CRC-32 of zlib and gzip (that one guards only files that are our own): the check value of
/// `"123456789"` is `0xE306_9283`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    #[cfg(feature = "std")]
    {
        crc_fast::crc32_iscsi(bytes)
    }
    #[cfg(not(feature = "std"))]
    {
        TABLES.checksum(bytes)
    }
}

/// The CRC-32C of `parts`, one after the other, as if they lay in one piece.
#[must_use]
pub fn crc32c_of_parts(parts: &[&[u8]]) -> u32 {
    #[cfg(feature = "std")]
    {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        for part in parts {
            digest.update(part);
        }
        let [_, _, _, _, a, b, c, d] = digest.finalize().to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }
    #[cfg(not(feature = "std"))]
    {
        let mut digest = TABLES.digest();
        for part in parts {
            digest.update(part);
        }
        digest.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_as_one_piece() {
        let bytes: [u8; 200] = core::array::from_fn(|place| u8::try_from(place).unwrap());
        for cut in [0, 1, 40, 199, 200] {
            let (front, back) = bytes.split_at(cut);
            assert_eq!(crc32c_of_parts(&[front, back]), crc32c(&bytes), "{cut}");
        }
        assert_eq!(crc32c_of_parts(&[]), 0);
    }

    #[test]
    fn check_value_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(b""), 0);
    }
}
