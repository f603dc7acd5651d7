//! A logger that takes everything, from the crate `log` and from `tracing`.

use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span;

/// One record: whose it is, and all of its text.
#[derive(Clone, Debug)]
pub struct Record {
    pub target: String,
    pub text: String,
}

static RECORDS: Mutex<Vec<Record>> = Mutex::new(Vec::new());

/// The target of each span, by its id less one.
static SPANS: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

/// Takes everything from now on.
pub fn start() -> Result<(), super::Failure> {
    log::set_logger(&Recorder).map_err(|error| error.to_string())?;
    log::set_max_level(log::LevelFilter::Trace);
    tracing::subscriber::set_global_default(Recorder)?;
    Ok(())
}

/// What was taken.
pub fn taken() -> Vec<Record> {
    RECORDS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

fn take(target: &str, text: String) {
    let target = target.to_owned();
    let mut records = RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
    records.push(Record { target, text });
}

struct Recorder;

impl log::Log for Recorder {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        take(record.target(), record.args().to_string());
    }

    fn flush(&self) {}
}

impl tracing::Subscriber for Recorder {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut text = Text(span.metadata().name().to_owned());
        span.record(&mut text);
        take(span.metadata().target(), text.0);
        let mut spans = SPANS.lock().unwrap_or_else(PoisonError::into_inner);
        spans.push(span.metadata().target());
        span::Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &span::Id, values: &span::Record<'_>) {
        let mut text = Text(String::new());
        values.record(&mut text);
        let spans = SPANS.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(id.into_u64()).unwrap_or_default();
        let target = spans.get(index.wrapping_sub(1)).copied();
        drop(spans);
        take(target.unwrap_or("echkit or another"), text.0);
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        take(event.metadata().target(), text.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {field}={value:?}");
    }
}
