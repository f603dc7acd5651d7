//! "I have my own `rustls::ClientConfig`": discovery and the ECH offer for it, step by step.
//!
//! `cargo run -p echkit --example own_rustls_config -- https://example.com/`
//!
//! `Connector::builder().tls(…)` takes the same settings and does all of it, retries included.

use std::sync::Arc;

use echkit::Origin;
use echkit::connect::{Connector, Guarded, WireLog};
use echkit::rustls::ClientConfig;
use echkit::rustls::crypto::aws_lc_rs;
use echkit::tls::{ClientTls, EchOffer, TlsTarget, Trust};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("which URL?")?;
    let dns = std::env::var("ECHKIT_DNS").unwrap_or("system".to_owned());
    // Your own. rustls does not give its verifier out, so have it at hand.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(rustls_platform_verifier::Verifier::new(provider.clone())?);
    let own = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();

    let origin = Origin::parse(&url)?;
    let connector = Connector::builder().dns(dns).build()?;
    let discovery = connector.discover(&origin, &[b"http/1.1"]).await?;
    let endpoint = discovery.endpoints.first().ok_or("no endpoint")?;
    let ech = endpoint.ech.as_ref().ok_or("no ECH")?;
    let chosen = ech.chosen().ok_or("no usable ECHConfig")?;

    let trust = Trust::verifier(verifier);
    let tls = ClientTls::builder()
        .like(&Arc::new(own))
        .trust(trust)
        .build()?;
    let target = TlsTarget::new(origin.host.server_name())
        .with_alpn([b"http/1.1".to_vec()])
        .with_offer(EchOffer::real(chosen.clone()));
    let prepared = tls.prepare(&target)?;
    let address = *endpoint.addresses.first().ok_or("no address")?;
    let tcp = TcpStream::connect((address, endpoint.port)).await?;
    let tcp = Guarded::new(tcp, prepared.guard, WireLog::default());
    let tls = TlsConnector::from(prepared.config);
    let handshake = prepared.scope.enter(|| tls.connect(prepared.name, tcp));
    let mut stream = handshake.await?;
    println!("ECH {:?}", stream.get_ref().1.ech_status());

    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    println!("{answer}");
    Ok(())
}
