//! `ApiVersions`, the request with the most special cases: it is answered in any version, before authentication, always with the old
//! response header (KIP-35, KIP-511, KIP-584).

use bytes::BytesMut;
use hanbeon_records::ErrorCode;

use crate::{
    api::{Advertised, ApiKey},
    cursor::{Cursor, Form},
    error::WireError,
    header::{ReplyTo, Request},
    messages::{api_versions, text},
};

/// The version whose body tells a client with an unknown version what to ask instead.
const FALLBACK_VERSION: i16 = 0;
/// Older Java clients fail on supported features that start at 0 (KAFKA-17492).
const ZERO_MINIMUM_SINCE: i16 = 4;

/// What a client asks `ApiVersions` for, or why it will not get the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiVersionsRequest<'a> {
    /// A client, from version 3 on with the name and version of its library.
    List {
        /// The library, absent before version 3.
        software: Option<Software<'a>>,
    },
    /// A name or version of the library that is malformed; answered with `INVALID_REQUEST`.
    InvalidSoftware,
    /// A version of the request that we do not know; answered in version 0 with `UNSUPPORTED_VERSION` and our range.
    UnknownVersion,
}

/// A client library and its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Software<'a> {
    /// Such as `librdkafka`.
    pub name: &'a str,
    /// Such as `2.15.0`.
    pub version: &'a str,
}

impl<'a> ApiVersionsRequest<'a> {
    /// Reads the request.
    ///
    /// # Errors
    /// The connection is to be closed: this is another API's request, or its body is broken. A name that is merely malformed, or no UTF-8,
    /// is no error here; null is.
    pub fn read(request: &'a Request) -> Result<Self, WireError> {
        let ReplyTo { api, version, .. } = request.reply_to;
        if api != ApiKey::ApiVersions {
            return Err(WireError::OtherApi { asked: ApiKey::ApiVersions, found: api });
        }
        if !is_known(version) {
            return Ok(Self::UnknownVersion);
        }
        if !api.is_flexible(version) {
            return Ok(Self::List { software: None });
        }
        let mut cursor = Cursor::new(&request.body);
        let name = cursor.text_bytes(Form::Compact)?;
        let library_version = cursor.text_bytes(Form::Compact)?;
        cursor.skip_tags(Form::Compact)?;
        Ok(match (software_text(name), software_text(library_version)) {
            (Some(name), Some(version)) => {
                Self::List { software: Some(Software { name, version }) }
            }
            (None, _) | (_, None) => Self::InvalidSoftware,
        })
    }
}

fn is_known(version: i16) -> bool {
    ApiKey::ApiVersions.readable().is_some_and(|readable| readable.contains(version))
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`, the form Kafka asks for.
fn software_text(bytes: &[u8]) -> Option<&str> {
    let ends_well = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let well_formed = ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    well_formed.then(|| str::from_utf8(bytes).ok()).flatten()
}

/// A feature and the levels this broker can work at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportedFeature {
    /// Such as `transaction.version`.
    pub name: &'static str,
    /// The lowest level.
    pub min: i16,
    /// The highest level.
    pub max: i16,
}

/// A feature and the level the cluster works at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalizedFeature {
    /// Such as `transaction.version`.
    pub name: &'static str,
    /// The level; a feature at level 0 is off and is left out of the answer.
    pub level: i16,
}

/// Features as `ApiVersions` shows them from version 3 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features<'a> {
    /// What this broker can do.
    pub supported: &'a [SupportedFeature],
    /// Number of the last change of the finalized levels. It must never fall, and must be the same on all brokers of a cluster: Java takes
    /// the features with the highest epoch it has seen.
    pub epoch: i64,
    /// What the cluster does.
    pub finalized: &'a [FinalizedFeature],
}

impl Features<'_> {
    /// No features.
    pub const NONE: Self = Self { supported: &[], epoch: -1, finalized: &[] };
}

/// Appends a whole frame with the answer to `ApiVersions`.
///
/// # Errors
/// `reply_to` is another API's request.
pub fn write_api_versions(
    out: &mut BytesMut,
    reply_to: ReplyTo,
    request: &ApiVersionsRequest<'_>,
    advertised: &Advertised,
    features: &Features<'_>,
) -> Result<(), WireError> {
    if let ApiVersionsRequest::UnknownVersion = request {
        return write_unknown_version(out, reply_to);
    }
    let response = match request {
        ApiVersionsRequest::List { .. } => list(reply_to.version, advertised, features),
        ApiVersionsRequest::InvalidSoftware | ApiVersionsRequest::UnknownVersion => {
            let error_code = ErrorCode::InvalidRequest.number();
            api_versions::Response { error_code, ..Default::default() }
        }
    };
    reply_to.write(&response, out)
}

/// Version 0 of the body with our own range, from which the client chooses.
fn write_unknown_version(out: &mut BytesMut, reply_to: ReplyTo) -> Result<(), WireError> {
    let own: Vec<_> = ApiKey::ApiVersions
        .readable()
        .map(|versions| api_versions::ApiVersion {
            api_key: ApiKey::ApiVersions.number(),
            min_version: versions.min,
            max_version: versions.max,
            ..Default::default()
        })
        .into_iter()
        .collect();
    let response = api_versions::Response {
        error_code: ErrorCode::UnsupportedVersion.number(),
        api_keys: own,
        ..Default::default()
    };
    ReplyTo { version: FALLBACK_VERSION, ..reply_to }.write(&response, out)
}

fn list(version: i16, advertised: &Advertised, features: &Features<'_>) -> api_versions::Response {
    let api_keys = advertised.ranges().iter().map(|&(api, versions)| api_versions::ApiVersion {
        api_key: api.number(),
        min_version: versions.min,
        max_version: versions.max,
        ..Default::default()
    });
    let supported = features
        .supported
        .iter()
        .filter(|feature| version >= ZERO_MINIMUM_SINCE || feature.min > 0)
        .map(|feature| api_versions::SupportedFeatureKey {
            name: text(feature.name),
            min_version: feature.min,
            max_version: feature.max,
            ..Default::default()
        });
    let finalized = features.finalized.iter().filter(|feature| feature.level > 0).map(|feature| {
        api_versions::FinalizedFeatureKey {
            name: text(feature.name),
            max_version_level: feature.level,
            min_version_level: feature.level,
            ..Default::default()
        }
    });
    api_versions::Response {
        api_keys: api_keys.collect(),
        supported_features: supported.collect(),
        finalized_features_epoch: features.epoch,
        finalized_features: finalized.collect(),
        ..Default::default()
    }
}
