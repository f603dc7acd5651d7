//! A key-exchange group that no server has, offered first to be asked for another.

use echkit::rustls::crypto::{ActiveKeyExchange, CryptoProvider, SharedSecret, SupportedKxGroup};
use echkit::rustls::ffdhe_groups::FfdheGroup;
use echkit::rustls::{Error, NamedGroup, crypto};

/// From the range for private use (RFC 8446 §4.2.7), so that no server takes part in it.
const GROUP: NamedGroup = NamedGroup::Unknown(0xfe00);

/// A provider whose first key share makes every server send a HelloRetryRequest.
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = crypto::aws_lc_rs::default_provider();
    provider.kx_groups.insert(0, &UnknownGroup);
    provider
}

#[derive(Debug)]
struct UnknownGroup;

impl SupportedKxGroup for UnknownGroup {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(UnknownShare(rand::random())))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        GROUP
    }
}

struct UnknownShare([u8; 32]);

impl ActiveKeyExchange for UnknownShare {
    fn complete(self: Box<Self>, _: &[u8]) -> Result<SharedSecret, Error> {
        Err(Error::General(
            "the server took a group that does not exist".into(),
        ))
    }

    fn pub_key(&self) -> &[u8] {
        &self.0
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn group(&self) -> NamedGroup {
        GROUP
    }
}
