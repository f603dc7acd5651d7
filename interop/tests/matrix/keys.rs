//! Key files made by one and read by the other.

use data_encoding::BASE64;
use echkit_interop::{PUBLIC_NAME, Peer, PeerKey, Process};
use echkit_proto::hpke::{Aead, Kdf, Kem, SymmetricSuite};
use echkit_proto::key::{EchKey, EchKeyFile, KeyParams};

use crate::cell::{Cell, Lab, Outcome, PEERS, hold, suite};

pub(crate) fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (name, suite) in suite::COMMON {
        for peer in PEERS {
            cells.push(Cell::new(
                format!("keys::{peer}_file_read_by_echkit::{name}"),
                move |lab| we_read(lab, peer, suite),
            ));
            cells.push(Cell::new(
                format!("keys::echkit_file_read_by_{peer}::{name}"),
                move |lab| peer_reads(lab, peer, suite),
            ));
        }
    }
    cells
}

/// A key of ours with the suite's numbers.
pub(crate) fn our_key((kem, kdf, aead): (u16, u16, u16)) -> Result<EchKey, String> {
    let mut params = KeyParams::new(PUBLIC_NAME).map_err(|error| error.to_string())?;
    params.kem = Kem(kem);
    params.suites = vec![SymmetricSuite::new(Kdf(kdf), Aead(aead))];
    EchKey::generate(&params).map_err(|error| error.to_string())
}

fn we_read(lab: &Lab, peer: Peer, suite: (u16, u16, u16)) -> Outcome {
    let made = lab.key(peer, suite)?;
    let text = std::fs::read_to_string(&made.path).map_err(|error| error.to_string())?;
    // Reading fails when the private key is not the one of the config.
    let read = EchKeyFile::from_pem(&text).map_err(|error| error.to_string())?;
    hold!(read.list().encode() == made.list, "same list", text);
    let [key] = read.keys() else {
        return Err(format!("not one key but {}", read.keys().len()));
    };
    let contents = key.contents();
    hold!(contents.kem == Kem(suite.0), "same KEM", text);
    hold!(
        contents.cipher_suites == [SymmetricSuite::new(Kdf(suite.1), Aead(suite.2))],
        "same suite",
        text
    );
    hold!(
        contents.public_name.as_str() == Some(PUBLIC_NAME),
        "same name",
        text
    );
    Ok(())
}

fn peer_reads(lab: &Lab, peer: Peer, suite: (u16, u16, u16)) -> Outcome {
    let key = our_key(suite)?;
    let path = lab.folder()?.join("ours.ech");
    let text = key.to_pem().map_err(|error| error.to_string())?;
    std::fs::write(&path, &text).map_err(|error| error.to_string())?;
    let arguments = match peer {
        Peer::OpenSsl => vec![
            "ech".into(),
            "-in".into(),
            path.clone().into(),
            "-text".into(),
        ],
        Peer::Go => vec!["list".into(), path.clone().into()],
    };
    let said = Process::start(lab.peers.program(peer), &arguments, None)
        .and_then(Process::finish)
        .map_err(|error| error.to_string())?
        .output;
    let list = PeerKey::read(&path)?.list;
    match peer {
        Peer::OpenSsl => {
            let shown = format!(
                "[fe0d,{:02x},{PUBLIC_NAME},[{:04x},{:04x},{:04x}],",
                key.config_id(),
                suite.0,
                suite.1,
                suite.2
            );
            hold!(said.contains(&shown), "OpenSSL shows our config", said);
            hold!(
                said.contains("has private key"),
                "OpenSSL takes our private key",
                said
            );
        }
        Peer::Go => hold!(
            said.contains(&BASE64.encode(&list)),
            "Go reads our list and key",
            said
        ),
    }
    Ok(())
}
