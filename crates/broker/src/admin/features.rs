//! `UpdateFeatures`, and what `ApiVersions` says about features.

use hanbeon::{Engine, Env, Feature, FeatureError, FeatureUpdate, LevelChange, Mode};
use hanbeon_records::ErrorCode;
use hanbeon_wire::{
    Features, FinalizedFeature, Request, SupportedFeature,
    messages::{Text, text, update_features as api},
};

use super::{Answered, number, respond, words};
use crate::dispatch::Node;

/// The features that clients are told of. One that is not here has its level all the same, and can be updated.
///
/// A client that is told of `transaction.version` 2 no longer enrols partitions itself, so a feature stands here only when all that it
/// promises is answered; a test below holds it against what is served.
const ANNOUNCED: &[Feature] = Feature::ALL;

/// Calls `use_it` with the features as `ApiVersions` shows them.
pub(crate) fn with_announced<E: Env, T>(
    engine: &Engine<E>,
    use_it: impl FnOnce(&Features<'_>) -> T,
) -> T {
    announce(ANNOUNCED, engine.features(), use_it)
}

fn announce<T>(
    announced: &[Feature],
    levels: hanbeon::Features,
    use_it: impl FnOnce(&Features<'_>) -> T,
) -> T {
    if announced.is_empty() {
        return use_it(&Features::NONE);
    }
    let supported = announced.iter().map(|feature| SupportedFeature {
        name: feature.name(),
        min: 0,
        max: feature.max_level(),
    });
    let finalized = announced
        .iter()
        .map(|&feature| FinalizedFeature { name: feature.name(), level: levels.level(feature) });
    use_it(&Features {
        supported: &supported.collect::<Vec<_>>(),
        epoch: levels.epoch(),
        finalized: &finalized.collect::<Vec<_>>(),
    })
}

/// A refusal with its words.
type Refused = (ErrorCode, Option<Text>);

/// One wish that cannot be granted refuses them all, so the answer as a whole says why and no feature has a result of its own.
pub(super) fn update<E: Env>(node: &Node<E>, request: &Request) -> Answered {
    let asked: api::Request = request.decode()?;
    let mode = if asked.validate_only { Mode::ValidateOnly } else { Mode::Apply };
    let done =
        asked.feature_updates.iter().map(wish).collect::<Result<Vec<_>, _>>().and_then(|wishes| {
            node.engine.update_features(&wishes, mode).map_err(|error| refusal(&error))
        });
    let response = match done {
        Ok(_levels) => api::Response {
            results: asked
                .feature_updates
                .iter()
                .map(|update| api::UpdatableFeatureResult {
                    feature: update.feature.clone(),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        },
        Err((code, error_message)) => {
            api::Response { error_code: number(code), error_message, ..Default::default() }
        }
    };
    respond::<api::Request>(request, &response)
}

fn refusal(error: &FeatureError) -> Refused {
    (error.code(), words(error))
}

/// Version 0 asks for upgrades only: 4.3.1 grants no downgrade there, whatever `allowDowngrade` says, and neither do we.
fn wish(asked: &api::FeatureUpdateKey) -> Result<FeatureUpdate<'_>, Refused> {
    let change = match asked.upgrade_type {
        1 => LevelChange::Upgrade,
        2 => LevelChange::SafeDowngrade,
        3 => LevelChange::UnsafeDowngrade,
        _ => {
            let why = "a level changes by upgrade (1), safe downgrade (2) or unsafe downgrade (3)";
            return Err((ErrorCode::InvalidUpdateVersion, Some(text(why))));
        }
    };
    Ok(FeatureUpdate { feature: asked.feature.as_str(), level: asked.max_version_level, change })
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use hanbeon_wire::{Advertised, ApiKey, ApiVersionsRequest, ReplyTo, write_api_versions};

    use super::*;
    use crate::dispatch::SERVED;

    /// What a client may rely on when it is told of a feature at its highest level: these APIs, up to these versions.
    const fn promised(feature: Feature) -> &'static [(ApiKey, i16)] {
        match feature {
            Feature::GroupVersion => &[
                (ApiKey::ConsumerGroupHeartbeat, 1),
                (ApiKey::ConsumerGroupDescribe, 1),
                (ApiKey::OffsetCommit, 9),
                (ApiKey::OffsetFetch, 9),
            ],
            Feature::TransactionVersion => &[
                (ApiKey::FindCoordinator, 4),
                (ApiKey::InitProducerId, 5),
                (ApiKey::Produce, 12),
                (ApiKey::AddPartitionsToTxn, 3),
                (ApiKey::TxnOffsetCommit, 5),
                (ApiKey::EndTxn, 5),
            ],
        }
    }

    #[test]
    fn what_is_announced_is_served() {
        let advertised = Advertised::new(SERVED);
        for &feature in ANNOUNCED {
            for &(api, version) in promised(feature) {
                let served = advertised.versions(api).is_some_and(|it| it.contains(version));
                assert!(served, "{} promises {api} {version}", feature.name());
            }
        }
    }

    fn shown(announced: &[Feature], version: i16) -> BytesMut {
        let home = tempfile::tempdir().unwrap();
        let engine = Engine::open(home.path()).unwrap();
        let mut out = BytesMut::new();
        let reply_to = ReplyTo { api: ApiKey::ApiVersions, version, correlation_id: 1 };
        let asked = ApiVersionsRequest::List { software: None };
        let advertised = Advertised::new(&[]);
        announce(announced, engine.features(), |features| {
            write_api_versions(&mut out, reply_to, &asked, &advertised, features).unwrap();
        });
        out
    }

    #[test]
    fn levels_are_shown_with_their_epoch() {
        let all = shown(Feature::ALL, 4);
        let has = |part: &[u8]| all.windows(part.len()).any(|window| window == part);
        // Supported 0 to 2, finalized 2 (the maximum stands first), epoch 1.
        assert!(has(b"\x14transaction.version\x00\x00\x00\x02"), "{all:?}");
        assert!(has(b"\x14transaction.version\x00\x02\x00\x02"), "{all:?}");
        assert!(has(b"\x0egroup.version\x00\x01\x00\x01"), "{all:?}");
        assert!(has(&[1, 8, 0, 0, 0, 0, 0, 0, 0, 1]), "{all:?}");
    }

    #[test]
    fn what_is_not_announced_does_not_show() {
        let name = b"version";
        let none = shown(&[], 4);
        assert!(!none.windows(name.len()).any(|window| window == name), "{none:?}");
    }
}
