//! A case that other software serves in place of the testbed's own server.

#![allow(clippy::unwrap_used)]

use echkit_proto::key::EchKeyFile;
use echkit_testbed::Testbed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn connections_are_handed_over_and_still_captured() {
    let testbed = Testbed::builder().only(["nominal"]).start().await.unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = elsewhere.local_addr().unwrap();
    testbed.hand_over("nominal", to).unwrap();
    testbed.hand_over("nobody", to).unwrap_err();

    let port = testbed.cases()[0].port;
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut server, _) = elsewhere.accept().await.unwrap();
    let mut text = String::new();
    server.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "question");
    // The client's direction is over, and the answer still finds its way.
    server.write_all(b"answer").await.unwrap();
    drop(server);
    text.clear();
    client.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "answer");

    testbed.quiet().await;
    let captures = testbed.captures();
    assert_eq!(captures.len(), 1);
    assert_eq!(captures[0].bytes, b"question");
}

#[tokio::test]
async fn blueprints_hold_the_keys_that_the_server_has() {
    let testbed = Testbed::builder()
        .only(["stale", "no-ech", "hrr", "tls12"])
        .start()
        .await
        .unwrap();
    let stale = testbed.blueprint("stale").unwrap();
    let [key] = &stale.keys[..] else {
        panic!("the lost key is not among them: {stale:?}");
    };
    EchKeyFile::from_pem(key.to_pem().unwrap()).unwrap();
    assert_eq!(
        key.contents().public_name.as_str(),
        Some(&stale.public_name[..])
    );
    assert_eq!(stale.host, "stale.ech.test");
    assert!(!stale.hello_retry && !stale.tls12);
    assert!(testbed.blueprint("no-ech").unwrap().keys.is_empty());
    assert!(testbed.blueprint("hrr").unwrap().hello_retry);
    assert!(testbed.blueprint("tls12").unwrap().tls12);
    testbed.blueprint("nobody").unwrap_err();
}
