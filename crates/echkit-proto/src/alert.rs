//! TLS alerts by which a rule of ECH ends a handshake (RFC 8446 §6).

use std::fmt;

use crate::tls_record::ALERT;

/// A TLS alert description (RFC 8446 §6), by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Alert(pub u8);

impl Alert {
    /// A message that is not expected at this point.
    pub const UNEXPECTED_MESSAGE: Self = Self(10);
    /// A record longer than allowed.
    pub const RECORD_OVERFLOW: Self = Self(22);
    /// No acceptable set of parameters.
    pub const HANDSHAKE_FAILURE: Self = Self(40);
    /// A field that is out of range or contradicts others.
    pub const ILLEGAL_PARAMETER: Self = Self(47);
    /// A message that cannot be decoded.
    pub const DECODE_ERROR: Self = Self(50);
    /// A failed cryptographic operation of the handshake.
    pub const DECRYPT_ERROR: Self = Self(51);
    /// An error of the sender of the alert.
    pub const INTERNAL_ERROR: Self = Self(80);
    /// A mandatory extension is missing.
    pub const MISSING_EXTENSION: Self = Self(109);
    /// No server of this name (RFC 6066 §3).
    pub const UNRECOGNIZED_NAME: Self = Self(112);
    /// The server did not accept ECH (RFC 9849 §5).
    pub const ECH_REQUIRED: Self = Self(121);

    /// A record with this alert as a fatal one, in the plain (RFC 8446 §6).
    pub fn fatal_record(self) -> [u8; 7] {
        const FATAL: u8 = 2;
        [ALERT, 3, 3, 0, 2, FATAL, self.0]
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNEXPECTED_MESSAGE => f.write_str("unexpected_message"),
            Self::RECORD_OVERFLOW => f.write_str("record_overflow"),
            Self::HANDSHAKE_FAILURE => f.write_str("handshake_failure"),
            Self::ILLEGAL_PARAMETER => f.write_str("illegal_parameter"),
            Self::DECODE_ERROR => f.write_str("decode_error"),
            Self::DECRYPT_ERROR => f.write_str("decrypt_error"),
            Self::INTERNAL_ERROR => f.write_str("internal_error"),
            Self::MISSING_EXTENSION => f.write_str("missing_extension"),
            Self::UNRECOGNIZED_NAME => f.write_str("unrecognized_name"),
            Self::ECH_REQUIRED => f.write_str("ech_required"),
            Self(other) => write!(f, "alert {other}"),
        }
    }
}
