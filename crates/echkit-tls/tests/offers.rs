//! Real offers against our own server: what the server opens, and what an eavesdropper reads.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use echkit_proto::config::{EchConfig, EchConfigList};
use echkit_proto::key::EchKey;
use echkit_tls::client::{
    ClientSetupError, ClientTls, EchOffer, OfferOutcome, OuterName, RealOffer, SessionUse,
    TlsTarget,
};
use echkit_tls::server::EchOutcome;
use rustls::NamedGroup;
use rustls::client::{
    ClientConnection, ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls_pki_types::ServerName;

use echkit_test::contains;
use echkit_test::pair::{HIDDEN, PUBLIC, Pki, chosen, flight, hello, key_with, run, twin};

const COVER: &str = "cover.test";

fn target(key: &EchKey, outer: Option<&str>) -> TlsTarget {
    let mut target = TlsTarget::new(ServerName::try_from(HIDDEN).unwrap());
    target.alpn = vec![b"h2".to_vec()];
    target.offer = EchOffer::real(chosen(key));
    target.outer_sni = outer.map(|name| OuterName::new(name).unwrap());
    target.sessions = SessionUse::ByOrigin { port: 443 };
    target
}

/// One visit to a server that has `key` alone, and would open no offer under the bytes of another.
fn visit(pki: &Pki, tls: &ClientTls, key: &EchKey, outer: Option<&str>, hello_retry: bool) -> bool {
    let server = pki.server(vec![key.clone()], hello_retry);
    let ended = run(tls.handshake(&target(key, outer)).unwrap(), &server);
    assert_eq!(ended.outcome, OfferOutcome::Accepted);
    assert!(matches!(ended.server, Some(EchOutcome::Accepted { .. })));
    assert_eq!(ended.hellos, if hello_retry { 2 } else { 1 });
    assert!(!contains(&ended.sent, HIDDEN));
    assert!(contains(&ended.sent, outer.unwrap_or(PUBLIC)));
    ended.resumed
}

#[test]
fn configs_that_differ_in_maximum_name_length_alone_are_each_offered_under_their_own_bytes() {
    let pki = Pki::new(&[HIDDEN, PUBLIC]);
    let tls = pki.client().build().unwrap();
    let key = key_with(0);
    let twins = [30, 64, 255].map(|length| twin(&key, length));
    for outer in [None, Some(COVER)] {
        for hello_retry in [false, true] {
            for key in [&key, &twins[0], &twins[1], &twins[2], &twins[0]] {
                visit(&pki, &tls, key, outer, hello_retry);
            }
        }
    }
}

#[test]
fn sessions_are_resumed_across_such_configs_also_under_an_outer_name() {
    let pki = Pki::new(&[HIDDEN, PUBLIC]);
    for outer in [None, Some(COVER)] {
        let tls = pki.client().build().unwrap();
        let key = key_with(0);
        let twins = [30, 64].map(|length| twin(&key, length));
        // One server, for its tickets, with both.
        let server = pki.server(twins.to_vec(), false);
        for (visit, key) in twins.iter().cycle().take(4).enumerate() {
            let ended = run(tls.handshake(&target(key, outer)).unwrap(), &server);
            assert_eq!(ended.outcome, OfferOutcome::Accepted);
            assert_eq!(ended.resumed, visit > 0, "visit {visit}");
            assert!(!contains(&ended.sent, HIDDEN));
        }
    }
}

#[test]
fn connections_made_side_by_side_keep_their_own_bytes() {
    let pki = Pki::new(&[HIDDEN, PUBLIC]);
    let tls = pki.client().build().unwrap();
    let key = key_with(0);
    let twins = [30, 64].map(|length| twin(&key, length));
    // All are made before any goes on.
    let started = twins
        .each_ref()
        .map(|key| tls.handshake(&target(key, None)).unwrap());
    for (started, key) in started.into_iter().zip(&twins) {
        let server = pki.server(vec![key.clone()], true);
        assert_eq!(run(started, &server).outcome, OfferOutcome::Accepted);
    }
    std::thread::scope(|threads| {
        for key in &twins {
            threads.spawn(|| {
                for _ in 0..20 {
                    visit(&pki, &tls, key, None, false);
                }
            });
        }
    });
}

#[test]
fn a_connection_of_ones_own_is_made_inside_of_the_scope_alone() {
    let pki = Pki::new(&[HIDDEN, PUBLIC]);
    let tls = pki.client().build().unwrap();
    let key = key_with(30);
    let prepared = tls.prepare(&target(&key, None)).unwrap();
    let (config, name) = (Arc::clone(&prepared.config), prepared.name.clone());
    let error = ClientConnection::new(config, name).unwrap_err();
    assert!(error.to_string().contains("InfoScope::enter"), "{error}");

    let mut guard = prepared.guard;
    let mut connection = prepared
        .scope
        .enter(|| ClientConnection::new(prepared.config, prepared.name))
        .unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    guard.push(&bytes).unwrap();
    assert_eq!(guard.hellos()[0].outer_sni.as_deref(), Some(PUBLIC));
    // GREASE needs no scope.
    let mut grease = target(&key, None);
    grease.offer = EchOffer::Grease;
    let prepared = tls.prepare(&grease).unwrap();
    ClientConnection::new(prepared.config, prepared.name).unwrap();
}

#[test]
fn settings_of_a_callers_own_config_and_sessions_are_used() {
    let pki = Pki::new(&[HIDDEN, PUBLIC]);
    let provider = Arc::new(echkit_tls::client::default_provider());
    let mut own = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    own.max_fragment_size = Some(500);
    let own = Arc::new(own);
    let tls = pki.client().like(&own).build().unwrap();
    let key = key_with(0);
    let sessions = Arc::new(ClientSessionMemoryCache::new(8));
    let server = pki.server(vec![key.clone()], false);
    for visit in 0..2 {
        let mut target = target(&key, None);
        target.sessions = SessionUse::Store(sessions.clone());
        let prepared = tls.prepare(&target).unwrap();
        assert_eq!(prepared.config.max_fragment_size, Some(500));
        assert!(Arc::ptr_eq(
            &prepared.config.client_auth_cert_resolver,
            &own.client_auth_cert_resolver
        ));
        let ended = run(tls.handshake(&target).unwrap(), &server);
        assert_eq!(ended.outcome, OfferOutcome::Accepted);
        assert_eq!(ended.resumed, visit > 0);
    }
}

/// RFC 9849 §10.5: the second visit to a site that has asked for another group begins as the first.
#[test]
fn the_group_that_a_hidden_site_asked_for_is_in_no_later_hello() {
    let pki = Pki::new(&[HIDDEN, PUBLIC]);
    let stores = [
        SessionUse::ByOrigin { port: 443 },
        SessionUse::Store(Arc::new(ClientSessionMemoryCache::new(8))),
    ];
    for sessions in stores {
        let tls = pki.client().build().unwrap();
        let key = key_with(0);
        let server = pki.server(vec![key.clone()], true);
        let mut shares = Vec::new();
        for visit in 0..3 {
            let mut target = target(&key, None);
            target.sessions = sessions.clone();
            let ended = run(tls.handshake(&target).unwrap(), &server);
            assert_eq!(ended.outcome, OfferOutcome::Accepted);
            assert_eq!(ended.hellos, 2, "the server asks each time");
            assert_eq!(ended.resumed, visit > 0);
            shares.push(hello(&ended.sent).key_share_groups().unwrap());
        }
        assert_eq!(shares[0], shares[1]);
        assert_eq!(shares[0], shares[2]);
    }
}

/// RFC 9849 §6.1: a hello with an ECH extension names no session of TLS 1.2. One without may.
#[test]
fn no_session_of_tls12_is_looked_for_with_ech_or_grease() {
    #[derive(Debug, Default)]
    struct Asked(std::sync::atomic::AtomicBool);
    impl ClientSessionStore for Asked {
        fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}
        fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
            None
        }
        fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
        fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            None
        }
        fn remove_tls12_session(&self, _: &ServerName<'static>) {}
        fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {}
        fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
            None
        }
    }
    let tls = Pki::new(&[HIDDEN, PUBLIC]).client().build().unwrap();
    let key = key_with(0);
    let offers = [
        (EchOffer::real(chosen(&key)), false),
        (EchOffer::Grease, false),
        (EchOffer::None, true),
    ];
    for (offer, expected) in offers {
        let store = Arc::new(Asked::default());
        let mut target = target(&key, None);
        target.offer = offer;
        target.sessions = SessionUse::Store(store.clone());
        tls.handshake(&target).unwrap();
        let asked = store.0.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(asked, expected, "{:?}", target.offer);
    }
}

#[test]
fn a_rejection_is_authenticated_for_the_public_name_and_not_for_the_outer_name() {
    for (names, authenticated) in [([PUBLIC, HIDDEN], true), ([COVER, HIDDEN], false)] {
        let pki = Pki::new(&names);
        let tls = pki.client().build().unwrap();
        let server = pki.server(vec![key_with(0)], false);
        let ended = run(
            tls.handshake(&target(&key_with(30), Some(COVER))).unwrap(),
            &server,
        );
        match authenticated {
            true => {
                let OfferOutcome::Rejected(rejection) = ended.outcome else {
                    panic!("{:?}", ended.outcome);
                };
                assert!(rejection.retry_configs.is_some());
            }
            false => assert_eq!(ended.outcome, OfferOutcome::RejectedUnauthenticated),
        }
    }
}

/// A key of the right length that X25519 refuses: the group has points of small order.
#[test]
fn a_config_whose_key_cannot_be_used_is_passed_over_for_the_next() {
    let pki = Pki::new(&[HIDDEN, PUBLIC]);
    let tls = pki.client().build().unwrap();
    let good = key_with(0);
    let mut contents = good.contents().clone();
    contents.public_key = vec![0; 32];
    let list = EchConfigList::from(EchConfig::try_from(contents).unwrap());
    let bad = list.select().chosen.unwrap();
    let mut offer = RealOffer::new(bad);
    let mut target = target(&good, None);
    target.offer = EchOffer::Real(Box::new(offer.clone()));
    let error = tls.handshake(&target).unwrap_err();
    assert!(matches!(error, ClientSetupError::Tls { .. }), "{error}");

    offer.others.push(chosen(&good));
    target.offer = EchOffer::Real(Box::new(offer));
    let started = tls.handshake(&target).unwrap();
    let offered = started.offered.as_ref().unwrap();
    assert_eq!(offered.config(), good.config());
    assert_ne!(*offered.config(), list.configs()[0]);
    let server = pki.server(vec![good], false);
    assert_eq!(run(started, &server).outcome, OfferOutcome::Accepted);
}

#[test]
fn the_origin_itself_is_refused_as_the_outer_name() {
    let pki = Pki::new(&[HIDDEN]);
    let tls = pki.client().build().unwrap();
    let error = tls
        .handshake(&target(&key_with(0), Some(HIDDEN)))
        .unwrap_err();
    assert!(error.to_string().contains(HIDDEN), "{error}");
    // and a hello that is made otherwise shows the cover
    let mut started = tls.handshake(&target(&key_with(0), Some(COVER))).unwrap();
    let bytes = flight(&mut started);
    assert_eq!(hello(&bytes).server_name(), Some(COVER));
}
