//! What a certificate says it may be used for, judged as OpenSSL does (`check_extensions` in
//! `x509_vfy.c`). webpki ignores key usage, and of an anchor everything but its name, its key and
//! its name constraints.

use x509_parser::prelude::{ParsedExtension, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::verify_failure::VerifyFailure;

/// Which side's certificate is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A server's.
    Server,
    /// A client's.
    Client,
}

/// The limits that a certificate's extensions set to its use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// `X509_check_ca`.
    ca: bool,
    signs_crls: bool,
    /// RFC 5280 §4.2.1.9.
    path_len: Option<u32>,
    /// Whether it may vouch for servers, and for clients: its extended key usage.
    for_servers: bool,
    for_clients: bool,
    /// Whether it may be a server's own certificate, and a client's: its key usage as well.
    as_server: bool,
    as_client: bool,
    self_issued: bool,
    unknown_critical: bool,
    /// An extension that counts here does not parse.
    invalid: bool,
    weak_key: bool,
}

/// RSA keys below this many bits are refused: by OpenSSL at its default security level (2) in
/// Python, and by aws-lc-rs when it verifies.
const MIN_RSA_BITS: usize = 2048;

/// The extensions that OpenSSL handles (`X509_supported_extension`), so that they may be critical.
const HANDLED: [&str; 16] = [
    "1.3.6.1.5.5.7.1.7",     // sbgp-ipAddrBlock
    "1.3.6.1.5.5.7.1.8",     // sbgp-autonomousSysNum
    "1.3.6.1.5.5.7.1.14",    // proxyCertInfo
    "1.3.6.1.5.5.7.48.1.5",  // OCSP noCheck
    "2.16.840.1.113730.1.1", // nsCertType
    "2.5.29.14",             // subjectKeyIdentifier
    "2.5.29.15",             // keyUsage
    "2.5.29.17",             // subjectAltName
    "2.5.29.19",             // basicConstraints
    "2.5.29.30",             // nameConstraints
    "2.5.29.31",             // cRLDistributionPoints
    "2.5.29.32",             // certificatePolicies
    "2.5.29.33",             // policyMappings
    "2.5.29.35",             // authorityKeyIdentifier
    "2.5.29.36",             // policyConstraints
    "2.5.29.37",             // extKeyUsage
];
const INHIBIT_ANY_POLICY: &str = "2.5.29.54";

impl Limits {
    pub(crate) fn of(cert: &X509Certificate<'_>) -> Self {
        let constraints = cert.basic_constraints();
        let usage = cert.key_usage();
        let purposes = cert.extended_key_usage();
        let invalid = constraints.is_err() || usage.is_err() || purposes.is_err();
        let constraints = constraints.ok().flatten().map(|found| found.value);
        let usage = usage.ok().flatten().map(|found| found.value);
        let purposes = purposes.ok().flatten().map(|found| found.value);
        let netscape = cert
            .iter_extensions()
            .find_map(|e| match e.parsed_extension() {
                ParsedExtension::NSCertType(kind) => Some(kind),
                _ => None,
            });
        let self_issued = cert.subject().as_raw() == cert.issuer().as_raw();
        let signs_certificates = usage.is_none_or(|usage| usage.key_cert_sign());
        let ca = signs_certificates
            && match constraints {
                Some(constraints) => constraints.ca,
                None => {
                    (cert.version().0 == 0 && self_issued)
                        || usage.is_some()
                        || netscape.is_some_and(|kind| kind.ssl_ca())
                }
            };
        let for_servers = purposes.is_none_or(|p| p.server_auth);
        let for_clients = purposes.is_none_or(|p| p.client_auth);
        Self {
            ca,
            signs_crls: usage.is_none_or(|usage| usage.crl_sign()),
            path_len: constraints.and_then(|c| c.path_len_constraint),
            for_servers,
            for_clients,
            as_server: for_servers
                && netscape.is_none_or(|kind| kind.ssl_server())
                && usage.is_none_or(|u| {
                    u.digital_signature() || u.key_encipherment() || u.key_agreement()
                }),
            as_client: for_clients
                && netscape.is_none_or(|kind| kind.ssl_client())
                && usage.is_none_or(|u| u.digital_signature() || u.key_agreement()),
            self_issued,
            unknown_critical: cert.iter_extensions().any(|extension| {
                let oid = extension.oid.to_id_string();
                extension.critical && oid != INHIBIT_ANY_POLICY && !HANDLED.contains(&oid.as_str())
            }),
            invalid,
            weak_key: match cert.public_key().parsed() {
                Ok(PublicKey::RSA(key)) => key.key_size() < MIN_RSA_BITS,
                _ => false,
            },
        }
    }

    /// Whether OpenSSL would take the certificate as an issuer.
    pub(crate) fn is_ca(&self) -> bool {
        self.ca
    }

    /// Whether the key is refused for its length.
    pub(crate) fn has_weak_key(&self) -> bool {
        self.weak_key
    }

    /// Whether the key may sign revocation lists.
    pub(crate) fn signs_crls(&self) -> bool {
        self.signs_crls
    }

    fn serves(&self, role: Role, issues: bool) -> bool {
        match (role, issues) {
            (Role::Server, true) => self.for_servers,
            (Role::Server, false) => self.as_server,
            (Role::Client, true) => self.for_clients,
            (Role::Client, false) => self.as_client,
        }
    }
}

/// Judges a path from the end-entity certificate to its anchor.
pub(crate) fn judge(path: &[Limits], role: Role) -> Result<(), VerifyFailure> {
    // Intermediates so far, but for those that an authority issues to itself.
    let mut below: u32 = 0;
    for (depth, cert) in path.iter().enumerate() {
        let issues = depth > 0;
        if cert.unknown_critical {
            return Err(VerifyFailure::UNHANDLED_EXTENSION);
        }
        if issues && !cert.ca {
            return Err(VerifyFailure::INVALID_CA);
        }
        if cert.invalid || !cert.serves(role, issues) {
            return Err(VerifyFailure::INVALID_PURPOSE);
        }
        if issues && cert.path_len.is_some_and(|len| below > len) {
            return Err(VerifyFailure::PATH_LENGTH);
        }
        if issues && !cert.self_issued {
            below += 1;
        }
    }
    match path.iter().position(|cert| cert.weak_key) {
        Some(0) => Err(VerifyFailure::WEAK_KEY),
        Some(_) => Err(VerifyFailure::WEAK_CA_KEY),
        None => Ok(()),
    }
}
