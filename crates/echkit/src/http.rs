//! HTTP/1.1 and HTTP/2 over connections with ECH.
//!
//! [`Client`] fetches pages; [`HttpsConnector`] serves other HTTP clients. The hidden name is in
//! `Host` or `:authority`, and thus inside TLS only.

mod body;
mod client;
#[cfg(feature = "cookies")]
mod cookies;
mod credentials;
#[cfg(feature = "decompress")]
mod decompressed;
mod exchange;
mod gate;
mod idle_watch;
mod observed_head;
mod pool;
mod raw_body;
mod redirect;
mod report_recorder;
mod request;
mod request_parts;
mod response;
mod response_body;
mod send;
mod service;
mod versions;

pub use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header,
};
pub use bytes::Bytes;
pub use http_body;

pub use body::Body;
pub use client::{Client, ClientBuilder, DEFAULT_BODY_LIMIT};
#[cfg(feature = "cookies")]
pub use cookies::CookieJar;
pub use observed_head::ObservedHead;
pub use request::RequestBuilder;
pub use response::{RedirectHead, Response};
pub use response_body::ResponseBody;
pub use service::{ConnectionReport, HttpsConnector, HttpsStream, HttpsUpgrade, HttpsUpgradeLayer};
pub use versions::HttpVersions;
