//! The exit codes of failed requests: curl's, where curl has one.

use echkit::ErrorKind;

/// The exit code of `ech` for an error of this kind.
pub fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Usage => 2,
        // CURLE_URL_MALFORMAT
        ErrorKind::Url => 3,
        // CURLE_COULDNT_RESOLVE_PROXY
        ErrorKind::ProxyName => 5,
        // CURLE_COULDNT_RESOLVE_HOST
        ErrorKind::Name => 6,
        // CURLE_COULDNT_CONNECT
        ErrorKind::Connect => 7,
        // CURLE_HTTP_RETURNED_ERROR
        ErrorKind::Status => 22,
        // CURLE_OPERATION_TIMEDOUT
        ErrorKind::Timeout => 28,
        // CURLE_SSL_CONNECT_ERROR
        ErrorKind::Tls => 35,
        // CURLE_TOO_MANY_REDIRECTS
        ErrorKind::Redirect => 47,
        // CURLE_RECV_ERROR
        ErrorKind::Http | ErrorKind::ProxyTunnel => 56,
        // CURLE_PEER_FAILED_VERIFICATION
        ErrorKind::Certificate => 60,
        // CURLE_BAD_CONTENT_ENCODING
        ErrorKind::Decode => 61,
        // CURLE_FILESIZE_EXCEEDED
        ErrorKind::BodyTooLarge => 63,
        // CURLE_SSL_CACERT_BADFILE
        ErrorKind::TrustAnchors => 77,
        // CURLE_PROXY
        ErrorKind::Proxy => 97,
        // CURLE_ECH_REQUIRED
        ErrorKind::EchRequired | ErrorKind::EchRejected => 101,
        // A kind that the library has and this table has not.
        _ => UNKNOWN,
    }
}

const UNKNOWN: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_an_exit_code() {
        for kind in ErrorKind::ALL {
            assert_ne!(exit_code(*kind), UNKNOWN, "{kind}");
        }
    }
}
