//! What follows an authenticated rejection (RFC 9849 §6.1.6). Pure decisions, no connections.

use super::{ConfigSource, RealOffer};
use crate::config::{ConfigListError, EchConfigList, WhyNot};

/// What the caller allows after a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectionPolicy {
    /// Whether no connection may be made without ECH.
    pub required: bool,
    /// Whether a second connection may follow at all.
    pub retry: bool,
}

/// What follows an authenticated rejection.
#[derive(Debug)]
pub enum AfterRejection {
    /// ECH was replaced: connect again with this offer, of all configs that may be used.
    Retry(Box<RealOffer>),
    /// ECH was replaced by configs of which none is usable: connect again with GREASE.
    Grease(NoRetry),
    /// ECH is securely disabled: connect again without it.
    WithoutEch,
    /// No other connection. ECH is required, or the server is misconfigured.
    Stop(NoRetry),
}

/// Why the retry configs of a rejection lead to no connection with ECH.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRetry {
    /// They are not an ECHConfigList; that says nothing about ECH.
    #[error("its retry_configs are malformed: {0}")]
    Malformed(ConfigListError),
    /// Configs came after a connection with retry configs.
    #[error("it rejected its own retry_configs and sent others; the server is misconfigured")]
    Misconfigured,
    /// A second connection is not allowed.
    #[error("retries are disabled")]
    RetryOff,
    /// The public_name of the config to offer is the name that ECH is to hide.
    #[error("the public_name of its retry_configs is the name that ECH must hide")]
    ExposesName,
    /// None of the configs can be used; the reason for each.
    #[error("none of its retry_configs is usable: {}", joined(.0))]
    Unusable(Vec<WhyNot>),
    /// No configs of a supported version came: ECH is securely disabled.
    #[error("it has disabled ECH (no retry_configs)")]
    Disabled,
    /// The same, and a second connection is not allowed.
    #[error("it has disabled ECH, and retries are disabled")]
    DisabledRetryOff,
}

fn joined(reasons: &[WhyNot]) -> String {
    let reasons: Vec<_> = reasons.iter().map(ToString::to_string).collect();
    reasons.join("; ")
}

impl NoRetry {
    /// Whether it prevents a retry only because ECH is required.
    pub fn is_requirement(&self) -> bool {
        matches!(self, Self::ExposesName | Self::Unusable(_) | Self::Disabled)
    }
}

/// Decides what follows a rejection that was authenticated for the public_name.
///
/// `host` is the name that ECH is to hide. `retries` counts the connections that were made with
/// retry configs before; `configs` is the ECHConfigList of the rejection as it was sent.
pub fn after_rejection(
    policy: RejectionPolicy,
    host: &str,
    retries: u32,
    configs: Option<&[u8]>,
) -> AfterRejection {
    // Framing that does not parse says nothing about ECH, and must not count as one that ECH is
    // switched off.
    let list = match configs.map(EchConfigList::parse).transpose() {
        Ok(list) => list,
        Err(error) => return AfterRejection::Stop(NoRetry::Malformed(error)),
    };
    match list.filter(EchConfigList::has_supported_version) {
        Some(_) if retries > 0 => AfterRejection::Stop(NoRetry::Misconfigured),
        Some(_) if !policy.retry => AfterRejection::Stop(NoRetry::RetryOff),
        Some(list) => {
            let selection = list.select();
            let reasons = selection.verdicts.iter();
            let reasons = reasons.filter_map(|verdict| verdict.why_not.clone());
            let unusable = NoRetry::Unusable(reasons.collect());
            match RealOffer::from_selection(selection, ConfigSource::Retry) {
                Some(offer) if policy.required => match offer.hiding(host) {
                    Some(offer) => AfterRejection::Retry(Box::new(offer)),
                    None => AfterRejection::Stop(NoRetry::ExposesName),
                },
                Some(offer) => AfterRejection::Retry(Box::new(offer)),
                None if policy.required => AfterRejection::Stop(unusable),
                None => AfterRejection::Grease(unusable),
            }
        }
        None if policy.required => AfterRejection::Stop(NoRetry::Disabled),
        None if !policy.retry => AfterRejection::Stop(NoRetry::DisabledRetryOff),
        None => AfterRejection::WithoutEch,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::EchConfig;
    use crate::hpke::Kem;
    use crate::key::{EchKey, KeyParams};

    const PREFER: RejectionPolicy = RejectionPolicy {
        required: false,
        retry: true,
    };
    const REQUIRE: RejectionPolicy = RejectionPolicy {
        required: true,
        retry: true,
    };

    const HOST: &str = "hidden.example";

    fn usable() -> EchConfig {
        EchKey::generate(&KeyParams::new("public.example").unwrap())
            .unwrap()
            .config()
            .clone()
    }

    /// Same version, an unknown KEM.
    fn unusable() -> EchConfig {
        let mut contents = usable().contents().unwrap().clone();
        contents.kem = Kem(0x7777);
        EchConfig::try_from(contents).unwrap()
    }

    fn list(configs: Vec<EchConfig>) -> Vec<u8> {
        EchConfigList::from_configs(configs).unwrap().encode()
    }

    /// A list with one config of an unknown version.
    const OTHER_VERSION: &[u8] = &[0, 6, 0xfe, 0x0a, 0, 2, 1, 2];

    #[test]
    fn configs_under_the_hidden_name_are_refused_where_ech_is_required() {
        let configs = list(vec![usable()]);
        for host in ["public.example", "PUBLIC.example."] {
            let next = after_rejection(REQUIRE, host, 0, Some(&configs));
            assert!(
                matches!(&next, AfterRejection::Stop(NoRetry::ExposesName)),
                "{next:?}"
            );
            let next = after_rejection(PREFER, host, 0, Some(&configs));
            assert!(matches!(next, AfterRejection::Retry(_)), "{next:?}");
            // One behind it that hides the name serves.
            let cover = EchKey::generate(&KeyParams::new("cover.test").unwrap()).unwrap();
            let both = list(vec![usable(), cover.config().clone()]);
            let AfterRejection::Retry(offer) = after_rejection(REQUIRE, host, 0, Some(&both))
            else {
                panic!("{host}");
            };
            assert_eq!(offer.chosen.index(), 1);
            assert!(offer.others.is_empty(), "{offer:?}");
        }
    }

    #[test]
    fn usable_configs_are_used_once() {
        let configs = list(vec![unusable(), usable()]);
        for policy in [PREFER, REQUIRE] {
            let AfterRejection::Retry(offer) = after_rejection(policy, HOST, 0, Some(&configs))
            else {
                panic!("{policy:?}");
            };
            assert_eq!(offer.chosen.index(), 1);
            let next = after_rejection(policy, HOST, 1, Some(&configs));
            let AfterRejection::Stop(reason) = next else {
                panic!("{next:?}");
            };
            assert_eq!(reason, NoRetry::Misconfigured);
            assert!(!reason.is_requirement());
        }
    }

    #[test]
    fn a_retry_has_every_usable_config_in_the_servers_order() {
        let configs = list(vec![usable(), unusable(), usable(), usable()]);
        for policy in [PREFER, REQUIRE] {
            let next = after_rejection(policy, HOST, 0, Some(&configs));
            let AfterRejection::Retry(offer) = next else {
                panic!("{next:?}");
            };
            assert_eq!(offer.source, ConfigSource::Retry);
            let others: Vec<usize> = offer.others.iter().map(|chosen| chosen.index()).collect();
            assert_eq!((offer.chosen.index(), others), (0, vec![2, 3]));
        }
    }

    #[test]
    fn known_version_without_a_known_suite_is_replaced_not_disabled() {
        let configs = list(vec![unusable()]);
        let next = after_rejection(PREFER, HOST, 0, Some(&configs));
        assert!(
            matches!(&next, AfterRejection::Grease(reason) if reason.to_string().contains("0x7777")),
            "{next:?}"
        );
        let next = after_rejection(REQUIRE, HOST, 0, Some(&configs));
        assert!(matches!(next, AfterRejection::Stop(reason) if reason.is_requirement()));
        // and when sent again, the server is misconfigured all the same
        let next = after_rejection(PREFER, HOST, 1, Some(&configs));
        assert!(matches!(next, AfterRejection::Stop(NoRetry::Misconfigured)));
    }

    #[test]
    fn no_configs_or_only_unknown_versions_mean_securely_disabled() {
        for configs in [None, Some(OTHER_VERSION)] {
            for retries in [0, 1] {
                let next = after_rejection(PREFER, HOST, retries, configs);
                assert!(matches!(next, AfterRejection::WithoutEch), "{next:?}");
                let next = after_rejection(REQUIRE, HOST, retries, configs);
                assert!(
                    matches!(next, AfterRejection::Stop(NoRetry::Disabled)),
                    "{next:?}"
                );
            }
        }
    }

    #[test]
    fn an_empty_list_is_malformed_and_switches_nothing_off() {
        for policy in [PREFER, REQUIRE] {
            let next = after_rejection(policy, HOST, 0, Some(&[0, 0]));
            assert!(
                matches!(&next, AfterRejection::Stop(reason @ NoRetry::Malformed(_)) if !reason.is_requirement()),
                "{next:?}"
            );
        }
    }

    #[test]
    fn with_retry_switched_off_there_is_no_second_connection() {
        let configs = list(vec![usable()]);
        for configs in [None, Some(&configs[..])] {
            let policy = RejectionPolicy {
                retry: false,
                ..PREFER
            };
            let next = after_rejection(policy, HOST, 0, configs);
            assert!(matches!(next, AfterRejection::Stop(_)), "{next:?}");
        }
    }
}
