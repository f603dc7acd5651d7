//! The PROXY protocol, version 2: who the client of a connection is, told by who forwarded it.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxiedAddress, ProxyHeader};

/// What every header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, command, family and length.
const FIXED: usize = 16;

/// The longest header that is waited for; addresses take 36 bytes, and the rest is for notes that
/// load balancers add.
const MAX_HEADER: usize = 4096;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proxied {
    /// The addresses of the client and of where it connected to.
    Addresses {
        client: SocketAddr,
        local: SocketAddr,
    },
    /// The connection is the forwarder's own, such as a health check, or the client has no IP
    /// address.
    Local,
}

/// The bytes are no such header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoProxyHeader;

/// Reads a header at the head of `bytes`, and says how long it is; `None` while it is not whole.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Proxied, usize)>, NoProxyHeader> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(NoProxyHeader);
    }
    if let Some([high, low]) = bytes.get(FIXED - 2..FIXED)
        && FIXED + usize::from(u16::from_be_bytes([*high, *low])) > MAX_HEADER
    {
        return Err(NoProxyHeader);
    }
    let config = ParseConfig {
        include_tlvs: false,
        allow_v1: false,
        allow_v2: true,
    };
    match ProxyHeader::parse(bytes, config) {
        Ok((header, len)) => {
            let proxied = header.proxied_address();
            Ok(Some((
                proxied.map_or(Proxied::Local, |address| Proxied::Addresses {
                    client: address.source,
                    local: address.destination,
                }),
                len,
            )))
        }
        Err(Error::BufferTooShort) => Ok(None),
        Err(_) => Err(NoProxyHeader),
    }
}

/// The header that tells a backend of its client.
pub(super) fn write(proxied: Proxied) -> Vec<u8> {
    let header = match proxied {
        Proxied::Addresses { client, local } => {
            let (client, local) = one_family(client, local);
            ProxyHeader::with_address(ProxiedAddress::stream(client, local))
        }
        Proxied::Local => ProxyHeader::with_local(),
    };
    let mut bytes = Vec::new();
    // It fails for addresses of two families, and for headers that are too long.
    if header.encode_v2(&mut bytes).is_err() {
        bytes.clear();
    }
    bytes
}

/// Both as IPv4, or both as IPv6.
fn one_family(a: SocketAddr, b: SocketAddr) -> (SocketAddr, SocketAddr) {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let mapped = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        v6 @ SocketAddr::V6(_) => v6,
    };
    let (a, b) = (canonical(a), canonical(b));
    match a.is_ipv4() == b.is_ipv4() {
        true => (a, b),
        false => (mapped(a), mapped(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(client: &str, local: &str) -> Proxied {
        Proxied::Addresses {
            client: client.parse().expect("an address"),
            local: local.parse().expect("an address"),
        }
    }

    #[test]
    fn headers_are_read_as_they_were_written_however_they_are_cut() {
        for proxied in [
            addresses("192.0.2.1:1000", "192.0.2.2:443"),
            addresses("[2001:db8::1]:1000", "[2001:db8::2]:443"),
            Proxied::Local,
        ] {
            let mut bytes = write(proxied);
            let len = bytes.len();
            bytes.extend_from_slice(&[22, 3, 1]);
            for cut in 0..len {
                assert_eq!(read(&bytes[..cut]), Ok(None), "{cut}");
            }
            for end in len..=bytes.len() {
                assert_eq!(read(&bytes[..end]), Ok(Some((proxied, len))));
            }
        }
    }

    #[test]
    fn the_example_of_the_specification_is_written() {
        let header = write(addresses("192.0.2.1:1000", "192.0.2.2:443"));
        assert_eq!(header[..12], *b"\r\n\r\n\0\r\nQUIT\n");
        assert_eq!(header[12..16], [0x21, 0x11, 0, 12]);
        assert_eq!(header[16..], [192, 0, 2, 1, 192, 0, 2, 2, 3, 232, 1, 187]);
    }

    #[test]
    fn addresses_of_two_families_are_written_as_one() {
        let header = write(addresses("[::ffff:192.0.2.1]:1", "192.0.2.2:2"));
        assert_eq!(
            read(&header),
            Ok(Some((addresses("192.0.2.1:1", "192.0.2.2:2"), 28)))
        );
        let header = write(addresses("[2001:db8::1]:1", "192.0.2.2:2"));
        let both = addresses("[2001:db8::1]:1", "[::ffff:192.0.2.2]:2");
        assert_eq!(read(&header), Ok(Some((both, 52))));
    }

    #[test]
    fn a_hello_version_1_and_endless_headers_are_refused() {
        for bytes in [
            &[22, 3, 1][..],
            b"PROXY TCP4 192.0.2.1",
            b"\r\n\r\n\0\r\nQUOT",
        ] {
            assert_eq!(read(bytes), Err(NoProxyHeader));
        }
        let long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        assert_eq!(read(&long), Err(NoProxyHeader));
    }
}
