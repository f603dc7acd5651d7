//! What is found at each case of the testbed.

/// Findings of the cases; those that are not here have none.
pub(crate) const EXPECTED: &[(&str, &[&str])] = &[
    ("no-ech", &["ECH-RECORD-WITHOUT-ECH"]),
    ("no-record", &["ECH-RECORD-MISSING"]),
    ("unpublished", &["ECH-RECORD-WITHOUT-ECH"]),
    ("disabled", &["ECH-DISABLED"]),
    ("tls12", &["ECH-TLS13-MISSING"]),
    ("stale", &["ECH-KEY-REJECTED"]),
    ("stale-hrr", &["ECH-KEY-REJECTED"]),
    (
        "stale-wrong-name",
        &["ECH-KEY-REJECTED", "ECH-PUBLIC-NAME-CERTIFICATE"],
    ),
    (
        "stale-untrusted",
        &["ECH-KEY-REJECTED", "ECH-PUBLIC-NAME-CERTIFICATE"],
    ),
    (
        "stale-expired",
        &["ECH-KEY-REJECTED", "ECH-PUBLIC-NAME-CERTIFICATE"],
    ),
    ("stale-retry", &["ECH-KEY-REJECTED", "ECH-RETRY-LOOP"]),
    (
        "unknown-version",
        &["ECH-LIST-UNUSABLE", "ECH-CONFIG-UNKNOWN"],
    ),
    ("unknown-kem", &["ECH-LIST-UNUSABLE", "ECH-CONFIG-UNKNOWN"]),
    (
        "unknown-suite",
        &["ECH-LIST-UNUSABLE", "ECH-CONFIG-UNKNOWN"],
    ),
    (
        "mandatory-extension",
        &["ECH-LIST-UNUSABLE", "ECH-CONFIG-MANDATORY-EXTENSION"],
    ),
    (
        "duplicate-extension",
        &["ECH-LIST-UNUSABLE", "ECH-CONFIG-INVALID"],
    ),
    (
        "public-name-address",
        &["ECH-LIST-UNUSABLE", "ECH-CONFIG-INVALID"],
    ),
    (
        "zero-length-config",
        &["ECH-LIST-UNUSABLE", "ECH-CONFIG-INVALID"],
    ),
    ("empty-list", &["ECH-RECORD-MALFORMED"]),
    ("truncated-list", &["ECH-RECORD-MALFORMED"]),
    (
        "some-unusable",
        &["ECH-CONFIG-MANDATORY-EXTENSION", "ECH-CONFIG-UNKNOWN"],
    ),
    ("x-wing", &["ECH-LIST-LARGE"]),
    (
        "several",
        &[
            "ECH-RECORD-UNUSABLE",
            "ECH-ADDRESS-UNREACHABLE",
            "ECH-KEY-REJECTED",
        ],
    ),
    ("alias-loop", &["ECH-ALIAS-LOOP"]),
    ("alias-nowhere", &["ECH-ALIAS-NOWHERE"]),
    ("some-ech", &["ECH-RECORD-PARTIAL"]),
    ("alpn-bogus", &["ECH-ALPN-UNLISTED"]),
    (
        "alpn-bogus-only",
        &["ECH-RECORD-UNUSABLE", "ECH-RECORD-WITHOUT-ECH"],
    ),
    ("malformed-order", &["ECH-RECORD-MALFORMED"]),
    ("malformed-duplicate", &["ECH-RECORD-MALFORMED"]),
    ("malformed-length", &["ECH-RECORD-MALFORMED"]),
    ("malformed-port", &["ECH-RECORD-MALFORMED"]),
    ("malformed-alpn", &["ECH-RECORD-MALFORMED"]),
    ("malformed-hint", &["ECH-RECORD-MALFORMED"]),
    ("malformed-mandatory", &["ECH-RECORD-MALFORMED"]),
    ("malformed-name", &["ECH-RECORD-MALFORMED"]),
    ("dot-at-port", &["ECH-DOT-AT-PORT"]),
    ("ipv6-refused", &["ECH-ADDRESS-UNREACHABLE"]),
    ("ipv6-blackholed", &["ECH-ADDRESS-UNREACHABLE"]),
    ("alias", &["ECH-ALIAS-MODE"]),
    ("alias-chain", &["ECH-ALIAS-MODE"]),
    ("alias-beside-service", &["ECH-ALIAS-MODE"]),
    ("unauthenticated", &["ECH-DNSSEC-MISSING"]),
];
