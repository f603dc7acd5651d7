//! A gRPC call over ECH with tonic, whose connections echkit makes. Generated stubs take the same
//! channel. Leave tonic's TLS features out: with them it refuses `https` on another connector.
//!
//! `cargo run -p echkit --example tonic_client -- https://example.com/ /package.Service/Method`

use bytes::{Buf, BufMut, Bytes};
use echkit::connect::Connector;
use echkit::http::{HttpVersions, HttpsConnector};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Endpoint;
use tonic::{Request, Status};

/// Messages as bytes; prost's codec is the usual one.
struct Raw;
impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("which URL?")?;
    let method = std::env::args().nth(2).ok_or("which method?")?.parse()?;
    let dns = std::env::var("ECHKIT_DNS").unwrap_or("system".to_owned());
    let connector = Connector::builder().dns(dns).build()?;
    let connector = HttpsConnector::new(connector).with_versions(HttpVersions::Http2);
    let channel = Endpoint::try_from(url)?.connect_with_connector_lazy(connector);
    let mut client = Grpc::new(channel);
    client.ready().await?;
    let answer = client.unary(Request::new("hello".into()), method, Raw);
    println!("{:?}", answer.await?.get_ref());
    Ok(())
}
