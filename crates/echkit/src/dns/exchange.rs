//! The result of one query over any transport: a response, or why there is none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use echkit_proto::dns::{DnsResponse, ResponseError};

/// How long to wait, and how often to ask.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    pub(super) total: Duration,
    pub(super) tries: u32,
}

/// Why a question has no answer.
#[derive(Clone, Debug)]
pub(super) enum ExchangeError {
    Io(Arc<io::Error>),
    Refused(u16),
    Malformed(&'static str),
    Timeout,
}

impl ExchangeError {
    /// Why, where the question was about a server and not about an origin.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Io(error) => error.to_string(),
            Self::Timeout => "no answer".to_owned(),
            Self::Refused(rcode) => format!("response code {rcode}"),
            Self::Malformed(reason) => (*reason).to_owned(),
        }
    }
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<ResponseError> for ExchangeError {
    fn from(unusable: ResponseError) -> Self {
        Self::Malformed(unusable.reason())
    }
}

/// A response that came over a connection, where nothing has to be truncated.
pub(super) fn whole(response: DnsResponse) -> Result<DnsResponse, ExchangeError> {
    if response.truncated {
        return Err(ExchangeError::Malformed(
            "it is truncated (TC) over a stream transport",
        ));
    }
    accept(response)
}

/// NOERROR and NXDOMAIN are answers; all else is a refusal to answer.
pub(super) fn accept(response: DnsResponse) -> Result<DnsResponse, ExchangeError> {
    match response.rcode {
        0 | 3 => Ok(response),
        rcode => Err(ExchangeError::Refused(rcode)),
    }
}
