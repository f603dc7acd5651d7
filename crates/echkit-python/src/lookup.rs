//! Discovery in DNS for Python: resolvers and look-ups.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use echkit::discover::{DiscoverOptions, Discovery, discover_with};
use echkit::dns::{self, ResolverOptions};
use echkit::origin::Origin;
use echkit::tls::{ClientTls, Trust};
use pyo3::exceptions::{PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use rustls_pki_types::CertificateDer;
use tokio::task::AbortHandle;

use crate::client::event::Event;
use crate::client::mailbox::Mailbox;
use crate::found::Found;
use crate::runtime;

/// A resolver by its URI.
#[pyclass(frozen, module = "echkit._echkit")]
pub(crate) struct Resolver {
    /// The URI.
    #[pyo3(get)]
    uri: String,
    /// The trusted certificates for an encrypted resolver; without any, those of the system.
    roots: Vec<Vec<u8>>,
    /// With the generation that it was made in: its connections end at a fork.
    made: Mutex<(u64, dns::Resolver)>,
}

#[pymethods]
impl Resolver {
    #[new]
    #[pyo3(signature = (uri, roots=Vec::new()))]
    fn new(uri: String, roots: Vec<Vec<u8>>) -> PyResult<Self> {
        let resolver = resolver(&uri, &roots)?;
        Ok(Self {
            uri,
            roots,
            made: Mutex::new((runtime::generation(), resolver)),
        })
    }

    /// Everything that DNS says about `scheme://host:port`.
    ///
    /// `alpn` are the protocols that the client speaks. Raises `ValueError` for what is no origin
    /// and `TimeoutError` when it takes longer than `timeout` seconds.
    #[pyo3(signature = (host, port, scheme="https", alpn=None, timeout=None))]
    fn lookup(
        &self,
        py: Python<'_>,
        host: &str,
        port: u16,
        scheme: &str,
        alpn: Option<Vec<Vec<u8>>>,
        timeout: Option<f64>,
    ) -> PyResult<Found> {
        let work = self.question(host, port, scheme, alpn, timeout)?;
        runtime::block_on(py, work)?
            .map(Found)
            .ok_or_else(|| PyTimeoutError::new_err("The look-up of HTTPS records timed out"))
    }

    /// Begins what `lookup` does, and returns what ends it early. `("found", …)` goes into the mailbox
    /// under this number, with `None` when the time is over.
    #[pyo3(signature = (host, port, scheme, alpn, timeout, mailbox, number))]
    #[allow(clippy::too_many_arguments)]
    fn begin(
        &self,
        py: Python<'_>,
        host: &str,
        port: u16,
        scheme: &str,
        alpn: Option<Vec<Vec<u8>>>,
        timeout: Option<f64>,
        mailbox: &Mailbox,
        number: u64,
    ) -> PyResult<Pending> {
        let work = self.question(host, port, scheme, alpn, timeout)?;
        let letters = Arc::clone(&mailbox.letters);
        let task = runtime::spawn(py, async move {
            let found = work.await.map(Box::new);
            letters.put(number, Ok(Event::Found(found)));
        })?;
        Ok(Pending(task))
    }
}

/// A look-up that is under way.
#[pyclass(frozen, module = "echkit._echkit")]
pub(crate) struct Pending(pub(crate) AbortHandle);

#[pymethods]
impl Pending {
    /// Ends it, if it has not ended.
    fn cancel(&self) {
        self.0.abort();
    }
}

impl Resolver {
    /// What finds an answer, or `None` in `timeout` seconds.
    fn question(
        &self,
        host: &str,
        port: u16,
        scheme: &str,
        alpn: Option<Vec<Vec<u8>>>,
        timeout: Option<f64>,
    ) -> PyResult<impl Future<Output = Option<Discovery>> + Send + 'static> {
        let origin = origin(scheme, host, port)?;
        let mut options = DiscoverOptions::default();
        if let Some(alpn) = alpn {
            options.alpn = alpn;
        }
        let limit = match timeout {
            Some(seconds) => Some(
                Duration::try_from_secs_f64(seconds)
                    .map_err(|error| PyValueError::new_err(error.to_string()))?,
            ),
            None => None,
        };
        let resolver = self.resolver()?;
        Ok(async move {
            let work = discover_with(&resolver, &origin, &options);
            let discovery = match limit {
                Some(limit) => tokio::time::timeout(limit, work).await.ok()?,
                None => work.await,
            };
            Some(discovery)
        })
    }

    fn resolver(&self) -> PyResult<dns::Resolver> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = runtime::generation();
        if made.0 != generation {
            let new = (generation, resolver(&self.uri, &self.roots)?);
            // Its connections belong to threads that a fork left behind.
            std::mem::forget(std::mem::replace(&mut *made, new));
        }
        Ok(made.1.clone())
    }
}

fn resolver(uri: &str, roots: &[Vec<u8>]) -> PyResult<dns::Resolver> {
    let wrong = |error: &dyn std::fmt::Display| PyValueError::new_err(error.to_string());
    let mut options = ResolverOptions::default();
    if dns::Resolver::is_encrypted_uri(uri) {
        let trust = match roots.is_empty() {
            true => Trust::system(),
            false => Trust::certificates(roots.iter().map(|der| CertificateDer::from(der.clone())))
                .map_err(|error| wrong(&error))?,
        };
        let tls = ClientTls::builder().trust(trust).build();
        let config = tls.and_then(|tls| tls.plain_config());
        options.tls = Some(config.map_err(|error| wrong(&error))?);
    }
    dns::Resolver::from_uri(uri, &options).map_err(|error| wrong(&error))
}

pub(crate) fn origin(scheme: &str, host: &str, port: u16) -> PyResult<Origin> {
    let bracketed = match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    // Only a host may stand here: what ends one in a URL would silently cut it.
    if bracketed.contains(['/', '?', '#', '@', '\\']) {
        return Err(PyValueError::new_err(format!(
            "{host:?} is not a host name"
        )));
    }
    Origin::parse(&format!("{scheme}://{bracketed}:{port}"))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}
