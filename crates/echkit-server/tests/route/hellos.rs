//! Which backend each hello goes to, and what it is then.

use echkit_server::route::ForwardedHello;
use echkit_test::contains;
use echkit_test::in_memory::{ech_key, grease};
use echkit_test::lab::Relay;
use rustls::client::EchStatus;

use crate::bed::{Bed, PLAIN, PUBLIC, SECRET, SECRET_BACKEND, Seen, Setup, connect, data, echo};

fn seen(backend: &'static str, name: &str) -> Seen {
    Seen {
        backend,
        name: Some(name.to_owned()),
        before: Vec::new(),
    }
}

#[tokio::test]
async fn accepted_hellos_go_to_the_backend_of_the_inner_name_and_hide_it() {
    for hello_retry in [false, true] {
        let mut bed = Bed::with(Setup {
            hello_retry,
            ..Setup::default()
        })
        .await;
        let eavesdropper = Relay::to(bed.address).await;
        let stream = connect(eavesdropper.address, bed.offering(), SECRET)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.ech_status(), EchStatus::Accepted);
        let data = data(300_000);
        assert!(echo(stream, &data).await == data, "bytes were changed");
        assert_eq!(bed.seen(), [seen("secret", SECRET)]);
        let ended = bed.ended().await;
        assert_eq!(ended.backend.as_deref(), Some(SECRET_BACKEND));
        assert_eq!(ended.end, "closed");
        assert!(ended.to_server > 300_000 && ended.to_client > 300_000);
        let Some(ForwardedHello::Accepted { inner_name, .. }) = &ended.hello else {
            panic!("{ended:?}");
        };
        assert_eq!(inner_name.as_deref(), Some(SECRET));
        // Not what the router shows unasked, nor what passes before it.
        eavesdropper.assert_hidden(SECRET);
        let shown = [ended.shown, format!("{:?}", bed.router)].concat();
        assert!(!contains(shown.as_bytes(), SECRET), "{shown}");
        assert!(!contains(shown.as_bytes(), SECRET_BACKEND), "{shown}");
        assert!(!contains(
            bed.router.counts().prometheus().as_bytes(),
            SECRET
        ));
    }
}

#[tokio::test]
async fn stale_offers_go_to_the_public_name_whose_retry_configs_work() {
    let mut bed = Bed::new().await;
    let eavesdropper = Relay::to(bed.address).await;
    for stale in [ech_key(7), ech_key(8)] {
        let config = bed.client(Some(&stale));
        let error = connect(eavesdropper.address, config, SECRET)
            .await
            .unwrap_err();
        let error = error.get_ref().unwrap().downcast_ref::<rustls::Error>();
        let Some(rustls::Error::PeerIncompatible(
            rustls::PeerIncompatible::ServerRejectedEncryptedClientHello(Some(retry)),
        )) = error
        else {
            panic!("{error:?}");
        };
        assert_eq!(retry.len(), 1);
        assert_eq!(bed.ended().await.backend.as_deref(), Some("public"));
    }
    // The configs are those of the router's key.
    let stream = connect(eavesdropper.address, bed.offering(), SECRET)
        .await
        .unwrap();
    assert_eq!(echo(stream, b"again").await, b"again");
    assert_eq!(bed.seen(), [seen("secret", SECRET)]);
    eavesdropper.assert_hidden(SECRET);
    let hellos: Vec<_> = bed
        .router
        .counts()
        .hellos()
        .filter(|(_, n)| *n > 0)
        .collect();
    let expected = [("accepted", 1), ("unknown_config_id", 1), ("not_opened", 1)];
    assert_eq!(hellos, expected);
}

#[tokio::test]
async fn hellos_without_accepted_ech_go_by_the_name_in_the_clear() {
    let mut bed = Bed::new().await;
    for mode in [None, grease()] {
        let sent = mode.is_some();
        for (name, backend) in [(PLAIN, "plain"), (PUBLIC, "public"), (SECRET, "public")] {
            let mode = if sent { grease() } else { None };
            let config = bed.pki.client(mode);
            let stream = bed.connect(config, name).await.unwrap();
            let data = data(100_000);
            assert!(echo(stream, &data).await == data);
            let ended = bed.ended().await;
            assert_eq!(ended.backend.as_deref(), Some(backend), "{name}");
            assert_eq!(bed.seen().pop(), Some(seen(backend, name)));
            let rejected = matches!(ended.hello, Some(ForwardedHello::Rejected { .. }));
            assert_eq!(rejected, sent);
        }
    }
}

#[tokio::test]
async fn accepted_hellos_of_unknown_names_are_refused() {
    let mut bed = Bed::new().await;
    for (name, alert, end) in [
        ("other.example", "UnrecognisedName", "unknown_name"),
        (PUBLIC, "UnrecognisedName", "unknown_name"),
        // An address is no server name: the hello has none.
        ("192.0.2.1", "MissingExtension", "no_name"),
    ] {
        let error = bed.connect(bed.offering(), name).await.unwrap_err();
        assert!(error.to_string().contains(alert), "{name}: {error}");
        let ended = bed.ended().await;
        assert_eq!((ended.end, ended.backend.as_deref()), (end, None));
        assert!(
            !contains(ended.shown.as_bytes(), name) || name == PUBLIC,
            "{ended:?}"
        );
    }
    assert_eq!(bed.seen(), []);
}

#[tokio::test]
async fn early_data_arrives() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut bed = Bed::with(Setup {
        early_data: true,
        ..Setup::default()
    })
    .await;
    let mut config = bed.offering();
    config.enable_early_data = true;
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    for round in 0..2 {
        let tcp = tokio::net::TcpStream::connect(bed.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from(SECRET).unwrap();
        let send = |client: &mut rustls::ClientConnection| {
            if let Some(mut early) = client.early_data() {
                std::io::Write::write_all(&mut early, b"early").unwrap();
            }
        };
        let mut stream = connector.connect_with(name, tcp, send).await.unwrap();
        let state = &stream.get_ref().1;
        assert_eq!(state.ech_status(), EchStatus::Accepted);
        assert_eq!(state.is_early_data_accepted(), round == 1);
        if round == 0 {
            stream.write_all(b"later").await.unwrap();
        }
        let mut back = [0; 5];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, if round == 0 { b"later" } else { b"early" });
        stream.shutdown().await.unwrap();
        // The tickets come before the end.
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(bed.ended().await.end, "closed");
    }
}
