//! Whom to trust, decided as users of OpenSSL know it, on webpki.
//!
//! What differs from plain webpki (design §6):
//!
//! - only self-issued certificates that may sign others are anchors, unless `PARTIAL_CHAIN` is set;
//!   other loaded certificates help to build the chain, as in OpenSSL;
//! - the anchor's own dates and extensions count, as do everybody's key usages: [`limits`];
//! - of several revocation lists of an issuer the newest that is valid counts: [`revocation`];
//! - an end-entity certificate that is byte-equal to a loaded one is trusted if it is self-signed,
//!   or under `PARTIAL_CHAIN`; its name and dates are still checked.

mod limits;
mod load;
mod revocation;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use pyo3::prelude::*;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, Der, ServerName, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};
use x509_parser::prelude::{FromDer, X509Certificate};

pub(crate) use self::limits::{Limits, Role};
pub(crate) use self::load::{der_items, pem_items, pem_items_of_file};
use self::revocation::LoadedCrl;
pub(crate) use self::revocation::check_crl;
use crate::failure::library_error;
use crate::verify_failure::VerifyFailure;

/// `X509_V_FLAG_CRL_CHECK`.
const CRL_CHECK: u64 = 0x4;
/// `X509_V_FLAG_CRL_CHECK_ALL`.
const CRL_CHECK_ALL: u64 = 0x8;
/// `X509_V_FLAG_PARTIAL_CHAIN`.
const PARTIAL_CHAIN: u64 = 0x80000;

#[derive(Debug)]
struct Loaded {
    der: CertificateDer<'static>,
    not_before: i64,
    not_after: i64,
    self_issued: bool,
    limits: Limits,
    /// The certificate as an anchor, if webpki takes it: parsed once, not for each connection.
    anchor: Option<TrustAnchor<'static>>,
}

/// Certificates and revocation lists that were loaded.
#[pyclass(frozen, module = "echkit._echkit")]
#[derive(Debug)]
pub(crate) struct TrustStore {
    loaded: Vec<Loaded>,
    crls: Vec<LoadedCrl>,
    /// Why some of the revocation lists cannot be used.
    unusable: Vec<String>,
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
                limits: Limits::of(&parsed),
                anchor: webpki::anchor_from_trusted_cert(&CertificateDer::from(der.as_slice()))
                    .ok()
                    .map(|anchor| anchor.to_owned()),
                der: CertificateDer::from(der.clone()),
            };
            let subject = inner_value(parsed.subject().as_raw()).to_vec();
            subjects.entry(subject).or_default().push(loaded.len());
            loaded.push(entry);
        }
        let mut lists = Vec::new();
        let mut unusable = Vec::new();
        for der in crls {
            match LoadedCrl::new(&der) {
                Ok(list) => lists.push(list),
                Err(why) => unusable.push(why),
            }
        }
        Ok(Self {
            loaded,
            crls: lists,
            unusable,
            subjects,
        })
    }
}

impl TrustStore {
    /// Refuses to go on with revocation lists that cannot be used, where lists are to be checked.
    /// Those of files raise when they are loaded; those of folders are met here.
    pub(crate) fn check_crls(&self, flags: u64) -> PyResult<()> {
        match self.unusable.first() {
            Some(why) if checks_crls(flags) => Err(library_error("X509", "UNUSABLE_CRL", why)),
            _ => Ok(()),
        }
    }

    /// Judges a chain; on success the chain from the end-entity certificate to the anchor.
    pub(crate) fn verify(
        &self,
        question: &Question<'_>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Vec<CertificateDer<'static>>, VerifyFailure> {
        let chain = self.chain(question, algorithms);
        let early = chain.as_ref().err().is_some_and(|f| !f.comes_after_name());
        if let Some(name) = question.name
            && !early
        {
            let cert = EndEntityCert::try_from(question.end_entity)
                .map_err(|error| VerifyFailure::from_webpki(error, None))?;
            cert.verify_is_valid_for_subject_name(name)
                .map_err(|error| VerifyFailure::from_webpki(error, Some(name)))?;
        }
        chain
    }

    fn chain(
        &self,
        question: &Question<'_>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Vec<CertificateDer<'static>>, VerifyFailure> {
        let partial = question.flags & PARTIAL_CHAIN != 0;
        let now = question.seconds();
        let known = self.loaded.iter().find(|c| c.der == *question.end_entity);
        if let Some(cert) = known
            && (cert.self_issued || partial)
        {
            return cert.as_end_entity(question);
        }
        let anchors: Vec<TrustAnchor<'_>> = self
            .loaded
            .iter()
            .filter(|c| partial || c.self_issued)
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
            .map_err(|error| self.explain(error, question))?;
        let usage = match question.role {
            Role::Server => KeyUsage::server_auth(),
            Role::Client => KeyUsage::client_auth(),
        };
        // What OpenSSL would say of a path that webpki takes.
        let refused = RefCell::new(None);
        let judge = |path: &VerifiedPath<'_>| {
            self.judge(path, question).map_err(|failure| {
                refused.replace(Some(failure));
                webpki::Error::UnknownIssuer
            })
        };
        let build = |revocation: Option<RevocationOptions<'_>>| {
            let path = end_entity.verify_for_usage(
                algorithms.all,
                &anchors,
                &intermediates,
                question.now,
                usage,
                revocation,
                Some(&judge),
            )?;
            let mut chain = vec![question.end_entity.clone().into_owned()];
            chain.extend(
                path.intermediate_certificates()
                    .map(|c| c.der().into_owned()),
            );
            chain.extend(self.anchor(&path).map(|c| c.der.clone()));
            Ok(chain)
        };
        let lists = match checks_crls(question.flags) {
            true => Some(revocation::in_order(&self.crls, now)),
            false => None,
        };
        let depth = match question.flags & CRL_CHECK_ALL {
            0 => RevocationCheckDepth::EndEntity,
            _ => RevocationCheckDepth::Chain,
        };
        let built = match &lists {
            None => build(None),
            Some(lists) => match options(lists, depth) {
                Some(options) => build(Some(options)),
                // Whatever else is wrong comes first.
                None => build(None).and(Err(webpki::Error::UnknownRevocationStatus)),
            },
        };
        built.map_err(|error| {
            if let (webpki::Error::UnknownIssuer, Some(failure)) = (&error, refused.take()) {
                return failure;
            }
            use webpki::Error as E;
            let none_valid = matches!(error, E::UnknownRevocationStatus | E::CrlExpired { .. });
            let future = revocation::of_the_future(&self.crls, now);
            match options(&future, depth).map(|options| build(Some(options))) {
                Some(Ok(_) | Err(E::CertRevoked)) if none_valid => VerifyFailure::CRL_NOT_YET_VALID,
                _ => self.explain(error, question),
            }
        })
    }

    /// Judges a path as OpenSSL would, where webpki looks at less.
    fn judge(&self, path: &VerifiedPath<'_>, question: &Question<'_>) -> Result<(), VerifyFailure> {
        let Some(anchor) = self.anchor(path) else {
            return Err(VerifyFailure::UNKNOWN_ISSUER);
        };
        let mut all = vec![limits(question.end_entity)?];
        for cert in path.intermediate_certificates() {
            all.push(limits(&cert.der())?);
        }
        all.push(anchor.limits);
        limits::judge(&all, question.role)?;
        let whole = question.flags & CRL_CHECK_ALL != 0;
        let has_crls = checks_crls(question.flags) && !self.crls.is_empty();
        if has_crls && (whole || all.len() == 2) && !anchor.limits.signs_crls() {
            return Err(VerifyFailure::NO_CRL_SIGNER);
        }
        // An intermediate that is trusted as it is can be revoked itself.
        if whole && !anchor.self_issued {
            return Err(VerifyFailure::NO_CRL);
        }
        anchor.check_dates(question.seconds())
    }

    /// The loaded certificate that a path ends in. Of several with the same name and key, as after
    /// a renewal, the one that is valid longest.
    fn anchor(&self, path: &VerifiedPath<'_>) -> Option<&Loaded> {
        let anchor = path.anchor();
        self.subjects
            .get(anchor.subject.as_ref())?
            .iter()
            .map(|&index| &self.loaded[index])
            .filter(|c| {
                c.anchor.as_ref().is_some_and(|a| {
                    a.subject_public_key_info == anchor.subject_public_key_info
                        && a.name_constraints == anchor.name_constraints
                })
            })
            .max_by_key(|c| c.not_after)
    }

    /// OpenSSL tells four kinds of unknown issuer apart.
    fn explain(&self, error: webpki::Error, question: &Question<'_>) -> VerifyFailure {
        // Nobody but itself could have issued it, whatever else is wrong with it.
        if self_issued(question.end_entity) {
            return VerifyFailure::SELF_SIGNED;
        }
        match error {
            webpki::Error::UnknownIssuer => {}
            webpki::Error::NameConstraintViolation if self.only_excludes(question) => {
                return VerifyFailure::EXCLUDED;
            }
            webpki::Error::InvalidSignatureForPublicKey if self.weak_issuer(question) => {
                return VerifyFailure::WEAK_CA_KEY;
            }
            other => return VerifyFailure::from_webpki(other, None),
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

    /// Whether no name constraint of the authorities at hand permits anything, so that one excludes
    /// the name: OpenSSL tells the two apart.
    fn only_excludes(&self, question: &Question<'_>) -> bool {
        let at_hand = question.intermediates.iter().map(AsRef::as_ref);
        at_hand
            .chain(self.loaded.iter().map(|c| c.der.as_ref()))
            .filter_map(|der: &[u8]| Some(X509Certificate::from_der(der).ok()?.1))
            .filter_map(|cert| {
                let found = cert.name_constraints().ok()??;
                Some(found.value.permitted_subtrees.is_some())
            })
            .all(|permits| !permits)
    }

    /// Whether an authority at hand has a key that is too weak to verify anything with.
    fn weak_issuer(&self, question: &Question<'_>) -> bool {
        let Ok((_, cert)) = X509Certificate::from_der(question.end_entity) else {
            return false;
        };
        let sent = question.intermediates.iter().filter_map(|c| limits(c).ok());
        let issuer = self.subjects.get(inner_value(cert.issuer().as_raw()));
        let loaded = issuer.into_iter().flatten().map(|&i| self.loaded[i].limits);
        sent.chain(loaded).any(|limits| limits.has_weak_key())
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
}

impl Loaded {
    fn check_dates(&self, now: i64) -> Result<(), VerifyFailure> {
        match (now < self.not_before, now > self.not_after) {
            (true, _) => Err(VerifyFailure::NOT_YET_VALID),
            (_, true) => Err(VerifyFailure::EXPIRED),
            _ => Ok(()),
        }
    }

    /// Judges a loaded certificate that is the peer's own.
    fn as_end_entity(
        &self,
        question: &Question<'_>,
    ) -> Result<Vec<CertificateDer<'static>>, VerifyFailure> {
        limits::judge(&[self.limits], question.role)?;
        if checks_crls(question.flags) {
            // Its issuer is not at hand, or it is its own: no list can vouch for it.
            return Err(VerifyFailure::NO_CRL);
        }
        self.check_dates(question.seconds())?;
        Ok(vec![self.der.clone()])
    }
}

/// What to check revocation with, where there are lists.
fn options<'a>(
    lists: &'a [&'a CertRevocationList<'a>],
    depth: RevocationCheckDepth,
) -> Option<RevocationOptions<'a>> {
    let builder = RevocationOptionsBuilder::new(lists).ok()?;
    Some(
        builder
            .with_depth(depth)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build(),
    )
}

fn checks_crls(flags: u64) -> bool {
    flags & (CRL_CHECK | CRL_CHECK_ALL) != 0
}

/// The limits of a certificate that a peer sent.
fn limits(der: &CertificateDer<'_>) -> Result<Limits, VerifyFailure> {
    match X509Certificate::from_der(der) {
        Ok((_, cert)) => Ok(Limits::of(&cert)),
        Err(_) => Err(VerifyFailure::from_webpki(webpki::Error::BadDer, None)),
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

impl Question<'_> {
    fn seconds(&self) -> i64 {
        i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX)
    }
}

fn self_issued(der: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(der).is_ok_and(|(_, c)| c.subject().as_raw() == c.issuer().as_raw())
}

/// The contents of a DER value, without its tag and length.
fn inner_value(der: &[u8]) -> &[u8] {
    match der.get(1) {
        Some(&len) if len & 0x80 == 0 => der.get(2..).unwrap_or_default(),
        Some(&len) => der.get(2 + usize::from(len & 0x7f)..).unwrap_or_default(),
        None => &[],
    }
}
