//! Fetches a page over ECH and says how it went.
//!
//! `cargo run -p echkit --example get -- https://example.com/`
//!
//! Against the testbed, `ECHKIT_DNS` and `SSL_CERT_FILE` name its resolver and its CA.

use echkit::dns::{Resolver, ResolverOptions};
use echkit::{Client, EchMode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("which URL?")?;
    let resolver = match std::env::var("ECHKIT_DNS") {
        Ok(uri) => Resolver::from_uri(&uri, &ResolverOptions::default())?,
        Err(_) => Resolver::system(),
    };
    let client = Client::builder()
        .ech(EchMode::Prefer)
        .resolver(resolver)
        .build()?;

    let mut response = client.get(&url).send().await?;
    let body = response.bytes().await?;
    let ech = response.report().ech;
    println!("{} with {} bytes", response.status(), body.len());
    println!("ECH {}", ech.status);
    println!(
        "an eavesdropper read {}",
        ech.outer_sni.as_deref().unwrap_or("no name")
    );
    Ok(())
}
