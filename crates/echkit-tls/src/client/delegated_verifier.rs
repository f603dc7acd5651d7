//! What verifiers that wrap another leave to it.

/// All of a `ServerCertVerifier` but the verdict on a chain, as the verifier in `$inner` has it.
macro_rules! delegate_all_but_the_chain {
    ($inner:ident) => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &rustls_pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$inner.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &rustls_pki_types::CertificateDer<'_>,
            dss: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            self.$inner.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.$inner.supported_verify_schemes()
        }

        fn requires_raw_public_keys(&self) -> bool {
            self.$inner.requires_raw_public_keys()
        }

        fn root_hint_subjects(&self) -> Option<&[rustls::DistinguishedName]> {
            self.$inner.root_hint_subjects()
        }
    };
}

pub(super) use delegate_all_but_the_chain;
