//! The server side of ECH (RFC 9849 §7): what a ClientHello is, judged without a connection.
//!
//! - [`judge`] opens or rejects the first hello; [`Retained`], [`judge_outer_second`] and
//!   [`judge_backend_second`] judge the one after a HelloRetryRequest.
//! - [`ClientFacing`] and [`Forwarding`] are the client-facing server of split mode: what it forwards.
//! - [`EchKeys`] holds the keys and the retry_configs that go with them; [`EchKeyFiles`] says which
//!   files they come from.

mod client_facing;
mod key_files;
mod keys;
mod verdict;

pub use client_facing::{ClientFacing, ForwardError, ForwardedHello, Forwarding};
pub use key_files::{EchKeyFiles, EchKeyFilesError, KeyFileText};
pub use keys::{EchKeyHandle, EchKeys, EchKeysError, MAX_RETRY_EXTENSION, MAX_SAME_ID};
pub use verdict::{
    HelloVerdict, Misbehaviour, Opened, RejectReason, Retained, Rules, judge, judge_backend_second,
    judge_outer_second,
};
