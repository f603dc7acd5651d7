//! An ECH server on stock rustls: makes a certificate and a key, serves one line, and tells how to
//! reach it.
//!
//! `cargo run -p echkit --example server_tokio -- 8443`

use std::sync::Arc;

use echkit::config::EchConfigList;
use echkit::key::{EchKey, KeyParams};
use echkit::rustls::ServerConfig;
use echkit::rustls::pki_types::PrivateKeyDer;
use echkit::server::{self, Acceptor, EchKeys};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".to_owned());
    let names = ["secret.example".to_owned(), "public.example".to_owned()];
    let issued = rcgen::generate_simple_self_signed(names)?;
    let certificate_key = PrivateKeyDer::try_from(issued.signing_key.serialize_der())?;
    std::fs::write("serve.pem", issued.cert.pem())?;

    let config = ServerConfig::builder_with_provider(server::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], certificate_key)?;
    let key = EchKey::generate(&KeyParams::new("public.example")?)?;
    let list = EchConfigList::from(key.config().clone()).to_base64();
    let acceptor = Acceptor::new(Arc::new(config), EchKeys::new(vec![key])?)?;

    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let port = listener.local_addr()?.port();
    println!("ech get https://secret.example:{port}/ --cacert serve.pem \\");
    println!(
        "  --connect-to secret.example:{port}:127.0.0.1:{port} --ech require --ech-config {list}"
    );
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let mut accepted = match acceptor.accept(tcp).await {
                Ok(accepted) => accepted,
                Err(error) => return eprintln!("{error}"),
            };
            let mut request = [0; 4096];
            if accepted.stream.read(&mut request).await.is_ok() {
                let body = format!("{:?}\n", accepted.outcome);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = accepted.stream.write_all((head + &body).as_bytes()).await;
                let _ = accepted.stream.shutdown().await;
            }
        });
    }
}
