//! The header in front of every request, and where its answer goes.

use core::fmt;

use bytes::{Buf, Bytes};

use crate::{
    api::{Advertised, ApiKey},
    cursor::{Cursor, Form},
    error::WireError,
};

/// Most bytes in a request header, tags included.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;
/// Most bytes in a client id.
pub const CLIENT_ID_BYTES_MAX: usize = 1024;

/// The name a client gives itself; it need not be UTF-8 and proves nothing.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientId(Bytes);

impl ClientId {
    /// The bytes as they came.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

/// What an answer must repeat of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// The API that was asked.
    pub api: ApiKey,
    /// In which version.
    pub version: i16,
    /// The client's number for the request.
    pub correlation_id: i32,
}

impl ReplyTo {
    /// Whether body and header use compact types and tags. `ApiVersions` keeps the old response header all the same.
    #[must_use]
    pub const fn is_flexible(self) -> bool {
        self.api.is_flexible(self.version)
    }

    /// Whether the response header ends with tags.
    pub(crate) const fn has_header_tags(self) -> bool {
        self.is_flexible() && !matches!(self.api, ApiKey::ApiVersions)
    }

    pub(crate) const fn form(self) -> Form {
        Form::of(self.is_flexible())
    }
}

/// One request whose header was read and whose API and version are served.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which API, which version, which number.
    pub reply_to: ReplyTo,
    /// The client's name for itself; absent and empty are both allowed.
    pub client_id: Option<ClientId>,
    /// What follows the header.
    pub body: Bytes,
}

impl Request {
    /// Reads the header of a frame.
    ///
    /// An unknown version of `ApiVersions` is read as far as the client id only, and keeps its number: what follows may be in a form
    /// that does not exist yet, and the client wants to be told (KIP-511). Kafka 4.3 closes the connection if that form is not its own.
    ///
    /// # Errors
    /// The connection is to be closed: the API or version is not served, or the header is broken.
    pub fn read(mut frame: Bytes, advertised: &Advertised) -> Result<Self, WireError> {
        let whole = frame.len();
        let limited = frame.get(..HEADER_BYTES_MAX).unwrap_or(&frame);
        let mut cursor = Cursor::new(limited);
        let (reply_to, client_id) = match read_header(&mut cursor, advertised) {
            Err(WireError::Truncated { .. }) if whole > HEADER_BYTES_MAX => {
                return Err(WireError::HeaderTooLong { max: HEADER_BYTES_MAX });
            }
            read => read?,
        };
        let client_id = client_id.map(|id| ClientId(frame.slice_ref(id)));
        let header = limited.len().saturating_sub(cursor.remaining());
        frame.advance(header);
        Ok(Self { reply_to, client_id, body: frame })
    }
}

fn read_header<'a>(
    cursor: &mut Cursor<'a>,
    advertised: &Advertised,
) -> Result<(ReplyTo, Option<&'a [u8]>), WireError> {
    let key = cursor.i16()?;
    let version = cursor.i16()?;
    let api = advertised.check(key, version)?;
    let correlation_id = cursor.i32()?;
    // The client id keeps its 16-bit length in every header version (KIP-482).
    let client_id = cursor.nullable_text_bytes(Form::Plain)?;
    if let Some(id) = client_id
        && id.len() > CLIENT_ID_BYTES_MAX
    {
        return Err(WireError::ClientIdTooLong { found: id.len(), max: CLIENT_ID_BYTES_MAX });
    }
    if api.readable().is_some_and(|readable| readable.contains(version)) {
        cursor.skip_tags(Form::of(api.is_flexible(version)))?;
    }
    Ok((ReplyTo { api, version, correlation_id }, client_id))
}
