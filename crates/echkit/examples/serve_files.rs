//! An ECH server on stock rustls, with its certificate and keys from files: README's, as it is there.
//!
//! `cargo run -p echkit --example serve_files -- 127.0.0.1:8443`

use std::sync::Arc;

use echkit::rustls::ServerConfig;
use echkit::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use echkit::server::{self, Acceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = ServerConfig::builder_with_provider(server::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            CertificateDer::pem_file_iter("chain.pem")?.collect::<Result<_, _>>()?,
            PrivateKeyDer::from_pem_file("key.pem")?,
        )?;
    let acceptor = Acceptor::new(Arc::new(config), server::load_ech_keys("ech-keys/")?)?;

    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("[::]:8443")).await?;
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let mut accepted = match acceptor.accept(tcp).await {
                Ok(accepted) => accepted,
                Err(error) => return eprintln!("{error}"),
            };
            // From here on it is your protocol; this is a little of HTTP.
            let mut request = [0; 4096];
            if accepted.stream.read(&mut request).await.is_ok() {
                let page = format!("HTTP/1.0 200 OK\r\n\r\n{:?}\n", accepted.outcome);
                let _ = accepted.stream.write_all(page.as_bytes()).await;
                let _ = accepted.stream.shutdown().await;
            }
        });
    }
}
