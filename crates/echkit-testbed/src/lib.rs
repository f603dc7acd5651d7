//! An Encrypted Client Hello internet in a box.
//!
//! [`Testbed::start`] serves the zone `ech.test` on loopback: authoritative DNS (UDP, TCP, TLS,
//! HTTPS, QUIC, HTTP/3), a certificate authority made for the occasion, and one TLS server for each
//! way to publish and serve ECH, well or badly. Each [`Case`] says the outcome expected of a
//! correct client, and each server has a page that says what it saw ([`Page`]). Beside them there are proxies ([`proxy`]).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), echkit_testbed::TestbedError> {
//! let testbed = echkit_testbed::Testbed::builder().only(["nominal"]).start().await?;
//! let case = testbed.case("nominal").expect("it was asked for");
//! assert_eq!(case.host, "nominal.ech.test");
//! println!("ech get {} --dns {}", case.url, testbed.dns_uri());
//! # Ok(())
//! # }
//! ```

mod accept;
mod ca;
mod capture;
mod captures;
mod case;
mod cases;
mod configs;
mod designated;
mod dns;
mod doh;
mod doh3;
mod doq;
mod dot;
mod elsewhere;
mod error;
mod hosts;
mod in_order;
mod inspect;
mod judgement;
mod names;
mod odd_zones;
mod page;
mod ports;
mod proxies;
pub mod proxy;
mod proxy_cases;
mod recorded;
mod server;
mod sessions;
mod spec_parts;
mod testbed;
mod zone;

pub use capture::{Capture, Served};
pub use case::{
    Case, Expectations, Expected, ExpectedHttps, ExpectedSource, ExpectedStatus, ServerWord,
};
pub use elsewhere::{Blueprint, Identity};
pub use error::TestbedError;
pub use inspect::Inspector;
pub use judgement::{ClientVerdict, Judgement};
pub use names::ZONE;
pub use page::{Page, PageEch, PageHttp, PageTls};
pub use proxy_cases::{ProxyCase, ProxyWay, proxy_list};
pub use testbed::{Builder, Listed, Ports, Testbed, case_names, list};
pub use zone::ZoneRecord;
