//! The text of an error holds that of the error it is about, and its source goes on below that one:
//! who prints the text alone misses nothing, and who prints the chain says nothing twice.
#![allow(clippy::unwrap_used)]

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use echkit::cache::CacheError;
use echkit::connect::HandshakeFault;
use echkit::discover::{DiscoverError, NoClientHello, RecordUnused, Warning};
use echkit::dns::QueryError;
use echkit::error::Cause;
use echkit::key::KeyError;
use echkit::origin::{Host, Origin};
use echkit::proxy::ProxyFault;
use echkit::server::{AcceptError, EchOutcome, HandshakeError};
use echkit::svcb::TextError;
use echkit::tls::{ClientSetupError, GuardError};
use echkit::{Error, rustls};

#[derive(Debug, thiserror::Error)]
#[error("the innermost reason")]
struct Innermost;

#[derive(Debug, thiserror::Error)]
#[error("the layer above it")]
struct Above(#[source] Innermost);

/// An error with another one below it.
fn deep() -> io::Error {
    io::Error::other(Above(Innermost))
}

fn query() -> QueryError {
    QueryError::Transport {
        resolver: "tls://dns.test".to_owned(),
        error: Arc::new(deep()),
    }
}

fn host() -> Host {
    Origin::parse("https://a.test").unwrap().host
}

fn lookup() -> DiscoverError {
    DiscoverError::AddressLookup {
        host: host(),
        error: query(),
    }
}

/// What a chain says, as `anyhow` prints it.
fn printed(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text = format!("{text}: {error}");
        below = error.source();
    }
    text
}

#[test]
fn a_chain_names_each_reason_once_and_ends_with_the_innermost() {
    let unknown = || RecordUnused::AddressUnknown {
        target: host(),
        error: query(),
    };
    let connect = || Cause::Connect {
        host: "a.test".to_owned(),
        address: "192.0.2.1:443".parse().unwrap(),
        source: deep(),
    };
    let errors: Vec<Box<dyn StdError>> = vec![
        Box::new(query()),
        Box::new(lookup()),
        Box::new(DiscoverError::HttpsLookup {
            name: "a.test".parse().unwrap(),
            error: query(),
        }),
        Box::new(unknown()),
        Box::new(Warning::Failed {
            name: "a.test".parse().unwrap(),
            error: query(),
        }),
        Box::new(Warning::NoAddresses {
            record: 0,
            why_not: unknown(),
            hint: None,
        }),
        Box::new(NoClientHello::Discovery(Box::new(lookup()))),
        Box::new(HandshakeFault::Io(deep())),
        Box::new(connect()),
        Box::new(Error::from(connect())),
        Box::new(Cause::Name {
            host: "a.test".to_owned(),
            reason: lookup().to_string(),
            discovery: Some(Box::new(lookup())),
        }),
        Box::new(Cause::Http {
            host: "a.test".to_owned(),
            reason: "the layer above it: the innermost reason".to_owned(),
            source: Some(deep().into()),
        }),
        Box::new(Cause::Proxy {
            host: "a.test".to_owned(),
            proxy: "http://192.0.2.1:3128".to_owned(),
            fault: ProxyFault::Unreachable { source: deep() },
        }),
        Box::new(ProxyFault::Tls { source: deep() }),
        Box::new(AcceptError::Io(deep())),
        Box::new(AcceptError::Finishing {
            outcome: Box::new(EchOutcome::NotOffered),
            source: deep(),
        }),
        Box::new(CacheError::Io {
            action: "read",
            path: "cache".into(),
            source: deep(),
        }),
    ];
    for error in errors {
        let text = printed(&*error);
        assert!(error.to_string().contains("the layer above it"), "{text}");
        for reason in ["the layer above it", "the innermost reason"] {
            assert_eq!(text.matches(reason).count(), 1, "{text}");
        }
        assert!(
            text.ends_with("the innermost reason") || text.contains("HTTP"),
            "{text}"
        );
    }
}

#[test]
fn an_error_without_a_chain_is_told_once() {
    let unknown_issuer = || rustls::CertificateError::UnknownIssuer.into();
    let name_error = "a..b".parse::<echkit::svcb::DomainName>().unwrap_err();
    let too_long = echkit::config::ContentsError::TooLong("public_key", 70_000);
    let errors: Vec<(Box<dyn StdError>, String)> = vec![
        (
            Box::new(Cause::Certificate {
                host: "a.test".to_owned(),
                name: "a.test".to_owned(),
                public_name: false,
                meaning: None,
                source: Box::new(unknown_issuer()),
            }),
            unknown_issuer().to_string(),
        ),
        (
            Box::new(Cause::Tls {
                host: "a.test".to_owned(),
                reason: rustls::Error::DecryptError.to_string(),
                source: Some(rustls::Error::DecryptError),
            }),
            rustls::Error::DecryptError.to_string(),
        ),
        (
            Box::new(Cause::Guard {
                host: "a.test".to_owned(),
                source: GuardError::NoOffer,
            }),
            GuardError::NoOffer.to_string(),
        ),
        (
            Box::new(HandshakeFault::Guard(GuardError::Ticket)),
            GuardError::Ticket.to_string(),
        ),
        (
            Box::new(ClientSetupError::Tls {
                host: "a.test".to_owned(),
                source: rustls::Error::DecryptError,
            }),
            rustls::Error::DecryptError.to_string(),
        ),
        (
            Box::new(HandshakeError::Tls(rustls::Error::DecryptError)),
            rustls::Error::DecryptError.to_string(),
        ),
        (
            Box::new(AcceptError::Handshake(HandshakeError::Over)),
            HandshakeError::Over.to_string(),
        ),
        (Box::new(KeyError::from(too_long)), too_long.to_string()),
        (
            Box::new(TextError::from(name_error)),
            name_error.to_string(),
        ),
    ];
    for (error, told) in errors {
        let text = printed(&*error);
        assert_eq!(text.matches(&told).count(), 1, "{text}");
    }
}
