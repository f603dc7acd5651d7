//! hyper-util's pooled client over ECH: its connections are made by echkit, and each response tells
//! how that went.
//!
//! `cargo run -p echkit --example hyper_client -- https://example.com/`
//!
//! Against the testbed, `ECHKIT_DNS` and `SSL_CERT_FILE` name its resolver and its CA.

use echkit::connect::Connector;
use echkit::http::{Bytes, ConnectionReport, HttpsConnector, HttpsUpgrade, Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tower_service::Service;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let url: Uri = std::env::args().nth(1).ok_or("which URL?")?.parse()?;
    let dns = std::env::var("ECHKIT_DNS").unwrap_or("system".to_owned());
    let connector = Connector::builder().dns(dns).build()?;

    let pooled: Client<_, Empty<Bytes>> =
        Client::builder(TokioExecutor::new()).build(HttpsConnector::new(connector.clone()));
    // Above the client: `http` becomes `https` where DNS says so (RFC 9460 §9.5).
    let mut client = HttpsUpgrade::new(pooled, connector);

    let response = client.call(Request::get(url).body(Empty::new())?).await?;
    let report = response.extensions().get::<ConnectionReport>();
    let ech = report.ok_or("no report")?.report().ech;
    println!("{} over {:?}", response.status(), response.version());
    println!("ECH {}", ech.status);
    println!("{} bytes", response.collect().await?.to_bytes().len());
    Ok(())
}
