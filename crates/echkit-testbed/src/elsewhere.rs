//! A case served by other software: what that needs to know, and the way to it.

use std::net::SocketAddr;

use echkit_proto::key::EchKey;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ca::{Authorities, Leaf};
use crate::case::{Ech, Groups, PublicCertificate, Spec, Versions};
use crate::error::TestbedError;
use crate::names::{PUBLIC, in_zone};

/// What a server needs to take the place of a case's own; see [`Testbed::hand_over`].
///
/// [`Testbed::hand_over`]: crate::Testbed::hand_over
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Blueprint {
    /// The host of the case, whose name ECH hides.
    pub host: String,
    /// The certificate to show to those who ask for the host.
    pub site: Identity,
    /// The certificate to show to all others. In some cases it is none that a client may trust.
    pub public: Identity,
    /// The public_name of the case's ECHConfigs.
    pub public_name: String,
    /// The ECH keys, all of them in retry_configs. None where the server knows nothing of ECH, or
    /// makes a new one for each connection.
    pub keys: Vec<EchKey>,
    /// Makes a key for each connection, which nothing but its retry_configs tells of and which no
    /// later connection can use.
    pub new_key_each_time: bool,
    /// The application protocols.
    pub alpn: Vec<String>,
    /// Speaks TLS 1.2 and nothing newer.
    pub tls12: bool,
    /// Takes part in P-384 only, so that clients meet a HelloRetryRequest.
    pub hello_retry: bool,
}

/// A certificate and its key, in PEM.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key, as PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl From<Leaf> for Identity {
    fn from(leaf: Leaf) -> Self {
        Self {
            certificate: leaf.certificate.pem(),
            key: leaf.key.serialize_pem(),
        }
    }
}

impl Blueprint {
    pub(crate) fn new(
        spec: &Spec,
        keys: Vec<EchKey>,
        authorities: &Authorities,
    ) -> Result<Self, TestbedError> {
        let host = in_zone(spec.name);
        Ok(Self {
            site: authorities.site(std::slice::from_ref(&host))?.into(),
            public: authorities.public(spec.server.public_certificate)?.into(),
            host,
            public_name: in_zone(PUBLIC),
            keys,
            new_key_each_time: spec.server.ech == Ech::NewKeyEachTime,
            alpn: spec.server.alpn.iter().map(ToString::to_string).collect(),
            tls12: spec.server.versions == Versions::Tls12,
            hello_retry: spec.server.groups == Groups::P384,
        })
    }
}

impl Authorities {
    /// The certificate of a case's hosts.
    pub(crate) fn site(&self, hosts: &[String]) -> Result<Leaf, TestbedError> {
        let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        self.trusted.leaf(&names, crate::ca::Validity::Current)
    }

    /// The certificate under which a server rejects.
    pub(crate) fn public(&self, kind: PublicCertificate) -> Result<Leaf, TestbedError> {
        use crate::ca::Validity::{Current, Expired};
        let (public, other) = (in_zone(PUBLIC), in_zone("other"));
        let (issuer, name, validity) = match kind {
            PublicCertificate::Good => (&self.trusted, &public, Current),
            PublicCertificate::OtherName => (&self.trusted, &other, Current),
            PublicCertificate::OtherRoot => (&self.stranger, &public, Current),
            PublicCertificate::Expired => (&self.trusted, &public, Expired),
        };
        issuer.leaf(&[name], validity)
    }
}

/// Passes bytes on in both directions until both ends are done.
pub(crate) async fn relay(client: impl AsyncRead + AsyncWrite, to: SocketAddr) {
    let Ok(server) = TcpStream::connect(to).await else {
        return;
    };
    let _ = server.set_nodelay(true);
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = server.into_split();
    // An end that is gone in one direction may still have an alert to deliver in the other.
    let there = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
    };
    let back = async {
        let _ = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
    };
    tokio::join!(there, back);
}
