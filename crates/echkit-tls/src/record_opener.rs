//! Opens received records where they lie: the decrypter that rustls made for a connection, shared
//! with the code that receives.
//!
//! rustls moves each record into a buffer of its own, and its plaintext into a vector. A caller that
//! has the record in a buffer already, and a place for the plaintext, saves both copies with a
//! [`RecordOpener`]. rustls still sees every record that is not application data, and decides what
//! it means; it never learns of application data that was opened here. It counts key updates and
//! empty records in a row, and wants no data within a handshake message: for these rules to hold, the
//! record after one that rustls was given goes to rustls too.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use echkit_proto::tls_record::{APPLICATION_DATA, RECORD_HEADER_LEN, RecordHeader};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter,
    MessageEncrypter, Tls12AeadAlgorithm, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls12CipherSuite, Tls13CipherSuite,
};

/// `legacy_record_version` (RFC 8446 §5.1), and that of TLS 1.2.
const VERSION: u16 = 0x0303;

thread_local! {
    static OBSERVED: Cell<bool> = const { Cell::new(false) };
    static NEWEST: RefCell<Option<RecordOpener>> = const { RefCell::new(None) };
}

/// Opens the records of a connection in the caller's buffer, with the key that it receives with.
///
/// A key serves until rustls makes the next one: after a KeyUpdate (RFC 8446 §7.2) and at each step of
/// a handshake. So every call that gives rustls a record runs in [`RecordOpener::observe`].
#[derive(Clone)]
pub struct RecordOpener(Arc<Mutex<Decryption>>);

impl RecordOpener {
    /// Runs `work`, which gives a connection records, and returns the opener of the key that the
    /// connection has received with since then, where rustls has made a new one.
    ///
    /// The connection needs a provider that shares its keys: [`client_provider`], or that of the
    /// server. With another one there is no opener.
    pub fn observe<T>(work: impl FnOnce() -> T) -> (T, Option<Self>) {
        let outer = (OBSERVED.replace(true), NEWEST.take());
        let value = work();
        OBSERVED.set(outer.0);
        (value, NEWEST.replace(outer.1))
    }

    /// Opens a whole record, header included, in its place. Returns where in it application data is.
    ///
    /// `None`: it is something else, empty, damaged, or one that rustls has to see. The next thing to
    /// do is to give it to the connection, as it lies there now.
    pub fn open(&self, record: &mut [u8]) -> Option<Range<usize>> {
        let header = RecordHeader::read(record)?;
        if (header.content_type, header.version) != (APPLICATION_DATA, VERSION)
            || header.record_len() != record.len()
        {
            return None;
        }
        let mut state = self.lock();
        if state.next_is_for_rustls {
            return None;
        }
        let outcome = state.open(&mut record[RECORD_HEADER_LEN..]);
        match outcome {
            Ok(plain) if plain.is_data() => {
                let Range { start, end } = plain.range;
                Some(RECORD_HEADER_LEN + start..RECORD_HEADER_LEN + end)
            }
            other => {
                state.opened = Some(other);
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Decryption> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a record turned out to be, and where its plaintext is behind the header.
struct Plain {
    typ: ContentType,
    version: ProtocolVersion,
    range: Range<usize>,
}

impl Plain {
    fn is_data(&self) -> bool {
        self.typ == ContentType::ApplicationData && !self.range.is_empty()
    }
}

struct Decryption {
    raw: Box<dyn MessageDecrypter>,
    /// The sequence number of the next record. rustls' own does not count what was opened here.
    sequence: u64,
    /// What came of a record that rustls has not been given yet.
    opened: Option<Result<Plain, Error>>,
    next_is_for_rustls: bool,
}

impl Decryption {
    fn open(&mut self, payload: &mut [u8]) -> Result<Plain, Error> {
        let base = payload.as_ptr() as usize;
        let len = payload.len();
        let message = InboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::TLSv1_2,
            payload,
        );
        let plain = self.raw.decrypt(message, self.sequence)?;
        self.sequence += 1;
        let start = (plain.payload.as_ptr() as usize).wrapping_sub(base);
        let range = match plain.payload.is_empty() {
            true => 0..0,
            false => start..start.saturating_add(plain.payload.len()),
        };
        if range.end > len {
            return Err(Error::General("plaintext outside of its record".to_owned()));
        }
        Ok(Plain {
            typ: plain.typ,
            version: plain.version,
            range,
        })
    }
}

/// The decrypter that rustls has: what was opened already, it only looks at.
struct SharedDecrypter(RecordOpener);

impl MessageDecrypter for SharedDecrypter {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        _: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let mut state = self.0.lock();
        let opened = state.opened.take();
        // After an error nothing is opened any more: rustls has ended the connection.
        state.next_is_for_rustls = true;
        let plain = match opened {
            Some(opened) => opened?,
            None => {
                let sequence = state.sequence;
                let plain = state.raw.decrypt(message, sequence)?;
                state.sequence += 1;
                state.next_is_for_rustls =
                    plain.typ != ContentType::ApplicationData || plain.payload.is_empty();
                return Ok(plain);
            }
        };
        state.next_is_for_rustls = !plain.is_data();
        // It is the record that was opened: rustls was given it right after.
        if plain.range.end > message.payload.len() {
            return Err(Error::DecryptError);
        }
        message.typ = plain.typ;
        message.version = plain.version;
        Ok(message.into_plain_message_range(plain.range))
    }
}

/// `raw`, shared where [`RecordOpener::observe`] runs on this thread.
pub(crate) fn shared(raw: Box<dyn MessageDecrypter>) -> Box<dyn MessageDecrypter> {
    if !OBSERVED.get() {
        return raw;
    }
    let opener = RecordOpener(Arc::new(Mutex::new(Decryption {
        raw,
        sequence: 0,
        opened: None,
        next_is_for_rustls: true,
    })));
    NEWEST.set(Some(opener.clone()));
    Box::new(SharedDecrypter(opener))
}

/// rustls' aws-lc-rs provider for clients, whose connections share their keys with a
/// [`RecordOpener`]. A copy with suites or groups taken out serves as well.
pub fn client_provider() -> CryptoProvider {
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> = LazyLock::new(|| {
        let mut suites = aws_lc_rs::default_provider().cipher_suites;
        for suite in &mut suites {
            *suite = match *suite {
                SupportedCipherSuite::Tls13(raw) => {
                    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                        common: common(&raw.common),
                        hkdf_provider: raw.hkdf_provider,
                        aead_alg: Box::leak(Box::new(Tls13Protection(raw.aead_alg))),
                        quic: raw.quic,
                    })))
                }
                SupportedCipherSuite::Tls12(raw) => tls12_suite(raw),
            };
        }
        suites
    });
    CryptoProvider {
        cipher_suites: SUITES.clone(),
        ..aws_lc_rs::default_provider()
    }
}

/// A suite of TLS 1.2 that shares its keys; it lives for ever, as rustls wants suites to.
pub(crate) fn tls12_suite(raw: &'static Tls12CipherSuite) -> SupportedCipherSuite {
    SupportedCipherSuite::Tls12(Box::leak(Box::new(Tls12CipherSuite {
        common: common(&raw.common),
        prf_provider: raw.prf_provider,
        kx: raw.kx,
        sign: raw.sign,
        aead_alg: Box::leak(Box::new(Tls12Protection(raw.aead_alg))),
    })))
}

fn common(raw: &CipherSuiteCommon) -> CipherSuiteCommon {
    CipherSuiteCommon {
        suite: raw.suite,
        hash_provider: raw.hash_provider,
        confidentiality_limit: raw.confidentiality_limit,
    }
}

struct Tls13Protection(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for Tls13Protection {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.0.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        shared(self.0.decrypter(key, iv))
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

struct Tls12Protection(&'static dyn Tls12AeadAlgorithm);

impl Tls12AeadAlgorithm for Tls12Protection {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        self.0.encrypter(key, iv, extra)
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        shared(self.0.decrypter(key, iv))
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.0.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv, explicit)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}
