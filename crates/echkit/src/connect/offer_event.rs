//! An offer in events: no names.

use echkit_proto::client::EchOffer;

use crate::report::EchSource;

/// What events say about an offer.
pub(super) struct OfferEvent {
    pub(super) kind: &'static str,
    /// Where the config comes from.
    pub(super) source: Option<&'static str>,
    pub(super) config_id: Option<u8>,
}

impl From<&EchOffer> for OfferEvent {
    fn from(offer: &EchOffer) -> Self {
        let (kind, config_id) = match offer {
            EchOffer::None => ("none", None),
            EchOffer::Grease => ("grease", None),
            EchOffer::Learn(_) => ("learn", None),
            EchOffer::Real(offer) => ("real", Some(offer.chosen.contents().config_id)),
        };
        let source = offer
            .source()
            .map(|source| EchSource::from(source).as_str());
        Self {
            kind,
            source,
            config_id,
        }
    }
}
