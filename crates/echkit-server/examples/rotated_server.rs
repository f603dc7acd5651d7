//! A server whose ECH keys follow a directory: `ech rotate`, or any other program, changes them
//! there, and SIGHUP has them loaded at once.
//!
//! `cargo run -p echkit-server --example rotated_server -- KEY_DIRECTORY 8443`

use std::sync::Arc;

use echkit::rustls::ServerConfig;
use echkit::rustls::pki_types::PrivateKeyDer;
use echkit::server::{self, Acceptor, EchKeyHandle};
use echkit_server::{KeyDirectory, KeyWatch};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("give the directory of the keys")?;
    let port = args.next().unwrap_or_else(|| "0".to_owned());

    let directory = KeyDirectory::open(path)?;
    let keys = EchKeyHandle::new(directory.load()?);
    let watch = KeyWatch::start(directory, keys.clone(), |loaded| match loaded {
        Ok(keys) => eprintln!("{} ECH keys loaded", keys.keys().len()),
        Err(error) => eprintln!("ECH keys are unchanged: {error}"),
    })?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            watch.reload();
        }
    });

    let names = ["secret.example".to_owned(), "public.example".to_owned()];
    let issued = rcgen::generate_simple_self_signed(names)?;
    let certificate_key = PrivateKeyDer::try_from(issued.signing_key.serialize_der())?;
    let config = ServerConfig::builder_with_provider(server::provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], certificate_key)?;
    let acceptor = Acceptor::new(Arc::new(config), keys)?;

    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("https://secret.example:{}/", listener.local_addr()?.port());
    loop {
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match acceptor.accept(tcp).await {
                Ok(mut accepted) => {
                    let _ = accepted
                        .stream
                        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
                        .await;
                    let _ = accepted.stream.shutdown().await;
                }
                Err(error) => eprintln!("{error}"),
            }
        });
    }
}
