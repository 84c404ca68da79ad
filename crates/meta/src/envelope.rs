//! How records and values of our own are sealed: length, version, checksum, payload.
//!
//! ```text
//! length  u32 big-endian   bytes of the payload
//! version u16 big-endian   of the payload's shape
//! crc     u32 big-endian   CRC-32 (IEEE) of salt, length, version, payload
//! payload
//! ```
//! The salt is not stored. It says where the bytes belong (the kind of a row, the place in a file), so that sealed bytes
//! which turn up elsewhere do not pass.

use crate::Damage;

pub(crate) const HEADER_LEN: usize = 10;

/// What an envelope held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened<'a> {
    pub(crate) version: u16,
    pub(crate) payload: &'a [u8],
    pub(crate) rest: &'a [u8],
}

/// The header of an envelope, before anything is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) payload_len: u32,
    pub(crate) version: u16,
    crc: u32,
}

impl Header {
    pub(crate) fn read(bytes: &[u8; HEADER_LEN]) -> Self {
        let [l0, l1, l2, l3, v0, v1, c0, c1, c2, c3] = *bytes;
        Self {
            payload_len: u32::from_be_bytes([l0, l1, l2, l3]),
            version: u16::from_be_bytes([v0, v1]),
            crc: u32::from_be_bytes([c0, c1, c2, c3]),
        }
    }

    /// Whether `payload` is what was sealed under this header.
    pub(crate) fn check(&self, salt: &[u8], payload: &[u8]) -> Result<(), Damage> {
        let computed = checksum(salt, self.payload_len, self.version, payload);
        if computed == self.crc {
            Ok(())
        } else {
            Err(Damage::Checksum { stored: self.crc, computed })
        }
    }
}

/// Seals `payload` at the end of `into`. Payloads beyond 4 GiB do not exist: limits are far below.
pub(crate) fn seal(salt: &[u8], version: u16, payload: &[u8], into: &mut Vec<u8>) {
    let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    debug_assert!(usize::try_from(len).is_ok_and(|len| len == payload.len()), "payload over 4 GiB");
    into.extend_from_slice(&len.to_be_bytes());
    into.extend_from_slice(&version.to_be_bytes());
    into.extend_from_slice(&checksum(salt, len, version, payload).to_be_bytes());
    into.extend_from_slice(payload);
}

/// Opens the envelope at the head of `bytes`.
pub(crate) fn open<'a>(salt: &[u8], bytes: &'a [u8]) -> Result<Opened<'a>, Damage> {
    let short = |needed: u64| Damage::Short { needed, found: len_u64(bytes) };
    let (header, rest) =
        bytes.split_first_chunk().ok_or_else(|| short(len_u64(&[0; HEADER_LEN])))?;
    let header = Header::read(header);
    let needed = u64::from(header.payload_len).saturating_add(len_u64(&[0; HEADER_LEN]));
    let (payload, rest) = usize::try_from(header.payload_len)
        .ok()
        .and_then(|len| rest.split_at_checked(len))
        .ok_or_else(|| short(needed))?;
    header.check(salt, payload)?;
    Ok(Opened { version: header.version, payload, rest })
}

fn len_u64(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn checksum(salt: &[u8], len: u32, version: u16, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(salt);
    hasher.update(&len.to_be_bytes());
    hasher.update(&version.to_be_bytes());
    hasher.update(payload);
    hasher.finalize()
}
