//! Fetches one page again and again and says how long each time took: the client in
//! `make bench-latency`.
//!
//! Arguments: the resolver's URI, the CA's file, the URL, how often, and `cold` or `warm`. A warm
//! client has fetched the page before; it keeps what DNS said and its TLS sessions, and connects
//! anew. Prints one JSON document for each fetch.

use std::error::Error;
use std::time::Instant;

use echkit::dns::{Resolver, ResolverOptions};
use echkit::tls::{ClientTls, Trust};
use echkit::{Client, EchMode};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dns, ca, url, times, start] = &arguments[..] else {
        return Err("usage: latency DNS CA URL TIMES cold|warm".into());
    };
    let warm = match start.as_str() {
        "cold" => false,
        "warm" => true,
        other => return Err(format!("`{other}` is neither cold nor warm").into()),
    };
    let make = || -> Result<Client, Box<dyn Error>> {
        Ok(Client::builder()
            .ech(EchMode::Require)
            .resolver(Resolver::from_uri(dns, &ResolverOptions::default())?)
            .tls(ClientTls::builder().trust(Trust::ca_file(ca)?))
            .keep_alive(None)
            .build()?)
    };
    let mut client = make()?;
    if warm {
        fetch(&client, url).await?;
    }
    for _ in 0..times.parse()? {
        if !warm {
            client = make()?;
        }
        println!("{}", fetch(&client, url).await?);
    }
    Ok(())
}

async fn fetch(client: &Client, url: &str) -> Result<serde_json::Value, Box<dyn Error>> {
    let begun = Instant::now();
    let mut response = client.get(url).send().await?;
    response.bytes().await?;
    let total = begun.elapsed();
    let report = response.report();
    Ok(serde_json::json!({
        "ms": total.as_secs_f64() * 1000.0,
        "http": format!("{:?}", response.version()),
        "report": report,
    }))
}
