//! Events of the Rust side for Python's `logging`, to the logger `echkit`.
//!
//! A thread of the runtime never takes the interpreter's lock to log: it puts an event into a queue,
//! which Python empties after each call. Nothing here calls Python code: a thread that is in some
//! while the interpreter ends would be unwound through this module.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

/// Events that wait for a thread that comes back into Python. Later ones are counted, not kept.
const CAPACITY: usize = 10_000;

/// Python's numbers of the levels that Rust has, the least first.
const LEVELS: [(u32, Level); 4] = [
    (10, Level::DEBUG),
    (20, Level::INFO),
    (30, Level::WARN),
    (40, Level::ERROR),
];

/// Where in `LEVELS` those begin that are wanted.
static LEAST: AtomicUsize = AtomicUsize::new(LEVELS.len());

/// Another thread of the parent may have been inside when a process was forked, so that the child
/// takes a new one.
static QUEUE: LazyLock<ArcSwap<Queue>> = LazyLock::new(ArcSwap::default);

fn wanted() -> LevelFilter {
    let least = LEVELS.get(LEAST.load(Ordering::Relaxed));
    least.map_or(LevelFilter::OFF, |(_, level)| {
        LevelFilter::from_level(*level)
    })
}

#[derive(Default)]
struct Queue {
    /// Whether there is something to take.
    filled: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    events: Vec<Line>,
    lost: usize,
}

/// Seconds since 1970, Python's level, the module, the text.
type Line = (f64, u32, &'static str, String);

/// Takes events from this level of Python's on.
#[pyfunction]
pub(crate) fn log_level(level: u32) {
    let least = LEVELS.iter().position(|(number, ..)| *number >= level);
    let least = least.unwrap_or(LEVELS.len());
    if LEAST.swap(least, Ordering::Relaxed) == least {
        return;
    }
    // It fails from the second time on, when it is there already.
    let _ = tracing::subscriber::set_global_default(Bridge);
    tracing::callsite::rebuild_interest_cache();
}

/// What has happened since the last time, and how many events were lost; `None` where nothing has.
#[pyfunction]
pub(crate) fn take_log() -> Option<(Vec<Line>, usize)> {
    let queue = QUEUE.load();
    if !queue.filled.swap(false, Ordering::Relaxed) {
        return None;
    }
    let waiting = std::mem::take(&mut *queue.lock());
    Some((waiting.events, waiting.lost))
}

/// Leaves the parent's events to the parent.
pub(crate) fn after_fork() {
    // What a thread that is not here was changing is not looked at.
    std::mem::forget(QUEUE.swap(Arc::default()));
}

impl Queue {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, line: Line) {
        let mut waiting = self.lock();
        match waiting.events.len() < CAPACITY {
            true => waiting.events.push(line),
            false => waiting.lost += 1,
        }
        self.filled.store(true, Ordering::Relaxed);
    }
}

/// Takes events of echkit's crates alone: others name hosts (docs/logging.md).
struct Bridge;

thread_local! {
    /// The spans that this thread is in.
    static INSIDE: RefCell<Vec<Id>> = const { RefCell::new(Vec::new()) };
}

/// What the spans are: each is a connection.
static SPAN: OnceLock<&'static Metadata<'static>> = OnceLock::new();

impl Subscriber for Bridge {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("echkit") && *metadata.level() <= wanted()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(wanted())
    }

    /// The span's identity is the number of its connection, from 1 on.
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut number = Number(1);
        attributes.record(&mut number);
        SPAN.get_or_init(|| attributes.metadata());
        Id::from_u64(number.0.max(1))
    }

    /// Work that is given to another task stays with its connection.
    fn current_span(&self) -> Current {
        let inside = INSIDE.with_borrow(|inside| inside.last().cloned());
        match (inside, SPAN.get()) {
            (Some(id), Some(metadata)) => Current::new(id, metadata),
            _ => Current::none(),
        }
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let number = LEVELS
            .iter()
            .find(|(_, level)| level == metadata.level())
            .map_or(0, |(number, ..)| *number);
        let mut text = Text::default();
        if let Some(id) = INSIDE.with_borrow(|inside| inside.last().cloned()) {
            // A string takes all that is written.
            let _ = write!(text.0, "connection {}: ", id.into_u64());
        }
        event.record(&mut text);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0.0, |now| now.as_secs_f64());
        QUEUE.load().put((now, number, metadata.target(), text.0));
    }

    fn enter(&self, id: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.push(id.clone()));
    }

    fn exit(&self, _: &Id) {
        INSIDE.with_borrow_mut(|inside| inside.pop());
    }
}

/// The field `number` of a span.
struct Number(u64);

impl Visit for Number {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "number" {
            self.0 = value;
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// The message, and behind it the fields.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A string takes all that is written.
        let _ = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
