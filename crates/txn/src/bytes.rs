//! Reading and writing of the pieces that Kafka's record schemas are made of.

use alloc::vec::Vec;

use crate::{Field, RecordError, ValueVersion};

/// What is left to read.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn take<const N: usize>(&mut self, field: Field) -> Result<[u8; N], RecordError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(RecordError::Truncated { field })?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn bytes(&mut self, field: Field, len: u32) -> Result<&'a [u8], RecordError> {
        let truncated = RecordError::Truncated { field };
        let len = usize::try_from(len).or(Err(truncated))?;
        let (head, rest) = self.0.split_at_checked(len).ok_or(truncated)?;
        self.0 = rest;
        Ok(head)
    }

    /// An unsigned number of seven bits a byte, at most 32 bits wide. Encodings longer than needed are read.
    pub(crate) fn uvarint(&mut self, field: Field) -> Result<u32, RecordError> {
        let mut number = 0_u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take(field)?;
            if shift == 28 && byte > 0x0f {
                return Err(RecordError::Length { field, found: -1 });
            }
            number |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(RecordError::Length { field, found: -1 })
    }

    /// Elements of an array; `None` for a null one.
    pub(crate) fn count(
        &mut self,
        version: ValueVersion,
        field: Field,
    ) -> Result<Option<u32>, RecordError> {
        match version {
            ValueVersion::V0 => match i32::from_be_bytes(self.take(field)?) {
                -1 => Ok(None),
                found => u32::try_from(found)
                    .map_or(Err(RecordError::Length { field, found }), |count| Ok(Some(count))),
            },
            ValueVersion::V1 => Ok(self.uvarint(field)?.checked_sub(1)),
        }
    }

    pub(crate) fn short_string(&mut self, field: Field) -> Result<&'a str, RecordError> {
        let found = i32::from(i16::from_be_bytes(self.take(field)?));
        let len = u32::try_from(found).or(Err(RecordError::Length { field, found }))?;
        self.text(field, len)
    }

    pub(crate) fn compact_string(&mut self, field: Field) -> Result<&'a str, RecordError> {
        let len = self.uvarint(field)?.checked_sub(1);
        let len = len.ok_or(RecordError::Length { field, found: -1 })?;
        self.text(field, len)
    }

    fn text(&mut self, field: Field, len: u32) -> Result<&'a str, RecordError> {
        core::str::from_utf8(self.bytes(field, len)?).or(Err(RecordError::NotUtf8 { field }))
    }

    pub(crate) const fn end(&self) -> Result<(), RecordError> {
        match self.0.len() {
            0 => Ok(()),
            count => Err(RecordError::Trailing { count }),
        }
    }
}

/// Where to write.
pub(crate) struct Output<'a>(pub(crate) &'a mut Vec<u8>);

impl Output<'_> {
    pub(crate) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.0.extend_from_slice(&bytes);
    }

    pub(crate) fn uvarint(&mut self, mut number: usize) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                self.0.push(low & 0x7f);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    pub(crate) fn count(&mut self, version: ValueVersion, count: Option<usize>) {
        match (version, count) {
            (ValueVersion::V0, None) => self.put((-1_i32).to_be_bytes()),
            (ValueVersion::V0, Some(count)) => {
                self.put(i32::try_from(count).unwrap_or(i32::MAX).to_be_bytes());
            }
            (ValueVersion::V1, None) => self.uvarint(0),
            (ValueVersion::V1, Some(count)) => self.uvarint(count.saturating_add(1)),
        }
    }

    /// The length of a text that is written so is bounded by its type: 249 for a topic, 32767 for a transactional id.
    pub(crate) fn short_string(&mut self, text: &str) {
        self.put(i16::try_from(text.len()).unwrap_or(i16::MAX).to_be_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn compact_string(&mut self, text: &str) {
        self.uvarint(text.len().saturating_add(1));
        self.0.extend_from_slice(text.as_bytes());
    }
}
