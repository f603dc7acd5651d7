//! Names of numbers in hellos, from IANA's registries for TLS.

use echkit::rustls::{CipherSuite, NamedGroup, SignatureScheme};

/// The name of an extension; `None` for one that is not known here.
pub(super) fn extension(number: u16) -> Option<&'static str> {
    Some(match number {
        0 => "server_name",
        1 => "max_fragment_length",
        5 => "status_request",
        10 => "supported_groups",
        11 => "ec_point_formats",
        13 => "signature_algorithms",
        14 => "use_srtp",
        15 => "heartbeat",
        16 => "application_layer_protocol_negotiation",
        18 => "signed_certificate_timestamp",
        19 => "client_certificate_type",
        20 => "server_certificate_type",
        21 => "padding",
        22 => "encrypt_then_mac",
        23 => "extended_master_secret",
        27 => "compress_certificate",
        28 => "record_size_limit",
        34 => "delegated_credential",
        35 => "session_ticket",
        41 => "pre_shared_key",
        42 => "early_data",
        43 => "supported_versions",
        44 => "cookie",
        45 => "psk_key_exchange_modes",
        47 => "certificate_authorities",
        48 => "oid_filters",
        49 => "post_handshake_auth",
        50 => "signature_algorithms_cert",
        51 => "key_share",
        57 => "quic_transport_parameters",
        58 => "ticket_request",
        17513 | 17613 => "application_settings",
        0xfd00 => "ech_outer_extensions",
        0xfe0d => "encrypted_client_hello",
        0xff01 => "renegotiation_info",
        _ => return None,
    })
}

/// Whether a number is one of GREASE (RFC 8701 §2).
pub(super) fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

fn unless_grease(number: u16, name: String) -> String {
    match is_grease(number) {
        true => format!("GREASE (0x{number:04x})"),
        // rustls shows a number that it does not know as `NamedGroup(0x9999)`.
        false if name.contains('(') => format!("0x{number:04x}"),
        false => name,
    }
}

pub(super) fn cipher_suite(number: u16) -> String {
    let name = format!("{:?}", CipherSuite::from(number));
    // rustls marks suites of TLS 1.3, and no other registry does.
    unless_grease(number, name.replacen("TLS13_", "TLS_", 1))
}

pub(super) fn group(number: u16) -> String {
    unless_grease(number, format!("{:?}", NamedGroup::from(number)))
}

pub(super) fn signature_scheme(number: u16) -> String {
    unless_grease(number, format!("{:?}", SignatureScheme::from(number)))
}

pub(super) fn version(number: u16) -> String {
    match number {
        0x0300 => "SSL 3.0".to_owned(),
        0x0301 => "TLS 1.0".to_owned(),
        0x0302 => "TLS 1.1".to_owned(),
        0x0303 => "TLS 1.2".to_owned(),
        0x0304 => "TLS 1.3".to_owned(),
        other => unless_grease(other, format!("0x{other:04x}")),
    }
}

/// The description of an alert (RFC 8446 §6).
pub(super) fn alert(number: u8) -> String {
    let name = match number {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        109 => "missing_extension",
        110 => "unsupported_extension",
        112 => "unrecognized_name",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        other => return format!("alert {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_have_the_names_of_the_registry_and_others_their_digits() {
        assert_eq!(cipher_suite(0x1301), "TLS_AES_128_GCM_SHA256");
        assert_eq!(cipher_suite(0x00ff), "TLS_EMPTY_RENEGOTIATION_INFO_SCSV");
        assert_eq!(group(0x11ec), "X25519MLKEM768");
        assert_eq!(group(0x9999), "0x9999");
        assert_eq!(group(0x3a3a), "GREASE (0x3a3a)");
        assert_eq!(signature_scheme(0x0807), "ED25519");
        assert_eq!(version(0x0304), "TLS 1.3");
        assert_eq!(version(0x7f1c), "0x7f1c");
        assert!(is_grease(0xfafa) && !is_grease(0x1a2a) && !is_grease(0x0a0b));
    }
}
