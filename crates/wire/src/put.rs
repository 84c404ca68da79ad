//! Writes the protocol's primitive types and the frame around an answer.

use bytes::{BufMut, BytesMut};

use crate::{cursor::Form, error::WireError, frame::LENGTH_BYTES, header::ReplyTo};

/// Appends an unsigned varint.
pub(crate) fn uvarint(out: &mut BytesMut, mut value: u32) {
    while value > 0x7f {
        out.put_u8(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.put_u8(value.to_le_bytes()[0]);
}

fn too_long(len: usize, max: usize) -> WireError {
    WireError::FieldTooLong { len, max }
}

/// A length plus one.
fn compact_length(len: usize) -> Result<u32, WireError> {
    // Kafka reads lengths into 32 bits with a sign.
    const MAX: usize = i32::MAX as usize;
    i32::try_from(len)
        .ok()
        .and_then(|len| len.cast_unsigned().checked_add(1))
        .ok_or_else(|| too_long(len, MAX))
}

fn plain_length(len: usize) -> Result<i32, WireError> {
    i32::try_from(len).map_err(|_error| too_long(len, i32::MAX as usize))
}

/// Appends the length of an array, or of bytes.
pub(crate) fn count(out: &mut BytesMut, form: Form, len: usize) -> Result<(), WireError> {
    match form {
        Form::Plain => out.put_i32(plain_length(len)?),
        Form::Compact => uvarint(out, compact_length(len)?),
    }
    Ok(())
}

/// Appends the length of an array that may be null.
pub(crate) fn nullable_count(
    out: &mut BytesMut,
    form: Form,
    len: Option<usize>,
) -> Result<(), WireError> {
    match (len, form) {
        (Some(len), form) => return count(out, form, len),
        (None, Form::Plain) => out.put_i32(-1),
        (None, Form::Compact) => out.put_u8(0),
    }
    Ok(())
}

/// Appends a text.
pub(crate) fn text(out: &mut BytesMut, form: Form, text: &str) -> Result<(), WireError> {
    match form {
        Form::Plain => {
            let length = i16::try_from(text.len())
                .map_err(|_error| too_long(text.len(), i16::MAX.unsigned_abs().into()))?;
            out.put_i16(length);
        }
        Form::Compact => uvarint(out, compact_length(text.len())?),
    }
    out.put_slice(text.as_bytes());
    Ok(())
}

/// Appends a text that may be null.
pub(crate) fn nullable_text(
    out: &mut BytesMut,
    form: Form,
    value: Option<&str>,
) -> Result<(), WireError> {
    match (value, form) {
        (Some(value), form) => return text(out, form, value),
        (None, Form::Plain) => out.put_i16(-1),
        (None, Form::Compact) => out.put_u8(0),
    }
    Ok(())
}

/// Appends a section without tagged fields where the version has such sections.
pub(crate) fn no_tags(out: &mut BytesMut, form: Form) {
    if form.is_compact() {
        out.put_u8(0);
    }
}

/// Appends room for a frame's length and the response header; returns where the frame starts.
pub(crate) fn begin_frame(out: &mut BytesMut, reply_to: ReplyTo) -> usize {
    let start = out.len();
    out.put_u32(0);
    out.put_i32(reply_to.correlation_id);
    if reply_to.has_header_tags() {
        out.put_u8(0);
    }
    start
}

/// Fills in the length of the frame that starts at `start`; `elsewhere` bytes of it are not in `out`.
pub(crate) fn end_frame(
    out: &mut BytesMut,
    start: usize,
    elsewhere: usize,
) -> Result<(), WireError> {
    let body = start.saturating_add(LENGTH_BYTES);
    let length = plain_length(out.len().saturating_sub(body).saturating_add(elsewhere))?;
    if let Some(room) = out.get_mut(start..body) {
        room.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
