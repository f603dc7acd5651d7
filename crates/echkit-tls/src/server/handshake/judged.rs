//! A hello that was judged, before it is answered.

use std::fmt;
use std::sync::Arc;

use echkit_proto::hello::ClientHello;
use echkit_proto::server::{EchKeys, HelloVerdict};

/// A hello that waits for its answer.
pub(super) struct Judged {
    pub(super) hello: ClientHello,
    pub(super) verdict: HelloVerdict,
    pub(super) keys: Arc<EchKeys>,
    /// The hello as it came.
    pub(super) raw: Vec<u8>,
    /// What came after it.
    pub(super) rest: Vec<u8>,
}

impl fmt::Debug for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judged").finish_non_exhaustive()
    }
}
