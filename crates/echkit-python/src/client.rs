//! The HTTP client for Python, over `echkit::Client`.
//!
//! Python has the shapes (`echkit._client`, `echkit._response`); what is sent, over which
//! connection, and what may not be sent is decided in `echkit`. No thread but the caller's takes the
//! interpreter's lock: results go to where a caller waits, or into an event loop's [`Mailbox`].
//!
//! [`Mailbox`]: mailbox::Mailbox

pub(crate) mod event;
pub(crate) mod exchange;
mod fork_bound;
pub(crate) mod http_failure;
pub(crate) mod mailbox;
pub(crate) mod settings;
pub(crate) mod trace;
mod upload;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use echkit::http::{Body, CookieJar, Method};
use echkit::policy::Timeouts;
use echkit::{Client, Error};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

use self::exchange::Exchange;
use self::fork_bound::ForkBound;
use self::settings::{ClientSettings, Pairs, trust_of};
use self::trace::TracedRequest;
use self::upload::Upload;
use crate::identity::Identity;

/// An HTTP client: its settings, connections and cookies.
#[pyclass(frozen, module = "echkit._echkit")]
pub(crate) struct HttpClient {
    settings: ClientSettings,
    /// Locked with the interpreter's lock held, and never while waiting.
    made: Mutex<Made>,
}

/// What one process has of a client.
struct Made {
    /// `None` once it was closed.
    client: Option<ForkBound<Client>>,
    jar: ForkBound<CookieJar>,
}

/// Seconds for connect, read and total; `None` is no limit.
type Limits = (Option<f64>, Option<f64>, Option<f64>);

#[pymethods]
impl HttpClient {
    #[new]
    #[pyo3(signature = (
        *, ech, dns, dns_cafile, verify, cafile, identity, proxy, environment, proxy_resolves, http,
        headers, keep_alive, body_limit, decompress, retry,
    ))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        ech: &str,
        dns: String,
        dns_cafile: Option<std::path::PathBuf>,
        verify: bool,
        cafile: Option<std::path::PathBuf>,
        identity: Option<PyRef<'_, Identity>>,
        proxy: Option<&str>,
        environment: Pairs,
        proxy_resolves: bool,
        http: &str,
        headers: Pairs,
        keep_alive: Option<f64>,
        body_limit: Option<usize>,
        decompress: bool,
        retry: bool,
    ) -> PyResult<Self> {
        let trust = py
            .detach(|| Ok((trust_of(cafile)?, trust_of(dns_cafile)?)))
            .map_err(|error: Error| http_failure::raised(py, &error));
        let (trust, dns_trust) = trust?;
        let settings = settings::Given {
            ech,
            dns,
            dns_trust,
            verify,
            trust,
            identity,
            proxy,
            environment,
            proxy_resolves,
            http,
            headers,
            keep_alive: limit(keep_alive)?,
            body_limit,
            decompress,
            retry,
        };
        let settings = settings
            .checked()
            .map_err(|error| http_failure::raised(py, &error))?;
        let jar = CookieJar::new();
        let client = make(py, &settings, &jar)?;
        Ok(Self {
            settings,
            made: Mutex::new(Made {
                client: Some(ForkBound::new(client)),
                jar: ForkBound::new(jar),
            }),
        })
    }

    /// A request that is not sent yet. `body` is bytes, or `None` for none; with `upload` the
    /// body is fed in parts, of so many bytes where that is known.
    #[pyo3(signature = (
        method, url, *, params, headers, body, upload, length, auth, redirects, limits
    ))]
    #[allow(clippy::too_many_arguments)]
    fn request(
        &self,
        py: Python<'_>,
        method: &str,
        url: &str,
        params: Option<Pairs>,
        headers: Pairs,
        body: Option<&[u8]>,
        upload: bool,
        length: Option<u64>,
        auth: Option<(String, String)>,
        redirects: Option<usize>,
        limits: Limits,
    ) -> PyResult<Exchange> {
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| PyValueError::new_err(format!("{method:?} is not an HTTP method")))?;
        let timeouts = timeouts(limits)?;
        let client = self.client(py)?;
        let mut request = client
            .request(method, url)
            .timeouts(timeouts)
            .redirects(redirects);
        if let Some(params) = params {
            request = request.query(&params);
        }
        for (name, value) in headers {
            request = request.header(name.as_str(), value.as_bytes());
        }
        if let Some((user, password)) = auth {
            request = request.basic_auth(user, Some(password));
        }
        if let Some(body) = body {
            request = request.body(body.to_vec());
        }
        let mut feeder = None;
        if upload {
            let (upload, fed) = Upload::new(length);
            request = request.body(Body::stream(upload));
            feeder = Some(fed);
        }
        Ok(Exchange::new(request, feeder))
    }

    /// Asks for the head of a page over connections of its own, and traces them.
    fn trace(&self, py: Python<'_>, url: &str, limits: Limits) -> PyResult<TracedRequest> {
        TracedRequest::of(py, &self.settings, url, timeouts(limits)?)
    }

    /// The cookies, as the file that curl writes.
    fn cookies(&self, py: Python<'_>) -> PyResult<String> {
        let jar = self.jar(py)?;
        Ok(py.detach(|| jar.to_netscape()))
    }

    /// Adds cookies from such a file.
    fn add_cookies(&self, py: Python<'_>, text: &str) -> PyResult<()> {
        let jar = self.jar(py)?;
        py.detach(|| jar.add_netscape(text))
            .map_err(|error| http_failure::raised(py, &error))
    }

    /// Forgets all cookies.
    fn clear_cookies(&self, py: Python<'_>) -> PyResult<()> {
        let jar = self.jar(py)?;
        py.detach(|| jar.clear());
        Ok(())
    }

    /// Closes idle connections, and the others with their responses.
    fn close(&self, py: Python<'_>) {
        let client = self.lock().client.take();
        py.detach(|| drop(client));
    }

    /// Whether it was closed.
    #[getter]
    fn is_closed(&self) -> bool {
        self.lock().client.is_none()
    }
}

impl HttpClient {
    fn lock(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, py: Python<'_>) -> PyResult<Client> {
        let mut made = self.lock();
        let Some(client) = &made.client else {
            return Err(PyRuntimeError::new_err("the client was closed"));
        };
        if let Some(client) = client.get() {
            return Ok(client.clone());
        }
        // The connections belong to threads that a fork left behind; the cookies go on.
        let jar = made.jar_of_this_process();
        let client = make(py, &self.settings, &jar)?;
        made.client = Some(ForkBound::new(client.clone()));
        Ok(client)
    }

    fn jar(&self, _attached: Python<'_>) -> PyResult<CookieJar> {
        Ok(self.lock().jar_of_this_process())
    }
}

impl Made {
    fn jar_of_this_process(&mut self) -> CookieJar {
        if let Some(jar) = self.jar.get() {
            return jar.clone();
        }
        let text = self.jar.anywhere().and_then(CookieJar::try_to_netscape);
        let jar = text.and_then(|text| CookieJar::from_netscape(&text).ok());
        let jar = jar.unwrap_or_default();
        self.jar = ForkBound::new(jar.clone());
        jar
    }
}

fn make(py: Python<'_>, settings: &ClientSettings, jar: &CookieJar) -> PyResult<Client> {
    let made: Result<Client, Error> = py.detach(|| settings.build(jar.clone()));
    made.map_err(|error| http_failure::raised(py, &error))
}

fn timeouts((connect, read, total): Limits) -> PyResult<Timeouts> {
    Ok(Timeouts::default()
        .with_connect(limit(connect)?)
        .with_response(None)
        .with_read(limit(read)?)
        .with_total(limit(total)?))
}

/// A limit of time, or none.
fn limit(given: Option<f64>) -> PyResult<Option<Duration>> {
    given.map(|limit| seconds("timeout", limit)).transpose()
}

/// A limit in seconds, and the setting that it is for.
pub(crate) fn seconds(setting: &str, limit: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(limit)
        .map_err(|error| PyValueError::new_err(format!("{setting}: {error}")))
}
