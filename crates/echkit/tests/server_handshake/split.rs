//! The client-facing server of split mode before a backend server, in memory.

use std::cell::RefCell;
use std::sync::Arc;

use echkit::server::{EchKeys, EchOutcome, EchServer, Misbehaviour, RejectReason, provider};
use echkit_proto::hello::HelloReadError;
use echkit_proto::key::EchKey;
use echkit_proto::server::{ClientFacing, ForwardError, ForwardedHello, Forwarding, Rules};
use echkit_proto::tls_record::wrap_handshake;
use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, EchMode, EchStatus, Resumption,
    Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;

use echkit_test::in_memory::edit::{first_flight, rename_config_id, with_ech_body, without_ech};
use echkit_test::in_memory::*;

/// A client-facing server for one connection.
struct Front {
    keys: EchKeys,
    client: ClientFacing,
    forwarding: Option<Forwarding>,
    step: usize,
    to_server: Vec<u8>,
}

impl Front {
    fn new(key: &EchKey, step: usize) -> Self {
        Self {
            keys: EchKeys::new(vec![key.clone()]).unwrap(),
            client: ClientFacing::new(Rules::default()),
            forwarding: None,
            step,
            to_server: Vec::new(),
        }
    }

    fn read_client(&mut self, bytes: &[u8]) -> Result<Vec<u8>, ForwardError> {
        let mut out = Vec::new();
        for piece in bytes.chunks(self.step) {
            match &mut self.forwarding {
                Some(forwarding) => forwarding.read_client(piece)?,
                None => self.forwarding = self.client.read(piece, &self.keys)?,
            }
            if let Some(forwarding) = &mut self.forwarding {
                out.extend_from_slice(&forwarding.take_output());
            }
        }
        self.to_server.extend_from_slice(&out);
        Ok(out)
    }

    fn read_server(&mut self, bytes: &[u8]) -> Result<(), ForwardError> {
        let forwarding = self.forwarding.as_mut().unwrap();
        let mut pieces = bytes.chunks(self.step);
        pieces.try_for_each(|piece| forwarding.read_server(piece))
    }
}

/// A handshake through the front, which knows `key`.
fn split(
    key: &EchKey,
    server: &EchServer,
    client: rustls::ClientConnection,
    step: usize,
) -> (Result<Joined, Failed>, Front) {
    let front = RefCell::new(Front::new(key, step));
    let joined = join_through(
        server,
        client,
        9999,
        |bytes| front.borrow_mut().read_client(&bytes).unwrap(),
        |bytes| {
            front.borrow_mut().read_server(&bytes).unwrap();
            bytes
        },
    );
    (joined, front.into_inner())
}

fn backend(pki: &Pki, provider: Arc<CryptoProvider>) -> EchServer {
    EchServer::backend(Arc::new(pki.server_with(provider))).unwrap()
}

#[test]
fn accepted_hellos_are_forwarded_as_inner_hellos_however_bytes_are_cut() {
    let (pki, key) = (Pki::new(), ech_key(7));
    for (provider, retries) in [(provider(), false), (retrying_server(), true)] {
        let backend = backend(&pki, provider);
        for step in [1, 7, 100, 9999] {
            let client = connect(pki.client_with(offer(&key), retrying_client()), SECRET);
            let (joined, front) = split(&key, &backend, client, step);
            let joined = joined.unwrap();
            assert_eq!(joined.client.ech_status(), EchStatus::Accepted, "{step}");
            assert_same_exporter(&joined);
            assert!(matches!(joined.outcome, EchOutcome::Backend { .. }));
            assert!(front.forwarding.as_ref().unwrap().is_transparent());
            let ForwardedHello::Accepted {
                config_id,
                inner_name,
                outer_name,
                ..
            } = front.forwarding.as_ref().unwrap().hello()
            else {
                panic!("{:?}", front.forwarding);
            };
            assert_eq!(*config_id, 7);
            assert_eq!(inner_name.as_deref(), Some(SECRET));
            assert_eq!(outer_name.as_deref(), Some(PUBLIC));
            // The inner name passed, in two hellos after a HelloRetryRequest; debugging shows none.
            let shown = contains_times(&front.to_server, SECRET);
            assert_eq!(shown, 1 + usize::from(retries));
            assert!(!contains(&front.to_server, PUBLIC));
            assert!(!contains(
                format!("{:?}", front.forwarding).as_bytes(),
                SECRET
            ));
        }
    }
}

fn contains_times(bytes: &[u8], name: &str) -> usize {
    let windows = bytes.windows(name.len());
    windows.filter(|window| *window == name.as_bytes()).count()
}

#[test]
fn hellos_that_are_not_opened_pass_as_they_came_and_get_retry_configs() {
    let (pki, key) = (Pki::new(), ech_key(7));
    for hello_retry in [false, true] {
        let provider = if hello_retry {
            retrying_server()
        } else {
            provider()
        };
        // The server of the public name has the keys too.
        let public = server(pki.server_with(provider), vec![key.clone()]);
        for (mode, reason) in [
            (grease(), None),
            (None, None),
            (offer(&ech_key(8)), Some(RejectReason::UnknownConfigId)),
            (offer(&ech_key(7)), Some(RejectReason::NotOpened)),
        ] {
            let sent = mode.is_some();
            let client = connect(pki.client_with(mode, retrying_client()), SECRET);
            let (joined, front) = split(&key, &public, client, 50);
            let hello = front.forwarding.as_ref().unwrap().hello();
            match (&joined, reason) {
                (
                    Err(Failed::Client(error, EchOutcome::Rejected { retry_configs, .. }, _)),
                    Some(why),
                ) => {
                    assert!(*retry_configs);
                    assert!(
                        error
                            .to_string()
                            .contains("ServerRejectedEncryptedClientHello")
                    );
                    let ForwardedHello::Rejected { reason, outer_name } = hello else {
                        panic!("{hello:?}");
                    };
                    assert_eq!((*reason, outer_name.as_deref()), (why, Some(PUBLIC)));
                }
                (Ok(joined), None) => {
                    assert!(front.to_server.len() <= joined.sent.len());
                    assert_eq!(front.to_server, joined.sent, "nothing is changed");
                    assert_eq!(matches!(hello, ForwardedHello::Rejected { .. }), sent);
                }
                _ => panic!("{hello:?}: {:?}", joined.err()),
            }
        }
    }
}

#[test]
fn early_data_passes_before_and_after_the_answer() {
    let (pki, key) = (Pki::new(), ech_key(7));
    for (provider, early_arrives) in [(provider(), true), (retrying_server(), false)] {
        let mut config = pki.server_with(provider);
        config.max_early_data_size = 10_000;
        let backend = EchServer::backend(Arc::new(config)).unwrap();
        let mut config = pki.client_with(offer(&key), retrying_client());
        config.enable_early_data = true;
        config.resumption = Resumption::store(Arc::new(ForgetsGroups::default()));
        let config = Arc::new(config);
        for round in 0..2 {
            let mut client = connect_shared(&config, SECRET);
            let has_ticket = client.early_data().is_some();
            assert_eq!(has_ticket, round == 1);
            if let Some(mut early) = client.early_data() {
                std::io::Write::write_all(&mut early, b"early").unwrap();
            }
            let (joined, _) = split(&key, &backend, client, 20);
            let mut joined = joined.unwrap();
            assert_eq!(joined.client.ech_status(), EchStatus::Accepted);
            let accepted = has_ticket && early_arrives;
            assert_eq!(joined.client.is_early_data_accepted(), accepted);
            if accepted {
                let mut got = Vec::new();
                let mut early = joined.server.early_data().unwrap();
                std::io::Read::read_to_end(&mut early, &mut got).unwrap();
                assert_eq!(got, b"early");
            }
        }
    }
}

/// Tickets, without the group that the server chose: it is asked for again each time.
#[derive(Debug)]
struct ForgetsGroups(ClientSessionMemoryCache);

impl Default for ForgetsGroups {
    fn default() -> Self {
        Self(ClientSessionMemoryCache::new(8))
    }
}

impl ClientSessionStore for ForgetsGroups {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.0.insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(name)
    }
}

/// What the front says to the first flight of a client.
fn refused(key: &EchKey, wire: &[u8]) -> (ForwardError, u8) {
    let mut front = Front::new(key, 9999);
    let error = front.read_client(wire).unwrap_err();
    assert!(front.to_server.is_empty(), "nothing was forwarded");
    (error, error.alert().0)
}

#[test]
fn what_no_client_may_send_is_refused_with_its_alert() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let wire = first_flight(pki.client(offer(&key)));
    let client = |misbehaviour| ForwardError::Client(misbehaviour);
    assert_eq!(
        refused(&key, &with_ech_body(&wire, &[1])),
        (client(Misbehaviour::InnerFromNetwork), 47)
    );
    assert_eq!(
        refused(&key, &with_ech_body(&wire, &[2, 0])),
        (client(Misbehaviour::UnknownType(2)), 47)
    );
    assert_eq!(refused(&key, &with_ech_body(&wire, &[0, 0])).1, 50);
    assert_eq!(refused(&key, &wrap_handshake(&[1, 0, 0, 1, 3], 100)).1, 50);
    for (record, alert) in [
        (&b"GET / HTTP/1.1"[..], 10),
        (&[22, 3, 1, 0x40, 1], 22),
        (&[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff], 50),
    ] {
        assert_eq!(refused(&key, record).1, alert, "{record:?}");
    }
    // A hello in records of one byte may not take many times its length.
    let tiny = wrap_handshake(&[&[1, 0, 0xff, 0xf0][..], &[0; 60_000]].concat(), 1);
    assert!(matches!(
        refused(&key, &tiny).0,
        ForwardError::Records(HelloReadError::TooLong(_))
    ));
    // A hello that is cut is told apart from a client that says nothing.
    let mut front = Front::new(&key, 9999);
    assert_eq!(front.client.end(), Ok(()));
    front.read_client(&wire[..100]).unwrap();
    assert_eq!(front.client.end(), Err(ForwardError::Truncated));
}

/// A handshake with a HelloRetryRequest in which `change` is made to the second flight.
fn second(
    mode: Option<EchMode>,
    key: &EchKey,
    change: impl Fn(&[u8]) -> Vec<u8>,
) -> Result<(), (ForwardError, u8)> {
    let pki = Pki::new();
    let server = backend(&pki, retrying_server());
    let mut client = connect(pki.client_with(mode, retrying_client()), SECRET);
    let mut front = Front::new(key, 9999);
    let mut handshake = server.handshake();
    let flight = |client: &mut rustls::ClientConnection| {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        bytes
    };
    let forwarded = front.read_client(&flight(&mut client)).unwrap();
    handshake.read(&forwarded).unwrap();
    let answer = handshake.take_output();
    front.read_server(&answer).unwrap();
    client.read_tls(&mut answer.as_slice()).unwrap();
    client.process_new_packets().unwrap();
    let second = flight(&mut client);
    let (ccs, hello) = second.split_at(6);
    assert_eq!(ccs[0], 20);
    let first = front.to_server.len();
    let sent = [ccs, &change(hello)].concat();
    let result = front.read_client(&sent);
    if result.is_err() {
        assert!(front.to_server.len() <= first + ccs.len());
    }
    result.map(|_| ()).map_err(|error| (error, error.alert().0))
}

#[test]
fn second_hellos_that_break_a_rule_are_not_forwarded() {
    let key = ech_key(7);
    let offered = |change: fn(&[u8]) -> Vec<u8>| second(offer(&key), &key, change);
    let client = |misbehaviour| Err(ForwardError::Client(misbehaviour));
    let alerted = |misbehaviour, alert| client(misbehaviour).map_err(|error| (error, alert));
    assert_eq!(offered(|hello| hello.to_vec()), Ok(()));
    assert_eq!(
        offered(without_ech),
        alerted(Misbehaviour::SecondWithout, 109)
    );
    assert_eq!(
        offered(|hello| rename_config_id(hello.to_vec(), 8)),
        alerted(Misbehaviour::SecondChanged, 47)
    );
    assert_eq!(
        offered(|hello| with_ech_body(hello, &[1])),
        alerted(Misbehaviour::InnerFromNetwork, 47)
    );
    assert_eq!(
        offered(|hello| {
            let mut hello = hello.to_vec();
            *hello.last_mut().unwrap() ^= 1;
            hello
        }),
        alerted(Misbehaviour::SecondNotOpened, 51)
    );
    // A client without an offer must not slip an inner hello to a backend that trusts us.
    let plain = |change: fn(&[u8]) -> Vec<u8>| second(None, &key, change);
    assert_eq!(plain(|hello| hello.to_vec()), Ok(()));
    assert_eq!(
        plain(|hello| echkit_test::in_memory::edit::with_added_ech(hello, &[1])),
        alerted(Misbehaviour::InnerFromNetwork, 47)
    );
}

#[test]
fn a_second_hello_that_comes_too_early_waits_for_the_answer() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let wire = first_flight(pki.client(None));
    let inner = with_ech_body(&first_flight(pki.client(offer(&key))), &[1]);
    let mut front = Front::new(&key, 9999);
    let forwarded = front.read_client(&[wire.clone(), inner].concat()).unwrap();
    assert_eq!(forwarded, wire);
    assert!(front.forwarding.as_ref().unwrap().is_holding());
    let asking = backend(&pki, retrying_server());
    let mut handshake = asking.handshake();
    // An answer that asks for a second hello: what came is judged as that.
    let wire = first_flight(pki.client_with(None, retrying_client()));
    handshake.read(&wire).unwrap();
    let error = front.read_server(&handshake.take_output()).unwrap_err();
    assert_eq!(error, ForwardError::Client(Misbehaviour::InnerFromNetwork));
    assert!(front.forwarding.as_mut().unwrap().take_output().is_empty());
}

#[test]
fn a_server_that_answers_with_an_alert_ends_what_the_front_does() {
    let (pki, key) = (Pki::new(), ech_key(7));
    let mut front = Front::new(&key, 9999);
    front
        .read_client(&first_flight(pki.client(offer(&key))))
        .unwrap();
    assert!(!front.forwarding.as_ref().unwrap().is_transparent());
    front.read_server(&[21, 3, 3, 0, 2, 2, 40]).unwrap();
    assert!(front.forwarding.as_ref().unwrap().is_transparent());
}
