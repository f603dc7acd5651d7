//! Certificates to trust in PEM text, under each label that OpenSSL gives them.

use echkit_proto::pem::{self, BrokenBlock};
use rustls_pki_types::CertificateDer;
use x509_parser::asn1_rs::{Any, FromDer, Tag};

/// The contents of id-kp-serverAuth (RFC 5280 §4.2.1.12), an object identifier in DER.
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
/// The contents of anyExtendedKeyUsage (RFC 5280 §4.2.1.12).
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0];

/// The certificates in a PEM text, in its order: blocks labelled `CERTIFICATE`, `X509 CERTIFICATE`
/// and `TRUSTED CERTIFICATE`. Other blocks and what stands between blocks are passed over.
///
/// A `TRUSTED CERTIFICATE` has OpenSSL's settings behind it, which say what it is trusted for. One
/// that is not trusted for TLS servers is left out.
pub fn pem_certificates(
    text: &[u8],
) -> impl Iterator<Item = Result<CertificateDer<'static>, BrokenBlock>> {
    pem::blocks(text).filter_map(|block| {
        let der = |bytes: &[u8]| CertificateDer::from(bytes.to_vec());
        match block.label() {
            "CERTIFICATE" | "X509 CERTIFICATE" => Some(block.decode().map(|bytes| der(&bytes))),
            "TRUSTED CERTIFICATE" => block
                .decode()
                .and_then(|bytes| Ok(for_servers(&bytes)?.map(der)))
                .transpose(),
            _ => None,
        }
    })
}

/// The certificate at the beginning of a `TRUSTED CERTIFICATE`, if the settings behind it do not
/// speak against TLS servers.
///
/// They are OpenSSL's X509_CERT_AUX: a sequence of usages that the certificate is trusted for, then
/// `[0]` those that it is rejected for, both optional, then what does not matter here.
fn for_servers(bytes: &[u8]) -> Result<Option<&[u8]>, BrokenBlock> {
    let (settings, _) = element(bytes)?;
    let certificate = &bytes[..bytes.len() - settings.len()];
    if settings.is_empty() {
        return Ok(Some(certificate));
    }
    let (rest, settings) = element(settings)?;
    if !rest.is_empty() || settings.tag() != Tag::Sequence {
        return Err(BrokenBlock);
    }
    let mut rest = settings.as_bytes();
    let mut trusted = true;
    while !rest.is_empty() {
        let (behind, field) = element(rest)?;
        rest = behind;
        match (field.class() as u8, field.tag().0) {
            (0, 16) => trusted &= names_servers(field.as_bytes())?,
            (2, 0) => trusted &= !names_servers(field.as_bytes())?,
            _ => {}
        }
    }
    Ok(trusted.then_some(certificate))
}

fn names_servers(mut usages: &[u8]) -> Result<bool, BrokenBlock> {
    let mut named = false;
    while !usages.is_empty() {
        let (behind, usage) = element(usages)?;
        usages = behind;
        named |= usage.tag() == Tag::Oid && [SERVER_AUTH, ANY_USAGE].contains(&usage.as_bytes());
    }
    Ok(named)
}

/// What is behind a DER value, and the value.
fn element(bytes: &[u8]) -> Result<(&[u8], Any<'_>), BrokenBlock> {
    Any::from_der(bytes).map_err(|_| BrokenBlock)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use data_encoding::BASE64;

    fn certificate() -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn block(label: &str, der: &[u8]) -> String {
        let base64 = BASE64.encode(der);
        format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
    }

    /// A DER value of less than 128 bytes.
    fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let contents = parts.concat();
        [&[tag, contents.len().try_into().unwrap()], &contents[..]].concat()
    }

    fn settings(trusted: Option<&[u8]>, rejected: Option<&[u8]>) -> Vec<u8> {
        let usages = |tag, usage: Option<&[u8]>| {
            usage.map_or_else(Vec::new, |oid| value(tag, &[&value(6, &[oid])]))
        };
        let alias = value(0x0c, &[b"an alias"]);
        value(
            0x30,
            &[&usages(0x30, trusted), &usages(0xa0, rejected), &alias],
        )
    }

    #[test]
    fn certificates_are_read_under_each_of_openssls_labels() {
        let der = certificate();
        let text = [
            "CERTIFICATE",
            "X509 CERTIFICATE",
            "TRUSTED CERTIFICATE",
            "X509 CRL",
        ]
        .map(|label| block(label, &der))
        .concat();
        let found: Vec<_> = pem_certificates(format!("\u{feff}{text}").as_bytes())
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            found,
            [&der, &der, &der].map(|der| CertificateDer::from(der.as_slice()))
        );
    }

    #[test]
    fn a_trusted_certificate_counts_as_far_as_it_is_trusted_for_servers() {
        const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];
        let der = certificate();
        for (trusted, rejected, counts) in [
            (None, None, true),
            (Some(SERVER_AUTH), None, true),
            (Some(ANY_USAGE), None, true),
            (Some(CLIENT_AUTH), None, false),
            (None, Some(CLIENT_AUTH), true),
            (None, Some(SERVER_AUTH), false),
            (None, Some(ANY_USAGE), false),
            (Some(SERVER_AUTH), Some(SERVER_AUTH), false),
        ] {
            let text = block(
                "TRUSTED CERTIFICATE",
                &[der.clone(), settings(trusted, rejected)].concat(),
            );
            let found: Vec<_> = pem_certificates(text.as_bytes())
                .map(Result::unwrap)
                .collect();
            assert_eq!(
                found.len(),
                usize::from(counts),
                "{trusted:x?} {rejected:x?}"
            );
            assert!(found.iter().all(|found| **found == der[..]));
        }
    }

    #[test]
    fn every_cut_of_a_trusted_certificate_is_read_or_refused() {
        let whole = [certificate(), settings(Some(SERVER_AUTH), Some(ANY_USAGE))].concat();
        for len in 0..whole.len() {
            let text = block("TRUSTED CERTIFICATE", &whole[..len]);
            for mut found in pem_certificates(text.as_bytes()) {
                assert!(found.as_mut().map_or(true, |der| der.len() <= len));
            }
        }
    }
}
