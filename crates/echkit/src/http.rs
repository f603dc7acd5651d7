//! HTTP/1.1 and HTTP/2 over connections with ECH.
//!
//! The hidden name stands in `Host` or `:authority`, and thus inside TLS only.

mod body;
mod client;
mod exchange;
mod pool;
mod redirect;
mod request;
mod response;

pub use body::Body;
pub use client::{Client, ClientBuilder, HttpVersions};
pub use request::RequestBuilder;
pub use response::{Response, ResponseBody};
