//! Cases whose oddity is in the DNS: aliases that lead nowhere, many records, malformed ones.

use std::net::{Ipv4Addr, Ipv6Addr};

use echkit_proto::hpke::Kem;

use crate::case::{Expected, ExpectedHttps, Ipv6, ServerSpec, Spec, UrlPort, exit};
use crate::configs::{ConfigSpec, KeySpec, ListSpec};
use crate::dns::Fault;
use crate::spec_parts::{BOTH, CURRENT, STALE, current, service, stale};
use crate::zone::{DataSpec, Owner, Param, Target};

/// Addresses where no server of the testbed listens, on loopback like all others.
const NOBODY_V4: [Ipv4Addr; 1] = [Ipv4Addr::new(127, 0, 0, 99)];
const NOBODY_V6: [Ipv6Addr; 1] = [Ipv6Addr::LOCALHOST];

const P256: ListSpec = ListSpec::Of(&[ConfigSpec::Key("p256")]);
const X25519: ListSpec = ListSpec::Of(&[ConfigSpec::Key("x25519")]);

#[rustfmt::skip]
const LONG_ALPN: [&str; 42] = [
    "nobody/1", "nobody/2", "nobody/3", "nobody/4", "nobody/5",
    "nobody/6", "nobody/7", "nobody/8", "nobody/9", "nobody/10",
    "nobody/11", "nobody/12", "nobody/13", "nobody/14", "nobody/15",
    "nobody/16", "nobody/17", "nobody/18", "nobody/19", "nobody/20",
    "nobody/21", "nobody/22", "nobody/23", "nobody/24", "nobody/25",
    "nobody/26", "nobody/27", "nobody/28", "nobody/29", "nobody/30",
    "nobody/31", "nobody/32", "nobody/33", "nobody/34", "nobody/35",
    "nobody/36", "nobody/37", "nobody/38", "nobody/39", "nobody/40",
    "h2", "http/1.1",
];

pub(crate) fn cases() -> Vec<Spec> {
    [aliases(), records(), malformed(), addresses()].concat()
}

fn aliases() -> Vec<Spec> {
    let alias = |to| DataSpec::Alias(Target::Named(to));
    vec![
        Spec::new(
            "alias-chain",
            "Three aliases, one after another, and a service record.",
        )
        .no_addresses()
        .key(current())
        .record(Owner::Origin, alias("alias-chain-1"))
        .record(Owner::Named("alias-chain-1"), alias("alias-chain-2"))
        .record(Owner::Named("alias-chain-2"), alias("alias-chain-3"))
        .record(Owner::Named("alias-chain-3"), DataSpec::Addresses)
        .record(
            Owner::Named("alias-chain-3"),
            service(1, Target::Owner, [BOTH, CURRENT]),
        ),
        // RFC 9460 §2.4.1: ServiceMode records beside an alias are ignored.
        Spec::new(
            "alias-beside-service",
            "An alias beside a service record, whose key is stale.",
        )
        .key(stale())
        .key(current())
        .record(Owner::Origin, alias("beside-target"))
        .service(1, [BOTH, STALE])
        .record(Owner::Named("beside-target"), DataSpec::Addresses)
        .record(
            Owner::Named("beside-target"),
            service(1, Target::Owner, [BOTH, CURRENT]),
        ),
        // RFC 9460 §3: a chain without end leaves the origin's own host and port.
        Spec::new("alias-loop", "Two aliases of each other.")
            .key(current())
            .record(Owner::Origin, alias("loop-back"))
            .record(Owner::Named("loop-back"), alias("alias-loop"))
            .url_port(UrlPort::Server)
            .expect(Expected::GREASE, Expected::REFUSED),
        // RFC 9460 §2.5.1: the service says that it is not there, which is advice.
        Spec::new(
            "alias-nowhere",
            "An alias of `.`: the service does not exist.",
        )
        .key(current())
        .record(Owner::Origin, DataSpec::Alias(Target::Dot))
        .expect(Expected::GREASE, Expected::REFUSED),
    ]
}

fn records() -> Vec<Spec> {
    let twenty = Spec::new(
        "twenty",
        "Twenty service records, too long for one UDP answer.",
    )
    .key(current())
    .url_port(UrlPort::Server);
    vec![
        (1..=20).fold(twenty, |spec, priority| {
            spec.service(priority, [BOTH, CURRENT])
        }),
        Spec::new(
            "some-ech",
            "Two records; the preferred one lacks ech, the other has it.",
        )
        .key(current())
        .service(1, [BOTH])
        .service(2, [BOTH, CURRENT]),
        Spec::new(
            "alpn-bogus",
            "An unknown protocol, and HTTP/1.1 by default.",
        )
        .key(current())
        .service(1, [Param::Alpn(&["bogus", "h9"]), CURRENT]),
        Spec::new("alpn-bogus-only", "An unknown protocol, and no default.")
            .key(current())
            .service(1, [Param::Alpn(&["bogus"]), Param::NoDefaultAlpn, CURRENT])
            .expect(
                Expected {
                    exit_code: exit::NAME,
                    ..Expected::REFUSED
                },
                Expected::REFUSED,
            ),
        Spec::new(
            "servfail",
            "The DNS server fails on questions for HTTPS records.",
        )
        .key(current())
        .service(1, [BOTH, CURRENT])
        .fault(Fault::ServFail)
        .expect(
            Expected::GREASE.https(ExpectedHttps::Failed),
            Expected::REFUSED.https(ExpectedHttps::Failed),
        ),
    ]
}

fn malformed() -> Vec<Spec> {
    // RFC 9460 §2.2: the client rejects the whole RRset and continues as if there were none.
    let malformed = |name, about, rdata| {
        Spec::new(name, about)
            .key(current())
            .service(2, [BOTH, CURRENT])
            .record(Owner::Origin, DataSpec::RawHttps(rdata))
            .expect(
                Expected::GREASE.https(ExpectedHttps::Malformed),
                Expected::REFUSED.https(ExpectedHttps::Malformed),
            )
    };
    vec![
        malformed(
            "malformed-order",
            "A good record beside one whose keys are out of order.",
            &[0, 1, 0, 0, 3, 0, 2, 1, 187, 0, 1, 0, 3, 2, b'h', b'2'],
        ),
        malformed(
            "malformed-duplicate",
            "A good record beside one with the same key twice.",
            &[0, 1, 0, 0, 3, 0, 2, 1, 187, 0, 3, 0, 2, 1, 187],
        ),
        malformed(
            "malformed-length",
            "A good record beside one whose last value is cut short.",
            &[0, 1, 0, 0, 1, 0, 9, 2, b'h', b'2'],
        ),
        malformed(
            "malformed-port",
            "A good record beside one whose port has one byte.",
            &[0, 1, 0, 0, 3, 0, 1, 187],
        ),
        malformed(
            "malformed-alpn",
            "A good record beside one with an empty protocol name.",
            &[0, 1, 0, 0, 1, 0, 1, 0],
        ),
        malformed(
            "malformed-hint",
            "A good record beside one with an empty IPv4 hint.",
            &[0, 1, 0, 0, 4, 0, 0],
        ),
        malformed(
            "malformed-mandatory",
            "A good record beside one whose mandatory keys are not there.",
            &[0, 1, 0, 0, 0, 0, 2, 0, 5],
        ),
        malformed(
            "malformed-name",
            "A good record beside one whose target name has no end.",
            &[0, 1, 3, b'e', b'c', b'h'],
        ),
    ]
}

fn addresses() -> Vec<Spec> {
    let nowhere = Expected {
        hidden: true,
        ..Expected::REFUSED
    };
    let nowhere = Expected {
        exit_code: exit::NAME,
        ..nowhere
    };
    vec![
        Spec::new(
            "hints-only",
            "The target has no addresses; the record has a hint.",
        )
        .no_addresses()
        .key(current())
        .record(
            Owner::Origin,
            service(
                1,
                Target::Named("no-address"),
                [BOTH, CURRENT, Param::Ipv4Hint(&[Ipv4Addr::LOCALHOST])],
            ),
        ),
        Spec::new(
            "hints-wrong",
            "The record's hints are unreachable, and the host's addresses work.",
        )
        .key(current())
        .service(
            1,
            [
                BOTH,
                CURRENT,
                Param::Ipv4Hint(&NOBODY_V4),
                Param::Ipv6Hint(&NOBODY_V6),
            ],
        ),
        Spec::new(
            "ipv6-refused",
            "The host has an IPv6 address where nothing listens.",
        )
        .no_addresses()
        .key(current())
        .record(Owner::Origin, DataSpec::A(Ipv4Addr::LOCALHOST))
        .record(Owner::Origin, DataSpec::Aaaa(Ipv6Addr::LOCALHOST))
        .service(1, [BOTH, CURRENT]),
        // RFC 9460 §2.5.2: `.` is the owner, here `_PORT._https.` and so on, which has no address.
        Spec::new(
            "dot-at-port",
            "At the port's own name the target is `.`, which has no addresses.",
        )
        .key(current())
        .record(Owner::Origin, service(1, Target::Dot, [BOTH, CURRENT]))
        .expect(nowhere, nowhere),
        Spec::new(
            "p256-record-first",
            "Two records: the preferred one with a P-256 key, the other with an X25519 key.",
        )
        .key(KeySpec::new("p256").kem(Kem::P256))
        .key(KeySpec::new("x25519"))
        .service(1, [BOTH, Param::Ech(P256)])
        .service(2, [BOTH, Param::Ech(X25519)]),
        Spec::new(
            "x25519-record-first",
            "Two records: the preferred one with an X25519 key, the other with a P-256 key.",
        )
        .key(KeySpec::new("x25519"))
        .key(KeySpec::new("p256").kem(Kem::P256))
        .service(1, [BOTH, Param::Ech(X25519)])
        .service(2, [BOTH, Param::Ech(P256)]),
        Spec::new(
            "alpn-long",
            "Forty unknown protocols precede HTTP/2 and HTTP/1.1.",
        )
        .key(current())
        .service(1, [Param::Alpn(&LONG_ALPN), CURRENT]),
        Spec::new(
            "ipv6-blackholed",
            "The host has an IPv6 address where connections are never answered.",
        )
        .no_addresses()
        .key(current())
        .server(ServerSpec {
            ipv6: Ipv6::BlackHole,
            ..ServerSpec::NOMINAL
        })
        .record(Owner::Origin, DataSpec::A(Ipv4Addr::LOCALHOST))
        .record(Owner::Origin, DataSpec::Aaaa(Ipv6Addr::LOCALHOST))
        .service(1, [BOTH, CURRENT]),
        Spec::new(
            "unauthenticated",
            "The resolver does not say that it has validated the HTTPS records by DNSSEC.",
        )
        .key(current())
        .service(1, [BOTH, CURRENT])
        .fault(Fault::Unauthenticated),
    ]
}
