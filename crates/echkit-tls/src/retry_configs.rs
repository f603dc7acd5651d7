//! The ECHConfigList of a rejection, as bytes again.
//!
//! The only place that uses what rustls calls internal: it hands retry configs over parsed, and
//! offers no other way to their bytes.

use rustls::internal::msgs::codec::Codec;
use rustls::internal::msgs::handshake::EchConfigPayload;
use rustls::{Error, PeerIncompatible};

/// The retry configs in an error of rustls: `None` when it is not a rejection of ECH, `Some(None)`
/// when the server sent none.
pub fn retry_configs(error: &Error) -> Option<Option<Vec<u8>>> {
    match error {
        Error::PeerIncompatible(PeerIncompatible::ServerRejectedEncryptedClientHello(configs)) => {
            Some(configs.as_deref().map(encode))
        }
        _ => None,
    }
}

/// Writes parsed configs down.
///
/// A list without a config breaks the syntax (RFC 9849 §4), which rustls does not mind: written
/// down it is malformed still, and no statement that ECH is switched off. The same goes for one
/// that is too long for its length field.
fn encode(configs: &[EchConfigPayload]) -> Vec<u8> {
    let mut list = vec![0, 0];
    for config in configs {
        config.encode(&mut list);
    }
    let len = u16::try_from(list.len() - 2).unwrap_or(0);
    list[..2].copy_from_slice(&len.to_be_bytes());
    list
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use echkit_proto::config::EchConfigList;
    use echkit_proto::key::{EchKey, KeyParams};
    use rustls::internal::msgs::codec::Reader;

    fn rejection(list: Option<&[u8]>) -> Error {
        let configs = list.map(|list| Vec::read(&mut Reader::init(list)).unwrap());
        PeerIncompatible::ServerRejectedEncryptedClientHello(configs).into()
    }

    #[test]
    fn configs_parsed_by_rustls_are_written_down_unchanged() {
        let key = EchKey::generate(&KeyParams::new("public.example").unwrap()).unwrap();
        let usable = EchConfigList::from(key.config().clone()).encode();
        // One of an unknown version, and an empty list.
        for list in [&usable[..], &[0, 6, 0xfe, 0x0a, 0, 2, 1, 2], &[0, 0]] {
            assert_eq!(
                retry_configs(&rejection(Some(list))),
                Some(Some(list.to_vec()))
            );
        }
        assert_eq!(retry_configs(&rejection(None)), Some(None));
        assert_eq!(retry_configs(&Error::DecryptError), None);
    }
}
