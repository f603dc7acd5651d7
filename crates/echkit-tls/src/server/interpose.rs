//! What one connection's handshake wants changed, and how the crypto provider learns of it.
//!
//! rustls calls its crypto provider without saying for which connection. So the state is put in a
//! thread-local for the length of a call into rustls ([`enter`]), and whatever the provider makes
//! in that time keeps a reference to it. A handshake made on the same thread in a callback, say by
//! a certificate resolver, captures the state as well: hence the rules in [`super::transcript`] that
//! tell this connection's transcript from others.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize;

/// What is to change.
pub(super) enum Mode {
    /// Confirm acceptance in ServerHello and HelloRetryRequest (RFC 9849 §7.2).
    Accept {
        /// The random of the first ClientHelloInner.
        inner_random: [u8; 32],
    },
    /// Put an extension, type and length included, into EncryptedExtensions (RFC 9849 §7.1).
    Reject {
        /// `encrypted_client_hello` with the retry_configs.
        extension: Vec<u8>,
    },
}

/// The lengths that encrypted records are padded to (RFC 9849 §6.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Padding {
    /// A multiple of this; nothing is padded when it is 0.
    pub(super) step: usize,
    /// And no more than this.
    pub(super) most: usize,
}

impl Padding {
    /// How many zeros follow `len` bytes of content.
    pub(super) fn after(self, len: usize) -> usize {
        match self.step {
            0 => 0,
            step => len
                .next_multiple_of(step)
                .min(self.most)
                .saturating_sub(len),
        }
    }
}

/// Why the certificate resolver has found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unserved {
    /// None for the name.
    UnknownName,
    /// None for a hello without a name.
    NoName,
}

/// A message that rustls sends, and what has to go out in its place.
pub(super) struct Patch {
    pub(super) original: Vec<u8>,
    pub(super) patched: Vec<u8>,
}

/// The state of one connection's changes.
pub(super) struct State {
    pub(super) mode: Mode,
    /// The hello that rustls processes next; it tells this connection's transcript.
    pub(super) expected_hello: Vec<u8>,
    /// The transcript's hash when it was last finished; a HelloRetryRequest starts with it.
    pub(super) rollup: Option<Vec<u8>>,
    /// Changes that the transcript has seen and the wire has not.
    pub(super) patches: Vec<Patch>,
    /// The transcript has seen the ServerHello.
    pub(super) server_hello: bool,
    /// The transcript has seen EncryptedExtensions.
    pub(super) encrypted_extensions: bool,
    /// Counts encrypters made between the two: the last one sends EncryptedExtensions.
    pub(super) encrypters: u32,
    /// The first bytes of EncryptedExtensions as rustls wrote them, once the transcript grew.
    pub(super) grown: Option<[u8; 6]>,
    /// The record with EncryptedExtensions grew too.
    pub(super) inserted: bool,
    /// What the first encrypted flight is padded to.
    pub(super) padding: Padding,
    /// Set where the certificate resolver has found nothing.
    pub(super) unserved: Option<Unserved>,
    /// Something did not happen as expected: the handshake must end.
    pub(super) failed: bool,
}

impl State {
    /// The hello that rustls processes next. It and the one before may be a ClientHelloInner, with
    /// the name that ECH hides.
    pub(super) fn expect_hello(&mut self, hello: Vec<u8>) {
        self.expected_hello.zeroize();
        self.expected_hello = hello;
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.expect_hello(Vec::new());
    }
}

/// The state as the provider's objects share it.
pub(super) struct Shared(Mutex<State>);

impl Shared {
    pub(super) fn new(mode: Mode, expected_hello: Vec<u8>, padding: Padding) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            mode,
            expected_hello,
            rollup: None,
            patches: Vec::new(),
            server_hello: false,
            encrypted_extensions: false,
            padding,
            encrypters: 0,
            grown: None,
            inserted: false,
            unserved: None,
            failed: false,
        })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
}

/// Restores what was current before, when a call into rustls ends or panics.
struct Restore(Option<Arc<Shared>>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// Calls into rustls on behalf of a connection; `None` is one that nothing is changed for.
pub(super) fn enter<T>(shared: Option<&Arc<Shared>>, call: impl FnOnce() -> T) -> T {
    let _restore = Restore(CURRENT.replace(shared.cloned()));
    call()
}

/// The connection that the provider works for, if anything is changed for it.
pub(super) fn current() -> Option<Arc<Shared>> {
    CURRENT.with_borrow(Clone::clone)
}
