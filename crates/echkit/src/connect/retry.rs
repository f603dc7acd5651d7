//! What follows an authenticated rejection (RFC 9849 §6.1.6). Pure decisions, no connections.

use echkit_proto::config::{Chosen, EchConfigList};
use rustls::internal::msgs::codec::Codec;
use rustls::internal::msgs::handshake::EchConfigPayload;

use crate::policy::{EchMode, Policy};

/// What follows an authenticated rejection.
#[derive(Debug)]
pub(super) enum Next {
    /// ECH was replaced: connect again with this config.
    Retry(Box<Chosen>),
    /// ECH was replaced by configs of which none is usable: connect again with GREASE.
    Grease(String),
    /// ECH is securely disabled: connect again without it.
    WithoutEch,
    /// No other connection. ECH is required, or the server is misconfigured.
    Stop {
        /// Why, in words.
        reason: String,
        /// Whether it is only because ECH is required.
        required: bool,
    },
}

/// Decides what follows a rejection that was authenticated for the public_name.
///
/// `retries` counts the connections that were made with retry configs before.
pub(super) fn after_rejection(policy: &Policy, retries: u32, configs: Option<&[u8]>) -> Next {
    let required = policy.ech == EchMode::Require;
    let stop = |reason: &str, required| Next::Stop {
        reason: reason.to_owned(),
        required,
    };
    // Framing that does not parse is no statement about ECH, and must not count as one that ECH is
    // switched off. Of such, rustls lets only the empty list pass.
    let list = match configs.map(EchConfigList::parse).transpose() {
        Ok(list) => list,
        Err(error) => return stop(&format!("its retry configs are malformed: {error}"), false),
    };
    match list.filter(EchConfigList::has_supported_version) {
        Some(_) if retries > 0 => stop(
            "it sends new configs again after its own were used; the server is misconfigured",
            false,
        ),
        Some(_) if !policy.retry => stop("a retry is switched off", false),
        Some(list) => {
            let selection = list.select();
            match selection.chosen {
                Some(chosen) => Next::Retry(Box::new(chosen)),
                None => {
                    let reasons: Vec<_> = selection
                        .verdicts
                        .iter()
                        .filter_map(|verdict| Some(verdict.why_not.as_ref()?.to_string()))
                        .collect();
                    let reason = format!(
                        "none of its retry configs can be used: {}",
                        reasons.join("; ")
                    );
                    match required {
                        true => stop(&reason, true),
                        false => Next::Grease(reason),
                    }
                }
            }
        }
        None if required => stop("it has switched ECH off (no retry configs)", true),
        None if !policy.retry => stop("it has switched ECH off, and a retry is too", false),
        None => Next::WithoutEch,
    }
}

/// The ECHConfigList in a rejection; `None` when the server sent none.
///
/// rustls hands retry configs over parsed; this writes them down again. A list without a config
/// breaks the syntax (RFC 9849 §4), which rustls does not mind: written down it is malformed still,
/// and no statement that ECH is switched off.
pub(super) fn encode(configs: Option<&[EchConfigPayload]>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for config in configs? {
        config.encode(&mut body);
    }
    let len = u16::try_from(body.len()).ok()?;
    Some([&len.to_be_bytes()[..], &body].concat())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use echkit_proto::config::EchConfig;
    use echkit_proto::hpke::Kem;
    use echkit_proto::key::{EchKey, KeyParams};
    use rustls::internal::msgs::codec::Reader;

    fn policy(ech: EchMode) -> Policy {
        Policy {
            ech,
            ..Policy::default()
        }
    }

    fn usable() -> EchConfig {
        EchKey::generate(&KeyParams::new("public.example").unwrap())
            .unwrap()
            .config()
            .clone()
    }

    /// Same version, a KEM that nobody has.
    fn unusable() -> EchConfig {
        let mut contents = usable().contents().unwrap().clone();
        contents.kem = Kem(0x7777);
        EchConfig::from(contents)
    }

    fn list(configs: Vec<EchConfig>) -> Vec<u8> {
        EchConfigList::from_configs(configs).unwrap().encode()
    }

    /// A list with one config of a version that nobody knows.
    const OTHER_VERSION: &[u8] = &[0, 6, 0xfe, 0x0a, 0, 2, 1, 2];

    #[test]
    fn usable_configs_are_used_once() {
        let configs = list(vec![unusable(), usable()]);
        for mode in [EchMode::Prefer, EchMode::Require] {
            let Next::Retry(chosen) = after_rejection(&policy(mode), 0, Some(&configs)) else {
                panic!("{mode}");
            };
            assert_eq!(chosen.index, 1);
            let next = after_rejection(&policy(mode), 1, Some(&configs));
            assert!(
                matches!(&next, Next::Stop { required: false, reason } if reason.contains("misconfigured")),
                "{next:?}"
            );
        }
    }

    #[test]
    fn known_version_without_a_known_suite_is_replaced_not_disabled() {
        let configs = list(vec![unusable()]);
        let next = after_rejection(&policy(EchMode::Prefer), 0, Some(&configs));
        assert!(
            matches!(&next, Next::Grease(reason) if reason.contains("0x7777")),
            "{next:?}"
        );
        let next = after_rejection(&policy(EchMode::Require), 0, Some(&configs));
        assert!(matches!(next, Next::Stop { required: true, .. }));
        // and when sent again, the server is misconfigured all the same
        let next = after_rejection(&policy(EchMode::Prefer), 1, Some(&configs));
        assert!(matches!(
            next,
            Next::Stop {
                required: false,
                ..
            }
        ));
    }

    #[test]
    fn no_configs_or_only_unknown_versions_mean_securely_disabled() {
        for configs in [None, Some(OTHER_VERSION)] {
            for retries in [0, 1] {
                let next = after_rejection(&policy(EchMode::Prefer), retries, configs);
                assert!(matches!(next, Next::WithoutEch), "{next:?}");
                let next = after_rejection(&policy(EchMode::Require), retries, configs);
                assert!(
                    matches!(next, Next::Stop { required: true, .. }),
                    "{next:?}"
                );
            }
        }
    }

    #[test]
    fn an_empty_list_is_malformed_and_switches_nothing_off() {
        for mode in [EchMode::Prefer, EchMode::Require] {
            let next = after_rejection(&policy(mode), 0, Some(&[0, 0]));
            assert!(
                matches!(&next, Next::Stop { required: false, reason } if reason.contains("malformed")),
                "{next:?}"
            );
        }
    }

    #[test]
    fn with_retry_switched_off_there_is_no_second_connection() {
        let configs = list(vec![usable()]);
        for configs in [None, Some(&configs[..])] {
            let mut policy = policy(EchMode::Prefer);
            policy.retry = false;
            let next = after_rejection(&policy, 0, configs);
            assert!(matches!(next, Next::Stop { .. }), "{next:?}");
        }
    }

    #[test]
    fn configs_parsed_by_rustls_are_written_down_unchanged() {
        let bytes = list(vec![usable(), unusable()]);
        let mut parsed = Vec::<EchConfigPayload>::read(&mut Reader::init(&bytes)).unwrap();
        assert_eq!(encode(Some(&parsed)).unwrap(), bytes);
        parsed.clear();
        assert_eq!(encode(Some(&parsed)).unwrap(), [0, 0]);
        assert_eq!(encode(None), None);
        let parsed = Vec::<EchConfigPayload>::read(&mut Reader::init(OTHER_VERSION)).unwrap();
        assert_eq!(encode(Some(&parsed)).unwrap(), OTHER_VERSION);
    }
}
