//! One request and its response, step by step.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use echkit::http::{Bytes, HeaderMap, RedirectHead, RequestBuilder, StatusCode, Version};
use echkit::{Error, Report, Response};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::JoinHandle;

use super::event::Event;
use super::fork_bound::ForkBound;
use super::http_failure;
use super::mailbox::Mailbox;
use super::upload::{Feeder, Part, Place};
use crate::lookup::Pending;
use crate::runtime;

/// A request, its response when that is there, and what is left of their bodies.
#[pyclass(frozen, module = "echkit._echkit")]
pub(crate) struct Exchange(ForkBound<Arc<Inner>>);

struct Inner {
    state: AsyncMutex<State>,
    head: OnceLock<Head>,
    feeder: Mutex<Option<Feeder>>,
    /// Where the next part of the request's body goes.
    place: Mutex<Option<Place>>,
}

enum State {
    Ready(Box<RequestBuilder>),
    /// It runs beside the feeding of its body.
    Sent(Running),
    Answered(Box<Response>),
    /// It failed or was closed.
    Over,
}

impl State {
    fn report(&self) -> Option<Report> {
        match self {
            Self::Answered(response) => Some(response.report()),
            _ => None,
        }
    }
}

/// A request that ends with this value.
struct Running(JoinHandle<Result<Response, Error>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is known once the response's head is there.
struct Head {
    url: String,
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    redirects: Vec<(RedirectHead, Report)>,
}

/// Status, version of HTTP, URL, header fields, report.
type Redirect = (
    u16,
    &'static str,
    String,
    Vec<(String, String)>,
    Option<String>,
);

#[pymethods]
impl Exchange {
    /// Sends what is to be sent and waits for what comes next: `("head", None)`, `("part", bytes)`,
    /// `("more", None)` where `feed` is to be called, `("end", None)`.
    fn step<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let work = Arc::clone(self.inner()?).step();
        finish(py, runtime::block_on(py, work)?)
    }

    /// Sends the request, whose body is not fed, and waits for the whole response: `("part", bytes)`.
    fn whole<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let work = Arc::clone(self.inner()?).whole();
        finish(py, runtime::block_on(py, work)?)
    }

    /// Begins what `step` does; what comes of it goes into the mailbox under this number.
    fn begin_step(&self, py: Python<'_>, mailbox: &Mailbox, number: u64) -> PyResult<Pending> {
        let work = Arc::clone(self.inner()?).step();
        let letters = Arc::clone(&mailbox.letters);
        let task = runtime::spawn(py, async move { letters.put(number, work.await) })?;
        Ok(Pending(task))
    }

    /// Begins what `whole` does; what comes of it goes into the mailbox under this number.
    fn begin_whole(&self, py: Python<'_>, mailbox: &Mailbox, number: u64) -> PyResult<Pending> {
        let work = Arc::clone(self.inner()?).whole();
        let letters = Arc::clone(&mailbox.letters);
        let task = runtime::spawn(py, async move { letters.put(number, work.await) })?;
        Ok(Pending(task))
    }

    /// The next part of the request's body, or `None` at its end.
    fn feed(&self, part: Option<&[u8]>) -> PyResult<()> {
        let inner = self.inner()?;
        let place = lock(&inner.place).take();
        let Some(place) = place else {
            return Err(PyRuntimeError::new_err("no part of a body is wanted"));
        };
        match part {
            Some(bytes) => drop(place.send(Part::Data(Bytes::copy_from_slice(bytes)))),
            None => {
                drop(place.send(Part::End));
                lock(&inner.feeder).take();
            }
        }
        Ok(())
    }

    /// Ends it: a connection that is in the middle of something is closed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Some(inner) = self.0.get() else {
            return Ok(());
        };
        lock(&inner.feeder).take();
        lock(&inner.place).take();
        if let Ok(mut state) = inner.state.try_lock() {
            let ended = std::mem::replace(&mut *state, State::Over);
            drop(state);
            py.detach(|| drop(ended));
            return Ok(());
        }
        // Another thread waits for its next part.
        let inner = Arc::clone(inner);
        runtime::spawn(py, async move { *inner.state.lock().await = State::Over })?;
        Ok(())
    }

    /// The status code.
    #[getter]
    fn status(&self) -> PyResult<u16> {
        Ok(self.head()?.status.as_u16())
    }

    /// The usual words for the status code.
    #[getter]
    fn reason(&self) -> PyResult<&'static str> {
        Ok(self.head()?.status.canonical_reason().unwrap_or_default())
    }

    /// The version of HTTP, such as `HTTP/2`.
    #[getter]
    fn version(&self) -> PyResult<&'static str> {
        Ok(version(self.head()?.version))
    }

    /// The URL that the response is from.
    #[getter]
    fn url(&self) -> PyResult<&str> {
        Ok(&self.head()?.url)
    }

    /// The header fields, in order.
    fn headers(&self) -> PyResult<Vec<(String, String)>> {
        Ok(pairs(&self.head()?.headers))
    }

    /// The redirects before.
    fn redirects(&self) -> PyResult<Vec<Redirect>> {
        let redirects = self.head()?.redirects.iter().map(|(head, report)| {
            (
                head.status.as_u16(),
                version(head.version),
                head.url.to_string(),
                pairs(&head.headers),
                serde_json::to_string(report).ok(),
            )
        });
        Ok(redirects.collect())
    }

    /// The report about the connection as it stands, as JSON; `None` without a response.
    fn report(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let inner = Arc::clone(self.inner()?);
        let report = match inner.state.try_lock() {
            Ok(state) => state.report(),
            // Another thread waits for its next part.
            Err(_) => {
                let inner = Arc::clone(&inner);
                let later = async move { inner.state.lock().await.report() };
                runtime::block_on(py, later)?
            }
        };
        Ok(report.and_then(|report| serde_json::to_string(&report).ok()))
    }
}

impl Exchange {
    pub(super) fn new(request: RequestBuilder, feeder: Option<Feeder>) -> Self {
        Self(ForkBound::new(Arc::new(Inner {
            state: AsyncMutex::new(State::Ready(Box::new(request))),
            head: OnceLock::new(),
            feeder: Mutex::new(feeder),
            place: Mutex::new(None),
        })))
    }

    fn inner(&self) -> PyResult<&Arc<Inner>> {
        self.0.get().ok_or_else(|| {
            PyRuntimeError::new_err("the request belongs to the process that was forked")
        })
    }

    fn head(&self) -> PyResult<&Head> {
        let head = self.inner()?.head.get();
        head.ok_or_else(|| PyRuntimeError::new_err("there is no response yet"))
    }
}

impl Inner {
    async fn step(self: Arc<Self>) -> Result<Event, Error> {
        let mut state = self.state.lock().await;
        if let State::Ready(_) = &*state {
            let State::Ready(request) = std::mem::replace(&mut *state, State::Over) else {
                return Ok(Event::End);
            };
            if lock(&self.feeder).is_none() {
                let response = request.send().await?;
                return Ok(self.answered(&mut state, response));
            }
            *state = State::Sent(Running(tokio::spawn(request.send())));
        }
        match &mut *state {
            State::Sent(running) => tokio::select! {
                biased;
                ended = &mut running.0 => match ended {
                    Ok(Ok(response)) => Ok(self.answered(&mut state, response)),
                    Ok(Err(error)) => {
                        *state = State::Over;
                        Err(error)
                    }
                    // It was ended from here.
                    Err(_) => {
                        *state = State::Over;
                        Ok(Event::End)
                    }
                },
                () = self.wanted() => Ok(Event::More),
            },
            State::Answered(response) => tokio::select! {
                biased;
                part = response.chunk() => Ok(part?.map_or(Event::End, Event::Part)),
                () = self.wanted() => Ok(Event::More),
            },
            State::Ready(_) | State::Over => Ok(Event::End),
        }
    }

    /// Waits until the request's body has a place for its next part; forever where it wants none.
    async fn wanted(&self) {
        let feeder = lock(&self.feeder).clone();
        let place = match feeder {
            Some(feeder) => feeder.reserve_owned().await.ok(),
            None => None,
        };
        match place {
            Some(place) => *lock(&self.place) = Some(place),
            None => std::future::pending().await,
        }
    }

    async fn whole(self: Arc<Self>) -> Result<Event, Error> {
        loop {
            let mut state = self.state.lock().await;
            if let State::Answered(response) = &mut *state {
                return Ok(Event::Part(response.bytes().await?));
            }
            drop(state);
            if let Event::End = Arc::clone(&self).step().await? {
                return Ok(Event::End);
            }
        }
    }

    fn answered(&self, state: &mut State, response: Response) -> Event {
        let heads = response.redirect_heads().iter().cloned();
        let head = Head {
            url: response.url().to_string(),
            status: response.status(),
            version: response.version(),
            headers: response.headers().clone(),
            redirects: heads.zip(response.redirects().iter().cloned()).collect(),
        };
        // Set once: a request has one response.
        let _ = self.head.set(head);
        *state = State::Answered(Box::new(response));
        Event::Head
    }
}

fn finish(py: Python<'_>, outcome: Result<Event, Error>) -> PyResult<Bound<'_, PyTuple>> {
    match outcome {
        Ok(event) => event.into_python(py),
        Err(error) => Err(http_failure::raised(py, &error)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// Names and values; a value that is not UTF-8 is read as Latin-1.
fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    };
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
        .collect()
}
