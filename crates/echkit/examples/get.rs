//! Fetches a page over ECH and says how it went.
//!
//! `cargo run -p echkit --example get -- https://example.com/`
//!
//! `ECHKIT_DNS` names the resolver: `https://dns.example/dns-query#192.0.2.1` hides the names from the
//! network there too. For the testbed, `SSL_CERT_FILE` names its CA.

use echkit::{Client, EchMode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("which URL?")?;
    let resolver = std::env::var("ECHKIT_DNS").unwrap_or("system".to_owned());
    let client = Client::builder()
        .ech(EchMode::Prefer)
        .dns(resolver)
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
