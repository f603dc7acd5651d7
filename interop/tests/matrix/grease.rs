//! GREASE of every suite that we have against peers as servers: more than our client draws from.

use std::net::TcpStream;
use std::sync::Arc;

use echkit_interop::{PeerServer, Running, SECRET_NAME};
use echkit_proto::hpke::{Kem, Suite, suites};
use rustls::client::{EchGreaseConfig, EchMode};
use rustls::crypto::hpke::Hpke;
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error};

use crate::cell::{Cell, Lab, Outcome, PEERS};
use echkit_interop::Peer;

pub(crate) fn cells() -> Vec<Cell> {
    PEERS
        .map(|peer| {
            let name = format!("our_client_{peer}_server::grease_under_every_suite");
            Cell::new(name, move |lab| every_suite(lab, peer))
        })
        .into()
}

/// All are taken, but for X-Wing by OpenSSL: see `docs/decisions/045-grease-suites.md`.
fn every_suite(lab: &Lab, peer: Peer) -> Outcome {
    let key = lab.key(peer, crate::cell::suite::X25519)?;
    let server = PeerServer {
        keys: vec![key.path],
        ..PeerServer::default()
    };
    let at = server
        .start(&lab.peers, peer, &lab.pki)
        .map_err(|error| error.to_string())?;
    let mut wrong = String::new();
    for hpke in suites() {
        let suite = Suite::from(hpke.suite());
        let refused = Error::AlertReceived(AlertDescription::IllegalParameter);
        let expected = match (peer, suite.kem) {
            (Peer::OpenSsl, Kem::X_WING) => Err(refused),
            _ => Ok(()),
        };
        let got = handshake(lab, &at, *hpke)?;
        if got != expected {
            wrong.push_str(&format!("{suite}: {got:?}\n"));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(format!("{wrong}{}", at.output())),
    }
}

/// A handshake with stock rustls, whose GREASE our client sends.
fn handshake(
    lab: &Lab,
    at: &Running,
    hpke: &'static dyn Hpke,
) -> Result<Result<(), Error>, String> {
    let text = |error: Error| error.to_string();
    let (placeholder, _) = hpke.generate_key_pair().map_err(text)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = lab.pki.roots().map_err(text)?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_ech(EchMode::Grease(EchGreaseConfig::new(hpke, placeholder)))
        .map_err(text)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = SECRET_NAME
        .try_into()
        .map_err(|_| "a host name".to_owned())?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(text)?;
    let mut tcp = TcpStream::connect(at.address).map_err(|error| error.to_string())?;
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut tcp) {
            return match error.downcast::<Error>() {
                Ok(error) => Ok(Err(error)),
                Err(error) => Err(error.to_string()),
            };
        }
    }
    Ok(Ok(()))
}
