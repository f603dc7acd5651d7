//! Whom to trust, decided as users of OpenSSL know it, on webpki.
//!
//! What differs from plain webpki (design §6):
//!
//! - only self-issued certificates that may sign others are anchors, unless `PARTIAL_CHAIN` is set;
//!   other loaded certificates help to build the chain, as in OpenSSL;
//! - the anchor's own dates count;
//! - an end-entity certificate that is byte-equal to a loaded one is trusted if it is self-signed,
//!   or under `PARTIAL_CHAIN`; its name and dates are still checked.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use echkit_proto::pem;
use echkit_tls::client::pem_certificates;
use pyo3::prelude::*;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, Der, ServerName, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::failure::{VerifyFailure, library_error};
use crate::secret_file;

/// `X509_V_FLAG_CRL_CHECK`.
const CRL_CHECK: u64 = 0x4;
/// `X509_V_FLAG_CRL_CHECK_ALL`.
const CRL_CHECK_ALL: u64 = 0x8;
/// `X509_V_FLAG_PARTIAL_CHAIN`.
const PARTIAL_CHAIN: u64 = 0x80000;

/// Which side's certificate is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// A server's.
    Server,
    /// A client's.
    Client,
}

#[derive(Debug)]
struct Loaded {
    der: CertificateDer<'static>,
    not_before: i64,
    not_after: i64,
    self_issued: bool,
    ca: bool,
    /// The certificate as an anchor, if webpki takes it: parsed once, not for each connection.
    anchor: Option<TrustAnchor<'static>>,
}

/// Certificates and revocation lists that were loaded.
#[pyclass(frozen, module = "echkit._echkit")]
#[derive(Debug)]
pub(crate) struct TrustStore {
    loaded: Vec<Loaded>,
    crls: Vec<CertRevocationList<'static>>,
    subjects: HashMap<Vec<u8>, Vec<usize>>,
}

#[pymethods]
impl TrustStore {
    /// From DER certificates and DER revocation lists; equal ones count once.
    #[new]
    fn new(certificates: Vec<Vec<u8>>, crls: Vec<Vec<u8>>) -> PyResult<Self> {
        let mut loaded: Vec<Loaded> = Vec::new();
        let mut subjects: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        let mut seen = HashSet::new();
        for der in certificates {
            if !seen.insert(der.clone()) {
                continue;
            }
            // OpenSSL keeps what it cannot use; so do we, by leaving it out of every decision.
            let Ok((_, parsed)) = X509Certificate::from_der(&der) else {
                continue;
            };
            let entry = Loaded {
                not_before: parsed.validity().not_before.timestamp(),
                not_after: parsed.validity().not_after.timestamp(),
                self_issued: parsed.subject().as_raw() == parsed.issuer().as_raw(),
                ca: may_sign(&parsed),
                anchor: webpki::anchor_from_trusted_cert(&CertificateDer::from(der.as_slice()))
                    .ok()
                    .map(|anchor| anchor.to_owned()),
                der: CertificateDer::from(der.clone()),
            };
            let subject = inner_value(parsed.subject().as_raw()).to_vec();
            subjects.entry(subject).or_default().push(loaded.len());
            loaded.push(entry);
        }
        let mut lists: Vec<CertRevocationList<'static>> = Vec::new();
        for der in crls {
            if let Ok(list) = OwnedCertRevocationList::from_der(&der) {
                lists.push(list.into());
            }
        }
        Ok(Self {
            loaded,
            crls: lists,
            subjects,
        })
    }
}

impl TrustStore {
    /// Judges a chain; on success the chain from the end-entity certificate to the anchor.
    pub(crate) fn verify(
        &self,
        question: &Question<'_>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Vec<CertificateDer<'static>>, VerifyFailure> {
        let chain = self.chain(question, algorithms)?;
        if let Some(name) = question.name {
            let cert = EndEntityCert::try_from(question.end_entity)
                .map_err(|error| VerifyFailure::from_webpki(error, None))?;
            cert.verify_is_valid_for_subject_name(name)
                .map_err(|error| VerifyFailure::from_webpki(error, Some(name)))?;
        }
        Ok(chain)
    }

    fn chain(
        &self,
        question: &Question<'_>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Vec<CertificateDer<'static>>, VerifyFailure> {
        let partial = question.flags & PARTIAL_CHAIN != 0;
        let now = i64::try_from(question.now.as_secs()).unwrap_or(i64::MAX);
        let known = self.loaded.iter().find(|c| c.der == *question.end_entity);
        if let Some(cert) = known
            && (cert.self_issued || partial)
        {
            return match (now < cert.not_before, now > cert.not_after) {
                (true, _) => Err(VerifyFailure::NOT_YET_VALID),
                (_, true) => Err(VerifyFailure::EXPIRED),
                _ => Ok(vec![cert.der.clone()]),
            };
        }
        let anchors: Vec<TrustAnchor<'_>> = self
            .loaded
            .iter()
            .filter(|c| partial || (c.self_issued && c.ca))
            .filter_map(|c| c.anchor.as_ref().map(borrowed))
            .collect();
        let mut intermediates: Vec<CertificateDer<'_>> = question.intermediates.to_vec();
        intermediates.extend(
            self.loaded
                .iter()
                .filter(|c| !c.self_issued)
                .map(|c| CertificateDer::from(c.der.as_ref())),
        );
        let end_entity = EndEntityCert::try_from(question.end_entity)
            .map_err(|error| VerifyFailure::from_webpki(error, None))?;
        let lists: Vec<&CertRevocationList<'_>> = self.crls.iter().collect();
        let revocation = if question.flags & (CRL_CHECK | CRL_CHECK_ALL) == 0 {
            None
        } else {
            let depth = match question.flags & CRL_CHECK_ALL {
                0 => RevocationCheckDepth::EndEntity,
                _ => RevocationCheckDepth::Chain,
            };
            Some(
                RevocationOptionsBuilder::new(&lists)
                    .map_err(|_| VerifyFailure::NO_CRL)?
                    .with_depth(depth)
                    .with_status_policy(UnknownStatusPolicy::Deny)
                    .with_expiration_policy(ExpirationPolicy::Enforce)
                    .build(),
            )
        };
        let usage = match question.role {
            Role::Server => KeyUsage::server_auth(),
            Role::Client => KeyUsage::client_auth(),
        };
        let anchor_is_current = |path: &VerifiedPath<'_>| match self.anchor(path, now) {
            Some(_) => Ok(()),
            None => Err(webpki::Error::CertExpired {
                time: question.now,
                not_after: UnixTime::since_unix_epoch(Duration::ZERO),
            }),
        };
        let path = end_entity
            .verify_for_usage(
                algorithms.all,
                &anchors,
                &intermediates,
                question.now,
                usage,
                revocation,
                Some(&anchor_is_current),
            )
            .map_err(|error| self.explain(error, question))?;
        let mut chain = vec![question.end_entity.clone().into_owned()];
        chain.extend(
            path.intermediate_certificates()
                .map(|c| c.der().into_owned()),
        );
        chain.extend(self.anchor(&path, now).map(|c| c.der.clone()));
        Ok(chain)
    }

    /// The loaded certificate that a path ends in, if its dates are right.
    fn anchor(&self, path: &VerifiedPath<'_>, now: i64) -> Option<&Loaded> {
        let anchor = path.anchor();
        self.subjects
            .get(anchor.subject.as_ref())?
            .iter()
            .map(|&index| &self.loaded[index])
            .find(|c| {
                (c.not_before..=c.not_after).contains(&now)
                    && c.anchor.as_ref().is_some_and(|a| {
                        a.subject_public_key_info == anchor.subject_public_key_info
                    })
            })
    }

    /// OpenSSL tells four kinds of unknown issuer apart.
    fn explain(&self, error: webpki::Error, question: &Question<'_>) -> VerifyFailure {
        if !matches!(error, webpki::Error::UnknownIssuer) {
            return VerifyFailure::from_webpki(error, None);
        }
        if self_issued(question.end_entity) {
            return VerifyFailure::SELF_SIGNED;
        }
        match question
            .intermediates
            .last()
            .is_some_and(|c| self_issued(c))
        {
            true => VerifyFailure::SELF_SIGNED_IN_CHAIN,
            false if self.leads_to_loaded(question) => VerifyFailure::UNKNOWN_ISSUER_OF_LOADED,
            false => VerifyFailure::UNKNOWN_ISSUER,
        }
    }

    /// Whether the issuers' names lead from the end-entity certificate to one that was loaded.
    fn leads_to_loaded(&self, question: &Question<'_>) -> bool {
        let mut cert = question.end_entity;
        // Each step takes another certificate of the chain.
        for _ in 0..=question.intermediates.len() {
            let Ok((_, parsed)) = X509Certificate::from_der(cert) else {
                return false;
            };
            let issuer = parsed.issuer().as_raw();
            if self.subjects.contains_key(inner_value(issuer)) {
                return true;
            }
            let next = question.intermediates.iter().find(|c| {
                X509Certificate::from_der(c).is_ok_and(|(_, c)| c.subject().as_raw() == issuer)
            });
            match next {
                Some(next) => cert = next,
                None => return false,
            }
        }
        false
    }

    /// Subjects to hint at when a client is asked for its certificate.
    pub(crate) fn hints(&self) -> Vec<rustls::DistinguishedName> {
        self.loaded
            .iter()
            .filter(|c| c.ca)
            .filter_map(|c| c.anchor.as_ref())
            .map(|a| rustls::DistinguishedName::in_sequence(&a.subject))
            .collect()
    }
}

fn borrowed<'a>(anchor: &'a TrustAnchor<'static>) -> TrustAnchor<'a> {
    let part = |der: &'a Der<'static>| Der::from(der.as_ref());
    TrustAnchor {
        subject: part(&anchor.subject),
        subject_public_key_info: part(&anchor.subject_public_key_info),
        name_constraints: anchor.name_constraints.as_ref().map(part),
    }
}

/// What is to be judged.
pub(crate) struct Question<'a> {
    pub(crate) end_entity: &'a CertificateDer<'a>,
    pub(crate) intermediates: &'a [CertificateDer<'a>],
    /// The name to check, where one is.
    pub(crate) name: Option<&'a ServerName<'a>>,
    pub(crate) now: UnixTime,
    pub(crate) role: Role,
    /// OpenSSL's verification flags.
    pub(crate) flags: u64,
}

fn self_issued(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, c)| c.subject().as_raw() == c.issuer().as_raw())
}

/// Whether OpenSSL would take a certificate as an issuer: basic constraints say so, or it is of
/// version 1 and self-issued.
pub(crate) fn may_sign(cert: &X509Certificate<'_>) -> bool {
    match cert.basic_constraints() {
        Ok(Some(constraints)) => constraints.value.ca,
        Ok(None) => cert.version().0 == 0 && cert.subject().as_raw() == cert.issuer().as_raw(),
        Err(_) => false,
    }
}

/// The contents of a DER value, without its tag and length.
fn inner_value(der: &[u8]) -> &[u8] {
    match der.get(1) {
        Some(&len) if len & 0x80 == 0 => der.get(2..).unwrap_or_default(),
        Some(&len) => der.get(2 + usize::from(len & 0x7f)..).unwrap_or_default(),
        None => &[],
    }
}

/// DER values.
type Ders = Vec<Vec<u8>>;

/// The certificates and revocation lists in PEM text: (certificates, lists), as DER. Other blocks,
/// which may be private keys, are not read. A text without either is an error.
#[pyfunction]
pub(crate) fn pem_items(text: &[u8]) -> PyResult<(Ders, Ders)> {
    let certificates: Ders = pem_certificates(text)
        .filter_map(|der| Some(der.ok()?.to_vec()))
        .collect();
    let crls: Ders = pem::blocks(text)
        .filter(|block| block.label() == "X509 CRL")
        .filter_map(|block| Some(block.decode().ok()?.to_vec()))
        .collect();
    match certificates.is_empty() && crls.is_empty() {
        true => Err(library_error(
            "X509",
            "NO_CERTIFICATE_OR_CRL_FOUND",
            "no certificate or crl found",
        )),
        false => Ok((certificates, crls)),
    }
}

/// What [`pem_items`] finds in a file.
#[pyfunction]
pub(crate) fn pem_items_of_file(path: PathBuf) -> PyResult<(Ders, Ders)> {
    pem_items(&secret_file::read(&path)?)
}

/// Splits concatenated DER values.
#[pyfunction]
pub(crate) fn der_items(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut items = Vec::new();
    while let Ok((rest, _)) = X509Certificate::from_der(bytes) {
        items.push(bytes[..bytes.len() - rest.len()].to_vec());
        bytes = rest;
    }
    items
}
