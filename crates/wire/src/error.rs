//! What can be wrong with bytes from a client, and with an answer that has no form in its version.

use hanbeon_records::ErrorCode;

use crate::api::{ApiKey, Versions};

/// Why bytes are not a request, or an answer has no bytes.
///
/// After an error from reading, the broker closes the connection without an answer, as Kafka 4.3 does: the place where the next
/// request starts is not known any more, or what the client asks for has no answer in a form that it could read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The length in front of a request is no length, or more than this connection may send.
    #[error(
        "a frame is 8 to {max} bytes long, this one claims {found}; larger requests need a larger socket.request.max.bytes, \
         and a TLS hello on a plaintext port looks like this too"
    )]
    FrameLength {
        /// The claimed length.
        found: i32,
        /// The longest frame allowed now.
        max: usize,
    },
    /// No API of a broker has this key.
    #[error("no API of this broker has the key {key}; ask ApiVersions for the list")]
    UnknownApi {
        /// The key in the header.
        key: i16,
    },
    /// The API is known, this version of it is not served.
    #[error(
        "{api} is served in versions {supported}, found version {found}; ask ApiVersions for the list"
    )]
    UnsupportedVersion {
        /// The API asked for.
        api: ApiKey,
        /// The version in the header.
        found: i16,
        /// What is served.
        supported: Versions,
    },
    /// Something other than the authentication requests came before authentication.
    #[error("{api} before authentication; first comes SaslHandshake, then SaslAuthenticate")]
    NotAuthenticated {
        /// The API asked for.
        api: ApiKey,
    },
    /// The request header, tags included, is longer than [`crate::HEADER_BYTES_MAX`].
    #[error("a request header has at most {max} bytes, this one is longer")]
    HeaderTooLong {
        /// The limit in bytes.
        max: usize,
    },
    /// The client id is longer than [`crate::CLIENT_ID_BYTES_MAX`].
    #[error("a client id has at most {max} bytes, found {found}")]
    ClientIdTooLong {
        /// Bytes in the client id.
        found: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The bytes end inside a field.
    #[error("a field needs {needed} more bytes, the request has {available}")]
    Truncated {
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes that are left.
        available: usize,
    },
    /// Null where the schema knows no null.
    #[error("null in a field that cannot be null")]
    UnexpectedNull,
    /// A length below -1, which is neither null nor a length.
    #[error("a length is -1 (null) or more, found {found}")]
    NegativeLength {
        /// The length found.
        found: i32,
    },
    /// A text of the compact form is longer than Kafka reads one.
    #[error("a text has at most {max} bytes, this one claims {found}")]
    TextTooLong {
        /// Claimed length in bytes.
        found: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// An array claims more elements than the bytes that are left can hold.
    #[error("an array claims {found} elements, {available} bytes are left")]
    ArrayTooLong {
        /// Claimed number of elements.
        found: usize,
        /// Bytes left.
        available: usize,
    },
    /// More array elements than one request may hold.
    #[error("a request holds at most {max} array elements; split it")]
    TooManyElements {
        /// The limit over all arrays of the request.
        max: usize,
    },
    /// More tagged fields in one structure than [`crate::TAGS_MAX`].
    #[error("a structure holds at most {max} tagged fields, found {found}")]
    TooManyTags {
        /// Claimed number of tagged fields.
        found: u32,
        /// The limit.
        max: u32,
    },
    /// A variable-length integer that does not end within 32 bits.
    #[error("a varint does not end within 5 bytes and 32 bits")]
    VarintTooLong,
    /// The marker byte of a nullable structure is neither -1 nor 1.
    #[error("a nullable structure starts with -1 (null) or 1, found {found}")]
    StructMarker {
        /// The marker found.
        found: i8,
    },
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8 after {valid_up_to} bytes")]
    NotUtf8 {
        /// How many bytes are well-formed.
        valid_up_to: usize,
    },
    /// The request was asked for as a message of another API.
    #[error("asked to decode {asked} from a request of {found}")]
    OtherApi {
        /// The API of the wanted type.
        asked: ApiKey,
        /// The API of the request.
        found: ApiKey,
    },
    /// A text or list of ours is longer than the version can express.
    #[error("the answer has a field of {len} bytes or elements, its version can express {max}")]
    FieldTooLong {
        /// Bytes or elements.
        len: usize,
        /// The most that the version can express.
        max: usize,
    },
    /// A field of ours holds a value that the asked version has no place for.
    #[error(
        "the answer sets {field}, which {api} {version} does not have; leave it at its default"
    )]
    FieldNotInVersion {
        /// The API being answered.
        api: ApiKey,
        /// The version of the request.
        version: i16,
        /// The field.
        field: &'static str,
    },
    /// An answer was announced with another number of entries than it was given.
    #[error("an answer was announced with {expected} entries and got {found}")]
    CountMismatch {
        /// Entries announced.
        expected: usize,
        /// Entries written.
        found: usize,
    },
    /// The codec refused what the guard in front of it let through; their schemas disagree.
    #[error("the codec refuses {api} {version}, which its guard accepts")]
    Codec {
        /// The API of the message.
        api: ApiKey,
        /// The version of the message.
        version: i16,
    },
}

impl WireError {
    /// The code for logs, metrics and the rare answer that can still be given.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownApi { .. } | Self::UnsupportedVersion { .. } => {
                ErrorCode::UnsupportedVersion
            }
            Self::NotAuthenticated { .. } => ErrorCode::IllegalSaslState,
            Self::FrameLength { .. }
            | Self::HeaderTooLong { .. }
            | Self::ClientIdTooLong { .. }
            | Self::Truncated { .. }
            | Self::UnexpectedNull
            | Self::NegativeLength { .. }
            | Self::ArrayTooLong { .. }
            | Self::TooManyElements { .. }
            | Self::TextTooLong { .. }
            | Self::TooManyTags { .. }
            | Self::VarintTooLong
            | Self::StructMarker { .. }
            | Self::NotUtf8 { .. } => ErrorCode::InvalidRequest,
            Self::OtherApi { .. }
            | Self::FieldTooLong { .. }
            | Self::FieldNotInVersion { .. }
            | Self::CountMismatch { .. }
            | Self::Codec { .. } => ErrorCode::UnknownServerError,
        }
    }
}
