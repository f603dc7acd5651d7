//! HTTP/1.1 and HTTP/2 over connections with ECH.
//!
//! [`Client`] fetches pages; [`HttpsConnector`] serves other HTTP clients. The hidden name is in
//! `Host` or `:authority`, and thus inside TLS only.

mod body;
mod client;
mod credentials;
mod exchange;
mod gate;
mod pool;
mod redirect;
mod report_recorder;
mod request;
mod request_parts;
mod response;
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
pub use request::RequestBuilder;
pub use response::{Response, ResponseBody};
pub use service::{ConnectionReport, HttpsConnector, HttpsStream, HttpsUpgrade, HttpsUpgradeLayer};
pub use versions::HttpVersions;
