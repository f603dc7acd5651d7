//! What a site answers with.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};

use super::body::ResponseBody;
use super::config::{ServeLimits, SiteContent};
use super::files::Files;
use super::peer::Peer;
use super::reverse_proxy::ReverseProxy;
use super::status_page;

/// What answers the requests for one site.
pub(super) enum Content {
    Files(Files),
    Proxy(Box<ReverseProxy>),
    Status,
}

impl Content {
    pub(super) fn new(content: &SiteContent, limits: &ServeLimits) -> Self {
        match content {
            SiteContent::Files(root) => Self::Files(Files::new(root)),
            SiteContent::Proxy(target) => Self::Proxy(Box::new(ReverseProxy::new(target, limits))),
            SiteContent::Status => Self::Status,
        }
    }

    /// Answers a request for `host`.
    pub(super) async fn answer(
        &self,
        host: &str,
        request: Request<Incoming>,
        peer: &Arc<Peer>,
    ) -> Response<ResponseBody> {
        match self {
            Self::Files(files) => files.answer(request).await,
            Self::Proxy(proxy) => proxy.answer(host, request, peer).await,
            Self::Status => status_page::answer(&request, peer),
        }
    }
}
