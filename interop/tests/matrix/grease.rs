//! GREASE of every suite that we have, more than our client draws from, against every server.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use echkit::server::EchOutcome;
use echkit::tls::hpke;
use echkit_interop::{Peer, PeerServer, SECRET_NAME};
use echkit_proto::hpke::{Kem, Suite, suites};
use rustls::client::{EchGreaseConfig, EchMode};
use rustls::{AlertDescription, ClientConfig, ClientConnection, Error};

use crate::cell::{Cell, Lab, Outcome, PEERS, hold};
use crate::keys::our_key;
use crate::our_server::listener::Listener;

pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = vec![Cell::new(
        "our_client_our_server::grease_under_every_suite",
        our_server,
    )];
    cells.extend(PEERS.map(|peer| {
        let name = format!("our_client_{peer}_server::grease_under_every_suite");
        Cell::new(name, move |lab| every_suite(lab, peer))
    }));
    cells
}

/// All are rejected, with retry_configs, and the handshake is done.
fn our_server(lab: &Lab) -> Outcome {
    let key = our_key(crate::cell::suite::X25519)?;
    let at = Listener::start(lab, vec![key], Vec::new(), false)?;
    for suite in suites() {
        if let Err(error) = handshake(lab, at.address, *suite)? {
            return Err(format!("{suite}: {error}"));
        }
    }
    for seen in at.wait_for(suites().len())? {
        let rejected = matches!(
            seen.outcome,
            Some(EchOutcome::Rejected {
                retry_configs: true,
                ..
            })
        );
        hold!(rejected, "our outcome", format!("{seen:?}"));
    }
    Ok(())
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
    for suite in suites() {
        let refused = Error::AlertReceived(AlertDescription::IllegalParameter);
        let expected = match (peer, suite.kem) {
            (Peer::OpenSsl, Kem::X_WING) => Err(refused),
            _ => Ok(()),
        };
        let got = handshake(lab, at.address, *suite)?;
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
fn handshake(lab: &Lab, address: SocketAddr, suite: Suite) -> Result<Result<(), Error>, String> {
    let text = |error: Error| error.to_string();
    let hpke = hpke::find(suite).ok_or_else(|| format!("{suite} is not implemented"))?;
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
    let mut tcp = TcpStream::connect(address).map_err(|error| error.to_string())?;
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
