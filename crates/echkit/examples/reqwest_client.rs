//! reqwest over ECH: discovery by echkit, the offer by rustls, one client per origin.
//!
//! `cargo run -p echkit --example reqwest_client -- https://example.com/`
//!
//! reqwest takes one rustls configuration for all hosts, and an ECHConfig belongs to one. So this
//! client is for its origin alone and follows no redirects. It knows neither retry_configs (a
//! rejection is an error) nor several endpoints, takes a port in the URL and not the record's, pads
//! names as the config says, and ages with the record. `HttpsConnector` has no such limits.

use std::net::SocketAddr;

use echkit::Origin;
use echkit::connect::Connector;
use echkit::rustls::ClientConfig;
use echkit::rustls::client::{EchConfig, EchMode};
use echkit::rustls::crypto::aws_lc_rs;
use reqwest::redirect::Policy;
use rustls_platform_verifier::BuilderVerifierExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("which URL?")?;
    let dns = std::env::var("ECHKIT_DNS").unwrap_or("system".to_owned());
    let origin = Origin::parse(&url)?;
    let connector = Connector::builder().dns(dns).build()?;
    let discovery = connector.discover(&origin, &[b"h2", b"http/1.1"]).await?;

    let endpoint = discovery.endpoints.first().ok_or("no endpoint")?;
    let ech = endpoint.ech.as_ref().ok_or("no ECH")?;
    let chosen = ech.chosen().ok_or("no usable ECHConfig")?;
    let list = chosen.single_list();
    let ech = EchConfig::new(list.into(), aws_lc_rs::hpke::ALL_SUPPORTED_SUITES)?;
    let mut tls = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_ech(EchMode::Enable(ech))?
        .with_platform_verifier()?
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

    let addresses = endpoint
        .addresses
        .iter()
        .map(|ip| (*ip, endpoint.port).into());
    let addresses: Vec<SocketAddr> = addresses.collect();
    let host = origin.host.to_string();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .resolve_to_addrs(&host, &addresses)
        .redirect(Policy::none())
        .build()?;
    // A rejection ends the handshake, so that an answer means accepted.
    let response = client.get(url).send().await?;
    println!(
        "{} over {:?} with ECH",
        response.status(),
        response.version()
    );
    println!("{}", response.text().await?);
    Ok(())
}
