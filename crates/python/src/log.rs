//! The library's warnings, through Python's `logging`.

use std::fmt::{self, Write};
use std::sync::Once;

use pyo3::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Hands warnings and errors to the logger `docent`. The first call counts, unless the process logs already.
///
/// Called when a model is opened, not at import: the command line sets its own logging up.
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let _ = tracing::subscriber::set_global_default(PythonLogger);
    });
}

struct PythonLogger;

impl Subscriber for PythonLogger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("docent")
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message::default();
        event.record(&mut message);
        let method = if *event.metadata().level() == Level::ERROR { "error" } else { "warning" };
        log(method, &message.text);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Calls a method of the logger `docent`. A logger that raises does not end what is logged about.
pub(crate) fn log(method: &str, message: &str) {
    Python::try_attach(|py| {
        let call =
            || py.import("logging")?.call_method1("getLogger", ("docent",))?.call_method1(method, ("%s", message));
        if let Err(error) = call() {
            error.write_unraisable(py, None);
        }
    });
}

/// The text of an event, its other fields after it.
#[derive(Default)]
struct Message {
    text: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a `String` does not fail.
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            name => write!(self.text, " {name}={value:?}"),
        };
    }
}
