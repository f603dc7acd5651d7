//! retry_configs that do not fit, or are none.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use echkit::report::EchStatus;
use echkit::server::{AcceptError, Acceptor, EchKeys, EchServer, HandshakeError, provider};
use echkit::{Client, EchMode, Error, ErrorKind};
use echkit_test::in_memory::{self, alert_in, connect, ech_key, grease, retrying_client};
use echkit_test::lab::{self, HIDDEN, PUBLIC, Relay};
use echkit_test::sealed::{SUITE, SecretLog, alert_of};

/// A server whose answer to rejected offers is `extension`, type and length included.
fn server(config: rustls::ServerConfig, extension: Vec<u8>) -> EchServer {
    let keys = EchKeys::new(vec![ech_key(2)]).unwrap();
    let keys = keys.with_forged_retry_extension(extension);
    EchServer::new(Arc::new(config), keys).unwrap()
}

/// `encrypted_client_hello` with this body.
fn extension(body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(body.len()).unwrap_or(u16::MAX);
    [&[0xfe, 0x0d], &len.to_be_bytes()[..], body].concat()
}

/// Keys refuse them; should they get past, nothing leaves but the alert. In a message that would be
/// too long, and in a record that would be.
#[test]
fn retry_configs_that_do_not_fit_are_internal_error() {
    let pki = in_memory::Pki::new();
    for len in [0xffff, 0xfff0, 0x4000] {
        for provider in [provider(), in_memory::retrying_server()] {
            let config = pki.server_with(provider);
            let server = server(config, extension(&vec![0; len]));
            let mut client = connect(pki.client_with(grease(), retrying_client()), PUBLIC);
            let mut handshake = server.handshake();
            let error = loop {
                let mut wire = Vec::new();
                while client.wants_write() {
                    client.write_tls(&mut wire).unwrap();
                }
                if let Err(error) = handshake.read(&wire) {
                    break error;
                }
                // A HelloRetryRequest promises nothing yet.
                let output = handshake.take_output();
                client.read_tls(&mut &output[..]).unwrap();
                client.process_new_packets().unwrap();
            };
            assert_eq!(error, HandshakeError::Interposition);
            let output = handshake.take_output();
            assert_eq!((alert_in(&output), output.len()), (Some(80), 7));
        }
    }
}

struct Seen {
    error: Error,
    /// The alert that the client sent, opened.
    alert: Option<u8>,
    server_error: AcceptError,
    relay: Relay,
}

/// Our client, whose offer is stale, at a server with this body of retry_configs.
async fn fetch(body: &[u8], mode: EchMode) -> Seen {
    let pki = lab::Pki::new();
    let mut provider = (*provider()).clone();
    provider
        .cipher_suites
        .retain(|suite| suite.suite() == SUITE.suite());
    let config = pki.server_with(&[HIDDEN, PUBLIC], provider, rustls::ALL_VERSIONS);
    let acceptor = Acceptor::from(server(config, extension(body)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let serve = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        acceptor.accept(tcp).await.unwrap_err()
    });
    let relay = Relay::to(address).await;
    let log = Arc::new(SecretLog::default());
    let client = Client::builder()
        .tls(pki.tls().key_log(log.clone()))
        .ech(mode)
        .ech_config(lab::list(&lab::ech_key()))
        .connect_to(HIDDEN, 443, "127.0.0.1", relay.address.port())
        .build()
        .unwrap();
    let error = client
        .get(&format!("https://{HIDDEN}/"))
        .send()
        .await
        .unwrap_err();
    let server_error = serve.await.unwrap();
    let captured = relay.captured();
    assert_eq!(captured.len(), 1, "a malformed answer leads nowhere");
    Seen {
        error,
        alert: alert_of(&log.open_client(&captured[0])),
        server_error,
        relay,
    }
}

/// RFC 9849 §6.1.6: syntax errors are decode_error, and no signal that ECH is switched off.
#[tokio::test]
async fn malformed_retry_configs_are_answered_with_decode_error() {
    let list = EchKeys::new(vec![ech_key(2)])
        .unwrap()
        .retry_configs()
        .unwrap()
        .encode();
    let mut promises_more = list.clone();
    promises_more[1] += 1;
    let cut = &list[..list.len() - 1];
    let trailing = [&list[..], &[0]].concat();
    for body in [&[][..], &[0xff], &promises_more, cut, &trailing] {
        for mode in [EchMode::Prefer, EchMode::Require] {
            let seen = fetch(body, mode).await;
            assert_eq!(seen.alert, Some(50), "{body:?}");
            assert_eq!(seen.error.kind(), ErrorKind::Tls, "{}", seen.error);
            let ech = &seen.error.report().unwrap().ech;
            assert_eq!(ech.status, EchStatus::Failed);
            assert_eq!(ech.retry_configs, None);
            seen.relay.assert_hidden(HIDDEN);
            let AcceptError::Finishing { source, .. } = seen.server_error else {
                panic!("{:?}", seen.server_error);
            };
            assert!(source.to_string().contains("DecodeError"), "{source}");
        }
    }
}

/// rustls lets an empty list pass and answers with ech_required; it switches nothing off.
#[tokio::test]
async fn an_empty_list_of_retry_configs_does_not_switch_ech_off() {
    for mode in [EchMode::Prefer, EchMode::Require] {
        let seen = fetch(&[0, 0], mode).await;
        assert_eq!(seen.alert, Some(121));
        assert!(
            seen.error.to_string().contains("malformed"),
            "{}",
            seen.error
        );
        assert_eq!(seen.error.report().unwrap().ech.status, EchStatus::Rejected);
        seen.relay.assert_hidden(HIDDEN);
    }
}
