//! The table: one entry for each way to publish and serve ECH, well or badly.

use echkit_proto::hpke::{Aead, Kdf, Kem, SymmetricSuite};

use crate::case::{
    Ech, Expected, ExpectedHttps, ExpectedStatus, Groups, Ipv6, PublicCertificate, ServerSpec,
    ServerWord, Spec, UrlPort, Versions, exit,
};
use crate::configs::{ConfigSpec, KeySpec, ListSpec};
use crate::spec_parts::{BOTH, CURRENT, STALE, current, service, stale};
use crate::zone::{DataSpec, Owner, Param, Target, key};

const NOMINAL: ServerSpec = ServerSpec::NOMINAL;
const OFF: ServerSpec = ServerSpec {
    ech: Ech::Off,
    ..NOMINAL
};
const P384: ServerSpec = ServerSpec {
    groups: Groups::P384,
    ..NOMINAL
};

/// All cases, in the order in which they are listed and given stable ports: add at the end.
pub(crate) fn table() -> Vec<Spec> {
    [
        accepting(),
        without(),
        stale_keys(),
        unusable(),
        suites(),
        routes(),
        crate::odd_zones::cases(),
    ]
    .concat()
}

fn accepting() -> Vec<Spec> {
    vec![
        Spec::new(
            "nominal",
            "An HTTPS record with alpn and ech, IPv4 and IPv6, and a server with the key.",
        )
        .key(current())
        .service(1, [BOTH, CURRENT])
        .server(ServerSpec {
            ipv6: Ipv6::Served,
            ..NOMINAL
        }),
        Spec::new("minimal", "A record with ech and no other parameter.")
            .key(current())
            .service(1, [CURRENT])
            .server(ServerSpec {
                alpn: &["http/1.1"],
                ..NOMINAL
            }),
        Spec::new(
            "hrr",
            "The server accepts ECH and asks for another key share first (HelloRetryRequest).",
        )
        .key(current())
        .service(1, [BOTH, CURRENT])
        .server(P384)
        .expect(
            Expected::ACCEPTED.hello_retry(),
            Expected::ACCEPTED.hello_retry(),
        ),
        Spec::new(
            "optional-extension",
            "The ECHConfig has an unknown extension that may be ignored.",
        )
        .key(current().extension())
        .service(1, [BOTH, CURRENT]),
        Spec::new("mandatory-ech", "The record lists ech as mandatory.")
            .key(current())
            .service(1, [BOTH, CURRENT, Param::Mandatory(&[key::ECH])]),
    ]
}

fn without() -> Vec<Spec> {
    let grease_ignored = Expected::GREASE.server(ServerWord::Off);
    vec![
        Spec::new("no-ech", "An HTTPS record without ech, and a server without ECH.")
            .service(1, [BOTH])
            .server(OFF)
            .expect(grease_ignored, Expected::REFUSED),
        Spec::new("no-record", "No HTTPS record at all, and a server without ECH.")
            .server(OFF)
            .expect(
                grease_ignored.https(ExpectedHttps::None),
                Expected::REFUSED.https(ExpectedHttps::None),
            ),
        Spec::new("unpublished", "The server supports ECH, and its HTTPS record has no ech.")
            .key(current())
            .service(1, [BOTH])
            .expect(Expected::GREASE, Expected::REFUSED),
        Spec::new("disabled", "The record has ech; the server, valid for the public name, has disabled ECH.")
            .key(stale())
            .service(1, [BOTH, STALE])
            .server(OFF)
            .expect(
                Expected {
                    status: ExpectedStatus::Disabled,
                    ..grease_ignored
                },
                Expected::broken(exit::ECH_REQUIRED, ExpectedStatus::Rejected),
            ),
        Spec::new("tls12", "The record has ech and the server speaks TLS 1.2 only. A client that offers TLS 1.3 alone fails; one that offers TLS 1.2 outside finds ECH securely disabled.")
            .key(stale())
            .service(1, [BOTH, STALE])
            .server(ServerSpec { versions: Versions::Tls12, ..OFF })
            .expect(
                Expected::broken(exit::TLS, ExpectedStatus::Failed),
                Expected::broken(exit::TLS, ExpectedStatus::Failed),
            )
            .expect_with_tls12(Expected::DISABLED),
    ]
}

fn stale_keys() -> Vec<Spec> {
    let failed = Expected::broken(exit::CERTIFICATE, ExpectedStatus::Failed);
    let bad_certificate = |name, about, public_certificate| {
        Spec::new(name, about)
            .key(stale())
            .key(current())
            .service(1, [BOTH, STALE])
            .server(ServerSpec {
                public_certificate,
                ..NOMINAL
            })
            .expect(failed, failed)
    };
    let rejected_again = Expected {
        source: crate::case::ExpectedSource::Retry,
        retries: 1,
        ..Expected::broken(exit::ECH_REQUIRED, ExpectedStatus::Rejected)
    };
    vec![
        Spec::new(
            "stale",
            "The record's key is gone from the server, whose retry_configs have the new one.",
        )
        .key(stale())
        .key(current())
        .service(1, [BOTH, STALE])
        .expect(Expected::RETRIED, Expected::RETRIED),
        Spec::new(
            "stale-hrr",
            "As stale, and every handshake begins with a HelloRetryRequest.",
        )
        .key(stale())
        .key(current())
        .service(1, [BOTH, STALE])
        .server(P384)
        .expect(
            Expected::RETRIED.hello_retry(),
            Expected::RETRIED.hello_retry(),
        ),
        bad_certificate(
            "stale-wrong-name",
            "As stale, and the server's certificate is not for the public name: its \
                retry_configs are not authenticated.",
            PublicCertificate::OtherName,
        ),
        bad_certificate(
            "stale-untrusted",
            "As stale, and the public name's certificate is signed by an untrusted CA.",
            PublicCertificate::OtherRoot,
        ),
        bad_certificate(
            "stale-expired",
            "As stale, and the public name's certificate has expired.",
            PublicCertificate::Expired,
        ),
        Spec::new(
            "stale-retry",
            "The key that the server gives for the retry is stale as well.",
        )
        .key(stale())
        .service(1, [BOTH, STALE])
        .server(ServerSpec {
            ech: Ech::NewKeyEachTime,
            ..NOMINAL
        })
        .expect(rejected_again, rejected_again),
    ]
}

fn unusable() -> Vec<Spec> {
    let unusable = |name, about, list| {
        Spec::new(name, about)
            .key(current())
            .service(1, [BOTH, Param::Ech(list)])
            .expect(Expected::GREASE, Expected::REFUSED)
    };
    vec![
        unusable(
            "unknown-version",
            "The only ECHConfig has an unknown version.",
            ListSpec::Of(&[ConfigSpec::UnknownVersion]),
        ),
        unusable(
            "unknown-kem",
            "The only ECHConfig has an unknown KEM.",
            ListSpec::Of(&[ConfigSpec::UnknownKem("current")]),
        ),
        unusable(
            "unknown-suite",
            "The only ECHConfig has an unknown KDF and AEAD.",
            ListSpec::Of(&[ConfigSpec::UnknownSuite("current")]),
        ),
        unusable(
            "mandatory-extension",
            "The only ECHConfig has an unknown mandatory extension.",
            ListSpec::Of(&[ConfigSpec::MandatoryExtension("current")]),
        ),
        unusable(
            "duplicate-extension",
            "The only ECHConfig has the same extension twice.",
            ListSpec::Of(&[ConfigSpec::DuplicateExtension("current")]),
        ),
        unusable(
            "public-name-address",
            "The only ECHConfig has a public name that reads as an IPv4 address.",
            ListSpec::Of(&[ConfigSpec::PublicNameIsAddress("current")]),
        ),
        unusable(
            "zero-length-config",
            "The only ECHConfig has the known version and no contents.",
            ListSpec::Of(&[ConfigSpec::ZeroLength]),
        ),
        // The list itself is broken, so the record is: RFC 9460 §2.2 rejects the whole RRset.
        unusable(
            "empty-list",
            "The ECHConfigList has a length of zero.",
            ListSpec::Raw(&[0, 0]),
        )
        .expect(
            Expected::GREASE.https(ExpectedHttps::Malformed),
            Expected::REFUSED.https(ExpectedHttps::Malformed),
        ),
        unusable(
            "truncated-list",
            "The ECHConfigList is shorter than it says.",
            ListSpec::Raw(&[0, 8, 0xfe, 0x0d, 0, 4, 1, 2]),
        )
        .expect(
            Expected::GREASE.https(ExpectedHttps::Malformed),
            Expected::REFUSED.https(ExpectedHttps::Malformed),
        ),
        Spec::new(
            "some-unusable",
            "A list of unusable ECHConfigs with a good one at its end.",
        )
        .key(current())
        .service(
            1,
            [
                BOTH,
                Param::Ech(ListSpec::Of(&[
                    ConfigSpec::UnknownVersion,
                    ConfigSpec::EmptyUnknownVersion,
                    ConfigSpec::UnknownKem("current"),
                    ConfigSpec::UnknownSuite("current"),
                    ConfigSpec::MandatoryExtension("current"),
                    ConfigSpec::Key("current"),
                ])),
            ],
        ),
    ]
}

fn suites() -> Vec<Spec> {
    let suite = |name, about, key| Spec::new(name, about).key(key).service(1, [BOTH, CURRENT]);
    const CHACHA: &[SymmetricSuite] = &[SymmetricSuite::new(
        Kdf::HKDF_SHA384,
        Aead::CHACHA20_POLY1305,
    )];
    vec![
        suite("p256", "A key for DHKEM(P-256).", current().kem(Kem::P256)),
        suite("p384", "A key for DHKEM(P-384).", current().kem(Kem::P384)),
        suite("p521", "A key for DHKEM(P-521).", current().kem(Kem::P521)),
        suite(
            "x-wing",
            "A key for X-Wing, which is post-quantum.",
            current().kem(Kem::X_WING),
        ),
        suite(
            "p256-chacha",
            "P-256 with HKDF-SHA384 and ChaCha20-Poly1305.",
            current().kem(Kem::P256).suites(CHACHA),
        ),
        Spec::new(
            "p256-then-x25519",
            "One list with a P-256 key and then an X25519 key.",
        )
        .key(KeySpec::new("p256").kem(Kem::P256))
        .key(KeySpec::new("x25519"))
        .service(
            1,
            [
                BOTH,
                Param::Ech(ListSpec::Of(&[
                    ConfigSpec::Key("p256"),
                    ConfigSpec::Key("x25519"),
                ])),
            ],
        ),
        Spec::new(
            "x25519-then-p256",
            "One list with an X25519 key and then a P-256 key.",
        )
        .key(KeySpec::new("x25519"))
        .key(KeySpec::new("p256").kem(Kem::P256))
        .service(
            1,
            [
                BOTH,
                Param::Ech(ListSpec::Of(&[
                    ConfigSpec::Key("x25519"),
                    ConfigSpec::Key("p256"),
                ])),
            ],
        ),
    ]
}

fn routes() -> Vec<Spec> {
    vec![
        Spec::new("alias", "The record is an alias of another name, which has the service record.")
            .no_addresses()
            .key(current())
            .record(Owner::Origin, DataSpec::Alias(Target::Named("alias-target")))
            .record(Owner::Named("alias-target"), DataSpec::Addresses)
            .record(Owner::Named("alias-target"), service(1, Target::Owner, [BOTH, CURRENT])),
        Spec::new("cname", "The host is a CNAME of another name, which has the service record.")
            .no_addresses()
            .key(current())
            .url_port(UrlPort::Default)
            .record(Owner::Origin, DataSpec::Cname("cname-target"))
            .record(Owner::Named("cname-target"), DataSpec::Addresses)
            .record(Owner::Named("cname-target"), service(1, Target::Owner, [BOTH, CURRENT])),
        Spec::new("target-elsewhere", "The record's target is another name, which has the addresses.")
            .no_addresses()
            .key(current())
            .record(Owner::Origin, service(1, Target::Named("elsewhere"), [BOTH, CURRENT]))
            .record(Owner::Named("elsewhere"), DataSpec::Addresses),
        Spec::new("port", "The URL has no port, and the record leads to the server's.")
            .key(current())
            .url_port(UrlPort::Default)
            .service(1, [BOTH, CURRENT, Param::ServerPort]),
        Spec::new("several", "Four records: an unknown mandatory key, a port where nothing listens, the good one, and a stale one.")
            .key(current())
            .key(stale())
            .service(
                1,
                [BOTH, CURRENT, Param::Mandatory(&[0xff00]), Param::Raw(0xff00, b"?")],
            )
            .service(2, [BOTH, CURRENT, Param::ClosedPort])
            .service(3, [BOTH, CURRENT])
            .service(4, [BOTH, STALE]),
        Spec::new("h2-only", "The record and the server support HTTP/2 only.")
            .key(current())
            .service(1, [Param::Alpn(&["h2"]), Param::NoDefaultAlpn, CURRENT])
            .server(ServerSpec { alpn: &["h2"], ..NOMINAL }),
        Spec::new("http11-only", "The record and the server support HTTP/1.1 only.")
            .key(current())
            .service(1, [Param::Alpn(&["http/1.1"]), CURRENT])
            .server(ServerSpec { alpn: &["http/1.1"], ..NOMINAL }),
    ]
}
