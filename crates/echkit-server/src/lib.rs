//! What an operator of Encrypted Client Hello runs: keys, their rotation and their publishing.
//!
//! - [`SiteRecord`] is the HTTPS record of a site, in each form in which DNS servers and providers
//!   take it.
//!
//! The TLS server is `echkit::server`.

mod site_record;

pub use site_record::{SiteError, SiteRecord};
