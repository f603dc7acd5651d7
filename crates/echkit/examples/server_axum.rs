//! An axum site over ECH: makes a certificate and a key, tells how to reach it, and shows each
//! visitor what became of ECH.
//!
//! `cargo run -p echkit --example server_axum -- 8443`

use std::sync::Arc;

use axum::extract::ConnectInfo;
use axum::{Router, routing};
use echkit::config::EchConfigList;
use echkit::key::{EchKey, KeyParams};
use echkit::rustls::ServerConfig;
use echkit::rustls::pki_types::PrivateKeyDer;
use echkit::server::{self, Acceptor, ConnectionInfo, EchKeys, Listener};
use tokio::net::TcpListener;

async fn page(ConnectInfo(info): ConnectInfo<ConnectionInfo>) -> String {
    format!("{:?}\n", info.ech)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".to_owned());
    let names = ["secret.example".to_owned(), "public.example".to_owned()];
    let issued = rcgen::generate_simple_self_signed(names)?;
    let certificate_key = PrivateKeyDer::try_from(issued.signing_key.serialize_der())?;
    std::fs::write("serve.pem", issued.cert.pem())?;

    let mut config = ServerConfig::builder_with_provider(server::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], certificate_key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let key = EchKey::generate(&KeyParams::new("public.example")?)?;
    let list = EchConfigList::from(key.config().clone()).to_base64();
    let acceptor = Acceptor::new(Arc::new(config), EchKeys::new(vec![key])?)?;

    let tcp = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let port = tcp.local_addr()?.port();
    println!("ech get https://secret.example:{port}/ --cacert serve.pem \\");
    println!(
        "  --connect-to secret.example:{port}:127.0.0.1:{port} --ech require --ech-config {list}"
    );
    let listener =
        Listener::new(tcp, acceptor).on_failure(|address, error| eprintln!("{address}: {error}"));
    let site = Router::new().route("/", routing::get(page));
    axum::serve(
        listener,
        site.into_make_service_with_connect_info::<ConnectionInfo>(),
    )
    .await?;
    Ok(())
}
